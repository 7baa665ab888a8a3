"""Worker processes, alternation and statistics of make bench. A worker (worker.h) computes only while it is asked, so several networks and frameworks live
side by side and take turns: what disturbs the machine disturbs all of them."""
import json
import os
import statistics
import subprocess
import time

import numpy as np

SHORT = 0.05   # seconds: of shorter steps, so many as fill this are one sample, the least of them
PAUSE = 0.03   # seconds between two steps: threads of the library that just ran may still spin


class BenchError(Exception):
    """A row cannot be measured; says why."""


class Worker:
    def __init__(self, name, command, log):
        self.name, self.log = name, log
        with open(log, "w") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.about = self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            with open(self.log, errors="replace") as f:
                tail = f.read()[-300:].strip().replace("\n", " / ")
            raise BenchError("%s ended (status %s): %s" % (self.name, self.process.wait(), tail))
        return json.loads(line)

    def ask(self, command):
        try:
            self.process.stdin.write(command + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self.answer()

    def seconds(self, command="step", repeats=1):
        """Of one step, the least of `repeats`."""
        time.sleep(PAUSE)
        answers = [self.ask(command) for _ in range(repeats)]
        if not all(np.isfinite(a.get("loss", 0)) for a in answers):
            raise BenchError("the loss of %s is not finite: its steps are not those of a training" % self.name)
        return min(a["seconds"] for a in answers)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Workers(dict):
    """By name; closed together."""

    def start(self, name, command, folder):
        self[name] = Worker(name, command, os.path.join(folder, name.replace("/", "-") + ".log"))
        return self[name]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for w in self.values():
            w.close()


def alternate(workers, rounds, seconds, least=5):
    """{name: [seconds of round 0, 1, ...]} of workers {name: Worker}: all do one step per round, another one first each time; the first round is not
    counted. Ends after `rounds`, or when `seconds` have passed and `least` are done. Of two layouts of PyTorch the one that is behind by half after three
    rounds drops out."""
    quickest = min(w.seconds() for w in workers.values())
    repeats = max(1, min(8, int(SHORT / quickest)))
    times, names, start = {n: [] for n in workers}, list(workers), time.monotonic()
    for i in range(rounds):
        if i >= least and time.monotonic() - start > seconds:
            break
        for name in names[i % len(names):] + names[:i % len(names)]:
            times[name].append(workers[name].seconds(repeats=repeats))
        layouts = [n for n in names if n.startswith("pytorch-")]
        if i == 2 and len(layouts) == 2:
            slow = max(layouts, key=lambda n: min(times[n]))
            if min(times[slow]) > 1.5 * min(min(times[n]) for n in layouts):
                names.remove(slow)
    return times


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratios(a, b):
    """a / b, round by round; a single b (too slow to repeat) stands for all rounds."""
    if len(b) == 1:
        return [x / b[0] for x in a]
    return [x / y for x, y in zip(a, b)]


def best_layout(times):
    """The name of PyTorch's quicker layout (one that dropped out is not), None without PyTorch."""
    layouts = [n for n in times if n.startswith("pytorch-")]
    return min(layouts, key=lambda n: (-len(times[n]), statistics.median(times[n]))) if layouts else None


def median_interval(values, resamples=10000, seed=1):
    """95% bootstrap interval of the median."""
    values = np.asarray(values, float)
    draws = np.random.default_rng(seed).integers(0, len(values), (resamples, len(values)))
    low, high = np.percentile(np.median(values[draws], axis=1), [2.5, 97.5])
    return float(low), float(high)


def apart(a, b):
    """Relative difference; infinite for what is not finite."""
    if not (np.isfinite(a) and np.isfinite(b)):
        return float("inf")
    return abs(a - b) / max(abs(a), abs(b), 1e-30)


def largest_difference(a, b):
    """Of two arrays, in units of the largest value."""
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))
