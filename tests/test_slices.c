/* A vocabulary cut into slices, as tensor parallelism does: forward on each,
 * merge, backward on each, against the row in one piece.
 *
 * SPDX-License-Identifier: MIT
 *
 * E67 of EDGES.md: the same bits where each slice holds 2^k chunks, the same
 * bounds as ever at any other cut. */
#include "fixture.h"

#include <stdlib.h>

enum { N = 4, C = BNFLOSS_CHUNK, MAX_V = 8 * C + 77, MAX_SLICES = 12 };

/* A batch of N rows; rows 0, 1 are chosen, 2, 3 rejected. */
typedef struct problem {
    bnfloss_layout layout;
    bnfloss_spec spec;
    bnfloss_inputs inputs;
    int64_t V;
    int32_t label[N];
} problem;

/* What is known of it in the end. */
typedef struct answer {
    bnfloss_row state[N];
    float logp[N], rest[N], entropy[N], dlogp[N];
    int32_t argmax[N];
    bnfloss_result result;
    uint64_t bits;              /* of the gradient */
} answer;

static float logits[N * MAX_V], grad[N * MAX_V];    /* any type */
static double work[4096];
static const int64_t seq_start[] = { 0, 2, N };
static float ref[N] = { -3, -1.5f, -8, -0.25f };
static char what[160];          /* the case at hand */

/* ---- Problems ------------------------------------------------------------ */

static void *at(void *p, uint32_t type, int64_t i)
{
    return (char *)p + i * (int64_t)elem_size(type);
}

static void make_problem(problem *p, int64_t V, uint32_t kind, uint32_t type)
{
    rng r = { (uint64_t)V * 31 + type };

    memset(p, 0, sizeof *p);
    p->V = V;
    p->layout.struct_size = sizeof p->layout;
    p->layout.logits_type = p->layout.grad_type = type;
    p->layout.flags = BNFLOSS_ENTROPY;
    p->layout.rows = N;
    p->layout.vocab = V;
    bnfloss_spec_init(&p->spec, sizeof p->spec, kind);
    p->inputs.struct_size = sizeof p->inputs;
    p->inputs.pairing = BNFLOSS_PAIRS_ADJACENT;
    p->inputs.sequences = 2;
    p->inputs.seq_start = seq_start;
    p->inputs.ref_logp = ref;
    for (int64_t i = 0; i < N; i++) {
        p->label[i] = (int32_t)rng_below(&r, V);
        for (int64_t j = 0; j < V; j++)
            elem_put(type, logits, i * V + j,
                     (float)(rng_below(&r, 255) - 127) / 16);
    }
}

/* The layout of the columns [begin, begin + n). */
static bnfloss_layout slice_of(const problem *p, int64_t begin, int64_t n)
{
    bnfloss_layout l = p->layout;

    l.vocab = n;
    l.vocab_begin = begin;
    l.vocab_total = p->V;
    l.logits_stride = l.grad_stride = p->V;
    return l;
}

static void finish(const problem *p, answer *a, const int64_t *cut, int slices)
{
    const size_t bytes = (size_t)(N * p->V) * elem_size(p->layout.grad_type);
    bnfloss_outputs out;

    EMPTY(out);
    out.logp = a->logp;
    out.rest = a->rest;
    out.entropy = a->entropy;
    out.argmax = a->argmax;
    a->result.struct_size = sizeof a->result;
    CHECK(bnfloss_row_outputs(N, a->state, &out, NULL) == BNFLOSS_OK,
          "%s: row outputs", what);
    CHECK(bnfloss_loss(&p->spec, &p->inputs, N, a->state, NULL, NULL,
                       a->dlogp, NULL, work, sizeof work, &a->result)
          == BNFLOSS_OK, "%s: loss", what);
    memset(grad, 0xA5, bytes);
    for (int s = 0; s < slices; s++) {
        const bnfloss_layout l = slice_of(p, cut[s], cut[s + 1] - cut[s]);

        CHECK(bnfloss_backward(&l, at(logits, l.logits_type, cut[s]),
                               p->label, 0, N, a->state, a->dlogp,
                               at(grad, l.grad_type, cut[s]), NULL)
              == BNFLOSS_OK, "%s: backward of slice %d", what, s);
    }
    a->bits = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < bytes; i++)
        a->bits = (a->bits ^ ((unsigned char *)grad)[i])
                  * UINT64_C(1099511628211);
}

