/* bnfloss-bench: the kernels against the limits of this machine's memory.
 *
 * Every round measures the limit right beside the case, and the ratio is
 * taken round by round: on a shared machine ratios mean something and times
 * do not. A case's result is compared with a double computation first; a
 * wrong one gets no speed. */
#define _POSIX_C_SOURCE 200112L
#include "bnfloss.h"
#include "limits.h"
#include "textbook.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

enum { MAX_ROUNDS = 99, MAX_LIST = 8 };

typedef struct options {
    const char *isa, *format;
    const char *loss[MAX_LIST], *stage[MAX_LIST], *dtype[MAX_LIST];
    int losses, stages, dtypes, vocabs, thread_counts;
    int64_t vocab[MAX_LIST];
    int threads[MAX_LIST];
    int rounds;
    size_t bytes;
} options;

/* One batch, allocated once for the largest case and reused. */
typedef struct batch {
    int64_t N, V, S;
    uint32_t dtype;
    void *source, *logits;          /* (N,V); logits is refilled from source */
    int32_t *label;                 /* (N) */
    float *ref, *dlogp;             /* (N) */
    int64_t *start;                 /* (S+1) one row a sequence */
    bnfloss_row *state;             /* (N) */
    void *work;
    uint64_t work_bytes;
} batch;

typedef struct report {
    char name[96];
    double ns, ratio, mad, limit_ns, error;
    size_t bytes_per_logit;
} report;

/* ---- Numbers ---------------------------------------------------------------- */

static uint64_t seed = 1;

static double uniform(void)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (double)(seed >> 11) * 0x1p-53;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, ascending);
    return n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

static double deviation(const double *x, int n, double middle)
{
    double d[MAX_ROUNDS];

    for (int i = 0; i < n; i++)
        d[i] = fabs(x[i] - middle);
    return median(d, n);
}

static float half_to_float(uint32_t dtype, uint16_t h)
{
    uint32_t bits = (uint32_t)h << 16;
    float f;

    if (dtype == BNFLOSS_F16) {     /* normal numbers: all that occur here */
        bits = (uint32_t)(h & 0x8000) << 16;
        if (h & 0x7C00)
            bits |= ((uint32_t)(h & 0x7FFF) << 13) + 0x38000000u;
        else
            return (h & 0x8000 ? -1.0f : 1.0f) * (float)(h & 0x3FF) * 0x1p-24f;
    }
    memcpy(&f, &bits, sizeof f);
    return f;
}

static double element(uint32_t dtype, const void *p, int64_t i)
{
    if (dtype == BNFLOSS_F32)
        return (double)((const float *)p)[i];
    return (double)half_to_float(dtype, ((const uint16_t *)p)[i]);
}

static size_t element_size(uint32_t dtype)
{
    return dtype == BNFLOSS_F32 ? 4 : 2;
}

/* ---- The batch ----------------------------------------------------------------- */

static void *must(void *p)
{
    if (!p) {
        fprintf(stderr, "bnfloss-bench: out of memory\n");
        exit(1);
    }
    return p;
}

static void *pages(size_t bytes)
{
    void *p = NULL;

    if (posix_memalign(&p, 4096, (bytes + 4095) / 4096 * 4096) != 0)
        p = NULL;
    memset(must(p), 0, bytes);      /* touched, so that no fault is timed */
    return p;
}

/* Logits like a model's: a bell a few nats wide, and the label above it. */
static void fill_source(batch *b)
{
    for (int64_t i = 0; i < b->N * b->V; i++) {
        const float z = (float)((uniform() + uniform() + uniform()) * 6 - 9);
        uint32_t bits;

        memcpy(&bits, &z, sizeof bits);
        if (b->dtype == BNFLOSS_F32)
            ((float *)b->source)[i] = z;
        else if (b->dtype == BNFLOSS_BF16)
            ((uint16_t *)b->source)[i] = (uint16_t)(bits >> 16);
        else
            ((uint16_t *)b->source)[i] = (uint16_t)(
                (bits >> 16 & 0x8000)
                | (fabsf(z) < 0x1p-14f
                       ? 0 : ((bits & 0x7FFFFFFF) - 0x38000000u) >> 13));
    }
}

