#!/bin/sh
# Python's ctypes with the shared library (BNFLOSS_SHARED).
. "$(dirname "$0")/../build/common.sh"
need python3 cc || finish

try "shared library" test -f "${BNFLOSS_SHARED:-}" || finish
try "calls" env PYTHONDONTWRITEBYTECODE=1 python3 \
    "$root/tests/bindings/test_python.py" "$BNFLOSS_SHARED" "$root/include"
cat "$scratch/log"
! grep -q '^SKIPPED' "$scratch/log" || skip "numpy is not installed"
finish
