"""sosp-i and sosp-h against the float64 values of scripts/reference_second_order.py (tests/golden/second-order), taken in the space of weights: the greedy order, the modelled
loss after each removal, and the terms of the Hessian's product."""
import csv
import os
import sys
import tempfile

import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_reference_criteria import HERE, Network, check, results  # noqa: E402

GOLDEN = os.path.join(HERE, "..", "golden", "second-order")


def rows_of(name, wanted):
    """The row of numbers below "wanted rows columns" in NAME.txt."""
    lines = open(os.path.join(GOLDEN, name + ".txt")).read().split("\n")
    return next((np.array(lines[i + 1].split(), float) for i, line in enumerate(lines) if line.split(" ")[0] == wanted), None)


def greedy(net):
    order, after = rows_of(net.name, "order"), rows_of(net.name, "lambda")
    for size in "1", "7", "30":
        scores = net.scores(["sosp-i"], "-minibatch", size, "-probes", "exact")[0]["sosp-i"]
        units = order.astype(int)
        off = abs(scores[units] - after) / after[-1]
        check(f"{net.name}: sosp-i models the recorded losses (minibatches of {size})", off.max() < 1e-5, f"{off.max():.3g} of the largest at step {off.argmax()}")
        ours = sorted((u for u in range(len(scores)) if net.free[u]), key=lambda u: scores[u])
        tied = [i for i in range(len(units)) if ours[i] != units[i] and abs(scores[ours[i]] - scores[units[i]]) > 1e-5 * after[-1]]
        check(f"{net.name}: and takes units in the recorded order", not tied, tied)


def product(net, step, most):
    recorded = {int(r["unit"]): float(r["sosp-h"]) for r in csv.DictReader(open(os.path.join(GOLDEN, net.name + ".csv")))}
    scores = net.scores(["sosp-h"], "-minibatch", "7", *(("-step", step) if step else ()))[0]["sosp-h"]
    free = [u for u in recorded if net.free[u]]
    ours, theirs = scores[free], np.array([recorded[u] for u in free])
    off = abs(ours - theirs).max() / theirs.max()
    check(f"{net.name}: sosp-h is the recorded one ({'step ' + step if step else 'exact products'})", off < most, f"off by {off:.3g} of the largest")
    return off


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name in "plain", "residual", "grouped", "kinked":
            net = Network(name, folder)
            if rows_of(name, "order") is not None:
                greedy(net)
            if os.path.exists(os.path.join(GOLDEN, name + ".csv")):
                off = [product(net, step, most) for step, most in ((".02", 1e-2), (".01", 2e-3), (".0025", 2e-4))]
                exact = product(net, None, 1e-5)
                print(f"{name}: sosp-h off by {exact:.1e} of the largest; by differences {off[1]:.1e} of the largest, with a quarter of the step by {off[2]:.1e}")
                check(f"{name}: what is off is the step's square", 3.5 < off[0] / off[1] < 5, off)
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
