/* Every operation of every instruction set, the conversions, the fused
 * multiply-add and the exponential: each against a definition that shares no
 * code with it.
 *
 * SPDX-License-Identifier: MIT
 *
 * This file includes the library's source. Two macros let it look inside:
 * BN_PREFETCH records the addresses that the kernels prefetch, and
 * BN_EACH_ISA names a file that is compiled once for each instruction set.
 *
 * "--all" takes every float there is: some minutes. */
#include <stdint.h>

/* What the kernels prefetch, if somebody wants to know, and into which level
 * it has to be, 0 where there are two. */
static struct asked {
    uintptr_t at[8192];
    int n, wanted, level, wrong;
} asked;

static void ask(const void *p, int level)
{
    if (!asked.wanted)
        return;
    asked.wrong += asked.level && level != asked.level;
    if (asked.n < 8192)
        asked.at[asked.n] = (uintptr_t)p;
    asked.n++;
}

#define BN_PREFETCH(p, level) ask(p, level)

enum { ADD, SUB, MUL, DIV, FMA, MAX, MIN, SET1, MASKED, SELECT, EQUAL, ABOVE,
       POW2, EXP, TANH, SECH2, LOAD_BF16, LOAD_F16, STORE_BF16, STORE2_BF16,
       STORE_F16, WIDEN,
       MAX_SIGNED, MIN_UNSIGNED, SELECT_NEGATIVE, SET1_INT };

/* out[i] = op(a[i], b[i], c[i]) for i < n, n a multiple of 16. MASKED's and
 * SELECT's mask is bn_v_above(a, b); EQUAL and ABOVE ask each lane alone. */
typedef void op_floats(int op, const float *a, const float *b,
                         const float *c, const uint32_t *table, float *out,
                         int n);
/* To and from 16 bits. */
typedef void op_halves(int op, float *f, uint16_t *h, int n);
/* out[i] = op(a[i], b[i], c[i]) on 16-bit integers, n a multiple of 32. */
typedef void op_ints(int op, const uint16_t *a, const uint16_t *b,
                       const uint16_t *c, uint16_t *out, int n);
/* sum[i] += (double)f[i] */
typedef void op_widen(double *sum, const float *f, int n);

#define BN_EACH_ISA "../../tests/isa_ops.h"
#include "../src/bnfloss.c"

#include "test.h"

#include <math.h>
#include <stdlib.h>

typedef struct isa_ops {
    const char *name;
    const int *lanes;            /* of its 16-bit words */
    op_floats *floats;
    op_halves *halves;
    op_ints *ints;
    op_widen *widen;
} isa_ops;

