/* The command line. */
#ifndef ALIGN_OPTIONS_H
#define ALIGN_OPTIONS_H

#include "methods.h"

struct options {
    const char *text, *pairs, *out;
    uint64_t seed;
    int threads, steps_ref, steps, check;
    struct method method[MOST_METHODS];
    int n;                     /* how many methods, in the order given */
    double lr, beta;           /* 0: each method's own */
};

/* Exits with 2 and a message where an option or its value is not known. */
void read_options(struct options *options, int argc, char **argv);

#endif
