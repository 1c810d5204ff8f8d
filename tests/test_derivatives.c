/* The formulas: the shipped loss files, compiled over quad precision, against
 * finite differences of the objectives that they claim to be gradients of.
 *
 * SPDX-License-Identifier: MIT
 *
 * The targets of BNF and the factor of DFT are frozen at the base point, as
 * the losses say; then every logit of a small row is moved by h = 1e-10 to
 * both sides. With 113 bits that leaves about 1e-20, and 1e-18 max(1, |g|)
 * is asked for. No objective has a kink once its target is frozen, so rows
 * exactly at p = q take part like any other. Differencing BNF's own value,
 * target and all, must not give the gradient: that is tested too.
 *
 * Last, double against quad, the same files compiled twice.
 *
 * The first argument is the number of derivatives, 60000 without. */
#include "quad.h"

#if QUAD

/* The quad copy, under names of its own. */
#define real quad
#define BN_REAL
#define R_EXP expq
#define R_EXPM1 expm1q
#define R_LOG logq
#define R_LOG1P log1pq
#define R_INFINITY ((quad)(1 / 0.0L))
#define R_LN2 ((quad)0x1.62e42fefa39efp-1)
#define bn_log1mexp q_log1mexp
#define bn_sigmoid q_sigmoid
#define bn_softplus q_softplus
#define bn_token q_token
#define bn_token_from_logp q_token_from_logp
#define bn_token_from_sums q_token_from_sums
#define bn_lse_gap q_lse_gap
#define bn_lse q_lse
#define bn_token_entropy q_token_entropy
#define bn_sft q_sft
#define bn_sft_smoothed q_sft_smoothed
#define bn_bnf_token q_bnf_token
#define bn_bnf_exact q_bnf_exact
#define bn_bnf_eps q_bnf_eps
#define bn_bnf q_bnf
#define bn_dpo q_dpo
#include "../src/losses/real.h"
#include "../src/losses/softmax.h"
#include "../src/losses/sft.h"
#include "../src/losses/bnf.h"
#include "../src/losses/dpo.h"
#undef real
#undef BN_REAL
#undef R_EXP
#undef R_EXPM1
#undef R_LOG
#undef R_LOG1P
#undef R_INFINITY
#undef R_LN2
#undef bn_log1mexp
#undef bn_sigmoid
#undef bn_softplus
#undef bn_token
#undef bn_token_from_logp
#undef bn_token_from_sums
#undef bn_lse_gap
#undef bn_lse
#undef bn_token_entropy
#undef bn_sft
#undef bn_sft_smoothed
#undef bn_bnf_token
#undef bn_bnf_exact
#undef bn_bnf_eps
#undef bn_bnf
#undef bn_dpo

/* The double copy. */
#include "../src/bnfloss.c"
#include "test.h"

#include <stdlib.h>

enum { V_MAX = 16 };

static quad absolute(quad x) { return x < 0 ? -x : x; }

/* ---- A row -------------------------------------------------------------- */

typedef struct row {
    int V, label, leader;       /* leader: -1 if the label is alone */
    quad scale, softcap;
    quad z[V_MAX], x[V_MAX];
    quad sum, dot;              /* over all but label and leader */
} row;

static quad mapped(const row *w, quad z)
{
    return w->softcap > 0 ? w->softcap * tanhq(w->scale * z / w->softcap)
                          : w->scale * z;
}

static quad slope(const row *w, quad z)
{
    const quad c = w->softcap > 0 ? coshq(w->scale * z / w->softcap) : 1;

    return w->scale / (c * c);
}

static void row_make(row *w, rng *r, int scaled)
{
    const int shape = (int)rng_below(r, 6);

    w->V = rng_below(r, 25) ? 8 + (int)rng_below(r, V_MAX - 7)
                            : 2 + (int)rng_below(r, 6);
    w->label = (int)rng_below(r, w->V);
    w->scale = scaled ? (rng_next(r) & 1 ? 0.7 : 1.5) : 1;
    w->softcap = scaled && rng_next(r) & 1 ? 5 + 25 * rng_uniform(r) : 0;
    for (int k = 0; k < w->V; k++)
        w->z[k] = rng_normal(r) * (shape == 0 ? 8 : 2);
    if (shape == 1)             /* sure of the label, or far from it, */
        w->z[w->label] += 40 * rng_uniform(r);
    if (shape == 2)
        w->z[w->label] -= 40 * rng_uniform(r);
    if (shape == 3)             /* or of another */
        w->z[(w->label + 1) % w->V] += 15 + 25 * rng_uniform(r);
    w->leader = -1;
    for (int k = 0; k < w->V; k++) {
        w->x[k] = mapped(w, w->z[k]);
        if (k != w->label && (w->leader < 0 || w->x[k] > w->x[w->leader]))
            w->leader = k;
    }
    w->sum = w->dot = 0;
    for (int k = 0; k < w->V; k++) {
        const quad d = w->x[k] - w->x[w->leader];

        if (k == w->label || k == w->leader)
            continue;
        w->sum += expq(d);
        w->dot += expq(d) * d;
    }
}

