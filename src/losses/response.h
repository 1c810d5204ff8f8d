/* What a loss is given: one token or one response, and the numbers that shape
 * the loss. */

/* One token, besides its softmax. */
typedef struct bn_token_input {
    bn_real ref;        /* the reference's logp, at most 0; 0 without one */
    bn_real smoothing;  /* label smoothing, */
    bn_real mean_gap;   /*   with the mean over the finite z'_v of lse - z'_v */
    bn_real z_loss;     /* zeta, */
    bn_real lse;        /*   with the log-sum-exp of z' */
} bn_token_input;

typedef struct bn_response {
    bn_real l;          /* sum of logp */
    bn_real r;          /* sum of the reference's logp; 0 without one */
    bn_real ratio;      /* sum of logp - ref: l - r would cancel */
    bn_real n;          /* valid tokens */
    bn_real distance;   /* FPO's D */
} bn_response;

typedef struct bn_params {
    /* from the spec, under its names; beta is 1 for a loss that has none */
    bn_real beta, flip, gamma, alpha, penalty, tau, tau_max, rho, cap, eps;
    bn_real desirable, undesirable, order;
    uint32_t divergence;
    int dft;
    bn_real root;       /* Ada-DPO: see adadpo.h */
    /* from the call */
    bn_real kl, baseline;
    /* from the pair */
    bn_real scale, margin;  /* s and m' of u = s beta h + m' */
    bn_real logit;      /* iREPO: the logit of the soft label */
} bn_params;

/* A loss of one token: L and dL/dlogp, before side and normalisation. */
typedef bn_real bn_token_loss_fn(const bn_params *params,
                                 const bn_token *token,
                                 const bn_token_input *input, bn_real *dlogp);

static bn_real bn_mean_logp(const bn_response *response)
{
    return response->l / response->n;
}

/* Returns a * b, and 0 if a is 0 and b infinite. That is the limit of every
 * product here, since a falls exponentially. */
static bn_real bn_times(bn_real a, bn_real b)
{
    const bn_real product = a * b;

    return product != product && a == 0 && b == b ? a : product;
}

/* Returns sig'(x) = sig(x) sig(-x). */
static bn_real bn_bell(bn_real x) { return bn_sigmoid(x) * bn_sigmoid(-x); }
