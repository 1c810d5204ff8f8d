/* What can be wrong with a loss: its spec, and what it is given besides. */

enum { BN_MAX_ALSO = 15 };      /* specs that follow the first one */

/* ---- Spec --------------------------------------------------------------- */

/* Returns the field of a spec that a number stands in. */
static float bn_spec_number(const bnfloss_spec *spec, bn_number n)
{
    float x;

    memcpy(&x, (const char *)spec + bn_number_ranges[n].at, sizeof x);
    return x;
}

/* Returns whether a loss takes the field at this offset, in whatever range. */
static int bn_accepts_at(const bn_loss *loss, size_t at)
{
    float unused;

    for (int n = 1; n < BN_NUMBERS; n++)
        if (bn_number_ranges[n].at == at
            && bn_accepts(loss, (bn_number)n, &unused))
            return 1;
    return 0;
}

/* Checks that numbers which the loss does not take are 0, and that the others
 * are in range. */
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
                            &bn_number_ranges[n].range))
            return BNFLOSS_E_VALUE;
    if (bn_accepts(loss, BN_TAU_MAX, &unused) && spec->tau_max < spec->tau)
        return BNFLOSS_E_VALUE;
    return BNFLOSS_OK;
}

/* Returns the flags that a loss takes. */
static uint32_t bn_flags_of(const bn_loss *loss)
{
    uint32_t flags = BNFLOSS_DEFER_SCALE;

    if (loss->traits & BN_CROSS_ENTROPY)
        flags |= BNFLOSS_DFT | BNFLOSS_CHOSEN_ONLY;
    if (bn_couples(loss) && loss->traits & BN_REFERENCE)
        flags |= BNFLOSS_REFERENCE_FREE;
    if (loss->shape == BN_BY_PAIR)
        flags |= BNFLOSS_WPO;
    if (loss->traits & BN_MASK)
        flags |= BNFLOSS_POLICY_WEIGHTS;
    return flags;
}

/* Checks the flags, norms and f-divergence of a spec. */
static bnfloss_status bn_check_options(const bnfloss_spec *spec,
                                       const bn_loss *loss)
{
    const uint32_t all = BNFLOSS_DFT | BNFLOSS_CHOSEN_ONLY
                         | BNFLOSS_REFERENCE_FREE | BNFLOSS_WPO
                         | BNFLOSS_POLICY_WEIGHTS | BNFLOSS_DEFER_SCALE;

    if (spec->flags & ~all || spec->f_divergence > BNFLOSS_ALPHA_DIVERGENCE)
        return BNFLOSS_E_ENUM;
    if (spec->flags & ~bn_flags_of(loss)
        || (spec->f_divergence && !(loss->traits & BN_DIVERGENCE))
        || (bn_couples(loss) && spec->token_norm != BNFLOSS_NORM_NONE)
        || (!bn_has_pairs(loss) && spec->sft_norm))
        return BNFLOSS_E_OPTION;
    if (bn_has_pairs(loss) && spec->sft_norm != BNFLOSS_NORM_NONE
        && spec->sft_norm != BNFLOSS_NORM_LENGTH
        && spec->sft_norm != BNFLOSS_NORM_BATCH)
        return BNFLOSS_E_ENUM;
    /* The deferred scale is one factor a row. The likelihood term and tokens of
     * different weight would need two. (BMC has an ld_alpha of 0.) */
    if (spec->flags & BNFLOSS_DEFER_SCALE
        && (spec->also || (spec->sft_weight > 0 && spec->ld_alpha < 1)))
        return BNFLOSS_E_OPTION;
    return BNFLOSS_OK;
}

/* Checks one spec and stores it in *spec. A spec of an older version, which is
 * shorter, gets the loss's defaults for what it lacks. */
