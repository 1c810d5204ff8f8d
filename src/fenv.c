/* Saves the caller's floating-point environment, and restores it, with its
 * sticky flags, at the end of a call. Between the two the default applies:
 * rounding to nearest, denormals, no traps. On CPUs other than x86-64 and
 * AArch64 it is assumed to apply anyway.
 *
 * The code between the two is not inlined, so that no compiler moves arithmetic
 * across the switch. */

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>
typedef unsigned int bn_env;

static bn_env bn_env_enter(void)
{
    const unsigned int old = _mm_getcsr();

    _mm_setcsr(0x1F80);             /* nearest, all exceptions masked */
    return old;
}

static void bn_env_leave(bn_env old)
{
    _mm_setcsr(old);
}

#elif defined(__GNUC__) && defined(__aarch64__)
typedef struct bn_env { uint64_t control, status; } bn_env;

static bn_env bn_env_enter(void)
{
    bn_env old;

    __asm__ volatile("mrs %0, fpcr" : "=r"(old.control));
    __asm__ volatile("mrs %0, fpsr" : "=r"(old.status));
    __asm__ volatile("msr fpcr, %0" : : "r"(UINT64_C(0)) : "memory");
    return old;
}

static void bn_env_leave(bn_env old)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(old.control) : "memory");
    __asm__ volatile("msr fpsr, %0" : : "r"(old.status) : "memory");
}

#else
typedef int bn_env;
static bn_env bn_env_enter(void) { return 0; }
static void bn_env_leave(bn_env old) { (void)old; }
#endif
