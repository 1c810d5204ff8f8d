/* The library against an implementation that shares nothing with it: PyTorch
 * autograd in float64, written from the papers (recipes/golden.py).
 *
 * SPDX-License-Identifier: MIT */
#include "golden.h"
#include "test.h"

#include <math.h>

enum { CASES = sizeof goldens / sizeof *goldens, MOST = 128 };

#define U 0x1p-24

static int near(double got, double want, double tolerance)
{
    return fabs(got - want) <= tolerance;
}

static void metrics(const golden *g, const bnfloss_result *r)
{
    static const char *const names[GOLDEN_METRICS] = {
        "rewards_chosen", "rewards_rejected", "rewards_margins",
        "rewards_accuracies", "logps_chosen", "logps_rejected", "entropy",
        "token_accuracy", "bnf_coefficient", "bnf_full_share"
    };
    const double got[GOLDEN_METRICS] = {
        r->rewards_chosen, r->rewards_rejected, r->rewards_margins,
        r->rewards_accuracies, r->logps_chosen, r->logps_rejected, r->entropy,
        r->token_accuracy, r->bnf_coefficient, r->bnf_full_share
    };

    for (int k = 0; k < GOLDEN_METRICS; k++) {
        const double want = g->metrics[k];
        const int none = want > NONE / 2;
        /* what does not apply is NaN; with eps no share of g = 1 is golden */
        const int open = k == 9 && g->eps > 0;

        CHECK(none ? got[k] != got[k] || open
                   : near(got[k], want, 1e-6 * (1 + fabs(want))),
              "%s: %s is %.9g, not %.9g", g->name, names[k], got[k], want);
    }
    CHECK(r->tokens == g->tokens && r->sequences == g->sequences
          && r->pairs == g->pairs && r->empty_sequences == g->s - g->sequences
          && r->divisor == g->divided_by && r->nan_rows == 0
          && r->nan_pairs == 0, "%s: counts", g->name);
}

static void one(const golden *g, const char *isa)
{
    static uint64_t work[4096];
    const double *want = golden_grad + g->at_logits;
    float z[MOST], grad[MOST], dlogp[MOST];
    bnfloss_layout l = { .struct_size = sizeof l, .flags = BNFLOSS_ENTROPY,
        .logit_scale = g->scale, .softcap = g->softcap,
        .label_smoothing = g->smoothing, .z_loss = g->z_loss,
        .rows = g->n, .vocab = g->v };
    bnfloss_inputs in = { .struct_size = sizeof in, .pairing = g->pairing,
        .sequences = g->s, .seq_start = golden_start + g->at_start,
        .side = golden_side + g->at_side, .ref_logp = golden_ref + g->at_row,
        .row_weight = golden_weight + g->at_row };
    bnfloss_outputs out = { .struct_size = sizeof out, .dlogp = dlogp };
    bnfloss_result r = { .struct_size = sizeof r };
    bnfloss_status status;
    bnfloss_spec spec;

    for (int64_t k = 0; k < g->n * g->v; k++) {
        z[k] = golden_logits[g->at_logits + k];
        if (z[k] == MASKED)
            z[k] = -HUGE_VALF;
    }
    bnfloss_spec_init(&spec, g->kind);
    spec.token_norm = g->norm;
    spec.divisor = g->divisor;
    spec.flags = g->dft ? BNFLOSS_DFT : 0;
    spec.beta = g->beta;
    spec.flip_prob = g->flip;
    spec.eps = g->eps;
    spec.divisor_value = g->given;
    spec.loss_scale = g->loss_scale;
    status = bnfloss_run(&l, &spec, &in, z, golden_labels + g->at_row, grad,
                         &out, work, sizeof work, 1, &r);
    if (!CHECK(status == BNFLOSS_OK, "%s: %s", g->name,
               bnfloss_status_string(status)))
        return;
    CHECK(near(r.loss, g->loss, 1e-6 * (1 + fabs(g->loss))),
          "%s, %s: loss %.9g, not %.9g", isa, g->name, r.loss, g->loss);
    metrics(g, &r);
    for (int64_t i = 0; i < g->n; i++) {
        const double d = golden_dlogp[g->at_row + i];
        const double size = fabs(d) * (g->scale > 0 ? (double)g->scale : 1)
                            * (8 + (double)g->softcap) * U
                            * (1 + 20 * (double)g->z_loss);

        CHECK(near((double)dlogp[i], d, fabs(d) * (8 + (double)g->softcap)
                   * U), "%s, %s: dlogp of row %d is %.9g, not %.9g", isa,
              g->name, (int)i, (double)dlogp[i], d);
        for (int64_t k = 0; k < g->v; k++)
            CHECK(near((double)grad[i * g->v + k], want[i * g->v + k], size),
                  "%s, %s: gradient (%d,%d) is %.9g, not %.9g", isa, g->name,
                  (int)i, (int)k, (double)grad[i * g->v + k],
                  want[i * g->v + k]);
    }
}

int main(void)
{
    CHECK(CASES >= 40, "only %d cases", (int)CASES);
    FOR_EACH_ISA(isa)
        for (int k = 0; k < CASES; k++)
            one(goldens + k, isa);
    return test_end();
}
