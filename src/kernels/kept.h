/* Gradients from the exponentials that the forward pass has kept. */

/* The gradient of an exponential, and whether it counts. */
BN_INLINE KERNEL v FN(product)(v e, float factor, float least)
{
    return v_keep(v_above(e, v_set1(least)), v_mul(e, v_set1(factor)));
}

/* Of a group. */
BN_INLINE KERNEL void FN(group_products)(const uint32_t type, const int stream,
                                         const float *e, void *grad, int64_t i,
                                         float factor, float least)
{
    for (const int64_t end = i + BN_GROUP; i < end; i += 2 * VL) {
        const v a = FN(product)(v_load_f32(e + i), factor, least);
        const v b = FN(product)(v_load_f32(e + i + VL), factor, least);

        if (stream) {
            v_stream_f32((float *)grad + i, a);
            v_stream_f32((float *)grad + i + VL, b);
        } else {
            FN(write2)(type, grad, i, a, b);
        }
    }
}

/* Narrows a group of gradients into n elements from index i on, or adds it to
 * them. */
KERNEL static void FN(narrow)(uint32_t type, void *grad, int64_t i, int64_t n,
                              int accumulate, const float *group)
{
    const size_t size = bn_type_size(type);
    char *at = (char *)grad + (size_t)i * size;
    bn_raw raw;

    memset(&raw, 0, sizeof raw);
    if (accumulate)
        memcpy(&raw, at, (size_t)n * size);
    for (int j = 0; j < BN_GROUP; j += VL) {
        v x = v_load_f32(group + j);

        if (accumulate) {
            x = v_add(FN(read_any)(type, &raw, j), x);
            x = v_select(v_above(x, v_set1(BN_INF_F32)), v_set1(BN_NAN_F32), x);
        }
        FN(write)(type, &raw, j, x);
    }
    memcpy(at, &raw, (size_t)n * size);
}

/* Makes gradients of the kept exponentials from index i to `to` - 1, or to the
 * last. Out of line: what the sums have in registers is worth storing once a
 * span. */
BN_NOINLINE KERNEL static void FN(products)(const bn_before *b, int64_t i,
                                            int64_t to)
{
    const float factor = (float)b->factor, least = (float)b->least;
    const int64_t end = to < b->n ? to : b->n, whole = end - BN_GROUP;
    const float *e = b->e;
    void *grad = b->grad;

    if (b->grad_type == BNFLOSS_BF16)
        for (; i <= whole; i += BN_GROUP)
            FN(group_products)(BNFLOSS_BF16, 0, e, grad, i, factor, least);
    else if (b->grad_type == BNFLOSS_F16)
        for (; i <= whole; i += BN_GROUP)
            FN(group_products)(BNFLOSS_F16, 0, e, grad, i, factor, least);
    else if (b->stream)
        for (; i <= whole; i += BN_GROUP)
            FN(group_products)(BNFLOSS_F32, 1, e, grad, i, factor, least);
    else
        for (; i <= whole; i += BN_GROUP)
            FN(group_products)(BNFLOSS_F32, 0, e, grad, i, factor, least);
    if (i < end) {
        float part[BN_GROUP];

        for (int j = 0; j < BN_GROUP; j += VL)
            v_store_f32(part + j, v_set1(0));
        memcpy(part, e + i, (size_t)(end - i) * sizeof *e);
        FN(group_products)(BNFLOSS_F32, 0, part, part, 0, factor, least);
        FN(narrow)(b->grad_type, grad, i, end - i, 0, part);
    }
}

/* Of those in front of a cache line, if the others are to be stored past the
 * caches. Returns where those begin. */
BN_INLINE KERNEL int64_t FN(products_begin)(const bn_before *b)
{
    const int64_t line = b->stream ? bn_until_line(b->grad, b->n) : 0;

    if (b->done >= line)
        return b->done;
    FN(products)(b, b->done, line);
    return line;
}

KERNEL static void FN(kept)(const bn_before *before, uint32_t type,
                            const void *z)
{
    const int64_t begin = FN(products_begin)(before);
    bn_ahead ahead = bn_ahead_of(type, z, begin);

    for (int64_t i = begin; i < before->n; i += BN_SPAN) {
        for (int g = 0; g < BN_SPAN; g += BN_GROUP)
            bn_prefetch(type, &ahead);
        FN(products)(before, i, i + BN_SPAN);
    }
    if (before->stream)
        v_fence();
}
