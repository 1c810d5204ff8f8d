#!/usr/bin/env python3
"""Whether the lists of the long tier are about src/ as it is.

    tests/proof/lists.py

Traps, mutants, uncovered lines and analysers' findings quote the text of
src/. The programs name its files and functions, and tests. Here each of these
is looked up, which takes seconds and no compiler. Each kind of entry is first
checked with wrong ones, which must all be found. Exits with 1 after a finding.
"""
import glob
import importlib.machinery
import importlib.util
import os
import re
import sys

import analyse
import cover
import mutate
from carry import spellings
from common import ROOT, read, source_files, test_source
from ctokens import places_of, tokens_of
from inner import TRAPS as INNER_TRAPS
from traps import TRAPS, planted

HERE = os.path.dirname(os.path.abspath(__file__))
KINDS = re.compile(r'region|function|never (true|false)'
                   r'|condition \d+ not shown to matter')


def load_run():
    """tests/proof/run as a module."""
    loader = importlib.machinery.SourceFileLoader('run', HERE + '/run')
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader('run', loader))
    loader.exec_module(module)
    return module


RUN = load_run()
FILES = source_files()
TEXTS = {f: read(f) for f in FILES}
PARTS = mutate.all_parts()
MUTANTS = mutate.mutants_here()
WORDS = {t.text for text in [*TEXTS.values(), read('include/bnfloss.h')]
         for t in tokens_of(text)}


# ---- What is wrong with an entry: a text, empty if nothing is ---------------

def trap(entry):
    """One of traps.py."""
    _, _, file, old, new, test = entry
    if f'src/{file}' not in TEXTS:
        return f'there is no src/{file}'
    if old == new:
        return 'changes nothing'
    return planted(TEXTS[f'src/{file}'], old, new)[1] or is_test(test)


def inner_trap(entry):
    """One of inner.py, which has its text found as it stands."""
    _, _, file, old, new = entry
    if f'src/{file}' not in TEXTS:
        return f'there is no src/{file}'
    if old == new:
        return 'changes nothing'
    times = TEXTS[f'src/{file}'].count(old)
    return '' if times == 1 else f'src/{file} has {times} of {old!r}'


def survivor(key):
    """A key of survivors.txt."""
    return '; '.join(mutate.check_list(MUTANTS, {}, [key]))


def has(text, quoted):
    """Whether a text has a quoted one, which may end with dots in place of
    its last tokens."""
    short = quoted.endswith('...')
    if short:
        words = [t.text for t in tokens_of(quoted[:-3])]
        quoted = ' '.join(words[:-1])
    return bool(places_of(text, quoted))


def uncovered(entry):
    """A key of uncovered.txt."""
    file, function, kind, quoted = entry
    if file not in TEXTS:
        return f'there is no {file}'
    if not KINDS.fullmatch(kind):
        return f'there is no kind {kind}'
    texts = [p.text[p.tokens[0].start:p.tokens[-1].end] for p in PARTS
             if p.file == file and function in spellings(p.name)]
    if function == '*':
        texts = [TEXTS[file]]
    if not texts:
        return f'{file} has no {function}'
    use, _, inside = quoted.partition(' : ')    # where a macro is used
    if not any(has(x, quoted) for x in texts) and not (
            inside and any(has(x, use) for x in texts)
            and any(has(x, inside) for x in TEXTS.values())):
        return f'{function} of {file} has no {quoted}'
    return ''


def analysed(entry):
    """A block of analysed.txt."""
    tool, file, _, line = entry
    if tool not in analyse.TOOLS:
        return f'there is no tool {tool}'
    if file not in TEXTS:
        return f'there is no {file}'
    return '' if has(TEXTS[file], line) else f'{file} has no {line}'


def is_test(name):
    """The name of a test."""
    path = f'{ROOT}/tests/fuzz/{name}.c' if name.startswith('fuzz_') \
        else test_source(name)
    return '' if path and os.path.exists(path) else f'there is no test {name}'


def is_word(name):
    """A function, macro or constant of src/ or the header."""
    return '' if name in WORDS else f'src/ has no {name}'


def is_place(path):
    """A file or folder, relative to the root."""
    return '' if os.path.exists(os.path.join(ROOT, path)) \
        else f'there is no {path}'


