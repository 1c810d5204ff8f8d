/* The shortest use: BNF's loss and gradient for one preferred and one
 * dispreferred answer.
 *
 *     cc -O2 -Iinclude examples/minimal.c && ./a.out
 */
#define BNFLOSS_IMPLEMENTATION          /* or link the library instead */
#include "bnfloss.h"

#include <stdio.h>
#include <stdlib.h>

enum { N = 5, V = 4, S = 2 };           /* rows, vocabulary, sequences */

int main(void)
{
    float logits[N * V] = {             /* (N,V) from your model */
        2, 1, 0, 0,   0, 2, 1, 0,   1, 0, 0, 1,     /* preferred */
        1, 1, 0, 2,   0, 1, 2, 0 };                 /* dispreferred */
    const int32_t labels[N] = { 0, 1, 3,   3, 2 };  /* (N) the next tokens */
    const float ref_logp[N] = { -0.7f, -0.4f, -1.0f,   -0.5f, -0.9f };
    const int64_t seq_start[S + 1] = { 0, 3, 5 };   /* rows 0-2, rows 3-4 */
    const int8_t side[S] = { +1, -1 };

    bnfloss_layout layout = {
        .struct_size = sizeof layout, .rows = N, .vocab = V };
    bnfloss_inputs inputs = {
        .struct_size = sizeof inputs, .sequences = S,
        .seq_start = seq_start, .side = side, .ref_logp = ref_logp };
    bnfloss_result result = { .struct_size = sizeof result };
    bnfloss_spec spec;
    bnfloss_status status;
    uint64_t bytes = 0;
    void *work;

    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_BNF);
    bnfloss_workspace(&layout, &spec, 0, S, &bytes);
    work = malloc(bytes);
    status = bnfloss_run(&layout, &spec, &inputs, logits, labels,
                         logits,        /* the gradient, in place */
                         NULL, work, bytes, 0, &result);
    free(work);

    printf("%s: loss %.6f\n", bnfloss_status_string(status), result.loss);
    for (int i = 0; i < N; i++)
        printf("%9.6f %9.6f %9.6f %9.6f\n", logits[i * V], logits[i * V + 1],
               logits[i * V + 2], logits[i * V + 3]);
    return status != BNFLOSS_OK;
}
