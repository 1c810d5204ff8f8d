/* From tokens to a batch's loss: sequences, normalisation, pairs, metrics.
 *
 * Every loss ends in the same two lines,
 *
 *     loss    = sum over sequences or pairs of their loss / divisor
 *     dlogp_i = scale_s * weight_i * slope_i        (row i of sequence s)
 *
 * where slope_i is the token's own dvalue/dlogp and scale_s gathers side,
 * normalisation, divisor and loss scale. A loss of its own row (SFT, BNF)
 * knows scale_s before it has seen a logit; one that couples rows (DPO) finds
 * slope_i = 1 and scale_s last. */

/* A sum in double with the rounding errors kept (Neumaier 1974): the order
 * of the terms stays fixed, and millions of them cost no digit. */
typedef struct bn_total { double sum, error; } bn_total;

static void bn_add(bn_total *t, double x)
{
    const double s = t->sum + x;
    const double big = s - t->sum;

    t->error += (t->sum - (s - big)) + (x - big);
    t->sum = s;
}

static double bn_total_of(const bn_total *t)
{
    /* after an infinity the error is NaN and means nothing */
    return bn_is_finite(t->sum) ? t->sum + t->error : bn_canonical(t->sum);
}

enum { BN_VALID = 1, BN_NAN_ROW = 2, BN_HIT = 4, BN_CLAMPED = 8,
       BN_ZERO_REF = 16, BN_ENTROPY = 32, BN_HIT_KNOWN = 64 };

/* What the batch has to remember of a row. */
typedef struct bn_term {
    double logp;
    double value;       /* SFT, BNF: the token's loss; DPO: logp - ref */
    double slope;       /* dvalue/dlogp */
    double entropy;
    uint32_t flags;     /* BN_VALID ... */
    uint32_t reserved;
} bn_term;

/* And of a sequence. */
typedef struct bn_seq {
    int64_t n;          /* valid tokens */
    double scale;       /* dlogp = scale * weight * slope */
    double norm;        /* each token's share: 1 or 1/n */
    double logp;        /* sum of weight * logp */
    double reward;      /* sum of weight * (logp - ref) */
    double loss;        /* norm * sum of weight * value */
} bn_seq;

typedef struct bn_batch {
    const bnfloss_spec *spec;
    const bnfloss_inputs *in;
    int64_t N, S, P;    /* P pairs; 0 where there is no pairing */
    int64_t tokens, sequences, pairs;
    double divisor;
    bn_term *term;      /* (N) */
    bn_seq *seq;        /* (S) */
} bn_batch;

static int bn_couples_rows(const bnfloss_spec *spec)
{
    return spec->kind == BNFLOSS_DPO;
}

static double bn_weight(const bn_batch *b, int64_t i)
{
    return b->in->row_weight ? (double)b->in->row_weight[i] : 1;
}

static int64_t bn_seq_begin(const bn_batch *b, int64_t s)
{
    return b->in->seq_start ? b->in->seq_start[s] : s == 0 ? 0 : b->N;
}

/* The sequence that row i belongs to (empty ones own no row). */
static int64_t bn_seq_of(const bn_batch *b, int64_t i)
{
    int64_t low = 0, high = b->S;           /* begin(low) <= i < begin(high) */

    while (high - low > 1) {
        const int64_t mid = low + (high - low) / 2;

        if (bn_seq_begin(b, mid) <= i)
            low = mid;
        else
            high = mid;
    }
    return low;
}

/* Pair k's chosen (side 1) and rejected (side -1) sequence, and back. */
static int64_t bn_pair_seq(const bn_batch *b, int64_t k, int side)
{
    return b->in->pairing == BNFLOSS_PAIRS_HALVES
               ? (side > 0 ? k : b->P + k)
               : 2 * k + (side < 0);
}

static int bn_side(const bn_batch *b, int64_t s)
{
    if (b->in->side)
        return b->in->side[s];
    if (b->in->pairing == BNFLOSS_PAIRS_HALVES)
        return s < b->P ? 1 : -1;
    return b->in->pairing == BNFLOSS_PAIRS_ADJACENT && s % 2 ? -1 : 1;
}

