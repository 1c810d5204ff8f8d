/* Several losses in one call: the call is the sum of its losses, each times
 * its weight, and each gets what it needs.
 *
 * SPDX-License-Identifier: MIT */
#include "fixture.h"
#include "edges.h"

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

    edge("E232");
    edge("E233");
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
    for (int k = FAM_SEQ_WEIGHT; k < FAM_ARRAYS; k++) {
        const fam_array *x = fam_arrays + k;

        if (!has_trait(a, x->needed) && !has_trait(b, x->needed))
            continue;
        missing(fam_pointer(x), BNFLOSS_E_NULL);
        if (x->size == sizeof(float))
            bad((float *)x->numbers, (int64_t)x->count - 2, BNFLOSS_E_INPUT);
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

/* ---- Errors -------------------------------------------------------------- */

static void several(uint32_t kind)
{
    bnfloss_spec *s = fam.spec;

    edge("E188");
    s[0].also = 15;
    fam_taken("also 15", FAM_ALL);
    for (int k = 0; k < 2; k++) {
        s[0].also = k ? 0xFFFFFFFFu : 16;
        fam_refused("also", FAM_ALL, BNFLOSS_E_VALUE, -1);
    }
    edge("E189");
    s[0].also = 2;
    s[2].also = 1;
    fam_refused("nested also", FAM_ALL, BNFLOSS_E_OPTION, -1);
    edge("E190");
    s[0].also = 2;
    s[1].struct_size -= 8;
    fam_refused("a smaller second", FAM_ALL, BNFLOSS_E_STRUCT, -1);
    s[0].also = 2;
    s[2].struct_size += 8;
    fam_refused("a larger third", FAM_ALL, BNFLOSS_E_STRUCT, -1);
    edge("E191");
    s[0].also = 1;
    s[0].flags = BNFLOSS_DEFER_SCALE;
    fam.out.row_scale = fam.row_scale;
    fam_refused("a deferred mix", FAM_ALL, BNFLOSS_E_OPTION, -1);
    s[0].also = 1;
    s[1].flags = BNFLOSS_DEFER_SCALE;
    fam_refused("a deferred second", FAM_ALL, BNFLOSS_E_OPTION, -1);
    edge("E200");
    s[0].also = 3;
    s[3].kind = BN_KINDS + 1;
    fam_refused("an unknown fourth", FAM_ALL, BNFLOSS_E_ENUM, -1);
    s[0].also = 3;
    s[3].weight = NAN;
    fam_refused("a fourth of weight NaN", FAM_ALL, BNFLOSS_E_VALUE, -1);
    s[0].also = 3;
    s[3].reserved = 1;
    fam_refused("a reserved fourth", FAM_ALL, BNFLOSS_E_STRUCT, -1);
    s[0].also = 3;
    *(kind == BNFLOSS_BNF ? &s[3].beta : &s[3].eps) = 0.5f;
    fam_refused("a foreign number", FAM_ALL, BNFLOSS_E_OPTION, -1);
}

/* Specs that lie as far apart as a newer header makes them. */
static void larger_specs(void)
{
    static union { double align; unsigned char bytes[2 * 512]; } room;
    const uint32_t more[] = { 0, 8, 16, 64 };
    double loss = 0;

    edge("E201");
    fam_make_sound(BNFLOSS_DPO, 0);
    for (int k = 0; k < 4; k++) {
        const uint32_t size = (uint32_t)sizeof(bnfloss_spec) + more[k];
        bnfloss_spec s;

        memset(&room, 0, sizeof room);
        for (int j = 0; j < 2; j++) {
            bnfloss_spec_init(&s, sizeof s, j ? BNFLOSS_HINGE : BNFLOSS_DPO);
            s.struct_size = size;
            s.also = j == 0;
            memcpy(room.bytes + (size_t)j * size, &s, sizeof s);
        }
        CHECK(bnfloss_run(&fam.layout, (bnfloss_spec *)(void *)room.bytes,
                          &fam.in, fam.logits, fam.label, NULL, &fam.out,
                          fam.work, sizeof fam.work, 1, &fam.result)
              == BNFLOSS_OK, "specs of %u bytes", size);
        if (k == 0)
            loss = fam.result.loss;
        CHECK(fam.result.loss == loss, "specs of %u bytes: %g", size,
              fam.result.loss);
    }
    for (uint32_t size = 1; size < 8; size++) {
        fam_restore();
        fam.spec[0].also = 1;
        fam.spec[0].struct_size -= size;
        fam_refused("specs that do not lie aligned", FAM_ALL, BNFLOSS_E_STRUCT,
                    -1);
    }
}

/* The specs after the first are read when the first loss has been written. */
static void overlapped_specs(void)
{
    static fam_block before;

    edge("E254");
    for (int loss = 0; loss < 2; loss++) {
        fam_make_sound(BNFLOSS_SFT, 0);
        fam_also(1, BNFLOSS_SFT, 2);
        fam.out.seq_loss = (double *)(void *)&fam.spec[1].weight
                           - (FAM_S - 1);
        fam.out.seq_logp = NULL;
        memcpy(&before, &fam, sizeof fam);
        CHECK((loss ? fam_logps() : fam_run(fam.grad, 1))
              == BNFLOSS_E_OVERLAP, "seq_loss on the second spec");
        before.result.where = fam.result.where;
        CHECK(memcmp(&before, &fam, sizeof fam) == 0, "it was written");
    }
}

/* Smoothing is for calls of SFT alone; a row that needs two factors cannot
 * defer one. */
static void options_of_mixes(void)
{
    static const struct {
        uint32_t first, second;
        float smoothing;
        bnfloss_status want;
    } mixes[] = {
        { BNFLOSS_SFT, BNFLOSS_SFT, 0.5f, BNFLOSS_OK },
        { BNFLOSS_DPO, BNFLOSS_SFT, 0, BNFLOSS_OK },
        { BNFLOSS_DPO, BNFLOSS_SFT, 0.5f, BNFLOSS_E_OPTION },
        { BNFLOSS_SFT, BNFLOSS_DPO, 0.5f, BNFLOSS_E_OPTION }
    };
    bnfloss_spec s;
    uint64_t bytes;

    edge("E92");
    for (int n = 0; n < 4; n++) {
        make_two(mixes[n].first, mixes[n].second);
        fam.layout.label_smoothing = mixes[n].smoothing;
        CHECK(fam_run(NULL, 1) == mixes[n].want, "%s + %s, smoothing %g",
              name_of(0), name_of(1), (double)mixes[n].smoothing);
    }
    edge("E192");
    for (int n = 0; n < 3; n++) {
        bnfloss_spec_init(&s, sizeof s, n ? BNFLOSS_DPO : BNFLOSS_BMC);
        s.flags = BNFLOSS_DEFER_SCALE;
        s.sft_weight = n ? 1 : 0;
        CHECK(bnfloss_workspace(NULL, &s, 4, 2, &bytes) == BNFLOSS_OK,
              "deferred, %d", n);
        s.sft_weight = 1;
        s.ld_alpha = n ? 0.5f : 0;
        CHECK(bnfloss_workspace(NULL, &s, 4, 2, &bytes) == BNFLOSS_E_OPTION,
              "deferred, with two factors, %d", n);
    }
}

/* ---- What a mix gives ---------------------------------------------------- */

/* Of no rows too every loss says what it is. */
static void empty_mix(void)
{
    edge("E255");
    for (int loss = 0; loss < 2; loss++) {
        double each[3] = { -1, -1, -1 };
        bnfloss_outputs out = { .struct_size = sizeof out,
                                .spec_loss = each };
        bnfloss_status status;

        fam_make_sound(BNFLOSS_SFT, 0);
        fam_also(1, BNFLOSS_SFT, 2);
        fam_also(2, BNFLOSS_SFT, 3);
        fam.layout.rows = 0;
        status = loss ? bnfloss_loss(fam.spec, NULL, 0, NULL, NULL, NULL,
                                     NULL, &out, NULL, 0, &fam.result)
                      : bnfloss_run(&fam.layout, fam.spec, NULL, NULL, NULL,
                                    NULL, &out, NULL, 0, 1, &fam.result);
        CHECK(status == BNFLOSS_OK && each[0] == 0 && each[1] == 0
              && each[2] == 0, "no rows: %g %g %g", each[0], each[1],
              each[2]);
    }
}

static void pair_weights_beside_aot(void)
{
    edge("E231");
    fam_make(BNFLOSS_AOT, 7, 0);
    fam_run_and_take(&first, "AOT");
    fam_make(BNFLOSS_DPO, 7, 0);
    fam_also(1, BNFLOSS_AOT, 1);
    fam.spec[0].weight = 0;
    fam.in.pair_weight = fam.pair_weight;
    fam_run_and_take(&both, "AOT beside pair weights");
    CHECK(both.result.loss == first.result.loss
          && memcmp(both.dlogp, first.dlogp, sizeof first.dlogp) == 0,
          "AOT reads no pair_weight: %g, not %g", both.result.loss,
          first.result.loss);
}

/* A row is NaN if any loss reads it, and z-loss is there if any has rows. */
static void rows_of_one_loss(void)
{
    make_two(BNFLOSS_SFT, BNFLOSS_DPO);
    fam.spec[0].flags = BNFLOSS_CHOSEN_ONLY;
    fam_set_logit(fam.start[3], 0, NAN);        /* of a rejected response */
    CHECK(fam_run(NULL, 1) == BNFLOSS_OK && fam.result.nan_rows == 1,
          "%d NaN rows", (int)fam.result.nan_rows);
    make_two(BNFLOSS_SFT, BNFLOSS_SFT);
    fam.spec[0].flags = BNFLOSS_CHOSEN_ONLY;
    memset(fam.side, -1, sizeof fam.side);      /* none for the first */
    fam.layout.z_loss = 0.5f;
    CHECK(fam_run(NULL, 1) == BNFLOSS_OK && fam.result.z_loss > 0,
          "z-loss %g", fam.result.z_loss);
}

/* CHOSEN_ONLY leaves the other rows out of what it measures, beside another
 * loss too: their outputs are those of an ignored row. */
static void chosen_only_first(void)
{
    make_two(BNFLOSS_SFT, BNFLOSS_SFT);
    fam.spec[0].flags = BNFLOSS_CHOSEN_ONLY;
    fam.layout.flags = BNFLOSS_SQUARES;
    fam.out.log_square = fam.log_square;
    CHECK(fam_run(NULL, 1) == BNFLOSS_OK, "SFT of the chosen, and of all");
    for (int64_t i = 0; i < FAM_N; i++)
        if (fam_seq(i) % 2)
            CHECK(fam.logp[i] == 0 && fam.rest[i] == 0 && fam.entropy[i] == 0
                  && fam.log_square[i] == 0 && fam.argmax[i] == -1,
                  "row %d: logp %g, argmax %d", (int)i, (double)fam.logp[i],
                  (int)fam.argmax[i]);
}

int main(void)
{
    FOR_EACH_ISA(isa)
        every_two();
    needs_of_later_losses();
    counted_once();
    for (uint32_t kind = 1; kind <= BN_KINDS; kind++) {
        fam_make_sound(kind, 0);
        several(kind);
    }
    larger_specs();
    overlapped_specs();
    options_of_mixes();
    empty_mix();
    pair_weights_beside_aot();
    rows_of_one_loss();
    chosen_only_first();
    edges_end("test_mixes");
    return test_end();
}
