#!/usr/bin/env python3
"""bnfloss beside PyTorch, JAX and llm.c: time and extra memory, in one run.

    bench/peers.py [--loss sft,bnf,dpo] [--vocab 32000,128256] [--threads 1,2]
                   [--mib 256] [--rounds 9] [--llmc PATH] [--json FILE]

Everyone gets the same logits, in the same buffer, and as many CPUs (the
process is tied to them). Steps are interleaved, round by round, and the ratio
is taken within a round. A result that differs from ours has no time.

Memory is reused from step to step on all sides: glibc is told not to give
any back (mallopt), since a fresh page costs more than the loss of the logits
in it. The column "faults" is the proof: page faults in a step.

Extra memory is what a step needs besides the logits, the gradient included
unless it is written over them: the peak of the resident set in a process of
its own (Linux's VmHWM, reset before the step), less what was there before.
"""
import argparse
import contextlib
import ctypes as c
import gc
import json
import os
import platform
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
LOSSES = ("sft", "bnf", "dpo")
PEERS = ("bnfloss", "torch", "torch-by-hand", "torch-compile", "jax", "llmc")
LABELS = {
    "bnfloss": "bnfloss, in place",
    "torch": "PyTorch, eager",
    "torch-by-hand": "PyTorch, gradient by hand, out=",
    "torch-compile": "torch.compile",
    "jax": "jax.jit(value_and_grad)",
    "llmc": "llm.c",
}
BETA = 0.1
SAME = 2e-3         # of a gradient, relative to its row's; floats sum badly


class Absent(Exception):
    """A peer that is not here, and why."""


# ---- The batch --------------------------------------------------------------


