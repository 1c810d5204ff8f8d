/* One row through forward and backward: where the largest logit lies, logits
 * and gradients at the ends of their ranges, rows of many chunks, NaN, and the
 * sums and outputs that are asked for.
 *
 * SPDX-License-Identifier: MIT
 *
 * test_oracle.c has the accuracy of ordinary rows. */
#include "plain.h"
#include "small.h"
#include "edges.h"

#include <float.h>

static const char *isa_now;

static void forward(const bnfloss_layout *l, const void *z, const int32_t *y,
                    const bnfloss_outputs *o)
{
    memset(state, 0, sizeof state);
    CHECK(bnfloss_forward(l, z, y, 0, l->rows, state, o, NULL) == BNFLOSS_OK,
          "%s: forward", isa_now);
}

/* The gradient of one row. */
static void gradient(const bnfloss_layout *l, const float *z, int32_t y,
                     float dlogp, float *g)
{
    forward(l, z, &y, NULL);
    CHECK(bnfloss_backward(l, z, &y, 0, 1, state, &dlogp, g, NULL)
          == BNFLOSS_OK, "%s: backward", isa_now);
}

/* ---- The largest logit --------------------------------------------------- */

/* It is found wherever it is: next to the label, in whose group that is left
 * out, in a group that is not whole, and as the first of a chunk or a slice. */
static void leader_anywhere(void)
{
    enum { WIDE = 1100, C = BNFLOSS_CHUNK };
    static float z[C + 100];
    bnfloss_layout l = layout_of(1, WIDE, 0);
    const int32_t label = 3;
    int32_t top = 7;
    bnfloss_outputs o;

    EMPTY(o);
    o.argmax = &top;
    for (int32_t at = 0; at < WIDE; at++) {
        const int32_t y = at ? at - 1 : 1;

        z[at] = 3;
        forward(&l, z, &y, NULL);
        CHECK(state->leader_id == at && !(state->flags & BNFLOSS_ROW_NAN),
              "%s: %d, not %d", isa_now, (int)state->leader_id, (int)at);
        z[at] = 0;
    }
    l.vocab = C + 100;
    z[C] = 5;
    forward(&l, z, &label, &o);
    CHECK(top == C && state->leader_id == C, "a chunk's first: %d", (int)top);
    l.vocab = 100;
    l.vocab_begin = 40;
    l.vocab_total = 200;
    forward(&l, z + C, &label, NULL);
    CHECK(state->leader_id == 40, "a slice's first: %d",
          (int)state->leader_id);
    z[C] = 0;
}

/* A row whose first blocks are masked, and whose others are anywhere: what was
 * there before has left nothing, not a NaN. */
static void masked_first(int blocks, float level)
{
    enum { BLOCK = 2048 };
    static float z[3 * BLOCK];
    static double plain[3 * BLOCK];
    const int wide = blocks * BLOCK + (blocks == 2 ? BLOCK : V);
    const bnfloss_layout l = layout_of(1, wide, BNFLOSS_ENTROPY | BNFLOSS_MEAN);
    const int32_t y = wide - 1;
    bnfloss_outputs o;
    float entropy, logp, rest;
    plain_row p;

    EMPTY(o);
    o.entropy = &entropy;
    o.logp = &logp;
    o.rest = &rest;
    for (int j = 0; j < wide; j++) {
        z[j] = j < blocks * BLOCK ? -HUGE_VALF : level + (float)(j % 5) / 4;
        plain[j] = (double)z[j];
    }
    forward(&l, z, &y, &o);
    p = plain_softmax(plain, wide, y);
    CHECK(relative((double)entropy, p.entropy) < 1e-6
          && relative((double)logp, p.logp) < 1e-6
          && relative((double)rest, p.rest) < 1e-6,
          "%s: entropy %.9g, logp %.9g, rest %.9g, not %.9g, %.9g, %.9g",
          isa_now, (double)entropy, (double)logp, (double)rest, p.entropy,
          p.logp, p.rest);
    /* the label and the leader apart */
    CHECK(state->finite == (double)(p.finite - 2), "%s: %g finite of %d",
          isa_now, state->finite, (int)p.finite);
}

/* A row's first logits lead it in turn, one in each block: what has been summed
 * so far moves over to the next, in double, up to rounding; and has the same
 * bits on every ISA where the order of a sum shows. `level` is added to all:
 * they may climb from where logits are counted from a leader to where they are
 * counted from 0. */
