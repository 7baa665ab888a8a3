#!/usr/bin/env bash
# Malformed inputs and bad places for outputs: one clear sentence, exit code 1, ./bounded memory, nothing left behind, inputs as they were.
# (What goes wrong while a file is written: test_faults.py.) docs/faults.md lists all of it. Prints "ok NAME" or "FAIL NAME: why", then "N passed, N failed".
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

darknet=$(realpath "${PRUNE_BIN:-bin/darknet}") good=$PWD/tests/golden/good
if [ -w /dev/shm ]; then work=$(mktemp -d /dev/shm/faults.XXXXXX); else work=$(mktemp -d); fi
passed=0 failed=0 skipped=0
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
chmod 755 "$work"
cp "$darknet" "$work/darknet"   # where anyone may run it
# shellcheck disable=SC2016  # for the script
printf '#!/bin/sh\nexec "%s" prune "$@"\n' "$work/darknet" >"$work/prune"
chmod 755 "$work/prune"
cp "$good/tiny.cfg" "$work/tiny.cfg"
cp "$good/tiny.weights" "$work/tiny.weights"
cd "$work" || exit 1
mkdir out
inputs=$(cat tiny.cfg tiny.weights | cksum)

report() { # name, why it failed (empty: passed)
    if [ -z "$2" ]; then passed=$((passed + 1)); echo "ok $1"; else
        failed=$((failed + 1))
        echo "FAIL $1: $2"
        sed -n '1,6s/^\(.\{300\}\).*/\1/p;1,6p' "$work/err" | tr -d '\000' | cut -c1-300 | sed 's/^/    /'
    fi
}
skip() { skipped=$((skipped + 1)); echo "skip: $1"; }
# Runs a command; judges exit code, message, that out/ is as empty as before, and that the inputs are untouched.
fails() { # name, message fragment, command...; code=N in front: the exit code that is right
    local name=$1 message=$2 rc why=
    shift 2
    timeout -k 5 120 "$@" >"$work/text" 2>"$work/err" </dev/null
    rc=$?
    if [ $rc -ne "${code:-1}" ]; then why="exit code $rc, not ${code:-1}"
    elif ! grep -qaF -- "$message" err; then why="does not say: $message"
    elif [ "$(grep -vc '^see: darknet prune' err)" -ne 1 ]; then why="more than one line"
    elif [ -n "$(ls -A out)" ]; then why="left in out/: $(ls -A out)"
    elif [ "$(cat tiny.cfg tiny.weights | cksum)" != "$inputs" ]; then why="an input was changed"
    fi
    report "$name" "$why"
}
# Address space for a cfg: 80 times the largest that is read, and the program itself. A sanitizer reserves terabytes: no limit then.
if [ -z "${SAN:-}" ]; then limit="ulimit -v $((80 * 4096 + 65536))"; else limit=:; fi
printf '#!/bin/sh\n%s\nexec "%s" prune "$@"\n' "$limit" "$work/darknet" >bounded
chmod 755 bounded
by_weights=(-criterion magnitude -units 0.5 -verify 0)

