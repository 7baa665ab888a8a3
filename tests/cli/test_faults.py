#!/usr/bin/python3
"""Faults while files are written: every call that can fail does, every moment to be killed comes, two programs write at once.

Four writers: apply (weights, mask, cfg that belong together), select, score, gate. Each runs with an old generation of its outputs in the folder,
so that both halves of the promise are seen: the old files stay whole, the new ones are whole, and a cfg is never beside another generation's weights.
fail_nth.c, preloaded, makes one call fail.
Prints "ok NAME" or "FAIL NAME: why", counts, then "N passed, N failed". FAULT_KILLS: random kills (200)."""
import hashlib, os, random, re, shutil, signal, subprocess, sys, tempfile, time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DARKNET = os.path.realpath(os.environ.get("PRUNE_BIN", ROOT / "bin/darknet"))
SAN = os.environ.get("SAN", "").split()
KILLS = int(os.environ.get("FAULT_KILLS", "200"))
work = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
passed = failed = 0
# ".F.new.7", ".F.old.7", ".F.tmp.7" and the temporary file of a staged one, "..F.new.7.tmp.7"
LEFTOVER = re.compile(r"\.+(.+?)\.(new|old|tmp)\.\d+(\.tmp\.\d+)?$")

NEEDED = {"files": set("open read mmap fstat write fsync close rename mkdir flock pthread_create".split()), "memory": {"malloc", "calloc", "realloc"}}


def report(name, why=""):
    global passed, failed
    passed, failed = passed + (not why), failed + bool(why)
    print(f"FAIL {name}: {why}" if why else f"ok {name}", flush=True)


