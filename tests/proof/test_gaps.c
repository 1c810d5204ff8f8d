/* What mutants and coverage found untested: names, shifts against a plain
 * second version, several specs and their options, answers of every size,
 * rows of many chunks, NaN in sorted batches, batches too large for a cache,
 * few rows for many threads, a forked child's.
 *
 * SPDX-License-Identifier: MIT */
#if defined(__unix__) || defined(__APPLE__)
#define _GNU_SOURCE
#define HAVE_FORK
#endif
#include "../test.h"

#include <fenv.h>
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#ifdef HAVE_FORK
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

enum { N = 12, V = 9, S = 4, WORK = 1 << 14 };

static float logits[N * V], other[N * V];
static int32_t labels[N];
static bnfloss_row state[N], ref_state[N];
static double work[WORK / 8];

static bnfloss_layout layout_of(int64_t rows, int64_t vocab, uint32_t flags)
{
    bnfloss_layout l;

    EMPTY(l);
    l.rows = rows;
    l.vocab = vocab;
    l.flags = flags;
    return l;
}

static bnfloss_result result_of(void)
{
    bnfloss_result r;

    EMPTY(r);
    return r;
}

static void make(uint64_t seed)
{
    rng r = { seed };

    for (int i = 0; i < N * V; i++) {
        logits[i] = (float)rng_normal(&r) * 2;
        other[i] = (float)rng_normal(&r) * 2;
    }
    for (int i = 0; i < N; i++)
        labels[i] = (int32_t)rng_below(&r, V);
}

/* ---- Names -------------------------------------------------------------- */

static void names(void)
{
    uint32_t kinds = 0;

    while (bnfloss_kind_name(kinds + 1))
        kinds++;
    CHECK(kinds >= BNFLOSS_ASFT, "%d kinds", (int)kinds);
    for (uint32_t k = 1; k <= kinds; k++)
        CHECK(bnfloss_kind_from_name(bnfloss_kind_name(k)) == k, "%s",
              bnfloss_kind_name(k));
    CHECK(bnfloss_kind_from_name("sigmoid") == BNFLOSS_DPO, "TRL's name");
    CHECK(bnfloss_kind_from_name(NULL) == 0, "NULL");
    CHECK(bnfloss_kind_from_name("") == 0, "nothing");
    CHECK(bnfloss_kind_from_name("dp") == 0, "a part");
    CHECK(bnfloss_kind_from_name("dpoo") == 0, "more");
    CHECK(!bnfloss_kind_name(0) && !bnfloss_kind_name(kinds + 1), "no kind");
}

/* ---- Shifts against a plain version ------------------------------------- */

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double plain_gini(double *s, int n)
{
    double sum = 0, ranked = 0;

    qsort(s, (size_t)n, sizeof *s, by_size);
    for (int i = 0; i < n; i++) {
        sum += s[i];
        ranked += (i + 1) * s[i];
    }
    return sum == 0 ? 0 : 2 * ranked / (n * sum) - (n + 1) / (double)n;
}

static double plain_logp(const float *z, int y)
{
    double sum = 0;

    for (int j = 0; j < V; j++)
        sum += exp((double)z[j]);
    return (double)z[y] - log(sum);
}

static double plain_mean(const float *z)
{
    double sum = 0;

    for (int j = 0; j < V; j++)
        sum += (double)z[j];
    return sum / (double)V;
}

/* what: 0 logp, 1 logit, 2 centred */
static double plain_shift(int i, int what)
{
    const float *z = logits + i * V, *r = other + i * V;
    const int y = labels[i];

    if (what == 0)
        return plain_logp(z, y) - plain_logp(r, y);
    return (double)z[y] - (double)r[y]
           - (what == 2 ? plain_mean(z) - plain_mean(r) : 0);
}

/* Sequences of unequal length, one of them empty, one row without weight. */
static const int64_t starts[S + 1] = { 0, 5, 5, 9, N };
static const int8_t sides[S] = { 1, -1, 1, -1 };
static const float weights[N] = { 1, 1, 0, 1, 1, 1, 1, 1, 1, 2, 1, 1 };

static double plain_side(int side, int what, double *gini)
{
    double sum = 0, ginis = 0;
    int count = 0;

    for (int s = 0; s < S; s++) {
        double own = 0, size[N];
        int n = 0;

        for (int64_t i = starts[s]; i < starts[s + 1]; i++) {
            if (sides[s] != side || weights[i] == 0)
                continue;
            own += plain_shift((int)i, what);
            size[n++] = fabs(plain_shift((int)i, what));
        }
        if (n == 0)
            continue;
        count++;
        sum += own / n;
        ginis += plain_gini(size, n);
    }
    *gini = ginis / count;
    return sum / count;
}

static bnfloss_inputs shift_inputs(void)
{
    bnfloss_inputs in;

    EMPTY(in);
    in.sequences = S;
    in.seq_start = starts;
    in.side = sides;
    in.row_weight = weights;
    return in;
}

/* Within 16 u: the sums behind a logp are those of floats. */
static void same_number(double a, double b, const char *what)
{
    CHECK(fabs(a - b) <= 0x1p-20 * (1 + fabs(b)), "%s: %.12g, not %.12g",
          what, a, b);
}

static void shifts(const char *isa)
{
    const bnfloss_layout l = layout_of(N, V, BNFLOSS_MEAN);
    bnfloss_inputs in = shift_inputs();
    bnfloss_shifts x;
    double gini;

    EMPTY(x);
    CHECK(bnfloss_forward(&l, logits, labels, 0, N, state, NULL, NULL)
          == BNFLOSS_OK && bnfloss_forward(&l, other, labels, 0, N, ref_state,
                                           NULL, NULL) == BNFLOSS_OK, "%s",
          isa);
    CHECK(bnfloss_measure_shifts(&in, N, state, ref_state, work, sizeof work,
                                 &x) == BNFLOSS_OK, "%s", isa);
    same_number(x.logp_chosen, plain_side(1, 0, &gini), "logp, chosen");
    same_number(x.logp_gini_chosen, gini, "its Gini");
    same_number(x.logp_rejected, plain_side(-1, 0, &gini), "logp, rejected");
    same_number(x.logp_gini_rejected, gini, "its Gini");
    same_number(x.logit_chosen, plain_side(1, 1, &gini), "logit, chosen");
    same_number(x.logit_gini_chosen, gini, "its Gini");
    same_number(x.logit_rejected, plain_side(-1, 1, &gini), "logit, rejected");
    same_number(x.logit_gini_rejected, gini, "its Gini");
    same_number(x.centred_chosen, plain_side(1, 2, &gini), "centred, chosen");
    same_number(x.centred_rejected, plain_side(-1, 2, &gini),
                "centred, rejected");
}

/* A row that one of the two states ignores counts for nothing, as if both
 * did. */
static void shift_ignored(int in_state)
{
    const bnfloss_layout l = layout_of(N, V, BNFLOSS_MEAN);
    bnfloss_inputs in = shift_inputs();
    float some[N];
    int32_t fewer[N];
    bnfloss_shifts x, y;

    EMPTY(x);
    EMPTY(y);
    make(7);
    memcpy(fewer, labels, sizeof fewer);
    memcpy(some, weights, sizeof some);
    fewer[3] = -100;
    some[3] = 0;
    CHECK(bnfloss_forward(&l, logits, labels, 0, N, state, NULL, NULL)
          == BNFLOSS_OK && bnfloss_forward(&l, other, labels, 0, N, ref_state,
                                           NULL, NULL) == BNFLOSS_OK, "both");
    in.row_weight = some;
    CHECK(bnfloss_measure_shifts(&in, N, state, ref_state, work, sizeof work,
                                 &y) == BNFLOSS_OK, "without the row");
    in.row_weight = weights;
    CHECK(bnfloss_forward(&l, in_state ? logits : other, fewer, 0, N,
                          in_state ? state : ref_state, NULL, NULL)
          == BNFLOSS_OK
          && bnfloss_measure_shifts(&in, N, state, ref_state, work,
                                    sizeof work, &x) == BNFLOSS_OK, "ignored");
    CHECK(memcmp(&x, &y, sizeof x) == 0, "logp of the chosen: %g, not %g",
          x.logp_chosen, y.logp_chosen);
}

/* The buffers that a measurement reads and writes lie apart; they may touch. */
static void shift_overlaps(void)
{
    bnfloss_inputs in = shift_inputs();
    bnfloss_shifts x;
    struct { bnfloss_shifts x; int64_t start[S + 1]; } near;
    float *const in_work = (float *)(void *)work;

    EMPTY(x);
    memcpy(in_work, weights, sizeof weights);
    in.row_weight = in_work;
    CHECK(bnfloss_measure_shifts(&in, N, state, ref_state, work, sizeof work,
                                 &x) == BNFLOSS_E_OVERLAP, "weights in work");
    in.row_weight = weights;
    CHECK(bnfloss_measure_shifts(&in, N, state, ref_state, state, sizeof state,
                                 &x) == BNFLOSS_E_OVERLAP, "states as work");
    CHECK(bnfloss_measure_shifts(&in, N, state, ref_state, (char *)work + 1,
                                 sizeof work - 1, &x) == BNFLOSS_E_ALIGN,
          "odd work");
    CHECK(bnfloss_measure_shifts(&in, N, state, ref_state, work, 8 * N - 1, &x)
          == BNFLOSS_E_WORK, "too little work");
    EMPTY(near.x);
    memcpy(near.start, in.seq_start, sizeof near.start);
    in.seq_start = near.start;
    CHECK(bnfloss_measure_shifts(&in, N, state, ref_state, work, sizeof work,
                                 &near.x) == BNFLOSS_OK, "neighbours");
}

/* Work of just the bytes that the header asks for: what lies behind it is not
 * touched, with one sequence of all rows and with several. */
static void shifts_in_bounds(void)
{
    static const int64_t one[] = { 0, N };
    static const int8_t side = 1;
    const bnfloss_layout l = layout_of(N, V, 0);
    bnfloss_inputs in = shift_inputs();
    bnfloss_shifts x;

    EMPTY(x);
    make(8);
    CHECK(bnfloss_forward(&l, logits, labels, 0, N, state, NULL, NULL)
          == BNFLOSS_OK && bnfloss_forward(&l, other, labels, 0, N, ref_state,
                                           NULL, NULL) == BNFLOSS_OK, "both");
    for (int several = 0; several < 2; several++) {
        double tight[2 * N];
        double gini;

        for (int i = 0; i < 2 * N; i++)
            tight[i] = -1;          /* a sort that took these would show it */
        if (!several) {
            in.sequences = 1;
            in.seq_start = one;
            in.side = &side;
            in.row_weight = NULL;
        }
        CHECK(bnfloss_measure_shifts(&in, N, state, ref_state, tight, 8 * N,
                                     &x) == BNFLOSS_OK, "%d", several);
        for (int i = N; i < 2 * N; i++)
            CHECK(tight[i] == -1, "%g at %d of %d", tight[i], i, N);
        gini = x.logp_gini_chosen;
        CHECK(gini > 0 && gini < 1, "Gini %g", gini);
        in = shift_inputs();
    }
}

/* One token, whose shift is infinite: its Gini is no number. */
static void infinite_shift(void)
{
    static const int64_t start[] = { 0, 1 };
    static const int8_t side = 1;
    const bnfloss_layout l = layout_of(1, V, 0);
    bnfloss_inputs in;
    bnfloss_shifts x;

    EMPTY(x);
    EMPTY(in);
    in.sequences = 1;
    in.seq_start = start;
    in.side = &side;
    make(9);
    CHECK(bnfloss_forward(&l, other, labels, 0, 1, ref_state, NULL, NULL)
          == BNFLOSS_OK, "the reference");
    logits[labels[0]] = -INFINITY;
    CHECK(bnfloss_forward(&l, logits, labels, 0, 1, state, NULL, NULL)
          == BNFLOSS_OK && bnfloss_measure_shifts(&in, 1, state, ref_state,
                                                  work, sizeof work, &x)
          == BNFLOSS_OK, "one token");
    CHECK(x.logp_chosen == -INFINITY && isnan(x.logp_gini_chosen)
          && isnan(x.logit_gini_chosen), "shift %g, Gini %g and %g",
          x.logp_chosen, x.logp_gini_chosen, x.logit_gini_chosen);
}

/* ---- Several specs and their options ------------------------------------ */

