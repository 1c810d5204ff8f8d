/* The entry points of the stages that read rows: forward, merging, outputs, backward.
 *
 * Every public function checks everything, then calls the floors. What
 * computes is bn_do_*(), a function of its own between a switch to the
 * default floating-point environment and the switch back. */

/* ---- Results ------------------------------------------------------------ */

/* A result before anything is known. */
static bnfloss_result bn_result_empty(void)
{
    bnfloss_result r;

    memset(&r, 0, sizeof r);
    r.where = -1;
    r.rewards_chosen = r.rewards_rejected = r.rewards_margins = BN_NAN;
    r.rewards_accuracies = r.logps_chosen = r.logps_rejected = BN_NAN;
    r.logps_mean_chosen = r.logps_mean_rejected = BN_NAN;
    r.logits_chosen = r.logits_rejected = BN_NAN;
    r.entropy = r.token_accuracy = r.z_loss = r.sft_loss = BN_NAN;
    r.bnf_coefficient = r.bnf_full_share = BN_NAN;
    r.kl = r.shift = r.shift_count = BN_NAN;
    return r;
}

/* Hands over what fits into the caller's struct, which has been checked; after
 * an error, where. Both begin with struct_size, reserved, where. */
static bnfloss_status bn_write_result(void *to, bnfloss_status status,
                                      const void *from, size_t known)
{
    const size_t start = 8, where = sizeof(int64_t);
    uint32_t size = 0;

    if (to)
        memcpy(&size, to, sizeof size);
    if (size > known)
        size = (uint32_t)known;
    if (status != BNFLOSS_OK && size > start + where)
        size = (uint32_t)(start + where);
    if (size >= start + where || (status == BNFLOSS_OK && size > start))
        memcpy((char *)to + start, (const char *)from + start, size - start);
    return status;
}

/* Every entry point in turn: the result is checked first, since errors are told in
 * it; `call` does the rest into r. */
#define BN_ENTRY(result, call)                                                \
    do {                                                                      \
        const bnfloss_status bad_ = bn_check_result(result);                  \
        bnfloss_status status_;                                               \
        bnfloss_result r;                                                     \
        bn_env env_;                                                          \
                                                                              \
        if (bad_ != BNFLOSS_OK)                                               \
            return bad_;                                                      \
        env_ = bn_env_enter();                                                \
        r = bn_result_empty();                                                \
        status_ = (call);                                                     \
        bn_env_leave(env_);                                                   \
        return bn_write_result(result, status_, &r, sizeof r);                \
    } while (0)

/* ---- Forward ------------------------------------------------------------ */

/* Counts for the stages: rows that were read, and NaN among them. */
static void bn_count_rows(const bnfloss_row *state, int64_t from, int64_t to,
                          bnfloss_result *r)
{
    for (int64_t i = from; i < to; i++) {
        r->tokens += !(state[i].flags & BNFLOSS_ROW_IGNORED);
        r->nan_rows += bn_row_is_nan(state + i);
    }
}

static bnfloss_status bn_check_range(const bnfloss_layout *lay, int64_t from,
                                     int64_t to)
{
    return from < 0 || to < from || to > lay->rows ? BNFLOSS_E_SHAPE
                                                   : BNFLOSS_OK;
}

static int bn_wants_entropy(const bnfloss_outputs *out)
{
    return out->rest || out->entropy;
}

typedef struct bn_forward_call {
    bnfloss_layout layout;
    bnfloss_outputs out;
} bn_forward_call;

BN_NOINLINE static bnfloss_status bn_check_forward(
    bn_forward_call *call, const bnfloss_layout *layout, const void *logits,
    const void *labels, int64_t from, int64_t to, const bnfloss_row *state,
    const bnfloss_outputs *outputs, const bnfloss_result *result,
    int64_t *where)
{
    const bnfloss_layout *lay = &call->layout;
    bn_spans spans;

    BN_TRY(bn_check_layout(layout, &call->layout));
    BN_TRY(bn_read_outputs(&call->out, outputs));
    BN_TRY(bn_check_range(lay, from, to));
    if (lay->vocab < lay->vocab_total
        && (bn_wants_entropy(&call->out) || call->out.logp
            || call->out.log_square || call->out.argmax))
        return BNFLOSS_E_OPTION;
    if (from == to)
        return BNFLOSS_OK;
    if (!logits || !labels || !state)
        return BNFLOSS_E_NULL;
    memset(&spans, 0, sizeof spans);
    bn_span_rows(&spans, logits, lay->logits_type, from, to,
                 lay->logits_stride, lay->vocab, BN_READ);
    bn_span_labels(&spans, lay, labels, from, to);
    bn_span_states(&spans, state + from, to - from, BN_WRITE);
    bn_span_row_outputs(&spans, &call->out, from, to);
    bn_span_result(&spans, result);
    BN_TRY(bn_spans_check(&spans));
    return bn_check_labels(lay, labels, NULL, from, to, where);
}

