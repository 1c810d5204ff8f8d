/* Threads of the caller's own: what is shared and what is not, for the thread
 * sanitizers to watch. The bits are those of one thread.
 *
 * SPDX-License-Identifier: MIT
 *
 * A sanitizer sees a race whether or not it goes wrong in this run, so small
 * batches do. With BNFLOSS_OPENMP the library brings threads of its own
 * besides. PLANT plants an error, which a sanitizer must report: 1, callers
 * share a workspace; 2, their row ranges overlap. */
#include "../fixture.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

#ifndef PLANT
#define PLANT 0
#endif

enum {
    THREADS = 8, V = 1100, STRIDE = 1104, HALF = V / 2, WORK = 32768,
#ifdef BNFLOSS_OPENMP
    TEAM = 4
#else
    TEAM = 1
#endif
};

/* ---- A batch that all share, and answers of each thread's own ----------- */

/* Everything that calls write, but the workspace. */
typedef struct answer {
    bnfloss_result result, forward[THREADS];
    bnfloss_shifts shifts;
    bnfloss_row state[FAM_N], merged[FAM_N], second[FAM_N];
    float logp[FAM_N], rest[FAM_N], dlogp[FAM_N], run_dlogp[FAM_N];
    float row_loss[FAM_N], logp_again[FAM_N];
    double seq_loss[FAM_S], seq_logp[FAM_S];
    int32_t argmax[FAM_N];
    float grad[FAM_N * STRIDE], run_grad[FAM_N * STRIDE];    /* of any type */
} answer;

typedef struct own {
    answer is;
    unsigned char work[WORK];
    double shifts[FAM_N];
    bnfloss_status status;
    int number;
    pthread_t thread;
} own;

static float logits[FAM_N * STRIDE];    /* of any type, as the layout says */
static own owns[THREADS], single, pool;

/* The batch of fixture.h with a wider vocabulary: every loss, a type in turn. */
static void make_batch(uint32_t kind)
{
    bnfloss_layout *l = &fam.layout;
    rng r = { kind };

    fam_make(kind, kind, kind % 2);
    l->logits_type = l->grad_type = kind % 3;
    l->flags = BNFLOSS_ENTROPY | BNFLOSS_MEAN | BNFLOSS_SQUARES;
    l->vocab = V;
    l->logits_stride = l->grad_stride = STRIDE;
    l->grad_cols = STRIDE;
    for (int64_t i = 0; i < FAM_N * STRIDE; i++)
        elem_put(l->logits_type, logits, i,
                 (float)(rng_below(&r, 255) - 127) / 16);
}

static void *work_of(own *o)
{
    return PLANT == 1 ? owns[0].work : o->work;
}

static void begin(own *o)
{
    memset(&o->is, 0, sizeof o->is);
    o->is.result.struct_size = sizeof o->is.result;
    o->is.shifts.struct_size = sizeof o->is.shifts;
    for (int i = 0; i < THREADS; i++)
        o->is.forward[i].struct_size = sizeof o->is.forward[i];
    o->status = BNFLOSS_OK;
}

static void also(own *o, bnfloss_status status)
{
    if (o->status == BNFLOSS_OK)
        o->status = status;
}

static bnfloss_outputs outputs_of(own *o)
{
    bnfloss_outputs to = { 0 };

    to.struct_size = sizeof to;
    to.logp = o->is.logp;
    to.rest = o->is.rest;
    to.argmax = o->is.argmax;
    return to;
}

/* ---- The calls ---------------------------------------------------------- */

static void forward(own *o, int part, int64_t from, int64_t to)
{
    const bnfloss_outputs out = outputs_of(o);

    also(o, bnfloss_forward(&fam.layout, logits, fam.label, from, to,
                            o->is.state, &out, o->is.forward + part));
}

static void loss(own *o)
{
    bnfloss_outputs out = { 0 };

    out.struct_size = sizeof out;
    out.row_loss = o->is.row_loss;
    out.seq_loss = o->is.seq_loss;
    out.seq_logp = o->is.seq_logp;
    also(o, bnfloss_loss(fam.spec, &fam.in, FAM_N, o->is.state, NULL, NULL,
                         o->is.dlogp, &out, work_of(o), WORK, &o->is.result));
}

