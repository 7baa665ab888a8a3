"""Scores of ResNet-20 against float64 values of scripts/reference_gates.py (tests/golden/resnet20_gates.csv: the first 250 training images in
minibatches of 64), in one and in two threads; and the loss with gates shut against the loss of the rewritten network.
Needs PRUNE_DATA (cifar10, weights)."""
import csv
import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
DARKNET = os.environ.get("PRUNE_BIN", os.path.join(HERE, "..", "..", "bin", "darknet"))
DATA = os.environ.get("PRUNE_DATA")
results = []


def check(sentence, good, detail=""):
    results.append(good)
    if not good:
        print(f"FAIL: {sentence}: {detail}")


def prune(*arguments):
    return subprocess.run([DARKNET, "prune", *arguments], capture_output=True, text=True)


def worst(ours, reference, column):
    """Largest relative difference over units whose value is not tiny, and where."""
    scores = {(r["layer"], r["channel"]): float(r[column]) for r in csv.DictReader(open(ours))}
    tiny = 1e-4 * max(float(r[column]) for r in reference)
    return max((abs(scores[r["layer"], r["channel"]] / float(r[column]) - 1), r["layer"], r["channel"]) for r in reference if float(r[column]) > tiny)


def loss_of(files, work, *flags):
    out = os.path.join(work, "e.json")
    p = prune("evaluate", *files, "-list", os.path.join(work, "list"), "-json", out, *flags)
    check("evaluate runs " + " ".join(flags[:1]), p.returncode == 0, p.stderr)
    return json.load(open(out))["loss"] if p.returncode == 0 else float("nan")


def evaluate(files, work):
    """The loss that scoring saw is the loss that evaluation sees; shut gates give the loss of the rewritten network."""
    with open(os.path.join(work, "list"), "w") as f:
        f.writelines(open(os.path.join(DATA, "cifar10", "train.txt")).readlines()[:250])
    whole = loss_of(files, work)
    check("evaluate gives the recorded loss", abs(whole / 0.00221672334 - 1) < 1e-4, whole)
    check("one shut gate changes the loss", abs(loss_of(files, work, "-shut", "13:5") / whole - 1) > 1e-3)
    scores, mask, out = (os.path.join(work, name) for name in ("s.json", "m.json", "out"))
    for step in (["score", *files[1:], "-criterion", "magnitude", "-out", scores],
                 ["select", *files[1:], "-scores", scores, "-protect", "0", "-units", "0.9", "-out", mask],
                 ["apply", *files[1:], "-mask", mask, "-out", out]):
        p = prune(*step)
        check(f"{step[0]} runs", p.returncode == 0, p.stderr)
    masked = loss_of(files, work, "-mask", mask)
    pruned = [files[0], *(os.path.join(out, "resnet20-pruned" + end) for end in (".cfg", ".weights"))]
    rewritten = loss_of(pruned, work)
    check("the masked network loses something", masked > whole, masked)
    check("the masked network has the loss of the rewritten one", abs(masked / rewritten - 1) < 1e-5, f"{masked} {rewritten}")


def main():
    data, net = os.path.join(DATA, "cifar10", "cifar10.data"), os.path.join(DATA, "weights", "resnet-cifar10", "resnet20")
    files = [data, net + ".cfg", net + ".weights"]
    reference = list(csv.DictReader(open(os.path.join(HERE, "..", "golden", "resnet20_gates.csv"))))
    check("the reference lists 3 + 400 units", len(reference) == 403, len(reference))
    with tempfile.TemporaryDirectory() as work:
        tables = []
        for threads in "1", "2":
            table = os.path.join(work, f"{threads}.csv")
            tables.append(table)
            p = prune("score", *files, "-criterion", "taylor-fo,taylor-fg", "-images", "250", "-minibatch", "64", "-threads", threads, "-csv", table)
            check(f"score runs with {threads} threads", p.returncode == 0, p.stderr)
            if p.returncode:
                return
            loss = re.search(r"250 images in 4 minibatches, loss (\S+)", p.stdout)
            check("250 images make 4 minibatches with the recorded loss", loss and abs(float(loss[1]) / 0.00221672334 - 1) < 1e-4, p.stdout)
        check("scores do not depend on the number of threads", open(tables[0]).read() == open(tables[1]).read())
        for column in "taylor-fo", "taylor-fg":
            difference, layer, channel = worst(tables[0], reference, column)
            print(f"{column}: worst relative difference from float64 {difference:.1e}, layer {layer} channel {channel}")
            check(f"{column} equals the float64 reference within 1e-3", difference < 1e-3, difference)
        evaluate(files, work)
        p = prune("evaluate", *files, "-shut", "13:32")
        check("a channel that is not there is named", p.returncode == 2 and "layer 13 has no channel 32, only 0..31" in p.stderr, p.stderr)


if not DATA or not os.path.isdir(os.path.join(DATA, "cifar10")) or not os.path.isdir(os.path.join(DATA, "weights")):
    print("skip: reference scores: PRUNE_DATA is unset or has no cifar10 and weights")
    sys.exit(77)
main()
print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
sys.exit(0 if all(results) else 1)
