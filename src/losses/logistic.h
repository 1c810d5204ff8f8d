/* Logistic losses of a margin u. Each returns L and stores dL/du. `flip` is the
 * probability that chosen and rejected are swapped by mistake. */

typedef bn_real bn_margin_loss_fn(const bn_params *params, bn_real u,
                                  bn_real *du);

/* DPO (arXiv 2305.18290, eq. 7), and with flip > 0 conservative DPO:
 *     L     = -(1-flip) log sig(u) - flip log sig(-u)
 *     dL/du = sig(u) - 1 + flip */
static bn_real bn_logistic(const bn_params *params, bn_real u, bn_real *du)
{
    const bn_real flip = params->flip;

    /* the slope as a sum without cancellation, for large u of either sign */
    *du = flip * bn_sigmoid(u) - (1 - flip) * bn_sigmoid(-u);
    return (1 - flip) * bn_softplus(-u)
           + (flip > 0 ? flip * bn_softplus(u) : 0);
}

/* Robust DPO (arXiv 2403.00409), unbiased if labels are flipped:
 *     L = [-(1-flip) log sig(u) + flip log sig(-u)] / (1 - 2 flip) */
static bn_real bn_robust(const bn_params *params, bn_real u, bn_real *du)
{
    const bn_real flip = params->flip, c = 1 - 2 * flip;

    *du = -(flip * bn_sigmoid(u) + (1 - flip) * bn_sigmoid(-u)) / c;
    return ((1 - flip) * bn_softplus(-u)
            - (flip > 0 ? flip * bn_softplus(u) : 0)) / c;
}

/* EXO (arXiv 2402.00856, eq. 16), the KL from j = sig(u) to 1 - flip:
 *     L     = j log(j / (1-flip)) + (1-j) log((1-j) / flip)
 *     dL/du = sig'(u) (u - log((1-flip) / flip)) */
static bn_real bn_exo(const bn_params *params, bn_real u, bn_real *du)
{
    const bn_real yes = BN_R_LOG1P(-params->flip), no = BN_R_LOG(params->flip);

    *du = bn_times(bn_bell(u), u - (yes - no));
    return bn_times(bn_sigmoid(u), -bn_softplus(-u) - yes)
           + bn_times(bn_sigmoid(-u), -bn_softplus(u) - no);
}

/* DiscoPOP (arXiv 2406.08414, eq. 5), a blend of two losses found by search:
 *     L = (1-j) (-log sig(u)) + j e^-u,   j = sig(u / tau)
 * `blend` is j e^-u, computed as exp(log j - u), which stays finite if
 * tau < 1. */
static bn_real bn_discopop(const bn_params *params, bn_real u, bn_real *du)
{
    const bn_real v = u / params->tau, j = bn_sigmoid(v),
                  not_j = bn_sigmoid(-v);
    const bn_real blend = BN_R_EXP(u < 0 ? bn_times(1 / params->tau - 1, u)
                                               - bn_softplus(v)
                                         : -bn_softplus(-v) - u);

    *du = blend * (not_j / params->tau - 1)
          - bn_times(j * not_j, bn_softplus(-u)) / params->tau
          - not_j * bn_sigmoid(-u);
    return bn_times(not_j, bn_softplus(-u)) + blend;
}
