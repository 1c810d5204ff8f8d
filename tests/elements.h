/* Elements of every type, for values that the type holds exactly.
 *
 * SPDX-License-Identifier: MIT */
#ifndef ELEMENTS_H
#define ELEMENTS_H

#include "../include/bnfloss.h"

#include <stdint.h>
#include <string.h>

static inline uint32_t bits_of(float x)
{
    uint32_t b;

    memcpy(&b, &x, sizeof b);
    return b;
}

static inline float float_of(uint32_t b)
{
    float x;

    memcpy(&x, &b, sizeof x);
    return x;
}

static inline size_t elem_size(uint32_t type)
{
    return type == BNFLOSS_F32 ? 4 : 2;
}

/* What does not fit is cut off, or becomes infinite. */
static inline uint16_t f16_from(float x)
{
    const uint32_t b = bits_of(x), fraction = b & 0x7FFFFF;
    const uint32_t sign = b >> 16 & 0x8000;
    const int e = (int)(b >> 23 & 255) - 127;

    if (e == 128)
        return (uint16_t)(sign | 0x7C00 | (fraction ? 0x200 : 0));
    if (e > 15)
        return (uint16_t)(sign | 0x7C00);
    if (e >= -14)
        return (uint16_t)(sign | (uint32_t)(e + 15) << 10 | fraction >> 13);
    return (uint16_t)(sign | (e < -24 ? 0 : (fraction | 0x800000)
                                            >> (-e - 14 + 13)));
}

static inline float f16_to(uint16_t h)
{
    const uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31;
    const uint32_t fraction = h & 0x3FF;

    if (e == 31)
        return float_of(sign | 0x7F800000 | fraction << 13);
    if (e == 0)
        return (sign ? -1.0f : 1.0f) * (float)fraction * 0x1p-24f;
    return float_of(sign | (e + 112) << 23 | fraction << 13);
}

static inline void elem_put(uint32_t type, void *p, int64_t i, float x)
{
    if (type == BNFLOSS_F32)
        ((float *)p)[i] = x;
    else if (type == BNFLOSS_BF16)
        ((uint16_t *)p)[i] = (uint16_t)(bits_of(x) >> 16);
    else
        ((uint16_t *)p)[i] = f16_from(x);
}

static inline float elem_get(uint32_t type, const void *p, int64_t i)
{
    if (type == BNFLOSS_F32)
        return ((const float *)p)[i];
    if (type == BNFLOSS_BF16)
        return float_of((uint32_t)((const uint16_t *)p)[i] << 16);
    return f16_to(((const uint16_t *)p)[i]);
}

/* Whether it is the canonical quiet NaN of its type, the only one that a call
 * may write. */
static inline int elem_is_nan(uint32_t type, const void *p, int64_t i)
{
    if (type == BNFLOSS_F32)
        return bits_of(((const float *)p)[i]) == 0x7FC00000;
    return ((const uint16_t *)p)[i]
           == (type == BNFLOSS_BF16 ? 0x7FC0 : 0x7E00);
}

static inline const char *type_name(uint32_t type)
{
    return type == BNFLOSS_F32 ? "f32" : type == BNFLOSS_BF16 ? "bf16" : "f16";
}

#endif /* ELEMENTS_H */
