/* Rows of logits that go as a row may: the shapes that a kernel which keeps
 * what it has computed has to cope with.
 *
 * SPDX-License-Identifier: MIT */
#ifndef ROW_SHAPES_H
#define ROW_SHAPES_H
#include "test.h"

#include <math.h>

/* How the logits of a row go. */
typedef enum shape {
    PLAIN, PEAKED, CLIMB, LEAPS, STAIRS, MASKED_FIRST, MASKED_MOSTLY,
    MASKED_ALL, UPWARDS_FAR, JUST_FAR, AROUND_FAR, BELOW_FAR, FAR,
    LABEL_FAR, EQUAL, HAS_NAN, HAS_INF,
    MIXED, SHAPES               /* mixed: each row another */
} shape;

static const char *const shape_name[SHAPES] = {
    "plain", "peaked", "climb", "leaps", "stairs", "masked first",
    "masked mostly", "masked all", "upwards far", "just far", "around far",
    "below far", "far", "label far", "equal", "NaN", "infinite", "mixed"
};

/* The logit of column j of V. */
static inline float logit(rng *r, shape kind, int64_t j, int64_t V)
{
    const double x = rng_normal(r), part = (double)j / (double)V;

    switch (kind) {
    case PEAKED:
        return (float)(x - (rng_below(r, 500) ? 40 : 0));
    case CLIMB:                     /* past what a float has room for */
        return (float)(x + 300 * part);
    case LEAPS:                     /* many times, and further each time */
        return (float)(x + pow(4, floor(9 * part)) - 100);
    case STAIRS:                    /* nearly past it, then far past it */
        return (float)(x + 60 * floor(9 * part) + 20 * floor(4.5 * part));
    case MASKED_FIRST:
        return part < 0.4 ? -INFINITY : (float)(x - 20000);
    case MASKED_MOSTLY:
        return rng_below(r, 50) ? -INFINITY : (float)(30 * x);
    case MASKED_ALL:
        return -INFINITY;
    case UPWARDS_FAR:               /* crosses 65536 */
        return (float)(x + 65536 + 400 * (part - 0.5));
    case JUST_FAR:                  /* so that nothing becomes nothing */
        return (float)(x + 65536 + 30 * (part - 0.5));
    case AROUND_FAR:                /* both sides in one block */
        return (float)(65536 + (rng_below(r, 2) ? 3 : 95) * x);
    case BELOW_FAR:
        return (float)(x - 65536 + 400 * (part - 0.5));
    case FAR:
        return (float)(x * 1e30);
    case EQUAL:
        return 2.5f;
    case HAS_NAN:
        return j == V / 2 ? NAN : (float)x;
    case HAS_INF:
        return j == V / 2 ? INFINITY : (float)x;
    default:
        return (float)(4 * x);
    }
}

#endif
