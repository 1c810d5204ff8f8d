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
    bn_numbers numbers;
    int64_t N, S, P;    /* P pairs; 0 where there is no pairing */
    int64_t tokens, sequences, pairs, chosen_tokens;
    double divisor;
    bn_term *term;      /* (N) */
    bn_seq *seq;        /* (S) */
} bn_batch;

/* Sets a batch up for one loss. */
static void bn_batch_open(bn_batch *b, const bnfloss_spec *spec)
{
    bn_numbers *k = &b->numbers;

    b->spec = spec;
    b->loss = bn_loss_of(spec->kind);
    k->beta = spec->beta > 0 ? (double)spec->beta : 1;
    k->flip = (double)spec->flip_prob;
    k->gamma = (double)spec->gamma;
    k->alpha = (double)spec->alpha;
    k->penalty = (double)spec->penalty;
    k->tau = (double)spec->tau;
    k->tau_max = (double)spec->tau_max;
    k->rho = (double)spec->rho;
    k->cap = (double)spec->cap;
    k->desirable = (double)spec->desirable_weight;
    k->undesirable = (double)spec->undesirable_weight;
    k->order = (double)spec->f_alpha;
    k->divergence = spec->f_divergence;
    k->root = spec->rho > 0 ? bn_ada_root(k->rho) : 0;
    k->kl = k->shift = k->margin = k->logit = 0;
    k->scale = 1;
}

/* The factor of a call's loss that all its sequences share. */
static double bn_call_scale(const bn_batch *b)
{
    return b->spec->weight * (b->spec->loss_scale / b->divisor);
}

/* x times that. A loss of weight 0 gives 0, whatever is in it. */
static double bn_call_scaled(const bn_batch *b, double x)
{
    return b->spec->weight == 0 ? 0 : x * bn_call_scale(b);
}

static int bn_reads_ref(const bnfloss_spec *spec)
{
    return bn_loss_of(spec->kind)->traits & BN_REFERENCE
           && !(spec->flags & BNFLOSS_REFERENCE_FREE);
}

static double bn_weight(const bn_batch *b, int64_t i)
{
    return b->in->row_weight ? (double)b->in->row_weight[i] : 1;
}

/* Number i of an optional array of the inputs. */
static double bn_given(const float *array, int64_t i, double missing)
{
    return array ? (double)array[i] : missing;
}

static int64_t bn_most(int64_t a, int64_t b)
{
    return a > b ? a : b;
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
    return s % 2 ? -1 : 1;          /* adjacent; without pairs nothing asks */
}

/* The other sequence of s's pair. */
static int64_t bn_partner(const bn_batch *b, int64_t s)
{
    if (b->in->pairing == BNFLOSS_PAIRS_HALVES)
        return s < b->P ? s + b->P : s - b->P;
    return s ^ 1;
}

/* Whether pair k counts: somewhere a valid token, and on both sides where
 * the loss divides by their numbers. */
static int bn_pair_counts(const bn_batch *b, int64_t k)
{
    const int w = b->seq[bn_pair_seq(b, k, 1)].n > 0;
    const int x = b->seq[bn_pair_seq(b, k, -1)].n > 0;

    return b->loss->traits & BN_LENGTHS ? w && x : w || x;
}

/* ---- First: counts, from the valid flags of the terms ------------------- */

/* Which rows count: the flags that everything after this goes by. */
static void bn_mark_valid(bn_batch *b, int64_t i, int skipped)
{
    memset(b->term + i, 0, sizeof *b->term);
    b->term[i].flags = skipped ? 0 : BN_VALID;
}

/* Valid tokens; *shortest: the least of a sequence that has one. */
static void bn_batch_tokens(bn_batch *b, int64_t *shortest)
{
    const int chosen_only = (b->spec->flags & BNFLOSS_CHOSEN_ONLY) != 0;
    bn_seq empty;

    memset(&empty, 0, sizeof empty);
    b->tokens = b->sequences = *shortest = 0;
    for (int64_t s = 0; s < b->S; s++) {
        const int64_t end = bn_seq_begin(b, s + 1);
        int64_t n = 0;

        for (int64_t i = bn_seq_begin(b, s); i < end; i++) {
            if (chosen_only && bn_side(b, s) < 0)
                b->term[i].flags = 0;
            n += b->term[i].flags & BN_VALID;
        }
        empty.distance = b->seq[s].distance;
        empty.n = n;
        b->seq[s] = empty;
        b->tokens += n;
        b->sequences += n > 0;
        if (n > 0 && (*shortest == 0 || n < *shortest))
            *shortest = n;
    }
}

