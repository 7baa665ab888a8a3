"""What make bench computes, not what it times: statistics; edited cfgs that mean the same network; PyTorch's network against the formulas in numpy."""
import importlib.util
import os
import sys
import tempfile

import numpy as np

import measure
import nets
from darknet_numpy import Net as NumpyNet, difference, parse
from rows import check_losses, BenchError

results = []
CFG = """# a comment
[net]
batch=2
width=12
height = 12
channels=3
burn_in=100

[convolutional]
batch_normalize=1
filters=6
size=3
pad=1
activation=leaky

[maxpool]
size=2
stride=1

[convolutional]
batch_normalize=1
filters=8
size=1
stride=1
pad=1
activation=relu

[convolutional]
batch_normalize=1
groups=4
filters=8
size=3
stride=2
pad=1
activation=linear

[dropout]
probability=.5

[convolutional]
filters=9
size=1
activation=linear

[shortcut]
from=-6
activation=leaky

[upsample]
stride=2

[route]
layers=-1,1

[maxpool]
size=3
stride=2

[connected]
output=7
activation=linear

[softmax]
"""


def check(sentence, good, detail=""):
    results.append(bool(good))
    if not good:
        print("FAIL: %s: %s" % (sentence, detail))


def statistics():
    check("a spread is median, least and greatest", measure.spread([3., 1., 2.]) == {"median": 2., "min": 1., "max": 3.})
    check("ratios pair the rounds", measure.ratios([2., 9.], [1., 3.]) == [2., 3.])
    check("one slow step stands for all rounds", measure.ratios([2., 3.], [10.]) == [.2, .3])
    low, high = measure.median_interval([1.] * 10 + [1.1] * 10)
    check("the interval of the median spans what the halves say", 1 <= low < 1.05 < high <= 1.1, (low, high))
    check("equal values have an interval of no width", measure.median_interval([1.02] * 20) == (1.02, 1.02))
    times = {"ours": [1.] * 5, "pytorch-nchw": [2.] * 5, "pytorch-nhwc": [1.] * 3}
    check("a layout that dropped out is not the best", measure.best_layout(times) == "pytorch-nchw")
    check("no PyTorch, no layout", measure.best_layout({"ours": [1.]}) is None)
    check("what is not finite is infinitely far", measure.apart(float("nan"), 1) == float("inf") and measure.apart(2, 1) == .5)


class Fake:
    def __init__(self, loss):
        self.loss = loss

    def ask(self, _):
        return {"loss": self.loss, "seconds": 1}


def disagreement():
    check("equal losses pass", check_losses({"ours": Fake(2), "stock": Fake(2 + 1e-6)})["ours"]["loss"] == 2)
    for other in (2.001, float("nan")):
        try:
            check_losses({"ours": Fake(2), "stock": Fake(other)})
            check("losses that differ stop the row", False, other)
        except BenchError as e:
            check("losses that differ stop the row", "nothing is timed" in str(e))


def head_inputs(path, weights, x):
    net = NumpyNet(path)
    net.read(weights)
    return [net.forward(x)[i] for i in net.head_inputs()]


def networks(folder):
    plain, other = (os.path.join(folder, f) for f in ("plain.cfg", "opencv.cfg"))
    weights = os.path.join(folder, "w.weights")
    text = nets.with_net_options(CFG, batch=3, height=12, burn_in=0)
    check("a key is replaced, not doubled", text.count("height") == 1 and parse(text)[0][1]["batch"] == "3" and parse(text)[0][1]["burn_in"] == "0")
    check("the rest stays", text.replace("\n", "").endswith(CFG[CFG.index("[convolutional]"):].replace("\n", "")) and text.startswith("# a comment"))
    check("dropout is seen", nets.has_dropout(text) and "probability=.5" not in nets.without_dropout(text))
    check("dropout is taken out", len(parse(nets.without_dropout(text))) == len(parse(text)))
    nets.write(plain, text)
    random = np.random.default_rng(3)
    made = NumpyNet(plain)
    made.random(random)
    made.write(weights)
    x = random.random((3, 3, 12, 12), dtype=np.float32)
    expected = head_inputs(plain, weights, x)
    nets.write(other, nets.for_opencv(text))
    check("shortcuts from larger maps are gone", len(parse(nets.for_opencv(text))) == len(parse(text)) + 3)
    check("the network without them is the same function", difference(expected, head_inputs(other, weights, x), range(len(expected))) < 1e-6)
    if importlib.util.find_spec("torch") is None:
        print("skip: PyTorch's network: no module torch (scripts/deps.sh -bench)")
        return
    import torch
    from torch_net import DarknetTorch
    model = DarknetTorch(parse(text), weights).eval()
    for folded in range(2):
        with torch.no_grad():
            got = [r.numpy().reshape(e.shape) for r, e in zip(model(torch.from_numpy(x)), expected)]
        check("PyTorch computes the formulas, folded %d" % folded, difference(expected, got, range(len(expected))) < 1e-5)
        model.fold()


statistics()
disagreement()
with tempfile.TemporaryDirectory() as work:
    networks(work)
print("%d passed, %d failed" % (sum(results), len(results) - sum(results)))
sys.exit(0 if all(results) else 1)
