#!/usr/bin/env python3
"""Random graphs in OpenCV DNN: for what it reads, masked weights = pruned pair, and both equal the reference interpreter. Counts what it refuses and why.
GRAPHS (200) graphs from SEED on. Ends with the counts."""
import collections
import os
import subprocess
import sys
import tempfile

import numpy as np

try:
    import cv2  # noqa: F401  (only to skip where it is missing)
except ImportError:
    print("skip: python3-opencv is not installed")
    sys.exit(77)

import opencv_reader

PROGRAM = os.path.join(os.environ.get("PRUNE_BUILD", "build"), "tests", "reference", "test_graphs")
GRAPHS = int(os.environ.get("GRAPHS", "200"))
TOLERANCE, AGREEMENT = 1e-4, 2e-3     # OpenCV divides by sqrt(v + 0.000001) where Darknet adds behind the root: 5e-4 apart at v = 0.001


def load(folder):
    """(input, [layer], [its values in the interpreter]) of a dumped graph."""
    with open(os.path.join(folder, "net.cfg"), encoding="ascii") as f:
        size = dict(line.strip().split("=") for line in f.read().split("[", 2)[1].splitlines()[1:] if "=" in line)
    x = np.fromfile(os.path.join(folder, "input.bin"), np.float32).reshape(1, *(int(size[k]) for k in ("channels", "height", "width")))
    with open(os.path.join(folder, "ends.txt"), encoding="ascii") as f:
        ends = [int(line.split()[0]) for line in f]
    return x, ends, [np.fromfile(os.path.join(folder, "%d.bin" % i), np.float32) for i in ends]


def check(folder):
    """The reason why OpenCV does not read the graph, or None; fails by assertion."""
    x, ends, ours = load(folder)
    at = lambda name: os.path.join(folder, name)
    pruned, why = opencv_reader.outputs(at("net-pruned.cfg"), at("net-pruned.weights"), x, ends)
    if why:
        return opencv_reader.reason(why)
    masked, why = opencv_reader.outputs(at("net.cfg"), at("net-masked.weights"), x, ends)
    assert not why, "OpenCV reads the pruned network and not the masked one: %s" % why
    gap = opencv_reader.difference(masked, pruned)
    assert gap <= TOLERANCE, "masked and pruned differ by %.1e in OpenCV" % gap
    gap = opencv_reader.difference(ours, pruned)
    assert gap <= AGREEMENT, "OpenCV and the interpreter differ by %.1e on the pruned network" % gap
    return None


def main():
    refused, failed, read = collections.Counter(), 0, 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        subprocess.run([PROGRAM, "-dump", folder, str(GRAPHS)], check=True)
        graphs = sorted((g for g in os.listdir(folder) if os.path.exists(os.path.join(folder, g, "ends.txt"))), key=int)
        for graph in graphs:
            try:
                why = check(os.path.join(folder, graph))
                refused.update([why] if why else [])
                read += not why
            except AssertionError as e:
                failed += 1
                print("FAIL graph %s: %s" % (graph, e))
    print("OpenCV reads %d of %d graphs; refused: %s" % (read, len(graphs), "; ".join("%s (%d)" % r for r in refused.most_common())))
    if read < len(graphs) / 5:
        failed += 1
        print("FAIL OpenCV reads only %d of %d graphs: the test has lost its teeth" % (read, len(graphs)))
    print("%d passed, %d failed" % (read, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
