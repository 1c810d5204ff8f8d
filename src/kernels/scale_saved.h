/* Gradients from the exponentials that the forward pass has kept. */

/* The gradient of an exponential, and whether it counts. */
BN_INLINE BN_KERNEL bn_v BN_FN(scale)(bn_v e, float factor, float cutoff)
{
    return bn_v_masked(bn_v_above(e, bn_v_set1(cutoff)),
                       bn_v_mul(e, bn_v_set1(factor)));
}

/* Of a group. */
BN_INLINE BN_KERNEL void BN_FN(group_scale)(const uint32_t type,
                                            const int stream, const float *e,
                                            void *grad, int64_t i,
                                            float factor, float cutoff)
{
    for (const int64_t end = i + BN_GROUP; i < end; i += 2 * BN_VL) {
        const bn_v a = BN_FN(scale)(bn_v_load_f32(e + i), factor, cutoff);
        const bn_v b = BN_FN(scale)(bn_v_load_f32(e + i + BN_VL), factor,
                                    cutoff);

        if (stream) {
            bn_v_store_nt_f32((float *)grad + i, a);
            bn_v_store_nt_f32((float *)grad + i + BN_VL, b);
        } else {
            BN_FN(write2)(type, grad, i, a, b);
        }
    }
}

/* Narrows a group of gradients into n elements from index i on, or adds it to
 * them. */
BN_KERNEL static void BN_FN(narrow)(uint32_t type, void *grad, int64_t i,
                                    int64_t n, int accumulate,
                                    const float *group)
{
    const size_t size = bn_type_size(type);
    char *at = (char *)grad + (size_t)i * size;
    bn_raw raw;

    memset(&raw, 0, sizeof raw);
    if (accumulate)
        memcpy(&raw, at, (size_t)n * size);
    for (int j = 0; j < BN_GROUP; j += BN_VL) {
        bn_v x = bn_v_load_f32(group + j);

        if (accumulate) {
            x = bn_v_add(BN_FN(read_any)(type, &raw, j), x);
            x = bn_v_select(bn_v_above(x, bn_v_set1(BN_INF_F32)),
                            bn_v_set1(BN_NAN_F32), x);
        }
        BN_FN(write)(type, &raw, j, x);
    }
    memcpy(at, &raw, (size_t)n * size);
}

/* Makes gradients of the kept exponentials from index i to `to` - 1, or to the
 * last. Out of line: what the sums have in registers is worth storing once a
 * span. */
BN_NOINLINE BN_KERNEL static void BN_FN(scale_range)(const bn_scaling *scaling,
                                                     int64_t i, int64_t to)
{
    const float factor = (float)scaling->factor,
                cutoff = (float)scaling->cutoff;
    const int64_t end = to < scaling->n ? to : scaling->n,
                  whole = end - BN_GROUP;
    const float *e = scaling->exps;
    void *grad = scaling->grad;

    if (scaling->grad_type == BNFLOSS_BF16)
        for (; i <= whole; i += BN_GROUP)
            BN_FN(group_scale)(BNFLOSS_BF16, 0, e, grad, i, factor, cutoff);
    else if (scaling->grad_type == BNFLOSS_F16)
        for (; i <= whole; i += BN_GROUP)
            BN_FN(group_scale)(BNFLOSS_F16, 0, e, grad, i, factor, cutoff);
    else if (scaling->nontemporal)
        for (; i <= whole; i += BN_GROUP)
            BN_FN(group_scale)(BNFLOSS_F32, 1, e, grad, i, factor, cutoff);
    else
        for (; i <= whole; i += BN_GROUP)
            BN_FN(group_scale)(BNFLOSS_F32, 0, e, grad, i, factor, cutoff);
    if (i < end) {
        float part[BN_GROUP];

        for (int j = 0; j < BN_GROUP; j += BN_VL)
            bn_v_store_f32(part + j, bn_v_set1(0));
        memcpy(part, e + i, (size_t)(end - i) * sizeof *e);
        BN_FN(group_scale)(BNFLOSS_F32, 0, part, part, 0, factor, cutoff);
        BN_FN(narrow)(scaling->grad_type, grad, i, end - i, 0, part);
    }
}

/* Of those in front of a cache line, if the others are to be stored past the
 * caches. Returns where those begin. */
BN_INLINE BN_KERNEL int64_t BN_FN(scale_head)(const bn_scaling *scaling)
{
    const int64_t line = scaling->nontemporal
                             ? bn_until_cache_line(scaling->grad, scaling->n)
                             : 0;

    if (scaling->done >= line)
        return scaling->done;
    BN_FN(scale_range)(scaling, scaling->done, line);
    return line;
}

BN_KERNEL static void BN_FN(scale_saved)(const bn_scaling *scaling,
                                         uint32_t type, const void *z)
{
    const int64_t begin = BN_FN(scale_head)(scaling);
    bn_prefetcher prefetcher = bn_prefetcher_at(type, z, begin);

    for (int64_t i = begin; i < scaling->n; i += BN_SPAN) {
        for (int g = 0; g < BN_SPAN; g += BN_GROUP)
            bn_prefetch(type, &prefetcher);
        BN_FN(scale_range)(scaling, i, i + BN_SPAN);
    }
    if (scaling->nontemporal)
        bn_v_fence();
}
