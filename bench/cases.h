/* What can be measured: a loss, a stage of it, and how it is run. */
#ifndef BENCH_CASES_H
#define BENCH_CASES_H

#include "batch.h"
#include "limits.h"

enum { SFT, BNF, DPO, TEXTBOOK_SFT, TEXTBOOK_BNF, TEXTBOOK_DPO,
       DPO_DEFERRED };              /* its scale handed back, not applied */
enum { FORWARD, BACKWARD, FUSED };
enum { IN_PLACE, OUT_OF_PLACE };
enum { COLD, HOT };
enum { SCRATCH, NO_SCRATCH };       /* work beyond what a run needs, or not */

/* Names in the order of the constants, NULL at the end. */
extern const char *const loss_names[], *const stage_names[];
extern const char *const place_names[], *const cache_names[];
extern const char *const pool_names[];
extern const char *const scratch_names[], *const page_names[];

typedef struct bench_case {
    int loss, stage, place, cache, pool, isa, scratch, threads, pages;
    int rows_given;                 /* then N is part of the name */
} bench_case;

int is_textbook(const bench_case *c);
int is_dpo(const bench_case *c);    /* in any of its three ways */

/* Whether more work may make it faster: a fused run of 16 bits or apart. */
int takes_scratch(const bench_case *c, const dtype *type);

/* bnf/fused/f32/128256/threads:2/isa:avx512, and what is out of the usual
 * behind it. name has 128 bytes. */
void case_name(const bench_case *c, const batch *b, char *name);

/* Undoes what the run before has overwritten. Not timed. */
void case_prepare(const bench_case *c, batch *b);
void case_run(const bench_case *c, batch *b);

/* Bytes that have to move for a logit: it is read once, and its gradient, if
 * there is one, is written once. */
size_t case_traffic(const bench_case *c, const batch *b);

/* Seconds for moving as much at the limit. */
double case_limit(const bench_case *c, const batch *b, const limits *l);

#endif
