#!/usr/bin/env bash
# The training verbs and the hand-over to the stock darknet, on a data set of 24 small images drawn here.
set -uo pipefail
bin=${PRUNE_BIN:-bin/darknet}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/cli/expect.inc
. "$(dirname "${BASH_SOURCE[0]}")/expect.inc"

/usr/bin/python3 - "$work" <<'EOF' || { echo "FAIL: cannot draw the images"; exit 1; }
import sys, os, numpy as np, cv2
work, rng = sys.argv[1], np.random.default_rng(1)
for d in 'images', 'labels': os.makedirs(f'{work}/{d}')
with open(f'{work}/list.txt', 'w') as f:
    for i in range(24):
        im = rng.integers(0, 60, (32, 32, 3), np.uint8)
        wide = i % 2 == 0
        w, h = (16, 8) if wide else (8, 16)
        x, y = int(rng.integers(0, 32 - w)), int(rng.integers(0, 32 - h))
        im[y:y + h, x:x + w] = 220
        name = f"{i:02d}_{'wide' if wide else 'high'}"
        cv2.imwrite(f'{work}/images/{name}.png', im)
        f.write(f'{work}/images/{name}.png\n')
        with open(f'{work}/labels/{name}.txt', 'w') as t: t.write(f'{i % 2} {(x + w / 2) / 32} {(y + h / 2) / 32} {w / 32} {h / 32}\n')
EOF
printf 'wide\nhigh\n' >"$work/names"
printf 'classes=2\ntrain=%s/list.txt\nvalid=%s/list.txt\nnames=%s/names\nbackup=%s/new/backup\n' "$work" "$work" "$work" "$work" >"$work/set.data"
net() { printf '[net]\nbatch=%s\nsubdivisions=%s\nwidth=32\nheight=32\nchannels=3\nlearning_rate=%s\nmomentum=0.9\ndecay=0.0005\npolicy=constant\nmax_batches=%s\n\n' "$@"; }
conv() { printf '[convolutional]\nbatch_normalize=1\nfilters=%s\nsize=3\nstride=%s\npad=1\nactivation=leaky\n\n' "$@"; }
class_net() { net 8 2 "$1" "$2"; conv 4 2; conv 6 1; printf '[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation=linear\n\n[avgpool]\n\n[softmax]\n'; }
class_net .05 9 >"$work/small.cfg"
{ net 4 1 .001 6; conv 8 2; conv 8 2; printf '[convolutional]\nfilters=14\nsize=1\nstride=1\nactivation=linear\n\n[yolo]\nmask=0,1\nanchors=16,8, 8,16\nclasses=2\nnum=2\n'; } >"$work/box.cfg"
backup=$work/new/backup

# the classifier
expect 'classifier train runs to max_batches' 0 '9, 3.000: ' "$bin" classifier train "$work/set.data" "$work/small.cfg" -seed 5
holds 'a missing backup folder is made' "$backup"
for f in small_1.weights small_2.weights small_3.weights small_final.weights; do holds "one backup per epoch and a final one: $f" "$backup/$f"; done
if grep -q 'Saving weights to .*small_final.weights' "$work/err"; then ok 'saving is told on stderr'; else bad 'saving is told on stderr'; fi
lines=$(grep -cE '^[0-9]+, [0-9.]+: [0-9.]+, [0-9.]+ avg, [0-9.]+ rate, [0-9.]+ seconds, [0-9]+ images$' "$work/out")
if [ "$lines" -eq 9 ]; then ok "a line of Darknet's form per iteration"; else bad "$lines lines of Darknet's form, 9 expected"; fi
cp "$backup/small_final.weights" "$work/first.weights"
expect 'the same seed again' 0 '' "$bin" classifier train "$work/set.data" "$work/small.cfg" -seed 5
same 'a seed repeats a run byte for byte' "$work/first.weights" "$backup/small_final.weights"
expect 'another seed' 0 '' "$bin" -nogpu classifier train "$work/set.data" "$work/small.cfg" -seed 6 -nogpu
if cmp -s "$work/first.weights" "$backup/small_final.weights"; then bad 'another seed gives other weights'; else ok 'another seed gives other weights'; fi

