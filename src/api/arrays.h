/* The arrays that a caller passes in bnfloss_inputs and bnfloss_outputs, a
 * line each. The checks of pointers, alignment, overlap and ranges are made of
 * it. */

/* ---- What losses need ------------------------------------------------- */

/* What the losses of a call need: the traits of all of them, and these. */
enum {
    BN_PAIRS = 1 << 20,             /* a pairing */
    BN_SEQ_WEIGHT = 1 << 21,        /* may read seq_weight, */
    BN_PAIR_WEIGHT = 1 << 22,       /* pair_weight, */
    BN_PAIR_MARGIN = 1 << 23,       /* pair_scale and pair_margin, */
    BN_WPO_SQUARE = 1 << 24,        /* WPO: log_square or squares in states */
    BN_NO_ROW_OPTIONS = 1 << 25     /* no label smoothing, no z-loss */
};

/* Either of these needs sequences. (C++ refuses to mix two enums.) */
#define BN_NEEDS_SEQUENCES ((unsigned)BN_SIDES | BN_PAIRS)

/* Returns what one loss needs, with its options. */
static unsigned bn_needs_of(const bnfloss_spec *spec)
{
    const bn_loss *loss = bn_loss_of(spec->kind);
    unsigned needs = loss->traits;

    if (!bn_reads_ref(spec))
        needs &= ~(unsigned)BN_REFERENCE;
    if (spec->flags & BNFLOSS_CHOSEN_ONLY)
        needs |= BN_SIDES;
    if (bn_has_pairs(loss) || spec->divisor == BNFLOSS_DIV_PAIRS)
        needs |= BN_PAIRS;
    if (!bn_has_pairs(loss))
        needs |= BN_SEQ_WEIGHT;
    if (loss->shape == BN_BY_PAIR)
        needs |= BN_PAIR_WEIGHT;
    if (bn_has_margin(loss))
        needs |= BN_PAIR_MARGIN;
    if (spec->flags & BNFLOSS_WPO)
        needs |= BN_WPO_SQUARE;
    if (!(loss->traits & BN_CROSS_ENTROPY) || spec->flags & BNFLOSS_DFT)
        needs |= BN_NO_ROW_OPTIONS;
    return needs;
}

/* ---- Elements --------------------------------------------------------- */

/* What an array has an element for. */
typedef enum bn_per {
    BN_PER_ROW, BN_PER_SEQUENCE, BN_PER_BOUND, BN_PER_PAIR, BN_PER_MISMATCH,
    BN_PER_UNIT,                /* a pair in a loss of pairs, else a sequence */
    BN_PER_SPEC
} bn_per;

/* Returns how many elements an array has. */
static int64_t bn_count_of(bn_per per, const bn_batch *batch)
{
    switch (per) {
    case BN_PER_ROW:        return batch->N;
    case BN_PER_SEQUENCE:   return batch->S;
    case BN_PER_BOUND:      return batch->S + 1;
    case BN_PER_PAIR:       return batch->P;
    case BN_PER_MISMATCH:   return batch->in->mismatches;
    case BN_PER_UNIT:
        return bn_has_pairs(batch->loss) ? batch->P : batch->S;
    default:                return 1 + (int64_t)batch->spec->also;
    }
}

/* Returns the pointer that a struct has at an offset. */
static const void *bn_pointer_at(const void *from, size_t at)
{
    const void *p;

    memcpy(&p, (const char *)from + at, sizeof p);
    return p;
}

/* ---- Inputs ------------------------------------------------------------- */

typedef struct bn_input {
    const char *name;
    size_t at, size;            /* offset in bnfloss_inputs; bytes an element */
    bn_per per;
    unsigned readers;           /* the needs that read it; 0: always allowed */
    unsigned required_by;       /* the needs that cannot do without it */
    bnfloss_status error;       /* of an element out of range; OK if elements
                                   are checked elsewhere or need no check */
    bn_range range;
} bn_input;

#define BN_IN(field) #field, offsetof(bnfloss_inputs, field)
#define BN_ANY 0, BNFLOSS_OK, { 0, 0, 0 }
#define BN_FINITE { -BN_MAX_F32, BN_MAX_F32, 0 }

static const bn_input bn_inputs[] = {
    { BN_IN(seq_start), 8, BN_PER_BOUND, 0, BN_ANY },
    { BN_IN(side), 1, BN_PER_SEQUENCE, 0, BN_ANY },
    { BN_IN(ref_logp), 4, BN_PER_ROW, 0, BN_REFERENCE, BNFLOSS_OK,
      { 0, 0, 0 } },
    { BN_IN(row_weight), 4, BN_PER_ROW, 0, 0, BNFLOSS_E_WEIGHT, BN_FINITE },
    { BN_IN(seq_weight), 4, BN_PER_SEQUENCE, BN_SEQ_WEIGHT, 0, BNFLOSS_E_INPUT,
      BN_FINITE },
    { BN_IN(pair_weight), 4, BN_PER_PAIR, BN_PAIR_WEIGHT, BN_CERTAINTY,
      BNFLOSS_E_INPUT, BN_FINITE },
    { BN_IN(pair_scale), 4, BN_PER_PAIR, BN_PAIR_MARGIN, 0, BNFLOSS_E_INPUT,
      { 0, BN_MAX_F32, BN_ABOVE } },
    { BN_IN(pair_margin), 4, BN_PER_PAIR, BN_PAIR_MARGIN, 0, BNFLOSS_E_INPUT,
      BN_FINITE },
    { BN_IN(soft_label), 4, BN_PER_PAIR, BN_SOFT, BN_SOFT, BNFLOSS_E_INPUT,
      { 0, 1, BN_ABOVE | BN_BELOW } },
    { BN_IN(distance), 4, BN_PER_SEQUENCE, BN_DISTANCE, BN_DISTANCE,
      BNFLOSS_E_INPUT, BN_FINITE },
    { BN_IN(row_mask), 1, BN_PER_ROW, BN_MASK, BN_MASK, BNFLOSS_OK,
      { 0, 0, 0 } },
    { BN_IN(log_square), 4, BN_PER_ROW, BN_WPO_SQUARE, BN_ANY },
    { BN_IN(mismatched), 8, BN_PER_MISMATCH, BN_KL, BN_ANY }
};

