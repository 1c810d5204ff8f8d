/* From tokens to a batch: sequences, pairs, normalisation, sums.
 *
 * Every loss ends in the same two lines,
 *
 *     loss    = sum over sequences or pairs of their loss / divisor
 *     dlogp_i = weight_i * (scale_s * slope_i + plain_s)  (row i of sequence s)
 *
 * slope_i belongs to the token. scale_s holds side, normalisation, divisor and
 * loss scale. plain_s is the likelihood term that a loss of pairs may add.
 *
 * There are two kinds of losses, and they differ in what is known when:
 *
 *               a loss of tokens           all others
 *     slope_i   dvalue/dlogp: when the     the token's factor in the sum over
 *               row has been read          its sequence: before any row is read
 *     scale_s   before any row is read     when all rows have been read
 *
 * So the gradient of a token loss is finished while its row is in the cache.
 * The order of calls is: bn_batch_open(), bn_mark_valid() for every row,
 * bn_batch_counts(), bn_batch_row() for every row (in any order, by any
 * thread), bn_batch_finish() in metrics.c. */

/* A sum in double that keeps its rounding errors (Neumaier 1974), so a sum of
 * millions of terms is as accurate as one of a few. The order of the terms is
 * fixed. */
typedef struct bn_total { double sum, error; } bn_total;

static void bn_add(bn_total *total, double x)
{
    const double s = total->sum + x;
    const double big = s - total->sum;

    total->error += (total->sum - (s - big)) + (x - big);
    total->sum = s;
}

static double bn_total_of(const bn_total *total)
{
    /* after an infinite term `error` is NaN and has no meaning */
    return bn_is_finite(total->sum) ? total->sum + total->error
                                    : bn_canonical(total->sum);
}

enum {                  /* flags of a term */
    BN_VALID = 1,       /* the row counts */
    BN_NAN_ROW = 2,     /* its logp is NaN */
    BN_HIT = 4,         /* its label's logit is the largest, */
    BN_HIT_KNOWN = 64,  /*   which is known if the row had logits */
    BN_CLAMPED = 8,     /* a logp or reference above 0 was taken as 0 */
    BN_ZERO_REF = 16,   /* the reference's logp is -inf */
    BN_ENTROPY = 32,    /* `entropy` is known */
    BN_MEAN = 128,      /* `mean` is known */
    BN_Z_LOSS = 256     /* `extra` is a z-loss */
};

/* What the batch keeps of a row. */
typedef struct bn_term {
    double logp;
    double value;       /* the token's loss; other losses: logp - ref */
    double slope;       /* dvalue/dlogp; other losses: the token's factor */
    double entropy;
    double extra;       /* WPO: log sum p^2; SFT with z-loss: zeta lse^2 */
    double mean;        /* of the row's finite z' */
    uint32_t flags;     /* BN_VALID and those beside it */
    uint32_t reserved;
} bn_term;

/* What the batch keeps of a sequence. */
typedef struct bn_seq {
    int64_t n;          /* valid tokens */
    int64_t order;      /* AOT: the pair that has this rank */
    double scale;       /* dlogp = weight * (scale * slope + plain) */
    double plain;
    double norm;        /* each token's share, with side and seq_weight */
    double logp;        /* sum of weight * logp */
    double l, r;        /* sums of weight * factor * logp, ref */
    double ratio;       /* and of logp - ref */
    double loss;        /* before the divisor */
    double wpo;         /* WPO: mean over tokens of logp - log sum p^2 */
    double distance;    /* FPO: dL/dD, summed over the losses of a call */
} bn_seq;

typedef struct bn_batch {
    const bnfloss_spec *spec;
    const bn_loss *loss;
    const bnfloss_inputs *in;
    bn_params numbers;
    int64_t N, S, P;    /* P pairs; 0 where there is no pairing */
    int64_t tokens, sequences, pairs, chosen_tokens;
    double divisor;
    bn_term *term;      /* (N) */
    bn_seq *seq;        /* (S) */
} bn_batch;

