/* Large batches and wide rows: gradients that are stored past the caches, and
 * rows that several threads share. The bits are those of a small batch and of
 * one thread, and nothing is read or written beside them.
 *
 * SPDX-License-Identifier: MIT */
#if defined(__unix__) || defined(__APPLE__)
#define _GNU_SOURCE
#include <sys/mman.h>
#define HAVE_MMAP
#endif
#include "small.h"

#include <stdlib.h>

#ifndef BNFLOSS_OPENMP
#define ONE_THREAD "several threads: built without BNFLOSS_OPENMP"
#endif

static const char *isa_now;

/* ---- Batches of 32 MiB --------------------------------------------------- */

/* Three rows of a batch of 32 MiB and more, whose gradient is stored past the
 * caches: the bits of three rows that are the batch. */
static void large_batch(uint32_t type, uint32_t grad_type, uint32_t flags,
                        int in_place)
{
    enum { ROWS = 3, COLS = 83, ROOM = ROWS * COLS };
    static const float dlogp[ROWS] = { -1, 0.25f, -0.5f };
    static const int32_t y[ROWS] = { 0, 40, COLS - 1 };
    bnfloss_layout l = layout_of(ROWS, COLS, flags);
    float z[ROOM], g[2][ROOM];
    rng r = { 9 };

    l.logits_type = type;
    l.grad_type = grad_type;
    for (int j = 0; j < ROOM; j++) {
        elem_put(type, z, j, type == BNFLOSS_F32 ? (float)rng_normal(&r)
                             : 1 + (float)rng_below(&r, 128) / 128);
        g[0][j] = g[1][j] = 1;
    }
    for (int k = 0; k < 2; k++) {
        l.rows = k ? ((int64_t)1 << 25) / (COLS * 4) + 2 : ROWS;
        if (in_place)
            memcpy(g[k], z, sizeof z);
        CHECK(bnfloss_forward(&l, z, y, 0, ROWS, state, NULL, NULL)
              == BNFLOSS_OK
              && bnfloss_backward(&l, in_place ? g[k] : z, y, 0, ROWS, state,
                                  dlogp, g[k], NULL) == BNFLOSS_OK, "%s",
              isa_now);
    }
    CHECK(memcmp(g[0], g[1], sizeof g[0]) == 0, "%s: types %d and %d, flags "
          "%d, in place %d", isa_now, (int)type, (int)grad_type, (int)flags,
          in_place);
}

/* A run of such a batch, out of place: its exponentials are not saved, and its
 * gradients are stored past the caches. The bits of the run in place, where
 * they are saved. */
static void large_run(void)
{
    enum { COLS = 83, ROWS = (1 << 25) / (COLS * 4) + 2 };
    const size_t bytes = (size_t)ROWS * COLS * sizeof(float);
    float *z = (float *)calloc(1, bytes), *g = (float *)calloc(1, bytes);
    float *weight = (float *)calloc(ROWS, sizeof *weight);
    int32_t *y = (int32_t *)calloc(ROWS, sizeof *y);
    const bnfloss_layout l = layout_of(ROWS, COLS, 0);
    bnfloss_result result = result_of();
    bnfloss_inputs in;
    bnfloss_spec spec;
    uint64_t size = 0;
    void *room;
    rng r = { 10 };

    EMPTY(in);
    in.row_weight = weight;
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    CHECK(bnfloss_workspace(&l, &spec, 1, 0, &size) == BNFLOSS_OK, "size");
    room = malloc((size_t)size);
    if (!CHECK(z && g && weight && y && room, "64 MiB of memory"))
        exit(1);
    for (int i = 0; i < 3; i++) {       /* most rows are not read */
        const int row = i < 2 ? i : ROWS - 1;

        weight[row] = (float)(i + 1);
        y[row] = 7 * i;
        for (int j = 0; j < COLS; j++)
            z[(size_t)row * COLS + (size_t)j] = (float)rng_normal(&r);
    }
    CHECK(bnfloss_run(&l, &spec, &in, z, y, g, NULL, room, size, 1, &result)
          == BNFLOSS_OK
          && bnfloss_run(&l, &spec, &in, z, y, z, NULL, room, size, 1, &result)
             == BNFLOSS_OK, "%s", isa_now);
    CHECK(memcmp(z, g, bytes) == 0 && g[0] != 0, "%s: a large run", isa_now);
    free(z);
    free(g);
    free(weight);
    free(y);
    free(room);
}

/* ---- Fewer rows than threads --------------------------------------------- */

typedef struct few {
    bnfloss_layout l;
    bnfloss_spec spec;
    bnfloss_inputs in;
    int32_t y[4];
    float *z;
} few;

static double run_few(const few *f, const float *z, float *grad, int threads)
{
    static float logp[4];
    bnfloss_result r = result_of();
    bnfloss_outputs out;

    EMPTY(out);
    out.logp = logp;
    memset(work, 0, sizeof work);           /* a state that is written shows */
    CHECK(bnfloss_run(&f->l, &f->spec, &f->in, z, f->y, grad, &out, work,
                      sizeof work, threads, &r) == BNFLOSS_OK, "%s: %d "
          "threads", isa_now, threads);
    for (int i = 0; i < f->l.rows; i++)
        CHECK(f->y[i] < 0 ? logp[i] == 0 : logp[i] < 0, "%s: logp of row %d: "
              "%g", isa_now, i, (double)logp[i]);
    return r.loss;
}

/* Rows y[0], y[1], .. (-100: ignored) for more threads than rows: the loss and
 * the gradient of one thread. Ignored rows become 0, also the columns from
 * `vocab` to grad_cols, and nothing behind a row or behind them all is
 * written. */
