/* Checks the model's gradient against a second implementation: a plain
 * forward pass in double, differentiated numerically.
 *
 * The loss is sum(R * logits) with random R, so that every part of the
 * backward pass counts. The oracle shares no code with model.c but the order
 * of the weights; central differences in double are good to about 1e-9, so
 * what is left is the model's own rounding to float. */
#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { L = 2, C = 64, V = 32, H = C / HEAD, S = 11, T_MOST = 70 };
enum { N_MOST = S * T_MOST };

/* ---- The oracle: one sequence at a time, loops and nothing else --------- */

static const double *pick(const double **w, int count)
{
    const double *at = *w;
    *w += count;
    return at;
}

/* y (O) = x (I) w (I,O) */
static void product(double *y, const double *x, const double *w, int I, int O)
{
    for (int o = 0; o < O; o++) y[o] = 0;
    for (int i = 0; i < I; i++)
        for (int o = 0; o < O; o++) y[o] += x[i] * w[i * O + o];
}

static void normed(double *y, const double *x, const double *gain)
{
    double sum = 0;
    for (int c = 0; c < C; c++) sum += x[c] * x[c];
    for (int c = 0; c < C; c++) y[c] = gain[c] * x[c] / sqrt(sum / C + 1e-6);
}

/* o (C) = what row t hears from the rows 0 .. t of qkv (T,3C) */
static void hear(double *o, double (*qkv)[3 * C], int t)
{
    for (int h = 0; h < H; h++) {
        double p[T_MOST], sum = 0, slope = ldexp(1, -1 - 4 * h);
        for (int j = 0; j <= t; j++) {
            double z = 0;
            for (int d = h * HEAD; d < (h + 1) * HEAD; d++)
                z += qkv[t][d] * qkv[j][C + d];
            sum += p[j] = exp(z / sqrt(HEAD) - slope * (t - j));
        }
        for (int d = h * HEAD; d < (h + 1) * HEAD; d++) {
            o[d] = 0;
            for (int j = 0; j <= t; j++)
                o[d] += p[j] / sum * qkv[j][2 * C + d];
        }
    }
}

/* The loss of one sequence of T bytes; R (T,V). */
static double oracle(const double *w, const uint8_t *token, int T,
                     const float *R, float *logits)
{
    static double x[T_MOST][C], qkv[T_MOST][3 * C];
    double n[C], o[C], y[C], h[4 * C], z[V], loss = 0;
    const double *table = pick(&w, TABLES * V * C);
    for (int t = 0; t < T; t++)
        for (int c = 0; c < C; c++) {
            x[t][c] = 0;
            for (int i = 0; i < TABLES; i++)
                x[t][c] += table[(i * V + (t < i ? 0 : token[t - i])) * C + c];
        }
    for (int l = 0; l < L; l++) {
        const double *gain1 = pick(&w, C), *in = pick(&w, 3 * C * C);
        const double *out = pick(&w, C * C), *gain2 = pick(&w, C);
        const double *up = pick(&w, 4 * C * C), *down = pick(&w, 4 * C * C);
        for (int t = 0; t < T; t++) {
            normed(n, x[t], gain1);
            product(qkv[t], n, in, C, 3 * C);
        }
        for (int t = 0; t < T; t++) {
            hear(o, qkv, t);
            product(y, o, out, C, C);
            for (int c = 0; c < C; c++) x[t][c] += y[c];
            normed(n, x[t], gain2);
            product(h, n, up, C, 4 * C);
            for (int i = 0; i < 4 * C; i++) h[i] = h[i] > 0 ? h[i] * h[i] : 0;
            product(y, h, down, 4 * C, C);
            for (int c = 0; c < C; c++) x[t][c] += y[c];
        }
    }
    const double *gain = pick(&w, C), *head = pick(&w, C * V);
    for (int t = 0; t < T; t++) {
        normed(n, x[t], gain);
        product(z, n, head, C, V);
        for (int v = 0; v < V; v++) {
            loss += R[t * V + v] * z[v];
            if (logits) logits[t * V + v] = (float)z[v];
        }
    }
    return loss;
}

/* ---- The comparison ----------------------------------------------------- */

static uint8_t token[N_MOST];
static int64_t start[S + 1];
static float R[N_MOST * V], expected[N_MOST * V];

static double total(const double *w, float *logits)
{
    double sum = 0;
    for (int s = 0; s < S; s++) {
        int64_t at = start[s];
        sum += oracle(w, token + at, (int)(start[s + 1] - at), R + at * V,
                      logits ? logits + at * V : NULL);
    }
    return sum;
}

