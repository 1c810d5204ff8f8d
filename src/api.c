/* The door: each public function checks everything, then calls the floors. */

const char *bnfloss_version(void)
{
    return BNFLOSS_VERSION;
}

const char *bnfloss_isa(void)
{
    return bn_kernels_get()->name;
}

bnfloss_status bnfloss_isa_select(const char *name)
{
    if (!name)
        return BNFLOSS_E_NULL;
    return bn_kernels_select(name) ? BNFLOSS_OK : BNFLOSS_E_ISA;
}

const char *bnfloss_status_string(bnfloss_status status)
{
    switch (status) {
    case BNFLOSS_OK:         return "ok";
    case BNFLOSS_E_NULL:     return "a required pointer is NULL";
    case BNFLOSS_E_STRUCT:   return "struct_size is unset, or bytes that this "
                                    "version does not know are not zero";
    case BNFLOSS_E_ENUM:     return "an unknown constant or flag";
    case BNFLOSS_E_SHAPE:    return "a dimension, stride or range is out of "
                                    "bounds";
    case BNFLOSS_E_VALUE:    return "a number is out of its range, or NaN";
    case BNFLOSS_E_OPTION:   return "an option that does not go with this loss "
                                    "or call";
    case BNFLOSS_E_ALIGN:    return "a pointer is not aligned to its element";
    case BNFLOSS_E_OVERLAP:  return "an output overlaps another buffer";
    case BNFLOSS_E_LABEL:    return "a label is not below the vocabulary";
    case BNFLOSS_E_WEIGHT:   return "a row weight is NaN or infinite";
    case BNFLOSS_E_REF_LOGP: return "a reference log-probability is above 0, "
                                    "or NaN";
    case BNFLOSS_E_LOGP:     return "a log-probability is above 0";
    case BNFLOSS_E_SEQ:      return "seq_start does not rise from 0 to the "
                                    "number of rows";
    case BNFLOSS_E_SIDE:     return "a side is not +1 or -1, or contradicts "
                                    "the pairing";
    case BNFLOSS_E_PAIRING:  return "pairs are needed, or the number of "
                                    "sequences is odd";
    case BNFLOSS_E_STATE:    return "row states do not fit together";
    case BNFLOSS_E_WORK:     return "the work buffer is too small";
    case BNFLOSS_E_ISA:      return "no such instruction set in this build or "
                                    "on this CPU";
    default:                 return "unknown status";
    }
}

void bnfloss_spec_init(bnfloss_spec *spec, uint32_t kind)
{
    memset(spec, 0, sizeof *spec);
    spec->struct_size = sizeof *spec;
    spec->kind = kind;
    spec->token_norm = kind == BNFLOSS_BNF ? BNFLOSS_NORM_LENGTH
                                           : BNFLOSS_NORM_NONE;
    spec->divisor = kind == BNFLOSS_BNF ? BNFLOSS_DIV_SEQUENCES
                    : kind == BNFLOSS_DPO ? BNFLOSS_DIV_PAIRS
                    : BNFLOSS_DIV_TOKENS;
    spec->beta = kind == BNFLOSS_DPO ? 0.1f : 0.0f;
    spec->divisor_value = 1;
    spec->loss_scale = 1;
}

/* ---- Results ---------------------------------------------------------------- */

/* A result before anything is known. */
static bnfloss_result bn_result_empty(void)
{
    bnfloss_result r;

    memset(&r, 0, sizeof r);
    r.where = -1;
    r.rewards_chosen = r.rewards_rejected = r.rewards_margins = BN_NAN;
    r.rewards_accuracies = r.logps_chosen = r.logps_rejected = BN_NAN;
    r.entropy = r.token_accuracy = BN_NAN;
    r.bnf_coefficient = r.bnf_full_share = BN_NAN;
    return r;
}

/* Hands over what fits into the caller's struct; after an error, where. */
static bnfloss_status bn_answer(bnfloss_result *to, bnfloss_status status,
                                const bnfloss_result *r)
{
    if (!to || bn_check_result(to) != BNFLOSS_OK)
        return status;
    if (status != BNFLOSS_OK) {
        if (to->struct_size >= offsetof(bnfloss_result, where) + sizeof r->where)
            to->where = r->where;
        return status;
    }
    memcpy((char *)to + 8, (const char *)r + 8,
           (to->struct_size < sizeof *r ? to->struct_size : sizeof *r) - 8);
    return status;
}

