#!/usr/bin/python3
"""Evaluation agrees with OpenCV's DNN module: class by class on the first CIFAR-10 test images, mAP and boxes on the first images of coco416.
The same scripts run on the whole sets for docs/results.md; here on as many as a test run has time for."""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:])
        raise AssertionError('%s: exit %d' % (' '.join(command), done.returncode))
    return done.stdout


def numbers(text, pattern):
    found = re.search(pattern, text)
    assert found, text[-1000:]
    return [float(v) for v in found.groups()]


def classifier(data, scratch, name, images):
    pair = [os.path.join(data, 'weights/resnet-cifar10', name + end) for end in ('.cfg', '.weights')]
    predictions = os.path.join(scratch, name + '.tsv')
    run(os.environ['PRUNE_BIN'], 'prune', 'evaluate', os.path.join(data, 'cifar10/cifar10.data'), *pair, '-images', str(images), '-predictions', predictions)
    text = run(sys.executable, os.path.join(HERE, 'opencv_classifier.py'), *pair, predictions)
    count, ours, theirs, differ, worst = numbers(text, r'images (\d+) ours ([\d.]+)% opencv ([\d.]+)% differ (\d+) worst (\S+)')
    assert count == images and differ == 0 and ours == theirs and ours > 90 and worst < 1e-3, text


def detector(data, scratch, images):
    words = [os.path.join(data, p) for p in ('coco416/coco416.data', 'weights/yolo-fastest/yolo-fastest-1.1.cfg', 'weights/yolo-fastest/yolo-fastest-1.1.weights')]
    predictions = os.path.join(scratch, 'boxes.tsv')
    text = run(os.environ['PRUNE_BIN'], 'prune', 'evaluate', *words, '-letterbox', '0', '-images', str(images), '-predictions', predictions)
    ours = numbers(text, r'mAP@0\.5 ([\d.]+)%, mAP@\[\.5:\.95\] ([\d.]+)%')
    script = [sys.executable, os.path.join(HERE, 'map_reference.py'), *words, '-limit', str(images)]
    again = numbers(run(*script, '-predictions', predictions), r'map50 (\S+) map (\S+)')
    assert all(abs(100 * a - b) < .006 for a, b in zip(again, ours)), (again, ours)   # the same boxes, another program
    text = run(*script, '-against', predictions)
    theirs = numbers(text, r'map50 (\S+) map (\S+)')
    assert all(abs(100 * a - b) < 1 for a, b in zip(theirs, ours)), (theirs, ours)
    strong, missing, worst = numbers(text, r'above 0.05: (\d+), missing: (\d+), largest difference of scores: (\S+)')
    assert strong > 20 * images / 2 and missing < .02 * strong and worst < .06, text


def bootstrap(data, scratch):
    script = [sys.executable, os.path.join(HERE, '../../scripts/bootstrap_map.py'), os.path.join(data, 'coco416/coco416.data')]
    full = os.path.join(scratch, 'boxes.tsv')
    worse = os.path.join(scratch, 'worse.tsv')
    with open(full) as source, open(worse, 'w') as target:   # every fourth box lost
        target.writelines(line for k, line in enumerate(source) if k == 0 or k % 4)
    pattern = r'before ([\d.]+)%  after ([\d.]+)%  difference (\S+) points  95% interval (\S+) \.\. (\S+)  worse in ([\d.]+)%'
    same = numbers(run(*script, full, full, '-resamples', '50'), pattern)
    assert same[0] == same[1] and same[2:] == [0, 0, 0, 0], same
    lost = numbers(run(*script, full, worse, '-resamples', '50'), pattern)
    assert lost[3] < lost[2] < lost[4] < 0 and lost[5] == 100, lost


def main():
    data = os.environ.get('PRUNE_DATA')
    if not data:
        print('skip: PRUNE_DATA is unset, no evaluation is compared with OpenCV')
        return 77
    with tempfile.TemporaryDirectory() as scratch:
        passed = failed = 0
        for name, check in (('resnet20', lambda: classifier(data, scratch, 'resnet20', 1000)), ('resnet56', lambda: classifier(data, scratch, 'resnet56', 300)),
                            ('yolo-fastest', lambda: detector(data, scratch, 60)), ('bootstrap', lambda: bootstrap(data, scratch))):
            try:
                check()
                passed += 1
            except AssertionError as error:
                print('FAIL %s: %s' % (name, error))
                failed += 1
    print('%d passed, %d failed' % (passed, failed))
    return failed > 0


if __name__ == '__main__':
    sys.exit(main())
