#!/usr/bin/env bash
# Builds every tests/fuzz/fuzz_*.c with libFuzzer, ASan and UBSan against the sources of plugin/ and runs each for a while.
# Starts from tests/fuzz/corpus/<name> and tests/golden (for what reads cfgs also cfg/ and cfg/styles); new inputs go to BUILD/corpus-<name>,
# a crash to BUILD/crash-<name>-*. The dictionary of cfgs is made from THE table. Ends with executions, coverage and crashes of each.
# usage: scripts/fuzz.sh BUILD SECONDS [-jobs N] [-only NAME] [-merge]
#   -jobs N     N fuzzers at a time (default: 1)          -only NAME   one fuzzer: cfg, weights, mask, scores, state, units, apply
#   -merge      afterwards, put what adds coverage into tests/fuzz/corpus/<name> (small inputs, 50 kB at most)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=${1:-build/fuzz} seconds=${2:-30} jobs=1 only='*' merge=
shift $(($# < 2 ? $# : 2))
while [ $# -gt 0 ]; do
    case $1 in
        -jobs) jobs=$2; shift 2 ;;
        -only) only=$2; shift 2 ;;
        -merge) merge=1; shift ;;
        *) echo "fuzz: unknown argument '$1'" >&2; exit 2 ;;
    esac
done
mkdir -p "$build"
build_path=$(realpath "$build")
sanitize=-fsanitize=address,undefined
flags=(-std=c11 -D_GNU_SOURCE -Wall -Wextra -O1 -g -pthread -fno-sanitize-recover=undefined)
shopt -s nullglob
targets=()
# shellcheck disable=SC2231  # a pattern
for source in tests/fuzz/fuzz_$only.c; do targets+=("$source"); done
if [ ${#targets[@]} -eq 0 ]; then echo "fuzz: no tests/fuzz/fuzz_$only.c" >&2; exit 1; fi
objects=()
for source in plugin/*.c plugin/*/*.c; do
    object=$build/${source%.c}.o
    mkdir -p "$(dirname "$object")"
    objects+=("$object")
    [ "$object" -nt "$source" ] && [ -z "$(find plugin -name '*.h' -newer "$object" -print -quit)" ] && continue
    clang "${flags[@]}" "$sanitize" -fsanitize=fuzzer-no-link -c -o "$object" "$source"
done
libraries=(-lcjson -lxxhash -lm -llapacke -lopenblas)
clang "${flags[@]}" "$sanitize" -o "$build/dictionary" tests/fuzz/dictionary.c "$build/plugin/model/layer_kinds.o"
"$build/dictionary" | sort -u >"$build/cfg.dict"

fuzz() { # name: runs it; its counts go to BUILD/NAME.counts
    local name=$1 log=$build/$1.log crashes executions coverage seeds=(tests/golden/good tests/golden/bad) options=() rc=0
    case $name in cfg | units | apply) seeds+=(cfg cfg/styles) options+=("-dict=$build/cfg.dict") ;; esac
    if [ -d "tests/fuzz/corpus/$name" ]; then seeds+=("tests/fuzz/corpus/$name"); fi
    mkdir -p "$build/corpus-$name"
    rm -f "$build/crash-$name"-*
    "$build/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 -artifact_prefix="$build/crash-$name-" -print_final_stats=1 "${options[@]}" \
        "$build/corpus-$name" "${seeds[@]}" >"$log" 2>&1 || rc=$?
    rm -f "$build/crash-$name"-slow-unit-*   # a note of libFuzzer's, by the clock on the wall; what hangs is a timeout
    crashes=("$build/crash-$name"-*)
    executions=$(sed -nE 's/^stat::number_of_executed_units: *//p' "$log") coverage=$(grep -aoE 'cov: [0-9]+' "$log" | tail -n 1 | tr -dc 0-9 || true)
    echo "$name ${executions:-0} ${coverage:-0} ${#crashes[@]} $rc" >"$build/$name.counts"
    if [ -n "$merge" ] && [ $rc -eq 0 ]; then keep "$name" "${seeds[@]}"; fi
}
# The smallest set of small inputs that covers what the seeds outside the corpus do not; the smallest of them, 50 kB in all.
keep() { # name, folders of seeds
    local name=$1 into=tests/fuzz/corpus/$1 fresh=$build/merged-$1 small=$build/small-$1 seed
    shift
    rm -rf "$fresh" "$small"
    mkdir -p "$fresh" "$small" "$into"
    find "$build/corpus-$name" "$into" -type f -size -1500c -exec cp -n {} "$small" \;
    for seed in "$@"; do if [ "$seed" != "$into" ]; then find "$seed" -maxdepth 1 -type f -exec cp -n {} "$fresh" \;; fi; done
    ls "$fresh" >"$build/$name.seeds"
    "$build/fuzz_$name" -merge=1 "$fresh" "$small" >"$build/$name.merge.log" 2>&1
    (cd "$fresh" && xargs rm -f <"$build_path/$name.seeds")
    rm -rf "$into"
    mv "$fresh" "$into"
    find "$into" -type f -printf '%s %p\n' | sort -n | awk '{total += $1; if (total > 50000) print $2}' | xargs -r rm -f
}
names=()
for source in "${targets[@]}"; do
    name=$(basename "${source%.c}")
    names+=("${name#fuzz_}")
    clang "${flags[@]}" "$sanitize" -fsanitize=fuzzer -o "$build/$name" "$source" "${objects[@]}" "${libraries[@]}"
done
for name in "${names[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n || true; done
    fuzz "$name" &
done
wait
failed=0 total=0
printf '%-10s %14s %10s %8s\n' fuzzer executions coverage crashes
for name in "${names[@]}"; do
    read -r _ executions coverage crashes rc <"$build/$name.counts"
    printf '%-10s %14s %10s %8s\n' "$name" "$executions" "$coverage" "$crashes"
    total=$((total + executions))
    if [ "$rc" -ne 0 ]; then
        failed=$((failed + 1))
        tail -n 15 "$build/$name.log" | sed 's/^/        /'
    fi
done
echo "$total executions in ${seconds} s each; $((${#names[@]} - failed)) passed, $failed failed"
[ $failed -eq 0 ]