#undef BN_IN
#undef BN_ANY
#undef BN_FINITE
enum { BN_INPUTS = sizeof bn_inputs / sizeof *bn_inputs };

/* Checks that every array is aligned, that a loss of the call reads it, and
 * that it is there if a loss needs it. */
static bnfloss_status bn_check_input_pointers(const bn_batch *batch,
                                              unsigned needs)
{
    for (int k = 0; k < BN_INPUTS; k++) {
        const bn_input *array = bn_inputs + k;
        const void *p = bn_pointer_at(batch->in, array->at);

        if ((uintptr_t)p % bn_alignment(array->size))
            return BNFLOSS_E_ALIGN;
        if (p && array->readers && !(array->readers & needs))
            return BNFLOSS_E_OPTION;
        if (!p && array->required_by & needs && batch->N > 0)
            return BNFLOSS_E_NULL;
    }
    return BNFLOSS_OK;
}

/* Checks the elements of every array of floats. */
static bnfloss_status bn_check_input_elements(const bn_batch *batch,
                                              int64_t *where)
{
    for (int k = 0; k < BN_INPUTS; k++) {
        const bn_input *array = bn_inputs + k;
        const float *x = (const float *)bn_pointer_at(batch->in, array->at);
        const int64_t n = bn_count_of(array->per, batch);

        for (int64_t i = 0; x && array->error && i < n; i++) {
            if (!bn_in_range(x[i], &array->range)) {
                *where = i;
                return array->error;
            }
        }
    }
    return BNFLOSS_OK;
}

static void bn_span_inputs(bn_spans *spans, const bn_batch *batch)
{
    for (int k = 0; k < BN_INPUTS; k++)
        bn_span_add(spans, bn_pointer_at(batch->in, bn_inputs[k].at),
                    bn_count_of(bn_inputs[k].per, batch), bn_inputs[k].size,
                    BN_READ);
}

/* ---- Outputs ------------------------------------------------------------ */

typedef struct bn_output {
    const char *name;
    size_t at, size;
    bn_per per;
} bn_output;

#define BN_OUT(field) #field, offsetof(bnfloss_outputs, field)

/* Outputs of a row's state, 4 bytes a row. */
static const bn_output bn_row_outputs[] = {
    { BN_OUT(logp), 4, BN_PER_ROW },
    { BN_OUT(rest), 4, BN_PER_ROW },
    { BN_OUT(entropy), 4, BN_PER_ROW },
    { BN_OUT(log_square), 4, BN_PER_ROW },
    { BN_OUT(argmax), 4, BN_PER_ROW }
};

/* Outputs of the losses. */
static const bn_output bn_loss_outputs[] = {
    { BN_OUT(dlogp), 4, BN_PER_ROW },
    { BN_OUT(row_loss), 4, BN_PER_ROW },
    { BN_OUT(row_scale), 4, BN_PER_ROW },
    { BN_OUT(seq_logp), 8, BN_PER_SEQUENCE },
    { BN_OUT(seq_ratio), 8, BN_PER_SEQUENCE },
    { BN_OUT(seq_loss), 8, BN_PER_UNIT },
    { BN_OUT(distance_grad), 4, BN_PER_SEQUENCE },
    { BN_OUT(spec_loss), 8, BN_PER_SPEC }
};

#undef BN_OUT
enum {
    BN_ROW_OUTPUTS = sizeof bn_row_outputs / sizeof *bn_row_outputs,
    BN_LOSS_OUTPUTS = sizeof bn_loss_outputs / sizeof *bn_loss_outputs
};

/* Copies the caller's outputs, which may be NULL. */
static bnfloss_status bn_read_outputs(bnfloss_outputs *to,
                                      const bnfloss_outputs *from)
{
    memset(to, 0, sizeof *to);
    if (!from)
        return BNFLOSS_OK;
    BN_TRY(bn_read_struct(to, sizeof *to, from));
    return to->reserved ? BNFLOSS_E_STRUCT : BNFLOSS_OK;
}

/* Adds the rows [from, to) of the outputs of states. */
static void bn_span_row_outputs(bn_spans *spans, const bnfloss_outputs *out,
                                int64_t from, int64_t to)
{
    for (int k = 0; k < BN_ROW_OUTPUTS; k++) {
        const char *p = (const char *)bn_pointer_at(out, bn_row_outputs[k].at);

        if (p)
            bn_span_add(spans, p + from * 4, to - from, 4, BN_WRITE);
    }
}

static void bn_span_loss_outputs(bn_spans *spans, const bnfloss_outputs *out,
                                 const bn_batch *batch)
{
    for (int k = 0; k < BN_LOSS_OUTPUTS; k++) {
        const bn_output *array = bn_loss_outputs + k;

        bn_span_add(spans, bn_pointer_at(out, array->at),
                    bn_count_of(array->per, batch), array->size, BN_WRITE);
    }
}
