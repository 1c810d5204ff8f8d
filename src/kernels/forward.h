/* The forward pass of a chunk: its maximum, a block ahead, and its sums. */

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

/* A block's pass: what its groups share. general: scale, softcap, smoothing;
 * dot: the entropy's sum. Both are constants where this is inlined. */
typedef struct FN(pass) {
    bn_sums *sums;
    const bn_map *map;
    v_table table;
    float *keep;                /* where to leave the exponentials, or NULL: */
                                /*   it may be where the logits are */
    const bn_before *before;    /* NULL, or the row before's, that become its */
    int64_t line;               /*   gradients on the way, so far ahead */
    float *own;                 /* where those are to lie, if in place: they */
    float factor, least;        /*   can be finished beside these then */
    const float *far;           /* NULL, or theirs that are to be asked for */
    int general, dot;
} FN(pass);

/* The float lanes of a few groups. */
typedef struct FN(lanes) {
    v sum[BN_LANES / VL], dot[BN_LANES / VL], count[BN_LANES / VL];
} FN(lanes);

BN_INLINE KERNEL void FN(lanes_clear)(FN(lanes) *lanes)
{
    for (int h = 0; h < BN_LANES / VL; h++)
        lanes->sum[h] = lanes->dot[h] = lanes->count[h] = v_set1(0);
}

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

/* Sums the clean spans from index i to `to` - 1 and, if there is a block after
 * theirs (`more`), takes the maxima of the spans there. */
BN_INLINE KERNEL void FN(clean_spans)(const uint32_t type, const void *z,
                                      int64_t i, int64_t to, int more,
                                      const FN(pass) *f, FN(top) *t)
{
    bn_ahead ahead = bn_ahead_of(type, z, i);

    while (i < to) {
        const int64_t end = i + BN_SPAN;
        FN(lanes) lanes;

        /* what is not in its own place may be where these are kept */
        if (f->before && !f->own)
            FN(products)(f->before, i + f->line, end + f->line);
        FN(lanes_clear)(&lanes);
        for (; i < end; i += BN_GROUP) {
            if (more)
                FN(group_max)(type, z, i + BN_BLOCK, t);
            bn_prefetch(type, &ahead);
            if (f->far)
                bn_prefetch_kept(f->far, i);
            FN(group_sums)(type, z, i, f, f->keep ? f->keep + i : NULL,
                           &lanes);
            if (f->own)
                FN(group_products)(BNFLOSS_F32, 0, f->own, f->own, i,
                                   f->factor, f->least);
        }
        FN(flush)(f, &lanes);
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

/* Sums a span that may be anything, and takes the maximum of the one a block
 * after it. */
BN_INLINE KERNEL void FN(any_span)(const FN(source) *p, int64_t i,
                                   float *buffer, const FN(pass) *f,
                                   FN(top) *t)
{
    bn_ahead ahead = bn_ahead_of(p->type, p->z, i);
    FN(lanes) lanes;

    if (f->before)
        FN(products)(f->before, i + f->line, i + f->line + BN_SPAN);
    FN(lanes_clear)(&lanes);
    for (int64_t g = i; g < i + BN_SPAN && g < p->n; g += BN_GROUP) {
        const float *z = FN(fetch)(p, g, p->leader, buffer);
        const int64_t left = p->n - g;
        const int tail = left < BN_GROUP;
        float *keep = !f->keep ? NULL : tail ? buffer : f->keep + g;

        FN(group_sums)(BNFLOSS_F32, z, 0, f, keep, &lanes);
        if (keep && tail)
            memcpy(f->keep + g, buffer, (size_t)left * sizeof *buffer);
        if (keep && (uint64_t)(p->leader - g) < BN_GROUP)
            FN(keep_leader)(f->sums, f->table, f->keep);
        bn_prefetch(p->type, &ahead);
    }
    FN(flush)(f, &lanes);
    FN(span_max)(p, i + BN_BLOCK, buffer, t);
}

/* Where the clean spans of a block that ends at `end` stop, from index i on:
 * those without label and leader, and with a whole span, or nothing, a block
 * after them, where the label is not either. */
BN_INLINE KERNEL int64_t FN(clean_until)(const FN(source) *p, int64_t i,
                                         int64_t end)
{
    const int64_t whole = p->n / BN_SPAN * BN_SPAN, last = whole - BN_BLOCK;
    const int64_t apart[3] = { p->label, p->leader, p->label - BN_BLOCK };

    if (end > whole)
        end = whole;
    if (i < last + (whole < p->n) && last < end)
        end = last;
    for (int k = 0; k < 3; k++)
        if (apart[k] >= i && apart[k] < end)
            end = apart[k] / BN_SPAN * BN_SPAN;
    return end;
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
    g.far = NULL;
    FN(top_init)(p->type, &t);
    while (i < end) {
        const int64_t to = f->general && p->type != BNFLOSS_F32
                               ? i : FN(clean_until)(p, i, end);
        const int more = i + BN_BLOCK < p->n;

        if (to == i) {
            FN(any_span)(p, i, buffer, f, &t);
            i += BN_SPAN;
            continue;
        }
        if (!f->general && f->keep && p->type == BNFLOSS_BF16)
            FN(clean_spans)(BNFLOSS_BF16, p->z, i, to, more, f, &t);
        else if (!f->general && f->keep && p->type == BNFLOSS_F16)
            FN(clean_spans)(BNFLOSS_F16, p->z, i, to, more, f, &t);
        else if (!f->general && f->keep)
            FN(clean_spans)(BNFLOSS_F32, p->z, i, to, more, f, &t);
        else if (p->type == BNFLOSS_F32)
            FN(clean_spans)(BNFLOSS_F32, p->z, i, to, more, &g, &t);
        else if (p->type == BNFLOSS_BF16)
            FN(clean_spans)(BNFLOSS_BF16, p->z, i, to, more, &g, &t);
        else
            FN(clean_spans)(BNFLOSS_F16, p->z, i, to, more, &g, &t);
        i = to;
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
    f.keep = !general && c->keep ? c->keep->e : NULL;
    f.before = f.keep ? c->before : NULL;
    f.own = NULL;
    f.far = NULL;
    f.line = 0;
    f.factor = f.least = 0;
    if (f.before) {
        f.line = FN(products_begin)(f.before);
        f.factor = (float)f.before->factor;
        f.least = (float)f.before->least;
    }
    if (f.before && f.before->grad == f.before->e)
        f.own = (float *)f.before->grad;
    if (f.before && f.before->far)
        f.far = f.before->e;
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
            f.far = NULL;
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
