#!/usr/bin/env bash
# docs/results.md, BCCD rows: Yolo-Fastest adapted from COCO to the three kinds of blood cells with our own `detector train`, then pruned to half its
# multiply-adds; once per seed. mAP is stretched (-letterbox 0), as the training images are.
# usage: scripts/reproduce_bccd.sh DATA [OUT] [SEED...]     (default seeds: 1 2 3)
#   DATA: folder with bccd/ and weights/yolo-fastest/
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data=${1:?usage: scripts/reproduce_bccd.sh DATA [OUT] [SEED...]} out=${2:-build/results/bccd}
shift $(($# < 2 ? $# : 2))
seeds=("$@")
if [ ${#seeds[@]} -eq 0 ]; then seeds=(1 2 3); fi
bin=${BIN:-bin} old=$data/weights/yolo-fastest/yolo-fastest-1.1
mkdir -p "$out"
cfg=$out/bccd-yolo-fastest.cfg
/usr/bin/python3 scripts/rehead.py cfg "$old.cfg" "$cfg" 3 batch=16 learning_rate=0.002 burn_in=50 max_batches=700 steps=500,620
for seed in "${seeds[@]}"; do
    run=$out/seed$seed
    mkdir -p "$run/backup"
    sed "s|^backup=.*|backup=$run/backup|" "$data/bccd/bccd.data" >"$run/bccd.data"
    /usr/bin/python3 scripts/rehead.py weights "$old.cfg" "$old.weights" "$cfg" "$run/start.weights" "$seed"
    weights=$run/backup/bccd-yolo-fastest_final.weights
    if [ ! -f "$weights" ]; then "$bin/darknet" detector train "$run/bccd.data" "$cfg" "$run/start.weights" -seed "$seed" >"$run/train.log" 2>&1; fi
    "$bin/darknet" prune run "$run/bccd.data" "$cfg" "$weights" -macs 0.5 -letterbox 0 -finetune 15 -lr 0.001 -seed "$seed" -out "$run/pruned" | tee "$run/prune.log"
done
