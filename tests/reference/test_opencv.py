#!/usr/bin/env python3
"""The reference interpreter against OpenCV DNN on what OpenCV reads of both dialects: weights drawn by the interpreter, its outputs and OpenCV's at the
layers that heads read. The cfgs are small and of this file. Ends with the counts."""
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

try:
    import cv2  # noqa: F401  (only to skip where it is missing)
except ImportError:
    print("skip: python3-opencv is not installed")
    sys.exit(77)

import opencv_reader

PROGRAM = os.path.join(os.environ.get("PRUNE_BUILD", "build"), "tests", "reference", "interpret")
TOLERANCE = 1e-4
NET = "[net]\nwidth=%d\nheight=%d\nchannels=3\n"
CONV = "[convolutional]\nbatch_normalize=1\nfilters=%d\nsize=%d\nstride=%d\npad=1\nactivation=%s\n"
HEAD = "[convolutional]\nfilters=21\nsize=1\nstride=1\npad=1\nactivation=linear\n[yolo]\nmask=0,1,2\nanchors=1,2,3,4,5,6\nclasses=2\nnum=3\n"


def conv(n, k=3, s=1, activation="leaky", more=""):
    return CONV % (n, k, s, activation) + more


def case(*sections, size=16):
    return NET % (size, size) + "".join(sections)


# what OpenCV 4.6 is known to refuse, with a piece of its words; what it overlooks without a word, and the text it reads instead
REFUSED = {"relu6": "Unsupported activation: relu6", "gelu": "Unsupported activation: gelu", "reorg3d": "Unknown layer type: reorg3d",
           "local_avgpool": "Unknown layer type: local_avgpool", "implicit": "Unknown layer type: implicit"}
OVERLOOKED = {"dilation": ("dilation=2\n", ""), "shortcut of several sources": ("from=-2,-3", "from=-2")}
CASES = {
    "yolov4-like": case(
        conv(8, activation="mish"), conv(12, s=2, activation="mish"), conv(6, 1, activation="mish"), "[route]\nlayers=-2\n", conv(6, 1, activation="mish"),
        conv(6, 1, activation="mish"), conv(6, 3, activation="mish"), "[shortcut]\nfrom=-3\nactivation=linear\n", conv(6, 1, activation="mish"), "[route]\nlayers=-1,-7\n",
        conv(12, 1, activation="mish"), "[maxpool]\nstride=1\nsize=5\n", "[route]\nlayers=-2\n", "[maxpool]\nstride=1\nsize=9\n", "[route]\nlayers=-1,-3,-4\n",
        conv(10, 1), "[upsample]\nstride=2\n", "[route]\nlayers=-1,0\n", conv(8, 1), HEAD, "[route]\nlayers=-4\n", conv(8, 3, 2), HEAD),
    "yolov4-tiny-like": case(conv(8, s=2), conv(8), "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n", conv(4), conv(4), "[route]\nlayers=-1,-2\n", conv(8, 1),
                             "[route]\nlayers=-6,-1\n", "[maxpool]\nsize=2\nstride=2\n", conv(12), HEAD),
    "first half of the groups": case(conv(8), "[route]\nlayers=-1\ngroups=4\ngroup_id=2\n", conv(5), HEAD),
    "swish": case(conv(8, activation="swish"), conv(9, activation="swish"), HEAD),
    "logistic and tanh": case(conv(8, activation="logistic"), conv(9, activation="tanh"), HEAD),
    "relu": case(conv(8, activation="relu"), conv(9, activation="relu"), HEAD),
    "relu6": case(conv(8, activation="relu6"), HEAD),
    "squeeze and excitation": case(conv(8, activation="swish"), "[avgpool]\n", "[convolutional]\nfilters=4\nsize=1\nstride=1\nactivation=swish\n",
                                   "[convolutional]\nfilters=8\nsize=1\nstride=1\nactivation=logistic\n", "[scale_channels]\nfrom=-4\n", conv(6), HEAD),
    "sam": case(conv(8), "[convolutional]\nfilters=8\nsize=1\nstride=1\nactivation=logistic\n", "[sam]\nfrom=-2\n", conv(6), HEAD),
    "depthwise": case(conv(8), conv(8, more="groups=8\n"), conv(6, 1), HEAD),
    "grouped": case(conv(8), conv(12, more="groups=4\n"), conv(6, 1), HEAD),
    "dilation": case(conv(8), conv(8, more="dilation=2\n"), HEAD),
    "reorg": case(conv(8, s=1), conv(4, s=1), "[reorg]\nstride=2\n", "[route]\nlayers=-1\n", conv(6), HEAD),
    "densenet": case(conv(6), conv(4), "[route]\nlayers=-1,-2\n", conv(4), "[route]\nlayers=-1,-2\n", conv(5, 1), "[maxpool]\nsize=2\nstride=2\n", HEAD),
    "shortcut with leaky": case(conv(6), conv(6), "[shortcut]\nfrom=-2\nactivation=leaky\n", HEAD),
    "shortcut of unequal width": case(conv(6), conv(9), "[shortcut]\nfrom=-2\nactivation=linear\n", conv(6), HEAD),
    "shortcut of several sources": case(conv(6), conv(6), conv(6), "[shortcut]\nfrom=-2,-3\nactivation=linear\n", conv(6), HEAD),
    "classifier": case(conv(6), "[maxpool]\nsize=2\nstride=2\n", conv(7), "[avgpool]\n", "[softmax]\n"),
    "connected": case(conv(6, s=2), "[maxpool]\nsize=2\nstride=2\n", "[connected]\noutput=9\nactivation=leaky\n", "[connected]\noutput=5\nactivation=linear\n", "[softmax]\n"),
    "gelu": case(conv(8, activation="gelu"), HEAD),
    "reorg3d": case(conv(8), "[reorg3d]\nstride=2\n", HEAD),
    "local_avgpool": case(conv(8), "[local_avgpool]\nsize=2\nstride=2\n", HEAD),
    "implicit": case(conv(8, 1), "[implicit]\nfilters=8\n", "[avgpool]\n", HEAD),
    "dropout": case(conv(6), "[dropout]\nprobability=.5\n", conv(7), HEAD),
}


