/* What must hold between calls for every loss of the family, whatever the
 * numbers are.
 *
 * SPDX-License-Identifier: MIT
 *
 * Needs the API alone. The first argument is the number of rounds, 12 without:
 * each has every loss, with options by chance. */
#include "family.h"

#include <stdlib.h>

#define B(n) (1u << NUM_##n)

static const char *isa_now;
static uint64_t seed_now;

/* ---- One call and what it gave ------------------------------------------ */

typedef struct outcome {
    bnfloss_result result;
    float dlogp[FAM_N], row_loss[FAM_N], logp[FAM_N], log_square[FAM_N];
    float distance[FAM_S], scale[FAM_N];
    double seq_loss[FAM_S], seq_logp[FAM_S], seq_ratio[FAM_S];
    double spec_loss[FAM_SPECS];
    float grad[FAM_N][FAM_V];
} outcome;

static outcome one, two, sum;

static const char *name(void)
{
    return bnfloss_kind_name(fam.spec[0].kind);
}

static void take(outcome *o)
{
    memset(o, 0, sizeof *o);
    memcpy(&o->result, &fam.result, sizeof o->result);
    memcpy(o->dlogp, fam.dlogp, sizeof o->dlogp);
    memcpy(o->row_loss, fam.row_loss, sizeof o->row_loss);
    memcpy(o->logp, fam.logp, sizeof o->logp);
    memcpy(o->log_square, fam.log_square, sizeof o->log_square);
    memcpy(o->scale, fam.row_scale, sizeof o->scale);
    memcpy(o->distance, fam.distance_grad, sizeof o->distance);
    memcpy(o->seq_loss, fam.seq_loss, sizeof o->seq_loss);
    memcpy(o->seq_logp, fam.seq_logp, sizeof o->seq_logp);
    memcpy(o->seq_ratio, fam.seq_ratio, sizeof o->seq_ratio);
    memcpy(o->spec_loss, fam.spec_loss, sizeof o->spec_loss);
    for (int64_t i = 0; i < fam.layout.rows; i++)
        for (int64_t v = 0; v < FAM_V; v++)
            o->grad[i][v] = fam_grad(i, v);
}

static int run(outcome *o, const char *what)
{
    const bnfloss_status got = fam_run(fam.grad, 1);
    const int ok = CHECK(got == BNFLOSS_OK, "%s, %s, seed %d: status %d",
                         name(), what, (int)seed_now, (int)got);

    take(o);
    return ok;
}

/* A sound batch of a kind with options by chance. */
static void make(uint32_t kind, uint64_t seed)
{
    rng r = { seed * 1000 + kind };

    seed_now = seed;
    fam_make(kind, seed * 100 + kind, rng_below(&r, 3) > 0);
    fam_options(&r, fam.spec);
    if (rng_below(&r, 4) == 0)
        fam.in.row_weight = NULL;
}

static double largest(const float *x, int64_t n)
{
    double max = 0;

    for (int64_t i = 0; i < n; i++)
        max = fmax(max, fabs((double)x[i]));
    return max;
}

static int close_to(double got, double want, double size)
{
    return got == want || fabs(got - want) <= size;
}

/* ---- Entry points, types, threads -------------------------------------- */

/* By states: the same bits. By log-probabilities: those are rounded to
 * floats, so sums of 26 tokens of |l| < 8 move by 26 * 8 u at most, and with
 * them exponentials of up to twice a sum. */
