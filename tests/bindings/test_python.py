"""bnfloss through ctypes: the structs, BNF, SimPO and KTO against plain Python.

    test_python.py LIBRARY INCLUDE_FOLDER
"""
import ctypes as c
import math
import os
import random
import subprocess
import sys
import tempfile

from structs import (Inputs, Layout, Outputs, Result, Row, Shifts, Spec, f32p,
                     f64p, i32p, i64p, sized)

BNF, NULL, LABEL = 1, 1, 9      # a kind, two errors

passed = failed = 0


def check(ok, what):
    global passed, failed
    passed += bool(ok)
    failed += not ok
    if not ok:
        print("FAILED:", what)


def check_structs(include):
    """Every size and offset, against a C program made from the classes."""
    kinds = [Layout, Spec, Inputs, Row, Outputs, Result, Shifts]
    lines, mine = [], []
    for k in kinds:
        lines.append('printf("%%d\\n", (int)sizeof(%s));' % k.__name__)
        mine.append(("sizeof " + k.__name__, c.sizeof(k)))
        for name, _ in k._fields_:
            lines.append('printf("%%d\\n", (int)offsetof(%s, %s));'
                         % (k.__name__, name))
            mine.append((k.__name__ + "." + name, getattr(k, name).offset))
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "sizes.c")
        program = os.path.join(folder, "sizes")
        with open(source, "w") as f:
            f.write('#include "bnfloss.h"\n#include <stdio.h>\n'
                    "int main(void) {\n%s\nreturn 0; }\n" % "\n".join(lines))
        subprocess.check_call(["cc", "-I", include, source, "-o", program])
        theirs = subprocess.check_output([program]).split()
    check(len(mine) == len(theirs), "number of fields")
    for (name, value), other in zip(mine, theirs):
        check(value == int(other), "%s: %d, C says %d"
              % (name, value, int(other)))


def bnf_row(z, y, r):
    """Value and gradient by the definition: the cross-entropy of p with a
    frozen target that gives f to the label and shares the rest out by p."""
    top = max(z)
    e = [math.exp(x - top) for x in z]
    total = math.fsum(e)
    p = [x / total for x in e]
    others = math.fsum(x for v, x in enumerate(e) if v != y) / total
    f = min(math.exp(z[y] - top - r) / total, 1)
    t = [f if v == y else (1 - f) * p[v] / others for v in range(len(z))]
    log_total = math.log(total)
    value = -math.fsum(a * (x - top - log_total) for a, x in zip(t, z))
    return value, [a - b for a, b in zip(p, t)]


def bnf(z, labels, ref, start, side):
    """Loss, its scale (for tolerances), gradient rows."""
    used = [[i for i in range(a, b) if labels[i] >= 0]
            for a, b in zip(start, start[1:])]
    sequences = sum(1 for s in used if s)
    grad = [[0.0] * len(row) for row in z]
    loss = scale = 0
    for rows, w in zip(used, side):
        for i in rows:
            share = w / len(rows) / sequences
            value, slope = bnf_row(z[i], labels[i], ref[i])
            loss += share * value
            scale += abs(share) * value
            grad[i] = [share * x for x in slope]
    return loss, scale, grad


def batch(V, stride):
    """Four sequences, one of them empty, with ignored rows; as floats."""
    rng = random.Random(V)
    start = [0, 5, 5, 9, 16]
    N = start[-1]
    z = [[c.c_float(rng.gauss(0, 3)).value for _ in range(V)]
         for _ in range(N)]
    labels = [rng.randrange(V) for _ in range(N)]
    labels[3] = labels[11] = -100
    ref = [c.c_float(-rng.expovariate(0.5)).value for _ in range(N)]
    flat = (c.c_float * (N * stride))(*([7.0] * (N * stride)))
    for i, row in enumerate(z):
        flat[i * stride:i * stride + V] = row
    return z, flat, labels, ref, start, [1, -1, -1, 1]


