#!/usr/bin/python3
"""Which cheap criterion predicts the oracle? Ideas, good and bad, on one CIFAR ResNet in PyTorch (Debian's python3-torch), against recorded losses.

usage: study_criteria.py NET.cfg NET.weights LABELS.txt IMAGES.txt ORACLE.csv [SEED]

ORACLE.csv has a row per unit: either the columns of the recorded reference (kind, layer, channel, oracle) or those of `darknet prune oracle -csv`
(layer, channel, unit, oracle). Prints Spearman's correlation with the oracle over units within one layer, units that span layers, and all, and the cost in
backward passes. Batch-norm divides by sqrt(v + 1e-5) for the recorded reference and by sqrt(v) + 1e-6, as Darknet does, for an oracle of ours.
None of this is part of the product: what won is plugin/score/logits.c and curvature.c.
"""
import csv
import sys

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from reference_gates import class_of, producers, read_layers
from scipy.stats import spearmanr

PIECE = 100


class Net:
    def __init__(self, cfg, weights, pytorch):
        self.layers = read_layers(cfg, weights, pytorch)
        last = max(i for i, l in enumerate(self.layers) if l["type"] == "convolutional")
        groups = {}
        for member, root in sorted(producers(self.layers).items()):
            if member[0] not in (0, last):               # the input normalisation and the classes are no units
                groups.setdefault(root, []).append(member)
        self.units = list(groups.values())
        self.of = {}
        for u, members in enumerate(self.units):
            for layer, channel in members:
                self.of.setdefault(layer, {})[channel] = u
        self.gates = {layer: torch.tensor([channels[c] for c in sorted(channels)]) for layer, channels in self.of.items()}
        for i, l in enumerate(self.layers):
            if l["type"] == "convolutional":
                n = l["channels"]
                w = torch.tensor(l["w"], dtype=torch.float32).view(n, -1, l["k"], l["k"])
                scale, mean = (torch.tensor(l[k], dtype=torch.float32) if k in l else torch.full((n,), d) for k, d in (("scale", 1.0), ("mean", 0.0)))
                l["filters"], l["offset"] = w * scale.view(-1, 1, 1, 1), torch.tensor(l["bias"], dtype=torch.float32) - mean * scale

    def logits(self, x, z):
        """z: (images, units)"""
        outputs = []
        for i, l in enumerate(self.layers):
            if l["type"] == "convolutional":
                x = F.conv2d(x, l["filters"], l["offset"], l["s"], l["p"])
                if i in self.gates:
                    x = x * z[:, self.gates[i], None, None]
            elif l["type"] == "route":
                x = outputs[l["from"]]
            elif l["type"] == "maxpool":
                x = x[:, :, ::int(l["stride"]), ::int(l["stride"])]
            elif l["type"] == "avgpool":
                x = x.mean((2, 3), keepdim=True)
            elif l["type"] == "shortcut":
                m = min(x.shape[1], outputs[l["from"]].shape[1])
                x = torch.cat([x[:, :m] + outputs[l["from"]][:, :m], x[:, m:]], 1)
            elif l["type"] == "softmax":
                return x.flatten(1)
            if l["relu"]:
                x = F.relu(x)
            outputs.append(x)
        raise ValueError("no softmax")

    def jacobian(self, x, gates, classes=range(10)):
        """Logits (N, 10) and their derivatives (N, classes, units) at the gate values (units)."""
        logits, rows = [], []
        for at in range(0, len(x), PIECE):
            part = x[at:at + PIECE]
            z = gates.expand(len(part), -1).clone().requires_grad_()
            y = self.logits(part, z)
            logits.append(y.detach())
            rows.append(torch.stack([torch.autograd.grad(y[:, k].sum(), z, retain_graph=True)[0] for k in classes], 1))
        return torch.cat(logits), torch.cat(rows)

    def gradient(self, x, t, gates):
        """Mean over images of dE_b/dz at the gate values (units)."""
        total = 0
        for at in range(0, len(x), PIECE):
            z = gates.clone().requires_grad_()
            loss = F.cross_entropy(self.logits(x[at:at + PIECE], z.expand(len(x[at:at + PIECE]), -1)), t[at:at + PIECE], reduction="sum")
            total = total + torch.autograd.grad(loss, z)[0]
        return total / len(x)

    def losses(self, x, t, z):
        with torch.no_grad():
            return torch.cat([F.cross_entropy(self.logits(x[a:a + PIECE], z[a:a + PIECE]), t[a:a + PIECE], reduction="none") for a in range(0, len(x), PIECE)])


