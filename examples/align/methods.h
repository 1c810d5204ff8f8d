/* The losses that a copy of the reference can be aligned with. */
#ifndef ALIGN_METHODS_H
#define ALIGN_METHODS_H

#include <stddef.h>
#include <stdint.h>

enum { MOST_METHODS = 8 };     /* in one run: as many as there are colours */

struct method {
    uint32_t kind;             /* bnfloss_kind */
    char name[24], title[24];  /* for the command line, for people */
    const char *color;
    double lr, beta;           /* beta 0: the loss takes none */
};

/* Fills in the loss of that name, `length` bytes long, but for its colour.
 * Returns 0 and says why (bytes) where there is none or it does not run. */
int method_find(struct method *method, const char *name, size_t length,
                char *why, size_t bytes);

/* Gives each of n methods a colour of its own. */
void methods_color(struct method *method, int n);

/* Lists what runs and what does not, on stdout. */
void methods_list(void);

#endif
