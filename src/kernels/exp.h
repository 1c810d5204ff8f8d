/* The exponential of the kernels, over an ISA page's words.
 *
 *     e^x = 2^(N/8) e^r,   N = round(8 x / ln 2),   |r| <= ln 2 / 16
 *     e^r = 1 + q,         q = r + C2 r^2 + C3 r^3
 *
 * 2^(N/8) comes from a table of eight entries and an integer addition to the
 * exponent field, both folded into eight words that sums.c prepares:
 * word j is the bits of factor * 2^(j/8) minus j << 20, so that adding
 * N << 20 leaves the exponent moved by N >> 3 and nothing else. The factor
 * costs nothing: for sums it puts all eight entries next to a float, and where
 * nothing needs the bits of another way to the gradient (general kernels) the
 * backward pass folds dlogp / Z into it.
 *
 * The reduction has one step: N * LN2_8, the float next to ln 2 / 8, is
 * subtracted in a fused operation whose result is a multiple of 2^-28 and below
 * 2^-4, hence exact. What LN2_8 itself lacks is 2.4e-10; the reference that
 * sums.c chooses counts in the same units, so what is left of it grows with
 * the distance from the reference alone: 0.05 u |x - c|, on a term that has
 * shrunk by e^-|x - c|. N may be off by one where |x| is large: up to 2^16 |r|
 * stays below 0.0441, which is ln 2 / 16 and a 50th. The caller moves larger
 * logits to an origin near the maximum first.
 *
 * Constants by tests/recipes/exp_constants.py. Relative error, in u = 2^-24:
 * e^r 0.32, table 0.05 (its common factor is chosen so that all eight entries
 * lie next to a float), rounding 1, and the 0.05 |x - c| above.
 *
 * This file is included once per ISA page. */
#ifndef BN_EXP_CONSTANTS
#define BN_EXP_CONSTANTS
#define BN_MAGIC 0x1.8p23f              /* rounds to integer; N in low bits */
#define BN_8_LN2 0x1.715476p+3f         /* 8 / ln 2 */
#define BN_LN2_8 0x1.62e430p-4f         /* ln 2 / 8 */
#define BN_C2 0x1.000a42p-1f
#define BN_C3 0x1.555d8ap-3f
#endif

/* The parts of e^x: 2^(N/8) times the table's factor, and q. */
BN_INLINE KERNEL v FN(exp_parts)(v x, v_table table, v *q)
{
    const v t = v_fma(x, v_set1(BN_8_LN2), v_set1(BN_MAGIC));
    const v n = v_sub(t, v_set1(BN_MAGIC));
    const v r = v_fma(n, v_set1(-BN_LN2_8), x);
    const v c = v_fma(r, v_set1(BN_C3), v_set1(BN_C2));

    *q = v_fma(v_mul(r, r), c, r);
    return v_pow2(table, t);
}

/* e^x times the table's factor. Outside the range for which the table was
 * made, any bits: the caller masks them. NaN gives NaN. */
BN_INLINE KERNEL v FN(exp)(v x, v_table table)
{
    v q;
    const v p = FN(exp_parts)(x, table, &q);

    return v_fma(p, q, p);
}

/* tanh(w), and sech^2(w) = 1 - tanh^2(w) without its cancellation, from
 * E = e^(-2|w|):  tanh = (1-E)/(1+E) = 1 - 2E/(1+E),  sech^2 = 4E/(1+E)^2.
 * E and E - 1 are put together from the parts of the exponential, so that small
 * w keep their accuracy, and in units of the table's common factor T0, which
 * makes its entries exact and divides out. Errors, measured by
 * tests/test_kernels.c: tanh 1.9 u absolute. */
BN_NOINLINE KERNEL static v FN(tanh)(v w, v_table table, v *sech2)
{
    const v t0 = v_set1(BN_POW8_FACTOR), minus = v_sub(v_set1(0), w);
    const v a = v_max(v_mul(v_max(w, minus), v_set1(-2)), v_set1(-80));
    v q;
    const v p = FN(exp_parts)(a, table, &q);
    const v e = v_fma(p, q, p);                         /* T0 E */
    const v em1 = v_fma(p, q, v_sub(p, t0));            /* T0 (E - 1) */
    const v one_e = v_add(em1, v_add(t0, t0));          /* T0 (E + 1) */
    const m far = v_above(v_set1(0.25f), e);            /* tanh > 0.6 */
    const v ratio = v_div(v_select(far, v_add(e, e), v_sub(v_set1(0), em1)),
                          one_e);
    const v th = v_select(far, v_sub(v_set1(1), ratio), ratio);

    *sech2 = v_div(v_mul(e, v_mul(t0, v_set1(4))), v_mul(one_e, one_e));
    /* a's clamp has turned a NaN into a number: give it back */
    return v_select(v_above(w, v_set1(BN_INF_F32)), w,
                    v_select(v_above(w, v_set1(0)), th,
                             v_sub(v_set1(0), th)));
}
