#!/usr/bin/env bash
# Bad inputs end in one clear sentence and exit code 1, and the host never sees them.
#   the table tests/golden/bad/expected.tsv through `prune inspect`: message, exit code, no layer table of the host
#   what a start of training or scoring can get wrong (data file, lists, images, labels, disk, numbers), made in a temporary folder
# Prints "ok NAME" or "FAIL NAME" for each, then "N passed, N failed".
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

darknet=$(realpath "${PRUNE_BIN:-bin/darknet}") root=$PWD
work=$(mktemp -d) passed=0 failed=0
trap 'rm -rf "$work"' EXIT

report() { # name, reason it failed (empty: passed)
    if [ -z "$2" ]; then
        passed=$((passed + 1))
        echo "ok $1"
    else
        failed=$((failed + 1))
        echo "FAIL $1: $2"
        sed -n '1,6s/^/    /p' "$work/err"
    fi
}
# Runs darknet with the arguments and judges exit code and message, into $why; the last line of stderr is the message.
judge() { # exit code, message fragment, arguments...
    local code=$1 message=$2 rc
    shift 2
    why=
    timeout 60 "$darknet" "$@" >"$work/out" 2>"$work/err" </dev/null
    rc=$?
    if [ $rc -ne "$code" ]; then why="exit code $rc, not $code"
    elif [ -n "$message" ] && ! grep -qF -- "$message" "$work/err"; then why="does not say: $message"; fi
}
expect() { # name, exit code, message fragment, arguments...
    local why
    judge "${@:2}"
    if [ -z "$why" ] && grep -qE '^layer +filters' "$work/err"; then why="the host read it first"; fi
    report "$1" "$why"
}
# As expect, where the host may have built the network already (the images are read by then).
expect_later() {
    local why
    judge "${@:2}"
    report "$1" "$why"
}

# ---- the table ----
while IFS=$'\t' read -r files message code; do
    case $files in '#'*) continue ;; esac
    read -r cfg weights <<<"$files"
    if [ -n "$weights" ]; then expect "$files" "$code" "$message" prune inspect "tests/golden/bad/$cfg" "tests/golden/bad/$weights"
    else expect "$files" "$code" "$message" prune inspect "tests/golden/bad/$cfg"; fi
done <tests/golden/bad/expected.tsv
for good in tests/golden/good/*.cfg; do expect "$(basename "$good") is accepted" 0 '' prune inspect "$good"; done
# the other verbs check as inspect does
bad=tests/golden/bad good=tests/golden/good
expect 'apply checks its weights' 1 'ends in layer 0 weights' prune apply $good/tiny.cfg $bad/truncated.weights -criterion magnitude -macs 0.5 -out "$work/apply"
expect 'score checks its cfg' 1 'filters is 0' prune score $bad/filters-zero.cfg $good/tiny.weights -criterion magnitude -out "$work/s.json"
if [ -e "$work/apply/tiny-pruned.weights" ] || [ -e "$work/s.json" ]; then report 'nothing half-written' 'outputs exist'; else report 'nothing half-written' ''; fi

# ---- training and scoring ----
cd "$work" || exit 1
cp "$root"/$good/tiny.cfg "$root"/$good/tiny.weights .
/usr/bin/python3 - <<'PYTHON'
import os, struct, zlib
def png(path, side, shade):
    rows = b''.join(b'\0' + bytes([(x * 7 + y * shade) % 256 for x in range(side) for _ in range(3)]) for y in range(side))
    chunk = lambda kind, data: struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
    open(path, 'wb').write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)) + chunk(b'IDAT', zlib.compress(rows)) + chunk(b'IEND', b''))
for i in range(4): png('%s_%d.png' % ('cat' if i % 2 else 'dog', i), 8, 3 + i)
for name in 'good', 'unlabelled', 'class', 'nan', 'outside', 'short': png(name + '.png', 32, 5)
open('text.txt', 'w').write('0 .5 .5 .4 .4\n')
open('good.txt', 'w').write('1 .5 .5 .4 .4\n')
open('class.txt', 'w').write('0 .5 .5 .4 .4\n2 .5 .5 .4 .4\n')
open('nan.txt', 'w').write('0 .5 nan .4 .4\n')
open('outside.txt', 'w').write('0 .5 1.5 .4 .4\n')
open('short.txt', 'w').write('0 .5 .5 .4\n')
open('text.png', 'w').write('no image at all\n')
open('cut.png', 'wb').write(open('dog_0.png', 'rb').read()[:60])
PYTHON
printf 'cat\ndog\n' >labels
printf '%s\n' dog_0.png cat_1.png dog_2.png cat_3.png >train.list
: >empty.list
data() { # name, list, further lines...: a data file
    local name=$1 list=$2
    shift 2
    { printf 'classes=2\ntrain=%s\nvalid=%s\nlabels=labels\nbackup=backup\n' "$list" "$list"; [ $# -eq 0 ] || printf '%s\n' "$@"; } >"$name.data"
}
list() { # name, paths...
    local name=$1
    shift
    printf '%s\n' "$@" >"$name.list"
    data "$name" "$name.list"
}
data good train.list
data empty empty.list
data no-list absent.list
list unreadable dog_0.png text.png
list cut dog_0.png cut.png
list missing dog_0.png absent.png
# shellcheck disable=SC2016  # a name that a shell would act on, to be taken literally
list shell dog_0.png '$(touch pwned);`touch pwned`.png'
printf 'classes=2\nvalid=train.list\nlabels=labels\n' >no-train.data
printf 'classes=2\ntrain=train.list\nlabels=absent.labels\n' >no-labels.data
printf 'classes=none\ntrain=train.list\nlabels=labels\n' >classes.data
sed 's/^batch=1$/batch=2\nmax_batches=3\nlearning_rate=0.01/' tiny.cfg >train.cfg
sed 's/^learning_rate=.*/learning_rate=1e30/' train.cfg >explode.cfg

