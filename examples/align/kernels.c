/* One vocabulary of vector words per instruction set, and the choice. */
#include "kernels.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* kernels_body.h says every kernel once, in these words:
 *   V, VN          a vector and its number of floats; + - * / work on it
 *   v_load/store   from and to any float address
 *   v_set          one float in every lane
 *   v_fma          a*b + c
 *   v_max, v_sqrt  by lane
 *   v_ldexp        y * 2^n, where n sits in the low bits of m (see v_exp)
 * A target attribute on each function turns the instructions on, so no flag
 * is needed to build this. */

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>

#define ISA(name) name##_avx512
#define ISA_NAME "avx512"
#define KERNEL static __attribute__((target("avx512f")))
#define V __m512
enum { VN_avx512 = 16, VN_avx2 = 8 };
#define v_load(p)       _mm512_loadu_ps(p)
#define v_store(p, x)   _mm512_storeu_ps(p, x)
#define v_set(s)        _mm512_set1_ps(s)
#define v_fma(a, b, c)  _mm512_fmadd_ps(a, b, c)
#define v_max(a, b)     _mm512_max_ps(a, b)
#define v_sqrt(a)       _mm512_sqrt_ps(a)
#define v_ldexp(y, m)                                                        \
    _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(y),             \
        _mm512_slli_epi32(_mm512_castps_si512(m), 23)))
#include "kernels_body.h"

#define ISA(name) name##_avx2
#define ISA_NAME "avx2"
#define KERNEL static __attribute__((target("avx2,fma")))
#define V __m256
#define v_load(p)       _mm256_loadu_ps(p)
#define v_store(p, x)   _mm256_storeu_ps(p, x)
#define v_set(s)        _mm256_set1_ps(s)
#define v_fma(a, b, c)  _mm256_fmadd_ps(a, b, c)
#define v_max(a, b)     _mm256_max_ps(a, b)
#define v_sqrt(a)       _mm256_sqrt_ps(a)
#define v_ldexp(y, m)                                                        \
    _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(y),             \
        _mm256_slli_epi32(_mm256_castps_si256(m), 23)))
#include "kernels_body.h"
#endif

/* Anywhere else: four floats as gcc and clang have them for every CPU, or
 * one float as every compiler has it. */
#if defined(__GNUC__)
typedef float vec __attribute__((vector_size(16)));
enum { VN_plain = 4 };
#else
typedef float vec;
enum { VN_plain = 1 };
#endif

static inline vec plain_load(const float *p)
{
    vec x;
    memcpy(&x, p, sizeof x);
    return x;
}

static inline void plain_store(float *p, vec x)
{
    memcpy(p, &x, sizeof x);
}

static inline vec plain_set(float s)
{
    float x[VN_plain];
    for (int i = 0; i < VN_plain; i++) x[i] = s;
    return plain_load(x);
}

static inline vec plain_max(vec a, vec b)
{
    float x[VN_plain], y[VN_plain];
    memcpy(x, &a, sizeof a);
    memcpy(y, &b, sizeof b);
    for (int i = 0; i < VN_plain; i++) x[i] = x[i] > y[i] ? x[i] : y[i];
    return plain_load(x);
}

static inline vec plain_sqrt(vec a)
{
    float x[VN_plain];
    memcpy(x, &a, sizeof a);
    for (int i = 0; i < VN_plain; i++) x[i] = sqrtf(x[i]);
    return plain_load(x);
}

static inline vec plain_ldexp(vec y, vec m)
{
    uint32_t a[VN_plain], n[VN_plain];
    memcpy(a, &y, sizeof y);
    memcpy(n, &m, sizeof m);
    for (int i = 0; i < VN_plain; i++) a[i] += n[i] << 23;
    memcpy(&y, a, sizeof y);
    return y;
}

#define ISA(name) name##_plain
#define ISA_NAME "plain"
#define KERNEL static
#define V vec
#define v_load(p)       plain_load(p)
#define v_store(p, x)   plain_store(p, x)
#define v_set(s)        plain_set(s)
#define v_fma(a, b, c)  ((a) * (b) + (c))
#define v_max(a, b)     plain_max(a, b)
#define v_sqrt(a)       plain_sqrt(a)
#define v_ldexp(y, m)   plain_ldexp(y, m)
#include "kernels_body.h"

#if defined(__GNUC__) && defined(__x86_64__)
const struct kernels *kernels_pick(int number)
{
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && number-- == 0)
        return &kernels_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")
        && number-- == 0)
        return &kernels_avx2;
    return number == 0 ? &kernels_plain : NULL;
}
#else
const struct kernels *kernels_pick(int number)
{
    return number == 0 ? &kernels_plain : NULL;
}
#endif