static void overtaken(float scale, int spread, float level)
{
    enum { BLOCK = 2048, WIDE = 5 * BLOCK };
    static float z[WIDE];
    static bnfloss_row first[2][3];
    bnfloss_row *same = &first[spread][level < 0 ? 2 : level > 0];
    bnfloss_layout l = layout_of(1, WIDE, BNFLOSS_ENTROPY | BNFLOSS_MEAN);
    const int32_t y = WIDE - 7;
    const int leader = spread ? 0 : WIDE - BLOCK;
    double sum = 0, dot = 0, shift = 0;
    bnfloss_row x;
    rng r = { 5 };

    l.logit_scale = scale;
    for (int j = 0; j < WIDE; j++) {
        const double u = rng_normal(&r);

        z[j] = (float)(spread ? -fabs(ldexp(u, j % 41 - 30))
                              : (j % BLOCK ? u : 5) + 2.0 * (j / BLOCK))
               + level;
    }
    if (spread)
        z[0] = 0;
    for (int j = 0; j < WIDE; j++) {
        const double d = (double)scale * ((double)z[j] - (double)z[leader]);

        if (j == y || j == leader)
            continue;
        sum += exp(d);
        dot += exp(d) * d;
        shift += d;
    }
    memset(&x, 0, sizeof x);
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, &x, NULL, NULL) == BNFLOSS_OK,
          "%s", isa_now);
    CHECK(x.leader_id == leader && x.finite == WIDE - 2
          && fabs(x.sum - sum) <= 0x1p-22 * sum
          && fabs(x.dot - dot) <= -0x1p-20 * dot
          && fabs(x.shift - shift) <= -0x1p-20 * shift,
          "%s, scale %g: leader %d, sum %g, not %g, dot %g, not %g, shift %g, "
          "not %g", isa_now, (double)scale, (int)x.leader_id, x.sum, sum, x.dot,
          dot, x.shift, shift);
    if (scale == 1 && strcmp(isa_now, "scalar") == 0)
        *same = x;
    else if (scale == 1)
        CHECK(memcmp(same, &x, sizeof x) == 0,
              "%s: other bits than plain C's", isa_now);
}

/* ---- The ends of the range ----------------------------------------------- */

/* A scale that makes every z' infinite leaves nothing: a NaN row; and where
 * one logit stays finite it is alone. */
static void scaled_out(void)
{
    bnfloss_layout l = layout_of(1, V, 0);
    const int32_t y = 3;
    bnfloss_result r = result_of();
    bnfloss_outputs o;
    float z[V], logp;

    EMPTY(o);
    o.logp = &logp;
    l.logit_scale = 0x1p127f;
    for (int j = 0; j < V; j++)
        z[j] = -4;
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, &o, &r) == BNFLOSS_OK
          && r.nan_rows == 1 && isnan(logp), "%s: all out of range", isa_now);
    z[y] = -1e-38f;
    CHECK(bnfloss_forward(&l, z, &y, 0, 1, state, &o, &r) == BNFLOSS_OK
          && r.nan_rows == 0 && logp == 0, "%s: one in range: %g", isa_now,
          (double)logp);
}

/* A scaled logit that is the least to round to an infinity. */
static void label_at_the_limit(void)
{
    bnfloss_layout l = layout_of(1, V, 0);
    const int32_t y = 2;
    float z[V] = { 0 };

    l.logit_scale = 1801;
    z[y] = -18631 * 0x1p103f;       /* their product: -0x1.ffffffp127 */
    forward(&l, z, &y, NULL);
    CHECK(state->label == -HUGE_VAL, "%s: label %g", isa_now, state->label);
    z[y] = nextafterf(z[y], 0);
    forward(&l, z, &y, NULL);
    CHECK(state->label > -3.4028236e38, "%s: label %g", isa_now,
          state->label);
    for (int j = 1; j <= y; j++) {      /* another leads; the label */
        z[y] = 0;
        z[j] = 18631 * 0x1p103f;
        forward(&l, z, &y, NULL);
        CHECK(state->flags & BNFLOSS_ROW_NAN, "%s: %d at the upper limit",
              isa_now, j);
        z[j] = nextafterf(z[j], 0);
        forward(&l, z, &y, NULL);
        CHECK(!(state->flags & BNFLOSS_ROW_NAN),
              "%s: %d below the upper limit", isa_now, j);
        z[j] = 0;
    }
}

