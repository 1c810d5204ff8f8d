/* The gradients of a chunk, from its logits. */

/* One vector's gradient. */
BN_INLINE KERNEL v FN(gradient)(v z, const bn_coefficients *k,
                                const bn_map *map, v_table table,
                                const int general)
{
    const v tiny = v_set1(0x1.fffffcp-127f);    /* the largest denormal */
    v x, slope, g;

    if (!general) {
        x = v_max(v_set1(k->low), v_sub(z, v_set1(k->origin)));
        return FN(product)(FN(exp)(x, table), k->factor, k->least);
    }
    x = FN(mapped)(z, map, k->origin, &slope);
    g = v_keep(v_above(x, v_set1(k->low)), FN(exp)(x, table));
    g = v_add(v_mul(g, v_set1(k->post)), v_set1(k->uniform));
    g = v_keep(v_above(x, v_set1(-BN_INF_F32)), v_mul(g, slope));
    return v_keep(v_above(v_max(g, v_sub(v_set1(0), g)), tiny), g);
}

/* Of four vectors at once. */
BN_INLINE KERNEL void FN(four_gradients)(v *z0, v *z1, v *z2, v *z3,
                                         const bn_coefficients *k,
                                         const bn_map *map, v_table table,
                                         const int general)
{
    if (!general && FN(all_above)(*z0, *z1, *z2, *z3, k->bare)) {
        *z0 = v_mul(FN(exp)(*z0, table), v_set1(k->factor));
        *z1 = v_mul(FN(exp)(*z1, table), v_set1(k->factor));
        *z2 = v_mul(FN(exp)(*z2, table), v_set1(k->factor));
        *z3 = v_mul(FN(exp)(*z3, table), v_set1(k->factor));
    } else {
        *z0 = FN(gradient)(*z0, k, map, table, general);
        *z1 = FN(gradient)(*z1, k, map, table, general);
        *z2 = FN(gradient)(*z2, k, map, table, general);
        *z3 = FN(gradient)(*z3, k, map, table, general);
    }
}

/* A group's gradients, from z to `to`, which may be the same. */
BN_INLINE KERNEL void FN(group_gradient)(
    const uint32_t type, const void *z, int64_t i, const uint32_t to_type,
    void *to, int64_t j, const bn_coefficients *k, const bn_map *map,
    v_table table, const int general)
{
    for (int h = 0; h < BN_GROUP; h += 4 * VL, i += 4 * VL, j += 4 * VL) {
        v z0 = FN(read)(type, z, i), z1 = FN(read)(type, z, i + VL);
        v z2 = FN(read)(type, z, i + 2 * VL);
        v z3 = FN(read)(type, z, i + 3 * VL);

        FN(four_gradients)(&z0, &z1, &z2, &z3, k, map, table, general);
        FN(write2)(to_type, to, j, z0, z1);
        FN(write2)(to_type, to, j + 2 * VL, z2, z3);
    }
}

/* All whole groups of a chunk. Returns where the rest begins. */
BN_INLINE KERNEL int64_t FN(whole_groups)(
    const uint32_t type, const uint32_t to_type, const bn_chunk *c,
    const bn_coefficients *k, const bn_map *map, v_table table,
    const int general)
{
    bn_ahead ahead = bn_ahead_of(type, c->z, 0);
    int64_t i = 0;

    for (; i + BN_GROUP <= c->n; i += BN_GROUP) {
        bn_prefetch(type, &ahead);
        FN(group_gradient)(type, c->z, i, to_type, c->grad, i, k, map, table,
                           general);
    }
    return i;
}

/* Whole groups from index i on, past the caches: the line at grad + i begins
 * a cache line. Before anything else is stored there, or another thread is
 * told, these stores have to be fenced. */
BN_INLINE KERNEL int64_t FN(streamed_groups)(
    const uint32_t type, const bn_chunk *c, int64_t i,
    const bn_coefficients *k, const bn_map *map, v_table table,
    const int general)
{
    const void *z = c->z;
    bn_ahead ahead = bn_ahead_of(type, z, i);

    for (; i + BN_GROUP <= c->n; i += BN_GROUP) {
        bn_prefetch(type, &ahead);
        for (int64_t j = i; j < i + BN_GROUP; j += 4 * VL) {
            float *to = (float *)c->grad + j;
            v z0 = FN(read)(type, z, j), z1 = FN(read)(type, z, j + VL);
            v z2 = FN(read)(type, z, j + 2 * VL);
            v z3 = FN(read)(type, z, j + 3 * VL);

            FN(four_gradients)(&z0, &z1, &z2, &z3, k, map, table, general);
            v_stream_f32(to, z0);
            v_stream_f32(to + VL, z1);
            v_stream_f32(to + 2 * VL, z2);
            v_stream_f32(to + 3 * VL, z3);
        }
    }
    v_fence();
    return i;
}

