/* The entry points of the losses: work bytes, the loss stage, the whole run. */

/* ---- Work --------------------------------------------------------------- */

/* A part of the caller's work buffer; all begin on 16 bytes. */
static uint64_t bn_work_part(int64_t n, size_t size)
{
    return ((uint64_t)n * size + 15) / 16 * 16;
}

/* w NULL: the loss stage alone. */
static uint64_t bn_work_bytes(const bnfloss_layout *lay, const bnfloss_spec *spec,
                              int64_t rows, int64_t sequences)
{
    uint64_t bytes = 16 + bn_work_part(rows, sizeof(bn_term));

    if (rows == 0 && sequences == 0)
        return 0;
    if (sequences == 0)                 /* without seq_start there is one */
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

static bnfloss_status bn_check_work(const void *work, uint64_t given,
                                    uint64_t needed)
{
    if (given < needed)
        return BNFLOSS_E_WORK;
    return needed > 0 && !work ? BNFLOSS_E_NULL : BNFLOSS_OK;
}

/* The first place from p on that is a multiple of `to`; NULL for NULL. */
static void *bn_aligned(void *p, uintptr_t to)
{
    return p ? (unsigned char *)p + (to - (uintptr_t)p % to) % to : NULL;
}

static unsigned char *bn_work_begin(void *work)
{
    return (unsigned char *)bn_aligned(work, 16);
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
    bn_needs needs;
    bnfloss_layout lay;

    if (!bytes)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_specs(spec, &p, &needs));
    if (layout) {
        BN_TRY(bn_check_layout(layout, &lay));
        rows = lay.rows;
    }
    if (rows < 0 || rows > BN_MAX_ROWS || sequences < 0
        || sequences > BN_MAX_ROWS)
        return BNFLOSS_E_SHAPE;
    *bytes = bn_work_bytes(layout ? &lay : NULL, &p, rows, sequences);
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
    const bnfloss_spec *specs;  /* the caller's: the first and those after it */
    bnfloss_spec spec;          /* the one at hand */
    bnfloss_inputs in;
    bnfloss_outputs out;
    bn_needs needs;
    bn_batch batch;
    double *mixed_dlogp;        /* (N) dlogp of several losses, or NULL */
    /* where rows come from: their states, or */
    const bnfloss_row *state;
    const float *logp, *rest;
} bn_loss_call;

/* Whether row i counts, at the entry point of the loss stage. */
static int bn_loss_skips(const bn_loss_call *call, int64_t i)
{
    const int ignored = call->state
                        && (call->state[i].flags & BNFLOSS_ROW_IGNORED);

    return bn_is_skipped(ignored ? -1 : 0, call->in.row_weight, i);
}