/* The row after logit k has moved by h: its token, lse and x. */
typedef struct moved {
    q_token t;
    quad lse, mean;             /* mean of all x */
    quad x;                     /* of logit k */
} moved;

static moved move(const row *w, int k, quad h)
{
    quad label = w->x[w->label], leader = w->x[w->leader], total = 0;
    quad sum = w->sum, dot = w->dot;
    moved m;

    m.x = mapped(w, w->z[k] + h);
    if (k == w->label) {
        label = m.x;
    } else if (k == w->leader) {
        const quad d = w->x[k] - m.x, f = expq(d);

        leader = m.x;
        dot = f * (dot + d * sum);
        sum *= f;
    } else {
        const quad d = m.x - leader, d0 = w->x[k] - leader;
        const quad e = expq(d), e0 = expq(d0);

        sum += e - e0;
        dot += e * d - e0 * d0;
    }
    m.t = q_token_from_sums(label, leader, sum, dot);
    m.lse = q_lse(label, leader, sum);
    for (int i = 0; i < w->V; i++)
        total += i == k ? m.x : w->x[i];
    m.mean = total / w->V;
    return m;
}

/* ---- Losses of one row -------------------------------------------------- */

enum { SFT, SMOOTHED, DFT, BNF, BNF_EPS, LOSSES };

static const char *const names[LOSSES] = { "SFT", "smoothing and z-loss",
                                           "DFT", "BNF", "BNF eps" };

typedef struct loss {
    int kind;
    quad ref, eps, ls, zeta;
    quad target[V_MAX];         /* frozen: value = -sum target_v log p_v */
    quad dlogp, value;
} loss;

static quad frozen(const row *w, const loss *l, int k, const moved *m)
{
    quad v = 0;

    if (l->kind == SMOOTHED)
        return q_sft_smoothed(&m->t, l->ls, l->zeta, m->lse - m->mean, m->lse);
    for (int i = 0; i < w->V; i++)
        v += l->target[i] * (m->lse - (i == k ? m->x : w->x[i]));
    return v;
}

/* A reference for a token of log-probability l: exactly it, near it, on
 * either side of it, sure. */
static quad reference(rng *r, quad l)
{
    quad x = l;

    switch (rng_below(r, 5)) {
    case 0:  return l;
    case 1:  x += rng_normal(r) * 1e-6; break;
    case 2:  x += rng_normal(r) * 5; break;
    case 3:  return -1e-9 * rng_uniform(r);
    default: return -10 * rng_uniform(r);
    }
    return x < 0 ? x : l;
}

/* Targets from the paper's words, dlogp and value from the shipped files. */
static void loss_make(loss *l, const row *w, int kind, rng *r)
{
    const moved m = move(w, w->label, 0);
    const quad p = expq(m.t.logp);
    q_bnf_token b;
    quad f, o = 0;

    l->kind = kind;
    l->ref = reference(r, m.t.logp);
    l->eps = kind == BNF_EPS ? (rng_next(r) & 1 ? 1e-6 : 0.1) : 0;
    l->ls = 0.01 + 0.5 * rng_uniform(r);
    l->zeta = 0.1 * rng_uniform(r);
    l->dlogp = -1;
    f = 1;
    if (kind == SFT || kind == DFT) {
        l->value = q_sft(&m.t, kind == DFT, &l->dlogp);
        f = kind == DFT ? p : 1;
    } else if (kind == SMOOTHED) {
        l->value = q_sft_smoothed(&m.t, l->ls, l->zeta, m.lse - m.mean, m.lse);
    } else {
        const quad q = expq(l->ref);

        b = q_bnf(&m.t, l->ref, l->eps);
        l->value = b.value;
        l->dlogp = -b.g;
        f = p / (q + l->eps) < 1 ? p / (q + l->eps) : 1;
        if (l->eps == 0 && l->ref <= m.t.logp)
            f = 1;
        o = (1 - f + l->eps) / (m.t.q + l->eps);
    }
    for (int i = 0; i < w->V; i++)
        l->target[i] = i == w->label ? f : o * expq(w->x[i] - m.lse);
}