/* The factors that are known before a logit is read: 1, or LD-DPO's weight
 * for tokens beyond the pair's shorter response. */
static void bn_batch_factors(bn_batch *b)
{
    float unused;
    const double tail = bn_takes(b->loss, BN_LD_ALPHA, &unused)
                            ? (double)b->spec->ld_alpha : 1;

    for (int64_t s = 0; s < b->S; s++) {
        const int64_t end = bn_seq_begin(b, s + 1);
        int64_t shorter = b->seq[s].n, k = 0;

        if (b->P > 0 && bn_has_pairs(b->loss)) {
            const int64_t other = b->seq[bn_partner(b, s)].n;

            shorter = other < shorter ? other : shorter;
        }
        for (int64_t i = bn_seq_begin(b, s); i < end; i++) {
            if (!(b->term[i].flags & BN_VALID))
                continue;
            k++;
            b->term[i].slope = k > shorter ? tail : 1;
        }
    }
}

static void bn_batch_counts(bn_batch *b)
{
    const bnfloss_spec *spec = b->spec;
    const int coupled = bn_couples(b->loss);
    int64_t shortest;

    bn_batch_tokens(b, &shortest);
    b->pairs = b->chosen_tokens = 0;
    for (int64_t k = 0; k < b->P; k++) {
        const int counts = bn_pair_counts(b, k);

        b->pairs += counts;
        b->chosen_tokens += counts ? b->seq[bn_pair_seq(b, k, 1)].n : 0;
    }
    switch (spec->divisor) {
    case BNFLOSS_DIV_SEQUENCES: b->divisor = (double)b->sequences; break;
    case BNFLOSS_DIV_PAIRS:     b->divisor = (double)b->pairs; break;
    case BNFLOSS_DIV_TOKENS:    b->divisor = (double)b->tokens; break;
    default:                    b->divisor = spec->divisor_value; break;
    }
    for (int64_t s = 0; s < b->S; s++) {
        bn_seq *q = b->seq + s;
        const double n = (double)(spec->token_norm == BNFLOSS_NORM_LENGTH
                                      ? q->n : shortest);

        q->norm = spec->token_norm == BNFLOSS_NORM_NONE ? 1
                  : q->n > 0 ? 1 / n : 0;
        if (spec->kind == BNFLOSS_BNF)
            q->norm *= bn_side(b, s);
        q->norm *= bn_given(b->in->seq_weight, s, 1);
        /* of coupled rows: what holds until the end, if they do not wait */
        q->scale = coupled ? 1 : 0;
        if (!coupled && q->n > 0)
            q->scale = q->norm * spec->weight * spec->loss_scale / b->divisor;
    }
    if (coupled)
        bn_batch_factors(b);
}

/* ---- Then: each row for itself, in any order ---------------------------- */

/* The reference's logp of row i, rounded ones brought back below 0; 0 where
 * the loss reads none. */
static double bn_ref_logp(const bn_batch *b, int64_t i)
{
    const double r = bn_reads_ref(b->spec) ? (double)b->in->ref_logp[i] : 0;

    return r > 0 ? 0 : r;
}

/* What a token weighs in the reference's sum; its own factor but for BMC. */
static double bn_ref_factor(const bn_batch *b, int64_t i)
{
    if (!(b->loss->traits & BN_MASK)
        || b->spec->flags & BNFLOSS_POLICY_WEIGHTS)
        return b->term[i].slope;
    return b->in->row_mask[i] ? bn_bmc_weight(bn_ref_logp(b, i),
                                              b->numbers.cap) : 1;
}

/* SFT's value and slope. x: the row, or NULL where only logp is known. */
static void bn_sft_term(const bnfloss_spec *spec, const bn_token *t,
                        const bnfloss_row *x, bn_term *term)
{
    double lse;

    term->value = bn_sft(t, (spec->flags & BNFLOSS_DFT) != 0, &term->slope);
    if (!x || bn_row_is_nan(x)
        || !(x->label_smoothing > 0 || x->z_loss > 0))
        return;
    lse = bn_lse(x->label, x->leader, x->sum);
    term->value = bn_sft_smoothed(t, (double)x->label_smoothing,
                                  (double)x->z_loss,
                                  bn_row_mean_gap(x, t->logp), lse);
    if (x->z_loss > 0) {
        term->extra = (double)x->z_loss * lse * lse;
        term->flags |= BN_Z_LOSS;
    }
}

