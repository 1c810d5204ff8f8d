/* Medians of a few numbers, and how far the others are from them. */
#ifndef BENCH_STATS_H
#define BENCH_STATS_H

enum { MAX_ROUNDS = 99 };

/* Of n <= MAX_ROUNDS numbers, which stay as they are. */
double median(const double *x, int n);
double deviation(const double *x, int n);   /* median absolute, from median */
double mean(const double *x, int n);
double spread(const double *x, int n);      /* standard deviation */

#endif
