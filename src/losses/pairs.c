/* Losses of pairs, of sorted batches and of single responses, once sequences
 * are summed. Each sets the scales of its sequences, from which bn_dlogp() gets
 * the gradient of their rows. */

/* ---- One pair ----------------------------------------------------------- */

typedef struct bn_pair {
    double value;       /* the loss */
    double d_chosen, d_rejected;    /* dL/dl of either response */
    double du;          /* dL/du, if the loss has a margin */
} bn_pair;

/* Returns the numbers of the loss, with those of pair k. */
static bn_params bn_params_of_pair(const bn_batch *batch, int64_t k)
{
    bn_params params = batch->numbers;

    params.scale = bn_get_or(batch->in->pair_scale, k, 1);
    params.margin = bn_get_or(batch->in->pair_margin, k, 0);
    if (batch->loss->traits & BN_SOFT) {
        const double p = (double)batch->in->soft_label[k];

        params.logit = bn_log(p) - bn_log1p(-p);
    }
    return params;
}

/* Returns the loss of two responses and its slopes, before pair_weight. */
static bn_pair bn_pair_of(const bn_loss *loss, const bn_params *params,
                          const bn_response *chosen,
                          const bn_response *rejected)
{
    const double s = params->scale * params->beta;
    bn_pair pair = { 0, 0, 0, 0 };
    bn_margin margin;

    if (!bn_has_margin(loss)) {
        pair.value = loss->pair_loss(params, chosen, rejected, &pair.d_chosen,
                                     &pair.d_rejected);
        return pair;
    }
    margin = loss->margin(params, chosen, rejected);
    pair.value = loss->margin_loss(params,
                                   s * margin.h
                                       + (params->margin + margin.add),
                                   &pair.du);
    pair.d_chosen = bn_times(pair.du * s, margin.d_chosen);
    pair.d_rejected = bn_times(pair.du * s, margin.d_rejected);
    return pair;
}

/* ---- Pairs sorted over the batch ---------------------------------------- */

/* AOT compares two sorted lists, rank by rank. With pairs these are the margins
 * of the policy and those of the reference; unpaired, a of the chosen and b of
 * the rejected responses. Returns pair k's key in the first list or in the
 * second. */
static double bn_key(const bn_batch *batch, int64_t k, int first)
{
    const bn_seq *chosen = batch->seq + bn_pair_seq(batch, k, 1);
    const bn_seq *rejected = batch->seq + bn_pair_seq(batch, k, -1);

    if (batch->loss->traits & BN_UNPAIRED)
        return first ? chosen->ratio : rejected->ratio;
    return first ? chosen->l - rejected->l : chosen->r - rejected->r;
}

/* Returns whether pair i sorts before pair j. Equal keys sort by number, and
 * NaN comes last. */
static int bn_key_before(const bn_batch *batch, int64_t i, int64_t j,
                         int first)
{
    const double x = bn_key(batch, i, first), y = bn_key(batch, j, first);

    if (bn_is_nan(x) || bn_is_nan(y))
        return bn_is_nan(x) && bn_is_nan(y) ? i < j : bn_is_nan(y);
    return x < y || (x == y && i < j);
}

/* Returns where the pair of rank r is stored. The first list uses the `order`
 * of the chosen sequence of pair r, the second that of its rejected
 * sequence. */
static int64_t *bn_rank(const bn_batch *batch, int64_t r, int first)
{
    return &batch->seq[bn_pair_seq(batch, r, first ? 1 : -1)].order;
}

/* Moves the pair at place r of a heap of n pairs down to its place. */
static void bn_sink(const bn_batch *batch, int64_t r, int64_t n, int first)
{
    const int64_t pair = *bn_rank(batch, r, first);

    for (int64_t child; (child = 2 * r + 1) < n; r = child) {
        if (child + 1 < n
            && bn_key_before(batch, *bn_rank(batch, child, first),
                             *bn_rank(batch, child + 1, first), first))
            child++;
        if (!bn_key_before(batch, pair, *bn_rank(batch, child, first), first))
            break;
        *bn_rank(batch, r, first) = *bn_rank(batch, child, first);
    }
    *bn_rank(batch, r, first) = pair;
}

