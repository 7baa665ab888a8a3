#!/usr/bin/env python3
"""Masked = pruned in two executors that nobody here shares code with: OpenCV DNN (readNetFromDarknet) and numpy.
For every cfg with convolutions: random weights (batch-norm statistics calibrated, so that deep nets stay finite), `apply -criterion random
-macs 0.5 -masked 1`, then the original cfg with the masked weights against the pruned pair at the input of each head, max|a-b| / max|a|.
Also: a mask that keeps everything gives byte-identical files. Large nets run at a reduced input size (the cfg is edited; its weights follow).

usage: opencv_equality.py [--all] [--markdown FILE] [cfg ...]     (default: a fast subset of the darknet package and our cfg/)
environment: PRUNE_BIN = the darknet executable under test"""
import argparse
import glob
import os
import re
import shutil
import sys
import tempfile
import time

import cv2
import numpy as np

import darknet_numpy
import equality

TOLERANCE = 1e-4
PACKAGE = "/usr/share/darknet/cfg"
FAST = ["darknet", "tiny", "resnet18", "yolov3-tiny", "yolov1-tiny", "writing", "rnn"]
SIZES = (64, 96, 128, 224)


def set_option(text, section, key, value):
    """Replaces key=... inside every section of that name."""
    parts = re.split(r"(?m)^(?=\[)", text)
    for i, part in enumerate(parts):
        if part.startswith(section):
            parts[i] = re.sub(r"(?m)^(\s*%s\s*=\s*).*$" % key, r"\g<1>%d" % value, part)
    return "".join(parts)


def shrink_input(cfg, folder):
    """A copy of the cfg at the smallest input size that every layer stands; the cfg itself when it is small."""
    with open(cfg, encoding="latin-1", newline="") as f:
        text = f.read()
    path = os.path.join(folder, os.path.basename(cfg))
    for size in SIZES:
        small = text
        if darknet_numpy.Net(cfg).input_shape[1] > size:
            small = set_option(set_option(small, "[net]", "width", size), "[net]", "height", size)
            small = set_option(set_option(small, "[crop]", "crop_width", size - 8), "[crop]", "crop_height", size - 8)
        with open(path, "w", encoding="latin-1", newline="") as f:
            f.write(small)
        if equality.prune("inspect", path, fails=True) is None and min(min(l["output"]) for l in equality.inspect(path)["layers"]) > 0:
            return path
    shutil.copy(cfg, path)
    return path


def head_names(net, layers):
    """OpenCV's layers whose outputs are the inputs of the heads; `layers` are the Darknet numbers of those inputs."""
    names, found = list(net.getLayerNames()), []
    for i in layers:
        after = [k for k, n in enumerate(names) if re.fullmatch(r"(permute|softmax|yolo|region|identity|reorg)_%d" % (i + 1), n)]
        found.append(names[after[0] - 1] if after else names[-1])
    return found


def compare_in_opencv(cfg, small_cfg, masked, small, x, by_numpy):
    """The difference, or the reason why OpenCV does not read the cfg. by_numpy: outputs of the masked network, which OpenCV must confirm."""
    outputs = []
    net = darknet_numpy.Net(cfg)
    layers = net.head_inputs()
    if any(l.kind == "connected" and l.int("batch_normalize", 0) for l in net.layers):
        return "misreads batch_normalize of [connected]"
    for c, w in ((cfg, masked), (small_cfg, small)):
        try:
            net = cv2.dnn.readNetFromDarknet(c, w)
            net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
            net.setInput(x)
            got = net.forward(head_names(net, layers))
        except cv2.error as e:
            why = re.search(r"error: \(-\d+:([^)]*)\) (.*?) in function", str(e).replace("\n", " "))
            return "refused: " + ("%s: %s" % why.groups() if why else str(e).strip())
        outputs.append(dict(enumerate(np.asarray(o) for o in got)))
    flat = {i: outputs[0][k].reshape(by_numpy[i].shape) for k, i in enumerate(layers)}
    readings = darknet_numpy.difference(by_numpy, flat, layers)
    assert readings < 1e-3, "OpenCV and numpy read the masked network differently: %.1e" % readings
    return darknet_numpy.difference(outputs[0], outputs[1], range(len(layers)))


