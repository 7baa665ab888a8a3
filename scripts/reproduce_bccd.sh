#!/usr/bin/env bash
# docs/results.md, BCCD rows: Yolo-Fastest 1.1 adapted from COCO to the three kinds of blood cells with our own `detector train`, then pruned to half its
# multiply-adds, once per seed; the loss of mAP with its paired bootstrap interval. mAP is stretched (-letterbox 0), as the training images are.
# usage: scripts/reproduce_bccd.sh DATA [OUT] [SEED...]     (default seeds: 1 2 3)
#   DATA: folder with bccd/ and weights/yolo-fastest/
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data=${1:?usage: scripts/reproduce_bccd.sh DATA [OUT] [SEED...]} out=${2:-build/results/bccd}
shift $(($# < 2 ? $# : 2))
seeds=("$@")
if [ ${#seeds[@]} -eq 0 ]; then seeds=(1 2 3); fi
bin=${BIN:-bin} old=$data/weights/yolo-fastest/yolo-fastest-1.1
mkdir -p "$out/backup"
cfg=$out/bccd-yolo-fastest.cfg weights=$out/backup/bccd-yolo-fastest_final.weights
/usr/bin/python3 scripts/rehead.py cfg "$old.cfg" "$cfg" 3 batch=16 learning_rate=0.002 burn_in=50 max_batches=1400 steps=1000,1250
sed "s|^backup=.*|backup=$out/backup|" "$data/bccd/bccd.data" >"$out/bccd.data"
if [ ! -f "$weights" ]; then
    /usr/bin/python3 scripts/rehead.py weights "$old.cfg" "$old.weights" "$cfg" "$out/start.weights" 1
    "$bin/darknet" detector train "$out/bccd.data" "$cfg" "$out/start.weights" -seed 1 >"$out/train.log" 2>&1
fi
evaluate() { "$bin/darknet" prune evaluate "$out/bccd.data" "$1" "$2" -letterbox 0 -predictions "$3"; }
evaluate "$cfg" "$weights" "$out/before.tsv"
pruned=()
for seed in "${seeds[@]}"; do
    run=$out/seed$seed
    "$bin/darknet" prune run "$out/bccd.data" "$cfg" "$weights" -macs 0.5 -cost macs -remove-per-iteration 0.03 -letterbox 0 \
        -lr 0.003 -finetune 60 -seed "$seed" -out "$run" | tee "$run.log"
    evaluate "$run/bccd-yolo-fastest-pruned.cfg" "$run/bccd-yolo-fastest-pruned.weights" "$run.tsv"
    pruned+=("$run.tsv")
done
/usr/bin/python3 scripts/bootstrap_map.py "$out/bccd.data" "$out/before.tsv" "$(IFS=,; echo "${pruned[*]}")"
