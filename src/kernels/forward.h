/* The forward pass of a chunk: its maximum, a block ahead, and its sums. */

/* ---- The maximum -------------------------------------------------------- */

/* The largest seen so far in each lane. 16-bit elements are compared as the
 * integers they are, twice as many at a time and without being widened: of
 * those without a sign the largest is above, of those with one the smallest,
 * which is the nearest to 0, is below. NaN may get lost or hide others: the
 * sums will see it. */
typedef struct BN_FN(top) {
    bn_v max[BN_LANES / BN_VL];
    bn_vu above, below;
} BN_FN(top);

BN_INLINE BN_KERNEL void BN_FN(top_init)(uint32_t type, BN_FN(top) * top)
{
    const uint16_t masked = type == BNFLOSS_BF16 ? 0xFF80 : 0xFC00;

    for (int h = 0; h < BN_LANES / BN_VL; h++)
        top->max[h] = bn_v_set1(-BN_INF_F32);
    top->above = top->below = bn_u_set1(masked);
}

BN_INLINE BN_KERNEL void BN_FN(group_max)(const uint32_t type, const void *z,
                                          int64_t i, BN_FN(top) * top)
{
    if (type != BNFLOSS_F32) {
        for (int j = 0; j < BN_GROUP; j += BN_UL) {
            const bn_vu x = bn_u_load((const uint16_t *)z + i + j);

            top->above = bn_u_max_signed(x, top->above);
            top->below = bn_u_min_unsigned(x, top->below);
        }
        return;
    }
    for (int h = 0; h < BN_LANES / BN_VL; h++) {
        const float *y = (const float *)z + i + h * BN_VL;
        const bn_v a = bn_v_max(bn_v_load_f32(y), bn_v_load_f32(y + 16));
        const bn_v b = bn_v_max(bn_v_load_f32(y + 32), bn_v_load_f32(y + 48));

        top->max[h] = bn_v_max(a, bn_v_max(b, top->max[h]));
    }
}

/* Of a span: clean, and of a type that is a constant; and of any. */
BN_INLINE BN_KERNEL void BN_FN(clean_max)(const uint32_t type, const void *z,
                                          int64_t i, BN_FN(top) * top)
{
    for (int64_t g = 0; g < BN_SPAN; g += BN_GROUP)
        BN_FN(group_max)(type, z, i + g, top);
}

BN_INLINE BN_KERNEL void BN_FN(span_max)(const BN_FN(source) * source,
                                         int64_t i, float *buffer,
                                         BN_FN(top) * top)
{
    if (!BN_FN(is_clean)(source, i, BN_SPAN, -BN_SPAN)) {
        for (int64_t g = i; g < i + BN_SPAN && g < source->n; g += BN_GROUP)
            BN_FN(group_max)
        (BNFLOSS_F32, BN_FN(fetch)(source, g, -BN_SPAN, buffer), 0, top);
    } else if (source->type == BNFLOSS_F32) {
        BN_FN(clean_max)(BNFLOSS_F32, source->z, i, top);
    } else {
        BN_FN(clean_max)
        (BNFLOSS_BF16, source->z, i, top);          /* or f16, all the same */
    }
}

BN_INLINE BN_KERNEL float BN_FN(largest)(uint32_t type, BN_FN(top) * top)
{
    float lane[BN_LANES];

    if (type != BNFLOSS_F32) {
        uint16_t lanes16[BN_UL];

        bn_u_store(lanes16,
                   bn_u_select_negative(top->above, top->below, top->above));
        for (int j = 0; j < BN_UL; j += BN_VL)
            top->max[0] = bn_v_max(type == BNFLOSS_BF16
                                       ? bn_v_load_bf16(lanes16 + j)
                                       : bn_v_load_f16(lanes16 + j),
                                   top->max[0]);
    }
    for (int h = 0; h < BN_LANES / BN_VL; h++)
        bn_v_store_f32(lane + h * BN_VL, top->max[h]);
    bn_v_leave();
    return bn_largest(lane);
}

/* The first place in the group at index i that holds z, or BN_GROUP. z is the
 * largest of many: one comparison for four vectors. A NaN may hide it. */
