/* The formulas: the shipped loss files, compiled over quad precision, against
 * finite differences of the objectives that they claim to be gradients of,
 * and against those objectives in plain words.
 *
 * SPDX-License-Identifier: MIT
 *
 * Every line of the table is walked. A loss of responses is moved by its
 * responses' sums of logp, to both sides, by a power of two near 2^-33 of the
 * length on which it bends. With 113 bits that leaves about 1e-21. Asked for
 * is 1e-18 |g|, and no more slack than the rounding of the loss itself brings,
 * which rarely reaches 1e-18 max(1, |g|): a slope of 1e-300 is tested as
 * sharply as one of 1. Points
 * are ordinary and extreme: margins up to 1e4 and at 0, numbers at the ends
 * of their ranges, means next to 0 and far below, empty completions. At a kink
 * it goes to each side alone.
 *
 * A loss of tokens is moved by every logit of a small row, with the targets
 * of BNF and the factor of DFT frozen at the base point. Differencing BNF's
 * own value, target and all, must not give the gradient: tested too.
 *
 * 20,000 derivatives a loss, or as many as the first argument says. "--all"
 * takes 1,000,000: an hour. Whole batches, and the library's doubles:
 * test_batches.c. */
#include "quad_losses.h"

#include <stdlib.h>

#if QUAD

static long derivatives;
static quad worst;              /* of error / max(1, |g|) */

static long blunt;

/* noise: what rounding may have done to the difference, if that is known. A
 * blunt comparison says less than 1e-18 max(1, |g|). */
static void compare(const char *what, quad difference, quad g, quad noise)
{
    const quad error = q_abs(difference - g), size = q_max(1, q_abs(g));

    derivatives++;
    if (noise > (quad)1e-18 * size)
        blunt++;
    else
        worst = q_max(worst, error / size);
    CHECK(error <= (noise > 0 ? (quad)1e-18 * q_abs(g) + noise
                              : (quad)1e-18 * size),
          "%s: the difference is %.20g, the gradient %.20g: %g wrong, noise "
          "%g", what, (double)difference, (double)g, (double)(error / size),
          (double)noise);
}

enum { V_MAX = 16 };

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
    bn_token t;
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
    m.t = bn_token_from_sums(label, leader, sum, dot);
    m.lse = bn_lse(label, leader, sum);
    for (int i = 0; i < w->V; i++)
        total += i == k ? m.x : w->x[i];
    m.mean = total / w->V;
    return m;
}

/* ---- Losses of one row -------------------------------------------------- */

enum { SFT, SMOOTHED, DFT, BNF, BNF_EPS, LOSSES };

static const char *const names[LOSSES] = { "SFT", "smoothing and z-loss",
                                           "DFT", "BNF", "BNF eps" };

typedef struct frozen_loss {
    int kind;
    quad ref, eps, ls, zeta;
    quad target[V_MAX];         /* frozen: value = -sum target_v log p_v */
    quad dlogp, value;
} frozen_loss;

