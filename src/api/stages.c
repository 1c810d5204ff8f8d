/* The entry points of the stages that read rows: forward, merging, outputs,
 * backward. */

/* ---- Forward ------------------------------------------------------------ */

/* Counts the rows that were read, and NaN among them. */
static void bn_count_rows(const bnfloss_row *state, int64_t from, int64_t to,
                          bnfloss_result *r)
{
    for (int64_t i = from; i < to; i++) {
        r->tokens += !(state[i].flags & BNFLOSS_ROW_IGNORED);
        r->nan_rows += bn_row_is_nan(state + i);
    }
}

/* Checks the row range of a call. */
static bnfloss_status bn_check_range(const bnfloss_layout *lay,
                                     const bn_args *a)
{
    return a->from < 0 || a->to < a->from || a->to > lay->rows
               ? BNFLOSS_E_SHAPE : BNFLOSS_OK;
}

/* Returns whether an output needs the sum that entropy needs. */
static int bn_wants_entropy(const bnfloss_outputs *out)
{
    return out->rest || out->entropy;
}

typedef struct bn_forward_call {
    bnfloss_layout layout;      /* resolved */
    bnfloss_outputs out;
} bn_forward_call;

BN_NOINLINE static bnfloss_status bn_check_forward(const bn_args *a,
                                                   bn_forward_call *call,
                                                   int64_t *where)
{
    const bnfloss_layout *lay = &call->layout;
    const bnfloss_outputs *out = &call->out;
    bn_spans spans;

    BN_TRY(bn_check_layout(a->layout, &call->layout));
    BN_TRY(bn_read_outputs(&call->out, a->outputs));
    BN_TRY(bn_check_range(lay, a));
    if (lay->vocab < lay->vocab_total
        && (bn_wants_entropy(out) || out->logp || out->log_square
            || out->argmax))
        return BNFLOSS_E_OPTION;
    if (a->from == a->to)
        return BNFLOSS_OK;
    if (!a->logits || !a->labels || !a->state_out)
        return BNFLOSS_E_NULL;
    memset(&spans, 0, sizeof spans);
    bn_span_logits(&spans, lay, a);
    bn_span_labels(&spans, lay, a);
    bn_span_states(&spans, a->state_out + a->from, a->to - a->from, BN_WRITE);
    bn_span_row_outputs(&spans, out, a->from, a->to);
    bn_span_result(&spans, a->result);
    BN_TRY(bn_spans_check(&spans));
    return bn_check_labels(lay, a, NULL, where);
}