classifier() { local name=$1 message=$2; shift 2; expect_later "classifier: $name" 1 "$message" classifier train "$@"; }
classifier 'a missing data file' "'absent.data': No such file or directory" absent.data train.cfg
classifier 'a data file without train' "'no-train.data'" no-train.data train.cfg
classifier 'classes that are no number' "classes.data:1" classes.data train.cfg
classifier 'a missing list' "'absent.list': No such file or directory" no-list.data train.cfg
classifier 'an empty list' "'empty.list'" empty.data train.cfg
classifier 'missing labels' "'absent.labels'" no-labels.data train.cfg
classifier 'a missing image' "'absent.png'" missing.data train.cfg
classifier 'a text as image' "'text.png'" unreadable.data train.cfg
classifier 'half an image' "'cut.png'" cut.data train.cfg
# shellcheck disable=SC2016
classifier 'a name with shell commands' '$(touch pwned)' shell.data train.cfg
if [ -e pwned ] || [ -e bad.list ]; then report 'no shell ran' 'a file appeared'; else report 'no shell ran' ''; fi
classifier 'a loss that explodes' "loss is nan at iteration 2: the weights were not changed" good.data explode.cfg
expect 'classifier: truncated weights' 1 "byte" classifier train good.data train.cfg "$root/$bad/truncated.weights"
expect 'classifier: a cfg that would crash the host' 1 "subdivisions is 0" classifier train good.data "$root/$bad/subdivisions-zero.cfg"
rm -rf backup
expect_later 'classifier: a missing backup folder is made' 0 '' classifier train good.data train.cfg
if ls backup/train*.weights >/dev/null 2>&1; then report 'classifier: weights lie there' ''; else report 'classifier: weights lie there' 'none found'; fi
# A full disk: no file may grow (bash ignores the signal for the child, so writes fail with EFBIG). The pair on disk stays as it was.
before=$(cat backup/* | cksum)
(trap '' XFSZ && ulimit -f 0 && exec "$darknet" classifier train good.data train.cfg) >/dev/null 2> >(cat >"$work/err"); rc=$?
if [ $rc -ne 1 ]; then report 'classifier: a full disk' "exit code $rc, not 1"
elif [ "$before" != "$(cat backup/* | cksum)" ]; then report 'classifier: a full disk' 'files changed'
elif compgen -G 'backup/.*.tmp.*' >/dev/null; then report 'classifier: a full disk' 'a temporary file is left'
else report 'classifier: a full disk' ''; fi

cat >yolo.cfg <<'CFG'
[net]
batch=1
height=32
width=32
channels=3
max_batches=2
learning_rate=0.001

[convolutional]
filters=7
size=3
stride=2
pad=1
activation=linear

[yolo]
mask=0
anchors=8,8
classes=2
num=1
CFG
detector() { # name, message, image
    printf '%s\n' "$3" >boxes.list
    data boxes boxes.list
    expect_later "detector: $1" 1 "$2" detector train boxes.data yolo.cfg
}
detector 'a missing label file' "'unlabelled.txt'" unlabelled.png
detector 'a class out of range' "class.txt:2: class 2 is not one of 0..1" class.png
detector 'a NaN in a label' "nan.txt:1: y is not finite" nan.png
detector 'a box outside the image' "outside.txt:1: y is 1.5" outside.png
detector 'a label of four numbers' "short.txt:1: '0 .5 .5 .4' is not of the form 'class x y w h'" short.png
detector 'a missing image' "'absent.png'" absent.png
detector 'a text as image' "'text.png'" text.png
printf 'good.png\n' >boxes.list
expect_later 'detector: a good image trains' 0 '' detector train boxes.data yolo.cfg

score() { local name=$1 message=$2; shift 2; expect_later "score: $name" 1 "$message" prune score "$@" -out scores.json; }
score 'a missing data file' "'absent.data': No such file or directory" absent.data tiny.cfg tiny.weights
score 'an empty list' "'empty.list'" empty.data tiny.cfg tiny.weights
score 'a missing list' "'absent.list'" no-list.data tiny.cfg tiny.weights
score 'a missing image' "'absent.png'" missing.data tiny.cfg tiny.weights
score 'a text as image' "'text.png'" unreadable.data tiny.cfg tiny.weights
score 'weights with a NaN' "layer 0 weights[4] is nan" good.data tiny.cfg "$root/$bad/nan.weights"
expect 'score: an unknown criterion' 2 "unknown criterion 'best-of-all'" prune score good.data tiny.cfg tiny.weights -criterion best-of-all -out scores.json
if [ -e scores.json ]; then report 'score: nothing is written on failure' 'scores.json exists'; else report 'score: nothing is written on failure' ''; fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
