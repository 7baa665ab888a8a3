#!/usr/bin/env python3
"""The table of docs/equality.md: every cfg of the darknet package, of cfg/ and of cfg/styles/.
At the cfg's own input size: layers, units, protected channels with reasons, and what `apply -criterion random -macs 0.5` leaves of parameters and BFLOPs
(of zeros: a random mask asks no weights). Then the same mask on random calibrated weights, large nets at a reduced input size: original cfg + masked
weights against the pruned pair at the inputs of the heads, max|a-b| / max|a|, in every executor that reads the cfg; and a mask that keeps everything gives
byte-identical files. A cfg that cannot be pruned says why.

usage: cfg_table.py [--all] [--write FILE] [cfg ...]     (default: a fast subset of the darknet package and cfg/)
  --write FILE   replaces the table at the end of FILE, from the line that starts with '| cfg '
environment: PRUNE_BIN = the darknet executable under test, PRUNE_BUILD = the build folder"""
import argparse
import collections
import glob
import json
import os
import re
import shutil
import struct
import sys
import tempfile
import time

import numpy as np

import equality
import executors

TOLERANCE = 1e-4
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
PACKAGE = "/usr/share/darknet/cfg"
FAST = ["darknet", "tiny", "resnet18", "yolov3-tiny", "yolov1-tiny", "writing", "rnn"]
SMALL, SIZES = 128, (64, 96, 128, 224)
RECURRENT = ("rnn", "lstm", "gru", "crnn", "conv_lstm")
SCRATCH = "/dev/shm" if os.path.isdir("/dev/shm") else None


def set_option(text, section, key, value):
    """Replaces key=... inside every section of that name."""
    parts = re.split(r"(?m)^(?=\[)", text)
    for i, part in enumerate(parts):
        if part.startswith(section):
            parts[i] = re.sub(r"(?m)^(\s*%s\s*=\s*)[0-9]+" % key, r"\g<1>%d" % value, part)
    return "".join(parts)


def shrink_input(cfg, folder):
    """A copy of the cfg at the smallest input size that every layer stands; the cfg itself when it is small."""
    with open(cfg, encoding="latin-1", newline="") as f:
        text = f.read()
    path = os.path.join(folder, os.path.basename(cfg))
    width = int(dict(executors.sections_of(cfg)[0][1]).get("width", 0))
    for size in SIZES:
        small = text
        if width > max(size, SMALL):
            small = set_option(set_option(small, "[net]", "width", size), "[net]", "height", size)
            small = set_option(set_option(small, "[crop]", "crop_width", size - 8), "[crop]", "crop_height", size - 8)
        with open(path, "w", encoding="latin-1", newline="") as f:
            f.write(small)
        if equality.prune("inspect", path, fails=True) is None and min(min(l["output"]) for l in equality.inspect(path)["layers"]) > 0:
            return path
    shutil.copy(cfg, path)
    return path


def protections(facts):
    """"30 read by a yolo head, 7 network input": channels by reason, without the numbers of layers."""
    counts = collections.Counter()
    for unit in facts["units"]:
        if unit["protected"]:
            reason = re.sub(r" \(layer \d+\)| at layer \d+|^layer \d+ ", lambda m: "its layer " if m.group().startswith("layer") else "", unit["protected"])
            counts[re.sub(r"layers? [\d, ]+(?=cannot)", "", reason)] += len(unit["members"])
    for layer in facts["layers"]:
        if layer["kind"] in RECURRENT:
            counts["made by a recurrent layer"] += layer["output"][2]
    return ", ".join("%d %s" % (n, reason) for reason, n in counts.most_common()) or "none"


def parameters(before, after=None):
    unit, name, digits = (1e6, "M", 2) if before >= 1e6 else (1e3, "k", 1)
    return " -> ".join("%.*f" % (digits, n / unit) for n in (before, after) if n is not None) + " " + name


def write_zeros(path, facts):
    """A weights file of the cfg's size whose values are all 0; takes no room on the disk."""
    with open(path, "wb") as f:
        f.write(struct.pack("<iiiq", 0, 2, 5, 0))
        f.truncate(20 + round(facts["megabytes"] * 1e6))


def apply_half(cfg, weights, folder):
    """Prunes to half the multiply-adds or the smallest reachable; returns why not, or None."""
    command = ("apply", cfg, weights, "-criterion", "random", "-seed", 3, "-out", folder, "-verify", 0)
    message = equality.prune(*command, "-macs", 0.5, fails=True)
    if message:
        least = equality.smallest_reachable(message)
        if least is None or least >= 1:
            return message
        equality.prune(*command, "-macs", min(1, least + 1e-3))
    return None


