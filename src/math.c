/* exp, expm1, log, log1p and tanh in double, the same bits everywhere.
 *
 * Plain operations only, so that any IEEE compiler gives the same result.
 * Errors, measured in quad by tests/test_maths.c: exp 1.01, expm1 2, log 2,
 * log1p 2, tanh 3 ulp at most. A row needs a handful of these beside the V
 * exponentials of its kernel, so they are written for clarity. */

/* ln 2 in two parts; the high one has 21 trailing zero bits, so that its
 * product with any exponent of a double is exact. */
#define BN_LN2_HI 0x1.62e42fee00000p-1
#define BN_LN2_LO 0x1.a39ef35793c76p-33
#define BN_INV_LN2 0x1.71547652b82fep+0

/* Adding and subtracting 1.5 * 2^52 rounds to the nearest integer. */
#define BN_ROUND 0x1.8p52

/* Returns 2^k for -1022 <= k <= 1023. */
static double bn_pow2(int k)
{
    return bn_double_of((uint64_t)(1023 + k) << 52);
}

/* Returns e^r - 1 for |r| <= ln 2 / 2, by its Taylor series. The next term
 * would be below 2^-59 of the sum. Terms are added in pairs, then in pairs of
 * pairs (Estrin's scheme), which takes half as long as one after the other. */
static double bn_expm1_small(double r)
{
    const double r2 = r * r, r4 = r2 * r2;
    const double a = (0.5 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120));
    const double b = (1.0 / 720 + r * (1.0 / 5040))
                     + r2 * (1.0 / 40320 + r * (1.0 / 362880));
    const double c = (1.0 / 3628800 + r * (1.0 / 39916800))
                     + r2 * (1.0 / 479001600 + r * (1.0 / 6227020800.0));

    return r + r2 * (a + r4 * (b + r4 * c));
}

/* Returns the k of x = k ln 2 + r and stores r, |r| <= ln 2 / 2. |x| < 1500. */
static int bn_reduce(double x, double *r)
{
    const double k = (x * BN_INV_LN2 + BN_ROUND) - BN_ROUND;

    *r = (x - k * BN_LN2_HI) - k * BN_LN2_LO;
    return (int)k;
}

/* Returns e^x: 0 below -745.2, +inf above 709.8. */
static double bn_exp(double x)
{
    double r;
    int k;

    if (!(x > -746))
        return x == x ? 0 : x;
    if (x > 710)
        return BN_INF;
    k = bn_reduce(x, &r);
    /* two factors, since 2^k alone may be out of range where e^x is not */
    return (1 + bn_expm1_small(r)) * bn_pow2(k / 2) * bn_pow2(k - k / 2);
}

/* Returns e^x - 1, accurate near x = 0. */
static double bn_expm1(double x)
{
    double r, scale;
    int k;

    if (!(x > -38))
        return x == x ? -1 : x;
    if (x > 709)
        return bn_exp(x);
    k = bn_reduce(x, &r);
    scale = bn_pow2(k);
    return scale * bn_expm1_small(r) + (scale - 1);
}

/* Returns 2 atanh(s) = 2 (s + s^3/3 + s^5/5 + ...) for |s| < 0.1716. */
static double bn_atanh2(double s)
{
    const double w = s * s;
    const double w2 = w * w, w4 = w2 * w2;
    const double a = (1.0 / 3 + w * (1.0 / 5)) + w2 * (1.0 / 7 + w * (1.0 / 9));
    const double b = (1.0 / 11 + w * (1.0 / 13))
                     + w2 * (1.0 / 15 + w * (1.0 / 17));
    const double c = (1.0 / 19 + w * (1.0 / 21)) + w2 * (1.0 / 23);
    const double t = a + w4 * (b + w4 * c);

    return 2 * s + 2 * s * (w * t);
}

/* Returns log(x + c) for normal x > 0 and a correction |c| of at most an ulp of
 * x. With x = 2^k m and m in [sqrt 1/2, sqrt 2), log m is
 * 2 atanh((m-1)/(m+1)). */
static double bn_log_corrected(double x, double c)
{
    const uint64_t bits = bn_bits64_of(x);
    int k = (int)(bits >> 52) - 1023;
    double m = bn_double_of((bits & UINT64_C(0xFFFFFFFFFFFFF))
                            | UINT64_C(0x3FF0000000000000));

    if (m > 0x1.6a09e667f3bcdp+0) {
        m *= 0.5;
        k++;
    }
    return k * BN_LN2_HI
           + (bn_atanh2((m - 1) / (m + 1)) + (k * BN_LN2_LO + c / x));
}

/* Returns log x: -inf at 0, NaN below. */
static double bn_log(double x)
{
    if (!(x > 0))
        return x == 0 ? -BN_INF : BN_NAN;
    if (x == BN_INF)
        return x;
    if (x < 0x1p-1022)                              /* denormal */
        return bn_log_corrected(x * 0x1p60, 0) - 60 * 0x1.62e42fefa39efp-1;
    return bn_log_corrected(x, 0);
}

/* Returns log(1 + x), accurate near x = 0. Farther away, what 1 + x rounds off
 * is passed on as a correction. */
static double bn_log1p(double x)
{
    double y;

    if (x > -0.29 && x < 0.41)
        return x == 0 ? x : bn_atanh2(x / (2 + x));
    if (!(x > -1))
        return x == -1 ? -BN_INF : BN_NAN;
    if (x == BN_INF)
        return x;
    y = 1 + x;
    return bn_log_corrected(y, x > 1 ? 1 - (y - x) : x - (y - 1));
}

/* Returns tanh x = (1 - e) / (1 + e) with e = e^(-2|x|), and x's sign. */
static double bn_tanh(double x)
{
    const double a = x < 0 ? -x : x;
    const double e = bn_expm1(-2 * a);
    const double t = (0 - e) / (2 + e);

    return x < 0 ? -t : t;
}
