/* The library's numbers against an oracle in long double, element by element:
 * every bound that the library promises, on rows that are hard on purpose.
 *
 * SPDX-License-Identifier: MIT
 *
 * Bounds are in u = 2^-24, half an ulp of 1.0f:
 *
 *     gradient    2u |dlogp| a logit, dlogp as the library reports it; times
 *                 the logit scale; (2 + softcap)u with a softcap; times
 *                 (1 + 2 zeta |lse|) with a z-loss; one u more with the
 *                 oracle's own dlogp. 16 bits: rounded once from within that
 *     row sum     8u (1-p) |dlogp|
 *     values      relative (10 + 2 (max - min of z'))u; exactly 0 at V = 1
 *     logp        relative 4u where nothing happens to the logits
 *     g           in [0,1], and 1 where p >= q
 *
 * One ISA is compared with the oracle and all with each other, bit by bit.
 * "--all" takes more rows. */
#include "../src/bnfloss.c"
#include "test.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

typedef long double wide;

#define U 0x1p-24L
#define TINY 0x1p-124L          /* gradients below "about 2^-125" are 0, before
                                 * they are multiplied by a logit scale */

/* ---- Rows that are hard ------------------------------------------------- */

typedef enum hard {
    RANDOM, SPREAD, SURE, SURER, UNLIKELY, OTHER_LEADS, OFFSET_UP, OFFSET_DOWN,
    EQUAL, TIES, MASKED, LABEL_MASKED, ONLY, HUGE_LOGITS, DENORMAL, STEEP,
    HARDS
} hard;

static const char *const hard_names[HARDS] = {
    "random", "spread", "sure of the label", "surer", "label unlikely",
    "another leads by 15 to 40", "offset 1e4", "offset -1e4", "all equal",
    "several maxima", "masked", "label masked", "label alone", "1e38",
    "denormal", "range 2e4"
};

static float one_logit(rng *r, hard h, double size)
{
    switch (h) {
    case SPREAD:      return (float)(10 * rng_normal(r));
    case OFFSET_UP:   return (float)(1e4 + 2 * rng_normal(r));
    case OFFSET_DOWN: return (float)(-1e4 + 2 * rng_normal(r));
    case EQUAL:       return 1.25f;
    case TIES:        return (float)(rng_below(r, 4) - 1);
    case HUGE_LOGITS: return (float)(size * (2 * rng_uniform(r) - 1));
    case DENORMAL:    return (float)(rng_normal(r) * 1e-39);
    case STEEP:       return (float)(2e4 * rng_uniform(r) - 1e4);
    case MASKED:
    case LABEL_MASKED:
        return rng_next(r) & 1 ? -BN_INF_F32 : (float)(2 * rng_normal(r));
    case ONLY:       return -BN_INF_F32;
    default:          return (float)(2 * rng_normal(r));
    }
}

static void fill(rng *r, hard h, float *z, int64_t n, int64_t y, double size)
{
    const int64_t other = n > 1 ? (y + 1 + rng_below(r, n - 1)) % n : y;
    float top = -BN_INF_F32;

    for (int64_t i = 0; i < n; i++) {
        z[i] = one_logit(r, h, size);
        if (z[i] > top)
            top = z[i];
    }
    switch (h) {
    case SURE:        z[y] = top + (float)(30 * rng_uniform(r)); break;
    case SURER:       z[y] = top + (float)(30 + 57 * rng_uniform(r)); break;
    case UNLIKELY:    z[y] = top - (float)(20 + 70 * rng_uniform(r)); break;
    case OTHER_LEADS: z[other] = top + (float)(15 + 25 * rng_uniform(r)); break;
    case MASKED:
    case ONLY:       z[y] = (float)rng_normal(r); break;
    case LABEL_MASKED:
        z[other] = 1;
        z[y] = n > 1 ? -BN_INF_F32 : 1;
        break;
    default: break;
    }
}

/* ---- What is tried ------------------------------------------------------ */

typedef struct config {
    const char *name;
    uint32_t kind, flags;
    float scale, softcap, smoothing, z_loss, eps, flip;
    int weights;
} config;

