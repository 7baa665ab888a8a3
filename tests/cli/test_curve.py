#!/usr/bin/python3
"""`darknet prune curve` from outside, on rendered data: its rows against evaluate, score and select of the same masks, its orders against score files, a stopped
set against an uninterrupted one, and what it refuses. Ends with "N passed, N failed"."""
import csv, json, os, re, signal, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DARKNET = os.path.realpath(os.environ.get("PRUNE_BIN", ROOT / "bin/darknet"))
RENDER = os.path.realpath(os.environ.get("PRUNE_RENDER", ROOT / "bin/render-data"))
passed, failed = 0, 0


def check(name, good, detail=""):
    global passed, failed
    passed, failed = passed + bool(good), failed + (not good)
    print(f"{'ok' if good else 'FAIL'}: {name}" + ("" if good else f": {detail}"))


def prune(*words, code=0):
    done = subprocess.run([DARKNET, "prune", *map(str, words)], capture_output=True, text=True, timeout=300)
    if done.returncode != code:
        check(" ".join(map(str, words[:1])) + f" exits with {code}", False, f"{words} gave {done.returncode}: {done.stderr[-500:]}")
    return done


def close(a, b, tolerance=1e-5):
    return abs(a - b) <= tolerance * max(abs(a), abs(b)) + 1e-12


def rows_of(path, **wanted):
    rows = [r for r in csv.DictReader(open(path)) if all(r[k] == str(v) for k, v in wanted.items())]
    return [{k: (v if k == "criterion" else float(v) if v else None) for k, v in r.items()} for r in rows]


def curve_of(path, criterion, recomputed):
    return next(c for c in json.load(open(path))["curves"] if c["criterion"] == criterion and c["recomputed"] == recomputed)


class Net:
    """A network, its units, and the images it is scored on."""
    def __init__(self, work, name, data, cfg, weights):
        self.work, self.name, self.data, self.cfg, self.weights = work, name, data, cfg, weights
        self.shape = json.loads(prune("inspect", cfg, weights, "-json").stdout)
        self.units = {u["unit"]: u for u in self.shape["units"]}
        self.width = {l["layer"]: l["output"][2] for l in self.shape["layers"]}
        self.train = data.parent / "train.txt"

    def mask(self, units, name):
        gone = {}
        for u in units:
            for layer, channel in self.units[u]["members"]:
                gone.setdefault(layer, []).append(channel)
        path = self.work / f"{name}.mask.json"
        json.dump({"format": "darknet-prune-mask", "version": 1, "cfg": {"file": str(self.cfg), "hash": self.shape["cfg_hash"]},
                   "weights": {"file": str(self.weights), "hash": self.shape["weights_hash"]}, "kind": "unit",
                   "removed": [{"layer": l, "channels": sorted(c)} for l, c in sorted(gone.items())], "kept": []}, open(path, "w"))
        return path

    def evaluate(self, *flags):
        out = self.work / "evaluation.json"
        prune("evaluate", self.data, self.cfg, self.weights, "-json", out, *flags)
        return json.load(open(out))

    def curve(self, base, *flags, code=0):
        return prune("curve", self.data, self.cfg, self.weights, "-out", self.work / base, *flags, code=code)

    def order(self, scores, min_keep=1):
        """Units by score, none of a layer that would keep too few."""
        kept, out = dict(self.width), []
        for u in sorted(scores, key=lambda u: (scores[u], u)):
            layers = [m[0] for m in self.units[u]["members"]]
            if self.units[u]["protected"] or any(kept[l] - layers.count(l) < min_keep for l in layers):
                continue
            for l in layers:
                kept[l] -= 1
            out.append(u)
        return out


def scores_of(path):
    return {u["unit"]: u["score"] for u in json.load(open(path))["units"]}


def a_classifier(work):
    data = work / "c"
    subprocess.run([RENDER, "classify", data, "-images", "192", "-valid", "48", "-seed", "3"], check=True, capture_output=True)
    text = (ROOT / "cfg/resnet-shapes.cfg").read_text()
    for key, value in (("max_batches", 100), ("batch", 16), ("burn_in", 1)):
        text = re.sub(rf"^{key}=.*", f"{key}={value}", text, flags=re.M)
    cfg = work / "net.cfg"
    cfg.write_text(text)
    subprocess.run([DARKNET, "classifier", "train", data / "shapes.data", cfg, "-seed", "1"], check=True, capture_output=True, timeout=300)
    tuned, weights = work / "tuned.weights", work / "net.weights"
    prune("finetune", data / "shapes.data", cfg, data / "backup/net_final.weights", "-length", "20i", "-out", tuned)
    prune("finetune", data / "shapes.data", cfg, tuned, "-length", "1i", "-lr", "1e-9", "-recalibrate", 192, "-out", weights)   # settled statistics
    return Net(work, "net", data / "shapes.data", cfg, weights)


