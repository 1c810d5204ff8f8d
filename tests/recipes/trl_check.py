#!/usr/bin/env python3
"""Compares golden.py with TRL's own code: values and logged metrics on random
batches. Run by hand; it needs TRL and what it needs (pip install trl), and,
for the losses that TRL has since dropped, the unpacked wheel of an older one:

    python3 trl_check.py [FOLDER OF AN UNPACKED TRL 0.24]

Trainers are made without their constructors and called with a model that
answers with golden.py's rows, so what runs is the installed package and
nothing of it is here.

What it printed, with TRL 1.16.0 (BCO and conservative DPO: 0.24.0),
transformers 5.23.0 and PyTorch 2.13.0 in float64, largest |difference| /
(1 + |loss|) of 25 batches of 4 pairs:

sigmoid           DPO                                                 1.3e-16
hinge             HINGE, beta 1.0                                     2.4e-16
ipo               IPO                                                 2.2e-16
exo_pair          EXO_PAIR                                            1.4e-16
exo_pair          EXO_PAIR, flip_prob 0.25                            4.4e-17
nca_pair          NCA_PAIR                                            9.0e-17
robust            ROBUST, flip_prob 0.25                              1.8e-16
bco_pair          BCO_PAIR                                            9.9e-17
sppo_hard         SPPO_HARD                                           2.0e-16
aot               AOT, flip_prob 0.125                                6.6e-17
aot_unpaired      AOT_UNPAIRED, flip_prob 0.125                       1.2e-16
apo_zero          APO_ZERO                                            1.1e-16
apo_down          APO_DOWN                                            6.2e-17
discopop          DISCOPOP                                            1.0e-16
sigmoid_norm      SIGMOID_NORM                                        0.0e+00
sft               SFT, chosen_only                                    2.9e-16
sigmoid           DPO, f_divergence forward_kl                        3.6e-15
sigmoid           DPO, f_divergence js                                1.1e-16
sigmoid           DPO, f_divergence alpha                             1.8e-06
sigmoid           DPO, f_divergence alpha, f_alpha 0.3                2.5e-06
sigmoid           DPO, f_divergence alpha, f_alpha 1.0                5.7e-08
robust            ROBUST, f_divergence js, flip_prob 0.25             9.2e-17
exo_pair          EXO_PAIR, f_divergence forward_kl                   7.1e-16
discopop          DISCOPOP, f_divergence js                           6.7e-17
hinge             HINGE, f_divergence js, beta 1.0                    2.9e-16
ipo               IPO, f_divergence js                                1.4e-16
ipo               IPO, f_divergence forward_kl                        8.6e-15
sigmoid_norm      SIGMOID_NORM, f_divergence js                       1.3e-16
sigmoid_norm      SIGMOID_NORM, f_divergence alpha                    4.7e-07
sigmoid           DPO, ld_alpha 0.5                                   5.7e-17
ipo               IPO, ld_alpha 0.0                                   1.6e-16
nca_pair          NCA_PAIR, ld_alpha 0.25                             9.0e-17
aot               AOT, ld_alpha 0.5                                   6.8e-17
sigmoid           DPO, wpo                                            2.5e-17
apo_zero          APO_ZERO, wpo, ld_alpha 0.5                         1.3e-17
ipo               IPO, wpo                                            1.4e-16
sigmoid           CPO                                                 1.9e-16
sigmoid           CPO, flip_prob 0.25, sft_weight 0.5                 2.2e-16
simpo             SIMPO                                               1.1e-16
simpo             SIMPO, beta 2.0, sft_weight 1.0, sft_norm batch     3.2e-16
simpo             ALPHAPO                                             1.2e-16
simpo             ALPHAPO, alpha -0.5, flip_prob 0.125                5.8e-17
orpo              ORPO, sft_norm batch                                3.5e-09
orpo              ORPO                                                1.8e-01
kto               KTO, mismatched 1.5/3.0, undesirable_weight 0.5     4.1e-17
kto               KTO, mismatched -2.0/0.5, desirable_weight 1.5      1.3e-16
apo_zero_unpaired APO_ZERO_UNPAIRED                                   7.7e-17
bco               BCO                                                 1.3e-11
bco               BCO, shift_mean -0.5, shift_count 24.0              1.5e-10
sigmoid           DPO, flip_prob 0.25                                 0.0e+00
sigmoid           DPO, reference_free                                 0.0e+00

and then the metrics that differ.

Where the two differ, and why:
- TRL computes alpha divergences and ORPO in float32, BCO's mean too.
- ORPO's NLL is a mean over the batch's tokens in TRL (and over the prompt's,
  too), over each response in the paper and here by default; sft_norm batch
  is TRL's.
- Metrics of its own kind in TRL: mean_token_accuracy is of chosen responses,
  in SFT entropy of both; logps/* under ld_alpha have the factor in them, and
  are means in CPOTrainer's simpo and in ORPO; logits/* of CPO and ORPO count
  prompts and padding; rewards/* of AlphaPO are the transformed ones, of ORPO
  times its lambda.
- TRL's use_weighting with loss_type sft cannot run: it multiplies an expanded
  tensor in place.
- TRL's sigmoid has no label smoothing any more (0.24's had).
"""
import ast
import math
import os
import random
import sys
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import torch
import transformers
import trl
from trl import DPOTrainer, KTOTrainer