static const config configs[] = {
    { "SFT", BNFLOSS_SFT, 0, 0, 0, 0, 0, 0, 0, 0 },
    { "BNF", BNFLOSS_BNF, 0, 0, 0, 0, 0, 0, 0, 0 },
    { "DPO", BNFLOSS_DPO, 0, 0, 0, 0, 0, 0, 0, 0 },
    { "SFT, z-loss, smoothing", BNFLOSS_SFT, 0, 0, 0, .1f, 1e-3f, 0, 0, 0 },
    { "SFT, weights", BNFLOSS_SFT, 0, 0, 0, 0, 0, 0, 0, 1 },
    { "DFT", BNFLOSS_SFT, BNFLOSS_DFT, 0, 0, 0, 0, 0, 0, 0 },
    { "SFT, smoothing", BNFLOSS_SFT, 0, 0, 0, .1f, 0, 0, 0, 0 },
    { "SFT, smoothing 1", BNFLOSS_SFT, 0, 0, 0, 1, 0, 0, 0, 0 },
    { "SFT, z-loss", BNFLOSS_SFT, 0, 0, 0, 0, 1e-4f, 0, 0, 0 },
    { "BNF, weights", BNFLOSS_BNF, 0, 0, 0, 0, 0, 0, 0, 1 },
    { "BNF, eps", BNFLOSS_BNF, 0, 0, 0, 0, 0, 1e-6f, 0, 0 },
    { "cDPO", BNFLOSS_DPO, 0, 0, 0, 0, 0, 0, .2f, 1 },
    { "SFT, scale .001", BNFLOSS_SFT, 0, 1e-3f, 0, 0, 0, 0, 0, 0 },
    { "SFT, scale 30", BNFLOSS_SFT, 0, 30, 0, 0, 0, 0, 0, 0 },
    { "BNF, scale .7", BNFLOSS_BNF, 0, .7f, 0, 0, 0, 0, 0, 0 },
    { "SFT, softcap 30", BNFLOSS_SFT, 0, 0, 30, 0, 0, 0, 0, 0 },
    { "BNF, softcap 50", BNFLOSS_BNF, 0, 0, 50, 0, 0, 0, 0, 0 },
    { "SFT, all of it", BNFLOSS_SFT, 0, .7f, 30, .1f, 1e-4f, 0, 0, 1 },
};

enum { CONFIGS = sizeof configs / sizeof *configs, ROWS = 64, SEQUENCE = 4,
       ISAS = 4 };

typedef struct batch {
    const config *c;
    int64_t V, N;
    uint32_t type, grad_type;
    float *z;                   /* (N,V) what the logits are, as floats */
    void *logits;               /* (N,V) of the type */
    void *grad[ISAS];           /* one per ISA */
    int64_t seq_start[ROWS / SEQUENCE + 1];
    hard h[ROWS];
    int32_t label[ROWS], argmax[ROWS];
    float ref[ROWS], weight[ROWS];
    float logp[ROWS], rest[ROWS], entropy[ROWS], dlogp[ROWS], value[ROWS];
    double seq_loss[ROWS];
    bnfloss_result result;
} batch;

/* ---- The oracle --------------------------------------------------------- */

/* One row's truth. What is small keeps its relative accuracy: sums leave out
 * the largest term, and 1 - p is made of the others, relative to their own
 * largest, so that neither is ever a difference. */
typedef struct truth {
    wide *x;                    /* (V) z' */
    wide top, low;              /* largest x, smallest finite one */
    wide gap;                   /* lse - top */
    wide mean;                  /* of lse - x, over the finite x */
    wide logp, q, odds, rest, entropy, lse, finite;
    wide value, slope, dlogp;
} truth;

static wide mapped(const config *c, float z)
{
    const wide x = (c->scale > 0 ? c->scale : 1) * (wide)z;

    if (!(z > -BN_INF_F32))
        return -(wide)BN_INF;
    return c->softcap > 0 ? c->softcap * tanhl(x / c->softcap) : x;
}

static wide map_slope(const config *c, float z)
{
    const wide s = c->scale > 0 ? c->scale : 1;
    wide ch;

    if (!(c->softcap > 0))
        return s;
    ch = coshl(s * z / c->softcap);
    return s / (ch * ch);
}

/* The index of the largest x, `not` left out; -1 if there is none. */
static int64_t largest(const truth *t, int64_t V, int64_t not)
{
    int64_t at = -1;

    for (int64_t k = 0; k < V; k++)
        if (k != not && t->x[k] > (at < 0 ? -(wide)BN_INF : t->x[at]))
            at = k;
    return at;
}

/* No token but the label, or no label. */
static void softmax_only(truth *t)
{
    t->top = t->low = t->lse = 0;
    t->gap = t->mean = t->logp = t->q = t->rest = t->entropy = 0;
    t->odds = (wide)BN_INF;
    t->finite = 1;
}

