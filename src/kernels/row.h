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

/* VL elements from index i on, of any type. */
BN_INLINE KERNEL v FN(read_any)(uint32_t type, const void *z, int64_t i)
{
    if (type == BNFLOSS_F32)
        return FN(read)(BNFLOSS_F32, z, i);
    if (type == BNFLOSS_BF16)
        return FN(read)(BNFLOSS_BF16, z, i);
    return FN(read)(BNFLOSS_F16, z, i);
}

/* ---- Groups ------------------------------------------------------------- */

/* The logits of a chunk, and the two that its sums leave out. */
typedef struct FN(source) {
    const void *z;
    uint32_t type;
    int64_t n, label, leader;       /* indices; far away where there is none */
} FN(source);

/* Whether the n from index i on are logits that all count. */
BN_INLINE KERNEL int FN(is_clean)(const FN(source) *s, int64_t i, int64_t n,
                                  int64_t leader)
{
    return s->n - i >= n && (uint64_t)(s->label - i) >= (uint64_t)n
           && (uint64_t)(leader - i) >= (uint64_t)n;
}

/* A group of any type as floats. */
KERNEL static void FN(widen)(uint32_t type, const void *z, int64_t i,
                             float *group)
{
    for (int j = 0; j < BN_GROUP; j += VL)
        v_store_f32(group + j, FN(read_any)(type, z, i + j));
}

/* The group from index i on as floats, with -inf for the label, the leader and
 * what lies beyond the n logits. Whole vectors, stored once: to load one over
 * the store of an element would take long. Out of line: once a chunk or two,
 * and its buffers need not lie on the stack of every caller. */
BN_NOINLINE KERNEL static void FN(patch)(const FN(source) *s, int64_t i,
                                         int64_t leader, float *group)
{
    const size_t size = bn_type_size(s->type);
    const float *a = bn_marks(bn_one_hot, s->label - i);
    const float *b = bn_marks(bn_one_hot, leader - i);
    const float *c = bn_marks(bn_shown, s->n - i);
    const void *z = (const char *)s->z + (size_t)i * size;
    float wide[BN_GROUP];
    bn_raw raw;

    if (s->n - i < BN_GROUP) {
        for (int j = 0; j < BN_GROUP; j += VL)
            v_store_f32(raw.f32 + j, v_set1(0));
        memcpy(&raw, z, (size_t)(s->n - i) * size);
        z = &raw;
    }
    if (s->type != BNFLOSS_F32) {
        FN(widen)(s->type, z, 0, wide);
        z = wide;
    }
    for (int j = 0; j < BN_GROUP; j += VL) {
        const v marks = v_add(v_load_f32(a + j), v_load_f32(b + j));

        v_store_f32(group + j, v_select(v_above(v_load_f32(c + j), marks),
                                        FN(read)(BNFLOSS_F32, z, j),
                                        v_set1(-BN_INF_F32)));
    }
}

