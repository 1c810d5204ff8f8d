/* The same bits everywhere: two numbers for a corpus of several thousand rows.
 *
 * SPDX-License-Identifier: MIT
 *
 * The corpus has every loss and option, every type, V at every edge, NaN,
 * infinities, denormals, masked tokens, far leaders and huge logits. Each
 * batch is run again in place (E148), at odd addresses and other strides (E33 of
 * EDGES.md), stage by stage, and with other numbers of threads (E90, E91),
 * and must give the same bits; the whole corpus must give the same hash on
 * every instruction set, compiler, optimisation level and architecture. So it
 * is made of integers and of exact operations alone.
 *
 * ROWS_SAME_BITS_HASH is about rows: every V, type and logit, under BNF, DPO
 * and SFT. LOSSES_SAME_BITS_HASH is about losses: each of them with options by
 * chance, several in one call, the deferred scale, both entry points, and the
 * sums that MEAN and SQUARES take, at every V.
 *
 * When the bits change on purpose, run this program, put the hashes of its last
 * lines here, and add a line to the CHANGELOG: users compare bits too. */
#define ROWS_SAME_BITS_HASH UINT64_C(0xC6E222AFDA7BA5FD)
#define LOSSES_SAME_BITS_HASH UINT64_C(0xE1FE65DED6BA1485)

#include "fixture.h"

enum {
    BATCHES = 560, MAX_N = 12, MAX_S = 6, PAD = 9,
    ROOM = 3 * (50257 + 2 * PAD) + 64, WORK = 1 << 14
};

typedef struct batch {
    bnfloss_layout layout;
    bnfloss_spec spec;
    bnfloss_inputs inputs;
    int64_t N, V, S;
    int64_t label[MAX_N], seq_start[MAX_S + 1];
    int8_t side[MAX_S];
    float ref[MAX_N], weight[MAX_N];
    int use_inputs;
} batch;

/* How a batch is laid out and called. */
typedef struct way {
    const char *name;
    int in_place, staged;
    int64_t shift, pad, grad_pad;   /* elements */
    int32_t threads;
} way;

static uint32_t source[3 * 50257 + 64];     /* the logits as float bits */
static float logits[ROOM], grad[ROOM];
static bnfloss_row state[MAX_N];
static unsigned char work[WORK];
static uint64_t state_hash;

/* ---- Hash --------------------------------------------------------------- */

/* FNV-1a over words, folded so that high bits reach low ones. */
static void hash_add(uint64_t *h, uint64_t x)
{
    *h = (*h ^ x) * UINT64_C(1099511628211);
    *h ^= *h >> 32;
}

static void hash_double(uint64_t *h, double x)
{
    uint64_t b;

    memcpy(&b, &x, sizeof b);
    hash_add(h, b);
}

#define HASH_START UINT64_C(14695981039346656037)

/* ---- The corpus --------------------------------------------------------- */

/* Float bits of random sign and fraction, exponents from .. to. */
static uint32_t random_bits(rng *r, int from, int to)
{
    const uint64_t x = rng_next(r);
    const uint32_t e = (uint32_t)(127 + from + (int)(x >> 32)
                                  % (to - from + 1));

    return (uint32_t)(x & 0x807FFFFF) | e << 23;
}

#define MINUS_INF 0xFF800000u

