#!/usr/bin/env bash
# `darknet prune surgery` and `run -surgery` from outside, on a network with residual, grouped and connected layers and 384 images drawn here.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
bin=$(realpath "${PRUNE_BIN:-bin/darknet}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/cli/expect.inc
. tests/cli/expect.inc

/usr/bin/python3 - "$work" <<'PY' || { echo "FAIL: cannot draw the images"; exit 1; }
import sys, os, numpy as np, cv2
work, rng = sys.argv[1], np.random.default_rng(1)
os.makedirs(work + '/images')
with open(work + '/list.txt', 'w') as f:
    for i in range(384):
        im, k = rng.integers(0, 120, (16, 16, 3), np.uint8), i % 3
        w, h = ((10, 4), (4, 10), (6, 6))[k]
        x, y = int(rng.integers(0, 16 - w)), int(rng.integers(0, 16 - h))
        im[y:y + h, x:x + w] = rng.integers(150, 255, 3)
        name = f"{work}/images/{i:03d}_{('wide', 'high', 'even')[k]}.png"
        cv2.imwrite(name, im)
        f.write(name + '\n')
PY
printf 'wide\nhigh\neven\n' >"$work/names"
printf 'classes=3\ntrain=%s/list.txt\nvalid=%s/list.txt\nnames=%s/names\nbackup=%s\n' "$work" "$work" "$work" "$work" >"$work/set.data"
conv() { printf '[convolutional]\nbatch_normalize=%s\nfilters=%s\nsize=%s\nstride=%s\npad=1\ngroups=%s\nactivation=leaky\n\n' "$@"; }
{
    printf '[net]\nbatch=32\nsubdivisions=1\nwidth=16\nheight=16\nchannels=3\nlearning_rate=0.02\nmomentum=0.9\ndecay=0.0005\npolicy=constant\nmax_batches=120\n\n'
    conv 1 16 3 2 1; conv 1 16 3 1 1; conv 1 16 3 1 1; printf '[shortcut]\nfrom=-3\nactivation=leaky\n\n'
    conv 0 16 3 2 2; conv 1 16 1 1 1
    printf '[maxpool]\nsize=2\nstride=2\n\n[connected]\noutput=12\nactivation=leaky\n\n[connected]\noutput=3\nactivation=linear\n\n[softmax]\n'
} >"$work/net.cfg"
data=$work/set.data cfg=$work/net.cfg
expect 'a small network is trained' 0 '' "$bin" classifier train "$data" "$cfg" -seed 3
weights=$work/net_final.weights
net=("$cfg" "$weights")
sum=$(cat "${net[@]}" "$data" | sha256sum)
"$bin" prune score "${net[@]}" -criterion random -out "$work/random.json" >/dev/null
"$bin" prune select "${net[@]}" -scores "$work/random.json" -units 0.8 -out "$work/mask.json" >/dev/null
"$bin" prune select "${net[@]}" -scores "$work/random.json" -units 1 -out "$work/none.json" >/dev/null
surgery=("$bin" prune surgery "$data" "${net[@]}" -images 384)
loss() { "$bin" prune evaluate "$data" "$@" | sed -n 's/^loss //p'; }
below() { if awk "BEGIN {exit !($2 < $3)}"; then ok "$1"; else bad "$1: $2 is not below $3"; fi; }
near() { if awk "BEGIN {d = $2 - $3; exit !(d * d <= 1e-8)}"; then ok "$1"; else bad "$1: $2 and $3 differ"; fi; }
total() { sed -n 's/^ *all *\([^ ]*\) *\([^ ]*\) .*/\1 \2/p' "$work/out"; }

# with and without, on the images that the factors are of
"$bin" prune apply "${net[@]}" -mask "$work/mask.json" -out "$work/plain" >/dev/null
for part in inputs both; do
    expect "surgery of $part" 0 'saved weights to' "${surgery[@]}" -mask "$work/mask.json" -surgery-part $part -out "$work/$part.weights" -out-mask "$work/$part.json"
    read -r before after < <(total)
    below "the quadratic loss is lower with surgery of $part" "$after" "$before"
    if awk '/^ *[0-9]+ +[0-9]+ +[0-9]+ / {n++; if ($5 > $4 * 1.000001) exit 1} END {exit n < 3}' "$work/out"; then ok "in every layer ($part)"; else bad "in every layer ($part)"; fi
    expect "apply takes the new weights and mask, masked = rewritten ($part)" 0 'verified in the host' "$bin" prune apply "$cfg" "$work/$part.weights" -mask "$work/$part.json" -out "$work/$part"
    near "the new weights are masked ($part)" "$(loss "$cfg" "$work/$part.weights")" "$(loss "$work/$part/net-pruned.cfg" "$work/$part/net-pruned.weights")"
done
below 'the loss is lower than after plain removal' "$(loss "$work/inputs/net-pruned.cfg" "$work/inputs/net-pruned.weights")" "$(loss "$work/plain/net-pruned.cfg" "$work/plain/net-pruned.weights")"
differ 'parts differ' "$work/inputs.weights" "$work/both.weights"
expect 'the sum of single updates' 0 'saved weights to' "${surgery[@]}" -mask "$work/mask.json" -surgery paper -out "$work/paper.weights"
read -r _ paper < <(total)
expect 'joint again' 0 'saved weights to' "${surgery[@]}" -mask "$work/mask.json" -out "$work/again.weights"
read -r _ joint < <(total)
below 'the joint minimum is below it' "$joint" "$paper"
same 'the same call gives the same bytes' "$work/again.weights" "$work/inputs.weights"
expect 'a few layers per pass' 0 'saved weights to' "${surgery[@]}" -mask "$work/mask.json" -memory 1K -out "$work/shares.weights"
same 'give the same bytes' "$work/shares.weights" "$work/inputs.weights"
expect 'without -out-mask: -other-weights' 0 'verified in the host' "$bin" prune apply "$cfg" "$work/again.weights" -mask "$work/mask.json" -other-weights 1 -out "$work/x"
rm -r "$work/x"

# what moves: weights and biases of layers without batch-norm that read something removed; a mask of nothing changes nothing
expect 'a mask of nothing' 0 'saved weights to' "${surgery[@]}" -mask "$work/none.json" -out "$work/none.weights"
same 'leaves every byte' "$work/none.weights" "$weights"
cat >"$work/moved.py" <<'PY'
import json, sys
import numpy as np
net, mask = json.load(open(sys.argv[1])), json.load(open(sys.argv[2]))
a, b = (np.fromfile(f, '<f4', offset=20) for f in sys.argv[3:])
gone = {r["layer"]: r["channels"] for r in mask["removed"]}
at = moved = 0
def take(n):
    global at
    at += n
    return a[at - n:at], b[at - n:at]
reads = {1: 0, 2: 1, 4: 2, 5: 4, 7: 5, 8: 7}   # layer 3 adds 0 and 2, whose channels are one
for l in net["layers"]:
    i, n = l["layer"], l["output"][2]
    if l["kind"] == "convolutional":
        c, k, norm = l["input"][2] // l["groups"], l["size"] ** 2, l["batch_normalize"]
        bias = take(n)
        for _ in range(3 * norm): assert np.array_equal(*take(n)), i
        was, now = (x.reshape(n, c, k) for x in take(n * c * k))
        groups = l["groups"]
    elif l["kind"] == "connected":
        n = l["output"][0] * l["output"][1] * n
        bias = take(n)
        c = 16 if i == 7 else 12
        k, norm, groups = (4 if i == 7 else 1), 0, 1
        was, now = (x.reshape(n, c, k) for x in take(n * c * k))
    else: continue
    lost, out = gone.get(reads.get(i), []), set(gone.get(i, []))
    for g in range(groups):
        rows = slice(g * n // groups, (g + 1) * n // groups)
        mine = [x - g * c for x in lost if g * c <= x < (g + 1) * c]
        stay = [r for r in range(rows.start, rows.stop) if r not in out]
        assert not now[rows][:, mine].any(), (i, "removed inputs are not 0")
        rest = [x for x in range(c) if x not in mine]
        went = [r for r in range(rows.start, rows.stop) if r in out]
        assert np.array_equal(was[went][:, rest], now[went][:, rest]), (i, "a removed filter moved")
        if not mine: assert np.array_equal(was[rows], now[rows]), (i, "nothing is lost here")
        elif stay and rest:
            assert not np.array_equal(was[stay][:, rest], now[stay][:, rest]), (i, "survivors did not move")
            assert np.array_equal(bias[0][stay], bias[1][stay]) == bool(norm), (i, "biases")
            moved += 1
assert at == len(a) == len(b) and moved >= 4, (at, len(a), moved)
PY
"$bin" prune inspect "${net[@]}" -json >"$work/net.json"
expect 'what is moved, what is 0 and what stays' 0 '' /usr/bin/python3 "$work/moved.py" "$work/net.json" "$work/mask.json" "$weights" "$work/inputs.weights"

# wrong usage, wrong files
expect 'no mask' 2 "flag '-mask FILE' is missing" "${surgery[@]}" -out "$work/x"
expect 'no output' 2 "flag '-out FILE' is missing" "${surgery[@]}" -mask "$work/mask.json"
expect 'an unknown way' 2 "flag '-surgery': 'jiont' is not one of none, joint, paper" "${surgery[@]}" -mask "$work/mask.json" -surgery jiont -out "$work/x"
expect 'no way' 2 "surgery without surgery" "${surgery[@]}" -mask "$work/mask.json" -surgery none -out "$work/x"
expect 'an unknown part' 2 "flag '-surgery-part': 'all' is not one of inputs, filters, both" "${surgery[@]}" -mask "$work/mask.json" -surgery-part all -out "$work/x"
expect 'inputs are never written to' 2 "is an input and would be overwritten" "${surgery[@]}" -mask "$work/mask.json" -out "$weights"
expect 'nor the mask' 2 "is an input and would be overwritten" "${surgery[@]}" -mask "$work/mask.json" -out "$work/x" -out-mask "$work/mask.json"
expect 'two names of one file' 1 "$work/x" "${surgery[@]}" -mask "$work/mask.json" -out "$work/x" -out-mask "$work/x"
expect 'a folder that is not there' 1 "$work/no/x" "${surgery[@]}" -mask "$work/mask.json" -out "$work/no/x"
expect 'a mask of other weights' 1 'belongs to other weights' "$bin" prune surgery "$data" "$cfg" "$work/inputs.weights" -mask "$work/mask.json" -out "$work/x"
expect '-other-weights 1 allows it' 0 'saved weights to' "$bin" prune surgery "$data" "$cfg" "$work/inputs.weights" -mask "$work/mask.json" -other-weights 1 -images 32 -out "$work/other.weights"
"$bin" prune apply "${net[@]}" -drop-block 3 -verify 0 -out "$work/blocks" >/dev/null
expect 'a mask with blocks' 1 'block' "${surgery[@]}" -mask "$work/blocks/net-pruned.mask.json" -out "$work/x"
sed "s|^train=.*|train=$work/gone.txt|" "$data" >"$work/gone.data"
expect 'a missing list' 1 'gone.txt' "$bin" prune surgery "$work/gone.data" "${net[@]}" -mask "$work/mask.json" -out "$work/x"
if compgen -G "$work/x*" >/dev/null || compgen -G "$work/.x*" >/dev/null; then bad 'failures leave no file'; else ok 'failures leave no file'; fi

# run
expect 'run -surgery takes criteria with factors alone, and names them' 2 "criterion 'taylor-fo' gathers no Kronecker factors; take one of nap" "$bin" prune run "$data" "${net[@]}" -units 0.7 -criterion taylor-fo -surgery joint -out "$work/run"
expect 'a part without surgery' 2 "flag '-surgery-part' has no meaning" "$bin" prune run "$data" "${net[@]}" -units 0.7 -criterion nap -surgery-part both -out "$work/run"
job=("$bin" prune run "$data" "${net[@]}" -units 0.7 -criterion nap -batches-per-iteration 2 -remove-per-iteration 0.1 -recalibrate 384)
expect 'run -surgery joint' 0 'wrote ' "${job[@]}" -surgery joint -out "$work/run"
if grep -q 'verified: masked and rewritten network agree' "$work/err"; then ok 'its pair is verified'; else bad 'its pair is verified'; fi
expect 'run -surgery 1 is joint' 0 'wrote ' "${job[@]}" -surgery 1 -out "$work/run1"
same 'byte for byte' "$work/run/net-pruned.weights" "$work/run1/net-pruned.weights"
expect 'run without' 0 'wrote ' "${job[@]}" -out "$work/run0"
differ 'surgery makes a difference' "$work/run/net-pruned.weights" "$work/run0/net-pruned.weights"

if [ "$sum" = "$(cat "${net[@]}" "$data" | sha256sum)" ]; then ok 'inputs are as they were'; else bad 'inputs are as they were'; fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