/* n <= 64 gradients from index i on, whatever the types. */
BN_INLINE KERNEL void FN(any_gradients)(const bn_chunk *c, int64_t i,
                                        int64_t n, const bn_coefficients *k,
                                        const bn_map *map, v_table table,
                                        const int general)
{
    const FN(source) s = { c->z, c->type, i + n, -BN_SPAN, -BN_SPAN };
    float buffer[BN_GROUP], g[BN_GROUP];
    const float *z = FN(fetch)(&s, i, -BN_SPAN, buffer);

    FN(group_gradient)(BNFLOSS_F32, z, 0, BNFLOSS_F32, g, 0, k, map, table,
                       general);
    FN(narrow)(c->grad_type, c->grad, i, n, k->accumulate, g);
}

/* The gradients of a chunk, in place or not. The label's is the caller's. */
BN_INLINE KERNEL void FN(sweep)(const bn_chunk *chunk,
                                const bn_coefficients *coefficients,
                                const bn_map *map, const int general)
{
    /* copies, which no store can change: they stay in registers */
    const bn_chunk here = *chunk, *c = &here;
    const bn_coefficients factors = *coefficients, *k = &factors;
    const v_table table = v_table_load(k->table);
    const int direct = !k->accumulate && !c->stream;
    const int f32 = direct && c->grad_type == BNFLOSS_F32;
    const int same = direct && c->grad_type == c->type;
    const int64_t whole = BN_GROUP;
    const int streams = c->stream && (c->type == BNFLOSS_F32 || !general);
    int64_t i = 0, line = streams ? bn_until_line(c->grad, c->n) : -1;
    bn_ahead ahead;

    if (f32 && c->type == BNFLOSS_F32)
        i = FN(whole_groups)(BNFLOSS_F32, BNFLOSS_F32, c, k, map, table,
                             general);
    else if (f32 && c->type == BNFLOSS_BF16 && !general)
        i = FN(whole_groups)(BNFLOSS_BF16, BNFLOSS_F32, c, k, map, table, 0);
    else if (f32 && c->type == BNFLOSS_F16 && !general)
        i = FN(whole_groups)(BNFLOSS_F16, BNFLOSS_F32, c, k, map, table, 0);
    else if (same && c->type == BNFLOSS_BF16 && !general)
        i = FN(whole_groups)(BNFLOSS_BF16, BNFLOSS_BF16, c, k, map, table, 0);
    else if (same && c->type == BNFLOSS_F16 && !general)
        i = FN(whole_groups)(BNFLOSS_F16, BNFLOSS_F16, c, k, map, table, 0);
    ahead = bn_ahead_of(c->type, c->z, i);
    while (i < c->n) {
        const int64_t left = (i < line ? line : c->n) - i;
        const int64_t n = left < whole ? left : whole;

        if (i == line && left >= whole) {
            if (c->type == BNFLOSS_F32)
                i = FN(streamed_groups)(BNFLOSS_F32, c, i, k, map, table,
                                        general);
            else if (c->type == BNFLOSS_BF16)
                i = FN(streamed_groups)(BNFLOSS_BF16, c, i, k, map, table, 0);
            else
                i = FN(streamed_groups)(BNFLOSS_F16, c, i, k, map, table, 0);
            ahead = bn_ahead_of(c->type, c->z, i);
            line = -1;
            continue;
        }
        bn_prefetch(c->type, &ahead);
        FN(any_gradients)(c, i, n, k, map, table, general);
        i += n;
    }
}

KERNEL static void FN(backward)(const bn_chunk *c, const bn_coefficients *k,
                                const bn_map *map)
{
    FN(sweep)(c, k, map, 0);
}

KERNEL static void FN(backward_general)(const bn_chunk *c,
                                        const bn_coefficients *k,
                                        const bn_map *map)
{
    FN(sweep)(c, k, map, 1);
}
