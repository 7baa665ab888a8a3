#!/usr/bin/env python3
"""Masked = pruned = gates shut: on random graphs in float64, then on a fast subset of real cfgs in OpenCV and numpy. Ends with the counts."""
import os
import sys
import tempfile

import numpy as np

try:
    import cv2  # noqa: F401  (only to skip where it is missing)
except ImportError:
    print("skip: python3-opencv is not installed")
    sys.exit(77)

import cfg_table
import darknet_numpy
import equality
import random_graphs

GRAPHS, TOLERANCE = 40, 1e-9
OPTIONS = ([], ["-per-layer"], ["-cost", "macs", "-min-keep", 2], ["-multiple", 2])


def check_graph(seed, folder):
    """Fails by assertion. Returns whether anything could be pruned."""
    cfg, weights = os.path.join(folder, "net.cfg"), os.path.join(folder, "net.weights")
    with open(cfg, "w", encoding="utf-8") as f:
        f.write(random_graphs.make(seed))
    rng = np.random.default_rng(seed)
    net = darknet_numpy.Net(cfg, np.float64)
    net.random(rng)
    net.write(weights)
    assert equality.keep_all_is_identical(cfg, weights, folder), "a mask that keeps everything changes a file"
    target = rng.uniform(0.3, 0.9)
    command = ["apply", cfg, weights, "-criterion", "random", "-seed", seed, "-out", folder, "-masked", 1, "-verify", 0] + OPTIONS[seed % len(OPTIONS)]
    message = equality.prune(*command, "-macs", target, fails=True)
    if message:
        least = equality.smallest_reachable(message)
        assert least is not None, message
        if least >= 1:
            return False
        equality.prune(*command, "-macs", min(1, least + 1e-4))
    before, after = equality.inspect(cfg), equality.inspect(equality.pair_paths(folder, cfg)[0])
    assert after["macs"] < before["macs"] or after["parameters"] < before["parameters"], "nothing was removed"
    if not message:
        assert after["macs"] <= target * before["macs"], "the target is not met"
    x = rng.random((2,) + net.input_shape)
    masked, gated, _ = equality.compare_in_numpy(cfg, weights, folder, x)
    assert masked <= TOLERANCE and gated <= TOLERANCE, "masked %.1e, gates shut %.1e from pruned" % (masked, gated)
    by_host = equality.compare_in_host(cfg, folder)
    if "[l2norm]" in random_graphs.make(seed) and by_host == float("inf"):
        return True     # the host divides by zero where all channels of a place are 0
    assert isinstance(by_host, float) and by_host <= 1e-4, "in the host: %s" % by_host
    return True


def main():
    passed = failed = pruned = 0
    for seed in range(GRAPHS):
        with tempfile.TemporaryDirectory() as folder:
            try:
                pruned += check_graph(seed, folder)
                passed += 1
            except Exception as e:      # one graph must not hide the others
                failed += 1
                print("FAIL random graph %d: %s: %s" % (seed, type(e).__name__, e))
    print("%d random graphs, %d of them pruned" % (GRAPHS, pruned))
    if pruned < GRAPHS * 3 // 4:
        failed += 1
        print("FAIL only %d of %d random graphs could be pruned: the test has lost its teeth" % (pruned, GRAPHS))
    counts = []
    cfg_table.main([], counts)
    print("%d passed, %d failed" % (passed + counts[0], failed + counts[1]))
    return 1 if failed + counts[1] else 0


if __name__ == "__main__":
    sys.exit(main())
