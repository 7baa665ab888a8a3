#!/usr/bin/env bash
# Installs our darknet as PREFIX/bin/darknet: it answers `darknet prune` and hands everything else to the installed Darknet, so it is meant to
# stand before it in PATH (/usr/local/bin does). It never replaces a program that it would have to hand over to.
# environment: BIN BUILD PREFIX DESTDIR
set -euo pipefail
: "${BIN:=bin}" "${BUILD:=build}" "${PREFIX:=/usr/local}" "${DESTDIR:=}"

if [ "$(realpath -m "$DESTDIR$PREFIX/bin/darknet")" = /usr/bin/darknet ]; then
    echo "install: PREFIX=$PREFIX would overwrite '/usr/bin/darknet', which ours needs; choose another, such as PREFIX=/usr/local" >&2
    exit 1
fi
install -D -m 755 "$BIN/darknet" "$DESTDIR$PREFIX/bin/darknet"
install -D -m 644 "$BUILD/darknet-prune.1" "$DESTDIR$PREFIX/share/man/man1/darknet-prune.1"
install -D -m 644 LICENSE "$DESTDIR$PREFIX/share/doc/darknet-prune/LICENSE"
for f in cfg/*.cfg cfg/styles/*.cfg; do install -D -m 644 "$f" "$DESTDIR$PREFIX/share/darknet-prune/$f"; done
echo "installed $DESTDIR$PREFIX/bin/darknet"