/* ---- First: counts, from the valid flags of the terms ------------------- */

static void bn_batch_counts(bn_batch *b)
{
    int64_t shortest = 0;

    b->tokens = b->sequences = b->pairs = 0;
    for (int64_t s = 0; s < b->S; s++) {
        const int64_t end = bn_seq_begin(b, s + 1);
        int64_t n = 0;

        for (int64_t i = bn_seq_begin(b, s); i < end; i++)
            n += b->term[i].flags & BN_VALID;
        b->seq[s].n = n;
        b->tokens += n;
        b->sequences += n > 0;
        if (n > 0 && (shortest == 0 || n < shortest))
            shortest = n;
    }
    for (int64_t k = 0; k < b->P; k++)
        b->pairs += b->seq[bn_pair_seq(b, k, 1)].n > 0
                    || b->seq[bn_pair_seq(b, k, -1)].n > 0;
    switch (b->spec->divisor) {
    case BNFLOSS_DIV_SEQUENCES: b->divisor = (double)b->sequences; break;
    case BNFLOSS_DIV_PAIRS:     b->divisor = (double)b->pairs; break;
    case BNFLOSS_DIV_TOKENS:    b->divisor = (double)b->tokens; break;
    default:                    b->divisor = b->spec->divisor_value; break;
    }
    for (int64_t s = 0; s < b->S; s++) {
        bn_seq *q = b->seq + s;
        const double n = (double)(b->spec->token_norm == BNFLOSS_NORM_LENGTH
                                      ? q->n : shortest);
        const int side = b->spec->kind == BNFLOSS_BNF ? bn_side(b, s) : 1;

        q->norm = b->spec->token_norm == BNFLOSS_NORM_NONE ? 1
                  : q->n > 0 ? 1 / n : 0;
        q->norm *= side;
        q->scale = q->n > 0 ? q->norm * b->spec->loss_scale / b->divisor : 0;
    }
}

/* ---- Then: each row for itself, in any order ---------------------------- */

/* The reference's logp of row i, rounded ones brought back below 0. */
static double bn_ref_logp(const bn_batch *b, int64_t i)
{
    const double r = (double)b->in->ref_logp[i];

    return r > 0 ? 0 : r;
}

/* Fills in a valid row's term. x: the row it comes from, or NULL where only
 * logp is known. */
static void bn_batch_term(const bn_batch *b, int64_t i, const bn_token *t,
                          const bnfloss_row *x)
{
    const bnfloss_spec *spec = b->spec;
    bn_term *term = b->term + i;
    double ref;

    term->logp = t->logp;
    switch (spec->kind) {
    case BNFLOSS_SFT:
        term->value = bn_sft(t, (spec->flags & BNFLOSS_DFT) != 0,
                             &term->slope);
        if (x && !bn_row_is_nan(x)
            && (x->label_smoothing > 0 || x->z_loss > 0)) {
            term->value = bn_sft_smoothed(
                t, (double)x->label_smoothing, (double)x->z_loss,
                bn_row_mean_gap(x, t->logp),
                bn_lse(x->label, x->leader, x->sum));
        }
        break;
    case BNFLOSS_BNF: {
        const double r = bn_ref_logp(b, i);
        const bn_bnf_token v = bn_bnf(t, r, (double)spec->eps);

        term->value = v.value;
        term->slope = -v.g;
        break;
    }
    default:
        term->value = t->logp - bn_ref_logp(b, i);
        term->slope = 1;
        break;
    }
    if (b->in->ref_logp && spec->kind != BNFLOSS_SFT) {
        ref = (double)b->in->ref_logp[i];
        term->flags |= (ref > 0 ? BN_CLAMPED : 0)
                       | (ref == -BN_INF ? BN_ZERO_REF : 0);
    }
    if (bn_is_nan(t->logp)) {
        term->value = term->slope = BN_NAN;
        term->flags |= BN_NAN_ROW;
    }
}

