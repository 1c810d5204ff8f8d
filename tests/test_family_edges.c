/* EDGES.md from E178 on: what each bad or extreme input of the family gets,
 * for every loss.
 *
 * SPDX-License-Identifier: MIT
 *
 * First names and defaults, then the errors: a sound call, one defect, the
 * status, and the whole block of memory as it was. Then the defined values,
 * and the measured shifts. */
#include "family.h"

#include <stdlib.h>

#define B(n) (1u << NUM_##n)

static const char *isa_now;

/* ---- Citing ------------------------------------------------------------- */

static unsigned char cited[1000];

/* The line of EDGES.md that the checks below are about. */
static void edge(const char *id)
{
    const long n = strtol(id + 1, NULL, 10);

    CHECK(id[0] == 'E' && n >= 178 && n < 1000, "no id: %s", id);
    cited[n] = 1;
}

/* ---- Names and defaults ------------------------------------------------- */

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
    CHECK(bnfloss_kind_from_name("sigmoid") == BNFLOSS_DPO, "sigmoid");
    for (uint32_t k = 1; k <= FAM_KINDS; k++) {
        const char *name = bnfloss_kind_name(k);

        if (!CHECK(name && strcmp(name, fam_of(k)->name) == 0,
                   "kind %u is not %s", k, fam_of(k)->name))
            continue;
        CHECK(bnfloss_kind_from_name(name) == k, "%s and back", name);
        for (uint32_t j = 1; j < k; j++)
            CHECK(strcmp(name, bnfloss_kind_name(j)) != 0, "%s twice", name);
    }
    edge("E180");
    CHECK(!bnfloss_kind_name(0) && !bnfloss_kind_name(FAM_KINDS + 1)
          && !bnfloss_kind_name(0x7fffffff) && !bnfloss_kind_name(0xffffffff),
          "a number that is no kind has a name, or family.h lacks a kind");
}

static float *number_of(bnfloss_spec *s, int n)
{
    return (float *)(void *)((char *)s + fam_ranges[n].at);
}

