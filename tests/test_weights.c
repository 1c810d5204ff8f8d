/* Weights of 0: of a row, a sequence, a pair and a loss. What is behind one
 * may be anything, and changes nothing but what is counted.
 *
 * SPDX-License-Identifier: MIT */
#include "fixture.h"
#include "edges.h"

static fam_outcome was, is;

static const char *name(void)
{
    return bnfloss_kind_name(fam.spec[0].kind);
}

/* ---- Rows ---------------------------------------------------------------- */

/* Row i holds nothing that a call could use. */
static void spoil_row(int64_t i, int how)
{
    static const float odd[] = { NAN, HUGE_VALF, -HUGE_VALF };

    for (int64_t v = 0; v < FAM_V; v++)
        fam_set_logit(i, v, odd[how]);
    fam.label[i] = how ? FAM_V + 5 : 3;
    fam.ref[i] = fam.logp_in[i] = how == 1 ? 7 : odd[how];
    fam.rest_in[i] = fam.square[i] = NAN;
    fam.mask[i] = 255;
}

/* A row of weight 0 is like one whose label is negative, whatever it holds,
 * by logits and by log-probabilities. */
static void row_weight_0(uint32_t kind)
{
    float dlogp[FAM_N];

    fam_make(kind, 21, 1);
    fam.weight[FAM_WEIGHTLESS] = 1;
    fam.label[FAM_WEIGHTLESS] = -1;
    fam_run_and_take(&was, "a negative label");
    for (int how = 0; how < 3; how++) {
        fam_make(kind, 21, 1);
        fam.weight[FAM_WEIGHTLESS] = how ? 0 : -0.0f;
        spoil_row(FAM_WEIGHTLESS, how);
        fam_run_and_take(&is, "a weight of 0");
        CHECK(memcmp(&was, &is, sizeof is) == 0, "%s: a spoiled row of weight "
              "0: loss %g, not %g", name(), is.result.loss, was.result.loss);
    }
    fam_make(kind, 21, 1);
    CHECK(fam_logps() == BNFLOSS_OK, "%s: logps", name());
    fam_take(&was);
    memcpy(dlogp, fam.dlogp_out, sizeof dlogp);
    for (int how = 0; how < 3; how++) {
        fam_make(kind, 21, 1);
        spoil_row(FAM_WEIGHTLESS, how);
        CHECK(fam_logps() == BNFLOSS_OK, "%s: a spoiled logp", name());
        fam_take(&is);
        CHECK(memcmp(&was, &is, sizeof is) == 0
              && memcmp(dlogp, fam.dlogp_out, sizeof dlogp) == 0,
              "%s: a spoiled logp of weight 0: loss %g, not %g", name(),
              is.result.loss, was.result.loss);
    }
}

/* ---- Sequences and pairs ------------------------------------------------- */

/* The rows of a sequence get logits, or log-probabilities, that are NaN, or
 * infinite, or make the label impossible. Returns whether they are NaN. */
static int spoil_sequence(int64_t s, int how)
{
    for (int64_t i = fam.start[s]; i < fam.start[s + 1]; i++) {
        if (!fam_valid(i))
            continue;
        fam_set_logit(i, fam.label[i], how == 2 ? -HUGE_VALF
                                       : how ? HUGE_VALF : NAN);
        fam.logp_in[i] = how == 2 ? -HUGE_VALF : NAN;
        fam.rest_in[i] = NAN;
        if (how)
            fam.ref[i] = -HUGE_VALF;
    }
    return how < 2;
}

/* `is` and `was` are two calls that differ in what stands in the sequences
 * from .. to - 1, whose weight is 0: nothing that is a sum shows it, and all
 * that is counted stays. `nan` is the number of rows that are counted. */
static void weightless(int64_t from, int64_t to, int64_t nan, int by_logp)
{
    CHECK(is.result.loss == was.result.loss, "%s: loss %.17g, not %.17g",
          name(), is.result.loss, was.result.loss);
    CHECK(is.result.tokens == was.result.tokens
          && is.result.sequences == was.result.sequences
          && is.result.pairs == was.result.pairs
          && is.result.divisor == was.result.divisor
          && is.result.nan_pairs == 0 && is.result.nan_rows == nan,
          "%s: it counts: %d tokens, %d NaN rows, not %d", name(),
          (int)is.result.tokens, (int)is.result.nan_rows, (int)nan);
    for (int64_t i = 0; i < FAM_N; i++)
        CHECK(i < fam.start[from] || i >= fam.start[to]
                  ? same_row(&is, &was, i)
                  : is.dlogp[i] == 0 && (by_logp || zero_row(&is, i)),
              "%s: row %d, call %d: dlogp %g beside a weight of 0, not %g",
              name(), (int)i, by_logp, (double)is.dlogp[i],
              (double)was.dlogp[i]);
}

