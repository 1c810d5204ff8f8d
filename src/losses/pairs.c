/* What a batch does once its sequences are summed: the losses of pairs, of
 * sorted batches and of single responses, and the scale of the rows behind
 * them. */

/* ---- One pair ----------------------------------------------------------- */

typedef struct bn_pair {
    double value;       /* the loss */
    double dw, dx;      /* dL/dl of the chosen and the rejected response */
    double du;          /* dL/du, where there is a margin */
} bn_pair;

/* The numbers of the loss, with what pair k brings. */
static bn_numbers bn_pair_numbers(const bn_batch *b, int64_t k)
{
    bn_numbers n = b->numbers;

    n.scale = bn_given(b->in->pair_scale, k, 1);
    n.margin = bn_given(b->in->pair_margin, k, 0);
    if (b->loss->traits & BN_SOFT) {
        const double p = (double)b->in->soft_label[k];

        n.logit = bn_log(p) - bn_log1p(-p);
    }
    return n;
}

static bn_pair bn_pair_of(const bn_loss *loss, const bn_numbers *k,
                          const bn_response *w, const bn_response *x)
{
    const double s = k->scale * k->beta;
    bn_pair pair = { 0, 0, 0, 0 };
    bn_margin m;

    if (!bn_has_margin(loss)) {
        pair.value = loss->apart(k, w, x, &pair.dw, &pair.dx);
        return pair;
    }
    m = loss->margin(k, w, x);
    pair.value = loss->phi(k, s * m.h + (k->margin + m.add), &pair.du);
    pair.dw = bn_times(pair.du * s, m.dw);
    pair.dx = bn_times(pair.du * s, m.dx);
    return pair;
}

/* ---- Pairs sorted over the batch ---------------------------------------- */

/* What the loss sorts, of pair k. AOT: the policy's margins against (first),
 * the reference's; unpaired: a against b. NaN comes last. */
static double bn_key(const bn_batch *b, int64_t k, int first)
{
    const bn_seq *w = b->seq + bn_pair_seq(b, k, 1);
    const bn_seq *x = b->seq + bn_pair_seq(b, k, -1);
    double key;

    if (b->spec->kind == BNFLOSS_AOT)
        key = first ? w->l - x->l : w->r - x->r;
    else
        key = first ? w->ratio : x->ratio;
    return key;
}

/* Whether pair i sorts before pair j; equal ones by their number. */
static int bn_key_before(const bn_batch *b, int64_t i, int64_t j, int first)
{
    const double x = bn_key(b, i, first), y = bn_key(b, j, first);

    if (bn_is_nan(x) || bn_is_nan(y))
        return bn_is_nan(x) && bn_is_nan(y) ? i < j : bn_is_nan(y);
    return x < y || (x == y && i < j);
}

/* Where rank r of an order is kept: with the chosen, or rejected, sequence of
 * the r-th pair. */
static int64_t *bn_rank(const bn_batch *b, int64_t r, int first)
{
    return &b->seq[bn_pair_seq(b, r, first ? 1 : -1)].order;
}

/* Lets the pair at place r of a heap of n sink to where it belongs. */
static void bn_sink(const bn_batch *b, int64_t r, int64_t n, int first)
{
    const int64_t pair = *bn_rank(b, r, first);

    for (int64_t child; (child = 2 * r + 1) < n; r = child) {
        if (child + 1 < n
            && bn_key_before(b, *bn_rank(b, child, first),
                             *bn_rank(b, child + 1, first), first))
            child++;
        if (!bn_key_before(b, pair, *bn_rank(b, child, first), first))
            break;
        *bn_rank(b, r, first) = *bn_rank(b, child, first);
    }
    *bn_rank(b, r, first) = pair;
}

