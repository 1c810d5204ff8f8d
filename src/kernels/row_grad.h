/* The backward sweep for one type of gradient: row.h includes this with
 *
 *     GRAD        f32, bf16 or f16
 *     GELEM       its storage
 */
#define GNAME(op) FN(PASTE(PASTE(op, PASTE(_, TYPE)), PASTE(_, GRAD)))

/* Stores a vector of gradients, or adds it to what is there. */
BN_INLINE KERNEL void GNAME(put)(GELEM *to, v x, int accumulate)
{
    if (accumulate) {
        x = v_add(PASTE(v_load_, GRAD)(to), x);
        x = v_select(v_above(x, v_set1(BN_INF_F32)), v_set1(BN_NAN_F32), x);
    }
    PASTE(v_store_, GRAD)(to, x);
}

/* Gradients of n logits, in place or not. The label's own is the caller's. */
BN_INLINE KERNEL void GNAME(sweep)(const void *logits, void *grad, int64_t n,
                                   const bn_coefficients *k,
                                   const bn_map *map, bn_prefetches ahead,
                                   const int general)
{
    const ELEM *z = (const ELEM *)logits;
    GELEM *out = (GELEM *)grad;
    const v_table table = v_table_load(k->table);
    ELEM zbuf[BN_GROUP];
    GELEM gbuf[BN_GROUP];

    for (int64_t g = 0; g < n; g += BN_GROUP) {
        const int whole = n - g >= BN_GROUP;
        const ELEM *from = whole ? z + g : zbuf;
        GELEM *to = whole ? out + g : gbuf;

        bn_prefetch(&ahead, g / BN_GROUP);
        if (BN_UNLIKELY(!whole)) {
            NAME(patch)(zbuf, z + g, n - g, -1, -1);
            memset(gbuf, 0, sizeof gbuf);
            if (k->accumulate)
                memcpy(gbuf, out + g, (size_t)(n - g) * sizeof *gbuf);
        }
        for (int h = 0; h < BN_LANES; h += VL) {
            const ELEM *y = from + h;
            const v g0 = NAME(gradient)(LOAD(y), k, map, table, general);
            const v g1 = NAME(gradient)(LOAD(y + 16), k, map, table, general);
            const v g2 = NAME(gradient)(LOAD(y + 32), k, map, table, general);
            const v g3 = NAME(gradient)(LOAD(y + 48), k, map, table, general);

            GNAME(put)(to + h, g0, k->accumulate);
            GNAME(put)(to + h + 16, g1, k->accumulate);
            GNAME(put)(to + h + 32, g2, k->accumulate);
            GNAME(put)(to + h + 48, g3, k->accumulate);
        }
        if (BN_UNLIKELY(!whole))
            memcpy(out + g, gbuf, (size_t)(n - g) * sizeof *gbuf);
    }
}

KERNEL static void GNAME(backward)(const void *z, void *grad, int64_t n,
                                   const bn_coefficients *k,
                                   const bn_map *map, bn_prefetches ahead)
{
    GNAME(sweep)(z, grad, n, k, map, ahead, 0);
}

KERNEL static void GNAME(backward_general)(const void *z, void *grad,
                                           int64_t n,
                                           const bn_coefficients *k,
                                           const bn_map *map,
                                           bn_prefetches ahead)
{
    GNAME(sweep)(z, grad, n, k, map, ahead, 1);
}

#undef GNAME
#undef GRAD
#undef GELEM
