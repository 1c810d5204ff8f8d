/* Which kernels to use: the fastest that the build contains, that the CPU has
 * and whose registers the system saves; or those that the caller selected. */

#if defined(BN_X86)
#include <cpuid.h>

/* What decides, gathered in one place so that tests can feed it. */
typedef struct bn_cpu {
    uint32_t leaf1_ecx, leaf7_ebx, leaf7_1_eax;     /* cpuid */
    uint32_t xcr0;                      /* register state the system saves */
} bn_cpu;

static int bn_cpu_has_avx2(const bn_cpu *cpu)
{
    const uint32_t fma = 1u << 12, osxsave = 1u << 27, f16c = 1u << 29;
    const uint32_t need = fma | osxsave | f16c, avx2 = 1u << 5;

    return (cpu->leaf1_ecx & need) == need && (cpu->leaf7_ebx & avx2)
           && (cpu->xcr0 & 6) == 6;                     /* xmm, ymm */
}

static int bn_cpu_has_avx512(const bn_cpu *cpu)
{
    const uint32_t f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
    const uint32_t need = f | dq | bw | vl;

    return bn_cpu_has_avx2(cpu) && (cpu->leaf7_ebx & need) == need
           && (cpu->xcr0 & 0xE6) == 0xE6;               /* and zmm, masks */
}

static int bn_cpu_has_avx512bf16(const bn_cpu *cpu)
{
    return bn_cpu_has_avx512(cpu) && (cpu->leaf7_1_eax & 1u << 5);
}

static bn_cpu bn_cpu_here(void)
{
    bn_cpu cpu = { 0, 0, 0, 0 };
    uint32_t a, b, d, high;

    if (!__get_cpuid(1, &a, &b, &cpu.leaf1_ecx, &d))
        return cpu;
    /* what a CPU has not got leaves or reads as zeros */
    __get_cpuid_count(7, 0, &a, &cpu.leaf7_ebx, &b, &d);
    __get_cpuid_count(7, 1, &cpu.leaf7_1_eax, &a, &b, &d);
    if (cpu.leaf1_ecx >> 27 & 1)
        __asm__ volatile("xgetbv" : "=a"(cpu.xcr0), "=d"(high) : "c"(0));
    return cpu;
}

#else
typedef struct bn_cpu { uint32_t unused; } bn_cpu;

static bn_cpu bn_cpu_here(void)
{
    const bn_cpu cpu = { 0 };

    return cpu;
}
#endif

static int bn_cpu_has_all(const bn_cpu *cpu)
{
    (void)cpu;
    return 1;
}

/* The instruction sets of this build, the fastest first. This is the one list
 * of them. */
typedef struct bn_isa {
    const bn_kernels *kernels;
    int (*runs_on)(const bn_cpu *cpu);
} bn_isa;

static const bn_isa bn_isas[] = {
#if defined(BN_HAVE_AVX512BF16)
    { &bnfloss_kernels_avx512bf16, bn_cpu_has_avx512bf16 },
#endif
#if defined(BN_HAVE_AVX512)
    { &bnfloss_kernels_avx512, bn_cpu_has_avx512 },
#endif
#if defined(BN_HAVE_AVX2)
    { &bnfloss_kernels_avx2, bn_cpu_has_avx2 },
#endif
#if defined(BN_HAVE_NEON)
    { &bnfloss_kernels_neon, bn_cpu_has_all },
#endif
    { &bnfloss_kernels_scalar, bn_cpu_has_all }
};

enum { BN_ISAS = sizeof bn_isas / sizeof *bn_isas };

/* Lists the kernels that can run here, the fastest first, NULL at the end. */
static void bn_kernels_here(const bn_kernels *list[BN_ISAS + 1])
{
    const bn_cpu cpu = bn_cpu_here();
    int n = 0;

    for (int i = 0; i < BN_ISAS; i++)
        if (bn_isas[i].runs_on(&cpu))
            list[n++] = bn_isas[i].kernels;
    list[n] = NULL;
}

/* The kernels in use, for the whole process; NULL until the first call. All
 * threads would choose the same, so a relaxed atomic is enough. */
static const bn_kernels *bn_kernels_chosen;

static const bn_kernels *bn_kernels_get(void)
{
    const bn_kernels *list[BN_ISAS + 1];
    const bn_kernels *kernels = BN_ATOMIC_LOAD(&bn_kernels_chosen);

    if (kernels)
        return kernels;
    bn_kernels_here(list);
    BN_ATOMIC_STORE(&bn_kernels_chosen, list[0]);
    return list[0];
}

/* Selects kernels by name. Returns 0 if none of that name can run here. */
static int bn_kernels_select(const char *name)
{
    const bn_kernels *list[BN_ISAS + 1];

    bn_kernels_here(list);
    for (int i = 0; list[i]; i++) {
        if (bn_same_text(name, "auto") || bn_same_text(name, list[i]->name)) {
            BN_ATOMIC_STORE(&bn_kernels_chosen, list[i]);
            return 1;
        }
    }
    return 0;
}