def check_bnf(lib, V, stride, make):
    """make(ctypes array) gives what the call gets and reads it back."""
    z, flat, labels, ref, start, side = batch(V, stride)
    N, S = len(labels), len(side)
    layout = sized(Layout, rows=N, vocab=V, logits_stride=stride, label_type=1)
    starts = (c.c_int64 * (S + 1))(*start)
    sides, refs = (c.c_int8 * S)(*side), (c.c_float * N)(*ref)
    dlogp = (c.c_float * N)()
    inputs = sized(Inputs, sequences=S, seq_start=starts, side=sides,
                   ref_logp=refs)
    outputs = sized(Outputs, dlogp=dlogp)
    spec, size, result = Spec(), c.c_uint64(), sized(Result)
    lib.bnfloss_spec_init(c.byref(spec), c.sizeof(spec), BNF)
    status = lib.bnfloss_workspace(c.byref(layout), c.byref(spec), 0, S,
                                   c.byref(size))
    check(status == 0, "workspace: %d" % status)
    work = c.create_string_buffer(size.value)
    pointer, read = make(flat)

    def run(logits, y):
        return lib.bnfloss_run(
            c.byref(layout), c.byref(spec), c.byref(inputs), logits,
            (c.c_int64 * N)(*y), logits, c.byref(outputs), work, size, 0,
            c.byref(result))

    check(run(None, labels) == NULL, "no logits")
    check(run(pointer, labels[:6] + [V] + labels[7:]) == LABEL, "a label of V")
    check(result.where == 6, "where it was: %d" % result.where)
    check(run(pointer, labels) == 0, "run")

    loss, scale, grad = bnf(z, labels, ref, start, side)
    u = 2.0 ** -24
    check(abs(result.loss - loss) <= 40 * u * scale,
          "V %d: loss %.9g for %.9g" % (V, result.loss, loss))
    check(result.tokens == N - 2 and result.sequences == 3
          and result.empty_sequences == 1, "counts")
    got = read()
    for i in range(N):
        worst = max(abs(g - e) for g, e in zip(got[i * stride:], grad[i]))
        check(worst <= 5 * u * abs(dlogp[i]),
              "V %d row %d: gradient off by %.3g" % (V, i, worst))
        check(all(x == 7 for x in got[i * stride + V:(i + 1) * stride]),
              "V %d row %d: the padding has changed" % (V, i))


def check_names(lib):
    """Kinds run from 1 without a gap, and names go back and forth."""
    names = []
    while lib.bnfloss_kind_name(len(names) + 1) is not None:
        names.append(lib.bnfloss_kind_name(len(names) + 1))
    check(len(names) >= 35 and len(set(names)) == len(names),
          "names: %r" % names)
    for k, name in enumerate(names, 1):
        check(lib.bnfloss_kind_from_name(name) == k, name)
    check(lib.bnfloss_kind_from_name(b"sigmoid") == 2, "an alias")
    check(lib.bnfloss_kind_from_name(b"nothing") == 0
          and lib.bnfloss_kind_from_name(None) == 0, "no name")


