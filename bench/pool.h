/* The threads that everything here runs on, and where they run.
 *
 * Two pools: OpenMP's, which bnfloss_run() uses too, and one of POSIX
 * threads, such as a trainer of its own might keep. */
#ifndef BENCH_POOL_H
#define BENCH_POOL_H

typedef enum pool_kind { POOL_OPENMP, POOL_PTHREADS } pool_kind;

/* Part t of a job that is cut into `threads` parts. */
typedef void pool_task(void *job, int t, int threads);

/* Runs all parts at once, part 0 on the calling thread. */
void pool_run(pool_kind kind, int threads, pool_task *task, void *job);

/* Ties part t of that many to the t-th CPU that this process may use.
 * Returns 0 where that is not to be had; then the system places them. */
int pool_pin(pool_kind kind, int threads);

/* CPUs that this process may use, and most threads of a pool here. */
int pool_cpus(void);
int pool_max(pool_kind kind);

#endif