/* One row that counts, and what must hold for it. */
static bnfloss_status bn_check_loss_row(const bn_loss_call *call, int64_t i,
                                        int64_t *where)
{
    const uint32_t wanted = call->needs.squares ? BNFLOSS_ROW_SQUARES : 0;

    if (call->state) {
        BN_TRY(bn_check_state(call->state + i, wanted));
        BN_TRY(bn_check_row_options(&call->needs,
                                    call->state[i].label_smoothing,
                                    call->state[i].z_loss));
    } else {
        if (call->logp[i] > BN_LOGP_SLACK)
            return BNFLOSS_E_LOGP;
        if (wanted
            && !(call->in.log_square[i] <= BN_LOGP_SLACK
                 && call->in.log_square[i] >= -BN_MAX_F32))
            return BNFLOSS_E_INPUT;
    }
    return bn_check_ref(&call->batch, &call->needs, i, where);
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

/* What all entry points to a loss have in common. */
static bnfloss_status bn_check_call(bn_loss_call *call,
                                    const bnfloss_spec *spec,
                                    const bnfloss_inputs *inputs, int64_t rows,
                                    const bnfloss_outputs *outputs,
                                    int64_t *where)
{
    memset(call, 0, sizeof *call);
    call->specs = spec;
    BN_TRY(bn_check_specs(spec, &call->spec, &call->needs));
    bn_batch_open(&call->batch, &call->spec);
    BN_TRY(bn_read_outputs(&call->out, outputs));
    return bn_check_inputs(inputs, &call->needs, &call->in, rows, &call->batch,
                           where);
}

BN_NOINLINE static bnfloss_status bn_check_loss(
    bn_loss_call *call, const bnfloss_spec *spec, const bnfloss_inputs *inputs,
    int64_t rows, const bnfloss_row *state, const float *logp,
    const float *rest, const float *dlogp, const bnfloss_outputs *outputs,
    const void *work, uint64_t work_bytes, const bnfloss_result *result,
    int64_t *where)
{
    bn_batch *batch = &call->batch;
    bn_spans spans;
    uint64_t bytes;

    BN_TRY(bn_check_call(call, spec, inputs, rows, outputs, where));
    call->state = state;
    call->logp = logp;
    call->rest = rest;
    if (rows > 0 && !state && !logp)
        return BNFLOSS_E_NULL;
    if ((state && (logp || rest || call->in.log_square)) || call->out.row_scale
        || call->spec.flags & BNFLOSS_DEFER_SCALE)
        return BNFLOSS_E_OPTION;
    if (rows > 0 && !state && call->needs.squares && !call->in.log_square)
        return BNFLOSS_E_NULL;
    bytes = bn_work_bytes(NULL, batch->spec, rows, batch->S);
    BN_TRY(bn_check_work(work, work_bytes, bytes));
    memset(&spans, 0, sizeof spans);
    bn_span_specs(&spans, call->specs, call->spec.also);
    bn_span_inputs(&spans, batch);
    bn_span_states(&spans, state, rows, BN_READ);
    bn_span_add(&spans, logp, rows, 4, BN_READ);
    bn_span_add(&spans, rest, rows, 4, BN_READ);
    bn_span_add(&spans, dlogp, rows, 4, BN_WRITE);
    bn_span_add(&spans, work, (int64_t)bytes, 1, BN_WRITE);
    bn_span_loss_outputs(&spans, &call->out, batch);
    bn_span_result(&spans, result);
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

/* A row of which only logp is known. */
static void bn_loss_logp(bn_batch *batch, int64_t i, float logp, double rest)
{
    bn_token token;

    batch->term[i].flags |= logp > 0 ? BN_CLAMPED : 0;
    token = bn_token_from_logp(logp > 0 ? 0 : (double)logp, rest);
    bn_batch_term(batch, i, &token, NULL);
}

/* The loss at hand, from the rows that the call was given. */
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
            bn_loss_logp(batch, i, call->logp[i],
                         call->rest ? (double)call->rest[i] : BN_NAN);
    }
    return bn_batch_finish(batch, out, r);
}

/* Where the result lacks a metric that a further loss of the call has. */
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

/* All losses of a call in turn. Several add their dlogp up in double. */
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

        (void)bn_check_spec(bn_spec_at(call->specs, k), &call->spec);
        others.distance_grad = call->out.distance_grad;
        loss = bn_loss_one(call, &others, &other);
        if (call->out.spec_loss)
            call->out.spec_loss[k] = bn_canonical(loss);
        bn_batch_dlogp_add(&call->batch, call->mixed_dlogp);
        bn_result_fill(r, &other);
    }
}

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

BN_NOINLINE static bnfloss_status bn_do_loss(
    const bnfloss_spec *spec, const bnfloss_inputs *inputs, int64_t rows,
    const bnfloss_row *state, const float *logp, const float *rest,
    float *dlogp, const bnfloss_outputs *outputs, void *work,
    uint64_t work_bytes, const bnfloss_result *result, bnfloss_result *r)
{
    bn_loss_call call;
    unsigned char *part;

    if (!result)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_loss(&call, spec, inputs, rows, state, logp, rest, dlogp,
                         outputs, work, work_bytes, result, &r->where));
    part = bn_work_begin(work);
    bn_batch_place(&call, &part);
    bn_loss_all(&call, r);
    bn_loss_dlogp(&call, dlogp);
    bn_loss_dlogp(&call, call.out.dlogp);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_loss(
    const bnfloss_spec *spec, const bnfloss_inputs *inputs, int64_t rows,
    const bnfloss_row *state, const float *logp, const float *rest,
    float *dlogp, const bnfloss_outputs *outputs,
    void *work, uint64_t work_bytes, bnfloss_result *result)
{
    BN_ENTRY(result, bn_do_loss(spec, inputs, rows, state, logp, rest, dlogp,
                                outputs, work, work_bytes, result, &r));
}

