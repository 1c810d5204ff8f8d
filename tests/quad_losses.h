/* The shipped loss files over quad precision, and points to try them at.
 *
 * SPDX-License-Identifier: MIT
 *
 * Losses are written over `real`: here that is quad, under the names of the
 * library, whose double lies in another translation unit and is reached
 * through bnfloss.h. So a new line of the table is walked without a word
 * here. What a loss is *said* to be stands in the tests, in plain words. */
#ifndef QUAD_LOSSES_H
#define QUAD_LOSSES_H

#include "quad.h"
#include "test.h"

#if QUAD

#define BN_REAL
typedef quad bn_real;
#define BN_R_EXP expq
#define BN_R_EXPM1 expm1q
#define BN_R_LOG logq
#define BN_R_LOG1P log1pq
#define BN_R_INFINITY ((quad)BN_INF)
#define BN_R_LN2 ((quad)0x1.62e42fefa39efp-1 + (quad)0x1.abc9e3b39803fp-56    \
               + (quad)0x1.7b57a079a1934p-111)
#include "losses_table.h"

static inline quad q_abs(quad x) { return x < 0 ? -x : x; }
static inline quad q_max(quad a, quad b) { return a > b ? a : b; }
static inline int q_finite(quad x) { return x - x == 0; }

/* ---- What a loss says of two responses, or of one ------------------------ */

typedef struct answer {
    quad value;
    quad d_chosen, d_rejected;        /* dL/dl of the chosen, the rejected response; of one
                           response: d_chosen */
    quad du;            /* dL/du, where there is a margin */
} answer;

static inline quad margin_of(const bn_loss *loss, const bn_params *k,
                             const bn_response *w, const bn_response *x)
{
    const bn_margin m = loss->margin(k, w, x);

    return k->scale * k->beta * m.h + (k->margin + m.add);
}

/* side: of a loss by sequence, which is of w alone. */
static inline answer ask(const bn_loss *loss, const bn_params *k,
                         const bn_response *w, const bn_response *x, int side)
{
    answer a = { 0, 0, 0, 0 };
    bn_margin m;

    if (loss->sequence_loss) {
        a.value = loss->sequence_loss(k, w, side, &a.d_chosen);
    } else if (loss->pair_loss) {
        a.value = loss->pair_loss(k, w, x, &a.d_chosen, &a.d_rejected);
    } else {
        m = loss->margin(k, w, x);
        a.value = loss->margin_loss(k, margin_of(loss, k, w, x), &a.du);
        a.d_chosen = a.du * (k->scale * k->beta) * m.d_chosen;
        a.d_rejected = a.du * (k->scale * k->beta) * m.d_rejected;
    }
    return a;
}

/* ---- Random numbers of a loss -------------------------------------------- */

static inline float next_float(float x, int up)
{
    uint32_t bits = bn_bits_of(x);

    if (x == 0)
        return bn_float_of(up ? 1u : 0x80000001u);
    bits = (x > 0) == (up != 0) ? bits + 1 : bits - 1;
    return bn_float_of(bits);
}

static inline float two_to(rng *r, double spread)
{
    return (float)expq((quad)(spread * rng_normal(r)) * BN_R_LN2);
}

/* Anywhere in a range, at its ends too. Where it has no end worth the name,
 * a few powers of two around the default. */
static inline float number_draw(rng *r, const bn_range *range, float usual)
{
    const int what = (int)rng_below(r, 12);
    const float low = range->open & BN_ABOVE ? next_float(range->low, 1)
                                             : range->low;
    const float high = range->open & BN_BELOW ? next_float(range->high, 0)
                                              : range->high;
    float x;

    if (range->high <= 1) {
        if (what < 2)
            return what ? low : high;
        x = low + (high - low) * (float)rng_uniform(r);
        return x < low ? low : x > high ? high : x;
    }
    if (what == 0 && !(range->open & BN_ABOVE))
        return 0;
    x = (usual > 0 ? usual : 1) * two_to(r, what == 1 ? 10 : 1.5);
    return range->low < 0 && rng_next(r) & 1 ? -x : x;
}

/* A loss with numbers within their ranges and, where it may have one, an
 * f-divergence. Not yet: sft_weight, ld_alpha, flags. */
static inline void spec_draw(bnfloss_spec *spec, uint32_t kind, rng *r)
{
    const bn_loss *loss = bn_loss_of(kind);
    float usual, x;

    bnfloss_spec_init(spec, sizeof *spec, kind);
    for (int n = 1; n < BN_NUMBERS; n++) {
        if (n == BN_SFT_WEIGHT || n == BN_LD_ALPHA
            || !bn_accepts(loss, (bn_number)n, &usual))
            continue;
        x = number_draw(r, &bn_number_ranges[n].range, usual);
        memcpy((char *)spec + bn_number_ranges[n].at, &x, sizeof x);
    }
    if (bn_accepts(loss, BN_TAU_MAX, &usual) && spec->tau_max < spec->tau)
        spec->tau_max = spec->tau;
    if (loss->traits & BN_DIVERGENCE) {
        static const float near_1[] = { 1, 0x1.fffffep-1f, 0x1.000002p0f,
                                        0x1.ffffcp-1f, 0x1.00004p0f };

        spec->f_divergence = (uint32_t)rng_below(r, 4);
        if (rng_below(r, 4) == 0)
            spec->f_alpha = near_1[rng_below(r, 5)];
    }
}

