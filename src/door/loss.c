/* The door to the losses: the workspace, the loss stage, and all of it. */

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
    if (spec->also)
        bytes += bn_work_part(rows, sizeof(double));
    if (w)
        bytes += bn_work_part(bn_chunks(w), sizeof(bnfloss_row));
    if (w && !bn_is_fused(spec))
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
    bn_uses uses;
    bn_view w;

    if (!bytes)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_specs(spec, &p, &uses));
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
    const bnfloss_spec *specs;  /* the caller's: the first and those after it */
    bnfloss_spec spec;          /* the one at hand */
    bnfloss_inputs in;
    bnfloss_outputs out;
    bn_uses uses;
    bn_batch batch;
    double *mixed;              /* (N) dlogp of several losses, or NULL */
    /* where rows come from: their states, or */
    const bnfloss_row *state;
    const float *logp, *rest;
} bn_loss_call;

/* Whether row i counts, at the door of the loss stage. */
static int bn_loss_skips(const bn_loss_call *c, int64_t i)
{
    const int ignored = c->state && (c->state[i].flags & BNFLOSS_ROW_IGNORED);

    return bn_is_skipped(ignored ? -1 : 0, c->in.row_weight, i);
}

/* One row that counts, and what must hold for it. */
static bnfloss_status bn_check_loss_row(const bn_loss_call *c, int64_t i,
                                        int64_t *where)
{
    const uint32_t wanted = c->uses.squares ? BNFLOSS_ROW_SQUARES : 0;

    if (c->state) {
        BN_TRY(bn_check_state(c->state + i, wanted));
        BN_TRY(bn_check_row_options(&c->uses, c->state[i].label_smoothing,
                                    c->state[i].z_loss));
    } else {
        if (c->logp[i] > BN_LOGP_SLACK)
            return BNFLOSS_E_LOGP;
        if (wanted && !(c->in.log_square[i] <= BN_LOGP_SLACK
                        && c->in.log_square[i] >= -BN_MAX_F32))
            return BNFLOSS_E_INPUT;
    }
    return bn_check_ref(&c->batch, &c->uses, i, where);
}

static bnfloss_status bn_check_loss_rows(const bn_loss_call *c, int64_t *where)
{
    for (int64_t i = 0; i < c->batch.N; i++) {
        if (bn_loss_skips(c, i))
            continue;
        *where = i;
        BN_TRY(bn_check_loss_row(c, i, where));
    }
    *where = -1;
    return BNFLOSS_OK;
}

/* What all doors to a loss have in common. */
static bnfloss_status bn_check_call(bn_loss_call *c, const bnfloss_spec *spec,
                                    const bnfloss_inputs *inputs, int64_t rows,
                                    const bnfloss_outputs *outputs,
                                    int64_t *where)
{
    memset(c, 0, sizeof *c);
    c->specs = spec;
    BN_TRY(bn_check_specs(spec, &c->spec, &c->uses));
    bn_batch_open(&c->batch, &c->spec);
    BN_TRY(bn_read_outputs(&c->out, outputs));
    return bn_check_inputs(inputs, &c->uses, &c->in, rows, &c->batch, where);
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

    BN_TRY(bn_check_call(c, spec, inputs, rows, outputs, where));
    c->state = state;
    c->logp = logp;
    c->rest = rest;
    if (rows > 0 && !state && !logp)
        return BNFLOSS_E_NULL;
    if ((state && (logp || rest || c->in.log_square)) || c->out.row_scale
        || c->spec.flags & BNFLOSS_DEFER_SCALE)
        return BNFLOSS_E_OPTION;
    if (rows > 0 && !state && c->uses.squares && !c->in.log_square)
        return BNFLOSS_E_NULL;
    bytes = bn_work_bytes(NULL, b->spec, rows, b->S);
    BN_TRY(bn_check_work(work, work_bytes, bytes));
    memset(&spans, 0, sizeof spans);
    bn_span_specs(&spans, c->specs, c->spec.also);
    bn_span_inputs(&spans, b);
    bn_span_states(&spans, state, rows, BN_READ);
    bn_span_add(&spans, logp, rows, 4, BN_READ);
    bn_span_add(&spans, rest, rows, 4, BN_READ);
    bn_span_add(&spans, dlogp, rows, 4, BN_WRITE);
    bn_span_add(&spans, work, (int64_t)bytes, 1, BN_WRITE);
    bn_span_loss_outputs(&spans, &c->out, b);
    bn_span_result(&spans, result);
    BN_TRY(bn_spans_check(&spans));
    return bn_check_loss_rows(c, where);
}

