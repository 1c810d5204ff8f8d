#!/bin/sh
# The generated single header and pair: self-contained, reproducible, and the
# same library as the tree, in C11 and in C++17.
. "$(dirname "$0")/common.sh"
need gcc || finish

generate() {        # folder, root as it is spelled
    mkdir -p "$scratch/$1" "$scratch/$1-pair"
    "$scratch/generator" "$2" "$scratch/$1/bnfloss.h" &&
        "$scratch/generator" "$2" "$scratch/$1-pair/bnfloss.h" \
            "$scratch/$1-pair/bnfloss.c"
}
try "generator" gcc -std=c11 -O1 $warnings "$root/pkgconfig/single_header.c" \
    -o "$scratch/generator" || finish

# The output depends on the tree alone: not on how its folder is called, nor
# on line ends.
mkdir "$scratch/copy"
cp -R "$root/include" "$root/src" "$root/LICENSE" "$scratch/copy"
find "$scratch/copy" -type f -exec sed -i.bak 's/$/\r/' {} +
try "generate" generate one "$root"
cd "$scratch" && try "generate from a copy" generate two copy
for file in /bnfloss.h -pair/bnfloss.h -pair/bnfloss.c; do
    same "reproducible $file" "one$file" "two$file"
done
refuse "the wrong folder" "$scratch/generator" "$root/src" "$scratch/nowhere.h"
refuse "still includes" grep -n '^ *# *include *"' one/bnfloss.h
try "carries its licence" grep -q 'MIT License' one/bnfloss.h
try "carries its licence" grep -q 'MIT License' one-pair/bnfloss.c

# One file implements, another declares, and both include it twice.
cat >implement.c <<'END'
#include "bnfloss.h"
#define BNFLOSS_IMPLEMENTATION
#include "bnfloss.h"
#include "bnfloss.h"
END
cp implement.c implement.cc
try "staged" gcc -O2 -Ione -c "$root/examples/staged.c" -o staged.o
cat >expected.awk <<'END'
/unlikelihood: loss 0.080623/ || /sft: loss 1.903110/ { n++ }
END { exit n != 2 }
END
build() {           # name, compiler and flags..
    built=$1
    shift
    try "$built" "$@" -o "$built.o" || return 0
    try "$built, link" gcc staged.o "$built.o" -lm -o "$built"
    try "$built, run" sh -c "./$built >$built.txt"
    try "$built, result" awk -f expected.awk "$built.txt"
    try "$built, symbols" sh -c "nm -g --defined-only $built.o |
        awk '{ print \$NF }' | sort >$built.nm; test -s $built.nm"
}
build c11-gcc gcc -std=c11 -O2 $warnings -Ione -c implement.c
build pair gcc -std=c11 -O0 -Ione-pair -c one-pair/bnfloss.c
build tree gcc -std=c11 -O0 -I"$root/include" -c implement.c
# gcc 12 warns of its own AVX-512 header in C++ (its bug 105593)
need g++ && build c++17-g++ g++ -std=c++17 -O1 $warnings -Wno-uninitialized \
    -Wno-maybe-uninitialized -Ione -c implement.cc
need clang && build c11-clang clang -std=c11 -O1 $warnings -Ione -c implement.c
need clang++ &&
    build c++17-clang++ clang++ -std=c++17 -O1 $warnings -Ione -c implement.cc
need tcc && build tcc tcc -Ione -c implement.c
for built in pair tree c++17-g++ c11-clang c++17-clang++ tcc; do
    [ ! -f $built.nm ] || [ $built = tcc ] ||
        same "symbols of $built" c11-gcc.nm $built.nm
    [ ! -f $built.txt ] || same "numbers of $built" c11-gcc.txt $built.txt
done
finish
