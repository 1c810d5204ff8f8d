/* The AVX2 kernels, with FMA and F16C: two vectors of eight lanes. scalar.c
 * defines the operations. */
#if defined(BN_HAVE_AVX2)

#define BN_ISA avx2
#define BN_KERNEL __attribute__((target("avx2,fma,f16c")))

#define BN_VL 8
#define bn_v __m256
#define bn_m __m256
#define bn_v_table __m256i

#define bn_v_set1(x)        _mm256_set1_ps(x)
#define bn_v_load_f32(p)    _mm256_loadu_ps(p)
#define bn_v_load_bf16(p)   _mm256_castsi256_ps(_mm256_slli_epi32(            \
                                _mm256_cvtepu16_epi32(bn_load_avx2(p)), 16))
#define bn_v_load_f16(p)    _mm256_cvtph_ps(bn_load_avx2(p))
#define bn_v_store_f32(p, x)  _mm256_storeu_ps(p, x)
#define bn_v_store_bf16(p, x)  bn_store_avx2(p, bn_bf16_avx2(x))
#define bn_v_store2_bf16(p, x, y) bn_store2_bf16_avx2(p, x, y)
#define bn_v_store_f16(p, x)  bn_store_avx2(p, _mm256_cvtps_ph(x,             \
                                _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
#define bn_v_store_nt_f32(p, x)  _mm256_stream_ps(p, x)
#define bn_v_fence()        _mm_sfence()
#define bn_v_leave()        bn_zero_upper()
#define bn_v_add(a, b)      _mm256_add_ps(a, b)
#define bn_v_sub(a, b)      _mm256_sub_ps(a, b)
#define bn_v_mul(a, b)      _mm256_mul_ps(a, b)
#define bn_v_div(a, b)      _mm256_div_ps(a, b)
#define bn_v_fma(a, b, c)   _mm256_fmadd_ps(a, b, c)
#define bn_v_max(a, b)      _mm256_max_ps(a, b)
#define bn_v_min(a, b)      _mm256_min_ps(a, b)
#define bn_v_above(a, b)    _mm256_cmp_ps(a, b, _CMP_NLE_UQ)
#define bn_v_masked(k, a)     _mm256_and_ps(k, a)
#define bn_v_select(k, a, b)  _mm256_blendv_ps(b, a, k)
#define bn_v_any_equal(a, b) _mm256_movemask_ps(                              \
                                _mm256_cmp_ps(a, b, _CMP_EQ_OQ))
#define bn_v_all_above(a, b)  (!_mm256_movemask_ps(                           \
                                _mm256_cmp_ps(a, b, _CMP_LE_OQ)))
#define bn_v_widen_add(p, x)  bn_widen_add_avx2(p, x)
#define bn_v_table_load(p)  _mm256_loadu_si256(                               \
                                (const __m256i *)(const void *)(p))
#define bn_v_pow2(table, t)  _mm256_castsi256_ps(_mm256_add_epi32(            \
                                _mm256_permutevar8x32_epi32(                  \
                                    table, _mm256_castps_si256(t)),           \
                                _mm256_slli_epi32(_mm256_castps_si256(t), 20)))

#define BN_UL 16
#define bn_vu __m256i
#define bn_u_set1(x)        _mm256_set1_epi16((short)(x))
#define bn_u_load(p)        _mm256_loadu_si256(                               \
                                (const __m256i *)(const void *)(p))
#define bn_u_store(p, x)    _mm256_storeu_si256((__m256i *)(void *)(p), x)
#define bn_u_max_signed(a, b)  _mm256_max_epi16(a, b)
#define bn_u_min_unsigned(a, b) _mm256_min_epu16(a, b)
#define bn_u_select_negative(k, a, b)                                         \
                            _mm256_blendv_epi8(b, a, _mm256_srai_epi16(k, 15))

BN_INLINE BN_KERNEL __m128i bn_load_avx2(const uint16_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

BN_INLINE BN_KERNEL void bn_store_avx2(uint16_t *p, __m128i x)
{
    _mm_storeu_si128((__m128i *)(void *)p, x);
}

/* Rounds to nearest even, in the lower half of each element. A canonical NaN
 * survives the addition, and there is no other: the kernels make none. */
BN_INLINE BN_KERNEL __m256i bn_round_bf16_avx2(__m256 x)
{
    const __m256i b = _mm256_castps_si256(x);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(b, 16),
                                         _mm256_set1_epi32(1));

    return _mm256_srli_epi32(_mm256_add_epi32(
        b, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF))), 16);
}

BN_INLINE BN_KERNEL __m128i bn_bf16_avx2(__m256 x)
{
    const __m256i r = bn_round_bf16_avx2(x);

    return _mm_packus_epi32(_mm256_castsi256_si128(r),
                            _mm256_extracti128_si256(r, 1));
}

/* Two vectors packed at once, which interleaves their halves. */
BN_INLINE BN_KERNEL void bn_store2_bf16_avx2(uint16_t *p, __m256 x, __m256 y)
{
    const __m256i r = _mm256_packus_epi32(bn_round_bf16_avx2(x),
                                          bn_round_bf16_avx2(y));

    _mm256_storeu_si256((__m256i *)(void *)p,
                        _mm256_permute4x64_epi64(r, 0xD8));
}

BN_INLINE BN_KERNEL void bn_widen_add_avx2(double *p, __m256 x)
{
    const __m256d lo = _mm256_cvtps_pd(_mm256_castps256_ps128(x));
    const __m256d hi = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));

    _mm256_storeu_pd(p, _mm256_add_pd(_mm256_loadu_pd(p), lo));
    _mm256_storeu_pd(p + 4, _mm256_add_pd(_mm256_loadu_pd(p + 4), hi));
}

#include "instantiate.h"
#include "undef.h"
#endif
