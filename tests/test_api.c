/* The API: statuses, versions, instruction sets, work, struct sizes; the
 * metrics of rows against plain double, and losses worked out by hand.
 *
 * SPDX-License-Identifier: MIT
 *
 * Cites E34, E38 and E39 of EDGES.md. */
#include "fixture.h"

#include <stddef.h>

/* ---- Names --------------------------------------------------------------- */

static void statuses(void)
{
    const char *unknown = bnfloss_status_string(BNFLOSS_STATUS_MAX);

    CHECK(strcmp(unknown, "unknown status") == 0, "\"%s\"", unknown);
    CHECK(strcmp(bnfloss_status_string((bnfloss_status)21), unknown) == 0,
          "status 21 is known: extend this test");
    CHECK(strcmp(bnfloss_status_string((bnfloss_status)1000000), unknown) == 0,
          "status 1000000");
    for (int i = 0; i <= BNFLOSS_E_SELFTEST; i++) {
        const char *a = bnfloss_status_string((bnfloss_status)i);

        CHECK(a && a[0] && !strchr(a, '\n') && strcmp(a, unknown) != 0,
              "status %d: \"%s\"", i, a);
        for (int j = 0; j < i; j++)
            CHECK(strcmp(a, bnfloss_status_string((bnfloss_status)j)) != 0,
                  "status %d and %d: \"%s\"", i, j, a);
    }
}

static void versions(void)
{
    char text[32];

    snprintf(text, sizeof text, "%d.%d.%d", BNFLOSS_VERSION_MAJOR,
             BNFLOSS_VERSION_MINOR, BNFLOSS_VERSION_PATCH);
    CHECK(strcmp(text, BNFLOSS_VERSION) == 0, "%s, %s", text, BNFLOSS_VERSION);
    CHECK(strcmp(text, bnfloss_version()) == 0, "%s, %s", text,
          bnfloss_version());
}

/* The library's test of itself leaves the chosen instruction set alone. */
static void selftests(void)
{
    FOR_EACH_ISA(isa) {
        const char *bad = "nothing";

        CHECK(bnfloss_selftest(&bad) == BNFLOSS_OK && bad == NULL,
              "selftest: %s", bad ? bad : "no instruction set");
        CHECK(bnfloss_selftest(NULL) == BNFLOSS_OK
              && strcmp(bnfloss_isa(), isa) == 0, "after it: %s",
              bnfloss_isa());
    }
}

static void instruction_sets(void)
{
    const char *best = bnfloss_isa();       /* chosen by this call, for good */

    CHECK(strcmp(bnfloss_isa(), best) == 0, "%s, then %s", best,
          bnfloss_isa());
    FOR_EACH_ISA(isa)
        CHECK(strcmp(bnfloss_isa(), isa) == 0, "%s, not %s", bnfloss_isa(),
              isa);
    CHECK(!bnfloss_isa_name(-1) && !bnfloss_isa_name(INT32_MAX),
          "an instruction set of no number");
    CHECK(bnfloss_isa_select("scalar") == BNFLOSS_OK
          && bnfloss_isa_select("auto") == BNFLOSS_OK
          && strcmp(bnfloss_isa(), best) == 0, "auto is %s, not %s",
          bnfloss_isa(), best);
}

/* ---- Work ---------------------------------------------------------------- */

/* One batch with exactly the bytes that are asked for, at every address: an
 * even number of rows, so that no rounding up to 16 bytes hides a double too
 * many. mixed: with two other losses. */
