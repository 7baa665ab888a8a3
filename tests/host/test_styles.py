#!/usr/bin/env python3
"""Every cfg of cfg/styles/, proved: random calibrated weights, the network cut in many ways, and for each cut
  original cfg + masked weights = pruned pair, at the inputs of the heads: in the reference interpreter (double: 1e-9), in our executable (1e-4) and in
  OpenCV (1e-3) where they read the cfg; only values of filters=, output=, groups= and group_id= differ between the two cfgs; the option that was asked for holds
  (kept counts are multiples, minima are kept); a target out of reach names the smallest, which is in reach.
One cut asks nothing of our selection: a mask of every second channel, made here from `inspect -json` alone (ties, balances, protections).
By default each cfg gets the first cut, three more in turn, and the mask that keeps everything; STYLES=all: every cut. STYLES=name,...: these cfgs, every cut.
environment: PRUNE_BIN, PRUNE_BUILD, STYLES"""
import collections
import glob
import json
import os
import re
import sys
import tempfile
import time

try:
    import cv2  # noqa: F401  (only to skip where it is missing)
    import numpy as np
except ImportError:
    print("skip: python3-opencv is not installed")
    sys.exit(77)

import cfg_table
import equality
import executors

# float32 through a hundred random layers ends 2.5e-4 apart in OpenCV (logistic heads of yolov4-csp-like); a wrong channel is 0.1 and more
LIMITS = {"interpreter": 1e-9, "host": 1e-4, "opencv": 1e-3}
FOLDER = os.path.join(cfg_table.ROOT, "cfg", "styles")
MAY_CHANGE = re.compile(r"^(\s*(filters|output|groups|group_id)\s*=\s*)(\d+)(\s*)$")
COUNTED = {"convolutional": "filters", "deconvolutional": "filters", "local": "filters", "implicit": "filters", "connected": "output"}

Cut = collections.namedtuple("Cut", "name options target multiple least")
RANDOM = ("-criterion", "random", "-seed", 3)
CUTS = [Cut("half at random", RANDOM, .5, 1, 1),
        Cut("magnitude", ("-criterion", "magnitude"), .5, 1, 1),
        Cut("bn-scale", ("-criterion", "bn-scale"), .5, 1, 1),
        Cut("multiple 8", RANDOM + ("-multiple", 8), .5, 8, 1),
        Cut("per layer", RANDOM + ("-per-layer",), .5, 1, 1),
        Cut("min-keep 4", RANDOM + ("-min-keep", 4), .3, 1, 4),
        Cut("one hundredth", RANDOM, .01, 1, 1),
        Cut("99 hundredths", RANDOM, .99, 1, 1)]


class Style:
    """A cfg with its weights and what `inspect` says of it, in a folder of its own."""
    def __init__(self, cfg, folder):
        self.cfg, self.folder, self.facts = cfg, folder, equality.inspect(cfg)
        self.weights = os.path.join(folder, "random.weights")
        executors.random_weights(cfg, self.weights)
        self.small_cfg, self.small, self.masked, _ = equality.pair_paths(folder, cfg)
        self.worst = collections.Counter()
        self.host = self.opencv = None      # why they do not read the cfg

    def counts(self, path):
        """{layer: channels it makes} as the text of a cfg says."""
        layers = [s for s in executors.sections_of(path)[1:] if s[0] != "gate"]
        return {i: int(options[COUNTED[kind]]) for i, (kind, options) in enumerate(layers) if kind in COUNTED and COUNTED[kind] in options}

    def apply(self, *options, fails=False):
        return equality.prune("apply", self.cfg, self.weights, *options, "-out", self.folder, "-masked", 1, "-verify", 0, fails=fails)


def check_text(style):
    """Line by line, only numbers of channels and groups differ. Returns how many."""
    with open(style.cfg, "rb") as f, open(style.small_cfg, "rb") as g:
        a, b = (t.read().decode("latin-1").split("\n") for t in (f, g))
    assert len(a) == len(b), "the cfg has %d lines, the pruned one %d" % (len(a), len(b))
    changed = [(x, y) for x, y in zip(a, b) if x != y]
    for x, y in changed:
        old, new = MAY_CHANGE.match(x), MAY_CHANGE.match(y)
        assert old and new and old.group(1, 4) == new.group(1, 4) and int(new.group(3)) < int(old.group(3)), "%r became %r" % (x, y)
    return len(changed)


def check_equal(style, in_opencv):
    pair = (style.cfg, style.masked, style.small_cfg, style.small)
    found = {"interpreter": executors.in_interpreter(*pair)}
    if not style.host:
        found["host"] = executors.in_host(*pair)
    if in_opencv and not style.opencv:
        width, height, channels = style.facts["layers"][0]["input"]
        x = np.random.default_rng(7).random((channels, height, width), dtype=np.float32)
        found["opencv"] = executors.in_opencv(*pair, x, executors.ends_in_interpreter(*pair[:2], x))
    for name, value in found.items():
        if isinstance(value, str):
            setattr(style, name, value)
        else:
            assert value <= LIMITS[name], "%s: masked and pruned differ by %.1e" % (name, value)
            style.worst[name] = max(style.worst[name], value)