static bnfloss_status bn_check_spec(const bnfloss_spec *from,
                                    bnfloss_spec *spec)
{
    const bn_loss *loss;
    bnfloss_spec given;

    memset(&given, 0, sizeof given);
    BN_TRY(bn_read_struct(&given, sizeof given, from));
    bn_spec_defaults(spec, given.kind);
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

/* Returns spec k of the caller's array, whose stride is the first one's
 * struct_size. */
static const bnfloss_spec *bn_spec_at(const bnfloss_spec *first, uint32_t k)
{
    return (const bnfloss_spec *)((const char *)first
                                  + (size_t)k * first->struct_size);
}

/* Checks all specs of a call. The first is left in *spec, what they need in
 * *needs. */
static bnfloss_status bn_check_specs(const bnfloss_spec *first,
                                     bnfloss_spec *spec, unsigned *needs)
{
    bnfloss_spec other;

    BN_TRY(bn_check_spec(first, spec));
    *needs = bn_needs_of(spec);
    for (uint32_t k = 1; k <= spec->also; k++) {
        if (bn_spec_at(first, k)->struct_size != first->struct_size)
            return BNFLOSS_E_STRUCT;
        BN_TRY(bn_check_spec(bn_spec_at(first, k), &other));
        if (other.also || other.flags & BNFLOSS_DEFER_SCALE)
            return BNFLOSS_E_OPTION;
        *needs |= bn_needs_of(&other);
    }
    return BNFLOSS_OK;
}

/* Adds all specs of a call: those after the first are read again, late. */
static void bn_span_specs(bn_spans *spans, const bnfloss_spec *first,
                          uint32_t also)
{
    bn_span_add(spans, first, (1 + (int64_t)also) * first->struct_size, 1,
                BN_READ);
}

/* Checks that label smoothing and z-loss go with all losses of a call. */
static bnfloss_status bn_check_row_options(unsigned needs, float smoothing,
                                           float z_loss)
{
    return (smoothing > 0 || z_loss > 0) && needs & BN_NO_ROW_OPTIONS
               ? BNFLOSS_E_OPTION : BNFLOSS_OK;
}

/* ---- Inputs ------------------------------------------------------------- */

/* Checks that seq_start rises from 0 to N. */
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

/* Checks that each side is 1 or -1, and that of its place in a pair. */
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

/* Checks the reference's logp of a row that counts. */
static bnfloss_status bn_check_ref(const bn_batch *batch, unsigned needs,
                                   int64_t i, int64_t *where)
{
    if (needs & BN_REFERENCE && !(batch->in->ref_logp[i] <= BN_LOGP_SLACK)) {
        *where = i;
        return BNFLOSS_E_REF_LOGP;
    }
    return BNFLOSS_OK;
}

/* Checks what is left of KTO's and BCO's inputs: mismatched, kl, shift. */
static bnfloss_status bn_check_estimates(const bnfloss_inputs *in,
                                         unsigned needs, int64_t *where)
{
    const int kl = in->mismatches || in->kl != 0;
    const int shift = in->shift_mean != 0 || in->shift_count != 0;

    if ((kl && !(needs & BN_KL)) || (shift && !(needs & BN_BASELINE))
        || (in->mismatched && in->kl != 0))
        return BNFLOSS_E_OPTION;
    if (in->mismatches > 0 && !in->mismatched)
        return BNFLOSS_E_NULL;
    if (in->mismatches < 0 || in->mismatches > BN_MAX_ROWS
        || (in->mismatched && in->mismatches == 0))
        return BNFLOSS_E_SHAPE;
    if (!(in->kl >= 0 && bn_is_finite(in->kl)) || !bn_is_finite(in->shift_mean)
        || !(in->shift_count >= 0 && bn_is_finite(in->shift_count))
        || !bn_is_finite(in->shift_mean * in->shift_count))
        return BNFLOSS_E_VALUE;
    for (int64_t i = 0; i < in->mismatches; i++) {
        if (!bn_is_finite(in->mismatched[i])) {
            *where = i;
            return BNFLOSS_E_INPUT;
        }
    }
    return BNFLOSS_OK;
}

/* Finds S and P, the sequences and pairs that the inputs make of N rows. */
static bnfloss_status bn_check_shape(bn_batch *batch, unsigned needs,
                                     int64_t *where)
{
    const bnfloss_inputs *in = batch->in;
    const int one_sequence = !(needs & BN_NEEDS_SEQUENCES);

    if (in->pairing > BNFLOSS_PAIRS_HALVES)
        return BNFLOSS_E_ENUM;
    if (in->sequences < 0 || in->sequences > BN_MAX_ROWS || batch->N < 0
        || batch->N > BN_MAX_ROWS)
        return BNFLOSS_E_SHAPE;
    if (!in->seq_start
        && (in->sequences > 1 || in->pairing
            || (batch->N > 0 && !one_sequence)))
        return BNFLOSS_E_NULL;
    batch->S = in->seq_start ? in->sequences : batch->N > 0;
    if (batch->S == 0 && batch->N > 0) {
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

/* Checks the inputs, but for what depends on which rows count. batch->N is
 * known; *in receives the inputs, and the batch S, P and `in`. */
static bnfloss_status bn_check_inputs(const bnfloss_inputs *from,
                                      unsigned needs, bnfloss_inputs *in,
                                      bn_batch *batch, int64_t *where)
{
    memset(in, 0, sizeof *in);
    batch->in = in;
    if (from)
        BN_TRY(bn_read_struct(in, sizeof *in, from));
    else if (needs & BN_NEEDS_SEQUENCES && batch->N > 0)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_shape(batch, needs, where));
    if (needs & BN_PAIRS && !in->pairing && batch->N > 0)
        return BNFLOSS_E_PAIRING;
    if (needs & BN_SIDES && !in->side && !in->pairing && batch->N > 0)
        return BNFLOSS_E_NULL;
    BN_TRY(bn_check_input_pointers(batch, needs));
    BN_TRY(bn_check_sequences(batch, where));
    BN_TRY(bn_check_sides(batch, where));
    BN_TRY(bn_check_input_elements(batch, where));
    return bn_check_estimates(in, needs, where);
}
