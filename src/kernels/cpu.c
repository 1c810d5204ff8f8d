/* Which kernels to use: the widest that the CPU has, the system saves and
 * the build contains, or the one that was asked for by name. */

#if defined(BN_HAVE_AVX2)
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

#if defined(BN_HAVE_AVX512BF16)
static int bn_cpu_has_avx512bf16(const bn_cpu *cpu)
{
    return bn_cpu_has_avx512(cpu) && (cpu->leaf7_1_eax & 1u << 5);
}
#endif

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
#endif

/* The most pages of one architecture. */
enum { BN_MAX_ISAS = 4 };

/* The kernels that can run here, best first, NULL at the end. */
static void bn_kernels_here(const bn_kernels *list[BN_MAX_ISAS + 1])
{
    int n = 0;

#if defined(BN_HAVE_AVX2)
    const bn_cpu cpu = bn_cpu_here();

#if defined(BN_HAVE_AVX512BF16)
    if (bn_cpu_has_avx512bf16(&cpu))
        list[n++] = &bn_kernels_avx512bf16;
#endif
    if (bn_cpu_has_avx512(&cpu))
        list[n++] = &bn_kernels_avx512;
    if (bn_cpu_has_avx2(&cpu))
        list[n++] = &bn_kernels_avx2;
#elif defined(BN_HAVE_NEON)
    list[n++] = &bn_kernels_neon;
#endif
    list[n++] = &bn_kernels_scalar;
    list[n] = NULL;
}

/* The choice, process-wide; NULL until the first call. All threads compute
 * the same one, so a relaxed atomic is enough. */
static const bn_kernels *bn_kernels_chosen;

#if defined(__GNUC__)
#define BN_ATOMIC_LOAD(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define BN_ATOMIC_STORE(p, x) __atomic_store_n(p, x, __ATOMIC_RELAXED)
#else
#define BN_ATOMIC_LOAD(p) (*(p))
#define BN_ATOMIC_STORE(p, x) (*(p) = (x))
#endif

static const bn_kernels *bn_kernels_get(void)
{
    const bn_kernels *list[BN_MAX_ISAS + 1];
    const bn_kernels *kernels = BN_ATOMIC_LOAD(&bn_kernels_chosen);

    if (kernels)
        return kernels;
    bn_kernels_here(list);
    BN_ATOMIC_STORE(&bn_kernels_chosen, list[0]);
    return list[0];
}

/* 0 if no kernels of that name can run here. */
static int bn_kernels_select(const char *name)
{
    const bn_kernels *list[BN_MAX_ISAS + 1];

    bn_kernels_here(list);
    for (int i = 0; list[i]; i++) {
        if (bn_same_text(name, "auto") || bn_same_text(name, list[i]->name)) {
            BN_ATOMIC_STORE(&bn_kernels_chosen, list[i]);
            return 1;
        }
    }
    return 0;
}
