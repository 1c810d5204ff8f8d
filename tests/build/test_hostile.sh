#!/bin/sh
# The single header in the middle of somebody else's file: no macro that is
# defined there breaks it or is gone after it, it leaves none of its own, and
# no compiler warns by default, from C11 to C++26.
. "$(dirname "$0")/common.sh"
need gcc || finish
cd "$scratch" || exit 1
try "generator" gcc -std=c11 -O1 "$root/pkgconfig/single_header.c" \
    -o generator || finish
mkdir one pair
try "generate" ./generator "$root" one/bnfloss.h || finish
try "generate the pair" ./generator "$root" pair/bnfloss.h pair/bnfloss.c

# ---- The names -------------------------------------------------------------

# All identifiers of a file, one a line: without comments, strings, numbers,
# and the directives in which no macro is replaced.
identifiers() {
    gcc -fpreprocessed -dD -E -P -x c "$1" 2>/dev/null |
        grep -vE '^ *# *(include|undef|error|pragma +[^o ])' |
        sed -E 's/"([^"\\]|\\.)*"/ /g
            s/(^|[^A-Za-z0-9_])\.?[0-9]([eEpP][-+]|[A-Za-z0-9_.])*/\1 /g' |
        grep -oE '[A-Za-z_][A-Za-z0-9_]*' | sort -u
}
# Those that a user may define as macros: neither reserved, nor of the language
# or a system's header, nor with a prefix of the library.
free_names() {
    grep -vxE '(_|bn_|BN_|bnfloss_|BNFLOSS_|omp_).*|.*_t' |
        grep -vxE 'v[a-z0-9][a-z0-9_]*_[fsu](8|16|32|64)' |
        grep -vxF "$(printf '%s\n' auto break case char const continue \
            default do double else enum extern float for goto if inline int \
            long register return short signed sizeof static struct switch \
            typedef union unsigned void volatile while \
            define defined elif endif ifdef ifndef include pragma \
            NULL offsetof INT64_C UINT64_C PTRDIFF_MAX getpid memcmp memcpy \
            memmove memset)"
}
identifiers one/bnfloss.h | free_names >names
identifiers "$root/include/bnfloss.h" | free_names >public
comm -23 names public >private
try "names" test "$(wc -l <private)" -ge 300
refuse "unfit for a public header" grep -xE \
    'near|far|min|max|small|interface|I|complex|IN|OUT|OPTIONAL|major|minor' \
    public
refuse "one letter in the public header" grep -xE '[A-Za-z]' public

# ---- The files -------------------------------------------------------------

# Each name is a macro that is an error wherever it is used. Those of the
# public header become macros behind it. What follows checks that they are all
# there afterwards.
hostile() {
    cat <<'END'
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__GNUC__) && defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__GNUC__) && defined(__aarch64__)
#include <arm_neon.h>
#endif
#ifdef BNFLOSS_OPENMP
#include <omp.h>
#include <unistd.h>
#endif
END
    sed 's/.*/#define & @@ hostile @@/' private
    echo '#include "bnfloss.h"'
    sed 's/.*/#define & @@ hostile @@/' public
}
hostile >before.c
{
    cat before.c
    echo '#define BNFLOSS_IMPLEMENTATION'
    echo '#include "bnfloss.h"'
    sed 's/.*/#ifndef &\n#error & is gone\n#endif/' names
    echo 'int hostile_end;'
} >hostile.c
{
    sed '/"bnfloss.h"/,$d' before.c
    echo '#include "pair/bnfloss.c"'
} >pair.c
cat >plain.c <<'END'
#define BNFLOSS_IMPLEMENTATION
#include "bnfloss.h"
END
cat >complex.c <<'END'
#include <complex.h>
#define BNFLOSS_IMPLEMENTATION
#include "bnfloss.h"
double _Complex twice = 2 * I;
END
# What a trainer's own header may define, in front of ours and behind it. The
# standard headers of C++ themselves undefine min and max.
cat >theirs.h <<'END'
#undef FN
#undef I
#undef N
#undef min
#undef max
#undef near
#undef far
#define FN(x) their_ ## x
#define I (-1)
#define N 4096
#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define near 1 +
#define far
typedef float real;
END
cat >theirs.c <<'END'
#include "theirs.h"
#define BNFLOSS_IMPLEMENTATION
#include "bnfloss.h"
int FN(size)[N == 4096 && I == -1 && near 1 == 2 ? 1 : -1];
#ifndef __cplusplus
int FN(range)[min(N, 8192) == 4096 && max(I, 2) == 2 ? 1 : -1];
#endif
real their_real;
#include "theirs.h"
END
cat >windows.c <<'END'
#include <windows.h>
#define BNFLOSS_IMPLEMENTATION
#include "bnfloss.h"
#if !defined(near) || !defined(far) || !defined(interface)
#error a macro of windows.h is gone
#endif
#include <mmsystem.h>
HWND window;
END

