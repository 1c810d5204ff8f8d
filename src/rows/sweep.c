/* A batch through its rows: fused where a row's loss is its own, in two
 * sweeps where rows depend on each other, and wide rows cut into chunks where
 * there are fewer rows than threads. */

typedef struct bn_job {
    bn_sweep sweep;
    const void *logits, *labels;
    void *grad;                 /* NULL: the loss alone */
    bn_batch *batch;
    bnfloss_row *state;         /* (N), or NULL where it need not be kept */
    bnfloss_row *chunk;         /* (chunks of a row) for wide rows */
    float *scratch;             /* (scratch_rows, bn_scratch_row()) */
    int scratch_rows;
    const float *dlogp;         /* (N), or NULL: from the batch */
    const double *mixed_dlogp;  /* (N) of several losses, or NULL */
    int losses_follow;          /* the losses come after the sweep */
    const bnfloss_outputs *out;
} bn_job;

static const void *bn_logits_row(const bn_job *job, int64_t i)
{
    const bnfloss_layout *lay = job->sweep.layout;

    return bn_at(lay->logits_type, job->logits, i * lay->logits_stride);
}

static void *bn_grad_row(const bn_job *job, int64_t i)
{
    const bnfloss_layout *lay = job->sweep.layout;

    return bn_at_mut(lay->grad_type, job->grad, i * lay->grad_stride);
}

/* The label that row i is to be read with: -1 where it is not to be read. */
static int64_t bn_job_label(const bn_job *job, int64_t i)
{
    if (job->batch && !(job->batch->term[i].flags & BN_VALID))
        return -1;
    return bn_label(job->sweep.layout, job->labels, i);
}

/* logp, rest, entropy, log_square and argmax of one row. */
static void bn_row_out(const bnfloss_row *row, int64_t i,
                       const bnfloss_outputs *out)
{
    bn_token token = { 0, 0, 0, 0 };
    double entropy = 0;
    int64_t id = -1;

    if (!out->logp && !out->rest && !out->entropy && !out->log_square
        && !out->argmax)
        return;
    if (!(row->flags & BNFLOSS_ROW_IGNORED)) {
        token = bn_token_of_row(row);
        entropy = bn_token_entropy(&token);
        id = row->leader > row->label ? row->leader_id : row->label_id;
        if (bn_row_is_nan(row))
            id = -1;
    }
    if (out->logp)
        out->logp[i] = bn_canonical_f32((float)token.logp);
    if (out->rest)
        out->rest[i] = bn_canonical_f32((float)token.rest);
    if (out->entropy)
        out->entropy[i] = bn_canonical_f32((float)entropy);
    if (out->log_square)
        out->log_square[i] = row->flags & BNFLOSS_ROW_IGNORED
                                 ? 0
                                 : bn_canonical_f32(
                                     (float)bn_row_log_square(row));
    if (out->argmax)
        out->argmax[i] = (int32_t)id;
}

/* What follows a row's forward pass, whoever made it. */
static void bn_job_forwarded(const bn_job *job, int64_t i,
                             const bnfloss_row *row)
{
    bn_row_out(row, i, job->out);
    if (job->batch && !job->losses_follow)
        bn_batch_row(job->batch, i, row);
}

static float bn_job_dlogp(const bn_job *job, int64_t i)
{
    const bn_batch *batch = job->batch;

    if (job->dlogp)
        return job->dlogp[i];
    if (job->mixed_dlogp)
        return bn_canonical_f32((float)job->mixed_dlogp[i]);
    return bn_canonical_f32(
        (float)bn_dlogp(batch, batch->seq + bn_seq_of(batch, i), i));
}

static void bn_read_row(const bn_job *job, int64_t i, bnfloss_row *row,
                        bn_saved *saved, const bn_pending_row *pending)
{
    const int64_t label = bn_job_label(job, i);

    if (label < 0)
        bn_row_init(row, job->sweep.layout, label);
    else
        bn_row_forward(&job->sweep, bn_logits_row(job, i), label, row, saved,
                       pending);
    bn_job_forwarded(job, i, row);
}