static bnfloss_row part[MAX_SLICES][N];

static void forward_slices(const problem *p, const int64_t *cut, int slices)
{
    for (int s = 0; s < slices; s++) {
        const bnfloss_layout l = slice_of(p, cut[s], cut[s + 1] - cut[s]);

        CHECK(bnfloss_forward(&l, at(logits, l.logits_type, cut[s]), p->label,
                              0, N, part[s], NULL, NULL) == BNFLOSS_OK,
              "%s: forward of slice %d", what, s);
    }
}

static void merge(int into, int from)
{
    bnfloss_result r;

    EMPTY(r);
    CHECK(bnfloss_row_merge(N, part[into], part[from], &r) == BNFLOSS_OK
          && r.where == -1, "%s: merge of %d and %d", what, into, from);
}

/* The columns cut[s] .. cut[s+1] - 1 by slices, merged one after the other
 * or in pairs, and those in turn. */
static void by_slices(const problem *p, const int64_t *cut, int slices,
                      int in_pairs, answer *a)
{
    memset(a, 0, sizeof *a);
    forward_slices(p, cut, slices);
    if (in_pairs)
        for (int step = 1; step < slices; step *= 2)
            for (int s = 0; s + step < slices; s += 2 * step)
                merge(s, s + step);
    else
        for (int s = 1; s < slices; s++)
            merge(0, s);
    memcpy(a->state, part[0], sizeof a->state);
    finish(p, a, cut, slices);
}

static void in_one(const problem *p, answer *a)
{
    const int64_t cut[] = { 0, p->V };

    by_slices(p, cut, 1, 0, a);
}

/* ---- The same bits at whole chunks --------------------------------------- */

static void same_answer(const answer *whole, const answer *cut)
{
    CHECK(memcmp(whole->state, cut->state, sizeof whole->state) == 0,
          "%s: other states", what);
    CHECK(memcmp(whole->logp, cut->logp, sizeof whole->logp) == 0
          && memcmp(whole->rest, cut->rest, sizeof whole->rest) == 0
          && memcmp(whole->entropy, cut->entropy, sizeof whole->entropy) == 0
          && memcmp(whole->argmax, cut->argmax, sizeof whole->argmax) == 0,
          "%s: other outputs", what);
    CHECK(memcmp(whole->dlogp, cut->dlogp, sizeof whole->dlogp) == 0
          && memcmp(&whole->result, &cut->result, sizeof whole->result) == 0,
          "%s: another loss", what);
    CHECK(whole->bits == cut->bits, "%s: another gradient", what);
}

static void set_options(problem *p, int n)
{
    const int sft = p->spec.kind == BNFLOSS_SFT;

    p->layout.logit_scale = n & 1 ? 0.7f : 0;
    p->layout.softcap = n & 2 ? 6.5f : 0;
    p->layout.label_smoothing = n & 4 && sft ? 0.2f : 0;
    p->layout.z_loss = n & 8 && sft ? 0.02f : 0;
}

/* Slices of 2^k chunks, the last one shorter, neighbours merged first. */
static void whole_chunks(int64_t V, uint32_t kind, uint32_t type, int options,
                         const char *isa)
{
    static answer whole, cut;
    int64_t cuts[MAX_SLICES + 1];
    problem p;

    make_problem(&p, V, kind, type);
    set_options(&p, options);
    /* the label in a chunk of its own choice, and a far leader in another */
    p.label[0] = (int32_t)(V - 1);
    p.label[1] = (int32_t)(V / 2);
    elem_put(type, logits, V + 3, 32);
    elem_put(type, logits, 2 * V + V - 2, 32);
    in_one(&p, &whole);
    for (int k = 0; C << k < V; k++) {
        const int64_t step = (int64_t)C << k;
        int n = 0;

        for (int64_t c = 0; c < V; c += step)
            cuts[n++] = c;
        cuts[n] = V;
        snprintf(what, sizeof what, "%s V %d in %d slices of %d chunks"
                 " (%s, %s, options %d)", isa, (int)V, n, 1 << k,
                 kind_name(kind), type_name(type), options);
        by_slices(&p, cuts, n, 1, &cut);
        same_answer(&whole, &cut);
    }
}

