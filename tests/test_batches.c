/* Whole batches and the library's doubles against quad.
 *
 * SPDX-License-Identifier: MIT
 *
 * A batch is modelled here from the header's words: which tokens count, what
 * they weigh, what is frozen (the weights of BMC and WPO, KTO's kl, BCO's
 * shift, BNF's g, DFT's p), the likelihood term, the divisors, the sorting,
 * several losses in a call. Only what a pair or a response costs is the
 * shipped code, over quad. The model is differenced by every logp and
 * compared with what bnfloss_loss() gives, within a float's rounding.
 *
 * Then single pairs and responses, ordinary and extreme: value and slopes in
 * double, against quad. The library hands out floats, so the true slope is
 * taken away within the call, by an SFT of that weight: what is left is the
 * error of the double, in a float.
 *
 * "--all": fifty times as much; "--quick": a tenth. */
#include "quad_losses.h"

#if QUAD

enum { PAIRS = 4, SEQUENCES = 2 * PAIRS, ROWS = 5 * SEQUENCES, SPECS = 3 };

typedef struct batch {
    bnfloss_spec spec[SPECS];
    int specs, N, S, P;
    bnfloss_inputs in;
    int64_t start[SEQUENCES + 1];
    float logp[ROWS], rest[ROWS], ref[ROWS], weight[ROWS], square[ROWS];
    float seq_weight[SEQUENCES], distance[SEQUENCES];
    float pair_weight[PAIRS], scale[PAIRS], margin[PAIRS], soft[PAIRS];
    uint8_t mask[ROWS];
    double mismatched[3];
} batch;

static const bn_loss *loss_of(const bnfloss_spec *spec)
{
    return bn_loss_of(spec->kind);
}

/* ---- A random batch ------------------------------------------------------ */

/* Numbers as they are used, so that a whole batch stays ordinary. */
static void tame(bnfloss_spec *p)
{
    if (p->beta > 4 || (p->beta > 0 && p->beta < 0.02f))
        p->beta = 0.25f;
    if (p->tau > 0 && (p->tau < 0.04f || p->tau > 4))
        p->tau = 0.05f;
    if (p->tau_max > 0)
        p->tau_max = p->tau + 2;
    if (p->alpha > 2 || p->alpha < -2)
        p->alpha = 0.75f;
    if (p->gamma > 8)
        p->gamma = 1;
    if (p->penalty > 8)
        p->penalty = 5;
    if (p->cap > 50)
        p->cap = 2;
    if (p->f_alpha > 2 || p->f_alpha < -1)
        p->f_alpha = 0.25f;
    if (p->desirable_weight > 9)
        p->desirable_weight = 3;
    if (p->undesirable_weight > 9)
        p->undesirable_weight = 2;
    if (p->flip_prob > 0.49f)
        p->flip_prob = 0.49f;
}

/* Everything about a loss that the batch decides. */
static void batch_spec(bnfloss_spec *p, uint32_t kind, rng *r)
{
    const bn_loss *loss = bn_loss_of(kind);
    float unused;

    spec_draw(p, kind, r);
    tame(p);
    p->weight = rng_normal(r);
    p->loss_scale = rng_next(r) & 1 ? 1024 : 1;
    p->divisor = 1 + (uint32_t)rng_below(r, 4);
    p->divisor_value = 0.5 + rng_uniform(r);
    if (!bn_couples(loss))
        p->token_norm = 1 + (uint32_t)rng_below(r, 3);
    if (bn_has_pairs(loss)) {
        static const uint32_t norms[] = { BNFLOSS_NORM_NONE,
                                          BNFLOSS_NORM_LENGTH,
                                          BNFLOSS_NORM_BATCH };

        p->sft_norm = norms[rng_below(r, 3)];
        p->sft_weight = rng_next(r) & 1 ? (float)rng_uniform(r) : 0;
        if (loss->traits & BN_REFERENCE && rng_below(r, 4) == 0)
            p->flags |= BNFLOSS_REFERENCE_FREE;
    }
    if (bn_accepts(loss, BN_LD_ALPHA, &unused))
        p->ld_alpha = rng_next(r) & 1 ? (float)rng_uniform(r) : 1;
    if (loss->shape == BN_BY_PAIR && rng_below(r, 3) == 0)
        p->flags |= BNFLOSS_WPO;
    if (loss->traits & BN_MASK && rng_next(r) & 1)
        p->flags |= BNFLOSS_POLICY_WEIGHTS;
    if (kind == BNFLOSS_SFT)
        p->flags |= (uint32_t)rng_below(r, 4);  /* DFT, CHOSEN_ONLY */
}

static int any(const batch *b, unsigned traits)
{
    int found = 0;

    for (int k = 0; k < b->specs; k++)
        found |= (loss_of(b->spec + k)->traits & traits) != 0;
    return found;
}

static void batch_rows(batch *b, rng *r)
{
    for (int s = 0; s <= b->S; s++)
        b->start[s] = s == 0 ? 0 : b->start[s - 1] + rng_below(r, 6);
    b->N = (int)b->start[b->S];
    for (int i = 0; i < b->N; i++) {
        b->logp[i] = -(float)q_abs(rng_normal(r)) - 0x1p-8f;
        b->ref[i] = b->logp[i] + 0.5f * (float)rng_normal(r);
        b->ref[i] = b->ref[i] < 0 ? b->ref[i] : -0x1p-7f;
        b->rest[i] = -(float)rng_uniform(r) * 3;
        b->weight[i] = rng_below(r, 6) ? (float)rng_normal(r)
                                       : (float)rng_below(r, 2);
        if (any(b, BN_MEAN_REWARD))         /* whose P must stay below 1 */
            b->weight[i] = b->weight[i] < 0 ? -b->weight[i] : b->weight[i];
        b->square[i] = -(float)rng_uniform(r) * 2;
        b->mask[i] = (uint8_t)rng_below(r, 3);
    }
    for (int s = 0; s < b->S; s++) {
        b->seq_weight[s] = rng_below(r, 6) ? (float)rng_normal(r) : 0;
        b->distance[s] = (float)rng_normal(r);
    }
    for (int k = 0; k < b->P; k++) {
        b->pair_weight[k] = rng_below(r, 8) ? (float)rng_normal(r) : 0;
        b->scale[k] = two_to(r, 0.7);
        b->margin[k] = (float)rng_normal(r);
        b->soft[k] = 0.02f + 0.96f * (float)rng_uniform(r);
    }
    for (int i = 0; i < 3; i++)
        b->mismatched[i] = rng_normal(r);
}

