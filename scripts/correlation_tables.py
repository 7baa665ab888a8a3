#!/usr/bin/python3
"""The tables of docs/results.md, section 11, from the JSON files of `darknet prune correlate`.

usage: correlation_tables.py NAME=FILE.json[,FILE.json...] [NAME=...]        of several files of one name the later ones replace rows

One table: a row per criterion, a column per file with Pearson / Spearman / Kendall over all units and all layers, then Spearman averaged over layers; criteria in
the order of the last file's Spearman. A second table: Spearman with its interval over units within one layer, spanning units, and all.
"""
import json
import sys


def number(x):
    return "-" if x is None else f"{x:.3f}".replace("0.", ".", 1)


def interval(x):
    return "-" if x["value"] is None else f"{number(x['value'])} [{number(x['low'])}, {number(x['high'])}]"


def main(pairs):
    parts = [(p.split("=", 1)[0], [json.load(open(path)) for path in p.split("=", 1)[1].split(",")]) for p in pairs]
    files = [(name, several[0]) for name, several in parts]
    tables = [(name, {c["criterion"]: c for f in several for c in f["criteria"]}) for name, several in parts]
    names = sorted({c for _, t in tables for c in t}, key=lambda c: -max((t[c]["all"]["all_layers"]["spearman"]["value"] or -1) for _, t in tables if c in t))
    for name, f in files:
        c = next(iter(f["criteria"]))
        print(f"{name}: {c['all']['units']} units ({c['one-layer']['units']} within one layer) in {c['all']['layers']} layers, scored on {f['scored']['images']} images (loss {f['scored']['loss']:.4g}), "
              f"oracle on {f['oracle']['images']} (loss {f['oracle']['loss']:.4g})")
    print("\n| criterion | " + " | ".join(f"{n}: Pearson / Spearman / Kendall, per layer" for n, _ in tables) + " |\n|---" + "|---" * len(tables) + "|")
    for c in names:
        cells = []
        for _, t in tables:
            if c not in t:
                cells.append("")
                continue
            a = t[c]["all"]
            cells.append(" / ".join(number(a["all_layers"][k]["value"]) for k in ("pearson", "spearman", "kendall")) + ", " + number(a["per_layer"]["spearman"]["value"]))
        print(f"| `{c}` | " + " | ".join(cells) + " |")
    print("\n| criterion | " + " | ".join(f"{n}: within one layer; spanning; all" for n, _ in tables) + " |\n|---" + "|---" * len(tables) + "|")
    for c in names:
        cells = ["; ".join(interval(t[c][k]["all_layers"]["spearman"]) for k in ("one-layer", "spanning", "all")) if c in t else "" for _, t in tables]
        print(f"| `{c}` | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(sys.argv[1:])
