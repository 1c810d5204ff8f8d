/* What can be wrong with a loss: its spec, and what it is given besides. */

/* ---- What the losses of a call read ------------------------------------- */

enum { BN_MAX_ALSO = 15 };

typedef struct bn_needs {
    int plain_sft;      /* nothing but SFT without DFT */
    int rest;           /* BNF: its value needs the ENTROPY sum */
    int squares;        /* WPO */
    int ref, sides, pairs, inputs;      /* needed */
    int seq_weight, pair_weight, margin, soft, distance, mask, kl, shift;
    int certainty;      /* pair_weight is needed */
    int count;          /* losses */
} bn_needs;

static void bn_needs_add(bn_needs *needs, const bnfloss_spec *spec)
{
    const bn_loss *loss = bn_loss_of(spec->kind);
    const int sft = spec->kind == BNFLOSS_SFT;

    needs->plain_sft = (needs->count == 0 || needs->plain_sft) && sft
                       && !(spec->flags & BNFLOSS_DFT);
    needs->count++;
    needs->rest |= spec->kind == BNFLOSS_BNF;
    needs->squares |= (spec->flags & BNFLOSS_WPO) != 0;
    needs->ref |= bn_reads_ref(spec);
    needs->sides |= (loss->traits & BN_SIDES) != 0
                    || spec->flags & BNFLOSS_CHOSEN_ONLY;
    needs->pairs |= bn_has_pairs(loss) || spec->divisor == BNFLOSS_DIV_PAIRS;
    needs->inputs |= !sft || needs->sides || needs->pairs;
    needs->seq_weight |= !bn_has_pairs(loss);
    needs->pair_weight |= loss->shape == BN_BY_PAIR;
    needs->margin |= bn_has_margin(loss);
    needs->soft |= (loss->traits & BN_SOFT) != 0;
    needs->distance |= (loss->traits & BN_DISTANCE) != 0;
    needs->mask |= (loss->traits & BN_MASK) != 0;
    needs->kl |= (loss->traits & BN_KL) != 0;
    needs->shift |= (loss->traits & BN_BASELINE) != 0;
    needs->certainty |= (loss->traits & BN_CERTAINTY) != 0;
}

/* ---- Spec --------------------------------------------------------------- */

static float bn_spec_number(const bnfloss_spec *spec, bn_number n)
{
    float x;

    memcpy(&x, (const char *)spec + bn_number_ranges[n].at, sizeof x);
    return x;
}

static int bn_in_range(float x, const bn_number_range *r)
{
    return x >= r->low && x <= r->high
           && !(r->open & BN_ABOVE && x == r->low)
           && !(r->open & BN_BELOW && x == r->high);
}

/* Whether a loss takes the number at this place of the spec, in some range. */
static int bn_accepts_at(const bn_loss *loss, size_t at)
{
    float unused;

    for (int n = 1; n < BN_NUMBERS; n++)
        if (bn_number_ranges[n].at == at
            && bn_accepts(loss, (bn_number)n, &unused))
            return 1;
    return 0;
}

/* Numbers that the loss does not take are 0, those that it takes in range. */
static bnfloss_status bn_check_numbers(const bnfloss_spec *spec,
                                       const bn_loss *loss)
{
    float unused;

    for (int n = 1; n < BN_NUMBERS; n++)
        if (!bn_accepts_at(loss, bn_number_ranges[n].at)
            && bn_spec_number(spec, (bn_number)n) != 0)
            return BNFLOSS_E_OPTION;
    for (int n = 1; n < BN_NUMBERS; n++)
        if (bn_accepts(loss, (bn_number)n, &unused)
            && !bn_in_range(bn_spec_number(spec, (bn_number)n),
                            bn_number_ranges + n))
            return BNFLOSS_E_VALUE;
    if (bn_accepts(loss, BN_TAU_MAX, &unused) && spec->tau_max < spec->tau)
        return BNFLOSS_E_VALUE;
    return BNFLOSS_OK;
}

/* The flags that a loss takes. */
static uint32_t bn_flags_of(const bn_loss *loss, uint32_t kind)
{
    uint32_t flags = BNFLOSS_DEFER_SCALE;

    if (kind == BNFLOSS_SFT)
        flags |= BNFLOSS_DFT | BNFLOSS_CHOSEN_ONLY;
    if (bn_couples(loss) && loss->traits & BN_REFERENCE)
        flags |= BNFLOSS_REFERENCE_FREE;
    if (loss->shape == BN_BY_PAIR)
        flags |= BNFLOSS_WPO;
    if (loss->traits & BN_MASK)
        flags |= BNFLOSS_POLICY_WEIGHTS;
    return flags;
}

