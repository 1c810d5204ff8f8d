/* One row: its chunks, their fixed tree, its label. */

static int64_t bn_label(const bnfloss_layout *lay, const void *labels, int64_t i)
{
    return lay->label_type == BNFLOSS_I64 ? ((const int64_t *)labels)[i]
                                          : ((const int32_t *)labels)[i];
}

/* What a logit is multiplied by on its way into the tanh of a softcap. */
static float bn_tanh_scale(float scale, float softcap)
{
    return (float)((double)(scale > 0 ? scale : 1) / softcap);
}

static bn_map bn_map_of(const bnfloss_layout *lay)
{
    bn_map map;

    map.scale = lay->logit_scale;
    map.softcap = lay->softcap;
    map.limit = 0x1.ffffffp127;         /* rounds to an infinite float */
    map.tanh_scale = lay->softcap > 0 ? bn_tanh_scale(lay->logit_scale, lay->softcap)
                                      : 0;
    bn_table_for_sum(map.unit, 0);
    return map;
}

/* What a sweep needs to know besides the row: made once a call. */
typedef struct bn_sweep {
    const bnfloss_layout *layout;
    bn_map map;
    bn_map doubled;             /* of 2 z', for the sum of squares */
    bn_forward_kernel *forward;
    bn_forward_kernel *forward_doubled;
    bn_backward_kernel *const *backward;    /* plain, general */
    bn_scale_kernel *scale_saved;
    int general;
} bn_sweep;

static bn_sweep bn_sweep_with(const bnfloss_layout *lay, const bn_kernels *kernels)
{
    bn_sweep sweep;

    sweep.layout = lay;
    sweep.map = bn_map_of(lay);
    sweep.doubled = sweep.map;
    sweep.doubled.scale *= 2;
    sweep.doubled.softcap *= 2;
    sweep.doubled.limit *= 2;
    sweep.general = !bn_map_is_plain(&sweep.map) || lay->label_smoothing > 0;
    if (sweep.general || lay->flags & BNFLOSS_MEAN)
        sweep.forward = kernels->forward[BN_GENERAL];
    else if (lay->flags & BNFLOSS_ENTROPY)
        sweep.forward = kernels->forward[BN_DOT];
    else
        sweep.forward = kernels->forward[BN_PLAIN];
    sweep.forward_doubled = kernels->forward[BN_GENERAL];
    sweep.backward = kernels->backward;
    sweep.scale_saved = kernels->scale_saved;
    return sweep;
}

static bn_sweep bn_sweep_of(const bnfloss_layout *lay)
{
    return bn_sweep_with(lay, bn_kernels_get());
}

static const void *bn_at(uint32_t type, const void *p, int64_t i)
{
    return (const char *)p + (size_t)i * bn_type_size(type);
}

static void *bn_at_mut(uint32_t type, void *p, int64_t i)
{
    return (char *)p + (size_t)i * bn_type_size(type);
}

/* ---- Forward ------------------------------------------------------------ */

static void bn_row_init(bnfloss_row *row, const bnfloss_layout *lay, int64_t label)
{
    memset(row, 0, sizeof *row);
    row->label_id = label;
    row->leader_id = -1;
    row->leader = -BN_INF;
    row->label_smoothing = lay->label_smoothing;
    row->z_loss = lay->z_loss;
    if (label < 0)
        row->flags = BNFLOSS_ROW_IGNORED;
}

/* The chunk's sum of squares, e^(2 (z' - leader)): its plain sum once more,
 * with 2 z' for z'. The leader is the same. */
static void bn_chunk_squares(const bn_sweep *sweep, const bn_chunk *chunk,
                             bnfloss_row *row)
{
    bnfloss_row twice;

    bn_row_init(&twice, sweep->layout, row->label_id);
    sweep->forward_doubled(chunk, &sweep->doubled, &twice);
    row->square = twice.flags & BNFLOSS_ROW_NAN ? BN_NAN : twice.sum;
    row->flags |= BNFLOSS_ROW_SQUARES;
}

/* Columns from c on that are one chunk of n. */
static int64_t bn_chunk_size(int64_t n, int64_t c)
{
    const int64_t left = n - c, whole = BNFLOSS_CHUNK;

    return left < whole ? left : whole;
}

/* The chunk of columns from c on, as a row of its own. keep: NULL, or where
 * to leave its exponentials; before: NULL, or what to finish on the way, which
 * may be in the same place. */
