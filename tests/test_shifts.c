/* bnfloss_measure_shifts(): its errors, the means and Gini coefficients of the
 * definition, and what of the rows it counts.
 *
 * SPDX-License-Identifier: MIT */
#include "fixture.h"
#include "edges.h"

/* ---- A batch and its reference ------------------------------------------- */

static bnfloss_shifts shifts;

static bnfloss_status measure_with(const bnfloss_row *state,
                                   const bnfloss_row *other, void *work,
                                   uint64_t bytes, bnfloss_shifts *to)
{
    return bnfloss_measure_shifts(&fam.in, FAM_N, state, other, work, bytes,
                                  to);
}

static bnfloss_status measure(void)
{
    return measure_with(fam.state, fam.other, fam.work, sizeof fam.work,
                        &shifts);
}

/* Reference states of other logits. */
static void make_shifts(uint64_t seed)
{
    rng r = { seed };

    fam_make(BNFLOSS_BNF, seed, 0);
    memset(&shifts, 0xA5, sizeof shifts);
    shifts.struct_size = sizeof shifts;
    CHECK(fam_forward(BNFLOSS_MEAN, fam.state) == BNFLOSS_OK, "forward");
    for (int64_t i = 0; i < FAM_N; i++)
        for (int64_t v = 0; v < FAM_V; v++)
            fam_set_logit(i, v, (float)(rng_below(&r, 129) - 64) / 16);
    CHECK(fam_forward(BNFLOSS_MEAN, fam.other) == BNFLOSS_OK, "forward");
    memset(fam.work, 0xA5, sizeof fam.work);
    fam_save();
}

static void shifts_refused(const char *what, bnfloss_status want,
                           int64_t where)
{
    static fam_block before;
    static bnfloss_shifts shifts_before;
    bnfloss_status got;

    memcpy(&before, &fam, sizeof fam);
    memcpy(&shifts_before, &shifts, sizeof shifts);
    got = measure();
    CHECK(got == want && shifts.where == where, "shifts, %s: status %d, "
          "where %d", what, (int)got, (int)shifts.where);
    shifts.where = shifts_before.where;
    CHECK(memcmp(&before, &fam, sizeof fam) == 0
          && memcmp(&shifts_before, &shifts, sizeof shifts) == 0,
          "shifts, %s: something was written", what);
    fam_restore();
}

/* ---- Errors -------------------------------------------------------------- */

