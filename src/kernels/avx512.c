/* The AVX-512 page: one vector of sixteen lanes. The words mean what scalar.c
 * says. The table stands twice in its vector, since the permutation looks at
 * four bits of the index. */
#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>
#define BN_HAVE_AVX512

#if !defined(__clang__)     /* gcc warns about its own header: its bug 105593 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#define ISA avx512
#define KERNEL                                                                \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")))

#define VL 16
#define v __m512
#define m __mmask16
#define v_table __m512i

#define v_set1(x)           _mm512_set1_ps(x)
#define v_load_f32(p)       _mm512_loadu_ps(p)
#define v_load_bf16(p)      _mm512_castsi512_ps(_mm512_slli_epi32(            \
                                _mm512_cvtepu16_epi32(bn_load_avx512(p)), 16))
#define v_load_f16(p)       _mm512_cvtph_ps(bn_load_avx512(p))
#define v_store_f32(p, x)   _mm512_storeu_ps(p, x)
#define v_store_bf16(p, x)  bn_store_avx512(p, bn_bf16_avx512(x))
#define v_store_f16(p, x)   bn_store_avx512(p, _mm512_cvtps_ph(x,             \
                                _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC))
#define v_add(a, b)         _mm512_add_ps(a, b)
#define v_sub(a, b)         _mm512_sub_ps(a, b)
#define v_mul(a, b)         _mm512_mul_ps(a, b)
#define v_div(a, b)         _mm512_div_ps(a, b)
#define v_fma(a, b, c)      _mm512_fmadd_ps(a, b, c)
#define v_max(a, b)         _mm512_max_ps(a, b)
#define v_above(a, b)       _mm512_cmp_ps_mask(a, b, _CMP_NLE_UQ)
#define v_keep(k, a)        _mm512_maskz_mov_ps(k, a)
#define v_select(k, a, b)   _mm512_mask_mov_ps(b, k, a)
#define v_any_equal(a, b)   _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ)
#define v_widen_add(p, x)   bn_widen_add_avx512(p, x)
#define v_table_load(p)     _mm512_broadcast_i64x4(_mm256_loadu_si256(        \
                                (const __m256i *)(const void *)(p)))
#define v_pow2(table, t)    _mm512_castsi512_ps(_mm512_add_epi32(             \
                                _mm512_permutexvar_epi32(                     \
                                    _mm512_castps_si512(t), table),           \
                                _mm512_slli_epi32(_mm512_castps_si512(t), 20)))

BN_INLINE KERNEL __m256i bn_load_avx512(const uint16_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

BN_INLINE KERNEL void bn_store_avx512(uint16_t *p, __m256i x)
{
    _mm256_storeu_si256((__m256i *)(void *)p, x);
}

/* As bn_bf16_avx2(). AVX512-BF16's own conversion flushes denormals. */
BN_INLINE KERNEL __m256i bn_bf16_avx512(__m512 x)
{
    const __m512i b = _mm512_castps_si512(x);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(b, 16),
                                         _mm512_set1_epi32(1));

    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(_mm512_add_epi32(
        b, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16));
}

BN_INLINE KERNEL void bn_widen_add_avx512(double *p, __m512 x)
{
    const __m512d lo = _mm512_cvtps_pd(_mm512_castps512_ps256(x));
    const __m512d hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));

    _mm512_storeu_pd(p, _mm512_add_pd(_mm512_loadu_pd(p), lo));
    _mm512_storeu_pd(p + 8, _mm512_add_pd(_mm512_loadu_pd(p + 8), hi));
}

#include "page.h"
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif
#endif
