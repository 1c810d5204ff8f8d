/* The command line of bnfloss-bench. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

enum { MAX_LIST = 16 };

/* The values of one option, constants or numbers. */
typedef struct list {
    int n;
    int64_t of[MAX_LIST];
} list;

int list_has(const list *l, int64_t x);

enum { TABLE, CSV, JSON };

typedef struct options {
    list loss, stage, dtype, vocab, rows, threads, place, cache, pool, isa,
        scratch, pages;
    int rounds, format, limit, pin, quick, check;
    size_t bytes;               /* of the logits, where rows are not given */
    const char *plot;           /* or NULL */
} options;

/* Fills *o in; prints what is wrong, with what would be right, and leaves the
 * program if something is. */
void options_read(options *o, int argc, char **argv);

#endif
