"""What holds between criteria by definition, on ResNet-20 and 200 images: the group of weights is the gate in front of batch-norm, norms bound each other, a
layer's taylor-output has length 1, and what is summed over images does not depend on minibatches and threads. Needs PRUNE_DATA (cifar10, weights)."""
import csv
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
DARKNET = os.environ.get("PRUNE_BIN", os.path.join(HERE, "..", "..", "bin", "darknet"))
DATA = os.environ.get("PRUNE_DATA")
results = []


def check(sentence, good, detail=""):
    results.append(bool(good))
    if not good:
        print(f"FAIL: {sentence}: {detail}")


def score(work, criteria, *flags):
    """{unit: row} of the units that may be removed; the row is that of the first producer."""
    out = os.path.join(work, "s.csv")
    net = [os.path.join(DATA, "weights", "resnet-cifar10", "resnet20" + end) for end in (".cfg", ".weights")]
    p = subprocess.run([DARKNET, "prune", "score", os.path.join(DATA, "cifar10", "cifar10.data"), *net, "-criterion", criteria, "-images", "200", "-csv", out, *flags],
                       capture_output=True, text=True)
    check(f"score -criterion {criteria} runs", p.returncode == 0, p.stderr)
    units = {}
    for row in csv.DictReader(open(out)):
        if row["protected"] == "0":
            units.setdefault(row["unit"], row)
    return units


def worst(a, b, column, other):
    """Largest relative difference over units whose value is not tiny."""
    tiny = 1e-4 * max(float(r[column]) for r in a.values())
    return max(abs(float(r[column]) / float(b[u][other]) - 1) for u, r in a.items() if float(r[column]) > tiny)


def main():
    with tempfile.TemporaryDirectory() as work:
        weights = score(work, "taylor-weight,taylor-weight-group,grad-magnitude", "-minibatch", "200")
        batch_normed = {u: r for u, r in weights.items() if r["layer"] != "0"}
        gates = score(work, "taylor-fo", "-gate", "before-bn", "-minibatch", "200")
        difference = worst(batch_normed, gates, "taylor-weight-group", "taylor-fo")
        check("taylor-weight-group is taylor-fo in front of batch-norm", difference < 1e-4, difference)
        check("the L1 norm of w g is at least its L2 norm", all(float(r["grad-magnitude"]) ** 2 * (1 + 1e-6) >= float(r["taylor-weight"]) for r in weights.values()))
        check("and at least the sum", all(float(r["grad-magnitude"]) ** 2 * (1 + 1e-6) >= float(r["taylor-weight-group"]) for r in weights.values()))
        one = score(work, "hrank,taylor-output", "-minibatch", "64", "-threads", "1")
        two = score(work, "hrank,taylor-output", "-minibatch", "50", "-threads", "2")
        lengths = {}
        for r in one.values():
            lengths[r["layer"]] = lengths.get(r["layer"], 0) + float(r["taylor-output"]) ** 2
        check("taylor-output has length 1 in every layer", all(abs(x - 1) < 1e-6 for x in lengths.values()), lengths)
        check("there are layers", len(lengths) >= 10, len(lengths))
        difference = worst(one, two, "taylor-output", "taylor-output")
        check("taylor-output depends on neither minibatches nor threads", difference < 1e-4, difference)
        difference = max(abs(float(one[u]["hrank"]) - float(two[u]["hrank"])) for u in one)
        print(f"hrank: {difference:.1e} apart with other minibatches and threads")
        check("ranks depend on neither minibatches nor threads", difference <= 0.02, difference)
        check("ranks are ranks", all(0 <= float(r["hrank"]) <= 32 for r in one.values()) and max(float(r["hrank"]) for r in one.values()) > 16)
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    if not DATA or not os.path.isdir(os.path.join(DATA, "weights", "resnet-cifar10")):
        print("skip: identities of criteria: PRUNE_DATA is unset or has no cifar10 and weights")
        sys.exit(77)
    sys.exit(main())
