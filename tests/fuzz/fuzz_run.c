/* Fuzz target: bnfloss_run(), every loss, layout and option.
 *
 * SPDX-License-Identifier: MIT
 *
 * A sound call must be accepted, give the same bits on every instruction set
 * and stage by stage, and keep what the header promises of any result. The
 * same call with one thing wrong must be refused with the right status, and
 * must not have written a byte. */
#include "call.h"

#define U 0x1p-24                   /* half an ulp of 1.0f */

static bnfloss_status run(const call *c)
{
    return bnfloss_run(&c->layout, c->spec, &c->inputs, c->logits, c->labels,
                       c->grad ? c->grad->now : NULL, &c->outputs,
                       c->work->now, c->work_bytes + c->more, c->threads,
                       c->result);
}

/* ---- Made from bytes ---------------------------------------------------- */

static void make_buffers(bytes *b, call *c)
{
    const bnfloss_layout *l = &c->layout;
    const int64_t cols = l->grad_cols ? l->grad_cols : c->V;
    const int64_t read = c->N ? (c->N - 1) * logits_stride(c) + c->V : 0;
    const int64_t written = c->N ? (c->N - 1) * grad_stride(c) + cols : 0;
    const int64_t longer = written > read ? written : read;

    if (c->in_place) {
        c->grad = region_new((size_t)longer, type_size(l->grad_type));
        c->logits = c->grad->now;
    } else {
        c->logits = fuzz_alloc((size_t)read * type_size(l->logits_type));
        if (!chance(b, 6)) {
            c->grad = region_new((size_t)written, type_size(l->grad_type));
            for (int64_t j = 0; j < written; j++)
                put(l->grad_type, c->grad->now, j, (float)(j % 7) / 4);
        }
    }
    c->labels = fuzz_alloc((size_t)c->N
                           * (l->label_type == BNFLOSS_I64 ? 8 : 4));
    for (int64_t i = 0; i < c->N; i++)
        make_row(b, c, i, c->labels);
}

static void make_call(bytes *b, call *c)
{
    call_begin(b, c);
    c->N = below(b, MAX_N + 1);
    c->V = take_vocab(b);
    c->threads = (int32_t)below(b, 2);
    make_layout(b, c);
    make_buffers(b, c);
    make_inputs(b, c);
    make_outputs(b, c, 1);
    make_work(c, &c->layout);
    regions_begin();
}

/* ---- The same bits ------------------------------------------------------ */

static void compare(const call *c, const char *how)
{
    fuzz_compared++;
    for (int i = 0; i < region_count; i++)
        MUST(regions + i == c->work || region_same(regions + i),
             "other bits in region %d of %d %s (kind %d, V %d, N %d)", i,
             region_count, how, (int)c->spec[0].kind, (int)c->V, (int)c->N);
}

/* And with more work or without. */
static void every_isa(call *c)
{
    const char *isa[4];
    const int n = fuzz_isas(isa);
    const uint64_t more = c->more;

    for (int k = 0; k < n; k++) {
        bnfloss_status status;

        MUST(bnfloss_isa_select(isa[k]) == BNFLOSS_OK, "%s", isa[k]);
        regions_reset();
        c->more = k % 2 ? 0 : more;
        status = run(c);
        MUST(status == BNFLOSS_OK, "a sound call of kind %d is refused: %s",
             (int)c->spec[0].kind, bnfloss_status_string(status));
        if (k == 0)
            regions_save();
        else
            compare(c, isa[k]);
    }
    c->more = more;
    bnfloss_isa_select("auto");
    for (int i = 0; i < region_count; i++)
        if (regions + i != c->work)
            hash_region(regions + i);
}