/* The gradient of bnfloss.h, for logit k. */
static quad analytic(const row *w, const loss *l, int k, const moved *base)
{
    const int smooth = l->kind == SMOOTHED;
    const quad ls = smooth ? l->ls : 0, zeta = smooth ? l->zeta : 0;
    const quad p = expq(w->x[k] - base->lse);

    return l->dlogp * ((k == w->label ? base->t.q - ls : -p) + ls / w->V
                       - p * 2 * zeta * base->lse) * slope(w, w->z[k]);
}

static quad worst;              /* of error / max(1, |g|) */
static long derivatives, unfrozen, unfrozen_wrong;

static void compare(const char *what, quad difference, quad g)
{
    const quad size = absolute(g) > 1 ? absolute(g) : 1;
    const quad error = absolute(difference - g) / size;

    derivatives++;
    if (error > worst)
        worst = error;
    CHECK(error <= (quad)1e-18, "%s: the difference is %.20g, the gradient "
          "%.20g: %g wrong", what, (double)difference, (double)g,
          (double)error);
}

/* BNF's value with its target not frozen: what nobody should differentiate. */
static void negative(const row *w, const loss *l, int k, quad g)
{
    const quad h = (quad)1e-10;
    const moved up = move(w, k, h), down = move(w, k, -h);
    const quad slope_of_value = (q_bnf(&up.t, l->ref, l->eps).value
                                 - q_bnf(&down.t, l->ref, l->eps).value)
                                / (2 * h);

    unfrozen++;
    unfrozen_wrong += absolute(slope_of_value - g) > (quad)1e-6;
}

/* A token known by its logp alone is the token that its row made. */
static void same_door(const q_token *t)
{
    const q_token u = q_token_from_logp(t->logp, t->rest);

    CHECK(absolute(u.q - t->q) <= (quad)1e-30 * t->q
          && absolute(u.odds - t->odds) <= (quad)1e-30 * (1 + absolute(u.odds))
          && u.logp == t->logp && u.rest == t->rest,
          "from logp %.20g: 1 - p is %.20g, not %.20g", (double)t->logp,
          (double)u.q, (double)t->q);
}

static void one_row(int kind, rng *r)
{
    const quad h = (quad)1e-10;
    moved base;
    loss l;
    row w;

    row_make(&w, r, (int)rng_below(r, 3) == 0);
    loss_make(&l, &w, kind, r);
    base = move(&w, w.label, 0);
    same_door(&base.t);
    CHECK(absolute(frozen(&w, &l, w.label, &base) - l.value)
          <= (quad)1e-28 * (1 + absolute(l.value)),
          "%s: value %.20g is not the cross-entropy to the target, %.20g",
          names[kind], (double)l.value,
          (double)frozen(&w, &l, w.label, &base));
    for (int k = 0; k < w.V; k++) {
        const moved up = move(&w, k, h), down = move(&w, k, -h);
        const quad g = analytic(&w, &l, k, &base);

        compare(names[kind], (frozen(&w, &l, k, &up)
                              - frozen(&w, &l, k, &down)) / (2 * h), g);
        if (kind == BNF && k == w.label && base.t.logp < l.ref - (quad)0.1
            && base.t.logp > -8)
            negative(&w, &l, k, g);
    }
}

/* ---- DPO: two sequences of rows ----------------------------------------- */

static void one_pair(rng *r)
{
    const quad h = (quad)1e-10;
    const quad beta = 0.05 + rng_uniform(r);
    const quad flip = rng_next(r) & 1 ? 0.5 * rng_uniform(r) : 0;
    const int rows = 2 + (int)rng_below(r, 3);
    quad sum[2] = { 0, 0 }, dchosen;
    row w[4];

    for (int i = 0; i < rows; i++) {        /* row i belongs to side i % 2 */
        row_make(w + i, r, 0);
        sum[i % 2] += move(w + i, w[i].label, 0).t.logp + 3 * rng_uniform(r);
    }
    q_dpo(sum[0], sum[1], beta, flip, &dchosen);
    for (int i = 0; i < rows; i++) {
        const moved base = move(w + i, w[i].label, 0);
        const quad dlogp = i % 2 ? -dchosen : dchosen;

        for (int k = 0; k < w[i].V; k++) {
            quad at[2], unused;

            for (int s = 0; s < 2; s++) {
                const quad by = move(w + i, k, s ? -h : h).t.logp
                                - base.t.logp;

                at[s] = q_dpo(sum[0] + (i % 2 ? 0 : by),
                              sum[1] + (i % 2 ? by : 0), beta, flip, &unused);
            }
            compare(flip > 0 ? "cDPO" : "DPO", (at[0] - at[1]) / (2 * h),
                    dlogp * (k == w[i].label ? base.t.q
                             : -expq(w[i].x[k] - base.lse)));
        }
    }
}

