"""A Darknet network in PyTorch, float64, with gates as real multiplications: the executor of scripts/reference_criteria.py. Written from docs/cfg.md,
docs/weights.md, docs/units.md and docs/evaluation.md alone; shares nothing with plugin/ or darknet/. Knows the layers that the reference networks
(tests/golden/criteria) use and refuses others. Batch-norm with rolling statistics as Darknet computes it, (x - mean) / (sqrt(variance) + 1e-6).
Needs python3-torch."""
import numpy as np
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

ACTIVATIONS = {
    "linear": lambda x: x, "relu": F.relu, "leaky": lambda x: torch.where(x > 0, x, .1 * x), "logistic": torch.sigmoid, "tanh": torch.tanh,
    "elu": lambda x: torch.where(x >= 0, x, torch.expm1(torch.clamp(x, max=0.))), "loggy": lambda x: 2 * torch.sigmoid(x) - 1,
}
KEEPS_ZERO = {"linear", "relu", "leaky", "tanh", "elu", "loggy"}
PRODUCERS = {"convolutional", "connected"}
PASSES = {"maxpool", "avgpool", "dropout", "upsample", "batchnorm"}
HEADS = {"softmax", "yolo"}


class Layer:
    def __init__(self, index, kind, options):
        self.index, self.kind, self.options, self.tensors = index, kind, options, {}
        self.activation = options.get("activation", "linear")
        number = lambda key, default: int(options.get(key, default))
        self.norm = kind == "batchnorm" or number("batch_normalize", 0) == 1
        self.n = number("filters", 0) or number("output", 0)
        self.size, self.stride, self.groups, self.pad = number("size", 1), number("stride", 1), number("groups", 1), number("pad", 0)
        relative = lambda s: s if s >= 0 else index + s
        if kind == "route":
            self.sources = [relative(int(s)) for s in options["layers"].split(",")]
        elif kind == "shortcut":
            self.sources = [index - 1, relative(int(options["from"]))]
        else:
            self.sources = [index - 1]


