/* Ada-DPO (arXiv 2406.02764): each pair finds its own scale,
 *
 *     min over t in [tau, tau_max] of  -t log sig(u/t) + (rho - log 2) t
 *
 * Its slope in t is rho - [log 2 - H(sig(u/t))], H the entropy in nats, which
 * falls in |u|/t: so the best t is |u| / root, where log 2 - H(sig(root)) =
 * rho, kept within its bounds. By the envelope theorem dL/du is that at the
 * best t, -sig(-u/t). (The authors take a few projected Newton steps instead,
 * which we have seen cycle where they are let run.) The paper has no beta here:
 * with beta 1 this is its loss, and rho its rho_0; else its tau is t / beta. */

/* The root, by bisection: once a call. 0 < rho < log 2. */
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
