/* Reads text, TSV and JSONL, and packs batches. See data.h. */
#include "data.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Files -------------------------------------------------------------- */

/* Line 0: the file as a whole. */
#if defined(__GNUC__)
__attribute__((noreturn, format(printf, 3, 4)))
#endif
static void fail(const char *file, int line, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    if (line) fprintf(stderr, "align: %s:%d: ", file, line);
    else      fprintf(stderr, "align: %s: ", file);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    exit(1);
}

static void *grow(void *at, size_t bytes)
{
    at = realloc(at, bytes ? bytes : 1);
    if (at) return at;
    fprintf(stderr, "align: out of memory (%zu bytes)\n", bytes);
    exit(1);
}

/* The whole file, closed by a 0, without a byte order mark. */
static char *slurp(const char *file, size_t *n)
{
    FILE *in = fopen(file, "rb");
    if (!in) fail(file, 0, "%s", strerror(errno));
    size_t room = 1 << 16;
    char *at = grow(NULL, room + 1);
    *n = 0;
    for (size_t got; (got = fread(at + *n, 1, room - *n, in)) > 0;) {
        *n += got;
        if (*n == room) at = grow(at, (room *= 2) + 1);
    }
    if (ferror(in)) fail(file, 0, "%s", strerror(errno));
    fclose(in);
    if (*n >= 3 && !memcmp(at, "\xef\xbb\xbf", 3)) memmove(at, at + 3, *n -= 3);
    at[*n] = 0;
    if (*n == 0) fail(file, 0, "the file is empty");
    for (size_t i = 0, line = 1; i < *n; line += at[i++] == '\n')
        if (!at[i]) fail(file, (int)line, "a NUL byte; this is not text");
    return at;
}

/* ---- Text --------------------------------------------------------------- */

void read_text(struct text *text, const char *file)
{
    enum { LEAST = 4096 };
    size_t n, kept = 0;
    char *at = slurp(file, &n);
    for (size_t i = 0; i < n; i++)             /* CRLF becomes LF */
        if (at[i] != '\r' || at[i + 1] != '\n') at[kept++] = at[i];
    if (kept < LEAST)
        fail(file, 0, "%zu bytes of text; it takes at least %d", kept, LEAST);
    *text = (struct text){(uint8_t *)at, kept, kept - kept / 10};
}

/* ---- JSON: as much of it as a line of JSONL needs ----------------------- */

struct json {
    const char *file;
    int line;
    char *at;                  /* what is still to be read; ends with a 0 */
};

static void bad(const struct json *j, const char *what)
{
    fail(j->file, j->line, "not valid JSON: %s", what);
}

static void skip_space(struct json *j)
{
    while (*j->at == ' ' || *j->at == '\t') j->at++;
}

static void expect(struct json *j, char c)
{
    skip_space(j);
    if (*j->at != c) fail(j->file, j->line, "not valid JSON: '%c' expected", c);
    j->at++;
    skip_space(j);
}

static unsigned hex4(struct json *j)
{
    unsigned value = 0;
    for (int i = 0; i < 4; i++, j->at++) {
        unsigned c = (unsigned char)*j->at;
        unsigned digit = c >= '0' && c <= '9' ? c - '0'
                       : c >= 'a' && c <= 'f' ? c - 'a' + 10
                       : c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
        if (digit == 16) bad(j, "\\u takes four hexadecimal digits");
        value = value * 16 + digit;
    }
    return value;
}

/* After \u: one code point, or a pair of surrogates, as UTF-8. */
static char *unicode(struct json *j, char *out)
{
    unsigned c = hex4(j);
    if (c >= 0xd800 && c < 0xdc00 && j->at[0] == '\\' && j->at[1] == 'u') {
        j->at += 2;
        unsigned low = hex4(j);
        if (low < 0xdc00 || low > 0xdfff) bad(j, "half a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    if (c == 0) bad(j, "\\u0000 cannot be part of a text here");
    if (c >= 0xd800 && c < 0xe000) bad(j, "half a surrogate pair");
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 63));
        *out++ = (char)(0x80 | (c & 63));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 63));
        *out++ = (char)(0x80 | (c >> 6 & 63));
        *out++ = (char)(0x80 | (c & 63));
    }
    return out;
}