static void exact_work(uint32_t kind, int mixed, int loss)
{
    static unsigned char space[FAM_WORK + 64];
    float first[FAM_N];

    for (size_t at = 0; at < 33; at++) {
        bnfloss_status status = BNFLOSS_OK;
        uint64_t bytes = 0;
        size_t changed = 0;

        fam_make(kind, 3, 0);
        if (mixed) {
            fam_also(1, BNFLOSS_SFT, 0.5);
            fam_also(2, BNFLOSS_KTO, 0.25);
        }
        CHECK(bnfloss_workspace(loss ? NULL : &fam.layout, fam.spec,
                                loss ? FAM_N : -5, FAM_S, &bytes)
              == BNFLOSS_OK && bytes > 0 && bytes < FAM_WORK,
              "workspace: %d bytes", (int)bytes);
        memset(space, 0xA5, sizeof space);
        for (uint64_t less = 2; less-- > 0;) {
            status = loss
                ? bnfloss_loss(fam.spec, &fam.in, FAM_N, NULL, fam.logp_in,
                               fam.rest_in, fam.dlogp_out, NULL, space + at,
                               bytes - less, &fam.result)
                : bnfloss_run(&fam.layout, fam.spec, &fam.in, fam.logits,
                              fam.label, NULL, &fam.out, space + at,
                              bytes - less, 1, &fam.result);
            CHECK(status == (less ? BNFLOSS_E_WORK : BNFLOSS_OK), "%d bytes "
                  "less at %d: status %d", (int)less, (int)at, (int)status);
            for (size_t i = 0; i < sizeof space; i++)
                if (less || i < at || i >= at + (size_t)bytes)
                    changed += space[i] != 0xA5;
        }
        CHECK(changed == 0, "%d bytes beside the work", (int)changed);
        if (at == 0)
            memcpy(first, loss ? fam.dlogp_out : fam.dlogp, sizeof first);
        CHECK(memcmp(first, loss ? fam.dlogp_out : fam.dlogp, sizeof first)
              == 0, "other bits with work at %d", (int)at);
    }
}

/* What the header says of the size. Where addresses have 32 bits, logits that
 * they cannot hold are a shape out of bounds, and no size is given; the loss
 * alone reads no logits, and its size has 64 bits everywhere. */
static void work_size(void)
{
    const int wide = UINTPTR_MAX > 0xFFFFFFFF;
    const bnfloss_status huge = wide ? BNFLOSS_OK : BNFLOSS_E_SHAPE;
    const int64_t V = wide ? 2147483647 : 1 << 27, N = INT64_C(1) << 40;
    bnfloss_layout l = { 0 };
    bnfloss_spec spec;
    uint64_t a = 0, b = 0, c = 7;

    l.struct_size = sizeof l;
    l.rows = 1 << 17;
    l.vocab = 1000;
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_DPO);
    CHECK(bnfloss_workspace(&l, &spec, 0, 2, &a) == BNFLOSS_OK
          && a >= (uint64_t)l.rows * 144 && a - (uint64_t)l.rows * 144 < 512,
          "DPO: %g bytes a row", (double)a / (double)l.rows);
    l.rows = 1;
    CHECK(bnfloss_workspace(&l, &spec, 0, 2, &a) == BNFLOSS_OK, "one row");
    l.vocab = V;
    CHECK(bnfloss_workspace(&l, &spec, 0, 2, &b) == BNFLOSS_OK && b > a
          && b - a <= (uint64_t)V / BNFLOSS_CHUNK * 88 + 256,
          "V: %g bytes more", (double)b - (double)a);
    l.rows = N;
    l.vocab = 1000;
    CHECK(bnfloss_workspace(&l, &spec, 0, N, &c) == huge
          && (wide ? c >> 40 == 144 + 96 : c == 7), "2^40 rows: %g bytes",
          (double)c);
    CHECK(bnfloss_workspace(NULL, &spec, N, N, &c) == BNFLOSS_OK
          && c >> 40 == 56 + 96, "2^40 rows' loss: %g bytes", (double)c);
    bnfloss_spec_init(&spec, sizeof spec, BNFLOSS_SFT);
    CHECK(bnfloss_workspace(NULL, &spec, 0, 0, &a) == BNFLOSS_OK && a == 0,
          "nothing needs %d bytes", (int)a);
    CHECK(bnfloss_workspace(NULL, &spec, 100000, 1000, &a) == BNFLOSS_OK
          && a >= 56 * 100000 + 96 * 1000
          && a < 56 * 100000 + 96 * 1000 + 512, "%d bytes", (int)a);
    CHECK(bnfloss_workspace(NULL, &spec, 100, 0, &a) == BNFLOSS_OK
          && bnfloss_workspace(NULL, &spec, 100, 1, &b) == BNFLOSS_OK
          && a == b, "no seq_start is one sequence");
}