# trained weights
expect 'weights past max_batches say so' 1 'past max_batches=9' "$bin" classifier train "$work/set.data" "$work/small.cfg" "$work/first.weights"
expect '-iterations trains them on' 0 '4, 1.333: ' "$bin" classifier train "$work/set.data" "$work/small.cfg" "$work/first.weights" -iterations 4
seen=$(od -A n -t u8 -j 12 -N 8 "$backup/small_final.weights" | tr -d ' ')
if [ "$seen" -eq 104 ]; then ok 'seen only grows'; else bad "seen is $seen, 104 expected"; fi
expect '-clear starts over' 0 '9, 3.000: ' "$bin" classifier train "$work/set.data" "$work/small.cfg" "$work/first.weights" -clear
class_net .05 12 >"$work/longer.cfg"
expect 'weights before max_batches go on where they stood' 0 '10, 3.333: ' "$bin" classifier train "$work/set.data" "$work/longer.cfg" "$work/first.weights"
if grep -q '^9, ' "$work/out"; then bad 'no iteration is done twice'; else ok 'no iteration is done twice'; fi
head -c $((20 + 4 * (4 * 4 + 4 * 27))) "$work/first.weights" >"$work/prefix.conv.1"
expect 'weights of the first layers are taken, with a note' 0 'NOTE: ' "$bin" classifier train "$work/set.data" "$work/small.cfg" "$work/prefix.conv.1" -clear
head -c 100 "$work/first.weights" >"$work/cut.weights"
expect 'weights cut inside a layer are refused' 1 'cut.weights' "$bin" classifier train "$work/set.data" "$work/small.cfg" "$work/cut.weights"

# failures
class_net 1e30 9 >"$work/nan.cfg"
expect 'a loss that is no number stops the run' 1 'at iteration 2' "$bin" classifier train "$work/set.data" "$work/nan.cfg"
expect 'and says that nothing was saved' 1 'no weights had been saved yet' "$bin" classifier train "$work/set.data" "$work/nan.cfg"
if [ -e "$backup/nan_final.weights" ]; then bad 'no weights of a diverged run'; else ok 'no weights of a diverged run'; fi
sed "s|^train=.*|train=$work/gone.txt|" "$work/set.data" >"$work/gone.data"
expect 'a missing list is named' 1 'gone.txt' "$bin" classifier train "$work/gone.data" "$work/small.cfg"
sed "s|^backup=.*|backup=$work/names/x|" "$work/set.data" >"$work/nodir.data"
expect 'a backup folder that cannot be made is an error before training' 1 'backup folder' "$bin" classifier train "$work/nodir.data" "$work/small.cfg"
{ cat "$work/list.txt"; echo "$work/images/99_wide.png"; } >"$work/long.txt"
sed "s|^train=.*|train=$work/long.txt|" "$work/set.data" >"$work/absent.data"
expect 'a missing image is named before training' 1 '99_wide.png' "$bin" classifier train "$work/absent.data" "$work/small.cfg"
expect 'a detector cfg is sent to its verb' 1 "use 'darknet detector train'" "$bin" classifier train "$work/set.data" "$work/box.cfg"
expect 'an unknown flag is bad usage' 2 '-nonsense' "$bin" classifier train "$work/set.data" "$work/small.cfg" -nonsense
expect 'too few arguments are bad usage' 2 'usage: darknet classifier train' "$bin" classifier train "$work/set.data"
expect 'the help is complete' 0 '-iterations N' "$bin" detector train -help

# Ctrl-C: after the first printed iteration
class_net .01 1000000 >"$work/endless.cfg"
interrupt 'images' "$work/out" "$bin" classifier train "$work/set.data" "$work/endless.cfg"
rc=$?
if [ $rc -eq 1 ] && grep -qF "the weights so far are in '$backup/endless.backup'" "$work/err"; then ok 'Ctrl-C saves and says where'; else bad "Ctrl-C: exit code $rc"; fi
expect 'and the run goes on from there' 1 'past max_batches' "$bin" classifier train "$work/set.data" "$work/small.cfg" "$work/first.weights"
holds 'the weights of the interrupted run' "$backup/endless.backup"

