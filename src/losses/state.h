/* A row's state, read: what the forward pass leaves for the losses and for
 * the backward pass. */

/* No softmax: a NaN or +inf logit, or, once the label has been seen, not one
 * finite. A slice of the vocabulary alone cannot tell the latter. */
static int bn_row_is_nan(const bnfloss_row *x)
{
    return (x->flags & BNFLOSS_ROW_NAN) != 0
           || ((x->flags & BNFLOSS_ROW_LABEL) && x->label == -BN_INF
               && x->leader == -BN_INF);
}

/* The number of finite logits; where the row was taken with its mean. */
static double bn_row_finite(const bnfloss_row *x)
{
    return x->finite + bn_is_finite(x->leader) + bn_is_finite(x->label);
}

/* The mean over the finite z'_v of lse - z'_v; logp: the label's. */
static double bn_row_mean_gap(const bnfloss_row *x, double logp)
{
    double gaps = bn_is_finite(x->label) ? -logp : 0;

    if (bn_is_finite(x->leader))
        gaps += (x->finite + 1) * bn_lse_gap(x->label, x->leader, x->sum)
                - x->shift;
    return gaps / bn_row_finite(x);
}

/* The mean of the finite z'. */
static double bn_row_mean(const bnfloss_row *x)
{
    const double label = bn_is_finite(x->label) ? x->label - x->leader : 0;

    if (bn_row_is_nan(x))
        return BN_NAN;
    if (!bn_is_finite(x->leader))
        return x->label;                /* the label stands alone */
    return x->leader + (x->shift + label) / bn_row_finite(x);
}

/* log sum_v p_v^2 = log sum_v e^(2 z') - 2 lse: from the gaps of both to the
 * leader, so that no offset of the logits costs a digit. */
static double bn_row_log_square(const bnfloss_row *x)
{
    if (bn_row_is_nan(x))
        return BN_NAN;
    if (x->leader == -BN_INF)
        return 0;
    return bn_lse_gap(2 * x->label, 2 * x->leader, x->square)
           - 2 * bn_lse_gap(x->label, x->leader, x->sum);
}

static bn_token bn_token_of_row(const bnfloss_row *x)
{
    bn_token t;

    if (bn_row_is_nan(x)) {
        t.logp = t.odds = t.q = t.rest = BN_NAN;
        return t;
    }
    t = bn_token_from_sums(x->label, x->leader, x->sum, x->dot);
    if (!(x->flags & BNFLOSS_ROW_ENTROPY))
        t.rest = BN_NAN;
    return t;
}
