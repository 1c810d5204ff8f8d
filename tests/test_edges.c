/* Extreme but valid input of one row or one call: what each gives, for every
 * type, in place and not, under SFT, BNF and DPO. Nothing to do, shapes,
 * labels, weights, NaN and masked logits, extreme logits and references,
 * gradients of few bits. Then the traps that other libraries fell into.
 *
 * SPDX-License-Identifier: MIT
 *
 * test_errors.c has bad input, test_loss_edges.c what differs from loss to
 * loss. */
#include "fixture.h"
#include "edges.h"

typedef struct variant {
    uint32_t kind, logits_type, grad_type;
    int in_place;
    const char *isa;
} variant;

/* ---- What they are compared with ----------------------------------------- */

/* Row i's z' in double. */
static void row_of(const fix_args *a, int64_t i, double *z)
{
    const double scale = a->layout->logit_scale > 0
                             ? (double)a->layout->logit_scale : 1;

    for (int64_t j = 0; j < FIX_V; j++)
        z[j] = plain_map((double)fix_logit(a, i, j), scale,
                         (double)a->layout->softcap);
}

/* logp, entropy and argmax of the rows that count; saved[] holds the logits
 * as they were before an in-place gradient. */
static void check_rows(const fix_args *a, double (*saved)[FIX_V],
                       const char *what)
{
    for (int64_t i = 0; i < FIX_N; i++) {
        const int64_t y = fix_label(a, i);
        plain_row p;
        double range = 0, low = HUGE_VAL;

        if (y < 0 || (a->inputs && fix.weight[i] == 0))
            continue;
        p = plain_softmax(saved[i], FIX_V, y);
        for (int64_t j = 0; j < FIX_V; j++)
            if (saved[i][j] > -HUGE_VAL && saved[i][j] < low)
                low = saved[i][j];
        range = p.max - low;
        CHECK(fabs((double)fix.logp[i] - p.logp)
              <= (10 + 2 * range) * U * fabs(p.logp) + 1e-13 * fabs(p.max)
                 + 1e-14,
              "%s: row %d logp %.9g, not %.9g", what, (int)i,
              (double)fix.logp[i], p.logp);
        CHECK(fabs((double)fix.entropy[i] - p.entropy)
              <= 20 * U * p.entropy + 1e-13,
              "%s: row %d entropy %.9g, not %.9g", what, (int)i,
              (double)fix.entropy[i], p.entropy);
        CHECK(fix.argmax[i] == p.argmax, "%s: row %d argmax %d, not %d", what,
              (int)i, (int)fix.argmax[i], (int)p.argmax);
    }
}

/* Each gradient is dlogp (onehot - p), within 4u |dlogp| and its rounding. */
static void check_grads(const fix_args *a, double (*saved)[FIX_V],
                        const char *what)
{
    for (int64_t i = 0; i < FIX_N; i++) {
        const int64_t y = fix_label(a, i);
        const double d = (double)fix.dlogp[i];
        const int counts = y >= 0 && !(a->inputs && fix.weight[i] == 0);
        plain_row p = { 0 };
        double worst = 0;

        if (counts)
            p = plain_softmax(saved[i], FIX_V, y);
        for (int64_t j = 0; j < FIX_V; j++) {
            const double pj = counts ? plain_p(&p, saved[i][j]) : 0;
            const double g = counts ? d * ((j == y) - pj) : 0;
            const double e = fabs((double)fix_grad(a, i, j) - g);
            const double bound = 4 * U * fabs(d)
                + (a->layout->grad_type == BNFLOSS_F32 ? 0
                   : elem_rounding(a->layout->grad_type, g)) + 1e-38;

            if (!(e <= bound) && !(worst >= e / bound))
                worst = e / bound;
            if (counts && j != y && saved[i][j] == -HUGE_VAL)
                CHECK(fix_grad(a, i, j) == 0, "%s: row %d col %d is masked",
                      what, (int)i, (int)j);
        }
        CHECK(worst == 0, "%s: row %d gradient off by %.3g bounds (%s)", what,
              (int)i, worst, type_name(a->layout->grad_type));
    }
}

static void save_rows(const fix_args *a, double (*saved)[FIX_V])
{
    for (int64_t i = 0; i < FIX_N; i++)
        row_of(a, i, saved[i]);
}

static double saved_rows[FIX_N][FIX_V];

/* Runs the batch at hand and checks rows and gradients. */
static void run_and_check(const fix_args *a, const char *what)
{
    save_rows(a, saved_rows);
    CHECK(fix_run(a) == BNFLOSS_OK, "%s: run", what);
    check_rows(a, saved_rows, what);
    check_grads(a, saved_rows, what);
}

static void same(const fix_outcome *a, const fix_outcome *b, const char *what,
                 const variant *w)
{
    CHECK(memcmp(a, b, sizeof *a) == 0, "%s: other bits (%s %s %s->%s%s)",
          what, w->isa, kind_name(w->kind), type_name(w->logits_type),
          type_name(w->grad_type), w->in_place ? " in place" : "");
}

static void make(fix_args *a, const variant *w)
{
    fix_make(a, w->kind, w->logits_type, w->grad_type, w->in_place);
}

/* A row's gradient is exactly x in all columns. */
static int row_is(const fix_args *a, int64_t i, float x)
{
    for (int64_t j = 0; j < FIX_V; j++)
        if (fix_grad(a, i, j) != x)
            return 0;
    return 1;
}

static int row_is_nan(const fix_args *a, int64_t i)
{
    for (int64_t j = 0; j < FIX_V; j++)
        if (!fix_grad_is_nan(a, i, j))
            return 0;
    return 1;
}

static int row_is_finite(const fix_args *a, int64_t i)
{
    for (int64_t j = 0; j < FIX_V; j++)
        if (!isfinite(fix_grad(a, i, j)))
            return 0;
    return 1;
}

static int is_canonical(double x)
{
    uint64_t b;

    memcpy(&b, &x, sizeof b);
    return b == UINT64_C(0x7FF8000000000000);
}

/* ---- Nothing to do, or less ---------------------------------------------- */

