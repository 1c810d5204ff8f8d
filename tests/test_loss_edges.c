/* Extreme but valid input of every loss: empty completions, NaN and infinite
 * rows, log-ratios far from 0, certain tokens, kinks. No gradient is NaN
 * where the loss has a slope, and what is skipped is counted.
 *
 * SPDX-License-Identifier: MIT
 *
 * test_weights.c has weights of 0, test_mixes.c several losses in a call. */
#include "fixture.h"
#include "edges.h"

static fam_outcome was, is;

/* ---- Empty completions --------------------------------------------------- */

static void value_empty(uint32_t kind)
{
    const char *name = bnfloss_kind_name(kind);
    const int lengths = has_trait(kind, BN_LENGTHS);

    edge("E218");
    for (int side = 0; side < 2; side++) {
        fam_make_sound(kind, 1);
        fam_empty(2 + side, 3 + side);
        fam_run_and_take(&is, "an empty completion");
        CHECK(is.result.loss - is.result.loss == 0
              && is.result.empty_sequences == 1
              && is.result.sequences == FAM_S - 1, "%s: an empty completion",
              name);
        CHECK(is.result.skipped_pairs == (is_paired(kind) && lengths)
              && is.result.pairs == (is_paired(kind) ? FAM_P - lengths : 0),
              "%s: %d pairs, %d skipped", name, (int)is.result.pairs,
              (int)is.result.skipped_pairs);
        for (int64_t i = fam.start[2]; i < fam.start[4]; i++) {
            if (!fam_valid(i))
                CHECK(zero_row(&is, i), "%s: row %d", name, (int)i);
            else if (lengths)
                CHECK(zero_row(&is, i), "%s: row %d of a skipped pair",
                      name, (int)i);
            else
                CHECK(is.dlogp[i] - is.dlogp[i] == 0, "%s: row %d", name,
                      (int)i);
        }
        if (lengths)
            CHECK(is.seq_loss[1] == 0, "%s: a skipped pair's loss", name);
    }
    edge("E219");
    for (int all = 0; all < 2; all++) {
        fam_make_sound(kind, 1);
        for (int64_t s = 0; s < FAM_S; s += all ? 1 : 2)
            fam_empty(s, s + 1);
        for (int d = 1; d <= 4; d++) {
            fam.spec[0].divisor = (uint32_t)d;
            if (d == BNFLOSS_DIV_PAIRS && !fam.in.pairing)
                continue;
            fam_run_and_take(&is, "nothing but empty completions");
            if (!all && !lengths)
                continue;
            CHECK(is.result.loss == 0 && is.result.pairs == 0
                  && is.result.skipped_pairs == (fam.in.pairing ? FAM_P : 0),
                  "%s: loss %g of skipped pairs", name, is.result.loss);
            for (int64_t i = 0; i < FAM_N; i++)
                CHECK(zero_row(&is, i), "%s: row %d of skipped pairs",
                      name, (int)i);
        }
    }
}

/* ---- NaN and infinities -------------------------------------------------- */

