#!/usr/bin/env python3
"""Runs align on bad and odd input, on several threads, and with every loss.

    python3 test_align.py PATH/TO/align
"""
import os
import subprocess
import sys
import tempfile

ALIGN = os.path.abspath(sys.argv[1])
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
GOOD = "".join(f"prompt {i}\tyes {i}\tno {i}\n" for i in range(12)).encode()
JSON = "".join('{"prompt": "p%d", "chosen": "a", "rejected": "b"}\n' % i
               for i in range(12)).encode()
TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 120

# file name, what follows 12 good lines, what the message must hold
BAD_PAIRS = [
    ("x.tsv", b"only one field\n", ":13: 1 field where"),
    ("x.tsv", b"a\tb\n", ":13: 2 fields where"),
    ("x.tsv", b"a\tb\tc\td\n", ":13: 4 fields where"),
    ("x.tsv", b"\n\na\t\tc\n", ":15: the chosen is empty"),
    ("x.tsv", b"\tb\tc", ":13: the prompt is empty"),
    ("x.tsv", b"a\tsame\tsame\n", ":13: chosen and rejected are the same"),
    ("x.tsv", b"a\tb\tc\0c\n", ":13: a NUL byte"),
    ("x.tsv", b"a\t" + b"b" * 600 + b"\tc\n", ":13: prompt + chosen: 601"),
    ("x.jsonl", b"nonsense\n", ":13: not valid JSON: '{' expected"),
    ("x.jsonl", b'{"prompt": "a", "chosen": "b"}\n', ':13: no "rejected"'),
    ("x.jsonl", b'{"prompt": 1}\n', ':13: "prompt" is not a string'),
    ("x.jsonl", b'{"prompt": "a", "prompt": "b"}\n', ":13: \"prompt\" given"),
    ("x.jsonl", b'{"prompt": "a', ":13: not valid JSON: a string without"),
    ("x.jsonl", b'{"prompt": "\\ud800x"}', ":13: not valid JSON: half a"),
    ("x.jsonl", b'{"prompt": "\\u00g0"}', ":13: not valid JSON: \\u takes"),
    ("x.jsonl", b'{"prompt": "\\u0000"}', ":13: not valid JSON: \\u0000"),
    ("x.jsonl", b'{"prompt": "\\x"}', ":13: not valid JSON: an unknown"),
    ("x.jsonl", b'{"prompt": "a\tb"}', ":13: not valid JSON: a raw"),
    ("x.jsonl", b'{"prompt": "a",}', ":13: not valid JSON: a string exp"),
    ("x.jsonl", b'{"a": ' + b"[" * 99, ":13: not valid JSON: nested"),
    ("x.jsonl", JSON[:-1].split(b"\n")[0] + b" x", ":13: not valid JSON: some"),
]
BAD_OPTIONS = [
    ["--nonsense"], ["--nonsense", "1"], ["stray"], ["--seed"],
    ["--seed", "-1"], ["--seed", "1.5"], ["--seed", "1x"], ["--seed", ""],
    ["--threads", "0"], ["--threads", "9"], ["--steps", "0"],
    ["--lr", "nan"], ["--lr", "0"], ["--beta", "-1"], ["--beta", "inf"],
    ["--check", "--methods", "bnf"], ["--check", "--methods", "dpo,kto,ipo"],
    ["--methods"], ["--beta", "0"],
]
# --methods, what the message must hold
KNOWN = "there are bnf dpo sft robust "
BAD_METHODS = [
    ("", "'' is no loss; " + KNOWN), ("sft,", "'' is no loss; " + KNOWN),
    (",sft", "'' is no loss; "), ("bnf, dpo", "' dpo' is no loss; "),
    ("ppo", "'ppo' is no loss; " + KNOWN), ("DPO", "'DPO' is no loss; "),
    ("dp", "'dp' is no loss; "), ("dpoo", "'dpoo' is no loss; "),
    ("kto" * 200, "' is no loss; " + KNOWN),
    ("bnf,bnf", "bnf is there twice"), ("dpo,sigmoid", "dpo is there twice"),
    ("fpo", "needs a feature distance"), ("dpo,irepo", "needs a probability"),
    ("upo,dpo", "needs a measure of each pair's certainty"),
    ("bnf,dpo,sft,ipo,kto,bco,cpo,orpo,slic", "more than 8"),
]

