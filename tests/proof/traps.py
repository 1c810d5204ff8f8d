#!/usr/bin/env python3
"""Tests of the tests: traps that other libraries fell into, set in src/.

    tests/proof/traps.py [NAME..]

Each trap is a bug planted in a copy of src/, and names the test that must
catch it: that test has to pass without the bug and to fail with it. The text
to be replaced is found by its tokens, so its layout does not matter. It must
be in its file exactly once. lists.py checks that in a second.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

from common import ROOT, archive, read, test_source
from ctokens import places_of

# name, what it is and where it happened, file in src/, what, by what, test
TRAPS = [
    ('mean-of-nothing', 'the mean over no token is NaN (pytorch#70348)',
     'losses/metrics.c', 'loss = batch->tokens > 0 && batch->divisor > 0 ? '
     'loss / batch->divisor : 0;', 'loss = loss / batch->divisor;', 'edges'),
    ('ignored-counted', 'ignored rows are counted (pytorch#73205)',
     'losses/batch.c', 'n += batch->term[i].flags & BN_VALID;', 'n += 1;',
     'edges'),
    ('smoothing-masked', 'smoothing counts what is masked (pytorch#73205)',
     'kernels/forward.h',
     'const bn_m finite = bn_v_above(x, bn_v_set1(-BN_INF_F32));',
     'const bn_m finite = bn_v_above(bn_v_set1(BN_INF_F32), x);',
     'properties'),
    ('int32-stride', 'row * stride wraps in 32 bits (Liger-Kernel#803, '
     'pytorch#111484)', 'kernels/convert.c',
     'return (const char *)p + (size_t)i * bn_type_size(type);',
     'return (const char *)p + (int32_t)i * (int32_t)bn_type_size(type);',
     'wide'),
    ('padding-summed', 'columns beyond the vocabulary enter the sum '
     '(verl#2656)', 'rows/forward.c',
     'const int64_t n = bn_chunk_size(lay->vocab, c);',
     'const int64_t n = bn_chunk_size(lay->logits_stride, c);', 'guard'),
    ('softcap-after-mask', 'a softcap revives what -inf had masked '
     '(unsloth#10616)', 'kernels/group.h',
     'return bn_v_select(bn_v_above(z, bn_v_set1(-BN_INF_F32)), x, '
     'bn_v_set1(-BN_INF_F32));', 'return x;', 'edges'),
    ('in-place', 'in place, a gradient is read as a logit '
     '(Liger-Kernel#343)', 'rows/backward.c',
     'bn_singles_write(sweep, &singles, plan, grad);',
     'singles = bn_singles_read(sweep, plan, logits, grad, from, to); '
     'bn_singles_write(sweep, &singles, plan, grad);', 'same_bits'),
    ('mean-of-means', 'accumulated micro-batches are a mean of means '
     '(trl#2175)', 'losses/batch.c',
     'default: batch->divisor = spec->divisor_value; break;',
     'default: batch->divisor = (double)batch->tokens; break;',
     'properties'),
    ('out-of-shard', 'a label beyond the vocabulary gives a plausible loss '
     '(ml-cross-entropy#59)', 'api/check.c', 'if (y >= lay->vocab_total &&',
     'if (y > lay->vocab_total &&', 'errors'),
    ('shard-label', 'a label of another slice counts in this one '
     '(ml-cross-entropy#59)', 'rows/forward.c',
     'const int here = at >= 0 && at < n;',
     'const int here = input->label >= 0 && at < n;', 'slices'),
    ('ignored-read', 'an ignored row is read, and its -inf gives NaN '
     '(flash-attention#1930)', 'rows/sweep.c', 'if (input.label < 0) '
     'bn_row_init(row, job->sweep.layout, input.label); else', '', 'wide'),
    ('log1p', 'log(1 - e^x) by one formula loses digits near 0 (trl#1473)',
     'losses/real.h',
     'return x > -BN_R_LN2 ? BN_R_LOG(-BN_R_EXPM1(x)) : '
     'BN_R_LOG1P(-BN_R_EXP(x));', 'return BN_R_LOG1P(-BN_R_EXP(x));',
     'oracle'),
    ('two-copies', 'value and slope drift apart: one forgets flip (trl#7062)',
     'losses/logistic.h',
     '*du = flip * bn_sigmoid(u) - (1 - flip) * bn_sigmoid(-u);',
     '*du = -bn_sigmoid(-u);', 'fuzz_loss'),
    ('masked-softmax', 'a masked row gets the softmax for a gradient '
     "(ggml's backward)", 'rows/backward.c',
     'if (row->flags & BNFLOSS_ROW_IGNORED || d == 0) { plan->fill = 0;',
     'if (d == 0) { plan->fill = 0;', 'edges'),
    ('max-starts-low', 'the running maximum starts at -10000 (llm.c)',
     'kernels/sums.c', 'sums->leader_z = -BN_INF_F32;',
     'sums->leader_z = -10000;', 'oracle'),
    ('nan-slips', 'a NaN off the label gives a finite loss', 'kernels/sums.c',
     'if (bn_is_nan(sums->total_sum)) row->flags |= BNFLOSS_ROW_NAN;', '',
     'edges'),
    ('bf16-naive', 'bf16 by cutting bits destroys NaN', 'kernels/convert.c',
     'if (x != x) return 0x7FC0;', '', 'kernels'),
    ('f16-overflow', 'an f16 gradient that overflows is clamped, and a loss '
     'scaler sees nothing', 'kernels/convert.c',
     'return (uint16_t)(sign | 0x7C00);', 'return (uint16_t)(sign | 0x7BFF);',
     'kernels'),
    ('unknown-bytes', 'bytes of a newer struct are ignored', 'api/check.c',
     'if (bytes[i] != 0) return BNFLOSS_E_STRUCT;', ';', 'errors'),
    ('written-early', 'an error is found after something was written',
     'api/stages.c', 'BN_TRY(bn_check_forward(a, &call, &r->where));',
     'if (a->state_out) a->state_out->leader = 0; '
     'BN_TRY(bn_check_forward(a, &call, &r->where));', 'errors'),
    ('canonical', 'any NaN is written, not the canonical one',
     'core.h', 'return x == x ? (float)x : BN_NAN_F32;', 'return (float)x;',
     'fuzz_loss'),
    ('accumulate-ignored', 'an ignored row is cleared while accumulating',
     'rows/backward.c',
     'if (!(lay->flags & BNFLOSS_ACCUMULATE) || plan->fill != 0)', '',
     'edges'),
    ('caller-rounding', "the caller's rounding mode is believed",
     'fenv.c', '_mm_setcsr(0x1F80);', '', 'environment'),
    ('wrong-kernel', 'the self-test lets a wrong kernel pass',
     'kernels/exp.h', '#define BN_C2 0x1.000a42p-1f',
     '#define BN_C2 0x1.000a4ap-1f', 'selftest'),
    ('kto-sign', 'the sign of an undesirable response (an unpaired loss)',
     'losses/sequence_loss.h',
     '*dl = -side * weight * params->beta * bn_bell(u);',
     '*dl = -weight * params->beta * bn_bell(u);', 'fuzz_loss'),
]

TOOL = ['gcc', '-O1', '-w', '-fopenmp', '-DBNFLOSS_OPENMP']


def planted(text, old, new):
    """A text with a trap in it, and what is wrong with the trap."""
    places = places_of(text, old)
    if len(places) != 1:
        return text, f'is {len(places)} times in its file: {old}'
    (start, end), = places
    return text[:start] + new + text[end:], ''


def build(tree, name, program):
    """None, or what the compiler said."""
    lib, said = archive(TOOL, tree, tree)
    if not lib:
        return said
    r = subprocess.run([*TOOL, f'-DBNFLOSS_TEST_DIR="{tree}/tests"',
                        f'-DTARGET="{name}.c"', f'-I{tree}/include',
                        test_source(name, tree), lib, '-o', program, '-lm',
                        '-lquadmath'], stdout=subprocess.PIPE,
                       stderr=subprocess.STDOUT, text=True)
    return r.stdout if r.returncode else None


def passes(tree, name):
    """True, False, or None where it does not build; and its first words."""
    program = os.path.join(tree, 'program')
    said = build(tree, name, program)
    if said is not None:
        return None, said.strip()[:300]
    try:
        r = subprocess.run([program], stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=900,
                           errors='replace',
                           env={**os.environ, 'OMP_WAIT_POLICY': 'passive'})
    except subprocess.TimeoutExpired:
        return False, 'hangs'
    said = [x for x in r.stdout.split('\n')
            if re.search(r'\.[ch]:\d+: ', x)] + r.stdout.strip().split('\n')
    return r.returncode == 0, said[0].replace(tree + '/', '')[:90] \
        or f'exit code {r.returncode}'


def main():
    os.nice(19 - os.nice(0))
    wanted = [t for t in TRAPS if len(sys.argv) == 1 or t[0] in sys.argv[1:]]
    base = '/dev/shm' if os.path.isdir('/dev/shm') else None
    tree = tempfile.mkdtemp(dir=base)
    sound, caught, wrong, stale = {}, 0, 0, []
    try:
        for part in ('src', 'include', 'tests'):
            shutil.copytree(f'{ROOT}/{part}', f'{tree}/{part}')
        for name, what, file, old, new, test in wanted:
            if test not in sound:
                sound[test] = passes(tree, test)
            if not sound[test][0]:
                wrong += 1
                print(f'{name}: {test} fails without it: {sound[test][1]}')
                continue
            path, text = f'{tree}/src/{file}', read(f'src/{file}', tree)
            changed, said = planted(text, old, new)
            if said:
                wrong += 1
                stale.append(name)
                print(f'{name}: {said}', flush=True)
                continue
            with open(path, 'w') as f:
                f.write(changed)
            ok, said = passes(tree, test)
            with open(path, 'w') as f:
                f.write(text)
            if ok is False:
                caught += 1
                print(f'{name}: caught by {test} ({said})', flush=True)
            else:
                wrong += 1
                print(f'{name}: NOT CAUGHT by {test}: {what}'
                      if ok else f'{name}: does not compile: {said}',
                      flush=True)
    finally:
        shutil.rmtree(tree)
    print(f'traps: {caught} of {len(wanted)} caught, {wrong} findings'
          + (f'; no longer apply: {", ".join(stale)}' if stale else ''))
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
