"""Carries a proof over to commits that only rename or move: run --carry.

The library is built from the commit that tests/PROOF.md names and from src/
as it is, for x86-64 and AArch64, with and without OpenMP. Where all objects
are the same (objects.py says what that means) every result still holds. The
page then gets the hash and the commit of src/ as it is, and the lists and the
outcomes of mutants get the new names.

A default and a relation are changed on purpose, and the comparison must
refuse both. What no build here compiles, such as the lines for other
compilers, is not compared: functions and preprocessor lines whose tokens
differ by more than names are printed.
"""
import collections
import concurrent.futures
import datetime
import json
import os
import re
import shutil
import subprocess
import tempfile

import mutate
import objects
from common import ROOT, BUILD, read, source_files, source_hash
from ctokens import code_of, is_word, show, spelling, tokens_of

HERE = os.path.dirname(os.path.abspath(__file__))
PAGE = os.path.join(ROOT, 'tests', 'PROOF.md')
FLAGS = ['-O2', '-ffunction-sections', '-fdata-sections', '-w']
OPENMP = ['-fopenmp', '-DBNFLOSS_OPENMP']
# architecture -> its compiler, and the packages that bring it
COMPILERS = {
    'aarch64': ('aarch64-linux-gnu-gcc',
                'gcc-aarch64-linux-gnu libc6-dev-arm64-cross'),
    'x86_64': ('x86_64-linux-gnu-gcc', 'gcc-x86-64-linux-gnu'),
}