BN_INLINE BN_KERNEL int64_t BN_FN(seek)(const uint32_t type, const void *y,
                                        int64_t i, float z)
{
    for (int64_t j = 0; j < BN_GROUP; j += 4 * BN_VL) {
        const bn_v a = bn_v_max(BN_FN(read)(type, y, i + j),
                                BN_FN(read)(type, y, i + j + BN_VL));
        const bn_v b = bn_v_max(BN_FN(read)(type, y, i + j + 2 * BN_VL),
                                BN_FN(read)(type, y, i + j + 3 * BN_VL));

        if (bn_v_any_equal(bn_v_max(a, b), bn_v_set1(z))) {
            while (!(bn_get(type, y, i + j) == z))
                j++;
            return j;
        }
    }
    return BN_GROUP;
}

/* The first place from index i on where the chunk holds z, label apart. */
BN_KERNEL static int64_t BN_FN(find)(const BN_FN(source) * source, float z,
                                     int64_t i, float *buffer)
{
    for (int64_t j = BN_GROUP; i < source->n; i += BN_GROUP) {
        if (source->n - i < BN_GROUP
            || (uint64_t)(source->label - i) < BN_GROUP) {
            BN_FN(patch)(source, i, -BN_SPAN, buffer);
            j = BN_FN(seek)(BNFLOSS_F32, buffer, 0, z);
        } else if (source->type == BNFLOSS_F32) {
            j = BN_FN(seek)(BNFLOSS_F32, source->z, i, z);
        } else if (source->type == BNFLOSS_BF16) {
            j = BN_FN(seek)(BNFLOSS_BF16, source->z, i, z);
        } else {
            j = BN_FN(seek)(BNFLOSS_F16, source->z, i, z);
        }
        if (j < BN_GROUP)
            return i + j;
    }
    return -1;
}

/* ---- Forward ------------------------------------------------------------ */

/* A block's pass: what its groups share. general: scale, softcap, smoothing;
 * dot: the entropy's sum. Both are constants where this is inlined. */
typedef struct BN_FN(pass) {
    bn_sums *sums;
    const bn_map *map;
    bn_v_table table;
    float *save;                /* where to leave the exponentials, or NULL: */
                                /*   it may be where the logits are */
    const bn_scaling *scaling;  /* NULL, or the row before's, that become its */
    int64_t head;               /*   gradients on the way, so far ahead */
    float *in_place;            /* where those are to lie, if in place: they */
    float factor, cutoff;       /*   can be finished beside these then */
    const float *prefetch;      /* NULL, or theirs that are to be asked for */
    int general, dot;
} BN_FN(pass);

/* The float lanes of a few groups. */
typedef struct BN_FN(lanes) {
    bn_v sum[BN_LANES / BN_VL], dot[BN_LANES / BN_VL], count[BN_LANES / BN_VL];
} BN_FN(lanes);

BN_INLINE BN_KERNEL void BN_FN(lanes_clear)(BN_FN(lanes) * lanes)
{
    for (int h = 0; h < BN_LANES / BN_VL; h++)
        lanes->sum[h] = lanes->dot[h] = lanes->count[h] = bn_v_set1(0);
}

/* One vector's exponentials, and in *d its x - ref. */
BN_INLINE BN_KERNEL bn_v BN_FN(term)(bn_v z, const BN_FN(pass) * pass, bn_v *d,
                                     BN_FN(lanes) * lanes, int h)
{
    bn_sums *sums = pass->sums;
    bn_v x, slope, e;
    bn_m in;

    if (pass->general)
        x = BN_FN(mapped)(z, pass->map, sums->origin, &slope);
    else
        x = bn_v_sub(z, bn_v_set1(sums->origin));
    in = bn_v_above(x, bn_v_set1(sums->underflow_at));
    e = bn_v_masked(in, BN_FN(exp)(x, pass->table));
    if (pass->dot)
        *d = bn_v_masked(in, bn_v_sub(x, bn_v_set1(sums->ref)));
    if (pass->general) { /* x may be -FLT_MAX: floats have no room for two */
        const bn_m finite = bn_v_above(x, bn_v_set1(-BN_INF_F32));

        bn_v_widen_add(sums->sum_x + h * BN_VL,
                       bn_v_masked(finite, bn_v_sub(x, bn_v_set1(sums->ref))));
        lanes->count[h] = bn_v_add(lanes->count[h],
                                   bn_v_masked(finite, bn_v_set1(1)));
    }
    return e;
}

/* The same where the logit is its x, and far from where e^x is too small. */
BN_INLINE BN_KERNEL bn_v BN_FN(unmasked_term)(bn_v x, const BN_FN(pass) * pass,
                                              bn_v *d)
{
    const bn_v e = BN_FN(exp)(x, pass->table);

    if (pass->dot)
        *d = bn_v_sub(x, bn_v_set1(pass->sums->ref));
    return e;
}