static void value_nothing(const variant *w)
{
    static const int64_t none[1] = { 0 };
    bnfloss_layout layout = { 0 };
    bnfloss_inputs in = { 0 };
    bnfloss_result r = { 0 };
    fix_args a;
    fix_outcome before, after;
    double z, g;                /* aligned for every type */

    make(&a, w);
    fix_take(&before, &a);
    layout.struct_size = sizeof layout;
    layout.logits_type = w->logits_type;
    layout.grad_type = w->grad_type;
    in.struct_size = sizeof in;
    r.struct_size = sizeof r;
    z = 0;
    g = 7;
    edge("E1");
    for (int vocab = 0; vocab < 2; vocab++) {
        layout.vocab = vocab;
        r.loss = 1;
        CHECK(bnfloss_run(&layout, a.spec, NULL, NULL, NULL, NULL, NULL,
                          NULL, 0, 1, &r) == BNFLOSS_OK
              && r.loss == 0 && r.tokens == 0 && r.sequences == 0
              && r.nan_rows == 0 && r.where == -1, "no rows, V = %d", vocab);
        CHECK(bnfloss_run(&layout, a.spec, NULL, &z, NULL, &g, NULL, NULL, 0,
                          1, &r) == BNFLOSS_OK
              && g == 7, "no rows, V = %d, with pointers", vocab);
        CHECK(bnfloss_forward(&layout, NULL, NULL, 0, 0, NULL, NULL, &r)
              == BNFLOSS_OK && r.tokens == 0, "forward of no rows");
        CHECK(bnfloss_backward(&layout, NULL, NULL, 0, 0, NULL, NULL, NULL,
                               &r) == BNFLOSS_OK, "backward of no rows");
    }
    CHECK(bnfloss_row_merge(0, NULL, NULL, &r) == BNFLOSS_OK
          && bnfloss_row_outputs(0, NULL, NULL, &r) == BNFLOSS_OK,
          "states of no rows");
    r.loss = 1;
    CHECK(bnfloss_loss(a.spec, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, 0,
                       &r) == BNFLOSS_OK
          && r.loss == 0 && r.tokens == 0, "the loss of no rows");
    edge("E2");
    in.seq_start = none;
    r.loss = 1;
    CHECK(bnfloss_run(&layout, a.spec, &in, NULL, NULL, NULL, NULL, NULL, 0, 1,
                      &r) == BNFLOSS_OK
          && r.loss == 0 && r.sequences == 0 && r.empty_sequences == 0,
          "no sequences");
    edge("E3");
    CHECK(bnfloss_forward(a.layout, NULL, NULL, 5, 5, NULL, NULL, &r)
          == BNFLOSS_OK && r.tokens == 0, "forward of rows 5..5");
    CHECK(bnfloss_backward(a.layout, NULL, NULL, FIX_N, FIX_N, NULL, NULL,
                           NULL, &r) == BNFLOSS_OK, "backward of rows N..N");
    fix_take(&after, &a);
    same(&before, &after, "calls without rows", w);
}

static void value_optional(const variant *w)
{
    fix_outcome whole, part;
    fix_args a;

    make(&a, w);
    fix_run_and_take(&a, &whole, "whole");
    edge("E4");
    make(&a, w);
    a.grad = NULL;
    CHECK(fix_run(&a) == BNFLOSS_OK, "grad NULL");
    a.grad = w->in_place ? a.logits : fix.grad;
    fix_take(&part, &a);
    memcpy(part.grad, whole.grad, sizeof whole.grad);
    same(&whole, &part, "the loss alone", w);
    edge("E5");
    make(&a, w);
    a.outputs = NULL;
    CHECK(fix_run(&a) == BNFLOSS_OK, "outputs NULL");
    fix_take(&part, &a);
    CHECK(memcmp(part.grad, whole.grad, sizeof whole.grad) == 0
          && part.result.loss == whole.result.loss, "without outputs");
    edge("E21");
    make(&a, w);
    a.inputs->side = NULL;
    fix_run_and_take(&a, &part, "side NULL");
    same(&whole, &part, "sides from the pairing", w);
    edge("E74");
    make(&a, w);
    {
        int64_t y[FIX_N];

        for (int i = 0; i < FIX_N; i++)
            y[i] = fix_label(&a, i);
        memcpy(a.labels, y, sizeof y);
        a.layout->label_type = BNFLOSS_I64;
    }
    fix_run_and_take(&a, &part, "int64 labels");
    same(&whole, &part, "int64 labels", w);
}

static void value_inputs_null(const variant *w)
{
    fix_outcome whole, part;
    fix_args a;

    if (w->kind != BNFLOSS_SFT)
        return;
    edge("E9");
    make(&a, w);
    fix.seq_start[1] = FIX_N;
    a.inputs->sequences = 1;
    a.inputs->pairing = 0;
    a.inputs->side = NULL;
    a.inputs->row_weight = NULL;
    fix_run_and_take(&a, &whole, "one sequence");
    make(&a, w);
    a.inputs = NULL;
    fix_run_and_take(&a, &part, "inputs NULL");
    same(&whole, &part, "inputs NULL", w);
    CHECK(part.result.tokens == FIX_N - 1 && part.result.sequences == 1,
          "one sequence of all rows");
    make(&a, w);
    fix.inputs.s = (bnfloss_inputs){ .struct_size = sizeof fix.inputs.s,
                                     .sequences = 1 };
    fix_run_and_take(&a, &part, "one sequence that begins nowhere");
    same(&whole, &part, "seq_start NULL", w);
}

/* The stages without a result, and against bnfloss_run(). */
static void value_result_null(const variant *w)
{
    fix_outcome run, staged;
    fix_args a;
    bnfloss_result r;

    make(&a, w);
    fix_run_and_take(&a, &run, "run");
    edge("E11");
    make(&a, w);
    CHECK(bnfloss_forward(a.layout, a.logits, a.labels, 0, FIX_N, a.state,
                          a.outputs, NULL) == BNFLOSS_OK
          && bnfloss_row_outputs(FIX_N, a.state, a.outputs, NULL)
             == BNFLOSS_OK, "forward without a result");
    CHECK(fix_loss_state(&a) == BNFLOSS_OK, "loss");
    memcpy(&r, a.result, sizeof r);
    CHECK(bnfloss_backward(a.layout, a.logits, a.labels, 0, FIX_N, a.state,
                           a.dlogp_out, a.grad, NULL) == BNFLOSS_OK,
          "backward without a result");
    fix_take(&staged, &a);
    memcpy(&staged.result, &r, sizeof r);
    /* the stages do not know that a weight hides a row from forward */
    staged.logp[FIX_WEIGHTLESS] = staged.rest[FIX_WEIGHTLESS] = 0;
    staged.entropy[FIX_WEIGHTLESS] = 0;
    staged.argmax[FIX_WEIGHTLESS] = -1;
    same(&run, &staged, "staged", w);
}

/* ---- Shapes -------------------------------------------------------------- */

static void value_vocab_one(const variant *w)
{
    fix_outcome o;
    fix_args a;

    edge("E51");
    make(&a, w);
    a.layout->vocab = 1;
    for (int i = 0; i < FIX_N; i++)
        fix_set_label(&a, i, i == FIX_IGNORED ? -1 : 0);
    CHECK(fix_run(&a) == BNFLOSS_OK, "V = 1");
    fix_take(&o, &a);
    for (int i = 0; i < FIX_N; i++)
        CHECK(o.logp[i] == 0 && o.rest[i] == 0 && o.entropy[i] == 0
              && fix_grad(&a, i, 0) == 0, "V = 1, row %d", i);
    CHECK(w->kind == BNFLOSS_DPO ? o.result.loss > 0 : o.result.loss == 0,
          "V = 1: loss %g", o.result.loss);
}

