/* One token's softmax, as the losses see it: four numbers that keep their
 * relative accuracy when p is next to 0 or next to 1. */

typedef struct bn_token {
    real logp;      /* log p of the label */
    real odds;      /* log(p / (1-p)): of these the odds ratio is made */
    real q;         /* 1 - p */
    real rest;      /* sum_{t != y} p_t log p_t / (1-p), the others' negative
                       entropy in units of their mass; NaN where unknown */
} bn_token;

/* From log p alone (logp <= 0). */
static bn_token bn_token_from_logp(real logp, real rest)
{
    bn_token t;

    t.logp = logp;
    t.odds = logp - bn_log1mexp(logp);
    t.q = -R_EXPM1(logp);
    t.rest = rest;
    return t;
}

/* From a row: `leader`, the largest logit but the label's; sum and dot over
 * the other tokens of e^(x - leader) and e^(x - leader) (x - leader).
 * log Z is taken relative to the larger of label and leader, so that no
 * offset of the logits costs a digit, and 1 - p is never a difference. */
static bn_token bn_token_from_sums(real label, real leader, real sum, real dot)
{
    const real d = label - leader;
    bn_token t;

    if (leader == -R_INFINITY) {                /* the label stands alone */
        t.logp = t.q = t.rest = 0;
        t.odds = R_INFINITY;
        return t;
    }
    t.odds = d - R_LOG1P(sum);
    if (d <= 0) {
        const real z1 = sum + R_EXP(d);         /* Z - 1 */

        t.logp = d - R_LOG1P(z1);
        t.q = (1 + sum) / (1 + z1);
        t.rest = dot / (1 + sum) - R_LOG1P(z1);
    } else {
        const real o = R_EXP(-d) * (1 + sum);   /* (1-p)/p = Z - 1 */

        t.logp = -R_LOG1P(o);
        t.q = o / (1 + o);
        t.rest = dot / (1 + sum) - d + t.logp;
    }
    return t;
}

/* lse - leader: exact where both are huge. */
static real bn_lse_gap(real label, real leader, real sum)
{
    const real d = label - leader;

    return d <= 0 ? R_LOG1P(sum + R_EXP(d))
                  : d + R_LOG1P(R_EXP(-d) * (1 + sum));
}

/* lse itself, put together at the larger of label and leader. */
static real bn_lse(real label, real leader, real sum)
{
    const real d = label - leader;

    if (leader == -R_INFINITY)
        return label;
    return d <= 0 ? leader + R_LOG1P(sum + R_EXP(d))
                  : label + R_LOG1P(R_EXP(-d) * (1 + sum));
}

/* -sum_t p_t log p_t, a sum of non-negative terms. */
static real bn_token_entropy(const bn_token *t)
{
    const real p = R_EXP(t->logp);

    if (t->logp != t->logp)
        return t->logp;
    return (p > 0 ? 0 - p * t->logp : 0) + (t->q > 0 ? 0 - t->q * t->rest : 0);
}
