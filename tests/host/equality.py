"""Shared by the equality tests: calling the program, the gates of a mask, and one comparison of a masked with a rewritten network."""
import json
import os
import re
import subprocess

import numpy as np

import darknet_numpy

PROGRAM = os.environ.get("PRUNE_BIN", os.path.join(os.path.dirname(__file__), "..", "..", "bin", "darknet"))


def prune(*arguments, fails=False):
    """Runs `darknet prune ...`; returns its output, or (fails=True) the message of a refusal or None."""
    # one BLAS thread: these calls multiply nothing, and starting a pool for each costs more than the work
    done = subprocess.run([PROGRAM, "prune", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False,
                          env=dict(os.environ, OPENBLAS_NUM_THREADS="1"))
    if fails:
        return done.stderr.strip() if done.returncode == 1 else None
    assert done.returncode == 0, "prune %s: exit %d: %s" % (" ".join(map(str, arguments)), done.returncode, done.stderr.strip())
    return done.stdout


def inspect(cfg):
    return json.loads(prune("inspect", cfg, "-json"))


def smallest_reachable(message):
    found = re.search(r"smallest reachable is ([0-9.]+)", message or "")
    return float(found.group(1)) if found else None


def gates_of(facts, mask_path):
    """{(layer, place): z} that shuts the gates of the units a mask removes."""
    with open(mask_path, encoding="utf-8") as f:
        mask = json.load(f)
    gone = {(e["layer"], c) for e in mask["removed"] for c in e["channels"]}
    channels = {l["layer"]: l["output"][2] for l in facts["layers"]}
    gates = {}
    for unit in facts["units"]:
        if tuple(unit["members"][0]) not in gone:
            continue
        for site in unit["gates"]:
            gates.setdefault((site["layer"], site["place"]), np.ones(channels[site["layer"]], np.float64))[site["channel"]] = 0
    return gates


def outputs_of(net_cfg, weights, x, gates=None):
    net = darknet_numpy.Net(net_cfg, x.dtype.type)
    net.read(weights)
    return net, net.forward(x, gates)


def pair_paths(folder, cfg):
    base = os.path.splitext(os.path.basename(cfg))[0].replace(".", "_")
    return tuple(os.path.join(folder, base + e) for e in ("-pruned.cfg", "-pruned.weights", "-masked.weights", "-pruned.mask.json"))


def compare_in_numpy(cfg, weights, folder, x):
    """Differences of (masked weights, shut gates) against the rewritten pair on the images x; and the outputs with masked weights."""
    small_cfg, small, masked, mask = pair_paths(folder, cfg)
    facts = inspect(cfg)
    net, a = outputs_of(cfg, masked, x)
    little, b = outputs_of(small_cfg, small, x)
    heads = net.head_inputs()
    assert heads == little.head_inputs()
    _, g = outputs_of(cfg, weights, x, gates_of(facts, mask))
    return darknet_numpy.difference(a, b, heads), darknet_numpy.difference(g, b, heads), a


def verify(cfg, masked, small_cfg, small):
    """The difference in our executable, on one random image; or the message of its refusal. Networks that differ fail."""
    command = [PROGRAM, "prune", "verify", cfg, masked, small_cfg, small, "-random", "1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, env=dict(os.environ, OPENBLAS_NUM_THREADS="1"))
    found = re.search(r"max\|a\| = ([0-9.e+-]+|inf|nan)", done.stdout + done.stderr)
    return float(found.group(1)) if found else done.stderr.strip().replace("darknet prune verify: ", "")


def compare_in_host(cfg, folder):
    small_cfg, small, masked, _ = pair_paths(folder, cfg)
    return verify(cfg, masked, small_cfg, small)


def empty_mask(cfg, path):
    with open(path, "w", encoding="utf-8") as f:
        json.dump({"format": "darknet-prune-mask", "version": 1, "cfg": {"file": cfg, "hash": inspect(cfg)["cfg_hash"]}, "weights": None, "kind": "unit",
                   "removed": [], "kept": []}, f)


def same_bytes(a, b):
    with open(a, "rb") as f, open(b, "rb") as g:
        while True:
            x, y = f.read(1 << 22), g.read(1 << 22)
            if x != y:
                return False
            if not x:
                return True


def keep_all_is_identical(cfg, weights, folder):
    """A mask that keeps everything writes both files byte for byte."""
    mask = os.path.join(folder, "keep-all.json")
    empty_mask(cfg, mask)
    prune("apply", cfg, weights, "-mask", mask, "-out", folder, "-masked", 1, "-verify", 0)
    small_cfg, small, masked, _ = pair_paths(folder, cfg)
    return same_bytes(cfg, small_cfg) and same_bytes(weights, small) and same_bytes(weights, masked)
