#!/usr/bin/env python3
"""Mutation test: small bugs put into src/, one at a time, to see who notices.

    tests/proof/mutate.py [--minutes M] [--all | --sample N --kernels K]
                          [--seed S] [--listed] [--files PART] [--keep]

Operators: relations, arithmetic, logic, constants, negated conditions, dropped
statements, swapped arguments. A seeded sample of the mutants of src/losses,
src/rows and src/door, and one of src/kernels, meets the tests until one fails.
Outcomes are kept in build-proof/mutation.tsv, so that a run can be stopped and
taken up again, and by --keep in mutants.txt, from where another clone takes
them up. One stands while the mutant's own file is as it was; but a sample is
always of src/ as it is. What killed one before goes first.

    killed      a test failed, crashed or hung
    bits        no test failed, but the hash of a fuzz target's results changed
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
import re
import resource
import shutil
import signal
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
SYMMETRIC = ('bn_same_text', 'bn_most', 'bn_times')
# Minutes, of the kernels' maths; and of formulas that batches has as well.
SLOW = ('oracle', 'derivatives')
SAMPLE, KERNELS = 150, 20           # about a quarter of an hour of a core
MORE = {'batches': ['--quick']}
THREADED = 'environment', 'scratch'
# Tests that are about a part: the others' mutants would die there by luck.
LOW = 'src/kernels/', 'src/rows/'
ABOUT = {'maths': 'src/losses/', 'cpu': 'src/kernels/cpu.c',
         'kernels': LOW, 'fused': LOW, 'shapes': LOW,
         'slices': (*LOW, 'src/door/')}
FIRST = ('golden fuzz_structs fuzz_loss api fuzz_run properties gaps selftest '
         'kernels family_edges guard edges batches').split()
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

    depth = top = 0                 # of braces: only functions' insides
    for i, (t, start, end) in enumerate(tokens):
        before = tokens[i - 1][0] if i else ''
        if depth == 0:
            top = i                 # where its function begins
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
                and t not in SYMMETRIC and i + 1 < len(tokens)
                and tokens[i + 1][0] == '('):
            args = arguments(tokens, i + 1, closing(tokens, i + 1))
            for a, b in list(zip(args, args[1:]))[:1]:
                if text[a[0]:a[1]] != text[b[0]:b[1]]:
                    add(a[0], b[1], text[b[0]:b[1]] + ', ' + text[a[0]:a[1]],
                        'arguments')
        level = sum((u in '([') - (u in ')]') for u, _, _ in tokens[top:i])
        if (level == 0 and before in (';', '{', '}', ')', 'else')
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

def sh(command, timeout=1200, **more):    # of a machine with other work
    return subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=timeout,
                          text=True, errors='replace', **more)


def seconds():
    """Of CPU time, that the programs run so far have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