/* One SFT row of V logits: its logp and gradient against plain double. */
static void one_wide_row(int64_t V, const variant *w)
{
    static double z[32800];
    static uint32_t logits[32800], grad[32800];     /* any type */
    static unsigned char work[8192];
    rng r = { (uint64_t)V };
    bnfloss_layout layout = { 0 };
    bnfloss_result result = { 0 };
    bnfloss_spec spec;
    const int32_t y = (int32_t)rng_below(&r, V);
    plain_row p;
    double worst = 0;

    for (int64_t j = 0; j < V; j++) {
        z[j] = (double)(rng_below(&r, 255) - 127) / 16;
        elem_put(w->logits_type, logits, j, (float)z[j]);
    }
    layout.struct_size = sizeof layout;
    layout.logits_type = w->logits_type;
    layout.grad_type = w->grad_type;
    layout.rows = 1;
    layout.vocab = V;
    result.struct_size = sizeof result;
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    CHECK(bnfloss_run(&layout, &spec, NULL, logits, &y,
                      w->in_place ? logits : grad, NULL, work, sizeof work, 1,
                      &result) == BNFLOSS_OK, "V = %d", (int)V);
    p = plain_softmax(z, V, y);
    CHECK(fabs(result.loss + p.logp) <= (10 + 2 * 16) * U * fabs(p.logp)
          + 1e-14, "V = %d: loss %.9g, not %.9g", (int)V, result.loss,
          -p.logp);
    for (int64_t j = 0; j < V; j++) {
        const double g = plain_p(&p, z[j]) - (j == y);
        const double e = fabs((double)elem_get(w->grad_type,
                                  w->in_place ? logits : grad, j) - g);
        const double bound = 4 * U + (w->grad_type == BNFLOSS_F32 ? 0
                                      : elem_rounding(w->grad_type, g));

        worst = e / bound > worst ? e / bound : worst;
    }
    CHECK(worst <= 1, "V = %d: gradient off by %.3g bounds (%s %s->%s)",
          (int)V, worst, w->isa, type_name(w->logits_type),
          type_name(w->grad_type));
}

static void value_vocab_any(const variant *w)
{
    static const int32_t around[] = { 255, 256, 257, 1023, 1024, 1025, 2047,
                                      2048, 2049, 4097, 32767, 32768, 32769 };

    if (w->kind != BNFLOSS_SFT)
        return;
    edge("E52");
    for (int64_t V = 2; V <= 130; V++)
        one_wide_row(V, w);
    for (size_t i = 0; i < sizeof around / sizeof *around; i++)
        one_wide_row(around[i], w);
}

static void value_grad_cols(const variant *w)
{
    fix_args a;

    edge("E61");
    for (int staged = 0; staged < 2; staged++) {
        make(&a, w);
        a.layout->grad_cols = FIX_V + 3;
        for (int64_t i = 0; i < FIX_N; i++)
            fix_set_logit(&a, i, FIX_V + 3, 1);
        CHECK(fix_forward(&a) == BNFLOSS_OK, "forward");
        CHECK((staged ? fix_backward(&a) : fix_run(&a)) == BNFLOSS_OK,
              "grad_cols");
        for (int64_t i = 0; i < FIX_N; i++) {
            for (int64_t j = FIX_V; j < FIX_V + 3; j++)
                CHECK(fix_grad(&a, i, j) == 0, "row %d, col %d", (int)i,
                      (int)j);
            /* the next column: the canary, or the logit of old */
            CHECK(fix_grad(&a, i, FIX_V + 3) != 0, "row %d: one too many",
                  (int)i);
        }
    }
}

/* ---- Labels and weights -------------------------------------------------- */

/* Row i of the batch is hidden from the call in every way that could show. */
static void poison(const fix_args *a, int64_t i)
{
    for (int64_t j = 0; j < FIX_V; j++)
        fix_set_logit(a, i, j, j % 3 ? NAN : -HUGE_VALF);
    fix.ref[i] = NAN;
}

static void value_weights(const variant *w)
{
    fix_outcome plain, other;
    fix_args a;

    make(&a, w);
    fix_run_and_take(&a, &plain, "plain");
    CHECK(row_is(&a, FIX_WEIGHTLESS, 0) && plain.argmax[FIX_WEIGHTLESS] == -1
          && plain.logp[FIX_WEIGHTLESS] == 0
          && plain.dlogp[FIX_WEIGHTLESS] == 0, "a row of weight 0");
    CHECK(plain.result.tokens == FIX_N - 2, "10 tokens count");
    edge("E75");
    edge("E73");
    edge("E137");
    make(&a, w);
    fix.weight[FIX_WEIGHTLESS] = -0.0f;
    fix_set_label(&a, FIX_WEIGHTLESS, FIX_V + 7);
    poison(&a, FIX_WEIGHTLESS);
    fix.ref[FIX_IGNORED] = HUGE_VALF;
    fix_run_and_take(&a, &other, "weight -0");
    same(&plain, &other, "what an unread row holds", w);
    make(&a, w);
    fix.weight[FIX_WEIGHTLESS] = 1;
    fix_set_label(&a, FIX_WEIGHTLESS, -100);
    fix_run_and_take(&a, &other, "label -100");
    same(&plain, &other, "weight 0 or a negative label", w);
    edge("E76");
    make(&a, w);
    for (int i = 0; i < FIX_N; i++)
        fix.weight[i] = -fix.weight[i];
    fix_run_and_take(&a, &other, "negative weights");
    if (w->kind == BNFLOSS_DPO)
        return;                 /* whose loss is not odd in the weights */
    CHECK(other.result.loss == -plain.result.loss, "loss %.17g, not %.17g",
          other.result.loss, -plain.result.loss);
    for (int i = 0; i < FIX_N; i++)
        CHECK(other.dlogp[i] == -plain.dlogp[i], "dlogp of row %d", i);
    CHECK(row_is(&a, 0, 0) == 0, "row 0 counts");
}

/* ---- Sequences and pairs ------------------------------------------------- */

/* Sequences lo .. hi - 1 lose all their tokens. */
static void empty(fix_args *a, int lo, int hi)
{
    for (int64_t i = fix.seq_start[lo]; i < fix.seq_start[hi]; i++)
        fix_set_label(a, i, -1);
}

static void value_empty_sequences(const variant *w)
{
    fix_outcome o;
    fix_args a;
    double sum = 0, n = 0;

    make(&a, w);
    empty(&a, 1, 2);
    fix_run_and_take(&a, &o, "an empty sequence");
    CHECK(o.result.empty_sequences == 1 && o.result.sequences == 3
          && o.result.pairs == 2, "counts");
    CHECK(isfinite(o.result.loss), "loss %g", o.result.loss);
    if (w->kind == BNFLOSS_DPO) {
        edge("E112");
        CHECK(o.seq_loss[0] > 0 && o.seq_logp[1] == 0, "its sum is 0");
        CHECK(fabs(o.seq_loss[0] - log1p(exp(-(double)a.spec->beta
              * (o.row_loss[0] * (double)fix.weight[0]
                 + o.row_loss[1] * (double)fix.weight[1]
                 + o.row_loss[2] * (double)fix.weight[2]))))
              <= 1e-6 * o.seq_loss[0], "a pair with one side");
    } else {
        edge("E111");
        for (int s = 0; s < FIX_S; s++)
            sum += o.seq_loss[s];
        n = w->kind == BNFLOSS_BNF ? 3 : (double)o.result.tokens;
        CHECK(o.seq_loss[1] == 0 && o.seq_logp[1] == 0, "contributes");
        CHECK(fabs(o.result.loss - sum / n) <= 1e-14 * fabs(sum / n),
              "loss %.17g, not %.17g", o.result.loss, sum / n);
    }
    edge("E113");
    make(&a, w);
    empty(&a, 0, 2);
    a.spec->divisor = BNFLOSS_DIV_PAIRS;
    fix_run_and_take(&a, &o, "an empty pair");
    CHECK(o.result.pairs == 1 && o.result.divisor == 1
          && o.result.empty_sequences == 2, "one pair is left");
    CHECK(row_is(&a, 0, 0) && row_is(&a, 5, 0), "the empty pair's gradient");
    if (w->kind == BNFLOSS_DPO)
        CHECK(o.seq_loss[0] == 0 && o.result.loss == o.seq_loss[1],
              "the empty pair's loss");
    if (w->kind != BNFLOSS_SFT)     /* and it is not won by 0 against 0 */
        CHECK(o.result.rewards_accuracies
              == (o.result.rewards_chosen > o.result.rewards_rejected),
              "accuracies %g", o.result.rewards_accuracies);
}