/* ---- The same bounds at any cut ------------------------------------------ */

/* Row i against plain double: logp, entropy, argmax and gradient. */
static void check_row(const problem *p, const answer *a, int64_t i)
{
    static double z[MAX_V];
    const double scale = p->layout.logit_scale > 0
                             ? (double)p->layout.logit_scale : 1;
    const double cap = (double)p->layout.softcap;
    const double ls = (double)p->layout.label_smoothing;
    const double zeta = (double)p->layout.z_loss, d = (double)a->dlogp[i];
    const uint32_t type = p->layout.grad_type;
    double worst = 0, range = 0;
    plain_row r;

    for (int64_t j = 0; j < p->V; j++) {
        const double x = (double)elem_get(type, logits, i * p->V + j);

        z[j] = plain_map(x, scale, cap);
        range = z[j] > -HUGE_VAL && fabs(z[j]) > range ? fabs(z[j]) : range;
    }
    r = plain_softmax(z, p->V, p->label[i]);
    CHECK(fabs((double)a->logp[i] - r.logp)
          <= (10 + 4 * range) * U * fabs(r.logp) + 1e-14,
          "%s: row %d logp %.9g, not %.9g", what, (int)i, (double)a->logp[i],
          r.logp);
    CHECK(relative((double)a->entropy[i], r.entropy) <= (20 + cap) * U,
          "%s: row %d entropy %.9g, not %.9g", what, (int)i,
          (double)a->entropy[i], r.entropy);
    CHECK(a->argmax[i] == r.argmax, "%s: row %d argmax %d, not %d", what,
          (int)i, (int)a->argmax[i], (int)r.argmax);
    for (int64_t j = 0; j < p->V; j++) {
        const double x = (double)elem_get(type, logits, i * p->V + j);
        const double th = cap > 0 ? tanh(scale * x / cap) : 0;
        const double slope = x > -HUGE_VAL ? scale * (1 - th * th) : 0;
        const double g = d * slope
            * ((1 - ls) * (j == p->label[i]) + ls / (double)r.finite
               - plain_p(&r, z[j]) * (1 + 2 * zeta * r.lse));
        const double bound = (4 + cap) * U * fabs(d) * scale
            * (1 + 2 * zeta * fabs(r.lse))
            + (type == BNFLOSS_F32 ? 0 : elem_rounding(type, g));
        const double e = fabs((double)elem_get(type, grad, i * p->V + j) - g);

        worst = e / bound > worst ? e / bound : worst;
    }
    CHECK(worst <= 1, "%s: row %d gradient off by %.3g bounds", what, (int)i,
          worst);
}

static void any_cut(uint32_t kind, uint32_t type, int options,
                    const char *isa)
{
    static const int64_t cuts[][6] = {
        { 0, 1, 1000 }, { 0, 999, 1000 }, { 0, 16, 32, 48, 64, 1000 },
        { 0, 63, 130, 511, 999, 1000 }, { 0, 333, 334, 335, 336, 1000 },
    };
    static const int slices[] = { 2, 2, 5, 5, 5 };
    static answer a;
    problem p;

    for (int k = 0; k < 5; k++) {
        make_problem(&p, 1000, kind, type);
        set_options(&p, options);
        for (int s = 0; s < slices[k]; s++) {   /* the label in every slice */
            snprintf(what, sizeof what, "%s cut %d, label in slice %d (%s, "
                     "%s, options %d)", isa, k, s, kind_name(kind),
                     type_name(type), options);
            p.label[0] = (int32_t)cuts[k][s];
            p.label[1] = (int32_t)(cuts[k][s + 1] - 1);
            for (int in_pairs = 0; in_pairs < 2; in_pairs++) {
                by_slices(&p, cuts[k], slices[k], in_pairs, &a);
                for (int64_t i = 0; i < N; i++)
                    check_row(&p, &a, i);
            }
        }
    }
}