static bnfloss_status bn_check_options(const bnfloss_spec *spec,
                                       const bn_loss *loss)
{
    const uint32_t all = BNFLOSS_DFT | BNFLOSS_CHOSEN_ONLY
                         | BNFLOSS_REFERENCE_FREE | BNFLOSS_WPO
                         | BNFLOSS_POLICY_WEIGHTS | BNFLOSS_DEFER_SCALE;

    if (spec->flags & ~all || spec->f_divergence > BNFLOSS_ALPHA_DIVERGENCE)
        return BNFLOSS_E_ENUM;
    if (spec->flags & ~bn_flags_of(loss, spec->kind)
        || (spec->f_divergence && !(loss->traits & BN_DIVERGENCE))
        || (bn_couples(loss) && spec->token_norm != BNFLOSS_NORM_NONE)
        || (!bn_has_pairs(loss) && spec->sft_norm))
        return BNFLOSS_E_OPTION;
    if (bn_has_pairs(loss) && spec->sft_norm != BNFLOSS_NORM_NONE
        && spec->sft_norm != BNFLOSS_NORM_LENGTH
        && spec->sft_norm != BNFLOSS_NORM_BATCH)
        return BNFLOSS_E_ENUM;
    /* the deferred scale is one factor a row, which leaves no room for two;
     * BMC's ld_alpha is 0 */
    if (spec->flags & BNFLOSS_DEFER_SCALE
        && (spec->also || (spec->sft_weight > 0 && spec->ld_alpha < 1)))
        return BNFLOSS_E_OPTION;
    return BNFLOSS_OK;
}

static bnfloss_status bn_check_spec(const bnfloss_spec *from,
                                    bnfloss_spec *spec)
{
    const bn_loss *loss;
    bnfloss_spec given;

    memset(&given, 0, sizeof given);
    BN_TRY(bn_read_struct(&given, sizeof given, from));
    bn_spec_defaults(spec, given.kind);     /* the loss's, and over them */
    (void)bn_read_struct(spec, sizeof *spec, from);
    loss = bn_loss_of(spec->kind);
    if (spec->reserved)
        return BNFLOSS_E_STRUCT;
    if (!loss || spec->token_norm < BNFLOSS_NORM_NONE
        || spec->token_norm > BNFLOSS_NORM_SHORTEST
        || spec->divisor < BNFLOSS_DIV_SEQUENCES
        || spec->divisor > BNFLOSS_DIV_GIVEN)
        return BNFLOSS_E_ENUM;
    BN_TRY(bn_check_options(spec, loss));
    BN_TRY(bn_check_numbers(spec, loss));
    if (spec->also > BN_MAX_ALSO || !bn_is_finite(spec->weight)
        || !(spec->divisor_value > 0 && bn_is_finite(spec->divisor_value))
        || !(spec->loss_scale > 0 && bn_is_finite(spec->loss_scale))
        || !bn_is_finite(spec->weight * spec->loss_scale)
        || !bn_is_finite(spec->weight
                         * (spec->loss_scale / spec->divisor_value)))
        return BNFLOSS_E_VALUE;
    return BNFLOSS_OK;
}

/* Number k of a call's specs, which lie as far apart as the first is large. */
static const bnfloss_spec *bn_spec_at(const bnfloss_spec *first, uint32_t k)
{
    return (const bnfloss_spec *)((const char *)first
                                  + (size_t)k * first->struct_size);
}

/* All of them. The first is left in *p; *uses gathers what they read. */
static bnfloss_status bn_check_specs(const bnfloss_spec *first,
                                     bnfloss_spec *spec, bn_needs *needs)
{
    bnfloss_spec other;

    memset(needs, 0, sizeof *needs);
    BN_TRY(bn_check_spec(first, spec));
    bn_needs_add(needs, spec);
    for (uint32_t k = 1; k <= spec->also; k++) {
        if (bn_spec_at(first, k)->struct_size != first->struct_size)
            return BNFLOSS_E_STRUCT;
        BN_TRY(bn_check_spec(bn_spec_at(first, k), &other));
        if (other.also || other.flags & BNFLOSS_DEFER_SCALE)
            return BNFLOSS_E_OPTION;
        bn_needs_add(needs, &other);
    }
    return BNFLOSS_OK;
}

