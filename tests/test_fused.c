/* Fused sweeps: a run keeps each row's exponentials where its gradient will
 * lie, in place and, for narrow rows, out of place; the stages compute twice.
 * Rows that fit a core's cache are finished while the next one is read. Same
 * bits, same outputs, whatever the row is like.
 *
 * SPDX-License-Identifier: MIT
 *
 * E248, E249, E250, E251, E252, E258, E259 of EDGES.md. */
#include "row_shapes.h"

#include <stdlib.h>

enum { N = 6, C = BNFLOSS_CHUNK };

enum { WIDEST = 262145, GAP = 24, ZEROED = 8 };

static float *logits, *separate, *in_place, *staged, *padded;
static double work[N * 80];
static int32_t label[N];
static float z_loss;

static void fill(shape kind, int64_t V, uint64_t seed)
{
    rng r = { seed * 977 + (uint64_t)V * 31 + (uint64_t)kind };
    const int mixed = kind == MIXED;

    for (int64_t i = 0; i < N; i++) {
        if (mixed)
            kind = (shape)rng_below(&r, MIXED);
        for (int64_t j = 0; j < V; j++)
            logits[i * V + j] = logit(&r, kind, j, V);
        label[i] = (int32_t)(i == 0 ? 0 : i == 1 ? V - 1 : rng_below(&r, V));
        if (kind == LABEL_FAR)
            logits[i * V + label[i]] = i % 2 ? 1e30f : 5000;
        else if (i != 2 && logits[i * V + label[i]] == -INFINITY)
            logits[i * V + label[i]] = (float)rng_normal(&r);
    }
}

/* Everything that a call gives but the gradient. */
typedef struct answer {
    float logp[N], rest[N], entropy[N];
    int32_t argmax[N];
    bnfloss_result result;
} answer;

/* The same in three calls. */
static bnfloss_status stages(const bnfloss_layout *layout,
                             const bnfloss_spec *spec,
                             const bnfloss_inputs *inputs,
                             const bnfloss_outputs *out,
                             bnfloss_result *result)
{
    bnfloss_row state[N];
    float dlogp[N];
    bnfloss_status status = bnfloss_forward(layout, logits, label, 0, N,
                                            state, out, result);

    if (status == BNFLOSS_OK)
        status = bnfloss_loss(spec, inputs, N, state, NULL, NULL, dlogp, NULL,
                              work, sizeof work, result);
    if (status == BNFLOSS_OK)
        status = bnfloss_backward(layout, logits, label, 0, N, state, dlogp,
                                  staged, NULL);
    return status;
}

static void run(int64_t V, const float *weight, int entropy, int threads,
                float *grad, answer *a)
{
    bnfloss_layout layout;
    bnfloss_inputs inputs;
    bnfloss_outputs out;
    bnfloss_spec spec;
    bnfloss_status status;

    EMPTY(layout);
    EMPTY(inputs);
    EMPTY(out);
    memset(a, 0, sizeof *a);
    layout.rows = N;
    layout.vocab = V;
    layout.z_loss = z_loss;
    layout.flags = entropy ? BNFLOSS_ENTROPY : 0;
    inputs.row_weight = weight;
    out.logp = a->logp;
    out.rest = a->rest;
    out.entropy = entropy ? a->entropy : NULL;
    out.argmax = a->argmax;
    a->result.struct_size = sizeof a->result;
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    if (grad == padded) {
        layout.logits_stride = layout.grad_stride = V + GAP;
        layout.grad_cols = V + ZEROED;
    }
    if (grad == staged)
        status = stages(&layout, &spec, &inputs, &out, &a->result);
    else
        status = bnfloss_run(&layout, &spec, &inputs,
                             grad == separate ? logits : grad, label, grad,
                             &out, work, sizeof work, threads, &a->result);
    CHECK(status == BNFLOSS_OK, "status: %s", bnfloss_status_string(status));
}

