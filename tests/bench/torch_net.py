"""A Darknet cfg as a PyTorch module with the weights of a Darknet file: the opponent of `make bench`, so written to be quick: activations in place, nothing
kept that no later layer reads. Refuses layer types it does not know. Heads (softmax, yolo) are not run: forward returns what they read."""
import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

HEADS = ("softmax", "yolo")
ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: F.relu(x, inplace=True),
    "leaky": lambda x: F.leaky_relu(x, 0.1, inplace=True),
    "logistic": torch.sigmoid,
}


def with_defaults(sections):
    """(net options, [(kind, options, sources)]): sources are layer indices, -1 the input."""
    layers = []
    for i, (kind, o) in enumerate(sections[1:]):
        sources = [i - 1]
        if kind == "route":
            sources = [s if s >= 0 else i + s for s in map(int, o["layers"].split(","))]
        elif kind == "shortcut":
            sources = [i - 1, int(o["from"]) if int(o["from"]) >= 0 else i + int(o["from"])]
        layers.append((kind, o, sources))
    return sections[0][1], layers


class Affine(nn.Module):
    """A convolution or connected layer, batch-norm and activation."""

    def __init__(self, kind, o, c):
        super().__init__()
        norm = int(o.get("batch_normalize", 0)) == 1
        if kind == "connected":
            self.n = int(o["output"])
            self.product = nn.Linear(c, self.n, bias=not norm)
        else:
            self.n, k = int(o["filters"]), int(o["size"])
            pad = k // 2 if int(o.get("pad", 0)) else int(o.get("padding", 0))
            self.product = nn.Conv2d(c, self.n, k, int(o.get("stride", 1)), pad, groups=int(o.get("groups", 1)), bias=not norm)
        # Darknet divides by sqrt(v) + 1e-6
        self.norm = (nn.BatchNorm1d if kind == "connected" else nn.BatchNorm2d)(self.n, eps=1e-8, momentum=0.01) if norm else None
        self.activation = ACTIVATIONS[o.get("activation", "logistic")]

    def forward(self, x):
        x = self.product(x.flatten(1) if isinstance(self.product, nn.Linear) else x)
        return self.activation(self.norm(x) if self.norm is not None else x)

    def load(self, take, connected):
        def put(*names):
            for name in names:
                t = {"biases": self.norm.bias if self.norm else self.product.bias, "weights": self.product.weight,
                     "scales": self.norm and self.norm.weight, "mean": self.norm and self.norm.running_mean,
                     "variance": self.norm and self.norm.running_var}[name]
                t.data.copy_(take(t.numel()).view(t.shape))
        statistics = ["scales", "mean", "variance"] if self.norm else []
        put("biases", *(["weights"] + statistics if connected else statistics + ["weights"]))

    def fold(self):
        """Batch-norm into the product, for inference."""
        if self.norm is None or isinstance(self.product, nn.Linear):
            return
        self.product = nn.utils.fusion.fuse_conv_bn_eval(self.product, self.norm)
        self.norm = None


class MaxPool(nn.Module):
    """Darknet's: `padding` (default size - 1) values in all, half of them before; what is outside never wins."""

    def __init__(self, o):
        super().__init__()
        self.stride = int(o.get("stride", 1))
        self.size = int(o.get("size", self.stride))
        self.padding = int(o.get("padding", self.size - 1))

    def forward(self, x):
        before, after = self.padding // 2, []
        for d in (x.shape[3], x.shape[2]):
            out = (d + self.padding - self.size) // self.stride + 1
            after.append(max((out - 1) * self.stride + self.size - before - d, 0))
        if self.size == 1:
            return x[:, :, ::self.stride, ::self.stride]
        if before == after[0] == after[1]:
            return F.max_pool2d(x, self.size, self.stride, before)
        if before or any(after):
            x = F.pad(x, (before, after[0], before, after[1]), value=float("-inf"))
        return F.max_pool2d(x, self.size, self.stride)


