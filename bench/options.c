/* The command line: see options.h. */
#include "options.h"

#include "bnfloss.h"
#include "cases.h"
#include "limits.h"
#include "stats.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct { const char *name; int64_t V; } shapes[] = {
    { "gpt2", 50257 }, { "llama2", 32000 }, { "llama3", 128256 },
    { "qwen2.5", 151936 }, { "gemma", 262144 }
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static const char *const format_names[] = { "table", "csv", "json", NULL };
static const char *const on_off[] = { "off", "on", NULL };

static const char usage[] =
"usage: bnfloss-bench [options]     LIST: a,b,c\n"
"\n"
"what\n"
"  --loss LIST     sft bnf dpo textbook-sft textbook-bnf textbook-dpo (these)\n"
"                  dpo-deferred: one sweep, each row's scale handed back\n"
"  --stage LIST    forward backward fused (all)\n"
"  --dtype LIST    f32 bf16 f16 bf16-f32 f16-f32: logits, then the gradient\n"
"                  if it differs; mixed is out of place (f32)\n"
"  --shape LIST    gpt2 llama2 llama3 qwen2.5 gemma, or numbers\n"
"                  (llama2,llama3,gemma)\n"
"  --place LIST    in out: the gradient over the logits, or beside (in)\n"
"how\n"
"  --threads LIST  (1, and as many as there are CPUs)\n"
"  --pool LIST     openmp: bnfloss_run()'s own threads; pthreads: a caller's,\n"
"                  through row ranges (openmp)\n"
"  --isa LIST      auto scalar avx2 avx512 avx512bf16 neon (auto)\n"
"  --scratch LIST  on off: work beyond what a run needs, where 16 bits or out\n"
"                  of place it helps (on)\n"
"  --pages LIST    small huge: of 4 KiB, or of 2 MiB (small)\n"
"  --cache LIST    cold hot: some rows that stay in the cache (cold)\n"
"  --mib N         size of the logits (256)\n"
"  --rows LIST     even numbers of rows, instead of --mib\n"
"  --rounds N      of each case (9); of a textbook loop at most 3\n"
"  --limit KIND    best: of all loops; straight: of those that go through\n"
"                  memory from first to last (best)\n"
"  --pin on|off    each thread to a CPU of its own (on)\n"
"  --quick         64 MiB, 5 rounds, of a textbook loop 1\n"
"  --check         the results only, no speeds\n"
"and then\n"
"  --format table|csv|json     (table; json is google/benchmark's)\n"
"  --plot FILE     a picture of the fused cases as well, SVG\n";

/* ---- Refusing ------------------------------------------------------------ */

static void refuse(const char *format, ...)
{
    va_list a;

    fputs("bnfloss-bench: ", stderr);
    va_start(a, format);
    vfprintf(stderr, format, a);
    va_end(a);
    fputs("\n(bnfloss-bench --help lists the options)\n", stderr);
    exit(2);
}

/* "a, b or c" */
static const char *listed(const char *const *names, char *text, size_t size)
{
    size_t n = 0;

    text[0] = 0;
    for (int i = 0; names[i]; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%s",
                              i == 0 ? "" : names[i + 1] ? ", " : " or ",
                              names[i]);
    return text;
}

/* ---- Values -------------------------------------------------------------- */

static int64_t number(const char *option, const char *text, int64_t low,
                      int64_t high)
{
    char *end;
    long long x;

    errno = 0;
    x = strtoll(text, &end, 10);
    if (*end || end == text || errno || x < low || x > high)
        refuse("%s takes a number from %lld to %lld, not '%s'", option,
               (long long)low, (long long)high, text);
    return x;
}

static int64_t choice(const char *option, const char *text,
                      const char *const *names)
{
    char all[256];

    for (int i = 0; names[i]; i++)
        if (strcmp(text, names[i]) == 0)
            return i;
    refuse("%s takes %s, not '%s'", option, listed(names, all, sizeof all),
           text);
    return 0;
}