/* Lengths 0, 1, a block, a block and one, ..: the seams of the code. */
static void draw_batch(struct batch *b, uint64_t *seed)
{
    static const int T[S] = {5, 1, 32, 33, 0, 2, 64, 70, 7, 31, 9};
    for (int s = 0; s < S; s++) start[s + 1] = start[s] + T[s];
    for (int n = 0; n < start[S]; n++) {
        token[n] = (uint8_t)(random_bits(seed) % V);
        for (int v = 0; v < V; v++)
            R[n * V + v] = (float)(random_unit(seed) - 0.5);
    }
    *b = (struct batch){.S = S, .start = start, .token = token};
}

/* The larger one; NaN if either is. */
static double larger(double a, double b)
{
    return b <= a ? a : isnan(a) ? a : b;
}

static double worst(const float *a, const float *b, size_t n)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = larger(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

/* How far the gradient g (count) of the weights w + at is off: along random
 * signs u, the slope of the loss should be g u. Over |g|, the worst of four. */
static double gap(double *w, const float *g, size_t at, size_t count,
                  uint64_t *seed)
{
    const double step = 1e-5;
    double norm = 0, most = 0;
    double *u = malloc(count * sizeof *u);
    if (!u) exit(1);
    for (size_t i = 0; i < count; i++) norm += (double)g[i] * (double)g[i];
    for (int round = 0; round < 4; round++) {
        double slope = 0, above, below;
        for (size_t i = 0; i < count; i++) {
            u[i] = random_bits(seed) & 1 ? 1 : -1;
            slope += (double)g[i] * u[i];
            w[at + i] += step * u[i];
        }
        above = total(w, NULL);
        for (size_t i = 0; i < count; i++) w[at + i] -= 2 * step * u[i];
        below = total(w, NULL);
        for (size_t i = 0; i < count; i++) w[at + i] += step * u[i];
        most = larger(most, fabs((above - below) / (2 * step) - slope));
    }
    free(u);
    return most / sqrt(norm);
}

/* The weights in their order: names and sizes. */
struct part {
    const char *name;
    size_t count;
};

static const struct part parts[] = {
    {"table", TABLES * V * C},
    {"gain1 0", C}, {"qkv 0", C * 3 * C}, {"out 0", C * C},
    {"gain2 0", C}, {"up 0", C * 4 * C}, {"down 0", 4 * C * C},
    {"gain1 1", C}, {"qkv 1", C * 3 * C}, {"out 1", C * C},
    {"gain2 1", C}, {"up 1", C * 4 * C}, {"down 1", 4 * C * C},
    {"gain", C}, {"head", C * V}
};

static int test_gradient(struct model *m, double *w, uint64_t *seed)
{
    double most = 0;
    size_t at = 0, n = sizeof parts / sizeof *parts;
    for (size_t i = 0; i < n; at += parts[i++].count) {
        double off = gap(w, m->g + at, at, parts[i].count, seed);
        if (!(off < 5e-6)) printf("  %s: off by %.1e\n", parts[i].name, off);
        most = larger(most, off);
    }
    printf("  %zu gradients off by at most %.1e of their length\n", n, most);
    return !(most < 5e-6) || at != m->count;
}

static void both_passes(struct model *m, const struct batch *b)
{
    model_forward(m, b);
    memcpy(m->logits, R, (size_t)start[S] * V * sizeof(float));
    model_backward(m, b);
}

/* One instruction set: logits, gradients, and the same bits on 3 threads. */
static int test_set(struct model *m, const struct batch *b, double *w,
                    float *first, uint64_t *seed)
{
    m->threads = 1;
    model_forward(m, b);
    double off = worst(m->logits, expected, (size_t)start[S] * V);
    printf("%s\n  logits off by at most %.1e\n", m->k->name, off);
    both_passes(m, b);
    int bad = !(off < 5e-6);
    bad |= test_gradient(m, w, seed);
    memcpy(first, m->g, m->count * sizeof(float));
    m->threads = 3;
    both_passes(m, b);
    int same = !memcmp(first, m->g, m->count * sizeof(float));
    printf("  %s\n", same ? "the same bits on 3 threads"
                          : "OTHER BITS on 3 threads");
    return bad | !same;
}

int main(void)
{
    uint64_t seed = 7;
    struct batch b;
    int bad = 0;
    draw_batch(&b, &seed);
    struct model *m = model_new(L, C, V, 1, 5);
    for (size_t i = 0; i < m->count; i++)    /* gains of 1 would hide errors */
        m->w[i] *= (float)(0.8 + 0.4 * random_unit(&seed));
    model_load(m, NULL);
    double *w = malloc(m->count * sizeof *w);
    float *first = malloc(m->count * sizeof *first);
    if (!w || !first) return 1;
    for (size_t i = 0; i < m->count; i++) w[i] = (double)m->w[i];
    total(w, expected);
    for (int i = 0; (m->k = kernels_pick(i)) != NULL; i++)
        bad |= test_set(m, &b, w, first, &seed);
    printf("%s\n", bad ? "FAILED" : "passed");
    model_free(m);
    free(w);
    free(first);
    return bad;
}
