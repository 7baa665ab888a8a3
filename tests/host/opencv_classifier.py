#!/usr/bin/python3
"""Compares a classifier's predictions, image by image, with those of OpenCV's DNN module, which reads the same cfg and weights and shares no code with us.
  opencv_classifier.py CFG WEIGHTS PREDICTIONS [-limit N]
PREDICTIONS is what `darknet prune evaluate -predictions` wrote: image, class, predicted class, probability. Images must have the network's size.
Lists every image on which the two disagree and prints "images N ours X opencv Y differ D worst P" (top-1 of each, largest difference of the probability
that both give to our prediction); status 1 when more than 2 images differ."""
import sys

import cv2
import numpy as np

BATCH = 100


def main():
    words = sys.argv[1:]
    limit = int(words.pop(words.index('-limit') + 1)) if '-limit' in words else None
    words = [w for w in words if w != '-limit']
    if len(words) != 3:
        sys.exit(__doc__)
    cv2.setNumThreads(2)
    net = cv2.dnn.readNetFromDarknet(words[0], words[1])
    with open(words[2]) as f:
        next(f)
        rows = [line.rstrip('\n').split('\t') for line in f][:limit]
    ours = theirs = differ = 0
    worst = 0.
    for start in range(0, len(rows), BATCH):
        part = rows[start:start + BATCH]
        images = [cv2.imread(row[0], cv2.IMREAD_COLOR)[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) / 255 for row in part]
        net.setInput(np.ascontiguousarray(np.stack(images)))
        scores = net.forward().reshape(len(part), -1)
        for (path, truth, predicted, probability), row in zip(part, scores):
            other = int(np.argmax(row))
            ours += int(predicted) == int(truth)
            theirs += other == int(truth)
            worst = max(worst, abs(float(row[int(predicted)]) - float(probability)))
            if other != int(predicted):
                differ += 1
                print('%s: class %s, ours %s (%s), opencv %d (%.9g)' % (path, truth, predicted, probability, other, row[other]))
    print('images %d ours %.2f%% opencv %.2f%% differ %d worst %.2g' % (len(rows), 100 * ours / len(rows), 100 * theirs / len(rows), differ, worst))
    return differ > 2


if __name__ == '__main__':
    sys.exit(main())