static void batch_inputs(batch *b, rng *r)
{
    bnfloss_inputs *in = &b->in;
    int pairs = 0, margins = 0, single = 0, wpo = 0;

    for (int k = 0; k < b->specs; k++) {
        const bn_loss *loss = loss_of(b->spec + k);

        pairs |= loss->shape == BN_BY_PAIR;
        margins |= bn_has_margin(loss);
        single |= !bn_has_pairs(loss);
        wpo |= (b->spec[k].flags & BNFLOSS_WPO) != 0;
    }
    EMPTY(*in);
    in->pairing = rng_next(r) & 1 ? BNFLOSS_PAIRS_ADJACENT
                                  : BNFLOSS_PAIRS_HALVES;
    in->sequences = b->S;
    in->seq_start = b->start;
    in->ref_logp = b->ref;
    in->row_weight = rng_next(r) & 1 ? b->weight : NULL;
    in->seq_weight = single && rng_next(r) & 1 ? b->seq_weight : NULL;
    in->pair_weight = any(b, BN_CERTAINTY)
                      || (pairs && rng_next(r) & 1)
                          ? b->pair_weight : NULL;
    in->pair_scale = margins && rng_next(r) & 1 ? b->scale : NULL;
    in->pair_margin = margins && rng_next(r) & 1 ? b->margin : NULL;
    in->soft_label = any(b, BN_SOFT) ? b->soft : NULL;
    in->distance = any(b, BN_DISTANCE) ? b->distance : NULL;
    in->row_mask = any(b, BN_MASK) ? b->mask : NULL;
    in->log_square = wpo ? b->square : NULL;
    if (any(b, BN_KL) && rng_next(r) & 1) {
        in->mismatched = b->mismatched;
        in->mismatches = 3;
    } else if (any(b, BN_KL)) {
        in->kl = rng_uniform(r);
    }
    if (any(b, BN_BASELINE)) {
        in->shift_mean = rng_normal(r);
        in->shift_count = (double)rng_below(r, 5);
    }
}

/* kind comes first; others beside it now and then. */
static void batch_draw(batch *b, uint32_t kind, rng *r)
{
    memset(b, 0, sizeof *b);
    b->specs = rng_below(r, 3) ? 1 : 1 + (int)rng_below(r, SPECS);
    b->P = 1 + (int)rng_below(r, PAIRS);
    b->S = 2 * b->P;
    for (int k = 0; k < b->specs; k++)
        batch_spec(b->spec + k, k == 0 ? kind
                   : 1 + (uint32_t)rng_below(r, BN_KINDS), r);
    b->spec[0].also = (uint32_t)b->specs - 1;
    batch_rows(b, r);
    batch_inputs(b, r);
}

/* ---- The model ----------------------------------------------------------- */

static int chosen_of(const batch *b, int k)
{
    return b->in.pairing == BNFLOSS_PAIRS_HALVES ? k : 2 * k;
}

static int rejected_of(const batch *b, int k)
{
    return b->in.pairing == BNFLOSS_PAIRS_HALVES ? b->P + k : 2 * k + 1;
}

/* One loss of a batch, with what it freezes. */
typedef struct model {
    const batch *b;
    const bnfloss_spec *spec;
    const bn_loss *loss;
    bn_params k;
    int valid[ROWS], n[SEQUENCES], side[SEQUENCES], counts[PAIRS];
    quad f[ROWS], fr[ROWS];             /* factors of l and of r */
    quad slope[ROWS], value[ROWS];      /* of losses by token, at the base */
    quad wpo[PAIRS];
    quad distance[SEQUENCES];
    quad divisor, norm[SEQUENCES], share[PAIRS];    /* of the likelihood */
    int sequences, pairs, tokens, chosen_tokens;
} model;

static quad ref_of(const model *m, int i)
{
    return m->loss->traits & BN_REFERENCE
           && !(m->spec->flags & BNFLOSS_REFERENCE_FREE)
               ? (quad)m->b->ref[i] : 0;
}

static quad weight_of(const model *m, int i)
{
    return m->b->in.row_weight ? (quad)m->b->weight[i] : 1;
}

static quad given(const float *x, int i, quad missing)
{
    return x ? (quad)x[i] : missing;
}

/* Who counts. */
static void model_counts(model *m)
{
    const batch *b = m->b;

    for (int k = 0; k < b->P; k++) {
        m->side[chosen_of(b, k)] = 1;
        m->side[rejected_of(b, k)] = -1;
    }
    for (int s = 0; s < b->S; s++) {
        for (int i = (int)b->start[s]; i < b->start[s + 1]; i++) {
            m->valid[i] = weight_of(m, i) != 0
                          && !(m->spec->flags & BNFLOSS_CHOSEN_ONLY
                               && m->side[s] < 0);
            m->n[s] += m->valid[i];
        }
        m->tokens += m->n[s];
        m->sequences += m->n[s] > 0;
    }
    for (int k = 0; k < b->P; k++) {
        const int w = m->n[chosen_of(b, k)], x = m->n[rejected_of(b, k)];

        m->counts[k] = m->loss->traits & BN_LENGTHS ? w && x : w || x;
        m->pairs += m->counts[k];
        m->chosen_tokens += m->counts[k] ? w : 0;
    }
    m->divisor = m->spec->divisor == BNFLOSS_DIV_SEQUENCES ? m->sequences
                 : m->spec->divisor == BNFLOSS_DIV_PAIRS ? m->pairs
                 : m->spec->divisor == BNFLOSS_DIV_TOKENS ? m->tokens
                 : (quad)m->spec->divisor_value;
}

static void model_norms(model *m)
{
    const batch *b = m->b;
    int shortest = 0;

    for (int s = 0; s < b->S; s++)
        if (m->n[s] > 0 && (shortest == 0 || m->n[s] < shortest))
            shortest = m->n[s];
    for (int s = 0; s < b->S; s++) {
        m->norm[s] = given(b->in.seq_weight, s, 1);
        if (m->spec->kind == BNFLOSS_BNF)
            m->norm[s] *= m->side[s];
        if (m->n[s] > 0 && m->spec->token_norm == BNFLOSS_NORM_LENGTH)
            m->norm[s] /= m->n[s];
        if (m->n[s] > 0 && m->spec->token_norm == BNFLOSS_NORM_SHORTEST)
            m->norm[s] /= shortest;
    }
    for (int k = 0; k < b->P; k++) {
        const int n = m->n[chosen_of(b, k)];

        m->share[k] = m->spec->sft_weight;
        if (m->loss->traits & BN_SFT_BETA)
            m->share[k] *= m->k.beta;
        if (m->spec->sft_norm == BNFLOSS_NORM_LENGTH && n > 0)
            m->share[k] /= n;
        if (m->spec->sft_norm == BNFLOSS_NORM_BATCH && m->chosen_tokens > 0)
            m->share[k] *= (quad)m->pairs / m->chosen_tokens;
    }
}

