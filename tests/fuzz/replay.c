/* A main for the fuzz targets without a fuzzer: random inputs of its own, the
 * inputs of a corpus, and the hash of all that comes out.
 *
 * SPDX-License-Identifier: MIT
 *
 *     fuzz_run                 2000 inputs made from seeds 1 .. 2000
 *     fuzz_run --count N       N of them
 *     fuzz_run --write DIR N   writes these inputs to files: a seed corpus
 *     fuzz_run FILE..          replays files, say those that a fuzzer found
 *
 * The last line is "NAME: A valid, B refused, C compared, hash H". The hash is
 * the same on every machine; a broken promise aborts. */
#include <fenv.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include TARGET                     /* "fuzz_run.c", on the command line */

enum { LONGEST = 4096 };

/* Input number `seed`: a few bytes or many, of which some are small, as
 * choices like them. */
static size_t make_input(uint64_t seed, uint8_t *data)
{
    uint64_t state = seed * UINT64_C(0x2545F4914F6CDD1D);
    const size_t n = 40 + (size_t)(mix(&state) % 400);
    const int small = (int)(mix(&state) % 4);

    for (size_t i = 0; i < n; i++) {
        const uint64_t x = mix(&state);

        data[i] = (uint8_t)((x >> 8) % 4 < (uint64_t)small ? x % 24 : x);
    }
    return n;
}

static int write_corpus(const char *folder, uint64_t count)
{
    static uint8_t data[LONGEST];
    char name[4096];

    for (uint64_t seed = 1; seed <= count; seed++) {
        const size_t n = make_input(seed, data);
        FILE *f;

        snprintf(name, sizeof name, "%s/%05u", folder, (unsigned)seed);
        f = fopen(name, "wb");
        if (!f || fwrite(data, 1, n, f) != n || fclose(f) != 0) {
            perror(name);
            return 1;
        }
    }
    return 0;
}

static int replay(const char *name)
{
    static uint8_t data[1 << 20];
    FILE *f = fopen(name, "rb");
    size_t n;

    if (!f) {
        perror(name);
        return 1;
    }
    n = fread(data, 1, sizeof data, f);
    fclose(f);
    LLVMFuzzerTestOneInput(data, n);
    return 0;
}

int main(int argc, char **argv)
{
    static uint8_t data[LONGEST];
    const char *isa[4];
    uint64_t count = 2000;
    int bad = 0;

    fesetenv(FE_DFL_ENV);       /* -Ofast starts a program without denormals,
                                   which inputs are made of too */
    if (argc == 4 && strcmp(argv[1], "--write") == 0)
        return write_corpus(argv[2], strtoull(argv[3], NULL, 10));
    if (argc == 3 && strcmp(argv[1], "--count") == 0)
        count = strtoull(argv[2], NULL, 10);
    if (argc == 1 || (argc > 1 && strcmp(argv[1], "--count") == 0)) {
        for (uint64_t seed = 1; seed <= count; seed++) {
            if (getenv("FUZZ_TRACE"))
                fprintf(stderr, "seed %u, hash so far %016llx\n",
                        (unsigned)seed, (unsigned long long)fuzz_hash);
            LLVMFuzzerTestOneInput(data, make_input(seed, data));
        }
    } else {
        for (int i = 1; i < argc; i++)
            bad |= replay(argv[i]);
    }
    printf("ran on");
    for (int i = fuzz_isas(isa), k = 0; k < i; k++)
        printf(" %s", isa[k]);
    bnfloss_isa_select("auto");
    printf("\n%s: %lld valid, %lld refused, %lld compared, hash %016llx\n",
           TARGET, fuzz_valid, fuzz_refused, fuzz_compared,
           (unsigned long long)fuzz_hash);
    return bad || fuzz_valid == 0;
}
