/* The library's own check of a machine: it passes here, and fails where a
 * single kernel is off by a single bit. And what no result shows on a machine
 * that reads at any address: that the parts of work are aligned.
 *
 * SPDX-License-Identifier: MIT */
#include "../src/bnfloss.c"
#include "test.h"

#include <fenv.h>

static const bn_kernels *honest;

/* One bit of one element, in rows of 40 and more. */
static void crooked_backward(const bn_chunk *chunk, const bn_coefficients *k,
                             const bn_map *map)
{
    float g;

    honest->backward[0](chunk, k, map);
    if (chunk->n < 40 || chunk->grad_type != BNFLOSS_F32)
        return;
    memcpy(&g, (char *)chunk->grad + 36 * sizeof g, sizeof g);
    g = bn_float_of(bn_bits_of(g) ^ 1);
    memcpy((char *)chunk->grad + 36 * sizeof g, &g, sizeof g);
}

/* The same of exponentials that were kept, if it is of this type. */
static uint32_t crooked_type;

static void crook(const bn_scaling *b, int64_t i)
{
    unsigned char *at = (unsigned char *)b->grad
                        + (size_t)i * bn_type_size(b->grad_type);

    if (b->grad_type == crooked_type)   /* not the sign, wherever that lies */
        at[bn_type_size(b->grad_type) / 2] ^= 1;
}

static void crooked_saved(const bn_scaling *b, uint32_t type, const void *z)
{
    honest->scale_saved(b, type, z);
    if (b->n >= 40 && b->done <= 36)
        crook(b, 36);
}

static void crooked_forward(const bn_chunk *chunk, const bn_map *map,
                            bnfloss_row *x)
{
    honest->forward[BN_DOT](chunk, map, x);
    x->dot = bn_double_of(bn_bits64_of(x->dot) ^ 1);
}

/* One bit of a row that waited for this one. */
static void crooked_before(const bn_chunk *chunk, const bn_map *map,
                           bnfloss_row *x)
{
    honest->forward[BN_DOT](chunk, map, x);
    if (chunk->save && chunk->save->relay && chunk->save->relay->done)
        crook(chunk->save->relay, 0);
}

/* And one of rows wider than a block, of this type. */

static void crooked_wide(const bn_chunk *chunk, bnfloss_row *x)
{
    if (chunk->n > BN_BLOCK && chunk->type == crooked_type)
        x->sum = bn_double_of(bn_bits64_of(x->sum) ^ 1);
}

static void crooked_wide_plain(const bn_chunk *chunk, const bn_map *map,
                               bnfloss_row *x)
{
    honest->forward[BN_PLAIN](chunk, map, x);
    crooked_wide(chunk, x);
}

static void crooked_wide_dot(const bn_chunk *chunk, const bn_map *map,
                             bnfloss_row *x)
{
    honest->forward[BN_DOT](chunk, map, x);
    crooked_wide(chunk, x);
}

/* From any address to the next multiple of 16, and so on from part to part. */
static void work_parts(void)
{
    static unsigned char space[256];

    for (size_t shift = 0; shift < 48; shift++) {
        unsigned char *part = bn_work_begin(space + shift);

        CHECK((uintptr_t)part % 16 == 0 && part >= space + shift
              && part - (space + shift) < 16, "work begins at %d",
              (int)(part - (space + shift)));
        for (int64_t n = 1; n < 6; n++) {
            unsigned char *const begin = part;

            CHECK(bn_work_take(&part, n, 8) == begin
                  && (uintptr_t)part % 16 == 0 && part - begin >= 8 * n
                  && part - begin < 8 * n + 16, "a part of %d", (int)n);
        }
        CHECK(bn_work_take(&part, 0, 8) == NULL, "an empty part");
    }
    CHECK(bn_work_begin(NULL) == NULL, "no work");
}

int main(void)
{
    const bn_kernels *list[BN_ISAS + 1];
    const char *isa = "unset";

    work_parts();
    bn_kernels_here(list);
    CHECK(bnfloss_selftest(&isa) == BNFLOSS_OK && !isa, "selftest: %s",
          isa ? isa : "a loss");
    CHECK(bnfloss_selftest(NULL) == BNFLOSS_OK, "without a name");
    CHECK(!bn_self_wrong(list), "a list of kernels that are right");
    for (int i = 0; list[i]; i++) {
        bn_kernels k = *list[i];
        const bn_kernels *const last[] = { list[0], &k, NULL };
        const bn_kernels *const first[] = { &k, list[0], NULL };

        honest = list[i];
        k.backward[0] = crooked_backward;
        CHECK(bn_self_wrong(last) == &k && bn_self_wrong(first) == &k,
              "one of two is wrong, by %s", k.name);
        k = *list[i];
        CHECK(bn_self_hash(&k) == BN_SELF_HASH, "%s: hash 0x%016llX", k.name,
              (unsigned long long)bn_self_hash(&k));
        k.backward[0] = crooked_backward;
        CHECK(bn_self_hash(&k) != BN_SELF_HASH, "backward of %s", k.name);
        k = *list[i];
        k.forward[BN_DOT] = crooked_forward;
        CHECK(bn_self_hash(&k) != BN_SELF_HASH, "forward of %s", k.name);
        k = *list[i];
        k.forward[BN_GENERAL] = k.forward[BN_PLAIN];
        CHECK(bn_self_hash(&k) != BN_SELF_HASH, "general of %s", k.name);
        k = *list[i];
        k.backward[1] = k.backward[0];
        CHECK(bn_self_hash(&k) != BN_SELF_HASH, "general of %s", k.name);
        k = *list[i];
        for (crooked_type = 0; crooked_type < 3; crooked_type++) {
            k = *list[i];
            k.scale_saved = crooked_saved;
            CHECK(bn_self_hash(&k) != BN_SELF_HASH, "kept of %s, type %d",
                  k.name, (int)crooked_type);
            k = *list[i];
            k.forward[BN_DOT] = crooked_before;
            CHECK(bn_self_hash(&k) != BN_SELF_HASH,
                  "rows that wait, %s, type %d", k.name, (int)crooked_type);
        }
        k.forward[BN_PLAIN] = crooked_wide_plain;
        k.forward[BN_DOT] = crooked_wide_dot;
        for (crooked_type = 0; crooked_type < 3; crooked_type++)
            CHECK(bn_self_hash(&k) != BN_SELF_HASH, "wide rows of type %d, %s",
                  (int)crooked_type, k.name);
    }
#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
    fesetround(FE_UPWARD);              /* whatever the caller rounds like */
    CHECK(bnfloss_selftest(NULL) == BNFLOSS_OK, "rounding upwards");
    fesetround(FE_TONEAREST);
#else
    test_skip("rounding upwards: nothing is promised about it here");
#endif
    return test_end();
}
