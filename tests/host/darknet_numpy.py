"""A Darknet network in numpy, for tests only: reads a cfg, makes random weights with calibrated batch-norm statistics, runs the layers up to
the heads. Written from the formulas, sharing nothing with plugin/: a third executor beside the host and OpenCV, in float64 when asked.
Heads (yolo, region, detection, softmax, cost, ...) are not run: networks are compared at their inputs."""
import numpy as np

HEADS = {"yolo", "region", "detection", "softmax", "cost", "iseg"}
RECURRENT = {"rnn", "lstm", "gru", "crnn"}
ALIASES = {"conv": "convolutional", "deconv": "deconvolutional", "conn": "connected", "max": "maxpool", "avg": "avgpool",
           "lrn": "normalization", "soft": "softmax", "network": "net"}
ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "leaky": lambda x: np.where(x > 0, x, x * np.asarray(0.1, x.dtype)),
    "ramp": lambda x: np.where(x > 0, x, 0) + x * np.asarray(0.1, x.dtype),
    "logistic": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "elu": lambda x: np.where(x >= 0, x, np.expm1(np.minimum(x, 0))),
    "hardtan": lambda x: np.clip(x, -1, 1),
    "loggy": lambda x: 2 / (1 + np.exp(-x)) - 1,
}


def parse(text):
    """[(kind, {key: value})] of all sections; the first of two equal keys wins."""
    sections = []
    for line in text.split("\n"):
        line = "".join(line.split())
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            name = line[1:line.index("]")]
            sections.append((ALIASES.get(name, name), {}))
        else:
            key, value = line.split("=", 1)
            sections[-1][1].setdefault(key, value)
    return sections


class Layer:
    def __init__(self, kind, options):
        self.kind, self.options, self.tensors = kind, options, {}

    def int(self, key, default):
        return int(self.options.get(key, default))


def im2col(x, k, stride, pad):
    """(b, c, h, w) -> (b, c, k, k, oh, ow) view of the padded map."""
    if pad:
        x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(2, 3))[:, :, ::stride, ::stride]
    return windows.transpose(0, 1, 4, 5, 2, 3)


