#!/usr/bin/env python3
"""Prints tests/golden.h: small cases and their losses, dlogp, gradients and
metrics, from PyTorch autograd in float64.

Written from the papers' formulas and from the manual, include/bnfloss.h, and
never from the C sources; what a formula freezes is detached. Ada-DPO's scale
is found by bisection in mpmath, not by the closed form.

    python3 golden.py > ../golden.h
"""
import math
import random
import struct
from types import SimpleNamespace

import mpmath
import torch
from torch.nn.functional import logsigmoid

torch.set_default_dtype(torch.float64)
NAN = float("nan")

# In the order of the manual's numbers, which start at 1.
KINDS = """BNF DPO SFT ROBUST HINGE IPO IPO_SUM EXO_PAIR DISCOPOP SIGMOID_NORM
    SIMPO ALPHAPO CPO SLIC DPOP RDPO RPO RPO_MEAN ADA_DPO BMC FPO IREPO UPO
    NCA_PAIR BCO_PAIR SPPO_HARD APO_ZERO APO_DOWN ORPO AOT AOT_UNPAIRED KTO BCO
    APO_ZERO_UNPAIRED ASFT""".split()
DIVERGENCE = set("""DPO ROBUST HINGE IPO IPO_SUM EXO_PAIR DISCOPOP SIGMOID_NORM
    RDPO RPO RPO_MEAN IREPO UPO""".split())
ROWWISE = {"BNF", "SFT"}                    # losses of a token
UNPAIRED = {"KTO", "BCO", "APO_ZERO_UNPAIRED", "ASFT"}
PAIRED = set(KINDS) - ROWWISE - UNPAIRED
APART = {"NCA_PAIR", "BCO_PAIR", "SPPO_HARD", "APO_ZERO", "APO_DOWN", "ORPO"}
SORTED = {"AOT", "AOT_UNPAIRED"}
MEANS = {"IPO", "SIGMOID_NORM", "SIMPO", "ALPHAPO", "FPO", "ORPO"}
MEAN_REWARDS = {"SIMPO", "ALPHAPO", "ORPO", "ASFT"}
NO_REFERENCE = {"SFT", "CPO", "SLIC"} | MEAN_REWARDS
BETA = set(KINDS) - {"BNF", "SFT", "SLIC", "ORPO", "ASFT"}
LOGISTIC = set("""DPO SIGMOID_NORM SIMPO ALPHAPO CPO DPOP RDPO RPO RPO_MEAN BMC
    FPO UPO""".split())
FLIP = LOGISTIC | SORTED | {"ROBUST", "EXO_PAIR"}

NORMS = ["", "none", "length", "shortest", "batch"]
DIVISORS = ["", "sequences", "pairs", "tokens", "given"]
PAIRINGS = ["", "adjacent", "halves"]
DIVERGENCES = ["reverse_kl", "forward_kl", "js", "alpha"]
FLAGS = dict(dft=1, chosen_only=2, reference_free=4, wpo=8, policy_weights=16)
FLOATS = """beta flip_prob eps gamma alpha penalty tau tau_max rho cap
    desirable_weight undesirable_weight sft_weight ld_alpha f_alpha""".split()
OWN = {
    "BNF": dict(token_norm="length"),
    "SFT": dict(divisor="tokens"),
    "EXO_PAIR": dict(flip_prob=1e-3),
    "DISCOPOP": dict(tau=0.05),
    "SIMPO": dict(gamma=0.5),
    "ALPHAPO": dict(gamma=0.5, alpha=0.25),
    "CPO": dict(sft_weight=1, sft_norm="batch"),
    "SLIC": dict(gamma=1, sft_weight=0.1),
    "DPOP": dict(penalty=50),
    "RDPO": dict(alpha=0.01),
    "RPO": dict(sft_weight=0.005),
    "RPO_MEAN": dict(sft_weight=0.2, sft_norm="length"),
    "ADA_DPO": dict(tau=0.1, tau_max=5, rho=0.1),
    "BMC": dict(cap=2),
    "FPO": dict(alpha=0.5),
    "ORPO": dict(penalty=0.1, sft_weight=1, sft_norm="length"),
    "KTO": dict(desirable_weight=1, undesirable_weight=1),
    "BCO": dict(desirable_weight=1, undesirable_weight=1),
    "ASFT": dict(penalty=0.1),
}

# A case's own numbers; what is not here belongs to the spec. A true array
# stands for one of random numbers.
CASE = dict(pairing="", sides=(), lengths=(3, 2), V=4, spread=2.0,
            refs=(-4.0, -0.05), masked=0, ignore=(), twins=(), twin_refs=(),
            weights=False, seq_weight=False, pair_weight=False,
            pair_scale=False, pair_margin=False, soft_label=False,
            distance=False, row_mask=False, mismatched=(), kl=0.0,
            shift_mean=0.0, shift_count=0.0, scale=0.0, softcap=0.0, ls=0.0,
            zeta=0.0, also=())
NEEDS = {"BMC": "row_mask", "FPO": "distance", "IREPO": "soft_label",
         "UPO": "pair_weight"}
PAIR = (3, 2, 1, 2)
THREE = (2, 1, 1, 2, 1, 1)
TWINS = (2, 3, 1, 1, 2, 3, 1, 1)

