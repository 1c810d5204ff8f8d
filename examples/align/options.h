/* The command line. */
#ifndef ALIGN_OPTIONS_H
#define ALIGN_OPTIONS_H

#include <stdint.h>

enum { SFT, BNF, DPO, METHODS };

struct method {
    const char *name, *title, *color;
    uint32_t kind;             /* bnfloss_kind */
    double lr;
};

extern const struct method methods[METHODS];

struct options {
    const char *text, *pairs, *out;
    uint64_t seed;
    int threads, steps_ref, steps, check;
    int method[METHODS], n;    /* which methods, in the order given */
    double lr, beta;           /* lr 0: each method's own */
};

/* Exits with 2 and a message where an option or its value is not known. */
void read_options(struct options *options, int argc, char **argv);

#endif