/* ---- Ties, masks and NaN ------------------------------------------------- */

static const int64_t quarters[] = { 0, 100, 200, 300, 400 };

/* The largest logit in several slices: the first of them, or the label. */
static void ties(const char *isa)
{
    static answer a;
    problem p;

    snprintf(what, sizeof what, "%s ties", isa);
    make_problem(&p, 400, BNFLOSS_BNF, BNFLOSS_F32);
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 50; j < 400; j += 100)
            logits[i * 400 + j] = 9;
    p.label[0] = 250;                       /* it ties with three others */
    p.label[1] = 10;
    by_slices(&p, quarters, 4, 0, &a);
    CHECK(a.argmax[0] == 250 && a.argmax[1] == 50, "%s: argmax %d and %d",
          what, (int)a.argmax[0], (int)a.argmax[1]);
    CHECK(a.result.token_accuracy == 0.25, "%s: accuracy %g", what,
          a.result.token_accuracy);
    for (int64_t i = 0; i < N; i++)
        check_row(&p, &a, i);
}

/* Slices with no finite logit; the label in a quarter that has some. */
static void masked_slices(const char *isa, int options)
{
    static answer a;
    problem p;

    for (int dead = 1; dead < 15; dead++) {     /* which quarters are -inf */
        snprintf(what, sizeof what, "%s dead quarters %d, options %d", isa,
                 dead, options);
        make_problem(&p, 400, BNFLOSS_SFT, BNFLOSS_F32);
        set_options(&p, options);
        for (int64_t i = 0; i < N; i++) {
            for (int64_t j = 0; j < 400; j++)
                if (dead >> j / 100 & 1)
                    logits[i * 400 + j] = -HUGE_VALF;
            while (dead >> p.label[i] / 100 & 1)
                p.label[i] = (p.label[i] + 100) % 400;
        }
        by_slices(&p, quarters, 4, dead & 1, &a);
        CHECK(a.result.nan_rows == 0, "%s: NaN", what);
        for (int64_t i = 0; i < N; i++)
            check_row(&p, &a, i);
    }
}

/* The label itself masked, alone in its slice or with its whole slice: the
 * row still has a softmax, of p = 0 for the label. */
static void masked_label(const char *isa)
{
    static answer whole, cut;
    problem p;

    for (int all = 0; all < 2; all++) {
        for (int q = 0; q < 4; q++) {
            snprintf(what, sizeof what, "%s label masked%s in slice %d", isa,
                     all ? " with its whole slice" : "", q);
            make_problem(&p, 400, BNFLOSS_SFT, BNFLOSS_F32);
            p.label[0] = 100 * q + 7;
            for (int64_t j = 0; j < 400; j++)
                if (j == p.label[0] || (all && j / 100 == q))
                    logits[j] = -HUGE_VALF;
            in_one(&p, &whole);
            by_slices(&p, quarters, 4, 0, &cut);
            CHECK(cut.logp[0] == -HUGE_VALF && whole.logp[0] == -HUGE_VALF,
                  "%s: logp %g, whole %g", what, (double)cut.logp[0],
                  (double)whole.logp[0]);
            CHECK(cut.result.loss == HUGE_VAL && cut.result.nan_rows == 0,
                  "%s: loss %g", what, cut.result.loss);
            CHECK(relative((double)cut.entropy[0], (double)whole.entropy[0])
                  <= 20 * U, "%s: entropy %g, whole %g", what,
                  (double)cut.entropy[0], (double)whole.entropy[0]);
        }
    }
}

