#!/usr/bin/python3
"""Weights that make Darknet compute what PyTorch computes: batch-norm's epsilon moved into the variances.

usage: pytorch_epsilon.py NET.cfg IN.weights OUT.weights

PyTorch divides by sqrt(v + 1e-5), Darknet by sqrt(v) + 1e-6, so every variance becomes (sqrt(v + 1e-5) - 1e-6)^2. Used to compare
scores with values recorded from PyTorch: without it gate gradients of channels with small variances differ by up to 5%.
Knows convolutional layers with and without batch-norm, and layers without weights; 20-byte headers.
"""
import sys

import numpy as np

from reference_gates import read_cfg


def main(cfg, source, target):
    data = open(source, "rb").read()
    values = np.frombuffer(data[20:], np.float32).copy()
    at, channels, outputs = 0, 3, []
    for i, l in enumerate(read_cfg(cfg)):
        if l["type"] == "convolutional":
            n = int(l["filters"])
            at += n
            if l.get("batch_normalize") == "1":
                v = values[at + 2 * n:at + 3 * n].astype(np.float64)
                values[at + 2 * n:at + 3 * n] = (np.sqrt(v + 1e-5) - 1e-6) ** 2
                at += 3 * n
            at += n * channels * int(l["size"]) ** 2
            channels = n
        elif l["type"] == "route":
            channels = outputs[i + int(l["layers"])]
        outputs.append(channels)
    assert at == len(values), "weights do not fit the cfg"
    open(target, "wb").write(data[:20] + values.tobytes())


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
