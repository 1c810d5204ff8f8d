/* Losses of one response and its side, which is +1 (desirable) or -1
 * (undesirable). Each returns L and stores dL/dl. a is the sum of logp -
 * ref. */

typedef bn_real bn_sequence_loss_fn(const bn_params *params,
                                    const bn_response *response, int side,
                                    bn_real *dl);

static bn_real bn_side_weight(const bn_params *params, int side)
{
    return side > 0 ? params->desirable : params->undesirable;
}

/* KTO (arXiv 2402.01306): L = weight (1 - sig(side beta (a - kl))). kl is the
 * batch's estimate of KL(policy, reference); no gradient goes through it. */
static bn_real bn_kto(const bn_params *params, const bn_response *response,
                      int side, bn_real *dl)
{
    const bn_real u = side * params->beta * (response->ratio - params->kl);
    const bn_real weight = bn_side_weight(params, side);

    *dl = -side * weight * params->beta * bn_bell(u);
    return weight * bn_sigmoid(-u);
}

/* BCO (arXiv 2404.04656): L = -weight log sig(side (beta a - shift)). The
 * shift is the running mean of beta a over both sides; no gradient goes
 * through it. */
static bn_real bn_bco(const bn_params *params, const bn_response *response,
                      int side, bn_real *dl)
{
    const bn_real u = side
                      * (params->beta * response->ratio - params->baseline);
    const bn_real weight = bn_side_weight(params, side);

    *dl = -side * weight * params->beta * bn_sigmoid(-u);
    return weight * bn_softplus(-u);
}

/* APO-zero without pairs (arXiv 2408.06266): L = 1 - sig(side beta a). */
static bn_real bn_apo_zero_unpaired(const bn_params *params,
                                    const bn_response *response, int side,
                                    bn_real *dl)
{
    const bn_real u = side * params->beta * response->ratio;

    *dl = -side * params->beta * bn_bell(u);
    return bn_sigmoid(-u);
}

/* ASFT (arXiv 2409.10571). With m the mean logp and P = e^m,
 *     desirable:    L = -(1 + penalty) m
 *     undesirable:  L = -penalty log(1 - P)
 * It is ORPO with the odds of each response in a term of its own. */
static bn_real bn_asft(const bn_params *params, const bn_response *response,
                       int side, bn_real *dl)
{
    const bn_real m = bn_mean_logp(response);

    if (side > 0) {
        *dl = -(1 + params->penalty) / response->n;
        return -(1 + params->penalty) * m;
    }
    *dl = bn_times(params->penalty, 1 / BN_R_EXPM1(0 - m))
        / response->n;                                      /* P / (1 - P) */
    return bn_times(params->penalty, -bn_log1mexp(m));
}
