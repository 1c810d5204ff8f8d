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
    const double *mixed;        /* (N) of several losses, or NULL */
    int later;                  /* the losses come after the sweep */
    const bnfloss_outputs *out;
} bn_job;

static const void *bn_logits_row(const bn_job *j, int64_t i)
{
    const bn_view *w = j->sweep.view;

    return bn_at(w->logits_type, j->logits, i * w->logits_stride);
}

static void *bn_grad_row(const bn_job *j, int64_t i)
{
    const bn_view *w = j->sweep.view;

    return bn_at_mut(w->grad_type, j->grad, i * w->grad_stride);
}

/* The label that row i is to be read with: -1 where it is not to be read. */
static int64_t bn_job_label(const bn_job *j, int64_t i)
{
    if (j->batch && !(j->batch->term[i].flags & BN_VALID))
        return -1;
    return bn_label(j->sweep.view, j->labels, i);
}

/* logp, rest, entropy, log_square and argmax of one row. */
static void bn_row_out(const bnfloss_row *x, int64_t i,
                       const bnfloss_outputs *out)
{
    bn_token t = { 0, 0, 0, 0 };
    double entropy = 0;
    int64_t id = -1;

    if (!out->logp && !out->rest && !out->entropy && !out->log_square
        && !out->argmax)
        return;
    if (!(x->flags & BNFLOSS_ROW_IGNORED)) {
        t = bn_token_of_row(x);
        entropy = bn_token_entropy(&t);
        id = x->leader > x->label ? x->leader_id : x->label_id;
        if (bn_row_is_nan(x))
            id = -1;
    }
    if (out->logp)
        out->logp[i] = bn_canonical_f32((float)t.logp);
    if (out->rest)
        out->rest[i] = bn_canonical_f32((float)t.rest);
    if (out->entropy)
        out->entropy[i] = bn_canonical_f32((float)entropy);
    if (out->log_square)
        out->log_square[i] = x->flags & BNFLOSS_ROW_IGNORED ? 0
            : bn_canonical_f32((float)bn_row_log_square(x));
    if (out->argmax)
        out->argmax[i] = (int32_t)id;
}

/* What follows a row's forward pass, whoever made it. */
static void bn_job_forwarded(const bn_job *j, int64_t i, const bnfloss_row *x)
{
    bn_row_out(x, i, j->out);
    if (j->batch && !j->later)
        bn_batch_row(j->batch, i, x);
}

static float bn_job_dlogp(const bn_job *j, int64_t i)
{
    const bn_batch *b = j->batch;

    if (j->dlogp)
        return j->dlogp[i];
    if (j->mixed)
        return bn_canonical_f32((float)j->mixed[i]);
    return bn_canonical_f32((float)bn_dlogp(b, b->seq + bn_seq_of(b, i), i));
}

static void bn_read_row(const bn_job *j, int64_t i, bnfloss_row *x,
                        bn_kept *kept, const bn_held *held)
{
    const int64_t label = bn_job_label(j, i);

    if (label < 0)
        bn_row_init(x, j->sweep.view, label);
    else
        bn_row_forward(&j->sweep, bn_logits_row(j, i), label, x, kept, held);
    bn_job_forwarded(j, i, x);
}

/* ---- A task is some rows ------------------------------------------------ */

static void bn_task_forward(void *job, bn_share s)
{
    const bn_job *j = (const bn_job *)job;
    bnfloss_row x;

    for (int64_t i = s.from; i < s.to; i++)
        bn_read_row(j, i, j->state ? j->state + i : &x, NULL, NULL);
}

static void bn_task_backward(void *job, bn_share s)
{
    const bn_job *j = (const bn_job *)job;

    for (int64_t i = s.from; i < s.to; i++)
        bn_row_backward(&j->sweep, j->state + i, bn_job_dlogp(j, i),
                        bn_logits_row(j, i), bn_grad_row(j, i));
}

/* Both, a row while it is in the cache. */
static void bn_task_fused(void *job, bn_share s)
{
    const bn_job *j = (const bn_job *)job;
    bnfloss_row x;

    for (int64_t i = s.from; i < s.to; i++) {
        bn_read_row(j, i, &x, NULL, NULL);
        bn_row_backward(&j->sweep, &x, bn_job_dlogp(j, i),
                        bn_logits_row(j, i), bn_grad_row(j, i));
    }
}

/* Whether exponentials are kept where the gradients will be. */
static int bn_job_keeps(const bn_job *j)
{
    return bn_keeps(&j->sweep)
           && bn_keeps_in_grad(j->sweep.view, j->logits, j->grad);
}

/* The same where exponentials are kept; a row may wait for the next one. */
static void bn_task_kept(void *job, bn_share share)
{
    const bn_job *j = (const bn_job *)job;
    const bn_sweep *s = &j->sweep;
    const int waits = bn_rows_wait(s->view);
    float *scratch = bn_job_keeps(j) ? NULL
        : j->scratch + share.thread * bn_scratch_row(s->view);
    bnfloss_row x;
    bn_kept kept;
    bn_held held;

    held.row = NULL;
    kept.stream = bn_streams(s->view, j->logits, j->grad);
    for (int64_t i = share.from; i < share.to; i++) {
        kept.grad = bn_grad_row(j, i);
        kept.e = scratch ? scratch : (float *)kept.grad;
        kept.columns = 0;
        if (held.row && bn_job_label(j, i) >= 0) {
            bn_read_row(j, i, &x, &kept, &held);
            bn_held_end(s, &held);
        } else {
            bn_held_finish(s, &held);
            bn_read_row(j, i, &x, &kept, NULL);
        }
        bn_row_hold(s, &x, bn_job_dlogp(j, i), bn_logits_row(j, i), &kept,
                    waits, &held);
    }
    bn_held_finish(s, &held);
}

