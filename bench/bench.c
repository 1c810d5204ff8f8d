/* bnfloss-bench: the kernels against the limits of this machine's memory.
 *
 * Every round measures the limit right beside the case, and the ratio is
 * taken round by round: on a shared machine ratios mean something and times
 * do not. Rounds of all cases of a batch are interleaved. A case's result is
 * compared with a double computation first; a wrong one gets no speed.
 *
 * Ends with 1 if a result was wrong, 2 if the options were, 3 if the limit
 * was measured badly. */
#include "bnfloss.h"
#include "cases.h"
#include "check.h"
#include "limits.h"
#include "options.h"
#include "plot.h"
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEAMS = 2 * 2 * MAX_LIST, MAX_GROUP = 7 * 3 * 5 * 2 * 2 };

/* All that a run gathers. */
typedef struct bench {
    options o;
    limits team[MAX_TEAMS];         /* each size of pages, pool, threads */
    int teams;
    result *all;
    int n, room;
    int wrong, below;
} bench;

/* ---- Which cases --------------------------------------------------------- */

/* The first loss of the list that is the library's. */
static int64_t first_loss(const list *l)
{
    for (int i = 0; i < l->n; i++)
        if (l->of[i] < TEXTBOOK_SFT)
            return l->of[i];
    return -1;
}

/* Combinations that say something of their own. The backward pass knows
 * nothing of the loss, and the forward pass only whether it is BNF, which
 * takes one more sum; the gradient's type is none of its business. The
 * textbook is fused, float, in place and compiled once. */
static int exists(const options *o, const bench_case *c, const dtype *type)
{
    const int64_t first = first_loss(&o->loss);

    if (c->scratch == NO_SCRATCH && !takes_scratch(c, type))
        return 0;
    if (is_textbook(c))
        return c->stage == FUSED && type->logits == BNFLOSS_F32
               && type->grad == BNFLOSS_F32 && c->place == IN_PLACE
               && c->isa == o->isa.of[0];
    if (c->loss == DPO_DEFERRED)        /* is a way of bnfloss_run()'s */
        return c->stage == FUSED && c->pool == POOL_OPENMP;
    if (c->stage == FORWARD)
        return type->logits == type->grad
               && (c->loss == first || c->loss == BNF
                   || (c->loss == SFT && first == BNF));
    return c->stage == FUSED || c->loss == first;
}

/* Where the gradient goes: a mixed one cannot be in place, and the forward
 * pass has none. */
static list places(const options *o, const dtype *type, int stage)
{
    const list in = { 1, { IN_PLACE } }, out = { 1, { OUT_OF_PLACE } };

    return stage == FORWARD ? in : type->logits != type->grad ? out : o->place;
}

static int group_of(const options *o, const dtype *type, bench_case c,
                    bench_case *group)
{
    int n = 0;

    for (int s = 0; s < o->stage.n; s++) {
        const list place = places(o, type, (int)o->stage.of[s]);

        c.stage = (int)o->stage.of[s];
        for (int l = 0; l < o->loss.n; l++)
            for (int p = 0; p < place.n; p++)
                for (int k = 0; k < o->isa.n; k++)
                    for (int w = 0; w < o->scratch.n; w++) {
                        c.loss = (int)o->loss.of[l];
                        c.place = (int)place.of[p];
                        c.isa = (int)o->isa.of[k];
                        c.scratch = (int)o->scratch.of[w];
                        if (exists(o, &c, type))
                            group[n++] = c;
                    }
    }
    return n;
}

/* ---- Measuring ----------------------------------------------------------- */

static void select_isa(const bench_case *c)
{
    const char *name = c->isa > 0 ? bnfloss_isa_name(c->isa - 1) : "auto";

    if (bnfloss_isa_select(name) != BNFLOSS_OK)
        abort();                    /* options.c has tried it */
}

/* One case, one round: its time, and that of the limit just before it. Small
 * batches run as often as takes a millisecond. Returns the share of the
 * threads' time that they had a CPU. */
static double measure_once(const limits *l, batch *b, result *r, int k)
{
    const double logits = (double)b->N * (double)b->V;
    const int times = r->c.cache == HOT ? 1 + (int)(4e6 / logits) : 1;
    double limit = 0, time = 0, cpu = 0, all = 0, wall = 0;

    for (int i = 0; i < times; i++) {
        double start, cpu_start, middle;

        case_prepare(&r->c, b);
        start = now();
        all -= cpu_now();
        limit += case_limit(&r->c, b, l);
        cpu_start = cpu_now();
        middle = now();
        case_run(&r->c, b);
        time += now() - middle;
        cpu += cpu_now() - cpu_start;
        all += cpu_now();
        wall += now() - start;
    }
    r->time[k] = time / times;
    r->cpu[k] = cpu / times;
    r->ratio[k] = time / limit;
    return all / (wall * r->c.threads);
}

/* A round in which something else took a CPU away is measured again, but at
 * most as many as there are rounds: few rows on many threads look the same. */
static void measure_round(const limits *l, batch *b, result *r, int k)
{
    select_isa(&r->c);
    while (measure_once(l, b, r, k) < 0.95 && r->again > 0)
        r->again--;
}

static result start_case(const bench *x, const bench_case *c, batch *b,
                         const reference *ref)
{
    result r;

    memset(&r, 0, sizeof r);
    r.c = *c;
    r.limit = (limit_kind)x->o.limit;
    r.type = b->type->name;
    r.N = b->N;
    r.V = b->V;
    r.traffic = case_traffic(c, b);
    r.rounds = x->o.rounds;
    if (is_textbook(c) && r.rounds > (x->o.quick ? 1 : 3))
        r.rounds = x->o.quick ? 1 : 3;      /* at 20 times the limit, enough */
    r.again = r.rounds;
    select_isa(c);
    case_name(c, b, r.name);
    case_prepare(c, b);
    case_run(c, b);                 /* warms up, too */
    r.right = check_case(c, b, ref, &r.error);
    return r;
}

