#!/usr/bin/env bash
# Builds every tests/fuzz/fuzz_*.c with libFuzzer, ASan and UBSan against the sources of plugin/ and runs each for a while.
# Seeds: tests/golden (good and bad). New inputs stay in BUILD/corpus-<name>, a crash in BUILD/crash-<name>-*.
# usage: scripts/fuzz.sh BUILD SECONDS
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

build=${1:-build/fuzz} seconds=${2:-30}
sanitize=-fsanitize=address,undefined
flags=(-std=c11 -D_GNU_SOURCE -Wall -Wextra -O1 -g -pthread -fno-sanitize-recover=undefined)
shopt -s nullglob
targets=(tests/fuzz/fuzz_*.c)
if [ ${#targets[@]} -eq 0 ]; then echo "fuzz: no tests/fuzz/fuzz_*.c" >&2; exit 1; fi
objects=()
for source in plugin/*.c plugin/*/*.c; do
    object=$build/${source%.c}.o
    mkdir -p "$(dirname "$object")"
    clang "${flags[@]}" "$sanitize" -fsanitize=fuzzer-no-link -c -o "$object" "$source"
    objects+=("$object")
done
seeds=()
for d in tests/golden/good tests/golden/bad; do if [ -d "$d" ]; then seeds+=("$d"); fi; done
failed=0
for source in "${targets[@]}"; do
    name=$(basename "${source%.c}")
    clang "${flags[@]}" "$sanitize" -fsanitize=fuzzer -o "$build/$name" "$source" "${objects[@]}" -lcjson -lxxhash -lm
    mkdir -p "$build/corpus-$name"
    if "$build/$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$build/crash-$name-" -print_final_stats=1 \
        "$build/corpus-$name" "${seeds[@]}" >"$build/$name.log" 2>&1; then
        echo "ok      $name: $(sed -nE 's/^stat::number_of_executed_units: *//p' "$build/$name.log") inputs in $seconds s"
    else
        echo "FAILED  $name: see $build/$name.log"
        tail -n 15 "$build/$name.log" | sed 's/^/        /'
        failed=$((failed + 1))
    fi
done
echo "$((${#targets[@]} - failed)) passed, $failed failed"
[ $failed -eq 0 ]