class Net:
    def __init__(self, path, dtype=np.float32):
        with open(path, encoding="latin-1", newline="") as f:
            sections = parse(f.read())
        self.net = Layer(*sections[0])
        self.layers = [Layer(k, o) for k, o in sections[1:] if k != "gate"]
        self.dtype = dtype
        h, w, c = (self.net.int(k, 0) for k in ("height", "width", "channels"))
        self.input_shape = (c, h, w) if c * h * w else (self.net.int("inputs", 0), 1, 1)
        self.rng, self.calibrate, self.gates = None, False, None
        for i, l in enumerate(self.layers):
            l.index = i
            if l.kind == "route":
                l.sources = [s if s >= 0 else i + s for s in map(int, l.options["layers"].split(","))]
            elif l.kind == "shortcut":
                s = l.int("from", 0)
                l.sources = [i - 1, s if s >= 0 else i + s]
            else:
                l.sources = [i - 1]

    # ---- weights -------------------------------------------------------------------------------------------------
    def tensor(self, l, name, shape, scale, offset=0.0):
        """A tensor of the layer; made at random while there is a generator."""
        if name not in l.tensors:
            l.tensors[name] = (self.rng.standard_normal(shape, dtype=np.float32) * np.float32(scale) + np.float32(offset)).astype(self.dtype)
        assert l.tensors[name].shape == tuple(shape), (l.index, name, l.tensors[name].shape, shape)
        return l.tensors[name]

    def normalise(self, l, x, n):
        """Batch-norm with stored statistics; while calibrating they are set to those of x first."""
        if self.calibrate and "mean" not in l.tensors:
            spread = x.var(axis=(0, 2, 3))
            l.tensors["mean"] = x.mean(axis=(0, 2, 3)).astype(self.dtype)
            l.tensors["variance"] = (spread + 0.05 * spread.mean() + 1e-3).astype(self.dtype)
        column = lambda v: v[None, :, None, None]
        x = (x - column(l.tensors["mean"])) / (np.sqrt(column(l.tensors["variance"])) + np.asarray(1e-6, x.dtype))
        return x * column(self.tensor(l, "scales", (n,), 0.2, 1.0))

    def file_order(self, l):
        bn = ["scales", "mean", "variance"] if l.int("batch_normalize", 0) else []
        if l.kind in ("convolutional", "deconvolutional"):
            return ["biases"] + bn + ["weights"]
        if l.kind == "connected":
            return ["biases", "weights"] + bn
        if l.kind == "local":
            return ["biases", "weights"]
        if l.kind == "batchnorm":
            return ["scales", "mean", "variance"]
        return []

    def write(self, path, seen=1000):
        with open(path, "wb") as f:
            np.array([0, 2, 5], np.int32).tofile(f)
            np.array([seen], np.int64).tofile(f)
            for l in self.layers:
                for name in self.file_order(l):
                    l.tensors[name].astype(np.float32).tofile(f)

    def read(self, path, like=None):
        """Tensors from a file; their shapes follow from a forward pass, which slices the flat values as it goes."""
        flat = np.fromfile(path, np.float32, offset=20)
        self.flat, self.at = flat, 0
        self.forward(np.zeros((1,) + self.input_shape, self.dtype), reading=True)
        assert self.at == flat.size, "%s: %d values, the cfg takes %d" % (path, flat.size, self.at)
        del self.flat

    def take(self, l, shapes):
        for name in self.file_order(l):
            n = int(np.prod(shapes[name]))
            l.tensors[name] = self.flat[self.at:self.at + n].reshape(shapes[name]).astype(self.dtype)
            assert l.tensors[name].size == n, "layer %d: the file ends in %s" % (l.index, name)
            self.at += n

    # ---- layers --------------------------------------------------------------------------------------------------
    def random(self, rng, batch=4):
        """Random weights, batch-norm statistics calibrated on random images."""
        self.rng, self.calibrate = rng, True
        self.forward(rng.random((batch,) + self.input_shape, dtype=np.float32).astype(self.dtype))
        self.calibrate = False

    def affine(self, l, x, n):
        """What follows the product: batch-norm, bias, gate, activation."""
        if l.int("batch_normalize", 0):
            x = self.normalise(l, x, n)
        bias = self.tensor(l, "biases", (n,), 0.1) if l.kind != "local" else self.tensor(l, "biases", (n,) + x.shape[2:], 0.1)
        x = x + (bias[None, :, None, None] if l.kind != "local" else bias[None])
        x = self.gate(l, x, "before activation")
        return ACTIVATIONS[l.options.get("activation", "logistic")](x)

    def gate(self, l, x, place):
        z = self.gates.get((l.index, place)) if self.gates else None
        return x if z is None else x * z[None, :, None, None].astype(x.dtype)

    def shapes_of(self, l, x, n, weights, locations=()):
        one = (n,)
        return {"biases": one + tuple(locations), "scales": one, "mean": one, "variance": one, "weights": weights}

    def convolutional(self, l, x):
        b, c = x.shape[:2]
        n, k, s, g = l.int("filters", 1), l.int("size", 1), l.int("stride", 1), l.int("groups", 1)
        pad = k // 2 if l.int("pad", 0) else l.int("padding", 0)
        shape = (n, c // g, k, k)
        if self.reading:
            self.take(l, self.shapes_of(l, x, n, shape))
        w = self.tensor(l, "weights", shape, np.sqrt(2.0 / (c // g * k * k)))
        cols = im2col(x, k, s, pad)
        oh, ow = cols.shape[4:]
        cols = cols.reshape(b, g, c // g * k * k, oh * ow)
        out = np.matmul(w.reshape(1, g, n // g, -1), cols).reshape(b, n, oh, ow)
        return self.affine(l, out, n)

    def deconvolutional(self, l, x):
        b, c, h, w0 = x.shape
        n, k, s = l.int("filters", 1), l.int("size", 1), l.int("stride", 1)
        pad = k // 2 if l.int("pad", 0) else l.int("padding", 0)
        shape = (c, n, k, k)
        if self.reading:
            self.take(l, self.shapes_of(l, x, n, shape))
        w = self.tensor(l, "weights", shape, np.sqrt(2.0 / c))
        full = np.zeros((b, n, (h - 1) * s + k, (w0 - 1) * s + k), x.dtype)
        for i in range(k):
            for j in range(k):
                full[:, :, i:i + (h - 1) * s + 1:s, j:j + (w0 - 1) * s + 1:s] += np.einsum("bchw,cn->bnhw", x, w[:, :, i, j])
        out = full[:, :, pad:full.shape[2] - pad, pad:full.shape[3] - pad]
        return self.affine(l, out, n)

    def local(self, l, x):
        b, c = x.shape[:2]
        n, k, s, pad = l.int("filters", 1), l.int("size", 1), l.int("stride", 1), l.int("pad", 0)
        cols = im2col(x, k, s, pad)
        oh, ow = cols.shape[4:]
        shape = (oh * ow, n, c, k, k)
        if self.reading:
            self.take(l, self.shapes_of(l, x, n, shape, (oh, ow)))
        w = self.tensor(l, "weights", shape, np.sqrt(2.0 / (c * k * k)))
        cols = cols.reshape(b, c * k * k, oh * ow)
        out = np.einsum("lnk,bkl->bnl", w.reshape(oh * ow, n, -1), cols).reshape(b, n, oh, ow)
        return self.affine(l, out, n)

    def connected(self, l, x):
        flat = x.reshape(x.shape[0], -1)
        n = l.int("output", 1)
        shape = (n, flat.shape[1])
        if self.reading:
            self.take(l, self.shapes_of(l, x, n, shape))
        w = self.tensor(l, "weights", shape, np.sqrt(2.0 / flat.shape[1]))
        return self.affine(l, (flat @ w.T)[:, :, None, None], n)

    def maxpool(self, l, x):
        s = l.int("stride", 1)
        k = l.int("size", s)
        pad = l.int("padding", k - 1)
        oh, ow = ((d + pad - k) // s + 1 for d in x.shape[2:])
        before = pad // 2
        wide = np.full(x.shape[:2] + (max((oh - 1) * s + k, x.shape[2] + before), max((ow - 1) * s + k, x.shape[3] + before)), -np.inf, x.dtype)
        wide[:, :, before:before + x.shape[2], before:before + x.shape[3]] = x
        return im2col(wide, k, s, 0)[:, :, :, :, :oh, :ow].max(axis=(2, 3))

    def avgpool(self, l, x):
        return x.mean(axis=(2, 3), keepdims=True)

    def upsample(self, l, x):
        s = l.int("stride", 2)
        return x.repeat(s, 2).repeat(s, 3) * np.asarray(float(l.options.get("scale", 1)), x.dtype)

    def crop(self, l, x):
        h, w = l.int("crop_height", 1), l.int("crop_width", 1)
        y, z = (x.shape[2] - h) // 2, (x.shape[3] - w) // 2
        x = x[:, :, y:y + h, z:z + w]
        return x if l.int("noadjust", 0) else 2 * x - 1

    def reorg(self, l, x):
        b, c, h, w = x.shape
        s = l.int("stride", 1)
        if l.int("reverse", 0) or l.int("flatten", 0) or l.int("extra", 0):
            return np.concatenate([x[:, :, ::s, ::s]] * (s * s), 1) if h % s == 0 == w % s else x   # only its being protected matters
        # the map's memory seen as c/s^2 channels of (h s) x (w s); piece k of w x h is sub-grid k // (c/s^2) of channel k mod (c/s^2)
        big = x.reshape(b, c // (s * s), h * s, w * s)
        pieces = [big[:, :, o // s::s, o % s::s] for o in range(s * s)]
        return np.concatenate(pieces, 1).reshape(b, c * s * s, h // s, w // s)

    def batchnorm(self, l, x):
        n = x.shape[1]
        if self.reading:
            self.take(l, self.shapes_of(l, x, n, ()))
        return self.normalise(l, x, n)

    def shortcut(self, l, x, y):
        out = x.copy()
        c = min(x.shape[1], y.shape[1])
        if x.shape[2] >= y.shape[2]:
            s = x.shape[2] // y.shape[2]
            out[:, :c, ::s, ::s] += y[:, :c]
        else:
            s = y.shape[2] // x.shape[2]
            out[:, :c] += y[:, :c, ::s, ::s]
        return ACTIVATIONS[l.options.get("activation", "linear")](out)

    def l2norm(self, l, x):
        return x / np.sqrt((x * x).sum(1, keepdims=True) + np.asarray(1e-6, x.dtype))

    def normalization(self, l, x):
        near = sum(np.roll(x * x, d, 1) for d in range(-(l.int("size", 5) // 2), l.int("size", 5) // 2 + 1))
        return x * (float(l.options.get("kappa", 1)) + float(l.options.get("alpha", 0.0001)) * near).astype(x.dtype) ** np.asarray(-float(l.options.get("beta", 0.75)), x.dtype)

    def forward(self, x, gates=None, reading=False):
        """Outputs of all layers up to the heads (None behind a head). gates: {(layer, place): z of its channels}."""
        self.gates, self.reading = gates, reading
        outputs = []
        for l in self.layers:
            ins = [x if s < 0 else outputs[s] for s in l.sources]
            if l.kind in RECURRENT:
                raise NotImplementedError("recurrent layer")
            if any(i is None for i in ins) or l.kind in HEADS:
                out = None
            elif l.kind == "route":
                out = np.concatenate(ins, 1)
            elif l.kind == "dropout":
                out = ins[0]
            elif l.kind == "activation":
                out = ACTIVATIONS[l.options.get("activation", "linear")](ins[0])
            elif l.kind == "logistic":
                out = ACTIVATIONS["logistic"](ins[0])
            else:
                out = getattr(self, l.kind)(l, *ins)
            outputs.append(None if out is None else self.gate(l, np.ascontiguousarray(out), "output"))
        return outputs

    def head_inputs(self):
        """Layers whose outputs are compared: those that heads read, and those that nothing reads."""
        read = {s for l in self.layers if l.kind not in HEADS for s in l.sources}
        heads = {l.index - 1 for l in self.layers if l.kind in HEADS and self.layers[l.index - 1].kind not in HEADS}
        loose = {l.index for l in self.layers if l.index not in read and l.kind not in HEADS}
        return sorted(heads | loose)


def difference(a, b, layers):
    """max|a-b| / max|a| over the layers, the worst; fails on what is not finite."""
    worst = 0.0
    for i in layers:
        assert a[i].shape == b[i].shape and np.isfinite(a[i]).all() and np.isfinite(b[i]).all(), "layer %d: %s %s or not finite" % (i, a[i].shape, b[i].shape)
        top = np.abs(a[i]).max()
        assert top > 0, "layer %d: all zero" % i
        worst = max(worst, float(np.abs(a[i] - b[i]).max() / top))
    return worst