/* Sets a batch up for one loss. */
static void bn_batch_open(bn_batch *batch, const bnfloss_spec *spec)
{
    bn_params *params = &batch->numbers;

    batch->spec = spec;
    batch->loss = bn_loss_of(spec->kind);
    params->beta = spec->beta > 0 ? (double)spec->beta : 1;
    params->flip = (double)spec->flip_prob;
    params->gamma = (double)spec->gamma;
    params->alpha = (double)spec->alpha;
    params->penalty = (double)spec->penalty;
    params->tau = (double)spec->tau;
    params->tau_max = (double)spec->tau_max;
    params->rho = (double)spec->rho;
    params->cap = (double)spec->cap;
    params->eps = (double)spec->eps;
    params->desirable = (double)spec->desirable_weight;
    params->undesirable = (double)spec->undesirable_weight;
    params->order = (double)spec->f_alpha;
    params->divergence = spec->f_divergence;
    params->dft = (spec->flags & BNFLOSS_DFT) != 0;
    params->root = spec->rho > 0 ? bn_ada_root(params->rho) : 0;
    params->kl = params->baseline = params->margin = params->logit = 0;
    params->scale = 1;
}

/* Returns the factor that the losses of all sequences share. */
static double bn_call_scale(const bn_batch *batch)
{
    return batch->spec->weight * (batch->spec->loss_scale / batch->divisor);
}

/* Returns x times that, and 0 for a loss of weight 0 even if x is NaN. */
static double bn_call_scaled(const bn_batch *batch, double x)
{
    return batch->spec->weight == 0 ? 0 : x * bn_call_scale(batch);
}

/* Returns whether a loss, with its options, reads ref_logp. */
static int bn_reads_ref(const bnfloss_spec *spec)
{
    return bn_loss_of(spec->kind)->traits & BN_REFERENCE
           && !(spec->flags & BNFLOSS_REFERENCE_FREE);
}

/* Returns row i's weight. */
static double bn_weight(const bn_batch *batch, int64_t i)
{
    return batch->in->row_weight ? (double)batch->in->row_weight[i] : 1;
}

/* Returns element i of an array, or `missing` if the array is NULL. */
static double bn_get_or(const float *array, int64_t i, double missing)
{
    return array ? (double)array[i] : missing;
}

/* Returns the first row of sequence s; for s = S, the number of rows. */
static int64_t bn_seq_begin(const bn_batch *batch, int64_t s)
{
    return batch->in->seq_start ? batch->in->seq_start[s]
           : s == 0             ? 0
                                : batch->N;
}

