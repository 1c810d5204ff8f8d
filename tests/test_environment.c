/* Whatever the caller's thread is like: rounding modes, flushed denormals,
 * unmasked exceptions, forks, parallel regions, many threads, a signal
 * handler, a small stack. The bits are the same, and the caller's state too.
 *
 * SPDX-License-Identifier: MIT
 *
 * Cites E167 to E174 of EDGES.md. */
#if defined(__unix__) || defined(__APPLE__)
#define _GNU_SOURCE
#define HAVE_UNIX
#endif
#include "fixture.h"

#ifdef HAVE_UNIX
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Scenes: what is computed ------------------------------------------- */

enum { SCENES = 12 };

/* Scene n of three kinds: options whose numbers would show another rounding,
 * denormals wherever a number may be one, NaN and infinities. */
static void make_scene(fix_args *a, int n, uint32_t kind)
{
    fix_make(a, kind, (uint32_t)(n % 3), (uint32_t)(n / 3 % 3), 0);
    switch (n) {
    case 1: a->layout->logit_scale = 1.3f; a->layout->softcap = 7.1f; break;
    case 2: a->layout->softcap = 3.3f; break;
    case 3:
        a->layout->label_smoothing = kind == BNFLOSS_SFT ? 0.3f : 0;
        a->layout->z_loss = kind == BNFLOSS_SFT ? 0.01f : 0;
        break;
    case 4: a->layout->logit_scale = 1e-40f; break;
    case 5: a->layout->softcap = 1e-37f; a->layout->logit_scale = 0.3f; break;
    case 6: fix.weight[2] = 1e-40f; fix.weight[3] = -1e-45f; break;
    case 7:
        fix.ref[1] = -1e-40f;
        fix.ref[3] = -HUGE_VALF;
        a->logp_in[3] = 1e-45f;
        a->logp_in[5] = NAN;
        fix.dlogp_in[2] = 1e-40f;
        fix.dlogp_in[3] = NAN;
        fix.dlogp_in[5] = HUGE_VALF;
        break;
    case 8:
        fix_set_logit(a, 9, 3, NAN);
        fix_set_logit(a, 10, fix_label(a, 10), HUGE_VALF);
        fix_set_logit(a, 11, fix_label(a, 11), -HUGE_VALF);
        for (int64_t j = 0; j < FIX_V; j++)
            fix_set_logit(a, 0, j, (float)(int)fix_logit(a, 0, j) * 1e-44f);
        break;
    case 9:
        a->spec->beta = kind == BNFLOSS_DPO ? 1e-40f : 0;
        a->spec->eps = kind == BNFLOSS_BNF ? 1e-40f : 0;
        a->layout->label_smoothing = kind == BNFLOSS_SFT ? 1e-40f : 0;
        break;
    case 10:
        a->spec->loss_scale = 1e-310;
        a->spec->divisor = BNFLOSS_DIV_GIVEN;
        a->spec->divisor_value = 3e-310;
        break;
    case 11:
        for (int64_t j = 0; j < FIX_V; j++)
            fix_set_logit(a, 2, j, j % 2 ? 3e4f : -3e4f);
        a->layout->flags = BNFLOSS_ACCUMULATE;
        break;
    default: break;
    }
}

/* What a call leaves behind: everything but the structs with pointers. */
enum { TRACED = offsetof(fix_block, work) - offsetof(fix_block, result) };

typedef struct trace {
    int status[8];
    unsigned char bytes[3][TRACED];     /* after run, stages, all */
} trace;

/* States of columns that follow, for the merge. */
static void make_others(const fix_args *a)
{
    bnfloss_layout more = *a->layout;

    more.flags |= BNFLOSS_ENTROPY;
    more.vocab_begin = FIX_V;
    CHECK(bnfloss_forward(&more, a->logits, a->labels, 0, FIX_N, a->other,
                          NULL, NULL) == BNFLOSS_OK, "the other columns");
}

static void save(unsigned char *bytes)
{
    memcpy(bytes, (const char *)&fix + offsetof(fix_block, result), TRACED);
}

/* Every entry point, one after the other. No arithmetic of our own in here. */
static void every_entry(const fix_args *a, trace *t)
{
    int *status = t->status;

    status[0] = (int)fix_run(a);
    save(t->bytes[0]);
    status[1] = (int)fix_forward(a);
    status[2] = (int)fix_outputs(a);
    status[3] = (int)fix_loss_state(a);
    status[4] = (int)fix_backward(a);
    save(t->bytes[1]);
    status[5] = (int)fix_loss_logp(a);
    status[6] = (int)fix_merge(a);
    status[7] = (int)bnfloss_workspace(a->layout, a->spec, 0, FIX_S,
                                       (uint64_t *)(void *)&fix.seq_start[5]);
    save(t->bytes[2]);
}

