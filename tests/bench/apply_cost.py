#!/usr/bin/python3
"""What `apply` costs, against a loop that reads all bytes of the old weights once, writes as many as the new file has, and syncs them: same machine, same
minute, in turns, each in a process of its own (its start counts), onto names that do not exist yet. Before anything is timed the
rewritten chains are compared, byte for byte, with slices that numpy makes by the mask file's lists; yolov3's pair must read back.
Limits: 1.3 times the loop (median over the rounds), peak resident memory beside the mapped file of 32 MB and the largest layer.
  apply_cost.py [ROUNDS (7)]     environment: BIN; TMPDIR needs 4 GB. Status 1: over a limit, or wrong bytes."""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

TIMES, MEGABYTES = 1.3, 32
HEADER = np.array([0, 2, 0, 5, 0], np.int32).tobytes()
HALF, SCATTERED = ["-criterion", "magnitude", "-macs", "0.5"], ["-criterion", "random", "-units", "0.5"]


class WrongBytes(Exception):
    pass


def conv_chain(layers, filters):
    """(cfg, [(outputs, inputs, values per pair, vectors before the weights)])"""
    cfg, shape, c = "[net]\nbatch=1\nwidth=32\nheight=32\nchannels=3\n", [], 3
    for _ in range(layers):
        cfg += "[convolutional]\nbatch_normalize=1\nfilters=%d\nsize=3\nstride=1\npad=1\nactivation=leaky\n" % filters
        shape.append((filters, c, 9, 4))
        c = filters
    return cfg + "[convolutional]\nfilters=10\nsize=1\nactivation=linear\n[avgpool]\n[softmax]\n", shape + [(10, c, 1, 1)]


def connected_chain(inputs, *outputs):
    cfg, shape = "[net]\nbatch=1\ninputs=%d\n" % inputs, []
    for i, n in enumerate(outputs):
        cfg += "[connected]\noutput=%d\nactivation=%s\n" % (n, "relu" if i + 1 < len(outputs) else "linear")
        shape.append((n, inputs, 1, 1))
        inputs = n
    return cfg + "[softmax]\n", shape


def write_weights(path, count):
    block = np.abs(np.random.default_rng(1).standard_normal(1 << 22, np.float32))
    with open(path, "wb") as f:
        f.write(HEADER)
        while count:
            n = min(count, block.size)
            block[:n].tofile(f)
            count -= n
        f.flush()
        os.fsync(f.fileno())


def expect_chain(weights, shape, mask, written):
    """The file that the mask's lists of kept channels give, compared layer by layer."""
    old, new = np.memmap(weights, np.float32, "r", len(HEADER)), np.memmap(written, np.float32, "r", len(HEADER))
    with open(mask) as f:
        kept = {l["layer"]: np.array(l["channels"], int) for l in json.load(f)["kept"]}
    at = to = 0
    inputs = np.arange(shape[0][1])
    for layer, (n, c, area, vectors) in enumerate(shape):
        outputs = kept.get(layer, np.arange(n))
        parts = [old[at + v * n:at + (v + 1) * n][outputs] for v in range(vectors)]
        at += vectors * n
        parts.append(old[at:at + n * c * area].reshape(n, c, area)[outputs][:, inputs].ravel())
        at += n * c * area
        for p in parts:
            if not np.array_equal(p, new[to:to + p.size]):
                raise WrongBytes("layer %d of '%s' is not the slice of the original" % (layer, written))
            to += p.size
        inputs = outputs
    if to != new.size:
        raise WrongBytes("'%s' has %d values, not %d" % (written, new.size, to))


def copy(old, new, size):
    """Reads all of old, writes size bytes."""
    block = bytearray(1 << 20)
    with open(old, "rb", 0) as a, open(new, "wb", 0) as b:
        while n := a.readinto(block):
            n = min(n, size)
            if n:
                b.write(memoryview(block)[:n])
            size -= n
        os.fsync(b.fileno())


def forked(function, *arguments):
    pid = os.fork()
    if pid:
        return pid
    try:
        function(*arguments)
        os._exit(0)
    finally:
        os._exit(1)


def timed(start, what):
    """Seconds, and seconds of the processor, of a process."""
    begun = time.monotonic()
    _, status, usage = os.wait4(start(), 0)
    seconds = time.monotonic() - begun
    if status:
        raise WrongBytes(what + " failed")
    return seconds, usage.ru_utime + usage.ru_stime


def resident(smaps, beside):
    """Kilobytes of the mappings of other files, and of no file."""
    total, counts = 0, False
    for line in smaps:
        if "-" in line.split(" ", 1)[0]:
            counts = not line.rstrip().endswith(beside)
        elif counts and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


def remove(*paths):
    for p in paths:
        if os.path.exists(p):
            os.unlink(p)


