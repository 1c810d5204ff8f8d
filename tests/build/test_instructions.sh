#!/bin/sh
# How many instructions each kernel takes, against the figures that are
# committed beside this: speed, as far as no clock is needed for it.
#
#   sh tests/build/test_instructions.sh            compares
#   sh tests/build/test_instructions.sh --renew    rewrites the figures
#
# Counted by callgrind, which knows AVX2 and not AVX-512, in what gcc makes of
# the one-line build. Another version of gcc makes something else, so the
# figures name theirs. 3 % more is a failure; 3 % less asks for new figures.
. "$(dirname "$0")/common.sh"
figures=$root/tests/build/instructions.txt
tolerance=3
need gcc valgrind || finish
case $(uname -m) in
    x86_64) ;;
    *) skip "instruction counts are for x86-64"; finish ;;
esac
if ! grep -qw avx2 /proc/cpuinfo; then
    skip "avx2"
    finish
fi
version=$(gcc -dumpversion | cut -d . -f 1)

count() {
    gcc -O2 -I"$root/include" "$root/tests/build/instructions.c" \
        "$root/src/bnfloss.c" -o "$scratch/instructions" || return 1
    after=$(sed -n 's/^KERNEL(\([a-z_]*\),.*/\1/p' \
        "$root/tests/build/instructions.c" | while read -r kernel; do
            printf '%s ' "--dump-after=count_${kernel}_f32" \
                "--dump-after=count_${kernel}_bf16"
        done)
    # shellcheck disable=SC2086
    valgrind -q --tool=callgrind --toggle-collect='count_*' $after \
        --callgrind-out-file="$scratch/out" "$scratch/instructions" ||
        return 1
    for part in "$scratch"/out.*; do
        sed -n 's/^desc: Trigger: --dump-after=count_//p; s/^totals: //p' \
            "$part" | paste -s -d ' '
    done | sort >"$scratch/counts"
}

# Says what differs; fails if a kernel got worse, or is not in both files.
compare() {         # committed, found
    awk -v most=$tolerance '
    /^#/ { next }
    NR == FNR { old[$1] = $2; next }
    { new[$1] = $2 }
    END {
        for (k in old)
            if (!(k in new)) {
                print k " is not counted any more"
                bad = 1
            }
        for (k in new) {
            if (!(k in old)) {
                print k " has no figure"
                bad = 1
                continue
            }
            change = 100 * (new[k] / old[k] - 1)
            if (change > most || change < -most)
                printf "%s: %d instructions, were %d: %+.1f %%\n", k,
                       new[k], old[k], change
            if (change > most)
                bad = 1
        }
        exit bad
    }' "$1" "$2"
}
scaled() {          # factor: the figures found, times it
    awk -v by="$1" '{ printf "%s %d\n", $1, $2 * by }' "$scratch/counts"
}

try "count" count || finish
try "twelve kernels" test "$(wc -l <"$scratch/counts")" -eq 12

if [ "${1:-}" = --renew ]; then
    {
        echo "# Instructions of two rows of 50257 logits: AVX2, gcc $version" \
            "-O2, callgrind."
        echo "# Renew: sh tests/build/test_instructions.sh --renew"
        cat "$scratch/counts"
    } >"$figures"
    cat "$figures"
    finish
fi

# The comparison finds what it is for.
scaled 1.035 >"$scratch/more"
scaled 1.025 >"$scratch/less"
sed 1d "$scratch/counts" >"$scratch/fewer"
refuse "3.5 % more" compare "$scratch/counts" "$scratch/more"
try "2.5 % more" compare "$scratch/counts" "$scratch/less"
refuse "a kernel that is gone" compare "$scratch/counts" "$scratch/fewer"
refuse "a kernel without a figure" compare "$scratch/fewer" "$scratch/counts"

if ! grep -q "gcc $version " "$figures"; then
    skip "the figures of $(grep -o 'gcc [0-9]*' "$figures"): this is $version"
    finish
fi
if try "no kernel takes more instructions; if that is what you want: --renew" \
    compare "$figures" "$scratch/counts" && [ -s "$scratch/log" ]; then
    echo "RENEW the figures, sh tests/build/test_instructions.sh --renew:"
    cat "$scratch/log"
fi
finish