/* One or the other, or nothing at all where floats lie as they are to be. */
BN_INLINE KERNEL const float *FN(fetch)(const FN(source) *s, int64_t i,
                                        int64_t leader, float *buffer)
{
    const int clean = FN(is_clean)(s, i, BN_GROUP, leader);

    if (clean && s->type == BNFLOSS_F32)
        return (const float *)s->z + i;
    if (clean)
        FN(widen)(s->type, s->z, i, buffer);
    else
        FN(patch)(s, i, leader, buffer);
    return buffer;
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
    if (!FN(is_clean)(p, i, BN_SPAN, -BN_SPAN)) {
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
    v_leave();
    return bn_largest(lane);
}

/* The first place in the group at index i that holds z, or BN_GROUP. z is the
 * largest of many: one comparison for four vectors. A NaN may hide it. */
BN_INLINE KERNEL int64_t FN(seek)(const uint32_t type, const void *y,
                                  int64_t i, float z)
{
    for (int64_t j = 0; j < BN_GROUP; j += 4 * VL) {
        const v a = v_max(FN(read)(type, y, i + j),
                          FN(read)(type, y, i + j + VL));
        const v b = v_max(FN(read)(type, y, i + j + 2 * VL),
                          FN(read)(type, y, i + j + 3 * VL));

        if (v_any_equal(v_max(a, b), v_set1(z))) {
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

/* A block's pass: what its groups share. general: scale, softcap, smoothing;
 * dot: the entropy's sum. Both are constants where this is inlined. */
typedef struct FN(pass) {
    bn_sums *sums;
    const bn_map *map;
    const bn_prefetches *ahead;
    v_table table;
    float *keep;                /* where to leave the exponentials, or NULL: */
                                /*   it may be where the logits are */
    const bn_before *before;    /* NULL, or the row before's, that become its */
    int64_t line;               /*   gradients on the way, so far ahead */
    float *own;                 /* where those are to lie, if in place: they */
    float factor, least;        /*   can be finished beside these then */
    int general, dot;
} FN(pass);

/* The float lanes of a few groups. */
typedef struct FN(lanes) {
    v sum[BN_LANES / VL], dot[BN_LANES / VL], count[BN_LANES / VL];
} FN(lanes);

/* One vector's exponentials, and in *d its x - ref. */
BN_INLINE KERNEL v FN(term)(v z, const FN(pass) *f, v *d, FN(lanes) *lanes,
                            int h)
{
    bn_sums *s = f->sums;
    v x, slope, e;
    m in;

    if (f->general)
        x = FN(mapped)(z, f->map, s->origin, &slope);
    else
        x = v_sub(z, v_set1(s->origin));
    in = v_above(x, v_set1(s->low));
    e = v_keep(in, FN(exp)(x, f->table));
    if (f->dot)
        *d = v_keep(in, v_sub(x, v_set1(s->ref)));
    if (f->general) {   /* x may be -FLT_MAX: floats have no room for two */
        const m finite = v_above(x, v_set1(-BN_INF_F32));

        v_widen_add(s->shift + h * VL,
                    v_keep(finite, v_sub(x, v_set1(s->ref))));
        lanes->count[h] = v_add(lanes->count[h], v_keep(finite, v_set1(1)));
    }
    return e;
}

/* The same where the logit is its x, and far from where e^x is too small. */
BN_INLINE KERNEL v FN(bare_term)(v x, const FN(pass) *f, v *d)
{
    const v e = FN(exp)(x, f->table);

    if (f->dot)
        *d = v_sub(x, v_set1(f->sums->ref));
    return e;
}

/* Whether four vectors are above a bound: one comparison for all. A NaN may be
 * taken for anything. */
BN_INLINE KERNEL int FN(all_above)(v a, v b, v c, v d, float bound)
{
    return v_all_above(v_min(v_min(a, b), v_min(c, d)), v_set1(bound));
}

/* Adds a group to the lanes: four vectors by a fixed tree, in the open so
 * that they overlap. Their products one by one, each a fused operation: that
 * takes a third less than a tree, and a group's exponentials take longer than
 * the four in a row. The exponentials stay at `keep`, if that is not NULL. */
BN_INLINE KERNEL void FN(group_sums)(const uint32_t type, const void *z,
                                     int64_t i, const FN(pass) *f, float *keep,
                                     FN(lanes) *lanes)
{
    for (int h = 0; h < BN_LANES / VL; h++, i += VL) {
        const v z0 = FN(read)(type, z, i), z1 = FN(read)(type, z, i + 16);
        const v z2 = FN(read)(type, z, i + 32), z3 = FN(read)(type, z, i + 48);
        v e0, e1, e2, e3, d0, d1, d2, d3;

        if (!f->general && FN(all_above)(z0, z1, z2, z3, f->sums->bare)) {
            e0 = FN(bare_term)(z0, f, &d0);
            e1 = FN(bare_term)(z1, f, &d1);
            e2 = FN(bare_term)(z2, f, &d2);
            e3 = FN(bare_term)(z3, f, &d3);
        } else {
            e0 = FN(term)(z0, f, &d0, lanes, h);
            e1 = FN(term)(z1, f, &d1, lanes, h);
            e2 = FN(term)(z2, f, &d2, lanes, h);
            e3 = FN(term)(z3, f, &d3, lanes, h);
        }
        if (keep) {
            v_store_f32(keep + h * VL, e0);
            v_store_f32(keep + h * VL + 16, e1);
            v_store_f32(keep + h * VL + 32, e2);
            v_store_f32(keep + h * VL + 48, e3);
        }
        lanes->sum[h] = v_add(lanes->sum[h],
                              v_add(v_add(e0, e1), v_add(e2, e3)));
        if (f->dot) {
            const v d = v_fma(e1, d1, v_fma(e0, d0, lanes->dot[h]));

            lanes->dot[h] = v_fma(e3, d3, v_fma(e2, d2, d));
        }
    }
}

/* Empties the lanes into the double ones of the sums. */
BN_INLINE KERNEL void FN(flush)(const FN(pass) *f, const FN(lanes) *lanes)
{
    for (int h = 0; h < BN_LANES / VL; h++) {
        v_widen_add(f->sums->sum + h * VL, lanes->sum[h]);
        if (f->dot)
            v_widen_add(f->sums->dots + h * VL, lanes->dot[h]);
        if (f->general)
            v_widen_add(f->sums->finite + h * VL, lanes->count[h]);
    }
}

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
    for (; i < end; i++)
        bn_put(b->grad_type, grad, i, e[i] > least ? e[i] * factor : 0);
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

/* Takes the maximum of the span at index `next`, if that is not negative, and
 * sums the one at i, both clean. */
BN_INLINE KERNEL void FN(clean_span)(const uint32_t type, const void *z,
                                     int64_t i, int64_t next,
                                     const FN(pass) *f, FN(lanes) *lanes,
                                     FN(top) *t)
{
    for (int64_t g = 0; g < BN_SPAN; g += BN_GROUP) {
        if (next >= 0)
            FN(group_max)(type, z, next + g, t);
        bn_prefetch(f->ahead, i + g);
        FN(group_sums)(type, z, i + g, f, f->keep ? f->keep + i + g : NULL,
                       lanes);
        if (f->own)
            FN(group_products)(BNFLOSS_F32, 0, f->own, f->own, i + g,
                               f->factor, f->least);
    }
}

/* Leaves the leader's exponential, which a patched group is without, where it
 * belongs: unless it leads the whole row, its gradient will need it. (The
 * label's will not.) It is never too small: the table is made for a power that
 * no leader is far below. */
KERNEL static void FN(keep_leader)(const bn_sums *s, v_table table,
                                   float *keep)
{
    const v x = v_sub(v_set1(s->leader_z), v_set1(s->origin));
    float e[VL];

    v_store_f32(e, FN(exp)(x, table));
    keep[s->leader_at] = e[0];
}

/* Sums a span that may be anything. */
BN_INLINE KERNEL void FN(any_span)(const FN(source) *p, int64_t i,
                                   float *buffer, const FN(pass) *f,
                                   FN(lanes) *lanes)
{
    for (int64_t g = i; g < i + BN_SPAN && g < p->n; g += BN_GROUP) {
        const float *z = FN(fetch)(p, g, p->leader, buffer);
        const int64_t left = p->n - g;
        const int tail = left < BN_GROUP;
        float *keep = !f->keep ? NULL : tail ? buffer : f->keep + g;

        FN(group_sums)(BNFLOSS_F32, z, 0, f, keep, lanes);
        if (keep && tail)
            memcpy(f->keep + g, buffer, (size_t)left * sizeof *buffer);
        if (keep && (uint64_t)(p->leader - g) < BN_GROUP)
            FN(keep_leader)(f->sums, f->table, f->keep);
        bn_prefetch(f->ahead, g);
    }
}

/* Sums the block from index i on and, on the way, takes the maximum of the
 * block after it, so that memory is read a block before it is needed. */
BN_INLINE KERNEL float FN(block)(const FN(source) *p, int64_t i,
                                 float *buffer, const FN(pass) *f)
{
    const int64_t end = p->n - i < BN_BLOCK ? p->n : i + BN_BLOCK;
    FN(pass) g = *f;            /* for the kind that keeps nothing */
    FN(top) t;

    g.keep = NULL;
    g.before = NULL;
    g.own = NULL;
    FN(top_init)(p->type, &t);
    for (; i < end; i += BN_SPAN) {
        const int64_t next = i + BN_BLOCK < p->n ? i + BN_BLOCK : -1;
        const int clean = FN(is_clean)(p, i, BN_SPAN, p->leader)
            && (next < 0 || FN(is_clean)(p, next, BN_SPAN, -BN_SPAN));
        FN(lanes) lanes;

        /* what is not in its own place may be where these are kept */
        if (f->before && !(f->own && clean))
            FN(products)(f->before, i + f->line, i + f->line + BN_SPAN);
        for (int h = 0; h < BN_LANES / VL; h++)
            lanes.sum[h] = lanes.dot[h] = lanes.count[h] = v_set1(0);
        if (!clean || (f->general && p->type != BNFLOSS_F32)) {
            FN(any_span)(p, i, buffer, f, &lanes);
            FN(span_max)(p, i + BN_BLOCK, buffer, &t);
        } else if (!f->general && f->keep && p->type == BNFLOSS_BF16)
            FN(clean_span)(BNFLOSS_BF16, p->z, i, next, f, &lanes, &t);
        else if (!f->general && f->keep && p->type == BNFLOSS_F16)
            FN(clean_span)(BNFLOSS_F16, p->z, i, next, f, &lanes, &t);
        else if (!f->general && f->keep)
            FN(clean_span)(BNFLOSS_F32, p->z, i, next, f, &lanes, &t);
        else if (p->type == BNFLOSS_F32)
            FN(clean_span)(BNFLOSS_F32, p->z, i, next, &g, &lanes, &t);
        else if (p->type == BNFLOSS_BF16)
            FN(clean_span)(BNFLOSS_BF16, p->z, i, next, &g, &lanes, &t);
        else
            FN(clean_span)(BNFLOSS_F16, p->z, i, next, &g, &lanes, &t);
        FN(flush)(f, &lanes);
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
    FN(pass) f;
    bn_sums s;
    float buffer[BN_GROUP], top;

    p.z = c->z;
    p.type = c->type;
    p.n = c->n;
    p.label = c->label < 0 ? -BN_SPAN : c->label;
    p.leader = -BN_SPAN;
    f.sums = &s;
    f.map = map;
    f.ahead = &c->ahead;
    f.keep = !general && c->keep ? c->keep->e : NULL;
    f.before = f.keep ? c->before : NULL;
    f.own = NULL;
    f.line = 0;
    f.factor = f.least = 0;
    if (f.before) {
        f.line = FN(products_begin)(f.before);
        f.factor = (float)f.before->factor;
        f.least = (float)f.before->least;
    }
    if (f.before && f.before->grad == f.before->e)
        f.own = (float *)f.before->grad;
    f.general = general;
    f.dot = dot;
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
        if (f.keep && !bn_keep_on(c->keep, &s, k, i)) {
            f.keep = NULL;
            f.before = NULL;
            f.own = NULL;
        }
        f.table = v_table_load(s.table);
        top = FN(block)(&p, i, buffer, &f);
        if (f.before)
            c->before->done = i + BN_BLOCK < c->n - f.line
                                  ? i + BN_BLOCK + f.line : c->n;
    }
    if (f.keep)
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

/* Whole groups from index i on, past the caches: the line at grad + i begins
 * a cache line. Before anything else is stored there, or another thread is
 * told, these stores have to be fenced. */
BN_INLINE KERNEL int64_t FN(streamed_groups)(
    const uint32_t type, const bn_chunk *c, int64_t i,
    const bn_coefficients *k, const bn_map *map, v_table table,
    const int general)
{
    const void *z = c->z;

    for (; i + BN_GROUP <= c->n; i += BN_GROUP) {
        bn_prefetch(&c->ahead, i);
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
            if (c->type == BNFLOSS_F32)
                i = FN(streamed_groups)(BNFLOSS_F32, c, i, k, map, table,
                                        general);
            else if (c->type == BNFLOSS_BF16)
                i = FN(streamed_groups)(BNFLOSS_BF16, c, i, k, map, table, 0);
            else
                i = FN(streamed_groups)(BNFLOSS_F16, c, i, k, map, table, 0);
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

KERNEL static void FN(kept)(const bn_before *before,
                            const bn_prefetches *prefetches)
{
    const bn_prefetches ahead = *prefetches;
    const int64_t begin = FN(products_begin)(before);

    for (int64_t i = begin; i < before->n; i += BN_SPAN) {
        for (int64_t g = 0; g < BN_SPAN; g += BN_GROUP)
            bn_prefetch(&ahead, i - begin + g);
        FN(products)(before, i, i + BN_SPAN);
    }
    if (before->stream)
        v_fence();
}
