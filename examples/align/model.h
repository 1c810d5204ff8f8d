/* A small causal transformer over bytes, with its backward pass and AdamW.
 *
 * S sequences of any lengths lie packed, one after the other, as N rows. Pre-
 * norm blocks; no biases; squared ReLU; attention heads of 32 channels that
 * prefer near rows by a slope of their own (ALiBi) instead of position
 * embeddings. A row's input is the sum of four table entries, for its own
 * byte and the three before: what a first layer would otherwise spend its
 * time learning.
 *
 * The batch is cut into SHARDS runs of whole sequences, whatever the number
 * of threads, and their gradients are added in order: results do not depend
 * on the threads. */
#ifndef ALIGN_MODEL_H
#define ALIGN_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

enum { HEAD = 32, TABLES = 4, SHARDS = 8, MAX_LAYERS = 4 };

/* What the model eats. S sequences; sequence s owns the rows start[s] ..
 * start[s+1] - 1. label[n] is the byte that row n should predict, or -1.
 * ref (N) is the reference's logp of each label; the model ignores it. */
struct batch {
    int S;
    int64_t *start;        /* (S+1) */
    uint8_t *token;        /* (N) */
    int32_t *label;        /* (N) */
    float *ref;            /* (N) */
};

/* Every weight is a part of one array: first the tables (TABLES,V,C), then
 * these. */
struct tensors {
    float *gain;           /* (C) */
    float *head;           /* (C,V) */
    struct {
        float *gain1;      /* (C) */
        float *qkv;        /* (C,3C) */
        float *out;        /* (C,C) */
        float *gain2;      /* (C) */
        float *up;         /* (C,4C) */
        float *down;       /* (4C,C) */
    } layer[MAX_LAYERS];
};

struct shard;

struct model {
    int L, C, V;           /* layers, channels, vocabulary: multiples of 32 */
    size_t count, tables;  /* weights, and how many of them are tables' */
    float *w, *g, *m, *v;  /* (count) weights, gradient, AdamW's moments */
    struct tensors W;      /* the parts of w, and each matrix among them */
    struct tensors turned; /*   transposed, for the way back */
    int64_t steps;         /* AdamW steps taken since the last load */
    float *logits;         /* (N,V); on the way back, their gradient */
    float *dx;             /* (N,C) */
    size_t rows;           /* room in logits and dx */
    int threads;
    struct shard *shard;   /* (SHARDS) */
    const struct kernels *k;
};

/* Weights drawn from the seed. This and model_forward() exit with a message
 * if memory is short. */
struct model *model_new(int L, int C, int V, int threads, uint64_t seed);
void model_free(struct model *model);

/* Takes weights (count) over, unless NULL, and forgets AdamW's moments. */
void model_load(struct model *model, const float *weights);

/* Fills model->logits. */
void model_forward(struct model *model, const struct batch *batch);

/* Turns model->logits, which hold a gradient now, into model->g. Needs the
 * batch of the last model_forward(). */
void model_backward(struct model *model, const struct batch *batch);

/* One AdamW step along model->g, clipped to length 1. Returns the gradient's
 * length; if that is not finite, no weight has changed. */
double model_step(struct model *model, double lr);

/* A generator of random numbers: 64 bits, and a float in [0,1). */
uint64_t random_bits(uint64_t *state);
double random_unit(uint64_t *state);

#endif