def is_instruction_set(name):
    """An instruction set that some build has."""
    return '' if any(places_of(text, f'#define BN_ISA {name}')
                     for text in TEXTS.values()) \
        else f'no kernels are of {name}'


# ---- All entries ------------------------------------------------------------

def in_prose(pattern):
    """What the programs, texts and lists here have of a pattern."""
    found = {}
    for path in sorted(glob.glob(HERE + '/*.py') + glob.glob(HERE + '/*.md')
                       + glob.glob(HERE + '/*.txt') + [HERE + '/run']):
        if path == HERE + '/lists.py':          # it has wrong ones on purpose
            continue
        with open(path) as f:
            for name in re.findall(pattern, f.read()):
                found.setdefault(name, os.path.basename(path))
    return found


def tests_named():
    """The tests that the programs have in tables."""
    return [*mutate.SLOW, *mutate.MORE, *mutate.THREADED, *mutate.ABOUT,
            *mutate.FIRST, *mutate.SEEDS, *RUN.LONG, *cover.RUNS]


# what it is; the check; the entries; wrong ones
CHECKS = [
    ('trap', trap, TRAPS, [
        ('gone', '', 'core.h', 'return x == y;', 'return 1;', 'edges'),
        ('twice', '', 'core.h', 'return bits;', 'return 0;', 'edges'),
        ('no file', '', 'rows/core.h', 'return bits;', '', 'edges'),
        ('same', '', 'core.h', 'return *a == *b;', 'return *a == *b;',
         'edges'),
        ('no test', '', 'core.h', 'return *a == *b;', 'return 1;', 'edge')]),
    ('inner trap', inner_trap, INNER_TRAPS, [
        ('gone', '', 'core.h', 'return x == y;', 'return 1;'),
        ('no file', '', 'rows/core.h', 'return bits;', ''),
        ('same', '', 'core.h', 'return *a == *b;', 'return *a == *b;')]),
    ('survivor', survivor, mutate.read_survivors(), [
        'bn_fill\tif (x == 0)\tif (x == 7)',
        'bn_filled\tif (x == 0)\tif (x == 1)']),
    ('uncovered', uncovered, cover.read_exceptions(), [
        ('src/rows/row.c', '*', 'region', 'return list[0]'),
        ('src/kernels/cpu.c', 'bn_cpu_there', 'region', 'return cpu'),
        ('src/kernels/cpu.c', 'bn_cpu_here', 'region', 'return list[0]'),
        ('src/kernels/cpu.c', 'bn_cpu_here', 'never', 'return cpu'),
        ('src/kernels/cpu.c', '*', 'region', 'BN_ENTRY : 0')]),
    ('analysed', analysed, analyse.known(), [
        ('cppcheck', 'src/rows/row.c', 'uninitvar', 'return cpu;'),
        ('cppcheck', 'src/kernels/cpu.c', 'uninitvar', 'return cpus;'),
        ('lint', 'src/kernels/cpu.c', 'uninitvar', 'return cpu;')]),
    ('test', is_test, tests_named(), ['edge', 'fuzz_runs']),
    ('symmetric function', is_word, mutate.SYMMETRIC, ['v_add']),
    ('name', is_word, in_prose(r'\b(?:bn|BN)_\w+'),
     ['bn_entry', 'BN_ENTRY']),
    ('file', is_place, [*in_prose(r'\bsrc/[\w./]*\w'), *mutate.VECTORS,
                        *(x for about in mutate.ABOUT.values()
                          for x in about)],
     ['src/door/', 'src/rows/row.c']),
    ('instruction set', is_instruction_set, [RUN.VALGRIND_ISA], ['avx1024']),
]


def main():
    """Looks everything up; the exit code."""
    wrong = count = 0
    for what, check, entries, plants in CHECKS:
        for entry in plants:
            if not check(entry):
                wrong += 1
                print(f'{what}: a planted one is NOT FOUND: {entry}')
        for entry in entries:
            count += 1
            said = check(entry)
            if said:
                wrong += 1
                name = entry[0] if check in (trap, inner_trap) else ''
                print(f'{what}: {name}{": " if name else ""}{said}')
        if not entries:
            wrong += 1
            print(f'{what}: there are none')
    print(f'lists: {count} entries, {wrong} findings')
    return 1 if wrong else 0


if __name__ == '__main__':
    sys.exit(main())
