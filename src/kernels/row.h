/* One chunk of a row, forward and backward: the algorithm, once.
 *
 * Included once per ISA page, over its words (scalar.c defines what they
 * mean). Sixteen virtual lanes on every ISA: a page with VL lanes a vector
 * runs 16 / VL vectors side by side, so the sums have one order and one value
 * everywhere. All arithmetic is on groups of 64 floats; other types are
 * widened into a group and narrowed out of one. */

/* ---- Groups ------------------------------------------------------------- */

/* The logits of a chunk, and the two that its sums leave out. */
typedef struct FN(source) {
    const void *z;
    uint32_t type;
    int64_t n, label, leader;       /* indices; far away where there is none */
} FN(source);

/* 64 logits from index i on, as floats. */
BN_INLINE KERNEL void FN(widen)(uint32_t type, const void *z, int64_t i,
                                float *group)
{
    for (int j = 0; j < BN_GROUP; j += VL) {
        v x;

        if (type == BNFLOSS_F32)
            x = v_load_f32((const float *)z + i + j);
        else if (type == BNFLOSS_BF16)
            x = v_load_bf16((const uint16_t *)z + i + j);
        else
            x = v_load_f16((const uint16_t *)z + i + j);
        v_store_f32(group + j, x);
    }
}

/* Group g as floats: in place where that can be, else copied into the buffer,
 * with -inf for the label, the leader and what lies beyond the chunk. */
BN_INLINE KERNEL const float *FN(fetch)(const FN(source) *s, int64_t g,
                                        int64_t leader, float *buffer)
{
    const int64_t i = g * BN_GROUP, n = s->n - i;
    const uint64_t label = (uint64_t)(s->label - i);
    const uint64_t lead = (uint64_t)(leader - i);

    if (n >= BN_GROUP) {
        const int whole = label >= BN_GROUP && lead >= BN_GROUP;

        if (s->type == BNFLOSS_F32 && whole)
            return (const float *)s->z + i;
        FN(widen)(s->type, s->z, i, buffer);
        if (whole)
            return buffer;
    } else {
        bn_widen_tail(s->type, s->z, i, n, buffer);
    }
    if (label < BN_GROUP)
        buffer[label] = -BN_INF_F32;
    if (lead < BN_GROUP)
        buffer[lead] = -BN_INF_F32;
    return buffer;
}

/* ---- The maximum -------------------------------------------------------- */

/* max[lane] = the largest seen there; NaN is not looked at, the sums see it */
BN_INLINE KERNEL void FN(group_max)(const float *z, v *max)
{
    for (int h = 0; h < BN_LANES / VL; h++) {
        const float *y = z + h * VL;
        const v a = v_max(v_load_f32(y), v_load_f32(y + 16));
        const v b = v_max(v_load_f32(y + 32), v_load_f32(y + 48));

        max[h] = v_max(a, v_max(b, max[h]));
    }
}

BN_INLINE KERNEL float FN(largest)(const v *max)
{
    float lane[BN_LANES];

    for (int h = 0; h < BN_LANES / VL; h++)
        v_store_f32(lane + h * VL, max[h]);
    for (int w = 8; w > 0; w /= 2)
        for (int i = 0; i < w; i++)
            lane[i] = lane[i] > lane[i + w] ? lane[i] : lane[i + w];
    return lane[0];
}

/* The first place at or after group g where the chunk holds z, label apart. */
KERNEL static int64_t FN(find)(const FN(source) *s, float z, int64_t g,
                               float *buffer)
{
    for (; g * BN_GROUP < s->n; g++) {
        const float *y = FN(fetch)(s, g, -BN_GROUP, buffer);

        for (int i = 0; i < BN_GROUP; i += VL) {
            if (v_any_equal(v_load_f32(y + i), v_set1(z))) {
                while (!(y[i] == z))
                    i++;
                return g * BN_GROUP + i;
            }
        }
    }
    return -1;
}

/* ---- Forward ------------------------------------------------------------ */