/* Adds a group to the lanes: four vectors by a fixed tree, in the open so
 * that they overlap. Their products one by one, each a fused operation: that
 * takes a third less than a tree, and a group's exponentials take longer than
 * the four in a row. The exponentials stay at `keep`, if that is not NULL. */
BN_INLINE BN_KERNEL void BN_FN(group_sums)(const uint32_t type, const void *z,
                                           int64_t i, const BN_FN(pass) * pass,
                                           float *save, BN_FN(lanes) * lanes)
{
    for (int h = 0; h < BN_LANES / BN_VL; h++, i += BN_VL) {
        const bn_v z0 = BN_FN(read)(type, z, i),
                   z1 = BN_FN(read)(type, z, i + 16);
        const bn_v z2 = BN_FN(read)(type, z, i + 32),
                   z3 = BN_FN(read)(type, z, i + 48);
        bn_v e0, e1, e2, e3, d0, d1, d2, d3;

        if (!pass->general
            && BN_FN(all_above)(z0, z1, z2, z3, pass->sums->no_mask_above)) {
            e0 = BN_FN(unmasked_term)(z0, pass, &d0);
            e1 = BN_FN(unmasked_term)(z1, pass, &d1);
            e2 = BN_FN(unmasked_term)(z2, pass, &d2);
            e3 = BN_FN(unmasked_term)(z3, pass, &d3);
        } else {
            e0 = BN_FN(term)(z0, pass, &d0, lanes, h);
            e1 = BN_FN(term)(z1, pass, &d1, lanes, h);
            e2 = BN_FN(term)(z2, pass, &d2, lanes, h);
            e3 = BN_FN(term)(z3, pass, &d3, lanes, h);
        }
        if (save) {
            bn_v_store_f32(save + h * BN_VL, e0);
            bn_v_store_f32(save + h * BN_VL + 16, e1);
            bn_v_store_f32(save + h * BN_VL + 32, e2);
            bn_v_store_f32(save + h * BN_VL + 48, e3);
        }
        lanes->sum[h] = bn_v_add(lanes->sum[h],
                                 bn_v_add(bn_v_add(e0, e1), bn_v_add(e2, e3)));
        if (pass->dot) {
            const bn_v d = bn_v_fma(e1, d1, bn_v_fma(e0, d0, lanes->dot[h]));

            lanes->dot[h] = bn_v_fma(e3, d3, bn_v_fma(e2, d2, d));
        }
    }
}

/* Empties the lanes into the double ones of the sums. */
BN_INLINE BN_KERNEL void BN_FN(flush)(const BN_FN(pass) * pass,
                                      const BN_FN(lanes) * lanes)
{
    for (int h = 0; h < BN_LANES / BN_VL; h++) {
        bn_v_widen_add(pass->sums->sum + h * BN_VL, lanes->sum[h]);
        if (pass->dot)
            bn_v_widen_add(pass->sums->dots + h * BN_VL, lanes->dot[h]);
        if (pass->general)
            bn_v_widen_add(pass->sums->finite + h * BN_VL, lanes->count[h]);
    }
}

/* Sums the clean spans from index i to `to` - 1 and, if there is a block after
 * theirs (`more`), takes the maxima of the spans there. */
BN_INLINE BN_KERNEL void BN_FN(clean_spans)(const uint32_t type, const void *z,
                                            int64_t i, int64_t to, int more,
                                            const BN_FN(pass) * pass,
                                            BN_FN(top) * top)
{
    bn_prefetcher prefetcher = bn_prefetcher_at(type, z, i);

    while (i < to) {
        const int64_t end = i + BN_SPAN;
        BN_FN(lanes) lanes;

        /* what is not in its own place may be where these are kept */
        if (pass->scaling && !pass->in_place)
            BN_FN(scale_range)
        (pass->scaling, i + pass->head, end + pass->head);
        BN_FN(lanes_clear)(&lanes);
        for (; i < end; i += BN_GROUP) {
            if (more)
                BN_FN(group_max)(type, z, i + BN_BLOCK, top);
            bn_prefetch(type, &prefetcher);
            if (pass->prefetch)
                bn_prefetch_saved(pass->prefetch, i);
            BN_FN(group_sums)
            (type, z, i, pass, pass->save ? pass->save + i : NULL, &lanes);
            if (pass->in_place)
                BN_FN(group_scale)
            (BNFLOSS_F32, 0, pass->in_place, pass->in_place, i, pass->factor,
             pass->cutoff);
        }
        BN_FN(flush)(pass, &lanes);
    }
}