def check(cfg, folder):
    """One row of the table: dict of texts and `failed`."""
    row = {"cfg": os.path.basename(cfg), "input": "", "parameters": "", "macs": "", "opencv": "", "numpy": "", "gates": "", "host": "", "keep": "", "failed": False}
    path = shrink_input(cfg, folder)
    weights = os.path.join(folder, "random.weights")
    refused = equality.prune("inspect", path, fails=True)
    if refused:
        return dict(row, opencv="refused by our reader: " + refused, failed=True)
    facts = equality.inspect(path)
    if not facts["removable_units"]:
        reasons = sorted({u["protected"] for u in facts["units"]})
        return dict(row, opencv="cannot be pruned: " + "; ".join(reasons or ["no convolution or connected layer of its own"]))
    rng = np.random.default_rng(7)
    net = darknet_numpy.Net(path)
    net.random(rng, 2)
    net.write(weights)
    row["input"] = "%dx%d" % net.input_shape[:0:-1]
    command = ("apply", path, weights, "-criterion", "random", "-seed", 3, "-out", folder, "-masked", 1, "-verify", 0)
    message = equality.prune(*command, "-macs", 0.5, fails=True)
    if message:
        least = equality.smallest_reachable(message)
        if least is None or least >= 1:
            return dict(row, opencv=message, failed=least is None)
        equality.prune(*command, "-macs", min(1, least + 1e-3))
    small_cfg, small, masked, _ = equality.pair_paths(folder, path)
    little = equality.inspect(small_cfg)
    row["parameters"] = "%.2f -> %.2f M" % (facts["parameters"] / 1e6, little["parameters"] / 1e6)
    row["macs"] = "%.3f" % (little["macs"] / facts["macs"])
    shape = (1,) + net.input_shape
    x = rng.random(shape, dtype=np.float32)
    del net
    dtype = np.float64 if facts["parameters"] < 8e6 else np.float32
    by_numpy, by_gates, outputs = equality.compare_in_numpy(path, weights, folder, x.astype(dtype))
    by_opencv = compare_in_opencv(path, small_cfg, masked, small, x, outputs)
    by_host = equality.compare_in_host(path, folder)
    same = equality.keep_all_is_identical(path, weights, folder)
    row["opencv"] = by_opencv if isinstance(by_opencv, str) else "%.1e" % by_opencv
    row.update(numpy="%.1e" % by_numpy, host=by_host if isinstance(by_host, str) else "%.1e" % by_host, gates="%.1e" % by_gates, keep="identical" if same else "DIFFERS")
    row["failed"] = not same or isinstance(by_host, str) or max(by_host, by_numpy, by_gates, 0 if isinstance(by_opencv, str) else by_opencv) > TOLERANCE
    return row


COLUMNS = ("cfg", "input", "parameters", "macs", "host", "opencv", "numpy", "gates", "keep")
TITLES = ("cfg", "input", "parameters", "MACs that remain", "our executable", "OpenCV DNN", "numpy", "numpy, gates shut", "keep-all mask")


def main(arguments=None, counts=None):
    """counts: gets (passed, failed) appended when given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every cfg of the darknet package and of cfg/")
    parser.add_argument("--markdown", help="write the table to this file")
    parser.add_argument("cfgs", nargs="*")
    args = parser.parse_args(arguments)
    ours = sorted(glob.glob(os.path.join(os.path.dirname(__file__), "..", "..", "cfg", "*.cfg")))
    package = sorted(glob.glob(PACKAGE + "/*.cfg"))
    if not package:
        print("skip: no cfgs in %s" % PACKAGE)
    cfgs = args.cfgs or (package if args.all else [c for c in package if os.path.splitext(os.path.basename(c))[0] in FAST]) + ours
    rows, failed = [], 0
    for cfg in cfgs:
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            try:
                row = check(cfg, folder)
            except Exception as e:      # one cfg must not hide the others
                row = dict({c: "" for c in COLUMNS}, cfg=os.path.basename(cfg), opencv="%s: %s" % (type(e).__name__, e), failed=True)
        rows.append(row)
        failed += row["failed"]
        print("%s %s (%.1f s)" % ("FAIL" if row["failed"] else "ok  ", " | ".join(row[c] for c in COLUMNS), time.monotonic() - started), flush=True)
    if args.markdown:
        with open(args.markdown, "w", encoding="utf-8") as f:
            for line in (TITLES, ["---"] * len(COLUMNS)) + tuple([r[c] for c in COLUMNS] for r in rows):
                f.write("| %s |\n" % " | ".join(line))
    if counts is not None:
        counts.extend((len(rows) - failed, failed))
    else:
        print("%d passed, %d failed" % (len(rows) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
