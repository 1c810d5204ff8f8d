/* DPO, Direct Preference Optimization (arXiv 2305.18290, eq. 7), and its
 * conservative form, in which a label is wrong with probability `flip`.
 *
 *     L = -(1-flip) log sig(u) - flip log sig(-u),   u = beta (a - b)
 *
 * a, b: the sums of logp - ref over the chosen and the rejected sequence.
 * dL/da = beta (sig(u) - 1 + flip) = -dL/db. */

static real bn_dpo(real a, real b, real beta, real flip, real *dchosen)
{
    const real u = beta * (a - b);

    /* sig(u) - 1 + flip without cancellation, whichever side u is on */
    *dchosen = beta * (flip * bn_sigmoid(u) - (1 - flip) * bn_sigmoid(-u));
    return (1 - flip) * bn_softplus(-u) + (flip > 0 ? flip * bn_softplus(u) : 0);
}