# ---- The compilers ---------------------------------------------------------

syntax() {          # what, compiler and its options..
    try "$@" -Werror -fsyntax-only -I.
}
levels() {          # C or C++, compiler, language levels..
    language=$1 compiler=$2
    shift 2
    need "$compiler" || return 0
    for std; do
        for file in plain hostile pair theirs; do
            case $file in hostile | theirs) ;; *) [ "$std" = "$1" ] ;; esac &&
                syntax "$compiler $std, $file" "$compiler" -std=$std \
                    -x $language -Ione $file.c
        done
    done
}
levels c gcc c11 c17
levels c clang c11 c17
levels c++ g++ c++17 c++20
levels c++ clang++ c++17 c++20
levels c x86_64-w64-mingw32-gcc c11 c17
levels c++ x86_64-w64-mingw32-g++ c++17 c++20
levels c aarch64-linux-gnu-gcc c11
for cc in gcc clang x86_64-w64-mingw32-gcc; do
    need $cc && syntax "$cc, complex.h" $cc -Ione complex.c
done
for std in c11 c17 c++17 c++20; do
    cc=x86_64-w64-mingw32-gcc language=${std%%[0-9]*}
    need $cc && syntax "windows.h, $std" $cc -std=$std -x $language -Ione \
        windows.c
done
need tcc && try "tcc" tcc -Werror -Ione -c hostile.c -o hostile.o
echo '#include <omp.h>' >openmp.c
if gcc -fopenmp -fsyntax-only openmp.c 2>/dev/null; then
    syntax "OpenMP" gcc -fopenmp -DBNFLOSS_OPENMP -Ione hostile.c
else
    skip "this gcc has no OpenMP"
fi
if need_zig; then
    for file in plain hostile theirs; do
        for std in c++23 c++26; do
            try "clang $std, $file" zig_clang -Werror -x c++ -std=$std -Ione \
                $file.c
        done
        try "clang c23, $file" zig_clang -Werror -std=c23 -Ione $file.c
        # a clang whose arm_neon.h is made of macros
        need aarch64-linux-gnu-gcc && try "clang, AArch64, $file" zig_clang \
            -Werror --target=aarch64-linux-gnu \
            -isystem /usr/aarch64-linux-gnu/include -Ione $file.c
        try "clang, wasm, $file" zig_wasm -Werror -Ione $file.c
        try "clang, wasm, C++26, $file" zig_wasm -Werror -x c++ -std=c++26 \
            -Ione $file.c
    done
fi

# ---- What is left behind ---------------------------------------------------

for cc in gcc clang; do
    need $cc || continue
    $cc -dM -E -Ione before.c | sort >before
    $cc -dM -E -Ione hostile.c | sort >after
    try "$cc, macros of the library" grep -q '^#define BN_' after
    try "$cc, macros as they were" test \
        "$(grep -c '@@ hostile @@$' after)" -eq "$(wc -l <names)"
    diff before after | grep '^[<>]' >changes
    refuse "$cc, macros left behind or gone" \
        grep -vE '^> #define (BN_|BNFLOSS_)' changes
done

# ---- Whether this test would see a fault -----------------------------------

# A name that the generator forgets to put aside, and one that is not brought
# back.
mkdir planted
for name in sums m vocab always_inline num_threads; do
    sed "/^#.*push_macro(\"$name\")$/d; /^#undef $name$/d
        /^#.*pop_macro(\"$name\")$/d" one/bnfloss.h >planted/bnfloss.h
    refuse "$name forgotten" gcc -fsyntax-only -fopenmp -DBNFLOSS_OPENMP \
        -Iplanted hostile.c
done
sed '/^#.*pop_macro("sums")$/d' one/bnfloss.h >planted/bnfloss.h
refuse "sums not brought back" gcc -fsyntax-only -Iplanted hostile.c
finish
