/* The backward sweep for one type of gradient: row.h includes this with
 *
 *     GRAD        f32, bf16 or f16
 *     GELEM       its storage
 */
#define GNAME(op) FN(PASTE(PASTE(op, PASTE(_, TYPE)), PASTE(_, GRAD)))

/* Gradients of n logits, in place or not. The label's own is the caller's. */
BN_INLINE KERNEL void GNAME(sweep)(const void *logits, void *grad, int64_t n,
                                   const bn_coefficients *k,
                                   const bn_map *map, const int general)
{
    const ELEM *z = (const ELEM *)logits;
    GELEM *out = (GELEM *)grad;
    const v_table table = v_table_load(k->table);
    const v inf = v_set1(BN_INF_F32), nan = v_set1(BN_NAN_F32);
    ELEM zbuf[BN_GROUP];
    GELEM gbuf[BN_GROUP];

    for (int64_t g = 0; g < n; g += BN_GROUP) {
        const int whole = n - g >= BN_GROUP;
        const ELEM *from = whole ? z + g : zbuf;
        GELEM *to = whole ? out + g : gbuf;

        if (BN_UNLIKELY(!whole)) {
            NAME(patch)(zbuf, z + g, n - g, -1, -1);
            memset(gbuf, 0, sizeof gbuf);
            if (k->accumulate)
                memcpy(gbuf, out + g, (size_t)(n - g) * sizeof *gbuf);
        }
        for (int i = 0; i < BN_GROUP; i += VL) {
            v x = NAME(gradient)(LOAD(from + i), k, map, table, general);

            if (k->accumulate) {
                x = v_add(PASTE(v_load_, GRAD)(to + i), x);
                x = v_select(v_above(x, inf), nan, x);
            }
            PASTE(v_store_, GRAD)(to + i, x);
        }
        if (BN_UNLIKELY(!whole))
            memcpy(out + g, gbuf, (size_t)(n - g) * sizeof *gbuf);
    }
}

KERNEL static void GNAME(backward)(const void *z, void *grad, int64_t n,
                                   const bn_coefficients *k, const bn_map *map)
{
    GNAME(sweep)(z, grad, n, k, map, 0);
}

KERNEL static void GNAME(backward_general)(const void *z, void *grad,
                                           int64_t n,
                                           const bn_coefficients *k,
                                           const bn_map *map)
{
    GNAME(sweep)(z, grad, n, k, map, 1);
}

#undef GNAME
#undef GRAD
#undef GELEM