static batch make_batch(uint32_t dtype, int64_t V, size_t bytes)
{
    batch b;

    memset(&b, 0, sizeof b);
    b.dtype = dtype;
    b.V = V;
    b.N = (int64_t)(bytes / element_size(dtype) / (size_t)V) / 2 * 2;
    if (b.N < 2)
        b.N = 2;
    b.S = b.N;
    bytes = (size_t)(b.N * V) * element_size(dtype);
    b.source = pages(bytes);
    b.logits = pages(bytes);
    b.label = pages((size_t)b.N * sizeof *b.label);
    b.ref = pages((size_t)b.N * sizeof *b.ref);
    b.dlogp = pages((size_t)b.N * sizeof *b.dlogp);
    b.start = pages((size_t)(b.S + 1) * sizeof *b.start);
    b.state = pages((size_t)b.N * sizeof *b.state);
    b.work_bytes = (uint64_t)b.N * 256 + 65536;
    b.work = pages(b.work_bytes);
    for (int64_t i = 0; i < b.N; i++) {
        b.label[i] = (int32_t)(uniform() * (double)V);
        b.ref[i] = (float)(-log((double)V) - 2 * uniform());
        b.dlogp[i] = -1 / (float)b.N;
    }
    for (int64_t s = 0; s <= b.S; s++)
        b.start[s] = s;
    fill_source(&b);
    return b;
}

static void free_batch(batch *b)
{
    free(b->source);
    free(b->logits);
    free(b->label);
    free(b->ref);
    free(b->dlogp);
    free(b->start);
    free(b->state);
    free(b->work);
}

static void refill(batch *b)
{
    memcpy(b->logits, b->source,
           (size_t)(b->N * b->V) * element_size(b->dtype));
}

/* ---- The cases -------------------------------------------------------------------- */

typedef struct bench_case {
    const char *loss, *stage;       /* loss "textbook-sft": the baseline */
    int threads;
} bench_case;

static void must_ok(bnfloss_status status, const char *what)
{
    if (status != BNFLOSS_OK) {
        fprintf(stderr, "bnfloss-bench: %s: %s\n", what,
                bnfloss_status_string(status));
        exit(1);
    }
}

static bnfloss_layout layout_of(const batch *b, const bench_case *c)
{
    bnfloss_layout l;

    memset(&l, 0, sizeof l);
    l.struct_size = sizeof l;
    l.logits_type = l.grad_type = b->dtype;
    l.rows = b->N;
    l.vocab = b->V;
    l.flags = strcmp(c->loss, "bnf") == 0 ? BNFLOSS_ENTROPY : 0;
    return l;
}

/* Row ranges on as many threads, as a trainer's own pool would. */
static void run_ranges(batch *b, const bench_case *c, int backward)
{
    const bnfloss_layout l = layout_of(b, c);

#ifdef _OPENMP
#pragma omp parallel for num_threads(c->threads) schedule(static, 1)
#endif
    for (int t = 0; t < c->threads; t++) {
        const int64_t from = b->N * t / c->threads;
        const int64_t to = b->N * (t + 1) / c->threads;

        must_ok(backward ? bnfloss_backward(&l, b->logits, b->label, from, to,
                                            b->state, b->dlogp, b->logits, NULL)
                         : bnfloss_forward(&l, b->logits, b->label, from, to,
                                           b->state, NULL, NULL), c->stage);
    }
}

static void run_fused(batch *b, const bench_case *c)
{
    const bnfloss_layout l = layout_of(b, c);
    bnfloss_spec spec;
    bnfloss_inputs in;
    bnfloss_outputs out;
    bnfloss_result r;
    const int sft = strcmp(c->loss, "sft") == 0;

    memset(&in, 0, sizeof in);
    in.struct_size = sizeof in;
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = b->S;
    in.seq_start = b->start;
    in.ref_logp = b->ref;
    memset(&out, 0, sizeof out);
    out.struct_size = sizeof out;
    out.dlogp = b->dlogp;
    memset(&r, 0, sizeof r);
    r.struct_size = sizeof r;
    bnfloss_spec_init(&spec, sft ? BNFLOSS_SFT
                             : strcmp(c->loss, "dpo") == 0 ? BNFLOSS_DPO
                             : BNFLOSS_BNF);
    must_ok(bnfloss_run(&l, &spec, sft ? NULL : &in, b->logits, b->label,
                        b->logits, &out, b->work, b->work_bytes, c->threads,
                        &r), c->loss);
}