def interpret(*arguments):
    done = subprocess.run([PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, "interpret %s: %s" % (" ".join(arguments), done.stderr.strip())
    return done.stdout


def check(name, folder):
    """Whether OpenCV read the case; fails by assertion."""
    cfg, weights, image, out = (os.path.join(folder, f) for f in ("net.cfg", "net.weights", "in.bin", "out.bin"))
    with open(cfg, "w", encoding="utf-8") as f:
        f.write(CASES[name])
    interpret("random", cfg, weights, "-seed", "4")
    ends = [tuple(map(int, line.split())) for line in interpret("ends", cfg).splitlines()]
    size = int(re.search(r"width=(\d+)", CASES[name]).group(1))
    x = np.random.default_rng(1).random((1, 3, size, size), dtype=np.float32)
    x.tofile(image)
    interpret("run", cfg, weights, image, out)
    ours = np.split(np.fromfile(out, np.float32), np.cumsum([c * h * w for _, c, h, w in ends])[:-1])
    if name in OVERLOOKED:
        with open(cfg, "w", encoding="utf-8") as f:
            f.write(CASES[name].replace(*OVERLOOKED[name]))
        known = interpret("run", cfg, weights, image, out)
        assert known and np.abs(np.concatenate(ours) - np.fromfile(out, np.float32)).max() > 1e-2, "it makes no difference"
        ours = np.split(np.fromfile(out, np.float32), np.cumsum([c * h * w for _, c, h, w in ends])[:-1])
        with open(cfg, "w", encoding="utf-8") as f:
            f.write(CASES[name])
    theirs, why = opencv_reader.outputs(cfg, weights, x, [e[0] for e in ends])
    if why:
        assert name in REFUSED and REFUSED[name] in why, "OpenCV refuses: " + why
        return False
    for (layer, *_), a, b in zip(ends, ours, theirs):
        assert a.size == b.size and np.isfinite(b).all() and np.abs(b).max() > 0, "layer %d: sizes %d and %d, or not finite, or zero" % (layer, a.size, b.size)
        gap = np.abs(a - b).max() / np.abs(a).max()
        assert gap <= TOLERANCE, "layer %d: %.1e" % (layer, gap)
    return True


def main():
    failed = read = 0
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                read += check(name, folder)
            except AssertionError as e:
                failed += 1
                print("FAIL %s: %s" % (name, e))
    print("OpenCV reads %d of %d cases" % (read, len(CASES)))
    print("%d passed, %d failed" % (len(CASES) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