static void bn_row_chunk(const bn_sweep *sweep, const void *logits,
                         int64_t label, int64_t c, bnfloss_row *row,
                         bn_save *save, bn_scaling *scaling)
{
    const bnfloss_layout *lay = sweep->layout;
    const int64_t n = bn_chunk_size(lay->vocab, c);
    const int64_t at = label - lay->vocab_begin - c;
    const int here = at >= 0 && at < n;
    /* before anything is kept in its place */
    const float label_z = here ? bn_get(lay->logits_type, logits, c + at) : 0;
    bn_chunk chunk;

    chunk.logits = bn_at(lay->logits_type, logits, c);
    chunk.grad = NULL;
    chunk.save = save;
    chunk.scaling = scaling;
    chunk.type = chunk.grad_type = lay->logits_type;
    chunk.n = n;
    chunk.label = here ? at : -1;
    chunk.nontemporal = 0;
    bn_row_init(row, lay, label);
    sweep->forward(&chunk, &sweep->map, row);
    if (row->leader_id >= 0)
        row->leader_id += lay->vocab_begin + c;
    if (lay->flags & BNFLOSS_ENTROPY)
        row->flags |= BNFLOSS_ROW_ENTROPY;
    else
        row->dot = 0;
    if (lay->flags & BNFLOSS_MEAN)
        row->flags |= BNFLOSS_ROW_MEAN;
    else
        row->shift = row->finite = 0;
    if (lay->flags & BNFLOSS_SQUARES)
        bn_chunk_squares(sweep, &chunk, row);
    if (here) {
        row->flags |= BNFLOSS_ROW_LABEL;
        row->label = bn_map_value(&sweep->map, label_z);
        if (!(row->label < BN_INF))
            row->flags |= BNFLOSS_ROW_NAN;
    }
}

/* Adds to a the columns of b. */
static void bn_row_merge(bnfloss_row *a, const bnfloss_row *b)
{
    const bnfloss_row low = a->leader < b->leader ? *a : *b;

    if (a->leader < b->leader) {
        a->leader = b->leader;
        a->leader_id = b->leader_id;
        a->sum = b->sum;
        a->dot = b->dot;
        a->shift = b->shift;
        a->finite = b->finite;
        a->square = b->square;
    }
    if (low.leader > -BN_INF) {
        const double d = low.leader - a->leader, f = bn_exp(d);

        a->sum += f * (1 + low.sum);
        if (f > 0 && a->flags & BNFLOSS_ROW_ENTROPY)
            a->dot += f * (low.dot + d * (1 + low.sum));
        if (a->flags & BNFLOSS_ROW_SQUARES)
            a->square += f * f * (1 + low.square);
        if (a->flags & BNFLOSS_ROW_MEAN) {
            a->shift += low.shift + d * (1 + low.finite);
            a->finite += 1 + low.finite;
        }
    }
    if (b->flags & BNFLOSS_ROW_LABEL)
        a->label = b->label;
    a->flags |= b->flags;
}

/* A NaN row has no other content, so that it has the same bits everywhere. */
static void bn_row_canonicalize(bnfloss_row *row)
{
    if (row->flags & BNFLOSS_ROW_NAN) {
        row->leader = row->sum = row->dot = row->label = BN_NAN;
        row->shift = row->finite = row->square = BN_NAN;
        row->leader_id = -1;
    }
}

/* Merges chunks, added in order, in the tree of a binary counter: node k of
 * level j is the merge of nodes 2k and 2k + 1 of level j - 1, whoever computes
 * it. Trees of 16 chunks, half a million logits, are merged one by one. */
enum { BN_TREE = 16 };

typedef struct bn_tree {
    bnfloss_row node[6];        /* all trees before, and one node a level */
    int depth;
} bn_tree;

static void bn_tree_join(bn_tree *tree)
{
    tree->depth--;
    bn_row_merge(tree->node + tree->depth - 1, tree->node + tree->depth);
}

static void bn_tree_add(bn_tree *tree, const bnfloss_row *chunk, int64_t i)
{
    tree->node[tree->depth++] = *chunk;
    for (int64_t j = i % BN_TREE; j & 1; j >>= 1)
        bn_tree_join(tree);
    if (i % BN_TREE == BN_TREE - 1 && tree->depth > 1)
        bn_tree_join(tree);
}

