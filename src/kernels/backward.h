/* The backward pass of a chunk: gradients from its logits. */

/* What the groups of a chunk share. `general` is a constant where this is
 * inlined. */
typedef struct BN_FN(back) {
    const bn_chunk *chunk;
    const bn_coefficients *co;
    const bn_map *map;
    bn_v_table table;
    int general;
} BN_FN(back);

/* Returns the gradients of one vector. */
BN_INLINE BN_KERNEL bn_v BN_FN(gradient)(bn_v z, const BN_FN(back) *back)
{
    const bn_v tiny = bn_v_set1(0x1.fffffcp-127f);  /* the largest denormal */
    const bn_coefficients *co = back->co;
    bn_v x, slope, g, size;

    if (!back->general) {
        x = bn_v_max(bn_v_set1(co->underflow_at),
                     bn_v_sub(z, bn_v_set1(co->origin)));
        return BN_FN(scale)(BN_FN(exp_cold)(x, back->table), co->factor,
                            co->cutoff);
    }
    x = BN_FN(mapped)(z, back->map, co->origin, &slope);
    g = BN_FN(exp_cold)(x, back->table);
    g = bn_v_masked(bn_v_above(x, bn_v_set1(co->underflow_at)), g);
    g = bn_v_add(bn_v_mul(g, bn_v_set1(co->post)), bn_v_set1(co->uniform));
    g = bn_v_mul(g, slope);
    g = bn_v_masked(bn_v_above(x, bn_v_set1(-BN_INF_F32)), g);
    size = bn_v_max(g, bn_v_sub(bn_v_set1(0), g));
    return bn_v_masked(bn_v_above(size, tiny), g);
}

/* Turns four vectors of logits into their gradients. */
BN_INLINE BN_KERNEL void BN_FN(four_gradients)(bn_v *z0, bn_v *z1, bn_v *z2,
                                               bn_v *z3,
                                               const BN_FN(back) *back)
{
    const bn_coefficients *co = back->co;

    if (!back->general
        && BN_FN(all_above)(*z0, *z1, *z2, *z3, co->no_mask_above)) {
        const bn_v factor = bn_v_set1(co->factor);

        *z0 = bn_v_mul(BN_FN(exp)(*z0, back->table), factor);
        *z1 = bn_v_mul(BN_FN(exp)(*z1, back->table), factor);
        *z2 = bn_v_mul(BN_FN(exp)(*z2, back->table), factor);
        *z3 = bn_v_mul(BN_FN(exp)(*z3, back->table), factor);
    } else {
        *z0 = BN_FN(gradient)(*z0, back);
        *z1 = BN_FN(gradient)(*z1, back);
        *z2 = BN_FN(gradient)(*z2, back);
        *z3 = BN_FN(gradient)(*z3, back);
    }
}

/* Writes the gradients of the group at z[i] to `to` from index j on. This may
 * be the same place. */
BN_INLINE BN_KERNEL void BN_FN(group_gradient)(
    const uint32_t type, const void *z, int64_t i, const uint32_t to_type,
    const int nontemporal, void *to, int64_t j, const BN_FN(back) *back)
{
    for (int h = 0; h < BN_GROUP;
         h += 4 * BN_VL, i += 4 * BN_VL, j += 4 * BN_VL) {
        bn_v z0 = BN_FN(read)(type, z, i);
        bn_v z1 = BN_FN(read)(type, z, i + BN_VL);
        bn_v z2 = BN_FN(read)(type, z, i + 2 * BN_VL);
        bn_v z3 = BN_FN(read)(type, z, i + 3 * BN_VL);

        BN_FN(four_gradients)(&z0, &z1, &z2, &z3, back);
        if (nontemporal) {
            bn_v_store_nt_f32((float *)to + j, z0);
            bn_v_store_nt_f32((float *)to + j + BN_VL, z1);
            bn_v_store_nt_f32((float *)to + j + 2 * BN_VL, z2);
            bn_v_store_nt_f32((float *)to + j + 3 * BN_VL, z3);
        } else {
            BN_FN(write2)(to_type, to, j, z0, z1);
            BN_FN(write2)(to_type, to, j + 2 * BN_VL, z2, z3);
        }
    }
}

/* Writes the gradients of all whole groups from index i on. Returns the index
 * behind them. If they are stored past the caches, grad + i begins a cache
 * line, and a fence puts these stores before all that follow: an ordinary one
 * over the label's, or one that tells another thread. */
BN_INLINE BN_KERNEL int64_t BN_FN(whole_groups)(const uint32_t type,
                                                const uint32_t to_type,
                                                const int nontemporal,
                                                int64_t i,
                                                const BN_FN(back) *back)
{
    const bn_chunk *chunk = back->chunk;
    bn_prefetcher prefetcher = bn_prefetcher_at(type, chunk->logits, i);

    for (; i + BN_GROUP <= chunk->n; i += BN_GROUP) {
        bn_prefetch(type, &prefetcher);
        BN_FN(group_gradient)(type, chunk->logits, i, to_type, nontemporal,
                              chunk->grad, i, back);
    }
    if (nontemporal)
        bn_v_fence();
    return i;
}

