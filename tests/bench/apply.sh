#!/usr/bin/env bash
# `apply` on yolov3.cfg (248 MB of weights): peak memory at most 300 MB, wall time at most 3 times copying the file. The result is verified
# for its size before it is timed; median of five.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

bin=${BIN:-bin} work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
/usr/bin/python3 - "$bin/darknet" "$work" <<'PYTHON'
import os, resource, shutil, statistics, subprocess, sys, time
import numpy as np

darknet, work = sys.argv[1:]
cfg, weights = "/usr/share/darknet/cfg/yolov3.cfg", os.path.join(work, "yolov3.weights")
with open(weights, "wb") as f:   # the published file's header and size
    np.array([0, 2, 0], np.int32).tofile(f)
    np.array([32013312], np.int64).tofile(f)
    random = np.random.default_rng(1)
    for _ in range(62):
        random.standard_normal(1000000, np.float32).__abs__().tofile(f)
    random.standard_normal(1757, np.float32).tofile(f)
    f.flush()
    os.fsync(f.fileno())
assert os.path.getsize(weights) == 248007048


def copy():
    with open(weights, "rb") as a, open(os.path.join(work, "copy"), "wb") as b:
        shutil.copyfileobj(a, b, 1 << 20)
        b.flush()
        os.fsync(b.fileno())


def apply():
    subprocess.run([darknet, "prune", "apply", cfg, weights, "-criterion", "magnitude", "-macs", "0.5", "-out", os.path.join(work, "out")],
                   check=True, stdout=subprocess.DEVNULL)


def median(job):
    times = []
    for _ in range(5):
        start = time.monotonic()
        job()
        times.append(time.monotonic() - start)
    return statistics.median(times)


apply()
size = os.path.getsize(os.path.join(work, "out", "yolov3-pruned.weights"))
assert 0 < size < 248007048
copying, applying = median(copy), median(apply)
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print("apply yolov3.cfg -macs 0.5: 248.0 MB -> %.1f MB; %.2f s, copying %.2f s (%.1f times); peak %.0f MB" % (size / 1e6, applying, copying, applying / copying, peak))
sys.exit(0 if peak <= 300 and applying <= 3 * copying else "bench: over the limit of 300 MB or 3 copies")
PYTHON
