/* A row's state, read: what the forward pass leaves for the losses and for
 * the backward pass. */

/* No softmax: a NaN or +inf logit, or, once the label has been seen, not one
 * finite. A slice of the vocabulary alone cannot tell the latter. */
static int bn_row_is_nan(const bnfloss_row *row)
{
    return (row->flags & BNFLOSS_ROW_NAN) != 0
           || ((row->flags & BNFLOSS_ROW_LABEL) && row->label == -BN_INF
               && row->leader == -BN_INF);
}

/* The number of finite logits; where the row was taken with its mean. */
static double bn_row_finite(const bnfloss_row *row)
{
    return row->finite + bn_is_finite(row->leader) + bn_is_finite(row->label);
}

/* The mean over the finite z'_v of lse - z'_v; logp: the label's. */
static double bn_row_mean_gap(const bnfloss_row *row, double logp)
{
    double gaps = bn_is_finite(row->label) ? -logp : 0;

    if (bn_is_finite(row->leader))
        gaps += (row->finite + 1)
                    * bn_lse_gap(row->label, row->leader, row->sum)
                - row->shift;
    return gaps / bn_row_finite(row);
}

/* The mean of the finite z'. */
static double bn_row_mean(const bnfloss_row *row)
{
    const double label = bn_is_finite(row->label) ? row->label - row->leader
                                                  : 0;

    if (bn_row_is_nan(row))
        return BN_NAN;
    if (!bn_is_finite(row->leader))
        return row->label;              /* the label stands alone */
    return row->leader + (row->shift + label) / bn_row_finite(row);
}

/* log sum_v p_v^2 = log sum_v e^(2 z') - 2 lse: from the gaps of both to the
 * leader, so that no offset of the logits costs a digit. */
static double bn_row_log_square(const bnfloss_row *row)
{
    if (bn_row_is_nan(row))
        return BN_NAN;
    if (row->leader == -BN_INF)
        return 0;
    return bn_lse_gap(2 * row->label, 2 * row->leader, row->square)
           - 2 * bn_lse_gap(row->label, row->leader, row->sum);
}

static bn_token bn_token_of_row(const bnfloss_row *row)
{
    bn_token token;

    if (bn_row_is_nan(row)) {
        token.logp = token.odds = token.q = token.rest = BN_NAN;
        return token;
    }
    token = bn_token_from_sums(row->label, row->leader, row->sum, row->dot);
    if (!(row->flags & BNFLOSS_ROW_ENTROPY))
        token.rest = BN_NAN;
    return token;
}