static quad bmc_factor(const model *m, int i, quad logp)
{
    const quad p = expq(logp);

    if (!m->b->mask[i])
        return 1;
    return 1 + (1 / p < m->k.cap ? 1 / p : m->k.cap);
}

/* The factors of tokens: LD-DPO's by place, BMC's by probability. */
static void model_factors(model *m)
{
    const batch *b = m->b;

    for (int k = 0; k < 2 * b->P; k++) {
        const int s = k % 2 ? rejected_of(b, k / 2) : chosen_of(b, k / 2);
        const int o = k % 2 ? chosen_of(b, k / 2) : rejected_of(b, k / 2);
        int place = 0;

        for (int i = (int)b->start[s]; i < b->start[s + 1]; i++) {
            m->f[i] = m->fr[i] = 1;
            if (!m->valid[i])
                continue;
            place++;
            if (bn_has_pairs(m->loss) && place > m->n[o] && m->n[o] < m->n[s])
                m->f[i] = m->fr[i] = m->spec->ld_alpha;
            if (m->loss->traits & BN_MASK) {
                m->f[i] = bmc_factor(m, i, b->logp[i]);
                m->fr[i] = m->spec->flags & BNFLOSS_POLICY_WEIGHTS
                               ? m->f[i] : bmc_factor(m, i, ref_of(m, i));
            }
        }
    }
}

static quad wpo_of(const model *m, int s)
{
    const batch *b = m->b;
    quad sum = 0;

    for (int i = (int)b->start[s]; i < b->start[s + 1]; i++)
        if (m->valid[i])
            sum += (quad)b->logp[i] - b->square[i];
    return m->n[s] > 0 ? expq(sum / m->n[s]) : 1;
}

/* A response as its loss sees it, from all rows' logp. */
static bn_response response_of(const model *m, int s, const quad *l)
{
    bn_response y = { 0, 0, 0, 0, 0 };

    for (int i = (int)m->b->start[s]; i < m->b->start[s + 1]; i++) {
        if (!m->valid[i])
            continue;
        y.l += weight_of(m, i) * m->f[i] * l[i];
        y.r += weight_of(m, i) * m->fr[i] * ref_of(m, i);
    }
    y.ratio = y.l - y.r;
    y.n = m->n[s];
    y.distance = m->distance[s];
    return y;
}

/* What the call freezes: kl, shift. */
static void model_call(model *m, const quad *l)
{
    const bnfloss_inputs *in = &m->b->in;
    quad sum = (quad)in->shift_mean * (quad)in->shift_count;
    double count = in->shift_count;

    m->k.kl = in->kl;
    if (in->mismatched)
        m->k.kl = q_max(0, ((quad)in->mismatched[0] + in->mismatched[1]
                            + in->mismatched[2])
                               / 3);
    for (int s = 0; s < m->b->S; s++) {
        if (m->n[s] == 0 || (in->seq_weight && in->seq_weight[s] == 0))
            continue;
        sum += m->k.beta * response_of(m, s, l).ratio;
        count++;
    }
    m->k.baseline = count > 0 ? sum / (quad)count : 0;
}

static void model_tokens(model *m)
{
    const batch *b = m->b;

    for (int i = 0; i < b->N; i++) {
        const bn_token t = bn_token_from_logp(b->logp[i], b->rest[i]);

        bn_token_input input;

        if (!m->loss->token_loss)
            continue;
        memset(&input, 0, sizeof input);
        input.ref = b->ref[i];
        m->value[i] = m->loss->token_loss(&m->k, &t, &input, m->slope + i);
    }
}

static void model_open(model *m, const batch *b, const bnfloss_spec *spec)
{
    quad l[ROWS];

    memset(m, 0, sizeof *m);
    m->b = b;
    m->spec = spec;
    m->loss = loss_of(spec);
    m->k = numbers_of(spec);
    for (int i = 0; i < b->N; i++)
        l[i] = b->logp[i];
    for (int s = 0; s < b->S; s++)
        m->distance[s] = given(b->in.distance, s, 0);
    model_counts(m);
    model_norms(m);
    model_factors(m);
    model_tokens(m);
    model_call(m, l);
    for (int k = 0; k < b->P; k++)
        m->wpo[k] = spec->flags & BNFLOSS_WPO
                        ? wpo_of(m, chosen_of(b, k))
                              * wpo_of(m, rejected_of(b, k))
                        : 1;
}

/* ---- The model's loss, before the divisor -------------------------------- */

static quad pair_loss(const model *m, int k, const quad *l)
{
    const bnfloss_inputs *in = &m->b->in;
    const bn_response w = response_of(m, chosen_of(m->b, k), l);
    const bn_response x = response_of(m, rejected_of(m->b, k), l);
    bn_params n = m->k;

    n.scale = given(in->pair_scale, k, 1);
    n.margin = given(in->pair_margin, k, 0);
    n.logit = in->soft_label ? logq((quad)in->soft_label[k]
                                    / (1 - (quad)in->soft_label[k]))
                             : 0;
    return given(in->pair_weight, k, 1) * m->wpo[k]
           * ask(m->loss, &n, &w, &x, 0).value;
}

/* Sorts n numbers, by insertion. */
static void sort(quad *x, int n)
{
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && x[j] < x[j - 1]; j--) {
            const quad swap = x[j];

            x[j] = x[j - 1];
            x[j - 1] = swap;
        }
}

/* AOT, anew wherever the logp are. */
static quad sorted_loss(const model *m, const quad *l)
{
    quad one[PAIRS], two[PAIRS], sum = 0, du;
    int n = 0;

    for (int k = 0; k < m->b->P; k++) {
        const bn_response w = response_of(m, chosen_of(m->b, k), l);
        const bn_response x = response_of(m, rejected_of(m->b, k), l);

        if (!m->counts[k])
            continue;
        one[n] = m->spec->kind == BNFLOSS_AOT ? w.l - x.l : w.ratio;
        two[n++] = m->spec->kind == BNFLOSS_AOT ? w.r - x.r : x.ratio;
    }
    sort(one, n);
    sort(two, n);
    for (int i = 0; i < n; i++)
        sum += m->loss->margin_loss(&m->k, m->k.beta * (one[i] - two[i]), &du);
    return sum;
}

static quad likelihood(const model *m, int k, const quad *l)
{
    const int s = chosen_of(m->b, k);
    quad sum = 0;

    for (int i = (int)m->b->start[s]; i < m->b->start[s + 1]; i++)
        if (m->valid[i])
            sum -= weight_of(m, i) * l[i];
    return m->share[k] * sum;
}

