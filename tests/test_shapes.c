/* Every combination of small and extreme shapes, and every way in which three
 * buffers can lie to each other, against the header's words as a model: sums
 * and products of the model are exact, those of the library must not wrap.
 *
 * SPDX-License-Identifier: MIT */
#include "test.h"

#include <stdlib.h>

/* ---- Shapes ------------------------------------------------------------- */

/* a b > max, for all that are not negative: long multiplication. */
static int product_above(int64_t a, int64_t b, int64_t max)
{
    const uint64_t half = UINT64_C(0xFFFFFFFF);
    const uint64_t x = (uint64_t)a, y = (uint64_t)b;
    const uint64_t low = (x & half) * (y & half);
    const uint64_t mid = (x >> 32) * (y & half) + (low >> 32);
    const uint64_t mid2 = (x & half) * (y >> 32) + (mid & half);
    const uint64_t high = (x >> 32) * (y >> 32) + (mid >> 32) + (mid2 >> 32);

    return high > 0 || (mid2 << 32 | (low & half)) > (uint64_t)max;
}

/* What the header says of a layout's numbers. */
static bnfloss_status shape_of(const bnfloss_layout *l)
{
    const int64_t rows = INT64_C(1) << 40, ids = INT64_C(2147483647);
    const int64_t elements = (int64_t)(PTRDIFF_MAX / 8);
    const int64_t V = l->vocab, N = l->rows;
    const int64_t stride = l->logits_stride ? l->logits_stride : V;
    const int64_t grad_stride = l->grad_stride ? l->grad_stride : stride;
    const int64_t cols = l->grad_cols ? l->grad_cols : V;

    if (N < 0 || N > rows || V < 0 || V > ids || (N > 0 && V == 0)
        || l->vocab_begin < 0 || l->vocab_begin > ids)
        return BNFLOSS_E_SHAPE;
    if (stride < V || grad_stride < V || cols < V || cols > grad_stride)
        return BNFLOSS_E_SHAPE;
    if (l->vocab_total > ids
        || V + l->vocab_begin > (l->vocab_total ? l->vocab_total : ids))
        return BNFLOSS_E_SHAPE;
    if (product_above(N, stride, elements)
        || product_above(N, grad_stride, elements))
        return BNFLOSS_E_SHAPE;
    if (l->flags & BNFLOSS_ACCUMULATE && cols > V)
        return BNFLOSS_E_OPTION;
    return BNFLOSS_OK;
}

/* The workspace of SFT: 56 bytes a row, 88 a chunk, 96 for the one sequence
 * that all rows are, and a few. */
static int is_workspace(const bnfloss_layout *l, uint64_t bytes)
{
    const uint64_t chunks = ((uint64_t)l->vocab + BNFLOSS_CHUNK - 1)
                            / BNFLOSS_CHUNK;
    const uint64_t min = 56 * (uint64_t)l->rows + 88 * chunks + 96;

    if (l->rows == 0)
        return bytes == 0;
    return bytes >= min && bytes <= min + 64;
}

static const int64_t extremes[] = {
    0, 1, 2, 3, -1, INT64_C(0x7FFFFFFE), INT64_C(0x7FFFFFFF),
    INT64_C(0x80000000), INT64_C(1) << 40, (INT64_C(1) << 40) + 1,
    PTRDIFF_MAX / 8, PTRDIFF_MAX / 8 + 1, INT64_MAX, INT64_MIN
};
enum { EXTREMES = sizeof extremes / sizeof *extremes };

static void check_shape(bnfloss_layout *l, const bnfloss_spec *spec)
{
    for (uint32_t k = 0; k < 2; k++) {
        uint64_t bytes = 77;
        bnfloss_status want, got;

        l->flags = k ? BNFLOSS_ACCUMULATE : 0;
        want = shape_of(l);
        got = bnfloss_workspace(l, spec, 0, 0, &bytes);
        CHECK(got == want && (got == BNFLOSS_OK ? is_workspace(l, bytes)
                                                : bytes == 77),
              "N %lld V %lld strides %lld %lld cols %lld from %lld of %lld: "
              "status %d, not %d, %llu bytes", (long long)l->rows,
              (long long)l->vocab, (long long)l->logits_stride,
              (long long)l->grad_stride, (long long)l->grad_cols,
              (long long)l->vocab_begin, (long long)l->vocab_total, (int)got,
              (int)want, (unsigned long long)bytes);
    }
}

/* All seven numbers at once, of the first few; then any so many of them, of
 * all, the others at 0 and at 1. */
