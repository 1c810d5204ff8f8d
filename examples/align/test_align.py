#!/usr/bin/env python3
"""Runs align on bad and odd input, and on one and two threads.

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
    ["--methods", ""], ["--methods", "sft,"], ["--methods", "ppo"],
    ["--methods", "bnf,bnf"], ["--check", "--methods", "bnf"],
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


with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    test_bad_input()
    test_odd_input()
    test_threads()
    test_nan()
print("FAILED" if failures else "passed")
sys.exit(failures > 0)
