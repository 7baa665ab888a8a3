#!/usr/bin/python3
"""Reference values of every criterion, in float64, from the definitions alone: gates are real multiplications, derivatives are autograd's.

usage: scripts/reference_criteria.py [-make] [NAME...]      from the root of the project; needs python3-torch (scripts/deps.sh -bench)

For each network NAME of tests/golden/criteria (default: all) reads NAME.cfg and NAME.weights there, the images cut out of one PNG and their truths, and
writes NAME.csv: a row per unit, named by its first producer. -make draws the images and makes the weights first: random from a seed, batch-norm
calibrated on the images, a few steps of Adam so that gradients are those of a network that has learned something.
tests/cli/test_reference_criteria.py holds `darknet prune score` and `oracle` to the CSVs; it has the tolerances.

Definitions (METHODS.md and docs/criteria.md; B images, E_b the loss of image b, E their mean, z_u the gate of unit u, all z = 1):
  NAME@m                 gradients averaged over minibatches of m consecutive images before they are squared, the last minibatch may be smaller, then the
                         mean over minibatches (each counts once); all = one minibatch. Without @ minibatches play no part.
  gates                  sit where docs/units.md says; before-bn, after-activation: the other placements
                         (docs/gates.md), with one z_u for all of a unit: the derivative is the sum over its gates
  taylor-fo  mean g_u^2, g_u = mean dE_b/dz_u      taylor-fg  mean over images of (dE_b/dz_u)^2
  taylor-so  (g_u - H_uu / 2)^2 with g and H over all images      obd  H_uu / 2, signed      taylor-so-row  (g_u - (H 1)_u / 2)^2, 1 over all units with gates
  -gn        the diagonal of mean_b J_b^T R_b J_b in place of H_uu: J_b derivative of the head's input, R_b second derivative of the loss there
  taylor-logits      (mean over images of log(1 + sum_k exp(a_k - da_k/dz_u)) - log(1 + sum_k exp a_k))^2, k the 2 likeliest classes but the true one (:1, :3)
  taylor-weight      sum over the weights of all producers of (w dE/dw)^2; -group: square of the sum of w dE/dw; weights alone, no bias, no batch-norm
  bn-taylor          square of the sum over producers of gamma dE/dgamma; without batch-norm gamma = 1 in front of the weights: the sum of w dE/dw
  grad-magnitude     sum over the weights of all producers of abs(w dE/dw)
  -layer             divided by the root of the mean of squares over the units whose first producer is in the same layer
  taylor-output      mean over images of abs(dE_b/dz_u), gates behind the activation, divided by the root of the sum of squares over these units. METHODS has the
                     spatial mean; the size of the map is one for all units of a layer and divides out. A unit of several producers: its gates add up
  magnitude          root of the sum of squares (l1: sum) of all producers' weights      bn-scale  root of the sum of gamma^2, gamma = 1 without batch-norm
  fpgm               root of the sum of squares over producers of: sum of L2 distances to all filters of the layer
  hrank              mean over images and producers of the rank of the producer's output: singular values above max(h, w) 2^-23 of the largest
  oracle             (E without u - E)^2, by a forward pass with z_u = 0; greedy-step, -loss: the first units that the greedy oracle removes, and the loss then;
                     plain-subsets.csv: every subset of the units of layer 0
Columns for tests of random estimators: hessian-others, the sum of H_uv^2 over v != u, is the variance of one Hutchinson estimate (random signs) of H_uu;
gauss-newton-spread, the standard deviation of one probe's estimate if probes are Gaussian, root of the sum over images of 2 (G_b)_uu^2 / B^2.
"""
import csv
import itertools
import os
import sys

import cv2
import numpy as np
import torch

sys.dont_write_bytecode = True
from reference_net import Net, Units  # noqa: E402

FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "golden", "criteria")
NETWORKS = ["plain", "residual", "grouped", "kinked", "detector"]
SMOOTH = {"plain", "residual", "grouped", "detector"}
COUNT, COLUMNS, CLASSES = 30, 6, 4           # images, tiles in a row of the sheet
MINIBATCHES = {"1": 1, "4": 4, "all": COUNT}
RIVALS, GREEDY = 2, 6


# ---- images: one PNG of tiles, truths beside it --------------------------------------------------------------------
def sheet_of(name):
    return ("scenes", 32) if name == "detector" else ("shapes", 16)


