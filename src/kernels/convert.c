/* One element of each type, to float and from float. Rounding is to nearest,
 * ties to even; NaN comes out canonical. */

BN_INLINE float bn_from_bf16(uint16_t h)
{
    return bn_float_of((uint32_t)h << 16);
}

/* bf16 is the upper half of a float. Adding 0x7FFF, and 1 more if the upper
 * half is odd, carries into it exactly if it has to be rounded up. */
BN_INLINE uint16_t bn_to_bf16(float x)
{
    const uint32_t bits = bn_bits_of(x);

    if (x != x)
        return 0x7FC0;
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* f16 has a sign, 5 bits of exponent (bias 15) and 10 of fraction:
 *
 *     f16    s eeeee ffffffffff
 *     f32    s eeeeeeee fffffffffffffffffffffff     (bias 127)
 *
 * So a normal number is 13 bits to the left, plus the difference of the biases
 * in its exponent. */
BN_INLINE float bn_from_f16(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16;
    const uint32_t rest = h & 0x7FFF;

    if (rest >= 0x7C00)                             /* infinity, NaN */
        return bn_float_of(sign | 0x7F800000 | (rest & 0x3FF) << 13
                           | (rest > 0x7C00 ? 0x400000u : 0u));
    if (rest < 0x400) {                             /* zero, denormal */
        const float x = (float)rest * 0x1p-24f;

        return sign ? -x : x;
    }
    return bn_float_of(sign | ((rest << 13) + ((127u - 15u) << 23)));
}

BN_INLINE uint16_t bn_to_f16(float x)
{
    const uint32_t bits = bn_bits_of(x);
    const uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    const uint32_t rest = bits & 0x7FFFFFFF;

    if (x != x)
        return 0x7E00;
    if (rest >= 0x477FF000)                         /* 65520 and above */
        return (uint16_t)(sign | 0x7C00);
    if (rest < 0x38800000) {                        /* below 2^-14 */
        /* adding 1/2 puts the last bit that fits at the end of the float */
        const float y = bn_float_of(rest) + 0.5f;

        return (uint16_t)(sign | (bn_bits_of(y) - 0x3F000000u));
    }
    return (uint16_t)(sign | ((rest - ((127u - 15u) << 23) + 0xFFF
                               + (rest >> 13 & 1)) >> 13));
}

/* a * b + c rounded once: by the instruction where the compiler may use it, and
 * where not, in double, where the product is exact. */
#ifdef __FP_FAST_FMAF
BN_INLINE float bn_fma(float a, float b, float c)
{
    return __builtin_fmaf(a, b, c);
}
#else
/* Returns p + q rounded to float, where s is p + q rounded to double and
 * finite. Rounding twice may be wrong. So s is first rounded to odd instead,
 * after which rounding to float is right (Boldo and Melquiond 2008). */
BN_NOINLINE static float bn_fma_slow(double p, double q, double s)
{
    const double t = s - p;
    const double error = (p - (s - t)) + (q - t);
    uint64_t bits = bn_bits64_of(s);

    if (error != 0 && !(bits & 1))
        bits += (error > 0) == (s > 0) ? 1 : (uint64_t)-1;
    return (float)bn_double_of(bits);
}

/* p is exact. What the sum rounds off matters only if s is half way between two
 * floats, which happens once in 2^29 times. Denormal floats have other half
 * ways, so they all take the slow function. */
BN_INLINE float bn_fma(float a, float b, float c)
{
    const double p = (double)a * b, q = c, s = p + q;
    const uint64_t bits = bn_bits64_of(s);

    if ((bits & 0x1FFFFFFF) == 0x10000000
        || bits << 1 < UINT64_C(0x3810000000000000) << 1)   /* 2^-126 */
        return bn_fma_slow(p, q, s);
    return (float)s;
}
#endif

/* ---- An element of a buffer --------------------------------------------- */

/* Returns the bytes of an element. */
static size_t bn_type_size(uint32_t type)
{
    return type == BNFLOSS_F32 ? 4 : 2;
}

/* Returns the address of element i. */
static const void *bn_at(uint32_t type, const void *p, int64_t i)
{
    return (const char *)p + (size_t)i * bn_type_size(type);
}

static void *bn_at_mut(uint32_t type, void *p, int64_t i)
{
    return (char *)p + (size_t)i * bn_type_size(type);
}

/* Returns element i as a float. */
static float bn_get(uint32_t type, const void *p, int64_t i)
{
    switch (type) {
    case BNFLOSS_F32:  return ((const float *)p)[i];
    case BNFLOSS_BF16: return bn_from_bf16(((const uint16_t *)p)[i]);
    default:           return bn_from_f16(((const uint16_t *)p)[i]);
    }
}

/* Stores x, rounded to the type, as element i. */
static void bn_put(uint32_t type, void *p, int64_t i, float x)
{
    x = bn_canonical_f32(x);
    switch (type) {
    case BNFLOSS_F32:  ((float *)p)[i] = x; break;
    case BNFLOSS_BF16: ((uint16_t *)p)[i] = bn_to_bf16(x); break;
    default:           ((uint16_t *)p)[i] = bn_to_f16(x); break;
    }
}
