/* The command line. */
#include "options.h"

#include "bnfloss.h"
#include "model.h"
#include "threads.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef ALIGN_DATA             /* the build says where data/ is */
#define ALIGN_DATA "examples/align/data"
#endif

static const char usage[] =
"usage: align [options]\n"
"\n"
"Trains a small language model on text and on both answers of preference\n"
"pairs, aligns copies of it with SFT, BNF and DPO, or with what --methods\n"
"says, and compares them.\n"
"\n"
"  --text FILE     neutral text; its last tenth is held out\n"
"  --pairs FILE    prompt, chosen, rejected: TSV, or JSONL if it is named\n"
"                  .jsonl or .json; the last fifth is held out\n"
"  --out FILE      the curves (align.svg)\n"
"  --seed N        of the weights and of the order of the data (1)\n"
"  --threads N     at most 8 (as many as there are cores)\n"
"  --methods LIST  up to 8 losses, with commas between (sft,bnf,dpo)\n"
"  --list          the losses, their learning rates and betas, and exit\n"
"  --steps-ref N   training steps of the reference (2400)\n"
"  --steps N       alignment steps of 8 pairs (60)\n"
"  --lr X          learning rate of every method (their own: --list)\n"
"  --beta X        of every method that takes one (their own: --list)\n"
"  --quick         few steps: to see that it runs, not to conclude\n"
"  --check         fail unless the reference is indifferent (40 to 60 %) and\n"
"                  BNF and DPO reach 80 % on held-out pairs\n"
"  --help          this text\n"
"\n"
"The same seed gives the same results for any number of threads.\n";

static void refuse(const char *option, const char *value, const char *why)
{
    fprintf(stderr, "align: %s%s%s: %s\n", option, value ? " " : "",
            value ? value : "", why);
    exit(2);
}

static double number(const char *option, const char *value, double least,
                     double most, int whole)
{
    char *end, want[96];
    double x = strtod(value, &end);
    if (!*end && end != value && x >= least && x <= most
        && (!whole || x == floor(x)))
        return x;
    snprintf(want, sizeof want, "a %snumber from %.9g to %.9g expected",
             whole ? "whole " : "", least, most);
    refuse(option, value, want);
    return 0;
}

static int has(const struct options *o, uint32_t kind)
{
    for (int i = 0; i < o->n; i++)
        if (o->method[i].kind == kind) return 1;
    return 0;
}

static void read_methods(struct options *o, const char *list)
{
    o->n = 0;
    for (const char *at = list;; at++) {
        size_t length = strcspn(at, ",");
        struct method m;
        char why[800];
        if (!method_find(&m, at, length, why, sizeof why))
            refuse("--methods", list, why);
        if (has(o, m.kind)) {
            snprintf(why, sizeof why, "%s is there twice", m.name);
            refuse("--methods", list, why);
        }
        if (o->n == MOST_METHODS)
            refuse("--methods", list, "that is more than 8");
        o->method[o->n++] = m;
        at += length;
        if (!*at) break;
    }
    methods_color(o->method, o->n);
}

/* One option that takes a value; 0 if there is none of that name. */
static int read_value(struct options *o, const char *name, const char *value)
{
    if      (!strcmp(name, "--text"))  o->text = value;
    else if (!strcmp(name, "--pairs")) o->pairs = value;
    else if (!strcmp(name, "--out"))   o->out = value;
    else if (!strcmp(name, "--methods")) read_methods(o, value);
    else if (!strcmp(name, "--seed"))
        o->seed = (uint64_t)number(name, value, 0, 1e9, 1);
    else if (!strcmp(name, "--threads"))
        o->threads = (int)number(name, value, 1, SHARDS, 1);
    else if (!strcmp(name, "--steps-ref"))
        o->steps_ref = (int)number(name, value, 1, 1e6, 1);
    else if (!strcmp(name, "--steps"))
        o->steps = (int)number(name, value, 1, 1e6, 1);
    else if (!strcmp(name, "--lr"))
        o->lr = number(name, value, 1e-9, 1e9, 0);
    else if (!strcmp(name, "--beta"))
        o->beta = number(name, value, 1e-6, 1e6, 0);
    else return 0;
    return 1;
}

void read_options(struct options *o, int argc, char **argv)
{
    int all = cores();
    *o = (struct options){
        .text = ALIGN_DATA "/prose.txt", .pairs = ALIGN_DATA "/pairs.tsv",
        .out = "align.svg", .seed = 1, .steps_ref = 2400, .steps = 60,
        .threads = all < SHARDS ? all : SHARDS
    };
    read_methods(o, "sft,bnf,dpo");
    for (int i = 1; i < argc; i++) {
        const char *name = argv[i], *value = argv[i + 1];
        if (!strcmp(name, "--help")) {
            fputs(usage, stdout);
            exit(0);
        } else if (!strcmp(name, "--list")) {
            methods_list();
            exit(0);
        } else if (!strcmp(name, "--check")) {
            o->check = 1;
        } else if (!strcmp(name, "--quick")) {
            o->steps_ref = 150;
            o->steps = 12;
        } else if (!value) {
            struct options scratch = *o;
            refuse(name, NULL, read_value(&scratch, name, "1")
                   ? "a value is missing" : "unknown option; try --help");
        } else if (!read_value(o, name, value)) {
            refuse(name, NULL, "unknown option; try --help");
        } else {
            i++;
        }
    }
    for (int i = 0; i < o->n; i++) {
        struct method *m = &o->method[i];
        if (o->lr > 0) m->lr = o->lr;
        if (o->beta > 0 && m->beta > 0) m->beta = o->beta;
    }
    if (o->check && !(has(o, BNFLOSS_BNF) && has(o, BNFLOSS_DPO)))
        refuse("--check", NULL, "needs both bnf and dpo in --methods");
}
