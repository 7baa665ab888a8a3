#!/usr/bin/python3
"""Reference scores in float64, written from the definitions alone: forward and backward pass of a CIFAR ResNet in NumPy.

usage: reference_gates.py NET.cfg NET.weights LABELS.txt IMAGES.txt COUNT MINIBATCH [pytorch] > resnet20_gates.csv

Reads the first COUNT images of the list, in order, and prints a row per unit: layer,channel,taylor-fo,taylor-fg (layer and channel
of its first producer; the classes of the last convolution are no units), with the gate on the output of batch-norm and rolling
statistics. Channels that shortcuts tie share one gate: their gradients add up. Batch-norm divides by sqrt(v) + 1e-6 as Darknet does; with `pytorch` by sqrt(v + 1e-5), as the published model
was trained. Loss on stderr. Knows the layers these networks use and no others. tests/golden/resnet20_gates.csv comes from here.
"""
import sys

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def read_cfg(path):
    sections = []
    for line in open(path):
        line = line.strip()
        if line.startswith("["):
            sections.append({"type": line[1:-1]})
        elif "=" in line and line[0] not in "#;":
            key, value = line.split("=")
            sections[-1][key.strip()] = value.strip()
    return sections[1:]


def read_layers(cfg, weights, pytorch):
    """Sections with their tensors; `owner` maps (layer, channel) to the producers that share its gate."""
    values = np.frombuffer(open(weights, "rb").read()[20:], np.float32).astype(np.float64)
    at, channels = 0, 3
    layers = read_cfg(cfg)

    def take(n):
        nonlocal at
        at += n
        return values[at - n:at]

    for i, l in enumerate(layers):
        l["relu"] = l.get("activation") == "relu"
        if l["type"] == "convolutional":
            n, k = int(l["filters"]), int(l["size"])
            l.update(k=k, s=int(l["stride"]), p=k // 2 if l.get("pad") == "1" else 0, bias=take(n))
            if l.get("batch_normalize") == "1":
                gamma, mean, variance = take(n), take(n), take(n)
                l["mean"] = mean
                l["scale"] = gamma / (np.sqrt(variance + 1e-5) if pytorch else np.sqrt(variance) + 1e-6)
            l["w"] = take(n * channels * k * k).reshape(n, -1)
            channels = n
        elif l["type"] == "route":
            l["from"] = i + int(l["layers"])
            channels = layers[l["from"]]["channels"]
        elif l["type"] == "shortcut":
            l["from"] = i + int(l["from"])
        elif l["type"] == "maxpool":
            assert l["size"] == "1"
        else:
            assert l["type"] in ("avgpool", "softmax", "cost"), l["type"]
        l["channels"] = channels
    assert at == len(values), "weights do not fit the cfg"
    return layers


def producers(layers):
    """Per layer and channel: the set of (layer, channel) of producing convolutions behind that output channel, united by shortcuts."""
    parent = {}

    def root(x):
        while parent.setdefault(x, x) != x:
            x = parent[x]
        return x

    out = []
    for i, l in enumerate(layers):
        if l["type"] == "convolutional":
            out.append([(i, c) for c in range(l["channels"])])
        elif l["type"] == "route":
            out.append(out[l["from"]])
        else:
            out.append(out[-1])
        if l["type"] == "shortcut":
            for a, b in zip(out[-1], out[l["from"]]):   # the first min(c1, c2) channels
                parent[root(a)] = root(b)
    return {(i, c): root((i, c)) for i, l in enumerate(layers) if l["type"] == "convolutional" for c in range(l["channels"])}


def columns(x, l):
    x = np.pad(x, ((0, 0), (0, 0), (l["p"],) * 2, (l["p"],) * 2))
    v = sliding_window_view(x, (l["k"], l["k"]), (2, 3))[:, :, ::l["s"], ::l["s"]]
    n, c, h, w = v.shape[:4]
    return v.transpose(0, 2, 3, 1, 4, 5).reshape(n * h * w, -1), h, w


def uncolumns(g, shape, l, h, w):
    n, c, height, width = shape
    out = np.zeros((n, c, height + 2 * l["p"], width + 2 * l["p"]))
    g = g.reshape(n, h, w, c, l["k"], l["k"])
    for a in range(l["k"]):
        for b in range(l["k"]):
            out[:, :, a:a + l["s"] * h:l["s"], b:b + l["s"] * w:l["s"]] += g[..., a, b].transpose(0, 3, 1, 2)
    return out[:, :, l["p"]:l["p"] + height, l["p"]:l["p"] + width]


def forward(layers, x):
    """Outputs of every layer, inputs of every layer, and batch-norm outputs of convolutions."""
    outputs, inputs, normed = [], [], []
    for l in layers:
        inputs.append(x)
        normed.append(None)
        if l["type"] == "convolutional":
            cols, h, w = columns(x, l)
            x = (cols @ l["w"].T).reshape(len(x), h, w, -1).transpose(0, 3, 1, 2)
            if "scale" in l:
                x = (x - l["mean"][:, None, None]) * l["scale"][:, None, None]
            x = normed[-1] = x + l["bias"][:, None, None]
        elif l["type"] == "route":
            x = outputs[l["from"]]
        elif l["type"] == "maxpool":
            x = x[:, :, ::int(l["stride"]), ::int(l["stride"])]
        elif l["type"] == "avgpool":
            x = x.mean((2, 3), keepdims=True)
        elif l["type"] == "shortcut":
            m = min(x.shape[1], outputs[l["from"]].shape[1])
            x = x.copy()
            x[:, :m] += outputs[l["from"]][:, :m]
        elif l["type"] == "softmax":
            e = np.exp(x - x.max(1, keepdims=True))
            x = e / e.sum(1, keepdims=True)
        if l["relu"]:
            x = np.maximum(x, 0)
        outputs.append(x)
    return outputs, inputs, normed


def gate_gradients(layers, x, classes):
    """(losses of the images, {layer: (images, channels) of dE_b/dz})."""
    outputs, inputs, normed = forward(layers, x)
    head = next(i for i, l in enumerate(layers) if l["type"] == "softmax")
    probability = outputs[head].reshape(len(x), -1)
    losses = -np.log(probability[np.arange(len(x)), classes])
    start = probability.copy()
    start[np.arange(len(x)), classes] -= 1
    delta = {head - 1: start.reshape(outputs[head - 1].shape)}
    gates = {}

    def add(i, g):
        if i >= 0:
            delta[i] = delta[i] + g if i in delta else g

    for i in range(head - 1, -1, -1):
        l, g = layers[i], delta[i]
        if l["relu"]:
            g = g * (outputs[i] > 0)
        if l["type"] == "convolutional":
            gates[i] = (g * normed[i]).sum((2, 3))
            if "scale" in l:
                g = g * l["scale"][:, None, None]
            if i:
                h, w = g.shape[2:]
                add(i - 1, uncolumns(g.transpose(0, 2, 3, 1).reshape(-1, l["channels"]) @ l["w"], inputs[i].shape, l, h, w))
        elif l["type"] == "route":
            add(l["from"], g)
        elif l["type"] == "maxpool":
            z = np.zeros_like(inputs[i])
            z[:, :, ::int(l["stride"]), ::int(l["stride"])] = g
            add(i - 1, z)
        elif l["type"] == "avgpool":
            add(i - 1, np.broadcast_to(g / (inputs[i].shape[2] * inputs[i].shape[3]), inputs[i].shape))
        elif l["type"] == "shortcut":
            source = outputs[l["from"]]
            m = min(source.shape[1], g.shape[1])
            z = np.zeros_like(source)
            z[:, :m] = g[:, :m]
            add(i - 1, g)
            add(l["from"], z)
    return losses, gates


def class_of(path, labels):
    """Darknet's rule: the label is a part of the path; the longest wins."""
    return max((len(name), i) for i, name in enumerate(labels) if name in path)[1]


def main(cfg, weights, labels, images, count, minibatch, normalisation="darknet"):
    layers = read_layers(cfg, weights, normalisation == "pytorch")
    labels = open(labels).read().split()
    paths = open(images).read().split("\n")[:int(count)]
    losses, gates = [], []
    for at in range(0, len(paths), 50):
        part = paths[at:at + 50]
        x = np.stack([cv2.imread(p)[:, :, ::-1].transpose(2, 0, 1) / 255.0 for p in part])
        loss, g = gate_gradients(layers, x, [class_of(p.rsplit("/", 1)[-1], labels) for p in part])
        losses.append(loss)
        gates.append(g)
    last = max(i for i, l in enumerate(layers) if l["type"] == "convolutional")
    units = {}                                       # in the order of their first producer
    for (layer, channel), root in sorted(producers(layers).items()):
        if layer != last:
            units.setdefault(root, []).append((layer, channel))
    print("layer,channel,taylor-fo,taylor-fg")
    for members in units.values():
        g = sum(np.concatenate([part[layer][:, channel] for part in gates]) for layer, channel in members)
        fo = np.mean([g[a:a + int(minibatch)].mean() ** 2 for a in range(0, len(g), int(minibatch))])
        print(f"{members[0][0]},{members[0][1]},{fo:.9g},{np.mean(g ** 2):.9g}")
    print(f"loss {np.concatenate(losses).mean():.9g}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) not in (7, 8):
        sys.exit(__doc__)
    main(*sys.argv[1:])
