/* The forward pass of a chunk: its maximum, read one block ahead, and its sums.
 *
 * The pass that sums block b takes the maximum of block b + 1 on the way. So
 * memory is read 8 KiB before it is needed, each block's maximum is exact when
 * its sum starts, and nothing is done twice. */

/* ---- The maximum -------------------------------------------------------- */

/* The largest element seen so far, lane by lane.
 *
 * 16-bit elements are compared as the integers they are, with all lanes full
 * and nothing widened. As integers with a sign, the positive ones are in
 * order, and `above` is the largest of them. As integers without one, negative
 * ones run from -0, the smallest, to -inf; and `below` is the smallest. It is
 * the largest element where none is positive:
 *
 *     bf16      1.0    0.5    0     -0     -0.5   -1.0   -inf
 *     bits      3F80   3F00   0000  8000   BF00   BF80   FF80
 *
 * A NaN may get lost or hide others: the sums will see it. */
typedef struct BN_FN(top) {
    bn_v max[BN_LANES / BN_VL];
    bn_vu above, below;
} BN_FN(top);

BN_INLINE BN_KERNEL void BN_FN(top_init)(uint32_t type, BN_FN(top) *top)
{
    const uint16_t masked = type == BNFLOSS_BF16 ? 0xFF80 : 0xFC00;  /* -inf */

    for (int h = 0; h < BN_LANES / BN_VL; h++)
        top->max[h] = bn_v_set1(-BN_INF_F32);
    top->above = top->below = bn_u_set1(masked);
}

/* Takes the group at index i into account. */
BN_INLINE BN_KERNEL void BN_FN(group_max)(const uint32_t type, const void *z,
                                          int64_t i, BN_FN(top) *top)
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

/* Takes a clean span into account. */
BN_INLINE BN_KERNEL void BN_FN(clean_max)(const uint32_t type, const void *z,
                                          int64_t i, BN_FN(top) *top)
{
    for (int64_t g = 0; g < BN_SPAN; g += BN_GROUP)
        BN_FN(group_max)(type, z, i + g, top);
}

/* Takes any span into account, without the label. */
BN_INLINE BN_KERNEL void BN_FN(span_max)(const BN_FN(source) *source,
                                         int64_t i, float *buffer,
                                         BN_FN(top) *top)
{
    if (!BN_FN(is_clean)(source, i, BN_SPAN, -BN_SPAN)) {
        for (int64_t g = i; g < i + BN_SPAN && g < source->n; g += BN_GROUP)
            BN_FN(group_max)(BNFLOSS_F32,
                             BN_FN(fetch)(source, g, -BN_SPAN, buffer), 0,
                             top);
    } else if (source->type == BNFLOSS_F32) {
        BN_FN(clean_max)(BNFLOSS_F32, source->z, i, top);
    } else {            /* f16 is compared in the same way as bf16 */
        BN_FN(clean_max)(BNFLOSS_BF16, source->z, i, top);
    }
}