BN_NOINLINE static bnfloss_status bn_do_forward(const bn_args *a,
                                                bnfloss_result *r)
{
    const bn_task_range rows = { a->from, a->to, 0 };
    bn_forward_call call;
    bn_job job;

    BN_TRY(bn_check_forward(a, &call, &r->where));
    if (bn_wants_entropy(&call.out))
        call.layout.flags |= BNFLOSS_ENTROPY;
    if (call.out.log_square)
        call.layout.flags |= BNFLOSS_SQUARES;
    memset(&job, 0, sizeof job);
    job.sweep = bn_sweep_of(&call.layout);
    job.logits = a->logits;
    job.labels = a->labels;
    job.state = a->state_out;
    job.out = &call.out;
    bn_task_forward(&job, rows);
    bn_count_rows(a->state_out, a->from, a->to, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_forward(
    const bnfloss_layout *layout, const void *logits, const void *labels,
    int64_t row_begin, int64_t row_end, bnfloss_row *state,
    const bnfloss_outputs *outputs, bnfloss_result *result)
{
    bn_args a = bn_args_none();

    a.layout = layout;
    a.logits = logits;
    a.labels = labels;
    a.from = row_begin;
    a.to = row_end;
    a.state_out = state;
    a.outputs = outputs;
    a.result = result;
    return bn_enter(bn_do_forward, &a);
}

/* ---- States ------------------------------------------------------------- */

static bnfloss_status bn_check_rows(int64_t rows)
{
    return rows < 0 || rows > BN_MAX_ROWS ? BNFLOSS_E_SHAPE : BNFLOSS_OK;
}

/* Returns whether two states are of the same row, with the same sums and
 * options, and at most one of them has its label. */
static int bn_states_fit(const bnfloss_row *a, const bnfloss_row *b)
{
    const uint32_t both = BNFLOSS_ROW_IGNORED | BNFLOSS_ROW_ENTROPY
                          | BNFLOSS_ROW_MEAN | BNFLOSS_ROW_SQUARES;

    return a->label_id == b->label_id && !((a->flags ^ b->flags) & both)
           && !(a->flags & b->flags & BNFLOSS_ROW_LABEL)
           && a->label_smoothing == b->label_smoothing
           && a->z_loss == b->z_loss;
}

static bnfloss_status bn_check_merge(const bn_args *a, int64_t *where)
{
    bn_spans spans;

    BN_TRY(bn_check_rows(a->rows));
    if (a->rows > 0 && (!a->state_out || !a->state))
        return BNFLOSS_E_NULL;
    memset(&spans, 0, sizeof spans);
    bn_span_states(&spans, a->state_out, a->rows, BN_WRITE);
    bn_span_states(&spans, a->state, a->rows, BN_READ);
    bn_span_result(&spans, a->result);
    BN_TRY(bn_spans_check(&spans));
    for (int64_t i = 0; i < a->rows; i++) {
        if (!bn_states_fit(a->state_out + i, a->state + i)) {
            *where = i;
            return BNFLOSS_E_STATE;
        }
    }
    return BNFLOSS_OK;
}

BN_NOINLINE static bnfloss_status bn_do_merge(const bn_args *a,
                                              bnfloss_result *r)
{
    bnfloss_row *into = a->state_out;

    BN_TRY(bn_check_merge(a, &r->where));
    for (int64_t i = 0; i < a->rows; i++) {
        if (into[i].flags & BNFLOSS_ROW_IGNORED)
            continue;
        bn_row_merge(into + i, a->state + i);
        bn_row_canonicalize(into + i);
    }
    bn_count_rows(into, 0, a->rows, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_row_merge(int64_t rows, bnfloss_row *into,
                                 const bnfloss_row *from,
                                 bnfloss_result *result)
{
    bn_args a = bn_args_none();

    a.rows = rows;
    a.state_out = into;
    a.state = from;
    a.result = result;
    return bn_enter(bn_do_merge, &a);
}

/* Checks that a row's state has its label, and the sums of these row flags. */
static bnfloss_status bn_check_state(const bnfloss_row *row, uint32_t wanted)
{
    wanted |= BNFLOSS_ROW_LABEL;
    if (row->flags & (BNFLOSS_ROW_IGNORED | BNFLOSS_ROW_NAN))
        return BNFLOSS_OK;
    return (row->flags & wanted) == wanted ? BNFLOSS_OK : BNFLOSS_E_STATE;
}

static bnfloss_status bn_check_row_outputs(const bn_args *a,
                                           bnfloss_outputs *out,
                                           int64_t *where)
{
    uint32_t wanted = 0;
    bn_spans spans;

    BN_TRY(bn_read_outputs(out, a->outputs));
    if (bn_wants_entropy(out))
        wanted |= BNFLOSS_ROW_ENTROPY;
    if (out->log_square)
        wanted |= BNFLOSS_ROW_SQUARES;
    BN_TRY(bn_check_rows(a->rows));
    if (a->rows > 0 && !a->state)
        return BNFLOSS_E_NULL;
    memset(&spans, 0, sizeof spans);
    bn_span_states(&spans, a->state, a->rows, BN_READ);
    bn_span_row_outputs(&spans, out, 0, a->rows);
    bn_span_result(&spans, a->result);
    BN_TRY(bn_spans_check(&spans));
    for (int64_t i = 0; i < a->rows; i++) {
        if (bn_check_state(a->state + i, wanted) != BNFLOSS_OK) {
            *where = i;
            return BNFLOSS_E_STATE;
        }
    }
    return BNFLOSS_OK;
}

BN_NOINLINE static bnfloss_status bn_do_row_outputs(const bn_args *a,
                                                    bnfloss_result *r)
{
    bnfloss_outputs out;

    BN_TRY(bn_check_row_outputs(a, &out, &r->where));
    for (int64_t i = 0; i < a->rows; i++)
        bn_row_out(a->state + i, i, &out);
    bn_count_rows(a->state, 0, a->rows, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_row_outputs(int64_t rows, const bnfloss_row *state,
                                   const bnfloss_outputs *outputs,
                                   bnfloss_result *result)
{
    bn_args a = bn_args_none();

    a.rows = rows;
    a.state = state;
    a.outputs = outputs;
    a.result = result;
    return bn_enter(bn_do_row_outputs, &a);
}

/* ---- Backward ----------------------------------------------------------- */

/* Returns whether a state is that of a row with this label and layout. */
static int bn_state_is_of(const bnfloss_row *row, const bnfloss_layout *lay,
                          int64_t label)
{
    const int same_label = label < 0 ? (row->flags & BNFLOSS_ROW_IGNORED) != 0
                                     : row->label_id == label;

    return bn_check_state(row, 0) == BNFLOSS_OK && same_label
           && row->label_smoothing == lay->label_smoothing
           && row->z_loss == lay->z_loss;
}

BN_NOINLINE static bnfloss_status bn_check_backward(const bn_args *a,
                                                    bnfloss_layout *lay,
                                                    int64_t *where)
{
    bn_spans spans;

    BN_TRY(bn_check_layout(a->layout, lay));
    BN_TRY(bn_check_range(lay, a));
    if (a->from == a->to)
        return BNFLOSS_OK;
    if (!a->logits || !a->labels || !a->state || !a->dlogp || !a->grad)
        return BNFLOSS_E_NULL;
    memset(&spans, 0, sizeof spans);
    BN_TRY(bn_check_grad(&spans, lay, a));
    bn_span_labels(&spans, lay, a);
    bn_span_states(&spans, a->state + a->from, a->to - a->from, BN_READ);
    bn_span_add(&spans, a->dlogp + a->from, a->to - a->from, 4, BN_READ);
    bn_span_result(&spans, a->result);
    BN_TRY(bn_spans_check(&spans));
    BN_TRY(bn_check_labels(lay, a, NULL, where));
    for (int64_t i = a->from; i < a->to; i++) {
        if (!bn_state_is_of(a->state + i, lay, bn_label(lay, a->labels, i))) {
            *where = i;
            return BNFLOSS_E_STATE;
        }
    }
    return BNFLOSS_OK;
}

BN_NOINLINE static bnfloss_status bn_do_backward(const bn_args *a,
                                                 bnfloss_result *r)
{
    const bn_task_range rows = { a->from, a->to, 0 };
    bnfloss_layout lay;
    bn_job job;

    BN_TRY(bn_check_backward(a, &lay, &r->where));
    memset(&job, 0, sizeof job);
    job.sweep = bn_sweep_of(&lay);
    job.logits = a->logits;
    job.labels = a->labels;
    job.grad = a->grad;
    job.state = (bnfloss_row *)a->state;    /* only read */
    job.dlogp = a->dlogp;
    bn_task_backward(&job, rows);
    bn_count_rows(a->state, a->from, a->to, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_backward(
    const bnfloss_layout *layout, const void *logits, const void *labels,
    int64_t row_begin, int64_t row_end, const bnfloss_row *state,
    const float *dlogp, void *grad, bnfloss_result *result)
{
    bn_args a = bn_args_none();

    a.layout = layout;
    a.logits = logits;
    a.labels = labels;
    a.from = row_begin;
    a.to = row_end;
    a.state = state;
    a.dlogp = dlogp;
    a.grad = grad;
    a.result = result;
    return bn_enter(bn_do_backward, &a);
}
