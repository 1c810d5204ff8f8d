#!/bin/sh
# A private copy of the library in each of two files, as plug-ins want it: they
# link, export nothing of it, and no compiler warns by default.
. "$(dirname "$0")/common.sh"
need gcc nm || finish
cd "$scratch" || exit 1
try "generator" gcc -std=c11 -O1 "$root/pkgconfig/single_header.c" \
    -o generator || finish
try "generate" ./generator "$root" bnfloss.h || finish

cat >private.c <<'END'
#define BNFLOSS_API static inline
#define BNFLOSS_IMPLEMENTATION
#include "bnfloss.h"
int NAME(void);
int NAME(void) { return bnfloss_selftest(NULL) != BNFLOSS_OK; }
END
cat >main.c <<'END'
int first(void), second(void);
int main(void) { return first() || second(); }
END
for cc in gcc clang; do
    need $cc || continue
    for name in first second; do
        try "$cc, $name" $cc -O0 -Werror -DNAME=$name -c private.c -o $name.o ||
            continue
        nm -g --defined-only $name.o | awk '{ print $NF }' >gives
        echo $name >expected
        same "$cc, $name gives nothing else" expected gives
    done
    try "$cc, link" $cc -Werror main.c first.o second.o -o private &&
        try "$cc, run" ./private
done
sed 's/static inline/static/' private.c >static.c
try "static alone" gcc -Werror -fsyntax-only -DNAME=first static.c
need g++ && try "in C++" g++ -std=c++17 -x c++ -Werror -fsyntax-only \
    -DNAME=first private.c
finish
