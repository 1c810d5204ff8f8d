/* Not one byte outside the buffers: unreadable pages before and after each.
 *
 * SPDX-License-Identifier: MIT
 *
 * Every buffer of a call lies flush to the end of its pages, then flush to
 * their start, for V = 1..600 and around the block and the chunk: E53 of
 * EDGES.md. A wrong access is a fault, which names the case at hand. Padding
 * between rows holds NaN in the logits and canaries in the gradient. */
#if defined(__unix__) || defined(__APPLE__)
#define _GNU_SOURCE
#define HAVE_PAGES
#endif
#include "fixture.h"

#ifdef HAVE_PAGES
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    LOGITS, GRAD, LABELS, SEQ_START, SIDE, REF, WEIGHT, OUT_LOGP, OUT_REST,
    OUT_ENTROPY, OUT_ARGMAX, OUT_DLOGP, OUT_ROW_LOSS, OUT_SEQ_LOGP,
    OUT_SEQ_LOSS, STATE, OTHER, DLOGP, LOGP, REST, WORK, LAYOUT, SPEC, INPUTS,
    OUTPUTS, RESULT, BUFFERS
};

enum { N = 2, WIDE = 32768 + 8, BIG = 2 * (WIDE + 8) * 4 };

typedef struct pages { char *begin, *end; } pages;

static pages room[BUFFERS];
static char now[160];               /* the case at hand, for the handler */

static void fault(int signal_number)
{
    const char *text = "\nFAULT outside a buffer: ";

    (void)signal_number;
    if (write(1, text, strlen(text)) < 0 || write(1, now, strlen(now)) < 0
        || write(1, "\n", 1) < 0)
        _exit(2);
    _exit(1);
}

/* Pages for `size` bytes between two that fault. */
static int make_room(pages *p, size_t size)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t inner = (size + page - 1) / page * page;
    char *all = (char *)mmap(NULL, inner + 2 * page, PROT_NONE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (all == (char *)MAP_FAILED
        || mprotect(all + page, inner, PROT_READ | PROT_WRITE) != 0)
        return 0;
    p->begin = all + page;
    p->end = p->begin + inner;
    return 1;
}

/* ---- One call ----------------------------------------------------------- */

typedef struct shape {
    const char *isa;
    uint32_t kind, logits_type, grad_type;
    int64_t V, pad, zeroed;         /* zeroed: grad_cols - V */
    int at_end, in_place, staged;
} shape;

static int last_end;

/* `bytes` of buffer b, flush to the end or start of its pages. */
static void *place(int b, size_t bytes)
{
    return last_end ? room[b].end - bytes : room[b].begin;
}

static void place_structs(const shape *s, fix_args *a)
{
    a->layout = (bnfloss_layout *)place(LAYOUT, sizeof *a->layout);
    a->spec = (bnfloss_spec *)place(SPEC, sizeof *a->spec);
    a->inputs = (bnfloss_inputs *)place(INPUTS, sizeof *a->inputs);
    a->outputs = (bnfloss_outputs *)place(OUTPUTS, sizeof *a->outputs);
    a->result = (bnfloss_result *)place(RESULT, sizeof *a->result);
    EMPTY(*a->layout);
    EMPTY(*a->inputs);
    EMPTY(*a->outputs);
    EMPTY(*a->result);
    bnfloss_spec_init(a->spec, sizeof *a->spec, s->kind);
    a->layout->logits_type = s->logits_type;
    a->layout->grad_type = s->grad_type;
    a->layout->rows = N;
    a->layout->vocab = s->V;
    a->layout->logits_stride = a->layout->grad_stride = s->V + s->pad;
    a->layout->grad_cols = s->zeroed ? s->V + s->zeroed : 0;
}