/* All rows as one pair. */
static bnfloss_inputs all_as_pair(void)
{
    static const float ref[N] = { -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
                                  -1 };
    static const int64_t start[] = { 0, 6, N };
    bnfloss_inputs in;

    EMPTY(in);
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = 2;
    in.seq_start = start;
    in.ref_logp = ref;
    return in;
}

static bnfloss_status two(uint32_t first, uint32_t second, float smoothing)
{
    const bnfloss_inputs in = all_as_pair();
    bnfloss_layout l = layout_of(N, V, 0);
    bnfloss_result r = result_of();
    bnfloss_spec s[2];

    bnfloss_spec_init(s, sizeof *s, first);
    bnfloss_spec_init(s + 1, sizeof *s, second);
    s[0].also = 1;
    l.label_smoothing = smoothing;
    return bnfloss_run(&l, s, &in, logits, labels, NULL, NULL, work,
                       sizeof work, 1, &r);
}

static void several_specs(void)
{
    const uint32_t sft = BNFLOSS_SFT, dpo = BNFLOSS_DPO;
    bnfloss_spec s;
    uint64_t bytes;

    CHECK(two(sft, sft, 0.5f) == BNFLOSS_OK, "smoothing of two SFTs");
    CHECK(two(dpo, sft, 0) == BNFLOSS_OK, "DPO and SFT");
    CHECK(two(dpo, sft, 0.5f) == BNFLOSS_E_OPTION, "smoothing, DPO first");
    CHECK(two(sft, dpo, 0.5f) == BNFLOSS_E_OPTION, "smoothing, SFT first");
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_BMC);   /* two factors for a row */
    s.flags |= BNFLOSS_DEFER_SCALE;
    CHECK(bnfloss_workspace(NULL, &s, 4, 2, &bytes) == BNFLOSS_OK, "deferred");
    s.sft_weight = 1;
    CHECK(bnfloss_workspace(NULL, &s, 4, 2, &bytes) == BNFLOSS_E_OPTION,
          "deferred BMC with a likelihood term");
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_DPO);
    s.flags |= BNFLOSS_DEFER_SCALE;
    s.sft_weight = 1;
    CHECK(bnfloss_workspace(NULL, &s, 4, 2, &bytes) == BNFLOSS_OK,
          "deferred DPO with a likelihood term");
    s.ld_alpha = 0.5f;
    CHECK(bnfloss_workspace(NULL, &s, 4, 2, &bytes) == BNFLOSS_E_OPTION,
          "and with LD-DPO");
}

/* ---- Inputs that a loss does not read, or not to the end ----------------- */

static bnfloss_status one_pair(uint32_t kind, const bnfloss_inputs *more,
                               const bnfloss_outputs *o)
{
    static const int64_t start[] = { 0, 1, 2 };
    static const float ref[] = { -1, -2 }, logp[] = { -2, -1 };
    bnfloss_result r = result_of();
    bnfloss_inputs in = *more;
    bnfloss_spec s;
    float dlogp[2];

    in.struct_size = sizeof in;
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = 2;
    in.seq_start = start;
    in.ref_logp = ref;
    bnfloss_spec_init(&s, sizeof s, kind);
    return bnfloss_loss(&s, &in, 2, NULL, logp, NULL, dlogp, o, work,
                        sizeof work, &r);
}

static void inputs_refused(void)
{
    const float inf = (float)INFINITY, none[] = { inf, inf };
    double near[10] = { 0 };
    bnfloss_outputs o;
    bnfloss_inputs in;
    float x = 0.5f;

    memset(&in, 0, sizeof in);
    in.shift_mean = in.shift_count = 1;
    CHECK(one_pair(BNFLOSS_BCO, &in, NULL) == BNFLOSS_OK, "BCO's shift");
    CHECK(one_pair(BNFLOSS_KTO, &in, NULL) == BNFLOSS_E_OPTION, "KTO's");
    CHECK(one_pair(BNFLOSS_DPO, &in, NULL) == BNFLOSS_E_OPTION, "DPO's");
    memset(&in, 0, sizeof in);
    in.soft_label = &x;
    CHECK(one_pair(BNFLOSS_IREPO, &in, NULL) == BNFLOSS_OK, "soft label");
    x = 1;
    CHECK(one_pair(BNFLOSS_IREPO, &in, NULL) == BNFLOSS_E_INPUT, "of 1");
    x = 0;
    CHECK(one_pair(BNFLOSS_IREPO, &in, NULL) == BNFLOSS_E_INPUT, "of 0");
    memset(&in, 0, sizeof in);
    in.pair_scale = &x;
    CHECK(one_pair(BNFLOSS_DPO, &in, NULL) == BNFLOSS_E_INPUT, "scale of 0");
    x = inf;
    CHECK(one_pair(BNFLOSS_DPO, &in, NULL) == BNFLOSS_E_INPUT, "infinite");
    x = 3e38f;
    CHECK(one_pair(BNFLOSS_DPO, &in, NULL) == BNFLOSS_OK, "nearly so");
    memset(&in, 0, sizeof in);
    in.mismatches = 1;
    CHECK(one_pair(BNFLOSS_KTO, &in, NULL) == BNFLOSS_E_NULL, "mismatched");
    in.mismatched = (const double *)(const void *)((const char *)work + 4);
    CHECK(one_pair(BNFLOSS_KTO, &in, NULL) == BNFLOSS_E_ALIGN, "odd");
    EMPTY(o);
    o.seq_logp = near + 8;
    in.mismatched = near;
    in.mismatches = 8;
    CHECK(one_pair(BNFLOSS_KTO, &in, &o) == BNFLOSS_OK, "a neighbour");
    near[0] = (double)inf;
    CHECK(one_pair(BNFLOSS_KTO, &in, NULL) == BNFLOSS_E_INPUT, "the first");
    in.mismatches = INT64_C(1) << 40;
    in.seq_weight = none;
    CHECK(one_pair(BNFLOSS_KTO, &in, NULL) == BNFLOSS_E_INPUT, "as many as "
          "there may be");
}

/* Fills the stack that the next call will use. */
#if defined(__GNUC__) && !defined(__TINYC__)
__attribute__((noinline))
#endif
static void dirty(void)
{
    volatile unsigned char stack[1 << 14];

    for (size_t i = 0; i < sizeof stack; i++)
        stack[i] = 0xFF;
}

/* The most rows that there may be; a sequence for all without seq_start, on a
 * stack with anything on it; what is wrong in the first or the last place. */
static void plain_calls(void)
{
    static const int64_t start[] = { 0, 1, 2 };
    static const int8_t side[] = { 1, -1 };
    static const int64_t back[] = { 0, 3, 2 };
    static const int8_t neither[] = { 0, -1 };
    const float logp[] = { -1, -2 }, wrong[] = { 1, -1 };
    const bnfloss_layout l = layout_of(2, V, 0);
    bnfloss_result r = result_of();
    bnfloss_inputs in;
    bnfloss_spec s;
    float dlogp[2];

    EMPTY(in);
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_SFT);
    CHECK(bnfloss_loss(&s, NULL, INT64_C(1) << 40, NULL, NULL, NULL, NULL,
                       NULL, work, sizeof work, &r) == BNFLOSS_E_NULL, "2^40");
    in.sequences = 1;
    dirty();
    CHECK(bnfloss_loss(&s, &in, 2, NULL, logp, NULL, dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_OK && r.loss == 1.5,
          "one sequence: %g", r.loss);
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_BNF);
    in.sequences = 2;
    in.seq_start = start;
    in.side = side;
    in.ref_logp = wrong;
    make(4);
    CHECK(bnfloss_run(&l, &s, &in, logits, labels, NULL, NULL, work,
                      sizeof work, 1, &r) == BNFLOSS_E_REF_LOGP && r.where == 0,
          "the first row's reference, not row %d's", (int)r.where);
    in.ref_logp = logp;
    in.side = neither;
    CHECK(bnfloss_loss(&s, &in, 2, NULL, logp, logp, dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_E_SIDE && r.where == 0,
          "the first side, not %d", (int)r.where);
    in.side = side;
    in.seq_start = back;
    CHECK(bnfloss_loss(&s, &in, 2, NULL, logp, logp, dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_E_SEQ && r.where == 2,
          "the last sequence goes back, not %d", (int)r.where);
    in.sequences = 0;
    in.seq_start = start;
    CHECK(bnfloss_loss(&s, &in, 1, NULL, logp, logp, dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_E_SEQ && r.where == 0,
          "a row of no sequence");
    in.sequences = 3;
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    CHECK(bnfloss_loss(&s, &in, 2, NULL, logp, logp, dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_E_PAIRING && r.where == 1,
          "the pair that lacks one, not %d", (int)r.where);
}

/* Two calls of no rows that ask for nothing, and merges of one row. */
static void nothing_asked(void)
{
    static const int64_t start[] = { 0, 0, 0 };
    static double room[(sizeof(bnfloss_row) + sizeof(bnfloss_result)) / 8];
    bnfloss_result *inside = (bnfloss_result *)(void *)(room + 2);
    const bnfloss_layout none = layout_of(0, V, 0), one = layout_of(1, V, 0);
    bnfloss_result r = result_of();
    bnfloss_inputs in;
    bnfloss_spec s;

    EMPTY(in);
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = 2;
    in.seq_start = start;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_DPO);
    s.flags = BNFLOSS_WPO;
    CHECK(bnfloss_loss(&s, &in, 0, NULL, NULL, NULL, NULL, NULL, work,
                       sizeof work, &r) == BNFLOSS_OK, "WPO of no rows");
    s.flags = BNFLOSS_DEFER_SCALE;
    CHECK(bnfloss_run(&none, &s, &in, logits, labels, logits, NULL, work,
                      sizeof work, 1, &r) == BNFLOSS_OK, "no scales");
    CHECK(bnfloss_row_merge(1, state, NULL, NULL) == BNFLOSS_E_NULL
          && bnfloss_row_merge(1, NULL, state, NULL) == BNFLOSS_E_NULL,
          "one row of two");
    CHECK(bnfloss_forward(&one, logits, labels, 0, 1, state, NULL, NULL)
          == BNFLOSS_OK, "forward");
    memcpy(room, state, sizeof *state);
    memcpy(inside, &r, sizeof r);
    CHECK(bnfloss_row_merge(1, (bnfloss_row *)(void *)room, state, inside)
          == BNFLOSS_E_OVERLAP, "a result in the state");
}

/* Each output of the loss stage, in the middle of the work buffer. */
static void outputs_in_work(void)
{
    bnfloss_inputs in;

    memset(&in, 0, sizeof in);
    for (int k = 0; k < 6; k++) {
        bnfloss_outputs o;

        EMPTY(o);
        o.dlogp = k == 0 ? (float *)(void *)work : NULL;
        o.row_loss = k == 1 ? (float *)(void *)work : NULL;
        o.seq_logp = k == 2 ? work : NULL;
        o.seq_ratio = k == 3 ? work : NULL;
        o.seq_loss = k == 4 ? work : NULL;
        o.spec_loss = k == 5 ? work : NULL;
        CHECK(one_pair(BNFLOSS_DPO, &in, &o) == BNFLOSS_E_OVERLAP,
              "output %d", k);
    }
}

/* bnfloss_measure_shifts() gives the caller's rounding back, as all do. */
static void rounding_restored(void)
{
#if (defined(__x86_64__) || defined(__aarch64__)) && !defined(__TINYC__)
    static volatile double one = 1, tiny = 0x1p-80, sum;
    bnfloss_inputs in = shift_inputs();
    bnfloss_shifts x;
    int up;

    EMPTY(x);
    fesetround(FE_UPWARD);
    (void)bnfloss_measure_shifts(&in, N, state, ref_state, work, sizeof work,
                                 &x);
    sum = one + tiny;                   /* stored before what follows */
    up = sum > one;
    fesetround(FE_TONEAREST);
    CHECK(up, "rounding upwards was not given back");
#else
    test_skip("the caller's rounding: not on this machine or compiler");
#endif
}

/* ---- Answers of every size ---------------------------------------------- */

static void answers(void)
{
    struct align { char c; bnfloss_row x; };        /* i386: 4 */
    const uint32_t step = offsetof(struct align, x);
    union { bnfloss_result r; unsigned char byte[sizeof(bnfloss_result)]; } a;
    const bnfloss_layout good = layout_of(N, V, 0);
    const bnfloss_layout bad = layout_of(N, -1, 0);

    for (uint32_t size = 8; size <= sizeof a.r; size += step) {
        uint32_t written = 0;

        memset(&a, 0xA5, sizeof a);
        a.r.struct_size = size;
        CHECK(bnfloss_forward(&good, logits, labels, 0, N, state, NULL, &a.r)
              == BNFLOSS_OK, "size %d", (int)size);
        for (uint32_t i = size; i < sizeof a.r; i++)
            written += a.byte[i] != 0xA5;
        CHECK(written == 0, "size %d: %d bytes beyond", (int)size,
              (int)written);
        for (uint32_t i = 8; i < size && i < 16; i++)
            CHECK(a.byte[i] == 0xFF, "size %d: byte %d of -1", (int)size,
                  (int)i);
        CHECK(size < 16 || a.r.where == -1, "size %d: where", (int)size);
        memset(&a, 0xA5, sizeof a);
        a.r.struct_size = size;
        CHECK(bnfloss_forward(&bad, logits, labels, 0, N, state, NULL, &a.r)
              == BNFLOSS_E_SHAPE, "size %d", (int)size);
        for (uint32_t i = size < 16 ? 8 : 16; i < sizeof a.r; i++)
            written += a.byte[i] != 0xA5;
        CHECK(written == 0, "size %d: %d bytes after an error", (int)size,
              (int)written);
    }
}

/* The outputs of a row, one at a time. */
static bnfloss_outputs output_of(int k, float *f, int32_t *id)
{
    bnfloss_outputs o;

    EMPTY(o);
    o.logp = k == 0 ? f : NULL;
    o.rest = k == 1 ? f : NULL;
    o.entropy = k == 2 ? f : NULL;
    o.log_square = k == 3 ? f : NULL;
    o.argmax = k == 4 ? id : NULL;
    return o;
}

/* Each by itself is what it is beside the others; a slice of the vocabulary
 * has none of them. */
static void single_outputs(void)
{
    float all[4][N], f[N];
    int32_t all_id[N], id[N];
    bnfloss_outputs o;
    bnfloss_layout l = layout_of(N, V, 0);

    make(77);
    EMPTY(o);
    o.logp = all[0];
    o.rest = all[1];
    o.entropy = all[2];
    o.log_square = all[3];
    o.argmax = all_id;
    CHECK(bnfloss_forward(&l, logits, labels, 0, N, state, &o, NULL)
          == BNFLOSS_OK, "all outputs");
    for (int k = 0; k < 5; k++) {
        for (int i = 0; i < N; i++) {
            f[i] = 77;
            id[i] = 77;
        }
        o = output_of(k, f, id);
        l.vocab_total = 0;
        CHECK(bnfloss_forward(&l, logits, labels, 0, N, state, &o, NULL)
              == BNFLOSS_OK, "output %d", k);
        CHECK(k == 4 ? memcmp(id, all_id, sizeof id) == 0
                     : memcmp(f, all[k], sizeof f) == 0, "output %d alone", k);
        l.vocab_total = V + 1;
        CHECK(bnfloss_forward(&l, logits, labels, 0, N, state, &o, NULL)
              == BNFLOSS_E_OPTION, "output %d of a slice", k);
    }
}

/* ---- Rows of many chunks ------------------------------------------------ */

/* 67 chunks are two whole trees of 32 and a piece: entropy, mean and the sum
 * of squares against plain sums in double. */
static void many_chunks(const char *isa)
{
    const int64_t wide = 66 * BNFLOSS_CHUNK + 5;
    float *z = (float *)malloc((size_t)wide * sizeof *z);
    bnfloss_layout l = layout_of(1, wide, BNFLOSS_ENTROPY | BNFLOSS_SQUARES);
    double sum = 0, square = 0, dot = 0, lse;
    float logp, entropy, log_square;
    const int32_t y = 40 * BNFLOSS_CHUNK + 1;
    bnfloss_outputs o;
    rng r = { 5 };

    if (!CHECK(z != NULL, "no memory"))
        return;
    for (int64_t j = 0; j < wide; j++) {
        const double x = (double)(rng_below(&r, 513) - 256) / 64;

        z[j] = (float)x;
        sum += exp(x);
        square += exp(2 * x);
        dot += exp(x) * x;
    }
    lse = log(sum);
    EMPTY(o);
    o.logp = &logp;
    o.entropy = &entropy;
    o.log_square = &log_square;
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, &o, NULL) == BNFLOSS_OK,
          "%s", isa);
    CHECK(fabs((double)logp - ((double)z[y] - lse)) < 3e-6, "%s: logp %g", isa,
          (double)logp);
    CHECK(fabs((double)entropy - (lse - dot / sum)) < 3e-6, "%s: entropy %g",
          isa, (double)entropy);
    CHECK(fabs((double)log_square - (log(square) - 2 * lse)) < 3e-6,
          "%s: log square %g", isa, (double)log_square);
    free(z);
}

