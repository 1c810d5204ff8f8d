/* Fuzz target: the structs themselves, at every entry point.
 *
 * SPDX-License-Identifier: MIT
 *
 * Structs of any size and any content, pointers that are NULL, misaligned or
 * the wrong buffer. A call answers with a status that the header knows, with
 * the same one on every instruction set; after an error nothing has been
 * written but where. A struct that is shorter means defaults, one that is
 * longer is accepted if what it brings is 0.
 *
 * Rows that a call claims to have and the buffers lack would be read with
 * good reason: a layout or range of that kind goes without its buffers, and
 * its inputs without weights, which are read before a buffer is missed. */
#include "fuzz.h"

enum { ROWS = 4, COLS = 40, SEQS = 4, ROOM = 320, WORK = 4096 };

/* A struct with room behind it. */
typedef union any_layout { bnfloss_layout s; unsigned char b[ROOM]; }
    any_layout;
typedef union any_spec { bnfloss_spec s; unsigned char b[ROOM]; } any_spec;
typedef union any_inputs { bnfloss_inputs s; unsigned char b[ROOM]; }
    any_inputs;
typedef union any_outputs { bnfloss_outputs s; unsigned char b[ROOM]; }
    any_outputs;

typedef struct entries {
    any_layout layout;
    any_spec spec;
    any_inputs inputs;
    any_outputs outputs;
    region *result, *shifts, *out, *grad, *state, *work, *bytes;
    int64_t from, to, rows, sequences;
    uint64_t work_bytes;
    int32_t threads;
    int safe;                   /* the buffers are as large as claimed */
} entries;

static float logits[ROWS * COLS], dlogp[ROWS], ref[ROWS], weight[ROWS];
static int64_t labels[ROWS];        /* read as either type */
static int64_t seq_start[SEQS + 1] = { 0, 1, 2, 3, 4 };
static int8_t side[SEQS + 1] = { 1, -1, 1, -1, 1 };   /* any address is one */
static bnfloss_row other[ROWS];

/* ---- From bytes --------------------------------------------------------- */

/* Writes a few words of the struct with anything, and sometimes its size. */
static void scribble(bytes *b, unsigned char *at, uint32_t size, int skip)
{
    for (int n = (int)below(b, 4); n > 0; n--) {
        const uint32_t word = take(b) % (size / 4);
        const uint32_t x = chance(b, 2) ? (uint32_t)below(b, 6)
                                        : (uint32_t)take_word(b, 4);

        if (word * 4 >= (uint32_t)skip)
            memcpy(at + word * 4, &x, 4);
    }
}

/* struct_size as it is, cut, grown, or wrong. Not cut within a pointer: half
 * of one is a wild one, and no older struct has such a size. */
static void resize(bytes *b, unsigned char *at, uint32_t known)
{
    uint32_t size = known;

    switch (take(b) % 8) {
    case 0: size = 8 + 8 * (take(b) % (known / 8)); break;
    case 1: size = known + take(b) % 32; break;
    case 2: size = known + take(b) % 32; at[known + take(b) % 32] = 1; break;
    case 3: size = (uint32_t)take_word(b, chance(b, 2) ? 1 : 4); break;
    default: break;
    }
    if (size >= 8 && size < known)
        size &= ~UINT32_C(7);
    if (size > ROOM && size <= 4096)
        size = ROOM;                    /* there is no more to look at */
    memcpy(at, &size, 4);
}

static void *pick(bytes *b, void *p)
{
    switch (take(b) % 16) {
    case 0: return NULL;
    case 1: return (char *)p + 1;
    case 2: return other;
    default: return p;
    }
}

static void make_layout(bytes *b, entries *d)
{
    bnfloss_layout *l = &d->layout.s;

    memset(&d->layout, 0, sizeof d->layout);
    l->rows = below(b, ROWS + 1);
    l->vocab = 1 + below(b, COLS);
    scribble(b, d->layout.b, sizeof *l, 4);
    resize(b, d->layout.b, sizeof *l);
}

static void make_spec(bytes *b, entries *d)
{
    memset(&d->spec, 0, sizeof d->spec);
    bnfloss_spec_init(&d->spec.s, sizeof d->spec.s, take(b) % 38);
    scribble(b, d->spec.b, sizeof d->spec.s, 4);
    if (d->spec.s.also > 0 && d->spec.s.also < 16)
        d->spec.s.also = 0;             /* there is only this one */
    resize(b, d->spec.b, sizeof d->spec.s);
}

