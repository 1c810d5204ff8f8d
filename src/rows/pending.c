/* Saved exponentials, and the row that waits for the next one.
 *
 * A fused run needs every e^x twice: for the sum, and for the gradient
 * e^x * factor, whose factor is known only when the row's sum is. So the
 * forward pass saves e^x / 2^power, where the gradient will be or in a scratch
 * row, and the gradient is one multiplication of each. The power of two makes
 * that exact: whatever it was when an exponential was saved, the factor takes
 * it in, and the product is rounded once. The bits are those of a backward pass
 * that computes the exponential again.
 *
 * The multiplication needs no pass of its own. A row's is done while the next
 * row's forward pass waits for memory, so each row is pending for a while:
 *
 *     row i      forward: sums, exps saved   state -> loss -> dlogp -> factor
 *     row i + 1  forward: sums, exps saved   state -> loss -> dlogp -> factor
 *                beside it: row i's gradients = its exps * factor
 *     row i + 2  forward ..
 *                beside it: row i + 1's gradients
 *     the last   bn_pending_finish()
 *
 * A pending row's gradients are written
 *
 *  1. by the kernel of the next row's chunks, group by group in place, or a
 *     span ahead of what overwrites a scratch row (relay in forward.h);
 *  2. by bn_scaling_finish(), for what a kernel left of a chunk: all of it if
 *     the factor does not fit a float or the next row does not save;
 *  3. by bn_pending_end(), for the label, the leader and the padding. */

/* ---- Where exponentials can be saved ------------------------------------ */

/* At most this many chunks of a row are saved: half a million columns. Out of
 * place, where logits and gradient have to share a cache, rows up to this width
 * are. */
enum { BN_SAVED_CHUNKS = 16, BN_SAVED_OUT_OF_PLACE = 32768 };

/* The saved exponentials of a row's first columns. */
typedef struct bn_saved {
    float *exps;                /* grad itself, or a scratch row */
    void *grad;                 /* where the gradients go */
    int nontemporal;            /* store them past the caches */
    int64_t columns;            /* how many are saved */
    int32_t power[BN_SAVED_CHUNKS]; /* of each chunk */
} bn_saved;

/* Returns whether a sweep can save exponentials: a gradient is no more than one
 * of them times a factor. Those of a row that no cache holds would only be
 * written once more. */
static int bn_can_save(const bn_sweep *sweep)
{
    const bnfloss_layout *lay = sweep->layout;

    return lay->vocab <= (int64_t)BN_SAVED_CHUNKS * BNFLOSS_CHUNK
           && !sweep->general
           && !(lay->flags
                & (BNFLOSS_MEAN | BNFLOSS_SQUARES | BNFLOSS_ACCUMULATE));
}

/* Returns whether the gradients, being floats, leave room for them. */
static int bn_can_save_in_grad(const bnfloss_layout *lay, const void *logits,
                               const void *grad)
{
    return lay->grad_type == BNFLOSS_F32
           && (logits == grad
               || (lay->vocab <= BN_SAVED_OUT_OF_PLACE
                   && !bn_is_nontemporal(lay, logits, grad)));
}

/* Returns the floats of a scratch row: whole cache lines, and one more between
 * two threads. */
static int64_t bn_scratch_row(const bnfloss_layout *lay)
{
    return (lay->vocab + 15) / 16 * 16 + 16;
}

/* ---- From saved exponentials to gradients ------------------------------- */

/* Saved exponentials of rows up to this width are still in a core's L2 when the
 * next row's forward pass comes for them: prefetching them does not pay. */
enum { BN_L2_COLUMNS = 65536 };

/* Returns how the saved exponentials of chunk i become gradients. */
static bn_scaling bn_scaling_of(const bnfloss_layout *lay,
                                const bn_row_plan *plan, const bn_saved *saved,
                                int64_t i)
{
    const bn_factor *factor = &plan->factor;
    const int32_t between = factor->power - saved->power[i];
    const int32_t cutoff = bn_factor_cutoff(factor) + between;
    const int64_t c = i * BNFLOSS_CHUNK;
    bn_scaling scaling;

    scaling.exps = saved->exps + c;
    scaling.grad = bn_at_mut(lay->grad_type, saved->grad, c);
    scaling.grad_type = lay->grad_type;
    scaling.nontemporal = saved->nontemporal;
    scaling.prefetch = !saved->nontemporal
                       && (saved->columns > BN_L2_COLUMNS
                           || lay->grad_type != BNFLOSS_F32);
    scaling.n = bn_chunk_size(saved->columns, c);
    scaling.done = 0;
    scaling.factor = scaling.cutoff = 0;
    /* Beyond BN_MAX_EXACT_X all that was saved is next to nothing, and so is a
     * chunk without a leader. */
    if (factor->m != 0 && plan->co.origin == 0 && between >= 0
        && cutoff <= 126) {
        scaling.factor = factor->m * bn_pow2(factor->e - between);
        scaling.cutoff = bn_pow2(cutoff);
    }
    return scaling;
}

/* Returns whether the kernels can do it: whether the factor fits a float. */
static int bn_scaling_fits_float(const bn_scaling *scaling)
{
    const double size = scaling->factor < 0 ? -scaling->factor
                                            : scaling->factor;

    return size > 0x1p-99 && size < 0x1p99;
}

/* Writes the gradients of a chunk that are not done. Its logits were z. */
static void bn_scaling_finish(const bn_sweep *sweep, const bn_scaling *scaling,
                              const void *z)
{
    if (bn_scaling_fits_float(scaling))
        sweep->scale_saved(scaling, sweep->layout->logits_type, z);
    else if (scaling->factor != 0)
        bn_scale_in_double(scaling);
    else
        memset(bn_at_mut(scaling->grad_type, scaling->grad, scaling->done), 0,
               (size_t)(scaling->n - scaling->done)
                   * bn_type_size(scaling->grad_type));
}

