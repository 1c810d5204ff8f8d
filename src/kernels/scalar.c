/* The scalar page: plain C, one lane a vector. It defines what each word of
 * the other pages means, bit for bit, and runs where they cannot. */
#define ISA scalar
#define KERNEL

#define VL 1                            /* lanes in a vector */
#define v float                         /* a vector */
#define m int                           /* a mask */
#define v_table bn_words8               /* the exponential's eight words */

typedef struct bn_words8 { uint32_t word[8]; } bn_words8;

BN_INLINE bn_words8 bn_words8_load(const uint32_t *p)
{
    bn_words8 t;
    memcpy(&t, p, sizeof t);
    return t;
}

#define v_set1(x) (x)
#define v_load_f32(p) (*(p))
#define v_load_bf16(p) bn_from_bf16(*(p))
#define v_load_f16(p) bn_from_f16(*(p))
#define v_store_f32(p, x) (*(p) = (x))
#define v_store_bf16(p, x) (*(p) = bn_to_bf16(x))
#define v_store2_bf16(p, x, y) ((p)[0] = bn_to_bf16(x), (p)[1] = bn_to_bf16(y))
                                        /* of numbers that are not denormal */
#define v_store_f16(p, x) (*(p) = bn_to_f16(x))
#define v_stream_f32(p, x) (*(p) = (x)) /* past the caches; p as aligned as */
#define v_fence() ((void)0)             /* v; then the stores are in order */
#define v_leave() ((void)0)             /* before plain code: see sums.c */
#define v_add(a, b) ((a) + (b))
#define v_sub(a, b) ((a) - (b))
#define v_mul(a, b) ((a) * (b))
#define v_div(a, b) ((a) / (b))
#define v_fma(a, b, c) bn_fma(a, b, c)  /* a b + c, rounded once */
#define v_max(a, b) bn_max(a, b)
#define v_min(a, b) bn_min(a, b)
#define v_above(a, b) (!((a) <= (b)))   /* true for NaN */
#define v_keep(k, a) ((k) ? (a) : 0.0f)
#define v_select(k, a, b) ((k) ? (a) : (b))
#define v_any_equal(a, b) ((a) == (b))  /* in any lane */
#define v_all_above(a, b) (!((a) <= (b)))       /* in all */
#define v_widen_add(p, x) (*(p) += (double)(x))     /* VL doubles at p */
#define v_table_load(p) bn_words8_load(p)

/* b where a or b is NaN */
BN_INLINE float bn_max(float a, float b) { return a > b ? a : b; }
BN_INLINE float bn_min(float a, float b) { return a < b ? a : b; }

/* The float whose bits are word[t mod 8] + (t << 20), t taken as bits. */
BN_INLINE float bn_words8_pow2(const bn_words8 *table, float t)
{
    const uint32_t bits = bn_bits_of(t);

    return bn_float_of(table->word[bits & 7] + (bits << 20));
}
#define v_pow2(table, t) bn_words8_pow2(&(table), t)

#define WL 1                            /* words in a vector of words */
#define vw uint16_t                     /* a vector of words */
#define w_set1(x) (x)
#define w_load(p) (*(p))
#define w_store(p, x) (*(p) = (x))
#define w_max_signed(a, b) ((int16_t)(a) > (int16_t)(b) ? (a) : (b))
#define w_min_unsigned(a, b) ((a) < (b) ? (a) : (b))
#define w_select_negative(k, a, b) ((int16_t)(k) < 0 ? (a) : (b))

#include "page.h"
#include "page_end.h"
