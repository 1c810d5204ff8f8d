/* One row: its chunks, their fixed tree, its label. */

static int64_t bn_label(const bn_view *w, const void *labels, int64_t i)
{
    return w->label_type == BNFLOSS_I64 ? ((const int64_t *)labels)[i]
                                        : ((const int32_t *)labels)[i];
}

/* What a logit is multiplied by on its way into the tanh of a softcap. */
static float bn_inner(float scale, float softcap)
{
    return (float)((double)(scale > 0 ? scale : 1) / softcap);
}

static bn_map bn_map_of(const bn_view *w)
{
    bn_map map;

    map.scale = w->scale;
    map.softcap = w->softcap;
    map.limit = 0x1.ffffffp127;         /* rounds to an infinite float */
    map.inner = w->softcap > 0 ? bn_inner(w->scale, w->softcap) : 0;
    bn_table_for_sum(map.unit, 0);
    return map;
}

/* What a sweep needs to know besides the row: made once a call. */
typedef struct bn_sweep {
    const bn_view *view;
    bn_map map;
    bn_map twice;               /* of 2 z', for the sum of squares */
    bn_forward_kernel *forward;
    bn_forward_kernel *forward_twice;
    bn_backward_kernel *const *backward;    /* plain, general */
    bn_kept_kernel *kept;
    int general;
} bn_sweep;

static bn_sweep bn_sweep_with(const bn_view *w, const bn_kernels *k)
{
    bn_sweep s;

    s.view = w;
    s.map = bn_map_of(w);
    s.twice = s.map;
    s.twice.scale *= 2;
    s.twice.softcap *= 2;
    s.twice.limit *= 2;
    s.general = !bn_map_is_plain(&s.map) || w->smoothing > 0;
    s.forward = k->forward[s.general || w->mean ? BN_GENERAL
                           : w->entropy ? BN_DOT : BN_PLAIN];
    s.forward_twice = k->forward[BN_GENERAL];
    s.backward = k->backward;
    s.kept = k->kept;
    return s;
}

