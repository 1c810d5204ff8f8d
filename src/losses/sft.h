/* SFT: cross-entropy, and its dynamic form DFT.
 *
 *     value = -logp,        dlogp = -1
 *     DFT   = -sg(p) logp,  dlogp = -p      (arXiv 2508.05629, eq. 9)
 *
 * sg(.) is frozen: no gradient goes through it. */

static real bn_sft(const bn_token *t, int dft, real *dlogp)
{
    const real p = dft ? R_EXP(t->logp) : 1;

    *dlogp = -p;
    return p > 0 ? 0 - p * t->logp : 0;
}

/* SFT with label smoothing (ls) and z-loss (zeta):
 *
 *     value = (1-ls) nll + ls mean_v (lse - z'_v) + zeta lse^2
 *
 * mean_gap: the mean over the finite z'_v of lse - z'_v. The gradient's two
 * further terms belong to the row: see rows/row.c. */
static real bn_sft_smoothed(const bn_token *t, real ls, real zeta,
                            real mean_gap, real lse)
{
    return (ls < 1 ? -(1 - ls) * t->logp : 0)
           + (ls > 0 ? ls * mean_gap : 0) + (zeta > 0 ? zeta * lse * lse : 0);
}