CASES = [
    ("SFT", dict()),
    ("SFT", dict(token_norm="length")),
    ("SFT", dict(token_norm="length", divisor="sequences", weights=True)),
    ("SFT", dict(weights=True)),
    ("SFT", dict(weights=True, divisor="given", divisor_value=3.5,
                 loss_scale=8.0)),
    ("SFT", dict(ignore=(0, 3))),
    ("SFT", dict(dft=True)),
    ("SFT", dict(dft=True, weights=True, ignore=(4,))),
    ("SFT", dict(ls=0.25)),
    ("SFT", dict(ls=1.0)),
    ("SFT", dict(zeta=0.125)),
    ("SFT", dict(ls=0.125, zeta=0.0625, weights=True, ignore=(1,))),
    ("SFT", dict(ls=0.25, masked=2)),
    ("SFT", dict(scale=0.5)),
    ("SFT", dict(softcap=5.0, spread=6.0)),
    ("SFT", dict(softcap=30.0, scale=2.0, ls=0.125, zeta=0.0625)),
    ("SFT", dict(masked=3, V=9)),
    ("SFT", dict(V=2, lengths=(4,))),
    ("SFT", dict(seq_weight=True, token_norm="shortest", weights=True,
                 divisor="sequences")),
    ("SFT", dict(chosen_only=True, sides=(1, -1, 1), lengths=(2, 2, 1))),
    ("SFT", dict(chosen_only=True, pairing="halves", lengths=PAIR,
                 seq_weight=True, token_norm="length", divisor="sequences")),
    ("BNF", dict(sides=(1, -1))),
    ("BNF", dict(sides=(1, 1, -1), lengths=(2, 1, 3))),
    ("BNF", dict(sides=(-1, -1), spread=4.0)),
    ("BNF", dict(pairing="adjacent", lengths=(3, 1, 2, 2))),
    ("BNF", dict(pairing="halves", lengths=(3, 1, 2, 2))),
    ("BNF", dict(sides=(1, -1), token_norm="none", divisor="tokens")),
    ("BNF", dict(pairing="adjacent", token_norm="shortest", divisor="pairs",
                 lengths=PAIR)),
    ("BNF", dict(pairing="adjacent", token_norm="shortest", divisor="pairs",
                 lengths=(3, 2, 2, 3), eps=1e-6)),
    ("BNF", dict(sides=(1, -1), eps=1e-6)),
    ("BNF", dict(sides=(1, -1), eps=0.125)),
    ("BNF", dict(sides=(1, -1), eps=1.0, refs=(-0.5, -0.01))),
    ("BNF", dict(sides=(1, -1), weights=True, ignore=(2,))),
    ("BNF", dict(sides=(1, -1, 1), lengths=(2, 2, 2), ignore=(2, 3))),
    ("BNF", dict(pairing="adjacent", token_norm="shortest",
                 lengths=(3, 2, 2, 1), ignore=(7,))),
    ("BNF", dict(sides=(1, -1), divisor="given", divisor_value=0.75,
                 loss_scale=1024.0)),
    ("BNF", dict(sides=(1, -1), scale=0.5, spread=6.0)),
    ("BNF", dict(sides=(1, -1), softcap=5.0, spread=6.0)),
    ("BNF", dict(sides=(1, -1), masked=2, V=9)),
    ("BNF", dict(sides=(1, -1), refs=(-9.0, -6.0))),
    ("BNF", dict(sides=(1, -1), refs=(-0.01, -0.001), spread=5.0)),
    ("BNF", dict(sides=(1, -1, 1), lengths=(2, 1, 2), seq_weight=True,
                 weights=True)),
    ("DPO", dict()),
    ("DPO", dict(lengths=PAIR)),
    ("DPO", dict(beta=0.5, pairing="halves", lengths=PAIR)),
    ("DPO", dict(flip_prob=0.25, lengths=(2, 2, 3, 1))),
    ("DPO", dict(beta=2.0, flip_prob=0.5, pairing="halves")),
    ("DPO", dict(beta=0.25, weights=True, ignore=(1,))),
    ("DPO", dict(beta=0.25, lengths=(2, 1, 1, 2), ignore=(3,))),
    ("DPO", dict(lengths=(2, 1, 1, 2), ignore=(3, 4, 5))),
    ("DPO", dict(divisor="given", divisor_value=4.0, loss_scale=0.25)),
    ("DPO", dict(divisor="tokens", scale=2.0)),
    ("DPO", dict(divisor="sequences", lengths=PAIR, ignore=(5,))),
    ("DPO", dict(beta=0.5, softcap=10.0, spread=8.0, masked=1)),
    ("DPO", dict(reference_free=True, lengths=PAIR)),
    ("DPO", dict(pair_weight=True, pair_scale=True, pair_margin=True,
                 flip_prob=0.125, lengths=THREE, pairing="halves")),
    ("DPO", dict(pair_weight=True, wpo=True, sft_weight=0.5, lengths=PAIR)),
    ("DPO", dict(weight=0.5, loss_scale=4.0)),
]
# Every loss at its defaults, then its own numbers on more pairs, some of
# them weighted, and with tokens and whole responses that are ignored.
for _kind in KINDS[3:]:
    _halves = dict(pairing="halves") if _kind in PAIRED else \
        dict(sides=(1, -1, -1, 1, 1, 1))
    _sides = dict(sides=(-1, 1, 1, -1)) if _kind in UNPAIRED else {}
    _beta = dict(beta=1.5) if _kind in BETA else {}
    CASES += [
        (_kind, dict(lengths=PAIR, **_sides)),
        (_kind, dict(lengths=(2, 1, 3, 2, 1, 1), ignore=(2,), **_beta,
                     **_halves)),
        (_kind, dict(weights=True, lengths=PAIR, ignore=(4,), loss_scale=2.0,
                     **_sides)),
    ]
for _kind in sorted(FLIP - {"DPO"}):
    CASES.append((_kind, dict(flip_prob=0.25, beta=0.5, lengths=PAIR)))
for _kind in sorted(PAIRED - APART - SORTED - {"DPO"}):
    CASES.append((_kind, dict(pair_weight=True, pair_scale=True,
                              pair_margin=True, lengths=PAIR)))
for _kind in sorted(APART):
    CASES.append((_kind, dict(pair_weight=True, lengths=PAIR)))
for _kind in sorted(DIVERGENCE):
    CASES.append((_kind, dict(f_divergence="js", lengths=PAIR)))
CASES += [
    ("DPO", dict(f_divergence="forward_kl", lengths=PAIR, refs=(-2, -1))),
    ("IPO", dict(f_divergence="forward_kl", lengths=PAIR, refs=(-2, -1))),
    ("IPO_SUM", dict(f_divergence="alpha", lengths=PAIR)),
    ("HINGE", dict(f_divergence="alpha", f_alpha=0.3, lengths=PAIR, beta=1)),
    ("DPO", dict(f_divergence="alpha", f_alpha=2.0, lengths=PAIR)),
    ("DPO", dict(f_divergence="alpha", f_alpha=1.0, lengths=PAIR)),
    ("DPO", dict(f_divergence="alpha", f_alpha=0.3, lengths=(2, 1, 1, 2),
                 ignore=(3,), pair_scale=True)),
    ("SIGMOID_NORM", dict(f_divergence="alpha", lengths=PAIR, beta=1)),
    ("ROBUST", dict(f_divergence="js", flip_prob=0.125, reference_free=True)),
]
# LD-DPO: the longer response of a pair, on either side.
for _kind in sorted(PAIRED - {"BMC"}):
    CASES.append((_kind, dict(ld_alpha=0.5, lengths=(3, 1, 1, 3), beta=0.25,
                              weights=_kind in ("DPO", "DPOP", "NCA_PAIR"))
                  if _kind in BETA else
                  dict(ld_alpha=0.5, lengths=(3, 1, 1, 3))))