/* The parts of the work buffer that every call with a loss has. */
static void bn_batch_place(bn_loss_call *c, unsigned char **part)
{
    bn_batch *b = &c->batch;

    b->term = (bn_term *)bn_work_take(part, b->N, sizeof(bn_term));
    b->seq = (bn_seq *)bn_work_take(part, b->S, sizeof(bn_seq));
    for (int64_t s = 0; s < b->S; s++)
        b->seq[s].distance = 0;
    if (c->spec.also)
        c->mixed = (double *)bn_work_take(part, b->N, sizeof(double));
}

/* A row of which only logp is known. */
static void bn_loss_logp(bn_batch *b, int64_t i, float logp, double rest)
{
    bn_token t;

    b->term[i].flags |= logp > 0 ? BN_CLAMPED : 0;
    t = bn_token_from_logp(logp > 0 ? 0 : (double)logp, rest);
    bn_batch_term(b, i, &t, NULL);
}

/* The loss at hand, from the rows that the call was given. */
static double bn_loss_one(bn_loss_call *c, const bnfloss_outputs *out,
                          bnfloss_result *r)
{
    bn_batch *b = &c->batch;

    bn_batch_open(b, &c->spec);
    for (int64_t i = 0; i < b->N; i++)
        bn_mark_valid(b, i, bn_loss_skips(c, i));
    bn_batch_counts(b);
    for (int64_t i = 0; i < b->N; i++) {
        if (c->state)
            bn_batch_row(b, i, c->state + i);
        else if (b->term[i].flags & BN_VALID)
            bn_loss_logp(b, i, c->logp[i],
                         c->rest ? (double)c->rest[i] : BN_NAN);
    }
    return bn_batch_finish(b, out, r);
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
    r->nan_rows = bn_most(r->nan_rows, other->nan_rows);
    r->nan_pairs += other->nan_pairs;
    r->clamped_logps = bn_most(r->clamped_logps, other->clamped_logps);
    r->zero_refs = bn_most(r->zero_refs, other->zero_refs);
}

/* All losses of a call in turn. Several add their dlogp up in double. */
static void bn_loss_all(bn_loss_call *c, bnfloss_result *r)
{
    const uint32_t also = c->spec.also;
    bnfloss_outputs others;
    double loss = bn_loss_one(c, &c->out, r);

    if (c->out.spec_loss)
        c->out.spec_loss[0] = bn_canonical(loss);
    if (!also)
        return;
    memset(&others, 0, sizeof others);
    for (int64_t i = 0; i < c->batch.N; i++)
        c->mixed[i] = 0;
    bn_batch_dlogp_add(&c->batch, c->mixed);
    for (uint32_t k = 1; k <= also; k++) {
        bnfloss_result other = bn_result_empty();

        (void)bn_check_spec(bn_spec_at(c->specs, k), &c->spec);
        others.distance_grad = c->out.distance_grad;
        loss = bn_loss_one(c, &others, &other);
        if (c->out.spec_loss)
            c->out.spec_loss[k] = bn_canonical(loss);
        bn_batch_dlogp_add(&c->batch, c->mixed);
        bn_result_fill(r, &other);
    }
}

static void bn_loss_dlogp(const bn_loss_call *c, float *dlogp)
{
    if (!dlogp)
        return;
    if (!c->mixed) {
        bn_batch_dlogp(&c->batch, dlogp);
        return;
    }
    for (int64_t i = 0; i < c->batch.N; i++)
        dlogp[i] = bn_canonical_f32((float)c->mixed[i]);
}

BN_NOINLINE static bnfloss_status bn_do_loss(
    const bnfloss_spec *spec, const bnfloss_inputs *inputs, int64_t rows,
    const bnfloss_row *state, const float *logp, const float *rest,
    float *dlogp, const bnfloss_outputs *outputs, void *work,
    uint64_t work_bytes, const bnfloss_result *result, bnfloss_result *r)
{
    bn_loss_call c;
    unsigned char *part;

    if (!result)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_loss(&c, spec, inputs, rows, state, logp, rest, dlogp,
                         outputs, work, work_bytes, result, &r->where));
    part = bn_work_begin(work);
    bn_batch_place(&c, &part);
    bn_loss_all(&c, r);
    bn_loss_dlogp(&c, dlogp);
    bn_loss_dlogp(&c, c.out.dlogp);
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
    int scratch_rows;
} bn_run_call;

/* Scratch rows that a call has a use and room for: one a thread, or none. Rows
 * that are cut among threads have none. */
static int bn_scratch_rows(const bn_run_call *c, const void *logits,
                           const void *grad, uint64_t room, int32_t threads)
{
    const bn_view *w = &c->view;
    const uint64_t rows = room / BNFLOSS_SCRATCH(w->vocab);
    const bn_sweep s = bn_sweep_of(w);
    int team;

    if (!grad || rows == 0 || w->rows == 0 || !bn_is_fused(&c->loss.spec)
        || !bn_keeps(&s) || bn_keeps_in_grad(w, logits, grad)
        || bn_is_wide(w, bn_thread_count(threads, bn_most_tasks(w))))
        return 0;
    team = bn_thread_count(threads, w->rows);
    return rows >= (uint64_t)team ? team : 0;
}

/* What bnfloss_run() asks of a call besides. */
static bnfloss_status bn_check_run_options(const bn_run_call *c,
                                           const void *grad, int32_t threads)
{
    const int deferred = (c->loss.spec.flags & BNFLOSS_DEFER_SCALE) != 0;
    const bn_view *w = &c->view;

    if (threads < 0)
        return BNFLOSS_E_VALUE;
    if (w->vocab < w->vocab_total || c->loss.in.log_square
        || (deferred ? w->accumulate : c->loss.out.row_scale != NULL))
        return BNFLOSS_E_OPTION;
    if (deferred && grad && w->rows > 0 && !c->loss.out.row_scale)
        return BNFLOSS_E_NULL;
    return BNFLOSS_OK;
}

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

    BN_TRY(bn_check_layout(layout, &c->view));
    BN_TRY(bn_check_call(&c->loss, spec, inputs, w->rows, outputs, where));
    BN_TRY(bn_check_row_options(&c->loss.uses, w->smoothing, w->z_loss));
    BN_TRY(bn_check_run_options(c, grad, threads));
    if (w->rows > 0 && (!logits || !labels))
        return BNFLOSS_E_NULL;
    bytes = bn_work_bytes(w, b->spec, w->rows, b->S);
    BN_TRY(bn_check_work(work, work_bytes, bytes));
    c->view.entropy |= c->loss.uses.rest || bn_wants_entropy(&c->loss.out);
    c->view.squares |= c->loss.uses.squares || c->loss.out.log_square;
    c->scratch_rows = bn_scratch_rows(c, logits, grad, work_bytes - bytes,
                                      threads);
    bytes += (uint64_t)c->scratch_rows * BNFLOSS_SCRATCH(w->vocab);
    memset(&spans, 0, sizeof spans);
    BN_TRY(bn_check_grad(&spans, w, logits, grad, 0, w->rows));
    bn_span_labels(&spans, w, labels, 0, w->rows);
    bn_span_specs(&spans, c->loss.specs, c->loss.spec.also);
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
            BN_TRY(bn_check_ref(b, &c->loss.uses, i, where));
    return BNFLOSS_OK;
}

/* A checked call: the sweeps, with the loss between or within them. */
static void bn_run(bn_run_call *c, bn_job *job, int32_t threads,
                   bnfloss_result *r)
{
    const int fused = bn_is_fused(&c->loss.spec);
    bn_batch *b = &c->loss.batch;
    double loss;

    job->later = c->loss.spec.also > 0;
    if (!job->later)            /* CHOSEN_ONLY is not for the other losses */
        bn_batch_counts(b);
    bn_sweep_forward(job, threads, fused);
    if (job->later) {
        c->loss.state = job->state;
        bn_loss_all(&c->loss, r);
        job->mixed = c->loss.mixed;
    } else {
        loss = bn_batch_finish(b, job->out, r);
        if (job->out->spec_loss)
            job->out->spec_loss[0] = bn_canonical(loss);
    }
    bn_loss_dlogp(&c->loss, job->out->dlogp);
    if (job->out->row_scale)
        bn_batch_row_scale(b, job->out->row_scale);
    if (job->grad && !fused)
        bn_sweep_backward(job, threads);
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
    memset(&job, 0, sizeof job);
    part = bn_work_begin(work);
    bn_batch_place(&c.loss, &part);
    job.chunk = (bnfloss_row *)bn_work_take(
        &part, b->N > 0 ? bn_chunks(&c.view) : 0, sizeof(bnfloss_row));
    if (!bn_is_fused(&c.loss.spec))
        job.state = (bnfloss_row *)bn_work_take(&part, b->N,
                                                sizeof(bnfloss_row));
    job.scratch_rows = c.scratch_rows;
    if (c.scratch_rows > 0)
        job.scratch = (float *)bn_aligned(part, 64);
    for (int64_t i = 0; i < b->N; i++)
        bn_mark_valid(b, i, bn_is_skipped(bn_label(&c.view, labels, i),
                                          c.loss.in.row_weight, i));
    job.sweep = bn_sweep_of(&c.view);
    job.logits = logits;
    job.labels = labels;
    job.grad = grad;
    job.batch = b;
    job.out = &c.loss.out;
    bn_run(&c, &job, threads, r);
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
