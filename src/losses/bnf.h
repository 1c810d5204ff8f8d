/* BNF, Bidirectional Negative Feedback (arXiv 2410.04834, eq. 8-10).
 *
 * The label's target is f = min(p/q, 1), where q is the reference's
 * probability. The other tokens share 1 - f in proportion to the policy's
 * probabilities. No gradient goes through the targets. The value is their
 * cross-entropy,
 *
 *     value = -[f log p + (1-f) rest]
 *
 * and its gradient is that of the likelihood, times one number:
 *
 *     d value / d logits = g (p - onehot),
 *     g = (f - p) / (1 - p) = min(1, odds(p) / odds(q))
 *
 * g is 1 if p >= q. Below q it falls to 0 with p, so a rejected token that has
 * become much less likely than under the reference gets hardly any gradient.
 *
 * eps > 0 is the rule of the authors' later public code: f = min(p/(q+eps), 1),
 * the other tokens' targets are o p_t with o = (1-f+eps)/(1-p+eps), and f - o p
 * replaces g. Such targets do not sum to 1. */

typedef struct bn_bnf_token {
    bn_real value;  /* before side and normalisation */
    bn_real g;      /* dvalue/dlogp = -g */
    bn_real f;
} bn_bnf_token;

static bn_bnf_token bn_bnf_exact(const bn_token *token, bn_real ref)
{
    const bn_real d = token->logp - ref;
    bn_bnf_token bnf;
    bn_real one_f;

    if (!(d < 0)) {                     /* includes logp = ref = -inf */
        bnf.f = bnf.g = 1;
        bnf.value = 0 - token->logp;
        return bnf;
    }
    bnf.f = BN_R_EXP(d);
    one_f = -BN_R_EXPM1(d);
    bnf.g = BN_R_EXP(token->odds - (ref - bn_log1mexp(ref)));
    if (bnf.g > 1)
        bnf.g = 1;
    /* Both terms are non-negative. If f is 0, f * logp may be 0 * -inf. */
    bnf.value = (bnf.f > 0 ? -bnf.f * token->logp : 0) - one_f * token->rest;
    return bnf;
}

static bn_bnf_token bn_bnf_eps(const bn_token *token, bn_real ref, bn_real eps)
{
    const bn_real p = BN_R_EXP(token->logp), q = BN_R_EXP(ref),
                  one_q = -BN_R_EXPM1(ref);
    bn_bnf_token bnf;
    bn_real o;

    if (p >= q + eps) {
        bnf.f = 1;
        o = eps / (token->q + eps);
        bnf.g = (1 + eps) * token->q / (token->q + eps);
    } else {
        bnf.f = p / (q + eps);
        o = ((q + eps - p) / (q + eps) + eps) / (token->q + eps);
        bnf.g = p * (1 + eps) * (one_q - eps) / ((q + eps) * (token->q + eps));
    }
    bnf.value = (bnf.f > 0 ? -bnf.f * token->logp : 0)
                - (token->q > 0 ? o * token->q * token->rest : 0);
    return bnf;
}

/* Returns BNF of one token. ref <= 0 is the reference's logp of the label. */
static bn_bnf_token bn_bnf(const bn_token *token, bn_real ref, bn_real eps)
{
    return eps > 0 ? bn_bnf_eps(token, ref, eps) : bn_bnf_exact(token, ref);
}

static bn_real bn_bnf_loss(const bn_params *params, const bn_token *token,
                           const bn_token_input *input, bn_real *dlogp)
{
    const bn_bnf_token bnf = bn_bnf(token, input->ref, params->eps);

    *dlogp = -bnf.g;
    return bnf.value;
}