/* ---- NaN in pairs ------------------------------------------------------- */

/* Log-probabilities of 4 pairs of one token each; NaN in pairs a and b. */
static void nan_pairs(uint32_t kind, uint32_t flags, int a, int b)
{
    static const int64_t start[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 };
    static const float ref[] = { -1, -2, -1, -2, -1, -2, -1, -2 };
    float logp[] = { -1, -3, -2, -1, -4, -2, -3, -3 }, dlogp[8];
    float square[] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    bnfloss_result r = result_of();
    bnfloss_inputs in;
    bnfloss_spec s;

    EMPTY(in);
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = 8;
    in.seq_start = start;
    in.ref_logp = ref;
    in.log_square = flags & BNFLOSS_WPO ? square : NULL;
    bnfloss_spec_init(&s, sizeof s, kind);
    s.flags = flags;
    logp[2 * a] = logp[2 * b] = (float)NAN;
    CHECK(bnfloss_loss(&s, &in, 8, NULL, logp, NULL, dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_OK, "kind %d", (int)kind);
    CHECK(r.loss != r.loss && r.nan_rows == (a == b ? 1 : 2), "kind %d: loss "
          "%g, %d NaN rows", (int)kind, r.loss, (int)r.nan_rows);
    CHECK(r.nan_pairs == r.nan_rows, "kind %d: %d NaN pairs", (int)kind,
          (int)r.nan_pairs);
    for (int k = 0; k < 4; k++)
        CHECK((dlogp[2 * k] != dlogp[2 * k]) == (k == a || k == b),
              "kind %d: dlogp of pair %d is %g", (int)kind, k,
              (double)dlogp[2 * k]);
}

/* ---- Kinks -------------------------------------------------------------- */

/* One pair of a token each, whose rejected one is as in the reference: the
 * loss and dlogp. */
static double of_pair(const bnfloss_spec *s, float chosen, float ref,
                      float *dlogp)
{
    static const int64_t start[] = { 0, 1, 2 };
    const float logp[] = { chosen, -2 }, refs[] = { ref, -2 };
    bnfloss_result r = result_of();
    bnfloss_inputs in;

    EMPTY(in);
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = 2;
    in.seq_start = start;
    in.ref_logp = s->kind == BNFLOSS_SLIC ? NULL : refs;
    CHECK(bnfloss_loss(s, &in, 2, NULL, logp, NULL, dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_OK, "kind %d",
          (int)s->kind);
    return r.loss;
}

/* Where a margin is just enough its slope is 0, and below it -1. */
static void kink(uint32_t kind, float margin)
{
    bnfloss_spec s;
    float dlogp[2];

    bnfloss_spec_init(&s, sizeof s, kind);
    s.sft_weight = 0;
    if (kind == BNFLOSS_HINGE)
        s.beta = 1;
    CHECK(of_pair(&s, -2 + margin, -2, dlogp) == 0 && dlogp[0] == 0,
          "kind %d: dlogp %g", (int)kind, (double)dlogp[0]);
    CHECK(of_pair(&s, -2 + margin / 2, -2, dlogp) == (double)margin / 2
          && dlogp[0] == -1, "kind %d, half of it: dlogp %g", (int)kind,
          (double)dlogp[0]);
}

/* DPOP is DPO where its penalty is not due: for a policy that is its
 * reference, as every run's is at its first step; and without one, were the
 * chosen response impossible. */
static void no_penalty(float chosen, float penalty)
{
    bnfloss_spec dpo, dpop;
    float a[2], b[2];
    double plain, loss;

    bnfloss_spec_init(&dpo, sizeof dpo, BNFLOSS_DPO);
    bnfloss_spec_init(&dpop, sizeof dpop, BNFLOSS_DPOP);
    dpop.penalty = penalty;
    plain = of_pair(&dpo, chosen, -1, a);
    loss = of_pair(&dpop, chosen, -1, b);
    CHECK(loss == plain && memcmp(a, b, sizeof a) == 0 && a[0] < 0,
          "DPOP: loss %g, not %g, dlogp %g, not %g", loss, plain, (double)b[0],
          (double)a[0]);
}

/* ---- BNF's own ---------------------------------------------------------- */

/* A policy that is less sure than its reference by the last bit of a double,
 * which the odds of the two do not see: g is 1, not the 1 + 2^-52 and more
 * that their quotient comes to. */
static void as_sure(const char *isa)
{
    static const float at[][3] = {          /* ref, label, leader */
        { -0x1.6b9804p-2f, 0x1.b48ea4p-1f, 0x1.df0662p-29f },
        { -0x1.be31e8p-2f, 0x1.35bbd2p-1f, 0x1.17d1c2p-34f },
        { -0x1.98739cp-27f, 0x1.23f6e6p+4f, 0x1.9ce002p-25f }
    };
    static const int64_t start[] = { 0, 1 };
    static const int8_t side = 1;
    const bnfloss_layout l = layout_of(1, 2, BNFLOSS_ENTROPY);
    const int32_t y = 0;

    for (size_t k = 0; k < sizeof at / sizeof *at; k++) {
        bnfloss_result r = result_of();
        bnfloss_inputs in;
        bnfloss_spec s;
        float dlogp;

        EMPTY(in);
        in.sequences = 1;
        in.seq_start = start;
        in.side = &side;
        in.ref_logp = at[k];
        bnfloss_spec_init(&s, sizeof s, BNFLOSS_BNF);
        CHECK(bnfloss_forward(&l, at[k] + 1, &y, 0, 1, state, NULL, NULL)
              == BNFLOSS_OK && bnfloss_loss(&s, &in, 1, state, NULL, NULL,
                                            &dlogp, NULL, work, sizeof work,
                                            &r) == BNFLOSS_OK, "%s", isa);
        CHECK(r.logps_mean_chosen < (double)at[k][0]
              && r.logps_mean_chosen > (double)at[k][0] * (1 + 0x1p-48),
              "%s: logp %a is not just below %a", isa, r.logps_mean_chosen,
              (double)at[k][0]);
        CHECK(r.bnf_coefficient == 1 && dlogp == -1, "%s: g - 1 is %g", isa,
              r.bnf_coefficient - 1);
    }
}

/* Sequences without a row need no sides. */
static void sideless(void)
{
    static const int64_t start[S + 1] = { 0, 0, 0, 0, 0 };
    bnfloss_result r = result_of();
    double seq_loss[S] = { 7, 7, 7, 7 };
    bnfloss_outputs o;
    bnfloss_inputs in;
    bnfloss_spec s;
    float dlogp = 7;

    EMPTY(o);
    EMPTY(in);
    o.seq_loss = seq_loss;
    in.sequences = S;
    in.seq_start = start;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_BNF);
    CHECK(bnfloss_loss(&s, &in, 0, NULL, NULL, NULL, &dlogp, &o, work,
                       sizeof work, &r) == BNFLOSS_OK, "no rows, no sides");
    CHECK(r.loss == 0 && r.tokens == 0 && dlogp == 7, "loss %g, dlogp %g",
          r.loss, (double)dlogp);
    for (int k = 0; k < S; k++)
        CHECK(seq_loss[k] == 0, "sequence %d: %g", k, seq_loss[k]);
}

/* ---- Numbers at the end of their range ---------------------------------- */

/* A scale that makes every z' infinite leaves nothing: a NaN row; and where
 * one logit stays finite it is alone. */
static void scaled_out(const char *isa)
{
    bnfloss_layout l = layout_of(1, V, 0);
    const int32_t y = 3;
    bnfloss_outputs o;
    bnfloss_result r = result_of();
    float z[V], logp;

    EMPTY(o);
    o.logp = &logp;
    l.logit_scale = 0x1p127f;
    for (int j = 0; j < V; j++)
        z[j] = -4;
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, &o, &r) == BNFLOSS_OK
          && r.nan_rows == 1 && logp != logp, "%s: all out of range", isa);
    z[y] = -1e-38f;
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, &o, &r) == BNFLOSS_OK
          && r.nan_rows == 0 && logp == 0, "%s: one in range: %g", isa,
          (double)logp);
}

