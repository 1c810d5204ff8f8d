/* What must hold between calls, whatever the numbers are: invariances, and
 * ways to the same result that must give the same bits. First of rows of any
 * size and type under SFT, BNF and DPO, then of every loss with options by
 * chance.
 *
 * SPDX-License-Identifier: MIT
 *
 * test_properties [ROUNDS [ROWS]]: each round has every loss, 12 without; and
 * so many rows for the properties of rows, 24000 without.
 *
 * E110, E164 and E165 of EDGES.md. test_same_bits.c has the bits in place, by
 * stages and on threads. */
#include "fixture.h"

#include <stdlib.h>

static const char *isa_now;
static uint64_t seed_now;

enum { N = 8, S = 4, V_SMALL = 160, V_MAX = 32768 + 100 };

/* ---- Rows: a random problem ---------------------------------------------- */

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
static void make_plain(problem *q, rng *r, uint32_t kind, int64_t rows)
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

    make_plain(q, r, kind, N);
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

static void run_rows(const problem *q, answer *t)
{
    const bnfloss_outputs out = outputs_of(t);
    const bnfloss_status s = bnfloss_run(&q->l, &q->spec, &q->in, &q->z,
        q->label, &t->grad, &out, work, sizeof work, 1, &t->result);

    CHECK(s == BNFLOSS_OK, "run: %s", bnfloss_status_string(s));
}

/* ---- The same number by another way, within the promised bound ----------- */

static void close_gradient(const char *what, const answer *x, int64_t i,
                           double got, double want, double units)
{
    CHECK(fabs(got - want) <= units * U * fabs((double)x->dlogp[i]) + 0x1p-124,
          "%s, %s: gradient %a, not %a; dlogp %a", isa_now, what, got, want,
          (double)x->dlogp[i]);
}

/* Each row's gradient sums to 0. */
static void gradient_sums(rng *r)
{
    make_plain(&p, r, rng_next(r) & 1 ? BNFLOSS_SFT : BNFLOSS_BNF, N);
    run_rows(&p, &a);
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

    make_plain(&p, r, BNFLOSS_SFT, N);
    p2 = p;
    p2.in.seq_start = p2.start;
    for (int64_t k = 0; k < cells(&p); k++)
        p2.z.f[k] += by;
    run_rows(&p, &a);
    run_rows(&p2, &b);
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

    make_plain(&p, r, BNFLOSS_SFT, N);
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
    run_rows(&p, &a);
    run_rows(&p2, &b);
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

    make_plain(&p, r, BNFLOSS_BNF, N);
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
    run_rows(&p, &a);
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

    make_plain(&p, r, rng_next(r) & 1 ? BNFLOSS_SFT : BNFLOSS_BNF, N);
    if (p.spec.kind == BNFLOSS_SFT && rng_next(r) & 1)
        p.l.label_smoothing = 0.1f;
    V = p.l.vocab;
    p2 = p;
    p2.in.seq_start = p2.start;
    p2.l.vocab = V + more;
    for (int64_t i = 0; i < N; i++)
        for (int64_t k = 0; k < V + more; k++)
            p2.z.f[i * (V + more) + k] = k < V ? p.z.f[i * V + k] : -INFINITY;
    run_rows(&p, &a);
    run_rows(&p2, &b);
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

    make_plain(&p, r, BNFLOSS_SFT, N);
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
    run_rows(&p, &a);
    run_rows(&p2, &b);
    for (int64_t i = 0; i < N; i++)
        for (int64_t k = 0; k < V; k++)
            close_gradient("masks", &a, i,
                           (double)b.grad.f[i * wide + to[k]],
                           (double)a.grad.f[i * V + k], 8);
}

/* ---- The same bits by another way ---------------------------------------- */

