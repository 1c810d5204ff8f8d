#!/bin/sh
# The laws that a grep can check, on the sources without their comments. Each
# pattern first has to find a planted offence.
. "$(dirname "$0")/common.sh"
cd "$root" || exit 1

code() {            # FILE:CODE for every line of these files
    awk 'FNR == 1 { inside = 0 }
    {
        line = $0
        code = ""
        while (line != "") {
            at = index(line, inside ? "*/" : "/*")
            if (!inside)
                code = code (at ? substr(line, 1, at - 1) : line)
            if (!at)
                break
            line = substr(line, at + 2)
            inside = !inside
        }
        if (code ~ /[^ ]/)
            print FILENAME ":" code
    }' "$@"
}
find src -name '*.[ch]' | sort | while read -r file; do
    code "$file"
done >"$scratch/code"
try "there is code" test "$(wc -l <"$scratch/code")" -gt 1000

law() {             # what, pattern, an offence, files that may
    try "a planted offence: $1" sh -c \
        'printf "%s\n" "$1" | grep -qE "$2"' sh "src/x.c:$3" "$2"
    grep -E "$2" "$scratch/code" | grep -vE "^($4):" >"$scratch/found"
    refuse "$1: $(head -n 3 "$scratch/found")" test -s "$scratch/found"
}
isa_files="src/kernels/(avx2|avx512|neon).c|src/kernels/x86.h|src/fenv.c"
word='(^|[^A-Za-z0-9_])'
libm='(exp|expm1|exp2|log|log1p|log2|log10|pow|sqrt|cbrt|tanh|sinh|cosh|erf'
libm="$libm|fma|fabs|fmin|fmax|floor|ceil|round|rint|lrint|trunc|ldexp|frexp"
libm="$libm|scalbn|isnan|isinf|isfinite|nextafter|copysign)[fl]?"

law "intrinsics only in the files of instruction sets" \
    '_mm[0-9]*_|__m(128|256|512)|immintrin|arm_neon|(float32|uint32)x4' \
    '__m256 x = _mm256_add_ps(a, b);' "$isa_files"
law "OpenMP in one file" '[^A-Za-z]omp[ ._]|_OPENMP|pragma omp' \
    '#include <omp.h>' src/rows/threads.c
law "no allocation" "$word(malloc|calloc|realloc|free|alloca|strdup) *\\(" \
    '    p = malloc(n);' none
law "no printing" "$word(f|s|sn|v)*(printf|puts|putchar|fputs|perror) *\\(" \
    '    fprintf(stderr, "no");' none
law "no way out" "$word(exit|_Exit|abort|assert|longjmp|getenv|signal) *\\(" \
    '    abort();' none
law "no libm" "$word$libm *\\(|math\\.h|fenv\\.h" 'x = expf(y);' none
law "no libm in disguise" \
    '__builtin_(exp|log|pow|sqrt|tanh|sin|cos)(m1|1p|2|10)?[fl]? *\(' \
    'x = __builtin_expf(y);' none
law "only these system headers" \
    '# *include *<' '#include <stdio.h>' \
    "$isa_files|src/rows/threads.c|src/kernels/cpu.c|src/core.h"
law "no C++ comments" '(^|[^:"])//' 'x = 1; // one' none

# One thing has one name, and a name is a word of the field. These are parts of
# identifiers that meant something here alone, or several things.
private='doors?|house|strands?|held|kept|keeps?|most|least|settled?|alone|apart'
private="$private|words|gone"
for file in $(find src bench tests -name '*.[ch]' ! -name golden.h | sort); do
    code "$file"
done | sed 's/"\([^"\\]\|\\.\)*"/""/g' >"$scratch/code"
law "no private words in names" "[:_ (*&!.>-](${private})(_|[^a-z_])" \
    '    kept = bn_row_keep(row);' none
law "no private words in the middle of names" "_($private)(_|[^a-z_])" \
    '    bn_row_keep(row);' none
law "none in capitals" \
    "(^|[^A-Z])($(echo "$private" | tr '[:lower:]' '[:upper:]'))([^A-Z]|\$)" \
    'enum { BN_KEPT_CHUNKS = 16 };' none

# And words that comments had for an entry point, the layers, prefetch streams
# and the file of an instruction set.
for file in $(find src bench tests -name '*.[ch]' ! -name golden.h | sort); do
    sed "s|^|$file:|" "$file"
done >"$scratch/code"
law "no private words in comments" \
    "(^|[^a-z_])([Dd]oors?|house|floor [0-9]|strands?|ISA pages?)([^a-z_]|\$)" \
    '/* The door to the losses. */' none

# Each line of EDGES.md is cited in the test that it names.
sed -n 's/^| \(E[0-9]*\) .*| \([a-z_]*\) |$/\1 \2/p' tests/EDGES.md \
    >"$scratch/edges"
try "EDGES.md has lines" test "$(wc -l <"$scratch/edges")" -gt 200
while read -r id test; do
    [ "$test" = none ] || cat tests/"$test".c tests/proof/"$test".c \
        2>"$scratch/none" | grep -qw "$id" || echo "$id: $test"
done <"$scratch/edges" >"$scratch/found"
refuse "not cited: $(head -n 3 "$scratch/found")" test -s "$scratch/found"

for file in $(find src include examples bench tests -name '*.[ch]'); do
    try "$file opens with what it is" sh -c \
        'head -n 1 "$1" | grep -q "^/\* [^ ]"' sh "$file"
done
refuse "tabs" grep -rn "$(printf '\t')" src include --include=*.[ch]

# The README's program is the one that the tests run.
sed -n '/^```c$/,/^```$/p' README.md | sed '1d;$d' >"$scratch/readme.c"
sed -n '/^#define BNFLOSS_IMPLEMENTATION/,$p' examples/minimal.c \
    >"$scratch/minimal.c"
try "the README's program has lines" test -s "$scratch/readme.c"
try "the README's program is examples/minimal.c" \
    cmp "$scratch/readme.c" "$scratch/minimal.c"

# What the long tier quotes of src/ is there.
if need python3; then
    try "the lists of tests/proof" python3 -B tests/proof/lists.py
fi

# One version, said twice in the header.
say() { sed -n "s/^#define BNFLOSS_VERSION_$1 //p" include/bnfloss.h; }
try "the versions agree" grep -q \
    "^#define BNFLOSS_VERSION \"$(say MAJOR).$(say MINOR).$(say PATCH)\"$" \
    include/bnfloss.h
finish