/* The first block of a row masked, all 2048 columns of it: the leader comes
 * late, and the row is that of the other columns. */
static void late_leader(const char *isa)
{
    enum { MASKED = 2048 };
    static float z[MASKED + V];
    const bnfloss_layout wide = layout_of(1, MASKED + V, BNFLOSS_ENTROPY
                                          | BNFLOSS_MEAN);
    const bnfloss_layout few = layout_of(1, V, BNFLOSS_ENTROPY | BNFLOSS_MEAN);
    const int32_t far = MASKED + 3, near = 3;
    float logp[2], rest[2], entropy[2];
    bnfloss_outputs o;

    EMPTY(o);
    for (int j = 0; j < MASKED + V; j++)
        z[j] = j < MASKED ? -(float)INFINITY : logits[j - MASKED] + 30;
    for (int k = 0; k < 2; k++) {
        o.logp = logp + k;
        o.rest = rest + k;
        o.entropy = entropy + k;
        CHECK(bnfloss_forward(k ? &few : &wide, z + (k ? MASKED : 0),
                              k ? &near : &far, 0, 1, k ? ref_state : state,
                              &o, NULL) == BNFLOSS_OK, "%s", isa);
    }
    same_number((double)logp[0], (double)logp[1], "logp, late");
    same_number((double)rest[0], (double)rest[1], "rest, late");
    same_number((double)entropy[0], (double)entropy[1], "entropy, late");
    CHECK(state[0].finite == ref_state[0].finite, "%s: %g finite", isa,
          state[0].finite);
}

/* A gradient beyond any float is infinite, and nothing wraps; nor does it under
 * label smoothing. */
static void steepest(const char *isa, float smoothing)
{
    bnfloss_layout l = layout_of(1, V, 0);
    const int32_t y = 3;
    const float dlogp = 3e38f;
    float z[V], g[V];

    l.label_smoothing = smoothing;
    l.z_loss = 3e38f;
    for (int j = 0; j < V; j++)
        z[j] = 1e38f;
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, NULL, NULL) == BNFLOSS_OK
          && bnfloss_backward(&l, z, &y, 0, 1, state, &dlogp, g, NULL)
             == BNFLOSS_OK, "%s", isa);
    for (int j = 0; j < V; j++)
        CHECK(g[j] == -(float)INFINITY, "%s, smoothing %g, column %d: %g", isa,
              (double)smoothing, j, (double)g[j]);
}

/* Under label smoothing: a factor that no float holds, but gradients that one
 * does. */
static void steep_and_smooth(const char *isa)
{
    bnfloss_layout l = layout_of(1, V, 0);
    const int32_t y = 3;
    const float dlogp = 3e38f;
    float z[V], g[V];
    double sum = 0;

    l.label_smoothing = 0.125f;
    for (int j = 0; j < V; j++) {
        z[j] = j ? (float)-j : 12;
        sum += exp((double)z[j]);
    }
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, NULL, NULL) == BNFLOSS_OK
          && bnfloss_backward(&l, z, &y, 0, 1, state, &dlogp, g, NULL)
             == BNFLOSS_OK, "%s", isa);
    for (int j = 0; j < V; j++) {
        const double p = exp((double)z[j]) / sum;
        const double want = (double)dlogp
            * ((j == y ? 0.875 : 0) + 0.125 / V - p);

        CHECK(fabs((double)g[j] - want) <= 0x1p-22 * (double)dlogp,
              "%s, column %d: %g, not %g", isa, j, (double)g[j], want);
    }
}

/* The state of a NaN row holds nothing else, also where it has chunks. */
static void nan_of_chunks(const char *isa)
{
    enum { WIDE = BNFLOSS_CHUNK + 5 };
    static float z[WIDE];
    const bnfloss_layout l = layout_of(1, WIDE, BNFLOSS_ENTROPY);
    const int32_t y = 3;

    z[WIDE - 1] = (float)NAN;
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, NULL, NULL) == BNFLOSS_OK,
          "%s", isa);
    CHECK(state->flags & BNFLOSS_ROW_NAN && state->leader_id == -1
          && state->leader != state->leader && state->sum != state->sum
          && state->label != state->label && state->dot != state->dot,
          "%s: leader %d, %g", isa, (int)state->leader_id, state->leader);
}

/* A NaN among 16-bit logits hides larger ones from the first look at a block,
 * and not from the second: the row is a NaN row, and nothing in front of it is
 * read (which a sanitizer would see: the buffer begins with the row). */
static void hidden_by_nan(const char *isa)
{
    enum { COLS = 2113 };
    uint16_t *z = (uint16_t *)malloc(COLS * sizeof *z);
    bnfloss_layout l = layout_of(1, COLS, 0);
    const int32_t y = 1273;

    if (!CHECK(z != NULL, "4 KiB of memory"))
        exit(1);
    for (uint32_t type = BNFLOSS_BF16; type <= BNFLOSS_F16; type++) {
        for (int nan = 0; nan < COLS; nan += 61) {
            for (int sign = 0; sign < 2; sign++) {
                l.logits_type = type;
                for (int j = 0; j < COLS; j++)
                    z[j] = (uint16_t)(0x3C00 + j % 512);
                z[nan] = (uint16_t)(sign ? 0xFFFF : 0x7FFF);
                memset(state, 0, sizeof *state);
                CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, NULL, NULL)
                      == BNFLOSS_OK && state->flags & BNFLOSS_ROW_NAN
                      && state->leader_id == -1,
                      "%s: type %d, NaN at %d", isa, (int)type, nan);
            }
        }
    }
    free(z);
}

/* Three rows of a batch of 32 MiB and more, whose gradient is stored past the
 * caches: the bits of three rows that are the batch. */
static void large_batch(const char *isa, uint32_t type, uint32_t grad_type,
                        uint32_t flags, int in_place)
{
    enum { ROWS = 3, COLS = 83, ROOM = ROWS * COLS };
    static const float dlogp[ROWS] = { -1, 0.25f, -0.5f };
    static const int32_t y[ROWS] = { 0, 40, COLS - 1 };
    bnfloss_layout l = layout_of(ROWS, COLS, flags);
    float z[ROOM], g[2][ROOM];
    rng r = { 9 };

    l.logits_type = type;
    l.grad_type = grad_type;
    for (int j = 0; j < ROOM; j++) {
        const uint16_t half = (uint16_t)(0x3C00 + rng_below(&r, 512));
        const float x = (float)rng_normal(&r);

        if (type == BNFLOSS_F32)
            z[j] = x;
        else
            memcpy((char *)z + 2 * j, &half, 2);
        g[0][j] = g[1][j] = 1;
    }
    for (int k = 0; k < 2; k++) {
        l.rows = k ? ((int64_t)1 << 25) / (COLS * 4) + 2 : ROWS;
        if (in_place)
            memcpy(g[k], z, sizeof z);
        CHECK(bnfloss_forward(&l, z, y, 0, ROWS, state, NULL, NULL)
              == BNFLOSS_OK
              && bnfloss_backward(&l, in_place ? g[k] : z, y, 0, ROWS, state,
                                  dlogp, g[k], NULL) == BNFLOSS_OK, "%s", isa);
    }
    CHECK(memcmp(g[0], g[1], sizeof g[0]) == 0, "%s: types %d and %d, flags "
          "%d, in place %d", isa, (int)type, (int)grad_type, (int)flags,
          in_place);
}

static void large_batches(const char *isa)
{
    large_batch(isa, BNFLOSS_F32, BNFLOSS_F32, 0, 0);
    large_batch(isa, BNFLOSS_F32, BNFLOSS_F32, 0, 1);
    large_batch(isa, BNFLOSS_F32, BNFLOSS_F32, BNFLOSS_ACCUMULATE, 0);
    large_batch(isa, BNFLOSS_F32, BNFLOSS_BF16, 0, 0);
    large_batch(isa, BNFLOSS_BF16, BNFLOSS_F32, 0, 0);
}

/* A run of such a batch, out of place: not kept, and stored past the caches.
 * The bits of the run in place, where it is kept. */
static void large_run(const char *isa)
{
    enum { COLS = 83, ROWS = (1 << 25) / (COLS * 4) + 2 };
    const size_t bytes = (size_t)ROWS * COLS * sizeof(float);
    float *z = (float *)calloc(1, bytes), *g = (float *)calloc(1, bytes);
    float *weight = (float *)calloc(ROWS, sizeof *weight);
    int32_t *y = (int32_t *)calloc(ROWS, sizeof *y);
    bnfloss_layout l = layout_of(ROWS, COLS, 0);
    bnfloss_inputs in;
    bnfloss_result result;
    bnfloss_spec spec;
    uint64_t size = 0;
    void *room;
    rng r = { 10 };

    EMPTY(in);
    EMPTY(result);
    in.row_weight = weight;
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    CHECK(bnfloss_workspace(&l, &spec, 1, 0, &size) == BNFLOSS_OK, "%s", isa);
    room = malloc((size_t)size);
    if (!CHECK(z && g && weight && y && room, "64 MiB of memory"))
        exit(1);
    for (int i = 0; i < 3; i++) {       /* most rows are not read */
        const int row = i < 2 ? i : ROWS - 1;

        weight[row] = (float)(i + 1);
        y[row] = 7 * i;
        for (int j = 0; j < COLS; j++)
            z[(size_t)row * COLS + (size_t)j] = (float)rng_normal(&r);
    }
    CHECK(bnfloss_run(&l, &spec, &in, z, y, g, NULL, room, size, 1, &result)
          == BNFLOSS_OK
          && bnfloss_run(&l, &spec, &in, z, y, z, NULL, room, size, 1, &result)
             == BNFLOSS_OK, "%s", isa);
    CHECK(memcmp(z, g, bytes) == 0 && g[0] != 0, "%s: a large run", isa);
    free(z);
    free(g);
    free(weight);
    free(y);
    free(room);
}

/* More threads than rows, of few columns and of many, with and without a
 * gradient, and as many threads as there are: the loss and the gradient of
 * one thread. */
static void few_rows(const char *isa, int64_t vocab)
{
    const size_t bytes = (size_t)(2 * vocab) * sizeof(float);
    float *z = (float *)malloc(bytes), *one = (float *)malloc(bytes);
    float *many = (float *)malloc(bytes);
    const bnfloss_layout l = layout_of(2, vocab, 0);
    const int32_t y[2] = { 1, (int32_t)vocab - 1 };
    bnfloss_result a = result_of(), b = result_of(), c = result_of();
    bnfloss_result d = result_of();
    bnfloss_spec s;
    rng r = { 3 };

    if (!CHECK(z && one && many, "no memory"))
        return;
    for (int64_t j = 0; j < 2 * vocab; j++)
        z[j] = (float)(rng_below(&r, 513) - 256) / 64;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_SFT);
    CHECK(bnfloss_run(&l, &s, NULL, z, y, one, NULL, work, sizeof work, 1, &a)
          == BNFLOSS_OK && bnfloss_run(&l, &s, NULL, z, y, many, NULL, work,
                                       sizeof work, 4, &b) == BNFLOSS_OK
          && bnfloss_run(&l, &s, NULL, z, y, NULL, NULL, work, sizeof work, 4,
                         &c) == BNFLOSS_OK, "%s", isa);
    CHECK(memcmp(one, many, bytes) == 0 && a.loss == b.loss
          && a.loss == c.loss, "%s: 4 threads, V %d", isa, (int)vocab);
    memset(many, 1, bytes);
    CHECK(bnfloss_run(&l, &s, NULL, z, y, many, NULL, work, sizeof work, 0, &d)
          == BNFLOSS_OK && memcmp(one, many, bytes) == 0 && a.loss == d.loss,
          "%s: all threads, V %d", isa, (int)vocab);
    free(z);
    free(one);
    free(many);
}

/* The first of AOT's pairs is empty: its loss is 0, and the others' their
 * own. */
static void empty_pair(void)
{
    static const int64_t start[] = { 0, 0, 0, 1, 2, 3, 4 };
    static const float logp[] = { -1, -2, -3, -1 };
    static const float ref[] = { -2, -1, -1, -2 };
    double pair_loss[3] = { 7, 7, 7 };
    bnfloss_result r = result_of();
    bnfloss_outputs o;
    bnfloss_inputs in;
    bnfloss_spec s;
    float dlogp[4];

    EMPTY(o);
    EMPTY(in);
    o.seq_loss = pair_loss;
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = 6;
    in.seq_start = start;
    in.ref_logp = ref;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_AOT);
    CHECK(bnfloss_loss(&s, &in, 4, NULL, logp, NULL, dlogp, &o, work,
                       sizeof work, &r) == BNFLOSS_OK, "three pairs");
    CHECK(pair_loss[0] == 0 && fabs(pair_loss[1] + pair_loss[2] - 2 * r.loss)
          < 1e-15 && r.divisor == 2, "pairs' losses %g %g %g, of two %g",
          pair_loss[0], pair_loss[1], pair_loss[2], r.loss);
}