static void softmax_of(const batch *b, int64_t i, truth *t)
{
    const int64_t y = b->label[i], V = b->V;
    wide sum = 0, dot = 0, total = 0, d, e, o;
    int64_t at;

    for (int64_t k = 0; k < V; k++)
        t->x[k] = mapped(b->c, b->z[i * V + k]);
    at = largest(t, V, y);
    if (at < 0) {
        softmax_only(t);
        t->top = t->low = t->lse = t->x[y];
        return;
    }
    d = t->x[y] - t->x[at];
    t->low = t->x[at];
    t->finite = t->x[y] > -(wide)BN_INF;
    for (int64_t k = 0; k < V; k++) {
        const wide c = t->x[k] - t->x[at];

        if (!(c > -(wide)BN_INF))
            continue;
        t->low = t->x[k] < t->low ? t->x[k] : t->low;
        total += c;
        if (k == y)
            continue;
        t->finite += 1;
        e = expl(c);
        sum += k == at ? 0 : e;
        dot += e * c;
    }
    o = expl(-d) * (1 + sum);           /* (1-p)/p */
    t->top = d > 0 ? t->x[y] : t->x[at];
    t->gap = d > 0 ? log1pl(o) : log1pl(sum + expl(d));
    t->lse = t->top + t->gap;
    t->logp = d > 0 ? -t->gap : d - t->gap;
    t->q = d > 0 ? o / (1 + o) : (1 + sum) / (1 + sum + expl(d));
    t->odds = d - log1pl(sum);
    t->rest = dot / (1 + sum) - t->gap - (d > 0 ? d : 0);
    t->entropy = (t->logp > -(wide)BN_INF ? -expl(t->logp) * t->logp : 0)
                 - (t->q > 0 ? t->q * t->rest : 0);
    t->mean = t->gap + (d > 0 ? d : 0) - total / t->finite;
}

static wide log1mexp_l(wide x)
{
    return x > -0.5L ? logl(-expm1l(x)) : log1pl(-expl(x));
}

static void bnf_of(truth *t, wide ref, wide eps)
{
    /* a logp between 0 and the smallest double is 0 to the library */
    const wide l = t->logp > -0x1p-1075L ? 0 : t->logp;
    const wide d = l - ref, p = expl(l), q = expl(ref);

    if (eps > 0) {              /* f and o as they are written down */
        const wide f = p >= q + eps ? 1 : p / (q + eps);
        const wide o = (1 - f + eps) / (t->q + eps);

        t->value = (f > 0 ? -f * t->logp : 0) - o * t->q * t->rest;
        t->slope = -(f < 1 ? p * (1 + eps) * (-expm1l(ref) - eps)
                             / ((q + eps) * (t->q + eps))
                           : (1 + eps) * t->q / (t->q + eps));
        return;
    }
    t->value = -t->logp;
    t->slope = -1;
    if (d < 0) {                /* f = e^d may still round to 1 */
        t->value = (expl(d) > 0 ? -expl(d) * t->logp : 0)
                   + expm1l(d) * t->rest;
        t->slope = -fminl(1, expl(t->odds - (ref - log1mexp_l(ref))));
    }
}

static void loss_of(const batch *b, int64_t i, truth *t)
{
    const config *c = b->c;

    t->slope = -1;
    t->value = -t->logp;
    if (c->kind == BNFLOSS_BNF) {
        bnf_of(t, (wide)b->ref[i], (wide)c->eps);
    } else if (c->kind == BNFLOSS_DPO) {
        t->slope = 1;
        t->value = t->logp - (wide)b->ref[i];
    } else if (c->flags & BNFLOSS_DFT) {
        t->slope = -expl(t->logp);
        t->value = t->slope < 0 ? t->slope * t->logp : 0;
    } else if (c->smoothing > 0 || c->z_loss > 0) {
        t->value = (c->smoothing < 1 ? -(1 - (wide)c->smoothing) * t->logp : 0)
                   + (c->smoothing > 0 ? (wide)c->smoothing * t->mean : 0)
                   + (wide)c->z_loss * t->lse * t->lse;
    }
}

/* ---- Making and running a batch ----------------------------------------- */

static void pack(batch *b)
{
    for (int64_t k = 0; k < b->N * b->V; k++) {
        if (b->type == BNFLOSS_F32) {
            ((float *)b->logits)[k] = b->z[k];
        } else if (b->type == BNFLOSS_BF16) {
            ((uint16_t *)b->logits)[k] = bn_to_bf16(b->z[k]);
            b->z[k] = bn_from_bf16(bn_to_bf16(b->z[k]));
        } else {
            const float z = b->z[k] > 6e4f ? 6e4f : b->z[k] < -6e4f
                            && b->z[k] > -BN_INF_F32 ? -6e4f : b->z[k];

            ((uint16_t *)b->logits)[k] = bn_to_f16(z);
            b->z[k] = bn_from_f16(bn_to_f16(z));
        }
    }
}