def numbers_are_those_of_the_other_verbs(n):
    n.curve("both", "-criteria", "taylor-fo,magnitude", "-images", 64, "-minibatch", 16, "-step-fraction", 0.05, "-recompute", "both", "-eval-images", 0, "-eval-every", 4,
            "-min-keep", 2, "-loss-at", "2,50")
    path = n.work / "both.csv"
    check("weights-only criteria have one curve", not rows_of(path, criterion="magnitude", recomputed=1) and rows_of(path, criterion="magnitude", recomputed=0))
    first = n.evaluate("-list", n.train, "-images", 64)["loss"]
    check("the first row is the network as it is", all(close(r["loss"], first) for r in rows_of(path, step=0)), (first, rows_of(path, step=0)))
    for criterion, recomputed in (("taylor-fo", True), ("taylor-fo", False), ("magnitude", False)):
        rows, c = rows_of(path, criterion=criterion, recomputed=int(recomputed)), curve_of(n.work / "both.json", criterion, recomputed)
        for row in (rows[4], rows[-1]):
            mask = n.mask(c["order"][:int(row["removed"])], "row")
            scored, valid = n.evaluate("-mask", mask, "-list", n.train, "-images", 64), n.evaluate("-mask", mask)
            what = f"{criterion} {'recomputed' if recomputed else 'fixed'}, {row['removed']:.0f} units gone"
            check(f"{what}: the loss is that of evaluate -mask", close(row["loss"], scored["loss"]), (row["loss"], scored["loss"]))
            check(f"{what}: so are loss and accuracy of the evaluation images", close(row["eval_loss"], valid["loss"]) and close(row["accuracy"], valid["top1"]), (row, valid))
            out = n.work / "pruned"
            prune("apply", n.cfg, n.weights, "-mask", mask, "-out", out)
            cut = json.loads(prune("inspect", out / "net-pruned.cfg", "-json").stdout)
            check(f"{what}: so is its cost that of the rewritten pair", (row["macs"], row["parameters"]) == (cut["macs"], cut["parameters"]), (row, cut["macs"], cut["parameters"]))
        check(f"{criterion}: rows are evaluated where they should be", all((r["accuracy"] is not None) == (r["step"] % 4 == 0 or r is rows[-1]) for r in rows))
        reached = {r["loss"]: r["removed"] for r in c["reached"]}
        check(f"{criterion}: the step of a loss is the first", reached[2] == next((r["removed"] for r in rows if r["loss"] >= 2), None) and set(reached) == {2, 50}, reached)
    steps = [int(r["removed"]) for r in rows_of(path, criterion="magnitude")]
    removable = n.shape["removable_units"]
    check("a step is its fraction of the units that may go", steps[1] == -(-removable * 5 // 100), (steps, removable))
    for criterion, flags in (("taylor-fo", ("-images", 64, "-minibatch", 16)), ("magnitude", ())):
        out = n.work / "scores.json"
        prune("score", n.data, n.cfg, n.weights, "-criterion", criterion, "-out", out, *flags)
        expected, c = n.order(scores_of(out), 2), curve_of(n.work / "both.json", criterion, False)
        check(f"{criterion}: the fixed order is the sort of its score file", c["order"] == expected, [(i, a, b) for i, (a, b) in enumerate(zip(c["order"], expected)) if a != b][:5])


def recomputed_scores_are_those_of_the_rewritten_network(n):
    n.curve("one", "-criteria", "taylor-fo", "-images", 64, "-minibatch", 16, "-units", 0.85)
    c = curve_of(n.work / "one.json", "taylor-fo", True)
    for at in (len(c["order"]) // 2, len(c["order"]) - 1):
        out = n.work / "half"
        prune("apply", n.cfg, n.weights, "-mask", n.mask(c["order"][:at], "half"), "-out", out)
        prune("score", n.data, out / "net-pruned.cfg", out / "net-pruned.weights", "-images", 64, "-minibatch", 16, "-out", n.work / "half.json")
        gone = set(c["order"][:at])
        left = [u for u in sorted(n.units) if u not in gone]     # units keep their order
        scores = {left[u]: s for u, s in scores_of(n.work / "half.json").items()}
        kept = dict(n.width)
        for u in gone:
            for layer, _ in n.units[u]["members"]:
                kept[layer] -= 1
        free = [u for u in left if not n.units[u]["protected"] and all(kept[l] > 1 for l, _ in n.units[u]["members"])]
        best = min(scores[u] for u in free)
        check(f"with {at} units gone the next is the lowest of the rewritten network", scores[c["order"][at]] <= best + 1e-4 * abs(best) + 1e-12, (c["order"][at], scores[c["order"][at]], best))


def an_oracle_knows_what_a_unit_is_worth(n):
    done = n.curve("oracle", "-criteria", "oracle,oracle-loss", "-recompute", "both", "-images", 32, "-step-fraction", 0.25, "-no-spanning", 1)
    check("the table tells the criterion", "oracle-loss" in done.stdout and "recomputed" in done.stdout, done.stdout)
    base = n.evaluate("-list", n.train, "-images", 32)["loss"]
    for name, signed in (("oracle", False), ("oracle-loss", True)):
        c = curve_of(n.work / "oracle.json", name, False)
        several = [u for u in c["order"] if len({m[0] for m in n.units[u]["members"]}) > 1]
        check(f"{name}: units of several layers stay with -no-spanning", not several and c["order"], several[:3])
        picks = [c["order"][i * (len(c["order"]) - 1) // 5] for i in range(6)]
        changes = [n.evaluate("-mask", n.mask([u], "unit"), "-list", n.train, "-images", 32)["loss"] - base for u in picks]
        worth = [x if signed else x * x for x in changes]
        slack = 2e-5 * base * (1 if signed else 2 * max(abs(x) for x in changes))
        check(f"{name}: the order is that of the loss changes", all(a <= b + slack for a, b in zip(worth, worth[1:])), worth)
    rows = rows_of(n.work / "oracle.csv", criterion="oracle", recomputed=1)
    c = curve_of(n.work / "oracle.json", "oracle", True)
    last = n.evaluate("-mask", n.mask(c["order"], "last"), "-list", n.train, "-images", 32)["loss"]
    check("the greedy oracle's last loss is that of evaluate -mask", close(rows[-1]["loss"], last), (rows[-1]["loss"], last))


def a_recalibration_does_not_stay(n):
    flags = ("-criteria", "taylor-fo", "-images", 32, "-step-fraction", 0.2, "-eval-images", 24, "-eval-first", 24)
    n.curve("plain", *flags)
    n.curve("recal", *flags, "-recalibrate", 64)
    plain, recal = rows_of(n.work / "plain.csv"), rows_of(n.work / "recal.csv")
    extra = ("recal_loss", "recal_eval_loss", "recal_accuracy")
    check("the other columns are those of a curve without", [{k: v for k, v in r.items() if k not in extra} for r in recal] == [{k: v for k, v in r.items() if k not in extra} for r in plain])
    check("recalibrated numbers are there, and are others", all(None not in [r[k] for k in extra] for r in recal) and all(r[extra[0]] is None for r in plain) and
          any(not close(r["recal_loss"], r["loss"], 1e-3) for r in recal[1:]))
    valid = n.data.parent / "valid.txt"
    second = n.work / "second.txt"
    second.write_text("".join(valid.read_text().splitlines(True)[24:]))
    e = n.evaluate("-list", second)
    check("-eval-first skips images", close(plain[0]["eval_loss"], e["loss"]) and close(plain[0]["accuracy"], e["top1"]), (plain[0], e["loss"]))


def a_stopped_set_goes_on(n):
    flags = ("-criteria", "taylor-fo,random", "-recompute", "both", "-images", 32, "-step-fraction", 0.1, "-eval-images", 16, "-recalibrate", 32, "-eval-every", 3, "-seeds", "1,7", "-drawn", 1)
    n.curve("whole", *flags)
    whole = json.load(open(n.work / "whole.json"))
    check("drawn images depend on the seed", len({tuple(c["order"]) for c in whole["curves"]}) == len(whole["curves"]) == 6)
    for cut in (3, len(whole["rows"]) // 2, len(whole["rows"]) - 1):
        part = json.loads(json.dumps(whole))
        part["rows"] = part["rows"][:cut]
        for i, c in enumerate(part["curves"]):
            rows = [r for r in part["rows"] if r["curve"] == i]
            c["done"] = bool(rows) and len(rows) == sum(r["curve"] == i for r in whole["rows"])
            c["order"] = c["order"][:rows[-1]["removed"] if rows else 0]
        json.dump(part, open(n.work / "part.json", "w"))
        n.curve("part", *flags)
        same = [end for end in ("json", "csv", "svg") if (n.work / f"part.{end}").read_bytes() == (n.work / f"whole.{end}").read_bytes()]
        check(f"continued after {cut} of {len(whole['rows'])} rows, the files are the same bytes", same == ["json", "csv", "svg"], same)
    before = (n.work / "part.csv").read_bytes()
    done = n.curve("part", *flags, "-step", 2, code=2)
    done = n.curve("part", *[f if f != 0.1 else 0.2 for f in flags], code=1)
    check("other settings are refused, and nothing is touched", "it was made with" in done.stderr and (n.work / "part.csv").read_bytes() == before, done.stderr)
    n.curve("part", *[f if f != "taylor-fo,random" else "magnitude" for f in flags])
    after = (n.work / "part.csv").read_text()
    check("another criterion joins the file", "magnitude,0,7" in after and all(line in after for line in before.decode().splitlines()))


def ctrl_c_leaves_a_file_to_go_on_from(n):
    out = n.work / "long"
    process = subprocess.Popen([DARKNET, "prune", "curve", n.data, n.cfg, n.weights, "-criteria", "taylor-fo", "-seeds", ",".join(map(str, range(1, 60))), "-out", out],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not Path(f"{out}.csv").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    err = process.communicate(timeout=120)[1]
    rows = json.load(open(f"{out}.json"))["rows"]
    check("Ctrl-C ends it with a message", process.returncode == 1 and "interrupted" in err, (process.returncode, err[-300:]))
    check("and the rows so far are in both files", len(rows_of(f"{out}.csv")) == len(rows), len(rows))


def mistakes_are_named(n):
    for words, says in ((("-images", 8), "-criteria C[,C...]' is missing"), (("-criteria", "taylor-f"), "did you mean 'taylor-f"), (("-criteria", "random,random"), "listed twice"),
                        (("-criteria", "random", "-recompute", "2"), "not one of 0, 1, both"), (("-criteria", "random", "-step", 1, "-step-fraction", 0.1), "exclude each other"),
                        (("-criteria", "random", "-seeds", "1,x"), "'x' is no list"), (("-criteria", "random", "-role", "test"), "not one of train, valid"),
                        (("-criteria", "random", "-eval-role", "valid"), "without '-eval-images N'"), (("-criteria", "random", "-loss-at", "1,"), "no list of numbers")):
        done = n.curve("x", *words, code=2)
        check(f"{says} is said", says in done.stderr, done.stderr)
    done = n.curve("x", "-criteria", "random", "-macs", 0.00001, "-images", 8, code=1)
    check("a target out of reach names the smallest", "smallest reachable" in done.stderr, done.stderr)
    done = n.curve("x", "-criteria", "random", "-protect", f"0-{max(n.width)}", code=1)
    check("a network that must stay whole is named", "nothing can be removed" in done.stderr, done.stderr)


def a_detector_has_a_curve_too(work):
    data = work / "d"
    subprocess.run([RENDER, "detect", data, "-images", "24", "-valid", "8", "-seed", "3"], check=True, capture_output=True)
    text = (ROOT / "cfg/yolo-shapes.cfg").read_text()
    for key, value in (("max_batches", 12), ("batch", 8), ("steps", "8,10")):
        text = re.sub(rf"^{key}=.*", f"{key}={value}", text, flags=re.M)
    cfg = work / "box.cfg"
    cfg.write_text(text)
    subprocess.run([DARKNET, "detector", "train", data / "shapes.data", cfg, "-seed", "1"], check=True, capture_output=True, timeout=300)
    n = Net(work, "box", data / "shapes.data", cfg, data / "backup/box_final.weights")
    n.curve("boxes", "-criteria", "taylor-fo,magnitude", "-images", 8, "-step-fraction", 0.3, "-eval-images", 4, "-letterbox", 0)
    rows = rows_of(work / "boxes.csv")
    prune("score", n.data, n.cfg, n.weights, "-images", 8, "-letterbox", 0, "-out", work / "box.json")
    loss = json.load(open(work / "box.json"))["loss"]
    check("a detector's loss is the one it is scored by, whoever measures it", all(close(r["loss"], loss) for r in rows if r["step"] == 0) and len(rows) > 6, (loss, rows[0]))
    last = rows_of(work / "boxes.csv", criterion="taylor-fo")[-1]
    c = curve_of(work / "boxes.json", "taylor-fo", True)
    e = n.evaluate("-mask", n.mask(c["order"], "boxes"), "-images", 4, "-letterbox", 0)
    check("its accuracy is mAP@0.5", abs(last["accuracy"] - e["map50"]) < 1e-8 and json.load(open(work / "boxes.json"))["accuracy"] == "mAP@0.5", (last, e["map50"]))


def main():
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        work = Path(folder)
        n = a_classifier(work)
        for test in (numbers_are_those_of_the_other_verbs, recomputed_scores_are_those_of_the_rewritten_network, an_oracle_knows_what_a_unit_is_worth, a_recalibration_does_not_stay,
                     a_stopped_set_goes_on, ctrl_c_leaves_a_file_to_go_on_from, mistakes_are_named):
            test(n)
        a_detector_has_a_curve_too(work)
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed != 0)


main()