static double bn_dlogp(const bn_batch *b, const bn_seq *q, int64_t i)
{
    const bn_term *term = b->term + i;

    return term->flags & BN_VALID
               ? q->scale * (bn_weight(b, i) * term->slope) : 0;
}

/* The same, for the door with logits. */
static void bn_batch_row(const bn_batch *b, int64_t i, const bnfloss_row *x)
{
    const bn_token t = bn_token_of_row(x);
    bn_term *term = b->term + i;

    if (!(term->flags & BN_VALID))
        return;
    term->flags |= BN_HIT_KNOWN | (x->label >= x->leader ? BN_HIT : 0);
    if (x->flags & BNFLOSS_ROW_ENTROPY) {
        term->flags |= BN_ENTROPY;
        term->entropy = bn_token_entropy(&t);
    }
    bn_batch_term(b, i, &t, x);
}

/* ---- Last: sums, pairs, metrics ----------------------------------------- */

static void bn_batch_sequences(bn_batch *b)
{
    for (int64_t s = 0; s < b->S; s++) {
        const int64_t end = bn_seq_begin(b, s + 1);
        bn_total logp = { 0, 0 }, reward = { 0, 0 }, value = { 0, 0 };
        bn_seq *q = b->seq + s;

        for (int64_t i = bn_seq_begin(b, s); i < end; i++) {
            const bn_term *t = b->term + i;
            const double w = bn_weight(b, i);

            if (!(t->flags & BN_VALID))
                continue;
            bn_add(&logp, w * t->logp);
            bn_add(&value, w * t->value);
            if (b->spec->kind == BNFLOSS_BNF)
                bn_add(&reward, w * (t->logp - bn_ref_logp(b, i)));
        }
        q->logp = bn_total_of(&logp);
        q->loss = q->norm * bn_total_of(&value);
        q->reward = b->spec->kind == BNFLOSS_DPO ? q->loss
                                                 : bn_total_of(&reward);
    }
}

/* DPO's second half: margins, and the scale of the rows behind them. */
static void bn_batch_pairs(bn_batch *b, bn_total *loss, double *pair_loss,
                           bnfloss_result *result)
{
    const double scale = b->spec->loss_scale / b->divisor;

    for (int64_t k = 0; k < b->P; k++) {
        bn_seq *w = b->seq + bn_pair_seq(b, k, 1);
        bn_seq *x = b->seq + bn_pair_seq(b, k, -1);
        double d, value;

        if (pair_loss)
            pair_loss[k] = 0;
        if (w->n == 0 && x->n == 0)
            continue;
        value = bn_dpo(w->loss, x->loss, (double)b->spec->beta,
                       (double)b->spec->flip_prob, &d);
        w->scale = d * scale;
        x->scale = -d * scale;
        bn_add(loss, value);
        result->nan_pairs += bn_is_nan(value);
        if (pair_loss)
            pair_loss[k] = bn_canonical(value);
    }
}

static double bn_mean(const bn_total *t, int64_t n)
{
    return n > 0 ? bn_canonical(bn_total_of(t) / (double)n) : BN_NAN;
}

static void bn_batch_rewards(const bn_batch *b, bnfloss_result *result)
{
    const double beta = b->spec->kind == BNFLOSS_DPO ? (double)b->spec->beta
                                                     : 1;
    bn_total reward[2] = { { 0, 0 }, { 0, 0 } };    /* chosen, rejected */
    bn_total logp[2] = { { 0, 0 }, { 0, 0 } };
    int64_t count[2] = { 0, 0 }, right = 0;

    for (int64_t s = 0; s < b->S; s++) {
        const int k = bn_side(b, s) < 0;

        if (b->seq[s].n == 0)
            continue;
        count[k]++;
        bn_add(&reward[k], beta * b->seq[s].reward);
        bn_add(&logp[k], b->seq[s].logp);
    }
    result->rewards_chosen = bn_mean(&reward[0], count[0]);
    result->rewards_rejected = bn_mean(&reward[1], count[1]);
    result->rewards_margins = bn_canonical(result->rewards_chosen
                                           - result->rewards_rejected);
    result->logps_chosen = bn_mean(&logp[0], count[0]);
    result->logps_rejected = bn_mean(&logp[1], count[1]);
    for (int64_t k = 0; k < b->P; k++)
        right += b->seq[bn_pair_seq(b, k, 1)].reward
                 > b->seq[bn_pair_seq(b, k, -1)].reward;
    result->rewards_accuracies = b->pairs > 0
        ? (double)right / (double)b->pairs : BN_NAN;
}

