#!/usr/bin/python3
"""Compares a score CSV of `darknet prune score -csv` with recorded reference scores, unit by unit.

usage: compare_reference.py SCORES.csv REFERENCE.csv

Both have columns layer, channel and one column per criterion; the names that both have (taylor-fo = taylor_fo, ...) are
compared: the worst relative difference over units whose reference value is not tiny (above 1e-4 of the column's largest), and
Spearman's correlation of each column with the reference's oracle column, per kind. Exit 1 when a worst difference is above 1e-3.
"""
import csv
import sys

import numpy as np

NAMES = {"magnitude": "magnitude_l2"}


def ranks(x):
    order = np.argsort(x, kind="stable")
    r = np.empty(len(x))
    r[order] = np.arange(len(x))
    for v in np.unique(x):
        same = x == v
        r[same] = r[same].mean()
    return r


def spearman(a, b):
    return np.corrcoef(ranks(a), ranks(b))[0, 1]


def main(scores_path, reference_path):
    reference = list(csv.DictReader(open(reference_path)))
    scores = {(int(r["layer"]), int(r["channel"])): r for r in csv.DictReader(open(scores_path))}
    blocks = {int(r["layer"]) for r in reference if r["layer"] != "all"}

    def find(row):
        """Reference rows name a layer, or "all" for channel j of a residual stream: ours is then listed under its first member."""
        channel = int(row["channel"])
        if row["layer"] != "all":
            return scores.get((int(row["layer"]), channel))
        layers = [layer for layer, c in scores if c == channel and layer > 0 and layer not in blocks]
        return scores[min(layers), channel] if layers else None

    ours = [find(r) for r in reference]
    if None in ours:
        print(f"{ours.count(None)} of {len(reference)} reference units are not in {scores_path}: first {reference[ours.index(None)]}")
        return 1
    kinds = np.array([r["kind"] for r in reference])
    oracle = np.array([float(r["oracle"]) for r in reference])
    bad = False
    for name in ours[0]:
        column = NAMES.get(name, name.replace("-", "_"))
        if name in ("layer", "channel", "kind", "unit") or column not in reference[0]:
            continue
        a = np.array([float(r[name]) for r in ours])
        b = np.array([float(r[column]) for r in reference])
        big = np.abs(b) > 1e-4 * np.abs(b).max()
        relative = np.abs(a - b) / np.abs(b)
        worst = np.argmax(np.where(big, relative, 0))
        bad |= relative[worst] > 1e-3
        cells = " ".join(f"{k} {spearman(a[m], oracle[m]):.3f}" for k, m in
                         (("block", kinds == "block"), ("stream", kinds == "stream"), ("all", kinds != "")))
        r = reference[worst]
        print(f"{name:12s} worst relative difference {relative[worst]:.2e} at layer {r['layer']} channel {r['channel']} "
              f"({big.sum()} of {len(b)} units not tiny; median {np.median(relative[big]):.1e}); Spearman with the oracle: {cells}")
    return int(bad)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2]))