import golden

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
from trl.experimental.cpo import CPOTrainer      # noqa: E402
from trl.experimental.orpo import ORPOTrainer    # noqa: E402

BATCHES, PAIRS, VOCABULARY = 25, 4, 7


class Anything:
    """An accelerator of one process."""
    device = torch.device("cpu")
    use_distributed = False

    def gather(self, x):
        return x

    gather_for_metrics = gather


class Model:
    """Answers with a table of outputs, whatever it is asked."""
    training = True
    is_gradient_checkpointing = False

    def __init__(self, **outputs):
        self.outputs = SimpleNamespace(**outputs)

    def __call__(self, *args, **kwargs):
        return self.outputs


def trainer(cls, **attributes):
    """A trainer that no constructor has seen."""
    t = cls.__new__(cls)
    t.accelerator, t.aux_loss_enabled = Anything(), False
    t._metrics = {"train": defaultdict(list)}
    t._total_train_tokens, t._tp_size = 0, 1
    for k, v in attributes.items():
        setattr(t, k, v)
    return t


# ---- Batches: one prompt token, then the response --------------------------

def batch_of(kind, options, seed):
    """A case of golden.py with random lengths, and its answer."""
    rng = random.Random("%s %d" % (kind, seed))
    options = dict(options, V=VOCABULARY, pairing="halves",
                   lengths=tuple(rng.randrange(1, 6)
                                 for _ in range(2 * PAIRS)))
    case = golden.case_of(kind, options)
    d = golden.data(case, rng)
    return case, d, golden.solve(case, d)


def padded(d, values, fill=0.0, dtype=None):
    """A number per row, as (S, T)."""
    S = len(d.side)
    width = max(d.start[s + 1] - d.start[s] for s in range(S))
    out = torch.full((S, width), fill, dtype=dtype)
    for s in range(S):
        for k, i in enumerate(range(d.start[s], d.start[s + 1])):
            out[s, k] = values[i]
    return out


def models(d, r):
    """Policy and reference."""
    n = len(d.y)
    top = [d.z[i][d.y[i]] >= max(d.z[i]) for i in range(n)]
    entropy = [-(p * p.log()).sum().item() for p in r.p]
    policy = Model(
        log_probs=padded(d, [l.item() for l in r.l]),
        log_sum_sq_probs=padded(d, r.log_square), entropy=padded(d, entropy),
        mean_logits=padded(d, r.mean_logit),
        is_top1=padded(d, top, 0, torch.bool))
    return policy, Model(log_probs=padded(d, d.ref))


def inputs(d):
    mask = padded(d, [1] * len(d.y), 0, torch.long)
    prompt = torch.zeros(len(d.side), 1, dtype=torch.long)
    return dict(
        input_ids=torch.cat((prompt, padded(d, d.y, 0, torch.long)), 1),
        attention_mask=torch.cat((prompt + 1, mask), 1),
        completion_mask=torch.cat((prompt, mask), 1))


