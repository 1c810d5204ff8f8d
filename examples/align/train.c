/* One step, one measurement, one sample. See train.h. */
#include "train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOGETHER = 16 };        /* sequences in one forward pass */

static bnfloss_layout layout(const struct model *m, const struct batch *b)
{
    return (bnfloss_layout){
        .struct_size = sizeof(bnfloss_layout),
        .rows = b->start[b->S],
        .vocab = m->V
    };
}

static void check(bnfloss_status status, const bnfloss_result *result)
{
    if (status == BNFLOSS_OK) return;
    fprintf(stderr, "align: bnfloss: %s (at %lld)\n",
            bnfloss_status_string(status), (long long)result->where);
    exit(1);
}

static void *grow(void *at, size_t bytes)
{
    at = realloc(at, bytes);
    if (at) return at;
    fprintf(stderr, "align: out of memory (%zu bytes)\n", bytes);
    exit(1);
}

void trainer_free(struct trainer *t)
{
    model_free(t->model);
    batch_free(t->batch);
    model_free(t->reference);
    if (t->mismatched) batch_free(t->mismatched);
    free(t->work);
}

/* The logp of each label of a batch, from a forward pass alone; 0 where there
 * is none. */
static void log_probs(struct model *m, const struct batch *b, float *logp)
{
    size_t N = (size_t)b->start[b->S];
    bnfloss_layout shape = layout(m, b);
    bnfloss_row *state = grow(NULL, (N + !N) * sizeof *state);
    bnfloss_outputs out = {.struct_size = sizeof out, .logp = logp};
    bnfloss_result result = {.struct_size = sizeof result};
    model_forward(m, b);
    check(bnfloss_forward(&shape, m->logits, b->label, 0, shape.rows, state,
                          &out, &result), &result);
    free(state);
}

/* ---- A step ------------------------------------------------------------- */

void mismatched_ratios(struct trainer *t, double *ratio)
{
    const struct batch *b = t->mismatched;
    size_t N = (size_t)b->start[b->S];
    float *logp = grow(NULL, 2 * N * sizeof *logp), *ref = logp + N;
    log_probs(t->model, b, logp);
    log_probs(t->reference, b, ref);
    for (int s = 0; s < b->S; s++) {
        ratio[s] = 0;
        for (int64_t i = b->start[s]; i < b->start[s + 1]; i++)
            ratio[s] += (double)logp[i] - (double)ref[i];
    }
    free(logp);
}

/* What one loss asks for and no other reads. Returns the memory that it lies
 * in, for the caller to free, or NULL. */
static void *own_inputs(struct trainer *t, uint32_t kind,
                        const bnfloss_result *before, bnfloss_inputs *inputs)
{
    if (kind == BNFLOSS_BMC) {
        uint8_t *mask = grow(NULL, (size_t)t->batch->start[t->batch->S]);
        batch_differences(t->batch, mask);
        inputs->row_mask = mask;
        return mask;
    }
    if (kind == BNFLOSS_KTO) {
        int S = t->mismatched->S;
        double *ratio = grow(NULL, (size_t)S * sizeof *ratio);
        mismatched_ratios(t, ratio);
        inputs->mismatched = ratio;
        inputs->mismatches = S;
        return ratio;
    }
    if (kind == BNFLOSS_BCO) {
        inputs->shift_mean = before->shift;
        inputs->shift_count = before->shift_count;
    }
    return NULL;
}

void train_step(struct trainer *t, const bnfloss_spec *spec, double lr,
                const char *phase, int step, bnfloss_result *result)
{
    struct batch *b = t->batch;
    int paired = spec->kind != BNFLOSS_SFT;
    bnfloss_layout shape = layout(t->model, b);
    bnfloss_inputs inputs = {
        .struct_size = sizeof inputs,
        .pairing = paired ? BNFLOSS_PAIRS_ADJACENT : BNFLOSS_PAIRS_NONE,
        .sequences = b->S,
        .seq_start = b->start,
        .ref_logp = paired ? b->ref : NULL
    };
    void *own = own_inputs(t, spec->kind, result, &inputs);
    *result = (bnfloss_result){.struct_size = sizeof *result};
    uint64_t need;
    check(bnfloss_workspace(&shape, spec, shape.rows, b->S, &need), result);
    if (need > t->work_bytes) t->work = grow(t->work, t->work_bytes = 2 * need);

    model_forward(t->model, b);
    float *logits = t->model->logits;
    check(bnfloss_run(&shape, spec, &inputs, logits, b->label, logits, NULL,
                      t->work, t->work_bytes, 1, result),
          result);
    free(own);
    model_backward(t->model, b);
    double norm = model_step(t->model, lr);
    if (isfinite(result->loss) && isfinite(norm)) return;
    fprintf(stderr, "\nalign: %s, step %d: the loss is %g and the gradient's "
            "length %g; stopped. A lower --lr may help.\n",
            phase, step, result->loss, norm);
    exit(1);
}

/* ---- A measurement ------------------------------------------------------ */

/* logp of the answers first .. last - 1 in pair.ref's form: into to[pair][side]
 * if store, else only their sums. */
