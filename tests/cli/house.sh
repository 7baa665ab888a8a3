#!/usr/bin/env bash
# The house itself: refused knobs, the layering check on planted violations, installation, the renderer, offline dependencies, rehead.py.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1

build=${PRUNE_BUILD:-build} bin=${PRUNE_BIN:-bin/darknet} render=${PRUNE_RENDER:-bin/render-data}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
host=${DARKNET_LIB:-/usr/lib/darknet}/libdarknet.so

# shellcheck source=tests/cli/expect.inc
. tests/cli/expect.inc

# Runs a command that must fail with a message that contains a text.
refuses() { # text, command...
    local text=$1
    shift
    if "$@" >"$work/out" 2>&1; then cat "$work/out"; echo "was accepted"; return 1; fi
    grep -qF -- "$text" "$work/out" || { cat "$work/out"; echo "does not say: $text"; return 1; }
}
equal() { if [ "$1" = "$2" ]; then return 0; else echo "'$1' is not '$2'"; return 1; fi; }
submake() { env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make --no-print-directory "$@"; }

check "GPU=1 is refused with the reason" refuses "no GPU host yet" submake GPU=1 help
check "CUDNN=1 is refused with the reason" refuses "no GPU host yet" submake CUDNN=1 help
check "GPU=0 is accepted" submake GPU=0 help
mkdir "$work/empty"
check "a missing header names make deps" refuses "make deps" submake DARKNET="$work/empty" BUILD="$work/b" BIN="$work/b" "$work/b/headers"

# Layering: the tree passes, and each law catches a planted violation in a copy.
check "the house is in order" scripts/layering.sh
plant() { # file below plugin/, line to append
    rm -rf "$work/tree"
    mkdir "$work/tree"
    cp -r plugin "$work/tree/plugin"
    mkdir -p "$(dirname "$work/tree/plugin/$1")"
    printf '%s\n' "$2" >>"$work/tree/plugin/$1"
}
plant model/planted.c '#include "../units/units.h"'
check "an include that goes up is caught" refuses "plugin/model/planted.c:1: includes '../units/units.h' from a floor above" scripts/layering.sh -root "$work/tree"
plant base/planted.c '#include "../commands/commands.h"'
check "base may not know commands" refuses "from a floor above" scripts/layering.sh -root "$work/tree"
plant score/planted.c '#include "../select/select.h"'
check "score and select do not know each other" refuses "neighbouring room" scripts/layering.sh -root "$work/tree"
plant model/planted.c '#include "../host.h"'
check "the model does not know the host" refuses "host.h below units" scripts/layering.sh -root "$work/tree"
plant run/planted.c '#include <darknet.h>'
check "darknet.h in plugin/ is caught" refuses "knows nothing of Darknet" scripts/layering.sh -root "$work/tree"
plant run/planted.c '  #  include "../../darknet/train.h"'
check "a header of darknet/ in plugin/ is caught" refuses "knows nothing of Darknet" scripts/layering.sh -root "$work/tree"
plant attic/planted.c '#include <stdio.h>'
plant attic/planted.c '#include "../base/status.h"'
check "a file in no room of the house is caught" refuses "no room of the house" scripts/layering.sh -root "$work/tree"
plant units/planted.c '#include "../host.h"'
check "units may include the host's interface" scripts/layering.sh -root "$work/tree"

if [ -n "${SAN:-}" ] || [ ! -f "$build/libprune.a" ]; then
    echo "skip: symbols of an instrumented library say nothing about the sources"
else
    library() { # C text: a copy of the library with one more object
        rm -f "$work/lib.a"
        cp "$build/libprune.a" "$work/lib.a"
        printf '%s\n' "$1" | gcc -std=c11 -w -O0 -c -x c -o "$work/planted.o" - && ar r "$work/lib.a" "$work/planted.o" 2>/dev/null
    }
    checked() { scripts/layering.sh -library "$work/lib.a" -host "$host"; }
    library 'const char *const planted_names[] = {"a", "b"}; int planted(int x) { return x; }'
    check "constant tables are no globals" checked
    library 'void fill_cpu(int, float, float *, int); void planted(void) { fill_cpu(0, 0, 0, 0); }'
    check "a symbol of Darknet is caught" refuses "needs 'fill_cpu'" checked
    library 'void gemm(void) {}'
    check "a name of Darknet is caught" refuses "defines 'gemm'" checked
    library '#include <stdlib.h>