/* One row of V logits with label y. */
static void make_row(rng *r, uint32_t *z, int64_t V, int64_t y, int wild)
{
    const int what = (int)rng_below(r, wild ? 16 : 10);
    const int64_t at = rng_below(r, V);
    const uint32_t equal = random_bits(r, -3, 4);
    const int offset = (int)rng_below(r, 17);

    for (int64_t j = 0; j < V; j++) {
        switch (what) {
        case 0: z[j] = random_bits(r, -6, 3); break;
        case 1: z[j] = bits_of((float)(rng_below(r, 321) - 160) / 16); break;
        case 2: z[j] = random_bits(r, -20, 1); break;
        case 3: z[j] = equal; break;
        case 4: z[j] = bits_of((float)(j * 64 / V)); break;     /* rising */
        case 5: z[j] = bits_of((float)(64 - j * 64 / V)); break;
        case 6: z[j] = rng_below(r, 4) ? random_bits(r, -4, 3) : MINUS_INF;
                break;
        case 7: z[j] = bits_of((float)(8192 + 8 * offset
                               + (int)rng_below(r, 5))); break;
        case 8: z[j] = bits_of((float)(rng_below(r, 3) - 70)); break;
        case 9: z[j] = random_bits(r, -5, 5); break;
        case 10: z[j] = random_bits(r, 13, 18); break;          /* far */
        case 11: z[j] = random_bits(r, 30, 127); break;         /* huge */
        case 12: z[j] = (uint32_t)(rng_next(r) & 0x807FFFFF); break;
        case 13: z[j] = MINUS_INF; break;
        default: z[j] = random_bits(r, -4, 3); break;
        }
    }
    if (what == 8)                                  /* p next to 1 */
        z[y] = bits_of((float)(int)rng_below(r, 40));
    if (what == 9 || what == 13)                    /* one leads, or lives */
        z[at] = bits_of(48.0f + (float)offset);
    if (what == 14)                                 /* NaN, infinities */
        z[at] = (uint32_t)(rng_next(r) & 0x807FFFFF) | 0x7F800000;
    if (what == 15)                                 /* the label is masked */
        z[y] = MINUS_INF;
}

static int64_t pick_vocab(rng *r, int b)
{
    static const uint16_t edges[] = { 255, 256, 257, 511, 512, 513, 1023, 1024,
                                      1025, 2047, 2048, 2049, 2111, 4095, 4096,
                                      4097, 6145 };
    static const int32_t wide[] = { 32767, 32768, 32769, 65536, 65541,
                                    50257 };

    if (b < 150)
        return b + 1;
    if (b % 100 == 0)
        return wide[b / 100 % 6];
    if (b % 8 == 0)
        return edges[b / 8 % 17];
    return 1 + rng_below(r, 300);
}

static void make_options(rng *r, batch *b)
{
    bnfloss_layout *l = &b->layout;
    bnfloss_spec *s = &b->spec;
    static const float scales[] = { 0, 0.5f, 1.5f, 0.0625f, 3 };
    static const float caps[] = { 0, 30, 5, 0.75f };

    l->logit_scale = rng_below(r, 3) ? 0 : scales[rng_below(r, 5)];
    l->softcap = rng_below(r, 3) ? 0 : caps[rng_below(r, 4)];
    l->flags = rng_below(r, 4) ? 0 : BNFLOSS_ENTROPY;
    l->flags |= rng_below(r, 6) ? 0u : (uint32_t)BNFLOSS_ACCUMULATE;
    if (!rng_below(r, 5))
        s->loss_scale = (double)(1 + rng_below(r, 9000)) / 8;
    if (!rng_below(r, 5)) {
        s->divisor = BNFLOSS_DIV_GIVEN;
        s->divisor_value = (double)(1 + rng_below(r, 90)) / 4;
    } else if (!rng_below(r, 3)) {
        s->divisor = b->inputs.pairing ? BNFLOSS_DIV_PAIRS
                                       : BNFLOSS_DIV_TOKENS;
    }
    if (s->kind != BNFLOSS_DPO && !rng_below(r, 3))
        s->token_norm = (uint32_t)(1 + rng_below(r, 3));
    if (s->kind == BNFLOSS_DPO) {
        s->beta = (float)(1 + rng_below(r, 40)) / 64;
        s->flip_prob = rng_below(r, 3) ? 0 : (float)rng_below(r, 9) / 16;
    }
    if (s->kind == BNFLOSS_BNF && !rng_below(r, 3))
        s->eps = (float)rng_below(r, 100) / 16384;
    if (s->kind == BNFLOSS_SFT) {
        s->flags = rng_below(r, 4) ? 0 : BNFLOSS_DFT;
        if (!s->flags && !rng_below(r, 3))
            l->label_smoothing = (float)(1 + rng_below(r, 16)) / 16;
        if (!s->flags && !rng_below(r, 3))
            l->z_loss = (float)(1 + rng_below(r, 9)) / 1024;
    }
}

