/* The loops that everyone writes first: SFT, BNF and DPO on float logits with
 * libm, softmax stored in place, one pass for each step. The baseline. */
#ifndef BENCH_TEXTBOOK_H
#define BENCH_TEXTBOOK_H

#include <stdint.h>

/* Overwrites rows [from, to) of z (N,V) by the gradient of the mean loss over
 * N rows; ref NULL: SFT; else BNF with every other row dispreferred, each a
 * sequence of its own. Writes each row's dlogp and value. */
void textbook_rows(float *z, const int32_t *label, const float *ref,
                   float *dlogp, float *value, int64_t from, int64_t to,
                   int64_t N, int64_t V);

/* DPO, whose rows depend on each other: first all rows' softmax and logp,
 * then the pairs (0,1), (2,3).., then all rows' gradient. */
void textbook_softmax(float *z, const int32_t *label, float *logp,
                      int64_t from, int64_t to, int64_t V);
void textbook_pairs(const float *logp, const float *ref, float beta,
                    float *dlogp, float *value, int64_t N);
void textbook_gradient(float *p, const int32_t *label, const float *dlogp,
                       int64_t from, int64_t to, int64_t V);

#endif