class Batch:
    """Logits (N,V), every row a sequence of its own, pairs adjacent."""

    def __init__(self, V, mib):
        import numpy as np

        self.V = V
        self.N = max(2, (mib << 20) // 4 // V // 2 * 2)
        rng = np.random.default_rng(1)
        self.source = aligned(self.N, V)
        rng.standard_normal(dtype=np.float32, out=self.source)
        self.source *= 3
        self.logits = aligned(self.N, V)
        self.label = rng.integers(0, V, self.N).astype(np.int64)
        self.ref = (-np.log(V) - 2 * rng.random(self.N)).astype(np.float32)
        self.side = np.where(np.arange(self.N) % 2, -1, 1).astype(np.float32)
        self.refill()

    def refill(self):
        self.logits[...] = self.source


def aligned(N, V):
    """A float array that begins a cache line: JAX shares no other."""
    import numpy as np

    raw = np.empty(N * V + 16, np.float32)
    skip = -raw.ctypes.data % 64 // 4
    return raw[skip:skip + N * V].reshape(N, V)


# ---- bnfloss ----------------------------------------------------------------


# The structs of the bindings' test, which holds them against the header.
sys.path.insert(0, os.path.join(ROOT, "tests", "bindings"))
from structs import Layout, Result, Spec, sized, struct  # noqa: E402

# As many of the fields as are needed here: a smaller struct is a legal one.
Inputs = struct(
    "Inputs", (c.c_uint32, "struct_size pairing"), (c.c_int64, "sequences"),
    (c.c_void_p, "seq_start side ref_logp row_weight"))


def build_library():
    """The shared library with OpenMP, in build-peers."""
    build = os.path.join(ROOT, "build-peers")
    log = os.path.join(tempfile.gettempdir(), "bnfloss-peers.log")
    with open(log, "w") as out:
        for command in (
                ["cmake", "-S", ROOT, "-B", build, "-DBUILD_SHARED_LIBS=ON",
                 "-DBNFLOSS_OPENMP=ON", "-DBNFLOSS_BUILD_TESTS=OFF",
                 "-DBNFLOSS_BUILD_BENCH=OFF", "-DBNFLOSS_BUILD_EXAMPLES=OFF"],
                ["cmake", "--build", build, "--target", "bnfloss"]):
            if subprocess.call(command, stdout=out, stderr=out):
                sys.exit("peers.py: cannot build the library: see " + log)
    return os.path.join(build, "libbnfloss.so")


class Bnfloss:
    """bnfloss_run(), the gradient over the logits."""

    def __init__(self, batch, loss, options):
        import numpy as np

        self.batch, self.threads = batch, options.threads
        self.so = c.CDLL(options.so)
        self.so.bnfloss_isa.restype = c.c_char_p
        self.start = np.arange(batch.N + 1, dtype=np.int64)
        self.spec = Spec()
        self.so.bnfloss_spec_init(
            c.byref(self.spec), c.sizeof(self.spec),
            {"bnf": 1, "dpo": 2, "sft": 3}[loss])
        self.layout = sized(Layout, rows=batch.N, vocab=batch.V, label_type=1)
        self.inputs = None if loss == "sft" else sized(
            Inputs, pairing=1, sequences=batch.N,
            seq_start=self.start.ctypes.data, ref_logp=batch.ref.ctypes.data)
        need = c.c_uint64()
        self.so.bnfloss_workspace(
            c.byref(self.layout), c.byref(self.spec), c.c_int64(0),
            c.c_int64(batch.N), c.byref(need))
        self.bytes = need.value
        self.work = None

    def version(self):
        isa = self.so.bnfloss_isa().decode()
        self.so.bnfloss_version.restype = c.c_char_p
        return "%s, %s" % (self.so.bnfloss_version().decode(), isa)

    def step(self):
        import numpy as np

        if self.work is None:
            self.work = np.empty(self.bytes, np.uint8)
        result = sized(Result)
        b = self.batch
        status = self.so.bnfloss_run(
            c.byref(self.layout), c.byref(self.spec),
            c.byref(self.inputs) if self.inputs else None,
            c.c_void_p(b.logits.ctypes.data), c.c_void_p(b.label.ctypes.data),
            c.c_void_p(b.logits.ctypes.data), None,
            c.c_void_p(self.work.ctypes.data), c.c_uint64(self.bytes),
            c.c_int32(self.threads), c.byref(result))
        if status:
            sys.exit("peers.py: bnfloss_run: status %d" % status)
        return result.loss

    def gradient(self):
        return self.batch.logits

    def forget(self):
        self.work = None


# ---- PyTorch ----------------------------------------------------------------


def torch_loss(loss, compiled):
    """The loss of logits, as one writes it; autograd does the rest. Each in
    the form that was the fastest of those tried: cross_entropy for the eager
    one, logsumexp for the compiled one."""
    import torch
    import torch.nn.functional as F

    def logps(z, y):
        if compiled:
            return z.gather(1, y[:, None])[:, 0] - z.logsumexp(-1)
        return -F.cross_entropy(z, y, reduction="none")

    def sft(z, y, ref, side):
        return -logps(z, y).mean() if compiled else F.cross_entropy(z, y)

    def dpo(z, y, ref, side):
        reward = (logps(z, y) - ref).view(-1, 2)
        return -F.logsigmoid(BETA * (reward[:, 0] - reward[:, 1])).mean()

    def bnf(z, y, ref, side):
        logp = F.log_softmax(z, dim=-1)
        with torch.no_grad():       # the paper's targets are constants
            p = logp.exp()
            p_y = p.gather(1, y[:, None])
            f = torch.clamp(p_y / ref.exp()[:, None], max=1)
            target = (p * ((1 - f) / (1 - p_y))).scatter(1, y[:, None], f)
        return (side * -(target * logp).sum(-1)).mean()

    return {"sft": sft, "dpo": dpo, "bnf": bnf}[loss]


class Torch:
    """Eager, and compiled: loss.backward()."""

    compiled = False

    def __init__(self, batch, loss, options):
        try:
            import torch
        except ImportError:
            raise Absent("PyTorch is not installed (pip install torch)")
        torch.set_num_threads(options.threads)
        self.torch = torch
        self.loss = torch_loss(loss, self.compiled)
        if self.compiled:
            torch._dynamo.reset()
            self.loss = torch.compile(self.loss, dynamic=False)
        self.z = torch.from_numpy(batch.logits).requires_grad_()
        self.others = [torch.from_numpy(x)
                       for x in (batch.label, batch.ref, batch.side)]

    def version(self):
        return self.torch.__version__

    def step(self):
        self.z.grad = None
        value = self.loss(self.z, *self.others)
        value.backward()
        return value.item()

    def gradient(self):
        return self.z.grad.numpy()

    def forget(self):
        self.z.grad = None


class TorchCompile(Torch):
    compiled = True


class TorchByHand(Torch):
    """No autograd: softmax into a buffer of its own, the gradient in that."""

    def __init__(self, batch, loss, options):
        super().__init__(batch, loss, options)
        self.kind = loss
        self.z = self.z.detach()
        self.grad = None

    def step(self):
        torch, z = self.torch, self.z
        y, ref, side = self.others
        if self.grad is None:
            self.grad = torch.empty_like(z)
        g, y = self.grad, y[:, None]
        torch.softmax(z, -1, out=g)
        p = g.gather(1, y)[:, 0]
        logp = p.log()
        if self.kind == "sft":
            value, slope = -logp.mean(), torch.full_like(p, 1 / len(p))
        elif self.kind == "dpo":
            u = BETA * ((logp - ref)[0::2] - (logp - ref)[1::2])
            value = -torch.nn.functional.logsigmoid(u).mean()
            half = BETA * torch.sigmoid(-u) / len(u)
            slope = torch.stack([half, -half], 1).flatten()
        else:
            q = ref.exp()
            f = torch.clamp(p / q, max=1)
            lse = z.gather(1, y)[:, 0] - logp
            mean = torch.bmm(g[:, None], z[:, :, None])[:, 0, 0]
            rest = (mean - lse - p * logp) / (1 - p)
            value = (side * -(f * logp + (1 - f) * rest)).mean()
            slope = side * (f - p) / (1 - p) / len(p)
        g.scatter_add_(1, y, torch.full_like(y, -1, dtype=g.dtype))
        g.mul_(slope[:, None])
        return value.item()

    def gradient(self):
        return self.grad.numpy()

    def forget(self):
        self.grad = None


# ---- JAX --------------------------------------------------------------------


class Jax:
    """jax.jit of value_and_grad, on the same buffer by DLPack."""

    def __init__(self, batch, loss, options):
        try:
            import jax
        except ImportError:
            raise Absent("JAX is not installed (pip install jax)")
        import numpy as np

        jax.config.update("jax_platforms", "cpu")
        self.jax, self.out = jax, None
        self.z = jax.dlpack.from_dlpack(batch.logits)
        if self.z.unsafe_buffer_pointer() != batch.logits.ctypes.data:
            raise Absent("JAX has copied the logits instead of sharing them")
        self.others = [jax.numpy.asarray(x) for x in (
            batch.label.astype(np.int32), batch.ref, batch.side)]
        self.call = jax.jit(jax.value_and_grad(self.loss_of(loss)))

    def loss_of(self, loss):
        jax, np = self.jax, self.jax.numpy

        def logps(z, y):            # faster here than log_softmax
            lse = jax.nn.logsumexp(z, axis=-1, keepdims=True)
            return z - lse, (np.take_along_axis(z, y[:, None], 1) - lse)[:, 0]

        def sft(z, y, ref, side):
            return -logps(z, y)[1].mean()

        def dpo(z, y, ref, side):
            reward = logps(z, y)[1] - ref
            u = BETA * (reward[0::2] - reward[1::2])
            return -jax.nn.log_sigmoid(u).mean()

        def bnf(z, y, ref, side):
            logp, l = logps(z, y)
            p_y = np.exp(l)
            f = np.minimum(p_y / np.exp(ref), 1)
            column = np.arange(z.shape[1]) == y[:, None]
            target = np.where(column, f[:, None], np.exp(logp)
                              * ((1 - f) / (1 - p_y))[:, None])
            target = jax.lax.stop_gradient(target)
            return (side * -(target * logp).sum(-1)).mean()

        return {"sft": sft, "dpo": dpo, "bnf": bnf}[loss]

    def version(self):
        return self.jax.__version__

    def step(self):
        self.out = None
        self.out = self.jax.block_until_ready(self.call(self.z, *self.others))
        return float(self.out[0])

    def gradient(self):
        import numpy as np

        return np.asarray(self.out[1])

    def forget(self):
        self.out = None


# ---- llm.c ------------------------------------------------------------------


class Llmc:
    """The user's checkout of llm.c: its own source, as its own Makefile
    compiles it. Its backward pass adds, so its gradient is zeroed first, off
    the clock."""

    def __init__(self, batch, loss, options):
        if loss != "sft":
            raise Absent("llm.c has SFT alone")
        if not options.llmc:
            raise Absent("give its checkout: --llmc PATH")
        self.batch, self.path = batch, options.llmc
        self.so = self.build()
        self.probs = self.grad = None

    def command(self):
        """How its Makefile would compile train_gpt2.c."""
        if not shutil.which("make"):
            raise Absent("there is no make, which knows its flags")
        done = subprocess.run(
            ["make", "-rnB", "train_gpt2", "NO_MULTI_GPU=1", "USE_CUDNN=0"],
            cwd=self.path, capture_output=True, text=True)
        for line in done.stdout.splitlines():
            if " train_gpt2.c " in line:
                return shlex.split(line)
        raise Absent("its Makefile does not say how to make train_gpt2: "
                     + done.stderr[:200])

    def build(self):
        """Linked apart: with -Ofast a library turns denormals off for all."""
        if not os.path.exists(os.path.join(self.path, "train_gpt2.c")):
            raise Absent("there is no train_gpt2.c in " + self.path)
        words = [w for w in self.command() if not w.startswith("-l")]
        if "-o" in words:
            at = words.index("-o")
            del words[at:at + 2]
        with tempfile.TemporaryDirectory() as folder:
            made = os.path.join(folder, "llmc.o")
            target = os.path.join(folder, "llmc.so")
            for command in (words + ["-DTESTING", "-fPIC", "-c", "-o", made],
                            [words[0], "-shared", "-fopenmp", made, "-o",
                             target, "-lm"]):
                done = subprocess.run(command, cwd=self.path,
                                      capture_output=True, text=True)
                if done.returncode:
                    raise Absent("it does not compile: " + done.stderr[:200])
            return c.CDLL(target)

    def version(self):
        done = subprocess.run(["git", "-C", self.path, "rev-parse", "--short",
                               "HEAD"], capture_output=True, text=True)
        return done.stdout.strip() or "no revision"

    def prepare(self):
        import numpy as np

        b = self.batch
        if self.probs is None:
            self.probs = np.empty_like(b.logits)
            self.grad = np.empty_like(b.logits)
            self.losses = np.empty(b.N, np.float32)
            self.dlosses = np.full(b.N, 1 / b.N, np.float32)
            self.targets = b.label.astype(np.int32)
        self.grad[...] = 0

    def step(self):
        b = self.batch
        if self.probs is None:
            self.prepare()
        p = {k: c.c_void_p(getattr(self, k).ctypes.data) for k in (
            "probs", "grad", "losses", "dlosses", "targets")}
        self.so.softmax_forward(
            p["probs"], c.c_void_p(b.logits.ctypes.data), 1, b.N, b.V, b.V)
        self.so.crossentropy_forward(
            p["losses"], p["probs"], p["targets"], 1, b.N, b.V)
        self.so.crossentropy_softmax_backward(
            p["grad"], p["dlosses"], p["probs"], p["targets"], 1, b.N, b.V,
            b.V)
        return float(self.losses.mean())

    def gradient(self):
        return self.grad

    def forget(self):
        self.probs = self.grad = None


CLASSES = dict(zip(PEERS, (Bnfloss, Torch, TorchByHand, TorchCompile, Jax,
                           Llmc)))

# ---- Measuring --------------------------------------------------------------


def keep_memory():
    """No mmap, no trimming, one arena: freed memory stays for the next."""
    M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
    with contextlib.suppress(AttributeError, OSError):
        libc = c.CDLL("libc.so.6")
        return bool(libc.mallopt(M_MMAP_MAX, 0)
                    and libc.mallopt(M_TRIM_THRESHOLD, -1)
                    and libc.mallopt(M_ARENA_MAX, 1))
    return False


def sample(batch):
    """A copy of the rows that are compared."""
    rows = sorted(set(range(min(8, batch.N)))
                  | set(range(max(0, batch.N - 8), batch.N)))
    return lambda gradient: gradient[rows].copy()


def difference(mine, theirs):
    """The largest, relative to its row's largest: that is about |dlogp|."""
    import numpy as np

    size = np.abs(mine).max(axis=1, keepdims=True)
    return float((np.abs(mine - theirs) / size).max())


def start(names, batch, loss, options):
    """The peers that are here and agree with the first, warmed up."""
    here, absent, rows, mine = {}, {}, sample(batch), None
    for name in names:
        try:
            batch.refill()
            peer = CLASSES[name](batch, loss, options)
            value = peer.step()
            theirs = rows(peer.gradient())
        except Absent as why:
            absent[name] = str(why)
            continue
        except Exception as error:      # a compiler that is not there, say
            absent[name] = "%s: %s" % (type(error).__name__,
                                       str(error).strip()[:200])
            continue
        if mine is None:
            mine, first = theirs, value
        off = max(difference(mine, theirs),
                  abs(value - first) / (1 + abs(first)))
        if not off < SAME:
            absent[name] = "its result differs from ours by %.2g" % off
            continue
        here[name] = {"peer": peer, "version": peer.version(), "off": off,
                      "time": [], "faults": []}
    return here, absent


def time_step(batch, one):
    """Refilled off the clock; a pause lets others' threads fall asleep."""
    batch.refill()
    getattr(one["peer"], "prepare", lambda: None)()
    time.sleep(0.01)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    begin = time.perf_counter()
    one["peer"].step()
    one["time"].append(time.perf_counter() - begin)
    one["faults"].append(
        resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)


def measure(options):
    """One child: everyone, one loss, one vocabulary, one number of threads."""
    kept = keep_memory()
    batch = Batch(options.vocab, options.mib)
    here, absent = start(PEERS, batch, options.loss, options)
    for _ in range(options.rounds + 2):
        for one in here.values():
            time_step(batch, one)
    for one in here.values():       # the allocator has found its places
        del one["time"][:2], one["faults"][:2]
    ours = here["bnfloss"]["time"]
    rows = []
    for name, one in here.items():
        ratio = [t / o for t, o in zip(one["time"], ours)]
        middle = statistics.median(ratio)
        rows.append({
            "peer": name, "version": one["version"], "rounds": len(ratio),
            "ms": 1e3 * statistics.median(one["time"]), "ratio": middle,
            "mad": statistics.median(abs(r - middle) for r in ratio),
            "faults": statistics.median(one["faults"]),
            "difference": one["off"]})
    print(json.dumps({"rows": rows, "absent": absent, "N": batch.N,
                      "kept": kept}))


def status_bytes(key):
    with open("/proc/self/status") as f:
        for line in f:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * 1024
    raise Absent("no %s in /proc/self/status" % key)


def measure_memory(options):
    """Another child: the peak of one peer's step."""
    batch = Batch(options.vocab, options.mib)
    here, absent = start([options.peer], batch, options.loss, options)
    if options.peer not in here:
        print(json.dumps({"absent": absent}))
        return
    peer = here[options.peer]["peer"]
    batch.refill()
    peer.forget()
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):
        c.CDLL("libc.so.6").malloc_trim(0)
    before = status_bytes("VmRSS")
    with open("/proc/self/clear_refs", "w") as f:
        f.write("5")                # VmHWM begins anew
    peer.step()
    print(json.dumps({"extra": (status_bytes("VmHWM") - before)
                      / batch.logits.nbytes}))