static void value_nan(uint32_t kind)
{
    const char *name = bnfloss_kind_name(kind);
    int64_t bad = 0;

    fam_make_sound(kind, 1);
    fam_run_and_take(&was, "sound");
    fam_restore();
    fam_set_logit(fam.start[3] + 2, 5, NAN);    /* rejected, of pair 1 */
    bad = fam.start[3] + 2;
    fam_run_and_take(&is, "a NaN logit");
    CHECK(is.result.nan_rows == 1 && is.result.loss != is.result.loss,
          "%s: a NaN row, loss %g", name, is.result.loss);
    switch (shape_of(kind)) {
    case BN_BY_TOKEN:
        edge("E220");
        for (int64_t i = 0; i < FAM_N; i++)
            CHECK(i == bad ? nan_row(&is, i) : same_row(&was, &is, i),
                  "%s: row %d", name, (int)i);
        break;
    case BN_BY_PAIR:
        edge("E220");
        CHECK(is.result.nan_pairs == 1, "%s: NaN pairs", name);
        for (int64_t i = 0; i < FAM_N; i++)
            CHECK(!fam_valid(i) ? zero_row(&is, i)
                  : fam_seq(i) / 2 == 1 ? nan_row(&is, i)
                  : same_row(&was, &is, i), "%s: row %d", name, (int)i);
        for (int k = 0; k < FAM_P; k++)
            CHECK(k == 1 ? is.seq_loss[k] != is.seq_loss[k]
                         : is.seq_loss[k] == was.seq_loss[k],
                  "%s: loss of pair %d", name, k);
        break;
    case BN_BY_BATCH:
        edge("E221");
        CHECK(is.result.nan_pairs == 1, "%s: NaN pairs", name);
        for (int64_t i = 0; i < FAM_N; i++) {
            const int64_t s = fam_seq(i);

            if (!fam_valid(i))
                CHECK(zero_row(&is, i), "%s: row %d", name, (int)i);
            else if (s == 3 || (kind == BNFLOSS_AOT && s == 2))
                CHECK(nan_row(&is, i), "%s: row %d", name, (int)i);
            else if (kind == BNFLOSS_AOT || s % 2)
                CHECK(is.dlogp[i] == is.dlogp[i], "%s: row %d", name,
                      (int)i);
        }
        break;
    default:
        edge("E222");
        for (int64_t i = 0; i < FAM_N; i++)
            CHECK(!fam_valid(i) ? zero_row(&is, i)
                  : fam_seq(i) == 3 || kind == BNFLOSS_BCO ? nan_row(&is, i)
                  : same_row(&was, &is, i), "%s: row %d", name, (int)i);
        break;
    }
}

/* AOT without pairs: the NaN goes to the end of its own order, and meets the
 * largest of the other. */
static void value_nan_order(void)
{
    int chosen[FAM_P] = { 0 }, sum = 0;

    edge("E221");
    fam_make_sound(BNFLOSS_AOT_UNPAIRED, 0);
    fam_set_logit(fam.start[3] + 2, 5, NAN);
    fam_run_and_take(&is, "a NaN logit");
    for (int64_t i = 0; i < FAM_N; i++) {
        const int64_t s = fam_seq(i);

        if (fam_valid(i) && s % 2 == 0 && nan_row(&is, i))
            chosen[s / 2] = 1;
    }
    for (int k = 0; k < FAM_P; k++) {
        double max = fam.seq_ratio[0];

        for (int j = 0; j < FAM_P; j++)
            max = fmax(max, fam.seq_ratio[2 * j]);
        sum += chosen[k];
        CHECK(chosen[k] == (fam.seq_ratio[2 * k] == max), "pair %d", k);
    }
    CHECK(sum == 1, "%d chosen responses have met a NaN", sum);
}

/* -inf at a label, and p_ref = 0. */
static void value_infinite(uint32_t kind)
{
    const char *name = bnfloss_kind_name(kind);

    edge("E223");
    for (int n = 0; n < 4; n++) {
        const int64_t s = 2 + (n & 1), i = fam.start[s];
        const int bco = kind == BNFLOSS_BCO;

        fam_make_sound(kind, 0);
        fam_run_and_take(&was, "sound");
        fam_restore();
        if (n & 2)
            fam.ref[i] = -HUGE_VALF;
        else
            fam_set_logit(i, fam.label[i], -HUGE_VALF);
        fam_run_and_take(&is, "an infinite logp");
        CHECK((is.result.loss == is.result.loss) == !(bco
              && (has_trait(kind, BN_REFERENCE))), "%s: %s, loss %g", name,
              n & 2 ? "p_ref = 0" : "-inf", is.result.loss);
        CHECK(is.result.nan_rows == 0 && is.result.nan_pairs == 0
              && is.result.zero_refs
                 == ((n & 2) && has_trait(kind, BN_REFERENCE)),
              "%s: what is counted", name);
        for (int64_t k = 0; k < FAM_N && !bco; k++) {
            CHECK(is.dlogp[k] == is.dlogp[k], "%s: %s, %s: dlogp of row %d "
                  "is NaN", name, n & 1 ? "rejected" : "chosen",
                  n & 2 ? "p_ref = 0" : "-inf", (int)k);
            if (shape_of(kind) == BN_BY_PAIR && fam_seq(k) / 2 != 1)
                CHECK(same_row(&was, &is, k), "%s: row %d", name, (int)k);
        }
    }
    edge("E224");
    fam_make_sound(kind, 0);
    fam.ref[fam.start[2]] = -HUGE_VALF;
    fam_set_logit(fam.start[2], fam.label[fam.start[2]], -HUGE_VALF);
    fam.ref[fam.start[3]] = -HUGE_VALF;
    fam_set_logit(fam.start[3], fam.label[fam.start[3]], -HUGE_VALF);
    fam_run_and_take(&is, "infinite on both sides");
    for (int64_t i = 0; i < FAM_N; i++)
        CHECK(fam_valid(i) || zero_row(&is, i), "%s: row %d", name,
              (int)i);
    if (shape_of(kind) == BN_BY_PAIR)
        CHECK(is.result.nan_pairs == 1 && is.result.loss != is.result.loss
              && is.seq_loss[1] != is.seq_loss[1], "%s: -inf - -inf, %d NaN "
              "pairs", name, (int)is.result.nan_pairs);
}

