/* Every loss is what the header says: its name, its defaults, the numbers,
 * flags and inputs that it takes, and the range of each number.
 *
 * SPDX-License-Identifier: MIT
 *
 * The table below is written by hand from include/bnfloss.h. It is the tests'
 * only copy: the other tests ask the library's own, src/losses/table.h, which
 * is compared with this one here. */
#include "fixture.h"
#include "edges.h"

/* ---- What the header says ------------------------------------------------ */

#define FLOAT_MAX 0x1.fffffep127f

typedef struct range {
    const char *name;
    size_t at;
    float low, high;
    int open;                   /* BN_ABOVE: not low itself; BN_BELOW: high */
} range;

#define RANGE(number, field, low, high, open)                                 \
    [number] = { #field, offsetof(bnfloss_spec, field), low, high, open }

static const range ranges[BN_NUMBERS] = {
    RANGE(BN_BETA, beta, 0, FLOAT_MAX, BN_ABOVE),
    RANGE(BN_FLIP, flip_prob, 0, 0.5f, 0),
    RANGE(BN_FLIP_ROBUST, flip_prob, 0, 0.5f, BN_BELOW),
    RANGE(BN_FLIP_EXO, flip_prob, 0, 0.5f, BN_ABOVE),
    RANGE(BN_EPS, eps, 0, 1, 0),
    RANGE(BN_GAMMA, gamma, 0, FLOAT_MAX, 0),
    RANGE(BN_ALPHA, alpha, -FLOAT_MAX, FLOAT_MAX, 0),
    RANGE(BN_PENALTY, penalty, 0, FLOAT_MAX, 0),
    RANGE(BN_TAU, tau, 0, FLOAT_MAX, BN_ABOVE),
    RANGE(BN_TAU_MAX, tau_max, 0, FLOAT_MAX, BN_ABOVE),
    /* the first float above log 2 */
    RANGE(BN_RHO, rho, 0, 0.6931472f, BN_ABOVE | BN_BELOW),
    RANGE(BN_CAP, cap, 0, FLOAT_MAX, 0),
    RANGE(BN_DESIRABLE, desirable_weight, 0, FLOAT_MAX, 0),
    RANGE(BN_UNDESIRABLE, undesirable_weight, 0, FLOAT_MAX, 0),
    RANGE(BN_SFT_WEIGHT, sft_weight, 0, FLOAT_MAX, 0),
    RANGE(BN_LD_ALPHA, ld_alpha, 0, 1, 0),
    RANGE(BN_F_ALPHA, f_alpha, -FLOAT_MAX, FLOAT_MAX, 0)
};

typedef struct described {
    const char *name;
    bn_shape shape;
    int margin;                 /* takes pair_scale and pair_margin */
    unsigned numbers, traits;
    float value[4];             /* defaults, in the order of the bits */
    uint32_t sft_norm;
} described;

#define B(number) (1u << BN_##number)
#define BETA B(BETA)
#define PAIRED (B(SFT_WEIGHT) | B(LD_ALPHA))
#define DPO_LIKE (B(BETA) | B(FLIP) | PAIRED)
#define DIVERGES (PAIRED | B(F_ALPHA))
#define REF BN_REFERENCE
#define REF_DIV (BN_REFERENCE | BN_DIVERGENCE)
#define REF_SIDES (BN_REFERENCE | BN_SIDES)
#define WISHES (B(DESIRABLE) | B(UNDESIRABLE))

/* In the order of their kinds. ld_alpha is 1, f_alpha 0.5 where there are
 * any; sft_weight is the last of `value` where it is not 0. */
static const described losses[] = {
    { "bnf", BN_BY_TOKEN, 0, B(EPS), REF_SIDES | BN_SIGNED | BN_REST, { 0 },
      0 },
    { "dpo", BN_BY_PAIR, 1, DPO_LIKE | B(F_ALPHA), REF_DIV, { 0.1f }, 1 },
    { "sft", BN_BY_TOKEN, 0, 0, BN_CROSS_ENTROPY, { 0 }, 0 },
    { "robust", BN_BY_PAIR, 1, BETA | B(FLIP_ROBUST) | DIVERGES, REF_DIV,
      { 0.1f }, 1 },
    { "hinge", BN_BY_PAIR, 1, BETA | DIVERGES, REF_DIV, { 0.1f }, 1 },
    { "ipo", BN_BY_PAIR, 1, BETA | DIVERGES, REF_DIV | BN_LENGTHS,
      { 0.1f }, 1 },
    { "ipo_sum", BN_BY_PAIR, 1, BETA | DIVERGES, REF_DIV, { 0.1f }, 1 },
    { "exo_pair", BN_BY_PAIR, 1, BETA | B(FLIP_EXO) | DIVERGES, REF_DIV,
      { 0.1f, 1e-3f }, 1 },
    { "discopop", BN_BY_PAIR, 1, BETA | B(TAU) | DIVERGES, REF_DIV,
      { 0.1f, 0.05f }, 1 },
    { "sigmoid_norm", BN_BY_PAIR, 1, DPO_LIKE | B(F_ALPHA),
      REF_DIV | BN_LENGTHS, { 0.1f }, 1 },
    { "simpo", BN_BY_PAIR, 1, DPO_LIKE | B(GAMMA),
      BN_LENGTHS | BN_MEAN_REWARD, { 0.1f, 0, 0.5f }, 1 },
    { "alphapo", BN_BY_PAIR, 1, DPO_LIKE | B(GAMMA) | B(ALPHA),
      BN_LENGTHS | BN_MEAN_REWARD, { 0.1f, 0, 0.5f, 0.25f }, 1 },
    { "cpo", BN_BY_PAIR, 1, DPO_LIKE, 0, { 0.1f, 0, 1 }, 4 },
    { "slic", BN_BY_PAIR, 1, B(GAMMA) | PAIRED, 0, { 1, 0.1f }, 1 },
    { "dpop", BN_BY_PAIR, 1, DPO_LIKE | B(PENALTY), REF, { 0.1f, 0, 50 }, 1 },
    { "rdpo", BN_BY_PAIR, 1, DPO_LIKE | B(ALPHA) | B(F_ALPHA), REF_DIV,
      { 0.1f, 0, 0.01f }, 1 },
    { "rpo", BN_BY_PAIR, 1, DPO_LIKE | B(F_ALPHA), REF_DIV | BN_SFT_BETA,
      { 0.1f, 0, 0.005f }, 1 },
    { "rpo_mean", BN_BY_PAIR, 1, DPO_LIKE | B(F_ALPHA), REF_DIV,
      { 0.1f, 0, 0.2f }, 2 },
    { "ada_dpo", BN_BY_PAIR, 1, BETA | B(TAU) | B(TAU_MAX) | B(RHO) | PAIRED,
      REF, { 0.1f, 0.1f, 5, 0.1f }, 1 },
    { "bmc", BN_BY_PAIR, 1, BETA | B(FLIP) | B(CAP) | B(SFT_WEIGHT),
      REF | BN_MASK, { 0.1f, 0, 2 }, 1 },
    { "fpo", BN_BY_PAIR, 1, DPO_LIKE | B(ALPHA),
      REF | BN_LENGTHS | BN_DISTANCE, { 0.1f, 0, 0.5f }, 1 },
    { "irepo", BN_BY_PAIR, 1, BETA | DIVERGES, REF_DIV | BN_SOFT,
      { 0.1f }, 1 },
    { "upo", BN_BY_PAIR, 1, DPO_LIKE | B(F_ALPHA), REF_DIV | BN_CERTAINTY,
      { 0.1f }, 1 },
    { "nca_pair", BN_BY_PAIR, 0, BETA | PAIRED, REF, { 0.1f }, 1 },
    { "bco_pair", BN_BY_PAIR, 0, BETA | PAIRED, REF, { 0.1f }, 1 },
    { "sppo_hard", BN_BY_PAIR, 0, BETA | PAIRED, REF, { 0.1f }, 1 },
    { "apo_zero", BN_BY_PAIR, 0, BETA | PAIRED, REF, { 0.1f }, 1 },
    { "apo_down", BN_BY_PAIR, 0, BETA | PAIRED, REF, { 0.1f }, 1 },
    { "orpo", BN_BY_PAIR, 0, B(PENALTY) | PAIRED, BN_LENGTHS | BN_MEAN_REWARD,
      { 0.1f, 1 }, 2 },
    { "aot", BN_BY_BATCH, 0, DPO_LIKE, REF, { 0.1f }, 1 },
    { "aot_unpaired", BN_BY_BATCH, 0, DPO_LIKE, REF | BN_UNPAIRED,
      { 0.1f }, 1 },
    { "kto", BN_BY_SEQUENCE, 0, BETA | WISHES, REF_SIDES | BN_KL,
      { 0.1f, 1, 1 }, 0 },
    { "bco", BN_BY_SEQUENCE, 0, BETA | WISHES, REF_SIDES | BN_BASELINE,
      { 0.1f, 1, 1 }, 0 },
    { "apo_zero_unpaired", BN_BY_SEQUENCE, 0, BETA, REF_SIDES, { 0.1f }, 0 },
    { "asft", BN_BY_SEQUENCE, 0, B(PENALTY), BN_SIDES | BN_MEAN_REWARD,
      { 0.1f }, 0 }
};

static uint32_t flags_described(uint32_t kind)
{
    const described *d = losses + kind - 1;

    return BNFLOSS_DEFER_SCALE
           | (kind == BNFLOSS_SFT ? BNFLOSS_DFT | BNFLOSS_CHOSEN_ONLY : 0u)
           | (d->traits & BN_REFERENCE && kind != BNFLOSS_BNF
                  ? BNFLOSS_REFERENCE_FREE : 0u)
           | (d->shape == BN_BY_PAIR ? BNFLOSS_WPO : 0u)
           | (kind == BNFLOSS_BMC ? BNFLOSS_POLICY_WEIGHTS : 0u);
}

/* The library's table says the same. */
static void same_table(uint32_t kind)
{
    const described *d = losses + kind - 1;
    const bn_loss *l = bn_loss_of(kind);

    CHECK(strcmp(l->name, d->name) == 0 && l->shape == d->shape
          && has_margin(kind) == d->margin && l->traits == d->traits
          && (!is_paired(kind) || l->norm == d->sft_norm), "%s: the table has %s, traits %x, "
          "not %x", d->name, l->name, l->traits, d->traits);
    CHECK(flags_taken(kind) == flags_described(kind), "%s: flags %x, not %x",
          d->name, flags_taken(kind), flags_described(kind));
    for (int n = 1; n < BN_NUMBERS; n++) {
        const range *r = ranges + n;
        float unused;

        CHECK(bn_number_ranges[n].at == r->at
              && strcmp(bn_number_ranges[n].name, r->name) == 0
              && bn_accepts(l, (bn_number)n, &unused)
                 == (int)(d->numbers >> n & 1), "%s: %s", d->name, r->name);
    }
}

/* ---- Names --------------------------------------------------------------- */

static void names(void)
{
    static const char *const none[] = { "", " ", "DPO", "Dpo", "dp", "dpo ",
                                        " dpo", "dpop2", "bn", "none", "0",
                                        "sigmoid_", "kto\n" };

    edge("E178");
    CHECK(bnfloss_kind_from_name(NULL) == 0, "a name of NULL");
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        CHECK(bnfloss_kind_from_name(none[i]) == 0, "\"%s\" is a kind",
              none[i]);
    edge("E179");
    CHECK(bnfloss_kind_from_name("sigmoid") == BNFLOSS_DPO, "TRL's name");
    for (uint32_t k = 1; k <= BN_KINDS; k++) {
        const char *name = bnfloss_kind_name(k);

        if (!CHECK(name && strcmp(name, losses[k - 1].name) == 0,
                   "kind %u is not %s", k, losses[k - 1].name))
            continue;
        CHECK(bnfloss_kind_from_name(name) == k, "%s and back", name);
        for (uint32_t j = 1; j < k; j++)
            CHECK(strcmp(name, bnfloss_kind_name(j)) != 0, "%s twice", name);
    }
    edge("E180");
    CHECK(!bnfloss_kind_name(0) && !bnfloss_kind_name(BN_KINDS + 1)
          && !bnfloss_kind_name(0x7fffffff) && !bnfloss_kind_name(0xffffffff),
          "a number that is no kind has a name");
}

/* ---- Defaults ------------------------------------------------------------ */

static float *number_of(bnfloss_spec *s, int n)
{
    return (float *)(void *)((char *)s + ranges[n].at);
}

/* Whether the loss takes a number in this field, under whichever range. */
static int takes_field(uint32_t kind, int n)
{
    for (int k = 1; k < BN_NUMBERS; k++)
        if (ranges[k].at == ranges[n].at && losses[kind - 1].numbers >> k & 1)
            return 1;
    return 0;
}

static void defaults(uint32_t k)
{
    const described *d = losses + k - 1;
    bnfloss_spec s;
    int at = 0;

    edge("E181");
    memset(&s, 0xA5, sizeof s);
    bnfloss_spec_init(&s, sizeof s, k);
    CHECK(s.struct_size == sizeof s && s.kind == k && s.flags == 0
          && s.also == 0 && s.weight == 1 && s.divisor_value == 1
          && s.loss_scale == 1 && s.f_divergence == 0 && s.reserved == 0
          && s.sft_norm == d->sft_norm, "%s: defaults", d->name);
    CHECK(s.token_norm == (k == BNFLOSS_BNF ? 2u : 1u)
          && s.divisor == (d->sft_norm ? 2u : d->traits & BN_SIDES ? 1u : 3u),
          "%s: norm %u, divisor %u", d->name, s.token_norm, s.divisor);
    for (int n = 1; n < BN_NUMBERS; n++) {
        float want = n == BN_LD_ALPHA ? 1.0f : n == BN_F_ALPHA ? 0.5f : 0.0f;

        if (n < BN_LD_ALPHA && d->numbers & 1u << n && at < 4)
            want = d->value[at++];
        if (d->numbers & 1u << n || !takes_field(k, n))
            CHECK(*number_of(&s, n) == (takes_field(k, n) ? want : 0),
                  "%s: %s is %g, not %g", d->name, ranges[n].name,
                  (double)*number_of(&s, n), (double)want);
    }
}

static void defaults_of_no_kind(void)
{
    uint64_t bytes;
    bnfloss_spec s;

    bnfloss_spec_init(&s, sizeof s, 77);
    CHECK(s.struct_size == sizeof s && s.kind == 77 && s.divisor_value == 1
          && bnfloss_workspace(NULL, &s, 1, 1, &bytes) == BNFLOSS_E_ENUM,
          "kind 77");
}

/* Where the caller's spec is another version's: not a byte beyond its size. */
static void defaults_of_a_size(void)
{
    bnfloss_spec whole;
    uint64_t room[sizeof whole / 8 + 4];
    unsigned char *bytes = (unsigned char *)room;
    bnfloss_spec *spec = (bnfloss_spec *)(void *)room;

    edge("E266");
    bnfloss_spec_init(&whole, sizeof whole, BNFLOSS_KTO);
    for (uint32_t size = 8; size <= sizeof room; size += 8) {
        size_t same = 4, zero = 0, saved = 0;

        memset(room, 0xA5, sizeof room);
        CHECK(bnfloss_spec_init(spec, size, BNFLOSS_KTO) == BNFLOSS_OK
              && spec->struct_size == size, "size %u", size);
        for (size_t i = 4; i < sizeof room; i++) {
            same += i < size && i < sizeof whole
                    && bytes[i] == ((unsigned char *)&whole)[i];
            zero += i < size && i >= sizeof whole && bytes[i] == 0;
            saved += i >= size && bytes[i] == 0xA5;
        }
        CHECK(same + zero == size && saved == sizeof room - size,
              "size %u: %zu of it the loss's, %zu zero; %zu kept beyond", size,
              same, zero, saved);
    }

    edge("E267");
    memset(room, 0xA5, sizeof room);
    CHECK(bnfloss_spec_init(NULL, sizeof whole, BNFLOSS_KTO)
              == BNFLOSS_E_NULL, "no spec");
    for (uint32_t size = 0; size < 8; size++)
        CHECK(bnfloss_spec_init(spec, size, BNFLOSS_KTO) == BNFLOSS_E_STRUCT,
              "size %u", size);
    CHECK(bnfloss_spec_init(spec, 4104, BNFLOSS_KTO) == BNFLOSS_E_STRUCT
          && bnfloss_spec_init(spec, sizeof whole + 1, BNFLOSS_KTO)
                 == BNFLOSS_E_STRUCT, "sizes of nothing");
    CHECK(bnfloss_spec_init((bnfloss_spec *)(void *)(bytes + 1), sizeof whole,
                            BNFLOSS_KTO) == BNFLOSS_E_ALIGN, "not aligned");
    for (size_t i = 0; i < sizeof room; i++)
        CHECK(bytes[i] == 0xA5, "byte %zu was written", i);
}

/* ---- Numbers of a spec --------------------------------------------------- */

static float ulp_after(float x, int up)
{
    return nextafterf(x, up ? HUGE_VALF : -HUGE_VALF);
}

/* Of Ada-DPO's two, the other one gives way. */
static void set_number(uint32_t kind, int n, float x)
{
    bnfloss_spec *s = fam.spec;

    *number_of(s, n) = x;
    if (kind == BNFLOSS_ADA_DPO && n == BN_TAU && x > s->tau_max
        && x < HUGE_VALF)
        s->tau_max = x;
    if (kind == BNFLOSS_ADA_DPO && n == BN_TAU_MAX && x > 0 && x < s->tau)
        s->tau = x;
}

/* A number is taken, or out of its range. */
static void number_is(uint32_t kind, int n, float x, int in_range)
{
    set_number(kind, n, x);
    if (in_range)
        fam_taken(ranges[n].name, FAM_ALL);
    else
        fam_refused(ranges[n].name, FAM_ALL, BNFLOSS_E_VALUE, -1);
}

static void taken_number(uint32_t kind, int n)
{
    const range *r = ranges + n;

    edge("E182");
    number_is(kind, n, r->low, !(r->open & BN_ABOVE));
    number_is(kind, n, r->high, !(r->open & BN_BELOW));
    number_is(kind, n, ulp_after(r->low, 1), 1);
    number_is(kind, n, ulp_after(r->high, 0), 1);
    edge("E183");
    number_is(kind, n, ulp_after(r->low, 0), 0);
    number_is(kind, n, ulp_after(r->high, 1), 0);
    number_is(kind, n, NAN, 0);
    number_is(kind, n, HUGE_VALF, 0);
    number_is(kind, n, -HUGE_VALF, 0);
}

static void foreign_number(int n)
{
    static const float bad[] = { 1, -1, 0x1p-149f, NAN, HUGE_VALF };

    edge("E184");
    for (int i = 0; i < 5; i++) {
        *number_of(fam.spec, n) = bad[i];
        fam_refused(ranges[n].name, FAM_ALL, BNFLOSS_E_OPTION, -1);
    }
    *number_of(fam.spec, n) = -0.0f;
    fam_taken(ranges[n].name, FAM_ALL);
}

static void numbers(uint32_t kind)
{
    for (int n = 1; n < BN_NUMBERS; n++) {
        if (losses[kind - 1].numbers >> n & 1)
            taken_number(kind, n);
        else if (!takes_field(kind, n))
            foreign_number(n);
    }
    if (kind == BNFLOSS_ADA_DPO) {
        edge("E185");
        fam.spec[0].tau_max = ulp_after(fam.spec[0].tau, 0);
        fam_refused("tau_max < tau", FAM_ALL, BNFLOSS_E_VALUE, -1);
        fam.spec[0].tau_max = fam.spec[0].tau;
        fam_taken("tau_max = tau", FAM_ALL);
    }
}

static void doubles(void)
{
    static const double bad[] = { NAN, HUGE_VAL, -HUGE_VAL };
    static const double fine[] = { 0, -0.0, -1, 1e308, 5e-324 };

    edge("E186");
    for (int i = 0; i < 3; i++) {
        fam.spec[0].weight = bad[i];
        fam_refused("weight", FAM_ALL, BNFLOSS_E_VALUE, -1);
        fam.spec[0].divisor_value = bad[i];
        fam_refused("divisor_value", FAM_ALL, BNFLOSS_E_VALUE, -1);
        fam.spec[0].loss_scale = bad[i];
        fam_refused("loss_scale", FAM_ALL, BNFLOSS_E_VALUE, -1);
    }
    for (int i = 0; i < 5; i++) {
        fam.spec[0].weight = fine[i];
        fam_taken("weight", FAM_ALL);
    }
    edge("E187");
    for (int k = 0; k < 3; k++) {
        fam.spec[0].loss_scale = k == 1 ? 1 : 1e200;
        fam.spec[0].weight = k == 2 ? 1 : 1e200;
        fam.spec[0].divisor_value = k == 0 ? 1 : 1e-200;
        fam_refused("weight * loss_scale / divisor_value", FAM_ALL,
                    BNFLOSS_E_VALUE, -1);
    }
}

static void constants(uint32_t kind)
{
    const int pairs = is_paired(kind);

    edge("E195");
    for (uint32_t f = 1; f <= BNFLOSS_DEFER_SCALE; f <<= 1) {
        fam.spec[0].flags = f;
        if (!(flags_described(kind) & f))
            fam_refused("a flag", FAM_ALL, BNFLOSS_E_OPTION, -1);
        else
            fam_restore();
    }
    edge("E196");
    fam.spec[0].f_divergence = 4;
    fam_refused("f_divergence 4", FAM_ALL, BNFLOSS_E_ENUM, -1);
    for (uint32_t f = 1; f <= 3; f++) {
        fam.spec[0].f_divergence = f;
        if (losses[kind - 1].traits & BN_DIVERGENCE)
            fam_taken("f_divergence", FAM_ALL);
        else
            fam_refused("f_divergence", FAM_ALL, BNFLOSS_E_OPTION, -1);
    }
    edge("E197");
    for (uint32_t n = 0; n <= 5; n++) {
        fam.spec[0].token_norm = n;
        if (n < 1 || n > 3)
            fam_refused("token_norm", FAM_ALL, BNFLOSS_E_ENUM, -1);
        else if (n == 1 || losses[kind - 1].shape == BN_BY_TOKEN)
            fam_taken("token_norm", FAM_ALL);
        else
            fam_refused("token_norm", FAM_ALL, BNFLOSS_E_OPTION, -1);
    }
    edge("E198");
    for (uint32_t n = 0; n <= 5; n++) {
        fam.spec[0].sft_norm = n;
        if (pairs ? n == 1 || n == 2 || n == 4 : n == 0)
            fam_taken("sft_norm", FAM_ALL);
        else
            fam_refused("sft_norm", FAM_ALL, pairs ? BNFLOSS_E_ENUM
                                                   : BNFLOSS_E_OPTION, -1);
    }
    edge("E199");
    fam.spec[0].reserved = 1;
    fam_refused("reserved", FAM_ALL, BNFLOSS_E_STRUCT, -1);
}

int main(void)
{
    if (!CHECK(sizeof losses / sizeof *losses == BN_KINDS,
               "the table here has %d losses, not %d: add a line for %s",
               (int)(sizeof losses / sizeof *losses), BN_KINDS,
               bnfloss_kind_name(BN_KINDS)))
        return test_end();
    names();
    defaults_of_no_kind();
    defaults_of_a_size();
    for (uint32_t kind = 1; kind <= BN_KINDS; kind++) {
        same_table(kind);
        defaults(kind);
        fam_make_sound(kind, 0);
        numbers(kind);
        doubles();
        constants(kind);
    }
    edges_end("test_losses");
    return test_end();
}
