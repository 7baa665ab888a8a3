#!/usr/bin/python3
"""Products of the gates' Hessian with a direction, in float64, by double backward (PyTorch, scripts/reference_net.py): the values that
tests/host/test_products.c holds the host to, and the table of docs/hessian-products.md.

usage: scripts/reference_products.py                              writes tests/golden/criteria/products.csv (docs below)
       scripts/reference_products.py -resnet DATA [IMAGES]        ResNet-20 of DATA/weights on the first IMAGES training images: a CSV like it on stdout
       scripts/reference_products.py -kinks                       how much of the second difference is kinks: float64 differences against float64 products
from the root of the project; needs python3-torch (scripts/deps.sh -bench).

products.csv: network, unit, direction v_u, and per placement of the gates (docs/gates.md) (H v)_u and H_uu's share of it is not told apart: H is the second
derivative of the mean loss of all images in the gates at z = 1; where activations have kinks, that of the piece the network is on. v is uniform in -1..1,
from the network's place in the list, 0 for units without gates, rounded to float32.
"""
import csv
import os
import sys

import numpy as np
import torch

sys.dont_write_bytecode = True
import reference_criteria as reference  # noqa: E402
from reference_net import Net, Units  # noqa: E402

PLACES = ["after-bn", "before-bn", "after-activation"]


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


def difference(net, x, truths, sites, v, step):
    """Central, the whole move of length `step`."""
    h = step / np.linalg.norm(v)
    side = [gradient(net, x, truths, sites, torch.from_numpy(1 + s * h * v).requires_grad_()).numpy() for s in (1, -1)]
    return (side[0] - side[1]) / (2 * h)


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


def kinks():
    for i, name in enumerate(reference.NETWORKS):
        net, units, x, truths = load(name)
        v = direction(units, i)
        for place in PLACES:
            exact = product(net, x, truths, sites_of(units, place), v)
            errors = [np.linalg.norm(difference(net, x, truths, sites_of(units, place), v, s) - exact) / np.linalg.norm(exact) for s in (1e-4, 1e-3, 1e-2, 1e-1)]
            print(name, place, *(f"{e:.1e}" for e in errors))


if __name__ == "__main__":
    if sys.argv[1:] == ["-kinks"]:
        kinks()
    else:
        golden()
