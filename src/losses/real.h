/* The number type of the formulas, and the four functions that they need.
 *
 * Losses are written over `bn_real`, so that the tests can compile these files
 * with a wider type, difference them, and compare. The library itself uses
 * double and math.c: libm differs between systems in its last bits. */
#ifndef BN_REAL
#define BN_REAL
typedef double bn_real;
#define BN_R_EXP bn_exp
#define BN_R_EXPM1 bn_expm1
#define BN_R_LOG bn_log
#define BN_R_LOG1P bn_log1p
#define BN_R_INFINITY BN_INF
#define BN_R_LN2 0x1.62e42fefa39efp-1
#endif

/* Returns log(1 - e^x) for x <= 0, which is -inf at 0. It is accurate on both
 * sides of -ln 2 (Maechler 2012, "Accurately computing log(1 - exp(-|a|))"). */
static bn_real bn_log1mexp(bn_real x)
{
    return x > -BN_R_LN2 ? BN_R_LOG(-BN_R_EXPM1(x)) : BN_R_LOG1P(-BN_R_EXP(x));
}

/* 1 / (1 + e^-x), never through the e^ of a large number. */
static bn_real bn_sigmoid(bn_real x)
{
    const bn_real e = BN_R_EXP(x < 0 ? x : -x);

    return (x < 0 ? e : (bn_real)1) / (1 + e);
}

/* log(1 + e^x) = -log sigmoid(-x). */
static bn_real bn_softplus(bn_real x)
{
    return (x > 0 ? x : (bn_real)0) + BN_R_LOG1P(BN_R_EXP(x > 0 ? -x : x));
}
