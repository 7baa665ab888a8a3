#!/usr/bin/python3
"""Adapts a trained detector to another number of classes.

usage: rehead.py cfg OLD.cfg NEW.cfg CLASSES [key=value ...]    writes the cfg: classes= of every [yolo], filters= of the
                                                                convolution before it, and the given keys of [net]
       rehead.py weights OLD.cfg OLD.weights NEW.cfg NEW.weights [SEED]    tensors of equal shape are copied; in front of a
                                                                head each anchor keeps its box and objectness rows and gets
                                                                fresh class rows; anything else starts fresh

Bytes of the cfg that need no change stay. Knows the sections of YOLO networks: convolutional, maxpool, upsample, dropout,
route, shortcut, yolo; stops at any other.
"""
import os
import re
import sys

import numpy as np


def sections(text):
    """[(name, {key: value}, first line, line after the last)], in file order."""
    found = []
    lines = text.split("\n")
    for i, line in enumerate(lines):
        line = line.split("#")[0].strip()
        if line.startswith("["):
            if found:
                found[-1][3] = i
            found.append([line.strip("[]"), {}, i, len(lines)])
        elif "=" in line:
            key, value = line.split("=", 1)
            found[-1][1].setdefault(key.strip(), value.strip())
    return found


def convolutions(path):
    """The convolutions of a cfg in file order: n, channels per group, kernel, batch_normalize, and the head that reads them or None."""
    parts = sections(open(path).read())
    net, layers, channels, convs = parts[0][1], parts[1:], [], []
    for i, (name, keys, _, _) in enumerate(layers):
        previous = channels[-1] if channels else int(net.get("channels", 3))
        if name in ("convolutional", "conv"):
            n, groups = int(keys.get("filters", 1)), int(keys.get("groups", 1))
            head = layers[i + 1] if i + 1 < len(layers) and layers[i + 1][0] == "yolo" else None
            convs.append((n, previous // groups, int(keys.get("size", 1)), int(keys.get("batch_normalize", 0)), head and head[1]))
            channels.append(n)
        elif name == "route":
            sources = [int(v) for v in keys["layers"].split(",")]
            total = sum(channels[s if s >= 0 else i + s] for s in sources)
            channels.append(total // int(keys.get("groups", 1)))
        elif name in ("shortcut", "maxpool", "upsample", "dropout", "yolo"):
            channels.append(previous)
        else:
            sys.exit("rehead: '%s' has a section [%s] that this script does not know" % (path, name))
    return convs


def write_cfg(old, new, classes, settings):
    text = open(old, newline="").read()
    parts, lines = sections(text), text.split("\n")

    def put(part, key, value):
        name, keys, first, end = part
        for i in range(first + 1, end):
            if re.match(r"\s*%s\s*=" % re.escape(key), lines[i]):
                lines[i] = "%s=%s%s" % (key, value, "\r" if lines[i].endswith("\r") else "")
                return
        lines[first] += "\n%s=%s" % (key, value)

    for before, part in zip(parts, parts[1:]):
        if part[0] == "yolo":
            anchors = len(part[1]["mask"].split(","))
            put(before, "filters", anchors * (classes + 5))
            put(part, "classes", classes)
    for setting in settings:
        put(parts[0], *setting.split("=", 1))
    write(new, "\n".join(lines).encode())


def write(path, data):
    """Complete or not at all."""
    with open(path + ".part", "wb") as f:
        f.write(data)
    os.replace(path + ".part", path)


def read_weights(path, convs):
    raw = open(path, "rb").read()
    major, minor, _ = np.frombuffer(raw[:12], np.int32)
    header = 20 if major * 10 + minor >= 2 else 16
    values, at, tensors = np.frombuffer(raw[header:], np.float32), 0, []
    for n, c, k, norm, _ in convs:
        sizes = [n] * (4 if norm else 1) + [n * c * k * k]
        tensors.append([values[at + sum(sizes[:j]):at + sum(sizes[:j + 1])] for j in range(len(sizes))])
        at += sum(sizes)
    if at != len(values):
        sys.exit("rehead: '%s' has %d values, the cfg needs %d" % (path, len(values), at))
    return raw[:header], tensors


def fresh(n, c, k, norm, random):
    biases, scales, mean, variance = np.zeros(n), np.ones(n), np.zeros(n), np.ones(n)
    weights = random.normal(0, np.sqrt(2 / (c * k * k)), n * c * k * k)
    return ([biases, scales, mean, variance] if norm else [biases]) + [weights]


def adapt_head(old, new, old_tensors, random):
    """Rows (anchor, 4 box + 1 objectness + classes): the first five of each anchor are copied, class rows start near zero."""
    anchors, width = len(new[4]["mask"].split(",")), new[1] * new[2] ** 2
    old_rows, new_rows = old[0] // anchors, new[0] // anchors
    biases, weights = np.zeros((anchors, new_rows)), random.normal(0, .01, (anchors, new_rows, width))
    biases[:, :5] = old_tensors[0].reshape(anchors, old_rows)[:, :5]
    weights[:, :5] = old_tensors[1].reshape(anchors, old_rows, width)[:, :5]
    return [biases, weights]


def write_weights(old_cfg, old_weights, new_cfg, new_weights, seed=1):
    old, new, random = convolutions(old_cfg), convolutions(new_cfg), np.random.default_rng(seed)
    if len(old) != len(new):
        sys.exit("rehead: '%s' has %d convolutions, '%s' has %d" % (old_cfg, len(old), new_cfg, len(new)))
    header, tensors = read_weights(old_weights, old)
    out, copied = [], 0
    for a, b, t in zip(old, new, tensors):
        if a[:4] == b[:4]:
            out.append(t)
            copied += 1
        elif a[4] and b[4] and a[1:4] == b[1:4] and not b[3] and a[4]["mask"] == b[4]["mask"]:
            out.append(adapt_head(a, b, t, random))
        else:
            out.append(fresh(*b[:4], random))
    flat = np.concatenate([np.ravel(x) for t in out for x in t]).astype(np.float32)
    seen = header[:12] + bytes(len(header) - 12)   # a new training starts
    write(new_weights, seen + flat.tobytes())
    print("%s: %d of %d convolutions copied" % (new_weights, copied, len(new)))


def main(argv):
    if len(argv) >= 5 and argv[1] == "cfg" and argv[4].isdigit() and all("=" in s for s in argv[5:]):
        write_cfg(argv[2], argv[3], int(argv[4]), argv[5:])
    elif len(argv) in (6, 7) and argv[1] == "weights":
        write_weights(*argv[2:6], *map(int, argv[6:]))
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv)
