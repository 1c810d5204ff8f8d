/* Writes the library as one file, or as a pair, from the source tree.
 *
 * SPDX-License-Identifier: MIT
 *
 *     single_header ROOT bnfloss.h              the single header
 *     single_header ROOT bnfloss.h bnfloss.c    the same as a pair
 *
 * Every #include "file" under src/ is replaced by the file, at each place of
 * use: the kernels are included once per instruction set and type, and no
 * trick with self-inclusion would survive renaming the header. The second
 * copy of a file and all later ones lose their comments and blank lines. The
 * output depends on the tree and on nothing else.
 *
 * The sources use short names for what is theirs alone: locals, parameters,
 * members. Where they are compiled in the middle of somebody's file, a macro of
 * such a name (N, near, min) would break them. So each name that they use is
 * put aside with push_macro in front of them and brought back behind them,
 * unless names_kept() leaves it alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 1024, FILES = 100, NAMES = 4000, NAME_LONGEST = 63 };

static const char *root;
static FILE *out;
static char seen[FILES][LONGEST];
static int seen_count;
static char names[NAMES][NAME_LONGEST + 1];
static int name_count;

/* The headers of the system that the sources include, and where. They come in
 * front of the names put aside: a header that met them undefined could miss a
 * macro, and one that defined such a name would lose it at the end. */
static const char *const headers[][2] = {
    { "string.h", NULL },
    { "immintrin.h", "defined(__GNUC__) && defined(__x86_64__)" },
    { "cpuid.h", "defined(__GNUC__) && defined(__x86_64__)" },
    { "arm_neon.h", "defined(__GNUC__) && defined(__aarch64__) "
                    "&& defined(__ARM_NEON) && !defined(__AARCH64EB__)" },
    { "omp.h", "defined(BNFLOSS_OPENMP)" },
    { "unistd.h", "defined(BNFLOSS_OPENMP) && !defined(_WIN32)" }
};
enum { HEADERS = sizeof headers / sizeof *headers };

/* Names that stay as they are: they begin with the library's prefixes, with an
 * underscore or with OpenMP's prefix, */
static const char *const prefixes[] = {
    "_", "bn_", "BN_", "bnfloss_", "BNFLOSS_", "omp_", NULL
};

/* or they belong to the language or to one of those headers. So do all that
 * end in _t, and the intrinsics of arm_neon.h: see names_kept(). */
static const char *const reserved[] = {
    "auto", "break", "case", "char", "const", "continue", "default", "do",
    "double", "else", "enum", "extern", "float", "for", "goto", "if", "inline",
    "int", "long", "register", "return", "short", "signed", "sizeof", "static",
    "struct", "switch", "typedef", "union", "unsigned", "void", "volatile",
    "while", "defined",
    "INT64_C", "NULL", "PTRDIFF_MAX", "UINT64_C", "getpid", "memcmp", "memcpy",
    "memmove", "memset", "offsetof", NULL
};

static void fail(const char *what, const char *file)
{
    fprintf(stderr, "single_header: %s: %s\n", file, what);
    exit(1);
}

static FILE *open_file(const char *path, const char *mode)
{
    FILE *f = fopen(path, mode);

    if (!f)
        fail("cannot open", path);
    return f;
}

static FILE *open_in_root(const char *path)
{
    char full[2 * LONGEST];

    if (snprintf(full, sizeof full, "%s/%s", root, path) >= (int)sizeof full)
        fail("path too long", path);
    return open_file(full, "rb");
}

/* One line without its end, which may be LF or CRLF; 0 at the end of file. */
static int read_line(char *line, FILE *f, const char *path)
{
    size_t n;

    if (!fgets(line, LONGEST, f))
        return 0;
    n = strlen(line);
    if (n == LONGEST - 1 && line[n - 1] != '\n')
        fail("line too long", path);
    while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
        line[--n] = '\0';
    return 1;
}

/* Whether the file has been here before; remembers it. */
static int seen_before(const char *path)
{
    for (int i = 0; i < seen_count; i++)
        if (strcmp(seen[i], path) == 0)
            return 1;
    if (seen_count == FILES)
        fail("too many files", path);
    strcpy(seen[seen_count++], path);
    return 0;
}

/* The NAME of a line that says #include "NAME"; 0 if it says anything else. */
static int include_of(const char *line, char *name)
{
    int n = 0;

    if (sscanf(line, " # include \"%1023[^\"]\"%n", name, &n) != 1 || n == 0)
        return 0;
    return 1;
}

