/* What the machine can do at best: read a buffer once, or scale it in place.
 *
 * In place, a logit has to be read and its gradient written; `x[i] *= a` does
 * no more, so its time is the limit that the kernels are held against. Which
 * loop does that best depends on the machine, so several are tried first and
 * the two best are run beside every case; the faster one counts. */
#ifndef BENCH_LIMITS_H
#define BENCH_LIMITS_H

#include "memory.h"
#include "pool.h"

#include <stddef.h>

/* Of all loops, or of those alone that ask for memory from first to last: what
 * most programs that move it are. The kernels may be faster than these. */
typedef enum limit_kind { BEST_LOOP, STRAIGHT_LOOP } limit_kind;
extern const char *const limit_names[];

typedef struct limits {
    limit_kind kind;
    pool_kind pool;
    int threads;
    page_size pages;                /* of the memory that is moved */
    int read[2], scale[2];          /* the two best loops of each kind */
    double read_gbs, scale_gbs;     /* GB/s; in place: read and written */
} limits;

/* Tries the loops of a kind on the buffer, some rounds of each. No value
 * changes. */
limits limits_find(limit_kind kind, pool_kind pool, int threads, void *p,
                   size_t bytes);

/* What a loop is called. */
const char *loop_name(int loop);

/* Seconds for one pass over the buffer by the better of the two loops, each
 * run once. No value changes. */
double limit_read(const limits *l, void *p, size_t bytes);
double limit_in_place(const limits *l, void *p, size_t bytes);

/* Seconds on a monotonic clock, and of this process's CPUs. */
double now(void);
double cpu_now(void);

#endif
