/* One small batch for any of the losses, all of it in one block of memory,
 * and what the header says of each loss, as a table of the tests' own.
 *
 * SPDX-License-Identifier: MIT
 *
 * Twenty-six rows of thirty-seven logits in eight sequences, which make four
 * pairs of neighbours. Row 5's label is negative, row 10's weight is 0. */
#ifndef FAMILY_H
#define FAMILY_H

#include "fixture.h"

enum {
    FAM_N = 26, FAM_S = 8, FAM_P = 4, FAM_V = 37, FAM_STRIDE = 41,
    FAM_GRAD_STRIDE = 43, FAM_IGNORED = 5, FAM_WEIGHTLESS = 10, FAM_M = 3,
    FAM_SPECS = 17, FAM_WORK = 8192
};

/* ---- What the header says ----------------------------------------------- */

enum fam_number {
    NUM_BETA, NUM_FLIP, NUM_EPS, NUM_GAMMA, NUM_ALPHA, NUM_PENALTY, NUM_TAU,
    NUM_TAU_MAX, NUM_RHO, NUM_CAP, NUM_DESIRABLE, NUM_UNDESIRABLE, NUM_SFT,
    NUM_LD, NUM_F_ALPHA, NUM_COUNT
};

typedef struct fam_range {
    const char *name;
    size_t at;
    float low, high;
    int open_low, open_high;
} fam_range;

