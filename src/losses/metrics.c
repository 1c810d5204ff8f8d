/* The end of a batch: its loss, its metrics and its outputs. */

/* Counts and means over the valid tokens. */
static void bn_token_metrics(const bn_batch *batch, bnfloss_result *result)
{
    bn_total entropy = { 0, 0 }, g = { 0, 0 }, z_loss = { 0, 0 };
    int64_t hits = 0, full = 0, entropies = 0, known = 0, z_losses = 0;

    for (int64_t i = 0; i < batch->N; i++) {
        const bn_term *term = batch->term + i;

        if (!(term->flags & BN_VALID))
            continue;
        result->nan_rows += (term->flags & BN_NAN_ROW) != 0;
        result->clamped_logps += (term->flags & BN_CLAMPED) != 0;
        result->zero_refs += (term->flags & BN_ZERO_REF) != 0;
        hits += (term->flags & BN_HIT) != 0;
        known += (term->flags & BN_HIT_KNOWN) != 0;
        full += term->slope == -1;
        bn_add(&g, -term->slope);
        if (term->flags & BN_Z_LOSS) {
            z_losses++;
            bn_add(&z_loss, term->extra);
        }
        if (term->flags & BN_ENTROPY) {
            entropies++;
            bn_add(&entropy, term->entropy);
        }
    }
    result->token_accuracy = known > 0 ? (double)hits / (double)known : BN_NAN;
    result->entropy = bn_mean(&entropy, entropies);
    result->z_loss = bn_mean(&z_loss, z_losses);
    if (batch->spec->kind == BNFLOSS_BNF) {
        result->bnf_coefficient = bn_mean(&g, batch->tokens);
        result->bnf_full_share = batch->tokens > 0
                                     ? (double)full / (double)batch->tokens
                                     : BN_NAN;
    }
}

/* Returns a sequence's implicit reward: beta times its log-ratio, or times its
 * mean logp. */
static double bn_reward(const bn_batch *batch, const bn_seq *seq)
{
    if (batch->loss->traits & BN_MEAN_REWARD)
        return batch->numbers.beta * (seq->l / (double)seq->n);
    return batch->numbers.beta * seq->ratio;
}

/* Means over one side's sequences, and over their tokens. */
typedef struct bn_side_metrics {
    double reward, logp, logp_mean, logits;
} bn_side_metrics;

static bn_side_metrics bn_metrics_of_side(const bn_batch *batch, int side)
{
    bn_total reward = { 0, 0 }, logp = { 0, 0 }, mean = { 0, 0 };
    bn_total logits = { 0, 0 };
    int64_t count = 0, rows = 0;
    bn_side_metrics m;

    for (int64_t s = 0; s < batch->S; s++) {
        const int64_t end = bn_seq_begin(batch, s + 1);
        const bn_seq *seq = batch->seq + s;

        if (seq->n == 0 || bn_side(batch, s) != side)
            continue;
        count++;
        bn_add(&reward, bn_reward(batch, seq));
        bn_add(&logp, seq->logp);
        bn_add(&mean, seq->logp / (double)seq->n);
        for (int64_t i = bn_seq_begin(batch, s); i < end; i++) {
            if (!(batch->term[i].flags & BN_MEAN))
                continue;
            rows++;
            bn_add(&logits, batch->term[i].mean);
        }
    }
    m.reward = bn_mean(&reward, count);
    m.logp = bn_mean(&logp, count);
    m.logp_mean = bn_mean(&mean, count);
    m.logits = bn_mean(&logits, rows);
    return m;
}

/* Fills in the metrics of chosen and rejected responses and of pairs. */
static void bn_side_metrics_of(const bn_batch *batch, bnfloss_result *result)
{
    const bn_side_metrics w = bn_metrics_of_side(batch, 1);
    const bn_side_metrics x = bn_metrics_of_side(batch, -1);
    int64_t right = 0;

    result->rewards_chosen = w.reward;
    result->rewards_rejected = x.reward;
    result->rewards_margins = bn_canonical(w.reward - x.reward);
    result->logps_chosen = w.logp;
    result->logps_rejected = x.logp;
    result->logps_mean_chosen = w.logp_mean;
    result->logps_mean_rejected = x.logp_mean;
    result->logits_chosen = w.logits;
    result->logits_rejected = x.logits;
    for (int64_t k = 0; k < batch->P; k++)
        right += bn_pair_counts(batch, k)
                 && bn_reward(batch, batch->seq + bn_pair_seq(batch, k, 1))
                        > bn_reward(batch,
                                    batch->seq + bn_pair_seq(batch, k, -1));
    result->rewards_accuracies = batch->pairs > 0
                                     ? (double)right / (double)batch->pairs
                                     : BN_NAN;
}

