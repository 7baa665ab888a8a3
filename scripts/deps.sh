#!/usr/bin/env bash
# Installs what is missing from Debian and nothing else; touches no network when nothing is missing.
# usage: scripts/deps.sh [-fuzz|-bench]     (-fuzz: also clang and its fuzzer run-time; -bench: also PyTorch)
set -euo pipefail

packages=(gcc libc6-dev make pkg-config darknet libopenblas-dev liblapacke-dev libcjson-dev libcmocka-dev libxxhash-dev libpng-dev
          python3-numpy python3-opencv)
if [ "${1:-}" = -fuzz ]; then packages+=(clang libclang-rt-dev); fi
if [ "${1:-}" = -bench ]; then packages+=(python3-torch); fi

if ! command -v dpkg-query >/dev/null; then
    echo "deps: this is no Debian system; make sure that you have what Debian calls: ${packages[*]}" >&2
    exit 0
fi
missing=()
for p in "${packages[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null) || state=
    [ "$state" = installed ] || missing+=("$p")
done
if [ ${#missing[@]} -eq 0 ]; then exit 0; fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "deps: missing packages: ${missing[*]}" >&2
        echo "deps: neither root nor sudo; ask your administrator for: apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
echo "deps: installing ${missing[*]}" >&2
fail() {
    echo "deps: $1 failed; still missing: ${missing[*]}" >&2
    echo "deps: check the network and /etc/apt/sources.list, then run: apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
}
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
"${apt[@]}" update >&2 || fail "apt-get update"
"${apt[@]}" install --no-install-recommends "${missing[@]}" >&2 </dev/null || fail "apt-get install"