def texture(rng, size, coarse, strength):
    field = cv2.resize(rng.normal(size=(coarse, coarse, 3)), (size, size), interpolation=cv2.INTER_CUBIC)
    return 128 + strength * field


def draw_shapes(rng):
    tiles, truths = [], []
    yy, xx = np.mgrid[0:16, 0:16]
    for i in range(COUNT):
        kind = int(rng.integers(CLASSES))
        x, y, r = rng.uniform(5, 10, 3) * (1, 1, .5)
        inside = [abs(xx - x) + abs(yy - y) < r, np.maximum(abs(xx - x), abs(yy - y)) < r, (abs(xx - x) < r / 3) | (abs(yy - y) < r / 3), xx - x > yy - y][kind]
        tiles.append(np.where(inside[..., None], rng.uniform(0, 255, 3), texture(rng, 16, 4, 40)))
        truths.append(str(kind))
    return tiles, truths


def draw_scenes(rng):
    tiles, truths = [], []
    for i in range(COUNT):
        tile, lines, cells = texture(rng, 32, 5, 30), [], set()
        for _ in range(int(rng.integers(0, 4))):
            kind, w, h = int(rng.integers(3)), *rng.uniform(.15, .6, 2)
            x, y = rng.uniform(w / 2, 1 - w / 2), rng.uniform(h / 2, 1 - h / 2)
            if (int(x * 4), int(y * 4)) in cells:
                continue
            cells.add((int(x * 4), int(y * 4)))
            lines.append(f"{kind} {x:.4f} {y:.4f} {w:.4f} {h:.4f}")
            cv2.rectangle(tile, *[(int(32 * (x + s * w / 2)), int(32 * (y + s * h / 2))) for s in (-1, 1)], [40 + 90 * (k == kind) + rng.uniform(0, 60) for k in range(3)], -1)
        tiles.append(tile)
        truths.append("; ".join(lines) or "-")
    return tiles, truths


