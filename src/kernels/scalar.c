/* The scalar kernels: plain C, a vector of one lane. This file defines, bit for
 * bit, what each operation of the other instruction sets means, and it runs
 * where they cannot. */
#define BN_ISA scalar
#define BN_KERNEL

#define BN_VL 1                         /* lanes in a vector */
#define bn_v float                      /* a vector */
#define bn_m int                        /* a mask */
#define bn_v_table bn_exp_table         /* the exponential's eight entries */

typedef struct bn_exp_table { uint32_t entry[8]; } bn_exp_table;

BN_INLINE bn_exp_table bn_exp_table_load(const uint32_t *p)
{
    bn_exp_table t;
    memcpy(&t, p, sizeof t);
    return t;
}

/* Loads and stores. p need not be aligned, but for the non-temporal store,
 * which goes past the caches. store2_bf16 takes numbers that are not
 * denormal. */
#define bn_v_set1(x) (x)
#define bn_v_load_f32(p) (*(p))
#define bn_v_load_bf16(p) bn_from_bf16(*(p))
#define bn_v_load_f16(p) bn_from_f16(*(p))
#define bn_v_store_f32(p, x) (*(p) = (x))
#define bn_v_store_bf16(p, x) (*(p) = bn_to_bf16(x))
#define bn_v_store2_bf16(p, x, y)                                             \
    ((p)[0] = bn_to_bf16(x), (p)[1] = bn_to_bf16(y))
#define bn_v_store_f16(p, x) (*(p) = bn_to_f16(x))
#define bn_v_store_nt_f32(p, x) (*(p) = (x))
#define bn_v_fence() ((void)0)          /* orders non-temporal stores */
#define bn_v_leave() ((void)0)          /* before plain code: see sums.c */

/* Arithmetic. An operation on NaN gives a NaN, but for max and min. */
#define bn_v_add(a, b) ((a) + (b))
#define bn_v_sub(a, b) ((a) - (b))
#define bn_v_mul(a, b) ((a) * (b))
#define bn_v_div(a, b) ((a) / (b))
#define bn_v_fma(a, b, c) bn_fma(a, b, c) /* a b + c, rounded once */
#define bn_v_max(a, b) bn_max(a, b)
#define bn_v_min(a, b) bn_min(a, b)

/* Comparisons and masks. `above` is true if a or b is NaN. */
#define bn_v_above(a, b) (!((a) <= (b)))
#define bn_v_masked(k, a) ((k) ? (a) : 0.0f)
#define bn_v_select(k, a, b) ((k) ? (a) : (b))
#define bn_v_any_equal(a, b) ((a) == (b)) /* in any lane */
#define bn_v_all_above(a, b) (!((a) <= (b)))    /* in all */

#define bn_v_widen_add(p, x) (*(p) += (double)(x))  /* VL doubles at p */
#define bn_v_table_load(p) bn_exp_table_load(p)

/* These return b if a or b is NaN. */
BN_INLINE float bn_max(float a, float b) { return a > b ? a : b; }
BN_INLINE float bn_min(float a, float b) { return a < b ? a : b; }

/* Returns the float whose bits are entry[t mod 8] + (t << 20), where t is
 * taken as bits: 2^(N/8) times the table's factor, see exp.h. */
BN_INLINE float bn_exp_table_pow2(const bn_exp_table *table, float t)
{
    const uint32_t bits = bn_bits_of(t);

    return bn_float_of(table->entry[bits & 7] + (bits << 20));
}
#define bn_v_pow2(table, t) bn_exp_table_pow2(&(table), t)

/* 16-bit integers: the maximum of 16-bit logits is taken without converting
 * them, see forward.h. */
#define BN_UL 1                         /* lanes in a vector of u16 */
#define bn_vu uint16_t                  /* a vector of u16 */
#define bn_u_set1(x) (x)
#define bn_u_load(p) (*(p))
#define bn_u_store(p, x) (*(p) = (x))
#define bn_u_max_signed(a, b) ((int16_t)(a) > (int16_t)(b) ? (a) : (b))
#define bn_u_min_unsigned(a, b) ((a) < (b) ? (a) : (b))
#define bn_u_select_negative(k, a, b) ((int16_t)(k) < 0 ? (a) : (b))

#include "instantiate.h"
#include "undef.h"
