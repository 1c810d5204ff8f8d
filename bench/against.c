/* A few calls of the library, timed: against.py compiles this with the sources
 * of two commits and runs both in one process.
 *
 * SPDX-License-Identifier: MIT */
#include "bnfloss.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FORWARD, BACKWARD, RUN };

typedef struct timed_case {
    const char *name, *isa, *loss;
    int what, in_place;
    uint32_t type;
    int64_t V, N;
} timed_case;

static const timed_case cases[] = {
    { "SFT f32 in place", "auto", "sft", RUN, 1, BNFLOSS_F32, 128256, 32 },
    { "SFT f32 out of place", "auto", "sft", RUN, 0, BNFLOSS_F32, 32000, 64 },
    { "BNF f32 in place", "auto", "bnf", RUN, 1, BNFLOSS_F32, 128256, 32 },
    { "DPO f32 in place", "auto", "dpo", RUN, 1, BNFLOSS_F32, 128256, 32 },
    { "SFT bf16 in place", "auto", "sft", RUN, 1, BNFLOSS_BF16, 128256, 32 },
    { "SFT f16 in place", "auto", "sft", RUN, 1, BNFLOSS_F16, 128256, 32 },
    { "SFT f32, 2000 columns", "auto", "sft", RUN, 1, BNFLOSS_F32, 2000, 4096 },
    { "DPO f32, 256 columns", "auto", "dpo", RUN, 1, BNFLOSS_F32, 256, 32768 },
    { "forward f32", "auto", "sft", FORWARD, 1, BNFLOSS_F32, 32000, 64 },
    { "backward f32", "auto", "sft", BACKWARD, 0, BNFLOSS_F32, 32000, 64 },
    { "SFT f32, avx2", "avx2", "sft", RUN, 1, BNFLOSS_F32, 128256, 32 },
    { "SFT bf16, avx2", "avx2", "sft", RUN, 1, BNFLOSS_BF16, 128256, 32 },
    { "SFT f32, scalar", "scalar", "sft", RUN, 1, BNFLOSS_F32, 32000, 16 },
    { "SFT bf16, scalar", "scalar", "sft", RUN, 1, BNFLOSS_BF16, 32000, 16 }
};

#define EXPORT __attribute__((visibility("default")))

/* The name of a case; NULL beyond the last. */
EXPORT const char *against_name(int k);
/* Runs a case once and stores a number of its result in *found. Returns its
 * seconds; 0 if this CPU lacks the instruction set; less than 0 after an
 * error. */
EXPORT double against_time(int k, double *found);

const char *against_name(int k)
{
    return k >= 0 && k < (int)(sizeof cases / sizeof *cases) ? cases[k].name
                                                             : NULL;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Logits from -4 to 4 of any type, all different. f16 and bf16 alike are made of
 * bits that are numbers of this size in both. */
static void fill(const timed_case *c, void *logits, int32_t *labels)
{
    uint32_t x = 1;

    for (int64_t i = 0; i < c->N * c->V; i++) {
        x = x * 1664525 + 1013904223;
        if (c->type == BNFLOSS_F32)
            ((float *)logits)[i] = (float)(int32_t)x / 536870912.0f;
        else if (c->type == BNFLOSS_BF16)
            ((uint16_t *)logits)[i] = (uint16_t)((x >> 16 & 0x80FF) | 0x3F00);
        else
            ((uint16_t *)logits)[i] = (uint16_t)((x >> 16 & 0x87FF) | 0x3800);
    }
    for (int64_t i = 0; i < c->N; i++)
        labels[i] = (int32_t)(i * 7919 % c->V);
}

/* The first gradient or, of a forward pass, sum. */
static double first(const timed_case *c, const void *grad,
                    const bnfloss_row *state)
{
    const uint16_t *h = (const uint16_t *)grad;

    if (c->what == FORWARD)
        return state->sum;
    return c->type == BNFLOSS_F32 ? ((const float *)grad)[0] : h[0];
}

double against_time(int k, double *found)
{
    const timed_case *c = cases + k;
    const size_t bytes = (size_t)(c->N * c->V) * (c->type ? 2 : 4);
    int64_t start[5] = { 0, c->N / 4, c->N / 2, 3 * c->N / 4, c->N };
    void *logits = aligned_alloc(64, bytes + 64 - bytes % 64);
    void *other = c->in_place ? NULL
                              : aligned_alloc(64, bytes + 64 - bytes % 64);
    void *grad = c->in_place ? logits : other;
    int32_t *labels = malloc((size_t)c->N * sizeof *labels);
    float *ref = malloc((size_t)c->N * sizeof *ref);
    bnfloss_row *state = calloc((size_t)c->N, sizeof *state);
    bnfloss_layout layout;
    bnfloss_inputs inputs;
    bnfloss_result result;
    bnfloss_spec spec;
    bnfloss_status status = BNFLOSS_OK;
    uint64_t work_bytes = 0;
    void *work = NULL;
    double began, seconds = -1;

    *found = 0;
    if (bnfloss_isa_select(c->isa) != BNFLOSS_OK) {
        seconds = 0;
        goto end;
    }
    memset(&layout, 0, sizeof layout);
    layout.struct_size = sizeof layout;
    layout.logits_type = layout.grad_type = c->type;
    layout.rows = c->N;
    layout.vocab = c->V;
    memset(&inputs, 0, sizeof inputs);
    inputs.struct_size = sizeof inputs;
    inputs.sequences = 4;
    inputs.seq_start = start;
    inputs.pairing = BNFLOSS_PAIRS_ADJACENT;
    inputs.ref_logp = ref;
    memset(&result, 0, sizeof result);
    result.struct_size = sizeof result;
    for (int64_t i = 0; i < c->N; i++)
        ref[i] = -9;
    fill(c, logits, labels);
    if (other)
        memset(other, 0, bytes);
    bnfloss_spec_init(&spec, sizeof spec, bnfloss_kind_from_name(c->loss));
    if (bnfloss_workspace(&layout, &spec, 0, 4, &work_bytes) != BNFLOSS_OK)
        goto end;
    work = malloc((size_t)work_bytes);
    memset(work, 0, (size_t)work_bytes);        /* no page faults later */
    memset(state, 0, (size_t)c->N * sizeof *state);
    if (c->what == BACKWARD)
        status = bnfloss_forward(&layout, logits, labels, 0, c->N, state, NULL,
                                 NULL);
    began = now();
    if (c->what == RUN)
        status = bnfloss_run(&layout, &spec, &inputs, logits, labels, grad,
                             NULL, work, work_bytes, 1, &result);
    else if (c->what == FORWARD)
        status = bnfloss_forward(&layout, logits, labels, 0, c->N, state, NULL,
                                 NULL);
    else if (status == BNFLOSS_OK)
        status = bnfloss_backward(&layout, logits, labels, 0, c->N, state, ref,
                                  grad, NULL);
    if (status == BNFLOSS_OK)
        seconds = now() - began;
    *found = first(c, grad, state);
end:
    free(work);
    free(state);
    free(ref);
    free(labels);
    free(other);
    free(logits);
    return seconds;
}
