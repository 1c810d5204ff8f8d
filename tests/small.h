/* A dozen rows of nine logits and what calls with them need, for tests that
 * say the rest themselves.
 *
 * SPDX-License-Identifier: MIT */
#ifndef SMALL_H
#define SMALL_H

#include "test.h"

#include <math.h>

enum { N = 12, V = 9, WORK = 1 << 14 };

static float logits[N * V];
static int32_t labels[N];
static bnfloss_row state[N];
static double work[WORK / 8];

static inline bnfloss_layout layout_of(int64_t rows, int64_t vocab,
                                       uint32_t flags)
{
    bnfloss_layout l;

    EMPTY(l);
    l.rows = rows;
    l.vocab = vocab;
    l.flags = flags;
    return l;
}

static inline bnfloss_result result_of(void)
{
    bnfloss_result r;

    EMPTY(r);
    return r;
}

static inline void make_small(uint64_t seed)
{
    rng r = { seed };

    for (int i = 0; i < N * V; i++)
        logits[i] = (float)rng_normal(&r) * 2;
    for (int i = 0; i < N; i++)
        labels[i] = (int32_t)rng_below(&r, V);
}

/* One loss of rows of given log-probabilities. Returns the status. */
static inline bnfloss_status small_loss(const bnfloss_spec *spec,
                                        const bnfloss_inputs *in, int64_t rows,
                                        const float *logp, const float *rest,
                                        float *dlogp, bnfloss_result *r)
{
    return bnfloss_loss(spec, in, rows, NULL, logp, rest, dlogp, NULL, work,
                        sizeof work, r);
}

/* All rows as one pair, or of one token each. */
static inline bnfloss_inputs all_as_pair(void)
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

static inline bnfloss_inputs one_token_each(int64_t sequences,
                                            uint32_t pairing)
{
    static const int64_t start[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 };
    bnfloss_inputs in;

    EMPTY(in);
    in.pairing = pairing;
    in.sequences = sequences;
    in.seq_start = start;
    return in;
}

#endif /* SMALL_H */