static void compare(const char *isa, shape kind, int64_t V,
                    const float *weight, int entropy, int threads)
{
    const size_t bytes = (size_t)(N * V) * sizeof *logits;
    answer a, b, c;

    run(V, weight, entropy, 1, separate, &a);
    run(V, weight, entropy, 1, staged, &c);
    memcpy(in_place, logits, bytes);
    run(V, weight, entropy, threads, in_place, &b);
    CHECK(memcmp(&a, &b, sizeof a) == 0, "%s, V = %lld: outputs of %s rows",
          isa, (long long)V, shape_name[kind]);
    for (int i = 0; i < N; i++)         /* at weight 0 a run reads nothing */
        CHECK((weight && weight[i] == 0)
              || memcmp(a.logp + i, c.logp + i, sizeof *a.logp) == 0,
              "%s, V = %lld: logp of %s rows, staged", isa, (long long)V,
              shape_name[kind]);
    CHECK(memcmp(&a.result.loss, &c.result.loss, sizeof a.result.loss) == 0,
          "%s, V = %lld: loss of %s rows, staged", isa, (long long)V,
          shape_name[kind]);
    if (memcmp(staged, in_place, bytes) == 0
        && memcmp(staged, separate, bytes) == 0) {
        CHECK(1, "same");
        return;
    }
    for (int64_t i = 0; i < N * V; i++)
        CHECK(memcmp(staged + i, in_place + i, sizeof *staged) == 0
                  && memcmp(staged + i, separate + i, sizeof *staged) == 0,
              "%s, %s, V = %lld: row %lld, column %lld, label %d: %a, in place"
              " %a, apart %a",
              isa, shape_name[kind], (long long)V, (long long)(i / V),
              (long long)(i % V), label[i / V], (double)staged[i],
              (double)in_place[i], (double)separate[i]);
}

/* In place with columns beyond the vocabulary, of which some become 0. */
static void compare_padded(const char *isa, int64_t V, const float *weight,
                           int threads)
{
    answer a, b;

    run(V, weight, 0, 1, staged, &a);
    for (int64_t i = 0; i < N; i++) {
        float *row = padded + i * (V + GAP);

        memcpy(row, logits + i * V, (size_t)V * sizeof *row);
        for (int64_t j = V; j < V + GAP; j++)
            row[j] = 7;
    }
    run(V, weight, 0, threads, padded, &b);
    for (int64_t i = 0; i < N; i++) {
        const float *row = padded + i * (V + GAP);

        CHECK(memcmp(row, staged + i * V, (size_t)V * sizeof *row) == 0,
              "%s, V = %lld: row %lld with a gap behind it", isa,
              (long long)V, (long long)i);
        for (int64_t j = V; j < V + GAP; j++)
            CHECK(row[j] == (j < V + ZEROED ? 0 : 7), "%s: row %lld: %g at"
                  " column V + %lld", isa, (long long)i, (double)row[j],
                  (long long)(j - V));
    }
}

/* Of the size that a token's share may have. */
static const float weights[][N] = {
    { 1, 1, 1, 1, 1, 1 },
    { 1e37f, -1e36f, 3e38f, -3e38f, 1e25f, 2e20f },
    { 1e-37f, -1e-36f, 1e-30f, -3e-25f, 1e-38f, 2e-20f },
    { 0, 1, -1, 0, 1e-9f, 1e9f }
};

/* What a rebuilt row has to be: p and the weight of its loss, in double. */
static void check_values(int64_t V, const char *isa)
{
    for (int64_t i = 0; i < N; i++) {
        const float *z = logits + i * V, *g = separate + i * V;
        double max = -INFINITY, sum = 0;

        for (int64_t j = 0; j < V; j++)
            max = fmax(max, (double)z[j]);
        for (int64_t j = 0; j < V; j++)
            sum += exp((double)z[j] - max);
        for (int64_t j = 0; j < V; j++) {
            const double p = exp((double)z[j] - max) / sum;
            const double want = (p - (j == label[i])) / N;

            CHECK(fabs((double)g[j] - want) <= 0x1p-23 / N,
                  "%s: row %lld, column %lld: %g, not %g", isa, (long long)i,
                  (long long)j, (double)g[j], want);
        }
    }
}

/* ---- One row against the stages, by the bit ------------------------------ */

/* SFT of one row with this label and weight, in place, and by stages into
 * `staged`. */
static void one_row(const char *isa, float *z, int n, int32_t y, float weight)
{
    bnfloss_result r;
    bnfloss_layout l;
    bnfloss_inputs in;
    bnfloss_spec s;
    bnfloss_row x;
    float dlogp;

    EMPTY(l);
    EMPTY(in);
    EMPTY(r);
    l.rows = 1;
    l.vocab = n;
    in.row_weight = &weight;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_SFT);
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, &x, NULL, NULL) == BNFLOSS_OK
          && bnfloss_loss(&s, &in, 1, &x, NULL, NULL, &dlogp, NULL, work,
                          sizeof work, &r) == BNFLOSS_OK
          && bnfloss_backward(&l, z, &y, 0, 1, &x, &dlogp, staged, NULL)
             == BNFLOSS_OK
          && bnfloss_run(&l, &s, &in, z, &y, z, NULL, work, sizeof work, 1,
                         &r) == BNFLOSS_OK, "%s: one row", isa);
    CHECK(memcmp(z, staged, (size_t)n * sizeof *z) == 0, "%s: %d logits, "
          "weight %a: %a, staged %a", isa, n, (double)weight,
          (double)z[n - 1], (double)staged[n - 1]);
}

