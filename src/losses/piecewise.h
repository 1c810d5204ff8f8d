/* Squares and hinges of a margin u, and each's dL/du. */

/* IPO (arXiv 2310.12036, eq. 17): (h - 1/(2 beta))^2. */
static real bn_ipo(const bn_numbers *k, real u, real *du)
{
    const real d = (u - (real)0.5) / k->beta;

    *du = 2 * d / k->beta;
    return d * d;
}

/* iREPO (arXiv 2405.15230): (u - logit(soft label))^2; the factor beta within
 * u is a reconstruction. */
static real bn_irepo(const bn_numbers *k, real u, real *du)
{
    const real d = u - k->logit;

    *du = 2 * d;
    return d * d;
}

/* RSO's hinge (arXiv 2309.06657): max(0, 1 - u). Written so that NaN stays. */
static real bn_hinge(const bn_numbers *k, real u, real *du)
{
    (void)k;
    *du = u >= 1 ? 0 : -1;
    return u >= 1 ? 0 : 1 - u;
}

/* SLiC-HF (arXiv 2305.10425): max(0, delta - l_w + l_x). */
static real bn_slic(const bn_numbers *k, real u, real *du)
{
    *du = u >= k->gamma ? 0 : -1;
    return u >= k->gamma ? 0 : k->gamma - u;
}