/* A logit's x, -inf where it is masked; *slope: dz'/dz. */
BN_INLINE KERNEL v FN(mapped)(v z, const bn_map *map, float origin, v *slope)
{
    const v scale = v_set1(map->scale);
    v x, sech2;

    if (map->softcap > 0) {
        x = FN(tanh)(v_mul(z, v_set1(map->inner)), v_table_load(map->unit),
                     &sech2);
        x = v_mul(x, v_set1(map->softcap));
        *slope = v_mul(scale, sech2);
    } else {
        x = v_mul(v_sub(z, v_set1(origin)), scale);
        *slope = scale;
    }
    return v_select(v_above(z, v_set1(-BN_INF_F32)), x, v_set1(-BN_INF_F32));
}

/* The float lanes of a few groups. */
typedef struct FN(lanes) {
    v sum[BN_LANES / VL], dot[BN_LANES / VL], count[BN_LANES / VL];
} FN(lanes);

/* One vector's exponentials, and in *d e (x - ref). general: scale, softcap,
 * smoothing; dot: the entropy's sum. Both are constants where this is
 * inlined. */
BN_INLINE KERNEL v FN(term)(v z, bn_sums *s, const bn_map *map, v_table table,
                            const int general, const int dot, v *d,
                            FN(lanes) *lanes, int h)
{
    v x, slope, e;
    m in;

    if (general)
        x = FN(mapped)(z, map, s->origin, &slope);
    else
        x = v_sub(z, v_set1(s->origin));
    in = v_above(x, v_set1(s->low));
    e = v_keep(in, FN(exp)(x, table));
    if (dot)
        *d = v_mul(e, v_keep(in, v_sub(x, v_set1(s->ref))));
    if (general) {      /* x may be -FLT_MAX: floats have no room for two */
        const m f = v_above(x, v_set1(-BN_INF_F32));

        v_widen_add(s->shift + h * VL, v_keep(f, v_sub(x, v_set1(s->ref))));
        lanes->count[h] = v_add(lanes->count[h], v_keep(f, v_set1(1)));
    }
    return e;
}

/* Adds a group to the lanes: four vectors by a fixed tree, in the open so
 * that they overlap. */
BN_INLINE KERNEL void FN(group_sums)(
    const float *z, bn_sums *s, const bn_map *map, v_table table,
    const int general, const int dot, FN(lanes) *lanes)
{
    for (int h = 0; h < BN_LANES / VL; h++) {
        const float *y = z + h * VL;
        v d0, d1, d2, d3;
        const v e0 = FN(term)(v_load_f32(y), s, map, table, general, dot,
                              &d0, lanes, h);
        const v e1 = FN(term)(v_load_f32(y + 16), s, map, table, general, dot,
                              &d1, lanes, h);
        const v e2 = FN(term)(v_load_f32(y + 32), s, map, table, general, dot,
                              &d2, lanes, h);
        const v e3 = FN(term)(v_load_f32(y + 48), s, map, table, general, dot,
                              &d3, lanes, h);

        lanes->sum[h] = v_add(lanes->sum[h],
                              v_add(v_add(e0, e1), v_add(e2, e3)));
        if (dot)
            lanes->dot[h] = v_add(lanes->dot[h],
                                  v_add(v_add(d0, d1), v_add(d2, d3)));
    }
}

/* Empties the lanes into the double ones of *s. */
BN_INLINE KERNEL void FN(flush)(bn_sums *s, const FN(lanes) *lanes,
                                const int general, const int dot)
{
    for (int h = 0; h < BN_LANES / VL; h++) {
        v_widen_add(s->sum + h * VL, lanes->sum[h]);
        if (dot)
            v_widen_add(s->dots + h * VL, lanes->dot[h]);
        if (general)
            v_widen_add(s->finite + h * VL, lanes->count[h]);
    }
}

/* Sums block b and, on the way, takes the maximum of block b + 1, so that
 * memory is read a block before it is needed. */