static void shift_errors(void)
{
    const size_t half = FIX_ALIGN_NUMBER / 2, all = sizeof fam.work;
    bnfloss_row *const s = fam.state, *const o = fam.other;
    bnfloss_shifts *off = (bnfloss_shifts *)(void *)((char *)&shifts + half);
    char *const odd = (char *)fam.work + half;

    make_shifts(3);
    edge("E236");
    CHECK(measure_with(s, o, fam.work, all, NULL) == BNFLOSS_E_NULL
          && measure_with(NULL, o, fam.work, all, &shifts) == BNFLOSS_E_NULL
          && measure_with(s, NULL, fam.work, all, &shifts) == BNFLOSS_E_NULL
          && measure_with(s, o, NULL, all, &shifts) == BNFLOSS_E_NULL
          && bnfloss_measure_shifts(NULL, FAM_N, s, o, fam.work, all, &shifts)
             == BNFLOSS_E_NULL, "a pointer NULL");
    fam.in.seq_start = NULL;
    shifts_refused("no seq_start", BNFLOSS_E_NULL, -1);
    fam.in.side = NULL;
    shifts_refused("no sides", BNFLOSS_E_NULL, -1);
    edge("E237");
    CHECK(measure_with(s, o, fam.work, FAM_N * 8 - 1, &shifts)
          == BNFLOSS_E_WORK, "a byte less");
    CHECK(measure_with(s, o, odd, all - half, &shifts) == BNFLOSS_E_ALIGN
          && measure_with(s, o, fam.work, all, off) == BNFLOSS_E_ALIGN
          && measure_with((bnfloss_row *)(void *)((char *)s + half), o,
                          fam.work, all, &shifts) == BNFLOSS_E_ALIGN
          && measure_with(s, (bnfloss_row *)(void *)((char *)o + half),
                          fam.work, all, &shifts) == BNFLOSS_E_ALIGN,
          "alignment");
    CHECK(measure_with(s, o, s, sizeof fam.state, &shifts)
          == BNFLOSS_E_OVERLAP
          && measure_with(s, o, o, sizeof fam.other, &shifts)
             == BNFLOSS_E_OVERLAP
          && measure_with(s, o, &shifts, FAM_N * 8, &shifts)
             == BNFLOSS_E_OVERLAP, "overlaps");
    memcpy(fam.work, fam.weight, sizeof fam.weight);
    fam.in.row_weight = (float *)(void *)fam.work;
    shifts_refused("weights in the work", BNFLOSS_E_OVERLAP, -1);
    CHECK(bnfloss_measure_shifts(&fam.in, -1, s, o, fam.work, all, &shifts)
          == BNFLOSS_E_SHAPE, "rows -1");
    edge("E238");
    for (uint32_t size = 0; size < 8; size++) {
        shifts.struct_size = size;
        CHECK(measure() == BNFLOSS_E_STRUCT, "shifts of %u bytes", size);
    }
    shifts.struct_size = 4097;
    CHECK(measure() == BNFLOSS_E_STRUCT, "shifts of 4097 bytes");
    shifts.struct_size = sizeof shifts;
    fam.in.struct_size = 4;
    shifts_refused("inputs of 4 bytes", BNFLOSS_E_STRUCT, -1);
    edge("E239");
    for (int k = FAM_SEQ_WEIGHT; k < FAM_ARRAYS; k++) {
        fam_give(fam_arrays + k, fam_arrays[k].numbers);
        shifts_refused(fam_arrays[k].name, BNFLOSS_E_OPTION, -1);
    }
    fam.start[2] = 1;
    shifts_refused("seq_start falls", BNFLOSS_E_SEQ, 2);
    fam.side[4] = 0;
    shifts_refused("a side of 0", BNFLOSS_E_SIDE, 4);
    fam.weight[6] = NAN;
    shifts_refused("a weight of NaN", BNFLOSS_E_WEIGHT, 6);
    edge("E240");
    fam.other[0].label_id ^= 1;
    shifts_refused("another label in the first row", BNFLOSS_E_STATE, 0);
    fam.other[8].label_id ^= 1;
    shifts_refused("another label", BNFLOSS_E_STATE, 8);
    fam.other[8].flags &= ~(uint32_t)BNFLOSS_ROW_LABEL;
    shifts_refused("a label that was not seen", BNFLOSS_E_STATE, 8);
    fam.state[9].flags &= ~(uint32_t)BNFLOSS_ROW_LABEL;
    shifts_refused("a label that was not seen", BNFLOSS_E_STATE, 9);
    fam.other[8].label_id = -1;
    fam.other[8].flags = BNFLOSS_ROW_IGNORED;
    CHECK(measure() == BNFLOSS_OK, "a row that one of them ignores");
}

/* An output of the call behind another buffer. */
static void shift_neighbours(void)
{
    static struct { bnfloss_shifts x; int64_t start[FAM_S + 1]; } near;

    make_shifts(3);
    EMPTY(near.x);
    memcpy(near.start, fam.start, sizeof near.start);
    fam.in.seq_start = near.start;
    CHECK(measure_with(fam.state, fam.other, fam.work, sizeof fam.work,
                       &near.x) == BNFLOSS_OK, "neighbours");
}

/* Work of just the bytes that the header asks for, with several sequences and
 * with one: what lies behind it is neither used nor written. */
static void shift_work(void)
{
    static const int64_t one[] = { 0, FAM_N };

    for (int several = 0; several < 2; several++) {
        make_shifts(8);
        for (int i = FAM_N; i < 2 * FAM_N; i++)
            fam.work[i] = -1;       /* a sort that took these would show it */
        if (!several) {
            fam.in.sequences = 1;
            fam.in.seq_start = one;
            fam.in.row_weight = NULL;
        }
        CHECK(measure_with(fam.state, fam.other, fam.work, FAM_N * 8, &shifts)
              == BNFLOSS_OK && shifts.logp_gini_chosen > 0
              && shifts.logp_gini_chosen < 1, "Gini %g",
              shifts.logp_gini_chosen);
        for (int i = FAM_N; i < 2 * FAM_N; i++)
            CHECK(fam.work[i] == -1, "%g at %d of %d", fam.work[i], i, FAM_N);
    }
}