static void entries(uint32_t kind, uint64_t seed)
{
    static const uint32_t sums = BNFLOSS_ENTROPY | BNFLOSS_SQUARES;
    float weight[FAM_N];
    double max;

    make(kind, seed);
    fam.out.log_square = fam.log_square;
    fam.layout.flags = BNFLOSS_ENTROPY | BNFLOSS_SQUARES | BNFLOSS_MEAN;
    run(&one, "run");
    CHECK(fam_forward(sums | BNFLOSS_MEAN, fam.state) == BNFLOSS_OK
          && fam_states() == BNFLOSS_OK, "%s: states", name());
    take(&two);
    CHECK(memcmp(&one.result, &two.result, sizeof one.result) == 0,
          "%s, seed %d: results of states: loss %.17g, not %.17g", name(),
          (int)seed, two.result.loss, one.result.loss);
    CHECK(memcmp(one.dlogp, fam.dlogp_out, sizeof one.dlogp) == 0
          && memcmp(&one.row_loss, two.row_loss, sizeof one.row_loss) == 0
          && memcmp(one.seq_ratio, two.seq_ratio, sizeof one.seq_ratio) == 0
          && memcmp(one.seq_logp, two.seq_logp, sizeof one.seq_logp) == 0
          && memcmp(one.distance, two.distance, sizeof one.distance) == 0
          && memcmp(one.spec_loss, two.spec_loss, 8) == 0,
          "%s, seed %d: outputs of states", name(), (int)seed);
    for (int i = 0; i < FAM_N; i++) {       /* no labels at bnfloss_loss */
        weight[i] = fam_valid(i) ? fam.in.row_weight ? fam.weight[i] : 1 : 0;
        fam.logp_in[i] = one.logp[i];
        fam.rest_in[i] = fam.rest[i];
        fam.square[i] = one.log_square[i];
    }
    fam.in.row_weight = weight;
    fam.in.log_square = fam.spec[0].flags & BNFLOSS_WPO ? fam.square : NULL;
    CHECK(fam_logps() == BNFLOSS_OK, "%s: logps", name());
    max = largest(one.dlogp, FAM_N);
    if (kind == BNFLOSS_DISCOPOP)           /* the rounding of logp, over tau */
        max *= 1 + 1 / (double)fam.spec->tau;
    CHECK(close_to(fam.result.loss, one.result.loss,
                   2 * 26 * 8 * U * (fabs(one.result.loss) + 26 * max)),
          "%s, seed %d: loss %.9g by logp, %.9g by logits", name(), (int)seed,
          fam.result.loss, one.result.loss);
    for (int i = 0; i < FAM_N; i++)
        CHECK(close_to((double)fam.dlogp_out[i], (double)one.dlogp[i],
                       2 * 26 * 8 * U * max),
              "%s, seed %d: dlogp of row %d "
              "%.9g by logp, %.9g by logits",
              name(), (int)seed, i, (double)fam.dlogp_out[i],
              (double)one.dlogp[i]);
}

/* The logits are numbers that all types hold, so all but the gradient's last
 * rounding is the same; in place, and on threads. */
static void types(uint32_t kind, uint64_t seed)
{
    make(kind, seed);
    run(&one, "f32");
    for (uint32_t type = 0; type < 3; type++) {
        for (int in_place = 0; in_place < 2; in_place++) {
            float z[FAM_N][FAM_V];

            make(kind, seed);
            for (int64_t i = 0; i < FAM_N; i++)
                for (int64_t v = 0; v < FAM_V; v++)
                    z[i][v] = fam_logit(i, v);
            fam.layout.logits_type = fam.layout.grad_type = type;
            for (int64_t i = 0; i < FAM_N; i++)
                for (int64_t v = 0; v < FAM_V; v++)
                    fam_set_logit(i, v, z[i][v]);
            if (in_place)
                fam.layout.grad_stride = FAM_STRIDE;
            CHECK(fam_run(in_place ? (void *)fam.logits : (void *)fam.grad,
                          3) == BNFLOSS_OK, "%s: %s", name(),
                  type_name(type));
            if (in_place)
                memcpy(fam.grad, fam.logits, sizeof fam.logits);
            take(&two);
            CHECK(memcmp(&one.result, &two.result, sizeof one.result) == 0
                  && memcmp(one.dlogp, two.dlogp, sizeof one.dlogp) == 0,
                  "%s, seed %d: %s has another loss", name(), (int)seed,
                  type_name(type));
            for (int64_t i = 0; i < FAM_N; i++)
                for (int64_t v = 0; v < FAM_V; v++) {
                    const double g = type == BNFLOSS_F16
                        && fabsf(one.grad[i][v]) >= 65520
                        ? copysign(HUGE_VAL, (double)one.grad[i][v])
                        : (double)one.grad[i][v];

                    CHECK(close_to((double)two.grad[i][v], g,
                                   type ? elem_rounding(type, g) : 0),
                          "%s, seed %d: gradient in %s%s %.9g, not %.9g",
                          name(), (int)seed, type_name(type),
                          in_place ? " in place" : "",
                          (double)two.grad[i][v], g);
                }
        }
    }
}

/* Rows that do not count have no gradient, and ACCUMULATE adds what would
 * have been written. */
static void accumulate(uint32_t kind, uint64_t seed)
{
    rng r = { seed };

    make(kind, seed);
    run(&one, "apart");
    for (int64_t i = 0; i < FAM_N; i++)
        for (int64_t v = 0; v < FAM_V && !fam_valid(i); v++)
            CHECK(one.dlogp[i] == 0 && one.grad[i][v] == 0, "%s: row %d is "
                  "ignored, and has a gradient", name(), (int)i);
    for (int64_t k = 0; k < FAM_N * FAM_GRAD_STRIDE; k++)
        elem_put(0, fam.grad, k, (float)(rng_normal(&r) * 0.01));
    take(&sum);
    fam.layout.flags |= BNFLOSS_ACCUMULATE;
    run(&two, "accumulated");
    for (int64_t i = 0; i < FAM_N; i++)
        for (int64_t v = 0; v < FAM_V; v++)
            CHECK(two.grad[i][v] == sum.grad[i][v] + one.grad[i][v],
                  "%s: accumulated", name());
}

/* ---- The deferred scale ------------------------------------------------- */