BN_INLINE KERNEL float FN(block)(const FN(source) *p, bn_sums *s,
                                 const bn_map *map, bn_prefetches ahead,
                                 int64_t b, float *buffer, const int general,
                                 const int dot)
{
    const int64_t groups = (p->n + BN_GROUP - 1) / BN_GROUP;
    const int64_t last = groups < (b + 1) * BN_BLOCK ? groups
                                                     : (b + 1) * BN_BLOCK;
    const v_table table = v_table_load(s->table);
    v max[BN_LANES / VL];

    for (int h = 0; h < BN_LANES / VL; h++)
        max[h] = v_set1(-BN_INF_F32);
    for (int64_t g = b * BN_BLOCK; g < last; g += BN_FLUSH) {
        FN(lanes) lanes;

        for (int h = 0; h < BN_LANES / VL; h++)
            lanes.sum[h] = lanes.dot[h] = lanes.count[h] = v_set1(0);
        for (int64_t i = g; i < g + BN_FLUSH && i < last; i++) {
            FN(group_sums)(FN(fetch)(p, i, p->leader, buffer), s, map, table,
                           general, dot, &lanes);
            bn_prefetch(&ahead, i);
            if (i + BN_BLOCK < groups)
                FN(group_max)(FN(fetch)(p, i + BN_BLOCK, -BN_GROUP, buffer),
                              max);
        }
        FN(flush)(s, &lanes, general, dot);
    }
    return FN(largest)(max);
}

/* The maximum of the first block, which no block before it has taken. */
BN_INLINE KERNEL float FN(first_max)(const FN(source) *p, float *buffer)
{
    v max[BN_LANES / VL];

    for (int h = 0; h < BN_LANES / VL; h++)
        max[h] = v_set1(-BN_INF_F32);
    for (int64_t g = 0; g < BN_BLOCK && g * BN_GROUP < p->n; g++)
        FN(group_max)(FN(fetch)(p, g, -BN_GROUP, buffer), max);
    return FN(largest)(max);
}

BN_INLINE KERNEL void FN(chunk)(const bn_chunk *c, const bn_map *map,
                                bnfloss_row *row, const int general,
                                const int dot)
{
    const int64_t size = BN_GROUP * BN_BLOCK, blocks = (c->n + size - 1) / size;
    FN(source) p;
    bn_sums s;
    float buffer[BN_GROUP], top;

    p.z = c->z;
    p.type = c->type;
    p.n = c->n;
    p.label = c->label < 0 ? -BN_GROUP : c->label;
    p.leader = -BN_GROUP;
    bn_sums_init(&s, general, dot);
    top = FN(first_max)(&p, buffer);
    for (int64_t b = 0; b < blocks; b++) {
        if (top > s.leader_z) {
            p.leader = FN(find)(&p, top, b * BN_BLOCK, buffer);
            if (!bn_sums_lead(&s, map, top, p.leader)) {
                row->flags |= BNFLOSS_ROW_NAN;
                return;
            }
        }
        if (!s.started)
            bn_sums_reference(&s, 0, 0);
        top = FN(block)(&p, &s, map, c->ahead, b, buffer, general,
                        dot);
    }
    bn_sums_finish(&s, row);
}

KERNEL static void FN(forward)(const bn_chunk *c, const bn_map *map,
                               bnfloss_row *row)
{
    FN(chunk)(c, map, row, 0, 0);
}

KERNEL static void FN(forward_dot)(const bn_chunk *c, const bn_map *map,
                                   bnfloss_row *row)
{
    FN(chunk)(c, map, row, 0, 1);
}

KERNEL static void FN(forward_general)(const bn_chunk *c, const bn_map *map,
                                       bnfloss_row *row)
{
    FN(chunk)(c, map, row, 1, 1);
}

/* ---- Backward ----------------------------------------------------------- */

