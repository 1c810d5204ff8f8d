/* What must hold between calls, whatever the numbers are: invariances, and
 * ways to the same result that must give the same bits.
 *
 * SPDX-License-Identifier: MIT
 *
 * Needs the API alone. The first argument is the number of rows to spend on
 * it, 24000 without. */
#include "test.h"

#include <math.h>
#include <stdlib.h>

#define U 0x1p-24

enum { N = 8, S = 4, V_SMALL = 160, V_MAX = 32768 + 100 };

/* ---- A random problem --------------------------------------------------- */

typedef struct problem {
    bnfloss_layout l;
    bnfloss_spec spec;
    bnfloss_inputs in;
    int64_t start[S + 1];
    int32_t label[N];
    float ref[N], weight[N];
    union { float f[N * V_MAX]; uint16_t h[N * V_MAX]; } z;
} problem;

/* What a call gives back. */
typedef struct answer {
    float logp[N], rest[N], entropy[N], dlogp[N], value[N];
    int32_t argmax[N];
    double seq_logp[S], seq_loss[S];
    bnfloss_result result;
    union { float f[N * V_MAX]; uint16_t h[N * V_MAX]; } grad;
} answer;

static problem p, p2;
static answer a, b;
static uint64_t work[4096];
static const char *isa_now;

static int64_t cells(const problem *q)
{
    return q->l.rows * q->l.vocab;
}

static size_t grad_bytes(const problem *q)
{
    return (size_t)cells(q) * (q->l.grad_type == BNFLOSS_F32 ? 4 : 2);
}

static float random_logit(rng *r, int shape)
{
    const double size = shape == 0 ? 10 : 2;
    double z = size * rng_normal(r);

    if (shape == 1)
        z += 30 * (double)(rng_below(r, 16) == 0);
    if (shape == 2 && rng_below(r, 4) == 0)
        return -INFINITY;
    if (shape == 3)
        z = floor(z);
    return (float)(floor(z * 256) / 256);   /* so that shifts are exact */
}

/* A finite f16 of some size, or any bf16 between 2^-20 and 2^6. */
static uint16_t random_half(rng *r, uint32_t type)
{
    const uint16_t sign = (uint16_t)(rng_next(r) & 0x8000);

    if (type == BNFLOSS_F16)
        return (uint16_t)(sign | (5 + rng_below(r, 15)) << 10
                          | rng_below(r, 1024));
    return (uint16_t)(sign | (107 + rng_below(r, 26)) << 7
                      | rng_below(r, 128));
}

static void make_logits(problem *q, rng *r)
{
    for (int64_t i = 0; i < q->l.rows; i++) {
        const int shape = (int)rng_below(r, 5);

        q->label[i] = (int32_t)rng_below(r, q->l.vocab);
        for (int64_t k = 0; k < q->l.vocab; k++) {
            if (q->l.logits_type == BNFLOSS_F32)
                q->z.f[i * q->l.vocab + k] = random_logit(r, shape);
            else
                q->z.h[i * q->l.vocab + k] = random_half(r,
                                                         q->l.logits_type);
        }
        if (q->l.logits_type == BNFLOSS_F32)
            q->z.f[i * q->l.vocab + q->label[i]] = (float)rng_below(r, 8);
        q->ref[i] = (float)(-6 * rng_uniform(r) - 0.01);
        q->weight[i] = (float)(rng_normal(r) + 0.5);
    }
}

/* A problem of f32 and of a kind, without options. */
static void make(problem *q, rng *r, uint32_t kind, int64_t rows)
{
    static const int64_t sizes[] = { 2, 3, 5, 16, 17, 63, 64, 65, 100, 129,
                                     160 };

    EMPTY(q->l);
    EMPTY(q->in);
    q->l.rows = rows;
    q->l.vocab = sizes[rng_below(r, sizeof sizes / sizeof *sizes)];
    q->l.flags = BNFLOSS_ENTROPY;
    bnfloss_spec_init(&q->spec, sizeof q->spec, kind);
    q->in.sequences = rows == N ? S : 1;
    for (int s = 0; s <= S; s++)
        q->start[s] = rows == N ? s * 2 : s * rows;
    q->in.pairing = rows == N && kind != BNFLOSS_SFT ? BNFLOSS_PAIRS_ADJACENT
                                                     : BNFLOSS_PAIRS_NONE;
    q->in.seq_start = q->start;
    q->in.ref_logp = q->ref;
    make_logits(q, r);
}

