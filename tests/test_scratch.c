/* Work beyond what a run needs: rows' exponentials are kept in it where they
 * do not fit where the gradient will lie, of 16 bits or out of place. Same
 * bits and outputs as without it and as by the stages, whatever the row is
 * like, and not a byte beyond what was given.
 *
 * SPDX-License-Identifier: MIT
 *
 * E262, E263, E264 of EDGES.md. */
#include "fixture.h"
#include "row_shapes.h"

#include <stdlib.h>

enum { N = 7, C = BNFLOSS_CHUNK, LEFT = 0xEE };

/* What a run reads and where it writes. */
typedef struct kind_of_run {
    uint32_t type, grad_type;
    int in_place;
} kind_of_run;

static const kind_of_run runs[] = {
    { BNFLOSS_BF16, BNFLOSS_BF16, 1 }, { BNFLOSS_F16, BNFLOSS_F16, 1 },
    { BNFLOSS_BF16, BNFLOSS_BF16, 0 }, { BNFLOSS_F16, BNFLOSS_F16, 0 },
    { BNFLOSS_BF16, BNFLOSS_F32, 0 }, { BNFLOSS_F16, BNFLOSS_F32, 0 },
    { BNFLOSS_F32, BNFLOSS_F32, 0 }, { BNFLOSS_F32, BNFLOSS_F32, 1 },
    { BNFLOSS_F32, BNFLOSS_BF16, 0 }
};
enum { RUNS = sizeof runs / sizeof *runs };

static void *logits, *grad[3];
static int32_t label[64];
static float weight[64], ref[64];

typedef struct answer {
    float logp[N], rest[N], entropy[N], dlogp[N], row_scale[N];
    int32_t argmax[N];
    bnfloss_result result;
} answer;

/* One batch. */
typedef struct batch {
    const kind_of_run *run;
    int64_t rows, V, stride, grad_stride;
    uint32_t loss;
    int threads;
} batch;

static void layouts(const batch *b, bnfloss_layout *l, bnfloss_spec *spec,
                    bnfloss_inputs *in)
{
    static const int64_t start[] = { 0, 2, 3, 5, N };
    static const int8_t side[] = { 1, -1, 1, -1 };

    EMPTY(*l);
    EMPTY(*in);
    l->logits_type = b->run->type;
    l->grad_type = b->run->grad_type;
    l->rows = b->rows;
    l->vocab = b->V;
    l->logits_stride = b->stride;
    l->grad_stride = b->grad_stride;
    in->row_weight = weight;
    bnfloss_spec_init(spec, sizeof *spec, b->loss);
    if (b->loss == BNFLOSS_DPO)
        spec->flags = BNFLOSS_DEFER_SCALE;
    if (b->loss != BNFLOSS_SFT) {
        in->pairing = BNFLOSS_PAIRS_ADJACENT;
        in->sequences = 4;
        in->seq_start = start;
        in->side = side;
        in->ref_logp = ref;
    }
    spec->loss_scale = b->run->grad_type == BNFLOSS_F16 ? 1024 : 1;
}

static uint64_t need_of(const batch *b)
{
    bnfloss_layout l;
    bnfloss_inputs in;
    bnfloss_spec spec;
    uint64_t bytes = 0;

    layouts(b, &l, &spec, &in);
    CHECK(bnfloss_workspace(&l, &spec, 0, in.sequences, &bytes)
          == BNFLOSS_OK, "need");
    return bytes;
}

static void outputs_of(const batch *b, bnfloss_outputs *out, answer *a)
{
    EMPTY(*out);
    if (b->rows > N)
        return;
    out->logp = a->logp;
    out->argmax = a->argmax;
    out->dlogp = a->dlogp;
    if (b->loss == BNFLOSS_SFT) {   /* BNF's kernel sums it anyway */
        out->rest = a->rest;
        out->entropy = a->entropy;
    }
    if (b->loss == BNFLOSS_DPO)
        out->row_scale = a->row_scale;
}

static void *begin(const batch *b, void *to)
{
    const size_t bytes = (size_t)(b->rows * b->stride)
                         * (b->run->type == BNFLOSS_F32 ? 4 : 2);

    if (!b->run->in_place)
        return logits;
    memcpy(to, logits, bytes);
    return to;
}