/* forward, loss and backward, which know a row of weight 0 by its label. */
static void stages(call *c)
{
    bnfloss_layout l = c->layout;
    void *const labels = c->labels;
    const size_t word = l.label_type == BNFLOSS_I64 ? 8 : 4;
    bnfloss_row *state;
    float *dlogp;

    if (any_flag(c, BNFLOSS_DEFER_SCALE | BNFLOSS_CHOSEN_ONLY) || !c->N)
        return;
    state = (bnfloss_row *)fuzz_alloc((size_t)c->N * sizeof *state);
    dlogp = (float *)fuzz_alloc((size_t)c->N * sizeof *dlogp);
    c->labels = fuzz_alloc((size_t)c->N * word);
    memcpy(c->labels, labels, (size_t)c->N * word);
    for (int64_t i = 0; i < c->N; i++)
        if (is_skipped(c, i))
            memset((char *)c->labels + (size_t)i * word, 0xFF, word);
    l.flags |= any_kind(c, BNFLOSS_BNF) ? BNFLOSS_ENTROPY : 0u;
    l.flags |= any_flag(c, BNFLOSS_WPO) ? BNFLOSS_SQUARES : 0u;
    regions_reset();
    for (int64_t i = 0; i < c->N; i++)          /* row by row, backwards */
        MUST(bnfloss_forward(&l, c->logits, c->labels, c->N - 1 - i, c->N - i,
                             state, &c->outputs, NULL) == BNFLOSS_OK,
             "forward refuses what run takes");
    MUST(bnfloss_loss(c->spec, &c->inputs, c->N, state, NULL, NULL, dlogp,
                      &c->outputs, c->work->now, c->work_bytes, c->result)
         == BNFLOSS_OK, "loss refuses what run takes");
    if (c->grad)
        MUST(bnfloss_backward(&l, c->logits, c->labels, 0, c->N, state, dlogp,
                              c->grad->now, NULL) == BNFLOSS_OK,
             "backward refuses what run takes");
    compare(c, "stage by stage");
    MUST(memcmp(dlogp, c->outputs.dlogp, (size_t)c->N * 4) == 0, "dlogp");
    free(c->labels);
    free(dlogp);
    free(state);
    c->labels = labels;
}

/* ---- What holds of any result ------------------------------------------- */

/* Before the call, also where that was in place. */
static float logit(const call *c, int64_t i, int64_t j)
{
    return get(c->layout.logits_type, c->in_place ? c->grad->first
                                                  : c->logits,
               i * logits_stride(c) + j);
}

static float gradient(const call *c, int64_t i, int64_t j)
{
    return get(c->layout.grad_type, c->grad->now, i * grad_stride(c) + j);
}

static int row_is_finite(const call *c, int64_t i)
{
    for (int64_t j = 0; j < c->V; j++)
        if (logit(c, i, j) - logit(c, i, j) != 0)
            return 0;
    return 1;
}

/* A row that does not count. */
static void check_skipped(const call *c, int64_t i)
{
    const size_t size = type_size(c->layout.grad_type);
    const size_t at = (size_t)(i * grad_stride(c)) * size;

    MUST(c->outputs.dlogp[i] == 0, "ignored row %d: dlogp", (int)i);
    if (!c->grad)
        return;
    if (c->layout.flags & BNFLOSS_ACCUMULATE) {
        MUST(memcmp(c->grad->now + at, c->grad->first + at,
                    (size_t)c->V * size) == 0,
             "ignored row %d: its gradient was touched", (int)i);
        return;
    }
    for (int64_t j = 0; j < c->V; j++)
        MUST(gradient(c, i, j) == 0, "ignored row %d: gradient", (int)i);
}

/* dlogp as the gradient has it: without the deferred factor. */
static double row_dlogp(const call *c, int64_t i)
{
    const double d = (double)c->outputs.dlogp[i];

    if (!c->outputs.row_scale || d == 0)
        return d;
    return d / (double)c->outputs.row_scale[i];
}

/* The gradient of a row of finite logits, as f32 and not accumulated: one
 * direction, sums to 0, its label's part is dlogp (1-p). */
static void check_gradient(const call *c, int64_t i)
{
    const double d = row_dlogp(c, i), scale = c->layout.logit_scale > 0
                                                  ? c->layout.logit_scale : 1;
    const double q = -expm1((double)c->outputs.logp[i]);
    const double ls = (double)c->layout.label_smoothing;
    /* d is the quotient of two floats, which may be denormal */
    const double blur = !c->outputs.row_scale || d == 0 ? 0
        : 0x1p-149 / fabs((double)c->outputs.dlogp[i])
          + 0x1p-149 / fabs((double)c->outputs.row_scale[i]);
    /* flushed gradients; and a logp that a float has no room for */
    const double dust = (double)(c->V + 1) * 0x1p-124
                        + fabs(d) * scale * (0x1p-140 + blur);
    const int64_t y = label_of(c, i);
    double sum = 0;

    if (!(fabs(d) < 0x1p90) || !(fabs(d) > 0x1p-90))
        return;
    for (int64_t j = 0; j < c->V; j++) {
        const double g = (double)gradient(c, i, j);

        sum += g;
        MUST(fabs(g) <= fabs(d) * scale * (1 + 4 * U) + dust,
             "row %d, column %d: |%g| > |dlogp| = %g", (int)i, (int)j, g, d);
        if (ls == 0 && j != y)
            MUST(d > 0 ? g <= 0 : g >= 0, "row %d, column %d: sign of %g, "
                 "dlogp %g", (int)i, (int)j, g, d);
    }
    MUST(fabs(sum) <= 8 * U * (q + ls) * fabs(d) * scale + dust,
         "row %d: sum %g u of dlogp, 1-p %g, V %d", (int)i,
         sum / U / fabs(d), q, (int)c->V);
    if (ls == 0)
        MUST(fabs((double)gradient(c, i, y) - d * q * scale)
             <= 4 * U * fabs(d) * scale + dust, "row %d: the label's gradient "
             "%g, not %g", (int)i, (double)gradient(c, i, y), d * q * scale);
}