/* Returns the sequence that row i belongs to. Empty sequences own no row. */
static int64_t bn_seq_of(const bn_batch *batch, int64_t i)
{
    int64_t low = 0, high = batch->S;       /* begin(low) <= i < begin(high) */

    while (high - low > 1) {
        const int64_t mid = low + (high - low) / 2;

        if (bn_seq_begin(batch, mid) <= i)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* Returns pair k's chosen (side 1) or rejected (side -1) sequence. */
static int64_t bn_pair_seq(const bn_batch *batch, int64_t k, int side)
{
    return batch->in->pairing == BNFLOSS_PAIRS_HALVES
               ? (side > 0 ? k : batch->P + k)
               : 2 * k + (side < 0);
}

/* Returns the side of sequence s: 1 or -1. Without sides or pairs no loss asks
 * for it. */
static int bn_side(const bn_batch *batch, int64_t s)
{
    if (batch->in->side)
        return batch->in->side[s];
    if (batch->in->pairing == BNFLOSS_PAIRS_HALVES)
        return s < batch->P ? 1 : -1;
    return s % 2 ? -1 : 1;
}

/* Returns the other sequence of s's pair. */
static int64_t bn_partner(const bn_batch *batch, int64_t s)
{
    if (batch->in->pairing == BNFLOSS_PAIRS_HALVES)
        return s < batch->P ? s + batch->P : s - batch->P;
    return s ^ 1;
}

/* Returns whether pair k counts: one side has a valid token. If the loss
 * divides by the lengths, both sides need one. */
static int bn_pair_counts(const bn_batch *batch, int64_t k)
{
    const int w = batch->seq[bn_pair_seq(batch, k, 1)].n > 0;
    const int x = batch->seq[bn_pair_seq(batch, k, -1)].n > 0;

    return batch->loss->traits & BN_LENGTHS ? w && x : w || x;
}

/* ---- First: counts, from the valid flags of the terms ------------------- */

/* Clears row i's term and records whether the row counts. */
static void bn_mark_valid(bn_batch *batch, int64_t i, int skipped)
{
    memset(batch->term + i, 0, sizeof *batch->term);
    batch->term[i].flags = skipped ? 0 : BN_VALID;
}

/* Counts valid tokens and the sequences that have one. *shortest receives the
 * number of tokens of the shortest of these, or 0. */
static void bn_batch_tokens(bn_batch *batch, int64_t *shortest)
{
    const int chosen_only = (batch->spec->flags & BNFLOSS_CHOSEN_ONLY) != 0;
    bn_seq empty;

    memset(&empty, 0, sizeof empty);
    batch->tokens = batch->sequences = *shortest = 0;
    for (int64_t s = 0; s < batch->S; s++) {
        const int64_t end = bn_seq_begin(batch, s + 1);
        int64_t n = 0;

        for (int64_t i = bn_seq_begin(batch, s); i < end; i++) {
            if (chosen_only && bn_side(batch, s) < 0)
                batch->term[i].flags = 0;
            n += batch->term[i].flags & BN_VALID;
        }
        empty.distance = batch->seq[s].distance;
        empty.n = n;
        batch->seq[s] = empty;
        batch->tokens += n;
        batch->sequences += n > 0;
        if (n > 0 && (*shortest == 0 || n < *shortest))
            *shortest = n;
    }
}

/* Sets each token's factor, as far as it is known before a row is read: 1, or
 * LD-DPO's ld_alpha for tokens beyond the length of the pair's shorter
 * response. */
static void bn_batch_factors(bn_batch *batch)
{
    float unused;
    const double tail = bn_accepts(batch->loss, BN_LD_ALPHA, &unused)
                            ? (double)batch->spec->ld_alpha
                            : 1;

    for (int64_t s = 0; s < batch->S; s++) {
        const int64_t end = bn_seq_begin(batch, s + 1);
        int64_t shorter = batch->seq[s].n, k = 0;

        if (batch->P > 0 && bn_has_pairs(batch->loss)) {
            const int64_t other = batch->seq[bn_partner(batch, s)].n;

            shorter = other < shorter ? other : shorter;
        }
        for (int64_t i = bn_seq_begin(batch, s); i < end; i++) {
            if (!(batch->term[i].flags & BN_VALID))
                continue;
            k++;
            batch->term[i].slope = k > shorter ? tail : 1;
        }
    }
}

/* Fills in all that is known before a row is read: the counts, the divisor, and
 * the normalisation of each sequence. */
static void bn_batch_counts(bn_batch *batch)
{
    const bnfloss_spec *spec = batch->spec;
    const int coupled = bn_couples(batch->loss);
    int64_t shortest;

    bn_batch_tokens(batch, &shortest);
    batch->pairs = batch->chosen_tokens = 0;
    for (int64_t k = 0; k < batch->P; k++) {
        const int counts = bn_pair_counts(batch, k);

        batch->pairs += counts;
        batch->chosen_tokens += counts ? batch->seq[bn_pair_seq(batch, k, 1)].n
                                       : 0;
    }
    switch (spec->divisor) {
    case BNFLOSS_DIV_SEQUENCES:
        batch->divisor = (double)batch->sequences;
        break;
    case BNFLOSS_DIV_PAIRS:     batch->divisor = (double)batch->pairs; break;
    case BNFLOSS_DIV_TOKENS:    batch->divisor = (double)batch->tokens; break;
    default:                    batch->divisor = spec->divisor_value; break;
    }
    for (int64_t s = 0; s < batch->S; s++) {
        bn_seq *seq = batch->seq + s;
        const double n = (double)(spec->token_norm == BNFLOSS_NORM_LENGTH
                                      ? seq->n
                                      : shortest);

        seq->norm = spec->token_norm == BNFLOSS_NORM_NONE ? 1
                    : seq->n > 0                          ? 1 / n
                                                          : 0;
        if (batch->loss->traits & BN_SIGNED)
            seq->norm *= bn_side(batch, s);
        seq->norm *= bn_get_or(batch->in->seq_weight, s, 1);
        /* With a deferred scale, coupled rows are finished with scale 1. */
        seq->scale = coupled ? 1 : 0;
        if (!coupled && seq->n > 0)
            seq->scale = seq->norm * spec->weight * spec->loss_scale
                         / batch->divisor;
    }
    if (coupled)
        bn_batch_factors(batch);
}

/* ---- Then: each row by itself, in any order ----------------------------- */

/* Returns the reference's logp of row i, clamped to 0; or 0 if the loss does
 * not read it. */
static double bn_ref_logp(const bn_batch *batch, int64_t i)
{
    const double r = bn_reads_ref(batch->spec) ? (double)batch->in->ref_logp[i]
                                               : 0;

    return r > 0 ? 0 : r;
}

/* Returns the token's factor in the sum of the reference's logp. It is that of
 * the policy's sum, but for BMC. */
static double bn_ref_factor(const bn_batch *batch, int64_t i)
{
    if (!(batch->loss->traits & BN_MASK)
        || batch->spec->flags & BNFLOSS_POLICY_WEIGHTS)
        return batch->term[i].slope;
    return batch->in->row_mask[i]
               ? bn_bmc_weight(bn_ref_logp(batch, i), batch->numbers.cap)
               : 1;
}

/* Fills in the value and slope of a loss of tokens. row: see
 * bn_batch_term(). */
static void bn_token_term(const bn_batch *batch, int64_t i,
                          const bn_token *token, const bnfloss_row *row)
{
    bn_token_input input = { 0, 0, 0, 0, 0 };
    bn_term *term = batch->term + i;

    input.ref = bn_ref_logp(batch, i);
    if (row && !bn_row_is_nan(row)
        && (row->label_smoothing > 0 || row->z_loss > 0)) {
        input.smoothing = (double)row->label_smoothing;
        input.mean_gap = bn_row_mean_gap(row, token->logp);
        input.z_loss = (double)row->z_loss;
        input.lse = bn_lse(row->label, row->leader, row->sum);
    }
    term->value = batch->loss->token_loss(&batch->numbers, token, &input,
                                          &term->slope);
    if (input.z_loss > 0) {
        term->extra = input.z_loss * input.lse * input.lse;
        term->flags |= BN_Z_LOSS;
    }
}

/* Fills in the term of a row whose gradient depends on others. */
static void bn_coupled_term(const bn_batch *batch, int64_t i,
                            const bn_token *token, const bnfloss_row *row)
{
    bn_term *term = batch->term + i;

    term->value = token->logp - bn_ref_logp(batch, i);
    if (batch->loss->traits & BN_MASK && batch->in->row_mask[i])
        term->slope = bn_bmc_weight(token->logp, batch->numbers.cap);
    if (batch->spec->flags & BNFLOSS_WPO)
        term->extra = row ? bn_row_log_square(row)
                          : (double)batch->in->log_square[i];
}

/* Fills in a valid row's term. row: its state, or NULL where only logp is
 * known. */
static void bn_batch_term(const bn_batch *batch, int64_t i,
                          const bn_token *token, const bnfloss_row *row)
{
    bn_term *term = batch->term + i;

    term->logp = token->logp;
    if (bn_couples(batch->loss))
        bn_coupled_term(batch, i, token, row);
    else
        bn_token_term(batch, i, token, row);
    if (bn_reads_ref(batch->spec)) {
        const float ref = batch->in->ref_logp[i];

        term->flags |= (ref > 0 ? BN_CLAMPED : 0)
                       | (ref == -BN_INF_F32 ? BN_ZERO_REF : 0);
    }
    if (bn_is_nan(token->logp)) {
        term->value = term->slope = BN_NAN;
        term->flags |= BN_NAN_ROW;
    }
}

/* Returns dL/dlogp of row i of a sequence. */
static double bn_dlogp(const bn_batch *batch, const bn_seq *seq, int64_t i)
{
    const bn_term *term = batch->term + i;
    const double w = bn_weight(batch, i);
    double d;

    if (!(term->flags & BN_VALID))
        return 0;
    /* A sequence of weight 0 gives 0, whatever is in it. A token of factor 0
     * gives 0, even if the slope of the loss is infinite. */
    d = seq->scale == 0 && bn_is_nan(term->slope)
            ? 0
            : bn_times(w * term->slope, seq->scale);
    return seq->plain != 0 ? d + seq->plain * w : d;
}

/* Fills in row i's term from its state. */
static void bn_batch_row(const bn_batch *batch, int64_t i,
                         const bnfloss_row *row)
{
    const bn_token token = bn_token_of_row(row);
    bn_term *term = batch->term + i;

    if (!(term->flags & BN_VALID))
        return;
    term->flags |= BN_HIT_KNOWN | (row->label >= row->leader ? BN_HIT : 0);
    if (row->flags & BNFLOSS_ROW_ENTROPY) {
        term->flags |= BN_ENTROPY;
        term->entropy = bn_token_entropy(&token);
    }
    if (row->flags & BNFLOSS_ROW_MEAN) {
        term->flags |= BN_MEAN;
        term->mean = bn_row_mean(row);
    }
    bn_batch_term(batch, i, &token, row);
}

/* ---- Then: sums over each sequence -------------------------------------- */

/* Sums up the terms of sequence s, in the order of its rows. */
static void bn_seq_sum(const bn_batch *batch, int64_t s)
{
    const int64_t end = bn_seq_begin(batch, s + 1);
    const int coupled = bn_couples(batch->loss);
    bn_total logp = { 0, 0 }, value = { 0, 0 }, wpo = { 0, 0 };
    bn_total l = { 0, 0 }, r = { 0, 0 }, ratio = { 0, 0 };
    bn_seq *seq = batch->seq + s;

    for (int64_t i = bn_seq_begin(batch, s); i < end; i++) {
        const bn_term *term = batch->term + i;
        double w, ref, f, fr;

        if (!(term->flags & BN_VALID))
            continue;
        w = bn_weight(batch, i);
        ref = bn_ref_logp(batch, i);
        f = coupled ? w * term->slope : w;
        fr = coupled ? w * bn_ref_factor(batch, i) : w;
        bn_add(&logp, w * term->logp);
        bn_add(&value, w * term->value);
        bn_add(&wpo, term->logp - term->extra);
        if (f == 0)                     /* 0 even if logp is infinite */
            continue;
        bn_add(&l, f * term->logp);
        bn_add(&r, fr * ref);
        bn_add(&ratio,
               f == fr ? f * (term->logp - ref) : f * term->logp - fr * ref);
    }
    seq->logp = bn_total_of(&logp);
    seq->loss = seq->norm * (seq->norm != 0 ? bn_total_of(&value) : 0);
    seq->l = bn_total_of(&l);
    seq->r = bn_total_of(&r);
    seq->ratio = bn_total_of(&ratio);
    seq->wpo = seq->n > 0 ? bn_total_of(&wpo) / (double)seq->n : 0;
}

/* Returns sequence s as its loss sees it. */
static bn_response bn_response_of(const bn_batch *batch, int64_t s)
{
    const bn_seq *seq = batch->seq + s;
    bn_response response;

    response.l = seq->l;
    response.r = seq->r;
    response.ratio = seq->ratio;
    response.n = (double)seq->n;
    response.distance = bn_get_or(batch->in->distance, s, 0);
    return response;
}
