/* Fuzz target: bnfloss_loss() from log-probabilities, every loss and option.
 *
 * SPDX-License-Identifier: MIT
 *
 * What is checked needs no second implementation: the same bits again; two
 * specs of weights u and v are one of u + v; powers of two come through
 * exactly; pairs as neighbours are pairs as halves; a batch cut in two adds
 * up; and the gradient is that of the loss (a difference quotient, where the
 * loss is smooth and freezes nothing). A call with something wrong writes
 * nothing. */
#include "call.h"

static bnfloss_status loss(const call *c)
{
    return bnfloss_loss(c->spec, &c->inputs, c->N, NULL, c->logp, c->rest,
                        c->outputs.dlogp, NULL, c->work->now, c->work_bytes,
                        c->result);
}

static void make_logps(bytes *b, call *c)
{
    c->logp = make_floats(c, c->N, -5, -0.0625f);
    for (int64_t i = 0; i < c->N && !c->tame; i++) {
        switch (take(b) % 12) {
        case 1: c->logp[i] = float_from(0xFF800000); break;     /* p = 0 */
        case 2: c->logp[i] = 0; break;
        case 3: c->logp[i] = 0x1p-7f; break;                    /* rounded */
        case 4: c->logp[i] = float_from(0x7FC00001); break;     /* NaN */
        case 5: c->logp[i] = -0x1p-40f; break;
        case 6: c->logp[i] = -1e30f; break;
        default: break;
        }
    }
    if (chance(b, 2))
        c->rest = make_floats(c, c->N, -4, 0);
    if (any_flag(c, BNFLOSS_WPO))
        c->log_square = make_floats(c, c->N, -4, 0);
    c->inputs.log_square = c->log_square;
}

static void make_call(bytes *b, call *c)
{
    call_begin(b, c);
    c->N = below(b, MAX_N + 1);
    for (int i = 0; i < c->specs; i++)
        c->spec[i].flags &= ~(uint32_t)BNFLOSS_DEFER_SCALE;
    make_inputs(b, c);
    make_logps(b, c);
    make_outputs(b, c, 0);
    make_work(c, NULL);
    regions_begin();
}

/* ---- Calls like it ------------------------------------------------------ */

/* The loss of c as it stands, and dlogp (MAX_N); the regions are kept. */
static double again(const call *c, float *dlogp)
{
    static unsigned char work[1 << 15];
    bnfloss_result r;
    bnfloss_status status;

    memset(&r, 0, sizeof r);
    r.struct_size = sizeof r;
    status = bnfloss_loss(c->spec, &c->inputs, c->N, NULL, c->logp, c->rest,
                          dlogp, NULL, work, sizeof work, &r);
    MUST(status == BNFLOSS_OK, "a call like a sound one is refused: %s",
         bnfloss_status_string(status));
    fuzz_compared++;
    return r.loss;
}

static int close_to(double a, double b, double size, double tolerance)
{
    return a == b || (a != a && b != b)
           || fabs(a - b) <= tolerance * (fabs(a) + fabs(b) + size);
}

/* About |loss| of each token, sequence or pair, added: what rounding is
 * relative to. Where weights of both signs cancel, the loss itself can be any
 * fraction of it; a sequence's own is then taken for 1. */
static double magnitude(const call *c, const float *dlogp)
{
    double sum = fabs(c->result->loss), weights = 0, divisor = 1;
    int above = 0, below = 0;

    for (int64_t i = 0; i < c->N; i++) {
        const double x = fabs((double)dlogp[i] * (double)c->logp[i]);

        sum += x - x == 0 ? x : 0;
    }
    for (int64_t s = 0; c->seq_weight && s < c->S; s++) {
        weights += fabs((double)c->seq_weight[s]);
        above |= c->seq_weight[s] > 0;
        below |= c->seq_weight[s] < 0;
    }
    if (!above || !below)
        return sum;
    if (c->result->divisor != 0 && fabs(c->result->divisor) < 1)
        divisor = fabs(c->result->divisor);
    for (int k = 0; k < c->specs; k++)
        sum += fabs((double)c->spec[k].weight) * weights / divisor;
    return sum;
}

