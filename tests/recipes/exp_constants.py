#!/usr/bin/env python3
"""Prints the constants of src/kernels/exp.h.

    exp(x) = 2^(N/8) * e^r,   N = round(8 x / ln 2),   |r| <= ln 2 / 16
    e^r    = 1 + r + C2 r^2 + C3 r^3    (relative error in u = 2^-24 below)
    2^(j/8), j = 0 .. 7, from a table that is scaled by one common factor,
    chosen so that all eight entries lie next to a float. The factor divides
    out of every sum in double, so the table has almost no rounding error.

Needs mpmath.
"""
from mpmath import mp, mpf, log, exp, floor, frexp, linspace
import numpy as np

mp.prec = 200
U = mpf(2) ** -24
LN2 = log(mpf(2))


def to_float(x):
    """The float nearest to x, as an exact mpf (normal range only)."""
    m, e = frexp(x)
    return floor(m * 2**24 + mpf(1) / 2) * mpf(2) ** (e - 24)


def hexf(x, digits=6):
    return float(x).hex() + "f"


def table_scale():
    """T[0] in [1, 2^(1/8)) such that T[0] 2^(j/8) is nearest to floats."""
    t0 = np.arange(2**23, int(2**23 * 2 ** (1 / 8)), dtype=np.float64) / 2**23
    worst = np.zeros_like(t0)
    for j in range(1, 8):
        t = t0 * float(mpf(2) ** (mpf(j) / 8))
        ulp = np.where(t < 2, 2.0**-23, 2.0**-22)
        err = np.abs(t / ulp - np.rint(t / ulp)) * ulp / t
        worst = np.maximum(worst, err)
    best = int(np.argmin(worst))
    return mpf(t0[best]), worst[best] * 2**24


def main():
    c = to_float(LN2 / 8)
    print("8 / ln 2      ", hexf(to_float(8 / LN2)))
    print("ln 2 / 8      ", hexf(c), "which lacks %s: %.4f u |x - c|"
          % (mp.nstr(LN2 / 8 - c, 4), float(abs(LN2 / 8 - c) / (LN2 / 8) / U)))

    # C2, C3: the Remez exchange is overkill for two coefficients; a linear
    # program on a grid, weighted for relative error, is exact to 1e-4 u. The
    # common factor 1 + e0 goes where the table's scale goes.
    from scipy.optimize import linprog
    a = float(LN2 / 16) * 1.0005
    r = np.cos(np.linspace(0, np.pi, 801)) * a
    er = np.array([float(exp(mpf(x)) - 1 - mpf(x)) for x in r])
    w = np.exp(-r)
    # |r^2 C2 + r^3 C3 - (1 + e0) er' ...| <= t with e0 free: first order in e0
    rows = np.stack([r**2 * w, r**3 * w, -np.ones_like(r), -np.ones_like(r)], 1)
    rows2 = np.stack([-r**2 * w, -r**3 * w, np.ones_like(r), -np.ones_like(r)], 1)
    sol = linprog([0, 0, 0, 1], np.vstack([rows, rows2]),
                  np.concatenate([er * w, -er * w]), bounds=[(None, None)] * 4)
    c2, c3, e0, t = sol.x
    c2, c3 = to_float(mpf(c2)), to_float(mpf(c3))
    rel = [(1 + mpf(x) + c2 * mpf(x)**2 + c3 * mpf(x)**3) / exp(mpf(x)) - 1
           for x in r]
    mid = (max(rel) + min(rel)) / 2
    print("C2            ", hexf(c2))
    print("C3            ", hexf(c3))
    print("e^r: common factor 1 + %s, error around it %.4f u"
          % (mp.nstr(mid, 8), float((max(rel) - min(rel)) / 2 / U)))

    t0, err = table_scale()
    entries = [to_float(t0 * mpf(2) ** (mpf(j) / 8)) for j in range(8)]
    # the scale that centres the eight rounding errors, and e^r's factor
    ratios = [e / mpf(2) ** (mpf(j) / 8) for j, e in enumerate(entries)]
    scale = (max(ratios) + min(ratios)) / 2
    print("table, error around its scale %.4f u:"
          % float((max(ratios) / min(ratios) - 1) / 2 / U))
    for j, e in enumerate(entries):
        print("   2^(%d/8) scaled" % j, hexf(e))
    print("scale * common factor: ", float(scale * (1 + mid)).hex(),
          mp.nstr(scale * (1 + mid), 20))
    print("its inverse            ", float(1 / (scale * (1 + mid))).hex())


main()
