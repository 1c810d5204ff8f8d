/* Neutral text, preference pairs, and the batches made of them.
 *
 * A byte 0 marks where a document begins and ends; no input may hold one. A
 * prompt and an answer become
 *
 *     token  0  p r o m p t \n  a n s w e r
 *     label  .  . . . . . .  a  n s w e r 0
 *
 * where a dot is label -1, and the shift by one has been made. */
#ifndef ALIGN_DATA_H
#define ALIGN_DATA_H

#include <stddef.h>

#include "model.h"

enum { MOST_BYTES = 512 };     /* of a prompt and one answer together */

struct text {
    uint8_t *bytes;
    size_t n, held;            /* all, and the first of the held-out bytes */
};

/* side 0 is the chosen answer, side 1 the rejected one. */
struct pair {
    char *prompt, *answer[2];
    int prompt_bytes, bytes[2];
    float *ref[2];             /* (bytes + 1) the reference's logp */
};

struct pairs {
    struct pair *pair;
    int n, held;               /* all, and the first of the held-out ones */
};

/* Every reader says what is wrong as FILE:LINE: MESSAGE and exits with 1.
 * The last tenth of a text and the last fifth of the pairs are held out; the
 * cut between pairs moves on until the prompt changes. */
void read_text(struct text *text, const char *file);
void read_pairs(struct pairs *pairs, const char *file);
void free_data(struct text *text, struct pairs *pairs);

/* Room for sequences grows as they are added. */
struct batch *batch_new(void);
void batch_free(struct batch *batch);
void batch_clear(struct batch *batch);

/* Adds n bytes of text as one sequence: row i predicts the byte after i. */
void batch_text(struct batch *batch, const uint8_t *text, int n);

/* Adds a prompt with one of its answers. With whole, the prompt's bytes are
 * labels too: for training the reference. */
void batch_answer(struct batch *batch, const struct pair *pair, int side,
                  int whole);

/* Adds a prompt with an answer to another one, whose reference's logp nobody
 * has stored: ref is 0 there. */
void batch_mismatch(struct batch *batch, const struct pair *pair,
                    const struct pair *other, int side);

/* mask (N): 1 where the two answers of a pair, adjacent sequences with the
 * same prompt, have different bytes in the same place, or the other one has
 * ended before; else 0. */
void batch_differences(const struct batch *batch, uint8_t *mask);

#endif
