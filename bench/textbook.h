/* The loop that everyone writes first: SFT and BNF on float logits with libm,
 * softmax stored in place, one pass for each step. The table's baseline. */
#ifndef BENCH_TEXTBOOK_H
#define BENCH_TEXTBOOK_H

#include <stdint.h>

/* Overwrites rows [from, to) of z (N,V) by the gradient of the mean loss over
 * N rows; ref NULL: SFT; else BNF with every row a preferred sequence of its
 * own. Writes each row's dlogp; returns the sum of their values. */
double textbook_rows(float *z, const int32_t *label, const float *ref,
                     float *dlogp, int64_t from, int64_t to, int64_t N,
                     int64_t V);

#endif