#define FLOAT_MAX 0x1.fffffep127f
#define RANGE(field, low, high, open_low, open_high)                          \
    { #field, offsetof(bnfloss_spec, field), low, high, open_low, open_high }

static const fam_range fam_ranges[NUM_COUNT] = {
    RANGE(beta, 0, FLOAT_MAX, 1, 0),
    RANGE(flip_prob, 0, 0.5f, 0, 0),    /* open above: robust; below: EXO */
    RANGE(eps, 0, 1, 0, 0),
    RANGE(gamma, 0, FLOAT_MAX, 0, 0),
    RANGE(alpha, -FLOAT_MAX, FLOAT_MAX, 0, 0),
    RANGE(penalty, 0, FLOAT_MAX, 0, 0),
    RANGE(tau, 0, FLOAT_MAX, 1, 0),
    RANGE(tau_max, 0, FLOAT_MAX, 1, 0),
    RANGE(rho, 0, 0.6931472f, 1, 1),    /* the first float above log 2 */
    RANGE(cap, 0, FLOAT_MAX, 0, 0),
    RANGE(desirable_weight, 0, FLOAT_MAX, 0, 0),
    RANGE(undesirable_weight, 0, FLOAT_MAX, 0, 0),
    RANGE(sft_weight, 0, FLOAT_MAX, 0, 0),
    RANGE(ld_alpha, 0, 1, 0, 0),
    RANGE(f_alpha, -FLOAT_MAX, FLOAT_MAX, 0, 0)
};
#undef RANGE

#define B(n) (1u << NUM_##n)

enum fam_need {
    NEED_REF = 1, NEED_SIDES = 2, NEED_SOFT = 4, NEED_DISTANCE = 8,
    NEED_MASK = 16, NEED_CERTAINTY = 32, HAS_KL = 64, HAS_SHIFT = 128,
    HAS_MARGIN = 256, HAS_LENGTHS = 512, HAS_F = 1024, HAS_MEANS = 2048
};

enum fam_shape { BY_TOKEN, BY_PAIR, BY_BATCH, BY_SEQUENCE };

typedef struct fam_kind {
    const char *name;
    int shape;
    unsigned numbers, needs;
    float value[4];             /* defaults, in the order of the bits */
    uint32_t sft_norm;
} fam_kind;

#define PAIRED (B(SFT) | B(LD))
#define DIVERGE (PAIRED | B(F_ALPHA))
#define ONE (NEED_REF | HAS_MARGIN)
#define ONE_F (ONE | HAS_F)
#define SEQ (NEED_REF | NEED_SIDES)

/* In the order of their kinds. ld_alpha is 1, f_alpha 0.5 where there are
 * any; sft_weight is the last of `value` where it is not 0. */
static const fam_kind fam_kinds[] = {
    { "bnf", BY_TOKEN, B(EPS), SEQ, { 0 }, 0 },
    { "dpo", BY_PAIR, B(BETA) | B(FLIP) | DIVERGE, ONE_F, { 0.1f }, 1 },
    { "sft", BY_TOKEN, 0, 0, { 0 }, 0 },
    { "robust", BY_PAIR, B(BETA) | B(FLIP) | DIVERGE, ONE_F, { 0.1f }, 1 },
    { "hinge", BY_PAIR, B(BETA) | DIVERGE, ONE_F, { 0.1f }, 1 },
    { "ipo", BY_PAIR, B(BETA) | DIVERGE, ONE_F | HAS_LENGTHS, { 0.1f }, 1 },
    { "ipo_sum", BY_PAIR, B(BETA) | DIVERGE, ONE_F, { 0.1f }, 1 },
    { "exo_pair", BY_PAIR, B(BETA) | B(FLIP) | DIVERGE, ONE_F,
      { 0.1f, 1e-3f }, 1 },
    { "discopop", BY_PAIR, B(BETA) | B(TAU) | DIVERGE, ONE_F,
      { 0.1f, 0.05f }, 1 },
    { "sigmoid_norm", BY_PAIR, B(BETA) | B(FLIP) | DIVERGE,
      ONE_F | HAS_LENGTHS, { 0.1f }, 1 },
    { "simpo", BY_PAIR, B(BETA) | B(FLIP) | B(GAMMA) | PAIRED,
      HAS_MARGIN | HAS_LENGTHS | HAS_MEANS, { 0.1f, 0, 0.5f }, 1 },
    { "alphapo", BY_PAIR, B(BETA) | B(FLIP) | B(GAMMA) | B(ALPHA) | PAIRED,
      HAS_MARGIN | HAS_LENGTHS | HAS_MEANS, { 0.1f, 0, 0.5f, 0.25f }, 1 },
    { "cpo", BY_PAIR, B(BETA) | B(FLIP) | PAIRED, HAS_MARGIN,
      { 0.1f, 0, 1 }, 4 },
    { "slic", BY_PAIR, B(GAMMA) | PAIRED, HAS_MARGIN, { 1, 0.1f }, 1 },
    { "dpop", BY_PAIR, B(BETA) | B(FLIP) | B(PENALTY) | PAIRED, ONE,
      { 0.1f, 0, 50 }, 1 },
    { "rdpo", BY_PAIR, B(BETA) | B(FLIP) | B(ALPHA) | DIVERGE, ONE_F,
      { 0.1f, 0, 0.01f }, 1 },
    { "rpo", BY_PAIR, B(BETA) | B(FLIP) | DIVERGE, ONE_F,
      { 0.1f, 0, 0.005f }, 1 },
    { "rpo_mean", BY_PAIR, B(BETA) | B(FLIP) | DIVERGE, ONE_F,
      { 0.1f, 0, 0.2f }, 2 },
    { "ada_dpo", BY_PAIR, B(BETA) | B(TAU) | B(TAU_MAX) | B(RHO) | PAIRED,
      ONE, { 0.1f, 0.1f, 5, 0.1f }, 1 },
    { "bmc", BY_PAIR, B(BETA) | B(FLIP) | B(CAP) | B(SFT),
      ONE | NEED_MASK, { 0.1f, 0, 2 }, 1 },
    { "fpo", BY_PAIR, B(BETA) | B(FLIP) | B(ALPHA) | PAIRED,
      ONE | HAS_LENGTHS | NEED_DISTANCE, { 0.1f, 0, 0.5f }, 1 },
    { "irepo", BY_PAIR, B(BETA) | DIVERGE, ONE_F | NEED_SOFT, { 0.1f }, 1 },
    { "upo", BY_PAIR, B(BETA) | B(FLIP) | DIVERGE, ONE_F | NEED_CERTAINTY,
      { 0.1f }, 1 },
    { "nca_pair", BY_PAIR, B(BETA) | PAIRED, NEED_REF, { 0.1f }, 1 },
    { "bco_pair", BY_PAIR, B(BETA) | PAIRED, NEED_REF, { 0.1f }, 1 },
    { "sppo_hard", BY_PAIR, B(BETA) | PAIRED, NEED_REF, { 0.1f }, 1 },
    { "apo_zero", BY_PAIR, B(BETA) | PAIRED, NEED_REF, { 0.1f }, 1 },
    { "apo_down", BY_PAIR, B(BETA) | PAIRED, NEED_REF, { 0.1f }, 1 },
    { "orpo", BY_PAIR, B(PENALTY) | PAIRED, HAS_LENGTHS | HAS_MEANS,
      { 0.1f, 1 }, 2 },
    { "aot", BY_BATCH, B(BETA) | B(FLIP) | PAIRED, NEED_REF, { 0.1f }, 1 },
    { "aot_unpaired", BY_BATCH, B(BETA) | B(FLIP) | PAIRED, NEED_REF,
      { 0.1f }, 1 },
    { "kto", BY_SEQUENCE, B(BETA) | B(DESIRABLE) | B(UNDESIRABLE),
      SEQ | HAS_KL, { 0.1f, 1, 1 }, 0 },
    { "bco", BY_SEQUENCE, B(BETA) | B(DESIRABLE) | B(UNDESIRABLE),
      SEQ | HAS_SHIFT, { 0.1f, 1, 1 }, 0 },
    { "apo_zero_unpaired", BY_SEQUENCE, B(BETA), SEQ, { 0.1f }, 0 },
    { "asft", BY_SEQUENCE, B(PENALTY), NEED_SIDES | HAS_MEANS, { 0.1f }, 0 }
};

enum { FAM_KINDS = sizeof fam_kinds / sizeof *fam_kinds };

#undef PAIRED
#undef DIVERGE
#undef ONE
#undef ONE_F
#undef SEQ

static inline const fam_kind *fam_of(uint32_t kind)
{
    return fam_kinds + (kind - 1);
}

static inline int fam_pairs(uint32_t kind)
{
    return fam_of(kind)->shape == BY_PAIR || fam_of(kind)->shape == BY_BATCH;
}

static inline uint32_t fam_flags(uint32_t kind)
{
    const fam_kind *k = fam_of(kind);

    return BNFLOSS_DEFER_SCALE
           | (kind == BNFLOSS_SFT ? BNFLOSS_DFT | BNFLOSS_CHOSEN_ONLY : 0u)
           | (k->needs & NEED_REF && kind != BNFLOSS_BNF
                  ? BNFLOSS_REFERENCE_FREE : 0u)
           | (k->shape == BY_PAIR ? BNFLOSS_WPO : 0u)
           | (kind == BNFLOSS_BMC ? BNFLOSS_POLICY_WEIGHTS : 0u);
}

/* ---- The batch ---------------------------------------------------------- */

typedef struct fam_block {
    bnfloss_layout layout;
    bnfloss_spec spec[FAM_SPECS];
    bnfloss_inputs in;
    bnfloss_outputs out;
    bnfloss_result result;
    double logits[FAM_N * FAM_STRIDE / 2 + 1];      /* of any type */
    double grad[FAM_N * FAM_GRAD_STRIDE / 2 + 1];
    int32_t label[FAM_N];
    int64_t start[FAM_S + 1];
    int8_t side[FAM_S];
    float ref[FAM_N], weight[FAM_N], seq_weight[FAM_S], pair_weight[FAM_P];
    float pair_scale[FAM_P], pair_margin[FAM_P], soft[FAM_P];
    float distance[FAM_S], square[FAM_N], logp_in[FAM_N], rest_in[FAM_N];
    uint8_t mask[FAM_N];
    double mismatched[FAM_M];
    bnfloss_row state[FAM_N], other[FAM_N];
    /* what comes back */
    float logp[FAM_N], rest[FAM_N], entropy[FAM_N], log_square[FAM_N];
    int32_t argmax[FAM_N];
    float dlogp[FAM_N], row_loss[FAM_N], row_scale[FAM_N], dlogp_out[FAM_N];
    float distance_grad[FAM_S];
    double seq_logp[FAM_S], seq_ratio[FAM_S], seq_loss[FAM_S];
    double spec_loss[FAM_SPECS];
    double work[FAM_WORK / sizeof(double)];
} fam_block;

static fam_block fam;           /* the batch at hand */

static inline void fam_set_logit(int64_t i, int64_t v, float x)
{
    elem_put(fam.layout.logits_type, fam.logits,
             i * fam.layout.logits_stride + v, x);
}

static inline float fam_logit(int64_t i, int64_t v)
{
    return elem_get(fam.layout.logits_type, fam.logits,
                    i * fam.layout.logits_stride + v);
}

static inline float fam_grad(int64_t i, int64_t v)
{
    return elem_get(fam.layout.grad_type, fam.grad,
                    i * fam.layout.grad_stride + v);
}

static inline int fam_valid(int64_t i)
{
    return fam.label[i] >= 0
           && (!fam.in.row_weight || fam.in.row_weight[i] != 0);
}

/* The sequence of row i. */
static inline int64_t fam_seq(int64_t i)
{
    int64_t s = 0;

    while (fam.start[s + 1] <= i)
        s++;
    return s;
}

static inline void fam_outputs(void)
{
    bnfloss_outputs *o = &fam.out;

    EMPTY(*o);
    o->logp = fam.logp;
    o->rest = fam.rest;
    o->entropy = fam.entropy;
    o->argmax = fam.argmax;
    o->dlogp = fam.dlogp;
    o->row_loss = fam.row_loss;
    o->seq_logp = fam.seq_logp;
    o->seq_ratio = fam.seq_ratio;
    o->seq_loss = fam.seq_loss;
    o->distance_grad = fam.distance_grad;
    o->spec_loss = fam.spec_loss;
    fam.result.struct_size = sizeof fam.result;
    fam.result.reserved = 0;
}

/* What a loss cannot do without, and what may be left out (full). */
static inline void fam_inputs(uint32_t kind, int full)
{
    const fam_kind *k = fam_of(kind);
    bnfloss_inputs *in = &fam.in;

    if (k->needs & NEED_SOFT)
        in->soft_label = fam.soft;
    if (k->needs & NEED_DISTANCE)
        in->distance = fam.distance;
    if (k->needs & NEED_MASK)
        in->row_mask = fam.mask;
    if (k->needs & NEED_CERTAINTY || (full && k->shape == BY_PAIR))
        in->pair_weight = fam.pair_weight;
    if (full && k->needs & HAS_MARGIN) {
        in->pair_scale = fam.pair_scale;
        in->pair_margin = fam.pair_margin;
    }
    if (full && !fam_pairs(kind))
        in->seq_weight = fam.seq_weight;
    if (k->needs & HAS_KL && full) {
        in->mismatched = fam.mismatched;
        in->mismatches = FAM_M;
    }
    if (k->needs & HAS_SHIFT && full) {
        in->shift_mean = 0.25;
        in->shift_count = 6;
    }
    if (fam_pairs(kind))
        in->pairing = BNFLOSS_PAIRS_ADJACENT;
}

static inline void fam_numbers(rng *r)
{
    for (int64_t i = 0; i < FAM_N; i++) {
        for (int64_t v = 0; v < FAM_STRIDE; v++)
            fam_set_logit(i, v, (float)(rng_below(r, 65) - 32) / 16);
        fam.label[i] = i == FAM_IGNORED ? -1 : (int32_t)rng_below(r, FAM_V);
        fam.ref[i] = -(float)(48 + rng_below(r, 33)) / 16;
        fam.weight[i] = i == FAM_WEIGHTLESS ? 0
                        : (float)(1 + rng_below(r, 8)) / 4;
        fam.logp_in[i] = -(float)(32 + rng_below(r, 49)) / 16;
        fam.rest_in[i] = -(float)(16 + rng_below(r, 32)) / 16;
        fam.square[i] = -(float)(16 + rng_below(r, 32)) / 16;
        fam.mask[i] = (uint8_t)(rng_below(r, 2) * (1 + i));
    }
    for (int s = 0; s < FAM_S; s++) {
        fam.side[s] = s % 2 ? -1 : 1;
        fam.seq_weight[s] = (float)(1 + rng_below(r, 16)) / 8;
        fam.distance[s] = (float)(rng_below(r, 33) - 16) / 8;
    }
    for (int k = 0; k < FAM_P; k++) {
        fam.pair_weight[k] = (float)(1 + rng_below(r, 16)) / 8;
        fam.pair_scale[k] = (float)(4 + rng_below(r, 16)) / 8;
        fam.pair_margin[k] = (float)(rng_below(r, 17) - 8) / 8;
        fam.soft[k] = (float)(1 + rng_below(r, 15)) / 16;
    }
    for (int m = 0; m < FAM_M; m++)
        fam.mismatched[m] = (double)(m * m - 1) / 2;
}

/* A sound batch of a kind; all that a call may write is filled with 0xA5. */
static inline void fam_make(uint32_t kind, uint64_t seed, int full)
{
    static const int64_t start[FAM_S + 1] = { 0, 3, 7, 9, 14, 18, 20, 23,
                                              FAM_N };
    bnfloss_layout *l = &fam.layout;
    rng r = { seed };

    memset(&fam, 0xA5, sizeof fam);
    EMPTY(*l);
    l->rows = FAM_N;
    l->vocab = FAM_V;
    l->logits_stride = FAM_STRIDE;
    l->grad_stride = FAM_GRAD_STRIDE;
    for (int k = 0; k < FAM_SPECS; k++)
        bnfloss_spec_init(fam.spec + k, sizeof *fam.spec, kind);
    EMPTY(fam.in);
    fam.in.sequences = FAM_S;
    memcpy(fam.start, start, sizeof start);
    fam.in.seq_start = fam.start;
    fam.in.side = fam.side;
    fam.in.ref_logp = fam.ref;
    fam.in.row_weight = fam.weight;
    fam_numbers(&r);
    fam_inputs(kind, full);
    fam_outputs();
}

/* Options beyond the defaults, as far as the loss takes them. */
static inline void fam_options(rng *r, bnfloss_spec *s)
{
    const fam_kind *k = fam_of(s->kind);

    if (k->numbers & B(FLIP) && rng_below(r, 2))
        s->flip_prob = (float)(1 + rng_below(r, 7)) / 16;
    if (k->numbers & B(BETA) && rng_below(r, 2))
        s->beta = (float)(1 + rng_below(r, 16)) / 32;
    if (k->numbers & B(EPS) && rng_below(r, 2))
        s->eps = 0x1p-8f;
    if (k->numbers & B(SFT) && rng_below(r, 2)) {
        s->sft_weight = (float)rng_below(r, 8) / 8;
        s->sft_norm = (uint32_t)(1 + rng_below(r, 3));
        s->sft_norm += s->sft_norm == BNFLOSS_NORM_SHORTEST;
    }
    if (k->numbers & B(LD) && rng_below(r, 3) == 0)
        s->ld_alpha = (float)rng_below(r, 8) / 8;
    if (k->needs & HAS_F && rng_below(r, 2))
        s->f_divergence = (uint32_t)rng_below(r, 4);
    if (s->f_divergence && rng_below(r, 2))
        s->f_alpha = (float)rng_below(r, 9) / 4;
    if (k->numbers & B(ALPHA) && rng_below(r, 3) == 0)
        s->alpha = (float)(rng_below(r, 9) - 4) / 16;
    if (fam_flags(s->kind) & BNFLOSS_REFERENCE_FREE && rng_below(r, 6) == 0)
        s->flags |= BNFLOSS_REFERENCE_FREE;
    if (fam_flags(s->kind) & BNFLOSS_WPO && rng_below(r, 4) == 0)
        s->flags |= BNFLOSS_WPO;
    if (s->kind == BNFLOSS_BMC && rng_below(r, 2))
        s->flags |= BNFLOSS_POLICY_WEIGHTS;
    if (s->kind == BNFLOSS_SFT && rng_below(r, 2))
        s->flags |= BNFLOSS_DFT;
    if (s->kind == BNFLOSS_SFT && rng_below(r, 4) == 0)
        s->flags |= BNFLOSS_CHOSEN_ONLY;
    if (fam_of(s->kind)->shape == BY_TOKEN && rng_below(r, 2))
        s->token_norm = (uint32_t)(1 + rng_below(r, 3));
}

/* ---- The entry points -------------------------------------------------- */

static inline bnfloss_status fam_run(void *grad, int32_t threads)
{
    return bnfloss_run(&fam.layout, fam.spec, &fam.in, fam.logits, fam.label,
                       grad, &fam.out, fam.work, sizeof fam.work, threads,
                       &fam.result);
}

static inline bnfloss_status fam_forward(uint32_t flags, bnfloss_row *state)
{
    bnfloss_layout l = fam.layout;

    l.flags |= flags;
    return bnfloss_forward(&l, fam.logits, fam.label, 0, FAM_N, state, NULL,
                           NULL);
}

static inline bnfloss_status fam_states(void)
{
    return bnfloss_loss(fam.spec, &fam.in, FAM_N, fam.state, NULL, NULL,
                        fam.dlogp_out, &fam.out, fam.work, sizeof fam.work,
                        &fam.result);
}

static inline bnfloss_status fam_logps(void)
{
    return bnfloss_loss(fam.spec, &fam.in, FAM_N, NULL, fam.logp_in,
                        fam.rest_in, fam.dlogp_out, &fam.out, fam.work,
                        sizeof fam.work, &fam.result);
}

/* A mix: what the loss added as number k needs. */
static inline void fam_also(uint32_t k, uint32_t kind, double weight)
{
    bnfloss_spec_init(fam.spec + k, sizeof *fam.spec, kind);
    fam.spec[k].weight = weight;
    fam.spec[0].also = k > fam.spec[0].also ? k : fam.spec[0].also;
    fam_inputs(kind, 0);
}

#undef B

#endif /* FAMILY_H */
