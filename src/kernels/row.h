/* One chunk of a row: the algorithm, once. Here is what its parts share;
 * forward.h makes the sums, kept.h and backward.h the gradients.
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

/* ---- Vectors ------------------------------------------------------------ */

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

/* Whether four vectors are above a bound: one comparison for all. A NaN may be
 * taken for anything. */
BN_INLINE KERNEL int FN(all_above)(v a, v b, v c, v d, float bound)
{
    return v_all_above(v_min(v_min(a, b), v_min(c, d)), v_set1(bound));
}
