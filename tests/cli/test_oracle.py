#!/usr/bin/env python3
"""The verb oracle from outside, on a small network of rendered shapes: its losses are those of `evaluate` with the unit's gate shut and those of the rewritten
network; stopped by Ctrl-C (however often) and continued, it writes the bytes of one go; samples, greedy steps and subsets agree with it; what does not fit is
refused. With PRUNE_DATA (cifar10, weights): the 128 units of layers 27 and 30 of ResNet-20 on the 1,000 images of the reference against PyTorch."""
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
DARKNET = os.environ.get("PRUNE_BIN", os.path.join(ROOT, "bin", "darknet"))
RENDER = os.environ.get("PRUNE_RENDER", os.path.join(ROOT, "bin", "render-data"))
DATA = os.environ.get("PRUNE_DATA")
REFERENCE = os.path.join(HERE, "..", "golden", "resnet20_without.csv")
CFG = "[net]\nbatch=16\nsubdivisions=1\nwidth=32\nheight=32\nchannels=3\nlearning_rate=0.02\nmax_batches=30\nburn_in=1\n\n" + \
      "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=leaky\n\n" + \
      "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=2\npad=1\nactivation=relu\n\n" + \
      "[convolutional]\nbatch_normalize=1\nfilters=10\nsize=3\nstride=1\npad=1\nactivation=relu\n\n" + \
      "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=1\npad=1\nactivation=linear\n\n" + \
      "[shortcut]\nfrom=-3\nactivation=relu\n\n[convolutional]\nfilters=8\nsize=1\nstride=1\npad=0\nactivation=linear\n\n[avgpool]\n\n[softmax]\n"
results = []


def check(sentence, good, detail=""):
    results.append(bool(good))
    if not good:
        print(f"FAIL: {sentence}: {detail}")


def run(*arguments, code=0, says=""):
    p = subprocess.run([DARKNET, "prune", *map(str, arguments)], capture_output=True, text=True)
    check("prune " + " ".join(map(str, arguments[:1] + arguments[4:])), p.returncode == code and says in p.stdout + p.stderr, f"exit {p.returncode}: {p.stdout}{p.stderr}")
    return p


def rows(path):
    return list(csv.DictReader(open(path)))


def same(a, b):
    return open(a, "rb").read() == open(b, "rb").read()


def interrupted(command, state):
    """Runs until it is done, with a Ctrl-C again and again; how often a state was left."""
    stops, wait = 0, 0.4
    for _ in range(200):
        p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            _, err = p.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            p.send_signal(signal.SIGINT)
            _, err = p.communicate()
        if p.returncode == 0:
            return stops
        if p.returncode == 1:
            check("an interrupted run says how to go on", "the same command continues" in err and os.path.exists(state), err)
            stops += 1
        wait += 0.1
    check("an interrupted run ends", False, command)
    return stops


def losses(work, files, table):
    loss = json.load(open(os.path.join(work, "whole.json")))["loss"]
    out = os.path.join(work, "e.json")
    flags = ["-list", os.path.join(work, "c", "train.txt"), "-images", 40, "-json", out]
    run("evaluate", *files, *flags)
    check("the loss with nothing removed is that of evaluate", abs(json.load(open(out))["loss"] / loss - 1) < 1e-6, loss)
    for row in table[::7]:
        run("evaluate", *files, "-shut", row["layer"] + ":" + row["channel"], *flags)
        wanted = json.load(open(out))["loss"]
        check("a unit's loss is that of evaluate -shut", abs(float(row["loss_without"]) / wanted - 1) < 1e-6, (row, wanted))
    one = next(r for r in table if r["layer"] == "2")
    mask = {"format": "darknet-prune-mask", "version": 1, "cfg": {"file": files[1], "hash": json.load(open(os.path.join(work, "whole.json")))["cfg"]["hash"]}, "weights": None,
            "kind": "unit", "removed": [{"layer": int(one["layer"]), "channels": [int(one["channel"])]}], "kept": []}
    path, pruned = os.path.join(work, "one.mask.json"), os.path.join(work, "one")
    json.dump(mask, open(path, "w"))
    run("apply", *files[1:], "-mask", path, "-out", pruned)
    run("evaluate", files[0], os.path.join(pruned, "net-pruned.cfg"), os.path.join(pruned, "net-pruned.weights"), *flags)
    wanted = json.load(open(out))["loss"]
    check("a unit's loss is that of the rewritten network", abs(float(one["loss_without"]) / wanted - 1) < 1e-5, (one, wanted))


