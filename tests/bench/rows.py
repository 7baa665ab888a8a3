"""The rows of make bench: each prepares its networks, compares results, times, and leaves numbers (bench.numbers) and a table row (bench.add)."""
import importlib.util
import os
import signal
import subprocess
import sys

import numpy as np

import apply_cost
import nets
from measure import (BenchError, Workers, alternate, apart, best_layout, largest_difference, median_interval, ratios, spread)

HERE = os.path.dirname(os.path.abspath(__file__))
LAYOUTS = ("nchw", "nhwc")
STOCK_LOSS, TORCH_LOSS, TORCH_SECOND_LOSS, OUTPUTS = 1e-5, 1e-3, 2e-2, 1e-3   # relative differences that are let pass
REPEAT_STOCK = 8     # seconds: a slower stock step is done once
CHECK_BATCH = {"cifar": 8}   # where a stock step takes a minute the losses are compared at this batch
ROW_SECONDS = 30
HOOK_PAIRS = 20
HOOK_BATCH = {"yolov3-tiny": 4}   # else that of training


class Skip(Exception):
    pass


class Bench:
    def __init__(self, build, programs, threads, rounds):
        self.build, self.darknet = build, os.path.join(programs, "darknet")
        self.folder = os.path.abspath(os.path.join(build, "bench"))
        os.makedirs(self.folder, exist_ok=True)
        self.threads, self.rounds = threads, rounds
        self.numbers, self.tables, self.notes, self.versions, self.ready = {}, {}, [], {}, {}
        self.has = {m: importlib.util.find_spec(m) is not None for m in ("torch", "cv2")}

    def note(self, text):
        self.notes.append(text)
        print("bench: " + text, file=sys.stderr, flush=True)

    def add(self, table, **cells):
        self.tables.setdefault(table, []).append(cells)

    def number(self, key, values):
        self.numbers[key] = spread(values) if isinstance(values, (list, tuple)) else values
        return self.numbers[key]

    def program(self, name):
        return os.path.join(self.build, "tests", "bench", name)

    def net(self, name, batch=None):
        """Prepared once per session."""
        batch = batch or nets.NETS[name][2]
        if (name, batch) not in self.ready:
            text = nets.read_cfg(name)
            if text is None:
                raise Skip("no '%s'%s" % (nets.NETS[name][0], "" if os.environ.get("PRUNE_DATA") else ": PRUNE_DATA is unset"))
            self.ready[name, batch] = nets.Net(name, text, self.folder, batch).prepare(self.program("step_worker"))
        return self.ready[name, batch]

    def macs(self, cfg):
        return json_of([self.darknet, "prune", "inspect", cfg, "-json"])

    def step_command(self, net, stock=False):
        return [self.program("step_worker_stock" if stock else "step_worker"), net.cfg, net.weights, net.input, net.truth, str(self.threads)]

    def torch_command(self, mode, net, layout):
        return [sys.executable, os.path.join(HERE, "torch_worker.py"), mode, net.cfg, net.weights, net.input, net.truth, str(self.threads), layout]

    def start_torch(self, workers, mode, net, suffix=""):
        if not self.has["torch"]:
            return
        for layout in LAYOUTS:
            w = workers.start("pytorch-%s%s" % (layout, suffix), self.torch_command(mode, net, layout), self.folder)
            self.versions["PyTorch"] = (w.about["version"], w.about["config"])


def json_of(command):
    import json
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)


