/* A textbook softmax loss: see textbook.h. */
#include "textbook.h"

#include <math.h>

static double textbook_row(float *z, int32_t y, const float *ref, int64_t i,
                           float share, float *dlogp, int64_t V)
{
    float max = z[0], sum = 0, entropy = 0, g = 1, logp, p;
    double value;

    for (int64_t t = 1; t < V; t++)
        max = z[t] > max ? z[t] : max;
    logp = z[y] - max;
    for (int64_t t = 0; t < V; t++) {
        z[t] = expf(z[t] - max);
        sum += z[t];
    }
    logp -= logf(sum);
    for (int64_t t = 0; t < V; t++)
        z[t] /= sum;
    p = z[y];
    value = -logp;
    if (ref) {
        const float q = expf(ref[i]), f = p < q ? p / q : 1;

        for (int64_t t = 0; t < V; t++)
            if (t != y && z[t] > 0)
                entropy += z[t] * logf(z[t]);
        g = (f - p) / (1 - p);
        value = -(f * logp + (1 - f) / (1 - p) * entropy);
    }
    for (int64_t t = 0; t < V; t++)
        z[t] *= g * share;
    z[y] -= g * share;
    dlogp[i] = -g * share;
    return value;
}

double textbook_rows(float *z, const int32_t *label, const float *ref,
                     float *dlogp, int64_t from, int64_t to, int64_t N,
                     int64_t V)
{
    double sum = 0;

    for (int64_t i = from; i < to; i++)
        sum += textbook_row(z + i * V, label[i], ref, i, 1 / (float)N, dlogp,
                            V);
    return sum;
}
