/* Precise maths for the rest of the file, whatever flags it is built with.
 *
 * The promise of equal bits needs IEEE arithmetic as written: no contraction
 * of a*b+c, no reassociation, NaN and infinity respected. gcc ignores the
 * standard's FP_CONTRACT pragma and clang has no optimize pragma, so each
 * gets its own spelling. Undone by precise_end.h.
 *
 * clang cannot take back all of -ffast-math: with -ffinite-math-only it marks
 * parameters and calls as never NaN, and no pragma reaches those. Nor does one
 * reach -ffp-contract=fast where the CPU has FMA, -fno-honor-nans or
 * -fno-honor-infinities alone, which no macro tells of.
 *
 * Nor can anything here make a compiler round floats to floats that computes
 * them with more digits: on a 32-bit x86 without SSE, or on s390 with
 * -std=c11. */
#if defined(__FLT_EVAL_METHOD__) \
    && (__FLT_EVAL_METHOD__ == 1 || __FLT_EVAL_METHOD__ == 2)
#error "floats must be floats: -msse2 -mfpmath=sse, or -fexcess-precision=fast"
#endif
typedef char bn_constants_are_doubles[sizeof 1.0 == sizeof(double) ? 1 : -1];
#if defined(__clang__)
#if defined(__FAST_MATH__) || __FINITE_MATH_ONLY__
#error "clang cannot undo -ffast-math here: add -fno-fast-math -ffp-contract=off"
#endif
#pragma clang diagnostic push       /* not every target has float_control: */
#pragma clang diagnostic ignored "-Wignored-pragmas"        /* wasm has not */
#pragma float_control(push)
#pragma float_control(precise, on)
#pragma clang diagnostic pop
#pragma STDC FP_CONTRACT OFF
#elif defined(__GNUC__)
#pragma GCC push_options
#pragma GCC optimize("no-fast-math", "fp-contract=off")
#elif defined(_MSC_VER)
#pragma float_control(precise, on, push)
#pragma fp_contract(off)
#elif defined(__FAST_MATH__)
#error "bnfloss needs IEEE arithmetic: build it without -ffast-math"
#endif