static void place_buffers(fix_args *a)
{
    int64_t *start = (int64_t *)place(SEQ_START, (N + 1) * 8);
    int8_t *side = (int8_t *)place(SIDE, N);
    float *ref = (float *)place(REF, N * 4);
    float *weight = (float *)place(WEIGHT, N * 4);
    bnfloss_outputs *out = a->outputs;

    for (int i = 0; i < N; i++) {
        start[i] = i;
        side[i] = i % 2 ? -1 : 1;
        ref[i] = -1.5f;
        weight[i] = 0.75f;
    }
    start[N] = N;
    a->inputs->pairing = BNFLOSS_PAIRS_ADJACENT;
    a->inputs->sequences = N;
    a->inputs->seq_start = start;
    a->inputs->side = side;
    a->inputs->ref_logp = ref;
    a->inputs->row_weight = weight;
    out->logp = (float *)place(OUT_LOGP, N * 4);
    out->rest = (float *)place(OUT_REST, N * 4);
    out->entropy = (float *)place(OUT_ENTROPY, N * 4);
    out->argmax = (int32_t *)place(OUT_ARGMAX, N * 4);
    out->dlogp = (float *)place(OUT_DLOGP, N * 4);
    out->row_loss = (float *)place(OUT_ROW_LOSS, N * 4);
    out->seq_logp = (double *)place(OUT_SEQ_LOGP, N * 8);
    out->seq_loss = (double *)place(OUT_SEQ_LOSS,
                                    a->spec->kind == BNFLOSS_DPO ? N * 4
                                                                 : N * 8);
    a->state = (bnfloss_row *)place(STATE, N * sizeof(bnfloss_row));
    a->other = (bnfloss_row *)place(OTHER, N * sizeof(bnfloss_row));
    a->dlogp_in = a->dlogp_out = (float *)place(DLOGP, N * 4);
    a->logp_in = (float *)place(LOGP, N * 4);
    a->rest_in = (float *)place(REST, N * 4);
}

/* Logits, the label at an end or in the middle, and a gradient of canaries. */
static void place_rows(const shape *s, fix_args *a)
{
    const int64_t stride = s->V + s->pad;
    const int64_t last = stride + (s->zeroed ? s->V + s->zeroed : s->V);
    const size_t z = (size_t)(stride + s->V) * elem_size(s->logits_type);
    const size_t g = (size_t)last * elem_size(s->grad_type);
    int32_t *label = (int32_t *)place(LABELS, N * 4);
    rng r = { (uint64_t)s->V };

    a->labels = label;
    a->logits = place(LOGITS, s->in_place && g > z ? g : z);
    a->grad = s->in_place ? a->logits : place(GRAD, g);
    if (!s->in_place)
        memset(a->grad, 0xA5, g);
    for (int64_t i = 0; i < N; i++) {
        label[i] = (int32_t)(s->V % 3 == 0 ? s->V - 1 : s->V % 3 == 1 ? 0
                             : rng_below(&r, s->V));
        for (int64_t j = 0; j < (i < N - 1 ? stride : s->V); j++)
            elem_put(s->logits_type, a->logits, i * stride + j,
                     j < s->V ? (float)(rng_below(&r, 255) - 127) / 16 : NAN);
    }
}

/* What lies between the rows: zeros where they were asked for, then what was
 * there before. */
static void check_padding(const shape *s, const fix_args *a)
{
    const size_t size = elem_size(s->grad_type);
    const int64_t stride = s->V + s->pad;

    for (int64_t j = s->V; j < stride; j++) {
        const unsigned char *p = (const unsigned char *)a->grad
                                 + (size_t)j * size;

        if (j < s->V + s->zeroed)
            CHECK(elem_get(s->grad_type, a->grad, j) == 0, "%s: col %d", now,
                  (int)j);
        else if (s->in_place)
            CHECK(isnan(elem_get(s->grad_type, a->grad, j)), "%s: col %d",
                  now, (int)j);
        else
            CHECK(p[0] == 0xA5 && p[size - 1] == 0xA5, "%s: col %d", now,
                  (int)j);
    }
    for (int64_t j = 0; j < s->zeroed; j++)
        CHECK(elem_get(s->grad_type, a->grad, stride + s->V + j) == 0,
              "%s: last row, col %d", now, (int)(s->V + j));
}

static void call(const shape *s, fix_args *a)
{
    uint64_t loss_bytes = 0;

    CHECK(bnfloss_workspace(a->layout, a->spec, 0, N, &a->work_bytes)
          == BNFLOSS_OK && bnfloss_workspace(NULL, a->spec, N, N, &loss_bytes)
          == BNFLOSS_OK, "%s: workspace", now);
    if (!s->staged) {
        a->work = place(WORK, (size_t)a->work_bytes);
        CHECK(fix_run(a) == BNFLOSS_OK, "%s: run", now);
        return;
    }
    a->work_bytes = loss_bytes;
    a->work = place(WORK, (size_t)loss_bytes);
    CHECK(fix_forward(a) == BNFLOSS_OK, "%s: forward", now);
    memcpy(a->logp_in, a->outputs->logp, N * 4);
    memcpy(a->rest_in, a->outputs->rest, N * 4);
    CHECK(fix_loss_logp(a) == BNFLOSS_OK, "%s: logps", now);
    CHECK(fix_loss_state(a) == BNFLOSS_OK, "%s: states", now);
    CHECK(fix_backward(a) == BNFLOSS_OK, "%s: backward", now);
    CHECK(fix_outputs(a) == BNFLOSS_OK, "%s: outputs", now);
    memcpy(a->other, a->state, N * sizeof *a->state);
    for (int i = 0; i < N; i++)
        a->other[i].flags &= ~(uint32_t)BNFLOSS_ROW_LABEL;
    CHECK(fix_merge(a) == BNFLOSS_OK, "%s: merge", now);
}

