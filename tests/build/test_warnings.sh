#!/bin/sh
# Nothing in the tree raises a warning. What a compiler says by default of the
# single header, in each language and beside other headers: test_hostile.sh.
. "$(dirname "$0")/common.sh"

for cc in gcc clang; do
    need $cc || continue
    try "$cc, the library" $cc -std=c11 -O2 $warnings -I"$root/include" \
        -c "$root/src/bnfloss.c" -o "$scratch/bnfloss.o"
    # other macros of the intrinsics' headers
    try "$cc, the library at -O0" $cc -std=c11 -O0 $warnings \
        -I"$root/include" -fsyntax-only "$root/src/bnfloss.c"
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
if need_zig; then
    try "clang, wasm" zig_wasm -std=c11 $warnings -I"$root/include" \
        "$root/src/bnfloss.c"
fi
finish
