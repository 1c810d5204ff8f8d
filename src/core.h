/* What all parts of the library share: small helpers. */
#ifndef BNFLOSS_CORE_H
#define BNFLOSS_CORE_H

#include <string.h>             /* memcpy, memset: all of libc that is used */

#if defined(__GNUC__)
#define BN_INLINE static inline __attribute__((always_inline))
#define BN_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define BN_NOINLINE __attribute__((noinline))
#elif defined(_MSC_VER)
#define BN_INLINE static __forceinline
#define BN_NOINLINE __declspec(noinline)
#define BN_UNLIKELY(x) (x)
#else
#define BN_INLINE static inline
#define BN_NOINLINE
#define BN_UNLIKELY(x) (x)
#endif

#if defined(BN_PREFETCH)        /* a test's own */
#elif defined(__GNUC__)
#define BN_PREFETCH(p, level) __builtin_prefetch(p, 0, 4 - (level))
#else
#define BN_PREFETCH(p, level) ((void)(p))
#endif

#if defined(__GNUC__)
#define BN_ATOMIC_LOAD(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define BN_ATOMIC_STORE(p, x) __atomic_store_n(p, x, __ATOMIC_RELAXED)
#else
#define BN_ATOMIC_LOAD(p) (*(p))
#define BN_ATOMIC_STORE(p, x) (*(p) = (x))
#endif

/* The linkage of the kernels' tables. They are translation units of their own
 * in CMake's build (kernels/unit.c). */
#if !defined(BNFLOSS_UNITS)
#define BN_SHARED static
#elif defined(__ELF__) || defined(__APPLE__)
#define BN_SHARED __attribute__((visibility("hidden")))
#else
#define BN_SHARED
#endif

#define BN_MAX_F32 0x1.fffffep127f
#define BN_MAX_VOCAB INT64_C(2147483647)

/* Numbers by their bits, so that no header of their names is needed. */
BN_INLINE float bn_float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

BN_INLINE uint32_t bn_bits_of(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

BN_INLINE double bn_double_of(uint64_t bits)
{
    double d;
    memcpy(&d, &bits, sizeof d);
    return d;
}

BN_INLINE uint64_t bn_bits64_of(double d)
{
    uint64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits;
}

#define BN_NAN_F32 bn_float_of(0x7FC00000u)
#define BN_INF_F32 bn_float_of(0x7F800000u)
#define BN_NAN bn_double_of(UINT64_C(0x7FF8000000000000))
#define BN_INF bn_double_of(UINT64_C(0x7FF0000000000000))

BN_INLINE int bn_is_nan(double x) { return x != x; }
BN_INLINE int bn_is_finite(double x) { return x - x == 0; }

/* Every NaN that leaves the library is the canonical quiet one. */
BN_INLINE double bn_canonical(double x) { return x == x ? x : BN_NAN; }
BN_INLINE float bn_canonical_f32(double x)
{
    return x == x ? (float)x : BN_NAN_F32;
}

BN_INLINE int64_t bn_max_i64(int64_t a, int64_t b) { return a > b ? a : b; }

/* Returns whether two strings are equal. */
BN_INLINE int bn_same_text(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

#endif
