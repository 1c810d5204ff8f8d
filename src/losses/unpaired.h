/* Losses of one response and its side, +1 desirable or -1 undesirable: L and
 * dL/dl. a: its sum of logp - ref. */

typedef real bn_alone_fn(const bn_numbers *k, const bn_response *y, int side,
                         real *dl);

static real bn_side_weight(const bn_numbers *k, int side)
{
    return side > 0 ? k->desirable : k->undesirable;
}

/* KTO (arXiv 2402.01306): weight (1 - sig(side beta (a - kl))), kl the
 * batch's estimate of KL(policy, reference), frozen. */
static real bn_kto(const bn_numbers *k, const bn_response *y, int side,
                   real *dl)
{
    const real u = side * k->beta * (y->ratio - k->kl);
    const real weight = bn_side_weight(k, side);

    *dl = -side * weight * k->beta * bn_bell(u);
    return weight * bn_sigmoid(-u);
}

/* BCO (arXiv 2404.04656): -weight log sig(side (beta a - shift)),
 * shift the running mean of beta a over both sides, frozen. */
static real bn_bco(const bn_numbers *k, const bn_response *y, int side,
                   real *dl)
{
    const real u = side * (k->beta * y->ratio - k->shift);
    const real weight = bn_side_weight(k, side);

    *dl = -side * weight * k->beta * bn_sigmoid(-u);
    return weight * bn_softplus(-u);
}

/* APO-zero without pairs (arXiv 2408.06266): 1 - sig(side beta a). */
static real bn_apo_zero_unpaired(const bn_numbers *k, const bn_response *y,
                                 int side, real *dl)
{
    const real u = side * k->beta * y->ratio;

    *dl = -side * k->beta * bn_bell(u);
    return bn_sigmoid(-u);
}

/* ASFT (arXiv 2409.10571): with m the mean logp and P = e^m,
 *     desirable -(1 + lambda) m,  undesirable -lambda log(1 - P)
 * which is ORPO whose two odds are held apart. */
static real bn_asft(const bn_numbers *k, const bn_response *y, int side,
                    real *dl)
{
    const real m = bn_mean_logp(y);

    if (side > 0) {
        *dl = -(1 + k->penalty) / y->n;
        return -(1 + k->penalty) * m;
    }
    *dl = bn_times(k->penalty, 1 / R_EXPM1(0 - m)) / y->n;  /* P / (1 - P) */
    return bn_times(k->penalty, -bn_log1mexp(m));
}
