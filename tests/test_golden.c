/* The library against an implementation that shares nothing with it: PyTorch
 * autograd in float64, written from the papers (recipes/golden.py).
 *
 * SPDX-License-Identifier: MIT */
#include "golden.h"
#include "test.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))
#define U 0x1p-24

enum { CASES = COUNT(goldens), MAX = 64 };      /* rows, sequences at most */

/* Where the next case's numbers are in the arrays of golden.h. */
typedef struct place {
    const int16_t *input;
    const double *mismatched, *answer;
    const int8_t *label, *length, *side;
    const bnfloss_spec *spec;
} place;

/* A case in the library's terms. */
typedef struct call {
    float z[GOLDEN_MAX], ref[MAX], weight[MAX], seq_weight[MAX];
    float pair_weight[MAX], scale[MAX], margin[MAX], soft[MAX];
    float distance[MAX];
    uint8_t mask[MAX];
    int32_t labels[MAX];
    int64_t start[MAX + 1];
    bnfloss_layout layout;
    bnfloss_inputs in;
} call;

/* What came back. */
typedef struct answers {
    float grad[GOLDEN_MAX], dlogp[MAX], row_scale[MAX];
    float distance_grad[MAX];
    double seq_ratio[MAX], seq_loss[MAX], spec_loss[16];
    bnfloss_result r;
} answers;

static int near(double got, double want, double tolerance)
{
    return fabs(got - want) <= tolerance;
}

static int close(double got, double want)
{
    return near(got, want, 1e-7 * (1 + fabs(want)));
}

/* n numbers, which are kept in 64ths. */
static const float *numbers(place *p, float *to, int n)
{
    for (int k = 0; k < n; k++, p->input++)
        to[k] = *p->input == MASKED ? -HUGE_VALF
                                    : (float)*p->input / 64.0f;
    return to;
}

static const float *given(place *p, float *to, int n, int has)
{
    return has ? numbers(p, to, n) : NULL;
}

static void read_inputs(const golden *g, place *p, call *c)
{
    bnfloss_inputs *in = &c->in;
    const int pairs = g->s / 2;

    in->struct_size = sizeof *in;
    in->pairing = (uint32_t)g->pairing;
    in->sequences = g->s;
    in->seq_start = c->start;
    in->side = p->side;
    numbers(p, c->z, g->n * g->v);
    in->ref_logp = numbers(p, c->ref, g->n);
    in->row_weight = given(p, c->weight, g->n, g->has & HAS_ROW_WEIGHT);
    in->seq_weight = given(p, c->seq_weight, g->s, g->has & HAS_SEQ_WEIGHT);
    in->pair_weight = given(p, c->pair_weight, pairs,
                            g->has & HAS_PAIR_WEIGHT);
    in->pair_scale = given(p, c->scale, pairs, g->has & HAS_PAIR_SCALE);
    in->pair_margin = given(p, c->margin, pairs, g->has & HAS_PAIR_MARGIN);
    in->soft_label = given(p, c->soft, pairs, g->has & HAS_SOFT_LABEL);
    in->distance = given(p, c->distance, g->s, g->has & HAS_DISTANCE);
    if (g->has & HAS_ROW_MASK) {
        for (int i = 0; i < g->n; i++)
            c->mask[i] = *p->input++ != 0;
        in->row_mask = c->mask;
    }
    in->mismatched = g->mismatches > 0 ? p->mismatched : NULL;
    in->mismatches = g->mismatches;
    in->kl = g->kl;
    in->shift_mean = g->shift_mean;
    in->shift_count = g->shift_count;
}

static void read_call(const golden *g, place *p, call *c)
{
    memset(c, 0, sizeof *c);
    c->layout = (bnfloss_layout){ .struct_size = sizeof c->layout,
        .flags = BNFLOSS_ENTROPY | BNFLOSS_MEAN, .logit_scale = g->scale,
        .softcap = g->softcap, .label_smoothing = g->smoothing,
        .z_loss = g->z_loss, .rows = g->n, .vocab = g->v };
    read_inputs(g, p, c);
    for (int i = 0; i < g->n; i++)
        c->labels[i] = *p->label++;
    for (int s = 0; s < g->s; s++)
        c->start[s + 1] = c->start[s] + *p->length++;
    p->side += g->s;
    p->mismatched += g->mismatches;
}