/* A reference for a token of log-probability l: far from it, next to it,
 * sure, nearly sure, impossible. */
static float reference(rng *r, float l)
{
    float x;

    switch (rng_below(r, 8)) {
    case 0:  return 0;
    case 1:  return -1e-30f;
    case 2:  return -BN_INF_F32;
    case 3:  return -60;
    case 4:  x = l + (float)(20 * rng_uniform(r)); break;
    case 5:  return (float)(-10 * rng_uniform(r));
    default: x = bn_float_of(bn_bits_of(l) + (uint32_t)rng_below(r, 7) - 3);
    }
    return x < 0 ? x : -0.25f;
}

static void make(batch *b, rng *r, truth *t)
{
    const double size = b->c->scale > 1 ? 1e36 : 1e38;

    for (int64_t i = 0; i < b->N; i++) {
        b->h[i] = (hard)(i % HARDS);
        /* no logp of -inf where a pair of them would be NaN */
        if (b->c->kind == BNFLOSS_DPO && b->h[i] == LABEL_MASKED)
            b->h[i] = MASKED;
        b->label[i] = (int32_t)rng_below(r, b->V);
        if (i % 5 == 0)
            b->label[i] = i % 2 ? 0 : (int32_t)(b->V - 1);
        fill(r, b->h[i], b->z + i * b->V, b->V, b->label[i], size);
    }
    pack(b);
    for (int64_t i = 0; i < b->N; i++) {
        softmax_of(b, i, t + i);
        b->ref[i] = reference(r, (float)t[i].logp);
        if (b->c->kind == BNFLOSS_DPO)
            b->ref[i] = b->ref[i] < -1e30f ? -7 : b->ref[i];
        b->weight[i] = (float)rng_normal(r);
    }
    for (int64_t s = 0; s <= b->N / SEQUENCE; s++)
        b->seq_start[s] = s * SEQUENCE;
}

static void run_one(batch *b, void *grad)
{
    static uint64_t work[65536];
    bnfloss_layout l = { .struct_size = sizeof l, .logits_type = b->type,
        .grad_type = b->grad_type, .flags = BNFLOSS_ENTROPY,
        .logit_scale = b->c->scale, .softcap = b->c->softcap,
        .label_smoothing = b->c->smoothing, .z_loss = b->c->z_loss,
        .rows = b->N, .vocab = b->V };
    bnfloss_inputs in = { .struct_size = sizeof in,
        .pairing = BNFLOSS_PAIRS_ADJACENT, .sequences = b->N / SEQUENCE,
        .seq_start = b->seq_start, .ref_logp = b->ref,
        .row_weight = b->c->weights ? b->weight : NULL };
    bnfloss_outputs out = { .struct_size = sizeof out, .logp = b->logp,
        .rest = b->rest, .entropy = b->entropy, .argmax = b->argmax,
        .dlogp = b->dlogp, .row_loss = b->value, .seq_loss = b->seq_loss };
    bnfloss_status status;
    bnfloss_spec spec;

    bnfloss_spec_init(&spec, sizeof spec, b->c->kind);
    spec.flags = b->c->flags;
    spec.eps = b->c->eps;
    spec.flip_prob = b->c->flip;
    b->result.struct_size = sizeof b->result;
    status = bnfloss_run(&l, &spec, &in, b->logits, b->label, grad, &out,
                         work, sizeof work, 1, &b->result);
    CHECK(status == BNFLOSS_OK, "%s: %s", b->c->name,
          bnfloss_status_string(status));
}

/* All ISAs; the outputs left in *b are the first's. */
static void run_all(batch *b)
{
    const size_t bytes = (size_t)(b->N * b->V)
                         * (b->grad_type == BNFLOSS_F32 ? 4 : 2);
    static batch first;
    int n = 0;

    FOR_EACH_ISA(isa) {
        memset(b->grad[n], 0x55, bytes);
        run_one(b, b->grad[n]);
        if (n++ == 0) {
            first = *b;
            continue;
        }
        CHECK(memcmp(b->grad[n - 1], b->grad[0], bytes) == 0
              && memcmp(b->logp, first.logp, sizeof b->logp) == 0
              && memcmp(b->rest, first.rest, sizeof b->rest) == 0
              && memcmp(b->entropy, first.entropy, sizeof b->entropy) == 0
              && memcmp(b->argmax, first.argmax, sizeof b->argmax) == 0
              && memcmp(b->dlogp, first.dlogp, sizeof b->dlogp) == 0
              && memcmp(b->value, first.value, sizeof b->value) == 0
              && memcmp(&b->result, &first.result, sizeof b->result) == 0,
              "%s, V = %ld: %s has other bits than scalar", b->c->name,
              (long)b->V, isa);
    }
    *b = first;
}

