#!/usr/bin/env python3
"""What static analysers report about src/, compared with analysed.txt.

    tests/proof/analyse.py [--quick]

gcc -fanalyzer (minutes; not with --quick), clang's analyser, clang-tidy and
cppcheck read the whole library as one file. A finding is a failure unless
analysed.txt has a block for it,

    the tool
    the file
    the check
    the line as it is, without a comment
    why it is no error

and so is a block that nothing finds any more. Each tool must also report a
planted null pointer. Exits 1 after a failure, 77 where no tool is installed.
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

from common import ROOT

LIST = os.path.join(ROOT, 'tests', 'proof', 'analysed.txt')
FLAGS = [f'-I{ROOT}/include', '-std=c11']
# Checks that are off, since what they ask for is not how this library is made.
OFF = {
    'bugprone-easily-swappable-parameters': 'two numbers side by side',
    'bugprone-suspicious-include': 'one file is made of many',
    'bugprone-implicit-widening-of-multiplication-result': 'h * BN_VL, below 64',
    'bugprone-casting-through-void': 'pointers of intrinsics',
    'performance-no-int-to-ptr': 'addresses to prefetch',
    'clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling':
        'memcpy and memset',
    'clang-analyzer-optin.performance.Padding': 'fields in reading order',
    'bugprone-macro-parentheses': 'macros that make initialisers',
}
TIDY = '-*,bugprone-*,cert-*,clang-analyzer-*,performance-*,portability-*,' \
    + ','.join('-' + check for check in OFF)
TOOLS = {
    'cppcheck': ['cppcheck', '--quiet', '--std=c11', f'-I{ROOT}/include',
                 '--enable=warning,performance,portability',
                 '--suppress=missingIncludeSystem', '-D__GNUC__',
                 '-D__x86_64__',
                 '--template={file}:{line}:{column}: warning: {message} '
                 '[{id}]'],
    'clang': ['clang-19', '--analyze', '-Xclang', '-analyzer-output=text',
              *FLAGS],
    'clang-tidy': ['clang-tidy-19', '--quiet', '--header-filter=src/',
                   '--checks=' + TIDY],
    'gcc': ['gcc', '-O1', '-fanalyzer', *FLAGS, '-c', '-o', os.devnull],
}
PLANTED = '''int planted(int n);
int planted(int n)
{
    int *p = 0;

    return n > 3 ? *p : 0;
}
'''


def findings(tool, source):
    """(file, check, line) of each warning of a tool about a file."""
    after = ['--', *FLAGS] if tool == 'clang-tidy' else []
    r = subprocess.run([*TOOLS[tool], source, *after], cwd=ROOT,
                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True, errors='replace')
    found = set()
    for path, number, check in re.findall(
            r'^(.+?):(\d+):\d+: (?:warning|error): .*\[([^\]]+)\]$',
            r.stdout, re.M):
        with open(os.path.join(ROOT, path), errors='replace') as f:
            lines = f.read().split('\n')
        line = re.sub(r'/\*.*?\*/|//.*|/\*.*', ' ', lines[int(number) - 1])
        line = ' '.join(line.split())
        name = os.path.relpath(os.path.join(ROOT, path), ROOT)
        found.add((name, check.split(',')[0].split('[')[-1], line))
    return found


def known():
    """The blocks of analysed.txt."""
    with open(LIST) as f:
        text = re.sub(r'^#.*\n', '', f.read(), flags=re.M)
    blocks = [b.strip().split('\n') for b in re.split(r'\n\s*\n', text)]
    return {tuple(b[:4]) for b in blocks if len(b) > 4}


def main():
    """Runs each analyser and compares; the exit code."""
    quick = '--quick' in sys.argv[1:]
    failed = missing = 0
    listed = known()
    with tempfile.TemporaryDirectory() as folder:
        planted = os.path.join(folder, 'planted.c')
        with open(planted, 'w') as f:
            f.write(PLANTED)
        for tool, command in TOOLS.items():
            if tool == 'gcc' and quick:
                continue
            if not shutil.which(command[0]):
                print(f'SKIPPED: {tool}: not installed (apt: {command[0]})')
                missing += 1
                continue
            found = {(tool, *x) for x in findings(tool, f'{ROOT}/src/'
                                                  'bnfloss.c')}
            of_tool = {x for x in listed if x[0] == tool}
            for x in sorted(found - of_tool):
                print('FINDING: ' + ' | '.join(x))
            for x in sorted(of_tool - found):
                print('STALE in analysed.txt: ' + ' | '.join(x))
            seen = bool(findings(tool, planted))
            print(f'{tool}: {len(found - of_tool)} findings, '
                  f'{len(found & of_tool)} explained, a planted one '
                  + ('seen' if seen else 'NOT SEEN'), flush=True)
            failed += len(found ^ of_tool) + (not seen)
    return 1 if failed else 77 if missing == len(TOOLS) else 0


if __name__ == '__main__':
    sys.exit(main())