/* Fills in a valid row's term. x: the row it comes from, or NULL where only
 * logp is known. */
static void bn_batch_term(const bn_batch *b, int64_t i, const bn_token *t,
                          const bnfloss_row *x)
{
    const bnfloss_spec *spec = b->spec;
    bn_term *term = b->term + i;
    bn_bnf_token v;

    term->logp = t->logp;
    switch (spec->kind) {
    case BNFLOSS_SFT:
        bn_sft_term(spec, t, x, term);
        break;
    case BNFLOSS_BNF:
        v = bn_bnf(t, bn_ref_logp(b, i), (double)spec->eps);
        term->value = v.value;
        term->slope = -v.g;
        break;
    default:
        term->value = t->logp - bn_ref_logp(b, i);
        if (b->loss->traits & BN_MASK && b->in->row_mask[i])
            term->slope = bn_bmc_weight(t->logp, b->numbers.cap);
        if (spec->flags & BNFLOSS_WPO)
            term->extra = x ? bn_row_log_square(x)
                            : (double)b->in->log_square[i];
        break;
    }
    if (bn_reads_ref(spec)) {
        const float ref = b->in->ref_logp[i];

        term->flags |= (ref > 0 ? BN_CLAMPED : 0)
                       | (ref == -BN_INF_F32 ? BN_ZERO_REF : 0);
    }
    if (bn_is_nan(t->logp)) {
        term->value = term->slope = BN_NAN;
        term->flags |= BN_NAN_ROW;
    }
}

static double bn_dlogp(const bn_batch *b, const bn_seq *q, int64_t i)
{
    const bn_term *term = b->term + i;
    const double w = bn_weight(b, i);
    double d;

    if (!(term->flags & BN_VALID))
        return 0;
    /* a sequence of weight 0 gives 0, whatever is in it */
    d = q->scale == 0 && bn_is_nan(term->slope) ? 0
                                                : q->scale * (w * term->slope);
    return q->plain != 0 ? d + q->plain * w : d;
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
    if (x->flags & BNFLOSS_ROW_MEAN) {
        term->flags |= BN_MEAN;
        term->mean = bn_row_mean(x);
    }
    bn_batch_term(b, i, &t, x);
}

/* ---- Then: what a sequence is ------------------------------------------- */

static void bn_seq_sum(const bn_batch *b, int64_t s)
{
    const int64_t end = bn_seq_begin(b, s + 1);
    const int coupled = bn_couples(b->loss);
    bn_total logp = { 0, 0 }, value = { 0, 0 }, wpo = { 0, 0 };
    bn_total l = { 0, 0 }, r = { 0, 0 }, ratio = { 0, 0 };
    bn_seq *q = b->seq + s;

    for (int64_t i = bn_seq_begin(b, s); i < end; i++) {
        const bn_term *t = b->term + i;
        double w, ref, f, fr;

        if (!(t->flags & BN_VALID))
            continue;
        w = bn_weight(b, i);
        ref = bn_ref_logp(b, i);
        f = coupled ? w * t->slope : w;
        fr = coupled ? w * bn_ref_factor(b, i) : w;
        bn_add(&logp, w * t->logp);
        bn_add(&value, w * t->value);
        bn_add(&wpo, t->logp - t->extra);
        if (f == 0)                     /* not even an infinite logp counts */
            continue;
        bn_add(&l, f * t->logp);
        bn_add(&r, fr * ref);
        bn_add(&ratio, f == fr ? f * (t->logp - ref) : f * t->logp - fr * ref);
    }
    q->logp = bn_total_of(&logp);
    q->loss = q->norm * (q->norm != 0 ? bn_total_of(&value) : 0);
    q->l = bn_total_of(&l);
    q->r = bn_total_of(&r);
    q->ratio = bn_total_of(&ratio);
    q->wpo = q->n > 0 ? bn_total_of(&wpo) / (double)q->n : 0;
}

/* A sequence as its loss sees it. */
static bn_response bn_response_of(const bn_batch *b, int64_t s)
{
    const bn_seq *q = b->seq + s;
    bn_response y;

    y.l = q->l;
    y.r = q->r;
    y.ratio = q->ratio;
    y.n = (double)q->n;
    y.distance = bn_given(b->in->distance, s, 0);
    return y;
}
