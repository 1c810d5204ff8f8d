/* Small and huge pages: see memory.h. */
#define _DEFAULT_SOURCE     /* madvise */
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { SMALL_BYTES = 4096, HUGE_BYTES = 1 << 21 };

/* Bytes of this process that lie in huge pages. */
static size_t in_huge_pages(void)
{
    FILE *f = fopen("/proc/self/smaps_rollup", "r");
    char line[256];
    unsigned long kib = 0;

    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "AnonHugePages: %lu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return (size_t)kib << 10;
}

static void advise(void *p, size_t bytes, page_size size)
{
#if defined(MADV_HUGEPAGE) && defined(MADV_NOHUGEPAGE)
    (void)madvise(p, bytes, size == HUGE_PAGES ? MADV_HUGEPAGE
                                               : MADV_NOHUGEPAGE);
#else
    (void)p, (void)bytes, (void)size;
#endif
}

/* How much of it came in huge pages goes to *huge. */
static void *take(size_t bytes, page_size size, size_t *huge)
{
    const size_t page = size == HUGE_PAGES && bytes >= HUGE_BYTES
                        ? HUGE_BYTES : SMALL_BYTES;
    const size_t before = in_huge_pages();
    void *p = NULL;

    bytes = (bytes + page - 1) / page * page;
    if (posix_memalign(&p, page, bytes) != 0)
        return NULL;
    advise(p, bytes, page == HUGE_BYTES ? HUGE_PAGES : SMALL_PAGES);
    memset(p, 0, bytes);
    *huge = in_huge_pages() - before;
    return p;
}

void *memory_take(size_t bytes, page_size size)
{
    static int said;
    size_t huge;
    void *p = take(bytes, size, &huge);

    if (!p) {
        fprintf(stderr, "bnfloss-bench: no memory for %zu MiB; "
                "see --mib and --rows\n", bytes >> 20);
        exit(1);
    }
    if (size == HUGE_PAGES && bytes >= HUGE_BYTES && huge < bytes - bytes / 8
        && !said) {
        said = 1;
        fprintf(stderr, "bnfloss-bench: only %zu of %zu MiB came in huge "
                "pages\n", huge >> 20, bytes >> 20);
    }
    return p;
}

int memory_has(page_size size)
{
    size_t huge;
    void *p;

    if (size == SMALL_PAGES)
        return 1;
    p = take(2 * HUGE_BYTES, size, &huge);
    free(p);
    return p && huge >= HUGE_BYTES;
}