/* weight 1 is weight 1/4 and weight 3/4 of the same loss. */
static void split_weight(const call *c)
{
    float one[MAX_N], two[MAX_N];
    call d = *c;
    double a, b;

    if (c->specs != 1)
        return;
    d.spec[1] = d.spec[0];
    d.spec[0].weight *= 0.25;
    d.spec[1].weight *= 0.75;
    d.spec[0].also = 1;
    a = again(c, one);
    b = again(&d, two);
    if (a - a != 0)
        return;
    MUST(close_to(a, b, magnitude(c, one), 1e-13), "loss %.17g, in two %.17g "
         "(kind %d)", a, b, (int)c->spec[0].kind);
    for (int64_t i = 0; i < c->N; i++)
        MUST(close_to((double)one[i], (double)two[i], 1e-37, 1e-6),
             "row %d: dlogp %.9g, in two %.9g (kind %d)", (int)i,
             (double)one[i], (double)two[i], (int)c->spec[0].kind);
}

/* loss_scale 2^k moves exponents and leaves the loss alone. */
static void power_of_two(const call *c)
{
    float one[MAX_N], two[MAX_N];
    call d = *c;
    double a, b;

    for (int i = 0; i < c->specs; i++) {
        d.spec[i].loss_scale *= 4;
        if (d.spec[i].loss_scale - d.spec[i].loss_scale != 0)
            return;
    }
    if (!spec_is_sound(d.spec))
        return;
    a = again(c, one);
    b = again(&d, two);
    MUST(a == b || (a != a && b != b), "loss_scale moves the loss");
    for (int64_t i = 0; i < c->N; i++) {
        const double x = (double)one[i];

        if (fabs(x) > 0x1p-120 && fabs(x) < 0x1p120)
            MUST((double)two[i] == 4 * x, "row %d: dlogp %.9g, times 4 %.9g",
                 (int)i, x, (double)two[i]);
    }
}

/* Pairs as neighbours, sorted into halves: same dlogp for the same rows. */
static void as_halves(const call *c)
{
    int64_t start[MAX_S + 1], from[MAX_N], n = 0;
    float logp[MAX_N], rest[MAX_N], ref[MAX_N], weight[MAX_N], square[MAX_N];
    float distance[MAX_S], seq_weight[MAX_S], one[MAX_N], two[MAX_N];
    uint8_t mask[MAX_N];
    call d = *c;
    double a, b;

    if (c->inputs.pairing != BNFLOSS_PAIRS_ADJACENT)
        return;
    for (int64_t t = 0; t < c->S; t++) {        /* sequence t, was s */
        const int64_t s = t < c->P ? 2 * t : 2 * (t - c->P) + 1;

        start[t] = n;
        distance[t] = c->distance ? c->distance[s] : 0;
        seq_weight[t] = c->seq_weight ? c->seq_weight[s] : 1;
        for (int64_t i = c->seq_start[s]; i < c->seq_start[s + 1]; i++) {
            logp[n] = c->logp[i];
            rest[n] = c->rest ? c->rest[i] : 0;
            ref[n] = c->ref[i];
            weight[n] = c->row_weight ? c->row_weight[i] : 1;
            square[n] = c->log_square ? c->log_square[i] : 0;
            mask[n] = c->row_mask ? c->row_mask[i] : 0;
            from[n++] = i;
        }
    }
    start[c->S] = n;
    d.inputs.pairing = BNFLOSS_PAIRS_HALVES;
    d.inputs.seq_start = start;
    d.inputs.side = NULL;
    d.logp = logp;
    d.rest = c->rest ? rest : NULL;
    d.inputs.ref_logp = ref;
    d.inputs.row_weight = c->row_weight ? weight : NULL;
    d.inputs.log_square = c->log_square ? square : NULL;
    d.inputs.row_mask = c->row_mask ? mask : NULL;
    d.inputs.distance = c->distance ? distance : NULL;
    d.inputs.seq_weight = c->seq_weight ? seq_weight : NULL;
    a = again(c, one);
    b = again(&d, two);
    MUST(close_to(a, b, magnitude(c, one), 1e-13) || a - a != 0,
         "loss %.17g, as halves %.17g (kind %d)", a, b,
         (int)c->spec[0].kind);
    for (int64_t i = 0; i < n; i++)
        MUST(close_to((double)one[from[i]], (double)two[i], 1e-37, 1e-6),
             "row %d: dlogp %.9g, as halves %.9g (kind %d)", (int)i,
             (double)one[from[i]], (double)two[i], (int)c->spec[0].kind);
}

/* ---- Gradient accumulation ---------------------------------------------- */