/* Takes the losses of all sequences or pairs. Returns their sum. */
static double bn_batch_sum(bn_batch *batch, double *seq_loss,
                           bnfloss_result *result)
{
    bn_pair_sums sums;

    memset(&sums, 0, sizeof sums);
    sums.pair_loss = seq_loss;
    sums.result = result;
    switch (batch->loss->shape) {
    case BN_BY_PAIR:     bn_batch_pairs(batch, &sums); break;
    case BN_BY_BATCH:    bn_batch_sorted(batch, &sums); break;
    case BN_BY_SEQUENCE:
        bn_batch_single(batch, &sums.loss, seq_loss, result);
        break;
    default:
        for (int64_t s = 0; s < batch->S; s++) {
            bn_add(&sums.loss, batch->seq[s].loss);
            if (seq_loss)
                seq_loss[s] = bn_canonical(batch->seq[s].loss);
        }
        break;
    }
    if (bn_has_pairs(batch->loss) && batch->spec->sft_weight > 0)
        result->sft_loss = bn_canonical(bn_total_of(&sums.sft) / batch->divisor
                                        / (double)batch->spec->sft_weight);
    return bn_total_of(&sums.loss);
}

/* Writes the outputs of sequences and rows, dlogp apart. */
static void bn_batch_outputs(const bn_batch *batch, const bnfloss_outputs *out)
{
    for (int64_t s = 0; s < batch->S; s++) {
        const bn_seq *seq = batch->seq + s;

        if (out->seq_logp)
            out->seq_logp[s] = bn_canonical(seq->logp);
        if (out->seq_ratio)
            out->seq_ratio[s] = bn_canonical(seq->ratio);
        if (out->distance_grad)
            out->distance_grad[s] = bn_canonical_f32((float)seq->distance);
    }
    for (int64_t i = 0; out->row_loss && i < batch->N; i++)
        out->row_loss[i] = batch->term[i].flags & BN_VALID
                               ? bn_canonical_f32((float)batch->term[i].value)
                               : 0.0f;
}

/* Finishes a batch whose rows have been read: sums, losses, metrics, outputs.
 * Fills in *result. Returns the loss before its weight in the call. dlogp can
 * be asked for after it. */
static double bn_batch_finish(bn_batch *batch, const bnfloss_outputs *out,
                              bnfloss_result *result)
{
    double loss;

    bn_token_metrics(batch, result);
    for (int64_t s = 0; s < batch->S; s++)
        bn_seq_sum(batch, s);
    loss = bn_batch_sum(batch, out->seq_loss, result);
    if (bn_knows_sides(batch->loss))
        bn_side_metrics_of(batch, result);
    bn_batch_outputs(batch, out);
    result->tokens = batch->tokens;
    result->sequences = batch->sequences;
    result->empty_sequences = batch->S - batch->sequences;
    result->pairs = batch->pairs;
    result->skipped_pairs = batch->P - batch->pairs;
    result->divisor = batch->divisor;
    loss = batch->tokens > 0 && batch->divisor > 0 ? loss / batch->divisor : 0;
    result->loss = batch->spec->weight == 0
                       ? 0
                       : bn_canonical(batch->spec->weight * loss);
    return loss;
}

/* Adds dlogp of all rows to sum (N). Several losses in a call add up in
 * double. */
static void bn_batch_dlogp_add(const bn_batch *batch, double *sum)
{
    for (int64_t s = 0; s < batch->S; s++) {
        const int64_t end = bn_seq_begin(batch, s + 1);

        for (int64_t i = bn_seq_begin(batch, s); i < end; i++)
            sum[i] += bn_dlogp(batch, batch->seq + s, i);
    }
}

/* Writes dlogp of all rows. */
static void bn_batch_dlogp(const bn_batch *batch, float *dlogp)
{
    for (int64_t s = 0; s < batch->S; s++) {
        const int64_t end = bn_seq_begin(batch, s + 1);

        for (int64_t i = bn_seq_begin(batch, s); i < end; i++)
            dlogp[i] = bn_canonical_f32(
                (float)bn_dlogp(batch, batch->seq + s, i));
    }
}

/* Writes the scale that each row's gradient lacks with BNFLOSS_DEFER_SCALE: it
 * was written before the losses were known. */
static void bn_batch_row_scale(const bn_batch *batch, float *row_scale)
{
    const int coupled = bn_couples(batch->loss);

    for (int64_t s = 0; s < batch->S; s++) {
        const int64_t end = bn_seq_begin(batch, s + 1);
        const double scale = batch->seq[s].scale + batch->seq[s].plain;
        const int infinite = !bn_is_finite(scale) && !bn_is_nan(scale);

        for (int64_t i = bn_seq_begin(batch, s); i < end; i++) {
            const bn_term *term = batch->term + i;

            if (!(term->flags & BN_VALID))
                row_scale[i] = 0;
            else if (!coupled)
                row_scale[i] = 1;
            else if (infinite && term->slope == 0)
                row_scale[i] = 0;       /* its gradient is 0, and stays so */
            else
                row_scale[i] = bn_canonical_f32((float)scale);
        }
    }
}
