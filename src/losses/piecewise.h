/* Squares and hinges of a margin u. Each returns L and stores dL/du. */

/* IPO (arXiv 2310.12036, eq. 17): L = (h - 1/(2 beta))^2. As u = beta h, that
 * is ((u - 1/2) / beta)^2. */
static bn_real bn_ipo(const bn_params *params, bn_real u, bn_real *du)
{
    const bn_real d = (u - (bn_real)0.5) / params->beta;

    *du = 2 * d / params->beta;
    return d * d;
}

/* iREPO (arXiv 2405.15230): L = (u - logit(soft label))^2. That u contains beta
 * is a reconstruction, not checked against the paper's full text. */
static bn_real bn_irepo(const bn_params *params, bn_real u, bn_real *du)
{
    const bn_real d = u - params->logit;

    *du = 2 * d;
    return d * d;
}

/* The hinge of RSO (arXiv 2309.06657): L = max(0, 1 - u). A NaN u gives NaN. */
static bn_real bn_hinge(const bn_params *params, bn_real u, bn_real *du)
{
    (void)params;
    *du = u >= 1 ? 0 : -1;
    return u >= 1 ? 0 : 1 - u;
}

/* SLiC-HF (arXiv 2305.10425): L = max(0, gamma - u), with beta 1. */
static bn_real bn_slic(const bn_params *params, bn_real u, bn_real *du)
{
    *du = u >= params->gamma ? 0 : -1;
    return u >= params->gamma ? 0 : params->gamma - u;
}