static void bn_tree_finish(bn_tree *tree, bnfloss_row *row)
{
    while (tree->depth > 1)
        bn_tree_join(tree);
    *row = tree->node[0];
    bn_row_canonicalize(row);
}

/* Gradients from this size on are stored past the caches. */
enum { BN_NONTEMPORAL_BYTES = 1 << 25 };

/* Whether gradients are to be stored past the caches, which saves reading
 * their lines first: out of place, and more of them than a cache will keep
 * for who comes next. */
static int bn_is_nontemporal(const bnfloss_layout *lay, const void *logits,
                             const void *grad)
{
    const int64_t many = BN_NONTEMPORAL_BYTES / 4;

    return grad != logits && lay->rows * lay->vocab > many
           && !(lay->flags & BNFLOSS_ACCUMULATE) && lay->grad_type == BNFLOSS_F32;
}

/* Exponentials of a row's first columns, kept where its gradient will be, or
 * in a scratch row: e is that. Of so many chunks at most, half a million
 * columns; beside the row, out of place, of so many columns. */
enum { BN_SAVED_CHUNKS = 16, BN_SAVED_OUT_OF_PLACE = 32768 };

typedef struct bn_saved {
    float *exps;
    void *grad;
    int nontemporal;            /* the gradients, past the caches */
    int64_t columns;
    int32_t power[BN_SAVED_CHUNKS]; /* of each chunk */
} bn_saved;

/* Whether a sweep can keep the exponentials of its rows: where a gradient is
 * no more than one of them times a factor. Those of a row that no cache holds
 * would only be written once more. */
static int bn_can_save(const bn_sweep *sweep)
{
    const bnfloss_layout *lay = sweep->layout;

    return lay->vocab <= BN_SAVED_CHUNKS * BNFLOSS_CHUNK && !sweep->general
           && !(lay->flags
                & (BNFLOSS_MEAN | BNFLOSS_SQUARES | BNFLOSS_ACCUMULATE));
}

/* Whether there is room for them where the gradients will be, which are
 * floats. Out of place row and gradient have to share a cache. */
static int bn_can_save_in_grad(const bnfloss_layout *lay, const void *logits,
                               const void *grad)
{
    return lay->grad_type == BNFLOSS_F32
           && (logits == grad
               || (lay->vocab <= BN_SAVED_OUT_OF_PLACE
                   && !bn_is_nontemporal(lay, logits, grad)));
}

/* Floats of a scratch row: whole cache lines, and one between two threads. */
static int64_t bn_scratch_row(const bnfloss_layout *lay)
{
    return (lay->vocab + 15) / 16 * 16 + 16;
}

/* ---- Backward ----------------------------------------------------------- */

static void bn_fill(const bnfloss_layout *lay, void *grad, int64_t n, float x)
{
    if (x == 0) {
        memset(grad, 0, (size_t)n * bn_type_size(lay->grad_type));
        return;
    }
    for (int64_t i = 0; i < n; i++)
        bn_put(lay->grad_type, grad, i, x);
}

/* What the label leaves to the others, 1 - p, and p of the leader, without
 * the rounding of lse. */
typedef struct bn_masses { double others, leader; } bn_masses;

static bn_masses bn_masses_of(const bnfloss_row *row)
{
    const double d = row->label - row->leader, e = bn_exp(d <= 0 ? d : -d);
    bn_masses masses = { 0, 1 };

    if (row->leader == -BN_INF)
        return masses;
    if (d <= 0) {
        masses.others = (1 + row->sum) / (1 + (row->sum + e));
        masses.leader = 1 / (1 + row->sum + e);
    } else {
        const double o = e * (1 + row->sum);        /* (1-p) / p */

        masses.others = o / (1 + o);
        masses.leader = e / (1 + o);
    }
    return masses;
}

/* The gradient of the label's z':
 * dlogp * [(1-p) - ls (1 - 1/V) - p 2 zeta lse], V the finite ones. */
static double bn_label_gradient(const bnfloss_row *row, double dlogp,
                                double others, double lse)
{
    double g = others;

    if (row->label_smoothing > 0)
        g -= (double)row->label_smoothing
             * (bn_is_finite(row->label) ? 1 - 1 / bn_row_finite(row) : 1);
    if (row->z_loss > 0)
        g -= bn_exp(bn_token_of_row(row).logp) * 2 * (double)row->z_loss * lse;
    return dlogp * g;
}

