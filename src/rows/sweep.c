/* A batch through its rows: fused where a row's loss is its own, in two sweeps
 * where rows depend on each other. Where there are fewer rows than threads,
 * threads share each row, chunk by chunk. */

typedef struct bn_job {
    bn_sweep sweep;
    const void *logits, *labels;
    void *grad;                 /* NULL: the loss alone */
    bn_batch *batch;
    bnfloss_row *state;         /* (N), or NULL where it need not be kept */
    bnfloss_row *chunk;         /* (chunks of a row), where threads share it */
    float *scratch;             /* (scratch_rows, bn_scratch_row()) */
    int scratch_rows;
    const float *dlogp;         /* (N), or NULL: from the batch */
    const double *mixed_dlogp;  /* (N) of several losses, or NULL */
    int losses_follow;          /* the losses come after the sweep */
    int chosen_outputs;         /* to `out`, rejected rows are ignored ones */
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

/* Returns the label of row i, or -1 where the row is not to be read. */
static int64_t bn_job_label(const bn_job *job, int64_t i)
{
    if (job->batch && !(job->batch->term[i].flags & BN_VALID))
        return -1;
    return bn_label(job->sweep.layout, job->labels, i);
}

/* Does what follows a row's forward pass. */
static void bn_job_forwarded(const bn_job *job, int64_t i,
                             const bnfloss_row *row)
{
    bnfloss_row ignored;

    if (job->chosen_outputs
        && bn_side(job->batch, bn_seq_of(job->batch, i)) < 0) {
        bn_row_init(&ignored, job->sweep.layout, -1);
        bn_row_out(&ignored, i, job->out);
    } else {
        bn_row_out(row, i, job->out);
    }
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

/* Reads row i. saved, pending: see bn_row_forward(). */
static void bn_read_row(const bn_job *job, int64_t i, bnfloss_row *row,
                        bn_saved *saved, const bn_pending_row *pending)
{
    bn_row_input input;

    input.label = bn_job_label(job, i);
    input.logits = bn_logits_row(job, i);
    if (input.label < 0)
        bn_row_init(row, job->sweep.layout, input.label);
    else
        bn_row_forward(&job->sweep, &input, row, saved, pending);
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

/* Returns whether exponentials are saved where the gradients will be. */
static int bn_job_saves_in_grad(const bn_job *job)
{
    return bn_can_save(&job->sweep)
           && bn_can_save_in_grad(job->sweep.layout, job->logits, job->grad);
}

/* Both, with exponentials that are saved: see pending.c. */
static void bn_task_saving(void *arg, bn_task_range range)
{
    const bn_job *job = (const bn_job *)arg;
    const bn_sweep *sweep = &job->sweep;
    const int in_grad = bn_job_saves_in_grad(job);
    const int64_t scratch = range.thread * bn_scratch_row(sweep->layout);
    bnfloss_row row;
    bn_saved saved;
    bn_pending_row pending;

    pending.logits = NULL;
    saved.nontemporal = bn_is_nontemporal(sweep->layout, job->logits,
                                          job->grad);
    for (int64_t i = range.from; i < range.to; i++) {
        saved.grad = bn_grad_row(job, i);
        saved.exps = in_grad ? (float *)saved.grad : job->scratch + scratch;
        saved.columns = 0;
        if (pending.logits && bn_job_label(job, i) >= 0) {
            bn_read_row(job, i, &row, &saved, &pending);
            bn_pending_end(sweep, &pending);
        } else {
            bn_pending_finish(sweep, &pending);
            bn_read_row(job, i, &row, &saved, NULL);
        }
        bn_row_defer(sweep, &row, bn_job_dlogp(job, i), bn_logits_row(job, i),
                     &saved, &pending);
    }
    bn_pending_finish(sweep, &pending);
}

/* ---- A task is some chunks of a row that threads share ------------------ */

typedef struct bn_split_row {
    const bn_job *job;
    int64_t i;
    bn_row_input input;
    bn_row_plan plan;
} bn_split_row;

static void bn_task_chunk_forward(void *arg, bn_task_range range)
{
    const bn_split_row *split = (const bn_split_row *)arg;
    const bn_job *job = split->job;

    for (int64_t i = range.from; i < range.to; i++)
        bn_row_chunk(&job->sweep, &split->input, i * BNFLOSS_CHUNK,
                     job->chunk + i, NULL);
}

static void bn_task_chunk_backward(void *arg, bn_task_range range)
{
    const bn_split_row *split = (const bn_split_row *)arg;
    const bn_job *job = split->job;
    const int64_t V = job->sweep.layout->vocab, end = range.to * BNFLOSS_CHUNK;

    bn_row_apply(&job->sweep, &split->plan, split->input.logits,
                 bn_grad_row(job, split->i), range.from * BNFLOSS_CHUNK,
                 end < V ? end : V);
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

/* Reads row i. It is not inlined, so that other rows do not pay for its
 * stack. */
BN_NOINLINE static void bn_split_forward(bn_job *job, int64_t i, int threads,
                                         bnfloss_row *row)
{
    bn_split_row split;

    split.job = job;
    split.i = i;
    split.input.label = bn_job_label(job, i);
    split.input.logits = bn_logits_row(job, i);
    if (split.input.label < 0) {
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
    split.input.logits = bn_logits_row(job, i);
    bn_row_plan_make(&job->sweep, row, bn_job_dlogp(job, i), &split.plan);
    bn_row_padding(job->sweep.layout, bn_grad_row(job, i));
    bn_parallel(bn_task_chunk_backward, &split, bn_chunks(job->sweep.layout),
                threads);
}

/* ---- The whole batch ---------------------------------------------------- */

/* Returns whether threads share each row: there are fewer rows than threads,
 * and the chunks of all rows are done sooner one row after the other. */
static int bn_rows_are_split(const bnfloss_layout *lay, int threads)
{
    const int64_t chunks = bn_chunks(lay);

    return lay->rows < threads
           && lay->rows * ((chunks + threads - 1) / threads) < chunks;
}

/* Returns how many threads could be of use. */
static int64_t bn_max_tasks(const bnfloss_layout *lay)
{
    return bn_max_i64(bn_chunks(lay), lay->rows);
}

/* Returns whether each row is finished while it is in the cache. */
static int bn_is_fused(const bnfloss_spec *spec)
{
    return !spec->also && (!bn_couples(bn_loss_of(spec->kind))
                           || spec->flags & BNFLOSS_DEFER_SCALE);
}

/* Returns the task of the first sweep, where rows are not split. */
static bn_task *bn_first_task(const bn_job *job, int fused, int team)
{
    if (!job->grad || !fused)
        return bn_task_forward;
    if (bn_job_saves_in_grad(job) || job->scratch_rows >= team)
        return bn_task_saving;
    return bn_task_fused;
}

/* The first sweep: states and terms, and the gradients too if it is fused. */
static void bn_sweep_first(bn_job *job, int32_t threads, int fused)
{
    const bnfloss_layout *lay = job->sweep.layout;
    const int64_t N = lay->rows;
    const int split = bn_thread_count(threads, bn_max_tasks(lay));
    bnfloss_row row;

    if (!bn_rows_are_split(lay, split)) {
        const int team = bn_thread_count(threads, N);

        bn_parallel(bn_first_task(job, fused, team), job, N, team);
        return;
    }
    for (int64_t i = 0; i < N; i++) {
        bnfloss_row *state = job->state ? job->state + i : &row;

        bn_split_forward(job, i, split, state);
        if (job->grad && fused)
            bn_split_backward(job, i, split, state);
    }
}

/* The second sweep, where rows had to wait for each other: gradients. */
static void bn_sweep_second(bn_job *job, int32_t threads)
{
    const bnfloss_layout *lay = job->sweep.layout;
    const int64_t N = lay->rows;
    const int split = bn_thread_count(threads, bn_max_tasks(lay));

    if (!bn_rows_are_split(lay, split)) {
        bn_parallel(bn_task_backward, job, N, bn_thread_count(threads, N));
        return;
    }
    for (int64_t i = 0; i < N; i++)
        bn_split_backward(job, i, split, job->state + i);
}
