/* Rows that are 2^31 elements apart, in address space that is reserved and not
 * backed; and rows that must not be read, in pages that nobody may touch.
 *
 * SPDX-License-Identifier: MIT
 *
 * Four rows: one that counts, one with a negative label, one with weight 0,
 * one that counts. Only the pages of the first and the last can be read; with
 * accumulation only their gradients can be written. The results must be those
 * of the same rows packed together. 32-bit products of row and stride wrap at
 * the second row, where they land in pages that cannot be touched, or on the
 * first row. E59 of EDGES.md. */
#define _DEFAULT_SOURCE
#include "../test.h"

#if defined(__linux__) && UINTPTR_MAX > 0xFFFFFFFF && defined(__GNUC__)
#include <sys/mman.h>

enum { N = 4, V = 100, PAGE = 1 << 16 };
static const int64_t stride = (INT64_C(1) << 31) + 3;   /* elements */

typedef struct answer {
    float grad[N * V], logp[N], dlogp[N];
    double loss;
    bnfloss_result result;
} answer;

static float dense[N * V];
static uint32_t logits_type, grad_type;     /* of the case at hand */

/* Room for N rows of floats; only the first and the last row of rows of this
 * size can be touched. NULL if the system does not give that much address
 * space. */
static void *reserve(size_t size_of)
{
    const size_t size = ((size_t)(N - 1) * (size_t)stride + V) * 4 + 2 * PAGE;
    char *p = (char *)mmap(NULL, size, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    const size_t last = (size_t)(N - 1) * (size_t)stride * size_of / PAGE
                        * PAGE;

    if (p == (char *)MAP_FAILED)
        return NULL;
    if (mprotect(p, PAGE, PROT_READ | PROT_WRITE) != 0
        || mprotect(p + last, 2 * PAGE, PROT_READ | PROT_WRITE) != 0)
        return NULL;
    return p;
}

static void release(void *p)
{
    if (p)
        munmap(p, ((size_t)(N - 1) * (size_t)stride + V) * 4 + 2 * PAGE);
}

static int counts(int i)
{
    return i == 0 || i == N - 1;
}

/* kind: one that is fused, and one that sweeps twice. */
static void call(uint32_t kind, const void *z, void *g, int64_t separate,
                 answer *a)
{
    static const int64_t start[] = { 0, 2, N };
    static const float ref[N] = { -1, -2, -3, -4 }, weight[N] = { 1, 1, 0, 2 };
    static const int64_t labels[N] = { 7, -1, 9, 99 };
    static unsigned char work[1 << 13];
    bnfloss_layout l;
    bnfloss_spec s;
    bnfloss_inputs in;
    bnfloss_outputs out;

    EMPTY(l);
    EMPTY(in);
    EMPTY(out);
    EMPTY(a->result);
    l.label_type = BNFLOSS_I64;
    l.logits_type = logits_type;
    l.grad_type = grad_type;
    l.flags = BNFLOSS_ACCUMULATE;       /* ignored rows stay untouched */
    l.rows = N;
    l.vocab = V;
    l.logits_stride = l.grad_stride = separate;
    bnfloss_spec_init(&s, sizeof s, kind);
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = 2;
    in.seq_start = start;
    in.ref_logp = ref;
    in.row_weight = weight;
    out.logp = a->logp;
    out.dlogp = a->dlogp;
    CHECK(bnfloss_run(&l, &s, &in, z, labels, g, &out, work, sizeof work, 1,
                      &a->result) == BNFLOSS_OK, "run");
    for (int i = 0; i < N; i++)
        for (int j = 0; j < V && counts(i); j++)
            a->grad[i * V + j] = elem_get(grad_type, g, i * separate + j);
}

static void compare(uint32_t kind, const char *isa, void *z, void *g)
{
    static answer far, near;
    static float packed[N * V], grad[N * V];    /* of any type */

    memset(&far, 0, sizeof far);
    memset(&near, 0, sizeof near);
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < V; j++) {
            elem_put(logits_type, packed, i * V + j, dense[i * V + j]);
            elem_put(grad_type, grad, i * V + j, (float)(i + j));
            if (!counts(i))
                continue;
            elem_put(logits_type, z, i * stride + j, dense[i * V + j]);
            elem_put(grad_type, g, i * stride + j, (float)(i + j));
        }
    }
    call(kind, packed, grad, V, &near);
    call(kind, z, g, stride, &far);
    CHECK(memcmp(&near.grad, &far.grad, sizeof near.grad) == 0,
          "%s, %s: gradient", bnfloss_kind_name(kind), isa);
    CHECK(memcmp(near.logp, far.logp, sizeof near.logp) == 0
          && memcmp(near.dlogp, far.dlogp, sizeof near.dlogp) == 0,
          "%s, %s: logp, dlogp", bnfloss_kind_name(kind), isa);
    CHECK(memcmp(&near.result, &far.result, sizeof near.result) == 0,
          "%s, %s: result", bnfloss_kind_name(kind), isa);
    CHECK(near.result.tokens == 2, "%d tokens", (int)near.result.tokens);
}

int main(void)
{
    void *z[] = { reserve(4), reserve(2) }, *g[] = { reserve(4), reserve(2) };
    rng r = { 7 };

    for (int i = 0; i < N * V; i++)
        dense[i] = (float)(rng_below(&r, 255) - 127) / 16;
    if (!z[0] || !z[1] || !g[0] || !g[1]) {
        test_skip("96 GiB of address space");
    } else {
        FOR_EACH_ISA(isa) {
            for (uint32_t n = 0; n < 9; n++) {
                void *const from = z[n % 3 > 0], *const to = g[n / 3 > 0];

                logits_type = n % 3;
                grad_type = n / 3;
                compare(BNFLOSS_SFT, isa, from, to);
                compare(BNFLOSS_BNF, isa, from, to);
                compare(BNFLOSS_DPO, isa, from, to);
            }
        }
    }
    for (int k = 0; k < 2; k++) {
        release(z[k]);
        release(g[k]);
    }
    return test_end();
}
#else
int main(void)
{
    test_skip("reserved address space: 64-bit Linux");
    return test_end();
}
#endif