# ---- The run ----------------------------------------------------------------


def child(options, what, **values):
    """Runs this script again, tied to as many CPUs; its last line is JSON."""
    cpus = sorted(os.sched_getaffinity(0))[:values["threads"]]
    command = [sys.executable, os.path.abspath(__file__), "--child", what,
               "--so", options.so, "--mib", str(options.mib),
               "--rounds", str(options.rounds)]
    if options.llmc:
        command += ["--llmc", options.llmc]
    for key, value in values.items():
        command += ["--" + key, str(value)]
    environment = dict(os.environ, OMP_NUM_THREADS=str(values["threads"]),
                       JAX_PLATFORMS="cpu")
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, preexec_fn=lambda: os.sched_setaffinity(0, cpus))
    try:
        return json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        sys.exit("peers.py: %s\n%s" % (" ".join(command), done.stderr[-2000:]))


def machine():
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def show(report, memory, said):
    print("%-34s %9s %8s %6s %11s %8s %9s" % (
        "", "ms", "x ours", "+-", "extra mem", "faults", "differs"))
    for row in report["rows"]:
        extra = memory.get(row["peer"])
        print("%-34s %9.2f %8.2f %6.2f %11s %8.0f %9.1e" % (
            LABELS[row["peer"]], row["ms"], row["ratio"], row["mad"],
            "-" if extra is None else "%.2f x" % extra, row["faults"],
            row["difference"]))
    for name, why in report["absent"].items():
        if (name, why) not in said:
            print("%s: %s" % (LABELS[name], why))
            said.add((name, why))
    print(flush=True)


