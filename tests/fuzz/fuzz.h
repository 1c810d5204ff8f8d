/* What the fuzz targets share: bytes to choose from, buffers that are compared,
 * and a way to fail.
 *
 * SPDX-License-Identifier: MIT
 *
 * A target is LLVMFuzzerTestOneInput(). It turns bytes into one call of the
 * library, and aborts where the library breaks a promise. All it decides is
 * exact and independent of the machine, so that one input means one call
 * everywhere and the bits that come out can be hashed: see replay.c. */
#ifndef FUZZ_H
#define FUZZ_H

#include "../../include/bnfloss.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/precise.h"      /* the tests' own arithmetic is IEEE too */

/* C++ apart, this is what libFuzzer calls. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The bits of every valid call so far, and what has been done. */
static uint64_t fuzz_hash = UINT64_C(14695981039346656037);
static long long fuzz_valid, fuzz_refused, fuzz_compared;

#define MUST(cond, ...)                                                       \
    do {                                                                      \
        if (!(cond)) {                                                        \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                   \
            fprintf(stderr, __VA_ARGS__);                                     \
            fprintf(stderr, "\n");                                            \
            abort();                                                          \
        }                                                                     \
    } while (0)

/* ---- Bytes -------------------------------------------------------------- */

typedef struct bytes { const uint8_t *at, *end; } bytes;

/* The next byte; 0 after the last. */
static inline uint32_t take(bytes *b)
{
    return b->at < b->end ? *b->at++ : 0;
}

static inline uint64_t take_word(bytes *b, int size)
{
    uint64_t x = 0;

    for (int i = 0; i < size; i++)
        x = x << 8 | take(b);
    return x;
}

/* 0 .. n-1, n at most 256 */
static inline int64_t below(bytes *b, int64_t n)
{
    return (int64_t)take(b) % n;
}

/* One time in n. Exhausted bytes never hit. */
static inline int chance(bytes *b, int n)
{
    return (int)(take(b) % (uint32_t)n) == n - 1;
}

static inline float float_from(uint32_t bits)
{
    float x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline double double_from(uint64_t bits)
{
    double x;

    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Content that is too much for the bytes themselves: splitmix64. */
static inline uint64_t mix(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9E3779B97F4A7C15);

    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

/* ---- Regions: what a call may write ------------------------------------- */

/* Each is a block of its own, so that a sanitizer sees the byte before and
 * the byte behind. */
typedef struct region {
    unsigned char *now, *first, *want;
    size_t size, word;          /* word: bytes of an element */
    size_t skip;                /* not hashed: the caller's own fields */
} region;

enum { REGIONS = 24 };
static region regions[REGIONS];
static int region_count;

static inline void *fuzz_alloc(size_t size)
{
    void *p = malloc(size ? size : 1);

    MUST(p, "no memory for a test");
    return p;
}

static inline region *region_new(size_t count, size_t word)
{
    region *r = regions + region_count++;

    MUST(region_count <= REGIONS, "a target has too many regions");
    r->size = count * word;
    r->word = word;
    r->skip = 0;
    r->now = (unsigned char *)fuzz_alloc(r->size);
    r->first = (unsigned char *)fuzz_alloc(r->size);
    r->want = (unsigned char *)fuzz_alloc(r->size);
    memset(r->now, 0xA5, r->size);
    return r;
}

/* What the regions hold now is what they hold before a call. */
static inline void regions_begin(void)
{
    for (int i = 0; i < region_count; i++)
        memcpy(regions[i].first, regions[i].now, regions[i].size);
}

static inline void regions_reset(void)
{
    for (int i = 0; i < region_count; i++)
        memcpy(regions[i].now, regions[i].first, regions[i].size);
}

static inline void regions_save(void)
{
    for (int i = 0; i < region_count; i++)
        memcpy(regions[i].want, regions[i].now, regions[i].size);
}

static inline void regions_free(void)
{
    for (int i = 0; i < region_count; i++) {
        free(regions[i].now);
        free(regions[i].first);
        free(regions[i].want);
    }
    region_count = 0;
}

/* Whether a region is as it was before the call, 8 bytes at `but` apart (0:
 * none apart). */
static inline int region_untouched(const region *r, size_t but)
{
    const size_t end = but ? but + 8 : 0;

    if (but && r->size <= end)
        return memcmp(r->now, r->first, but < r->size ? but : r->size) == 0;
    return memcmp(r->now, r->first, but) == 0
           && memcmp(r->now + end, r->first + end, r->size - end) == 0;
}

static inline int region_same(const region *r)
{
    return memcmp(r->now, r->want, r->size) == 0;
}

static inline void hash_add(uint64_t x)
{
    fuzz_hash = (fuzz_hash ^ x) * UINT64_C(1099511628211);
    fuzz_hash ^= fuzz_hash >> 32;
}

/* By element, so that the order of bytes does not matter. */
static inline void hash_region(const region *r)
{
    for (size_t i = r->skip; i + r->word <= r->size; i += r->word) {
        uint16_t half;
        uint32_t word;
        uint64_t wide;

        switch (r->word) {
        case 1: hash_add(r->now[i]); break;
        case 2: memcpy(&half, r->now + i, 2); hash_add(half); break;
        case 4: memcpy(&word, r->now + i, 4); hash_add(word); break;
        default: memcpy(&wide, r->now + i, 8); hash_add(wide); break;
        }
    }
}

/* ---- Instruction sets --------------------------------------------------- */

/* Those of this machine, "scalar" first; FUZZ_ISA=avx2 leaves out AVX-512,
 * which an emulator may pretend to have. */
static inline int fuzz_isas(const char *name[4])
{
    const char *max = getenv("FUZZ_ISA"), *isa;
    int n = 0;

    for (int i = 0; (isa = bnfloss_isa_name(i)) != NULL; i++) {
        if (bnfloss_isa_select(isa) == BNFLOSS_OK)
            name[n++] = isa;
        if (max && strcmp(max, isa) == 0)
            break;
    }
    return n;
}

#endif /* FUZZ_H */