/* A string, decoded in place: no escape is shorter than what it means. */
static char *json_string(struct json *j)
{
    static const char name[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    if (*j->at != '"') bad(j, "a string expected");
    char *start = ++j->at, *out = start;
    while (*j->at != '"') {
        if ((unsigned char)*j->at < 32)
            bad(j, *j->at ? "a raw control character in a string"
                          : "a string without its end");
        if (*j->at != '\\') {
            *out++ = *j->at++;
            continue;
        }
        char c = *++j->at;
        const char *known = c ? strchr(name, c) : NULL;
        if (c) j->at++;
        if (c == 'u') out = unicode(j, out);
        else if (known) *out++ = means[known - name];
        else bad(j, "an unknown escape");
    }
    j->at++;
    *out = 0;
    return start;
}

/* Steps over a value that nobody asked for. */
static void skip_value(struct json *j, int depth)
{
    static const char *const words[] = {"true", "false", "null"};
    if (depth > 64) bad(j, "nested more than 64 deep");
    if (*j->at == '"') {
        json_string(j);
        return;
    }
    if (*j->at == '{' || *j->at == '[') {
        char open = *j->at, close = open == '{' ? '}' : ']';
        expect(j, open);
        if (*j->at == close) { j->at++; return; }
        for (;; expect(j, ',')) {
            if (open == '{') { json_string(j); expect(j, ':'); }
            skip_value(j, depth + 1);
            skip_space(j);
            if (*j->at == close) { j->at++; return; }
        }
    }
    for (int i = 0; i < 3; i++)
        if (!strncmp(j->at, words[i], strlen(words[i]))) {
            j->at += strlen(words[i]);
            return;
        }
    size_t n = strspn(j->at, "+-.0123456789eE");
    if (!n) bad(j, "a value expected");
    j->at += n;
}

static const char *const field_name[3] = {"prompt", "chosen", "rejected"};

static void parse_json(const char *file, int line, char *at, char *field[3])
{
    struct json j = {file, line, at};
    expect(&j, '{');
    for (int more = *j.at != '}'; more;) {
        char *key = json_string(&j);
        int which = -1;
        expect(&j, ':');
        for (int i = 0; i < 3; i++)
            if (!strcmp(key, field_name[i])) which = i;
        if (which < 0) {
            skip_value(&j, 0);
        } else {
            if (field[which]) fail(file, line, "\"%s\" given twice", key);
            if (*j.at != '"') fail(file, line, "\"%s\" is not a string", key);
            field[which] = json_string(&j);
        }
        skip_space(&j);
        more = *j.at == ',';
        if (more) expect(&j, ',');
    }
    expect(&j, '}');
    if (*j.at) bad(&j, "something follows the object");
    for (int i = 0; i < 3; i++)
        if (!field[i]) fail(file, line, "no \"%s\"", field_name[i]);
}

/* ---- TSV ---------------------------------------------------------------- */

static void parse_tsv(const char *file, int line, char *at, char *field[3])
{
    int n = 1;
    field[0] = at;
    for (; *at; at++)
        if (*at == '\t') {
            *at = 0;
            if (n < 3) field[n] = at + 1;
            n++;
        }
    if (n != 3)
        fail(file, line, "%d field%s where prompt, chosen and rejected, with "
             "tabs between, are expected", n, n == 1 ? "" : "s");
}

/* ---- Pairs -------------------------------------------------------------- */

static char *copy(const char *from, int *bytes)
{
    size_t n = strlen(from);
    *bytes = (int)n;
    return memcpy(grow(NULL, n + 1), from, n + 1);
}

static void add_pair(struct pairs *all, const char *file, int line,
                     char *field[3])
{
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(field[i]) + (i ? strlen(field[0]) : 0);
        if (!*field[i])
            fail(file, line, "the %s is empty", field_name[i]);
        if (n > MOST_BYTES)
            fail(file, line, "%s%s: %zu bytes, more than %d",
                 i ? "prompt + " : "", field_name[i], n, MOST_BYTES);
    }
    if (!strcmp(field[1], field[2]))
        fail(file, line, "chosen and rejected are the same");
    if ((all->n & (all->n - 1)) == 0)          /* full at powers of two */
        all->pair = grow(all->pair,
                         2 * (size_t)(all->n + 1) * sizeof *all->pair);
    struct pair *p = &all->pair[all->n++];
    *p = (struct pair){0};
    p->prompt = copy(field[0], &p->prompt_bytes);
    for (int i = 0; i < 2; i++) {
        p->answer[i] = copy(field[i + 1], &p->bytes[i]);
        p->ref[i] = grow(NULL, (size_t)(p->bytes[i] + 1) * sizeof(float));
    }
}

static int ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