static void make_sequences(rng *r, batch *b)
{
    b->S = b->N > 3 ? 2 * (1 + rng_below(r, MAX_S / 2)) : 2;
    b->seq_start[0] = 0;
    for (int64_t s = 1; s < b->S; s++)
        b->seq_start[s] = b->N * s / b->S;
    b->seq_start[b->S] = b->N;
    b->inputs.pairing = b->spec.kind == BNFLOSS_DPO || rng_below(r, 2)
                            ? (uint32_t)(1 + rng_below(r, 2)) : 0;
    for (int64_t s = 0; s < b->S; s++)
        b->side[s] = b->inputs.pairing == BNFLOSS_PAIRS_HALVES
                         ? (s < b->S / 2 ? 1 : -1)
                     : b->inputs.pairing ? (s % 2 ? -1 : 1)
                     : (rng_below(r, 2) ? 1 : -1);
    b->inputs.sequences = b->S;
    b->inputs.seq_start = b->seq_start;
    b->inputs.side = b->side;
    b->inputs.ref_logp = b->ref;
    b->inputs.row_weight = rng_below(r, 2) ? b->weight : NULL;
    b->use_inputs = b->spec.kind != BNFLOSS_SFT || rng_below(r, 3) > 0;
}

static void make_batch(batch *b, int number)
{
    rng r = { (uint64_t)number * UINT64_C(0x2545F4914F6CDD1D) + 11 };
    const int wild = number % 3 == 0;

    memset(b, 0, sizeof *b);
    b->V = pick_vocab(&r, number);
    b->N = b->V > 10000 ? 2 : b->V > 1000 ? 1 + rng_below(&r, 4)
                                          : 1 + rng_below(&r, MAX_N);
    bnfloss_spec_init(&b->spec, sizeof b->spec, (uint32_t)(1 + number % 3));
    b->layout.struct_size = sizeof b->layout;
    b->inputs.struct_size = sizeof b->inputs;
    b->layout.logits_type = (uint32_t)rng_below(&r, 3);
    b->layout.grad_type = rng_below(&r, 2) ? b->layout.logits_type
                                           : (uint32_t)rng_below(&r, 3);
    b->layout.label_type = (uint32_t)rng_below(&r, 2);
    b->layout.rows = b->N;
    b->layout.vocab = b->V;
    make_sequences(&r, b);
    make_options(&r, b);
    if (b->spec.divisor == BNFLOSS_DIV_PAIRS && !b->use_inputs)
        b->spec.divisor = BNFLOSS_DIV_TOKENS;
    for (int64_t i = 0; i < b->N; i++) {
        b->label[i] = rng_below(&r, b->V);
        make_row(&r, source + i * b->V, b->V, b->label[i], wild);
        if (!rng_below(&r, 9))
            b->label[i] = -1 - rng_below(&r, 100);
        b->ref[i] = rng_below(&r, 12)
                        ? -(float)rng_below(&r, 9000) / 1024
                    : rng_below(&r, 2) ? 0x1p-7f : float_of(MINUS_INF);
        b->weight[i] = (float)(rng_below(&r, 17) - 4) / 8;
    }
}

/* ---- One call ----------------------------------------------------------- */

typedef struct outputs {
    bnfloss_outputs s;
    float logp[MAX_N], rest[MAX_N], entropy[MAX_N], dlogp[MAX_N];
    float row_loss[MAX_N];
    int32_t argmax[MAX_N];
    double seq_logp[MAX_S], seq_loss[MAX_S];
} outputs;

static void make_outputs(outputs *o, int entropy)
{
    memset(o, 0, sizeof *o);
    o->s.struct_size = sizeof o->s;
    o->s.logp = o->logp;
    o->s.rest = entropy ? o->rest : NULL;
    o->s.entropy = entropy ? o->entropy : NULL;
    o->s.argmax = o->argmax;
    o->s.dlogp = o->dlogp;
    o->s.row_loss = o->row_loss;
    o->s.seq_logp = o->seq_logp;
    o->s.seq_loss = o->seq_loss;
}

static void put_labels(const batch *b, const way *w, void *labels)
{
    for (int64_t i = 0; i < b->N; i++) {
        /* the stages know a row of weight 0 by its label */
        const int64_t y = w->staged && b->use_inputs && b->inputs.row_weight
                          && b->weight[i] == 0 ? -7 : b->label[i];

        if (b->layout.label_type == BNFLOSS_I64)
            memcpy((char *)labels + i * 8, &y, 8);
        else
            ((int32_t *)labels)[i] = (int32_t)y;
    }
}