class Case:
    def __init__(self, name, darknet, cfg, weights, how, folder, shape=None):
        self.name, self.darknet, self.cfg, self.weights, self.how, self.shape = name, darknet, cfg, weights, how, shape
        base = os.path.join(folder, os.path.basename(cfg)[:-len(".cfg")])
        self.folder, self.copied, self.mask = folder, base + ".copy", base + "-given.mask.json"
        self.outputs = [base + "-pruned" + e for e in (".weights", ".cfg", ".mask.json")]
        if how == ["-mask"]:
            self.how = ["-mask", self.mask]

    def start(self):
        return subprocess.Popen([self.darknet, "prune", "apply", self.cfg, self.weights, "-verify", "0", "-out", self.folder] + self.how, stdout=subprocess.DEVNULL)

    def apply(self):
        remove(*self.outputs)
        return timed(lambda: self.start().pid, "apply on " + self.name)

    def peak_memory(self):
        """Megabytes resident beside the mapped weights, asked every millisecond."""
        process, peak = self.start(), 0
        while process.poll() is None:
            try:
                with open("/proc/%d/smaps" % process.pid) as f:
                    peak = max(peak, resident(f, self.weights))
            except OSError:
                pass
            time.sleep(0.001)
        return peak / 1000

    def loop(self):
        remove(self.copied)
        return timed(lambda: forked(copy, self.weights, self.copied, self.size), "the loop on " + self.name)

    def check(self):
        if self.shape:
            expect_chain(self.weights, self.shape, self.outputs[2], self.outputs[0])
        else:
            subprocess.run([self.darknet, "prune", "inspect", self.outputs[1], self.outputs[0]], check=True, stdout=subprocess.DEVNULL)
        self.size = os.path.getsize(self.outputs[0])
        if self.size >= os.path.getsize(self.weights):
            raise WrongBytes(self.name + ": nothing was removed")

    def measure(self, rounds):
        about = json.loads(subprocess.run([self.darknet, "prune", "inspect", self.cfg, "-json"], check=True, stdout=subprocess.PIPE).stdout)
        self.largest = max(l.get("parameters", 0) for l in about["layers"]) * 4e-6
        self.apply()
        self.check()
        os.replace(self.outputs[2], self.mask)   # for the case that reads a mask
        self.loop()
        runs = [(self.apply(), self.loop()) if i % 2 else (self.loop(), self.apply())[::-1] for i in range(rounds)]
        self.ratios, self.peak = [a[0] / c[0] for a, c in runs], self.peak_memory()
        self.seconds, self.loops = (statistics.median(v) for v in zip(*((a[0], c[0]) for a, c in runs)))
        self.processor = statistics.median(a[1] / c[1] for a, c in runs)
        self.ratio = statistics.median(self.ratios)
        remove(self.copied, *self.outputs)
        return self

    def text(self):
        return "%-44s %6.0f -> %5.0f MB  apply %.3f s, loop %.3f s, ratio %.2f (%.2f..%.2f), of processor time %.2f  peak %.1f MB, largest layer %.0f MB" % (
            self.name, os.path.getsize(self.weights) / 1e6, self.size / 1e6, self.seconds, self.loops, self.ratio, min(self.ratios), max(self.ratios),
            self.processor, self.peak, self.largest)

    def within(self):
        return self.ratio <= TIMES and self.peak <= MEGABYTES + self.largest


def cases(darknet, folder):
    def made(name, chain):
        cfg, shape = chain
        paths = [os.path.join(folder, name + e) for e in (".cfg", ".weights")]
        with open(paths[0], "w") as f:
            f.write(cfg)
        write_weights(paths[1], sum(n * v + n * c * a for n, c, a, v in shape))
        return darknet, *paths, shape
    yolo, weights = "/usr/share/darknet/cfg/yolov3.cfg", os.path.join(folder, "yolov3.weights")
    write_weights(weights, (248007048 - len(HEADER)) // 4)
    for name, how in (("yolov3, magnitude to half the multiply-adds", HALF), ("yolov3, the same by its mask", ["-mask"]), ("yolov3, half the channels, scattered", SCATTERED)):
        yield Case(name, darknet, yolo, weights, how, folder)
    remove(weights)
    for name, chain in (("28 convolutions of 1024 filters", conv_chain(28, 1024)), ("one connected layer 8192 x 16384", connected_chain(64, 16384, 8192, 10))):
        darknet, cfg, weights, shape = made("chain", chain)
        for how in (HALF, SCATTERED):
            yield Case(name + (", magnitude" if how is HALF else ", scattered"), darknet, cfg, weights, how, folder, shape)
        remove(weights)


def measure(darknet, rounds):
    """Yields the measured cases."""
    with tempfile.TemporaryDirectory() as folder:
        for case in cases(darknet, folder):
            yield case.measure(rounds)


def main():
    failed = False
    for case in measure(os.path.join(os.environ.get("BIN", "bin"), "darknet"), int(sys.argv[1]) if len(sys.argv) > 1 else 7):
        print(case.text() + ("" if case.within() else "  OVER THE LIMIT"), flush=True)
        failed |= not case.within()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