/* Any kind, with any of its options, types and sizes. */
static void make_any(problem *q, rng *r)
{
    const uint32_t kind = 1 + (uint32_t)rng_below(r, 3);

    make(q, r, kind, N);
    q->l.logits_type = (uint32_t)rng_below(r, 3);
    q->l.grad_type = rng_next(r) & 1 ? q->l.logits_type
                                     : (uint32_t)rng_below(r, 3);
    if (rng_below(r, 200) == 0)
        q->l.vocab = V_MAX - rng_below(r, 100);
    if (rng_below(r, 3) == 0)
        q->l.logit_scale = (float)(0.25 + rng_uniform(r));
    if (rng_below(r, 4) == 0)
        q->l.softcap = (float)(5 + 30 * rng_uniform(r));
    if (kind == BNFLOSS_SFT && rng_below(r, 3) == 0)
        q->l.label_smoothing = (float)(0.2 * rng_uniform(r));
    if (kind == BNFLOSS_SFT && rng_below(r, 3) == 0)
        q->l.z_loss = 1e-3f;
    else if (kind == BNFLOSS_SFT && !(q->l.label_smoothing > 0))
        q->spec.flags = rng_next(r) & 1 ? BNFLOSS_DFT : 0;
    if (kind == BNFLOSS_BNF && rng_below(r, 3) == 0)
        q->spec.eps = 1e-6f;
    if (kind == BNFLOSS_DPO && rng_below(r, 3) == 0)
        q->spec.flip_prob = 0.2f;
    if (rng_below(r, 3) == 0)
        q->in.row_weight = q->weight;
    make_logits(q, r);
    for (int i = 0; i < N; i++)
        if (rng_below(r, 10) == 0)
            q->label[i] = -1;
}

static bnfloss_outputs outputs_of(answer *t)
{
    const bnfloss_outputs out = { .struct_size = sizeof out,
        .logp = t->logp, .rest = t->rest, .entropy = t->entropy,
        .argmax = t->argmax, .dlogp = t->dlogp, .row_loss = t->value,
        .seq_logp = t->seq_logp, .seq_loss = t->seq_loss };

    memset(t, 0, offsetof(answer, grad));
    t->result.struct_size = sizeof t->result;
    return out;
}

static void run(const problem *q, answer *t)
{
    const bnfloss_outputs out = outputs_of(t);
    const bnfloss_status s = bnfloss_run(&q->l, &q->spec, &q->in, &q->z,
        q->label, &t->grad, &out, work, sizeof work, 1, &t->result);

    CHECK(s == BNFLOSS_OK, "run: %s", bnfloss_status_string(s));
}

/* ---- The same number by another way, within the promised bound ---------- */

static void close_gradient(const char *what, const answer *x, int64_t i,
                           double got, double want, double units)
{
    CHECK(fabs(got - want) <= units * U * fabs((double)x->dlogp[i]) + 0x1p-124,
          "%s, %s: gradient %a, not %a; dlogp %a", isa_now, what, got, want,
          (double)x->dlogp[i]);
}

/* Each row's gradient sums to 0. */
static void row_sums(rng *r)
{
    make(&p, r, rng_next(r) & 1 ? BNFLOSS_SFT : BNFLOSS_BNF, N);
    run(&p, &a);
    for (int64_t i = 0; i < N; i++) {
        double sum = 0, q = -expm1((double)a.logp[i]);

        for (int64_t k = 0; k < p.l.vocab; k++)
            sum += (double)a.grad.f[i * p.l.vocab + k];
        CHECK(fabs(sum) <= 8.01 * U * q * fabs((double)a.dlogp[i])
              + (double)p.l.vocab * 0x1p-124,
              "%s: a row sums to %g, 1 - p = %g, dlogp %g", isa_now, sum, q,
              (double)a.dlogp[i]);
    }
}

/* A constant added to a row changes nothing. */
static void shift(rng *r)
{
    const float by = (float)((double)rng_below(r, 8192) - 4096) / 4;

    make(&p, r, BNFLOSS_SFT, N);
    p2 = p;
    p2.in.seq_start = p2.start;
    for (int64_t k = 0; k < cells(&p); k++)
        p2.z.f[k] += by;
    run(&p, &a);
    run(&p2, &b);
    for (int64_t i = 0; i < N; i++) {
        CHECK(fabs((double)a.logp[i] - (double)b.logp[i])
              <= 8 * U * fabs((double)a.logp[i]),
              "%s: logp %a, after a shift by %g %a", isa_now,
              (double)a.logp[i], (double)by, (double)b.logp[i]);
        for (int64_t k = i * p.l.vocab; k < (i + 1) * p.l.vocab; k++)
            close_gradient("shift", &a, i, (double)b.grad.f[k],
                           (double)a.grad.f[k], 8);
    }
}

