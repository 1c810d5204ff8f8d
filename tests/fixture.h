/* One small sound batch, all of it in one block of memory: tests change one
 * thing, call an entry point, and compare the whole block with what it was.
 *
 * SPDX-License-Identifier: MIT
 *
 * Twelve rows of seventy logits in four sequences (chosen, rejected, chosen,
 * rejected). Row 4's label is negative and row 7's weight is 0. The logits
 * are multiples of 1/16 below 8, which every type holds exactly. */
#ifndef FIXTURE_H
#define FIXTURE_H

#include "test.h"

#include <math.h>
#include <stddef.h>

/* The tests' own arithmetic is IEEE too, whatever flags they are built with. */
#include "../src/precise.h"

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

#define U 0x1p-24                   /* half an ulp of 1.0f */

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

/* ---- Elements of any type, for values that the type holds exactly ------- */

static inline float float_of(uint32_t b)
{
    float x;

    memcpy(&x, &b, sizeof x);
    return x;
}

static inline size_t elem_size(uint32_t type)
{
    return type == BNFLOSS_F32 ? 4 : 2;
}

/* What does not fit is cut off, or becomes infinite. */
static inline uint16_t f16_from(float x)
{
    const uint32_t b = bits_of(x), fraction = b & 0x7FFFFF;
    const uint32_t sign = b >> 16 & 0x8000;
    const int e = (int)(b >> 23 & 255) - 127;

    if (e == 128)
        return (uint16_t)(sign | 0x7C00 | (fraction ? 0x200 : 0));
    if (e > 15)
        return (uint16_t)(sign | 0x7C00);
    if (e >= -14)
        return (uint16_t)(sign | (uint32_t)(e + 15) << 10 | fraction >> 13);
    return (uint16_t)(sign | (e < -24 ? 0 : (fraction | 0x800000)
                                            >> (-e - 14 + 13)));
}

static inline float f16_to(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31;
    const uint32_t fraction = h & 0x3FF;

    if (e == 31)
        return float_of(sign | 0x7F800000 | fraction << 13);
    if (e == 0)
        return (sign ? -1.0f : 1.0f) * (float)fraction * 0x1p-24f;
    return float_of(sign | (e + 112) << 23 | fraction << 13);
}

static inline void elem_put(uint32_t type, void *p, int64_t i, float x)
{
    if (type == BNFLOSS_F32)
        ((float *)p)[i] = x;
    else if (type == BNFLOSS_BF16)
        ((uint16_t *)p)[i] = (uint16_t)(bits_of(x) >> 16);
    else
        ((uint16_t *)p)[i] = f16_from(x);
}

static inline float elem_get(uint32_t type, const void *p, int64_t i)
{
    if (type == BNFLOSS_F32)
        return ((const float *)p)[i];
    if (type == BNFLOSS_BF16)
        return float_of((uint32_t)((const uint16_t *)p)[i] << 16);
    return f16_to(((const uint16_t *)p)[i]);
}

/* The canonical quiet NaN of its type: the only one that may be written. */
static inline int elem_is_nan(uint32_t type, const void *p, int64_t i)
{
    if (type == BNFLOSS_F32)
        return bits_of(((const float *)p)[i]) == 0x7FC00000;
    return ((const uint16_t *)p)[i]
           == (type == BNFLOSS_BF16 ? 0x7FC0 : 0x7E00);
}

static inline const char *type_name(uint32_t type)
{
    return type == BNFLOSS_F32 ? "f32" : type == BNFLOSS_BF16 ? "bf16" : "f16";
}

static inline const char *kind_name(uint32_t kind)
{
    return kind == BNFLOSS_BNF ? "BNF" : kind == BNFLOSS_DPO ? "DPO" : "SFT";
}

/* Half an ulp of a gradient of this size once it is stored as `type`. */
static inline double elem_rounding(uint32_t type, double x)
{
    if (type == BNFLOSS_F32)
        return fabs(x) * U;
    if (type == BNFLOSS_BF16)
        return fabs(x) * 0x1p-8;
    return fabs(x) * 0x1p-11 + 0x1p-25;
}

/* ---- The batch ---------------------------------------------------------- */

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

/* ---- The entry points -------------------------------------------------- */

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

/* ---- What it should be, in plain double --------------------------------- */

/* One row's softmax over z'. */
typedef struct plain_row {
    double lse, gap;                /* gap = lse - max */
    double logp, p, rest, entropy, max, mean;   /* mean of finite z' */
    int64_t finite, argmax;         /* argmax: the label if it ties */
} plain_row;

/* z'; -inf stays -inf. */
static inline double plain_map(double z, double scale, double softcap)
{
    if (z == -HUGE_VAL)
        return z;
    return softcap > 0 ? softcap * tanh(scale * z / softcap) : scale * z;
}

/* The probability of a logit in that row, whatever offset they share. */
static inline double plain_p(const plain_row *r, double z)
{
    return exp(z - r->max - r->gap);
}

static inline plain_row plain_softmax(const double *z, int64_t V, int64_t y)
{
    plain_row r = { 0 };
    double sum = 0, others = 0, dot = 0;

    r.max = -HUGE_VAL;
    for (int64_t j = 0; j < V; j++)
        if (z[j] > r.max)
            r.max = z[j], r.argmax = j;
    if (z[y] == r.max)
        r.argmax = y;
    for (int64_t j = 0; j < V; j++) {
        if (z[j] == -HUGE_VAL)
            continue;
        sum += exp(z[j] - r.max);
        others += j == y ? 0 : exp(z[j] - r.max);
        r.mean += z[j];
        r.finite++;
    }
    r.mean /= (double)r.finite;
    r.gap = log(sum);
    r.lse = r.max + r.gap;
    r.logp = z[y] - r.max - r.gap;
    r.p = exp(r.logp);
    for (int64_t j = 0; j < V; j++)
        if (j != y && z[j] != -HUGE_VAL)
            dot += plain_p(&r, z[j]) * (z[j] - r.max - r.gap);
    r.rest = others > 0 ? dot / (others / sum) : 0;
    r.entropy = -dot - (r.p > 0 ? r.p * r.logp : 0);
    return r;
}

static inline double relative(double a, double b)
{
    if (a == b || (a != a && b != b))
        return 0;
    return fabs(a - b) / (fabs(b) > 1e-300 ? fabs(b) : 1e-300);
}

#endif /* FIXTURE_H */