/* ---- Comparing ---------------------------------------------------------- */

/* The largest share of each bound that was used. */
static struct {
    wide gradient, own, sum, logp, value, entropy, dlogp, loss;
    wide scaled, softcapped;    /* gradient, with these */
} used;

static long long elements;         /* of gradients that were compared */

static void note(wide *worst, wide share)
{
    if (share > *worst)
        *worst = share;
}

static float as_float(const batch *b, int64_t k)
{
    switch (b->grad_type) {
    case BNFLOSS_F32:  return ((const float *)b->grad[0])[k];
    case BNFLOSS_BF16: return bn_from_bf16(((const uint16_t *)b->grad[0])[k]);
    default:           return bn_from_f16(((const uint16_t *)b->grad[0])[k]);
    }
}

static wide rounded(uint32_t type, wide x)
{
    const float f = (float)x;

    return type == BNFLOSS_F32 ? x
           : type == BNFLOSS_BF16 ? (wide)bn_from_bf16(bn_to_bf16(f))
           : (wide)bn_from_f16(bn_to_f16(f));
}

/* dL/dz of column k in units of dlogp. A masked label still has its onehot. */
static wide gradient(const batch *b, int64_t i, int64_t k, const truth *t)
{
    const config *c = b->c;
    const wide ls = c->smoothing, z2 = 2 * (wide)c->z_loss * t->lse;
    const wide p = expl((t->x[k] - t->top) - t->gap);
    const int there = t->x[k] > -(wide)BN_INF;
    wide g;

    if (k == b->label[i])
        g = t->q - ls * (1 - (there ? 1 / t->finite : 0)) - p * z2;
    else
        g = there ? ls / t->finite - p * (1 + z2) : 0;
    return g == 0 ? 0 : g * map_slope(c, b->z[i * b->V + k]);
}

static void check_gradient(const batch *b, int64_t i, const truth *t)
{
    const config *c = b->c;
    const wide D = b->dlogp[i], size = (c->scale > 0 ? c->scale : 1)
        * (1 + 2 * (wide)c->z_loss * fabsl(t->lse)) * U;
    const wide bound = fabsl(D) * (2 + c->softcap) * size;
    const wide own = (fabsl(t->dlogp) * (3 + c->softcap)) * size + 0x1p-149L;
    const wide tiny = c->scale > 1 ? c->scale * TINY : TINY;
    int64_t denormals = 0;
    wide sum = 0;

    elements += b->V;
    for (int64_t k = 0; k < b->V; k++) {
        const wide unit = gradient(b, i, k, t);
        const wide g = D * unit, g2 = t->dlogp * unit;
        const wide got = as_float(b, i * b->V + k);
        const int flushed = got == 0 && fabsl(g) < tiny * (1 + 16 * U);

        sum += got;
        denormals += b->grad_type == BNFLOSS_F32 && got != 0
                     && fabsl(got) < 0x1p-126L;
        CHECK(flushed || (got >= rounded(b->grad_type, g - bound)
                          && got <= rounded(b->grad_type, g + bound)),
              "%s, %s, V = %ld, types %u %u: gradient %La, not %La: %.2Lf u "
              "|dlogp|%s", c->name, hard_names[b->h[i]], (long)b->V, b->type,
              b->grad_type, got, g, fabsl(got - g) / U / fabsl(D),
              k == b->label[i] ? " at the label" : "");
        if (!(t->x[k] > -(wide)BN_INF) && k != b->label[i])
            CHECK(got == 0, "%s: a masked token has a gradient", c->name);
        if (b->grad_type == BNFLOSS_F32 && !flushed && bound > 0)
            note(c->softcap > 0 ? &used.softcapped
                 : c->scale > 0 ? &used.scaled : &used.gradient,
                 fabsl(got - g) / bound);
        if (c->kind == BNFLOSS_DPO || flushed)
            continue;
        CHECK(got >= rounded(b->grad_type, g2 - own)
              && got <= rounded(b->grad_type, g2 + own),
              "%s, %s, V = %ld: gradient %La, with the true dlogp %La: "
              "%.2Lf u |dlogp|", c->name, hard_names[b->h[i]], (long)b->V,
              got, g2, fabsl(got - g2) / U / fabsl(t->dlogp));
        if (b->grad_type == BNFLOSS_F32 && !(c->scale > 0 || c->softcap > 0))
            note(&used.own, fabsl(got - g2) / own);
    }
    CHECK(denormals == 0, "%s, %s, V = %ld: %ld denormal gradients", c->name,
          hard_names[b->h[i]], (long)b->V, (long)denormals);
    if (b->grad_type != BNFLOSS_F32 || c->softcap > 0 || c->smoothing > 0
        || c->z_loss > 0)
        return;
    CHECK(fabsl(sum) <= 8 * size * t->q * fabsl(D) + (wide)b->V * tiny,
          "%s, %s, V = %ld: a row's gradient sums to %Lg = %.2Lf u (1-p)",
          c->name, hard_names[b->h[i]], (long)b->V, sum,
          fabsl(sum / t->q / D) / U);
    if (t->q * fabsl(D) > (wide)b->V * TINY * 0x1p30L && D != 0)
        note(&used.sum, fabsl(sum) / (8 * size * t->q * fabsl(D)));
}

