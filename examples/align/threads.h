/* for (i = 0; i < n; i++) body(data, i), on several threads. */
#ifndef ALIGN_THREADS_H
#define ALIGN_THREADS_H

/* The number of cores, or 1 where there are no POSIX threads. */
int cores(void);

/* Calls body for each i once, in any order, on up to `threads` threads, this
 * one among them; returns when all are done. One caller at a time. */
void parallel_for(int threads, int n, void (*body)(void *data, int i),
                  void *data);

#endif