static uint64_t hash(const shape *s, const fix_args *a)
{
    uint64_t h = UINT64_C(14695981039346656037);
    const int64_t stride = s->V + s->pad;

    for (int64_t i = 0; i < N; i++) {
        const unsigned char *p = (const unsigned char *)a->grad
            + (size_t)(i * stride) * elem_size(s->grad_type);

        for (size_t k = 0; k < (size_t)s->V * elem_size(s->grad_type); k++)
            h = (h ^ p[k]) * UINT64_C(1099511628211);
        h = (h ^ bits_of(a->outputs->logp[i])) * UINT64_C(1099511628211);
        h = (h ^ bits_of(a->outputs->dlogp[i])) * UINT64_C(1099511628211);
    }
    return h;
}

static uint64_t guarded(shape *s)
{
    fix_args a;

    memset(&a, 0, sizeof a);
    snprintf(now, sizeof now, "%s V %d %s %s->%s%s%s, flush to the %s, pad %d",
             s->isa, (int)s->V, kind_name(s->kind), type_name(s->logits_type),
             type_name(s->grad_type), s->in_place ? " in place" : "",
             s->staged ? " staged" : "", s->at_end ? "end" : "start",
             (int)s->pad);
    last_end = s->at_end;
    a.to = a.rows = N;
    a.threads = 1;
    place_structs(s, &a);
    place_buffers(&a);
    place_rows(s, &a);
    call(s, &a);
    check_padding(s, &a);
    return hash(s, &a);
}

/* One V with one pair of types: both ends, padded and not; the same bits. */
static void both_ends(const char *isa, int64_t V, uint32_t zt, uint32_t gt)
{
    static const uint32_t kinds[] = { BNFLOSS_SFT, BNFLOSS_BNF, BNFLOSS_DPO };
    const uint64_t k = (uint64_t)V + zt + 3 * gt;
    shape s = { isa, kinds[k % 3], zt, gt, V, 0, 0, 1, 0, 0 };
    uint64_t h;

    s.staged = k / 3 % 2;
    s.in_place = zt == gt && k / 6 % 2;
    h = guarded(&s);
    s.at_end = 0;
    s.staged = !s.staged;
    s.pad = 1 + V % 5;
    s.zeroed = V % 2 && !s.in_place ? s.pad : 0;
    if (s.in_place && V % 2)
        s.zeroed = s.pad / 2;
    CHECK(guarded(&s) == h, "%s: other bits than without padding", now);
}

static void guard_all(void)
{
    static const int32_t around[] = { 1023, 1024, 1025, 2047, 2048, 2049,
                                      4095, 4096, 4097, 4099, 32767, 32768,
                                      32769, 32771 };

    FOR_EACH_ISA(isa) {
        for (uint32_t zt = 0; zt < 3; zt++) {
            for (uint32_t gt = 0; gt < 3; gt++) {
                for (int64_t V = 1; V <= 600; V++)
                    both_ends(isa, V, zt, gt);
                for (size_t i = 0; i < sizeof around / sizeof *around; i++)
                    both_ends(isa, around[i], zt, gt);
            }
        }
    }
}

/* ---- The arrays of every loss ------------------------------------------- */

enum { ARRAYS = 24 };

/* Moves an array of n bytes between two pages that fault. */
static void guard_array(pages *p, void *array_at, size_t n, int at_end)
{
    void *from, *to = at_end ? p->end - n : p->begin;

    memcpy(&from, array_at, sizeof from);
    if (!from)
        return;
    memcpy(to, from, n);
    memcpy(array_at, &to, sizeof to);
}

static void guard_inputs(pages *p, int at_end)
{
    int k = 0;

    for (; k < FAM_ARRAYS; k++)
        guard_array(p + k, fam_pointer(fam_arrays + k),
                    fam_arrays[k].size * fam_arrays[k].count, at_end);
#define GUARD(array, n) guard_array(p + k++, &(array), n, at_end)
    GUARD(fam.out.log_square, FAM_N * 4);
    GUARD(fam.out.seq_ratio, FAM_S * 8);
    GUARD(fam.out.seq_loss, is_paired(fam.spec[0].kind) ? FAM_P * 8
                                                        : FAM_S * 8);
    GUARD(fam.out.distance_grad, FAM_S * 4);
    GUARD(fam.out.spec_loss, 8 * (size_t)(1 + fam.spec[0].also));
    GUARD(fam.out.row_scale, FAM_N * 4);
#undef GUARD
}

