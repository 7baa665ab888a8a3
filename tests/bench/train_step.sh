#!/usr/bin/env bash
# Seconds per training step of our example networks on this machine (random weights, rendered images); median of the steps after the first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bin=${BIN:-bin} work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
make --no-print-directory -s BIN="$bin" "$bin/render-data"
grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'
echo "$(nproc) cores; darknet $(dpkg-query -W -f '${Version}' darknet 2>/dev/null); OpenBLAS $(dpkg-query -W -f '${Version}' libopenblas0-pthread 2>/dev/null)"
"$bin/render-data" classify "$work/classify" -images 512 -valid 8 >/dev/null
"$bin/render-data" detect "$work/detect" -images 64 -valid 8 >/dev/null
for name in resnet-shapes resnet20-cifar vgg16-cifar yolo-shapes; do
    kind=classifier set=classify
    if [ $name = yolo-shapes ]; then kind=detector set=detect; fi
    # 8 classes are drawn; a head of 10 trains on them as well.
    sed -e 's/^max_batches=.*/max_batches=8/' -e 's/^burn_in=.*/burn_in=1/' -e 's/^policy=.*/policy=constant/' "cfg/$name.cfg" >"$work/$name.cfg"
    if [ "$kind" = classifier ]; then printf 'shape_nine\nshape_ten\n' >>"$work/classify/labels.txt"; sed -i 's/^classes=.*/classes=10/' "$work/classify/shapes.data"; fi
    if [ $name = resnet-shapes ]; then sed -i 's/^filters=8$/filters=10/' "$work/$name.cfg"; fi
    "$bin/darknet" $kind train "$work/$set/shapes.data" "$work/$name.cfg" -seed 1 >"$work/log" 2>/dev/null
    seconds=$(sed -nE 's/.*, ([0-9.]+) seconds.*/\1/p' "$work/log" | tail -n +2 | sort -n | awk '{v[NR] = $1} END {print v[int((NR + 1) / 2)]}')
    echo "$name: batch $(sed -nE 's/^batch=//p' "$work/$name.cfg"), ${seconds:?no training step was printed} s per step"
done
