"""K-FAC scores of units through the command line, against the float64 values of scripts/reference_second_order.py (tests/golden/second-order), and what must
not break them: one image, minibatches of one, fewer images than dimensions, dead channels, an input of zeros (SOSP too). Factors,
surgery, products and Q: tests/host/test_second_order*.c; SOSP's scores: test_reference_sosp.py."""
import csv
import os
import re
import sys
import tempfile

import cv2
import numpy as np

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from test_reference_criteria import COUNT, FLOAT, Network, check, prune, results  # noqa: E402

GOLDEN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "second-order")
NETWORKS = ["plain", "residual", "grouped"]
MINIBATCHES = {"4": 4, "all": COUNT}
KFAC = ["nap", "c-obd", "kron-obd", "c-obs", "kron-obs"]
EMPIRICAL = ["-fisher", "empirical", "-kfac-samples", "1", "-damping", "0.001"]
SEEDS = 12


class Recorded(Network):
    def __init__(self, name, folder):
        super().__init__(name, folder)
        rows = list(csv.DictReader(open(os.path.join(GOLDEN, name + ".csv"))))
        self.recorded = {column: np.array([float(r[column]) for r in rows]) for column in rows[0]}

    def table(self, criteria, *flags, weights=None, listed=None):
        """({criterion: (units)} of every unit, what was printed); None: it failed."""
        table = os.path.join(self.folder, "scores.csv")
        p = prune("score", self.data, self.cfg, weights or self.weights, "-criterion", ",".join(criteria), "-csv", table, *(["-list", listed] if listed else []), *flags)
        check(f"{self.name}: score {' '.join(flags)} runs", p.returncode == 0, p.stderr)
        if p.returncode:
            return None, p.stderr
        rows = {int(r["unit"]): r for r in reversed(list(csv.DictReader(open(table))))}
        return {c: np.array([float(rows[u][c]) for u in range(len(rows))]) for c in criteria}, p.stdout + p.stderr


worst = {}


def compare(net, what, ours, theirs, tolerance):
    """Units that may be removed."""
    relative, share = tolerance
    ours, theirs = ours[net.free], theirs[net.free]
    excess = abs(ours - theirs) / (relative * abs(theirs) + share * abs(theirs).max())
    u = int(np.nan_to_num(excess, nan=np.inf).argmax())
    worst[what.split(" ")[0]] = max(worst.get(what.split(" ")[0], 0), (abs(ours - theirs) / abs(theirs).max()).max())
    check(f"{net.name}: {what} is the recorded one", np.isfinite(ours).all() and excess[u] <= 1, f"the {u}th unit that may go: {ours[u]:.9g}, recorded {theirs[u]:.9g}, "
          f"{excess[u]:.3g} times the tolerance; {int((excess > 1).sum())} of {len(ours)} are off")


def kfac_scores(net):
    r = net.recorded
    for label, size in MINIBATCHES.items():
        ours, _ = net.table(KFAC, "-minibatch", str(size), *EMPIRICAL)
        for c in ours or ():
            compare(net, f"{c} in minibatches of {label}", ours[c], r[f"{c}@{label}"], FLOAT)
    plain, _ = net.table(["nap"], "-minibatch", str(COUNT), "-normalize", "none", *EMPIRICAL)
    if plain:
        compare(net, "nap -normalize none", plain["nap"], r["nap-plain@all"], FLOAT)
    for scale, divisor in (("kernel", r["kernel"]), ("macs", r["macs"]), ("none", 1)):
        ours, _ = net.table(["c-obs", "nap"], "-minibatch", str(COUNT), "-scale", scale, *EMPIRICAL)
        for c, whole in (("c-obs", r["c-obs@all"]), ("nap", r["nap@all"] * r["macs"])) if ours else ():
            compare(net, f"{c} -scale {scale}", ours[c], whole / divisor, FLOAT)


