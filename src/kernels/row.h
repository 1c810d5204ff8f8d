/* One chunk of a row, forward and backward: the algorithm, once.
 *
 * Included once per ISA page, over its words (scalar.c defines what they
 * mean). Sixteen virtual lanes on every ISA: a page with VL lanes a vector
 * runs 16 / VL vectors side by side, so the sums have one order and one value
 * everywhere.
 *
 * Logits are read where they lie, whatever their type, in groups of 64 and
 * spans of four groups. Only what needs a patch (the label, the leader, the
 * chunk's tail, a type that is not the gradients') goes through a group of
 * floats on the stack. */

/* ---- Reading and writing ------------------------------------------------ */

/* VL elements from index i on as floats, and back. The type is a constant
 * where these are inlined. */
BN_INLINE KERNEL v FN(read)(const uint32_t type, const void *z, int64_t i)
{
    if (type == BNFLOSS_F32)
        return v_load_f32((const float *)z + i);
    if (type == BNFLOSS_BF16)
        return v_load_bf16((const uint16_t *)z + i);
    return v_load_f16((const uint16_t *)z + i);
}

BN_INLINE KERNEL void FN(write)(const uint32_t type, void *z, int64_t i, v x)
{
    if (type == BNFLOSS_F32)
        v_store_f32((float *)z + i, x);
    else if (type == BNFLOSS_BF16)
        v_store_bf16((uint16_t *)z + i, x);
    else
        v_store_f16((uint16_t *)z + i, x);
}

/* Two vectors, one after the other. */
BN_INLINE KERNEL void FN(write2)(const uint32_t type, void *z, int64_t i, v x,
                                 v y)
{
    if (type == BNFLOSS_BF16) {
        v_store2_bf16((uint16_t *)z + i, x, y);
    } else {
        FN(write)(type, z, i, x);
        FN(write)(type, z, i + VL, y);
    }
}

/* A group from index i on as floats. */
KERNEL static void FN(widen)(uint32_t type, const void *z, int64_t i,
                             float *group)
{
    for (int j = 0; j < BN_GROUP; j += VL)
        v_store_f32(group + j, FN(read)(type, z, i + j));
}

/* The last n logits of a chunk, from index i on, as a group whose rest is
 * -inf. */
KERNEL static void FN(widen_tail)(uint32_t type, const void *z, int64_t i,
                                  int64_t n, float *group)
{
    const size_t size = bn_type_size(type);
    float raw[BN_GROUP];

    memset(raw, 0, sizeof raw);
    memcpy(raw, (const char *)z + (size_t)i * size, (size_t)n * size);
    FN(widen)(type, raw, 0, group);
    while (n < BN_GROUP)
        group[n++] = -BN_INF_F32;
}

/* ---- Groups ------------------------------------------------------------- */

/* The logits of a chunk, and the two that its sums leave out. */
typedef struct FN(source) {
    const void *z;
    uint32_t type;
    int64_t n, label, leader;       /* indices; far away where there is none */
} FN(source);

/* group[at] = -inf, if there is such a place. A store of one element would
 * have to leave the store queue before a vector can be loaded over it. */
BN_INLINE KERNEL void FN(hide)(float *group, uint64_t at)
{
    if (at >= BN_GROUP)
        return;
    for (int j = 0; j < BN_GROUP; j += VL) {
        const v here = v_load_f32(bn_one_hot + BN_GROUP - at + j);

        v_store_f32(group + j, v_select(v_above(here, v_set1(0)),
                                        v_set1(-BN_INF_F32),
                                        v_load_f32(group + j)));
    }
}

/* A copy of the group from index i on as floats, with -inf for the label, the
 * leader and what lies beyond the chunk. */
KERNEL static void FN(patch)(const FN(source) *s, int64_t i, int64_t leader,
                             float *buffer)
{
    if (s->n - i < BN_GROUP)
        FN(widen_tail)(s->type, s->z, i, s->n - i, buffer);
    else
        FN(widen)(s->type, s->z, i, buffer);
    FN(hide)(buffer, (uint64_t)(s->label - i));
    FN(hide)(buffer, (uint64_t)(leader - i));
}

/* The same in place, where that can be. */
BN_INLINE KERNEL const float *FN(fetch)(const FN(source) *s, int64_t i,
                                        int64_t leader, float *buffer)
{
    if (s->type == BNFLOSS_F32 && s->n - i >= BN_GROUP
        && (uint64_t)(s->label - i) >= BN_GROUP
        && (uint64_t)(leader - i) >= BN_GROUP)
        return (const float *)s->z + i;
    FN(patch)(s, i, leader, buffer);
    return buffer;
}