/* What a row's backward pass is, before any column is touched. */
typedef struct bn_row_plan {
    bn_coefficients co;
    bn_factor factor;           /* of a plain one */
    float fill;                 /* where the whole row is one number: */
    int filled;                 /*   0 or NaN */
    double label, leader;       /* gradients of these two without dz'/dz */
} bn_row_plan;

static void bn_row_plan_make(const bn_sweep *sweep, const bnfloss_row *row,
                             float dlogp, bn_row_plan *plan)
{
    const double d = (double)dlogp;
    double lse = 0, base, share, pull = 1, uniform = 0;
    bn_masses masses;

    plan->filled = 1;
    plan->fill = 0;
    if (row->flags & BNFLOSS_ROW_IGNORED || d == 0)
        return;
    plan->fill = BN_NAN_F32;
    if (bn_row_is_nan(row) || !bn_is_finite(d))
        return;
    plan->filled = 0;
    base = row->leader == -BN_INF ? row->label : row->leader;
    if (row->z_loss > 0) {
        lse = bn_lse(row->label, row->leader, row->sum);
        pull = 1 + 2 * (double)row->z_loss * lse;
    }
    if (row->label_smoothing > 0)
        uniform = d * (double)row->label_smoothing / bn_row_finite(row);
    masses = bn_masses_of(row);
    share = -d * pull * masses.leader;
    if (sweep->general) {
        bn_coefficients_general(&plan->co, &sweep->map, base, share, uniform);
    } else {
        plan->factor = bn_factor_for(&sweep->map, base, share);
        bn_coefficients_plain(&plan->co, &plan->factor,
                              bn_origin(&sweep->map, base, (float)base));
    }
    plan->co.accumulate = (sweep->layout->flags & BNFLOSS_ACCUMULATE) != 0;
    plan->label = bn_label_gradient(row, d, masses.others, lse);
    plan->leader = share + uniform;
}

/* A column whose gradient is known in double: what has to be read before the
 * sweep, which may be in place, and written after it. */
typedef struct bn_single {
    int64_t at;                 /* -1: not among these columns */
    double slope;
    float old;
} bn_single;

static bn_single bn_single_read(const bn_sweep *sweep, const void *logits,
                                const void *grad, int64_t at, int64_t from,
                                int64_t to)
{
    const bnfloss_layout *lay = sweep->layout;
    bn_single single = { -1, 1, 0 };

    if (at < from || at >= to)
        return single;
    single.at = at;
    single.slope = bn_map_slope(&sweep->map,
                                bn_get(lay->logits_type, logits, at));
    if (lay->flags & BNFLOSS_ACCUMULATE)
        single.old = bn_get(lay->grad_type, grad, at);
    return single;
}

static void bn_single_write(const bn_sweep *sweep, const bn_single *single,
                            double value, void *grad)
{
    const bnfloss_layout *lay = sweep->layout;
    float g = (float)(value * single->slope);

    if (single->at < 0)
        return;
    if (g < 0x1p-126f && g > -0x1p-126f)
        g = 0;
    bn_put(lay->grad_type, grad, single->at,
           lay->flags & BNFLOSS_ACCUMULATE ? single->old + g : g);
}

/* The label and the leader. */
typedef struct bn_singles { bn_single label, leader; } bn_singles;

static bn_singles bn_singles_read(const bn_sweep *sweep,
                                  const bnfloss_row *row, const void *logits,
                                  const void *grad, int64_t from, int64_t to)
{
    const int64_t begin = sweep->layout->vocab_begin;
    bn_singles singles;

    singles.label = bn_single_read(sweep, logits, grad, row->label_id - begin,
                                   from, to);
    singles.leader = bn_single_read(sweep, logits, grad,
                                    row->leader_id - begin, from, to);
    return singles;
}

static void bn_singles_write(const bn_sweep *sweep, const bn_singles *singles,
                             const bn_row_plan *plan, void *grad)
{
    bn_single_write(sweep, &singles->leader, plan->leader, grad);
    bn_single_write(sweep, &singles->label, plan->label, grad);
}

/* Floats in the place of their logits are near up to rows of this width: not
 * worth asking for when the next row's forward pass comes to finish them. */
enum { BN_L2_COLUMNS = 65536 };