static void backward(own *o, int part, int64_t from, int64_t to)
{
    also(o, bnfloss_backward(&fam.layout, logits, fam.label, from, to,
                             o->is.state, o->is.dlogp, o->is.grad,
                             o->is.forward + part));
}

/* Once more, in a single call, and into a logits buffer of its own. */
static void run(own *o)
{
    bnfloss_outputs out = { 0 };
    uint64_t bytes;

    out.struct_size = sizeof out;
    out.dlogp = o->is.run_dlogp;
    also(o, bnfloss_workspace(&fam.layout, fam.spec, 0, FAM_S, &bytes));
    memcpy(o->is.run_grad, logits, sizeof logits);
    also(o, bnfloss_run(&fam.layout, fam.spec, &fam.in, o->is.run_grad,
                        fam.label, o->is.run_grad, &out, work_of(o), bytes,
                        TEAM, &o->is.result));
}

/* Two slices of the vocabulary, merged; and how far it is from itself. */
static void slices(own *o)
{
    const size_t size = elem_size(fam.layout.logits_type);
    bnfloss_layout l = fam.layout;
    bnfloss_outputs out = { 0 };
    bnfloss_inputs in = { 0 };

    in.struct_size = sizeof in;
    in.sequences = FAM_S;
    in.seq_start = fam.start;
    in.side = fam.side;
    l.vocab = HALF;
    l.vocab_total = V;
    l.grad_cols = 0;
    also(o, bnfloss_forward(&l, logits, fam.label, 0, FAM_N, o->is.merged,
                            NULL, NULL));
    l.vocab_begin = HALF;
    also(o, bnfloss_forward(&l, (const char *)logits + HALF * size, fam.label,
                            0, FAM_N, o->is.second, NULL, NULL));
    also(o, bnfloss_row_merge(FAM_N, o->is.merged, o->is.second, NULL));
    out.struct_size = sizeof out;
    out.logp = o->is.logp_again;
    also(o, bnfloss_row_outputs(FAM_N, o->is.merged, &out, NULL));
    also(o, bnfloss_measure_shifts(&in, FAM_N, o->is.state, o->is.merged,
                                   o->shifts, sizeof o->shifts,
                                   &o->is.shifts));
}

static void *whole(void *arg)
{
    own *o = (own *)arg;

    forward(o, 0, 0, FAM_N);
    loss(o);
    backward(o, 0, 0, FAM_N);
    run(o);
    slices(o);
    return NULL;
}

/* ---- Teams -------------------------------------------------------------- */

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void team(void *(*task)(void *))
{
    pthread_mutex_lock(&gate);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&owns[i].thread, NULL, task, owns + i) == 0,
              "thread %d", i);
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_join(owns[i].thread, NULL) == 0, "thread %d", i);
}

static void begin_team(void)
{
    for (int i = 0; i < THREADS; i++) {
        begin(owns + i);
        owns[i].number = i;
    }
}

/* The pool's threads share its arrays, each with rows of its own. */
static void range(const own *o, int64_t *from, int64_t *to)
{
    *from = o->number * FAM_N / THREADS;
    *to = (o->number + 1) * FAM_N / THREADS;
    if (PLANT == 2 && *to < FAM_N)
        ++*to;
}

/* What goes wrong is kept by each thread, like everything of its own. */
static void *pool_forward(void *arg)
{
    own *o = (own *)arg;
    const bnfloss_outputs out = outputs_of(&pool);
    int64_t from, to;

    range(o, &from, &to);
    also(o, bnfloss_forward(&fam.layout, logits, fam.label, from, to,
                            pool.is.state, &out,
                            pool.is.forward + o->number));
    return NULL;
}

static void *pool_backward(void *arg)
{
    own *o = (own *)arg;
    int64_t from, to;

    range(o, &from, &to);
    also(o, bnfloss_backward(&fam.layout, logits, fam.label, from, to,
                             pool.is.state, pool.is.dlogp, pool.is.grad,
                             pool.is.forward + o->number));
    return NULL;
}

static int same_from(const answer *a, const answer *b, size_t from, size_t to)
{
    return memcmp((const char *)a + from, (const char *)b + from, to - from)
           == 0;
}

#define SAME(a, b, first, last)                                               \
    same_from(a, b, offsetof(answer, first), offsetof(answer, last)           \
              + sizeof(a)->last)