static void make_inputs(bytes *b, entries *d)
{
    bnfloss_inputs *in = &d->inputs.s;

    memset(&d->inputs, 0, sizeof d->inputs);
    in->pairing = take(b) % 3;
    in->sequences = chance(b, 4) ? below(b, 6) : SEQS;
    scribble(b, d->inputs.b, 16, 4);
    in->seq_start = (int64_t *)pick(b, seq_start);
    in->side = (int8_t *)pick(b, side);
    in->ref_logp = (float *)pick(b, ref);
    in->row_weight = (float *)pick(b, weight);
    if (in->sequences > SEQS)           /* beyond what there is to read */
        in->seq_start = NULL;
    resize(b, d->inputs.b, sizeof *in);
}

static void make_outputs(bytes *b, entries *d)
{
    bnfloss_outputs *o = &d->outputs.s;
    unsigned char *at = d->out->now;

    memset(&d->outputs, 0, sizeof d->outputs);
    o->logp = (float *)pick(b, at);
    o->rest = (float *)pick(b, at + 32);
    o->entropy = (float *)pick(b, at + 64);
    o->argmax = (int32_t *)pick(b, at + 96);
    o->dlogp = (float *)pick(b, at + 128);
    o->row_loss = (float *)pick(b, at + 160);
    o->seq_logp = (double *)pick(b, at + 192);
    o->seq_loss = (double *)pick(b, at + 256);
    o->reserved = (uint32_t)chance(b, 32);
    resize(b, d->outputs.b, sizeof *o);
}

static void make_answer(bytes *b, region *r, uint32_t known)
{
    resize(b, r->now, known);
    (void)b;
}

/* Whether every buffer is as large as a sound call may believe. */
static int is_safe(const entries *d)
{
    const bnfloss_layout *l = &d->layout.s;
    bnfloss_layout x;
    uint32_t size = l->struct_size;

    memset(&x, 0, sizeof x);
    memcpy(&x, l, size < sizeof x ? size : sizeof x);
    return x.rows <= ROWS && x.vocab <= COLS && x.logits_stride <= COLS
           && x.grad_stride <= COLS && x.grad_cols <= COLS
           && x.logits_stride >= 0 && x.grad_stride >= 0;
}

static void make_entries(bytes *b, entries *d)
{
    uint64_t seed;

    memset(d, 0, sizeof *d);
    d->out = region_new(ROOM * 4, 4);
    d->grad = region_new(ROWS * COLS, 4);
    d->state = region_new(ROWS * sizeof(bnfloss_row) / 4, 4);
    d->work = region_new(WORK, 1);
    d->result = region_new(ROOM, 1);
    d->shifts = region_new(ROOM, 1);
    d->bytes = region_new(1, 8);
    seed = take_word(b, 4);
    for (int i = 0; i < ROWS * COLS; i++)
        logits[i] = (float)((int)(mix(&seed) % 257) - 128) / 16;
    for (int i = 0; i < ROWS; i++) {
        labels[i] = (int64_t)(mix(&seed) % COLS) - 2;
        dlogp[i] = (float)((int)(mix(&seed) % 65) - 32) / 16;
        ref[i] = -(float)(mix(&seed) % 64) / 16;
        weight[i] = (float)(mix(&seed) % 4);
    }
    make_layout(b, d);
    make_spec(b, d);
    make_inputs(b, d);
    make_outputs(b, d);
    make_answer(b, d->result, sizeof(bnfloss_result));
    make_answer(b, d->shifts, sizeof(bnfloss_shifts));
    memset(d->state->now, 0, d->state->size);
    d->safe = is_safe(d);
    d->rows = chance(b, 4) ? (int64_t)take_word(b, 8) : below(b, ROWS + 1);
    d->from = below(b, 3) - (chance(b, 8) ? 3 : 0);
    d->to = chance(b, 8) ? (int64_t)take_word(b, 8) : below(b, ROWS + 1);
    d->sequences = chance(b, 4) ? (int64_t)take_word(b, 8) : below(b, 9);
    d->work_bytes = chance(b, 4) ? take(b) : WORK;
    d->threads = (int32_t)below(b, 4) - 1;
    if (!d->safe || d->rows > ROWS)
        d->inputs.s.row_weight = NULL;
}

/* ---- Entry points ------------------------------------------------------ */