/* Leaves the leader's exponential, which a patched group is without, where it
 * belongs: unless it leads the whole row, its gradient will need it. (The
 * label's will not.) It is never too small: the table is made for a power that
 * no leader is far below. */
BN_KERNEL static void BN_FN(save_leader)(const bn_sums *sums, bn_v_table table,
                                         float *save)
{
    const bn_v x = bn_v_sub(bn_v_set1(sums->leader_z),
                            bn_v_set1(sums->origin));
    float e[BN_VL];

    bn_v_store_f32(e, BN_FN(exp)(x, table));
    save[sums->leader_at] = e[0];
}

/* Sums a span that may be anything, and takes the maximum of the one a block
 * after it. */
BN_INLINE BN_KERNEL void BN_FN(any_span)(const BN_FN(source) * source,
                                         int64_t i, float *buffer,
                                         const BN_FN(pass) * pass,
                                         BN_FN(top) * top)
{
    bn_prefetcher prefetcher = bn_prefetcher_at(source->type, source->z, i);
    BN_FN(lanes) lanes;

    if (pass->scaling)
        BN_FN(scale_range)
    (pass->scaling, i + pass->head, i + pass->head + BN_SPAN);
    BN_FN(lanes_clear)(&lanes);
    for (int64_t g = i; g < i + BN_SPAN && g < source->n; g += BN_GROUP) {
        const float *z = BN_FN(fetch)(source, g, source->leader, buffer);
        const int64_t left = source->n - g;
        const int tail = left < BN_GROUP;
        float *save = !pass->save ? NULL : tail ? buffer : pass->save + g;

        BN_FN(group_sums)(BNFLOSS_F32, z, 0, pass, save, &lanes);
        if (save && tail)
            memcpy(pass->save + g, buffer, (size_t)left * sizeof *buffer);
        if (save && (uint64_t)(source->leader - g) < BN_GROUP)
            BN_FN(save_leader)(pass->sums, pass->table, pass->save);
        bn_prefetch(source->type, &prefetcher);
    }
    BN_FN(flush)(pass, &lanes);
    BN_FN(span_max)(source, i + BN_BLOCK, buffer, top);
}

/* Where the clean spans of a block that ends at `end` stop, from index i on:
 * those without label and leader, and with a whole span, or nothing, a block
 * after them, where the label is not either. */
BN_INLINE BN_KERNEL int64_t BN_FN(clean_end)(const BN_FN(source) * source,
                                             int64_t i, int64_t end)
{
    const int64_t whole = source->n / BN_SPAN * BN_SPAN,
                  last = whole - BN_BLOCK;
    const int64_t excluded[3] = { source->label, source->leader,
                                  source->label - BN_BLOCK };

    if (end > whole)
        end = whole;
    if (i < last + (whole < source->n) && last < end)
        end = last;
    for (int k = 0; k < 3; k++)
        if (excluded[k] >= i && excluded[k] < end)
            end = excluded[k] / BN_SPAN * BN_SPAN;
    return end;
}

/* Sums the block from index i on and, on the way, takes the maximum of the
 * block after it, so that memory is read a block before it is needed. */
BN_INLINE BN_KERNEL float BN_FN(block)(const BN_FN(source) * source, int64_t i,
                                       float *buffer, const BN_FN(pass) * pass)
{
    const int64_t end = source->n - i < BN_BLOCK ? source->n : i + BN_BLOCK;
    BN_FN(pass) g = *pass;      /* for the kind that keeps nothing */
    BN_FN(top) top;

    g.save = NULL;
    g.scaling = NULL;
    g.in_place = NULL;
    g.prefetch = NULL;
    BN_FN(top_init)(source->type, &top);
    while (i < end) {
        const int64_t to = pass->general && source->type != BNFLOSS_F32
                               ? i
                               : BN_FN(clean_end)(source, i, end);
        const int more = i + BN_BLOCK < source->n;

        if (to == i) {
            BN_FN(any_span)(source, i, buffer, pass, &top);
            i += BN_SPAN;
            continue;
        }
        if (!pass->general && pass->save && source->type == BNFLOSS_BF16)
            BN_FN(clean_spans)
        (BNFLOSS_BF16, source->z, i, to, more, pass, &top);
        else if (!pass->general && pass->save && source->type == BNFLOSS_F16)
            BN_FN(clean_spans)(BNFLOSS_F16, source->z, i, to, more, pass,
                               &top);
        else if (!pass->general && pass->save) BN_FN(
            clean_spans)(BNFLOSS_F32, source->z, i, to, more, pass, &top);
        else if (source->type == BNFLOSS_F32)
            BN_FN(clean_spans)(BNFLOSS_F32, source->z, i, to, more, &g, &top);
        else if (source->type == BNFLOSS_BF16)
            BN_FN(clean_spans)(BNFLOSS_BF16, source->z, i, to, more, &g, &top);
        else BN_FN(clean_spans)(BNFLOSS_F16, source->z, i, to, more, &g, &top);
        i = to;
    }
    return BN_FN(largest)(source->type, &top);
}

