/* What the run shows: a progress bar and the curves. */
#ifndef ALIGN_SHOW_H
#define ALIGN_SHOW_H

#include "train.h"

enum { MOST_POINTS = 64 };

/* How one method went: the held-out measures as its steps went by. */
struct curve {
    const char *name, *color;
    double lr, beta;           /* beta 0: the loss has none */
    int n, steps[MOST_POINTS];
    struct measure at[MOST_POINTS];
    double seconds;            /* of training, without the measuring */
};

double seconds_now(void);

/* A bar on stderr: redrawn in place on a terminal, else a line now and then.
 * `what` names the second number, a margin say. Tokens per second count the
 * seconds of the steps; the time left also what lies between them. */
struct progress {
    const char *phase, *what;
    int width, steps, lines;   /* the phase takes `width` columns */
    double start, shown, tokens, busy;
};

void progress_start(struct progress *p, const char *phase, int width,
                    const char *what, int steps);
void progress_step(struct progress *p, int step, double loss, double value,
                   double tokens, double seconds);

/* Writes the curves as SVG; says why on stderr and returns 0 if it cannot. */
int plot(const char *file, const struct curve *curve, int n);

#endif