/* Where two traces differ, by name, or NULL. */
static const char *difference(const trace *a, const trace *b)
{
    static const struct { size_t at; const char *name; } part[] = {
#define PART(field) { offsetof(fix_block, field), #field }
        PART(result), PART(logits), PART(grad), PART(labels), PART(logp),
        PART(rest), PART(entropy), PART(dlogp), PART(row_loss),
        PART(dlogp_out), PART(argmax), PART(seq_logp), PART(seq_loss),
        PART(state), PART(other)
#undef PART
    };
    const char *name = "inputs";
    const unsigned char *x = a->bytes[0], *y = b->bytes[0];
    size_t i = 0;

    if (memcmp(a->status, b->status, sizeof a->status) != 0)
        return "a status";
    while (i < sizeof a->bytes && x[i] == y[i])
        i++;
    if (i == sizeof a->bytes)
        return NULL;
    i = i % TRACED + offsetof(fix_block, result);
    for (size_t k = 0; k < sizeof part / sizeof *part; k++)
        if (part[k].at <= i)
            name = part[k].name;
    return name;
}

/* ---- The control word of this thread ------------------------------------ */

#if defined(__GNUC__) && defined(__x86_64__)
#include <xmmintrin.h>
#define HAVE_CONTROL
typedef struct control { unsigned int word; } control;

enum { ROUNDINGS = 4, FLUSHES = 4, TRAPS = 3 };

static control control_get(void)
{
    control c = { _mm_getcsr() };

    return c;
}

static void control_set(control c)
{
    _mm_setcsr(c.word);
}

/* FTZ is bit 15, DAZ bit 6, masks bits 7-12, sticky flags bits 0-5. */
static control control_of(int rounding, int flush, int traps)
{
    const unsigned masks = traps == 1 ? 0 : 0x1F80;
    control c = { (unsigned)rounding << 13 | masks | (traps == 2 ? 0x2Au : 0)
                  | (flush & 1 ? 1u << 15 : 0) | (flush & 2 ? 1u << 6 : 0) };

    return c;
}

static int control_same(control a, control b)
{
    return a.word == b.word;
}
#elif defined(__GNUC__) && defined(__aarch64__)
#define HAVE_CONTROL
typedef struct control { uint64_t word, flags; } control;

enum { ROUNDINGS = 4, FLUSHES = 4, TRAPS = 3 };

static control control_get(void)
{
    control c;

    __asm__ volatile("mrs %0, fpcr" : "=r"(c.word));
    __asm__ volatile("mrs %0, fpsr" : "=r"(c.flags));
    return c;
}

static void control_set(control c)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(c.word) : "memory");
    __asm__ volatile("msr fpsr, %0" : : "r"(c.flags) : "memory");
}

/* FZ is bit 24, default NaN bit 25, trap enables bits 8-12 and 15 (which most
 * CPUs ignore), sticky flags fpsr bits 0-4. */
static control control_of(int rounding, int flush, int traps)
{
    control c, saved = control_get();

    c.word = (uint64_t)rounding << 22
             | (traps == 1 ? UINT64_C(0x9F00) : 0)
             | (flush & 1 ? UINT64_C(1) << 24 : 0)
             | (flush & 2 ? UINT64_C(1) << 25 : 0);
    c.flags = traps == 2 ? 0xA : 0;
    control_set(c);                 /* what this CPU makes of it */
    c = control_get();
    control_set(saved);
    return c;
}

static int control_same(control a, control b)
{
    return a.word == b.word && a.flags == b.flags;
}
#endif

/* ---- E172, E173, E174: floating-point environments ---------------------- */

#ifdef HAVE_CONTROL
static sigjmp_buf after_trap;

static void trapped(int signal_number)
{
    (void)signal_number;
    siglongjmp(after_trap, 1);
}

/* Calls under c; 0 if an exception was raised. */
static int entries_under(control c, const fix_args *a, trace *t, control *left)
{
    const control usual = control_get();

    if (sigsetjmp(after_trap, 1)) {
        control_set(usual);
        return 0;
    }
    control_set(c);
    every_entry(a, t);
    *left = control_get();
    control_set(usual);
    return 1;
}

