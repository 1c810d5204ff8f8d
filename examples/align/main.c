/* Trains a small language model, then aligns copies of it on preference pairs,
 * with SFT, BNF and DPO or other losses, and prints what that did and what it
 * cost. */
#include "options.h"
#include "show.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LAYERS = 2, CHANNELS = 64, VOCAB = 256 };
enum { PAIRS = 8 };            /* in one alignment step */
enum { SAMPLES = 3 };

struct run {
    struct options o;
    struct text text;
    struct pairs pairs;
    struct trainer t;
    float *reference;          /* (count) its weights */
    double seconds;            /* its training took */
    struct measure before;
    int width;                 /* of the longest title */
    struct curve curve[MOST_METHODS];
    char said[MOST_METHODS + 1][SAMPLES][MOST_BYTES + 1];  /* [0] reference */
};

static int below(uint64_t *seed, int n)
{
    return (int)(random_unit(seed) * n);
}

/* Samples and measures the model as it is now; NaN weights end here. */
static void look(struct run *run, const char *phase, int step,
                 struct measure *m)
{
    measure(&run->t, &run->pairs, &run->text, m);
    if (isfinite(m->perplexity) && isfinite(m->logp[0] + m->logp[1])) return;
    fprintf(stderr, "\nalign: %s, after step %d: the model's log-probabilities "
            "are not finite; stopped.\n", phase, step);
    exit(1);
}

static const char *prompt(const struct run *run, int i)
{
    int n = run->pairs.n - run->pairs.held;
    return run->pairs.pair[run->pairs.held + i * n / SAMPLES].prompt;
}

static void speak(struct run *run, char said[][MOST_BYTES + 1])
{
    for (int i = 0; i < SAMPLES; i++)
        sample(&run->t, prompt(run, i), 0.7, run->o.seed + (uint64_t)i,
               said[i]);
}

/* ---- The reference ------------------------------------------------------ */

/* Windows of text, and prompts with both answers: as much of one as of the
 * other, in turn, so that the shards weigh the same. */
static void reference_batch(struct run *run, uint64_t *seed)
{
    struct batch *b = run->t.batch;
    batch_clear(b);
    for (int i = 0; i < PAIRS / 2; i++) {
        const struct pair *p = &run->pairs.pair[below(seed, run->pairs.held)];
        for (int side = 0; side < 2; side++) {
            int at = below(seed, (int)run->text.held - WINDOW);
            batch_text(b, run->text.bytes + at, WINDOW);
            batch_answer(b, p, side, 1);
        }
    }
}

/* Up in 50 steps, then down to nothing by a half cosine. */
static double reference_rate(int step, int steps)
{
    double up = step < 50 ? (step + 1) / 50.0 : 1;
    return 8e-3 * up * (0.5 + 0.5 * cos(3.14159265358979 * step / steps));
}

static void train_reference(struct run *run)
{
    const struct options *o = &run->o;
    uint64_t seed = o->seed * 1000 + 1;
    double loss = 0;
    struct progress bar;
    bnfloss_spec spec;
    bnfloss_result r = {0};
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    progress_start(&bar, "reference", run->width, "perplexity", o->steps_ref);
    for (int step = 0; step < o->steps_ref; step++) {
        double start = seconds_now();
        reference_batch(run, &seed);
        train_step(&run->t, &spec, reference_rate(step, o->steps_ref),
                   "reference", step + 1, &r);
        double spent = seconds_now() - start;
        run->seconds += spent;
        loss = step ? 0.98 * loss + 0.02 * r.loss : r.loss;
        progress_step(&bar, step + 1, loss, exp(loss), (double)r.tokens,
                      spent);
    }
    look(run, "reference", o->steps_ref, &run->before);
    cache_reference(&run->t, &run->pairs);
    speak(run, run->said[0]);
    memcpy(run->reference, run->t.model->w,
           run->t.model->count * sizeof(float));
}

/* ---- Alignment ---------------------------------------------------------- */

/* All training pairs in an order shuffled anew whenever it ends; the same
 * for every method. */
struct deck {
    int *card, n, at;
    uint64_t seed;
};

static int deal(struct deck *d)
{
    if (d->at == d->n) {
        for (int i = d->n - 1; i > 0; i--) {
            int j = below(&d->seed, i + 1), keep = d->card[i];
            d->card[i] = d->card[j];
            d->card[j] = keep;
        }
        d->at = 0;
    }
    return d->card[d->at++];
}