/* The same as a loss reads them. */
static inline bn_params numbers_of(const bnfloss_spec *spec)
{
    bn_params k;

    memset(&k, 0, sizeof k);
    k.beta = spec->beta > 0 ? (quad)spec->beta : 1;
    k.flip = spec->flip_prob;
    k.gamma = spec->gamma;
    k.alpha = spec->alpha;
    k.penalty = spec->penalty;
    k.tau = spec->tau;
    k.tau_max = spec->tau_max;
    k.rho = spec->rho;
    k.cap = spec->cap;
    k.eps = spec->eps;
    k.dft = (spec->flags & BNFLOSS_DFT) != 0;
    k.desirable = spec->desirable_weight;
    k.undesirable = spec->undesirable_weight;
    k.order = spec->f_alpha;
    k.divergence = spec->f_divergence;
    k.root = spec->rho > 0 ? bn_ada_root(k.rho) : 0;
    k.scale = 1;
    return k;
}

/* How fast an exponential of the log-ratios grows, before any beta. */
static inline quad growth(const bn_loss *loss, const bn_params *k)
{
    quad c = 0;

    if (k->divergence == BNFLOSS_ALPHA_DIVERGENCE)
        c = q_abs(k->order - 1);
    else if (k->divergence)
        c = 1;
    if (loss->margin == bn_margin_alphapo)
        c = q_abs(k->alpha);
    return c;
}

/* ---- Random responses ---------------------------------------------------- */

/* What s beta times a log-ratio comes to: ordinary, huge, tiny, nothing. */
static inline quad reward_draw(rng *r)
{
    switch (rng_below(r, 16)) {
    case 0: return 1e4 * (2 * rng_uniform(r) - 1);
    case 1: case 4: return 60 * rng_normal(r);
    case 2: case 5: return 1e-6 * rng_normal(r);
    case 3: return 0;
    default: return 3 * rng_normal(r);
    }
}

/* As a double, so that a step of a power of two is added without rounding. */
static inline quad as_double(quad x) { return (quad)(double)x; }

/* A response whose part of the margin is a reward from reward_draw(). Where
 * the log-ratio goes through an exponential it is kept so small that the
 * reward stays within about 1e4 all the same. */
static inline bn_response response_draw(const bn_loss *loss,
                                        const bn_params *k, rng *r)
{
    const int mean = (loss->traits & (BN_LENGTHS | BN_MEAN_REWARD)) != 0;
    const quad c = growth(loss, k), strength = k->scale * k->beta;
    quad x = reward_draw(r) / strength, max;
    bn_response y;

    y.n = rng_below(r, 16) == 0 ? 100000 : 1 + (quad)rng_below(r, 60);
    y.distance = 3 * rng_normal(r);
    if (!(loss->traits & BN_REFERENCE)) {       /* l alone is the reward */
        x = -q_abs(x);
        if (x == 0 && mean)                     /* nearly sure */
            x = -scalbnq(1, -(int)rng_below(r, 60));
    }
    if (c > 0) {
        max = log1pq((quad)1e4 * q_max(c, 1) / strength) / c;
        x = x > max ? max * rng_uniform(r) : x;
        x = x < -max ? -max * rng_uniform(r) : x;
    }
    y.ratio = as_double(x * (mean && !k->divergence ? y.n : 1));
    y.l = y.ratio;
    if (loss->traits & BN_REFERENCE) {
        y.l = as_double(-q_abs(rng_normal(r)) * y.n);
        y.l = y.l < y.ratio ? y.l : y.ratio;    /* so that r <= 0 */
    }
    y.r = y.l - y.ratio;
    if (!mean && rng_below(r, 16) == 0)         /* an empty completion */
        y.n = y.l = y.r = y.ratio = 0;
    return y;
}

/* Two of them, and what the pair and the call bring to the numbers. */
static inline void pair_draw(const bn_loss *loss, bn_params *k, bn_response *w,
                             bn_response *x, rng *r)
{
    k->scale = rng_next(r) & 1 && loss->margin ? (quad)two_to(r, 1) : 1;
    k->margin = 0;
    if (rng_next(r) & 1 && loss->margin)
        k->margin = as_double(reward_draw(r));
    k->logit = as_double(5 * rng_normal(r));
    k->kl = q_abs(rng_normal(r)) * 3 / k->beta;
    k->baseline = rng_normal(r) * 3;
    *w = response_draw(loss, k, r);
    *x = response_draw(loss, k, r);
}

#endif /* QUAD */

#endif /* QUAD_LOSSES_H */