/* Whether a batch is the sum of its parts, given the divisor. */
static int adds_up(const call *c)
{
    const bnfloss_spec *s = c->spec;

    return c->specs == 1 && !is_sorted(s->kind) && s->kind != BNFLOSS_BCO
           && s->sft_norm != BNFLOSS_NORM_BATCH
           && s->token_norm != BNFLOSS_NORM_SHORTEST;
}

/* The sequences [from, to) of c, which is not paired or as neighbours. */
static call part_of(const call *c, int64_t from, int64_t to, int64_t *start)
{
    const int64_t row = c->seq_start[from], pair = from / 2;
    bnfloss_inputs *in;
    call d = *c;

    in = &d.inputs;
    d.N = c->seq_start[to] - row;
    d.S = in->sequences = to - from;
    for (int64_t s = from; s <= to; s++)
        start[s - from] = c->seq_start[s] - row;
    in->seq_start = start;
    in->side = c->inputs.side ? c->inputs.side + from : NULL;
    in->ref_logp = c->ref + row;
    in->row_weight = c->row_weight ? c->row_weight + row : NULL;
    in->log_square = c->log_square ? c->log_square + row : NULL;
    in->row_mask = c->row_mask ? c->row_mask + row : NULL;
    in->seq_weight = c->seq_weight ? c->seq_weight + from : NULL;
    in->distance = c->distance ? c->distance + from : NULL;
    in->pair_weight = c->pair_weight ? c->pair_weight + pair : NULL;
    in->pair_scale = c->pair_scale ? c->pair_scale + pair : NULL;
    in->pair_margin = c->pair_margin ? c->pair_margin + pair : NULL;
    in->soft_label = c->soft_label ? c->soft_label + pair : NULL;
    d.logp = c->logp + row;
    d.rest = c->rest ? c->rest + row : NULL;
    return d;
}

/* Two micro-batches with the whole batch's divisor are the batch. */
static void micro_batches(const call *c)
{
    int64_t start[MAX_S + 1];
    float whole[MAX_N], part[MAX_N];
    const int64_t cut = c->S / 2 & ~INT64_C(1);
    call d = *c;
    double a, sum = 0;

    if (!adds_up(c) || c->inputs.pairing == BNFLOSS_PAIRS_HALVES || cut == 0)
        return;
    d.spec[0].divisor = BNFLOSS_DIV_GIVEN;
    d.spec[0].divisor_value = 3;
    if (!spec_is_sound(d.spec))         /* too large a scale for that */
        return;
    a = again(&d, whole);
    for (int half = 0; half < 2; half++) {
        const int64_t from = half ? cut : 0, to = half ? c->S : cut;
        const call p = part_of(&d, from, to, start);

        sum += again(&p, part);
        for (int64_t i = 0; i < p.N; i++)
            MUST(memcmp(whole + c->seq_start[from] + i, part + i, 4) == 0,
                 "row %d: dlogp %.9g in the batch, %.9g in its part (kind "
                 "%d)", (int)i, (double)whole[c->seq_start[from] + i],
                 (double)part[i], (int)c->spec[0].kind);
    }
    MUST(close_to(a, sum, magnitude(c, whole), 1e-13) || a - a != 0,
         "loss %.17g, of parts %.17g (kind %d)", a, sum,
         (int)c->spec[0].kind);
}

/* ---- Gradient against difference ---------------------------------------- */

/* Losses that are smooth in every logp and freeze nothing. */
static int is_smooth(const call *c)
{
    static const uint8_t kinked_or_frozen[] = {
        BNFLOSS_BNF, BNFLOSS_HINGE, BNFLOSS_SLIC, BNFLOSS_DPOP,
        BNFLOSS_ADA_DPO, BNFLOSS_BMC, BNFLOSS_AOT, BNFLOSS_AOT_UNPAIRED,
        BNFLOSS_BCO
    };

    if (c->specs != 1 || c->spec[0].flags & (BNFLOSS_DFT | BNFLOSS_WPO))
        return 0;
    for (size_t i = 0; i < sizeof kinked_or_frozen; i++)
        if (c->spec[0].kind == kinked_or_frozen[i])
            return 0;
    return 1;
}

/* Central differences over logps that are multiples of 5/64, moved by 2^-9,
 * which is exact. Four of them (Richardson) leave an error of h^4. */
