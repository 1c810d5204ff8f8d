/* One call of bnfloss_run() or bnfloss_loss(), made from bytes: any loss, any
 * option, any layout, and sound; then, sometimes, one thing wrong with it.
 *
 * SPDX-License-Identifier: MIT
 *
 * Options are offered to bnfloss_workspace(), which checks a spec, and taken
 * back where the loss does not have them: so nearly every input becomes a
 * sound call, which the library has to accept. */
#ifndef CALL_H
#define CALL_H

#include "fuzz.h"

#ifdef FUZZ_PLANT               /* a logit that nobody writes, for MSan */
#define FUZZ_FIRST 1
#else
#define FUZZ_FIRST 0
#endif

enum { MAX_N = 14, MAX_S = 8, MAX_SPECS = 3, KINDS = 35 };

typedef struct call {
    bnfloss_layout layout;
    bnfloss_spec spec[MAX_SPECS];
    bnfloss_inputs inputs;
    bnfloss_outputs outputs;
    bnfloss_result *result;
    int64_t N, V, S, P;
    int specs, in_place, tame;
    int32_t threads;
    uint64_t work_bytes, seed;
    uint64_t more;                  /* of work, to keep exponentials in */
    /* inputs, each a block of its own; NULL where not given */
    void *logits, *labels;
    int64_t *seq_start;
    int8_t *side;
    float *ref, *row_weight, *seq_weight, *pair_weight, *pair_scale;
    float *pair_margin, *soft_label, *distance, *log_square, *logp, *rest;
    uint8_t *row_mask;
    double *mismatched;
    region *grad, *work, *result_at;
} call;

/* ---- What losses need: the header's words ------------------------------- */

static inline int is_pair(uint32_t k)
{
    return k == BNFLOSS_DPO || (k >= BNFLOSS_ROBUST
                                && k <= BNFLOSS_AOT_UNPAIRED);
}

static inline int is_sorted(uint32_t k)
{
    return k == BNFLOSS_AOT || k == BNFLOSS_AOT_UNPAIRED;
}

static inline int has_margin(uint32_t k)
{
    return k == BNFLOSS_DPO || (k >= BNFLOSS_ROBUST && k <= BNFLOSS_UPO);
}

/* Whether a loss of the call is one of these. */
static inline int any(const call *c, int (*is)(uint32_t))
{
    for (int i = 0; i < c->specs; i++)
        if (is(c->spec[i].kind))
            return 1;
    return 0;
}

static inline int any_kind(const call *c, uint32_t kind)
{
    for (int i = 0; i < c->specs; i++)
        if (c->spec[i].kind == kind)
            return 1;
    return 0;
}

static inline int any_flag(const call *c, uint32_t flag)
{
    for (int i = 0; i < c->specs; i++)
        if (c->spec[i].flags & flag)
            return 1;
    return 0;
}

static inline int all_sft(const call *c)
{
    for (int i = 0; i < c->specs; i++)
        if (c->spec[i].kind != BNFLOSS_SFT || c->spec[i].flags & BNFLOSS_DFT)
            return 0;
    return 1;
}

/* ---- Numbers ------------------------------------------------------------ */

/* [0, 4) in steps of 1/64, or anything at all. */
static inline float take_number(bytes *b, int tame)
{
    if (!tame && chance(b, 4))
        return float_from((uint32_t)take_word(b, 4));
    return (float)take(b) / 64;
}

static inline double take_double(bytes *b, int tame)
{
    if (!tame && chance(b, 8))
        return double_from(take_word(b, 8));
    return (double)(1 + take(b)) / 32;
}

/* ---- Specs -------------------------------------------------------------- */

static inline int spec_is_sound(const bnfloss_spec *s)
{
    uint64_t unused;

    return bnfloss_workspace(NULL, s, 1, 1, &unused) == BNFLOSS_OK;
}