class Suite:
    """The tests as objects, and the library made anew for each mutant."""

    # The cheapest first, and what survives one meets the next. tcc compiles
    # the library in 10 ms; gcc in 1 s, and its kernels' pages in 10 more: those
    # that the mutant cannot change are linked as they were, what is not of
    # rows or kernels meets the scalar one alone, and kernels all at once.
    GCC = ['gcc', '-fopenmp', '-DBNFLOSS_OPENMP']
    TOOLS = {'tcc': ['tcc'], 'scalar': [*GCC, '-O1', '-DONLY_scalar'],
             'gcc': [*GCC, '-O2']}
    QUICK = 0.5                     # seconds: more is not worth it with tcc

    def __init__(self, folder):
        self.tree = os.path.join(folder, 'tree')
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        for part in ('src', 'include', 'tests'):
            shutil.copytree(os.path.join(ROOT, part),
                            os.path.join(self.tree, part))
        self.tools = [t for t in self.TOOLS
                      if shutil.which(self.TOOLS[t][0])]
        self.object, self.time, self.hash = {}, {}, {}
        self.met, self.kills = {}, {}
        shutil.copy(self.compile('gcc')[0], folder + '/gcc.o')
        self.pages = self.keep_pages()
        for tool in self.tools:     # a copy that stays
            shutil.copy(self.compile(tool, 'src/losses/')[0],
                        f'{folder}/{tool}.o')
        self.reads, self.links = {}, {}
        self.names = self.build_tests()

    def keep_pages(self):
        """The names of the kernels' pages; an object of theirs with nothing
        else to be seen of it; and a library that can do without them."""
        names = re.findall(r' bn_kernels_(scalar|avx2|avx512|avx512bf16|neon)$',
                           sh(['nm', self.folder + '/gcc.o']).stdout, re.M)
        made = self.folder + '/gcc.o'
        for how in ('globalize', 'keep-global'):
            sh(['objcopy', *(f'--{how}-symbol=bn_kernels_{n}' for n in names),
                made, self.folder + '/pages.o'], check=True)
            made = self.folder + '/pages.o'
        path = self.tree + '/src/bnfloss.c'
        with open(path) as f:
            text = f.read()
        for n in names:
            page = f'#include "kernels/{n}.c"'
            text = text.replace(page, f'''
#if !defined(NO_{n})
{page}
#elif {int(n == 'scalar')} || !defined(ONLY_scalar)
#define BN_HAVE_{n.upper()}
extern const bn_kernels bn_kernels_{n};
#endif''')
        with open(path, 'w') as f:
            f.write(text)
        return names

    def pages_of(self, file):
        """The pages that a mutant of this file can change."""
        page = os.path.basename(file)[:-2]
        if '/kernels/' not in file or page in ('cpu', 'neon'):
            return []
        return [page] if page in self.pages else self.pages

    def without(self, tool, file):
        """Flags that leave out what it cannot, or the tool has not."""
        return [f'-DNO_{n}' for n in self.pages if tool != 'tcc'
                and (n not in self.pages_of(file)
                     or (tool == 'scalar' and n != 'scalar'))]

    def compile(self, tool, file=None):
        """The library as one object, with what a mutant of this file can
        change compiled anew, and the hash of that; None if it does not."""
        made, lib = self.folder + '/made.o', self.folder + '/lib.o'
        for path in (made, lib):
            if os.path.exists(path):
                os.unlink(path)
        some = self.without(tool, file) if file else []
        r = sh([*self.TOOLS[tool], *some, '-w', '-I' + self.tree + '/include',
                '-c', self.tree + '/src/bnfloss.c', '-o', made])
        if r.returncode or not os.path.exists(made):
            return None, r.stdout
        with open(made, 'rb') as f:
            h = hashlib.sha256(f.read()).hexdigest()
        if some:
            sh(['ld', '-r', made, self.folder + '/pages.o', '-o', lib])
        else:
            os.rename(made, lib)
        return lib, h

    def unchanged(self, tool, file):
        """The hash without a mutant; to be asked for before there is one."""
        key = (tool, *self.pages_of(file))
        if key not in self.object:
            self.object[key] = self.compile(tool, file)[1]
        return self.object[key]

    def flags(self):
        return ['-w', '-I' + self.tree + '/include',
                f'-DBNFLOSS_TEST_DIR="{ROOT}/tests"']

    def build_tests(self):
        """Objects of the tests; what each reads of src/, and whether it wants
        the library as well: one that does not is built anew each time."""
        names = []
        for name in all_tests() + list(SEEDS):
            if name in SLOW:
                continue
            source, out = test_source(name, self.tree), f'{name}.o'
            more = [f'-DTARGET="{name}.c"'] if name in SEEDS else []
            reads = sh(['gcc', '-MM', *self.flags(), *more, source]).stdout
            self.reads[name] = set(re.findall(r'/(src/\S+)', reads))
            # all of it: built anew each time, without the library
            self.links[name] = 'src/door/loss.c' not in self.reads[name]
            if self.links[name] and not self.build_test(
                    name, [*self.flags(), *more, source], reads, out):
                print(f'NOT USED: {name} does not compile')
                continue
            names.append(name)
        return names

    def build_test(self, name, what, reads, out):
        """The object of a test; kept in build-proof/ by what it is made of,
        and by where the tests are, which it knows."""
        h = hashlib.sha256(ROOT.encode())
        for path in re.findall(r'/\S+', reads):
            with open(path, 'rb') as f:
                h.update(f.read())
        kept = f'{BUILD}/objects/{name}-{h.hexdigest()[:12]}.o'
        if not os.path.exists(kept):
            os.makedirs(BUILD + '/objects', exist_ok=True)
            if sh(['gcc', '-O2', '-fopenmp', '-DBNFLOSS_OPENMP', *what, '-c',
                   '-o', f'{kept}.{os.getpid()}']).returncode:
                return False
            os.rename(f'{kept}.{os.getpid()}', kept)
        shutil.copy(kept, os.path.join(self.folder, out))
        return True

    def run(self, tool, name, lib, limit, file, tree):
        """A test with a library; built anew if it reads the file itself."""
        program = os.path.join(self.folder, name)
        if file in self.reads[name] or not self.links[name]:
            own = 'gcc' if self.links[name] else tool
            some = self.without(own, file) \
                if 'src/bnfloss.c' in self.reads[name] else []
            # whose -O2 the others have met: half the time for one test
            quick = [] if own == 'tcc' else ['-O1']
            r = sh([*self.TOOLS[own], *quick, *self.flags(), *some,
                    test_source(name, tree)]
                   + ([lib] if self.links[name] else [])
                   + ([self.folder + '/pages.o'] if some else [])
                   + ['-lm', '-o', program]
                   + ([] if own == 'tcc' else ['-lquadmath']))
        else:
            r = sh(['gcc', '-fopenmp', f'{self.folder}/{name}.o', lib, '-lm',
                    '-lquadmath', '-o', program])
        if r.returncode:
            return 'link', '', 0
        command = [program, *MORE.get(name, [])]
        if name in SEEDS:
            command += ['--count', str(SEEDS[name])]
        began, most = seconds(), int(limit) + 1     # of CPU time
        try:
            r = sh(command, timeout=20 * most, cwd=self.folder,
                   env={**os.environ, 'OMP_WAIT_POLICY': 'passive'},
                   preexec_fn=lambda: resource.setrlimit(
                       resource.RLIMIT_CPU, (most, most)))
        except subprocess.TimeoutExpired:
            return 'hangs', '', 0
        if r.returncode in (-signal.SIGXCPU, -signal.SIGKILL):
            return 'hangs', '', 0
        found = re.search(r'hash (\w+)\s*$', r.stdout)
        return (r.returncode, found.group(1) if found else '',
                seconds() - began)

    def used(self, tool, name):
        """Whether the test passes unmutated: tried when first asked. One that
        fails, or skips all (77), cannot kill; with tcc nor can a slow one."""
        key = tool, name
        if key not in self.time:
            code, self.hash[key], spent = self.run(
                tool, name, f'{self.folder}/{tool}.o',
                self.QUICK if tool == 'tcc' else 120, '', ROOT)
            self.time[key] = spent if code == 0 else None
            if code and tool == 'gcc':
                print(f'NOT USED: {name} fails without a mutant ({code})')
        return self.time[key] is not None

    def tools_for(self, file):
        """Those that its mutants meet."""
        unwanted = 'scalar' if '/kernels/' in file else \
            '' if '/rows/' in file else 'gcc'
        return [t for t in self.tools if t != unwanted]

    def steps(self, tool, file):
        """The tests that a mutant of this file meets with this tool, those
        first that have killed most a second so far."""
        pages = 'gcc' in self.tools_for(file)
        room = os.path.dirname(file)
        before = self.tools[:self.tools.index(tool)]
        found = []
        for name in self.names:
            if not file.startswith(ABOUT.get(name, 'src/')):
                continue
            if not self.links[name] and file not in self.reads[name]:
                continue
            # what passed with one tool would pass with the next, but the
            # pages, and threads, which tcc has not
            if tool == 'scalar' and any(
                    self.time.get((t, name)) for t in before) \
                    and name not in THREADED:
                continue
            if tool == 'scalar' and pages and not self.links[name]:
                continue
            found.append(name)

        def worth(name):
            k = [self.kills.get((tool, name, x), 0) for x in (file, room)]
            n = [self.met.get((tool, name, x), 0) for x in (file, room)]
            broad = (k[1] + 0.5) / (n[1] + 1)
            cost = self.time.get((tool, name)) or (
                FIRST.index(name) / 4 + 0.1 if name in FIRST else 9)
            if file in self.reads[name] or not self.links[name]:
                cost += 4
            return -(k[0] + 2 * broad) / (n[0] + 2) / cost
        return sorted(found, key=worth)

    def judge(self, mutant, hint):
        path = os.path.join(self.tree, mutant.file)
        with open(path) as f:
            text = f.read()
        for tool in self.tools:
            self.unchanged(tool, mutant.file)
        try:
            with open(path, 'w') as f:
                f.write(text[:mutant.start] + mutant.new + text[mutant.end:])
            return self.verdict(mutant.file, hint)
        finally:
            with open(path, 'w') as f:
                f.write(text)

    def meets(self, file, tool, name, lib):
        """The mutant meets a test: None, or how it is seen."""
        if not self.used(tool, name):
            return None
        code, value, _ = self.run(tool, name, lib, 4 * self.time[tool, name] + 1,
                               file, self.tree)
        for place in (file, os.path.dirname(file)):
            key = tool, name, place
            self.met[key] = self.met.get(key, 0) + 1
            self.kills[key] = self.kills.get(key, 0) + (code != 0)
        if code:
            return 'killed', f'{name} {tool} ({code})'
        if value != self.hash[tool, name] and name in SEEDS:
            return 'bits', name
        return None

    def verdict(self, file, hint):
        """hint: the test and tool that killed it when src/ was another."""
        bits, different = None, []
        tools = self.tools_for(file)
        if hint and hint[1] in tools and hint[0] in self.names:
            lib, what = self.compile(hint[1], file)
            seen = lib and what != self.unchanged(hint[1], file) \
                and self.meets(file, hint[1], hint[0], lib)
            if seen and seen[0] == 'killed':
                return seen
        for tool in tools:
            lib, what = self.compile(tool, file)
            if lib is None:
                return 'stillborn', ''
            different.append(what != self.unchanged(tool, file))
            if not different[-1]:
                continue            # not in this compiler's view of it
            for name in self.steps(tool, file):
                seen = self.meets(file, tool, name, lib)
                if seen and seen[0] == 'killed':
                    return seen
                bits = seen or bits
        # what gcc makes nothing of does nothing, whatever tcc makes of it
        if not any(different[1:] or different):
            return 'equivalent', ''
        return bits or ('survived', '')


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