/* With `more` bytes of work. Returns how many of these were written, up to the
 * last one that was. */
static uint64_t run(const batch *b, void *to, uint64_t more, answer *a)
{
    const uint64_t need = need_of(b);
    unsigned char *all = (unsigned char *)malloc((size_t)(need + more + 1));
    unsigned char *work = all + 1;          /* no alignment is asked for */
    bnfloss_layout l;
    bnfloss_inputs in;
    bnfloss_outputs out;
    bnfloss_spec spec;
    void *z = begin(b, to);
    uint64_t used = more;
    bnfloss_status status;

    if (!all)
        exit(1);
    memset(a, 0, sizeof *a);
    memset(all, LEFT, (size_t)(need + more + 1));
    layouts(b, &l, &spec, &in);
    outputs_of(b, &out, a);
    a->result.struct_size = sizeof a->result;
    status = bnfloss_run(&l, &spec, &in, z, label, to, &out, work,
                         need + more, b->threads, &a->result);
    CHECK(status == BNFLOSS_OK, "status: %s", bnfloss_status_string(status));
    while (used > 0 && work[need + used - 1] == LEFT)
        used--;
    free(all);
    return used;
}

static void stages(const batch *b, void *to, answer *a)
{
    bnfloss_row *state = (bnfloss_row *)malloc((size_t)b->rows
                                               * sizeof *state);
    float *dlogp = (float *)malloc((size_t)b->rows * sizeof *dlogp);
    const uint64_t need = need_of(b);
    void *work = malloc((size_t)need);
    bnfloss_layout l;
    bnfloss_inputs in;
    bnfloss_outputs out;
    bnfloss_spec spec;
    void *z = begin(b, to);

    if (!state || !dlogp || !work)
        exit(1);
    memset(a, 0, sizeof *a);
    layouts(b, &l, &spec, &in);
    outputs_of(b, &out, a);
    out.dlogp = NULL;
    l.flags = BNFLOSS_ENTROPY;
    a->result.struct_size = sizeof a->result;
    CHECK(bnfloss_forward(&l, z, label, 0, b->rows, state, &out, &a->result)
          == BNFLOSS_OK
          && bnfloss_loss(&spec, &in, b->rows, state, NULL, NULL, dlogp, NULL,
                          work, need, &a->result) == BNFLOSS_OK
          && bnfloss_backward(&l, z, label, 0, b->rows, state, dlogp, to,
                              NULL) == BNFLOSS_OK, "stages");
    free(state);
    free(dlogp);
    free(work);
}

/* Whether the run has a use for more work. */
static int has_use(const batch *b)
{
    const kind_of_run *r = b->run;
    const int streams = b->rows * b->V > (1 << 23);

    if (r->grad_type != BNFLOSS_F32)
        return 1;
    return !r->in_place && (streams || b->V > 32768);
}

static void compare(const char *isa, const batch *b, shape kind)
{
    const char *what = shape_name[kind];
    const int staged_as_well = b->loss != BNFLOSS_DPO;
    const uint64_t each = BNFLOSS_SCRATCH(b->V);
    const uint64_t team = (uint64_t)b->threads, more = each * team;
    const size_t bytes = (size_t)(b->rows * b->grad_stride)
                         * (b->run->grad_type == BNFLOSS_F32 ? 4 : 2);
    answer with, without, staged;
    uint64_t used;

    for (int k = 0; k < 3; k++)     /* the same between the rows */
        memset(grad[k], 0x5A, bytes);
    used = run(b, grad[0], more, &with);
    CHECK(!has_use(b) ? used == 0           /* nothing is kept of far rows */
          : used <= more
            && (used + 80 > 4 * (uint64_t)b->V || kind > CLIMB),
          "%s, %s, V = %lld: %lld of %lld bytes used", isa, what,
          (long long)b->V, (long long)used, (long long)more);
    used = run(b, grad[1], more - 1, &without);
    CHECK(used == 0 || (team > 1 && used <= each),  /* built for one thread */
          "%s, %s, V = %lld: %lld bytes used, all would need one "
          "more", isa, what, (long long)b->V, (long long)used);
    CHECK(memcmp(&with, &without, sizeof with) == 0, "%s, V = %lld: outputs "
          "of %s rows", isa, (long long)b->V, what);
    if (staged_as_well) {
        stages(b, grad[2], &staged);
        CHECK(memcmp(&with.result.loss, &staged.result.loss, sizeof(double))
              == 0, "%s, V = %lld: loss of %s rows", isa, (long long)b->V,
              what);
    }
    for (int k = 1; k < 2 + staged_as_well; k++)
        CHECK(memcmp(grad[0], grad[k], bytes) == 0,
              "%s, %s to %s%s, V = %lld, %d threads: gradients of %s rows "
              "differ from those of %s", isa, type_name(b->run->type),
              type_name(b->run->grad_type), b->run->in_place ? " in place" : "",
              (long long)b->V, b->threads, what,
              k == 1 ? "less work" : "the stages");
}