/* One scene under every environment against the usual one. */
static void scene_everywhere(int n, uint32_t kind, const char *isa)
{
    static trace usual, other;
    fix_args a;
    control left;

    make_scene(&a, n, kind);
    make_others(&a);
    every_entry(&a, &usual);
    for (int i = 0; i < 8; i++)
        CHECK(usual.status[i] == BNFLOSS_OK, "scene %d entry %d: status %d", n,
              i, usual.status[i]);
    for (int e = 0; e < ROUNDINGS * FLUSHES * TRAPS; e++) {
        const int rounding = e % ROUNDINGS, flush = e / ROUNDINGS % FLUSHES;
        const int traps = e / ROUNDINGS / FLUSHES;
        const control c = control_of(rounding, flush, traps);
        const char *what;

        make_scene(&a, n, kind);
        make_others(&a);
        if (!CHECK(entries_under(c, &a, &other, &left),
                   "scene %d %s %s: trap "
                   "(rounding %d, flush %d)",
                   n, kind_name(kind), isa, rounding, flush))
            continue;
        what = difference(&usual, &other);
        CHECK(what == NULL, "scene %d %s %s: other bits in %s (rounding %d, "
              "flush %d, traps %d)", n, kind_name(kind), isa, what, rounding,
              flush, traps);
        CHECK(control_same(left, c), "scene %d %s: the caller's state has "
              "changed (rounding %d, flush %d, traps %d)", n, isa, rounding,
              flush, traps);
    }
}

/* A call that is refused because of NaN, under unmasked exceptions. */
static void refused(int n, control c, const char *isa)
{
    static const bnfloss_status want[] = {
        BNFLOSS_E_VALUE, BNFLOSS_E_WEIGHT, BNFLOSS_E_WEIGHT,
        BNFLOSS_E_REF_LOGP, BNFLOSS_E_VALUE
    };
    bnfloss_status got[3] = { BNFLOSS_OK, BNFLOSS_OK, BNFLOSS_OK };
    const control usual = control_get();
    control left = usual;
    fix_args a;

    fix_make(&a, BNFLOSS_BNF, 0, 0, 0);
    CHECK(fix_forward(&a) == BNFLOSS_OK, "forward");
    switch (n) {
    case 0: a.layout->logit_scale = NAN; a.spec->eps = NAN; break;
    case 1: fix.weight[2] = NAN; break;
    case 2: fix.weight[2] = HUGE_VALF; break;
    case 3: fix.ref[2] = NAN; break;
    default: a.layout->softcap = -1e-40f; a.spec->loss_scale = NAN; break;
    }
    if (sigsetjmp(after_trap, 1)) {
        control_set(usual);
        CHECK(0, "refusal %d traps (%s)", n, isa);
        return;
    }
    control_set(c);
    got[0] = fix_run(&a);
    got[1] = fix_loss_state(&a);
    got[2] = fix_loss_logp(&a);
    left = control_get();
    control_set(usual);
    for (int i = 0; i < 3; i++)
        CHECK(got[i] == want[n], "refusal %d: status %d", n, (int)got[i]);
    CHECK(control_same(left, c), "refusal %d: the caller's state has changed",
          n);
}

/* A loss with several in one call where it is odd; the
 * measured shifts; the test of itself. 0 if an exception was raised. */
static int loss_under(control c, uint32_t kind, bnfloss_shifts *shifts,
                        control *left)
{
    const control usual = control_get();
    bnfloss_status got[3];
    rng r = { kind };

    fam_make(kind, kind, 1);
    fam_options(&r, fam.spec);
    fam_set_logit(2, 3, -HUGE_VALF);
    fam_set_logit(4, fam.label[4], -1e30f);
    fam_set_logit(12, 5, 0x1p-140f);
    fam.ref[8] = -HUGE_VALF;
    if (kind % 2)
        fam_also(1, kind % BN_KINDS + 1, 0x1p-1000);
    CHECK(fam_forward(BNFLOSS_MEAN | BNFLOSS_SQUARES, fam.state)
          == BNFLOSS_OK, "forward");
    memcpy(fam.other, fam.state, sizeof fam.other);
    fam.other[1].label = 0x1p-1060;
    memset(shifts, 0, sizeof *shifts);
    shifts->struct_size = sizeof *shifts;
    if (sigsetjmp(after_trap, 1)) {
        control_set(usual);
        return 0;
    }
    control_set(c);
    got[0] = fam_run(fam.grad, 1);
    fam.in.seq_weight = fam.in.pair_weight = fam.in.pair_scale = NULL;
    fam.in.pair_margin = fam.in.soft_label = fam.in.distance = NULL;
    fam.in.row_mask = NULL;
    fam.in.mismatched = NULL;
    fam.in.mismatches = 0;
    memset(&fam.in.shift_mean, 0, 2 * sizeof(double));
    got[1] = bnfloss_measure_shifts(&fam.in, FAM_N, fam.state, fam.other,
                                    fam.work, sizeof fam.work, shifts);
    got[2] = kind == 1 ? bnfloss_selftest(NULL) : BNFLOSS_OK;
    *left = control_get();
    control_set(usual);
    for (int i = 0; i < 3; i++)
        CHECK(got[i] == BNFLOSS_OK, "%s: call %d: status %d",
              bnfloss_kind_name(kind), i, (int)got[i]);
    return 1;
}

