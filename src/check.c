/* Everything that can be wrong with a call, found before anything is written.
 *
 * Each bn_check_*() returns a status and leaves the offending index in *where.
 * Ranges are tested as !(low <= x && x <= high), which NaN fails. */

#define BN_TRY(call)                                                          \
    do {                                                                      \
        const bnfloss_status try_ = (call);                                   \
        if (try_ != BNFLOSS_OK)                                               \
            return try_;                                                      \
    } while (0)

#define BN_LOGP_SLACK 0x1p-6f       /* a rounded bf16 logp may be above 0 */
#define BN_MAX_F32 0x1.fffffep127f
#define BN_MAX_ROWS (INT64_C(1) << 40)
#define BN_MAX_ELEMENTS ((int64_t)(PTRDIFF_MAX >> 3))   /* in a buffer */

/* ---- Structs that carry their size -------------------------------------- */

/* All of them are aligned like their widest member, which i386 puts at 4. */
struct bn_align { char c; bnfloss_row x; };
#define BN_ALIGN_STRUCT offsetof(struct bn_align, x)

/* Copies what the caller's struct has of the known fields; *to holds the
 * defaults. Both start with their size. */
static bnfloss_status bn_read_struct(void *to, uint32_t known, const void *from)
{
    const unsigned char *bytes = (const unsigned char *)from;
    uint32_t size;

    if (!from)
        return BNFLOSS_E_NULL;
    if ((uintptr_t)from % BN_ALIGN_STRUCT)
        return BNFLOSS_E_ALIGN;
    memcpy(&size, from, sizeof size);
    if (size < 8 || size > 4096)
        return BNFLOSS_E_STRUCT;
    for (uint32_t i = known; i < size; i++)
        if (bytes[i] != 0)
            return BNFLOSS_E_STRUCT;
    memcpy(to, from, size < known ? size : known);
    memcpy(to, &known, sizeof known);
    return BNFLOSS_OK;
}

static bnfloss_status bn_read_outputs(bnfloss_outputs *to,
                                      const bnfloss_outputs *from)
{
    memset(to, 0, sizeof *to);
    if (!from)
        return BNFLOSS_OK;
    BN_TRY(bn_read_struct(to, sizeof *to, from));
    return to->reserved ? BNFLOSS_E_STRUCT : BNFLOSS_OK;
}

/* A result may be missing; what it holds besides its size does not matter. */
static bnfloss_status bn_check_result(const bnfloss_result *result)
{
    if (!result)
        return BNFLOSS_OK;
    if ((uintptr_t)result % BN_ALIGN_STRUCT)
        return BNFLOSS_E_ALIGN;
    return result->struct_size < 8 || result->struct_size > 4096
               ? BNFLOSS_E_STRUCT : BNFLOSS_OK;
}

/* ---- Layout ------------------------------------------------------------- */

static bnfloss_status bn_check_layout(const bnfloss_layout *from, bn_view *w)
{
    bnfloss_layout l;

    memset(&l, 0, sizeof l);
    BN_TRY(bn_read_struct(&l, sizeof l, from));
    if (l.reserved)
        return BNFLOSS_E_STRUCT;
    if (l.logits_type > BNFLOSS_F16 || l.grad_type > BNFLOSS_F16
        || l.label_type > BNFLOSS_I64
        || l.flags & ~(uint32_t)(BNFLOSS_ACCUMULATE | BNFLOSS_ENTROPY))
        return BNFLOSS_E_ENUM;
    if (!(l.logit_scale >= 0 && l.logit_scale <= BN_MAX_F32)
        || !(l.softcap >= 0 && l.softcap <= BN_FAR)
        || !(l.label_smoothing >= 0 && l.label_smoothing <= 1)
        || !(l.z_loss >= 0 && l.z_loss <= BN_MAX_F32))
        return BNFLOSS_E_VALUE;
    if (l.softcap > 0
        && !(bn_inner(l.logit_scale, l.softcap) >= 0x1p-126f
             && bn_inner(l.logit_scale, l.softcap) <= BN_MAX_F32))
        return BNFLOSS_E_VALUE;
    if (l.rows < 0 || l.rows > BN_MAX_ROWS || l.vocab < (l.rows > 0)
        || l.vocab > BN_MAX_VOCAB || l.vocab_begin < 0
        || l.vocab_begin > BN_MAX_VOCAB)
        return BNFLOSS_E_SHAPE;
    if (l.logits_stride == 0)
        l.logits_stride = l.vocab;
    if (l.grad_stride == 0)
        l.grad_stride = l.logits_stride;
    if (l.grad_cols == 0)
        l.grad_cols = l.vocab;
    if (l.vocab_total == 0)
        l.vocab_total = l.vocab_begin + l.vocab;
    if (l.logits_stride < l.vocab || l.grad_stride < l.vocab || l.grad_cols < l.vocab
        || l.grad_cols > l.grad_stride
        || l.vocab_total < l.vocab_begin + l.vocab
        || l.vocab_total > BN_MAX_VOCAB)
        return BNFLOSS_E_SHAPE;
    if (l.rows > 0 && (l.logits_stride > BN_MAX_ELEMENTS / l.rows
                       || l.grad_stride > BN_MAX_ELEMENTS / l.rows))
        return BNFLOSS_E_SHAPE;
    if (l.flags & BNFLOSS_ACCUMULATE && l.grad_cols > l.vocab)
        return BNFLOSS_E_OPTION;
    w->logits_type = l.logits_type;
    w->grad_type = l.grad_type;
    w->label_type = l.label_type;
    w->accumulate = (l.flags & BNFLOSS_ACCUMULATE) != 0;
    w->entropy = (l.flags & BNFLOSS_ENTROPY) != 0;
    w->scale = l.logit_scale > 0 ? l.logit_scale : 1;
    w->softcap = l.softcap;
    w->smoothing = l.label_smoothing;
    w->z_loss = l.z_loss;
    w->rows = l.rows;
    w->vocab = l.vocab;
    w->logits_stride = l.logits_stride;
    w->grad_stride = l.grad_stride;
    w->grad_cols = l.grad_cols;
    w->vocab_begin = l.vocab_begin;
    w->vocab_total = l.vocab_total;
    return BNFLOSS_OK;
}