/* ---- Values -------------------------------------------------------------- */

/* Mean shift and Gini of one side, by the definition. what: 0 logp, 1 logit,
 * 2 centred. */
static double plain_shift(double (*z)[FAM_N][FAM_V], int side, int what,
                          double *gini)
{
    double mean = 0, ginis = 0;
    int count = 0;

    for (int s = 0; s < FAM_S; s++) {
        double of[FAM_N], sum = 0;
        int n = 0;

        for (int64_t i = fam.start[s]; i < fam.start[s + 1]; i++) {
            const int64_t y = fam.label[i];
            plain_row p, q;
            double x;

            if (!fam_valid(i) || fam.side[s] != side)
                continue;
            p = plain_softmax(z[0][i], FAM_V, y);
            q = plain_softmax(z[1][i], FAM_V, y);
            x = what == 0 ? p.logp - q.logp
                : z[0][i][y] - z[1][i][y] - (what == 2 ? p.mean - q.mean : 0);
            sum += x;
            of[n++] = fabs(x);
        }
        if (n == 0)
            continue;
        mean += sum / n;
        ginis += plain_gini(of, n);
        count++;
    }
    *gini = ginis / count;
    return mean / count;
}

static void shift_values(uint64_t seed, const char *isa)
{
    static double z[2][FAM_N][FAM_V];
    rng r = { seed };

    edge("E241");
    fam_make(BNFLOSS_BNF, seed, 0);
    for (int64_t i = 0; i < FAM_N; i++)
        for (int64_t v = 0; v < FAM_V; v++)
            z[0][i][v] = (double)fam_logit(i, v);
    for (int64_t i = 0; i < FAM_N; i++)
        for (int64_t v = 0; v < FAM_V; v++)
            z[1][i][v] = (double)(rng_below(&r, 129) - 64) / 16;
    make_shifts(seed);
    for (int64_t i = fam.start[1]; i < fam.start[2] && seed % 2; i++)
        fam.weight[i] = 0;          /* a sequence without tokens */
    CHECK(measure() == BNFLOSS_OK && shifts.where == -1, "shifts");
#define NEAR(got, want)                                                       \
    CHECK(fabs((got) - (want)) <= 16 * U * (fabs(want) + 1), "%s: " #got      \
          " %.9g, not %.9g", isa, got, want)
    for (int side = -1; side <= 1; side += 2) {
        double logp_gini, logit_gini, unused;
        const double logp = plain_shift(z, side, 0, &logp_gini);
        const double logit = plain_shift(z, side, 1, &logit_gini);
        const double centred = plain_shift(z, side, 2, &unused);

        NEAR(side > 0 ? shifts.logp_chosen : shifts.logp_rejected, logp);
        NEAR(side > 0 ? shifts.logit_chosen : shifts.logit_rejected, logit);
        NEAR(side > 0 ? shifts.centred_chosen : shifts.centred_rejected,
             centred);
        NEAR(side > 0 ? shifts.logp_gini_chosen : shifts.logp_gini_rejected,
             logp_gini);
        NEAR(side > 0 ? shifts.logit_gini_chosen
                      : shifts.logit_gini_rejected, logit_gini);
    }
#undef NEAR
}

/* Logit shifts by hand: chosen sequences have the given ones. */
static double gini_of(const double *by, int n)
{
    make_shifts(5);
    for (int s = 0; s < FAM_S; s++)
        for (int64_t i = fam.start[s]; i < fam.start[s + 1]; i++) {
            const int64_t k = i - fam.start[s];

            fam.weight[i] = k < n ? 1 : 0;
            fam.state[i].flags &= ~(uint32_t)BNFLOSS_ROW_IGNORED;
            fam.state[i].flags |= BNFLOSS_ROW_LABEL;
            fam.state[i].label_id = fam.other[i].label_id = 1;
            fam.other[i].flags = fam.state[i].flags;
            fam.other[i].label = 0.5;
            fam.state[i].label = 0.5 + (k < n ? by[k] : 9);
            if (s % 2 == 0 && fam.start[s + 1] - fam.start[s] < n)
                fam.weight[i] = 0;
        }
    CHECK(measure() == BNFLOSS_OK, "Gini");
    return shifts.logit_gini_chosen;
}

