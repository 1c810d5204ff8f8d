/* One row's softmax, and what is measured of it, in plain double: what the
 * tests compare with where they do not need more digits. test_oracle.c has a
 * row in long double, test_batches.c a batch in quad.
 *
 * SPDX-License-Identifier: MIT */
#ifndef PLAIN_H
#define PLAIN_H

#include "elements.h"

#include <math.h>
#include <stdlib.h>

#define U 0x1p-24                   /* half an ulp of 1.0f */

/* One row's softmax over z'. */
typedef struct plain_row {
    double lse, gap;                /* gap = lse - max */
    double logp, p, rest, entropy, max, mean;   /* mean of finite z' */
    int64_t finite, argmax;         /* argmax: the label if it ties */
} plain_row;

/* z'; -inf stays -inf. */
static inline double plain_map(double z, double scale, double softcap)
{
    if (z == -HUGE_VAL)
        return z;
    return softcap > 0 ? softcap * tanh(scale * z / softcap) : scale * z;
}

/* The probability of a logit in that row, whatever offset they share. */
static inline double plain_p(const plain_row *r, double z)
{
    return exp(z - r->max - r->gap);
}

static inline plain_row plain_softmax(const double *z, int64_t V, int64_t y)
{
    plain_row r = { 0 };
    double sum = 0, others = 0, dot = 0;

    r.max = -HUGE_VAL;
    for (int64_t j = 0; j < V; j++)
        if (z[j] > r.max)
            r.max = z[j], r.argmax = j;
    if (z[y] == r.max)
        r.argmax = y;
    for (int64_t j = 0; j < V; j++) {
        if (z[j] == -HUGE_VAL)
            continue;
        sum += exp(z[j] - r.max);
        others += j == y ? 0 : exp(z[j] - r.max);
        r.mean += z[j];
        r.finite++;
    }
    r.mean /= (double)r.finite;
    r.gap = log(sum);
    r.lse = r.max + r.gap;
    r.logp = z[y] - r.max - r.gap;
    r.p = exp(r.logp);
    for (int64_t j = 0; j < V; j++)
        if (j != y && z[j] != -HUGE_VAL)
            dot += plain_p(&r, z[j]) * (z[j] - r.max - r.gap);
    r.rest = others > 0 ? dot / (others / sum) : 0;
    r.entropy = -dot - (r.p > 0 ? r.p * r.logp : 0);
    return r;
}

/* log sum p^2 */
static inline double plain_log_square(const plain_row *r, const double *z,
                                      int64_t V)
{
    double sum = 0;

    for (int64_t j = 0; j < V; j++)
        sum += exp(2 * (z[j] - r->max - r->gap));
    return log(sum);
}

static inline int plain_by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The Gini coefficient of n numbers, by the definition; sorts them. */
static inline double plain_gini(double *s, int n)
{
    double sum = 0, ranked = 0;

    qsort(s, (size_t)n, sizeof *s, plain_by_size);
    for (int i = 0; i < n; i++) {
        sum += s[i];
        ranked += (i + 1) * s[i];
    }
    return sum > 0 ? 2 * ranked / (n * sum) - (n + 1.0) / n : 0;
}

static inline double relative(double a, double b)
{
    if (a == b || (a != a && b != b))
        return 0;
    return fabs(a - b) / (fabs(b) > 1e-300 ? fabs(b) : 1e-300);
}

/* Half an ulp of a gradient of this size once it is stored as `type`. */
static inline double elem_rounding(uint32_t type, double x)
{
    if (type == BNFLOSS_F32)
        return fabs(x) * U;
    if (type == BNFLOSS_BF16)
        return fabs(x) * 0x1p-8;
    return fabs(x) * 0x1p-11 + 0x1p-25;
}

#endif /* PLAIN_H */