/* One vector's gradient. */
BN_INLINE KERNEL v FN(gradient)(v z, const bn_coefficients *k,
                                const bn_map *map, v_table table,
                                const int general)
{
    const v tiny = v_set1(0x1.fffffcp-127f);    /* the largest denormal */
    v x, slope, g;

    if (!general) {
        x = v_sub(z, v_set1(k->origin));
        return v_keep(v_above(x, v_set1(k->low)), FN(exp)(x, table));
    }
    x = FN(mapped)(z, map, k->origin, &slope);
    g = v_keep(v_above(x, v_set1(k->low)), FN(exp)(x, table));
    g = v_add(v_mul(g, v_set1(k->post)), v_set1(k->uniform));
    g = v_keep(v_above(x, v_set1(-BN_INF_F32)), v_mul(g, slope));
    return v_keep(v_above(v_max(g, v_sub(v_set1(0), g)), tiny), g);
}

/* A group's gradients, from z to `to`, which may be the same. */
BN_INLINE KERNEL void FN(group_gradient)(const float *z, float *to,
                                         const bn_coefficients *k,
                                         const bn_map *map, v_table table,
                                         const int general)
{
    for (int h = 0; h < BN_LANES; h += VL) {
        const float *y = z + h;
        const v g0 = FN(gradient)(v_load_f32(y), k, map, table, general);
        const v g1 = FN(gradient)(v_load_f32(y + 16), k, map, table, general);
        const v g2 = FN(gradient)(v_load_f32(y + 32), k, map, table, general);
        const v g3 = FN(gradient)(v_load_f32(y + 48), k, map, table, general);

        v_store_f32(to + h, g0);
        v_store_f32(to + h + 16, g1);
        v_store_f32(to + h + 32, g2);
        v_store_f32(to + h + 48, g3);
    }
}

/* Narrows a group of gradients into 64 elements from index i on, or adds it
 * to them. */
BN_INLINE KERNEL void FN(narrow)(uint32_t type, void *grad, int64_t i,
                                 int accumulate, const float *group)
{
    float old[BN_GROUP];

    memset(old, 0, sizeof old);
    if (accumulate)
        FN(widen)(type, grad, i, old);
    for (int j = 0; j < BN_GROUP; j += VL) {
        v x = v_load_f32(group + j);

        if (accumulate) {
            x = v_add(v_load_f32(old + j), x);
            x = v_select(v_above(x, v_set1(BN_INF_F32)), v_set1(BN_NAN_F32), x);
        }
        if (type == BNFLOSS_F32)
            v_store_f32((float *)grad + i + j, x);
        else if (type == BNFLOSS_BF16)
            v_store_bf16((uint16_t *)grad + i + j, x);
        else
            v_store_f16((uint16_t *)grad + i + j, x);
    }
}

/* The gradients of a chunk, in place or not. The label's is the caller's. */
BN_INLINE KERNEL void FN(sweep)(const bn_chunk *c, const bn_coefficients *k,
                                const bn_map *map, const int general)
{
    const v_table table = v_table_load(k->table);
    const int direct = c->grad_type == BNFLOSS_F32 && !k->accumulate;
    FN(source) p;
    float z[BN_GROUP], g[BN_GROUP];

    p.z = c->z;
    p.type = c->type;
    p.n = c->n;
    p.label = p.leader = -BN_GROUP;
    for (int64_t b = 0, i = 0; i < c->n; b++, i += BN_GROUP) {
        const float *from = FN(fetch)(&p, b, -BN_GROUP, z);

        bn_prefetch(&c->ahead, b);
        if (direct && c->n - i >= BN_GROUP) {
            FN(group_gradient)(from, (float *)c->grad + i, k, map, table,
                               general);
            continue;
        }
        FN(group_gradient)(from, g, k, map, table, general);
        if (c->n - i >= BN_GROUP)
            FN(narrow)(c->grad_type, c->grad, i, k->accumulate, g);
        else
            bn_narrow_tail(c->grad_type, c->grad, i, c->n - i, k->accumulate,
                           g);
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
