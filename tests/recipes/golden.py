#!/usr/bin/env python3
"""Prints tests/golden.h: small cases and their losses, dlogp, gradients and
metrics, from PyTorch autograd in float64.

Written from the papers' formulas and from the manual, include/bnfloss.h, and
never from the C sources:

    BNF   arXiv 2410.04834, eq. 8-10; targets detached
    DPO   arXiv 2305.18290, eq. 7; conservative DPO for flip > 0
    SFT   cross-entropy, label smoothing, z-loss; DFT: arXiv 2508.05629, eq. 9

    python3 golden.py > ../golden.h
"""
import math
import random

import torch

torch.set_default_dtype(torch.float64)
NAN = float("nan")
KINDS = {"BNF": 1, "DPO": 2, "SFT": 3}
NORMS = {"none": 1, "length": 2, "shortest": 3}
DIVISORS = {"sequences": 1, "pairs": 2, "tokens": 3, "given": 4}
PAIRINGS = {"": 0, "adjacent": 1, "halves": 2}

DEFAULTS = {
    "SFT": dict(norm="none", divisor="tokens"),
    "BNF": dict(norm="length", divisor="sequences"),
    "DPO": dict(norm="none", divisor="pairs", pairing="adjacent"),
}
COMMON = dict(pairing="", given=1.0, beta=0.0, flip=0.0, eps=0.0, dft=False,
              scale=0.0, softcap=0.0, ls=0.0, zeta=0.0, loss_scale=1.0,
              weights=False, ignore=(), lengths=(3, 2), sides=(), V=6,
              spread=2.0, refs=(-4.0, -0.05), masked=0)

CASES = [
    ("SFT", dict()),
    ("SFT", dict(norm="length")),
    ("SFT", dict(norm="length", divisor="sequences", weights=True)),
    ("SFT", dict(weights=True)),
    ("SFT", dict(weights=True, divisor="given", given=3.5, loss_scale=8.0)),
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
    ("BNF", dict(sides=(1, -1))),
    ("BNF", dict(sides=(1, 1, -1), lengths=(2, 1, 3))),
    ("BNF", dict(sides=(-1, -1), spread=4.0)),
    ("BNF", dict(pairing="adjacent", lengths=(3, 1, 2, 2))),
    ("BNF", dict(pairing="halves", lengths=(3, 1, 2, 2))),
    ("BNF", dict(sides=(1, -1), norm="none", divisor="tokens")),
    ("BNF", dict(pairing="adjacent", norm="shortest", divisor="pairs",
                 lengths=(3, 2, 1, 2))),
    ("BNF", dict(pairing="adjacent", norm="shortest", divisor="pairs",
                 lengths=(3, 2, 2, 3), eps=1e-6)),
    ("BNF", dict(sides=(1, -1), eps=1e-6)),
    ("BNF", dict(sides=(1, -1), eps=0.125)),
    ("BNF", dict(sides=(1, -1), eps=1.0, refs=(-0.5, -0.01))),
    ("BNF", dict(sides=(1, -1), weights=True, ignore=(2,))),
    ("BNF", dict(sides=(1, -1, 1), lengths=(2, 2, 2), ignore=(2, 3))),
    ("BNF", dict(pairing="adjacent", norm="shortest", lengths=(3, 2, 2, 1),
                 ignore=(7,))),
    ("BNF", dict(sides=(1, -1), divisor="given", given=0.75,
                 loss_scale=1024.0)),
    ("BNF", dict(sides=(1, -1), scale=0.5, spread=6.0)),
    ("BNF", dict(sides=(1, -1), softcap=5.0, spread=6.0)),
    ("BNF", dict(sides=(1, -1), masked=2, V=9)),
    ("BNF", dict(sides=(1, -1), refs=(-9.0, -6.0))),
    ("BNF", dict(sides=(1, -1), refs=(-0.01, -0.001), spread=5.0)),
    ("DPO", dict(beta=0.1)),
    ("DPO", dict(beta=0.1, lengths=(3, 2, 1, 2))),
    ("DPO", dict(beta=0.5, pairing="halves", lengths=(3, 2, 1, 2))),
    ("DPO", dict(beta=0.1, flip=0.25, lengths=(2, 2, 3, 1))),
    ("DPO", dict(beta=2.0, flip=0.5, pairing="halves")),
    ("DPO", dict(beta=0.25, weights=True, ignore=(1,), lengths=(3, 2))),
    ("DPO", dict(beta=0.25, lengths=(2, 1, 1, 2), ignore=(3,))),
    ("DPO", dict(beta=0.1, lengths=(2, 1, 1, 2), ignore=(3, 4, 5))),
    ("DPO", dict(beta=0.1, divisor="given", given=4.0, loss_scale=0.25)),
    ("DPO", dict(beta=0.1, divisor="tokens", scale=2.0)),
    ("DPO", dict(beta=0.5, softcap=10.0, spread=8.0, masked=1)),
]


