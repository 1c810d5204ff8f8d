/* The lines of EDGES.md that a test cites, and whether the table knows it.
 *
 * SPDX-License-Identifier: MIT */
#ifndef EDGES_H
#define EDGES_H

#include "test.h"

#include <stdlib.h>

static unsigned char edges_cited[1000];

/* The line of EDGES.md that the checks below it are about. */
static inline void edge(const char *id)
{
    const long n = strtol(id + 1, NULL, 10);

    CHECK(id[0] == 'E' && n > 0 && n < 1000, "no id: %s", id);
    edges_cited[n] = 1;
}

#ifdef BNFLOSS_TEST_DIR
/* One "| E12 | .. | V | .. | test |": its number, whether it is undefined, and
 * the test that cites it. */
static inline int edges_line(const char *line, int *id, char *verdict,
                             char *test)
{
    const char *cell[6];
    int n = 0;

    for (const char *p = line; *p && *p != '\n' && n < 6; p++)
        if (*p == '|')
            cell[n++] = p + 1;
    return n == 6 && sscanf(cell[0], " E%d", id) == 1
           && sscanf(cell[2], " %15s", verdict) == 1
           && sscanf(cell[4], " %63s", test) == 1;
}

/* The lines of EDGES.md that name this test have been cited, and it has cited
 * no line that is not there. */
static inline void edges_end(const char *name)
{
    char line[1000], verdict[16], test[64];
    FILE *file = fopen(BNFLOSS_TEST_DIR "/EDGES.md", "r");
    int last = 0, id, lines = 0;

    if (!CHECK(file != NULL, "EDGES.md cannot be read"))
        return;
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "| E", 3) != 0
            || !CHECK(edges_line(line, &id, verdict, test), "%.60s", line))
            continue;
        CHECK(id == last + 1 && id < 999, "E%d after E%d", id, last);
        last = id;
        CHECK(strcmp(verdict, "UB") != 0
                  || (!edges_cited[id] && strcmp(test, "none") == 0),
              "E%d is undefined and cited", id);
        if (strcmp(test, name) != 0)
            continue;
        lines++;
        CHECK(edges_cited[id], "E%d is not cited", id);
    }
    fclose(file);
    CHECK(lines > 0 && last > 100, "only %d lines of %d", lines, last);
    for (id = last + 1; id < 1000; id++)
        CHECK(!edges_cited[id], "E%d has no line", id);
}
#else
static inline void edges_end(const char *name)
{
    (void)name;
    test_skip("the ids of EDGES.md: built without BNFLOSS_TEST_DIR");
}
#endif

#endif /* EDGES_H */
