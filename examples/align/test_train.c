/* Checks what a step hands to the losses that ask for more than pairs and a
 * reference, and that every loss moves the model the right way. */
#include "methods.h"
#include "train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { L = 1, C = 32, V = 256, PAIRS = 2, SEQUENCES = 2 * PAIRS };

static char *words[PAIRS][3] = {{"q", "abc", "axcd"}, {"why", "so", "no"}};
static float ref[PAIRS][2][8];
static struct pair pair[PAIRS];
static struct pairs pairs = {.pair = pair, .n = PAIRS, .held = PAIRS};
static int failures;

static void expect(int good, const char *what, const char *name)
{
    if (good) return;
    printf("FAILED: %s %s\n", what, name);
    failures++;
}

static void make_pairs(void)
{
    for (int i = 0; i < PAIRS; i++) {
        pair[i].prompt = words[i][0];
        pair[i].prompt_bytes = (int)strlen(words[i][0]);
        for (int side = 0; side < 2; side++) {
            pair[i].answer[side] = words[i][1 + side];
            pair[i].bytes[side] = (int)strlen(words[i][1 + side]);
            pair[i].ref[side] = ref[i][side];
        }
    }
}

/* A model of its own, with the reference's weights and the same batches as
 * main.c makes. */
static struct trainer start(void)
{
    struct trainer t = {.model = model_new(L, C, V, 1, 5),
                        .batch = batch_new(),
                        .reference = model_new(L, C, V, 1, 5),
                        .mismatched = batch_new()};
    cache_reference(&t, &pairs);
    batch_clear(t.batch);
    for (int i = 0; i < PAIRS; i++)
        for (int side = 0; side < 2; side++) {
            batch_answer(t.batch, &pair[i], side, 0);
            batch_mismatch(t.mismatched, &pair[i], &pair[1 - i], side);
        }
    return t;
}

static void test_differences(void)
{
    /* labels . . a b c end and . . a x c d end; 4 prompt bytes in the next:
     * . . . . s o end and . . . . n o end */
    static const uint8_t right[] = {0, 0, 0, 1, 0, 1,  0, 0, 0, 1, 0, 1, 1,
                                    0, 0, 0, 0, 1, 0, 0,  0, 0, 0, 0, 1, 0, 0};
    struct trainer t = start();
    uint8_t mask[sizeof right] = {0};
    expect(t.batch->start[SEQUENCES] == sizeof right, "rows", "");
    batch_differences(t.batch, mask);
    expect(!memcmp(mask, right, sizeof right), "differences", "");
    trainer_free(&t);
}

/* A mismatch is the pair that one would write down, without a reference. */
static void test_mismatch(void)
{
    struct pair mixed = pair[0];
    struct trainer t = start();
    const struct batch *is = t.mismatched, *want = t.batch;
    for (int side = 0; side < 2; side++) {
        mixed.answer[side] = pair[1].answer[side];
        mixed.bytes[side] = pair[1].bytes[side];
        mixed.ref[side] = ref[1][side];
    }
    batch_clear(t.batch);
    for (int side = 0; side < 2; side++) batch_answer(t.batch, &mixed, side, 0);
    size_t N = (size_t)want->start[2];
    expect(!memcmp(is->start, want->start, 3 * sizeof *is->start)
           && !memcmp(is->token, want->token, N * sizeof *is->token)
           && !memcmp(is->label, want->label, N * sizeof *is->label),
           "mismatch", "");
    for (size_t i = 0; i < N; i++) expect(is->ref[i] == 0, "ref", "");
    trainer_free(&t);
}

/* Some steps of SFT on both answers: every answer becomes likelier, after the
 * other prompt too, and KTO's kl positive. */