def read_oracle(path, net):
    index = {member: u for u, members in enumerate(net.units) for member in members}
    oracle = np.full(len(net.units), np.nan)
    deepest = max(layer for layer, _ in index)               # a stream's channel j is channel j of its last layer
    for r in csv.DictReader(open(path)):
        u = index.get((deepest if r["layer"] == "all" else int(r["layer"]), int(r["channel"])))
        if u is not None:
            oracle[u] = float(r["oracle"])
    return oracle


def margins(logits, jacobian, t, rivals):
    """a (N, rivals), da (N, rivals, units): the likeliest other classes against the true one."""
    other = logits.clone()
    other[torch.arange(len(t)), t] = -np.inf
    pick = other.topk(rivals, 1).indices
    n = torch.arange(len(t))[:, None]
    return logits[n, pick] - logits[n, t[:, None]], jacobian[n, pick] - jacobian[n, t[:, None]]


def expanded(a, da):
    """Loss change per image and unit at the first-order expansion of the margins."""
    zero = torch.zeros(len(a), 1)
    before = torch.logsumexp(torch.cat([zero, a], 1), 1)
    shifted = torch.cat([zero[:, :, None].expand(-1, 1, da.shape[2]), a[:, :, None] - da], 1)
    return torch.logsumexp(shifted, 1) - before[:, None]


def gauss_newton(p, jacobian):
    return (p[:, :, None] * jacobian ** 2).sum(1) - (p[:, :, None] * jacobian).sum(1) ** 2


def probes(p, jacobian, count, seed):
    g = torch.Generator().manual_seed(seed)
    total = 0
    for _ in range(count):
        w = (torch.randint(0, 2, p.shape, generator=g) * 2.0 - 1) * p.sqrt()
        total = total + ((w - p * w.sum(1, keepdim=True))[:, :, None] * jacobian).sum(1) ** 2
    return total / count


def masks_regression(net, x, t, passes, share, seed, ridge):
    """Per image and pass a random mask; ridge regression of the loss change on the removed units."""
    g = torch.Generator().manual_seed(seed)
    base = net.losses(x, t, torch.ones(len(x), len(net.units)))
    rows, change = [], []
    for _ in range(passes):
        z = (torch.rand(len(x), len(net.units), generator=g) >= share).float()
        rows.append(1 - z)
        change.append(net.losses(x, t, z) - base)
    a, b = torch.cat(rows).double(), torch.cat(change).double()
    return torch.linalg.solve(a.T @ a + ridge * torch.eye(a.shape[1], dtype=torch.double), a.T @ b)


