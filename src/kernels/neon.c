/* The NEON kernels (AArch64): four vectors of four lanes. scalar.c defines the
 * operations. */
#if defined(BN_HAVE_NEON)
#include <arm_neon.h>

#define BN_ISA neon
#define BN_KERNEL

#define BN_VL 4
#define bn_v float32x4_t
#define bn_m uint32x4_t
#define bn_v_table uint8x16x2_t

#define bn_v_set1(x)        vdupq_n_f32(x)
#define bn_v_load_f32(p)    vld1q_f32(p)
#define bn_v_load_bf16(p)   vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16))
#define bn_v_load_f16(p)    vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)))
#define bn_v_store_f32(p, x)  vst1q_f32(p, x)
#define bn_v_store_bf16(p, x)  vst1_u16(p, bn_bf16_neon(x))
#define bn_v_store2_bf16(p, x, y)                                             \
                            vst1q_u16(p, vcombine_u16(bn_bf16_neon(x),        \
                                                      bn_bf16_neon(y)))
#define bn_v_store_f16(p, x)  vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x)))
#define bn_v_store_nt_f32(p, x)  vst1q_f32(p, x)
#define bn_v_fence()        ((void)0)
#define bn_v_leave()        ((void)0)
#define bn_v_add(a, b)      vaddq_f32(a, b)
#define bn_v_sub(a, b)      vsubq_f32(a, b)
#define bn_v_mul(a, b)      vmulq_f32(a, b)
#define bn_v_div(a, b)      vdivq_f32(a, b)
#define bn_v_fma(a, b, c)   vfmaq_f32(c, a, b)
#define bn_v_max(a, b)      bn_max_neon(a, b)
#define bn_v_min(a, b)      bn_min_neon(a, b)
#define bn_v_above(a, b)    vmvnq_u32(vcleq_f32(a, b))
#define bn_v_masked(k, a)     vreinterpretq_f32_u32(                          \
                                vandq_u32(k, vreinterpretq_u32_f32(a)))
#define bn_v_select(k, a, b)  vbslq_f32(k, a, b)
#define bn_v_any_equal(a, b)  (vmaxvq_u32(vceqq_f32(a, b)) != 0)
#define bn_v_all_above(a, b)  (vmaxvq_u32(vcleq_f32(a, b)) == 0)
#define bn_v_widen_add(p, x)  bn_widen_add_neon(p, x)
#define bn_v_table_load(p)  bn_table_load_neon(p)
#define bn_v_pow2(table, t)  bn_pow2_neon(table, t)

#define BN_UL 8
#define bn_vu uint16x8_t
#define bn_u_set1(x)        vdupq_n_u16(x)
#define bn_u_load(p)        vld1q_u16(p)
#define bn_u_store(p, x)    vst1q_u16(p, x)
#define bn_u_max_signed(a, b)  vreinterpretq_u16_s16(vmaxq_s16(               \
                                vreinterpretq_s16_u16(a),                     \
                                vreinterpretq_s16_u16(b)))
#define bn_u_min_unsigned(a, b) vminq_u16(a, b)
#define bn_u_select_negative(k, a, b)                                         \
                            vbslq_u16(vreinterpretq_u16_s16(vshrq_n_s16(      \
                                vreinterpretq_s16_u16(k), 15)), a, b)

BN_INLINE float32x4_t bn_max_neon(float32x4_t a, float32x4_t b)
{
    return vbslq_f32(vcgtq_f32(a, b), a, b);
}

BN_INLINE float32x4_t bn_min_neon(float32x4_t a, float32x4_t b)
{
    return vbslq_f32(vcltq_f32(a, b), a, b);
}

/* As bn_bf16_avx2(). */
BN_INLINE uint16x4_t bn_bf16_neon(float32x4_t x)
{
    const uint32x4_t b = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(b, 16), vdupq_n_u32(1));

    return vshrn_n_u32(vaddq_u32(b, vaddq_u32(odd, vdupq_n_u32(0x7FFF))), 16);
}

BN_INLINE void bn_widen_add_neon(double *p, float32x4_t x)
{
    const float64x2_t lo = vcvt_f64_f32(vget_low_f32(x));
    const float64x2_t hi = vcvt_high_f64_f32(x);

    vst1q_f64(p, vaddq_f64(vld1q_f64(p), lo));
    vst1q_f64(p + 2, vaddq_f64(vld1q_f64(p + 2), hi));
}

BN_INLINE uint8x16x2_t bn_table_load_neon(const uint32_t *p)
{
    uint8x16x2_t t;

    t.val[0] = vreinterpretq_u8_u32(vld1q_u32(p));
    t.val[1] = vreinterpretq_u8_u32(vld1q_u32(p + 4));
    return t;
}

/* Word j of the table is its bytes 4j .. 4j + 3. */
BN_INLINE float32x4_t bn_pow2_neon(uint8x16x2_t table, float32x4_t t)
{
    const uint32x4_t bits = vreinterpretq_u32_f32(t);
    const uint32x4_t j = vandq_u32(bits, vdupq_n_u32(7));
    const uint32x4_t at = vmlaq_u32(vdupq_n_u32(0x03020100), j,
                                    vdupq_n_u32(0x04040404));
    const uint32x4_t word = vreinterpretq_u32_u8(
        vqtbl2q_u8(table, vreinterpretq_u8_u32(at)));

    return vreinterpretq_f32_u32(vaddq_u32(word, vshlq_n_u32(bits, 20)));
}

#include "instantiate.h"
#include "undef.h"
#endif
