/* The gradients of a chunk, from its logits. */

/* One vector's gradient. */
BN_INLINE BN_KERNEL bn_v BN_FN(gradient)(bn_v z, const bn_coefficients *co,
                                         const bn_map *map, bn_v_table table,
                                         const int general)
{
    const bn_v tiny = bn_v_set1(0x1.fffffcp-127f); /* the largest denormal */
    bn_v x, slope, g;

    if (!general) {
        x = bn_v_max(bn_v_set1(co->underflow_at),
                     bn_v_sub(z, bn_v_set1(co->origin)));
        return BN_FN(scale)(BN_FN(exp)(x, table), co->factor, co->cutoff);
    }
    x = BN_FN(mapped)(z, map, co->origin, &slope);
    g = bn_v_masked(bn_v_above(x, bn_v_set1(co->underflow_at)),
                    BN_FN(exp)(x, table));
    g = bn_v_add(bn_v_mul(g, bn_v_set1(co->post)), bn_v_set1(co->uniform));
    g = bn_v_masked(bn_v_above(x, bn_v_set1(-BN_INF_F32)), bn_v_mul(g, slope));
    return bn_v_masked(bn_v_above(bn_v_max(g, bn_v_sub(bn_v_set1(0), g)),
                                  tiny),
                       g);
}

/* Of four vectors at once. */
BN_INLINE BN_KERNEL void BN_FN(four_gradients)(
    bn_v *z0, bn_v *z1, bn_v *z2, bn_v *z3, const bn_coefficients *co,
    const bn_map *map, bn_v_table table, const int general)
{
    if (!general && BN_FN(all_above)(*z0, *z1, *z2, *z3, co->no_mask_above)) {
        *z0 = bn_v_mul(BN_FN(exp)(*z0, table), bn_v_set1(co->factor));
        *z1 = bn_v_mul(BN_FN(exp)(*z1, table), bn_v_set1(co->factor));
        *z2 = bn_v_mul(BN_FN(exp)(*z2, table), bn_v_set1(co->factor));
        *z3 = bn_v_mul(BN_FN(exp)(*z3, table), bn_v_set1(co->factor));
    } else {
        *z0 = BN_FN(gradient)(*z0, co, map, table, general);
        *z1 = BN_FN(gradient)(*z1, co, map, table, general);
        *z2 = BN_FN(gradient)(*z2, co, map, table, general);
        *z3 = BN_FN(gradient)(*z3, co, map, table, general);
    }
}

/* A group's gradients, from z to `to`, which may be the same. */
BN_INLINE BN_KERNEL void BN_FN(group_gradient)(
    const uint32_t type, const void *z, int64_t i, const uint32_t to_type,
    void *to, int64_t j, const bn_coefficients *co, const bn_map *map,
    bn_v_table table, const int general)
{
    for (int h = 0; h < BN_GROUP;
         h += 4 * BN_VL, i += 4 * BN_VL, j += 4 * BN_VL) {
        bn_v z0 = BN_FN(read)(type, z, i),
             z1 = BN_FN(read)(type, z, i + BN_VL);
        bn_v z2 = BN_FN(read)(type, z, i + 2 * BN_VL);
        bn_v z3 = BN_FN(read)(type, z, i + 3 * BN_VL);

        BN_FN(four_gradients)(&z0, &z1, &z2, &z3, co, map, table, general);
        BN_FN(write2)(to_type, to, j, z0, z1);
        BN_FN(write2)(to_type, to, j + 2 * BN_VL, z2, z3);
    }
}

/* All whole groups of a chunk. Returns where the rest begins. */
BN_INLINE BN_KERNEL int64_t
BN_FN(whole_groups)(const uint32_t type, const uint32_t to_type,
                    const bn_chunk *chunk, const bn_coefficients *co,
                    const bn_map *map, bn_v_table table, const int general)
{
    bn_prefetcher prefetcher = bn_prefetcher_at(type, chunk->logits, 0);
    int64_t i = 0;

    for (; i + BN_GROUP <= chunk->n; i += BN_GROUP) {
        bn_prefetch(type, &prefetcher);
        BN_FN(group_gradient)
        (type, chunk->logits, i, to_type, chunk->grad, i, co, map, table,
         general);
    }
    return i;
}

/* Whole groups from index i on, past the caches: the line at grad + i begins
 * a cache line. Before anything else is stored there, or another thread is
 * told, these stores have to be fenced. */