/* WPO, whose weight is then 0. */
static void value_wpo_infinite(uint32_t kind)
{
    if (!(flags_taken(kind) & BNFLOSS_WPO))
        return;
    edge("E225");
    fam_make_sound(kind, 0);
    fam.spec[0].flags = BNFLOSS_WPO;
    fam_set_logit(fam.start[2], fam.label[fam.start[2]], -HUGE_VALF);
    fam_run_and_take(&is, "WPO of -inf");
    if (fam.spec[0].sft_weight > 0)
        return;
    CHECK(is.seq_loss[1] == 0 && is.result.loss == is.result.loss,
          "%s: a pair whose weight is 0 has loss %g",
          bnfloss_kind_name(kind), is.seq_loss[1]);
    for (int64_t i = fam.start[2]; i < fam.start[4]; i++)
        CHECK(zero_row(&is, i), "%s: row %d", bnfloss_kind_name(kind),
              (int)i);
}

/* Log-ratios of +-2000 a token: nothing is NaN, and no gradient that should
 * fade is. */
static void value_far(uint32_t kind)
{
    const char *name = bnfloss_kind_name(kind);

    edge("E226");
    for (int n = 0; n < 4 * 4; n++) {
        const int64_t s = 2 + (n & 1);
        const int fd = n / 4;

        fam_make_sound(kind, 0);
        if (fd && !(has_trait(kind, BN_DIVERGENCE)))
            break;
        fam.spec[0].f_divergence = (uint32_t)fd;
        for (int64_t i = fam.start[s]; i < fam.start[s + 1]; i++) {
            if (n & 2)
                fam.ref[i] = -2000;
            else if (fam.label[i] >= 0)
                fam_set_logit(i, fam.label[i], -2000);
        }
        fam_run_and_take(&is, "far");
        CHECK(is.result.loss == is.result.loss && is.result.nan_pairs == 0,
              "%s, f-divergence %d: far %s%s gives loss %g", name, fd,
              n & 1 ? "rejected" : "chosen", n & 2 ? " reference" : "",
              is.result.loss);
        for (int64_t i = 0; i < FAM_N; i++)
            CHECK(is.dlogp[i] == is.dlogp[i], "%s, f-divergence %d: far "
                  "%s%s: dlogp of row %d is NaN", name, fd,
                  n & 1 ? "rejected" : "chosen", n & 2 ? " reference" : "",
                  (int)i);
    }
}

/* An f16 gradient that overflows is infinite. */
static void value_f16(uint32_t kind)
{
    int64_t infinite = 0;

    edge("E227");
    fam_make_sound(kind, 0);
    fam.layout.grad_type = BNFLOSS_F16;
    fam.spec[0].loss_scale = 1e12;
    CHECK(fam_run(fam.grad, 1) == BNFLOSS_OK, "f16");
    for (int64_t i = 0; i < FAM_N; i++) {
        for (int64_t v = 0; v < FAM_V; v++) {
            const float g = fam_grad(i, v);

            CHECK(g == g, "%s: f16 gradient NaN", bnfloss_kind_name(kind));
            infinite += g - g != 0;
        }
    }
    CHECK(infinite > 0, "%s: nothing overflows", bnfloss_kind_name(kind));
}
/* ---- Inputs that only some losses read ----------------------------------- */