/* Sets one field to something; what the loss refuses is taken back. */
static inline void spec_option(bytes *b, bnfloss_spec *s, int tame)
{
    const bnfloss_spec before = *s;

    switch (take(b) % 24) {
    case 0: s->beta = take_number(b, tame); break;
    case 1: s->flip_prob = take_number(b, tame) / 8; break;
    case 2: s->eps = take_number(b, tame) / 1024; break;
    case 3: s->gamma = take_number(b, tame); break;
    case 4: s->alpha = take_number(b, tame) - 2; break;
    case 5: s->penalty = take_number(b, tame); break;
    case 6: s->tau = take_number(b, tame) + 0.125f; break;
    case 7: s->tau_max = take_number(b, tame) + 1; break;
    case 8: s->rho = take_number(b, tame) / 8; break;
    case 9: s->cap = take_number(b, tame); break;
    case 10: s->desirable_weight = take_number(b, tame); break;
    case 11: s->undesirable_weight = take_number(b, tame); break;
    case 12: s->sft_weight = take_number(b, tame); break;
    case 13: s->ld_alpha = take_number(b, tame) / 4; break;
    case 14: s->f_alpha = take_number(b, tame) - 1; break;
    case 15: s->f_divergence = take(b) % 4; break;
    case 16: s->flags ^= 1u << take(b) % 5; break;
    case 17: s->token_norm = 1 + take(b) % 3; break;
    case 18: s->divisor = 1 + take(b) % 4; break;
    case 19: s->weight = take_double(b, tame) - 2; break;
    case 20: s->divisor_value = take_double(b, tame); break;
    case 21: s->loss_scale = take_double(b, tame) * 4; break;
    case 22: s->sft_norm = 1 + take(b) % 4; break;
    default: s->flags ^= BNFLOSS_DEFER_SCALE; break;
    }
    if (!spec_is_sound(s))
        *s = before;
}

static inline void make_specs(bytes *b, call *c)
{
    c->specs = chance(b, 5) ? 2 + (int)below(b, 2) : 1;
    for (int i = 0; i < c->specs; i++) {
        bnfloss_spec *s = c->spec + i;

        bnfloss_spec_init(s, sizeof *s, 1 + take(b) % KINDS);
        for (int n = (int)below(b, 6); n > 0; n--)
            spec_option(b, s, c->tame);
        if (c->specs > 1)
            s->flags &= ~(uint32_t)BNFLOSS_DEFER_SCALE;
    }
    c->spec[0].also = (uint32_t)c->specs - 1;
}

/* ---- Layout ------------------------------------------------------------- */

static inline int64_t take_vocab(bytes *b)
{
    static const int edges[] = { 15, 16, 17, 63, 64, 65, 127, 128, 129, 255,
                                 256, 257, 2047, 2048, 2049, 2113 };

    switch (take(b) % 8) {
    case 0: return 1 + below(b, 4);
    case 1: return edges[take(b) % 16];
    case 2: return 100 + (int64_t)take_word(b, 2) % 600;
    default: return 2 + below(b, 90);
    }
}

static inline void make_layout(bytes *b, call *c)
{
    static const float scales[] = { 0, 0.5f, 1.5f, 0.0625f, 3 };
    static const float caps[] = { 0, 0, 30, 5, 0.75f };
    bnfloss_layout *l = &c->layout;

    l->struct_size = sizeof *l;
    l->logits_type = take(b) % 3;
    l->grad_type = take(b) % 3;
    l->label_type = take(b) % 2;
    l->rows = c->N;
    l->vocab = c->V;
    l->logits_stride = chance(b, 3) ? c->V + below(b, 9) : 0;
    l->grad_stride = chance(b, 3) ? c->V + below(b, 9) : 0;
    l->logit_scale = scales[take(b) % 5];
    l->softcap = caps[take(b) % 5];
    l->flags = take(b) & (BNFLOSS_ENTROPY | BNFLOSS_MEAN | BNFLOSS_SQUARES);
    if (all_sft(c) && chance(b, 2))
        l->label_smoothing = (float)below(b, 17) / 16;
    if (all_sft(c) && chance(b, 2))
        l->z_loss = (float)below(b, 17) / 256;
    c->in_place = l->logits_type == l->grad_type && chance(b, 3);
    if (c->in_place)
        l->grad_stride = l->logits_stride;
    if (!c->in_place && !any_flag(c, BNFLOSS_DEFER_SCALE) && chance(b, 4))
        l->flags |= BNFLOSS_ACCUMULATE;
    else if (chance(b, 3))
        l->grad_cols = l->grad_stride ? l->grad_stride
                       : l->logits_stride ? l->logits_stride : 0;
}

