"""What the programs of the long tier share: paths, and the hash of src/."""
import glob
import hashlib
import os
import subprocess

import ctokens

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.environ.get('BNFLOSS_PROOF_DIR', os.path.join(ROOT, 'build-proof'))


def source_files(tree=ROOT):
    """Paths of all C files in src/, relative to the tree, in order."""
    return sorted(os.path.relpath(f, tree)
                  for f in glob.glob(f'{tree}/src/**/*', recursive=True)
                  if f.endswith(('.c', '.h')))


def read(file, tree=ROOT):
    """The text of a file in the tree."""
    with open(os.path.join(tree, file), encoding='utf-8') as f:
        return f.read()


def source_hash(tree=ROOT):
    """A hash of the tokens of src/ and of the header: what the results are
    about. A change of comments or layout does not change it."""
    h = hashlib.sha256()
    for file in [*source_files(tree), 'include/bnfloss.h']:
        h.update(file.encode() + b'\0\0')
        h.update(ctokens.spelling(read(file, tree)).encode() + b'\0\0')
    return h.hexdigest()


def archive(command, folder, tree=ROOT):
    """Builds the library as an archive in folder, so that tests that include
    src/ take nothing from it. Its path, or None and what the compiler said."""
    made, lib = os.path.join(folder, 'bnfloss.o'), folder + '/libbnfloss.a'
    try:                        # a compiler can take all day over a loop
        r = subprocess.run([*command, '-w', f'-I{tree}/include', '-c',
                            f'{tree}/src/bnfloss.c', '-o', made],
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                           text=True, errors='replace', timeout=300)
    except subprocess.TimeoutExpired:
        return None, 'compiles for more than five minutes'
    if r.returncode:
        return None, r.stdout
    if os.path.exists(lib):
        os.unlink(lib)
    subprocess.run(['ar', 'rcs', lib, made], check=True)
    return lib, ''


def test_source(name, tree=ROOT):
    """The file of a test: a unit test, one of the proof, a fuzz target."""
    if name.startswith('fuzz_'):
        return f'{tree}/tests/fuzz/replay.c'
    for folder in ('tests', 'tests/proof'):
        path = f'{tree}/{folder}/test_{name}.c'
        if os.path.exists(path):
            return path
    return None


def all_tests():
    """Names of all tests that are C programs."""
    files = glob.glob(f'{ROOT}/tests/test_*.c') \
        + glob.glob(f'{ROOT}/tests/proof/test_*.c')
    return sorted(os.path.basename(f)[5:-2] for f in files)


def threads_of(folder):
    """clang-19's flags for OpenMP, with its own libomp or an older one. None
    where there is no libomp."""
    probe = os.path.join(folder, 'probe.c')
    with open(probe, 'w') as f:
        f.write('#include <omp.h>\n'
                'int main(void) { return omp_get_max_threads() < 1; }\n')
    flags = ['-fopenmp=libomp', '-DBNFLOSS_OPENMP']
    choices = [flags]
    for header in glob.glob('/usr/lib/llvm-*/lib/clang/*/include/omp.h'):
        top = header.split('/lib/clang/')[0]
        choices.append([*flags, '-idirafter', os.path.dirname(header),
                        '-L' + top + '/lib', '-Wl,-rpath,' + top + '/lib'])
    for choice in choices:
        if subprocess.run(['clang-19', '-w', *choice, probe, '-o',
                           folder + '/probe'],
                          stderr=subprocess.DEVNULL).returncode == 0:
            return choice
    return []


def instruction_sets(command, lib, folder):
    """The names of the instruction sets in a library, the slowest first: it
    says them itself."""
    probe = os.path.join(folder, 'instruction_sets')
    with open(probe + '.c', 'w') as f:
        f.write('#include "bnfloss.h"\n#include <stdio.h>\n'
                'int main(void)\n{\n'
                '    for (int i = 0; bnfloss_isa_name(i); i++)\n'
                '        puts(bnfloss_isa_name(i));\n'
                '    return 0;\n}\n')
    subprocess.run([*command, '-w', f'-I{ROOT}/include', probe + '.c', lib,
                    '-o', probe, '-lm'], check=True)
    return subprocess.run([probe], stdout=subprocess.PIPE, text=True,
                          env={**os.environ, 'LLVM_PROFILE_FILE': os.devnull},
                          check=True).stdout.split()