/* SFT learns from the chosen answers of the same pairs. KTO also looks at each
 * prompt with the answers of the next one. */
static void alignment_batch(struct run *run, struct deck *deck, uint32_t kind)
{
    const struct pair *pair[PAIRS];
    int sides = kind == BNFLOSS_SFT ? 1 : 2;
    batch_clear(run->t.batch);
    for (int i = 0; i < PAIRS; i++) {
        pair[i] = &run->pairs.pair[deal(deck)];
        for (int side = 0; side < sides; side++)
            batch_answer(run->t.batch, pair[i], side, 0);
    }
    if (kind != BNFLOSS_KTO) return;
    batch_clear(run->t.mismatched);
    for (int i = 0; i < PAIRS; i++)
        for (int side = 0; side < sides; side++)
            batch_mismatch(run->t.mismatched, pair[i], pair[(i + 1) % PAIRS],
                           side);
}

/* KTO takes the reference's opinion as it goes, of answers that no cache
 * has. */
static void keep_reference(struct run *run)
{
    run->t.mismatched = batch_new();
    run->t.reference = model_new(LAYERS, CHANNELS, VOCAB, run->o.threads, 0);
    model_load(run->t.reference, run->reference);
}

static void record(struct run *run, struct curve *c, int step)
{
    int every = run->o.steps / 12 ? run->o.steps / 12 : 1;
    if (step % every && step != run->o.steps) return;
    if (c->n == MOST_POINTS) return;
    if (step) look(run, c->name, step, &c->at[c->n]);
    else c->at[c->n] = run->before;
    c->steps[c->n++] = step;
}

static void align(struct run *run, const struct method *method,
                  struct curve *c, int *card)
{
    const struct options *o = &run->o;
    int n = run->pairs.held, paired = method->kind != BNFLOSS_SFT;
    struct deck deck = {.card = card, .n = n, .at = n, .seed = o->seed};
    for (int i = 0; i < n; i++) card[i] = i;
    bnfloss_spec spec;
    bnfloss_result r = {0};
    struct progress bar;
    bnfloss_spec_init(&spec, sizeof spec, method->kind);
    *c = (struct curve){.name = method->title, .color = method->color,
                        .lr = method->lr, .beta = method->beta};
    if (method->beta > 0) spec.beta = (float)method->beta;
    if (method->kind == BNFLOSS_KTO) keep_reference(run);
    model_load(run->t.model, run->reference);
    record(run, c, 0);
    progress_start(&bar, method->title, run->width,
                   paired ? "margin" : "perplexity", o->steps);
    for (int step = 1; step <= o->steps; step++) {
        double start = seconds_now(), up = step < 6 ? step / 6.0 : 1;
        alignment_batch(run, &deck, method->kind);
        train_step(&run->t, &spec, c->lr * up, method->title, step, &r);
        double spent = seconds_now() - start;
        c->seconds += spent;
        progress_step(&bar, step, r.loss,
                      paired ? r.rewards_margins : exp(r.loss),
                      (double)r.tokens, spent);
        record(run, c, step);
    }
}

/* ---- What came out ------------------------------------------------------ */

static void print_row(int width, const char *name, const struct measure *m,
                      const struct measure *was, double seconds)
{
    printf("%-*s %8.1f %8.1f   %8.3f %8.3f   %+8.3f %+8.3f   %8.3f %+7.1f %%"
           " %8.1f\n", width, name, 100 * m->accuracy, 100 * m->accuracy_mean,
           m->logp[0], m->logp[1], m->logp[0] - was->logp[0],
           m->logp[1] - was->logp[1], m->perplexity,
           100 * (m->perplexity / was->perplexity - 1), seconds);
}