/* NaN or +inf in one slice: a NaN row everywhere, and no other row. */
static void nan_slices(const char *isa)
{
    static const uint32_t bad[] = { 0x7FC00000, 0xFF800001, 0x7F800000 };
    static answer a, good;
    problem p;

    for (int n = 0; n < 3 * 4 * 2; n++) {
        const int q = n % 4;
        int64_t numbers = 0;

        snprintf(what, sizeof what, "%s %08x in slice %d", isa,
                 (unsigned)bad[n / 8], q);
        make_problem(&p, 400, BNFLOSS_BNF, BNFLOSS_F32);
        by_slices(&p, quarters, 4, 0, &good);
        logits[400 + 100 * q + 42] = float_of(bad[n / 8]);
        if (n / 4 % 2)
            p.label[1] = 100 * q + 42;
        by_slices(&p, quarters, 4, 0, &a);
        CHECK(elem_is_nan(0, a.logp, 1) && elem_is_nan(0, a.rest, 1)
              && elem_is_nan(0, a.entropy, 1) && a.argmax[1] == -1
              && elem_is_nan(0, a.dlogp, 1), "%s: outputs %g %g %g %d %g",
              what, (double)a.logp[1], (double)a.rest[1],
              (double)a.entropy[1], (int)a.argmax[1], (double)a.dlogp[1]);
        CHECK(a.result.nan_rows == 1 && a.result.loss != a.result.loss,
              "%s: loss %g", what, a.result.loss);
        for (int64_t j = 0; j < 400; j++)
            numbers += !elem_is_nan(0, grad, 400 + j);
        CHECK(numbers == 0, "%s: %d numbers in the gradient", what,
              (int)numbers);
        for (int i = 0; i < N; i++)
            CHECK(i == 1 || memcmp(a.state + i, good.state + i,
                                   sizeof *a.state) == 0, "%s: row %d", what,
                  i);
    }
}

/* Rows all -inf, in every slice. */
static void nothing_left(const char *isa)
{
    static answer a;
    problem p;

    snprintf(what, sizeof what, "%s all masked", isa);
    make_problem(&p, 400, BNFLOSS_SFT, BNFLOSS_F32);
    for (int64_t j = 0; j < 400; j++)
        logits[j] = -HUGE_VALF;
    by_slices(&p, quarters, 4, 0, &a);
    CHECK(a.result.nan_rows == 1 && elem_is_nan(0, a.logp, 0)
          && elem_is_nan(0, grad, 0) && elem_is_nan(0, grad, 399),
          "%s: logp %g", what, (double)a.logp[0]);
}

/* Ignored rows stay ignored through every stage. */
static void ignored_rows(const char *isa)
{
    static answer a;
    problem p;

    snprintf(what, sizeof what, "%s ignored rows", isa);
    make_problem(&p, 400, BNFLOSS_SFT, BNFLOSS_F32);
    p.label[2] = -1;
    for (int64_t j = 0; j < 400; j++)
        logits[2 * 400 + j] = float_of(0x7FC00000);
    by_slices(&p, quarters, 4, 0, &a);
    CHECK(a.result.tokens == N - 1 && a.result.nan_rows == 0
          && a.logp[2] == 0 && a.argmax[2] == -1 && grad[2 * 400] == 0
          && grad[3 * 400 - 1] == 0, "%s", what);
}

/* ---- Slices that do not fit together ------------------------------------- */