/* Writes n <= 64 gradients from index i on, whatever the types. */
BN_INLINE BN_KERNEL void BN_FN(any_gradients)(int64_t i, int64_t n,
                                              const BN_FN(back) *back)
{
    const bn_chunk *chunk = back->chunk;
    BN_FN(source) source;
    float buffer[BN_GROUP], g[BN_GROUP];
    const float *z;

    source.z = chunk->logits;
    source.type = chunk->type;
    source.n = i + n;
    source.label = source.leader = -BN_SPAN;
    z = BN_FN(fetch)(&source, i, -BN_SPAN, buffer);
    BN_FN(group_gradient)(BNFLOSS_F32, z, 0, BNFLOSS_F32, 0, g, 0, back);
    BN_FN(narrow)(chunk->grad_type, chunk->grad, i, n, back->co->accumulate, g);
}

/* Writes the whole groups of a chunk that need neither a sum nor a conversion
 * on the stack. Returns the index behind them, 0 if there are none. */
BN_INLINE BN_KERNEL int64_t BN_FN(direct_groups)(const BN_FN(back) *back)
{
    const uint32_t type = back->chunk->type, to = back->chunk->grad_type;

    if (back->co->accumulate || back->chunk->nontemporal)
        return 0;
#define TO_F32(T) BN_FN(whole_groups)(T, BNFLOSS_F32, 0, 0, back)
#define TO_SAME(T) BN_FN(whole_groups)(T, T, 0, 0, back)
    if (back->general)
        return type == BNFLOSS_F32 && to == BNFLOSS_F32 ? TO_F32(BNFLOSS_F32)
                                                        : 0;
    if (to == BNFLOSS_F32)
        return BN_WITH_TYPE(type, TO_F32);
    if (to == type)
        return type == BNFLOSS_BF16 ? TO_SAME(BNFLOSS_BF16)
                                    : TO_SAME(BNFLOSS_F16);
#undef TO_F32
#undef TO_SAME
    return 0;
}

/* Stores the whole groups from index i on past the caches. */
BN_INLINE BN_KERNEL int64_t BN_FN(nontemporal_groups)(int64_t i,
                                                      const BN_FN(back) *back)
{
#define STREAM(T) BN_FN(whole_groups)(T, BNFLOSS_F32, 1, i, back)
    if (back->general)
        return STREAM(BNFLOSS_F32);
    return BN_WITH_TYPE(back->chunk->type, STREAM);
#undef STREAM
}

/* The gradients of a chunk: whole groups directly where that can be, the others
 * one group at a time. */
BN_INLINE BN_KERNEL void BN_FN(sweep)(const bn_chunk *given,
                                      const bn_coefficients *coefficients,
                                      const bn_map *logit_map,
                                      const int general)
{
    /* copies, which no store can change, so that they stay in registers */
    const bn_chunk copy = *given, *chunk = &copy;
    const bn_coefficients co = *coefficients;
    const bn_map map = *logit_map;
    const int nontemporal = chunk->nontemporal
                            && (chunk->type == BNFLOSS_F32 || !general);
    const int64_t whole = BN_GROUP;
    BN_FN(back) back;
    bn_prefetcher prefetcher;
    int64_t i, line;

    back.chunk = chunk;
    back.co = &co;
    back.map = &map;
    back.table = bn_v_table_load(co.table);
    back.general = general;
    line = nontemporal ? bn_until_cache_line(chunk->grad, chunk->n) : -1;
    i = BN_FN(direct_groups)(&back);
    prefetcher = bn_prefetcher_at(chunk->type, chunk->logits, i);
    while (i < chunk->n) {
        const int64_t left = (i < line ? line : chunk->n) - i;
        const int64_t n = left < whole ? left : whole;

        if (i == line && left >= whole) {
            i = BN_FN(nontemporal_groups)(i, &back);
            prefetcher = bn_prefetcher_at(chunk->type, chunk->logits, i);
            line = -1;
            continue;
        }
        bn_prefetch(chunk->type, &prefetcher);
        BN_FN(any_gradients)(i, n, &back);
        i += n;
    }
}

BN_KERNEL static void BN_FN(backward)(const bn_chunk *chunk,
                                      const bn_coefficients *co,
                                      const bn_map *map)
{
    BN_FN(sweep)(chunk, co, map, 0);
}

BN_KERNEL static void BN_FN(backward_general)(const bn_chunk *chunk,
                                              const bn_coefficients *co,
                                              const bn_map *map)
{
    BN_FN(sweep)(chunk, co, map, 1);
}