static void value_masks(void)
{
    edge("E229");
    fam_make_sound(BNFLOSS_DPO, 0);
    fam_run_and_take(&was, "DPO");
    fam_make_sound(BNFLOSS_BMC, 0);
    memset(fam.mask, 0, sizeof fam.mask);
    fam_run_and_take(&is, "BMC without a difference");
    CHECK(memcmp(is.dlogp, was.dlogp, sizeof is.dlogp) == 0
          && is.result.loss == was.result.loss,
          "BMC whose mask is 0 is DPO: %g, %g", is.result.loss,
          was.result.loss);
    edge("E230");
    fam_make_sound(BNFLOSS_BMC, 0);
    fam_run_and_take(&was, "a mask");
    fam_restore();
    for (int i = 0; i < FAM_N; i++)
        fam.mask[i] = fam.mask[i] ? (uint8_t)(255 - i) : 0;
    fam_run_and_take(&is, "another mask");
    CHECK(memcmp(&was, &is, sizeof is) == 0, "a mask is 0 or not");
}

static void value_chosen_only(void)
{
    edge("E215");
    for (int pairing = 0; pairing < 3; pairing++) {
        fam_make_sound(BNFLOSS_SFT, 1);
        fam.in.pairing = (uint32_t)pairing;
        for (int s = 0; s < FAM_S; s++)
            if (pairing == BNFLOSS_PAIRS_HALVES)
                fam.side[s] = s < FAM_P ? 1 : -1;
        fam_save();
        fam.spec[0].flags = BNFLOSS_CHOSEN_ONLY;
        fam_run_and_take(&is, "CHOSEN_ONLY");
        fam_restore();
        for (int s = 0; s < FAM_S; s++)
            if (fam.side[s] < 0)
                fam_empty(s, s + 1);
        fam_run_and_take(&was, "the others ignored");
        CHECK(memcmp(&is, &was, sizeof is) == 0, "CHOSEN_ONLY: loss %g, not "
              "%g", is.result.loss, was.result.loss);
    }
}

/* ---- A few tokens by hand ------------------------------------------------ */

/* The loss of responses of one token each, and its dlogp; in pairs where the
 * loss takes them, else chosen and rejected in turn. */
static double of_tokens(const bnfloss_spec *s, int n, const float *logp,
                        const float *ref, float *dlogp)
{
    static const int64_t start[] = { 0, 1, 2, 3, 4, 5, 6, 7, 8 };
    static const int8_t sides[] = { 1, -1, 1, -1, 1, -1, 1, -1 };
    static const float square[] = { -1, -1, -1, -1, -1, -1, -1, -1 };
    bnfloss_inputs in;

    EMPTY(in);
    EMPTY(fam.result);
    in.sequences = n;
    in.seq_start = start;
    if (is_paired(s->kind))
        in.pairing = BNFLOSS_PAIRS_ADJACENT;
    else
        in.side = sides;
    in.ref_logp = ref;
    in.log_square = s->flags & BNFLOSS_WPO ? square : NULL;
    CHECK(bnfloss_loss(s, &in, n, NULL, logp, NULL, dlogp, NULL, fam.work,
                       sizeof fam.work, &fam.result) == BNFLOSS_OK, "%s",
          bnfloss_kind_name(s->kind));
    return fam.result.loss;
}

static bnfloss_spec spec_of(uint32_t kind)
{
    bnfloss_spec s;

    bnfloss_spec_init(&s, sizeof s, kind);
    return s;
}

/* A penalty of 0 leaves ORPO's likelihood, whatever the odds. */
static void value_orpo_only(void)
{
    static const float logp[] = { -1, 0 };
    bnfloss_spec s = spec_of(BNFLOSS_ORPO);
    float d[2];

    edge("E256");
    s.penalty = 0;
    CHECK(of_tokens(&s, 2, logp, NULL, d) == 1 && d[0] == -1 && d[1] == 0,
          "loss %g, dlogp %g %g", fam.result.loss, (double)d[0],
          (double)d[1]);
}

/* A response that is to become unlikely, and is certain: its gradient points
 * down, infinitely, and is 0 where the loss has no weight. */
