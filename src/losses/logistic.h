/* Logistic losses of a margin u, and each's dL/du. flip: the probability that
 * the two responses of a pair stand the wrong way round. */

typedef real bn_phi_fn(const bn_numbers *k, real u, real *du);

/* DPO (arXiv 2305.18290, eq. 7) and, with flip, conservative DPO:
 *     -(1-flip) log sig(u) - flip log sig(-u),   sig(u) - 1 + flip */
static real bn_logistic(const bn_numbers *k, real u, real *du)
{
    const real flip = k->flip;

    /* the slope without cancellation, whichever side u is on */
    *du = flip * bn_sigmoid(u) - (1 - flip) * bn_sigmoid(-u);
    return (1 - flip) * bn_softplus(-u)
           + (flip > 0 ? flip * bn_softplus(u) : 0);
}

/* Robust DPO (arXiv 2403.00409), unbiased under flips:
 *     [-(1-flip) log sig(u) + flip log sig(-u)] / (1 - 2 flip) */
static real bn_robust(const bn_numbers *k, real u, real *du)
{
    const real flip = k->flip, c = 1 - 2 * flip;

    *du = -(flip * bn_sigmoid(u) + (1 - flip) * bn_sigmoid(-u)) / c;
    return ((1 - flip) * bn_softplus(-u)
            - (flip > 0 ? flip * bn_softplus(u) : 0)) / c;
}

/* EXO (arXiv 2402.00856, eq. 16): KL from j = sig(u) to 1 - flip,
 *     j log(j / (1-flip)) + (1-j) log((1-j) / flip)
 *     sig'(u) (u - log((1-flip) / flip)) */
static real bn_exo(const bn_numbers *k, real u, real *du)
{
    const real yes = R_LOG1P(-k->flip), no = R_LOG(k->flip);

    *du = bn_times(bn_bell(u), u - (yes - no));
    return bn_times(bn_sigmoid(u), -bn_softplus(-u) - yes)
           + bn_times(bn_sigmoid(-u), -bn_softplus(u) - no);
}

/* DiscoPOP (arXiv 2406.08414, eq. 5), found by search:
 *     (1-j) (-log sig(u)) + j e^-u,   j = sig(u / tau)
 * j e^-u as exp(log j - u), which stays finite for tau < 1. */
static real bn_discopop(const bn_numbers *k, real u, real *du)
{
    const real v = u / k->tau, j = bn_sigmoid(v), not_j = bn_sigmoid(-v);
    const real blend = R_EXP(u < 0 ? bn_times(1 / k->tau - 1, u)
                                         - bn_softplus(v)
                                   : -bn_softplus(-v) - u);

    *du = blend * (not_j / k->tau - 1)
          - bn_times(j * not_j, bn_softplus(-u)) / k->tau
          - not_j * bn_sigmoid(-u);
    return bn_times(not_j, bn_softplus(-u)) + blend;
}