/* Heapsort: in place, and never slower than n log n. */
static void bn_sort_pairs(const bn_batch *b, int first)
{
    int64_t n = 0;

    for (int64_t k = 0; k < b->P; k++)
        if (bn_pair_counts(b, k))
            *bn_rank(b, n++, first) = k;
    for (int64_t r = n / 2; r-- > 0;)
        bn_sink(b, r, n, first);
    for (int64_t last = n - 1; last > 0; last--) {
        const int64_t most = *bn_rank(b, 0, first);

        *bn_rank(b, 0, first) = *bn_rank(b, last, first);
        *bn_rank(b, last, first) = most;
        bn_sink(b, 0, last, first);
    }
}

/* ---- The scales behind the rows ----------------------------------------- */

/* The share of each chosen token in the likelihood term. */
static double bn_sft_share(const bn_batch *b, const bn_seq *w)
{
    const double s = (double)b->spec->sft_weight
                     * (b->loss->traits & BN_SFT_BETA ? b->numbers.beta : 1);

    if (w->n == 0 || !(s > 0))
        return 0;
    switch (b->spec->sft_norm) {
    case BNFLOSS_NORM_LENGTH:
        return s / (double)w->n;
    case BNFLOSS_NORM_BATCH:
        return s * ((double)b->pairs / (double)b->chosen_tokens);
    default:
        return s;
    }
}

/* Sums over the pairs of a call. */
typedef struct bn_pair_sums {
    bn_total loss, sft;         /* sft: the likelihood term alone, weighted */
    double *pair_loss;          /* (P), or NULL */
    bnfloss_result *result;
} bn_pair_sums;

/* A pair times its weight and WPO's. A weight of 0 gives 0, whatever is in the
 * pair; else NaN in the loss is NaN in all of it. */
static bn_pair bn_pair_weigh(bn_pair p, double weight, double wpo,
                             bnfloss_result *result)
{
    const double factor = weight * wpo;

    p.value = weight == 0 ? 0 : bn_times(factor, p.value);
    p.dw = weight == 0 ? 0 : bn_times(factor, p.dw);
    p.dx = weight == 0 ? 0 : bn_times(factor, p.dx);
    p.du = weight == 0 ? 0 : bn_times(factor, p.du);
    if (bn_is_nan(p.value)) {
        p.dw = p.dx = p.du = BN_NAN;
        result->nan_pairs++;
    }
    return p;
}

/* Gives the rows behind a pair their scales: the chosen sequence of pair kw
 * and the rejected one of pair kx, which differ where the batch was sorted. */
static void bn_pair_settle(bn_batch *b, int64_t kw, int64_t kx, bn_pair pair,
                           bn_pair_sums *sums)
{
    bn_seq *w = b->seq + bn_pair_seq(b, kw, 1);
    bn_seq *x = b->seq + bn_pair_seq(b, kx, -1);
    const double weight = b->loss->shape == BN_BY_PAIR
                              ? bn_given(b->in->pair_weight, kw, 1) : 1;
    const double wpo = b->spec->flags & BNFLOSS_WPO
                           ? bn_exp(w->wpo + x->wpo) : 1;
    const double share = bn_sft_share(b, w);
    const double sft = share > 0 ? share * -w->logp : 0;

    pair = bn_pair_weigh(pair, weight, wpo, sums->result);
    w->scale = bn_call_scaled(b, pair.dw);
    x->scale = bn_call_scaled(b, pair.dx);
    w->plain = bn_call_scaled(b, -share);
    if (b->loss->traits & BN_DISTANCE)
        x->distance -= bn_call_scaled(b, pair.du) * b->numbers.alpha
                       * b->numbers.beta;
    bn_add(&sums->loss, pair.value + sft);
    bn_add(&sums->sft, sft);
    if (sums->pair_loss)
        sums->pair_loss[kw] = bn_canonical(pair.value + sft);
}

static void bn_batch_pairs(bn_batch *b, bn_pair_sums *sums)
{
    for (int64_t k = 0; k < b->P; k++) {
        const int64_t w = bn_pair_seq(b, k, 1), x = bn_pair_seq(b, k, -1);
        const bn_response chosen = bn_response_of(b, w);
        const bn_response rejected = bn_response_of(b, x);

        if (sums->pair_loss)
            sums->pair_loss[k] = 0;
        b->seq[w].scale = b->seq[x].scale = 0;
        if (bn_pair_counts(b, k)) {     /* or its numbers may not be there */
            const bn_numbers n = bn_pair_numbers(b, k);

            bn_pair_settle(b, k, k, bn_pair_of(b->loss, &n, &chosen,
                                               &rejected), sums);
        }
    }
}