/* Where the target is all on the label, BNF is SFT. */
static void full_target(rng *r)
{
    static const int8_t side = 1;

    make_plain(&p, r, BNFLOSS_BNF, N);
    p.in.sequences = 1;
    p.start[1] = N;
    p.in.pairing = BNFLOSS_PAIRS_NONE;
    p.in.side = &side;
    for (int i = 0; i < N; i++)
        p.ref[i] = rng_next(r) & 1 ? -INFINITY : -200;
    p2 = p;
    p2.in.seq_start = p2.start;
    bnfloss_spec_init(&p2.spec, sizeof p2.spec, BNFLOSS_SFT);
    run_rows(&p, &a);
    run_rows(&p2, &b);
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
    run_rows(&p, &a);
    for (int64_t i = 0; i < N; i++) {
        const size_t row = grad_bytes(&p) / N;

        single(&p2, &p, i);
        run_rows(&p2, &b);
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
    run_rows(&p, &a);
    p.spec.loss_scale = (double)by;
    run_rows(&p, &b);
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

static fam_outcome one, two, sum;

static const char *name(void)
{
    return bnfloss_kind_name(fam.spec[0].kind);
}

/* A sound batch of a kind with options by chance. */
static void make_loss(uint32_t kind, uint64_t seed)
{
    rng r = { seed * 1000 + kind };

    seed_now = seed;
    fam_make(kind, seed * 100 + kind, rng_below(&r, 3) > 0);
    fam_options(&r, fam.spec);
    if (rng_below(&r, 4) == 0)
        fam.in.row_weight = NULL;
}

static double largest(const float *x, int64_t n)
{
    double max = 0;

    for (int64_t i = 0; i < n; i++)
        max = fmax(max, fabs((double)x[i]));
    return max;
}

static int close_to(double got, double want, double size)
{
    return got == want || fabs(got - want) <= size;
}

/* ---- Losses: entry points, types, threads -------------------------------- */

/* By states: the same bits. By log-probabilities: those are rounded to
 * floats, so sums of 26 tokens of |l| < 8 move by 26 * 8 u at most, and with
 * them exponentials of up to twice a sum. */
static void entries(uint32_t kind, uint64_t seed)
{
    static const uint32_t sums = BNFLOSS_ENTROPY | BNFLOSS_SQUARES;
    float weight[FAM_N];
    double max;

    make_loss(kind, seed);
    fam.spec[0].divisor = 1 + (uint32_t)(seed % 4);
    if (!fam.in.pairing && seed % 4 + 1 == BNFLOSS_DIV_PAIRS)
        fam.spec[0].divisor = BNFLOSS_DIV_TOKENS;
    fam.spec[0].divisor_value = 7;
    fam.spec[0].loss_scale = seed % 3 ? 1 : 3;
    fam.out.log_square = fam.log_square;
    fam.layout.flags = BNFLOSS_ENTROPY | BNFLOSS_SQUARES | BNFLOSS_MEAN;
    fam_run_and_take(&one, "run");
    CHECK(fam_forward(sums | BNFLOSS_MEAN, fam.state) == BNFLOSS_OK
          && fam_states() == BNFLOSS_OK, "%s: states", name());
    fam_take(&two);
    CHECK(memcmp(&one.result, &two.result, sizeof one.result) == 0,
          "%s, seed %d: results of states: loss %.17g, not %.17g", name(),
          (int)seed, two.result.loss, one.result.loss);
    CHECK(memcmp(one.dlogp, fam.dlogp_out, sizeof one.dlogp) == 0
          && memcmp(&one.row_loss, two.row_loss, sizeof one.row_loss) == 0
          && memcmp(one.seq_ratio, two.seq_ratio, sizeof one.seq_ratio) == 0
          && memcmp(one.seq_logp, two.seq_logp, sizeof one.seq_logp) == 0
          && memcmp(one.distance, two.distance, sizeof one.distance) == 0
          && memcmp(one.spec_loss, two.spec_loss, 8) == 0,
          "%s, seed %d: outputs of states", name(), (int)seed);
    for (int i = 0; i < FAM_N; i++) {       /* no labels at bnfloss_loss */
        weight[i] = fam_valid(i) ? fam.in.row_weight ? fam.weight[i] : 1 : 0;
        fam.logp_in[i] = one.logp[i];
        fam.rest_in[i] = fam.rest[i];
        fam.square[i] = one.log_square[i];
    }
    fam.in.row_weight = weight;
    fam.in.log_square = fam.spec[0].flags & BNFLOSS_WPO ? fam.square : NULL;
    CHECK(fam_logps() == BNFLOSS_OK, "%s: logps", name());
    max = largest(one.dlogp, FAM_N);
    if (kind == BNFLOSS_DISCOPOP)           /* the rounding of logp, over tau */
        max *= 1 + 1 / (double)fam.spec->tau;
    CHECK(close_to(fam.result.loss, one.result.loss,
                   2 * 26 * 8 * U * (fabs(one.result.loss) + 26 * max)),
          "%s, seed %d: loss %.9g by logp, %.9g by logits", name(), (int)seed,
          fam.result.loss, one.result.loss);
    for (int i = 0; i < FAM_N; i++)
        CHECK(close_to((double)fam.dlogp_out[i], (double)one.dlogp[i],
                       2 * 26 * 8 * U * max),
              "%s, seed %d: dlogp of row %d "
              "%.9g by logp, %.9g by logits",
              name(), (int)seed, i, (double)fam.dlogp_out[i],
              (double)one.dlogp[i]);
}

/* The logits are numbers that all types hold, so all but the gradient's last
 * rounding is the same; in place, and on threads. */
static void types(uint32_t kind, uint64_t seed)
{
    make_loss(kind, seed);
    fam_run_and_take(&one, "f32");
    for (uint32_t type = 0; type < 3; type++) {
        for (int in_place = 0; in_place < 2; in_place++) {
            float z[FAM_N][FAM_V];

            make_loss(kind, seed);
            for (int64_t i = 0; i < FAM_N; i++)
                for (int64_t v = 0; v < FAM_V; v++)
                    z[i][v] = fam_logit(i, v);
            fam.layout.logits_type = fam.layout.grad_type = type;
            for (int64_t i = 0; i < FAM_N; i++)
                for (int64_t v = 0; v < FAM_V; v++)
                    fam_set_logit(i, v, z[i][v]);
            if (in_place)
                fam.layout.grad_stride = FAM_STRIDE;
            CHECK(fam_run(in_place ? (void *)fam.logits : (void *)fam.grad,
                          3) == BNFLOSS_OK, "%s: %s", name(),
                  type_name(type));
            if (in_place)
                memcpy(fam.grad, fam.logits, sizeof fam.logits);
            fam_take(&two);
            CHECK(memcmp(&one.result, &two.result, sizeof one.result) == 0
                  && memcmp(one.dlogp, two.dlogp, sizeof one.dlogp) == 0,
                  "%s, seed %d: %s has another loss", name(), (int)seed,
                  type_name(type));
            for (int64_t i = 0; i < FAM_N; i++)
                for (int64_t v = 0; v < FAM_V; v++) {
                    const double g = type == BNFLOSS_F16
                        && fabsf(one.grad[i][v]) >= 65520
                        ? copysign(HUGE_VAL, (double)one.grad[i][v])
                        : (double)one.grad[i][v];

                    CHECK(close_to((double)two.grad[i][v], g,
                                   type ? elem_rounding(type, g) : 0),
                          "%s, seed %d: gradient in %s%s %.9g, not %.9g",
                          name(), (int)seed, type_name(type),
                          in_place ? " in place" : "",
                          (double)two.grad[i][v], g);
                }
        }
    }
}

/* Rows that do not count have no gradient, and ACCUMULATE adds what would
 * have been written. */
static void accumulate(uint32_t kind, uint64_t seed)
{
    rng r = { seed };

    make_loss(kind, seed);
    fam_run_and_take(&one, "apart");
    for (int64_t i = 0; i < FAM_N; i++)
        for (int64_t v = 0; v < FAM_V && !fam_valid(i); v++)
            CHECK(one.dlogp[i] == 0 && one.grad[i][v] == 0, "%s: row %d is "
                  "ignored, and has a gradient", name(), (int)i);
    for (int64_t k = 0; k < FAM_N * FAM_GRAD_STRIDE; k++)
        elem_put(0, fam.grad, k, (float)(rng_normal(&r) * 0.01));
    fam_take(&sum);
    fam.layout.flags |= BNFLOSS_ACCUMULATE;
    fam_run_and_take(&two, "accumulated");
    for (int64_t i = 0; i < FAM_N; i++)
        for (int64_t v = 0; v < FAM_V; v++)
            CHECK(two.grad[i][v] == sum.grad[i][v] + one.grad[i][v],
                  "%s: accumulated", name());
}

/* ---- The deferred scale -------------------------------------------------- */

/* Two gradients of one row differ by 8 u of dlogp at most (numerics.md: 4 u
 * each); the deferred one has two roundings more. */
static void deferred(uint32_t kind, uint64_t seed)
{
    make_loss(kind, seed);
    if (fam.spec[0].sft_weight > 0 && (fam.spec[0].ld_alpha < 1))
        return;                 /* E192 */
    fam_run_and_take(&one, "at once");
    fam.spec[0].flags |= BNFLOSS_DEFER_SCALE;
    fam.out.row_scale = fam.row_scale;
    fam_run_and_take(&two, "deferred");
    CHECK(memcmp(&one.result, &two.result, sizeof one.result) == 0
          && memcmp(one.dlogp, two.dlogp, sizeof one.dlogp) == 0
          && memcmp(one.seq_loss, two.seq_loss, sizeof one.seq_loss) == 0,
          "%s, seed %d: deferred, another loss", name(), (int)seed);
    for (int64_t i = 0; i < FAM_N; i++) {
        const double d = fabs((double)one.dlogp[i]);
        const double s = (double)two.scale[i];

        if (!fam_valid(i))
            CHECK(s == 0, "%s: scale %g of an ignored row", name(), s);
        if (shape_of(kind) == BN_BY_TOKEN)
            CHECK(s == (one.dlogp[i] != 0 || fam_valid(i) ? s : 0)
                  && (s == 1 || s == 0), "%s: scale %g", name(), s);
        for (int64_t v = 0; v < FAM_V; v++)
            CHECK(close_to(s * (double)two.grad[i][v],
                           (double)one.grad[i][v], 10 * U * d + 0x1p-120),
                  "%s, seed %d: row %d: deferred %.9g times %.9g is not "
                  "%.9g (dlogp %.9g)", name(), (int)seed, (int)i,
                  (double)two.grad[i][v], s, (double)one.grad[i][v], d);
    }
}

/* ---- Sequences in another order, with padding, in several calls ---------- */

#define MOVE(array) memcpy(fam.array + to, from.array + i, sizeof *fam.array)

/* Moves element i of every input that has `count` elements to place `to`. */
static void move_inputs(const fam_block *from, size_t count, int64_t i,
                        int64_t to)
{
    for (int k = 0; k < FAM_ARRAYS; k++) {
        const fam_array *array = fam_arrays + k;
        char *now = (char *)array->numbers;
        const char *before = (const char *)from + (now - (char *)&fam);

        if (array->count == count)
            memcpy(now + (size_t)to * array->size,
                   before + (size_t)i * array->size, array->size);
    }
}

/* The batch with the sequences order[0], .. order[S-1] of the one at hand and
 * `pad` ignored rows after each; row[i] is where row i went. Pairs are taken
 * from `pair`: that of each new pair. */
static void rebuild(const int *order, int n, const int *pair, int pad,
                    int64_t *row)
{
    static fam_block from;
    int64_t to = 0;

    memcpy(&from, &fam, sizeof fam);
    for (int s = 0; s < n; s++) {
        const int64_t end = from.start[order[s] + 1];

        fam.start[s] = to;
        move_inputs(&from, FAM_S, order[s], s);
        for (int64_t i = from.start[order[s]]; i < end + pad; i++, to++) {
            if (i >= end) {
                fam.label[to] = -1;
                fam.weight[to] = 7;
                fam.ref[to] = NAN;
                fam.mask[to] = 1;
                fam.square[to] = NAN;
                continue;
            }
            row[i] = to;
            MOVE(label);
            MOVE(logp_in);
            move_inputs(&from, FAM_N, i, to);
            for (int64_t v = 0; v < FAM_V; v++)
                elem_put(0, fam.logits, to * FAM_STRIDE + v,
                         elem_get(0, from.logits, i * FAM_STRIDE + v));
        }
    }
    fam.start[n] = to;
    fam.in.sequences = n;
    fam.layout.rows = to;
    for (int k = 0; k < n / 2 && pair; k++)
        move_inputs(&from, FAM_P, pair[k], k);
}

/* The dlogp and gradient of `two` are those of `one` by the bit, or within
 * `slack` of the largest dlogp. */
static void same_rows(const int64_t *row, double slack, const char *what)
{
    const double size = slack * largest(one.dlogp, FAM_N);

    for (int64_t i = 0; i < FAM_N; i++) {
        const int64_t to = row[i];

        if (to < 0)
            continue;
        CHECK(close_to((double)two.dlogp[to], (double)one.dlogp[i], size),
              "%s, seed %d, %s: dlogp of row %d %.9g, not %.9g", name(),
              (int)seed_now, what, (int)i, (double)two.dlogp[to],
              (double)one.dlogp[i]);
        if (slack == 0)
            CHECK(memcmp(two.grad[to], one.grad[i], sizeof one.grad[i]) == 0,
                  "%s, seed %d, %s: gradient of row %d", name(),
                  (int)seed_now, what, (int)i);
    }
}

/* All chosen, then all rejected. The order shows in the last bits of a sum
 * over sequences, and so in BCO's shift. */
static void halves(uint32_t kind, uint64_t seed)
{
    static const int order[FAM_S] = { 0, 2, 4, 6, 1, 3, 5, 7 };
    static const int pair[FAM_P] = { 0, 1, 2, 3 };
    int64_t row[FAM_N];

    make_loss(kind, seed);
    fam.in.pairing = BNFLOSS_PAIRS_ADJACENT;
    fam_run_and_take(&one, "adjacent");
    rebuild(order, FAM_S, pair, 0, row);
    fam.in.pairing = BNFLOSS_PAIRS_HALVES;
    if (seed % 2)
        fam.in.side = NULL;
    fam_run_and_take(&two, "halves");
    CHECK(close_to(one.result.loss, two.result.loss, is_paired(kind) ? 0
                   : 1e-14 * (1 + fabs(one.result.loss))),
          "%s, seed %d: halves: loss %.17g, not %.17g", name(), (int)seed,
          two.result.loss, one.result.loss);
    same_rows(row, kind == BNFLOSS_BCO ? 2 * U : 0, "halves");
    for (int k = 0; k < FAM_P && is_paired(kind); k++)
        CHECK(two.seq_loss[k] == one.seq_loss[k], "%s, seed %d: pair %d of "
              "halves", name(), (int)seed, k);
    for (int s = 0; s < FAM_S; s++)
        CHECK(two.distance[s] == one.distance[order[s]]
              && two.seq_ratio[s] == one.seq_ratio[order[s]],
              "%s: sequence %d of halves", name(), s);
}

/* The longest sequences made shorter, so that there is room for padding. */
static void padding(uint32_t kind, uint64_t seed)
{
    static const int order[FAM_S] = { 0, 1, 4, 5, 6, 7, 2, 3 };
    static const int pair[FAM_P] = { 0, 2, 3, 1 };
    static const int same[FAM_S] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    int64_t row[FAM_N];

    for (int64_t i = 0; i < FAM_N; i++)
        row[i] = -1;
    make_loss(kind, seed);
    rebuild(order, 6, pair, 0, row);        /* 19 rows */
    fam_run_and_take(&one, "packed");
    for (int64_t i = 0; i < FAM_N; i++)
        row[i] = -1;
    rebuild(same, 6, same, 1, row);         /* 25 rows */
    fam_run_and_take(&two, "padded");
    CHECK(one.result.loss == two.result.loss
          && one.result.tokens == two.result.tokens
          && one.result.divisor == two.result.divisor,
          "%s, seed %d: padding: loss %.17g, not %.17g", name(), (int)seed,
          two.result.loss, one.result.loss);
    same_rows(row, 0, "padding");
}

/* Pairs, or sequences, in another order. Only BCO's shift and sums over the
 * call see the order, in their last bits. */
static void permuted(uint32_t kind, uint64_t seed)
{
    static const int order[FAM_S] = { 4, 5, 0, 1, 6, 7, 2, 3 };
    static const int pair[FAM_P] = { 2, 0, 3, 1 };
    int64_t row[FAM_N];

    make_loss(kind, seed);
    fam_run_and_take(&one, "in order");
    rebuild(order, FAM_S, pair, 0, row);
    fam_run_and_take(&two, "permuted");
    CHECK(close_to(two.result.loss, one.result.loss,
                   1e-14 * (1 + fabs(one.result.loss))),
          "%s, seed %d: permuted: loss %.17g, not %.17g", name(), (int)seed,
          two.result.loss, one.result.loss);
    same_rows(row, kind == BNFLOSS_BCO ? 2 * U : 0, "permuted");
    for (int k = 0; k < FAM_P && is_paired(kind); k++)
        CHECK(two.seq_loss[k] == one.seq_loss[pair[k]],
              "%s, seed %d: pair %d permuted", name(), (int)seed, k);
}

/* Whether its rows depend on no other pair or sequence. */
static int adds_up(void)
{
    const bnfloss_spec *s = fam.spec;

    return shape_of(s->kind) != BN_BY_BATCH && s->kind != BNFLOSS_BCO
           && s->token_norm != BNFLOSS_NORM_SHORTEST
           && !(s->sft_weight > 0 && s->sft_norm == BNFLOSS_NORM_BATCH);
}

/* Two calls with a given divisor are one: gradients by the bit, losses to the
 * last bits of their sum. Not AOT, BCO, and the two norms that look at the
 * whole call, which must then differ somewhere. */
static int differ;

static void divided(uint32_t kind, uint64_t seed)
{
    static const int order[2][4] = { { 0, 1, 2, 3 }, { 4, 5, 6, 7 } };
    static const int pair[2][2] = { { 0, 1 }, { 2, 3 } };
    static fam_block whole;
    double loss = 0;

    make_loss(kind, seed);
    if (kind != BNFLOSS_BCO && !adds_up())
        return;
    fam.spec[0].divisor = BNFLOSS_DIV_GIVEN;
    fam.spec[0].divisor_value = 3;
    fam_run_and_take(&one, "one call");
    memcpy(&whole, &fam, sizeof fam);
    for (int k = 0; k < 2; k++) {
        int64_t row[FAM_N];

        for (int64_t i = 0; i < FAM_N; i++)
            row[i] = -1;
        memcpy(&fam, &whole, sizeof fam);
        rebuild(order[k], 4, pair[k], 0, row);
        fam_run_and_take(&two, "half of it");
        loss += two.result.loss;
        if (kind != BNFLOSS_BCO)
            same_rows(row, 0, "divided");
        else
            differ += memcmp(one.dlogp, two.dlogp, 8) != 0;
    }
    if (kind == BNFLOSS_BCO)
        return;
    CHECK(close_to(loss, one.result.loss, 1e-14 * (1 + fabs(loss))),
          "%s, seed %d: two calls give %.17g, one %.17g", name(), (int)seed,
          loss, one.result.loss);
}

/* ---- What the numbers mean ----------------------------------------------- */

/* At flip_prob 1/2 a loss of DPO's form does not know which is chosen. */
static void swapped(uint32_t kind, uint64_t seed)
{
    static const int order[FAM_S] = { 1, 0, 3, 2, 5, 4, 7, 6 };
    static const int pair[FAM_P] = { 0, 1, 2, 3 };
    int64_t row[FAM_N];

    if (!takes(kind, BN_FLIP) || shape_of(kind) != BN_BY_PAIR
        || kind == BNFLOSS_ROBUST || kind == BNFLOSS_EXO_PAIR
        || kind == BNFLOSS_DPOP)
        return;
    make_loss(kind, seed);
    fam.spec[0].flip_prob = 0.5f;
    fam.spec[0].sft_weight = fam.spec[0].gamma = 0;
    fam.in.pair_margin = NULL;
    fam_run_and_take(&one, "as it is");
    rebuild(order, FAM_S, pair, 0, row);
    for (int s = 0; s < FAM_S; s++)
        fam.side[s] = s % 2 ? -1 : 1;
    fam_run_and_take(&two, "swapped");
    CHECK(close_to(one.result.loss, two.result.loss,
                   1e-14 * fabs(one.result.loss)),
          "%s, seed %d: swapped: %.17g, not %.17g", name(), (int)seed,
          two.result.loss, one.result.loss);
    same_rows(row, 2 * U, "swapped");
}

/* pair_scale s is s * beta, where nothing but u depends on beta. */
static void scaled(uint32_t kind, uint64_t seed)
{
    if (!has_margin(kind) || !takes(kind, BN_BETA)
        || kind == BNFLOSS_IPO || kind == BNFLOSS_IPO_SUM
        || kind == BNFLOSS_RPO || kind == BNFLOSS_FPO)
        return;
    make_loss(kind, seed);
    for (int k = 0; k < FAM_P; k++)
        fam.pair_scale[k] = 4;
    fam.in.pair_scale = fam.pair_scale;
    fam_run_and_take(&one, "pair_scale");
    fam.in.pair_scale = NULL;
    fam.spec[0].beta *= 4;
    fam_run_and_take(&two, "beta");
    CHECK(one.result.loss == two.result.loss
          && memcmp(one.dlogp, two.dlogp, sizeof one.dlogp) == 0,
          "%s, seed %d: pair_scale 4: %.17g, 4 beta: %.17g", name(),
          (int)seed, one.result.loss, two.result.loss);
}

/* Reference-free is a reference of 0. */
static void referenceless(uint32_t kind, uint64_t seed)
{
    if (!(flags_taken(kind) & BNFLOSS_REFERENCE_FREE))
        return;
    make_loss(kind, seed);
    fam.spec[0].flags |= BNFLOSS_REFERENCE_FREE;
    fam_run_and_take(&one, "reference-free");
    fam.spec[0].flags &= ~(uint32_t)BNFLOSS_REFERENCE_FREE;
    memset(fam.ref, 0, sizeof fam.ref);
    fam_run_and_take(&two, "a reference of 0");
    CHECK(memcmp(&one, &two, sizeof one) == 0, "%s, seed %d: reference-free "
          "%.17g, with 0 %.17g", name(), (int)seed, one.result.loss,
          two.result.loss);
}

/* WPO and pair_weight multiply a pair, the likelihood term is added. */
static void weighted(uint32_t kind, uint64_t seed)
{
    double base[FAM_P], sft[FAM_P];

    if (shape_of(kind) != BN_BY_PAIR)
        return;
    make_loss(kind, seed);
    fam.spec[0].flags &= ~(uint32_t)BNFLOSS_WPO;
    fam.spec[0].sft_weight = 0;
    for (int k = 0; k < FAM_P; k++)
        fam.pair_weight[k] = 1;
    fam.in.pair_weight = kind == BNFLOSS_UPO ? fam.pair_weight : NULL;
    fam.out.log_square = fam.log_square;
    fam_run_and_take(&one, "alone");
    memcpy(base, one.seq_loss, sizeof base);
    fam.spec[0].sft_weight = 0.5f;
    fam_run_and_take(&two, "with likelihood");
    for (int k = 0; k < FAM_P; k++)
        sft[k] = two.seq_loss[k] - base[k];
    CHECK(close_to(two.result.loss - one.result.loss,
                   0.5 * two.result.sft_loss,
                   1e-13 * (1 + fabs(two.result.loss))),
          "%s, seed %d: the likelihood term is %.17g, not %.17g", name(),
          (int)seed, two.result.loss - one.result.loss,
          0.5 * two.result.sft_loss);
    for (int k = 0; k < FAM_P; k++)
        fam.pair_weight[k] = (float)(k - 1) / 2;
    fam.in.pair_weight = fam.pair_weight;
    fam.spec[0].flags |= BNFLOSS_WPO;
    fam_run_and_take(&sum, "with all weights");
    for (int k = 0; k < FAM_P; k++) {
        double w = 0, want;

        for (int s = 2 * k; s < 2 * k + 2; s++) {
            double mean = 0;
            int n = 0;

            for (int64_t i = fam.start[s]; i < fam.start[s + 1]; i++) {
                if (!fam_valid(i))
                    continue;
                mean += (double)one.logp[i] - (double)one.log_square[i];
                n++;
            }
            w += mean / n;
        }
        want = base[k] * exp(w) * (k - 1) / 2 + sft[k];
        CHECK(close_to(sum.seq_loss[k], want, 64 * U * (fabs(base[k])
                       + fabs(sft[k]))), "%s, seed %d: pair %d with weights "
              "%.9g, not %.9g", name(), (int)seed, k, sum.seq_loss[k], want);
    }
}

/* seq_logp and seq_ratio are weighted sums; row_loss of losses of responses
 * is l - r. */
static void sums(uint32_t kind, uint64_t seed)
{
    const bnfloss_spec *s = fam.spec;
    int ref;

    make_loss(kind, seed);
    fam_run_and_take(&one, "sums");
    if (s->flags & BNFLOSS_CHOSEN_ONLY)
        return;
    ref = has_trait(kind, BN_REFERENCE)
          && !(s->flags & BNFLOSS_REFERENCE_FREE);
    for (int q = 0; q < FAM_S; q++) {
        double logp = 0, ratio = 0;

        for (int64_t i = fam.start[q]; i < fam.start[q + 1]; i++) {
            const double w = fam.in.row_weight ? (double)fam.weight[i] : 1;
            const double r = ref ? (double)fam.ref[i] : 0;

            if (!fam_valid(i))
                continue;
            logp += w * (double)one.logp[i];
            ratio += w * ((double)one.logp[i] - r);
            if (shape_of(kind) != BN_BY_TOKEN)
                CHECK(close_to((double)one.row_loss[i],
                               (double)one.logp[i] - r, 16 * U),
                      "%s: row_loss", name());
        }
        CHECK(close_to(one.seq_logp[q], logp, 64 * U), "%s, seed %d: "
              "seq_logp %.9g, not %.9g", name(), (int)seed, one.seq_logp[q],
              logp);
        if (kind != BNFLOSS_BMC && !(s->ld_alpha < 1
                                     && is_paired(kind)))
            CHECK(close_to(one.seq_ratio[q], ratio, 64 * U), "%s, seed %d: "
                  "seq_ratio %.9g, not %.9g", name(), (int)seed,
                  one.seq_ratio[q], ratio);
    }
}

/* dlogp by differences of the loss in logp, which is taken at 1/1024 to both
 * sides, exactly. Not where something is frozen; a kink, or a change of
 * ranks, shows in sides that differ, and is left out. */
static int64_t kinks, slopes;

static int is_frozen(const bnfloss_spec *s)
{
    return s->kind == BNFLOSS_BNF || s->kind == BNFLOSS_BCO
           || s->kind == BNFLOSS_BMC || s->flags & (BNFLOSS_WPO | BNFLOSS_DFT);
}

static double loss_at(int64_t i, float logp)
{
    const float saved = fam.logp_in[i];
    double loss;

    fam.logp_in[i] = logp;
    CHECK(fam_logps() == BNFLOSS_OK, "%s: logps", name());
    loss = fam.result.loss;
    fam.logp_in[i] = saved;
    return loss;
}

static void differences(uint32_t kind, uint64_t seed)
{
    /* ranks that change, where the batch is sorted, bend it only slightly */
    const double smooth = shape_of(kind) == BN_BY_BATCH ? 1e-5 : 1e-3;
    double loss;

    make_loss(kind, seed);
    if (is_frozen(fam.spec))
        return;
    for (int i = 0; i < FAM_N; i++)         /* so that few margins tie */
        fam.logp_in[i] -= (float)((i * i * 7 + 3) % 101) / 4096;
    CHECK(fam_logps() == BNFLOSS_OK, "%s: logps", name());
    memcpy(one.dlogp, fam.dlogp_out, sizeof one.dlogp);
    loss = fam.result.loss;
    for (int64_t i = 0; i < FAM_N; i++) {
        const float x = fam.logp_in[i], h = 0x1p-10f;
        const double up = (loss_at(i, x + h) - loss) / 0x1p-10;
        const double down = (loss - loss_at(i, x - h)) / 0x1p-10;
        const double d1 = (up + down) / 2;
        const double d2 = (loss_at(i, x + 2 * h) - loss_at(i, x - 2 * h))
                          / 0x1p-8;
        /* the loss itself is rounded */
        const double size = 1e-5 * largest(one.dlogp, FAM_N)
                            + 0x1p-42 * (1 + fabs(loss));

        slopes++;
        if (fabs(d1 - d2) > size / 2 + smooth * fabs(d1)
            || fabs(up - down) > size + 20 * smooth * fabs(d1)) {
            kinks++;
            continue;
        }
        /* Richardson: what is left is of fourth order, or less than what two
         * steps differ by where the curvature leaps */
        CHECK(close_to((double)one.dlogp[i], d1 + (d1 - d2) / 3,
                       size + fabs(d1 - d2)),
              "%s, seed %d: dlogp of row %d is %.9g, by differences %.9g",
              name(), (int)seed, (int)i, (double)one.dlogp[i],
              d1 + (d1 - d2) / 3);
    }
}

/* ---- Sums of a row ------------------------------------------------------- */

/* log sum p^2 and the mean logit, in double, under scale and softcap. */
static void squares_and_means(uint32_t kind, uint64_t seed)
{
    double mean[2] = { 0, 0 };
    int64_t count[2] = { 0, 0 };
    rng r = { seed };

    if (kind != BNFLOSS_DPO && kind != BNFLOSS_KTO)
        return;
    make_loss(kind, seed);
    fam.layout.flags = BNFLOSS_MEAN;
    fam.layout.logit_scale = seed % 2 ? 0 : 1.5f;
    fam.layout.softcap = seed % 3 ? 0 : 3;
    for (int64_t i = 0; i < FAM_N; i++)
        for (int64_t v = 0; v < FAM_V; v++)
            fam_set_logit(i, v, rng_below(&r, 20) ? (float)(rng_normal(&r)
                          * (double)(1 + i % 8)) : -HUGE_VALF);
    for (int64_t i = 0; i < FAM_N; i++)
        if (fam.label[i] >= 0)
            fam_set_logit(i, fam.label[i], 1);
    fam.out.log_square = fam.log_square;
    fam_run_and_take(&one, "sums of rows");
    for (int64_t i = 0; i < FAM_N; i++) {
        double z[FAM_V], want;
        plain_row x;

        if (!fam_valid(i)) {
            CHECK(fam.log_square[i] == 0, "an ignored row's log_square");
            continue;
        }
        for (int64_t v = 0; v < FAM_V; v++)
            z[v] = plain_map((double)fam_logit(i, v), seed % 2 ? 1 : 1.5,
                             (double)fam.layout.softcap);
        x = plain_softmax(z, FAM_V, fam.label[i]);
        want = plain_log_square(&x, z, FAM_V);
        CHECK(close_to((double)fam.log_square[i], want, 1e-6 * fabs(want)
                       + 1e-9), "seed %d, row %d: log_square %.9g, not %.9g",
              (int)seed, (int)i, (double)fam.log_square[i], want);
        mean[fam_seq(i) % 2] += x.mean;
        count[fam_seq(i) % 2]++;
    }
    CHECK(close_to(one.result.logits_chosen, mean[0] / (double)count[0], 1e-6)
          && close_to(one.result.logits_rejected, mean[1] / (double)count[1],
                      1e-6), "seed %d: mean logits %.9g, not %.9g", (int)seed,
          one.result.logits_chosen, mean[0] / (double)count[0]);
}

int main(int argc, char **argv)
{
    static void (*const of_rows[])(rng *) = {
        gradient_sums, shift, permutation, monotone, masks, masks_between,
        full_target, rows_singly, loss_scale
    };
    static void (*const of_losses[])(uint32_t, uint64_t) = {
        entries, types, accumulate, deferred, halves, padding, permuted,
        divided, swapped, scaled, referenceless, weighted, sums, differences,
        squares_and_means
    };
    const int row_count = (int)(sizeof of_rows / sizeof *of_rows);
    const int loss_count = (int)(sizeof of_losses / sizeof *of_losses);
    const long rounds = argc > 1 ? atol(argv[1]) : 12;
    const long rows = argc > 2 ? atol(argv[2]) : 24000;
    uint64_t seed = 1;
    long calls = 0, batches = 0;

    FOR_EACH_ISA(isa) {
        rng r = { 30 };

        isa_now = isa;
        for (long i = 0; i < rows / 3; i += N, calls++)
            of_rows[i / N % row_count](&r);
        batches += rounds * BN_KINDS;
        for (long n = 0; n < rounds; n++, seed++)
            for (int k = 0; k < loss_count; k++)
                for (uint32_t kind = 1; kind <= BN_KINDS; kind++)
                    of_losses[k](kind, seed);
    }
    CHECK(kinks * 50 < slopes, "%d of %d differences at kinks", (int)kinks,
          (int)slopes);
    CHECK(differ > 0, "BCO's shift does not see the call");
    printf("%ld rows for each of %d properties of rows, %ld rows for each of "
           "%d properties of losses\n", calls / row_count * N, row_count,
           batches * FAM_N, loss_count);
    return test_end();
}