/* Two gradients of one row differ by 8 u of dlogp at most (numerics.md: 4 u
 * each); the deferred one has two roundings more. */
static void deferred(uint32_t kind, uint64_t seed)
{
    make(kind, seed);
    if (fam.spec[0].sft_weight > 0 && (fam.spec[0].ld_alpha < 1))
        return;                 /* E192 */
    run(&one, "at once");
    fam.spec[0].flags |= BNFLOSS_DEFER_SCALE;
    fam.out.row_scale = fam.row_scale;
    run(&two, "deferred");
    CHECK(memcmp(&one.result, &two.result, sizeof one.result) == 0
          && memcmp(one.dlogp, two.dlogp, sizeof one.dlogp) == 0
          && memcmp(one.seq_loss, two.seq_loss, sizeof one.seq_loss) == 0,
          "%s, seed %d: deferred, another loss", name(), (int)seed);
    for (int64_t i = 0; i < FAM_N; i++) {
        const double d = fabs((double)one.dlogp[i]);
        const double s = (double)two.scale[i];

        if (!fam_valid(i))
            CHECK(s == 0, "%s: scale %g of an ignored row", name(), s);
        if (fam_of(kind)->shape == BY_TOKEN)
            CHECK(s == (one.dlogp[i] != 0 || fam_valid(i) ? s : 0)
                  && (s == 1 || s == 0), "%s: scale %g", name(), s);
        for (int64_t v = 0; v < FAM_V; v++)
            CHECK(close_to(s * (double)two.grad[i][v],
                           (double)one.grad[i][v], 10 * U * d + 0x1p-120),
                  "%s, seed %d: row %d: deferred %.9g times %.9g is not "
                  "%.9g (dlogp %.9g)", name(), (int)seed, (int)i,
                  (double)two.grad[i][v], s, (double)one.grad[i][v], d);
    }
}

/* ---- Sequences in another order, with padding, in several calls --------- */

#define MOVE(array) memcpy(fam.array + to, from.array + i, sizeof *fam.array)

/* The batch with the sequences order[0], .. order[S-1] of the one at hand and
 * `pad` ignored rows after each; row[i] is where row i went. Pairs are taken
 * from `pair`: that of each new pair. */
static void rebuild(const int *order, int S, const int *pair, int pad,
                    int64_t *row)
{
    static fam_block from;
    int64_t to = 0;

    memcpy(&from, &fam, sizeof fam);
    for (int s = 0; s < S; s++) {
        const int64_t end = from.start[order[s] + 1];

        fam.start[s] = to;
        fam.side[s] = from.side[order[s]];
        fam.seq_weight[s] = from.seq_weight[order[s]];
        fam.distance[s] = from.distance[order[s]];
        for (int64_t i = from.start[order[s]]; i < end + pad; i++, to++) {
            if (i >= end) {
                fam.label[to] = -1;
                fam.weight[to] = 7;
                fam.ref[to] = NAN;
                fam.mask[to] = 1;
                fam.square[to] = NAN;
                continue;
            }
            row[i] = to;
            MOVE(label);
            MOVE(ref);
            MOVE(weight);
            MOVE(mask);
            MOVE(logp_in);
            for (int64_t v = 0; v < FAM_V; v++)
                elem_put(0, fam.logits, to * FAM_STRIDE + v,
                         elem_get(0, from.logits, i * FAM_STRIDE + v));
        }
    }
    fam.start[S] = to;
    fam.in.sequences = S;
    fam.layout.rows = to;
    for (int k = 0; k < S / 2 && pair; k++) {
        fam.pair_weight[k] = from.pair_weight[pair[k]];
        fam.pair_scale[k] = from.pair_scale[pair[k]];
        fam.pair_margin[k] = from.pair_margin[pair[k]];
        fam.soft[k] = from.soft[pair[k]];
    }
}

/* The dlogp and gradient of `two` are those of `one` by the bit, or within
 * `slack` of the largest dlogp. */
static void same_rows(const int64_t *row, double slack, const char *what)
{
    const double size = slack * largest(one.dlogp, FAM_N);

    for (int64_t i = 0; i < FAM_N; i++) {
        const int64_t to = row[i];

        if (to < 0)
            continue;
        CHECK(close_to((double)two.dlogp[to], (double)one.dlogp[i], size),
              "%s, seed %d, %s: dlogp of row %d %.9g, not %.9g", name(),
              (int)seed_now, what, (int)i, (double)two.dlogp[to],
              (double)one.dlogp[i]);
        if (slack == 0)
            CHECK(memcmp(two.grad[to], one.grad[i], sizeof one.grad[i]) == 0,
                  "%s, seed %d, %s: gradient of row %d", name(),
                  (int)seed_now, what, (int)i);
    }
}