static void value_certain(void)
{
    static const float logp[] = { -1, 0 };
    bnfloss_spec s = spec_of(BNFLOSS_ORPO);
    float d[2];

    edge("E260");
    CHECK(of_tokens(&s, 2, logp, NULL, d) == HUGE_VAL && d[0] < -1
          && d[1] == HUGE_VALF, "ORPO: dlogp %g", (double)d[1]);
    s = spec_of(BNFLOSS_ASFT);
    CHECK(of_tokens(&s, 2, logp, NULL, d) == HUGE_VAL && d[0] < 0
          && d[1] == HUGE_VALF, "ASFT: dlogp %g", (double)d[1]);
    s.penalty = 0;
    CHECK(of_tokens(&s, 2, logp, NULL, d) == 0.5 && d[0] == -0.5f
          && d[1] == 0, "ASFT without penalty: dlogp %g", (double)d[1]);
}

/* DiscoPOP far down: e^(-u (1 - 1/tau)) grows for tau > 1, and is 1 or
 * nothing below; no NaN in its slope. */
static void value_discopop_far(void)
{
    static const float far[][2] = { { -1e30f, -1 }, { -HUGE_VALF, -1 } };
    static const float ref[] = { -1, -1 };
    bnfloss_spec s = spec_of(BNFLOSS_DISCOPOP);
    float d[2];

    edge("E261");
    for (int i = 0; i < 2; i++) {
        s.tau = 2;
        CHECK(of_tokens(&s, 2, far[i], ref, d) == HUGE_VAL
              && d[0] == -HUGE_VALF && d[1] == HUGE_VALF,
              "tau 2: dlogp %g %g", (double)d[0], (double)d[1]);
        for (int half = 0; half < 2; half++) {
            s.tau = half ? 0.5f : 1;
            CHECK(of_tokens(&s, 2, far[i], ref, d) > 1e28
                  && d[0] == -s.beta && d[1] == s.beta,
                  "tau %g: dlogp %g %g", (double)s.tau, (double)d[0],
                  (double)d[1]);
        }
    }
}

/* Log-probabilities next to 0 keep their digits in the sums of AOT, which
 * sorts what DPO takes as it comes: one pair is the same to both. */
static void value_next_to_0(void)
{
    static const float logp[] = { -0x1p-60f, -0x3p-60f };
    static const float ref[] = { -0x5p-60f, -0x1p-60f };
    static const uint32_t kinds[] = { BNFLOSS_DPO, BNFLOSS_AOT };

    for (int i = 0; i < 2; i++) {
        bnfloss_spec s = spec_of(kinds[i]);
        float d[2];

        s.beta = 0x1p60f;       /* times (-1 + 3) - (-5 + 1), all by 2^-60 */
        CHECK(fabs(of_tokens(&s, 2, logp, ref, d) - log1p(exp(-6))) < 1e-15,
              "%s: %g", bnfloss_kind_name(kinds[i]), fam.result.loss);
    }
}

/* Where a margin is just enough its slope is 0, and below it -1. */
static void value_kink(uint32_t kind)
{
    const float *ref = kind == BNFLOSS_SLIC ? NULL : (float[]){ -2, -2 };
    bnfloss_spec s = spec_of(kind);
    float d[2];

    s.sft_weight = 0;
    if (kind == BNFLOSS_HINGE)
        s.beta = 1;
    CHECK(of_tokens(&s, 2, (float[]){ -1, -2 }, ref, d) == 0 && d[0] == 0,
          "%s: dlogp %g", bnfloss_kind_name(kind), (double)d[0]);
    CHECK(of_tokens(&s, 2, (float[]){ -1.5f, -2 }, ref, d) == 0.5
          && d[0] == -1, "%s, half of it: dlogp %g", bnfloss_kind_name(kind),
          (double)d[0]);
}

/* DPOP is DPO where its penalty is not due: for a policy that is its
 * reference, as every run's is at its first step; and without a penalty, were
 * the chosen response impossible. */
static void value_no_penalty(float chosen, float penalty)
{
    const float logp[] = { chosen, -2 }, ref[] = { -1, -2 };
    bnfloss_spec dpo = spec_of(BNFLOSS_DPO), dpop = spec_of(BNFLOSS_DPOP);
    float a[2], b[2];

    dpop.penalty = penalty;
    CHECK(of_tokens(&dpo, 2, logp, ref, a) == of_tokens(&dpop, 2, logp, ref, b)
          && memcmp(a, b, sizeof a) == 0 && a[0] < 0,
          "DPOP: dlogp %g, not %g", (double)b[0], (double)a[0]);
}

