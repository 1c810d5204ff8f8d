/* BNF, Bidirectional Negative Feedback (arXiv 2410.04834, eq. 8-10).
 *
 * The label's target is f = min(p/q, 1), q the reference's probability; what
 * is left of the mass goes to the others in proportion to the policy. With
 * the targets frozen the value is their cross-entropy
 *
 *     value = -[f log p + (1-f) rest]
 *
 * and its gradient is that of the likelihood, faded by the odds:
 *
 *     d value / d logits = g (p - onehot),
 *     g = (f - p) / (1 - p) = min(1, odds(p) / odds(q))
 *
 * g is 1 while the policy is at least as sure as the reference, and falls to
 * 0 with p: a dispreferred token that has become unlikely is left alone.
 *
 * eps > 0 is the authors' later public code: f = min(p/(q+eps), 1), others'
 * weights o p_t with o = (1-f+eps)/(1-p+eps), and c = f - o p for g. Such
 * targets do not sum to 1. */

typedef struct bn_bnf_token {
    real value;     /* before side and normalisation */
    real g;         /* dvalue/dlogp = -g */
    real f;
} bn_bnf_token;

static bn_bnf_token bn_bnf_exact(const bn_token *t, real ref)
{
    const real d = t->logp - ref;
    bn_bnf_token b;
    real one_f;

    if (!(d < 0)) {                     /* also logp = ref = -inf */
        b.f = b.g = 1;
        b.value = 0 - t->logp;
        return b;
    }
    b.f = R_EXP(d);
    one_f = -R_EXPM1(d);
    b.g = R_EXP(t->odds - (ref - bn_log1mexp(ref)));
    if (b.g > 1)
        b.g = 1;
    /* both terms are non-negative; where f = 0, f * logp is 0 * -inf */
    b.value = (b.f > 0 ? -b.f * t->logp : 0) - one_f * t->rest;
    return b;
}

static bn_bnf_token bn_bnf_eps(const bn_token *t, real ref, real eps)
{
    const real p = R_EXP(t->logp), q = R_EXP(ref), one_q = -R_EXPM1(ref);
    bn_bnf_token b;
    real o;

    if (p >= q + eps) {
        b.f = 1;
        o = eps / (t->q + eps);
        b.g = (1 + eps) * t->q / (t->q + eps);
    } else {
        b.f = p / (q + eps);
        o = ((q + eps - p) / (q + eps) + eps) / (t->q + eps);
        b.g = p * (1 + eps) * (one_q - eps) / ((q + eps) * (t->q + eps));
    }
    b.value = (b.f > 0 ? -b.f * t->logp : 0)
              - (t->q > 0 ? o * t->q * t->rest : 0);
    return b;
}

/* ref <= 0 is the reference's log-probability of the label. */
static bn_bnf_token bn_bnf(const bn_token *t, real ref, real eps)
{
    return eps > 0 ? bn_bnf_eps(t, ref, eps) : bn_bnf_exact(t, ref);
}
