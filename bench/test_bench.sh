#!/bin/sh
# bnfloss-bench itself, without a look at the clock: that every case is right,
# that its formats can be read, that bad options get an answer that helps.
#
# BNFLOSS_BENCH is the program. A status of 3, a limit that was measured
# badly, is the machine's fault and not a failure here.
. "$(dirname "$0")/../tests/build/common.sh"
root=$(cd "$(dirname "$0")/.." && pwd)
bench=${BNFLOSS_BENCH:-$root/build/bnfloss-bench}
small="--shape 4096 --mib 1 --rounds 3 --threads 1,2"

# ---- Every case, checked ----------------------------------------------------

all="--check --mib 1 --threads 1,2 --place in,out --pool openmp,pthreads"
all="$all --scratch on,off"
types="f32,bf16,f16,bf16-f32,f16-f32"
right() {           # shape, isa
    "$bench" $all --dtype $types --shape "$1" --isa "$2" --format csv \
        >"$scratch/cases.csv" && ! grep -v ',right$' "$scratch/cases.csv" |
        grep -v '^name,'
}
for isa in auto scalar; do
    try "every case, $isa" right 4096,5003 $isa
done
try "they are many" test "$(wc -l <"$scratch/cases.csv")" -gt 150
try "hot" "$bench" --check --cache hot --shape 4096 --loss bnf
try "a wide row" "$bench" --check --rows 2 --shape gemma --threads 2

# ---- What it writes ---------------------------------------------------------

measured() {        # file, options..
    to=$1
    shift
    status=0
    "$bench" $small "$@" >"$to" || status=$?
    [ $status -eq 0 ] || [ $status -eq 3 ]
}
try "a table" measured "$scratch/table" --plot "$scratch/plot.svg"
try "a limit, in it" grep -q '^limit, 2 threads: read' "$scratch/table"
try "a row, in it" grep -qE \
    '^bnf/fused/f32/4096/threads:2/isa:[a-z0-9]+ +[0-9.]+ ' "$scratch/table"
try "CSV" measured "$scratch/csv" --format csv
try "CSV has 8 columns" sh -c '! awk -F, "NF != 8" "$1" | grep .' sh \
    "$scratch/csv"
if "$bench" --check --loss sft --shape 4096 --mib 1 --pages huge \
    >"$scratch/huge" 2>&1; then
    try "both sizes of pages" measured "$scratch/pages" --pages small,huge \
        --loss sft --stage fused --plot "$scratch/pages.svg"
    try "huge, in the name" grep -qE '/pages:huge +[0-9.]+ ' "$scratch/pages"
    try "a limit of their own" grep -q '^limit, 2 threads, huge pages: read' \
        "$scratch/pages"
    try "one size in a picture" sh -c '! grep -q "huge pages" "$1"' sh \
        "$scratch/pages.svg"
else
    try "no huge pages, and said so" grep -q 'gives none' "$scratch/huge"
fi
try "straight loops" measured "$scratch/straight" --limit straight --loss sft \
    --stage fused --plot "$scratch/straight.svg"
try "and said so" grep -q '^limit, 2 threads, straight loops: read' \
    "$scratch/straight"
try "in the picture, too" grep -q '(straight loops)' "$scratch/straight.svg"
try "JSON" measured "$scratch/json" --format json
if need python3; then
    cat >"$scratch/read.py" <<'P'
import json, sys, xml.dom.minidom
run = json.load(open(sys.argv[1]))
limits = run["context"]["limits"][0]
assert limits["read_gb_per_s"] > 0 and limits["loops"] == "best"
entries = run["benchmarks"]
name = "sft/fused/f32/4096/threads:2/isa:"
mine = [e for e in entries if e["run_name"].startswith(name)]
rounds = [e for e in mine if e["run_type"] == "iteration"]
assert [e["repetition_index"] for e in rounds] == [0, 1, 2]
for key in ("real_time", "cpu_time", "limit_ratio", "ns_per_logit",
            "gb_per_s", "max_error"):
    assert all(e[key] > 0 for e in rounds), key
assert {e["aggregate_name"] for e in mine if "aggregate_name" in e} == {
    "mean", "median", "stddev", "cv"}
middle = [e for e in mine if e["name"].endswith("_median")][0]
assert middle["real_time"] == sorted(e["real_time"] for e in rounds)[1]
assert len(xml.dom.minidom.parse(sys.argv[2]).getElementsByTagName("circle")) \
    >= 14
P
    try "JSON and SVG say what they should" python3 "$scratch/read.py" \
        "$scratch/json" "$scratch/plot.svg"
    try "straight loops in JSON" measured "$scratch/json" --limit straight \
        --format json --loss sft --stage fused
    cat >"$scratch/loops.py" <<'P'
import json, sys
for l in json.load(open(sys.argv[1]))["context"]["limits"]:
    assert l["loops"] == "straight"
    for loop in l["read_loops"] + l["in_place_loops"]:
        assert loop in ("plain", "8K ahead", "16K ahead", "pieces"), loop
P
    try "no others" python3 "$scratch/loops.py" "$scratch/json"
fi

# ---- What it refuses --------------------------------------------------------

answer() {          # words that have to be in the answer, options..
    words=$1
    shift
    status=0
    "$bench" "$@" >"$scratch/out" 2>"$scratch/answer" || status=$?
    cat "$scratch/answer"
    [ $status -eq 2 ] && [ ! -s "$scratch/out" ] &&
        grep -q -e "$words" "$scratch/answer"
}
try "loss" answer "takes sft, bnf, dpo, textbook-sft, .* not 'ppo'" --loss ppo
try "stage" answer "takes forward, backward or fused" --stage sideways
try "dtype" answer "takes f32, bf16, f16, bf16-f32 or f16-f32" --dtype f64
try "shape" answer "takes gpt2, llama2, llama3, qwen2.5, gemma or a number" \
    --shape gpt5
try "shape 1" answer "number from 2 to" --shape 1
try "place" answer "takes in or out" --place beside
try "cache" answer "takes cold or hot" --cache warm
try "pool" answer "takes openmp or pthreads" --pool tbb
try "pages" answer "takes small or huge, not 'big'" --pages big
try "isa" answer "takes auto, scalar" --isa sse2
try "threads" answer "from 1 to 256, not '0'" --threads 1,0
try "rows" answer "even numbers" --rows 3
try "rounds" answer "from 1 to 99, not '100'" --rounds 100
try "mib" answer "from 1 to 65536, not '1x'" --mib 1x
try "format" answer "takes table, csv or json" --format xml
try "limit" answer "takes best or straight, not 'plain'" --limit plain
try "pin" answer "takes off or on" --pin maybe
try "an empty item" answer "a list like a,b,c" --loss sft,,bnf
try "no such option" answer "no option '--los'" --los sft
try "no value" answer "'--loss' is no option without a value" --loss
try "a word" answer "'sft' is no option" sft
try "a plot of nothing" answer "fused stage" --plot x.svg --stage forward
refuse "a case that is not" "$bench" --loss textbook-sft --stage forward
refuse "a plot that cannot be" "$bench" $small --plot "$scratch/no/where.svg"
finish
