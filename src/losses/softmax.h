/* One token's softmax as the losses see it: four numbers that stay accurate to
 * a few ulps when p is close to 0 or to 1. */

typedef struct bn_token {
    bn_real logp;   /* log p of the label */
    bn_real odds;   /* log(p / (1-p)) */
    bn_real q;      /* 1 - p */
    bn_real rest;   /* sum_{t != y} p_t log p_t / (1-p), the mean log p of the
                       other tokens; NaN if unknown */
} bn_token;

/* Returns the token of a log p <= 0, with the rest that the caller knows. */
static bn_token bn_token_from_logp(bn_real logp, bn_real rest)
{
    bn_token token;

    token.logp = logp;
    token.odds = logp - bn_log1mexp(logp);
    token.q = -BN_R_EXPM1(logp);
    token.rest = rest;
    return token;
}

/* Returns the token of a row. `leader` is the largest logit that is not the
 * label's. `sum` and `dot` run over all other tokens: of e^(x - leader), and of
 * e^(x - leader) (x - leader).
 *
 * log Z is relative to the larger of label and leader, so an offset that all
 * logits share costs no accuracy. 1 - p is never computed as a difference. */
static bn_token bn_token_from_sums(bn_real label, bn_real leader, bn_real sum,
                                   bn_real dot)
{
    const bn_real d = label - leader;
    bn_token token;

    if (leader == -BN_R_INFINITY) {     /* all others are masked: p = 1 */
        token.logp = token.q = token.rest = 0;
        token.odds = BN_R_INFINITY;
        return token;
    }
    token.odds = d - BN_R_LOG1P(sum);
    if (d <= 0) {
        const bn_real z1 = sum + BN_R_EXP(d);   /* Z - 1 */

        token.logp = d - BN_R_LOG1P(z1);
        token.q = (1 + sum) / (1 + z1);
        token.rest = dot / (1 + sum) - BN_R_LOG1P(z1);
    } else {
        const bn_real o = BN_R_EXP(-d) * (1 + sum); /* (1-p)/p = Z - 1 */

        token.logp = -BN_R_LOG1P(o);
        token.q = o / (1 + o);
        token.rest = dot / (1 + sum) - d + token.logp;
    }
    return token;
}

/* Returns lse - leader, exact even if both are huge. */
static bn_real bn_lse_gap(bn_real label, bn_real leader, bn_real sum)
{
    const bn_real d = label - leader;

    return d <= 0 ? BN_R_LOG1P(sum + BN_R_EXP(d))
                  : d + BN_R_LOG1P(BN_R_EXP(-d) * (1 + sum));
}

/* Returns lse, as a sum whose first term is the larger of label and leader. */
static bn_real bn_lse(bn_real label, bn_real leader, bn_real sum)
{
    const bn_real d = label - leader;

    if (leader == -BN_R_INFINITY)
        return label;
    return d <= 0 ? leader + BN_R_LOG1P(sum + BN_R_EXP(d))
                  : label + BN_R_LOG1P(BN_R_EXP(-d) * (1 + sum));
}

/* Returns the entropy -sum_t p_t log p_t, as a sum of non-negative terms. */
static bn_real bn_token_entropy(const bn_token *token)
{
    const bn_real p = BN_R_EXP(token->logp);

    if (token->logp != token->logp)
        return token->logp;
    return (p > 0 ? 0 - p * token->logp : 0)
           + (token->q > 0 ? 0 - token->q * token->rest : 0);
}