/* NaN in pairs a and b of four, which are one pair or two. */
static void value_nan_pairs(uint32_t kind, uint32_t flags, int a, int b)
{
    static const float ref[] = { -1, -2, -1, -2, -1, -2, -1, -2 };
    float logp[] = { -1, -3, -2, -1, -4, -2, -3, -3 }, d[8];
    bnfloss_spec s = spec_of(kind);

    s.flags = flags;
    logp[2 * a] = logp[2 * b] = NAN;
    of_tokens(&s, 8, logp, ref, d);
    CHECK(isnan(fam.result.loss) && fam.result.nan_rows == (a == b ? 1 : 2)
          && fam.result.nan_pairs == fam.result.nan_rows, "%s: loss %g, %d "
          "NaN rows, %d NaN pairs", bnfloss_kind_name(kind), fam.result.loss,
          (int)fam.result.nan_rows, (int)fam.result.nan_pairs);
    for (int k = 0; k < 4; k++)
        CHECK(isnan(d[2 * k]) == (k == a || k == b), "%s: dlogp of pair %d is "
              "%g", bnfloss_kind_name(kind), k, (double)d[2 * k]);
}

/* A token of factor 0 has no gradient, where the slope of its pair's loss is
 * infinite as well: LD-DPO of alpha 0 leaves out all but the first tokens of
 * the longer response. */
static void value_zero_factor(void)
{
    static const uint32_t kinds[] = { BNFLOSS_IPO_SUM, BNFLOSS_IPO,
                                      BNFLOSS_IREPO, BNFLOSS_SPPO_HARD };
    static const int64_t start[] = { 0, 2, 3 };
    static const float logp[] = { -1, -1, -1 }, soft = 0.5f;
    static const float ref[] = { -HUGE_VALF, -1, -1 };

    edge("E223");
    for (int k = 0; k < 4; k++) {
        bnfloss_spec s = spec_of(kinds[k]);
        bnfloss_inputs in;
        float d[3];

        EMPTY(in);
        EMPTY(fam.result);
        in.pairing = BNFLOSS_PAIRS_ADJACENT;
        in.sequences = 2;
        in.seq_start = start;
        in.ref_logp = ref;
        in.soft_label = kinds[k] == BNFLOSS_IREPO ? &soft : NULL;
        s.ld_alpha = 0;
        CHECK(bnfloss_loss(&s, &in, 3, NULL, logp, NULL, d, NULL, fam.work,
                           sizeof fam.work, &fam.result) == BNFLOSS_OK
              && d[0] == HUGE_VALF && d[1] == 0 && !isnan(d[2]),
              "%s: dlogp %g %g %g", bnfloss_kind_name(kinds[k]), (double)d[0],
              (double)d[1], (double)d[2]);
        CHECK(k > 0 || d[2] == -HUGE_VALF, "IPO of sums: dlogp %g",
              (double)d[2]);
    }
}

/* The same where the scale is deferred: the token's row_scale is 0. */
static void value_zero_factor_deferred(void)
{
    fam_make(BNFLOSS_IPO_SUM, 7, 0);
    fam.spec[0].ld_alpha = 0;
    fam.spec[0].flags = BNFLOSS_DEFER_SCALE;
    fam.out.row_scale = fam.row_scale;
    fam.in.row_weight = NULL;
    fam.ref[fam.start[2]] = -HUGE_VALF;
    CHECK(fam_run(fam.grad, 1) == BNFLOSS_OK, "deferred");
    for (int64_t i = fam.start[3]; i < fam.start[4]; i++) {
        const int beyond = fam_valid(i) && i >= fam.start[3] + 2;

        CHECK(beyond ? fam.row_scale[i] == 0 && fam.dlogp[i] == 0
                     : isinf(fam.row_scale[i]) && isinf(fam.dlogp[i]),
              "row %d: scale %g, dlogp %g", (int)i, (double)fam.row_scale[i],
              (double)fam.dlogp[i]);
    }
}

/* The alpha divergence of order k maps a log-ratio x to (e^((k-1) x) - 1) /
 * (k-1), and to x within 1e-6 of 1. The rewards stay beta x. */
