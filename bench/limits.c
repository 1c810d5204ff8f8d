/* The limits of memory: see limits.h. */
#define _POSIX_C_SOURCE 199309L
#include "limits.h"

#include <stdint.h>
#include <time.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default"),      \
                            optimize("O3"), noinline))
#elif defined(__GNUC__)
#define WIDE __attribute__((noinline))
#else
#define WIDE
#endif

double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A factor and a sink that the compiler cannot see through. */
static volatile float one = 1;
static volatile uint64_t sink;

WIDE static void scale_plain(float *x, size_t n, float a)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= a;
}

WIDE static void scale_ahead(float *x, size_t n, float a)
{
    size_t i = 0;

    for (; i + 64 <= n; i += 64) {
        for (size_t j = 0; j < 64; j += 16)
            __builtin_prefetch(x + i + j + 2048, 1);
        for (size_t j = 0; j < 64; j++)
            x[i + j] *= a;
    }
    for (; i < n; i++)
        x[i] *= a;
}

WIDE static uint64_t sum_plain(const uint64_t *x, size_t n)
{
    uint64_t s = 0;

    for (size_t i = 0; i < n; i++)
        s += x[i];
    return s;
}

WIDE static uint64_t sum_ahead(const uint64_t *x, size_t n)
{
    uint64_t s[32] = { 0 }, all = 0;
    size_t i = 0;

    for (; i + 32 <= n; i += 32) {
        for (size_t j = 0; j < 32; j += 8)
            __builtin_prefetch(x + i + j + 1024);
        for (size_t j = 0; j < 32; j++)
            s[j] += x[i + j];
    }
    for (; i < n; i++)
        all += x[i];
    for (size_t j = 0; j < 32; j++)
        all += s[j];
    return all;
}

enum { READ_PLAIN, READ_AHEAD, SCALE_PLAIN, SCALE_AHEAD };

static void one_share(void *p, size_t bytes, int what)
{
    switch (what) {
    case READ_PLAIN:  sink = sum_plain(p, bytes / 8); break;
    case READ_AHEAD:  sink = sum_ahead(p, bytes / 8); break;
    case SCALE_PLAIN: scale_plain(p, bytes / 4, one); break;
    default:          scale_ahead(p, bytes / 4, one); break;
    }
}

static double time_pass(void *p, size_t bytes, int threads, int what)
{
    const size_t share = bytes / (size_t)threads / 4096 * 4096;
    const double start = now();

#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(static, 1)
#endif
    for (int t = 0; t < threads; t++)
        one_share((char *)p + (size_t)t * share,
                  t + 1 < threads ? share : bytes - (size_t)t * share, what);
    return now() - start;
}

static double better(void *p, size_t bytes, int threads, int a, int b)
{
    const double x = time_pass(p, bytes, threads, a);
    const double y = time_pass(p, bytes, threads, b);

    return x < y ? x : y;
}

double limit_read(void *p, size_t bytes, int threads)
{
    return better(p, bytes, threads, READ_PLAIN, READ_AHEAD);
}

double limit_in_place(void *p, size_t bytes, int threads)
{
    return better(p, bytes, threads, SCALE_PLAIN, SCALE_AHEAD);
}
