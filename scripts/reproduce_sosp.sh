#!/usr/bin/env bash
# docs/results.md, SOSP's scalability: processor seconds of sosp-i (passes, products, selection) and sosp-h on fresh ResNet-56 of width 1/2, 1, 2 and 4, and the slopes of their
# logarithms over that of the number of units.
# usage: scripts/reproduce_sosp.sh DATA [OUT]      DATA: folder with cifar10/; IMAGES=96 BATCH=32 ROUNDS=1 WIDTHS="0.5 1 2 4" change what is measured
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data=${1:?usage: scripts/reproduce_sosp.sh DATA [OUT]} out=${2:-build/results/sosp}
images=${IMAGES:-96} batch=${BATCH:-32} rounds=${ROUNDS:-1}
make -s build/tests/bench/sosp_scale
mkdir -p "$out"
: >"$out/scale.tsv"
for width in ${WIDTHS:-0.5 1 2 4}; do
    # the classes (10) and the colours (3) stay
    awk -F= -v w="$width" -v b="$batch" '/^filters=(16|32|64)$/ {print "filters=" $2 * w; next} /^batch=/ {print "batch=" b; next} {print}' cfg/resnet56-cifar.cfg >"$out/resnet56-$width.cfg"
    printf '%s\t%s\n' "$width" "$(build/tests/bench/sosp_scale "$data/cifar10/cifar10.data" "$out/resnet56-$width.cfg" "$images" "$batch" "$rounds" 2>>"$out/errors.txt")" >>"$out/scale.tsv"
done
/usr/bin/python3 - "$out/scale.tsv" "$images" <<'PY'
import sys
import numpy as np
rows = np.loadtxt(sys.argv[1], ndmin=2)
print(f"| width | units | training steps | `sosp-i`: passes | products | selection | `sosp-h` | of training: `sosp-i` | `sosp-h` |    ({sys.argv[2]} images, processor seconds)")
print("|" + "---|" * 9)
for width, units, train, passes, sums, finish, h in rows:
    print(f"| {width:g} | {units:.0f} | {train:.2f} | {passes:.2f} | {sums:.3f} | {finish:.4f} | {h:.2f} | {(passes + sums + finish) / train:.2f} | {h / train:.2f} |")
if len(rows) > 1:
    slopes = [np.polyfit(np.log(rows[:, 1]), np.log(rows[:, k]), 1)[0] for k in range(2, 7)]
    print("| slope over units | | " + " | ".join(f"{s:.2f}" for s in slopes) + " | | |")
PY