static bnfloss_status run(const golden *g, const bnfloss_spec *spec,
                          const call *c, answers *a)
{
    static uint64_t work[4096];
    bnfloss_outputs out = { .struct_size = sizeof out, .dlogp = a->dlogp,
        .seq_ratio = a->seq_ratio,
        .seq_loss = g->specs == 1 ? a->seq_loss : NULL,
        .spec_loss = a->spec_loss,
        .distance_grad = g->has & HAS_DISTANCE ? a->distance_grad : NULL,
        .row_scale = spec->flags & BNFLOSS_DEFER_SCALE ? a->row_scale
                                                       : NULL };

    a->r.struct_size = sizeof a->r;
    return bnfloss_run(&c->layout, spec, &c->in, c->z, c->labels, a->grad,
                       &out, work, sizeof work, 1, &a->r);
}

static void check_metrics(const golden *g, const bnfloss_spec *spec,
                          const bnfloss_result *r)
{
    static const char *const names[GOLDEN_METRICS] = {
        "rewards_chosen", "rewards_rejected", "rewards_margins",
        "rewards_accuracies", "logps_chosen", "logps_rejected",
        "logps_mean_chosen", "logps_mean_rejected", "logits_chosen",
        "logits_rejected", "entropy", "token_accuracy", "z_loss", "sft_loss",
        "bnf_coefficient", "bnf_full_share", "kl", "shift", "shift_count"
    };
    const double got[GOLDEN_METRICS] = {
        r->rewards_chosen, r->rewards_rejected, r->rewards_margins,
        r->rewards_accuracies, r->logps_chosen, r->logps_rejected,
        r->logps_mean_chosen, r->logps_mean_rejected, r->logits_chosen,
        r->logits_rejected, r->entropy, r->token_accuracy, r->z_loss,
        r->sft_loss, r->bnf_coefficient, r->bnf_full_share, r->kl, r->shift,
        r->shift_count
    };

    for (int k = 0; k < GOLDEN_METRICS; k++) {
        const double want = g->metrics[k];
        const int none = want > NONE / 2;
        /* with eps no share of g = 1 is golden */
        const int open = spec->eps > 0 && !strcmp(names[k], "bnf_full_share");

        CHECK(none ? got[k] != got[k] || open : close(got[k], want),
              "%s: %s is %.9g, not %.9g", g->name, names[k], got[k], want);
    }
    CHECK(r->tokens == g->tokens && r->sequences == g->sequences
          && r->pairs == g->pairs && r->empty_sequences == g->s - g->sequences
          && r->divisor == g->divisor && r->nan_rows == 0
          && r->nan_pairs == 0, "%s: counts", g->name);
    CHECK(r->skipped_pairs == (g->pairing ? g->s / 2 - g->pairs : 0),
          "%s: %d pairs skipped", g->name, (int)r->skipped_pairs);
}

/* The gradient, which lacks the factor row_scale where that is not NULL. */
static void check_rows(const golden *g, const char *isa, const double *want,
                       const double *dlogp, const answers *a,
                       const float *row_scale)
{
    for (int i = 0; i < g->n; i++) {
        const double d = dlogp[i], factor = row_scale ? (double)row_scale[i]
                                                      : 1;
        const double size = fabs(d) * (g->scale > 0 ? (double)g->scale : 1)
                            * (4 + (double)g->softcap) * U
                            * (1 + 20 * (double)g->z_loss);

        CHECK(near((double)a->dlogp[i], d, fabs(d) * (4 + (double)g->softcap)
                   * U), "%s, %s: dlogp of row %d is %.9g, not %.9g", isa,
              g->name, i, (double)a->dlogp[i], d);
        for (int k = i * g->v; k < (i + 1) * g->v; k++)
            CHECK(near((double)a->grad[k] * factor, want[k], size),
                  "%s, %s: gradient %d,%d is %.9g, not %.9g%s", isa, g->name,
                  i, k - i * g->v, (double)a->grad[k] * factor, want[k],
                  row_scale ? ", scale deferred" : "");
    }
}

