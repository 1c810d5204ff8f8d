/* The entry points of the losses: the work buffer, the loss stage, a run. */

/* ---- Work ---------------------------------------------------------------
 *
 * The caller's work buffer is divided like this. N are rows, S sequences:
 *
 *     up to 15 bytes, to begin at a multiple of 16
 *     N     bn_term        what the losses keep of a row
 *     S     bn_seq         what they keep of a sequence
 *     N     double         several losses in a call: the sum of their dlogp
 *     C     bnfloss_row    a run: the chunks of one row, if threads share it
 *     N     bnfloss_row    a run in two sweeps: the rows' states
 *     T     scratch rows   what is left, if it is enough: one a thread */

/* Returns the bytes of one part of the work buffer. Each part begins at a
 * multiple of 16. */
static uint64_t bn_work_part(int64_t n, size_t size)
{
    return ((uint64_t)n * size + 15) / 16 * 16;
}

/* Returns the bytes of work that a call needs. lay is NULL in the loss
 * stage. */
static uint64_t bn_work_bytes(const bnfloss_layout *lay,
                              const bnfloss_spec *spec, int64_t rows,
                              int64_t sequences)
{
    uint64_t bytes = 16 + bn_work_part(rows, sizeof(bn_term));

    if (rows == 0 && sequences == 0)
        return 0;
    if (sequences == 0)                 /* without seq_start it is one */
        sequences = 1;
    bytes += bn_work_part(sequences, sizeof(bn_seq));
    if (spec->also)
        bytes += bn_work_part(rows, sizeof(double));
    if (lay)
        bytes += bn_work_part(bn_chunks(lay), sizeof(bnfloss_row));
    if (lay && !bn_is_fused(spec))
        bytes += bn_work_part(rows, sizeof(bnfloss_row));
    return bytes;
}

static bnfloss_status bn_check_work(const bn_args *a, uint64_t needed)
{
    if (a->work_bytes < needed)
        return BNFLOSS_E_WORK;
    return needed > 0 && !a->work ? BNFLOSS_E_NULL : BNFLOSS_OK;
}

/* Returns p rounded up to a multiple of `to`; NULL for NULL. */
static void *bn_aligned(void *p, uintptr_t to)
{
    return p ? (unsigned char *)p + (to - (uintptr_t)p % to) % to : NULL;
}

static unsigned char *bn_work_begin(void *work)
{
    return (unsigned char *)bn_aligned(work, 16);
}

/* Takes the next part of the work buffer, for n elements. */
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
    bnfloss_spec first;
    bnfloss_layout lay;
    unsigned needs;

    if (!bytes)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_specs(spec, &first, &needs));
    if (layout) {
        BN_TRY(bn_check_layout(layout, &lay));
        rows = lay.rows;
    }
    if (rows < 0 || rows > BN_MAX_ROWS || sequences < 0
        || sequences > BN_MAX_ROWS)
        return BNFLOSS_E_SHAPE;
    *bytes = bn_work_bytes(layout ? &lay : NULL, &first, rows, sequences);
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

/* A call with losses. All structs of the caller have been copied. */
typedef struct bn_loss_call {
    const bn_args *args;
    bnfloss_spec spec;          /* of the loss that is being taken */
    bnfloss_inputs in;
    bnfloss_outputs out;
    unsigned needs;             /* of all losses */
    bn_batch batch;
    const bnfloss_row *state;   /* (N), or NULL: the rows are args->logp */
    double *mixed_dlogp;        /* (N) dlogp of several losses, or NULL */
} bn_loss_call;

/* Returns whether the loss stage leaves row i out. */
static int bn_loss_skips(const bn_loss_call *call, int64_t i)
{
    const int ignored = call->state
                        && (call->state[i].flags & BNFLOSS_ROW_IGNORED);

    return bn_is_skipped(ignored ? -1 : 0, call->in.row_weight, i);
}