/* AOT: rank r of one order meets rank r of the other. For AOT itself the
 * policy's margin is the pair's, so both halves go to it; unpaired, the
 * chosen half goes to the pair of that rank among a, the rejected to that
 * among b. */
static void bn_batch_sorted(bn_batch *b, bn_pair_sums *sums)
{
    const int paired = b->spec->kind == BNFLOSS_AOT;

    bn_sort_pairs(b, 1);
    bn_sort_pairs(b, 0);
    for (int64_t k = 0; k < b->P; k++) {
        if (sums->pair_loss)
            sums->pair_loss[k] = 0;
        b->seq[bn_pair_seq(b, k, 1)].scale = 0;
        b->seq[bn_pair_seq(b, k, -1)].scale = 0;
    }
    for (int64_t r = 0; r < b->pairs; r++) {
        const int64_t i = *bn_rank(b, r, 1), j = *bn_rank(b, r, 0);
        const double t = bn_key(b, i, 1) - bn_key(b, j, 0);
        bn_pair pair;

        pair.value = b->loss->phi(&b->numbers, b->numbers.beta * t, &pair.du);
        pair.dw = b->numbers.beta * pair.du;
        pair.dx = -pair.dw;
        bn_pair_settle(b, i, paired ? i : j, pair, sums);
    }
}

/* ---- Single responses --------------------------------------------------- */

static double bn_mean(const bn_total *t, int64_t n)
{
    return n > 0 ? bn_canonical(bn_total_of(t) / (double)n) : BN_NAN;
}

/* KTO's kl: given, or the mean over mismatched answers, at least 0. */
static double bn_kl_of(const bnfloss_inputs *in)
{
    bn_total sum = { 0, 0 };
    double kl;

    if (!in->mismatched)
        return in->kl;
    for (int64_t i = 0; i < in->mismatches; i++)
        bn_add(&sum, in->mismatched[i]);
    kl = bn_mean(&sum, in->mismatches);
    return kl < 0 ? 0 : kl;
}

/* BCO's shift: the running mean, this call's rewards included. */
static void bn_batch_shift(bn_batch *b, bnfloss_result *result)
{
    const double count = b->in->shift_count + (double)b->sequences;
    bn_total sum = { 0, 0 };

    bn_add(&sum, b->in->shift_mean * b->in->shift_count);
    for (int64_t s = 0; s < b->S; s++)
        if (b->seq[s].n > 0)
            bn_add(&sum, b->numbers.beta * b->seq[s].ratio);
    b->numbers.shift = count > 0 ? bn_canonical(bn_total_of(&sum) / count) : 0;
    result->shift = b->numbers.shift;
    result->shift_count = count;
}

static void bn_batch_alone(bn_batch *b, bn_total *loss, double *seq_loss,
                           bnfloss_result *result)
{
    if (b->loss->traits & BN_KL)
        result->kl = b->numbers.kl = bn_kl_of(b->in);
    if (b->loss->traits & BN_SHIFT)
        bn_batch_shift(b, result);
    for (int64_t s = 0; s < b->S; s++) {
        const bn_response y = bn_response_of(b, s);
        bn_seq *q = b->seq + s;
        double value = 0, dl = 0;

        if (q->n > 0 && q->norm != 0) {
            value = q->norm * b->loss->alone(&b->numbers, &y, bn_side(b, s),
                                             &dl);
            if (bn_is_nan(value))
                dl = BN_NAN;
        }
        q->scale = bn_call_scaled(b, q->norm * dl);
        bn_add(loss, value);
        if (seq_loss)
            seq_loss[s] = bn_canonical(value);
    }
}