/* How the kept exponentials of chunk i become gradients. */
static bn_scaling bn_scaling_of(const bnfloss_layout *lay, const bn_row_plan *plan,
                                const bn_saved *saved, int64_t i)
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
    /* beyond BN_MAX_EXACT_X all that was kept is next to nothing, and so is a
     * chunk without a leader */
    if (factor->m != 0 && plan->co.origin == 0 && between >= 0
        && cutoff <= 126) {
        scaling.factor = factor->m * bn_pow2(factor->e - between);
        scaling.cutoff = bn_pow2(cutoff);
    }
    return scaling;
}

/* Whether the kernels can, in float. */
static int bn_scaling_fits_float(const bn_scaling *scaling)
{
    const double size = scaling->factor < 0 ? -scaling->factor
                                            : scaling->factor;

    return size > 0x1p-99 && size < 0x1p99;
}

/* What is not done yet of a chunk, whose logits lie at `z`. */
static void bn_scaling_finish(const bn_sweep *sweep, const bn_scaling *scaling,
                              const void *z)
{
    if (bn_scaling_fits_float(scaling))
        sweep->scale_saved(scaling, sweep->layout->logits_type, z);
    else if (scaling->factor != 0)
        bn_scale_slowly(scaling->exps, scaling->grad_type, scaling->grad,
                        scaling->done, scaling->n, scaling->factor,
                        scaling->cutoff);
    else
        memset(bn_at_mut(scaling->grad_type, scaling->grad, scaling->done), 0,
               (size_t)(scaling->n - scaling->done)
                   * bn_type_size(scaling->grad_type));
}

/* Gradients from the exponentials that were kept of a row. */
static void bn_row_scale_saved(const bn_sweep *sweep, const bn_row_plan *plan,
                               const void *logits, const bn_saved *saved)
{
    for (int64_t c = 0, i = 0; c < saved->columns; c += BNFLOSS_CHUNK, i++) {
        const bn_scaling scaling = bn_scaling_of(sweep->layout, plan, saved,
                                                 i);

        bn_scaling_finish(sweep, &scaling,
                          bn_at(sweep->layout->logits_type, logits, c));
    }
}

/* The columns [from, to) of a row that has a plan. Label and leader stand
 * alone, in double as in the forward pass: so no other p than 1/2 multiplies
 * the errors of a kernel. kept: NULL, or what there is of the row's
 * exponentials. */
static void bn_row_apply(const bn_sweep *sweep, const bn_row_plan *plan,
                         const bnfloss_row *row, const void *logits,
                         void *grad, int64_t from, int64_t to,
                         const bn_saved *saved)
{
    const bnfloss_layout *lay = sweep->layout;
    const int64_t done = saved ? saved->columns : from;
    bn_singles singles;
    bn_chunk chunk;

    if (plan->filled) {
        if (!(lay->flags & BNFLOSS_ACCUMULATE) || plan->fill != 0)
            bn_fill(lay, bn_at_mut(lay->grad_type, grad, from), to - from,
                    plan->fill);
        return;
    }
    singles = bn_singles_read(sweep, row, logits, grad, from, to);
    if (saved)
        bn_row_scale_saved(sweep, plan, logits, saved);
    if (done < to) {
        chunk.logits = bn_at(lay->logits_type, logits, done);
        chunk.grad = bn_at_mut(lay->grad_type, grad, done);
        chunk.type = lay->logits_type;
        chunk.grad_type = lay->grad_type;
        chunk.n = to - done;
        chunk.label = -1;
        chunk.nontemporal = bn_is_nontemporal(lay, logits, grad);
        chunk.save = NULL;
        chunk.scaling = NULL;
        sweep->backward[sweep->general](&chunk, &plan->co, &sweep->map);
    }
    bn_singles_write(sweep, &singles, plan, grad);
}

/* The columns beyond the vocabulary that the caller wants to be 0. */
static void bn_row_padding(const bnfloss_layout *lay, void *grad)
{
    if (lay->grad_cols > lay->vocab)
        bn_fill(lay, bn_at_mut(lay->grad_type, grad, lay->vocab),
                lay->grad_cols - lay->vocab, 0);
}

static void bn_row_backward(const bn_sweep *sweep, const bnfloss_row *row,
                            float dlogp, const void *logits, void *grad)
{
    const bnfloss_layout *lay = sweep->layout;
    bn_row_plan plan;

    bn_row_plan_make(sweep, row, dlogp, &plan);
    bn_row_apply(sweep, &plan, row, logits, grad, 0, lay->vocab, NULL);
    bn_row_padding(lay, grad);
}

/* ---- Both at once ------------------------------------------------------- */

