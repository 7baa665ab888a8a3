"""The executors that compare two networks at the inputs of their heads: the reference interpreter (tests/reference, every cfg), our executable (cfgs of
pjreddie's Darknet), OpenCV DNN and numpy (the cfgs that they read). Each gives max|a-b| / max|a|, or one line that says why it does not read the cfg."""
import os
import re
import subprocess
import tempfile

import cv2
import numpy as np

import darknet_numpy
import equality

INTERPRET = os.path.join(os.environ.get("PRUNE_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build")), "tests", "reference", "interpret")
# what OpenCV 4.6 passes over without a word: (section, key, values that it reads right)
NOT_IN_OPENCV = (("convolutional", "antialiasing", r"0"), ("convolutional", "share_index", r"none"), ("convolutional", "dilation", r"1"),
                 ("maxpool", "antialiasing", r"0"), ("maxpool", "maxpool_depth", r"0"), ("connected", "batch_normalize", r"0"),
                 ("reorg", "extra", r"0"), ("shortcut", "from", r"-?\d+"), ("shortcut", "weights_type", r"none"))
# It divides by sqrt(variance + 1e-6), Darknet by sqrt(variance) + 1e-6: 5e-4 where a variance is 1e-3, more behind many layers. Another network differs by ten times this.
SAME_READING = 0.05


def interpret(*arguments):
    done = subprocess.run([INTERPRET, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, "interpret %s: %s" % (" ".join(map(str, arguments)), done.stderr.strip())
    return done.stdout


def random_weights(cfg, path, seed=7):
    """Random weights whose batch-norm statistics are calibrated, so that deep networks stay finite."""
    interpret("random", cfg, path, "-seed", seed)


def in_interpreter(cfg, weights, small_cfg, small):
    return float(interpret("compare", cfg, weights, small_cfg, small).split()[0])


def ends_in_interpreter(cfg, weights, x):
    """{layer: output (c, h, w)} of the layers where networks are compared, for one image of float32."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(weights)) as folder:
        image, out = os.path.join(folder, "in"), os.path.join(folder, "out")
        x.astype(np.float32).tofile(image)
        shapes = [tuple(map(int, line.split())) for line in interpret("run", cfg, weights, image, out).splitlines()]
        flat, at, ends = np.fromfile(out, np.float32), 0, {}
    for layer, *shape in shapes:
        n = int(np.prod(shape))
        ends[layer] = flat[at:at + n].reshape(shape)
        at += n
    assert at == flat.size
    return ends


def in_host(*pair):
    """In our executable; or what in the cfg its Darknet does not know. Any other refusal fails."""
    found = equality.verify(*pair)
    if isinstance(found, float):
        return found
    foreign = re.search(r":(\d+)': (\S+) is known to AlexeyAB's", found)
    assert foreign, found
    return "does not know %s (line %s)" % foreign.group(2, 1)


def sections_of(cfg):
    with open(cfg, encoding="latin-1", newline="") as f:
        return darknet_numpy.parse(f.read())


def names_in_opencv(net, layers):
    """OpenCV's layers whose outputs are those of the Darknet layers."""
    names, found = list(net.getLayerNames()), []
    for i in layers:
        after = [k for k, n in enumerate(names) if re.fullmatch(r"(permute|softmax|yolo|region|identity|reorg)_%d" % (i + 1), n)]
        found.append(names[after[0] - 1] if after else names[-1])
    return found


def in_opencv(cfg, weights, small_cfg, small, x, ends):
    """ends: outputs of the masked network on x (c, h, w) in the interpreter, which OpenCV must confirm before its difference counts."""
    for kind, options in sections_of(cfg):
        for section, key, right in NOT_IN_OPENCV:
            if kind == section and key in options and not re.fullmatch(right, options[key]):
                return "misreads %s=%s of [%s]" % (key, options[key], section)
    outputs, layers = [], sorted(ends)
    for c, w in ((cfg, weights), (small_cfg, small)):
        try:
            net = cv2.dnn.readNetFromDarknet(c, w)
            net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
            net.setInput(x[None])
            outputs.append(net.forward(names_in_opencv(net, layers)))
        except cv2.error as e:
            why = re.search(r"error: \(-\d+:([^)]*)\) (.*?) in function", str(e).replace("\n", " "))
            return "refuses: " + ("%s: %s" % why.groups() if why else str(e).strip())
    a, b = ({i: np.asarray(o).reshape(-1) for i, o in zip(layers, out)} for out in outputs)
    flat = {i: ends[i].reshape(-1) for i in layers}
    readings = darknet_numpy.difference(flat, a, layers)
    assert readings < SAME_READING, "OpenCV and the interpreter read the masked network differently: %.1e" % readings
    return darknet_numpy.difference(a, b, layers)


def in_numpy(cfg, weights, folder, x):
    """(masked weights, shut gates) against the pruned pair in `folder`; a line for what darknet_numpy does not have."""
    for kind, options in sections_of(cfg)[1:]:
        if kind not in darknet_numpy.HEADS and kind not in ("route", "dropout", "activation", "logistic") and not hasattr(darknet_numpy.Net, kind):
            return "has no [%s]" % kind
        if options.get("activation", "linear") not in darknet_numpy.ACTIVATIONS:
            return "has no %s" % options["activation"]
        for key in ("groups", "group_id") if kind == "route" else ("stride_x", "dilation", "antialiasing", "share_index", "maxpool_depth", "weights_type"):
            if key in options:
                return "has no %s in [%s]" % (key, kind)
        if kind == "shortcut" and "," in options["from"]:
            return "has no shortcut of several sources"
    masked, gated, _ = equality.compare_in_numpy(cfg, weights, folder, x[None])
    return masked, gated