/* path = the folder of `from`, then name, with folder/../ taken out. */
static void resolve(char *path, const char *from, const char *name)
{
    const char *slash = strrchr(from, '/');
    const int folder = slash ? (int)(slash - from) + 1 : 0;
    char *up;

    if (folder + (int)strlen(name) >= LONGEST)
        fail("path too long", name);
    memmove(path, from, (size_t)folder);
    strcpy(path + folder, name);
    while ((up = strstr(path, "/../")) != NULL) {
        char *start = up;

        while (start > path && start[-1] != '/')
            start--;
        memmove(start, up + 4, strlen(up + 4) + 1);
    }
}

/* Takes the comments out of a line, in place; *inside carries a comment from
 * line to line. A comment becomes a space, as the language has it. */
static void strip(char *line, int *inside)
{
    char *to = line, quote = 0;

    for (const char *at = line; *at; at++) {
        if (*inside) {
            if (at[0] == '*' && at[1] == '/') {
                *inside = 0;
                at++;
            }
        } else if (!quote && at[0] == '/' && at[1] == '*') {
            *inside = 1;
            *to++ = ' ';
            at++;
        } else {
            if (quote && *at == '\\' && at[1])
                *to++ = *at++;
            else if (*at == quote)
                quote = 0;
            else if (!quote && (*at == '"' || *at == '\''))
                quote = *at;
            *to++ = *at;
        }
    }
    while (to > line && (to[-1] == ' ' || to[-1] == '\t'))
        to--;
    *to = '\0';
}

/* ---- The names to put aside --------------------------------------------- */

static int is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int ends_in(const char *name, const char *end)
{
    const size_t n = strlen(name), m = strlen(end);

    return n >= m && strcmp(name + n - m, end) == 0;
}

/* Whether a name is one of an intrinsic of arm_neon.h, like vaddq_f32. */
static int is_neon(const char *name)
{
    static const char *const types[] = {
        "_f16", "_f32", "_f64", "_s16", "_s32", "_u8", "_u16", "_u32", NULL
    };

    if (name[0] != 'v' || name[1] == '_')
        return 0;
    for (int i = 0; types[i]; i++)
        if (ends_in(name, types[i]))
            return 1;
    return 0;
}

/* Whether a macro of that name keeps its meaning within the sources. */
static int names_kept(const char *name)
{
    for (int i = 0; prefixes[i]; i++)
        if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
            return 1;
    for (int i = 0; reserved[i]; i++)
        if (strcmp(name, reserved[i]) == 0)
            return 1;
    return ends_in(name, "_t") || is_neon(name);
}

/* Puts a name into the list, which is sorted, unless it is there. */
static void add_name(const char *name)
{
    int i = name_count;

    if (name_count == NAMES)
        fail("too many names", name);
    while (i > 0 && strcmp(names[i - 1], name) > 0)
        i--;
    if (i > 0 && strcmp(names[i - 1], name) == 0)
        return;
    memmove(names[i + 1], names[i], (size_t)(name_count - i) * sizeof *names);
    strcpy(names[i], name);
    name_count++;
}

/* The identifier that starts at `at`; what follows it. */
static const char *read_name(const char *at, char *name)
{
    int n = 0;

    while (is_letter(*at) || is_digit(*at)) {
        if (n == NAME_LONGEST)
            fail("name too long", at);
        name[n++] = *at++;
    }
    name[n] = '\0';
    return at;
}

/* The names of a line, or of what is left of it; numbers and what stands in
 * quotes hold none. */
static void scan_text(const char *at)
{
    char name[NAME_LONGEST + 1];

    while (*at) {
        if (is_letter(*at)) {
            at = read_name(at, name);
            if (!names_kept(name))
                add_name(name);
        } else if (is_digit(*at) || (at[0] == '.' && is_digit(at[1]))) {
            while (is_letter(*at) || is_digit(*at) || *at == '.'
                   || ((*at == '+' || *at == '-') && strchr("eEpP", at[-1])))
                at++;
        } else if (*at == '"' || *at == '\'') {
            const char quote = *at++;

            while (*at && *at != quote)
                at += *at == '\\' && at[1] ? 2 : 1;
            at += *at == quote;
        } else {
            at++;
        }
    }
}

/* The names of a directive, where macros may be replaced in it or in what it
 * defines. Only the pragmas of OpenMP are such. Nothing else runs on. */