/* Whether the span from index i on can be read where it lies. */
BN_INLINE KERNEL int FN(is_clean)(const FN(source) *s, int64_t i,
                                  int64_t leader)
{
    return s->n - i >= BN_SPAN && (uint64_t)(s->label - i) >= BN_SPAN
           && (uint64_t)(leader - i) >= BN_SPAN;
}

/* ---- The maximum -------------------------------------------------------- */

/* The largest seen so far in each lane. 16-bit elements are compared as the
 * integers they are, twice as many at a time and without being widened: of
 * those without a sign the largest is above, of those with one the smallest,
 * which is the nearest to 0, is below. NaN may get lost or hide others: the
 * sums will see it. */
typedef struct FN(top) {
    v max[BN_LANES / VL];
    vw above, below;
} FN(top);

BN_INLINE KERNEL void FN(top_init)(uint32_t type, FN(top) *t)
{
    const uint16_t masked = type == BNFLOSS_BF16 ? 0xFF80 : 0xFC00;

    for (int h = 0; h < BN_LANES / VL; h++)
        t->max[h] = v_set1(-BN_INF_F32);
    t->above = t->below = w_set1(masked);
}

BN_INLINE KERNEL void FN(group_max)(const uint32_t type, const void *z,
                                    int64_t i, FN(top) *t)
{
    if (type != BNFLOSS_F32) {
        for (int j = 0; j < BN_GROUP; j += WL) {
            const vw x = w_load((const uint16_t *)z + i + j);

            t->above = w_max_signed(x, t->above);
            t->below = w_min_unsigned(x, t->below);
        }
        return;
    }
    for (int h = 0; h < BN_LANES / VL; h++) {
        const float *y = (const float *)z + i + h * VL;
        const v a = v_max(v_load_f32(y), v_load_f32(y + 16));
        const v b = v_max(v_load_f32(y + 32), v_load_f32(y + 48));

        t->max[h] = v_max(a, v_max(b, t->max[h]));
    }
}

/* Of a span: clean, and of a type that is a constant; and of any. */
BN_INLINE KERNEL void FN(clean_max)(const uint32_t type, const void *z,
                                    int64_t i, FN(top) *t)
{
    for (int64_t g = 0; g < BN_SPAN; g += BN_GROUP)
        FN(group_max)(type, z, i + g, t);
}

BN_INLINE KERNEL void FN(span_max)(const FN(source) *p, int64_t i,
                                   float *buffer, FN(top) *t)
{
    if (!FN(is_clean)(p, i, -BN_SPAN)) {
        for (int64_t g = i; g < i + BN_SPAN && g < p->n; g += BN_GROUP)
            FN(group_max)(BNFLOSS_F32, FN(fetch)(p, g, -BN_SPAN, buffer), 0,
                          t);
    } else if (p->type == BNFLOSS_F32) {
        FN(clean_max)(BNFLOSS_F32, p->z, i, t);
    } else {
        FN(clean_max)(BNFLOSS_BF16, p->z, i, t);    /* or f16, all the same */
    }
}

BN_INLINE KERNEL float FN(largest)(uint32_t type, FN(top) *t)
{
    float lane[BN_LANES];

    if (type != BNFLOSS_F32) {
        uint16_t words[WL];

        w_store(words, w_select_negative(t->above, t->below, t->above));
        for (int j = 0; j < WL; j += VL)
            t->max[0] = v_max(type == BNFLOSS_BF16 ? v_load_bf16(words + j)
                                                   : v_load_f16(words + j),
                              t->max[0]);
    }
    for (int h = 0; h < BN_LANES / VL; h++)
        v_store_f32(lane + h * VL, t->max[h]);
    return bn_largest(lane);
}

/* The first place in the group at index i that holds z, or BN_GROUP. */
BN_INLINE KERNEL int64_t FN(seek)(const uint32_t type, const void *y,
                                  int64_t i, float z)
{
    for (int64_t j = 0; j < BN_GROUP; j += VL) {
        if (v_any_equal(FN(read)(type, y, i + j), v_set1(z))) {
            while (!(bn_get(type, y, i + j) == z))
                j++;
            return j;
        }
    }
    return BN_GROUP;
}

