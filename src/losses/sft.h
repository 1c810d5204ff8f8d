/* SFT: cross-entropy, and its dynamic form DFT.
 *
 *     value = -logp,        dlogp = -1
 *     DFT   = -sg(p) logp,  dlogp = -p      (arXiv 2508.05629, eq. 9)
 *
 * No gradient goes through sg(.). */

static bn_real bn_sft(const bn_token *token, int dft, bn_real *dlogp)
{
    const bn_real p = dft ? BN_R_EXP(token->logp) : 1;

    *dlogp = -p;
    return p > 0 ? 0 - p * token->logp : 0;
}

/* Returns the value of SFT with label smoothing (ls) and z-loss (zeta):
 *
 *     value = (1-ls) nll + ls mean_v (lse - z'_v) + zeta lse^2
 *
 * mean_gap is that mean, over the finite z'_v. These two terms have gradients
 * that do not go through the label's logp: kernels/gradient.c adds them. */
static bn_real bn_sft_smoothed(const bn_token *token, bn_real ls, bn_real zeta,
                               bn_real mean_gap, bn_real lse)
{
    return (ls < 1 ? -(1 - ls) * token->logp : 0)
           + (ls > 0 ? ls * mean_gap : 0) + (zeta > 0 ? zeta * lse * lse : 0);
}

static bn_real bn_sft_loss(const bn_params *params, const bn_token *token,
                           const bn_token_input *input, bn_real *dlogp)
{
    const bn_real value = bn_sft(token, params->dft, dlogp);

    if (!(input->smoothing > 0 || input->z_loss > 0))
        return value;
    return bn_sft_smoothed(token, input->smoothing, input->z_loss,
                           input->mean_gap, input->lse);
}