static void scan_directive(const char *at, const char *path)
{
    char word[NAME_LONGEST + 1];

    at = read_name(at + strspn(at, "# \t"), word);
    at += strspn(at, " \t");
    if (strcmp(word, "include") == 0) {
        if (strncmp(at, "BN_", 3) == 0)     /* a file that a test names */
            return;
        for (int i = 0; *at == '<' && i < HEADERS; i++) {
            const size_t n = strlen(headers[i][0]);

            if (strncmp(at + 1, headers[i][0], n) == 0 && at[n + 1] == '>')
                return;
        }
        fail("includes a header that single_header.c does not know", path);
    }
    if (strcmp(word, "error") == 0)
        return;
    if (strcmp(word, "pragma") == 0 && strncmp(at, "omp ", 4) != 0)
        return;
    scan_text(at);
}

/* The names of a file and of all that it includes. */
static void scan_file(const char *path)
{
    char line[LONGEST], name[LONGEST], next[LONGEST];
    FILE *f;
    int inside = 0;

    if (seen_before(path))
        return;
    f = open_in_root(path);
    while (read_line(line, f, path)) {
        strip(line, &inside);
        if (include_of(line, name)) {
            resolve(next, path, name);
            if (strcmp(next, "include/bnfloss.h") != 0)
                scan_file(next);
        } else if (line[strspn(line, " \t")] == '#') {
            scan_directive(line, path);
        } else {
            scan_text(line);
        }
    }
    fclose(f);
}

/* ---- What is written ---------------------------------------------------- */

static void write_file(const char *path)
{
    char line[LONGEST], name[LONGEST], next[LONGEST];
    const int again = seen_before(path);
    FILE *f = open_in_root(path);
    int inside = 0;

    fprintf(out, "/* ---- %s%s ---- */\n", path, again ? ", again" : "");
    while (read_line(line, f, path)) {
        if (again)
            strip(line, &inside);
        if (include_of(line, name)) {
            resolve(next, path, name);
            if (strcmp(next, "include/bnfloss.h") != 0)
                write_file(next);
        } else if (line[0] || !again) {
            fprintf(out, "%s\n", line);
        }
    }
    fclose(f);
}

/* The sources, and around them what keeps them apart from the macros of the
 * file that they are in. */
static void write_sources(void)
{
    fprintf(out, "/* ---- headers of the system ---- */\n");
    for (int i = 0; i < HEADERS; i++) {
        if (headers[i][1])
            fprintf(out, "#if %s\n", headers[i][1]);
        fprintf(out, "#include <%s>\n", headers[i][0]);
        if (headers[i][1])
            fprintf(out, "#endif\n");
    }
    fprintf(out, "\n/* ---- macros of your own that are put aside ---- */\n");
    for (int i = 0; i < name_count; i++)
        fprintf(out, "#pragma push_macro(\"%s\")\n#undef %s\n", names[i],
                names[i]);
    write_file("src/bnfloss.c");
    fprintf(out, "/* ---- and that are brought back ---- */\n");
    for (int i = 0; i < name_count; i++)
        fprintf(out, "#pragma pop_macro(\"%s\")\n", names[i]);
}

/* The terms that a copy has to carry, as a comment. */
static void write_license(void)
{
    char line[LONGEST];
    FILE *f = open_in_root("LICENSE");

    fprintf(out, "\n/*\n");
    while (read_line(line, f, "LICENSE"))
        fprintf(out, " *%s%s\n", line[0] ? " " : "", line);
    fprintf(out, " */\n");
    fclose(f);
}

/* The tree's header; its one #include becomes the sources or, in a pair,
 * names their file. */
static void write_header(int pair)
{
    char line[LONGEST], name[LONGEST];
    int includes = 0;
    FILE *f = open_in_root("include/bnfloss.h");

    while (read_line(line, f, "include/bnfloss.h")) {
        if (!include_of(line, name)) {
            fprintf(out, "%s\n", line);
            continue;
        }
        includes++;
        if (pair)
            fprintf(out, "#include \"bnfloss.c\"\n");
        else
            write_sources();
    }
    if (includes != 1)
        fail("one #include of the sources expected", "include/bnfloss.h");
    fclose(f);
}

static void close_out(const char *path)
{
    if (ferror(out) || fclose(out) != 0)
        fail("cannot write", path);
}

int main(int argc, char **argv)
{
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: single_header ROOT bnfloss.h [bnfloss.c]\n");
        return 2;
    }
    root = argv[1];
    scan_file("src/bnfloss.c");
    seen_count = 0;
    out = open_file(argv[2], "wb");
    write_header(argc == 4);
    write_license();
    close_out(argv[2]);
    if (argc == 4) {
        out = open_file(argv[3], "wb");
        fprintf(out, "#include \"bnfloss.h\"\n\n");
        write_sources();
        write_license();
        close_out(argv[3]);
    }
    return 0;
}