static bn_sweep bn_sweep_of(const bn_view *w)
{
    return bn_sweep_with(w, bn_kernels_get());
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

static void bn_row_init(bnfloss_row *x, const bn_view *w, int64_t label)
{
    memset(x, 0, sizeof *x);
    x->label_id = label;
    x->leader_id = -1;
    x->leader = -BN_INF;
    x->label_smoothing = w->smoothing;
    x->z_loss = w->z_loss;
    if (label < 0)
        x->flags = BNFLOSS_ROW_IGNORED;
}

/* The chunk's sum of squares, e^(2 (z' - leader)): its plain sum once more,
 * with 2 z' for z'. The leader is the same. */
static void bn_chunk_squares(const bn_sweep *s, const bn_chunk *chunk,
                             bnfloss_row *x)
{
    bnfloss_row twice;

    bn_row_init(&twice, s->view, x->label_id);
    s->forward_twice(chunk, &s->twice, &twice);
    x->square = twice.flags & BNFLOSS_ROW_NAN ? BN_NAN : twice.sum;
    x->flags |= BNFLOSS_ROW_SQUARES;
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
static void bn_row_chunk(const bn_sweep *s, const void *row, int64_t label,
                         int64_t c, bnfloss_row *x, bn_keep *keep,
                         bn_before *before)
{
    const bn_view *w = s->view;
    const int64_t n = bn_chunk_size(w->vocab, c);
    const int64_t at = label - w->vocab_begin - c;
    const int here = at >= 0 && at < n;
    /* before anything is kept in its place */
    const float label_z = here ? bn_get(w->logits_type, row, c + at) : 0;
    bn_chunk chunk;

    chunk.z = bn_at(w->logits_type, row, c);
    chunk.grad = NULL;
    chunk.keep = keep;
    chunk.before = before;
    chunk.type = chunk.grad_type = w->logits_type;
    chunk.n = n;
    chunk.label = here ? at : -1;
    chunk.stream = 0;
    bn_row_init(x, w, label);
    s->forward(&chunk, &s->map, x);
    if (x->leader_id >= 0)
        x->leader_id += w->vocab_begin + c;
    if (w->entropy)
        x->flags |= BNFLOSS_ROW_ENTROPY;
    else
        x->dot = 0;
    if (w->mean)
        x->flags |= BNFLOSS_ROW_MEAN;
    else
        x->shift = x->finite = 0;
    if (w->squares)
        bn_chunk_squares(s, &chunk, x);
    if (here) {
        x->flags |= BNFLOSS_ROW_LABEL;
        x->label = bn_map_value(&s->map, label_z);
        if (!(x->label < BN_INF))
            x->flags |= BNFLOSS_ROW_NAN;
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
static void bn_row_settle(bnfloss_row *x)
{
    if (x->flags & BNFLOSS_ROW_NAN) {
        x->leader = x->sum = x->dot = x->label = BN_NAN;
        x->shift = x->finite = x->square = BN_NAN;
        x->leader_id = -1;
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

static void bn_tree_join(bn_tree *t)
{
    t->depth--;
    bn_row_merge(t->node + t->depth - 1, t->node + t->depth);
}

static void bn_tree_add(bn_tree *t, const bnfloss_row *chunk, int64_t i)
{
    t->node[t->depth++] = *chunk;
    for (int64_t j = i % BN_TREE; j & 1; j >>= 1)
        bn_tree_join(t);
    if (i % BN_TREE == BN_TREE - 1 && t->depth > 1)
        bn_tree_join(t);
}

static void bn_tree_finish(bn_tree *t, bnfloss_row *x)
{
    while (t->depth > 1)
        bn_tree_join(t);
    *x = t->node[0];
    bn_row_settle(x);
}

/* Gradients from this size on are stored past the caches. */
enum { BN_STREAM_BYTES = 1 << 25 };

/* Whether gradients are to be stored past the caches, which saves reading
 * their lines first: out of place, and more of them than a cache will keep
 * for who comes next. */
static int bn_streams(const bn_view *w, const void *row, const void *grad)
{
    const int64_t many = BN_STREAM_BYTES / 4;

    return grad != row && w->rows * w->vocab > many && !w->accumulate
           && w->grad_type == BNFLOSS_F32;
}

/* Exponentials of a row's first columns, kept where its gradient will be, or
 * in a scratch row: e is that. Of so many chunks at most, half a million
 * columns; beside the row, out of place, of so many columns. */
enum { BN_KEPT_CHUNKS = 16, BN_KEPT_BESIDE = 32768 };

typedef struct bn_kept {
    float *e;
    void *grad;
    int stream;                 /* the gradients, past the caches */
    int64_t columns;
    int32_t k[BN_KEPT_CHUNKS];  /* of each chunk */
} bn_kept;

/* Whether a sweep can keep the exponentials of its rows: where a gradient is
 * no more than one of them times a factor. Those of a row that no cache holds
 * would only be written once more. */
static int bn_keeps(const bn_sweep *s)
{
    const bn_view *w = s->view;

    return w->vocab <= (int64_t)BN_KEPT_CHUNKS * BNFLOSS_CHUNK && !s->general
           && !w->mean && !w->squares && !w->accumulate;
}

/* Whether there is room for them where the gradients will be, which are
 * floats. Out of place row and gradient have to share a cache. */
static int bn_keeps_in_grad(const bn_view *w, const void *row,
                            const void *grad)
{
    return w->grad_type == BNFLOSS_F32
           && (row == grad || (w->vocab <= BN_KEPT_BESIDE
                               && !bn_streams(w, row, grad)));
}

/* Floats of a scratch row: whole cache lines, and one between two threads. */
static int64_t bn_scratch_row(const bn_view *w)
{
    return (w->vocab + 15) / 16 * 16 + 16;
}

/* ---- Backward ----------------------------------------------------------- */

static void bn_fill(const bn_view *w, void *grad, int64_t n, float x)
{
    if (x == 0) {
        memset(grad, 0, (size_t)n * bn_type_size(w->grad_type));
        return;
    }
    for (int64_t i = 0; i < n; i++)
        bn_put(w->grad_type, grad, i, x);
}

/* What the label leaves to the others, 1 - p, and p of the leader, without
 * the rounding of lse. */
typedef struct bn_shares { double others, leader; } bn_shares;

static bn_shares bn_shares_of(const bnfloss_row *x)
{
    const double d = x->label - x->leader, e = bn_exp(d <= 0 ? d : -d);
    bn_shares s = { 0, 1 };

    if (x->leader == -BN_INF)
        return s;
    if (d <= 0) {
        s.others = (1 + x->sum) / (1 + (x->sum + e));
        s.leader = 1 / (1 + x->sum + e);
    } else {
        const double o = e * (1 + x->sum);          /* (1-p) / p */

        s.others = o / (1 + o);
        s.leader = e / (1 + o);
    }
    return s;
}

/* The gradient of the label's z':
 * dlogp * [(1-p) - ls (1 - 1/V) - p 2 zeta lse], V the finite ones. */
static double bn_label_gradient(const bnfloss_row *x, double dlogp,
                                double others, double lse)
{
    double g = others;

    if (x->label_smoothing > 0)
        g -= (double)x->label_smoothing
             * (bn_is_finite(x->label) ? 1 - 1 / bn_row_finite(x) : 1);
    if (x->z_loss > 0)
        g -= bn_exp(bn_token_of_row(x).logp) * 2 * (double)x->z_loss * lse;
    return dlogp * g;
}

/* What a row's backward pass is, before any column is touched. */
typedef struct bn_row_plan {
    bn_coefficients k;
    bn_factor factor;           /* of a plain one */
    float fill;                 /* where the whole row is one number: */
    int filled;                 /*   0 or NaN */
    double label, leader;       /* gradients of these two without dz'/dz */
} bn_row_plan;

static void bn_row_plan_make(const bn_sweep *s, const bnfloss_row *x,
                             float dlogp, bn_row_plan *plan)
{
    const double d = (double)dlogp;
    double lse = 0, base, share, pull = 1, uniform = 0;
    bn_shares shares;

    plan->filled = 1;
    plan->fill = 0;
    if (x->flags & BNFLOSS_ROW_IGNORED || d == 0)
        return;
    plan->fill = BN_NAN_F32;
    if (bn_row_is_nan(x) || !bn_is_finite(d))
        return;
    plan->filled = 0;
    base = x->leader == -BN_INF ? x->label : x->leader;
    if (x->z_loss > 0) {
        lse = bn_lse(x->label, x->leader, x->sum);
        pull = 1 + 2 * (double)x->z_loss * lse;
    }
    if (x->label_smoothing > 0)
        uniform = d * (double)x->label_smoothing / bn_row_finite(x);
    shares = bn_shares_of(x);
    share = -d * pull * shares.leader;
    if (s->general) {
        bn_coefficients_general(&plan->k, &s->map, base, share, uniform);
    } else {
        plan->factor = bn_factor_for(&s->map, base, share);
        bn_coefficients_plain(&plan->k, &plan->factor,
                              bn_origin(&s->map, base, (float)base));
    }
    plan->k.accumulate = s->view->accumulate;
    plan->label = bn_label_gradient(x, d, shares.others, lse);
    plan->leader = share + uniform;
}

/* A column whose gradient is known in double: what has to be read before the
 * sweep, which may be in place, and written after it. */
typedef struct bn_single {
    int64_t at;                 /* -1: not among these columns */
    double slope;
    float old;
} bn_single;

static bn_single bn_single_read(const bn_sweep *s, const void *row,
                                const void *grad, int64_t at, int64_t from,
                                int64_t to)
{
    const bn_view *w = s->view;
    bn_single a = { -1, 1, 0 };

    if (at < from || at >= to)
        return a;
    a.at = at;
    a.slope = bn_map_slope(&s->map, bn_get(w->logits_type, row, at));
    if (w->accumulate)
        a.old = bn_get(w->grad_type, grad, at);
    return a;
}

static void bn_single_write(const bn_sweep *s, const bn_single *a,
                            double value, void *grad)
{
    const bn_view *w = s->view;
    float g = (float)(value * a->slope);

    if (a->at < 0)
        return;
    if (g < 0x1p-126f && g > -0x1p-126f)
        g = 0;
    bn_put(w->grad_type, grad, a->at, w->accumulate ? a->old + g : g);
}

/* The label and the leader. */
typedef struct bn_singles { bn_single label, leader; } bn_singles;

static bn_singles bn_singles_read(const bn_sweep *s, const bnfloss_row *x,
                                  const void *row, const void *grad,
                                  int64_t from, int64_t to)
{
    const int64_t begin = s->view->vocab_begin;
    bn_singles a;

    a.label = bn_single_read(s, row, grad, x->label_id - begin, from, to);
    a.leader = bn_single_read(s, row, grad, x->leader_id - begin, from, to);
    return a;
}

static void bn_singles_write(const bn_sweep *s, const bn_singles *a,
                             const bn_row_plan *plan, void *grad)
{
    bn_single_write(s, &a->leader, plan->leader, grad);
    bn_single_write(s, &a->label, plan->label, grad);
}

/* Floats in the place of their logits are near up to rows of this width: not
 * worth asking for when the next row's forward pass comes to finish them. */
enum { BN_NEAR = 65536 };

/* How the kept exponentials of chunk i become gradients. */
static bn_before bn_before_of(const bn_view *w, const bn_row_plan *plan,
                              const bn_kept *kept, int64_t i)
{
    const bn_factor *f = &plan->factor;
    const int32_t between = f->k - kept->k[i];
    const int32_t least = bn_factor_least(f) + between;
    const int64_t c = i * BNFLOSS_CHUNK;
    bn_before b;

    b.e = kept->e + c;
    b.grad = bn_at_mut(w->grad_type, kept->grad, c);
    b.grad_type = w->grad_type;
    b.stream = kept->stream;
    b.far = !kept->stream && (kept->columns > BN_NEAR
                              || w->grad_type != BNFLOSS_F32);
    b.n = bn_chunk_size(kept->columns, c);
    b.done = 0;
    b.factor = b.least = 0;
    /* beyond BN_FAR all that was kept is next to nothing, and so is a
     * chunk without a leader */
    if (f->m != 0 && plan->k.origin == 0 && between >= 0 && least <= 126) {
        b.factor = f->m * bn_pow2(f->e - between);
        b.least = bn_pow2(least);
    }
    return b;
}

/* Whether the kernels can, in float. */
static int bn_before_is_float(const bn_before *b)
{
    const double size = b->factor < 0 ? -b->factor : b->factor;

    return size > 0x1p-99 && size < 0x1p99;
}

/* What is not done yet of a chunk, whose logits lie at `z`. */
static void bn_before_finish(const bn_sweep *s, const bn_before *b,
                             const void *z)
{
    if (bn_before_is_float(b))
        s->kept(b, s->view->logits_type, z);
    else if (b->factor != 0)
        bn_kept_slowly(b->e, b->grad_type, b->grad, b->done, b->n, b->factor,
                       b->least);
    else
        memset(bn_at_mut(b->grad_type, b->grad, b->done), 0,
               (size_t)(b->n - b->done) * bn_type_size(b->grad_type));
}

/* Gradients from the exponentials that were kept of a row. */
static void bn_row_finish(const bn_sweep *s, const bn_row_plan *plan,
                          const void *row, const bn_kept *kept)
{
    for (int64_t c = 0, i = 0; c < kept->columns; c += BNFLOSS_CHUNK, i++) {
        const bn_before b = bn_before_of(s->view, plan, kept, i);

        bn_before_finish(s, &b, bn_at(s->view->logits_type, row, c));
    }
}

/* The columns [from, to) of a row that has a plan. Label and leader stand
 * alone, in double as in the forward pass: so no other p than 1/2 multiplies
 * the errors of a kernel. kept: NULL, or what there is of the row's
 * exponentials. */
static void bn_row_apply(const bn_sweep *s, const bn_row_plan *plan,
                         const bnfloss_row *x, const void *row, void *grad,
                         int64_t from, int64_t to, const bn_kept *kept)
{
    const bn_view *w = s->view;
    const int64_t done = kept ? kept->columns : from;
    bn_singles singles;
    bn_chunk chunk;

    if (plan->filled) {
        if (!w->accumulate || plan->fill != 0)
            bn_fill(w, bn_at_mut(w->grad_type, grad, from), to - from,
                    plan->fill);
        return;
    }
    singles = bn_singles_read(s, x, row, grad, from, to);
    if (kept)
        bn_row_finish(s, plan, row, kept);
    if (done < to) {
        chunk.z = bn_at(w->logits_type, row, done);
        chunk.grad = bn_at_mut(w->grad_type, grad, done);
        chunk.type = w->logits_type;
        chunk.grad_type = w->grad_type;
        chunk.n = to - done;
        chunk.label = -1;
        chunk.stream = bn_streams(w, row, grad);
        chunk.keep = NULL;
        chunk.before = NULL;
        s->backward[s->general](&chunk, &plan->k, &s->map);
    }
    bn_singles_write(s, &singles, plan, grad);
}

/* The columns beyond the vocabulary that the caller wants to be 0. */
static void bn_row_padding(const bn_view *w, void *grad)
{
    if (w->grad_cols > w->vocab)
        bn_fill(w, bn_at_mut(w->grad_type, grad, w->vocab),
                w->grad_cols - w->vocab, 0);
}

static void bn_row_backward(const bn_sweep *s, const bnfloss_row *x,
                            float dlogp, const void *row, void *grad)
{
    const bn_view *w = s->view;
    bn_row_plan plan;

    bn_row_plan_make(s, x, dlogp, &plan);
    bn_row_apply(s, &plan, x, row, grad, 0, w->vocab, NULL);
    bn_row_padding(w, grad);
}

/* ---- Both at once ------------------------------------------------------- */

/* A row whose kept exponentials wait for the next row's forward pass, to be
 * made gradients while that waits for memory; of a scratch row's, one place
 * becomes free just before it is needed. */
typedef struct bn_held {
    const void *row;            /* NULL: there is none */
    bnfloss_row x;
    bn_row_plan plan;
    bn_kept kept;               /* all columns */
} bn_held;

/* Of wider rows a core's own cache holds less than one. */
enum { BN_HELD_MOST = 262144 };

static int bn_rows_wait(const bn_view *w)
{
    return w->vocab <= BN_HELD_MOST;
}

/* Chunk i of a row, from column c on; kept only if all before it are. */
static void bn_row_next(const bn_sweep *s, const void *row, int64_t label,
                        int64_t c, int64_t i, bnfloss_row *x, bn_kept *kept,
                        const bn_held *held)
{
    const int keeps = kept && kept->columns >= c;
    bn_before before, *beside = NULL;
    bn_keep keep = { NULL, 0, 0 };

    if (keeps)
        keep.e = kept->e + c;
    if (held) {
        before = bn_before_of(s->view, &held->plan, &held->kept, i);
        if (keeps && bn_before_is_float(&before))
            beside = &before;
        else                    /* before anything is kept in its place */
            bn_before_finish(s, &before, bn_at(s->view->logits_type,
                                               held->row, c));
    }
    bn_row_chunk(s, row, label, c, x, keeps ? &keep : NULL, beside);
    if (keeps) {
        kept->columns += keep.n;
        kept->k[i] = keep.k;
    }
    if (beside)
        bn_before_finish(s, beside, bn_at(s->view->logits_type, held->row,
                                          c));
}

/* kept: NULL, or where to keep the row's exponentials; held: NULL, or what to
 * finish on the way, but for what bn_held_end() does. */
static void bn_row_forward(const bn_sweep *s, const void *row, int64_t label,
                           bnfloss_row *x, bn_kept *kept, const bn_held *held)
{
    bn_tree tree;

    if (s->view->vocab <= BNFLOSS_CHUNK) {
        bn_row_next(s, row, label, 0, 0, x, kept, held);
        bn_row_settle(x);
        return;
    }
    tree.depth = 0;
    for (int64_t c = 0, i = 0; c < s->view->vocab; c += BNFLOSS_CHUNK, i++) {
        bn_row_next(s, row, label, c, i, x, kept, held);
        bn_tree_add(&tree, x, i);
    }
    bn_tree_finish(&tree, x);
}

/* What is left to do of a held row whose columns are done. */
static void bn_held_end(const bn_sweep *s, bn_held *h)
{
    const bn_view *w = s->view;
    void *grad = h->kept.grad;
    const bn_singles a = bn_singles_read(s, &h->x, h->row, grad, 0, w->vocab);

    bn_singles_write(s, &a, &h->plan, grad);
    bn_row_padding(w, grad);
    h->row = NULL;
}

/* Where no row's forward pass follows. */
static void bn_held_finish(const bn_sweep *s, bn_held *h)
{
    if (h->row) {
        bn_row_finish(s, &h->plan, h->row, &h->kept);
        bn_held_end(s, h);
    }
}

/* Leaves the gradients of a row to the next one's forward pass, where it is
 * to wait and can, or makes them now. */
static void bn_row_hold(const bn_sweep *s, const bnfloss_row *x, float dlogp,
                        const void *row, const bn_kept *kept, int waits,
                        bn_held *h)
{
    const bn_view *w = s->view;

    bn_row_plan_make(s, x, dlogp, &h->plan);
    if (waits && !h->plan.filled && kept->columns == w->vocab) {
        h->row = row;
        h->x = *x;
        h->kept = *kept;
        return;
    }
    bn_row_apply(s, &h->plan, x, row, kept->grad, 0, w->vocab, kept);
    bn_row_padding(w, kept->grad);
}