static quad sequence_loss(const model *m, int s, const quad *l)
{
    const bn_response y = response_of(m, s, l);
    quad sum = 0;

    if (m->n[s] == 0)
        return 0;
    if (m->loss->sequence_loss)
        return m->norm[s] * ask(m->loss, &m->k, &y, &y, m->side[s]).value;
    for (int i = (int)m->b->start[s]; i < m->b->start[s + 1]; i++)
        if (m->valid[i])
            sum += weight_of(m, i)
                   * (m->value[i] + m->slope[i] * (l[i] - m->b->logp[i]));
    return m->norm[s] * sum;
}

static quad model_loss(const model *m, const quad *l)
{
    quad sum = 0;

    if (m->loss->shape == BN_BY_BATCH)
        sum = sorted_loss(m, l);
    for (int k = 0; k < m->b->P; k++) {
        if (!bn_has_pairs(m->loss) || !m->counts[k])
            continue;
        sum += likelihood(m, k, l);
        if (m->loss->shape == BN_BY_PAIR)
            sum += pair_loss(m, k, l);
    }
    for (int s = 0; !bn_has_pairs(m->loss) && s < m->b->S; s++)
        sum += sequence_loss(m, s, l);
    return m->divisor > 0 ? sum / m->divisor : 0;
}

/* ---- A batch against its model ------------------------------------------- */

static long derivatives, unfrozen, unfrozen_wrong;
static double worst;                    /* in units of the bound */

static void within(const char *what, const char *name, double got, quad want,
                   quad bound)
{
    const quad error = q_abs((quad)got - want);

    derivatives++;
    if (want != want) {         /* negative weights: log(1 - P), P > 1 */
        CHECK(got != got, "%s of %s: %g, not NaN", what, name, got);
        return;
    }
    if (error <= bound && (double)(error / bound) > worst)
        worst = (double)(error / bound);
    CHECK(error <= bound, "%s of %s: %.17g, not %.17g", what, name, got,
          (double)want);
}

typedef struct reply {
    bnfloss_result result;
    float dlogp[ROWS], distance[SEQUENCES];
    double spec_loss[SPECS], seq_loss[SEQUENCES];
} reply;

static bnfloss_status call(const batch *b, reply *a)
{
    static unsigned char work[64 * ROWS + 96 * SEQUENCES + 4096];
    bnfloss_outputs out;

    memset(a, 0, sizeof *a);
    EMPTY(out);
    a->result.struct_size = sizeof a->result;
    out.spec_loss = a->spec_loss;
    out.seq_loss = a->seq_loss;
    out.distance_grad = a->distance;
    return bnfloss_loss(b->spec, &b->in, b->N, NULL, b->logp, b->rest,
                        a->dlogp, &out, work, sizeof work, &a->result);
}

/* With h at row i. */
static quad loss_at(const model *m, int i, quad h)
{
    quad l[ROWS];

    for (int j = 0; j < m->b->N; j++)
        l[j] = m->b->logp[j];
    if (i >= 0)
        l[i] += h;
    return model_loss(m, l);
}

/* The negative test: what is frozen moves along, and the gradient is wrong. */
static void negative(const batch *b, const bnfloss_spec *spec, int i,
                     quad slope)
{
    quad at[2], by[2];
    batch c = *b;
    model m;

    for (int s = 0; s < 2; s++) {
        c.logp[i] = b->logp[i] + (s ? 0x1p-18f : -0x1p-18f);
        by[s] = c.logp[i];
        model_open(&m, &c, spec);
        at[s] = loss_at(&m, -1, 0);
    }
    unfrozen++;
    unfrozen_wrong += q_abs((at[1] - at[0]) / (by[1] - by[0]) - slope)
                      > (quad)1e-3 * q_abs(slope);
}

/* FPO's dL/dD, of all losses of the call; that of the chosen is frozen. */
static void distances(const batch *b, model *m, const reply *a)
{
    const quad h = scalbnq(1, -45);

    for (int s = 0; s < b->S; s++) {
        quad want = 0, size = 0;

        for (int k = 0; k < b->specs && m[0].side[s] < 0; k++) {
            const quad was = m[k].distance[s];
            quad by;

            m[k].distance[s] = was + h;
            by = loss_at(m + k, -1, 0);
            m[k].distance[s] = was - h;
            by = (by - loss_at(m + k, -1, 0)) / (2 * h) * b->spec[k].weight
                 * b->spec[k].loss_scale;
            m[k].distance[s] = was;
            want += by;
            size += q_abs(by) + 1;
        }
        within("dL/dD", b->specs > 1 ? "several losses" : m[0].loss->name,
               (double)a->distance[s], want,
               (quad)0x1.01p-24 * q_abs(want) + (quad)1e-12 * size);
    }
}

/* Counts and metrics of the first loss. */
static void counts(const model *m, const bnfloss_result *r)
{
    CHECK(r->where == -1 && r->tokens == m->tokens && r->pairs == m->pairs
          && r->sequences == m->sequences && r->nan_rows == 0
          && r->empty_sequences == m->b->S - m->sequences
          && r->skipped_pairs == m->b->P - m->pairs
          && r->clamped_logps == 0 && r->zero_refs == 0
          && r->divisor == (double)m->divisor, "%s: counts, divisor %g",
          m->loss->name, r->divisor);
}

static quad reward_of(const model *m, int s, const quad *l)
{
    const bn_response y = response_of(m, s, l);

    return m->k.beta * (m->loss->traits & BN_MEAN_REWARD ? y.l / y.n
                                                         : y.ratio);
}

/* Means over one side's sequences: its rewards, logps and mean logps. */
static void side_means(const model *m, int side, const quad *l, quad mean[3])
{
    int count = 0;

    mean[0] = mean[1] = mean[2] = 0;
    for (int s = 0; s < m->b->S; s++) {
        quad sum = 0;

        if (m->n[s] == 0 || m->side[s] != side)
            continue;
        for (int i = (int)m->b->start[s]; i < m->b->start[s + 1]; i++)
            if (m->valid[i])
                sum += weight_of(m, i) * l[i];
        count++;
        mean[0] += reward_of(m, s, l);
        mean[1] += sum;
        mean[2] += sum / m->n[s];
    }
    for (int k = 0; k < 3; k++)
        mean[k] /= count;
}

