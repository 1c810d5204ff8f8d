/* Two sound batches, each all of it in one block of memory: tests change one
 * thing, make a call, and compare the whole block with what it was before.
 *
 * SPDX-License-Identifier: MIT
 *
 * `fix` is for every entry point and type: twelve rows of seventy logits in
 * four sequences (chosen, rejected, chosen, rejected). Row 4's label is
 * negative and row 7's weight is 0. The logits are multiples of 1/16 below 8,
 * which every type holds exactly.
 *
 * `fam` is for every loss, with all that it needs or takes: twenty-six rows of
 * thirty-seven logits in eight sequences, which make four pairs of neighbours.
 * Row 5's label is negative, row 10's weight is 0. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "test.h"

#include <math.h>
#include <stddef.h>

/* The tests' own arithmetic is IEEE too, whatever flags they are built with. */
#include "../src/precise.h"

#include "losses_table.h"
#include "plain.h"

/* ---- fix: every entry point and type ------------------------------------- */

enum {
    FIX_N = 12, FIX_V = 70, FIX_S = 4, FIX_IGNORED = 4, FIX_WEIGHTLESS = 7,
    FIX_STRIDE = 75, FIX_GRAD_STRIDE = 78, FIX_WORK = 8192, FIX_ROOM = 64
};

/* What this machine wants of an address: of a pointer, which structs that are
 * only read need too; and of a number of 8 bytes, 4 on i386. */
struct fix_pointer { char c; void *x; };
struct fix_number { char c; int64_t x; };
enum {
    FIX_ALIGN_POINTER = offsetof(struct fix_pointer, x),
    FIX_ALIGN_NUMBER = offsetof(struct fix_number, x)
};

/* A struct of the API with room behind it, for sizes that are too large. */
#define WITH_ROOM(type, name) \
    union { type s; unsigned char bytes[sizeof(type) + FIX_ROOM]; } name

typedef struct fix_block {
    WITH_ROOM(bnfloss_layout, layout);
    WITH_ROOM(bnfloss_spec, spec);
    WITH_ROOM(bnfloss_inputs, inputs);
    WITH_ROOM(bnfloss_outputs, outputs);
    WITH_ROOM(bnfloss_result, result);
    double logits[FIX_N * FIX_GRAD_STRIDE], grad[FIX_N * FIX_GRAD_STRIDE];
    int64_t labels[FIX_N + 1];
    int64_t seq_start[FIX_S + 2];
    float ref[FIX_N], weight[FIX_N], dlogp_in[FIX_N];
    float logp_in[FIX_N], rest_in[FIX_N];
    float logp[FIX_N + 1], rest[FIX_N + 1], entropy[FIX_N + 1];
    float dlogp[FIX_N + 1], row_loss[FIX_N + 1], dlogp_out[FIX_N + 1];
    int32_t argmax[FIX_N + 1];
    double seq_logp[FIX_S + 1], seq_loss[FIX_S + 1];
    bnfloss_row state[FIX_N + 1], other[FIX_N + 1];
    int8_t side[FIX_S];
    double work[FIX_WORK / sizeof(double)];
} fix_block;

/* What the entry points are called with. */
typedef struct fix_args {
    bnfloss_layout *layout;
    bnfloss_spec *spec;
    bnfloss_inputs *inputs;
    bnfloss_outputs *outputs;
    bnfloss_result *result;
    void *logits, *labels, *grad, *work;
    bnfloss_row *state, *other;
    float *dlogp_in, *dlogp_out, *logp_in, *rest_in;
    uint64_t work_bytes;
    int64_t from, to, rows;
    int32_t threads;
} fix_args;

static fix_block fix;               /* the batch at hand */

static inline const char *kind_name(uint32_t kind)
{
    return kind == BNFLOSS_BNF ? "BNF" : kind == BNFLOSS_DPO ? "DPO" : "SFT";
}

static inline float fix_logit(const fix_args *a, int64_t i, int64_t j)
{
    return elem_get(a->layout->logits_type, a->logits,
                    i * FIX_STRIDE + j);
}

static inline void fix_set_logit(const fix_args *a, int64_t i, int64_t j,
                                 float x)
{
    elem_put(a->layout->logits_type, a->logits, i * FIX_STRIDE + j, x);
}

