/* The limits of memory: see limits.h. */
#define _POSIX_C_SOURCE 200112L
#include "limits.h"

#include "stats.h"

#include <stdint.h>
#include <time.h>

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default"),      \
                            optimize("O3"), noinline))
#elif defined(__GNUC__)
#define WIDE __attribute__((noinline))
#else
#define WIDE
#endif

const char *const limit_names[] = { "best", "straight", NULL };

static double clock_now(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double now(void)
{
    return clock_now(CLOCK_MONOTONIC);
}

double cpu_now(void)
{
    return clock_now(CLOCK_PROCESS_CPUTIME_ID);
}

/* A factor and a sink that the compiler cannot see through. */
static volatile float one = 1;
static volatile uint64_t sink;

/* ---- The loops ----------------------------------------------------------- */

WIDE static void scale_plain(float *x, size_t n, float a)
{
    for (size_t i = 0; i < n; i++)
        x[i] *= a;
}

/* Four lines at a time, asking for those `ahead` floats further on. */
WIDE static void scale_ahead(float *x, size_t n, float a, size_t ahead)
{
    size_t i = 0;

    for (; i + 64 <= n; i += 64) {
        for (size_t j = 0; j < 64; j += 16)
            __builtin_prefetch(x + i + j + ahead, 1);
        for (size_t j = 0; j < 64; j++)
            x[i + j] *= a;
    }
    for (; i < n; i++)
        x[i] *= a;
}

/* As the kernels do: a line of each of four streams, of the stretch after the
 * one that these four lines belong to. */
static void prefetch_streams(const void *at)
{
    enum { STREAM_STRIDE = 29 * 1024 };
    const uintptr_t line = (uintptr_t)at / 256 % (STREAM_STRIDE / 64);
    const uintptr_t next = (uintptr_t)at + 4 * STREAM_STRIDE - 192 * line;

    __builtin_prefetch((const void *)next);
    __builtin_prefetch((const void *)(next + STREAM_STRIDE));
    __builtin_prefetch((const void *)(next + 2 * STREAM_STRIDE));
    __builtin_prefetch((const void *)(next + 3 * STREAM_STRIDE));
}

WIDE static void scale_streams(float *x, size_t n, float a)
{
    size_t i = 0;

    for (; i + 64 <= n; i += 64) {
        prefetch_streams(x + i);
        for (size_t j = 0; j < 64; j++)
            x[i + j] *= a;
    }
    for (; i < n; i++)
        x[i] *= a;
}

/* Four quarters at once, each prefetched 1 KiB ahead: as many streams for the
 * hardware's prefetchers. */
WIDE static void scale_quarters(float *x, size_t n, float a)
{
    const size_t quarter = n / 256 * 64;

    for (size_t i = 0; i < quarter; i += 64)
        for (size_t q = 0; q < 4 * quarter; q += quarter) {
            for (size_t j = 0; j < 64; j += 16)
                __builtin_prefetch(x + q + i + j + 256, 1);
            for (size_t j = 0; j < 64; j++)
                x[q + i + j] *= a;
        }
    for (size_t i = 4 * quarter; i < n; i++)
        x[i] *= a;
}

/* Reads a piece into the cache first and scales it there: memory then sees
 * reads and writes in turns, as from a kernel that reads a row twice. */
WIDE static void scale_pieces(float *x, size_t n, float a)
{
    const size_t piece = 8192;

    for (size_t i = 0; i < n; i += piece) {
        const size_t m = n - i < piece ? n - i : piece;

        for (size_t j = 0; j < m; j += 16)
            __builtin_prefetch(x + i + piece + j, 1);
        for (size_t j = 0; j < m; j++)
            x[i + j] *= a;
    }
}

WIDE static uint64_t sum_plain(const uint64_t *x, size_t n)
{
    uint64_t s = 0;

    for (size_t i = 0; i < n; i++)
        s += x[i];
    return s;
}

WIDE static uint64_t sum_ahead(const uint64_t *x, size_t n, size_t ahead,
                               int streams)
{
    uint64_t s[32] = { 0 }, all = 0;
    size_t i = 0;

    for (; i + 32 <= n; i += 32) {
        for (size_t j = 0; j < 32 && !streams; j += 8)
            __builtin_prefetch(x + i + j + ahead);
        if (streams)
            prefetch_streams(x + i);
        for (size_t j = 0; j < 32; j++)
            s[j] += x[i + j];
    }
    for (; i < n; i++)
        all += x[i];
    for (size_t j = 0; j < 32; j++)
        all += s[j];
    return all;
}

/* The quarters of scale_quarters(). */
WIDE static uint64_t sum_quarters(const uint64_t *x, size_t n)
{
    const size_t quarter = n / 128 * 32;
    uint64_t s[32] = { 0 }, all = 0;

    for (size_t i = 0; i < quarter; i += 32)
        for (size_t q = 0; q < 4 * quarter; q += quarter) {
            for (size_t j = 0; j < 32; j += 8)
                __builtin_prefetch(x + q + i + j + 128);
            for (size_t j = 0; j < 32; j++)
                s[j] += x[q + i + j];
        }
    for (size_t i = 4 * quarter; i < n; i++)
        all += x[i];
    for (size_t j = 0; j < 32; j++)
        all += s[j];
    return all;
}

enum { READ_PLAIN, READ_8K, READ_16K, READ_STREAMS, READ_QUARTERS, READS,
       SCALE_PLAIN = READS, SCALE_8K, SCALE_16K, SCALE_STREAMS, SCALE_PIECES,
       SCALE_QUARTERS, LOOPS };

const char *loop_name(int loop)
{
    static const char *const names[LOOPS] = {
        [READ_PLAIN] = "plain", [READ_8K] = "8K ahead",
        [READ_16K] = "16K ahead", [READ_STREAMS] = "streams",
        [READ_QUARTERS] = "quarters", [SCALE_PLAIN] = "plain",
        [SCALE_8K] = "8K ahead", [SCALE_16K] = "16K ahead",
        [SCALE_STREAMS] = "streams", [SCALE_PIECES] = "pieces",
        [SCALE_QUARTERS] = "quarters"
    };

    return names[loop];
}

/* Each asks for memory from first to last. */
static int is_straight(int loop)
{
    return loop != READ_STREAMS && loop != READ_QUARTERS
           && loop != SCALE_STREAMS && loop != SCALE_QUARTERS;
}

static void run_loop(int loop, void *p, size_t bytes)
{
    switch (loop) {
    case READ_PLAIN:  sink = sum_plain(p, bytes / 8); break;
    case READ_8K:     sink = sum_ahead(p, bytes / 8, 1024, 0); break;
    case READ_16K:    sink = sum_ahead(p, bytes / 8, 2048, 0); break;
    case READ_STREAMS: sink = sum_ahead(p, bytes / 8, 0, 1); break;
    case READ_QUARTERS: sink = sum_quarters(p, bytes / 8); break;
    case SCALE_PLAIN: scale_plain(p, bytes / 4, one); break;
    case SCALE_8K:    scale_ahead(p, bytes / 4, one, 2048); break;
    case SCALE_16K:   scale_ahead(p, bytes / 4, one, 4096); break;
    case SCALE_STREAMS: scale_streams(p, bytes / 4, one); break;
    case SCALE_PIECES: scale_pieces(p, bytes / 4, one); break;
    default:          scale_quarters(p, bytes / 4, one); break;
    }
}

/* ---- On threads ---------------------------------------------------------- */

typedef struct pass {
    int loop;
    char *p;
    size_t bytes;
} pass;

static void one_share(void *job, int t, int threads)
{
    const pass *a = job;
    const size_t share = a->bytes / (size_t)threads / 4096 * 4096;
    char *p = a->p + (size_t)t * share;

    run_loop(a->loop, p,
             t + 1 < threads ? share : a->bytes - (size_t)t * share);
}

static double time_pass(const limits *l, int loop, void *p, size_t bytes)
{
    pass a = { loop, p, bytes };
    const double start = now();

    pool_run(l->pool, l->threads, one_share, &a);
    return now() - start;
}

static double better(const limits *l, const int *loop, void *p, size_t bytes)
{
    const double x = time_pass(l, loop[0], p, bytes);
    const double y = time_pass(l, loop[1], p, bytes);

    return x < y ? x : y;
}

/* The two loops with the shortest median, of those of a kind from .. to - 1. */
static double best_two(limit_kind kind, const double *median, int from, int to,
                       int *best)
{
    best[0] = best[1] = -1;
    for (int k = from; k < to; k++) {
        if (kind == STRAIGHT_LOOP && !is_straight(k))
            continue;
        if (best[0] < 0 || median[k] < median[best[0]]) {
            best[1] = best[0];
            best[0] = k;
        } else if (best[1] < 0 || median[k] < median[best[1]]) {
            best[1] = k;
        }
    }
    return median[best[0]];
}

limits limits_find(limit_kind kind, pool_kind pool, int threads, void *p,
                   size_t bytes)
{
    enum { ROUNDS = 7 };
    double time[LOOPS][ROUNDS], middle[LOOPS];
    limits l = { .kind = kind, .pool = pool, .threads = threads };

    for (int r = -1; r < ROUNDS; r++)   /* the first round warms up */
        for (int k = 0; k < LOOPS; k++)
            time[k][r < 0 ? 0 : r] = time_pass(&l, k, p, bytes);
    for (int k = 0; k < LOOPS; k++)
        middle[k] = median(time[k], ROUNDS);
    l.read_gbs = 1e-9 * (double)bytes
                 / best_two(kind, middle, 0, READS, l.read);
    l.scale_gbs = 2e-9 * (double)bytes
                  / best_two(kind, middle, READS, LOOPS, l.scale);
    return l;
}

double limit_read(const limits *l, void *p, size_t bytes)
{
    return better(l, l->read, p, bytes);
}

double limit_in_place(const limits *l, void *p, size_t bytes)
{
    return better(l, l->scale, p, bytes);
}