/* The valid rows of sequences from .. to - 1. */
static int64_t rows_of(int64_t from, int64_t to)
{
    int64_t n = 0;

    for (int64_t i = fam.start[from]; i < fam.start[to]; i++)
        n += fam_valid(i);
    return n;
}

/* A sequence or pair of weight 0 is in every divisor, and the rows of the
 * others are as if it had a weight. BCO's running mean is apart: what it leaves
 * out moves the others. */
static void counts(uint32_t kind, int64_t from, int64_t to)
{
    CHECK(is.result.divisor == was.result.divisor
          && is.result.pairs == was.result.pairs
          && is.result.sequences == was.result.sequences, "%s: divisor %g, not "
          "%g", name(), is.result.divisor, was.result.divisor);
    for (int64_t i = 0; i < FAM_N && !has_trait(kind, BN_BASELINE); i++)
        CHECK((i >= fam.start[from] && i < fam.start[to])
              || same_row(&is, &was, i), "%s: row %d beside a weight of 0",
              name(), (int)i);
}

/* Both entry points: by logits, and by log-probabilities. */
static void take_call(fam_outcome *o, int by_logp)
{
    CHECK((by_logp ? fam_logps() : fam_run(fam.grad, 1)) == BNFLOSS_OK,
          "%s: call %d", name(), by_logp);
    fam_take(o);
}

static void seq_weight_0(uint32_t kind)
{
    if (is_paired(kind))
        return;
    edge("E216");
    fam_make(kind, 22, 1);
    take_call(&was, 0);
    fam.seq_weight[2] = fam.seq_weight[3] = 0;
    take_call(&is, 0);
    counts(kind, 2, 4);
    for (int n = 0; n < 2 * 3; n++) {
        const int by_logp = n % 2, how = n / 2;
        int nan;

        fam_make(kind, 22, 1);
        fam.seq_weight[2] = fam.seq_weight[3] = 0;
        take_call(&was, by_logp);
        nan = spoil_sequence(2, how);
        nan += spoil_sequence(3, how);
        take_call(&is, by_logp);
        weightless(2, 4, nan ? rows_of(2, 4) : 0, by_logp);
        CHECK(is.seq_loss[2] == 0 && is.seq_loss[3] == 0, "%s: a loss of "
              "weight 0", name());
    }
}

/* Without a likelihood term neither response shows. */
static void pair_weight_0(uint32_t kind)
{
    if (shape_of(kind) != BN_BY_PAIR)
        return;
    edge("E217");
    fam_make(kind, 23, 1);
    fam.spec[0].sft_weight = 0;
    take_call(&was, 0);
    fam.pair_weight[1] = 0;
    take_call(&is, 0);
    counts(kind, 2, 4);
    for (int n = 0; n < 2 * 3; n++) {
        const int by_logp = n % 2, how = n / 2;
        int nan;

        fam_make(kind, 23, 1);
        fam.spec[0].sft_weight = 0;
        fam.pair_weight[1] = 0;
        take_call(&was, by_logp);
        nan = spoil_sequence(2, how);
        nan += spoil_sequence(3, how);
        take_call(&is, by_logp);
        weightless(2, 4, nan ? rows_of(2, 4) : 0, by_logp);
        CHECK(is.seq_loss[1] == 0, "%s: a loss of weight 0", name());
    }
}

/* With one, the rejected response does not show, and the chosen one has its
 * likelihood and nothing else: the loss of the pair by hand. */