void planted(void) { exit(1); }'
    check "exit is caught" refuses "calls 'exit'" checked
    library 'static int planted_counter; int planted(void) { return ++planted_counter; }'
    check "a static counter is caught" refuses "mutable global: planted_counter" checked
    library 'int planted(void) { static int calls = 3; return ++calls; }'
    check "a counter inside a function is caught" refuses "mutable global: calls" checked
    library 'int planted_tentative;'
    check "a global is caught" refuses "mutable global: planted_tentative" checked
fi

# The program starts without the host's libraries (a fifth of a second); what it will ask of them, they have.
names() { nm -D --defined-only "$@" | awk '{print $3}'; }
libraries() { echo "$host"; gcc -print-file-name=libopenblas.so; gcc -print-file-name=liblapacke.so; ldd "$bin" | awk '$3 ~ /^\// {print $3}'; }
missing() { nm -D "$bin" | awk '$1 == "U" && $2 !~ /@/ {print $2}' | sort -u | comm -23 - <(libraries | while read -r l; do names "$l"; done | sort -u); }
needed() { readelf -d "$bin" | grep -cE 'NEEDED.*(darknet|openblas|opencv)'; }
if [ -z "${SAN:-}" ] && [ -x "$bin" ]; then
    check "no library of the host is loaded at the start" equal "$(needed)" 0
    check "no function of the program is missing in the host's libraries" equal "$(missing)" ""
fi

# Dependencies: nothing missing, nothing done, no network (a PATH without apt-get and sudo proves it).
mkdir "$work/path"
for tool in bash dpkg-query id; do ln -s "$(command -v $tool)" "$work/path/$tool"; done
check "with everything installed deps needs no apt" env PATH="$work/path" scripts/deps.sh
printf '#!/bin/sh\nexit 1\n' >"$work/path/apt-get"
printf '#!/bin/sh\ncase "$*" in *libxxhash*) exit 1;; esac\nexec %s "$@"\n' "$(command -v dpkg-query)" >"$work/fake"
rm "$work/path/dpkg-query"
cp "$work/fake" "$work/path/dpkg-query"
printf '#!/bin/sh\nexec "$@"\n' >"$work/path/sudo"
chmod +x "$work/path/apt-get" "$work/path/dpkg-query" "$work/path/sudo"
ln -s "$(command -v env)" "$work/path/env"
check "when apt fails deps says what is missing" refuses "still missing: libxxhash-dev" env PATH="$work/path:/bin" "$(command -v bash)" -c "PATH=$work/path scripts/deps.sh"

# Installation.
if [ -x "$bin" ]; then
    install_to() { env BIN="$(dirname "$bin")" BUILD="$work" PREFIX="$1" DESTDIR="$2" scripts/install.sh; }
    scripts/man.sh "$bin" >"$work/darknet-prune.1" 2>/dev/null
    check "the manual page has every verb" grep -q '^.SH INSPECT' "$work/darknet-prune.1"
    check "install works" install_to /usr/local "$work/root"
    check "the installed program runs" "$work/root/usr/local/bin/darknet" prune -version
    check "the manual page is installed" test -s "$work/root/usr/local/share/man/man1/darknet-prune.1"
    check "the licence is installed" test -s "$work/root/usr/local/share/doc/darknet-prune/LICENSE"
    check "install never replaces Debian's darknet" refuses "would overwrite '/usr/bin/darknet'" install_to /usr ""
else
    echo "FAIL: there is no $bin"
    failed=$((failed + 1))
fi

