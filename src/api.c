/* The door: each public function checks everything, then calls the floors.
 *
 * What computes is bn_do_*(), a function of its own between a switch to the
 * default floating-point environment and the switch back. */

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

/* ---- Results ------------------------------------------------------------ */

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

/* Hands over what fits into the caller's struct, which has been checked;
 * after an error, where. */
static bnfloss_status bn_answer(bnfloss_result *to, bnfloss_status status,
                                const bnfloss_result *r)
{
    size_t size = to ? to->struct_size : 0;

    if (size > sizeof *r)
        size = sizeof *r;
    if (status == BNFLOSS_OK && size > 8)
        memcpy((char *)to + 8, (const char *)r + 8, size - 8);
    else if (size >= offsetof(bnfloss_result, where) + sizeof r->where)
        to->where = r->where;
    return status;
}

/* Every door in turn: the result is checked first, since errors are told in
 * it; `call` does the rest into r. */
#define BN_DOOR(result, call)                                                 \
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
        return bn_answer(result, status_, &r);                                \
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

static bnfloss_status bn_check_range(const bn_view *w, int64_t from, int64_t to)
{
    return from < 0 || to < from || to > w->rows ? BNFLOSS_E_SHAPE : BNFLOSS_OK;
}

static int bn_wants_entropy(const bnfloss_outputs *out)
{
    return out->rest || out->entropy;
}

typedef struct bn_forward_call {
    bn_view view;
    bnfloss_outputs out;
} bn_forward_call;

BN_NOINLINE static bnfloss_status bn_check_forward(
    bn_forward_call *c, const bnfloss_layout *layout, const void *logits,
    const void *labels, int64_t from, int64_t to, const bnfloss_row *state,
    const bnfloss_outputs *outputs, const bnfloss_result *result,
    int64_t *where)
{
    const bn_view *w = &c->view;
    bn_spans spans;

    BN_TRY(bn_check_layout(layout, &c->view));
    BN_TRY(bn_read_outputs(&c->out, outputs));
    BN_TRY(bn_check_range(w, from, to));
    if (w->vocab < w->vocab_total
        && (bn_wants_entropy(&c->out) || c->out.logp || c->out.argmax))
        return BNFLOSS_E_OPTION;
    if (from == to)
        return BNFLOSS_OK;
    if (!logits || !labels || !state)
        return BNFLOSS_E_NULL;
    memset(&spans, 0, sizeof spans);
    bn_span_rows(&spans, logits, w->logits_type, from, to, w->logits_stride,
                 w->vocab, BN_READ);
    bn_span_labels(&spans, w, labels, from, to);
    bn_span_states(&spans, state + from, to - from, BN_WRITE);
    bn_span_row_outputs(&spans, &c->out, from, to);
    bn_span_result(&spans, result);
    BN_TRY(bn_spans_check(&spans));
    return bn_check_labels(w, labels, NULL, from, to, where);
}