static void put_logits(const batch *b, void *z, int64_t stride)
{
    for (int64_t i = 0; i < b->N; i++)
        for (int64_t j = 0; j < b->V; j++)
            elem_put(b->layout.logits_type, z, i * stride + j,
                     float_of(source[i * b->V + j]));
}

static uint64_t hash_result(const bnfloss_result *r)
{
    const double metric[] = {
        r->loss, r->divisor, r->rewards_chosen, r->rewards_rejected,
        r->rewards_margins, r->rewards_accuracies, r->logps_chosen,
        r->logps_rejected, r->entropy, r->token_accuracy, r->bnf_coefficient,
        r->bnf_full_share
    };
    const int64_t count[] = {
        r->where, r->tokens, r->sequences, r->pairs, r->empty_sequences,
        r->nan_rows, r->nan_pairs, r->clamped_logps, r->zero_refs
    };
    uint64_t h = HASH_START;

    for (size_t i = 0; i < sizeof metric / sizeof *metric; i++)
        hash_double(&h, metric[i]);
    for (size_t i = 0; i < sizeof count / sizeof *count; i++)
        hash_add(&h, (uint64_t)count[i]);
    return h;
}

static uint64_t hash_call(const batch *b, const outputs *o,
                          const bnfloss_result *r, const void *g,
                          int64_t stride)
{
    const int wide = b->layout.grad_type == BNFLOSS_F32;
    uint64_t h = hash_result(r);

    for (int64_t i = 0; i < b->N; i++) {
        hash_add(&h, bits_of(o->logp[i]));
        hash_add(&h, bits_of(o->rest[i]));
        hash_add(&h, bits_of(o->entropy[i]));
        hash_add(&h, bits_of(o->dlogp[i]));
        hash_add(&h, bits_of(o->row_loss[i]));
        hash_add(&h, (uint32_t)o->argmax[i]);
        for (int64_t j = i * stride; j < i * stride + b->V; j++) {
            uint16_t half;
            uint32_t word;

            memcpy(&half, (const char *)g + j * 2, wide ? 0 : 2);
            memcpy(&word, (const char *)g + j * 4, wide ? 4 : 0);
            hash_add(&h, wide ? word : half);
        }
    }
    for (int64_t s = 0; s < b->S; s++) {
        hash_double(&h, o->seq_logp[s]);
        hash_double(&h, o->seq_loss[s]);
    }
    return h;
}

static void hash_states(const batch *b)
{
    for (int64_t i = 0; i < b->N; i++) {
        const bnfloss_row *x = state + i;

        hash_double(&state_hash, x->leader);
        hash_double(&state_hash, x->sum);
        hash_double(&state_hash, x->dot);
        hash_double(&state_hash, x->label);
        hash_double(&state_hash, x->shift);
        hash_double(&state_hash, x->finite);
        hash_add(&state_hash, (uint64_t)x->leader_id);
        hash_add(&state_hash, x->flags & 15);   /* not which sums it has */
    }
}

static void stages(const bnfloss_layout *l, const batch *b, const void *z,
                   const void *labels, void *g, outputs *o,
                   bnfloss_result *r)
{
    const bnfloss_inputs *in = b->use_inputs ? &b->inputs : NULL;
    bnfloss_layout with = *l;
    float d[MAX_N];

    /* bnfloss_run() takes BNF's sum unasked */
    with.flags |= b->spec.kind == BNFLOSS_BNF ? BNFLOSS_ENTROPY : 0u;
    CHECK(bnfloss_forward(&with, z, labels, 0, b->N / 2, state, &o->s, NULL)
          == BNFLOSS_OK
          && bnfloss_forward(&with, z, labels, b->N / 2, b->N, state, &o->s,
                             NULL) == BNFLOSS_OK, "forward");
    CHECK(bnfloss_loss(&b->spec, in, b->N, state, NULL, NULL, d, &o->s, work,
                       sizeof work, r) == BNFLOSS_OK, "loss");
    CHECK(bnfloss_backward(l, z, labels, 0, b->N, state, d, g, NULL)
          == BNFLOSS_OK, "backward");
    hash_states(b);
}