def write_sheet(name, tiles, truths):
    tiles = [np.clip(np.rint(t), 0, 255).astype(np.uint8) for t in tiles]
    rows = [np.concatenate(tiles[i:i + COLUMNS], 1) for i in range(0, COUNT, COLUMNS)]
    cv2.imwrite(os.path.join(FOLDER, name + ".png"), np.concatenate(rows, 0), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    with open(os.path.join(FOLDER, name + ".txt"), "w") as f:
        f.writelines(t + "\n" for t in truths)


def read_images(name):
    """(images (B, 3, h, w) in 0..1 as float32 knows them, truths: classes, or per image lists of (class, x, y, w, h))."""
    sheet, size = sheet_of(name)
    pixels = cv2.imread(os.path.join(FOLDER, sheet + ".png"))[:, :, ::-1].astype(np.float32) / np.float32(255)
    tiles = [pixels[i // COLUMNS * size:, i % COLUMNS * size:][:size, :size].transpose(2, 0, 1) for i in range(COUNT)]
    lines = open(os.path.join(FOLDER, sheet + ".txt")).read().split("\n")[:COUNT]
    if name == "detector":
        truths = [[tuple(float(np.float32(v)) for v in box.split()) for box in line.split("; ") if line != "-"] for line in lines]
    else:
        truths = [int(line) for line in lines]
    return torch.from_numpy(np.stack(tiles).astype(np.float64)), truths


# ---- weights -------------------------------------------------------------------------------------------------------
def make_weights(name, net, x, truths):
    rng = np.random.default_rng([5, NETWORKS.index(name)])
    stored = lambda a: torch.from_numpy(np.asarray(a).astype(np.float32).astype(np.float64))
    for l in net.layers:
        for slot, shape in net.slots(l):
            fan = int(np.prod(shape[1:]))
            value = {"biases": lambda: rng.normal(0, .3, shape), "scales": lambda: rng.uniform(.05, 1.5, shape), "mean": lambda: np.zeros(shape),
                     "variance": lambda: np.ones(shape), "weights": lambda: rng.normal(0, np.sqrt(1.5 / fan), shape)}[slot]()
            l.tensors[slot] = stored(value)
    net.forward(x, calibrate=True)
    trained = [(l, s) for l in net.layers for s, _ in net.slots(l) if s not in ("mean", "variance")]
    for l, s in trained:
        l.tensors[s].requires_grad_()
    optimiser = torch.optim.Adam([l.tensors[s] for l, s in trained], lr=.005)
    for _ in range(25):
        optimiser.zero_grad()
        loss = net.losses(net.forward(x), truths).mean()
        if loss < .7:
            break
        loss.backward()
        optimiser.step()
    for l, s in trained:
        l.tensors[s] = stored(l.tensors[s].detach())
    net.write(os.path.join(FOLDER, name + ".weights"))


# ---- derivatives ---------------------------------------------------------------------------------------------------
class Facts:
    """Everything the criteria are made of."""

    def __init__(self, name, net, units, x, truths):
        self.net, self.units, self.x, self.truths = net, units, x, truths
        self.count = len(units.members)
        self.loss = net.losses(net.forward(x), truths).numpy()
        self.maps = [o.numpy() for o in net.forward(x)]
        self.gates = {place: self.image_gradients(sites) for place, sites in (("", units.sites), ("before-bn", units.placed("before-bn")),
                                                                              ("after-activation", units.placed("after-activation")))}
        self.parameters = self.parameter_gradients()
        self.removed = np.array([self.removed_loss([u]) for u in range(self.count)])
        self.head_derivatives()
        if name in SMOOTH:
            self.hessians = {place: self.second_derivatives(sites) for place, sites in (("", units.sites), ("before-bn", units.placed("before-bn")))}

    def losses(self, z, sites=None):
        return self.net.losses(self.net.forward(self.x, z, self.units.sites if sites is None else sites), self.truths)

    def image_gradients(self, sites):
        """(images, units) dE_b/dz_u."""
        z = torch.ones(len(self.x), self.count, requires_grad=True)
        return torch.autograd.grad(self.losses(z, sites).sum(), z)[0].numpy()

    def removed_loss(self, units):
        z = torch.ones(self.count)
        z[list(units)] = 0
        return float(self.losses(z).mean())

    def parameter_gradients(self):
        """{(layer, name): (images, ...) dE_b/dparameter}."""
        tensors = {(l.index, s): l.tensors[s] for l in self.net.layers for s, _ in self.net.slots(l) if s not in ("mean", "variance")}
        for t in tensors.values():
            t.requires_grad_()
        losses = self.net.losses(self.net.forward(self.x), self.truths)
        rows = [torch.autograd.grad(e, list(tensors.values()), retain_graph=True) for e in losses]
        for t in tensors.values():
            t.requires_grad_(False)
        return {key: np.stack([row[i].numpy() for row in rows]) for i, key in enumerate(tensors)}

    def head_derivatives(self):
        """outputs (images, values), what heads read; jacobian (images, values, units); curvature (images, values, values)."""
        z = torch.ones(self.count, requires_grad=True)
        layers = self.net.forward(self.x, z, self.units.sites)
        y = self.net.head_inputs(layers)
        v = torch.zeros_like(y, requires_grad=True)
        weighted, = torch.autograd.grad(y, z, v, create_graph=True)          # linear in v: its derivative is the Jacobian
        self.outputs = y.detach().numpy()
        self.jacobian = np.stack([torch.autograd.grad(weighted[u], v, retain_graph=True)[0].numpy() for u in range(self.count)], -1)
        self.curvature = self.net.curvature(layers, self.truths).numpy()

    def second_derivatives(self, sites):
        z = torch.ones(self.count, requires_grad=True)
        first, = torch.autograd.grad(self.losses(z, sites).mean(), z, create_graph=True)
        return np.stack([torch.autograd.grad(g, z, retain_graph=True)[0].numpy() for g in first])


# ---- criteria ------------------------------------------------------------------------------------------------------
def batches(values, size):
    """(minibatches, ...) means of consecutive images."""
    return np.stack([values[i:i + size].mean(0) for i in range(0, len(values), size)])


def gate_criteria(f):
    g = f.gates[""].mean(0)
    columns = {"oracle": (f.removed - f.loss.mean()) ** 2, "without": f.removed, "gradient": g}
    for place, values in f.gates.items():
        suffix = ":" + place if place else ""
        for label, size in MINIBATCHES.items():
            columns[f"taylor-fo{suffix}@{label}"] = (batches(values, size) ** 2).mean(0)
        columns["taylor-fg" + suffix] = (values ** 2).mean(0)
    newton = np.einsum("bku,bkl,blu->bu", f.jacobian, f.curvature, f.jacobian, optimize=True)
    newton, spread = newton.mean(0), np.sqrt(2 * (newton ** 2).sum(0)) / len(f.x)
    columns.update({"gauss-newton": newton, "gauss-newton-spread": spread, "taylor-so-gn": (g - newton / 2) ** 2, "obd-gn": newton / 2})
    if hasattr(f, "hessians"):
        columns.update(second_order(f))
    if f.net.heads[0].kind == "softmax":
        for rivals in 1, 2, 3:
            a, d = margins(f, rivals)
            change = (np.log1p(np.exp(a[:, :, None] - d).sum(1)) - np.log1p(np.exp(a).sum(1))[:, None]).mean(0)
            columns["taylor-logits" if rivals == RIVALS else f"taylor-logits:{rivals}"] = change ** 2
        columns["taylor-logits-greedy"] = greedy(f, *margins(f, RIVALS))
    return columns


def second_order(f):
    h, g = f.hessians[""], f.gates[""].mean(0)
    own, row = np.diag(h), h.sum(1)
    columns = {"hessian": own, "hessian-others": (h ** 2).sum(1) - own ** 2, "taylor-so": (g - own / 2) ** 2, "taylor-so-row": (g - row / 2) ** 2, "obd": own / 2}
    own = np.diag(f.hessians["before-bn"])
    return {**columns, "taylor-so:before-bn": (f.gates["before-bn"].mean(0) - own / 2) ** 2, "obd:before-bn": own / 2}


def greedy_oracle(f):
    """(step, loss) per unit: removed one after another, each time the one without which the loss is least; 0: not among the first GREEDY."""
    step, loss, gone = np.zeros(f.count), np.zeros(f.count), []
    left = [u for u in range(f.count) if not f.units.protected[u]]
    for i in range(GREEDY):
        least, u = min((f.removed_loss(gone + [u]), u) for u in left)
        step[u], loss[u] = i + 1, least
        gone.append(u)
        left.remove(u)
    return {"greedy-step": step, "greedy-loss": loss}


def subsets(f, layer):
    """Rows of (removed, subsets, least, mean, most) over all subsets of the units whose first producer is in a layer."""
    units = [u for u, m in enumerate(f.units.members) if m[0][0] == layer]
    for size in range(len(units) + 1):
        losses = [f.removed_loss(s) for s in itertools.combinations(units, size)]
        yield size, len(losses), min(losses), np.mean(losses), max(losses)


def margins(f, rivals):
    """Of the likeliest classes but the true one: logit - logit of the true class (images, rivals), and its derivative (images, rivals, units)."""
    order = [[k for k in np.argsort(-y, kind="stable") if k != true][:rivals] for y, true in zip(f.outputs, f.truths)]
    pick = lambda of: np.stack([of[b][ks] - of[b][f.truths[b]] for b, ks in enumerate(order)])
    return pick(f.outputs), pick(f.jacobian)


def greedy(f, a, d):
    """Units go one after the other, each the one that leaves the loss at the expanded margins nearest to where it was; score: how far it has moved then, never
    less than for the unit before."""
    loss = lambda a: np.log1p(np.exp(a).sum(1)).mean(0)
    scores, start, last = np.zeros(f.count), loss(a), 0.
    left = [u for u in range(f.count) if not f.units.protected[u]]
    while left:
        moved = abs(loss(a[:, :, None] - d[:, :, left]) - start)
        best = left[int(moved.argmin())]
        scores[best] = last = max(last, moved.min())
        a = a - d[:, :, best]
        left.remove(best)
    return scores



class Filters:
    """The weights of every unit's producers: what goes in, without bias and batch-norm."""

    def __init__(self, f):
        self.f, self.members = f, f.units.members
        self.first_layer = np.array([m[0][0] for m in self.members])

    def weight(self, m):
        return self.f.net.layers[m[0]].tensors["weights"].numpy()[m[1]]

    def gamma(self, m):
        l = self.f.net.layers[m[0]]
        return float(l.tensors["scales"][m[1]]) if l.norm else 1.

    def products(self, m):
        """(images, weights of the producer) w dE_b/dw."""
        return (self.f.parameters[m[0], "weights"][:, m[1]] * self.weight(m)).reshape(len(self.f.x), -1)

    def scale_products(self, m):
        """(images) gamma dE_b/dgamma."""
        if not self.f.net.layers[m[0]].norm:
            return self.products(m).sum(1)
        return self.f.parameters[m[0], "scales"][:, m[1]] * self.gamma(m)

    def distances(self, m):
        """The sum of the distances from this filter to all filters of its layer."""
        w = self.f.net.layers[m[0]].tensors["weights"].numpy()
        w = w.reshape(len(w), -1)
        return np.sqrt(((w - w[m[1]]) ** 2).sum(1)).sum()

    def rank(self, m):
        """Mean over images; singular values count above max(h, w) 2^-23 of the largest."""
        maps = self.f.maps[m[0]][:, m[1]]
        largest = np.linalg.norm(maps, 2, (1, 2))
        return np.linalg.matrix_rank(maps, tol=largest * max(maps.shape[1:]) * 2. ** -23).mean()

    def each(self, what):
        return np.array([what(members) for members in self.members])

    def per_layer(self, scores, mean=True):
        """Divided by the root of the mean (sum) of squares over the units whose first producer is in the same layer."""
        norm = lambda s: np.sqrt((s ** 2).mean() if mean else (s ** 2).sum()) or 1.
        return np.array([s / norm(scores[self.first_layer == l]) for s, l in zip(scores, self.first_layer)])


def weight_criteria(f):
    filters = Filters(f)
    stack = lambda members: np.concatenate([filters.products(m) for m in members], 1)
    columns = {
        "magnitude": filters.each(lambda members: np.sqrt(sum((filters.weight(m) ** 2).sum() for m in members))),
        "magnitude-l1": filters.each(lambda members: sum(abs(filters.weight(m)).sum() for m in members)),
        "bn-scale": filters.each(lambda members: np.sqrt(sum(filters.gamma(m) ** 2 for m in members))),
        "taylor-output": filters.per_layer(abs(f.gates["after-activation"]).mean(0), mean=False),
    }
    columns["fpgm"] = filters.each(lambda members: np.sqrt(sum(filters.distances(m) ** 2 for m in members)))
    columns["hrank"] = filters.each(lambda members: np.mean([filters.rank(m) for m in members]))
    columns["magnitude-layer"] = filters.per_layer(columns["magnitude"])
    for label, size in MINIBATCHES.items():
        columns[f"taylor-weight@{label}"] = filters.each(lambda members: (batches(stack(members), size) ** 2).sum(1).mean())
        columns[f"taylor-weight-group@{label}"] = filters.each(lambda members: (batches(stack(members).sum(1), size) ** 2).mean())
        columns[f"bn-taylor@{label}"] = filters.each(lambda members: (batches(sum(filters.scale_products(m) for m in members), size) ** 2).mean())
        columns[f"grad-magnitude@{label}"] = filters.each(lambda members: abs(batches(stack(members), size)).sum(1).mean())
        columns[f"grad-magnitude-layer@{label}"] = filters.per_layer(columns[f"grad-magnitude@{label}"])
    return columns


def main(arguments):
    names = [a for a in arguments if a != "-make"] or NETWORKS
    if "-make" in arguments:
        write_sheet("shapes", *draw_shapes(np.random.default_rng(1)))
        write_sheet("scenes", *draw_scenes(np.random.default_rng(2)))
    for name in names:
        net = Net(os.path.join(FOLDER, name + ".cfg"))
        x, truths = read_images(name)
        if "-make" in arguments:
            make_weights(name, net, x, truths)
        net.read(os.path.join(FOLDER, name + ".weights"))
        units = Units(net)
        facts = Facts(name, net, units, x, truths)
        columns = {**gate_criteria(facts), **weight_criteria(facts), **greedy_oracle(facts)}
        with open(os.path.join(FOLDER, name + ".csv"), "w", newline="") as out:
            w = csv.writer(out, lineterminator="\n")
            w.writerow(["layer", "channel", "unit", "protected", "loss", *columns])
            for u, members in enumerate(units.members):
                w.writerow([*members[0], u, int(units.protected[u]), f"{facts.loss.mean():.9g}", *(f"{c[u]:.8g}" for c in columns.values())])
        if name == "plain":
            with open(os.path.join(FOLDER, "plain-subsets.csv"), "w") as out:
                out.write("removed,subsets,least,mean,most\n")
                out.writelines(f"{a},{b},{c:.9g},{d:.9g},{e:.9g}\n" for a, b, c, d, e in subsets(facts, 0))
        print(f"{name}: {len(units.members)} units, loss {facts.loss.mean():.6g}")


if __name__ == "__main__":
    if any(a not in NETWORKS + ["-make"] for a in sys.argv[1:]):
        sys.exit(__doc__)
    main(sys.argv[1:])
