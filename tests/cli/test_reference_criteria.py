"""Every criterion of the registry, and the oracle, against the float64 values of scripts/reference_criteria.py (tests/golden/criteria): five small
networks, minibatches of 1, 4 and all 30 images. Criteria that look at single images must not depend on batch, subdivisions, threads or the order of images."""
import csv
import os
import re
import subprocess
import sys
import tempfile

import cv2
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "..", "golden", "criteria")
DARKNET = os.environ.get("PRUNE_BIN", os.path.join(HERE, "..", "..", "bin", "darknet"))
NETWORKS = ["plain", "residual", "grouped", "kinked", "detector"]
COUNT, TILES = 30, 6
MINIBATCHES = {"1": 1, "4": 4, "all": COUNT}
LABELS = ["kind_a", "kind_b", "kind_c", "kind_d"]

# A value may differ from its reference by so much of itself, plus so much of the largest value of its column. Sums of float32 passes over 30 images:
# 5e-6 of the column; weights alone in double: what nine digits of a CSV leave; differences of gradients with a step of 1e-2: the step's square.
FLOAT, DOUBLE, STEP, ORACLE = (1e-4, 5e-6), (1e-6, 1e-8), (1e-3, 1e-3), (1e-5, 1e-6)
TOLERANCE = {
    "taylor-fo": FLOAT, "taylor-fg": FLOAT, "taylor-weight": FLOAT, "taylor-weight-group": FLOAT, "bn-taylor": FLOAT, "taylor-output": FLOAT,
    "grad-magnitude": FLOAT, "grad-magnitude-layer": FLOAT, "taylor-logits": FLOAT, "taylor-logits-greedy": FLOAT, "hrank": (1e-7, 0),
    "taylor-so": STEP, "taylor-so-row": FLOAT, "obd": STEP,
    "magnitude": DOUBLE, "magnitude-l1": DOUBLE, "magnitude-layer": DOUBLE, "bn-scale": DOUBLE, "fpgm": DOUBLE,
}
RANDOM = {"random", "taylor-so-hutchinson", "obd-hutchinson", "taylor-so-gn", "obd-gn"}     # checks of their own, below
SECOND_ORDER = {"sosp-i", "sosp-h", "nap", "c-obd", "kron-obd", "c-obs", "kron-obs"}        # test_reference_sosp.py, test_reference_second_order.py
PER_IMAGE = ["taylor-fg", "taylor-output", "taylor-logits", "hrank", "taylor-so", "taylor-so-row", "obd"]
SECOND = {"taylor-so", "taylor-so-row", "obd", "taylor-so-hutchinson", "obd-hutchinson"}
NOT_HERE = {"kinked": SECOND, "detector": {"taylor-logits", "taylor-logits-greedy"}}      # kinks have no second derivative; a detector has no rivals
PROBES = 64

results = []


def check(sentence, good, detail=""):
    results.append(bool(good))
    if not good:
        print(f"FAIL: {sentence}: {detail}")


def prune(*arguments):
    return subprocess.run([DARKNET, "prune", *arguments], capture_output=True, text=True)


def registry():
    """Names of the criteria that this build has."""
    return re.findall(r"^([a-z][a-z0-9-]*) ", prune("criteria").stdout, re.M)


