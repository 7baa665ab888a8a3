#!/usr/bin/env bash
# docs/results.md, rendered detector rows: trains cfg/yolo-shapes.cfg from scratch on shapes the project draws, then prunes it to half its multiply-adds.
# usage: scripts/reproduce_yolo_shapes.sh [OUT] [SEED]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=${1:-build/results/yolo-shapes} seed=${2:-1} bin=${BIN:-bin}
mkdir -p "$out"
"$bin/render-data" detect "$out" -images 2000 -valid 400 -seed 1
weights=$out/backup/yolo-shapes_final.weights
if [ ! -f "$weights" ]; then "$bin/darknet" detector train "$out/shapes.data" cfg/yolo-shapes.cfg -seed "$seed" >"$out/train.log" 2>&1; fi
"$bin/darknet" prune run "$out/shapes.data" cfg/yolo-shapes.cfg "$weights" -macs 0.5 -finetune 8 -lr 0.002 -seed "$seed" -out "$out/pruned"