/* Smoothing and z-loss are SFT's, and not DFT's. */
static bnfloss_status bn_check_row_options(const bn_needs *needs,
                                           float smoothing, float z_loss)
{
    return (smoothing > 0 || z_loss > 0) && !needs->plain_sft
               ? BNFLOSS_E_OPTION
               : BNFLOSS_OK;
}

/* ---- Inputs ------------------------------------------------------------- */

static bnfloss_status bn_check_sequences(const bn_batch *batch, int64_t *where)
{
    const int64_t *start = batch->in->seq_start;

    for (int64_t s = 0; start && s <= batch->S; s++) {
        if (s == 0 ? start[0] != 0 : start[s] < start[s - 1]) {
            *where = s;
            return BNFLOSS_E_SEQ;
        }
    }
    if (start && start[batch->S] != batch->N) {
        *where = batch->S;
        return BNFLOSS_E_SEQ;
    }
    return BNFLOSS_OK;
}

static bnfloss_status bn_check_sides(const bn_batch *batch, int64_t *where)
{
    const int8_t *side = batch->in->side;

    for (int64_t s = 0; side && s < batch->S; s++) {
        int bad = side[s] != 1 && side[s] != -1;

        if (batch->in->pairing == BNFLOSS_PAIRS_ADJACENT)
            bad |= side[s] != (s % 2 ? -1 : 1);
        if (batch->in->pairing == BNFLOSS_PAIRS_HALVES)
            bad |= side[s] != (s < batch->P ? 1 : -1);
        if (bad) {
            *where = s;
            return BNFLOSS_E_SIDE;
        }
    }
    return BNFLOSS_OK;
}

/* n floats from low to high, with or without these two. x may be NULL. */
static bnfloss_status bn_check_array(const float *x, int64_t n, float low,
                                     float high, int closed, int64_t *where)
{
    for (int64_t i = 0; x && i < n; i++) {
        if (!(closed ? x[i] >= low && x[i] <= high
                     : x[i] > low && x[i] < high)) {
            *where = i;
            return BNFLOSS_E_INPUT;
        }
    }
    return BNFLOSS_OK;
}

static bnfloss_status bn_check_weights(const bn_batch *batch, int64_t *where)
{
    for (int64_t i = 0; batch->in->row_weight && i < batch->N; i++) {
        if (!bn_is_finite((double)batch->in->row_weight[i])) {
            *where = i;
            return BNFLOSS_E_WEIGHT;
        }
    }
    return BNFLOSS_OK;
}

/* For a row that counts. */
static bnfloss_status bn_check_ref(const bn_batch *batch,
                                   const bn_needs *needs, int64_t i,
                                   int64_t *where)
{
    if (needs->ref && !(batch->in->ref_logp[i] <= BN_LOGP_SLACK)) {
        *where = i;
        return BNFLOSS_E_REF_LOGP;
    }
    return BNFLOSS_OK;
}

/* What is given must be read by a loss of the call, and what a loss cannot do
 * without must be given. */
static bnfloss_status bn_check_extras(const bnfloss_inputs *in,
                                      const bn_needs *needs, int64_t rows)
{
    const int kl = in->mismatched || in->mismatches || in->kl != 0;
    const int shift = in->shift_mean != 0 || in->shift_count != 0;

    if ((in->seq_weight && !needs->seq_weight)
        || (in->pair_weight && !needs->pair_weight)
        || ((in->pair_scale || in->pair_margin) && !needs->margin)
        || (in->soft_label && !needs->soft)
        || (in->distance && !needs->distance) || (in->row_mask && !needs->mask)
        || (in->log_square && !needs->squares) || (kl && !needs->kl)
        || (shift && !needs->shift) || (in->mismatched && in->kl != 0))
        return BNFLOSS_E_OPTION;
    if (rows > 0
        && ((needs->soft && !in->soft_label)
            || (needs->distance && !in->distance)
            || (needs->mask && !in->row_mask)
            || (needs->certainty && !in->pair_weight)))
        return BNFLOSS_E_NULL;
    if (in->mismatches > 0 && !in->mismatched)
        return BNFLOSS_E_NULL;
    if (in->mismatches < 0 || in->mismatches > BN_MAX_ROWS
        || (in->mismatched && in->mismatches == 0))
        return BNFLOSS_E_SHAPE;
    return BNFLOSS_OK;
}