# the detector
expect 'detector train runs to max_batches' 0 '6: ' "$bin" detector train "$work/set.data" "$work/box.cfg"
holds 'final weights of the detector' "$backup/box_final.weights"
lines=$(grep -cE '^[0-9]+: [0-9.]+, [0-9.]+ avg, [0-9.]+ rate, [0-9.]+ seconds, [0-9]+ images$' "$work/out")
if [ "$lines" -eq 6 ]; then ok "a line of Darknet's form per iteration (detector)"; else bad "$lines detector lines, 6 expected"; fi
cp "$work/labels/03_high.txt" "$work/kept"
echo '7 .5 .5 .1 .1' >>"$work/labels/03_high.txt"
expect 'a class out of range is named with file and line' 1 '03_high.txt:2: class 7' "$bin" detector train "$work/set.data" "$work/box.cfg"
rm "$work/labels/03_high.txt"
expect 'a missing label file is named' 1 '03_high.txt' "$bin" detector train "$work/set.data" "$work/box.cfg"
mv "$work/kept" "$work/labels/03_high.txt"

# pruning before training: the same fresh weights all the way
fresh=("$bin" prune score "$work/set.data" "$work/small.cfg" -at-init -seed 3 -recalibrate 16 -minibatch 8)
expect 'fresh weights are scored' 0 'fresh weights of seed 3, statistics of 16 images' "${fresh[@]}" -init-weights "$work/fresh.weights" -criterion sosp-i,sosp-h -out "$work/fresh.json"
expect 'the same seed makes the same weights' 0 '' "${fresh[@]}" -init-weights "$work/again.weights" -criterion sosp-i -out "$work/again.json"
same 'to the byte' "$work/fresh.weights" "$work/again.weights"
expect 'weights that are there are not overwritten' 1 "'$work/fresh.weights' exists, and fresh weights would overwrite it" "${fresh[@]}" -init-weights "$work/fresh.weights" -criterion sosp-i -out "$work/x.json"
same 'not even touched' "$work/fresh.weights" "$work/again.weights"
expect 'they give the scores that -at-init gave' 0 '' "$bin" prune score "$work/set.data" "$work/small.cfg" "$work/fresh.weights" -seed 3 -minibatch 8 -criterion sosp-i -out "$work/later.json"
if diff <(grep -o '"score":[^,}]*' "$work/later.json") <(grep -o '"score":[^,}]*' "$work/again.json") >/dev/null; then ok 'number for number'; else bad 'number for number'; fi
expect 'select takes the file' 0 'mask written' "$bin" prune select "$work/small.cfg" "$work/fresh.weights" -scores "$work/fresh-sosp-h.json" -macs 0.6 -out "$work/fresh.mask.json"
expect 'apply takes it' 0 '' "$bin" prune apply "$work/small.cfg" "$work/fresh.weights" -mask "$work/fresh.mask.json" -out "$work/fresh"
expect 'and training begins where scoring was' 0 'wrote' "$bin" prune finetune "$work/set.data" "$work/fresh/small-pruned.cfg" "$work/fresh/small-pruned.weights" -length 1 -out "$work/fresh/tuned.weights"
# evaluate -recalibrate measures what finetune -recalibrate writes, and writes nothing itself
pair=("$work/fresh/small-pruned.cfg" "$work/fresh/small-pruned.weights")
sum=$(sha256sum "${pair[1]}")
expect 'statistics alone' 0 'wrote' "$bin" prune finetune "$work/set.data" "${pair[@]}" -length 0i -recalibrate 16 -out "$work/fresh/averaged.weights"
expect 'evaluated after it' 0 'top-1' "$bin" prune evaluate "$work/set.data" "${pair[0]}" "$work/fresh/averaged.weights"
written=$(grep '^loss' "$work/out")
expect 'evaluated as they are' 0 'top-1' "$bin" prune evaluate "$work/set.data" "${pair[@]}"
asis=$(grep '^loss' "$work/out")
expect 'evaluate -recalibrate' 0 'top-1' "$bin" prune evaluate "$work/set.data" "${pair[@]}" -recalibrate 16
if [ "$(grep '^loss' "$work/out")" = "$written" ] && [ "$asis" != "$written" ]; then ok 'the same loss as with the written statistics'; else bad "losses $written, $asis, $(cat "$work/out")"; fi
if [ "$(sha256sum "${pair[1]}")" = "$sum" ]; then ok 'the weights file is untouched'; else bad 'the weights file is untouched'; fi