static const float weights[][N] = {
    { 1, 1, 1, 1, 1, 1, 1 },
    { 1e37f, -1e36f, 3e38f, -3e38f, 1e25f, 2e20f, 1 },
    { 1e-37f, -1e-36f, 1e-30f, -3e-25f, 1e-38f, 2e-20f, 1e-3f },
    { 0, 1, -1, 0, 1e-9f, 1e9f, 0 }
};

static void fill(const batch *b, shape kind, uint64_t seed)
{
    rng r = { seed * 977 + (uint64_t)b->V * 31 + (uint64_t)kind };
    const int mixed = kind == MIXED;

    for (int64_t i = 0; i < b->rows; i++) {
        if (mixed)
            kind = (shape)rng_below(&r, MIXED);
        for (int64_t j = 0; j < b->V; j++)
            elem_put(b->run->type, logits, i * b->stride + j,
                     logit(&r, kind, j, b->V));
        label[i] = (int32_t)(i == 0 ? 0 : i == 1 ? b->V - 1
                                               : rng_below(&r, b->V));
        if (i == 3 && seed % 2)
            label[i] = -100;
    }
}

static batch batch_of(const kind_of_run *r, int64_t V, uint64_t seed)
{
    batch b = { r, N, V, V, V, BNFLOSS_SFT, 1 };

    b.threads = seed % 3 == 2 ? 3 : 1;      /* of rows, N is no multiple */
    b.loss = seed % 5 == 3 ? BNFLOSS_BNF : seed % 5 == 4 ? BNFLOSS_DPO
                                                         : BNFLOSS_SFT;
    if (seed % 4 == 3) {
        b.stride += 24;
        b.grad_stride += 24;
    }
    return b;
}

static void all_shapes(const char *isa)
{
    static const int64_t widths[] = { 1, 63, 64, 65, 257, 2047, 2049, 4097,
                                      C + 1, 2 * C + 300 };
    const int scalar = strcmp(isa, "scalar") == 0;

    for (int k = 0; k < RUNS; k++) {
        for (size_t v = 0; v < sizeof widths / sizeof *widths; v++) {
            for (int kind = 0; kind < SHAPES; kind++) {
                const uint64_t seed = (uint64_t)(k + kind) + v;
                const batch b = batch_of(runs + k, widths[v], seed);

                if (widths[v] > 4000 && (kind + k) % (scalar ? 16 : 4))
                    continue;
                memcpy(weight, weights[(seed + (uint64_t)k) % 4],
                       sizeof weights[0]);
                fill(&b, (shape)kind, seed);
                compare(isa, &b, (shape)kind);
            }
        }
    }
}

/* More gradients than a cache keeps: stored past it, from rows that begin
 * anywhere in a line. And the widest rows whose exponentials are kept, and
 * one more. */
static void large(const char *isa)
{
    enum { ROWS = 33 };
    const int scalar = strcmp(isa, "scalar") == 0;
    batch b = { NULL, ROWS, 262139, 262139, 262139, BNFLOSS_SFT, 2 };

    for (int i = 0; i < ROWS; i++)
        weight[i] = i == 4 ? 0 : i == 7 ? 3e38f : 1;
    for (int k = 0; k < RUNS; k++) {
        if (runs[k].in_place || runs[k].grad_type != BNFLOSS_F32
            || (scalar && k % 3))
            continue;
        b.run = runs + k;
        fill(&b, MIXED, (uint64_t)k);
        compare(isa, &b, MIXED);
    }
}

