/* One chunk of a row, forward and backward: the algorithm, once.
 *
 * An ISA page defines its words (see scalar.c, which defines what they mean)
 * and includes this file once per type of logits, with
 *
 *     TYPE        f32, bf16 or f16
 *     ELEM        its storage, float or uint16_t
 *
 * Sixteen virtual lanes on every ISA: a page with VL lanes a vector runs
 * 16 / VL vectors side by side, so the sums have one order and one value
 * everywhere. */
#define LOAD PASTE(v_load_, TYPE)
#define NAME(op) FN(PASTE(op, PASTE(_, TYPE)))

/* A copy of a group's first n logits, -inf in the other places and at the
 * two given ones: how label, leader and what lies beyond the row stay out. */
static void NAME(patch)(ELEM *buffer, const ELEM *z, int64_t n,
                        int64_t skip1, int64_t skip2)
{
    const ELEM masked = PASTE(bn_masked_, TYPE)();

    if (n >= BN_GROUP) {
        memcpy(buffer, z, BN_GROUP * sizeof *z);
    } else {
        memcpy(buffer, z, (size_t)n * sizeof *z);
        for (int64_t i = n; i < BN_GROUP; i++)
            buffer[i] = masked;
    }
    if ((uint64_t)skip1 < BN_GROUP)
        buffer[skip1] = masked;
    if ((uint64_t)skip2 < BN_GROUP)
        buffer[skip2] = masked;
}

/* What one pass over a chunk knows. */
typedef struct NAME(pass) {
    const ELEM *z;
    int64_t n, label, leader;
    bn_prefetches prefetches;
    ELEM here[BN_GROUP], ahead[BN_GROUP];
} NAME(pass);

/* Group g, patched into the buffer where it has something to hide. */
BN_INLINE const ELEM *NAME(group)(const NAME(pass) *p, int64_t g,
                                  int64_t leader, ELEM *buffer)
{
    const ELEM *z = p->z + g * BN_GROUP;
    const int64_t n = p->n - g * BN_GROUP;
    const int64_t label = p->label - g * BN_GROUP;

    leader -= g * BN_GROUP;
    if (BN_UNLIKELY(n < BN_GROUP || (uint64_t)label < BN_GROUP
                    || (uint64_t)leader < BN_GROUP)) {
        NAME(patch)(buffer, z, n, label, leader);
        return buffer;
    }
    return z;
}

/* max[lane] = the largest seen there; NaN is not looked at, the sums see it */
BN_INLINE KERNEL void NAME(group_max)(const ELEM *z, v *max)
{
    for (int h = 0; h < BN_LANES / VL; h++) {
        const ELEM *y = z + h * VL;
        const v a = v_max(LOAD(y), LOAD(y + 16));
        const v b = v_max(LOAD(y + 32), LOAD(y + 48));

        max[h] = v_max(a, v_max(b, max[h]));
    }
}

BN_INLINE KERNEL float NAME(largest)(const v *max)
{
    float lane[BN_LANES];

    for (int h = 0; h < BN_LANES / VL; h++)
        v_store_f32(lane + h * VL, max[h]);
    for (int w = 8; w > 0; w /= 2)
        for (int i = 0; i < w; i++)
            lane[i] = lane[i] > lane[i + w] ? lane[i] : lane[i + w];
    return lane[0];
}

/* The first place at or after `from` where the chunk holds z, label apart. */
BN_INLINE KERNEL int64_t NAME(find)(const NAME(pass) *p, float z, int64_t from)
{
    ELEM buffer[BN_GROUP];

    for (int64_t g = from / BN_GROUP; g * BN_GROUP < p->n; g++) {
        const ELEM *y = NAME(group)(p, g, -1, buffer);

        for (int i = 0; i < BN_GROUP; i += VL) {
            if (v_any_equal(LOAD(y + i), v_set1(z))) {
                while (!(PASTE(bn_from_, TYPE)(y[i]) == z))
                    i++;
                return g * BN_GROUP + i;
            }
        }
    }
    return -1;
}

/* A logit's x, -inf where it is masked; low: what the reduction needs to be
 * exact under a scale, the rounding error of scale * z; slope: dz'/dz.
 * A softcap is at most BN_FAR, so that it never has an origin. */
