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
/* How far to prefetch, in bytes; found by trying. */
#ifndef BN_AHEAD
#define BN_AHEAD 16384
#endif

#define LOAD PASTE(v_load_, TYPE)
#define NAME(op) FN(PASTE(op, PASTE(_, TYPE)))

/* A copy of a group's first n logits, -inf in the other places and at the
 * two given ones: how label, leader and what lies beyond the row stay out. */
static void NAME(patch)(ELEM *buffer, const ELEM *z, int64_t n,
                        int64_t skip1, int64_t skip2)
{
    const ELEM masked = PASTE(bn_masked_, TYPE)();

    for (int64_t i = 0; i < BN_GROUP; i++)
        buffer[i] = i < n && i != skip1 && i != skip2 ? z[i] : masked;
}

/* What one pass over a chunk knows. */
typedef struct NAME(pass) {
    const ELEM *z;
    int64_t n, label, leader;
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

/* Asks for the group BN_AHEAD bytes on: the end of this row or the start of
 * the next. */
BN_INLINE void NAME(prefetch)(const ELEM *z)
{
    for (size_t i = 0; i < BN_GROUP * sizeof *z; i += 64)
        BN_PREFETCH((const char *)z + BN_AHEAD + i);
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

/* Adds a group to the float lanes. general: scale, softcap, smoothing; dot:
 * the entropy's sum. Both are constants where this is inlined. */
BN_INLINE KERNEL void NAME(group_sums)(
    const ELEM *y, const bn_sums *s, const bn_map *map, v_table table,
    const int general, const int dot, v *sum, v *dots, v *shift, v *count)
{
    const v origin = v_set1(s->origin), low = v_set1(s->low);
    const v ref = v_set1(s->ref), one = v_set1(1);

    for (int h = 0; h < BN_LANES / VL; h++) {
        v e[4], d[4];

        for (int i = 0; i < 4; i++) {
            const v z = LOAD(y + h * VL + i * BN_LANES);
            v x, lo, slope;
            m in;

            if (general)
                x = NAME(mapped)(z, map, s->origin, &lo, &slope);
            else
                x = v_sub(z, origin);
            in = v_above(x, low);
            e[i] = v_keep(in, FN(exp)(x, table));
            if (general)        /* e^(x + lo), lo tiny */
                e[i] = v_fma(e[i], v_keep(in, lo), e[i]);
            if (dot)
                d[i] = v_mul(e[i], v_keep(in, v_sub(x, ref)));
            if (general) {
                const m f = v_above(x, v_set1(-BN_INF_F32));

                shift[h] = v_add(shift[h], v_keep(f, v_sub(x, ref)));
                count[h] = v_add(count[h], v_keep(f, one));
            }
        }
        sum[h] = v_add(sum[h], v_add(v_add(e[0], e[1]), v_add(e[2], e[3])));
        if (dot)
            dots[h] = v_add(dots[h],
                            v_add(v_add(d[0], d[1]), v_add(d[2], d[3])));
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
        v sum[BN_LANES / VL], dots[BN_LANES / VL];
        v shift[BN_LANES / VL], count[BN_LANES / VL];

        for (int h = 0; h < BN_LANES / VL; h++)
            sum[h] = dots[h] = shift[h] = count[h] = v_set1(0);
        for (int64_t i = g; i < g + BN_FLUSH && i < last; i++) {
            NAME(group_sums)(NAME(group)(p, i, p->leader, p->here), s, map,
                             table, general, dot, sum, dots, shift, count);
            NAME(prefetch)(p->z + i * BN_GROUP);
            if (i + BN_BLOCK < groups)
                NAME(group_max)(NAME(group)(p, i + BN_BLOCK, -1, p->ahead),
                                max);
        }
        for (int h = 0; h < BN_LANES / VL; h++) {
            v_widen_add(s->sum + h * VL, sum[h]);
            if (dot)
                v_widen_add(s->dot + h * VL, dots[h]);
            if (general) {
                v_widen_add(s->shift + h * VL, shift[h]);
                v_widen_add(s->finite + h * VL, count[h]);
            }
        }
    }
    return NAME(largest)(max);
}

/* n logits into the sums of *row, whose label, if it is among them, is at
 * index `label`, else -1. */
BN_INLINE KERNEL void NAME(chunk)(const void *logits, int64_t n, int64_t label,
                                  const bn_map *map, bnfloss_row *row,
                                  const int general, const int dot)
{
    const int64_t blocks = (n + BN_GROUP * BN_BLOCK - 1) / (BN_GROUP * BN_BLOCK);
    NAME(pass) p;
    bn_sums s;
    v max[BN_LANES / VL];
    float top;

    p.z = (const ELEM *)logits;
    p.n = n;
    p.label = label < 0 ? -BN_GROUP : label;
    p.leader = -BN_GROUP;
    bn_sums_init(&s);
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
        top = NAME(block)(&p, &s, map, b, general, dot);
    }
    bn_sums_finish(&s, row);
}

KERNEL static void NAME(forward)(const void *z, int64_t n, int64_t label,
                                 const bn_map *map, bnfloss_row *row)
{
    NAME(chunk)(z, n, label, map, row, 0, 0);
}

KERNEL static void NAME(forward_dot)(const void *z, int64_t n, int64_t label,
                                     const bn_map *map, bnfloss_row *row)
{
    NAME(chunk)(z, n, label, map, row, 0, 1);
}

KERNEL static void NAME(forward_general)(const void *z, int64_t n,
                                         int64_t label, const bn_map *map,
                                         bnfloss_row *row)
{
    NAME(chunk)(z, n, label, map, row, 1, 1);
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