def pruned(bench, batch):
    """ResNet-20 at half the multiply-adds with the irregular widths that one ranking of all filters by magnitude gives."""
    whole, out = bench.net("resnet20", batch), os.path.join(bench.folder, "pruned-b%d" % batch)
    if ("pruned", batch) in bench.ready:
        return bench.ready["pruned", batch]
    subprocess.run([bench.darknet, "prune", "apply", whole.cfg, whole.weights, "-criterion", "magnitude", "-macs", "0.5", "-protect", "0",
                    "-out", out, "-verify", "0"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    base = os.path.join(out, os.path.basename(whole.cfg)[:-len(".cfg")] + "-pruned")
    with open(base + ".cfg", encoding="latin-1") as f:
        net = nets.Net("resnet20-pruned", f.read(), bench.folder, batch)
    net.weights, net.input, net.truth = base + ".weights", whole.input, whole.truth
    bench.ready["pruned", batch] = net
    return net


# ---- training -------------------------------------------------------------------------------------------------------------------

def checked_net(bench, name, net):
    """The network whose losses are compared: the one to be timed, unless random dropout or a slow stock library are in the way."""
    if name == "resnet20-pruned" or not (nets.has_dropout(net.text) or name in CHECK_BATCH):
        return net
    same = nets.Net(name + "-check", nets.without_dropout(nets.read_cfg(name)), bench.folder, CHECK_BATCH.get(name, net.batch))
    return same.prepare(bench.program("step_worker"))


def check_losses(workers):
    """{name: first step} after the losses have been found equal."""
    first = {n: w.ask("step") for n, w in workers.items()}
    ours, stock = first["ours"]["loss"], first["stock"]["loss"]
    if apart(ours, stock) > STOCK_LOSS:
        raise BenchError("first loss of ours %.9g, of the stock library %.9g: nothing is timed" % (ours, stock))
    return first


def check_torch(workers, first, detector):
    """PyTorch's detectors descend a loss of their own."""
    if detector:
        return
    torch = {n: first[n]["loss"] for n in first if n.startswith("pytorch-")}
    for n, loss in torch.items():
        if apart(first["ours"]["loss"], loss) > TORCH_LOSS:
            raise BenchError("first loss of ours %.9g, of %s %.9g: nothing is timed" % (first["ours"]["loss"], n, loss))
    if torch:
        second = {n: workers[n].ask("step")["loss"] for n in ["ours"] + list(torch)}
        for n in torch:
            if apart(second["ours"], second[n]) > TORCH_SECOND_LOSS:
                raise BenchError("after one update: loss of ours %.9g, of %s %.9g: nothing is timed" % (second["ours"], n, second[n]))


def start_training(bench, workers, net):
    workers.start("ours", bench.step_command(net), bench.folder)
    workers.start("stock", bench.step_command(net, stock=True), bench.folder)
    bench.start_torch(workers, "train", net)


def train(bench, name):
    short = name.split("/")[1]
    net = pruned(bench, 128) if short == "resnet20-pruned" else bench.net(short)
    same = checked_net(bench, short, net)
    with Workers() as check, Workers() as timed:
        start_training(bench, check, same)
        first = check_losses(check)
        check_torch(check, first, "[yolo]" in net.text)
        stock = [first["stock"]["seconds"]]
        if same is not net:
            for w in check.values():
                w.close()
            check.clear()
            start_training(bench, timed, net)
            stock = []
        workers = dict(check or timed)
        if not stock or stock[0] < REPEAT_STOCK:
            stock = [workers["stock"].seconds()]
        runners = {n: w for n, w in workers.items() if n != "stock"}
        if short == "resnet20-pruned":
            runners["unpruned"] = timed.start("unpruned", bench.step_command(bench.net("resnet20")), bench.folder)
        times = alternate(runners, bench.rounds, ROW_SECONDS)
        peaks = {n: workers[n].ask("peak")["megabytes"] for n in workers}
    times["stock"] = stock
    report_training(bench, name, net, times, peaks)


def report_training(bench, name, net, times, peaks):
    best = best_layout(times)
    row = {"net": name.split("/")[1], "batch": net.batch, "best": best, "times": {n: spread(t) for n, t in times.items()}, "peaks": peaks}
    row["stock"] = bench.number(name + "/ours_over_stock", ratios(times["ours"], times["stock"]))
    if best:
        row["pytorch"] = bench.number(name + "/ours_over_pytorch", ratios(times["ours"], times[best]))
    if "unpruned" in times:
        row["unpruned"] = bench.number(name + "/ours_over_unpruned", ratios(times["ours"], times["unpruned"]))
    for n, t in times.items():
        bench.number("%s/seconds/%s" % (name, n), t)
    for n, megabytes in peaks.items():
        bench.number("%s/peak_megabytes/%s" % (name, n), megabytes)
    bench.add("train", **row)


# ---- inference ------------------------------------------------------------------------------------------------------------------

# row: (network, batch)
INFER = {"yolov3-tiny": ("yolov3-tiny", 1), "resnet50": ("resnet50", 1), "yolo-fastest": ("yolo-fastest", 1), "resnet20": ("resnet20", 128),
         "resnet20-b1": ("resnet20", 1), "resnet20-pruned": ("pruned", 128), "resnet20-pruned-b1": ("pruned", 1)}


def infer_command(bench, net):
    return [bench.program("infer_worker"), net.cfg, net.weights, net.input, str(bench.threads)]


def opencv_command(bench, net):
    cfg = os.path.join(bench.folder, "%s-b%d-opencv.cfg" % (net.name, net.batch))
    nets.write(cfg, nets.for_opencv(net.text))
    return [sys.executable, os.path.join(HERE, "opencv_worker.py"), cfg, net.weights, net.input, str(bench.threads)]


def output_of(bench, name, worker):
    path = os.path.join(bench.folder, name + ".output")
    worker.seconds()
    worker.ask("output " + path)
    return np.fromfile(path, np.float32)


def compare_outputs(bench, workers):
    ours = output_of(bench, "ours", workers["ours"])
    if not ours.size:
        raise BenchError("ours gave no outputs")
    for name, w in workers.items():
        if name in ("ours", "unpruned"):
            continue
        far = largest_difference(ours, output_of(bench, name, w))
        if far > OUTPUTS:
            raise BenchError("outputs of ours and of %s are %.2g of the largest value apart: nothing is timed" % (name, far))


def infer(bench, name):
    short = name.split("/")[1]
    source, batch = INFER[short]
    net = pruned(bench, batch) if source == "pruned" else bench.net(source, batch)
    with Workers() as workers:
        workers.start("ours", infer_command(bench, net), bench.folder)
        if source == "pruned":
            workers.start("unpruned", infer_command(bench, bench.net("resnet20", batch)), bench.folder)
        if bench.has["cv2"]:
            bench.versions["OpenCV"] = workers.start("opencv", opencv_command(bench, net), bench.folder).about["version"]
        bench.start_torch(workers, "infer", net)
        compare_outputs(bench, workers)
        times = alternate(workers, 2 * bench.rounds + 3, ROW_SECONDS / 3)
        peaks = {n: w.ask("peak")["megabytes"] for n, w in workers.items()}
    best = best_layout(times)
    row = {"net": short, "batch": batch, "best": best, "times": {n: spread(t) for n, t in times.items()}, "peaks": peaks}
    for other, key in (("opencv", "opencv"), (best, "pytorch"), ("unpruned", "unpruned")):
        if other in times:
            row[key] = bench.number("%s/ours_over_%s" % (name, key), ratios(times["ours"], times[other]))
    for n, t in times.items():
        bench.number("%s/seconds/%s" % (name, n), t)
    bench.add("infer", **row)


# ---- the hook, load, the peak, apply, the graph ------------------------------------------------------------------------------------------------------

def hook_command(bench, net, criterion):
    return [bench.program("hook_worker"), net.cfg, net.weights, net.input, net.truth, str(bench.threads), criterion]


def peak_after(bench, command, word):
    with Workers() as w:
        worker = w.start("hook-" + word, command, bench.folder)
        for _ in range(3):
            worker.ask(word)
        return worker.ask("peak")["megabytes"]


def hook(bench, name):
    _, criterion, short = name.split("/")
    net = bench.net(short, HOOK_BATCH.get(short))
    command = hook_command(bench, net, criterion)
    times = {"on": [], "off": []}
    with Workers() as w:
        worker = w.start("hook", command, bench.folder)
        for word in ("off", "on", "off", "on"):
            worker.ask(word)
        for i in range(HOOK_PAIRS):
            for word in ("on", "off") if i % 2 else ("off", "on"):
                times[word].append(worker.seconds(word))
    ratio = ratios(times["on"], times["off"])
    low, high = median_interval(ratio)
    memory = peak_after(bench, command, "on") / peak_after(bench, command, "off")
    row = bench.number("%s/on_over_off" % name, ratio)
    bench.number(name + "/interval_low", low)
    bench.number(name + "/interval_high", high)
    bench.number(name + "/peak_on_over_off", memory)
    # the criterion's own number is that of the network where it costs most
    total = "hook/%s/on_over_off" % criterion
    if total not in bench.numbers or bench.numbers[total]["median"] < row["median"]:
        bench.numbers[total] = row
    bench.add("hook", criterion=criterion, net="%s (%d)" % (short, net.batch), ratio=row, low=low, high=high, memory=memory, off=spread(times["off"]))


def load(bench, name):
    """One spinning process per core, stopped while an idle step is timed."""
    short = name.split("/")[1]
    spinners, times = [], {"idle": [], "loaded": []}

    def signal_all(which):
        for s in spinners:
            s.send_signal(which)
    try:
        with Workers() as w:
            worker = w.start("ours", bench.step_command(bench.net(short)), bench.folder)
            spinners += [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
            signal_all(signal.SIGSTOP)
            worker.ask("step")
            for _ in range(bench.rounds):
                for word, which in (("idle", signal.SIGSTOP), ("loaded", signal.SIGCONT)):
                    signal_all(which)
                    times[word].append(sum(worker.seconds() for _ in range(3)) / 3)
    finally:
        for s in spinners:
            s.kill()
            s.wait()
    ratio = bench.number(name + "/loaded_over_idle", ratios(times["loaded"], times["idle"]))
    bench.add("load", net=short, ratio=ratio, idle=spread(times["idle"]), loaded=spread(times["loaded"]))


def step_flops(bench, net):
    """Multiplications and additions of forward, weight gradient and input gradient; the first convolution has no input gradient."""
    about = bench.macs(net.cfg)
    first = next(l["macs"] for l in about["layers"] if l["kind"] == "convolutional")
    return 2 * (3 * about["macs"] - first) * net.batch


def peak(bench, name):
    short = name.split("/")[1]
    net = bench.net(short)
    with Workers() as workers:
        workers.start("ours", bench.step_command(net), bench.folder)
        workers.start("sgemm", [bench.program("sgemm_worker"), str(bench.threads)], bench.folder)
        core = workers["sgemm"].ask("step")["core"]
        times = alternate(workers, bench.rounds, ROW_SECONDS)
    flops = step_flops(bench, net)
    gflops = [2e-9 * 3000 ** 3 / s for s in times["sgemm"]]
    fraction = bench.number(name + "/fraction", [1e-9 * flops / s / g for s, g in zip(times["ours"], gflops)])
    top = bench.number(name + "/sgemm_gflops", gflops)
    bench.add("peak", net=short, fraction=fraction, sgemm=top, gflop=flops * 1e-9, ours=spread(times["ours"]), core=core)


def apply(bench, name):
    over = []
    for i, case in enumerate(apply_cost.measure(bench.darknet, max(7, bench.rounds))):
        bench.number("%s/%d/over_loop" % (name, i), case.ratios)
        bench.number("%s/%d/peak_megabytes" % (name, i), case.peak)
        bench.add("apply", case=case.name, megabytes="%.0f, %.0f" % (os.path.getsize(case.weights) / 1e6, case.size / 1e6), apply=case.seconds, loop=case.loops,
                  ratio=bench.numbers["%s/%d/over_loop" % (name, i)], peak=case.peak)
        if not case.within():
            over.append(case.text())
    if over:
        raise BenchError("over the limit of 1.3 loops or 32 MB and the largest layer: " + "; ".join(over))


def graph(bench, name):
    done = subprocess.run([bench.program("graph_scale")], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    bench.add("graph", text=done.stdout.rstrip())
    if done.returncode:
        raise BenchError("the channel graph took longer than it may")


def all_rows():
    """[(name, function)] in the order of measuring."""
    hooks = ["hook/%s/%s" % (c, n) for c in ("taylor-fo", "taylor-fg") for n in ("resnet20", "resnet56", "yolov3-tiny")]
    return ([("train/" + n, train) for n in list(nets.NETS) + ["resnet20-pruned"]] + [("infer/" + n, infer) for n in INFER] + [(n, hook) for n in hooks]
            + [("load/resnet20", load), ("peak/resnet20", peak), ("peak/resnet56", peak), ("apply/cost", apply), ("graph/scale", graph)])
