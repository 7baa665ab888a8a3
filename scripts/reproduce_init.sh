#!/usr/bin/env bash
# docs/results.md, pruning at initialisation against after training (papers/003, figures 3 and 4) on ResNet-20, CIFAR-10, from scratch, 2 cycles of EPOCHS epochs each (half cosine from 0.1).
# Rows (ROWS): unpruned; train-CRITERION: cycle, score, prune, cycle; init-CRITERION: score fresh weights, prune, two cycles; init-random; expand: the stage that train-* pruned least twice
# as wide, fresh, cycle, prune to the multiply-adds of train-*, cycle. Criteria: sosp-h, sosp-i.
# usage: [SEEDS="1 2 3"] [EPOCHS=4] [MACS=0.5] [THREADS=1] [IMAGES=1000] [ROWS="..."] scripts/reproduce_init.sh DATA [OUT]     DATA: folder with cifar10/
# Files that are there are not made again: interrupted, the script goes on where it was. The table shows what is finished (SEEDS=' ': nothing but the table).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data=${1:?usage: scripts/reproduce_init.sh DATA [OUT]} out=${2:-build/results/init}
darknet=${BIN:-bin}/darknet epochs=${EPOCHS:-4} macs=${MACS:-0.5} images=${IMAGES:-1000} cfg=$PWD/cfg/resnet20-cifar.cfg
rows=${ROWS:-unpruned train-sosp-h init-sosp-h init-random expand-sosp-h train-sosp-i init-sosp-i}
mkdir -p "$out"
set_file=$out/cifar10.data
[ -e "$set_file" ] || { cat "$data/cifar10/cifar10.data"; echo pad_crop=4; } >"$set_file"
prune() { "$darknet" prune "$@" >>"$dir/log" 2>&1; }
seeded() { local verb=$1; shift; prune "$verb" "$@" -seed "$seed" -threads "${THREADS:-1}"; }

# A file that stands under its own name is whole.
fresh() { # CFG TO.weights
    [ -e "$2" ] && return
    rm -f "$2.part"
    seeded score "$set_file" "$1" -at-init -init-weights "$2.part" -criterion magnitude -protect 0 -out "$2.json"
    mv "$2.part" "$2"
}
cycle() { # CFG FROM.weights TO.weights
    [ -e "$3" ] && return
    seeded finetune "$set_file" "$1" "$2" -length "$epochs" -lr 0.1 -out "$3.part"
    mv "$3.part" "$3"
}
cut() { # CFG WEIGHTS CRITERION FRACTION DIR: DIR/*-pruned.*
    [ -e "$5/done" ] && return
    mkdir -p "$5"
    seeded score "$set_file" "$1" "$2" -criterion "$3" -protect 0 -images "$images" -minibatch 50 -out "$5/scores.json"
    prune select "$1" "$2" -scores "$5/scores.json" -macs "$4" -protect 0 -out "$5/mask.json"
    prune apply "$1" "$2" -mask "$5/mask.json" -out "$5"
    touch "$5/done"
}
count() { "$darknet" prune inspect "$1" -json | /usr/bin/python3 -c "import json, sys; print(json.load(sys.stdin)['$2'])"; }
measure() { # ROW CFG WEIGHTS
    [ -e "$dir/$1.json" ] && return
    "$darknet" prune evaluate "$set_file" "$2" "$3" -threads "${THREADS:-1}" -json "$dir/$1.part" >>"$dir/log" 2>&1
    count "$2" macs >"$dir/$1.macs"
    count "$2" parameters >"$dir/$1.parameters"
    mv "$dir/$1.part" "$dir/$1.json"
}

# What rows share: the fresh network, and the one trained for a cycle.
start() { fresh "$cfg" "$dir/fresh.weights"; }
trained() { start; cycle "$cfg" "$dir/fresh.weights" "$dir/once.weights"; }
row_unpruned() {
    trained
    cycle "$cfg" "$dir/once.weights" "$dir/twice.weights"
    measure "$1" "$cfg" "$dir/twice.weights"
}
row_train() { # ROW CRITERION
    trained
    cut "$cfg" "$dir/once.weights" "$2" "$macs" "$dir/$1"
    cycle "$dir/$1/resnet20-cifar-pruned.cfg" "$dir/$1/resnet20-cifar-pruned.weights" "$dir/$1/end.weights"
    measure "$1" "$dir/$1/resnet20-cifar-pruned.cfg" "$dir/$1/end.weights"
}
row_init() { # ROW CRITERION
    start
    cut "$cfg" "$dir/fresh.weights" "$2" "$macs" "$dir/$1"
    cycle "$dir/$1/resnet20-cifar-pruned.cfg" "$dir/$1/resnet20-cifar-pruned.weights" "$dir/$1/middle.weights"
    cycle "$dir/$1/resnet20-cifar-pruned.cfg" "$dir/$1/middle.weights" "$dir/$1/end.weights"
    measure "$1" "$dir/$1/resnet20-cifar-pruned.cfg" "$dir/$1/end.weights"
}
row_expand() { # ROW CRITERION
    local wide=$dir/$1/resnet20-wide.cfg from=$dir/train-$2
    row_train "train-$2" "$2"
    mkdir -p "$dir/$1"
    [ -e "$wide" ] || "$darknet" prune expand "$cfg" -scores "$from/scores.json" -macs "$macs" -protect 0 -by stage -factor 2 -out "$wide" >"$dir/$1/expand.txt"
    fresh "$wide" "$dir/$1/fresh.weights"
    cycle "$wide" "$dir/$1/fresh.weights" "$dir/$1/once.weights"
    cut "$wide" "$dir/$1/once.weights" "$2" "$(/usr/bin/python3 -c "print($(cat "$dir/train-$2.macs") / $(count "$wide" macs))")" "$dir/$1/cut"
    cycle "$dir/$1/cut/resnet20-wide-pruned.cfg" "$dir/$1/cut/resnet20-wide-pruned.weights" "$dir/$1/end.weights"
    measure "$1" "$dir/$1/cut/resnet20-wide-pruned.cfg" "$dir/$1/end.weights"
}

for seed in ${SEEDS:-1 2 3}; do
    dir=$out/seed$seed
    mkdir -p "$dir"
    for row in $rows; do "row_${row%%-*}" "$row" "${row#*-}"; done
done
/usr/bin/python3 - "$out" "$epochs" $rows <<'PY'
import glob, json, os, statistics, sys
out, epochs, rows = sys.argv[1], sys.argv[2], sys.argv[3:]
print(f"| 2 x {epochs} epochs | top-1 of the test set, % | seeds | loss | parameters | multiply-adds, M |\n|---|---|---|---|---|---|")
for row in rows:
    files = sorted(glob.glob(f"{out}/seed*/{row}.json"))
    if not files: continue
    results = [json.load(open(f)) for f in files]
    def mean(values, form): return form.format(statistics.mean(values)) + (f" +- {form.format(statistics.stdev(values))}" if len(values) > 1 else "")
    def number(what): return [int(open(f[:-4] + what).read()) for f in files]
    top = [100 * r["top1"] for r in results]
    print(f"| {row} | {mean(top, '{:.2f}')} | {', '.join(f'{t:.2f}' for t in top)} | {mean([r['loss'] for r in results], '{:.3f}')} | {statistics.mean(number('parameters')):.0f} | {statistics.mean(number('macs')) / 1e6:.2f} |")
PY