static quad frozen(const row *w, const frozen_loss *l, int k, const moved *m)
{
    quad v = 0;

    if (l->kind == SMOOTHED)
        return bn_sft_smoothed(&m->t, l->ls, l->zeta, m->lse - m->mean, m->lse);
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
static void loss_make(frozen_loss *l, const row *w, int kind, rng *r)
{
    const moved m = move(w, w->label, 0);
    const quad p = expq(m.t.logp);
    bn_bnf_token b;
    quad f, o = 0;

    l->kind = kind;
    l->ref = reference(r, m.t.logp);
    l->eps = kind == BNF_EPS ? (rng_next(r) & 1 ? 1e-6 : 0.1) : 0;
    l->ls = 0.01 + 0.5 * rng_uniform(r);
    l->zeta = 0.1 * rng_uniform(r);
    l->dlogp = -1;
    f = 1;
    if (kind == SFT || kind == DFT) {
        l->value = bn_sft(&m.t, kind == DFT, &l->dlogp);
        f = kind == DFT ? p : 1;
    } else if (kind == SMOOTHED) {
        l->value = bn_sft_smoothed(&m.t, l->ls, l->zeta, m.lse - m.mean, m.lse);
    } else {
        const quad q = expq(l->ref);

        b = bn_bnf(&m.t, l->ref, l->eps);
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
static quad analytic(const row *w, const frozen_loss *l, int k,
                     const moved *base)
{
    const int smooth = l->kind == SMOOTHED;
    const quad ls = smooth ? l->ls : 0, zeta = smooth ? l->zeta : 0;
    const quad p = expq(w->x[k] - base->lse);

    return l->dlogp * ((k == w->label ? base->t.q - ls : -p) + ls / w->V
                       - p * 2 * zeta * base->lse) * slope(w, w->z[k]);
}

static long unfrozen, unfrozen_wrong;

/* BNF's value with its target not frozen: what nobody should differentiate. */
static void negative(const row *w, const frozen_loss *l, int k, quad g)
{
    const quad h = (quad)1e-10;
    const moved up = move(w, k, h), down = move(w, k, -h);
    const quad slope_of_value = (bn_bnf(&up.t, l->ref, l->eps).value
                                 - bn_bnf(&down.t, l->ref, l->eps).value)
                                / (2 * h);

    unfrozen++;
    unfrozen_wrong += q_abs(slope_of_value - g) > (quad)1e-6;
}

/* A token known by its logp alone is the token that its row made. */
static void same_entry(const bn_token *t)
{
    const bn_token u = bn_token_from_logp(t->logp, t->rest);

    CHECK(q_abs(u.q - t->q) <= (quad)1e-30 * t->q
          && q_abs(u.odds - t->odds) <= (quad)1e-30 * (1 + q_abs(u.odds))
          && u.logp == t->logp && u.rest == t->rest,
          "from logp %.20g: 1 - p is %.20g, not %.20g", (double)t->logp,
          (double)u.q, (double)t->q);
}

static void one_row(int kind, rng *r)
{
    const quad h = (quad)1e-10;
    moved base;
    frozen_loss l;
    row w;

    row_make(&w, r, (int)rng_below(r, 3) == 0);
    loss_make(&l, &w, kind, r);
    base = move(&w, w.label, 0);
    same_entry(&base.t);
    CHECK(q_abs(frozen(&w, &l, w.label, &base) - l.value)
          <= (quad)1e-28 * (1 + q_abs(l.value)),
          "%s: value %.20g is not the cross-entropy to the target, %.20g",
          names[kind], (double)l.value,
          (double)frozen(&w, &l, w.label, &base));
    for (int k = 0; k < w.V; k++) {
        const moved up = move(&w, k, h), down = move(&w, k, -h);
        const quad g = analytic(&w, &l, k, &base);

        compare(names[kind], (frozen(&w, &l, k, &up)
                              - frozen(&w, &l, k, &down)) / (2 * h), g, -1);
        if (kind == BNF && k == w.label && base.t.logp < l.ref - (quad)0.1
            && base.t.logp > -8)
            negative(&w, &l, k, g);
    }
}

/* ---- Losses of responses ------------------------------------------------- */

typedef struct point {
    const bn_loss *loss;
    bn_params k;
    bn_response w, x;
    int side;
} point;

enum { CHOSEN, REJECTED, DISTANCE };

/* The loss where one response's sum of logp, or its distance, is h more. */
static answer moved_by(const point *p, int what, quad h)
{
    point q = *p;
    bn_response *y = what == CHOSEN ? &q.w : &q.x;

    if (what == DISTANCE) {
        y->distance += h;
    } else {
        y->l += h;
        y->ratio += h;
    }
    return ask(p->loss, &q.k, &q.w, &q.x, p->side);
}

static quad slope_of(const answer *a, const point *p, int what)
{
    return what == CHOSEN ? a->d_chosen : what == REJECTED ? a->d_rejected
                                  : -a->du * p->k.alpha * p->k.beta;
}

/* 1 / the length on which the loss bends. */
static quad bend(const point *p, int what)
{
    const bn_loss *loss = p->loss;
    const bn_params *k = &p->k;
    const bn_response *y = what == CHOSEN ? &p->w : &p->x;
    quad rate = k->scale * k->beta;
    bn_margin m;

    if (loss->margin) {
        m = loss->margin(k, &p->w, &p->x);
        rate *= q_abs(what == CHOSEN ? m.d_chosen : m.d_rejected);
    }
    if (what == CHOSEN && loss->margin == bn_margin_dpop)
        rate = k->scale * k->beta * (1 + k->penalty);   /* on either side */
    if (what == DISTANCE)
        rate = q_abs(k->alpha * k->beta);
    if (k->tau > 0)
        rate *= 1 + 1 / k->tau;
    if (loss->margin_loss == bn_ipo
        || loss->margin_loss == bn_irepo)               /* squares bend on */
        rate /= 1 + q_abs(k->logit)                     /* their own size */
              + q_abs(margin_of(loss, k, &p->w, &p->x));
    if (loss->pair_loss == bn_sppo_hard)
        rate = 1 / (1 / k->beta + q_abs(y->ratio));
    if (loss->pair_loss == bn_orpo || loss->sequence_loss == bn_asft)
        rate += 1 - 1 / y->l;           /* log(1 - e^m) has a pole at 0 */
    return rate + growth(loss, k);
}

static quad step(quad rate, int bits)
{
    int e;

    frexpq(rate, &e);
    return scalbnq(1, -bits - e);
}

/* How far u, or what else decides, is from where a slope or its slope jumps. */
static quad to_kink(const point *p)
{
    const quad u = p->loss->margin ? margin_of(p->loss, &p->k, &p->w, &p->x)
                                   : 0;
    quad size = q_abs(u);

    if (p->loss->margin_loss == bn_hinge)
        return q_abs(u - 1);
    if (p->loss->margin_loss == bn_slic)
        return q_abs(u - p->k.gamma);
    if (p->loss->margin == bn_margin_dpop)
        return q_abs(p->w.ratio) * p->k.scale * p->k.beta;
    if (p->loss->margin_loss == bn_ada) {
        const quad low = q_abs(size - p->k.root * p->k.tau);
        const quad high = q_abs(size - p->k.root * p->k.tau_max);

        return (low < high ? low : high) / (1 + p->k.tau);
    }
    return 1;
}

/* The sizes of what a margin is the sum of. */
static quad margin_terms(const point *p)
{
    const bn_response none = { 0, 0, 0, 1, 0 };
    const quad s = p->k.scale * p->k.beta;
    const bn_margin w = p->loss->margin(&p->k, &p->w, &none);
    const bn_margin x = p->loss->margin(&p->k, &none, &p->x);

    return s * (q_abs(w.h) + q_abs(x.h)
                + (p->k.divergence == BNFLOSS_JS_DIVERGENCE))   /* 2 ln 2 */
           + q_abs(p->k.margin) + q_abs(w.add) + q_abs(x.add);
}

/* What a value is the sum of: u may be smaller than its terms, and so may the
 * loss. */
static quad terms_of(const point *p, const answer *a)
{
    const bn_params *k = &p->k;
    quad terms = q_abs(a->value);
    const quad u = p->loss->margin ? margin_terms(p) : 0;

    terms += q_abs(a->du) * u;
    if (growth(p->loss, k) > 0 && p->loss->margin_loss == bn_ipo)
        terms += u / k->beta * (u / k->beta);
    if (growth(p->loss, k) > 0 && p->loss->margin_loss == bn_irepo)
        terms += u * u;
    if (!p->loss->margin)
        terms += q_abs(a->d_chosen) * (q_abs(p->w.ratio) + k->kl
                                 + q_abs(k->baseline / k->beta))
                 + q_abs(a->d_rejected) * q_abs(p->x.ratio);
    if (p->loss->margin_loss == bn_robust)
        terms *= 4 / (1 - 2 * k->flip);
    if (p->loss->margin_loss == bn_exo)
        terms += 1 + q_abs(logq(k->flip));
    if (p->loss->margin_loss == bn_ada)
        terms += k->tau_max;
    return terms;
}

/* terms: terms_of() the base. Each may be 16 roundings off; what a third
 * derivative leaves is at most 2^-66 / 6 of terms * rate. */
static void difference(const point *p, const answer *base, int what,
                       quad terms)
{
    const quad rate = bend(p, what), h = step(rate, 33);
    const answer up = moved_by(p, what, h), down = moved_by(p, what, -h);

    compare(p->loss->name, (up.value - down.value) / (2 * h),
            slope_of(base, p, what),
            terms * (scalbnq(1 / h, -109) + scalbnq(rate, -70)));
}

/* ---- What each loss is said to be ---------------------------------------- */

/* Straight from the header, with no care for digits. */
static quad sig(quad x) { return 1 / (1 + expq(-x)); }
static quad nls(quad x) { return logq(1 + expq(-x)); }      /* -log sig */

/* A log-ratio under an f-divergence, 0 where policy and reference agree. */
static quad mapped_ratio(const bn_params *k, quad x)
{
    const quad c = k->order - 1;

    switch (k->divergence) {
    case BNFLOSS_FORWARD_KL:
        return 1 - expq(-x);
    case BNFLOSS_JS_DIVERGENCE:
        return BN_R_LN2 - nls(x);
    case BNFLOSS_ALPHA_DIVERGENCE:
        return q_abs(c) < (quad)1e-6 ? x : (expq(c * x) - 1) / c;
    default:
        return x;
    }
}

static quad plain_margin(uint32_t kind, const bn_params *k,
                         const bn_response *w, const bn_response *x)
{
    const quad a = w->l - w->r, b = x->l - x->r;
    const quad mw = w->l / w->n, mx = x->l / x->n, s = k->scale * k->beta;
    const quad sum = mapped_ratio(k, a) - mapped_ratio(k, b);

    switch (kind) {
    case BNFLOSS_IPO: case BNFLOSS_SIGMOID_NORM:
        return s * (mapped_ratio(k, a) / w->n - mapped_ratio(k, b) / x->n)
               + k->margin;
    case BNFLOSS_SIMPO:
        return s * (mw - mx) - k->gamma + k->margin;
    case BNFLOSS_ALPHAPO:
        if (k->alpha == 0)
            return s * (mw - mx) - k->gamma + k->margin;
        return s * ((1 - expq(-k->alpha * mw)) / k->alpha
                    - (1 - expq(-k->alpha * mx)) / k->alpha)
               - k->gamma + k->margin;
    case BNFLOSS_DPOP:
        return s * (a - b - k->penalty * q_max(0, w->r - w->l)) + k->margin;
    case BNFLOSS_RDPO:
        return s * sum + k->alpha * (w->n - x->n) + k->margin;
    case BNFLOSS_FPO:
        return s * (a / w->n - b / x->n) + k->margin
               - k->alpha * k->beta * (x->distance - w->distance);
    default:
        return s * sum + k->margin;
    }
}

/* min over t of -t log sig(u/t) + (rho - log 2) t, by halving the bracket of
 * a convex function. */
static quad plain_ada(const bn_params *k, quad u)
{
    quad low = k->tau, high = k->tau_max, best[2];

    for (int i = 0; i < 200; i++) {
        for (int j = 0; j < 2; j++) {
            const quad t = j ? high - (high - low) / 3 : low + (high - low) / 3;

            best[j] = t * nls(u / t) + (k->rho - BN_R_LN2) * t;
        }
        if (best[0] < best[1])
            high -= (high - low) / 3;
        else
            low += (high - low) / 3;
    }
    return best[0];
}

static quad plain_margin_loss(uint32_t kind, const bn_params *k, quad u)
{
    const quad f = k->flip, j = sig(u), not_j = sig(-u);

    switch (kind) {
    case BNFLOSS_ROBUST:
        return ((1 - f) * nls(u) - f * nls(-u)) / (1 - 2 * f);
    case BNFLOSS_HINGE:
        return q_max(0, 1 - u);
    case BNFLOSS_IPO: case BNFLOSS_IPO_SUM:
        return (u / k->beta - 1 / (2 * k->beta))
               * (u / k->beta - 1 / (2 * k->beta));
    case BNFLOSS_EXO_PAIR:
        return (j > 0 ? j * logq(j / (1 - f)) : 0)
               + (not_j > 0 ? not_j * logq(not_j / f) : 0);
    case BNFLOSS_DISCOPOP:
        return sig(-u / k->tau) * nls(u) + expq(-nls(u / k->tau) - u);
    case BNFLOSS_SLIC:
        return q_max(0, k->gamma - u);
    case BNFLOSS_ADA_DPO:
        return plain_ada(k, u);
    case BNFLOSS_IREPO:
        return (u - k->logit) * (u - k->logit);
    default:
        return (1 - f) * nls(u) + f * nls(-u);
    }
}

/* NaN for a kind that nobody has put into plain words. */
static quad plain(uint32_t kind, const bn_params *k, const bn_response *w,
                  const bn_response *x, int side)
{
    const quad a = k->beta * (w->l - w->r), b = k->beta * (x->l - x->r);
    const quad weight = side > 0 ? k->desirable : k->undesirable;
    const quad pw = expq(w->l / w->n), px = expq(x->l / x->n);
    const quad half = 1 / (2 * k->beta);

    switch (kind) {
    case BNFLOSS_NCA_PAIR:
        return nls(a) + (nls(-a) + nls(-b)) / 2;
    case BNFLOSS_BCO_PAIR:
        return nls(a) + nls(-b);
    case BNFLOSS_SPPO_HARD:
        return (a / k->beta - half) * (a / k->beta - half)
               + (b / k->beta + half) * (b / k->beta + half);
    case BNFLOSS_APO_ZERO:
        return 1 - sig(a) + sig(b);
    case BNFLOSS_APO_DOWN:
        return sig(a) + 1 - sig(a - b);
    case BNFLOSS_ORPO:
        return k->penalty * nls(logq(pw / (1 - pw)) - logq(px / (1 - px)));
    case BNFLOSS_KTO:
        return weight * (1 - sig(side * (a - k->beta * k->kl)));
    case BNFLOSS_BCO:
        return weight * nls(side * (a - k->baseline));
    case BNFLOSS_APO_ZERO_UNPAIRED:
        return side > 0 ? 1 - sig(a) : sig(a);
    case BNFLOSS_ASFT:
        return side > 0 ? -(1 + k->penalty) * (w->l / w->n)
                        : -k->penalty * logq(1 - pw);
    default:
        return bn_loss_of(kind)->margin
                   ? plain_margin_loss(kind, k, plain_margin(kind, k, w, x))
                   : (quad)BN_NAN;
    }
}

static long said;

/* Where plain words keep enough digits. */
static void described(const point *p, uint32_t kind, const answer *a)
{
    const quad u = p->loss->margin ? margin_of(p->loss, &p->k, &p->w, &p->x)
                                   : 0;
    const quad terms = q_max(1, q_abs(u) / p->k.beta)
                       * q_max(1, 1 / p->k.beta);
    const quad max = q_max(q_abs(u),
                           p->k.beta
                               * q_max(q_abs(p->w.ratio), q_abs(p->x.ratio)));
    const int near_0 = p->loss->traits & BN_MEAN_REWARD
                       && (p->w.l > (quad)-1e-6 * p->w.n
                           || p->x.l > (quad)-1e-6 * p->x.n
                           || p->w.l < -9000 * p->w.n
                           || p->x.l < -9000 * p->x.n);
    quad want, bound;

    if (max > 9000 || near_0)
        return;
    want = plain(kind, &p->k, &p->w, &p->x, p->side);
    bound = (quad)1e-24 * (1 + q_abs(a->value)) * terms;
    /* plain words take l - r, which the model has without its cancellation */
    bound += scalbnq(p->k.beta * (q_abs(p->w.l) + q_abs(p->x.l)), -110);
    if (p->loss->margin_loss == bn_robust)
        bound /= 1 - 2 * p->k.flip;
    if (p->loss->margin_loss == bn_ada)
        bound += (quad)1e-28 * p->k.tau_max;
    said++;
    CHECK(q_abs(a->value - want) <= bound, "%s: %.20g, in plain words %.3g "
          "more, not within %.3g: l %g, ratio %g, beta %g", p->loss->name,
          (double)a->value, (double)(want - a->value), (double)bound,
          (double)p->w.l, (double)p->w.ratio, (double)p->k.beta);
}

static void point_draw(point *p, const bn_loss *loss, rng *r)
{
    p->loss = loss;
    p->side = rng_next(r) & 1 ? 1 : -1;
    pair_draw(loss, &p->k, &p->w, &p->x, r);
}

static void walk(uint32_t kind, long count, rng *r)
{
    const bn_loss *loss = bn_loss_of(kind);
    const long end = derivatives + count, described_before = said;
    const int empty = loss->sequence_loss ? 0 : 1;     /* responses that may be */
    bnfloss_spec spec;
    point p;

    blunt = 0;
    for (long i = 0; derivatives < end; i++) {
        answer base;
        quad terms;

        if (i % 32 == 0) {
            spec_draw(&spec, kind, r);
            p.k = numbers_of(&spec);
        }
        point_draw(&p, loss, r);
        if ((p.w.n == 0) + (!loss->sequence_loss && p.x.n == 0) > empty)
            continue;
        base = ask(loss, &p.k, &p.w, &p.x, p.side);
        if (i % (kind == BNFLOSS_ADA_DPO ? 64 : 4) == 0)
            described(&p, kind, &base);
        if (to_kink(&p) < (quad)1e-6 || !q_finite(base.value))
            continue;
        terms = terms_of(&p, &base);
        difference(&p, &base, CHOSEN, terms);
        if (!loss->sequence_loss)
            difference(&p, &base, REJECTED, terms);
        if (loss->traits & BN_DISTANCE && p.k.alpha != 0)
            difference(&p, &base, DISTANCE, terms);
    }
    CHECK(said > described_before + count / 500,
          "%s was hardly ever put into "
          "plain words",
          loss->name);
    CHECK(blunt < count * 3 / 10, "%s: %ld of %ld comparisons are blunt",
          loss->name, blunt, count);
}

/* ---- Kinks --------------------------------------------------------------- */

/* The derivative to one side, of h's sign, from five points. */
static quad one_sided(const point *p, int what, quad h)
{
    quad f[5];

    for (int i = 0; i < 5; i++)
        f[i] = moved_by(p, what, i * h).value;
    return (-25 * f[0] + 48 * f[1] - 36 * f[2] + 16 * f[3] - 3 * f[4])
           / (12 * h);
}

/* At a point on a kink: each side's derivative is the slope just there; the
 * slope upon it is that of one of them. jump: whether they differ. */
static void kink(const point *p, int what, int jump)
{
    const quad h = step(bend(p, what), 20), near = scalbnq(h, -50);
    const answer at = moved_by(p, what, 0);
    /* five values, each 16 roundings off */
    const quad noise = (quad)1e-18 + terms_of(p, &at) * scalbnq(1 / h, -105);
    quad d[2], g;

    for (int i = 0; i < 2; i++) {
        const answer beside = moved_by(p, what, i ? near : -near);

        d[i] = one_sided(p, what, i ? h : -h);
        compare(p->loss->name, d[i], slope_of(&beside, p, what), noise);
    }
    g = slope_of(&at, p, what);
    CHECK(q_abs(g - d[0]) < (quad)1e-15 * q_max(1, q_abs(g))
              || q_abs(g - d[1]) < (quad)1e-15 * q_max(1, q_abs(g)),
          "%s: at its kink %g, beside it %g and %g", p->loss->name, (double)g,
          (double)d[0], (double)d[1]);
    if (d[0] == 0 && d[1] == 0)         /* so far out that nothing is left */
        return;
    CHECK(jump == (q_abs(d[0] - d[1]) > (quad)1e-9 * q_abs(g - d[0] + d[1])),
          "%s: beside its kink %g and %g", p->loss->name, (double)d[0],
          (double)d[1]);
}

/* Moves the chosen response until u, or DPOP's log-ratio, is where it bends. */
static void kinks(rng *r)
{
    static const uint32_t kinds[] = { BNFLOSS_HINGE, BNFLOSS_SLIC,
                                      BNFLOSS_DPOP, BNFLOSS_ADA_DPO };

    for (int i = 0; i < 4000; i++) {
        const uint32_t kind = kinds[i % 4];
        bnfloss_spec spec;
        quad target, by;
        point p;

        spec_draw(&spec, kind, r);
        spec.f_divergence = BNFLOSS_REVERSE_KL;
        p.k = numbers_of(&spec);
        point_draw(&p, bn_loss_of(kind), r);
        p.k.margin = (int)p.k.margin;
        p.k.scale = p.k.beta = 0.25;        /* so that u is exact */
        target = kind == BNFLOSS_HINGE ? 1 : kind == BNFLOSS_SLIC ? p.k.gamma
                 : p.k.root * (i & 4 ? p.k.tau : p.k.tau_max)
                   * (i & 8 ? -1 : 1);
        by = (target - margin_of(p.loss, &p.k, &p.w, &p.x))
             / (p.k.scale * p.k.beta);
        if (kind == BNFLOSS_DPOP)
            by = -p.w.ratio;
        p.w.l += by;
        p.w.ratio += by;
        if (kind == BNFLOSS_DPOP && p.k.penalty == 0)
            continue;
        kink(&p, CHOSEN, kind != BNFLOSS_ADA_DPO);
        if (kind != BNFLOSS_DPOP)
            kink(&p, REJECTED, kind != BNFLOSS_ADA_DPO);
    }
}

/* ---- Claims -------------------------------------------------------------- */

static void same(const char *what, quad got, quad want, quad bound)
{
    CHECK(q_abs(got - want) <= bound * q_max(1, q_abs(want)),
          "%s: %.25g is not %.25g", what, (double)got, (double)want);
}

/* The root that Ada-DPO's closed form stands on, and that form's optimum. */
static void claim_ada(rng *r)
{
    for (int i = 0; i < 300; i++) {
        const quad u = 20 * rng_normal(r);
        bnfloss_spec spec;
        bn_params k;
        quad j, value, du;

        spec_draw(&spec, BNFLOSS_ADA_DPO, r);
        k = numbers_of(&spec);
        j = sig(k.root);
        same("log 2 - H(sig(root))",
             BN_R_LN2 + j * logq(j) + (1 - j) * log1pq(-j), k.rho, 1e-30);
        value = bn_ada(&k, u, &du);
        for (int g = 0; g <= 64; g++) {
            const quad t = k.tau * expq(logq(k.tau_max / k.tau) * g / 64);

            CHECK(value <= t * bn_softplus(-u / t) + (k.rho - BN_R_LN2) * t
                               + (quad)1e-28 * (1 + t),
                  "Ada-DPO: t = %g is better than its own, at u %g", (double)t,
                  (double)u);
        }
    }
    same("the root at 0.1", bn_ada_root((quad)0.1L), (quad)0.943443L, 1e-6);
}

/* IPO's least value is 0, at h = 1/(2 beta), and nowhere else. */
static void claim_ipo(rng *r)
{
    bn_params k;
    quad du;

    memset(&k, 0, sizeof k);
    for (int i = 0; i < 100; i++) {
        const quad h = rng_normal(r);

        k.beta = (quad)two_to(r, 3);
        same("IPO's optimum", bn_ipo(&k, k.beta * (1 / (2 * k.beta)), &du), 0,
             1e-60 / (k.beta * k.beta));
        CHECK(bn_ipo(&k, (quad)0.5 + h, &du) > 0 && (du > 0) == (h > 0),
              "IPO does not fall towards its optimum");
    }
}

/* The same point in two losses. */
static answer as_other(const point *p, uint32_t kind)
{
    return ask(bn_loss_of(kind), &p->k, &p->w, &p->x, p->side);
}

static void equal(const point *p, uint32_t kind)
{
    const answer a = ask(p->loss, &p->k, &p->w, &p->x, p->side);
    const answer b = as_other(p, kind);

    CHECK((a.value == b.value && a.d_chosen == b.d_chosen && a.d_rejected == b.d_rejected)
          || !q_finite(b.value), "%s: %g, %s: %g", p->loss->name,
          (double)a.value, bn_loss_of(kind)->name, (double)b.value);
}

/* One loss that another becomes where a number is 0, or a divergence the
 * reverse KL: to the last bit. */
static void claim_limits(rng *r)
{
    static const struct {
        uint32_t kind, other;
        bn_number number;
        float value;
    } list[] = {
        { BNFLOSS_ROBUST, BNFLOSS_DPO, BN_FLIP_ROBUST, 0 },
        { BNFLOSS_DPOP, BNFLOSS_DPO, BN_PENALTY, 0 },
        { BNFLOSS_RDPO, BNFLOSS_DPO, BN_ALPHA, 0 },
        { BNFLOSS_ALPHAPO, BNFLOSS_SIMPO, BN_ALPHA, 0 },
        { BNFLOSS_FPO, BNFLOSS_SIGMOID_NORM, BN_ALPHA, 0 },
        { BNFLOSS_RPO, BNFLOSS_DPO, BN_SFT_WEIGHT, 0 },
        { BNFLOSS_RPO_MEAN, BNFLOSS_DPO, BN_SFT_WEIGHT, 0 },
        { BNFLOSS_UPO, BNFLOSS_DPO, BN_SFT_WEIGHT, 0 },
        { BNFLOSS_BMC, BNFLOSS_DPO, BN_SFT_WEIGHT, 0 }
    };

    for (int i = 0; i < 900; i++) {
        const int n = i % (int)(sizeof list / sizeof *list);
        bnfloss_spec spec;
        point p;

        spec_draw(&spec, list[n].kind, r);
        memcpy((char *)&spec + bn_number_ranges[list[n].number].at,
               &list[n].value, sizeof list[n].value);
        p.k = numbers_of(&spec);
        point_draw(&p, bn_loss_of(list[n].kind), r);
        equal(&p, list[n].other);
        /* divergences: k = 1, and within 1e-6 of it, is the reverse KL */
        spec_draw(&spec, BNFLOSS_DPO, r);
        p.k = numbers_of(&spec);
        point_draw(&p, bn_loss_of(BNFLOSS_DPO), r);
        p.k.divergence = BNFLOSS_REVERSE_KL;
        same("alpha = 1", as_other(&p, BNFLOSS_DPO).value,
             (p.k.divergence = BNFLOSS_ALPHA_DIVERGENCE,
              p.k.order = 1 + (quad)(i % 3 - 1) * 9e-7,
              as_other(&p, BNFLOSS_DPO).value), 0);
    }
}

/* SimPO is DPO of means without reference, with margin -gamma; CPO is DPO
 * without reference but for its likelihood term. */
static void claim_without_reference(rng *r)
{
    for (int i = 0; i < 500; i++) {
        bnfloss_spec spec;
        answer a, b;
        point p;

        spec_draw(&spec, BNFLOSS_SIMPO, r);
        p.k = numbers_of(&spec);
        point_draw(&p, bn_loss_of(BNFLOSS_SIMPO), r);
        a = as_other(&p, BNFLOSS_SIMPO);
        p.k.margin -= p.k.gamma;
        b = as_other(&p, BNFLOSS_SIGMOID_NORM);
        same("SimPO", a.value, b.value, 1e-28);
        same("SimPO's chosen", a.d_chosen, b.d_chosen, 1e-28);
        same("SimPO's rejected", a.d_rejected, b.d_rejected, 1e-28);
        spec_draw(&spec, BNFLOSS_CPO, r);
        p.k = numbers_of(&spec);
        point_draw(&p, bn_loss_of(BNFLOSS_CPO), r);
        equal(&p, BNFLOSS_DPO);
    }
}

/* With its likelihood term -m_w, ORPO = ASFT of both responses
 * + penalty log(P_w (1 - P_x) + P_x (1 - P_w)). */
static void claim_orpo(rng *r)
{
    const bn_loss *asft = bn_loss_of(BNFLOSS_ASFT);

    for (int i = 0; i < 500; i++) {
        quad orpo, pw, px;
        bnfloss_spec spec;
        point p;

        spec_draw(&spec, BNFLOSS_ORPO, r);
        p.k = numbers_of(&spec);
        point_draw(&p, bn_loss_of(BNFLOSS_ORPO), r);
        pw = expq(p.w.l / p.w.n);
        px = expq(p.x.l / p.x.n);
        if (pw > 1 - (quad)1e-6 || px > 1 - (quad)1e-6
            || p.w.l < -4000 * p.w.n)
            continue;
        orpo = as_other(&p, BNFLOSS_ORPO).value - p.w.l / p.w.n;
        same("ORPO by ASFT", orpo, ask(asft, &p.k, &p.w, &p.x, 1).value
             + ask(asft, &p.k, &p.x, &p.w, -1).value
             + p.k.penalty * logq(pw * (1 - px) + px * (1 - pw)), 1e-24);
    }
}

/* Where the reference gives a token no chance, f = 1: BNF is SFT. */
static void claim_bnf(rng *r)
{
    for (int i = 0; i < 500; i++) {
        const bn_token t = bn_token_from_logp(-q_abs(3 * rng_normal(r)),
                                              -q_abs(rng_normal(r)));
        const quad refs[] = { -BN_R_INFINITY, t.logp, t.logp - 1 };

        for (int j = 0; j < 3; j++) {
            const bn_bnf_token b = bn_bnf(&t, refs[j], 0);
            quad dlogp;

            CHECK(b.f == 1 && b.value == bn_sft(&t, 0, &dlogp)
                  && -b.g == dlogp, "BNF with f = 1 is not SFT");
        }
    }
}

/* Losses that fall as the chosen response gains and rise as the rejected one
 * does, wherever one looks: an accepted flip apart. */
static void claim_directions(rng *r)
{
    static const uint32_t kinds[] = {
        BNFLOSS_DPO, BNFLOSS_ROBUST, BNFLOSS_HINGE, BNFLOSS_SIGMOID_NORM,
        BNFLOSS_SIMPO, BNFLOSS_ALPHAPO, BNFLOSS_CPO, BNFLOSS_SLIC,
        BNFLOSS_DPOP, BNFLOSS_RDPO, BNFLOSS_RPO, BNFLOSS_RPO_MEAN,
        BNFLOSS_ADA_DPO, BNFLOSS_BMC, BNFLOSS_FPO, BNFLOSS_UPO,
        BNFLOSS_BCO_PAIR, BNFLOSS_APO_ZERO, BNFLOSS_ORPO
    };
    const int count = (int)(sizeof kinds / sizeof *kinds);

    for (int i = 0; i < 200 * count; i++) {
        bnfloss_spec spec;
        answer a;
        point p;

        spec_draw(&spec, kinds[i % count], r);
        if (kinds[i % count] != BNFLOSS_ROBUST)
            spec.flip_prob = 0;
        p.k = numbers_of(&spec);
        point_draw(&p, bn_loss_of(kinds[i % count]), r);
        a = as_other(&p, kinds[i % count]);
        CHECK(a.d_chosen <= 0 && a.d_rejected >= 0, "%s: chosen %g, rejected %g",
              p.loss->name, (double)a.d_chosen, (double)a.d_rejected);
    }
}

int main(int argc, char **argv)
{
    const int all = argc > 1 && bn_same_text(argv[1], "--all");
    const long count = all ? 1000000 : argc > 1 ? atol(argv[1]) : 20000;
    rng r = { 20 };

    for (int kind = SFT; kind < LOSSES; kind++)
        for (const long end = derivatives + count; derivatives < end;)
            one_row(kind, &r);
    CHECK(unfrozen > count / 500, "only %ld states of the negative test",
          unfrozen);
    CHECK(unfrozen_wrong > unfrozen * 99 / 100, "the slope of BNF's value is "
          "its gradient in %ld of %ld states", unfrozen - unfrozen_wrong,
          unfrozen);
    printf("tokens: %ld derivatives, worst %.2g; unfrozen wrong in %ld of "
           "%ld\n", derivatives, (double)worst, unfrozen_wrong, unfrozen);
    for (uint32_t kind = 1; kind <= BN_KINDS; kind++) {
        const bn_shape shape = bn_loss_of(kind)->shape;

        worst = 0;
        if (shape == BN_BY_TOKEN || shape == BN_BY_BATCH)
            continue;                   /* above; in test_batches.c */
        walk(kind, count, &r);
        printf("%s %.1g, ", bn_loss_of(kind)->name, (double)worst);
    }
    worst = 0;
    kinks(&r);
    printf("kinks %.1g\n%ld derivatives\n", (double)worst, derivatives);
    claim_ada(&r);
    claim_ipo(&r);
    claim_limits(&r);
    claim_without_reference(&r);
    claim_orpo(&r);
    claim_bnf(&r);
    claim_directions(&r);
    return test_end();
}

#else
int main(void)
{
    test_skip("no quad precision here");
    return test_end();
}
#endif
