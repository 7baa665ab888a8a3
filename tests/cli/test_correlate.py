#!/usr/bin/python3
"""`correlate` end to end on rendered images: coefficients, intervals and ranks recomputed here from the CSVs by their definitions (numpy, every pair), the
oracle against `evaluate -shut`, scores against `score`, tables read again, samples, other images, mistakes. Ends with "N passed, N failed"."""
import csv, json, os, re, signal, subprocess, sys, tempfile, time
import xml.etree.ElementTree as xml
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DARKNET = os.path.realpath(os.environ.get("PRUNE_BIN", ROOT / "bin/darknet"))
RENDER = os.path.realpath(os.environ.get("PRUNE_RENDER", ROOT / "bin/render-data"))
CRITERIA = "taylor-fo,taylor-fg,obd-gn,magnitude,random,taylor-fo@before-bn"
COLUMNS = CRITERIA.split(",")
SETS = {"all": lambda span: span > 0, "one-layer": lambda span: span == 1, "spanning": lambda span: span > 1}
results = [0, 0]


def check(what, good, detail=""):
    results[not good] += 1
    if not good:
        print(f"FAIL {what} {detail}")


def run(*arguments, code=0, says=None):
    done = subprocess.run([DARKNET, "prune", *map(str, arguments)], capture_output=True, text=True, timeout=300)
    if done.returncode != code or (says and says not in done.stdout + done.stderr):
        print(f"FAIL {' '.join(map(str, arguments))}: exit {done.returncode}, expected {code} with '{says}'\n{done.stderr[-600:]}")
        results[1] += 1
    elif says or code:
        results[0] += 1
    return done


def table(path):
    with open(path, newline="") as f:
        rows = list(csv.DictReader(f))
    return {name: np.array([float(r[name] or "nan") for r in rows]) for name in rows[0]}


# ---- coefficients by their definitions ----

def ranks(v):
    return (v[:, None] > v[None]).sum(1) + ((v[:, None] == v[None]).sum(1) + 1) / 2


def pearson(a, b):
    a, b = a - a.mean(), b - b.mean()
    return (a @ b) / np.sqrt((a @ a) * (b @ b))


def kendall(a, b):
    x, y = np.sign(a[:, None] - a[None]), np.sign(b[:, None] - b[None])
    return (x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum())


STATISTICS = {"pearson": pearson, "spearman": lambda a, b: pearson(ranks(a), ranks(b)), "kendall": kendall}


def constant(v):
    return (v == v[0]).all()


def averaged(statistic, a, b, layer):
    values = [statistic(a[layer == l], b[layer == l]) for l in np.unique(layer)
              if (layer == l).sum() >= 3 and not constant(a[layer == l]) and not constant(b[layer == l])]
    return np.mean(values) if values else None


def close(a, b, tolerance=1e-9):
    return (a is None) == (b is None) and (a is None or abs(a - b) <= tolerance)


def check_coefficients(what, t, found):
    for entry in found["criteria"]:
        name = entry["criterion"]
        score = t[name] ** 2 if entry["signed"] else t[name]
        for which, member in SETS.items():
            take = member(t["span"])
            a, b, layer = score[take], t["oracle"][take], t["layer"][take]
            check(f"{what}: units of {which}", entry[which]["units"] == take.sum() and entry[which]["layers"] == len(np.unique(layer)))
            for kind, statistic in STATISTICS.items():
                expected = None if len(a) < 2 or constant(a) or constant(b) else statistic(a, b)
                mean = averaged(statistic, a, b, layer)
                at = entry[which]["all_layers"][kind], entry[which]["per_layer"][kind]
                check(f"{what}: {kind} of {name}, {which}", close(at[0]["value"], expected), f"{at[0]['value']} is not {expected}")
                check(f"{what}: mean {kind} of {name}, {which}", close(at[1]["value"], mean), f"{at[1]['value']} is not {mean}")
                for interval in at:
                    if interval["value"] is not None:
                        check(f"{what}: interval of {kind}", -1 <= interval["low"] <= interval["high"] <= 1, interval)