/* log p of the label, once more and naively. */
static void check_logp(const call *c, int64_t i)
{
    const double scale = c->layout.logit_scale > 0 ? c->layout.logit_scale : 1;
    double max = -HUGE_VAL, min = HUGE_VAL, sum = 0, want;

    for (int64_t j = 0; j < c->V; j++) {
        const double x = scale * (double)logit(c, i, j);

        max = x > max ? x : max;
        min = x < min ? x : min;
    }
    for (int64_t j = 0; j < c->V; j++)
        sum += exp(scale * (double)logit(c, i, j) - max);
    want = scale * (double)logit(c, i, label_of(c, i)) - max - log(sum);
    MUST(fabs((double)c->outputs.logp[i] - want)
             <= (10 + 2 * (max - min)) * U * fabs(want)
                    + 1e-13 * (1 + fabs(max)),
         "row %d: logp %.9g, not %.17g", (int)i, (double)c->outputs.logp[i],
         want);
}

static void check_padding(const call *c, int64_t i)
{
    const size_t size = type_size(c->layout.grad_type);
    const int64_t cols = c->layout.grad_cols ? c->layout.grad_cols : c->V;
    const size_t from = (size_t)(i * grad_stride(c) + cols) * size;
    const size_t to = (size_t)((i + 1) * grad_stride(c)) * size;

    for (int64_t j = c->V; j < cols; j++)
        MUST(gradient(c, i, j) == 0, "row %d: padding %d", (int)i, (int)j);
    if (to <= c->grad->size)
        MUST(memcmp(c->grad->now + from, c->grad->first + from, to - from)
             == 0, "row %d: written beyond grad_cols", (int)i);
}

static void check_rows(const call *c)
{
    const bnfloss_layout *l = &c->layout;
    const int plain = l->softcap == 0 && l->z_loss == 0;

    for (int64_t i = 0; i < c->N; i++) {
        if (c->grad)
            check_padding(c, i);
        for (int64_t j = 0; c->grad && j < c->V; j++)
            MUST(!is_odd_nan(l->grad_type, c->grad->now,
                             i * grad_stride(c) + j)
                 || l->flags & BNFLOSS_ACCUMULATE, "row %d, column %d: a NaN "
                 "that is not the canonical one", (int)i, (int)j);
        if (is_skipped(c, i)) {
            check_skipped(c, i);
            continue;
        }
        if (!row_is_finite(c, i) || !plain
            || any_flag(c, BNFLOSS_CHOSEN_ONLY))
            continue;
        if (c->tame)
            check_logp(c, i);
        if (c->grad && l->grad_type == BNFLOSS_F32
            && !(l->flags & BNFLOSS_ACCUMULATE)
            && c->outputs.logp[i] - c->outputs.logp[i] == 0)
            check_gradient(c, i);
    }
}

/* Losses whose value may be infinite between ordinary numbers: those with an
 * exponential of a margin, and the odds of a token that is alone. */
static int may_overflow(const call *c)
{
    for (int i = 0; i < c->specs; i++)
        if (c->spec[i].f_divergence || c->spec[i].kind == BNFLOSS_ALPHAPO
            || c->spec[i].kind == BNFLOSS_DISCOPOP
            || (c->V == 1 && (c->spec[i].kind == BNFLOSS_ORPO
                              || c->spec[i].kind == BNFLOSS_ASFT)))
            return 1;
    return 0;
}

