#!/usr/bin/env bash
# docs/results.md, second-order pruning of the published CIFAR-10 networks (one-shot, no fine-tuning; then with it). Resumable: what has its result is skipped.
# usage: scripts/reproduce_second_order.sh grid NET DATA OUT SEED [CRITERION,...] [MACS,...]   right after, recalibrated, and after least-squares reconstruction
#        scripts/reproduce_second_order.sh tune NET DATA OUT SEED CRITERION MACS EPOCHS        fine-tuning of the grid's pair of that point (FROM=-r: of the reconstructed one)
#        scripts/reproduce_second_order.sh table OUT                                           all results as CSV: net,seed,criterion,macs,what,top1
#   NET: resnet20 or resnet56    DATA: folder with cifar10/ and weights/    nap-surgery: masks of nap, survivors by -surgery joint
#   IMAGES=1000 scored, drawn as in training from SEED (EXACT_IMAGES=256 of taylor-so)    EVAL=10000 test images    RECONSTRUCT=1000 images, 0: none    THREADS=
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '3,8s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
[ $# -ge 2 ] || usage
what=$1 bin=${BIN:-bin}/darknet threads=(${THREADS:+-threads "$THREADS"})
all=magnitude,random,taylor-fo,taylor-so,taylor-logits-greedy,kron-obd,nap,nap-surgery,sosp-i,sosp-h

open_folder() {
    net=$1 data=$2 out=$3 seed=$4
    pair=$data/weights/resnet-cifar10/$net
    dir=$out/$net-$seed set=$out/cifar10.data
    mkdir -p "$dir"
    { cat "$data/cifar10/cifar10.data"; echo pad_crop=4; } >"$set.$$"   # drawn as the published networks were trained
    mv "$set.$$" "$set"
}

# criterion whose scores choose
scored() { case $1 in nap-surgery) echo nap ;; *) echo "$1" ;; esac; }

score() {
    local c=$1 images=${IMAGES:-1000}
    [ "$c" = taylor-so ] && images=${EXACT_IMAGES:-256}
    [ -s "$dir/$c.json" ] && return
    if [ "$c" = magnitude ] || [ "$c" = random ]; then
        "$bin" prune score "$pair.cfg" "$pair.weights" -criterion "$c" -protect 0 -seed "$seed" -out "$dir/$c.json"
    else
        "$bin" prune score "$set" "$pair.cfg" "$pair.weights" -criterion "$c" -drawn 1 -images "$images" -minibatch 128 -protect 0 -seed "$seed" "${threads[@]}" -out "$dir/$c.json"
    fi
}

top1() { sed -n 's/^top-1 \([0-9.]*\)%.*/\1/p'; }

# measure TAG CFG WEIGHTS [flags]: top-1 into TAG.top1
measure() {
    local tag=$1
    [ -s "$tag.top1" ] && return
    "$bin" prune evaluate "$set" "$2" "$3" -images "${EVAL:-10000}" "${threads[@]}" "${@:4}" | top1 >"$tag.part"
    [ -s "$tag.part" ] && mv "$tag.part" "$tag.top1"
    echo "$tag $(cat "$tag.top1")"
}

point() {
    local c=$1 macs=$2 p=$dir/$1@$2 mask=$dir/$(scored "$1")@$2.mask.json weights=$pair.weights
    [ -s "$mask" ] || "$bin" prune select "$pair.cfg" "$pair.weights" -scores "$dir/$(scored "$c").json" -macs "$macs" -protect 0 -out "$mask" >"$p.select"
    if [ "$c" = nap-surgery ]; then
        [ -s "$p.mask.json" ] || "$bin" prune surgery "$set" "$pair.cfg" "$pair.weights" -mask "$mask" -drawn 1 -images "${IMAGES:-1000}" -minibatch 128 -seed "$seed" \
            "${threads[@]}" -out "$p.weights" -out-mask "$p.mask.json" >"$p.surgery"
        mask=$p.mask.json weights=$p.weights
    fi
    [ -s "$p/$net-pruned.mask.json" ] || "$bin" prune apply "$pair.cfg" "$weights" -mask "$mask" -protect 0 -out "$p" >"$p.apply"
    measure "$p-right-after" "$p/$net-pruned.cfg" "$p/$net-pruned.weights"
    measure "$p-recalibrated" "$p/$net-pruned.cfg" "$p/$net-pruned.weights" -recalibrate 2560
    [ "$c" = nap-surgery ] || [ "${RECONSTRUCT:-1000}" = 0 ] && return
    [ -s "$p-r/$net-pruned.mask.json" ] || "$bin" prune reconstruct "$set" "$pair.cfg" "$pair.weights" -mask "$mask" -protect 0 -images "${RECONSTRUCT:-1000}" -seed "$seed" \
        "${threads[@]}" -out "$p-r" >"$p.reconstruct"
    measure "$p-reconstructed" "$p-r/$net-pruned.cfg" "$p-r/$net-pruned.weights"
    measure "$p-reconstructed-recalibrated" "$p-r/$net-pruned.cfg" "$p-r/$net-pruned.weights" -recalibrate 2560
}

case $what in
grid)
    [ $# -ge 5 ] || usage
    open_folder "$2" "$3" "$4" "$5"
    criteria=${6:-$all} ratios=${7:-0.7,0.5,0.3}
    for c in ${criteria//,/ }; do
        score "$(scored "$c")"
        for macs in ${ratios//,/ }; do point "$c" "$macs"; done
    done
    ;;
tune)
    [ $# -eq 8 ] || usage
    open_folder "$2" "$3" "$4" "$5"
    p=$dir/$6@$7${FROM:-} tuned=$dir/$6@$7${FROM:-}-tuned-$8
    set -- "$p/$net-pruned.cfg" "$p/$net-pruned.weights" "$8"
    [ -s "$tuned.weights" ] || "$bin" prune finetune "$set" "$1" "$2" -length "$3" -lr "${RATE:-0.02}" -recalibrate 2560 -seed "$seed" "${threads[@]}" -out "$tuned.weights"
    measure "$tuned" "$1" "$tuned.weights"
    ;;
table)
    echo net,seed,criterion,macs,what,top1
    (cd "$2" && for f in */*.top1; do
        echo "$f $(cat "$f")"
    done) | sed 's#^\(resnet[0-9]*\)-\([0-9]*\)/\(.*\)@\(0\.[0-9]*\)\(-r\)\{0,1\}-\([a-z0-9-]*\)\.top1 #\1,\2,\3,\4,\6\5,#'
    ;;
*) usage ;;
esac
