#!/usr/bin/env bash
# docs/results.md, networks pruned step by step without fine-tuning (Figures 2 to 4 of the Taylor paper).
# usage: scripts/reproduce_curves.sh resnet56 DATA REFERENCE OUT [CRITERION,...]     2% of the block units a step, scores anew after each; first half of the test set
#                                                                                   DRAWN=1: scored on 1,000 augmented images instead of 1,000 as they are
#        scripts/reproduce_curves.sh half2    DATA REFERENCE OUT [CRITERION,...]     the same on the second half
#        scripts/reproduce_curves.sh train    DATA OUT SEED                          trains cfg/lenet3.cfg
#        scripts/reproduce_curves.sh lenet3   DATA OUT SEED [CRITERION,...]          all layers, one neuron at a time, until the loss reaches 1
#        scripts/reproduce_curves.sh subsets  DATA OUT SEED [IMAGES]                 first layer: all 65,536 subsets of its filters, and the greedy oracle
#   DATA: folder with cifar10/ and weights/    REFERENCE: folder with scoring_images.txt
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '3,9s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
[ $# -ge 3 ] || usage
what=$1 data=$2 bin=${BIN:-bin} threads=(${THREADS:+-threads "$THREADS"})
case $what in
resnet56|half2)
    reference=$3 out=${4:?a folder for the tables} first=0
    [ "$what" = half2 ] && first=5000
    mkdir -p "$out"
    awk 'NR == FNR {path[NR - 1] = $0; next} {print path[$1]}' "$data/cifar10/train.txt" "$reference/scoring_images.txt" >"$out/images.txt"
    pair=$data/weights/resnet-cifar10/resnet56 scored=(-list "$out/images.txt") tag=$what
    [ "${DRAWN:-0}" = 1 ] && scored=(-drawn 1 -images 1000) tag=$what-drawn
    { cat "$data/cifar10/cifar10.data"; echo pad_crop=4; } >"$out/cifar10.data"   # recalibration draws as the published network was trained
    for c in ${5:-taylor-fo taylor-fg taylor-so-gn taylor-so-row obd-gn taylor-logits taylor-logits-greedy magnitude bn-scale fpgm random}; do
        for name in ${c//,/ }; do
            "$bin/darknet" prune curve "$out/cifar10.data" "$pair.cfg" "$pair.weights" -criteria "$name" "${scored[@]}" -minibatch 128 -protect 0 \
                -no-spanning 1 -step-fraction 0.02 -macs 0.5 -eval-first "$first" -eval-images "${EVAL:-5000}" -eval-every 5 -recalibrate 2560 "${threads[@]}" \
                -out "$out/$tag-$name"
        done
    done
    ;;
train)
    out=$3/$4
    mkdir -p "$out"
    sed "s#^backup=.*#backup=$out#" "$data/cifar10/cifar10.data" >"$out/cifar10.data"
    # cfg/lenet3.cfg with a schedule that fits: 12 epochs, less decay, smaller shifts
    sed 's/learning_rate=.*/learning_rate=0.05/; s/max_batches=.*/max_batches=4690/; s/max_crop=.*/max_crop=34/; s/decay=.*/decay=0.0001/' cfg/lenet3.cfg >"$out/lenet3.cfg"
    "$bin/darknet" classifier train "$out/cifar10.data" "$out/lenet3.cfg" -seed "$4" "${threads[@]}"
    "$bin/darknet" prune evaluate "$data/cifar10/cifar10.data" "$out/lenet3.cfg" "$out/lenet3_final.weights"
    ;;
lenet3)
    out=$3/$4
    "$bin/darknet" prune curve "$data/cifar10/cifar10.data" "$out/lenet3.cfg" "$out/lenet3_final.weights" -images "${IMAGES:-1000}" -minibatch 100 -until-loss 1 -loss-at 1 \
        -criteria "${5:-taylor-fo,taylor-so-gn,taylor-weight,obd-gn,taylor-logits,taylor-logits-greedy,magnitude,random,oracle}" "${threads[@]}" -out "$out/curve"
    ;;
subsets)
    out=$3/$4
    for how in "-subsets 0" "-greedy 15 -only 0"; do
        # shellcheck disable=SC2086
        "$bin/darknet" prune oracle "$data/cifar10/cifar10.data" "$out/lenet3.cfg" "$out/lenet3_final.weights" -images "${5:-200}" $how "${threads[@]}" -csv "$out/${how:1:6}.csv"
    done
    ;;
*) usage ;;
esac