/* ---- Logits that are no numbers ------------------------------------------ */

/* One logit of row 9 (the last sequence) is replaced by x. */
static void not_a_row(const variant *w, int64_t col, float x)
{
    fix_outcome plain, o;
    fix_args a;

    make(&a, w);
    fix_run_and_take(&a, &plain, "plain");
    make(&a, w);
    fix_set_logit(&a, 9, col < 0 ? fix_label(&a, 9) : col, x);
    fix_run_and_take(&a, &o, "not a row");
    CHECK(is_canonical(o.result.loss), "loss %g (%s, col %d, %s, %g)",
          o.result.loss, w->isa, (int)col, kind_name(w->kind), (double)x);
    CHECK(o.result.nan_rows == 1 && o.argmax[9] == -1, "counted");
    CHECK(is_canonical(o.result.entropy), "the mean entropy is %g",
          o.result.entropy);
    CHECK(elem_is_nan(0, o.logp, 9) && elem_is_nan(0, o.rest, 9)
          && elem_is_nan(0, o.entropy, 9) && elem_is_nan(0, o.row_loss, 9),
          "outputs of the row: %g %g %g %g (%s, col %d, %s, %g)",
          (double)o.logp[9], (double)o.rest[9], (double)o.entropy[9],
          (double)o.row_loss[9], w->isa, (int)col, kind_name(w->kind),
          (double)x);
    for (int i = 0; i < FIX_N; i++) {
        const int nan = w->kind == BNFLOSS_DPO
                            ? i >= 6 && i != FIX_WEIGHTLESS : i == 9;

        CHECK(!nan || row_is_nan(&a, i), "row %d is not NaN (%s, col %d, %g)",
              i, w->isa, (int)col, (double)x);
        CHECK(nan || memcmp(o.grad + (size_t)i * FIX_V
                            * elem_size(w->grad_type),
                            plain.grad + (size_t)i * FIX_V
                            * elem_size(w->grad_type),
                            FIX_V * elem_size(w->grad_type)) == 0,
              "row %d has changed", i);
    }
    if (w->kind == BNFLOSS_DPO)
        CHECK(o.result.nan_pairs == 1 && is_canonical(o.seq_loss[1])
              && o.seq_loss[0] == plain.seq_loss[0], "the pair is counted");
}

/* What the stages count of a batch with one NaN row, one that is ignored. */
static void count_stages(const variant *w)
{
    static bnfloss_status (*const all[])(const fix_args *) = {
        fix_forward, fix_outputs, fix_backward, fix_merge
    };
    const bnfloss_result *r = &fix.result.s;
    bnfloss_layout more;
    fix_args a;

    make(&a, w);
    more = *a.layout;
    more.flags |= BNFLOSS_ENTROPY;
    more.vocab_begin = FIX_V;
    CHECK(bnfloss_forward(&more, a.logits, a.labels, 0, FIX_N, a.other, NULL,
                          NULL) == BNFLOSS_OK, "the other columns");
    fix_set_logit(&a, 9, 5, NAN);
    for (int k = 0; k < 4; k++)
        CHECK(all[k](&a) == BNFLOSS_OK && r->nan_rows == 1
              && r->tokens == FIX_N - 1 && r->where == -1,
              "entry point %d: %d tokens, %d NaN", k, (int)r->tokens,
              (int)r->nan_rows);
}

static void value_not_a_row(const variant *w)
{
    fix_args a;
    int64_t y;

    make(&a, w);
    y = fix_label(&a, 9);
    count_stages(w);
    edge("E114");
    not_a_row(w, -1, NAN);
    edge("E116");
    not_a_row(w, -1, HUGE_VALF);
    edge("E115");
    edge("E117");
    for (int64_t col = 0; col < FIX_V; col += 1 + col % 7) {
        if (col == y)
            continue;
        not_a_row(w, col, NAN);
        not_a_row(w, col, -NAN);
        not_a_row(w, col, HUGE_VALF);
    }
    if (w->kind == BNFLOSS_DPO)
        edge("E118");
    edge("E126");
    {
        fix_outcome o;

        make(&a, w);
        for (int64_t j = 0; j < FIX_V; j++)
            fix_set_logit(&a, 9, j, -HUGE_VALF);
        fix_run_and_take(&a, &o, "all masked");
        CHECK(o.result.nan_rows == 1 && is_canonical(o.result.loss)
              && row_is_nan(&a, 9), "a row all -inf");
    }
    edge("E156");         /* row_is_nan: the canonical one, any type */
}

/* ---- Masked logits ------------------------------------------------------- */

static void value_masked(const variant *w)
{
    fix_args a;

    edge("E120");
    for (int step = 2; step < 40; step += 9) {
        make(&a, w);
        for (int64_t i = 0; i < FIX_N; i++)
            for (int64_t j = i % step; j < FIX_V; j += step)
                if (j != fix_label(&a, i))
                    fix_set_logit(&a, i, j, -HUGE_VALF);
        run_and_check(&a, "masked");
        CHECK(fix.result.s.nan_rows == 0, "masked is not NaN");
    }
    make(&a, w);                /* all but the label: V = 1 */
    for (int64_t j = 0; j < FIX_V; j++)
        if (j != fix_label(&a, 0))
            fix_set_logit(&a, 0, j, -HUGE_VALF);
    CHECK(fix_run(&a) == BNFLOSS_OK && fix.logp[0] == 0 && fix.entropy[0] == 0
          && row_is(&a, 0, 0), "the label alone is left");
}