static inline int64_t fix_grad_stride(const fix_args *a)
{
    return a->grad == a->logits ? FIX_STRIDE : FIX_GRAD_STRIDE;
}

static inline float fix_grad(const fix_args *a, int64_t i, int64_t j)
{
    return elem_get(a->layout->grad_type, a->grad,
                    i * fix_grad_stride(a) + j);
}

static inline int fix_grad_is_nan(const fix_args *a, int64_t i, int64_t j)
{
    return elem_is_nan(a->layout->grad_type, a->grad,
                       i * fix_grad_stride(a) + j);
}

static inline int64_t fix_label(const fix_args *a, int64_t i)
{
    return a->layout->label_type == BNFLOSS_I64
               ? ((const int64_t *)a->labels)[i]
               : ((const int32_t *)a->labels)[i];
}

static inline void fix_set_label(const fix_args *a, int64_t i, int64_t y)
{
    if (a->layout->label_type == BNFLOSS_I64)
        ((int64_t *)a->labels)[i] = y;
    else
        ((int32_t *)a->labels)[i] = (int32_t)y;
}

static inline void fix_point(fix_args *a)
{
    memset(a, 0, sizeof *a);
    a->layout = &fix.layout.s;
    a->spec = &fix.spec.s;
    a->inputs = &fix.inputs.s;
    a->outputs = &fix.outputs.s;
    a->result = &fix.result.s;
    a->logits = fix.logits;
    a->labels = fix.labels;
    a->grad = fix.grad;
    a->work = fix.work;
    a->work_bytes = sizeof fix.work;
    a->state = fix.state;
    a->other = fix.other;
    a->dlogp_in = fix.dlogp_in;
    a->dlogp_out = fix.dlogp_out;
    a->logp_in = fix.logp_in;
    a->rest_in = fix.rest_in;
    a->to = a->rows = FIX_N;
    a->threads = 1;
}

static inline void fix_structs(uint32_t kind, uint32_t logits_type,
                               uint32_t grad_type)
{
    bnfloss_layout *l = &fix.layout.s;
    bnfloss_inputs *in = &fix.inputs.s;
    bnfloss_outputs *out = &fix.outputs.s;

    memset(&fix.layout, 0, sizeof fix.layout);
    memset(&fix.spec, 0, sizeof fix.spec);
    memset(&fix.inputs, 0, sizeof fix.inputs);
    memset(&fix.outputs, 0, sizeof fix.outputs);
    l->struct_size = sizeof *l;
    l->logits_type = logits_type;
    l->grad_type = grad_type;
    l->rows = FIX_N;
    l->vocab = FIX_V;
    l->logits_stride = FIX_STRIDE;
    l->grad_stride = FIX_GRAD_STRIDE;
    bnfloss_spec_init(&fix.spec.s, sizeof fix.spec.s, kind);
    in->struct_size = sizeof *in;
    in->pairing = BNFLOSS_PAIRS_ADJACENT;
    in->sequences = FIX_S;
    in->seq_start = fix.seq_start;
    in->side = fix.side;
    in->ref_logp = fix.ref;
    in->row_weight = fix.weight;
    out->struct_size = sizeof *out;
    out->logp = fix.logp;
    out->rest = fix.rest;
    out->entropy = fix.entropy;
    out->argmax = fix.argmax;
    out->dlogp = fix.dlogp;
    out->row_loss = fix.row_loss;
    out->seq_logp = fix.seq_logp;
    out->seq_loss = fix.seq_loss;
    fix.result.s.struct_size = sizeof fix.result.s;
    fix.result.s.reserved = 0;
}