/* ---- A task is some rows ------------------------------------------------ */

static void bn_task_forward(void *arg, bn_task_range range)
{
    const bn_job *job = (const bn_job *)arg;
    bnfloss_row row;

    for (int64_t i = range.from; i < range.to; i++)
        bn_read_row(job, i, job->state ? job->state + i : &row, NULL, NULL);
}

static void bn_task_backward(void *arg, bn_task_range range)
{
    const bn_job *job = (const bn_job *)arg;

    for (int64_t i = range.from; i < range.to; i++)
        bn_row_backward(&job->sweep, job->state + i, bn_job_dlogp(job, i),
                        bn_logits_row(job, i), bn_grad_row(job, i));
}

/* Both, a row while it is in the cache. */
static void bn_task_fused(void *arg, bn_task_range range)
{
    const bn_job *job = (const bn_job *)arg;
    bnfloss_row row;

    for (int64_t i = range.from; i < range.to; i++) {
        bn_read_row(job, i, &row, NULL, NULL);
        bn_row_backward(&job->sweep, &row, bn_job_dlogp(job, i),
                        bn_logits_row(job, i), bn_grad_row(job, i));
    }
}

/* Whether exponentials are kept where the gradients will be. */
static int bn_job_saves_in_grad(const bn_job *job)
{
    return bn_can_save(&job->sweep)
           && bn_can_save_in_grad(job->sweep.layout, job->logits, job->grad);
}

/* The same where exponentials are kept; a row may wait for the next one. */
static void bn_task_saving(void *arg, bn_task_range range)
{
    const bn_job *job = (const bn_job *)arg;
    const bn_sweep *sweep = &job->sweep;
    const int defers = bn_defers_rows(sweep->layout);
    float *scratch = bn_job_saves_in_grad(job)
                         ? NULL
                         : job->scratch
                               + range.thread * bn_scratch_row(sweep->layout);
    bnfloss_row row;
    bn_saved saved;
    bn_pending_row pending;

    pending.logits = NULL;
    saved.nontemporal = bn_is_nontemporal(sweep->layout, job->logits,
                                          job->grad);
    for (int64_t i = range.from; i < range.to; i++) {
        saved.grad = bn_grad_row(job, i);
        saved.exps = scratch ? scratch : (float *)saved.grad;
        saved.columns = 0;
        if (pending.logits && bn_job_label(job, i) >= 0) {
            bn_read_row(job, i, &row, &saved, &pending);
            bn_pending_end(sweep, &pending);
        } else {
            bn_pending_finish(sweep, &pending);
            bn_read_row(job, i, &row, &saved, NULL);
        }
        bn_row_defer(sweep, &row, bn_job_dlogp(job, i), bn_logits_row(job, i),
                     &saved, defers, &pending);
    }
    bn_pending_finish(sweep, &pending);
}

/* ---- A task is some chunks of a wide row -------------------------------- */

/* The row at hand. */
typedef struct bn_split_row {
    const bn_job *job;
    int64_t i, label;
    bnfloss_row state;
    bn_row_plan plan;
} bn_split_row;

static int64_t bn_chunks(const bnfloss_layout *lay)
{
    return (lay->vocab + BNFLOSS_CHUNK - 1) / BNFLOSS_CHUNK;
}

static void bn_task_chunk_forward(void *arg, bn_task_range range)
{
    const bn_split_row *split = (const bn_split_row *)arg;
    const bn_job *job = split->job;

    for (int64_t i = range.from; i < range.to; i++)
        bn_row_chunk(&job->sweep, bn_logits_row(job, split->i), split->label,
                     i * BNFLOSS_CHUNK, job->chunk + i, NULL, NULL);
}

static void bn_task_chunk_backward(void *arg, bn_task_range range)
{
    const bn_split_row *split = (const bn_split_row *)arg;
    const bn_job *job = split->job;
    const int64_t V = job->sweep.layout->vocab, end = range.to * BNFLOSS_CHUNK;

    bn_row_apply(&job->sweep, &split->plan, &split->state,
                 bn_logits_row(job, split->i), bn_grad_row(job, split->i),
                 range.from * BNFLOSS_CHUNK, end < V ? end : V, NULL);
}

