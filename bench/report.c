/* Showing results: see report.h. */
#define _POSIX_C_SOURCE 200112L
#include "report.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- Figures ------------------------------------------------------------- */

int is_unstable(const result *r)
{
    return deviation(r->ratio, r->rounds) > 0.1 * median(r->ratio, r->rounds);
}

int is_below_limit(const result *r)
{
    return r->limit == BEST_LOOP && median(r->ratio, r->rounds) < LIMIT_FLOOR;
}

double ns_per_logit(const result *r)
{
    return 1e9 * median(r->time, r->rounds) / ((double)r->N * (double)r->V);
}

double gb_per_s(const result *r)
{
    return (double)r->traffic / ns_per_logit(r);
}

double tokens_per_s(const result *r)
{
    return (double)r->N / median(r->time, r->rounds);
}

const char *machine_name(void)
{
    static char line[256];
    FILE *f = fopen("/proc/cpuinfo", "r");
    char *name = NULL;

    while (f && !name && fgets(line, sizeof line, f))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':'))
            name = strchr(line, ':') + 2;
    if (f)
        fclose(f);
    if (name)
        name[strcspn(name, "\n\"\\<>&")] = 0;
    return name ? name : "unknown CPU";
}

/* ---- The table ----------------------------------------------------------- */

/* Room for the longest name that these options make. */
static int name_width(const options *o)
{
    int out = list_has(&o->place, OUT_OF_PLACE);

    for (int i = 0; i < o->dtype.n; i++)    /* a mixed one is always beside */
        out |= dtypes[o->dtype.of[i]].logits != dtypes[o->dtype.of[i]].grad;
    return 52 + 10 * out + 10 * list_has(&o->cache, HOT)
           + 14 * list_has(&o->pool, POOL_PTHREADS)
           + 12 * list_has(&o->scratch, NO_SCRATCH)
           + 11 * list_has(&o->pages, HUGE_PAGES) + (o->rows.n > 0 ? 13 : 0);
}

static void table_head(const options *o, const limits *l, int teams)
{
    printf("bnfloss %s on %s, %d CPU%s\n", bnfloss_version(), machine_name(),
           pool_cpus(), pool_cpus() == 1 ? "" : "s");
    for (int i = 0; i < teams; i++)
        printf("limit, %d thread%s%s%s%s: read %.1f GB/s, in place %.1f "
               "GB/s\n", l[i].threads, l[i].threads == 1 ? "" : "s",
               l[i].kind == STRAIGHT_LOOP ? ", straight loops" : "",
               l[i].pool == POOL_PTHREADS ? ", pthreads" : "",
               l[i].pages == HUGE_PAGES ? ", huge pages" : "", l[i].read_gbs,
               l[i].scale_gbs);
    printf("\n%-*s %9s %7s %10s %8s %6s %8s\n", name_width(o), "case",
           "ns/logit", "GB/s", "tokens/s", "x limit", "+-", "error/u");
}

static void table_row(const options *o, const result *r)
{
    if (!r->right || o->check)
        printf("%-*s %s: error %.3g u\n", name_width(o), r->name,
               r->right ? "right" : "WRONG", r->error);
    else
        printf("%-*s %9.4f %7.2f %10.0f %8.2f %6.2f %8.2f%s%s\n",
               name_width(o), r->name, ns_per_logit(r), gb_per_s(r),
               tokens_per_s(r),
               median(r->ratio, r->rounds), deviation(r->ratio, r->rounds),
               r->error, is_below_limit(r) ? "  BELOW LIMIT" : "",
               is_unstable(r) ? "  unstable" : "");
}

static void table_tail(void)
{
    printf("\nx limit: time over that of reading (forward) or scaling in "
           "place (all others)\nas many bytes, measured beside it; median of the "
           "rounds, and the median of what\nthe rounds are away from it, "
           "unstable above a tenth. error/u: the largest found\nin a gradient, "
           "in units of 2^-24 of |dlogp|, or forward in logp, of 1 + |logp|.\n"
           );
}

/* ---- CSV ----------------------------------------------------------------- */

static void csv_row(const options *o, const result *r)
{
    if (!r->right || o->check)
        printf("%s,,,,,,%.5g,%s\n", r->name, r->error,
               r->right ? "right" : "wrong");
    else
        printf("%s,%.5g,%.5g,%.6g,%.5g,%.5g,%.5g,%s\n", r->name,
               ns_per_logit(r), gb_per_s(r), tokens_per_s(r),
               median(r->ratio, r->rounds), deviation(r->ratio, r->rounds),
               r->error, is_below_limit(r) ? "below limit"
                         : is_unstable(r) ? "unstable" : "");
}

/* ---- JSON ---------------------------------------------------------------- */

static void json_head(const limits *l, int teams)
{
    const time_t t = time(NULL);
    char date[64] = "", host[256] = "";

    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", gmtime(&t));
    gethostname(host, sizeof host - 1);
    host[strcspn(host, "\"\\")] = 0;
    printf("{\n  \"context\": {\n    \"date\": \"%s\",\n"
           "    \"host_name\": \"%s\",\n"
           "    \"executable\": \"bnfloss-bench\",\n"
           "    \"num_cpus\": %d,\n    \"cpu\": \"%s\",\n"
           "    \"library_version\": \"%s\",\n"
           "    \"library_build_type\": \"release\",\n"
           "    \"json_schema_version\": 1,\n    \"limits\": [", date, host,
           pool_cpus(), machine_name(), bnfloss_version());
    for (int i = 0; i < teams; i++)
        printf("%s\n      {\"threads\": %d, \"loops\": \"%s\", "
               "\"pool\": \"%s\", \"pages\": \"%s\", \"read_gb_per_s\": %.4g, "
               "\"in_place_gb_per_s\": %.4g,\n       "
               "\"read_loops\": [\"%s\", \"%s\"], "
               "\"in_place_loops\": [\"%s\", \"%s\"]}",
               i ? "," : "", l[i].threads, limit_names[l[i].kind],
               pool_names[l[i].pool], page_names[l[i].pages], l[i].read_gbs,
               l[i].scale_gbs, loop_name(l[i].read[0]),
               loop_name(l[i].read[1]), loop_name(l[i].scale[0]),
               loop_name(l[i].scale[1]));
    printf("\n    ]\n  },\n  \"benchmarks\": [");
}