def check_interval(t, found):
    """Another bootstrap of the same table gives nearly the same interval."""
    rng, a, b = np.random.default_rng(1), t["magnitude"], t["oracle"]
    draws = [rng.integers(0, len(a), len(a)) for _ in range(400)]
    ours = next(e for e in found["criteria"] if e["criterion"] == "magnitude")["all"]["all_layers"]["spearman"]
    for p, end in ((2.5, "low"), (97.5, "high")):
        expected = np.percentile([STATISTICS["spearman"](a[d], b[d]) for d in draws], p)
        check(f"the {end} end of an interval", abs(ours[end] - expected) < 0.05, f"{ours[end]}, numpy {expected}")


def check_svg(path, titles):
    text = path.read_text()
    xml.fromstring(text)
    check(f"{path.name} names every criterion", all(f">{t}<" in text for t in titles))



# ---- the jobs ----

def full(work, files):
    out = work / "a"
    said = run("correlate", *files, "-images", 48, "-minibatch", 16, "-role", "valid", "-criteria", CRITERIA, "-rounds", 300, "-out", out, says="units that span layers alone").stdout
    t, found = table(f"{out}.csv"), json.loads(Path(f"{out}.json").read_text())
    check("columns", list(t) == ["layer", "channel", "unit", "span", "oracle", "loss_without", *COLUMNS], list(t))
    check("units of both kinds", (t["span"] == 1).sum() > 50 and (t["span"] > 1).sum() > 20)
    check("obd-gn alone is signed", [e["criterion"] for e in found["criteria"] if e["signed"]] == ["obd-gn"])
    check("where the images came from", found["scored"]["role"] == "valid" and found["scored"]["images"] == 48 == found["oracle"]["images"])
    check_coefficients("table", t, found)
    check_interval(t, found)
    check_svg(Path(f"{out}.svg"), COLUMNS + ["mean over layers"])
    check_svg(Path(f"{out}-scatter.svg"), COLUMNS)
    spearman = next(e for e in found["criteria"] if e["criterion"] == "taylor-fo")["all"]["all_layers"]["spearman"]["value"]
    check("the terminal shows it too", re.search(rf"^taylor-fo .*\b{spearman:.3f}\b", said, re.M) is not None)
    base = found["oracle"]["loss"]
    check("the oracle is the squared change", np.allclose(t["oracle"], (t["loss_without"] - base) ** 2, rtol=1e-9, atol=1e-18))
    for i in (0, len(t["unit"]) // 2, len(t["unit"]) - 1):
        path = work / "shut.json"
        run("evaluate", *files, "-images", 48, "-shut", f"{t['layer'][i]:.0f}:{t['channel'][i]:.0f}", "-json", path)
        loss = json.loads(path.read_text())["loss"]
        check("loss without a unit, as evaluate sees it", abs(loss - t["loss_without"][i]) < 1e-4 * loss, f"{loss} {t['loss_without'][i]}")
    listed = work / "valid.list"
    listed.write_text("\n".join((work / "c/valid.txt").read_text().split()) + "\n")
    run("score", *files, "-list", listed, "-images", 48, "-minibatch", 16, "-criterion", "taylor-fo,taylor-fg,magnitude", "-csv", work / "s.csv")
    scores = table(work / "s.csv")
    at = {(l, c): i for i, (l, c) in enumerate(zip(scores["layer"], scores["channel"]))}
    index = [at[l, c] for l, c in zip(t["layer"], t["channel"])]
    for name in ("taylor-fo", "taylor-fg", "magnitude"):
        check(f"{name} is what score gives", np.allclose(scores[name][index], t[name], rtol=1e-6))
    check("gates in front of batch-norm score otherwise", not np.allclose(t["taylor-fo"], t["taylor-fo@before-bn"], rtol=1e-2))
    return t, found


def again(work, files, t, found):
    run("correlate", "-replot", work / "a.csv", "-rounds", 300, "-out", work / "b")
    back = json.loads((work / "b.json").read_text())
    check("a table read again gives the same coefficients", back["criteria"] == found["criteria"])
    check("and the same table", (work / "a.csv").read_bytes() == (work / "b.csv").read_bytes())
    check("and the same charts", (work / "a.svg").read_bytes() == (work / "b.svg").read_bytes())
    run("correlate", *files, "-oracle", work / "a.csv", "-criteria", "magnitude,random", "-units", 60, "-rounds", 0, "-out", work / "sample", says="60 in ")
    s, small = table(work / "sample.csv"), json.loads((work / "sample.json").read_text())
    check_coefficients("sample", s, {"criteria": [{**e, **{k: clear(e[k]) for k in SETS}} for e in small["criteria"]]})
    check("a sample has the size asked for", len(s["unit"]) == 60)
    check("three units of each layer", all((s["layer"] == l).sum() >= 3 for l in np.unique(t["layer"])))
    where = [list(t["unit"]).index(u) for u in s["unit"]]
    check("an oracle that is read is the one that was written", (t["oracle"][where] == s["oracle"]).all() and (t["loss_without"][where] == s["loss_without"]).all())
    run("correlate", *files, "-images", 32, "-role", "valid", "-oracle-role", "train", "-criteria", "taylor-fo", "-units", 40, "-rounds", 0, "-out", work / "other")
    other = json.loads((work / "other.json").read_text())
    check("the oracle on other images", other["scored"]["role"] == "valid" and other["oracle"]["role"] == "train" and other["scored"]["loss"] != other["oracle"]["loss"])


def stopped(work, files):
    """Ctrl-C once the first sums are on disk; the same command goes on, to the same bits."""
    job = ["correlate", *files, "-images", 128, "-criteria", "magnitude", "-rounds", 0, "-out"]
    run(*job, work / "whole")
    state = work / "cut.state"
    done = subprocess.Popen([DARKNET, "prune", *map(str, job), str(work / "cut")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while done.poll() is None and not state.exists():
        time.sleep(0.002)
    done.send_signal(signal.SIGINT)
    said = done.communicate()[1]
    check("Ctrl-C stops the oracle and says how to go on", done.returncode == 1 and "the same command continues" in said, said[-300:])
    kept = re.search(rb"\nimages (\d+)\n", state.read_bytes()) if state.exists() else None
    check("sums of some images are kept", kept and 0 < int(kept[1]) < 128, kept)
    run("correlate", *files, "-images", 127, "-criteria", "magnitude", "-out", work / "cut", code=1, says="is the state of another command or of files that have changed")
    run(*job, work / "cut", says="continues")
    check("a run that was stopped ends with the same bits", (work / "whole.csv").read_bytes() == (work / "cut.csv").read_bytes())
    check("a finished oracle leaves no state", not state.exists())


def clear(entry):
    """Without rounds there are no intervals: checked here, and taken out of the way of the common check."""
    for kind in ("per_layer", "all_layers"):
        for c in entry[kind].values():
            check("no rounds, no intervals", c["low"] is None and c["high"] is None)
            c.update(low=-1, high=1)
    return entry


def rank_boxes(work, files):
    run("score", *files, "-images", 32, "-out", work / "scores.json")
    run("correlate", files[1], work / "scores.json", files[1], work / "scores.json", "-ranks", "-out", work / "r", says="3 quarters")
    units = [u for u in json.loads((work / "scores.json").read_text())["units"]]
    protected = {int(c["unit"]) for c in csv.DictReader(open(work / "s.csv")) if c["protected"] == "1"}
    units = [u for u in units if u["unit"] not in protected]
    layer, rank = np.array([u["layer"] for u in units]), ranks(np.array([u["score"] for u in units]))
    rank = (rank - 1) / (len(rank) - 1)
    boxes = table(work / "r.csv")
    check("a box per layer and file", list(boxes["layer"]) == 2 * [float(l) for l in np.unique(layer)] and set(boxes["scores"]) == {1, 2})
    for i, l in enumerate(boxes["layer"]):
        expected = np.percentile(rank[layer == l], [0, 25, 50, 75, 100])
        found = [boxes[k][i] for k in ("lowest", "quarter", "median", "three_quarters", "highest")]
        check(f"ranks of layer {l:.0f}", np.allclose(found, expected, atol=1e-12) and boxes["units"][i] == (layer == l).sum(), f"{found} {expected}")
    check_svg(work / "r.svg", ["before", "after"])


def mistakes(work, files):
    for says, arguments in {
        "no output is given": [*files],
        "3 needed: <data> <cfg> <weights>": [files[1], "-out", work / "x"],
        "a place is one of after-bn": [*files, "-out", work / "x", "-criteria", "taylor-fo@behind"],
        "'magnitude' has no choice of gates": [*files, "-out", work / "x", "-criteria", "magnitude@before-bn"],
        "'all@before-bn': name the criteria": [*files, "-out", work / "x", "-criteria", "all@before-bn"],
        "unknown criterion 'tailor-fo' (did you mean 'taylor-fo'?)": [*files, "-out", work / "x", "-criteria", "tailor-fo"],
        "'sideways' is not one of train, valid": [*files, "-out", work / "x", "-role", "sideways"],
        "names a file that is done": [*files, "-out", work / "x", "-oracle", work / "a.csv", "-oracle-role", "train"],
        "is an input and would be overwritten": ["-replot", work / "a.csv", "-out", work / "a"],
        "-replot needs its CSV alone": [files[1], "-replot", work / "a.csv", "-out", work / "x"],
        "-ranks needs <cfg> <scores.json>": [files[1], "-ranks", "-out", work / "x"],
        "each is a job of its own": ["-ranks", "-replot", work / "a.csv", "-out", work / "x"],
    }.items():
        run("correlate", *arguments, code=2, says=says)
    wrong = work / "wrong.csv"
    wrong.write_text("layer,channel,oracle\n0,0,1\n0,9999,2\n")
    run("correlate", *files, "-oracle", wrong, "-criteria", "magnitude", "-out", work / "x", code=1, says="row 2: layer 0 channel 9999 is no unit of this network")
    run("correlate", "-replot", wrong, "-out", work / "x", code=1, says="has no column of scores")
    run("correlate", "-replot", work / "gone.csv", "-out", work / "x", code=1, says="gone.csv")
    run("correlate", files[1], work / "a.csv", "-ranks", "-out", work / "x", code=1, says="not JSON")
    check("nothing is left of what failed", not list(work.glob("x*")))


def main():
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        work = Path(name)
        subprocess.run([RENDER, "classify", work / "c", "-images", "256", "-valid", "64", "-seed", "3"], check=True, stdout=subprocess.DEVNULL)
        cfg = (ROOT / "cfg/resnet-shapes.cfg").read_text()
        for key, value in {"max_batches": 40, "batch": 16, "burn_in": 1, "learning_rate": 0.02}.items():
            cfg = re.sub(rf"^{key}=.*$", f"{key}={value}", cfg, flags=re.M)
        (work / "net.cfg").write_text(cfg)
        subprocess.run([DARKNET, "classifier", "train", work / "c/shapes.data", work / "net.cfg", "-seed", "1"], check=True, capture_output=True)
        files = [work / "c/shapes.data", work / "net.cfg", work / "c/backup/net_final.weights"]
        t, found = full(work, files)
        again(work, files, t, found)
        stopped(work, files)
        rank_boxes(work, files)
        mistakes(work, files)
    print(f"{results[0]} passed, {results[1]} failed")
    return results[1] != 0 or results[0] < 200


if __name__ == "__main__":
    sys.exit(main())