static void check_result(const call *c)
{
    const bnfloss_result *r = c->result;
    int64_t tokens = 0;

    for (int64_t i = 0; i < c->N; i++)
        tokens += !is_skipped(c, i);
    if (!any_flag(c, BNFLOSS_CHOSEN_ONLY))
        MUST(r->tokens == tokens, "%d tokens, not %d", (int)r->tokens,
             (int)tokens);
    MUST(r->where == -1 && r->tokens <= tokens && r->nan_rows <= tokens
         && r->zero_refs <= tokens && r->clamped_logps <= tokens, "counts");
    MUST(r->sequences + r->empty_sequences == c->S, "%d and %d sequences of "
         "%d", (int)r->sequences, (int)r->empty_sequences, (int)c->S);
    MUST(r->pairs + r->skipped_pairs == c->P || !c->P, "%d and %d pairs of %d",
         (int)r->pairs, (int)r->skipped_pairs, (int)c->P);
    if (c->tame && !may_overflow(c)) {
        MUST(r->loss - r->loss == 0, "loss %g of ordinary numbers, kind %d",
             r->loss, (int)c->spec[0].kind);
        MUST(r->nan_rows == 0 && r->nan_pairs == 0, "NaN of ordinary numbers");
    }
    if (tokens == 0)
        MUST(r->loss == 0, "loss %g of nothing", r->loss);
}

/* ---- One thing wrong ---------------------------------------------------- */

/* Row i, and what run has to say of it. */
static int wrong_row(bytes *b, call *c, int what, int64_t *where)
{
    const int64_t i = c->N ? below(b, c->N) : 0;

    *where = i;
    if (c->N == 0)
        return -1;
    switch (what) {
    case 0:
        if (is_skipped(c, i))
            return -1;
        if (c->layout.label_type == BNFLOSS_I64)
            ((int64_t *)c->labels)[i] = c->V + (int64_t)take_word(b, 4);
        else
            ((int32_t *)c->labels)[i] = (int32_t)(c->V + below(b, 256));
        return BNFLOSS_E_LABEL;
    case 1:
        if (!c->row_weight)
            return -1;
        c->row_weight[i] = float_from(chance(b, 2) ? 0x7FC00000 : 0xFF800000);
        return BNFLOSS_E_WEIGHT;
    default:
        if (is_skipped(c, i) || c->spec[0].flags & BNFLOSS_REFERENCE_FREE
            || (c->spec[0].kind != BNFLOSS_BNF
                && c->spec[0].kind != BNFLOSS_DPO))
            return -1;
        c->ref[i] = chance(b, 2) ? float_from(0x7FC00000) : 0x1.02p-6f;
        return BNFLOSS_E_REF_LOGP;
    }
}

/* Pointers: NULL, misaligned, overlapping. */
static int wrong_pointer(bytes *b, call *c)
{
    if (c->N == 0)
        return -1;
    switch (take(b) % 8) {
    case 0: c->result = NULL; return BNFLOSS_E_NULL;
    case 1: c->logits = NULL; return BNFLOSS_E_NULL;
    case 2: c->labels = NULL; return BNFLOSS_E_NULL;
    case 3: c->labels = (char *)c->labels + 1; return BNFLOSS_E_ALIGN;
    case 4: c->logits = (char *)c->logits + 1;
            return c->in_place && !c->layout.grad_cols
                       && c->layout.grad_type == c->layout.logits_type
                       ? -2 : BNFLOSS_E_ALIGN;
    case 5: c->outputs.row_loss = c->outputs.dlogp;
            return BNFLOSS_E_OVERLAP;
    case 6: c->outputs.logp = (float *)c->work->now; return BNFLOSS_E_OVERLAP;
    default: c->work_bytes--; c->more = 0; return BNFLOSS_E_WORK;
    }
}

static int wrong_layout(bytes *b, call *c)
{
    bnfloss_layout *l = &c->layout;

    switch (take(b) % 14) {
    case 0: l->logits_type = 3 + take(b); return BNFLOSS_E_ENUM;
    case 1: l->grad_type = 3 + take(b); return BNFLOSS_E_ENUM;
    case 2: l->label_type = 2 + take(b); return BNFLOSS_E_ENUM;
    case 3: l->flags |= 16u << take(b) % 28; return BNFLOSS_E_ENUM;
    case 4: l->rows = -1 - below(b, 256); return BNFLOSS_E_SHAPE;
    case 5: l->vocab = -1; return BNFLOSS_E_SHAPE;
    case 6: l->vocab = INT64_C(1) << 31; return BNFLOSS_E_SHAPE;
    case 7: l->logits_stride = -1; return BNFLOSS_E_SHAPE;
    case 8: l->grad_cols = grad_stride(c) + 1; return BNFLOSS_E_SHAPE;
    case 9: l->softcap = chance(b, 2) ? -1 : float_from(0x7FC00000);
            return BNFLOSS_E_VALUE;
    case 10: l->label_smoothing = 1.5f; return BNFLOSS_E_VALUE;
    case 11: l->logit_scale = -1; return BNFLOSS_E_VALUE;
    case 12: l->reserved = 1; return BNFLOSS_E_STRUCT;
    default: l->struct_size = take(b) % 2 ? 7 : 4097; return BNFLOSS_E_STRUCT;
    }
}