BN_NOINLINE static bnfloss_status bn_do_forward(
    const bnfloss_layout *layout, const void *logits, const void *labels,
    int64_t from, int64_t to, bnfloss_row *state,
    const bnfloss_outputs *outputs, const bnfloss_result *result,
    bnfloss_result *r)
{
    const bn_task_range rows = { from, to, 0 };
    bn_forward_call call;
    bn_job job;

    BN_TRY(bn_check_forward(&call, layout, logits, labels, from, to, state,
                            outputs, result, &r->where));
    if (bn_wants_entropy(&call.out))
        call.layout.flags |= BNFLOSS_ENTROPY;
    if (call.out.log_square)
        call.layout.flags |= BNFLOSS_SQUARES;
    memset(&job, 0, sizeof job);
    job.sweep = bn_sweep_of(&call.layout);
    job.logits = logits;
    job.labels = labels;
    job.state = state;
    job.out = &call.out;
    bn_task_forward(&job, rows);
    bn_count_rows(state, from, to, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_forward(
    const bnfloss_layout *layout, const void *logits, const void *labels,
    int64_t row_begin, int64_t row_end, bnfloss_row *state,
    const bnfloss_outputs *outputs, bnfloss_result *result)
{
    BN_ENTRY(result, bn_do_forward(layout, logits, labels, row_begin, row_end,
                                   state, outputs, result, &r));
}

/* ---- States ------------------------------------------------------------- */

static bnfloss_status bn_check_merge(int64_t rows, const bnfloss_row *into,
                                     const bnfloss_row *from,
                                     const bnfloss_result *result,
                                     int64_t *where)
{
    const uint32_t both = BNFLOSS_ROW_IGNORED | BNFLOSS_ROW_ENTROPY
                          | BNFLOSS_ROW_MEAN | BNFLOSS_ROW_SQUARES;
    bn_spans spans;

    if (rows < 0 || rows > BN_MAX_ROWS)
        return BNFLOSS_E_SHAPE;
    if (rows > 0 && (!into || !from))
        return BNFLOSS_E_NULL;
    memset(&spans, 0, sizeof spans);
    bn_span_states(&spans, into, rows, BN_WRITE);
    bn_span_states(&spans, from, rows, BN_READ);
    bn_span_result(&spans, result);
    BN_TRY(bn_spans_check(&spans));
    for (int64_t i = 0; i < rows; i++) {
        const bnfloss_row *a = into + i, *b = from + i;

        if (a->label_id != b->label_id || (a->flags ^ b->flags) & both
            || (a->flags & b->flags & BNFLOSS_ROW_LABEL)
            || a->label_smoothing != b->label_smoothing
            || a->z_loss != b->z_loss) {
            *where = i;
            return BNFLOSS_E_STATE;
        }
    }
    return BNFLOSS_OK;
}

BN_NOINLINE static bnfloss_status bn_do_merge(
    int64_t rows, bnfloss_row *into, const bnfloss_row *from,
    const bnfloss_result *result, bnfloss_result *r)
{
    BN_TRY(bn_check_merge(rows, into, from, result, &r->where));
    for (int64_t i = 0; i < rows; i++) {
        if (into[i].flags & BNFLOSS_ROW_IGNORED)
            continue;
        bn_row_merge(into + i, from + i);
        bn_row_canonicalize(into + i);
    }
    bn_count_rows(into, 0, rows, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_row_merge(int64_t rows, bnfloss_row *into,
                                 const bnfloss_row *from,
                                 bnfloss_result *result)
{
    BN_ENTRY(result, bn_do_merge(rows, into, from, result, &r));
}

/* Whether a row's state has its label, and the sums that are wanted (row
 * flags). */
static bnfloss_status bn_check_state(const bnfloss_row *row, uint32_t wanted)
{
    wanted |= BNFLOSS_ROW_LABEL;
    if (row->flags & (BNFLOSS_ROW_IGNORED | BNFLOSS_ROW_NAN))
        return BNFLOSS_OK;
    return (row->flags & wanted) == wanted ? BNFLOSS_OK : BNFLOSS_E_STATE;
}

static bnfloss_status bn_check_row_outputs(
    int64_t rows, const bnfloss_row *state, const bnfloss_outputs *outputs,
    const bnfloss_result *result, bnfloss_outputs *out, int64_t *where)
{
    uint32_t wanted = 0;
    bn_spans spans;

    BN_TRY(bn_read_outputs(out, outputs));
    if (bn_wants_entropy(out))
        wanted |= BNFLOSS_ROW_ENTROPY;
    if (out->log_square)
        wanted |= BNFLOSS_ROW_SQUARES;
    if (rows < 0 || rows > BN_MAX_ROWS)
        return BNFLOSS_E_SHAPE;
    if (rows > 0 && !state)
        return BNFLOSS_E_NULL;
    memset(&spans, 0, sizeof spans);
    bn_span_states(&spans, state, rows, BN_READ);
    bn_span_row_outputs(&spans, out, 0, rows);
    bn_span_result(&spans, result);
    BN_TRY(bn_spans_check(&spans));
    for (int64_t i = 0; i < rows; i++) {
        if (bn_check_state(state + i, wanted) != BNFLOSS_OK) {
            *where = i;
            return BNFLOSS_E_STATE;
        }
    }
    return BNFLOSS_OK;
}

BN_NOINLINE static bnfloss_status bn_do_row_outputs(
    int64_t rows, const bnfloss_row *state, const bnfloss_outputs *outputs,
    const bnfloss_result *result, bnfloss_result *r)
{
    bnfloss_outputs out;

    BN_TRY(bn_check_row_outputs(rows, state, outputs, result, &out,
                                &r->where));
    for (int64_t i = 0; i < rows; i++)
        bn_row_out(state + i, i, &out);
    bn_count_rows(state, 0, rows, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_row_outputs(int64_t rows, const bnfloss_row *state,
                                   const bnfloss_outputs *outputs,
                                   bnfloss_result *result)
{
    BN_ENTRY(result, bn_do_row_outputs(rows, state, outputs, result, &r));
}

/* ---- Backward ----------------------------------------------------------- */

BN_NOINLINE static bnfloss_status bn_check_backward(
    bnfloss_layout *lay, const bnfloss_layout *layout, const void *logits,
    const void *labels, int64_t from, int64_t to, const bnfloss_row *state,
    const float *dlogp, const void *grad, const bnfloss_result *result,
    int64_t *where)
{
    bn_spans spans;

    BN_TRY(bn_check_layout(layout, lay));
    BN_TRY(bn_check_range(lay, from, to));
    if (from == to)
        return BNFLOSS_OK;
    if (!logits || !labels || !state || !dlogp || !grad)
        return BNFLOSS_E_NULL;
    memset(&spans, 0, sizeof spans);
    BN_TRY(bn_check_grad(&spans, lay, logits, grad, from, to));
    bn_span_labels(&spans, lay, labels, from, to);
    bn_span_states(&spans, state + from, to - from, BN_READ);
    bn_span_add(&spans, dlogp + from, to - from, 4, BN_READ);
    bn_span_result(&spans, result);
    BN_TRY(bn_spans_check(&spans));
    BN_TRY(bn_check_labels(lay, labels, NULL, from, to, where));
    for (int64_t i = from; i < to; i++) {
        const int64_t y = bn_label(lay, labels, i);
        const bnfloss_row *row = state + i;

        if (bn_check_state(row, 0) != BNFLOSS_OK
            || (y < 0 ? !(row->flags & BNFLOSS_ROW_IGNORED)
                      : row->label_id != y)
            || row->label_smoothing != lay->label_smoothing
            || row->z_loss != lay->z_loss) {
            *where = i;
            return BNFLOSS_E_STATE;
        }
    }
    return BNFLOSS_OK;
}

BN_NOINLINE static bnfloss_status bn_do_backward(
    const bnfloss_layout *layout, const void *logits, const void *labels,
    int64_t from, int64_t to, const bnfloss_row *state, const float *dlogp,
    void *grad, const bnfloss_result *result, bnfloss_result *r)
{
    const bn_task_range rows = { from, to, 0 };
    bn_job job;
    bnfloss_layout lay;

    BN_TRY(bn_check_backward(&lay, layout, logits, labels, from, to, state,
                             dlogp, grad, result, &r->where));
    memset(&job, 0, sizeof job);
    job.sweep = bn_sweep_of(&lay);
    job.logits = logits;
    job.labels = labels;
    job.grad = grad;
    job.state = (bnfloss_row *)state;       /* only read */
    job.dlogp = dlogp;
    bn_task_backward(&job, rows);
    bn_count_rows(state, from, to, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_backward(
    const bnfloss_layout *layout, const void *logits, const void *labels,
    int64_t row_begin, int64_t row_end, const bnfloss_row *state,
    const float *dlogp, void *grad, bnfloss_result *result)
{
    BN_ENTRY(result, bn_do_backward(layout, logits, labels, row_begin, row_end,
                                    state, dlogp, grad, result, &r));
}