#define ISA_OPS(isa)                                                          \
    { #isa, &bn_ops_lanes_##isa, bn_ops_floats_##isa,                         \
      bn_ops_halves_##isa, bn_ops_ints_##isa, bn_ops_widen_##isa }

static const isa_ops all_ops[] = {
    ISA_OPS(scalar),
#ifdef BN_HAVE_AVX2
    ISA_OPS(avx2),
#endif
#ifdef BN_HAVE_AVX512
    ISA_OPS(avx512),
#endif
#ifdef BN_HAVE_AVX512BF16
    ISA_OPS(avx512bf16),
#endif
#ifdef BN_HAVE_NEON
    ISA_OPS(neon),
#endif
};

static const isa_ops *ops_of(const char *isa)
{
    for (size_t i = 0; i < sizeof all_ops / sizeof *all_ops; i++)
        if (strcmp(all_ops[i].name, isa) == 0 && *all_ops[i].lanes)
            return all_ops + i;
    CHECK(0, "no operations of %s: see all_ops", isa);
    return all_ops;
}

/* The same number, bit for bit; any NaN is like any other. */
static int same(float a, float b)
{
    return a != a ? b != b : bn_bits_of(a) == bn_bits_of(b);
}

/* ---- Words -------------------------------------------------------------- */

enum { LANES = 16, SPECIALS = 32, BATCH = 1024 };

static const uint32_t special_bits[SPECIALS] = {
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x807FFFFF,
    0x00800000, 0x80800000, 0x3F800000, 0xBF800000, 0x3F800001, 0x3F7FFFFF,
    0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00000,
    0x7F800001, 0xFFBFFFFF, 0x42AEAC50, 0xC2AEAC50, 0x4B400000, 0x4B3FFFFF,
    0x40490FDB, 0x33800000, 0xB3800000, 0x3EAAAAAB, 0x7EFFFFFF, 0x00FFFFFF,
    0x5F000000, 0xDF000000
};

/* What a word means, in plain C on one lane. */
static float meaning(int op, float a, float b, float c)
{
    volatile float r;           /* one rounding to float, on any machine */

    switch (op) {
    case ADD:    r = a + b; return r;
    case SUB:    r = a - b; return r;
    case MUL:    r = a * b; return r;
    case DIV:    r = a / b; return r;
    case FMA:    return fmaf(a, b, c);
    case MAX:    return a > b ? a : b;
    case MIN:    return a < b ? a : b;
    case SET1:   return a;
    case MASKED:   return a <= b ? 0.0f : c;
    default:     return a <= b ? c : a;     /* SELECT */
    }
}

static void ops_on(const isa_ops *p, const float *a, const float *b,
                   const float *c, int n)
{
    static const char *const names[] = { "add", "sub", "mul", "div", "fma",
                                         "max", "min", "set1", "keep",
                                         "select" };
    static float out[BATCH];
    uint32_t table[8] = { 0 };

    for (int op = ADD; op <= SELECT; op++) {
        p->floats(op, a, b, c, table, out, n);
        for (int i = 0; i < n; i++) {
            /* SET1 shows a lane's neighbour: all lanes must be equal */
            const float want = meaning(op, a[i], b[i], c[i]);

            CHECK(same(out[i], want), "%s v_%s(%a, %a, %a) = %a, not %a",
                  p->name, names[op], (double)a[i], (double)b[i],
                  (double)c[i], (double)out[i], (double)want);
        }
    }
}

static void equal_on(const isa_ops *p, const float *a, const float *b, int n,
                     int vl)
{
    static float out[BATCH];
    uint32_t table[8] = { 0 };

    p->floats(EQUAL, a, b, a, table, out, n);
    for (int i = 0; i < n; i++) {
        int any = 0;

        for (int k = i / vl * vl; k < i / vl * vl + vl; k++)
            any |= b[k] == a[i];
        CHECK(out[i] == (float)any, "%s v_any_equal wrong for %a", p->name,
              (double)a[i]);
    }
    p->floats(ABOVE, a, b, a, table, out, n);
    for (int i = 0; i < n; i++) {
        int all = 1;

        for (int k = i / vl * vl; k < i / vl * vl + vl; k++)
            all &= !(b[k] <= a[i]);
        CHECK(out[i] == (float)all, "%s v_all_above wrong for %a", p->name,
              (double)a[i]);
    }
}

static int lanes_of(const char *isa)
{
    return strncmp(isa, "avx512", 6) == 0 ? 16 : strcmp(isa, "avx2") == 0 ? 8
           : strcmp(isa, "neon") == 0 ? 4 : 1;
}

/* a b is 1 - x^2 times half a unit of c's last place, c denormal or not, and
 * what x^2 adds is at the end of a double's digits or beyond: the sum lies next
 * to where it would be tied, where a double rounds it to, or next to that. */
static void next_to_tie(rng *r, float *a, float *b, float *c)
{
    const float x = (float)rng_below(r, 1u << rng_below(r, 13)) * 0x1p-23f;
    const uint32_t sign = (uint32_t)rng_below(r, 2) << 31;
    const uint32_t exponent = rng_below(r, 2) ? (uint32_t)rng_below(r, 254)
                                              : (uint32_t)rng_below(r, 2);
    const int e = (exponent > 1 ? (int)exponent : 1) - 127 - 24;
    const uint32_t fraction = (uint32_t)rng_below(r, 1u << rng_below(r, 24));

    *a = ldexpf(1 + x, e / 2) * (rng_below(r, 2) ? -1.0f : 1.0f);
    *b = ldexpf(1 - x, e - e / 2);
    *c = bn_float_of(sign | exponent << 23 | fraction);
}

/* All triples of special values, then random bits; for fma also products
 * that nearly cancel with the third, or nearly make a tie of it, where a second
 * rounding would show. */
static void ops(const isa_ops *p)
{
    static float a[BATCH], b[BATCH], c[BATCH];
    rng r = { 3 };
    int n = 0;

    for (int t = 0; t < SPECIALS * SPECIALS * SPECIALS; t++) {
        a[n] = bn_float_of(special_bits[t % SPECIALS]);
        b[n] = bn_float_of(special_bits[t / SPECIALS % SPECIALS]);
        c[n] = bn_float_of(special_bits[t / SPECIALS / SPECIALS]);
        if (++n == BATCH) {
            ops_on(p, a, b, c, n);
            equal_on(p, a, b, n, lanes_of(p->name));
            n = 0;
        }
    }
    for (int t = 0; t < 120; t++) {
        for (int i = 0; i < BATCH; i++) {
            a[i] = bn_float_of((uint32_t)rng_next(&r));
            b[i] = bn_float_of((uint32_t)rng_next(&r));
            c[i] = bn_float_of((uint32_t)rng_next(&r));
            if (t % 4 == 1) {
                a[i] = (float)rng_normal(&r);
                b[i] = (float)rng_normal(&r);
            }
            if (t % 2)          /* c = -(a b) and a little */
                c[i] = bn_float_of(bn_bits_of(-a[i] * b[i])
                                   + (uint32_t)rng_below(&r, 5) - 2);
            if (t % 4 == 2)     /* a third far below the product's last bit */
                c[i] = a[i] * b[i] * bn_float_of((uint32_t)
                    (127 - rng_below(&r, 60)) << 23);
            if (t % 4 == 0)
                next_to_tie(&r, a + i, b + i, c + i);
        }
        ops_on(p, a, b, c, BATCH);
        equal_on(p, a, b, BATCH, lanes_of(p->name));
    }
}

/* Every pair of the words where signs and carries turn, and random ones. */
static void ints(const isa_ops *p)
{
    static const uint16_t turns[] = {
        0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7C00, 0x7F80, 0x7FFE, 0x7FFF,
        0x8000, 0x8001, 0x80FF, 0x8100, 0xFBFF, 0xFC00, 0xFF7F, 0xFF80, 0xFFFE,
        0xFFFF
    };
    enum { TURNS = sizeof turns / sizeof *turns };
    static uint16_t a[BATCH], b[BATCH], c[BATCH], out[BATCH];
    rng r = { 10 };

    for (int k = 0; k < 50; k++) {
        for (int i = 0; i < BATCH; i++) {
            a[i] = k ? (uint16_t)rng_next(&r) : turns[i % TURNS];
            b[i] = k ? (uint16_t)rng_next(&r) : turns[i / TURNS % TURNS];
            c[i] = (uint16_t)rng_next(&r);
        }
        for (int op = MAX_SIGNED; op <= SET1_INT; op++) {
            p->ints(op, a, b, c, out, BATCH);
            for (int i = 0; i < BATCH; i++) {
                const int x = a[i] ^ 0x8000, y = b[i] ^ 0x8000;
                const uint16_t want = op == MAX_SIGNED ? x > y ? a[i] : b[i]
                    : op == MIN_UNSIGNED ? a[i] < b[i] ? a[i] : b[i]
                    : op == SET1_INT ? a[i / *p->lanes * *p->lanes]
                    : a[i] >> 15 ? b[i] : c[i];

                CHECK(out[i] == want, "%s word %d of %04x, %04x, %04x = %04x",
                      p->name, op, (unsigned)a[i], (unsigned)b[i],
                      (unsigned)c[i], (unsigned)out[i]);
            }
        }
    }
}

static void widen(const isa_ops *p)
{
    rng r = { 4 };
    double sum[LANES], want[LANES];
    float f[LANES];

    for (int t = 0; t < 2000; t++) {
        for (int i = 0; i < LANES; i++) {
            sum[i] = want[i] = rng_normal(&r) * (double)rng_below(&r, 1 << 30);
            f[i] = t < 2 ? bn_float_of(special_bits[t * LANES + i])
                         : bn_float_of((uint32_t)rng_next(&r));
            want[i] += (double)f[i];
        }
        p->widen(sum, f, LANES);
        for (int i = 0; i < LANES; i++)
            CHECK(want[i] != want[i] ? sum[i] != sum[i] : sum[i] == want[i],
                  "%s v_widen_add(%a)", p->name, (double)f[i]);
    }
}

/* word[t mod 8] + (t << 20), for every low byte and many words. */
static void pow2(const isa_ops *p)
{
    static float t[BATCH], out[BATCH];
    uint32_t table[8];
    rng r = { 5 };

    for (int k = 0; k < 50; k++) {
        for (int j = 0; j < 8; j++)
            table[j] = (uint32_t)rng_next(&r);
        for (int i = 0; i < BATCH; i++)
            t[i] = bn_float_of(k ? 0x4B400000u - 512 + (uint32_t)i
                                 : (uint32_t)rng_next(&r));
        p->floats(POW2, t, t, t, table, out, BATCH);
        for (int i = 0; i < BATCH; i++) {
            const uint32_t bits = bn_bits_of(t[i]);
            const uint32_t want = table[bits % 8] + bits * (1u << 20);

            CHECK(same(out[i], bn_float_of(want)), "%s v_pow2 at %08x",
                  p->name, (unsigned)bits);
        }
    }
}

/* ---- Conversions, from the formats' definition -------------------------- */

typedef struct format {
    const char *name;
    int load, store;
    int fraction, emin, emax;   /* bits; exponents of normal numbers */
    uint16_t infinity, nan;
} format;

enum { PAIR = 2 };             /* not of denormals: scalar.c */
static const format formats[3] = {
    { "bf16", LOAD_BF16, STORE_BF16, 7, -126, 127, 0x7F80, 0x7FC0 },
    { "f16", LOAD_F16, STORE_F16, 10, -14, 15, 0x7C00, 0x7E00 },
    { "bf16 pair", LOAD_BF16, STORE2_BF16, 7, -126, 127, 0x7F80, 0x7FC0 },
};

static double value_of(const format *f, uint16_t h)
{
    const int e = (h & 0x7FFF) >> f->fraction;
    const int m = h & ((1 << f->fraction) - 1);
    const double x = e == 0 ? ldexp(m, f->emin - f->fraction)
        : ldexp((1 << f->fraction) + m, e - 1 + f->emin - f->fraction);

    if ((h & 0x7FFF) >= f->infinity)
        return m ? BN_NAN : h & 0x8000 ? -BN_INF : BN_INF;
    return h & 0x8000 ? -x : x;
}

/* Nearest, ties to even: count the format's last places in |x|. */
static uint16_t nearest(const format *f, float x)
{
    const uint16_t sign = signbit(x) ? 0x8000 : 0;
    const double a = fabs((double)x);
    double n;
    int e;

    if (x != x)
        return f->nan;
    if (isinf(x))
        return sign | f->infinity;
    frexp(a, &e);
    e = a == 0 || e - 1 < f->emin ? f->emin : e - 1;
    n = nearbyint(ldexp(a, f->fraction - e));
    if (e == f->emax && n == ldexp(1, f->fraction + 1))
        return sign | f->infinity;
    if (e > f->emax)
        return sign | f->infinity;
    /* a carry out of the fraction steps the exponent by itself */
    return (uint16_t)(sign | (uint16_t)((int)n
                      + ((e - f->emin) << f->fraction)));
}

static void load_halves(const isa_ops *p)
{
    static uint16_t h[65536];
    static float x[65536];

    for (int k = 0; k < 2; k++) {
        const format *f = formats + k;

        for (int i = 0; i < 65536; i++)
            h[i] = (uint16_t)i;
        p->halves(f->load, x, h, 65536);
        for (int i = 0; i < 65536; i++)
            CHECK(same(x[i], (float)value_of(f, h[i])), "%s v_load_%s(%04x)",
                  p->name, f->name, (unsigned)h[i]);
    }
}

/* The floats to convert. NaN: the kernels store the canonical one alone. */
typedef struct floats {
    float x[BATCH];
    uint16_t want[3][BATCH];
    int n;
} floats;

static void store_flush(floats *s)
{
    static uint16_t h[BATCH];

    for (int i = 0; i < s->n; i++)
        for (int k = 0; k < 3; k++)
            s->want[k][i] = nearest(formats + k, s->x[i]);
    FOR_EACH_ISA(isa) {
        const isa_ops *p = ops_of(isa);

        for (int k = 0; k < 3; k++) {
            p->halves(formats[k].store, s->x, h, (s->n + 31) / 32 * 32);
            for (int i = 0; i < s->n; i++)
                CHECK(h[i] == s->want[k][i]
                      || (k == PAIR && fpclassify(s->x[i]) == FP_SUBNORMAL),
                      "%s v_store_%s(%a) = %04x, not "
                      "%04x", isa, formats[k].name, (double)s->x[i],
                      (unsigned)h[i], (unsigned)s->want[k][i]);
        }
    }
    s->n = 0;
}

static void store_one(floats *s, uint32_t bits)
{
    const float x = bn_float_of(bits);

    if (x != x && bits != 0x7FC00000)
        return;
    s->x[s->n++] = x;
    if (s->n == BATCH)
        store_flush(s);
}

static void store_halves(int all)
{
    static const uint32_t low16[] = { 0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF };
    static const uint32_t low13[] = { 0, 1, 0xFFF, 0x1000, 0x1001, 0x1FFF };
    static floats s;
    rng r = { 6 };

    s.n = 0;
    for (uint64_t i = 0; all && i < UINT64_C(1) << 32; i++)
        store_one(&s, (uint32_t)i);
    for (uint32_t i = 0; i < 65536; i++)            /* bf16's ties */
        for (int k = 0; k < 6; k++)
            store_one(&s, i << 16 | low16[k]);
    for (uint32_t i = 0; i < 1 << 19; i += 3)       /* f16's: normal, */
        for (int k = 0; k < 6; k++)
            store_one(&s, i << 13 | low13[k]);
    for (int i = 0; i < 2048; i++)                  /* and denormal */
        for (int k = -1; k <= 1; k++) {
            const float tie = (float)ldexp(i + 0.5, -24);

            store_one(&s, bn_bits_of(tie) + (uint32_t)k);
            store_one(&s, bn_bits_of(-tie) + (uint32_t)k);
        }
    for (int i = 0; i < 300000; i++)
        store_one(&s, (uint32_t)rng_next(&r));
    store_flush(&s);
}

/* A NaN of any payload, which only a caller's logits can hold: it loads as a
 * NaN everywhere, and scalar's conversions give back the canonical one. */
static void nans(void)
{
    for (uint32_t i = 1; i < 1 << 23; i = i * 3 + 1)
        for (uint32_t sign = 0; sign < 2; sign++) {
            const float x = bn_float_of(sign << 31 | 0x7F800000 | i);

            CHECK(bn_to_bf16(x) == 0x7FC0 && bn_to_f16(x) == 0x7E00,
                  "NaN %08x", (unsigned)bn_bits_of(x));
        }
    for (uint32_t i = 1; i < 1 << 10; i++)      /* quiet, with its payload */
        for (uint32_t sign = 0; sign < 2; sign++)
            CHECK(bn_bits_of(bn_from_f16((uint16_t)(sign << 15 | 0x7C00 | i)))
                  == (sign << 31 | 0x7FC00000 | i << 13), "f16 NaN %u", i);
}

/* ---- The exponential ---------------------------------------------------- */

typedef struct worst { double error, at; } worst;

/* Relative error in u = 2^-24 of unscale * e against exp(x - c), libm's, where
 * the table's reference is c = k ln 2 in the kernels' own ln 2. bound: next to
 * c; exp.h allows 0.05 u more for each unit of distance. */
static void exp_on(const isa_ops *p, const uint32_t *table, double unscale,
                   const float *x, int n, int k, double bound, worst *w)
{
    static float e[BATCH];

    p->floats(EXP, x, x, x, table, e, n);
    for (int i = 0; i < n; i++) {
        const double d = (double)x[i] - k * BN_LN2_F32;
        const double error = fabs((double)e[i] * unscale / exp(d) - 1)
                             * 0x1p24;
        const double allowed = bound + 0.05 * fabs(d);

        CHECK(error <= allowed, "%s exp(%a) is %.3f u wrong, not %.3f",
              p->name, (double)x[i], error, allowed);
        if (error - 0.05 * fabs(d) > w->error) {
            w->error = error - 0.05 * fabs(d);
            w->at = (double)x[i];
        }
    }
}

/* The floats from -104 to 0, then as far as the reduction is exact. The sums'
 * table is one rounding better than the gradients', whose eight words are
 * rounded by themselves. */
static void exponential(const isa_ops *p, uint32_t step)
{
    static float x[BATCH];
    worst sums = { 0, 0 }, products = { 0, 0 };
    uint32_t sum_table[8], product_table[8];
    rng r = { 7 };
    int n = 0;

    bn_table_for_sum(sum_table, -40);
    bn_table_for_product(product_table, 1, 40);
    for (uint64_t bits = 0x80000000u; bits <= 0xC2D00000u; bits += step) {
        x[n++] = bn_float_of((uint32_t)bits);
        if (n == BATCH) {
            exp_on(p, sum_table, BN_POW8_UNSCALE, x, n, -40, 1.5, &sums);
            exp_on(p, product_table, 1, x, n, -40, 2.5, &products);
            n = 0;
        }
    }
    for (int i = 0; i < 4000; i++) {
        const int k = (int)rng_below(&r, 187000) - 93500;
        const double span = i % 2 ? 4 : 160;

        for (n = 0; n < LANES; n++)
            x[n] = (float)((k + span * (rng_uniform(&r) - 0.75))
                           * BN_LN2_F32);
        bn_table_for_sum(sum_table, k);
        exp_on(p, sum_table, BN_POW8_UNSCALE, x, n, k, 1.5, &sums);
    }
    printf("%-7s exp: %.3f u (at %a) and 0.05 u |x - c|; with a gradient's "
           "table %.3f u\n", p->name, sums.error, sums.at, products.error);
}

static void exponential_special(const isa_ops *p)
{
    const float x[LANES] = { BN_NAN_F32, -BN_NAN_F32, 0, -0.0f };
    float out[LANES];
    uint32_t unit[8];

    bn_table_for_product(unit, 1, 0);
    p->floats(EXP, x, x, x, unit, out, LANES);
    CHECK(out[0] != out[0] && out[1] != out[1], "%s exp(NaN)", p->name);
    CHECK(out[2] == 1 && out[3] == 1, "%s exp(0)", p->name);
}

/* tanh and sech^2 in u. The softcap's promise rests on tanh's absolute error;
 * its relative one stays small too, all the way down. */
static void hyperbolic(const isa_ops *p)
{
    static float x[BATCH], t[BATCH], s[BATCH];
    double worst_t = 0, worst_a = 0, worst_s = 0;
    uint32_t unit[8];
    rng r = { 8 };

    bn_table_for_sum(unit, 0);
    for (int k = 0; k < 300; k++) {
        for (int i = 0; i < BATCH; i++)
            x[i] = (float)((rng_next(&r) & 1 ? 1 : -1) * exp(k < 150
                ? rng_uniform(&r) * 80 - 76 : rng_uniform(&r) * 7 - 4));
        p->floats(TANH, x, x, x, unit, t, BATCH);
        p->floats(SECH2, x, x, x, unit, s, BATCH);
        for (int i = 0; i < BATCH; i++) {
            const double w = (double)x[i], c = cosh(w);
            const double ea = fabs((double)t[i] - tanh(w)) * 0x1p24;
            const double et = ea / fabs(tanh(w));
            const double es = fabs((double)s[i] * c * c - 1) * 0x1p24;

            CHECK(ea <= 1.9 && et <= 25, "%s tanh(%a) is %.3f u wrong, or %.3f "
                  "of its size", p->name, w, ea, et);
            CHECK(es <= 7 || fabs(w) > 40, "%s sech^2(%a) is %.3f u wrong",
                  p->name, w, es);
            worst_t = et > worst_t ? et : worst_t;
            worst_a = ea > worst_a ? ea : worst_a;
            worst_s = es > worst_s && fabs(w) <= 40 ? es : worst_s;
        }
    }
    printf("%-7s tanh: %.3f u of 1, %.3f u of itself; sech^2: %.3f u\n",
           p->name, worst_a, worst_t, worst_s);
}

/* NaN stays NaN, infinities saturate, and the sign is the argument's. */
static void hyperbolic_special(const isa_ops *p)
{
    const float x[LANES] = { BN_NAN_F32, BN_INF_F32, -BN_INF_F32, 0, -0.0f,
                             1e38f, -1e38f, 1e-40f, -1e-40f, 200, -200 };
    float t[LANES];
    uint32_t unit[8];

    bn_table_for_sum(unit, 0);
    p->floats(TANH, x, x, x, unit, t, LANES);
    CHECK(t[0] != t[0], "%s tanh(NaN)", p->name);
    CHECK(t[1] == 1 && t[2] == -1 && t[5] == 1 && t[6] == -1 && t[9] == 1
          && t[10] == -1,
          "%s tanh saturates", p->name);
    CHECK(t[3] == 0 && t[4] == 0, "%s tanh(0)", p->name);
}

/* Every page's functions on one set of inputs, bit for bit. */
static void same_as_scalar(const isa_ops *p)
{
    static float x[BATCH], here[BATCH], there[BATCH];
    uint32_t unit[8];
    rng r = { 9 };

    bn_table_for_sum(unit, 0);
    for (int k = 0; k < 300; k++) {
        for (int i = 0; i < BATCH; i++)
            x[i] = k < 100 ? bn_float_of((uint32_t)rng_next(&r))
                           : (float)(rng_normal(&r) * (k < 200 ? 30 : 1));
        for (int op = EXP; op <= SECH2; op++) {
            p->floats(op, x, x, x, unit, here, BATCH);
            all_ops[0].floats(op, x, x, x, unit, there, BATCH);
            for (int i = 0; i < BATCH; i++)
                CHECK(same(here[i], there[i]), "%s differs from scalar in "
                      "function %d of %a", p->name, op, (double)x[i]);
        }
    }
}

/* ---- Stores past the caches --------------------------------------------- */

/* The same gradients, and nothing beyond them, wherever the lines begin. */
static void streams(const char *isa)
{
    enum { N = 300, ROOM = 64 };
    static float z[N], want[N + 2 * ROOM], got[N + 2 * ROOM];
    const bn_kernels *kernels = bn_kernels_get();
    bn_coefficients both[2];
    bn_factor factor;
    bn_map map;
    rng r = { 11 };

    memset(&map, 0, sizeof map);
    map.scale = 1;
    factor = bn_factor_for(&map, 3, -0.25);
    bn_coefficients_plain(&both[0], &factor, 0);
    bn_coefficients_general(&both[1], &map, 3, -0.25, 0);
    both[0].accumulate = both[1].accumulate = 0;
    for (int i = 0; i < N; i++)
        z[i] = (float)rng_normal(&r);
    for (int t = 0; t < 2 * 16 * (N + 1); t++) {
        const int general = t % 2, shift = t / 2 % 16;
        bn_chunk c;

        memset(&c, 0, sizeof c);
        memset(want, 1, sizeof want);
        memset(got, 1, sizeof got);
        c.logits = z;
        c.n = t / 32;
        c.type = c.grad_type = BNFLOSS_F32;
        c.label = -1;
        c.grad = want + ROOM + shift;
        kernels->backward[general](&c, &both[general], &map);
        c.grad = got + ROOM + shift;
        c.nontemporal = 1;
        kernels->backward[general](&c, &both[general], &map);
        CHECK(memcmp(want, got, sizeof got) == 0,
              "%s: %d gradients streamed to %d", isa, (int)c.n, shift);
    }
}

/* Kept exponentials become the same gradients where they lie and, of every
 * type, elsewhere, past the caches or not, and nothing beyond them; by the
 * kernel for that, and by the forward pass that keeps its own in their
 * place. */
static void saved_elsewhere(const char *isa, uint32_t type, int stream,
                            int shift)
{
    enum { N = 4 * BN_BLOCK / 3, ROOM = 64 };
    static float z[N], e[N + 64], f[N + 64], single[N + 64];
    const bn_kernels *kernels = bn_kernels_get();
    const size_t size = bn_type_size(type), room = (N + 2 * ROOM) * size;
    /* of no type but what is stored there */
    unsigned char *bytes = (unsigned char *)malloc(room);
    unsigned char *one = (unsigned char *)malloc(size);
    unsigned char *grad = bytes + (size_t)(16 + shift) * size;
    bn_scaling before;
    bnfloss_row x, y;
    bn_save save;
    bn_chunk c;
    bn_map map;
    rng r = { 12 };

    if (!CHECK(bytes && one, "no memory"))
        return;
    memset(&map, 0, sizeof map);
    map.scale = 1;
    map.limit = 0x1.ffffffp127;
    for (int n = 1; n <= N; n += n < 200 ? 1 : 397) {
        int wrong = 0;

        for (int i = 0; i < n; i++) {
            e[i] = f[i] = (float)exp(30 * rng_normal(&r) - 20);
            z[i] = (float)rng_normal(&r);
        }
        memset(&before, 0, sizeof before);
        memset(bytes, 1, room);
        before.exps = e;
        before.grad = grad;
        before.grad_type = type;
        before.nontemporal = stream;
        before.n = n;
        before.factor = -0x1.8p-4;
        before.cutoff = 0x1p-60;
        memset(&c, 0, sizeof c);
        memset(&x, 0, sizeof x);
        memset(&y, 0, sizeof y);
        c.logits = z;
        c.n = n;
        c.type = c.grad_type = BNFLOSS_F32;
        c.label = -1;
        x.leader = y.leader = -BN_INF;
        save.exps = single;
        save.relay = NULL;
        c.save = &save;
        kernels->forward[BN_PLAIN](&c, &map, &x);
        if (n % 2) {
            kernels->scale_saved(&before, BNFLOSS_F32, z);
        } else {
            save.exps = e;         /* over those that are finished on the way */
            save.relay = &before;
            kernels->forward[BN_PLAIN](&c, &map, &y);
            CHECK(before.done == n && save.n == n,
                  "%s: %d of %d done, %d saved", isa, (int)before.done, n, (int)save.n);
            CHECK(memcmp(&x, &y, sizeof x) == 0
                      && memcmp(e, single, (size_t)n * sizeof *e) == 0,
                  "%s: the row's own sums", isa);
            /* fences what was streamed */
            kernels->scale_saved(&before, BNFLOSS_F32, z);
        }
        for (int i = 0; i < n; i++) {
            const float want = f[i] > 0x1p-60f ? f[i] * -0x1.8p-4f : 0;

            bn_put(type, one, 0, want);
            wrong += memcmp(one, grad + (size_t)i * size, size) != 0;
        }
        CHECK(wrong == 0, "%s: %d of %d kept become another gradient of type "
              "%u at %d", isa, wrong, n, type, shift);
        memset(grad, 1, (size_t)n * size);
        for (size_t i = 0; i < room; i++)
            wrong += bytes[i] != 1;
        CHECK(wrong == 0, "%s: %d bytes beyond %d gradients of type %u", isa,
              wrong, n, type);
    }
    free(bytes);
    free(one);
}

/* Every sweep asks for the same: beside each group of logits, one cache line of
 * each chain (four for f32, two for 16-bit types) of the stretch that follows
 * the group's own, the line that has the group's number. */
static int by_place(const void *a, const void *b)
{
    const uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;

    return (x > y) - (x < y);
}

static void check_lines(const char *isa, const char *sweep, uintptr_t *want,
                        int n)
{
    asked.wanted = 0;
    qsort(asked.at, (size_t)(asked.n < 8192 ? asked.n : 8192),
          sizeof *asked.at, by_place);
    qsort(want, (size_t)n, sizeof *want, by_place);
    CHECK(asked.n == n && asked.wrong == 0, "%s, %s: %d lines asked for, not "
          "%d, %d of them not into L%d", isa, sweep, asked.n, n, asked.wrong,
          asked.level);
    CHECK(memcmp(asked.at, want, (size_t)n * sizeof *want) == 0,
          "%s, %s: other lines", isa, sweep);
    for (int i = 1; i < n; i++)
        if (asked.at[i] / 64 == asked.at[i - 1] / 64)
            asked.wrong++;
    CHECK(asked.wrong == 0, "%s, %s: %d lines twice", isa, sweep, asked.wrong);
    asked.n = asked.wrong = 0;
    asked.wanted = 1;
}

static int lines_of_streams(uint32_t type, const void *z, int groups,
                            uintptr_t *want)
{
    const uintptr_t stream = 29 * 1024, streams = type == BNFLOSS_F32 ? 4 : 2;
    int n = 0;

    for (int g = 0; g < groups; g++) {
        const uintptr_t at = (uintptr_t)z + (uintptr_t)g * streams * 64;
        const uintptr_t all = at / (streams * 64), stretch = all / 464;

        for (uintptr_t k = 0; k < streams; k++)
            want[n++] = (stretch + 1) * streams * stream + k * stream
                        + all % 464 * 64 + at % (streams * 64);
    }
    return n;
}

static void check_asked(const char *isa, const char *sweep, uint32_t type,
                        const void *z, int groups)
{
    static uintptr_t want[8192];

    check_lines(isa, sweep, want, lines_of_streams(type, z, groups, want));
}

/* More than a stretch, and the parts of a span and of a group. */
enum { ASKED_N = 61000, ASKED_GROUPS = (ASKED_N + 63) / 64,
       ASKED_LABEL = 9000 };

/* What a sweep may ask for beyond either is not the other's. */
static struct asked_memory {
    float before[ASKED_N + 2048], logits[ASKED_N + 64];
} asked_memory;

/* Where the row before is far, its exponentials are asked for as well, 4 KiB
 * ahead: beside each group of a span that has neither the label nor the
 * leader, here the first, and whose next block's span has all its columns and
 * no label. They are floats, and asked for into L1. */
static void saved_prefetches(const char *isa, uint32_t type, bn_chunk *c,
                             const bn_map *map)
{
    static float grad[ASKED_N], save[ASKED_N];
    static uintptr_t want[8192];
    const bn_kernels *kernels = bn_kernels_get();
    float *e = asked_memory.before;
    bn_save saved = { save, 0, 0, NULL };
    bn_scaling before;

    memset(&before, 0, sizeof before);
    before.exps = e;
    before.grad = type == BNFLOSS_F32 ? e : grad;
    before.grad_type = type;
    before.n = ASKED_N;
    before.factor = 1;
    c->save = &saved;
    saved.relay = &before;
    for (before.prefetch = 0; before.prefetch < 2; before.prefetch++) {
        bnfloss_row x;
        int n = lines_of_streams(type, c->logits, ASKED_GROUPS, want);

        memset(&x, 0, sizeof x);
        before.done = 0;
        for (int i = 0; before.prefetch && i < ASKED_N; i += 64) {
            const int span = i / 256 * 256, later = span + 2048;

            if (span == 0 || span == ASKED_LABEL / 256 * 256
                || later == ASKED_LABEL / 256 * 256
                || span + 256 > ASKED_N
                || (later < ASKED_N && later + 256 > ASKED_N))
                continue;
            for (int line = 0; line < 4; line++)
                want[n++] = (uintptr_t)e + (uintptr_t)i * 4 + 4096
                            + (uintptr_t)line * 64;
        }
        asked.level = type == BNFLOSS_F32 ? 1 : before.prefetch ? 0 : 2;
        kernels->forward[BN_PLAIN](c, map, &x);
        check_lines(isa, before.prefetch ? "row before, far" : "row before",
                    want, n);
    }
    asked.level = type == BNFLOSS_F32 ? 1 : 2;
    c->save = NULL;
}

static void prefetches(const char *isa, uint32_t type, int shift)
{
    enum { N = ASKED_N, SPANS = (N + 255) / 256 };
    static float other[N + 16];
    float *line = other + bn_until_cache_line(other, 16);
    float *memory = asked_memory.logits;
    const bn_kernels *kernels = bn_kernels_get();
    void *z = (char *)memory + (size_t)shift * bn_type_size(type);
    bn_coefficients k;
    bn_scaling before;
    bn_factor factor;
    bnfloss_row x;
    bn_chunk c;
    bn_map map;

    memset(&map, 0, sizeof map);
    map.scale = 1;
    map.limit = 0x1.ffffffp127;
    factor.m = 1;
    factor.e = factor.power = 0;
    bn_coefficients_plain(&k, &factor, 0);
    memset(&x, 0, sizeof x);
    memset(&c, 0, sizeof c);
    memset(&before, 0, sizeof before);
    memset(&asked_memory, 0, sizeof asked_memory);
    c.logits = z;
    c.grad = z;
    c.n = N;
    c.type = c.grad_type = type;
    c.label = ASKED_LABEL;
    asked.n = asked.wrong = 0;
    asked.level = type == BNFLOSS_F32 ? 1 : 2;
    asked.wanted = 1;
    for (int kind = BN_PLAIN; kind <= BN_GENERAL; kind++) {
        kernels->forward[kind](&c, &map, &x);
        check_asked(isa, "forward", type, z, ASKED_GROUPS);
    }
    for (k.accumulate = 0; k.accumulate < 2; k.accumulate++) {
        kernels->backward[0](&c, &k, &map);
        check_asked(isa, "backward", type, z, ASKED_GROUPS);
        kernels->backward[1](&c, &k, &map);
        check_asked(isa, "backward, general", type, z, ASKED_GROUPS);
    }
    memset(&asked_memory, 0, sizeof asked_memory);
    saved_prefetches(isa, type, &c, &map);
    before.exps = other;
    before.grad = other;
    before.n = N;
    before.factor = 1;
    k.accumulate = 0;
    c.grad = line;
    c.grad_type = BNFLOSS_F32;
    c.n = N / 64 * 64;
    c.nontemporal = 1;
    kernels->backward[0](&c, &k, &map);
    check_asked(isa, "backward, streamed", type, z, N / 64);
    c.n = N;
    kernels->backward[0](&c, &k, &map);
    check_asked(isa, "backward, streamed, and a tail", type, z, ASKED_GROUPS);
    kernels->scale_saved(&before, type, z);
    check_asked(isa, "kept", type, z, 4 * SPANS);
    asked.wanted = 0;
}

/* Which rows are far: wide ones, and those whose exponentials are kept beside
 * them, unless the gradients are stored past the caches. */
static void prefetched_rows(void)
{
    static const struct {
        int64_t columns;
        uint32_t type;
        int nontemporal, prefetch;
    } rows[] = {
        { 1, BNFLOSS_F32, 0, 0 }, { 65536, BNFLOSS_F32, 0, 0 },
        { 65537, BNFLOSS_F32, 0, 1 }, { 65537, BNFLOSS_F32, 1, 0 },
        { 1, BNFLOSS_BF16, 0, 1 }, { 1, BNFLOSS_F16, 0, 1 },
        { 65537, BNFLOSS_BF16, 0, 1 } };
    static float e[1];
    bn_row_plan plan;
    bn_saved saved;
    bnfloss_layout lay;

    memset(&plan, 0, sizeof plan);
    memset(&saved, 0, sizeof saved);
    memset(&lay, 0, sizeof lay);
    saved.exps = e;
    saved.grad = e;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        saved.columns = rows[i].columns;
        saved.nontemporal = rows[i].nontemporal;
        lay.grad_type = rows[i].type;
        CHECK(bn_scaling_of(&lay, &plan, &saved, 0).prefetch == rows[i].prefetch,
              "row %d: not as far as it should be", (int)i);
    }
}