# a wider cfg trains from scratch, classifier and detector
expect 'scores at the start make a wider cfg' 0 "no weights: train it from scratch" "$bin" prune expand "$work/small.cfg" -scores "$work/fresh-sosp-h.json" -macs 0.6 -count 2 -out "$work/wide.cfg"
expect 'in which every layer but the last is wider' 0 '8 12 2 ' bash -c "sed -n 's/^filters=//p' '$work/wide.cfg' | tr '\\n' ' '"
expect 'and which opens and trains' 0 '9, 3.000: ' "$bin" classifier train "$work/set.data" "$work/wide.cfg"
expect 'a detector is scored' 0 'saved random' "$bin" prune score "$work/box.cfg" -criterion random -out "$work/box.json"
expect 'and made wider' 0 "darknet detector train <data> $work/wide-box.cfg" "$bin" prune expand "$work/box.cfg" -scores "$work/box.json" -units 0.7 -by stage -count 2 -factor 1.5 -out "$work/wide-box.cfg"
expect 'in all but what its head reads' 0 '12 12 14 ' bash -c "sed -n 's/^filters=//p' '$work/wide-box.cfg' | tr '\\n' ' '"
expect 'and trains, too' 0 '6, ' "$bin" detector train "$work/set.data" "$work/wide-box.cfg"

expect '-at-init needs a place for its weights' 2 "'-at-init' needs '-init-weights FILE'" "${fresh[@]}" -criterion sosp-i -out "$work/x.json"
expect '-at-init takes no weights' 2 'give <data> <cfg> and no weights' "$bin" prune score "$work/set.data" "$work/small.cfg" "$work/fresh.weights" -at-init -init-weights "$work/y.weights" -criterion sosp-i -out "$work/x.json"
expect '-init-weights alone is a mistake' 2 "'-init-weights' has no meaning without '-at-init'" "$bin" prune score "$work/set.data" "$work/small.cfg" "$work/fresh.weights" -init-weights "$work/y.weights" -criterion sosp-i -out "$work/x.json"

# handing over
printf '#!/bin/sh\necho "stock: $*"\nexit 7\n' >"$work/stock"
chmod +x "$work/stock"
expect 'everything else goes to the stock program, exit code included' 7 'stock: detector test a b c -thresh .1' env DARKNET_STOCK="$work/stock" "$bin" detector test a b c -thresh .1
expect 'also unknown words' 7 'stock: nonsense' env DARKNET_STOCK="$work/stock" "$bin" nonsense
expect 'also in front of the noun' 7 'stock: -i 0 imagetest' env DARKNET_STOCK="$work/stock" "$bin" -i 0 imagetest
expect 'a missing stock program is an error' 1 "'$work/none'" env DARKNET_STOCK="$work/none" "$bin" detector test
expect 'this program never hands over to itself' 1 'is this program' env DARKNET_STOCK="$bin" "$bin" detector test
expect '-version' 0 'darknet prune ' "$bin" -version
expect '--version' 0 'darknet prune ' "$bin" --version
expect '-help names prune and the hand-over' 0 'handed to the installed darknet' "$bin" -help
expect 'no arguments: the same help, as bad usage' 2 'darknet prune <verb>' "$bin"
if [ -x /usr/bin/darknet ] && [ -z "${DARKNET_STOCK:-}" ]; then
    expect 'the stock classifier reads our weights' 0 '%: ' "$bin" classifier predict "$work/set.data" "$work/small.cfg" "$work/first.weights" "$work/images/00_wide.png"
fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