def git(*arguments):
    """What git says, or None where it fails."""
    r = subprocess.run(['git', '-C', ROOT, *arguments],
                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return None if r.returncode else r.stdout


def compilers():
    """Architecture -> compiler, gcc itself for this machine's own."""
    own = os.uname().machine
    return {a: 'gcc' if a == own else cc for a, (cc, _) in COMPILERS.items()}


def page_says(what):
    """The value of a line of the page's head, or an empty string."""
    with open(PAGE) as f:
        m = re.search(rf'^- {what}: (.*)$', f.read(), re.M)
    return m.group(1) if m else ''


def stale(why):
    """Says that the page stays stale, and why; the exit code."""
    print(f'STALE: tests/PROOF.md is not carried over: {why}')
    return 1


def unpack(commit, tree):
    """src/ and include/ of a commit in a folder; whether it is there."""
    data = git('archive', commit, 'src', 'include')
    if data is None:
        return False
    os.makedirs(tree)
    subprocess.run(['tar', '-x', '-C', tree], input=data, check=True)
    return True


def build(tree, compiler, more, made):
    """The library as one object; what the compiler said if it failed."""
    r = subprocess.run([compiler, *FLAGS, *more, f'-I{tree}/include', '-c',
                        f'{tree}/src/bnfloss.c', '-o', made],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True)
    errors = re.findall(r'error: .*', r.stdout) or ['the compiler failed']
    return errors[0] if r.returncode else ''


# ---- Plants -----------------------------------------------------------------

def changed_default(tree):
    """(file, start, end, new) of a default of 0.1 that is data alone."""
    for file in source_files(tree):
        for t in tokens_of(read(file, tree)):
            if t.text == '0.1f' and t.directive:
                yield file, t.start, t.end, '0.2f'


def changed_relation(tree):
    """The same of relations in code that every build has."""
    for m in mutate.mutants_of(mutate.all_parts(tree)):
        if m.operator == 'relation' and '/rows/' in m.file:
            yield m.file, m.start, m.end, m.new


def refuses(tree, sound, compiler, more, folder, changes):
    """Whether a comparison sees the first of some changes that changes the
    object at all, and what it says is apart."""
    made = folder + '/planted.o'
    with open(sound, 'rb') as f:
        before = f.read()
    for file, start, end, new in list(changes)[:5]:
        path, text = os.path.join(tree, file), read(file, tree)
        with open(path, 'w') as f:
            f.write(text[:start] + new + text[end:])
        failed = build(tree, compiler, more, made)
        with open(path, 'w') as f:
            f.write(text)
        if failed:
            continue
        with open(made, 'rb') as f:
            if f.read() == before:
                continue
        return objects.differences(sound, made)
    return []


# ---- Names ------------------------------------------------------------------

def match(old, new):
    """Parts of the old tree -> parts of the new one: those of one shape, first
    of one name, then in order; the rest by name alone."""
    found, free = {}, dict.fromkeys(new)

    def pair(a, b):
        found[a] = b
        del free[b]

    shapes = {p: p.shape() for p in [*old, *new]}
    for by in (lambda p: (shapes[p], p.name, p.file),
               lambda p: (shapes[p], p.name), lambda p: shapes[p],
               lambda p: p.name):
        groups = collections.defaultdict(collections.deque)
        for b in free:
            groups[by(b)].append(b)
        for a in old:
            if a not in found and groups[by(a)]:
                pair(a, groups[by(a)].popleft())
    return found, list(free), shapes


class Names:
    """What became of the names of functions, of files and within functions."""

    def __init__(self, old_tree, new_tree):
        self.old_tree, self.new_tree = old_tree, new_tree
        self.old = mutate.all_parts(old_tree)
        self.new = mutate.all_parts(new_tree)
        self.part, self.added, shapes = match(self.old, self.new)
        self.same = {a for a, b in self.part.items()
                     if shapes[a] == shapes[b]}
        votes = collections.defaultdict(collections.Counter)
        files = collections.defaultdict(collections.Counter)
        for a in self.same:
            files[a.file][self.part[a].file] += 1
            for x, y in self.within(a).items():
                votes[x][y] += 1
        self.words = {x: c.most_common(1)[0][0] for x, c in votes.items()}
        self.files = {x: c.most_common(1)[0][0] for x, c in files.items()}
        self.keys = self.map_keys()

    def within(self, a):
        """Old name -> new name in a part whose shape is the same."""
        return {x: y for x, y in zip(a.words, self.part[a].words)
                if is_word(x)} if a in self.same else {}

    def map_keys(self):
        """Keys of mutants -> (new key, old file, new file): by place where the
        shape is the same, by statement where it is not."""
        def placed(mutants):
            found, count = {}, collections.Counter()
            for m in mutants:
                place = m.part, m.i, m.j, m.operator
                count[place] += 1
                found[(*place, count[place])] = m
            return found

        new = placed(mutate.mutants_of(self.new))
        by_key = {m.key: m for m in new.values()}
        self.new_keys = set(by_key)
        found = {}
        for (a, *place), m in placed(mutate.mutants_of(self.old)).items():
            b = self.part.get(a)
            other = new.get((b, *place)) if a in self.same else \
                b and by_key.get(m.key.replace(a.name, b.name, 1))
            if other:
                found[m.key] = other.key, m.file, other.file
        return found

    def changed(self):
        """Functions, definitions and lines of the preprocessor that differ by
        more than names."""
        old, new = lines_of(self.old_tree), lines_of(self.new_tree)
        lines = [x for shape in {**old, **new}
                 for x in (old.get(shape, [])[len(new.get(shape, [])):]
                           or new.get(shape, [])[len(old.get(shape, [])):])]
        return sorted({p.name for p in self.old if p not in self.same}
                      | {p.name for p in self.added}) + sorted(lines)

    def part_of(self, file, function, text):
        """The old part that a block is about, by its name, or for * by its
        text; and how many of its spellings the name is."""
        words = [t.text for t in code_of(text)]
        n = len(words)
        for p in self.old:
            if p.file == file and function in spellings(p.name):
                return p, spellings(p.name).index(function)
            if p.file == file and function == '*' and any(
                    p.words[i:i + n] == words for i in range(len(p.words))):
                return p, 0
        return None, 0

    def renamed(self, text, part):
        """A text with the names that a part's, or else all, have now."""
        names = {**self.words, **(self.within(part) if part else {})}
        return re.sub(r'[A-Za-z_]\w*', lambda m: names.get(m[0], m[0]), text)

    def is_in_new(self, file, text):
        """Whether a file of the new tree has all names of a text."""
        if not os.path.exists(os.path.join(self.new_tree, file)):
            return False
        there = {t.text for t in tokens_of(read(file, self.new_tree))}
        return {t.text for t in code_of(text) if is_word(t.text)} <= there

    def block(self, file, function, text):
        """(file, function, text) as they are now, or None."""
        part, n = self.part_of(file, function, text)
        if part in self.part:
            to = self.part[part]
            new = to.file, function if function == '*' \
                else spellings(to.name)[n], self.renamed(text, part)
        else:
            new = self.files.get(file, file), function, \
                self.renamed(text, None)
            if function != '*' and not any(
                    p.file == new[0] and function in spellings(p.name)
                    for p in self.new):
                return None             # nor has somebody renamed it by hand
        return new if self.is_in_new(new[0], new[2]) else None


def lines_of(tree):
    """The lines of the preprocessor without #include: shape -> those that have
    it. A shape has a number for each name."""
    found = collections.defaultdict(list)
    for file in source_files(tree):
        for line in spelling(read(file, tree)).split('\n'):
            words = [w.strip() for w in line.split('\0') if w.strip()]
            if words[:1] == ['#'] and words[1:2] != ['include']:
                names = {}
                shape = ' '.join(
                    str(names.setdefault(w, f'@{len(names)}'))
                    if n > 1 and is_word(w) and w != 'defined' else w
                    for n, w in enumerate(words))
                found[shape].append(show(words[:12]))
    return found


def spellings(name):
    """A function's name as the lists may have it: that of each instruction
    set, FN(name), is there with or without its prefix."""
    name = name.split('#')[0]
    m = re.fullmatch(r'(?:BN_)?FN\((\w+)\)', name)
    return [name, 'bn_' + m.group(1), m.group(1)] if m else [name] * 3


def rekey(name, change, lost):
    """A list with change(its block's lines) for the first lines of each
    block: the text anew. Blocks without an answer stay, and go into lost."""
    with open(os.path.join(HERE, name)) as f:
        blocks = f.read().split('\n\n')
    for i, block in enumerate(blocks):
        lines = block.strip('\n').split('\n')
        at = [n for n, x in enumerate(lines) if x and x[0] != '#']
        if len(at) < 4:
            continue
        new = change([lines[n] for n in at])
        if new is None:
            lost.append(f'{name}: {lines[at[0]]} | {lines[at[1]]}')
            continue
        for n, x in zip(at, new):
            lines[n] = x
        blocks[i] = '\n'.join(lines) + ('\n' if i == len(blocks) - 1 else '')
    return '\n\n'.join(blocks)


def rekey_lists(names):
    """Name -> new text of each list, and what could not be re-keyed."""
    lost = []

    def survivor(x):
        key = '\t'.join(x[:3])
        if key in names.keys:
            return names.keys[key][0].split('\t')
        # somebody may have renamed it by hand
        return x[:3] if key in names.new_keys else None

    def uncovered(x):
        found = names.block(x[0], x[1], x[3])
        return found and [found[0], found[1], x[2], found[2]]

    def analysed(x):
        found = names.block(x[1], '*', x[3])
        return found and [x[0], found[0], x[2], found[2]]

    return {n: rekey(n, f, lost) for n, f in (
        ('survivors.txt', survivor), ('uncovered.txt', uncovered),
        ('analysed.txt', analysed))}, lost


def rekey_log(names, old_hash, new_hash):
    """The outcomes of mutants under their new keys; how many keep the old."""
    lines, lost = [], 0
    states = {f: mutate.state_of(f, names.old_tree)
              for f in source_files(names.old_tree)}
    for key, outcome, state, src in mutate.read_log():
        if key in names.keys:
            key, old, new = names.keys[key]
            if state == states[old]:
                state = mutate.state_of(new, names.new_tree)
            src = new_hash if src == old_hash else src
        else:
            lost += 1
        lines.append((key, outcome, state, src))
    if lines:
        mutate.write_log(lines)
    return lost


def write_page(new_hash, commit, line):
    """The page's new head: hash, commit, and how it got there."""
    with open(PAGE) as f:
        text = f.read()
    text = re.sub(r'^- carried: .*\n', '', text, flags=re.M)
    text = re.sub(r'^- src: .*$', f'- src: {new_hash}', text, flags=re.M)
    text = re.sub(r'^- commit: .*$', f'- commit: {commit}\n- carried: {line}',
                  text, flags=re.M)
    with open(PAGE, 'w') as f:
        f.write(text)


def write_store(old_hash, new_hash, line):
    """The results of the sections, kept for src/ as it is too."""
    path = os.path.join(BUILD, 'proof-{}.json')
    if os.path.exists(path.format(old_hash[:12])):
        with open(path.format(old_hash[:12])) as f:
            results = json.load(f)
        with open(path.format(new_hash[:12]), 'w') as f:
            json.dump({**results, 'carried': line}, f, indent=1)


# ---- The command ------------------------------------------------------------

def compare(old, new, folder):
    """Builds both trees each way and compares them: where they differ, or
    what the comparison missed."""
    ways = [(arch, cc, more) for arch, cc in compilers().items()
            for more in (OPENMP, [])]
    wrong = []

    def place(tree, arch, more):
        return f'{folder}/{os.path.basename(tree)}-{arch}-{len(more)}.o'

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        built = {(t, arch, len(more)): pool.submit(
            build, t, cc, more, place(t, arch, more))
            for arch, cc, more in ways for t in (old, new)}
    for arch, cc, more in ways:
        what = f'{arch}, {"OpenMP" if more else "one thread"}'
        failed = [built[t, arch, len(more)].result() for t in (old, new)]
        if any(failed):
            print(f'{what}: does not build: {" ".join(failed).strip()}')
            wrong.append(what)
            continue
        a, b = place(old, arch, more), place(new, arch, more)
        names = objects.differences(a, b)
        if names:
            wrong.append(what)
        print(f'{what}: ' + ('DIFFERENT: ' + ', '.join(names) if names else
                             f'{objects.names_of(b)} sections are the same'),
              flush=True)
    if wrong:
        return wrong
    arch, cc, more = ways[0]
    for what, changes in (('default', changed_default),
                          ('relation', changed_relation)):
        said = refuses(new, place(new, arch, more), cc, more, folder,
                       changes(new))
        print(f'{arch}: a planted change of a {what} is '
              + (f'refused ({", ".join(said[:3])})' if said
                 else 'NOT REFUSED'), flush=True)
        if not said:
            wrong.append(f'the planted change of a {what}')
    return wrong


def carry():
    """All of it; the exit code."""
    if not os.path.exists(PAGE):
        return stale('it has not been written')
    from_hash, to_hash = page_says('src'), source_hash()
    if from_hash == to_hash:
        print('tests/PROOF.md is about this state of src/ already')
        return 0
    for arch, cc in compilers().items():
        if not shutil.which(cc):
            return stale(f'{cc} is not installed '
                         f'(apt: {COMPILERS[arch][1]})')
    changes = git('status', '--porcelain', '--', 'src', 'include')
    if changes is None:
        return stale('there is no git history here')
    if changes:
        return stale('src/ or include/ has changes that are not committed')
    os.nice(19 - os.nice(0))
    commit = page_says('commit')
    with tempfile.TemporaryDirectory() as folder:
        old, new = folder + '/old', folder + '/new'
        if not unpack(commit, old):
            return stale(f'there is no commit {commit}')
        if source_hash(old) != from_hash:
            return stale(f'src/ at {commit} is not what the page is about')
        for part in ('src', 'include'):
            shutil.copytree(os.path.join(ROOT, part), f'{new}/{part}')
        wrong = compare(old, new, folder)
        if wrong:
            return stale('see ' + '; '.join(wrong))
        names = Names(old, new)
        lists, lost = rekey_lists(names)
        left = rekey_log(names, from_hash, to_hash)
    for name, text in lists.items():
        with open(os.path.join(HERE, name), 'w') as f:
            f.write(text)
    here = git('log', '-1', '--format=%h').decode().strip()
    first = re.match(r'from (\w+)', page_says('carried'))
    first = first.group(1) if first else commit
    said = ' and '.join(version(cc) for cc in compilers().values())
    line = (f'from {first}, where the sections ran, on '
            f'{datetime.date.today().isoformat()}; the objects were compared '
            f'and are the same ({said})')
    write_page(to_hash, here, line)
    write_store(from_hash, to_hash, line)
    if names.changed():
        print('the objects alone speak for what differs by more than names: '
              + ', '.join(names.changed()))
    for x in lost:
        print(f'not re-keyed: {x}')
    if left:
        print(f'not re-keyed: {left} outcomes of mutants')
    print(f'tests/PROOF.md: carried over from {commit} to {here}')
    return 0


def version(cc):
    """A compiler and its version."""
    r = subprocess.run([cc, '-dumpfullversion'], stdout=subprocess.PIPE,
                       text=True)
    return f'{cc} {r.stdout.strip()}'
