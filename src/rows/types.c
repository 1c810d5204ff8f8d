/* One label, one logit, one gradient element, of whatever type. */

static int64_t bn_label(const bn_view *w, const void *labels, int64_t i)
{
    return w->label_type == BNFLOSS_I64 ? ((const int64_t *)labels)[i]
                                        : ((const int32_t *)labels)[i];
}

static size_t bn_type_size(uint32_t type)
{
    return type == BNFLOSS_F32 ? 4 : 2;
}

static float bn_get(uint32_t type, const void *p, int64_t i)
{
    switch (type) {
    case BNFLOSS_F32:  return ((const float *)p)[i];
    case BNFLOSS_BF16: return bn_from_bf16(((const uint16_t *)p)[i]);
    default:           return bn_from_f16(((const uint16_t *)p)[i]);
    }
}

static void bn_put(uint32_t type, void *p, int64_t i, float x)
{
    x = bn_canonical_f32(x);
    switch (type) {
    case BNFLOSS_F32:  ((float *)p)[i] = x; break;
    case BNFLOSS_BF16: ((uint16_t *)p)[i] = bn_to_bf16(x); break;
    default:           ((uint16_t *)p)[i] = bn_to_f16(x); break;
    }
}