static void losses_everywhere(const char *isa)
{
    static fam_block usual;
    bnfloss_shifts shifts, usual_shifts;
    control left;

    for (uint32_t kind = 1; kind <= BN_KINDS; kind++) {
        CHECK(loss_under(control_get(), kind, &usual_shifts, &left),
              "%s traps", bnfloss_kind_name(kind));
        memcpy(&usual, &fam, sizeof fam);
        for (int e = 0; e < ROUNDINGS * FLUSHES * TRAPS; e++) {
            const control c = control_of(e % ROUNDINGS, e / ROUNDINGS
                                         % FLUSHES, e / ROUNDINGS / FLUSHES);

            CHECK(loss_under(c, kind, &shifts, &left), "%s %s: trap in "
                  "environment %d", bnfloss_kind_name(kind), isa, e);
            CHECK(memcmp(&fam, &usual, offsetof(fam_block, work)) == 0
                  && memcmp(&shifts, &usual_shifts, sizeof shifts) == 0,
                  "%s %s: other bits in environment %d",
                  bnfloss_kind_name(kind), isa, e);
            CHECK(control_same(left, c), "%s: the caller's state has changed "
                  "(environment %d)", bnfloss_kind_name(kind), e);
        }
    }
}

static void environments(void)
{
    static const uint32_t kinds[] = { BNFLOSS_SFT, BNFLOSS_BNF, BNFLOSS_DPO };
    struct sigaction act, old;

    memset(&act, 0, sizeof act);
    act.sa_handler = trapped;
    sigaction(SIGFPE, &act, &old);
    FOR_EACH_ISA(isa) {
        for (int n = 0; n < SCENES; n++)
            for (int k = 0; k < 3; k++)
                scene_everywhere(n, kinds[k], isa);
        for (int n = 0; n < 5; n++)
            for (int traps = 0; traps < TRAPS; traps++)
                refused(n, control_of(traps, traps, traps), isa);
        losses_everywhere(isa);
    }
    sigaction(SIGFPE, &old, NULL);
}
#else
static void environments(void)
{
    test_skip("floating-point environments: unknown architecture");
}
#endif

/* ---- Batches of their own, for threads and handlers --------------------- */

/* A copy of the batch at hand whose pointers point into itself. */
typedef struct own {
    fix_block *block;
    fix_args args;
} own;

static void *moved(const void *p, const fix_block *to)
{
    return (char *)to + ((const char *)p - (const char *)&fix);
}

#define MOVE(p) ((p) = moved((const void *)(p), b))

static int own_make(own *o, const fix_args *a)
{
    fix_block *b = (fix_block *)malloc(sizeof *b);
    fix_args *to = &o->args;

    o->block = b;
    if (!b)
        return 0;
    memcpy(b, &fix, sizeof fix);
    *to = *a;
    MOVE(to->layout);
    MOVE(to->spec);
    MOVE(to->inputs);
    MOVE(to->outputs);
    MOVE(to->result);
    MOVE(to->logits);
    MOVE(to->labels);
    MOVE(to->grad);
    MOVE(to->work);
    MOVE(to->state);
    MOVE(to->other);
    MOVE(to->dlogp_in);
    MOVE(to->dlogp_out);
    MOVE(to->logp_in);
    MOVE(to->rest_in);
    MOVE(to->inputs->seq_start);
    MOVE(to->inputs->side);
    MOVE(to->inputs->ref_logp);
    MOVE(to->inputs->row_weight);
    MOVE(to->outputs->logp);
    MOVE(to->outputs->rest);
    MOVE(to->outputs->entropy);
    MOVE(to->outputs->argmax);
    MOVE(to->outputs->dlogp);
    MOVE(to->outputs->row_loss);
    MOVE(to->outputs->seq_logp);
    MOVE(to->outputs->seq_loss);
    return 1;
}

