/* Prints the README's table of losses from the library's own table:
 *
 *     loss_table README.md          checks the block between its two markers,
 *     loss_table --write README.md  puts it there, and
 *     loss_table                    prints it
 *
 * SPDX-License-Identifier: MIT */
#include "../../src/bnfloss.c"

#include <stdio.h>
#include <stdlib.h>

#define BEGIN "<!-- the losses: printed by tests/tools/loss_table.c -->\n"
#define END "<!-- end of the losses -->\n"

static void add(char *to, const char *text)
{
    if (*to)
        strcat(to, ", ");
    strcat(to, text);
}

/* What a loss needs of the inputs. */
static void needs(const bn_loss *loss, char *to)
{
    *to = 0;
    if (bn_has_pairs(loss))
        add(to, "pairs");
    if (loss->traits & BN_SIDES)
        add(to, "sides");
    for (int k = 0; k < BN_INPUTS; k++)
        if (bn_inputs[k].required_by & loss->traits)
            add(to, bn_inputs[k].name);
    if (loss->traits & BN_KL)
        add(to, "mismatched or kl");
    if (loss->traits & BN_BASELINE)
        add(to, "shift_mean, shift_count");
    if (!*to)
        add(to, "labels");
}

/* The numbers that set it apart, with their defaults; those of all pair
 * losses are told once, below the table. */
static void numbers(const bn_loss *loss, char *to)
{
    char text[64];

    *to = 0;
    for (size_t i = 0; i < sizeof loss->numbers / sizeof *loss->numbers; i++) {
        const bn_default *d = loss->numbers + i;

        if (d->number == BN_NO_NUMBER)
            continue;
        sprintf(text, "%s %.6g", bn_number_ranges[d->number].name,
                (double)d->value);
        add(to, text);
    }
    if (bn_has_pairs(loss) && loss->norm == BNFLOSS_NORM_BATCH)
        strcat(to, " by batch");
    if (bn_has_pairs(loss) && loss->norm == BNFLOSS_NORM_LENGTH)
        strcat(to, " by length");
}

static char *table(void)
{
    static const char *const shapes[] = { "token", "pair", "sorted batch",
                                          "sequence" };
    static char text[32768];
    char *at = text;

    at += sprintf(at, "| kind | what it is | arXiv | by | needs | numbers and "
                      "their defaults |\n|---|---|---|---|---|---|\n");
    for (uint32_t kind = 1; kind <= BN_KINDS; kind++) {
        const bn_loss *loss = bn_loss_of(kind);
        char need[256], number[256], paper[64] = "";
        int digits = 0;

        needs(loss, need);
        numbers(loss, number);
        sscanf(loss->paper, "%*[0-9.]%n", &digits);
        sprintf(paper, "[%.*s](https://arxiv.org/abs/%.*s)%s", digits,
                loss->paper, digits, loss->paper, loss->paper + digits);
        at += sprintf(at, "| `%s`%s%s%s | %s | %s | %s | %s | %s |\n",
                      loss->name, loss->alias ? " (`" : "",
                      loss->alias ? loss->alias : "", loss->alias ? "`)" : "",
                      loss->what, paper, shapes[loss->shape], need, number);
    }
    return text;
}

/* 0 if the file holds the table between its markers, or is made to (write). */
static int check(const char *path, int write)
{
    static char text[1 << 20];
    const char *want = table(), *begin, *end;
    FILE *f = fopen(path, "rb");
    size_t n;

    if (!f) {
        perror(path);
        return 1;
    }
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[n] = 0;
    begin = strstr(text, BEGIN);
    end = strstr(text, END);
    if (!begin || !end || end < begin) {
        fprintf(stderr, "%s: the table's markers are missing\n", path);
        return 1;
    }
    begin += strlen(BEGIN);
    if ((size_t)(end - begin) == strlen(want)
        && memcmp(begin, want, strlen(want)) == 0)
        return 0;
    if (!write) {
        fprintf(stderr, "%s: its table of losses is an old one; "
                "`loss_table --write %s` renews it\n", path, path);
        return 1;
    }
    f = fopen(path, "wb");
    if (!f) {
        perror(path);
        return 1;
    }
    fwrite(text, 1, (size_t)(begin - text), f);
    fputs(want, f);
    fputs(end, f);
    return fclose(f) != 0;
}

int main(int argc, char **argv)
{
    if (argc > 2 && strcmp(argv[1], "--write") == 0)
        return check(argv[2], 1);
    if (argc > 1)
        return check(argv[1], 0);
    printf(BEGIN "%s" END, table());
    return 0;
}
