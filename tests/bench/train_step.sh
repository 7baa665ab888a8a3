#!/usr/bin/env bash
# Seconds per training step of example networks on this machine, on our kernels and on the stock library (which does fewer steps: it is slow).
# That our kernels give the right numbers is tested in tests/host.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

ours=${BUILD:-build}/tests/bench/bench_step
grep -m1 'model name' /proc/cpuinfo | sed 's/.*: //'
echo "$(nproc) cores; darknet $(dpkg-query -W -f '${Version}' darknet 2>/dev/null); OpenBLAS $(dpkg-query -W -f '${Version}' libopenblas0-pthread 2>/dev/null)"
while read -r cfg batch; do
    echo "ours  $("$ours" "$cfg" "$batch" 9 2>/dev/null | tail -n 1)"
    echo "stock $("${ours}_stock" "$cfg" "$batch" 1 2>/dev/null | tail -n 1)"
done <<'LIST'
cfg/resnet-shapes.cfg 32
cfg/resnet20-cifar.cfg 128
cfg/yolo-shapes.cfg 32
/usr/share/darknet/cfg/yolov3-tiny.cfg 1
/usr/share/darknet/cfg/resnet50.cfg 2
LIST