# ---- cfgs of absurd sizes: 4 MiB are read, more is refused unread ----
net=$'[net]\nbatch=1\nheight=8\nwidth=8\nchannels=3\n'
fill() { # file, text in front, line, bytes
    { printf '%s' "$2"; yes "$3" | tr -d "${5:-}" | head -c "$4"; echo; } >"$1"
}
megabytes=$((4 * 1048576 - 200))
fill line.cfg "$net[convolutional]"$'\n''name=' x 100000000 $'\n'
fails 'a line of 100 MB' "cannot read 'line.cfg': 100000064 bytes, where 4194304 are the most" ./bounded inspect line.cfg
fill sections.cfg "$net" '[dropout]' 100000000
fails '10 million sections' "cannot read 'sections.cfg'" ./bounded inspect sections.cfg
fill options.cfg "$net[convolutional]"$'\n' 'a=1' 40000000
fails '10 million options' "cannot read 'options.cfg'" ./bounded inspect options.cfg
truncate -s 10G sparse.cfg
fails 'a cfg of 10 GB' "cannot read 'sparse.cfg': 10737418240 bytes" ./bounded inspect sparse.cfg
rm sparse.cfg line.cfg sections.cfg options.cfg
fill line.cfg "$net[convolutional]"$'\n''name=' x $megabytes $'\n'
fails 'a value of 4 MiB' "line.cfg:7': unknown key 'name'" ./bounded inspect line.cfg
fill line.cfg "$net[convolutional]"$'\n''filters=' 9 $megabytes $'\n'
fails 'a number of 4 million digits' "line.cfg:7': filters is '99999" ./bounded inspect line.cfg
fill line.cfg "$net" '[a]' $megabytes
fails '1 million unknown sections' "unknown section [a]" ./bounded inspect line.cfg
fill line.cfg "$net[convolutional]"$'\n' 'a=1' $megabytes
fails '1 million unknown options' "line.cfg:7': unknown key 'a'" ./bounded inspect line.cfg
fill line.cfg "$net[convolutional]"$'\n' 'size=1' $megabytes
fails '600,000 times the same option' "line.cfg" ./bounded apply line.cfg tiny.weights "${by_weights[@]}" -out out
fill line.cfg "$net[convolutional]"$'\n[route]\nlayers=' '0,' $megabytes $'\n'
fails 'a route of 2 million sources' "line.cfg:8': layers is '0,0" ./bounded inspect line.cfg
fill line.cfg "$net[convolutional]"$'\nfilters=1\nsize=1\n[route]\nlayers=0' ',0' $megabytes $'\n'
fails 'a route of 2 million sources that exist' "cannot read 'tiny.weights': 520 bytes left over" ./bounded apply line.cfg tiny.weights "${by_weights[@]}" -out out
fill line.cfg '' '#' $megabytes
fails '2 million comments' "'line.cfg': it" ./bounded inspect line.cfg
fill line.cfg '' x $megabytes $'\n'
fails 'a line of 4 MiB that means nothing' "line.cfg:1" ./bounded inspect line.cfg
rm line.cfg

# ---- things that are no files; files that cannot be read ----
mkdir folder
mkfifo pipe
ln -s loop-b loop-a && ln -s loop-a loop-b
ln -s absent dangling
if [ "$(id -u)" -eq 0 ]; then anyone=(setpriv --reuid=65534 --regid=65534 --clear-groups --); else anyone=(); fi
for argument in cfg weights mask scores; do
    for case in 'folder|it is a folder, not a file' 'pipe|it is a special file, not a file' '/dev/zero|it is a special file, not a file' 'loop-a|Too many levels of symbolic links' \
        'dangling|No such file or directory' 'absent|No such file or directory' 'tiny.cfg/x|Not a directory' '|No such file or directory'; do
        bad=${case%%|*}
        case $argument in
            cfg) arguments=("$bad" tiny.weights "${by_weights[@]}") ;;
            weights) arguments=(tiny.cfg "$bad" "${by_weights[@]}") ;;
            mask) arguments=(tiny.cfg tiny.weights -mask "$bad") ;;
            *) arguments=(tiny.cfg tiny.weights -scores "$bad" -units 0.5) ;;
        esac
        fails "$argument is '$bad'" "'$bad': ${case#*|}" "$work/prune" apply "${arguments[@]}" -out out
    done
done
cp tiny.cfg secret.cfg && cp tiny.weights secret.weights && chmod 000 secret.*
chmod 777 out
fails 'no permission to read the cfg' "cannot read 'secret.cfg': Permission denied" "${anyone[@]}" "$work/prune" apply secret.cfg tiny.weights "${by_weights[@]}" -out out
fails 'no permission to read the weights' "cannot read 'secret.weights': Permission denied" "${anyone[@]}" "$work/prune" apply tiny.cfg secret.weights "${by_weights[@]}" -out out
rm -f secret.*

# ---- weights ----
: >w0
printf x >w1
head -c 19 tiny.weights >w19
head -c 20 tiny.weights >w20
head -c 555 tiny.weights >w555
{ cat tiny.weights; printf x; } >w557
truncate -s 10G w10g
printf '[net]\nbatch=1\nsubdivisions=1\n' >wtext
for case in 'w0|0 bytes, the header alone needs 16' 'w1|1 bytes, the header alone needs 16' 'w19|19 bytes, the header alone needs 20' 'w20|20 bytes, cfg needs 556 (ends in layer 0 biases)' \
    'w555|555 bytes, cfg needs 556 (ends in layer 2 weights)' 'w557|1 bytes left over after the last layer' 'w10g|bytes left over after the last layer (10737418240 bytes' 'wtext|this is no weights file'; do
    fails "weights ${case%%|*}" "cannot read '${case%%|*}': " "$work/prune" apply tiny.cfg "${case%%|*}" "${by_weights[@]}" -out out
    if grep -qF -- "${case#*|}" err; then report "weights ${case%%|*}: the reason" ''; else report "weights ${case%%|*}: the reason" "does not say: ${case#*|}"; fi