/* A gradient beyond any float is infinite, and nothing wraps, with and without
 * label smoothing; but a factor that no float holds may give gradients that
 * one does. */
static void steepest(float smoothing)
{
    bnfloss_layout l = layout_of(1, V, 0);
    const int32_t y = 3;
    const float dlogp = 3e38f;
    double plain[V];
    float z[V], g[V];
    plain_row p;

    l.label_smoothing = smoothing;
    l.z_loss = 3e38f;
    for (int j = 0; j < V; j++)
        z[j] = 1e38f;
    gradient(&l, z, y, dlogp, g);
    for (int j = 0; j < V; j++)
        CHECK(g[j] == -HUGE_VALF, "%s, smoothing %g, column %d: %g", isa_now,
              (double)smoothing, j, (double)g[j]);
    l.z_loss = 0;
    for (int j = 0; j < V; j++)
        plain[j] = (double)(z[j] = j ? (float)-j : 12);
    gradient(&l, z, y, dlogp, g);
    p = plain_softmax(plain, V, y);
    for (int j = 0; j < V; j++) {
        const double ls = (double)smoothing;
        const double want = (double)dlogp
            * ((j == y ? 1 - ls : 0) + ls / V - plain_p(&p, plain[j]));

        CHECK(fabs((double)g[j] - want) <= 0x1p-22 * (double)dlogp,
              "%s, column %d: %g, not %g", isa_now, j, (double)g[j], want);
    }
}

/* The least normal number is a gradient of label and leader. */
static void min_gradient(void)
{
    static const float z[2] = { 1, 1 };
    const bnfloss_layout l = layout_of(1, 2, 0);

    for (int sign = -1; sign <= 1; sign += 2) {
        const float dlogp = (float)sign * 0x1p-125f;
        float g[2];

        gradient(&l, z, 0, dlogp, g);
        CHECK(g[0] == dlogp / 2 && g[1] == -dlogp / 2, "%s: %a and %a",
              isa_now, (double)g[0], (double)g[1]);
    }
}

/* log_square where 2 z' would leave the range of a float. */
static void far_squares(void)
{
    const float far[][4] = {
        { -FLT_MAX, -FLT_MAX, -FLT_MAX, -FLT_MAX }, { 2e38f, 2e38f, 0, -1 },
        { -2e38f, -2e38f, -2e38f, -3e38f }, { 1e38f, 1e38f, 1e38f, 1e38f },
        { 3e38f, -3e38f, 0, -HUGE_VALF }
    };
    static const int even[] = { 4, 2, 3, 4, 1 };    /* as large as the first */
    const bnfloss_layout l = layout_of(1, 4, 0);
    bnfloss_outputs o;
    float square;

    edge("E253");
    EMPTY(o);
    o.log_square = &square;
    for (int i = 0; i < 5; i++) {
        for (int32_t y = 0; y < 3; y++) {
            const double want = -log((double)even[i]);

            forward(&l, far[i], &y, &o);
            CHECK(fabs((double)square - want) <= 2 * U * fabs(want),
                  "row %d: %g, not %g", i, (double)square, want);
        }
    }
}

/* ---- NaN ----------------------------------------------------------------- */

/* The state of a NaN row holds nothing else, also where it has chunks. */
static void nan_of_chunks(void)
{
    enum { WIDE = BNFLOSS_CHUNK + 5 };
    static float z[WIDE];
    const bnfloss_layout l = layout_of(1, WIDE, BNFLOSS_ENTROPY);
    const int32_t y = 3;

    z[WIDE - 1] = NAN;
    forward(&l, z, &y, NULL);
    CHECK(state->flags & BNFLOSS_ROW_NAN && state->leader_id == -1
          && isnan(state->leader) && isnan(state->sum) && isnan(state->label)
          && isnan(state->dot), "%s: leader %d, %g", isa_now,
          (int)state->leader_id, state->leader);
}

/* A NaN among 16-bit logits hides larger ones from the first look at a block,
 * and not from the second: the row is a NaN row, and nothing in front of it is
 * read (which a sanitizer would see: the buffer begins with the row). */
