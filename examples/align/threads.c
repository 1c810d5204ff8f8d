/* A pool of POSIX threads that wait for the next loop. Not OpenMP, whose
 * threads wait by spinning: on a machine that is busy with something else
 * that made a step ten times slower. These spin for some microseconds, then
 * sleep. */
#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L
#endif
#include "threads.h"

#if defined(_WIN32)

int cores(void)
{
    return 1;
}

void parallel_for(int threads, int n, void (*body)(void *, int), void *data)
{
    (void)threads;
    for (int i = 0; i < n; i++) body(data, i);
}

#else

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

enum { MOST = 64, SPINS = 4000 };

struct worker {
    int id;
    unsigned seen;                 /* loops that it knows of */
};

static struct {
    struct worker worker[MOST];
    int workers;                   /* started so far; they live on */
    pthread_mutex_t lock;
    pthread_cond_t wake, done;
    atomic_uint loop;              /* counts the loops; a new one is a start */
    atomic_int next, busy;         /* next i; workers not yet through */
    int active, n;                 /* workers with a part in this loop */
    void (*body)(void *, int);
    void *data;
} pool = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .wake = PTHREAD_COND_INITIALIZER, .done = PTHREAD_COND_INITIALIZER};

int cores(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > MOST ? MOST : (int)n;
}

static void work(void)
{
    for (int i; (i = atomic_fetch_add(&pool.next, 1)) < pool.n;)
        pool.body(pool.data, i);
}

static void await_loop(unsigned seen)
{
    for (int i = 0; i < SPINS; i++)
        if (atomic_load(&pool.loop) != seen) return;
    pthread_mutex_lock(&pool.lock);
    while (atomic_load(&pool.loop) == seen)
        pthread_cond_wait(&pool.wake, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}

static void await_workers(void)
{
    for (int i = 0; i < SPINS; i++)
        if (!atomic_load(&pool.busy)) return;
    pthread_mutex_lock(&pool.lock);
    while (atomic_load(&pool.busy))
        pthread_cond_wait(&pool.done, &pool.lock);
    pthread_mutex_unlock(&pool.lock);
}

/* Every worker answers to every loop, even if it has no part in it. */
static void *live(void *data)
{
    struct worker *me = data;
    for (;; me->seen++) {
        await_loop(me->seen);
        if (me->id < pool.active) work();
        if (atomic_fetch_sub(&pool.busy, 1) > 1) continue;
        pthread_mutex_lock(&pool.lock);
        pthread_cond_signal(&pool.done);
        pthread_mutex_unlock(&pool.lock);
    }
    return NULL;
}

/* Fewer than wanted is no error: the loop is just slower. */
static void start_workers(int wanted)
{
    for (; pool.workers < wanted && pool.workers < MOST; pool.workers++) {
        struct worker *w = &pool.worker[pool.workers];
        pthread_t thread;
        *w = (struct worker){pool.workers, atomic_load(&pool.loop)};
        if (pthread_create(&thread, NULL, live, w)) return;
        pthread_detach(thread);
    }
}

void parallel_for(int threads, int n, void (*body)(void *, int), void *data)
{
    if (threads > 1) start_workers(threads - 1);
    if (threads <= 1 || n <= 1 || !pool.workers) {
        for (int i = 0; i < n; i++) body(data, i);
        return;
    }
    pool.active = threads - 1;
    pool.n = n;
    pool.body = body;
    pool.data = data;
    atomic_store(&pool.next, 0);
    atomic_store(&pool.busy, pool.workers);
    pthread_mutex_lock(&pool.lock);
    atomic_fetch_add(&pool.loop, 1);
    pthread_cond_broadcast(&pool.wake);
    pthread_mutex_unlock(&pool.lock);
    work();
    await_workers();
}

#endif