static void metrics(const model *m, const bnfloss_result *r)
{
    const char *name = m->loss->name;
    quad l[ROWS], w[3], x[3], g = 0, sft = 0;
    int right = 0, full = 0;

    for (int i = 0; i < m->b->N; i++) {
        l[i] = m->b->logp[i];
        g -= m->valid[i] ? m->slope[i] : 0;
        full += m->valid[i] && m->slope[i] == -1;
    }
    side_means(m, 1, l, w);
    side_means(m, -1, l, x);
    for (int k = 0; k < m->b->P; k++) {
        right += m->counts[k] && reward_of(m, chosen_of(m->b, k), l)
                                     > reward_of(m, rejected_of(m->b, k), l);
        sft += m->counts[k] ? likelihood(m, k, l) : 0;
    }
    if (m->spec->kind == BNFLOSS_SFT) {
        w[0] = w[1] = w[2] = x[0] = x[1] = x[2] = (quad)BN_NAN;
        right = 0;
    }
#define METRIC(field, want)                                                   \
    within(#field, name, r->field, want, (quad)1e-12 * (q_abs(want) + 100))
    METRIC(rewards_chosen, w[0]);
    METRIC(rewards_rejected, x[0]);
    METRIC(rewards_margins, w[0] - x[0]);
    METRIC(logps_chosen, w[1]);
    METRIC(logps_rejected, x[1]);
    METRIC(logps_mean_chosen, w[2]);
    METRIC(logps_mean_rejected, x[2]);
    METRIC(rewards_accuracies, m->spec->kind == BNFLOSS_SFT
                               ? (quad)BN_NAN : (quad)right / m->pairs);
    if (m->b->specs > 1)        /* of the first loss that has them */
        return;
    METRIC(bnf_coefficient, m->spec->kind == BNFLOSS_BNF ? g / m->tokens
                                                         : (quad)BN_NAN);
    METRIC(bnf_full_share, m->spec->kind == BNFLOSS_BNF
                           ? (quad)full / m->tokens : (quad)BN_NAN);
    METRIC(kl, m->loss->traits & BN_KL ? m->k.kl : (quad)BN_NAN);
    METRIC(shift, m->loss->traits & BN_BASELINE ? m->k.baseline : (quad)BN_NAN);
    METRIC(sft_loss, m->spec->sft_weight > 0
                     ? sft / m->divisor / m->spec->sft_weight : (quad)BN_NAN);
#undef METRIC
    CHECK(r->token_accuracy != r->token_accuracy && r->entropy != r->entropy
          && r->z_loss != r->z_loss,
          "%s: log-probabilities have no such metrics", name);
}

static void one_batch(uint32_t kind, rng *r)
{
    static model m[SPECS];
    quad total = 0, size = 0;
    const quad h = scalbnq(1, -45);
    const char *name = bn_loss_of(kind)->name;
    bnfloss_status status;
    reply a;
    batch b;

    batch_draw(&b, kind, r);
    status = call(&b, &a);
    if (!CHECK(status == BNFLOSS_OK, "%s: %s", name,
               bnfloss_status_string(status)))
        return;
    for (int k = 0; k < b.specs; k++) {
        quad loss;

        model_open(m + k, &b, b.spec + k);
        loss = m[k].tokens > 0 ? loss_at(m + k, -1, 0) : 0;
        total += b.spec[k].weight * loss;
        size += q_abs(b.spec[k].weight * loss);
        within("the value", name, a.spec_loss[k], loss,
               (quad)1e-12 * (q_abs(loss) + 1));
    }
    within("the loss", name, a.result.loss, total, (quad)1e-12 * (size + 1));
    for (int i = 0; i < b.N; i++) {
        quad want = 0;

        size = 0;
        for (int k = 0; k < b.specs; k++) {
            const quad by = (loss_at(m + k, i, h) - loss_at(m + k, i, -h))
                            / (2 * h);

            want += b.spec[k].weight * (quad)b.spec[k].loss_scale * by;
            size += q_abs(b.spec[k].weight * (quad)b.spec[k].loss_scale)
                    * (1 + q_abs(by));
            if (k == 0 && m[0].f[i] != 1 && m[0].f[i] < 1 + m[0].k.cap
                && m[0].loss->traits & BN_MASK && m[0].valid[i]
                && b.logp[i] < -0.01f && q_abs(by) > (quad)1e-6)
                negative(&b, b.spec, i, by);
        }
        within("dlogp", name, (double)a.dlogp[i], want,
               (quad)0x1.01p-24 * q_abs(want) + (quad)1e-13 * size);
    }
    distances(&b, m, &a);
    counts(m, &a.result);
    metrics(m, &a.result);
}

/* ---- The library's doubles ----------------------------------------------- */

/* A loss at one place. */
typedef struct point {
    const bn_loss *loss;
    bn_params k;
    bn_response w, x;
    int side;
} point;

/* One pair, or one response: all in floats, as the caller gives it. */
typedef struct single {
    bnfloss_spec spec;
    float l[2], r[2], scale, margin, soft, distance[2];
    double kl, shift;
} single;

/* chosen, or rejected, of a batch of one pair; also: what is added to it. */
static double single_call(const single *q, const bnfloss_spec *also, int side,
                          float slope[2])
{
    static const int64_t starts[] = { 0, 1, 2 };
    const bn_loss *loss = loss_of(&q->spec);
    const int pair = bn_has_pairs(loss);
    static unsigned char work[4096];
    const int8_t sides[] = { 1, -1 }, own[] = { (int8_t)side };
    const float one = 1;
    bnfloss_spec specs[2];
    bnfloss_result result;
    bnfloss_outputs out;
    bnfloss_inputs in;
    double spec_loss[2];
    const uint8_t mask[] = { 0, 0 };
    bnfloss_status status;

    EMPTY(in);
    EMPTY(out);
    result.struct_size = sizeof result;
    out.spec_loss = spec_loss;
    in.sequences = pair ? 2 : 1;
    in.pairing = pair ? BNFLOSS_PAIRS_ADJACENT : BNFLOSS_PAIRS_NONE;
    in.seq_start = starts;
    in.side = pair ? sides : own;
    in.ref_logp = q->r;
    if (bn_has_margin(loss)) {
        in.pair_scale = &q->scale;
        in.pair_margin = &q->margin;
    }
    in.pair_weight = loss->traits & BN_CERTAINTY ? &one : NULL;
    in.soft_label = loss->traits & BN_SOFT ? &q->soft : NULL;
    in.distance = loss->traits & BN_DISTANCE ? q->distance : NULL;
    in.row_mask = loss->traits & BN_MASK ? mask : NULL;
    in.kl = loss->traits & BN_KL ? q->kl : 0;
    in.shift_mean = loss->traits & BN_BASELINE ? q->shift : 0;
    in.shift_count = loss->traits & BN_BASELINE ? 1 : 0;
    specs[0] = q->spec;
    if (also) {
        specs[0].also = 1;
        specs[1] = *also;
    }
    status = bnfloss_loss(specs, &in, pair ? 2 : 1, NULL, q->l, NULL, slope,
                          &out, work, sizeof work, &result);
    CHECK(status == BNFLOSS_OK, "%s: %s", loss->name,
          bnfloss_status_string(status));
    return spec_loss[0];
}

/* The error of a slope: it less the true one, which an SFT takes away. */
static double slope_error(const single *q, int side, quad truth)
{
    bnfloss_spec sft;
    float left[2] = { 0, 0 };

    bnfloss_spec_init(&sft, sizeof sft, BNFLOSS_SFT);
    sft.divisor = BNFLOSS_DIV_GIVEN;
    sft.weight = (double)truth;         /* an SFT's dlogp is -weight */
    (void)single_call(q, &sft, side, left);
    return (double)left[bn_has_pairs(loss_of(&q->spec)) && side < 0];
}

static float below_0(quad x)
{
    return x < 0 ? (x > -1e30 ? (float)x : -1e30f) : 0;
}

static void single_draw(single *q, point *p, uint32_t kind, rng *r)
{
    const bn_loss *loss = bn_loss_of(kind);
    bn_response *y[2];

    p->loss = loss;
    p->side = rng_next(r) & 1 ? 1 : -1;
    pair_draw(loss, &p->k, &p->w, &p->x, r);
    y[0] = &p->w;
    y[1] = &p->x;
    for (int i = 0; i < 2; i++) {
        q->distance[i] = (float)y[i]->distance;
        q->l[i] = below_0(y[i]->l / q_max(1, y[i]->n));
        q->r[i] = below_0((y[i]->l - y[i]->ratio) / q_max(1, y[i]->n));
        y[i]->n = 1;
        y[i]->l = q->l[i];
        y[i]->r = loss->traits & BN_REFERENCE ? (quad)q->r[i] : 0;
        y[i]->ratio = y[i]->l - y[i]->r;
        y[i]->distance = q->distance[i];
    }
    q->scale = (float)p->k.scale;
    q->margin = (float)p->k.margin;
    q->soft = (float)(0.001 + 0.998 * rng_uniform(r));
    q->kl = (double)p->k.kl;
    p->k.scale = q->scale;
    p->k.margin = q->margin;
    p->k.logit = logq((quad)q->soft / (1 - (quad)q->soft));
    p->k.kl = q->kl;
    q->shift = (double)p->k.baseline;
    p->k.baseline = (q->shift + p->k.beta * p->w.ratio) / 2;
}

/* All that a double may have rounded on its way, one at a time, and how much
 * that moves the answer. */
static answer condition(const point *p, const answer *base)
{
    answer sum = { 0, 0, 0, 0 };

    for (int i = 0; i < 16; i++) {
        point q = *p;
        quad *const inputs[] = { &q.w.ratio, &q.x.ratio,  &q.w.l,
                                 &q.x.l,     &q.k.beta,   &q.k.gamma,
                                 &q.k.alpha, &q.k.margin, &q.k.kl,
                                 &q.k.baseline, &q.k.logit,  &q.k.tau,
                                 &q.k.root };
        answer a;

        if (i < 13)
            *inputs[i] *= 1 + scalbnq(1, -40);
        else if (i == 13 && q.k.divergence == BNFLOSS_JS_DIVERGENCE)
            q.k.margin += scalbnq(q.k.scale * q.k.beta, -40);   /* 2 ln 2 */
        else if (i == 14 && q.loss->traits & BN_SOFT)   /* log p - log(1-p) */
            q.k.logit += scalbnq(1 + q_abs(q.k.logit), -40);
        else if (i == 15 && q.k.root > 0)       /* log 2 - H is a difference */
            q.k.root += scalbnq(4 / (q.k.root * bn_bell(q.k.root)), -40);
        a = ask(q.loss, &q.k, &q.w, &q.x, q.side);
        sum.value += scalbnq(q_abs(a.value - base->value), 40);
        sum.d_chosen += scalbnq(q_abs(a.d_chosen - base->d_chosen), 40);
        sum.d_rejected += scalbnq(q_abs(a.d_rejected - base->d_rejected), 40);
    }
    return sum;
}

/* What a loss and its slopes are sums of, where these may cancel. */
static answer cancelling(const point *p, const answer *base)
{
    const bn_params *k = &p->k;
    answer terms = { 0, 0, 0, 0 };
    bn_margin m;
    quad u, du = 0;

    if (p->loss->sequence_loss == bn_asft)     /* e^m / (1 - e^m), through its log */
        terms.d_chosen = q_abs(base->d_chosen * bn_log1mexp(p->w.l));
    if (p->loss->pair_loss) {
        const quad a = k->beta * p->w.ratio;
        const quad b = k->beta * (p->w.ratio - p->x.ratio);

        if (p->loss->pair_loss == bn_orpo)
            terms.value = k->penalty
                          * (q_abs(bn_log1mexp(p->w.l))
                             + q_abs(bn_log1mexp(p->x.l)));
        if (p->loss->pair_loss == bn_nca_pair)
            terms.d_chosen = k->beta * (bn_sigmoid(a) + bn_sigmoid(-a));
        if (p->loss->pair_loss == bn_apo_down)
            terms.d_chosen = k->beta
                       * (bn_bell(a) * (1 + q_abs(a))
                          + bn_bell(b) * (1 + q_abs(b)));
        return terms;
    }
    if (!p->loss->margin)
        return terms;
    m = p->loss->margin(k, &p->w, &p->x);
    u = margin_of(p->loss, k, &p->w, &p->x);
    if (p->loss->margin_loss == bn_logistic
        || p->loss->margin_loss == bn_robust) {
        du = k->flip * bn_sigmoid(u) + (1 - k->flip) * bn_sigmoid(-u);
        if (p->loss->margin_loss == bn_robust) {
            terms.value += (bn_softplus(u) + bn_softplus(-u))
                           / (1 - 2 * k->flip);
            du /= 1 - 2 * k->flip;
        }
    } else if (p->loss->margin_loss == bn_exo) {
        const quad logs = q_abs(logq(k->flip)) + q_abs(log1pq(-k->flip));

        terms.value += bn_sigmoid(u) * (bn_softplus(-u) + logs)
                       + bn_sigmoid(-u) * (bn_softplus(u) + logs);
        du = bn_bell(u) * (q_abs(u) + logs);
    } else if (p->loss->margin_loss == bn_discopop) {
        const quad j = bn_sigmoid(u / k->tau), not_j = bn_sigmoid(-u / k->tau);
        const quad blend = expq(-bn_softplus(-u / k->tau) - u);

        du = (not_j * blend + j * not_j * bn_softplus(-u)) / k->tau
             + not_j * bn_sigmoid(-u) + blend;
    } else if (p->loss->margin_loss == bn_ada) {
        terms.value += base->value > 0 ? 0 : -base->value;
        terms.value += q_max(k->tau, q_abs(u) / k->root < k->tau_max
                                         ? q_abs(u) / k->root
                                         : k->tau_max);
    }
    terms.d_chosen = du * k->scale * k->beta * q_abs(m.d_chosen);
    terms.d_rejected = du * k->scale * k->beta * q_abs(m.d_rejected);
    return terms;
}

static double worst_value, worst_slope; /* in units of 2^-53 */

/* error: of a double, against truth; its bound 8 units of
 * 2^-53 of itself, of what rounded inputs move, and of its terms. */
static void rounded(const single *q, const point *p, const char *what,
                    quad error, quad truth, quad moved, quad terms,
                    double *max)
{
    const quad unit = scalbnq(q_abs(truth) + moved + terms, -53)
                      + (quad)0x1p-1000;

    derivatives++;
    if (error == error && q_abs(error) <= 8 * unit
        && (double)(q_abs(error) / unit) > *max)
        *max = (double)(q_abs(error) / unit);
    CHECK(q_abs(error) <= 8 * unit,
          "%s of %s is %g wrong at %.17g: l %g %g, "
          "r %g %g, beta %g, u %g, divergence %u",
          what, p->loss->name, (double)error, (double)truth, (double)q->l[0],
          (double)q->l[1], (double)q->r[0], (double)q->r[1],
          (double)q->spec.beta,
          p->loss->margin ? (double)margin_of(p->loss, &p->k, &p->w, &p->x)
                          : 0,
          q->spec.f_divergence);
}

/* Whether a double can hold it. */
static int fits(quad x) { return q_abs(x) < (quad)1e300; }

/* Whether a float can, as dlogp must. */
static int fits_float(quad x) { return q_abs(x) < (quad)1e37; }

static void one_single(const bnfloss_spec *spec, const bn_params *k, rng *r)
{
    answer base, moved, terms;
    float unused[2];
    single q;
    point p;

    memset(&q, 0, sizeof q);
    q.spec = *spec;
    p.k = *k;
    single_draw(&q, &p, spec->kind, r);
    base = ask(p.loss, &p.k, &p.w, &p.x, p.side);
    if (!fits(base.value) || !fits_float(base.d_chosen) || !fits_float(base.d_rejected))
        return;
    moved = condition(&p, &base);
    terms = cancelling(&p, &base);
    rounded(&q, &p, "the value",
            (quad)single_call(&q, NULL, p.side, unused) - base.value,
            base.value, moved.value, terms.value, &worst_value);
    rounded(&q, &p, "the slope",
            slope_error(&q, p.loss->sequence_loss ? p.side : 1, base.d_chosen), base.d_chosen,
            moved.d_chosen, terms.d_chosen, &worst_slope);
    if (!p.loss->sequence_loss)
        rounded(&q, &p, "the rejected slope", slope_error(&q, -1, base.d_rejected),
                base.d_rejected, moved.d_rejected, terms.d_rejected, &worst_slope);
}

static void singles(uint32_t kind, long count, rng *r)
{
    bnfloss_spec spec;
    bn_params k;

    worst_value = worst_slope = 0;
    for (long i = 0; i < count; i++) {
        if (i % 16 == 0) {
            spec_draw(&spec, kind, r);
            spec.sft_weight = 0;
            /* next to 0 and log 2 the root has no digits, and no weight */
            if (spec.rho > 0)
                spec.rho = spec.rho < 1e-3f   ? 1e-3f
                           : spec.rho > 0.69f ? 0.69f
                                              : spec.rho;
            spec.divisor = BNFLOSS_DIV_GIVEN;
            k = numbers_of(&spec);
        }
        one_single(&spec, &k, r);
    }
    printf("%s %.1f %.1f, ", bn_loss_of(kind)->name, worst_value, worst_slope);
}

/* ---- Infinities ---------------------------------------------------------- */

static int same_number(double got, quad want)
{
    if (want != want)
        return got != got;
    if (!q_finite(want))
        return (quad)got == want;
    return q_abs(got - want) <= (quad)1e-12 * (1 + q_abs(want));
}

/* A response without a chance, under the policy or the reference, or a sure
 * one: the limit, and no NaN where it has one. Of a loss of NaN no slope is
 * asked. */
static void infinities(uint32_t kind, rng *r)
{
    const bn_loss *loss = bn_loss_of(kind);

    for (int i = 0; i < 400; i++) {
        const int what = i % 6, of_ref = what / 2 == 1, y = what % 2;
        float slope[2];
        double value;
        answer want;
        single q;
        point p;

        memset(&q, 0, sizeof q);
        spec_draw(&q.spec, kind, r);
        tame(&q.spec);
        q.spec.sft_weight = 0;
        q.spec.divisor = BNFLOSS_DIV_GIVEN;
        p.k = numbers_of(&q.spec);
        single_draw(&q, &p, kind, r);
        (of_ref ? q.r : q.l)[y] = what < 4 ? -BN_INF_F32 : 0;
        for (int s = 0; s < 2; s++) {
            bn_response *const z = s ? &p.x : &p.w;

            z->l = q.l[s];
            z->r = loss->traits & BN_REFERENCE ? (quad)q.r[s] : 0;
            z->ratio = z->l - z->r;
        }
        p.k.baseline = (q.shift + p.k.beta * p.w.ratio) / 2;
        want = ask(loss, &p.k, &p.w, &p.x, p.side);
        value = single_call(&q, NULL, p.side, slope);
        CHECK(same_number(value, want.value),
              "%s where %s of response %d is "
              "%g: %g, not %g",
              loss->name, of_ref ? "ref" : "logp", y, what < 4 ? -BN_INF : 0,
              value, (double)want.value);
        if (want.value != want.value)
            continue;
        CHECK(slope[0] == slope[0],
              "%s where %s of response %d is %g: "
              "the loss is %g, its slope NaN",
              loss->name, of_ref ? "ref" : "logp", y, what < 4 ? -BN_INF : 0,
              value);
        CHECK(loss->sequence_loss || slope[1] == slope[1],
              "%s where %s of response "
              "%d is %g: the loss is %g, the rejected slope NaN",
              loss->name, of_ref ? "ref" : "logp", y, what < 4 ? -BN_INF : 0,
              value);
    }
}

/* ---- Rising and falling -------------------------------------------------- */

/* In double as well: as the chosen response gains, none of these rises. */
static void falling(rng *r)
{
    static const uint32_t kinds[] = {
        BNFLOSS_DPO, BNFLOSS_ROBUST, BNFLOSS_HINGE, BNFLOSS_SIGMOID_NORM,
        BNFLOSS_SIMPO, BNFLOSS_ALPHAPO, BNFLOSS_CPO, BNFLOSS_SLIC,
        BNFLOSS_DPOP, BNFLOSS_RDPO, BNFLOSS_RPO, BNFLOSS_RPO_MEAN,
        BNFLOSS_ADA_DPO, BNFLOSS_BMC, BNFLOSS_FPO, BNFLOSS_UPO,
        BNFLOSS_BCO_PAIR, BNFLOSS_APO_ZERO, BNFLOSS_ORPO
    };

    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        for (int turn = 0; turn < 4; turn++) {
            double last = BN_INF;
            float unused[2];
            single q;
            point p;

            memset(&q, 0, sizeof q);
            spec_draw(&q.spec, kinds[i], r);
            tame(&q.spec);
            q.spec.sft_weight = 0;
            q.spec.divisor = BNFLOSS_DIV_GIVEN;
            if (kinds[i] != BNFLOSS_ROBUST)
                q.spec.flip_prob = 0;
            p.k = numbers_of(&q.spec);
            single_draw(&q, &p, kinds[i], r);
            for (q.l[0] = -80; q.l[0] < 0; q.l[0] += 0x1p-3f) {
                const double now = single_call(&q, NULL, 1, unused);
                const double size = now < 0 ? -now : now;

                CHECK(now <= last + 0x1p-50 * (1 + size), "%s rises to %.17g "
                      "at %g", bn_loss_of(kinds[i])->name, now,
                      (double)q.l[0]);
                last = now;
            }
        }
    }
}