/* One entry; kind is what tells an iteration or an aggregate apart. */
static void json_entry(const result *r, int family, const char *suffix,
                       const char *kind, double time, double cpu, double ratio)
{
    const double logits = (double)r->N * (double)r->V;

    printf("{\n      \"name\": \"%s%s\",\n      \"family_index\": %d,\n"
           "      \"per_family_instance_index\": 0,\n"
           "      \"run_name\": \"%s\",\n      \"repetitions\": %d,\n"
           "      \"threads\": %d,\n      %s,\n      \"iterations\": 1,\n"
           "      \"real_time\": %.9g,\n      \"cpu_time\": %.9g,\n"
           "      \"time_unit\": \"ns\",\n      \"items_per_second\": %.6g,\n"
           "      \"bytes_per_second\": %.6g,\n"
           "      \"ns_per_logit\": %.6g,\n      \"gb_per_s\": %.6g,\n"
           "      \"limit_ratio\": %.6g,\n      \"max_error\": %.6g\n    }",
           r->name, suffix, family, r->name, r->rounds, r->c.threads, kind,
           1e9 * time, 1e9 * cpu, (double)r->N / time,
           (double)r->traffic * logits / time, 1e9 * time / logits,
           1e-9 * (double)r->traffic * logits / time, ratio, r->error);
}

/* A spread is of each quantity, not of a run; cv is relative. */
static void json_spread(const result *r, int family, int relative)
{
    const double *of[3] = { r->time, r->cpu, r->ratio };
    double x[3];

    for (int k = 0; k < 3; k++) {
        x[k] = spread(of[k], r->rounds);
        if (relative)
            x[k] /= mean(of[k], r->rounds);
    }
    printf(",\n    {\n      \"name\": \"%s_%s\",\n"
           "      \"family_index\": %d,\n"
           "      \"per_family_instance_index\": 0,\n"
           "      \"run_name\": \"%s\",\n      \"run_type\": \"aggregate\",\n"
           "      \"repetitions\": %d,\n      \"threads\": %d,\n"
           "      \"aggregate_name\": \"%s\",\n"
           "      \"aggregate_unit\": \"%s\",\n      \"iterations\": %d,\n"
           "      \"real_time\": %.9g,\n      \"cpu_time\": %.9g,\n"
           "      \"time_unit\": \"ns\",\n      \"limit_ratio\": %.6g\n    }",
           r->name, relative ? "cv" : "stddev", family, r->name, r->rounds,
           r->c.threads, relative ? "cv" : "stddev",
           relative ? "percentage" : "time", r->rounds,
           relative ? x[0] : 1e9 * x[0], relative ? x[1] : 1e9 * x[1], x[2]);
}

static void json_result(const options *o, const result *r, int index)
{
    char kind[128];

    printf("%s\n    ", index ? "," : "");
    if (!r->right || o->check) {
        printf("{\n      \"name\": \"%s\",\n      \"run_name\": \"%s\",\n"
               "      \"run_type\": \"iteration\",\n"
               "      \"error_occurred\": %s,\n"
               "      \"error_message\": \"%s\",\n"
               "      \"max_error\": %.6g\n    }", r->name, r->name,
               r->right ? "false" : "true", r->right ? "" : "wrong result",
               r->error < 1e300 ? r->error : 1e300);
        return;
    }
    for (int k = 0; k < r->rounds; k++) {
        snprintf(kind, sizeof kind, "\"run_type\": \"iteration\",\n"
                 "      \"repetition_index\": %d", k);
        printf("%s", k ? ",\n    " : "");
        json_entry(r, index, "", kind, r->time[k], r->cpu[k], r->ratio[k]);
    }
    printf(",\n    ");
    json_entry(r, index, "_mean", "\"run_type\": \"aggregate\",\n"
               "      \"aggregate_name\": \"mean\",\n"
               "      \"aggregate_unit\": \"time\"", mean(r->time, r->rounds),
               mean(r->cpu, r->rounds), mean(r->ratio, r->rounds));
    printf(",\n    ");
    json_entry(r, index, "_median", "\"run_type\": \"aggregate\",\n"
               "      \"aggregate_name\": \"median\",\n"
               "      \"aggregate_unit\": \"time\"",
               median(r->time, r->rounds), median(r->cpu, r->rounds),
               median(r->ratio, r->rounds));
    json_spread(r, index, 0);
    json_spread(r, index, 1);
}

/* ---- All ----------------------------------------------------------------- */

void report_head(const options *o, const limits *l, int teams)
{
    if (o->format == TABLE)
        table_head(o, l, teams);
    else if (o->format == CSV)
        printf("name,ns_per_logit,gb_per_s,tokens_per_s,limit_ratio,"
               "limit_mad,max_error,note\n");
    else
        json_head(l, teams);
}

void report_result(const options *o, const result *r, int index)
{
    if (o->format == TABLE)
        table_row(o, r);
    else if (o->format == CSV)
        csv_row(o, r);
    else
        json_result(o, r, index);
    fflush(stdout);
}

void report_tail(const options *o)
{
    if (o->format == JSON)
        printf("\n  ]\n}\n");
    else if (o->format == TABLE && !o->check)
        table_tail();
}