static inline int64_t logits_stride(const call *c)
{
    return c->layout.logits_stride ? c->layout.logits_stride : c->V;
}

static inline int64_t grad_stride(const call *c)
{
    return c->layout.grad_stride ? c->layout.grad_stride : logits_stride(c);
}

static inline size_t type_size(uint32_t type)
{
    return type == BNFLOSS_F32 ? 4 : 2;
}

/* ---- Elements ----------------------------------------------------------- */

static inline uint16_t half_of(float x)     /* cuts off; huge is infinite */
{
    uint32_t bits, rest;
    int e;

    memcpy(&bits, &x, sizeof bits);
    rest = bits & 0x7FFFFFFF;
    e = (int)(rest >> 23) - 127;
    if (rest > 0x7F800000)
        return 0x7E01;
    if (e > 15)
        return (uint16_t)((bits >> 16 & 0x8000) | 0x7C00);
    if (e < -14)
        return (uint16_t)(bits >> 16 & 0x8000);
    return (uint16_t)((bits >> 16 & 0x8000)
                      | ((rest >> 13) - ((127u - 15u) << 10)));
}

static inline float of_half(uint16_t h)
{
    const uint32_t e = h >> 10 & 31, f = h & 1023;
    const float sign = h & 0x8000 ? -1.0f : 1.0f;

    if (e == 31)
        return f ? float_from(0x7FC00000) : sign * float_from(0x7F800000);
    if (e == 0)
        return sign * (float)f * 0x1p-24f;
    return sign * float_from((e + 112) << 23 | f << 13);
}

static inline void put(uint32_t type, void *p, int64_t i, float x)
{
    uint32_t bits;

    memcpy(&bits, &x, sizeof bits);
    if (type == BNFLOSS_F32)
        ((float *)p)[i] = x;
    else
        ((uint16_t *)p)[i] = type == BNFLOSS_BF16 ? (uint16_t)(bits >> 16)
                                                  : half_of(x);
}

static inline float get(uint32_t type, const void *p, int64_t i)
{
    if (type == BNFLOSS_F32)
        return ((const float *)p)[i];
    if (type == BNFLOSS_BF16)
        return float_from((uint32_t)((const uint16_t *)p)[i] << 16);
    return of_half(((const uint16_t *)p)[i]);
}

/* A NaN that is not the canonical one. */
static inline int is_odd_nan(uint32_t type, const void *p, int64_t i)
{
    const float x = get(type, p, i);
    uint32_t bits;

    if (x == x)
        return 0;
    if (type != BNFLOSS_F32)
        return ((const uint16_t *)p)[i]
               != (type == BNFLOSS_BF16 ? 0x7FC0 : 0x7E00);
    memcpy(&bits, &((const float *)p)[i], sizeof bits);
    return bits != 0x7FC00000;
}

/* ---- Content ------------------------------------------------------------ */