static uint64_t call(const batch *b, const way *w)
{
    bnfloss_layout l = b->layout;
    bnfloss_result r;
    outputs o;
    int64_t labels[MAX_N];
    char *z = (char *)logits + w->shift * (int64_t)elem_size(l.logits_type);
    char *g = w->in_place ? z : (char *)grad
              + w->shift * (int64_t)elem_size(l.grad_type);

    EMPTY(r);
    l.logits_stride = b->V + w->pad;
    l.grad_stride = w->in_place ? l.logits_stride : b->V + w->grad_pad;
    put_logits(b, z, l.logits_stride);
    put_labels(b, w, labels);
    make_outputs(&o, b->V % 3 == 0);
    for (int64_t j = 0; j < b->N * l.grad_stride && !w->in_place; j++)
        elem_put(l.grad_type, g, j, (float)(j % l.grad_stride % 7) / 4);
    if (w->staged)
        stages(&l, b, z, labels, g, &o, &r);
    else
        CHECK(bnfloss_run(&l, &b->spec, b->use_inputs ? &b->inputs : NULL, z,
                          labels, g, &o.s, work, sizeof work, w->threads, &r)
              == BNFLOSS_OK, "run");
    return hash_call(b, &o, &r, g, l.grad_stride);
}

/* ---- Every way must give the same --------------------------------------- */

static const way ways[] = {
    { "plainly", 0, 0, 0, 0, 0, 1 },
    { "in place", 1, 0, 0, 0, 0, 1 },
    { "off by one element", 0, 0, 1, 0, 0, 1 },
    { "off and in place", 1, 0, 3, 5, 5, 1 },
    { "at other strides", 0, 0, 0, 3, PAD, 1 },
    { "stage by stage", 0, 1, 0, 0, 1, 1 },
    { "as threads like", 0, 0, 1, 1, 0, 0 },
};

static int can(const batch *b, const way *w)
{
    return !w->in_place || (b->layout.logits_type == b->layout.grad_type
                            && !(b->layout.flags & BNFLOSS_ACCUMULATE));
}

static uint64_t every_way(const batch *b, int number, const char *isa)
{
    const uint64_t h = call(b, ways);
    const int wide = b->V > BNFLOSS_CHUNK;

    for (size_t k = 1; k < sizeof ways / sizeof *ways; k++)
        if (can(b, ways + k) && (ways[k].threads == 1 || number % 4 == 1))
            CHECK(call(b, ways + k) == h, "batch %d, V = %d: other bits %s "
                  "(%s)", number, (int)b->V, ways[k].name, isa);
    for (int32_t t = 2; t <= 16; t++) {
        way w = { "with threads", 0, 0, 0, 0, 0, 1 };

        w.threads = t;          /* more than there are cores, so a few do */
        if (number % 4 && !wide)
            continue;
        if (wide ? (t + number / 100) % 4 != 0 : number / 4 % 15 + 2 != t)
            continue;
        CHECK(call(b, &w) == h, "batch %d, V = %d: other bits with %d threads"
              " (%s)", number, (int)b->V, (int)t, isa);
    }
    return h;
}

static uint64_t corpus(const char *isa, int64_t *rows)
{
    uint64_t h = HASH_START;
    batch b;

    *rows = 0;
    state_hash = HASH_START;
    for (int number = 0; number < BATCHES; number++) {
        make_batch(&b, number);
        hash_add(&h, every_way(&b, number, isa));
        *rows += b.N;
    }
    hash_add(&h, state_hash);
    return h;
}

/* ---- Every loss --------------------------------------------------------- */

enum { LOSS_BATCHES = BN_KINDS * 40 };

/* A NaN that leaves the library is the canonical one. */
static void add_double(uint64_t *h, double x)
{
    uint64_t b;

    memcpy(&b, &x, sizeof b);
    CHECK(x == x || b == UINT64_C(0x7FF8000000000000), "another NaN: %llx, "
          "%s", (unsigned long long)b, bnfloss_kind_name(fam.spec[0].kind));
    hash_add(h, b);
}

static void add_doubles(uint64_t *h, const double *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        add_double(h, x[i]);
}

static void add_floats(uint64_t *h, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        hash_add(h, bits_of(x[i]));
}