/* Every loss, alone and with another, deferred, and by log-probabilities,
 * with exactly the work that it asks for. */
static void guard_loss(pages *p, const char *isa)
{
    for (uint32_t n = 0; n < BN_KINDS * 2 * 4; n++) {
        const uint32_t kind = n % BN_KINDS + 1, how = n / BN_KINDS / 2;
        const int at_end = n / BN_KINDS % 2 != 0;
        bnfloss_status got;
        uint64_t bytes = 0;
        void *work;

        snprintf(now, sizeof now, "%s %s, way %u, at the %s", isa,
                 bnfloss_kind_name(kind), how, at_end ? "end" : "start");
        fam_make(kind, 1, 1);
        fam.out.log_square = fam.log_square;
        if (how == 1)
            fam_also(2, BNFLOSS_FPO, 1);
        if (how == 2) {
            fam.spec[0].flags = BNFLOSS_DEFER_SCALE;
            fam.out.row_scale = fam.row_scale;
        }
        if (how == 3 && flags_taken(kind) & BNFLOSS_WPO) {
            fam.spec[0].flags = BNFLOSS_WPO;
            fam.in.log_square = fam.square;
        }
        guard_inputs(p, at_end);
        CHECK(bnfloss_workspace(how == 3 ? NULL : &fam.layout, fam.spec,
                                FAM_N, FAM_S, &bytes) == BNFLOSS_OK
              && bytes <= 8192, "%s: work", now);
        work = at_end ? p[ARRAYS].end - bytes : p[ARRAYS].begin;
        got = how == 3
            ? bnfloss_loss(fam.spec, &fam.in, FAM_N, NULL, fam.logp_in,
                           fam.rest_in, fam.dlogp_out, &fam.out, work, bytes,
                           &fam.result)
            : bnfloss_run(&fam.layout, fam.spec, &fam.in, fam.logits,
                          fam.label, fam.grad, &fam.out, work, bytes, 1,
                          &fam.result);
        CHECK(got == BNFLOSS_OK, "%s: status %d", now, (int)got);
    }
}

/* The shifts of one sequence of all rows, whose sort has just the room that
 * they need. */
static void guard_shifts(pages *p, const char *isa)
{
    static const int64_t start[] = { 0, FAM_N };
    static const int8_t side = 1;

    for (int at_end = 0; at_end < 2; at_end++) {
        const size_t bytes = 8 * FAM_N;
        bnfloss_inputs in;
        bnfloss_shifts x;

        snprintf(now, sizeof now, "%s shifts, at the %s", isa,
                 at_end ? "end" : "start");
        fam_make(BNFLOSS_BNF, 1, 0);
        EMPTY(x);
        EMPTY(in);
        in.sequences = 1;
        in.seq_start = start;
        in.side = &side;
        CHECK(bnfloss_forward(&fam.layout, fam.logits, fam.label, 0, FAM_N,
                              fam.state, NULL, NULL) == BNFLOSS_OK
              && bnfloss_measure_shifts(&in, FAM_N, fam.state, fam.state,
                                        at_end ? p->end - bytes : p->begin,
                                        bytes, &x) == BNFLOSS_OK
              && x.logp_chosen == 0, "%s: %g", now, x.logp_chosen);
    }
}

static void losses(void)
{
    static pages p[ARRAYS + 1];
    int made = 1;

    for (int k = 0; k <= ARRAYS; k++)
        made = made && make_room(p + k, 8192);
    if (!CHECK(made, "mmap"))
        return;
    FOR_EACH_ISA(isa) {
        guard_loss(p, isa);
        guard_shifts(p + ARRAYS, isa);
    }
}

int main(void)
{
    struct sigaction on_fault;
    int made = 1;

    memset(&on_fault, 0, sizeof on_fault);
    on_fault.sa_handler = fault;
    sigaction(SIGSEGV, &on_fault, NULL);
    sigaction(SIGBUS, &on_fault, NULL);
    for (int b = 0; b < BUFFERS; b++)
        made = made && make_room(room + b, b <= GRAD ? BIG : 4096);
    if (made) {
        guard_all();
        losses();
    } else {
        test_skip("guard pages: mmap refused");
    }
    return test_end() && made;
}
#else
int main(void)
{
    test_skip("guard pages: no mmap here");
    test_end();
    return 0;
}
#endif
