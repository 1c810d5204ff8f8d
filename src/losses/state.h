/* Reads the state of a row, which the forward pass leaves for the losses and
 * for the backward pass. */

/* Returns whether a row has no softmax: one logit is NaN or +inf, or none is
 * finite. The latter is known only once the label has been read, since a slice
 * of the vocabulary may consist of masked logits alone. */
static int bn_row_is_nan(const bnfloss_row *row)
{
    return (row->flags & BNFLOSS_ROW_NAN) != 0
           || ((row->flags & BNFLOSS_ROW_LABEL) && row->label == -BN_INF
               && row->leader == -BN_INF);
}

/* Returns the number of finite logits of a row with BNFLOSS_ROW_MEAN. */
static double bn_row_finite(const bnfloss_row *row)
{
    return row->finite + bn_is_finite(row->leader) + bn_is_finite(row->label);
}

/* Returns the mean over the finite z'_v of lse - z'_v. logp is the label's. */
static double bn_row_mean_gap(const bnfloss_row *row, double logp)
{
    double gaps = bn_is_finite(row->label) ? -logp : 0;

    if (bn_is_finite(row->leader))
        gaps += (row->finite + 1)
                    * bn_lse_gap(row->label, row->leader, row->sum)
                - row->shift;
    return gaps / bn_row_finite(row);
}

/* Returns the mean of the finite z'. */
static double bn_row_mean(const bnfloss_row *row)
{
    const double label = bn_is_finite(row->label) ? row->label - row->leader
                                                  : 0;

    if (bn_row_is_nan(row))
        return BN_NAN;
    if (!bn_is_finite(row->leader))
        return row->label;              /* all others are masked */
    return row->leader + (row->shift + label) / bn_row_finite(row);
}

/* Returns log sum_v p_v^2 = log sum_v e^(2 z'_v) - 2 lse. Both terms are taken
 * relative to the leader, so an offset that all logits share costs no
 * accuracy. */
static double bn_row_log_square(const bnfloss_row *row)
{
    if (bn_row_is_nan(row))
        return BN_NAN;
    if (row->leader == -BN_INF)
        return 0;
    return bn_lse_gap(2 * row->label, 2 * row->leader, row->square)
           - 2 * bn_lse_gap(row->label, row->leader, row->sum);
}

/* Returns the token of a row: NaN without a softmax, and with a NaN rest if the
 * row was read without BNFLOSS_ENTROPY. */
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