static void run_textbook(batch *b, const bench_case *c)
{
    const float *ref = strcmp(c->loss, "textbook-bnf") == 0 ? b->ref : NULL;

#ifdef _OPENMP
#pragma omp parallel for num_threads(c->threads) schedule(static, 1)
#endif
    for (int t = 0; t < c->threads; t++)
        textbook_rows(b->logits, b->label, ref, b->dlogp,
                      b->N * t / c->threads, b->N * (t + 1) / c->threads,
                      b->N, b->V);
}

static int is_textbook(const bench_case *c)
{
    return strncmp(c->loss, "textbook", 8) == 0;
}

static void run_case(batch *b, const bench_case *c)
{
    if (is_textbook(c))
        run_textbook(b, c);
    else if (strcmp(c->stage, "fused") == 0)
        run_fused(b, c);
    else
        run_ranges(b, c, strcmp(c->stage, "backward") == 0);
}

/* ---- Is it right? -------------------------------------------------------------------- */

/* Of one row, in double: lse, and what the gradient is a multiple of. */
static double row_lse(const batch *b, int64_t i)
{
    double max = -INFINITY, sum = 0;

    for (int64_t t = 0; t < b->V; t++)
        max = fmax(max, element(b->dtype, b->source, i * b->V + t));
    for (int64_t t = 0; t < b->V; t++)
        sum += exp(element(b->dtype, b->source, i * b->V + t) - max);
    return max + log(sum);
}

/* The largest error of row i's gradient, in units of u * |dlogp|, u = 2^-24
 * (and after half an ulp of a half-precision gradient is allowed for). */
static double gradient_error(const batch *b, int64_t i, double dlogp)
{
    const double u = b->dtype == BNFLOSS_F32 ? 0
                     : b->dtype == BNFLOSS_BF16 ? 0x1p-8 : 0x1p-11;
    const double lse = row_lse(b, i);
    double worst = 0;

    for (int64_t t = 0; t < b->V; t++) {
        const double z = element(b->dtype, b->source, i * b->V + t);
        const double g = dlogp * ((t == b->label[i]) - exp(z - lse));
        double e = fabs(element(b->dtype, b->logits, i * b->V + t) - g);

        e -= fabs(g) * u + (b->dtype == BNFLOSS_F16 ? 0x1p-25 : 0);
        worst = fmax(worst, e / (fabs(dlogp) * 0x1p-24));
    }
    return worst;
}

static double logp_error(const batch *b, int64_t i)
{
    const double z = element(b->dtype, b->source, i * b->V + b->label[i]);
    const bnfloss_row *x = b->state + i;
    const double d = x->label - x->leader;
    const double logp = d - log(1 + x->sum + exp(d));

    return fabs(logp - (z - row_lse(b, i))) / 0x1p-24;
}

/* Checks the first, a middle and the last row after a run. */
static double check_case(const batch *b, const bench_case *c)
{
    const int64_t rows[3] = { 0, b->N / 2, b->N - 1 };
    double worst = 0;

    for (int k = 0; k < 3; k++) {
        const double d = (double)b->dlogp[rows[k]];

        if (strcmp(c->stage, "forward") == 0)
            worst = fmax(worst, logp_error(b, rows[k]));
        else if (d != 0)
            worst = fmax(worst, gradient_error(b, rows[k], d));
    }
    return worst;
}

/* ---- Measuring ----------------------------------------------------------------------------- */

/* Bytes that have to move for a logit: read once, and written once where
 * there is a gradient. */
