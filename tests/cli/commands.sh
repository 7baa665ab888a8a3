#!/usr/bin/env bash
# The command line: help of every verb, exit codes, wording of mistakes, and the verbs that need no images, on a network made here.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

darknet=$(realpath "${PRUNE_BIN:-bin/darknet}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/cli/expect.inc
. tests/cli/expect.inc

# Runs `darknet prune ...`: the exit code must be $1, stdout contain $2, stderr contain $3 ("" = be empty).
prune() { # code, stdout, stderr, arguments...
    local code=$1 out=$2 err=$3 got
    shift 3
    "$darknet" prune "$@" >"$work/out" 2>"$work/err" </dev/null
    got=$?
    if [ $got -ne "$code" ]; then echo "exit $got, expected $code"; cat "$work/out" "$work/err"; return 1; fi
    for pair in "out:$out" "err:$err"; do
        if [ -z "${pair#*:}" ]; then
            if [ -s "$work/${pair%%:*}" ]; then echo "std${pair%%:*} is not empty:"; cat "$work/${pair%%:*}"; return 1; fi
        elif ! grep -qF -- "${pair#*:}" "$work/${pair%%:*}"; then echo "std${pair%%:*} does not say: ${pair#*:}"; cat "$work/${pair%%:*}"; return 1; fi
    done
}

# Help and the table of verbs.
verbs="run inspect score oracle correlate curve select surgery apply expand reconstruct compose verify finetune evaluate gate criteria report"
check "without a verb the summary is printed" prune 0 "darknet prune run data.data net.cfg net.weights -macs 0.5" ""
check "-help prints the summary" prune 0 "'darknet prune <verb> -help' explains a verb" "" -help
check "-version prints name, version and host" prune 0 "darknet prune 1.0.0, host: darknet (CPU)" "" -version
check "the summary lists exactly the verbs" test "$("$darknet" prune | sed -nE 's/^  ([a-z]+) +[a-z].*/\1/p' | tr '\n' ' ')" = "$verbs "
for verb in $verbs; do
    check "$verb -help prints its usage" prune 0 "usage: darknet prune $verb" "" "$verb" -help
    check "$verb -help is complete: exit codes" grep -q "exit code" "$work/out"
    check "$verb refuses an unknown flag by name" prune 2 "" "darknet prune $verb: unknown flag '-bogus'" "$verb" -bogus
    check "$verb points to its help" grep -q "see: darknet prune $verb -help" "$work/err"
done
for help in --help -h; do check "$help is understood too" prune 0 "usage: darknet prune score" "" score net.cfg $help; done
check "an unknown verb offers the nearest" prune 2 "" "unknown verb 'evalute'; did you mean 'evaluate'?" evalute
check "a verb near to none gets no offer" prune 2 "" "unknown verb 'quantize'" quantize
check "an unknown flag offers the nearest" prune 2 "" "unknown flag '-mac'; did you mean '-macs'?" apply net.cfg net.weights -mac 0.5
check "a result that cannot be written is a failure" bash -c "! '$darknet' prune criteria >/dev/full 2>/dev/null"

check "no line of a help text is wider than 100 columns" test -z "$({ "$darknet" prune -help; for verb in $verbs; do "$darknet" prune "$verb" -help; done; } | awk 'length > 100')"

# Every flag that a verb's help lists in its option column is one that the verb takes.
flags_are_known() {
    local verb flag bad=0
    for verb in $verbs; do
        for flag in $("$darknet" prune "$verb" -help | sed -nE 's/^  (-[a-z-]+).*/\1/p' | sort -u); do
            if "$darknet" prune "$verb" "$flag" 2>&1 </dev/null | grep -qF "unknown flag"; then echo "$verb does not know $flag"; bad=1; fi
        done
    done
    return $bad
}
check "every flag in a help text is known to its verb" flags_are_known

check "criteria lists the default" prune 0 "taylor-fo             mean over minibatches of g_u^2" "" criteria
check "criteria say what they need" prune 0 "needs   images: feature maps" "" criteria
check "criteria -json lists all of them" bash -c "'$darknet' prune criteria -json | /usr/bin/python3 -c 'import json, sys; d = json.load(sys.stdin); assert d[\"version\"] == 1 and {\"taylor-fo\", \"hrank\"} <= {c[\"name\"] for c in d[\"criteria\"]}'"
check "criteria takes no arguments" prune 2 "" "unexpected argument 'x'" criteria x

# A small residual network with random weights, and one without batch-norm.
cat >"$work/net.cfg" <<'CFG'
[net]
batch=4
height=8
width=8
channels=3
learning_rate=0.01

[convolutional]
batch_normalize=1
filters=8
size=3
stride=1
pad=1
activation=relu

[convolutional]
batch_normalize=1
filters=8
size=3
stride=1
pad=1
activation=linear

[shortcut]
from=-2
activation=relu

[convolutional]
filters=4
size=1
stride=1
activation=linear

[avgpool]

[softmax]
CFG
/usr/bin/python3 - "$work" <<'PY'
import struct, sys
import numpy as np
work, rng = sys.argv[1], np.random.default_rng(1)
def bn(n): return [rng.normal(size=n), rng.uniform(.5, 2, n), rng.normal(size=n), rng.uniform(.5, 2, n)]
parts = bn(8) + [rng.normal(size=8 * 27)] + bn(8) + [rng.normal(size=8 * 72)] + [rng.normal(size=4), rng.normal(size=32)]
values = np.concatenate(parts).astype("<f4")
head = struct.pack("<iiiQ", 0, 2, 0, 640)
open(f"{work}/net.weights", "wb").write(head + values.tobytes())
open(f"{work}/short.weights", "wb").write(head + values[:-5].tobytes())
values[40] = np.nan
open(f"{work}/nan.weights", "wb").write(head + values.tobytes())
PY
net=("$work/net.cfg" "$work/net.weights")
sum=$(cat "${net[@]}" | sha256sum)

# score
check "weight-only criteria need no data" prune 0 "saved magnitude scores to $work/m.json" "" score "${net[@]}" -criterion magnitude -out "$work/m.json"
check "a unit's norm is over all its producers" /usr/bin/python3 - "$work" <<'PY'
import json, sys
import numpy as np
work = sys.argv[1]
w = np.frombuffer(open(f"{work}/net.weights", "rb").read()[20:], "<f4").astype(float)
first, second = w[32:32 + 216].reshape(8, 27), w[248 + 32:248 + 32 + 576].reshape(8, 72)
f = json.load(open(f"{work}/m.json"))
assert f["format"] == "darknet-prune-scores" and f["version"] == 1 and f["weights"]["file"].endswith("net.weights"), f
assert [(u["unit"], u["layer"], u["channel"]) for u in f["units"][:8]] == [(i, 0, i) for i in range(8)], f["units"][:8]
expected = np.sqrt((first ** 2).sum(1) + (second ** 2).sum(1))
assert np.allclose([u["score"] for u in f["units"][:8]], expected, rtol=1e-12), (f["units"], expected)
PY
for c in magnitude-l1 magnitude-layer fpgm; do
    check "apply takes $c" prune 0 "written: $work/by-$c/" "" apply "${net[@]}" -criterion "$c" -units 0.5 -out "$work/by-$c"
done
check "several criteria get a file each and one table" prune 0 "saved the table of scores" "" \
    score "${net[@]}" -criterion magnitude,bn-scale,random -norm 1 -seed 3 -out "$work/s.json" -csv "$work/s.csv"
check "the files are named after their criterion" test -f "$work/s-magnitude.json" -a -f "$work/s-bn-scale.json" -a -f "$work/s-random.json" -a ! -e "$work/s.json"
check "the table has a row per producing channel" test "$(wc -l <"$work/s.csv")" -eq 21
check "the table's head names the criteria" test "$(head -n 1 "$work/s.csv")" = "layer,channel,unit,protected,magnitude,bn-scale,random"
check "channels of one unit share its scores" test "$(sed -n 's/^0,3,//p' "$work/s.csv")" = "$(sed -n 's/^1,3,//p' "$work/s.csv")"
check "random needs a cfg alone" prune 0 "random: 12 units, 8 of them removable" "" score "$work/net.cfg" -criterion random -out "$work/r.json"
check "protected units are marked" bash -c "'$darknet' prune score '$work/net.cfg' -criterion random -protect 1 -csv '$work/p.csv' >/dev/null && ! grep -q '^[01],[0-9],[0-9],0' '$work/p.csv'"
check "a criterion that needs images says so" prune 2 "" "criterion 'taylor-fo' needs images: give <data> <cfg> <weights>" score "${net[@]}" -out "$work/x.json"
check "an unknown criterion offers the nearest" prune 2 "" "unknown criterion 'magnitud' (did you mean 'magnitude'?)" score "${net[@]}" -criterion magnitud -out "$work/x.json"
check "a criterion listed twice is refused" prune 2 "" "'random' is listed twice" score "${net[@]}" -criterion random,random -out "$work/x.json"
check "no output is a usage error" prune 2 "" "no output is given; add -out scores.json" score "${net[@]}" -criterion random
check "weights missing is a usage error" prune 2 "" "no weights file is given" score "$work/net.cfg" -criterion bn-scale -out "$work/x.json"
check "an output that is an input is refused" prune 2 "" "is an input and would be overwritten" score "${net[@]}" -criterion magnitude -out "$work/net.cfg"
check "an output folder that is missing is found before the work" prune 1 "" "$work/nowhere/s.json" score "${net[@]}" -criterion magnitude -out "$work/nowhere/s.json"
check "short weights name what is missing" prune 1 "" "short.weights" score "$work/net.cfg" "$work/short.weights" -criterion magnitude -out "$work/x.json"
check "NaN in the weights is refused" prune 1 "" "nan.weights" score "$work/net.cfg" "$work/nan.weights" -criterion magnitude -out "$work/x.json"
check "a missing cfg is named" prune 1 "" "'$work/none.cfg'" score "$work/none.cfg" "$work/net.weights" -criterion magnitude -out "$work/x.json"
check "all criteria of the weights, the others with a reason" prune 0 "taylor-fo: left out: criterion 'taylor-fo' needs images: give <data> <cfg> <weights>" "" \
    score "${net[@]}" -criterion all -csv "$work/all.csv"
check "the table has what is left" bash -c "head -1 '$work/all.csv' | grep -q ',magnitude' && head -1 '$work/all.csv' | grep -q ',random' && ! head -1 '$work/all.csv' | grep -q taylor"
check "with a cfg alone, weights are what is missing" prune 0 "magnitude: left out: no weights file is given" "" score "$work/net.cfg" -criterion all -csv "$work/all.csv"
check "a place of gates that is none is refused" prune 2 "" "flag '-gate': 'after' is not one of after-bn, before-bn, after-activation" score "${net[@]}" -criterion random -gate after -out "$work/x.json"
for flag in rivals probes; do
    check "-$flag counts from 1" prune 2 "" "flag '-$flag': '0' is outside 1..65536" score "${net[@]}" -criterion random -$flag 0 -out "$work/x.json"
done
check "a step is above 0" prune 2 "" "flag '-step': '0' is outside 1e-06..0.5" score "${net[@]}" -criterion random -step 0 -out "$work/x.json"
check "-drawn is 0 or 1" prune 2 "" "flag '-drawn': '2' is outside 0..1" score "${net[@]}" -criterion random -drawn 2 -out "$work/x.json"
check "-first counts from 0" prune 2 "" "flag '-first': '-1' is outside" score "${net[@]}" -criterion random -first -1 -out "$work/x.json"
check "a failed score leaves no file" test ! -e "$work/x.json"

# select, apply and verify on those scores
check "scores and a target become a mask" prune 0 "mask written to $work/mask.json" "" select "${net[@]}" -scores "$work/m.json" -macs 0.5 -out "$work/mask.json"
check "apply takes a criterion by name" "$darknet" prune apply "${net[@]}" -criterion magnitude -macs 0.6 -masked 1 -out "$work/pruned"
check "apply refuses a criterion that needs images" prune 2 "" "criterion 'taylor-fo' needs images" apply "${net[@]}" -criterion taylor-fo -macs 0.5 -out "$work/other"
pair=("$work/net.cfg" "$work/pruned/net-masked.weights" "$work/pruned/net-pruned.cfg" "$work/pruned/net-pruned.weights")
check "verify finds masked and pruned equal" prune 0 "networks agree: max|a-b| / max|a| = " "" verify "${pair[@]}" -random 3
check "verify says on how many images" grep -qF "worst at layer 4, 1 head, 3 images" "$work/out"
check "verify finds the unmasked network different" prune 1 "" "networks differ: max|a-b| / max|a| = " verify "$work/net.cfg" "$work/net.weights" "${pair[@]:2}"
check "verify refuses both -data and -random" prune 2 "" "'-data' and '-random' exclude each other" verify "${pair[@]}" -data d -random 1
check "verify checks weights before the host sees them" prune 1 "" "short.weights" verify "$work/net.cfg" "$work/short.weights" "${pair[@]:2}"
check "verify refuses -images without data" prune 2 "" "'-images' needs '-data FILE'" verify "${pair[@]}" -images 2
sed 's/xxh64:./xxh64:f/' "$work/m.json" >"$work/foreign.json"
check "scores of another cfg are refused" prune 1 "" "foreign.json' belong to another cfg" select "${net[@]}" -scores "$work/foreign.json" -macs 0.5 -out "$work/x.json"

check "kept counts that allow no smaller network name the flag" prune 1 "" "take a smaller -multiple, or let more remain" select "${net[@]}" -scores "$work/m.json" -macs 0.5 -multiple 1000 -out "$work/x.json"
check "of -min-keep, too" prune 1 "" "take a smaller -min-keep, or let more remain" select "${net[@]}" -scores "$work/m.json" -macs 0.5 -min-keep 1000 -out "$work/x.json"
check "and no flag where none is in the way" prune 1 "" "; let more remain" select "${net[@]}" -scores "$work/m.json" -macs 0.001 -out "$work/x.json"

# expand: from the same scores to a wider cfg; it reads no weights
wide() { prune "$1" "$2" "$3" expand "$work/net.cfg" -scores "$work/m.json" -out "$work/wide.cfg" "${@:4}"; }
check "layers tied by a shortcut are widened together" wide 0 "     1         8x8       8        6  0.7500      16  with layer 0" ""
check "and the classes stay" grep -qF "     3         8x8       4        0  0.0000       4  stays: read by a softmax (layer 5)" "$work/out"
check "the least pruned are listed" grep -qF "  layer 0: 12 of 16 channels, 0.7500, widened" "$work/out"
check "multiply-adds before and after" grep -qE "^multiply-adds +$((64 * (27 * 8 + 72 * 8 + 8 * 4))) +$((64 * (27 * 16 + 144 * 16 + 16 * 4)))$" "$work/out"
check "it says that there are no weights, and what to do" grep -qF "  darknet classifier train <data> $work/wide.cfg" "$work/out"
check "the cfg has only other widths" test "$(diff "$work/net.cfg" "$work/wide.cfg" | grep '^[<>]' | sort | uniq -c | tr -s ' ' | tr '\n' ';')" = " 2 < filters=8; 2 > filters=16;"
check "no line ends in blanks there" bash -c "! grep -q ' $' '$work/out'"
check "inspect reads the wide cfg" prune 0 "layer" "" inspect "$work/wide.cfg"
check "-by stage names the size of the maps" wide 0 "  stage of 8x8 maps: 12 of 16 channels, 0.7500, widened" "" -by stage -factor 1.5 -json "$work/wide.json"
check "-json has the same numbers" /usr/bin/python3 -c "import json; d = json.load(open('$work/wide.json')); assert d['format'] == 'darknet-prune-expand' and d['by'] == 'stage' and d['factor'] == 1.5, d; assert [(l['layer'], l['width'], l['removed'], l['new_width'], l['with_layer'], l.get('fixed')) for l in d['layers']] == [(0, 8, 6, 12, 0, None), (1, 8, 6, 12, 0, None), (3, 4, 0, 4, 3, 'read by a softmax (layer 5)')], d; assert d['candidates'] == [{'layer': 0, 'channels': 16, 'removed': 12, 'widened': True}] and d['after'] == {'macs': 64 * (27 * 12 + 108 * 12 + 48), 'parameters': 27 * 12 + 108 * 12 + 48 + 48 + 4}, d"
rm -f "$work/wide.cfg"
check "scores of another cfg widen nothing" prune 1 "" "foreign.json' belong to another cfg" expand "$work/net.cfg" -scores "$work/foreign.json" -out "$work/wide.cfg"
check "a cfg where all stays is refused" wide 1 "" "no layer of '$work/net.cfg' can be widened" -protect 0 -units 1
check "a target gives the same ranking as select" wide 0 "  layer 0: 8 of 16 channels, 0.5000, widened" "" -units 0.67
rm -f "$work/wide.cfg"
for factor in 1 0.5 8.5; do
    check "a factor of $factor is refused" wide 2 "" "flag '-factor': $factor is not a factor that widens; use more than 1 and at most 8" -factor $factor
done
check "-by is layer or stage" wide 2 "" "flag '-by': 'block' is not one of layer, stage" -by block
check "-count counts from 1" wide 2 "" "flag '-count': '0' is outside 1..1000000" -count 0
check "a mistake leaves no cfg" test ! -e "$work/wide.cfg"
check "expand needs scores" prune 2 "" "flag '-scores FILE' is missing" expand "$work/net.cfg" -out "$work/wide.cfg"
check "expand needs an output" prune 2 "" "flag '-out NEW.cfg' is missing" expand "$work/net.cfg" -scores "$work/m.json"
check "expand keeps the cfg" prune 2 "" "'$work/net.cfg' is an input and would be overwritten" expand "$work/net.cfg" -scores "$work/m.json" -out "$work/net.cfg"
check "and the scores" prune 2 "" "'$work/m.json' is an input and would be overwritten" expand "$work/net.cfg" -scores "$work/m.json" -out "$work/m.json"
check "cfg and table are two files" prune 2 "" "name one file" expand "$work/net.cfg" -scores "$work/m.json" -out "$work/w.x" -json "$work/w.x"

# inspect: everything a layer reads, both strides, no blanks at the ends of lines
check "a shortcut of several sources names them all" bash -c "'$darknet' prune inspect cfg/styles/shortcuts-several.cfg | grep -q 'adds 4, 1, 5$'"
check "strides that differ are both shown" bash -c "'$darknet' prune inspect cfg/styles/stride-x-y.cfg | grep -q ' 3x3/2x1 '"
check "a slice of a route is named" bash -c "'$darknet' prune inspect cfg/styles/grouped-routes.cfg | grep -q 'of 1, 2, slice 2 of 0 to 3$'"
check "shared values name their owner" bash -c "'$darknet' prune inspect cfg/styles/share-index.cfg | grep -q 'values of 1; tied to'"
check "no line ends in blanks" bash -c "! '$darknet' prune inspect cfg/styles/implicit.cfg | grep -q ' $'"

# gate, finetune: what nobody could run, what would be lost
sed '0,/activation=[a-z]*/s//activation=mish/' "$work/net.cfg" >"$work/mish.cfg"
check "gate refuses a cfg that is not pjreddie's" prune 1 "" "mish.cfg:" gate "$work/mish.cfg" -out "$work/gated.cfg"
check "and leaves no file" test ! -e "$work/gated.cfg"
check "verify names the line that the host cannot run" prune 1 "" "activation=mish is known to AlexeyAB's and hank-ai's Darknet only, and networks run here on pjreddie's" verify "$work/mish.cfg" "$work/net.weights" "$work/mish.cfg" "$work/net.weights"
check "finetune keeps the cfg" prune 2 "" "'$work/net.cfg' is an input and would be overwritten" finetune "$work/d.data" "${net[@]}" -length 1 -out "$work/net.cfg"

# evaluate: mistakes that are found before any image is read
data="$work/d.data"
printf 'classes=4\nvalid=%s\nnames = %s\n' "$work/valid.txt" "$work/names.txt" >"$data"
: >"$work/valid.txt"
check "a list of names that is missing is named" prune 1 "" "$work/names.txt" evaluate "$data" "${net[@]}"
printf 'a\nb\nc\nd\n' >"$work/names.txt"
check "an empty list of images is refused" prune 1 "" "$work/valid.txt" evaluate "$data" "${net[@]}"
check "a gate needs layer and channel" prune 2 "" "'0' is not LAYER:CHANNEL, for example 13:5" evaluate "$data" "${net[@]}" -shut 0
check "a layer that is not there is named" prune 2 "" "no layer 9, '$work/net.cfg' has 0..5" evaluate "$data" "${net[@]}" -shut 0:1,9:0
check "mask and gate exclude each other" prune 2 "" "'-mask' and '-shut' exclude each other" evaluate "$data" "${net[@]}" -shut 0:1 -mask m
check "a missing data file is named" prune 1 "" "'$work/none.data'" evaluate "$work/none.data" "${net[@]}"

# report
cat >"$work/report.json" <<'JSON'
{"format": "darknet-prune-report", "version": 1, "criterion": "taylor-fo", "seed": 1,
 "before": {"parameters": 270000, "macs": 41000000, "bflops": 0.082, "megabytes": 1.08, "milliseconds": 2.0, "top1": 0.9173, "top5": 0.99, "map50": null, "loss": 0.3},
 "after": {"parameters": 135000, "macs": 20500000, "bflops": 0.041, "megabytes": 0.54, "milliseconds": 1.0, "top1": 0.91, "top5": 0.99, "map50": null, "loss": null},
 "stages": [{"name": "rewritten", "top1": 0.25, "loss": 2.5}]}
JSON
check "report prints accuracy with its difference" prune 0 "top-1                     91.73 %          91.00 %     -0.73" "" report "$work/report.json"
check "report prints parameters with their ratio" prune 0 "parameters                 270000           135000     50.0%" "" report "$work/report.json"
check "report prints the stages" prune 0 "rewritten                 25.00 %           2.5000" "" report "$work/report.json"
check "report leaves out what was not measured" bash -c "! '$darknet' prune report '$work/report.json' | grep -q mAP@0.5.*-.*-"
check "report takes the folder of a run" prune 0 "taylor-fo" "" report "$work"
check "another JSON file is not a report" prune 1 "" "is not the report of a run: its format is 'darknet-prune-scores'" report "$work/m.json"
check "a file that is not JSON is not a report" prune 1 "" "net.cfg': it is not JSON" report "$work/net.cfg"
check "a missing report is named" prune 1 "" "'$work/none.json'" report "$work/none.json"

check "no input was touched" test "$(cat "${net[@]}" | sha256sum)" = "$sum"
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
