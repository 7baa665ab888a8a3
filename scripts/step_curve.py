#!/usr/bin/python3
"""How far should a gate move? The error of differences of gate gradients against their step (docs/criteria.md, "Steps").

usage: step_curve.py BIN/darknet NAME                                      a network of tests/golden/criteria, its 30 images
       step_curve.py BIN/darknet DATA.data NET.cfg NET.weights N A,B,...   the first N training images of a classifier

For steps of 1e-4 to 3e-1, one gate at a time (obd) and all gates at once along random signs (obd-hutchinson, one probe): relative differences, as vectors,
between curvatures by `darknet prune score` (float32 passes), by the same differences in float64, and by autograd in float64 (no step; where activations
have kinks it does not see them). Of many gates every 6th is looked at one at a time, on layers A, B, ... alone where they are given. Needs python3-torch.
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
from reference_criteria import FOLDER, read_images  # noqa: E402
from reference_gates import class_of  # noqa: E402
from reference_net import Net, Units  # noqa: E402

STEPS = [1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1]
MASK, GOLDEN = 2 ** 64 - 1, 0x9e3779b97f4a7c15


def mix(x):
    x ^= x >> 30
    x = x * 0xbf58476d1ce4e5b9 & MASK
    x ^= x >> 27
    x = x * 0x94d049bb133111eb & MASK
    return x ^ x >> 31


def signs(seed, probe, count):
    """The signs of plugin/score/curvature.c: a bit per unit from (seed, stream, probe)."""
    key = mix((seed + GOLDEN) & MASK)
    key = mix(key ^ mix((0x68757463 + 2 * GOLDEN) & MASK))
    key = mix(key ^ mix((probe + 3 * GOLDEN) & MASK))
    bits = [mix(mix((key + n * GOLDEN) & MASK) ^ key) >> 63 for n in range(1, count + 1)]
    return np.array([1. if b else -1. for b in bits])


class Problem:
    def __init__(self, arguments, work):
        if len(arguments) == 1:
            base = os.path.join(FOLDER, arguments[0])
            self.cfg, self.weights = base + ".cfg", base + ".weights"
            x, self.truths = read_images(arguments[0])
            self.data = self.write_images(x, work)
        else:
            self.data, self.cfg, self.weights, count, layers = arguments
            keys = dict(line.split("=", 1) for line in open(self.data).read().replace(" ", "").split() if "=" in line)
            labels = open(keys["labels"]).read().split()
            paths = open(keys["train"]).read().split()[:int(count)]
            x = torch.from_numpy(np.stack([cv2.imread(p)[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) / np.float32(255) for p in paths]).astype(np.float64))
            self.truths = [class_of(p.rsplit("/", 1)[-1], labels) for p in paths]
        self.net, self.x = Net(self.cfg), x
        self.net.read(self.weights)
        self.units = Units(self.net)
        self.gated = sorted({s[2] for s in self.units.sites})
        self.sample = self.gated
        if len(arguments) > 1:
            self.sample = sorted({s[2] for s in self.units.sites if str(s[0]) in layers.split(",")})
        if len(self.sample) > 40:
            self.sample = self.sample[::6]

    def write_images(self, x, work):
        paths = []
        for i, (tile, truth) in enumerate(zip(x.numpy(), self.truths)):
            paths.append(os.path.join(work, f"{i:03d}_kind{truth}.png"))
            cv2.imwrite(paths[-1], np.rint(tile.transpose(1, 2, 0)[:, :, ::-1] * 255).astype(np.uint8))
        for name, lines in ("train.txt", paths), ("labels.txt", [f"kind{k}" for k in range(4)]):
            open(os.path.join(work, name), "w").write("".join(line + "\n" for line in lines))
        data = os.path.join(work, "set.data")
        open(data, "w").write(f"classes=4\ntrain={work}/train.txt\nvalid={work}/train.txt\nlabels={work}/labels.txt\nnames={work}/labels.txt\n")
        return data

    def gradient(self, z):
        """Mean over images of dE/dz at gates z (units), as a tensor that can be differentiated once more."""
        return torch.autograd.grad(self.net.losses(self.net.forward(self.x, z, self.units.sites), self.truths).mean(), z, create_graph=True)[0]

    def difference(self, v):
        """(g(1 + v) - g(1 - v)) / 2"""
        return sum(s * self.gradient((1 + s * torch.from_numpy(v)).requires_grad_()).detach().numpy() for s in (1, -1)) / 2

    def autograd(self, v):
        z = torch.ones(len(self.units.members), requires_grad=True)
        g = self.gradient(z)
        single = {u: torch.autograd.grad(g[u], z, retain_graph=True)[0][u].item() for u in self.sample}
        product, = torch.autograd.grad(g @ torch.from_numpy(v), z)
        return np.array([single[u] for u in self.sample]), (v * product.numpy())[self.gated]

    def float32(self, program, work, step):
        table = os.path.join(work, "scores.csv")
        subprocess.run([program, "prune", "score", self.data, self.cfg, self.weights, "-criterion", "obd,obd-hutchinson", "-probes", "1", "-seed", "1", "-images", str(len(self.x)),
                        "-step", str(step), "-csv", table], check=True, capture_output=True)
        rows = {int(r["unit"]): r for r in csv.DictReader(open(table))}
        column = lambda name, units: np.array([2 * float(rows[u][name]) for u in units])
        return column("obd", self.sample), column("obd-hutchinson", self.gated)


def apart(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def main(program, *arguments):
    with tempfile.TemporaryDirectory() as work:
        p = Problem(arguments, work)
        count = len(p.units.members)
        v = signs(1, 0, count)
        exact = p.autograd(v)
        print(f"{len(p.x)} images, {len(p.gated)} gates; one at a time on {len(p.sample)} of them")
        print("                       one gate at a time                           all gates at once")
        print("| step | float32 - float64 | float64 - autograd | float32 - autograd | float32 - float64 | float64 - autograd | float32 - autograd |\n|---|---|---|---|---|---|---|")
        for step in STEPS:
            ours = p.float32(program, work, step)
            e = step / np.sqrt(len(p.gated))
            single = np.array([p.difference(step * np.eye(count)[u])[u] / step for u in p.sample])
            both = (v * p.difference(e * v) / e)[p.gated]
            cells = [f"{apart(a, b):.1e}" for x, y, z in ((ours[0], single, exact[0]), (ours[1], both, exact[1])) for a, b in ((x, y), (y, z), (x, z))]
            print(f"| {step:g} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (3, 7):
        sys.exit(__doc__)
    main(*sys.argv[1:])
