/* The backward pass of a row: from its state and dlogp to a plan, and from that
 * to the gradients of its columns.
 *
 * The label and the leader are computed in double, as in the forward pass. All
 * others have p <= 1/2, so the error of the kernels counts half: that is how
 * the gradient stays within 2 u of |dlogp|. */

/* Fills n gradients with x. */
static void bn_fill(const bnfloss_layout *lay, void *grad, int64_t n, float x)
{
    if (x == 0) {
        memset(grad, 0, (size_t)n * bn_type_size(lay->grad_type));
        return;
    }
    for (int64_t i = 0; i < n; i++)
        bn_put(lay->grad_type, grad, i, x);
}

/* ---- The plan ----------------------------------------------------------- */

/* 1 - p of the label, and p of the leader, without the rounding of lse. */
typedef struct bn_masses { double others, leader; } bn_masses;

/* Both are made of sums of positive numbers. e is e^-|label - leader|, so
 * nothing overflows whichever of the two is larger. */
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

/* Returns the gradient of the label's z':
 *
 *     dlogp * [(1-p) - ls (1 - 1/V) - p 2 zeta lse],  V the finite logits */
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

/* All that the backward pass of a row needs, made before a column is touched.
 * In place, the gradients overwrite the logits. */
typedef struct bn_row_plan {
    bn_coefficients co;
    bn_factor factor;           /* of a plain gradient */
    int filled;                 /* the whole row is one number, `fill`: */
    float fill;                 /* 0 or NaN */
    int64_t label_at, leader_at;    /* columns of these two */
    double label, leader;       /* and their gradients, without dz'/dz */
} bn_row_plan;

/* Plans a row whose gradient is neither 0 nor NaN throughout. With p_v the
 * softmax, ls, zeta and lse as in bnfloss.h, the gradient by z'_v is
 *
 *     dlogp * (ls / V - p_v (1 + 2 zeta lse))         v not the label
 *
 * `pull` is the factor of p_v, `uniform` the part that all finite logits share.
 * The kernels compute p_v as e^(z'_v - leader) times p of the leader. */
static void bn_row_plan_columns(const bn_sweep *sweep, const bnfloss_row *row,
                                double dlogp, bn_row_plan *plan)
{
    const double base = row->leader == -BN_INF ? row->label : row->leader;
    const bn_masses masses = bn_masses_of(row);
    double lse = 0, pull = 1, uniform = 0, leader;

    if (row->z_loss > 0) {
        lse = bn_lse(row->label, row->leader, row->sum);
        pull = 1 + 2 * (double)row->z_loss * lse;
    }
    if (row->label_smoothing > 0)
        uniform = dlogp * (double)row->label_smoothing / bn_row_finite(row);
    leader = -dlogp * pull * masses.leader;
    if (sweep->general) {
        bn_coefficients_general(&plan->co, &sweep->map, base, leader, uniform);
    } else {
        plan->factor = bn_factor_for(&sweep->map, base, leader);
        bn_coefficients_plain(&plan->co, &plan->factor,
                              bn_origin(&sweep->map, base, (float)base));
    }
    plan->co.accumulate = (sweep->layout->flags & BNFLOSS_ACCUMULATE) != 0;
    plan->label_at = row->label_id - sweep->layout->vocab_begin;
    plan->leader_at = row->leader_id - sweep->layout->vocab_begin;
    plan->label = bn_label_gradient(row, dlogp, masses.others, lse);
    plan->leader = leader + uniform;
}

/* Plans the backward pass of a row for its dlogp. */
static void bn_row_plan_make(const bn_sweep *sweep, const bnfloss_row *row,
                             float dlogp, bn_row_plan *plan)
{
    const double d = (double)dlogp;

    plan->filled = 1;
    if (row->flags & BNFLOSS_ROW_IGNORED || d == 0) {
        plan->fill = 0;
    } else if (bn_row_is_nan(row) || !bn_is_finite(d)) {
        plan->fill = BN_NAN_F32;
    } else {
        plan->filled = 0;
        bn_row_plan_columns(sweep, row, d, plan);
    }
}

/* ---- The label and the leader ------------------------------------------- */

/* A column whose gradient is known in double. What has to be read is read
 * before the sweep, which may be in place. It is written after the sweep. */
typedef struct bn_single {
    int64_t at;                 /* -1: not among these columns */
    double slope;
    float old;
} bn_single;

