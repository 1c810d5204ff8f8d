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
static bnfloss_status bn_check_result_size(const void *answer)
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
    return result ? bn_check_result_size(result) : BNFLOSS_OK;
}

/* ---- Layout ------------------------------------------------------------- */

static bnfloss_status bn_check_layout(const bnfloss_layout *from,
                                      bnfloss_layout *lay)
{
    memset(lay, 0, sizeof *lay);
    BN_TRY(bn_read_struct(lay, sizeof *lay, from));
    if (lay->reserved)
        return BNFLOSS_E_STRUCT;
    if (lay->logits_type > BNFLOSS_F16 || lay->grad_type > BNFLOSS_F16
        || lay->label_type > BNFLOSS_I64
        || lay->flags
               & ~(uint32_t)(BNFLOSS_ACCUMULATE | BNFLOSS_ENTROPY
                             | BNFLOSS_MEAN | BNFLOSS_SQUARES))
        return BNFLOSS_E_ENUM;
    if (!(lay->logit_scale >= 0 && lay->logit_scale <= 0x1p127f)
        || !(lay->softcap >= 0 && lay->softcap <= BN_MAX_EXACT_X)
        || !(lay->label_smoothing >= 0 && lay->label_smoothing <= 1)
        || !(lay->z_loss >= 0 && lay->z_loss <= BN_MAX_F32))
        return BNFLOSS_E_VALUE;
    if (lay->softcap > 0
        && !(bn_tanh_scale(lay->logit_scale, lay->softcap) >= 0x1p-126f
             && bn_tanh_scale(lay->logit_scale, lay->softcap) <= BN_MAX_F32))
        return BNFLOSS_E_VALUE;
    if (lay->rows < 0 || lay->rows > BN_MAX_ROWS
        || lay->vocab < (lay->rows > 0) || lay->vocab > BN_MAX_VOCAB
        || lay->vocab_begin < 0 || lay->vocab_begin > BN_MAX_VOCAB)
        return BNFLOSS_E_SHAPE;
    if (lay->logit_scale == 0)
        lay->logit_scale = 1;
    if (lay->label_smoothing > 0)
        lay->flags |= BNFLOSS_MEAN;
    if (lay->logits_stride == 0)
        lay->logits_stride = lay->vocab;
    if (lay->grad_stride == 0)
        lay->grad_stride = lay->logits_stride;
    if (lay->grad_cols == 0)
        lay->grad_cols = lay->vocab;
    if (lay->vocab_total == 0)
        lay->vocab_total = lay->vocab_begin + lay->vocab;
    if (lay->logits_stride < lay->vocab || lay->grad_stride < lay->vocab
        || lay->grad_cols < lay->vocab || lay->grad_cols > lay->grad_stride
        || lay->vocab_total < lay->vocab_begin + lay->vocab
        || lay->vocab_total > BN_MAX_VOCAB)
        return BNFLOSS_E_SHAPE;
    if (lay->rows > 0
        && (lay->logits_stride > BN_MAX_ELEMENTS / lay->rows
            || lay->grad_stride > BN_MAX_ELEMENTS / lay->rows))
        return BNFLOSS_E_SHAPE;
    if (lay->flags & BNFLOSS_ACCUMULATE && lay->grad_cols > lay->vocab)
        return BNFLOSS_E_OPTION;
    return BNFLOSS_OK;
}

/* Rows of this weight or label are not looked at. weight may be NULL. */
static int bn_is_skipped(int64_t label, const float *weight, int64_t i)
{
    return label < 0 || (weight && weight[i] == 0);
}