/* BCO without a response, in this call or before: its running mean is 0. */
static void no_shift(void)
{
    static const int64_t start[] = { 0, 0 };
    static const int8_t side = 1;
    bnfloss_result r = result_of();
    bnfloss_inputs in;
    bnfloss_spec s;
    float dlogp = 7;

    EMPTY(in);
    in.sequences = 1;
    in.seq_start = start;
    in.side = &side;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_BCO);
    CHECK(bnfloss_loss(&s, &in, 0, NULL, NULL, NULL, &dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_OK, "no rows");
    CHECK(r.shift == 0 && r.shift_count == 0 && r.loss == 0,
          "shift %g of %g, loss %g", r.shift, r.shift_count, r.loss);
}

/* The mean entropy is there where it was taken, and nowhere else; of a single
 * column it is 0. */
static void entropy_taken(const char *isa, int64_t vocab)
{
    static const int32_t none[N] = { 0 };

    for (uint32_t taken = 0; taken < 2; taken++) {
        const bnfloss_layout l = layout_of(N, vocab,
                                           taken ? BNFLOSS_ENTROPY : 0);
        bnfloss_result r = result_of();
        bnfloss_spec s;

        make(10);
        bnfloss_spec_init(&s, sizeof s, BNFLOSS_SFT);
        CHECK(bnfloss_run(&l, &s, NULL, logits, vocab > 1 ? labels : none,
                          NULL, NULL, work, sizeof work, 1, &r)
              == BNFLOSS_OK, "%s", isa);
        CHECK(!taken ? isnan(r.entropy) : vocab == 1 ? r.entropy == 0
              : r.entropy > 0.1 && r.entropy < log(V) + 1e-6,
              "%s: entropy %g", isa, r.entropy);
    }
}

/* BNF of a token that is certain, from log-probabilities: the others
 * have no probability, whatever their mean log-probability is. */
static void certain(float eps, float rest)
{
    static const int64_t start[] = { 0, 1 };
    static const int8_t side = 1;
    const float logp = 0, ref = -1;
    bnfloss_result r = result_of();
    bnfloss_inputs in;
    bnfloss_spec s;
    float dlogp = 7;

    EMPTY(in);
    in.sequences = 1;
    in.seq_start = start;
    in.side = &side;
    in.ref_logp = &ref;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_BNF);
    s.eps = eps;
    CHECK(bnfloss_loss(&s, &in, 1, NULL, &logp, &rest, &dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_OK, "eps %g", (double)eps);
    CHECK(r.loss == 0 && isfinite(dlogp), "eps %g, rest %g: loss %g, dlogp %g",
          (double)eps, (double)rest, r.loss, (double)dlogp);
}

/* The smallest softcap whose reciprocal a float can hold. */
static void min_softcap(void)
{
    bnfloss_layout l = layout_of(1, V, 0);

    l.softcap = 0x1p-127f;
    CHECK(bnfloss_forward(&l, logits, labels, 0, 1, state, NULL, NULL)
          == BNFLOSS_OK, "2^-127");
    l.softcap = 0x1p-128f;
    CHECK(bnfloss_forward(&l, logits, labels, 0, 1, state, NULL, NULL)
          == BNFLOSS_E_VALUE, "2^-128");
    l.softcap = 0x1p-126f;
    l.logit_scale = 0x1.fffffep1f;
    CHECK(bnfloss_forward(&l, logits, labels, 0, 1, state, NULL, NULL)
          == BNFLOSS_OK, "the largest quotient");
}

/* Buffers that touch do not overlap, and those that are only read may be the
 * same. */
static void neighbours(void)
{
    enum { ROWS = 4 };
    struct {
        int64_t start[ROWS + 1];
        double seq_loss[ROWS];
        float weight[ROWS];         /* and the reference's, by chance */
        float grad[ROWS * V];       /* whose row 1 ends in dlogp */
    } b = { { 0, 1, 2, 3, 4 }, { 0 }, { -1, -2, -3, -1 }, { 0 } };
    float *const dlogp = b.grad + 2 * V - ROWS;
    const bnfloss_layout l = layout_of(ROWS, V, 0);
    bnfloss_result r = result_of();
    bnfloss_outputs o;
    bnfloss_inputs in;
    bnfloss_spec s;

    EMPTY(o);
    EMPTY(in);
    make(11);
    o.seq_loss = b.seq_loss;
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = ROWS;
    in.seq_start = b.start;
    in.ref_logp = in.row_weight = b.weight;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_BNF);
    CHECK(bnfloss_run(&l, &s, &in, logits, labels, b.grad, &o, work,
                      sizeof work, 1, &r) == BNFLOSS_OK, "neighbours");
    CHECK(bnfloss_forward(&l, logits, labels, 0, ROWS, state, NULL, NULL)
          == BNFLOSS_OK
          && bnfloss_backward(&l, logits, labels, 2, ROWS, state, dlogp,
                              b.grad, NULL) == BNFLOSS_OK,
          "dlogp, and behind it the last rows' gradient");
}

