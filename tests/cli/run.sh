#!/usr/bin/env bash
# The main job end to end on rendered data: `prune run` on a small classifier and a small detector, its files, its floors, Ctrl-C, and the
# installed Darknet as a reader of the result.
set -uo pipefail
bin=${PRUNE_BIN:-bin/darknet} render=${PRUNE_RENDER:-bin/render-data}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/cli/expect.inc
. "$(dirname "${BASH_SOURCE[0]}")/expect.inc"

"$render" classify "$work/c" -images 192 -valid 48 -seed 3 >/dev/null || { echo "FAIL: cannot render"; exit 1; }
"$render" detect "$work/d" -images 48 -valid 16 -seed 3 >/dev/null || { echo "FAIL: cannot render"; exit 1; }
sed -e 's/^max_batches=.*/max_batches=100/' -e 's/^batch=.*/batch=16/' -e 's/^burn_in=.*/burn_in=1/' cfg/resnet-shapes.cfg >"$work/net.cfg"
sed -e 's/^max_batches=.*/max_batches=12/' -e 's/^batch=.*/batch=8/' -e 's/^steps=.*/steps=8,10/' cfg/yolo-shapes.cfg >"$work/box.cfg"

# a classifier
expect 'a classifier to prune' 0 '' "$bin" classifier train "$work/c/shapes.data" "$work/net.cfg" -seed 1
cp "$work/c/backup/net_final.weights" "$work/net.weights"
cp "$work/net.cfg" "$work/net.cfg.before"
cp "$work/net.weights" "$work/net.weights.before"
run=("$bin" prune run "$work/c/shapes.data" "$work/net.cfg" "$work/net.weights" -batches-per-iteration 2 -recalibrate 64 -seed 4)
expect 'run prunes to half the multiply-adds' 0 'multiply-adds' "${run[@]}" -macs 0.5 -finetune 10i -out "$work/a"
in_json 'the target is met within one selection step' "$work/a/report.json" '0.45 < r["after"]["macs"] / r["before"]["macs"] <= 0.5 and r["target_met"]'
if grep -qF 'pruning with taylor-logits-greedy (the default for classifiers with a softmax)' "$work/err"; then ok 'the criterion that was chosen is said'; else bad 'the criterion that was chosen is said'; fi
in_json 'and told, with what fed it: a pass over as many images as 2 steps train on' "$work/a/report.json" \
    'r["criterion"] == "taylor-logits-greedy" and r["criterion_chosen"] and r["score"] == "pass" and r["momentum_score"] == 0 and r["score_images"] == 32 * r["iterations"] > 0'
in_json 'masked and rewritten network agree' "$work/a/report.json" 'r["verified"] <= 1e-4'
in_json 'stages are told in order' "$work/a/report.json" '[s["name"] for s in r["stages"]] == ["unpruned", "rewritten", "recalibrated", "after"]'
same 'the cfg is not touched' "$work/net.cfg" "$work/net.cfg.before"
same 'the weights are not touched' "$work/net.weights" "$work/net.weights.before"
if [ -e "$work/a/work" ]; then bad 'intermediate files are removed'; else ok 'intermediate files are removed'; fi
expect 'inspect accepts the pair' 0 '' "$bin" prune inspect "$work/a/net-pruned.cfg" "$work/a/net-pruned.weights"
expect 'the mask cuts the original to the same shape' 0 '' "$bin" prune apply "$work/net.cfg" "$work/net.weights" -mask "$work/a/net-pruned.mask.json" -out "$work/again"
same 'the mask gives the same cfg' "$work/a/net-pruned.cfg" "$work/again/net-pruned.cfg"
expect 'its scores are a score file of the original' 0 'mask written' "$bin" prune select "$work/net.cfg" "$work/net.weights" -scores "$work/a/net-scores.json" -macs 0.5 -out "$work/scored.json"
in_json 'they say how they were smoothed, and over what' "$work/a/net-scores.json" \
    'r["momentum"] == {"value": 0, "iterations": json.load(open("'"$work"'/a/report.json"))["iterations"]} and r["images"] == 32 * r["momentum"]["iterations"] and r["minibatches"] == r["images"] / 16'
