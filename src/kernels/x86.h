/* What the AVX2 and AVX-512 kernels share. */
#if defined(BN_X86)
#include <immintrin.h>

/* Clears the upper halves of the vector registers. The intrinsic does not tell
 * gcc before 12 that they lose their content, so gcc would go on using it.
 * Registers from 16 on lose nothing. */
__attribute__((target("avx"))) BN_INLINE void bn_zero_upper(void)
{
    __asm__ volatile("vzeroupper" : : : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
                     "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                     "xmm12", "xmm13", "xmm14", "xmm15");
}
#endif