def main(cfg, weights, labels, images, oracle_path, seed="1"):
    recorded = "kind" in open(oracle_path).readline()
    net = Net(cfg, weights, recorded)
    labels, paths = open(labels).read().split(), open(images).read().split()
    x = torch.from_numpy(np.stack([cv2.imread(p)[:, :, ::-1].transpose(2, 0, 1) / 255.0 for p in paths]).astype(np.float32))
    t = torch.tensor([class_of(p.rsplit("/", 1)[-1], labels) for p in paths])
    oracle = read_oracle(oracle_path, net)
    span = np.array([len({layer for layer, _ in members}) > 1 for members in net.units])
    known = ~np.isnan(oracle)
    ones = torch.ones(len(net.units))
    logits, jacobian = net.jacobian(x, ones)
    p = F.softmax(logits, 1)
    g = ((p - F.one_hot(t, 10))[:, :, None] * jacobian).sum(1)      # (N, units) dE_b/dz
    mean, gn = g.mean(0), gauss_newton(p, jacobian)

    def show(name, cost, score):
        score = np.asarray(score, float)
        rho = [spearmanr(score[s & known], oracle[s & known])[0] if (s & known).sum() > 2 else np.nan for s in (~span, span, known)]
        print(f"{name:64} {cost:>22}  {rho[0]:.3f}  {rho[1]:.3f}  {rho[2]:.3f}", flush=True)

    print(f"{len(paths)} images, loss {F.cross_entropy(logits, t).item():.6f}, {int(known.sum())} units of {len(net.units)}")
    print(f"{'criterion':64} {'backward passes':>22}  within spanning all")
    fo = torch.stack([g[a:a + 128].mean(0) ** 2 for a in range(0, len(g), 128)]).mean(0)
    show("first order, minibatches of 128 (taylor-fo)", "1", fo)
    show("first order, squared per image (taylor-fg)", "1", (g ** 2).mean(0))
    show("first order, absolute per image", "1", g.abs().mean(0))
    show("Gauss-Newton alone", "9", gn.mean(0))
    show("(g - GN / 2)^2 per image, then averaged", "9", ((g - gn / 2) ** 2).mean(0))
    show("|g - GN / 2| per image, then averaged", "9", (g - gn / 2).abs().mean(0))
    show("(mean g - mean GN / 2)^2", "9", (mean - gn.mean(0) / 2) ** 2)
    for count in (1, 2, 4):
        each = np.stack([(mean - probes(p, jacobian, count, int(seed) * 100 + i).mean(0) / 2) ** 2 for i in range(3)])
        for i in range(3):
            show(f"the same, GN by {count} probes per image, draw {i + 1}", f"1 + {count}", each[i])
    for rivals in (1, 2, 3, 9):
        a, da = margins(logits, jacobian, t, rivals)
        show(f"loss at expanded logits, {rivals} rivals (taylor-logits)", str(rivals), expanded(a, da).mean(0) ** 2)
    a, da = margins(logits, jacobian, t, 2)
    show("the same, squared per image, then averaged", "2", (expanded(a, da) ** 2).mean(0))
    show("the same, absolute per image, then averaged", "2", expanded(a, da).abs().mean(0))
    show("the same, change of log loss", "2", (torch.log(F.cross_entropy(logits, t) + expanded(a, da).mean(0)) - torch.log(F.cross_entropy(logits, t))) ** 2)
    hard = F.cross_entropy(logits, t, reduction="none").topk(len(t) // 4).indices
    show("the same, only the quarter of the images with the largest loss", "1 + 0.25 x 2", expanded(a[hard], da[hard]).mean(0) ** 2)
    show("first order, only that quarter", "1 + 0.25", g[hard].mean(0) ** 2)
    each = min(int((t == k).sum()) for k in range(10))
    balanced = torch.cat([(t == k).nonzero()[:each, 0] for k in range(10)])
    show(f"first order squared per image, {each} images of every class", "1", (g[balanced] ** 2).mean(0))
    # A path from 1 to 0, one layer at a time: the integral of the gradient, all units of a layer moving together.
    for points in ((0.5,), (0.25, 0.75)):
        path, passes = torch.zeros(len(net.units)), 0
        for layer, units in net.gates.items():
            if span[units[0]]:
                continue
            for value in points:
                z = ones.clone()
                z[units] = value
                path[units] += net.gradient(x, t, z)[units] / len(points)
                passes += 1
        path[torch.from_numpy(span)] = mean[torch.from_numpy(span)]
        show(f"gradient on a path, gates of one layer at {points}", f"{passes}", path ** 2)
    for share in (0.01, 0.03):
        show(f"ridge regression on random masks, {share:.0%} of the units shut", "12 forward", masks_regression(net, x, t, 12, share, int(seed), 1.0) ** 2)
    show("masks of 1% on what taylor-logits leaves unexplained", "12 forward + 2", combine(net, x, t, expanded(a, da).mean(0), int(seed)))


def combine(net, x, t, prior, seed):
    """Ridge regression towards the prior instead of zero."""
    g = torch.Generator().manual_seed(seed)
    base = net.losses(x, t, torch.ones(len(x), len(net.units)))
    rows, change = [], []
    for _ in range(12):
        z = (torch.rand(len(x), len(net.units), generator=g) >= 0.01).float()
        rows.append(1 - z)
        change.append(net.losses(x, t, z) - base)
    a, b = torch.cat(rows).double(), torch.cat(change).double()
    b = b - a @ prior.double()
    extra = torch.linalg.solve(a.T @ a + 100 * torch.eye(a.shape[1], dtype=torch.double), a.T @ b)
    return (prior.double() + extra) ** 2


if __name__ == "__main__":
    if len(sys.argv) not in (6, 7):
        sys.exit(__doc__)
    main(*sys.argv[1:])