/* The same where a gradient is more than an exponential times a factor: all
 * rows in one call, stored past the caches or not, as one by one. */
static void large_scaled(const char *isa)
{
    enum { ROWS = 33, V = 262139 };
    static bnfloss_row state[ROWS];
    static float dlogp[ROWS];
    const kind_of_run r = { BNFLOSS_BF16, BNFLOSS_F32, 0 };
    const batch b = { &r, ROWS, V, V, V, BNFLOSS_SFT, 1 };
    bnfloss_layout l;

    EMPTY(l);
    l.logits_type = BNFLOSS_BF16;
    l.rows = ROWS;
    l.vocab = V;
    l.logit_scale = 0.75f;
    fill(&b, PLAIN, 8);
    for (int i = 0; i < ROWS; i++)
        dlogp[i] = (float)(i % 5) - 2;
    CHECK(bnfloss_forward(&l, logits, label, 0, ROWS, state, NULL, NULL)
          == BNFLOSS_OK && bnfloss_backward(&l, logits, label, 0, ROWS, state,
                                            dlogp, grad[0], NULL)
          == BNFLOSS_OK, "%s", isa);
    l.rows = 1;
    for (int i = 0; i < ROWS; i++) {
        float *one = (float *)grad[1] + (int64_t)i * V;

        CHECK(bnfloss_backward(&l, (uint16_t *)logits + (int64_t)i * V,
                               label + i, 0, 1, state + i, dlogp + i, one,
                               NULL) == BNFLOSS_OK
              && memcmp((float *)grad[0] + (int64_t)i * V, one,
                        V * sizeof *one) == 0, "%s: row %d of many", isa, i);
    }
}

static void widest(const char *isa)
{
    const kind_of_run *r = runs;
    answer a;

    for (int64_t V = 16 * C; V <= 16 * C + 1; V++) {
        const batch b = { r, 2, V, V, V, BNFLOSS_SFT, 1 };
        const uint64_t more = BNFLOSS_SCRATCH(V);
        uint64_t used;

        weight[0] = weight[1] = 1;
        fill(&b, PLAIN, 5);
        used = run(&b, grad[0], more, &a);
        CHECK((used > 0) == (V == 16 * C), "%s: V = %lld: %lld bytes used",
              isa, (long long)V, (long long)used);
        stages(&b, grad[2], &a);
        CHECK(memcmp(grad[0], grad[2], (size_t)(2 * V) * 2) == 0,
              "%s: V = %lld", isa, (long long)V);
    }
}

/* Weights of 1, in the part of work that a run can do without. */
static float *weights_in(unsigned char *work, uint64_t need)
{
    float *w = (float *)(void *)(work + (need + 63) / 64 * 64 + 64);

    for (int i = 0; i < N; i++)
        w[i] = weight[i] = 1;
    return w;
}

/* E264: what the call will use of its work lies apart from the other buffers,
 * and what it has no use for may lie anywhere. */