/* And its numbers. */
static bnfloss_status bn_check_extra_numbers(const bn_batch *batch,
                                             int64_t *where)
{
    const bnfloss_inputs *in = batch->in;
    const float max = BN_MAX_F32, inf = BN_INF_F32;

    if (!(in->kl >= 0 && bn_is_finite(in->kl)) || !bn_is_finite(in->shift_mean)
        || !(in->shift_count >= 0 && bn_is_finite(in->shift_count))
        || !bn_is_finite(in->shift_mean * in->shift_count))
        return BNFLOSS_E_VALUE;
    BN_TRY(bn_check_array(in->seq_weight, batch->S, -max, max, 1, where));
    BN_TRY(bn_check_array(in->pair_weight, batch->P, -max, max, 1, where));
    BN_TRY(bn_check_array(in->pair_scale, batch->P, 0, inf, 0, where));
    BN_TRY(bn_check_array(in->pair_margin, batch->P, -max, max, 1, where));
    BN_TRY(bn_check_array(in->soft_label, batch->P, 0, 1, 0, where));
    BN_TRY(bn_check_array(in->distance, batch->S, -max, max, 1, where));
    for (int64_t i = 0; i < in->mismatches; i++) {
        if (!bn_is_finite(in->mismatched[i])) {
            *where = i;
            return BNFLOSS_E_INPUT;
        }
    }
    return BNFLOSS_OK;
}

/* The sequences and pairs that the inputs make of the rows: N, S and P. */
static bnfloss_status bn_check_shape(const bnfloss_inputs *in,
                                     const bn_needs *needs, int64_t rows,
                                     bn_batch *batch, int64_t *where)
{
    if (in->pairing > BNFLOSS_PAIRS_HALVES)
        return BNFLOSS_E_ENUM;
    if (in->sequences < 0 || in->sequences > BN_MAX_ROWS || rows < 0
        || rows > BN_MAX_ROWS)
        return BNFLOSS_E_SHAPE;
    batch->in = in;
    batch->N = rows;
    batch->S = in->seq_start ? in->sequences : 1;
    if (!in->seq_start
        && (in->sequences > 1 || in->pairing || (needs->inputs && rows > 0)))
        return BNFLOSS_E_NULL;
    if (!in->seq_start && rows == 0)
        batch->S = 0;
    if (batch->S == 0 && rows > 0) {
        *where = 0;
        return BNFLOSS_E_SEQ;
    }
    batch->P = in->pairing ? batch->S / 2 : 0;
    if (in->pairing && batch->S % 2) {
        *where = batch->P;
        return BNFLOSS_E_PAIRING;
    }
    return BNFLOSS_OK;
}

static int bn_inputs_misaligned(const bnfloss_inputs *in)
{
    const void *const arrays[] = {
        in->ref_logp, in->row_weight, in->seq_weight, in->pair_weight,
        in->pair_scale, in->pair_margin, in->soft_label, in->distance,
        in->log_square
    };
    int bad = (uintptr_t)in->seq_start % BN_ALIGN_STRUCT
              || (uintptr_t)in->mismatched % BN_ALIGN_STRUCT;

    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        bad |= (uintptr_t)arrays[i] % 4 != 0;
    return bad;
}

/* Reads the inputs and all that does not depend on which rows count: fills in
 * in, N, S and P of *b. */
static bnfloss_status bn_check_inputs(const bnfloss_inputs *from,
                                      const bn_needs *needs,
                                      bnfloss_inputs *in, int64_t rows,
                                      bn_batch *batch, int64_t *where)
{
    memset(in, 0, sizeof *in);
    if (from)
        BN_TRY(bn_read_struct(in, sizeof *in, from));
    else if (needs->inputs && rows > 0)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_shape(in, needs, rows, batch, where));
    if (bn_inputs_misaligned(in))
        return BNFLOSS_E_ALIGN;
    if (!in->pairing && rows > 0 && needs->pairs)
        return BNFLOSS_E_PAIRING;
    if (rows > 0
        && ((needs->ref && !in->ref_logp)
            || (needs->sides && !in->side && !in->pairing)))
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_extras(in, needs, rows));
    BN_TRY(bn_check_sequences(batch, where));
    BN_TRY(bn_check_sides(batch, where));
    BN_TRY(bn_check_weights(batch, where));
    return bn_check_extra_numbers(batch, where);
}