static uint64_t hash_losses(const void *g)
{
    const bnfloss_result *r = &fam.result;
    const int pairs = is_paired(fam.spec[0].kind);
    uint64_t h = HASH_START;

    hash_add(&h, (uint64_t)r->where);
    add_double(&h, r->loss);
    add_double(&h, r->divisor);
    for (const int64_t *n = &r->tokens; n <= &r->zero_refs; n++)
        hash_add(&h, (uint64_t)*n);
    add_doubles(&h, &r->rewards_chosen, 19);
    add_floats(&h, fam.logp, FAM_N);
    add_floats(&h, fam.rest, FAM_N);
    add_floats(&h, fam.entropy, FAM_N);
    add_floats(&h, fam.log_square, FAM_N);
    add_floats(&h, fam.dlogp, FAM_N);
    add_floats(&h, fam.row_loss, FAM_N);
    add_floats(&h, fam.distance_grad, FAM_S);
    add_doubles(&h, fam.seq_logp, FAM_S);
    add_doubles(&h, fam.seq_ratio, FAM_S);
    add_doubles(&h, fam.seq_loss, pairs ? FAM_P : FAM_S);
    add_doubles(&h, fam.spec_loss, 1 + fam.spec[0].also);
    for (int i = 0; i < FAM_N; i++) {
        hash_add(&h, (uint32_t)fam.argmax[i]);
        hash_add(&h, fam.out.row_scale ? bits_of(fam.row_scale[i]) : 0);
    }
    for (int64_t i = 0; i < FAM_N; i++) {
        for (int64_t v = 0; v < FAM_V; v++) {
            const int64_t at = i * fam.layout.grad_stride + v;

            hash_add(&h, fam.layout.grad_type == BNFLOSS_F32
                             ? ((const uint32_t *)g)[at]
                             : ((const uint16_t *)g)[at]);
        }
    }
    return h;
}

static const float capped[] = { 0, 0, 0, 30, 0.75f };
static const float by[] = { 0, 0, 0.5f, 1.5f };

/* Numbers beyond the ordinary, in every third batch. */
static void losses_extremes(rng *r)
{
    const float odd[] = { -HUGE_VALF, 88, -104, 0x1p100f, 0x1p-130f, NAN,
                          HUGE_VALF, -3000 };

    for (int k = 0; k < 6; k++) {
        const int64_t i = rng_below(r, FAM_N), s = rng_below(r, 8);

        switch (rng_below(r, 5)) {
        case 0:  fam_set_logit(i, rng_below(r, FAM_V), odd[s]); break;
        case 1:  fam_set_logit(i, fam.label[i] < 0 ? 0 : fam.label[i],
                               odd[s % 5]); break;
        case 2:  fam.ref[i] = s < 4 ? -HUGE_VALF : s < 6 ? 0x1p-7f : -900;
                 break;
        case 3:  for (int64_t j = fam.start[s]; j < fam.start[s + 1]; j++)
                     fam.label[j] = -3;
                 break;
        default: fam.weight[i] = -fam.weight[i]; break;
        }
    }
}

