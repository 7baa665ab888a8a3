#!/usr/bin/env bash
# The laws of the house, checked on the sources and on the built library:
#   1 an #include in plugin/ never goes up the floors and never reaches darknet/ or darknet.h;
#   2 libprune.a needs no symbol of libdarknet.so and defines none of its names;
#   3 plugin/ has no mutable global and never calls exit or abort.
# usage: scripts/layering.sh [-root DIR] [-library libprune.a -host libdarknet.so]     (law 1 alone without a library)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) library='' host=''
while [ $# -gt 0 ]; do
    case $1 in
        -root) root=$2 ;;
        -library) library=$2 ;;
        -host) host=$2 ;;
        *) echo "layering: unknown argument '$1'" >&2; exit 2 ;;
    esac
    shift 2
done
violations=0
violation() { echo "layering: $*" >&2; violations=$((violations + 1)); }

# The floor of a file, by its path below plugin/. host.h sits on base; units and everything above may include it.
floor_of() { # sets floor
    case $1 in
        version.h) floor=0 ;;
        base/*) floor=1 ;;
        host.h | host.c) floor=2 ;;
        model/*) floor=3 ;;
        units/*) floor=4 ;;
        score/*) floor=5 ;;
        select/*) floor=5 ;;
        rewrite/*) floor=6 ;;
        run/*) floor=7 ;;
        commands/*) floor=8 ;;
        *) floor=none ;;
    esac
}
# The path below plugin/ that a file's #include "name" means; sets target ("../..." when it leaves plugin/). No processes: there are hundreds.
resolve() { # file, name
    local folder=${1%/*} part rest=$2
    if [ "$folder" = "$1" ]; then folder=''; fi
    while [[ $rest == */* ]]; do
        part=${rest%%/*} rest=${rest#*/}
        case $part in
            . | '') ;;
            ..) if [ -z "$folder" ] || [[ $folder == *.. ]]; then folder=${folder:+$folder/}..
                elif [[ $folder == */* ]]; then folder=${folder%/*}
                else folder=''; fi ;;
            *) folder=${folder:+$folder/}$part ;;
        esac
    done
    target=${folder:+$folder/}$rest
}
check_include() { # file (below plugin/), line number, included name
    local file=$1 line=$2 name=$3 target floor own theirs
    case $name in *darknet*) violation "plugin/$file:$line: includes '$name': plugin/ knows nothing of Darknet"; return ;; esac
    resolve "$file" "$name"
    case $target in ../*) violation "plugin/$file:$line: includes '$name' from outside plugin/"; return ;; esac
    floor_of "$file" && own=$floor
    floor_of "$target" && theirs=$floor
    if [ "$own" = none ]; then violation "plugin/$file: stands in no room of the house"; return; fi
    if [ "$theirs" = none ]; then violation "plugin/$file:$line: '$name' is in no room of the house"; return; fi
    if [ "$theirs" -gt "$own" ]; then violation "plugin/$file:$line: includes '$name' from a floor above"; return; fi
    # score and select share a floor and do not know each other; the model does not know the host.
    if [ "$theirs" = "$own" ] && [ "${target%/*}" != "${file%/*}" ] && [ "$target" != host.h ]; then violation "plugin/$file:$line: includes '$name' from a neighbouring room"; fi
    if [ "$target" = host.h ] && [ "$own" -lt 4 ] && [ "$file" != host.c ]; then violation "plugin/$file:$line: includes host.h below units"; fi
}
while IFS=: read -r file line text; do
    file=${file#"$root/plugin/"}
    if [[ $text =~ \#[[:space:]]*include[[:space:]]*\"([^\"]+)\" ]]; then
        check_include "$file" "$line" "${BASH_REMATCH[1]}"
    elif [[ $text =~ \<[^\>]*darknet[^\>]*\> ]]; then
        violation "plugin/$file:$line: includes a header of Darknet: plugin/ knows nothing of Darknet"
    fi
done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include' "$root/plugin" --include='*.[ch]')

if [ -n "$library" ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    for f in "$library" "$host"; do
        if [ ! -f "$f" ]; then echo "layering: cannot read '$f'" >&2; exit 1; fi
    done
    nm -D --defined-only "$host" | awk 'NF == 3 {print $3}' | sort -u >"$work/host"
    nm -u "$library" | awk '$1 == "U" {print $2}' | sort -u >"$work/needed"
    nm -g --defined-only "$library" | awk 'NF == 3 {print $3}' | sort -u >"$work/defined"
    comm -12 "$work/needed" "$work/host" >"$work/wanted"
    comm -12 "$work/defined" "$work/host" >"$work/clash"
    while read -r s; do violation "$(basename "$library") needs '$s', which libdarknet.so defines"; done <"$work/wanted"
    while read -r s; do violation "$(basename "$library") defines '$s', a name of libdarknet.so: it would replace the host's"; done <"$work/clash"
    while read -r s; do violation "$(basename "$library") calls '$s': only main ends the process"; done \
        < <(grep -xE 'exit|_exit|_Exit|quick_exit|abort' "$work/needed" || true)
    # .data and .bss are mutable; constant tables of pointers lie in .data.rel.ro, which the loader write-protects.
    while read -r s; do violation "$(basename "$library") has a mutable global: $s"; done \
        < <(objdump -t "$library" | awk '/file format/ {f = $1} $0 ~ / O / && $0 ~ /\.(data|bss|tdata|tbss)(\.|[[:space:]])|\*COM\*/ && $0 !~ /\.data\.rel\.ro/ {print $NF " in " f}')
fi

if [ $violations -gt 0 ]; then echo "layering: $violations violations" >&2; exit 1; fi
echo "layering: the house is in order"