/* The stages and the run, on an own batch. */
static int own_call(own *o)
{
    const fix_args *a = &o->args;

    return fix_forward(a) == BNFLOSS_OK && fix_loss_state(a) == BNFLOSS_OK
           && fix_backward(a) == BNFLOSS_OK && fix_run(a) == BNFLOSS_OK;
}

static int own_same(const own *a, const fix_block *want)
{
    const size_t from = offsetof(fix_block, result);

    return memcmp((const char *)a->block + from, (const char *)want + from,
                  offsetof(fix_block, work) - from) == 0;
}

enum { OWN = 16 };

static own owns[OWN];
static fix_block wanted[OWN];           /* what each must have computed */

/* Sixteen different batches, and their results by the best kernels. */
static void make_owns(int32_t threads)
{
    for (int i = 0; i < OWN; i++) {
        fix_args a;

        make_scene(&a, i % SCENES, (uint32_t)(1 + i % 3));
        a.threads = threads;
        CHECK(own_make(owns + i, &a) && own_call(owns + i), "batch %d", i);
        memcpy(wanted + i, owns[i].block, sizeof fix);
        memset(owns[i].block->grad, 0xA5, sizeof fix.grad);
    }
}

/* As before the call, so that accumulated gradients start anew. */
static void own_reset(int i)
{
    memset(owns[i].block->grad, 0xA5, sizeof fix.grad);
}

static void free_owns(void)
{
    for (int i = 0; i < OWN; i++)
        free(owns[i].block);
}

/* ---- E168: many threads, while the instruction set is switched ---------- */

static int stop;

static void *caller(void *arg)
{
    const int i = (int)((own *)arg - owns);

    for (int n = 0; n < 40; n++) {
        own_reset(i);
        if (!own_call(owns + i) || !own_same(owns + i, wanted + i))
            return arg;                 /* the thread has failed */
    }
    return NULL;
}

static void *switcher(void *arg)
{
    int n = 0;

    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        const char *name = bnfloss_isa_name(n);

        bnfloss_isa_select(name ? name : "auto");
        n = name ? n + 1 : 0;
    }
    bnfloss_isa_select("auto");
    return arg;
}

