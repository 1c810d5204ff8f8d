/* The margin of a pair: how far the chosen response is ahead.
 *
 *     u = s beta h + m'
 *
 * Each function gives h, its slopes dh/dl by the summed logp of the chosen (w)
 * and the rejected (x) response, and what the loss itself adds to m'. What is
 * made of u, a number, says logistic.h and its neighbours. */

typedef struct bn_margin {
    real h, dw, dx, add;
} bn_margin;

typedef bn_margin bn_margin_fn(const bn_numbers *k, const bn_response *w,
                               const bn_response *x);

/* f'(e^x) of an f-divergence (arXiv 2309.16240) and its slope in x. Constants
 * are such that it is 0 at 0: a policy that is the reference has margin 0,
 * also where a and b are divided by different lengths. */
static real bn_divergence(const bn_numbers *k, real x, real *slope)
{
    const real c = k->order - 1;

    switch (k->divergence) {
    case BNFLOSS_FORWARD_KL:
        *slope = R_EXP(-x);
        return -R_EXPM1(-x);
    case BNFLOSS_JS_DIVERGENCE:
        *slope = bn_sigmoid(-x);        /* log(2 sig(x)), exact next to 0 */
        return x < 0 ? x - R_LOG1P(R_EXPM1(x) / 2)
                     : -R_LOG1P(R_EXPM1(-x) / 2);
    case BNFLOSS_ALPHA_DIVERGENCE:
        if (c > -1e-6 && c < 1e-6)
            break;                          /* its limit, and TRL's rule */
        *slope = R_EXP(c * x);
        return R_EXPM1(c * x) / c;
    default:
        break;
    }
    *slope = 1;
    return x;
}

/* DPO and most: h = a - b. */
static bn_margin bn_margin_sum(const bn_numbers *k, const bn_response *w,
                               const bn_response *x)
{
    bn_margin m;

    m.h = bn_divergence(k, w->ratio, &m.dw) - bn_divergence(k, x->ratio, &m.dx);
    m.dx = -m.dx;
    m.add = 0;
    return m;
}

/* IPO as it is run, sigmoid_norm: h = a/n - b/n. */
static bn_margin bn_margin_mean(const bn_numbers *k, const bn_response *w,
                                const bn_response *x)
{
    bn_margin m;

    m.h = bn_divergence(k, w->ratio, &m.dw) / w->n
          - bn_divergence(k, x->ratio, &m.dx) / x->n;
    m.dw = m.dw / w->n;
    m.dx = -m.dx / x->n;
    m.add = 0;
    return m;
}

/* SimPO (arXiv 2405.14734, eq. 6): h = m_w - m_x, and the target margin. */
static bn_margin bn_margin_simpo(const bn_numbers *k, const bn_response *w,
                                 const bn_response *x)
{
    bn_margin m;

    m.h = bn_mean_logp(w) - bn_mean_logp(x);
    m.dw = 1 / w->n;
    m.dx = -1 / x->n;
    m.add = -k->gamma;
    return m;
}

/* AlphaPO (arXiv 2501.03884): (1 - e^(-alpha m)) / alpha for m in SimPO. */
static bn_margin bn_margin_alphapo(const bn_numbers *k, const bn_response *w,
                                   const bn_response *x)
{
    const real c = k->alpha, mw = bn_mean_logp(w), mx = bn_mean_logp(x);
    bn_margin m = bn_margin_simpo(k, w, x);

    if (c == 0)
        return m;
    m.h = (R_EXPM1(-c * mx) - R_EXPM1(-c * mw)) / c;
    m.dw = m.dw * R_EXP(-c * mw);
    m.dx = m.dx * R_EXP(-c * mx);
    return m;
}

/* DPOP (arXiv 2402.13228): h - lambda max(0, r_w - l_w). */
static bn_margin bn_margin_dpop(const bn_numbers *k, const bn_response *w,
                                const bn_response *x)
{
    const real below = w->ratio < 0 ? 1 : 0;
    bn_margin m;

    m.h = w->ratio - x->ratio
          + (below > 0 ? bn_times(k->penalty, w->ratio) : 0);
    m.dw = 1 + k->penalty * below;
    m.dx = -1;
    m.add = 0;
    return m;
}

/* R-DPO (arXiv 2403.19159): alpha for each token that the chosen
 * response is longer. */
static bn_margin bn_margin_rdpo(const bn_numbers *k, const bn_response *w,
                                const bn_response *x)
{
    bn_margin m = bn_margin_sum(k, w, x);

    m.add = k->alpha * (w->n - x->n);
    return m;
}

/* FPO (arXiv 2411.07618): the features' drift of the rejected response, over
 * that of the chosen one, is margin not yet earned. */
static bn_margin bn_margin_fpo(const bn_numbers *k, const bn_response *w,
                               const bn_response *x)
{
    bn_margin m = bn_margin_mean(k, w, x);

    m.add = -k->alpha * k->beta * (x->distance - w->distance);
    return m;
}

/* BMC (arXiv 2408.07471): the weight of a token in which the two responses
 * differ; frozen. p: the token's probability. */
static real bn_bmc_weight(real logp, real cap)
{
    const real inverse = R_EXP(-logp);

    return 1 + (inverse < cap ? inverse : cap);
}