/* The least and the most that there may be. */
static void min_and_max(void)
{
    static unsigned char large[4096 + 8];
    bnfloss_layout l = layout_of(0, 0, 0);
    bnfloss_spec pairs, bnf, sft;
    bnfloss_result r = result_of();
    bnfloss_inputs in;
    const float logp = -1, ref = -2;
    const int8_t side = 1;
    uint32_t size = 4096;
    uint64_t bytes;
    float dlogp = 7;

    EMPTY(in);
    bnfloss_spec_init(&pairs, sizeof pairs, BNFLOSS_DPO);
    bnfloss_spec_init(&bnf, sizeof bnf, BNFLOSS_BNF);
    bnfloss_spec_init(&sft, sizeof sft, BNFLOSS_SFT);
    in.ref_logp = &ref;
    in.side = &side;
    CHECK(bnfloss_loss(&bnf, &in, 1, NULL, &logp, NULL, &dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_E_NULL,
          "BNF of one row, of no sequence");
    in.seq_start = (const int64_t[]){ 0, 1 };
    in.sequences = 1;
    CHECK(bnfloss_loss(&pairs, &in, 1, NULL, &logp, NULL, &dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_E_PAIRING,
          "DPO of one row, of no pair");
    EMPTY(in);
    in.sequences = INT64_C(1) << 40;
    CHECK(bnfloss_loss(&sft, &in, 1, NULL, &logp, NULL, &dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_E_NULL,
          "as many sequences as there may be, but none begins");
    in.sequences++;
    CHECK(bnfloss_loss(&sft, &in, 1, NULL, &logp, NULL, &dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_E_SHAPE, "one more");
    CHECK(dlogp == 7, "written: %g", (double)dlogp);
    l.vocab_begin = INT64_C(0x7FFFFFFF);
    CHECK(bnfloss_forward(&l, logits, labels, 0, 0, state, NULL, NULL)
          == BNFLOSS_OK, "nothing, from the last column on");
    l.vocab_begin = 0;
    for (int more = 0; more < 2; more++) {
        l.softcap = more ? nextafterf(65536, FLT_MAX) : 65536;
        CHECK(bnfloss_forward(&l, logits, labels, 0, 0, state, NULL, NULL)
              == (more ? BNFLOSS_E_VALUE : BNFLOSS_OK), "the largest softcap");
        l.softcap = 65536;          /* its factor: the least normal number */
        l.logit_scale = more ? 0x1.8p-111f : 0x1p-110f;
        CHECK(bnfloss_forward(&l, logits, labels, 0, 0, state, NULL, NULL)
              == (more ? BNFLOSS_E_VALUE : BNFLOSS_OK), "and its scale");
        l.softcap = l.logit_scale = 0;
    }
    l.z_loss = FLT_MAX;
    CHECK(bnfloss_forward(&l, logits, labels, 0, 0, state, NULL, NULL)
          == BNFLOSS_OK, "the largest z_loss");
    l.z_loss = 0;
    l.rows = l.vocab = 1;
    for (int more = 0; more < 2; more++) {
        l.logits_stride = PTRDIFF_MAX / 8 + more;
        CHECK(bnfloss_workspace(&l, &sft, 0, 0, &bytes)
              == (more ? BNFLOSS_E_SHAPE : BNFLOSS_OK), "the widest stride");
        l.logits_stride = 1;
        l.grad_stride = PTRDIFF_MAX / 8 + more;
        CHECK(bnfloss_workspace(&l, &sft, 0, 0, &bytes)
              == (more ? BNFLOSS_E_SHAPE : BNFLOSS_OK), "of a gradient");
        l.grad_stride = 0;
    }
    for (int64_t more = 0; more < 2; more++) {
        const int64_t rows = (INT64_C(1) << 40) + more;

        CHECK(bnfloss_row_merge(rows, NULL, NULL, NULL)
              == (more ? BNFLOSS_E_SHAPE : BNFLOSS_E_NULL), "rows to merge");
        CHECK(bnfloss_row_outputs(rows, NULL, NULL, NULL)
              == (more ? BNFLOSS_E_SHAPE : BNFLOSS_E_NULL), "rows' outputs");
    }
    l = layout_of(0, 0, 0);
    for (int more = 0; more < 2; more++) {
        memcpy(large, &l, sizeof l);
        size = 4096 + 8 * (uint32_t)more;
        memcpy(large, &size, sizeof size);
        CHECK(bnfloss_forward((const bnfloss_layout *)(const void *)large,
                              logits, labels, 0, 0, state, NULL, NULL)
              == (more ? BNFLOSS_E_STRUCT : BNFLOSS_OK), "%d bytes",
              (int)size);
    }
}

/* A result among the outputs. */
static void result_in_outputs(void)
{
    static const float ones[N] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    static double room[(sizeof(bnfloss_result) + 7) / 8];
    const bnfloss_layout l = layout_of(N, V, 0);
    bnfloss_result *r = (bnfloss_result *)(void *)room;
    bnfloss_outputs o;

    EMPTY(o);
    memset(room, 0, sizeof room);
    r->struct_size = sizeof *r;
    o.logp = (float *)(void *)(room + 4);
    CHECK(bnfloss_forward(&l, logits, labels, 0, N, state, NULL, NULL)
          == BNFLOSS_OK && bnfloss_row_outputs(N, state, &o, r)
          == BNFLOSS_E_OVERLAP, "the result lies among the outputs");
    CHECK(bnfloss_backward(&l, logits, labels, 0, 1, state, ones, room + 4, r)
          == BNFLOSS_E_OVERLAP, "in the gradient");
    CHECK(bnfloss_forward(&l, logits, labels, 0, N, state, &o, r)
          == BNFLOSS_E_OVERLAP, "among a row's outputs");
    o.logp = (float *)(void *)(state + 2) - 1;
    CHECK(bnfloss_row_outputs(2, state, &o, NULL) == BNFLOSS_E_OVERLAP,
          "the first row's output in the last state");
    o.logp = (float *)(void *)(room + 4);
    CHECK(bnfloss_row_outputs(1, NULL, &o, NULL) == BNFLOSS_E_NULL,
          "no state");
    CHECK(!(state->flags & (BNFLOSS_ROW_SQUARES | BNFLOSS_ROW_ENTROPY
                            | BNFLOSS_ROW_MEAN)), "a sum that was not asked");
}

/* States that do not belong together, from their first row on. */
static void states_differ(void)
{
    const bnfloss_layout l = layout_of(N, V, 0);
    bnfloss_layout e = layout_of(N, V, BNFLOSS_ENTROPY);
    bnfloss_inputs in = shift_inputs();
    bnfloss_result r = result_of();
    bnfloss_shifts x;
    int32_t more[N];

    EMPTY(x);
    make(12);
    memcpy(more, labels, sizeof more);
    more[0] = (more[0] + 1) % V;
    CHECK(bnfloss_forward(&l, logits, labels, 0, N, state, NULL, NULL)
          == BNFLOSS_OK && bnfloss_forward(&l, other, more, 0, N, ref_state,
                                           NULL, NULL) == BNFLOSS_OK
          && bnfloss_measure_shifts(&in, N, state, ref_state, work,
                                    sizeof work, &x) == BNFLOSS_E_STATE
          && x.where == 0, "another label in row 0");
    e.vocab_begin = V;
    e.vocab_total = 2 * V;
    CHECK(bnfloss_forward(&e, logits, labels, 0, N, ref_state, NULL, NULL)
          == BNFLOSS_OK && bnfloss_row_merge(N, state, ref_state, &r)
          == BNFLOSS_E_STATE && r.where == 0, "another sum in row 0");
}

/* The larger leader comes last: its square takes the place of the other's. */
static void squares_upwards(const char *isa)
{
    bnfloss_layout l = layout_of(1, 2, BNFLOSS_SQUARES);
    const float z[4] = { 0, 1, 3, 5 };
    const int32_t y = 0;
    bnfloss_outputs o;
    bnfloss_row whole, part[2];
    float one, two;

    EMPTY(o);
    for (int k = 0; k < 2; k++) {
        l.vocab = 2;
        l.vocab_begin = 2 * k;
        l.vocab_total = 4;
        CHECK(bnfloss_forward(&l, z + 2 * k, &y, 0, 1, part + k, NULL, NULL)
              == BNFLOSS_OK, "%s", isa);
    }
    l.vocab = 4;
    l.vocab_begin = l.vocab_total = 0;
    o.log_square = &one;
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, &whole, &o, NULL) == BNFLOSS_OK
          && bnfloss_row_merge(1, part, part + 1, NULL) == BNFLOSS_OK, "%s",
          isa);
    o.log_square = &two;
    CHECK(bnfloss_row_outputs(1, part, &o, NULL) == BNFLOSS_OK
          && fabsf(one - two) <= 0x1p-22f && one < 0, "%s: %g, merged %g",
          isa, (double)one, (double)two);
}

/* Of several losses the result has what any of them measures, and the most
 * NaN rows that one of them counts. */
static void metrics_of_two(void)
{
    bnfloss_inputs in = all_as_pair();
    bnfloss_layout l = layout_of(N, V, 0);
    bnfloss_result r = result_of();
    bnfloss_spec s[2];

    make(13);
    bnfloss_spec_init(s, sizeof *s, BNFLOSS_SFT);
    bnfloss_spec_init(s + 1, sizeof *s, BNFLOSS_DPO);
    s[0].flags = BNFLOSS_CHOSEN_ONLY;
    s[0].also = 1;
    logits[8 * V] = (float)NAN;             /* of the rejected sequence */
    CHECK(bnfloss_run(&l, s, &in, logits, labels, NULL, NULL, work,
                      sizeof work, 1, &r) == BNFLOSS_OK && r.nan_rows == 1,
          "%d NaN rows", (int)r.nan_rows);
    bnfloss_spec_init(s + 1, sizeof *s, BNFLOSS_SFT);
    in.pairing = BNFLOSS_PAIRS_NONE;
    in.side = (const int8_t[]){ -1, -1 };   /* none for the first to take */
    in.ref_logp = NULL;
    l.z_loss = 0.5f;
    make(13);
    CHECK(bnfloss_run(&l, s, &in, logits, labels, NULL, NULL, work,
                      sizeof work, 1, &r) == BNFLOSS_OK && r.z_loss > 0,
          "z-loss %g", r.z_loss);
}

/* Rows from the third on: what is looked at begins and ends with them. */
static void later_rows(void)
{
    enum { ROWS = 4, FROM = 2, STRIDE = 200 };
    static double room[ROWS * STRIDE];
    static float out[5 * ROWS];
    static int32_t argmax[ROWS];
    float *const z = (float *)(void *)room;
    /* states FROM and on begin with the logits of row FROM */
    bnfloss_row *const at = (bnfloss_row *)(void *)((char *)room
        + FROM * STRIDE * sizeof *z - FROM * sizeof(bnfloss_row));
    bnfloss_layout l = layout_of(ROWS, V, BNFLOSS_ENTROPY | BNFLOSS_SQUARES);
    bnfloss_result r = result_of();
    bnfloss_outputs o;
    bnfloss_spec s;

    EMPTY(o);
    l.logits_stride = STRIDE;
    o.logp = out;
    o.rest = out + ROWS;
    o.entropy = out + 2 * ROWS;
    o.log_square = out + 3 * ROWS;
    o.argmax = argmax;
    memset(room, 0, sizeof room);
    CHECK(bnfloss_forward(&l, z, labels, FROM, ROWS, at, NULL, NULL)
          == BNFLOSS_E_OVERLAP, "states over the logits of their rows");
    CHECK(bnfloss_forward(&l, z, labels, 0, 1, at + FROM, NULL, NULL)
          == BNFLOSS_OK, "over those of other rows");
    CHECK(bnfloss_forward(&l, z, labels, FROM, ROWS, state, &o, NULL)
          == BNFLOSS_OK, "outputs that touch");
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_SFT);
    l.flags = 0;
    l.grad_stride = STRIDE;
    CHECK(bnfloss_backward(&l, z, labels, FROM, ROWS, at, out, z, NULL)
          == BNFLOSS_E_OVERLAP, "states in the gradients of their rows");
    CHECK(bnfloss_backward(&l, z, labels, FROM, ROWS, state,
                           z + FROM * STRIDE - FROM, z, NULL)
          == BNFLOSS_E_OVERLAP, "dlogp in the gradients of its rows");
    l.grad_stride = V;
    CHECK(bnfloss_backward(&l, z, labels, FROM, ROWS, state, out,
                           (float *)(void *)(state + ROWS) - FROM * V, NULL)
          == BNFLOSS_OK, "gradients behind the states");
    l.grad_stride = STRIDE;
    CHECK(bnfloss_run(&l, &s, NULL, z, (const int32_t *)(const void *)(z + 1),
                      z, NULL, work, sizeof work, 1, &r)
          == BNFLOSS_E_OVERLAP, "labels in a gradient in place");
}

/* The largest logit is a later chunk's first, or a later slice's. */
static void leader_comes_first(void)
{
    enum { C = BNFLOSS_CHUNK, ALL = C + 100 };
    const bnfloss_result empty = result_of();
    const int32_t label = 3;
    bnfloss_layout l = layout_of(1, ALL, 0);
    float *z = (float *)calloc(ALL, sizeof *z);
    bnfloss_result r = empty;
    bnfloss_outputs o;
    bnfloss_row x;
    int32_t top = 7;

    EMPTY(o);
    o.argmax = &top;
    z[C] = 5;
    CHECK(bnfloss_forward(&l, z, &label, 0, 1, &x, &o, &r) == BNFLOSS_OK
          && top == C && x.leader_id == C, "a chunk's first: %d", (int)top);
    l.vocab = 100;
    l.vocab_begin = 40;
    l.vocab_total = 200;
    r = empty;
    CHECK(bnfloss_forward(&l, z + C, &label, 0, 1, &x, NULL, &r) == BNFLOSS_OK
          && x.leader_id == 40, "a slice's first: %d", (int)x.leader_id);
    free(z);
}

/* Of a row of two chunks: what was not asked for is 0, whatever else was. */
static void no_more_than_asked(void)
{
    enum { ALL = BNFLOSS_CHUNK + 100 };
    const uint32_t taken[] = { BNFLOSS_ENTROPY, BNFLOSS_MEAN, BNFLOSS_SQUARES };
    const int32_t label = 3;
    float *z = (float *)calloc(ALL, sizeof *z);
    bnfloss_row x;

    z[9] = 1;
    z[ALL - 9] = 2;
    for (uint32_t k = 0; k < 8; k++) {
        bnfloss_layout l = layout_of(1, ALL, 0);
        bnfloss_result r = result_of();

        for (int j = 0; j < 3; j++)
            l.flags |= k >> j & 1 ? taken[j] : 0;
        CHECK(bnfloss_forward(&l, z, &label, 0, 1, &x, NULL, &r) == BNFLOSS_OK
              && x.sum != 0, "flags %u", l.flags);
        CHECK((x.dot != 0) == (k & 1) && (x.shift != 0) == (k >> 1 & 1)
              && (x.finite != 0) == (k >> 1 & 1)
              && (x.square != 0) == (k >> 2),
              "flags %u: dot %g, shift %g, finite %g, square %g", l.flags,
              x.dot, x.shift, x.finite, x.square);
    }
    free(z);
}

/* Calls of a single row, or of none, that lack what they need. */
static void one_row(void)
{
    static const int64_t start[] = { 0, 1, 1 };
    const float logp = -1, ref = -2, far = -FLT_MAX;
    const bnfloss_layout l = layout_of(1, V, 0);
    bnfloss_result r = result_of();
    bnfloss_outputs o;
    bnfloss_inputs in;
    bnfloss_shifts x;
    bnfloss_spec s;
    float dlogp = 7, scale = 7;

    EMPTY(o);
    EMPTY(x);
    EMPTY(in);
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = 2;
    in.seq_start = start;
    in.ref_logp = &ref;
    in.ref_logp = NULL;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_DPO);
    CHECK(bnfloss_loss(&s, &in, 1, NULL, &logp, NULL, &dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_E_NULL, "no reference");
    in.ref_logp = &ref;
    in.mismatches = 1;
    CHECK(bnfloss_loss(&s, &in, 1, NULL, &logp, NULL, &dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_E_OPTION,
          "mismatches for a loss that takes none");
    in.mismatches = 0;
    s.flags = BNFLOSS_WPO;
    CHECK(bnfloss_loss(&s, &in, 1, NULL, &logp, NULL, &dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_E_NULL, "no square");
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_IREPO);
    CHECK(bnfloss_loss(&s, &in, 1, NULL, &logp, NULL, &dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_E_NULL, "no soft label");
    in.seq_start = (const int64_t[]){ 0, 0, 0 };
    CHECK(bnfloss_loss(&s, &in, 0, NULL, NULL, NULL, &dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_OK, "no rows to label");
    in.seq_start = start;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_DPO);
    s.flags = BNFLOSS_DEFER_SCALE;
    CHECK(bnfloss_run(&l, &s, &in, logits, labels, other, NULL, work,
                      sizeof work, 1, &r) == BNFLOSS_E_NULL, "no row_scale");
    o.row_scale = &scale;
    CHECK(bnfloss_run(&l, &s, &in, logits, labels, other, &o, work,
                      sizeof work, 1, &r) == BNFLOSS_OK, "row_scale");
    s.flags = BNFLOSS_WPO;
    in.log_square = &far;
    CHECK(bnfloss_loss(&s, &in, 1, NULL, &logp, NULL, &dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_OK, "the least square");
    EMPTY(in);
    in.sequences = 2;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_SFT);
    CHECK(bnfloss_loss(&s, &in, 1, NULL, &logp, NULL, &dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_E_NULL,
          "two sequences that begin nowhere");
    in.sequences = 1;
    in.side = (const int8_t[]){ 1 };
    s.flags = BNFLOSS_CHOSEN_ONLY;
    CHECK(bnfloss_loss(&s, &in, 1, NULL, &logp, NULL, &dlogp, NULL, work,
                       sizeof work, &r) == BNFLOSS_E_NULL,
          "one that has a side and begins nowhere");
    in.seq_start = start;
    CHECK(bnfloss_measure_shifts(&in, 1, NULL, ref_state, work, sizeof work,
                                 &x) == BNFLOSS_E_NULL, "no state");
}

/* A slice with a NaN, merged with one without: the bits of the whole row. */
static void nan_slice(const char *isa)
{
    enum { WIDE = 2 * BNFLOSS_CHUNK };
    static float z[WIDE];
    bnfloss_layout l = layout_of(1, WIDE, BNFLOSS_ENTROPY | BNFLOSS_MEAN);
    bnfloss_row whole, part[2];
    const int32_t y = 3;

    for (int in = 0; in < 2; in++) {
        memset(z, 0, sizeof z);
        z[in * BNFLOSS_CHUNK + 7] = (float)NAN;
        l.vocab = WIDE;
        l.vocab_begin = l.vocab_total = 0;
        CHECK(bnfloss_forward(&l, z, &y, 0, 1, &whole, NULL, NULL)
              == BNFLOSS_OK, "%s: whole", isa);
        l.vocab = BNFLOSS_CHUNK;
        l.vocab_total = WIDE;
        for (int k = 0; k < 2; k++) {
            l.vocab_begin = k * BNFLOSS_CHUNK;
            CHECK(bnfloss_forward(&l, z + l.vocab_begin, &y, 0, 1, part + k,
                                  NULL, NULL) == BNFLOSS_OK, "%s: slice", isa);
        }
        CHECK(bnfloss_row_merge(1, part, part + 1, NULL) == BNFLOSS_OK
              && memcmp(&whole, part, sizeof whole) == 0,
              "%s: NaN in slice %d: leader %g, sum %g", isa, in,
              part->leader, part->sum);
    }
}

/* A row whose first blocks are masked, and whose others are far above 0 or far
 * below: what was there before has left nothing, not a NaN. */
static void masked_then_far(const char *isa, float level)
{
    enum { WIDE = 3 * 2048 };
    static float z[WIDE];
    const bnfloss_layout l = layout_of(1, WIDE, BNFLOSS_ENTROPY | BNFLOSS_MEAN);
    const int32_t y = WIDE - 1;
    bnfloss_outputs o;
    float entropy, logp;

    EMPTY(o);
    o.entropy = &entropy;
    o.logp = &logp;
    for (int j = 0; j < WIDE; j++)
        z[j] = j < 2 * WIDE / 3 ? -INFINITY : level;
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, &o, NULL) == BNFLOSS_OK
          && fabs((double)entropy - log(2048)) < 1e-5
          && fabs((double)logp + log(2048)) < 1e-5,
          "%s: entropy %g, logp %g of 2048 equal logits", isa,
          (double)entropy, (double)logp);
}

/* Weights next to those that make a gradient's factor a power of two, for rows
 * of n equal logits: fused, where exponentials are kept, the bits of the
 * stages. */
static void round_factors(const char *isa, int n)
{
    enum { WIDE = 64 };
    static float z[WIDE], fused[WIDE], separate[WIDE];
    const bnfloss_layout l = layout_of(1, n, 0);
    bnfloss_result r = result_of();
    bnfloss_inputs in;
    bnfloss_spec s;
    float weight = (float)(n / 64.0 / 0x1.d6b62955437abp-1);   /* the table's */

    EMPTY(in);
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_SFT);
    in.row_weight = &weight;
    weight = nextafterf(weight, 0);
    weight = nextafterf(weight, 0);
    for (int k = 0; k < 5; k++, weight = nextafterf(weight, 2)) {
        const float dlogp = -weight;

        memset(z, 0, sizeof z);
        memset(fused, 0, sizeof fused);
        CHECK(bnfloss_run(&l, &s, &in, fused, labels, fused, NULL, work,
                          sizeof work, 1, &r)
                      == BNFLOSS_OK
                  && bnfloss_forward(&l, z, labels, 0, 1, state, NULL, NULL)
                         == BNFLOSS_OK
                  && bnfloss_backward(&l, z, labels, 0, 1, state, &dlogp,
                                      separate, NULL)
                         == BNFLOSS_OK,
              "%s", isa);
        CHECK(memcmp(fused, separate, (size_t)n * sizeof *fused) == 0
                  && fused[n - 1] > 0,
              "%s: %d logits, weight %a: %a, staged %a", isa, n,
              (double)weight, (double)fused[n - 1], (double)separate[n - 1]);
    }
}

/* A row's first logits lead it in turn, one in each block: what has been summed
 * so far moves over to the next, in double, up to rounding; and has the same
 * bits on every ISA where the order of a sum shows. `level` is added to all:
 * they may climb from where logits are counted from a leader to where they are
 * counted from 0. */
static void overtaken(const char *isa, float scale, int spread, float level)
{
    enum { BLOCK = 2048, WIDE = 5 * BLOCK };
    static float z[WIDE];
    static bnfloss_row first[2][3];
    bnfloss_row *same = &first[spread][level < 0 ? 2 : level > 0];
    bnfloss_layout l = layout_of(1, WIDE, BNFLOSS_ENTROPY | BNFLOSS_MEAN);
    const int32_t y = WIDE - 7;
    const int leader = spread ? 0 : WIDE - BLOCK;
    double sum = 0, dot = 0, shift = 0;
    bnfloss_row x;
    rng r = { 5 };

    l.logit_scale = scale;
    for (int j = 0; j < WIDE; j++) {
        const double u = rng_normal(&r);

        z[j] = (float)(spread ? -fabs(ldexp(u, j % 41 - 30))
                              : (j % BLOCK ? u : 5) + 2.0 * (j / BLOCK))
               + level;
    }
    if (spread)
        z[0] = 0;
    for (int j = 0; j < WIDE; j++) {
        const double d = (double)scale * ((double)z[j] - (double)z[leader]);

        if (j == y || j == leader)
            continue;
        sum += exp(d);
        dot += exp(d) * d;
        shift += d;
    }
    memset(&x, 0, sizeof x);
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, &x, NULL, NULL) == BNFLOSS_OK,
          "%s", isa);
    CHECK(x.leader_id == leader && x.finite == WIDE - 2
          && fabs(x.sum - sum) <= 0x1p-22 * sum
          && fabs(x.dot - dot) <= -0x1p-20 * dot
          && fabs(x.shift - shift) <= -0x1p-20 * shift,
          "%s, scale %g: leader %d, sum %g, not %g, dot %g, not %g, shift %g, "
          "not %g", isa, (double)scale, (int)x.leader_id, x.sum, sum, x.dot,
          dot, x.shift, shift);
    if (scale == 1 && strcmp(isa, "scalar") == 0)
        *same = x;
    else if (scale == 1)
        CHECK(memcmp(same, &x, sizeof x) == 0,
              "%s: other bits than plain C's", isa);
}

