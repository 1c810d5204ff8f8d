/* One batch: logits like a model's, labels, and whatever a loss needs. */
#ifndef BENCH_BATCH_H
#define BENCH_BATCH_H

#include "bnfloss.h"
#include "memory.h"

#include <stddef.h>

/* An element type for the logits and one for the gradient. */
typedef struct dtype {
    const char *name;
    uint32_t logits, grad;
} dtype;

extern const dtype dtypes[];        /* ends with a NULL name */

size_t element_size(uint32_t type);
double element(uint32_t type, const void *p, int64_t i);

/* Every row is a sequence of its own; pairs are adjacent. All memory has been
 * touched, so that no page fault is timed. */
typedef struct batch {
    const dtype *type;
    int64_t N, V, S;
    int dirty;                      /* the logits have been overwritten */
    void *source, *logits;          /* (N,V); logits is refilled from source */
    void *grad;                     /* (N,V), or NULL */
    int32_t *label;                 /* (N) */
    float *ref, *dlogp, *value;     /* (N) */
    float *rest, *scale;            /* (N) */
    int64_t *start;                 /* (S+1) */
    bnfloss_row *state;             /* (N) */
    void *work;                     /* for so many threads */
    uint64_t work_bytes;
} batch;

batch batch_make(const dtype *type, int64_t N, int64_t V, int with_grad,
                 int threads, page_size pages);
void batch_free(batch *b);

/* The logits as they were, if they are not. */
void batch_refill(batch *b);

#endif