static void value_masked_smoothed(const variant *w)
{
    const double ls = 0.25;
    fix_args a;
    fix_outcome o;

    if (w->kind != BNFLOSS_SFT)
        return;
    edge("E122");
    make(&a, w);
    a.layout->label_smoothing = (float)ls;
    for (int64_t i = 0; i < FIX_N; i++)
        for (int64_t j = i % 3; j < FIX_V; j += 3)
            if (j != fix_label(&a, i))
                fix_set_logit(&a, i, j, -HUGE_VALF);
    save_rows(&a, saved_rows);
    fix_run_and_take(&a, &o, "masked, smoothed");
    for (int i = 0; i < FIX_N; i++) {
        plain_row p;
        double want;

        if (i == FIX_IGNORED || i == FIX_WEIGHTLESS)
            continue;
        p = plain_softmax(saved_rows[i], FIX_V, fix_label(&a, i));
        want = -(1 - ls) * p.logp + ls * (p.lse - p.mean);
        CHECK(relative((double)o.row_loss[i], want) <= 4 * U,
              "row %d: %.9g, not %.9g", i, (double)o.row_loss[i], want);
        for (int64_t j = 0; j < FIX_V; j++) {
            const double z = saved_rows[i][j], pj = plain_p(&p, z);
            const double g = z == -HUGE_VAL ? 0 : (double)o.dlogp[i]
                * ((1 - ls) * (j == fix_label(&a, i))
                   + ls / (double)p.finite - pj);

            CHECK(fabs((double)fix_grad(&a, i, j) - g)
                  <= 4 * U * fabs((double)o.dlogp[i])
                     + elem_rounding(w->grad_type, g)
                  && (z > -HUGE_VAL || fix_grad(&a, i, j) == 0),
                  "row %d col %d: %.9g, not %.9g", i, (int)j,
                  (double)fix_grad(&a, i, j), g);
        }
    }
}

static void value_masked_label(const variant *w)
{
    fix_outcome o;
    fix_args a;
    int64_t y;

    make(&a, w);
    y = fix_label(&a, 0);
    fix_set_logit(&a, 0, y, -HUGE_VALF);
    save_rows(&a, saved_rows);
    fix_run_and_take(&a, &o, "masked label");
    CHECK(o.result.nan_rows == 0 && o.logp[0] == -HUGE_VALF, "logp");
    for (int i = 0; i < FIX_N; i++)
        CHECK(row_is_finite(&a, i), "row %d is not finite (%s)", i,
              kind_name(w->kind));
    switch (w->kind) {
    case BNFLOSS_SFT:
        edge("E123");
        CHECK(o.result.loss == HUGE_VAL && !row_is(&a, 0, 0), "SFT");
        check_grads(&a, saved_rows, "masked label");
        break;
    case BNFLOSS_BNF:
        edge("E124");
        CHECK(isfinite(o.result.loss) && o.dlogp[0] == 0 && row_is(&a, 0, 0),
              "BNF: loss %g, dlogp %g", o.result.loss, (double)o.dlogp[0]);
        break;
    default:
        edge("E125");
        CHECK(o.result.loss == HUGE_VAL && o.result.nan_pairs == 0
              && o.result.rewards_margins == -HUGE_VAL, "DPO: loss %g",
              o.result.loss);
        CHECK(o.dlogp[0] != 0 && isfinite(o.dlogp[0]), "DPO: dlogp %g",
              (double)o.dlogp[0]);
        check_grads(&a, saved_rows, "masked label");
        break;
    }
}

/* ---- Extreme logits ------------------------------------------------------ */

static void value_extreme(const variant *w)
{
    const float top = w->logits_type == BNFLOSS_F16 ? 65504
                      : w->logits_type == BNFLOSS_BF16
                            ? float_of(0x7E960000) : 1e38f;
    const float tiny = w->logits_type == BNFLOSS_F16 ? 0x1p-24f
                       : w->logits_type == BNFLOSS_BF16 ? 0x1p-133f
                                                        : 0x1p-149f;
    static const char *const names[] = { "huge", "tiny", "equal", "offset",
                                         "below llm.c's first maximum" };
    static const char *const ids[] = { "E127", "E128", "E129", "E130",
                                       "E133" };
    fix_args a;

    for (int kind = 0; kind < 5; kind++) {
        edge(ids[kind]);
        make(&a, w);
        for (int64_t i = 0; i < FIX_N; i++) {
            for (int64_t j = 0; j < FIX_V; j++) {
                const float z = fix_logit(&a, i, j);
                /* neighbours near 1e4 are 8 apart in f16, 64 in bf16 */
                const float x[] = { z > 4 ? top : z < -4 ? -top : z,
                                    (float)(int)z * tiny, 3.5f,
                                    8192 + 64 * (float)(int)(z / 2),
                                    -16384 - 128 * (float)(int)(z / 2) };

                fix_set_logit(&a, i, j, x[kind]);
            }
        }
        run_and_check(&a, names[kind]);
        if (kind == 2)
            CHECK(relative((double)fix.logp[0], -log(FIX_V)) <= U,
                  "equal: %.9g", (double)fix.logp[0]);
    }
}

/* p next to 1, and another token far ahead. */
static void value_sure(const variant *w)
{
    fix_args a;

    edge("E131");
    for (int gap = 20; gap <= 80; gap += 10) {
        double want;

        make(&a, w);
        for (int64_t j = 0; j < FIX_V; j++)
            fix_set_logit(&a, 0, j, j == fix_label(&a, 0) ? 0 : -(float)gap);
        run_and_check(&a, "sure");
        want = -log1p((FIX_V - 1) * exp(-gap));
        CHECK(relative((double)fix.logp[0], want) <= 12 * U,
              "gap %d: logp %.9g, not %.9g", gap, (double)fix.logp[0], want);
    }
    if (w->kind != BNFLOSS_BNF)
        return;
    edge("E132");
    for (int gap = 15; gap <= 50; gap += 5) {
        plain_row p;
        double f, rest, want;
        const int64_t y = 5;

        make(&a, w);
        fix_set_label(&a, 0, y);
        fix.ref[0] = -1;
        for (int64_t j = 0; j < FIX_V; j++)
            fix_set_logit(&a, 0, j, j == 9 ? (float)gap
                                           : (float)(j % 8) / 4);
        save_rows(&a, saved_rows);
        CHECK(fix_run(&a) == BNFLOSS_OK, "led");
        p = plain_softmax(saved_rows[0], FIX_V, y);
        /* sum over t != y of p_t log p_t, the leader's term by its parts */
        rest = 0;
        want = 0;
        for (int64_t j = 0; j < FIX_V; j++)
            want += j == 9 ? 0 : exp(saved_rows[0][j] - gap);
        for (int64_t j = 0; j < FIX_V; j++)
            if (j != y)
                rest += j == 9 ? -log1p(want) / (1 + want)
                    : exp(saved_rows[0][j] - p.lse) * (saved_rows[0][j]
                                                       - p.lse);
        f = exp(p.logp + 1);
        want = -(f * p.logp + (1 - f) * rest / (1 - p.p));
        CHECK(relative((double)fix.row_loss[0], want)
              <= (10 + 2 * gap) * U, "led by %d: %.9g, not %.9g", gap,
              (double)fix.row_loss[0], want);
    }
}

/* ---- Log-probabilities --------------------------------------------------- */

