#!/usr/bin/env bash
# docs/results.md, rendered detector rows: trains cfg/yolo-shapes.cfg from scratch on shapes the project draws, then prunes it to half its multiply-adds,
# once per seed; the loss of mAP with its paired bootstrap interval.
# usage: scripts/reproduce_yolo_shapes.sh [OUT] [SEED...]     (default seeds: 1 2 3)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=${1:-build/results/yolo-shapes} bin=${BIN:-bin}
shift $(($# < 1 ? $# : 1))
seeds=("$@")
if [ ${#seeds[@]} -eq 0 ]; then seeds=(1 2 3); fi
mkdir -p "$out"
"$bin/render-data" detect "$out" -images 2000 -valid 400 -seed 1
cfg=cfg/yolo-shapes.cfg weights=$out/backup/yolo-shapes_final.weights
if [ ! -f "$weights" ]; then "$bin/darknet" detector train "$out/shapes.data" "$cfg" -seed 1 >"$out/train.log" 2>&1; fi
evaluate() { "$bin/darknet" prune evaluate "$out/shapes.data" "$1" "$2" -predictions "$3"; }
evaluate "$cfg" "$weights" "$out/before.tsv"
pruned=()
for seed in "${seeds[@]}"; do
    run=$out/seed$seed
    "$bin/darknet" prune run "$out/shapes.data" "$cfg" "$weights" -macs 0.5 -cost macs -finetune 8 -lr 0.002 -seed "$seed" -out "$run" | tee "$run.log"
    evaluate "$run/yolo-shapes-pruned.cfg" "$run/yolo-shapes-pruned.weights" "$run.tsv"
    pruned+=("$run.tsv")
done
/usr/bin/python3 scripts/bootstrap_map.py "$out/shapes.data" "$out/before.tsv" "$(IFS=,; echo "${pruned[*]}")"