done
rm w10g

# ---- masks and scores ----
"$work/prune" score tiny.cfg tiny.weights -criterion magnitude -out scores.json >text 2>err || report 'scores are written' 'failed'
"$work/prune" select tiny.cfg tiny.weights -scores scores.json -units 0.5 -out mask.json >text 2>err || report 'a mask is written' 'failed'
with_mask() { fails "mask: $1" "$2" ./bounded apply tiny.cfg tiny.weights -mask bad.json -verify 0 -out out; }
with_scores() { fails "scores: $1" "$2" ./bounded apply tiny.cfg tiny.weights -scores bad.json -units 0.5 -verify 0 -out out; }
deep() { /usr/bin/python3 -c "n = 1000000; print(('$1' * n + '$2' * n)[:${3:-3 * n}])"; }
fill bad.json '{"format":"darknet-prune-mask","version":1,"removed":[' '1,' 40000000 $'\n'
with_mask '20 million numbers' "cannot read 'bad.json': 40000055 bytes, where 33554432 are the most"
with_scores '20 million numbers' "cannot read 'bad.json': 40000055 bytes, where 1054720 are the most"
deep '[' ']' >bad.json
with_mask 'a million lists, one inside the other' "'bad.json' is not JSON (near byte 1000 of "
with_scores 'a million lists, one inside the other' "cannot read 'bad.json': 2000001 bytes"
deep '[' ']' 1000000 >bad.json
with_mask 'a million opened lists' "'bad.json' is not JSON"
with_scores 'a million opened lists' "'bad.json': it is not JSON"
deep '{"a":' '}' 1000000 >bad.json
with_mask 'objects inside objects' "'bad.json' is not JSON"
truncate -s 10G bad.json
with_mask 'a file of 10 GB' "cannot read 'bad.json': 10737418240 bytes"
with_scores 'a file of 10 GB' "cannot read 'bad.json': 10737418240 bytes"
: >bad.json
with_mask 'an empty file' "'bad.json' is not JSON"
with_scores 'an empty file' "it is not JSON (empty file)"
head -c 100 mask.json >bad.json
with_mask 'half a file' "'bad.json' is not JSON"
head -c 100 scores.json >bad.json
with_scores 'half a file' "'bad.json': it is not JSON"
for number in NaN nan Infinity -1 1e999 -1e999 0.5 99999999999999999999 4294967296 '"0"' null true '[0]' '{}'; do
    sed -E "s/\"layer\":[[:space:]]*0/\"layer\": $number/" mask.json >bad.json
    with_mask "layer $number" "'bad.json'"
    tr -d '\n' <mask.json | sed -E "s/\"channels\":[[:space:]]*\[[^]]*\]/\"channels\": [$number]/" >bad.json
    with_mask "channel $number" "'bad.json'"
    for key in unit layer channel; do
        sed -E "0,/\"unit\": 0/s/(\"unit\": 0.*)/\1/; 0,/\"$key\": 0/s/\"$key\": 0/\"$key\": $number/" scores.json >bad.json
        with_scores "$key $number" "'bad.json'"
    done
    case $number in -1 | 0.5 | 99999999999999999999 | 4294967296) continue ;; esac   # these are scores
    sed -E "0,/\"score\"/s/\"score\": [-+.e0-9]+/\"score\": $number/" scores.json >bad.json
    with_scores "score $number" "'bad.json'"
done

