#!/usr/bin/env bash
# docs/results.md, agreement rows: published networks evaluated by us, to be held against the figures of a third party.
# usage: scripts/reproduce_evaluation.sh DATA     (folder with cifar10/, coco416/ and weights/)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data=${1:?usage: scripts/reproduce_evaluation.sh DATA} bin=${BIN:-bin}
for depth in 20 56; do
    echo "== ResNet-$depth, CIFAR-10 test set (PyTorch: $([ $depth = 20 ] && echo 91.73 || echo 93.39)%)"
    pair=$data/weights/resnet-cifar10/resnet$depth
    "$bin/darknet" prune evaluate "$data/cifar10/cifar10.data" "$pair.cfg" "$pair.weights"
done
echo "== Yolo-Fastest 1.1, 287 images of COCO val2017, stretched (OpenCV DNN: mAP@0.5 .302)"
pair=$data/weights/yolo-fastest/yolo-fastest-1.1
"$bin/darknet" prune evaluate "$data/coco416/coco416.data" "$pair.cfg" "$pair.weights" -letterbox 0