in_json 'what is gone scores lowest' "$work/a/net-scores.json" 'len({u["score"] for u in r["units"]}) > 9 and sum(u["score"] == 0 for u in r["units"]) > 9 and min(u["score"] for u in r["units"]) == 0'
expect 'run repeats' 0 '' "${run[@]}" -macs 0.5 -finetune 10i -out "$work/b"
same 'the same seed gives the same weights' "$work/a/net-pruned.weights" "$work/b/net-pruned.weights"
expect 'report shows the table again' 0 'multiply-adds' "$bin" prune report "$work/a"
if [ -x /usr/bin/darknet ]; then
    expect 'the installed darknet runs the pair' 0 '%' /usr/bin/darknet classifier predict "$work/c/shapes.data" "$work/a/net-pruned.cfg" "$work/a/net-pruned.weights" "$(head -n 1 "$work/c/valid.txt")"
else echo 'skip: no /usr/bin/darknet'; fi
expect 'another criterion, parameters as target' 0 'parameters' "${run[@]}" -params 0.6 -criterion magnitude -multiple 4 -out "$work/m"
in_json 'parameters meet their target' "$work/m/report.json" 'r["after"]["parameters"] <= 0.6 * r["before"]["parameters"]'
if grep '^filters=' "$work/m/net-pruned.cfg" | grep -vE '=(3|8|10)$' | cut -d= -f2 | awk '$1 % 4 {exit 1}'; then ok 'kept counts are multiples'; else bad 'kept counts are multiples'; fi

# what feeds a criterion
expect 'training feeds first-order criteria' 0 'multiply-adds' "${run[@]}" -macs 0.7 -criterion taylor-fo -out "$work/hook"
in_json 'its scores are smoothed' "$work/hook/net-scores.json" 'r["momentum"]["value"] == 0.9 and r["images"] == 32 * r["momentum"]["iterations"]'
in_json 'without a pass' "$work/hook/report.json" 'r["score"] == "hook" and r["score_images"] == 0 and not r["criterion_chosen"] and r["momentum_score"] == 0.9'
expect 'or passes do' 0 'multiply-adds' "${run[@]}" -macs 0.7 -criterion taylor-fo -score pass -score-images 24 -momentum-score 0.5 -out "$work/pass"
in_json 'over the number of images that is given' "$work/pass/report.json" 'r["score"] == "pass" and r["score_images"] == 24 * r["iterations"] and r["momentum_score"] == 0.5'
expect 'a criterion of several passes, gates of its own choice' 0 'multiply-adds' "${run[@]}" -macs 0.7 -criterion taylor-so-row -remove-per-iteration 0.1 -out "$work/row"
in_json 'meets the target' "$work/row/report.json" 'r["criterion"] == "taylor-so-row" and 0.5 < r["after"]["macs"] / r["before"]["macs"] <= 0.7 and r["verified"] <= 1e-4'
expect 'one that is signed, by probes' 0 'multiply-adds' "${run[@]}" -macs 0.8 -criterion obd-gn -remove-per-iteration 0.1 -out "$work/gn"
expect 'one that moves a gate at a time' 0 'multiply-adds' "${run[@]}" -macs 0.8 -criterion taylor-so -score-images 8 -remove-per-iteration 0.2 -out "$work/so"
expect 'one of feature maps' 0 'multiply-adds' "${run[@]}" -macs 0.8 -criterion hrank -score-images 8 -remove-per-iteration 0.2 -out "$work/rank"
expect 'training cannot feed margins' 2 "criterion 'taylor-logits' cannot be fed by training" "${run[@]}" -macs 0.5 -criterion taylor-logits -score hook -out "$work/no"
expect 'nothing feeds magnitude' 2 "no meaning for criterion 'magnitude'" "${run[@]}" -macs 0.5 -criterion magnitude -score pass -out "$work/no"
expect 'images of a pass that is not made' 2 "add '-score pass'" "${run[@]}" -macs 0.5 -criterion taylor-fo -score-images 8 -out "$work/no"
expect 'a third way of feeding' 2 "'both' is not one of hook, pass" "${run[@]}" -macs 0.5 -score both -out "$work/no"