static int wrong_spec(bytes *b, call *c)
{
    bnfloss_spec *s = c->spec;

    switch (take(b) % 9) {
    case 0: s->kind = chance(b, 2) ? 0 : KINDS + 1 + take(b);
            return BNFLOSS_E_ENUM;
    case 1: s->divisor = 5 + take(b); return BNFLOSS_E_ENUM;
    case 2: s->token_norm = 4 + take(b); return BNFLOSS_E_ENUM;
    case 3: s->flags |= 64u << take(b) % 26; return BNFLOSS_E_ENUM;
    case 4: s->loss_scale = chance(b, 2) ? 0 : double_from(
                UINT64_C(0x7FF0000000000000) + take(b));
            return BNFLOSS_E_VALUE;
    case 5: s->divisor_value = -1; return BNFLOSS_E_VALUE;
    case 6: s->also = 16;
            return s->flags & BNFLOSS_DEFER_SCALE ? BNFLOSS_E_OPTION
                                                  : BNFLOSS_E_VALUE;
    case 7: s->reserved = 1; return BNFLOSS_E_STRUCT;
    default: s->struct_size = 4; return BNFLOSS_E_STRUCT;
    }
}

static int wrong_inputs(bytes *b, call *c)
{
    bnfloss_inputs *in = &c->inputs;

    if (c->N == 0)
        return -1;
    switch (take(b) % 8) {
    case 0: c->seq_start[0] = 1; return BNFLOSS_E_SEQ;
    case 1: c->seq_start[c->S] = c->N + 1; return BNFLOSS_E_SEQ;
    case 2: in->side = c->side; c->side[below(b, c->S)] = 0;
            return BNFLOSS_E_SIDE;
    case 3: in->pairing = 3 + take(b); return BNFLOSS_E_ENUM;
    case 4: in->sequences = -1; return BNFLOSS_E_SHAPE;
    case 5: in->kl = -1;
            return any_kind(c, BNFLOSS_KTO) && !c->mismatched
                       ? BNFLOSS_E_VALUE : BNFLOSS_E_OPTION;
    case 6: if (!in->pairing)
                return -1;
            in->sequences--;
            return BNFLOSS_E_PAIRING;
    default: c->threads = -1; return BNFLOSS_E_VALUE;
    }
}

static void wrong_call(bytes *b, call *c)
{
    bnfloss_status status;
    int64_t where = -1;
    int want;

    regions_reset();
    switch (take(b) % 5) {
    case 0: want = wrong_row(b, c, (int)below(b, 3), &where); break;
    case 1: want = wrong_pointer(b, c); break;
    case 2: want = wrong_layout(b, c); break;
    case 3: want = wrong_spec(b, c); break;
    default: want = wrong_inputs(b, c); break;
    }
    if (want == -1)
        return;
    regions_begin();
    status = run(c);
    fuzz_refused++;
    MUST(want == -2 ? status != BNFLOSS_OK : (int)status == want,
         "status %d (%s), not %d (%s)", (int)status,
         bnfloss_status_string(status), want,
         bnfloss_status_string((bnfloss_status)want));
    call_untouched(c, status);
    if (where >= 0 && c->result)
        MUST(c->result->where == where, "where %d, not %d",
             (int)c->result->where, (int)where);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bytes b = { data, data + size };
    void *logits, *labels;
    call c;

    make_call(&b, &c);
    every_isa(&c);
    fuzz_valid++;
    call_canonical(&c);
    check_rows(&c);
    check_result(&c);
    stages(&c);
    logits = c.logits;
    labels = c.labels;
    if (chance(&b, 2))
        wrong_call(&b, &c);
    c.logits = logits;
    c.labels = labels;
    call_free(&c);
    return 0;
}
