"""PyTorch as a worker of make bench (protocol: worker.h): torch_worker.py train|infer CFG WEIGHTS INPUT TRUTH THREADS nchw|nhwc
Commands: step -> {"seconds"[, "loss"]}, output FILE -> {"floats"}, peak -> {"megabytes"}."""
import json
import os
import resource
import sys
import time

import numpy as np
import torch

sys.path.insert(1, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "host"))
from darknet_numpy import parse  # noqa: E402
from torch_net import DarknetTorch  # noqa: E402


def say(**answer):
    print(json.dumps(answer), flush=True)


def optimizer(model, net):
    """Darknet decays weights alone."""
    decayed = [p for n, p in model.named_parameters() if n.endswith("product.weight")]
    others = [p for n, p in model.named_parameters() if not n.endswith("product.weight")]
    return torch.optim.SGD([{"params": decayed, "weight_decay": float(net.get("decay", 1e-4))}, {"params": others}],
                           lr=float(net.get("learning_rate", 1e-3)), momentum=float(net.get("momentum", 0.9)))


def load(mode, cfg, weights, input_file, truth_file, layout):
    with open(cfg, encoding="latin-1") as f:
        sections = parse(f.read())
    net = sections[0][1]
    batch = int(net["batch"])
    form = torch.channels_last if layout == "nhwc" else torch.contiguous_format
    model = DarknetTorch(sections, weights)
    model.train(mode == "train")
    if mode == "infer":
        model.fold()
    model = model.to(memory_format=form)
    x = torch.from_numpy(np.fromfile(input_file, np.float32).reshape(batch, int(net["channels"]), int(net["height"]), int(net["width"])))
    truth = np.fromfile(truth_file, np.float32).reshape(batch, -1)
    return model, net, x.contiguous(memory_format=form), torch.from_numpy(truth.argmax(1))


def train_step(model, optim, x, truth):
    start = time.perf_counter()
    optim.zero_grad(set_to_none=True)
    loss = model.loss(model(x), truth)
    loss.backward()
    optim.step()
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "loss": float(loss)}


def main():
    mode, cfg, weights, input_file, truth_file, threads, layout = sys.argv[1:]
    torch.set_num_threads(int(threads))
    torch.set_flush_denormal(True)
    model, net, x, truth = load(mode, cfg, weights, input_file, truth_file, layout)
    optim = optimizer(model, net) if mode == "train" else None
    results = None
    say(ready=True, version=torch.__version__, mkldnn=torch.backends.mkldnn.is_available(), config=torch.__config__.show())
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "quit":
            break
        if word == "step" and mode == "train":
            say(**train_step(model, optim, x, truth))
        elif word == "step":
            with torch.inference_mode():
                start = time.perf_counter()
                results = model(x)
                say(seconds=time.perf_counter() - start)
        elif word == "output":
            flat = np.concatenate([r.contiguous().numpy().ravel() for r in results])
            flat.tofile(rest[0])
            say(floats=flat.size)
        else:
            say(megabytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