static void many_threads(void)
{
    pthread_t thread[OWN], other;
    void *failed;

    make_owns(1);
    CHECK(pthread_create(&other, NULL, switcher, NULL) == 0, "thread");
    for (int i = 0; i < OWN; i++)
        CHECK(pthread_create(thread + i, NULL, caller, owns + i) == 0,
              "thread %d", i);
    for (int i = 0; i < OWN; i++) {
        pthread_join(thread[i], &failed);
        CHECK(failed == NULL, "other bits in thread %d", i);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    pthread_join(other, NULL);
    free_owns();
}

/* ---- E167: inside a parallel region, and worker threads' environments --- */

#ifdef _OPENMP
#include <omp.h>

static void parallel_region(void)
{
    make_owns(2);
#pragma omp parallel for num_threads(4)
    for (int i = 0; i < OWN; i++)
        for (int n = 0; n < 5; n++) {
            int ok;

            own_reset(i);
            ok = own_call(owns + i) && own_same(owns + i, wanted + i);
#pragma omp critical
            CHECK(ok, "other bits inside a parallel region: %d", i);
        }
    free_owns();
}

#ifdef HAVE_CONTROL
/* Whether a worker's environment lasts from one region to the next. libomp
 * gives each worker its master's at every region's start, so there is nothing
 * there for the library to restore. */
static int workers_restore(control c)
{
    int changed = 0;

#pragma omp parallel num_threads(4)
    if (omp_get_thread_num() > 0)
        control_set(c);
#pragma omp parallel num_threads(4) reduction(+ : changed)
    if (omp_get_thread_num() > 0)
        changed += !control_same(control_get(), c);
    return changed == 0;
}

/* The team's threads have strange environments, before and after. */
static void worker_environments(void)
{
    static trace usual, other;
    fix_args a;
    const int saved = workers_restore(control_of(1, 1, 2));

    memset(&usual, 0, sizeof usual);
    memset(&other, 0, sizeof other);
    make_scene(&a, 2, BNFLOSS_SFT);
    CHECK(fix_run(&a) == BNFLOSS_OK, "run");
    save(usual.bytes[0]);
    for (int e = 0; e < ROUNDINGS * FLUSHES; e++) {
        const control strange = control_of(e % 4, e / 4, 2);
        int changed = 0;

        make_scene(&a, 2, BNFLOSS_SFT);
        a.threads = 4;
#pragma omp parallel num_threads(4)
        if (omp_get_thread_num() > 0)
            control_set(strange);
        CHECK(fix_run(&a) == BNFLOSS_OK, "run with four threads");
#pragma omp parallel num_threads(4) reduction(+ : changed)
        if (omp_get_thread_num() > 0)
            changed += !control_same(control_get(), strange);
        save(other.bytes[0]);
        CHECK(difference(&usual, &other) == NULL, "workers: other bits in %s",
              difference(&usual, &other));
        CHECK(changed == 0 || !saved, "%d workers' states have changed",
              changed);
    }
#pragma omp parallel num_threads(4)
    control_set(control_of(0, 0, 0));
}
#else
static void worker_environments(void) {}
#endif
#else
static void parallel_region(void)
{
    test_skip("inside a parallel region: built without OpenMP");
}

static void worker_environments(void) {}
#endif

/* ---- E169: a signal handler that interrupts a call ---------------------- */

static volatile sig_atomic_t signals, bad_signals;

static void handler(int signal_number)
{
    (void)signal_number;
    own_reset(0);
    if (!own_call(owns) || !own_same(owns, wanted))
        bad_signals++;
    signals++;
}

static void signal_handler(void)
{
    const struct itimerval every = { { 0, 1000 }, { 0, 1000 } };
    const struct itimerval never = { { 0, 0 }, { 0, 0 } };
    struct sigaction act, old;
    int bad = 0, calls = 0;

    make_owns(1);
    memset(&act, 0, sizeof act);
    act.sa_handler = handler;
    sigaction(SIGALRM, &act, &old);
    setitimer(ITIMER_REAL, &every, NULL);
    while (signals < 50 && calls < 200000) {
        const int i = 1 + calls++ % (OWN - 1);

        own_reset(i);
        bad += !own_call(owns + i) || !own_same(owns + i, wanted + i);
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &old, NULL);
    CHECK(signals >= 50, "only %d signals", (int)signals);
    CHECK(bad_signals == 0, "other bits in %d of %d handlers",
          (int)bad_signals, (int)signals);
    CHECK(bad == 0, "other bits in %d of %d interrupted calls", bad, calls);
    free_owns();
}

/* ---- E170: how much stack a call takes ---------------------------------- */

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) \
    || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

/* With AVX-512, the largest, gcc 11 and 12 stay within 7.1 KiB and clang 14
 * and 19 within 7.4. */
enum { MAX_STACK = 8192 };
/* The library's test of itself holds rows of two blocks, and work besides. */
enum { SELFTEST = 7, SELFTEST_MORE = 12288 };
enum { STACK = 1 << 18, PAINTED = 1 << 16, MARGIN = 64 };

static unsigned char *stack;
enum { ENTRIES = 10 };
static int64_t stack_used[ENTRIES + 1];

/* Entry point number n on the first own batch. */
static __attribute__((noinline)) int one_entry(int n)
{
    const fix_args *a = &owns[0].args;

    switch (n) {
    case 0: return (int)fix_forward(a);
    case 1: return (int)fix_backward(a);
    case 2: return (int)fix_run(a);
    case 3: return (int)fix_loss_state(a);
    case 4: return (int)fix_outputs(a);
    case 5: return (int)fix_merge(a);
    case 6: return (int)bnfloss_isa_select(bnfloss_isa());
    case SELFTEST: return (int)bnfloss_selftest(NULL);
    case 8: return (int)fam_run(fam.grad, 1);       /* several losses */
    case 9: return (int)fam_states();
    default: return 0;              /* the price of measuring */
    }
}

/* About where this thread's stack is now. */
static __attribute__((noinline)) unsigned char *stack_pointer(void)
{
    return (unsigned char *)__builtin_frame_address(0);
}