/* Columns in another order give the gradient in that order. */
static void permutation(rng *r)
{
    static int64_t to[V_SMALL];

    make(&p, r, BNFLOSS_SFT, N);
    p2 = p;
    p2.in.seq_start = p2.start;
    for (int64_t k = 0; k < p.l.vocab; k++) {
        const int64_t other = rng_below(r, k + 1);

        to[k] = to[other];
        to[other] = k;
    }
    for (int64_t i = 0; i < N; i++) {
        p2.label[i] = (int32_t)to[p.label[i]];
        for (int64_t k = 0; k < p.l.vocab; k++)
            p2.z.f[i * p.l.vocab + to[k]] = p.z.f[i * p.l.vocab + k];
    }
    run(&p, &a);
    run(&p2, &b);
    for (int64_t i = 0; i < N; i++)
        for (int64_t k = 0; k < p.l.vocab; k++)
            close_gradient("permutation", &a, i,
                           (double)b.grad.f[i * p.l.vocab + to[k]],
                           (double)a.grad.f[i * p.l.vocab + k], 8);
}

/* BNF's g rises with the label's logit, from 0 to exactly 1. */
static void monotone(rng *r)
{
    static const int8_t side = -1;      /* dlogp = g / N */
    const float top = (float)(rng_uniform(r) * 3);
    float last = 0;

    make(&p, r, BNFLOSS_BNF, N);
    p.in.sequences = 1;
    p.start[1] = N;
    p.in.pairing = BNFLOSS_PAIRS_NONE;
    p.in.side = &side;
    for (int64_t i = 0; i < N; i++) {
        p.label[i] = p.label[0];
        p.ref[i] = p.ref[0];
        memcpy(p.z.f + i * p.l.vocab, p.z.f, (size_t)p.l.vocab * 4);
        p.z.f[i * p.l.vocab + p.label[0]] = -20 + (float)i * (6 + top);
    }
    run(&p, &a);
    for (int64_t i = 0; i < N; i++) {
        const float g = a.dlogp[i] * (float)N;

        CHECK(g >= last && g <= 1, "%s: g = %a after %a", isa_now, (double)g,
              (double)last);
        CHECK(a.logp[i] <= p.ref[i] || g == 1, "%s: g = %a", isa_now,
              (double)g);
        last = g;
    }
}

/* A masked column is a column that is not there: bit for bit at the end of a
 * row, where no other column changes its lane. */
static void masks(rng *r)
{
    const int64_t more = 1 + rng_below(r, 40);
    int64_t V;

    make(&p, r, rng_next(r) & 1 ? BNFLOSS_SFT : BNFLOSS_BNF, N);
    if (p.spec.kind == BNFLOSS_SFT && rng_next(r) & 1)
        p.l.label_smoothing = 0.1f;
    V = p.l.vocab;
    p2 = p;
    p2.in.seq_start = p2.start;
    p2.l.vocab = V + more;
    for (int64_t i = 0; i < N; i++)
        for (int64_t k = 0; k < V + more; k++)
            p2.z.f[i * (V + more) + k] = k < V ? p.z.f[i * V + k] : -INFINITY;
    run(&p, &a);
    run(&p2, &b);
    CHECK(memcmp(&a, &b, offsetof(answer, grad)) == 0,
          "%s: masked columns change an output", isa_now);
    for (int64_t i = 0; i < N; i++) {
        CHECK(memcmp(a.grad.f + i * V, b.grad.f + i * (V + more),
                     (size_t)V * 4) == 0, "%s: masked columns change the "
              "gradient", isa_now);
        for (int64_t k = V; k < V + more; k++)
            CHECK(b.grad.f[i * (V + more) + k] == 0, "%s: a masked column's "
                  "gradient is %g", isa_now,
                  (double)b.grad.f[i * (V + more) + k]);
    }
}

