/* The coefficients of a row's gradient, in double, once per row. */

/* The sign and the fraction of a double, and the exponent of 1. */
#define BN_MANTISSA(bits)                                                     \
    bn_double_of(((bits) & UINT64_C(0x800FFFFFFFFFFFFF))                      \
                 | UINT64_C(0x3FF0000000000000))

/* The factor of a plain gradient, m * 2^e * e^x / 2^power, with the exponent
 * kept apart. The product is rounded once. So the bits are the same for any
 * power of the exponentials, and whether they were saved or computed again. */
typedef struct bn_factor {
    double m;                   /* of 24 bits, 1 <= |m| <= 2, or 0 */
    int32_t e, power;
} bn_factor;

/* Returns the factor with which the gradient is scale * e^(z' - leader). */
static bn_factor bn_factor_for(const bn_map *map, double leader, double scale)
{
    const float origin = bn_origin(map, leader, (float)leader);
    const int32_t power = origin != 0 ? 0 : bn_power(leader);
    const double rest = origin != 0 ? 1 : bn_exp(power * BN_LN2_F32 - leader);
    const uint64_t bits = bn_bits64_of(scale * BN_POW8_UNSCALE * rest);
    bn_factor factor;

    factor.power = power;
    factor.e = (int32_t)(bits >> 52 & 0x7FF) - 1023;
    factor.m = factor.e < -140 ? 0 : (double)(float)BN_MANTISSA(bits);
    return factor;
}

/* Returns log2 of the smallest e^x / 2^power that counts. Its gradient is above
 * 2^-125, so that no denormal is made, and any power of a chunk can hold it. */
static int32_t bn_factor_cutoff(const bn_factor *factor)
{
    const int32_t cutoff = -125 - factor->e;

    return cutoff > -123 ? cutoff : -123;
}

/* Fills in the coefficients of a plain gradient. The exponential is e^x /
 * 2^power as in the sums, so a saved one can take its place. */
static void bn_coefficients_plain(bn_coefficients *co, const bn_factor *factor,
                                  float origin)
{
    /* Where the factor or its products would leave the range of a float, a
     * power of two moves over to the exponential. A factor that is out of
     * range even so has no product within it. */
    const int32_t moved = factor->e > 80 ? -125 : factor->e < -80 ? 40 : 0;
    const int32_t cutoff = bn_factor_cutoff(factor);

    co->origin = origin;
    co->uniform = 0;
    co->post = 1;
    co->underflow_at = bn_underflow_at(factor->power + moved);
    bn_table_for_sum(co->table, factor->power + moved);
    co->factor = (float)(factor->m * bn_pow2(factor->e + moved));
    co->cutoff = co->no_mask_above = BN_INF_F32;
    if (factor->m == 0)
        return;
    co->cutoff = (float)bn_pow2(cutoff - moved);
    if (origin == 0)
        co->no_mask_above = bn_underflow_at(factor->power + cutoff + 127);
}

/* Fills in the coefficients of a general gradient. The table contains the
 * factor, so the exponential is factor * e^(z' - leader). Results below about
 * 2^-125 become 0, so that no denormal is made. */
static void bn_coefficients_general(bn_coefficients *co, const bn_map *map,
                                    double leader, double factor,
                                    double uniform)
{
    /* where it matters, the leader's z' is scale * z, exact in double */
    const float origin = bn_origin(map, leader, (float)(leader / map->scale));
    const double x = origin != 0 ? 0 : -leader;
    const double n = (x * BN_INV_LN2 + BN_ROUND) - BN_ROUND;
    const uint64_t bits = bn_bits64_of(factor * bn_exp(x - n * BN_LN2_F32));
    int e = (int)(bits >> 52 & 0x7FF) - 1023;

    co->origin = origin;
    co->uniform = (float)uniform;
    co->post = 1;
    co->factor = co->cutoff = co->no_mask_above = 0;
    if (e == -1023) {           /* 0 or a denormal: nothing is left */
        memset(co->table, 0, sizeof co->table);
        co->underflow_at = BN_INF_F32;
        return;
    }
    if (e >= 120) {             /* a gradient that overflows is to become */
        e = e < 240 ? e - 120 : 120;    /* infinite, not to wrap around */
        co->post = 0x1p120f;
    }
    bn_table_for_product(co->table, BN_MANTISSA(bits), e + (int32_t)n);
    co->underflow_at = (float)((-125.5 - e - n) * 0x1.62e42fefa39efp-1);
}
