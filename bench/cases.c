/* The cases and their calls: see cases.h. */
#include "cases.h"
#include "textbook.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const loss_names[] = { "sft", "bnf", "dpo", "textbook-sft",
                                   "textbook-bnf", "textbook-dpo",
                                   "dpo-deferred", NULL };
const char *const stage_names[] = { "forward", "backward", "fused", NULL };
const char *const place_names[] = { "in", "out", NULL };
const char *const cache_names[] = { "cold", "hot", NULL };
const char *const pool_names[] = { "openmp", "pthreads", NULL };
const char *const scratch_names[] = { "on", "off", NULL };
const char *const page_names[] = { "small", "huge", NULL };

int is_textbook(const bench_case *c)
{
    return c->loss >= TEXTBOOK_SFT && c->loss <= TEXTBOOK_DPO;
}

int is_dpo(const bench_case *c)
{
    return c->loss == DPO || c->loss == TEXTBOOK_DPO
           || c->loss == DPO_DEFERRED;
}

int takes_scratch(const bench_case *c, const dtype *type)
{
    return c->stage == FUSED && !is_textbook(c) && c->pool == POOL_OPENMP
           && c->loss != DPO
           && (c->place == OUT_OF_PLACE || type->grad != BNFLOSS_F32);
}

void case_name(const bench_case *c, const batch *b, char *name)
{
    char rows[32] = "";

    if (c->rows_given)
        snprintf(rows, sizeof rows, "/rows:%lld", (long long)b->N);
    snprintf(name, 128, "%s/%s/%s/%lld/threads:%d/isa:%s%s%s%s%s%s%s",
             loss_names[c->loss], stage_names[c->stage], b->type->name,
             (long long)b->V, c->threads,
             is_textbook(c) ? "compiler" : bnfloss_isa(), rows,
             c->place == OUT_OF_PLACE ? "/place:out" : "",
             c->cache == HOT ? "/cache:hot" : "",
             c->pool == POOL_PTHREADS ? "/pool:pthreads" : "",
             c->scratch == NO_SCRATCH ? "/scratch:off" : "",
             c->pages == HUGE_PAGES ? "/pages:huge" : "");
}

/* ---- The library --------------------------------------------------------- */

static void must(bnfloss_status status, const char *what)
{
    if (status != BNFLOSS_OK) {
        fprintf(stderr, "bnfloss-bench: %s: %s\n", what,
                bnfloss_status_string(status));
        exit(1);
    }
}

static bnfloss_layout layout_of(const batch *b, const bench_case *c)
{
    const bnfloss_layout l = {
        .struct_size = sizeof l,
        .logits_type = b->type->logits, .grad_type = b->type->grad,
        .flags = c->loss == BNF ? BNFLOSS_ENTROPY : 0,
        .rows = b->N, .vocab = b->V };

    return l;
}

static void *gradient_of(const batch *b, const bench_case *c)
{
    return c->place == IN_PLACE ? b->logits : b->grad;
}

static bnfloss_spec spec_of(const batch *b, const bench_case *c)
{
    bnfloss_spec s;

    bnfloss_spec_init(&s, sizeof s, c->loss == SFT ? BNFLOSS_SFT
                          : c->loss == BNF ? BNFLOSS_BNF : BNFLOSS_DPO);
    if (c->loss == DPO_DEFERRED)
        s.flags = BNFLOSS_DEFER_SCALE;
    if (b->type->grad == BNFLOSS_F16)       /* as one does with f16 */
        s.loss_scale = 16 * (double)b->N;
    return s;
}

static bnfloss_inputs inputs_of(const batch *b)
{
    const bnfloss_inputs in = {
        .struct_size = sizeof in, .pairing = BNFLOSS_PAIRS_ADJACENT,
        .sequences = b->S, .seq_start = b->start, .ref_logp = b->ref };

    return in;
}

/* Row ranges on as many threads, as a trainer's own pool would. */
typedef struct ranges {
    batch *b;
    const bench_case *c;
} ranges;

static void forward_range(void *job, int t, int threads)
{
    const ranges *r = job;
    const batch *b = r->b;
    const bnfloss_layout l = layout_of(b, r->c);

    must(bnfloss_forward(&l, b->logits, b->label, b->N * t / threads,
                         b->N * (t + 1) / threads, b->state, NULL, NULL),
         "bnfloss_forward");
}

