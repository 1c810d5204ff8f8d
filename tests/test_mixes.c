/* Several losses in one call: the call is the sum of its losses, each times
 * its weight, and each gets what it needs.
 *
 * SPDX-License-Identifier: MIT
 *
 * E188 to E192, E200, E201, E212, E229 to E233, E254, E255 and E257 of EDGES.md. */
#include "fixture.h"

static fam_outcome first, second, both;

static const char *name_of(uint32_t k)
{
    return bnfloss_kind_name(fam.spec[k].kind);
}

static int close_to(double got, double want, double size)
{
    return got == want || (got != got && want != want)
           || fabs(got - want) <= size;
}

/* Two losses in one batch, and what each of them needs. */
static void make_two(uint32_t a, uint32_t b)
{
    fam_make_sound(a, 0);
    fam_also(1, b, 1);
    fam_save();
}

/* ---- The sum of two calls ------------------------------------------------ */

/* The batch of two losses, with options by chance, as a call of both (only
 * < 0) or of one. What only the other loss reads is not given. */
static void make_pair(const bnfloss_spec *spec, int only)
{
    const uint32_t one = spec[only > 0].kind;
    const int paired = is_paired(spec[0].kind) || is_paired(spec[1].kind);

    fam_make(one, 11, 0);
    fam.spec[0] = spec[only > 0];
    if (only < 0) {
        fam_also(1, spec[1].kind, 1);
        fam.spec[0] = spec[0];
        fam.spec[1] = spec[1];
        fam.spec[0].also = 1;
    }
    fam.in.pairing = paired ? BNFLOSS_PAIRS_ADJACENT : BNFLOSS_PAIRS_NONE;
    fam.layout.flags = BNFLOSS_ENTROPY | BNFLOSS_MEAN | BNFLOSS_SQUARES;
    fam.out.log_square = fam.log_square;
    for (int k = 0; k < 2; k++)
        if (shape_of(spec[k].kind) == BN_BY_PAIR
            && (only < 0 || only == k || has_trait(one, BN_CERTAINTY))
            && (has_trait(spec[0].kind, BN_CERTAINTY)
                || has_trait(spec[1].kind, BN_CERTAINTY)))
            fam.in.pair_weight = fam.pair_weight;
}

/* Counts, metrics and the outputs of rows and sequences are the first
 * loss's. */
static void first_outputs(void)
{
    const bnfloss_result *a = &first.result, *r = &both.result;

    CHECK(memcmp(first.row_loss, both.row_loss, sizeof first.row_loss) == 0
          && memcmp(first.seq_logp, both.seq_logp, sizeof first.seq_logp) == 0
          && memcmp(first.seq_ratio, both.seq_ratio,
                    sizeof first.seq_ratio) == 0
          && memcmp(first.seq_loss, both.seq_loss, sizeof first.seq_loss)
             == 0, "%s + %s: outputs of a row or sequence", name_of(0),
          name_of(1));
    CHECK(memcmp(&a->divisor, &r->divisor, sizeof a->divisor) == 0
          && memcmp(&a->tokens, &r->tokens, offsetof(bnfloss_result, nan_rows)
                    - offsetof(bnfloss_result, tokens)) == 0
          && memcmp(&a->rewards_chosen, &r->rewards_chosen,
                    offsetof(bnfloss_result, z_loss)
                    - offsetof(bnfloss_result, rewards_chosen)) == 0,
          "%s + %s: counts and metrics", name_of(0), name_of(1));
#ifndef BNFLOSS_PENDING     /* CHOSEN_ONLY is forgotten beside another loss */
    if (fam.spec[0].flags & BNFLOSS_CHOSEN_ONLY)
        return;
#endif
    CHECK(memcmp(first.logp, both.logp, sizeof first.logp) == 0
          && memcmp(first.rest, both.rest, sizeof first.rest) == 0
          && memcmp(first.entropy, both.entropy, sizeof first.entropy) == 0
          && memcmp(first.argmax, both.argmax, sizeof first.argmax) == 0
          && memcmp(first.log_square, both.log_square,
                    sizeof first.log_square) == 0,
          "%s + %s: outputs of a row's logits", name_of(0), name_of(1));
}

/* Loss, dlogp, the gradient and FPO's are sums. dlogp is rounded from the sum
 * in double, so it is as exact as the two floats. */
