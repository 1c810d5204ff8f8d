/* The loss floor's functions of one double against quad precision: every
 * error bound that src/math.c states, 3 ulp for what real.h makes of
 * them, and the special values.
 *
 * SPDX-License-Identifier: MIT
 *
 * An ulp is the distance of doubles at the true value. Every domain is drawn
 * from several ways: even, by magnitude, around the places where a function
 * changes its form. "--all" draws 10,000,000 points a function.
 *
 * Then what is made of a token by those functions: its softmax, SFT and BNF,
 * against the same in plain words, in units of 2^-53 of each number and of
 * what the rounding of label - leader does to it. */
#include "../src/bnfloss.c"
#include "quad.h"
#include "test.h"

#if QUAD

#define LN2 0x1.62e42fefa39efp-1

/* ---- The truth ---------------------------------------------------------- */

static quad log1mexp_q(quad x)
{
    return x > -(quad)LN2 ? logq(-expm1q(x)) : log1pq(-expq(x));
}

static quad sigmoid_q(quad x)
{
    return x < 0 ? expq(x) / (1 + expq(x)) : 1 / (1 + expq(-x));
}

static quad softplus_q(quad x)
{
    return x > 0 ? x + log1pq(expq(-x)) : log1pq(expq(x));
}

/* The error of got in ulp of the true value; 0 where both overflow. */
static double ulps(double got, quad truth)
{
    quad error = (quad)got - truth;
    int e = -1021;

    if (got == (double)truth && !bn_is_finite(got))
        return 0;
    if (truth != 0)
        frexpq(truth, &e);
    e = (e < -1021 ? -1021 : e) - 53;               /* an ulp is 2^e */
    error /= (quad)(bn_pow2(e / 2) * bn_pow2(e - e / 2));
    return (double)(error < 0 ? -error : error);
}

/* ---- Points ------------------------------------------------------------- */

static double any_double(rng *r)
{
    return bn_double_of(rng_next(r));
}

/* 2^-range .. 2^range with any sign */
static double by_magnitude(rng *r, int from, int to)
{
    const int e = from + (int)rng_below(r, to - from + 1);
    const double x = (1 + rng_uniform(r))
                     * bn_pow2(e / 2) * bn_pow2(e - e / 2);

    return rng_next(r) & 1 ? x : -x;
}

/* Within a few ulp of x. */
static double near(rng *r, double x)
{
    return bn_double_of(bn_bits64_of(x) + (uint64_t)rng_below(r, 64) - 32);
}

/* The i-th point for an argument with range [-reach, reach]. */
static double point(rng *r, int i, double reach)
{
    static const double edges[] = {
        LN2, 0.5 * LN2, 1.5 * LN2, 38, 709, 709.8, 745.2, 745, 708.4, 746, 710,
        0.29, 0.41, 1, 0.5, 2, 0.1716, 0x1.6a09e667f3bcdp+0,
        0x1.6a09e667f3bcdp-1, 0x1p-1022, 0x1p53, 0x1p-53, 20
    };
    const int count = (int)(sizeof edges / sizeof *edges);

    switch (i % 6) {
    case 0: return (2 * rng_uniform(r) - 1) * reach;
    case 1: return by_magnitude(r, -60, 10);
    case 2: return by_magnitude(r, -1022, 1022);
    case 3: return near(r, (rng_next(r) & 1 ? 1 : -1)
                           * edges[rng_below(r, count)]);
    case 4: return near(r, ((double)rng_below(r, 2200) - 1100) * 0.5 * LN2);
    default: return any_double(r);
    }
}

/* ---- One function ------------------------------------------------------- */

typedef struct function {
    const char *name;
    double (*here)(double);
    quad (*truth)(quad);
    double bound;               /* in ulp */
    double from, to;            /* its domain */
    double reach;               /* where it is drawn evenly */
} function;

static void run(const function *f, int points)
{
    rng r = { 1 };
    double worst = 0, at = 0;

    for (int i = 0; i < points; i++) {
        const double x = point(&r, i, f->reach);
        double error;

        if (!(x >= f->from && x <= f->to))
            continue;
        error = ulps(f->here(x), f->truth((quad)x));
        CHECK(error <= f->bound, "%s(%a) = %a is %.3g ulp wrong",
              f->name, x, f->here(x), error);
        if (error > worst) {
            worst = error;
            at = x;
        }
    }
    printf("%-9s worst %.3f ulp, at %a\n", f->name, worst, at);
}

/* ---- Values that are exact ---------------------------------------------- */

static void same(const char *what, double got, double want)
{
    const int ok = want != want ? got != got
                                : bn_bits64_of(got) == bn_bits64_of(want);

    CHECK(ok, "%s is %a, not %a", what, got, want);
}