BN_INLINE KERNEL v NAME(mapped)(v z, const bn_map *map, float origin,
                                v *low, v *slope)
{
    const m finite = v_above(z, v_set1(-BN_INF_F32));
    v x;

    *low = v_set1(0);
    *slope = v_set1(map->scale);
    if (map->softcap > 0) {
        v sech2;
        const v t = FN(tanh)(v_mul(z, v_set1(map->inner)),
                             v_table_load(map->unit), &sech2);

        x = v_mul(t, v_set1(map->softcap));
        *slope = v_mul(*slope, sech2);
    } else if (origin != 0) {
        x = v_mul(v_sub(z, v_set1(origin)), v_set1(map->scale));
    } else {
        x = v_mul(z, v_set1(map->scale));
        *low = v_fma(z, v_set1(map->scale), v_sub(v_set1(0), x));
    }
    return v_select(finite, x, v_set1(-BN_INF_F32));
}

/* The float lanes of a few groups. */
typedef struct NAME(lanes) {
    v sum[BN_LANES / VL], dot[BN_LANES / VL];
    v shift[BN_LANES / VL], count[BN_LANES / VL];
} NAME(lanes);

/* One vector's exponentials, and in *d e (x - ref). general: scale, softcap,
 * smoothing; dot: the entropy's sum. Both are constants where this is
 * inlined. */
BN_INLINE KERNEL v NAME(term)(v z, const bn_sums *s, const bn_map *map,
                              v_table table, const int general, const int dot,
                              v *d, NAME(lanes) *lanes, int h)
{
    v x, low = z, slope, e;
    m in;

    if (general)
        x = NAME(mapped)(z, map, s->origin, &low, &slope);
    else
        x = v_sub(z, v_set1(s->origin));
    in = v_above(x, v_set1(s->low));
    e = v_keep(in, FN(exp)(x, table));
    if (general)            /* e^(x + low), low tiny */
        e = v_fma(e, v_keep(in, low), e);
    if (dot)
        *d = v_mul(e, v_keep(in, v_sub(x, v_set1(s->ref))));
    if (general) {
        const m f = v_above(x, v_set1(-BN_INF_F32));
        const v gap = v_keep(f, v_sub(x, v_set1(s->ref)));

        lanes->shift[h] = v_add(lanes->shift[h], gap);
        lanes->count[h] = v_add(lanes->count[h], v_keep(f, v_set1(1)));
    }
    return e;
}

/* Adds a group to the lanes: four vectors by a fixed tree, in the open so
 * that they overlap. */
BN_INLINE KERNEL void NAME(group_sums)(
    const ELEM *z, const bn_sums *s, const bn_map *map, v_table table,
    const int general, const int dot, NAME(lanes) *lanes)
{
    for (int h = 0; h < BN_LANES / VL; h++) {
        const ELEM *y = z + h * VL;
        v d0, d1, d2, d3;
        const v e0 = NAME(term)(LOAD(y), s, map, table, general, dot,
                                &d0, lanes, h);
        const v e1 = NAME(term)(LOAD(y + 16), s, map, table, general, dot,
                                &d1, lanes, h);
        const v e2 = NAME(term)(LOAD(y + 32), s, map, table, general, dot,
                                &d2, lanes, h);
        const v e3 = NAME(term)(LOAD(y + 48), s, map, table, general, dot,
                                &d3, lanes, h);

        lanes->sum[h] = v_add(lanes->sum[h],
                              v_add(v_add(e0, e1), v_add(e2, e3)));
        if (dot)
            lanes->dot[h] = v_add(lanes->dot[h],
                                  v_add(v_add(d0, d1), v_add(d2, d3)));
    }
}

/* Empties the lanes into the double ones of *s. */
BN_INLINE KERNEL void NAME(flush)(bn_sums *s, const NAME(lanes) *lanes,
                                  const int general, const int dot)
{
    for (int h = 0; h < BN_LANES / VL; h++) {
        v_widen_add(s->sum + h * VL, lanes->sum[h]);
        if (dot)
            v_widen_add(s->dots + h * VL, lanes->dot[h]);
        if (general) {
            v_widen_add(s->shift + h * VL, lanes->shift[h]);
            v_widen_add(s->finite + h * VL, lanes->count[h]);
        }
    }
}

/* Sums block b and, on the way, takes the maximum of block b + 1, so that
 * memory is read a block before it is needed. */
