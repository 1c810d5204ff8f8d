/* Names and texts: of the library, instruction sets, errors and losses; and the
 * defaults of a loss. */

const char *bnfloss_version(void)
{
    return BNFLOSS_VERSION;
}

const char *bnfloss_isa(void)
{
    return bn_kernels_get()->name;
}

const char *bnfloss_isa_name(int32_t number)
{
    return number >= 0 && number < BN_ISAS
               ? bn_isas[BN_ISAS - 1 - number].kernels->name
               : NULL;
}

bnfloss_status bnfloss_isa_select(const char *name)
{
    if (!name)
        return BNFLOSS_E_NULL;
    return bn_kernels_select(name) ? BNFLOSS_OK : BNFLOSS_E_ISA;
}

const char *bnfloss_status_string(bnfloss_status status)
{
    switch (status) {
    case BNFLOSS_OK:         return "ok";
    case BNFLOSS_E_NULL:     return "a required pointer is NULL";
    case BNFLOSS_E_STRUCT:   return "struct_size is unset, or bytes that this "
                                    "version does not know are not zero";
    case BNFLOSS_E_ENUM:     return "an unknown constant or flag";
    case BNFLOSS_E_SHAPE:    return "a dimension, stride or range is out of "
                                    "bounds";
    case BNFLOSS_E_VALUE:    return "a number is out of its range, or NaN";
    case BNFLOSS_E_OPTION:   return "an option that does not go with this loss "
                                    "or call";
    case BNFLOSS_E_ALIGN:    return "a pointer is not aligned to its element";
    case BNFLOSS_E_OVERLAP:  return "an output overlaps another buffer";
    case BNFLOSS_E_LABEL:    return "a label is not below the vocabulary";
    case BNFLOSS_E_WEIGHT:   return "a row weight is NaN or infinite";
    case BNFLOSS_E_REF_LOGP: return "a reference log-probability is above "
                                    "2^-6, or NaN";
    case BNFLOSS_E_LOGP:     return "a log-probability is above 2^-6";
    case BNFLOSS_E_SEQ:      return "seq_start does not go from 0 to the "
                                    "number of rows, or steps back";
    case BNFLOSS_E_SIDE:     return "a side is not +1 or -1, or contradicts "
                                    "the pairing";
    case BNFLOSS_E_PAIRING:  return "pairs are needed, or the number of "
                                    "sequences is odd";
    case BNFLOSS_E_STATE:    return "row states do not fit together";
    case BNFLOSS_E_WORK:     return "the work buffer is too small";
    case BNFLOSS_E_ISA:      return "no such instruction set in this build or "
                                    "on this CPU";
    case BNFLOSS_E_INPUT:    return "a number of a sequence or pair is out of "
                                    "its range, or NaN";
    case BNFLOSS_E_SELFTEST: return "this build computes other bits than it "
                                    "should";
    default:                 return "unknown status";
    }
}

uint32_t bnfloss_kind_from_name(const char *name)
{
    for (uint32_t kind = 1; name && kind <= BN_KINDS; kind++) {
        const bn_loss *loss = bn_loss_of(kind);

        if (bn_same_text(name, loss->name)
            || (loss->alias && bn_same_text(name, loss->alias)))
            return kind;
    }
    return 0;
}

const char *bnfloss_kind_name(uint32_t kind)
{
    const bn_loss *loss = bn_loss_of(kind);

    return loss ? loss->name : NULL;
}

/* Fills in all fields but struct_size. An unknown kind has defaults too. */
static void bn_spec_defaults(bnfloss_spec *spec, uint32_t kind)
{
    const bn_loss *loss = bn_loss_of(kind);
    float value;

    memset(spec, 0, sizeof *spec);
    spec->kind = kind;
    spec->token_norm = BNFLOSS_NORM_NONE;
    spec->divisor = BNFLOSS_DIV_TOKENS;
    spec->weight = spec->divisor_value = spec->loss_scale = 1;
    if (!loss)
        return;
    if (!bn_couples(loss))
        spec->token_norm = loss->norm;
    if (bn_has_pairs(loss))
        spec->sft_norm = loss->norm;
    if (bn_knows_sides(loss))
        spec->divisor = bn_has_pairs(loss) ? BNFLOSS_DIV_PAIRS
                                           : BNFLOSS_DIV_SEQUENCES;
    for (int n = 1; n < BN_NUMBERS; n++)
        if (bn_accepts(loss, (bn_number)n, &value))
            memcpy((char *)spec + bn_number_ranges[n].at, &value,
                   sizeof value);
}

bnfloss_status bnfloss_spec_init(bnfloss_spec *spec, uint32_t struct_size,
                                 uint32_t kind)
{
    bnfloss_spec known;

    if (!spec)
        return BNFLOSS_E_NULL;
    if ((uintptr_t)spec % BN_ALIGN_STRUCT)
        return BNFLOSS_E_ALIGN;
    if (!bn_is_size(struct_size))
        return BNFLOSS_E_STRUCT;
    bn_spec_defaults(&known, kind);
    known.struct_size = struct_size;
    memset(spec, 0, struct_size);
    memcpy(spec, &known,
           struct_size < sizeof known ? struct_size : sizeof known);
    return BNFLOSS_OK;
}