def dpo(loss_type, s, case, d, a, **more):
    """DPOTrainer's loss and metrics."""
    wide = s.f_divergence != "alpha"    # their alpha knows no float64
    policy, ref = models(d, a.rows)
    if not wide:
        for m in (policy, ref):
            for k, v in vars(m.outputs).items():
                setattr(m.outputs, k, v if v.dtype == torch.bool
                        else v.float())
    t = trainer(
        DPOTrainer, model=policy, ref_model=ref, loss_types=[loss_type],
        loss_weights=[1.0], beta=s.beta, label_smoothing=s.flip_prob,
        precompute_ref_logps=False, use_weighting=golden.has(s, "wpo"),
        ld_alpha=s.ld_alpha if s.ld_alpha != 1 else None,
        f_divergence_type={"js": "js_divergence", "alpha": "alpha_divergence"}
        .get(s.f_divergence, s.f_divergence),
        f_alpha_divergence_coef=s.f_alpha,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None,
                             discopop_tau=s.tau), **more)
    loss = DPOTrainer._compute_loss(t, policy, inputs(d), False)
    return loss, t._metrics["train"]


def kto(loss_type, s, case, d, a):
    policy, ref = models(d, a.rows)
    # the mismatched answers: one token each, as long as their sums
    M = len(d.mismatched)
    kl = torch.tensor(d.mismatched).reshape(M, 1)
    labels = torch.tensor([x > 0 for x in d.side])
    two = torch.ones(M, 2, dtype=torch.long)
    batch = dict(inputs(d), label=labels, KL_input_ids=two,
                 KL_attention_mask=two, KL_completion_mask=two)

    class Both(Model):
        def __init__(self, model, kl):
            self.outputs, self.kl = model.outputs, kl

        def __call__(self, input_ids=None, labels=None, **kwargs):
            if labels.shape[1] == 2 and labels.shape[0] == M:
                return SimpleNamespace(log_probs=self.kl)
            return self.outputs

    t = trainer(
        KTOTrainer, model=Both(policy, kl), ref_model=Both(ref, 0 * kl),
        loss_type=loss_type, beta=s.beta, calculate_KL=loss_type == "kto",
        precompute_ref_logps=False, desirable_weight=s.desirable_weight or 1,
        undesirable_weight=s.undesirable_weight or 1,
        args=SimpleNamespace(gradient_checkpointing_kwargs=None))
    return KTOTrainer._compute_loss(t, t.model, batch, False), \
        t._metrics["train"]


def rows_of(d):
    """Logits (S,T,V), where position t predicts token t + 1."""
    S, V = len(d.side), len(d.z[0])
    width = max(d.start[s + 1] - d.start[s] for s in range(S)) + 1
    out = torch.zeros(S, width, V)
    for s in range(S):
        rows = d.z[d.start[s]:d.start[s + 1]]
        out[s, :len(rows)] = torch.tensor(rows)
    return out


def without_reference(cls, d, **attributes):
    x = inputs(d)
    labels = x["input_ids"].masked_fill(x["completion_mask"] == 0, -100)
    P = len(d.side) // 2
    batch = {}
    for name, part in (("chosen", slice(0, P)), ("rejected", slice(P, None))):
        batch.update({name + "_input_ids": x["input_ids"][part],
                      name + "_attention_mask": x["attention_mask"][part],
                      name + "_labels": labels[part]})
    t = trainer(cls, is_encoder_decoder=False, pad_token_id=0,
                padding_value=0, **attributes)
    loss, metrics = t.get_batch_loss_metrics(Model(logits=rows_of(d)), batch)
    return loss, {k: [v] for k, v in metrics.items()}


def cpo(loss_type, s, case, d, a):
    return without_reference(
        CPOTrainer, d, loss_type=loss_type, beta=s.beta,
        label_smoothing=s.flip_prob, cpo_alpha=s.sft_weight,
        simpo_gamma=s.gamma, alpha=s.alpha)


def orpo(loss_type, s, case, d, a):
    return without_reference(ORPOTrainer, d, beta=s.penalty)


OLD = sys.argv[1] if len(sys.argv) > 1 else None