/* Everything but the states; all that a call may write is filled with 0xA5. */
static inline void fix_make(fix_args *a, uint32_t kind, uint32_t logits_type,
                            uint32_t grad_type, int in_place)
{
    static const int64_t start[] = { 0, 3, 6, 8, 12 };
    rng r = { 20240519 };

    memset(&fix, 0xA5, sizeof fix);
    fix_point(a);
    fix_structs(kind, logits_type, grad_type);
    for (int64_t i = 0; i < FIX_N; i++) {
        for (int64_t j = 0; j < FIX_STRIDE; j++)
            fix_set_logit(a, i, j, (float)(rng_below(&r, 255) - 127) / 16);
        fix_set_label(a, i, i == FIX_IGNORED ? -1 : rng_below(&r, FIX_V));
        fix.ref[i] = -(float)(1 + rng_below(&r, 96)) / 16;
        fix.weight[i] = i == FIX_WEIGHTLESS ? 0
                        : (float)(1 + rng_below(&r, 8)) / 4;
        fix.logp_in[i] = -(float)(1 + rng_below(&r, 96)) / 16;
        fix.rest_in[i] = -(float)(1 + rng_below(&r, 32)) / 16;
        fix.dlogp_in[i] = (float)(rng_below(&r, 31) - 15) / 16;
    }
    memcpy(fix.seq_start, start, sizeof start);
    for (int s = 0; s < FIX_S; s++)
        fix.side[s] = s % 2 ? -1 : 1;
    if (in_place) {
        a->grad = a->logits;
        a->layout->grad_stride = FIX_STRIDE;
    }
}

static inline bnfloss_status fix_forward(const fix_args *a)
{
    return bnfloss_forward(a->layout, a->logits, a->labels, a->from, a->to,
                           a->state, a->outputs, a->result);
}

static inline bnfloss_status fix_merge(const fix_args *a)
{
    return bnfloss_row_merge(a->rows, a->state, a->other, a->result);
}

static inline bnfloss_status fix_outputs(const fix_args *a)
{
    return bnfloss_row_outputs(a->rows, a->state, a->outputs, a->result);
}

static inline bnfloss_status fix_loss_state(const fix_args *a)
{
    return bnfloss_loss(a->spec, a->inputs, a->rows, a->state, NULL, NULL,
                        a->dlogp_out, a->outputs, a->work, a->work_bytes,
                        a->result);
}

static inline bnfloss_status fix_loss_logp(const fix_args *a)
{
    return bnfloss_loss(a->spec, a->inputs, a->rows, NULL, a->logp_in,
                        a->rest_in, a->dlogp_out, a->outputs, a->work,
                        a->work_bytes, a->result);
}

static inline bnfloss_status fix_backward(const fix_args *a)
{
    return bnfloss_backward(a->layout, a->logits, a->labels, a->from, a->to,
                            a->state, a->dlogp_in, a->grad, a->result);
}

static inline bnfloss_status fix_run(const fix_args *a)
{
    return bnfloss_run(a->layout, a->spec, a->inputs, a->logits, a->labels,
                       a->grad, a->outputs, a->work, a->work_bytes,
                       a->threads, a->result);
}

/* The results of a call as bytes: the loss, all outputs, and the gradient of
 * the vocabulary's columns. */
typedef struct fix_outcome {
    bnfloss_result result;
    unsigned char grad[FIX_N * FIX_V * 4];
    float logp[FIX_N], rest[FIX_N], entropy[FIX_N], dlogp[FIX_N];
    float row_loss[FIX_N];
    int32_t argmax[FIX_N];
    double seq_logp[FIX_S], seq_loss[FIX_S];
} fix_outcome;

static inline void fix_take(fix_outcome *o, const fix_args *a)
{
    const size_t size = elem_size(a->layout->grad_type);

    memset(o, 0, sizeof *o);
    memcpy(&o->result, a->result, sizeof o->result);
    for (size_t i = 0; i < FIX_N; i++)
        memcpy(o->grad + i * FIX_V * size, (const char *)a->grad
               + i * (size_t)fix_grad_stride(a) * size, FIX_V * size);
    memcpy(o->logp, fix.logp, sizeof o->logp);
    memcpy(o->rest, fix.rest, sizeof o->rest);
    memcpy(o->entropy, fix.entropy, sizeof o->entropy);
    memcpy(o->dlogp, fix.dlogp, sizeof o->dlogp);
    memcpy(o->row_loss, fix.row_loss, sizeof o->row_loss);
    memcpy(o->argmax, fix.argmax, sizeof o->argmax);
    memcpy(o->seq_logp, fix.seq_logp, sizeof o->seq_logp);
    memcpy(o->seq_loss, fix.seq_loss, sizeof o->seq_loss);
}

static inline void fix_run_and_take(const fix_args *a, fix_outcome *o,
                                    const char *what)
{
    CHECK(fix_run(a) == BNFLOSS_OK, "%s: run", what);
    fix_take(o, a);
}

/* ---- fam: every loss ----------------------------------------------------- */