/* The largest logit is found wherever it is: next to the label, in whose group
 * that is left out, and in a group that is not whole. */
static void leader_anywhere(const char *isa)
{
    enum { WIDE = 1100 };
    static float z[WIDE];
    const bnfloss_layout l = layout_of(1, WIDE, 0);

    for (int32_t at = 0; at < WIDE; at++) {
        const int32_t y = at ? at - 1 : 1;

        z[at] = 3;
        CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, NULL, NULL) == BNFLOSS_OK
              && state[0].leader_id == at
              && !(state[0].flags & BNFLOSS_ROW_NAN), "%s: %d, not %d", isa,
              (int)state[0].leader_id, (int)at);
        z[at] = 0;
    }
}

/* A scaled logit that is the least to round to an infinity. */
static void label_at_the_limit(const char *isa)
{
    bnfloss_layout l = layout_of(1, V, 0);
    const int32_t y = 2;
    float z[V] = { 0 };

    l.logit_scale = 1801;
    z[y] = -18631 * 0x1p103f;       /* their product: -0x1.ffffffp127 */
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, NULL, NULL) == BNFLOSS_OK
          && state[0].label == -(double)INFINITY, "%s: label %g", isa,
          state[0].label);
    z[y] = nextafterf(z[y], 0);
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, NULL, NULL) == BNFLOSS_OK
          && state[0].label > -3.4028236e38, "%s: label %g", isa,
          state[0].label);
    for (int j = 1; j <= y; j++) {      /* another leads; the label */
        z[y] = 0;
        z[j] = 18631 * 0x1p103f;
        CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, NULL, NULL)
              == BNFLOSS_OK && state[0].flags & BNFLOSS_ROW_NAN,
              "%s: %d at the upper limit", isa, j);
        z[j] = nextafterf(z[j], 0);
        CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, NULL, NULL)
              == BNFLOSS_OK && !(state[0].flags & BNFLOSS_ROW_NAN),
              "%s: %d below the upper limit", isa, j);
        z[j] = 0;
    }
}

/* What is added to a NaN, or is the difference of infinities, is written as the
 * NaN of all; label and leader, which stand alone, too. */
static void nan_accumulated(const char *isa)
{
    enum { WIDE = 100 };
    static const uint32_t was[] = { 0xFFC12345, 0x7FF00001 };
    const float inf = (float)INFINITY, large = 3e38f, one = 1;
    bnfloss_layout l = layout_of(1, WIDE, BNFLOSS_ACCUMULATE);
    const int32_t y = 3;
    float z[WIDE] = { 0 }, grad[WIDE];

    z[70] = 1;
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, NULL, NULL) == BNFLOSS_OK,
          "%s", isa);
    for (size_t k = 0; k < sizeof was / sizeof *was; k++) {
        for (int j = 0; j < WIDE; j++)
            memcpy(grad + j, was + k, sizeof *was);
        CHECK(bnfloss_backward(&l, z, &y, 0, 1, state, &one, grad, NULL)
              == BNFLOSS_OK, "%s", isa);
        for (int j = 0; j < WIDE; j++)
            CHECK(bits_of(grad[j]) == 0x7FC00000, "%s: %x at %d", isa,
                  bits_of(grad[j]), j);
    }
    l.logit_scale = 64;
    z[70] = 0.01f;
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, NULL, NULL) == BNFLOSS_OK,
          "%s", isa);
    for (int j = 0; j < WIDE; j++)
        grad[j] = j == y ? -inf : inf;
    CHECK(bnfloss_backward(&l, z, &y, 0, 1, state, &large, grad, NULL)
          == BNFLOSS_OK, "%s", isa);
    CHECK(bits_of(grad[y]) == 0x7FC00000 && bits_of(grad[70]) == 0x7FC00000,
          "%s: label %x, leader %x", isa, bits_of(grad[y]), bits_of(grad[70]));
}

/* Kept exponentials next to and exactly at the least that counts, 2^-123: the
 * stages' gradients, bit for bit, whether a float has room for the factor or
 * not. */
static void min_saved(const char *isa)
{
    enum { WIDE = 1024 };
    static float z[WIDE], staged[WIDE];
    const bnfloss_layout l = layout_of(1, WIDE, 0);
    const int32_t y = 7;
    bnfloss_spec s;

    bnfloss_spec_init(&s, sizeof s, BNFLOSS_SFT);
    for (int k = 0; k < 3; k++) {
        const float weight = k == 0 ? 1e33f : k == 1 ? 1 : 1e30f;
        bnfloss_inputs in;
        bnfloss_result r = result_of();
        float dlogp;
        int none = 0;

        EMPTY(in);
        in.row_weight = &weight;
        z[0] = -0x1.58634ep-4f;         /* -log(0x1.16747cp+0), or nearly */
        for (int j = 0; j < WIDE / 2; j++)
            z[0] = nextafterf(z[0], -1);
        for (int j = 1; j < WIDE; j++)
            z[j] = nextafterf(z[j - 1], 0);
        z[y] = 80;
        z[900] = 123 * 0x1.62e43p-1f;
        CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, NULL, NULL) == BNFLOSS_OK
              && bnfloss_loss(&s, &in, 1, state, NULL, NULL, &dlogp, NULL,
                              work, sizeof work, &r) == BNFLOSS_OK
              && bnfloss_backward(&l, z, &y, 0, 1, state, &dlogp, staged, NULL)
              == BNFLOSS_OK
              && bnfloss_run(&l, &s, &in, z, &y, z, NULL, work, sizeof work, 1,
                             &r) == BNFLOSS_OK, "%s", isa);
        CHECK(memcmp(z, staged, sizeof z) == 0, "%s, weight %g: other bits",
              isa, (double)weight);
        for (int j = 0; j < WIDE; j++)
            none += z[j] == 0;
        CHECK(none > 100 && none < WIDE - 100, "%s, weight %g: %d of %d are 0",
              isa, (double)weight, none, WIDE);
    }
}

/* The least normal number is a gradient of label and leader. */
static void min_gradient(const char *isa)
{
    static const float z[2] = { 1, 1 };
    const bnfloss_layout l = layout_of(1, 2, 0);
    const int32_t y = 0;

    for (int sign = -1; sign <= 1; sign += 2) {
        const float dlogp = (float)sign * 0x1p-125f;
        float grad[2];

        CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, NULL, NULL)
              == BNFLOSS_OK
              && bnfloss_backward(&l, z, &y, 0, 1, state, &dlogp, grad, NULL)
              == BNFLOSS_OK, "%s", isa);
        CHECK(grad[0] == dlogp / 2 && grad[1] == -dlogp / 2, "%s: %a and %a",
              isa, (double)grad[0], (double)grad[1]);
    }
}

/* Wide rows that are ignored are not read, by no thread. */
#ifdef HAVE_FORK
static void wide_unread(const char *isa)
{
    enum { ROWS = 2, WIDE = 4 * BNFLOSS_CHUNK };
    const size_t row = WIDE * sizeof(float);
    float *z = (float *)mmap(NULL, ROWS * row, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    float *grad = (float *)malloc(ROWS * row);
    const bnfloss_layout l = layout_of(ROWS, WIDE, 0);
    const int32_t y[ROWS] = { -100, 5 };
    bnfloss_result r = result_of();
    bnfloss_spec s;

    if (!CHECK(z != (float *)MAP_FAILED && grad, "no memory"))
        return;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_SFT);
    CHECK(mprotect(z, row, PROT_NONE) == 0, "mprotect");
    CHECK(bnfloss_run(&l, &s, NULL, z, y, grad, NULL, work, sizeof work, 4,
                      &r) == BNFLOSS_OK && r.tokens == 1, "%s", isa);
    CHECK(munmap(z, ROWS * row) == 0, "munmap");
    free(grad);
}
#endif

