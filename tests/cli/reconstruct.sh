#!/usr/bin/env bash
# `prune reconstruct` on a rendered data set: what it writes and prints, the network it leaves against plain removal, repeatability, blocks, little memory,
# `run -reconstruct`, and its refusals.
set -uo pipefail
bin=${PRUNE_BIN:-bin/darknet} render=${PRUNE_RENDER:-bin/render-data}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/cli/expect.inc
. "$(dirname "${BASH_SOURCE[0]}")/expect.inc"

"$render" classify "$work/c" -images 192 -valid 96 -seed 3 >/dev/null || { echo "FAIL: cannot render"; exit 1; }
sed -e 's/^max_batches=.*/max_batches=100/' -e 's/^batch=.*/batch=16/' -e 's/^burn_in=.*/burn_in=1/' cfg/resnet-shapes.cfg >"$work/net.cfg"
expect 'a classifier to prune' 0 '' "$bin" classifier train "$work/c/shapes.data" "$work/net.cfg" -seed 1
expect 'with statistics of its own' 0 'wrote' "$bin" prune finetune "$work/c/shapes.data" "$work/net.cfg" "$work/c/backup/net_final.weights" -length 1i -lr 1e-9 -recalibrate 192 -out "$work/net.weights"
net=("$work/net.cfg" "$work/net.weights")
fit=("$bin" prune reconstruct "$work/c/shapes.data" "${net[@]}" -seed 5)
loss() { "$bin" prune evaluate "$work/c/shapes.data" "$1/net-pruned.cfg" "$1/net-pruned.weights" 2>/dev/null | sed -nE 's/^loss ([0-9.]+).*/\1/p'; }
less() { if awk -v a="$2" -v b="$3" 'BEGIN {exit !(a != "" && b != "" && a < b)}'; then ok "$1"; else bad "$1: $2 is not below $3"; fi; }

expect 'a mask of 60%' 0 'mask written' bash -c "'$bin' prune score ${net[*]} -criterion magnitude -out '$work/s.json' && '$bin' prune select ${net[*]} -scores '$work/s.json' -macs 0.4 -out '$work/m.json'"
expect 'plain removal' 0 'written' "$bin" prune apply "${net[@]}" -mask "$work/m.json" -out "$work/plain"
expect 'reconstruct fits the layers' 0 'layers from 96 images' "${fit[@]}" -mask "$work/m.json" -images 96 -out "$work/a"
cp "$work/out" "$work/table"
if grep -q "  0 *3/3 .*left alone: its input is that of the unpruned network" "$work/table"; then ok 'the first layer is left alone, and why'; else bad 'the first layer is left alone'; fi
if awk '/%$/ || /stream/ {n++; if ($5 + 0 > $4 + 0) worse = 1} END {exit !(n > 4 && !worse)}' "$work/table"; then ok 'no layer gets worse on the images it was fitted to'; else bad 'a layer gets worse'; fi
less 'the loss on other images is below that of plain removal' "$(loss "$work/a")" "$(loss "$work/plain")"
same 'the cfg is that of apply' "$work/a/net-pruned.cfg" "$work/plain/net-pruned.cfg"
same 'the mask is that of apply' "$work/a/net-pruned.mask.json" "$work/plain/net-pruned.mask.json"
expect 'it repeats' 0 '' "${fit[@]}" -mask "$work/m.json" -images 96 -threads 1 -out "$work/b"
same 'the same seed gives the same weights, whatever the threads' "$work/a/net-pruned.weights" "$work/b/net-pruned.weights"
expect 'without room for checkpoints' 0 '' "${fit[@]}" -mask "$work/m.json" -images 96 -memory 16M -out "$work/little"
same 'the weights are the same' "$work/a/net-pruned.weights" "$work/little/net-pruned.weights"
expect 'statistics are averaged anew when asked' 0 '' "${fit[@]}" -mask "$work/m.json" -images 96 -recalibrate 64 -out "$work/r"
differ 'and then differ' "$work/a/net-pruned.weights" "$work/r/net-pruned.weights"

# blocks that go whole are made up for by the layers behind them
expect 'a mask without a block' 0 'mask written' bash -c "'$bin' prune select ${net[*]} -scores '$work/s.json' -drop-blocks 1 -macs 0.6 -out '$work/d.json'"
expect 'plain removal of it' 0 '' "$bin" prune apply "${net[@]}" -mask "$work/d.json" -out "$work/dropped"
expect 'reconstruct takes it' 0 'drops 1 block' "${fit[@]}" -mask "$work/d.json" -images 96 -out "$work/d"
less 'and repairs it' "$(loss "$work/d")" "$(loss "$work/dropped")"

expect 'run reconstructs after the rewrite' 0 'multiply-adds' "$bin" prune run "$work/c/shapes.data" "${net[@]}" -macs 0.6 -criterion magnitude -batches-per-iteration 1 -remove-per-iteration 0.5 -lr 1e-5 \
    -reconstruct 64 -recalibrate 0 -out "$work/run"
if /usr/bin/python3 -c "
import json, sys
s = {x['name']: x for x in json.load(open(sys.argv[1]))['stages']}
sys.exit(not (list(s) == ['unpruned', 'rewritten', 'reconstructed', 'after'] and s['reconstructed']['loss'] < s['rewritten']['loss'] and s['after']['loss'] == s['reconstructed']['loss']))" "$work/run/report.json"
then ok 'which its report tells'; else bad 'the report does not tell of it'; fi

expect 'a mask is needed' 2 "'-mask FILE' is missing" "${fit[@]}" -out "$work/x"
expect 'a folder is needed' 2 "'-out DIR' is missing" "${fit[@]}" -mask "$work/m.json"
sed '0,/xxh64:[0-9a-f]*/s//xxh64:0000000000000000/' "$work/m.json" >"$work/other.json"
expect 'another network'\''s mask is refused' 1 'belongs to another cfg' "${fit[@]}" -mask "$work/other.json" -out "$work/x"
expect 'images that do not fit' 1 'use fewer images or more memory' "${fit[@]}" -mask "$work/m.json" -images 100000 -memory 1M -out "$work/x"
expect 'a fraction above 1' 2 "flag '-samples'" "${fit[@]}" -mask "$work/m.json" -samples 2 -out "$work/x"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
