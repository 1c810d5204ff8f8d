/* What a loss of whole responses is made of: one response as it sees it, and
 * the numbers that shape the loss. */

typedef struct bn_response {
    real l;             /* sum of logp */
    real r;             /* sum of the reference's logp; 0 without one */
    real ratio;         /* sum of logp - ref: l - r would cancel */
    real n;             /* valid tokens */
    real distance;      /* FPO's D */
} bn_response;

typedef struct bn_numbers {
    /* of the spec, under its names; beta is 1 where a loss has none */
    real beta, flip, gamma, alpha, penalty, tau, tau_max, rho, cap;
    real desirable, undesirable, order;
    uint32_t divergence;
    real root;          /* Ada-DPO: see adadpo.h */
    /* of the call */
    real kl, shift;
    /* of the pair at hand */
    real scale, margin; /* s and m' of u = s beta h + m' */
    real logit;         /* iREPO: that of the soft label */
} bn_numbers;

static real bn_mean_logp(const bn_response *y)
{
    return y->l / y->n;
}

/* a * b where a = 0 wins over an infinite b: the limit of every product here,
 * in which a falls exponentially. */
static real bn_times(real a, real b)
{
    const real product = a * b;

    return product != product && a == 0 && b == b ? a : product;
}

/* sig'(x) = sig(x) sig(-x) */
static real bn_bell(real x)
{
    return bn_sigmoid(x) * bn_sigmoid(-x);
}