/* Few wide rows for many threads, of which some are not read: each is filled
 * to its end and no further, and has outputs of 0. */
static void few_ignored(const char *isa)
{
    enum { ROWS = 3, WIDE = 3 * BNFLOSS_CHUNK + 9 };
    const size_t row = WIDE * sizeof(float);
    float *z = (float *)malloc(ROWS * row);
    float *grad = (float *)malloc((ROWS + 1) * row);
    const bnfloss_layout l = layout_of(ROWS, WIDE, 0);
    const int32_t y[ROWS] = { -100, 5, -100 };
    float logp[ROWS] = { 7, 7, 7 };
    bnfloss_result r = result_of();
    bnfloss_outputs out;
    bnfloss_spec s;

    if (!CHECK(z && grad, "no memory"))
        return;
    EMPTY(out);
    out.logp = logp;
    for (int j = 0; j < ROWS * WIDE; j++)
        z[j] = (float)(j % 11);
    for (int j = 0; j < (ROWS + 1) * WIDE; j++)
        grad[j] = 7;
    memcpy(grad, z, ROWS * row);
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_SFT);
    CHECK(bnfloss_run(&l, &s, NULL, grad, y, grad, &out, work, sizeof work, 4,
                      &r) == BNFLOSS_OK && isfinite(r.loss), "%s", isa);
    for (int i = 0; i < ROWS; i++)
        CHECK(y[i] < 0 ? logp[i] == 0 : logp[i] < 0, "%s: row %d: logp %g",
              isa, i, (double)logp[i]);
    for (int j = 0; j < (ROWS + 1) * WIDE; j++) {
        const float g = grad[j];

        CHECK(j >= ROWS * WIDE ? g == 7
              : j / WIDE == 1 ? g != 0 && g < 1 : g == 0,
              "%s: column %d of row %d is %g", isa, j % WIDE, j / WIDE,
              (double)g);
    }
    free(z);
    free(grad);
}

/* A row of nine trees of chunks: the bits of its slices, of a tree each,
 * merged one by one. */
static void many_trees(const char *isa)
{
    enum { TREE = 1 << 19, TREES = 9, WIDE = TREES * TREE };
    float *z = (float *)malloc(WIDE * sizeof *z);
    bnfloss_layout l = layout_of(1, WIDE, BNFLOSS_ENTROPY);
    const int32_t y = 6 * TREE + 77;
    bnfloss_row whole, all, slice;
    rng r = { 13 };

    if (!CHECK(z != NULL, "no memory"))
        return;
    for (int64_t j = 0; j < WIDE; j++)
        z[j] = (float)(rng_below(&r, 4097) - 2048) / 512;
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, &whole, NULL, NULL) == BNFLOSS_OK,
          "%s", isa);
    l.vocab = TREE;
    l.vocab_total = WIDE;
    for (int t = 0; t < TREES; t++) {
        l.vocab_begin = (int64_t)t * TREE;
        CHECK(bnfloss_forward(&l, z + l.vocab_begin, &y, 0, 1,
                              t ? &slice : &all, NULL, NULL) == BNFLOSS_OK
              && (t == 0 || bnfloss_row_merge(1, &all, &slice, NULL)
                            == BNFLOSS_OK), "%s: tree %d", isa, t);
    }
    CHECK(memcmp(&whole, &all, sizeof whole) == 0, "%s: sum %a, of its trees "
          "%a", isa, whole.sum, all.sum);
    free(z);
}

/* A slice of the vocabulary that ends just before the label, or after it:
 * nothing is written behind it. */
static void label_in_next_group(const char *isa)
{
    bnfloss_layout left = layout_of(1, V, 0), right = layout_of(1, V, 0);
    float grad[V + 1];
    const float dlogp = -1;

    for (int32_t y = V - 1; y <= V; y++) {
        left.vocab_total = right.vocab_total = 2 * V;
        right.vocab_begin = V;
        grad[V] = 7;
        CHECK(bnfloss_forward(&left, logits, &y, 0, 1, state, NULL, NULL)
              == BNFLOSS_OK
              && bnfloss_forward(&right, logits + V, &y, 0, 1, ref_state, NULL,
                                 NULL) == BNFLOSS_OK
              && bnfloss_row_merge(1, state, ref_state, NULL) == BNFLOSS_OK
              && bnfloss_backward(&left, logits, &y, 0, 1, state, &dlogp,
                                  grad, NULL) == BNFLOSS_OK, "%s", isa);
        CHECK(grad[V] == 7, "%s: behind the slice: %g", isa, (double)grad[V]);
        CHECK((grad[V - 1] < 0) == (y == V - 1), "%s: its last column: %g",
              isa, (double)grad[V - 1]);
    }
}

/* A pair for more threads than rows, in two sweeps: the same as by one thread,
 * and nothing is written behind the second row. */
static void few_coupled(const char *isa)
{
    enum { WIDE = 3 * BNFLOSS_CHUNK + 9 };
    static const int64_t start[] = { 0, 1, 2 };
    static const float ref[] = { -1, -1 };
    const size_t row = WIDE * sizeof(float);
    float *z = (float *)malloc(2 * row), *grad = (float *)malloc(3 * row);
    float *single = (float *)malloc(2 * row);
    const bnfloss_layout l = layout_of(2, WIDE, 0);
    const int32_t y[2] = { 1, WIDE - 1 };
    bnfloss_result r = result_of();
    bnfloss_inputs in;
    bnfloss_spec s;

    if (!CHECK(z && grad && single, "no memory"))
        return;
    for (int j = 0; j < 2 * WIDE; j++)
        z[j] = (float)(j % 11);
    for (int j = 0; j < 3 * WIDE; j++)
        grad[j] = 7;
    EMPTY(in);
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = 2;
    in.seq_start = start;
    in.ref_logp = ref;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_DPO);
    memset(work, 0, sizeof work);           /* a state that would be written */
    CHECK(bnfloss_run(&l, &s, &in, z, y, grad, NULL, work, sizeof work, 4, &r)
                  == BNFLOSS_OK
              && bnfloss_run(&l, &s, &in, z, y, single, NULL, work,
                             sizeof work, 1, &r)
                     == BNFLOSS_OK
              && memcmp(grad, single, 2 * row) == 0,
          "%s", isa);
    for (int j = 0; j < 3 * WIDE; j++)
        CHECK((grad[j] == 7) == (j >= 2 * WIDE), "%s: column %d of row %d is "
              "%g", isa, j % WIDE, j / WIDE, (double)grad[j]);
    free(z);
    free(grad);
    free(single);
}

/* The columns behind a row that several threads share are 0, and those behind
 * them nobody's. */
static void padded_row(const char *isa)
{
    enum { WIDE = 2 * BNFLOSS_CHUNK + 3, COLS = WIDE + 5, ALL = COLS + 2 };
    float *z = (float *)malloc(ALL * sizeof *z);
    float *grad = (float *)malloc(ALL * sizeof *grad);
    bnfloss_layout l = layout_of(1, WIDE, 0);
    const int32_t y = WIDE - 1;
    bnfloss_result r = result_of();
    bnfloss_spec s;

    if (!CHECK(z && grad, "no memory"))
        return;
    for (int j = 0; j < ALL; j++) {
        z[j] = (float)(j % 7);
        grad[j] = 7;
    }
    l.grad_cols = COLS;
    l.grad_stride = ALL;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_SFT);
    CHECK(bnfloss_run(&l, &s, NULL, z, &y, grad, NULL, work, sizeof work, 4,
                      &r) == BNFLOSS_OK, "%s", isa);
    for (int j = WIDE; j < ALL; j++)
        CHECK(grad[j] == (j < COLS ? 0 : 7), "%s: column %d is %g", isa, j,
              (double)grad[j]);
    free(z);
    free(grad);
}

/* A child of a process that has used threads asks for threads, and gets its
 * parent's bits. It ends as programs do. */
static void after_fork(void)
{
#ifdef HAVE_FORK
    const bnfloss_layout l = layout_of(N, V, 0);
    bnfloss_result a = result_of(), b = result_of();
    bnfloss_spec s;
    int status = -1;
    pid_t child;

    bnfloss_spec_init(&s, sizeof s, BNFLOSS_SFT);
    CHECK(bnfloss_run(&l, &s, NULL, logits, labels, NULL, NULL, work,
                      sizeof work, 4, &a) == BNFLOSS_OK, "the parent");
    fflush(stdout);
    child = fork();
    if (child == 0) {
        alarm(60);                          /* a child that hangs is killed */
        exit(bnfloss_run(&l, &s, NULL, logits, labels, NULL, NULL, work,
                         sizeof work, 4, &b) != BNFLOSS_OK
             || b.loss != a.loss);
    }
    CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0,
          "the child ends with %d", status);
#else
    test_skip("a fork: no POSIX here");
#endif
}

/* The best instruction set is chosen by the first call, for good. */
static void chosen_once(void)
{
    const char *isa = bnfloss_isa();

    CHECK(strcmp(bnfloss_isa(), isa) == 0, "%s, then %s", isa, bnfloss_isa());
    CHECK(bnfloss_isa_select("auto") == BNFLOSS_OK
          && strcmp(bnfloss_isa(), isa) == 0, "auto is %s, not %s",
          bnfloss_isa(), isa);
}

int main(void)
{
    chosen_once();
    names();
    several_specs();
    FOR_EACH_ISA(isa) {
        for (uint64_t seed = 1; seed <= 20; seed++) {
            make(seed);
            shifts(isa);
        }
        many_chunks(isa);
        scaled_out(isa);
        late_leader(isa);
        nan_of_chunks(isa);
        hidden_by_nan(isa);
        steepest(isa, 0);
        steepest(isa, 0.125f);
        steep_and_smooth(isa);
        few_rows(isa, 50);
        few_rows(isa, 3 * BNFLOSS_CHUNK + 1);
        large_batches(isa);
        padded_row(isa);
        label_in_next_group(isa);
        few_coupled(isa);
        large_run(isa);
        as_sure(isa);
        entropy_taken(isa, V);
        entropy_taken(isa, 1);
        few_ignored(isa);
        many_trees(isa);
        nan_slice(isa);
        squares_upwards(isa);
        for (int n = V + 1; n <= 64; n++)
            round_factors(isa, n);
        masked_then_far(isa, 1000);
        masked_then_far(isa, -1000);
        masked_then_far(isa, 70000);
        min_gradient(isa);
        label_at_the_limit(isa);
        nan_accumulated(isa);
        leader_anywhere(isa);
        min_saved(isa);
        overtaken(isa, 1, 0, 0);
        overtaken(isa, 0.75f, 0, 0);
        overtaken(isa, 1, 1, 0);
        overtaken(isa, 1, 0, -65542);
        overtaken(isa, 1, 0, 65530);
#ifdef HAVE_FORK
        wide_unread(isa);
#endif
    }
    after_fork();
    sideless();
    kink(BNFLOSS_HINGE, 1);
    kink(BNFLOSS_SLIC, 1);
    no_penalty(-1, 50);
    no_penalty((float)-INFINITY, 0);
    empty_pair();
    no_shift();
    certain(0, -3);
    certain(0, (float)-INFINITY);
    certain(0.25f, -3);
    certain(0.25f, (float)-INFINITY);
    min_softcap();
    shift_ignored(0);
    shift_ignored(1);
    shift_overlaps();
    neighbours();
    min_and_max();
    result_in_outputs();
    later_rows();
    states_differ();
    metrics_of_two();
    leader_comes_first();
    no_more_than_asked();
    one_row();
    shifts_in_bounds();
    infinite_shift();
    rounding_restored();
    inputs_refused();
    plain_calls();
    nothing_asked();
    outputs_in_work();
    answers();
    single_outputs();
    for (int a = 0; a < 4; a++) {
        for (int b = a; b < 4; b++) {
            nan_pairs(BNFLOSS_DPO, 0, a, b);
            nan_pairs(BNFLOSS_DPO, BNFLOSS_WPO, a, b);
            nan_pairs(BNFLOSS_AOT, 0, a, b);
        }
    }
    return test_end();
}