/* got against want with a relative bound; below `floor`, an absolute one. */
static int close_to(wide got, wide want, wide bound, wide floor, wide *worst)
{
    if (got == want || !(fabsl(want) < (wide)BN_INF))
        return got == want;
    if (!(fabsl(got) < (wide)BN_INF))       /* beyond the floats */
        return got * want > 0 && fabsl(want) > (wide)FLT_MAX;
    if (fabsl(want) > floor * 0x1p24L && bound > 0)
        note(worst, fabsl(got - want) / (bound * fabsl(want)));
    return fabsl(got - want) <= bound * fabsl(want) + floor;
}

/* A softcapped z' is itself known to 4u softcap and no better. */
static wide value_bound(const batch *b, const truth *t)
{
    return (10 + 2 * (t->top - t->low) + 4 * b->c->softcap) * U;
}

#define DENORMAL_ULP 0x1p-149L

static void check_row(const batch *b, int64_t i, const truth *t)
{
    const config *c = b->c;
    const int plain = !(c->softcap > 0) && !(c->scale > 0);
    const wide bound = value_bound(b, t), got = b->value[i];
    /* terms that the lanes leave out: e^d < 2^-125 of the leader, times d */
    const wide floor = (wide)b->V * 0x1p-118L;
    const char *h = hard_names[b->h[i]];
    const float *z = b->z + i * b->V;

    CHECK(close_to(b->logp[i], t->logp, plain ? 4 * U : bound,
                   DENORMAL_ULP, &used.logp),
          "%s, %s, V = %ld: logp %a, not %La", c->name, h, (long)b->V,
          (double)b->logp[i], t->logp);
    CHECK(close_to(b->entropy[i], t->entropy, bound, floor, &used.entropy),
          "%s, %s, V = %ld: entropy %a, not %La: %.1Lf u", c->name, h,
          (long)b->V, (double)b->entropy[i], t->entropy,
          fabsl(b->entropy[i] / t->entropy - 1) / U);
    CHECK(close_to(b->rest[i], t->rest, bound, floor, &used.entropy),
          "%s, %s, V = %ld: rest %a, not %La: %.1Lf u", c->name, h,
          (long)b->V, (double)b->rest[i], t->rest,
          fabsl(b->rest[i] / t->rest - 1) / U);
    if (c->kind == BNFLOSS_DPO)
        CHECK(fabsl(got - t->value) <= U * (bound / U * fabsl(t->logp)
              + fabsl(t->value)) + DENORMAL_ULP, "%s, %s, V = %ld: logp - ref "
              "is %La, not %La", c->name, h, (long)b->V, got, t->value);
    else
        CHECK(close_to(got, t->value, bound, c->kind == BNFLOSS_BNF ? floor
                       : DENORMAL_ULP, &used.value) && got >= 0,
              "%s, %s, V = %ld: value %La, not %La: %.1Lf u of %.1Lf, ref %a",
              c->name, h, (long)b->V, got, t->value,
              fabsl(got / t->value - 1) / U, bound / U, (double)b->ref[i]);
    if (b->V == 1 && c->kind != BNFLOSS_DPO && !(c->z_loss > 0))
        CHECK(got == 0, "%s: V = 1 has value %La", c->name, got);
    if (!plain)
        return;
    for (int64_t k = 0; k < b->V; k++)
        CHECK(!(z[k] > z[b->argmax[i]]), "%s, %s: argmax", c->name, h);
    CHECK(z[b->label[i]] < z[b->argmax[i]] || b->argmax[i] == b->label[i],
          "%s, %s: argmax of a tie is not the label", c->name, h);
}

