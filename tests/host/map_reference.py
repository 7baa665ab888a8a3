#!/usr/bin/python3
"""Mean average precision of a Darknet detector, computed without Darknet and without our evaluation: OpenCV's DNN module runs the network up to the
inputs of its [yolo] layers (its own decoder drops weak boxes); decoding, suppression, matching and the area under the curve are numpy below.
  map_reference.py DATA CFG WEIGHTS [-limit N] [-resize darknet|opencv] [-predictions FILE] [-against FILE]
  -predictions: take the boxes from a file that `darknet prune evaluate -predictions` wrote and run no network (recomputes its mAP)
  -against:     a file of the same kind to compare box by box: how many of the reference's boxes above 0.05 it lacks, largest difference of scores
Images are stretched to the network's size. Prints "images N map50 X map Y"."""
import sys

import numpy as np

SCORE, OVERLAP = .001, .45


def options():
    values = {'-limit': '0', '-resize': 'darknet', '-predictions': '', '-against': ''}
    words, args = [], iter(sys.argv[1:])
    for a in args:
        if a in values:
            values[a] = next(args)
        else:
            words.append(a)
    if len(words) != 3:
        sys.exit(__doc__)
    return words, values


def data_file(path):
    with open(path) as f:
        return dict((k.strip(), v.strip()) for k, v in (line.split('=', 1) for line in f if '=' in line and line.lstrip()[:1] not in '#;'))


def label_path(image):
    for a, b in (('images', 'labels'), ('JPEGImages', 'labels'), ('raw', 'labels')):
        image = image.replace(a, b, 1)
    return image.rsplit('.', 1)[0] + '.txt'


def truths_of(image):
    with open(label_path(image)) as f:
        rows = [[float(v) for v in line.split()] for line in f if line.strip()]
    return np.array(rows).reshape(-1, 5)


def align_corners(image, w, h):
    """Bilinear with the corners of both grids aligned, as Darknet resizes: columns first, then rows, in float."""
    def axis(n, m):
        at = np.arange(m) * ((n - 1) / (m - 1) if m > 1 else 0)
        low = np.minimum(at.astype(int), n - 1)
        return low, np.minimum(low + 1, n - 1), (at - low).astype(np.float32)
    x0, x1, fx = axis(image.shape[1], w)
    y0, y1, fy = axis(image.shape[0], h)
    wide = image[:, x0] * (1 - fx)[None, :, None] + image[:, x1] * fx[None, :, None]
    return wide[y0] * (1 - fy)[:, None, None] + wide[y1] * fy[:, None, None]


def iou(one, many):
    """Boxes are x, y (centre), w, h."""
    overlap = 1.
    for k in (0, 1):
        left = np.maximum(one[k] - one[k + 2] / 2, many[:, k] - many[:, k + 2] / 2)
        right = np.minimum(one[k] + one[k + 2] / 2, many[:, k] + many[:, k + 2] / 2)
        overlap = overlap * np.maximum(right - left, 0)
    return overlap / np.maximum(one[2] * one[3] + many[:, 2] * many[:, 3] - overlap, 1e-30)


def suppressed(boxes, scores):
    kept, order = [], np.argsort(-scores, kind='stable')
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(first)
        order = rest[iou(boxes[first], boxes[rest]) <= OVERLAP] if len(rest) else rest
    return kept


def sections(cfg):
    found = []
    with open(cfg) as f:
        for line in (text.strip() for text in f):
            if line.startswith('['):
                found.append((line.strip('[]'), {}))
            elif '=' in line and line[0] not in '#;':
                key, value = line.split('=', 1)
                found[-1][1].setdefault(key.strip(), value.strip())
    return found


def decoded(output, keys, w, h):
    """Rows x, y, w, h, class scores from the (anchors * (5 + classes), H, W) input of a [yolo] layer."""
    mask = [int(v) for v in keys['mask'].split(',')]
    anchors = np.array([float(v) for v in keys['anchors'].split(',')]).reshape(-1, 2)[mask]
    rows, columns = output.shape[-2:]
    x = output.reshape(len(mask), -1, rows, columns).astype(np.float64)
    squashed = 1 / (1 + np.exp(-x))
    boxes = np.stack([(squashed[:, 0] + np.arange(columns)) / columns, (squashed[:, 1] + np.arange(rows)[:, None]) / rows,
                      np.exp(x[:, 2]) * anchors[:, 0, None, None] / w, np.exp(x[:, 3]) * anchors[:, 1, None, None] / h], 1)
    both = np.concatenate([boxes, squashed[:, 4:5] * squashed[:, 5:]], 1)
    return both.transpose(0, 2, 3, 1).reshape(-1, both.shape[1])


