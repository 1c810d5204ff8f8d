/* Threads, if the builder asked for them: the one file that knows OpenMP.
 *
 * A job is cut into tasks whose results do not depend on who runs them.
 * After a fork the runtime of OpenMP may hang in the child, so a process
 * other than the one that first used threads goes on alone. */

/* Does from .. to - 1 of a job. */
typedef void bn_task(void *job, int64_t from, int64_t to);

#ifdef BNFLOSS_OPENMP
#include <omp.h>
#if !defined(_WIN32)
#include <unistd.h>
#define BN_PROCESS() ((int)getpid())
#else
#define BN_PROCESS() 1
#endif

static int bn_threads_owner;        /* the process that used threads; 0: none */

static int bn_thread_count(int32_t wanted, int64_t n)
{
    int me, owner, t;

    /* one thread does not touch the runtime: good for signal handlers */
    if (wanted == 1 || n <= 1)
        return 1;
    me = BN_PROCESS();
    owner = BN_ATOMIC_LOAD(&bn_threads_owner);
    if (owner != 0 && owner != me)
        return 1;
    t = wanted > 0 ? (int)wanted : omp_get_max_threads();
    if (t > omp_get_thread_limit())
        t = omp_get_thread_limit();
    if (t > n)
        t = (int)n;
    if (t > 1 && owner == 0)
        BN_ATOMIC_STORE(&bn_threads_owner, me);
    return t;
}

/* Contiguous shares, so that each thread walks through memory in order. The
 * caller's thread has its environment from the door; others need their own.
 * Out of line, since clang calls the runtime as a function with a parallel
 * region begins. */
BN_NOINLINE static void bn_team(bn_task *task, void *job, int64_t n,
                                int threads)
{
#pragma omp parallel num_threads(threads)
    {
        const bn_env env = bn_env_enter();
        const int64_t t = omp_get_thread_num(), all = omp_get_num_threads();
        const int64_t each = n / all, more = n % all;
        const int64_t from = t * each + (t < more ? t : more);

        task(job, from, from + each + (t < more));
        bn_env_leave(env);
    }
}

static void bn_parallel(bn_task *task, void *job, int64_t n, int threads)
{
    if (threads > 1)
        bn_team(task, job, n, threads);
    else
        task(job, 0, n);
}
#else
static int bn_thread_count(int32_t wanted, int64_t n)
{
    (void)wanted;
    (void)n;
    return 1;
}

static void bn_parallel(bn_task *task, void *job, int64_t n, int threads)
{
    (void)threads;
    task(job, 0, n);
}
#endif