static void bn_batch_tokens(const bn_batch *b, bnfloss_result *result)
{
    bn_total entropy = { 0, 0 }, g = { 0, 0 };
    int64_t hits = 0, full = 0, entropies = 0, known = 0;

    for (int64_t i = 0; i < b->N; i++) {
        const bn_term *t = b->term + i;

        if (!(t->flags & BN_VALID))
            continue;
        result->nan_rows += (t->flags & BN_NAN_ROW) != 0;
        result->clamped_logps += (t->flags & BN_CLAMPED) != 0;
        result->zero_refs += (t->flags & BN_ZERO_REF) != 0;
        hits += (t->flags & BN_HIT) != 0;
        known += (t->flags & BN_HIT_KNOWN) != 0;
        full += t->slope == -1;
        bn_add(&g, -t->slope);
        if (t->flags & BN_ENTROPY) {
            entropies++;
            bn_add(&entropy, t->entropy);
        }
    }
    result->tokens = b->tokens;
    result->token_accuracy = known > 0 ? (double)hits / (double)known : BN_NAN;
    result->entropy = bn_mean(&entropy, entropies);
    if (b->spec->kind == BNFLOSS_BNF) {
        result->bnf_coefficient = bn_mean(&g, b->tokens);
        result->bnf_full_share = b->tokens > 0
            ? (double)full / (double)b->tokens : BN_NAN;
    }
}

/* Everything in *result, and the outputs of the loss stage but dlogp. */
static void bn_batch_finish(bn_batch *b, const bnfloss_outputs *out,
                            bnfloss_result *result)
{
    bn_total loss = { 0, 0 };

    bn_batch_tokens(b, result);
    bn_batch_sequences(b);
    if (bn_couples_rows(b->spec)) {
        bn_batch_pairs(b, &loss, out->seq_loss, result);
    } else {
        for (int64_t s = 0; s < b->S; s++) {
            bn_add(&loss, b->seq[s].loss);
            if (out->seq_loss)
                out->seq_loss[s] = bn_canonical(b->seq[s].loss);
        }
    }
    if (b->spec->kind != BNFLOSS_SFT)
        bn_batch_rewards(b, result);
    for (int64_t s = 0; out->seq_logp && s < b->S; s++)
        out->seq_logp[s] = bn_canonical(b->seq[s].logp);
    for (int64_t i = 0; out->row_loss && i < b->N; i++)
        out->row_loss[i] = b->term[i].flags & BN_VALID
            ? bn_canonical_f32((float)b->term[i].value) : 0.0f;
    result->sequences = b->sequences;
    result->empty_sequences = b->S - b->sequences;
    result->pairs = b->pairs;
    result->divisor = b->divisor;
    result->loss = b->tokens > 0 ? bn_canonical(bn_total_of(&loss) / b->divisor)
                                 : 0;
}

/* dlogp of all rows, where they are wanted. */
static void bn_batch_dlogp(const bn_batch *b, float *dlogp)
{
    for (int64_t s = 0; s < b->S; s++) {
        const int64_t end = bn_seq_begin(b, s + 1);

        for (int64_t i = bn_seq_begin(b, s); i < end; i++)
            dlogp[i] = bn_canonical_f32((float)bn_dlogp(b, b->seq + s, i));
    }
}
