/* What forward.h, backward.h and scale_saved.h share: groups of 64 logits, read
 * and written as vectors.
 *
 * This file is compiled once for each instruction set, over its operations
 * (scalar.c defines what they mean). There are sixteen virtual lanes on every
 * one: where a vector has BN_VL lanes, 16 / BN_VL of them run side by side. So
 * sums have one order and one value everywhere.
 *
 * Logits are read where they are, whatever their type. Only a group that needs
 * a patch (the label, the leader, the end of the chunk, a type that is not the
 * gradients') goes through a buffer of floats on the stack. */

/* Expands to CALL(T) with the element type T as a constant. */
#ifndef BN_WITH_TYPE
#define BN_WITH_TYPE(type, CALL)                                              \
    ((type) == BNFLOSS_F32    ? CALL(BNFLOSS_F32)                             \
     : (type) == BNFLOSS_BF16 ? CALL(BNFLOSS_BF16)                            \
                              : CALL(BNFLOSS_F16))
#endif

/* ---- Reading and writing ------------------------------------------------ */

/* Returns BN_VL elements from index i on as floats. The type is a constant
 * where this is inlined. */
BN_INLINE BN_KERNEL bn_v BN_FN(read)(const uint32_t type, const void *z,
                                     int64_t i)
{
    if (type == BNFLOSS_F32)
        return bn_v_load_f32((const float *)z + i);
    if (type == BNFLOSS_BF16)
        return bn_v_load_bf16((const uint16_t *)z + i);
    return bn_v_load_f16((const uint16_t *)z + i);
}

/* Writes BN_VL elements from index i on. */
BN_INLINE BN_KERNEL void BN_FN(write)(const uint32_t type, void *z, int64_t i,
                                      bn_v x)
{
    if (type == BNFLOSS_F32)
        bn_v_store_f32((float *)z + i, x);
    else if (type == BNFLOSS_BF16)
        bn_v_store_bf16((uint16_t *)z + i, x);
    else
        bn_v_store_f16((uint16_t *)z + i, x);
}

/* Writes two vectors, one after the other. */
BN_INLINE BN_KERNEL void BN_FN(write2)(const uint32_t type, void *z, int64_t i,
                                       bn_v x, bn_v y)
{
    if (type == BNFLOSS_BF16) {
        bn_v_store2_bf16((uint16_t *)z + i, x, y);
    } else {
        BN_FN(write)(type, z, i, x);
        BN_FN(write)(type, z, i + BN_VL, y);
    }
}

/* Returns BN_VL elements from index i on, of a type that is no constant. */
BN_INLINE BN_KERNEL bn_v BN_FN(read_any)(uint32_t type, const void *z,
                                         int64_t i)
{
#define READ(T) BN_FN(read)(T, z, i)
    return BN_WITH_TYPE(type, READ);
#undef READ
}

/* ---- Groups ------------------------------------------------------------- */

/* The logits of a chunk, and the two that its sums leave out. */
typedef struct BN_FN(source) {
    const void *z;
    uint32_t type;
    int64_t n;
    int64_t label, leader;      /* indices; -BN_SPAN where there is none */
} BN_FN(source);

/* Returns whether the n logits from index i on all count. */
BN_INLINE BN_KERNEL int BN_FN(is_clean)(const BN_FN(source) *source, int64_t i,
                                        int64_t n, int64_t leader)
{
    return source->n - i >= n && (uint64_t)(source->label - i) >= (uint64_t)n
           && (uint64_t)(leader - i) >= (uint64_t)n;
}

/* Converts a group of any type to floats. */
BN_KERNEL static void BN_FN(widen)(uint32_t type, const void *z, int64_t i,
                                   float *group)
{
    for (int j = 0; j < BN_GROUP; j += BN_VL)
        bn_v_store_f32(group + j, BN_FN(read_any)(type, z, i + j));
}

