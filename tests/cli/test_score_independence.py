"""Scores do not depend on how images are grouped, on threads, or on their order (criteria of minibatches: on the order inside and of the minibatches), and
`score -resume` gives the bytes of one long run, for every criterion of the registry. On rendered images and a small network with random weights."""
import csv
import json
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.join(HERE, "..", "..")
DARKNET = os.environ.get("PRUNE_BIN", os.path.join(ROOT, "bin", "darknet"))
RENDER = os.environ.get("PRUNE_RENDER", os.path.join(ROOT, "bin", "render-data"))
IMAGES, MINIBATCH, CLASSES = 36, 6, 8
# Averages over minibatches of something that is not linear in the gradients: their size matters.
BATCH = {"taylor-fo", "taylor-weight", "taylor-weight-group", "bn-taylor", "grad-magnitude", "grad-magnitude-layer"}
# Random probes belong to an image's place in the list.
PLACED = {"taylor-so-gn", "obd-gn"}
# K-FAC draws targets and locations by the image's ordinal, and its average forgets: without these three it is a mean over images like the rest.
PLAIN_MEANS = ["-fisher", "empirical", "-kfac-samples", "1", "-kfac-decay", "1"]
TOLERANCE = 2e-4   # of the largest score of the criterion; float32 passes
results = []


def check(sentence, good, detail=""):
    results.append(bool(good))
    if not good:
        print(f"FAIL: {sentence}: {detail}")


def convolution(filters, size, norm=True, activation="leaky"):
    return f"[convolutional]\n{'batch_normalize=1' + chr(10) if norm else ''}filters={filters}\nsize={size}\nstride=1\npad=1\nactivation={activation}\n\n"


def write_net(work, name, batch, subdivisions):
    path = os.path.join(work, name + ".cfg")
    with open(path, "w") as f:
        f.write(f"[net]\nbatch={batch}\nsubdivisions={subdivisions}\nwidth=16\nheight=16\nchannels=3\nlearning_rate=.01\nmomentum=.9\ndecay=0\n\n")
        f.write(convolution(6, 3) + "[maxpool]\nsize=2\nstride=2\n\n" + convolution(6, 3) + convolution(6, 3, activation="linear"))
        f.write("[shortcut]\nfrom=-3\nactivation=leaky\n\n" + convolution(CLASSES, 1, norm=False, activation="linear") + "[avgpool]\n\n[softmax]\n")
    return path


def write_weights(work):
    rng = np.random.default_rng(3)

    def layer(filters, inputs, norm):
        parts = [rng.normal(0, .3, filters)]
        if norm:
            parts += [rng.uniform(.7, 1.3, filters), rng.normal(0, .2, filters), rng.uniform(.3, .6, filters)]
        return parts + [rng.normal(0, (2 / inputs) ** .5, filters * inputs)]
    values = np.concatenate(layer(6, 27, True) + layer(6, 54, True) + layer(6, 54, True) + layer(CLASSES, 6, False)).astype("<f4")
    path = os.path.join(work, "net.weights")
    with open(path, "wb") as f:
        f.write(struct.pack("<iiiQ", 0, 2, 0, 0) + values.tobytes())
    return path


class Work:
    def __init__(self, folder):
        self.folder = folder
        subprocess.run([RENDER, "classify", os.path.join(folder, "set"), "-images", str(IMAGES), "-valid", "1", "-size", "16"], check=True, capture_output=True)
        self.data = os.path.join(folder, "set", "shapes.data")
        self.list = open(os.path.join(folder, "set", "train.txt")).read().split()
        self.weights = write_weights(folder)
        self.cfg = write_net(folder, "net", 12, 2)

    def path(self, name):
        return os.path.join(self.folder, name)

    def run(self, *flags, cfg=None, weights=None, data=None):
        return subprocess.run([DARKNET, "prune", "score", data or self.data, cfg or self.cfg, weights or self.weights, *flags], capture_output=True, text=True)

    def table(self, *flags, **files):
        """{criterion: scores of all units}"""
        p = self.run("-criterion", "all", "-csv", self.path("s.csv"), *PLAIN_MEANS, *flags, **files)
        check(f"score {' '.join(flags)} runs", p.returncode == 0, p.stderr)
        rows = {r["unit"]: r for r in csv.DictReader(open(self.path("s.csv")))}
        names = [c for c in next(iter(rows.values())) if c not in ("layer", "channel", "unit", "protected")]
        return {c: np.array([float(rows[u][c]) for u in sorted(rows, key=int)]) for c in names}

    def write_list(self, name, images):
        with open(self.path(name), "w") as f:
            f.write("\n".join(images) + "\n")
        return self.path(name)


def compare(what, base, other, criteria):
    for c in sorted(criteria):
        difference = np.abs(base[c] - other[c]).max() / np.abs(base[c]).max()
        check(f"{what}: {c}", difference <= TOLERANCE, f"{difference:.1e} of the largest score")