/* Rows of this weight or label are not looked at. weight may be NULL. */
static int bn_is_skipped(int64_t label, const float *weight, int64_t i)
{
    return label < 0 || (weight && weight[i] == 0);
}

static bnfloss_status bn_check_labels(const bn_view *w, const void *labels,
                                      const float *weight, int64_t from,
                                      int64_t to, int64_t *where)
{
    for (int64_t i = from; i < to; i++) {
        const int64_t y = bn_label(w, labels, i);

        if (y >= w->vocab_total && !bn_is_skipped(y, weight, i)) {
            *where = i;
            return BNFLOSS_E_LABEL;
        }
    }
    return BNFLOSS_OK;
}

/* ---- Buffers ------------------------------------------------------------ */

/* The buffers of a call, for alignment and overlap. */
typedef struct bn_span {
    uintptr_t begin, end;
    int written;
} bn_span;

typedef struct bn_spans {
    bn_span span[24];
    int n;
    int misaligned;
} bn_spans;

/* count elements from p; NULL and empty buffers lie nowhere */
static void bn_span_add(bn_spans *s, const void *p, int64_t count, size_t size,
                        int written)
{
    bn_span *a = s->span + s->n;

    if (!p || count <= 0)
        return;
    s->misaligned |= size <= 8 && (uintptr_t)p % size != 0;
    a->begin = (uintptr_t)p;
    a->end = a->begin + (uintptr_t)count * size;
    a->written = written;
    s->n++;
}

enum { BN_READ = 0, BN_WRITE = 1 };

static void bn_span_result(bn_spans *s, const bnfloss_result *result)
{
    if (result)
        bn_span_add(s, result, result->struct_size, 1, BN_WRITE);
}

static void bn_span_states(bn_spans *s, const bnfloss_row *x, int64_t count,
                           int written)
{
    bn_span_add(s, x, count, sizeof *x, written);
    s->misaligned |= (uintptr_t)x % BN_ALIGN_STRUCT != 0;
}

static bnfloss_status bn_spans_check(const bn_spans *s)
{
    if (s->misaligned)
        return BNFLOSS_E_ALIGN;
    for (int i = 0; i < s->n; i++)
        for (int j = 0; j < i; j++)
            if ((s->span[i].written || s->span[j].written)
                && s->span[i].begin < s->span[j].end
                && s->span[j].begin < s->span[i].end)
                return BNFLOSS_E_OVERLAP;
    return BNFLOSS_OK;
}

/* Rows [from, to) of a matrix. */
static void bn_span_rows(bn_spans *s, const void *p, uint32_t type,
                         int64_t from, int64_t to, int64_t stride,
                         int64_t cols, int written)
{
    if (p && to > from)
        bn_span_add(s, bn_at(type, p, from * stride),
                    (to - from - 1) * stride + cols, bn_type_size(type),
                    written);
}