def check_cut(style, cut, in_opencv):
    """Whether anything was removed."""
    message = style.apply(*cut.options, "-macs", cut.target, fails=True)
    if message:
        least = equality.smallest_reachable(message)
        assert least is not None, message
        if least >= 1:
            return False
        style.apply(*cut.options, "-macs", min(1, least + 1e-3))
    before, after = style.counts(style.cfg), style.counts(style.small_cfg)
    assert before.keys() == after.keys()
    for layer, n in after.items():
        assert n == before[layer] or n % cut.multiple == 0, "layer %d keeps %d of %d channels" % (layer, n, before[layer])
        assert n >= min(cut.least, before[layer]), "layer %d keeps %d of %d channels" % (layer, n, before[layer])
    assert check_text(style) > 0, "no line of the cfg changed"
    check_equal(style, in_opencv)
    if cut is CUTS[0]:      # the comparison has teeth: the weights that are not masked give other outputs
        other = executors.in_interpreter(style.cfg, style.weights, style.small_cfg, style.small)
        assert other > 1e-3, "the interpreter sees no difference between the network and its half: %.1e" % other
    return True


def write_mask(style, path, removed):
    """removed: numbers of units."""
    channels = collections.defaultdict(list)
    for u in removed:
        for layer, channel in style.facts["units"][u]["members"]:
            channels[layer].append(channel)
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"format": "darknet-prune-mask", "version": 1, "cfg": {"file": style.cfg, "hash": style.facts["cfg_hash"]}, "weights": None, "kind": "unit",
                   "removed": [{"layer": l, "channels": sorted(c)} for l, c in sorted(channels.items())], "kept": []}, f)


def parts_of(balance):
    size = len(balance["units"]) // balance["parts"]
    return [balance["units"][i:i + size] for i in range(0, len(balance["units"]), size)]


def every_second(style):
    """Units whose first channel has an odd number, less those that must stay: protected ones, more of one balanced part than of another, a layer's last."""
    removed = {u["unit"] for u in style.facts["units"] if u["members"][0][1] % 2 and not u["protected"]}
    layers = collections.defaultdict(set)
    for u in style.facts["units"]:
        for layer, _ in u["members"]:
            layers[layer].add(u["unit"])
    settled = False
    while not settled:
        settled = True
        for balance in style.facts["balances"]:
            gone = [[u for u in part if u in removed] for part in parts_of(balance)]
            few = min(map(len, gone))
            extra = {u for part in gone for u in part[few:]}
            settled = settled and not extra
            removed -= extra
        for units in layers.values():
            if units <= removed:
                removed.discard(min(units))
                settled = False
    return removed


def check_every_second(style, in_opencv):
    mask = os.path.join(style.folder, "second.json")
    removed = every_second(style)
    if not removed:
        return False
    write_mask(style, mask, removed)
    style.apply("-mask", mask)
    check_text(style)
    check_equal(style, in_opencv)
    return True


def check_whole_groups(style, in_opencv):
    """One part of every balance of a layer goes as a whole, where one is free to go: groups= is rewritten. The first four such layers."""
    done = 0
    for layer in sorted({b["layer"] for b in style.facts["balances"]})[:4]:
        balances = [parts_of(b) for b in style.facts["balances"] if b["layer"] == layer]
        for part in range(2):
            removed = {u for parts in balances for u in parts[part]}
            if any(style.facts["units"][u]["protected"] for u in removed):
                continue
            mask = os.path.join(style.folder, "groups.json")
            write_mask(style, mask, removed)
            message = style.apply("-mask", mask, fails=True)
            if message:
                assert re.search(NOT_WHOLE, message), message
                continue
            old, new = (executors.sections_of(path)[1 + layer][1]["groups"] for path in (style.cfg, style.small_cfg))
            assert int(new) == int(old) - 1, "groups=%s of layer %d became %s" % (old, layer, new)
            check_text(style)
            check_equal(style, in_opencv)
            done += 1
            break
    return done > 0


def check_keep_all(style, _):
    assert equality.keep_all_is_identical(style.cfg, style.weights, style.folder), "a mask that keeps everything changes a file"
    return True


# other groups share the units, or the part is all that a reader has
NOT_WHOLE = r"groups must lose equally many|removes every channel"
OTHERS = [("every second channel", check_every_second), ("whole groups", check_whole_groups), ("keep all", check_keep_all)]


def cases_of(number, everything):
    """[(name, function of (style, in_opencv))]"""
    cuts = [(c.name, lambda s, o, c=c: check_cut(s, c, o)) for c in CUTS] + OTHERS
    if everything:
        return cuts
    return [cuts[0], cuts[-1]] + [cuts[1 + (3 * number + k) % (len(cuts) - 2)] for k in range(3)]


def main():
    chosen = os.environ.get("STYLES", "")
    cfgs = sorted(glob.glob(os.path.join(FOLDER, "*.cfg")))
    passed = failed = pruned = 0
    for number, cfg in enumerate(cfgs):
        name, started = os.path.basename(cfg), time.monotonic()
        if chosen not in ("", "all") and os.path.splitext(name)[0] not in chosen.split(","):
            continue
        with tempfile.TemporaryDirectory(dir=cfg_table.SCRATCH) as folder:
            try:
                style = Style(cfg, folder)
                cases = cases_of(number, chosen)
            except Exception as e:
                failed += 1
                print("FAIL %s: %s: %s" % (name, type(e).__name__, e))
                continue
            idle = []
            for title, case in cases:
                try:
                    removed = case(style, chosen or title == CUTS[0].name)
                    passed += 1
                    pruned += removed
                    idle += [] if removed else [title]
                except Exception as e:      # one case must not hide the others
                    failed += 1
                    print("FAIL %s, %s: %s: %s" % (name, title, type(e).__name__, e))
            print("%s: %s%s%s (%.1f s)" % (name, ", ".join("%s %.1e" % w for w in style.worst.items()), "; nothing to remove: " + ", ".join(idle) if idle else "",
                                          "".join("; %s: %s" % (n, w) for n, w in (("host", style.host), ("opencv", style.opencv)) if w), time.monotonic() - started), flush=True)
    print("%d cuts of %d cfgs removed something" % (pruned, len(cfgs)))
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