static void overlaps(void)
{
    batch b = { runs, 3, 500, 500, 500, BNFLOSS_SFT, 1 };
    const batch f32 = { runs + 7, 3, 500, 500, 500, BNFLOSS_SFT, 1 };
    const batch pairs = { runs, N, 500, 500, 500, BNFLOSS_DPO, 1 };
    const uint64_t more = BNFLOSS_SCRATCH(500);
    uint64_t need = need_of(&b);
    unsigned char *work = (unsigned char *)malloc((size_t)(3 * more));
    bnfloss_result r, *in_work;
    bnfloss_layout l;
    bnfloss_inputs in;
    bnfloss_spec spec;
    uint16_t *z = (uint16_t *)logits;

    EMPTY(r);
    CHECK(need < 2 * more, "%d bytes", (int)need);
    if (!work)
        exit(1);
    fill(&b, PLAIN, 6);
    layouts(&b, &l, &spec, &in);
    in.row_weight = weights_in(work, need);
    memcpy(grad[1], logits, 3000);
    CHECK(bnfloss_run(&l, &spec, &in, z, label, z, NULL, work, need + more, 1,
                      &r) == BNFLOSS_E_OVERLAP, "weights in the scratch row");
    CHECK(memcmp(grad[1], logits, 3000) == 0, "something was written");
    CHECK(bnfloss_run(&l, &spec, &in, z, label, NULL, NULL, work, need + more,
                      1, &r) == BNFLOSS_OK, "no gradient, no scratch row");
    CHECK(bnfloss_run(&l, &spec, &in, z, label, z, NULL, work,
                      need + more - 1, 1, &r) == BNFLOSS_OK,
          "one byte less, no scratch row");
    l.rows = 0;
    in.row_weight = NULL;
    CHECK(bnfloss_run(&l, &spec, &in, z, label, z, NULL, NULL, UINT64_MAX, 4,
                      &r) == BNFLOSS_OK, "no rows, no work");
    in_work = (bnfloss_result *)(void *)(work + (need + 63) / 64 * 64);
    *in_work = r;
    CHECK(bnfloss_run(&l, &spec, &in, z, label, z, NULL, work, need + more, 1,
                      in_work) == BNFLOSS_OK, "no rows, no scratch row");
    layouts(&f32, &l, &spec, &in);
    in.row_weight = weights_in(work, need);
    CHECK(need_of(&f32) == need
          && bnfloss_run(&l, &spec, &in, grad[1], label, grad[1], NULL, work,
                         need + more, 1, &r) == BNFLOSS_OK,
          "kept in place, no scratch row");
    layouts(&pairs, &l, &spec, &in);
    spec.flags = 0;                 /* two sweeps */
    CHECK(bnfloss_workspace(&l, &spec, 0, in.sequences, &need) == BNFLOSS_OK
          && need < 2 * more, "%d bytes for two sweeps", (int)need);
    in.row_weight = weights_in(work, need);
    fill(&pairs, PLAIN, 6);
    CHECK(bnfloss_run(&l, &spec, &in, z, label, z, NULL, work, need + more, 1,
                      &r) == BNFLOSS_OK, "two sweeps, no scratch row");
    free(work);
}

/* Whether a run with weights in the work that it has no use for is let be. */
static int is_unused(const batch *b, uint64_t more)
{
    const uint64_t need = need_of(b);
    unsigned char *work = (unsigned char *)malloc((size_t)(need + more));
    bnfloss_result r;
    bnfloss_layout l;
    bnfloss_inputs in;
    bnfloss_spec spec;
    float *w;
    int fine;

    EMPTY(r);
    if (!work)
        exit(1);
    layouts(b, &l, &spec, &in);
    fill(b, PLAIN, 4);
    in.row_weight = w = weights_in(work, need);
    fine = bnfloss_run(&l, &spec, &in, logits, label, logits, NULL, work,
                       need + more, b->threads, &r) == BNFLOSS_OK
           && w[0] == 1 && w[N - 1] == 1;
    free(work);
    return fine;
}

/* E263: rows that threads share keep nothing, and nor do those of threads for
 * which there is too little. Of four threads, or of as many as there are. */
static void shared(int threads)
{
    batch b = { runs, 3, 64, 64, 64, BNFLOSS_SFT, threads };
    const uint64_t one = BNFLOSS_SCRATCH(64);
    answer a;

    fill(&b, PLAIN, 2);
    if (run(&b, grad[0], one, &a) > 0)
        return;                         /* there are no threads */
    CHECK(is_unused(&b, one), "one scratch row, %d threads", threads);
    b.V = b.stride = b.grad_stride = 3 * C;
    for (b.rows = 1; b.rows < 3 && b.rows < threads + 2; b.rows++)
        CHECK(is_unused(&b, 4 * BNFLOSS_SCRATCH(3 * C)), "%d rows, %d threads",
              (int)b.rows, threads);
}

int main(void)
{
    const size_t max = (size_t)33 * 262139 * 4;

    for (int i = 0; i < 64; i++)
        ref[i] = -0.25f * (float)(i % 9);
    logits = malloc(max);
    for (int k = 0; k < 3; k++)
        grad[k] = malloc(max);
    if (!logits || !grad[0] || !grad[1] || !grad[2])
        return 1;
    overlaps();
    shared(4);
    shared(0);
    FOR_EACH_ISA(isa) {
        all_shapes(isa);
        large(isa);
        large_scaled(isa);
        widest(isa);
    }
    free(logits);
    for (int k = 0; k < 3; k++)
        free(grad[k]);
    return test_end();
}
