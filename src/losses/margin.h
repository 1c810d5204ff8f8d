/* The margin of a pair: how far the chosen response is ahead.
 *
 *     u = s beta h + m'
 *
 * Each function gives h, its slopes dh/dl by the summed logp of the chosen (w)
 * and the rejected (x) response, and what the loss itself adds to m'. What is
 * made of u, a number, says logistic.h and its neighbours. */

typedef struct bn_margin {
    bn_real h, d_chosen, d_rejected, add;
} bn_margin;

typedef bn_margin bn_margin_fn(const bn_params *params,
                               const bn_response *chosen,
                               const bn_response *rejected);

/* f'(e^x) of an f-divergence (arXiv 2309.16240) and its slope in x. Constants
 * are such that it is 0 at 0: a policy that is the reference has margin 0,
 * also where a and b are divided by different lengths. */
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
            break;                          /* its limit, and TRL's rule */
        *slope = BN_R_EXP(c * x);
        return BN_R_EXPM1(c * x) / c;
    default:
        break;
    }
    *slope = 1;
    return x;
}

/* DPO and most: h = a - b. */
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

/* IPO as it is run, sigmoid_norm: h = a/n - b/n. */
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

/* SimPO (arXiv 2405.14734, eq. 6): h = m_w - m_x, and the target margin. */
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

/* AlphaPO (arXiv 2501.03884): (1 - e^(-alpha m)) / alpha for m in SimPO. */
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

/* DPOP (arXiv 2402.13228): h - lambda max(0, r_w - l_w). */
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

/* R-DPO (arXiv 2403.19159): alpha for each token that the chosen
 * response is longer. */
static bn_margin bn_margin_rdpo(const bn_params *params,
                                const bn_response *chosen,
                                const bn_response *rejected)
{
    bn_margin margin = bn_margin_sum(params, chosen, rejected);

    margin.add = params->alpha * (chosen->n - rejected->n);
    return margin;
}

/* FPO (arXiv 2411.07618): the features' drift of the rejected response, over
 * that of the chosen one, is margin not yet earned. */
static bn_margin bn_margin_fpo(const bn_params *params,
                               const bn_response *chosen,
                               const bn_response *rejected)
{
    bn_margin margin = bn_margin_mean(params, chosen, rejected);

    margin.add = -params->alpha * params->beta
                 * (rejected->distance - chosen->distance);
    return margin;
}

/* BMC (arXiv 2408.07471): the weight of a token in which the two responses
 * differ; frozen. p: the token's probability. */
static bn_real bn_bmc_weight(bn_real logp, bn_real cap)
{
    const bn_real inverse = BN_R_EXP(-logp);

    return 1 + (inverse < cap ? inverse : cap);
}
