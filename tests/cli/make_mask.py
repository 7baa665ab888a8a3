"""python3 make_mask.py inspect.json mask.json: a legal mask from what `darknet prune inspect net.cfg net.weights -json` prints: every second removable unit, dearest multiply-adds first."""
import json
import sys

net = json.load(open(sys.argv[1]))
balanced = {u for b in net["balances"] for u in b["units"]}
free = [u for u in net["units"] if not u["protected"] and u["unit"] not in balanced]
width = {l["layer"]: l["output"][2] for l in net["layers"]}
gone = {}
for unit in sorted(free, key=lambda u: -u["macs"])[::2]:
    taken = {}
    for layer, channel in unit["members"]:
        taken.setdefault(layer, []).append(channel)
    if all(len(gone.get(l, [])) + len(c) < width[l] for l, c in taken.items()):  # no layer loses its last channel
        for layer, channels in taken.items():
            gone.setdefault(layer, []).extend(channels)
weights = {"file": net["weights"], "hash": net["weights_hash"]} if "weights" in net else None
mask = {"format": "darknet-prune-mask", "version": 1, "cfg": {"file": net["cfg"], "hash": net["cfg_hash"]}, "weights": weights, "kind": "unit",
        "removed": [{"layer": l, "channels": sorted(c)} for l, c in sorted(gone.items())], "kept": []}
json.dump(mask, open(sys.argv[2], "w"))