BN_NOINLINE static bnfloss_status bn_do_forward(
    const bnfloss_layout *layout, const void *logits, const void *labels,
    int64_t from, int64_t to, bnfloss_row *state,
    const bnfloss_outputs *outputs, const bnfloss_result *result,
    bnfloss_result *r)
{
    bn_forward_call c;
    bn_job job;

    BN_TRY(bn_check_forward(&c, layout, logits, labels, from, to, state,
                            outputs, result, &r->where));
    c.view.entropy |= bn_wants_entropy(&c.out);
    memset(&job, 0, sizeof job);
    job.sweep = bn_sweep_of(&c.view);
    job.logits = logits;
    job.labels = labels;
    job.state = state;
    job.out = &c.out;
    bn_tasks(bn_task_forward, &job, from, to);
    bn_count_rows(state, from, to, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_forward(
    const bnfloss_layout *layout, const void *logits, const void *labels,
    int64_t row_begin, int64_t row_end, bnfloss_row *state,
    const bnfloss_outputs *outputs, bnfloss_result *result)
{
    BN_DOOR(result, bn_do_forward(layout, logits, labels, row_begin, row_end,
                                  state, outputs, result, &r));
}

/* ---- States ------------------------------------------------------------- */

static bnfloss_status bn_check_merge(int64_t rows, const bnfloss_row *into,
                                     const bnfloss_row *from,
                                     const bnfloss_result *result,
                                     int64_t *where)
{
    const uint32_t both = BNFLOSS_ROW_IGNORED | BNFLOSS_ROW_ENTROPY;
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
        bn_row_settle(into + i);
    }
    bn_count_rows(into, 0, rows, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_row_merge(int64_t rows, bnfloss_row *into,
                                 const bnfloss_row *from,
                                 bnfloss_result *result)
{
    BN_DOOR(result, bn_do_merge(rows, into, from, result, &r));
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

static bnfloss_status bn_check_row_outputs(
    int64_t rows, const bnfloss_row *state, const bnfloss_outputs *outputs,
    const bnfloss_result *result, bnfloss_outputs *out, int64_t *where)
{
    bn_spans spans;

    BN_TRY(bn_read_outputs(out, outputs));
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
        if (bn_check_state(state + i, bn_wants_entropy(out)) != BNFLOSS_OK) {
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
    BN_DOOR(result, bn_do_row_outputs(rows, state, outputs, result, &r));
}

/* ---- Backward ----------------------------------------------------------- */

BN_NOINLINE static bnfloss_status bn_check_backward(
    bn_view *w, const bnfloss_layout *layout, const void *logits,
    const void *labels, int64_t from, int64_t to, const bnfloss_row *state,
    const float *dlogp, const void *grad, const bnfloss_result *result,
    int64_t *where)
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
    bn_span_states(&spans, state + from, to - from, BN_READ);
    bn_span_add(&spans, dlogp + from, to - from, 4, BN_READ);
    bn_span_result(&spans, result);
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

BN_NOINLINE static bnfloss_status bn_do_backward(
    const bnfloss_layout *layout, const void *logits, const void *labels,
    int64_t from, int64_t to, const bnfloss_row *state, const float *dlogp,
    void *grad, const bnfloss_result *result, bnfloss_result *r)
{
    bn_job job;
    bn_view w;

    BN_TRY(bn_check_backward(&w, layout, logits, labels, from, to, state,
                             dlogp, grad, result, &r->where));
    memset(&job, 0, sizeof job);
    job.sweep = bn_sweep_of(&w);
    job.logits = logits;
    job.labels = labels;
    job.grad = grad;
    job.state = (bnfloss_row *)state;       /* only read */
    job.dlogp = dlogp;
    bn_tasks(bn_task_backward, &job, from, to);
    bn_count_rows(state, from, to, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_backward(
    const bnfloss_layout *layout, const void *logits, const void *labels,
    int64_t row_begin, int64_t row_end, const bnfloss_row *state,
    const float *dlogp, void *grad, bnfloss_result *result)
{
    BN_DOOR(result, bn_do_backward(layout, logits, labels, row_begin, row_end,
                                   state, dlogp, grad, result, &r));
}

/* ---- Work --------------------------------------------------------------- */

/* A part of the caller's work buffer; all begin on 16 bytes. */
static uint64_t bn_work_part(int64_t n, size_t size)
{
    return ((uint64_t)n * size + 15) / 16 * 16;
}

/* w NULL: the loss stage alone. */
static uint64_t bn_work_bytes(const bn_view *w, const bnfloss_spec *spec,
                              int64_t rows, int64_t sequences)
{
    uint64_t bytes = 16 + bn_work_part(rows, sizeof(bn_term));

    if (rows == 0 && sequences == 0)
        return 0;
    if (sequences == 0)                 /* without seq_start there is one */
        sequences = 1;
    bytes += bn_work_part(sequences, sizeof(bn_seq));
    if (w)
        bytes += bn_work_part(bn_chunks(w), sizeof(bnfloss_row));
    if (w && bn_couples_rows(spec))
        bytes += bn_work_part(rows, sizeof(bnfloss_row));
    return bytes;
}

static bnfloss_status bn_check_work(const void *work, uint64_t given,
                                    uint64_t needed)
{
    if (given < needed)
        return BNFLOSS_E_WORK;
    return needed > 0 && !work ? BNFLOSS_E_NULL : BNFLOSS_OK;
}

static unsigned char *bn_work_begin(void *work)
{
    if (!work)
        return NULL;
    return (unsigned char *)work + (16 - (uintptr_t)work % 16) % 16;
}

static void *bn_work_take(unsigned char **work, int64_t n, size_t size)
{
    void *part = *work;

    if (n == 0)
        return NULL;
    *work += bn_work_part(n, size);
    return part;
}

BN_NOINLINE static bnfloss_status bn_do_workspace(
    const bnfloss_layout *layout, const bnfloss_spec *spec, int64_t rows,
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

bnfloss_status bnfloss_workspace(const bnfloss_layout *layout,
                                 const bnfloss_spec *spec, int64_t rows,
                                 int64_t sequences, uint64_t *bytes)
{
    const bn_env env = bn_env_enter();
    const bnfloss_status status = bn_do_workspace(layout, spec, rows,
                                                  sequences, bytes);

    bn_env_leave(env);
    return status;
}

/* ---- Loss --------------------------------------------------------------- */

typedef struct bn_loss_call {
    bnfloss_spec spec;
    bnfloss_inputs in;
    bnfloss_outputs out;
    bn_batch batch;
} bn_loss_call;

/* Whether row i counts, at the door of the loss stage. */
static int bn_loss_skips(const bn_loss_call *c, const bnfloss_row *state,
                         int64_t i)
{
    const int ignored = state && (state[i].flags & BNFLOSS_ROW_IGNORED);

    return bn_is_skipped(ignored ? -1 : 0, c->in.row_weight, i);
}

/* The rows that count, and what must hold for them. */
static bnfloss_status bn_check_loss_rows(const bn_loss_call *c,
                                         const bnfloss_row *state,
                                         const float *logp, int64_t *where)
{
    const bn_batch *b = &c->batch;

    for (int64_t i = 0; i < b->N; i++) {
        if (bn_loss_skips(c, state, i))
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

BN_NOINLINE static bnfloss_status bn_check_loss(
    bn_loss_call *c, const bnfloss_spec *spec, const bnfloss_inputs *inputs,
    int64_t rows, const bnfloss_row *state, const float *logp,
    const float *rest, const float *dlogp, const bnfloss_outputs *outputs,
    const void *work, uint64_t work_bytes, const bnfloss_result *result,
    int64_t *where)
{
    bn_batch *b = &c->batch;
    bn_spans spans;
    uint64_t bytes;

    memset(b, 0, sizeof *b);
    BN_TRY(bn_check_spec(spec, &c->spec));
    b->spec = &c->spec;
    BN_TRY(bn_read_outputs(&c->out, outputs));
    BN_TRY(bn_check_inputs(inputs, &c->in, rows, b, where));
    if (rows > 0 && !state && !logp)
        return BNFLOSS_E_NULL;
    if (state && (logp || rest))
        return BNFLOSS_E_OPTION;
    bytes = bn_work_bytes(NULL, b->spec, rows, b->S);
    BN_TRY(bn_check_work(work, work_bytes, bytes));
    memset(&spans, 0, sizeof spans);
    bn_span_inputs(&spans, b);
    bn_span_states(&spans, state, rows, BN_READ);
    bn_span_add(&spans, logp, rows, 4, BN_READ);
    bn_span_add(&spans, rest, rows, 4, BN_READ);
    bn_span_add(&spans, dlogp, rows, 4, BN_WRITE);
    bn_span_add(&spans, work, (int64_t)bytes, 1, BN_WRITE);
    bn_span_loss_outputs(&spans, &c->out, b);
    bn_span_result(&spans, result);
    BN_TRY(bn_spans_check(&spans));
    return bn_check_loss_rows(c, state, logp, where);
}

/* Which rows count: the flags that everything after this goes by. */
static void bn_mark_valid(bn_batch *b, int64_t i, int skipped)
{
    memset(b->term + i, 0, sizeof *b->term);
    b->term[i].flags = skipped ? 0 : BN_VALID;
}

/* A row of which only logp is known. */
static void bn_loss_logp(bn_batch *b, int64_t i, float logp, double rest)
{
    bn_token t;

    b->term[i].flags |= logp > 0 ? BN_CLAMPED : 0;
    t = bn_token_from_logp(logp > 0 ? 0 : (double)logp, rest);
    bn_batch_term(b, i, &t, NULL);
}

BN_NOINLINE static bnfloss_status bn_do_loss(
    const bnfloss_spec *spec, const bnfloss_inputs *inputs, int64_t rows,
    const bnfloss_row *state, const float *logp, const float *rest,
    float *dlogp, const bnfloss_outputs *outputs, void *work,
    uint64_t work_bytes, const bnfloss_result *result, bnfloss_result *r)
{
    bn_loss_call c;
    bn_batch *b = &c.batch;
    unsigned char *part;

    if (!result)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_loss(&c, spec, inputs, rows, state, logp, rest, dlogp,
                         outputs, work, work_bytes, result, &r->where));
    part = bn_work_begin(work);
    b->term = (bn_term *)bn_work_take(&part, b->N, sizeof(bn_term));
    b->seq = (bn_seq *)bn_work_take(&part, b->S, sizeof(bn_seq));
    for (int64_t i = 0; i < b->N; i++)
        bn_mark_valid(b, i, bn_loss_skips(&c, state, i));
    bn_batch_counts(b);
    for (int64_t i = 0; i < b->N; i++) {
        if (state)
            bn_batch_row(b, i, state + i);
        else if (b->term[i].flags & BN_VALID)
            bn_loss_logp(b, i, logp[i], rest ? (double)rest[i] : BN_NAN);
    }
    bn_batch_finish(b, &c.out, r);
    if (dlogp)
        bn_batch_dlogp(b, dlogp);
    if (c.out.dlogp)
        bn_batch_dlogp(b, c.out.dlogp);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_loss(
    const bnfloss_spec *spec, const bnfloss_inputs *inputs, int64_t rows,
    const bnfloss_row *state, const float *logp, const float *rest,
    float *dlogp, const bnfloss_outputs *outputs,
    void *work, uint64_t work_bytes, bnfloss_result *result)
{
    BN_DOOR(result, bn_do_loss(spec, inputs, rows, state, logp, rest, dlogp,
                               outputs, work, work_bytes, result, &r));
}

/* ---- All of it ---------------------------------------------------------- */

typedef struct bn_run_call {
    bn_loss_call loss;
    bn_view view;
} bn_run_call;

BN_NOINLINE static bnfloss_status bn_check_run(
    bn_run_call *c, const bnfloss_layout *layout, const bnfloss_spec *spec,
    const bnfloss_inputs *inputs, const void *logits, const void *labels,
    const void *grad, const bnfloss_outputs *outputs, const void *work,
    uint64_t work_bytes, int32_t threads, const bnfloss_result *result,
    int64_t *where)
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
    if (w->vocab < w->vocab_total)
        return BNFLOSS_E_OPTION;
    BN_TRY(bn_check_inputs(inputs, &c->loss.in, w->rows, b, where));
    if (w->rows > 0 && (!logits || !labels))
        return BNFLOSS_E_NULL;
    bytes = bn_work_bytes(w, b->spec, w->rows, b->S);
    BN_TRY(bn_check_work(work, work_bytes, bytes));
    memset(&spans, 0, sizeof spans);
    BN_TRY(bn_check_grad(&spans, w, logits, grad, 0, w->rows));
    bn_span_labels(&spans, w, labels, 0, w->rows);
    bn_span_inputs(&spans, b);
    bn_span_add(&spans, work, (int64_t)bytes, 1, BN_WRITE);
    bn_span_row_outputs(&spans, &c->loss.out, 0, w->rows);
    bn_span_loss_outputs(&spans, &c->loss.out, b);
    bn_span_result(&spans, result);
    BN_TRY(bn_spans_check(&spans));
    weight = c->loss.in.row_weight;
    BN_TRY(bn_check_labels(w, labels, weight, 0, w->rows, where));
    for (int64_t i = 0; i < w->rows; i++)
        if (!bn_is_skipped(bn_label(w, labels, i), weight, i))
            BN_TRY(bn_check_ref(b, i, where));
    return BNFLOSS_OK;
}

BN_NOINLINE static bnfloss_status bn_do_run(
    const bnfloss_layout *layout, const bnfloss_spec *spec,
    const bnfloss_inputs *inputs, const void *logits, const void *labels,
    void *grad, const bnfloss_outputs *outputs, void *work,
    uint64_t work_bytes, int32_t threads, const bnfloss_result *result,
    bnfloss_result *r)
{
    bn_run_call c;
    bn_job job;
    bn_batch *b = &c.loss.batch;
    unsigned char *part;

    if (!result)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_run(&c, layout, spec, inputs, logits, labels, grad,
                        outputs, work, work_bytes, threads, result,
                        &r->where));
    if (c.loss.spec.kind == BNFLOSS_BNF || bn_wants_entropy(&c.loss.out))
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
    bn_batch_counts(b);
    job.sweep = bn_sweep_of(&c.view);
    job.logits = logits;
    job.labels = labels;
    job.grad = grad;
    job.batch = b;
    job.out = &c.loss.out;
    bn_sweep_batch(&job, threads, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_run(
    const bnfloss_layout *layout, const bnfloss_spec *spec,
    const bnfloss_inputs *inputs, const void *logits, const void *labels,
    void *grad, const bnfloss_outputs *outputs,
    void *work, uint64_t work_bytes, int32_t threads, bnfloss_result *result)
{
    BN_DOOR(result, bn_do_run(layout, spec, inputs, logits, labels, grad,
                              outputs, work, work_bytes, threads, result,
                              &r));
}