static void value_alpha_divergence(void)
{
    static const float orders[] = { -1, 0, 0.5f, 0.999998f, 0.9999995f, 1,
                                    1.0000005f, 1.000002f, 2, 3 };
    static const float logp[] = { -1, -2 }, ref[] = { -2.5f, -1.25f };
    bnfloss_spec s = spec_of(BNFLOSS_DPO);
    float d[2];

    s.beta = 0.5f;
    s.f_divergence = BNFLOSS_ALPHA_DIVERGENCE;
    for (int i = 0; i < 10; i++) {
        const double c = (double)orders[i] - 1, x[] = { 1.5, -0.75 };
        double h[2], slope[2], u;

        for (int k = 0; k < 2; k++) {
            h[k] = fabs(c) < 1e-6 ? x[k] : expm1(c * x[k]) / c;
            slope[k] = fabs(c) < 1e-6 ? 1 : exp(c * x[k]);
        }
        u = 0.5 * (h[0] - h[1]);
        s.f_alpha = orders[i];
        CHECK(relative(of_tokens(&s, 2, logp, ref, d), log1p(exp(-u)))
              <= 1e-14, "order %.9g: loss %.17g, not %.17g",
              (double)orders[i], fam.result.loss, log1p(exp(-u)));
        CHECK(relative((double)d[0], -0.5 * slope[0] / (1 + exp(u))) <= U
              && relative((double)d[1], 0.5 * slope[1] / (1 + exp(u))) <= U,
              "order %.9g: dlogp %.9g %.9g", (double)orders[i], (double)d[0],
              (double)d[1]);
        CHECK(fam.result.rewards_chosen == 0.75
              && fam.result.rewards_rejected == -0.375
              && fam.result.rewards_accuracies == 1, "order %.9g: rewards %g "
              "and %g", (double)orders[i], fam.result.rewards_chosen,
              fam.result.rewards_rejected);
    }
}

/* BNF of a token that is certain, from log-probabilities: the others have no
 * probability, whatever their mean log-probability is. */
static void value_bnf_certain(float eps, float rest)
{
    static const int64_t start[] = { 0, 1 };
    static const int8_t side = 1;
    const float logp = 0, ref = -1;
    bnfloss_spec s = spec_of(BNFLOSS_BNF);
    bnfloss_inputs in;
    float d = 7;

    EMPTY(in);
    EMPTY(fam.result);
    in.sequences = 1;
    in.seq_start = start;
    in.side = &side;
    in.ref_logp = &ref;
    s.eps = eps;
    CHECK(bnfloss_loss(&s, &in, 1, NULL, &logp, &rest, &d, NULL, fam.work,
                       sizeof fam.work, &fam.result) == BNFLOSS_OK
          && fam.result.loss == 0 && isfinite(d), "eps %g, rest %g: loss %g, "
          "dlogp %g", (double)eps, (double)rest, fam.result.loss, (double)d);
}

/* A policy that is less sure than its reference by the last bit of a double,
 * which the odds of the two do not see: g is 1, not the 1 + 2^-52 and more
 * that their quotient comes to. */
static void value_as_sure(void)
{
    static const float at[][3] = {          /* ref, label, leader */
        { -0x1.6b9804p-2f, 0x1.b48ea4p-1f, 0x1.df0662p-29f },
        { -0x1.be31e8p-2f, 0x1.35bbd2p-1f, 0x1.17d1c2p-34f },
        { -0x1.98739cp-27f, 0x1.23f6e6p+4f, 0x1.9ce002p-25f }
    };
    static const int64_t start[] = { 0, 1 };
    static const int8_t side = 1;
    const bnfloss_spec s = spec_of(BNFLOSS_BNF);
    const int32_t y = 0;
    bnfloss_layout l;

    EMPTY(l);
    l.rows = 1;
    l.vocab = 2;
    l.flags = BNFLOSS_ENTROPY;
    for (size_t k = 0; k < sizeof at / sizeof *at; k++) {
        const bnfloss_result *r = &fam.result;
        const double ref = (double)at[k][0];
        bnfloss_inputs in;
        float d;

        EMPTY(in);
        EMPTY(fam.result);
        in.sequences = 1;
        in.seq_start = start;
        in.side = &side;
        in.ref_logp = at[k];
        CHECK(bnfloss_forward(&l, at[k] + 1, &y, 0, 1, fam.state, NULL, NULL)
              == BNFLOSS_OK
              && bnfloss_loss(&s, &in, 1, fam.state, NULL, NULL, &d, NULL,
                              fam.work, sizeof fam.work, &fam.result)
                 == BNFLOSS_OK, "BNF");
        CHECK(r->logps_mean_chosen < ref
              && r->logps_mean_chosen > ref * (1 + 0x1p-48),
              "logp %a is not just below %a", r->logps_mean_chosen, ref);
        CHECK(r->bnf_coefficient == 1 && d == -1, "g - 1 is %g",
              r->bnf_coefficient - 1);
    }
}