static inline float make_logit(uint64_t *seed, int what, int64_t j, int64_t V)
{
    const uint64_t x = mix(seed);
    const float small = (float)((int)(x % 257) - 128) / 16;

    switch (what) {
    case 0: return small;
    case 1: return small / 64;
    case 2: return 4 * small;
    case 3: return 2;
    case 4: return (float)(j * 32 / V);
    case 5: return small - 64;
    case 6: return 1024 + small / 8;
    case 7: return x >> 32 & 3 ? small : float_from(0xFF800000);
    case 8: return float_from((uint32_t)(x >> 32));         /* anything */
    case 9: return 1e5f * small;
    default: return x >> 40 & 63 ? small
                    : float_from((uint32_t)(x >> 8 & 0x807FFFFF) | 0x7F800000);
    }
}

static inline void make_row(bytes *b, call *c, int64_t i, void *labels)
{
    const int what = (int)below(b, c->tame ? 7 : 11);
    int64_t y = (int64_t)(mix(&c->seed) % (uint64_t)c->V);

    for (int64_t j = FUZZ_FIRST; j < c->V; j++)
        put(c->layout.logits_type, c->logits, i * logits_stride(c) + j,
            make_logit(&c->seed, what, j, c->V));
    if (what == 5)                                  /* p next to 1 */
        put(c->layout.logits_type, c->logits, i * logits_stride(c) + y, 8);
    if (!c->tame && chance(b, 8)) {
        const int64_t at = (int64_t)take(b) % c->V;     /* taken in order */

        put(c->layout.logits_type, c->logits, i * logits_stride(c) + at,
            float_from((uint32_t)take_word(b, 4)));
    }
    if (chance(b, 10))
        y = -1 - below(b, 100);
    if (c->layout.label_type == BNFLOSS_I64)
        ((int64_t *)labels)[i] = y;
    else
        ((int32_t *)labels)[i] = (int32_t)y;
}

static inline int64_t label_of(const call *c, int64_t i)
{
    return c->layout.label_type == BNFLOSS_I64
               ? ((const int64_t *)c->labels)[i]
               : ((const int32_t *)c->labels)[i];
}

static inline int is_skipped(const call *c, int64_t i)
{
    return label_of(c, i) < 0 || (c->row_weight && c->row_weight[i] == 0);
}

/* [from, to) in 64 steps, which its bounds make exact. */
static inline float *make_floats(call *c, int64_t n, float from, float to)
{
    float *x = (float *)fuzz_alloc((size_t)n * sizeof *x);

    for (int64_t i = 0; i < n; i++)
        x[i] = from + (to - from) * ((float)(mix(&c->seed) % 64) / 64);
    return x;
}

/* ---- Sequences, pairs and what else a loss reads ------------------------ */

static inline void make_sequences(bytes *b, call *c)
{
    int need = any(c, is_pair);

    for (int i = 0; i < c->specs; i++)
        need |= c->spec[i].divisor == BNFLOSS_DIV_PAIRS;
    c->inputs.pairing = need || chance(b, 3) ? 1 + take(b) % 2 : 0;
    c->S = c->inputs.pairing ? 2 * (1 + below(b, MAX_S / 2))
                             : 1 + below(b, MAX_S);
    c->P = c->inputs.pairing ? c->S / 2 : 0;
    c->seq_start = (int64_t *)fuzz_alloc((size_t)(c->S + 1) * 8);
    c->side = (int8_t *)fuzz_alloc((size_t)c->S);
    c->seq_start[0] = 0;
    for (int64_t s = 1; s <= c->S; s++)
        c->seq_start[s] = c->N * s / c->S;
    for (int64_t s = 1; s < c->S; s++)      /* unequal and empty ones */
        if (chance(b, 3))
            c->seq_start[s] = c->seq_start[s - 1];
    for (int64_t s = 0; s < c->S; s++)
        c->side[s] = (int8_t)(c->inputs.pairing == BNFLOSS_PAIRS_HALVES
                                  ? (s < c->P ? 1 : -1)
                              : c->inputs.pairing ? (s % 2 ? -1 : 1)
                              : chance(b, 2) ? -1 : 1);
}