/* Checks one row that counts. */
static bnfloss_status bn_check_loss_row(const bn_loss_call *call, int64_t i,
                                        int64_t *where)
{
    const int squares = (call->needs & BN_WPO_SQUARE) != 0;

    if (call->state) {
        const bnfloss_row *row = call->state + i;

        BN_TRY(bn_check_state(row, squares ? BNFLOSS_ROW_SQUARES : 0));
        BN_TRY(bn_check_row_options(call->needs, row->label_smoothing,
                                    row->z_loss));
    } else {
        if (call->args->logp[i] > BN_LOGP_SLACK)
            return BNFLOSS_E_LOGP;
        if (squares
            && !(call->in.log_square[i] <= BN_LOGP_SLACK
                 && call->in.log_square[i] >= -BN_MAX_F32))
            return BNFLOSS_E_INPUT;
    }
    return bn_check_ref(&call->batch, call->needs, i, where);
}

static bnfloss_status bn_check_loss_rows(const bn_loss_call *call,
                                         int64_t *where)
{
    for (int64_t i = 0; i < call->batch.N; i++) {
        if (bn_loss_skips(call, i))
            continue;
        *where = i;
        BN_TRY(bn_check_loss_row(call, i, where));
    }
    *where = -1;
    return BNFLOSS_OK;
}

/* Checks specs, inputs and outputs of a call of N rows. */
static bnfloss_status bn_check_call(bn_loss_call *call, const bn_args *a,
                                    int64_t N, int64_t *where)
{
    memset(call, 0, sizeof *call);
    call->args = a;
    call->batch.N = N;
    BN_TRY(bn_check_specs(a->spec, &call->spec, &call->needs));
    bn_batch_open(&call->batch, &call->spec);
    BN_TRY(bn_read_outputs(&call->out, a->outputs));
    return bn_check_inputs(a->inputs, call->needs, &call->in, &call->batch,
                           where);
}

/* Adds the buffers that every call with a loss has. */
static void bn_span_call(bn_spans *spans, const bn_loss_call *call,
                         uint64_t work_bytes)
{
    const bn_args *a = call->args;

    bn_span_specs(spans, a->spec, call->spec.also);
    bn_span_inputs(spans, &call->batch);
    bn_span_loss_outputs(spans, &call->out, &call->batch);
    bn_span_add(spans, a->work, (int64_t)work_bytes, 1, BN_WRITE);
    bn_span_result(spans, a->result);
}

BN_NOINLINE static bnfloss_status bn_check_loss(const bn_args *a,
                                                bn_loss_call *call,
                                                int64_t *where)
{
    bn_spans spans;
    uint64_t bytes;

    BN_TRY(bn_check_call(call, a, a->rows, where));
    call->state = a->state;
    if (a->rows > 0 && !a->state && !a->logp)
        return BNFLOSS_E_NULL;
    if ((a->state && (a->logp || a->rest || call->in.log_square))
        || call->out.row_scale || call->spec.flags & BNFLOSS_DEFER_SCALE)
        return BNFLOSS_E_OPTION;
    if (a->rows > 0 && !a->state && call->needs & BN_WPO_SQUARE
        && !call->in.log_square)
        return BNFLOSS_E_NULL;
    bytes = bn_work_bytes(NULL, &call->spec, a->rows, call->batch.S);
    BN_TRY(bn_check_work(a, bytes));
    memset(&spans, 0, sizeof spans);
    bn_span_call(&spans, call, bytes);
    bn_span_states(&spans, a->state, a->rows, BN_READ);
    bn_span_add(&spans, a->logp, a->rows, 4, BN_READ);
    bn_span_add(&spans, a->rest, a->rows, 4, BN_READ);
    bn_span_add(&spans, a->dlogp_out, a->rows, 4, BN_WRITE);
    BN_TRY(bn_spans_check(&spans));
    return bn_check_loss_rows(call, where);
}

/* The parts of the work buffer that every call with a loss has. */
static void bn_batch_place(bn_loss_call *call, unsigned char **part)
{
    bn_batch *batch = &call->batch;

    batch->term = (bn_term *)bn_work_take(part, batch->N, sizeof(bn_term));
    batch->seq = (bn_seq *)bn_work_take(part, batch->S, sizeof(bn_seq));
    for (int64_t s = 0; s < batch->S; s++)
        batch->seq[s].distance = 0;
    if (call->spec.also)
        call->mixed_dlogp = (double *)bn_work_take(part, batch->N,
                                                   sizeof(double));
}

/* Fills in row i's term from its logp alone. */
static void bn_loss_logp(bn_batch *batch, int64_t i, float logp, double rest)
{
    bn_token token;

    batch->term[i].flags |= logp > 0 ? BN_CLAMPED : 0;
    token = bn_token_from_logp(logp > 0 ? 0 : (double)logp, rest);
    bn_batch_term(batch, i, &token, NULL);
}