static void defaults(void)
{
    edge("E181");
    for (uint32_t k = 1; k <= FAM_KINDS; k++) {
        const fam_kind *f = fam_of(k);
        bnfloss_spec s;
        int at = 0;

        memset(&s, 0xA5, sizeof s);
        bnfloss_spec_init(&s, sizeof s, k);
        CHECK(s.struct_size == sizeof s && s.kind == k && s.flags == 0
              && s.also == 0 && s.weight == 1 && s.divisor_value == 1
              && s.loss_scale == 1 && s.f_divergence == 0 && s.reserved == 0
              && s.sft_norm == f->sft_norm, "%s: defaults", f->name);
        CHECK(s.token_norm == (k == BNFLOSS_BNF ? 2u : 1u)
              && s.divisor == (fam_pairs(k) ? 2u : f->shape == BY_TOKEN
                               && !(f->needs & NEED_SIDES) ? 3u : 1u),
              "%s: norm %u, divisor %u", f->name, s.token_norm, s.divisor);
        for (int n = 0; n < NUM_COUNT; n++) {
            float want = n == NUM_LD ? 1.0f : n == NUM_F_ALPHA ? 0.5f : 0.0f;

            if (n < NUM_LD && f->numbers & 1u << n && at < 4)
                want = f->value[at++];
            if (!(f->numbers & 1u << n))
                want = 0;
            CHECK(*number_of(&s, n) == want, "%s: %s is %g, not %g", f->name,
                  fam_ranges[n].name, (double)*number_of(&s, n),
                  (double)want);
        }
    }
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

/* ---- Errors ------------------------------------------------------------- */

enum { RUN = 1, STATES = 2, LOGPS = 4, ALL = 7 };

static fam_block sound;         /* what each defect starts from */

/* States of all rows with all sums, and a batch of a kind with them. */
static void make_sound(uint32_t kind, int full)
{
    fam_make(kind, 7, full);
    CHECK(fam_forward(BNFLOSS_ENTROPY | BNFLOSS_MEAN | BNFLOSS_SQUARES,
                      fam.state) == BNFLOSS_OK, "forward");
    memcpy(fam.other, fam.state, sizeof fam.other);
    memcpy(&sound, &fam, sizeof fam);
}

static void restore(void)
{
    memcpy(&fam, &sound, sizeof fam);
}

static bnfloss_status knock(int entry)
{
    return entry == RUN      ? fam_run(fam.grad, 1)
           : entry == STATES ? fam_states()
                             : fam_logps();
}

/* These entry points refuse the batch as it is now and write nothing.
 * Its sound neighbour is what `sound` holds. */
static void refused(const char *what, int entries, bnfloss_status want,
                    int64_t where)
{
    static fam_block bad, before;

    memcpy(&bad, &fam, sizeof fam);
    for (int entry = RUN; entry <= LOGPS; entry <<= 1) {
        bnfloss_status got;

        if (!(entries & entry))
            continue;
        memcpy(&fam, &bad, sizeof fam);
        got = knock(entry);
        CHECK(got == want, "%s, %s, entry point %d: status %d, not %d",
              bnfloss_kind_name(sound.spec[0].kind), what, entry, (int)got,
              (int)want);
        CHECK(fam.result.where == where, "%s, %s, entry %d: where %d, not %d",
              bnfloss_kind_name(sound.spec[0].kind), what, entry,
              (int)fam.result.where, (int)where);
        memcpy(&before, &bad, sizeof fam);
        before.result.where = fam.result.where;
        CHECK(memcmp(&before, &fam, sizeof fam) == 0,
              "%s, %s, entry point %d: "
              "something was written",
              bnfloss_kind_name(sound.spec[0].kind), what, entry);
    }
    restore();
}

/* It is taken, and every NaN in what comes back is the canonical one. */
static void taken(const char *what, int entries)
{
    static fam_block good;
    const char *name = bnfloss_kind_name(sound.spec[0].kind);

    memcpy(&good, &fam, sizeof fam);
    for (int entry = RUN; entry <= LOGPS; entry <<= 1) {
        bnfloss_status got;

        if (!(entries & entry))
            continue;
        memcpy(&fam, &good, sizeof fam);
        got = knock(entry);
        if (!CHECK(got == BNFLOSS_OK, "%s, %s, entry %d: status %d", name,
                   what, entry, (int)got))
            continue;
        for (int i = 0; i < FAM_N; i++)
            CHECK(fam.dlogp[i] == fam.dlogp[i]
                  || bits_of(fam.dlogp[i]) == 0x7FC00000u,
                  "%s, %s: another NaN", name, what);
        CHECK(fam.result.loss == fam.result.loss
              || fam.result.nan_pairs > 0 || fam.result.nan_rows > 0
              || fam_of(fam.spec[0].kind)->shape == BY_SEQUENCE,
              "%s, %s: a NaN loss that is not counted", name, what);
    }
    restore();
}

/* ---- Numbers of a spec -------------------------------------------------- */

static float ulp_after(float x, int up)
{
    return nextafterf(x, up ? HUGE_VALF : -HUGE_VALF);
}

/* Of Ada-DPO's two, the other one gives way. */
static void set_number(uint32_t kind, int n, float x)
{
    bnfloss_spec *s = fam.spec;

    restore();
    *number_of(s, n) = x;
    if (kind == BNFLOSS_ADA_DPO && n == NUM_TAU && x > s->tau_max
        && x < HUGE_VALF)
        s->tau_max = x;
    if (kind == BNFLOSS_ADA_DPO && n == NUM_TAU_MAX && x > 0 && x < s->tau)
        s->tau = x;
}

static void taken_number(uint32_t kind, int n)
{
    fam_range r = fam_ranges[n];
    const char *name = r.name;

    r.open_high |= n == NUM_FLIP && kind == BNFLOSS_ROBUST;
    r.open_low |= n == NUM_FLIP && kind == BNFLOSS_EXO_PAIR;
    edge("E182");
    set_number(kind, n, r.low);
    r.open_low ? refused(name, ALL, BNFLOSS_E_VALUE, -1) : taken(name, ALL);
    set_number(kind, n, r.high);
    r.open_high ? refused(name, ALL, BNFLOSS_E_VALUE, -1) : taken(name, ALL);
    set_number(kind, n, ulp_after(r.low, 1));
    taken(name, ALL);
    set_number(kind, n, ulp_after(r.high, 0));
    taken(name, ALL);
    edge("E183");
    set_number(kind, n, ulp_after(r.low, 0));
    refused(name, ALL, BNFLOSS_E_VALUE, -1);
    set_number(kind, n, ulp_after(r.high, 1));
    refused(name, ALL, BNFLOSS_E_VALUE, -1);
    for (int i = 0; i < 3; i++) {
        static const float bad[] = { NAN, HUGE_VALF, -HUGE_VALF };

        set_number(kind, n, bad[i]);
        refused(name, ALL, BNFLOSS_E_VALUE, -1);
    }
}

static void foreign_number(int n)
{
    static const float bad[] = { 1, -1, 0x1p-149f, NAN, HUGE_VALF };

    edge("E184");
    for (int i = 0; i < 5; i++) {
        *number_of(fam.spec, n) = bad[i];
        refused(fam_ranges[n].name, ALL, BNFLOSS_E_OPTION, -1);
    }
    *number_of(fam.spec, n) = -0.0f;
    taken(fam_ranges[n].name, ALL);
}

static void numbers(uint32_t kind)
{
    for (int n = 0; n < NUM_COUNT; n++) {
        if (fam_of(kind)->numbers & 1u << n)
            taken_number(kind, n);
        else
            foreign_number(n);
    }
    if (kind == BNFLOSS_ADA_DPO) {
        edge("E185");
        fam.spec[0].tau_max = ulp_after(fam.spec[0].tau, 0);
        refused("tau_max < tau", ALL, BNFLOSS_E_VALUE, -1);
        fam.spec[0].tau_max = fam.spec[0].tau;
        taken("tau_max = tau", ALL);
    }
}

static void doubles(void)
{
    static const double bad[] = { NAN, HUGE_VAL, -HUGE_VAL };
    static const double fine[] = { 0, -0.0, -1, 1e308, 5e-324 };

    edge("E186");
    for (int i = 0; i < 3; i++) {
        fam.spec[0].weight = bad[i];
        refused("weight", ALL, BNFLOSS_E_VALUE, -1);
        fam.spec[0].divisor_value = bad[i];
        refused("divisor_value", ALL, BNFLOSS_E_VALUE, -1);
        fam.spec[0].loss_scale = bad[i];
        refused("loss_scale", ALL, BNFLOSS_E_VALUE, -1);
    }
    for (int i = 0; i < 5; i++) {
        fam.spec[0].weight = fine[i];
        taken("weight", ALL);
    }
    edge("E187");
    for (int k = 0; k < 3; k++) {
        fam.spec[0].loss_scale = k == 1 ? 1 : 1e200;
        fam.spec[0].weight = k == 2 ? 1 : 1e200;
        fam.spec[0].divisor_value = k == 0 ? 1 : 1e-200;
        refused("weight * loss_scale / divisor_value", ALL, BNFLOSS_E_VALUE,
                -1);
    }
}

static void constants(uint32_t kind)
{
    const int pairs = fam_pairs(kind);

    edge("E195");
    for (uint32_t f = 1; f <= BNFLOSS_DEFER_SCALE; f <<= 1) {
        fam.spec[0].flags = f;
        if (!(fam_flags(kind) & f))
            refused("a flag", ALL, BNFLOSS_E_OPTION, -1);
        else
            restore();
    }
    edge("E196");
    fam.spec[0].f_divergence = 4;
    refused("f_divergence 4", ALL, BNFLOSS_E_ENUM, -1);
    for (uint32_t f = 1; f <= 3; f++) {
        fam.spec[0].f_divergence = f;
        if (fam_of(kind)->needs & HAS_F)
            taken("f_divergence", ALL);
        else
            refused("f_divergence", ALL, BNFLOSS_E_OPTION, -1);
    }
    edge("E197");
    for (uint32_t n = 0; n <= 5; n++) {
        fam.spec[0].token_norm = n;
        if (n < 1 || n > 3)
            refused("token_norm", ALL, BNFLOSS_E_ENUM, -1);
        else if (n == 1 || fam_of(kind)->shape == BY_TOKEN)
            taken("token_norm", ALL);
        else
            refused("token_norm", ALL, BNFLOSS_E_OPTION, -1);
    }
    edge("E198");
    for (uint32_t n = 0; n <= 5; n++) {
        fam.spec[0].sft_norm = n;
        if (pairs ? n == 1 || n == 2 || n == 4 : n == 0)
            taken("sft_norm", ALL);
        else
            refused("sft_norm", ALL, pairs ? BNFLOSS_E_ENUM
                                           : BNFLOSS_E_OPTION, -1);
    }
    edge("E199");
    fam.spec[0].reserved = 1;
    refused("reserved", ALL, BNFLOSS_E_STRUCT, -1);
}

/* ---- Several losses ----------------------------------------------------- */

static void several(uint32_t kind)
{
    bnfloss_spec *s = fam.spec;

    edge("E188");
    s[0].also = 15;
    taken("also 15", ALL);
    for (int k = 0; k < 2; k++) {
        s[0].also = k ? 0xFFFFFFFFu : 16;
        refused("also", ALL, BNFLOSS_E_VALUE, -1);
    }
    edge("E189");
    s[0].also = 2;
    s[2].also = 1;
    refused("nested also", ALL, BNFLOSS_E_OPTION, -1);
    edge("E190");
    s[0].also = 2;
    s[1].struct_size -= 8;
    refused("a smaller second", ALL, BNFLOSS_E_STRUCT, -1);
    s[0].also = 2;
    s[2].struct_size += 8;
    refused("a larger third", ALL, BNFLOSS_E_STRUCT, -1);
    edge("E191");
    s[0].also = 1;
    s[0].flags = BNFLOSS_DEFER_SCALE;
    fam.out.row_scale = fam.row_scale;
    refused("a deferred mix", ALL, BNFLOSS_E_OPTION, -1);
    s[0].also = 1;
    s[1].flags = BNFLOSS_DEFER_SCALE;
    refused("a deferred second", ALL, BNFLOSS_E_OPTION, -1);
    edge("E200");
    s[0].also = 3;
    s[3].kind = FAM_KINDS + 1;
    refused("an unknown fourth", ALL, BNFLOSS_E_ENUM, -1);
    s[0].also = 3;
    s[3].weight = NAN;
    refused("a fourth of weight NaN", ALL, BNFLOSS_E_VALUE, -1);
    s[0].also = 3;
    s[3].reserved = 1;
    refused("a reserved fourth", ALL, BNFLOSS_E_STRUCT, -1);
    s[0].also = 3;
    *number_of(s + 3, kind == BNFLOSS_BNF ? NUM_BETA : NUM_EPS) = 0.5f;
    refused("a foreign number", ALL, BNFLOSS_E_OPTION, -1);
}

/* Specs that lie as far apart as a newer header makes them. */
static void larger_specs(void)
{
    static union { double align; unsigned char bytes[2 * 512]; } room;
    const uint32_t more[] = { 0, 8, 16, 64 };
    double loss = 0;

    edge("E201");
    make_sound(BNFLOSS_DPO, 0);
    for (int k = 0; k < 4; k++) {
        const uint32_t size = (uint32_t)sizeof(bnfloss_spec) + more[k];
        bnfloss_spec s;

        memset(&room, 0, sizeof room);
        for (int j = 0; j < 2; j++) {
            bnfloss_spec_init(&s, sizeof s, j ? BNFLOSS_HINGE : BNFLOSS_DPO);
            s.struct_size = size;
            s.also = j == 0;
            memcpy(room.bytes + (size_t)j * size, &s, sizeof s);
        }
        CHECK(bnfloss_run(&fam.layout, (bnfloss_spec *)(void *)room.bytes,
                          &fam.in, fam.logits, fam.label, NULL, &fam.out,
                          fam.work, sizeof fam.work, 1, &fam.result)
              == BNFLOSS_OK, "specs of %u bytes", size);
        if (k == 0)
            loss = fam.result.loss;
        CHECK(fam.result.loss == loss, "specs of %u bytes: %g", size,
              fam.result.loss);
    }
    for (uint32_t size = 1; size < 8; size++) {
        restore();
        fam.spec[0].also = 1;
        fam.spec[0].struct_size -= size;
        refused("specs that do not lie aligned", ALL, BNFLOSS_E_STRUCT, -1);
    }
}

/* ---- The deferred scale ------------------------------------------------- */

static void deferred(uint32_t kind)
{
    fam.spec[0].flags = BNFLOSS_DEFER_SCALE;
    edge("E191");
    refused("the loss stage, deferred", STATES | LOGPS, BNFLOSS_E_OPTION, -1);
    edge("E193");
    fam.spec[0].flags = BNFLOSS_DEFER_SCALE;
    refused("deferred without row_scale", RUN, BNFLOSS_E_NULL, -1);
    edge("E194");
    fam.out.row_scale = fam.row_scale;
    refused("row_scale of no use", ALL, BNFLOSS_E_OPTION, -1);
    edge("E247");
    fam.spec[0].flags = BNFLOSS_DEFER_SCALE;
    fam.out.row_scale = fam.row_scale;
    fam.layout.flags |= BNFLOSS_ACCUMULATE;
    refused("rows that lack a scale, accumulated", RUN, BNFLOSS_E_OPTION, -1);
    edge("E192");
    if (!fam_pairs(kind))
        return;
    fam.spec[0].flags = BNFLOSS_DEFER_SCALE;
    fam.spec[0].sft_weight = 0x1p-149f;
    fam.spec[0].ld_alpha = kind == BNFLOSS_BMC ? 0 : 0.5f;
    fam.out.row_scale = fam.row_scale;
    refused("two scales a row", RUN, BNFLOSS_E_OPTION, -1);
}

/* ---- Inputs ------------------------------------------------------------- */

typedef struct input {
    const char *name;
    size_t at;                  /* of the pointer in bnfloss_inputs */
    void *array;
    size_t elem, count;
} input;

#define INPUT(field, array, count)                                            \
    { #field, offsetof(bnfloss_inputs, field), array, sizeof *(array), count }
static const input inputs[] = {
    INPUT(seq_weight, fam.seq_weight, FAM_S),
    INPUT(pair_weight, fam.pair_weight, FAM_P),
    INPUT(pair_scale, fam.pair_scale, FAM_P),
    INPUT(pair_margin, fam.pair_margin, FAM_P),
    INPUT(soft_label, fam.soft, FAM_P),
    INPUT(distance, fam.distance, FAM_S),
    INPUT(row_mask, fam.mask, FAM_N),
    INPUT(log_square, fam.square, FAM_N),
    INPUT(mismatched, fam.mismatched, FAM_M)
};
enum { SEQ_WEIGHT, PAIR_WEIGHT, PAIR_SCALE, PAIR_MARGIN, SOFT, DISTANCE, MASK,
       SQUARE, MISMATCHED, INPUTS };

static void set_input(const input *x, const void *p)
{
    memcpy((char *)&fam.in + x->at, &p, sizeof p);
    if (x == inputs + MISMATCHED)
        fam.in.mismatches = p ? FAM_M : 0;
}

static int reads(uint32_t kind, int x)
{
    const fam_kind *f = fam_of(kind);

    switch (x) {
    case SEQ_WEIGHT:  return !fam_pairs(kind);
    case PAIR_WEIGHT: return f->shape == BY_PAIR;
    case PAIR_SCALE:
    case PAIR_MARGIN: return (f->needs & HAS_MARGIN) != 0;
    case SOFT:        return (f->needs & NEED_SOFT) != 0;
    case DISTANCE:    return (f->needs & NEED_DISTANCE) != 0;
    case MASK:        return (f->needs & NEED_MASK) != 0;
    case MISMATCHED:  return (f->needs & HAS_KL) != 0;
    default:          return 0;         /* log_square: with WPO */
    }
}

static int needs(uint32_t kind, int x)
{
    return x == PAIR_WEIGHT ? (fam_of(kind)->needs & NEED_CERTAINTY) != 0
           : (x == SOFT || x == DISTANCE || x == MASK) && reads(kind, x);
}

static void given_inputs(uint32_t kind)
{
    for (int x = 0; x < INPUTS; x++) {
        if (needs(kind, x)) {
            edge("E202");
            set_input(inputs + x, NULL);
            refused(inputs[x].name, ALL, BNFLOSS_E_NULL, -1);
        }
        set_input(inputs + x, inputs[x].array);
        edge("E204");
        if (reads(kind, x))
            taken(inputs[x].name, ALL);
        else
            refused(inputs[x].name, ALL, BNFLOSS_E_OPTION, -1);
        edge("E206");
        for (size_t off = 1; off < inputs[x].elem && off < FIX_ALIGN_NUMBER;
             off++) {
            set_input(inputs + x, (char *)inputs[x].array + off);
            refused(inputs[x].name, ALL, BNFLOSS_E_ALIGN, -1);
        }
    }
}

static void log_squares(uint32_t kind)
{
    static const float bad[] = { NAN, HUGE_VALF, -HUGE_VALF,
                                 0x1.000002p-6f };
    static fam_block with;

    if (!(fam_flags(kind) & BNFLOSS_WPO))
        return;
    fam.spec[0].flags = BNFLOSS_WPO;
    edge("E203");
    refused("no log_square", LOGPS, BNFLOSS_E_NULL, -1);
    fam.spec[0].flags = BNFLOSS_WPO;
    taken("squares of its own", RUN | STATES);
    fam.spec[0].flags = BNFLOSS_WPO;
    fam.state[8].flags &= ~(uint32_t)BNFLOSS_ROW_SQUARES;
    refused("states without squares", STATES, BNFLOSS_E_STATE, 8);
    edge("E205");
    fam.spec[0].flags = BNFLOSS_WPO;
    fam.in.log_square = fam.square;
    memcpy(&with, &fam, sizeof fam);
    refused("log_square beside logits", RUN | STATES, BNFLOSS_E_OPTION, -1);
    edge("E208");
    for (int k = 0; k < 4; k++) {
        memcpy(&fam, &with, sizeof fam);
        fam.square[9] = bad[k];
        fam.square[FAM_WEIGHTLESS] = NAN;
        refused("log_square", LOGPS, BNFLOSS_E_INPUT, 9);
    }
    memcpy(&fam, &with, sizeof fam);
    fam.square[9] = 0x1p-6f;
    fam.square[3] = -30;
    fam.square[FAM_WEIGHTLESS] = NAN;
    taken("log_square at its ends", LOGPS);
}

/* One bad number in an array, and the good ones at its ends. */
static void bad_number(int x, int64_t i, float low, float high, int open)
{
    float *p = (float *)inputs[x].array;
    const float bad[] = { NAN, HUGE_VALF, -HUGE_VALF,
                          open ? low : ulp_after(low, 0),
                          open ? high : ulp_after(high, 1) };
    const float fine[] = { open ? ulp_after(low, 1) : low,
                           open ? ulp_after(high, 0) : high };

    edge("E207");
    for (int k = 0; k < 5; k++) {
        set_input(inputs + x, inputs[x].array);
        p[i] = bad[k];
        refused(inputs[x].name, ALL, BNFLOSS_E_INPUT, i);
    }
    for (int k = 0; k < 2; k++) {
        set_input(inputs + x, inputs[x].array);
        p[i] = fine[k];
        taken(inputs[x].name, ALL);
    }
}

static void bad_numbers(uint32_t kind)
{
    static const double bad[] = { NAN, HUGE_VAL, -HUGE_VAL };

    for (int x = SEQ_WEIGHT; x <= DISTANCE; x++) {
        const int open = x == PAIR_SCALE || x == SOFT;
        const float high = x == SOFT ? 1 : x == PAIR_SCALE ? HUGE_VALF
                           : FLOAT_MAX;

        if (reads(kind, x)) {
            bad_number(x, 0, open ? 0 : -FLOAT_MAX, high, open);
            bad_number(x, (int64_t)inputs[x].count - 1,
                       open ? 0 : -FLOAT_MAX, high, open);
        }
    }
    for (int k = 0; k < 3 && reads(kind, MISMATCHED); k++) {
        edge("E207");
        set_input(inputs + MISMATCHED, fam.mismatched);
        fam.mismatched[2] = bad[k];
        refused("mismatched", ALL, BNFLOSS_E_INPUT, 2);
    }
    for (int k = 0; k < 4; k++) {
        const double x = k < 3 ? bad[k] : -0x1p-1000;
        const int kto = kind == BNFLOSS_KTO, bco = kind == BNFLOSS_BCO;

        edge("E209");
        fam.in.kl = x;
        refused("kl", ALL, kto ? BNFLOSS_E_VALUE : BNFLOSS_E_OPTION, -1);
        fam.in.shift_count = x;
        refused("shift_count", ALL, bco ? BNFLOSS_E_VALUE : BNFLOSS_E_OPTION,
                -1);
        fam.in.shift_mean = x;
        if (bco && k == 3)
            taken("a small shift_mean", ALL);
        else
            refused("shift_mean", ALL, bco ? BNFLOSS_E_VALUE
                                           : BNFLOSS_E_OPTION, -1);
    }
    if (kind == BNFLOSS_BCO) {
        fam.in.shift_mean = -1e200;
        fam.in.shift_count = 1e200;
        refused("the sum of all shifts", ALL, BNFLOSS_E_VALUE, -1);
    }
}

static void mismatches(void)
{
    make_sound(BNFLOSS_KTO, 1);
    edge("E210");
    fam.in.kl = 0.5;
    refused("mismatched and kl", ALL, BNFLOSS_E_OPTION, -1);
    edge("E211");
    fam.in.mismatches = -1;
    refused("mismatches -1", ALL, BNFLOSS_E_SHAPE, -1);
    fam.in.mismatches = 0;
    refused("mismatches 0", ALL, BNFLOSS_E_SHAPE, -1);
    fam.in.mismatches = (INT64_C(1) << 40) + 1;
    refused("mismatches 2^40 + 1", ALL, BNFLOSS_E_SHAPE, -1);
    fam.in.mismatched = NULL;
    refused("mismatched NULL", ALL, BNFLOSS_E_NULL, -1);
}

static void sides(uint32_t kind)
{
    const fam_kind *f = fam_of(kind);

    edge("E214");
    if (fam_pairs(kind)) {
        fam.in.pairing = 0;
        fam.in.pair_weight = fam.in.pair_scale = fam.in.pair_margin = NULL;
        refused("no pairing", ALL, BNFLOSS_E_PAIRING, -1);
    }
    fam.in.side = NULL;
    if (f->needs & NEED_SIDES) {
        edge("E213");
        refused("no sides", ALL, BNFLOSS_E_NULL, -1);
        fam.in.side = NULL;
        fam.in.pairing = BNFLOSS_PAIRS_HALVES;
    }
    taken("sides of the pairing", ALL);
    if (kind == BNFLOSS_SFT) {
        fam.in.side = NULL;
        fam.spec[0].flags = BNFLOSS_CHOSEN_ONLY;
        refused("CHOSEN_ONLY without sides", ALL, BNFLOSS_E_NULL, -1);
    }
    edge("E228");
    if (f->needs & NEED_REF) {
        fam.in.ref_logp = NULL;
        refused("no reference", ALL, BNFLOSS_E_NULL, -1);
        fam.ref[3] = NAN;
        refused("a NaN reference", ALL, BNFLOSS_E_REF_LOGP, 3);
        if (!(fam_flags(kind) & BNFLOSS_REFERENCE_FREE))
            return;
        fam.in.ref_logp = NULL;
        fam.spec[0].flags = BNFLOSS_REFERENCE_FREE;
        taken("reference-free", ALL);
        fam.spec[0].flags = BNFLOSS_REFERENCE_FREE;
    }
    fam.ref[3] = NAN;
    taken("a NaN that is not read", ALL);
}

/* ---- Overlaps: the new inputs and outputs with each other --------------- */

typedef struct span { const char *name; void **at; size_t size; int written; }
    span;

static int spans(span *s, int loss)
{
    int k = 0;

#define SPAN(p, size, written)                                                \
    (s[k++] = (span){ #p, (void **)(void *)&(p), size, written })
    if (fam.in.seq_weight)
        SPAN(fam.in.seq_weight, FAM_S * 4, 0);
    if (fam.in.pair_weight)
        SPAN(fam.in.pair_weight, FAM_P * 4, 0);
    if (fam.in.pair_scale)
        SPAN(fam.in.pair_scale, FAM_P * 4, 0);
    if (fam.in.pair_margin)
        SPAN(fam.in.pair_margin, FAM_P * 4, 0);
    if (fam.in.soft_label)
        SPAN(fam.in.soft_label, FAM_P * 4, 0);
    if (fam.in.distance)
        SPAN(fam.in.distance, FAM_S * 4, 0);
    if (fam.in.row_mask)
        SPAN(fam.in.row_mask, FAM_N, 0);
    if (fam.in.log_square)
        SPAN(fam.in.log_square, FAM_N * 4, 0);
    if (fam.in.mismatched)
        SPAN(fam.in.mismatched, FAM_M * 8, 0);
    SPAN(fam.out.seq_ratio, FAM_S * 8, 1);
    SPAN(fam.out.seq_loss, fam_pairs(fam.spec[0].kind) ? FAM_P * 8
                                                       : FAM_S * 8, 1);
    SPAN(fam.out.distance_grad, FAM_S * 4, 1);
    SPAN(fam.out.spec_loss, 8 * (size_t)(1 + fam.spec[0].also), 1);
    SPAN(fam.out.dlogp, FAM_N * 4, 1);
    if (!loss)
        SPAN(fam.out.log_square, FAM_N * 4, 1);
    if (!loss && fam.spec[0].flags & BNFLOSS_DEFER_SCALE)
        SPAN(fam.out.row_scale, FAM_N * 4, 1);
#undef SPAN
    return k;
}

static void overlaps(uint32_t kind, int loss)
{
    static fam_block before;
    span s[24];
    int n;

    edge("E212");
    make_sound(kind, 1);
    fam.out.log_square = fam.log_square;
    if (loss && fam_flags(kind) & BNFLOSS_WPO) {
        fam.spec[0].flags = BNFLOSS_WPO;
        fam.in.log_square = fam.square;
    }
    if (!loss) {
        fam.spec[0].flags |= BNFLOSS_DEFER_SCALE;
        fam.out.row_scale = fam.row_scale;
    } else {
        fam.spec[0].also = 2;
    }
    memcpy(&sound, &fam, sizeof fam);
    CHECK((loss ? fam_logps() : fam_run(fam.grad, 1)) == BNFLOSS_OK,
          "%s: sound", bnfloss_kind_name(kind));
    restore();
    n = spans(s, loss);
    for (int i = 0; i < n; i++) {
        for (int j = 0; j < n; j++) {
            uintptr_t to = (uintptr_t)*s[j].at + s[j].size - 1;
            bnfloss_status got;

            if (i == j || !s[i].written)
                continue;
            *s[i].at = (void *)(to - to % 8);
            if (to - to % 8 < (uintptr_t)*s[j].at)
                *s[i].at = (void *)(to - to % 4);
            memcpy(&before, &fam, sizeof fam);
            got = loss ? fam_logps() : fam_run(fam.grad, 1);
            before.result.where = fam.result.where;
            CHECK(got == BNFLOSS_E_OVERLAP
                  || (got == BNFLOSS_E_ALIGN && (uintptr_t)*s[i].at % 8),
                  "%s: %s on %s: status %d", bnfloss_kind_name(kind),
                  s[i].name, s[j].name, (int)got);
            CHECK(memcmp(&before, &fam, sizeof fam) == 0, "%s: %s on %s: "
                  "something was written", bnfloss_kind_name(kind),
                  s[i].name, s[j].name);
            restore();
        }
    }
    /* behind this one lies another input, so an output all within it */
    if (fam.in.log_square) {
        fam.out.seq_loss = (double *)(void *)(fam.square
                               + ((uintptr_t)fam.square % 8 ? 1 : 0));
        CHECK(fam_logps() == BNFLOSS_E_OVERLAP, "%s: seq_loss in log_square",
              bnfloss_kind_name(kind));
        restore();
    }
}

/* The specs after the first are read when the first loss has been written. */
static void overlapped_specs(void)
{
    static fam_block before;

    edge("E254");
    for (int loss = 0; loss < 2; loss++) {
        make_sound(BNFLOSS_SFT, 0);
        fam_also(1, BNFLOSS_SFT, 2);
        fam.out.seq_loss = (double *)(void *)&fam.spec[1].weight
                           - (FAM_S - 1);
        fam.out.seq_logp = NULL;
        memcpy(&before, &fam, sizeof fam);
        CHECK((loss ? fam_logps() : fam_run(fam.grad, 1))
              == BNFLOSS_E_OVERLAP, "seq_loss on the second spec");
        before.result.where = fam.result.where;
        CHECK(memcmp(&before, &fam, sizeof fam) == 0, "it was written");
    }
}

/* ---- Work of several losses --------------------------------------------- */

/* Exactly the bytes that are asked for, at every address: an even number of
 * rows, so that no rounding up to 16 bytes hides a double too many. */
static void exact_work(int loss)
{
    static unsigned char space[FAM_WORK + 64];
    float first[FAM_N];

    for (size_t shift = 0; shift < 33; shift++) {
        bnfloss_status status;
        uint64_t bytes = 0;
        size_t changed = 0;

        fam_make(BNFLOSS_DPO, 3, 0);
        fam_also(1, BNFLOSS_SFT, 0.5);
        fam_also(2, BNFLOSS_KTO, 0.25);
        status = bnfloss_workspace(loss ? NULL : &fam.layout, fam.spec, FAM_N,
                                   FAM_S, &bytes);
        CHECK(status == BNFLOSS_OK && bytes > 0 && bytes < FAM_WORK,
              "workspace: %d bytes", (int)bytes);
        memset(space, 0xA5, sizeof space);
        status = loss
            ? bnfloss_loss(fam.spec, &fam.in, FAM_N, NULL, fam.logp_in, NULL,
                           fam.dlogp_out, NULL, space + shift, bytes,
                           &fam.result)
            : bnfloss_run(&fam.layout, fam.spec, &fam.in, fam.logits,
                          fam.label, NULL, &fam.out, space + shift, bytes, 1,
                          &fam.result);
        CHECK(status == BNFLOSS_OK, "exact work at %d: status %d", (int)shift,
              (int)status);
        for (size_t i = 0; i < sizeof space; i++)
            if (i < shift || i >= shift + (size_t)bytes)
                changed += space[i] != 0xA5;
        CHECK(changed == 0, "%d bytes beside the work at %d", (int)changed,
              (int)shift);
        if (shift == 0)
            memcpy(first, loss ? fam.dlogp_out : fam.dlogp, sizeof first);
        CHECK(memcmp(first, loss ? fam.dlogp_out : fam.dlogp, sizeof first)
              == 0, "other bits with work at %d", (int)shift);
    }
}

static void errors(void)
{
    for (uint32_t kind = 1; kind <= FAM_KINDS; kind++) {
        make_sound(kind, 0);
        taken("the sound batch", ALL);
        numbers(kind);
        doubles();
        constants(kind);
        several(kind);
        deferred(kind);
        restore();
        given_inputs(kind);
        log_squares(kind);
        bad_numbers(kind);
        sides(kind);
        for (int loss = 0; loss < 2; loss++)
            overlaps(kind, loss);
    }
    mismatches();
    larger_specs();
}

/* ---- Values: two calls compared ----------------------------------------- */

typedef struct outcome {
    bnfloss_result result;
    float dlogp[FAM_N], row_loss[FAM_N], logp[FAM_N], distance[FAM_S];
    double seq_loss[FAM_S], seq_logp[FAM_S], seq_ratio[FAM_S];
    float grad[FAM_N][FAM_V];
} outcome;

static void take(outcome *o)
{
    memset(o, 0, sizeof *o);
    memcpy(&o->result, &fam.result, sizeof o->result);
    memcpy(o->dlogp, fam.dlogp, sizeof o->dlogp);
    memcpy(o->row_loss, fam.row_loss, sizeof o->row_loss);
    memcpy(o->logp, fam.logp, sizeof o->logp);
    memcpy(o->distance, fam.distance_grad, sizeof o->distance);
    memcpy(o->seq_loss, fam.seq_loss, sizeof(double)
           * (fam_pairs(fam.spec[0].kind) ? FAM_P : FAM_S));
    memcpy(o->seq_logp, fam.seq_logp, sizeof o->seq_logp);
    memcpy(o->seq_ratio, fam.seq_ratio, sizeof o->seq_ratio);
    for (int64_t i = 0; i < FAM_N; i++)
        for (int64_t v = 0; v < FAM_V; v++)
            o->grad[i][v] = fam_grad(i, v);
}

static outcome *run_and_take(outcome *o, const char *what)
{
    const bnfloss_status got = fam_run(fam.grad, 1);

    CHECK(got == BNFLOSS_OK, "%s, %s: status %d",
          bnfloss_kind_name(fam.spec[0].kind), what, (int)got);
    take(o);
    return o;
}

static int same_row(const outcome *a, const outcome *b, int64_t i)
{
    return bits_of(a->dlogp[i]) == bits_of(b->dlogp[i])
           && memcmp(a->grad[i], b->grad[i], sizeof a->grad[i]) == 0;
}

/* A row of NaN, or whose every element is 0. */
static int nan_row(const outcome *o, int64_t i)
{
    int all = o->dlogp[i] != o->dlogp[i];

    for (int v = 0; v < FAM_V; v++)
        all &= bits_of(o->grad[i][v]) == 0x7FC00000u;
    return all;
}

static int zero_row(const outcome *o, int64_t i)
{
    int all = o->dlogp[i] == 0;

    for (int v = 0; v < FAM_V; v++)
        all &= o->grad[i][v] == 0;
    return all;
}

static outcome was, is;

/* The rows of sequences from .. to - 1 are ignored by their labels. */
static void empty(int64_t from, int64_t to)
{
    for (int64_t i = fam.start[from]; i < fam.start[to]; i++)
        fam.label[i] = -1;
}

/* ---- Values: weights of 0, empty sequences ------------------------------ */

static void value_weight_0(uint32_t kind)
{
    const int by_pair = fam_of(kind)->shape == BY_PAIR;
    const int may_be_nan = kind != BNFLOSS_BCO;     /* its shift would be */
    const char *name = bnfloss_kind_name(kind);

    if (fam_of(kind)->shape == BY_BATCH)
        return;
    edge(by_pair ? "E217" : "E216");
    make_sound(kind, 1);
    run_and_take(&was, "weights");
    for (int bad = 0; bad <= may_be_nan; bad++) {
        restore();
        if (by_pair)
            fam.pair_weight[1] = 0;
        else
            fam.seq_weight[2] = fam.seq_weight[3] = 0;
        if (bad)
            fam_set_logit(fam.start[2], 3, NAN);
        run_and_take(&is, "a weight of 0");
        if (kind == BNFLOSS_CPO || kind == BNFLOSS_SLIC || kind == BNFLOSS_RPO
            || kind == BNFLOSS_RPO_MEAN || kind == BNFLOSS_ORPO)
            continue;           /* their likelihood term stays */
        CHECK(is.result.loss == is.result.loss && is.result.nan_pairs == 0
              && is.result.nan_rows == bad, "%s: loss %g", name,
              is.result.loss);
        CHECK(is.result.divisor == was.result.divisor
              && is.result.pairs == was.result.pairs, "%s: it counts", name);
        for (int64_t i = 0; i < FAM_N; i++)
            CHECK(fam_seq(i) / 2 == 1 ? zero_row(&is, i)
                  : kind == BNFLOSS_BCO || same_row(&was, &is, i),
                  "%s: row %d of weight 0%s", name, (int)i,
                  bad ? ", NaN" : "");
        CHECK(by_pair ? is.seq_loss[1] == 0
                      : is.seq_loss[2] == 0 && is.seq_loss[3] == 0,
              "%s: a loss of weight 0", name);
    }
}

/* A loss that is switched off is off, alone and beside another; what it would
 * be is in spec_loss. */
static void value_call_weight_0(uint32_t kind)
{
    const char *name = bnfloss_kind_name(kind);

    edge("E257");
    for (int bad = 0; bad < 3; bad++) {     /* 1: NaN, 2: p = 0 */
        make_sound(kind, 1);
        fam.spec[0].weight = 0;
        if (bad)
            fam_set_logit(fam.start[2],
                          bad == 1 ? 3 : (int)fam.label[fam.start[2]],
                          bad == 1 ? NAN : -HUGE_VALF);
        run_and_take(&is, "a loss of weight 0");
        CHECK(is.result.loss == 0 && is.result.nan_rows == (bad == 1),
              "%s: loss %g, %d NaN rows", name, is.result.loss,
              (int)is.result.nan_rows);
        for (int64_t i = 0; i < FAM_N; i++)
            CHECK(zero_row(&is, i), "%s: row %d of weight 0", name, (int)i);
        if (fam_of(kind)->needs & NEED_DISTANCE)
            for (int64_t q = 0; q < FAM_S; q++)
                CHECK(fam.distance_grad[q] == 0, "%s: distance %d", name,
                      (int)q);
    }
    make_sound(kind, 1);
    fam_set_logit(fam.start[3], 3, NAN);        /* of a rejected response */
    fam.spec[0].weight = 0;
    fam_also(1, BNFLOSS_SFT, 1);
    fam.spec[1].flags = BNFLOSS_CHOSEN_ONLY;
    run_and_take(&is, "a loss of weight 0 beside SFT");
    CHECK(is.result.loss > 0 && is.result.loss == fam.spec_loss[1],
          "%s: %g is not SFT's %g", name, is.result.loss, fam.spec_loss[1]);
}

static void value_empty(uint32_t kind)
{
    const fam_kind *f = fam_of(kind);
    const int lengths = (f->needs & HAS_LENGTHS) != 0;

    edge("E218");
    for (int side = 0; side < 2; side++) {
        make_sound(kind, 1);
        empty(2 + side, 3 + side);
        run_and_take(&is, "an empty completion");
        CHECK(is.result.loss - is.result.loss == 0
              && is.result.empty_sequences == 1
              && is.result.sequences == FAM_S - 1, "%s: an empty completion",
              f->name);
        CHECK(is.result.skipped_pairs == (fam_pairs(kind) && lengths)
              && is.result.pairs == (fam_pairs(kind) ? FAM_P - lengths : 0),
              "%s: %d pairs, %d skipped", f->name, (int)is.result.pairs,
              (int)is.result.skipped_pairs);
        for (int64_t i = fam.start[2]; i < fam.start[4]; i++) {
            if (!fam_valid(i))
                CHECK(zero_row(&is, i), "%s: row %d", f->name, (int)i);
            else if (lengths)
                CHECK(zero_row(&is, i), "%s: row %d of a skipped pair",
                      f->name, (int)i);
            else
                CHECK(is.dlogp[i] - is.dlogp[i] == 0, "%s: row %d", f->name,
                      (int)i);
        }
        if (lengths)
            CHECK(is.seq_loss[1] == 0, "%s: a skipped pair's loss", f->name);
    }
    edge("E219");
    for (int all = 0; all < 2; all++) {
        make_sound(kind, 1);
        for (int64_t s = 0; s < FAM_S; s += all ? 1 : 2)
            empty(s, s + 1);
        for (int d = 1; d <= 4; d++) {
            fam.spec[0].divisor = (uint32_t)d;
            if (d == BNFLOSS_DIV_PAIRS && !fam.in.pairing)
                continue;
            run_and_take(&is, "nothing but empty completions");
            if (!all && !lengths)
                continue;
            CHECK(is.result.loss == 0 && is.result.pairs == 0
                  && is.result.skipped_pairs == (fam.in.pairing ? FAM_P : 0),
                  "%s: loss %g of skipped pairs", f->name, is.result.loss);
            for (int64_t i = 0; i < FAM_N; i++)
                CHECK(zero_row(&is, i), "%s: row %d of skipped pairs",
                      f->name, (int)i);
        }
    }
}

/* ---- Values: NaN and infinities ----------------------------------------- */

static void value_nan(uint32_t kind)
{
    const fam_kind *f = fam_of(kind);
    int64_t bad = 0;

    make_sound(kind, 1);
    run_and_take(&was, "sound");
    restore();
    fam_set_logit(fam.start[3] + 2, 5, NAN);    /* rejected, of pair 1 */
    bad = fam.start[3] + 2;
    run_and_take(&is, "a NaN logit");
    CHECK(is.result.nan_rows == 1 && is.result.loss != is.result.loss,
          "%s: a NaN row, loss %g", f->name, is.result.loss);
    switch (f->shape) {
    case BY_TOKEN:
        edge("E220");
        for (int64_t i = 0; i < FAM_N; i++)
            CHECK(i == bad ? nan_row(&is, i) : same_row(&was, &is, i),
                  "%s: row %d", f->name, (int)i);
        break;
    case BY_PAIR:
        edge("E220");
        CHECK(is.result.nan_pairs == 1, "%s: NaN pairs", f->name);
        for (int64_t i = 0; i < FAM_N; i++)
            CHECK(!fam_valid(i) ? zero_row(&is, i)
                  : fam_seq(i) / 2 == 1 ? nan_row(&is, i)
                  : same_row(&was, &is, i), "%s: row %d", f->name, (int)i);
        for (int k = 0; k < FAM_P; k++)
            CHECK(k == 1 ? is.seq_loss[k] != is.seq_loss[k]
                         : is.seq_loss[k] == was.seq_loss[k],
                  "%s: loss of pair %d", f->name, k);
        break;
    case BY_BATCH:
        edge("E221");
        CHECK(is.result.nan_pairs == 1, "%s: NaN pairs", f->name);
        for (int64_t i = 0; i < FAM_N; i++) {
            const int64_t s = fam_seq(i);

            if (!fam_valid(i))
                CHECK(zero_row(&is, i), "%s: row %d", f->name, (int)i);
            else if (s == 3 || (kind == BNFLOSS_AOT && s == 2))
                CHECK(nan_row(&is, i), "%s: row %d", f->name, (int)i);
            else if (kind == BNFLOSS_AOT || s % 2)
                CHECK(is.dlogp[i] == is.dlogp[i], "%s: row %d", f->name,
                      (int)i);
        }
        break;
    default:
        edge("E222");
        for (int64_t i = 0; i < FAM_N; i++)
            CHECK(!fam_valid(i) ? zero_row(&is, i)
                  : fam_seq(i) == 3 || kind == BNFLOSS_BCO ? nan_row(&is, i)
                  : same_row(&was, &is, i), "%s: row %d", f->name, (int)i);
        break;
    }
}

/* AOT without pairs: the NaN goes to the end of its own order, and meets the
 * largest of the other. */
static void value_nan_order(void)
{
    int chosen[FAM_P] = { 0 }, sum = 0;

    edge("E221");
    make_sound(BNFLOSS_AOT_UNPAIRED, 0);
    fam_set_logit(fam.start[3] + 2, 5, NAN);
    run_and_take(&is, "a NaN logit");
    for (int64_t i = 0; i < FAM_N; i++) {
        const int64_t s = fam_seq(i);

        if (fam_valid(i) && s % 2 == 0 && nan_row(&is, i))
            chosen[s / 2] = 1;
    }
    for (int k = 0; k < FAM_P; k++) {
        double max = fam.seq_ratio[0];

        for (int j = 0; j < FAM_P; j++)
            max = fmax(max, fam.seq_ratio[2 * j]);
        sum += chosen[k];
        CHECK(chosen[k] == (fam.seq_ratio[2 * k] == max), "pair %d", k);
    }
    CHECK(sum == 1, "%d chosen responses have met a NaN", sum);
}

/* -inf at a label, and p_ref = 0. */
static void value_infinite(uint32_t kind)
{
    const fam_kind *f = fam_of(kind);

    edge("E223");
    for (int n = 0; n < 4; n++) {
        const int64_t s = 2 + (n & 1), i = fam.start[s];
        const int bco = kind == BNFLOSS_BCO;

        make_sound(kind, 0);
        run_and_take(&was, "sound");
        restore();
        if (n & 2)
            fam.ref[i] = -HUGE_VALF;
        else
            fam_set_logit(i, fam.label[i], -HUGE_VALF);
        run_and_take(&is, "an infinite logp");
        CHECK((is.result.loss == is.result.loss) == !(bco
              && (f->needs & NEED_REF)), "%s: %s, loss %g", f->name,
              n & 2 ? "p_ref = 0" : "-inf", is.result.loss);
        CHECK(is.result.nan_rows == 0 && is.result.nan_pairs == 0
              && is.result.zero_refs == ((n & 2) && f->needs & NEED_REF),
              "%s: what is counted", f->name);
        for (int64_t k = 0; k < FAM_N && !bco; k++) {
            CHECK(is.dlogp[k] == is.dlogp[k], "%s: %s, %s: dlogp of row %d "
                  "is NaN", f->name, n & 1 ? "rejected" : "chosen",
                  n & 2 ? "p_ref = 0" : "-inf", (int)k);
            if (f->shape == BY_PAIR && fam_seq(k) / 2 != 1)
                CHECK(same_row(&was, &is, k), "%s: row %d", f->name, (int)k);
        }
    }
    edge("E224");
    make_sound(kind, 0);
    fam.ref[fam.start[2]] = -HUGE_VALF;
    fam_set_logit(fam.start[2], fam.label[fam.start[2]], -HUGE_VALF);
    fam.ref[fam.start[3]] = -HUGE_VALF;
    fam_set_logit(fam.start[3], fam.label[fam.start[3]], -HUGE_VALF);
    run_and_take(&is, "infinite on both sides");
    for (int64_t i = 0; i < FAM_N; i++)
        CHECK(fam_valid(i) || zero_row(&is, i), "%s: row %d", f->name,
              (int)i);
    if (f->shape == BY_PAIR)
        CHECK(is.result.nan_pairs == 1 && is.result.loss != is.result.loss
              && is.seq_loss[1] != is.seq_loss[1], "%s: -inf - -inf, %d NaN "
              "pairs", f->name, (int)is.result.nan_pairs);
}

/* WPO, whose weight is then 0. */
static void value_wpo_infinite(uint32_t kind)
{
    if (!(fam_flags(kind) & BNFLOSS_WPO))
        return;
    edge("E225");
    make_sound(kind, 0);
    fam.spec[0].flags = BNFLOSS_WPO;
    fam_set_logit(fam.start[2], fam.label[fam.start[2]], -HUGE_VALF);
    run_and_take(&is, "WPO of -inf");
    if (fam.spec[0].sft_weight > 0)
        return;
    CHECK(is.seq_loss[1] == 0 && is.result.loss == is.result.loss,
          "%s: a pair whose weight is 0 has loss %g",
          bnfloss_kind_name(kind), is.seq_loss[1]);
    for (int64_t i = fam.start[2]; i < fam.start[4]; i++)
        CHECK(zero_row(&is, i), "%s: row %d", bnfloss_kind_name(kind),
              (int)i);
}

/* Log-ratios of +-2000 a token: nothing is NaN, and no gradient that should
 * fade is. */
static void value_far(uint32_t kind)
{
    const fam_kind *f = fam_of(kind);

    edge("E226");
    for (int n = 0; n < 4 * 4; n++) {
        const int64_t s = 2 + (n & 1);
        const int fd = n / 4;

        make_sound(kind, 0);
        if (fd && !(f->needs & HAS_F))
            break;
        fam.spec[0].f_divergence = (uint32_t)fd;
        for (int64_t i = fam.start[s]; i < fam.start[s + 1]; i++) {
            if (n & 2)
                fam.ref[i] = -2000;
            else if (fam.label[i] >= 0)
                fam_set_logit(i, fam.label[i], -2000);
        }
        run_and_take(&is, "far");
        CHECK(is.result.loss == is.result.loss && is.result.nan_pairs == 0,
              "%s, f-divergence %d: far %s%s gives loss %g", f->name, fd,
              n & 1 ? "rejected" : "chosen", n & 2 ? " reference" : "",
              is.result.loss);
        for (int64_t i = 0; i < FAM_N; i++)
            CHECK(is.dlogp[i] == is.dlogp[i], "%s, f-divergence %d: far "
                  "%s%s: dlogp of row %d is NaN", f->name, fd,
                  n & 1 ? "rejected" : "chosen", n & 2 ? " reference" : "",
                  (int)i);
    }
}

/* An f16 gradient that overflows is infinite. */
static void value_f16(uint32_t kind)
{
    int64_t infinite = 0;

    edge("E227");
    make_sound(kind, 0);
    fam.layout.grad_type = BNFLOSS_F16;
    fam.spec[0].loss_scale = 1e12;
    CHECK(fam_run(fam.grad, 1) == BNFLOSS_OK, "f16");
    for (int64_t i = 0; i < FAM_N; i++) {
        for (int64_t v = 0; v < FAM_V; v++) {
            const float g = fam_grad(i, v);

            CHECK(g == g, "%s: f16 gradient NaN", bnfloss_kind_name(kind));
            infinite += g - g != 0;
        }
    }
    CHECK(infinite > 0, "%s: nothing overflows", bnfloss_kind_name(kind));
}

/* ---- Values: what each loss of a mix reads ------------------------------ */

static void value_masks(void)
{
    edge("E229");
    make_sound(BNFLOSS_DPO, 0);
    run_and_take(&was, "DPO");
    make_sound(BNFLOSS_BMC, 0);
    memset(fam.mask, 0, sizeof fam.mask);
    run_and_take(&is, "BMC without a difference");
    CHECK(memcmp(is.dlogp, was.dlogp, sizeof is.dlogp) == 0
          && is.result.loss == was.result.loss,
          "BMC whose mask is 0 is DPO: %g, %g", is.result.loss,
          was.result.loss);
    edge("E230");
    make_sound(BNFLOSS_BMC, 0);
    run_and_take(&was, "a mask");
    restore();
    for (int i = 0; i < FAM_N; i++)
        fam.mask[i] = fam.mask[i] ? (uint8_t)(255 - i) : 0;
    run_and_take(&is, "another mask");
    CHECK(memcmp(&was, &is, sizeof is) == 0, "a mask is 0 or not");
}

static void value_mixes(void)
{
    outcome first;

    edge("E231");
    make_sound(BNFLOSS_AOT, 0);
    run_and_take(&was, "AOT");
    make_sound(BNFLOSS_DPO, 0);
    fam_also(1, BNFLOSS_AOT, 1);
    fam.spec[0].weight = 0;
    fam.in.pair_weight = fam.pair_weight;
    run_and_take(&is, "AOT beside pair weights");
    CHECK(is.result.loss == was.result.loss
          && memcmp(is.dlogp, was.dlogp, sizeof is.dlogp) == 0,
          "AOT reads no pair_weight: %g, not %g", is.result.loss,
          was.result.loss);
    edge("E232");
    make_sound(BNFLOSS_FPO, 0);
    run_and_take(&first, "FPO");
    fam.spec[0].alpha = 2;
    run_and_take(&was, "FPO of alpha 2");
    fam_also(1, BNFLOSS_FPO, 1);
    run_and_take(&is, "both");
    for (int s = 0; s < FAM_S; s++)
        CHECK(fabsf(is.distance[s] - (first.distance[s] + was.distance[s]))
              <= 2 * (float)U * fabsf(is.distance[s]), "distance_grad of two "
              "losses: %g, not %g", (double)is.distance[s],
              (double)(first.distance[s] + was.distance[s]));
    edge("E233");
    for (int n = 0; n < 2; n++) {
        make_sound(n ? BNFLOSS_SFT : BNFLOSS_DPO, 0);
        fam_also(1, n ? BNFLOSS_DPO : BNFLOSS_SFT, 1);
        fam.spec[1 - n].flags = BNFLOSS_CHOSEN_ONLY;
        run_and_take(n ? &is : &was, "SFT of the chosen beside DPO");
    }
    CHECK(fabs(is.result.loss - was.result.loss) < 1e-14
          && memcmp(is.dlogp, was.dlogp, sizeof is.dlogp) == 0
          && memcmp(is.grad, was.grad, sizeof is.grad) == 0,
          "SFT of the chosen first, DPO second: %g, not %g", is.result.loss,
          was.result.loss);
}

/* Of no rows too every loss says what it is. */
static void value_empty_mix(void)
{
    edge("E255");
    for (int loss = 0; loss < 2; loss++) {
        double each[3] = { -1, -1, -1 };
        bnfloss_outputs out = { .struct_size = sizeof out,
                                .spec_loss = each };
        bnfloss_status status;

        make_sound(BNFLOSS_SFT, 0);
        fam_also(1, BNFLOSS_SFT, 2);
        fam_also(2, BNFLOSS_SFT, 3);
        fam.layout.rows = 0;
        status = loss ? bnfloss_loss(fam.spec, NULL, 0, NULL, NULL, NULL,
                                     NULL, &out, NULL, 0, &fam.result)
                      : bnfloss_run(&fam.layout, fam.spec, NULL, NULL, NULL,
                                    NULL, &out, NULL, 0, 1, &fam.result);
        CHECK(status == BNFLOSS_OK && each[0] == 0 && each[1] == 0
              && each[2] == 0, "no rows: %g %g %g", each[0], each[1],
              each[2]);
    }
}

/* A penalty of 0 leaves ORPO's likelihood, whatever the odds. */
static void value_orpo_only(void)
{
    static const float logp[] = { -1, 0 };
    static const int64_t start[] = { 0, 1, 2 };
    bnfloss_inputs in = { .struct_size = sizeof in, .sequences = 2,
                          .seq_start = start,
                          .pairing = BNFLOSS_PAIRS_ADJACENT };
    bnfloss_result r = { .struct_size = sizeof r };
    bnfloss_spec s;
    float dlogp[2];

    edge("E256");
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_ORPO);
    s.penalty = 0;
    CHECK(bnfloss_loss(&s, &in, 2, NULL, logp, NULL, dlogp, NULL, fam.work,
                       sizeof fam.work, &r) == BNFLOSS_OK && r.loss == 1
          && dlogp[0] == -1 && dlogp[1] == 0, "loss %g, dlogp %g %g", r.loss,
          (double)dlogp[0], (double)dlogp[1]);
}

/* log_square where 2 z' would leave the range of a float. */
static void value_far_squares(void)
{
    static const float far[][4] = {
        { -FLOAT_MAX, -FLOAT_MAX, -FLOAT_MAX, -FLOAT_MAX },
        { 2e38f, 2e38f, 0, -1 }, { -2e38f, -2e38f, -2e38f, -3e38f },
        { 1e38f, 1e38f, 1e38f, 1e38f },
        { 3e38f, -3e38f, 0, -HUGE_VALF }
    };
    static const int even[] = { 4, 2, 3, 4, 1 };    /* as large as the first */

    edge("E253");
    for (int i = 0; i < 5; i++) {
        for (int32_t label = 0; label < 3; label++) {
            const double want = -log((double)even[i]);
            bnfloss_layout w = { .struct_size = sizeof w, .rows = 1,
                                 .vocab = 4 };
            float square = 9;
            bnfloss_outputs out = { .struct_size = sizeof out,
                                    .log_square = &square };
            bnfloss_row x;

            CHECK(bnfloss_forward(&w, far[i], &label, 0, 1, &x, &out, NULL)
                  == BNFLOSS_OK && fabs((double)square - want)
                  <= 2 * U * fabs(want), "row %d: %g, not %g", i,
                  (double)square, want);
        }
    }
}

/* CHOSEN_ONLY is the others' rows ignored. */
/* dlogp of two responses of a token each, a pair or two sides. */
static double of_two(const bnfloss_spec *s, float first, float second,
                     float *dlogp)
{
    static const int64_t start[] = { 0, 1, 2 };
    static const int8_t sides[] = { 1, -1 };
    static const float ref[] = { -1, -1 };
    const float logp[] = { first, second };
    bnfloss_inputs in = { .struct_size = sizeof in, .sequences = 2,
                          .seq_start = start };
    bnfloss_result r = { .struct_size = sizeof r };

    if (s->kind == BNFLOSS_ASFT)
        in.side = sides;
    else
        in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.ref_logp = s->kind == BNFLOSS_DISCOPOP ? ref : NULL;
    CHECK(bnfloss_loss(s, &in, 2, NULL, logp, NULL, dlogp, NULL, fam.work,
                       sizeof fam.work, &r) == BNFLOSS_OK, "kind %d",
          (int)s->kind);
    return r.loss;
}

/* A response that is to become unlikely, and is certain: its gradient points
 * down, infinitely, and is 0 where the loss has no weight. */
static void value_certain(void)
{
    bnfloss_spec s;
    float dlogp[2];

    edge("E260");
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_ORPO);
    CHECK(of_two(&s, -1, 0, dlogp) == HUGE_VAL && dlogp[0] < -1
          && dlogp[1] == HUGE_VALF, "ORPO: dlogp %g", (double)dlogp[1]);
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_ASFT);
    CHECK(of_two(&s, -1, 0, dlogp) == HUGE_VAL && dlogp[0] < 0
          && dlogp[1] == HUGE_VALF, "ASFT: dlogp %g", (double)dlogp[1]);
    s.penalty = 0;
    CHECK(of_two(&s, -1, 0, dlogp) == 0.5 && dlogp[0] == -0.5f
          && dlogp[1] == 0, "ASFT without penalty: dlogp %g",
          (double)dlogp[1]);
}

/* DiscoPOP far down: e^(-u (1 - 1/tau)) grows for tau > 1, and is 1 or
 * nothing below; no NaN in its slope. */
static void value_discopop_far(void)
{
    static const float far[] = { -1e30f, -HUGE_VALF };
    bnfloss_spec s;
    float dlogp[2];

    edge("E261");
    bnfloss_spec_init(&s, sizeof s, BNFLOSS_DISCOPOP);
    for (int i = 0; i < 2; i++) {
        s.tau = 2;
        CHECK(of_two(&s, far[i], -1, dlogp) == HUGE_VAL
              && dlogp[0] == -HUGE_VALF && dlogp[1] == HUGE_VALF,
              "tau 2: dlogp %g %g", (double)dlogp[0], (double)dlogp[1]);
        for (int half = 0; half < 2; half++) {
            s.tau = half ? 0.5f : 1;
            CHECK(of_two(&s, far[i], -1, dlogp) > 1e28
                  && dlogp[0] == -s.beta && dlogp[1] == s.beta,
                  "tau %g: dlogp %g %g", (double)s.tau, (double)dlogp[0],
                  (double)dlogp[1]);
        }
    }
}

/* Pairs without a row, for which nothing has to be given. */
static void value_no_soft_label(void)
{
    static const int64_t start[] = { 0, 0, 0 };
    static const uint32_t kinds[] = { BNFLOSS_IREPO, BNFLOSS_DPO };
    double work[64], pair_loss = 7;
    bnfloss_result r;
    bnfloss_outputs o;
    bnfloss_inputs in;
    bnfloss_spec s;
    float dlogp = 7;

    edge("E265");
    EMPTY(r);
    EMPTY(o);
    EMPTY(in);
    o.seq_loss = &pair_loss;
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = 2;
    in.seq_start = start;
    for (int k = 0; k < 2; k++) {
        bnfloss_spec_init(&s, sizeof s, kinds[k]);
        CHECK(bnfloss_loss(&s, &in, 0, NULL, NULL, NULL, &dlogp, &o, work,
                           sizeof work, &r) == BNFLOSS_OK && r.loss == 0
              && r.pairs == 0 && r.skipped_pairs == 1 && pair_loss == 0
              && dlogp == 7, "%s: loss %g", fam_of(kinds[k])->name, r.loss);
    }
}

/* Log-probabilities next to 0 keep their digits in the sums of AOT, which
 * sorts what DPO takes as it comes: one pair is the same to both. */
static void value_next_to_0(void)
{
    static const int64_t start[] = { 0, 1, 2 };
    static const float logp[] = { -0x1p-60f, -0x3p-60f };
    static const float ref[] = { -0x5p-60f, -0x1p-60f };
    static const uint32_t kinds[] = { BNFLOSS_DPO, BNFLOSS_AOT };
    double loss[2];

    for (int i = 0; i < 2; i++) {
        bnfloss_result r = { 0 };
        bnfloss_inputs in = { 0 };
        bnfloss_spec spec;

        r.struct_size = sizeof r;
        in.struct_size = sizeof in;
        in.sequences = 2;
        in.seq_start = start;
        in.pairing = BNFLOSS_PAIRS_ADJACENT;
        in.ref_logp = ref;
        bnfloss_spec_init(&spec, sizeof spec, kinds[i]);
        spec.beta = 0x1p60f;
        CHECK(bnfloss_loss(&spec, &in, 2, NULL, logp, NULL, NULL, NULL,
                           fam.work, sizeof fam.work, &r) == BNFLOSS_OK,
              "kind %u", kinds[i]);
        loss[i] = r.loss;
    }
    /* beta times (-1 + 3) - (-5 + 1), all by 2^-60 */
    CHECK(fabs(loss[0] - log1p(exp(-6))) < 1e-15, "DPO: %g", loss[0]);
    CHECK(fabs(loss[1] - log1p(exp(-6))) < 1e-15, "AOT: %g", loss[1]);
}

static void value_chosen_only(void)
{
    edge("E215");
    for (int pairing = 0; pairing < 3; pairing++) {
        make_sound(BNFLOSS_SFT, 1);
        fam.in.pairing = (uint32_t)pairing;
        for (int s = 0; s < FAM_S; s++)
            if (pairing == BNFLOSS_PAIRS_HALVES)
                fam.side[s] = s < FAM_P ? 1 : -1;
        memcpy(&sound, &fam, sizeof fam);
        fam.spec[0].flags = BNFLOSS_CHOSEN_ONLY;
        run_and_take(&is, "CHOSEN_ONLY");
        restore();
        for (int s = 0; s < FAM_S; s++)
            if (fam.side[s] < 0)
                empty(s, s + 1);
        run_and_take(&was, "the others ignored");
        CHECK(memcmp(&is, &was, sizeof is) == 0, "CHOSEN_ONLY: loss %g, not "
              "%g", is.result.loss, was.result.loss);
    }
}

/* ---- Sums of a row ------------------------------------------------------ */

static void row_sums(void)
{
    static fam_block before;

    edge("E234");
    make_sound(BNFLOSS_SFT, 0);
    for (int k = 0; k < 2; k++) {
        fam.other[8].flags ^= k ? BNFLOSS_ROW_SQUARES : BNFLOSS_ROW_MEAN;
        fam.other[8].flags &= ~(uint32_t)BNFLOSS_ROW_LABEL;
        for (int i = 0; i < FAM_N; i++)
            fam.other[i].flags &= ~(uint32_t)BNFLOSS_ROW_LABEL;
        memcpy(&before, &fam, sizeof fam);
        CHECK(bnfloss_row_merge(FAM_N, fam.state, fam.other, &fam.result)
              == BNFLOSS_E_STATE && fam.result.where == 8, "sums differ");
        before.result.where = 8;
        CHECK(memcmp(&before, &fam, sizeof fam) == 0, "merged none the less");
        restore();
    }
    edge("E235");
    fam.state[8].flags &= ~(uint32_t)BNFLOSS_ROW_SQUARES;
    fam.out.log_square = fam.log_square;
    memcpy(&before, &fam, sizeof fam);
    CHECK(bnfloss_row_outputs(FAM_N, fam.state, &fam.out, &fam.result)
          == BNFLOSS_E_STATE && fam.result.where == 8, "no squares");
    before.result.where = 8;
    CHECK(memcmp(&before, &fam, sizeof fam) == 0, "something was written");
    fam.out.logp = fam.out.rest = fam.out.entropy = NULL;
    fam.out.argmax = NULL;
    fam.layout.vocab_total = FAM_V + 1;
    CHECK(bnfloss_forward(&fam.layout, fam.logits, fam.label, 0, FAM_N,
                          fam.state, &fam.out, &fam.result)
          == BNFLOSS_E_OPTION, "log_square of a slice");
}

/* ---- Measured shifts ---------------------------------------------------- */

static bnfloss_shifts shifts;

static bnfloss_status measure(void)
{
    return bnfloss_measure_shifts(&fam.in, FAM_N, fam.state, fam.other,
                                  fam.work, sizeof fam.work, &shifts);
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
    memcpy(&sound, &fam, sizeof fam);
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
    restore();
}

static void shift_errors(void)
{
    const size_t half = FIX_ALIGN_NUMBER / 2;
    bnfloss_shifts *off = (bnfloss_shifts *)(void *)((char *)&shifts + half);

    make_shifts(3);
    edge("E236");
    CHECK(bnfloss_measure_shifts(&fam.in, FAM_N, fam.state, fam.other,
                                 fam.work, sizeof fam.work, NULL)
          == BNFLOSS_E_NULL, "shifts NULL");
    CHECK(bnfloss_measure_shifts(NULL, FAM_N, fam.state, fam.other, fam.work,
                                 sizeof fam.work, &shifts) == BNFLOSS_E_NULL
          && bnfloss_measure_shifts(&fam.in, FAM_N, NULL, fam.other, fam.work,
                                    sizeof fam.work, &shifts)
             == BNFLOSS_E_NULL
          && bnfloss_measure_shifts(&fam.in, FAM_N, fam.state, NULL, fam.work,
                                    sizeof fam.work, &shifts)
             == BNFLOSS_E_NULL
          && bnfloss_measure_shifts(&fam.in, FAM_N, fam.state, fam.other,
                                    NULL, sizeof fam.work, &shifts)
             == BNFLOSS_E_NULL, "a pointer NULL");
    fam.in.seq_start = NULL;
    shifts_refused("no seq_start", BNFLOSS_E_NULL, -1);
    fam.in.side = NULL;
    shifts_refused("no sides", BNFLOSS_E_NULL, -1);
    edge("E237");
    CHECK(bnfloss_measure_shifts(&fam.in, FAM_N, fam.state, fam.other,
                                 fam.work, FAM_N * 8 - 1, &shifts)
          == BNFLOSS_E_WORK, "a byte less");
    CHECK(bnfloss_measure_shifts(&fam.in, FAM_N, fam.state, fam.other,
                                 (char *)fam.work + half,
                                 sizeof fam.work - half, &shifts)
          == BNFLOSS_E_ALIGN
          && bnfloss_measure_shifts(&fam.in, FAM_N, fam.state, fam.other,
                                    fam.work, sizeof fam.work, off)
             == BNFLOSS_E_ALIGN, "alignment");
    CHECK(bnfloss_measure_shifts(&fam.in, FAM_N, fam.state, fam.other,
                                 fam.state, sizeof fam.state, &shifts)
          == BNFLOSS_E_OVERLAP
          && bnfloss_measure_shifts(&fam.in, FAM_N, fam.state, fam.other,
                                    &shifts, FAM_N * 8, &shifts)
             == BNFLOSS_E_OVERLAP
          && bnfloss_measure_shifts(&fam.in, FAM_N, fam.state, fam.other,
                                    fam.other, sizeof fam.other, &shifts)
             == BNFLOSS_E_OVERLAP, "overlaps");
    for (int which = 0; which < 2; which++) {
        char *const state = (char *)fam.state, *const other = (char *)fam.other;

        CHECK(bnfloss_measure_shifts(
                  &fam.in, FAM_N,
                  (bnfloss_row *)(void *)(state + (which == 0 ? half : 0)),
                  (bnfloss_row *)(void *)(other + (which == 1 ? half : 0)),
                  fam.work, sizeof fam.work, &shifts) == BNFLOSS_E_ALIGN,
              "misaligned states: %d", which);
    }
    CHECK(bnfloss_measure_shifts(&fam.in, -1, fam.state, fam.other, fam.work,
                                 sizeof fam.work, &shifts)
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
    for (int x = 0; x < INPUTS; x++) {
        set_input(inputs + x, inputs[x].array);
        shifts_refused(inputs[x].name, BNFLOSS_E_OPTION, -1);
    }
    fam.start[2] = 1;
    shifts_refused("seq_start falls", BNFLOSS_E_SEQ, 2);
    fam.side[4] = 0;
    shifts_refused("a side of 0", BNFLOSS_E_SIDE, 4);
    fam.weight[6] = NAN;
    shifts_refused("a weight of NaN", BNFLOSS_E_WEIGHT, 6);
    edge("E240");
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

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double plain_gini(double *s, int n)
{
    double sum = 0, ranked = 0;

    qsort(s, (size_t)n, sizeof *s, by_size);
    for (int i = 0; i < n; i++) {
        sum += s[i];
        ranked += (i + 1) * s[i];
    }
    return sum > 0 ? 2 * ranked / (n * sum) - (n + 1.0) / n : 0;
}

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

static void shift_values(uint64_t seed)
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
    CHECK(measure() == BNFLOSS_OK && shifts.where == -1, "shifts");
#define NEAR(got, want)                                                       \
    CHECK(fabs((got) - (want)) <= 16 * U * (fabs(want) + 1), "%s: " #got      \
          " %.9g, not %.9g", isa_now, got, want)
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
    restore();
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

/* ---- Every line has been cited ------------------------------------------ */

#ifdef BNFLOSS_TEST_DIR
static void check_ids(void)
{
    FILE *f = fopen(BNFLOSS_TEST_DIR "/EDGES.md", "r");
    int last = 177, n;
    char line[400];

    if (!CHECK(f != NULL, "EDGES.md cannot be read"))
        return;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "| E%d ", &n) != 1 || n < 178 || n > 999)
            continue;
        CHECK(n == last + 1, "%.60s", line);
        last = n;
        if (strstr(line, "| test_family_edges |"))
            CHECK(cited[n], "E%d is not cited", n);
    }
    fclose(f);
    for (n = last + 1; n < 1000; n++)
        CHECK(!cited[n], "E%d has no line", n);
}
#else
static void check_ids(void)
{
    test_skip("the ids of EDGES.md: built without BNFLOSS_TEST_DIR");
}
#endif

int main(void)
{
    names();
    defaults();
    defaults_of_a_size();
    errors();
    exact_work(0);
    exact_work(1);
    FOR_EACH_ISA(isa) {
        isa_now = isa;
        for (uint32_t kind = 1; kind <= FAM_KINDS; kind++) {
            value_weight_0(kind);
            value_call_weight_0(kind);
            value_empty(kind);
            value_nan(kind);
            value_infinite(kind);
            value_wpo_infinite(kind);
            value_far(kind);
            value_f16(kind);
        }
        value_nan_order();
        value_masks();
        value_mixes();
        value_far_squares();
        value_next_to_0();
        value_chosen_only();
        row_sums();
        for (uint64_t seed = 1; seed < 20; seed++)
            shift_values(seed);
        shift_nothing();
        shift_slices();
    }
    overlapped_specs();
    value_empty_mix();
    value_orpo_only();
    value_certain();
    value_discopop_far();
    value_no_soft_label();
    shift_errors();
    ginis();
    many_equal();
    check_ids();
    return test_end();
}