static size_t traffic(const batch *b, const bench_case *c)
{
    return element_size(b->dtype) * (strcmp(c->stage, "forward") == 0 ? 1 : 2);
}

/* The state that a stage starts from. */
static void prepare(batch *b, const bench_case *c)
{
    refill(b);
    for (int64_t i = 0; i < b->N; i++)
        b->dlogp[i] = -1 / (float)b->N;
    if (strcmp(c->stage, "backward") == 0)
        run_ranges(b, c, 0);
}

static report measure(batch *b, const bench_case *c, int rounds, double bound)
{
    const size_t bytes = (size_t)(b->N * b->V) * element_size(b->dtype);
    const double logits = (double)b->N * (double)b->V;
    double time[MAX_ROUNDS], ratio[MAX_ROUNDS], limit[MAX_ROUNDS];
    report r;

    memset(&r, 0, sizeof r);
    snprintf(r.name, sizeof r.name, "%s/%s/%s/%lld/threads:%d/isa:%s", c->loss,
             c->stage, b->dtype == BNFLOSS_F32 ? "f32"
                       : b->dtype == BNFLOSS_BF16 ? "bf16" : "f16",
             (long long)b->V, c->threads,
             is_textbook(c) ? "compiler" : bnfloss_isa());
    prepare(b, c);
    run_case(b, c);
    r.error = check_case(b, c);
    r.bytes_per_logit = traffic(b, c);
    if (r.error > bound && !is_textbook(c)) {
        r.ns = r.ratio = NAN;
        return r;
    }
    for (int k = 0; k < rounds; k++) {
        double start;

        limit[k] = strcmp(c->stage, "forward") == 0
                       ? limit_read(b->logits, bytes, c->threads)
                       : limit_in_place(b->source, bytes, c->threads);
        prepare(b, c);
        start = now();
        run_case(b, c);
        time[k] = now() - start;
        ratio[k] = time[k] / limit[k];
    }
    r.ratio = median(ratio, rounds);
    r.mad = deviation(ratio, rounds, r.ratio);
    r.ns = median(time, rounds) / logits * 1e9;
    r.limit_ns = median(limit, rounds) / logits * 1e9;
    return r;
}

/* ---- Showing ---------------------------------------------------------------------------------- */

static void show_head(const options *o)
{
    if (strcmp(o->format, "table") == 0)
        printf("%-46s %9s %8s %8s %7s %9s\n", "case", "ns/logit", "GB/s",
               "x limit", "+-", "error/u");
    else if (strcmp(o->format, "csv") == 0)
        printf("name,ns_per_logit,gb_per_s,limit_ratio,limit_mad,max_error\n");
    else
        printf("{\n  \"context\": {\"library_version\": \"%s\", "
               "\"executable\": \"bnfloss-bench\"},\n  \"benchmarks\": [",
               bnfloss_version());
}

static void show(const options *o, const report *r, int index)
{
    const double gbs = (double)r->bytes_per_logit / r->ns;

    if (strcmp(o->format, "table") == 0) {
        if (isnan(r->ns))
            printf("%-46s %9s: error %.3g u\n", r->name, "WRONG", r->error);
        else
            printf("%-46s %9.4f %8.2f %8.2f %7.2f %9.2f%s\n", r->name, r->ns,
                   gbs, r->ratio, r->mad, r->error,
                   r->mad > 0.15 * r->ratio ? "  unstable" : "");
    } else if (strcmp(o->format, "csv") == 0) {
        printf("%s,%.5g,%.5g,%.5g,%.5g,%.5g\n", r->name, r->ns, gbs, r->ratio,
               r->mad, r->error);
    } else if (isnan(r->ns)) {
        printf("%s\n    {\"name\": \"%s\", \"run_type\": \"iteration\", "
               "\"error_occurred\": true, \"error_message\": \"wrong result\", "
               "\"max_error\": %.5g}", index ? "," : "", r->name, r->error);
    } else {
        printf("%s\n    {\"name\": \"%s\", \"run_name\": \"%s\", "
               "\"run_type\": \"iteration\", \"iterations\": %d, "
               "\"real_time\": %.6g, \"cpu_time\": %.6g, "
               "\"time_unit\": \"ns\", \"ns_per_logit\": %.6g, "
               "\"gb_per_s\": %.6g, \"limit_ratio\": %.6g, "
               "\"max_error\": %.6g}", index ? "," : "", r->name, r->name,
               o->rounds, r->ns, r->ns, r->ns, gbs, r->ratio, r->error);
    }
    fflush(stdout);
}

