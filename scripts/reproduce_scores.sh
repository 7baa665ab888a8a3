#!/usr/bin/env bash
# docs/results.md, score rows: criteria on ResNet-20 with the recorded images and minibatches, held against reference values from PyTorch unit by unit.
# usage: scripts/reproduce_scores.sh DATA REFERENCE [OUT]
#   DATA: folder with cifar10/ and weights/resnet-cifar10/    REFERENCE: folder with resnet20_units.csv and scoring_images.txt
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data=${1:?usage: scripts/reproduce_scores.sh DATA REFERENCE [OUT]} reference=${2:?the folder of the reference} out=${3:-build/results/scores} bin=${BIN:-bin}
pair=$data/weights/resnet-cifar10/resnet20
mkdir -p "$out"
# The list holds indices into the official training order, which is the order of train.txt.
awk 'NR == FNR {path[NR - 1] = $0; next} {print path[$1]}' "$data/cifar10/train.txt" "$reference/scoring_images.txt" >"$out/images.txt"
# The reference has PyTorch's batch-norm epsilon: it goes into the variances. Four recorded float32 values still stay above 1e-3 (docs/results.md).
/usr/bin/python3 scripts/pytorch_epsilon.py "$pair.cfg" "$pair.weights" "$out/epsilon.weights"
"$bin/darknet" prune score "$data/cifar10/cifar10.data" "$pair.cfg" "$out/epsilon.weights" -criterion taylor-fo,taylor-fg,magnitude,bn-scale \
    -list "$out/images.txt" -minibatch 128 -protect 0 -csv "$out/scores.csv"
/usr/bin/python3 scripts/compare_reference.py "$out/scores.csv" "$reference/resnet20_units.csv"