#define SAME(call, want) same(#call, call, want)

static void special(void)
{
    const double inf = BN_INF, nan = BN_NAN;

    SAME(bn_exp(0), 1);              SAME(bn_exp(-0.0), 1);
    SAME(bn_exp(inf), inf);          SAME(bn_exp(-inf), 0);
    SAME(bn_exp(1e300), inf);        SAME(bn_exp(-1e300), 0);
    SAME(bn_exp(nan), nan);          SAME(bn_exp(-745.2), 0);
    SAME(bn_exp(709.79), inf);       SAME(bn_exp(-745.1), 0x1p-1074);
    SAME(bn_expm1(0), 0);            SAME(bn_expm1(inf), inf);
    SAME(bn_expm1(-inf), -1);        SAME(bn_expm1(nan), nan);
    SAME(bn_expm1(-50), -1);         SAME(bn_expm1(710), inf);
    SAME(bn_expm1(0x1p-1074), 0x1p-1074);
    /* the last below infinity: 2^1024 is none */
    CHECK(ulps(bn_expm1(709.0625), 0x1.f254057105eb5p+1022) <= 2
          && ulps(bn_expm1(709.5), 0x1.81e9b4b52d0c9p+1023) <= 2
          && ulps(bn_expm1(709.75), 0x1.ef85a11e73f2dp+1023) <= 2, "expm1");
    SAME(bn_log(1), 0);              SAME(bn_log(0), -inf);
    SAME(bn_log(-0.0), -inf);        SAME(bn_log(inf), inf);
    SAME(bn_log(-1), nan);           SAME(bn_log(-inf), nan);
    SAME(bn_log(nan), nan);
    /* where it changes its form, at sqrt 2: the point itself is below */
    SAME(bn_log(0x1.6a09e667f3bcdp-3), -0x1.bb9d3beb8c86ap+0);
    SAME(bn_log(0x1.6a09e667f3bcdp-20), -0x1.b0861a6c0f69bp+3);
    /* many neighbours solve Ada-DPO's equation as well: the least of them */
    SAME(bn_ada_root(0.125), 0x1.11fa74dde0b34p+0);
    SAME(bn_log1p(0), 0);            SAME(bn_log1p(-0.0), -0.0);
    SAME(bn_log1p(-1), -inf);        SAME(bn_log1p(inf), inf);
    SAME(bn_log1p(-1.5), nan);       SAME(bn_log1p(-inf), nan);
    SAME(bn_log1p(nan), nan);        SAME(bn_log1p(0x1p-1070), 0x1p-1070);
    SAME(bn_tanh(0), 0);
    SAME(bn_tanh(0x1p-1070), 0x1p-1070);
    SAME(bn_tanh(inf), 1);
    SAME(bn_tanh(-inf), -1);         SAME(bn_tanh(nan), nan);
    SAME(bn_tanh(1e300), 1);         SAME(bn_tanh(-1e300), -1);
    SAME(bn_log1mexp(-inf), -0.0);   SAME(bn_log1mexp(0), -inf);
    SAME(bn_log1mexp(nan), nan);     SAME(bn_log1mexp(-0.0), -inf);
    SAME(bn_sigmoid(0), 0.5);        SAME(bn_sigmoid(inf), 1);
    SAME(bn_sigmoid(-inf), 0);       SAME(bn_sigmoid(nan), nan);
    SAME(bn_softplus(-inf), 0);      SAME(bn_softplus(inf), inf);
    SAME(bn_softplus(nan), nan);     SAME(bn_softplus(1e300), 1e300);
}

/* ---- A token ------------------------------------------------------------- */

static double worst_token;              /* in units of the bound */

/* units: of 2^-53 |want| that got may be off. */
static void token_near(const char *what, double got, quad want, quad units)
{
    const quad size = want < 0 ? -want : want;
    const quad bound = (quad)0x1p-53 * units * size;
    const quad error = (quad)got < want ? want - (quad)got : (quad)got - want;

    if (bound > 0 && (double)(error / bound) > worst_token)
        worst_token = (double)(error / bound);
    CHECK(error <= bound + (quad)0x1p-1000, "%s is %.17g, not %.17g", what,
          got, (double)want);
}

/* The truth about a row whose label lies d above its leader. */
typedef struct token_q {
    quad logp, p, q, rest, gap;
} token_q;

