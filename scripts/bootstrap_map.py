#!/usr/bin/python3
"""How sure is a difference of mAP? Paired bootstrap over images: both detectors are scored on the same resampled images, many times.
  scripts/bootstrap_map.py DATA BEFORE AFTER [-list FILE] [-overlap 0.5|all] [-resamples 1000] [-seed 1]
DATA: Darknet data file (its valid list, or -list); labels are found beside the images as Darknet finds them.
BEFORE, AFTER: files that `darknet prune evaluate -predictions` wrote for those images. Several AFTER files joined by commas (seeds) are averaged.
Prints mAP of both, the difference AFTER - BEFORE in points, its 95% interval, and the share of resamples in which AFTER is worse."""
import sys

import numpy as np


def arguments():
    values = {'-list': '', '-overlap': '0.5', '-resamples': '1000', '-seed': '1'}
    words, rest = [], iter(sys.argv[1:])
    for word in rest:
        if word in values:
            values[word] = next(rest, '')
        else:
            words.append(word)
    if len(words) != 3:
        sys.exit(__doc__)
    return words, values


def image_list(data, override):
    if not override:
        with open(data) as f:
            for line in f:
                key, _, value = line.partition('=')
                if key.strip() == 'valid':
                    override = value.strip()
        if not override:
            sys.exit("no list of images: '%s' has no 'valid='; name one with -list" % data)
    with open(override) as f:
        return [line.strip() for line in f if line.strip()]


def truths_of(image):
    path = image
    for folder in ('images', 'JPEGImages', 'raw'):
        path = path.replace(folder, 'labels', 1)
    with open(path.rsplit('.', 1)[0] + '.txt') as f:
        return np.array([[float(v) for v in line.split()] for line in f if line.strip()]).reshape(-1, 5)


def read_boxes(path, images):
    """(n, 7): image ordinal, class, score, x, y, w, h."""
    ordinals = {image: k for k, image in enumerate(images)}
    rows = []
    with open(path) as f:
        if next(f, '').split('\t')[:3] != ['image', 'class', 'score']:
            sys.exit("not a file of detections: '%s'; write it with darknet prune evaluate -predictions" % path)
        for line in f:
            image, *numbers = line.rstrip('\n').split('\t')
            if image not in ordinals:
                sys.exit("'%s' speaks of '%s', which is not in the list of images" % (path, image))
            rows.append([ordinals[image]] + [float(v) for v in numbers])
    return np.array(rows).reshape(-1, 7)


def overlaps(box, boxes):
    low = np.maximum(box[:2] - box[2:] / 2, boxes[:, :2] - boxes[:, 2:] / 2)
    high = np.minimum(box[:2] + box[2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2)
    both = np.prod(np.maximum(high - low, 0), axis=1)
    return both / np.maximum(np.prod(box[2:]) + np.prod(boxes[:, 2:], axis=1) - both, 1e-30)


def matched(boxes, truths, threshold):
    """Hits of one class's boxes, best first: each takes the free truth of its image that it overlaps most. Independent of the resampling."""
    free = [np.ones(len(t), bool) for t in truths]
    hits = np.zeros(len(boxes), bool)
    for k, row in enumerate(boxes):
        image = int(row[0])
        if free[image].any():
            values = np.where(free[image], overlaps(row[3:], truths[image]), -1)
            best = int(np.argmax(values))
            hits[k] = values[best] >= threshold
            free[image][best] &= not hits[k]
    return hits


class Detector:
    """Per class: image of each box and whether it hits, best score first; and how many truths each image has."""

    def __init__(self, path, images, truths, threshold):
        boxes = read_boxes(path, images)
        boxes = boxes[np.argsort(-boxes[:, 2], kind='stable')]
        self.classes = []
        for c in np.unique(np.concatenate([t[:, 0] for t in truths])):
            own = [t[t[:, 0] == c][:, 1:] for t in truths]
            ranked = boxes[boxes[:, 1] == c]
            self.classes.append((ranked[:, 0].astype(int), matched(ranked, own, threshold), np.array([len(t) for t in own])))

    def mean_average_precision(self, counts):
        """counts (images): how often each image was drawn. Classes without truths among them are left out."""
        values = []
        for image, hits, truths in self.classes:
            total = float(counts @ truths)
            if total == 0:
                continue
            weight = counts[image].astype(float)
            precision = np.cumsum(weight * hits) / np.maximum(np.cumsum(weight), 1e-30)
            best = np.maximum.accumulate(precision[::-1])[::-1]
            values.append(float(np.sum(best * weight * hits)) / total)
        return float(np.mean(values))


def main():
    words, values = arguments()
    images = image_list(words[0], values['-list'])
    truths = [truths_of(image) for image in images]
    thresholds = np.arange(50, 100, 5) / 100 if values['-overlap'] == 'all' else [float(values['-overlap'])]

    def detectors(paths):
        return [Detector(path, images, truths, t) for path in paths.split(',') for t in thresholds]

    def score(group, counts):
        return float(np.mean([d.mean_average_precision(counts) for d in group]))

    before, after = detectors(words[1]), detectors(words[2])
    once = np.ones(len(images), int)
    random = np.random.default_rng(int(values['-seed']))
    draws = [np.bincount(random.integers(len(images), size=len(images)), minlength=len(images)) for _ in range(int(values['-resamples']))]
    differences = np.array([score(after, d) - score(before, d) for d in draws])
    low, high = np.percentile(differences, [2.5, 97.5])
    a, b = score(before, once), score(after, once)
    print('images %d  mAP before %.2f%%  after %.2f%%  difference %+.2f points  95%% interval %+.2f .. %+.2f  worse in %.1f%% of %d resamples'
          % (len(images), 100 * a, 100 * b, 100 * (b - a), 100 * low, 100 * high, 100 * np.mean(differences < 0), len(draws)))


if __name__ == '__main__':
    main()
