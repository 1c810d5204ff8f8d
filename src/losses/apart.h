/* Losses that see the two responses of a pair apart, not their margin alone:
 * each gives L, dL/dl of the chosen and dL/dl of the rejected one.
 * a, b: their sums of logp - ref. */

typedef real bn_apart_fn(const bn_numbers *k, const bn_response *w,
                         const bn_response *x, real *dw, real *dx);

/* NCA (arXiv 2402.05369):
 *     -log sig(beta a) - [log sig(-beta a) + log sig(-beta b)] / 2 */
static real bn_nca_pair(const bn_numbers *k, const bn_response *w,
                        const bn_response *x, real *dw, real *dx)
{
    const real a = k->beta * w->ratio, b = k->beta * x->ratio;

    *dw = k->beta * (bn_sigmoid(a) / 2 - bn_sigmoid(-a));
    *dx = k->beta * bn_sigmoid(b) / 2;
    return bn_softplus(-a) + (bn_softplus(a) + bn_softplus(b)) / 2;
}

/* BCO on pairs (arXiv 2404.04656) without its shift:
 *     -log sig(beta a) - log sig(-beta b) */
static real bn_bco_pair(const bn_numbers *k, const bn_response *w,
                        const bn_response *x, real *dw, real *dx)
{
    const real a = k->beta * w->ratio, b = k->beta * x->ratio;

    *dw = -k->beta * bn_sigmoid(-a);
    *dx = k->beta * bn_sigmoid(b);
    return bn_softplus(-a) + bn_softplus(b);
}

/* SPPO with hard labels (arXiv 2405.00675, eq. 4.7):
 *     (a - 1/(2 beta))^2 + (b + 1/(2 beta))^2 */
static real bn_sppo_hard(const bn_numbers *k, const bn_response *w,
                         const bn_response *x, real *dw, real *dx)
{
    const real half = 1 / (2 * k->beta);
    const real a = w->ratio - half, b = x->ratio + half;

    *dw = 2 * a;
    *dx = 2 * b;
    return a * a + b * b;
}

/* APO-zero (arXiv 2408.06266, eq. 7): 1 - sig(beta a) + sig(beta b). */
static real bn_apo_zero(const bn_numbers *k, const bn_response *w,
                        const bn_response *x, real *dw, real *dx)
{
    const real a = k->beta * w->ratio, b = k->beta * x->ratio;

    *dw = -k->beta * bn_bell(a);
    *dx = k->beta * bn_bell(b);
    return bn_sigmoid(-a) + bn_sigmoid(b);
}

/* APO-down (eq. 8): sig(beta a) + 1 - sig(beta (a - b)). */
static real bn_apo_down(const bn_numbers *k, const bn_response *w,
                        const bn_response *x, real *dw, real *dx)
{
    const real a = k->beta * w->ratio;
    const real u = k->beta * (w->ratio - x->ratio);

    *dw = k->beta * (bn_bell(a) - bn_bell(u));
    *dx = k->beta * bn_bell(u);
    return bn_sigmoid(a) + bn_sigmoid(-u);
}

/* ORPO (arXiv 2403.07691, eq. 7) without its likelihood term: with
 * P = e^m, m the mean logp, and t = m_x - m_w,
 *     -lambda log sig(log odds(P_w) - log odds(P_x))
 *     dL/dm_w = -lambda e^t / E,  dL/dm_x = lambda e^t (1-P_w) / ((1-P_x) E),
 *     E = (1-P_x) + e^t (1-P_w)
 * where e^t would overflow, both sides of the fractions are divided by it. */
static real bn_orpo(const bn_numbers *k, const bn_response *w,
                    const bn_response *x, real *dw, real *dx)
{
    const real mw = bn_mean_logp(w), mx = bn_mean_logp(x), t = mx - mw;
    const real qw = 0 - R_EXPM1(mw), qx = 0 - R_EXPM1(mx);      /* 1 - P, and
                                                 * no -0 at P = 1 */
    const real up = t > 0 ? 1 : R_EXP(t);               /* e^t : 1, scaled */
    const real down = t > 0 ? R_EXP(-t) : 1;
    const real e = down * qx + up * qw;

    *dw = -k->penalty * (up / e) / w->n;
    *dx = bn_times(k->penalty * (up / e), qw / qx) / x->n;
    return bn_times(k->penalty,
                    bn_softplus(t + bn_log1mexp(mw) - bn_log1mexp(mx)));
}
