"""The networks of make bench: edited copies of cfgs, their weights, input and truth, all in one folder. Size and batch as published speed tables have
them; a constant learning rate, so that all frameworks take the same steps."""
import os
import subprocess
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "host"))
from darknet_numpy import parse  # noqa: E402

PACKAGE = "/usr/share/darknet/cfg/"
# name: (cfg, width and height or None = the cfg's, batch of training)
NETS = {
    "resnet20": ("cfg/resnet20-cifar.cfg", None, 128),
    "resnet56": ("cfg/resnet56-cifar.cfg", None, 128),
    "resnet50": (PACKAGE + "resnet50.cfg", 224, 8),
    "yolov3-tiny": (PACKAGE + "yolov3-tiny.cfg", 416, 8),
    "yolo-fastest": ("$PRUNE_DATA/weights/yolo-fastest/yolo-fastest-1.1.cfg", 320, 16),
    "cifar": (PACKAGE + "cifar.cfg", None, 128),
}


def sections_of(text):
    """The text cut before every section: pieces[0] is what precedes [net]."""
    pieces = [""]
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("["):
            pieces.append("")
        pieces[-1] += line
    return pieces


def with_net_options(text, **options):
    """The cfg with these keys in [net], whatever they were."""
    head, net, *rest = sections_of(text)
    lines = [l for l in net.splitlines() if l.split("=")[0].strip() not in options]
    lines[1:1] = ["%s=%s" % o for o in options.items()]
    return head + "\n".join(lines) + "\n\n" + "".join(rest)


def without_dropout(text):
    """Dropout layers that drop nothing: what they drop is random, and random numbers differ."""
    pieces = sections_of(text)
    return "".join("[dropout]\nprobability=0\n\n" if p.lstrip().startswith("[dropout]") else p for p in pieces)


def has_dropout(text):
    return any(p.lstrip().startswith("[dropout]") for p in sections_of(text))


def widths(sections):
    """Of every layer's output; only their being equal or not matters."""
    out, net = [], int(sections[0][1]["width"])
    for i, (kind, o) in enumerate(sections[1:]):
        w, s = out[-1] if out else net, int(o.get("stride", 1))
        if kind == "route":
            first = int(o["layers"].split(",")[0])
            w = out[first if first >= 0 else i + first]
        elif kind == "upsample":
            w *= s
        elif kind in ("convolutional", "maxpool"):
            w = (w + s - 1) // s
        out.append(w)
    return out


def for_opencv(text):
    """The same function without shortcuts from larger maps, which OpenCV refuses: the larger map goes through a maxpool of size 1 first. Three layers
    more, so this works only where nothing behind reaches back across them (ResNets)."""
    pieces, sections = sections_of(text), parse(text)
    wide, result = widths(sections), pieces[:2]
    for i, ((kind, o), piece) in enumerate(zip(sections[1:], pieces[2:])):
        if kind == "shortcut" and wide[i] < wide[i + int(o["from"])]:
            stride = wide[i + int(o["from"])] // wide[i]
            piece = ("[route]\nlayers=%s\n\n[maxpool]\nsize=1\nstride=%d\n\n[route]\nlayers=-3\n\n[shortcut]\nfrom=-2\nactivation=%s\n\n"
                     % (o["from"], stride, o["activation"]))
        result.append(piece)
    return "".join(result)


class Net:
    """One network at one batch: paths of its cfg, weights, input and truth."""

    def __init__(self, name, text, folder, batch):
        self.name, self.batch = name, batch
        self.text = with_net_options(text, batch=batch, subdivisions=1, policy="constant", burn_in=0,
                                     learning_rate=0.0003 if "[yolo]" in text else 0.01)
        base = os.path.join(folder, "%s-b%d" % (name, batch))
        self.cfg, self.weights, self.input, self.truth = (base + end for end in (".cfg", ".weights", ".input", ".truth"))
        write(self.cfg, self.text)

    def prepare(self, worker):
        """Weights, input and truth of a fixed seed."""
        subprocess.run([worker, "-prepare", self.cfg, self.weights, self.input, self.truth], check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        return self


def write(path, text):
    with open(path, "w", encoding="latin-1") as f:
        f.write(text)


def read_cfg(name):
    """The text of a network's cfg at its size, None when the file is missing. Data sets: PRUNE_DATA, or where make test unpacks them."""
    path, size, _ = NETS[name]
    path = path.replace("$PRUNE_DATA", os.environ.get("PRUNE_DATA") or "build/data")
    if not os.path.exists(path):
        return None
    with open(path, encoding="latin-1") as f:
        text = f.read()
    return with_net_options(text, width=size, height=size) if size else text
