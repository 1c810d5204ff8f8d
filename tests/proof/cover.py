#!/usr/bin/env python3
"""Coverage of src/ by the unit tests: lines, branches and MC/DC.

    tests/proof/cover.py [--keep]

Builds every tests/test_*.c, and the fuzz targets' seeds, with clang-19's
source-based coverage (-fcoverage-mcdc), runs them on every instruction set of
this machine and merges what they have seen. What was missed is compared with
uncovered.txt, where each exception has its reason.

Fails on a miss without a reason and on a reason that no longer applies. Each
use of a macro counts for itself; the functions that row.h and exp.h make for
each instruction set are merged by their place, and must each have been called.
"""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys

from common import ROOT, BUILD, all_tests, archive, test_source, threads_of

HERE = os.path.dirname(os.path.abspath(__file__))
FLAGS = ['-g', '-O1', '-fprofile-instr-generate', '-fcoverage-mapping',
         '-fcoverage-mcdc', '-fno-fast-math', '-ffp-contract=off', '-w',
         '-I' + ROOT + '/include', f'-DBNFLOSS_TEST_DIR="{ROOT}/tests"']


def sh(command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True,
                          errors='replace', **more)


def build_and_run(folder):
    """Programs that were run, and what each said."""
    threads = threads_of(folder)
    if not threads:
        print('SKIPPED: several threads: no libomp (apt: libomp-dev)')
    lib, said = archive(['clang-19', *FLAGS, *threads], folder)
    if not lib:
        sys.exit(said)
    programs = []
    for name in all_tests() + ['fuzz_run', 'fuzz_loss', 'fuzz_structs']:
        program = os.path.join(folder, name)
        r = sh(['clang-19', *FLAGS, *threads, f'-DTARGET="{name}.c"',
                test_source(name), lib, '-o', program, '-lm', '-lquadmath',
                '-lpthread'])
        if r.returncode:
            print(f'SKIPPED: {name} does not build with clang-19: '
                  + r.stdout.strip().split('\n')[0][:150])
            continue
        env = {**os.environ, 'LLVM_PROFILE_FILE': program + '-%p.profraw',
               'KMP_INHERIT_FP_CONTROL': '0'}
        r = sh([program], env=env, cwd=folder)
        last = [x for x in r.stdout.split('\n') if ': ' in x][-1:]
        print(f'{name}: exit {r.returncode}, {"".join(last)}')
        programs.append(program)
    return programs


def export(folder, programs):
    data = os.path.join(folder, 'merged.profdata')
    sh(['llvm-profdata-19', 'merge', '-o', data,
        *glob.glob(folder + '/*.profraw')]).check_returncode()
    objects = []
    for p in programs[1:]:
        objects += ['-object', p]
    out = os.path.join(folder, 'export.json')
    with open(out, 'w') as f:
        subprocess.run(['llvm-cov-19', 'export', programs[0], *objects,
                        '-instr-profile=' + data, '-format=text'],
                       stdout=f, check=True)
    with open(out) as f:
        return json.load(f)['data'][0]


# ---- What was seen ----------------------------------------------------------

class Source:
    """The text of src/, for places in it."""

    def __init__(self):
        self.lines = {}

    def function(self, file, line):
        """The one around a line."""
        self.at(file, 1, 1, 1, 1)
        for text in reversed(self.lines[file][:line]):
            m = re.match(r'[A-Za-z_].*?(\w+)\(', text)
            if m and not text.startswith('#'):
                m = re.search(r'FN\((\w+)\)', text) or m
                return m.group(1)
        return '-'

    def at(self, file, l1, c1, l2, c2):
        if file not in self.lines:
            with open(file) as f:
                self.lines[file] = f.read().split('\n')
        x = self.lines[file][l1 - 1:l2]
        if l1 == l2:
            text = x[0][c1 - 1:c2 - 1]
        else:
            text = ' '.join([x[0][c1 - 1:], *x[1:-1], x[-1][:c2 - 1]])
        text = ' '.join(text.split())
        return text if len(text) <= 70 else text[:67] + '...'