/* Batch number n of losses. Returns whether it may be in place. */
static int losses_make(int n)
{
    rng r = { (uint64_t)n * 77 + 5 };
    const uint32_t kind = (uint32_t)(n % BN_KINDS) + 1;
    const int how = n / BN_KINDS;          /* 0 .. 39 */
    float z[FAM_N][FAM_V];
    bnfloss_layout *l = &fam.layout;

    fam_make(kind, (uint64_t)n + 1, how % 2);
    for (int64_t i = 0; i < FAM_N; i++)
        for (int64_t v = 0; v < FAM_V; v++)
            z[i][v] = fam_logit(i, v);
    l->logits_type = (uint32_t)(how % 3);
    l->grad_type = how % 4 ? l->logits_type : (uint32_t)(how / 4 % 3);
    for (int64_t i = 0; i < FAM_N; i++)
        for (int64_t v = 0; v < FAM_V; v++)
            fam_set_logit(i, v, z[i][v]);
    if (l->logits_type == l->grad_type)
        l->grad_stride = FAM_STRIDE;
    l->softcap = capped[rng_below(&r, 5)];
    l->logit_scale = by[rng_below(&r, 4)];
    l->flags = BNFLOSS_ENTROPY | BNFLOSS_SQUARES
               | (rng_below(&r, 2) ? (uint32_t)BNFLOSS_MEAN : 0u);
    fam.out.log_square = fam.log_square;
    fam_options(&r, fam.spec);
    if (rng_below(&r, 3) == 0) {
        fam.spec[0].divisor = BNFLOSS_DIV_GIVEN;
        fam.spec[0].divisor_value = (double)(1 + rng_below(&r, 90)) / 4;
    }
    fam.spec[0].loss_scale = (double)(1 + rng_below(&r, 64)) / 8;
    fam.spec[0].weight = (double)(rng_below(&r, 9) - 2) / 4;
    if (how % 5 == 4) {                     /* several */
        const uint32_t more = 1 + (uint32_t)rng_below(&r, 3);

        for (uint32_t k = 1; k <= more; k++) {
            fam_also(k, 1 + (uint32_t)rng_below(&r, BN_KINDS),
                     (double)k / 2);
            fam_options(&r, fam.spec + k);
        }
    } else if (how % 5 == 3 && !(fam.spec[0].sft_weight > 0
               && (fam.spec[0].ld_alpha < 1 || kind == BNFLOSS_BMC))) {
        fam.spec[0].flags |= BNFLOSS_DEFER_SCALE;
        fam.out.row_scale = fam.row_scale;
    }
    if (how % 3 == 0)
        losses_extremes(&r);
    return l->logits_type == l->grad_type;
}

/* By logits, in place, on threads, by states; then by log-probabilities. */
static uint64_t losses_ways(int n, const char *isa)
{
    const int in_place = losses_make(n);
    uint64_t h;

    CHECK(fam_run(fam.grad, 1) == BNFLOSS_OK, "batch %d of losses, %s", n,
          bnfloss_kind_name(fam.spec[0].kind));
    h = hash_losses(fam.grad);
    CHECK(fam_run(fam.grad, n % 8 ? 1 : n / 8 % 15 + 2) == BNFLOSS_OK
          && hash_losses(fam.grad) == h, "batch %d of losses, %s: other bits "
          "with threads (%s)", n, bnfloss_kind_name(fam.spec[0].kind), isa);
    /* the first stage reads the rows that CHOSEN_ONLY ignores */
    if (!(fam.spec[0].flags & (BNFLOSS_DEFER_SCALE | BNFLOSS_CHOSEN_ONLY))) {
        /* a row of weight 0 is read by the first stage alone */
        fam.label[FAM_WEIGHTLESS] = -1;
        CHECK(bnfloss_forward(&fam.layout, fam.logits, fam.label, 0, FAM_N,
                              fam.state, &fam.out, NULL) == BNFLOSS_OK
              && fam_states() == BNFLOSS_OK
              && bnfloss_backward(&fam.layout, fam.logits, fam.label, 0,
                                  FAM_N, fam.state, fam.dlogp_out, fam.grad,
                                  NULL) == BNFLOSS_OK
              && hash_losses(fam.grad) == h, "batch %d of losses, %s: other "
              "bits by stages (%s)", n, bnfloss_kind_name(fam.spec[0].kind),
              isa);
    }
    if (in_place)
        CHECK(fam_run(fam.logits, 1) == BNFLOSS_OK
              && hash_losses(fam.logits) == h, "batch %d of losses, %s: other "
              "bits in place (%s)", n, bnfloss_kind_name(fam.spec[0].kind),
              isa);
    fam.out.row_scale = NULL;
    fam.spec[0].flags &= ~(uint32_t)BNFLOSS_DEFER_SCALE;
    for (uint32_t k = 0; k <= fam.spec[0].also; k++)
        if (fam.spec[k].flags & BNFLOSS_WPO)
            fam.in.log_square = fam.square;
    CHECK(fam_logps() == BNFLOSS_OK, "batch %d of losses by logp", n);
    add_floats(&h, fam.dlogp_out, FAM_N);
    add_double(&h, fam.result.loss);
    return h;
}

