#!/usr/bin/env python3
"""Coverage of src/ by the unit tests: lines, branches and MC/DC.

    tests/proof/cover.py [--keep]

Builds the library with clang-19's source-based coverage (-fcoverage-mcdc),
runs every tests/test_*.c and the fuzz targets' seeds on every instruction set
of this machine and merges what they have seen. What was missed is compared
with uncovered.txt, where each exception has its reason. --keep judges the last
run again, by the text that src/ had then.

Fails on a miss without a reason, on a reason that no longer applies and on a
test that fails. Each use of a macro counts separately. The functions that
headers define for each instruction set are merged by their place in the
source, and each of them must have been called.
"""
import argparse
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter

from common import ROOT, BUILD, all_tests, archive, instruction_sets, \
    source_hash, test_source, threads_of

HERE = os.path.dirname(os.path.abspath(__file__))
FLAGS = ['-g', '-O1', '-fno-fast-math', '-ffp-contract=off', '-w',
         '-I' + ROOT + '/include', f'-DBNFLOSS_TEST_DIR="{ROOT}/tests"']
COVERAGE = ['-fprofile-instr-generate', '-fcoverage-mapping',
            '-fcoverage-mcdc']
# The environments of a test, where one is not enough: without and with limits
# on OpenMP's threads.
RUNS = {'large': [{}, {'OMP_NUM_THREADS': '1', 'OMP_THREAD_LIMIT': '2'}]}


def sh(command, **more):
    """Runs a command and keeps what it says."""
    return subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True,
                          errors='replace', **more)


def build(name, folder, flags, lib):
    """Builds the program of a test. It has counters only if it includes src/.
    Returns whether it was built, and whether it includes src/."""
    program = os.path.join(folder, name)
    with open(test_source(name)) as f:
        inside = re.search(r'# *include "(\.\./)+src/', f.read()) is not None
    made = sh(['clang-19', *FLAGS, *(COVERAGE if inside else []), *flags,
               f'-DTARGET="{name}.c"', '-c', test_source(name), '-o',
               program + '.o'])
    if made.returncode == 0:
        made = sh(['clang-19', '-fprofile-instr-generate', *flags,
                   program + '.o', lib, '-o', program, '-lm', '-lquadmath',
                   '-lpthread'])
    if made.returncode:
        print(f'SKIPPED: {name} does not build with clang-19: '
              + made.stdout.strip().split('\n')[0][:150])
    return made.returncode == 0, inside


def build_and_run(folder):
    """Returns the files that have counters, the library first, and how many
    tests failed."""
    threads = threads_of(folder)
    if not threads:
        print('SKIPPED: several threads: no libomp (apt: libomp-dev)')
    lib, said = archive(['clang-19', *FLAGS, *COVERAGE, *threads], folder)
    if not lib:
        sys.exit(said)
    isas = instruction_sets(['clang-19', '-fprofile-instr-generate', *threads],
                            lib, folder)
    with open(folder + '/instruction_sets.txt', 'w') as f:
        f.write('\n'.join(isas))
    counted, failed = [os.path.join(folder, 'bnfloss.o')], 0
    for name in all_tests() + ['fuzz_run', 'fuzz_loss', 'fuzz_structs']:
        made, inside = build(name, folder, threads, lib)
        for more in RUNS.get(name, [{}]) if made else []:
            # %m: all that run the same program add to one file, children too
            env = {**os.environ, 'KMP_INHERIT_FP_CONTROL': '0',
                   'LLVM_PROFILE_FILE': f'{folder}/{name}-%m.profraw', **more}
            began = time.time()
            r = sh([os.path.join(folder, name)], env=env, cwd=folder)
            last = [x for x in r.stdout.split('\n') if ': ' in x][-1:]
            print(f'{name}: exit {r.returncode}, {"".join(last)}, '
                  f'{time.time() - began:.0f} s', flush=True)
            failed += r.returncode not in (0, 77)
        if made and inside:
            counted.append(os.path.join(folder, name))
    return counted, failed


def export(folder, programs):
    """Merges the profiles; what llvm-cov says about them."""
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
    """The text of src/ at the time of the run. Places in it are lines and
    columns, which a change of a comment would move."""

    def __init__(self):
        self.lines = {}
        self.tree = os.path.join(BUILD, 'coverage')

    def function(self, file, line):
        """The name of the function around a line."""
        self.at(file, 1, 1, 1, 1)
        for text in reversed(self.lines[file][:line]):
            m = re.match(r'[A-Za-z_].*?(\w+)\(', text)
            if m and not text.startswith('#'):
                m = re.search(r'FN\((\w+)\)', text) or m
                return m.group(1)
        return '-'

    def at(self, file, l1, c1, l2, c2):
        if file not in self.lines:
            kept = os.path.join(self.tree, os.path.relpath(file, ROOT))
            with open(kept) as f:
                self.lines[file] = f.read().split('\n')
        x = self.lines[file][l1 - 1:l2]
        if l1 == l2:
            text = x[0][c1 - 1:c2 - 1]
        else:
            text = ' '.join([x[0][c1 - 1:], *x[1:-1], x[-1][:c2 - 1]])
        text = re.sub(r'/\*.*?\*/', ' ', text)
        text = ' '.join(text.split())
        return text if len(text) <= 70 else text[:67] + '...'


def gather(data, isas):
    """Tables of regions, branches and decisions, place -> counts, and one of
    functions, name -> calls. A place is (file, l1, c1, l2, c2, where the macro
    was used). A function that each of the instruction sets has loses their
    names."""
    regions, branches, decisions, functions = {}, {}, {}, {}
    prefix = ROOT + '/src/'
    suffix = re.compile(f'_({"|".join(isas)})$')

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
        short = suffix.sub('', short)
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


def missed_lines(regions):
    """(file, line) of each line of code -> whether it was missed. The regions
    that begin on it decide, or else the innermost one around it."""
    lines = {}
    for p, (count, _) in sorted(regions.items(), key=lambda x: x[0][:3]):
        file, l1, _, l2, _, used = p
        if used:                    # a macro's text has no line of its own
            continue
        for line in range(l1, l2 + 1):
            old = lines.get((file, line))
            if line > l1 or not old or old[0] != 'begins':
                lines[file, line] = ('begins' if line == l1 else 'in',
                                     count == 0)
            else:
                lines[file, line] = ('begins', old[1] and count == 0)
    return {place: missed for place, (_, missed) in lines.items()}


def misses_of(tables):
    """How many entries each table has, and (file, function, kind, text, line,
    table, place) of each that was missed."""
    regions, branches, decisions, functions = tables
    source, found = Source(), []
    of = {'regions': 0, 'branches': 0, 'MC/DC': 0}

    def add(p, name, table, kinds):
        text = source.at(*p[:5])
        if not text:                # what is between two macros
            return
        of[table] += len(kinds)
        if p[5]:                    # in a macro: its use says more
            text = source.at(*p[5]) + ' : ' + text
        file = os.path.relpath(p[5][0] if p[5] else p[0], ROOT)
        for missed, kind in kinds:
            if missed:
                found.append((file, name, kind, text,
                              p[5][1] if p[5] else p[1], table, p))

    for name, count in functions.items():
        if count == 0:
            found.append(('-', name, 'function', 'never called', 0, '', ()))
    for p, (count, name) in regions.items():
        add(p, name, 'regions', [(count == 0, 'region')])
    for p, (t, f, name) in branches.items():
        add(p, name, 'branches', [(t == 0, 'never true'),
                                  (f == 0, 'never false')])
    for p, (seen, name) in decisions.items():
        add(p, source.function(p[0], p[1]), 'MC/DC',
            [(not ok, f'condition {i + 1} not shown to matter')
             for i, ok in enumerate(seen)])
    return of, found


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


def share(of, missed, explained):
    """A share as text: so many of so many, and with those explained."""
    text = f'{100 * (of - missed) / max(of, 1):.2f} % ({of - missed} of {of}'
    if explained:
        text += f', {100 * (of - missed + explained) / max(of, 1):.2f} % ' \
                f'with {explained} explained'
    return text + ')'


def report(tables, failed):
    """Prints misses and shares; how many findings there are."""
    (of, misses), known = misses_of(tables), read_exceptions()
    used, wrong, explained, shown = set(), failed, Counter(), set()
    lines = missed_lines(tables[0])
    missed = Counter(m[5] for m in misses)
    open_lines = set()          # missed, and not explained

    for file, name, kind, text, line, table, p in sorted(misses):
        key = next((k for k in ((file, name, kind, text),
                                (file, '*', kind, text)) if k in known), None)
        if key:
            used.add(key)
            explained[table] += 1
            continue
        if kind == 'region':
            open_lines.update((p[0], n) for n in range(p[1], p[3] + 1)
                              if lines.get((p[0], n)))
        if (file, name, kind, text, line) not in shown:
            shown.add((file, name, kind, text, line))
            wrong += 1
            print(f'missed without a reason: {file}:{line} {name}, {kind}:\n'
                  f'    {text}')
    for key in sorted(set(known) - used):
        wrong += 1
        print('a reason that no longer applies: ' + ' | '.join(key))
    gone = sum(lines.values())
    print('coverage: lines ' + share(len(lines), gone, gone - len(open_lines))
          + ''.join(f', {t} ' + share(of[t], missed[t], explained[t])
                    for t in of)
          + f', {len(used)} reasons, {wrong} findings')
    return wrong


def main():
    """Runs the tests with counters and reports; the exit code."""
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--keep', action='store_true',
                   help='judge the last run again, without running')
    a = p.parse_args()
    folder = os.path.join(BUILD, 'coverage')
    for tool in ('clang-19', 'llvm-cov-19', 'llvm-profdata-19'):
        if not shutil.which(tool):
            print(f'SKIPPED: {tool} is not installed (apt: clang-19 llvm-19)')
            return 77
    if not a.keep and sh(['clang-19', '-fprofile-instr-generate', '-x', 'c',
                          '-', '-o', os.devnull],
                         input='int main(void) { return 0; }').returncode:
        print('SKIPPED: clang-19 has no profiles (apt: libclang-rt-19-dev)')
        return 77
    failed = 0
    if a.keep:
        if source_hash(folder) != source_hash():
            print('STALE: the last run is about another src/')
            return 1
        with open(folder + '/export.json') as f:
            data = json.load(f)['data'][0]
    else:
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        for part in ('src', 'include'):
            shutil.copytree(os.path.join(ROOT, part), f'{folder}/{part}')
        counted, failed = build_and_run(folder)
        data = export(folder, counted)
    with open(folder + '/instruction_sets.txt') as f:
        isas = f.read().split()
    return 1 if report(gather(data, isas), failed) else 0


if __name__ == '__main__':
    sys.exit(main())