BN_INLINE BN_KERNEL int64_t BN_FN(nontemporal_groups)(
    const uint32_t type, const bn_chunk *chunk, int64_t i,
    const bn_coefficients *co, const bn_map *map, bn_v_table table,
    const int general)
{
    const void *z = chunk->logits;
    bn_prefetcher prefetcher = bn_prefetcher_at(type, z, i);

    for (; i + BN_GROUP <= chunk->n; i += BN_GROUP) {
        bn_prefetch(type, &prefetcher);
        for (int64_t j = i; j < i + BN_GROUP; j += 4 * BN_VL) {
            float *to = (float *)chunk->grad + j;
            bn_v z0 = BN_FN(read)(type, z, j),
                 z1 = BN_FN(read)(type, z, j + BN_VL);
            bn_v z2 = BN_FN(read)(type, z, j + 2 * BN_VL);
            bn_v z3 = BN_FN(read)(type, z, j + 3 * BN_VL);

            BN_FN(four_gradients)(&z0, &z1, &z2, &z3, co, map, table, general);
            bn_v_store_nt_f32(to, z0);
            bn_v_store_nt_f32(to + BN_VL, z1);
            bn_v_store_nt_f32(to + 2 * BN_VL, z2);
            bn_v_store_nt_f32(to + 3 * BN_VL, z3);
        }
    }
    bn_v_fence();
    return i;
}

/* n <= 64 gradients from index i on, whatever the types. */
BN_INLINE BN_KERNEL void BN_FN(any_gradients)(
    const bn_chunk *chunk, int64_t i, int64_t n, const bn_coefficients *co,
    const bn_map *map, bn_v_table table, const int general)
{
    const BN_FN(source)
        source = { chunk->logits, chunk->type, i + n, -BN_SPAN, -BN_SPAN };
    float buffer[BN_GROUP], g[BN_GROUP];
    const float *z = BN_FN(fetch)(&source, i, -BN_SPAN, buffer);

    BN_FN(group_gradient)
    (BNFLOSS_F32, z, 0, BNFLOSS_F32, g, 0, co, map, table, general);
    BN_FN(narrow)(chunk->grad_type, chunk->grad, i, n, co->accumulate, g);
}

/* The gradients of a chunk, in place or not. The label's is the caller's. */
BN_INLINE BN_KERNEL void BN_FN(sweep)(const bn_chunk *chunk,
                                      const bn_coefficients *coefficients,
                                      const bn_map *map, const int general)
{
    /* copies, which no store can change: they stay in registers */
    const bn_chunk here = *chunk, *c = &here;
    const bn_coefficients factors = *coefficients, *co = &factors;
    const bn_v_table table = bn_v_table_load(co->table);
    const int direct = !co->accumulate && !c->nontemporal;
    const int f32 = direct && c->grad_type == BNFLOSS_F32;
    const int same = direct && c->grad_type == c->type;
    const int64_t whole = BN_GROUP;
    const int streams = c->nontemporal && (c->type == BNFLOSS_F32 || !general);
    int64_t i = 0, line = streams ? bn_until_cache_line(c->grad, c->n) : -1;
    bn_prefetcher prefetcher;

    if (f32 && c->type == BNFLOSS_F32)
        i = BN_FN(whole_groups)(BNFLOSS_F32, BNFLOSS_F32, c, co, map, table,
                                general);
    else if (f32 && c->type == BNFLOSS_BF16 && !general)
        i = BN_FN(whole_groups)(BNFLOSS_BF16, BNFLOSS_F32, c, co, map, table,
                                0);
    else if (f32 && c->type == BNFLOSS_F16 && !general)
        i = BN_FN(whole_groups)(BNFLOSS_F16, BNFLOSS_F32, c, co, map, table,
                                0);
    else if (same && c->type == BNFLOSS_BF16 && !general)
        i = BN_FN(whole_groups)(BNFLOSS_BF16, BNFLOSS_BF16, c, co, map, table,
                                0);
    else if (same && c->type == BNFLOSS_F16 && !general)
        i = BN_FN(whole_groups)(BNFLOSS_F16, BNFLOSS_F16, c, co, map, table,
                                0);
    prefetcher = bn_prefetcher_at(c->type, c->logits, i);
    while (i < c->n) {
        const int64_t left = (i < line ? line : c->n) - i;
        const int64_t n = left < whole ? left : whole;

        if (i == line && left >= whole) {
            if (c->type == BNFLOSS_F32)
                i = BN_FN(nontemporal_groups)(BNFLOSS_F32, c, i, co, map,
                                              table, general);
            else if (c->type == BNFLOSS_BF16)
                i = BN_FN(nontemporal_groups)(BNFLOSS_BF16, c, i, co, map,
                                              table, 0);
            else
                i = BN_FN(nontemporal_groups)(BNFLOSS_F16, c, i, co, map,
                                              table, 0);
            prefetcher = bn_prefetcher_at(c->type, c->logits, i);
            line = -1;
            continue;
        }
        bn_prefetch(c->type, &prefetcher);
        BN_FN(any_gradients)(c, i, n, co, map, table, general);
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
