/* Everything that can be wrong with a call, found before anything is written.
 *
 * Each bn_check_*() returns a status and leaves the index of the offending
 * element in *where. Ranges are tested as !(low <= x && x <= high), which NaN
 * fails.
 *
 * A call checks in this order, from what is cheap to what reads memory:
 *
 *  1. the structs: their size, constants, numbers, options that exclude each
 *     other;
 *  2. the inputs: their shapes, which arrays are there, then their elements;
 *  3. the other pointers, and the size of `work`;
 *  4. alignment and overlap of all buffers;
 *  5. what rows hold, if they count: labels, references, states.
 *
 * No output is written before all of it is done. */

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

/* The alignment of a number of 8 bytes: it is 4 on i386. */
struct bn_align { char c; bnfloss_row x; };
#define BN_ALIGN_STRUCT offsetof(struct bn_align, x)

/* bnfloss_outputs holds nothing but pointers, which 32-bit ARM aligns less
 * than numbers. So a struct that is read needs no more than that: it is copied
 * before it is used. */
struct bn_align_pointer { char c; void *x; };
#define BN_ALIGN_POINTER offsetof(struct bn_align_pointer, x)

/* Returns whether a struct_size is one that any version may have. */
static int bn_is_size(uint32_t size)
{
    return size >= 8 && size <= 4096 && size % BN_ALIGN_POINTER == 0;
}

/* Copies a caller's struct over *to, which holds the defaults. Both begin with
 * their size. A shorter struct, of an older version, leaves the defaults of
 * newer fields. A longer one must be 0 beyond the `known` bytes. */
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

/* Checks a struct that is only written: only its size matters. */
static bnfloss_status bn_check_result_size(const void *answer)
{
    uint32_t size;

    if ((uintptr_t)answer % BN_ALIGN_STRUCT)
        return BNFLOSS_E_ALIGN;
    memcpy(&size, answer, sizeof size);
    return bn_is_size(size) ? BNFLOSS_OK : BNFLOSS_E_STRUCT;
}

/* Checks a result, which may be NULL. */
static bnfloss_status bn_check_result(const bnfloss_result *result)
{
    return result ? bn_check_result_size(result) : BNFLOSS_OK;
}

/* ---- Layout ------------------------------------------------------------- */

/* Checks a layout and stores in *lay what it means, with every default filled
 * in. Sizes are limited so that no product of them overflows. */
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

/* ---- Buffers ------------------------------------------------------------ */

/* A buffer of the caller's. All those of a call are gathered, to find out
 * whether one that is written overlaps another. */
typedef struct bn_span {
    uintptr_t begin, end;
    int written;
} bn_span;

typedef struct bn_spans {
    bn_span span[48];
    int n;
    int misaligned;
} bn_spans;

/* Returns the alignment of an element of so many bytes. Structs are checked
 * where they are added. */
static size_t bn_alignment(size_t size)
{
    return size > 8 ? 1 : size == 8 ? BN_ALIGN_STRUCT : size;
}

/* Adds a buffer of `count` elements of `size` bytes. One that is NULL or empty
 * overlaps nothing. */
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

/* Adds an array of row states. */
static void bn_span_states(bn_spans *spans, const bnfloss_row *row,
                           int64_t count, int written)
{
    bn_span_add(spans, row, count, sizeof *row, written);
    spans->misaligned |= (uintptr_t)row % BN_ALIGN_STRUCT != 0;
}

/* Checks that all buffers are aligned and that none overlaps one that is
 * written. */
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

/* Adds the rows [from, to) of a matrix. */
static void bn_span_rows(bn_spans *spans, const void *p, uint32_t type,
                         int64_t from, int64_t to, int64_t stride,
                         int64_t cols, int written)
{
    if (p && to > from)
        bn_span_add(spans, bn_at(type, p, from * stride),
                    (to - from - 1) * stride + cols, bn_type_size(type),
                    written);
}

/* Adds the labels of the rows of a call. */
static void bn_span_labels(bn_spans *spans, const bnfloss_layout *lay,
                           const bn_args *a)
{
    const size_t size = lay->label_type == BNFLOSS_I64 ? 8 : 4;

    if (a->labels && a->to > a->from)
        bn_span_add(spans, (const char *)a->labels + (size_t)a->from * size,
                    a->to - a->from, size, BN_READ);
}

/* Adds the logits of the rows of a call. */
static void bn_span_logits(bn_spans *spans, const bnfloss_layout *lay,
                           const bn_args *a)
{
    bn_span_rows(spans, a->logits, lay->logits_type, a->from, a->to,
                 lay->logits_stride, lay->vocab, BN_READ);
}

/* Adds logits and gradient. They may be the same buffer, if their types and
 * strides are the same and nothing is accumulated. */
static bnfloss_status bn_check_grad(bn_spans *spans, const bnfloss_layout *lay,
                                    const bn_args *a)
{
    const int in_place = a->grad && a->grad == a->logits;

    if (in_place
        && (lay->logits_type != lay->grad_type
            || lay->logits_stride != lay->grad_stride
            || lay->flags & BNFLOSS_ACCUMULATE))
        return BNFLOSS_E_OVERLAP;
    if (!in_place)
        bn_span_logits(spans, lay, a);
    bn_span_rows(spans, a->grad, lay->grad_type, a->from, a->to,
                 lay->grad_stride, lay->grad_cols, BN_WRITE);
    return BNFLOSS_OK;
}

/* ---- Labels ------------------------------------------------------------- */

/* Returns whether row i is not looked at, for its label or its weight. weight
 * may be NULL. */
static int bn_is_skipped(int64_t label, const float *weight, int64_t i)
{
    return label < 0 || (weight && weight[i] == 0);
}

/* Checks that every label of a row that counts is below the vocabulary's
 * size. */
static bnfloss_status bn_check_labels(const bnfloss_layout *lay,
                                      const bn_args *a, const float *weight,
                                      int64_t *where)
{
    for (int64_t i = a->from; i < a->to; i++) {
        const int64_t y = bn_label(lay, a->labels, i);

        if (y >= lay->vocab_total && !bn_is_skipped(y, weight, i)) {
            *where = i;
            return BNFLOSS_E_LABEL;
        }
    }
    return BNFLOSS_OK;
}