static int64_t shape(const char *text)
{
    char *end;
    const long long x = strtoll(text, &end, 10);

    for (size_t i = 0; i < SHAPES; i++)
        if (strcmp(text, shapes[i].name) == 0)
            return shapes[i].V;
    if (*end || end == text || x < 2 || x > 1 << 24)
        refuse("--shape takes gpt2, llama2, llama3, qwen2.5, gemma or a "
               "number from 2 to %d, not '%s'", 1 << 24, text);
    return x;
}

static int64_t row_count(const char *text)
{
    const int64_t N = number("--rows", text, 2, 1 << 24);

    if (N % 2)
        refuse("--rows takes even numbers, for the pairs, not '%s'", text);
    return N;
}

static int64_t type_index(const char *text)
{
    const char *names[16] = { NULL };

    for (int i = 0; dtypes[i].name; i++)
        names[i] = dtypes[i].name;
    return choice("--dtype", text, names);
}

/* The number of an instruction set: 0 for auto, else 1 more than the library's
 * own. */
static int64_t isa(const char *text)
{
    const char *names[16] = { "auto" };
    char here[64] = "auto";
    int64_t k;

    for (int i = 0; i < 14 && bnfloss_isa_name(i); i++) {
        names[i + 1] = bnfloss_isa_name(i);
        if (bnfloss_isa_select(names[i + 1]) == BNFLOSS_OK) {
            strcat(here, " ");
            strcat(here, names[i + 1]);
        }
    }
    k = choice("--isa", text, names);
    if (bnfloss_isa_select(text) != BNFLOSS_OK)
        refuse("--isa %s: this CPU lacks it; here are %s", text, here);
    return k;
}

static int64_t pages(const char *text)
{
    const int64_t size = choice("--pages", text, page_names);

    if (!memory_has((page_size)size))
        refuse("--pages %s: this system gives none when asked with madvise()",
               text);
    return size;
}

/* ---- The options --------------------------------------------------------- */

static int64_t value_of(const char *option, const char *text)
{
    static const struct { const char *name; const char *const *names; } by[] = {
        { "--loss", loss_names }, { "--stage", stage_names },
        { "--place", place_names }, { "--cache", cache_names },
        { "--pool", pool_names }, { "--scratch", scratch_names }
    };

    for (size_t i = 0; i < sizeof by / sizeof *by; i++)
        if (strcmp(option, by[i].name) == 0)
            return choice(option, text, by[i].names);
    if (strcmp(option, "--dtype") == 0)
        return type_index(text);
    if (strcmp(option, "--shape") == 0)
        return shape(text);
    if (strcmp(option, "--rows") == 0)
        return row_count(text);
    if (strcmp(option, "--isa") == 0)
        return isa(text);
    if (strcmp(option, "--pages") == 0)
        return pages(text);
    return number(option, text, 1, 256);        /* --threads */
}

static list *list_of(options *o, const char *option)
{
    const struct { const char *name; list *to; } all[] = {
        { "--loss", &o->loss }, { "--stage", &o->stage },
        { "--dtype", &o->dtype }, { "--shape", &o->vocab },
        { "--rows", &o->rows }, { "--threads", &o->threads },
        { "--place", &o->place }, { "--cache", &o->cache },
        { "--pool", &o->pool }, { "--isa", &o->isa },
        { "--scratch", &o->scratch }, { "--pages", &o->pages }
    };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(option, all[i].name) == 0)
            return all[i].to;
    return NULL;
}

int list_has(const list *l, int64_t x)
{
    for (int i = 0; i < l->n; i++)
        if (l->of[i] == x)
            return 1;
    return 0;
}

