#!/usr/bin/env bash
# docs/results.md, fine-grained pruning on MNIST: our own LeNet-300-100 to 1.3% of its weights (77 times) and LeNet-5 to 0.5% (200 times), by single weights.
# usage: scripts/reproduce_lenet.sh (300-100 | 5) DATA OUT SEED [NAME...]
#   DATA: folder with mnist/    NAME: nap (surgery joint), nap-plain, obd, magnitude, random, for LeNet-5 nap-long (42,000 steps) (default: the first four)
#   The network is trained first, with the same seed; weight decay while pruning as in the paper (appendix). What is done already is skipped, so it can be started again. THREADS=N; FINETUNE=8000i: a shorter end
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() { sed -n '3,5s/^# //p' "${BASH_SOURCE[0]}" >&2; exit 2; }
[ $# -ge 4 ] || usage
network=$1 data=$2 out=$3/$1 seed=$4 bin=${BIN:-bin}
shift 4
common=(-seed "$seed" ${THREADS:+-threads "$THREADS"})
case $network in
300-100) base=lenet-300-100 cfg=cfg/lenet-300-100.cfg
    schedule=(-weights 0.013 -stages "0.3,0.12,0.06,0.035,0.025,0.019,0.016,0.013" -batches-per-iteration 4000 -lr 0.1 -decay 0.0002 -finetune "${FINETUNE:-20000i}") ;;
5) base=lenet5 cfg=cfg/lenet5.cfg
    schedule=(-weights 0.005 -stages "0.25,0.08,0.03,0.015,0.008,0.005" -batches-per-iteration 1000 -lr 0.03 -decay 0.0002 -finetune "${FINETUNE:-10000i}") ;;
*) usage ;;
esac

mkdir -p "$out/$seed"
{ sed '/^backup=/d' "$data/mnist/mnist.data"; echo "backup=$out/$seed"; echo flip=0; } >"$out/$seed/mnist.data"
weights=$out/$seed/${base}_final.weights
if [ ! -e "$weights" ]; then
    "$bin/darknet" classifier train "$out/$seed/mnist.data" "$cfg" "${common[@]}" >"$out/$seed/train.log" 2>&1
    rm -f "$out/$seed/${base}"_[0-9]*.weights "$out/$seed/$base.backup"
fi
passes=(-score pass -score-images 5000)
[ $# -gt 0 ] || set -- nap nap-plain obd magnitude
for name in "$@"; do
    case $name in
    nap) how=(-criterion nap -surgery joint "${passes[@]}") ;;
    nap-plain) how=(-criterion nap "${passes[@]}") ;;
    nap-long)
        [ "$network" = 5 ] || usage
        how=(-criterion nap -surgery joint "${passes[@]}")
        schedule=(-weights 0.005 -stages "0.25,0.08,0.03,0.015,0.01,0.0075,0.006,0.005" -batches-per-iteration 4000 -lr 0.05 -decay 0.0002 -finetune 10000i) ;;
    obd) how=(-criterion obd "${passes[@]}") ;;
    magnitude | random) how=(-criterion "$name") ;;
    *) usage ;;
    esac
    run=$out/$seed/$name
    [ -e "$run/report.json" ] || "$bin/darknet" prune run "$out/$seed/mnist.data" "$cfg" "$weights" -granularity weight "${schedule[@]}" "${how[@]}" "${common[@]}" -out "$run" >"$run.txt" 2>"$run.log"
    echo "LeNet-$network, seed $seed, $name"
    "$bin/darknet" prune report "$run"
done
