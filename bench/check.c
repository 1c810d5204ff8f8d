/* Results against a double computation: see check.h. */
#include "check.h"

#include <math.h>
#include <stddef.h>

/* What the library promises, with some room for the parts to add up; the
 * textbook loop sums a row in one float, and is wrong by as much. */
static const double library_bound = 8;

static double bound_of(const bench_case *c, const batch *b)
{
    return is_textbook(c) ? 8192 + (double)b->V / 8
                          : library_bound;
}

/* A pair at the beginning, in the middle and at the end. */
reference reference_of(const batch *b)
{
    const int64_t row[CHECKED_ROWS] = { 0, 1, b->N / 4 * 2, b->N / 4 * 2 + 1,
                                        b->N - 2, b->N - 1 };
    const uint32_t type = b->type->logits;
    reference r = { .n = CHECKED_ROWS };

    for (int k = 0; k < r.n; k++) {
        const int64_t first = row[k] * b->V, y = b->label[row[k]];
        double max = -INFINITY, sum = 0, dot = 0;

        for (int64_t t = 0; t < b->V; t++)
            max = fmax(max, element(type, b->source, first + t));
        for (int64_t t = 0; t < b->V; t++) {
            const double x = element(type, b->source, first + t) - max;
            const double e = exp(x);

            sum += e;
            dot += t == y ? 0 : e * x;
        }
        r.of[k].row = row[k];
        r.of[k].lse = max + log(sum);
        r.of[k].logp = element(type, b->source, first + y) - r.of[k].lse;
        /* p log p = e/sum (x - log sum); over all but the label */
        r.of[k].rest = (dot / sum - log(sum) * (1 - exp(r.of[k].logp)))
                       / (1 - exp(r.of[k].logp));
    }
    return r;
}

/* ---- What a row's value and dlogp should be ------------------------------ */

static double loss_scale(const bench_case *c, const batch *b)
{
    return b->type->grad == BNFLOSS_F16 && c->stage == FUSED
               ? 16 * (double)b->N : 1;
}

static double expected_bnf(const batch *b, double logp, double rest,
                           int64_t i, double *dlogp)
{
    const double p = exp(logp), q = exp((double)b->ref[i]);
    const double odds = p / (1 - p) * (1 - q) / q, f = fmin(p / q, 1);

    *dlogp = (i % 2 ? 1 : -1) * fmin(odds, 1) / (double)b->N;
    return -(f * logp + (1 - f) * rest);
}

static double expected_dpo(const batch *b, const reference *r, int k,
                           double *dlogp)
{
    const double beta = (double)0.1f;
    const int chosen = k / 2 * 2;
    double margin[2];

    for (int j = 0; j < 2; j++)
        margin[j] = r->of[chosen + j].logp
                    - (double)b->ref[r->of[chosen + j].row];
    *dlogp = (k % 2 ? 1 : -1) * beta
             / (1 + exp(beta * (margin[0] - margin[1]))) / (double)(b->N / 2);
    return margin[k % 2];
}

static double expected(const bench_case *c, const batch *b,
                       const reference *r, int k, double *dlogp)
{
    double value = -r->of[k].logp;

    *dlogp = -1 / (double)b->N;
    if (c->loss == BNF || c->loss == TEXTBOOK_BNF)
        value = expected_bnf(b, r->of[k].logp, r->of[k].rest, r->of[k].row,
                             dlogp);
    if (is_dpo(c))
        value = expected_dpo(b, r, k, dlogp);
    *dlogp *= loss_scale(c, b);
    return value;
}

/* ---- What they are ------------------------------------------------------- */

/* Over a row's gradient, and after half an ulp of a 16-bit type is allowed
 * for; a large number if something is not a number. */
static double gradient_error(const bench_case *c, const batch *b, int64_t i,
                             double lse, double dlogp)
{
    const uint32_t type = b->type->grad;
    const void *grad = c->place == IN_PLACE ? b->logits : b->grad;
    const double scale = c->loss == DPO_DEFERRED ? (double)b->scale[i] : 1;
    const double u = type == BNFLOSS_F32 ? 0
                     : type == BNFLOSS_BF16 ? 0x1p-8 : 0x1p-11;
    double worst = 0;

    for (int64_t t = 0; t < b->V; t++) {
        const double z = element(b->type->logits, b->source, i * b->V + t);
        const double g = dlogp * ((t == b->label[i]) - exp(z - lse));
        double e = fabs(scale * element(type, grad, i * b->V + t) - g);

        e -= fabs(g) * u + (type == BNFLOSS_F16 ? 0x1p-25 : 0);
        e /= fabs(dlogp) * 0x1p-24;
        worst = e <= worst ? worst : e == e ? e : INFINITY;
    }
    return worst;
}

static double relative(double x, double wanted)
{
    const double e = fabs(x - wanted) / (0x1p-24 * (1 + fabs(wanted)));

    return e == e ? e : INFINITY;
}

/* The header's promise for a value is (10 + 2 (max - min logit)) u. */
static double value_bound(const bench_case *c, const batch *b)
{
    return is_textbook(c) ? bound_of(c, b) : 10 + 2 * 18;
}

static int check_forward(const bench_case *c, const batch *b,
                         const reference *r, int k, double *error)
{
    const bnfloss_row *x = b->state + r->of[k].row;
    const double d = x->label - x->leader;
    float rest;
    bnfloss_outputs out = { .struct_size = sizeof out };

    *error = relative(d - log(1 + x->sum + exp(d)), r->of[k].logp);
    if (c->loss != BNF)
        return 1;
    out.rest = &rest;
    return bnfloss_row_outputs(1, x, &out, NULL) == BNFLOSS_OK
           && relative((double)rest, r->of[k].rest) <= value_bound(c, b);
}

int check_case(const bench_case *c, const batch *b, const reference *r,
               double *error)
{
    const double bound = bound_of(c, b);
    int right = 1;

    *error = 0;
    for (int k = 0; k < r->n; k++) {
        const int64_t i = r->of[k].row;
        double dlogp, e;
        const double value = expected(c, b, r, k, &dlogp);

        if (c->stage == FORWARD) {
            right &= check_forward(c, b, r, k, &e);
        } else {
            if (c->stage == BACKWARD)
                dlogp = -1 / (double)b->N;
            e = gradient_error(c, b, i, r->of[k].lse, dlogp);
        }
        if (c->stage == FUSED)
            right &= relative((double)b->value[i], value) <= value_bound(c, b)
                     && fabs((double)b->dlogp[i] - dlogp)
                            <= bound * 0x1p-24 * fabs(dlogp);
        *error = fmax(*error, e);
    }
    return right && *error <= bound;
}