/* ---- The same loss by two names ------------------------------------------ */

/* Both give the same dlogp, to the last bit or, of a mix, within a float's
 * rounding of its terms. */
static void twins(const batch *b, const batch *c, float slack)
{
    reply a, d;
    float size = 0;

    if (!CHECK(call(b, &a) == BNFLOSS_OK && call(c, &d) == BNFLOSS_OK,
               "%s as %s is refused", bn_loss_of(b->spec[0].kind)->name,
               bn_loss_of(c->spec[0].kind)->name))
        return;
    for (int i = 0; i < b->N; i++)
        size = a.dlogp[i] > size ? a.dlogp[i]
               : -a.dlogp[i] > size ? -a.dlogp[i] : size;
    for (int i = 0; i < b->N; i++)
        CHECK(a.dlogp[i] - d.dlogp[i] <= slack * size
              && d.dlogp[i] - a.dlogp[i] <= slack * size,
              "%s as %s: %g, not %g", bn_loss_of(b->spec[0].kind)->name,
              bn_loss_of(c->spec[0].kind)->name, (double)d.dlogp[i],
              (double)a.dlogp[i]);
    CHECK(q_abs(a.result.loss - d.result.loss) <= (quad)slack
          + (quad)1e-13 * (slack > 0), "%s as %s: loss %.17g, not %.17g",
          bn_loss_of(b->spec[0].kind)->name,
          bn_loss_of(c->spec[0].kind)->name, d.result.loss, a.result.loss);
}