/* Takes the loss call->spec of the rows' states or log-probabilities. Returns
 * it, before its weight in the call. */
static double bn_loss_one(bn_loss_call *call, const bnfloss_outputs *out,
                          bnfloss_result *r)
{
    bn_batch *batch = &call->batch;

    bn_batch_open(batch, &call->spec);
    for (int64_t i = 0; i < batch->N; i++)
        bn_mark_valid(batch, i, bn_loss_skips(call, i));
    bn_batch_counts(batch);
    for (int64_t i = 0; i < batch->N; i++) {
        if (call->state)
            bn_batch_row(batch, i, call->state + i);
        else if (batch->term[i].flags & BN_VALID)
            bn_loss_logp(batch, i, call->args->logp[i],
                         bn_get_or(call->args->rest, i, BN_NAN));
    }
    return bn_batch_finish(batch, out, r);
}

/* Adds a further loss to the result of a call. A metric that is NaN so far is
 * taken from it. */
static void bn_result_fill(bnfloss_result *r, const bnfloss_result *other)
{
    double *const have[] = { &r->z_loss, &r->sft_loss, &r->bnf_coefficient,
                             &r->bnf_full_share, &r->kl, &r->shift,
                             &r->shift_count };
    const double more[] = { other->z_loss, other->sft_loss,
                            other->bnf_coefficient, other->bnf_full_share,
                            other->kl, other->shift, other->shift_count };

    for (size_t i = 0; i < sizeof more / sizeof *more; i++)
        if (bn_is_nan(*have[i]))
            *have[i] = more[i];
    r->loss = bn_canonical(r->loss + other->loss);
    r->nan_rows = bn_max_i64(r->nan_rows, other->nan_rows);
    r->nan_pairs += other->nan_pairs;
    r->clamped_logps = bn_max_i64(r->clamped_logps, other->clamped_logps);
    r->zero_refs = bn_max_i64(r->zero_refs, other->zero_refs);
}

/* Takes all losses of a call in turn. The first one fills in the outputs.
 * Several add their dlogp up in double. */
static void bn_loss_all(bn_loss_call *call, bnfloss_result *r)
{
    const uint32_t also = call->spec.also;
    bnfloss_outputs others;
    double loss = bn_loss_one(call, &call->out, r);

    if (call->out.spec_loss)
        call->out.spec_loss[0] = bn_canonical(loss);
    if (!also)
        return;
    memset(&others, 0, sizeof others);
    for (int64_t i = 0; i < call->batch.N; i++)
        call->mixed_dlogp[i] = 0;
    bn_batch_dlogp_add(&call->batch, call->mixed_dlogp);
    for (uint32_t k = 1; k <= also; k++) {
        bnfloss_result other = bn_result_empty();

        (void)bn_check_spec(bn_spec_at(call->args->spec, k), &call->spec);
        others.distance_grad = call->out.distance_grad;
        loss = bn_loss_one(call, &others, &other);
        if (call->out.spec_loss)
            call->out.spec_loss[k] = bn_canonical(loss);
        bn_batch_dlogp_add(&call->batch, call->mixed_dlogp);
        bn_result_fill(r, &other);
    }
}

/* Writes dlogp of the whole call, if it is wanted. */
static void bn_loss_dlogp(const bn_loss_call *call, float *dlogp)
{
    if (!dlogp)
        return;
    if (!call->mixed_dlogp) {
        bn_batch_dlogp(&call->batch, dlogp);
        return;
    }
    for (int64_t i = 0; i < call->batch.N; i++)
        dlogp[i] = bn_canonical_f32((float)call->mixed_dlogp[i]);
}

BN_NOINLINE static bnfloss_status bn_do_loss(const bn_args *a,
                                             bnfloss_result *r)
{
    bn_loss_call call;
    unsigned char *part;

    if (!a->result)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_loss(a, &call, &r->where));
    part = bn_work_begin(a->work);
    bn_batch_place(&call, &part);
    bn_loss_all(&call, r);
    bn_loss_dlogp(&call, a->dlogp_out);
    bn_loss_dlogp(&call, call.out.dlogp);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_loss(
    const bnfloss_spec *spec, const bnfloss_inputs *inputs, int64_t rows,
    const bnfloss_row *state, const float *logp, const float *rest,
    float *dlogp, const bnfloss_outputs *outputs,
    void *work, uint64_t work_bytes, bnfloss_result *result)
{
    bn_args a = bn_args_none();

    a.spec = spec;
    a.inputs = inputs;
    a.rows = rows;
    a.state = state;
    a.logp = logp;
    a.rest = rest;
    a.dlogp_out = dlogp;
    a.outputs = outputs;
    a.work = work;
    a.work_bytes = work_bytes;
    a.result = result;
    return bn_enter(bn_do_loss, &a);
}

