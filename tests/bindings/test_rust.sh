#!/bin/sh
# A Rust program with hand-written declarations, linked with the static
# library (BNFLOSS_STATIC).
. "$(dirname "$0")/../build/common.sh"
need rustc cc || finish
here=$root/tests/bindings

try "static library" test -f "${BNFLOSS_STATIC:-}" || finish
try "compile" rustc -O --edition 2021 "$here/test_rust.rs" \
    -C "link-arg=$BNFLOSS_STATIC" -o "$scratch/rust"
try "compile sizes.c" cc -I"$root/include" "$here/sizes.c" -o "$scratch/sizes"
try "run" sh -c "$scratch/rust >$scratch/rust.txt"
try "sizes of C" sh -c "$scratch/sizes >$scratch/c.txt"
same "the structs are as large" "$scratch/c.txt" "$scratch/rust.txt"
finish