static void show_tail(const options *o)
{
    if (strcmp(o->format, "json") == 0)
        printf("\n  ]\n}\n");
    else if (strcmp(o->format, "table") == 0)
        printf("\nx limit: time over that of reading (forward) or scaling in "
               "place (all others)\nthe same buffer, measured beside it. "
               "error/u: largest error of gradient or logp\nfound, in units of "
               "2^-24 (of |dlogp|), against double.\n");
}

/* ---- The command line ----------------------------------------------------------------------------- */

static void usage(FILE *f)
{
    fprintf(f,
"usage: bnfloss-bench [options]\n"
"  --loss sft,bnf,dpo,textbook-sft,textbook-bnf    (default: all)\n"
"  --stage forward,backward,fused                  (default: all)\n"
"  --dtype f32,bf16,f16                            (default: f32)\n"
"  --shape gpt2,llama2,llama3,qwen2.5,gemma or numbers\n"
"                                 (default: llama2,llama3,gemma)\n"
"  --threads 1,2                                   (default: 1)\n"
"  --isa auto|scalar|avx2|avx512|neon              (default: auto)\n"
"  --rounds N      rounds of each case             (default: 9)\n"
"  --mib N         size of the logits              (default: 256)\n"
"  --quick         64 MiB, 5 rounds\n"
"  --format table|csv|json\n");
}

static void refuse(const char *what, const char *value)
{
    fprintf(stderr, "bnfloss-bench: %s: '%s'\n", what, value);
    usage(stderr);
    exit(2);
}

/* Splits a comma-separated list in place. */
static int split(char *text, const char **item)
{
    int n = 0;

    for (char *p = strtok(text, ","); p; p = strtok(NULL, ",")) {
        if (n == MAX_LIST)
            refuse("too many items", p);
        item[n++] = p;
    }
    return n;
}

static long number(const char *text, long low, long high)
{
    char *end;
    const long x = strtol(text, &end, 10);

    if (*end || end == text || x < low || x > high)
        refuse("not a number in range", text);
    return x;
}

static int64_t vocab_of(const char *name)
{
    static const struct { const char *name; int64_t V; } known[] = {
        { "gpt2", 50257 }, { "llama2", 32000 }, { "llama3", 128256 },
        { "qwen2.5", 151936 }, { "gemma", 262144 }
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(name, known[i].name) == 0)
            return known[i].V;
    return number(name, 2, 1 << 24);
}

static void check_names(const char **name, int n, const char *allowed)
{
    char padded[96];

    for (int i = 0; i < n; i++) {
        snprintf(padded, sizeof padded, " %.80s ", name[i]);
        if (!strstr(allowed, padded))
            refuse("unknown name", name[i]);
    }
}

static options default_options(void)
{
    static const char *loss[] = { "sft", "bnf", "dpo", "textbook-sft",
                                  "textbook-bnf" };
    static const char *stage[] = { "forward", "backward", "fused" };
    options o;

    memset(&o, 0, sizeof o);
    o.isa = "auto";
    o.format = "table";
    o.losses = 5;
    o.stages = 3;
    memcpy(o.loss, loss, sizeof loss);
    memcpy(o.stage, stage, sizeof stage);
    o.dtype[0] = "f32";
    o.dtypes = 1;
    o.vocab[0] = 32000;
    o.vocab[1] = 128256;
    o.vocab[2] = 262144;
    o.vocabs = 3;
    o.threads[0] = 1;
    o.thread_counts = 1;
    o.rounds = 9;
    o.bytes = (size_t)256 << 20;
    return o;
}