enum {
    FAM_N = 26, FAM_S = 8, FAM_P = 4, FAM_V = 37, FAM_STRIDE = 41,
    FAM_GRAD_STRIDE = 43, FAM_IGNORED = 5, FAM_WEIGHTLESS = 10, FAM_M = 3,
    FAM_SPECS = 17, FAM_WORK = 8192
};

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

/* The arrays of bnfloss_inputs, a line each. */
typedef struct fam_array {
    const char *name;
    size_t at;                  /* of the pointer in bnfloss_inputs */
    void *numbers;              /* in fam */
    size_t size, count;         /* bytes of an element; elements */
    unsigned needed;            /* the traits of the losses that need it */
} fam_array;

#define FAM_ARRAY(field, array, needed)                                       \
    { #field, offsetof(bnfloss_inputs, field), fam.array, sizeof *fam.array,  \
      sizeof fam.array / sizeof *fam.array, needed }

/* Those that no trait asks for come first. */
enum { FAM_START, FAM_SIDE, FAM_REF, FAM_WEIGHT, FAM_SEQ_WEIGHT,
       FAM_PAIR_WEIGHT, FAM_PAIR_SCALE, FAM_PAIR_MARGIN, FAM_SQUARE,
       FAM_MISMATCHED };

static const fam_array fam_arrays[] = {
    FAM_ARRAY(seq_start, start, 0),
    FAM_ARRAY(side, side, 0),
    FAM_ARRAY(ref_logp, ref, BN_REFERENCE),
    FAM_ARRAY(row_weight, weight, 0),
    FAM_ARRAY(seq_weight, seq_weight, 0),
    FAM_ARRAY(pair_weight, pair_weight, BN_CERTAINTY),
    FAM_ARRAY(pair_scale, pair_scale, 0),
    FAM_ARRAY(pair_margin, pair_margin, 0),
    FAM_ARRAY(log_square, square, 0),
    FAM_ARRAY(mismatched, mismatched, 0),
    FAM_ARRAY(soft_label, soft, BN_SOFT),
    FAM_ARRAY(distance, distance, BN_DISTANCE),
    FAM_ARRAY(row_mask, mask, BN_MASK)
};
enum { FAM_ARRAYS = sizeof fam_arrays / sizeof *fam_arrays };

/* The array as the call will use it, or NULL. */
static inline void **fam_pointer(const fam_array *a)
{
    return (void **)(void *)((char *)&fam.in + a->at);
}

static inline void fam_give(const fam_array *a, void *p)
{
    memcpy(fam_pointer(a), &p, sizeof p);
    if (a == fam_arrays + FAM_MISMATCHED)
        fam.in.mismatches = p ? FAM_M : 0;
}

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
    bnfloss_inputs *in = &fam.in;

    for (int k = FAM_SEQ_WEIGHT; k < FAM_ARRAYS; k++)
        if (has_trait(kind, fam_arrays[k].needed))
            fam_give(fam_arrays + k, fam_arrays[k].numbers);
    if (full && shape_of(kind) == BN_BY_PAIR)
        in->pair_weight = fam.pair_weight;
    if (full && has_margin(kind)) {
        in->pair_scale = fam.pair_scale;
        in->pair_margin = fam.pair_margin;
    }
    if (full && !is_paired(kind))
        in->seq_weight = fam.seq_weight;
    if (has_trait(kind, BN_KL) && full) {
        in->mismatched = fam.mismatched;
        in->mismatches = FAM_M;
    }
    if (has_trait(kind, BN_BASELINE) && full) {
        in->shift_mean = 0.25;
        in->shift_count = 6;
    }
    if (is_paired(kind))
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
    if (takes(s->kind, BN_FLIP) && rng_below(r, 2))
        s->flip_prob = (float)(1 + rng_below(r, 7)) / 16;
    if (takes(s->kind, BN_BETA) && rng_below(r, 2))
        s->beta = (float)(1 + rng_below(r, 16)) / 32;
    if (takes(s->kind, BN_EPS) && rng_below(r, 2))
        s->eps = 0x1p-8f;
    if (takes(s->kind, BN_SFT_WEIGHT) && rng_below(r, 2)) {
        s->sft_weight = (float)rng_below(r, 8) / 8;
        s->sft_norm = (uint32_t)(1 + rng_below(r, 3));
        s->sft_norm += s->sft_norm == BNFLOSS_NORM_SHORTEST;
    }
    if (takes(s->kind, BN_LD_ALPHA) && rng_below(r, 3) == 0)
        s->ld_alpha = (float)rng_below(r, 8) / 8;
    if (has_trait(s->kind, BN_DIVERGENCE) && rng_below(r, 2))
        s->f_divergence = (uint32_t)rng_below(r, 4);
    if (s->f_divergence && rng_below(r, 2))
        s->f_alpha = (float)rng_below(r, 9) / 4;
    if (takes(s->kind, BN_ALPHA) && rng_below(r, 3) == 0)
        s->alpha = (float)(rng_below(r, 9) - 4) / 16;
    if (flags_taken(s->kind) & BNFLOSS_REFERENCE_FREE && rng_below(r, 6) == 0)
        s->flags |= BNFLOSS_REFERENCE_FREE;
    if (flags_taken(s->kind) & BNFLOSS_WPO && rng_below(r, 4) == 0)
        s->flags |= BNFLOSS_WPO;
    if (s->kind == BNFLOSS_BMC && rng_below(r, 2))
        s->flags |= BNFLOSS_POLICY_WEIGHTS;
    if (s->kind == BNFLOSS_SFT && rng_below(r, 2))
        s->flags |= BNFLOSS_DFT;
    if (s->kind == BNFLOSS_SFT && rng_below(r, 4) == 0)
        s->flags |= BNFLOSS_CHOSEN_ONLY;
    if (shape_of(s->kind) == BN_BY_TOKEN && rng_below(r, 2))
        s->token_norm = (uint32_t)(1 + rng_below(r, 3));
}

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

