#!/usr/bin/env python3
"""The same bits everywhere: a hash for each compiler, flag and architecture.

    tests/proof/same_bits.py [--quick] [--again] [NAME..]

Builds tests/test_same_bits.c (its hash is in the source) and the seeds of the
fuzz targets, and runs them, in an emulator if need be. The seeds cover all
losses. Their hash must be that of the first configuration with as many inputs.
A configuration whose tools are missing is skipped with the packages that bring
them. Two run at a time, and each prints its seconds. Results are kept in
build-proof/ until src/ or the tests change; --again runs all.
"""
import argparse
import concurrent.futures
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from common import ROOT, BUILD, source_hash, threads_of

OMP = ['-fopenmp', '-DBNFLOSS_OPENMP']
STATIC = ['-static', '-O2']
EMULATED = '300'                # inputs, of 2000: qemu takes ten times as long
X86 = os.uname().machine == 'x86_64'


class Config:
    """A way to build and run. count: inputs of each fuzz target, fewer where
    an emulator is slow."""

    def __init__(self, name, command, tools='', runner=(), packages='',
                 quick=False, suffix='', count='2000'):
        self.name, self.command = name, command
        self.runner, self.packages = list(runner), packages
        self.tools = [command[0], *self.runner[:1], *tools.split()]
        self.quick, self.suffix, self.count = quick, suffix, count


def clang_threads():
    """clang-19's flags for OpenMP, or none."""
    if not shutil.which('clang-19'):
        return []
    with tempfile.TemporaryDirectory() as folder:
        return threads_of(folder)


def native():
    """The configurations that run on this machine itself."""
    found = []
    for cc in ('gcc', 'clang', 'clang-19'):
        for o in ('-O0', '-O1', '-O2', '-O3'):
            found.append(Config(f'{cc} {o}', [cc, o], packages=cc,
                                quick=o == '-O2' and cc != 'clang'))
        if X86:
            for m in ('v2', 'v3', 'v4'):
                found.append(Config(f'{cc} -O2 -march=x86-64-{m}',
                                    [cc, '-O2', '-march=x86-64-' + m],
                                    packages=cc))
    for o in ('-O2', '-O3'):        # it knows less of vzeroupper than gcc 12
        found.append(Config(f'gcc-11 {o}', ['gcc-11', o], packages='gcc-11'))
    found.sort(key=lambda c: c.name != 'gcc -O2')       # it comes first
    return found + [
        Config('gcc -O2, 1 to 16 threads', ['gcc', '-O2', *OMP], quick=True),
        Config('clang-19 -O2, 1 to 16 threads',
               ['clang-19', '-O2', *clang_threads()],
               '' if clang_threads() else 'libomp', packages='libomp-dev'),
        Config('gcc -O2 -flto', ['gcc', '-O2', '-flto'], packages='gcc'),
        Config('clang-19 -O2 -flto', ['clang-19', '-O2', '-flto',
                                      '-fuse-ld=lld-19'],
               'ld.lld-19', packages='clang-19 lld-19'),
        Config('gcc -Ofast -march=native',
               ['gcc', '-Ofast', '-march=native'], packages='gcc'),
        Config('clang-19 -Ofast, as it asks for',
               ['clang-19', '-Ofast', '-march=native', '-fno-fast-math',
                '-ffp-contract=off'], packages='clang-19'),
        Config('gcc -O2 -mno-avx512f', ['gcc', '-O2', '-mno-avx512f'],
               packages='gcc') if X86 else None,
        Config('tcc', ['tcc'], packages='tcc', quick=True),
        Config('musl-gcc -O2', ['musl-gcc', *STATIC], packages='musl-tools',
               quick=True),
        # what emulators are compared with
        Config(f'gcc -O2, {EMULATED} inputs', ['gcc', '-O2'], packages='gcc',
               quick=True, count=EMULATED),
    ]


def cross():
    """The configurations that need an emulator."""
    found = []
    for arch, triple, qemu, packages, flags in (
            ('aarch64', 'aarch64-linux-gnu', 'qemu-aarch64',
             'gcc-aarch64-linux-gnu libc6-dev-arm64-cross', []),
            ('armhf', 'arm-linux-gnueabihf', 'qemu-arm',
             'gcc-arm-linux-gnueabihf libc6-dev-armhf-cross', []),
            ('s390x, big-endian', 's390x-linux-gnu', 'qemu-s390x',
             'gcc-s390x-linux-gnu libc6-dev-s390x-cross', []),
            ('riscv64', 'riscv64-linux-gnu', 'qemu-riscv64',
             'gcc-riscv64-linux-gnu libc6-dev-riscv64-cross', []),
            ('i386', 'i686-linux-gnu', 'qemu-i386',
             'gcc-i686-linux-gnu libc6-dev-i386-cross',
             ['-msse2', '-mfpmath=sse']),
            ('ppc64le', 'powerpc64le-linux-gnu', 'qemu-ppc64le',
             'gcc-powerpc64le-linux-gnu libc6-dev-ppc64el-cross', [])):
        found.append(Config(f'{arch} (qemu-user)',
                            [triple + '-gcc', *STATIC, *flags], '', [qemu],
                            packages + ' qemu-user', True, count=EMULATED))
    found.append(Config('mingw-w64 (wine)',
                        ['x86_64-w64-mingw32-gcc', *STATIC], '', ['wine'],
                        'gcc-mingw-w64-x86-64 wine wine64', True, '.exe'))
    return found


