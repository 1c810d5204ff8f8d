#!/usr/bin/env python3
"""How much code there is, how much of it is explained, and whether it fits.

    tests/tools/lines.py [FOLDER] [--against COMMIT]

For each folder of FOLDER (src unless given): lines of code, lines that hold a
comment and their share of all lines, the longest line, the longest function
and the most parameters of a function that is not an inlined kernel helper.
A line of code is one with something else than a comment or white space.
"""
import argparse
import collections
import io
import os
import re
import subprocess
import sys
import tarfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
COMMENT = re.compile(r'/\*.*?\*/', re.S)
STRING = re.compile(r'"(?:\\.|[^"\\\n])*"')
FUNCTION = re.compile(r'^(?!typedef|#|struct|enum|union)[A-Za-z_][^;{}#]*?'
                      r'\(([^;{}]*)\)\s*\n\{\n(.*?)^\}', re.S | re.M)


def sources(folder, commit):
    """{path: text} of the C files of a folder, as they are or at a commit."""
    found = {}
    if commit is None:
        for where, _, names in os.walk(os.path.join(ROOT, folder)):
            for name in names:
                path = os.path.join(where, name)
                if name.endswith(('.c', '.h')):
                    with open(path) as f:
                        found[os.path.relpath(path, ROOT)] = f.read()
        return found
    packed = subprocess.run(['git', 'archive', commit, folder], cwd=ROOT,
                            check=True, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        for entry in tar:
            if entry.isfile() and entry.name.endswith(('.c', '.h')):
                found[entry.name] = tar.extractfile(entry).read().decode()
    return found


def counts(text):
    """Lines of code, lines with a comment, and all lines of a file."""
    marked = COMMENT.sub(lambda m: re.sub(r'[^\n]+', '\1', m.group()), text)
    lines = marked.split('\n')
    code = sum(bool(line.replace('\1', '').strip()) for line in lines)
    comments = sum('\1' in line for line in lines)
    return code, comments, len(lines)


def parameters(head):
    """The number of parameters in the text between a function's brackets."""
    depth = commas = 0
    for c in head[head.index('(') + 1:] if '(' in head and \
            head.count('(') > head.count(')') else head:
        depth += c in '([{'
        depth -= c in ')]}'
        commas += c == ',' and depth == 0
    return 0 if head.strip() in ('', 'void') else commas + 1


def functions(text):
    """(parameters, lines) of each function, inlined kernel helpers apart."""
    plain = STRING.sub('""', COMMENT.sub('', text))
    for m in FUNCTION.finditer(plain):
        start = m.group(0).split('(')[0]
        inlined = 'BN_INLINE' in start
        yield (0 if inlined else parameters(m.group(1)),
               m.group(2).count('\n'))


def table(folder, commit):
    """Prints a line per folder and returns the lines of code in all."""
    sums = collections.defaultdict(lambda: [0] * 6)
    for path, text in sources(folder, commit).items():
        row = sums[os.path.dirname(path)]
        for i, n in enumerate(counts(text)):
            row[i] += n
        row[3] = max([row[3], *map(len, text.split('\n'))])
        for takes, lines in functions(text):
            row[4] = max(row[4], lines)
            row[5] = max(row[5], takes)
    print(f'{commit or "the tree"}:')
    print(f'{"folder":24}{"code":>7}{"comment":>9}{"share":>7}{"columns":>9}'
          f'{"function":>10}{"parameters":>12}')
    total = [sum(r[i] for r in sums.values()) for i in range(3)] \
        + [max(r[i] for r in sums.values()) for i in range(3, 6)]
    for name, r in [*sorted(sums.items()), ('all', total)]:
        print(f'{name:24}{r[0]:7}{r[1]:9}{100 * r[1] / r[2]:6.1f}%{r[3]:9}'
              f'{r[4]:10}{r[5]:12}')
    return total[0]


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('folder', nargs='?', default='src')
    p.add_argument('--against', metavar='COMMIT')
    a = p.parse_args()
    now = table(a.folder, None)
    if a.against:
        before = table(a.folder, a.against)
        print(f'{now - before:+d} lines of code')
    return 0


if __name__ == '__main__':
    sys.exit(main())