static void same_by_two_names(rng *r)
{
    static const struct { uint32_t kind, other; } list[] = {
        { BNFLOSS_RPO, BNFLOSS_DPO }, { BNFLOSS_RPO_MEAN, BNFLOSS_DPO },
        { BNFLOSS_ROBUST, BNFLOSS_DPO }, { BNFLOSS_UPO, BNFLOSS_DPO },
        { BNFLOSS_RDPO, BNFLOSS_DPO }, { BNFLOSS_CPO, BNFLOSS_DPO },
        { BNFLOSS_FPO, BNFLOSS_SIGMOID_NORM },
        { BNFLOSS_SIMPO, BNFLOSS_SIGMOID_NORM }
    };

    for (int i = 0; i < 800; i++) {
        const uint32_t kind = list[i % 8].kind, other = list[i % 8].other;
        static batch b, c;
        bnfloss_spec *p = b.spec, *q = c.spec;

        do                              /* alone in its call */
            batch_draw(&b, kind, r);
        while (b.specs > 1);
        p->weight = 1;
        p->f_divergence = 0;
        p->alpha = 0;
        p->flip_prob = kind == BNFLOSS_ROBUST ? 0 : p->flip_prob;
        p->sft_weight = kind == BNFLOSS_CPO ? p->sft_weight : 0;
        c = b;
        c.in.seq_start = c.start;
        q->kind = other;
        q->gamma = 0;
        c.in.distance = NULL;
        if (kind == BNFLOSS_CPO || kind == BNFLOSS_SIMPO)
            q->flags |= BNFLOSS_REFERENCE_FREE;
        if (kind == BNFLOSS_SIMPO) {
            b.in.pair_margin = NULL;
            c.in.pair_margin = c.margin;
            for (int k = 0; k < c.P; k++)
                c.margin[k] = -p->gamma;
        }
        twins(&b, &c, 0);
        if (kind != BNFLOSS_CPO)
            continue;
        /* and CPO as a mix of two: DPO, and an SFT of the chosen */
        p->sft_norm = BNFLOSS_NORM_BATCH;
        p->divisor = BNFLOSS_DIV_PAIRS;
        q->divisor = BNFLOSS_DIV_PAIRS;
        q->sft_weight = 0;
        q->also = 1;
        bnfloss_spec_init(q + 1, sizeof *q, BNFLOSS_SFT);
        q[1].flags = BNFLOSS_CHOSEN_ONLY;
        q[1].weight = p->sft_weight;
        q[1].loss_scale = p->loss_scale;
        c.specs = 2;
        twins(&b, &c, 0x1p-22f);
    }
}

