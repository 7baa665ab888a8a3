#!/usr/bin/env bash
# docs/results.md, CIFAR-10 rows: the published ResNet-20 or ResNet-56 to half (MACS) its multiply-adds, 2 (EPOCHS) epochs of training in all, pruning included.
# usage: [CRITERION=taylor-fo] [MACS=0.5] [EPOCHS=2] [REMOVE=0.04] scripts/reproduce_resnet.sh DATA (20 | 56) [OUT [SEED]]
#   DATA: folder with cifar10/ and weights/resnet-cifar10/
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data=${1:?usage: scripts/reproduce_resnet.sh DATA 20|56 [OUT [SEED]]} depth=${2:?20 or 56} out=${3:-build/results/resnet$2}
seed=${4:-1} bin=${BIN:-bin} pair=$data/weights/resnet-cifar10/resnet$depth
mkdir -p "$out"
{ cat "$data/cifar10/cifar10.data"; echo pad_crop=4; } >"$out/cifar10.data"   # pad by 4 and crop, as in the literature
"$bin/darknet" prune run "$out/cifar10.data" "$pair.cfg" "$pair.weights" -criterion "${CRITERION:-taylor-fo}" -macs "${MACS:-0.5}" -protect 0 \
    -total "${EPOCHS:-2}" -lr 0.05 -cost macs -remove-per-iteration "${REMOVE:-0.04}" -momentum 0.9 -decay 0.0005 -seed "$seed" -out "$out"
