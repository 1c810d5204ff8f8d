#!/bin/sh
# Nothing in the tree raises a warning.
. "$(dirname "$0")/common.sh"

for cc in gcc clang; do
    need $cc || continue
    try "$cc, the library" $cc -std=c11 -O2 $warnings -I"$root/include" \
        -c "$root/src/bnfloss.c" -o "$scratch/bnfloss.o"
    if [ "$(uname -m)" = x86_64 ]; then     # other code for a fused operation
        try "$cc, the library with FMA" $cc -std=c11 -O2 $warnings -mfma \
            -I"$root/include" -c "$root/src/bnfloss.c" -o "$scratch/bnfloss.o"
    fi
    for source in "$root"/examples/*.c "$root"/pkgconfig/*.c \
        "$root"/tests/tools/*.c "$root"/tests/bindings/*.c \
        "$root"/tests/build/consumer/*.c; do
        try "$cc, $source" $cc -std=c11 -O1 $warnings -I"$root/include" \
            -fsyntax-only "$source"
    done
done
finish