BN_INLINE KERNEL float NAME(block)(NAME(pass) *p, bn_sums *s,
                                   const bn_map *map, int64_t b,
                                   const int general, const int dot)
{
    const int64_t groups = (p->n + BN_GROUP - 1) / BN_GROUP;
    const int64_t last = groups < (b + 1) * BN_BLOCK ? groups
                                                     : (b + 1) * BN_BLOCK;
    const v_table table = v_table_load(s->table);
    v max[BN_LANES / VL];

    for (int h = 0; h < BN_LANES / VL; h++)
        max[h] = v_set1(-BN_INF_F32);
    for (int64_t g = b * BN_BLOCK; g < last; g += BN_FLUSH) {
        NAME(lanes) lanes;

        for (int h = 0; h < BN_LANES / VL; h++)
            lanes.sum[h] = lanes.dot[h] = lanes.shift[h] = lanes.count[h]
                = v_set1(0);
        for (int64_t i = g; i < g + BN_FLUSH && i < last; i++) {
            NAME(group_sums)(NAME(group)(p, i, p->leader, p->here), s, map,
                             table, general, dot, &lanes);
            bn_prefetch(&p->prefetches, i);
            if (i + BN_BLOCK < groups)
                NAME(group_max)(NAME(group)(p, i + BN_BLOCK, -1, p->ahead),
                                max);
        }
        NAME(flush)(s, &lanes, general, dot);
    }
    return NAME(largest)(max);
}

/* n logits into the sums of *row, whose label, if it is among them, is at
 * index `label`, else -1. */
BN_INLINE KERNEL void NAME(chunk)(const void *logits, int64_t n, int64_t label,
                                  const bn_map *map, bn_prefetches prefetches,
                                  bnfloss_row *row, const int general,
                                  const int dot)
{
    const int64_t blocks = (n + BN_GROUP * BN_BLOCK - 1) / (BN_GROUP * BN_BLOCK);
    NAME(pass) p;
    bn_sums s;
    v max[BN_LANES / VL];
    float top;

    p.z = (const ELEM *)logits;
    p.n = n;
    p.prefetches = prefetches;
    p.label = label < 0 ? -BN_GROUP : label;
    p.leader = -BN_GROUP;
    bn_sums_init(&s, general, dot);
    for (int h = 0; h < BN_LANES / VL; h++)
        max[h] = v_set1(-BN_INF_F32);
    for (int64_t g = 0; g < BN_BLOCK && g * BN_GROUP < n; g++)
        NAME(group_max)(NAME(group)(&p, g, -1, p.ahead), max);
    top = NAME(largest)(max);
    for (int64_t b = 0; b < blocks; b++) {
        if (top > s.leader_z) {
            p.leader = NAME(find)(&p, top, b * BN_BLOCK * BN_GROUP);
            if (!bn_sums_lead(&s, map, top, p.leader)) {
                row->flags |= BNFLOSS_ROW_NAN;
                return;
            }
        }
        if (!s.started)
            bn_sums_reference(&s, 0, 0);
        top = NAME(block)(&p, &s, map, b, general, dot);
    }
    bn_sums_finish(&s, row);
}

KERNEL static void NAME(forward)(const void *z, int64_t n, int64_t label,
                                 const bn_map *map, bn_prefetches ahead,
                                 bnfloss_row *row)
{
    NAME(chunk)(z, n, label, map, ahead, row, 0, 0);
}

KERNEL static void NAME(forward_dot)(const void *z, int64_t n, int64_t label,
                                     const bn_map *map, bn_prefetches ahead,
                                     bnfloss_row *row)
{
    NAME(chunk)(z, n, label, map, ahead, row, 0, 1);
}

KERNEL static void NAME(forward_general)(const void *z, int64_t n, int64_t label,
                                         const bn_map *map, bn_prefetches ahead,
                                         bnfloss_row *row)
{
    NAME(chunk)(z, n, label, map, ahead, row, 1, 1);
}

/* One vector's gradient. */
BN_INLINE KERNEL v NAME(gradient)(v z, const bn_coefficients *k,
                                  const bn_map *map, v_table table,
                                  const int general)
{
    v x, lo, slope, g;
    m in;

    if (!general) {
        x = v_sub(z, v_set1(k->origin));
        return v_keep(v_above(x, v_set1(k->low)), FN(exp)(x, table));
    }
    x = NAME(mapped)(z, map, k->origin, &lo, &slope);
    in = v_above(x, v_set1(k->low));
    g = v_keep(in, FN(exp)(x, table));
    g = v_mul(v_fma(g, v_keep(in, lo), g), v_set1(k->post));
    g = v_add(g, v_set1(k->uniform));
    return v_keep(v_above(x, v_set1(-BN_INF_F32)), v_mul(g, slope));
}

#define GRAD f32
#define GELEM float
#include "row_grad.h"
#define GRAD bf16
#define GELEM uint16_t
#include "row_grad.h"
#define GRAD f16
#define GELEM uint16_t
#include "row_grad.h"

#undef LOAD
#undef NAME
#undef TYPE
#undef ELEM