/* dlogp against the oracle's. BNF's and DFT's slope is a function of a sum
 * over the row, whose error is the row's; dlogp itself is rounded once. */
static void check_dlogp(const batch *b, int64_t i, const truth *t)
{
    const config *c = b->c;
    const wide g = -b->dlogp[i] / (t->dlogp / t->slope);
    const wide bound = (c->kind == BNFLOSS_BNF || c->flags
                            ? 5 + c->softcap : 1.001L) * U;

    CHECK(close_to(b->dlogp[i], t->dlogp, bound, DENORMAL_ULP, &used.dlogp),
          "%s, %s, V = %ld: dlogp %a, not %La: %.2Lf u, ref %a", c->name,
          hard_names[b->h[i]], (long)b->V, (double)b->dlogp[i], t->dlogp,
          fabsl(b->dlogp[i] / t->dlogp - 1) / U, (double)b->ref[i]);
    if (c->kind == BNFLOSS_BNF && !(c->eps > 0)) {
        CHECK(!(t->slope < 0) || (g >= 0 && g <= 1 + 2 * U), "g = %Lg", g);
        const wide near = c->scale > 0 || c->softcap > 0 ? value_bound(b, t)
                                                         : 4 * U;

        if (fabsl(t->logp - (wide)b->ref[i]) <= near * fabsl(b->ref[i]))
            return;             /* logp may be on the other side */
        CHECK(t->logp < (wide)b->ref[i] || fabsl(g - 1) <= 1.001L * U,
              "g = %La, not 1", g);
    }
}

/* The true dlogp, which needs the batch; and its loss, within the sum of what
 * the tokens' values may be wrong by. */
static void finish(const batch *b, truth *t)
{
    const config *c = b->c;
    const wide S = (wide)(b->N / SEQUENCE);
    wide loss = 0, slack = 0, size = 0, a[2] = { 0, 0 }, off[2] = { 0, 0 };

    for (int64_t i = 0; i < b->N; i++) {
        const wide w = c->weights ? b->weight[i] : 1;
        const int side = (int)(i / SEQUENCE % 2);
        const wide share = c->kind == BNFLOSS_BNF
            ? (side ? -w : w) / (wide)SEQUENCE / S : w / (wide)b->N;

        if (c->kind == BNFLOSS_DPO) {
            if (side == 0 && i % SEQUENCE == 0)
                a[0] = a[1] = off[0] = off[1] = 0;
            a[side] += w * t[i].value;
            off[side] += fabsl(w * t[i].logp) * value_bound(b, t + i);
            if (side == 1 && i % SEQUENCE == SEQUENCE - 1) {
                const wide beta = 0.1f, flip = c->flip;
                const wide u = beta * (a[0] - a[1]);

                loss += 2 / S * (log1pl(expl(-fabsl(u))) + (u > 0 ? flip * u
                                 : -(1 - flip) * u));
                slack += 2 / S * beta * (off[0] + off[1]);
            }
            continue;
        }
        t[i].dlogp = share * t[i].slope;
        loss += share * t[i].value;
        slack += fabsl(share * t[i].value) * value_bound(b, t + i);
        size += fabsl(share * t[i].value);
    }
    if (!(fabsl(loss) < (wide)BN_INF)) {
        CHECK(loss != loss ? b->result.loss != b->result.loss
                           : b->result.loss == (double)loss,
              "%s: loss is %g, not %Lg", c->name, b->result.loss, loss);
        return;
    }
    CHECK(fabsl(b->result.loss - loss) <= slack + (size + fabsl(loss))
          * 0x1p-50L, "%s, V = %ld: loss %La, not %La", c->name, (long)b->V,
          (wide)b->result.loss, loss);
    if (slack > 0)
        note(&used.loss, fabsl(b->result.loss - loss) / slack);
}

static void check(const batch *b, truth *t)
{
    for (int64_t i = 0; i < b->N; i++)
        loss_of(b, i, t + i);
    finish(b, t);
    for (int64_t i = 0; i < b->N; i++) {
        check_row(b, i, t + i);
        if (b->c->kind != BNFLOSS_DPO)
            check_dlogp(b, i, t + i);
        check_gradient(b, i, t + i);
    }
}