static void bn_span_labels(bn_spans *s, const bn_view *w, const void *labels,
                           int64_t from, int64_t to)
{
    const size_t size = w->label_type == BNFLOSS_I64 ? 8 : 4;

    if (labels && to > from)
        bn_span_add(s, (const char *)labels + (size_t)from * size, to - from,
                    size, BN_READ);
}

/* Logits and gradient, in place or apart. */
static bnfloss_status bn_check_grad(bn_spans *s, const bn_view *w,
                                    const void *logits, const void *grad,
                                    int64_t from, int64_t to)
{
    if (grad && grad == logits) {
        if (w->logits_type != w->grad_type
            || w->logits_stride != w->grad_stride || w->accumulate)
            return BNFLOSS_E_OVERLAP;
        bn_span_rows(s, grad, w->grad_type, from, to, w->grad_stride,
                     w->grad_cols, BN_WRITE);
        return BNFLOSS_OK;
    }
    bn_span_rows(s, logits, w->logits_type, from, to, w->logits_stride,
                 w->vocab, BN_READ);
    bn_span_rows(s, grad, w->grad_type, from, to, w->grad_stride,
                 w->grad_cols, BN_WRITE);
    return BNFLOSS_OK;
}

static void bn_span_row_outputs(bn_spans *s, const bnfloss_outputs *out,
                                int64_t from, int64_t to)
{
    if (out->logp)
        bn_span_add(s, out->logp + from, to - from, 4, BN_WRITE);
    if (out->rest)
        bn_span_add(s, out->rest + from, to - from, 4, BN_WRITE);
    if (out->entropy)
        bn_span_add(s, out->entropy + from, to - from, 4, BN_WRITE);
    if (out->argmax)
        bn_span_add(s, out->argmax + from, to - from, 4, BN_WRITE);
}

static void bn_span_loss_outputs(bn_spans *s, const bnfloss_outputs *out,
                                 const bn_batch *b)
{
    bn_span_add(s, out->dlogp, b->N, 4, BN_WRITE);
    bn_span_add(s, out->row_loss, b->N, 4, BN_WRITE);
    bn_span_add(s, out->seq_logp, b->S, 8, BN_WRITE);
    bn_span_add(s, out->seq_loss, bn_couples_rows(b->spec) ? b->P : b->S, 8,
                BN_WRITE);
}

static void bn_span_inputs(bn_spans *s, const bn_batch *b)
{
    const bnfloss_inputs *in = b->in;

    bn_span_add(s, in->seq_start, b->S + 1, 8, BN_READ);
    bn_span_add(s, in->side, b->S, 1, BN_READ);
    bn_span_add(s, in->ref_logp, b->N, 4, BN_READ);
    bn_span_add(s, in->row_weight, b->N, 4, BN_READ);
}

/* ---- Spec --------------------------------------------------------------- */

static bnfloss_status bn_check_spec(const bnfloss_spec *from, bnfloss_spec *p)
{
    bnfloss_spec given;

    memset(&given, 0, sizeof given);
    BN_TRY(bn_read_struct(&given, sizeof given, from));
    bnfloss_spec_init(p, given.kind);
    BN_TRY(bn_read_struct(p, sizeof *p, from));
    if (p->kind < BNFLOSS_BNF || p->kind > BNFLOSS_SFT
        || p->token_norm < BNFLOSS_NORM_NONE
        || p->token_norm > BNFLOSS_NORM_SHORTEST
        || p->divisor < BNFLOSS_DIV_SEQUENCES
        || p->divisor > BNFLOSS_DIV_GIVEN
        || p->flags & ~(uint32_t)BNFLOSS_DFT)
        return BNFLOSS_E_ENUM;
    if (p->kind != BNFLOSS_DPO && (p->beta != 0 || p->flip_prob != 0))
        return BNFLOSS_E_OPTION;
    if ((p->kind != BNFLOSS_BNF && p->eps != 0)
        || (p->kind != BNFLOSS_SFT && p->flags & BNFLOSS_DFT)
        || (p->kind == BNFLOSS_DPO && p->token_norm != BNFLOSS_NORM_NONE))
        return BNFLOSS_E_OPTION;
    if (p->kind == BNFLOSS_DPO && !(p->beta > 0 && p->beta <= BN_MAX_F32))
        return BNFLOSS_E_VALUE;
    if (!(p->flip_prob >= 0 && p->flip_prob <= 0.5f)
        || !(p->eps >= 0 && p->eps <= 1)
        || !(p->divisor_value > 0 && bn_is_finite(p->divisor_value))
        || !(p->loss_scale > 0 && bn_is_finite(p->loss_scale))
        || !bn_is_finite(p->loss_scale / p->divisor_value))
        return BNFLOSS_E_VALUE;
    return BNFLOSS_OK;
}