/* The sums of MEAN and SQUARES, of the first corpus' rows. */
static void losses_rows(uint64_t *h)
{
    static float log_square[MAX_N];
    int64_t labels[MAX_N];
    bnfloss_outputs out;
    way w = { "plainly", 0, 0, 0, 0, 0, 1 };
    batch b;

    EMPTY(out);
    out.log_square = log_square;
    for (int number = 0; number < BATCHES; number++) {
        make_batch(&b, number);
        b.layout.flags = BNFLOSS_MEAN | BNFLOSS_SQUARES;
        put_logits(&b, logits, b.V);
        put_labels(&b, &w, labels);
        CHECK(bnfloss_forward(&b.layout, logits, labels, 0, b.N, state, &out,
                              NULL) == BNFLOSS_OK, "forward");
        for (int64_t i = 0; i < b.N; i++) {
            hash_double(h, state[i].square);
            hash_double(h, state[i].shift);
            hash_double(h, state[i].finite);
            hash_add(h, bits_of(log_square[i]));
        }
    }
}

/* Rows wider than a chunk and fewer than threads: cut among them. */
static void losses_wide(const char *isa)
{
    enum { WIDE = 50001, ROWS = 7 };
    static float z[ROWS * WIDE], g[2][ROWS * WIDE];
    static fam_block one;
    rng r = { 17 };

    for (int64_t k = 0; k < ROWS * WIDE; k++)
        z[k] = float_of(random_bits(&r, -6, 3));
    for (int how = 0; how < 4; how++) {
        for (int t = 0; t < 2; t++) {
            fam_make(how == 3 ? BNFLOSS_KTO : BNFLOSS_DPO, 1, 0);
            fam.layout.vocab = WIDE;
            fam.layout.logits_stride = fam.layout.grad_stride = 0;
            fam.layout.rows = ROWS;
            fam.in.sequences = 2;
            fam.layout.flags = BNFLOSS_MEAN | BNFLOSS_SQUARES;
            fam.out.log_square = fam.log_square;
            if (how == 1) {
                fam.spec[0].flags = BNFLOSS_WPO;
                fam_also(1, BNFLOSS_BNF, 1);
            }
            if (how >= 2) {
                fam.spec[0].flags = BNFLOSS_DEFER_SCALE;
                fam.out.row_scale = fam.row_scale;
            }
            CHECK(bnfloss_run(&fam.layout, fam.spec, &fam.in, z, fam.label,
                              g[t], &fam.out, fam.work, sizeof fam.work,
                              t ? 16 : 1, &fam.result) == BNFLOSS_OK,
                  "wide rows, %d", how);
            if (t == 0)
                memcpy(&one, &fam, sizeof fam);
        }
        CHECK(memcmp(&one, &fam, offsetof(fam_block, work)) == 0
              && memcmp(g[0], g[1], sizeof g[0]) == 0, "wide rows, %d: other "
              "bits with threads (%s)", how, isa);
    }
}

static uint64_t losses(const char *isa)
{
    uint64_t h = HASH_START;

    for (int n = 0; n < LOSS_BATCHES; n++)
        hash_add(&h, losses_ways(n, isa));
    losses_rows(&h);
    losses_wide(isa);
    return h;
}

int main(void)
{
    uint64_t first = 0, second = 0;
    int64_t rows = 0;
    int failed;

#ifndef BNFLOSS_OPENMP
    test_skip("several threads: built without BNFLOSS_OPENMP");
#endif
    FOR_EACH_ISA(isa) {
        const uint64_t h = corpus(isa, &rows), f = losses(isa);

        if (first == 0) {
            first = h;
            second = f;
        }
        CHECK(h == first, "hash %016llx on %s", (unsigned long long)h, isa);
        CHECK(f == second, "the losses' hash %016llx on %s",
              (unsigned long long)f, isa);
    }
    CHECK(rows > 3000, "only %d rows", (int)rows);
    CHECK(first == ROWS_SAME_BITS_HASH, "hash %016llx, not %016llx: the bits "
          "have changed", (unsigned long long)first,
          (unsigned long long)ROWS_SAME_BITS_HASH);
    CHECK(second == LOSSES_SAME_BITS_HASH, "the losses' hash %016llx, not "
          "%016llx: the bits have changed", (unsigned long long)second,
          (unsigned long long)LOSSES_SAME_BITS_HASH);
    failed = test_end();
    printf("hash %016llx\nlosses %016llx\n", (unsigned long long)first,
           (unsigned long long)second);
    return failed;
}