def true_fisher(net):
    """Labels are drawn: scores that are linear in S scatter about the expectation, as widely as they should."""
    linear, draws = ["c-obd", "kron-obd"], []
    for seed in range(1, SEEDS + 1):
        ours, _ = net.table(linear, "-minibatch", str(COUNT), "-seed", str(seed), "-kfac-samples", "1")
        draws.append(ours)
    if None in draws:
        return
    for c in linear:
        values = np.array([d[c] for d in draws])[:, net.free]
        mean, spread = net.recorded[c + "-true"][net.free], net.recorded[c + "-spread"][net.free]
        seen = spread > 1e-4 * spread.max()
        off = ((values.mean(0) - mean) / (spread / np.sqrt(SEEDS)))[seen]
        check(f"{net.name}: {c} of drawn labels is the true Fisher's on average", abs(off).max() < 5, f"{abs(off).max():.3g} standard errors")
        ratio = (values.var(0, ddof=1)[seen] / spread[seen] ** 2).mean()
        check(f"{net.name}: {c} of drawn labels scatters as it should", .4 < ratio < 2, f"variance {ratio:.3g} times the exact one")


# ---- what must not break them ----------------------------------------------------------------------------------------
ALL = [*KFAC, "sosp-i", "sosp-h"]


def sound(net, what, ours, zero=()):
    for c in ours or ():
        good = np.isfinite(ours[c][net.free]).all() and (ours[c][net.free] >= 0).all() and ours[c][net.free].max() > 0
        check(f"{net.name}: {c} with {what} is finite, not negative and not 0 everywhere", good, ours[c])
        check(f"{net.name}: {c} with {what}: what is dead scores 0", all(ours[c][u] <= 1e-15 * ours[c].max() for u in zero), [ours[c][u] for u in zero])


def few_images(net):
    """Factors of rank 1, or of the images' number."""
    for what, flags in (("one image", ["-images", "1"]), ("two images in minibatches of one", ["-images", "2", "-minibatch", "1"]), ("minibatches of one", ["-minibatch", "1"]),
                        ("few locations", ["-images", "1", "-kfac-samples", "0.01"]), ("little damping", ["-images", "1", "-damping", "1e-12"])):
        for fisher in "sampled", "empirical":
            ours, _ = net.table(ALL if flags[0] == "-images" else KFAC, *flags, "-fisher", fisher)
            sound(net, f"{what}, {fisher}", ours)


def reports_damping(net):
    """Nothing is left of a damping that rounding takes away: more is added, and said."""
    ours, said = net.table(["c-obs"], "-images", "1", "-damping", "1e-30")
    sound(net, "no damping to speak of", ours)
    check(f"{net.name}: damping that was added is told", re.search(r"not positive definite.*damping, [0-9.e-]+ at most", said), said)
    _, said = net.table(["c-obs"], "-damping", "1e-3")
    check(f"{net.name}: and not told where none was", "positive definite" not in said, said)


def dead_channel(net):
    """The first filter of layer 0: weights, scale and shift 0."""
    raw = bytearray(open(net.weights, "rb").read())
    values = np.frombuffer(raw, "<f4", offset=20).copy()
    n = {"plain": 6, "residual": 6, "grouped": 8}[net.name]
    for at in (0, n, *range(4 * n, 4 * n + 27)):           # bias, scale, weights behind means and variances
        values[at] = 0
    path = os.path.join(net.folder, "dead.weights")
    with open(path, "wb") as f:
        f.write(bytes(raw[:20]) + values.tobytes())
    for fisher in "sampled", "empirical":
        ours, _ = net.table(ALL, "-fisher", fisher, weights=path)
        sound(net, f"a dead channel, {fisher}", ours, [0] if net.name == "plain" else [])


def black_image(net):
    """No input: the first layer's A is 0, and so is its score."""
    path = os.path.join(net.folder, "images", "black_kind_a.png")
    cv2.imwrite(path, np.zeros((16, 16, 3), np.uint8))
    ours, _ = net.table(KFAC, listed=net.write("black", path + "\n"))
    first = [u for u in range(len(net.free)) if net.recorded["layer"][u] == 0]
    sound(net, "a black image", {c: ours[c] for c in ("c-obd", "kron-obd")} if ours else None, first if net.name == "plain" else [])
    sound(net, "a black image", {c: ours[c] for c in ("nap", "c-obs", "kron-obs")} if ours else None)


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name in NETWORKS:
            net = Recorded(name, folder)
            kfac_scores(net)
            true_fisher(net)
            few_images(net)
            reports_damping(net)
            dead_channel(net)
            black_image(net)
    print("largest difference, as a share of the column's largest value:")
    for c in sorted(worst):
        print(f"  {c:10} {worst[c]:.1e}")
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
