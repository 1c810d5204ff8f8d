#!/bin/sh
# Measures what the README says about speed, and prints it as its tables.
#
#   sh bench/speed.sh [build/bnfloss-bench]     on a quiet machine: 5 minutes
#
# The picture goes to bench/speed.svg.
set -eu
cd "$(dirname "$0")/.."
bench=${1:-build/bnfloss-bench}
csv=$(mktemp)
trap 'rm -f "$csv"' EXIT

# Runs it; a limit that was measured badly is said in the table's place.
measure() {
    status=0
    "$bench" --format csv "$@" >"$csv" || status=$?
    [ $status -eq 0 ] || [ $status -eq 3 ] || exit $status
}

# From names like sft/fused/f32/32000/threads:1/isa:avx512, a row for each of
# "rows" (a part of the name), a column for each loss/stage; * is unstable,
# and ! below the limit.
pivot() {           # which part makes rows, what it is called, which figure
    awk -F, -v part="$1" -v what="$2" -v figure="$3" '
    NR == 1 { next }
    {
        split($1, name, "/")
        key = name[part]
        sub(/^[a-z]*:/, "", key)
        sub(/^threads:/, "", name[5])
        row = what == "V" || what == "N" ? name[5] " | " key : key
        column = name[1] " " name[2]
        mark = $8 == "unstable" ? "*" : $8 == "below limit" ? "!" : ""
        if (!(row in rows)) { rows[row] = 1; order[++n] = row }
        if (!(column in columns)) { columns[column] = 1; heads[++m] = column }
        cell[row, column] = sprintf(figure == 2 ? "%.3f%s" : "%.2f%s",
                                    $figure, mark)
    }
    END {
        printf "| threads | %s |", what
        for (j = 1; j <= m; j++) printf " %s |", heads[j]
        printf "\n|---|---|"
        for (j = 1; j <= m; j++) printf "---|"
        print ""
        fflush()
        for (i = 1; i <= n; i++) {
            line = "| " order[i] " |"
            for (j = 1; j <= m; j++)
                line = line " " cell[order[i], heads[j]] " |"
            print line | "sort -t \"|\" -k 2,2n -k 3,3n"
        }
    }' "$csv"
}

"$bench" --check --mib 1 --shape 4096 >/dev/null
measure --plot bench/speed.svg
echo "Time over the limit, f32, in place:"
echo
pivot 4 V 5
measure --loss sft,bnf --stage fused \
    --shape 2000,4000,8000,16000,32000,64000,128000,256000
echo
echo "ns a logit, flat in V:"
echo
pivot 4 V 2
measure --loss sft,bnf --stage fused --shape llama2 \
    --rows 128,256,512,1024,2048,4096
echo
echo "ns a logit, V = 32000, so linear in N:"
echo
pivot 7 N 2