static void ginis(void)
{
    static const double none[] = { 0, 0, 0 }, equal[] = { 2, -2, 2 };
    static const double tenth[] = { 0.1f, 0.1f, 0.1f }, one[] = { 0, -5, 0 };
    static const double rising[] = { 3, -1, 2 }, single[] = { 7 };
    static const double huge[] = { 3e38, -3e38, 0 };

    edge("E242");
    CHECK(gini_of(none, 3) == 0, "shifts of 0: %g", gini_of(none, 3));
    CHECK(gini_of(equal, 3) == 0, "equal shifts: %g",
          gini_of(equal, 3));
    CHECK(gini_of(tenth, 3) == 0, "equal shifts: %g",
          gini_of(tenth, 3));
    CHECK(fabs(gini_of(one, 3) - 2 / 3.0) <= 1e-15, "one of three: %g",
          gini_of(one, 3));
    CHECK(fabs(gini_of(rising, 3) - 2 / 9.0) <= 1e-15, "1, 2, 3: %g",
          gini_of(rising, 3));
    CHECK(gini_of(single, 1) == 0, "one token: %g", gini_of(single, 1));
    CHECK(fabs(gini_of(huge, 3) - 1 / 3.0) <= 1e-15, "two of three: %g",
          gini_of(huge, 3));
}

/* However many: the two sums of the definition need not round alike. */
static void many_equal(void)
{
    enum { MAX = 64 };
    static const float up[] = { 0.1f, 0 }, flat[] = { 0, 0 };
    static const int32_t label = 0;
    static bnfloss_row x[MAX], y[MAX];
    const bnfloss_layout w = { .struct_size = sizeof w, .rows = 1,
                               .vocab = 2 };

    for (int n = 1; n <= MAX; n++) {
        const int64_t start[] = { 0, n };
        const int8_t side = 1;
        const bnfloss_inputs in = { .struct_size = sizeof in, .sequences = 1,
                                    .seq_start = start, .side = &side };
        double work[MAX];

        bnfloss_forward(&w, up, &label, 0, 1, x + n - 1, NULL, NULL);
        bnfloss_forward(&w, flat, &label, 0, 1, y + n - 1, NULL, NULL);
        CHECK(bnfloss_measure_shifts(&in, n, x, y, work, sizeof work, &shifts)
              == BNFLOSS_OK && shifts.logp_gini_chosen == 0
              && shifts.logit_gini_chosen == 0, "%d equal shifts: %g %g", n,
              shifts.logp_gini_chosen, shifts.logit_gini_chosen);
    }
}

/* A row that one of the two states ignores counts for nothing, as if both
 * did. */
static void shift_ignored(void)
{
    bnfloss_shifts both;

    make_shifts(7);
    fam.weight[8] = 0;
    CHECK(measure() == BNFLOSS_OK, "without the row");
    both = shifts;
    for (int k = 0; k < 2; k++) {
        bnfloss_row *row = (k ? fam.state : fam.other) + 8;

        fam_restore();
        row->label_id = -1;
        row->flags = BNFLOSS_ROW_IGNORED;
        CHECK(measure() == BNFLOSS_OK
              && memcmp(&shifts, &both, sizeof both) == 0, "ignored by one: "
              "logp of the chosen %g, not %g", shifts.logp_chosen,
              both.logp_chosen);
    }
}

/* One token of a side, whose shift is infinite: its Gini is no number. */
static void shift_infinite(void)
{
    make_shifts(9);
    for (int64_t i = 1; i < FAM_N; i++)
        fam.weight[i] = fam_seq(i) % 2 ? 1 : 0;
    fam_set_logit(0, fam.label[0], -HUGE_VALF);
    CHECK(fam_forward(BNFLOSS_MEAN, fam.state) == BNFLOSS_OK
          && measure() == BNFLOSS_OK && shifts.logp_chosen == -HUGE_VAL
          && isnan(shifts.logp_gini_chosen) && isnan(shifts.logit_gini_chosen),
          "shift %g, Gini %g and %g", shifts.logp_chosen,
          shifts.logp_gini_chosen, shifts.logit_gini_chosen);
}

