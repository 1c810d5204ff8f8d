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
#define BN_MAX_ROWS (INT64_C(1) << 40)
#define BN_MAX_ELEMENTS ((int64_t)(PTRDIFF_MAX >> 3))   /* in a buffer */

/* ---- Structs that carry their size -------------------------------------- */

/* Numbers of 8 bytes are aligned like this, at 4 on i386. */
struct bn_align { char c; bnfloss_row x; };
#define BN_ALIGN_STRUCT offsetof(struct bn_align, x)

/* But one holds pointers alone, which 32-bit ARM aligns less than numbers. They
 * are copied before they are used. */
struct bn_align_pointer { char c; void *x; };
#define BN_ALIGN_POINTER offsetof(struct bn_align_pointer, x)

static int bn_is_size(uint32_t size)
{
    return size >= 8 && size <= 4096 && size % BN_ALIGN_POINTER == 0;
}

/* Copies what the caller's struct has of the known fields; *to holds the
 * defaults. Both start with their size. */
static bnfloss_status bn_read_struct(void *to, uint32_t known, const void *from)
{
    const unsigned char *bytes = (const unsigned char *)from;
    uint32_t size;

    if (!from)
        return BNFLOSS_E_NULL;
    if ((uintptr_t)from % BN_ALIGN_POINTER)
        return BNFLOSS_E_ALIGN;
    memcpy(&size, from, sizeof size);
    if (!bn_is_size(size))
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

/* What an answer holds besides its size does not matter. */
static bnfloss_status bn_check_answer(const void *answer)
{
    uint32_t size;

    if ((uintptr_t)answer % BN_ALIGN_STRUCT)
        return BNFLOSS_E_ALIGN;
    memcpy(&size, answer, sizeof size);
    return bn_is_size(size) ? BNFLOSS_OK : BNFLOSS_E_STRUCT;
}

/* A result may be missing. */
static bnfloss_status bn_check_result(const bnfloss_result *result)
{
    return result ? bn_check_answer(result) : BNFLOSS_OK;
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
        || l.flags & ~(uint32_t)(BNFLOSS_ACCUMULATE | BNFLOSS_ENTROPY
                                 | BNFLOSS_MEAN | BNFLOSS_SQUARES))
        return BNFLOSS_E_ENUM;
    if (!(l.logit_scale >= 0 && l.logit_scale <= 0x1p127f)
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
    if (l.logits_stride < l.vocab || l.grad_stride < l.vocab
        || l.grad_cols < l.vocab
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
    w->mean = (l.flags & BNFLOSS_MEAN) != 0 || l.label_smoothing > 0;
    w->squares = (l.flags & BNFLOSS_SQUARES) != 0;
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
    bn_span span[48];
    int n;
    int misaligned;
} bn_spans;

/* Of an element of so many bytes; structs are looked at where added. */
static size_t bn_alignment(size_t size)
{
    return size > 8 ? 1 : size == 8 ? BN_ALIGN_STRUCT : size;
}

/* count elements from p; NULL and empty buffers lie nowhere */
static void bn_span_add(bn_spans *s, const void *p, int64_t count, size_t size,
                        int written)
{
    bn_span *a = s->span + s->n;

    if (!p || count <= 0)
        return;
    s->misaligned |= (uintptr_t)p % bn_alignment(size) != 0;
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
    if (out->log_square)
        bn_span_add(s, out->log_square + from, to - from, 4, BN_WRITE);
    if (out->argmax)
        bn_span_add(s, out->argmax + from, to - from, 4, BN_WRITE);
}

static void bn_span_loss_outputs(bn_spans *s, const bnfloss_outputs *out,
                                 const bn_batch *b)
{
    bn_span_add(s, out->dlogp, b->N, 4, BN_WRITE);
    bn_span_add(s, out->row_loss, b->N, 4, BN_WRITE);
    bn_span_add(s, out->row_scale, b->N, 4, BN_WRITE);
    bn_span_add(s, out->seq_logp, b->S, 8, BN_WRITE);
    bn_span_add(s, out->seq_ratio, b->S, 8, BN_WRITE);
    bn_span_add(s, out->seq_loss, bn_has_pairs(b->loss) ? b->P : b->S, 8,
                BN_WRITE);
    bn_span_add(s, out->distance_grad, b->S, 4, BN_WRITE);
    bn_span_add(s, out->spec_loss, 1 + (int64_t)b->spec->also, 8, BN_WRITE);
}

/* All specs of a call: those after the first are read once more, late. */
static void bn_span_specs(bn_spans *s, const bnfloss_spec *first,
                          uint32_t also)
{
    bn_span_add(s, first, (1 + (int64_t)also) * first->struct_size, 1,
                BN_READ);
}

static void bn_span_inputs(bn_spans *s, const bn_batch *b)
{
    const bnfloss_inputs *in = b->in;

    bn_span_add(s, in->seq_start, b->S + 1, 8, BN_READ);
    bn_span_add(s, in->side, b->S, 1, BN_READ);
    bn_span_add(s, in->ref_logp, b->N, 4, BN_READ);
    bn_span_add(s, in->row_weight, b->N, 4, BN_READ);
    bn_span_add(s, in->seq_weight, b->S, 4, BN_READ);
    bn_span_add(s, in->pair_weight, b->P, 4, BN_READ);
    bn_span_add(s, in->pair_scale, b->P, 4, BN_READ);
    bn_span_add(s, in->pair_margin, b->P, 4, BN_READ);
    bn_span_add(s, in->soft_label, b->P, 4, BN_READ);
    bn_span_add(s, in->distance, b->S, 4, BN_READ);
    bn_span_add(s, in->row_mask, b->N, 1, BN_READ);
    bn_span_add(s, in->log_square, b->N, 4, BN_READ);
    bn_span_add(s, in->mismatched, in->mismatches, 8, BN_READ);
}
