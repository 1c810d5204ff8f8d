/* What the machine can do at best: read a buffer once, or scale it in place.
 *
 * In place, a logit has to be read and its gradient written; `x[i] *= a` does
 * no more, so its time is the limit (LIM) that the kernels are held against.
 * The best of a plain, an unrolled and a prefetching loop counts. */
#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

#include <stddef.h>

/* Seconds for one pass over bytes at p; the better of several loops, each of
 * them run once. The values in the buffer do not change. */
double limit_read(void *p, size_t bytes, int threads);
double limit_in_place(void *p, size_t bytes, int threads);

/* Monotonic time in seconds. */
double now(void);

#endif