/* ---- fam: calls that are refused, or taken ------------------------------- */

enum { FAM_RUN = 1, FAM_STATES = 2, FAM_LOGPS = 4, FAM_ALL = 7 };

static fam_block fam_sound;     /* what each defect starts from */

static inline void fam_save(void)
{
    memcpy(&fam_sound, &fam, sizeof fam);
}

static inline void fam_restore(void)
{
    memcpy(&fam, &fam_sound, sizeof fam);
}

/* A batch of a kind with states of all its rows that have all sums; saved. */
static inline void fam_make_sound(uint32_t kind, int full)
{
    fam_make(kind, 7, full);
    CHECK(fam_forward(BNFLOSS_ENTROPY | BNFLOSS_MEAN | BNFLOSS_SQUARES,
                      fam.state) == BNFLOSS_OK, "forward");
    memcpy(fam.other, fam.state, sizeof fam.other);
    fam_save();
}

static inline bnfloss_status fam_call(int entry)
{
    return entry == FAM_RUN      ? fam_run(fam.grad, 1)
           : entry == FAM_STATES ? fam_states()
                                 : fam_logps();
}

/* The batch as it is now is refused by these entry points, and nothing is
 * written. Afterwards it is the sound one again. */
static inline void fam_refused(const char *what, int entries,
                               bnfloss_status want, int64_t where)
{
    static fam_block bad, before;
    const char *name = bnfloss_kind_name(fam_sound.spec[0].kind);

    memcpy(&bad, &fam, sizeof fam);
    for (int entry = FAM_RUN; entry <= FAM_LOGPS; entry <<= 1) {
        bnfloss_status got;

        if (!(entries & entry))
            continue;
        memcpy(&fam, &bad, sizeof fam);
        got = fam_call(entry);
        CHECK(got == want, "%s, %s, entry point %d: status %d, not %d", name,
              what, entry, (int)got, (int)want);
        CHECK(fam.result.where == where,
              "%s, %s, entry point %d: where %d, not %d", name, what, entry,
              (int)fam.result.where, (int)where);
        memcpy(&before, &bad, sizeof fam);
        before.result.where = fam.result.where;
        CHECK(memcmp(&before, &fam, sizeof fam) == 0,
              "%s, %s, entry point %d: something was written", name, what,
              entry);
    }
    fam_restore();
}

