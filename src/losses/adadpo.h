/* Ada-DPO (arXiv 2406.02764): each pair finds its own scale,
 *
 *     min over t in [tau, tau_max] of  -t log sig(u/t) + (rho - log 2) t
 *
 * The slope in t is rho - [log 2 - H(sig(u/t))], where H is the entropy in
 * nats. H falls as |u|/t grows. So the best t is |u| / root, clamped to its
 * bounds, where root solves log 2 - H(sig(root)) = rho. By the envelope
 * theorem dL/du is the partial derivative at the best t, -sig(-u/t).
 *
 * The authors take a few projected Newton steps instead. Left to run, these
 * have been seen to cycle. The paper has no beta here. With beta 1 this is its
 * loss, and rho is its rho_0; with another beta, its tau is t / beta. */

/* Returns the root by bisection, for 0 < rho < log 2. It is called once a
 * call. */
static bn_real bn_ada_root(bn_real rho)
{
    bn_real low = 0, high = 64;

    for (int i = 0; i < 128; i++) {
        const bn_real x = (low + high) / 2;
        const bn_real h = bn_softplus(-x) + x * bn_sigmoid(-x);

        if (BN_R_LN2 - h < rho)
            low = x;
        else
            high = x;
    }
    return (low + high) / 2;
}

static bn_real bn_ada(const bn_params *params, bn_real u, bn_real *du)
{
    const bn_real size = u < 0 ? -u : u;
    bn_real t = size / params->root;

    if (!(t > params->tau))
        t = params->tau;
    if (t > params->tau_max)
        t = params->tau_max;
    *du = -bn_sigmoid(-u / t);
    return t * (bn_softplus(-u / t) + params->rho - BN_R_LN2);
}