static result *room_for(bench *x, int n)
{
    if (x->n + n > x->room) {
        x->room = 2 * x->room + n;
        x->all = realloc(x->all, (size_t)x->room * sizeof *x->all);
        if (!x->all)
            abort();
    }
    return x->all + x->n;
}

static void measure_group(bench *x, const limits *l, batch *b,
                          const reference *ref, bench_case base)
{
    bench_case group[MAX_GROUP];
    const int n = group_of(&x->o, b->type, base, group);
    result *r = room_for(x, n);

    for (int k = 0; k < n; k++)
        r[k] = start_case(x, &group[k], b, ref);
    for (int round = 0; round < x->o.rounds && !x->o.check; round++)
        for (int k = 0; k < n; k++)
            if (r[k].right && round < r[k].rounds)
                measure_round(l, b, &r[k], round);
    for (int k = 0; k < n; k++) {
        report_result(&x->o, &r[k], x->n + k);
        x->wrong += !r[k].right;
        x->below += r[k].right && !x->o.check && is_below_limit(&r[k]);
    }
    x->n += n;
}

/* ---- Batches ------------------------------------------------------------- */

/* Even, for the pairs. Hot: what a core's own cache holds, or two rows. */
static int64_t rows_of(const options *o, const dtype *type, int64_t V,
                       int cache)
{
    const size_t bytes = cache == HOT ? (size_t)256 << 10 : o->bytes;
    const int64_t N = (int64_t)(bytes / element_size(type->logits)
                                / (size_t)V) / 2 * 2;

    return N < 2 ? 2 : N;
}

static void measure_batch(bench *x, const dtype *type, int64_t N, int64_t V,
                          int cache, page_size pages)
{
    const int beside = type->logits != type->grad
                       || list_has(&x->o.place, OUT_OF_PLACE);
    int max = 1;
    batch b;
    reference ref;

    for (int t = 0; t < x->teams; t++)
        max = x->team[t].threads > max ? x->team[t].threads : max;
    b = batch_make(type, N, V, beside, max, pages);
    ref = reference_of(&b);
    for (int t = 0; t < x->teams; t++) {
        const bench_case base = {
            .cache = cache, .pool = (int)x->team[t].pool,
            .threads = x->team[t].threads, .pages = (int)pages,
            .rows_given = x->o.rows.n > 0 };

        if (x->team[t].pages != pages)
            continue;
        if (x->o.pin)
            pool_pin(x->team[t].pool, x->team[t].threads);
        measure_group(x, &x->team[t], &b, &ref, base);
    }
    batch_free(&b);
}

static void measure_all(bench *x)
{
    const options *o = &x->o;

    for (int h = 0; h < o->cache.n; h++)
        for (int d = 0; d < o->dtype.n; d++)
            for (int v = 0; v < o->vocab.n; v++)
                for (int k = 0; k < (o->rows.n ? o->rows.n : 1); k++) {
                    const int cache = (int)o->cache.of[h];
                    const dtype *type = &dtypes[o->dtype.of[d]];
                    const int64_t V = o->vocab.of[v];
                    const int64_t N = o->rows.n ? o->rows.of[k]
                                      : rows_of(o, type, V, cache);

                    for (int p = 0; p < o->pages.n; p++)
                        measure_batch(x, type, N, V, cache,
                                      (page_size)o->pages.of[p]);
                }
}

/* The limits come first: which loops, and how fast, in such memory. */
static void find_limits(bench *x, page_size pages)
{
    const size_t bytes = x->o.check ? 4096 : x->o.bytes;
    void *p = memory_take(bytes, pages);

    for (int k = 0; k < x->o.pool.n; k++)
        for (int t = 0; t < x->o.threads.n; t++) {
            const pool_kind pool = (pool_kind)x->o.pool.of[k];
            const int threads = (int)x->o.threads.of[t];

            if (x->o.pin && !pool_pin(pool, threads) && x->teams == 0)
                fprintf(stderr, "bnfloss-bench: threads cannot be pinned "
                        "here\n");
            x->team[x->teams] = limits_find((limit_kind)x->o.limit, pool,
                                            threads, p, bytes);
            x->team[x->teams++].pages = pages;
        }
    free(p);
}

/* ---- The end ------------------------------------------------------------- */

static int finish(const bench *x)
{
    if (x->n == 0) {
        fprintf(stderr, "bnfloss-bench: no such case: the textbook is fused, "
                "f32 and in place\n");
        return 2;
    }
    if (x->o.plot && !plot(x->o.plot, x->all, x->n)) {
        fprintf(stderr, "bnfloss-bench: --plot %s: %s\n", x->o.plot,
                strerror(errno));
        return 2;
    }
    if (x->wrong) {
        fprintf(stderr, "bnfloss-bench: %d wrong results\n", x->wrong);
        return 1;
    }
    if (x->below) {
        fprintf(stderr, "bnfloss-bench: %d cases below %.2f of the limit, "
                "which was measured badly: run it\nagain, on a quieter "
                "machine or with more --rounds\n", x->below, LIMIT_FLOOR);
        return 3;
    }
    return 0;
}

int main(int argc, char **argv)
{
    bench x;
    int status;

    memset(&x, 0, sizeof x);
    options_read(&x.o, argc, argv);
    for (int p = 0; p < x.o.pages.n; p++)
        find_limits(&x, (page_size)x.o.pages.of[p]);
    report_head(&x.o, x.team, x.teams);
    measure_all(&x);
    report_tail(&x.o);
    status = finish(&x);
    free(x.all);
    return status;
}