/* 56 bytes a row, 96 a sequence, 88 a chunk, and a few; 88 a row where rows
 * wait for each other; 8 a row for several losses. For every kind. */
static void work_formula(void)
{
    const int64_t N = 1000, S = 100;
    bnfloss_layout l = { 0 };
    bnfloss_spec spec[2];
    uint32_t kinds = 0;

    l.struct_size = sizeof l;
    l.rows = N;
    l.vocab = 3 * BNFLOSS_CHUNK - 5;
    while (bnfloss_kind_name(kinds + 1))
        kinds++;
    for (uint32_t n = 0; n < kinds * 8; n++) {
        const uint32_t kind = n % kinds + 1, how = n / kinds, run = how % 2;
        const int deferred = how / 2 % 2 != 0, also = how / 4 != 0;
        const int waits = kind != BNFLOSS_BNF && kind != BNFLOSS_SFT;
        int64_t want = 56 * N + 96 * S;
        uint64_t got = 0;

        if (deferred && (also || !run))
            continue;
        bnfloss_spec_init(spec, sizeof *spec, kind);
        bnfloss_spec_init(spec + 1, sizeof *spec, BNFLOSS_SFT);
        spec[0].flags = deferred ? BNFLOSS_DEFER_SCALE : 0;
        spec[0].also = (uint32_t)also;
        want += also ? 8 * N : 0;
        want += run ? 3 * 88 + ((waits && !deferred) || also ? 88 * N : 0) : 0;
        CHECK(bnfloss_workspace(run ? &l : NULL, spec, N, S, &got)
              == BNFLOSS_OK && got >= (uint64_t)want
              && got < (uint64_t)want + 128, "%s: %d bytes for %d",
              bnfloss_kind_name(kind), (int)got, (int)want);
    }
}

/* ---- Structs of other sizes ---------------------------------------------- */

/* E38: as if from a newer header, all of it zero. */
static void larger_structs(uint32_t kind)
{
    static fix_outcome plain, o;
    fix_args a;

    fix_make(&a, kind, 0, 0, 0);
    fix_run_and_take(&a, &plain, "plain");
    for (uint32_t more = 8; more <= FIX_ROOM; more += 8) {
        fix_make(&a, kind, 0, 0, 0);
        a.layout->struct_size += more;
        a.spec->struct_size += more;
        a.inputs->struct_size += more;
        a.outputs->struct_size += more;
        memset(fix.result.bytes + sizeof(bnfloss_result), 0, FIX_ROOM);
        a.result->struct_size += more;
        fix_run_and_take(&a, &o, "larger structs");
        CHECK(o.result.struct_size == sizeof o.result + more, "its size");
        for (int i = 0; i < FIX_ROOM; i++)
            CHECK(fix.result.bytes[sizeof(bnfloss_result) + (size_t)i] == 0,
                  "byte %d of what is unknown", i);
        o.result.struct_size = plain.result.struct_size;
        CHECK(memcmp(&plain, &o, sizeof o) == 0, "other bits");
    }
}

