/* The test harness: checks, a seeded generator, a loop over the ISAs.
 *
 * SPDX-License-Identifier: MIT
 *
 *     int main(void)
 *     {
 *         FOR_EACH_ISA(isa)
 *             CHECK(1 + 1 == 2, "on %s", isa);
 *         return test_end();
 *     }
 *
 * A test of the API links the library; one that needs the inside includes
 * "../src/bnfloss.c" first. */
#ifndef TEST_H
#define TEST_H

#include "elements.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static long long test_passed, test_failed, test_skipped;
static char test_isas[64];              /* which of them ran */

/* ---- Checks ------------------------------------------------------------- */

static inline int test_pass(void)
{
    test_passed++;
    return 1;
}

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static inline int test_fail(const char *file, int line, const char *format,
                            ...)
{
    va_list args;

    if (++test_failed > 20)             /* the first 20 tell enough */
        return 0;
    printf("%s:%d: ", file, line);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\n");
    return 0;
}

/* CHECK(condition, "what was wrong: %d", n); true if it held. What is to be
 * printed is only computed when it did not. */
#define CHECK(cond, ...)                                                      \
    ((cond) ? test_pass() : test_fail(__FILE__, __LINE__, __VA_ARGS__))

/* Something that this machine or build cannot test. */
static inline void test_skip(const char *what)
{
    printf("SKIPPED: %s\n", what);
    test_skipped++;
}

/* "NAME: N passed, M failed, K skipped", and main's return value: 0, 1, or 77
 * where all was skipped. A program that has checked nothing has failed. */
static inline int test_finish(const char *file)
{
    const char *slash = strrchr(file, '/');
    const char *name = slash ? slash + 1 : file;

    if (test_isas[0])
        printf("ran on%s\n", test_isas);
    printf("%.*s: %lld passed, %lld failed, %lld skipped\n",
           (int)strcspn(name, "."), name, test_passed, test_failed,
           test_skipped);
    if (test_failed == 0 && test_passed == 0 && test_skipped > 0)
        return 77;
    return test_failed > 0 || test_passed == 0;
}

#define test_end() test_finish(__FILE__)

/* An empty struct of the API: zeros, padding included, and its own size. */
#define EMPTY(s) (memset(&(s), 0, sizeof(s)), (s).struct_size = sizeof(s))

/* ---- Random numbers: splitmix64, so that any seed will do --------------- */

typedef struct rng { uint64_t state; } rng;

static inline uint64_t rng_next(rng *r)
{
    uint64_t x = r->state += UINT64_C(0x9E3779B97F4A7C15);

    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* 0 .. n-1 */
static inline int64_t rng_below(rng *r, int64_t n)
{
    return (int64_t)(rng_next(r) % (uint64_t)n);
}

/* [0, 1) */
static inline double rng_uniform(rng *r)
{
    return (double)(rng_next(r) >> 11) * 0x1p-53;
}

/* Mean 0, variance 1: twelve uniforms, which need no libm. */
static inline double rng_normal(rng *r)
{
    double s = -6;

    for (int i = 0; i < 12; i++)
        s += rng_uniform(r);
    return s;
}

/* ---- Instruction sets --------------------------------------------------- */

/* Selects the next instruction set of this build after `now` (NULL: the first)
 * that this CPU has, and names it; NULL, and back to "auto", after the last.
 * One that this CPU lacks counts as skipped, once. */
static inline const char *test_isa(const char *now)
{
    static int seen[16];
    const char *name;
    int found = now == NULL;

    for (int i = 0; (name = bnfloss_isa_name(i)) != NULL; i++) {
        if (!found) {
            found = strcmp(name, now) == 0;
            continue;
        }
        if (bnfloss_isa_select(name) != BNFLOSS_OK) {
            if (!seen[i]++)
                test_skip(name);
            continue;
        }
        if (!seen[i]++) {
            strcat(test_isas, " ");
            strcat(test_isas, name);
        }
        return name;
    }
    bnfloss_isa_select("auto");
    return NULL;
}

#define FOR_EACH_ISA(name) \
    for (const char *name = test_isa(NULL); name; name = test_isa(name))

#endif /* TEST_H */
