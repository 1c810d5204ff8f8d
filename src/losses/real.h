/* The number type of floor 1, and the four functions that it needs of it.
 *
 * Losses are written over `real`, so that the tests can compile these very
 * files with a wider type, difference them, and compare. The library itself
 * uses double and maths.c: libm differs between systems in its last bits. */
#ifndef BN_REAL
#define BN_REAL
typedef double real;
#define R_EXP bn_exp
#define R_EXPM1 bn_expm1
#define R_LOG bn_log
#define R_LOG1P bn_log1p
#define R_INFINITY BN_INF
#define R_LN2 0x1.62e42fefa39efp-1
#endif

/* log(1 - e^x) for x <= 0: -inf at 0, and right on both sides of -ln 2
 * (Maechler 2012, "Accurately computing log(1 - exp(-|a|))"). */
static real bn_log1mexp(real x)
{
    return x > -R_LN2 ? R_LOG(-R_EXPM1(x)) : R_LOG1P(-R_EXP(x));
}

/* 1 / (1 + e^-x), never through the e^ of a large number. */
static real bn_sigmoid(real x)
{
    const real e = R_EXP(x < 0 ? x : -x);

    return (x < 0 ? e : (real)1) / (1 + e);
}

/* log(1 + e^x) = -log sigmoid(-x). */
static real bn_softplus(real x)
{
    return (x > 0 ? x : (real)0) + R_LOG1P(R_EXP(x > 0 ? -x : x));
}
