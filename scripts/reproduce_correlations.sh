#!/usr/bin/env bash
# docs/results.md, tables of criteria against the oracle (Tables 1 and 2 of the Taylor paper) on the user's own copies of the networks.
# usage: scripts/reproduce_correlations.sh DATA REFERENCE OUT NETWORK [SET...]
#   DATA: folder with cifar10/, coco416/ and weights/    REFERENCE: folder with scoring_images.txt
#   NETWORK: resnet20, resnet56, yolo-fastest-1.1, or the path of a cfg of a CIFAR-10 classifier with its weights beside it
#   SET: train  training images as they are      drawn  training images augmented as in training      test  test images
#        user   scores from the training images, oracle on test images: what a user needs        (default: all four)
# ResNet-20: every unit, 1,000 images. Larger networks: 300 units drawn from all layers, 200 images. The exact second derivatives (taylor-so, obd: two passes a unit)
# are taken on set train alone (EXACT= leaves them out).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

data=${1:?usage: scripts/reproduce_correlations.sh DATA REFERENCE OUT NETWORK [SET...]} reference=${2:?the folder of the reference} out=${3:?a folder for the tables}
network=${4:?a network} bin=${BIN:-bin}
shift 4
sets=("${@:-train drawn test user}")
read -ra sets <<<"${sets[*]}"
mkdir -p "$out"
list=$data/cifar10/cifar10.data
criteria=taylor-fo,taylor-fo@before-bn,taylor-fo@after-activation,taylor-fg,taylor-fg@before-bn,taylor-weight,taylor-weight-group,bn-taylor,taylor-output
criteria+=,taylor-so-hutchinson,taylor-so-gn,taylor-so-row,obd-hutchinson,obd-gn
criteria+=,magnitude,magnitude-l1,magnitude-layer,grad-magnitude,grad-magnitude-layer,bn-scale,fpgm,hrank,random
size=(-images 200 -units 300)
images=()
case $network in
resnet20|resnet56)
    pair=$data/weights/resnet-cifar10/$network
    protect=(-protect 0)                              # the normalisation of the input
    { cat "$list"; echo pad_crop=4; } >"$out/cifar10.data"   # drawn as the published networks were trained
    list=$out/cifar10.data
    ;;
yolo-fastest-1.1)
    pair=$data/weights/yolo-fastest/$network list=$data/coco416/coco416.data protect=()
    size=(-images 100 -units 300)
    ;;
*) pair=${network%.cfg} protect=() ;;
esac
case $network in
yolo*) ;;
*)  criteria+=,taylor-logits,taylor-logits-greedy
    awk 'NR == FNR {path[NR - 1] = $0; next} {print path[$1]}' "$data/cifar10/train.txt" "$reference/scoring_images.txt" >"$out/images.txt"
    images=(-list "$out/images.txt") ;;
esac
[ "$network" = resnet20 ] && size=(-images 1000)
for set in "${sets[@]}"; do
    exact=
    case $set in
    train) flags=("${images[@]}") exact=${EXACT-,taylor-so,obd} ;;
    drawn) flags=(-drawn 1 -seed "${SEED:-1}") ;;
    test) flags=(-role valid) ;;
    user) flags=("${images[@]}" -oracle-role valid) ;;
    esac
    "$bin/darknet" prune correlate "$list" "$pair.cfg" "$pair.weights" -criteria "$criteria$exact" -minibatch 128 "${size[@]}" "${protect[@]}" "${flags[@]}" \
        -out "$out/$(basename "$pair")-$set" | tee "$out/$(basename "$pair")-$set.txt"
done