/* The first place from index i on where the chunk holds z, label apart. */
KERNEL static int64_t FN(find)(const FN(source) *s, float z, int64_t i,
                               float *buffer)
{
    for (int64_t j = BN_GROUP; i < s->n; i += BN_GROUP) {
        if (s->n - i < BN_GROUP || (uint64_t)(s->label - i) < BN_GROUP) {
            FN(patch)(s, i, -BN_SPAN, buffer);
            j = FN(seek)(BNFLOSS_F32, buffer, 0, z);
        } else if (s->type == BNFLOSS_F32) {
            j = FN(seek)(BNFLOSS_F32, s->z, i, z);
        } else if (s->type == BNFLOSS_BF16) {
            j = FN(seek)(BNFLOSS_BF16, s->z, i, z);
        } else {
            j = FN(seek)(BNFLOSS_F16, s->z, i, z);
        }
        if (j < BN_GROUP)
            return i + j;
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

/* The same where the logit is its x, and far from where e^x is too small. */
BN_INLINE KERNEL v FN(bare_term)(v x, const bn_sums *s, v_table table,
                                 const int dot, v *d)
{
    const v e = FN(exp)(x, table);

    if (dot)
        *d = v_mul(e, v_sub(x, v_set1(s->ref)));
    return e;
}

/* Whether four vectors are above a bound: one comparison for all. A NaN may be
 * taken for anything. */
BN_INLINE KERNEL int FN(all_above)(v a, v b, v c, v d, float bound)
{
    return v_all_above(v_min(v_min(a, b), v_min(c, d)), v_set1(bound));
}

/* Adds a group to the lanes: four vectors by a fixed tree, in the open so
 * that they overlap. keep: where to leave the exponentials, which may be where
 * the logits are, or NULL. */
BN_INLINE KERNEL void FN(group_sums)(
    const uint32_t type, const void *z, int64_t i, bn_sums *s,
    const bn_map *map, v_table table, const int general, const int dot,
    float *keep, FN(lanes) *lanes)
{
    for (int h = 0; h < BN_LANES / VL; h++, i += VL) {
        const v z0 = FN(read)(type, z, i), z1 = FN(read)(type, z, i + 16);
        const v z2 = FN(read)(type, z, i + 32), z3 = FN(read)(type, z, i + 48);
        v e0, e1, e2, e3, d0, d1, d2, d3;

        if (!general && FN(all_above)(z0, z1, z2, z3, s->bare)) {
            e0 = FN(bare_term)(z0, s, table, dot, &d0);
            e1 = FN(bare_term)(z1, s, table, dot, &d1);
            e2 = FN(bare_term)(z2, s, table, dot, &d2);
            e3 = FN(bare_term)(z3, s, table, dot, &d3);
        } else {
            e0 = FN(term)(z0, s, map, table, general, dot, &d0, lanes, h);
            e1 = FN(term)(z1, s, map, table, general, dot, &d1, lanes, h);
            e2 = FN(term)(z2, s, map, table, general, dot, &d2, lanes, h);
            e3 = FN(term)(z3, s, map, table, general, dot, &d3, lanes, h);
        }
        if (keep) {
            v_store_f32(keep + h * VL, e0);
            v_store_f32(keep + h * VL + 16, e1);
            v_store_f32(keep + h * VL + 32, e2);
            v_store_f32(keep + h * VL + 48, e3);
        }
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

/* Takes the maximum of the span at index `next` and sums the one at i, both
 * clean. In this order: they may be the same, and logits not there after. */
BN_INLINE KERNEL void FN(clean_span)(
    const uint32_t type, const void *z, int64_t i, int64_t next, bn_sums *s,
    const bn_map *map, v_table table, const bn_prefetches *ahead,
    const int general, const int dot, float *keep, FN(lanes) *lanes,
    FN(top) *t)
{
    for (int64_t g = 0; g < BN_SPAN; g += BN_GROUP) {
        FN(group_max)(type, z, next + g, t);
        bn_prefetch(ahead, i + g);
        FN(group_sums)(type, z, i + g, s, map, table, general, dot,
                       keep ? keep + i + g : NULL, lanes);
    }
}

/* Leaves n <= 64 exponentials, from z to `keep`, which may be the same. Unlike
 * the sums, they leave nobody out. */
KERNEL static void FN(keep_group)(const float *z, int64_t n, const bn_sums *s,
                                  v_table table, float *keep, float *buffer)
{
    float *to = keep;

    if (n < BN_GROUP) {
        memcpy(buffer, z, (size_t)n * sizeof *z);
        for (int64_t j = n; j < BN_GROUP; j++)
            buffer[j] = -BN_INF_F32;
        z = to = buffer;
    }
    for (int j = 0; j < BN_GROUP; j += VL) {
        const v x = v_sub(v_load_f32(z + j), v_set1(s->origin));

        v_store_f32(to + j, v_keep(v_above(x, v_set1(s->low)),
                                   FN(exp)(x, table)));
    }
    if (n < BN_GROUP)
        memcpy(keep, buffer, (size_t)n * sizeof *keep);
}

/* Sums a span that may be anything. */
BN_INLINE KERNEL void FN(any_span)(
    const FN(source) *p, int64_t i, bn_sums *s, const bn_map *map,
    v_table table, const bn_prefetches *ahead, float *buffer,
    const int general, const int dot, float *keep, FN(lanes) *lanes)
{
    for (int64_t g = i; g < i + BN_SPAN && g < p->n; g += BN_GROUP) {
        const int64_t left = p->n - g, whole = BN_GROUP;
        const float *z = FN(fetch)(p, g, p->leader, buffer);

        FN(group_sums)(BNFLOSS_F32, z, 0, s, map, table, general, dot,
                       keep && z != buffer ? keep + g : NULL, lanes);
        if (keep && z == buffer)
            FN(keep_group)((const float *)p->z + g,
                           left < whole ? left : whole, s, table, keep + g,
                           buffer);
        bn_prefetch(ahead, g);
    }
}

/* Sums the block from index i on and, on the way, takes the maximum of the
 * block after it, so that memory is read a block before it is needed. */
BN_INLINE KERNEL float FN(block)(const FN(source) *p, bn_sums *s,
                                 const bn_map *map,
                                 const bn_prefetches *ahead, int64_t i,
                                 float *buffer, const int general,
                                 const int dot, float *keep)
{
    const int64_t end = p->n - i < BN_BLOCK ? p->n : i + BN_BLOCK;
    const v_table table = v_table_load(s->table);
    FN(top) t;

    FN(top_init)(p->type, &t);
    for (; i < end; i += BN_SPAN) {
        /* beyond the last block, i again: its maximum is no news */
        const int64_t next = i + BN_BLOCK < p->n ? i + BN_BLOCK : i;
        const int clean = FN(is_clean)(p, i, p->leader)
                          && FN(is_clean)(p, next, -BN_SPAN);
        FN(lanes) lanes;

        for (int h = 0; h < BN_LANES / VL; h++)
            lanes.sum[h] = lanes.dot[h] = lanes.count[h] = v_set1(0);
        if (!clean || (general && p->type != BNFLOSS_F32)) {
            FN(any_span)(p, i, s, map, table, ahead, buffer, general, dot,
                         keep, &lanes);
            FN(span_max)(p, i + BN_BLOCK, buffer, &t);
        } else if (keep && !general)
            FN(clean_span)(BNFLOSS_F32, p->z, i, next, s, map, table, ahead,
                           0, dot, keep, &lanes, &t);
        else if (general || p->type == BNFLOSS_F32)
            FN(clean_span)(BNFLOSS_F32, p->z, i, next, s, map, table, ahead,
                           general, dot, NULL, &lanes, &t);
        else if (p->type == BNFLOSS_BF16)
            FN(clean_span)(BNFLOSS_BF16, p->z, i, next, s, map, table, ahead,
                           general, dot, NULL, &lanes, &t);
        else
            FN(clean_span)(BNFLOSS_F16, p->z, i, next, s, map, table, ahead,
                           general, dot, NULL, &lanes, &t);
        FN(flush)(s, &lanes, general, dot);
    }
    return FN(largest)(p->type, &t);
}

/* The maximum of the first block, which no block before it has taken. */
BN_INLINE KERNEL float FN(first_max)(const FN(source) *p, float *buffer)
{
    FN(top) t;

    FN(top_init)(p->type, &t);
    for (int64_t i = 0; i < BN_BLOCK && i < p->n; i += BN_SPAN)
        FN(span_max)(p, i, buffer, &t);
    return FN(largest)(p->type, &t);
}

BN_INLINE KERNEL void FN(chunk)(const bn_chunk *c, const bn_map *map,
                                bnfloss_row *row, const int general,
                                const int dot)
{
    FN(source) p;
    bn_sums s;
    float buffer[BN_GROUP], top, *keep = c->keep ? c->keep->e : NULL;

    p.z = c->z;
    p.type = c->type;
    p.n = c->n;
    p.label = c->label < 0 ? -BN_SPAN : c->label;
    p.leader = -BN_SPAN;
    bn_sums_init(&s, general, dot);
    top = FN(first_max)(&p, buffer);
    for (int64_t i = 0; i < c->n; i += BN_BLOCK) {
        const int32_t k = s.k;

        if (top > s.leader_z) {
            p.leader = FN(find)(&p, top, i, buffer);
            if (p.leader < 0) {     /* before i: a NaN hid it from one look */
                row->flags |= BNFLOSS_ROW_NAN;
                return;
            }
            top = bn_get(c->type, c->z, p.leader);  /* of 0 and -0, that one */
            if (!bn_sums_lead(&s, map, top, p.leader)) {
                row->flags |= BNFLOSS_ROW_NAN;
                return;
            }
        }
        if (!s.started)
            bn_sums_reference(&s, 0, 0);
        if (keep && !bn_keep_on(c->keep, &s, k, i))
            keep = NULL;
        top = FN(block)(&p, &s, map, &c->ahead, i, buffer, general, dot, keep);
    }
    if (keep)
        c->keep->n = c->n;
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

/* Of an exponential, and whether it counts. */
BN_INLINE KERNEL v FN(product)(v e, float factor, float least)
{
    return v_keep(v_above(e, v_set1(least)), v_mul(e, v_set1(factor)));
}

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
    int64_t i = 0;

    for (; i + BN_GROUP <= c->n; i += BN_GROUP) {
        bn_prefetch(&c->ahead, i);
        FN(group_gradient)(type, c->z, i, to_type, c->grad, i, k, map, table,
                           general);
    }
    return i;
}

/* Narrows a group of gradients into n elements from index i on, or adds it to
 * them. */
KERNEL static void FN(narrow)(uint32_t type, void *grad, int64_t i, int64_t n,
                              int accumulate, const float *group)
{
    const size_t size = bn_type_size(type);
    char *at = (char *)grad + (size_t)i * size;
    float raw[BN_GROUP];

    memset(raw, 0, sizeof raw);
    if (accumulate)
        memcpy(raw, at, (size_t)n * size);
    for (int j = 0; j < BN_GROUP; j += VL) {
        v x = v_load_f32(group + j);

        if (accumulate) {
            x = v_add(FN(read)(type, raw, j), x);
            x = v_select(v_above(x, v_set1(BN_INF_F32)), v_set1(BN_NAN_F32), x);
        }
        FN(write)(type, raw, j, x);
    }
    memcpy(at, raw, (size_t)n * size);
}

/* Whole groups from index i on, past the caches: the line at grad + i begins
 * a cache line. Before anything else is stored there, or another thread is
 * told, these stores have to be fenced. */
BN_INLINE KERNEL int64_t FN(streamed_groups)(
    const bn_chunk *c, int64_t i, const bn_coefficients *k, const bn_map *map,
    v_table table, const int general)
{
    const float *z = (const float *)c->z;

    for (; i + BN_GROUP <= c->n; i += BN_GROUP) {
        bn_prefetch(&c->ahead, i);
        for (int j = 0; j < BN_GROUP; j += 4 * VL) {
            const float *y = z + i + j;
            float *to = (float *)c->grad + i + j;
            v z0 = v_load_f32(y), z1 = v_load_f32(y + VL);
            v z2 = v_load_f32(y + 2 * VL), z3 = v_load_f32(y + 3 * VL);

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
    float z[BN_GROUP], g[BN_GROUP];

    if (n == BN_GROUP)
        FN(widen)(c->type, c->z, i, z);
    else
        FN(widen_tail)(c->type, c->z, i, n, z);
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
    int64_t i = 0, line = c->stream ? bn_until_line(c) : -1;

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
    while (i < c->n) {
        const int64_t left = (i < line ? line : c->n) - i;
        const int64_t n = left < whole ? left : whole;

        if (i == line && left >= whole) {
            i = FN(streamed_groups)(c, i, k, map, table, general);
            line = -1;
            continue;
        }
        bn_prefetch(&c->ahead, i);
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

KERNEL static void FN(kept)(float *e, int64_t n, float factor, float least,
                            const bn_prefetches *prefetches)
{
    const bn_prefetches ahead = *prefetches;
    int64_t i = 0;

    for (; i + BN_GROUP <= n; i += BN_GROUP) {
        bn_prefetch(&ahead, i);
        for (int j = 0; j < BN_GROUP; j += VL)
            v_store_f32(e + i + j, FN(product)(v_load_f32(e + i + j), factor,
                                               least));
    }
    for (; i < n; i++)
        e[i] = e[i] > least ? e[i] * factor : 0;
}
