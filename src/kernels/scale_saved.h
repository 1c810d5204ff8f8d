/* Gradients from saved exponentials: one multiplication each. */

/* Returns the gradient of exponentials: e * factor, or 0 up to the cutoff. */
BN_INLINE BN_KERNEL bn_v BN_FN(scale)(bn_v e, float factor, float cutoff)
{
    return bn_v_masked(bn_v_above(e, bn_v_set1(cutoff)),
                       bn_v_mul(e, bn_v_set1(factor)));
}

/* Writes the gradients of the group at index i. */
BN_INLINE BN_KERNEL void BN_FN(group_scale)(const uint32_t type,
                                            const int nontemporal,
                                            const float *exps, void *grad,
                                            int64_t i, float factor,
                                            float cutoff)
{
    for (const int64_t end = i + BN_GROUP; i < end; i += 2 * BN_VL) {
        const bn_v a = BN_FN(scale)(bn_v_load_f32(exps + i), factor, cutoff);
        const bn_v b = BN_FN(scale)(bn_v_load_f32(exps + i + BN_VL), factor,
                                    cutoff);

        if (nontemporal) {
            bn_v_store_nt_f32((float *)grad + i, a);
            bn_v_store_nt_f32((float *)grad + i + BN_VL, b);
        } else {
            BN_FN(write2)(type, grad, i, a, b);
        }
    }
}

/* Converts a group of float gradients to n elements from index i on, or adds
 * it to them. */
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

/* Writes the gradients of whole groups from index i on that end before `end`.
 * Returns the index behind them. */
BN_INLINE BN_KERNEL int64_t BN_FN(scale_groups)(const uint32_t type,
                                                const int nontemporal,
                                                const bn_scaling *scaling,
                                                int64_t i, int64_t end)
{
    const float factor = (float)scaling->factor;
    const float cutoff = (float)scaling->cutoff;
    const float *exps = scaling->exps;
    void *grad = scaling->grad;

    for (; i <= end - BN_GROUP; i += BN_GROUP)
        BN_FN(group_scale)(type, nontemporal, exps, grad, i, factor, cutoff);
    return i;
}

/* Writes the gradients from index i to `to` - 1, or to the last. It is not
 * inlined: what the sums have in registers is worth storing once a span. */
BN_NOINLINE BN_KERNEL static void BN_FN(scale_range)(
    const bn_scaling *scaling, int64_t i, int64_t to)
{
    const int64_t end = to < scaling->n ? to : scaling->n;

#define SCALE(T) BN_FN(scale_groups)(T, 0, scaling, i, end)
    i = scaling->nontemporal
            ? BN_FN(scale_groups)(BNFLOSS_F32, 1, scaling, i, end)
            : BN_WITH_TYPE(scaling->grad_type, SCALE);
#undef SCALE
    if (i < end) {
        const size_t bytes = (size_t)(end - i) * sizeof(float);
        float part[BN_GROUP];

        for (int j = 0; j < BN_GROUP; j += BN_VL)
            bn_v_store_f32(part + j, bn_v_set1(0));
        memcpy(part, scaling->exps + i, bytes);
        BN_FN(group_scale)(BNFLOSS_F32, 0, part, part, 0,
                           (float)scaling->factor, (float)scaling->cutoff);
        BN_FN(narrow)(scaling->grad_type, scaling->grad, i, end - i, 0, part);
    }
}

/* Writes the gradients in front of the first cache line, if the others are to
 * be stored past the caches. Returns the index where those begin. */
BN_INLINE BN_KERNEL int64_t BN_FN(scale_head)(const bn_scaling *scaling)
{
    const int64_t head = scaling->nontemporal
                             ? bn_until_cache_line(scaling->grad, scaling->n)
                             : 0;

    if (scaling->done >= head)
        return scaling->done;
    BN_FN(scale_range)(scaling, scaling->done, head);
    return head;
}

/* The bn_scale_kernel. */
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