def tests_hash():
    """Of the tests: a survivor of other ones is tried again."""
    h = hashlib.sha256()
    for f in sorted(glob.glob(f'{ROOT}/tests/*.[ch]')
                    + glob.glob(f'{ROOT}/tests/fuzz/*.[ch]')
                    + glob.glob(f'{ROOT}/tests/proof/*.[ch]')):
        with open(f, 'rb') as content:
            h.update(content.read())
    return h.hexdigest()[:12]


def state_of(file):
    """What an outcome of a mutant of this file is about."""
    with open(os.path.join(ROOT, file), 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()[:8]


LOG = BUILD + '/mutation.tsv'
KEPT = os.path.join(HERE, 'mutants.txt')


def read_log():
    """(key, outcome, state of its file, hash of src/) of all that have run."""
    if not os.path.exists(LOG):
        return []
    found = []
    with open(LOG) as f:
        for line in f:
            first, state, src = line.rstrip('\n').rsplit('\t\t', 2)
            found.append((*first.split('\t\t', 1), state, src))
    return found


def name_of(key):
    return hashlib.sha256(key.encode()).hexdigest()[:10]


def write_groups(f, outcome):
    groups = {}
    for key, value in outcome.items():
        words = value.split()
        what = ' '.join(words[:{'killed': 3, 'bits': 2}.get(words[0], 1)])
        groups.setdefault(what, []).append(name_of(key))
    for what, names in sorted(groups.items()):
        f.write(f'\n{what}: {len(names)}\n')
        names.sort()
        for i in range(0, len(names), 7):
            f.write(' '.join(names[i:i + 7]) + '\n')


def keep(outcome, killers, states):
    """Writes mutants.txt: those of each outcome, and what killed others."""
    with open(KEPT, 'w') as f:
        f.write('# What became of the mutants of these states of files, by '
                'their names\n# (name_of() in mutate.py), and what killed '
                'others when theirs was another.\n'
                '# Written by tests/proof/mutate.py --keep.\n\n')
        for file, state in sorted(states.items()):
            f.write(f'{file} {state}\n')
        write_groups(f, outcome)
        f.write('\nolder\n')
        write_groups(f, {key: 'killed\t' + ' '.join(who)
                         for key, who in killers.items()
                         if key not in outcome})


def read_kept(mutants):
    """(key, outcome, state of its file) of those that mutants.txt names."""
    found, what, states, older = [], '', {}, False
    by_name = {name_of(m.key): m for m in mutants}
    if os.path.exists(KEPT):
        with open(KEPT) as f:
            for line in f:
                if line.startswith('src/'):
                    file, states[file] = line.split()
                elif line == 'older\n':
                    older = True
                elif ':' in line:
                    what = line.split(':')[0].replace(' ', '\t', 1)
                    what += '' if '\t' in what else '\t'
                elif not line.startswith('#'):
                    for name in set(line.split()) & set(by_name):
                        m = by_name[name]
                        found.append((m.key, what, '' if older
                                      else states.get(m.file, '')))
    return found


def what_is_known(mutants, known):
    """key -> outcome, of mutants whose file is as it was; the keys of those
    that ran with all of src/ as it is; key -> (test, tool) that killed it in
    whatever state. A survivor stands only where it met these tests, or has its
    reason anyway."""
    states = {m.key: state_of(m.file) for m in mutants}
    outcome, here, killers = {}, set(), {}
    tests, src = tests_hash(), source_hash()
    for key, value, state, *of in [*read_kept(mutants), *read_log()]:
        words = value.split()
        if words[0] == 'killed' and len(words) > 2:
            killers[key] = words[1], words[2]
        if states.get(key) != state or (
                words[0] in ('survived', 'bits') and key not in known
                and words[-1] != tests):
            continue
        outcome[key] = value
        if of == [src]:
            here.add(key)
    return outcome, here, killers


def sample_of(mutants, count, seed):
    """A sample that is most of the same when the code has changed a little:
    by the hash of each mutant, not by its place."""
    def dice(m):
        return hashlib.sha256(f'{seed}\t{m.key}'.encode()).hexdigest()
    return sorted(mutants, key=dice)[:count]


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--minutes', type=float, default=1e9)
    p.add_argument('--all', action='store_true',
                   help='every mutant of losses, rows, door; 1000 of kernels')
    p.add_argument('--sample', type=int, default=SAMPLE,
                   help=f'so many of losses, rows, door: {SAMPLE}')
    p.add_argument('--kernels', type=int, default=KERNELS,
                   help=f'so many of kernels: {KERNELS}')
    p.add_argument('--listed', action='store_true',
                   help='those of survivors.txt as well')
    p.add_argument('--files', default='', help='only those with this in them')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--keep', action='store_true',
                   help='write what is known into mutants.txt')
    p.add_argument('--folder', default='/dev/shm/bnfloss-mutants-%d'
                   % os.getpid())
    a = p.parse_args()

    os.nice(19 - os.nice(0))
    plain, kernel = all_mutants(False), all_mutants(True)
    known = read_survivors()
    wanted = sample_of([m for m in plain if a.files in m.file],
                       len(plain) if a.all else a.sample, a.seed)
    wanted += sample_of([m for m in kernel if a.files in m.file],
                        1000 if a.all else a.kernels, a.seed)
    if a.listed:
        drawn = {m.key for m in wanted}
        wanted += [m for m in plain + kernel
                   if m.key in known and m.key not in drawn]
    print(f'{len(wanted)} of {len(plain)} mutants of losses, rows, door and '
          f'{len(kernel)} of kernels', flush=True)
    os.makedirs(BUILD, exist_ok=True)
    outcome, here, killers = what_is_known(plain + kernel, known)
    wrong = [w for w in check_lists(plain + kernel, outcome, known)
             if 'line has gone' in w]
    wanted_now = [m for m in wanted
                  if m.key not in (outcome if a.all else here)]
    if wanted_now:
        suite = Suite(a.folder)
        began, done = time.time(), 0
        src, tests = source_hash(), tests_hash()
        with open(LOG, 'a') as f:
            for m in wanted_now:
                if time.time() > began + 60 * a.minutes:
                    break
                what, who = suite.judge(m, killers.get(m.key))
                if what in ('survived', 'bits'):
                    who = f'{who} {tests}'.strip()
                done += 1
                outcome[m.key] = f'{what}\t{who}'
                here.add(m.key)
                f.write(f'{m.key}\t\t{outcome[m.key]}\t\t'
                        f'{state_of(m.file)}\t\t{src}\n')
                f.flush()
                if what == 'survived' and m.key not in known:
                    print(f'survived: {m.file}:{m.line}\n    {m.before}\n'
                          f'    {m.after}', flush=True)
        spent = os.times()
        spent = spent.children_user + spent.children_system
        print(f'{60 * done / (time.time() - began):.1f} mutants a minute, '
              f'{spent / max(done, 1):.1f} s of CPU each')
        shutil.rmtree(a.folder, ignore_errors=True)
    if a.keep:
        there = {m.key for m in plain + kernel}
        keep(outcome, {k: v for k, v in killers.items() if k in there},
             {m.file: state_of(m.file) for m in plain + kernel
              if m.key in outcome})
    drawn = {m.key for m in wanted}     # and what has run at another time
    report([m for m in plain + kernel if a.files in m.file
            and (m.key in drawn or m.key in outcome)],
           len(plain + kernel), outcome, here, known, wrong)
    return 1 if wrong else 0


def report(wanted, total, outcome, here, known, wrong):
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
    now = sum(m.key in here for m in ran)
    print(f'mutation: {len(ran)} run of {total} that there are, {now} on this '
          f'src/, the others while their file was as it is, '
          f'{len(wanted) - len(ran)} left, '
          f'{counted} counted, '
          f'{count.get("killed", 0)} killed, {count.get("bits", 0)} by bits '
          f'alone, {len(survivors)} survived ({same} equivalent, {speed} '
          f'speed), score {score:.1f} %, without equivalents {without:.1f} %, '
          f'{count.get("stillborn", 0)} stillborn, '
          f'{count.get("equivalent", 0)} same code')


if __name__ == '__main__':
    sys.exit(main())