static void value_references(const variant *w)
{
    fix_outcome plain, o;
    fix_args a;

    if (w->kind == BNFLOSS_SFT)
        return;
    make(&a, w);
    fix.ref[1] = 0;
    fix_run_and_take(&a, &plain, "a reference of 0");
    CHECK(plain.result.clamped_logps == 0 && plain.result.zero_refs == 0,
          "nothing to count");
    edge("E135");
    make(&a, w);
    fix.ref[1] = 0x1p-6f;
    fix_run_and_take(&a, &o, "a reference of 2^-6");
    CHECK(o.result.clamped_logps == 1, "counted");
    o.result.clamped_logps = 0;
    same(&plain, &o, "a reference of 2^-6", w);
    if (w->kind == BNFLOSS_BNF) {
        edge("E134");
        make(&a, w);
        for (int i = 0; i < FIX_N; i++)
            fix.ref[i] = -HUGE_VALF;
        fix_run_and_take(&a, &o, "q = 0");
        CHECK(o.result.zero_refs == FIX_N - 2
              && o.result.bnf_coefficient == 1
              && o.result.bnf_full_share == 1 && isfinite(o.result.loss),
              "q = 0: g = 1");
        for (int i = 0; i < FIX_N; i++)
            CHECK(o.row_loss[i] == -o.logp[i], "q = 0: f = 1, row %d", i);
        return;
    }
    edge("E145");
    make(&a, w);
    fix.ref[6] = fix.ref[8] = -HUGE_VALF;
    fix_run_and_take(&a, &o, "both references -inf");
    CHECK(o.result.nan_pairs == 1 && o.result.zero_refs == 2
          && is_canonical(o.result.loss) && row_is_nan(&a, 6)
          && row_is_nan(&a, 8) && !row_is_nan(&a, 0), "inf - inf");
    edge("E144");
    for (int sign = -1; sign < 2; sign += 2) {
        make(&a, w);
        a.spec->beta = 1e6f;
        fix.ref[0] = sign < 0 ? 0 : -1000;
        fix.ref[3] = sign < 0 ? -1000 : 0;
        fix_run_and_take(&a, &o, "a huge margin");
        CHECK(o.result.nan_pairs == 0 && isfinite(o.result.loss)
              && (sign > 0 ? o.seq_loss[0] == 0 : o.seq_loss[0] > 1e6),
              "margin: loss %g", o.seq_loss[0]);
        CHECK(isfinite(o.dlogp[0]) && (sign > 0) == (o.dlogp[0] == 0),
              "margin: dlogp %g", (double)o.dlogp[0]);
    }
}

static void value_logps(const variant *w)
{
    fix_outcome plain, o;
    fix_args a;

    make(&a, w);
    a.logp_in[9] = 0;
    CHECK(fix_loss_logp(&a) == BNFLOSS_OK, "the other entry point");
    fix_take(&plain, &a);
    edge("E138");
    make(&a, w);
    a.logp_in[9] = 0x1p-6f;
    CHECK(fix_loss_logp(&a) == BNFLOSS_OK, "logp of 2^-6");
    fix_take(&o, &a);
    CHECK(o.result.clamped_logps == 1, "counted");
    o.result.clamped_logps = 0;
    same(&plain, &o, "logp of 2^-6", w);
    edge("E140");
    make(&a, w);
    a.logp_in[9] = NAN;
    CHECK(fix_loss_logp(&a) == BNFLOSS_OK && fix.result.s.nan_rows == 1
          && is_canonical(fix.result.s.loss) && elem_is_nan(0, fix.dlogp, 9)
          && fix.dlogp[0] == plain.dlogp[0], "logp NaN");
    if (w->kind != BNFLOSS_BNF)
        return;
    edge("E143");
    make(&a, w);
    a.logp_in[9] = 0;
    a.rest_in = NULL;
    CHECK(fix_loss_logp(&a) == BNFLOSS_OK && is_canonical(fix.result.s.loss)
          && memcmp(fix.dlogp, plain.dlogp, sizeof plain.dlogp) == 0,
          "rest NULL");
}

static void value_p_is_q(const variant *w)
{
    fix_args a;

    if (w->kind != BNFLOSS_BNF)
        return;
    edge("E141");
    for (int k = -1; k <= 1; k++) {
        double want = 0, removed;

        make(&a, w);
        for (int i = 0; i < FIX_N; i++)     /* away from 0 for k = -1 */
            a.logp_in[i] = float_of(bits_of(fix.ref[i]) - (uint32_t)k);
        CHECK(fix_loss_logp(&a) == BNFLOSS_OK, "p next to q");
        for (int i = 0; i < FIX_N; i++) {   /* log g = (l-r) / (1-q) */
            const double l = (double)a.logp_in[i], r = (double)fix.ref[i];

            want += fix.weight[i] == 0 ? 0 : (r - l) / -expm1(r) / (FIX_N - 1);
        }
        removed = 1 - fix.result.s.bnf_coefficient;
        CHECK(k < 0 ? relative(removed, want) < 1e-5 : removed == 0,
              "ulp %d: g = 1 - %g, not %g", k, removed, want);
        CHECK(fix.result.s.bnf_full_share == (k < 0 ? 0 : 1), "ulp %d", k);
    }
}

static void value_bad_dlogp(const variant *w)
{
    fix_args a;
    static const float bad[] = { NAN, HUGE_VALF, -HUGE_VALF };

    for (int k = 0; k < 3; k++) {
        make(&a, w);
        CHECK(fix_forward(&a) == BNFLOSS_OK, "forward");
        edge("E146");
        fix.dlogp_in[2] = k ? 0.0f : -0.0f;
        for (int64_t j = 0; j < FIX_V; j++)
            fix_set_logit(&a, 2, j, NAN);
        edge("E147");
        fix.dlogp_in[3] = bad[k];
        CHECK(fix_backward(&a) == BNFLOSS_OK, "backward");
        CHECK(row_is(&a, 2, 0), "dlogp 0");
        CHECK(row_is_nan(&a, 3) && !row_is_nan(&a, 5), "dlogp %g",
              (double)bad[k]);
    }
}

/* ---- Gradients of few bits ----------------------------------------------- */

/* x rounded to the type, to nearest even, by exact arithmetic in double. */
static double rounded(uint32_t type, double x)
{
    int e;
    double unit;

    if (x == 0 || type == BNFLOSS_F32)
        return x;
    frexp(x, &e);
    e -= type == BNFLOSS_BF16 ? 8 : 11;
    if (type == BNFLOSS_F16 && e < -24)
        e = -24;
    unit = ldexp(1, e);
    x = nearbyint(x / unit) * unit;
    return type == BNFLOSS_F16 && fabs(x) >= 65520 ? copysign(HUGE_VAL, x)
                                                   : x;
}