CASES += [
    ("DPO", dict(ld_alpha=0.0, lengths=(4, 2, 2, 3), ignore=(0, 9))),
    ("IPO", dict(ld_alpha=0.0, lengths=(3, 1, 1, 3))),
    ("DPO", dict(ld_alpha=0.5, f_divergence="js", lengths=(3, 1, 1, 3),
                 pairing="halves")),
    ("DPO", dict(ld_alpha=0.25, sft_weight=0.5, sft_norm="length",
                 lengths=(3, 1, 1, 3))),
    ("DPO", dict(ld_alpha=0.5, lengths=(2, 1, 1, 2), ignore=(3,))),
]
for _kind in sorted(PAIRED - SORTED):
    CASES.append((_kind, dict(wpo=True, lengths=PAIR, spread=3.0)))
CASES += [
    ("DPO", dict(wpo=True, masked=2, V=8, scale=0.5, pair_weight=True)),
    ("DPO", dict(wpo=True, ignore=(1,), softcap=8.0, lengths=PAIR)),
    ("DPO", dict(wpo=True, ld_alpha=0.5, lengths=(3, 1, 1, 3))),
    ("DPO", dict(wpo=True, weights=True, lengths=PAIR)),
    ("DPO", dict(wpo=True, lengths=(2, 1, 1, 2), ignore=(3,))),
]
for _norm in ("none", "length", "batch"):
    for _kind in ("DPO", "CPO", "SLIC", "RPO", "RPO_MEAN", "ORPO", "AOT",
                  "APO_ZERO", "SIMPO"):
        CASES.append((_kind, dict(sft_weight=0.5, sft_norm=_norm,
                                  lengths=PAIR, weights=_kind in "CPO SIMPO",
                                  ignore=(1,))))
    CASES.append(("DPO", dict(sft_weight=0.25, sft_norm=_norm, ignore=(0, 1),
                              lengths=(2, 2, 1, 3, 2, 1), divisor="given",
                              divisor_value=2.0, pair_weight=True)))
CASES += [
    ("CPO", dict(sft_weight=0, lengths=PAIR)),
    ("RPO", dict(sft_weight=0.25, beta=0.5, wpo=True, lengths=PAIR)),
    ("SLIC", dict(gamma=0.25, lengths=THREE)),
    ("HINGE", dict(beta=1.0, lengths=THREE, pair_margin=True)),
    ("SIMPO", dict(beta=2.0, gamma=1.0, lengths=PAIR)),
    ("ALPHAPO", dict(alpha=0.0, lengths=PAIR)),
    ("ALPHAPO", dict(alpha=-0.5, beta=2.0, gamma=0.0, lengths=PAIR)),
    ("DPOP", dict(penalty=0.5, refs=(-9.0, -5.0), lengths=PAIR)),
    ("DPOP", dict(penalty=2.0, refs=(-0.5, -0.1), lengths=PAIR)),
    ("RDPO", dict(alpha=-0.25, lengths=(4, 1, 1, 2), ignore=(1,))),
    ("DISCOPOP", dict(tau=1.0, beta=1.0, lengths=THREE)),
    ("DISCOPOP", dict(beta=0.05, spread=0.5, refs=(-2.0, -1.5))),
    ("ADA_DPO", dict(beta=0.015625, lengths=THREE)),
    ("ADA_DPO", dict(beta=8.0, lengths=THREE)),
    ("ADA_DPO", dict(rho=0.5, tau=0.25, tau_max=0.5, lengths=THREE)),
    ("ADA_DPO", dict(rho=0.01, tau_max=50, beta=1.0, lengths=THREE)),
    ("BMC", dict(policy_weights=True, lengths=PAIR, beta=0.5)),
    ("BMC", dict(policy_weights=True, cap=0.5, weights=True, lengths=PAIR)),
    ("BMC", dict(cap=20.0, lengths=PAIR, flip_prob=0.125)),
    ("BMC", dict(cap=0.0, lengths=PAIR, sft_weight=0.25)),
    ("BMC", dict(reference_free=True, lengths=PAIR)),
    ("FPO", dict(alpha=2.0, loss_scale=16.0, lengths=PAIR, flip_prob=0.125,
                 divisor="given", divisor_value=3.0)),
    ("FPO", dict(lengths=(2, 1, 1, 2), ignore=(3,), pair_weight=True)),
    ("IREPO", dict(beta=0.5, pair_scale=True, lengths=THREE)),
    ("UPO", dict(beta=0.5, flip_prob=0.125, f_divergence="js",
                 lengths=THREE)),
    ("ORPO", dict(penalty=2.0, spread=4.0, sft_weight=0, lengths=PAIR)),
    ("ASFT", dict(penalty=1.5, sides=(1, -1, -1), lengths=(2, 2, 1),
                  seq_weight=True, weights=True)),
    ("ASFT", dict(penalty=0.0, pairing="adjacent", lengths=PAIR,
                  ignore=(5,))),
    ("AOT", dict(lengths=TWINS, twins=((4, 0), (5, 1)), beta=1.0)),
    ("AOT", dict(lengths=TWINS, twins=((4, 0), (5, 1), (6, 2), (7, 3)),
                 twin_refs=((6, 2), (7, 3)), beta=0.5, flip_prob=0.125)),
    ("AOT", dict(lengths=(2, 1, 1, 2, 2, 1), ignore=(3, 4, 5))),
    ("AOT", dict(lengths=THREE, ignore=(2, 3, 4), pairing="halves")),
    ("AOT", dict(reference_free=True, lengths=PAIR)),
    ("AOT_UNPAIRED", dict(lengths=TWINS, twins=((4, 0), (7, 3)),
                          twin_refs=((4, 0), (7, 3)), beta=1.0)),
    ("AOT_UNPAIRED", dict(lengths=(2, 1, 1, 2, 2, 1), ignore=(2, 4, 5),
                          flip_prob=0.125, weights=True)),
    ("KTO", dict(mismatched=(1.25, -0.5, 2.75), sides=(1, -1, 1, -1),
                 lengths=PAIR, beta=0.5)),
    ("KTO", dict(mismatched=(0.25, -3.5), sides=(1, -1))),
    ("KTO", dict(kl=0.625, sides=(1, -1, -1, -1), lengths=PAIR,
                 desirable_weight=1.5, undesirable_weight=0.75)),
    ("KTO", dict(kl=0.25, sides=(1, -1, -1), lengths=(2, 1, 2),
                 seq_weight=True, weights=True)),
    ("KTO", dict(pairing="halves", lengths=PAIR, ignore=(3,),
                 divisor="pairs")),
    ("KTO", dict(reference_free=True, sides=(1, -1))),
    ("BCO", dict(shift_mean=0.375, shift_count=6.0, sides=(1, -1, -1),
                 lengths=(2, 1, 2), desirable_weight=0.5,
                 undesirable_weight=2.0)),
    ("BCO", dict(shift_mean=-1.5, shift_count=64.0, sides=(1, -1, 1),
                 lengths=(2, 2, 1), ignore=(2, 3), seq_weight=True)),
    ("BCO", dict(pairing="adjacent", lengths=PAIR, weights=True)),
    ("APO_ZERO_UNPAIRED", dict(seq_weight=True, sides=(1, -1, 1),
                               lengths=(2, 2, 1), ignore=(2, 3))),
    # Empty responses: no pair for a loss of both means, a sum of 0 for others
    *[(k, dict(lengths=(2, 1, 1, 2), ignore=(3,)))
      for k in sorted(PAIRED - {"DPO", "FPO"})],
    # Scale, softcap and masked tokens belong to the row
    ("ORPO", dict(scale=0.5, softcap=6.0, spread=4.0)),
    ("SIMPO", dict(softcap=10.0, spread=5.0, masked=2, V=8)),
    ("BMC", dict(scale=2.0)),
    ("KTO", dict(softcap=4.0, sides=(1, -1))),
    ("APO_DOWN", dict(scale=0.25, masked=1)),
    # Several losses in one call
    ("DPO", dict(lengths=PAIR, also=(
        ("SFT", dict(weight=0.5, chosen_only=True)),
        ("BNF", dict(weight=2.0))))),
    ("SIMPO", dict(lengths=(2, 1, 1, 2), ignore=(3,), weights=True, also=(
        ("DPO", dict(weight=0.25, beta=0.5, divisor="sequences")),
        ("NCA_PAIR", dict(weight=-1.0, loss_scale=2.0))))),
    ("SFT", dict(weight=0.25, pairing="halves", lengths=PAIR, also=(
        ("KTO", dict(weight=3.0)), ("AOT", dict(beta=0.5))), kl=0.5)),
    ("BNF", dict(pairing="adjacent", lengths=PAIR, pair_weight=True, also=(
        ("DPO", dict(ld_alpha=0.5, divisor="given", divisor_value=8.0)),
        ("DPO", dict(reference_free=True, weight=0.125, wpo=True)),
        ("DPO", dict(sft_weight=1.0, sft_norm="batch"))))),
    ("BMC", dict(lengths=PAIR, also=(
        ("FPO", dict(weight=0.5)), ("ORPO", dict()),
        ("ASFT", dict(weight=0.0625))))),
]