def exact(x):
    """The nearest multiple of 1/64: a short decimal, exact as a float."""
    return round(x * 64) / 64


def data(case, rng):
    """Rows, labels, references and weights of a case."""
    n, V = sum(case["lengths"]), case["V"]
    z = [[exact(rng.gauss(0, case["spread"])) for _ in range(V)]
         for _ in range(n)]
    y = [rng.randrange(V) for _ in range(n)]
    for i in range(n):
        others = [v for v in range(V) if v != y[i]]
        for v in rng.sample(others, case["masked"]):
            z[i][v] = -math.inf
        if i in case["ignore"]:
            y[i] = -1
    low, high = case["refs"]
    ref = [exact(rng.uniform(low, high)) or -1 / 64 for _ in range(n)]
    weight = [exact(rng.uniform(-1, 2)) or 0.5 for _ in range(n)] \
        if case["weights"] else None
    return z, y, ref, weight


def sides_of(case):
    S = len(case["lengths"])
    if case["pairing"] == "adjacent":
        return [1 if s % 2 == 0 else -1 for s in range(S)]
    if case["pairing"] == "halves":
        return [1 if s < S // 2 else -1 for s in range(S)]
    return list(case["sides"]) or [1] * S


def pairs_of(case):
    P = len(case["lengths"]) // 2
    if case["pairing"] == "adjacent":
        return [(2 * k, 2 * k + 1) for k in range(P)]
    if case["pairing"] == "halves":
        return [(k, P + k) for k in range(P)]
    return []


def prepare(case, z):
    """z' of the manual."""
    scale = case["scale"] or 1.0
    if case["softcap"]:
        capped = case["softcap"] * torch.tanh(scale * z / case["softcap"])
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


def sft_value(case, zp, logp, y):
    finite = torch.isfinite(zp)
    nll = -logp[y]
    if case["dft"]:
        return logp[y].exp().detach() * nll
    lse = torch.logsumexp(zp, 0)
    ls = case["ls"]
    return (1 - ls) * nll + ls * (lse - zp[finite]).mean() \
        + case["zeta"] * lse ** 2


def mean(xs):
    return sum(xs) / len(xs) if xs else NAN


def solve(kind, case, z, y, ref, weight):
    """Loss, dlogp, gradient and metrics, in the manual's terms."""
    n, S = len(y), len(case["lengths"])
    weight = weight or [1.0] * n
    leaf = torch.tensor(z, requires_grad=True)
    zp = [prepare(case, leaf[i]) for i in range(n)]
    for t in zp:
        t.retain_grad()
    logp = [torch.log_softmax(t, 0) for t in zp]
    p = [l.exp() for l in logp]
    start = [sum(case["lengths"][:s]) for s in range(S + 1)]
    used = [[i for i in range(start[s], start[s + 1]) if y[i] >= 0]
            for s in range(S)]
    count = [len(u) for u in used]
    tokens = [i for u in used for i in u]
    pairs = [(a, b) for a, b in pairs_of(case) if count[a] or count[b]]
    divisor = {"tokens": len(tokens), "given": case["given"],
               "sequences": sum(c > 0 for c in count),
               "pairs": len(pairs)}[case["divisor"]]
    shortest = min([c for c in count if c > 0])
    side = sides_of(case)
    ratio = [sum(weight[i] * (logp[i][y[i]] - ref[i]) for i in u)
             for u in used]
    g, total, share = [], torch.zeros(()), [0.0] * n
    if kind == "DPO":
        for a, b in pairs:
            u = case["beta"] * torch.as_tensor(ratio[a] - ratio[b])
            sig = torch.nn.functional.logsigmoid
            total = total - (1 - case["flip"]) * sig(u) \
                - case["flip"] * sig(-u)
    else:
        for s in range(S):
            norm = {"none": 1.0, "length": count[s],
                    "shortest": shortest}[case["norm"]]
            for i in used[s]:
                if kind == "BNF":
                    value, gi = bnf_value(logp[i], p[i], y[i], ref[i],
                                          case["eps"])
                    g.append(gi)
                else:
                    value = sft_value(case, zp[i], logp[i], y[i])
                share[i] = weight[i] / norm * (side[s] if kind == "BNF" else 1)
                total = total + share[i] * value
    loss = total / divisor
    (loss * case["loss_scale"]).backward()
    dlogp = []
    for i in range(n):
        if y[i] < 0:
            dlogp.append(0.0)
        elif case["ls"] or case["zeta"]:
            dlogp.append(-share[i] / divisor * case["loss_scale"])
        else:
            others = p[i].sum() - p[i][y[i]]
            dlogp.append((zp[i].grad[y[i]] / others).item())
    grad = [[leaf.grad[i][v].item() if z[i][v] > -math.inf else 0.0
             for v in range(len(z[i]))] for i in range(n)]
    sums = [float(sum(weight[i] * logp[i][y[i]].item() for i in u))
            for u in used]
    beta = case["beta"] if kind == "DPO" else 1.0
    reward = [beta * torch.as_tensor(r).item() for r in ratio]
    chosen = [s for s in range(S) if count[s] and side[s] > 0]
    rejected = [s for s in range(S) if count[s] and side[s] < 0]
    entropy = [-sum(x * math.log(x) for x in p[i].tolist() if x > 0)
               for i in tokens]
    hit = [z[i][y[i]] >= max(z[i]) for i in tokens]
    metrics = [
        mean([reward[s] for s in chosen]),
        mean([reward[s] for s in rejected]),
        mean([reward[s] for s in chosen]) - mean([reward[s] for s in rejected]),
        mean([reward[a] > reward[b] for a, b in pairs]),
        mean([sums[s] for s in chosen]),
        mean([sums[s] for s in rejected]),
        mean(entropy), mean(hit),
        mean(g), mean([x > 1 - 1e-12 for x in g]),
    ]
    if kind == "SFT":
        metrics[:6] = [NAN] * 6
    if case["eps"]:
        metrics[9] = NAN                # g = 1 is not a limit with eps
    return dict(loss=loss.item(), divisor=divisor, dlogp=dlogp, grad=grad,
                metrics=metrics, tokens=len(tokens),
                sequences=sum(c > 0 for c in count), pairs=len(pairs))


def number(x):
    if x != x:
        return "NONE"
    if x == -math.inf:
        return "MASKED"
    return "%.12g" % x


def array(name, ctype, values, form=number):
    print("static const %s %s[] = {" % (ctype, name))
    line = "   "
    for v in values:
        text = " " + form(v) + ","
        if len(line) + len(text) > 79:
            print(line)
            line = "   "
        line += text
    print(line + "\n};\n")


def title(kind, options):
    words = [kind]
    for k, v in options.items():
        if isinstance(v, tuple):
            v = "/".join(map(str, v))
        words.append(k if v is True else "%s %s" % (k, v))
    return ", ".join(words)


def main():
    rng = random.Random(2410)
    pools = {k: [] for k in "z y ref weight start side dlogp grad".split()}
    rows = []
    for kind, options in CASES:
        case = {**COMMON, **DEFAULTS[kind], **options}
        z, y, ref, weight = data(case, rng)
        s = solve(kind, case, z, y, ref, weight)
        at = {k: len(v) for k, v in pools.items()}
        n, S = len(y), len(case["lengths"])
        pools["z"] += [x for r in z for x in r]
        pools["y"] += y
        pools["ref"] += ref
        pools["weight"] += weight or [1.0] * n
        pools["start"] += [sum(case["lengths"][:k]) for k in range(S + 1)]
        pools["side"] += sides_of(case)
        pools["dlogp"] += s["dlogp"]
        pools["grad"] += [x for r in s["grad"] for x in r]
        rows.append((title(kind, options), [
            [KINDS[kind], NORMS[case["norm"]], DIVISORS[case["divisor"]],
             int(case["dft"]), PAIRINGS[case["pairing"]]],
            [n, case["V"], S, at["z"], at["y"], at["start"], at["side"]],
            [s["tokens"], s["sequences"], s["pairs"]],
            [case[k] for k in "beta flip eps scale softcap ls zeta".split()],
            [case["given"], case["loss_scale"], s["loss"], s["divisor"]],
        ], s["metrics"]))
    print("/* Small cases and their answers, from PyTorch %s in float64: the"
          "\n * output of recipes/golden.py.\n *"
          "\n * SPDX-License-Identifier: MIT\n */" %
          torch.__version__.split("+")[0])
    print("#ifndef GOLDEN_H\n#define GOLDEN_H\n")
    print("#include <stdint.h>\n")
    print("#define MASKED -1e30f      /* stands for a logit of -inf */")
    print("#define NONE 1e300         /* for a metric that does not apply */\n")
    print("enum { GOLDEN_METRICS = 10 };\n")
    print("""typedef struct golden {
    const char *name;
    uint32_t kind, norm, divisor, dft, pairing;
    int64_t n, v, s;
    int64_t at_logits, at_row, at_start, at_side;
    int64_t tokens, sequences, pairs;
    float beta, flip, eps, scale, softcap, smoothing, z_loss;
    double given, loss_scale, loss, divided_by;
    double metrics[GOLDEN_METRICS];
} golden;
""")
    small = lambda x: number(x) if x == -math.inf else \
        number(x) + ("" if "." in number(x) else ".") + "f"
    array("golden_logits", "float", pools["z"], small)
    array("golden_grad", "double", pools["grad"])
    array("golden_labels", "int32_t", pools["y"])
    array("golden_ref", "float", pools["ref"], small)
    array("golden_weight", "float", pools["weight"], small)
    array("golden_dlogp", "double", pools["dlogp"])
    array("golden_start", "int64_t", pools["start"])
    array("golden_side", "int8_t", pools["side"])
    print("static const golden goldens[] = {")
    for name, fields, metrics in rows:
        if len(name) > 66:
            cut = name.index(", ", 30) + 2
            name = name[:cut] + '"\n      "' + name[cut:]
        print('    { "%s",' % name)
        for k, f in enumerate(fields):
            form = (lambda x: small(float(x)) if "e" not in number(x)
                    else number(x) + "f") if k == 3 else number
            print("      " + ", ".join(form(x) for x in f) + ",")
        half = [number(x) for x in metrics]
        print("      { " + ", ".join(half[:4]) + ",")
        print("        " + ", ".join(half[4:8]) + ",")
        print("        " + ", ".join(half[8:]) + " } },")
    print("};\n\n#endif /* GOLDEN_H */")


main()
