"""OpenCV DNN as a worker of make bench (protocol: worker.h): opencv_worker.py CFG WEIGHTS INPUT THREADS
Commands: step -> {"seconds"} of setInput and a pass to all outputs, output FILE -> {"floats"}: what reached the heads, peak -> {"megabytes"}."""
import json
import os
import resource
import sys
import time

import cv2
import numpy as np

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "host"))
from darknet_numpy import parse  # noqa: E402


def say(**answer):
    print(json.dumps(answer), flush=True)


def head_inputs(net, sections):
    """OpenCV names the parts of layer i conv_i, bn_i, relu_i, ...: the last one is the layer's output."""
    names = net.getLayerNames()
    heads = [i for i, (kind, _) in enumerate(sections[1:]) if kind in ("softmax", "yolo")]
    return [[n for n in names if n.rsplit("_", 1)[-1] == str(i - 1)][-1] for i in heads]


def main():
    cfg, weights, input_file, threads = sys.argv[1:]
    cv2.setNumThreads(int(threads))
    net = cv2.dnn.readNetFromDarknet(cfg, weights)
    with open(cfg, encoding="latin-1") as f:
        sections = parse(f.read())
    shape = [int(sections[0][1][k]) for k in ("batch", "channels", "height", "width")]
    x = np.fromfile(input_file, np.float32).reshape(shape)
    outputs = net.getUnconnectedOutLayersNames()
    say(ready=True, version=cv2.__version__)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "quit":
            break
        if word == "step":
            start = time.perf_counter()
            net.setInput(x)
            net.forward(outputs)
            say(seconds=time.perf_counter() - start)
        elif word == "output":
            net.setInput(x)
            flat = np.concatenate([np.ravel(o) for o in net.forward(head_inputs(net, sections))])
            flat.tofile(rest[0])
            say(floats=flat.size)
        else:
            say(megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