static void likelihood_of_weight_0(uint32_t kind)
{
    const double beta = kind == BNFLOSS_RPO ? 0.1f : 1;

    if (shape_of(kind) != BN_BY_PAIR)
        return;
    for (int how = 0; how < 3; how++) {
        double nll = 0;

        fam_make(kind, 24, 1);
        fam.spec[0].sft_weight = 0.5f;
        fam.spec[0].sft_norm = BNFLOSS_NORM_NONE;
        fam.spec[0].divisor = BNFLOSS_DIV_GIVEN;
        fam.spec[0].divisor_value = 2;
        fam.pair_weight[1] = 0;
        fam_run_and_take(&was, "a likelihood term");
        spoil_sequence(3, how);
        fam_run_and_take(&is, "a spoiled rejected response");
        CHECK(is.result.loss == was.result.loss
              && is.result.nan_rows == (how < 2 ? rows_of(3, 4) : 0)
              && is.result.nan_pairs == 0, "%s: loss %.17g, not %.17g",
              name(), is.result.loss, was.result.loss);
        for (int64_t i = 0; i < FAM_N; i++)
            CHECK(fam_seq(i) == 3 ? zero_row(&is, i) : same_row(&is, &was, i),
                  "%s: row %d beside a weight of 0", name(), (int)i);
        for (int64_t i = fam.start[2]; i < fam.start[3]; i++) {
            const double want = -0.5 * beta * (double)fam.weight[i] / 2;

            if (!fam_valid(i))
                continue;
            nll -= (double)fam.weight[i] * (double)is.logp[i];
            CHECK(fabs((double)is.dlogp[i] - want) <= 2 * U * fabs(want),
                  "%s: dlogp of row %d %.9g, its likelihood's is %.9g",
                  name(), (int)i, (double)is.dlogp[i], want);
        }
        nll *= 0.5 * beta;
        CHECK(fabs(is.seq_loss[1] - nll) <= 8 * U * nll, "%s: loss %.9g, its "
              "likelihood is %.9g", name(), is.seq_loss[1], nll);
    }
}

/* BCO's running mean is that of the sequences that have a weight. */
static void baseline_of_weight_0(void)
{
    double sum = 0.25 * 6, count = 6;

    fam_make(BNFLOSS_BCO, 28, 1);
    fam.spec[0].beta = 0.5f;
    fam.seq_weight[1] = fam.seq_weight[6] = 0;
    fam_run_and_take(&is, "two sequences of weight 0");
    for (int s = 0; s < FAM_S; s++) {
        if (fam.seq_weight[s] != 0) {
            sum += 0.5 * is.seq_ratio[s];
            count++;
        }
    }
    CHECK(is.result.shift_count == count
          && fabs(is.result.shift - sum / count) <= 1e-14, "BCO: shift %.17g "
          "of %g, not %.17g of %g", is.result.shift, is.result.shift_count,
          sum / count, count);
    spoil_sequence(1, 0);
    spoil_sequence(6, 2);
    fam_run_and_take(&was, "what they hold");
    CHECK(was.result.shift == is.result.shift
          && was.result.loss == is.result.loss, "BCO: shift %g, loss %g",
          was.result.shift, was.result.loss);
}

/* ---- Norms --------------------------------------------------------------- */

/* The shortest sequence of the call stays the shortest at weight 0; and a row
 * of weight 0 does not lengthen it. */
static void shortest_of_weight_0(uint32_t kind)
{
    for (int rows = 0; rows < 2; rows++) {
        fam_make(kind, 25, 1);
        fam.spec[0].token_norm = BNFLOSS_NORM_SHORTEST;
        fam.spec[0].divisor = BNFLOSS_DIV_GIVEN;
        fam.label[FAM_IGNORED] = 1;
        fam.in.row_weight = NULL;           /* sequence 2 has two rows */
        fam_run_and_take(&was, "the shortest of two tokens");
        fam.seq_weight[2] = 0;
        if (rows) {                         /* and now one, of weight 0 */
            fam.in.row_weight = fam.weight;
            for (int64_t i = 0; i < FAM_N; i++)
                fam.weight[i] = i == fam.start[2] ? 0 : 1;
        }
        fam_run_and_take(&is, "of weight 0");
        for (int64_t i = 0; i < FAM_N; i++) {
            const double d = (double)was.dlogp[i] * (rows ? 2 : 1);

            CHECK((double)is.dlogp[i] == (fam_seq(i) == 2 ? 0 : d),
                  "%s: dlogp of row %d %.9g, not %.9g", name(), (int)i,
                  (double)is.dlogp[i], d);
        }
    }
}

/* NORM_BATCH is the pairs that count over the chosen tokens of these: a pair
 * that is skipped, with its chosen response, is in neither. */