static token_q token_of(quad d, quad sum, quad dot)
{
    const quad others = 1 + sum, z = others + expq(d);
    token_q t;

    t.p = expq(d) / z;
    t.q = others / z;
    t.logp = d > 0 ? -log1pq(expq(-d) * others) : d - logq(z);
    t.gap = d > 0 ? d - t.logp : logq(z);
    t.rest = (dot - others * t.gap) / others;
    return t;
}

/* BNF, as bnf.h's first comment has it. */
static void bnf_of(const token_q *t, quad ref, quad eps, quad *value, quad *g)
{
    const quad f = t->p / (expq(ref) + eps) < 1 ? t->p / (expq(ref) + eps) : 1;
    const quad o = (1 - f + eps) / (t->q + eps);

    *value = -(f * t->logp + o * t->q * t->rest);
    /* where f = 1, in a form that keeps its digits next to p = 1 */
    *g = f < 1 ? f - o * t->p : t->q * (1 + eps) / (t->q + eps);
}

static void token_bnf(const bn_token *t, const token_q *tq, double ref,
                      double eps, quad d)
{
    const bn_bnf_token b = bn_bnf(t, ref, eps);
    const quad far = (quad)ref - tq->logp;
    quad value, g;

    /* far enough from p = q, where f - 1 is all cancellation */
    if ((far < 0 ? -far : far) < -0.1 * ref)
        return;
    bnf_of(tq, ref, eps, &value, &g);
    /* with eps, q + eps - p cancels */
    token_near("BNF", b.value, value, 256 + 40 * d
                                      + (eps > 0 ? 4 / (far < 0 ? -far : far)
                                                 : 0));
    token_near("g", b.g, g, 256 + 40 * d);
}

static void token(rng *r)
{
    const double leader = rng_normal(r) * 4, sum = 8 * rng_uniform(r);
    const double label = leader + rng_normal(r) * (rng_next(r) & 1 ? 3 : 16);
    const double dot = -sum * 3 * rng_uniform(r);
    const int dft = (int)(rng_next(r) & 1);
    const double eps = rng_next(r) & 1 ? 0x1p-20 : 0;
    const token_q q = token_of((quad)label - leader, sum, dot);
    const bn_token t = bn_token_from_sums(label, leader, sum, dot);
    const quad gap = label < leader ? (quad)leader - label
                                    : (quad)label - leader;
    const quad lse = leader + q.gap;
    double dlogp;

    token_near("logp", t.logp, q.logp, 16 + 2 * gap);
    token_near("1 - p", t.q, q.q, 16 + 2 * gap);
    token_near("rest", t.rest, q.rest, 16 + 2 * gap);
    token_near("entropy", bn_token_entropy(&t),
               -(q.p * q.logp + q.q * q.rest), 24 + 3 * gap);
    token_near("lse - leader", bn_lse_gap(label, leader, sum), q.gap,
               16 + 2 * gap);
    token_near("lse", bn_lse(label, leader, sum), lse, (16 + 2 * gap)
               * (1 + q.gap / (lse < 0 ? -lse : lse)));
    token_near("SFT", bn_sft(&t, dft, &dlogp),
               -(dft ? q.p : 1) * q.logp, 20 + 4 * gap);
    token_near("SFT's dlogp", dlogp, -(dft ? q.p : 1), 20 + 4 * gap);
    token_bnf(&t, &q, -0x1p-10 - 4 * rng_uniform(r) * rng_uniform(r), eps, gap);
}

int main(int argc, char **argv)
{
    rng r = { 2 };
    const int all = argc > 1 && strcmp(argv[1], "--all") == 0;
    const double inf = BN_INF;
    const function list[] = {
        { "exp", bn_exp, expq, 1.01, -800, 800, 745 },
        { "expm1", bn_expm1, expm1q, 2, -inf, 800, 40 },
        { "log", bn_log, logq, 2, 0x1p-1074, 0x1.fffffffffffffp1023, 100 },
        { "log1p", bn_log1p, log1pq, 2, -0x1.fffffffffffffp-1,
          0x1.fffffffffffffp1023, 2 },
        { "tanh", bn_tanh, tanhq, 3, -inf, inf, 20 },
        { "log1mexp", bn_log1mexp, log1mexp_q, 3, -800, -0x1p-1074, 40 },
        { "sigmoid", bn_sigmoid, sigmoid_q, 3, -800, 800, 40 },
        { "softplus", bn_softplus, softplus_q, 3, -800, 800, 40 },
    };

    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        run(list + i, all ? 10000000 : 150000);
    special();
    for (int i = 0; i < (all ? 1000000 : 30000); i++)
        token(&r);
    printf("tokens within %.2f of their bounds\n", worst_token);
    return test_end();
}

#else
int main(void)
{
    test_skip("no quad precision here");
    return test_end();
}
#endif
