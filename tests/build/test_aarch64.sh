#!/bin/sh
# The NEON page, cross-compiled and run by an emulator: its words, the hash,
# the API. The other tests take minutes there: test_oracle's oracle is soft
# quad precision, test_edges calls the system a million times.
. "$(dirname "$0")/common.sh"
cc=aarch64-linux-gnu-gcc
need $cc aarch64-linux-gnu-ar qemu-aarch64 || finish

threads="-DBNFLOSS_OPENMP -fopenmp"
try "library" $cc -std=c11 -O2 $warnings $threads -I"$root/include" \
    -c "$root/src/bnfloss.c" -o "$scratch/bnfloss.o"
try "archive" aarch64-linux-gnu-ar rcs "$scratch/libbnfloss.a" \
    "$scratch/bnfloss.o"
for name in kernels same_bits api; do
    try "$name" $cc -static -O2 $threads -DBNFLOSS_TEST_DIR="\"$root/tests\"" \
        -I"$root/include" "$root/tests/test_$name.c" "$scratch/libbnfloss.a" \
        -pthread -lm -o "$scratch/$name" || continue
    try "$name, run" env OMP_WAIT_POLICY=passive \
        qemu-aarch64 "$scratch/$name"
    grep -E 'ran on|passed,' "$scratch/log"
done
finish
