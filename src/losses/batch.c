/* From tokens to a batch: sequences, pairs, normalisation, sums.
 *
 * Every loss ends in the same two lines,
 *
 *     loss    = sum over sequences or pairs of their loss / divisor
 *     dlogp_i = weight_i * (scale_s * slope_i + plain_s)  (row i of sequence s)
 *
 * where slope_i is the token's own dvalue/dlogp, scale_s gathers side,
 * normalisation, divisor and loss scale, and plain_s is the likelihood term
 * that pair losses may add. A loss of its own row (SFT, BNF) knows scale_s
 * before it has seen a logit; one that couples rows knows slope_i then, the
 * factor of the token in its sequence's sums, and scale_s last. */

/* A sum in double with the rounding errors kept (Neumaier 1974): the order
 * of the terms stays fixed, and millions of them cost no digit. */
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
    /* after an infinity the error is NaN and means nothing */
    return bn_is_finite(total->sum) ? total->sum + total->error
                                    : bn_canonical(total->sum);
}

enum { BN_VALID = 1, BN_NAN_ROW = 2, BN_HIT = 4, BN_CLAMPED = 8,
       BN_ZERO_REF = 16, BN_ENTROPY = 32, BN_HIT_KNOWN = 64, BN_MEAN = 128,
       BN_Z_LOSS = 256 };

/* What the batch has to remember of a row. */
typedef struct bn_term {
    double logp;
    double value;       /* SFT, BNF: the token's loss; others: logp - ref */
    double slope;       /* dvalue/dlogp; others: the token's factor */
    double entropy;
    double extra;       /* WPO: log sum p^2; SFT: zeta lse^2 */
    double mean;        /* of the row's finite z' */
    uint32_t flags;     /* BN_VALID ... */
    uint32_t reserved;
} bn_term;

/* And of a sequence. */
typedef struct bn_seq {
    int64_t n;          /* valid tokens */
    int64_t order;      /* AOT: which pair has this rank */
    double scale;       /* dlogp = weight * (scale * slope + plain) */
    double plain;
    double norm;        /* each token's share, with its side and weight */
    double logp;        /* sum of weight * logp */
    double l, r;        /* sums of weight * factor * logp, ref */
    double ratio;       /* and of logp - ref */
    double loss;        /* before the divisor */
    double wpo;         /* mean over tokens of logp - log sum p^2 */
    double distance;    /* dL/dD, summed over the losses of a call */
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

/* The factor of a call's loss that all its sequences share. */
static double bn_call_scale(const bn_batch *batch)
{
    return batch->spec->weight * (batch->spec->loss_scale / batch->divisor);
}

/* x times that. A loss of weight 0 gives 0, whatever is in it. */
static double bn_call_scaled(const bn_batch *batch, double x)
{
    return batch->spec->weight == 0 ? 0 : x * bn_call_scale(batch);
}

static int bn_reads_ref(const bnfloss_spec *spec)
{
    return bn_loss_of(spec->kind)->traits & BN_REFERENCE
           && !(spec->flags & BNFLOSS_REFERENCE_FREE);
}

static double bn_weight(const bn_batch *batch, int64_t i)
{
    return batch->in->row_weight ? (double)batch->in->row_weight[i] : 1;
}

/* Number i of an optional array of the inputs. */
static double bn_get_or(const float *array, int64_t i, double missing)
{
    return array ? (double)array[i] : missing;
}

static int64_t bn_seq_begin(const bn_batch *batch, int64_t s)
{
    return batch->in->seq_start ? batch->in->seq_start[s]
           : s == 0             ? 0
                                : batch->N;
}

/* The sequence that row i belongs to (empty ones own no row). */
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

/* Pair k's chosen (side 1) and rejected (side -1) sequence, and back. */
static int64_t bn_pair_seq(const bn_batch *batch, int64_t k, int side)
{
    return batch->in->pairing == BNFLOSS_PAIRS_HALVES
               ? (side > 0 ? k : batch->P + k)
               : 2 * k + (side < 0);
}

static int bn_side(const bn_batch *batch, int64_t s)
{
    if (batch->in->side)
        return batch->in->side[s];
    if (batch->in->pairing == BNFLOSS_PAIRS_HALVES)
        return s < batch->P ? 1 : -1;
    return s % 2 ? -1 : 1;          /* adjacent; without pairs nothing asks */
}

/* The other sequence of s's pair. */
static int64_t bn_partner(const bn_batch *batch, int64_t s)
{
    if (batch->in->pairing == BNFLOSS_PAIRS_HALVES)
        return s < batch->P ? s + batch->P : s - batch->P;
    return s ^ 1;
}

/* Whether pair k counts: somewhere a valid token, and on both sides where
 * the loss divides by their numbers. */
static int bn_pair_counts(const bn_batch *batch, int64_t k)
{
    const int w = batch->seq[bn_pair_seq(batch, k, 1)].n > 0;
    const int x = batch->seq[bn_pair_seq(batch, k, -1)].n > 0;

    return batch->loss->traits & BN_LENGTHS ? w && x : w || x;
}

/* ---- First: counts, from the valid flags of the terms ------------------- */

/* Which rows count: the flags that everything after this goes by. */
static void bn_mark_valid(bn_batch *batch, int64_t i, int skipped)
{
    memset(batch->term + i, 0, sizeof *batch->term);
    batch->term[i].flags = skipped ? 0 : BN_VALID;
}

/* Valid tokens; *shortest: the least of a sequence that has one. */
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

/* The factors that are known before a logit is read: 1, or LD-DPO's weight
 * for tokens beyond the pair's shorter response. */
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
        /* of coupled rows: what holds until the end, if they do not wait */
        seq->scale = coupled ? 1 : 0;
        if (!coupled && seq->n > 0)
            seq->scale = seq->norm * spec->weight * spec->loss_scale
                         / batch->divisor;
    }
    if (coupled)
        bn_batch_factors(batch);
}

/* ---- Then: each row for itself, in any order ---------------------------- */

/* The reference's logp of row i, rounded ones brought back below 0; 0 where
 * the loss reads none. */
static double bn_ref_logp(const bn_batch *batch, int64_t i)
{
    const double r = bn_reads_ref(batch->spec) ? (double)batch->in->ref_logp[i]
                                               : 0;

    return r > 0 ? 0 : r;
}

/* What a token weighs in the reference's sum; its own factor but for BMC. */
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

/* The same, for the entry point with logits. */
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

/* ---- Then: what a sequence is ------------------------------------------- */

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
        if (f == 0)                     /* not even an infinite logp counts */
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

/* A sequence as its loss sees it. */
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