/* Paints the stack below, calls, and looks how far the paint has gone. */
static void *paint(void *arg)
{
    unsigned char *const volatile frame = stack_pointer();
    unsigned char *const top = frame - MARGIN;
    int64_t untouched;

    for (int n = ENTRIES; n >= 0; n--) {
        for (unsigned char *p = top - PAINTED; p < top; p++)
            *(volatile unsigned char *)p = 0xC5;
        if (one_entry(n) != BNFLOSS_OK)
            return arg;
        untouched = 0;
        while (untouched < PAINTED && top[untouched - PAINTED] == 0xC5)
            untouched++;
        stack_used[n] = PAINTED + MARGIN - untouched;
    }
    return NULL;
}

static void make_wide_batch(fix_args *a)
{
    static float logits[3 * BNFLOSS_CHUNK];
    static double work[4096];

    fix_make(a, BNFLOSS_BNF, 0, 0, 1);
    for (int j = 0; j < 3 * BNFLOSS_CHUNK; j++)
        logits[j] = (float)(j % 97) / 8;
    a->layout->rows = a->rows = a->to = 1;
    a->layout->vocab = 3 * BNFLOSS_CHUNK;
    a->layout->logits_stride = a->layout->grad_stride = 0;
    a->layout->logit_scale = 1.25f;
    a->inputs->sequences = 2;
    fix.seq_start[1] = fix.seq_start[2] = 1;
    CHECK(own_make(owns, a), "batch");
    owns[0].args.logits = owns[0].args.grad = logits;
    owns[0].args.work = work;
    owns[0].args.work_bytes = sizeof work;
    /* once, so that the linker's lazy binding is not measured */
    fam_make(BNFLOSS_AOT, 1, 1);
    fam_also(1, BNFLOSS_KTO, 1);
    CHECK(fam_forward(0, fam.state) == BNFLOSS_OK, "forward");
    for (int n = 0; n <= ENTRIES; n++) {
        owns[0].args.other = owns[0].block->other;
        CHECK(one_entry(n) == BNFLOSS_OK || n == 5, "entry point %d", n);
        memcpy(owns[0].block->other, owns[0].block->state,
               sizeof(bnfloss_row));
        owns[0].block->other[0].flags &= ~(uint32_t)BNFLOSS_ROW_LABEL;
    }
}

static void small_stack(const char *isa)
{
    static const char *const names[] = { "forward", "backward", "run", "loss",
                                         "row_outputs", "row_merge",
                                         "isa_select", "selftest",
                                         "run_several", "loss_several" };
    pthread_attr_t attr;
    pthread_t thread;
    void *failed = NULL;
    fix_args a;

    make_wide_batch(&a);
    bnfloss_isa_select(isa);
    pthread_attr_init(&attr);
    CHECK(pthread_attr_setstack(&attr, stack, STACK) == 0
          && pthread_create(&thread, &attr, paint, owns) == 0
          && pthread_join(thread, &failed) == 0 && failed == NULL,
          "a thread with a stack of our own");
    pthread_attr_destroy(&attr);
    free(owns[0].block);
    printf("stack on %s:", isa);
    for (int n = 0; n < ENTRIES; n++)
        printf(" %s %d", names[n], (int)(stack_used[n] - stack_used[ENTRIES]));
    printf("\n");
#if defined(__OPTIMIZE__) && !defined(SANITIZED)
    for (int n = 0; n < ENTRIES; n++)
        CHECK(stack_used[n] - stack_used[ENTRIES]
                  <= MAX_STACK + (n == SELFTEST ? SELFTEST_MORE : 0),
              "%s takes %d "
              "bytes of stack on %s",
              names[n], (int)(stack_used[n] - stack_used[ENTRIES]), isa);
#endif
}

static void small_stacks(void)
{
    stack = (unsigned char *)mmap(NULL, STACK, PROT_READ | PROT_WRITE,
                                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!CHECK((void *)stack != MAP_FAILED, "mmap"))
        return;
#ifdef SANITIZED
    test_skip("the size of the stack: a sanitizer uses it too");
#else
#ifndef __OPTIMIZE__
    test_skip("the limit of the stack: built without optimisation");
#endif
    FOR_EACH_ISA(isa)
        small_stack(isa);
#endif
    munmap(stack, STACK);
}

/* ---- E171: a fork after a threaded call --------------------------------- */

/* What a child process says of fn: its exit status, or -1 where it hangs. */
static int child_says(int (*fn)(void))
{
    int status = -1;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child == 0) {
        alarm(60);                      /* a child that hangs is killed */
        exit(fn());                     /* as programs end */
    }
    CHECK(child > 0, "fork");
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int all_again(void)
{
    for (int i = 0; i < OWN; i++) {
        own_reset(i);
        if (!own_call(owns + i) || !own_same(owns + i, wanted + i))
            return 2;
    }
    return 0;
}

