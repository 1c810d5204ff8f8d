/* Which instruction sets this build contains. BNFLOSS_NO_AVX2,
 * BNFLOSS_NO_AVX512 (both AVX-512 ones), BNFLOSS_NO_AVX512BF16 and
 * BNFLOSS_NO_NEON leave one out. The results are the same bits, and the code
 * is smaller. */
#if defined(__GNUC__) && defined(__x86_64__)
#define BN_X86
#if !defined(BNFLOSS_NO_AVX2)
#define BN_HAVE_AVX2
#endif
#if !defined(BNFLOSS_NO_AVX512)
#define BN_HAVE_AVX512
#endif
#if !defined(BNFLOSS_NO_AVX512) && !defined(BNFLOSS_NO_AVX512BF16)            \
    && (defined(__clang__) ? __clang_major__ >= 9 : __GNUC__ >= 10)
#define BN_HAVE_AVX512BF16
#endif
#endif

#if defined(__GNUC__) && defined(__aarch64__) && defined(__ARM_NEON)          \
    && !defined(__AARCH64EB__) && !defined(BNFLOSS_NO_NEON)
#define BN_HAVE_NEON
#endif