/* Returns the largest element of all lanes. */
BN_INLINE BN_KERNEL float BN_FN(largest)(uint32_t type, BN_FN(top) *top)
{
    float lane[BN_LANES];

    if (type != BNFLOSS_F32) {
        uint16_t lanes16[BN_UL];

        bn_u_store(lanes16, bn_u_select_negative(top->above, top->below,
                                                 top->above));
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

/* Returns the first place in the group at index i that holds z, or BN_GROUP. It
 * takes one comparison for four vectors, since z is the largest of many. A NaN
 * may hide it. */
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

/* Returns the first index from i on where the chunk holds z, the label apart,
 * or -1. */
BN_KERNEL static int64_t BN_FN(find)(const BN_FN(source) *source, float z,
                                     int64_t i, float *buffer)
{
    for (int64_t j = BN_GROUP; i < source->n; i += BN_GROUP) {
        if (BN_FN(is_clean)(source, i, BN_GROUP, -BN_SPAN)) {
#define SEEK(T) BN_FN(seek)(T, source->z, i, z)
            j = BN_WITH_TYPE(source->type, SEEK);
#undef SEEK
        } else {
            BN_FN(patch)(source, i, -BN_SPAN, buffer);
            j = BN_FN(seek)(BNFLOSS_F32, buffer, 0, z);
        }
        if (j < BN_GROUP)
            return i + j;
    }
    return -1;
}

/* ---- A group ------------------------------------------------------------ */

/* The saved exponentials of the row before, which become its gradients while
 * this chunk is summed (rows/pending.c draws it). */
typedef struct BN_FN(relay) {
    const bn_scaling *scaling;
    int64_t head;               /* how far gradients are ahead of the sums */
    float *in_place;            /* exps, where they are scaled in place, group
                                 * by group; else NULL, and a span ahead of the
                                 * exponentials that overwrite them */
    const float *prefetch;      /* exps, where they are to be prefetched */
    float factor, cutoff;
} BN_FN(relay);

/* What the groups of a chunk share. `general` and `dot` say which kernel it is
 * (kernel.h): constants where this is inlined. */
typedef struct BN_FN(pass) {
    bn_sums *sums;
    const bn_map *map;
    bn_v_table table;
    float *save;                /* where to save the exponentials, or NULL */
    const BN_FN(relay) *relay;  /* or NULL; never without save */
    int general, dot;
} BN_FN(pass);

/* The float lanes of the groups of one span. */
typedef struct BN_FN(lanes) {
    bn_v sum[BN_LANES / BN_VL], dot[BN_LANES / BN_VL];
    bn_v count[BN_LANES / BN_VL];
} BN_FN(lanes);

BN_INLINE BN_KERNEL void BN_FN(lanes_clear)(BN_FN(lanes) *lanes)
{
    for (int h = 0; h < BN_LANES / BN_VL; h++)
        lanes->sum[h] = lanes->dot[h] = lanes->count[h] = bn_v_set1(0);
}

/* Returns the exponentials of one vector, and in *d its x - ref. */
BN_INLINE BN_KERNEL bn_v BN_FN(term)(bn_v z, const BN_FN(pass) *pass, bn_v *d,
                                     BN_FN(lanes) *lanes, int h)
{
    bn_sums *sums = pass->sums;
    bn_v x, slope, e;
    bn_m in;

    if (pass->general)
        x = BN_FN(mapped)(z, pass->map, sums->origin, &slope);
    else
        x = bn_v_sub(z, bn_v_set1(sums->origin));
    in = bn_v_above(x, bn_v_set1(sums->underflow_at));
    e = bn_v_masked(in, BN_FN(exp_cold)(x, pass->table));
    if (pass->dot)
        *d = bn_v_masked(in, bn_v_sub(x, bn_v_set1(sums->ref)));
    if (pass->general) {    /* x may be -FLT_MAX: two would be too much for */
        const bn_m finite = bn_v_above(x, bn_v_set1(-BN_INF_F32)); /* a float */

        bn_v_widen_add(sums->sum_x + h * BN_VL,
                       bn_v_masked(finite,
                                   bn_v_sub(x, bn_v_set1(sums->ref))));
        lanes->count[h] = bn_v_add(lanes->count[h],
                                   bn_v_masked(finite, bn_v_set1(1)));
    }
    return e;
}

/* The same where the logit is its x, and no e^x is too small for a float. */
BN_INLINE BN_KERNEL bn_v BN_FN(unmasked_term)(bn_v x, const BN_FN(pass) *pass,
                                              bn_v *d)
{
    const bn_v e = BN_FN(exp)(x, pass->table);

    if (pass->dot)
        *d = bn_v_sub(x, bn_v_set1(pass->sums->ref));
    return e;
}

/* Adds a group to the lanes, and saves its exponentials at `save` if that is
 * not NULL. The four vectors are unrolled, so that they overlap. They are added
 * by a fixed tree. Their products are a chain of fused operations, a third
 * fewer than a tree has, whose latency hides behind the exponentials. */
BN_INLINE BN_KERNEL void BN_FN(group_sums)(const uint32_t type, const void *z,
                                           int64_t i, const BN_FN(pass) *pass,
                                           float *save, BN_FN(lanes) *lanes)
{
    for (int h = 0; h < BN_LANES / BN_VL; h++, i += BN_VL) {
        const bn_v z0 = BN_FN(read)(type, z, i);
        const bn_v z1 = BN_FN(read)(type, z, i + 16);
        const bn_v z2 = BN_FN(read)(type, z, i + 32);
        const bn_v z3 = BN_FN(read)(type, z, i + 48);
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
        lanes->sum[h] = bn_v_add(lanes->sum[h], bn_v_add(bn_v_add(e0, e1),
                                                         bn_v_add(e2, e3)));
        if (pass->dot) {
            const bn_v d = bn_v_fma(e1, d1, bn_v_fma(e0, d0, lanes->dot[h]));

            lanes->dot[h] = bn_v_fma(e3, d3, bn_v_fma(e2, d2, d));
        }
    }
}

/* Adds the float lanes to the double ones of the sums. */
BN_INLINE BN_KERNEL void BN_FN(flush)(const BN_FN(pass) *pass,
                                      const BN_FN(lanes) *lanes)
{
    for (int h = 0; h < BN_LANES / BN_VL; h++) {
        bn_v_widen_add(pass->sums->sum + h * BN_VL, lanes->sum[h]);
        if (pass->dot)
            bn_v_widen_add(pass->sums->dots + h * BN_VL, lanes->dot[h]);
        if (pass->general)
            bn_v_widen_add(pass->sums->finite + h * BN_VL, lanes->count[h]);
    }
}

/* ---- A block ------------------------------------------------------------ */

/* Sums the clean spans from index i to `to` - 1 and, where a block follows
 * theirs (`more`), takes the maximum of the spans there. `saving` is a
 * constant: whether pass->save is not NULL. */
BN_INLINE BN_KERNEL void BN_FN(clean_spans)(
    const uint32_t type, const int saving, const void *z, int64_t i,
    int64_t to, int more, const BN_FN(pass) *pass, BN_FN(top) *top)
{
    const BN_FN(relay) *relay = saving ? pass->relay : NULL;
    bn_prefetcher prefetcher = bn_prefetcher_at(type, z, i);

    while (i < to) {
        const int64_t end = i + BN_SPAN;
        BN_FN(lanes) lanes;

        /* out of place these may lie where the next ones are saved */
        if (relay && !relay->in_place)
            BN_FN(scale_range)(relay->scaling, i + relay->head,
                               end + relay->head);
        BN_FN(lanes_clear)(&lanes);
        for (; i < end; i += BN_GROUP) {
            if (more)
                BN_FN(group_max)(type, z, i + BN_BLOCK, top);
            bn_prefetch(type, &prefetcher);
            if (relay && relay->prefetch)
                bn_prefetch_saved(relay->prefetch, i);
            BN_FN(group_sums)(type, z, i, pass, saving ? pass->save + i : NULL,
                              &lanes);
            if (relay && relay->in_place)
                BN_FN(group_scale)(BNFLOSS_F32, 0, relay->in_place,
                                   relay->in_place, i, relay->factor,
                                   relay->cutoff);
        }
        BN_FN(flush)(pass, &lanes);
    }
}

/* Saves the leader's exponential, which a patched group lacks: its gradient
 * needs it unless it leads the whole row. (The label's gradient does not.) It
 * is never too small, since no leader is far below the power of the table. */
BN_KERNEL static void BN_FN(save_leader)(const bn_sums *sums,
                                         bn_v_table table, float *save)
{
    const bn_v x = bn_v_sub(bn_v_set1(sums->leader_z),
                            bn_v_set1(sums->origin));
    float e[BN_VL];

    bn_v_store_f32(e, BN_FN(exp_cold)(x, table));
    save[sums->leader_at] = e[0];
}

/* Sums any span, and takes the maximum of the one that lies a block ahead. */
BN_INLINE BN_KERNEL void BN_FN(any_span)(const BN_FN(source) *source,
                                         int64_t i, float *buffer,
                                         const BN_FN(pass) *pass,
                                         BN_FN(top) *top)
{
    const BN_FN(relay) *relay = pass->relay;
    bn_prefetcher prefetcher = bn_prefetcher_at(source->type, source->z, i);
    BN_FN(lanes) lanes;

    if (relay)
        BN_FN(scale_range)(relay->scaling, i + relay->head,
                           i + relay->head + BN_SPAN);
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

/* Returns where the run of clean spans from index i on ends, within the block
 * that ends at `end`. In these spans are neither label nor leader. A block
 * ahead of each is a whole span without the label, or nothing. */
BN_INLINE BN_KERNEL int64_t BN_FN(clean_end)(const BN_FN(source) *source,
                                             int64_t i, int64_t end)
{
    const int64_t whole = source->n / BN_SPAN * BN_SPAN;
    const int64_t last = whole - BN_BLOCK;
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

/* Sums the block from index i on. Returns the maximum of the block after it. */
BN_INLINE BN_KERNEL float BN_FN(block)(const BN_FN(source) *source, int64_t i,
                                       float *buffer, const BN_FN(pass) *pass)
{
    const int64_t end = source->n - i < BN_BLOCK ? source->n : i + BN_BLOCK;
    const int saving = !pass->general && pass->save;
    BN_FN(top) top;

    BN_FN(top_init)(source->type, &top);
    while (i < end) {
        const int more = i + BN_BLOCK < source->n;
        const int64_t to = pass->general && source->type != BNFLOSS_F32
                               ? i
                               : BN_FN(clean_end)(source, i, end);

        if (to == i) {
            BN_FN(any_span)(source, i, buffer, pass, &top);
            i += BN_SPAN;
            continue;
        }
#define SAVE(T) BN_FN(clean_spans)(T, 1, source->z, i, to, more, pass, &top)
#define SUM(T) BN_FN(clean_spans)(T, 0, source->z, i, to, more, pass, &top)
        if (saving)
            BN_WITH_TYPE(source->type, SAVE);
        else
            BN_WITH_TYPE(source->type, SUM);
#undef SAVE
#undef SUM
        i = to;
    }
    return BN_FN(largest)(source->type, &top);
}

/* ---- A chunk ------------------------------------------------------------ */

/* Returns the maximum of the first block, which no earlier block has taken. */
BN_INLINE BN_KERNEL float BN_FN(first_max)(const BN_FN(source) *source,
                                           float *buffer)
{
    BN_FN(top) top;

    BN_FN(top_init)(source->type, &top);
    for (int64_t i = 0; i < BN_BLOCK && i < source->n; i += BN_SPAN)
        BN_FN(span_max)(source, i, buffer, &top);
    return BN_FN(largest)(source->type, &top);
}

/* Starts on the saved exponentials of the row before. */
BN_INLINE BN_KERNEL void BN_FN(relay_begin)(const bn_scaling *scaling,
                                            BN_FN(relay) *relay)
{
    relay->scaling = scaling;
    relay->head = BN_FN(scale_head)(scaling);
    relay->in_place = scaling->grad == scaling->exps ? (float *)scaling->grad
                                                     : NULL;
    relay->prefetch = scaling->prefetch ? scaling->exps : NULL;
    relay->factor = (float)scaling->factor;
    relay->cutoff = (float)scaling->cutoff;
}

/* Looks for a leader in the block from index i on whose maximum is `top`.
 * Returns 0 if the row can have no softmax. */
BN_INLINE BN_KERNEL int BN_FN(lead)(BN_FN(source) *source, bn_sums *sums,
                                    const bn_map *map, float top, int64_t i,
                                    float *buffer)
{
    if (top > sums->leader_z) {
        source->leader = BN_FN(find)(source, top, i, buffer);
        if (source->leader < 0)     /* before i: a NaN hid it from one look */
            return 0;
        /* of 0 and -0, the one that is there */
        top = bn_get(source->type, source->z, source->leader);
        if (!bn_sums_lead(sums, map, top, source->leader))
            return 0;
    }
    if (!sums->started)
        bn_sums_start(sums, 0, 0);
    return 1;
}

BN_INLINE BN_KERNEL void BN_FN(chunk)(const bn_chunk *chunk, const bn_map *map,
                                      bnfloss_row *row, const int general,
                                      const int dot)
{
    bn_save *save = general ? NULL : chunk->save;
    bn_scaling *scaling = save ? save->relay : NULL;
    BN_FN(source) source;
    BN_FN(relay) relay;
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
    pass.save = save ? save->exps : NULL;
    pass.relay = NULL;
    pass.general = general;
    pass.dot = dot;
    if (scaling) {
        BN_FN(relay_begin)(scaling, &relay);
        pass.relay = &relay;
    }
    bn_sums_init(&sums, general, dot);
    top = BN_FN(first_max)(&source, buffer);
    for (int64_t i = 0; i < chunk->n; i += BN_BLOCK) {
        const int32_t power = sums.power;

        if (!BN_FN(lead)(&source, &sums, map, top, i, buffer)) {
            row->flags |= BNFLOSS_ROW_NAN;
            return;
        }
        if (pass.save && !bn_save_rebase(save, &sums, power, i)) {
            pass.save = NULL;
            pass.relay = NULL;
        }
        pass.table = bn_v_table_load(sums.table);
        top = BN_FN(block)(&source, i, buffer, &pass);
        if (pass.relay)
            scaling->done = i + BN_BLOCK < chunk->n - relay.head
                                ? i + BN_BLOCK + relay.head
                                : chunk->n;
    }
    if (pass.save)
        save->n = chunk->n;
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