/* All chosen, then all rejected. */
static void halves(uint32_t kind, uint64_t seed)
{
    static const int order[FAM_S] = { 0, 2, 4, 6, 1, 3, 5, 7 };
    static const int pair[FAM_P] = { 0, 1, 2, 3 };
    int64_t row[FAM_N];

    make(kind, seed);
    if (!fam_pairs(kind))
        return;
    run(&one, "adjacent");
    rebuild(order, FAM_S, pair, 0, row);
    fam.in.pairing = BNFLOSS_PAIRS_HALVES;
    run(&two, "halves");
    CHECK(one.result.loss == two.result.loss
          && memcmp(one.seq_loss, two.seq_loss, FAM_P * 8) == 0,
          "%s, seed %d: halves: loss %.17g, not %.17g", name(), (int)seed,
          two.result.loss, one.result.loss);
    same_rows(row, 0, "halves");
    for (int s = 0; s < FAM_S; s++)
        CHECK(two.distance[s] == one.distance[order[s]]
              && two.seq_ratio[s] == one.seq_ratio[order[s]],
              "%s: sequence %d of halves", name(), s);
}

/* The longest sequences made shorter, so that there is room for padding. */
static void padding(uint32_t kind, uint64_t seed)
{
    static const int order[FAM_S] = { 0, 1, 4, 5, 6, 7, 2, 3 };
    static const int pair[FAM_P] = { 0, 2, 3, 1 };
    static const int same[FAM_S] = { 0, 1, 2, 3, 4, 5, 6, 7 };
    int64_t row[FAM_N];

    for (int64_t i = 0; i < FAM_N; i++)
        row[i] = -1;
    make(kind, seed);
    rebuild(order, 6, pair, 0, row);        /* 19 rows */
    run(&one, "packed");
    for (int64_t i = 0; i < FAM_N; i++)
        row[i] = -1;
    rebuild(same, 6, same, 1, row);         /* 25 rows */
    run(&two, "padded");
    CHECK(one.result.loss == two.result.loss
          && one.result.tokens == two.result.tokens
          && one.result.divisor == two.result.divisor,
          "%s, seed %d: padding: loss %.17g, not %.17g", name(), (int)seed,
          two.result.loss, one.result.loss);
    same_rows(row, 0, "padding");
}

/* Pairs, or sequences, in another order. Only BCO's shift and sums over the
 * call see the order, in their last bits. */
static void permuted(uint32_t kind, uint64_t seed)
{
    static const int order[FAM_S] = { 4, 5, 0, 1, 6, 7, 2, 3 };
    static const int pair[FAM_P] = { 2, 0, 3, 1 };
    int64_t row[FAM_N];

    make(kind, seed);
    run(&one, "in order");
    rebuild(order, FAM_S, pair, 0, row);
    run(&two, "permuted");
    CHECK(close_to(two.result.loss, one.result.loss,
                   1e-14 * (1 + fabs(one.result.loss))),
          "%s, seed %d: permuted: loss %.17g, not %.17g", name(), (int)seed,
          two.result.loss, one.result.loss);
    same_rows(row, kind == BNFLOSS_BCO ? 2 * U : 0, "permuted");
    for (int k = 0; k < FAM_P && fam_pairs(kind); k++)
        CHECK(two.seq_loss[k] == one.seq_loss[pair[k]],
              "%s, seed %d: pair %d permuted", name(), (int)seed, k);
}

/* Whether its rows depend on no other pair or sequence. */
static int adds_up(void)
{
    const bnfloss_spec *s = fam.spec;

    return fam_of(s->kind)->shape != BY_BATCH && s->kind != BNFLOSS_BCO
           && s->token_norm != BNFLOSS_NORM_SHORTEST
           && !(s->sft_weight > 0 && s->sft_norm == BNFLOSS_NORM_BATCH);
}

/* Two calls with a given divisor are one: gradients by the bit, losses to the
 * last bits of their sum. Not AOT, BCO, and the two norms that look at the
 * whole call, which must then differ somewhere. */
static int differ;

static void divided(uint32_t kind, uint64_t seed)
{
    static const int order[2][4] = { { 0, 1, 2, 3 }, { 4, 5, 6, 7 } };
    static const int pair[2][2] = { { 0, 1 }, { 2, 3 } };
    static fam_block whole;
    double loss = 0;

    make(kind, seed);
    if (kind != BNFLOSS_BCO && !adds_up())
        return;
    fam.spec[0].divisor = BNFLOSS_DIV_GIVEN;
    fam.spec[0].divisor_value = 3;
    run(&one, "one call");
    memcpy(&whole, &fam, sizeof fam);
    for (int k = 0; k < 2; k++) {
        int64_t row[FAM_N];

        for (int64_t i = 0; i < FAM_N; i++)
            row[i] = -1;
        memcpy(&fam, &whole, sizeof fam);
        rebuild(order[k], 4, pair[k], 0, row);
        run(&two, "half of it");
        loss += two.result.loss;
        if (kind != BNFLOSS_BCO)
            same_rows(row, 0, "divided");
        else
            differ += memcmp(one.dlogp, two.dlogp, 8) != 0;
    }
    if (kind == BNFLOSS_BCO)
        return;
    CHECK(close_to(loss, one.result.loss, 1e-14 * (1 + fabs(loss))),
          "%s, seed %d: two calls give %.17g, one %.17g", name(), (int)seed,
          loss, one.result.loss);
}