def f32(x):
    """What a float field of the spec holds."""
    return struct.unpack("f", struct.pack("f", x))[0]


def spec_of(kind, options):
    """A spec: what bnfloss_spec_init() is to say, then the options."""
    paired = kind in PAIRED
    spec = dict(kind=kind, token_norm="none", divisor="pairs" if paired else
                "sequences", flags=0, also=0, weight=1.0, divisor_value=1.0,
                loss_scale=1.0, sft_norm="none" if paired else "",
                f_divergence="reverse_kl", **{k: 0.0 for k in FLOATS})
    spec["beta"] = 0.1 * (kind in BETA)
    spec["ld_alpha"] = 1.0 * (paired and kind != "BMC")
    spec["f_alpha"] = 0.5 * (kind in DIVERGENCE)
    spec.update(OWN.get(kind, {}))
    for k, v in options.items():
        if k in FLAGS:
            spec["flags"] |= FLAGS[k]
        elif k in spec:
            spec[k] = v
        else:
            assert k in CASE, k
    for k in FLOATS:
        spec[k] = f32(spec[k])
    return SimpleNamespace(**spec)


def has(spec, flag):
    return bool(spec.flags & FLAGS[flag])


def case_of(kind, options):
    case = {**CASE, **{k: v for k, v in options.items() if k in CASE}}
    case["specs"] = [spec_of(k, o) for k, o in
                     ((kind, options),) + tuple(case["also"])]
    case["specs"][0].also = len(case["also"])
    kinds = {s.kind for s in case["specs"]}
    for k in kinds & set(NEEDS):
        case[NEEDS[k]] = True
    if not case["pairing"] and (kinds & PAIRED):
        case["pairing"] = "adjacent"
    return SimpleNamespace(**case)


# ---- The data of a case ----------------------------------------------------

def exact(x):
    """The nearest multiple of 1/64: a short decimal, exact as a float."""
    return round(x * 64) / 64


