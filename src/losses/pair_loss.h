/* Losses of a pair that are not a function of its margin. Each returns L and
 * stores dL/dl of the chosen and of the rejected response. a and b are their
 * sums of logp - ref. */

typedef bn_real bn_pair_loss_fn(const bn_params *params,
                                const bn_response *chosen,
                                const bn_response *rejected,
                                bn_real *d_chosen, bn_real *d_rejected);

/* NCA (arXiv 2402.05369):
 *     -log sig(beta a) - [log sig(-beta a) + log sig(-beta b)] / 2 */
static bn_real bn_nca_pair(const bn_params *params, const bn_response *chosen,
                           const bn_response *rejected, bn_real *d_chosen,
                           bn_real *d_rejected)
{
    const bn_real a = params->beta * chosen->ratio,
                  b = params->beta * rejected->ratio;

    *d_chosen = params->beta * (bn_sigmoid(a) / 2 - bn_sigmoid(-a));
    *d_rejected = params->beta * bn_sigmoid(b) / 2;
    return bn_softplus(-a) + (bn_softplus(a) + bn_softplus(b)) / 2;
}

/* BCO on pairs (arXiv 2404.04656), without the shift:
 *     -log sig(beta a) - log sig(-beta b) */
static bn_real bn_bco_pair(const bn_params *params, const bn_response *chosen,
                           const bn_response *rejected, bn_real *d_chosen,
                           bn_real *d_rejected)
{
    const bn_real a = params->beta * chosen->ratio,
                  b = params->beta * rejected->ratio;

    *d_chosen = -params->beta * bn_sigmoid(-a);
    *d_rejected = params->beta * bn_sigmoid(b);
    return bn_softplus(-a) + bn_softplus(b);
}

/* SPPO with hard labels (arXiv 2405.00675, eq. 4.7):
 *     (a - 1/(2 beta))^2 + (b + 1/(2 beta))^2 */
static bn_real bn_sppo_hard(const bn_params *params, const bn_response *chosen,
                            const bn_response *rejected, bn_real *d_chosen,
                            bn_real *d_rejected)
{
    const bn_real half = 1 / (2 * params->beta);
    const bn_real a = chosen->ratio - half, b = rejected->ratio + half;

    *d_chosen = 2 * a;
    *d_rejected = 2 * b;
    return a * a + b * b;
}

/* APO-zero (arXiv 2408.06266, eq. 7): 1 - sig(beta a) + sig(beta b). */
static bn_real bn_apo_zero(const bn_params *params, const bn_response *chosen,
                           const bn_response *rejected, bn_real *d_chosen,
                           bn_real *d_rejected)
{
    const bn_real a = params->beta * chosen->ratio,
                  b = params->beta * rejected->ratio;

    *d_chosen = -params->beta * bn_bell(a);
    *d_rejected = params->beta * bn_bell(b);
    return bn_sigmoid(-a) + bn_sigmoid(b);
}

/* APO-down (eq. 8): sig(beta a) + 1 - sig(beta (a - b)). */
static bn_real bn_apo_down(const bn_params *params, const bn_response *chosen,
                           const bn_response *rejected, bn_real *d_chosen,
                           bn_real *d_rejected)
{
    const bn_real a = params->beta * chosen->ratio;
    const bn_real u = params->beta * (chosen->ratio - rejected->ratio);

    *d_chosen = params->beta * (bn_bell(a) - bn_bell(u));
    *d_rejected = params->beta * bn_bell(u);
    return bn_sigmoid(a) + bn_sigmoid(-u);
}

/* ORPO (arXiv 2403.07691, eq. 7) without its likelihood term. With m the mean
 * logp, P = e^m, t = m_x - m_w and E = (1-P_x) + e^t (1-P_w),
 *     L       = -penalty log sig(log odds(P_w) - log odds(P_x))
 *     dL/dm_w = -penalty e^t / E
 *     dL/dm_x =  penalty e^t (1-P_w) / ((1-P_x) E)
 * If e^t could overflow, the fractions are reduced by it. */
static bn_real bn_orpo(const bn_params *params, const bn_response *chosen,
                       const bn_response *rejected, bn_real *d_chosen,
                       bn_real *d_rejected)
{
    const bn_real m_chosen = bn_mean_logp(chosen),
                  m_rejected = bn_mean_logp(rejected),
                  t = m_rejected - m_chosen;
    const bn_real q_chosen = 0 - BN_R_EXPM1(m_chosen),
                  q_rejected = 0 - BN_R_EXPM1(m_rejected);  /* 1 - P, not -0 */
    const bn_real up = t > 0 ? 1 : BN_R_EXP(t); /* up / down = e^t */
    const bn_real down = t > 0 ? BN_R_EXP(-t) : 1;
    const bn_real e = down * q_rejected + up * q_chosen;

    *d_chosen = -params->penalty * (up / e) / chosen->n;
    *d_rejected = bn_times(params->penalty * (up / e), q_chosen / q_rejected)
                  / rejected->n;
    return bn_times(params->penalty, bn_softplus(t + bn_log1mexp(m_chosen)
                                                 - bn_log1mexp(m_rejected)));
}
