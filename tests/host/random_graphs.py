"""Random networks with everything that ties channels: shortcuts of unequal width and stride, nested routes, the same layer twice in a route,
depthwise with multipliers, grouped convolutions, reorg, upsample, standalone batch-norm, logistic, connected after a map, local, deconvolution."""
import numpy as np


class Builder:
    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        size = int(self.rng.choice([8, 12, 16]))
        self.text = ["[net]", "batch=1", "subdivisions=1", "width=%d" % size, "height=%d" % size, "channels=3", "learning_rate=0.1", ""]
        self.shapes = []          # (c, h, w) of each layer
        self.input = (3, size, size)

    def pick(self, *options):
        return options[int(self.rng.integers(len(options)))]

    @property
    def last(self):
        return self.shapes[-1] if self.shapes else self.input

    def add(self, kind, shape, **options):
        self.text += ["[%s]" % kind] + ["%s=%s" % (k, v) for k, v in options.items()] + [""]
        self.shapes.append(shape)

    def convolution(self, filters=None, groups=1, stride=1, activation=None):
        c, h, w = self.last
        n = filters or int(self.rng.integers(2, 13))
        k = self.pick(1, 3) if min(h, w) >= 3 else 1
        out = tuple((d + 2 * (k // 2) - k) // stride + 1 for d in (h, w))
        options = dict(filters=n, size=k, stride=stride, pad=1, activation=activation or self.pick("leaky", "relu", "linear", "linear", "logistic", "tanh"))
        if self.rng.random() < 0.6:
            options = dict(batch_normalize=1, **options)
        if groups > 1:
            options["groups"] = groups
        self.add("convolutional", (n,) + out, **options)

    def depthwise(self):
        c = self.last[0]
        self.convolution(filters=c * self.pick(1, 1, 2, 3), groups=c)

    def grouped(self):
        c = self.last[0]
        divisors = [g for g in (2, 3, 4) if c % g == 0 and c > g]
        if divisors:
            g = self.pick(*divisors)
            self.convolution(filters=g * int(self.rng.integers(1, 5)), groups=g)

    def even(self):
        """A grouped convolution behind one whose filters it divides: chained constraints."""
        g = self.pick(2, 4)
        self.convolution(filters=8)
        self.convolution(filters=8, groups=g)
        self.convolution(filters=12, groups=self.pick(2, 4, g))

    def shortcut(self):
        c, h, w = self.last
        fits = [i for i, s in enumerate(self.shapes[:-1]) if (h % s[1] == 0 or s[1] % h == 0) and h * s[2] == w * s[1]]
        if fits:
            i = self.pick(*fits)
            self.add("shortcut", (c, h, w), **{"from": self.pick(i, i - len(self.shapes)), "activation": self.pick("linear", "leaky", "relu", "linear", "logistic")})

    def route(self):
        i = int(self.rng.integers(len(self.shapes)))
        same = [j for j, s in enumerate(self.shapes) if s[1:] == self.shapes[i][1:]]
        sources = [self.pick(*same) for _ in range(self.pick(1, 2, 2, 3))]
        if sum(self.shapes[j][0] for j in sources) <= 48:
            self.add("route", (sum(self.shapes[j][0] for j in sources),) + self.shapes[i][1:], layers=",".join(str(self.pick(j, j - len(self.shapes))) for j in sources))

    def pool(self):
        c, h, w = self.last
        if min(h, w) >= 2:
            k = self.pick(2, 3)
            self.add("maxpool", (c,) + tuple((d + k - 1 - k) // 2 + 1 for d in (h, w)), size=k, stride=2)

    def upsample(self):
        c, h, w = self.last
        if h <= 8:
            self.add("upsample", (c, 2 * h, 2 * w), stride=2)

    def reorg(self):
        c, h, w = self.last
        if h % 2 == 0 and w % 2 == 0 and c <= 12:
            if c % 4:
                self.convolution(filters=self.pick(4, 8))
                c, h, w = self.last
            if h % 2 == 0 and w % 2 == 0:
                self.add("reorg", (4 * c, h // 2, w // 2), stride=2)

    def simple(self):
        kind = self.pick("batchnorm", "activation", "logistic", "dropout")
        options = {"activation": {"activation": self.pick("relu", "leaky", "tanh", "logistic")}, "dropout": {"probability": ".5"}}.get(kind, {})
        self.add(kind, self.last, **options)

    def fixed(self):
        if self.rng.random() < 0.3:
            self.add(self.pick("normalization", "l2norm"), self.last)

    def deconvolution(self):
        c, h, w = self.last
        if h <= 8:
            n, k = int(self.rng.integers(2, 9)), self.pick(2, 3)
            self.add("deconvolutional", (n, (h - 1) * 2 + k, (w - 1) * 2 + k), filters=n, size=k, stride=2, activation=self.pick("leaky", "relu", "logistic"))

    def local(self):
        c, h, w = self.last
        if 3 <= h <= 8:
            n = int(self.rng.integers(2, 7))
            self.add("local", (n, h, w), filters=n, size=3, stride=1, pad=1, activation=self.pick("leaky", "relu", "logistic"))

    def end(self):
        c, h, w = self.last
        kind = self.pick("pool", "connected", "convolution", "connected")
        if kind == "pool":
            self.add("avgpool", (c, 1, 1))
        if kind == "connected":
            for _ in range(self.pick(1, 2)):
                n = int(self.rng.integers(3, 12))
                options = dict(output=n, activation=self.pick("leaky", "relu", "linear", "logistic"))
                self.add("connected", (n, 1, 1), **(dict(batch_normalize=1, **options) if self.rng.random() < 0.3 else options))
        self.convolution(filters=5, activation="linear") if kind != "connected" else self.add("connected", (5, 1, 1), output=5, activation="linear")
        if kind == "connected" or kind == "pool":
            self.add("softmax", self.last)


def make(seed):
    """Text of a random cfg."""
    b = Builder(seed)
    b.convolution()
    steps = [b.convolution, b.convolution, b.depthwise, b.grouped, b.even, b.shortcut, b.shortcut, b.route, b.route, b.pool, b.upsample, b.reorg,
             b.simple, b.fixed, b.deconvolution, b.local]
    for _ in range(int(b.rng.integers(6, 22))):
        b.pick(*steps)()
    b.end()
    return "\n".join(b.text)
