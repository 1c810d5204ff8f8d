# What the shell tests share: counting, a scratch folder, skips that shout.
#
# A test sources this, says `try NAME COMMAND..` for everything that must
# succeed, and ends with `finish`. Skipped parts make the exit code 77, or a
# failure where BNFLOSS_REQUIRE_ALL=1.
set -u
unset CDPATH
LC_ALL=C
export LC_ALL
root=$(cd "$(dirname "$0")/../.." && pwd)
test=$(basename "$0" .sh)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0 skipped=0

# The warnings that nothing in the tree may raise.
warnings="-Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror"

# Runs a command; shows its output if it fails.
try() {
    what=$1
    shift
    if "$@" >"$scratch/log" 2>&1; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $what: $*"
        head -n 20 "$scratch/log" | cut -c 1-200
        return 1
    fi
}

# Runs a command that has to fail.
refuse() {
    what=$1
    shift
    if "$@" >"$scratch/log" 2>&1; then
        failed=$((failed + 1))
        echo "FAILED: $what: this should not have worked: $*"
    else
        passed=$((passed + 1))
    fi
}

skip() {
    if [ "${BNFLOSS_REQUIRE_ALL:-0}" = 1 ]; then
        echo "FAILED: may not be skipped here: $1"
        failed=$((failed + 1))
    else
        echo "SKIPPED: $1"
        skipped=$((skipped + 1))
    fi
}

# True if all of these programs are here; else the part is skipped.
need() {
    for program; do
        if ! command -v "$program" >/dev/null 2>&1; then
            skip "$program is not installed"
            return 1
        fi
    done
}

# The clang and the headers of the PyPI package ziglang, for what is newer or
# for other systems than the compilers at hand. Only syntax: nothing is linked.
need_zig() {
    if ! python3 -m ziglang version >/dev/null 2>&1; then
        skip "the Python package ziglang is not installed"
        return 1
    fi
    zig_lib=$(python3 -c 'import os, ziglang
print(os.path.dirname(ziglang.__file__))')/lib
}
zig_clang() {       # options..
    python3 -m ziglang clang -fsyntax-only -isystem "$zig_lib/include" "$@"
}
zig_wasm() {        # options..
    zig_clang --target=wasm32-wasi -nostdinc \
        -isystem "$zig_lib/libc/include/wasm-wasi-musl" \
        -isystem "$zig_lib/libc/include/generic-musl" "$@"
}

# Two files that must be the same, byte for byte.
same() {
    try "$1" cmp "$2" "$3"
}

finish() {
    echo "$test: $passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ] || exit 1
    [ "$skipped" -eq 0 ] || exit 77
    [ "$passed" -gt 0 ] || exit 1
    exit 0
}
