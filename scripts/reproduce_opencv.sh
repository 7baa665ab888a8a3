#!/usr/bin/env bash
# docs/results.md, equality rows: every cfg of the darknet package, random weights and a random mask at half the multiply-adds;
# masked against pruned in OpenCV DNN and numpy, at the inputs of the heads.
# usage: scripts/reproduce_opencv.sh [TABLE.md]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

table=${1:-build/results/opencv.md}
mkdir -p "$(dirname "$table")"
PRUNE_BIN=$(realpath "${BIN:-bin}")/darknet /usr/bin/python3 tests/host/opencv_equality.py --all --markdown "$table"