/* E39: a result of any size gets its own bytes and no other. */
static void smaller_results(void)
{
    bnfloss_result full;
    fix_args a;

    fix_make(&a, BNFLOSS_BNF, 0, 0, 0);
    CHECK(fix_run(&a) == BNFLOSS_OK, "run");
    memcpy(&full, a.result, sizeof full);
    for (uint32_t size = 8; size <= sizeof full; size += FIX_ALIGN_NUMBER) {
        size_t wrong = 0;

        fix_make(&a, BNFLOSS_BNF, 0, 0, 0);
        a.result->struct_size = size;
        CHECK(fix_run(&a) == BNFLOSS_OK, "a result of %u bytes", size);
        for (size_t i = 8; i < sizeof fix.result; i++)
            wrong += fix.result.bytes[i]
                     != (i < size ? ((unsigned char *)&full)[i] : 0xA5);
        CHECK(wrong == 0, "a result of %u bytes: %d wrong", size, (int)wrong);
        fix.weight[3] = NAN;                /* and an error writes `where` */
        a.result->loss = 5;
        CHECK(fix_run(&a) == BNFLOSS_E_WEIGHT, "a bad weight");
        CHECK(a.result->loss == 5, "the loss of an error");
        CHECK(size < 16 || a.result->where == 3, "where %d",
              (int)a.result->where);
        if (size < 16)
            CHECK(fix.result.bytes[8] == 0xA5, "where there is none");
        for (size_t i = size < 24 ? 24 : size; i < sizeof fix.result; i++)
            CHECK(fix.result.bytes[i] == 0xA5, "byte %d of %u", (int)i, size);
    }
}

/* E39: fields beyond a struct's size are not looked at. */
static void smaller_inputs(void)
{
    static fix_outcome plain, o;
    fix_args a;

    fix_make(&a, BNFLOSS_SFT, 0, 0, 0);     /* a layout without strides */
    a.layout->logits_stride = a.layout->grad_stride = 0;
    fix_run_and_take(&a, &plain, "without strides");
    fix_make(&a, BNFLOSS_SFT, 0, 0, 0);
    a.layout->struct_size = offsetof(bnfloss_layout, logits_stride);
    memset(&a.layout->logits_stride, 0xA5, sizeof(int64_t) * 5);
    fix_run_and_take(&a, &o, "a layout of 56 bytes");
    CHECK(memcmp(&plain, &o, sizeof o) == 0, "the layout's defaults");

    fix_make(&a, BNFLOSS_DPO, 0, 0, 0);     /* a spec that is a kind */
    fix_run_and_take(&a, &plain, "plain");
    for (uint32_t size = 8; size <= sizeof(bnfloss_spec); size += 8) {
        fix_make(&a, BNFLOSS_DPO, 0, 0, 0);
        a.spec->struct_size = size;
        memset((char *)a.spec + size, 0xA5, sizeof *a.spec - size);
        fix_run_and_take(&a, &o, "a smaller spec");
        CHECK(memcmp(&plain, &o, sizeof o) == 0, "a spec of %u bytes", size);
    }

    fix_make(&a, BNFLOSS_BNF, 0, 0, 0);     /* inputs without weights */
    a.inputs->row_weight = NULL;
    fix_run_and_take(&a, &plain, "without weights");
    fix_make(&a, BNFLOSS_BNF, 0, 0, 0);
    a.inputs->struct_size = offsetof(bnfloss_inputs, row_weight);
    fix_run_and_take(&a, &o, "inputs without weights");
    CHECK(memcmp(&plain, &o, sizeof o) == 0, "the inputs' defaults");

    fix_make(&a, BNFLOSS_BNF, 0, 0, 0);     /* outputs up to logp */
    a.outputs->struct_size = offsetof(bnfloss_outputs, rest);
    memset(&a.outputs->rest, 0xA5, sizeof *a.outputs
           - offsetof(bnfloss_outputs, rest));
    CHECK(fix_run(&a) == BNFLOSS_OK, "outputs up to logp");
    CHECK(bits_of(fix.rest[0]) == 0xA5A5A5A5u
          && bits_of(fix.dlogp[0]) == 0xA5A5A5A5u
          && bits_of(fix.logp[0]) != 0xA5A5A5A5u, "outputs up to logp");
}

/* ---- Means over rows ----------------------------------------------------- */

/* The metrics that need logits are means over the rows that count: of the
 * outputs, and of plain double. test_batches.c has the others. */
