#!/bin/sh
# The one-line build with every compiler: that it works, that the objects
# compute the same, what they need, what they give.
#
# BNFLOSS_SHARED is a shared library whose exports are looked at as well.
. "$(dirname "$0")/common.sh"
need gcc nm || finish

# The functions of the header, as the preprocessor sees it.
gcc -E -P -DBNFLOSS_API=EXPORT "$root/include/bnfloss.h" | tr '\n' ' ' |
    grep -o 'EXPORT [^;(]*(' | sed 's/.*[ *]\(bnfloss_[a-z_]*\) *($/\1/' |
    sort >"$scratch/api"
try "functions in the header" test "$(wc -l <"$scratch/api")" -ge 12
refuse "odd words among them" grep -v '^bnfloss_[a-z_]*$' "$scratch/api"

plain() {           # cc: the line that the header promises
    (cd "$root" && "$1" -O2 -Iinclude -c src/bnfloss.c -o "$scratch/$1.o")
}
needs_only() {      # object, allowed names
    nm -u "$1" | awk '{ print $NF }' | sort -u >"$scratch/needs"
    ! grep -vxE "$2|_GLOBAL_OFFSET_TABLE_" "$scratch/needs"
}
gives_the_api() {   # object, nm's options..
    object=$1
    shift
    nm "$@" --defined-only "$object" | awk '{ print $NF }' |
        sort -u >"$scratch/gives"
    diff "$scratch/api" "$scratch/gives"
}

for cc in gcc clang tcc; do
    need $cc || continue
    try "one line, $cc" plain $cc || continue
    try "needs, $cc" needs_only "$scratch/$cc.o" "memcpy|memmove|memset|memcmp"
    try "gives, $cc" gives_the_api "$scratch/$cc.o" -g
    try "link, $cc" $cc -I"$root/include" "$root/examples/staged.c" \
        "$scratch/$cc.o" -lm -o "$scratch/$cc" &&
        try "run, $cc" sh -c "$scratch/$cc >$scratch/$cc.txt" &&
        try "loss, $cc" grep -q 'sft: loss 1.903110' "$scratch/$cc.txt"
done
for cc in clang tcc; do
    [ ! -f "$scratch/$cc.txt" ] ||
        same "gcc and $cc agree" "$scratch/gcc.txt" "$scratch/$cc.txt"
done

# Instruction sets that are left out are not there; the others compute the same.
cat >"$scratch/isa.c" <<'END'
#include "bnfloss.h"
#include <stdio.h>
int main(void)
{
    for (int i = 0; bnfloss_isa_name(i); i++)
        printf("%s ", bnfloss_isa_name(i));
    printf("%d\n", bnfloss_selftest(NULL));
    return 0;
}
END
without() {         # pattern of what it says, macros..
    said=$1
    shift
    try "without: $*" gcc -O1 "$@" -I"$root/include" "$scratch/isa.c" \
        "$root/src/bnfloss.c" -o "$scratch/isa" &&
        try "left out: $*, not $("$scratch/isa")" sh -c \
            '"$1" | grep -qx "$2"' sh "$scratch/isa" "$said"
}
without 'scalar \(avx2 \|neon \)\?0' -DBNFLOSS_NO_AVX512
without 'scalar 0' -DBNFLOSS_NO_AVX512 -DBNFLOSS_NO_AVX2 -DBNFLOSS_NO_NEON
without 'scalar \(avx512 \|neon \)\?0' -DBNFLOSS_NO_AVX512BF16 \
    -DBNFLOSS_NO_AVX2

if [ -n "${BNFLOSS_SHARED:-}" ]; then
    try "exports" gives_the_api "$BNFLOSS_SHARED" -D
    major_minor=$(sed -n 's/^#define BNFLOSS_VERSION "\(.*\)\..*"/\1/p' \
        "$root/include/bnfloss.h")
    try "soname" sh -c 'objdump -p "$1" | grep -q "SONAME.*\.so\.$2$"' \
        sh "$BNFLOSS_SHARED" "$major_minor"
else
    skip "BNFLOSS_SHARED names no shared library"
fi
finish
