/* The exponential of the kernels, over the operations of an instruction set.
 *
 *     e^x = 2^(N/8) e^r,   N = round(8 x / ln 2),   |r| <= ln 2 / 16
 *     e^r = 1 + q,         q = r + C2 r^2 + C3 r^3
 *
 * 2^(N/8) comes from a table of eight entries (exp_table.h) and an integer
 * addition to the exponent field. Entry j is the bits of factor * 2^(j/8)
 * minus j << 20, so that adding N << 20 moves the exponent by N >> 3 and does
 * nothing else. The factor costs nothing: for sums it puts all eight entries
 * next to a float. In the general kernels, where there is no second way to the
 * gradient whose bits would have to agree, it is dlogp / Z.
 *
 * The reduction has one step: N * LN2_8, the float next to ln 2 / 8, is
 * subtracted in a fused operation whose result is a multiple of 2^-28 and below
 * 2^-4, hence exact. LN2_8 itself is 2.4e-10 off. The
 * reference that sums.c chooses counts in the same units, so what is left of
 * that grows with the distance from the reference alone: 0.05 u |x - c|, on a
 * term that has shrunk by e^-|x - c|. N may be off by one where |x| is large.
 * Up to 2^16, |r| stays below 0.0441, 2 % above ln 2 / 16. The caller moves
 * larger logits to an origin near the maximum first.
 *
 * Constants by tests/recipes/exp_constants.py. Relative error, in u = 2^-24:
 * e^r 0.32, table 0.05 (its common factor is chosen so that all eight entries
 * lie next to a float), rounding 1, and the 0.05 |x - c| above.
 *
 * This file is compiled once for each instruction set. */
#ifndef BN_EXP_CONSTANTS
#define BN_EXP_CONSTANTS
#define BN_MAGIC 0x1.8p23f              /* rounds to integer; N in low bits */
#define BN_8_LN2 0x1.715476p+3f         /* 8 / ln 2 */
#define BN_LN2_8 0x1.62e430p-4f         /* ln 2 / 8 */
#define BN_C2 0x1.000a42p-1f
#define BN_C3 0x1.555d8ap-3f
#endif

/* Returns 2^(N/8) times the table's factor, and in *q the q of e^x. */
BN_INLINE BN_KERNEL bn_v BN_FN(exp_parts)(bn_v x, bn_v_table table, bn_v *q)
{
    const bn_v t = bn_v_fma(x, bn_v_set1(BN_8_LN2), bn_v_set1(BN_MAGIC));
    const bn_v n = bn_v_sub(t, bn_v_set1(BN_MAGIC));
    const bn_v r = bn_v_fma(n, bn_v_set1(-BN_LN2_8), x);
    const bn_v c = bn_v_fma(r, bn_v_set1(BN_C3), bn_v_set1(BN_C2));

    *q = bn_v_fma(bn_v_mul(r, r), c, r);
    return bn_v_pow2(table, t);
}

/* Returns e^x times the table's factor. Outside the range for which the table
 * was made it returns any bits: the caller masks them. NaN gives NaN. */
BN_INLINE BN_KERNEL bn_v BN_FN(exp)(bn_v x, bn_v_table table)
{
    bn_v q;
    const bn_v p = BN_FN(exp_parts)(x, table, &q);

    return bn_v_fma(p, q, p);
}

/* The same for the places that are rarely reached. The scalar kernels call it
 * there: their fused operations are a dozen instructions each, and copies of
 * them would be most of the library. */
#undef BN_COLD
#if BN_VL == 1
#define BN_COLD BN_NOINLINE static
#else
#define BN_COLD BN_INLINE
#endif
BN_COLD BN_KERNEL bn_v BN_FN(exp_cold)(bn_v x, bn_v_table table)
{
    return BN_FN(exp)(x, table);
}

/* Returns tanh(w), and in *sech2 1 - tanh^2(w) without its cancellation, from
 * E = e^(-2|w|):  tanh = (1-E)/(1+E) = 1 - 2E/(1+E),  sech^2 = 4E/(1+E)^2.
 * E and E - 1 are put together from the parts of the exponential, so that small
 * w keep their accuracy, and in units of the table's common factor T0, which
 * makes its entries exact and divides out. Errors, measured by
 * tests/test_kernels.c: tanh 1.9 u absolute. */
BN_NOINLINE BN_KERNEL static bn_v BN_FN(tanh)(bn_v w, bn_v_table table,
                                              bn_v *sech2)
{
    const bn_v t0 = bn_v_set1(BN_POW8_FACTOR),
               minus = bn_v_sub(bn_v_set1(0), w);
    const bn_v a = bn_v_max(bn_v_mul(bn_v_max(w, minus), bn_v_set1(-2)),
                            bn_v_set1(-80));
    bn_v q;
    const bn_v p = BN_FN(exp_parts)(a, table, &q);
    const bn_v e = bn_v_fma(p, q, p);                   /* T0 E */
    const bn_v em1 = bn_v_fma(p, q, bn_v_sub(p, t0));   /* T0 (E - 1) */
    const bn_v one_e = bn_v_add(em1, bn_v_add(t0, t0)); /* T0 (E + 1) */
    const bn_m large = bn_v_above(bn_v_set1(0.25f), e); /* tanh > 0.6 */
    const bn_v ratio = bn_v_div(bn_v_select(large, bn_v_add(e, e),
                                            bn_v_sub(bn_v_set1(0), em1)),
                                one_e);
    const bn_v th = bn_v_select(large, bn_v_sub(bn_v_set1(1), ratio), ratio);

    *sech2 = bn_v_div(bn_v_mul(e, bn_v_mul(t0, bn_v_set1(4))),
                      bn_v_mul(one_e, one_e));
    /* a's clamp has turned a NaN into a number: give it back */
    return bn_v_select(bn_v_above(w, bn_v_set1(BN_INF_F32)), w,
                       bn_v_select(bn_v_above(w, bn_v_set1(0)), th,
                                   bn_v_sub(bn_v_set1(0), th)));
}