/* Sorts the pairs that count by heapsort: in place, and O(n log n) always. */
static void bn_sort_pairs(const bn_batch *batch, int first)
{
    int64_t n = 0;

    for (int64_t k = 0; k < batch->P; k++)
        if (bn_pair_counts(batch, k))
            *bn_rank(batch, n++, first) = k;
    for (int64_t r = n / 2; r-- > 0;)
        bn_sink(batch, r, n, first);
    for (int64_t last = n - 1; last > 0; last--) {
        const int64_t largest = *bn_rank(batch, 0, first);

        *bn_rank(batch, 0, first) = *bn_rank(batch, last, first);
        *bn_rank(batch, last, first) = largest;
        bn_sink(batch, 0, last, first);
    }
}

/* ---- The scales behind the rows ----------------------------------------- */

/* Returns the factor of each chosen token's -logp in the likelihood term. */
static double bn_sft_weight_per_token(const bn_batch *batch,
                                      const bn_seq *chosen)
{
    const double s = (double)batch->spec->sft_weight
                     * (batch->loss->traits & BN_SFT_BETA ? batch->numbers.beta
                                                          : 1);

    if (chosen->n == 0 || !(s > 0))
        return 0;
    switch (batch->spec->sft_norm) {
    case BNFLOSS_NORM_LENGTH:
        return s / (double)chosen->n;
    case BNFLOSS_NORM_BATCH:
        return s * ((double)batch->pairs / (double)batch->chosen_tokens);
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

/* Returns a pair times its weight and WPO's. A weight of 0 gives 0, even if the
 * pair is NaN. Otherwise a NaN loss makes all slopes NaN, and is counted. */
static bn_pair bn_pair_weigh(bn_pair p, double weight, double wpo,
                             bnfloss_result *result)
{
    const double factor = weight * wpo;

    p.value = weight == 0 ? 0 : bn_times(factor, p.value);
    p.d_chosen = weight == 0 ? 0 : bn_times(factor, p.d_chosen);
    p.d_rejected = weight == 0 ? 0 : bn_times(factor, p.d_rejected);
    p.du = weight == 0 ? 0 : bn_times(factor, p.du);
    if (bn_is_nan(p.value)) {
        p.d_chosen = p.d_rejected = p.du = BN_NAN;
        result->nan_pairs++;
    }
    return p;
}

/* Adds a pair's loss up and sets the scales of its two sequences. These are the
 * chosen sequence of one pair and the rejected sequence of another if the batch
 * was sorted, else both of the same pair. */
static void bn_pair_scatter(bn_batch *batch, int64_t chosen_pair,
                            int64_t rejected_pair, bn_pair pair,
                            bn_pair_sums *sums)
{
    bn_seq *chosen = batch->seq + bn_pair_seq(batch, chosen_pair, 1);
    bn_seq *rejected = batch->seq + bn_pair_seq(batch, rejected_pair, -1);
    const double weight = batch->loss->shape == BN_BY_PAIR
                              ? bn_get_or(batch->in->pair_weight, chosen_pair,
                                          1)
                              : 1;
    const double wpo = batch->spec->flags & BNFLOSS_WPO
                           ? bn_exp(chosen->wpo + rejected->wpo)
                           : 1;
    const double share = bn_sft_weight_per_token(batch, chosen);
    const double sft = share > 0 ? share * -chosen->logp : 0;

    pair = bn_pair_weigh(pair, weight, wpo, sums->result);
    chosen->scale = bn_call_scaled(batch, pair.d_chosen);
    rejected->scale = bn_call_scaled(batch, pair.d_rejected);
    chosen->plain = bn_call_scaled(batch, -share);
    if (batch->loss->traits & BN_DISTANCE)
        rejected->distance -= bn_call_scaled(batch, pair.du)
                              * batch->numbers.alpha * batch->numbers.beta;
    bn_add(&sums->loss, pair.value + sft);
    bn_add(&sums->sft, sft);
    if (sums->pair_loss)
        sums->pair_loss[chosen_pair] = bn_canonical(pair.value + sft);
}

/* Takes the loss of every pair. */
static void bn_batch_pairs(bn_batch *batch, bn_pair_sums *sums)
{
    for (int64_t k = 0; k < batch->P; k++) {
        const int64_t w = bn_pair_seq(batch, k, 1),
                      x = bn_pair_seq(batch, k, -1);
        const bn_response chosen = bn_response_of(batch, w);
        const bn_response rejected = bn_response_of(batch, x);

        if (sums->pair_loss)
            sums->pair_loss[k] = 0;
        batch->seq[w].scale = batch->seq[x].scale = 0;
        if (bn_pair_counts(batch, k)) {
            const bn_params params = bn_params_of_pair(batch, k);

            bn_pair_scatter(batch, k, k,
                            bn_pair_of(batch->loss, &params, &chosen,
                                       &rejected),
                            sums);
        }
    }
}

/* Takes AOT's loss of every rank: of the key at rank r of the first list less
 * that of the second. With pairs, the first key is the margin of one pair,
 * whose responses both get the gradient. Unpaired, the chosen response of the
 * first key's pair and the rejected one of the second's do. */
static void bn_batch_sorted(bn_batch *batch, bn_pair_sums *sums)
{
    const int unpaired = (batch->loss->traits & BN_UNPAIRED) != 0;

    bn_sort_pairs(batch, 1);
    bn_sort_pairs(batch, 0);
    for (int64_t k = 0; k < batch->P; k++) {
        if (sums->pair_loss)
            sums->pair_loss[k] = 0;
        batch->seq[bn_pair_seq(batch, k, 1)].scale = 0;
        batch->seq[bn_pair_seq(batch, k, -1)].scale = 0;
    }
    for (int64_t r = 0; r < batch->pairs; r++) {
        const int64_t i = *bn_rank(batch, r, 1), j = *bn_rank(batch, r, 0);
        const double t = bn_key(batch, i, 1) - bn_key(batch, j, 0);
        bn_pair pair;

        pair.value = batch->loss->margin_loss(&batch->numbers,
                                              batch->numbers.beta * t,
                                              &pair.du);
        pair.d_chosen = batch->numbers.beta * pair.du;
        pair.d_rejected = -pair.d_chosen;
        bn_pair_scatter(batch, i, unpaired ? j : i, pair, sums);
    }
}

/* ---- Single responses --------------------------------------------------- */

/* Returns a sum of n terms over n, NaN for n = 0. */
static double bn_mean(const bn_total *total, int64_t n)
{
    return n > 0 ? bn_canonical(bn_total_of(total) / (double)n) : BN_NAN;
}

/* Returns KTO's kl: as given, or the mean over `mismatched` but at least 0. */
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

/* BCO's shift: the running mean of rewards, with those of this call. Sequences
 * of weight 0 are left out. */
static void bn_batch_baseline(bn_batch *batch, bnfloss_result *result)
{
    double count = batch->in->shift_count;
    bn_total sum = { 0, 0 };

    bn_add(&sum, batch->in->shift_mean * batch->in->shift_count);
    for (int64_t s = 0; s < batch->S; s++) {
        if (batch->seq[s].n == 0 || batch->seq[s].norm == 0)
            continue;
        bn_add(&sum, batch->numbers.beta * batch->seq[s].ratio);
        count++;
    }
    batch->numbers.baseline = count > 0
                                  ? bn_canonical(bn_total_of(&sum) / count)
                                  : 0;
    result->shift = batch->numbers.baseline;
    result->shift_count = count;
}

/* Takes the loss of every single response. */
static void bn_batch_single(bn_batch *batch, bn_total *loss, double *seq_loss,
                            bnfloss_result *result)
{
    if (batch->loss->traits & BN_KL)
        result->kl = batch->numbers.kl = bn_kl_of(batch->in);
    if (batch->loss->traits & BN_BASELINE)
        bn_batch_baseline(batch, result);
    for (int64_t s = 0; s < batch->S; s++) {
        const bn_response response = bn_response_of(batch, s);
        bn_seq *seq = batch->seq + s;
        double value = 0, dl = 0;

        if (seq->n > 0 && seq->norm != 0) {
            value = seq->norm
                    * batch->loss->sequence_loss(&batch->numbers, &response,
                                                 bn_side(batch, s), &dl);
            if (bn_is_nan(value))
                dl = BN_NAN;
        }
        seq->scale = bn_call_scaled(batch, seq->norm * dl);
        bn_add(loss, value);
        if (seq_loss)
            seq_loss[s] = bn_canonical(value);
    }
}