/* ---- Several losses in one call ----------------------------------------- */

/* Three losses alone, then together. */
static void mixed(uint32_t kind, uint64_t seed)
{
    static bnfloss_spec spec[3];
    double d[FAM_N] = { 0 }, size[FAM_N] = { 0 }, loss = 0, of[3] = { 0 };
    rng r = { seed * 99 + kind };
    const uint32_t kinds[3] = { kind, 1 + (uint32_t)rng_below(&r, FAM_KINDS),
                                1 + (uint32_t)rng_below(&r, FAM_KINDS) };
    int pairs = 0, pw = 0;

    seed_now = seed;
    for (int k = 0; k < 3; k++) {
        bnfloss_spec_init(spec + k, sizeof *spec, kinds[k]);
        fam_options(&r, spec + k);
        spec[k].weight = (double)(rng_below(&r, 17) - 8) / 4;
        spec[k].loss_scale = (double)(1 + rng_below(&r, 4));
        pairs |= fam_pairs(kinds[k]);
        pw |= kinds[k] == BNFLOSS_UPO;
    }
    for (int k = 0; k < 4; k++) {
        const int all = k == 3;

        fam_make(kinds[all ? 0 : k], seed, 0);
        fam.in.pairing = pairs ? BNFLOSS_PAIRS_ADJACENT : 0;
        memcpy(fam.spec, spec + (all ? 0 : k), sizeof *spec);
        for (int j = 1; all && j < 3; j++) {
            fam_also((uint32_t)j, kinds[j], 1);
            memcpy(fam.spec + j, spec + j, sizeof *spec);
        }
        fam.in.pair_weight = pw && (all || fam_of(kinds[k])->shape == BY_PAIR)
                                 ? fam.pair_weight : NULL;
        run(all ? &two : &one, all ? "together" : "alone");
        if (all)
            break;
        of[k] = one.spec_loss[0];
        loss += one.result.loss;
        for (int i = 0; i < FAM_N; i++) {
            d[i] += (double)one.dlogp[i];
            size[i] += fabs((double)one.dlogp[i]);
        }
        CHECK(close_to(one.result.loss, spec[k].weight * of[k], 0),
              "%s: loss %.17g is not its weight times %.17g", name(),
              one.result.loss, of[k]);
    }
    for (int k = 0; k < 3; k++)
        CHECK(two.spec_loss[k] == of[k], "%s + %s + %s, seed %d: loss %d is "
              "%.17g, alone %.17g", name(), fam_of(kinds[1])->name,
              fam_of(kinds[2])->name, (int)seed, k, two.spec_loss[k], of[k]);
    CHECK(close_to(two.result.loss, loss, 1e-14 * (1 + fabs(of[0])
                   + fabs(of[1]) + fabs(of[2]))), "%s + %s + %s, seed %d: "
          "loss %.17g, not %.17g", name(), fam_of(kinds[1])->name,
          fam_of(kinds[2])->name, (int)seed, two.result.loss, loss);
    for (int i = 0; i < FAM_N; i++)
        CHECK(close_to((double)two.dlogp[i], d[i], 2.01 * U * size[i]
                       + 0x1p-140),
              "%s + %s + %s, seed %d: dlogp of row %d %.9g, not %.9g", name(),
              fam_of(kinds[1])->name, fam_of(kinds[2])->name, (int)seed, i,
              (double)two.dlogp[i], d[i]);
}

/* ---- What the numbers mean ---------------------------------------------- */

/* At flip_prob 1/2 a loss of DPO's form does not know which is chosen. */
static void swapped(uint32_t kind, uint64_t seed)
{
    static const int order[FAM_S] = { 1, 0, 3, 2, 5, 4, 7, 6 };
    static const int pair[FAM_P] = { 0, 1, 2, 3 };
    const fam_kind *f = fam_of(kind);
    int64_t row[FAM_N];

    if (!(f->numbers & B(FLIP)) || f->shape != BY_PAIR
        || kind == BNFLOSS_ROBUST || kind == BNFLOSS_EXO_PAIR
        || kind == BNFLOSS_DPOP)
        return;
    make(kind, seed);
    fam.spec[0].flip_prob = 0.5f;
    fam.spec[0].sft_weight = fam.spec[0].gamma = 0;
    fam.in.pair_margin = NULL;
    run(&one, "as it is");
    rebuild(order, FAM_S, pair, 0, row);
    for (int s = 0; s < FAM_S; s++)
        fam.side[s] = s % 2 ? -1 : 1;
    run(&two, "swapped");
    CHECK(close_to(one.result.loss, two.result.loss,
                   1e-14 * fabs(one.result.loss)),
          "%s, seed %d: swapped: %.17g, not %.17g", name(), (int)seed,
          two.result.loss, one.result.loss);
    same_rows(row, 2 * U, "swapped");
}