static void row_metrics(uint32_t kind, uint32_t type, const char *isa)
{
    double entropy = 0, right = 0, z_loss = 0, logits[2] = { 0, 0 };
    int64_t rows[2] = { 0, 0 };
    const double zeta = kind == BNFLOSS_SFT ? 0.0078125 : 0;
    const bnfloss_result *r = &fix.result.s;
    fix_args a;

    fix_make(&a, kind, type, 0, 0);
    a.layout->flags = BNFLOSS_MEAN;
    a.layout->logit_scale = 0.5f;
    a.layout->z_loss = (float)zeta;
    for (int64_t i = 0; i < FIX_N; i += 5)          /* some are right */
        fix_set_logit(&a, i, fix_label(&a, i) < 0 ? 0 : fix_label(&a, i), 9);
    CHECK(fix_run(&a) == BNFLOSS_OK, "run");
    for (int64_t s = 0; s < FIX_S; s++) {
        for (int64_t i = fix.seq_start[s]; i < fix.seq_start[s + 1]; i++) {
            const int64_t y = fix_label(&a, i);
            double z[FIX_V];
            plain_row p;

            if (y < 0 || fix.weight[i] == 0)
                continue;
            for (int64_t j = 0; j < FIX_V; j++)
                z[j] = 0.5 * (double)fix_logit(&a, i, j);
            p = plain_softmax(z, FIX_V, y);
            CHECK(fix.argmax[i] == p.argmax
                  && relative((double)fix.rest[i], p.rest) <= 42 * U
                  && relative((double)fix.entropy[i], p.entropy) <= 42 * U,
                  "row %d: rest %.9g, not %.9g", (int)i, (double)fix.rest[i],
                  p.rest);
            entropy += p.entropy;
            right += p.argmax == y;
            z_loss += zeta * p.lse * p.lse;
            logits[s % 2] += p.mean;
            rows[s % 2]++;
        }
    }
    entropy /= (double)r->tokens;
    CHECK(r->tokens == rows[0] + rows[1] && right > 0
          && r->token_accuracy == right / (double)r->tokens
          && relative(r->entropy, entropy) <= 42 * U, "%s: accuracy %g, "
          "entropy %.9g, not %.9g", isa, r->token_accuracy, r->entropy,
          entropy);
    CHECK(zeta > 0 ? relative(r->z_loss, z_loss / (double)r->tokens) <= 42 * U
                   : isnan(r->z_loss), "%s: z-loss %g", isa, r->z_loss);
    CHECK(kind == BNFLOSS_SFT
          || (fabs(r->logits_chosen - logits[0] / (double)rows[0]) <= 1e-6
              && fabs(r->logits_rejected - logits[1] / (double)rows[1])
                 <= 1e-6), "%s: mean logits %.9g, not %.9g", isa,
          r->logits_chosen, logits[0] / (double)rows[0]);
}

/* ---- By hand: two sequences ---------------------------------------------- */

/* Rows of 1, 2, 4 or 8 equal logits, the rest masked, so that a token's loss
 * is 0, 1, 2 or 3 times log 2. Returns the loss in units of log 2, and in
 * dlogp the gradients. */
static double by_hand(uint32_t kind, int64_t N, const int *halvings,
                      const int64_t *start, uint32_t norm, uint32_t divisor,
                      float *dlogp)
{
    float z[8 * 8], ref[8];
    int32_t label[8];
    double work[256];
    bnfloss_layout l = { 0 };
    bnfloss_inputs in = { 0 };
    bnfloss_outputs out = { 0 };
    bnfloss_result r = { 0 };
    bnfloss_spec spec;

    l.struct_size = sizeof l;
    l.rows = N;
    l.vocab = 8;
    in.struct_size = sizeof in;
    in.pairing = BNFLOSS_PAIRS_ADJACENT;
    in.sequences = 2;
    in.seq_start = start;
    in.ref_logp = ref;
    out.struct_size = sizeof out;
    out.dlogp = dlogp;
    r.struct_size = sizeof r;
    bnfloss_spec_init(&spec, sizeof spec, kind);
    spec.token_norm = norm;
    spec.divisor = divisor;
    spec.divisor_value = 7;
    for (int64_t i = 0; i < N; i++) {
        label[i] = 0;
        ref[i] = -10;               /* p > q: f = g = 1 */
        for (int j = 0; j < 8; j++)
            z[8 * i + j] = j < 1 << halvings[i] ? 1.5f : -HUGE_VALF;
    }
    CHECK(bnfloss_run(&l, &spec, &in, z, label, NULL, &out, work, sizeof work,
                      1, &r) == BNFLOSS_OK, "by hand");
    return r.loss / 0.69314718055994531;
}

