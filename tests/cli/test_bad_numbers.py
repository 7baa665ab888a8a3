#!/usr/bin/python3
"""Numbers that are none, or far too large, in every option of every example cfg: inspect accepts or refuses, in one sentence with file and line, and never
takes NaN or an infinity for a number. One run per section, key and value; each section and key once. Ends with "N passed, N failed"."""
import os, re, subprocess, sys, tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DARKNET = os.path.realpath(os.environ.get("PRUNE_BIN", ROOT / "bin/darknet"))
VALUES = ["nan", "inf", "-inf", "-1", "1e39", "2147483648", "-2147483649", "99999999999999999999", "0x10", "1,,2"]
# Text to the program: what the host does with it is no number's business.
TEXT = re.compile(r"policy|activation|lstm_activation|type|map|tree|labels|weights_type|weights_normalization|nms_kind|iou_loss|iou_thresh_kind|optimized_memory|try_fix_nan")
# Unknown to this program, or read by another Darknet's training alone: carried along as text.
CARRIED = re.compile(r"contrastive|track|augment_speed|ema_alpha|adversarial_lr|my own key")
passed, failed, runs = 0, 0, 0


def main():
    global passed, failed, runs
    seen, accepted = set(), {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as work:
        for path in sorted([*ROOT.glob("tests/golden/good/*.cfg"), *ROOT.glob("cfg/**/*.cfg")]):
            lines = path.read_bytes().decode().splitlines()
            section = ""
            for i, line in enumerate(lines):
                text = line.split("#")[0].strip()
                if text.startswith("["):
                    section = text
                key = text.split("=")[0].strip()
                if "=" not in text or text.startswith(";") or (section, key) in seen:
                    continue
                seen.add((section, key))
                wrong = []
                for value in VALUES:
                    cfg = Path(work, "bad.cfg")
                    cfg.write_text("\n".join(lines[:i] + [f"{key}={value}"] + lines[i + 1:]) + "\n")
                    done = subprocess.run([DARKNET, "prune", "inspect", str(cfg)], capture_output=True, text=True, timeout=60)
                    runs += 1
                    if done.returncode not in (0, 1):
                        wrong.append(f"{value}: exit {done.returncode}")
                    elif done.returncode == 1 and not re.fullmatch(r"darknet prune inspect: .*bad\.cfg.*\n", done.stderr):
                        wrong.append(f"{value}: says '{done.stderr}'")
                    elif done.returncode == 0 and value in ("nan", "inf", "-inf"):
                        accepted.setdefault(key, section)
                        if not TEXT.fullmatch(key) and not (section.strip('[ ]') == 'net' and CARRIED.fullmatch(key)):
                            wrong.append(f"{value} is accepted")
                passed, failed = passed + (not wrong), failed + bool(wrong)
                if wrong:
                    print(f"FAIL {section} {key} ({path.name}): {'; '.join(wrong)}")
    print(f"{runs} runs over {len(seen)} options; text where a number could stand: {', '.join(sorted(accepted)) or 'none'}")
    print(f"{passed} passed, {failed} failed")
    return failed != 0 or passed < 100


if __name__ == "__main__":
    sys.exit(main())