def sets(work, files, table):
    set_flags = ["-images", 40]
    sample, greedy, subsets = (os.path.join(work, name) for name in ("sample.csv", "greedy.csv", "subsets.csv"))
    run("oracle", *files, *set_flags, "-sample", 9, "-csv", sample)
    known = {(r["layer"], r["channel"]): r for r in table}
    check("a sample has the rows of the whole", len(rows(sample)) == 9 and all(known[r["layer"], r["channel"]] == r for r in rows(sample)))
    run("oracle", *files, *set_flags, "-only", 2, "-greedy", 3, "-csv", greedy, "-out", os.path.join(work, "greedy.json"))
    run("oracle", *files, *set_flags, "-subsets", 2, "-csv", subsets, "-out", os.path.join(work, "subsets.json"))
    steps, sizes = rows(greedy), rows(subsets)
    single = {r["channel"]: float(r["loss_without"]) for r in table if r["layer"] == "2"}
    check("there are 1,024 subsets of 10 filters", sum(int(s["subsets"]) for s in sizes) == 1024, sizes)
    check("the best single filter is the first greedy step", sizes[1]["best"] == steps[1]["channel"] == min(single, key=single.get), (sizes[1], steps[1]))
    check("with its loss", abs(float(steps[1]["loss"]) - single[steps[1]["channel"]]) < 1e-6, steps[1])
    for k in range(4):
        check("no greedy step beats the best subset", float(steps[k]["loss"]) >= float(sizes[k]["least"]) - 1e-6, (steps[k], sizes[k]))
    check("best <= mean <= worst", all(float(s["least"]) <= float(s["mean"]) + 1e-9 and float(s["mean"]) <= float(s["most"]) + 1e-9 for s in sizes), sizes)
    check("JSON and table agree", [str(s["channel"]) for s in json.load(open(os.path.join(work, "greedy.json")))["steps"]] == [s["channel"] for s in steps[1:]])
    out = os.path.join(work, "e.json")
    run("evaluate", *files, "-list", os.path.join(work, "c", "train.txt"), "-images", 40, "-json", out, "-shut", ",".join("2:" + s["channel"] for s in steps[1:]))
    check("three greedy steps have the loss of evaluate -shut", abs(json.load(open(out))["loss"] / float(steps[3]["loss"]) - 1) < 1e-6, steps[3])


def going_on(work, files):
    whole, parts = (os.path.join(work, name) for name in ("all.csv", "parts.csv"))
    many = [*files, "-drawn", 1, "-images", 1000, "-batch", 8]
    command = [DARKNET, "prune", "oracle", *map(str, many), "-csv", parts]
    run("oracle", *many, "-csv", whole)
    stops = interrupted(command, parts + ".state")
    check("it was stopped at least once", stops, stops)
    check("stopped and continued it writes the bytes of one go", same(whole, parts))
    check("the state is gone when it is done", not os.path.exists(parts + ".state"))
    greedy = [*files, "-images", 192, "-batch", 8, "-greedy", 4, "-csv"]
    run("oracle", *greedy, whole)
    interrupted([DARKNET, "prune", "oracle", *map(str, greedy), parts], parts + ".state")
    check("so does the greedy oracle", same(whole, parts))
    run("score", *files, "-images", 8, "-state", parts + ".state")
    run("oracle", *greedy, parts, code=1, says="the state of another command")
    os.remove(parts + ".state")