static void misfits(const char *isa)
{
    static const int64_t overlap[] = { 0, 200, 400 };
    static bnfloss_row saved[N];
    bnfloss_result r;
    bnfloss_layout l;
    problem p;

    snprintf(what, sizeof what, "%s misfits", isa);
    EMPTY(r);
    make_problem(&p, 400, BNFLOSS_SFT, BNFLOSS_F32);
    for (int i = 0; i < N; i++)
        p.label[i] = 10 + i;
    p.label[2] = 150;
    forward_slices(&p, overlap, 2);
    l = slice_of(&p, 100, 300);             /* sees row 2's label as well */
    CHECK(bnfloss_forward(&l, logits + 100, p.label, 0, N, part[1], NULL,
                          NULL) == BNFLOSS_OK, "%s: forward", what);
    memcpy(saved, part[0], sizeof saved);
    CHECK(bnfloss_row_merge(N, part[0], part[1], &r) == BNFLOSS_E_STATE
              && r.where == 2 && memcmp(saved, part[0], sizeof saved) == 0,
          "%s: both saw the label of row 2: where %d", what, (int)r.where);
    l = slice_of(&p, 200, 200);
    l.z_loss = 0.5f;
    CHECK(bnfloss_forward(&l, logits + 200, p.label, 1, N, part[1], NULL,
                          NULL) == BNFLOSS_OK
          && bnfloss_row_merge(N, part[0], part[1], &r) == BNFLOSS_E_STATE
          && r.where == 1, "%s: z-loss of row 1: where %d", what,
          (int)r.where);
    forward_slices(&p, overlap, 2);
    CHECK(bnfloss_row_outputs(N, part[1], NULL, &r) == BNFLOSS_E_STATE
          && r.where == 0, "%s: half a row has outputs", what);
    r.loss = 1;
    CHECK(bnfloss_loss(&p.spec, &p.inputs, N, part[1], NULL, NULL, NULL, NULL,
                       work, sizeof work, &r) == BNFLOSS_E_STATE
          && r.where == 0 && r.loss == 1, "%s: half a row has a loss", what);
}

/* ---- One row in slices --------------------------------------------------- */

static float slice_softcap;     /* of the states below */

/* The state of columns begin .. begin + n - 1 of a row of `total`. */
static bnfloss_row slice_state(const float *z, int64_t begin, int64_t n,
                               int64_t total, int32_t y, uint32_t flags)
{
    bnfloss_layout l;
    bnfloss_row x;

    EMPTY(l);
    l.rows = 1;
    l.vocab = n;
    l.vocab_begin = begin;
    l.vocab_total = total;
    l.flags = flags;
    l.softcap = slice_softcap;
    CHECK(bnfloss_forward(&l, z + begin, &y, 0, 1, &x, NULL, NULL)
          == BNFLOSS_OK, "%s: columns from %d on", what, (int)begin);
    return x;
}

/* Slices of whole chunks, merged one by one: the bits of the row, or NaN. */
static void same_state(const float *z, int64_t step, int64_t total, int32_t y,
                       uint32_t flags)
{
    const bnfloss_row whole = slice_state(z, 0, total, total, y, flags);
    bnfloss_row all = slice_state(z, 0, step, total, y, flags);

    for (int64_t c = step; c < total; c += step) {
        const int64_t n = total - c < step ? total - c : step;
        const bnfloss_row next = slice_state(z, c, n, total, y, flags);

        CHECK(bnfloss_row_merge(1, &all, &next, NULL) == BNFLOSS_OK,
              "%s: merge", what);
    }
    CHECK(memcmp(&whole, &all, sizeof whole) == 0, "%s: sum %a, of slices %a; "
          "square %a, %a; shift %a, %a", what, whole.sum, all.sum,
          whole.square, all.square, whole.shift, all.shift);
}

/* A row of nine trees of chunks, in slices of a tree each. */
static void many_trees(const char *isa)
{
    enum { TREE = 1 << 19, WIDE = 9 * TREE };
    float *z = (float *)malloc(WIDE * sizeof *z);
    rng r = { 13 };

    if (!CHECK(z != NULL, "no memory"))
        return;
    snprintf(what, sizeof what, "%s, nine trees", isa);
    for (int64_t j = 0; j < WIDE; j++)
        z[j] = (float)(rng_below(&r, 4097) - 2048) / 512;
    same_state(z, TREE, WIDE, 6 * TREE + 77, BNFLOSS_ENTROPY);
    free(z);
}

/* All sums of a row with masked columns, under softcap or not; and of one that
 * has a NaN in either slice. */
static void all_sums(const char *isa)
{
    const int64_t V = 3 * C + 1000;

    for (int n = 0; n < 14; n++) {
        const int64_t nan = n >= 12 ? (n - 12) * 2 * C + 7 : -1;
        rng r = { (uint64_t)n };
        const int32_t y = (int32_t)(n * 7919 % V);

        snprintf(what, sizeof what, "%s, all sums of row %d", isa, n);
        for (int64_t j = 0; j < V; j++)
            logits[j] = j == nan ? NAN : rng_below(&r, 50)
                        ? (float)(4 * rng_normal(&r)) : -HUGE_VALF;
        logits[y] = 2;
        slice_softcap = n % 2 ? 20 : 0;
        same_state(logits, 2 * C, V, y,
                   BNFLOSS_SQUARES | BNFLOSS_MEAN | BNFLOSS_ENTROPY);
    }
    slice_softcap = 0;
}

