/* Textbook losses: see textbook.h. */
#include "textbook.h"

#include <math.h>

/* z becomes its softmax; returns logp of y. */
static float softmax_row(float *z, int32_t y, int64_t V)
{
    float max = z[0], sum = 0, logp;

    for (int64_t t = 1; t < V; t++)
        max = z[t] > max ? z[t] : max;
    logp = z[y] - max;
    for (int64_t t = 0; t < V; t++) {
        z[t] = expf(z[t] - max);
        sum += z[t];
    }
    for (int64_t t = 0; t < V; t++)
        z[t] /= sum;
    return logp - logf(sum);
}

static void gradient_row(float *p, int32_t y, float dlogp, int64_t V)
{
    for (int64_t t = 0; t < V; t++)
        p[t] *= -dlogp;
    p[y] += dlogp;
}

/* From p = softmax: BNF's value; *g: its coefficient. */
static float bnf_row(const float *p, int32_t y, float logp, float ref,
                     float *g, int64_t V)
{
    const float q = expf(ref), f = p[y] < q ? p[y] / q : 1;
    float entropy = 0;

    for (int64_t t = 0; t < V; t++)
        if (t != y && p[t] > 0)
            entropy += p[t] * logf(p[t]);
    *g = (f - p[y]) / (1 - p[y]);
    return -(f * logp + (1 - f) / (1 - p[y]) * entropy);
}

void textbook_rows(float *z, const int32_t *label, const float *ref,
                   float *dlogp, float *value, int64_t from, int64_t to,
                   int64_t N, int64_t V)
{
    for (int64_t i = from; i < to; i++) {
        float *p = z + i * V, g = 1;
        const float logp = softmax_row(p, label[i], V);

        value[i] = -logp;
        if (ref)
            value[i] = bnf_row(p, label[i], logp, ref[i], &g, V);
        dlogp[i] = (ref && i % 2 ? g : -g) / (float)N;
        gradient_row(p, label[i], dlogp[i], V);
    }
}

void textbook_softmax(float *z, const int32_t *label, float *logp,
                      int64_t from, int64_t to, int64_t V)
{
    for (int64_t i = from; i < to; i++)
        logp[i] = softmax_row(z + i * V, label[i], V);
}

void textbook_pairs(const float *logp, const float *ref, float beta,
                    float *dlogp, float *value, int64_t N)
{
    for (int64_t i = 0; i < N; i += 2) {
        value[i] = logp[i] - ref[i];
        value[i + 1] = logp[i + 1] - ref[i + 1];
        dlogp[i + 1] = beta / (1 + expf(beta * (value[i] - value[i + 1])))
                       / (float)(N / 2);
        dlogp[i] = -dlogp[i + 1];
    }
}

void textbook_gradient(float *p, const int32_t *label, const float *dlogp,
                       int64_t from, int64_t to, int64_t V)
{
    for (int64_t i = from; i < to; i++)
        gradient_row(p + i * V, label[i], dlogp[i], V);
}