/* pair_scale s is s * beta, where nothing but u depends on beta. */
static void scaled(uint32_t kind, uint64_t seed)
{
    const fam_kind *f = fam_of(kind);

    if (!(f->needs & HAS_MARGIN) || !(f->numbers & B(BETA))
        || kind == BNFLOSS_IPO || kind == BNFLOSS_IPO_SUM
        || kind == BNFLOSS_RPO || kind == BNFLOSS_FPO)
        return;
    make(kind, seed);
    for (int k = 0; k < FAM_P; k++)
        fam.pair_scale[k] = 4;
    fam.in.pair_scale = fam.pair_scale;
    run(&one, "pair_scale");
    fam.in.pair_scale = NULL;
    fam.spec[0].beta *= 4;
    run(&two, "beta");
    CHECK(one.result.loss == two.result.loss
          && memcmp(one.dlogp, two.dlogp, sizeof one.dlogp) == 0,
          "%s, seed %d: pair_scale 4: %.17g, 4 beta: %.17g", name(),
          (int)seed, one.result.loss, two.result.loss);
}

/* Reference-free is a reference of 0. */
static void referenceless(uint32_t kind, uint64_t seed)
{
    if (!(fam_flags(kind) & BNFLOSS_REFERENCE_FREE))
        return;
    make(kind, seed);
    fam.spec[0].flags |= BNFLOSS_REFERENCE_FREE;
    run(&one, "reference-free");
    fam.spec[0].flags &= ~(uint32_t)BNFLOSS_REFERENCE_FREE;
    memset(fam.ref, 0, sizeof fam.ref);
    run(&two, "a reference of 0");
    CHECK(memcmp(&one, &two, sizeof one) == 0, "%s, seed %d: reference-free "
          "%.17g, with 0 %.17g", name(), (int)seed, one.result.loss,
          two.result.loss);
}

/* WPO and pair_weight multiply a pair, the likelihood term is added. */
static void weighted(uint32_t kind, uint64_t seed)
{
    double base[FAM_P], sft[FAM_P];

    if (fam_of(kind)->shape != BY_PAIR)
        return;
    make(kind, seed);
    fam.spec[0].flags &= ~(uint32_t)BNFLOSS_WPO;
    fam.spec[0].sft_weight = 0;
    for (int k = 0; k < FAM_P; k++)
        fam.pair_weight[k] = 1;
    fam.in.pair_weight = kind == BNFLOSS_UPO ? fam.pair_weight : NULL;
    fam.out.log_square = fam.log_square;
    run(&one, "alone");
    memcpy(base, one.seq_loss, sizeof base);
    fam.spec[0].sft_weight = 0.5f;
    run(&two, "with likelihood");
    for (int k = 0; k < FAM_P; k++)
        sft[k] = two.seq_loss[k] - base[k];
    CHECK(close_to(two.result.loss - one.result.loss,
                   0.5 * two.result.sft_loss,
                   1e-13 * (1 + fabs(two.result.loss))),
          "%s, seed %d: the likelihood term is %.17g, not %.17g", name(),
          (int)seed, two.result.loss - one.result.loss,
          0.5 * two.result.sft_loss);
    for (int k = 0; k < FAM_P; k++)
        fam.pair_weight[k] = (float)(k - 1) / 2;
    fam.in.pair_weight = fam.pair_weight;
    fam.spec[0].flags |= BNFLOSS_WPO;
    run(&sum, "with all weights");
    for (int k = 0; k < FAM_P; k++) {
        double w = 0, want;

        for (int s = 2 * k; s < 2 * k + 2; s++) {
            double mean = 0;
            int n = 0;

            for (int64_t i = fam.start[s]; i < fam.start[s + 1]; i++) {
                if (!fam_valid(i))
                    continue;
                mean += (double)one.logp[i] - (double)one.log_square[i];
                n++;
            }
            w += mean / n;
        }
        want = base[k] * exp(w) * (k - 1) / 2 + sft[k];
        CHECK(close_to(sum.seq_loss[k], want, 64 * U * (fabs(base[k])
                       + fabs(sft[k]))), "%s, seed %d: pair %d with weights "
              "%.9g, not %.9g", name(), (int)seed, k, sum.seq_loss[k], want);
    }
}

/* seq_logp and seq_ratio are weighted sums; row_loss of losses of responses
 * is l - r. */