/* Masked columns between the others: the same within the bound. */
static void masks_between(rng *r)
{
    static int64_t to[V_SMALL];
    int64_t V, wide = 0;

    make(&p, r, BNFLOSS_SFT, N);
    V = p.l.vocab;
    p2 = p;
    p2.in.seq_start = p2.start;
    for (int64_t k = 0; k < V; k++, wide++) {
        wide += rng_below(r, 2);
        to[k] = wide;
    }
    p2.l.vocab = wide;
    for (int64_t k = 0; k < N * wide; k++)
        p2.z.f[k] = -INFINITY;
    for (int64_t i = 0; i < N; i++) {
        p2.label[i] = (int32_t)to[p.label[i]];
        for (int64_t k = 0; k < V; k++)
            p2.z.f[i * wide + to[k]] = p.z.f[i * V + k];
    }
    run(&p, &a);
    run(&p2, &b);
    for (int64_t i = 0; i < N; i++)
        for (int64_t k = 0; k < V; k++)
            close_gradient("masks", &a, i,
                           (double)b.grad.f[i * wide + to[k]],
                           (double)a.grad.f[i * V + k], 8);
}

/* ---- The same bits by another way --------------------------------------- */

/* Where the target is all on the label, BNF is SFT. */
static void full_target(rng *r)
{
    static const int8_t side = 1;

    make(&p, r, BNFLOSS_BNF, N);
    p.in.sequences = 1;
    p.start[1] = N;
    p.in.pairing = BNFLOSS_PAIRS_NONE;
    p.in.side = &side;
    for (int i = 0; i < N; i++)
        p.ref[i] = rng_next(r) & 1 ? -INFINITY : -200;
    p2 = p;
    p2.in.seq_start = p2.start;
    bnfloss_spec_init(&p2.spec, sizeof p2.spec, BNFLOSS_SFT);
    run(&p, &a);
    run(&p2, &b);
    CHECK(memcmp(a.dlogp, b.dlogp, sizeof a.dlogp) == 0
          && memcmp(a.value, b.value, sizeof a.value) == 0
          && memcmp(&a.grad, &b.grad, grad_bytes(&p)) == 0,
          "%s: BNF with f = 1 is not SFT", isa_now);
}

/* Row i of a problem, alone. */
static void single(problem *q, const problem *from, int64_t i)
{
    const size_t size = from->l.logits_type == BNFLOSS_F32 ? 4 : 2;
    const size_t bytes = (size_t)from->l.vocab * size;

    q->l = from->l;
    q->l.rows = 1;
    q->spec = from->spec;
    q->in = from->in;
    q->in.seq_start = NULL;
    q->in.sequences = 0;
    q->in.pairing = BNFLOSS_PAIRS_NONE;
    q->in.row_weight = from->in.row_weight ? from->weight + i : NULL;
    q->label[0] = from->label[i];
    memcpy(&q->z, (const char *)&from->z + (size_t)i * bytes, bytes);
}

static void rows_singly(rng *r)
{
    do
        make_any(&p, r);
    while (p.spec.kind != BNFLOSS_SFT);
    p.spec.divisor = BNFLOSS_DIV_GIVEN;
    p.spec.divisor_value = 3;
    run(&p, &a);
    for (int64_t i = 0; i < N; i++) {
        const size_t row = grad_bytes(&p) / N;

        single(&p2, &p, i);
        run(&p2, &b);
        CHECK(memcmp(a.logp + i, b.logp, 4) == 0
              && memcmp(a.value + i, b.value, 4) == 0
              && memcmp(a.rest + i, b.rest, 4) == 0
              && memcmp(a.entropy + i, b.entropy, 4) == 0
              && memcmp(a.dlogp + i, b.dlogp, 4) == 0
              && a.argmax[i] == b.argmax[0]
              && memcmp((char *)&a.grad + (size_t)i * row, &b.grad, row) == 0,
              "%s: a row alone has other bits", isa_now);
    }
}