static void backward_range(void *job, int t, int threads)
{
    const ranges *r = job;
    const batch *b = r->b;
    const bnfloss_layout l = layout_of(b, r->c);

    must(bnfloss_backward(&l, b->logits, b->label, b->N * t / threads,
                          b->N * (t + 1) / threads, b->state, b->dlogp,
                          gradient_of(b, r->c), NULL), "bnfloss_backward");
}

static void run_ranges(const bench_case *c, batch *b, pool_task *task)
{
    ranges r = { b, c };

    pool_run((pool_kind)c->pool, c->threads, task, &r);
}

/* All of it through bnfloss_run() and its threads, or by the three stages on
 * the caller's: forward ranges, the loss, backward ranges. */
static void run_fused(const bench_case *c, batch *b)
{
    const bnfloss_layout l = layout_of(b, c);
    const bnfloss_spec spec = spec_of(b, c);
    const bnfloss_inputs in = inputs_of(b), *given = c->loss == SFT ? NULL
                                                                    : &in;
    bnfloss_outputs out = { .struct_size = sizeof out };
    bnfloss_result r = { .struct_size = sizeof r };
    uint64_t bytes;

    out.row_loss = b->value;
    if (c->pool == POOL_PTHREADS) {
        run_ranges(c, b, forward_range);
        must(bnfloss_loss(&spec, given, b->N, b->state, NULL, NULL, b->dlogp,
                          &out, b->work, b->work_bytes, &r), "bnfloss_loss");
        run_ranges(c, b, backward_range);
        return;
    }
    out.dlogp = b->dlogp;
    out.row_scale = c->loss == DPO_DEFERRED ? b->scale : NULL;
    must(bnfloss_workspace(&l, &spec, 0, given ? b->S : 0, &bytes),
         "bnfloss_workspace");
    if (c->scratch == SCRATCH)
        bytes += (uint64_t)c->threads * BNFLOSS_SCRATCH(b->V);
    must(bnfloss_run(&l, &spec, given, b->logits, b->label, gradient_of(b, c),
                     &out, b->work, bytes, c->threads, &r), "bnfloss_run");
}

/* ---- The textbook -------------------------------------------------------- */

static void textbook_range(void *job, int t, int threads)
{
    const ranges *r = job;
    const batch *b = r->b;
    const int64_t from = b->N * t / threads, to = b->N * (t + 1) / threads;

    if (r->c->loss == TEXTBOOK_DPO)
        textbook_softmax(b->logits, b->label, b->rest, from, to, b->V);
    else
        textbook_rows(b->logits, b->label,
                      r->c->loss == TEXTBOOK_BNF ? b->ref : NULL, b->dlogp,
                      b->value, from, to, b->N, b->V);
}

static void textbook_gradients(void *job, int t, int threads)
{
    const batch *b = ((const ranges *)job)->b;

    textbook_gradient(b->logits, b->label, b->dlogp, b->N * t / threads,
                      b->N * (t + 1) / threads, b->V);
}

static void run_textbook(const bench_case *c, batch *b)
{
    run_ranges(c, b, textbook_range);
    if (c->loss == TEXTBOOK_DPO) {
        textbook_pairs(b->rest, b->ref, 0.1f, b->dlogp, b->value, b->N);
        run_ranges(c, b, textbook_gradients);
    }
}

/* ---- One run ------------------------------------------------------------- */

void case_prepare(const bench_case *c, batch *b)
{
    batch_refill(b);
    if (c->stage == BACKWARD) {
        run_ranges(c, b, forward_range);
        for (int64_t i = 0; i < b->N; i++)
            b->dlogp[i] = -1 / (float)b->N;
    }
}

void case_run(const bench_case *c, batch *b)
{
    b->dirty |= c->stage != FORWARD && c->place == IN_PLACE;
    if (is_textbook(c))
        run_textbook(c, b);
    else if (c->stage == FUSED)
        run_fused(c, b);
    else
        run_ranges(c, b, c->stage == FORWARD ? forward_range : backward_range);
}

size_t case_traffic(const bench_case *c, const batch *b)
{
    return element_size(b->type->logits)
           + (c->stage == FORWARD ? 0 : element_size(b->type->grad));
}

/* In place moves each byte of its buffer twice, so half the traffic is its
 * size. That fits into the larger of the two buffers. */
double case_limit(const bench_case *c, const batch *b, const limits *l)
{
    const size_t n = (size_t)(b->N * b->V);
    const int wide = element_size(b->type->grad)
                     > element_size(b->type->logits);

    if (c->stage == FORWARD)
        return limit_read(l, b->logits, n * element_size(b->type->logits));
    return limit_in_place(l, wide ? b->grad : b->logits,
                          n * case_traffic(c, b) / 2);
}