def check_by_logp(lib, name, pairing, formula, **given):
    """A loss of log-probabilities. formula(spec, sums, means, ratios) gives
    each sequence's share of the loss and its dL/dl."""
    rng = random.Random(name)
    start, side = [0, 3, 7, 9, 14], [1, -1, 1, -1]
    N, S = start[-1], len(side)
    logp = (c.c_float * N)(*(-rng.expovariate(0.5) for _ in range(N)))
    ref = (c.c_float * N)(*(-rng.expovariate(0.5) for _ in range(N)))
    dlogp = (c.c_float * N)()
    inputs = sized(Inputs, pairing=pairing, sequences=S,
                   seq_start=(c.c_int64 * (S + 1))(*start),
                   side=(c.c_int8 * S)(*side), ref_logp=ref, **given)
    spec, size, result = Spec(), c.c_uint64(), sized(Result)
    lib.bnfloss_spec_init(c.byref(spec), c.sizeof(spec),
                          lib.bnfloss_kind_from_name(name.encode()))
    lib.bnfloss_workspace(None, c.byref(spec), N, S, c.byref(size))
    status = lib.bnfloss_loss(
        c.byref(spec), c.byref(inputs), N, None, logp, None, dlogp, None,
        c.create_string_buffer(size.value), size, c.byref(result))
    check(status == 0, "%s: status %d" % (name, status))
    rows = [range(a, b) for a, b in zip(start, start[1:])]
    loss, slopes = formula(spec, [sum(logp[i] for i in r) for r in rows],
                           [sum(logp[i] for i in r) / len(r) for r in rows],
                           [sum(logp[i] - ref[i] for i in r) for r in rows])
    check(abs(result.loss - loss) < 1e-12, "%s: loss %.15g for %.15g"
          % (name, result.loss, loss))
    for r, slope in zip(rows, slopes):
        for i in r:
            check(abs(dlogp[i] - slope) <= 2.0 ** -23 * abs(slope),
                  "%s: dlogp %.9g for %.9g" % (name, dlogp[i], slope))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def simpo(spec, sums, means, ratios):
    loss, slopes = 0, []
    for k in 0, 2:
        u = spec.beta * (means[k] - means[k + 1]) - spec.gamma
        loss += -math.log(sigmoid(u)) / 2
        for s, n in (k, -1), (k + 1, 1):
            slopes.append(n * spec.beta * sigmoid(-u) / 2 * means[s] / sums[s])
    return loss, slopes


def kto(spec, sums, means, ratios):
    loss, slopes = 0, []
    for s, a in enumerate(ratios):
        side = -1 if s % 2 else 1
        p = sigmoid(side * spec.beta * (a - 0.5))
        loss += (1 - p) / 4
        slopes.append(-side * spec.beta * p * (1 - p) / 4)
    return loss, slopes


def plain(array):
    return array, lambda: list(array)


def with_numpy(array):
    a = numpy.array(array, dtype=numpy.float32)
    return a.ctypes.data_as(c.c_void_p), lambda: a.tolist()


lib = c.CDLL(sys.argv[1])
lib.bnfloss_version.restype = c.c_char_p
lib.bnfloss_selftest.argtypes = [c.POINTER(c.c_char_p)]
lib.bnfloss_status_string.restype = c.c_char_p
lib.bnfloss_spec_init.argtypes = [c.c_void_p, c.c_uint32, c.c_uint32]
lib.bnfloss_workspace.argtypes = [c.c_void_p] * 2 + [c.c_int64] * 2 + [
    c.c_void_p]
lib.bnfloss_run.argtypes = [c.c_void_p] * 8 + [c.c_uint64, c.c_int32,
                                               c.c_void_p]
lib.bnfloss_loss.argtypes = [c.c_void_p] * 2 + [c.c_int64] + [
    c.c_void_p] * 6 + [c.c_uint64, c.c_void_p]
lib.bnfloss_kind_name.argtypes = [c.c_uint32]
lib.bnfloss_kind_name.restype = c.c_char_p
lib.bnfloss_kind_from_name.argtypes = [c.c_char_p]
lib.bnfloss_kind_from_name.restype = c.c_uint32
isa = c.c_char_p()              # what a binding does when it is loaded
check(lib.bnfloss_selftest(c.byref(isa)) == 0 and isa.value is None,
      "this machine computes other bits: %s" % isa.value)
check_structs(sys.argv[2])
check_names(lib)
check_by_logp(lib, "simpo", 1, simpo)
check_by_logp(lib, "kto", 0, kto, kl=0.5)
check(lib.bnfloss_version().count(b".") == 2, "version")
check(lib.bnfloss_status_string(0) == b"ok", "status string")
for V, stride in (2, 2), (3, 8), (65, 65), (257, 260):
    check_bnf(lib, V, stride, plain)
try:
    import numpy
    check_bnf(lib, 1000, 1024, with_numpy)
except ImportError:
    print("SKIPPED: numpy")
print("ctypes: %d passed, %d failed" % (passed, failed))
sys.exit(failed > 0)