/* Writes the gradients of all saved columns, but for label and leader. */
static void bn_saved_finish(const bn_sweep *sweep, const bn_row_plan *plan,
                            const void *logits, const bn_saved *saved)
{
    for (int64_t c = 0, i = 0; c < saved->columns; c += BNFLOSS_CHUNK, i++) {
        const bn_scaling scaling = bn_scaling_of(sweep->layout, plan, saved,
                                                 i);

        bn_scaling_finish(sweep, &scaling,
                          bn_at(sweep->layout->logits_type, logits, c));
    }
}

/* ---- The pending row ---------------------------------------------------- */

typedef struct bn_pending_row {
    const void *logits;         /* NULL: there is none */
    bn_row_plan plan;
    bn_saved saved;             /* all columns */
} bn_pending_row;

/* Writes the label, the leader and the padding of a pending row, whose other
 * columns are written. No row is pending then. */
static void bn_pending_end(const bn_sweep *sweep, bn_pending_row *pending)
{
    const bnfloss_layout *lay = sweep->layout;
    void *grad = pending->saved.grad;
    const bn_singles singles = bn_singles_read(sweep, &pending->plan,
                                               pending->logits, grad, 0,
                                               lay->vocab);

    bn_singles_write(sweep, &singles, &pending->plan, grad);
    bn_row_padding(lay, grad);
    pending->logits = NULL;
}

/* Writes a pending row's gradients where no forward pass follows. */
static void bn_pending_finish(const bn_sweep *sweep, bn_pending_row *pending)
{
    if (pending->logits) {
        bn_saved_finish(sweep, &pending->plan, pending->logits,
                        &pending->saved);
        bn_pending_end(sweep, pending);
    }
}

/* Sums the chunk of columns from c on into *row. It saves their exponentials if
 * those of all chunks before are saved, and writes the pending row's gradients
 * of the same columns. */
static void bn_row_chunk_saving(const bn_sweep *sweep,
                                const bn_row_input *input, int64_t c,
                                bnfloss_row *row, bn_saved *saved,
                                const bn_pending_row *pending)
{
    const int64_t i = c / BNFLOSS_CHUNK;
    const int saves = saved && saved->columns >= c;
    const void *z = pending ? bn_at(sweep->layout->logits_type,
                                    pending->logits, c) : NULL;
    bn_save save = { NULL, 0, 0, NULL };
    bn_scaling scaling;

    if (saves)
        save.exps = saved->exps + c;
    if (pending) {
        scaling = bn_scaling_of(sweep->layout, &pending->plan, &pending->saved,
                                i);
        if (saves && bn_scaling_fits_float(&scaling))
            save.relay = &scaling;
        else            /* before an exponential is saved in its place */
            bn_scaling_finish(sweep, &scaling, z);
    }
    bn_row_chunk(sweep, input, c, row, saves ? &save : NULL);
    if (saves) {
        saved->columns += save.n;
        saved->power[i] = save.power;
    }
    if (save.relay)
        bn_scaling_finish(sweep, save.relay, z);
}

/* Reads a row into *row. saved: NULL, or where to save its exponentials.
 * pending: NULL, or the row whose gradients to write on the way, but for what
 * bn_pending_end() does. */
static void bn_row_forward(const bn_sweep *sweep, const bn_row_input *input,
                           bnfloss_row *row, bn_saved *saved,
                           const bn_pending_row *pending)
{
    bn_tree tree;

    if (sweep->layout->vocab <= BNFLOSS_CHUNK) {
        bn_row_chunk_saving(sweep, input, 0, row, saved, pending);
        bn_row_canonicalize(row);
        return;
    }
    tree.depth = 0;
    for (int64_t c = 0; c < sweep->layout->vocab; c += BNFLOSS_CHUNK) {
        bn_row_chunk_saving(sweep, input, c, row, saved, pending);
        bn_tree_add(&tree, row, c / BNFLOSS_CHUNK);
    }
    bn_tree_finish(&tree, row);
}

/* Writes the gradients of a row from what is saved of it, and the columns
 * behind that from their logits. */
static void bn_saved_backward(const bn_sweep *sweep, const bn_row_plan *plan,
                              const void *logits, const bn_saved *saved)
{
    const int64_t V = sweep->layout->vocab;
    void *grad = saved->grad;
    bn_singles singles;

    if (plan->filled) {
        bn_row_fill(sweep, plan, grad, 0, V);
        return;
    }
    singles = bn_singles_read(sweep, plan, logits, grad, 0, V);
    bn_saved_finish(sweep, plan, logits, saved);
    if (saved->columns < V)
        bn_row_columns(sweep, plan, logits, grad, saved->columns, V);
    bn_singles_write(sweep, &singles, plan, grad);
}

/* Leaves a row's gradients to the next row's forward pass where all of it is
 * saved and rows may wait, and writes them now where not. */
static void bn_row_defer(const bn_sweep *sweep, const bnfloss_row *row,
                         float dlogp, const void *logits,
                         const bn_saved *saved, bn_pending_row *pending)
{
    const bnfloss_layout *lay = sweep->layout;

    bn_row_plan_make(sweep, row, dlogp, &pending->plan);
    if (sweep->defers && !pending->plan.filled
        && saved->columns == lay->vocab) {
        pending->logits = logits;
        pending->saved = *saved;
        return;
    }
    bn_saved_backward(sweep, &pending->plan, logits, saved);
    bn_row_padding(lay, saved->grad);
}
