#!/usr/bin/env python3
"""Mutation test: small bugs put into src/, one at a time, to see who notices.

    tests/proof/mutate.py [--minutes M] [--all | --sample N --kernels K]
                          [--seed S] [--listed] [--files PART]

Operators: relations, arithmetic, logic, constants, negated conditions, dropped
statements, swapped arguments. A seeded sample of the mutants of src/ without
its kernels, and one of src/kernels, meets the tests until one fails.

The key of a mutant is its function with the statement before and after, as
tokens. So it stays the same when a comment or the layout changes, when the
function moves and when another function changes.

Outcomes are kept in build-proof/mutation.tsv, so that a run can be stopped and
taken up again. An outcome holds while the tokens of the mutant's own file are
the same; but a sample always runs on src/ as it is. The test that killed a
mutant before goes first.

    killed      a test failed, crashed or hung
    bits        no test failed, but the hash of a fuzz target's results changed
    equivalent  the same object code as without it: not counted
    stillborn   does not compile: not counted
    survived    no test noticed; reported, and not a failure

survivors.txt lists the survivors that cost speed or lack a test. A run fails
if a listed mutant no longer exists or is killed, and if more than 3 % of the
mutants are survivors that cost speed.
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

from common import ROOT, BUILD, all_tests, read, source_files, source_hash, \
    test_source
from ctokens import KEYWORDS, closing, code_of, is_word, name_apart, \
    parts_of, show, spelling

HERE = os.path.dirname(os.path.abspath(__file__))
SWAP = {'<': '<=', '<=': '<', '>': '>=', '>=': '>', '==': '!=', '!=': '==',
        '+': '-', '-': '+', '*': '/', '/': '*', '%': '*', '&&': '||',
        '||': '&&', '&': '|', '|': '&', '<<': '>>', '>>': '<<', '+=': '-=',
        '-=': '+=', '*=': '/=', '|=': '&=', '&=': '|=', '++': '--',
        '--': '++'}
# What may take its first two arguments in either order: the same result, or
# one that differs beside a NaN alone, whose row is one of NaN.
SYMMETRIC = set('bn_same_text bn_max_i64 bn_times bn_fma_slow bn_v_add '
                'bn_v_mul bn_v_max bn_v_min bn_v_fma bn_v_any_equal '
                'bn_u_max_signed bn_u_min_unsigned'.split())
STRICT = {'<': '<=', '<=': '<', '>': '>=', '>=': '>'}
# These take minutes; batches has their formulas as well.
SLOW = ('oracle', 'derivatives')
SAMPLE, KERNELS = 150, 20           # about a quarter of an hour of a core
MORE = {'batches': ['--quick']}
THREADED = 'environment', 'scratch', 'large'
# Tests of one part: how its files begin. Mutants of other parts would die
# there by chance.
LOW = ('src/kernels/', 'src/rows/')
ABOUT = {'maths': ('src/losses/', 'src/math.c'), 'cpu': ('src/kernels/cpu.c',),
         'kernels': LOW, 'fused': LOW, 'shapes': LOW,
         'slices': (*LOW, 'src/api/')}
# Outside kernels/, those whose mutants meet the vectors' kernels as well.
VECTORS = ('src/rows/', 'src/fenv.c')
FIRST = ('golden fuzz_structs fuzz_loss api fuzz_run loss_edges losses weights '
         'shifts rows selftest errors mixes edges kernels guard properties '
         'batches').split()
SEEDS = {'fuzz_loss': 400, 'fuzz_run': 300, 'fuzz_structs': 150}


class Mutant:
    """One change of one part: the text new replaces the tokens i to j."""

    def __init__(self, part, i, j, new, operator):
        self.part, self.i, self.j, self.new = part, i, j, new
        self.file, self.operator = part.file, operator
        self.start, self.end = part.tokens[i].start, part.tokens[j - 1].end
        self.line = part.text.count('\n', 0, self.start) + 1
        first, last = statement_around(part, i, j)
        begin, end = part.tokens[first].start, part.tokens[last - 1].end
        self.before = show(part.words[first:last])
        self.after = show([t.text for t in code_of(
            part.text[begin:self.start] + new + part.text[self.end:end])])
        self.key = f'{part.name}\t{self.before}\t{self.after}'


LONG = 40                   # tokens; a list of more is looked at in pieces


def boundaries(part):
    """Indices at which a statement begins, and those at which an element of a
    list or a list in it does."""
    if hasattr(part, 'begins'):
        return part.begins
    words, kinds, begins, lists = part.words, [], {0}, set()
    level, case = 0, False
    for i, w in enumerate(words):
        if w == '{':
            before = words[i - 1] if i else ''
            kinds.append(before == '=' or bool(kinds and kinds[-1])
                         or 'enum' in words[max(i - 2, 0):i])
            if kinds[-1]:
                lists.add(i + 1)
            else:
                begins.update({i, i + 1})
        elif w == '}' and kinds:
            if kinds.pop():
                lists.add(i)
            else:
                begins.update({i, i + 1})
        elif w == ',' and kinds and kinds[-1] and level == 0:
            lists.update({i, i + 1})
        level += w in ('(', '[')
        level -= w in (')', ']')
        if w == ';' and level == 0:
            begins.add(i + 1)
        elif w in ('else', 'do'):
            begins.update({i, i + 1})
        elif w in ('if', 'while', 'for', 'switch') and level == 0:
            begins.update({i, closing(words, i + 1) + 1})
        elif w in ('case', 'default') and level == 0:
            case = True
        elif w == ':' and case and level == 0:
            case = False
            begins.add(i + 1)
    part.begins = sorted(begins | {len(words)}), lists
    return part.begins


def statement_around(part, i, j):
    """Where the smallest statement around some tokens begins and ends."""
    begins, lists = boundaries(part)
    first = max(b for b in begins if b <= i)
    last = min(b for b in begins if b >= j)
    if last - first > LONG:
        first = max([b for b in lists if first < b <= i], default=first)
        last = min([b for b in lists if j <= b < last], default=last)
    return first, last


def arguments(words, i, j):
    """Spans of the arguments between the brackets i and j, as indices."""
    spans, depth, start = [], 0, i + 1
    for k in range(i + 1, j + 1):
        w = words[k]
        if depth == 0 and (w == ',' or k == j):
            if k > start:
                spans.append((start, k))
            start = k + 1
        depth += w in ('(', '[', '{')
        depth -= w in (')', ']', '}')
    return spans


# ---- Noise ------------------------------------------------------------------

def stands_alone(words, i):
    """Whether a token is all of a value that is assigned, initialised,
    returned or passed."""
    return (words[i - 1] in ('=', 'return', '(', ',', '{', '?', ':')
            and words[i + 1] in (';', ',', ')', '}', ':'))


def is_sign(words, i):
    """Whether a token is the 1 of a -1 that stands alone: some negative
    number, of which only the sign is looked at."""
    return (words[i] == '1' and words[i - 1] == '-'
            and words[i - 2] in ('=', 'return', '(', ',', '{', '?', ':')
            and words[i + 1] in (';', ',', ')', '}', ':'))


def is_array_size(part, i):
    """Whether a token is in the brackets of an array that is declared."""
    begins, _ = boundaries(part)
    words, first = part.words, max(b for b in begins if b <= i)
    depth = 0
    for k in range(i, first, -1):
        depth += words[k] == ']'
        depth -= words[k] == '['
        if words[k] in ('=', '{', '(') and depth <= 0:
            return False
        if depth < 0 and is_word(words[k - 1]):
            return (is_word(words[first]) and words[first] not in
                    ('return', 'case', 'goto', 'sizeof')
                    and (is_word(words[first + 1]) or (words[first + 1] == '*'
                         and words[first] in KEYWORDS)))
    return False


def bound_of(words, i):
    """The constant that a loop's counter, at i or left of it, is compared
    with: where it begins and ends, or None. A constant is made of numbers and
    of names in capitals."""
    relation = i
    while relation and words[relation] not in STRICT:
        if words[relation] in (';', '{', '}', '&&', '||'):
            return None
        relation -= 1
    first = relation
    while first and words[first] not in (';', '{', '}', '&&', '||', '?', ','):
        first -= 1
    if words[first] != ';':
        return None
    depth, k = 0, first                 # in the brackets of a for?
    while k and depth <= 0:
        depth += words[k] == '('
        depth -= words[k] == ')'
        if words[k] in ('{', '}'):
            return None
        k -= 1
    if words[k] != 'for':
        return None
    last = relation + 1
    while words[last] not in (';', '&&', '||'):
        if not re.match(r'\d|[A-Z][A-Z0-9_]*$|[-+*/()]$', words[last]):
            return None
        last += 1
    return relation + 1, last


def has_stride(part, i):
    """Whether a relation is in the head of a loop whose counter takes steps
    of a named constant."""
    first, last = statement_around(part, i, i + 1)
    head = part.words[first:last]
    return head[0] == 'for' and ';' in head[:i - first] and any(
        w == '+=' and re.match(r'[A-Z][A-Z0-9_]*$', head[k + 1])
        for k, w in enumerate(head))


def bare(words):
    """An operand without a cast and without brackets around it, and whether
    it had a minus in front."""
    words, minus = list(words), False
    while words and words[0] in ('(', '-'):
        if words[0] == '-':
            minus, words = True, words[1:]
            continue
        end = closing(words, 0)
        words = words[1:end] if end == len(words) - 1 else \
            words[end + 1:] if all(map(is_word, words[1:end])) else ['?']
    return words, minus


def span_from(words, i, step, stops):
    """The tokens from i on, forwards or backwards, as far as the first of
    stops outside brackets."""
    found, depth = [], 0
    while 0 <= i < len(words):
        w = words[i]
        opens = w in ('([{' if step > 0 else ')]}')
        closes = w in (')]}' if step > 0 else '([{')
        if depth == 0 and (closes or w in stops):
            break
        depth += opens
        depth -= closes
        found.append(w)
        i += step
    return (found if step > 0 else found[::-1]), i


def is_choice(words, i):
    """Whether a relation chooses the larger or the smaller of its two sides,
    or the size of one: where they are equal either choice is the same."""
    left, k = span_from(words, i - 1, -1, ('=', 'return', '?', ':', ',', ';',
                                           '&&', '||'))
    right, j = span_from(words, i + 1, 1, ('?', ';', ',', '&&', '||', ':'))
    if j < len(words) and words[j] == '?':
        one, j = span_from(words, j + 1, 1, (':', ';', ','))
        two, j = span_from(words, j + 1, 1, (':', ';', ','))
    elif k and words[k] == '(' and words[k - 1] == 'if' and words[j] == ')':
        one, j = span_from(words, j + 1, 1, ('=', ';', '{'))
        two, j = span_from(words, j + 1, 1, (';',))
    else:
        return False
    sides = [bare(left), bare(right)]
    arms = [bare(one), bare(two)]
    if any(arm[0] not in [side[0] for side in sides] for arm in arms):
        return False
    if any(minus for _, minus in sides):
        return False
    return not any(minus for _, minus in arms) or ['0'] in (left, right)


# ---- Operators --------------------------------------------------------------

def constants(part, i):
    """What a number becomes: at most one other text."""
    words, w = part.words, part.words[i]
    if w in ('0', '1') and stands_alone(words, i):
        return [str(1 - int(w))]
    if is_sign(words, i) or is_array_size(part, i):
        return []
    if not re.fullmatch(r'\d+', w):
        return [f'({w} + 1)']
    bound = bound_of(words, i)
    less = bound and bound[0] <= i < bound[1] and int(w) > 0
    return [str(int(w) + (-1 if less else 1))]


def of_part(part):
    """The mutants of one function or definition."""
    words, tokens, found = part.words, part.tokens, []
    level = 0

    def add(i, j, new, operator):
        found.append(Mutant(part, i, j, new, operator))

    def text(i, j):
        return part.text[tokens[i].start:tokens[j - 1].end]

    for i, w in enumerate(words):
        before = words[i - 1] if i else ''
        if i > part.body:
            operand = re.match(r'[\w)\]]', before) and before not in KEYWORDS
            if w in STRICT and operand and (
                    bound_of(words, i) or is_choice(words, i)
                    or (w == '<' and has_stride(part, i))):
                pass
            elif w in SWAP and (operand or w in ('++', '--')):
                add(i, i + 1, SWAP[w], 'relation' if w in
                    ('<', '<=', '>', '>=', '==', '!=') else 'arithmetic')
            elif w in ('-', '!') and not operand:
                add(i, i + 1, '', 'negation')
            elif re.match(r'\.?\d', w):
                for new in constants(part, i):
                    add(i, i + 1, new, 'constant')
            if w in ('if', 'while') and words[i + 1] == '(':
                j = closing(words, i + 1) + 1
                add(i + 1, j, '(!' + text(i + 1, j) + ')', 'condition')
            if is_word(w) and w not in KEYWORDS and w not in SYMMETRIC \
                    and i + 1 < len(words) and words[i + 1] == '(':
                args = arguments(words, i + 1, closing(words, i + 1))
                for a, b in list(zip(args, args[1:]))[:1]:
                    if words[a[0]:a[1]] != words[b[0]:b[1]] \
                            and not any('"' in x for x in words[a[0]:b[1]]):
                        add(a[0], b[1], text(*b) + ', ' + text(*a),
                            'arguments')
            if level == 0 and before in (';', '{', '}', ')', 'else') and (
                    w in ('*', 'break', 'continue')
                    or (is_word(w) and w not in KEYWORDS)):
                body, j = span_from(words, i, 1, (';',))
                if j < len(words) and words[j] == ';' and re.search(
                        r'[=(]|\+\+|--|break|continue', ' '.join(body)):
                    add(i, j, '', 'statement')
        level += w in ('(', '[')
        level -= w in (')', ']')
    return found


def mutants_of(parts):
    """The mutants of these parts. Equal ones of one part are told apart by
    [2], [3], .. behind its name, in order."""
    found, seen, at = [], {}, set()
    for part in parts:
        for m in of_part(part):
            place = m.file, m.start, m.end, m.new
            if place in at:             # two operators, one change
                continue
            at.add(place)
            n = seen[m.key] = seen.get(m.key, 0) + 1
            if n > 1:
                m.key = m.key.replace('\t', f' [{n}]\t', 1)
            found.append(m)
    return found


# ---- Building and running ---------------------------------------------------

def sh(command, timeout=1200, **more):
    """Runs a command and keeps what it says; the machine may be busy."""
    return subprocess.run(command, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=timeout,
                          text=True, errors='replace', **more)


def seconds():
    """The CPU time that all programs run so far have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def files_of(rule, tree):
    """The files of src/ in a rule for make, as gcc -MM writes it."""
    paths = (os.path.relpath(x, tree) for x in rule.split() if x[0] == '/')
    return {x for x in paths if x.startswith('src/')}