/* ---- The three stages ---------------------------------------------------------- */

/* Counts for forward and backward: rows that were read, and NaN among them. */
static void bn_count_rows(const bnfloss_row *state, int64_t from, int64_t to,
                          bnfloss_result *r)
{
    for (int64_t i = from; i < to; i++) {
        const uint32_t f = state[i].flags;

        r->tokens += !(f & BNFLOSS_ROW_IGNORED);
        r->nan_rows += (f & BNFLOSS_ROW_NAN) != 0;
    }
}

static bnfloss_status bn_check_range(const bn_view *w, int64_t from, int64_t to)
{
    return from < 0 || to < from || to > w->rows ? BNFLOSS_E_SHAPE : BNFLOSS_OK;
}

static int bn_wants_rows(const bnfloss_outputs *out)
{
    return out->rest || out->entropy;
}

typedef struct bn_forward_call {
    bn_view view;
    bnfloss_outputs out;
} bn_forward_call;

static bnfloss_status bn_check_forward(
    bn_forward_call *c, const bnfloss_layout *layout, const void *logits,
    const void *labels, int64_t from, int64_t to, const bnfloss_row *state,
    const bnfloss_outputs *outputs, int64_t *where)
{
    bn_spans spans;

    BN_TRY(bn_check_layout(layout, &c->view));
    BN_TRY(bn_read_outputs(&c->out, outputs));
    BN_TRY(bn_check_range(&c->view, from, to));
    if (from == to)
        return BNFLOSS_OK;
    if (!logits || !labels || !state)
        return BNFLOSS_E_NULL;
    memset(&spans, 0, sizeof spans);
    bn_span_rows(&spans, logits, c->view.logits_type, from, to,
                 c->view.logits_stride, c->view.vocab, BN_READ);
    bn_span_labels(&spans, &c->view, labels, from, to);
    bn_span_add(&spans, state + from, (to - from) * (int64_t)(sizeof *state / 8),
                8, BN_WRITE);
    bn_span_row_outputs(&spans, &c->out, from, to);
    BN_TRY(bn_spans_check(&spans));
    return bn_check_labels(&c->view, labels, NULL, from, to, where);
}

bnfloss_status bnfloss_forward(
    const bnfloss_layout *layout, const void *logits, const void *labels,
    int64_t row_begin, int64_t row_end, bnfloss_row *state,
    const bnfloss_outputs *outputs, bnfloss_result *result)
{
    bnfloss_result r = bn_result_empty();
    bn_forward_call c;
    bn_job job;
    bnfloss_status status;

    if (result)
        BN_TRY(bn_check_result(result));
    status = bn_check_forward(&c, layout, logits, labels, row_begin, row_end,
                              state, outputs, &r.where);
    if (status != BNFLOSS_OK)
        return bn_answer(result, status, &r);
    if (bn_wants_rows(&c.out))
        c.view.entropy = 1;
    memset(&job, 0, sizeof job);
    job.sweep = bn_sweep_of(&c.view);
    job.logits = logits;
    job.labels = labels;
    job.state = state;
    job.out = &c.out;
    bn_serial(bn_task_forward, &job, row_begin, row_end);
    bn_count_rows(state, row_begin, row_end, &r);
    return bn_answer(result, BNFLOSS_OK, &r);
}

bnfloss_status bnfloss_row_merge(int64_t rows, bnfloss_row *into,
                                 const bnfloss_row *from,
                                 bnfloss_result *result)
{
    const uint32_t both = BNFLOSS_ROW_IGNORED | BNFLOSS_ROW_ENTROPY;
    bnfloss_result r = bn_result_empty();
    bn_spans spans;
    bn_env env;

    if (result)
        BN_TRY(bn_check_result(result));
    if (rows < 0 || rows > BN_MAX_ROWS)
        return bn_answer(result, BNFLOSS_E_SHAPE, &r);
    if (rows > 0 && (!into || !from))
        return bn_answer(result, BNFLOSS_E_NULL, &r);
    memset(&spans, 0, sizeof spans);
    bn_span_add(&spans, into, rows * (int64_t)(sizeof *into / 8), 8, BN_WRITE);
    bn_span_add(&spans, from, rows * (int64_t)(sizeof *from / 8), 8, BN_READ);
    BN_TRY(bn_answer(result, bn_spans_check(&spans), &r));
    for (int64_t i = 0; i < rows; i++) {
        const bnfloss_row *a = into + i, *b = from + i;

        if (a->label_id != b->label_id || (a->flags ^ b->flags) & both
            || (a->flags & b->flags & BNFLOSS_ROW_LABEL)
            || a->label_smoothing != b->label_smoothing
            || a->z_loss != b->z_loss) {
            r.where = i;
            return bn_answer(result, BNFLOSS_E_STATE, &r);
        }
    }
    env = bn_env_enter();
    for (int64_t i = 0; i < rows; i++) {
        if (into[i].flags & BNFLOSS_ROW_IGNORED)
            continue;
        bn_row_merge(into + i, from + i);
        bn_row_settle(into + i);
    }
    bn_env_leave(env);
    bn_count_rows(into, 0, rows, &r);
    return bn_answer(result, BNFLOSS_OK, &r);
}