static void sums(uint32_t kind, uint64_t seed)
{
    const bnfloss_spec *s = fam.spec;
    int ref;

    make(kind, seed);
    run(&one, "sums");
    if (s->flags & BNFLOSS_CHOSEN_ONLY)
        return;
    ref = fam_of(kind)->needs & NEED_REF
          && !(s->flags & BNFLOSS_REFERENCE_FREE);
    for (int q = 0; q < FAM_S; q++) {
        double logp = 0, ratio = 0;

        for (int64_t i = fam.start[q]; i < fam.start[q + 1]; i++) {
            const double w = fam.in.row_weight ? (double)fam.weight[i] : 1;
            const double r = ref ? (double)fam.ref[i] : 0;

            if (!fam_valid(i))
                continue;
            logp += w * (double)one.logp[i];
            ratio += w * ((double)one.logp[i] - r);
            if (fam_of(kind)->shape != BY_TOKEN)
                CHECK(close_to((double)one.row_loss[i],
                               (double)one.logp[i] - r, 16 * U),
                      "%s: row_loss", name());
        }
        CHECK(close_to(one.seq_logp[q], logp, 64 * U), "%s, seed %d: "
              "seq_logp %.9g, not %.9g", name(), (int)seed, one.seq_logp[q],
              logp);
        if (kind != BNFLOSS_BMC && !(s->ld_alpha < 1
                                     && fam_pairs(kind)))
            CHECK(close_to(one.seq_ratio[q], ratio, 64 * U), "%s, seed %d: "
                  "seq_ratio %.9g, not %.9g", name(), (int)seed,
                  one.seq_ratio[q], ratio);
    }
}

/* dlogp by differences of the loss in logp, which is taken at 1/1024 to both
 * sides, exactly. Not where something is frozen; a kink, or a change of
 * ranks, shows in sides that differ, and is left out. */
static int64_t kinks, slopes;

static int is_frozen(const bnfloss_spec *s)
{
    return s->kind == BNFLOSS_BNF || s->kind == BNFLOSS_BCO
           || s->kind == BNFLOSS_BMC || s->flags & (BNFLOSS_WPO | BNFLOSS_DFT);
}

static double loss_at(int64_t i, float logp)
{
    const float saved = fam.logp_in[i];
    double loss;

    fam.logp_in[i] = logp;
    CHECK(fam_logps() == BNFLOSS_OK, "%s: logps", name());
    loss = fam.result.loss;
    fam.logp_in[i] = saved;
    return loss;
}

static void differences(uint32_t kind, uint64_t seed)
{
    /* ranks that change, where the batch is sorted, bend it only slightly */
    const double smooth = fam_of(kind)->shape == BY_BATCH ? 1e-5 : 1e-3;
    double loss;

    make(kind, seed);
    if (is_frozen(fam.spec))
        return;
    for (int i = 0; i < FAM_N; i++)         /* so that few margins tie */
        fam.logp_in[i] -= (float)((i * i * 7 + 3) % 101) / 4096;
    CHECK(fam_logps() == BNFLOSS_OK, "%s: logps", name());
    memcpy(one.dlogp, fam.dlogp_out, sizeof one.dlogp);
    loss = fam.result.loss;
    for (int64_t i = 0; i < FAM_N; i++) {
        const float x = fam.logp_in[i], h = 0x1p-10f;
        const double up = (loss_at(i, x + h) - loss) / 0x1p-10;
        const double down = (loss - loss_at(i, x - h)) / 0x1p-10;
        const double d1 = (up + down) / 2;
        const double d2 = (loss_at(i, x + 2 * h) - loss_at(i, x - 2 * h))
                          / 0x1p-8;
        /* the loss itself is rounded */
        const double size = 1e-5 * largest(one.dlogp, FAM_N)
                            + 0x1p-42 * (1 + fabs(loss));

        slopes++;
        if (fabs(d1 - d2) > size / 2 + smooth * fabs(d1)
            || fabs(up - down) > size + 20 * smooth * fabs(d1)) {
            kinks++;
            continue;
        }
        /* Richardson: what is left is of fourth order, or less than what two
         * steps differ by where the curvature leaps */
        CHECK(close_to((double)one.dlogp[i], d1 + (d1 - d2) / 3,
                       size + fabs(d1 - d2)),
              "%s, seed %d: dlogp of row %d is %.9g, by differences %.9g",
              name(), (int)seed, (int)i, (double)one.dlogp[i],
              d1 + (d1 - d2) / 3);
    }
}

/* ---- Sums of a row ------------------------------------------------------ */