/* forward, loss and backward are run. */
static void stages(rng *r)
{
    static bnfloss_row state[N];
    bnfloss_outputs out;
    bnfloss_result forward = { .struct_size = sizeof forward };

    make_any(&p, r);
    run(&p, &a);
    out = outputs_of(&b);
    /* a weight of 0 is the one thing that forward does not know of */
    CHECK(bnfloss_forward(&p.l, &p.z, p.label, 0, 3, state, &out, &forward)
          == BNFLOSS_OK && bnfloss_forward(&p.l, &p.z, p.label, 3, N, state,
          &out, &forward) == BNFLOSS_OK, "forward");
    CHECK(bnfloss_loss(&p.spec, &p.in, N, state, NULL, NULL, b.dlogp,
                       &(bnfloss_outputs){ .struct_size = sizeof out,
                       .row_loss = b.value, .seq_logp = b.seq_logp,
                       .seq_loss = b.seq_loss }, work, sizeof work, &b.result)
          == BNFLOSS_OK, "loss");
    CHECK(bnfloss_backward(&p.l, &p.z, p.label, 0, 5, state, b.dlogp, &b.grad,
                           NULL) == BNFLOSS_OK
          && bnfloss_backward(&p.l, &p.z, p.label, 5, N, state, b.dlogp,
                              &b.grad, NULL) == BNFLOSS_OK, "backward");
    CHECK(memcmp(&a, &b, offsetof(answer, result)) == 0,
          "%s, kind %u: the stages' outputs are not run's", isa_now,
          (unsigned)p.spec.kind);
    CHECK(memcmp(&a.result, &b.result, sizeof a.result) == 0,
          "%s, kind %u: the stages' result is not run's", isa_now,
          (unsigned)p.spec.kind);
    CHECK(memcmp(&a.grad, &b.grad, grad_bytes(&p)) == 0,
          "%s, kind %u: the stages' gradient is not run's", isa_now,
          (unsigned)p.spec.kind);
}

static void in_place(rng *r)
{
    bnfloss_outputs out;

    make_any(&p, r);
    p.l.grad_type = p.l.logits_type;
    run(&p, &a);
    out = outputs_of(&b);
    CHECK(bnfloss_run(&p.l, &p.spec, &p.in, &p.z, p.label, &p.z, &out, work,
                      sizeof work, 1, &b.result) == BNFLOSS_OK, "in place");
    CHECK(memcmp(&a.grad, &p.z, grad_bytes(&p)) == 0
          && memcmp(&a, &b, offsetof(answer, grad)) == 0,
          "%s, kind %u: in place has other bits", isa_now,
          (unsigned)p.spec.kind);
}

/* A loss scale of 2^k moves exponents and nothing else, but for numbers that
 * are denormal before or after. */
static void loss_scale(rng *r)
{
    const int k = (int)rng_below(r, 31) - 10;
    const float by = ldexpf(1, k);

    do
        make_any(&p, r);
    while (p.l.vocab > V_SMALL);
    p.l.grad_type = BNFLOSS_F32;
    run(&p, &a);
    p.spec.loss_scale = (double)by;
    run(&p, &b);
    CHECK(memcmp(&a.result, &b.result, sizeof a.result) == 0
          && memcmp(a.value, b.value, sizeof a.value) == 0,
          "%s: loss_scale changes the loss", isa_now);
    for (int64_t i = 0; i < N; i++) {
        CHECK(b.dlogp[i] == by * a.dlogp[i]
              || fabsf(b.dlogp[i]) < by * 0x1p-126f
              || fabsf(b.dlogp[i]) < 0x1p-126f, "%s: dlogp %a times 2^%d is %a",
              isa_now, (double)a.dlogp[i], k, (double)b.dlogp[i]);
        for (int64_t c = i * p.l.vocab; c < (i + 1) * p.l.vocab; c++)
            CHECK(b.grad.f[c] == by * a.grad.f[c]
                  || fabsf(b.grad.f[c]) < by * 0x1p-120f
                  || fabsf(b.grad.f[c]) < 0x1p-120f,
                  "%s: gradient %a times 2^%d is %a", isa_now,
                  (double)a.grad.f[c], k, (double)b.grad.f[c]);
    }
}

/* Two calls with a given divisor are one call: gradients by the bit, losses
 * to the last bits of their sum. */
static void divided(rng *r)
{
    const int64_t half = N / 2;
    double loss = 0;

    do
        make_any(&p, r);
    while (p.l.vocab > V_SMALL);
    p.spec.divisor = BNFLOSS_DIV_GIVEN;
    p.spec.divisor_value = 5;
    run(&p, &a);
    for (int k = 0; k < 2; k++) {
        const size_t size = p.l.logits_type == BNFLOSS_F32 ? 4 : 2;
        const size_t bytes = (size_t)(half * p.l.vocab) * size;
        const size_t gbytes = grad_bytes(&p) / 2;

        p2 = p;
        p2.l.rows = half;
        p2.in.seq_start = p2.start;
        p2.in.sequences = S / 2;
        p2.in.ref_logp = p.ref + k * half;
        p2.in.row_weight = p.in.row_weight ? p.weight + k * half : NULL;
        memcpy(p2.label, p.label + k * half, sizeof p.label / 2);
        memcpy(&p2.z, (char *)&p.z + (size_t)k * bytes, bytes);
        run(&p2, &b);
        loss += b.result.loss;
        CHECK(memcmp(&b.grad, (char *)&a.grad + (size_t)k * gbytes, gbytes)
              == 0, "%s: half a batch has other gradients", isa_now);
    }
    CHECK(fabs(loss - a.result.loss) <= 1e-14 * (1 + fabs(a.result.loss)),
          "%s: losses add up to %.17g, not %.17g", isa_now, loss,
          a.result.loss);
}