# ---- places for the outputs ----
fails '-out names a file' "cannot create folder 'mask.json'" "$work/prune" apply tiny.cfg tiny.weights "${by_weights[@]}" -out mask.json
fails '-out goes through a file' "cannot create folder 'mask.json/x'" "$work/prune" apply tiny.cfg tiny.weights "${by_weights[@]}" -out mask.json/x
fails '-out is a loop of links' "cannot create folder 'loop-a'" "$work/prune" apply tiny.cfg tiny.weights "${by_weights[@]}" -out loop-a
fails '-out is a device' "cannot create folder '/dev/null'" "$work/prune" apply tiny.cfg tiny.weights "${by_weights[@]}" -out /dev/null
fails '-out is empty' "the name is empty" "$work/prune" apply tiny.cfg tiny.weights "${by_weights[@]}" -out ''
long=$(printf 'x%.0s' {1..250})
cp tiny.cfg "$long.cfg"
fails 'a name that is too long for the folder' "File name too long" "$work/prune" apply "$long.cfg" tiny.weights "${by_weights[@]}" -out out
rm "$long.cfg"
mkdir locked && chmod 555 locked
fails 'a folder without permission to write' "Permission denied" "${anyone[@]}" "$work/prune" apply tiny.cfg tiny.weights "${by_weights[@]}" -out locked
fails 'a folder that cannot be made' "cannot create folder 'locked/new': Permission denied" "${anyone[@]}" "$work/prune" apply tiny.cfg tiny.weights "${by_weights[@]}" -out locked/new
for verb in "select tiny.cfg tiny.weights -scores scores.json -units 0.5" "score tiny.cfg tiny.weights -criterion magnitude" "gate tiny.cfg"; do
    # shellcheck disable=SC2086  # words
    fails "${verb%% *}: a folder without permission to write" "cannot write 'locked/x': Permission denied" "${anyone[@]}" "$work/prune" $verb -out locked/x
    # shellcheck disable=SC2086
    fails "${verb%% *}: -out is a folder" "cannot write 'folder': it is a folder, not a file" "$work/prune" $verb -out folder
    # shellcheck disable=SC2086
    fails "${verb%% *}: -out is a device" "cannot write '/dev/full': it is a special file, not a file" "$work/prune" $verb -out /dev/full
done
mkdir out-with-folder out-with-folder/tiny-pruned.cfg
fails 'a folder has the name of an output' "cannot write 'out-with-folder/tiny-pruned.cfg': it is a folder, not a file" "$work/prune" apply tiny.cfg tiny.weights "${by_weights[@]}" -out out-with-folder
report 'a folder has the name of an output: it is all there is' "$(find out-with-folder -mindepth 1 ! -name tiny-pruned.cfg)"

# input = output, by the same name, a hard link, a symbolic link
mkdir same
cp tiny.weights same/tiny-pruned.weights
overwrites() { fails "$1" "is an input and would be overwritten" "$work/prune" apply tiny.cfg "$2" "${by_weights[@]}" -out "$3"; }
overwrites 'the output is the input' same/tiny-pruned.weights same
overwrites 'the output is the input, other spelling' "$work/same/../same/tiny-pruned.weights" same/
ln -f same/tiny-pruned.weights hard.weights
overwrites 'the output is a hard link to the input' hard.weights same
rm same/tiny-pruned.weights && ln -s ../tiny.weights same/tiny-pruned.weights
overwrites 'the output is a link to the input' tiny.weights same
rm same/tiny-pruned.weights && ln -s ../tiny.cfg same/tiny-pruned.mask.json
overwrites 'an output is a link to the cfg' tiny.weights same
ln -s tiny.cfg link.cfg
for case in 'tiny.cfg' 'link.cfg' "$work/tiny.cfg"; do
    "$work/prune" gate tiny.cfg -out "$case" >text 2>err
    if [ $? -eq 2 ] && [ "$(cat tiny.cfg tiny.weights | cksum)" = "$inputs" ]; then report "gate: -out '$case' is the input" ''; else report "gate: -out '$case' is the input" 'not refused'; fi
done
for target in tiny.cfg link.cfg tiny.weights scores.json; do
    code=2 fails "select: -out $target is an input" "is an input and would be overwritten" "$work/prune" select tiny.cfg tiny.weights -scores scores.json -units 0.5 -out $target
done
# links as outputs: links to files are followed and stay, also when they point nowhere yet; two that are one file are refused
reference() { rm -rf ref && "$work/prune" apply tiny.cfg tiny.weights "${by_weights[@]}" -out ref >text 2>err; }
reference || report 'the reference' 'failed'
mkdir linked elsewhere
echo old >elsewhere/w && ln -s ../elsewhere/w linked/tiny-pruned.weights
if "$work/prune" apply tiny.cfg tiny.weights "${by_weights[@]}" -out linked >text 2>err && [ -L linked/tiny-pruned.weights ] && cmp -s elsewhere/w ref/tiny-pruned.weights && [ "$(ls -A elsewhere)" = w ]; then
    report 'an output that is a link stays one, its target is replaced' ''