def shortcut(x, y):
    """Darknet adds the first channels, of every second pixel when one map is larger."""
    c = min(x.shape[1], y.shape[1])
    if x.shape[2] < y.shape[2]:
        s = y.shape[2] // x.shape[2]
        y = y[:, :, ::s, ::s]
    assert x.shape[2:] == y.shape[2:], "shortcut from a smaller map"
    if c == x.shape[1]:
        return x + y[:, :c]
    return x + F.pad(y[:, :c], (0, 0, 0, 0, 0, x.shape[1] - c))


def map_size(kind, o, size):
    """(h, w) behind a layer."""
    stride = int(o.get("stride", 1))
    if kind == "convolutional":
        k = int(o["size"])
        pad = k // 2 if int(o.get("pad", 0)) else int(o.get("padding", 0))
        return tuple((d + 2 * pad - k) // stride + 1 for d in size)
    if kind == "maxpool":
        k = int(o.get("size", stride))
        return tuple((d + int(o.get("padding", k - 1)) - k) // stride + 1 for d in size)
    if kind == "upsample":
        return tuple(d * int(o.get("stride", 2)) for d in size)
    return (1, 1) if kind in ("connected", "avgpool") else size


def block_of(kind, o, c, size):
    if kind == "convolutional":
        return Affine(kind, o, c)
    if kind == "connected":
        return Affine(kind, o, c * size[0] * size[1])
    if kind == "maxpool":
        return MaxPool(o)
    if kind == "dropout":
        return nn.Dropout(float(o.get("probability", 0.5)))
    if kind in ("route", "shortcut", "avgpool", "upsample") + HEADS:
        return nn.Identity()
    raise ValueError("a layer of type [%s]" % kind)


class DarknetTorch(nn.Module):
    def __init__(self, sections, weights):
        super().__init__()
        net, self.layers = with_defaults(sections)
        self.blocks = nn.ModuleList()
        self.last_use = {s: i for i, (_, _, sources) in enumerate(self.layers) for s in sources}
        self.yolo = any(kind == "yolo" for kind, _, _ in self.layers)
        channels, sizes = {-1: int(net["channels"])}, {-1: (int(net["height"]), int(net["width"]))}
        for i, (kind, o, sources) in enumerate(self.layers):
            size = sizes[sources[0]]
            c = channels[sources[0]] if kind == "shortcut" else sum(channels[s] for s in sources)
            block = block_of(kind, o, c, size)
            self.blocks.append(block)
            channels[i], sizes[i] = block.n if isinstance(block, Affine) else c, map_size(kind, o, size)
        self.load(weights)

    def load(self, path):
        flat, at = torch.from_numpy(np.fromfile(path, np.float32, offset=20)), 0

        def take(n):
            nonlocal at
            at += n
            return flat[at - n:at]
        for (kind, _, _), block in zip(self.layers, self.blocks):
            if isinstance(block, Affine):
                block.load(take, kind == "connected")
        if at != len(flat):
            raise ValueError("%s: %d values, the cfg takes %d" % (path, len(flat), at))

    def fold(self):
        for block in self.blocks:
            if isinstance(block, Affine):
                block.fold()

    def forward(self, x):
        kept, results = {-1: x}, []
        for i, (kind, o, sources) in enumerate(self.layers):
            ins = [kept[s] for s in sources]
            if kind in HEADS:
                results.append(ins[0])
                out = ins[0]
            elif kind == "route":
                out = ins[0] if len(ins) == 1 else torch.cat(ins, 1)
            elif kind == "shortcut":
                out = ACTIVATIONS[o.get("activation", "linear")](shortcut(*ins))
            elif kind == "avgpool":
                out = x.mean((2, 3), keepdim=True)
            elif kind == "upsample":
                out = F.interpolate(x, scale_factor=int(o.get("stride", 2)), mode="nearest")
            else:
                out = self.blocks[i](x)
            kept[i] = x = out
            for s in set(sources):
                if self.last_use[s] == i:
                    kept.pop(s, None)
        return results

    def loss(self, results, truth):
        """Cross-entropy per image; for yolo heads a stand-in that costs less than theirs: the mean square behind the logistic function."""
        if self.yolo:
            return sum(torch.sigmoid(r).square().mean() for r in results)
        return F.cross_entropy(results[0].flatten(1), truth)