static void print_table(const struct run *run)
{
    const struct measure *was = &run->before;
    int width = run->width + 3;
    printf("\nOn %d held-out pairs and %zu held-out bytes of text:\n\n",
           run->pairs.n - run->pairs.held, run->text.n - run->text.held);
    printf("%-*s %17s   %17s   %17s   %18s %8s\n", width, "",
           "accuracy, % by", "log-lik. per byte", "its shift of",
           "neutral text", "training");
    printf("%-*s %8s %8s   %8s %8s   %8s %8s   %8s %9s %8s\n", width, "",
           "sum", "mean", "chosen", "rejected", "chosen", "rejected", "ppl",
           "tax", "seconds");
    print_row(width, "reference", was, was, run->seconds);
    for (int i = 0; i < run->o.n; i++) {
        const struct curve *c = &run->curve[i];
        print_row(width, c->name, &c->at[c->n - 1], was, c->seconds);
    }
    printf("\nEach aligned for %d steps of %d pairs:", run->o.steps, PAIRS);
    for (int i = 0; i < run->o.n; i++) {
        const struct curve *c = &run->curve[i];
        printf("%s%s %s lr %g", i ? ";" : "", i && i % 4 == 0 ? "\n " : "",
               c->name, c->lr);
        if (c->beta > 0) printf(", beta %g", c->beta);
    }
    printf(".\n\n"
        "Accuracy: how often the chosen answer is the likelier one. It stays\n"
        "high in models that are wrecked, so read it beside the perplexity of\n"
        "neutral text, whose rise is the alignment tax, and the samples. One\n"
        "small model, one kind of preference, learning rates that were not\n"
        "searched: this ranks no methods.\n");
}

static void print_samples(const struct run *run)
{
    printf("\nHeld-out prompts, answered at temperature 0.7:\n");
    for (int i = 0; i < SAMPLES; i++) {
        printf("\n  %s\n", prompt(run, i));
        for (int k = 0; k <= run->o.n; k++)
            printf("    %-*s %s\n", run->width + 1,
                   k ? run->curve[k - 1].name : "reference", run->said[k][i]);
    }
}

/* The bars that this demonstration has to meet. */
static int check(const struct run *run)
{
    int good = run->before.accuracy >= 0.4 && run->before.accuracy <= 0.6;
    printf("\ncheck: reference %.1f %% (40 to 60): %s\n",
           100 * run->before.accuracy, good ? "ok" : "FAILED");
    for (int i = 0; i < run->o.n; i++) {
        const struct curve *c = &run->curve[i];
        double accuracy = c->at[c->n - 1].accuracy;
        uint32_t kind = run->o.method[i].kind;
        if (kind != BNFLOSS_BNF && kind != BNFLOSS_DPO) continue;
        printf("check: %s %.1f %% (80 or more): %s\n", c->name, 100 * accuracy,
               accuracy >= 0.8 ? "ok" : "FAILED");
        good = good && accuracy >= 0.8;
    }
    return good;
}

/* Half a minute of training should not end at a file that cannot be made. */
static void try_output(const char *file)
{
    FILE *out = fopen(file, "a");
    if (out && !fclose(out)) return;
    fprintf(stderr, "align: %s: %s\n", file, strerror(errno));
    exit(1);
}

int main(int argc, char **argv)
{
    static struct run run;
    const char *isa;
    read_options(&run.o, argc, argv);
    if (bnfloss_selftest(&isa) != BNFLOSS_OK) {
        fprintf(stderr, "align: this build of bnfloss computes other bits than "
                "it should (%s)\n", isa ? isa : "a loss");
        return 1;
    }
    read_text(&run.text, run.o.text);
    read_pairs(&run.pairs, run.o.pairs);
    try_output(run.o.out);
    run.t.model = model_new(LAYERS, CHANNELS, VOCAB, run.o.threads, run.o.seed);
    run.t.batch = batch_new();
    run.reference = malloc(run.t.model->count * sizeof(float));
    int *card = malloc((size_t)run.pairs.held * sizeof *card);
    if (!run.reference || !card) return 1;
    printf("%zu weights, %d layers; %zu bytes of text, %d pairs; seed %llu, "
           "%d thread%s, %s, bnfloss %s (%s)\n", run.t.model->count, LAYERS,
           run.text.n, run.pairs.n, (unsigned long long)run.o.seed,
           run.o.threads, run.o.threads == 1 ? "" : "s", run.t.model->k->name,
           bnfloss_version(), bnfloss_isa());
    fflush(stdout);

    run.width = (int)strlen("reference");
    for (int i = 0; i < run.o.n; i++) {
        int length = (int)strlen(run.o.method[i].title);
        if (length > run.width) run.width = length;
    }
    train_reference(&run);
    for (int i = 0; i < run.o.n; i++) {
        align(&run, &run.o.method[i], &run.curve[i], card);
        speak(&run, run.said[i + 1]);
    }
    print_table(&run);
    print_samples(&run);
    int good = plot(run.o.out, run.curve, run.o.n);
    if (run.o.check) good = check(&run) && good;
    free(card);
    free(run.reference);
    free_data(&run.text, &run.pairs);
    trainer_free(&run.t);
    return !good;
}