def cut(path, names):
    """Functions and classes of an older TRL, without importing it."""
    tree = ast.parse(open(os.path.join(OLD, path)).read())
    found = {n.name: n for n in ast.walk(tree)
             if isinstance(n, (ast.FunctionDef, ast.ClassDef))
             and n.name in names}
    body = [found[n] for n in names]
    space = defaultdict(lambda: object, torch=torch, dataclass=dataclass,
                        F=torch.nn.functional, nn=torch.nn, Optional=tuple,
                        Union=tuple, Literal=tuple, Accelerator=object)
    future = ast.parse("from __future__ import annotations").body
    code = compile(ast.Module(future + body, []), path, "exec")
    space = dict(space)
    exec(code, space)
    return [space[n] for n in names]


def old_bco(loss_type, s, case, d, a):
    moments, = cut("trl/trainer/utils.py", ["RunningMoments"])
    bco_loss, = cut("trl/trainer/bco_trainer.py", ["bco_loss"])
    running = moments(Anything())
    if case.shift_count:
        running.mean, running.count = case.shift_mean, case.shift_count
    t = SimpleNamespace(beta=s.beta, running=running,
                        match_underlying_distribution=False)
    # TRL keeps the batch's mean in float32
    l, r, P = torch.stack(a.first.l).detach(), torch.stack(a.first.r), PAIRS
    losses, *_ = bco_loss(t, l[:P], l[P:], r[:P], r[P:], None, None)
    return losses.mean(), {}


def old_dpo(loss_type, s, case, d, a):
    dpo_loss, = cut("trl/trainer/dpo_trainer.py", ["dpo_loss"])
    t = SimpleNamespace(
        accelerator=Anything(), reference_free=golden.has(s, "reference_free"),
        f_divergence_type="reverse_kl", f_divergence_params=None, beta=s.beta,
        label_smoothing=s.flip_prob)
    dpo_loss.__globals__["FDivergenceType"] = SimpleNamespace(
        ALPHA_DIVERGENCE=SimpleNamespace(value="alpha_divergence"),
        JS_DIVERGENCE=SimpleNamespace(value="js_divergence"))
    l = torch.stack(a.first.l).detach()
    r = torch.tensor([sum(d.ref[d.start[k]:d.start[k + 1]])
                      for k in range(2 * PAIRS)])
    losses, *_ = dpo_loss(t, l[:PAIRS], l[PAIRS:], r[:PAIRS], r[PAIRS:],
                          loss_type, {})
    return losses.mean(), {}


# ---- The table -------------------------------------------------------------

