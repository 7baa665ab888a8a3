#!/usr/bin/python3
"""make bench: what this machine does with ours, the stock library, PyTorch and OpenCV, alternating step by step in one session, results compared before
anything is timed. Prints tables and writes BUILD/bench.json: {key: number or {median, min, max}}, ratios of steps of the same round.
  bench.py [PATTERN ...]   rows to measure: a row's name, the start of one up to a slash, or one part (train/resnet20, hook, resnet56); default all.
                           With patterns the numbers go to BUILD/bench-part.json. -list names the rows.
Environment: BUILD, BIN, PRUNE_DATA, BENCH_THREADS (2), BENCH_ROUNDS (9). What is missing (PyTorch, OpenCV, data) is said and skipped.
Status 1: results that should agree do not, a program failed, or `apply` went over its limits."""
import json
import os
import subprocess
import sys
import time

import report
import rows
from measure import BenchError


def selected(name, patterns):
    return not patterns or any(name == p or name.startswith(p + "/") or p in name.split("/") for p in patterns)


def measure_all(bench, patterns):
    failures = 0
    for name, row in rows.all_rows():
        if not selected(name, patterns):
            continue
        started = time.monotonic()
        try:
            row(bench, name)
            print("bench: %s (%.0f s)" % (name, time.monotonic() - started), file=sys.stderr, flush=True)
        except rows.Skip as e:
            bench.note("SKIPPED %s: %s" % (name, e))
        except (BenchError, subprocess.CalledProcessError) as e:
            failures += 1
            bench.note("FAILED %s: %s" % (name, e))
    return failures


def main():
    patterns = sys.argv[1:]
    if patterns == ["-list"]:
        print("\n".join(name for name, _ in rows.all_rows()))
        return 0
    build = os.environ.get("BUILD", "build")
    bench = rows.Bench(build, os.environ.get("BIN", "bin"), int(os.environ.get("BENCH_THREADS", 2)), int(os.environ.get("BENCH_ROUNDS", 9)))
    about = report.machine(bench)
    failures = measure_all(bench, patterns)
    print(report.text(bench, about))
    path = os.path.join(build, "bench-part.json" if patterns else "bench.json")
    with open(path, "w") as f:
        json.dump(bench.numbers, f, indent=1, sort_keys=True)
        f.write("\n")
    print("\nnumbers: %s" % path)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
