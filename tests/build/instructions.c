/* One call of each kernel, in functions of known names, for callgrind.
 *
 * The calls go through the public functions, so that the kernels may be
 * rewritten: the layout decides which of them runs. The row has a tail and
 * several chunks; its logits come from integers, the same everywhere. */
#include "bnfloss.h"

#include <stdio.h>
#include <string.h>

enum { V = 50257, N = 2, LABEL = 40000 };

static float f32[N * V], grad_f32[N * V];
static uint16_t bf16[N * V], grad_bf16[N * V];
static bnfloss_row state[N];
static const int32_t labels[N] = { LABEL, 7 };
static double work[1024 + V / 2 + 24];    /* and to keep exponentials in */
static const float dlogp[N] = { -0.5f, -0.25f };

/* From -12 to 12, the sum of three numbers, as a model's would be. */
static void fill(void)
{
    uint32_t x = 1;

    for (int i = 0; i < N * V; i++) {
        float z = -12;
        uint32_t bits;

        for (int k = 0; k < 3; k++) {
            x = x * 1664525u + 1013904223u;
            z += (float)(x >> 8) * (8 * 0x1p-24f);
        }
        memcpy(&bits, &z, sizeof bits);
        f32[i] = z;
        bf16[i] = (uint16_t)(bits >> 16);
    }
}

static bnfloss_layout layout(uint32_t type, uint32_t flags, float smoothing)
{
    const bnfloss_layout l = {
        .struct_size = sizeof l, .logits_type = type, .grad_type = type,
        .flags = flags, .label_smoothing = smoothing, .rows = N, .vocab = V };

    return l;
}

static int forward(uint32_t type, uint32_t flags, float smoothing)
{
    const bnfloss_layout l = layout(type, flags, smoothing);
    const void *z = type == BNFLOSS_F32 ? (const void *)f32 : bf16;

    return bnfloss_forward(&l, z, labels, 0, N, state, NULL, NULL)
           != BNFLOSS_OK;
}

static int backward(uint32_t type, uint32_t flags, float smoothing)
{
    const bnfloss_layout l = layout(type, flags, smoothing);
    const void *z = type == BNFLOSS_F32 ? (const void *)f32 : bf16;
    void *grad = type == BNFLOSS_F32 ? (void *)grad_f32 : grad_bf16;

    return bnfloss_backward(&l, z, labels, 0, N, state, dlogp, grad, NULL)
           != BNFLOSS_OK;
}

/* In place: the last to be counted of a type. */
static int fused(uint32_t type, uint32_t flags, float smoothing)
{
    const bnfloss_layout l = layout(type, flags, smoothing);
    void *z = type == BNFLOSS_F32 ? (void *)f32 : bf16;
    const bnfloss_inputs inputs = { .struct_size = sizeof inputs };
    bnfloss_result result = { .struct_size = sizeof result };
    bnfloss_spec spec;

    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    return bnfloss_run(&l, &spec, &inputs, z, labels, z, NULL, work,
                       sizeof work, 1, &result) != BNFLOSS_OK;
}

/* callgrind counts from the entry to the exit of each of these. */
#define COUNTED __attribute__((noinline, noclone))
#define KERNEL(name, pass, flags, smoothing)                                  \
    COUNTED int count_##name##_f32(void);                                     \
    COUNTED int count_##name##_f32(void)                                      \
    {                                                                         \
        return pass(BNFLOSS_F32, flags, smoothing);                           \
    }                                                                         \
    COUNTED int count_##name##_bf16(void);                                    \
    COUNTED int count_##name##_bf16(void)                                     \
    {                                                                         \
        return pass(BNFLOSS_BF16, flags, smoothing);                          \
    }

KERNEL(forward, forward, 0, 0)
KERNEL(forward_dot, forward, BNFLOSS_ENTROPY, 0)
KERNEL(forward_general, forward, 0, 0.1f)
KERNEL(backward, backward, 0, 0)
KERNEL(backward_general, backward, 0, 0.1f)
KERNEL(fused, fused, 0, 0)

int main(void)
{
    int failed = bnfloss_isa_select("avx2") != BNFLOSS_OK;

    fill();
    failed |= count_forward_dot_f32() | count_forward_f32();
    failed |= count_backward_f32();
    failed |= count_forward_general_f32() | count_backward_general_f32();
    failed |= count_forward_dot_bf16() | count_forward_bf16();
    failed |= count_backward_bf16();
    failed |= count_forward_general_bf16() | count_backward_general_bf16();
    failed |= count_fused_f32() | count_fused_bf16();
    if (failed)
        puts("a call failed, or this CPU lacks AVX2");
    return failed;
}
