/* A batch and its numbers: see batch.h. */
#include "batch.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const dtype dtypes[] = {
    { "f32",      BNFLOSS_F32,  BNFLOSS_F32 },
    { "bf16",     BNFLOSS_BF16, BNFLOSS_BF16 },
    { "f16",      BNFLOSS_F16,  BNFLOSS_F16 },
    { "bf16-f32", BNFLOSS_BF16, BNFLOSS_F32 },
    { "f16-f32",  BNFLOSS_F16,  BNFLOSS_F32 },
    { NULL, 0, 0 }
};

size_t element_size(uint32_t type)
{
    return type == BNFLOSS_F32 ? 4 : 2;
}

/* ---- Elements ------------------------------------------------------------ */

static float from_half(uint32_t type, uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;

    if (type == BNFLOSS_F16) {
        bits = (uint32_t)(h & 0x8000) << 16;
        if (h & 0x7C00)
            bits |= ((uint32_t)(h & 0x7FFF) << 13) + 0x38000000u;
        else
            return (h & 0x8000 ? -1.0f : 1.0f) * (float)(h & 0x3FF) * 0x1p-24f;
    }
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* Cuts off what does not fit; f16 below its normal numbers becomes 0. */
static uint16_t to_half(uint32_t type, float z)
{
    uint32_t bits;

    memcpy(&bits, &z, sizeof bits);
    if (type == BNFLOSS_BF16)
        return (uint16_t)(bits >> 16);
    if (fabsf(z) < 0x1p-14f)
        return 0;
    return (uint16_t)((bits >> 16 & 0x8000)
                      | ((bits & 0x7FFFFFFF) - 0x38000000u) >> 13);
}

double element(uint32_t type, const void *p, int64_t i)
{
    if (type == BNFLOSS_F32)
        return (double)((const float *)p)[i];
    return (double)from_half(type, ((const uint16_t *)p)[i]);
}

/* ---- Numbers ------------------------------------------------------------- */

static uint64_t seed = 1;

static double uniform(void)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(seed >> 11) * 0x1p-53;
}

/* A bell a few nats wide, from -9 to 9. One draw gives three numbers of 21
 * bits: filling a batch takes longer than any kernel. */
static float bell(void)
{
    const uint64_t mask = (1 << 21) - 1;
    uint64_t x;

    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    x = (seed ^ seed >> 29) * UINT64_C(0x9E3779B97F4A7C15);
    x = (x >> 1 & mask) + (x >> 22 & mask) + (x >> 43);
    return (float)x * (6 * 0x1p-21f) - 9;
}

static void fill_source(batch *b)
{
    for (int64_t i = 0; i < b->N * b->V; i++) {
        const float z = bell();

        if (b->type->logits == BNFLOSS_F32)
            ((float *)b->source)[i] = z;
        else
            ((uint16_t *)b->source)[i] = to_half(b->type->logits, z);
    }
}

/* ---- The whole ----------------------------------------------------------- */

static size_t logits_bytes(const batch *b)
{
    return (size_t)(b->N * b->V) * element_size(b->type->logits);
}

batch batch_make(const dtype *type, int64_t N, int64_t V, int with_grad,
                 int threads, page_size pages)
{
    const size_t n = (size_t)N;
    batch b = { .type = type, .N = N, .V = V, .S = N };

    b.source = memory_take(logits_bytes(&b), pages);
    b.logits = memory_take(logits_bytes(&b), pages);
    if (with_grad)
        b.grad = memory_take(n * (size_t)V * element_size(type->grad), pages);
    b.label = memory_take(n * sizeof *b.label, pages);
    b.ref = memory_take(n * sizeof *b.ref, pages);
    b.dlogp = memory_take(n * sizeof *b.dlogp, pages);
    b.value = memory_take(n * sizeof *b.value, pages);
    b.rest = memory_take(n * sizeof *b.rest, pages);
    b.scale = memory_take(n * sizeof *b.scale, pages);
    b.start = memory_take((n + 1) * sizeof *b.start, pages);
    b.state = memory_take(n * sizeof *b.state, pages);
    b.work_bytes = (uint64_t)N * 256 + 65536 + (uint64_t)V / BNFLOSS_CHUNK * 88
                   + (uint64_t)threads * BNFLOSS_SCRATCH(V);
    b.work = memory_take(b.work_bytes, pages);
    for (int64_t i = 0; i < N; i++) {
        b.label[i] = (int32_t)(uniform() * (double)V);
        b.ref[i] = (float)(-log((double)V) - 2 * uniform());
    }
    for (int64_t s = 0; s <= b.S; s++)
        b.start[s] = s;
    fill_source(&b);
    b.dirty = 1;
    batch_refill(&b);
    return b;
}

void batch_free(batch *b)
{
    void *all[] = { b->source, b->logits, b->grad, b->label, b->ref, b->dlogp,
                    b->value, b->rest, b->scale, b->start, b->state,
                    b->work };

    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        free(all[i]);
}

void batch_refill(batch *b)
{
    if (b->dirty)
        memcpy(b->logits, b->source, logits_bytes(b));
    b->dirty = 0;
}