/* The maximum of the first block, which no block before it has taken. */
BN_INLINE BN_KERNEL float BN_FN(first_max)(const BN_FN(source) * source,
                                           float *buffer)
{
    BN_FN(top) top;

    BN_FN(top_init)(source->type, &top);
    for (int64_t i = 0; i < BN_BLOCK && i < source->n; i += BN_SPAN)
        BN_FN(span_max)(source, i, buffer, &top);
    return BN_FN(largest)(source->type, &top);
}

BN_INLINE BN_KERNEL void BN_FN(chunk)(const bn_chunk *chunk, const bn_map *map,
                                      bnfloss_row *row, const int general,
                                      const int dot)
{
    BN_FN(source) source;
    BN_FN(pass) pass;
    bn_sums sums;
    float buffer[BN_GROUP], top;

    source.z = chunk->logits;
    source.type = chunk->type;
    source.n = chunk->n;
    source.label = chunk->label < 0 ? -BN_SPAN : chunk->label;
    source.leader = -BN_SPAN;
    pass.sums = &sums;
    pass.map = map;
    pass.save = !general && chunk->save ? chunk->save->exps : NULL;
    pass.scaling = pass.save ? chunk->scaling : NULL;
    pass.in_place = NULL;
    pass.prefetch = NULL;
    pass.head = 0;
    pass.factor = pass.cutoff = 0;
    if (pass.scaling) {
        pass.head = BN_FN(scale_head)(pass.scaling);
        pass.factor = (float)pass.scaling->factor;
        pass.cutoff = (float)pass.scaling->cutoff;
    }
    if (pass.scaling && pass.scaling->grad == pass.scaling->exps)
        pass.in_place = (float *)pass.scaling->grad;
    if (pass.scaling && pass.scaling->prefetch)
        pass.prefetch = pass.scaling->exps;
    pass.general = general;
    pass.dot = dot;
    bn_sums_init(&sums, general, dot);
    top = BN_FN(first_max)(&source, buffer);
    for (int64_t i = 0; i < chunk->n; i += BN_BLOCK) {
        const int32_t k = sums.power;

        if (top > sums.leader_z) {
            source.leader = BN_FN(find)(&source, top, i, buffer);
            if (source.leader < 0) { /* before i: a NaN hid it from one look */
                row->flags |= BNFLOSS_ROW_NAN;
                return;
            }
            top = bn_get(chunk->type, chunk->logits,
                         source.leader);            /* of 0 and -0, that one */
            if (!bn_sums_lead(&sums, map, top, source.leader)) {
                row->flags |= BNFLOSS_ROW_NAN;
                return;
            }
        }
        if (!sums.started)
            bn_sums_reference(&sums, 0, 0);
        if (pass.save && !bn_save_rebase(chunk->save, &sums, k, i)) {
            pass.save = NULL;
            pass.scaling = NULL;
            pass.in_place = NULL;
            pass.prefetch = NULL;
        }
        pass.table = bn_v_table_load(sums.table);
        top = BN_FN(block)(&source, i, buffer, &pass);
        if (pass.scaling)
            chunk->scaling->done = i + BN_BLOCK < chunk->n - pass.head
                                       ? i + BN_BLOCK + pass.head
                                       : chunk->n;
    }
    if (pass.save)
        chunk->save->n = chunk->n;
    bn_sums_finish(&sums, row);
}

BN_KERNEL static void BN_FN(forward)(const bn_chunk *chunk, const bn_map *map,
                                     bnfloss_row *row)
{
    BN_FN(chunk)(chunk, map, row, 0, 0);
}

BN_KERNEL static void BN_FN(forward_dot)(const bn_chunk *chunk,
                                         const bn_map *map, bnfloss_row *row)
{
    BN_FN(chunk)(chunk, map, row, 0, 1);
}

BN_KERNEL static void BN_FN(forward_general)(const bn_chunk *chunk,
                                             const bn_map *map,
                                             bnfloss_row *row)
{
    BN_FN(chunk)(chunk, map, row, 1, 1);
}
