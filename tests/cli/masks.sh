#!/usr/bin/env bash
# Masks from outside: one made from `inspect -json`, foreign ones, masks in sequence and their composition, whole blocks. On networks made here.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

bin=$(realpath "${PRUNE_BIN:-bin/darknet}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/cli/expect.inc
. tests/cli/expect.inc

# res.cfg: a residual network (blocks end at layers 3, 6 and 11; 9 closes none), rand.py: random weights for it from what inspect says of its layers
conv() { printf '[convolutional]\nbatch_normalize=1\nfilters=%s\nsize=3\nstride=%s\npad=1\nactivation=%s\n\n' "$1" "$2" "$3"; }
add() { printf '[shortcut]\nfrom=%s\nactivation=relu\n\n' "$1"; }
{
    printf '[net]\nbatch=4\nheight=16\nwidth=16\nchannels=3\nlearning_rate=0.01\n\n'
    conv 16 1 relu; printf '# first block\n'; conv 12 1 relu; conv 16 1 linear; add -3
    conv 16 1 relu; conv 16 1 linear; add -3
    conv 24 2 relu; conv 24 1 linear; add -3
    printf '[convolutional]\nfilters=24\nsize=1\nstride=1\ngroups=4\nactivation=linear\n\n'; add -2
    printf '[convolutional]\nfilters=10\nsize=1\nstride=1\nactivation=linear\n\n[avgpool]\n\n[softmax]\n'
} >"$work/res.cfg"
cat >"$work/rand.py" <<'PY'
import json, struct, sys
import numpy as np
net, rng = json.load(open(sys.argv[1])), np.random.default_rng(int(sys.argv[3]))
parts = []
for l in net["layers"]:
    if l["kind"] == "convolutional":
        n, c = l["output"][2], l["input"][2] // l["groups"] * l["size"] ** 2
        parts += [rng.normal(size=n) * .1] + ([rng.uniform(.5, 2, n), rng.normal(size=n) * .1, rng.uniform(.5, 2, n)] if l["batch_normalize"] else [])
        parts.append(rng.normal(size=n * c) * (2 / c) ** .5)
open(sys.argv[2], "wb").write(struct.pack("<iiiQ", 0, 2, 0, 640) + np.concatenate(parts).astype("<f4").tobytes())
PY
"$bin" prune inspect "$work/res.cfg" -json >"$work/res.json"
/usr/bin/python3 "$work/rand.py" "$work/res.json" "$work/res.weights" 1
/usr/bin/python3 "$work/rand.py" "$work/res.json" "$work/other.weights" 2
net=("$work/res.cfg" "$work/res.weights")
sum=$(cat "${net[@]}" | sha256sum)
apply() { "$bin" prune apply "$@"; }

# inspect -json: enough for a mask, and right about costs
"$bin" prune inspect "${net[@]}" -json >"$work/full.json"
expect "the example program makes a mask from inspect -json" 0 '' /usr/bin/python3 tests/cli/make_mask.py "$work/full.json" "$work/made.json"
expect "apply takes that mask, and the host finds masked and pruned equal" 0 'verified in the host' "$bin" prune apply "${net[@]}" -mask "$work/made.json" -out "$work/made"
cat >"$work/facts.py" <<'PY'
import json, subprocess, sys
work, bin = sys.argv[1:]
net = json.load(open(work + "/full.json"))
assert net["dialects"] == ["pjreddie", "alexeyab"] and net["foreign"] is None and net["input"] == [16, 16, 3], net
assert sum(l["macs"] for l in net["layers"]) == net["macs"] and sum(l["parameters"] for l in net["layers"]) == net["parameters"]
assert [b["shortcut"] for b in net["blocks"]] == [3, 6, 11] and [b["shortcut"] for b in net["no_blocks"]] == [9], (net["blocks"], net["no_blocks"])
assert net["no_blocks"][0]["reason"] == "it adds 16x16x16 of layer 6 to 8x8x24", net["no_blocks"]
block = net["blocks"][1]
assert block == {"shortcut": 6, "from": 3, "layers": [4, 6], "gate": {"layer": 5, "place": "output"}, "becomes_activation": False,
                 "macs": sum(l["macs"] for l in net["layers"][4:7]), "parameters": sum(l["parameters"] for l in net["layers"][4:7]), "not_masked_because": None}, block
assert [(b["layer"], b["kind"], b["parts"]) for b in net["balances"]] == [(10, "inputs", 4), (10, "filters", 4)], net["balances"]
# the cost of a unit is what the network loses when it goes alone
unit = next(u for u in net["units"] if u["members"][0] == [1, 5])
mask = {"format": "darknet-prune-mask", "version": 1, "cfg": {"hash": net["cfg_hash"]}, "kind": "unit", "removed": [{"layer": 1, "channels": [5]}]}
json.dump(mask, open(work + "/one.json", "w"))
subprocess.run([bin, "prune", "apply", work + "/res.cfg", work + "/res.weights", "-mask", work + "/one.json", "-verify", "0", "-out", work + "/one"], check=True, stdout=subprocess.DEVNULL)
after = json.loads(subprocess.check_output([bin, "prune", "inspect", work + "/one/res-pruned.cfg", "-json"]))
assert net["macs"] - after["macs"] == unit["macs"] > 0 and net["parameters"] - after["parameters"] == unit["parameters"] > 0, unit
PY
expect "inspect's costs are those of the rewritten network" 0 '' /usr/bin/python3 "$work/facts.py" "$work" "$bin"

# foreign masks
apply "${net[@]}" -criterion magnitude -macs 0.7 -verify 0 -out "$work/a" >/dev/null
a="$work/a/res-pruned"
sed 's/^# first/# 1st/' "$work/res.cfg" >"$work/changed.cfg"
expect "a mask of another cfg names both files" 1 "mask '$a.mask.json' belongs to another cfg: it was made for '$work/res.cfg' (xxh64:" "$bin" prune apply "$work/changed.cfg" "$work/res.weights" -mask "$a.mask.json" -out "$work/x"
expect "a mask of other weights names both files" 1 "belongs to other weights: it was made for '$work/res.weights' (xxh64:" "$bin" prune apply "$work/res.cfg" "$work/other.weights" -mask "$a.mask.json" -out "$work/x"
expect "-other-weights 1 allows them" 0 "written: " "$bin" prune apply "$work/res.cfg" "$work/other.weights" -mask "$a.mask.json" -other-weights 1 -out "$work/trained"
sed 's/"removed": \[.*/"removed": [{"layer": 8, "channels": [20]}, {"layer": 10, "channels": [20]}]}/' "$work/one.json" >"$work/uneven.json"
expect "parts of unequal size are said with mask, layer and counts" 1 "mask '$work/uneven.json': " "$bin" prune apply "${net[@]}" -mask "$work/uneven.json" -out "$work/x"
expect "with the layer" 1 "layer 10" "$bin" prune apply "${net[@]}" -mask "$work/uneven.json" -out "$work/x"
if [ -e "$work/x" ]; then bad "a refused mask leaves no folder"; else ok "a refused mask leaves no folder"; fi

# masks in sequence
apply "$a.cfg" "$a.weights" -criterion bn-scale -macs 0.7 -verify 0 -out "$work/b" >/dev/null
expect "two masks compose" 0 "mask written to $work/c.json" "$bin" prune compose "$work/res.cfg" "$a.mask.json" "$work/b/res-pruned-pruned.mask.json" -out "$work/c.json" -weights "$work/res.weights"
expect "apply takes the composition" 0 'verified in the host' "$bin" prune apply "${net[@]}" -mask "$work/c.json" -out "$work/c"
same "the cfg is that of one after the other" "$work/c/res-pruned.cfg" "$work/b/res-pruned-pruned.cfg"
same "and so are the weights" "$work/c/res-pruned.weights" "$work/b/res-pruned-pruned.weights"
expect "masks in the wrong order are refused" 1 "belongs to another cfg" "$bin" prune compose "$work/res.cfg" "$work/b/res-pruned-pruned.mask.json" "$a.mask.json" -out "$work/x.json"
expect "a second mask of the first cfg is refused" 1 "'$work/res.cfg after $a.mask.json' is xxh64:" "$bin" prune compose "$work/res.cfg" "$a.mask.json" "$a.mask.json" -out "$work/x.json"
expect "compose checks the weights it is given" 1 "belongs to other weights" "$bin" prune compose "$work/res.cfg" "$a.mask.json" "$work/b/res-pruned-pruned.mask.json" -out "$work/x.json" -weights "$work/other.weights"
expect "compose needs -out" 2 "'-out FILE' is missing" "$bin" prune compose "$work/res.cfg" "$a.mask.json" "$work/c.json"
expect "compose does not overwrite its input" 2 "would be overwritten" "$bin" prune compose "$work/res.cfg" "$a.mask.json" "$work/b/res-pruned-pruned.mask.json" -out "$a.mask.json"

# whole blocks
expect "blocks go by the numbers of their shortcuts" 0 "drops 2 blocks: layers 1-3, layers 10-11" "$bin" prune apply "${net[@]}" -drop-block 11,3 -masked 1 -verify 1 -out "$work/d"
expect "the host agrees" 0 "networks agree" "$bin" prune verify "$work/res.cfg" "$work/d/res-masked.weights" "$work/d/res-pruned.cfg" "$work/d/res-pruned.weights" -random 2
expect "the comment above the block went with it" 1 '' grep -q 'first block' "$work/d/res-pruned.cfg"
expect "the mask says version 2" 0 '' grep -q '"version":.*2' "$work/d/res-pruned.mask.json"
expect "apply takes that mask" 0 "drops 2 blocks" "$bin" prune apply "${net[@]}" -mask "$work/d/res-pruned.mask.json" -out "$work/e"
same "and writes the same cfg" "$work/d/res-pruned.cfg" "$work/e/res-pruned.cfg"
same "and the same weights" "$work/d/res-pruned.weights" "$work/e/res-pruned.weights"
expect "blocks and channels reach a target together" 0 "drops 1 block: layers 4-6" "$bin" prune apply "${net[@]}" -criterion magnitude -drop-block 6 -macs 0.5 -verify 1 -out "$work/f"
expect "to half of the whole network" 0 '' /usr/bin/python3 -c "
import json, subprocess, sys
macs = lambda cfg: json.loads(subprocess.check_output(['$bin', 'prune', 'inspect', cfg, '-json']))['macs']
r = macs('$work/f/res-pruned.cfg') / macs('$work/res.cfg')
assert .35 < r <= .5, r"
expect "a mask of channels goes together with a block" 0 "drops 1 block" "$bin" prune apply "${net[@]}" -mask "$a.mask.json" -drop-block 6 -verify 1 -out "$work/g"
expect "masks with blocks compose" 0 "drops 2 blocks: layers 4-6, layers 10-11" bash -c "
    '$bin' prune apply '$work/f/res-pruned.cfg' '$work/f/res-pruned.weights' -drop-block 8 -verify 0 -out '$work/h' &&
    '$bin' prune compose '$work/res.cfg' '$work/f/res-pruned.mask.json' '$work/h/res-pruned-pruned.mask.json' -out '$work/h.json' && '$bin' prune apply ${net[*]} -mask '$work/h.json' -out '$work/i'"
same "to the same cfg" "$work/h/res-pruned-pruned.cfg" "$work/i/res-pruned.cfg"
same "and the same weights" "$work/h/res-pruned-pruned.weights" "$work/i/res-pruned.weights"

"$bin" prune score "${net[@]}" -criterion magnitude -out "$work/s.json" >/dev/null
expect "select takes the block of lowest score" 0 "drops 1 block" "$bin" prune select "${net[@]}" -scores "$work/s.json" -drop-blocks 1 -macs 0.6 -out "$work/select.json"
expect "apply by that mask" 0 "drops 1 block" "$bin" prune apply "${net[@]}" -mask "$work/select.json" -verify 0 -out "$work/j"
expect "and by the same flags" 0 "drops 1 block" "$bin" prune apply "${net[@]}" -scores "$work/s.json" -drop-blocks 1 -macs 0.6 -verify 0 -out "$work/k"
same "write the same weights" "$work/j/res-pruned.weights" "$work/k/res-pruned.weights"
expect "more blocks than there are" 1 "-drop-blocks 4 cannot be reached: '$work/res.cfg' has 3 blocks" "$bin" prune apply "${net[@]}" -criterion magnitude -drop-blocks 4 -out "$work/x"
expect "blocks cannot be ranked by nothing" 2 "give '-scores FILE' or '-criterion C'" "$bin" prune apply "${net[@]}" -drop-blocks 1 -out "$work/x"
expect "a target cannot be met by nothing" 2 "a target needs a ranking" "$bin" prune apply "${net[@]}" -drop-block 3 -macs 0.5 -out "$work/x"
expect "-drop-blocks means nothing beside a mask" 2 "'-drop-blocks' has no meaning beside '-mask'" "$bin" prune apply "${net[@]}" -mask "$a.mask.json" -drop-blocks 1 -out "$work/x"
expect "a shortcut that closes no block says why" 1 "closes no block: it adds 16x16x16 of layer 6 to 8x8x24" "$bin" prune apply "${net[@]}" -drop-block 9 -out "$work/x"
expect "a block is named by its shortcut" 1 "layer 5 of '$work/res.cfg' is a [convolutional]" "$bin" prune apply "${net[@]}" -drop-block 5 -out "$work/x"
expect "a list that is none" 2 "'3;6' is not a list of layer numbers" "$bin" prune apply "${net[@]}" -drop-block '3;6' -out "$work/x"
expect "a protected layer keeps its block" 1 "holds a layer that is protected by the user" "$bin" prune apply "${net[@]}" -drop-block 6 -protect 4 -out "$work/x"
expect "-drop-blocks goes round it" 0 "drops 2 blocks: layers 1-3, layers 10-11" "$bin" prune apply "${net[@]}" -criterion magnitude -drop-blocks 2 -protect 4 -verify 0 -out "$work/l"
expect "flags of a selection mean nothing beside a block alone" 2 "'-multiple' has no meaning without a target" "$bin" prune apply "${net[@]}" -drop-block 3 -multiple 8 -out "$work/x"
expect "-other-weights means nothing without a mask" 2 "'-other-weights' has no meaning without '-mask FILE'" "$bin" prune apply "${net[@]}" -drop-block 3 -other-weights 1 -out "$work/x"
expect "a target out of reach names what the user protects" 1 "; protect fewer layers, or let more remain" "$bin" prune select "${net[@]}" -scores "$work/s.json" -macs 0.01 -protect 1 -out "$work/x.json"
printf 'classes=10\nvalid=%s\nnames=%s\n' "$work/v.txt" "$work/v.txt" >"$work/d.data"
echo x >"$work/v.txt"
expect "evaluate says that it cannot shut a block" 1 "drops whole blocks (the shortcut at layer 3), which this verb cannot shut" "$bin" prune evaluate "$work/d.data" "${net[@]}" -mask "$work/d/res-pruned.mask.json"
sed 's/"version":.*2/"version": 1/' "$work/d/res-pruned.mask.json" >"$work/old.json"
expect "blocks in a mask of version 1 are not passed over" 1 "is of version 1 and has 'blocks'" "$bin" prune apply "${net[@]}" -mask "$work/old.json" -out "$work/x"
tr -d '\n\t' <"$work/d/res-pruned.mask.json" | sed 's/"layers": *\[1, *3\]/"layers": [2, 3]/' >"$work/edited.json"
expect "layers of a block that it does not have" 1 "the block of the shortcut at layer 3 is layers 1 to 3, and the mask says [2,3]" "$bin" prune apply "${net[@]}" -mask "$work/edited.json" -out "$work/x"
if [ -e "$work/x" ] || [ -e "$work/x.json" ]; then bad "a refused command leaves nothing"; else ok "a refused command leaves nothing"; fi
if [ "$(cat "${net[@]}" | sha256sum)" = "$sum" ]; then ok "no input was touched"; else bad "no input was touched"; fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