def network_boxes(words, values, images):
    """Yields (image ordinal, class, score, box) from OpenCV's network."""
    import cv2
    cv2.setNumThreads(2)
    net = cv2.dnn.readNetFromDarknet(words[1], words[2])
    parts = sections(words[1])
    w, h = int(parts[0][1]['width']), int(parts[0][1]['height'])
    heads = [(i - 1, keys) for i, (kind, keys) in enumerate(parts) if kind == 'yolo']   # layer i comes after [net]
    inputs = ['conv_%d' % (i - 1) for i, _ in heads]
    for ordinal, path in enumerate(images):
        image = cv2.imread(path, cv2.IMREAD_COLOR)[:, :, ::-1].astype(np.float32) / 255
        image = align_corners(image, w, h) if values['-resize'] == 'darknet' else cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)
        net.setInput(np.ascontiguousarray(image.transpose(2, 0, 1)[None]))
        rows = np.concatenate([decoded(output, keys, w, h) for output, (_, keys) in zip(net.forward(inputs), heads)])
        for c in range(rows.shape[1] - 4):
            chosen = rows[rows[:, 4 + c] > SCORE]
            for k in suppressed(chosen[:, :4], chosen[:, 4 + c]):
                yield ordinal, c, chosen[k, 4 + c], chosen[k, :4]


def file_boxes(path, images):
    ordinals = {image: k for k, image in enumerate(images)}
    with open(path) as f:
        next(f)
        for line in f:
            image, c, *numbers = line.rstrip('\n').split('\t')
            if image in ordinals:
                numbers = [float(v) for v in numbers]
                yield ordinals[image], int(c), numbers[0], np.array(numbers[1:])


def average_precision(hits, truths):
    hits = np.asarray(hits, float)
    found = np.cumsum(hits)
    precision = found / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1] if len(hits) else precision
    return float(np.sum(precision * hits) / truths)


def mean_average_precisions(boxes, truths, overlaps):
    """boxes: list of (image, class, score, box); truths: one (n, 5) array per image. Mean over classes with truths, per overlap."""
    per_class = {}
    for box in boxes:
        per_class.setdefault(box[1], []).append(box)
    classes = sorted({int(c) for t in truths for c in t[:, 0]})
    results = np.zeros((len(overlaps), len(classes)))
    for column, c in enumerate(classes):
        own = [t[t[:, 0] == c][:, 1:] for t in truths]
        total = sum(len(t) for t in own)
        ranked = sorted(per_class.get(c, []), key=lambda box: -box[2])
        values = [iou(box[3], own[box[0]]) if len(own[box[0]]) else None for box in ranked]
        for row, threshold in enumerate(overlaps):
            free = [np.ones(len(t), bool) for t in own]
            hits = []
            for box, overlap in zip(ranked, values):
                hit = False
                if overlap is not None:
                    allowed = np.where(free[box[0]], overlap, -1)
                    best = int(np.argmax(allowed))
                    hit = allowed[best] >= threshold
                    free[box[0]][best] &= not hit
                hits.append(hit)
            results[row, column] = average_precision(hits, total)
    return results.mean(axis=1)


def compare(reference, others):
    """Boxes above 0.05 that the other file lacks (same image, class, overlap > 0.9), and the largest difference of scores of those it has."""
    table, lacking, worst = {}, 0, 0.
    for image, c, score, box in others:
        table.setdefault((image, c), []).append((score, box))
    strong = [b for b in reference if b[2] > .05]
    for image, c, score, box in strong:
        own = table.get((image, c), [])
        overlap = iou(box, np.array([o[1] for o in own])) if own else np.zeros(1)
        if overlap.max() > .9:
            worst = max(worst, abs(own[int(np.argmax(overlap))][0] - score))
        else:
            lacking += 1
    print('boxes above 0.05: %d, missing: %d, largest difference of scores: %.2g' % (len(strong), lacking, worst))


def main():
    words, values = options()
    with open(data_file(words[0])['valid']) as f:
        images = [line.strip() for line in f if line.strip()]
    if int(values['-limit']):
        images = images[:int(values['-limit'])]
    boxes = list(file_boxes(values['-predictions'], images) if values['-predictions'] else network_boxes(words, values, images))
    means = mean_average_precisions(boxes, [truths_of(image) for image in images], np.arange(50, 100, 5) / 100)
    print('images %d map50 %.5f map %.5f' % (len(images), means[0], means.mean()))
    if values['-against']:
        compare(boxes, list(file_boxes(values['-against'], images)))


if __name__ == '__main__':
    main()
