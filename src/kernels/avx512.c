/* The AVX-512 kernels: one vector of sixteen lanes. scalar.c defines the
 * operations. The exponential's table stands twice in its vector, since the
 * permutation looks at four bits of the index. */
#if defined(BN_HAVE_AVX512)

#if !defined(__clang__)     /* gcc warns about its own header: its bug 105593 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define BN_ISA avx512
#define BN_KERNEL                                                             \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")))

#define BN_VL 16
#define bn_v __m512
#define bn_m __mmask16
#define bn_v_table __m512i

#define bn_v_set1(x)        _mm512_set1_ps(x)
#define bn_v_load_f32(p)    _mm512_loadu_ps(p)
#define bn_v_load_bf16(p)   bn_from_bf16_avx512(bn_load_avx512(p))
#define bn_v_load_f16(p)    _mm512_cvtph_ps(bn_load_avx512(p))
#define bn_v_store_f32(p, x)  _mm512_storeu_ps(p, x)
#define bn_v_store_bf16(p, x)  bn_store_avx512(p, _mm512_castsi512_si256(     \
                                bn_bf16_avx512(x, x)))
#define bn_v_store2_bf16(p, x, y) bn_store2_bf16_avx512(p, x, y)
/* masked, since gcc's macro without a mask warns at -O0 */
#define bn_v_store_f16(p, x)  bn_store_avx512(p, _mm512_maskz_cvtps_ph(       \
                                0xFFFF, x, _MM_FROUND_TO_NEAREST_INT          \
                                               | _MM_FROUND_NO_EXC))
#define bn_v_store_nt_f32(p, x)  _mm512_stream_ps(p, x)
#define bn_v_fence()        _mm_sfence()
#define bn_v_leave()        bn_zero_upper()
#define bn_v_add(a, b)      _mm512_add_ps(a, b)
#define bn_v_sub(a, b)      _mm512_sub_ps(a, b)
#define bn_v_mul(a, b)      _mm512_mul_ps(a, b)
#define bn_v_div(a, b)      _mm512_div_ps(a, b)
#define bn_v_fma(a, b, c)   _mm512_fmadd_ps(a, b, c)
#define bn_v_max(a, b)      _mm512_max_ps(a, b)
#define bn_v_min(a, b)      _mm512_min_ps(a, b)
#define bn_v_above(a, b)    _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ)
#define bn_v_masked(k, a)     _mm512_maskz_mov_ps(k, a)
#define bn_v_select(k, a, b)  _mm512_mask_mov_ps(b, k, a)
#define bn_v_any_equal(a, b)  _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ)
#define bn_v_all_above(a, b)  (!_mm512_cmp_ps_mask(a, b, _CMP_LE_OQ))
#define bn_v_widen_add(p, x)  bn_widen_add_avx512(p, x)
#define bn_v_table_load(p)  _mm512_broadcast_i64x4(_mm256_loadu_si256(        \
                                (const __m256i *)(const void *)(p)))
#define bn_v_pow2(table, t)  _mm512_castsi512_ps(_mm512_add_epi32(            \
                                _mm512_permutexvar_epi32(                     \
                                    _mm512_castps_si512(t), table),           \
                                _mm512_slli_epi32(_mm512_castps_si512(t), 20)))

#define BN_UL 32
#define bn_vu __m512i
#define bn_u_set1(x)        _mm512_set1_epi16((short)(x))
#define bn_u_load(p)        _mm512_loadu_si512((const void *)(p))
#define bn_u_store(p, x)    _mm512_storeu_si512((void *)(p), x)
#define bn_u_max_signed(a, b)  _mm512_max_epi16(a, b)
#define bn_u_min_unsigned(a, b) _mm512_min_epu16(a, b)
#define bn_u_select_negative(k, a, b)                                         \
                            _mm512_mask_mov_epi16(b, _mm512_movepi16_mask(k), a)

BN_INLINE BN_KERNEL __m256i bn_load_avx512(const uint16_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

BN_INLINE BN_KERNEL void bn_store_avx512(uint16_t *p, __m256i x)
{
    _mm256_storeu_si256((__m256i *)(void *)p, x);
}

/* Moving word i to the upper half of element i is one permutation; widening
 * and shifting would be two instructions of the kind that is scarce here. */
BN_INLINE BN_KERNEL __m512 bn_from_bf16_avx512(__m256i h)
{
    const __m512i to = _mm512_set_epi16(
        15, 0, 14, 0, 13, 0, 12, 0, 11, 0, 10, 0, 9, 0, 8, 0,
        7, 0, 6, 0, 5, 0, 4, 0, 3, 0, 2, 0, 1, 0, 0, 0);

    return _mm512_castsi512_ps(_mm512_maskz_permutexvar_epi16(
        0xAAAAAAAAu, to, _mm512_castsi256_si512(h)));
}

/* As bn_round_bf16_avx2(), in the upper half of each element. */
BN_INLINE BN_KERNEL __m512i bn_round_bf16_avx512(__m512 x)
{
    const __m512i b = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(b, 16),
                                         _mm512_set1_epi32(1));

    return _mm512_add_epi32(
        b, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF)));
}

/* The upper halves of x, then of y: one permutation for both. */
BN_INLINE BN_KERNEL __m512i bn_bf16_avx512(__m512 x, __m512 y)
{
    const __m512i from = _mm512_set_epi16(
        63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33,
        31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);

    return _mm512_permutex2var_epi16(bn_round_bf16_avx512(x), from,
                                     bn_round_bf16_avx512(y));
}

BN_INLINE BN_KERNEL void bn_store2_bf16_avx512(uint16_t *p, __m512 x, __m512 y)
{
    _mm512_storeu_si512((void *)p, bn_bf16_avx512(x, y));
}

BN_INLINE BN_KERNEL void bn_widen_add_avx512(double *p, __m512 x)
{
    const __m512d lo = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    const __m512d hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));

    _mm512_storeu_pd(p, _mm512_add_pd(_mm512_loadu_pd(p), lo));
    _mm512_storeu_pd(p + 8, _mm512_add_pd(_mm512_loadu_pd(p + 8), hi));
}

#include "instantiate.h"

/* The same where the CPU rounds to bf16 itself: one instruction for eleven. It
 * takes a denormal for 0, which no gradient of a whole group is. */
#if defined(BN_HAVE_AVX512BF16)
#undef BN_ISA
#undef BN_KERNEL
#undef bn_v_store2_bf16

#define BN_ISA avx512bf16
#define BN_KERNEL                                                             \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,"    \
                          "fma,f16c")))
#define bn_v_store2_bf16(p, x, y)                                             \
    _mm512_storeu_si512((void *)(p), (__m512i)_mm512_cvtne2ps_pbh(y, x))

#include "instantiate.h"
#endif
#include "undef.h"
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif
