#!/usr/bin/env python3
"""Mutation test: small bugs put into src/, one at a time, to see who notices.

    tests/proof/mutate.py [--minutes M] [--sample N] [--kernels N] [--seed S]

Operators: relations, arithmetic, logic, constants, negated conditions, dropped
statements, swapped arguments. Every mutant of src/losses, src/rows and
src/door, or a seeded sample of them, meets a quick suite until a test
fails; of src/kernels a sample of its own. Outcomes are kept by content in
build-proof/mutation.tsv, so that a run can be stopped and taken up again.

    killed      a test failed, crashed or hung
    bits        the unit tests passed, but a hash of results has changed
    equivalent  the same object code as without it: not counted
    stillborn   does not compile: not counted
    survived    must be in survivors.txt with its reason

Fails on a survivor without a reason, a reason whose line has gone, a reason
whose mutant is killed, and more than 3 % of survivors that only cost speed.
"""
import argparse
import glob
import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import time

from common import ROOT, BUILD, all_tests, source_hash, test_source

HERE = os.path.dirname(os.path.abspath(__file__))
TOKEN = re.compile(
    r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\''
    r'|^[ \t]*#(?:\\\n|[^\n])*'
    r'|0[xX][0-9a-fA-F.]+(?:[pP][+-]?\d+)?[uUlLfF]*'
    r'|\d+\.?\d*(?:[eE][+-]?\d+)?[uUlLfF]*|[A-Za-z_]\w*'
    r'|<<=|>>=|->|\+\+|--|&&|\|\||[-+*/%&|^<>=!]=|<<|>>|[^\s\w]',
    re.S | re.M)
SWAP = {'<': '<=', '<=': '<', '>': '>=', '>=': '>', '==': '!=', '!=': '==',
        '+': '-', '-': '+', '*': '/', '/': '*', '%': '*', '&&': '||',
        '||': '&&', '&': '|', '|': '&', '<<': '>>', '>>': '<<', '+=': '-=',
        '-=': '+=', '*=': '/=', '|=': '&=', '&=': '|=', '++': '--',
        '--': '++'}
KEYWORDS = set('if for while switch return sizeof do else case default '
               'static const typedef struct union enum goto'.split())
SLOW = ('oracle', 'derivatives')    # minutes; kernels' maths, mostly
SEEDS = {'fuzz_loss': 400, 'fuzz_run': 300, 'fuzz_structs': 150}


class Mutant:
    def __init__(self, file, text, start, end, new, operator):
        self.file, self.start, self.end, self.new = file, start, end, new
        self.line = text.count('\n', 0, start) + 1
        first = text.rfind('\n', 0, start) + 1
        last = text.find('\n', max(end - 1, start))
        self.before = ' '.join(text[first:last].split())
        self.after = ' '.join((text[first:start] + new
                               + text[end:last]).split())
        self.operator = operator
        self.key = f'{file}\t{self.before}\t{self.after}'


def tokens_of(text):
    found = []
    for m in TOKEN.finditer(text):
        t = m.group()
        if t.startswith(('/*', '//', '"', "'")) or t.lstrip().startswith('#'):
            continue
        found.append((t, m.start(), m.end()))
    return found


def closing(tokens, i):
    """Index of the bracket that closes the one at i."""
    depth = 0
    for j in range(i, len(tokens)):
        depth += tokens[j][0] in '([{'
        depth -= tokens[j][0] in ')]}'
        if depth == 0:
            return j
    return len(tokens) - 1


def arguments(tokens, i, j):
    """Spans of the arguments between the brackets i and j."""
    spans, depth, start = [], 0, i + 1
    for k in range(i + 1, j + 1):
        t = tokens[k][0]
        if depth == 0 and (t == ',' or k == j):
            if k > start:
                spans.append((tokens[start][1], tokens[k - 1][2]))
            start = k + 1
        depth += t in '([{'
        depth -= t in ')]}'
    return spans


def mutants_of(file, text):
    tokens = tokens_of(text)
    found = []

    def add(start, end, new, operator):
        found.append(Mutant(file, text, start, end, new, operator))

    depth = 0                       # of braces: only functions' insides
    for i, (t, start, end) in enumerate(tokens):
        before = tokens[i - 1][0] if i else ''
        depth += t == '{'
        depth -= t == '}'
        if depth == 0:
            continue
        operand = bool(re.match(r'[\w)\]]', before)) and before not in KEYWORDS
        if t in SWAP and (operand or t in ('++', '--')):
            add(start, end, SWAP[t], 'relation' if t in
                ('<', '<=', '>', '>=', '==', '!=') else 'arithmetic')
        elif t in ('-', '!') and not operand:
            add(start, end, '', 'negation')
        elif re.fullmatch(r'\d+', t):
            add(start, end, str(int(t) + 1), 'constant')
        elif re.match(r'\d', t):
            add(start, end, f'({t} + 1)', 'constant')
        if t in ('if', 'while') and tokens[i + 1][0] == '(':
            j = closing(tokens, i + 1)
            add(tokens[i + 1][1], tokens[j][2],
                '(!' + text[tokens[i + 1][1]:tokens[j][2]] + ')', 'condition')
        if (re.match(r'[A-Za-z_]', t) and t not in KEYWORDS
                and i + 1 < len(tokens) and tokens[i + 1][0] == '('):
            args = arguments(tokens, i + 1, closing(tokens, i + 1))
            for a, b in list(zip(args, args[1:]))[:1]:
                if text[a[0]:a[1]] != text[b[0]:b[1]]:
                    add(a[0], b[1], text[b[0]:b[1]] + ', ' + text[a[0]:a[1]],
                        'arguments')
        if (before in (';', '{', '}', ')', 'else', ':')
                and re.match(r'[A-Za-z_*]', t) and t not in KEYWORDS):
            j, level = i, 0
            while j < len(tokens) and (tokens[j][0] != ';' or level):
                level += tokens[j][0] in '([{'
                level -= tokens[j][0] in ')]}'
                j += 1
            body = text[start:tokens[j][1]] if j < len(tokens) else ''
            if re.search(r'=|\(|\+\+|--|break|continue', body):
                add(start, tokens[j][1], '', 'statement')
    seen, unique = set(), []
    for m in found:
        while m.key in seen:        # the same twice on one line
            m.key += "'"
        seen.add(m.key)
        unique.append(m)
    return unique


# ---- Building and running ---------------------------------------------------

def sh(command, timeout=120, **more):
    return subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=timeout,
                          text=True, errors='replace', **more)


class Suite:
    """The tests as objects, and the library made anew for each mutant."""

    # tcc compiles the library in 30 ms, but has the scalar page alone
    TOOLS = {'tcc': ['tcc'],
             'gcc': ['gcc', '-O1', '-fopenmp', '-DBNFLOSS_OPENMP']}

    def __init__(self, folder, tools):
        self.tree = os.path.join(folder, 'tree')
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        for part in ('src', 'include', 'tests'):
            shutil.copytree(os.path.join(ROOT, part),
                            os.path.join(self.tree, part))
        self.inside = {}            # tests that include src/: built anew
        self.object = {t: self.compile(t)[1] for t in tools}
        self.time, self.hash = {}, {}
        names = self.build_tests()
        self.tests = {t: self.baseline(t, names) for t in tools}

    def compile(self, tool):
        out = os.path.join(self.folder, 'lib.o')
        if os.path.exists(out):
            os.unlink(out)
        r = sh(self.TOOLS[tool] + ['-I' + self.tree + '/include', '-c',
                                   self.tree + '/src/bnfloss.c', '-o', out])
        if r.returncode or not os.path.exists(out):
            return None, r.stdout
        with open(out, 'rb') as f:
            return out, hashlib.sha256(f.read()).hexdigest()

    def build_tests(self):
        common = ['gcc', '-O2', '-fopenmp', '-I' + ROOT + '/include', '-w',
                  f'-DBNFLOSS_TEST_DIR="{ROOT}/tests"', '-DBNFLOSS_OPENMP']
        names = []
        for name in all_tests():
            source = test_source(name)
            with open(source) as f:
                if re.search(r'# *include "../src/', f.read()):
                    if name not in SLOW:
                        self.inside[name] = test_source(name, self.tree)
                        names.append(name)
                    continue
            if sh(common + ['-c', source, '-o',
                            f'{self.folder}/{name}.o']).returncode == 0:
                names.append(name)
        for name in SEEDS:
            sh(common + [f'-DTARGET="{name}.c"', '-c',
                         ROOT + '/tests/fuzz/replay.c', '-o',
                         f'{self.folder}/{name}.o'])
            names.append(name)
        return names

    def run(self, tool, name, lib, limit):
        program = os.path.join(self.folder, name)
        if name in self.inside:
            r = sh([*self.TOOLS[tool], '-w', '-I' + self.tree + '/include',
                    f'-DBNFLOSS_TEST_DIR="{ROOT}/tests"', self.inside[name],
                    '-lm', '-o', program])
        else:
            r = sh(['gcc', '-fopenmp', f'{self.folder}/{name}.o', lib, '-lm',
                    '-o', program])
        if r.returncode:
            return 'link', ''
        command = [program]
        if name in SEEDS:
            command += ['--count', str(SEEDS[name])]
        try:
            r = sh(command, timeout=limit, cwd=self.folder,
                   env={**os.environ, 'OMP_WAIT_POLICY': 'passive'})
        except subprocess.TimeoutExpired:
            return 'hangs', ''
        found = re.search(r'hash (\w+)\s*$', r.stdout)
        return r.returncode, found.group(1) if found else ''

    def baseline(self, tool, names):
        """What passes unmutated, the quickest first; the rest cannot kill."""
        kept, lib = [], self.compile(tool)[0]
        for name in names:
            began = time.time()
            code, value = self.run(tool, name, lib, 120)
            self.time[tool, name] = time.time() - began
            self.hash[name] = value
            if code == 0:
                kept.append(name)
            else:
                print(f'NOT USED with {tool}: {name} fails without a mutant '
                      f'({code})')
        return sorted(kept, key=lambda n: self.time[tool, n])

    def judge(self, mutant, tools):
        path = os.path.join(self.tree, mutant.file)
        with open(path) as f:
            text = f.read()
        try:
            with open(path, 'w') as f:
                f.write(text[:mutant.start] + mutant.new + text[mutant.end:])
            return self.verdict(tools)
        finally:
            with open(path, 'w') as f:
                f.write(text)

    def verdict(self, tools):
        same, bits = True, None
        for tool in tools:          # what survives one meets the next
            lib, what = self.compile(tool)
            if lib is None:
                return 'stillborn', ''
            if what == self.object[tool]:
                continue            # not in this compiler's view of it
            same = False
            for name in self.tests[tool]:
                code, value = self.run(tool, name, lib,
                                       10 * self.time[tool, name] + 5)
                if code:
                    return 'killed', f'{name} ({code})'
                if value != self.hash[name] and name in SEEDS:
                    bits = name
        if same:
            return 'equivalent', ''
        return ('bits', bits) if bits else ('survived', '')


# ---- The lists --------------------------------------------------------------

def read_survivors():
    """key -> reason, from survivors.txt: FILE, BEFORE, AFTER, REASON on lines
    of their own, a blank line between."""
    known = {}
    with open(os.path.join(HERE, 'survivors.txt')) as f:
        for block in f.read().split('\n\n'):
            lines = [x for x in block.strip().split('\n')
                     if x and not x.startswith('#')]
            if lines:
                known['\t'.join(lines[:3])] = ' '.join(lines[3:])
    return known


def sources(kernels):
    patterns = (['kernels/*.[ch]'] if kernels else
                ['losses/*.[ch]', 'rows/*.c', 'door/*.[ch]'])
    files = [f for p in patterns for f in glob.glob(f'{ROOT}/src/{p}')]
    return sorted(os.path.relpath(f, ROOT) for f in files)


def all_mutants(kernels):
    found = []
    for file in sources(kernels):
        with open(os.path.join(ROOT, file)) as f:
            found += mutants_of(file, f.read())
    return found


def check_lists(mutants, outcome, known):
    """The lines that make a run fail."""
    keys = {m.key for m in mutants}
    wrong = []
    for m in mutants:
        if outcome.get(m.key, '').startswith('survived') \
                and m.key not in known:
            wrong.append(f'survivor without a reason: {m.file}:{m.line} '
                         f'[{m.operator}]\n    {m.before}\n    {m.after}')
    for key in known:
        if key not in keys:
            wrong.append('a reason whose line has gone: '
                         + key.replace('\t', '\n    '))
        elif outcome.get(key, 'survived').split('\t')[0] in ('killed', 'bits'):
            wrong.append('a reason whose mutant is killed: '
                         + key.replace('\t', '\n    '))
    return wrong


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--minutes', type=float, default=1e9)
    p.add_argument('--sample', type=int, help='so many of losses, rows, door')
    p.add_argument('--kernels', type=int, default=1000)
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--folder', default='/dev/shm/bnfloss-mutants-%d'
                   % os.getpid())
    a = p.parse_args()

    os.nice(19 - os.nice(0))
    plain, kernel = all_mutants(False), all_mutants(True)
    dice = random.Random(a.seed)
    wanted = plain[:]
    dice.shuffle(wanted)
    wanted = wanted[:a.sample] if a.sample else wanted
    wanted += dice.sample(kernel, min(a.kernels, len(kernel)))
    os.makedirs(BUILD, exist_ok=True)
    log = os.path.join(BUILD, f'mutation-{source_hash()[:12]}.tsv')
    outcome = {}
    if os.path.exists(log):
        for line in open(log):
            key, value = line.rstrip('\n').split('\t\t')
            outcome[key] = value
    known = read_survivors()
    wrong = [w for w in check_lists(plain + kernel, outcome, known)
             if 'line has gone' in w]
    if any(m.key not in outcome for m in wanted):
        tools = ['tcc', 'gcc'] if shutil.which('tcc') else ['gcc']
        suite = Suite(a.folder, tools)
        end = time.time() + 60 * a.minutes
        with open(log, 'a') as f:
            for m in wanted:
                if m.key in outcome:
                    continue
                if time.time() > end:
                    break
                what, who = suite.judge(m, ['gcc'] if '/kernels/' in m.file
                                        else tools)
                outcome[m.key] = f'{what}\t{who}'
                f.write(f'{m.key}\t\t{outcome[m.key]}\n')
                f.flush()
        shutil.rmtree(a.folder, ignore_errors=True)
    report(wanted, outcome, known, wrong)
    return 1 if wrong else 0


def report(wanted, outcome, known, wrong):
    ran = [m for m in wanted if m.key in outcome]
    count, by = {}, {}
    for m in ran:
        what, who = outcome[m.key].split('\t')
        count[what] = count.get(what, 0) + 1
        if what == 'killed':
            name = who.split()[0]
            by[name] = by.get(name, 0) + 1
    survivors = [m for m in ran if outcome[m.key].startswith('survived')]
    speed = sum(known.get(m.key, '').startswith('speed') for m in survivors)
    same = sum(known.get(m.key, '').startswith('equivalent')
               for m in survivors)
    counted = sum(count.get(k, 0) for k in ('killed', 'bits', 'survived'))
    gone = [w for w in wrong if 'has gone' in w]
    wrong[:] = gone + [w for w in check_lists(ran, outcome, {
        k: v for k, v in known.items() if k in {m.key for m in ran}})]
    for w in wrong:
        print(w)
    if counted and speed > 0.03 * counted:
        wrong.append('speed')
        print(f'{speed} of {counted} only cost speed: more than 3 %')
    print('killed by: ' + ', '.join(f'{k} {v}' for k, v in
                                    sorted(by.items(), key=lambda x: -x[1])))
    for file in ('losses', 'rows', 'door', 'kernels'):
        these = [m for m in ran if m.file.startswith('src/' + file)]
        dead = sum(outcome[m.key].split('\t')[0] in ('killed', 'bits')
                   for m in these)
        alive = sum(outcome[m.key].startswith('survived') for m in these)
        if dead + alive:
            print(f'{file}: {dead} of {dead + alive} killed')
    dead = count.get('killed', 0) + count.get('bits', 0)
    score = 100 * dead / max(counted, 1)
    without = 100 * dead / max(counted - same, 1)
    print(f'mutation: {len(ran)} of {len(wanted)} run, {counted} counted, '
          f'{count.get("killed", 0)} killed, {count.get("bits", 0)} by bits '
          f'alone, {len(survivors)} survived ({same} equivalent, {speed} '
          f'speed), score {score:.1f} %, without equivalents {without:.1f} %, '
          f'{count.get("stillborn", 0)} stillborn, '
          f'{count.get("equivalent", 0)} same code')


if __name__ == '__main__':
    sys.exit(main())
