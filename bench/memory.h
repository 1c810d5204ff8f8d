/* Memory in pages of a known size.
 *
 * Who reads gigabytes in pages of 4 KiB looks up an address every 64 lines;
 * what a large malloc() is made of is for the system's settings to say. So
 * either size is asked for here. */
#ifndef BENCH_MEMORY_H
#define BENCH_MEMORY_H

#include <stddef.h>

typedef enum page_size { SMALL_PAGES, HUGE_PAGES } page_size;

/* Zeroed memory from the beginning of a page on, touched; for free(). Less
 * than one huge page is never of those. Does not return without it, and says
 * so, once, where the system gives few of the huge pages. */
void *memory_take(size_t bytes, page_size size);

/* Whether the system gives pages of that size when it is asked to. */
int memory_has(page_size size);

#endif