def prove(path, mask, folder, row):
    """Fills the executors' cells for the cfg at its reduced size."""
    weights = os.path.join(folder, "random.weights")
    executors.random_weights(path, weights)
    with open(mask, encoding="utf-8") as f:
        text = json.load(f)
    text["cfg"]["hash"], text["weights"] = equality.inspect(path)["cfg_hash"], None
    with open(mask, "w", encoding="utf-8") as f:
        json.dump(text, f)
    equality.prune("apply", path, weights, "-mask", mask, "-out", folder, "-masked", 1, "-verify", 0)
    small_cfg, small, masked, _ = equality.pair_paths(folder, path)
    width, height, channels = equality.inspect(path)["layers"][0]["input"]
    row["size"] = "%dx%d" % (width, height)
    x = np.random.default_rng(7).random((channels, height, width), dtype=np.float32)
    found = {"interpreter": executors.in_interpreter(path, masked, small_cfg, small), "host": executors.in_host(path, masked, small_cfg, small),
             "opencv": executors.in_opencv(path, masked, small_cfg, small, x, executors.ends_in_interpreter(path, masked, x))}
    by_numpy = executors.in_numpy(path, weights, folder, x.astype(np.float64 if os.path.getsize(weights) < 32e6 else np.float32))
    found["numpy"], found["gates"] = by_numpy if isinstance(by_numpy, tuple) else (by_numpy, by_numpy)
    same = equality.keep_all_is_identical(path, weights, folder)
    numbers = [v for v in found.values() if isinstance(v, float)]
    row.update({k: v if isinstance(v, str) else "%.1e" % v for k, v in found.items()}, keep="identical" if same else "DIFFERS", worst="%.1e" % max(numbers))
    row["failed"] = not same or not max(numbers) <= TOLERANCE      # NaN fails


def check(cfg, folder):
    """One row of the table: dict of texts and `failed`."""
    row = dict({k: "-" for k, _ in COLUMNS}, cfg=os.path.relpath(cfg, ROOT) if cfg.startswith(ROOT) else os.path.basename(cfg), failed=False)
    refused = equality.prune("inspect", cfg, fails=True)
    if refused:
        return dict(row, protected="refused: " + refused, failed=True)
    facts = equality.inspect(cfg)
    row.update(layers="%d" % len(facts["layers"]), protected=protections(facts), units="%d of %d" % (facts["removable_units"], len(facts["units"])),
               parameters=parameters(facts["parameters"]), bflops="%.3g" % facts["bflops"])
    zeros, full = os.path.join(folder, "zeros.weights"), os.path.join(folder, "full")
    write_zeros(zeros, facts)
    message = "every channel stays" if not facts["removable_units"] else apply_half(cfg, zeros, full)
    os.remove(zeros)
    if message:
        return dict(row, worst="cannot be pruned: " + message, failed=message != "every channel stays", **{k: "nothing removed" for k, _ in COLUMNS[-7:]})
    after = equality.inspect(equality.pair_paths(full, cfg)[0])
    row["parameters"] = parameters(facts["parameters"], after["parameters"])
    row["bflops"] = "%.3g -> %.3g" % (facts["bflops"], after["bflops"])
    mask = os.path.join(folder, "mask.json")
    shutil.copy(equality.pair_paths(full, cfg)[3], mask)
    shutil.rmtree(full)
    prove(shrink_input(cfg, folder), mask, folder, row)
    return row


COLUMNS = (("cfg", "cfg"), ("layers", "layers"), ("units", "units that can go"), ("protected", "channels that stay"), ("parameters", "parameters"), ("bflops", "BFLOPs"),
           ("worst", "largest difference"), ("size", "run at"), ("interpreter", "interpreter"), ("host", "our executable"), ("opencv", "OpenCV"), ("numpy", "numpy"),
           ("gates", "numpy, gates shut"), ("keep", "keep-all"))


def markdown(rows):
    lines = [[title for _, title in COLUMNS], ["---"] * len(COLUMNS)] + [[r[k] for k, _ in COLUMNS] for r in rows]
    return "".join("| %s |\n" % " | ".join(cell.replace("|", "/") for cell in line) for line in lines)


def write_table(path, rows):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    with open(path, "w", encoding="utf-8") as f:
        f.write(text[:text.index("| cfg |")] + markdown(rows))


def main(arguments=None, counts=None):
    """counts: gets (passed, failed) appended when given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true", help="every cfg of the darknet package, of cfg/ and of cfg/styles/")
    parser.add_argument("--write", help="put the table at the end of this file")
    parser.add_argument("cfgs", nargs="*")
    args = parser.parse_args(arguments)
    package, ours, styles = (sorted(glob.glob(os.path.join(d, "*.cfg"))) for d in (PACKAGE, os.path.join(ROOT, "cfg"), os.path.join(ROOT, "cfg", "styles")))
    if not package:
        print("skip: no cfgs in %s" % PACKAGE)
    cfgs = args.cfgs or (package + ours + styles if args.all else [c for c in package if os.path.splitext(os.path.basename(c))[0] in FAST] + ours)
    rows, failed = [], 0
    for cfg in cfgs:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
            try:
                row = check(cfg, folder)
            except Exception as e:      # one cfg must not hide the others
                row = dict({k: "-" for k, _ in COLUMNS}, cfg=os.path.basename(cfg), protected="%s: %s" % (type(e).__name__, e), failed=True)
        rows.append(row)
        failed += row["failed"]
        print("%s %s (%.1f s)" % ("FAIL" if row["failed"] else "ok  ", " | ".join(row[k] for k, _ in COLUMNS), time.monotonic() - started), flush=True)
    if args.write:
        write_table(args.write, rows)
    if counts is not None:
        counts.extend((len(rows) - failed, failed))
    else:
        print("%d passed, %d failed" % (len(rows) - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