/* What is there is added to in f32, and the sum is rounded once. */
static void value_accumulate(const variant *w)
{
    static double added[FIX_N][FIX_V];
    variant f32 = *w;
    fix_args a;

    if (w->in_place)
        return;
    f32.grad_type = BNFLOSS_F32;
    make(&a, &f32);
    CHECK(fix_run(&a) == BNFLOSS_OK, "plain");
    for (int64_t i = 0; i < FIX_N; i++)
        for (int64_t j = 0; j < FIX_V; j++)
            added[i][j] = (double)(0.25f + fix_grad(&a, i, j));
    edge("E69");
    edge("E158");
    for (int staged = 0; staged < 2; staged++) {
        make(&a, w);
        a.layout->flags = BNFLOSS_ACCUMULATE;
        for (int64_t i = 0; i < FIX_N * FIX_GRAD_STRIDE; i++)
            elem_put(w->grad_type, a.grad, i, 0.25f);
        if (staged)
            CHECK(fix_forward(&a) == BNFLOSS_OK
                  && fix_loss_state(&a) == BNFLOSS_OK
                  && bnfloss_backward(a.layout, a.logits, a.labels, 0, FIX_N,
                                      a.state, a.dlogp_out, a.grad, NULL)
                     == BNFLOSS_OK, "staged, accumulating");
        else
            CHECK(fix_run(&a) == BNFLOSS_OK, "accumulating");
        CHECK(row_is(&a, FIX_IGNORED, 0.25f)
              && row_is(&a, FIX_WEIGHTLESS, 0.25f), "ignored rows change");
        for (int64_t i = 0; i < FIX_N; i++)
            for (int64_t j = 0; j < FIX_V; j++) {
                const double want = rounded(w->grad_type, added[i][j]);

                CHECK((double)fix_grad(&a, i, j) == want,
                      "row %d col %d: %.9g, not %.9g", (int)i, (int)j,
                      (double)fix_grad(&a, i, j), want);
            }
    }
}

static void value_grad_types(const variant *w)
{
    static const float scales[] = { 1, 0x1p-12f, 3e4f, 1e9f };
    static float wide[FIX_N * FIX_V];
    variant f32 = *w;
    fix_args a;
    int64_t infinite = 0;

    if (w->grad_type == BNFLOSS_F32)
        return;
    edge("E154");
    edge("E155");
    f32.grad_type = BNFLOSS_F32;
    f32.in_place = 0;
    for (int k = 0; k < 4; k++) {
        for (int narrow = 0; narrow < 2; narrow++) {
            make(&a, narrow ? w : &f32);
            CHECK(fix_forward(&a) == BNFLOSS_OK, "forward");
            for (int i = 0; i < FIX_N; i++)
                fix.dlogp_in[i] *= scales[k];
            CHECK(fix_backward(&a) == BNFLOSS_OK, "backward");
            for (int64_t i = 0; i < FIX_N; i++)
                for (int64_t j = 0; j < FIX_V; j++) {
                    float *g = wide + i * FIX_V + j;
                    const double x = (double)fix_grad(&a, i, j);

                    if (!narrow) {
                        *g = (float)x;
                        continue;
                    }
                    infinite += isinf(x) != 0;
                    CHECK(x == rounded(w->grad_type, (double)*g),
                          "row %d col %d: %.9g of %.9g (%s %s)", (int)i,
                          (int)j, x, (double)*g, type_name(w->grad_type),
                          w->isa);
                }
        }
    }
    CHECK((infinite > 0) == (w->grad_type == BNFLOSS_F16),
          "overflow: %d infinite (%s %s->%s%s)", (int)infinite, w->isa,
          type_name(w->logits_type), type_name(w->grad_type),
          w->in_place ? " in place" : "");
}

/* Halfway between two numbers of the type, and at its ends: the label is
 * masked and one token has all the mass, so that the gradient is dlogp. */
static void value_grad_ties(const variant *w)
{
    static const float bf16[] = { 0x1.01p0f, 0x1.03p0f, 0x1.010002p0f,
                                  0x1.00fffep0f, 0x1.01p-120f, 0x1.03p-120f,
                                  0x1.fefffep127f, 0x1.ffp127f };
    static const float f16[] = { 0x1.002p0f, 0x1.006p0f, 0x1.002002p0f,
                                 0x1p-25f, 0x1.8p-24f, 0x1.000002p-25f,
                                 65519.996f, 65520 };
    const float *tie = w->grad_type == BNFLOSS_BF16 ? bf16 : f16;
    fix_args a;

    if (w->grad_type == BNFLOSS_F32)
        return;
    for (int negative = 0; negative < 2; negative++) {
        make(&a, w);
        for (int64_t i = 0; i < 8; i++) {
            fix_set_label(&a, i, 3);
            fix.dlogp_in[i] = negative ? -tie[i] : tie[i];
            for (int64_t j = 0; j < FIX_V; j++)
                fix_set_logit(&a, i, j, j == 20 + i ? 0 : -HUGE_VALF);
        }
        CHECK(fix_forward(&a) == BNFLOSS_OK
              && fix_backward(&a) == BNFLOSS_OK, "ties");
        for (int64_t i = 0; i < 8; i++) {
            const double d = (double)fix.dlogp_in[i];
            double want = rounded(w->grad_type, d);

            if (fabs(want) > 0x1.fep127)
                want = copysign(HUGE_VAL, want);    /* bf16's overflow */
            CHECK((double)fix_grad(&a, i, 3) == want, "label: %a of %a (%s)",
                  (double)fix_grad(&a, i, 3), d, w->isa);
            CHECK((double)fix_grad(&a, i, 20 + i) == -want,
                  "other: %a of %a (%s)", (double)fix_grad(&a, i, 20 + i),
                  -d, w->isa);
        }
    }
}

static void value_loss_scale(const variant *w)
{
    fix_args a;

    edge("E157");               /* beyond float before the divisor, not after */
    make(&a, w);
    a.spec->loss_scale = 1e40;
    a.spec->divisor = BNFLOSS_DIV_GIVEN;
    a.spec->divisor_value = 1e40;
    CHECK(fix_run(&a) == BNFLOSS_OK && isfinite(fix.dlogp[0])
          && fix.dlogp[0] != 0, "not in double: dlogp %g",
          (double)fix.dlogp[0]);
}

/* ---- Traps that other libraries fell into -------------------------------- */

/* The mean over no tokens: NaN in pytorch#70348. */
static void trap_mean_over_zero_tokens(const variant *w)
{
    fix_args a;

    edge("E78");
    for (int norm = 1; norm <= 3; norm++) {
        for (int divisor = 1; divisor <= 4; divisor++) {
            make(&a, w);
            if (w->kind != BNFLOSS_DPO)
                a.spec->token_norm = (uint32_t)norm;
            a.spec->divisor = (uint32_t)divisor;
            empty(&a, 0, FIX_S);
            CHECK(fix_run(&a) == BNFLOSS_OK && fix.result.s.loss == 0
                  && fix.result.s.tokens == 0 && fix.result.s.pairs == 0
                  && fix.result.s.empty_sequences == FIX_S,
                  "loss %g of no tokens", fix.result.s.loss);
            for (int i = 0; i < FIX_N; i++)
                CHECK(row_is(&a, i, 0) && fix.dlogp[i] == 0, "row %d", i);
        }
    }
}

/* Ignored rows gave NaN in flash-attention#1930, and smoothing counted them in
 * pytorch#73205: here what they hold is not read. */
static void trap_ignored_rows(const variant *w)
{
    fix_outcome plain, o;
    fix_args a;

    edge("E119");
    edge("E166");
    for (int smoothed = 0; smoothed <= (w->kind == BNFLOSS_SFT); smoothed++) {
        for (int poisoned = 0; poisoned < 2; poisoned++) {
            make(&a, w);
            a.layout->label_smoothing = smoothed ? 0.3f : 0;
            a.layout->z_loss = smoothed ? 0.01f : 0;
            if (poisoned) {
                poison(&a, FIX_IGNORED);
                poison(&a, FIX_WEIGHTLESS);
            }
            fix_run_and_take(&a, poisoned ? &o : &plain, "ignored rows");
        }
        same(&plain, &o, "what ignored rows hold", w);
        CHECK(row_is(&a, FIX_IGNORED, 0) && row_is(&a, FIX_WEIGHTLESS, 0)
              && o.row_loss[FIX_IGNORED] == 0
              && (!smoothed || o.result.divisor == FIX_N - 2),
              "ignored rows count");
    }
}

