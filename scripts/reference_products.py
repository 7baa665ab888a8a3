#!/usr/bin/python3
"""Products of the gates' Hessian with a direction, in float64, by double backward (PyTorch, scripts/reference_net.py).

usage: scripts/reference_products.py                       writes tests/golden/criteria/products.csv, which tests/host/test_products.c holds the host to
       scripts/reference_products.py -table BIN/darknet    the table of docs/hessian-products.md: the five networks of tests/golden/criteria
       scripts/reference_products.py -table BIN/darknet DATA.data NET.cfg NET.weights N      the first N training images of a classifier
from the root of the project; needs python3-torch (scripts/deps.sh -bench).

products.csv: network, unit, direction v_u, and (H v)_u with the gates at each of three places (docs/gates.md). H is the second derivative of the mean loss of
all images in the gates at z = 1; where activations have kinks, that of the piece the network is on. v is uniform in -1..1, from the network's place in the
list, rounded to float32, 0 for units without gates.
-table: errors relative to the product, as vectors of v_u (H v)_u, v the signs of `obd-hutchinson -probes 1 -seed 1`: of products of `darknet prune score`
(float32), of differences there with several steps (-step), and of the same differences in float64 (truncation, and at kinks another quantity).
"""
import csv
import os
import subprocess
import sys
import tempfile

import cv2
import numpy as np
import torch

sys.dont_write_bytecode = True
import reference_criteria as reference  # noqa: E402
import step_curve  # noqa: E402
from reference_net import Net, Units  # noqa: E402

PLACES = ["after-bn", "before-bn", "after-activation"]
STEPS = [1e-3, 1e-2, 1e-1]


def sites_of(units, place):
    return units.sites if place == "after-bn" else units.placed(place)


def direction(units, seed):
    rng = np.random.default_rng([6, seed])
    gated = {u for _, _, u, _ in units.sites}
    v = rng.uniform(-1, 1, len(units.members)).astype(np.float32).astype(np.float64)
    return np.array([v[u] if u in gated else 0 for u in range(len(v))])


def gradient(net, x, truths, sites, z, graph=False):
    return torch.autograd.grad(net.losses(net.forward(x, z, sites), truths).mean(), z, create_graph=graph)[0]


def product(net, x, truths, sites, v):
    z = torch.ones(len(v), requires_grad=True)
    first = gradient(net, x, truths, sites, z, True)
    return torch.autograd.grad(first, z, torch.from_numpy(v))[0].numpy()


def load(name):
    net = Net(os.path.join(reference.FOLDER, name + ".cfg"))
    net.read(os.path.join(reference.FOLDER, name + ".weights"))
    x, truths = reference.read_images(name)
    return net, Units(net), x, truths


def golden():
    with open(os.path.join(reference.FOLDER, "products.csv"), "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(["network", "unit", "direction", *PLACES])
        for i, name in enumerate(reference.NETWORKS):
            net, units, x, truths = load(name)
            v = direction(units, i)
            columns = [product(net, x, truths, sites_of(units, place), v) for place in PLACES]
            for u in range(len(v)):
                out.writerow([name, u, f"{v[u]:.9g}", *(f"{c[u]:.12g}" for c in columns)])


# ---- the table -------------------------------------------------------------------------------------------------------
class Case(step_curve.Problem):
    def __init__(self, arguments, work):
        if arguments == ["detector"]:
            self.cfg, self.weights = (os.path.join(reference.FOLDER, "detector" + end) for end in (".cfg", ".weights"))
            self.net, self.units, self.x, self.truths = load("detector")
            self.gated = sorted({s[2] for s in self.units.sites})
            self.data = self.write_scenes(work)
        else:
            super().__init__([*arguments, ""] if len(arguments) > 1 else arguments, work)

    def write_scenes(self, work):
        os.makedirs(os.path.join(work, "images"))
        os.makedirs(os.path.join(work, "labels"))
        paths = []
        for i, (tile, boxes) in enumerate(zip(self.x.numpy(), self.truths)):
            paths.append(os.path.join(work, "images", f"{i:03d}.png"))
            cv2.imwrite(paths[-1], np.rint(tile.transpose(1, 2, 0)[:, :, ::-1] * 255).astype(np.uint8))
            open(os.path.join(work, "labels", f"{i:03d}.txt"), "w").write("".join(f"{int(b[0])} {b[1]:.9g} {b[2]:.9g} {b[3]:.9g} {b[4]:.9g}\n" for b in boxes))
        open(os.path.join(work, "train.txt"), "w").write("".join(p + "\n" for p in paths))
        open(os.path.join(work, "names.txt"), "w").write("one\ntwo\nthree\n")
        data = os.path.join(work, "set.data")
        open(data, "w").write(f"classes=3\ntrain={work}/train.txt\nvalid={work}/train.txt\nnames={work}/names.txt\nbackup={work}\n")
        return data

    def float32(self, program, work, place, step=None):
        table = os.path.join(work, "scores.csv")
        subprocess.run([program, "prune", "score", self.data, self.cfg, self.weights, "-criterion", "obd-hutchinson", "-probes", "1", "-seed", "1", "-images",
                        str(len(self.x)), "-gate", place, "-csv", table, *(["-step", str(step)] if step else [])], check=True, capture_output=True)
        rows = {int(r["unit"]): r for r in csv.DictReader(open(table))}
        return np.array([2 * float(rows[u]["obd-hutchinson"]) for u in self.gated])

    def errors(self, program, work, place):
        """Relative to float64's product: ours; ours by differences; float64's by differences."""
        sites, v = sites_of(self.units, place), step_curve.signs(1, 0, len(self.units.members))
        exact = (v * product(self.net, self.x, self.truths, sites, v))[self.gated]
        apart = lambda a: np.linalg.norm(a - exact) / np.linalg.norm(exact)
        wide = []
        for step in STEPS:
            h = step / np.sqrt(len(self.gated))
            sides = [gradient(self.net, self.x, self.truths, sites, torch.from_numpy(1 + s * h * v).requires_grad_()).numpy() for s in (1, -1)]
            wide.append(apart((v * (sides[0] - sides[1]) / (2 * h))[self.gated]))
        return apart(self.float32(program, work, place)), [apart(self.float32(program, work, place, s)) for s in STEPS], wide


def table(program, *arguments):
    columns = " | ".join(f"step {s:g}: float32, float64" for s in STEPS)
    print(f"| network | gates | product | {columns} |\n|---|---|---|{'---|' * len(STEPS)}")
    for case in [list(arguments)] if arguments else [[name] for name in reference.NETWORKS]:
        for place in PLACES[:2]:
            with tempfile.TemporaryDirectory() as work:
                ours, narrow, wide = Case(case, work).errors(program, work, place)
            name = case[0] if len(case) == 1 else os.path.basename(case[1])[:-4]
            print(f"| {name} | {place} | {ours:.0e} | " + " | ".join(f"{a:.0e}, {b:.0e}" for a, b in zip(narrow, wide)) + " |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["-table"]:
        table(*sys.argv[2:])
    else:
        golden()