static void sums(const bnfloss_spec *spec)
{
    const double loss = first.result.loss + second.result.loss;

    CHECK(both.spec_loss[0] == first.spec_loss[0]
          && both.spec_loss[1] == second.spec_loss[0],
          "%s + %s: losses %.17g and %.17g, not %.17g and %.17g", name_of(0),
          name_of(1), both.spec_loss[0], both.spec_loss[1],
          first.spec_loss[0], second.spec_loss[0]);
    CHECK(first.result.loss == spec[0].weight * first.spec_loss[0]
          && second.result.loss == spec[1].weight * second.spec_loss[0],
          "%s, %s: a loss is not its weight times its own", name_of(0),
          name_of(1));
    CHECK(close_to(both.result.loss, loss, 1e-15 * (fabs(first.result.loss)
                   + fabs(second.result.loss))), "%s + %s: loss %.17g, not "
          "%.17g", name_of(0), name_of(1), both.result.loss, loss);
    for (int64_t i = 0; i < FAM_N; i++) {
        const double a = (double)first.dlogp[i], b = (double)second.dlogp[i];
        const double size = U * (fabs(a) + fabs(b) + fabs(a + b)) + 0x1p-140;

        CHECK(close_to((double)both.dlogp[i], a + b, 1.01 * size),
              "%s + %s: dlogp of row %d %.9g, not %.9g", name_of(0),
              name_of(1), (int)i, (double)both.dlogp[i], a + b);
        for (int v = 0; v < FAM_V; v++)
            CHECK(close_to((double)both.grad[i][v], (double)first.grad[i][v]
                           + (double)second.grad[i][v], 8 * size),
                  "%s + %s: gradient of row %d, column %d", name_of(0),
                  name_of(1), (int)i, v);
    }
    for (int s = 0; s < FAM_S; s++) {
        const double a = (double)first.distance[s];
        const double b = (double)second.distance[s];

        CHECK(close_to((double)both.distance[s], a + b,
                       2 * U * (fabs(a) + fabs(b))), "%s + %s: distance_grad "
              "of sequence %d", name_of(0), name_of(1), s);
    }
}

/* Every loss with every loss, itself too. */
static void every_two(void)
{
    rng r = { 5 };

    for (uint32_t n = 0; n < BN_KINDS * BN_KINDS; n++) {
        bnfloss_spec spec[2];

        for (uint32_t k = 0; k < 2; k++) {
            bnfloss_spec_init(spec + k, sizeof *spec,
                              1 + (k ? n / BN_KINDS : n % BN_KINDS));
            fam_options(&r, spec + k);
            spec[k].weight = (double)(rng_below(&r, 17) - 8) / 4;
            spec[k].loss_scale = (double)(1 + rng_below(&r, 4));
        }
        make_pair(spec, 0);
        fam_run_and_take(&first, "alone");
        make_pair(spec, 1);
        fam_run_and_take(&second, "alone");
        make_pair(spec, -1);
        fam_run_and_take(&both, "with another");
        sums(spec);
        first_outputs();
    }
}

/* ---- What a later loss needs --------------------------------------------- */

static int reads_ref(uint32_t kind)
{
    return has_trait(kind, BN_REFERENCE);
}

/* An input that is missing, or whose number i is bad. */
static void missing(const void *pointer, bnfloss_status want)
{
    memset((char *)&fam + ((const char *)pointer - (const char *)&fam), 0,
           sizeof(void *));
    fam_refused("an input that another loss needs is missing", FAM_ALL, want,
                -1);
}

static void bad(float *array, int64_t i, bnfloss_status want)
{
    array[i] = NAN;
    fam_refused("an input that another loss needs is NaN", FAM_ALL, want, i);
}