static void after_fork(void)
{
    int said;

    make_owns(4);
    said = child_says(all_again);
    CHECK(said == 0, "the child says %d", said);
    free_owns();
#ifndef BNFLOSS_OPENMP
    test_skip("a fork after threads: built without BNFLOSS_OPENMP");
#endif
}

/* The same where the parent's only threaded call had exactly two: in a child
 * that has seen none before. */
static int fork_after_two(void)
{
    const long long failed = test_failed;
    int said;

    make_owns(2);
    said = child_says(all_again);
    return test_failed > failed ? 3 : said < 0 ? 4 : said;
}

/* ---- How many threads a call takes -------------------------------------- */

#if defined(BNFLOSS_OPENMP) && defined(_OPENMP) && defined(__linux__)
#include <dirent.h>

/* Threads of this process. */
static int threads_now(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int n = 0;

    for (struct dirent *e; tasks && (e = readdir(tasks)) != NULL;)
        n += e->d_name[0] != '.';
    if (tasks)
        closedir(tasks);
    return n;
}

/* How many more there are after a run that asks for so many; 99 where it
 * fails. The runtimes keep the threads of a region for the next. */
static int threads_taken(int32_t asked)
{
    const int before = threads_now();
    fix_args a;

    make_scene(&a, 0, BNFLOSS_SFT);
    a.threads = asked;
    return fix_run(&a) == BNFLOSS_OK ? threads_now() - before : 99;
}

static int with_one(void) { return threads_taken(1); }
static int with_two(void) { return threads_taken(2); }
static int with_three(void) { return threads_taken(3); }
static int with_a_hundred(void) { return threads_taken(100); }

static int with_the_usual(void)
{
    omp_set_num_threads(4);
    return threads_taken(0);
}

/* Where the runtime allows three, as OMP_THREAD_LIMIT=3 would. libomp cannot be
 * told to: it gives a region within teams one thread. */
#if !defined(__clang__) && __GNUC__ >= 9
static int with_eight(void)
{
    return omp_get_thread_limit() == 3 ? threads_taken(8) : 98;
}

static int with_a_limit(void)
{
    int taken = 98;

#pragma omp teams num_teams(1) thread_limit(3)
    taken = with_eight();
    return taken;
}
#endif

/* After a fork a child goes on alone. */
static int child_single_threaded(void)
{
    return threads_taken(2) == 1 ? child_says(with_three) : 99;
}

/* But one that had the caller's thread alone leaves its child free. */
static int child_free(void)
{
    omp_set_num_threads(1);
    return threads_taken(0) == 0 ? child_says(with_three) : 99;
}

/* Each in a child that has none yet: so many as were asked for, the caller's
 * own among them, and never more than rows (12). */
static void threads_asked_for(void)
{
    static const struct { int (*fn)(void); int more; const char *what;
    } t[] = {
        { with_one, 0, "threads = 1" },
        { with_two, 1, "threads = 2" },
        { with_three, 2, "threads = 3" },
        { with_a_hundred, FIX_N - 1, "threads = 100" },
        { with_the_usual, 3, "threads = 0, four by omp_set_num_threads()" },
#if !defined(__clang__) && __GNUC__ >= 9
        { with_a_limit, 2, "threads = 8, a limit of three" },
#endif
        { child_single_threaded, 0, "a child of a process with threads" },
        { child_free, 2, "a child of a process that was given one" },
    };

    if (threads_now() != 1 || omp_get_thread_limit() < 100
        || omp_get_dynamic()) {
        test_skip("the number of threads: this process has others, or a "
                  "limit");
        return;
    }
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        const int more = child_says(t[i].fn);

        CHECK(more == t[i].more, "%s: %d more, not %d", t[i].what, more,
              t[i].more);
    }
}
#else
static void threads_asked_for(void) { }     /* there is one thread */
#endif

int main(void)
{
    int said;

    /* first, while this process has no threads to bequeath */
    threads_asked_for();
    said = child_says(fork_after_two);
    CHECK(said == 0, "a fork after two threads: the child says %d", said);
    environments();
    many_threads();
    signal_handler();
    small_stacks();
    parallel_region();
    worker_environments();
    after_fork();
    return test_end();
}
#else
int main(void)
{
    test_skip("all of it: no POSIX here");
    test_end();
    return 0;
}
#endif
