/* The stages one by one: forward, a loss, backward, and how labels shift.
 *
 * The model has read tokens 0 .. T-1; its row t is the guess at token t+1.
 * The library takes labels as they are, so the shift happens here, and the
 * last row, which nothing follows, gets the label -1.
 *
 * The first loss is one of our own, which the library does not have: the
 * mean unlikelihood -log(1 - p) of tokens that should not be repeated
 * (arXiv 1908.04319). All that backward needs of it is one number per row,
 *     dlogp = dL/dlogp = p / (1 - p) / count.
 * The second is the library's SFT, on the same row states: the logits are
 * not read again until its backward. */
#include "bnfloss.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { T = 6, V = 5 };                  /* tokens (so rows), vocabulary */

static void check(bnfloss_status status, const char *stage)
{
    if (status == BNFLOSS_OK)
        return;
    fprintf(stderr, "%s: %s\n", stage, bnfloss_status_string(status));
    exit(1);
}

/* Its loss from logp (T), and dlogp (T); a repeat is a label seen before. */
static double unlikelihood(const int32_t *label, const float *logp,
                           float *dlogp)
{
    double loss = 0;
    int count = 0;

    for (int t = 0; t < T; t++) {
        int repeats = 0;

        for (int s = 0; s < t && label[t] >= 0; s++)
            repeats |= label[s] == label[t];
        dlogp[t] = repeats ? expf(logp[t]) / (1 - expf(logp[t])) : 0;
        loss -= repeats ? log(1 - exp(logp[t])) : 0;
        count += repeats;
    }
    for (int t = 0; t < T && count > 0; t++)
        dlogp[t] /= (float)count;
    return count > 0 ? loss / count : 0;
}

static void show(const char *name, double loss, const float *grad)
{
    printf("%s: loss %.6f\n", name, loss);
    for (int t = 0; t < T; t++, grad += V)
        printf("%9.6f %9.6f %9.6f %9.6f %9.6f\n", grad[0], grad[1], grad[2],
               grad[3], grad[4]);
}

int main(void)
{
    const int32_t token[T] = { 3, 1, 4, 1, 0, 4 };
    float logits[T * V], grad[T * V], logp[T], dlogp[T];
    int32_t label[T];
    bnfloss_row state[T];
    bnfloss_layout layout = {
        .struct_size = sizeof layout, .rows = T, .vocab = V };
    bnfloss_outputs outputs = { .struct_size = sizeof outputs, .logp = logp };
    bnfloss_result result = { .struct_size = sizeof result };
    bnfloss_spec spec;
    uint64_t bytes;
    void *work;

    for (int i = 0; i < T * V; i++)     /* stands for a model */
        logits[i] = (float)(i * 7 % 11) / 4;
    for (int t = 0; t < T; t++)         /* the shift by one */
        label[t] = t + 1 < T ? token[t + 1] : -1;

    check(bnfloss_forward(&layout, logits, label, 0, T, state, &outputs,
                          &result), "forward");

    const double loss = unlikelihood(label, logp, dlogp);
    check(bnfloss_backward(&layout, logits, label, 0, T, state, dlogp, grad,
                           &result), "backward");
    show("unlikelihood", loss, grad);

    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    check(bnfloss_workspace(NULL, &spec, T, 0, &bytes), "workspace");
    work = malloc(bytes);
    check(bnfloss_loss(&spec, NULL, T, state, NULL, NULL, dlogp, NULL, work,
                       bytes, &result), "loss");
    free(work);
    const double sft = result.loss;
    check(bnfloss_backward(&layout, logits, label, 0, T, state, dlogp, logits,
                           &result), "backward");
    show("sft", sft, logits);           /* in place: logits are gone now */
    return 0;
}