static bnfloss_status entry(entries *d, int which)
{
    bnfloss_result *r = (bnfloss_result *)d->result->now;
    bnfloss_row *state = (bnfloss_row *)d->state->now;
    /* a state entry point's rows need that many states */
    const int fit = d->rows <= ROWS;
    const void *z = d->safe ? logits : NULL;

    switch (which) {
    case 0:
        return bnfloss_workspace(&d->layout.s, &d->spec.s, d->rows,
                                 d->sequences, (uint64_t *)d->bytes->now);
    case 1:
        return bnfloss_forward(&d->layout.s, z, labels, d->from, d->to, state,
                               &d->outputs.s, r);
    case 2:
        return bnfloss_row_merge(d->rows, fit ? state : NULL, other, r);
    case 3:
        return bnfloss_row_outputs(d->rows, fit ? state : NULL,
                                   &d->outputs.s, r);
    case 4:
        return bnfloss_loss(&d->spec.s, &d->inputs.s, d->rows,
                            NULL, fit ? dlogp : NULL, NULL,
                            (float *)d->grad->now, &d->outputs.s,
                            d->work->now, d->work_bytes, r);
    case 5:
        return bnfloss_backward(&d->layout.s, z, labels, d->from, d->to,
                                state, dlogp, d->grad->now, r);
    case 6:
        return bnfloss_run(&d->layout.s, &d->spec.s, &d->inputs.s, z, labels,
                           d->grad->now, &d->outputs.s, d->work->now,
                           d->work_bytes, d->threads, r);
    default:
        return bnfloss_measure_shifts(&d->inputs.s, d->rows,
                                      fit ? state : NULL, other,
                                      d->work->now, d->work_bytes,
                                      (bnfloss_shifts *)d->shifts->now);
    }
}

/* What an error must not have written; all have `where` at byte 8. */
static void check_refusal(const entries *d, int which, bnfloss_status status)
{
    fuzz_refused++;
    for (int i = 0; i < region_count; i++) {
        const region *r = regions + i;

        MUST(region_untouched(r, r == d->result || r == d->shifts ? 8 : 0),
             "entry %d: region %d was written to in spite of status %d (%s)",
             which, i, (int)status, bnfloss_status_string(status));
    }
}

static void every_isa(entries *d, int which)
{
    const char *isa[4];
    const int n = fuzz_isas(isa);
    bnfloss_status first = BNFLOSS_OK;

    for (int k = 0; k < n; k++) {
        bnfloss_status status;

        bnfloss_isa_select(isa[k]);
        regions_reset();
        status = entry(d, which);
        MUST(status >= BNFLOSS_OK && status <= BNFLOSS_E_INPUT
             && strcmp(bnfloss_status_string(status), "unknown status") != 0,
             "entry point %d: status %d", which, (int)status);
        if (status != BNFLOSS_OK)
            check_refusal(d, which, status);
        if (k == 0) {
            first = status;
            regions_save();
            continue;
        }
        MUST(status == first, "entry %d: status %d, then %d on %s", which,
             (int)first, (int)status, isa[k]);
        fuzz_compared++;
        for (int i = 0; i < region_count; i++)
            MUST(regions + i == d->work || region_same(regions + i),
                 "entry %d: other bits in region %d on %s", which, i, isa[k]);
    }
    fuzz_valid += first == BNFLOSS_OK;
    hash_add((uint64_t)first);
    bnfloss_isa_select("auto");
}

/* A sound struct that has grown by zeros is the struct it was; and what a
 * short one lacks is its default. */
static void sizes(entries *d)
{
    const bnfloss_status status = entry(d, 0);
    any_spec saved = d->spec;
    uint64_t one, two;

    if (status != BNFLOSS_OK)
        return;
    memcpy(&one, d->bytes->now, sizeof one);
    if (d->spec.s.struct_size == sizeof d->spec.s) {
        d->spec.s.struct_size = sizeof d->spec.s + 16;
        memset(d->spec.b + sizeof d->spec.s, 0, 16);
        MUST(entry(d, 0) == BNFLOSS_OK, "a spec with 16 zeros more");
        memcpy(&two, d->bytes->now, sizeof two);
        MUST(one == two, "zeros change the workspace");
        d->spec.b[sizeof d->spec.s + 7] = 1;
        MUST(entry(d, 0) == BNFLOSS_E_STRUCT, "a byte that nobody knows");
    }
    memset(&d->spec, 0, sizeof d->spec);
    d->spec.s.struct_size = 8;          /* a kind, and all its defaults */
    d->spec.s.kind = saved.s.kind;
    MUST(entry(d, 0) == BNFLOSS_OK, "a spec of 8 bytes, kind %d",
         (int)saved.s.kind);
    d->spec = saved;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bytes b = { data, data + size };
    entries d;

    make_entries(&b, &d);
    regions_begin();
    for (int which = 0; which < 8; which++)
        every_isa(&d, which);
    sizes(&d);
    regions_free();
    return 0;
}