/* log sum p^2 and the mean logit, in double, under scale and softcap. */
static void row_sums(uint32_t kind, uint64_t seed)
{
    double mean[2] = { 0, 0 };
    int64_t count[2] = { 0, 0 };
    rng r = { seed };

    if (kind != BNFLOSS_DPO && kind != BNFLOSS_KTO)
        return;
    make(kind, seed);
    fam.layout.flags = BNFLOSS_MEAN;
    fam.layout.logit_scale = seed % 2 ? 0 : 1.5f;
    fam.layout.softcap = seed % 3 ? 0 : 3;
    for (int64_t i = 0; i < FAM_N; i++)
        for (int64_t v = 0; v < FAM_V; v++)
            fam_set_logit(i, v, rng_below(&r, 20) ? (float)(rng_normal(&r)
                          * (double)(1 + i % 8)) : -HUGE_VALF);
    for (int64_t i = 0; i < FAM_N; i++)
        if (fam.label[i] >= 0)
            fam_set_logit(i, fam.label[i], 1);
    fam.out.log_square = fam.log_square;
    run(&one, "sums of rows");
    for (int64_t i = 0; i < FAM_N; i++) {
        double z[FAM_V], squares = 0, want;
        plain_row p;

        if (!fam_valid(i)) {
            CHECK(fam.log_square[i] == 0, "an ignored row's log_square");
            continue;
        }
        for (int64_t v = 0; v < FAM_V; v++)
            z[v] = plain_map((double)fam_logit(i, v), seed % 2 ? 1 : 1.5,
                             (double)fam.layout.softcap);
        p = plain_softmax(z, FAM_V, fam.label[i]);
        for (int64_t v = 0; v < FAM_V; v++)
            squares += exp(2 * (z[v] - p.lse));
        want = log(squares);
        CHECK(close_to((double)fam.log_square[i], want, 1e-6 * fabs(want)
                       + 1e-9), "seed %d, row %d: log_square %.9g, not %.9g",
              (int)seed, (int)i, (double)fam.log_square[i], want);
        mean[fam_seq(i) % 2] += p.mean;
        count[fam_seq(i) % 2]++;
    }
    CHECK(close_to(one.result.logits_chosen, mean[0] / (double)count[0], 1e-6)
          && close_to(one.result.logits_rejected, mean[1] / (double)count[1],
                      1e-6), "seed %d: mean logits %.9g, not %.9g", (int)seed,
          one.result.logits_chosen, mean[0] / (double)count[0]);
}

/* The sums of three slices of whole chunks, merged in order, are those of the
 * row, bit for bit. */
static void slices(uint64_t seed)
{
    enum { V = 3 * BNFLOSS_CHUNK + 1000 };
    static float z[V];
    const int32_t label = (int32_t)(seed * 7919 % V);
    bnfloss_row whole, part[2];
    bnfloss_layout l = { 0 };
    rng r = { seed };

    l.struct_size = sizeof l;
    l.rows = 1;
    l.vocab = V;
    l.flags = BNFLOSS_SQUARES | BNFLOSS_MEAN | BNFLOSS_ENTROPY;
    l.softcap = seed % 2 ? 20 : 0;
    for (int64_t v = 0; v < V; v++)
        z[v] = rng_below(&r, 50) ? (float)(4 * rng_normal(&r)) : -HUGE_VALF;
    z[label] = 2;
    CHECK(bnfloss_forward(&l, z, &label, 0, 1, &whole, NULL, NULL)
          == BNFLOSS_OK, "the whole row");
    l.vocab_total = V;
    for (int k = 0; k < 2; k++) {
        l.vocab_begin = k * 2 * BNFLOSS_CHUNK;
        l.vocab = k ? V - 2 * BNFLOSS_CHUNK : 2 * BNFLOSS_CHUNK;
        CHECK(bnfloss_forward(&l, z + l.vocab_begin, &label, 0, 1, part + k,
                              NULL, NULL) == BNFLOSS_OK, "a slice");
    }
    CHECK(bnfloss_row_merge(1, part, part + 1, NULL) == BNFLOSS_OK, "merge");
    CHECK(memcmp(part, &whole, sizeof whole) == 0, "seed %d (%s): the merged "
          "state is not the row's: square %a, %a; shift %a, %a", (int)seed,
          isa_now, part->square, whole.square, part->shift, whole.shift);
}

int main(int argc, char **argv)
{
    static void (*const all[])(uint32_t, uint64_t) = {
        entries,  types,   accumulate,  deferred, halves, padding,
        permuted, divided, mixed,       swapped,  scaled, referenceless,
        weighted, sums,    differences, row_sums
    };
    const long rounds = argc > 1 ? atol(argv[1]) : 12;
    uint64_t seed = 1;
    long batches = 0;

    FOR_EACH_ISA(isa) {
        isa_now = isa;
        batches += rounds * FAM_KINDS;
        for (long n = 0; n < rounds; n++, seed++) {
            for (size_t k = 0; k < sizeof all / sizeof *all; k++)
                for (uint32_t kind = 1; kind <= FAM_KINDS; kind++)
                    all[k](kind, seed);
            slices(seed);
        }
    }
    CHECK(kinks * 50 < slopes, "%d of %d differences at kinks", (int)kinks,
          (int)slopes);
    CHECK(differ > 0, "BCO's shift does not see the call");
    printf("%ld rows for each of %d properties\n", batches * FAM_N,
           (int)(sizeof all / sizeof *all));
    return test_end();
}