/* ---- All of it ---------------------------------------------------------- */

typedef struct bn_run_call {
    bn_loss_call loss;
    bnfloss_layout layout;
    int scratch_rows;
} bn_run_call;

/* Scratch rows that a call has a use and room for: one a thread, or none. Rows
 * that are cut among threads have none. */
static int bn_scratch_rows(const bn_run_call *call, const void *logits,
                           const void *grad, uint64_t room, int32_t threads)
{
    const bnfloss_layout *lay = &call->layout;
    const uint64_t rows = room / BNFLOSS_SCRATCH(lay->vocab);
    const bn_sweep sweep = bn_sweep_of(lay);
    int team;

    if (!grad || rows == 0 || lay->rows == 0 || !bn_is_fused(&call->loss.spec)
        || !bn_can_save(&sweep) || bn_can_save_in_grad(lay, logits, grad)
        || bn_rows_are_split(lay, bn_thread_count(threads, bn_max_tasks(lay))))
        return 0;
    team = bn_thread_count(threads, lay->rows);
    return rows >= (uint64_t)team ? team : 0;
}

/* What bnfloss_run() asks of a call besides. */
static bnfloss_status bn_check_run_options(const bn_run_call *call,
                                           const void *grad, int32_t threads)
{
    const int deferred = (call->loss.spec.flags & BNFLOSS_DEFER_SCALE) != 0;
    const bnfloss_layout *lay = &call->layout;

    if (threads < 0)
        return BNFLOSS_E_VALUE;
    if (lay->vocab < lay->vocab_total || call->loss.in.log_square
        || (deferred ? lay->flags & BNFLOSS_ACCUMULATE
                        : call->loss.out.row_scale != NULL))
        return BNFLOSS_E_OPTION;
    if (deferred && grad && lay->rows > 0 && !call->loss.out.row_scale)
        return BNFLOSS_E_NULL;
    return BNFLOSS_OK;
}

BN_NOINLINE static bnfloss_status bn_check_run(
    bn_run_call *call, const bnfloss_layout *layout, const bnfloss_spec *spec,
    const bnfloss_inputs *inputs, const void *logits, const void *labels,
    const void *grad, const bnfloss_outputs *outputs, const void *work,
    uint64_t work_bytes, int32_t threads, const bnfloss_result *result,
    int64_t *where)
{
    bn_batch *batch = &call->loss.batch;
    const bnfloss_layout *lay = &call->layout;
    const float *weight;
    bn_spans spans;
    uint64_t bytes;

    BN_TRY(bn_check_layout(layout, &call->layout));
    BN_TRY(
        bn_check_call(&call->loss, spec, inputs, lay->rows, outputs, where));
    BN_TRY(
        bn_check_row_options(&call->loss.needs, lay->label_smoothing, lay->z_loss));
    BN_TRY(bn_check_run_options(call, grad, threads));
    if (lay->rows > 0 && (!logits || !labels))
        return BNFLOSS_E_NULL;
    bytes = bn_work_bytes(lay, batch->spec, lay->rows, batch->S);
    BN_TRY(bn_check_work(work, work_bytes, bytes));
    if (call->loss.needs.rest || bn_wants_entropy(&call->loss.out))
        call->layout.flags |= BNFLOSS_ENTROPY;
    if (call->loss.needs.squares || call->loss.out.log_square)
        call->layout.flags |= BNFLOSS_SQUARES;
    call->scratch_rows = bn_scratch_rows(call, logits, grad,
                                         work_bytes - bytes, threads);
    bytes += (uint64_t)call->scratch_rows * BNFLOSS_SCRATCH(lay->vocab);
    memset(&spans, 0, sizeof spans);
    BN_TRY(bn_check_grad(&spans, lay, logits, grad, 0, lay->rows));
    bn_span_labels(&spans, lay, labels, 0, lay->rows);
    bn_span_specs(&spans, call->loss.specs, call->loss.spec.also);
    bn_span_inputs(&spans, batch);
    bn_span_add(&spans, work, (int64_t)bytes, 1, BN_WRITE);
    bn_span_row_outputs(&spans, &call->loss.out, 0, lay->rows);
    bn_span_loss_outputs(&spans, &call->loss.out, batch);
    bn_span_result(&spans, result);
    BN_TRY(bn_spans_check(&spans));
    weight = call->loss.in.row_weight;
    BN_TRY(bn_check_labels(lay, labels, weight, 0, lay->rows, where));
    for (int64_t i = 0; i < lay->rows; i++)
        if (!bn_is_skipped(bn_label(lay, labels, i), weight, i))
            BN_TRY(bn_check_ref(batch, &call->loss.needs, i, where));
    return BNFLOSS_OK;
}