else report 'an output that is a link stays one, its target is replaced' "$(ls -lA linked elsewhere)"; fi
mkdir twice && echo old >twice/a && ln -s a twice/tiny-pruned.weights && ln -s a twice/tiny-pruned.cfg
fails 'two outputs are one file' "is the same file as" "$work/prune" apply tiny.cfg tiny.weights "${by_weights[@]}" -out twice
report 'two outputs are one file: it stays as it was' "$(grep -vx old twice/a)"
chmod 640 linked/tiny-pruned.cfg
"$work/prune" apply tiny.cfg tiny.weights "${by_weights[@]}" -out linked >text 2>err
if [ "$(stat -c %a linked/tiny-pruned.cfg)" = 640 ]; then report 'permissions of a replaced output stay' ''; else report 'permissions of a replaced output stay' "$(stat -c %a linked/tiny-pruned.cfg)"; fi

# ---- full disks ----
big=(big.cfg big.weights -criterion magnitude -units 0.9)
printf '[net]\nbatch=1\nheight=8\nwidth=8\nchannels=3\n[convolutional]\nfilters=128\nsize=3\npad=1\n[convolutional]\nfilters=256\nsize=3\npad=1\n[avgpool]\n[softmax]\n' >big.cfg
{ head -c 20 tiny.weights; head -c $((4 * (128 * 28 + 256 * (1 + 128 * 9)))) /dev/zero; } >big.weights
mkdir limited
(ulimit -f 200 && exec "$darknet" prune apply "${big[@]}" -verify 0 -out limited) >text 2>err
rc=$?
if [ $rc -eq 1 ] && grep -q 'cannot write .*: File too large' err && [ -z "$(ls -A limited)" ]; then report 'a limit on file sizes is an error, not a signal' ''
else report 'a limit on file sizes is an error, not a signal' "exit code $rc, left: $(ls -A limited)"; fi
if unshare -Urm true 2>/dev/null; then
    mkdir disk
    for kilobytes in 0 4 400 900 1200; do   # nothing fits; a header; half the weights; the weights, not the masked ones; ...
        # shellcheck disable=SC2016  # for the inner shell
        unshare -Urm bash -c 'mount -t tmpfs -o size=2m none disk && cp ref/* disk && for i in cfg weights mask.json; do mv disk/tiny-pruned.$i disk/big-pruned.$i; done && before=$(cat disk/* | cksum) || exit 90
            used=$(stat -f -c %b disk); head -c $(((2048 - $1) * 1024)) /dev/zero >disk/ballast 2>/dev/null; rm -f disk/none
            "$2" apply "${@:3}" -masked 1 -verify 0 -out disk; rc=$?; rm disk/ballast
            [ "$(ls -A disk | sort | tr "\n" " ")" = "big-pruned.cfg big-pruned.mask.json big-pruned.weights " ] || { ls -lA disk >&2; exit 91; }
            [ "$(cat disk/* | cksum)" = "$before" ] || exit 92; exit $rc' _ $kilobytes "$work/prune" "${big[@]}" >text 2>err
        rc=$?
        if [ $rc -eq 1 ] && grep -q "No space left on device" err; then report "a disk with $kilobytes kB left: the old files stay" ''; else report "a disk with $kilobytes kB left: the old files stay" "exit code $rc"; fi
    done
    # shellcheck disable=SC2016
    unshare -Urm bash -c 'mount -t tmpfs -o size=2m none disk && mount -o remount,ro disk && "$1" apply tiny.cfg tiny.weights -criterion magnitude -units 0.5 -out disk' _ "$work/prune" >text 2>err
    rc=$?
    if [ $rc -eq 1 ] && grep -q "Read-only file system" err; then report 'a read-only file system' ''; else report 'a read-only file system' "exit code $rc"; fi
else
    skip 'full disks: no user namespaces here; the limit on file sizes and test_faults.py stand in'
fi
"$work/prune" inspect tiny.cfg >/dev/full 2>err
rc=$?
if [ $rc -eq 1 ] && grep -q 'cannot write to standard output' err; then report 'standard output on a full disk' ''; else report 'standard output on a full disk' "exit code $rc"; fi

echo "$passed passed, $failed failed$([ $skipped -gt 0 ] && echo ", $skipped skipped")"
[ $failed -eq 0 ]
