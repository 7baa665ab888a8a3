#!/usr/bin/env bash
# Prints the manual page, made from what the program itself says, so that it cannot fall behind: `darknet prune -help` and `darknet prune VERB -help`.
# usage: scripts/man.sh path/to/darknet
set -euo pipefail
darknet=${1:?usage: scripts/man.sh path/to/darknet}

verbs=$("$darknet" prune -help | sed -nE 's/^ +([a-z]+) +[^ ].*/\1/p')
if [ -z "$verbs" ]; then echo "man: '$darknet prune -help' lists no verbs" >&2; exit 1; fi
# Verbatim text: backslashes, and dots and quotes at the start of a line, mean something to troff.
verbatim() { echo .nf; sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^\\([.']\\)/\\\\\&\\1/"; echo .fi; }

cat <<HEAD
.TH DARKNET\-PRUNE 1 "" "$("$darknet" prune -version | head -n 1)" "darknet prune"
.SH NAME
darknet\-prune \- prune trained Darknet networks
.SH SYNOPSIS
.B darknet prune
.I verb
.RI [ arguments ]
.SH DESCRIPTION
HEAD
"$darknet" prune -help | verbatim
for verb in $verbs; do
    echo ".SH $(echo "$verb" | tr '[:lower:]' '[:upper:]')"
    "$darknet" prune "$verb" -help | verbatim
done
cat <<'TAIL'
.SH EXIT STATUS
0 done; 1 failed or interrupted, the message says why; 2 wrong usage.
.SH SEE ALSO
README.md and docs/ of the source.
TAIL
