#!/usr/bin/env bash
# docs/equality.md: the table over every cfg of the darknet package, of cfg/ and of cfg/styles/ (costs at full size; masked against pruned in the
# reference interpreter, our executable, OpenCV DNN and numpy), then every cut of every cfg of cfg/styles/. Needs `make test-programs`.
# usage: scripts/reproduce_cfgs.sh [-table] [FILE.md]      FILE: whose table is replaced (default: docs/equality.md); -table: no cuts
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cuts=1
if [ "${1:-}" = -table ]; then
    cuts=0
    shift
fi
PRUNE_BIN=$(realpath "${BIN:-bin}")/darknet PRUNE_BUILD=$(realpath "${BUILD:-build}")
export PRUNE_BIN PRUNE_BUILD
/usr/bin/python3 tests/host/cfg_table.py --all --write "${1:-docs/equality.md}"
if [ $cuts = 1 ]; then STYLES=all /usr/bin/python3 tests/host/test_styles.py; fi