static void difference(const call *c, int64_t i)
{
    const float h = 0x1p-9f, x = c->logp[i];
    float dlogp[MAX_N], unused[MAX_N];
    double f[4], d, fine, want, error;

    for (int k = 0; k < 4; k++) {
        c->logp[i] = x + (float)(k - 2 + (k > 1)) * h;
        f[k] = again(c, unused);
    }
    c->logp[i] = x;
    (void)again(c, dlogp);
    want = (double)dlogp[i] / c->spec[0].loss_scale;
    fine = (f[2] - f[1]) / (2 * (double)h);
    d = (8 * (f[2] - f[1]) - (f[3] - f[0])) / (12 * (double)h);
    error = fabs(d - fine);             /* of the coarser one: generous */
    if (!(fabs(d) < 1e8) || error > 1e-3 * fabs(d))
        return;                         /* too steep for this step */
    MUST(fabs(d - want) <= error * 0.05 + 1e-6 * fabs(want)
         + 1e-9 * (1 + fabs(f[0])), "row %d: dlogp %.9g, difference %.9g (+- "
         "%.2g, kind %d)", (int)i, want, d, error, (int)c->spec[0].kind);
}

static void differences(const call *c)
{
    if (!c->tame || !is_smooth(c))
        return;
    for (int64_t i = 0; i < c->N; i++)
        if (c->logp[i] > -4.5f && c->logp[i] < -0.25f)
            difference(c, i);
}

/* ---- One thing wrong ---------------------------------------------------- */

static int wrong(bytes *b, call *c)
{
    if (c->N == 0)
        return -1;
    switch (take(b) % 12) {
    case 0: c->result = NULL; return BNFLOSS_E_NULL;
    case 1: c->logp = NULL; return BNFLOSS_E_NULL;
    case 2: c->outputs.dlogp = c->logp; return BNFLOSS_E_OVERLAP;
    case 3: c->work_bytes--; return BNFLOSS_E_WORK;
    case 4: c->spec[0].flags |= BNFLOSS_DEFER_SCALE; return BNFLOSS_E_OPTION;
    case 5: c->seq_start[c->S] = c->N - 1; return BNFLOSS_E_SEQ;
    case 6: c->spec[0].weight = double_from(UINT64_C(0x7FF8) << 48);
            return BNFLOSS_E_VALUE;
    case 7: c->outputs.dlogp = (float *)((char *)c->outputs.dlogp + 2);
            return BNFLOSS_E_ALIGN;
    case 8: if (!c->soft_label || c->P == 0)
                return -1;
            c->soft_label[below(b, c->P)] = chance(b, 2) ? 0 : 1;
            return BNFLOSS_E_INPUT;
    case 9: if (!c->distance)
                return -1;
            c->distance[below(b, c->S)] = float_from(0xFF800000);
            return BNFLOSS_E_INPUT;
    case 10: if (!c->pair_scale || c->P == 0)
                return -1;
            c->pair_scale[below(b, c->P)] = 0;
            return BNFLOSS_E_INPUT;
    default: c->spec[0].struct_size = 0; return BNFLOSS_E_STRUCT;
    }
}

static void wrong_call(bytes *b, call *c)
{
    bnfloss_status status;
    int want;

    regions_reset();
    want = wrong(b, c);
    if (want < 0)
        return;
    regions_begin();
    status = loss(c);
    fuzz_refused++;
    MUST((int)status == want, "status %d (%s), not %d (%s)", (int)status,
         bnfloss_status_string(status), want,
         bnfloss_status_string((bnfloss_status)want));
    call_untouched(c, status);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bytes b = { data, data + size };
    bnfloss_status status;
    float *logp;
    call c;

    make_call(&b, &c);
    status = bnfloss_loss(c.spec, &c.inputs, c.N, NULL, c.logp, c.rest, NULL,
                          &c.outputs, c.work->now, c.work_bytes, c.result);
    MUST(status == BNFLOSS_OK, "a sound call of kind %d is refused: %s",
         (int)c.spec[0].kind, bnfloss_status_string(status));
    fuzz_valid++;
    call_canonical(&c);
    for (int i = 0; i < region_count; i++)
        if (regions + i != c.work)
            hash_region(regions + i);
    split_weight(&c);
    power_of_two(&c);
    as_halves(&c);
    micro_batches(&c);
    differences(&c);
    logp = c.logp;
    if (chance(&b, 2))
        wrong_call(&b, &c);
    c.logp = logp;
    call_free(&c);
    return 0;
}