/* It is taken, and every NaN in what comes back is the canonical one. */
static inline void fam_taken(const char *what, int entries)
{
    static fam_block good;
    const char *name = bnfloss_kind_name(fam_sound.spec[0].kind);

    memcpy(&good, &fam, sizeof fam);
    for (int entry = FAM_RUN; entry <= FAM_LOGPS; entry <<= 1) {
        bnfloss_status got;

        if (!(entries & entry))
            continue;
        memcpy(&fam, &good, sizeof fam);
        got = fam_call(entry);
        if (!CHECK(got == BNFLOSS_OK, "%s, %s, entry point %d: status %d",
                   name, what, entry, (int)got))
            continue;
        for (int i = 0; i < FAM_N; i++)
            CHECK(fam.dlogp[i] == fam.dlogp[i]
                  || bits_of(fam.dlogp[i]) == 0x7FC00000u,
                  "%s, %s: another NaN", name, what);
        CHECK(fam.result.loss == fam.result.loss
              || fam.result.nan_pairs > 0 || fam.result.nan_rows > 0
              || shape_of(fam.spec[0].kind) == BN_BY_SEQUENCE,
              "%s, %s: a NaN loss that is not counted", name, what);
    }
    fam_restore();
}

/* ---- fam: two calls compared --------------------------------------------- */

typedef struct fam_outcome {
    bnfloss_result result;
    float dlogp[FAM_N], row_loss[FAM_N], logp[FAM_N], rest[FAM_N];
    float entropy[FAM_N], log_square[FAM_N], distance[FAM_S], scale[FAM_N];
    int32_t argmax[FAM_N];
    double seq_loss[FAM_S], seq_logp[FAM_S], seq_ratio[FAM_S];
    double spec_loss[FAM_SPECS];
    float grad[FAM_N][FAM_V];
} fam_outcome;

static inline void fam_take(fam_outcome *o)
{
    memset(o, 0, sizeof *o);
    memcpy(&o->result, &fam.result, sizeof o->result);
    memcpy(o->dlogp, fam.dlogp, sizeof o->dlogp);
    memcpy(o->row_loss, fam.row_loss, sizeof o->row_loss);
    memcpy(o->logp, fam.logp, sizeof o->logp);
    memcpy(o->rest, fam.rest, sizeof o->rest);
    memcpy(o->entropy, fam.entropy, sizeof o->entropy);
    memcpy(o->log_square, fam.log_square, sizeof o->log_square);
    memcpy(o->argmax, fam.argmax, sizeof o->argmax);
    memcpy(o->scale, fam.row_scale, sizeof o->scale);
    memcpy(o->distance, fam.distance_grad, sizeof o->distance);
    memcpy(o->seq_loss, fam.seq_loss, sizeof o->seq_loss);
    memcpy(o->seq_logp, fam.seq_logp, sizeof o->seq_logp);
    memcpy(o->seq_ratio, fam.seq_ratio, sizeof o->seq_ratio);
    memcpy(o->spec_loss, fam.spec_loss, sizeof o->spec_loss);
    for (int64_t i = 0; i < fam.layout.rows; i++)
        for (int64_t v = 0; v < FAM_V; v++)
            o->grad[i][v] = fam_grad(i, v);
}

static inline int fam_run_and_take(fam_outcome *o, const char *what)
{
    const bnfloss_status got = fam_run(fam.grad, 1);
    const int ok = CHECK(got == BNFLOSS_OK, "%s, %s: status %d",
                         bnfloss_kind_name(fam.spec[0].kind), what, (int)got);

    fam_take(o);
    return ok;
}

static inline int same_row(const fam_outcome *a, const fam_outcome *b,
                           int64_t i)
{
    return bits_of(a->dlogp[i]) == bits_of(b->dlogp[i])
           && memcmp(a->grad[i], b->grad[i], sizeof a->grad[i]) == 0;
}

/* Whether all of a row's gradient is NaN, or 0. */
static inline int nan_row(const fam_outcome *o, int64_t i)
{
    int all = o->dlogp[i] != o->dlogp[i];

    for (int v = 0; v < FAM_V; v++)
        all &= bits_of(o->grad[i][v]) == 0x7FC00000u;
    return all;
}

static inline int zero_row(const fam_outcome *o, int64_t i)
{
    int all = o->dlogp[i] == 0;

    for (int v = 0; v < FAM_V; v++)
        all &= o->grad[i][v] == 0;
    return all;
}

/* The rows of sequences from .. to - 1 are ignored by their labels. */
static inline void fam_empty(int64_t from, int64_t to)
{
    for (int64_t i = fam.start[from]; i < fam.start[to]; i++)
        fam.label[i] = -1;
}

#endif /* FIXTURE_H */