/* What a loss of one spec says of its pairs or sequences, and each spec's. */
static void check_parts(const golden *g, const char *isa,
                        const bnfloss_spec *spec, place *p, const answers *a)
{
    const int parts = spec->sft_norm ? g->s / 2 : g->s;     /* pairs have it */

    for (int k = 0; k < g->s; k++, p->answer++)
        CHECK(close(a->seq_ratio[k], *p->answer),
              "%s, %s: seq_ratio %d is %.9g, not %.9g", isa, g->name, k,
              a->seq_ratio[k], *p->answer);
    for (int k = 0; g->specs == 1 && k < parts; k++, p->answer++)
        CHECK(close(a->seq_loss[k], *p->answer),
              "%s, %s: seq_loss %d is %.9g, not %.9g", isa, g->name, k,
              a->seq_loss[k], *p->answer);
    for (int k = 0; g->has & HAS_DISTANCE && k < g->s; k++, p->answer++)
        CHECK(near((double)a->distance_grad[k], *p->answer,
                   fabs(*p->answer) * 4 * U),
              "%s, %s: distance_grad %d is %.9g, not %.9g", isa, g->name, k,
              (double)a->distance_grad[k], *p->answer);
    for (int k = 0; k < g->specs; k++, p->answer++)
        CHECK(close(a->spec_loss[k], *p->answer),
              "%s, %s: spec_loss %d is %.9g, not %.9g", isa, g->name, k,
              a->spec_loss[k], *p->answer);
}

/* SFT terms do not go with a deferred scale where token weights do. */
static int can_defer(const bnfloss_spec *spec)
{
    return spec->also == 0
           && !(spec->sft_weight > 0 && (spec->kind == BNFLOSS_BMC
                                         || spec->ld_alpha < 1));
}

static void one(const golden *g, const char *isa, place *p)
{
    static call c;
    static answers a;
    const double *grad = p->answer, *dlogp = grad + g->n * g->v;
    bnfloss_spec spec = *p->spec;
    bnfloss_status status;

    read_call(g, p, &c);
    memset(&a, 0, sizeof a);
    status = run(g, p->spec, &c, &a);
    p->answer = dlogp + g->n;
    if (CHECK(status == BNFLOSS_OK, "%s: %s", g->name,
              bnfloss_status_string(status))) {
        CHECK(close(a.r.loss, g->loss), "%s, %s: loss %.9g, not %.9g", isa,
              g->name, a.r.loss, g->loss);
        check_metrics(g, p->spec, &a.r);
        check_rows(g, isa, grad, dlogp, &a, NULL);
    }
    check_parts(g, isa, p->spec, p, &a);
    if (can_defer(&spec)) {
        spec.flags |= BNFLOSS_DEFER_SCALE;
        status = run(g, &spec, &c, &a);
        if (CHECK(status == BNFLOSS_OK, "%s, scale deferred: %s", g->name,
                  bnfloss_status_string(status)))
            check_rows(g, isa, grad, dlogp, &a, a.row_scale);
    }
    p->spec += g->specs;
}

/* bnfloss_spec_init() and the recipe read the same manual. */
static void check_defaults(void)
{
    const uint32_t kinds = COUNT(golden_defaults);

    CHECK(!bnfloss_kind_name(kinds + 1), "golden.h has no %s: it is made by "
          "tests/recipes/golden.py", bnfloss_kind_name(kinds + 1));
    for (uint32_t kind = 1; kind <= kinds; kind++) {
        const unsigned char *want =
            (const unsigned char *)(golden_defaults + kind - 1);
        unsigned char got[sizeof(bnfloss_spec)];
        bnfloss_spec spec;

        memset(&spec, 0xa5, sizeof spec);
        bnfloss_spec_init(&spec, sizeof spec, kind);
        memcpy(got, &spec, sizeof spec);
        for (size_t k = 0; k < sizeof spec; k += 4)
            CHECK(memcmp(got + k, want + k, 4) == 0,
                  "defaults of kind %d differ at byte %d", (int)kind, (int)k);
    }
}

int main(void)
{
    check_defaults();
    CHECK(CASES >= 380, "only %d cases", (int)CASES);
    FOR_EACH_ISA(isa) {
        place p = { golden_inputs, golden_mismatched, golden_answers,
            golden_labels, golden_lengths, golden_sides, golden_specs };

        for (int k = 0; k < CASES; k++)
            one(goldens + k, isa, &p);
        CHECK(p.input == golden_inputs + COUNT(golden_inputs)
              && p.answer == golden_answers + COUNT(golden_answers)
              && p.label == golden_labels + COUNT(golden_labels)
              && p.spec == golden_specs + COUNT(golden_specs),
              "the recipe and its reader disagree");
    }
    return test_end();
}
