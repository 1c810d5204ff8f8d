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
 * output depends on the tree and on nothing else. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 1024, FILES = 100 };

static const char *root;
static FILE *out;
static char seen[FILES][LONGEST];
static int seen_count;

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
            write_file("src/bnfloss.c");
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
    out = open_file(argv[2], "wb");
    write_header(argc == 4);
    write_license();
    close_out(argv[2]);
    if (argc == 4) {
        out = open_file(argv[3], "wb");
        fprintf(out, "#include \"bnfloss.h\"\n\n");
        write_file("src/bnfloss.c");
        write_license();
        close_out(argv[3]);
    }
    return 0;
}