static inline void make_reference(bytes *b, call *c)
{
    c->ref = make_floats(c, c->N, -6, 0);
    for (int64_t i = 0; i < c->N; i++) {
        if (!c->tame && chance(b, 6))
            c->ref[i] = float_from(0xFF800000);     /* q = 0 */
        if (chance(b, 12))
            c->ref[i] = 0x1p-7f;                    /* rounded */
    }
    if (chance(b, 2))
        return;
    c->row_weight = make_floats(c, c->N, 0, 4);     /* 0 now and then */
    for (int64_t i = 0; i < c->N; i++) {
        if (!c->tame && chance(b, 8))
            c->row_weight[i] = -c->row_weight[i];
        if (chance(b, 12))
            c->row_weight[i] = 0;
    }
}

static inline void make_extras(bytes *b, call *c)
{
    bnfloss_inputs *in = &c->inputs;
    int single = 0;

    for (int i = 0; i < c->specs; i++)
        single |= !is_pair(c->spec[i].kind);
    if (single && chance(b, 4))
        c->seq_weight = make_floats(c, c->S, -2, 2);
    for (int i = 0; i < c->specs; i++)
        if (is_pair(c->spec[i].kind) && !is_sorted(c->spec[i].kind)
            && !c->pair_weight
            && (c->spec[i].kind == BNFLOSS_UPO || chance(b, 4)))
            c->pair_weight = make_floats(c, c->P, 0, 2);
    if (any(c, has_margin) && chance(b, 4))
        c->pair_scale = make_floats(c, c->P, 0.5f, 2.5f);
    if (any(c, has_margin) && chance(b, 4))
        c->pair_margin = make_floats(c, c->P, -2, 2);
    if (any_kind(c, BNFLOSS_IREPO))
        c->soft_label = make_floats(c, c->P, 0.25f, 0.75f);
    if (any_kind(c, BNFLOSS_FPO))
        c->distance = make_floats(c, c->S, -4, 4);
    if (any_kind(c, BNFLOSS_BMC)) {
        c->row_mask = (uint8_t *)fuzz_alloc((size_t)c->N);
        for (int64_t i = 0; i < c->N; i++)
            c->row_mask[i] = (uint8_t)(mix(&c->seed) % 2);
    }
    if (any_kind(c, BNFLOSS_KTO) && chance(b, 2)) {
        in->mismatches = 1 + below(b, 5);
        c->mismatched = (double *)fuzz_alloc((size_t)in->mismatches * 8);
        for (int64_t i = 0; i < in->mismatches; i++)
            c->mismatched[i] = (double)((int)(mix(&c->seed) % 64) - 24) / 8;
    } else if (any_kind(c, BNFLOSS_KTO)) {
        in->kl = (double)take(b) / 32;
    }
    if (any_kind(c, BNFLOSS_BCO) && chance(b, 2)) {
        in->shift_mean = (double)take(b) / 64 - 2;
        in->shift_count = (double)take(b);
    }
}

static inline void make_inputs(bytes *b, call *c)
{
    bnfloss_inputs *in = &c->inputs;

    in->struct_size = sizeof *in;
    make_sequences(b, c);
    make_reference(b, c);
    make_extras(b, c);
    in->sequences = c->S;
    in->seq_start = c->seq_start;
    in->side = c->inputs.pairing && chance(b, 2) ? NULL : c->side;
    in->ref_logp = c->ref;
    in->row_weight = c->row_weight;
    in->seq_weight = c->seq_weight;
    in->pair_weight = c->pair_weight;
    in->pair_scale = c->pair_scale;
    in->pair_margin = c->pair_margin;
    in->soft_label = c->soft_label;
    in->distance = c->distance;
    in->row_mask = c->row_mask;
    in->mismatched = c->mismatched;
}

/* ---- Outputs ------------------------------------------------------------ */

static inline void *out(bytes *b, int64_t n, size_t word)
{
    return chance(b, 4) ? NULL : region_new((size_t)n, word)->now;
}