static void bn_merge_chunks(const bn_job *job, bnfloss_row *row)
{
    const int64_t chunks = bn_chunks(job->sweep.layout);
    bn_tree tree;

    tree.depth = 0;
    for (int64_t c = 0; c < chunks; c++)
        bn_tree_add(&tree, job->chunk + c, c);
    bn_tree_finish(&tree, row);
}

/* Kept out of line: narrow rows are not to pay for this one's stack. */
BN_NOINLINE static void bn_split_forward(bn_job *job, int64_t i, int threads,
                                         bnfloss_row *row)
{
    bn_split_row split;

    split.job = job;
    split.i = i;
    split.label = bn_job_label(job, i);
    if (split.label < 0) {
        bn_read_row(job, i, row, NULL, NULL);
        return;
    }
    bn_parallel(bn_task_chunk_forward, &split, bn_chunks(job->sweep.layout),
                threads);
    bn_merge_chunks(job, row);
    bn_job_forwarded(job, i, row);
}

BN_NOINLINE static void bn_split_backward(const bn_job *job, int64_t i,
                                          int threads, const bnfloss_row *row)
{
    bn_split_row split;

    split.job = job;
    split.i = i;
    split.state = *row;
    bn_row_plan_make(&job->sweep, row, bn_job_dlogp(job, i), &split.plan);
    bn_row_padding(job->sweep.layout, bn_grad_row(job, i));
    bn_parallel(bn_task_chunk_backward, &split, bn_chunks(job->sweep.layout),
                threads);
}

/* ---- The whole batch ---------------------------------------------------- */

/* Whether threads that share each row are done before those that each take
 * whole ones: there are fewer rows than threads, and chunks enough. */
static int bn_rows_are_split(const bnfloss_layout *lay, int threads)
{
    const int64_t chunks = bn_chunks(lay);

    return lay->rows < threads
           && lay->rows * ((chunks + threads - 1) / threads) < chunks;
}

static int64_t bn_max_tasks(const bnfloss_layout *lay)
{
    return bn_chunks(lay) > lay->rows ? bn_chunks(lay) : lay->rows;
}

/* Whether each row is finished while it is in the cache. */
static int bn_is_fused(const bnfloss_spec *spec)
{
    return !spec->also && (!bn_couples(bn_loss_of(spec->kind))
                           || spec->flags & BNFLOSS_DEFER_SCALE);
}

/* The first sweep: states and terms, and where the job is fused all of it. */
static void bn_sweep_first(bn_job *job, int32_t threads, int fused)
{
    const bnfloss_layout *lay = job->sweep.layout;
    const int64_t N = lay->rows;
    const int cut = bn_thread_count(threads, bn_max_tasks(lay));
    bnfloss_row row;

    if (!bn_rows_are_split(lay, cut)) {
        const int team = bn_thread_count(threads, N);

        bn_parallel(!job->grad || !fused ? bn_task_forward
                    : bn_job_saves_in_grad(job) || job->scratch_rows >= team
                        ? bn_task_saving
                        : bn_task_fused,
                    job, N, team);
        return;
    }
    for (int64_t i = 0; i < N; i++) {
        bnfloss_row *state = job->state ? job->state + i : &row;

        bn_split_forward(job, i, cut, state);
        if (job->grad && fused)
            bn_split_backward(job, i, cut, state);
    }
}

/* The second, where rows had to wait for each other. */
static void bn_sweep_second(bn_job *job, int32_t threads)
{
    const bnfloss_layout *lay = job->sweep.layout;
    const int64_t N = lay->rows;
    const int cut = bn_thread_count(threads, bn_max_tasks(lay));

    if (!bn_rows_are_split(lay, cut)) {
        bn_parallel(bn_task_backward, job, N, bn_thread_count(threads, N));
        return;
    }
    for (int64_t i = 0; i < N; i++)
        bn_split_backward(job, i, cut, job->state + i);
}