def gather(data):
    """Three tables, place -> what was seen there: a place is (file, l1, c1,
    l2, c2, where the macro was used)."""
    regions, branches, decisions, functions = {}, {}, {}, {}
    prefix = ROOT + '/src/'

    for fn in data['functions']:
        names = fn['filenames']
        if not names[0].startswith(prefix):
            continue                # a test's own
        short = fn['name'].split(':')[-1]
        used = {}                   # file id of a macro -> where it was used
        for r in fn['regions']:
            if r[7] == 1:
                used[r[6]] = (r[5], r[0], r[1], r[2], r[3])

        def place(file_id, where, used=used, names=names):
            outer = ()
            if file_id in used:
                u = used[file_id]
                outer = (names[u[0]], *u[1:])
                if u[0] in used:    # a macro within a macro: the outermost
                    v = used[u[0]]
                    outer = (names[v[0]], *v[1:])
            return (names[file_id], *where, outer)

        functions[short] = functions.get(short, 0) + fn['count']
        short = re.sub(r'_(scalar|avx2|avx512|neon)$', '', short)
        for r in fn['regions']:
            if r[7] == 0 and names[r[5]].startswith(prefix):
                p = place(r[5], r[0:4])
                regions[p] = regions.get(p, (0, short))
                regions[p] = (regions[p][0] + r[4], short)
        for r in fn['branches']:
            if names[r[6]].startswith(prefix):
                p = place(r[6], r[0:4])
                t, f, _ = branches.get(p, (0, 0, short))
                branches[p] = (t + r[4], f + r[5], short)
    for file in data['files']:      # these records do not name their function
        for r in file.get('mcdc_records', []):
            if file['filename'].startswith(prefix):
                p = (file['filename'], *r[0:4], ())
                old = decisions.get(p, ([False] * len(r[-1]), ''))[0]
                decisions[p] = ([a or b for a, b in zip(old, r[-1])], '')
    return regions, branches, decisions, functions


def misses_of(tables):
    """(file, function, kind, text, line) of everything that was missed."""
    regions, branches, decisions, functions = tables
    source, found = Source(), []

    def add(p, name, kind):
        text = source.at(*p[:5])
        if not text:                # what is between two macros
            return
        if p[5]:                    # in a macro: its use says more
            text = source.at(*p[5]) + ' : ' + text
        file = os.path.relpath(p[5][0] if p[5] else p[0], ROOT)
        found.append((file, name, kind, text, p[5][1] if p[5] else p[1]))

    for name, count in functions.items():
        if count == 0:
            found.append(('-', name, 'function', 'never called', 0))
    for p, (count, name) in regions.items():
        if count == 0:
            add(p, name, 'region')
    for p, (t, f, name) in branches.items():
        if t == 0:
            add(p, name, 'never true')
        if f == 0:
            add(p, name, 'never false')
    for p, (seen, name) in decisions.items():
        for i, ok in enumerate(seen):
            if not ok:
                add(p, source.function(p[0], p[1]),
                    f'condition {i + 1} not shown to matter')
    return found


def read_exceptions():
    """key -> reason: FILE, FUNCTION, KIND, TEXT, REASON on lines of their own,
    blocks between blank lines. Several kinds are separated by commas; the
    function * is any."""
    known = {}
    path = os.path.join(HERE, 'uncovered.txt')
    for block in open(path).read().split('\n\n'):
        lines = [x for x in block.strip().split('\n')
                 if x and not x.startswith('#')]
        if lines:
            for kind in lines[2].split(', '):
                known[lines[0], lines[1], kind, lines[3]] = ' '.join(lines[4:])
    return known


def share(seen, of):
    return f'{100 * seen / max(of, 1):.2f} % ({seen} of {of})'


def report(tables, misses):
    regions, branches, decisions, _ = tables
    known = read_exceptions()
    used, wrong = set(), 0

    for file, name, kind, text, line in sorted(set(misses)):
        key = next((k for k in ((file, name, kind, text),
                                (file, '*', kind, text)) if k in known), None)
        if key:
            used.add(key)
            continue
        wrong += 1
        print(f'missed without a reason: {file}:{line} {name}, {kind}:\n'
              f'    {text}')
    for key in sorted(set(known) - used):
        wrong += 1
        print('a reason that no longer applies: ' + ' | '.join(key))
    conditions = [ok for seen, _ in decisions.values() for ok in seen]
    sides = [x > 0 for t, f, _ in branches.values() for x in (t, f)]
    print('coverage: regions '
          + share(sum(c > 0 for c, _ in regions.values()), len(regions))
          + ', branches ' + share(sum(sides), len(sides))
          + ', MC/DC ' + share(sum(conditions), len(conditions))
          + f', {len(used)} explained, {wrong} findings')
    return wrong


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--keep', action='store_true',
                   help='judge the last run again, without running')
    a = p.parse_args()
    folder = os.path.join(BUILD, 'coverage')
    for tool in ('clang-19', 'llvm-cov-19', 'llvm-profdata-19'):
        if not shutil.which(tool):
            print(f'SKIPPED: {tool} is not installed (apt: clang-19 llvm-19)')
            return 77
    if a.keep:
        with open(folder + '/export.json') as f:
            data = json.load(f)['data'][0]
    else:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        data = export(folder, build_and_run(folder))
    tables = gather(data)
    return 1 if report(tables, misses_of(tables)) else 0


if __name__ == '__main__':
    sys.exit(main())