def tests_hash():
    """A hash of src/ and of the tests that run here."""
    h = hashlib.sha256(source_hash().encode())
    for f in sorted(glob.glob(ROOT + '/tests/fuzz/*.[ch]')
                    + glob.glob(ROOT + '/tests/*.h')
                    + [f'{ROOT}/tests/test_{x}.c'
                       for x in ('same_bits', 'fused')]):
        with open(f, 'rb') as content:
            h.update(content.read())
    return h.hexdigest()[:12]


def run(config, program, *arguments):
    """The hash that a program prints, or what went wrong."""
    try:
        r = subprocess.run([*config.runner, program, *arguments],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True, timeout=1800, errors='replace',
                           env={**os.environ, 'OMP_WAIT_POLICY': 'passive',
                                'WINEDEBUG': '-all'})
    except subprocess.TimeoutExpired:
        return 'hangs'
    found = re.search(r'(?m)hash ([0-9a-f]{16})\s*$', r.stdout)
    if r.returncode or not found:
        first = [x for x in r.stdout.split('\n')
                 if x and not x.startswith('SKIPPED')]
        return (f'FAILED, exit {r.returncode}: '
                + (first[0] if first else '')[:120])
    return found.group(1)


def first_error(said):
    """The first error in what a compiler said."""
    lines = [x for x in said.split('\n') if 'rror' in x] or said.split('\n')
    return 'FAILED to build: ' + lines[0].replace(ROOT, '')[:120]


def library(config, folder):
    """The library as an object, or None and why not."""
    lib = f'{folder}/bnfloss.o'
    r = subprocess.run([*config.command, '-w', f'-I{ROOT}/include', '-c',
                        f'{ROOT}/src/bnfloss.c', '-o', lib],
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True)
    return (None, first_error(r.stdout)) if r.returncode else (lib, '')


def judge(config, count):
    """The hashes of test_same_bits, fuzz_run and fuzz_loss. A native
    configuration must pass test_fused as well, whose rows are wide."""
    answers = []
    base = '/dev/shm' if os.path.isdir('/dev/shm') else None
    with tempfile.TemporaryDirectory(dir=base) as folder:
        lib, said = library(config, folder)
        if not lib:
            return [said] * 3
        for test in ('test_same_bits', 'fuzz_run', 'fuzz_loss',
                     *([] if config.runner else ['test_fused'])):
            fuzz = test.startswith('fuzz')
            source = f'{ROOT}/tests/' + ('fuzz/replay.c' if fuzz
                                         else test + '.c')
            program = f'{folder}/{test}{config.suffix}'
            r = subprocess.run(
                [*config.command, '-w', f'-I{ROOT}/include',
                 f'-DTARGET="{test}.c"', f'-DBNFLOSS_TEST_DIR="{ROOT}/tests"',
                 source, lib, '-o', program, '-lm'],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            if r.returncode:
                answers.append(first_error(r.stdout))
            elif test == 'test_fused':
                r = subprocess.run([program], stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
                if r.returncode:
                    answers[0] = 'FAILED: ' + r.stdout.split('\n')[0][:120]
            else:
                answers.append(run(config, program,
                                   *(['--count', count] if fuzz else [])))
    return answers[:3]


def timed(config, log):
    """What judge() returns, and its seconds; written into the log as well."""
    began = time.time()
    answers = judge(config, config.count) + [f'{time.time() - began:.0f}']
    with open(log, 'a') as f:
        f.write('\t'.join([config.name, *answers]) + '\n')
    return answers


def missing(config):
    """The tools of a configuration that are not installed."""
    return [t for t in config.tools if not shutil.which(t)]


def main():
    """Runs the configurations and compares their hashes; the exit code."""
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--quick', action='store_true')
    p.add_argument('--again', action='store_true')
    p.add_argument('names', nargs='*')
    a = p.parse_args()
    os.nice(19 - os.nice(0))
    configs = [c for c in native() + cross() if c
               and (c.quick or not a.quick)
               and (not a.names or any(n in c.name for n in a.names))]
    os.makedirs(BUILD, exist_ok=True)
    log = os.path.join(BUILD, f'same_bits-{tests_hash()}.tsv')
    known = {}
    if os.path.exists(log) and not a.again:
        with open(log) as f:
            known = {x.split('\t')[0]: x.rstrip('\n').split('\t')[1:]
                     for x in f}
    with open(f'{ROOT}/tests/test_same_bits.c') as f:
        committed = re.search(r'SAME_BITS_HASH UINT64_C\(0x(\w+)\)',
                              f.read()).group(1).lower()
    first, good, bad, skipped = {}, 0, 0, 0
    began = time.time()
    pool = concurrent.futures.ThreadPoolExecutor(2)
    asked = {c.name: pool.submit(timed, c, log) for c in configs
             if not missing(c) and c.name not in known}
    for c in configs:
        if missing(c):
            skipped += 1
            print(f'{c.name}: SKIPPED: {", ".join(missing(c))} not installed '
                  f'(apt: {c.packages})', flush=True)
            continue
        *answers, seconds = known.get(c.name) or asked[c.name].result()
        first.setdefault(c.count, answers)
        ok = answers[0] == committed and answers == first[c.count] \
            and all(re.fullmatch('[0-9a-f]{16}', x) for x in answers)
        good += ok
        bad += not ok
        print(f'{c.name}: {"" if ok else "OTHER: "}{" ".join(answers)} '
              f'({seconds} s)', flush=True)
    print(f'{time.time() - began:.0f} s in all')
    print(f'same bits: {good} configurations agree, {bad} do not, {skipped} '
          f'skipped, hash {committed}')
    return 1 if bad else 77 if skipped else 0


if __name__ == '__main__':
    sys.exit(main())
