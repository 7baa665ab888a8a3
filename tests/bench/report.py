"""Tables of make bench, as Markdown."""
import os
import re
import subprocess


def output(*command):
    try:
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
    except OSError:
        return ""


def machine(bench):
    with open("/proc/cpuinfo") as f:
        model = re.search(r"model name\s*: (.*)", f.read())
    load = os.getloadavg()[0]
    if load > 0.3:
        bench.note("the machine is not idle (load average %.2f): spreads will be wide" % load)
    for module, package in (("torch", "PyTorch: scripts/deps.sh -bench installs it"), ("cv2", "OpenCV")):
        if not bench.has[module]:
            bench.note("SKIPPED every comparison with %s: no module '%s'" % (package, module))
    return "%s, %d cores, %d threads, load average %.2f before the first row" % (model.group(1) if model else "?", os.cpu_count(), bench.threads, load)


def versions(bench):
    def package(name):
        return output("dpkg-query", "-W", "-f", "${Version}", name) or "?"
    parts = ["darknet " + package("darknet"), "OpenBLAS " + package("libopenblas0-pthread"), "ours " + (output("git", "describe", "--always", "--dirty") or "?")]
    if "PyTorch" in bench.versions:
        version, config = bench.versions["PyTorch"]
        dnn = re.search(r"(MKL-DNN|oneDNN) v(\S+)", config)
        parts.append("PyTorch %s with oneDNN %s" % (version, dnn.group(2) if dnn else "?"))
    if "OpenCV" in bench.versions:
        parts.append("OpenCV " + bench.versions["OpenCV"])
    return ", ".join(parts)


def number(s, digits=3):
    """median (min..max)"""
    return "-" if s is None else "%.*f (%.*f..%.*f)" % (digits, s["median"], digits, s["min"], digits, s["max"])


def milliseconds(s):
    return "-" if s is None else number({k: 1000 * v for k, v in s.items()}, 1)


def table(head, lines):
    width = len(head)
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * width] + ["| " + " | ".join(map(str, l)) + " |" for l in lines])


def inverse(s):
    return {"median": 1 / s["median"], "min": 1 / s["max"], "max": 1 / s["min"]}


def train_lines(rows):
    for r in rows:
        t, p, best = r["times"], r["peaks"], r["best"]
        other = next((n for n in t if n.startswith("pytorch-") and n != best), None)
        yield ["%s (%d)" % (r["net"], r["batch"]), number(t["ours"]), "%s %s" % (number(t.get(best)), best[8:] if best else ""), number(t.get(other)),
               number(t["stock"], 2), number(r.get("pytorch")), number(inverse(r["stock"]), 1),
               "/".join("%.0f" % p[n] if n in p else "-" for n in ("ours", best, "stock"))]


def infer_lines(rows):
    for r in rows:
        t, best = r["times"], r["best"]
        other = next((n for n in t if n.startswith("pytorch-") and n != best), None)
        yield ["%s (%d)" % (r["net"], r["batch"]), milliseconds(t["ours"]), milliseconds(t.get("opencv")), "%s %s" % (milliseconds(t.get(best)), best[8:] if best else ""),
               milliseconds(t.get(other)), number(r.get("opencv")), number(r.get("pytorch"))]


def pruned_lines(bench):
    for kind in ("train", "infer"):
        for r in bench.tables.get(kind, []):
            if "unpruned" in r:
                yield ["%s/%s (%d)" % (kind, r["net"], r["batch"]), milliseconds(r["times"]["ours"]), milliseconds(r["times"]["unpruned"]), number(r["unpruned"]),
                       number(r.get("pytorch"))]


def text(bench, about):
    t, parts = bench.tables, ["# Benchmarks", "%s.\n%s.\nMedians (least..greatest); ratios of steps of the same round. Of steps shorter than 50 ms a sample is the least of several." % (about, versions(bench))]
    if "train" in t:
        parts += ["## Training step, seconds", "PyTorch in both layouts, the quicker one first; its yolo heads have a stand-in loss (mean square behind the logistic function), "
                  "which costs less than theirs. Weights, input and, for classifiers, loss are those of ours.",
                  table(["net (batch)", "ours", "PyTorch, layout", "other layout", "stock", "ours / PyTorch", "stock / ours", "peak MB ours/PyTorch/stock"], train_lines(t["train"]))]
    if "infer" in t:
        parts += ["## Inference, milliseconds", "PyTorch with batch-norm folded into the convolutions.",
                  table(["net (batch)", "ours", "OpenCV", "PyTorch, layout", "other layout", "ours / OpenCV", "ours / PyTorch"], infer_lines(t["infer"]))]
    lines = list(pruned_lines(bench))
    if lines:
        parts += ["## ResNet-20 at half the multiply-adds, irregular widths, milliseconds", table(["", "pruned", "unpruned", "pruned / unpruned", "ours / PyTorch, both pruned"], lines)]
    if "hook" in t:
        parts += ["## Training hook, on / off", table(["criterion", "net", "median of 20 pairs", "95% interval", "peak memory", "off, s"], (
            [r["criterion"], r["net"], number(r["ratio"], 4), "%.4f..%.4f" % (r["low"], r["high"]), "%.4f" % r["memory"], number(r["off"])] for r in t["hook"]))]
    if "load" in t:
        parts += ["## With one spinning process per core", table(["net", "idle, s", "loaded, s", "loaded / idle"], (
            [r["net"], number(r["idle"]), number(r["loaded"]), number(r["ratio"], 2)] for r in t["load"]))]
    if "peak" in t:
        parts += ["## Fraction of the sgemm peak (3000 x 3000, OpenBLAS)", table(["net", "GFLOP of a step", "seconds", "sgemm GFLOP/s", "OpenBLAS kernel", "fraction"], (
            [r["net"], "%.1f" % r["gflop"], number(r["ours"]), number(r["sgemm"], 0), r["core"], number(r["fraction"])] for r in t["peak"]))]
    if "apply" in t:
        parts += ["## apply, against a loop that reads the old weights and writes as many bytes as the new ones, seconds",
                  table(["case", "MB before, after", "apply", "loop", "ratio", "peak MB beside the map"], (
                      [r["case"], r["megabytes"], "%.3f" % r["apply"], "%.3f" % r["loop"], number(r["ratio"], 2), "%.1f" % r["peak"]] for r in t["apply"]))]
    for r in t.get("graph", []):
        parts += ["## Units of growing networks", "```\n" + r["text"] + "\n```"]
    if bench.notes:
        parts += ["## Not measured", "\n".join("- " + n for n in bench.notes)]
    return "\n\n".join(parts)