/* A row whose kept exponentials wait for the next row's forward pass, to be
 * made gradients while that waits for memory; of a scratch row's, one place
 * becomes free just before it is needed. */
typedef struct bn_pending_row {
    const void *logits;         /* NULL: there is none */
    bnfloss_row state;
    bn_row_plan plan;
    bn_saved saved;             /* all columns */
} bn_pending_row;

/* Of wider rows a core's own cache holds less than one. */
enum { BN_PENDING_MAX_COLUMNS = 262144 };

static int bn_defers_rows(const bnfloss_layout *lay)
{
    return lay->vocab <= BN_PENDING_MAX_COLUMNS;
}

/* Chunk i of a row, from column c on; kept only if all before it are. */
static void bn_row_save_chunk(const bn_sweep *sweep, const void *logits,
                              int64_t label, int64_t c, int64_t i,
                              bnfloss_row *row, bn_saved *saved,
                              const bn_pending_row *pending)
{
    const int saves = saved && saved->columns >= c;
    bn_scaling scaling, *alongside = NULL;
    bn_save save = { NULL, 0, 0 };

    if (saves)
        save.exps = saved->exps + c;
    if (pending) {
        scaling = bn_scaling_of(sweep->layout, &pending->plan, &pending->saved,
                                i);
        if (saves && bn_scaling_fits_float(&scaling))
            alongside = &scaling;
        else                    /* before anything is kept in its place */
            bn_scaling_finish(sweep, &scaling,
                              bn_at(sweep->layout->logits_type,
                                    pending->logits, c));
    }
    bn_row_chunk(sweep, logits, label, c, row, saves ? &save : NULL,
                 alongside);
    if (saves) {
        saved->columns += save.n;
        saved->power[i] = save.power;
    }
    if (alongside)
        bn_scaling_finish(sweep, alongside,
                          bn_at(sweep->layout->logits_type, pending->logits,
                                c));
}

/* kept: NULL, or where to keep the row's exponentials; held: NULL, or what to
 * finish on the way, but for what bn_pending_end() does. */
static void bn_row_forward(const bn_sweep *sweep, const void *logits,
                           int64_t label, bnfloss_row *row, bn_saved *saved,
                           const bn_pending_row *pending)
{
    bn_tree tree;

    if (sweep->layout->vocab <= BNFLOSS_CHUNK) {
        bn_row_save_chunk(sweep, logits, label, 0, 0, row, saved, pending);
        bn_row_canonicalize(row);
        return;
    }
    tree.depth = 0;
    for (int64_t c = 0, i = 0; c < sweep->layout->vocab;
         c += BNFLOSS_CHUNK, i++) {
        bn_row_save_chunk(sweep, logits, label, c, i, row, saved, pending);
        bn_tree_add(&tree, row, i);
    }
    bn_tree_finish(&tree, row);
}

/* What is left to do of a held row whose columns are done. */
static void bn_pending_end(const bn_sweep *sweep, bn_pending_row *pending)
{
    const bnfloss_layout *lay = sweep->layout;
    void *grad = pending->saved.grad;
    const bn_singles singles = bn_singles_read(sweep, &pending->state,
                                               pending->logits, grad, 0,
                                               lay->vocab);

    bn_singles_write(sweep, &singles, &pending->plan, grad);
    bn_row_padding(lay, grad);
    pending->logits = NULL;
}

/* Where no row's forward pass follows. */
static void bn_pending_finish(const bn_sweep *sweep, bn_pending_row *pending)
{
    if (pending->logits) {
        bn_row_scale_saved(sweep, &pending->plan, pending->logits,
                           &pending->saved);
        bn_pending_end(sweep, pending);
    }
}

/* Leaves the gradients of a row to the next one's forward pass, where it is
 * to wait and can, or makes them now. */
static void bn_row_defer(const bn_sweep *sweep, const bnfloss_row *row,
                         float dlogp, const void *logits,
                         const bn_saved *saved, int defers,
                         bn_pending_row *pending)
{
    const bnfloss_layout *lay = sweep->layout;

    bn_row_plan_make(sweep, row, dlogp, &pending->plan);
    if (defers && !pending->plan.filled && saved->columns == lay->vocab) {
        pending->logits = logits;
        pending->state = *row;
        pending->saved = *saved;
        return;
    }
    bn_row_apply(sweep, &pending->plan, row, logits, saved->grad, 0,
                 lay->vocab, saved);
    bn_row_padding(lay, saved->grad);
}