/* Weights next to those that make a gradient's factor a power of two, for rows
 * of n equal logits. */
static void round_factors(const char *isa, int n)
{
    float weight = (float)(n / 64.0 / 0x1.d6b62955437abp-1);   /* the table's */

    weight = nextafterf(nextafterf(weight, 0), 0);
    for (int k = 0; k < 5; k++, weight = nextafterf(weight, 2)) {
        memset(in_place, 0, (size_t)n * sizeof *in_place);
        one_row(isa, in_place, n, 0, weight);
        CHECK(in_place[n - 1] > 0, "%s: %g", isa, (double)in_place[n - 1]);
    }
}

/* Saved exponentials next to and exactly at the least that counts, 2^-123,
 * whether a float has room for the factor or not. */
static void min_saved(const char *isa)
{
    enum { WIDE = 1024 };
    static const float weight[] = { 1e33f, 1, 1e30f };
    float *z = in_place;

    for (int k = 0; k < 3; k++) {
        int none = 0;

        z[0] = -0x1.58634ep-4f;         /* -log(0x1.16747cp+0), or nearly */
        for (int j = 0; j < WIDE / 2; j++)
            z[0] = nextafterf(z[0], -1);
        for (int j = 1; j < WIDE; j++)
            z[j] = nextafterf(z[j - 1], 0);
        z[7] = 80;
        z[900] = 123 * 0x1.62e43p-1f;
        one_row(isa, z, WIDE, 7, weight[k]);
        for (int j = 0; j < WIDE; j++)
            none += z[j] == 0;
        CHECK(none > 100 && none < WIDE - 100, "%s, weight %g: %d of %d are 0",
              isa, (double)weight[k], none, WIDE);
    }
}

int main(void)
{
    static const int64_t widths[] = { 1, 2, 63, 64, 65, 255, 256, 257, 640,
                                      2047, 2048, 2049, 5000, C - 1, C, C + 1,
                                      2 * C + 300 };
    static const int64_t pending[] = {
        4095, 4096, 10001, C + 1, 262144, WIDEST
    };
    const size_t max = (size_t)N * (WIDEST + GAP) * sizeof *logits;

    logits = (float *)malloc(max);
    separate = (float *)malloc(max);
    in_place = (float *)malloc(max);
    staged = (float *)malloc(max);
    padded = (float *)malloc(max);
    if (!logits || !separate || !in_place || !staged || !padded)
        return 1;
    FOR_EACH_ISA(isa) {
        const int scalar = strcmp(isa, "scalar") == 0;

        for (size_t v = 0; v < sizeof widths / sizeof *widths; v++) {
            const int64_t V = widths[v];

            for (int kind = 0; kind < SHAPES; kind++) {
                fill((shape)kind, V, v);
                for (int w = 0; w < 4; w++)
                    if (!scalar || V < 3000 || (w + kind) % 4 == 0)
                        compare(isa, (shape)kind, V, weights[w], w % 2,
                                1 + w % 3);
                compare(isa, (shape)kind, V, NULL, 0, 1);
                if (kind < MASKED_FIRST && V > 1)
                    check_values(V, isa);
            }
        }
        for (size_t v = 0; v < sizeof pending / sizeof *pending; v++)
            for (int seed = 0; seed < (pending[v] > 2 * C || scalar ? 2 : 8);
                 seed++) {
                fill(MIXED, pending[v], (uint64_t)seed);
                compare(isa, MIXED, pending[v], weights[seed % 4], seed % 2,
                        1 + seed % 3);
                compare_padded(isa, pending[v], weights[(seed + 3) % 4],
                               1 + seed % 2);
            }
        z_loss = 1e30f;             /* slopes far beyond a float */
        for (int kind = 0; kind < SHAPES; kind++) {
            fill((shape)kind, 5000, 3);
            compare(isa, (shape)kind, 5000, weights[1], 0, 1);
        }
        z_loss = 0;
        for (int n = 10; n <= 64; n++)
            round_factors(isa, n);
        min_saved(isa);
    }
    free(logits);
    free(separate);
    free(in_place);
    free(staged);
    free(padded);
    return test_end();
}