class Network:
    """The files of one reference network in a folder of its own; recorded: {column: (units)}."""

    def __init__(self, name, folder):
        self.name, self.folder = name, os.path.join(folder, name)
        self.cfg, self.weights = (os.path.join(GOLDEN, name + end) for end in (".cfg", ".weights"))
        rows = list(csv.DictReader(open(os.path.join(GOLDEN, name + ".csv"))))
        self.recorded = {column: np.array([float(r[column]) for r in rows]) for column in rows[0]}
        self.free = self.recorded["protected"] == 0
        self.write_data()

    def write_data(self):
        sheet, size = ("scenes", 32) if self.name == "detector" else ("shapes", 16)
        pixels = cv2.imread(os.path.join(GOLDEN, sheet + ".png"))
        truths = open(os.path.join(GOLDEN, sheet + ".txt")).read().split("\n")
        self.paths = []
        for folder in "images", "labels":
            os.makedirs(os.path.join(self.folder, folder))
        for i in range(COUNT):
            label = f"tile{i:02d}" if size == 32 else f"tile{i:02d}_{LABELS[int(truths[i])]}"
            self.paths.append(os.path.join(self.folder, "images", label + ".png"))
            cv2.imwrite(self.paths[-1], pixels[i // TILES * size:, i % TILES * size:][:size, :size])
            with open(os.path.join(self.folder, "labels", label + ".txt"), "w") as f:
                f.writelines(line + "\n" for line in truths[i].split("; ") if size == 32 and line != "-")
        classes = ["one", "two", "three"] if size == 32 else LABELS
        self.write("names", "\n".join(classes) + "\n")
        self.list = self.write("train", "\n".join(self.paths) + "\n")
        self.data = self.write("data", "classes=%d\ntrain=%s\nvalid=%s\nlabels=%s\nnames=%s\nbackup=%s\n" % (
            len(classes), self.list, self.list, os.path.join(self.folder, "names"), os.path.join(self.folder, "names"), self.folder))

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w") as f:
            f.write(text)
        return f.name

    def scores(self, criteria, *flags, cfg=None):
        """({criterion: (units)}, the loss that was printed), one value per unit; None when the program failed."""
        table = os.path.join(self.folder, "scores.csv")
        rivals = () if "-rivals" in flags else ("-rivals", "2")        # of the recorded columns without a number
        p = prune("score", self.data, cfg or self.cfg, self.weights, "-criterion", ",".join(criteria), "-csv", table, *rivals, *flags)
        check(f"{self.name}: score {' '.join(flags)} runs", p.returncode == 0, p.stderr)
        if p.returncode:
            return None, None
        rows = {int(r["unit"]): r for r in reversed(list(csv.DictReader(open(table))))}       # of several producers the first
        check(f"{self.name}: the units are the recorded ones", all(int(rows[u][k]) == self.recorded[k][u] for u in rows for k in ("layer", "channel", "protected"))
              and len(rows) == len(self.free), len(rows))
        loss = re.search(r"loss ([0-9.e+-]+)", p.stdout)
        return {c: np.array([float(rows[u][c]) for u in range(len(rows))]) for c in criteria}, float(loss[1]) if loss else None


worst = {}


def compare(net, criterion, ours, column, what, tolerance=None):
    """Units that may be removed: what a criterion says of the others has no use."""
    relative, share = tolerance or TOLERANCE[criterion]
    theirs, used = net.recorded[column], net.free
    allowed = relative * abs(theirs) + share * abs(theirs[used]).max()
    excess = np.where(used, abs(ours - theirs) / np.maximum(allowed, 1e-300), 0)
    u = int(excess.argmax())
    worst[criterion] = np.maximum(worst.get(criterion, 0), [(abs(ours - theirs)[used] / abs(theirs[used]).max()).max(), excess[u]])
    check(f"{net.name}: {criterion} {what} is the recorded one", np.isfinite(ours).all() and excess[u] <= 1,
          f"unit {u} (layer {net.recorded['layer'][u]:.0f} channel {net.recorded['channel'][u]:.0f}): {ours[u]:.9g}, recorded {theirs[u]:.9g}, "
          f"{excess[u]:.3g} times the tolerance; {int((excess > 1).sum())} of {int(used.sum())} units are off")


def column_of(net, criterion, label):
    return f"{criterion}@{label}" if f"{criterion}@{label}" in net.recorded else criterion


def known(net, criteria):
    return [c for c in criteria if c not in NOT_HERE.get(net.name, ())]


def against_references(net, have):
    criteria = known(net, [c for c in TOLERANCE if c in have])
    for label, size in MINIBATCHES.items():
        ours, loss = net.scores(criteria, "-minibatch", str(size))
        if ours is None:
            continue
        check(f"{net.name}: minibatches of {label} see the recorded loss", loss and abs(loss / net.recorded["loss"][0] - 1) < 1e-5, loss)
        for c in criteria:
            compare(net, c, ours[c], column_of(net, c, label), f"in minibatches of {label}")


def options(net, have):
    """Flags that change what is computed: -norm, -rivals."""
    ours, _ = net.scores(["magnitude"], "-norm", "1")
    compare(net, "magnitude", ours["magnitude"], "magnitude-l1", "-norm 1")
    for rivals in ("1", "3") if "taylor-logits" in known(net, have) else ():
        ours, _ = net.scores(["taylor-logits"], "-rivals", rivals)
        compare(net, "taylor-logits", ours["taylor-logits"], "taylor-logits:" + rivals, "-rivals " + rivals)


def other_gates(net):
    """-gate: criteria of gates with gates in other places."""
    for place in "before-bn", "after-activation":
        for label, size in MINIBATCHES.items():
            ours, _ = net.scores(["taylor-fo", "taylor-fg"], "-gate", place, "-minibatch", str(size))
            for c in ours or ():
                compare(net, c, ours[c], column_of(net, f"{c}:{place}", label), f"{place} in minibatches of {label}")
    if net.name not in NOT_HERE or "taylor-so" not in NOT_HERE[net.name]:
        ours, _ = net.scores(["taylor-so", "obd"], "-gate", "before-bn", "-step", ".0025")     # curvature varies faster in front of a batch-norm
        for c in ours or ():
            compare(net, c, ours[c], c + ":before-bn", "before-bn")


def estimators(net, have):
    """Random estimators: unbiased, with the scatter that the exact matrices say, and the score follows from the estimate."""
    r, free = net.recorded, net.free
    for kind, exact, scatter in (("hutchinson", "hessian", "hessian-others"), ("gn", "gauss-newton", "gauss-newton-spread")):
        pair = known(net, [c for c in ("obd-" + kind, "taylor-so-" + kind) if c in have])
        if len(pair) < 2:
            continue
        ours, _ = net.scores(pair, "-probes", str(PROBES))
        if ours is None:
            continue
        spread = (np.sqrt(r[scatter]) if kind == "hutchinson" else r[scatter]) / np.sqrt(PROBES)
        off = (2 * ours[pair[0]] - r[exact])[free] / np.maximum(spread, 1e-6 * spread.max())[free]
        check(f"{net.name}: {pair[0]} scatters about the exact value as it should", .3 < np.mean(off ** 2) < 2 and abs(off).max() < 5,
              f"mean square of deviations in standard deviations {np.mean(off ** 2):.3g}, largest {abs(off).max():.3g}")
        change = (r["gradient"] - ours[pair[0]])[free] ** 2
        check(f"{net.name}: {pair[1]} is (g - {pair[0]})^2", (abs(ours[pair[1]][free] - change) <= 1e-3 * change + 1e-5 * change.max()).all(),
              abs(ours[pair[1]][free] - change).max())


def per_image(net, have):
    """Batch, subdivisions, threads and order of the images: none of them matters to criteria of single images; of taylor-fo they are the definition."""
    criteria = known(net, [c for c in PER_IMAGE if c in have])
    base, _ = net.scores(criteria, "-threads", "2")
    text = open(net.cfg).read()
    backwards = net.write("backwards", "\n".join(reversed(net.paths)) + "\n")
    small = net.write(net.name + ".cfg", text.replace("batch=30\nsubdivisions=1", "batch=12\nsubdivisions=3"))
    for what, flags, cfg in (("minibatch 1, 1 thread", ["-minibatch", "1", "-threads", "1"], None), ("batch 12, subdivisions 3, 3 threads", ["-threads", "3"], small),
                             ("minibatch 7, images backwards", ["-minibatch", "7", "-list", backwards], None)):
        ours, _ = net.scores(criteria, *flags, cfg=cfg)
        for c in criteria if base and ours else ():
            top = abs(base[c][net.free]).max()
            check(f"{net.name}: {c} with {what} is the same", abs(ours[c] - base[c])[net.free].max() <= (1e-4 if c in SECOND else 1e-5) * top,
                  f"{abs(ours[c] - base[c])[net.free].max() / top:.3g} of the largest")
    ours, _ = net.scores(["taylor-fo", "taylor-fg"], "-minibatch", "1")
    check(f"{net.name}: taylor-fo in minibatches of 1 is taylor-fg", (abs(ours["taylor-fo"] - ours["taylor-fg"]) <= 1e-6 * ours["taylor-fg"].max()).all())


def table(net, verb_flags):
    """Rows of what `oracle` writes."""
    path = os.path.join(net.folder, "oracle.csv")
    p = prune("oracle", net.data, net.cfg, net.weights, "-csv", path, *verb_flags)
    check(f"{net.name}: oracle {' '.join(verb_flags)} runs", p.returncode == 0, p.stderr)
    return list(csv.DictReader(open(path))) if p.returncode == 0 else []


def oracles(net):
    """Losses without each unit; the greedy oracle's order; all subsets of a layer."""
    rows, r = table(net, []), net.recorded
    if not rows:
        return
    check(f"{net.name}: the oracle has every unit that may go", [int(x["unit"]) for x in rows] == list(np.flatnonzero(net.free)), len(rows))
    for column, reference, what in (("loss_without", "without", "loss"), ("oracle", "oracle", "oracle")):
        ours = np.zeros(len(net.free))
        ours[net.free] = [float(x[column]) for x in rows]
        compare(net, what, ours, reference, "without each unit", ORACLE)
    steps = int(r["greedy-step"].max())
    order = [int(np.flatnonzero(r["greedy-step"] == i + 1)[0]) for i in range(steps)]
    rows = table(net, ["-greedy", str(steps)])[1:]
    check(f"{net.name}: the greedy oracle removes the recorded units", [int(x["unit"]) for x in rows] == order, [x["unit"] for x in rows])
    for x in rows:
        check(f"{net.name}: the loss at step {x['step']}", abs(float(x["loss"]) / r["greedy-loss"][int(x["unit"])] - 1) < 1e-5, x["loss"])
    if net.name == "plain":
        recorded = list(csv.DictReader(open(os.path.join(GOLDEN, "plain-subsets.csv"))))
        for ours, theirs in zip(table(net, ["-subsets", "0"]), recorded):
            check(f"subsets of {theirs['removed']} units", all(abs(float(ours[k]) / float(theirs[k]) - 1) < 1e-5 for k in ("subsets", "least", "mean", "most")), ours)


def steps(net):
    """The error of differences falls with the square of the step: what is left is not a mistake."""
    off = []
    for step in ".02", ".01":
        ours, _ = net.scores(["obd"], "-gate", "before-bn", "-step", step)
        off.append(abs(ours["obd"] - net.recorded["obd:before-bn"])[net.free].max())
    check(f"{net.name}: half the step, a quarter of the error", 3.5 < off[0] / off[1] < 4.5, off)


def draws(net):
    """random: in [0, 1), from the seed."""
    first, again, other = (net.scores(["random"], "-seed", s)[0]["random"] for s in ("1", "1", "2"))
    check("random lies in [0, 1) and covers it", first.min() >= 0 and first.max() < 1 and first.max() - first.min() > .8, first)
    check("random depends on the seed and on nothing else", (first == again).all() and (first != other).all())


def main():
    have = registry()
    for c in [*TOLERANCE, *RANDOM]:
        check(f"the registry has {c}", c in have)
    for c in have:
        check(f"{c} has a reference", c in TOLERANCE or c in RANDOM or c in SECOND_ORDER, "add it to scripts/reference_criteria.py and to this test")
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            net = Network(name, folder)
            against_references(net, have)
            estimators(net, have)
            per_image(net, have)
            options(net, have)
            other_gates(net)
            oracles(net)
            if name == "plain":
                steps(net)
        draws(net)
    print("largest difference, as a share of the column's largest value and of the tolerance:")
    for c in sorted(worst):
        print(f"  {c:22} {worst[c][0]:.1e} {worst[c][1]:.2f}")
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