failures = 0


def run(*options):
    """The last of two equal options counts."""
    done = subprocess.run([ALIGN, "--text", os.path.join(DATA, "prose.txt"),
                           "--pairs", os.path.join(DATA, "pairs.tsv"),
                           *options], capture_output=True)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def expect(what, good, shown=""):
    global failures
    if not good:
        failures += 1
        print(f"FAILED: {what}\n{shown}")


def write(name, data):
    with open(name, "wb") as out:
        out.write(data)
    return name


def test_bad_input():
    for name, line, message in BAD_PAIRS:
        good = GOOD if name.endswith("tsv") else JSON
        code, _, err = run("--pairs", write(name, good + line))
        expect(line, code == 1 and name + message in err, err)
    for option in "--text", "--pairs":
        code, _, err = run(option, write("empty.tsv", b""))
        expect(option, code == 1 and "the file is empty" in err, err)
        code, _, err = run(option, "missing.tsv")
        expect(option, code == 1 and "missing.tsv: No such" in err, err)
    code, _, err = run("--text", write("t.txt", TEXT + b"a\nb\0"))
    expect("NUL in text", code == 1 and "t.txt:122: a NUL" in err, err)
    code, _, err = run("--text", write("t.txt", b"short"))
    expect("short text", code == 1 and "at least" in err, err)
    code, _, err = run("--pairs", write("few.tsv", GOOD[:60]))
    expect("few pairs", code == 1 and "at least 10" in err, err)
    code, _, err = run("--out", "no/such/folder.svg")
    expect("--out", code == 1 and "folder.svg: No such" in err, err)
    for options in BAD_OPTIONS:
        code, _, err = run(*options)
        expect(options, code == 2 and err.startswith("align: "), err)
    for methods, message in BAD_METHODS:
        code, _, err = run("--methods", methods)
        good = err.startswith("align: --methods ") and message in err
        expect(methods, code == 2 and good, err)


def test_odd_input():
    """What says the same must train the same."""
    text = write("t.txt", TEXT)
    plain = [f"prompt {i}\tyes {i} \u00e9\U0001f600\tno \"{i}\"\\"
             for i in range(20)]
    escaped = ['{"x": [1, {"y": null}], "rejected": "no \\"%d\\"\\\\", '
               '"chosen": "yes %d \\u00E9\\ud83d\\uDE00", "prompt": '
               '"pr\\u006fmpt\\u0020%d"}' % (i, i, i) for i in range(20)]
    forms = {
        "a.tsv": "\n".join(plain),
        "b.tsv": "\ufeffprompt\tchosen\trejected\r\n\r\n"
                 + "\r\n".join(plain) + "\r\n \r\n",
        "c.jsonl": "\n\n".join(escaped),
    }
    curves = set()
    for name, content in forms.items():
        code, _, err = run("--text", text, "--pairs",
                           write(name, content.encode()), "--steps-ref", "2",
                           "--steps", "2", "--out", "odd.svg")
        expect(name, code == 0, err)
        curves.add(open("odd.svg").read())
    expect("TSV, CRLF and JSONL agree", len(curves) == 1)
    write("crlf.txt", TEXT.replace(b"\n", b"\r\n"))
    run("--text", "crlf.txt", "--pairs", "a.tsv", "--steps-ref", "2",
        "--steps", "2", "--out", "odd.svg")
    curves.add(open("odd.svg").read())
    expect("CRLF in text", len(curves) == 1)


