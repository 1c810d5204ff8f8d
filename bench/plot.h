/* A picture of the fused cases: time over the limit, on a log axis. */
#ifndef BENCH_PLOT_H
#define BENCH_PLOT_H

#include "report.h"

/* Writes an SVG of the results that are right, fused, and otherwise like the
 * first of those: same dtype, instruction set, place, cache and pool.
 * Returns 0, with errno, if the file cannot be written. */
int plot(const char *file, const result *r, int n);

#endif
