/* The library's own table of losses, for tests that ask it what a loss needs.
 *
 * SPDX-License-Identifier: MIT
 *
 * It is compiled here once more, over double or whatever BN_REAL says, so a
 * test that uses it still links nothing but the API. test_losses.c checks it
 * against what the header says, in a table of the tests' own. */
#ifndef LOSSES_TABLE_H
#define LOSSES_TABLE_H

#include "../include/bnfloss.h"

#include <stdint.h>

#if defined(__GNUC__)           /* each program uses its part of it */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#endif
#include "../src/core.h"
#ifndef BN_REAL
#include "../src/math.c"
#endif
#include "../src/losses/formulas.h"
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

/* ---- What a loss takes and needs ---------------------------------------- */

static inline int has_trait(uint32_t kind, unsigned traits)
{
    return (bn_loss_of(kind)->traits & traits) != 0;
}

static inline bn_shape shape_of(uint32_t kind)
{
    return bn_loss_of(kind)->shape;
}

static inline int is_paired(uint32_t kind)
{
    return bn_has_pairs(bn_loss_of(kind));
}

static inline int has_margin(uint32_t kind)
{
    return bn_has_margin(bn_loss_of(kind));
}

/* The range of a number that the loss takes at the place of `number` in a
 * spec, or BN_NO_NUMBER: flip_prob has one range of each of three losses. */
static inline bn_number number_taken(uint32_t kind, bn_number number,
                                     float *value)
{
    for (int n = 1; n < BN_NUMBERS; n++)
        if (bn_number_ranges[n].at == bn_number_ranges[number].at
            && bn_accepts(bn_loss_of(kind), (bn_number)n, value))
            return (bn_number)n;
    return BN_NO_NUMBER;
}

static inline int takes(uint32_t kind, bn_number number)
{
    float unused;

    return number_taken(kind, number, &unused) != BN_NO_NUMBER;
}

/* The flags of a spec that the loss takes. */
static inline uint32_t flags_taken(uint32_t kind)
{
    return BNFLOSS_DEFER_SCALE
           | (kind == BNFLOSS_SFT ? BNFLOSS_DFT | BNFLOSS_CHOSEN_ONLY : 0u)
           | (bn_couples(bn_loss_of(kind)) && has_trait(kind, BN_REFERENCE)
                  ? BNFLOSS_REFERENCE_FREE : 0u)
           | (shape_of(kind) == BN_BY_PAIR ? BNFLOSS_WPO : 0u)
           | (has_trait(kind, BN_MASK) ? BNFLOSS_POLICY_WEIGHTS : 0u);
}

#endif /* LOSSES_TABLE_H */