class Suite:
    """Builds the tests once and the library for each mutant, and runs them."""

    # The cheapest first, and what survives one meets the next. tcc compiles
    # the library in 10 ms. gcc takes 1 s, and 10 more for its kernels, which
    # are translation units of their own (src/kernels/unit.c): those that the
    # mutant cannot change are linked as they were. A mutant outside rows and
    # kernels meets the scalar ones alone.
    GCC = ['gcc', '-fopenmp', '-DBNFLOSS_OPENMP']
    TOOLS = {'tcc': ['tcc'],
             'scalar': [*GCC, '-O1', '-DBNFLOSS_NO_AVX2',
                        '-DBNFLOSS_NO_AVX512', '-DBNFLOSS_NO_NEON'],
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
        self.parts, self.includes = {}, {}
        for tool in self.tools:     # a copy that stays
            self.parts[tool] = self.parts_for(tool)
            lib, said = self.compile(tool)
            if not lib:
                sys.exit(said)
            shutil.copy(lib, f'{folder}/{tool}.o')
        self.reads, self.links, self.whole = {}, {}, set()
        self.names = self.build_tests()

    def parts_for(self, tool):
        """The translation units of the library with this compiler, and the
        command for each: bnfloss.c alone, or without its kernels, and a unit
        for each table of kernels that it then lacks. (A table without a file
        of its name comes with another.) Notes which files each unit reads."""
        source = self.tree + '/src/bnfloss.c'
        if tool == 'tcc':
            self.includes[tool, 'bnfloss'] = None           # any
            return {'bnfloss': [*self.TOOLS[tool], source]}
        found = {'bnfloss': [*self.TOOLS[tool], '-DBNFLOSS_UNITS', source]}
        made = self.folder + '/tables.o'
        sh([*found['bnfloss'], '-O0', '-w', '-c', '-o', made,
            '-I' + self.tree + '/include'], check=True)
        for isa in re.findall(r'U bnfloss_kernels_(\w+)',
                              sh(['nm', made]).stdout):
            if os.path.exists(f'{self.tree}/src/kernels/{isa}.c'):
                found[isa] = [*self.TOOLS[tool], f'-DBN_UNIT="{isa}.c"',
                              self.tree + '/src/kernels/unit.c']
        for part, command in found.items():
            said = sh([*command, '-MM', '-I' + self.tree + '/include']).stdout
            self.includes[tool, part] = files_of(said, self.tree)
        return found

    def changed_by(self, tool, file):
        """The parts that a mutant of this file can change; all for None."""
        reads = {part: self.includes[tool, part] for part in self.parts[tool]}
        return [part for part in reads if file is None or reads[part] is None
                or file in reads[part]]

    def objects(self, tool, made=()):
        """The objects of the library, those that were made anew among them."""
        return [f'{self.folder}/{"made" if part in made else tool}-{part}.o'
                for part in self.parts[tool]]

    def compile(self, tool, file=None):
        """Compiles what a mutant of this file can change and links the rest.
        Returns the library as one object and the hash of the compiled part,
        or None and what the compiler said."""
        changed, lib = self.changed_by(tool, file), self.folder + '/lib.o'
        made, h = changed if file else (), hashlib.sha256()
        paths = dict(zip(self.parts[tool], self.objects(tool, made)))
        for part in changed:
            if os.path.exists(paths[part]):
                os.unlink(paths[part])
            r = sh([*self.parts[tool][part], '-w', '-c', '-o', paths[part],
                    '-I' + self.tree + '/include'])
            if r.returncode or not os.path.exists(paths[part]):
                return None, r.stdout
            with open(paths[part], 'rb') as f:
                h.update(f.read())
        if len(paths) == 1:
            shutil.copy(*paths.values(), lib)
        else:
            sh(['ld', '-r', *paths.values(), '-o', lib], check=True)
        return lib, h.hexdigest()

    def unchanged(self, tool, file):
        """The hash without a mutant. Ask for it before one is in place."""
        key = (tool, *self.changed_by(tool, file))
        if key not in self.object:
            self.object[key] = self.compile(tool, file)[1]
        return self.object[key]

    def flags(self):
        """The flags of every test."""
        return ['-w', '-I' + self.tree + '/include',
                f'-DBNFLOSS_TEST_DIR="{ROOT}/tests"']

    def build_tests(self):
        """Compiles the tests and returns their names. Notes which files of
        src/ each includes, and whether it links the library: a test that
        includes all of it is compiled for each mutant."""
        names = []
        for name in all_tests() + list(SEEDS):
            if name in SLOW:
                continue
            source, out = test_source(name, self.tree), f'{name}.o'
            more = [f'-DTARGET="{name}.c"'] if name in SEEDS else []
            reads = sh(['gcc', '-MM', *self.flags(), *more, source]).stdout
            self.reads[name] = files_of(reads, self.tree)
            # one that includes all of it does not link the library
            self.links[name] = 'src/bnfloss.c' not in self.reads[name]
            if not self.links[name] and 'BN_EACH_ISA' in read(
                    os.path.relpath(source, self.tree), self.tree):
                self.whole.add(name)    # it has code of its own in each unit
            if self.links[name] and not self.build_test(
                    name, [*self.flags(), *more, source], reads, out):
                print(f'NOT USED: {name} does not compile')
                continue
            names.append(name)
        return names

    def build_test(self, name, what, reads, out):
        """Compiles a test, or takes it from build-proof/, where it is kept
        under the hash of its sources and of ROOT. Whether it compiles."""
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
        """Runs a test with a library; compiles it if it includes the file.
        Returns its exit code, the hash that it printed, its CPU time."""
        program = os.path.join(self.folder, name)
        if file in self.reads[name] or not self.links[name]:
            own = 'gcc' if self.links[name] else tool
            # the others run with -O2; this halves the time for one test
            quick = [] if own == 'tcc' else ['-O1']
            units = []
            if own != 'tcc' and not self.links[name] \
                    and name not in self.whole:
                made = self.changed_by(own, file) if file else ()
                units = ['-DBNFLOSS_UNITS', *self.objects(own, made)[1:]]
            r = sh([*self.TOOLS[own], *quick, *self.flags(),
                    test_source(name, tree), *units]
                   + ([lib] if self.links[name] else [])
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
        """Whether a test passes without a mutant; it runs once to find out.
        One that fails or skips all (77) is not used, nor a slow one with
        tcc."""
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
        """The compilers for mutants of this file."""
        unwanted = 'scalar' if is_kernel(file) else \
            '' if file.startswith(VECTORS) else 'gcc'
        return [t for t in self.tools if t != unwanted]

    def steps(self, tool, file):
        """The tests for a mutant of this file with this compiler, in order:
        first those that have killed most mutants per second so far."""
        vectors = 'gcc' in self.tools_for(file)
        folder = folder_of(file)
        before = self.tools[:self.tools.index(tool)]
        found = []
        for name in self.names:
            if not file.startswith(ABOUT.get(name, 'src/')):
                continue
            if not self.links[name] and file not in self.reads[name]:
                continue
            # what passed with one tool would pass with the next, but for
            # vectors and threads, which tcc has not
            if tool == 'scalar' and any(
                    self.time.get((t, name)) for t in before) \
                    and name not in THREADED:
                continue
            if tool == 'scalar' and vectors and not self.links[name]:
                continue
            found.append(name)

        def worth(name):
            k = [self.kills.get((tool, name, x), 0) for x in (file, folder)]
            n = [self.met.get((tool, name, x), 0) for x in (file, folder)]
            broad = (k[1] + 0.5) / (n[1] + 1)
            cost = self.time.get((tool, name)) or (
                FIRST.index(name) / 4 + 0.1 if name in FIRST else 9)
            if file in self.reads[name] or not self.links[name]:
                cost += 4
            return -(k[0] + 2 * broad) / (n[0] + 2) / cost
        return sorted(found, key=worth)

    def judge(self, mutant, hint):
        """Puts a mutant in place and returns its outcome; see verdict()."""
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
        """Runs a test on a mutant. Returns None, or the outcome and who."""
        if not self.used(tool, name):
            return None
        code, value, _ = self.run(tool, name, lib,
                                  4 * self.time[tool, name] + 1,
                                  file, self.tree)
        for place in (file, folder_of(file)):
            key = tool, name, place
            self.met[key] = self.met.get(key, 0) + 1
            self.kills[key] = self.kills.get(key, 0) + (code != 0)
        if code:
            return 'killed', f'{name} {tool} ({code})'
        if value != self.hash[tool, name] and name in SEEDS:
            return 'bits', name
        return None

    def verdict(self, file, hint):
        """The outcome, and the test and compiler that decided it. hint: those
        that killed the mutant in another state of src/, or None."""
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
                continue            # the same code with this compiler
            for name in self.steps(tool, file):
                seen = self.meets(file, tool, name, lib)
                if seen and seen[0] == 'killed':
                    return seen
                bits = seen or bits
        # gcc decides whether the code is the same, not tcc
        if not any(different[1:] or different):
            return 'equivalent', ''
        return bits or ('survived', '')


# ---- The lists --------------------------------------------------------------

LISTED = os.path.join(HERE, 'survivors.txt')


def blocks_of(text):
    """(key, reason) of each block of survivors.txt: FUNCTION, BEFORE, AFTER,
    REASON on lines of their own, a blank line between."""
    found = []
    for block in text.split('\n\n'):
        lines = [x for x in block.strip().split('\n')
                 if x and not x.startswith('#')]
        if lines:
            found.append(('\t'.join(lines[:3]), ' '.join(lines[3:])))
    return found


def read_survivors():
    """key -> reason, from survivors.txt."""
    with open(LISTED) as f:
        return dict(blocks_of(f.read()))


def is_kernel(file):
    """Whether a file holds kernels, whose mutants cost most."""
    return file.startswith('src/kernels/')


def folder_of(file):
    """The first folder under src/, or src itself."""
    return '/'.join(file.split('/')[:2]) if file.count('/') > 1 else 'src'


def all_parts(tree=ROOT):
    """All functions and definitions in src/, each with a name of its own."""
    return name_apart([p for f in source_files(tree)
                       for p in parts_of(f, read(f, tree))])


def mutants_here():
    """All mutants of src/."""
    return mutants_of(all_parts())


def check_list(mutants, outcome, known):
    """Findings: listed mutants that no longer exist or are killed."""
    keys, wrong = {m.key for m in mutants}, []
    for key in known:
        shown = key.replace('\t', '\n    ')
        if key not in keys:
            wrong.append(f'a reason whose mutant no longer exists: {shown}')
        elif outcome.get(key, 'survived').split('\t')[0] in ('killed', 'bits'):
            wrong.append(f'a reason whose mutant is killed: {shown}')
    return wrong


def tests_hash():
    """A hash of the tests' tokens: other tests may kill a survivor."""
    h = hashlib.sha256()
    for f in sorted(glob.glob(f'{ROOT}/tests/*.[ch]')
                    + glob.glob(f'{ROOT}/tests/fuzz/*.[ch]')
                    + glob.glob(f'{ROOT}/tests/proof/*.[ch]')):
        h.update(spelling(read(f)).encode())
    return h.hexdigest()[:12]


def state_of(file, tree=ROOT):
    """A hash of a file's tokens. An outcome holds while it is the same."""
    return hashlib.sha256(spelling(read(file, tree)).encode()).hexdigest()[:8]


LOG = BUILD + '/mutation.tsv'


def read_log():
    """(key, outcome, state of the file, hash of src/) of each run so far."""
    if not os.path.exists(LOG):
        return []
    found = []
    with open(LOG) as f:
        for line in f:
            first, state, src = line.rstrip('\n').rsplit('\t\t', 2)
            found.append((*first.split('\t\t', 1), state, src))
    return found


def write_log(lines):
    """Writes the log from what read_log() returns."""
    with open(LOG + '.new', 'w') as f:
        for line in lines:
            f.write('\t\t'.join(line) + '\n')
    os.rename(LOG + '.new', LOG)


def what_is_known(mutants, known):
    """Returns three tables: key -> outcome of mutants whose file is the same;
    the keys of those that ran on src/ as it is; key -> (test, compiler) that
    killed the mutant in any state. The outcome of a survivor holds only if
    it ran with the tests as they are, or is listed."""
    states = {f: state_of(f) for f in {m.file for m in mutants}}
    states = {m.key: states[m.file] for m in mutants}
    outcome, here, killers = {}, set(), {}
    tests, src = tests_hash(), source_hash()
    for key, value, state, of in read_log():
        words = value.split()
        if words[0] == 'killed' and len(words) > 2:
            killers[key] = words[1], words[2]
        if states.get(key) != state or (
                words[0] in ('survived', 'bits') and key not in known
                and words[-1] != tests):
            continue
        outcome[key] = value
        if of == src:
            here.add(key)
    return outcome, here, killers


def sample_of(mutants, count, seed):
    """A sample of mutants by the hashes of their keys. A small change of the
    code changes few of them."""
    def dice(m):
        return hashlib.sha256(f'{seed}\t{m.key}'.encode()).hexdigest()
    return sorted(mutants, key=dice)[:count]


def main():
    """Draws, runs and reports mutants; the exit code."""
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--minutes', type=float, default=1e9)
    p.add_argument('--all', action='store_true',
                   help='every mutant outside kernels; 1000 of kernels')
    p.add_argument('--sample', type=int, default=SAMPLE,
                   help=f'so many outside kernels: {SAMPLE}')
    p.add_argument('--kernels', type=int, default=KERNELS,
                   help=f'so many of kernels: {KERNELS}')
    p.add_argument('--listed', action='store_true',
                   help='those of survivors.txt as well')
    p.add_argument('--files', default='', help='only those with this in them')
    p.add_argument('--seed', type=int, default=1)
    p.add_argument('--folder', default='/dev/shm/bnfloss-mutants-%d'
                   % os.getpid())
    a = p.parse_args()

    os.nice(19 - os.nice(0))
    mutants, known = mutants_here(), read_survivors()
    plain = [m for m in mutants if not is_kernel(m.file)]
    kernel = [m for m in mutants if is_kernel(m.file)]
    wanted = sample_of([m for m in plain if a.files in m.file],
                       len(plain) if a.all else a.sample, a.seed)
    wanted += sample_of([m for m in kernel if a.files in m.file],
                        1000 if a.all else a.kernels, a.seed)
    if a.listed:
        drawn = {m.key for m in wanted}
        wanted += [m for m in mutants
                   if m.key in known and m.key not in drawn]
    print(f'{len(wanted)} of {len(plain)} mutants outside kernels and '
          f'{len(kernel)} of kernels', flush=True)
    os.makedirs(BUILD, exist_ok=True)
    outcome, here, killers = what_is_known(mutants, known)
    wanted_now = [m for m in wanted
                  if m.key not in (outcome if a.all else here)]
    if wanted_now:
        run_all(a, wanted_now, outcome, here, killers)
    wrong = check_list(mutants, outcome, known)
    drawn = {m.key for m in wanted}     # and what has run at another time
    report([m for m in mutants if a.files in m.file
            and (m.key in drawn or m.key in outcome)],
           len(mutants), outcome, here, known, wrong)
    return 1 if wrong else 0


def run_all(a, wanted, outcome, here, killers):
    """Runs these mutants. Writes each outcome into outcome, here and the
    log."""
    suite = Suite(a.folder)
    began, done = time.time(), 0
    src, tests = source_hash(), tests_hash()
    with open(LOG, 'a') as f:
        for m in wanted:
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
            if what == 'survived':
                print(f'survived: {m.file}:{m.line}', flush=True)
    spent = os.times()
    spent = spent.children_user + spent.children_system
    print(f'{60 * done / (time.time() - began):.1f} mutants a minute, '
          f'{spent / max(done, 1):.1f} s of CPU each')
    shutil.rmtree(a.folder, ignore_errors=True)


def report(wanted, total, outcome, here, known, wrong):
    """Prints the survivors, the findings in wrong and the sums. Adds to wrong
    if too many survivors cost speed."""
    ran = [m for m in wanted if m.key in outcome]
    count, by = {}, {}
    for m in ran:
        what, who = outcome[m.key].split('\t')
        count[what] = count.get(what, 0) + 1
        if what == 'killed':
            name = who.split()[0]
            by[name] = by.get(name, 0) + 1
    survivors = [m for m in ran if outcome[m.key].startswith('survived')]
    for m in survivors:
        if m.key not in known:
            print(f'survived: {m.file}:{m.line} [{m.operator}]\n    '
                  + m.key.replace('\t', '\n    '))
    speed = sum(known.get(m.key, '').startswith('speed') for m in survivors)
    debt = sum(known.get(m.key, '').startswith('missing') for m in survivors)
    counted = sum(count.get(k, 0) for k in ('killed', 'bits', 'survived'))
    for w in wrong:
        print(w)
    # one of very few mutants says nothing about the share
    if speed > max(0.03 * counted, 1):
        wrong.append('speed')
        print(f'{speed} of {counted} only cost speed: more than 3 %')
    print('killed by: ' + ', '.join(f'{k} {v}' for k, v in
                                    sorted(by.items(), key=lambda x: -x[1])))
    for folder in sorted({folder_of(m.file) for m in ran}):
        these = [m for m in ran if folder_of(m.file) == folder]
        dead = sum(outcome[m.key].split('\t')[0] in ('killed', 'bits')
                   for m in these)
        alive = sum(outcome[m.key].startswith('survived') for m in these)
        if dead + alive:
            print(f'{folder}: {dead} of {dead + alive} killed')
    dead = count.get('killed', 0) + count.get('bits', 0)
    score = 100 * dead / max(counted, 1)
    now = sum(m.key in here for m in ran)
    print(f'mutation: {len(ran)} run of {total} that there are, {now} on this '
          f'src/, the others while their file was as it is, '
          f'{len(wanted) - len(ran)} left, '
          f'{counted} counted, '
          f'{count.get("killed", 0)} killed, {count.get("bits", 0)} by bits '
          f'alone, {len(survivors)} survived ({speed} cost speed, {debt} lack '
          f'a test), score {score:.1f} %, '
          f'{count.get("stillborn", 0)} stillborn, '
          f'{count.get("equivalent", 0)} same code')


if __name__ == '__main__':
    sys.exit(main())