static void batch_norm_of_counted_pairs(uint32_t kind)
{
    double nll = 0, sum = 0, tokens = 0;

    if (!is_paired(kind) || !has_trait(kind, BN_LENGTHS))
        return;
    fam_make(kind, 26, 1);
    fam.spec[0].sft_weight = 1;
    fam.spec[0].sft_norm = BNFLOSS_NORM_BATCH;
    fam.spec[0].divisor = BNFLOSS_DIV_GIVEN;
    fam.in.row_weight = NULL;
    fam_empty(3, 4);                        /* rejected, of pair 1 */
    fam_run_and_take(&is, "a skipped pair");
    for (int64_t s = 0; s < FAM_S; s += 2) {
        for (int64_t i = fam.start[s]; i < fam.start[s + 1]; i++) {
            if (s == 2 || !fam_valid(i))
                continue;
            tokens++;
            sum -= (double)is.logp[i];
        }
    }
    nll = sum * 3 / tokens;
    CHECK(is.result.pairs == 3 && is.result.skipped_pairs == 1
          && fabs(is.result.sft_loss - nll) <= 8 * U * nll,
          "%s: the likelihood %.9g of three pairs, not %.9g", name(),
          is.result.sft_loss, nll);
}

/* ---- Losses -------------------------------------------------------------- */

/* A loss that is switched off is off, whatever its rows hold. */
static void switched_off(uint32_t kind)
{
    edge("E257");
    for (int how = -1; how < 3; how++) {
        fam_make(kind, 27, 1);
        fam.spec[0].weight = 0;
        if (how >= 0)
            spoil_sequence(2, how);
        fam_run_and_take(&is, "a loss of weight 0");
        CHECK(is.result.loss == 0, "%s: loss %g", name(), is.result.loss);
        for (int64_t i = 0; i < FAM_N; i++)
            CHECK(zero_row(&is, i), "%s: row %d of weight 0", name(), (int)i);
        for (int s = 0; s < FAM_S && has_trait(kind, BN_DISTANCE); s++)
            CHECK(is.distance[s] == 0, "%s: distance %d", name(), s);
    }
}

/* A loss of weight 0, first or last, beside another: that one alone, by the
 * bit, though the other's pairs are infinitely wrong. */
static void spec_weight_0(uint32_t kind)
{
    for (int last = 0; last < 2; last++) {
        const uint32_t sft = BNFLOSS_SFT;

        fam_make(sft, 27, 0);
        fam.in.pairing = BNFLOSS_PAIRS_ADJACENT;
        fam.spec[0].flags = BNFLOSS_CHOSEN_ONLY;
        fam.ref[fam.start[1]] = -HUGE_VALF;
        fam_set_logit(fam.start[3], fam.label[fam.start[3]], -HUGE_VALF);
        fam_set_logit(fam.start[5], 3, NAN);
        memcpy(&fam.spec[2], &fam.spec[0], sizeof *fam.spec);
        fam_run_and_take(&was, "SFT of the chosen");
        fam_also((uint32_t)last, kind, 0);
        fam_also(last ? 0 : 1, sft, 1);
        fam.spec[!last].flags = BNFLOSS_CHOSEN_ONLY;
        fam.spec[0].also = 1;
        fam.in.pairing = BNFLOSS_PAIRS_ADJACENT;
        fam_run_and_take(&is, "beside a loss of weight 0");
        CHECK(is.result.loss == was.result.loss
              && is.spec_loss[!last] == was.spec_loss[0],
              "%s of weight 0: loss %.17g, not %.17g",
              bnfloss_kind_name(kind), is.result.loss, was.result.loss);
        for (int64_t i = 0; i < FAM_N; i++)
            CHECK(same_row(&is, &was, i), "%s of weight 0: row %d",
                  bnfloss_kind_name(kind), (int)i);
    }
}

int main(void)
{
    FOR_EACH_ISA(isa) {
        for (uint32_t kind = 1; kind <= BN_KINDS; kind++) {
            row_weight_0(kind);
            seq_weight_0(kind);
            pair_weight_0(kind);
            likelihood_of_weight_0(kind);
            batch_norm_of_counted_pairs(kind);
            switched_off(kind);
            spec_weight_0(kind);
        }
        baseline_of_weight_0();
        shortest_of_weight_0(BNFLOSS_SFT);
        shortest_of_weight_0(BNFLOSS_BNF);
    }
    edges_end("test_weights");
    return test_end();
}
