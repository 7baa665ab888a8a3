"""Reading a Darknet pair with OpenCV DNN and taking the outputs of given Darknet layers."""
import re

import cv2
import numpy as np

HEADS = r"(permute|softmax|yolo|region)_%d"
ACTIVATIONS = r"(leaky|relu|swish|mish|logistic|tanh)_%d"     # OpenCV counts them with the next layer


def names_of(net, ends):
    """OpenCV's name for the output of each Darknet layer in `ends`: what comes before the head behind it, else the last one that carries its number, and the
    activation behind it.
    None: there is none."""
    names, found = list(net.getLayerNames()), []
    for i in ends:
        head = [k for k, n in enumerate(names) if re.fullmatch(HEADS % (i + 1), n)]
        own = [k for k, n in enumerate(names) if re.fullmatch(r"[a-z_]+_%d" % i, n) and not re.fullmatch(ACTIVATIONS % i, n)]
        if own and own[-1] + 1 < len(names) and re.fullmatch(ACTIVATIONS % (i + 1), names[own[-1] + 1]):
            own.append(own[-1] + 1)
        if not own and not head:
            return None
        found.append(names[head[0] - 1 if head else own[-1]])
    return found


def outputs(cfg, weights, x, ends):
    """(outputs of the layers `ends`, flat; None), or (None, OpenCV's words of refusal)."""
    try:
        net = cv2.dnn.readNetFromDarknet(cfg, weights)
        net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        net.setInput(x)
        names = names_of(net, ends)
        if names is None:
            return None, "an end has no layer of its own"
        net.enableFusion(False)     # and one call for each: asked for several at once, OpenCV gives back buffers that later layers have used again
        return [np.array(net.forward(name)).reshape(-1) for name in names], None
    except cv2.error as e:
        return None, " ".join(str(e).split())


def reason(words):
    """A refusal in few words, without numbers."""
    found = re.search(r"(Unknown layer type: \w+|Unsupported activation: \w+|error: \([^)]*\) .*)", words)
    return re.sub(r"\d+", "N", found.group(1))[:100] if found else words[:100]


def difference(a, b):
    """max|a-b| / max|a| over lists of outputs; infinite for other sizes, for what is not finite."""
    worst = 0.0
    for p, q in zip(a, b, strict=True):
        if p.size != q.size or not np.isfinite(p).all() or not np.isfinite(q).all():
            return float("inf")
        gap = np.abs(p - q).max()
        worst = max(worst, float(gap / np.abs(p).max()) if gap > 0 else 0.0)
    return worst