def run(options):
    options.so = options.so or build_library()
    print("%s, Python %s" % (machine(), platform.python_version()))
    print("times: median of %d interleaved rounds; x ours: median ratio "
          "within a round;\nextra mem: peak beyond the logits, in sizes of the "
          "logits (%d MiB); faults: in a step\n" % (options.rounds,
                                                    options.mib))
    said, everything, versions = set(), [], {}
    for loss in options.losses:
        memory = {}
        for name in PEERS if options.memory else ():
            answer = child(options, "memory", peer=name, loss=loss, threads=1,
                           vocab=options.vocabs[0])
            memory[name] = answer.get("extra")
        for threads in options.thread_counts:
            for V in options.vocabs:
                report = child(options, "time", loss=loss, threads=threads,
                               vocab=V)
                for row in report["rows"]:
                    if versions.setdefault(row["peer"], row["version"]):
                        row["extra_memory"] = memory.get(row["peer"])
                print("%s, V = %d, N = %d, %d thread%s%s" % (
                    loss.upper(), V, report["N"], threads,
                    "s" * (threads > 1), "" if report["kept"] else
                    " (memory is not reused: no glibc)"))
                show(report, memory, said)
                everything.append(dict(report, loss=loss, vocab=V,
                                       threads=threads))
    print("versions: " + "; ".join("%s %s" % x for x in versions.items()))
    if options.json:
        with open(options.json, "w") as f:
            json.dump({"machine": machine(), "versions": versions,
                       "runs": everything}, f, indent=1)


