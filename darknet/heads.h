/* Evaluation of network outputs: top-k, average precision, detections of yolo, region and detection heads; which heads have a loss. */
#ifndef DARKNET_HEADS_H
#define DARKNET_HEADS_H

#include <darknet.h>
#include "../plugin/host.h"

/* Fills *out over a set (see prune_evaluation); *out is untouched on failure. Images go in list order, as many at a time as net's batch (the last
 * time fewer; the batch is restored), in inference mode: rolling statistics, dropout off. Detections above 0.001, overlaps above 0.45 suppressed.
 * Fails on: a data file without the list or the class names, another number of classes than the network has, and whatever the loader refuses. */
enum prune_code evaluate_network(network *net, const struct prune_image_set *set, int threads, struct prune_evaluation *out, struct prune_status *st);
/* Writes what the network says of every image, for comparison with a third party (docs/evaluation.md): classifier: image, class, predicted class,
 * its probability; detector: image, class, score, x, y, w, h. Tab-separated, one header line. path NULL = not written. */
enum prune_code evaluate_write_predictions(network *net, const struct prune_image_set *set, int threads, const char *path, struct prune_status *st);

/* The head adds each image's loss to host_context()->image_loss. */
bool head_has_loss(const layer *l);
/* Every head of the network has one, and there is one; the message names the layer. */
enum prune_code network_loss_check(const network *net, struct prune_status *st);

/* Average precision, area under the monotone precision-recall curve. matched[i] = 1 true positive, 0 false positive, sorted by falling score.
 * NaN when truths is 0. */
double average_precision(const unsigned char *matched, size_t n, size_t truths);

#endif
