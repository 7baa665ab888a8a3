#!/usr/bin/python3
"""Reference values of second-order pruning (K-FAC, surgery, SOSP, Hessian-vector products), in float64, from the definitions alone.

usage: scripts/reference_second_order.py [NAME...]      from the root of the project; needs python3-torch (scripts/deps.sh -bench)

Networks, weights and images are those of scripts/reference_criteria.py (tests/golden/criteria). For each network NAME writes to tests/golden/second-order
  NAME.txt   matrices: "name rows columns" on a line (a symmetric one: "name rows lower", its lower triangle by rows follows), then the numbers. For
             tests/host/test_second_order.c
  NAME.csv   a row per unit, named by its first producer: scores. For tests/cli/test_reference_second_order.py
Derivatives are autograd's, in the space of weights; nothing is taken from gates unless it says so.

Matrices. L: layer, g: group of its convolution; E_b loss of image b, B images in one minibatch. W: weights (n, d) of the group, biases as last column where
the layer has no batch-norm; a: patch of the layer's input, with a last 1 where biases count; s = weight x input, in front of batch-norm.
  A.L.g         mean over images of the sum over locations of a a^T
  S.L.g         mean over images and locations of ds ds^T, ds = dE_b/ds at the labels: empirical Fisher
  T.L.g         the same, expected over labels c that the network's softmax gives with p_c: true Fisher; spread.L.g: standard deviation of what one label drawn
                per image gives for T.L.g
  pi.L.g        of the factors A, S and the damping (lambda); Ai.L.g, Si.L.g: diagonals of the inverses of A + pi sqrt(lambda) I, S + sqrt(lambda) / pi I
  obd, obs.L.g  per weight; c-obd, kron-obd, c-obs, kron-obs.L.g: per filter (plugin/score/kfac.h has the formulas)
Surgery, on the layers of SURGERY; every minimum is found by one solve with H = damped S (x) damped A as a dense matrix over all weights of the group:
  rows.L.g, columns.L.g, set.L.g    what goes (0/1)        W-CASE.L.g: the weights afterwards      loss-CASE.L.g: 1/2 D^T H D of plain removal, and with surgery
  CASE = rows, columns, both, one (a single weight, the largest), set, paper (the set, sum of single updates)
Products: direction.P, product.P: v and H v of the mean loss in the gates placed at P (after-bn, before-bn, producers). Sosp: Q, the matrix of SOSP-I over units (in weights);
order, lambda: its greedy order (units) and the modelled loss after each removal.

Columns of the CSV (units of several producers: sums over them; @4, @all: minibatches of 4, or one; decay 0.95 per minibatch, each as heavy as
its images are many)
  macs          multiply-adds that go with the unit alone          kernel: side of the largest filter of its producers
  nap, c-obd, kron-obd, c-obs, kron-obs     sums of filter scores; nap: obs divided by the sum over its layer, and divided by macs; nap-plain: not normalised.
                    A filter that has no gradient in float32 (its tanh or loggy rounds to 1 or -1 on every image) scores 0, whatever the damping
  c-obd-true, kron-obd-true, -spread   with T; standard deviation of what one label drawn per image gives
  sosp-gradient     theta_s . dE/dtheta, theta_s: the weights of the unit's filters, with the biases where there is no batch-norm
  sosp-product      theta_s . H theta_struc, theta_struc = sum of theta_s over units that may go       sosp-h: |gradient| + |product| / 2
Every run also takes gradient and product from gates on the sums of every producer (-gate producers), and stops when they are not those in weights.
"""
import csv
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

sys.dont_write_bytecode = True
from reference_criteria import FOLDER, read_images  # noqa: E402
from reference_net import PRODUCERS, Net, Units  # noqa: E402

