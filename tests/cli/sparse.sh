#!/usr/bin/env bash
# Fine-grained pruning end to end on rendered data: `run -granularity weight`, `finetune -keep-zeros`, `inspect -sparsity`; the stock Darknet and OpenCV as readers of the result.
set -uo pipefail
bin=${PRUNE_BIN:-bin/darknet} render=${PRUNE_RENDER:-bin/render-data}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/cli/expect.inc
. "$(dirname "${BASH_SOURCE[0]}")/expect.inc"

"$render" classify "$work/c" -images 96 -valid 32 -seed 3 >/dev/null || { echo "FAIL: cannot render"; exit 1; }
classes=$(sed -n 's/^classes *= *//p' "$work/c/shapes.data")
cat >"$work/net.cfg" <<CFG
[net]
batch=16
subdivisions=1
height=32
width=32
channels=3
momentum=0.9
decay=0.0005
learning_rate=0.05
policy=constant
max_batches=40

[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=relu

[convolutional]
batch_normalize=1
filters=12
size=3
stride=2
pad=1
groups=2
activation=relu

[convolutional]
filters=10
size=3
stride=2
pad=1
activation=leaky

[connected]
output=$classes
activation=linear

[softmax]
CFG
weights=$((8 * 27 + 12 * 36 + 10 * 108 + classes * 160))
expect 'a classifier to prune' 0 '' "$bin" classifier train "$work/c/shapes.data" "$work/net.cfg" -seed 1 -threads 2
net=("$work/net.cfg" "$work/c/backup/net_final.weights")
sum=$(cat "${net[@]}" | sha256sum)
run=("$bin" prune run "$work/c/shapes.data" "${net[@]}" -batches-per-iteration 2 -seed 4 -threads 2 -lr 0.02)
fine=("${run[@]}" -granularity weight)

# the job
expect 'run prunes single weights to a fifth' 0 'compression 5.0' "${fine[@]}" -weights 0.2 -remove-per-iteration 0.4 -criterion nap -surgery joint -score pass -score-images 32 -recalibrate 48 -finetune 10i -out "$work/a"
in_json 'as many remain as were asked for, to the weight' "$work/a/report.json" \
    'r["granularity"] == "weight" and r["sparsity"]["weights"] == '$weights' and r["sparsity"]["remaining"] == round(0.2 * '$weights') and r["iterations"] == 4'
in_json 'biases and batch-norm are not counted' "$work/a/report.json" 'r["sparsity"]["other_parameters"] == 2 * 20 + 10 + '"$classes"' and r["after"]["parameters"] == r["sparsity"]["remaining"] + r["sparsity"]["other_parameters"]'
in_json 'stages are told in order' "$work/a/report.json" '[s["name"] for s in r["stages"]] == ["unpruned", "pruned", "recalibrated", "after"]'
in_json 'surgery lowers the quadratic loss model' "$work/a/report.json" 'r["surgery"] == "joint" and 0 <= r["surgery_after"] < r["surgery_before"] and r["score_images"] == 4 * 32'
holds 'the weights are there' "$work/a/net-sparse.weights"
if [ "$(ls "$work/a")" = "net-sparse.weights
report.json" ]; then ok 'and nothing else but the report'; else bad "and nothing else but the report: $(ls "$work/a")"; fi
if [ "$(cat "${net[@]}" | sha256sum)" = "$sum" ]; then ok 'the inputs are not touched'; else bad 'the inputs are not touched'; fi
"$bin" prune inspect "$work/net.cfg" "$work/a/net-sparse.weights" -sparsity -json >"$work/table.json"
in_json 'inspect counts the same zeros in the file, layer by layer' "$work/table.json" 'r == json.load(open("'"$work"'/a/report.json"))["sparsity"]'
in_json 'no layer is empty' "$work/table.json" '[l["layer"] for l in r["layers"]] == [0, 1, 2, 3] and all(0 < l["remaining"] < l["weights"] for l in r["layers"])'
expect 'as a table' 0 "compression 5.0" "$bin" prune inspect "$work/net.cfg" "$work/a/net-sparse.weights" -sparsity
expect 'the trained file has no zeros' 0 "compression 1.00 times" "$bin" prune inspect "${net[@]}" -sparsity
expect 'report shows the table again' 0 'compression 5.0' "$bin" prune report "$work/a"
expect 'run repeats' 0 '' "${fine[@]}" -weights 0.2 -remove-per-iteration 0.4 -criterion nap -surgery joint -score pass -score-images 32 -recalibrate 48 -finetune 10i -out "$work/b"
same 'the same seed gives the same weights' "$work/a/net-sparse.weights" "$work/b/net-sparse.weights"

# other criteria and schedules
expect 'obd in stages, fed by training' 0 'compression' "${fine[@]}" -criterion obd -normalize layer -stages 0.6,0.3 -total 8i -out "$work/obd"
in_json 'end at the last stage; -total counts the steps of pruning' "$work/obd/report.json" 'r["sparsity"]["remaining"] == round(0.3 * '$weights') and r["finetune_steps"] == 4 and r["normalised"] and r["score_images"] == 0'
expect 'magnitude, the same fraction of every layer' 0 'compression' "${fine[@]}" -criterion magnitude -per-layer -weights 0.25 -remove-per-iteration 1 -out "$work/mag"
in_json 'every layer keeps a quarter' "$work/mag/report.json" 'all(l["remaining"] == l["weights"] / 4 for l in r["sparsity"]["layers"] if l["weights"] % 4 == 0)'
expect 'random, one layer protected, ten of each stay' 0 'compression' "${fine[@]}" -criterion random -weights 0.15 -remove-per-iteration 1 -protect 0 -min-keep 10 -out "$work/rnd"
in_json 'the protected layer keeps all' "$work/rnd/report.json" 'r["sparsity"]["layers"][0]["remaining"] == 216 and r["sparsity"]["remaining"] == round(0.15 * '$weights')'
expect 'paper surgery' 0 'compression' "${fine[@]}" -criterion nap -surgery paper -weights 0.5 -remove-per-iteration 0.3 -score pass -score-images 32 -out "$work/paper"

# fine-tuning with zeros kept
cat >"$work/zeros.py" <<'PY'
import sys
import numpy as np
a, b = (np.fromfile(p, "<f4", offset=20) for p in sys.argv[1:3])
kept, moved = ((a == 0) <= (b == 0)).all(), (a != b).sum()
sys.exit(not (kept == (sys.argv[3] == "kept") and moved > 100 and (a == 0).sum() > 1000))
PY
tune=("$bin" prune finetune "$work/c/shapes.data" "$work/net.cfg" "$work/a/net-sparse.weights" -length 6i -lr 0.02 -threads 2)
expect 'finetune -keep-zeros 1' 0 'are 0 and stay 0' "${tune[@]}" -keep-zeros 1 -out "$work/kept.weights"
expect 'zeros stay, other values move' 0 '' /usr/bin/python3 "$work/zeros.py" "$work/a/net-sparse.weights" "$work/kept.weights" kept
expect 'finetune without it' 0 '' "${tune[@]}" -out "$work/lost.weights"
expect 'fills the zeros' 0 '' /usr/bin/python3 "$work/zeros.py" "$work/a/net-sparse.weights" "$work/lost.weights" lost

# other readers
if [ -x /usr/bin/darknet ]; then
    expect 'the installed darknet runs the file' 0 '%' /usr/bin/darknet classifier predict "$work/c/shapes.data" "$work/net.cfg" "$work/a/net-sparse.weights" "$(head -n 1 "$work/c/valid.txt")"
else echo 'skip: no /usr/bin/darknet'; fi
if /usr/bin/python3 -c 'import cv2' 2>/dev/null; then
    expect 'predictions of the sparse network' 0 '' "$bin" prune evaluate "$work/c/shapes.data" "$work/net.cfg" "$work/a/net-sparse.weights" -predictions "$work/predictions.tsv"
    expect 'are those of OpenCV' 0 'images 32' /usr/bin/python3 "$(dirname "${BASH_SOURCE[0]}")/../host/opencv_classifier.py" "$work/net.cfg" "$work/a/net-sparse.weights" "$work/predictions.tsv"
else echo 'skip: no OpenCV'; fi

# wrong usage, each with what to do
refuse() { expect "refused: $1" 2 "$2" "${@:3}"; }
refuse 'multiply-adds as target of weights' "whose target is -weights R" "${fine[@]}" -macs 0.5
refuse 'a flag of channels' "'-multiple' has no meaning with '-granularity weight'" "${fine[@]}" -weights 0.5 -multiple 8
refuse 'weights as target of channels' "add '-granularity weight'" "${run[@]}" -weights 0.5
refuse 'another granularity' "'filter' is not one of unit, weight" "${run[@]}" -granularity filter -weights 0.5
refuse 'a criterion of channels' "take nap, obd, magnitude or random" "${fine[@]}" -weights 0.5 -criterion taylor-fo
refuse 'a criterion that nobody knows' "is one of nap, obd, magnitude, random" "${fine[@]}" -weights 0.5 -criterion nab
refuse 'no target' "add -weights R" "${fine[@]}"
refuse 'nothing remains' "would leave nothing" "${fine[@]}" -weights 0
refuse 'more than all' "outside 0..1" "${fine[@]}" -weights 1.5
refuse 'fewer than layers' "at least 4 stay" "${fine[@]}" -criterion magnitude -weights 0.0001
refuse 'rising stages' "write falling fractions" "${fine[@]}" -stages 0.3,0.5
refuse 'stages that end elsewhere' "let them end at the same fraction" "${fine[@]}" -stages 0.5,0.3 -weights 0.2
refuse 'two schedules' "one of them says how fast" "${fine[@]}" -stages 0.5,0.3 -remove-per-iteration 0.1
refuse 'images of a pass where there is none' "add '-score pass'" "${fine[@]}" -weights 0.5 -score-images 32
refuse 'surgery without factors' "take nap or obd" "${fine[@]}" -weights 0.5 -criterion random -surgery joint
refuse 'a protected layer that is not there' "names layer 9" "${fine[@]}" -weights 0.5 -criterion magnitude -protect 9
refuse 'sparsity of no file' "needs weights" "$bin" prune inspect "$work/net.cfg" -sparsity
refuse 'keep-zeros yes' "-keep-zeros" "${tune[@]}" -keep-zeros yes -out "$work/x.weights"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