/* A checked call: the sweeps, with the loss between or within them. */
static void bn_run(bn_run_call *call, bn_job *job, int32_t threads,
                   bnfloss_result *r)
{
    const int fused = bn_is_fused(&call->loss.spec);
    bn_batch *batch = &call->loss.batch;
    double loss;

    job->losses_follow = call->loss.spec.also > 0;
    if (!job->losses_follow)
        bn_batch_counts(batch);
    else    /* other losses may read the rows that the first one leaves out */
        job->chosen_outputs = (call->loss.spec.flags & BNFLOSS_CHOSEN_ONLY)
                              != 0;
    bn_sweep_first(job, threads, fused);
    if (job->losses_follow) {
        call->loss.state = job->state;
        bn_loss_all(&call->loss, r);
        job->mixed_dlogp = call->loss.mixed_dlogp;
    } else {
        loss = bn_batch_finish(batch, job->out, r);
        if (job->out->spec_loss)
            job->out->spec_loss[0] = bn_canonical(loss);
    }
    bn_loss_dlogp(&call->loss, job->out->dlogp);
    if (job->out->row_scale)
        bn_batch_row_scale(batch, job->out->row_scale);
    if (job->grad && !fused)
        bn_sweep_second(job, threads);
}

BN_NOINLINE static bnfloss_status bn_do_run(
    const bnfloss_layout *layout, const bnfloss_spec *spec,
    const bnfloss_inputs *inputs, const void *logits, const void *labels,
    void *grad, const bnfloss_outputs *outputs, void *work,
    uint64_t work_bytes, int32_t threads, const bnfloss_result *result,
    bnfloss_result *r)
{
    bn_run_call call;
    bn_job job;
    bn_batch *batch = &call.loss.batch;
    unsigned char *part;

    if (!result)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_run(&call, layout, spec, inputs, logits, labels, grad,
                        outputs, work, work_bytes, threads, result,
                        &r->where));
    memset(&job, 0, sizeof job);
    part = bn_work_begin(work);
    bn_batch_place(&call.loss, &part);
    job.chunk = (bnfloss_row *)
        bn_work_take(&part, batch->N > 0 ? bn_chunks(&call.layout) : 0,
                     sizeof(bnfloss_row));
    if (!bn_is_fused(&call.loss.spec))
        job.state = (bnfloss_row *)bn_work_take(&part, batch->N,
                                                sizeof(bnfloss_row));
    job.scratch_rows = call.scratch_rows;
    if (call.scratch_rows > 0)
        job.scratch = (float *)bn_aligned(part, 64);
    for (int64_t i = 0; i < batch->N; i++)
        bn_mark_valid(batch, i,
                      bn_is_skipped(bn_label(&call.layout, labels, i),
                                    call.loss.in.row_weight, i));
    job.sweep = bn_sweep_of(&call.layout);
    job.logits = logits;
    job.labels = labels;
    job.grad = grad;
    job.batch = batch;
    job.out = &call.loss.out;
    bn_run(&call, &job, threads, r);
    return BNFLOSS_OK;
}

bnfloss_status bnfloss_run(
    const bnfloss_layout *layout, const bnfloss_spec *spec,
    const bnfloss_inputs *inputs, const void *logits, const void *labels,
    void *grad, const bnfloss_outputs *outputs,
    void *work, uint64_t work_bytes, int32_t threads, bnfloss_result *result)
{
    BN_ENTRY(result,
             bn_do_run(layout, spec, inputs, logits, labels, grad, outputs,
                       work, work_bytes, threads, result, &r));
}
