/* The two pools of threads: see pool.h. */
#define _GNU_SOURCE     /* sched_setaffinity */
#include "pool.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef __linux__
#include <sched.h>
#endif

enum { MAX = 256 };

/* ---- Where --------------------------------------------------------------- */

#ifdef __linux__
/* The CPUs of the first call, before anything was pinned. */
static const cpu_set_t *allowed(void)
{
    static cpu_set_t set;
    static int known;

    if (!known) {
        CPU_ZERO(&set);
        if (sched_getaffinity(0, sizeof set, &set) != 0)
            CPU_SET(0, &set);
        known = 1;
    }
    return &set;
}

int pool_cpus(void)
{
    return CPU_COUNT(allowed());
}

static int pin_self(int t)
{
    cpu_set_t one;
    int left = t % pool_cpus();

    CPU_ZERO(&one);
    for (int c = 0; c < CPU_SETSIZE; c++)
        if (CPU_ISSET((size_t)c, allowed()) && left-- == 0)
            CPU_SET((size_t)c, &one);
    return sched_setaffinity(0, sizeof one, &one) == 0;
}
#else
int pool_cpus(void)
{
    const long n = sysconf(_SC_NPROCESSORS_ONLN);

    return n > 0 ? (int)n : 1;
}

static int pin_self(int t)
{
    (void)t;
    return 0;
}
#endif

static void pin_task(void *job, int t, int threads)
{
    int *pinned = job;

    (void)threads;
    pinned[t] = pin_self(t);
}

int pool_pin(pool_kind kind, int threads)
{
    int pinned[MAX] = { 0 };

    pool_run(kind, threads, pin_task, pinned);
    for (int t = 0; t < threads; t++)
        if (!pinned[t])
            return 0;
    return 1;
}

/* ---- OpenMP -------------------------------------------------------------- */

#ifdef _OPENMP
int pool_max(pool_kind kind)
{
    (void)kind;
    return MAX;
}

static void run_openmp(int threads, pool_task *task, void *job)
{
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int t = 0; t < threads; t++)
        task(job, t, threads);
}
#else
int pool_max(pool_kind kind) { return kind == POOL_OPENMP ? 1 : MAX; }

static void run_openmp(int threads, pool_task *task, void *job)
{
    for (int t = 0; t < threads; t++)
        task(job, t, threads);
}
#endif

/* ---- POSIX threads ------------------------------------------------------- */

/* Workers are started when first needed and sleep between jobs. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t begin, end;
    unsigned long round;            /* counts the jobs */
    int started, threads, left;     /* left: parts that are not done */
    pool_task *task;
    void *job;
} pool = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .begin = PTHREAD_COND_INITIALIZER,
    .end = PTHREAD_COND_INITIALIZER
};

static void *work(void *index)
{
    const int t = *(const int *)index;
    unsigned long seen = 0;

    pthread_mutex_lock(&pool.lock);
    for (;;) {
        while (pool.round == seen)
            pthread_cond_wait(&pool.begin, &pool.lock);
        seen = pool.round;
        if (t < pool.threads) {
            pthread_mutex_unlock(&pool.lock);
            pool.task(pool.job, t, pool.threads);
            pthread_mutex_lock(&pool.lock);
            if (--pool.left == 0)
                pthread_cond_signal(&pool.end);
        }
    }
    return NULL;
}

/* With the lock held. A worker starts at round 0 and so sees the next job,
 * also one that was posted before it ran. */
static void start_workers(int threads)
{
    static int index[MAX];
    pthread_t id;

    while (pool.started < threads - 1) {
        const int t = ++pool.started;

        index[t] = t;
        if (pthread_create(&id, NULL, work, &index[t]) != 0) {
            fprintf(stderr, "bnfloss-bench: cannot start a thread\n");
            exit(1);
        }
        pthread_detach(id);
    }
}

static void run_pthreads(int threads, pool_task *task, void *job)
{
    pthread_mutex_lock(&pool.lock);
    pool.task = task;
    pool.job = job;
    pool.threads = threads;
    pool.left = threads - 1;
    pool.round++;
    start_workers(threads);
    pthread_cond_broadcast(&pool.begin);
    pthread_mutex_unlock(&pool.lock);
    task(job, 0, threads);
    pthread_mutex_lock(&pool.lock);
    while (pool.left > 0)
        pthread_cond_wait(&pool.end, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}

void pool_run(pool_kind kind, int threads, pool_task *task, void *job)
{
    if (threads == 1)
        task(job, 0, 1);
    else if (kind == POOL_OPENMP)
        run_openmp(threads, task, job);
    else
        run_pthreads(threads, task, job);
}