static void shift_nothing(void)
{
    static bnfloss_shifts with;

    edge("E243");
    make_shifts(9);
    CHECK(measure() == BNFLOSS_OK, "shifts");
    with = shifts;
    for (int64_t i = 0; i < FAM_N; i++)     /* as if never read */
        if (fam.weight[i] == 0) {
            fam.state[i].flags = BNFLOSS_ROW_IGNORED;
            fam.state[i].label = NAN;
        }
    CHECK(measure() == BNFLOSS_OK
          && memcmp(&with, &shifts, sizeof shifts) == 0,
          "a weight of 0 is not an ignored row");
    fam_restore();
    for (int64_t i = 0; i < FAM_N; i++)
        if (fam_seq(i) % 2)
            fam.weight[i] = 0;
    CHECK(measure() == BNFLOSS_OK && shifts.logp_chosen == with.logp_chosen
          && shifts.logit_gini_chosen == with.logit_gini_chosen
          && shifts.logp_rejected != shifts.logp_rejected
          && shifts.logit_rejected != shifts.logit_rejected
          && shifts.centred_rejected != shifts.centred_rejected
          && shifts.logp_gini_rejected != shifts.logp_gini_rejected
          && shifts.logit_gini_rejected != shifts.logit_gini_rejected,
          "nothing rejected is NaN");
    CHECK(bnfloss_measure_shifts(&fam.in, 0, NULL, NULL, NULL, 0, &shifts)
          != BNFLOSS_OK, "seq_start for 0 rows");
    fam.in.seq_start = NULL;
    fam.in.sequences = 0;
    fam.in.side = NULL;
    CHECK(bnfloss_measure_shifts(&fam.in, 0, NULL, NULL, NULL, 0, &shifts)
          == BNFLOSS_OK && shifts.logp_chosen != shifts.logp_chosen,
          "no rows");
    edge("E244");
    make_shifts(9);
    fam.state[fam.start[1]].flags |= BNFLOSS_ROW_NAN;
    CHECK(measure() == BNFLOSS_OK && shifts.logp_chosen == with.logp_chosen
          && shifts.logp_rejected != shifts.logp_rejected
          && shifts.centred_rejected != shifts.centred_rejected,
          "a NaN row is NaN on its side");
    edge("E245");
    make_shifts(9);
    for (int64_t i = 0; i < FAM_N; i++)
        fam.other[i].flags &= ~(uint32_t)BNFLOSS_ROW_MEAN;
    CHECK(measure() == BNFLOSS_OK && shifts.logit_chosen == with.logit_chosen
          && shifts.centred_chosen != shifts.centred_chosen,
          "no mean, no centred shift");
}

/* States of two slices, merged. */
static void shift_slices(void)
{
    static bnfloss_shifts whole;
    bnfloss_row more[FAM_N];
    bnfloss_layout l;

    edge("E246");
    make_shifts(13);
    CHECK(measure() == BNFLOSS_OK, "shifts");
    whole = shifts;
    l = fam.layout;
    l.flags = BNFLOSS_MEAN;
    l.vocab_total = FAM_V;
    l.vocab = 20;
    CHECK(bnfloss_forward(&l, fam.logits, fam.label, 0, FAM_N, fam.other,
                          NULL, NULL) == BNFLOSS_OK, "first slice");
    l.vocab_begin = 20;
    l.vocab = FAM_V - 20;
    CHECK(bnfloss_forward(&l, (float *)(void *)fam.logits + 20, fam.label, 0,
                          FAM_N, more, NULL, NULL) == BNFLOSS_OK
          && bnfloss_row_merge(FAM_N, fam.other, more, NULL) == BNFLOSS_OK,
          "second slice");
    CHECK(measure() == BNFLOSS_OK, "shifts of slices");
    CHECK(fabs(whole.logp_chosen - shifts.logp_chosen) <= 8 * U
          && whole.logit_rejected == shifts.logit_rejected
          && fabs(whole.centred_chosen - shifts.centred_chosen) <= 8 * U
          && fabs(whole.logp_gini_rejected - shifts.logp_gini_rejected)
             <= 64 * U, "slices: %.9g, not %.9g", shifts.logp_chosen,
          whole.logp_chosen);
}

int main(void)
{
    FOR_EACH_ISA(isa) {
        for (uint64_t seed = 1; seed < 20; seed++)
            shift_values(seed, isa);
        shift_ignored();
        shift_infinite();
        shift_nothing();
        shift_slices();
    }
    shift_errors();
    shift_neighbours();
    shift_work();
    ginis();
    many_equal();
    edges_end("test_shifts");
    return test_end();
}