/* ACCUMULATE adds what would have been written, rounded once. */
static void accumulate(rng *r)
{
    do
        make_any(&p, r);
    while (p.l.vocab > V_SMALL);
    p.l.grad_type = BNFLOSS_F32;
    run(&p, &a);
    for (int64_t k = 0; k < cells(&p); k++)
        b.grad.f[k] = p2.z.f[k] = (float)(rng_normal(r) * 0.1);
    p.l.flags |= BNFLOSS_ACCUMULATE;
    run(&p, &b);
    for (int64_t k = 0; k < cells(&p); k++) {
        const float want = p2.z.f[k] + a.grad.f[k];

        CHECK(b.grad.f[k] == want, "%s: %a accumulated onto %a is %a",
              isa_now, (double)a.grad.f[k], (double)p2.z.f[k],
              (double)b.grad.f[k]);
    }
}

/* ---- Two entry points -------------------------------------------------- */

/* logp and rest handed over as floats: dlogp and values move by what their
 * rounding moves. log g is a difference of log odds, and an error e of logp
 * moves those by e / (1-p). */
static void entries(rng *r)
{
    bnfloss_outputs out;
    double total = 0;

    make(&p, r, 1 + (uint32_t)rng_below(r, 3), N);
    run(&p, &a);
    memset(b.value, 0, sizeof b.value);
    out = (bnfloss_outputs){ .struct_size = sizeof out, .row_loss = b.value };
    b.result.struct_size = sizeof b.result;
    CHECK(bnfloss_loss(&p.spec, &p.in, N, NULL, a.logp, a.rest, b.dlogp, &out,
                       work, sizeof work, &b.result) == BNFLOSS_OK, "loss");
    for (int i = 0; i < N; i++)
        total += fabs((double)a.logp[i]);
    for (int i = 0; i < N; i++) {
        const double l = fabs((double)a.logp[i]), q = -expm1(-l);
        const double rest = fabs((double)a.rest[i]);
        double bound = 2 * U, value = 2 * U * (1 + l) * (l + rest);

        if (p.spec.kind == BNFLOSS_BNF)
            bound += q > 0 ? U * l / q : 0;
        if (p.spec.kind == BNFLOSS_DPO) {
            bound += U * total * (double)p.spec.beta;
            value += 2 * U * fabs((double)p.ref[i]);
        }
        CHECK(fabs((double)a.dlogp[i] - (double)b.dlogp[i])
              <= bound * fabs((double)a.dlogp[i]),
              "%s, kind %u: dlogp %a by logits, %a by logp", isa_now,
              (unsigned)p.spec.kind, (double)a.dlogp[i], (double)b.dlogp[i]);
        CHECK(fabs((double)a.value[i] - (double)b.value[i]) <= value,
              "%s, kind %u: value %a by logits, %a by logp", isa_now,
              (unsigned)p.spec.kind, (double)a.value[i], (double)b.value[i]);
    }
    if (p.spec.kind == BNFLOSS_SFT)
        CHECK(memcmp(a.dlogp, b.dlogp, sizeof a.dlogp) == 0, "%s: SFT's dlogp "
              "depends on the entry point", isa_now);
}

int main(int argc, char **argv)
{
    static void (*const all[])(
        rng *) = { row_sums,      shift,       permutation, monotone, masks,
                   masks_between, full_target, rows_singly, stages,   in_place,
                   loss_scale,    divided,     accumulate,  entries };
    const long rows = argc > 1 ? atol(argv[1]) : 24000;
    const int count = (int)(sizeof all / sizeof *all);
    long calls = 0;

    FOR_EACH_ISA(isa) {
        rng r = { 30 };

        isa_now = isa;
        for (long i = 0; i < rows / 3; i += N, calls++)
            all[i / N % count](&r);
    }
    printf("%ld rows for each of %d properties\n", calls / count * N, count);
    return test_end();
}