/* Smoothing and z-loss are SFT's, and not DFT's. */
static bnfloss_status bn_check_row_options(const bnfloss_spec *spec,
                                           float smoothing, float z_loss)
{
    if ((smoothing > 0 || z_loss > 0)
        && (spec->kind != BNFLOSS_SFT || spec->flags & BNFLOSS_DFT))
        return BNFLOSS_E_OPTION;
    return BNFLOSS_OK;
}

/* ---- Inputs ------------------------------------------------------------- */

static bnfloss_status bn_check_sequences(const bn_batch *b, int64_t *where)
{
    const int64_t *start = b->in->seq_start;

    for (int64_t s = 0; start && s <= b->S; s++) {
        if (s == 0 ? start[0] != 0 : start[s] < start[s - 1]) {
            *where = s;
            return BNFLOSS_E_SEQ;
        }
    }
    if (start && start[b->S] != b->N) {
        *where = b->S;
        return BNFLOSS_E_SEQ;
    }
    return BNFLOSS_OK;
}

static bnfloss_status bn_check_sides(const bn_batch *b, int64_t *where)
{
    const int8_t *side = b->in->side;

    for (int64_t s = 0; side && s < b->S; s++) {
        int bad = side[s] != 1 && side[s] != -1;

        if (b->in->pairing == BNFLOSS_PAIRS_ADJACENT)
            bad |= side[s] != (s % 2 ? -1 : 1);
        if (b->in->pairing == BNFLOSS_PAIRS_HALVES)
            bad |= side[s] != (s < b->P ? 1 : -1);
        if (bad) {
            *where = s;
            return BNFLOSS_E_SIDE;
        }
    }
    return BNFLOSS_OK;
}

static bnfloss_status bn_check_weights(const bn_batch *b, int64_t *where)
{
    for (int64_t i = 0; b->in->row_weight && i < b->N; i++) {
        if (!bn_is_finite((double)b->in->row_weight[i])) {
            *where = i;
            return BNFLOSS_E_WEIGHT;
        }
    }
    return BNFLOSS_OK;
}

/* For a row that counts. */
static bnfloss_status bn_check_ref(const bn_batch *b, int64_t i, int64_t *where)
{
    if (b->spec->kind != BNFLOSS_SFT
        && !(b->in->ref_logp[i] <= BN_LOGP_SLACK)) {
        *where = i;
        return BNFLOSS_E_REF_LOGP;
    }
    return BNFLOSS_OK;
}

/* Reads the inputs and all that does not depend on which rows count: fills in
 * in, N, S and P of *b. */
static bnfloss_status bn_check_inputs(const bnfloss_inputs *from,
                                      bnfloss_inputs *in, int64_t rows,
                                      bn_batch *b, int64_t *where)
{
    const bnfloss_spec *spec = b->spec;

    memset(in, 0, sizeof *in);
    if (from)
        BN_TRY(bn_read_struct(in, sizeof *in, from));
    else if (spec->kind != BNFLOSS_SFT && rows > 0)
        return BNFLOSS_E_NULL;
    if (in->pairing > BNFLOSS_PAIRS_HALVES)
        return BNFLOSS_E_ENUM;
    if (in->sequences < 0 || in->sequences > BN_MAX_ROWS || rows < 0
        || rows > BN_MAX_ROWS)
        return BNFLOSS_E_SHAPE;
    b->in = in;
    b->N = rows;
    b->S = in->seq_start ? in->sequences : 1;
    if (!in->seq_start && (in->sequences > 1 || in->pairing
                           || (spec->kind != BNFLOSS_SFT && rows > 0)))
        return BNFLOSS_E_NULL;
    if (!in->seq_start && rows == 0)
        b->S = 0;
    if (b->S == 0 && rows > 0) {
        *where = 0;
        return BNFLOSS_E_SEQ;
    }
    if ((uintptr_t)in->seq_start % 8 || (uintptr_t)in->ref_logp % 4
        || (uintptr_t)in->row_weight % 4)
        return BNFLOSS_E_ALIGN;
    b->P = in->pairing ? b->S / 2 : 0;
    if (in->pairing && b->S % 2) {
        *where = b->P;
        return BNFLOSS_E_PAIRING;
    }
    if (!in->pairing && rows > 0
        && (bn_couples_rows(spec) || spec->divisor == BNFLOSS_DIV_PAIRS))
        return BNFLOSS_E_PAIRING;
    if (spec->kind != BNFLOSS_SFT && rows > 0
        && (!in->ref_logp || (!in->side && !in->pairing)))
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_sequences(b, where));
    BN_TRY(bn_check_sides(b, where));
    return bn_check_weights(b, where);
}