def test_threads():
    curves = []
    for threads in "1", "2", "5":
        run("--steps-ref", "20", "--steps", "4", "--threads", threads,
            "--out", "threads.svg")
        curves.append(open("threads.svg").read())
    expect("1, 2 and 5 threads agree", len(set(curves)) == 1)


def test_nan():
    code, _, err = run("--steps-ref", "5", "--lr", "1e9", "--out", "nan.svg")
    expect("NaN", code == 1 and "SFT, " in err and "step" in err, err)


def listed():
    """name: (title, lr, beta) of what --list shows; beta 0 where it has -."""
    code, out, err = run("--list")
    expect("--list", code == 0 and not err, err)
    runs, lacks = out.split("\n\n")
    methods = {}
    for line in runs.splitlines()[1:]:
        name, title, lr, beta = line.split()
        methods[name] = title, float(lr), 0 if beta == "-" else float(beta)
    names = {line.split()[0] for line in lacks.splitlines()[1:]}
    expect("what does not run", names == {"fpo", "irepo", "upo"}, lacks)
    return methods


def align(methods, *options):
    """title: its row of the table without the seconds; what was set; and the
    curves."""
    code, out, err = run("--text", "small.txt", "--pairs", "small.tsv",
                         "--quick", "--steps-ref", "60", "--out", "all.svg",
                         *(["--methods", ",".join(methods)] if methods else []),
                         *options)
    expect(methods, code == 0, err)
    table = out.split("\n\n")[2].splitlines()[2:]
    rows = {}
    for line in table:
        title, *numbers = line.replace("%", "").split()
        rows[title] = [float(x) for x in numbers[:-1]]
    said = " ".join(out.split("Each aligned")[1].split("\n\n")[0].split())
    return rows, said, open("all.svg").read()


def test_every_method():
    """A few steps of each loss, as it is set, widen the margin on held-out
    pairs and leave neutral text alone. DiscoPOP has a ridge at margin 0, and
    on pairs as alike as these it may fall to the other side of it."""
    write("small.tsv", "".join(f"item {i}\tit is in box {i % 7}\t"
                               f"in box {i % 7} it be\n"
                               for i in range(60)).encode())
    with open(os.path.join(DATA, "prose.txt"), "rb") as prose:
        write("small.txt", prose.read(8000))
    methods = listed()
    names = list(methods)
    rows = {}
    for i in range(0, len(names), 8):
        some, said, _ = align(names[i:i + 8])
        rows |= some
        for name in names[i:i + 8]:
            title, lr, beta = methods[name]
            words = f" {title} lr {lr:g}" + (f", beta {beta:g}" if beta else "")
            expect(words, words + ";" in said or words + "." in said, said)
    rows.pop("reference")
    expect("every loss has a row", len(rows) == len(names) == 32, rows)
    for title, row in rows.items():
        chosen, rejected, tax = row[4], row[5], row[7]
        wider = chosen - rejected > 0.1 or title == "DiscoPOP"
        expect(title, wider and -5 < tax < 10, row)
    # Methods do not see each other.
    some, said, first = align(["kto", "bco", "sft"])
    for title in "KTO", "BCO", "SFT":
        expect(title + " among others", some[title] == rows[title], some)
    expect("threads", align(["kto", "bco", "sft"], "--threads", "3")[2] == first)
    expect("the default", align([])[2] == align(["sft", "bnf", "dpo"])[2])
    # --lr goes to all, --beta to those that have one.
    some, said, _ = align(["bco", "orpo"], "--lr", "1e-3", "--beta", "3")
    expect("--lr, --beta", ": BCO lr 0.001, beta 3; ORPO lr 0.001." in said,
           said)
    expect("--lr, --beta are used", some["BCO"] != rows["BCO"]
           and some["ORPO"] != rows["ORPO"], some)


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    test_bad_input()
    test_odd_input()
    test_threads()
    test_nan()
    test_every_method()
print("FAILED" if failures else "passed")
sys.exit(failures > 0)