def compile_shim():
    subprocess.run([os.environ.get("CC", "gcc"), "-std=c11", "-D_GNU_SOURCE", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", work / "fail.so", ROOT / "tests/cli/fail_nth.c", "-ldl"], check=True)


def make_net(name, filters):
    """A chain of 3x3 convolutions with random weights; returns (cfg, weights)."""
    layers = "".join(f"[convolutional]\nbatch_normalize=1\nfilters={n}\nsize=3\nstride=1\npad=1\nactivation=leaky\n\n" for n in filters)
    cfg, weights = work / f"{name}.cfg", work / f"{name}.weights"
    cfg.write_text(f"[net]\nbatch=1\nheight=8\nwidth=8\nchannels=3\n\n{layers}[avgpool]\n\n[softmax]\n")
    count, channels = 0, 3
    for n in filters:
        count, channels = count + 4 * n + 9 * n * channels, n
    rng = random.Random(name)
    one = b"".join(rng.choice(VALUES) for _ in range(1 << 14))   # positive: variances must be
    weights.write_bytes(bytes(4) + b"\2\0\0\0" + bytes(12) + (one * (count // (1 << 14) + 1))[: 4 * count])
    return cfg, weights


VALUES = [bytes([0, 0, b, 0x3F]) for b in range(1, 128)]


class Writer:
    """A verb, its arguments per generation (0, 1), and the names of its outputs in the order of importance (the last one vouches for the others)."""
    def __init__(self, name, inputs, outputs, command):
        self.name, self.inputs, self.outputs, self.command = name, inputs, outputs, command
        self.wanted = []
        for generation in (0, 1):
            folder = self.fresh(None)
            done = self.run(generation, folder)
            assert done.returncode == 0, done.stderr
            self.wanted.append({n: (folder / n).read_bytes() for n in outputs})
        assert all(self.wanted[0][n] != self.wanted[1][n] for n in outputs), "the generations are equal"
        self.hashes = self.hash_inputs()

    def hash_inputs(self):
        return [hashlib.sha256(p.read_bytes()).hexdigest() for p in self.inputs]

    def fresh(self, generation):
        folder = work / "out"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        if generation is not None:
            for n in self.outputs:
                (folder / n).write_bytes(self.wanted[generation][n])
        return folder

    def run(self, generation, folder, env=None, **more):
        return subprocess.run([DARKNET, "prune", *self.command(generation, folder)], capture_output=True, env={**os.environ, **(env or {})}, timeout=120, **more)

    def judge(self, folder, old, new, killed):
        """Why the folder is not as promised, or ''. old: generation that was there (None: nothing was), new: the one being written."""
        seen, kept = {}, set()
        for entry in sorted(os.listdir(folder)):
            left = LEFTOVER.match(entry)
            if left:
                if not killed:
                    return f"'{entry}' is left over"
                if left[1] not in self.outputs:
                    return f"'{entry}' does not say which file it was to be"
                if left[2] == "old" and old is not None and (folder / entry).read_bytes() == self.wanted[old][left[1]]:
                    kept.add(left[1])
                continue
            if entry not in self.outputs:
                return f"'{entry}' appeared"
            data = (folder / entry).read_bytes()
            owners = [g for g in (old, new) if g is not None and data == self.wanted[g][entry]]
            if not owners:
                return f"'{entry}' is neither the old nor the new file ({len(data)} bytes)"
            seen[entry] = owners[0]
        last = self.outputs[-1]
        if last in seen and any(seen.get(n) != seen[last] for n in self.outputs):
            return f"'{last}' is there, but of the others only {sorted(seen)} ({seen})"
        lost = [n for n in self.outputs if old is not None and n not in seen and n not in kept]
        whole = {seen.get(n) for n in self.outputs}
        if lost:
            return f"{lost} are lost"
        if not killed and whole not in ({old}, {new}):
            return f"files of several generations: {seen}"
        if self.hash_inputs() != self.hashes:
            return "an input was changed"
        return ""


def every_call(writer, what, how, killing):
    """The n-th call fails, n = 1, 2, ... until a run goes through without it; alternately from an empty folder and over old files."""
    survived, names, n = 0, set(), 0
    while True:
        n += 1
        fired = ""
        for old in (None, 0):
            folder = writer.fresh(old)
            reader, pipe = os.pipe()
            done = writer.run(1, folder, {"LD_PRELOAD": str(work / "fail.so"), "FAIL_WHAT": what, "FAIL_NTH": str(n), "FAIL_HOW": how, "FAIL_FD": str(pipe), "FAIL_FROM": str(writer.inputs[0])}, pass_fds=[pipe])
            os.close(pipe)
            fired_now = os.read(reader, 64).decode()
            os.close(reader)
            why = writer.judge(folder, old, 1, killing or "unlink" in fired_now)
            text = done.stderr.decode(errors="replace").strip()
            complete = all((folder / o).exists() and (folder / o).read_bytes() == writer.wanted[1][o] for o in writer.outputs)
            if fired_now and killing and done.returncode != -signal.SIGKILL:
                why = why or f"exit {done.returncode} where a kill was planned"
            elif (not killing or not fired_now) and done.returncode not in (0, 1):
                why = why or f"exit {done.returncode}: {text}"
            elif done.returncode == 0 and not complete:
                why = why or "success is claimed without the files"
            elif done.returncode == 1 and complete and "standard output" not in text:
                why = why or f"failed, but all is written: {text}"
            elif done.returncode == 1 and not re.match(rf"darknet prune {writer.name}: .{{10,}}$", text.splitlines()[-1] if text else ""):
                why = why or f"no clear message: '{text}'"
            if not why and killing:   # whatever the kill left, the next run succeeds
                again = writer.run(1, folder)
                why = writer.judge(folder, old, 1, writer.name != "apply") if again.returncode == 0 else again.stderr.decode()
            if why:
                return report(f"{writer.name}: call {n} ({fired_now or 'none'}) with '{how}', old files: {old is not None}", why)
            fired = fired or fired_now
            survived += bool(fired_now)
        names.add(fired)
        if not fired:
            break
    counts[how if what == "files" else "memory"] = counts.get(how if what == "files" else "memory", 0) + survived
    missing = NEEDED[what] - names if writer.name == "apply" else set()
    report(f"{writer.name}: each of {n - 1} {what} calls, {how}", f"only {survived} calls failed" if survived <= 20 else f"never failed: {missing}" if missing else "")


def changing_input(writer, how):
    """Behind the n-th call the weights are cut to nothing, or written to; n = 1, 2, ..."""
    weights, good, failures, n = writer.inputs[1], writer.inputs[1].read_bytes(), 0, 0
    while True:
        n += 1
        folder = writer.fresh(0)
        reader, pipe = os.pipe()
        done = writer.run(1, folder, {"LD_PRELOAD": str(work / "fail.so"), "FAIL_WHAT": "files", "FAIL_NTH": str(n), "FAIL_HOW": how, "FAIL_CUT": str(weights), "FAIL_FD": str(pipe), "FAIL_FROM": str(writer.inputs[0])}, pass_fds=[pipe])
        os.close(pipe)
        fired = os.read(reader, 64).decode()
        os.close(reader)
        weights.write_bytes(good)
        text = done.stderr.decode()
        why = writer.judge(folder, 0, 1, done.returncode != 0 and "became shorter" in text)
        if done.returncode not in (0, 1) or len(text.splitlines()) != done.returncode:
            why = why or f"exit {done.returncode}: {text}"
        if why:
            return report(f"{writer.name}: weights {how} behind call {n} ({fired})", why)
        if not fired:
            break
        failures += done.returncode
    counts[how] = n - 1
    report(f"{writer.name}: weights {how} behind each of {n - 1} calls ({failures} runs refused)", "" if failures > 5 else "never noticed")


def random_kills(writer, seed):
    """SIGKILL at random times of a run that writes megabytes. Then the next run, over whatever the kill left."""
    rng = random.Random(seed)
    folder = writer.fresh(None)
    started = time.monotonic()
    writer.run(0, folder)
    length = time.monotonic() - started
    killed, stages, present, spread = 0, {"nothing written": 0, "writing": 0, "between files": 0, "all in place": 0}, None, 1.1
    tries = 0
    folder = writer.fresh(None)
    while killed < KILLS and tries < 40 * KILLS:
        tries += 1
        new = 1 - present if present is not None else rng.randrange(2)
        process = subprocess.Popen([DARKNET, "prune", *writer.command(new, folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(rng.uniform(0, spread * length))
        process.kill()
        code = process.wait()
        why = writer.judge(folder, present, new, True)
        if why or code not in (0, -signal.SIGKILL):
            return report(f"{writer.name}: killed at a random time ({killed} kills)", why or f"exit {code}")
        left = [e for e in os.listdir(folder) if LEFTOVER.match(e)]
        done = all((folder / n).exists() and (folder / n).read_bytes() == writer.wanted[new][n] for n in writer.outputs)
        if code:
            killed += 1
            stages["all in place" if done else "nothing written" if not left else "writing" if len(left) == 1 else "between files"] += 1
        if rng.random() < 0.3:       # start afresh, or go on with the leftovers
            folder, present = writer.fresh(None), None
        else:
            present = new if done else present
            if any(not (folder / n).exists() for n in writer.outputs):
                again = writer.run(new, folder)
                why = again.stderr.decode() if again.returncode else writer.judge(folder, None, new, False)
                if why:
                    return report(f"{writer.name}: the run after a kill ({killed} kills)", why)
                present = new
    counts["random kills"] = killed
    print(f"   kills by what was there: {stages}")
    report(f"{writer.name}: {killed} kills at random times in {length * 1000:.0f} ms", "" if killed >= KILLS and stages["writing"] + stages["between files"] > KILLS // 20 else f"{killed} kills, {stages}")


def two_at_once(writer, rounds):
    """Two generations written into one folder at the same time: both succeed, the folder holds one of them, whole."""
    for i in range(rounds):
        folder = writer.fresh(None)
        both = [subprocess.Popen([DARKNET, "prune", *writer.command(g, folder)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for g in (i % 2, 1 - i % 2)]
        texts = [p.communicate(timeout=120)[1].decode() for p in both]
        why = "".join(texts) if any(p.returncode for p in both) else writer.judge(folder, 0, 1, False)
        if why:
            return report(f"{writer.name}: two at once, round {i}", why)
    report(f"{writer.name}: two at once into one folder, {rounds} times")


counts = {}


def main():
    compile_shim()
    cfg, weights = make_net("net", [16, 24, 8])
    thread_cfg, thread_weights = make_net("blocks", [96, 112, 64])   # weights of several blocks: the writer's thread takes part
    big_cfg, big_weights = make_net("big", [128, 256, 256])

    def apply(c, w):
        return lambda g, out: ["apply", c, w, "-criterion", "magnitude", "-units", ("0.7", "0.9")[g], "-verify", "0", "-out", out]
    pair = ["{}-pruned.weights", "{}-pruned.mask.json", "{}-pruned.cfg"]
    writers = [
        Writer("apply", [cfg, weights], [n.format("net") for n in pair], apply(cfg, weights)),
        Writer("score", [cfg, weights], ["s.json"], lambda g, out: ["score", cfg, weights, "-criterion", ("magnitude", "bn-scale")[g], "-out", out / "s.json"]),
    ]
    scores = work / "scores.json"
    scores.write_bytes(writers[1].wanted[0]["s.json"])
    other = work / "other.cfg"
    other.write_text(cfg.read_text() + "# another generation\n")
    writers += [
        Writer("select", [cfg, weights, scores], ["m.json"], lambda g, out: ["select", cfg, weights, "-scores", scores, "-units", ("0.9", "0.7")[g], "-out", out / "m.json"]),
        Writer("gate", [cfg, other], ["gated.cfg"], lambda g, out: ["gate", (other, cfg)[g], "-out", out / "gated.cfg"]),
    ]
    big = Writer("apply", [big_cfg, big_weights], [n.format("big") for n in pair], apply(big_cfg, big_weights))
    threaded = Writer("apply", [thread_cfg, thread_weights], [n.format("blocks") for n in pair], apply(thread_cfg, thread_weights))
    random_kills(big, 4)
    two_at_once(writers[0], 30)
    if SAN:
        print("skip: calls cannot be replaced under a sanitizer, which replaces them itself")
    else:
        for w in [threaded] + writers[1:]:
            for how in ("28", "5", "4", "short"):   # ENOSPC, EIO, EINTR, half of what was asked for
                every_call(w, "files", how, False)
            for how in ("kill", "killed"):
                every_call(w, "files", how, True)
        for w in writers:
            every_call(w, "memory", "12", False)
        changing_input(writers[0], "cut")
        changing_input(writers[0], "touch")
    print("faults survived: " + ", ".join(f"{k}: {v}" for k, v in sorted(counts.items())))
    print(f"{passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    try:
        code = main()
    finally:
        shutil.rmtree(work, ignore_errors=True)
    sys.exit(code)
