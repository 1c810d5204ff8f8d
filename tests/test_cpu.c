/* Which kernels a CPU gets, from what cpuid and xgetbv say of it.
 *
 * SPDX-License-Identifier: MIT
 *
 * E175 of EDGES.md: instructions whose registers the system does not save are
 * not used, whatever the CPU has. */
#include "../src/bnfloss.c"
#include "test.h"

#if defined(BN_HAVE_AVX2)
/* fma, osxsave, f16c of leaf 1; avx2, avx512 f, dq, bw, vl of leaf 7; xmm,
 * ymm, mask, zmm 0-15, zmm 16-31 of xcr0; bf16 of leaf 7, 1: one bit each of
 * n. */
static bn_cpu cpu_of(uint32_t n)
{
    static const int bit[] = { 12, 27, 29, 5, 16, 17, 30, 31, 1, 2, 5, 6, 7,
                                5 };
    bn_cpu c = { 0, 0, 0, 0 };

    for (int i = 0; i < 14; i++) {
        const uint32_t set = (n >> i & 1) << bit[i];

        if (i < 3)
            c.leaf1_ecx |= set;
        else if (i < 8)
            c.leaf7_ebx |= set;
        else if (i < 13)
            c.xcr0 |= set;
        else
            c.leaf7_1_eax |= set;
    }
    return c;
}

static void has(const bn_cpu *c, uint32_t n)
{
    const uint32_t avx2 = 0x30F, avx512 = 0x1FFF, bf16 = 0x3FFF;    /* need */

    CHECK(!!bn_cpu_has_avx2(c) == ((n & avx2) == avx2), "avx2: %x", n);
    CHECK(!!bn_cpu_has_avx512(c) == ((n & avx512) == avx512), "avx512: %x", n);
#if defined(BN_HAVE_AVX512BF16)
    CHECK(!!bn_cpu_has_avx512bf16(c) == (n == bf16), "avx512bf16: %x", n);
#else
    (void)bf16;
#endif
}

int main(void)
{
    const bn_cpu here = bn_cpu_here();
    const int has2 = bn_cpu_has_avx2(&here);
    const int has512 = bn_cpu_has_avx512(&here);
#if defined(BN_HAVE_AVX512BF16)
    const int has16 = bn_cpu_has_avx512bf16(&here);
#else
    const int has16 = 0;
#endif

    /* the compiler's own look at this CPU */
    __builtin_cpu_init();
    CHECK(!has2 == !(__builtin_cpu_supports("avx2")
                     && __builtin_cpu_supports("fma")), "avx2 here: %d", has2);
    CHECK(!has512 == !(has2 && __builtin_cpu_supports("avx512f")
                       && __builtin_cpu_supports("avx512dq")
                       && __builtin_cpu_supports("avx512bw")
                       && __builtin_cpu_supports("avx512vl")),
          "avx512 here: %d", has512);
#if defined(BN_HAVE_AVX512BF16)
    CHECK(!has16 == !(has512 && __builtin_cpu_supports("avx512bf16")),
          "avx512bf16 here: %d", has16);
#endif

    for (uint32_t n = 0; n <= 0x3FFF; n++) {
        bn_cpu c = cpu_of(n);

        has(&c, n);
        c.leaf1_ecx |= 0xCFu;               /* what does not matter: */
        c.leaf7_ebx |= 0x1Fu;               /* of xcr0 x87, protection keys */
        c.leaf7_1_eax |= 0xFFDFu;
        c.xcr0 |= 1u | 1u << 9;
        has(&c, n);
    }
    CHECK((bnfloss_isa_select("avx2") == BNFLOSS_OK) == !!has2, "avx2 here");
    CHECK((bnfloss_isa_select("avx512") == BNFLOSS_OK) == !!has512,
          "avx512 here");
    CHECK((bnfloss_isa_select("avx512bf16") == BNFLOSS_OK) == !!has16,
          "avx512bf16 here");
    CHECK(bnfloss_isa_select("auto") == BNFLOSS_OK
          && strcmp(bnfloss_isa(), has16 ? "avx512bf16" : has512 ? "avx512"
                                   : has2 ? "avx2" : "scalar") == 0,
          "the best one is %s", bnfloss_isa());
    CHECK(bnfloss_isa_select("neon") == BNFLOSS_E_ISA, "neon here");
    return test_end();
}
#else
int main(void)
{
    CHECK(bnfloss_isa_select("avx2") == BNFLOSS_E_ISA
          && bnfloss_isa_select("avx512") == BNFLOSS_E_ISA
          && bnfloss_isa_select("avx512bf16") == BNFLOSS_E_ISA
          && bnfloss_isa_select("scalar") == BNFLOSS_OK, "an x86 ISA here");
    CHECK(bnfloss_isa_select("auto") == BNFLOSS_OK, "auto");
    return test_end();
}
#endif