static options parse(int argc, char **argv)
{
    options o = default_options();
    const char *item[MAX_LIST];

    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];

        if (strcmp(a, "--help") == 0) {
            usage(stdout);
            exit(0);
        }
        if (strcmp(a, "--quick") == 0) {
            o.bytes = (size_t)64 << 20;
            o.rounds = 5;
            continue;
        }
        if (i + 1 == argc)
            refuse("unknown option, or one without its value", a);
        i++;
        if (strcmp(a, "--loss") == 0) {
            o.losses = split(argv[i], o.loss);
        } else if (strcmp(a, "--stage") == 0) {
            o.stages = split(argv[i], o.stage);
        } else if (strcmp(a, "--dtype") == 0) {
            o.dtypes = split(argv[i], o.dtype);
        } else if (strcmp(a, "--shape") == 0) {
            o.vocabs = split(argv[i], item);
            for (int k = 0; k < o.vocabs; k++)
                o.vocab[k] = vocab_of(item[k]);
        } else if (strcmp(a, "--threads") == 0) {
            o.thread_counts = split(argv[i], item);
            for (int k = 0; k < o.thread_counts; k++)
                o.threads[k] = (int)number(item[k], 1, 1024);
        } else if (strcmp(a, "--rounds") == 0) {
            o.rounds = (int)number(argv[i], 1, MAX_ROUNDS);
        } else if (strcmp(a, "--mib") == 0) {
            o.bytes = (size_t)number(argv[i], 1, 65536) << 20;
        } else if (strcmp(a, "--isa") == 0) {
            o.isa = argv[i];
        } else if (strcmp(a, "--format") == 0) {
            o.format = argv[i];
        } else {
            refuse("unknown option", a);
        }
    }
    check_names(o.loss, o.losses, " sft bnf dpo textbook-sft textbook-bnf ");
    check_names(o.stage, o.stages, " forward backward fused ");
    check_names(o.dtype, o.dtypes, " f32 bf16 f16 ");
    check_names(&o.format, 1, " table csv json ");
    return o;
}

/* Combinations that exist: the stages apart know nothing of the loss, but
 * that BNF's forward takes one more sum; the baseline is fused float. */
static int exists(const bench_case *c, uint32_t dtype)
{
    if (is_textbook(c))
        return strcmp(c->stage, "fused") == 0 && dtype == BNFLOSS_F32;
    if (strcmp(c->stage, "backward") == 0)
        return strcmp(c->loss, "sft") == 0;
    return strcmp(c->stage, "fused") == 0 || strcmp(c->loss, "dpo") != 0;
}

static int bench_batch(const options *o, batch *b, int *index)
{
    /* a logp of size 10 has 5 u of rounding in float; the state is double */
    const double bound = 5;
    int wrong = 0;

    for (int t = 0; t < o->thread_counts; t++)
        for (int s = 0; s < o->stages; s++)
            for (int l = 0; l < o->losses; l++) {
                const bench_case c = { o->loss[l], o->stage[s], o->threads[t] };
                report r;

                if (!exists(&c, b->dtype))
                    continue;
                r = measure(b, &c, o->rounds, bound);
                wrong += isnan(r.ns);
                show(o, &r, (*index)++);
            }
    return wrong;
}

int main(int argc, char **argv)
{
    const options o = parse(argc, argv);
    int wrong = 0, index = 0;

    must_ok(bnfloss_isa_select(o.isa), o.isa);
    show_head(&o);
    for (int d = 0; d < o.dtypes; d++)
        for (int v = 0; v < o.vocabs; v++) {
            const uint32_t dtype = strcmp(o.dtype[d], "f32") == 0 ? BNFLOSS_F32
                                   : strcmp(o.dtype[d], "bf16") == 0
                                       ? BNFLOSS_BF16 : BNFLOSS_F16;
            batch b = make_batch(dtype, o.vocab[v], o.bytes);

            wrong += bench_batch(&o, &b, &index);
            free_batch(&b);
        }
    show_tail(&o);
    if (wrong)
        fprintf(stderr, "bnfloss-bench: %d wrong results\n", wrong);
    return wrong ? 1 : 0;
}