/* ---- A task is some chunks of a wide row -------------------------------- */

/* The row at hand. */
typedef struct bn_wide {
    const bn_job *job;
    int64_t i, label;
    bnfloss_row state;
    bn_row_plan plan;
} bn_wide;

static int64_t bn_chunks(const bn_view *w)
{
    return (w->vocab + BNFLOSS_CHUNK - 1) / BNFLOSS_CHUNK;
}

static void bn_task_chunk_forward(void *wide, bn_share s)
{
    const bn_wide *r = (const bn_wide *)wide;
    const bn_job *j = r->job;

    for (int64_t i = s.from; i < s.to; i++)
        bn_row_chunk(&j->sweep, bn_logits_row(j, r->i), r->label,
                     i * BNFLOSS_CHUNK, j->chunk + i, NULL, NULL);
}

static void bn_task_chunk_backward(void *wide, bn_share s)
{
    const bn_wide *r = (const bn_wide *)wide;
    const bn_job *j = r->job;
    const int64_t V = j->sweep.view->vocab, end = s.to * BNFLOSS_CHUNK;

    bn_row_apply(&j->sweep, &r->plan, &r->state, bn_logits_row(j, r->i),
                 bn_grad_row(j, r->i), s.from * BNFLOSS_CHUNK,
                 end < V ? end : V, NULL);
}

static void bn_merge_chunks(const bn_job *j, bnfloss_row *x)
{
    const int64_t chunks = bn_chunks(j->sweep.view);
    bn_tree tree;

    tree.depth = 0;
    for (int64_t c = 0; c < chunks; c++)
        bn_tree_add(&tree, j->chunk + c, c);
    bn_tree_finish(&tree, x);
}

/* Kept out of line: narrow rows are not to pay for this one's stack. */
BN_NOINLINE static void bn_wide_forward(bn_job *j, int64_t i, int threads,
                                        bnfloss_row *x)
{
    bn_wide r;

    r.job = j;
    r.i = i;
    r.label = bn_job_label(j, i);
    if (r.label < 0) {
        bn_read_row(j, i, x, NULL, NULL);
        return;
    }
    bn_parallel(bn_task_chunk_forward, &r, bn_chunks(j->sweep.view), threads);
    bn_merge_chunks(j, x);
    bn_job_forwarded(j, i, x);
}

BN_NOINLINE static void bn_wide_backward(const bn_job *j, int64_t i,
                                         int threads, const bnfloss_row *x)
{
    bn_wide r;

    r.job = j;
    r.i = i;
    r.state = *x;
    bn_row_plan_make(&j->sweep, x, bn_job_dlogp(j, i), &r.plan);
    bn_row_padding(j->sweep.view, bn_grad_row(j, i));
    bn_parallel(bn_task_chunk_backward, &r, bn_chunks(j->sweep.view), threads);
}

/* ---- The whole batch ---------------------------------------------------- */

/* Whether threads that share each row are done before those that each take
 * whole ones: there are fewer rows than threads, and chunks enough. */
static int bn_is_wide(const bn_view *w, int threads)
{
    const int64_t chunks = bn_chunks(w);

    return w->rows < threads
           && w->rows * ((chunks + threads - 1) / threads) < chunks;
}

static int64_t bn_most_tasks(const bn_view *w)
{
    return bn_chunks(w) > w->rows ? bn_chunks(w) : w->rows;
}

/* Whether each row is finished while it is in the cache. */
static int bn_is_fused(const bnfloss_spec *spec)
{
    return !spec->also && (!bn_couples(bn_loss_of(spec->kind))
                           || spec->flags & BNFLOSS_DEFER_SCALE);
}

/* The first sweep: states and terms, and where the job is fused all of it. */
static void bn_sweep_forward(bn_job *j, int32_t threads, int fused)
{
    const bn_view *w = j->sweep.view;
    const int64_t N = w->rows;
    const int cut = bn_thread_count(threads, bn_most_tasks(w));
    bnfloss_row x;

    if (!bn_is_wide(w, cut)) {
        const int team = bn_thread_count(threads, N);

        bn_parallel(!j->grad || !fused ? bn_task_forward
                    : bn_job_keeps(j) || j->scratch_rows >= team
                    ? bn_task_kept : bn_task_fused, j, N, team);
        return;
    }
    for (int64_t i = 0; i < N; i++) {
        bnfloss_row *state = j->state ? j->state + i : &x;

        bn_wide_forward(j, i, cut, state);
        if (j->grad && fused)
            bn_wide_backward(j, i, cut, state);
    }
}

/* The second, where rows had to wait for each other. */
static void bn_sweep_backward(bn_job *j, int32_t threads)
{
    const bn_view *w = j->sweep.view;
    const int64_t N = w->rows;
    const int cut = bn_thread_count(threads, bn_most_tasks(w));

    if (!bn_is_wide(w, cut)) {
        bn_parallel(bn_task_backward, j, N, bn_thread_count(threads, N));
        return;
    }
    for (int64_t i = 0; i < N; i++)
        bn_wide_backward(j, i, cut, j->state + i);
}