# The renderer.
if [ -x "$render" ]; then
    check "classify renders" "$render" classify "$work/one" -images 16 -valid 8 -seed 7
    check "the training list has 16 images" equal "$(wc -l <"$work/one/train.txt")" 16
    check "every class is in the list" equal "$(sed -E 's/.*_(shape_[a-z]+).png/\1/' "$work/one/train.txt" | sort | uniq -c | awk '{print $1}' | tr '\n' ' ')" "2 2 2 2 2 2 2 2 "
    "$render" classify "$work/two" -images 4 -valid 8 -seed 7 >/dev/null
    check "image 3 does not depend on how many there are" cmp "$(sed -n 4p "$work/one/train.txt")" "$(sed -n 4p "$work/two/train.txt")"
    "$render" classify "$work/three" -images 4 -valid 8 -seed 8 >/dev/null
    check "another seed draws another image" refuses "differ" cmp "$(sed -n 4p "$work/one/train.txt")" "$(sed -n 4p "$work/three/train.txt")"
    check "detect renders" "$render" detect "$work/boxes" -images 6 -valid 2 -size 96
    # shellcheck disable=SC2016  # awk's own variables
    check "boxes are inside the image, classes 0 to 3" awk '{if ($1 < 0 || $1 > 3 || $2 - $4 / 2 < -1e-6 || $2 + $4 / 2 > 1 + 1e-6 || $3 - $5 / 2 < -1e-6 || $3 + $5 / 2 > 1 + 1e-6 || $4 <= 0 || $5 <= 0) exit 1} END {if (NR < 6) exit 1}' "$work"/boxes/labels/train/*.txt
    check "an unknown flag is bad usage" equal "$("$render" classify "$work/four" -what 1 >/dev/null 2>&1; echo $?)" 2
    check "a folder that cannot be made fails" refuses "render-data:" "$render" classify /dev/null/x -images 1 -valid 1
else
    echo "FAIL: there is no $render"
    failed=$((failed + 1))
fi

# rehead.py: the same number of classes copies every tensor; another keeps all but the heads.
/usr/bin/python3 - "$work" <<'PYTHON'
import sys, numpy as np
# parameters of cfg/yolo-shapes.cfg: (filters, channels, size, batch-norm)
layers = [(12, 3, 3, 1), (24, 12, 3, 1), (24, 24, 3, 1), (48, 24, 3, 1), (64, 48, 3, 1), (96, 64, 3, 1), (48, 96, 1, 1), (96, 48, 3, 1), (27, 96, 1, 0), (24, 48, 1, 1), (48, 88, 3, 1), (27, 48, 1, 0)]
n = sum(f * (4 if bn else 1) + f * c * k * k for f, c, k, bn in layers)
with open(sys.argv[1] + "/y.weights", "wb") as f:
    np.array([0, 2, 0, 5, 0], np.int32).tofile(f)
    np.arange(n, dtype=np.float32).tofile(f)
PYTHON
check "rehead writes a cfg" scripts/rehead.py cfg cfg/yolo-shapes.cfg "$work/r4.cfg" 4
check "the same number of classes changes no byte of the cfg" cmp cfg/yolo-shapes.cfg "$work/r4.cfg"
check "rehead copies all tensors" scripts/rehead.py weights cfg/yolo-shapes.cfg "$work/y.weights" "$work/r4.cfg" "$work/r4.weights"
check "the copied values are the same" cmp -i 20 "$work/y.weights" "$work/r4.weights"
scripts/rehead.py cfg cfg/yolo-shapes.cfg "$work/r2.cfg" 2 max_batches=9 >"$work/log" 2>&1
check "two classes change both heads and the named key" equal "$(diff cfg/yolo-shapes.cfg "$work/r2.cfg" | grep -c '^>')" 5
check "rehead adapts the heads" scripts/rehead.py weights cfg/yolo-shapes.cfg "$work/y.weights" "$work/r2.cfg" "$work/r2.weights"
check "the backbone is copied byte for byte" cmp -i 20 -n 400000 "$work/y.weights" "$work/r2.weights"
check "a file of the wrong size is refused" refuses "the cfg needs" scripts/rehead.py weights "$work/r2.cfg" "$work/y.weights" cfg/yolo-shapes.cfg "$work/bad.weights"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