/* Calls without rows, for which neither soft labels nor sides have to be
 * given, and in which BCO's running mean is 0. */
static void value_no_rows(void)
{
    static const uint32_t kinds[] = { BNFLOSS_IREPO, BNFLOSS_DPO, BNFLOSS_BNF,
                                      BNFLOSS_BCO };
    static const int64_t start[] = { 0, 0, 0 };
    static const int8_t sides[] = { 1, -1 };

    edge("E265");
    for (int k = 0; k < 4; k++) {
        const bnfloss_spec s = spec_of(kinds[k]);
        const int pairs = is_paired(kinds[k]);
        const bnfloss_result *r = &fam.result;
        double loss[] = { 7, 7 };
        bnfloss_outputs o;
        bnfloss_inputs in;
        float d = 7;

        EMPTY(fam.result);
        EMPTY(o);
        EMPTY(in);
        o.seq_loss = loss;
        in.pairing = pairs ? BNFLOSS_PAIRS_ADJACENT : 0;
        in.side = kinds[k] == BNFLOSS_BCO ? sides : NULL;
        in.sequences = 2;
        in.seq_start = start;
        CHECK(bnfloss_loss(&s, &in, 0, NULL, NULL, NULL, &d, &o, fam.work,
                           sizeof fam.work, &fam.result) == BNFLOSS_OK
              && r->loss == 0 && r->tokens == 0 && r->pairs == 0
              && r->skipped_pairs == pairs && loss[0] == 0
              && loss[1] == (pairs ? 7 : 0) && d == 7, "%s: loss %g",
              bnfloss_kind_name(kinds[k]), r->loss);
        CHECK(kinds[k] != BNFLOSS_BCO || (r->shift == 0
                                          && r->shift_count == 0),
              "BCO: shift %g of %g", r->shift, r->shift_count);
    }
}

/* The first of AOT's pairs is empty: its loss is 0, and the others' their
 * own. */
static void value_empty_pair(void)
{
    double sum = 0;

    fam_make_sound(BNFLOSS_AOT, 0);
    fam_empty(0, 2);
    fam_run_and_take(&is, "an empty pair");
    for (int k = 1; k < FAM_P; k++)
        sum += is.seq_loss[k];
    CHECK(is.seq_loss[0] == 0 && fabs(sum - 3 * is.result.loss) < 1e-14
          && is.result.divisor == 3, "pairs' losses %g and %g, of three %g",
          is.seq_loss[0], sum, is.result.loss);
}

int main(void)
{
    FOR_EACH_ISA(isa) {
        for (uint32_t kind = 1; kind <= BN_KINDS; kind++) {
            value_empty(kind);
            value_nan(kind);
            value_infinite(kind);
            value_wpo_infinite(kind);
            value_far(kind);
            value_f16(kind);
        }
        value_nan_order();
        value_masks();
        value_chosen_only();
        value_as_sure();
        value_empty_pair();
    }
    value_orpo_only();
    value_certain();
    value_discopop_far();
    value_next_to_0();
    value_kink(BNFLOSS_HINGE);
    value_kink(BNFLOSS_SLIC);
    value_no_penalty(-1, 50);
    value_no_penalty(-HUGE_VALF, 0);
    value_no_rows();
    value_zero_factor();
    value_zero_factor_deferred();
    value_alpha_divergence();
    for (int n = 0; n < 4; n++)
        value_bnf_certain(n % 2 ? 0.25f : 0, n / 2 ? -HUGE_VALF : -3);
    for (int n = 0; n < 4 * 4; n++) {
        value_nan_pairs(BNFLOSS_DPO, 0, n / 4, n % 4);
        value_nan_pairs(BNFLOSS_DPO, BNFLOSS_WPO, n / 4, n % 4);
        value_nan_pairs(BNFLOSS_AOT, 0, n / 4, n % 4);
    }
    edges_end("test_loss_edges");
    return test_end();
}