static void hidden_by_nan(void)
{
    enum { COLS = 2113 };
    uint16_t *z = (uint16_t *)malloc(COLS * sizeof *z);
    bnfloss_layout l = layout_of(1, COLS, 0);
    const int32_t y = 1273;

    if (!CHECK(z != NULL, "no memory"))
        return;
    for (uint32_t type = BNFLOSS_BF16; type <= BNFLOSS_F16; type++) {
        for (int n = 0; n < 2 * COLS; n += 61) {
            const int nan = n / 2;

            l.logits_type = type;
            for (int j = 0; j < COLS; j++)
                z[j] = (uint16_t)(0x3C00 + j % 512);
            z[nan] = (uint16_t)(n % 2 ? 0xFFFF : 0x7FFF);
            forward(&l, z, &y, NULL);
            CHECK(state->flags & BNFLOSS_ROW_NAN && state->leader_id == -1,
                  "%s: type %d, NaN at %d", isa_now, (int)type, nan);
        }
    }
    free(z);
}

/* What is added to a NaN, or is the difference of infinities, is written as the
 * NaN of all; label and leader, which stand alone, too. */
static void nan_accumulated(void)
{
    enum { WIDE = 100 };
    static const uint32_t was[] = { 0xFFC12345, 0x7FF00001 };
    bnfloss_layout l = layout_of(1, WIDE, BNFLOSS_ACCUMULATE);
    const int32_t y = 3;
    float z[WIDE] = { 0 }, g[WIDE];

    z[70] = 1;
    for (size_t k = 0; k < sizeof was / sizeof *was; k++) {
        for (int j = 0; j < WIDE; j++)
            memcpy(g + j, was + k, sizeof *was);
        gradient(&l, z, y, 1, g);
        for (int j = 0; j < WIDE; j++)
            CHECK(bits_of(g[j]) == 0x7FC00000, "%s: %x at %d", isa_now,
                  bits_of(g[j]), j);
    }
    l.logit_scale = 64;
    z[70] = 0.01f;
    for (int j = 0; j < WIDE; j++)
        g[j] = j == y ? -HUGE_VALF : HUGE_VALF;
    gradient(&l, z, y, 3e38f, g);
    CHECK(bits_of(g[y]) == 0x7FC00000 && bits_of(g[70]) == 0x7FC00000,
          "%s: label %x, leader %x", isa_now, bits_of(g[y]), bits_of(g[70]));
}

/* ---- What is asked for --------------------------------------------------- */

/* Each output of a row by itself is what it is beside the others; a slice of
 * the vocabulary has none of them. */
static void single_outputs(void)
{
    float all[4][N], one[4][N];
    int32_t all_id[N], id[N];
    bnfloss_layout l = layout_of(N, V, 0);
    bnfloss_outputs o;

    edge("E65");
    make_small(77);
    for (int k = -1; k < 5; k++) {
        EMPTY(o);
        o.logp = k < 0 ? all[0] : k == 0 ? one[0] : NULL;
        o.rest = k < 0 ? all[1] : k == 1 ? one[1] : NULL;
        o.entropy = k < 0 ? all[2] : k == 2 ? one[2] : NULL;
        o.log_square = k < 0 ? all[3] : k == 3 ? one[3] : NULL;
        o.argmax = k < 0 ? all_id : k == 4 ? id : NULL;
        l.vocab_total = 0;
        forward(&l, logits, labels, &o);
        l.vocab_total = V + 1;
        CHECK(bnfloss_forward(&l, logits, labels, 0, N, state, &o, NULL)
              == BNFLOSS_E_OPTION, "output %d of a slice", k);
        CHECK(k < 0 || (k == 4 ? memcmp(id, all_id, sizeof id) == 0
                        : memcmp(one[k], all[k], sizeof *one) == 0),
              "output %d alone", k);
    }
}