/* A sequence of one token (loss 2) and one of two (1 and 3): shares 1; 1, 1
 * or 1; 1/2, 1/2, divided by 2 sequences, 1 pair, 3 tokens or 7. Then two
 * tokens (2, 0) and three (1, 1, 3), where the shortest has two. */
static void worked_example(void)
{
    static const int three[] = { 2, 1, 3 }, five[] = { 2, 0, 1, 1, 3 };
    static const int64_t start3[] = { 0, 1, 3 }, start5[] = { 0, 2, 5 };
    /* [norm][0: first sequence's sum, 1: second's] */
    static const double sum3[3][2] = { { 2, 4 }, { 2, 2 }, { 2, 4 } };
    static const double sum5[3][2] = { { 2, 5 }, { 1, 5 / 3.0 }, { 1, 2.5 } };
    static const double share3[3][2] = { { 1, 1 }, { 1, 0.5 }, { 1, 1 } };
    static const double share5[3][2] = { { 1, 1 }, { 0.5, 1 / 3.0 },
                                         { 0.5, 0.5 } };

    for (int n = 0; n < 2 * 2 * 3 * 4; n++) {
        const int bnf = n % 2, long_one = n / 2 % 2, norm = n / 4 % 3;
        const int divisor = n / 12;
        const double by[] = { 2, 1, long_one ? 5 : 3, 7 };
        const double *sum = long_one ? sum5[norm] : sum3[norm];
        const double *share = long_one ? share5[norm] : share3[norm];
        const double want = (sum[0] + (bnf ? -1 : 1) * sum[1]) / by[divisor];
        const int64_t N = long_one ? 5 : 3;
        float d[8];
        const double got = by_hand(bnf ? BNFLOSS_BNF : BNFLOSS_SFT, N,
                                   long_one ? five : three,
                                   long_one ? start5 : start3,
                                   (uint32_t)norm + 1, (uint32_t)divisor + 1,
                                   d);

        CHECK(fabs(got - want) <= 10 * U, "%s, norm %d, divisor %d: %.15g, "
              "not %.15g", bnf ? "BNF" : "SFT", norm, divisor, got, want);
        for (int64_t i = 0; i < N; i++) {
            const int second = i >= (long_one ? 2 : 1);
            const double g = -share[second] / by[divisor]
                             * (bnf && second ? -1 : 1);

            CHECK(d[i] == (float)g, "norm %d, divisor %d: dlogp %.9g, not "
                  "%.9g", norm, divisor, (double)d[i], g);
        }
    }
}

int main(void)
{
    static const uint32_t kinds[] = { BNFLOSS_SFT, BNFLOSS_BNF, BNFLOSS_DPO };

    statuses();
    versions();
    instruction_sets();
    selftests();
    work_size();
    work_formula();
    smaller_results();
    smaller_inputs();
    for (int k = 0; k < 3; k++) {
        for (int n = 0; n < 4; n++)
            exact_work(kinds[k], n / 2, n % 2);
        larger_structs(kinds[k]);
    }
    FOR_EACH_ISA(isa)
        for (uint32_t n = 0; n < 9; n++)
            row_metrics(kinds[n % 3], n / 3, isa);
    worked_example();
    return test_end();
}
