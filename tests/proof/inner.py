#!/usr/bin/env python3
"""Tests of the inner loop: five small bugs in each folder of src/.

    tests/proof/inner.py [FOLDER|NAME..]

Each bug is planted in a copy of the tree. The target of its folder,
check_losses, check_rows, check_api or check_kernels, has to pass without it
and to fail with it, and the bug has to compile. A text that is to be replaced
and is not there any more fails too. BUILD_JOBS says how many compilers may run
at a time, two without.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

from common import ROOT

# name, what it is, file in src/, what, by what
TRAPS = [
    ('kto-weight', 'the slope of KTO lacks its weight',
     'losses/sequence_loss.h',
     '*dl = -side * weight * params->beta * bn_bell(u);',
     '*dl = -side * params->beta * bn_bell(u);'),
    ('hinge-sign', 'the slope of a hinge has the wrong sign',
     'losses/piecewise.h', '*du = u >= 1 ? 0 : -1;', '*du = u >= 1 ? 0 : 1;'),
    ('simpo-swapped', 'chosen and rejected are swapped in a margin',
     'losses/margin.h', 'bn_mean_logp(chosen) - bn_mean_logp(rejected);',
     'bn_mean_logp(rejected) - bn_mean_logp(chosen);'),
    ('tail-early', "LD-DPO's tail begins one token early", 'losses/batch.c',
     'k > shorter ? tail : 1;', 'k >= shorter ? tail : 1;'),
    ('rank-pair', 'the gradient of a rank goes to the wrong pair',
     'losses/pairs.c', 'batch->seq + bn_pair_seq(batch, rejected_pair, -1);',
     'batch->seq + bn_pair_seq(batch, chosen_pair, -1);'),

    ('row-stride', 'rows are taken to lie next to each other', 'rows/sweep.c',
     'job->logits, i * lay->logits_stride);',
     'job->logits, i * lay->vocab);'),
    ('chunk-power', "every chunk is scaled by the first chunk's power",
     'rows/pending.c', 'factor->power - saved->power[i];',
     'factor->power - saved->power[0];'),
    ('leader-offset', "the leader's column is not counted from the slice's",
     'rows/backward.c',
     'plan->leader_at = row->leader_id - sweep->layout->vocab_begin;',
     'plan->leader_at = row->leader_id;'),
    ('thread-rest', 'ranges of rows overlap where threads do not divide them',
     'rows/threads.c', 't * each + (t < more ? t : more);', 't * each;'),
    ('smoothing-sign', 'label smoothing pushes the label the wrong way',
     'rows/backward.c', '? 1 - 1 / bn_row_finite(row) : 1);',
     '? 1 + 1 / bn_row_finite(row) : 1);'),

    ('empty-sequence', 'an empty sequence is an error', 'api/check_loss.c',
     'start[s] < start[s - 1]', 'start[s] <= start[s - 1]'),
    ('halves-side', 'the first rejected sequence passes as a chosen one',
     'api/check_loss.c', 'bad |= side[s] != (s < batch->P ? 1 : -1);',
     'bad |= side[s] != (s <= batch->P ? 1 : -1);'),
    ('distance-half', 'half of an array is checked', 'api/arrays.h',
     'BN_IN(distance), 4, BN_PER_SEQUENCE,', 'BN_IN(distance), 4, BN_PER_PAIR,'),
    ('dlogp-overlap', 'an output counts as an input when overlaps are sought',
     'api/loss.c', 'a->dlogp_out, a->rows, 4, BN_WRITE);',
     'a->dlogp_out, a->rows, 4, BN_READ);'),
    ('spec-loss-index', "a loss is left in its neighbour's place",
     'api/loss.c', 'call->out.spec_loss[k] =', 'call->out.spec_loss[k - 1] ='),

    ('nan-above', 'a comparison is false for NaN', 'kernels/scalar.c',
     '#define bn_v_above(a, b) (!((a) <= (b)))',
     '#define bn_v_above(a, b) ((a) > (b))'),
    ('bf16-ties', 'ties are rounded down and not to even',
     'kernels/convert.c', '(bits + 0x7FFF + (bits >> 16 & 1))',
     '(bits + 0x7FFF)'),
    ('widen-offset', 'the upper half is added to the lower one',
     'kernels/avx2.c', '_mm256_add_pd(_mm256_loadu_pd(p + 4), hi)',
     '_mm256_add_pd(_mm256_loadu_pd(p), hi)'),
    ('reference-sign', 'sums are moved away from their new reference',
     'kernels/sums.c', 'const double d = sums->c - c2;',
     'const double d = c2 - sums->c;'),
    ('select-swapped', 'a selection takes the other number',
     'kernels/avx2.c', '_mm256_blendv_ps(b, a, k)',
     '_mm256_blendv_ps(a, b, k)'),
]


def folder_of(trap):
    """losses, rows, api or kernels."""
    return trap[2].split('/')[0]


def check(tree, folder):
    """Runs a folder's target. Returns whether the programs built, the tests
    that failed and what was said."""
    r = subprocess.run(['cmake', '--build', f'{tree}/build', '--target',
                        f'check_{folder}', '--parallel',
                        os.environ.get('BUILD_JOBS', '2')],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, errors='replace')
    tests = re.findall(r'Test\s+#\d+: (\S+) \.+ *(?:\*+(?:Failed|Timeout'
                       r'|Exception)|Subprocess aborted)', r.stdout)
    ran = '% tests passed' in r.stdout
    if r.returncode and ran and not tests:
        tests = ['a test']
    return ran, tests if r.returncode else [], r.stdout


def copy(tree):
    """Copies what git knows of, as it is now, and configures it."""
    names = subprocess.run(['git', 'ls-files', '-z', '-c', '-o',
                            '--exclude-standard'], cwd=ROOT, check=True,
                           stdout=subprocess.PIPE, text=True).stdout
    for name in filter(None, names.split('\0')):
        to = os.path.join(tree, name)
        os.makedirs(os.path.dirname(to), exist_ok=True)
        if os.path.exists(os.path.join(ROOT, name)):
            shutil.copy2(os.path.join(ROOT, name), to)
    subprocess.run(['cmake', '-S', tree, '-B', f'{tree}/build'], check=True,
                   stdout=subprocess.DEVNULL)


def plant(tree, trap, sound):
    """Plants one bug. Returns whether it was caught. sound: folder -> whether
    its target passes without a bug."""
    name, what, file, old, new = trap
    folder, path = folder_of(trap), f'{tree}/src/{file}'
    with open(path, encoding='utf-8') as f:
        text = f.read()
    if folder not in sound:
        ran, failed, said = check(tree, folder)
        sound[folder] = ran and not failed
        if not sound[folder]:
            print(said)
    if not sound[folder]:
        print(f'{name}: check_{folder} fails without it', flush=True)
        return False
    if text.count(old) != 1:
        print(f'{name}: the bug no longer applies, it must be planted anew: '
              f'src/{file} has {text.count(old)} of {old!r}', flush=True)
        return False
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text.replace(old, new))
    ran, failed, said = check(tree, folder)
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)
    if not ran:
        print(f'{name}: does not compile: {said[-600:]}', flush=True)
    elif failed:
        print(f'{name}: caught by {", ".join(failed)}', flush=True)
    else:
        print(f'{name}: NOT CAUGHT by check_{folder}: {what}', flush=True)
    return ran and bool(failed)


def main():
    wanted = [t for t in TRAPS if len(sys.argv) == 1 or t[0] in sys.argv[1:]
              or folder_of(t) in sys.argv[1:]]
    base = '/dev/shm' if os.path.isdir('/dev/shm') else None
    tree, sound, caught = tempfile.mkdtemp(dir=base), {}, 0
    try:
        copy(tree)
        for trap in wanted:
            caught += plant(tree, trap, sound)
    finally:
        shutil.rmtree(tree)
    print(f'inner: {caught} of {len(wanted)} caught')
    return 1 if caught < len(wanted) or not wanted else 0


if __name__ == '__main__':
    sys.exit(main())
