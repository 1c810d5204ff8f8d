/* The losses by name: what each is set to, and which do not run here. */
#include "methods.h"

#include "bnfloss.h"

#include <stdio.h>
#include <string.h>

/* One learning rate and one beta for all, but for those that plainly failed
 * with them on seed 1: round numbers that work, and nothing finer.
 *
 * Losses of means see margins that are smaller by an answer's length, some 60
 * bytes here, and beta makes up for it; with 0.5 SimPO raised the perplexity of
 * neutral text by 70 %. Squares stop where beta says, 1 / (2 beta) nats away:
 * these are 10 nats an answer. With 0.5 it is 1, and ipo_sum and sppo_hard
 * ended at 61 % accuracy, or 60, and ipo's samples were wrecked. */
#define LR 2e-4
#define BETA 0.5
#define BETA_OF_MEANS 30
#define BETA_OF_SQUARES 0.05
#define BETA_OF_SQUARED_MEANS 3

/* What a loss has of its own; 0 or NULL where it is like the others. */
static const struct own {
    uint32_t kind;
    const char *title;         /* not its name in capitals */
    double lr, beta;
    const char *lacks;         /* what it reads and the data do not have */
} own[] = {
    {.kind = BNFLOSS_SFT, .lr = 5e-4},
    {.kind = BNFLOSS_IPO, .beta = BETA_OF_SQUARED_MEANS},
    {.kind = BNFLOSS_IPO_SUM, .beta = BETA_OF_SQUARES},
    {.kind = BNFLOSS_SPPO_HARD, .beta = BETA_OF_SQUARES},
    {.kind = BNFLOSS_SIGMOID_NORM, .beta = BETA_OF_MEANS},
    {.kind = BNFLOSS_SIMPO, .title = "SimPO", .beta = BETA_OF_MEANS},
    {.kind = BNFLOSS_ALPHAPO, .title = "AlphaPO", .beta = BETA_OF_MEANS},
    {.kind = BNFLOSS_DISCOPOP, .title = "DiscoPOP"},
    {.kind = BNFLOSS_SLIC, .title = "SLiC"},
    {.kind = BNFLOSS_RDPO, .title = "R-DPO"},
    {.kind = BNFLOSS_ADA_DPO, .title = "Ada-DPO"},
    {.kind = BNFLOSS_FPO, .lacks = "a feature distance of each answer"},
    {.kind = BNFLOSS_IREPO, .lacks = "a probability for each pair that the "
                                     "chosen answer is the better one"},
    {.kind = BNFLOSS_UPO, .lacks = "a measure of each pair's certainty"},
};

static const struct own *own_of(uint32_t kind)
{
    static const struct own none;
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (own[i].kind == kind) return &own[i];
    return &none;
}

static void fill(struct method *m, uint32_t kind)
{
    const struct own *its = own_of(kind);
    bnfloss_spec spec;
    bnfloss_spec_init(&spec, sizeof spec, kind);
    *m = (struct method){.kind = kind, .lr = its->lr > 0 ? its->lr : LR};
    if (spec.beta > 0) m->beta = its->beta > 0 ? its->beta : BETA;
    snprintf(m->name, sizeof m->name, "%s", bnfloss_kind_name(kind));
    snprintf(m->title, sizeof m->title, "%s", its->title ? its->title
                                                         : m->name);
    for (char *c = m->title; !its->title && *c; c++)
        if (*c >= 'a' && *c <= 'z') *c = (char)(*c - 'a' + 'A');
}

int method_find(struct method *m, const char *name, size_t length,
                char *why, size_t bytes)
{
    char word[sizeof m->name] = "";
    if (length < sizeof word) memcpy(word, name, length);
    uint32_t kind = bnfloss_kind_from_name(word);
    const char *lacks = own_of(kind)->lacks;
    if (kind && !lacks) {
        fill(m, kind);
        return 1;
    }
    if (kind) {
        snprintf(why, bytes, "%s needs %s, which the data do not have; "
                 "--list shows what runs", word, lacks);
        return 0;
    }
    int used = snprintf(why, bytes, "'%.*s' is no loss; there are",
                        length < 80 ? (int)length : 80, name);
    for (kind = 1; bnfloss_kind_name(kind); kind++)
        if (!own_of(kind)->lacks && used >= 0 && (size_t)used < bytes)
            used += snprintf(why + used, bytes - (size_t)used, " %s",
                             bnfloss_kind_name(kind));
    return 0;
}

/* Colours that differ for every kind of colour vision (Okabe and Ito), but for
 * their yellow, which is lost on white: grey. */
void methods_color(struct method *m, int n)
{
    static const struct { const char *color; uint32_t kind; } all[] = {
        {"#009e73", BNFLOSS_SFT}, {"#0072b2", BNFLOSS_BNF},
        {"#d55e00", BNFLOSS_DPO}, {"#cc79a7", 0}, {"#e69f00", 0},
        {"#56b4e9", 0}, {"#000000", 0}, {"#999999", 0}
    };
    const int colors = sizeof all / sizeof *all;
    int used[sizeof all / sizeof *all] = {0};
    for (int i = 0; i < n; i++)         /* the three that have their own, */
        for (int c = 0; c < colors; c++)
            if (all[c].kind == m[i].kind) {
                m[i].color = all[c].color;
                used[c] = 1;
            }
    for (int i = 0, k = 0; i < n; i++) {    /* the others what is left: first
                                               of those that are no one's */
        if (m[i].color) continue;
        while (used[(k + 3) % colors]) k++;
        m[i].color = all[(k + 3) % colors].color;
        used[(k + 3) % colors] = 1;
    }
}

void methods_list(void)
{
    printf("%-18s %-18s %6s %6s\n", "loss", "title", "lr", "beta");
    for (uint32_t kind = 1; bnfloss_kind_name(kind); kind++) {
        struct method m;
        if (own_of(kind)->lacks) continue;
        fill(&m, kind);
        printf("%-18s %-18s %6g", m.name, m.title, m.lr);
        if (m.beta > 0) printf(" %6g\n", m.beta);
        else printf(" %6s\n", "-");
    }
    printf("\nthese need what the data do not have:\n");
    for (uint32_t kind = 1; bnfloss_kind_name(kind); kind++)
        if (own_of(kind)->lacks)
            printf("%-18s %s\n", bnfloss_kind_name(kind), own_of(kind)->lacks);
}