static void check_team(const char *what)
{
    for (int i = 0; i < THREADS; i++) {
        CHECK(owns[i].status == BNFLOSS_OK, "%s: %s: status %d", what,
              bnfloss_kind_name(fam.spec->kind), (int)owns[i].status);
        CHECK(SAME(&owns[i].is, &single.is, result, run_grad),
              "%s: %s, %s: other bits in thread %d", what,
              bnfloss_kind_name(fam.spec->kind), bnfloss_isa(), i);
    }
}

/* ---- What is tried ------------------------------------------------------ */

/* The first call of the process is every thread's first call: they choose
 * the kernels at once, as the gate opens when all are there. What a thread
 * does behind the gate no other is told of. */
static void *first(void *arg)
{
    own *o = (own *)arg;
    const char *isa = NULL;

    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
    switch (o->number % 4) {
    case 1: also(o, bnfloss_selftest(&isa)); break;
    case 2: also(o, bnfloss_isa() ? BNFLOSS_OK : BNFLOSS_E_ISA); break;
    case 3: also(o, bnfloss_isa_select("auto")); break;
    default: break;
    }
    return whole(o);
}

static void first_calls(void)
{
    make_batch(BNFLOSS_DPO);
    begin_team();
    team(first);
    begin(&single);
    whole(&single);
    check_team("first calls");
}

/* One batch, one layout and one spec for all, answers and work for each. */
static void separate(void)
{
    begin(&single);
    whole(&single);
    CHECK(single.status == BNFLOSS_OK, "%s: status %d",
          bnfloss_kind_name(fam.spec->kind), (int)single.status);
    begin_team();
    team(whole);
    check_team("apart");
}

/* One batch, and one answer to which every thread brings some rows. */
static void together(void)
{
    int64_t tokens = 0;

    begin(&pool);
    begin_team();
    team(pool_forward);
    loss(&pool);
    team(pool_backward);
    for (int i = 0; i < THREADS; i++) {
        CHECK(owns[i].status == BNFLOSS_OK, "rows of thread %d: status %d", i,
              (int)owns[i].status);
        tokens += pool.is.forward[i].tokens;
    }
    CHECK(pool.status == BNFLOSS_OK && tokens == single.is.forward[0].tokens,
          "%s: the ranges' tokens", bnfloss_kind_name(fam.spec->kind));
    CHECK(SAME(&pool.is, &single.is, state, state)
              && SAME(&pool.is, &single.is, logp, dlogp)
              && SAME(&pool.is, &single.is, row_loss, row_loss)
              && SAME(&pool.is, &single.is, seq_loss, grad)
              && memcmp(pool.is.grad, single.is.run_grad,
                        FAM_N * STRIDE * elem_size(fam.layout.grad_type))
                     == 0,
          "%s, %s: other bits by row ranges", bnfloss_kind_name(fam.spec->kind),
          bnfloss_isa());
}

static int stop;

/* Another instruction set, under calls that are on their way. */
static void *switcher(void *arg)
{
    int n = 0;

    while (!__sync_fetch_and_add(&stop, 0)) {
        const char *name = bnfloss_isa_name(n);

        bnfloss_isa_select(name ? name : "auto");
        n = name ? n + 1 : 0;
    }
    bnfloss_isa_select("auto");
    return arg;
}

/* Self-tests and calls at once, while the instruction set is switched. */
static void *tested(void *arg)
{
    own *o = (own *)arg;

    for (int n = 0; n < 3; n++) {
        const char *isa = NULL;

        also(o, bnfloss_selftest(&isa));
        also(o, isa ? BNFLOSS_E_SELFTEST : BNFLOSS_OK);
        whole(o);
    }
    return NULL;
}

static void self_tests(void)
{
    pthread_t other;

    begin(&single);
    whole(&single);
    begin_team();
    stop = 0;
    CHECK(pthread_create(&other, NULL, switcher, NULL) == 0, "thread");
    team(tested);
    __sync_fetch_and_add(&stop, 1);
    CHECK(pthread_join(other, NULL) == 0, "thread");
    check_team("self-tests");
}

int main(void)
{
    first_calls();
    FOR_EACH_ISA(isa)
        for (uint32_t kind = 1; kind <= BN_KINDS; kind++) {
            make_batch(kind);
            separate();
            together();
        }
    for (uint32_t kind = 1; kind <= 3; kind++) {
        make_batch(kind);
        self_tests();
    }
    return test_end();
}