/* Padding entered the sum in verl#2656; here it is NaN, and canaries in the
 * gradient's padding must live. */
static void trap_padding_columns(const variant *w)
{
    fix_outcome plain, o;
    fix_args a;
    unsigned char canary[8];
    const size_t size = elem_size(w->grad_type);

    edge("E58");
    make(&a, w);
    fix_run_and_take(&a, &plain, "plain");
    make(&a, w);
    for (int64_t i = 0; i < FIX_N; i++)
        for (int64_t j = FIX_V; j < FIX_STRIDE; j++)
            fix_set_logit(&a, i, j, j % 2 ? NAN : HUGE_VALF);
    memset(canary, 0xA5, sizeof canary);
    for (int64_t i = 0; i < FIX_N; i++)
        for (int64_t j = FIX_V; j < fix_grad_stride(&a); j++)
            memcpy((char *)a.grad + (size_t)(i * fix_grad_stride(&a) + j)
                   * size, canary, size);
    if (w->in_place)                /* the same columns: NaN again */
        for (int64_t i = 0; i < FIX_N; i++)
            for (int64_t j = FIX_V; j < FIX_STRIDE; j++)
                fix_set_logit(&a, i, j, NAN);
    fix_run_and_take(&a, &o, "padded");
    same(&plain, &o, "NaN in the padding", w);
    for (int64_t i = 0; i < FIX_N; i++)
        for (int64_t j = FIX_V; j < fix_grad_stride(&a); j++)
            CHECK(w->in_place ? isnan(fix_logit(&a, i, j))
                  : memcmp((char *)a.grad + (size_t)(i * fix_grad_stride(&a)
                           + j) * size, canary, size) == 0,
                  "row %d col %d: padding written", (int)i, (int)j);
}

/* Softcap turned masked columns into -softcap in unsloth#10616. */
static void trap_softcap_after_masking(const variant *w)
{
    fix_args a;

    edge("E121");
    for (int k = 0; k < 3; k++) {
        make(&a, w);
        a.layout->softcap = k ? 4.0f : 0;
        a.layout->logit_scale = k < 2 ? 0.5f : 0;
        for (int64_t i = 0; i < FIX_N; i++)
            for (int64_t j = 0; j < FIX_V; j++)
                if (j % 4 != 1 && j != fix_label(&a, i))
                    fix_set_logit(&a, i, j, -HUGE_VALF);
        save_rows(&a, saved_rows);
        CHECK(fix_run(&a) == BNFLOSS_OK, "masked and mapped");
        for (int i = 0; i < FIX_N; i++) {
            plain_row p;

            if (i == FIX_IGNORED || i == FIX_WEIGHTLESS)
                continue;
            p = plain_softmax(saved_rows[i], FIX_V, fix_label(&a, i));
            CHECK(fabs((double)fix.logp[i] - p.logp)
                  <= (10 + 32) * U * fabs(p.logp), "row %d: %.9g, not %.9g",
                  i, (double)fix.logp[i], p.logp);
            for (int64_t j = 0; j < FIX_V; j++)
                CHECK(saved_rows[i][j] > -HUGE_VAL || fix_grad(&a, i, j) == 0,
                      "row %d col %d is masked", i, (int)j);
        }
    }
}

/* log1p(-exp(x)) near 0, trl#1473: g = odds(p) / odds(q) with p and q next
 * to 1 is (1-q)/(1-p), as exact as the logps that it comes from. */
static void trap_log1mexp_near_zero(const variant *w)
{
    fix_args a;

    if (w->kind != BNFLOSS_BNF)
        return;
    edge("E142");
    for (int e = 4; e <= 120; e += 4) {
        const float r = -(float)ldexp(1, -e), l = -(float)ldexp(1.5, -e);
        double want = expm1((double)r) / expm1((double)l)
                      * exp((double)l - (double)r);

        make(&a, w);
        for (int i = 0; i < FIX_N; i++) {
            a.logp_in[i] = l;
            fix.ref[i] = r;
        }
        CHECK(fix_loss_logp(&a) == BNFLOSS_OK
              && relative(fix.result.s.bnf_coefficient, want) < 1e-13,
              "2^-%d: g %.17g, not %.17g", e, fix.result.s.bnf_coefficient,
              want);
    }
}

/* A masked row that still gets softmax as its gradient: ggml. */
static void trap_masked_row_gets_softmax(const variant *w)
{
    fix_args a;

    edge("E68");
    for (int staged = 0; staged < 2; staged++) {
        make(&a, w);
        poison(&a, FIX_IGNORED);
        fix.dlogp_in[FIX_IGNORED] = 1;
        CHECK(fix_forward(&a) == BNFLOSS_OK && fix.result.s.tokens
              == FIX_N - 1, "forward");
        CHECK((staged ? fix_backward(&a) : fix_run(&a)) == BNFLOSS_OK,
              "backward");
        CHECK(row_is(&a, FIX_IGNORED, 0) && fix.logp[FIX_IGNORED] == 0
              && fix.argmax[FIX_IGNORED] == -1, "the masked row");
        CHECK(staged || (fix.result.s.tokens == FIX_N - 2
                         && fix.dlogp[FIX_IGNORED] == 0), "is counted");
    }
}

/* ---- All of it ----------------------------------------------------------- */

static void (*const all[])(const variant *) = {
    value_nothing, value_optional, value_inputs_null, value_result_null,
    value_vocab_one, value_vocab_any, value_grad_cols, value_weights,
    value_accumulate, value_empty_sequences, value_not_a_row, value_masked,
    value_masked_smoothed, value_masked_label, value_extreme, value_sure,
    value_references, value_logps, value_p_is_q, value_bad_dlogp,
    value_grad_types, value_grad_ties, value_loss_scale,
    trap_mean_over_zero_tokens, trap_ignored_rows, trap_padding_columns,
    trap_softcap_after_masking, trap_log1mexp_near_zero,
    trap_masked_row_gets_softmax
};

int main(void)
{
    static const uint32_t kinds[] = { BNFLOSS_SFT, BNFLOSS_BNF, BNFLOSS_DPO };
    variant w;

    FOR_EACH_ISA(isa) {
        for (int n = 0; n < 3 * 3 * 3 * 2; n++) {
            w.isa = isa;
            w.kind = kinds[n % 3];
            w.logits_type = (uint32_t)(n / 3 % 3);
            w.grad_type = (uint32_t)(n / 9 % 3);
            w.in_place = n / 27;
            if (w.in_place && w.logits_type != w.grad_type)
                continue;
            for (size_t k = 0; k < sizeof all / sizeof *all; k++)
                all[k](&w);
        }
    }
    edges_end("test_edges");
    return test_end();
}
