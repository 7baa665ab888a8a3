#!/usr/bin/env python3
"""Masked = pruned outside the reference interpreter: the random graphs of tests/reference that pjreddie's Darknet knows, in the host (`verify`), written by the
program's own `apply -mask`; then a fast subset of real cfgs in OpenCV and numpy. GRAPHS (60) graphs from SEED on. Ends with the counts."""
import os
import subprocess
import sys
import tempfile

try:
    import cv2  # noqa: F401  (only to skip where it is missing)
except ImportError:
    print("skip: python3-opencv is not installed")
    sys.exit(77)

import cfg_table
import equality

GRAPHS = int(os.environ.get("GRAPHS", "60"))
PROGRAM = os.path.join(os.environ.get("PRUNE_BUILD", "build"), "tests", "reference", "test_graphs")


def check_graph(folder):
    """Fails by assertion."""
    cfg, weights, written = os.path.join(folder, "net.cfg"), os.path.join(folder, "net.weights"), os.path.join(folder, "written")
    equality.prune("apply", cfg, weights, "-mask", os.path.join(folder, "net-pruned.mask.json"), "-out", written, "-masked", 1, "-verify", 0)
    for name in ("net-pruned.cfg", "net-pruned.weights", "net-masked.weights"):
        assert equality.same_bytes(os.path.join(folder, name), os.path.join(written, name)), "apply writes another %s than the library" % name
    by_host = equality.compare_in_host(cfg, folder)
    if isinstance(by_host, str) and "it was written by AlexeyAB's or hank-ai's Darknet" in by_host:
        return      # [batchnorm] and [rnn] of a cfg that both know, stored as theirs
    with open(cfg, encoding="ascii") as f:
        if "[l2norm]" in f.read() and by_host == float("inf"):
            return      # the host divides by zero where all channels of a place are 0
    assert isinstance(by_host, float) and by_host <= 1e-4, "in the host: %s" % by_host


def main():
    passed = failed = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        subprocess.run([PROGRAM, "-dump-whole", folder, str(GRAPHS)], env=dict(os.environ, DIALECT="pjreddie"), check=True)
        graphs = [g for g in os.listdir(folder) if os.path.exists(os.path.join(folder, g, "ends.txt"))]
        for graph in sorted(graphs, key=int):
            try:
                check_graph(os.path.join(folder, graph))
                passed += 1
            except AssertionError as e:      # one graph must not hide the others
                failed += 1
                print("FAIL random graph %s: %s" % (graph, e))
    print("%d random graphs in the host" % (passed + failed))
    if passed + failed < GRAPHS:
        failed += 1
        print("FAIL only %d of %d random graphs were written" % (len(graphs), GRAPHS))
    counts = []
    cfg_table.main([], counts)
    print("%d passed, %d failed" % (passed + counts[0], failed + counts[1]))
    return 1 if failed + counts[1] else 0


if __name__ == "__main__":
    sys.exit(main())
