#!/usr/bin/python3
"""The flags of K-FAC criteria from outside, on rendered shapes and random weights: what each changes and what it does not, by identities that need no reference;
wrong values; the notes on damping and on differences in place of products; states of several passes; the same flags of `curve`. Ends with "N passed, N failed"."""
import csv
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
DARKNET = os.path.realpath(os.environ.get("PRUNE_BIN", os.path.join(ROOT, "bin", "darknet")))
RENDER = os.path.realpath(os.environ.get("PRUNE_RENDER", os.path.join(ROOT, "bin", "render-data")))
LAYERS = [(8, 3, 3, 2), (6, 8, 3, 2), (10, 6, 1, 1), (8, 10, 3, 1)]   # filters, channels, size, stride; the last without batch-norm, it gives the classes
results = []


def check(sentence, good, detail=""):
    results.append(bool(good))
    if not good:
        print(f"FAIL: {sentence}: {detail}")


def a_network(folder):
    """(cfg, weights, (filters) squared norms of the units' weights) of small random filters."""
    draw, norms = np.random.default_rng(5), []
    cfg, weights = os.path.join(folder, "net.cfg"), os.path.join(folder, "net.weights")
    with open(cfg, "w") as c, open(weights, "wb") as w:
        c.write("[net]\nbatch=8\nsubdivisions=1\nwidth=32\nheight=32\nchannels=3\n\n")
        w.write(np.array([0, 2, 0], "<i4").tobytes() + np.array([0], "<u8").tobytes())
        for i, (n, channels, size, stride) in enumerate(LAYERS):
            last = i + 1 == len(LAYERS)
            c.write("[convolutional]\n" + ("" if last else "batch_normalize=1\n") + f"filters={n}\nsize={size}\nstride={stride}\npad=1\nactivation={'linear' if last else 'leaky'}\n\n")
            filters = draw.normal(0, (channels * size * size) ** -.5, (n, channels * size * size)).astype("<f4")
            norms.append((filters.astype(float) ** 2).sum(1))
            w.write(draw.normal(0, .1, n).astype("<f4").tobytes())
            if not last:
                w.write(np.concatenate([draw.uniform(.5, 1.5, n), np.zeros(n), np.ones(n)]).astype("<f4").tobytes())
            w.write(filters.tobytes())
        c.write("[avgpool]\n\n[softmax]\n")
    return cfg, weights, np.concatenate(norms[:-1])


class Net:
    def __init__(self, folder):
        self.folder, self.data = folder, os.path.join(folder, "d", "shapes.data")
        subprocess.run([RENDER, "classify", os.path.join(folder, "d"), "-images", "32", "-valid", "8"], check=True, capture_output=True)
        self.cfg, self.weights, self.norms = a_network(folder)

    def prune(self, verb, *flags, code=0, says=""):
        p = subprocess.run([DARKNET, "prune", verb, self.data, self.cfg, self.weights, *map(str, flags)], capture_output=True, text=True, timeout=120)
        check(f"{verb} {' '.join(map(str, flags))} exits with {code} and says '{says}'", p.returncode == code and says in p.stderr, f"{p.returncode}: {p.stderr[-400:]}")
        return p

    def scores(self, criteria, *flags):
        """(criteria, units) of the units that may go."""
        table = os.path.join(self.folder, "scores.csv")
        if os.path.exists(table):
            os.remove(table)
        self.prune("score", "-criterion", ",".join(criteria), "-csv", table, "-images", 16, *flags)
        rows = {int(r["unit"]): r for r in csv.DictReader(open(table))} if os.path.exists(table) else {}
        return np.array([[float(rows[u][c]) for u in range(len(self.norms))] for c in criteria]) if rows else np.zeros((len(criteria), len(self.norms)))


def same(a, b, tolerance=0.0):
    return a.any() and np.all(abs(a - b) <= tolerance * abs(b))


def values_do_what_they_say(n):
    five = ["nap", "c-obd", "kron-obd", "c-obs", "kron-obs"]
    plain = n.scores(five)
    check("the same command gives the same scores", same(n.scores(five), plain))

    bare = n.scores(["nap", "c-obs"], "-normalize", "none", "-scale", "none")
    check("nap with neither normalisation nor divisor is c-obs", same(bare[0], bare[1]), bare)
    check("c-obs has neither anyway", same(bare[1], plain[3]))
    at, share = 0, n.scores(["nap"], "-scale", "none")[0]
    for filters, *_ in LAYERS[:-1]:
        check("normalised scores of a layer sum to 1", abs(share[at:at + filters].sum() - 1) < 1e-6, share[at:at + filters].sum())
        at += filters
    sides = np.repeat([s for _, _, s, _ in LAYERS[:-1]], [f for f, *_ in LAYERS[:-1]])
    check("-scale kernel divides by the side", same(n.scores(["c-obs"], "-scale", "kernel")[0] * sides, plain[3], 1e-6))
    check("-scale macs is what nap does by itself", same(n.scores(["nap"], "-scale", "macs")[0], plain[0]) and not same(share, plain[0], 1e-3))

    damped = n.scores(five, "-damping", 1e14)
    check("damping beyond all statistics leaves L |w|^2 / 2", same(damped[3], .5e14 * n.norms, 1e-3), (damped[3], .5e14 * n.norms))
    check("the OBD forms are not damped", same(n.scores(["c-obd"], "-damping", 0.1)[0], plain[1], 1e-6))
    check("the OBS forms are", not same(n.scores(["c-obs"], "-damping", 0.1)[0], plain[3], 1e-3))

    exact = ["-kfac-samples", 1, "-fisher", "empirical"]
    empirical = n.scores(five, *exact, "-seed", 1)
    check("labels at all locations leave nothing to chance", same(n.scores(five, *exact, "-seed", 2), empirical))
    check("drawn targets do", not same(n.scores(five, "-kfac-samples", 1, "-seed", 2), n.scores(five, "-kfac-samples", 1, "-seed", 1), 1e-3))
    check("drawn targets are not the labels", not same(n.scores(five, "-kfac-samples", 1), empirical, 1e-3))
    check("drawn locations are not all", not same(n.scores(five, "-kfac-samples", 0.1, "-fisher", "empirical"), empirical, 1e-3))

    means = n.scores(["kron-obd"], *exact, "-kfac-decay", 1, "-minibatch", 8)
    check("a decay of 1 is the plain mean", same(means, n.scores(["kron-obd"], *exact, "-minibatch", 16), 1e-4), means)
    check("a decay of 0.1 is not", not same(n.scores(["kron-obd"], *exact, "-kfac-decay", 0.1, "-minibatch", 8), means, 1e-3))
    check("shares of the layers give the same scores", same(n.scores(five, *exact, "-memory", "4K"), empirical))


