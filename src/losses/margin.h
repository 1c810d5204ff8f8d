/* The margin of a pair: how far the chosen response is ahead.
 *
 *     u = s beta h + m'
 *
 * Each function returns h, its slopes dh/dl by the summed logp of the chosen
 * (w) and of the rejected (x) response, and what the loss itself adds to m'.
 * The losses of u are in logistic.h, adadpo.h and piecewise.h. */

typedef struct bn_margin {
    bn_real h, d_chosen, d_rejected, add;
} bn_margin;

typedef bn_margin bn_margin_fn(const bn_params *params,
                               const bn_response *chosen,
                               const bn_response *rejected);

/* Returns f'(e^x) of an f-divergence (arXiv 2309.16240) and stores its slope in
 * x. The constants are chosen so that it is 0 at 0. So a policy that equals the
 * reference has margin 0, even if a and b are divided by different lengths. */
static bn_real bn_divergence(const bn_params *params, bn_real x,
                             bn_real *slope)
{
    const bn_real c = params->order - 1;

    switch (params->divergence) {
    case BNFLOSS_FORWARD_KL:
        *slope = BN_R_EXP(-x);
        return -BN_R_EXPM1(-x);
    case BNFLOSS_JS_DIVERGENCE:
        *slope = bn_sigmoid(-x);        /* log(2 sig(x)), exact next to 0 */
        return x < 0 ? x - BN_R_LOG1P(BN_R_EXPM1(x) / 2)
                     : -BN_R_LOG1P(BN_R_EXPM1(-x) / 2);
    case BNFLOSS_ALPHA_DIVERGENCE:
        if (c > -1e-6 && c < 1e-6)
            break;                  /* the limit is x, as in TRL */
        *slope = BN_R_EXP(c * x);
        return BN_R_EXPM1(c * x) / c;
    default:
        break;
    }
    *slope = 1;
    return x;
}

/* DPO and most others: h = a - b. */
static bn_margin bn_margin_sum(const bn_params *params,
                               const bn_response *chosen,
                               const bn_response *rejected)
{
    bn_margin margin;

    margin.h = bn_divergence(params, chosen->ratio, &margin.d_chosen)
               - bn_divergence(params, rejected->ratio, &margin.d_rejected);
    margin.d_rejected = -margin.d_rejected;
    margin.add = 0;
    return margin;
}

/* IPO as its code has it, and sigmoid_norm: h = a/n_w - b/n_x. */
static bn_margin bn_margin_mean(const bn_params *params,
                                const bn_response *chosen,
                                const bn_response *rejected)
{
    bn_margin margin;

    margin.h = bn_divergence(params, chosen->ratio, &margin.d_chosen)
                   / chosen->n
               - bn_divergence(params, rejected->ratio, &margin.d_rejected)
                     / rejected->n;
    margin.d_chosen = margin.d_chosen / chosen->n;
    margin.d_rejected = -margin.d_rejected / rejected->n;
    margin.add = 0;
    return margin;
}

/* SimPO (arXiv 2405.14734, eq. 6): h = m_w - m_x, the mean logp of either;
 * gamma is the target margin. */
static bn_margin bn_margin_simpo(const bn_params *params,
                                 const bn_response *chosen,
                                 const bn_response *rejected)
{
    bn_margin margin;

    margin.h = bn_mean_logp(chosen) - bn_mean_logp(rejected);
    margin.d_chosen = 1 / chosen->n;
    margin.d_rejected = -1 / rejected->n;
    margin.add = -params->gamma;
    return margin;
}

/* AlphaPO (arXiv 2501.03884): SimPO with (1 - e^(-alpha m)) / alpha instead of
 * each m. */
static bn_margin bn_margin_alphapo(const bn_params *params,
                                   const bn_response *chosen,
                                   const bn_response *rejected)
{
    const bn_real c = params->alpha, m_chosen = bn_mean_logp(chosen),
                  m_rejected = bn_mean_logp(rejected);
    bn_margin margin = bn_margin_simpo(params, chosen, rejected);

    if (c == 0)
        return margin;
    margin.h = (BN_R_EXPM1(-c * m_rejected) - BN_R_EXPM1(-c * m_chosen)) / c;
    margin.d_chosen = margin.d_chosen * BN_R_EXP(-c * m_chosen);
    margin.d_rejected = margin.d_rejected * BN_R_EXP(-c * m_rejected);
    return margin;
}

/* DPOP (arXiv 2402.13228): h = a - b - penalty max(0, -a). */
static bn_margin bn_margin_dpop(const bn_params *params,
                                const bn_response *chosen,
                                const bn_response *rejected)
{
    const bn_real below = chosen->ratio < 0 ? 1 : 0;
    bn_margin margin;

    margin.h = chosen->ratio - rejected->ratio
               + (below > 0 ? bn_times(params->penalty, chosen->ratio) : 0);
    margin.d_chosen = 1 + params->penalty * below;
    margin.d_rejected = -1;
    margin.add = 0;
    return margin;
}

/* R-DPO (arXiv 2403.19159): adds alpha for each token by which the chosen
 * response is longer. */
static bn_margin bn_margin_rdpo(const bn_params *params,
                                const bn_response *chosen,
                                const bn_response *rejected)
{
    bn_margin margin = bn_margin_sum(params, chosen, rejected);

    margin.add = params->alpha * (chosen->n - rejected->n);
    return margin;
}

/* FPO (arXiv 2411.07618): subtracts alpha beta times the feature distance of
 * the rejected response less that of the chosen one. */
static bn_margin bn_margin_fpo(const bn_params *params,
                               const bn_response *chosen,
                               const bn_response *rejected)
{
    bn_margin margin = bn_margin_mean(params, chosen, rejected);

    margin.add = -params->alpha * params->beta
                 * (rejected->distance - chosen->distance);
    return margin;
}

/* Returns the weight that BMC (arXiv 2408.07471) gives a token in which the two
 * responses differ: 1 + min(1/p, cap). No gradient goes through it. */
static bn_real bn_bmc_weight(bn_real logp, bn_real cap)
{
    const bn_real inverse = BN_R_EXP(-logp);

    return 1 + (inverse < cap ? inverse : cap);
}