/* Whether a row's outputs can be read from its state. */
static bnfloss_status bn_check_state(const bnfloss_row *x, int wants_entropy)
{
    if (x->flags & (BNFLOSS_ROW_IGNORED | BNFLOSS_ROW_NAN))
        return BNFLOSS_OK;
    if (!(x->flags & BNFLOSS_ROW_LABEL)
        || (wants_entropy && !(x->flags & BNFLOSS_ROW_ENTROPY)))
        return BNFLOSS_E_STATE;
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_row_outputs(int64_t rows, const bnfloss_row *state,
                                   const bnfloss_outputs *outputs,
                                   bnfloss_result *result)
{
    bnfloss_result r = bn_result_empty();
    bnfloss_outputs out;
    bn_spans spans;
    bn_env env;

    if (result)
        BN_TRY(bn_check_result(result));
    BN_TRY(bn_answer(result, bn_read_outputs(&out, outputs), &r));
    if (rows < 0 || rows > BN_MAX_ROWS)
        return bn_answer(result, BNFLOSS_E_SHAPE, &r);
    if (rows > 0 && !state)
        return bn_answer(result, BNFLOSS_E_NULL, &r);
    memset(&spans, 0, sizeof spans);
    bn_span_add(&spans, state, rows * (int64_t)(sizeof *state / 8), 8, BN_READ);
    bn_span_row_outputs(&spans, &out, 0, rows);
    BN_TRY(bn_answer(result, bn_spans_check(&spans), &r));
    for (int64_t i = 0; i < rows; i++) {
        if (bn_check_state(state + i, bn_wants_rows(&out)) != BNFLOSS_OK) {
            r.where = i;
            return bn_answer(result, BNFLOSS_E_STATE, &r);
        }
    }
    env = bn_env_enter();
    for (int64_t i = 0; i < rows; i++)
        bn_row_out(state + i, i, &out);
    bn_env_leave(env);
    bn_count_rows(state, 0, rows, &r);
    return bn_answer(result, BNFLOSS_OK, &r);
}

static bnfloss_status bn_check_backward(
    bn_view *w, const bnfloss_layout *layout, const void *logits,
    const void *labels, int64_t from, int64_t to, const bnfloss_row *state,
    const float *dlogp, const void *grad, int64_t *where)
{
    bn_spans spans;

    BN_TRY(bn_check_layout(layout, w));
    BN_TRY(bn_check_range(w, from, to));
    if (from == to)
        return BNFLOSS_OK;
    if (!logits || !labels || !state || !dlogp || !grad)
        return BNFLOSS_E_NULL;
    memset(&spans, 0, sizeof spans);
    BN_TRY(bn_check_grad(&spans, w, logits, grad, from, to));
    bn_span_labels(&spans, w, labels, from, to);
    bn_span_add(&spans, state + from, (to - from) * (int64_t)(sizeof *state / 8),
                8, BN_READ);
    bn_span_add(&spans, dlogp + from, to - from, 4, BN_READ);
    BN_TRY(bn_spans_check(&spans));
    BN_TRY(bn_check_labels(w, labels, NULL, from, to, where));
    for (int64_t i = from; i < to; i++) {
        const int64_t y = bn_label(w, labels, i);
        const bnfloss_row *x = state + i;

        if (bn_check_state(x, 0) != BNFLOSS_OK
            || (y < 0 ? !(x->flags & BNFLOSS_ROW_IGNORED) : x->label_id != y)
            || x->label_smoothing != w->smoothing || x->z_loss != w->z_loss) {
            *where = i;
            return BNFLOSS_E_STATE;
        }
    }
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_backward(
    const bnfloss_layout *layout, const void *logits, const void *labels,
    int64_t row_begin, int64_t row_end, const bnfloss_row *state,
    const float *dlogp, void *grad, bnfloss_result *result)
{
    bnfloss_result r = bn_result_empty();
    bn_job job;
    bn_view w;
    bnfloss_status status;

    if (result)
        BN_TRY(bn_check_result(result));
    status = bn_check_backward(&w, layout, logits, labels, row_begin, row_end,
                               state, dlogp, grad, &r.where);
    if (status != BNFLOSS_OK)
        return bn_answer(result, status, &r);
    memset(&job, 0, sizeof job);
    job.sweep = bn_sweep_of(&w);
    job.logits = logits;
    job.labels = labels;
    job.grad = grad;
    job.state = (bnfloss_row *)state;     /* only read */
    job.dlogp = dlogp;
    bn_serial(bn_task_backward, &job, row_begin, row_end);
    bn_count_rows(state, row_begin, row_end, &r);
    return bn_answer(result, BNFLOSS_OK, &r);
}

/* ---- Work -------------------------------------------------------------------------- */

/* The parts of the caller's work buffer, 16 bytes apart; n = 0 for none. */
static uint64_t bn_work_part(int64_t n, size_t size)
{
    return ((uint64_t)n * size + 15) / 16 * 16;
}

/* w NULL: the loss stage alone. */
static uint64_t bn_work_bytes(const bn_view *w, const bnfloss_spec *spec,
                              int64_t rows, int64_t sequences)
{
    uint64_t bytes = 16 + bn_work_part(rows, sizeof(bn_term))
                     + bn_work_part(sequences < 1 ? 1 : sequences,
                                    sizeof(bn_seq));

    if (w)
        bytes += bn_work_part(bn_chunks(w), sizeof(bnfloss_row));
    if (w && bn_couples_rows(spec))
        bytes += bn_work_part(rows, sizeof(bnfloss_row));
    return bytes;
}

static void *bn_work_take(unsigned char **work, int64_t n, size_t size)
{
    void *part = *work;

    *work += bn_work_part(n, size);
    return part;
}

static unsigned char *bn_work_begin(void *work)
{
    return (unsigned char *)work + (16 - (uintptr_t)work % 16) % 16;
}

bnfloss_status bnfloss_workspace(const bnfloss_layout *layout,
                                 const bnfloss_spec *spec, int64_t rows,
                                 int64_t sequences, uint64_t *bytes)
{
    bnfloss_spec p;
    bn_view w;

    if (!bytes)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_spec(spec, &p));
    if (layout) {
        BN_TRY(bn_check_layout(layout, &w));
        rows = w.rows;
    }
    if (rows < 0 || rows > BN_MAX_ROWS || sequences < 0
        || sequences > BN_MAX_ROWS)
        return BNFLOSS_E_SHAPE;
    *bytes = bn_work_bytes(layout ? &w : NULL, &p, rows, sequences);
    return BNFLOSS_OK;
}

/* ---- The loss stage ------------------------------------------------------------------ */

typedef struct bn_loss_call {
    bnfloss_spec spec;
    bnfloss_inputs in;
    bnfloss_outputs out;
    bn_batch batch;
} bn_loss_call;

/* The rows that count, and what must hold for them at this door. */
static bnfloss_status bn_check_loss_rows(const bn_loss_call *c,
                                         const bnfloss_row *state,
                                         const float *logp, int64_t *where)
{
    const bn_batch *b = &c->batch;

    for (int64_t i = 0; i < b->N; i++) {
        if (bn_is_skipped(state && state[i].flags & BNFLOSS_ROW_IGNORED ? -1 : 0,
                          c->in.row_weight, i))
            continue;
        *where = i;
        if (state) {
            BN_TRY(bn_check_state(state + i, 0));
            BN_TRY(bn_check_row_options(&c->spec, state[i].label_smoothing,
                                        state[i].z_loss));
        } else if (logp[i] > BN_LOGP_SLACK) {
            return BNFLOSS_E_LOGP;
        }
        BN_TRY(bn_check_ref(b, i, where));
    }
    *where = -1;
    return BNFLOSS_OK;
}

static bnfloss_status bn_check_loss(
    bn_loss_call *c, const bnfloss_spec *spec, const bnfloss_inputs *inputs,
    int64_t rows, const bnfloss_row *state, const float *logp,
    const float *rest, const float *dlogp, const bnfloss_outputs *outputs,
    void *work, uint64_t work_bytes, int64_t *where)
{
    bn_batch *b = &c->batch;
    bn_spans spans;

    memset(b, 0, sizeof *b);
    BN_TRY(bn_check_spec(spec, &c->spec));
    b->spec = &c->spec;
    BN_TRY(bn_read_outputs(&c->out, outputs));
    BN_TRY(bn_check_inputs(inputs, &c->in, rows, b, where));
    if (rows > 0 && !state && !logp)
        return BNFLOSS_E_NULL;
    if (state && (logp || rest))
        return BNFLOSS_E_OPTION;
    if (work_bytes < bn_work_bytes(NULL, &c->spec, rows, b->S))
        return BNFLOSS_E_WORK;
    if (!work)
        return BNFLOSS_E_NULL;
    memset(&spans, 0, sizeof spans);
    bn_span_inputs(&spans, b);
    bn_span_add(&spans, state, rows * (int64_t)(sizeof *state / 8), 8, BN_READ);
    bn_span_add(&spans, logp, rows, 4, BN_READ);
    bn_span_add(&spans, rest, rows, 4, BN_READ);
    bn_span_add(&spans, dlogp, rows, 4, BN_WRITE);
    bn_span_add(&spans, work, (int64_t)bn_work_bytes(NULL, &c->spec, rows, b->S),
                1, BN_WRITE);
    bn_span_loss_outputs(&spans, &c->out, b);
    BN_TRY(bn_spans_check(&spans));
    return bn_check_loss_rows(c, state, logp, where);
}

/* Which rows count: the flags that everything after this goes by. */
static void bn_mark_valid(bn_batch *b, int64_t i, int skipped)
{
    memset(b->term + i, 0, sizeof *b->term);
    b->term[i].flags = skipped ? 0 : BN_VALID;
}

BN_NOINLINE static void bn_loss_rows(bn_loss_call *c, const bnfloss_row *state,
                                     const float *logp, const float *rest,
                                     float *dlogp, bnfloss_result *r)
{
    bn_batch *b = &c->batch;

    for (int64_t i = 0; i < b->N; i++)
        bn_mark_valid(b, i, bn_is_skipped(
            state && state[i].flags & BNFLOSS_ROW_IGNORED ? -1 : 0,
            c->in.row_weight, i));
    bn_batch_counts(b);
    for (int64_t i = 0; i < b->N; i++) {
        bn_term *term = b->term + i;
        bn_token t;

        if (!(term->flags & BN_VALID))
            continue;
        if (state) {
            bn_batch_row(b, i, state + i);
            continue;
        }
        term->flags |= logp[i] > 0 ? BN_CLAMPED : 0;
        t = bn_token_from_logp(logp[i] > 0 ? 0 : (double)logp[i],
                               rest ? (double)rest[i] : BN_NAN);
        bn_batch_term(b, i, &t, NULL);
    }
    bn_batch_finish(b, &c->out, r);
    if (dlogp)
        bn_batch_dlogp(b, dlogp);
    if (c->out.dlogp)
        bn_batch_dlogp(b, c->out.dlogp);
}

bnfloss_status bnfloss_loss(
    const bnfloss_spec *spec, const bnfloss_inputs *inputs, int64_t rows,
    const bnfloss_row *state, const float *logp, const float *rest,
    float *dlogp, const bnfloss_outputs *outputs,
    void *work, uint64_t work_bytes, bnfloss_result *result)
{
    bnfloss_result r = bn_result_empty();
    bn_loss_call c;
    unsigned char *part;
    bnfloss_status status;
    bn_env env;

    if (!result)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_result(result));
    status = bn_check_loss(&c, spec, inputs, rows, state, logp, rest, dlogp,
                           outputs, work, work_bytes, &r.where);
    if (status != BNFLOSS_OK)
        return bn_answer(result, status, &r);
    part = bn_work_begin(work);
    c.batch.term = (bn_term *)bn_work_take(&part, rows, sizeof(bn_term));
    c.batch.seq = (bn_seq *)bn_work_take(&part, c.batch.S, sizeof(bn_seq));
    env = bn_env_enter();
    bn_loss_rows(&c, state, logp, rest, dlogp, &r);
    bn_env_leave(env);
    return bn_answer(result, BNFLOSS_OK, &r);
}