static void shapes(int few, int many)
{
    bnfloss_layout l;
    bnfloss_spec spec;
    int64_t *const at[] = { &l.rows, &l.vocab, &l.logits_stride,
                            &l.grad_stride, &l.grad_cols, &l.vocab_begin,
                            &l.vocab_total };
    int64_t count = 1;

    EMPTY(l);
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    for (int i = 0; i < 7; i++)
        count *= few;
    for (int64_t n = 0; n < count; n++) {
        int64_t left = n;

        for (int i = 0; i < 7; i++, left /= few)
            *at[i] = extremes[left % few];
        check_shape(&l, &spec);
    }
    for (int mask = 0; mask < 128; mask++) {
        int chosen[7], m = 0;

        count = 2;
        for (int i = 0; i < 7; i++) {
            if (mask >> i & 1) {
                chosen[m++] = i;
                count *= EXTREMES;
            }
        }
        for (int64_t n = 0; m == many && n < count; n++) {
            int64_t left = n / 2;

            for (int i = 0; i < 7; i++)
                *at[i] = n % 2;
            for (int i = 0; i < m; i++, left /= EXTREMES)
                *at[chosen[i]] = extremes[left % EXTREMES];
            check_shape(&l, &spec);
        }
    }
}

/* ---- Places ------------------------------------------------------------- */

enum { ARENA = 128, FIRST = 32 };

typedef struct extent { size_t from, to; } extent;

static int meet(extent a, extent b)
{
    return a.from < b.to && b.from < a.to;
}

/* Logits (N,V), gradient (N,V) and dlogp (N), so many bytes into the arena. */
static bnfloss_status place_of(const bnfloss_layout *l, size_t logits,
                               size_t grad, size_t dlogp)
{
    const size_t size = elem_size(l->logits_type), to = elem_size(l->grad_type);
    const size_t last = (size_t)(l->rows - 1), V = (size_t)l->vocab;
    const extent z = { logits, logits
                       + (last * (size_t)l->logits_stride + V) * size };
    const extent g = { grad, grad + (last * (size_t)l->grad_stride
                                     + (size_t)l->grad_cols) * to };
    const extent d = { dlogp, dlogp + (size_t)l->rows * 4 };
    const int in_place = logits == grad;

    if (in_place && (l->logits_type != l->grad_type
                     || l->logits_stride != l->grad_stride))
        return BNFLOSS_E_OVERLAP;
    if (logits % size || grad % to || dlogp % 4)
        return BNFLOSS_E_ALIGN;
    return (!in_place && meet(z, g)) || meet(z, d) || meet(g, d)
           ? BNFLOSS_E_OVERLAP : BNFLOSS_OK;
}

static void check_place(const bnfloss_layout *l, const bnfloss_spec *spec,
                        size_t logits, size_t grad, size_t dlogp)
{
    static const int32_t labels[] = { 1, 0 };
    static union { unsigned char byte[ARENA]; double aligned; } arena;
    static unsigned char work[1024];
    const bnfloss_status want = place_of(l, logits, grad, dlogp);
    bnfloss_result result;
    bnfloss_outputs out;
    bnfloss_status got;
    int changed = 0;

    EMPTY(result);
    EMPTY(out);
    out.dlogp = (float *)(void *)(arena.byte + dlogp);
    memset(arena.byte, 0x3C, sizeof arena);     /* small numbers, any type */
    got = bnfloss_run(l, spec, NULL, arena.byte + logits, labels,
                      arena.byte + grad, &out, work, sizeof work, 1, &result);
    for (int i = 0; i < ARENA; i++)
        changed |= arena.byte[i] != 0x3C;
    CHECK(got == want && changed == (got == BNFLOSS_OK), "types %d %d, N %d, "
          "strides %d %d, cols %d, at %d %d %d: status %d, not %d",
          (int)l->logits_type, (int)l->grad_type, (int)l->rows,
          (int)l->logits_stride, (int)l->grad_stride, (int)l->grad_cols,
          (int)logits, (int)grad, (int)dlogp, (int)got, (int)want);
}

static void places(void)
{
    bnfloss_layout l;
    bnfloss_spec spec;

    EMPTY(l);
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    l.vocab = 2;
    for (int n = 0; n < 9 * 2 * 2 * 3; n++) {
        l.logits_type = (uint32_t)(n % 3);
        l.grad_type = (uint32_t)(n / 3 % 3);
        l.rows = 1 + n / 9 % 2;
        l.logits_stride = 2 + n / 18 % 2;
        l.grad_stride = 2 + (n / 36 > 0);
        l.grad_cols = 2 + (n / 36 > 1);
        for (size_t logits = 0; logits < FIRST; logits += 2)
            for (size_t grad = 0; grad < FIRST; grad++)
                for (size_t dlogp = 0; dlogp < FIRST; dlogp += 2)
                    check_place(&l, &spec, logits, grad, dlogp);
    }
}

/* test_shapes [--all]: more numbers at once, for a minute. */
int main(int argc, char **argv)
{
    const int all = argc > 1 && strcmp(argv[1], "--all") == 0;

    shapes(all ? 10 : 6, all ? 5 : 3);
    places();
    return test_end();
}