def wrong_values_are_named(n):
    for flag, value, says in (("damping", 0, "'0' is outside"), ("damping", -1, "'-1' is outside"), ("damping", "x", "'x'"), ("kfac-samples", 0, "'0' is outside"),
                              ("kfac-samples", 1.5, "'1.5' is outside"), ("kfac-decay", 0, "'0' is outside"), ("kfac-decay", 2, "'2' is outside"),
                              ("fisher", "true", "'true' is not one of sampled, empirical"), ("normalize", "all", "'all' is not one of layer, none"),
                              ("scale", "flops", "'flops' is not one of none, kernel, macs"), ("memory", "2T", "'2T' is no size such as 800M or 2G"),
                              ("memory", "0", "'0' is no size"), ("memory", "nan", "'nan' is no size")):
        n.prune("score", "-criterion", "nap", f"-{flag}", value, "-out", os.path.join(n.folder, "x.json"), code=2, says=f"flag '-{flag}': {says}")
        n.prune("curve", "-criteria", "nap", f"-{flag}", value, "-out", os.path.join(n.folder, "x"), code=2, says=f"flag '-{flag}': {says}")


def notes_and_states(n):
    out = os.path.join(n.folder, "x.json")
    p = n.prune("score", "-criterion", "c-obs,kron-obs", "-images", 1, "-damping", "1e-30", "-out", out, says="not positive definite")
    check("damping that was added is told once for criteria of one state", (p.stderr + p.stdout).count("not positive definite") == 1, p.stderr + p.stdout)
    p = n.prune("score", "-criterion", "c-obs", "-images", 16, "-out", out)
    check("and only then", "not positive definite" not in p.stderr, p.stderr)
    state = os.path.join(n.folder, "x.state")
    n.prune("score", "-criterion", "nap", "-images", 16, "-memory", "4K", "-state", state, "-out", out, code=2, says="takes several passes")
    check("nothing is left of a state that was refused", not os.path.exists(state))
    n.prune("score", "-criterion", "nap", "-images", 8, "-state", state, "-out", out)
    n.prune("score", "-criterion", "nap", "-images", 16, "-resume", state, "-memory", "4K", "-out", out, code=2, says="takes several passes")
    n.prune("score", "-criterion", "nap", "-images", 16, "-resume", state, "-kfac-decay", 0.5, "-out", out, code=2, says="was made with 0")


def curves_have_them_too(n):
    base = os.path.join(n.folder, "curve")
    words = ["-criteria", "c-obs", "-recompute", 0, "-images", 16, "-step", 4, "-out", base]
    n.prune("curve", *words, "-damping", 1e14)
    with open(base + ".json") as f:
        order = json.load(f)["curves"][0]["order"]
    check("a curve goes by the scores of its damping", len(order) > 8 and np.all(np.diff(n.norms[order[:4]]) >= 0) and order[0] == n.norms.argmin(), (order, n.norms))
    n.prune("curve", *words, code=1, says="cannot go on from")
    n.prune("curve", *words, "-damping", 1e14)


def differences_are_told_once(n):
    """Cross-channel normalisation has no tangents: every verb that scores says so, however many criteria and passes there are; with -step the user has asked for them."""
    with open(n.cfg) as f:
        text = f.read()
    whole, n.cfg = n.cfg, os.path.join(n.folder, "normalised.cfg")
    with open(n.cfg, "w") as f:
        f.write(text.replace("[avgpool]", "[normalization]\nsize=5\nalpha=0.0001\nbeta=0.75\nkappa=1\n\n[avgpool]"))
    out, note = os.path.join(n.folder, "differences"), "has no tangent pass"
    for verb, words in (("score", ["-criterion", "sosp-h,taylor-so-row", "-images", 16, "-minibatch", 4]), ("curve", ["-criteria", "sosp-h", "-images", 8, "-units", .7]),
                        ("correlate", ["-criteria", "sosp-h,taylor-so-row", "-images", 8]),
                        ("run", ["-criterion", "taylor-so-row", "-units", .7, "-batches-per-iteration", 2, "-score-images", 8])):
        told = n.prune(verb, *words, "-out", out + verb).stderr
        check(f"{verb}: differences are told once", told.count(note) == 1, told[-600:])
    told = n.prune("score", "-criterion", "sosp-h", "-images", 16, "-step", 0.01, "-out", out).stderr
    check("what was asked for is not told", note not in told, told)
    n.cfg = whole
    told = n.prune("score", "-criterion", "sosp-h", "-images", 16, "-out", out).stderr
    check("nor are products", note not in told, told)


def main():
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        n = Net(folder)
        for test in (values_do_what_they_say, wrong_values_are_named, notes_and_states, curves_have_them_too, differences_are_told_once):
            test(n)
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    sys.exit(not all(results))


main()