static void test_kto(void)
{
    struct trainer t = start();
    double ratio[SEQUENCES], sum = 0;
    bnfloss_result r = {0};
    bnfloss_spec spec;
    mismatched_ratios(&t, ratio);
    for (int s = 0; s < SEQUENCES; s++)
        expect(ratio[s] == 0, "ratio of the reference", "");
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    for (int i = 1; i <= 5; i++) train_step(&t, &spec, 1e-3, "SFT", i, &r);
    mismatched_ratios(&t, ratio);
    for (int s = 0; s < SEQUENCES; s++) sum += ratio[s];
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_KTO);
    train_step(&t, &spec, 1e-3, "KTO", 1, &r);
    expect(sum > 0.1, "kl is above 0", "");
    expect(fabs(r.kl - sum / SEQUENCES) < 1e-12 * sum, "kl", "");

    /* The library's own sum, of the same rows. */
    struct trainer u = start();
    struct batch *keep = u.batch;
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    for (int i = 1; i <= 5; i++) train_step(&u, &spec, 1e-3, "SFT", i, &r);
    u.batch = u.mismatched;
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_DPO);
    spec.flags = BNFLOSS_REFERENCE_FREE;
    train_step(&u, &spec, 1e-3, "DPO", 1, &r);
    double after = r.logps_chosen + r.logps_rejected;
    model_load(u.model, u.reference->w);
    train_step(&u, &spec, 1e-3, "DPO", 1, &r);
    after -= r.logps_chosen + r.logps_rejected;
    expect(fabs(after / 2 - sum / SEQUENCES) < 1e-5 * sum, "ratios", "");
    u.batch = keep;
    trainer_free(&t);
    trainer_free(&u);
}

/* BCO's shift is the mean over all steps so far; the first one's is 0, since
 * the model is the reference. */
static void test_bco(void)
{
    struct trainer t = start();
    bnfloss_result r = {0};
    bnfloss_spec spec;
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_BCO);
    train_step(&t, &spec, 1e-3, "BCO", 1, &r);
    expect(r.shift_count == SEQUENCES && fabs(r.shift) < 1e-6, "shift", "1");
    train_step(&t, &spec, 1e-3, "BCO", 2, &r);
    double now = (r.rewards_chosen + r.rewards_rejected) / 2;
    expect(r.shift_count == 2 * SEQUENCES, "shift count", "2");
    expect(now != 0 && fabs(r.shift - now / 2) < 1e-7, "shift", "2");
    trainer_free(&t);
}

/* The margin widens under every loss but SFT, which has none, and DiscoPOP,
 * whose slope at a margin of 0 points the other way: their loss falls. */
static void test_method(const struct method *m)
{
    struct trainer t = start();
    bnfloss_result first = {0}, r;
    bnfloss_spec spec;
    bnfloss_spec_init(&spec, sizeof spec, m->kind);
    expect((m->beta > 0) == (spec.beta > 0), "beta", m->name);
    if (m->beta > 0) spec.beta = (float)m->beta;
    train_step(&t, &spec, m->lr, m->title, 1, &first);
    r = first;
    for (int i = 2; i <= 8; i++)
        train_step(&t, &spec, m->lr, m->title, i, &r);
    if (m->kind == BNFLOSS_SFT || m->kind == BNFLOSS_DISCOPOP)
        expect(r.loss < first.loss, "loss", m->name);
    else
        expect(r.rewards_margins > first.rewards_margins, "margin", m->name);
    trainer_free(&t);
}

static void test_colors(const struct method *all, int n)
{
    for (int from = 0; from + MOST_METHODS <= n; from++) {
        struct method m[MOST_METHODS];
        memcpy(m, all + from, sizeof m);
        methods_color(m, MOST_METHODS);
        for (int i = 0; i < MOST_METHODS; i++)
            for (int k = 0; k < i; k++)
                expect(strcmp(m[i].color, m[k].color) != 0, "color", m[i].name);
    }
}

static int test_methods(void)
{
    struct method m[64];
    int n = 0;
    for (uint32_t kind = 1; bnfloss_kind_name(kind); kind++) {
        const char *name = bnfloss_kind_name(kind);
        char why[800] = "";
        if (method_find(&m[n], name, strlen(name), why, sizeof why)) {
            expect(!strcmp(m[n].name, name), "name", name);
            test_method(&m[n++]);
        } else {
            expect(strstr(why, "needs") != NULL, why, name);
        }
    }
    test_colors(m, n);
    return n;
}

int main(void)
{
    make_pairs();
    test_differences();
    test_mismatch();
    test_kto();
    test_bco();
    int n = test_methods();
    printf("%d losses: %s\n", n, failures ? "FAILED" : "passed");
    return failures > 0;
}
