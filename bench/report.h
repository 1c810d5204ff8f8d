/* Results as a table, as CSV, or as google/benchmark's JSON. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "cases.h"
#include "limits.h"
#include "options.h"
#include "stats.h"

typedef struct result {
    bench_case c;
    limit_kind limit;
    char name[128];
    const char *type;
    int64_t N, V;
    size_t traffic;                 /* bytes a logit */
    int right, rounds;
    int again;                      /* rounds that may still be repeated */
    double error;                   /* see check.h */
    double time[MAX_ROUNDS];        /* seconds for the batch */
    double cpu[MAX_ROUNDS];
    double ratio[MAX_ROUNDS];       /* over the limit of the same round */
} result;

/* A ratio below this means that the limit was measured badly: nothing moves
 * the same bytes faster than the best loop. */
#define LIMIT_FLOOR 0.97

int is_unstable(const result *r);
int is_below_limit(const result *r);
double ns_per_logit(const result *r);
double gb_per_s(const result *r);
double tokens_per_s(const result *r);

/* The CPU's own name, or "unknown CPU". */
const char *machine_name(void);

/* In this order; limits are those of each team of threads. */
void report_head(const options *o, const limits *l, int teams);
void report_result(const options *o, const result *r, int index);
void report_tail(const options *o);

#endif