int main(int argc, char **argv)
{
    const int more = argc > 1 && bn_same_text(argv[1], "--all") ? 10 : 1;
    const int less = argc > 1 && bn_same_text(argv[1], "--quick") ? 10 : 1;
    rng r = { 35 };

    for (uint32_t kind = 1; kind <= BN_KINDS; kind++) {
        /* AOT is differenced nowhere else */
        const int batches = bn_loss_of(kind)->shape == BN_BY_BATCH ? 1200 : 60;

        worst = 0;
        for (int i = 0; i < batches * more / less; i++)
            one_batch(kind, &r);
        printf("%s %.2f, ", bn_loss_of(kind)->name, worst);
    }
    CHECK(unfrozen > 20 / less && unfrozen_wrong > unfrozen * 9 / 10,
          "a weight that is not frozen gives the gradient in %ld of %ld",
          unfrozen - unfrozen_wrong, unfrozen);
    printf("\n%ld numbers of batches; unfrozen wrong in %ld of %ld\n",
           derivatives, unfrozen_wrong, unfrozen);
    for (uint32_t kind = 1; kind <= BN_KINDS; kind++)
        if (bn_loss_of(kind)->shape == BN_BY_PAIR
            || bn_loss_of(kind)->shape == BN_BY_SEQUENCE)
            singles(kind, 2000 * more / less, &r);
    printf("\n%ld numbers\n", derivatives);
    for (uint32_t kind = 1; kind <= BN_KINDS; kind++)
        if (bn_loss_of(kind)->shape == BN_BY_PAIR)
            infinities(kind, &r);
    falling(&r);
    same_by_two_names(&r);
    return test_end();
}

#else
int main(void)
{
    test_skip("no quad precision here");
    return test_end();
}
#endif
