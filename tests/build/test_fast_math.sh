#!/bin/sh
# Whatever flags the builder likes, for compiling and for linking: the library
# gives the same bits as from a plain build, or refuses to be built.
. "$(dirname "$0")/common.sh"
need gcc || finish
cd "$scratch" || exit 1

try "test" gcc -O2 -DBNFLOSS_TEST_DIR="\"$root/tests\"" -I"$root/include" \
    -c "$root/tests/test_same_bits.c" -o test.o || finish

hash_of() {         # name, compiler and flags..
    name=$1 cc=$2
    shift 2
    need $cc || return 0
    try "$name" $cc "$@" -I"$root/include" -c "$root/src/bnfloss.c" \
        -o bnfloss.o || return 0
    try "$name, link" $cc "$@" test.o bnfloss.o -pthread -lm -o "$name" ||
        return 0
    "./$name" >"$name.log" 2>&1
    grep '^hash ' "$name.log" >"$name.hash"
    try "$name prints a hash" test -s "$name.hash"
    refuse "$name: $(grep -m 3 ' on ' "$name.log")" \
        grep -q 'hash .* on ' "$name.log"
    echo "$name: $(cat "$name.hash")"
    same "$name and a plain build" plain.hash "$name.hash"
}
hash_of plain gcc -O2
hash_of gcc-Ofast gcc -Ofast -march=native
hash_of clang-precise clang -Ofast -march=native -fno-fast-math -ffp-contract=off
if need clang; then             # what clang cannot undo it must refuse
    clang -Ofast -I"$root/include" -c "$root/src/bnfloss.c" -o no.o \
        2>clang.log
    try "clang -Ofast is refused, with advice" \
        grep -q 'add -fno-fast-math' clang.log
fi
hash_of gcc-O0 gcc -O0
finish