/* Whichever loss of the call needs it, an input is asked for and checked. */
static void needs_of_two(uint32_t a, uint32_t b)
{
    make_two(a, b);
    fam_taken("two losses", FAM_ALL);
    if (reads_ref(a) || reads_ref(b)) {
        missing(&fam.in.ref_logp, BNFLOSS_E_NULL);
        bad(fam.ref, 3, BNFLOSS_E_REF_LOGP);
        fam.ref[3] = 1;
        fam_refused("a reference of 1", FAM_ALL, BNFLOSS_E_REF_LOGP, 3);
    }
    if (has_trait(a, BN_SOFT) || has_trait(b, BN_SOFT)) {
        missing(&fam.in.soft_label, BNFLOSS_E_NULL);
        bad(fam.soft, 2, BNFLOSS_E_INPUT);
    }
    if (has_trait(a, BN_DISTANCE) || has_trait(b, BN_DISTANCE)) {
        missing(&fam.in.distance, BNFLOSS_E_NULL);
        bad(fam.distance, 5, BNFLOSS_E_INPUT);
    }
    if (has_trait(a, BN_MASK) || has_trait(b, BN_MASK))
        missing(&fam.in.row_mask, BNFLOSS_E_NULL);
    if (has_trait(a, BN_CERTAINTY) || has_trait(b, BN_CERTAINTY)) {
        missing(&fam.in.pair_weight, BNFLOSS_E_NULL);
        bad(fam.pair_weight, 3, BNFLOSS_E_INPUT);
    }
    if (is_paired(a) || is_paired(b)) {
        fam.in.pairing = BNFLOSS_PAIRS_NONE;
        fam_refused("no pairs", FAM_ALL, BNFLOSS_E_PAIRING, -1);
    } else if (has_trait(a, BN_SIDES) || has_trait(b, BN_SIDES)) {
        missing(&fam.in.side, BNFLOSS_E_NULL);
    }
    if (!is_paired(a) || !is_paired(b)) {
        for (int64_t s = 0; s < FAM_S; s++) {
            fam.in.seq_weight = fam.seq_weight;
            bad(fam.seq_weight, s, BNFLOSS_E_INPUT);
        }
    }
    if (flags_taken(b) & BNFLOSS_WPO) {
        fam.spec[1].flags = BNFLOSS_WPO;
        fam_refused("no log_square", FAM_LOGPS, BNFLOSS_E_NULL, -1);
        fam.spec[1].flags = BNFLOSS_WPO;
        fam.in.log_square = fam.square;
        fam.square[9] = NAN;
        fam_refused("a NaN log_square", FAM_LOGPS, BNFLOSS_E_INPUT, 9);
    }
    if (b == BNFLOSS_SFT && !is_paired(a)) {
        fam.spec[1].flags = BNFLOSS_CHOSEN_ONLY;
        missing(&fam.in.side, BNFLOSS_E_NULL);
    }
}

static void needs_of_later_losses(void)
{
    for (uint32_t a = 1; a <= BN_KINDS; a++)
        for (uint32_t b = 1; b <= BN_KINDS; b++)
            needs_of_two(a, b);
    /* the shortest of them by name: CPO reads no reference, DPO does */
    make_two(BNFLOSS_CPO, BNFLOSS_DPO);
    fam.in.ref_logp = NULL;
    fam_refused("CPO and DPO without a reference", FAM_ALL, BNFLOSS_E_NULL,
                -1);
    fam.ref[6] = NAN;
    fam_refused("CPO and DPO with a NaN reference", FAM_ALL,
                BNFLOSS_E_REF_LOGP, 6);
}

/* ---- Counts -------------------------------------------------------------- */

/* A row is one row, however many losses count it. */
static void counted_once(void)
{
    for (uint32_t a = 1; a <= BN_KINDS; a++) {
        for (uint32_t b = 1; b <= BN_KINDS; b++) {
            const int refs = reads_ref(a) || reads_ref(b);
            const bnfloss_result *r = &fam.result;

            make_two(a, b);
            fam.logp_in[1] = fam.logp_in[9] = 0x1p-7f;
            fam.ref[9] = fam.ref[11] = fam.ref[12] = 0x1p-7f;
            fam.ref[2] = -HUGE_VALF;
            fam.logp_in[20] = NAN;
            CHECK(fam_logps() == BNFLOSS_OK, "%s + %s", name_of(0),
                  name_of(1));
            CHECK(r->nan_rows == 1 && r->zero_refs == refs
                  && r->clamped_logps == (reads_ref(a) || reads_ref(b) ? 4
                                                                      : 2),
                  "%s + %s: %d NaN, %d zero, %d clamped", name_of(0),
                  name_of(1), (int)r->nan_rows, (int)r->zero_refs,
                  (int)r->clamped_logps);
        }
    }
}

int main(void)
{
    FOR_EACH_ISA(isa)
        every_two();
    needs_of_later_losses();
    counted_once();
    return test_end();
}