static void score(struct trainer *t, const struct pairs *all, int first,
                  int last, double (*sum)[2], int store)
{
    batch_clear(t->batch);
    for (int i = first; i < last; i++)
        for (int side = 0; side < 2; side++)
            batch_answer(t->batch, &all->pair[i], side, 0);
    size_t N = (size_t)t->batch->start[t->batch->S];
    float *logp = grow(NULL, N * sizeof *logp);
    log_probs(t->model, t->batch, logp);
    for (int i = first, s = 0; i < last; i++)
        for (int side = 0; side < 2; side++) {
            struct pair *p = &all->pair[i];
            int n = p->bytes[side] + 1;     /* the answer and its end: the */
            const float *at = logp + t->batch->start[++s] - n; /* last rows */
            if (store) memcpy(p->ref[side], at, (size_t)n * sizeof *at);
            if (!sum) continue;
            sum[i - first][side] = 0;
            for (int k = 0; k < n; k++) sum[i - first][side] += (double)at[k];
        }
    free(logp);
}

void cache_reference(struct trainer *t, struct pairs *all)
{
    for (int i = 0; i < all->n; i += TOGETHER / 2) {
        int end = i + TOGETHER / 2 < all->n ? i + TOGETHER / 2 : all->n;
        score(t, all, i, end, NULL, 1);
    }
}

static double held_perplexity(struct trainer *t, const struct text *text)
{
    double sum = 0;
    size_t n = 0, at = text->held;
    float *logp = grow(NULL, TOGETHER * WINDOW * sizeof *logp);
    while (at + 1 < text->n) {
        batch_clear(t->batch);
        for (int s = 0; s < TOGETHER && at + 1 < text->n; s++) {
            size_t left = text->n - at, take = left < WINDOW ? left : WINDOW;
            batch_text(t->batch, text->bytes + at, (int)take);
            at += take - 1;                 /* the last byte opens the next */
        }
        log_probs(t->model, t->batch, logp);
        int64_t N = t->batch->start[t->batch->S];
        for (int64_t i = 0; i < N; i++) sum += (double)logp[i];
        n += (size_t)N;
    }
    free(logp);
    return exp(-sum / (double)n);
}

static double win(double a, double b)
{
    return a > b ? 1 : a < b ? 0 : 0.5;
}

void measure(struct trainer *t, const struct pairs *all,
             const struct text *text, struct measure *result)
{
    double sum[TOGETHER / 2][2];
    int pairs = all->n - all->held;
    struct measure m = {0};
    for (int i = all->held; i < all->n; i += TOGETHER / 2) {
        int end = i + TOGETHER / 2 < all->n ? i + TOGETHER / 2 : all->n;
        score(t, all, i, end, sum, 0);
        for (int k = 0; k < end - i; k++) {
            double mean[2];
            for (int side = 0; side < 2; side++) {
                mean[side] = sum[k][side] / (all->pair[i + k].bytes[side] + 1);
                m.logp[side] += mean[side] / pairs;
            }
            m.accuracy += win(sum[k][0], sum[k][1]) / pairs;
            m.accuracy_mean += win(mean[0], mean[1]) / pairs;
        }
    }
    m.perplexity = held_perplexity(t, text);
    *result = m;
}

/* ---- A sample ----------------------------------------------------------- */

static int draw_byte(const float *z, int V, double temperature, uint64_t *seed)
{
    double p[256], sum = 0, at;
    int best = 0;
    for (int v = 1; v < V; v++)
        if (z[v] > z[best]) best = v;
    if (temperature <= 0) return best;
    for (int v = 0; v < V; v++)
        sum += p[v] = exp((double)(z[v] - z[best]) / temperature);
    at = random_unit(seed) * sum;
    for (int v = 0; v < V; v++)
        if ((at -= p[v]) < 0) return v;
    return best;
}

/* Bytes of the well-formed UTF-8 sequence at s, or 0. */
static int utf8(const char *s)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    uint32_t c = (unsigned char)*s;
    int n = c < 0x80 ? 1 : c < 0xc0 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (n > 1) c &= 0xffu >> (n + 1);
    for (int i = 1; i < n; i++) {
        if (((unsigned char)s[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | ((unsigned char)s[i] & 0x3f);
    }
    int surrogate = c >= 0xd800 && c < 0xe000;
    return c < least[n] || surrogate || c > 0x10ffff ? 0 : n;
}

static void make_printable(char *s)
{
    for (int n; *s; s += n) {
        n = utf8(s);
        if (n == 0 || (n == 1 && ((unsigned char)*s < 32 || *s == 127))) {
            *s = *s == '\n' ? '/' : '?';
            n = 1;
        }
    }
}

void sample(struct trainer *t, const char *prompt, double temperature,
            uint64_t seed, char *out)
{
    uint8_t text[MOST_BYTES + 4] = {0};     /* 0, prompt, \n, what follows */
    size_t given = strlen(prompt);
    if (given > MOST_BYTES) given = MOST_BYTES;
    memcpy(text + 1, prompt, given);
    text[1 + given] = '\n';
    size_t n = given + 2;
    for (; n < MOST_BYTES + 2; n++) {
        batch_clear(t->batch);
        batch_text(t->batch, text, (int)n + 1);
        model_forward(t->model, t->batch);
        const float *z = t->model->logits + (n - 1) * (size_t)t->model->V;
        int byte = draw_byte(z, t->model->V, temperature, &seed);
        if (!byte) break;
        text[n] = (uint8_t)byte;
    }
    size_t bytes = n - given - 2;
    memcpy(out, text + given + 2, bytes);
    out[bytes] = 0;
    make_printable(out);
}