static inline void make_result(call *c)
{
    const uint32_t size = sizeof *c->result;

    c->result_at = region_new(sizeof *c->result / 8, 8);
    c->result_at->skip = 8;
    c->result = (bnfloss_result *)c->result_at->now;
    memcpy(c->result, &size, sizeof size);
    c->result->reserved = 0;
}

/* dlogp is always there: the invariants go by it. rows: also what forward
 * writes. */
static inline void make_outputs(bytes *b, call *c, int rows)
{
    bnfloss_outputs *o = &c->outputs;

    o->struct_size = sizeof *o;
    o->dlogp = (float *)region_new((size_t)c->N, 4)->now;
    o->row_loss = (float *)out(b, c->N, 4);
    o->seq_logp = (double *)out(b, c->S, 8);
    o->seq_ratio = (double *)out(b, c->S, 8);
    o->seq_loss = (double *)out(b, is_pair(c->spec[0].kind) ? c->P : c->S, 8);
    o->distance_grad = (float *)out(b, c->S, 4);
    o->spec_loss = (double *)out(b, c->specs, 8);
    make_result(c);
    if (!rows)
        return;
    o->logp = (float *)region_new((size_t)c->N, 4)->now;
    o->rest = (float *)out(b, c->N, 4);
    o->entropy = (float *)out(b, c->N, 4);
    o->log_square = (float *)out(b, c->N, 4);
    o->argmax = (int32_t *)out(b, c->N, 4);
    if (any_flag(c, BNFLOSS_DEFER_SCALE))
        o->row_scale = (float *)region_new((size_t)c->N, 4)->now;
}

/* For a run, half of them have work for a scratch row besides. */
static inline void make_work(call *c, const bnfloss_layout *layout)
{
    c->more = layout && (c->N + c->V) % 2 ? BNFLOSS_SCRATCH(c->V) : 0;
    MUST(bnfloss_workspace(layout, c->spec, c->N, c->S, &c->work_bytes)
         == BNFLOSS_OK, "workspace refuses what is sound");
#ifdef FUZZ_PLANT               /* an error that a sanitizer must see */
    c->work = region_new((size_t)(c->work_bytes / 2), 1);
#else
    c->work = region_new((size_t)(c->work_bytes + c->more), 1);
#endif
}

/* ---- The call ----------------------------------------------------------- */

static inline void call_begin(bytes *b, call *c)
{
    memset(c, 0, sizeof *c);
    c->tame = chance(b, 2);
    make_specs(b, c);
    c->seed = take_word(b, 4);
}

static inline void call_free(call *c)
{
    void *const all[] = {
        c->in_place ? NULL : c->logits, c->labels, c->seq_start, c->side,
        c->ref, c->row_weight, c->seq_weight, c->pair_weight, c->pair_scale,
        c->pair_margin, c->soft_label, c->distance, c->log_square, c->logp,
        c->rest, c->row_mask, c->mismatched
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
    regions_free();
}

/* After an error nothing has changed but where. */
static inline void call_untouched(const call *c, bnfloss_status status)
{
    for (int i = 0; i < region_count; i++)
        MUST(region_untouched(regions + i,
                              regions + i == c->result_at ? 8 : 0),
             "region %d was written to in spite of status %d (%s)", i,
             (int)status, bnfloss_status_string(status));
}

/* Every float that came out is a number or the canonical NaN. */
static inline void call_canonical(const call *c)
{
    const bnfloss_outputs *o = &c->outputs;
    const float *const rows[] = { o->dlogp, o->row_loss, o->logp, o->rest,
                                  o->entropy, o->log_square, o->row_scale };

    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        for (int64_t i = 0; rows[k] && i < c->N; i++)
            MUST(!is_odd_nan(BNFLOSS_F32, rows[k], i),
                 "output %d, row %d: a NaN that is not the canonical one",
                 (int)k, (int)i);
}

#endif /* CALL_H */
