#!/usr/bin/env bash
# docs/results.md, agreement rows: published networks evaluated by us and by OpenCV's DNN module, image by image.
# usage: scripts/reproduce_evaluation.sh DATA [OUT]     (DATA: folder with cifar10/, coco416/ and weights/)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data=${1:?usage: scripts/reproduce_evaluation.sh DATA [OUT]} out=${2:-build/results/evaluation} bin=${BIN:-bin}
mkdir -p "$out"
for row in 20:91.73 56:93.39; do
    depth=${row%:*}
    echo "== ResNet-$depth, CIFAR-10 test set (PyTorch: ${row#*:}%)"
    pair=$data/weights/resnet-cifar10/resnet$depth predictions=$out/resnet$depth.tsv
    "$bin/darknet" prune evaluate "$data/cifar10/cifar10.data" "$pair.cfg" "$pair.weights" -predictions "$predictions"
    /usr/bin/python3 tests/host/opencv_classifier.py "$pair.cfg" "$pair.weights" "$predictions"
done
echo "== Yolo-Fastest 1.1, 287 images of COCO val2017, stretched (recorded with OpenCV DNN: mAP@0.5 .302)"
pair=$data/weights/yolo-fastest/yolo-fastest-1.1 predictions=$out/yolo-fastest.tsv
"$bin/darknet" prune evaluate "$data/coco416/coco416.data" "$pair.cfg" "$pair.weights" -letterbox 0 -predictions "$predictions"
/usr/bin/python3 tests/host/map_reference.py "$data/coco416/coco416.data" "$pair.cfg" "$pair.weights"