OUT = os.path.join(FOLDER, "..", "second-order")
NETWORKS = ["plain", "residual", "grouped", "kinked", "detector"]
DAMPING, DECAY = 1e-3, .95
MINIBATCHES = {"4": 4, "all": 10 ** 6}
SURGERY = {"plain": [(2, 0), (6, 0), (7, 0)], "residual": [(1, 0), (8, 0)], "grouped": [(2, 0), (3, 1), (4, 1)], "kinked": []}
FORMS = ["c-obd", "kron-obd", "c-obs", "kron-obs"]


class Traced(Net):
    """Keeps what every producer reads, and lets derivatives at its sums be taken."""

    def trace(self, x):
        """(outputs, {layer: taps}): zeros (images, n, oh, ow) that are added to the sums."""
        self.seen = {}
        self.taps = {l.index: torch.zeros(len(x), *self.maps[l.index], requires_grad=True) for l in self.producers()}
        outputs = self.forward(x)
        taps, self.taps = self.taps, {}
        return outputs, taps

    def producers(self):
        return [l for l in self.layers if l.kind in PRODUCERS]

    def finish(self, l, y):
        tap = getattr(self, "taps", {}).get(l.index)
        return super().finish(l, y if tap is None else y + tap)

    def convolutional(self, l, x):
        if getattr(self, "taps", {}):
            self.seen[l.index] = x.detach()
        return super().convolutional(l, x)

    def connected(self, l, x):
        if getattr(self, "taps", {}):
            self.seen[l.index] = x.detach().flatten(1)[:, :, None, None]
        return super().connected(l, x)

    def weights(self, l, group=0):
        """(n, d) of one group."""
        w = l.tensors["weights"].detach().flatten(1).chunk(l.groups)[group]
        return (w if l.norm else torch.cat([w, l.tensors["biases"].detach().chunk(l.groups)[group][:, None]], 1)).numpy()

    def patches(self, l):
        """(images, groups, locations, d)"""
        x = self.seen[l.index]
        a = F.unfold(x, l.size, 1, l.size // 2 if l.pad else 0, l.stride) if l.kind == "convolutional" else x.flatten(2)
        a = a.view(len(x), l.groups, -1, a.shape[2]).transpose(2, 3)
        return (a if l.norm else torch.cat([a, torch.ones(*a.shape[:3], 1)], 3)).numpy()


# ---- factors -------------------------------------------------------------------------------------------------------
class Factors:
    """a, s[labels]: {(layer, group): per image (images, d, d), (images, n, n)}; labels: given, or class c of every image; p (images, classes)."""

    def __init__(self, net, x, truths):
        outputs, taps = net.trace(x)
        logits = outputs[net.heads[0].index].flatten(1)
        self.p = F.softmax(logits, 1).detach().numpy()
        self.still = {(l.index, c) for l in net.producers() for c in range(l.n) if l.activation in ("tanh", "loggy") and (1 - abs(outputs[l.index][:, c]) < 2. ** -24).all()}
        classes = self.p.shape[1]
        self.pairs = [(l, g) for l in net.producers() for g in range(l.groups)]
        self.a, self.s = {}, {}
        for l in net.producers():
            a = net.patches(l)
            for g in range(l.groups):
                self.a[l.index, g] = np.einsum("btj,btk->bjk", a[:, g], a[:, g])
        for labels in ["given", *range(classes)]:
            loss = F.cross_entropy(logits, torch.tensor(truths if labels == "given" else [labels] * len(x)), reduction="sum")
            gradients = torch.autograd.grad(loss, list(taps.values()), retain_graph=True)
            self.s[labels] = {}
            for l, ds in zip(net.producers(), gradients):
                for g, part in enumerate(ds.flatten(2).numpy().reshape(len(x), l.groups, l.n // l.groups, -1).swapaxes(0, 1)):
                    self.s[labels][l.index, g] = np.einsum("bit,bjt->bij", part, part) / part.shape[2]

    def expected(self, of):
        """(mean over images of the expectation over labels, standard deviation of that mean with one label each) of of(labels) (images, ...)."""
        values = np.stack([of(c) for c in range(self.p.shape[1])], 1)
        weight = self.p.reshape(*self.p.shape, *[1] * (values.ndim - 2))
        mean = (weight * values).sum(1)
        variance = (weight * (values - mean[:, None]) ** 2).sum(1)
        return mean.mean(0), np.sqrt(variance.sum(0)) / len(values)

    def averaged(self, values, size):
        """Exponential average over minibatches of consecutive images, each as heavy as its images are many, divided by its total weight."""
        total, weight = 0., 0
        for i in range(0, len(values), size):
            part = values[i:i + size]
            total, weight = DECAY * total + part.sum(0), DECAY * weight + len(part)
        return total / weight


class Damped:
    def __init__(self, a, s, w):
        self.a0, self.s0, self.w = a, s, w
        self.pi = np.sqrt((np.trace(a) / len(a)) / (np.trace(s) / len(s)))
        self.a, self.s = a + self.pi * np.sqrt(DAMPING) * np.eye(len(a)), s + np.sqrt(DAMPING) / self.pi * np.eye(len(s))
        self.a_diagonal, self.s_diagonal = np.diag(np.linalg.inv(self.a)), np.diag(np.linalg.inv(self.s))

    def weight_scores(self):
        return {"obd": .5 * self.w ** 2 * np.outer(np.diag(self.s0), np.diag(self.a0)), "obs": .5 * self.w ** 2 / np.outer(self.s_diagonal, self.a_diagonal)}

    def filter_scores(self):
        obd, obs = self.weight_scores().values()
        return {"c-obd": obd.sum(1), "kron-obd": .5 * np.diag(self.s0) * np.einsum("ij,jk,ik->i", self.w, self.a0, self.w),
                "c-obs": obs.sum(1), "kron-obs": .5 * np.einsum("ij,jk,ik->i", self.w, self.a, self.w) / self.s_diagonal}


# ---- surgery: one dense quadratic per group ------------------------------------------------------------------------
class Surgery:
    def __init__(self, damped):
        self.h, self.w = np.kron(damped.s, damped.a), damped.w

    def loss(self, d):
        return .5 * d.ravel() @ self.h @ d.ravel()

    def joint(self, gone):
        """The minimum over all surviving weights; gone (n, d)."""
        q, d = gone.ravel(), np.where(gone, -self.w, 0.).ravel()
        d[~q] = -np.linalg.solve(self.h[~q][:, ~q], self.h[~q][:, q] @ d[q])
        return d.reshape(self.w.shape)

    def paper(self, gone):
        inverse, d = np.linalg.inv(self.h), np.zeros(self.w.size)
        for q in np.flatnonzero(gone):
            d -= self.w.ravel()[q] / inverse[q, q] * inverse[:, q]
        return np.where(gone, -self.w, d.reshape(self.w.shape))

    def cases(self):
        """(case, gone (n, d), change of the weights)"""
        n, d = self.w.shape
        rng = np.random.default_rng([6, n, d])
        rows, columns, one = rng.random(n) < .3, rng.random(d) < .4, np.zeros((n, d), bool)
        rows[0], rows[-1], columns[0], columns[-1] = True, False, True, False
        one.ravel()[abs(self.w).argmax()] = True
        some = rng.random((n, d)) < .25
        wide = np.zeros((n, d), bool)
        for case, gone in (("rows", wide | rows[:, None]), ("columns", wide | columns), ("both", rows[:, None] | columns), ("one", one), ("set", some)):
            yield case, gone, self.joint(gone)
        yield "paper", some, self.paper(some)


# ---- SOSP: theta_s are weights -------------------------------------------------------------------------------------
class Sosp:
    """theta_s, dE/dtheta, phi theta_s and H theta_struc over all weights and biases (of layers without batch-norm), flat."""

    def __init__(self, net, units, x, truths):
        self.units, self.free = units, ~np.array(units.protected)
        self.parameters = [l.tensors[s] for l in net.producers() for s in (["weights"] if l.norm else ["weights", "biases"])]
        theta = self.segments(net)
        for t in self.parameters:
            t.requires_grad_()
        outputs = net.forward(x)
        loss = net.losses(outputs, truths).mean()
        flat = lambda parts: torch.cat([p.reshape(-1) for p in parts])
        first = flat(torch.autograd.grad(loss, self.parameters, create_graph=True))
        struc = torch.from_numpy(theta[self.free].sum(0))
        second = flat(torch.autograd.grad(first @ struc, self.parameters, retain_graph=True)).numpy()
        y = net.head_inputs(outputs)
        jacobian = np.stack([[flat(torch.autograd.grad(v, self.parameters, retain_graph=True)).numpy() for v in image] for image in y])
        for t in self.parameters:
            t.requires_grad_(False)
        self.gradient, self.product = theta @ first.detach().numpy(), theta @ second
        phi, r = jacobian @ theta.T, net.curvature([o.detach() for o in outputs], truths).numpy()     # (images, outputs, units)
        gauss_newton = np.einsum("bks,bkl,blt->st", phi, r, phi, optimize=True) / len(x)
        self.q = abs(gauss_newton) / 2 + np.diag(abs(self.gradient))

    def segments(self, net):
        """(units, weights) theta_s"""
        owner = []
        for l in net.producers():
            of = [self.units.of[l.index, c] for c in range(l.n)]
            owner += [u for u in of for _ in range(l.tensors["weights"][0].numel())] + ([] if l.norm else of)
        flat = torch.cat([t.reshape(-1) for t in self.parameters]).numpy()
        return np.where(np.arange(len(self.units.members))[:, None] == np.array(owner), flat, 0.)

    def greedy(self):
        """Every step weighs the whole modelled loss of each candidate set: (order, modelled losses)."""
        gone, losses = [], []
        left = list(np.flatnonzero(self.free))
        while left:
            least, u = min((self.q[np.ix_(gone + [u], gone + [u])].sum(), u) for u in left)
            gone.append(u)
            losses.append(least)
            left.remove(u)
        return gone, losses


class Gates:
    """The same quantities from gates: z_u multiplies the sums of all the unit's gates."""

    def __init__(self, net, units, x, truths, place):
        sites = {"after-bn": units.sites, "before-bn": units.placed("before-bn"), "producers": self.producers(net, units)}[place]
        self.z = torch.ones(len(units.members), requires_grad=True)
        loss = net.losses(net.forward(x, self.z, sites), truths).mean()
        self.first, = torch.autograd.grad(loss, self.z, create_graph=True)

    def producers(self, net, units):
        place = lambda layer: "norm" if net.layers[layer].norm else "activation"
        return [(l, c, u, place(l)) for u, members in enumerate(units.members) for l, c in members if not units.protected[u]]

    def product(self, v):
        return torch.autograd.grad(self.first @ torch.from_numpy(v), self.z, retain_graph=True)[0].numpy()


# ---- costs ---------------------------------------------------------------------------------------------------------
def cost(net, units, gone):
    """Multiply-adds without the units in gone: kept inputs times kept filters, per group."""
    total, kept = 0, []
    alive = lambda channel: units.of[channel] not in gone
    for l in net.layers:
        ins = [np.ones(net.c, bool) if s < 0 else kept[s] for s in l.sources]
        if l.kind in PRODUCERS:
            _, h, w = net.maps[l.index]
            here = np.array([alive((l.index, c)) for c in range(l.n)])
            each = l.in_shape[1] * l.in_shape[2] if l.kind == "connected" else l.size ** 2
            total += sum(int(i.sum()) * int(o.sum()) * each * h * w for i, o in zip(np.split(ins[0], l.groups), np.split(here, l.groups)))
            kept.append(here)
        else:
            kept.append(np.concatenate(ins) if l.kind == "route" else ins[0])
    return total


# ---- files ---------------------------------------------------------------------------------------------------------
class Golden:
    def __init__(self, name):
        self.out = open(os.path.join(OUT, name + ".txt"), "w")
        self.out.write(f"{'#'} recorded by scripts/reference_second_order.py, which has the names; damping {DAMPING:g}\n")

    def put(self, name, values, lower=False):
        values = np.atleast_2d(np.asarray(values, float))
        self.out.write(f"{name} {values.shape[0]} {'lower' if lower else values.shape[1]}\n")
        for i, row in enumerate(values):
            self.out.write(" ".join(f"{v:.7g}" for v in (row[:i + 1] if lower else row)) + "\n")


def write_factors(golden, net, f):
    for l, g in f.pairs:
        at = f"{l.index}.{g}"
        golden.put("A." + at, f.a[l.index, g].mean(0), True)
        golden.put("S." + at, f.s["given"][l.index, g].mean(0), True)
        mean, spread = f.expected(lambda c: f.s[c][l.index, g])
        golden.put("T." + at, mean, True)
        golden.put("spread." + at, spread, True)
        d = Damped(f.a[l.index, g].mean(0), f.s["given"][l.index, g].mean(0), net.weights(l, g))
        for name, values in (("pi", d.pi), ("Ai", d.a_diagonal), ("Si", d.s_diagonal), *d.weight_scores().items(), *d.filter_scores().items()):
            golden.put(f"{name}.{at}", values)
        if (l.index, g) in SURGERY[golden.name]:
            write_surgery(golden, at, Surgery(d))


def write_surgery(golden, at, surgery):
    for case, gone, change in surgery.cases():
        marks = {"rows": gone[:, 0], "columns": gone[0], "set": gone}
        if case in marks:
            golden.put(f"{case}.{at}", marks[case])
        golden.put(f"W-{case}.{at}", np.where(gone, 0., surgery.w + change))
        golden.put(f"loss-{case}.{at}", [surgery.loss(np.where(gone, -surgery.w, 0.)), surgery.loss(change)])


def unit_sums(units, of):
    """of(layer, channel) summed over producers."""
    return np.array([sum(of(*m) for m in members) for members in units.members])


def kfac_columns(net, units, f):
    columns = {}
    per_group = {l.index: l.n // l.groups for l in net.producers()}
    place = lambda layer, channel: ((layer, channel // per_group[layer]), channel % per_group[layer])
    macs = columns["macs"] = np.array([cost(net, units, ()) - cost(net, units, {u}) for u in range(len(units.members))], float)
    columns["kernel"] = np.array([max(float(net.layers[layer].size) for layer, _ in m) for m in units.members])
    for label, size in MINIBATCHES.items():
        average = lambda of, key: f.averaged(of[key], size)
        scores = {(l.index, g): Damped(average(f.a, (l.index, g)), average(f.s["given"], (l.index, g)), net.weights(l, g)).filter_scores() for l, g in f.pairs}
        for layer, channel in f.still:
            for form in FORMS:
                scores[place(layer, channel)[0]][form][place(layer, channel)[1]] = 0
        total = {l.index: sum(scores[l.index, g]["c-obs"].sum() for g in range(l.groups)) for l in net.producers()}
        pick = lambda form: lambda layer, channel: scores[place(layer, channel)[0]][form][place(layer, channel)[1]]
        for form in FORMS:
            columns[f"{form}@{label}"] = unit_sums(units, pick(form))
        columns[f"nap@{label}"] = unit_sums(units, lambda layer, channel: pick("c-obs")(layer, channel) / total[layer]) / macs
        columns[f"nap-plain@{label}"] = columns[f"c-obs@{label}"] / macs
    for form in "c-obd", "kron-obd":
        def of(labels):
            """(images, units)"""
            def filters(layer, channel):
                key, i = place(layer, channel)
                w, a = net.weights(net.layers[layer], key[1])[i], f.a[key].mean(0)
                return .5 * f.s[labels][key][:, i, i] * (w ** 2 @ np.diag(a) if form == "c-obd" else w @ a @ w)
            return unit_sums(units, filters).T
        columns[form + "-true"], columns[form + "-spread"] = f.expected(of)
    return columns


def write_detector(golden, net, x, truths):
    """A and T alone. The loss of a head is minus the logarithm of what its outputs predict, so the expectation of ds ds^T over targets is J^T R J, with J the
    derivative of the head's input by the sums and R (diagonal) the curvature of the loss there."""
    outputs, taps = net.trace(x)
    y, r = net.head_inputs(outputs), np.einsum("bkk->bk", net.curvature(outputs, truths).numpy())
    fisher = {l.index: 0. for l in net.producers()}
    for k in range(y.shape[1]):
        gradients = torch.autograd.grad(y[:, k].sum(), list(taps.values()), retain_graph=True, allow_unused=True)
        for l, g in zip(net.producers(), gradients):
            if g is not None:
                g = g.flatten(2).numpy()
                fisher[l.index] = fisher[l.index] + np.einsum("b,bit,bjt->ij", r[:, k], g, g, optimize=True) / g.shape[2] / len(x)
    for l in net.producers():
        a = net.patches(l)[:, 0]
        golden.put(f"A.{l.index}.0", np.einsum("btj,btk->jk", a, a) / len(x), True)
        golden.put(f"T.{l.index}.0", fisher[l.index], True)


def write_network(name):
    net = Traced(os.path.join(FOLDER, name + ".cfg"))
    x, truths = read_images(name)
    net.read(os.path.join(FOLDER, name + ".weights"))
    units = Units(net)
    golden = Golden(name)
    golden.name = name
    if name == "detector":
        return write_detector(golden, net, x, truths)
    columns = {}
    gates = {place: Gates(net, units, x, truths, place) for place in ("after-bn", "before-bn", "producers")}
    for place, g in gates.items():
        v = np.round(np.random.default_rng([7, len(g.z)]).normal(size=len(g.z)), 3) * (~np.array(units.protected))
        golden.put("direction." + place, v)
        golden.put("product." + place, g.product(v))
    if name != "kinked":
        f = Factors(net, x, truths)
        write_factors(golden, net, f)
        columns.update(kfac_columns(net, units, f))
        sosp = Sosp(net, units, x, truths)
        golden.put("Q", sosp.q[np.ix_(sosp.free, sosp.free)], True)
        order, losses = sosp.greedy()
        golden.put("order", order)
        golden.put("lambda", losses)
        columns.update({"sosp-gradient": sosp.gradient, "sosp-product": sosp.product, "sosp-h": abs(sosp.gradient) + abs(sosp.product) / 2})
        write_csv(name, units, columns)
        agree(name, sosp, gates["producers"])
    print(f"{name}: {len(units.members)} units")


def agree(name, sosp, gates):
    """theta_s . derivative in the weights is the derivative in a gate on the sums of every producer: z enters the weights linearly."""
    for what, here, there in (("gradient", sosp.gradient, gates.first.detach().numpy()), ("product", sosp.product, gates.product(sosp.free.astype(float)))):
        off, largest = abs(here - there)[sosp.free].max(), abs(here[sosp.free]).max()
        print(f"{name}: {what} in weights and in gates: largest difference {off:.1e} of {largest:.3g}")
        assert off < 1e-12 * largest, what


def write_csv(name, units, columns):
    with open(os.path.join(OUT, name + ".csv"), "w", newline="") as out:
        w = csv.writer(out, lineterminator="\n")
        w.writerow(["layer", "channel", "unit", "protected", *columns])
        for u, members in enumerate(units.members):
            w.writerow([*members[0], u, int(units.protected[u]), *(f"{float(c[u]):.9g}" for c in columns.values())])


if __name__ == "__main__":
    if any(a not in NETWORKS for a in sys.argv[1:]):
        sys.exit(__doc__)
    os.makedirs(OUT, exist_ok=True)
    for network in sys.argv[1:] or NETWORKS:
        write_network(network)
