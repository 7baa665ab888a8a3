#!/usr/bin/env bash
# From nothing to a pruned network that stock Darknet runs: renders images, trains a small residual network, prunes it to half the
# multiply-adds, shows the table, and lets the installed Darknet classify an image with the result.
# usage: scripts/demo.sh [FOLDER]     (default build/demo)     environment: BIN
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

out=${1:-build/demo} bin=${BIN:-bin} started=$SECONDS
step() { printf '\n== %s (%d s)\n' "$*" $((SECONDS - started)); }

step "build"
make --no-print-directory -s -j"$(nproc)" BIN="$bin" "$bin/darknet" "$bin/render-data"
mkdir -p "$out"

step "render 6000 training and 1000 validation images of 8 shapes"
"$bin/render-data" classify "$out" -images 6000 -valid 1000 -seed 1
data=$out/shapes.data cfg=cfg/resnet-shapes.cfg weights=$out/backup/resnet-shapes_final.weights

step "train $cfg: darknet classifier train $data $cfg"
rm -f "$weights"
"$bin/darknet" classifier train "$data" "$cfg" -seed 1 >"$out/train.log" 2>&1 || { tail -n 5 "$out/train.log" >&2; exit 1; }
grep -aE '^ *[0-9]+[,:]' "$out/train.log" | tail -n 1
if [ ! -f "$weights" ]; then weights=$(find "$out/backup" -name 'resnet-shapes*.weights' -newer "$data" | sort | tail -n 1); fi

step "prune to half the multiply-adds: darknet prune run $data $cfg $weights -macs 0.5 -total 6"
"$bin/darknet" prune run "$data" "$cfg" "$weights" -macs 0.5 -total 6 -seed 1 -out "$out/pruned"

image=$(sed -n 1p "$out/valid.txt")
step "the installed Darknet runs the result: /usr/bin/darknet classifier predict on $image"
/usr/bin/darknet classifier predict "$data" "$out/pruned/resnet-shapes-pruned.cfg" "$out/pruned/resnet-shapes-pruned.weights" "$image" 2>/dev/null

step "done: $out/pruned"
