/* Is a result right? Some rows of it, against the same in double. */
#ifndef BENCH_CHECK_H
#define BENCH_CHECK_H

#include "cases.h"

enum { CHECKED_ROWS = 6 };

/* What those rows should be: filled in once for a batch. */
typedef struct reference {
    int n;
    struct {
        int64_t row;
        double lse, logp, rest;
    } of[CHECKED_ROWS];
} reference;

reference reference_of(const batch *b);

/* After a run. *error: the largest of a gradient, in units of 2^-24 |dlogp|,
 * or, forward, of logp, in units of 2^-24 (1 + |logp|). Returns 0 if that or
 * a value or dlogp is out of bounds: rounding apart, the result is wrong. */
int check_case(const bench_case *c, const batch *b, const reference *r,
               double *error);

#endif