static void few_rows(uint32_t kind, int rows, const int32_t *y, int64_t vocab,
                     int64_t pad)
{
    static const int64_t start[] = { 0, 1, 2 };
    static const float ref[] = { -1, -1 };
    const int64_t stride = vocab + pad, cols = vocab + (pad ? pad - 2 : 0);
    const int64_t all = rows * stride;
    const size_t bytes = (size_t)(all + stride) * sizeof(float);
    float *z = (float *)malloc(bytes), *one = (float *)malloc(bytes);
    float *many = (float *)malloc(bytes);
    rng r = { 3 };
    double loss;
    few f;

    if (!CHECK(z && one && many, "no memory"))
        return;
    f.l = layout_of(rows, vocab, 0);
    f.l.logits_stride = f.l.grad_stride = stride;
    f.l.grad_cols = cols;
    memcpy(f.y, y, (size_t)rows * sizeof *y);
    bnfloss_spec_init(&f.spec, sizeof f.spec, kind);
    EMPTY(f.in);
    if (kind == BNFLOSS_DPO) {
        f.in.pairing = BNFLOSS_PAIRS_ADJACENT;
        f.in.sequences = 2;
        f.in.seq_start = start;
        f.in.ref_logp = ref;
    }
    for (int64_t j = 0; j < all + stride; j++) {
        z[j] = (float)(rng_below(&r, 513) - 256) / 64;
        one[j] = many[j] = 7;
    }
    loss = run_few(&f, z, one, 1);
    CHECK(isfinite(loss) && run_few(&f, z, NULL, 4) == loss, "%s: loss of 4 "
          "threads", isa_now);
    for (int threads = 4; threads >= 0; threads -= 4) {
        CHECK(run_few(&f, z, many, threads) == loss
              && memcmp(one, many, bytes) == 0, "%s: %d threads, V %d",
              isa_now, threads, (int)vocab);
        for (int64_t j = 0; j < all + stride; j++)
            many[j] = 7;
    }
    for (int64_t j = 0; j < all + stride; j++) {
        const int64_t i = j / stride, col = j % stride;

        CHECK(i == rows || col >= cols ? one[j] == 7
              : y[i] < 0 || col >= vocab ? one[j] == 0
              : one[j] != 0 && one[j] < 1, "%s: row %d, column %d is %g",
              isa_now, (int)i, (int)col, (double)one[j]);
    }
    memcpy(many, z, bytes);
    CHECK(run_few(&f, many, many, 4) == loss, "%s: in place", isa_now);
    for (int64_t j = 0; j < all + stride; j++)
        CHECK(many[j] == (j >= all || j % stride >= cols ? z[j] : one[j]),
              "%s: in place, column %d of row %d", isa_now,
              (int)(j % stride), (int)(j / stride));
    free(z);
    free(one);
    free(many);
}

/* Wide rows that are ignored are not read, by no thread. */
static void wide_unread(void)
{
#ifdef HAVE_MMAP
    enum { ROWS = 2, WIDE = 4 * BNFLOSS_CHUNK };
    const size_t row = WIDE * sizeof(float);
    float *z = (float *)mmap(NULL, ROWS * row, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    float *grad = (float *)malloc(ROWS * row);
    const bnfloss_layout l = layout_of(ROWS, WIDE, 0);
    const int32_t y[ROWS] = { -100, 5 };
    bnfloss_result r = result_of();
    bnfloss_spec s;

    if (!CHECK(z != (float *)MAP_FAILED && grad, "no memory"))
        return;
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_SFT);
    CHECK(mprotect(z, row, PROT_NONE) == 0, "mprotect");
    CHECK(bnfloss_run(&l, &s, NULL, z, y, grad, NULL, work, sizeof work, 4,
                      &r) == BNFLOSS_OK && r.tokens == 1, "%s", isa_now);
    CHECK(munmap(z, ROWS * row) == 0, "munmap");
    free(grad);
#endif
}

int main(void)
{
    enum { C = BNFLOSS_CHUNK };
    const int32_t ignored[] = { -100, 5, -100 }, two[] = { 1, 49 };
    const int32_t wide[] = { 1, 3 * C + 8 }, last[] = { 2 * C + 2 };

#ifdef ONE_THREAD
    test_skip(ONE_THREAD);
#endif
    FOR_EACH_ISA(isa) {
        isa_now = isa;
        large_batch(BNFLOSS_F32, BNFLOSS_F32, 0, 0);
        large_batch(BNFLOSS_F32, BNFLOSS_F32, 0, 1);
        large_batch(BNFLOSS_F32, BNFLOSS_F32, BNFLOSS_ACCUMULATE, 0);
        large_batch(BNFLOSS_F32, BNFLOSS_BF16, 0, 0);
        large_batch(BNFLOSS_BF16, BNFLOSS_F32, 0, 0);
        large_run();
        few_rows(BNFLOSS_SFT, 2, two, 50, 0);
        few_rows(BNFLOSS_SFT, 2, wide, 3 * C + 9, 0);
        few_rows(BNFLOSS_SFT, 3, ignored, 3 * C + 9, 0);
        few_rows(BNFLOSS_DPO, 2, wide, 3 * C + 9, 0);
        few_rows(BNFLOSS_SFT, 1, last, 2 * C + 3, 7);
        few_rows(BNFLOSS_SFT, 1, last, 16 * C + 1, 0);  /* none are saved */
        wide_unread();
    }
    return test_end();
}