def refusals(work, files):
    run("oracle", *files, code=2, says="no output is given")
    run("oracle", *files, "-sample", 3, "-out", os.path.join(work, "x.json"), code=2, says="-csv oracle.csv")
    run("oracle", *files, "-greedy", 2, "-subsets", 2, "-csv", os.path.join(work, "x.csv"), code=2, says="exclude each other")
    run("oracle", *files, "-subsets", 99, "-csv", os.path.join(work, "x.csv"), code=2, says="no layer 99")
    run("oracle", *files, "-only", 6, "-csv", os.path.join(work, "x.csv"), code=1, says="no unit")
    run("oracle", *files, "-greedy", 999, "-csv", os.path.join(work, "x.csv"), code=2, says="cannot be removed")
    run("oracle", *files, "-first", 99999, "-csv", os.path.join(work, "x.csv"), code=1, says="images from 100000 on")
    run("oracle", *files, "-csv", files[1], code=2, says="would be overwritten")


def reference(work):
    """PyTorch's losses, float32, recorded with nine digits."""
    net, weights, table = os.path.join(DATA, "weights", "resnet-cifar10", "resnet20"), os.path.join(work, "pytorch.weights"), os.path.join(work, "reference.csv")
    subprocess.run([sys.executable, os.path.join(ROOT, "scripts", "pytorch_epsilon.py"), net + ".cfg", net + ".weights", weights], check=True)
    recorded = rows(REFERENCE)
    train = open(os.path.join(DATA, "cifar10", "train.txt")).read().split()
    with open(os.path.join(work, "list"), "w") as f:
        f.writelines(train[int(i)] + "\n" for i in open(os.path.join(HERE, "..", "golden", "resnet20_images.txt")).read().split())
    run("oracle", os.path.join(DATA, "cifar10", "cifar10.data"), net + ".cfg", weights, "-list", os.path.join(work, "list"), "-only", "27,30", "-csv", table)
    ours = {(r["layer"], r["channel"]): float(r["loss_without"]) for r in rows(table)}
    wanted = {(r["layer"], r["channel"]): float(r["E_without"]) for r in recorded}
    check("the reference has the same 128 units", set(ours) == set(wanted) and len(ours) == 128, len(ours))
    worst = max((abs(ours[k] / wanted[k] - 1), k) for k in wanted)
    print(f"losses without a unit: worst relative difference from PyTorch {worst[0]:.1e}, layer {worst[1][0]} channel {worst[1][1]}")
    check("losses equal PyTorch's within 5e-5", worst[0] < 5e-5, worst)


def main(work):
    subprocess.run([RENDER, "classify", os.path.join(work, "c"), "-images", "192", "-valid", "48", "-seed", "3"], check=True, capture_output=True)
    cfg = os.path.join(work, "net.cfg")
    open(cfg, "w").write(CFG)
    data = os.path.join(work, "c", "shapes.data")
    subprocess.run([DARKNET, "classifier", "train", data, cfg, "-seed", "1"], check=True, capture_output=True)
    files = [data, cfg, os.path.join(work, "c", "backup", "net_final.weights")]
    whole = os.path.join(work, "whole")
    run("oracle", *files, "-images", 40, "-out", whole + ".json", "-csv", whole + ".csv", says="oracle: 24 units, 40 images")
    table = rows(whole + ".csv")
    scores = json.load(open(whole + ".json"))
    check("score file and table agree", all(scores["units"][int(r["unit"])]["score"] == float(r["oracle"]) for r in table) and scores["criterion"] == "oracle")
    check("the oracle is the squared change", all(abs(float(r["oracle"]) - (float(r["loss_without"]) - scores["loss"]) ** 2) < 1e-12 for r in table))
    run("select", *files[1:], "-scores", whole + ".json", "-macs", 0.5, "-out", os.path.join(work, "m.json"))
    losses(work, files, table)
    sets(work, files, table)
    going_on(work, files)
    refusals(work, files)
    if DATA and os.path.isdir(os.path.join(DATA, "weights")):
        reference(work)
    else:
        print("skip: PyTorch's losses of ResNet-20: PRUNE_DATA is unset or has no weights")


with tempfile.TemporaryDirectory() as folder:
    main(folder)
print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
sys.exit(0 if all(results) else 1)