/* The larger leader comes last: its square takes the place of the other's. */
static void squares_upwards(const char *isa)
{
    static const float z[4] = { 0, 1, 3, 5 };
    bnfloss_row whole = slice_state(z, 0, 4, 4, 0, BNFLOSS_SQUARES);
    bnfloss_row low = slice_state(z, 0, 2, 4, 0, BNFLOSS_SQUARES);
    const bnfloss_row high = slice_state(z, 2, 2, 4, 0, BNFLOSS_SQUARES);
    float one, two;
    bnfloss_outputs o;

    EMPTY(o);
    o.log_square = &one;
    CHECK(bnfloss_row_outputs(1, &whole, &o, NULL) == BNFLOSS_OK
          && bnfloss_row_merge(1, &low, &high, NULL) == BNFLOSS_OK, "%s",
          isa);
    o.log_square = &two;
    CHECK(bnfloss_row_outputs(1, &low, &o, NULL) == BNFLOSS_OK
          && fabsf(one - two) <= 0x1p-22f && one < 0, "%s: %g, merged %g",
          isa, (double)one, (double)two);
}

/* A slice that ends just before the label, or after it: nothing is written
 * behind it. */
static void label_in_next_group(const char *isa)
{
    enum { V = 9 };
    static const float z[2 * V] = { 0.5f, -1, 2, 0, 1, -2, 1.5f, 0.25f, -0.5f,
                                    1, 0, -1, 2, 0.5f, 0, -1.5f, 1, 0.75f };
    const float dlogp = -1;
    bnfloss_layout l;

    EMPTY(l);
    l.rows = 1;
    l.vocab = V;
    l.vocab_total = 2 * V;
    for (int32_t y = V - 1; y <= V; y++) {
        bnfloss_row x = slice_state(z, 0, V, 2 * V, y, 0);
        const bnfloss_row right = slice_state(z, V, V, 2 * V, y, 0);

        grad[V] = 7;
        CHECK(bnfloss_row_merge(1, &x, &right, NULL) == BNFLOSS_OK
              && bnfloss_backward(&l, z, &y, 0, 1, &x, &dlogp, grad, NULL)
                 == BNFLOSS_OK, "%s", isa);
        CHECK(grad[V] == 7, "%s: behind the slice: %g", isa, (double)grad[V]);
        CHECK((grad[V - 1] < 0) == (y == V - 1), "%s: its last column: %g",
              isa, (double)grad[V - 1]);
    }
}

int main(void)
{
    static const int64_t sizes[] = { C + 1, 2 * C, 2 * C + 5, 3 * C,
                                     4 * C, 5 * C + 77, MAX_V };

    FOR_EACH_ISA(isa) {
        for (int n = 0; n < 7; n++)
            whole_chunks(sizes[n], (uint32_t)(1 + n % 3), (uint32_t)(n % 3),
                         n % 4, isa);
        for (int options = 0; options < 16; options += 5)
            whole_chunks(3 * C + 7, BNFLOSS_SFT, BNFLOSS_F32, options, isa);
        for (uint32_t n = 0; n < 9; n++)
            any_cut(1 + n % 3, n / 3, 0, isa);
        for (int options = 1; options < 16; options++)
            any_cut(BNFLOSS_SFT, BNFLOSS_F32, options, isa);
        ties(isa);
        for (int options = 0; options < 16; options += 3)
            masked_slices(isa, options);
        masked_label(isa);
        nan_slices(isa);
        nothing_left(isa);
        ignored_rows(isa);
        misfits(isa);
        many_trees(isa);
        all_sums(isa);
        squares_upwards(isa);
        label_in_next_group(isa);
    }
    return test_end();
}