/* ---- Double against quad ------------------------------------------------ */

static double worst_double;     /* in units of the bound */

/* unit: 2^-53 times how much the number's own inputs can move it */
static void near(const char *what, double got, quad want, quad condition)
{
    const quad bound = (quad)0x1p-53 * condition * absolute(want);
    const quad error = absolute((quad)got - want);

    if (bound > 0 && (double)(error / bound) > worst_double)
        worst_double = (double)(error / bound);
    CHECK(error <= bound + (quad)0x1p-1000, "%s is %.17g, not %.17g", what,
          got, (double)want);
}

static void doubles(rng *r)
{
    const int dft = (int)(rng_next(r) & 1);
    const quad eps = rng_next(r) & 1 ? 1e-6f : 0;
    bn_bnf_token b;
    q_bnf_token qb;
    q_token qt;
    bn_token t;
    quad gap, d, ref, qd;
    double dd;
    row w;

    row_make(&w, r, 0);
    w.sum = (double)w.sum;
    w.dot = (double)w.dot;
    qt = q_token_from_sums(w.x[w.label], w.x[w.leader], w.sum, w.dot);
    t = bn_token_from_sums((double)w.x[w.label], (double)w.x[w.leader],
                           (double)w.sum, (double)w.dot);
    /* label - leader is rounded once, which moves e^d by |d| units */
    d = absolute(w.x[w.label] - w.x[w.leader]);
    near("logp", t.logp, qt.logp, 16 + 2 * d);
    near("1 - p", t.q, qt.q, 16 + 2 * d);
    near("rest", t.rest, qt.rest, 16 + 2 * d);
    near("entropy", bn_token_entropy(&t), q_token_entropy(&qt), 24 + 3 * d);
    gap = q_lse_gap(w.x[w.label], w.x[w.leader], w.sum);
    near("lse - leader", bn_lse_gap((double)w.x[w.label],
                                    (double)w.x[w.leader], (double)w.sum),
         gap, 16 + 2 * d);
    near("lse", bn_lse((double)w.x[w.label], (double)w.x[w.leader],
                       (double)w.sum),
         q_lse(w.x[w.label], w.x[w.leader], w.sum),
         (16 + 2 * d) * (1 + gap / absolute(q_lse(w.x[w.label],
                                                  w.x[w.leader], w.sum))));
    near("SFT", bn_sft(&t, dft, &dd), q_sft(&qt, dft, &qd), 20 + 4 * d);
    near("SFT's dlogp", dd, qd, 20 + 4 * d);
    /* far enough from p = q, where f - 1 is all cancellation */
    ref = (float)(-absolute(rng_normal(r) * 4)) - 0x1p-10f;
    if (absolute(ref - qt.logp) < 0.1 * absolute(ref))
        return;
    b = bn_bnf(&t, (double)ref, (double)eps);
    qb = q_bnf(&qt, ref, eps);
    near("BNF", b.value, qb.value, 256 + 40 * d);
    near("g", b.g, qb.g, 256 + 40 * d);
    near("DPO", bn_dpo(t.logp, (double)ref, 0.125, 0.25, &dd),
         q_dpo(qt.logp, ref, (quad)0.125, (quad)0.25, &qd), 64 + 8 * d);
}

int main(int argc, char **argv)
{
    const long count = argc > 1 ? atol(argv[1]) : 60000;
    rng r = { 20 };

    for (int turn = 0; derivatives < count; turn = (turn + 1) % (LOSSES + 1)) {
        if (turn < LOSSES)
            one_row(turn, &r);
        else
            one_pair(&r);
    }
    for (long i = 0; i < count / 2; i++)
        doubles(&r);
    CHECK(unfrozen > count / 1500, "only %ld states of the negative test",
          unfrozen);
    CHECK(unfrozen_wrong > unfrozen * 99 / 100, "the slope of BNF's value is "
          "its gradient in %ld of %ld states", unfrozen - unfrozen_wrong,
          unfrozen);
    printf("%ld derivatives, worst %.2g; unfrozen wrong in %ld of %ld; "
           "double within %.2f of its bound\n", derivatives, (double)worst,
           unfrozen_wrong, unfrozen, worst_double);
    return test_end();
}

#else
#include "test.h"

int main(void)
{
    test_skip("no quad precision here");
    return test_end();
}
#endif
