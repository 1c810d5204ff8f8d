/* The tables of the kernels' exponential: 2^(j/8) for j = 0 .. 7, in the form
 * that exp.h explains. tests/recipes/exp_constants.py makes the constants. */

/* 2^(j/8), times a factor that puts all eight next to a float. */
static const float bn_pow8[8] = {
    0x1.16747cp+0f, 0x1.2fa848p+0f, 0x1.4b2404p+0f, 0x1.691c8ap+0f,
    0x1.89cb7cp+0f, 0x1.ad6fb4p+0f, 0x1.d44dbcp+0f, 0x1.feb052p+0f
};
#define BN_POW8_FACTOR 0x1.16747cp+0f       /* of the table alone, as a float */
#define BN_POW8_UNSCALE 0x1.d6b62955437abp-1    /* 1 / (that, and that of e^r's
                                                 * polynomial) */

/* Makes the table of e^x / 2^power times the table's own factor, for sums. */
static void bn_table_for_sum(uint32_t table[8], int32_t power)
{
    for (uint32_t j = 0; j < 8; j++)
        table[j] = bn_bits_of(bn_pow8[j]) - (j << 20)
                   - ((uint32_t)power << 23);
}

/* Makes the table of factor * 2^power * e^x, for gradients; |factor| in [1, 2).
 * It takes out the polynomial's common factor, 1 + 1.881e-8. */
static void bn_table_for_product(uint32_t table[8], double factor,
                                 int32_t power)
{
    /* 2^(j/8) in double */
    static const double pow8[8] = {
        0x1p+0, 0x1.172b83c7d517bp+0, 0x1.306fe0a31b715p+0,
        0x1.4bfdad5362a27p+0, 0x1.6a09e667f3bcdp+0, 0x1.8ace5422aa0dbp+0,
        0x1.ae89f995ad3adp+0, 0x1.d5818dcfba487p+0
    };

    for (uint32_t j = 0; j < 8; j++) {
        const float f = (float)(factor * (1 - 1.8809679e-8) * pow8[j]);

        table[j] = bn_bits_of(f) - (j << 20) + ((uint32_t)power << 23);
    }
}

/* Returns x / ln 2, rounded. */
static int32_t bn_power(double x)
{
    return (int32_t)((x * BN_INV_LN2 + BN_ROUND) - BN_ROUND);
}

/* Returns the x up to which e^x / 2^power is no normal float. */
static float bn_underflow_at(int32_t power)
{
    return (float)((power - 125.5) * 0x1.62e42fefa39efp-1);
}