/* Threads share a row where that takes fewer chunks one after the other than a
 * row for each of them; the bits are the same. */
static void split_rows(void)
{
    bnfloss_layout lay;

    memset(&lay, 0, sizeof lay);
    for (int chunks = 1; chunks <= 9; chunks++)
        for (int rows = 1; rows <= 9; rows++)
            for (int threads = 1; threads <= 9; threads++) {
                int shared = 0, separate = 0;

                for (int k = 0; k < chunks; k += threads)
                    shared += rows;
                for (int k = 0; k < rows; k += threads)
                    separate += chunks;
                lay.rows = rows;
                lay.vocab = (int64_t)(chunks - 1) * BNFLOSS_CHUNK + 1;
                CHECK(bn_rows_are_split(&lay, threads)
                          == (rows < threads && shared < separate),
                      "%d rows of %d chunks, %d threads", rows, chunks,
                      threads);
            }
}

int main(int argc, char **argv)
{
    const int all = argc > 1 && strcmp(argv[1], "--all") == 0;

    FOR_EACH_ISA(isa) {
        const isa_ops *p = ops_of(isa);

        ops(p);
        widen(p);
        ints(p);
        pow2(p);
        load_halves(p);
        exponential(p, all ? 1 : 1013);
        exponential_special(p);
        hyperbolic(p);
        hyperbolic_special(p);
        same_as_scalar(p);
        streams(isa);
        for (int shift = 0; shift < 16; shift++) {
            saved_elsewhere(isa, BNFLOSS_F32, 0, shift);
            saved_elsewhere(isa, BNFLOSS_F32, 1, shift);
            saved_elsewhere(isa, BNFLOSS_BF16, 0, shift);
            saved_elsewhere(isa, BNFLOSS_F16, 0, shift);
        }
        for (int shift = 0; shift < 64; shift += 9) {
            prefetches(isa, BNFLOSS_F32, shift);
            prefetches(isa, BNFLOSS_BF16, shift);
            prefetches(isa, BNFLOSS_F16, shift);
        }
    }
    prefetched_rows();
    split_rows();
    store_halves(all);
    nans();
    return test_end();
}