/* Of a row of two chunks: what was not asked for is 0, whatever else was. */
static void no_more_than_asked(void)
{
    enum { ALL = BNFLOSS_CHUNK + 100 };
    static const uint32_t sums[] = { BNFLOSS_ENTROPY, BNFLOSS_MEAN,
                                     BNFLOSS_SQUARES };
    static float z[ALL];
    const int32_t y = 3;
    const bnfloss_row *x = state;

    z[9] = 1;
    z[ALL - 9] = 2;
    for (uint32_t k = 0; k < 8; k++) {
        bnfloss_layout l = layout_of(1, ALL, 0);

        for (int j = 0; j < 3; j++)
            l.flags |= k >> j & 1 ? sums[j] : 0;
        forward(&l, z, &y, NULL);
        CHECK(x->sum != 0 && (x->dot != 0) == (k & 1)
              && (x->shift != 0) == (k >> 1 & 1)
              && (x->finite != 0) == (k >> 1 & 1)
              && (x->square != 0) == (k >> 2), "flags %u: dot %g, shift %g, "
              "finite %g, square %g", l.flags, x->dot, x->shift, x->finite,
              x->square);
        CHECK(!(x->flags & (BNFLOSS_ROW_SQUARES | BNFLOSS_ROW_ENTROPY
                            | BNFLOSS_ROW_MEAN)) == (k == 0),
              "flags %u: a sum that was not asked", l.flags);
    }
}

/* The mean entropy is there where it was taken, and nowhere else; of a single
 * column it is 0. */
static void entropy_taken(int64_t vocab)
{
    static const int32_t none[N] = { 0 };

    for (uint32_t taken = 0; taken < 2; taken++) {
        const bnfloss_layout l = layout_of(N, vocab,
                                           taken ? BNFLOSS_ENTROPY : 0);
        bnfloss_result r = result_of();
        bnfloss_spec s;

        make_small(10);
        bnfloss_spec_init(&s, sizeof s, BNFLOSS_SFT);
        CHECK(bnfloss_run(&l, &s, NULL, logits, vocab > 1 ? labels : none,
                          NULL, NULL, work, sizeof work, 1, &r)
              == BNFLOSS_OK, "%s", isa_now);
        CHECK(!taken ? isnan(r.entropy) : vocab == 1 ? r.entropy == 0
              : r.entropy > 0.1 && r.entropy < log(V) + 1e-6,
              "%s: entropy %g", isa_now, r.entropy);
    }
}

/* 67 chunks are two whole trees of 32 and a piece: sums against those of plain
 * double. */
static void many_chunks(void)
{
    enum { WIDE = 66 * BNFLOSS_CHUNK + 5 };
    float *z = (float *)malloc(WIDE * sizeof *z);
    double *plain = (double *)malloc(WIDE * sizeof *plain);
    const bnfloss_layout l = layout_of(1, WIDE,
                                       BNFLOSS_ENTROPY | BNFLOSS_SQUARES);
    const int32_t y = 40 * BNFLOSS_CHUNK + 1;
    float logp, entropy, log_square;
    bnfloss_outputs o;
    rng r = { 5 };
    plain_row p;

    if (!CHECK(z && plain, "no memory"))
        return;
    for (int64_t j = 0; j < WIDE; j++)
        plain[j] = (double)(z[j] = (float)(rng_below(&r, 513) - 256) / 64);
    EMPTY(o);
    o.logp = &logp;
    o.entropy = &entropy;
    o.log_square = &log_square;
    forward(&l, z, &y, &o);
    p = plain_softmax(plain, WIDE, y);
    CHECK(fabs((double)logp - p.logp) < 3e-6
          && fabs((double)entropy - p.entropy) < 3e-6
          && fabs((double)log_square - plain_log_square(&p, plain, WIDE))
             < 3e-6, "%s: logp %g, entropy %g, log square %g", isa_now,
          (double)logp, (double)entropy, (double)log_square);
    free(z);
    free(plain);
}

int main(void)
{
    FOR_EACH_ISA(isa) {
        isa_now = isa;
        leader_anywhere();
        masked_first(1, 30);
        masked_first(2, 1000);
        masked_first(2, -1000);
        masked_first(2, 70000);
        overtaken(1, 0, 0);
        overtaken(0.75f, 0, 0);
        overtaken(1, 1, 0);
        overtaken(1, 0, -65542);
        overtaken(1, 0, 65530);
        scaled_out();
        label_at_the_limit();
        steepest(0);
        steepest(0.125f);
        min_gradient();
        far_squares();
        nan_of_chunks();
        hidden_by_nan();
        nan_accumulated();
        single_outputs();
        no_more_than_asked();
        entropy_taken(V);
        entropy_taken(1);
        many_chunks();
    }
    edges_end("test_rows");
    return test_end();
}