static void try_one(const config *c, int64_t V, int64_t N, uint32_t type,
                    uint32_t grad_type, rng *r)
{
    static batch b;
    const size_t n = (size_t)(N * V);
    wide *x = (wide *)malloc(n * sizeof *x);
    truth t[ROWS];

    memset(&b, 0, sizeof b);
    memset(t, 0, sizeof t);
    b.c = c;
    b.V = V;
    b.N = N;
    b.type = type;
    b.grad_type = grad_type;
    b.z = (float *)malloc(4 * n);
    b.logits = malloc(4 * n);
    for (int k = 0; k < ISAS; k++)
        b.grad[k] = malloc(4 * n);
    for (int64_t i = 0; i < N; i++)
        t[i].x = x + i * V;
    make(&b, r, t);
    run_all(&b);
    check(&b, t);
    free(b.z);
    free(b.logits);
    for (int k = 0; k < ISAS; k++)
        free(b.grad[k]);
    free(x);
}

/* ---- g at its kink, through the entry point that takes logp ------------ */

/* logp and ref a few ulp apart are exact there: g is 1 from p = q on, below
 * 1 by at most what odds can say before it, and never outside [0,1]. */
static void kink(void)
{
    static uint64_t work[64];
    const int64_t start[2] = { 0, 1 };
    const int8_t side = -1;             /* so that dlogp is g itself */
    bnfloss_inputs in = { .struct_size = sizeof in, .sequences = 1,
                          .seq_start = start, .side = &side };
    bnfloss_result res = { .struct_size = sizeof res };
    bnfloss_spec spec;
    rng r = { 12 };

    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_BNF);
    for (int k = 0; k < 200000; k++) {
        const float l = -(float)expl(100 * rng_uniform(&r) - 95);
        const int64_t step = rng_below(&r, 9) - 4;
        const float ref = bn_float_of(bn_bits_of(l) + (uint32_t)step);
        const wide odds = ((wide)l - log1mexp_l(l))
                          - ((wide)ref - log1mexp_l(ref));
        float g;

        in.ref_logp = &ref;
        bnfloss_loss(&spec, &in, 1, NULL, &l, NULL, &g, NULL, work,
                     sizeof work, &res);
        if (l >= ref)
            CHECK(g == 1, "g = %a where logp %a >= ref %a", (double)g,
                  (double)l, (double)ref);
        else
            CHECK(g >= 0 && g <= 1 && fabsl(g - expl(odds)) <= 1.01L * U,
                  "g = %a, not %La, at logp %a, ref %a", (double)g,
                  expl(odds), (double)l, (double)ref);
    }
}

int main(int argc, char **argv)
{
    static const int64_t small[] = { 1, 2, 3, 15, 16, 17, 63, 64, 65, 127, 130,
                                     1000, 2047, 2048, 2049 };
    static const int64_t large[] = { 32767, 32768, 32769, 32832, 66000,
                                     50257 };
    static const uint32_t types[7][2] = { { 0, 0 }, { 1, 1 }, { 2, 2 },
        { 1, 0 }, { 2, 0 }, { 0, 1 }, { 0, 2 } };
    const int more = argc > 1 && strcmp(argv[1], "--all") == 0;
    rng r = { 10 };
    int turn = 0;

    if (LDBL_MANT_DIG < 64) {
        test_skip("long double is no wider than double here");
        return test_end();
    }
    for (int round = 0; round < (more ? 20 : 1); round++) {
        for (size_t k = 0; k < sizeof small / sizeof *small; k++)
            for (int c = 0; c < CONFIGS; c++) {
                const int64_t N = small[k] < 1000 ? ROWS : HARDS;

                try_one(configs + c, small[k], N, 0, 0, &r);
                turn = turn % 6 + 1;
                try_one(configs + c, small[k], N, types[turn][0],
                        types[turn][1], &r);
            }
        for (size_t k = 0; k < sizeof large / sizeof *large; k++)
            for (int c = 0; c < (more ? CONFIGS : 3); c++) {
                try_one(configs + (k * 3 + (size_t)c) % CONFIGS, large[k],
                        HARDS, types[turn][0], 0, &r);
                turn = (turn + 1) % 7;
            }
    }
    kink();
    printf("used of the bounds: gradient %.2Lf (scaled %.2Lf, softcapped "
           "%.2Lf, with the true dlogp %.2Lf), row sum %.2Lf, logp %.2Lf,\n"
           "value %.2Lf, entropy and rest %.2Lf, dlogp %.2Lf, loss %.2Lf\n",
           used.gradient, used.scaled, used.softcapped, used.own, used.sum,
           used.logp, used.value, used.entropy, used.dlogp, used.loss);
    printf("%lld elements of gradients\n", elements);
    return test_end();
}