/* Converts the group from index i on to floats, with -inf for the label, the
 * leader and what lies beyond the n logits. It stores whole vectors, once: to
 * load a vector over the store of one element would take long. It is not
 * inlined, since a chunk needs it once or twice, and its buffers need not lie
 * on the stack of every caller. */
BN_NOINLINE BN_KERNEL static void BN_FN(patch)(const BN_FN(source) *source,
                                               int64_t i, int64_t leader,
                                               float *group)
{
    const size_t size = bn_type_size(source->type);
    const float *label_mark = bn_marks(bn_one_hot, source->label - i);
    const float *leader_mark = bn_marks(bn_one_hot, leader - i);
    const float *inside = bn_marks(bn_inside, source->n - i);
    const void *z = (const char *)source->z + (size_t)i * size;
    float wide[BN_GROUP];
    bn_raw raw;

    if (source->n - i < BN_GROUP) {
        for (int j = 0; j < BN_GROUP; j += BN_VL)
            bn_v_store_f32(raw.f32 + j, bn_v_set1(0));
        memcpy(&raw, z, (size_t)(source->n - i) * size);
        z = &raw;
    }
    if (source->type != BNFLOSS_F32) {
        BN_FN(widen)(source->type, z, 0, wide);
        z = wide;
    }
    for (int j = 0; j < BN_GROUP; j += BN_VL) {
        const bn_v marks = bn_v_add(bn_v_load_f32(label_mark + j),
                                    bn_v_load_f32(leader_mark + j));
        const bn_m counts = bn_v_above(bn_v_load_f32(inside + j), marks);

        bn_v_store_f32(group + j,
                       bn_v_select(counts, BN_FN(read)(BNFLOSS_F32, z, j),
                                   bn_v_set1(-BN_INF_F32)));
    }
}

/* Returns the group from index i on as floats: the logits themselves where
 * that is what they are, else the buffer, which it fills. */
BN_INLINE BN_KERNEL const float *BN_FN(fetch)(const BN_FN(source) *source,
                                              int64_t i, int64_t leader,
                                              float *buffer)
{
    const int clean = BN_FN(is_clean)(source, i, BN_GROUP, leader);

    if (clean && source->type == BNFLOSS_F32)
        return (const float *)source->z + i;
    if (clean)
        BN_FN(widen)(source->type, source->z, i, buffer);
    else
        BN_FN(patch)(source, i, leader, buffer);
    return buffer;
}

/* ---- Vectors ------------------------------------------------------------ */

/* Returns the x of logits, -inf where they are masked; *slope is dz'/dz. */
BN_INLINE BN_KERNEL bn_v BN_FN(mapped)(bn_v z, const bn_map *map, float origin,
                                       bn_v *slope)
{
    const bn_v scale = bn_v_set1(map->scale);
    bn_v x, sech2;

    if (map->softcap > 0) {
        x = BN_FN(tanh)(bn_v_mul(z, bn_v_set1(map->tanh_scale)),
                        bn_v_table_load(map->unit), &sech2);
        x = bn_v_mul(x, bn_v_set1(map->softcap));
        *slope = bn_v_mul(scale, sech2);
    } else {
        x = bn_v_mul(bn_v_sub(z, bn_v_set1(origin)), scale);
        *slope = scale;
    }
    return bn_v_select(bn_v_above(z, bn_v_set1(-BN_INF_F32)), x,
                       bn_v_set1(-BN_INF_F32));
}

/* Returns whether four vectors are above a bound. It takes one comparison for
 * all of them: comparisons compete with the multiplications for the same
 * units, and a minimum does not. A NaN may be taken for anything. */
BN_INLINE BN_KERNEL int BN_FN(all_above)(bn_v a, bn_v b, bn_v c, bn_v d,
                                         float bound)
{
    return bn_v_all_above(bn_v_min(bn_v_min(a, b), bn_v_min(c, d)),
                          bn_v_set1(bound));
}