def independence(w):
    base = w.table("-minibatch", str(MINIBATCH), "-threads", "1")
    every = set(base)
    check("every criterion scores here", every == {c["name"] for c in json.loads(subprocess.check_output([DARKNET, "prune", "criteria", "-json"]))["criteria"]}, every)
    check("scores are not all zero", all(np.abs(v).max() > 0 for v in base.values()), {c for c, v in base.items() if not np.abs(v).max() > 0})
    compare("two threads", base, w.table("-minibatch", str(MINIBATCH), "-threads", "2"), every)
    for size in (1, 5, IMAGES):
        compare(f"minibatches of {size}", base, w.table("-minibatch", str(size), "-threads", "1"), every - BATCH)
    for batch, subdivisions in ((6, 1), (36, 6), (24, 3)):
        other = w.table("-threads", "1", cfg=write_net(w.folder, "other", batch, subdivisions))
        compare(f"batch={batch} subdivisions={subdivisions}", base, other, every if batch // subdivisions == MINIBATCH else every - BATCH)
    rng = random.Random(4)
    shuffled = rng.sample(w.list, len(w.list))
    compare("any order", base, w.table("-list", w.write_list("shuffled.txt", shuffled), "-minibatch", str(MINIBATCH), "-threads", "1"), every - BATCH - PLACED)
    groups = [rng.sample(w.list[i:i + MINIBATCH], MINIBATCH) for i in range(0, IMAGES, MINIBATCH)]
    rng.shuffle(groups)
    grouped = w.table("-list", w.write_list("groups.txt", sum(groups, [])), "-minibatch", str(MINIBATCH), "-threads", "1")
    compare("the order inside and of the minibatches", base, grouped, every - PLACED)
    ones = w.table("-minibatch", "1", "-threads", "1")
    compare("minibatches of 1: taylor-fo is taylor-fg", {"x": ones["taylor-fg"]}, {"x": ones["taylor-fo"]}, {"x"})
    for c in sorted(BATCH):
        difference = np.abs(base[c] - ones[c]).max() / np.abs(ones[c]).max()
        check(f"{c} does depend on the size of minibatches", difference > .01, difference)


def same_files(w, sentence, a, b):
    names = sorted(n[len(a):] for n in os.listdir(w.folder) if n.startswith(a + "-") and n.endswith(".json"))
    different = [n for n in names if open(w.path(a + n), "rb").read() != open(w.path(b + n), "rb").read()]
    check(sentence, names and not different, different)


def resume(w, threads):
    common = ["-minibatch", "6", "-threads", threads]
    p = w.run("-criterion", "all", *common, "-images", "30", "-out", w.path("long.json"))
    check("a long run", p.returncode == 0, p.stderr)
    for out in "parts", "first.json":
        if os.path.exists(w.path(out)):
            os.remove(w.path(out))
    p = w.run("-criterion", "all", *common, "-images", "12", "-state", w.path("parts"))
    check("the first part", p.returncode == 0, p.stderr)
    p = w.run("-resume", w.path("parts"), "-threads", threads, "-images", "6")
    check("the second part names where it goes on", p.returncode == 0 and "goes on after the 12 images" in p.stderr, p.stderr)
    p = w.run("-resume", w.path("parts"), "-threads", threads, "-images", "12", "-out", w.path("parts.json"))
    check("the third part", p.returncode == 0, p.stderr)
    same_files(w, f"parts give the bytes of a long run, {threads} threads", "long", "parts")


def refusals(w):
    state = w.path("few")
    p = w.run("-criterion", "taylor-fo,taylor-fg", "-minibatch", "6", "-images", "10", "-state", state, "-csv", w.path("x.csv"))
    check("a state of two criteria", p.returncode == 0, p.stderr)
    good = open(state, "rb").read()
    other = bytearray(open(w.weights, "rb").read())
    other[-1] ^= 1
    open(w.path("other.weights"), "wb").write(other)
    cases = [
        ("a cfg with another comment", ["-resume", state], {"cfg": write_net(w.folder, "cases", 12, 4)}, 1, "is the state of another cfg (hash "),
        ("other weights", ["-resume", state], {"weights": w.path("other.weights")}, 1, "is the state of another weights (hash "),
        ("another list", ["-resume", state, "-list", w.write_list("less.txt", w.list[:20])], {}, 1, "is the state of another list (hash "),
        ("another minibatch", ["-resume", state, "-minibatch", "3"], {}, 2, f"flag '-minibatch 3': '{state}' was made with 6"),
        ("another gate", ["-resume", state, "-gate", "before-bn"], {}, 2, f"flag '-gate before-bn': '{state}' was made with after-bn"),
        ("another seed", ["-resume", state, "-seed", "5"], {}, 2, "flag '-seed 5'"),
        ("a first image", ["-resume", state, "-first", "3"], {}, 2, "the images go on where the state ends"),
        ("a criterion that is not there", ["-resume", state, "-criterion", "taylor-fo,taylor-fg,hrank"], {}, 1, "holds no state of criterion 'hrank'"),
        ("a criterion left out", ["-resume", state, "-criterion", "taylor-fo"], {}, 1, "also holds criterion 'taylor-fg', which would be lost"),
        ("a state that is an input", ["-state", w.weights], {}, 2, "is an input and would be overwritten"),
        ("a state that is the score file", ["-state", w.path("y.json"), "-out", w.path("y.json")], {}, 2, "is named for two outputs"),
        ("criteria of the weights", ["-state", w.path("y"), "-criterion", "magnitude"], {}, 2, "none of these criteria takes images"),
        ("a file that is none", ["-resume", w.cfg], {}, 1, "is not a state file of darknet prune"),
        ("a missing file", ["-resume", w.path("none")], {}, 1, "none'"),
    ]
    for what, flags, files, code, message in cases:
        p = w.run(*flags, **files)
        check(f"{what} is refused", p.returncode == code and message in p.stderr, f"{p.returncode} {p.stderr}")
    check("a refusal leaves the state as it was", open(state, "rb").read() == good)
    p = w.run("-resume", state, "-gate", "after-bn", "-minibatch", "6", "-criterion", "taylor-fg,taylor-fo", "-images", "100")
    check("a cut inside a minibatch is said", p.returncode == 0 and "has 4 of 6 images, so criteria of minibatches differ" in p.stderr, p.stderr)
    p = w.run("-resume", state)
    check("no image is left", p.returncode == 1 and f"images from {IMAGES + 1} on are asked for" in p.stderr, p.stderr)


def interrupt(w):
    """Ctrl-C, whenever it comes, leaves a state of whole minibatches; what is added makes one long run."""
    images = w.write_list("long.txt", w.list * 4000)
    state = w.path("stopped")
    p = subprocess.Popen([DARKNET, "prune", "score", w.data, w.cfg, w.weights, "-criterion", "taylor-fo,taylor-so-row", "-list", images, "-state", state],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not os.path.exists(state) and p.poll() is None:
        time.sleep(.02)
    p.send_signal(signal.SIGINT)
    err = p.communicate()[1]
    check("Ctrl-C says how to go on", p.returncode == 1 and f"go on with -resume '{state}' -images " in err, err)
    done = len(w.list) * 4000 - int(err.rsplit("-images ", 1)[1]) if "-images " in err else 0
    check("whole minibatches are kept", done % 6 == 0, done)
    p = w.run("-resume", state, "-list", images, "-images", "60", "-out", w.path("cut.json"))
    check("it goes on", p.returncode == 0, p.stderr)
    p = w.run("-criterion", "taylor-fo,taylor-so-row", "-list", images, "-images", str(done + 60), "-out", w.path("uncut.json"))
    check("one run", p.returncode == 0, p.stderr)
    same_files(w, f"an interrupted run goes on as if it had not been (after {done} images)", "uncut", "cut")


def smoothing(w):
    def scores(name):
        f = json.load(open(w.path(name)))
        return np.array([u["score"] for u in f["units"]]), f.get("momentum")
    for name, flags in (("a", ["-images", "12"]), ("b", ["-first", "12", "-images", "12"])):
        check("scores to smooth", w.run(*flags, "-out", w.path(name + ".json")).returncode == 0)
    p = w.run("-first", "12", "-images", "12", "-smooth", w.path("a.json"), "-momentum-score", "0.75", "-out", w.path("c.json"))
    check("-smooth runs", p.returncode == 0, p.stderr)
    (a, none), (b, _), (c, momentum) = scores("a.json"), scores("b.json"), scores("c.json")
    check("-smooth is m S_old + (1 - m) S", np.allclose(c, .75 * a + .25 * b, rtol=1e-14) and none is None, c)
    check("the file says so", momentum == {"value": .75, "iterations": 2}, momentum)
    p = w.run("-smooth", w.path("c.json"), "-out", w.path("d.json"))
    check("iterations add up, 0.9 is the default", p.returncode == 0 and scores("d.json")[1] == {"value": .9, "iterations": 3}, p.stderr)
    p = w.run("-criterion", "taylor-fg", "-smooth", w.path("a.json"), "-out", w.path("e.json"))
    check("another criterion is refused", p.returncode == 1 and "are of criterion 'taylor-fo'; give -smooth a file of 'taylor-fg'" in p.stderr, p.stderr)
    p = w.run("-momentum-score", ".5", "-out", w.path("e.json"))
    check("a momentum alone is refused", p.returncode == 2 and "'-momentum-score' needs '-smooth FILE'" in p.stderr, p.stderr)


def main():
    with tempfile.TemporaryDirectory() as folder:
        w = Work(folder)
        independence(w)
        for threads in "1", "2":
            resume(w, threads)
        refusals(w)
        interrupt(w)
        smoothing(w)
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