/* Reads what the gradient of column `at` needs, if it is one of [from, to). */
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

/* Writes the gradient `value` by z', times dz'/dz. As in the kernels, one that
 * would be denormal is 0. */
static void bn_single_write(const bn_sweep *sweep, const bn_single *single,
                            double value, void *grad)
{
    const bnfloss_layout *lay = sweep->layout;
    float g = (float)(value * single->slope);

    if (single->at < 0)
        return;
    if (g < 0x1p-126f && g > -0x1p-126f)
        g = 0;
    if (lay->flags & BNFLOSS_ACCUMULATE)
        g = single->old + g;
    bn_put(lay->grad_type, grad, single->at, g);
}

typedef struct bn_singles { bn_single label, leader; } bn_singles;

/* Reads label and leader, before the kernel. */
static bn_singles bn_singles_read(const bn_sweep *sweep,
                                  const bn_row_plan *plan, const void *logits,
                                  const void *grad, int64_t from, int64_t to)
{
    bn_singles singles;

    singles.label = bn_single_read(sweep, logits, grad, plan->label_at, from,
                                   to);
    singles.leader = bn_single_read(sweep, logits, grad, plan->leader_at, from,
                                    to);
    return singles;
}

/* Writes label and leader, after the kernel, which has written something in
 * their places. */
static void bn_singles_write(const bn_sweep *sweep, const bn_singles *singles,
                             const bn_row_plan *plan, void *grad)
{
    bn_single_write(sweep, &singles->leader, plan->leader, grad);
    bn_single_write(sweep, &singles->label, plan->label, grad);
}

/* ---- Columns ------------------------------------------------------------ */

/* Fills the columns [from, to) of a row that is 0 or NaN throughout. */
static void bn_row_fill(const bn_sweep *sweep, const bn_row_plan *plan,
                        void *grad, int64_t from, int64_t to)
{
    const bnfloss_layout *lay = sweep->layout;

    if (!(lay->flags & BNFLOSS_ACCUMULATE) || plan->fill != 0)
        bn_fill(lay, bn_at_mut(lay->grad_type, grad, from), to - from,
                plan->fill);
}

/* Computes the columns [from, to) from their logits, label and leader apart. */
static void bn_row_columns(const bn_sweep *sweep, const bn_row_plan *plan,
                           const void *logits, void *grad, int64_t from,
                           int64_t to)
{
    const bnfloss_layout *lay = sweep->layout;
    bn_chunk chunk;

    chunk.logits = bn_at(lay->logits_type, logits, from);
    chunk.grad = bn_at_mut(lay->grad_type, grad, from);
    chunk.type = lay->logits_type;
    chunk.grad_type = lay->grad_type;
    chunk.n = to - from;
    chunk.label = -1;
    chunk.nontemporal = bn_is_nontemporal(lay, logits, grad);
    chunk.save = NULL;
    sweep->backward[sweep->general](&chunk, &plan->co, &sweep->map);
}

/* Computes the columns [from, to) of a row. */
static void bn_row_apply(const bn_sweep *sweep, const bn_row_plan *plan,
                         const void *logits, void *grad, int64_t from,
                         int64_t to)
{
    bn_singles singles;

    if (plan->filled) {
        bn_row_fill(sweep, plan, grad, from, to);
        return;
    }
    singles = bn_singles_read(sweep, plan, logits, grad, from, to);
    bn_row_columns(sweep, plan, logits, grad, from, to);
    bn_singles_write(sweep, &singles, plan, grad);
}

/* Sets the columns beyond the vocabulary to 0 that the caller wants to be. */
static void bn_row_padding(const bnfloss_layout *lay, void *grad)
{
    if (lay->grad_cols > lay->vocab)
        bn_fill(lay, bn_at_mut(lay->grad_type, grad, lay->vocab),
                lay->grad_cols - lay->vocab, 0);
}

/* Computes the whole gradient of a row. */
static void bn_row_backward(const bn_sweep *sweep, const bnfloss_row *row,
                            float dlogp, const void *logits, void *grad)
{
    bn_row_plan plan;

    bn_row_plan_make(sweep, row, dlogp, &plan);
    bn_row_apply(sweep, &plan, logits, grad, 0, sweep->layout->vocab);
    bn_row_padding(sweep->layout, grad);
}
