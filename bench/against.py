#!/usr/bin/env python3
"""Whether this tree is slower than a commit: both libraries in one process.

    bench/against.py COMMIT [--rounds N] [--cc CC] [--only TEXT]

Both are compiled as shared libraries, each with bench/against.c. A round runs
every case with the commit, with this tree, and with a second copy of the
commit, in an order that changes from round to round. The results must have the
same bits, or there is no time. For each case it prints
the median ratio of this tree's time to the commit's, and beside it that of the
second copy's, which shows how much of the ratio is noise. Exits with 1 if a
ratio is more than 2 % and more than twice that noise.
"""
import argparse
import ctypes
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def library(cc, tree, name, folder):
    """Builds a tree's library with this tree's cases, and loads it."""
    path = os.path.join(folder, name)
    subprocess.run([cc, '-O2', '-std=gnu11', '-fPIC', '-shared',
                    '-fvisibility=hidden', '-I', os.path.join(tree, 'include'),
                    os.path.join(ROOT, 'bench', 'against.c'),
                    os.path.join(tree, 'src', 'bnfloss.c'), '-o', path],
                   check=True)
    return load(path)


def load(path):
    loaded = ctypes.CDLL(path)
    loaded.against_name.restype = ctypes.c_char_p
    loaded.against_time.restype = ctypes.c_double
    return loaded


def times(libraries, k):
    """A case's seconds with each library, in an order by chance."""
    seconds = [0.0] * len(libraries)
    found = [ctypes.c_double() for _ in libraries]
    for i in random.sample(range(len(libraries)), len(libraries)):
        seconds[i] = libraries[i].against_time(k, ctypes.byref(found[i]))
    if any(x.value != found[0].value for x in found):
        name = libraries[0].against_name(k).decode()
        sys.exit(f'{name}: other results than the commit has, so no times')
    return seconds


def ratio(rounds, i):
    """Median of library i's time over the commit's, and half the distance
    between the quartiles."""
    all_ratios = [r[i] / r[0] for r in rounds]
    low, _, high = statistics.quantiles(all_ratios, n=4)
    return statistics.median(all_ratios), (high - low) / 2


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('commit')
    parser.add_argument('--rounds', type=int, default=15)
    parser.add_argument('--cc', default='gcc')
    parser.add_argument('--only', default='')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before = os.path.join(folder, 'before')
        packed = os.path.join(folder, 'before.tar')
        subprocess.run(['git', 'archive', '-o', packed, options.commit],
                       cwd=ROOT, check=True)
        os.mkdir(before)
        subprocess.run(['tar', '-xf', packed, '-C', before], check=True)
        libraries = [library(options.cc, before, 'before.so', folder),
                     library(options.cc, ROOT, 'after.so', folder)]
        shutil.copy(os.path.join(folder, 'before.so'),
                    os.path.join(folder, 'again.so'))
        libraries.append(load(os.path.join(folder, 'again.so')))

        names = []
        while libraries[0].against_name(len(names)):
            names.append(libraries[0].against_name(len(names)).decode())
        cases = [k for k, name in enumerate(names) if options.only in name]
        rounds = {k: [] for k in cases}
        for _ in range(options.rounds + 1):         # the first is thrown away
            for k in cases:
                rounds[k].append(times(libraries, k))
    slower = 0
    print(f'{"case":24s} {"after/before":>14s} {"before/before":>16s}'
          f'   ({options.rounds} rounds, medians, half the quartiles apart)')
    for k in cases:
        found = rounds[k][1:]
        if min(map(min, found)) < 0:
            sys.exit(f'{names[k]}: the call fails')
        if max(map(max, found)) == 0:
            print(f'{names[k]:24s} not on this CPU')
            continue
        new, spread = ratio(found, 1)
        same, noise = ratio(found, 2)
        bad = new > 1.02 and new - 1 > 2 * max(noise, abs(same - 1))
        slower += bad
        print(f'{names[k]:24s} {new:8.3f} +-{spread:5.3f} {same:9.3f} '
              f'+-{noise:5.3f}{"  SLOWER" if bad else ""}')
    return slower > 0


if __name__ == '__main__':
    sys.exit(main())