class Net:
    """layers: Layer of each section; maps: (c, h, w) of each layer's output."""

    def __init__(self, path):
        sections = []
        for line in open(path):
            line = line.split("#")[0].strip()
            if line.startswith("["):
                sections.append((line[1:-1], {}))
            elif line:
                sections[-1][1].setdefault(*line.split("=", 1))
        options = sections[0][1]
        self.w, self.h, self.c = (int(options[k]) for k in ("width", "height", "channels"))
        self.layers = [Layer(i, k, o) for i, (k, o) in enumerate(sections[1:])]
        self.maps = []
        for l in self.layers:
            self.maps.append(self.shape(l))
        self.heads = [l for l in self.layers if l.kind in HEADS]

    def shape(self, l):
        c, h, w = l.in_shape = (self.c, self.h, self.w) if l.sources[0] < 0 else self.maps[l.sources[0]]
        down = lambda d, pad: (d + pad - l.size) // l.stride + 1
        if l.kind == "convolutional":
            pad = 2 * (l.size // 2) if l.pad else 0
            return l.n, down(h, pad), down(w, pad)
        if l.kind == "maxpool":
            return c, down(h, l.size - 1), down(w, l.size - 1)
        if l.kind == "upsample":
            return c, h * l.stride, w * l.stride
        if l.kind == "route":
            return sum(self.maps[s][0] for s in l.sources), h, w
        if l.kind == "connected":
            return l.n, 1, 1
        if l.kind == "avgpool":
            return c, 1, 1
        assert l.kind in PASSES | HEADS | {"shortcut"}, l.kind
        return c, h, w

    # ---- weights: names and shapes in the order of the file --------------------------------------------------------
    def slots(self, l):
        c, h, w = l.in_shape
        n = l.n or c
        norm = [("scales", (n,)), ("mean", (n,)), ("variance", (n,))] if l.norm else []
        if l.kind == "convolutional":
            return [("biases", (n,)), *norm, ("weights", (n, c // l.groups, l.size, l.size))]
        if l.kind == "connected":
            return [("biases", (n,)), ("weights", (n, c * h * w)), *norm]
        return norm

    def write(self, path):
        with open(path, "wb") as f:
            np.array([0, 2, 5], "<i4").tofile(f)
            np.array([0], "<i8").tofile(f)
            for l in self.layers:
                for name, _ in self.slots(l):
                    l.tensors[name].detach().numpy().astype("<f4").tofile(f)

    def read(self, path):
        flat, at = np.fromfile(path, "<f4", offset=20).astype(np.float64), 0
        for l in self.layers:
            for name, shape in self.slots(l):
                n = int(np.prod(shape))
                l.tensors[name] = torch.from_numpy(flat[at:at + n].reshape(shape).copy())
                at += n
        assert at == flat.size, f"{path}: {flat.size} values, the cfg takes {at}"

    # ---- forward ---------------------------------------------------------------------------------------------------
    def forward(self, x, z=None, sites=(), calibrate=False):
        """Outputs of all layers; a head's is its input. z: (units) or (images, units); sites: [(layer, channel, unit, place)]."""
        self.gates, self.calibrate, outputs = {}, calibrate, []
        for layer, channel, unit, place in sites if z is not None else ():
            self.gates.setdefault((layer, place), {})[channel] = unit
        self.z = None if z is None else torch.cat([z, torch.ones(*z.shape[:-1], 1)], -1)
        for l in self.layers:
            ins = [x if s < 0 else outputs[s] for s in l.sources]
            y = ins[0] if l.kind in HEADS | {"dropout"} else getattr(self, l.kind)(l, *ins)
            outputs.append(self.gate(l, y, "output"))
        return outputs

    def gate(self, l, y, place):
        units = self.gates.get((l.index, place))
        if not units:
            return y
        z = self.z[..., [units.get(c, -1) for c in range(y.shape[1])]]
        return y * (z[:, :, None, None] if z.dim() == 2 else z[None, :, None, None])

    def normalise(self, l, y):
        if self.calibrate:
            l.tensors["mean"] = y.mean((0, 2, 3)).detach().float().double()
            l.tensors["variance"] = y.var((0, 2, 3)).detach().float().double()
        column = lambda name: l.tensors[name][None, :, None, None]
        y = self.gate(l, y, "norm")
        return (y - column("mean")) / (torch.sqrt(column("variance")) + 1e-6) * column("scales")

    def finish(self, l, y):
        if l.norm:
            y = self.normalise(l, y)
        y = y + l.tensors["biases"][None, :, None, None]
        return ACTIVATIONS[l.activation](self.gate(l, y, "activation"))

    def convolutional(self, l, x):
        return self.finish(l, F.conv2d(x, l.tensors["weights"], None, l.stride, l.size // 2 if l.pad else 0, 1, l.groups))

    def connected(self, l, x):
        return self.finish(l, (x.flatten(1) @ l.tensors["weights"].T)[:, :, None, None])

    def batchnorm(self, l, x):
        return self.normalise(l, x)

    def maxpool(self, l, x):
        before, (_, h, w) = (l.size - 1) // 2, self.maps[l.index]
        after = lambda out, size: max((out - 1) * l.stride + l.size - before - size, 0)
        x = F.pad(x, (before, after(w, x.shape[3]), before, after(h, x.shape[2])), value=-float("inf"))
        return F.max_pool2d(x, l.size, l.stride)[:, :, :h, :w]

    def avgpool(self, l, x):
        return x.mean((2, 3), keepdim=True)

    def upsample(self, l, x):
        return x.repeat_interleave(l.stride, 2).repeat_interleave(l.stride, 3)

    def route(self, l, *ins):
        return torch.cat(ins, 1)

    def shortcut(self, l, x, y):
        """The first min(c1, c2) channels; of a larger map every stride-th pixel is added."""
        c, step = min(x.shape[1], y.shape[1]), y.shape[2] // x.shape[2]
        assert step >= 1, "an addend smaller than the map"
        return ACTIVATIONS[l.activation](torch.cat([x[:, :c] + y[:, :c, ::step, ::step], x[:, c:]], 1))

    # ---- losses ----------------------------------------------------------------------------------------------------
    def losses(self, outputs, truths):
        """(images) the loss whose gradient training descends."""
        if self.heads[0].kind == "softmax":
            return F.cross_entropy(outputs[self.heads[0].index].flatten(1), torch.tensor(truths), reduction="none")
        return sum(self.yolo_loss(l, outputs[l.index], truths) for l in self.heads)

    def head_inputs(self, outputs):
        """(images, values) all that heads read."""
        return torch.cat([outputs[l.index].flatten(1) for l in self.heads], 1)

    def curvature(self, outputs, truths):
        """(images, values, values) d2E_b/dy2."""
        y = self.head_inputs(outputs).detach()
        if self.heads[0].kind == "softmax":
            p = F.softmax(y, 1)
            return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        parts = []
        for l in self.heads:
            a = outputs[l.index].detach().requires_grad_()
            first, = torch.autograd.grad(self.yolo_loss(l, a, truths).sum(), a, create_graph=True)
            parts.append(torch.autograd.grad(first.sum(), a)[0].flatten(1))   # the loss is a sum over values: its Hessian is diagonal
        return torch.diag_embed(torch.cat(parts, 1))

    def anchors(self, l):
        numbers = [float(a) for a in l.options["anchors"].split(",")]
        sizes = [(w / self.w, h / self.h) for w, h in zip(numbers[::2], numbers[1::2])]
        return sizes, [int(m) for m in l.options["mask"].split(",")]

    def yolo_loss(self, l, a, truths):
        sizes, mask = self.anchors(l)
        classes, (h, w) = int(l.options["classes"]), a.shape[2:]
        a = a.view(len(a), len(mask), 5 + classes, h, w)
        column, row = torch.arange(w)[None, None, None, :], torch.arange(h)[None, None, :, None]
        size = torch.tensor([sizes[m] for m in mask])
        seen = torch.stack([(column + torch.sigmoid(a[:, :, 0])) / w, (row + torch.sigmoid(a[:, :, 1])) / h,
                            torch.exp(a[:, :, 2]) * size[None, :, 0, None, None], torch.exp(a[:, :, 3]) * size[None, :, 1, None, None]], -1).detach()
        bce = lambda value, target: F.softplus(value) - target * value
        losses = []
        for b, boxes in enumerate(truths):
            weight, target, loss = torch.ones(seen.shape[1:4]), torch.zeros(seen.shape[1:4]), 0.
            taken = set()
            for t in boxes:
                weight[overlap(seen[b], torch.tensor(t[1:])) > float(l.options["ignore_thresh"])] = 0
            for t in boxes:
                best = int(torch.stack([overlap(torch.tensor([0., 0., *s]), torch.tensor([0., 0., *t[3:]])) for s in sizes]).argmax())
                if best not in mask:
                    continue
                place = (mask.index(best), int(t[2] * h), int(t[1] * w))
                assert place not in taken, "two truths of one predictor: the references avoid them"
                taken.add(place)
                weight[place] = target[place] = 1
                v = a[b, place[0], :, place[1], place[2]]
                tx, ty = t[1] * w - place[2], t[2] * h - place[1]
                entropy = sum(q * np.log(q) + (1 - q) * np.log(1 - q) for q in (tx, ty))
                tw, th = (float(np.log(t[3 + i] / sizes[best][i])) for i in (0, 1))
                loss = loss + (2 - t[3] * t[4]) * (bce(v[0], tx) + bce(v[1], ty) + entropy + .5 * ((v[2] - tw) ** 2 + (v[3] - th) ** 2))
                loss = loss + sum(bce(v[5 + c], float(c == t[0])) for c in range(classes))
            losses.append(loss + (weight * bce(a[b, :, 4], target)).sum())
        return torch.stack(losses)


def overlap(a, b):
    """Intersection over union of boxes (..., x y w h)."""
    left, right = torch.maximum(a[..., :2] - a[..., 2:] / 2, b[..., :2] - b[..., 2:] / 2), torch.minimum(a[..., :2] + a[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2)
    common = (right - left).clamp(min=0).prod(-1)
    return common / (a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - common)


# ---- units (docs/units.md) -----------------------------------------------------------------------------------------
class Units:
    """members: per unit its producers (layer, channel), in order; protected: per unit; sites: [(layer, channel, unit, place)] behind batch-norm."""

    def __init__(self, net):
        self.net, self.parent = net, {}
        self.classes = self.walk()
        groups = {}
        for l in net.layers:
            for c in range(l.n if l.kind in PRODUCERS else 0):
                groups.setdefault(self.root((l.index, c)), []).append((l.index, c))
        self.members = sorted(groups.values())
        self.of = {m: u for u, members in enumerate(self.members) for m in members}
        fixed = {self.root(c) for l in net.heads for c in self.classes[l.sources[0]]}
        self.protected = [self.root(m[0]) in fixed for m in self.members]
        self.sites = self.find_sites()

    def root(self, x):
        while self.parent.setdefault(x, x) != x:
            x = self.parent[x]
        return x

    def walk(self):
        """Per layer and output channel one producer that stands behind it; None: the network input."""
        out = []
        for l in self.net.layers:
            ins = [[None] * self.net.c if s < 0 else out[s] for s in l.sources]
            if l.kind in PRODUCERS:
                out.append([(l.index, c) for c in range(l.n)])
                if depthwise(l):
                    for c in range(l.n):
                        self.parent[self.root((l.index, c))] = self.root(ins[0][c // (l.n // l.groups)])
            elif l.kind == "route":
                out.append(sum(ins, []))
            else:
                out.append(ins[0])
            if l.kind == "shortcut":
                for a, b in zip(*ins):
                    self.parent[self.root(a)] = self.root(b)
        return out

    def readers(self, index):
        """Layers that read this layer's channels, through those that hand them on."""
        for l in self.net.layers:
            if index in l.sources:
                yield l
                if l.kind not in PRODUCERS | HEADS and keeps_zero(l):
                    yield from self.readers(l.index)

    def find_sites(self):
        """Every producer has its gate before the activation; behind it where a zero does not survive (its own activation, or the one layer that reads it);
        none where depthwise convolutions alone read it: theirs stand further back. A producer read by both kinds at once is in none of the networks."""
        sites = []
        for u, members in enumerate(self.members):
            for layer, channel in members if not self.protected[u] else ():
                l = self.net.layers[layer]
                real = [r for r in self.readers(layer) if r.kind in PRODUCERS | HEADS]
                breaking = [r for r in self.readers(layer) if r.kind not in PRODUCERS | HEADS and not keeps_zero(r)]
                serial = [r for r in real if depthwise(r)]
                assert not (serial and len(serial) < len(real)) and not (breaking and (real or len(breaking) > 1)), (layer, channel)
                if breaking:
                    sites.append((breaking[0].index, channel, u, "output"))
                elif not serial:
                    sites.append((layer, channel, u, "activation" if l.activation in KEEPS_ZERO else "output"))
        return sites

    def placed(self, choice):
        """The sites in front of batch-norm (where there is one), or behind the activation."""
        norm = lambda layer: self.net.layers[layer].norm
        if choice == "before-bn":
            return [(l, c, u, "norm" if norm(l) and p == "activation" else p) for l, c, u, p in self.sites]
        return [(l, c, u, "output") for l, c, u, p in self.sites]


def depthwise(l):
    return l.kind == "convolutional" and l.groups > 1 and l.groups == l.in_shape[0]


def keeps_zero(l):
    return l.kind != "batchnorm" and l.activation in KEEPS_ZERO