def numbers(low, high):
    def read(text):
        values = [int(x) for x in text.split(",")]
        if not all(low <= x <= high for x in values):
            raise argparse.ArgumentTypeError(
                "numbers from %d to %d, like a,b" % (low, high))
        return values
    read.__name__ = "list of numbers"
    return read


def losses(text):
    for name in text.split(","):
        if name not in LOSSES:
            raise argparse.ArgumentTypeError(
                "%r: it takes %s" % (name, ", ".join(LOSSES)))
    return text.split(",")


def main():
    cpus = len(os.sched_getaffinity(0))
    a = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], epilog="Take a quiet machine.")
    a.add_argument("--loss", dest="losses", type=losses, default=list(LOSSES),
                   help="of sft,bnf,dpo (all)")
    a.add_argument("--vocab", dest="vocabs", type=numbers(2, 1 << 24),
                   default=[32000, 128256], help="list (32000,128256)")
    a.add_argument("--threads", dest="thread_counts", type=numbers(1, cpus),
                   default=sorted({1, cpus}), help="list (1, and all CPUs)")
    a.add_argument("--mib", type=int, default=256,
                   help="size of the logits (256)")
    a.add_argument("--rounds", type=int, default=9, help="(9)")
    a.add_argument("--llmc", help="a checkout of llm.c, compiled as it is")
    a.add_argument("--library", dest="so",
                   help="libbnfloss.so (builds its own)")
    a.add_argument("--no-memory", dest="memory", action="store_false",
                   help="times only")
    a.add_argument("--json", help="a file for all of it")
    if "--child" in sys.argv:
        one = argparse.ArgumentParser()
        for key, kind in (("child", str), ("peer", str), ("loss", str),
                          ("vocab", int), ("threads", int), ("mib", int),
                          ("rounds", int), ("llmc", str), ("so", str)):
            one.add_argument("--" + key, type=kind)
        options = one.parse_args()
        {"time": measure, "memory": measure_memory}[options.child](options)
        return
    run(a.parse_args())


if __name__ == "__main__":
    main()