void read_pairs(struct pairs *all, const char *file)
{
    enum { LEAST = 10 };
    size_t n;
    int json = ends_with(file, ".jsonl") || ends_with(file, ".json"), line = 0;
    char *buffer = slurp(file, &n), *next;
    *all = (struct pairs){0};
    for (char *at = buffer; at < buffer + n; at = next) {
        size_t length = strcspn(at, "\n");
        next = at + length + 1;
        line++;
        if (length && at[length - 1] == '\r') length--;
        at[length] = 0;
        if (!at[strspn(at, " \t")]) continue;
        if (line == 1 && !strcmp(at, "prompt\tchosen\trejected")) continue;
        char *field[3] = {NULL, NULL, NULL};
        (json ? parse_json : parse_tsv)(file, line, at, field);
        add_pair(all, file, line, field);
    }
    free(buffer);
    if (all->n < LEAST)
        fail(file, 0, "%d pair%s; it takes at least %d", all->n,
             all->n == 1 ? "" : "s", LEAST);
    struct pair *p = all->pair;
    for (all->held = all->n - all->n / 5; all->held < all->n; all->held++)
        if (strcmp(p[all->held - 1].prompt, p[all->held].prompt)) break;
    if (all->held == all->n)
        fail(file, 0, "nothing to hold out: the last fifth is one prompt");
}

void free_data(struct text *text, struct pairs *all)
{
    free(text->bytes);
    for (int i = 0; i < all->n; i++) {
        free(all->pair[i].prompt);
        for (int k = 0; k < 2; k++) {
            free(all->pair[i].answer[k]);
            free(all->pair[i].ref[k]);
        }
    }
    free(all->pair);
}

/* ---- Batches ------------------------------------------------------------ */

struct roomy {                 /* a batch and how much fits into it */
    struct batch b;
    int S;
    size_t N;
};

struct batch *batch_new(void)
{
    struct roomy *r = grow(NULL, sizeof *r);
    *r = (struct roomy){0};
    r->b.start = grow(NULL, sizeof *r->b.start);
    r->b.start[0] = 0;
    return &r->b;
}

void batch_free(struct batch *b)
{
    free(b->start);
    free(b->token);
    free(b->label);
    free(b->ref);
    free((struct roomy *)b);
}

void batch_clear(struct batch *b)
{
    b->S = 0;
}

/* Opens a sequence of n rows and returns the first. */
static size_t open_sequence(struct batch *b, int n)
{
    struct roomy *r = (struct roomy *)b;
    size_t from = (size_t)b->start[b->S], to = from + (size_t)n;
    if (b->S == r->S) {
        r->S = 2 * r->S + 16;
        b->start = grow(b->start, (size_t)(r->S + 1) * sizeof *b->start);
    }
    if (to > r->N) {
        r->N = 2 * to;
        b->token = grow(b->token, r->N * sizeof *b->token);
        b->label = grow(b->label, r->N * sizeof *b->label);
        b->ref = grow(b->ref, r->N * sizeof *b->ref);
    }
    b->start[++b->S] = (int64_t)to;
    memset(b->ref + from, 0, (size_t)n * sizeof *b->ref);
    return from;
}

void batch_text(struct batch *b, const uint8_t *text, int n)
{
    size_t at = open_sequence(b, n - 1);
    for (int i = 0; i + 1 < n; i++) {
        b->token[at + (size_t)i] = text[i];
        b->label[at + (size_t)i] = text[i + 1];
    }
}

/* The prompt of p and an answer of q; returns the answer's first row. */
static size_t add_answer(struct batch *b, const struct pair *p,
                         const struct pair *q, int side, int whole)
{
    int P = p->prompt_bytes, A = q->bytes[side];
    size_t at = open_sequence(b, 1 + P + 1 + A);
    uint8_t *token = b->token + at;
    int32_t *label = b->label + at;
    token[0] = 0;
    memcpy(token + 1, p->prompt, (size_t)P);
    token[1 + P] = '\n';
    memcpy(token + 2 + P, q->answer[side], (size_t)A);
    for (int i = 0; i < 1 + P; i++) label[i] = whole ? token[i + 1] : -1;
    for (int i = 1 + P; i < 1 + P + A; i++) label[i] = token[i + 1];
    label[1 + P + A] = 0;
    return at + 1 + (size_t)P;
}

void batch_answer(struct batch *b, const struct pair *p, int side, int whole)
{
    size_t at = add_answer(b, p, p, side, whole);
    memcpy(b->ref + at, p->ref[side],
           (size_t)(p->bytes[side] + 1) * sizeof(float));
}

void batch_mismatch(struct batch *b, const struct pair *p,
                    const struct pair *other, int side)
{
    add_answer(b, p, other, side, 0);
}

void batch_differences(const struct batch *b, uint8_t *mask)
{
    for (int s = 0; s < b->S; s++) {
        int64_t at = b->start[s ^ 1], end = b->start[(s ^ 1) + 1];
        for (int64_t i = b->start[s]; i < b->start[s + 1]; i++, at++)
            mask[i] = at >= end || b->label[i] != b->label[at];
    }
}