# TRL's name, its trainer, our kind, our options
TABLE = [
    ("sigmoid", dpo, "DPO", {}),
    ("hinge", dpo, "HINGE", dict(beta=1.0)),
    ("ipo", dpo, "IPO", {}),
    ("exo_pair", dpo, "EXO_PAIR", {}),
    ("exo_pair", dpo, "EXO_PAIR", dict(flip_prob=0.25)),
    ("nca_pair", dpo, "NCA_PAIR", {}),
    ("robust", dpo, "ROBUST", dict(flip_prob=0.25)),
    ("bco_pair", dpo, "BCO_PAIR", {}),
    ("sppo_hard", dpo, "SPPO_HARD", {}),
    ("aot", dpo, "AOT", dict(flip_prob=0.125)),
    ("aot_unpaired", dpo, "AOT_UNPAIRED", dict(flip_prob=0.125)),
    ("apo_zero", dpo, "APO_ZERO", {}),
    ("apo_down", dpo, "APO_DOWN", {}),
    ("discopop", dpo, "DISCOPOP", {}),
    ("sigmoid_norm", dpo, "SIGMOID_NORM", {}),
    ("sft", dpo, "SFT", dict(chosen_only=True)),
    ("sigmoid", dpo, "DPO", dict(f_divergence="forward_kl")),
    ("sigmoid", dpo, "DPO", dict(f_divergence="js")),
    ("sigmoid", dpo, "DPO", dict(f_divergence="alpha")),
    ("sigmoid", dpo, "DPO", dict(f_divergence="alpha", f_alpha=0.3)),
    ("sigmoid", dpo, "DPO", dict(f_divergence="alpha", f_alpha=1.0)),
    ("robust", dpo, "ROBUST", dict(f_divergence="js", flip_prob=0.25)),
    ("exo_pair", dpo, "EXO_PAIR", dict(f_divergence="forward_kl")),
    ("discopop", dpo, "DISCOPOP", dict(f_divergence="js")),
    ("hinge", dpo, "HINGE", dict(f_divergence="js", beta=1.0)),
    ("ipo", dpo, "IPO", dict(f_divergence="js")),
    ("ipo", dpo, "IPO", dict(f_divergence="forward_kl")),
    ("sigmoid_norm", dpo, "SIGMOID_NORM", dict(f_divergence="js")),
    ("sigmoid_norm", dpo, "SIGMOID_NORM", dict(f_divergence="alpha")),
    ("sigmoid", dpo, "DPO", dict(ld_alpha=0.5)),
    ("ipo", dpo, "IPO", dict(ld_alpha=0.0)),
    ("nca_pair", dpo, "NCA_PAIR", dict(ld_alpha=0.25)),
    ("aot", dpo, "AOT", dict(ld_alpha=0.5)),
    ("sigmoid", dpo, "DPO", dict(wpo=True)),
    ("apo_zero", dpo, "APO_ZERO", dict(wpo=True, ld_alpha=0.5)),
    ("ipo", dpo, "IPO", dict(wpo=True)),
    ("sigmoid", cpo, "CPO", {}),
    ("sigmoid", cpo, "CPO", dict(flip_prob=0.25, sft_weight=0.5)),
    ("simpo", cpo, "SIMPO", {}),
    ("simpo", cpo, "SIMPO", dict(beta=2.0, sft_weight=1.0,
                                 sft_norm="batch")),
    ("simpo", cpo, "ALPHAPO", {}),
    ("simpo", cpo, "ALPHAPO", dict(alpha=-0.5, flip_prob=0.125)),
    ("orpo", orpo, "ORPO", dict(sft_norm="batch")),
    ("orpo", orpo, "ORPO", {}),
    ("kto", kto, "KTO", dict(mismatched=(1.5, 3.0), undesirable_weight=0.5)),
    ("kto", kto, "KTO", dict(mismatched=(-2.0, 0.5), desirable_weight=1.5)),
    ("apo_zero_unpaired", kto, "APO_ZERO_UNPAIRED", {}),
]
OLDER = [
    ("bco", old_bco, "BCO", {}),
    ("bco", old_bco, "BCO", dict(shift_mean=-0.5, shift_count=24.0)),
    ("sigmoid", old_dpo, "DPO", dict(flip_prob=0.25)),
    ("sigmoid", old_dpo, "DPO", dict(reference_free=True)),
]


@contextmanager
def quiet():
    """TRL logs; the table is what is wanted."""
    transformers.logging.set_verbosity_error()
    with torch.no_grad():
        yield


def compare(name, call, kind, options):
    """The largest differences over some batches; metrics by TRL's names."""
    loss_gap, gaps = 0.0, defaultdict(float)
    for seed in range(BATCHES):
        case, d, ours = batch_of(kind, options, seed)
        with quiet():
            loss, metrics = call(name, case.specs[0], case, d, ours)
        loss_gap = max(loss_gap, abs(float(loss) - ours.loss)
                       / (1 + abs(ours.loss)))
        mine = dict(zip(golden.METRICS, ours.metrics))
        for k, v in metrics.items():
            key = {"mean_token_accuracy": "token_accuracy", "nll_loss":
                   "sft_loss"}.get(k, k.replace("/", "_"))
            if key in mine and not math.isnan(mine[key]):
                gaps[k] = max(gaps[k], abs(float(v[-1]) - mine[key])
                              / (1 + abs(mine[key])))
    return loss_gap, {k: v for k, v in gaps.items() if v > 1e-6}


def main():
    print("TRL %s, transformers %s, PyTorch %s; %d batches of %d pairs" % (
        trl.__version__, transformers.__version__, torch.__version__,
        BATCHES, PAIRS))
    others = defaultdict(float)         # metrics
    for name, call, kind, options in TABLE + (OLDER if OLD else []):
        gap, metrics = compare(name, call, kind, options)
        print("%-17s %-51s %.1e" % (name, golden.title(kind, options), gap))
        for k, v in metrics.items():
            k = kind if call is orpo else call.__name__.upper(), k
            others[k] = max(others[k], v)
    for k, v in others.items():
        print("%-17s %-51s %.1e" % (*k, v))


if __name__ == "__main__":
    main()
