/* Threads, where BNFLOSS_OPENMP asks for them. No other file knows OpenMP.
 *
 * A job is cut into tasks whose results do not depend on who runs them. After a
 * fork the runtime of OpenMP may hang in the child. So a process other than the
 * one that first used threads goes on with one. */

/* What one thread does of a job: items from .. to - 1. */
typedef struct bn_task_range {
    int64_t from, to;
    int thread;
} bn_task_range;

typedef void bn_task(void *arg, bn_task_range range);

#ifdef BNFLOSS_OPENMP
#include <omp.h>
#if !defined(_WIN32)
#include <unistd.h>
#define BN_PROCESS() ((int)getpid())
#else
#define BN_PROCESS() 1
#endif

static int bn_threads_owner;        /* the process that used threads; 0: none */

/* Returns how many threads to use for n tasks. `wanted` is the caller's number;
 * 0 leaves it to OpenMP. */
static int bn_thread_count(int32_t wanted, int64_t n)
{
    int owner, t;

    /* A call with one thread does not touch the OpenMP runtime, which may be in
     * any state in a forked child or in a signal handler. */
    if (wanted == 1 || n <= 1)
        return 1;
    owner = BN_ATOMIC_LOAD(&bn_threads_owner);
    if (owner != 0 && owner != BN_PROCESS())
        return 1;
    t = wanted > 0 ? (int)wanted : omp_get_max_threads();
    if (t > omp_get_thread_limit())
        t = omp_get_thread_limit();
    return t > n ? (int)n : t;
}

/* Runs a job in a team. The ranges are contiguous, so that each thread walks
 * through memory in order. The caller's thread has the default floating-point
 * environment already; the others need it set. It is not inlined: clang calls
 * the OpenMP runtime on entry to any function that holds a parallel region. */
BN_NOINLINE static void bn_team(bn_task *task, void *arg, int64_t n,
                                int threads)
{
    BN_ATOMIC_STORE(&bn_threads_owner, BN_PROCESS());
#pragma omp parallel num_threads(threads)
    {
        const bn_env env = bn_env_enter();
        const int64_t t = omp_get_thread_num(), all = omp_get_num_threads();
        const int64_t each = n / all, more = n % all;
        bn_task_range range;

        range.from = t * each + (t < more ? t : more);
        range.to = range.from + each + (t < more);
        range.thread = (int)t;
        task(arg, range);
        bn_env_leave(env);
    }
}

#else
static int bn_thread_count(int32_t wanted, int64_t n)
{
    (void)wanted;
    (void)n;
    return 1;
}

#endif

/* Runs a job of n tasks on so many threads, and returns when all are done. */
static void bn_parallel(bn_task *task, void *arg, int64_t n, int threads)
{
    const bn_task_range all = { 0, n, 0 };

#ifdef BNFLOSS_OPENMP
    if (threads > 1) {
        bn_team(task, arg, n, threads);
        return;
    }
#endif
    (void)threads;
    task(arg, all);
}