static bnfloss_status bn_check_labels(const bnfloss_layout *lay, const void *labels,
                                      const float *weight, int64_t from,
                                      int64_t to, int64_t *where)
{
    for (int64_t i = from; i < to; i++) {
        const int64_t y = bn_label(lay, labels, i);

        if (y >= lay->vocab_total && !bn_is_skipped(y, weight, i)) {
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
static void bn_span_add(bn_spans *spans, const void *p, int64_t count,
                        size_t size, int written)
{
    bn_span *span = spans->span + spans->n;

    if (!p || count <= 0)
        return;
    spans->misaligned |= (uintptr_t)p % bn_alignment(size) != 0;
    span->begin = (uintptr_t)p;
    span->end = span->begin + (uintptr_t)count * size;
    span->written = written;
    spans->n++;
}

enum { BN_READ = 0, BN_WRITE = 1 };

static void bn_span_result(bn_spans *spans, const bnfloss_result *result)
{
    if (result)
        bn_span_add(spans, result, result->struct_size, 1, BN_WRITE);
}

static void bn_span_states(bn_spans *spans, const bnfloss_row *row,
                           int64_t count, int written)
{
    bn_span_add(spans, row, count, sizeof *row, written);
    spans->misaligned |= (uintptr_t)row % BN_ALIGN_STRUCT != 0;
}

static bnfloss_status bn_spans_check(const bn_spans *spans)
{
    if (spans->misaligned)
        return BNFLOSS_E_ALIGN;
    for (int i = 0; i < spans->n; i++)
        for (int j = 0; j < i; j++)
            if ((spans->span[i].written || spans->span[j].written)
                && spans->span[i].begin < spans->span[j].end
                && spans->span[j].begin < spans->span[i].end)
                return BNFLOSS_E_OVERLAP;
    return BNFLOSS_OK;
}

/* Rows [from, to) of a matrix. */
static void bn_span_rows(bn_spans *spans, const void *p, uint32_t type,
                         int64_t from, int64_t to, int64_t stride,
                         int64_t cols, int written)
{
    if (p && to > from)
        bn_span_add(spans, bn_at(type, p, from * stride),
                    (to - from - 1) * stride + cols, bn_type_size(type),
                    written);
}

static void bn_span_labels(bn_spans *spans, const bnfloss_layout *lay,
                           const void *labels, int64_t from, int64_t to)
{
    const size_t size = lay->label_type == BNFLOSS_I64 ? 8 : 4;

    if (labels && to > from)
        bn_span_add(spans, (const char *)labels + (size_t)from * size,
                    to - from, size, BN_READ);
}

/* Logits and gradient, in place or apart. */
static bnfloss_status bn_check_grad(bn_spans *spans, const bnfloss_layout *lay,
                                    const void *logits, const void *grad,
                                    int64_t from, int64_t to)
{
    if (grad && grad == logits) {
        if (lay->logits_type != lay->grad_type
            || lay->logits_stride != lay->grad_stride
            || lay->flags & BNFLOSS_ACCUMULATE)
            return BNFLOSS_E_OVERLAP;
        bn_span_rows(spans, grad, lay->grad_type, from, to, lay->grad_stride,
                     lay->grad_cols, BN_WRITE);
        return BNFLOSS_OK;
    }
    bn_span_rows(spans, logits, lay->logits_type, from, to, lay->logits_stride,
                 lay->vocab, BN_READ);
    bn_span_rows(spans, grad, lay->grad_type, from, to, lay->grad_stride,
                 lay->grad_cols, BN_WRITE);
    return BNFLOSS_OK;
}

static void bn_span_row_outputs(bn_spans *spans, const bnfloss_outputs *out,
                                int64_t from, int64_t to)
{
    if (out->logp)
        bn_span_add(spans, out->logp + from, to - from, 4, BN_WRITE);
    if (out->rest)
        bn_span_add(spans, out->rest + from, to - from, 4, BN_WRITE);
    if (out->entropy)
        bn_span_add(spans, out->entropy + from, to - from, 4, BN_WRITE);
    if (out->log_square)
        bn_span_add(spans, out->log_square + from, to - from, 4, BN_WRITE);
    if (out->argmax)
        bn_span_add(spans, out->argmax + from, to - from, 4, BN_WRITE);
}

static void bn_span_loss_outputs(bn_spans *spans, const bnfloss_outputs *out,
                                 const bn_batch *batch)
{
    bn_span_add(spans, out->dlogp, batch->N, 4, BN_WRITE);
    bn_span_add(spans, out->row_loss, batch->N, 4, BN_WRITE);
    bn_span_add(spans, out->row_scale, batch->N, 4, BN_WRITE);
    bn_span_add(spans, out->seq_logp, batch->S, 8, BN_WRITE);
    bn_span_add(spans, out->seq_ratio, batch->S, 8, BN_WRITE);
    bn_span_add(spans, out->seq_loss,
                bn_has_pairs(batch->loss) ? batch->P : batch->S, 8, BN_WRITE);
    bn_span_add(spans, out->distance_grad, batch->S, 4, BN_WRITE);
    bn_span_add(spans, out->spec_loss, 1 + (int64_t)batch->spec->also, 8,
                BN_WRITE);
}

/* All specs of a call: those after the first are read once more, late. */
static void bn_span_specs(bn_spans *spans, const bnfloss_spec *first,
                          uint32_t also)
{
    bn_span_add(spans, first, (1 + (int64_t)also) * first->struct_size, 1,
                BN_READ);
}

static void bn_span_inputs(bn_spans *spans, const bn_batch *batch)
{
    const bnfloss_inputs *in = batch->in;

    bn_span_add(spans, in->seq_start, batch->S + 1, 8, BN_READ);
    bn_span_add(spans, in->side, batch->S, 1, BN_READ);
    bn_span_add(spans, in->ref_logp, batch->N, 4, BN_READ);
    bn_span_add(spans, in->row_weight, batch->N, 4, BN_READ);
    bn_span_add(spans, in->seq_weight, batch->S, 4, BN_READ);
    bn_span_add(spans, in->pair_weight, batch->P, 4, BN_READ);
    bn_span_add(spans, in->pair_scale, batch->P, 4, BN_READ);
    bn_span_add(spans, in->pair_margin, batch->P, 4, BN_READ);
    bn_span_add(spans, in->soft_label, batch->P, 4, BN_READ);
    bn_span_add(spans, in->distance, batch->S, 4, BN_READ);
    bn_span_add(spans, in->row_mask, batch->N, 1, BN_READ);
    bn_span_add(spans, in->log_square, batch->N, 4, BN_READ);
    bn_span_add(spans, in->mismatched, in->mismatches, 8, BN_READ);
}