/* ---- All of it ---------------------------------------------------------- */

typedef struct bn_run_call {
    bn_loss_call loss;
    bnfloss_layout layout;
    int scratch_rows;
} bn_run_call;

/* Returns how many scratch rows a call has use and room for: one a thread, or
 * none. Rows that are cut among threads have none. */
static int bn_scratch_rows(const bn_run_call *call, uint64_t room)
{
    const bnfloss_layout *lay = &call->layout;
    const bn_args *a = call->loss.args;
    const uint64_t rows = room / BNFLOSS_SCRATCH(lay->vocab);
    const bn_sweep sweep = bn_sweep_of(lay);
    int team;

    if (!a->grad || rows == 0 || lay->rows == 0
        || !bn_is_fused(&call->loss.spec) || !bn_can_save(&sweep)
        || bn_can_save_in_grad(lay, a->logits, a->grad)
        || bn_rows_are_split(lay,
                             bn_thread_count(a->threads, bn_max_tasks(lay))))
        return 0;
    team = bn_thread_count(a->threads, lay->rows);
    return rows >= (uint64_t)team ? team : 0;
}

/* Checks the options of a run against each other. */
static bnfloss_status bn_check_run_options(const bn_run_call *call)
{
    const int deferred = (call->loss.spec.flags & BNFLOSS_DEFER_SCALE) != 0;
    const bnfloss_layout *lay = &call->layout;
    const bn_args *a = call->loss.args;

    BN_TRY(bn_check_row_options(call->loss.needs, lay->label_smoothing,
                                lay->z_loss));
    if (a->threads < 0)
        return BNFLOSS_E_VALUE;
    if (lay->vocab < lay->vocab_total || call->loss.in.log_square
        || (deferred ? lay->flags & BNFLOSS_ACCUMULATE
                     : call->loss.out.row_scale != NULL))
        return BNFLOSS_E_OPTION;
    if (deferred && a->grad && lay->rows > 0 && !call->loss.out.row_scale)
        return BNFLOSS_E_NULL;
    if (lay->rows > 0 && (!a->logits || !a->labels))
        return BNFLOSS_E_NULL;
    return BNFLOSS_OK;
}

/* Checks the label and the reference of every row that counts. */
static bnfloss_status bn_check_run_rows(const bn_run_call *call,
                                        const bn_args *a, int64_t *where)
{
    const float *weight = call->loss.in.row_weight;

    BN_TRY(bn_check_labels(&call->layout, a, weight, where));
    for (int64_t i = a->from; i < a->to; i++)
        if (!bn_is_skipped(bn_label(&call->layout, a->labels, i), weight, i))
            BN_TRY(bn_check_ref(&call->loss.batch, call->loss.needs, i,
                                where));
    return BNFLOSS_OK;
}

/* Checks a run. Its row range in *a becomes that of the layout. */
BN_NOINLINE static bnfloss_status bn_check_run(bn_args *a, bn_run_call *call,
                                               int64_t *where)
{
    bn_loss_call *loss = &call->loss;
    const bnfloss_layout *lay = &call->layout;
    bn_spans spans;
    uint64_t bytes;

    BN_TRY(bn_check_layout(a->layout, &call->layout));
    a->to = lay->rows;
    BN_TRY(bn_check_call(loss, a, lay->rows, where));
    BN_TRY(bn_check_run_options(call));
    bytes = bn_work_bytes(lay, &loss->spec, lay->rows, loss->batch.S);
    BN_TRY(bn_check_work(a, bytes));
    if (loss->needs & BN_REST || bn_wants_entropy(&loss->out))
        call->layout.flags |= BNFLOSS_ENTROPY;
    if (loss->needs & BN_WPO_SQUARE || loss->out.log_square)
        call->layout.flags |= BNFLOSS_SQUARES;
    call->scratch_rows = bn_scratch_rows(call, a->work_bytes - bytes);
    bytes += (uint64_t)call->scratch_rows * BNFLOSS_SCRATCH(lay->vocab);
    memset(&spans, 0, sizeof spans);
    BN_TRY(bn_check_grad(&spans, lay, a));
    bn_span_labels(&spans, lay, a);
    bn_span_row_outputs(&spans, &loss->out, 0, lay->rows);
    bn_span_call(&spans, loss, bytes);
    BN_TRY(bn_spans_check(&spans));
    return bn_check_run_rows(call, a, where);
}