/* ---- All of it ---------------------------------------------------------------------------- */

typedef struct bn_run_call {
    bn_loss_call loss;
    bn_view view;
} bn_run_call;

static bnfloss_status bn_check_run(
    bn_run_call *c, const bnfloss_layout *layout, const bnfloss_spec *spec,
    const bnfloss_inputs *inputs, const void *logits, const void *labels,
    const void *grad, const bnfloss_outputs *outputs, void *work,
    uint64_t work_bytes, int32_t threads, int64_t *where)
{
    bn_batch *b = &c->loss.batch;
    const bn_view *w = &c->view;
    const float *weight;
    bn_spans spans;
    uint64_t bytes;

    memset(b, 0, sizeof *b);
    BN_TRY(bn_check_layout(layout, &c->view));
    BN_TRY(bn_check_spec(spec, &c->loss.spec));
    BN_TRY(bn_check_row_options(&c->loss.spec, w->smoothing, w->z_loss));
    b->spec = &c->loss.spec;
    BN_TRY(bn_read_outputs(&c->loss.out, outputs));
    if (threads < 0)
        return BNFLOSS_E_VALUE;
    if (w->vocab_begin != 0 || w->vocab_total != w->vocab)
        return BNFLOSS_E_OPTION;            /* a slice has no loss */
    BN_TRY(bn_check_inputs(inputs, &c->loss.in, w->rows, b, where));
    if (w->rows > 0 && (!logits || !labels))
        return BNFLOSS_E_NULL;
    bytes = bn_work_bytes(w, b->spec, w->rows, b->S);
    if (work_bytes < bytes)
        return BNFLOSS_E_WORK;
    if (!work)
        return BNFLOSS_E_NULL;
    memset(&spans, 0, sizeof spans);
    BN_TRY(bn_check_grad(&spans, w, logits, grad, 0, w->rows));
    bn_span_labels(&spans, w, labels, 0, w->rows);
    bn_span_inputs(&spans, b);
    bn_span_add(&spans, work, (int64_t)bytes, 1, BN_WRITE);
    bn_span_row_outputs(&spans, &c->loss.out, 0, w->rows);
    bn_span_loss_outputs(&spans, &c->loss.out, b);
    BN_TRY(bn_spans_check(&spans));
    weight = c->loss.in.row_weight;
    BN_TRY(bn_check_labels(w, labels, weight, 0, w->rows, where));
    for (int64_t i = 0; i < w->rows; i++)
        if (!bn_is_skipped(bn_label(w, labels, i), weight, i))
            BN_TRY(bn_check_ref(b, i, where));
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_run(
    const bnfloss_layout *layout, const bnfloss_spec *spec,
    const bnfloss_inputs *inputs, const void *logits, const void *labels,
    void *grad, const bnfloss_outputs *outputs,
    void *work, uint64_t work_bytes, int32_t threads, bnfloss_result *result)
{
    bnfloss_result r = bn_result_empty();
    bn_run_call c;
    bn_job job;
    bn_batch *b = &c.loss.batch;
    unsigned char *part;
    bnfloss_status status;
    bn_env env;

    if (!result)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_result(result));
    status = bn_check_run(&c, layout, spec, inputs, logits, labels, grad,
                          outputs, work, work_bytes, threads, &r.where);
    if (status != BNFLOSS_OK)
        return bn_answer(result, status, &r);
    if (c.loss.spec.kind == BNFLOSS_BNF || bn_wants_rows(&c.loss.out))
        c.view.entropy = 1;
    memset(&job, 0, sizeof job);
    part = bn_work_begin(work);
    b->term = (bn_term *)bn_work_take(&part, b->N, sizeof(bn_term));
    b->seq = (bn_seq *)bn_work_take(&part, b->S, sizeof(bn_seq));
    job.chunk = (bnfloss_row *)bn_work_take(&part, bn_chunks(&c.view),
                                            sizeof(bnfloss_row));
    if (bn_couples_rows(b->spec))
        job.state = (bnfloss_row *)bn_work_take(&part, b->N,
                                                sizeof(bnfloss_row));
    for (int64_t i = 0; i < b->N; i++)
        bn_mark_valid(b, i, bn_is_skipped(bn_label(&c.view, labels, i),
                                          c.loss.in.row_weight, i));
    env = bn_env_enter();
    bn_batch_counts(b);
    bn_env_leave(env);
    job.sweep = bn_sweep_of(&c.view);
    job.logits = logits;
    job.labels = labels;
    job.grad = grad;
    job.batch = b;
    job.out = &c.loss.out;
    bn_sweep_batch(&job, threads, &r);
    return bn_answer(result, BNFLOSS_OK, &r);
}
