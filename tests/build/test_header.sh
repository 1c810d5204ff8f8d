#!/bin/sh
# The header by itself, included twice, in every language level it supports.
. "$(dirname "$0")/common.sh"

for suffix in c cc; do
    cat >"$scratch/twice.$suffix" <<END
#include "bnfloss.h"
#include "bnfloss.h"
typedef char layout[sizeof(bnfloss_layout) == 96 ? 1 : -1];
typedef char status[sizeof(bnfloss_status) == 4 ? 1 : -1];
const char *version(void);
const char *version(void) { return bnfloss_version(); }
END
done
check() {           # compiler, language levels..
    compiler=$1 suffix=$2
    shift 2
    need "$compiler" || return 0
    for std; do
        try "$compiler $std" "$compiler" -std=$std $warnings \
            -I"$root/include" -fsyntax-only "$scratch/twice.$suffix"
    done
}
check gcc c c99 c11 c17
check clang c c99 c11 c17
check g++ cc c++11 c++17
check clang++ cc c++11 c++17
if need tcc; then
    try "tcc" tcc -Wall -Werror -I"$root/include" -c "$scratch/twice.c" \
        -o "$scratch/twice.o"
fi
finish