def data(case, rng):
    """Rows, labels, references, weights and the rest of a case's inputs."""
    n, V, S = sum(case.lengths), case.V, len(case.lengths)
    start = [sum(case.lengths[:s]) for s in range(S + 1)]
    z = [[exact(rng.gauss(0, case.spread)) for _ in range(V)]
         for _ in range(n)]
    y = [rng.randrange(V) for _ in range(n)]
    low, high = case.refs
    ref = [exact(rng.uniform(low, high)) or -1 / 64 for _ in range(n)]
    for pairs, copied in ((case.twins, (z, y)), (case.twin_refs, (ref,))):
        for to, of in pairs:
            assert case.lengths[to] == case.lengths[of]
            for rows in copied:
                rows[start[to]:start[to + 1]] = rows[start[of]:start[of + 1]]
    z = [list(r) for r in z]
    for i in range(n):
        others = [v for v in range(V) if v != y[i]]
        for v in rng.sample(others, case.masked):
            z[i][v] = -math.inf
        if i in case.ignore:
            y[i] = -1
    # a weight below 0 would make a mean of log-probabilities positive
    least = 0.25 if {"ORPO", "ASFT"} & {s.kind for s in case.specs} else -1
    draw = lambda on, k, low, high: \
        [exact(rng.uniform(low, high)) or 0.5 for _ in range(k)] if on else []
    return SimpleNamespace(
        z=z, y=y, ref=ref, start=start, side=sides_of(case),
        weight=draw(case.weights, n, least, 2),
        seq_weight=draw(case.seq_weight, S, -0.5, 2),
        pair_weight=draw(case.pair_weight, S // 2, -0.5, 2),
        pair_scale=draw(case.pair_scale, S // 2, 0.25, 2),
        pair_margin=draw(case.pair_margin, S // 2, -2, 2),
        soft_label=draw(case.soft_label, S // 2, 0.05, 0.95),
        distance=draw(case.distance, S, 0, 3),
        row_mask=[rng.randrange(2) for _ in range(n)] if case.row_mask else [],
        mismatched=list(case.mismatched))


def sides_of(case):
    S = len(case.lengths)
    if case.pairing == "adjacent":
        return [1 if s % 2 == 0 else -1 for s in range(S)]
    if case.pairing == "halves":
        return [1 if s < S // 2 else -1 for s in range(S)]
    return list(case.sides) or [1] * S


def pairs_of(case):
    P = len(case.lengths) // 2
    if case.pairing == "adjacent":
        return [(2 * k, 2 * k + 1) for k in range(P)]
    if case.pairing == "halves":
        return [(k, P + k) for k in range(P)]
    return []


# ---- Losses of a token -----------------------------------------------------

def prepare(case, z):
    """z' of the manual."""
    scale = case.scale or 1.0
    if case.softcap:
        capped = case.softcap * torch.tanh(scale * z / case.softcap)
        return torch.where(torch.isinf(z), z, capped)
    return scale * z


def bnf_value(logp, p, y, ref, eps):
    """Eq. 8-10: cross-entropy to a target that is a constant."""
    q = math.exp(ref)
    p = p.detach()
    f = min(p[y].item() / (q + eps), 1.0)
    target = p * (1 - f + eps) / (1 - p[y] + eps)
    target[y] = f
    inside = p > 0
    g = f - (1 - f + eps) / (1 - p[y].item() + eps) * p[y].item()
    return -(target[inside] * logp[inside]).sum(), g


def sft_value(spec, case, zp, logp, y):
    finite = torch.isfinite(zp)
    nll = -logp[y]
    if has(spec, "dft"):
        return logp[y].exp().detach() * nll
    lse = torch.logsumexp(zp, 0)
    return (1 - case.ls) * nll + case.ls * (lse - zp[finite]).mean() \
        + case.zeta * lse ** 2


# ---- Losses of a pair, from its sums ---------------------------------------

def divergence(s, x):
    """f'(e^x) of an f-divergence with f'(1) = 0: lengths that divide it do
    not move the margin of a policy that is its reference."""
    if s.f_divergence == "forward_kl":
        return 1 - torch.exp(-x)
    if s.f_divergence == "js":
        return math.log(2) + logsigmoid(x)
    if s.f_divergence == "alpha" and abs(s.f_alpha - 1) >= 1e-6:
        return torch.expm1((s.f_alpha - 1) * x) / (s.f_alpha - 1)
    return x


def margin(s, q):
    """u, with what each loss has in the place of h and beside it."""
    beta = s.beta if s.kind in BETA else 1.0
    a, b = divergence(s, q.a), divergence(s, q.b)
    if s.kind in MEANS:
        a, b = a / q.n_w, b / q.n_x
    if s.kind == "ALPHAPO" and s.alpha:
        a, b = ((1 - torch.exp(-s.alpha * m)) / s.alpha for m in (a, b))
    h = a - b
    if s.kind == "DPOP":
        h = h - s.penalty * torch.relu(-q.a)
    u = q.scale * beta * h + q.margin
    if s.kind in ("SIMPO", "ALPHAPO"):
        u = u - s.gamma
    if s.kind == "RDPO":
        u = u + s.alpha * (q.n_w - q.n_x)
    if s.kind == "FPO":
        u = u - s.alpha * s.beta * (q.D_x - q.D_w.detach())
    return u


def logistic(s, u):
    return -(1 - s.flip_prob) * logsigmoid(u) - s.flip_prob * logsigmoid(-u)


def ada_tau(s, d):
    """Where the tilted loss is least: its slope in t, which rises, is
    bisected in 40 digits."""
    mpmath.mp.dps = 40
    slope = lambda t: mpmath.diff(lambda t: t * mpmath.log1p(mpmath.exp(
        -mpmath.mpf(d) / t)) + (s.rho - mpmath.log(2)) * t, t)
    low, high = mpmath.mpf(s.tau), mpmath.mpf(s.tau_max)
    if slope(low) >= 0:
        return s.tau
    if slope(high) <= 0:
        return s.tau_max
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return float(low)


REGIMES = set()             # which branch of a loss the cases have seen


def of_margin(s, q):
    u = margin(s, q)
    REGIMES.add((s.kind, (u < 1).item() if s.kind == "HINGE" else
                 (u < s.gamma).item() if s.kind == "SLIC" else
                 (q.a < 0).item() if s.kind == "DPOP" else None))
    if s.kind in LOGISTIC:
        return logistic(s, u)
    if s.kind == "ROBUST":
        return (-(1 - s.flip_prob) * logsigmoid(u)
                + s.flip_prob * logsigmoid(-u)) / (1 - 2 * s.flip_prob)
    if s.kind == "HINGE":
        return torch.relu(1 - u)
    if s.kind in ("IPO", "IPO_SUM"):
        return (u / s.beta - 1 / (2 * s.beta)) ** 2
    if s.kind == "EXO_PAIR":
        return u.sigmoid() * (logsigmoid(u) - math.log1p(-s.flip_prob)) \
            + (-u).sigmoid() * (logsigmoid(-u) - math.log(s.flip_prob))
    if s.kind == "DISCOPOP":
        j = (u / s.tau).sigmoid()
        return -(1 - j) * logsigmoid(u) + j * torch.exp(-u)
    if s.kind == "SLIC":
        return torch.relu(s.gamma - u)
    if s.kind == "ADA_DPO":
        t = ada_tau(s, u.item())
        REGIMES.add((s.kind, (t > s.tau) + (t >= s.tau_max)))
        return -t * logsigmoid(u / t) + (s.rho - math.log(2)) * t
    assert s.kind == "IREPO"
    return (u - math.log(q.soft / (1 - q.soft))) ** 2


def log_odds(m):
    return m - torch.log(-torch.expm1(m))


def of_both(s, q):
    """Losses of a and b apart."""
    if s.kind == "ORPO":
        return -s.penalty * logsigmoid(log_odds(q.a / q.n_w)
                                       - log_odds(q.b / q.n_x))
    if s.kind == "SPPO_HARD":
        return (q.a - 0.5 / s.beta) ** 2 + (q.b + 0.5 / s.beta) ** 2
    a, b = s.beta * q.a, s.beta * q.b
    return {
        "NCA_PAIR": lambda: -logsigmoid(a) - logsigmoid(-a) / 2
                            - logsigmoid(-b) / 2,
        "BCO_PAIR": lambda: -logsigmoid(a) - logsigmoid(-b),
        "APO_ZERO": lambda: 1 - a.sigmoid() + b.sigmoid(),
        "APO_DOWN": lambda: a.sigmoid() + 1 - (a - b).sigmoid(),
    }[s.kind]()


def by_rank(values):
    """Indices in rising order; ties in the order of the pairs."""
    return sorted(range(len(values)), key=lambda k: (values[k].item(), k))


def of_ranks(s, qs):
    """Optimal transport: a value for each pair, where the policy's sort puts
    it; unpaired, where its chosen response is put."""
    if s.kind == "AOT":
        mine, other = [q.l_w - q.l_x for q in qs], [q.r_w - q.r_x for q in qs]
    else:
        mine, other = [q.a for q in qs], [q.b for q in qs]
    values = [None] * len(qs)
    for i, j in zip(by_rank(mine), by_rank(other)):
        values[i] = logistic(s, s.beta * (mine[i] - other[j]))
    return values


def of_response(s, side, a, n, kl, shift):
    """Losses of one response and its side."""
    if s.kind == "KTO":
        return 1 - (side * s.beta * (a - kl)).sigmoid()
    if s.kind == "BCO":
        return -logsigmoid(side * (s.beta * a - shift))
    if s.kind == "APO_ZERO_UNPAIRED":
        return 1 - (side * s.beta * a).sigmoid()
    assert s.kind == "ASFT"
    if side > 0:
        return -(1 + s.penalty) * a / n
    return -s.penalty * torch.log(-torch.expm1(a / n))


# ---- A call ----------------------------------------------------------------

def mean(xs):
    xs = list(xs)
    return float(sum(xs)) / len(xs) if xs else NAN


def forward(case, d):
    """The rows: z', log-probabilities, and what losses make of them."""
    r = SimpleNamespace(leaf=torch.tensor(d.z, requires_grad=True))
    n = len(d.y)
    r.zp = [prepare(case, r.leaf[i]) for i in range(n)]
    for t in r.zp:
        t.retain_grad()
    r.logp = [torch.log_softmax(t, 0) for t in r.zp]
    r.p = [l.exp() for l in r.logp]
    r.l = [r.logp[i][d.y[i]] for i in range(n)]     # not used where ignored
    r.weight = d.weight or [1.0] * n
    r.log_square = [torch.logsumexp(2 * l, 0).item() for l in r.logp]
    r.mean_logit = [t[torch.isfinite(t)].mean().item() for t in r.zp]
    r.used = [[i for i in range(d.start[s], d.start[s + 1])
               if d.y[i] >= 0 and r.weight[i] != 0]
              for s in range(len(d.side))]
    r.distance = torch.tensor(d.distance, requires_grad=True)
    return r


def total(xs):
    return sum(xs, torch.zeros(()))


def response_sums(s, d, r, used, partner):
    """A response's policy and reference sums, over token weights."""
    l, ref = [], []
    for k, i in enumerate(used):
        t = u = 1.0
        if partner is not None and k >= min(len(used), partner):
            t = u = s.ld_alpha
        if s.kind == "BMC" and d.row_mask[i]:
            t = 1 + min(math.exp(-r.l[i].item()), s.cap)
            u = 1 + min(math.exp(-d.ref[i]), s.cap)
            if has(s, "policy_weights"):
                u = t
        l.append(r.weight[i] * t * r.l[i])
        ref.append(r.weight[i] * u * d.ref[i])
    if s.kind in NO_REFERENCE or has(s, "reference_free"):
        ref = []
    return total(l), total(ref)


def token_loss(s, case, d, r, used, o):
    """BNF and SFT: o.each is a sequence's loss."""
    count = [len(u) for u in used]
    shortest = min([c for c in count if c], default=1)
    for k, rows in enumerate(used):
        norm = {"none": 1, "length": count[k],
                "shortest": shortest}[s.token_norm]
        for i in rows:
            share = r.weight[i] / norm
            if d.seq_weight:
                share *= d.seq_weight[k]
            if s.kind == "BNF":
                share *= d.side[k]
                value, g = bnf_value(r.logp[i], r.p[i], d.y[i], d.ref[i],
                                     s.eps)
                o.g.append(g)
            else:
                value = sft_value(s, case, r.zp[i], r.logp[i], d.y[i])
                if case.zeta:
                    o.zeta.append(case.zeta
                                  * torch.logsumexp(r.zp[i], 0).item() ** 2)
            o.share[i] = share
            o.each[k] = o.each[k] + share * value


def response_loss(s, case, d, r, used, o):
    """KTO, BCO, APO zero unpaired, ASFT."""
    full = [k for k, rows in enumerate(used) if rows]
    kl = max(0.0, mean(d.mismatched)) if d.mismatched else case.kl
    shift = 0.0
    if s.kind == "KTO":
        o.kl = kl
    if s.kind == "BCO":
        o.shift_count = case.shift_count + len(full)
        shift = o.shift = (case.shift_mean * case.shift_count + sum(
            s.beta * o.ratio[k].item() for k in full)) / o.shift_count
    for k in full:
        weight = d.seq_weight[k] if d.seq_weight else 1.0
        if s.kind in ("KTO", "BCO"):
            weight *= s.desirable_weight if d.side[k] > 0 \
                else s.undesirable_weight
        o.each[k] = weight * of_response(s, d.side[k], o.ratio[k],
                                         len(used[k]), kl, shift)


def pair_loss(s, case, d, r, used, o):
    """Losses of pairs: o.each is a pair's loss."""
    one = lambda xs, k, none: xs[k] if xs else none
    qs, sft, names = [], [], o.pairs
    o.each = [torch.zeros(()) for _ in range(len(used) // 2)]
    tokens = sum(len(used[w]) for _, w, _ in names)
    for k, w, x in names:
        q = SimpleNamespace(
            l_w=o.l[w], l_x=o.l[x], r_w=o.r[w], r_x=o.r[x], a=o.ratio[w],
            b=o.ratio[x], n_w=len(used[w]), n_x=len(used[x]),
            scale=one(d.pair_scale, k, 1.0), margin=one(d.pair_margin, k, 0.0),
            soft=one(d.soft_label, k, NAN))
        if d.distance:
            q.D_w, q.D_x = r.distance[w], r.distance[x]
        qs.append(q)
        nll = total(-r.weight[i] * r.l[i] for i in used[w])
        sft.append(nll * {"none": 1.0, "length": 1 / max(q.n_w, 1),
                          "batch": len(names) / max(tokens, 1)}[s.sft_norm])
    values = of_ranks(s, qs) if s.kind in SORTED else \
        [(of_both if s.kind in APART else of_margin)(s, q) for q in qs]
    for (k, w, x), value, nll in zip(names, values, sft):
        if s.kind not in SORTED:
            value = value * one(d.pair_weight, k, 1.0)
        if has(s, "wpo"):
            for side in (w, x):
                if used[side]:
                    value = value * math.exp(mean(
                        r.l[i].item() - r.log_square[i]
                        for i in used[side]))
        strength = s.sft_weight * (s.beta if s.kind == "RPO" else 1.0)
        o.each[k] = value + strength * nll
        if s.sft_weight:
            o.sft.append(strength / s.sft_weight * nll.item())


def spec_loss(s, case, d, r):
    """One loss of the call, its divisor, and what its metrics need."""
    used = [[] if has(s, "chosen_only") and d.side[k] < 0 else u
            for k, u in enumerate(r.used)]
    S = len(used)
    count = [len(u) for u in used]
    both = s.kind in MEANS
    partner = [None] * S
    o = SimpleNamespace(
        used=used, g=[], zeta=[], sft=[], kl=NAN, shift=NAN, shift_count=NAN,
        share=[0.0] * len(d.y), each=[torch.zeros(()) for _ in range(S)])
    o.pairs = [(k, w, x) for k, (w, x) in enumerate(pairs_of(case))
               if (count[w] and count[x] if both else count[w] or count[x])]
    if s.kind in PAIRED and s.ld_alpha != 1 and s.kind != "BMC":
        for w, x in pairs_of(case):
            partner[w], partner[x] = count[x], count[w]
    sums = [response_sums(s, d, r, used[k], partner[k]) for k in range(S)]
    o.l, o.r = [a for a, _ in sums], [b for _, b in sums]
    o.ratio = [a - b for a, b in sums]
    (token_loss if s.kind in ROWWISE else response_loss if s.kind in UNPAIRED
     else pair_loss)(s, case, d, r, used, o)
    o.tokens, o.sequences = sum(count), sum(c > 0 for c in count)
    o.divisor = {"tokens": o.tokens, "given": s.divisor_value,
                 "sequences": o.sequences, "pairs": len(o.pairs)}[s.divisor]
    o.loss = total(o.each) / o.divisor if o.divisor else torch.zeros(())
    return o


METRICS = """rewards_chosen rewards_rejected rewards_margins rewards_accuracies
    logps_chosen logps_rejected logps_mean_chosen logps_mean_rejected
    logits_chosen logits_rejected entropy token_accuracy z_loss sft_loss
    bnf_coefficient bnf_full_share kl shift shift_count""".split()


def metrics_of(case, d, r, parts):
    """Of the first loss; what only some losses have, of the first of them."""
    s, o = case.specs[0], parts[0]
    used = o.used
    beta = s.beta if s.kind in BETA else 1.0
    full = [k for k, u in enumerate(used) if u]
    chosen = [k for k in full if d.side[k] > 0]
    rejected = [k for k in full if d.side[k] < 0]
    tokens = [i for u in used for i in u]
    reward = [beta * x.item() if s.kind not in MEAN_REWARDS else
              beta * x.item() / len(u) if u else NAN
              for x, u in zip(o.ratio, used)]
    sums = [sum(r.weight[i] * r.l[i].item() for i in u) for u in used]
    m = dict.fromkeys(METRICS, NAN)
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if s.kind == "SFT":
            continue
        m["rewards_" + name] = mean(reward[k] for k in side)
        m["logps_" + name] = mean(sums[k] for k in side)
        m["logps_mean_" + name] = mean(sums[k] / len(used[k]) for k in side)
        m["logits_" + name] = mean(r.mean_logit[i] for k in side
                                   for i in used[k])
    m["rewards_margins"] = m["rewards_chosen"] - m["rewards_rejected"]
    if s.kind != "SFT":
        m["rewards_accuracies"] = mean(reward[w] > reward[x]
                                       for _, w, x in o.pairs)
    m["entropy"] = mean(-sum(x * math.log(x) for x in r.p[i].tolist() if x > 0)
                        for i in tokens)
    m["token_accuracy"] = mean(d.z[i][d.y[i]] >= max(d.z[i]) for i in tokens)
    for s, o in list(zip(case.specs, parts))[::-1]:
        if o.zeta:
            m["z_loss"] = mean(o.zeta)
        if o.sft:
            m["sft_loss"] = sum(o.sft) / o.divisor
        if o.g:
            m["bnf_coefficient"] = mean(o.g)
            if not s.eps:               # g = 1 is not a limit with eps
                m["bnf_full_share"] = mean(x > 1 - 1e-12 for x in o.g)
        if s.kind == "KTO":
            m["kl"] = o.kl
        if s.kind == "BCO":
            m["shift"], m["shift_count"] = o.shift, o.shift_count
    return [m[k] for k in METRICS]


def solve(case, d):
    """Loss, dlogp, gradient and metrics, in the manual's terms."""
    r = forward(case, d)
    parts = [spec_loss(s, case, d, r) for s in case.specs]
    first = parts[0]
    loss = sum(s.weight * o.loss.item() for s, o in zip(case.specs, parts))
    scaled = total(s.weight * s.loss_scale * o.loss
                   for s, o in zip(case.specs, parts))
    scaled.backward()
    dlogp = []
    for i, y in enumerate(d.y):
        if case.ls or case.zeta:
            s = case.specs[0]
            dlogp.append(-first.share[i] / first.divisor * s.weight
                         * s.loss_scale)
        elif y < 0 or r.zp[i].grad is None:
            dlogp.append(0.0)
        else:
            others = r.p[i].sum() - r.p[i][y]
            dlogp.append((r.zp[i].grad[y] / others).item())
    grad = [[g if z > -math.inf else 0.0 for g, z in zip(gs, zs)]
            for gs, zs in zip(r.leaf.grad.tolist(), d.z)]
    return SimpleNamespace(
        loss=loss, dlogp=dlogp, grad=grad, first=first, rows=r,
        metrics=metrics_of(case, d, r, parts),
        seq_loss=[x.item() for x in first.each] if not case.also else [],
        seq_ratio=[x.item() for x in first.ratio],
        spec_loss=[o.loss.item() for o in parts],
        distance_grad=r.distance.grad.tolist() if d.distance else [])


def answer(case, name):
    """Data and its answers: the first draw whose dlogp does not hang on the
    last bits of the logits. A nudge would part twins; they stay."""
    for attempt in range(100):
        d = data(case, random.Random("%s #%d" % (name, attempt)))
        a = solve(case, d)
        nudge = random.Random(attempt)
        near = SimpleNamespace(**vars(d))
        near.z = [[x * (1 + nudge.choice((-1, 1)) * 2 ** -24) for x in r]
                  for r in d.z]
        if case.twins or all(
                abs(x - y) <= 64 * 2 ** -24 * abs(x)
                for x, y in zip(a.dlogp, solve(case, near).dlogp)):
            return d, a
    raise AssertionError(name)


# ---- The header ------------------------------------------------------------

def number(x, digits=10):
    if x != x:
        return "NONE"
    return "%.*g" % (digits, x)


def single(x):
    """The shortest decimal that is this float."""
    text = next(t for t in (number(x, k) for k in range(1, 10))
                if f32(float(t)) == x)
    return text + ("" if "." in text or "e" in text else ".") + "f"


def units(x):
    """An input in 64ths; MASKED for -inf."""
    if x == -math.inf:
        return "MASKED"
    assert x * 64 == int(x * 64) and abs(x) < 500, x
    return "%d" % (x * 64)


def wrapped(words, indent):
    line = indent
    for w in words:
        if len(line) + len(w) > 79 and line.strip():
            print(line.rstrip())
            line = indent
        line += w + " "
    print(line.rstrip())


def array(name, ctype, values, form=number):
    print("static const %s %s[] = {" % (ctype, name))
    wrapped([form(v) + "," for v in values], "    ")
    print("};\n")


def spec_text(s):
    words = ["SPEC(%s," % s.kind, "%d," % NORMS.index(s.token_norm),
             "%d," % DIVISORS.index(s.divisor),
             *[number(x) + "," for x in
               (s.weight, s.divisor_value, s.loss_scale)],
             ".flags = %d," % s.flags]
    for k, names in (("sft_norm", NORMS), ("f_divergence", DIVERGENCES)):
        value = names.index(getattr(s, k))
        if value:
            words.append(".%s = %d," % (k, value))
    if s.also:
        words.append(".also = %d," % s.also)
    words += [".%s = %s," % (k, single(getattr(s, k))) for k in FLOATS
              if getattr(s, k)]
    words[-1] = words[-1][:-1] + "),"
    wrapped([w.replace(" = ", "=") for w in words], "    ")


def title(kind, options):
    words = [kind]
    for k, v in options.items():
        if k == "also":
            words += [title(*o) for o in v]
            continue
        if isinstance(v, tuple):
            v = "/".join("-".join(map(str, x)) if isinstance(x, tuple)
                         else str(x) for x in v)
        if v is not False:
            words.append(k if v is True else "%s %s" % (k, v))
    return ", ".join(words)


HEAD = """#ifndef GOLDEN_H
#define GOLDEN_H

#include "../include/bnfloss.h"

#include <stdint.h>

#define NONE 1e300         /* for a metric that does not apply */

enum {
    MASKED = INT16_MIN,    /* for a logit of -inf */
    GOLDEN_METRICS = %d,
    GOLDEN_MAX = %d,       /* rows times vocabulary, at most */

    /* what a case has, in this order, in golden_inputs, in 64ths: logits
     * (N,V), ref_logp (N), and then */
    HAS_ROW_WEIGHT = 1, HAS_SEQ_WEIGHT = 2, HAS_PAIR_WEIGHT = 4,
    HAS_PAIR_SCALE = 8, HAS_PAIR_MARGIN = 16, HAS_SOFT_LABEL = 32,
    HAS_DISTANCE = 64, HAS_ROW_MASK = 128
};

/* One case. The arrays hold those of all cases one after the other: labels
 * (N); lengths and sides (S); answers: gradient (N,V), dlogp (N), seq_ratio
 * (S), seq_loss (one loss in the call; of pairs or sequences), distance_grad
 * (S; where there are distances), spec_loss. */
typedef struct golden {
    const char *name;
    int n, v, s, specs, pairing, has, mismatches;
    int tokens, sequences, pairs;
    float scale, softcap, smoothing, z_loss;
    double kl, shift_mean, shift_count, loss, divisor;
    double metrics[GOLDEN_METRICS];
} golden;

#define SPEC(kind_, norm, divisor_, weight_, value, scale, ...) { \\
    .struct_size = sizeof(bnfloss_spec), .kind = BNFLOSS_##kind_, \\
    .token_norm = norm, .divisor = divisor_, .weight = weight_, \\
    .divisor_value = value, .loss_scale = scale, __VA_ARGS__ }
"""


def main():
    inputs, labels, lengths, sides, answers = [], [], [], [], []
    mismatched, specs, cases = [], [], {}
    most = 0
    for kind, options in CASES:
        case = case_of(kind, options)
        name = title(kind, options)
        assert name not in cases, name
        d, a = answer(case, name)
        assert all(map(math.isfinite, [a.loss] + a.dlogp)), name
        optional = [d.weight, d.seq_weight, d.pair_weight, d.pair_scale,
                    d.pair_margin, d.soft_label, d.distance, d.row_mask]
        cases[name] = (
            [len(d.y), case.V, len(d.side), len(case.specs),
             PAIRINGS.index(case.pairing),
             sum(1 << k for k, x in enumerate(optional) if x),
             len(d.mismatched), a.first.tokens, a.first.sequences,
             len(a.first.pairs), case.scale, case.softcap, case.ls, case.zeta,
             case.kl, case.shift_mean, case.shift_count, a.loss,
             a.first.divisor], a.metrics)
        inputs += [x for r in d.z for x in r] + d.ref + sum(optional, [])
        labels += d.y
        lengths += case.lengths
        sides += d.side
        mismatched += d.mismatched
        answers += [x for r in a.grad for x in r] + a.dlogp + a.seq_ratio \
            + a.seq_loss + a.distance_grad + a.spec_loss
        specs += case.specs
        most = max(most, len(d.y) * case.V)
    for kind, regimes in (("HINGE", (True, False)), ("SLIC", (True, False)),
                          ("DPOP", (True, False)), ("ADA_DPO", (0, 1, 2))):
        assert all((kind, x) in REGIMES for x in regimes), kind
    print("/* Small cases and their answers, from PyTorch %s in float64: the"
          "\n * output of recipes/golden.py.\n *"
          "\n * SPDX-License-Identifier: MIT\n */" %
          torch.__version__.split("+")[0])
    print(HEAD % (len(METRICS), most))
    array("golden_inputs", "int16_t", inputs, units)
    array("golden_mismatched", "double", mismatched)
    array("golden_labels", "int8_t", labels)
    array("golden_lengths", "int8_t", lengths)
    array("golden_sides", "int8_t", sides)
    array("golden_answers", "double", answers, lambda x: number(x, 8))
    print("/* What bnfloss_spec_init() is to say, by kind. */")
    print("static const bnfloss_spec golden_defaults[] = {")
    for kind in KINDS:
        spec_text(spec_of(kind, {}))
    print("};\n\nstatic const bnfloss_spec golden_specs[] = {")
    for s in specs:
        spec_text(s)
    print("};\n\nstatic const golden goldens[] = {")
    for name, (numbers, metrics) in cases.items():
        lines = [""]
        for w in name.split(" "):
            if len(lines[-1]) + len(w) > 68:
                lines.append("")
            lines[-1] += w + " "
        print('    { "%s",' % '"\n      "'.join(lines).rstrip(" "))
        words = [number(x) + "," for x in numbers + metrics]
        words[len(numbers)] = "{ " + words[len(numbers)]
        words[-1] = words[-1][:-1] + " } },"
        wrapped(words, "      ")
    print("};\n\n#endif /* GOLDEN_H */")


if __name__ == "__main__":
    main()