/* a,b,c: each once, in the order given */
static void read_list(const char *option, const char *text, list *to)
{
    char item[64];

    to->n = 0;
    for (;;) {
        const size_t n = strcspn(text, ",");
        int64_t x;

        if (n == 0 || n >= sizeof item)
            refuse("%s takes a list like a,b,c, not '%s'", option, text);
        memcpy(item, text, n);
        item[n] = 0;
        x = value_of(option, item);
        if (!list_has(to, x)) {
            if (to->n == MAX_LIST)
                refuse("%s takes at most %d values", option, MAX_LIST);
            to->of[to->n++] = x;
        }
        if (!text[n])
            return;
        text += n + 1;
    }
}

static void read_value(options *o, const char *option, const char *text)
{
    if (strcmp(option, "--rounds") == 0)
        o->rounds = (int)number(option, text, 1, MAX_ROUNDS);
    else if (strcmp(option, "--mib") == 0)
        o->bytes = (size_t)number(option, text, 1, 65536) << 20;
    else if (strcmp(option, "--format") == 0)
        o->format = (int)choice(option, text, format_names);
    else if (strcmp(option, "--limit") == 0)
        o->limit = (int)choice(option, text, limit_names);
    else if (strcmp(option, "--pin") == 0)
        o->pin = (int)choice(option, text, on_off);
    else if (strcmp(option, "--plot") == 0)
        o->plot = text;
    else
        refuse("there is no option '%s'", option);
}

static options default_options(void)
{
    const int cpus = pool_cpus(), max = pool_max(POOL_OPENMP);
    const options o = { .loss = { 6,
                                  { SFT, BNF, DPO, TEXTBOOK_SFT, TEXTBOOK_BNF,
                                    TEXTBOOK_DPO } },
                        .stage = { 3, { FORWARD, BACKWARD, FUSED } },
                        .dtype = { 1, { 0 } },
                        .vocab = { 3, { 32000, 128256, 262144 } },
                        .threads = { cpus > 1 && max > 1 ? 2 : 1,
                                     { 1, cpus < max ? cpus : max } },
                        .place = { 1, { IN_PLACE } },
                        .cache = { 1, { COLD } },
                        .pool = { 1, { POOL_OPENMP } },
                        .isa = { 1, { 0 } },
                        .scratch = { 1, { SCRATCH } },
                        .pages = { 1, { SMALL_PAGES } },
                        .rounds = 9,
                        .limit = BEST_LOOP,
                        .pin = 1,
                        .bytes = (size_t)256 << 20 };

    return o;
}

/* What each value allows may still not go together. */
static void check_options(const options *o)
{
    int64_t max = 1;

    for (int i = 0; i < o->threads.n; i++)
        max = o->threads.of[i] > max ? o->threads.of[i] : max;
    if (list_has(&o->pool, POOL_OPENMP) && max > pool_max(POOL_OPENMP))
        refuse("--threads %lld: this build has no OpenMP; use 1, or --pool "
               "pthreads",
               (long long)max);
    if (o->plot && (o->check || !list_has(&o->stage, FUSED)))
        refuse("--plot shows the fused stage: --stage has to have it, and "
               "--check has no speeds to show");
}

void options_read(options *o, int argc, char **argv)
{
    *o = default_options();
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        list *to = list_of(o, a);

        if (strcmp(a, "--help") == 0) {
            fputs(usage, stdout);
            exit(0);
        } else if (strcmp(a, "--quick") == 0) {
            o->quick = 1;
            o->bytes = (size_t)64 << 20;
            o->rounds = 5;
        } else if (strcmp(a, "--check") == 0) {
            o->check = 1;
        } else if (i + 1 == argc || strncmp(argv[i + 1], "--", 2) == 0) {
            refuse(strncmp(a, "--", 2) == 0 ? "'%s' is no option without a "
                   "value" : "'%s' is no option", a);
        } else if (to) {
            read_list(a, argv[++i], to);
        } else {
            read_value(o, a, argv[++i]);
        }
    }
    check_options(o);
}