/* Prepares a checked call: divides the work buffer and marks the rows that
 * count. */
static bn_job bn_run_job(bn_run_call *call)
{
    const bn_args *a = call->loss.args;
    bn_batch *batch = &call->loss.batch;
    unsigned char *part = bn_work_begin(a->work);
    bn_job job;

    memset(&job, 0, sizeof job);
    bn_batch_place(&call->loss, &part);
    if (batch->N > 0)
        job.chunk = (bnfloss_row *)
            bn_work_take(&part, bn_chunks(&call->layout), sizeof(bnfloss_row));
    if (!bn_is_fused(&call->loss.spec))
        job.state = (bnfloss_row *)bn_work_take(&part, batch->N,
                                                sizeof(bnfloss_row));
    job.scratch_rows = call->scratch_rows;
    if (call->scratch_rows > 0)
        job.scratch = (float *)bn_aligned(part, 64);
    for (int64_t i = 0; i < batch->N; i++)
        bn_mark_valid(batch, i,
                      bn_is_skipped(bn_label(&call->layout, a->labels, i),
                                    call->loss.in.row_weight, i));
    job.sweep = bn_sweep_of(&call->layout);
    job.logits = a->logits;
    job.labels = a->labels;
    job.grad = a->grad;
    job.batch = batch;
    job.out = &call->loss.out;
    job.losses_follow = call->loss.spec.also > 0;
    /* other losses may read the rows that the first one leaves out */
    job.chosen_outputs = job.losses_follow
                         && call->loss.spec.flags & BNFLOSS_CHOSEN_ONLY;
    return job;
}

/* Runs the sweeps of a prepared call. A loss of tokens is taken within the
 * first sweep, any other loss after it, and then a second sweep gives the
 * gradients. */
static void bn_run(bn_run_call *call, bn_job *job, bnfloss_result *r)
{
    const int fused = bn_is_fused(&call->loss.spec);
    const int32_t threads = call->loss.args->threads;
    bn_batch *batch = &call->loss.batch;

    if (!job->losses_follow)
        bn_batch_counts(batch);
    bn_sweep_first(job, threads, fused);
    if (job->losses_follow) {
        call->loss.state = job->state;
        bn_loss_all(&call->loss, r);
        job->mixed_dlogp = call->loss.mixed_dlogp;
    } else {
        const double loss = bn_batch_finish(batch, job->out, r);

        if (job->out->spec_loss)
            job->out->spec_loss[0] = bn_canonical(loss);
    }
    bn_loss_dlogp(&call->loss, job->out->dlogp);
    if (job->out->row_scale)
        bn_batch_row_scale(batch, job->out->row_scale);
    if (job->grad && !fused)
        bn_sweep_second(job, threads);
}

BN_NOINLINE static bnfloss_status bn_do_run(const bn_args *args,
                                            bnfloss_result *r)
{
    bn_args a = *args;
    bn_run_call call;
    bn_job job;

    if (!a.result)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_run(&a, &call, &r->where));
    job = bn_run_job(&call);
    bn_run(&call, &job, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_run(
    const bnfloss_layout *layout, const bnfloss_spec *spec,
    const bnfloss_inputs *inputs, const void *logits, const void *labels,
    void *grad, const bnfloss_outputs *outputs,
    void *work, uint64_t work_bytes, int32_t threads, bnfloss_result *result)
{
    bn_args a = bn_args_none();

    a.layout = layout;
    a.spec = spec;
    a.inputs = inputs;
    a.logits = logits;
    a.labels = labels;
    a.grad = grad;
    a.outputs = outputs;
    a.work = work;
    a.work_bytes = work_bytes;
    a.threads = threads;
    a.result = result;
    return bn_enter(bn_do_run, &a);
}