# floors and refusals
expect 'a floor that nothing holds is an error' 1 '-max-loss' "${run[@]}" -macs 0.5 -max-loss 0.0001 -out "$work/f"
# between the loss of the trained network and that of guessing among 8 classes
ceiling=$(/usr/bin/python3 -c 'import json, math, sys; b = json.load(open(sys.argv[1]))["before"]["loss"]; print((b + math.log(8)) / 2 if b < 2 else 2.05)' "$work/a/report.json")
expect 'a floor stops the removal and rolls back' 0 'rolled back' "${run[@]}" -macs 0.02 -max-loss "$ceiling" -remove-per-iteration 0.2 -out "$work/g"
in_json 'what is left after the roll-back is said' "$work/g/report.json" 'not r["target_met"] and r["stopped_by"] == "-max-loss" and r["after"]["macs"] > 0.02 * r["before"]["macs"]'
expect 'an accuracy that nothing holds is an error' 1 '-min-accuracy' "${run[@]}" -macs 0.5 -min-accuracy 1 -out "$work/f"
expect 'an unreachable target names the smallest' 1 'smallest reachable' "${run[@]}" -macs 0.00001 -out "$work/h"
if [ -e "$work/h" ]; then bad 'a refusal leaves nothing behind'; else ok 'a refusal leaves nothing behind'; fi
mkdir -p "$work/same"
cp "$work/net.cfg" "$work/same/x-pruned.cfg" && cp "$work/net.weights" "$work/same/x-pruned.weights" && cp "$work/net.cfg" "$work/same/x.cfg"
expect 'weights that would be overwritten are refused' 1 'would be overwritten' "$bin" prune run "$work/c/shapes.data" "$work/same/x.cfg" "$work/same/x-pruned.weights" -macs 0.5 -out "$work/same"

# Ctrl-C
interrupt 'step' "$work/err" "$bin" prune run "$work/c/shapes.data" "$work/net.cfg" "$work/net.weights" -macs 0.1 -batches-per-iteration 100000 -out "$work/i"
rc=$?
if [ $rc -eq 1 ] && grep -qa 'interrupted' "$work/err"; then ok 'Ctrl-C ends the run with a message'; else bad "Ctrl-C ends the run with a message (exit $rc)"; fi
expect 'Ctrl-C leaves a usable pair' 0 '' "$bin" prune inspect "$work/i/net-pruned.cfg" "$work/i/net-pruned.weights"

# a detector
expect 'a detector to prune' 0 '' "$bin" detector train "$work/d/shapes.data" "$work/box.cfg" -seed 1
expect 'run prunes a detector' 0 'mAP@0.5' "$bin" prune run "$work/d/shapes.data" "$work/box.cfg" "$work/d/backup/box_final.weights" -macs 0.6 -batches-per-iteration 1 \
    -remove-per-iteration 0.1 -recalibrate 16 -finetune 4i -letterbox 0 -out "$work/e"
in_json 'its target is met' "$work/e/report.json" 'r["after"]["macs"] <= 0.6 * r["before"]["macs"] and r["verified"] <= 1e-4'
in_json 'its criterion was chosen by its head' "$work/e/report.json" 'r["criterion"] == "taylor-fo" and r["criterion_chosen"] and r["score"] == "hook"'
expect 'a detector has no margins' 2 "criterion 'taylor-logits-greedy' needs a classifier" "$bin" prune run "$work/d/shapes.data" "$work/box.cfg" "$work/d/backup/box_final.weights" -macs 0.6 \
    -criterion taylor-logits-greedy -out "$work/no"
expect 'but curvature' 0 'mAP@0.5' "$bin" prune run "$work/d/shapes.data" "$work/box.cfg" "$work/d/backup/box_final.weights" -macs 0.8 -batches-per-iteration 1 \
    -remove-per-iteration 0.2 -criterion taylor-so-gn -score-images 8 -recalibrate 16 -letterbox 0 -out "$work/curved"
differ 'its cfg changed' "$work/box.cfg" "$work/e/box-pruned.cfg"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
