/* One step, one measurement, one sample: what every method shares. Every loss
 * and every log-probability comes from bnfloss. */
#ifndef ALIGN_TRAIN_H
#define ALIGN_TRAIN_H

#include "bnfloss.h"
#include "data.h"
#include "model.h"

enum { WINDOW = 97 };          /* bytes of neutral text in one sequence */

struct trainer {
    struct model *model;
    struct batch *batch;       /* the batch under way */
    struct model *reference;   /* KTO only, else NULL: not trained any more */
    struct batch *mismatched;  /*   and the batch's answers to other prompts */
    void *work;                /* bnfloss's, grown as needed */
    uint64_t work_bytes;
};

/* What held-out data say about the model. Log-likelihoods are in nats per
 * byte: the mean over answers of (1/n) sum logp. */
struct measure {
    double accuracy;           /* share of pairs where the chosen answer has
                                  the higher sum of logp; a tie is a half */
    double accuracy_mean;      /* the same by logp per byte */
    double logp[2];            /* chosen, rejected */
    double perplexity;         /* per byte of neutral text */
};

void trainer_free(struct trainer *trainer);

/* Forward, loss, backward and AdamW on trainer->batch. The gradient takes the
 * logits' place. result holds what the step before left there, or zeros: BCO
 * goes on from it. Exits with a message that names the phase and the step
 * where the loss or the gradient is not finite. */
void train_step(struct trainer *trainer, const bnfloss_spec *spec, double lr,
                const char *phase, int step, bnfloss_result *result);

/* For each sequence of trainer->mismatched, the sum of logp - the reference's:
 * what KTO's kl is the mean of. */
void mismatched_ratios(struct trainer *trainer, double *ratio);

/* Measures on the held-out part of both. */
void measure(struct trainer *trainer, const struct pairs *pairs,
             const struct text *text, struct measure *result);

/* Stores this model's logp of every answer in pair.ref: DPO and BNF compare
 * with it, and it never changes. */
void cache_reference(struct trainer *trainer, struct pairs *pairs);

/* Continues a prompt; temperature 0 takes the likeliest byte each time. out
 * (MOST_BYTES + 1) becomes printable text. */
void sample(struct trainer *trainer, const char *prompt, double temperature,
            uint64_t seed, char *out);

#endif
