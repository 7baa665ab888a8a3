#!/usr/bin/python3
"""The mask of a curve's first units: what `darknet prune curve` had removed at some step, for `evaluate -mask` or `apply -mask`.

usage: curve_mask.py CURVE.json INSPECT.json CRITERION REMOVED > mask.json
  INSPECT.json: `darknet prune inspect net.cfg net.weights -json`, of the same pair
"""
import json
import sys


def main(curve, inspect, criterion, removed):
    net = json.load(open(inspect))
    order = next(c["order"] for c in json.load(open(curve))["curves"] if c["criterion"] == criterion)
    members = {u["unit"]: u["members"] for u in net["units"]}
    gone = {}
    for unit in order[:int(removed)]:
        for layer, channel in members[unit]:
            gone.setdefault(layer, []).append(channel)
    json.dump({"format": "darknet-prune-mask", "version": 1, "cfg": {"file": net["cfg"], "hash": net["cfg_hash"]},
               "weights": {"file": net["weights"], "hash": net["weights_hash"]}, "kind": "unit",
               "removed": [{"layer": layer, "channels": sorted(c)} for layer, c in sorted(gone.items())], "kept": []}, sys.stdout)


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
