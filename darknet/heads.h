/* Evaluation of network outputs: top-k, average precision, detections of yolo, region and detection heads. */
#ifndef DARKNET_HEADS_H
#define DARKNET_HEADS_H

#include <darknet.h>
#include "../plugin/host.h"

/* Fills *out over a set (see prune_evaluation). net must have been set to any batch; runs in inference mode (rolling statistics). */
enum prune_code evaluate_network(network *net, const struct prune_image_set *set, int threads, struct prune_evaluation *out, struct prune_status *st);
/* Classifier: also which images were wrong, for a third-party comparison; path NULL = not written. */
enum prune_code evaluate_write_predictions(network *net, const struct prune_image_set *set, int threads, const char *path, struct prune_status *st);

/* Average precision, area under the monotone precision-recall curve. matched[i] = 1 true positive, 0 false positive, sorted by falling score. */
double average_precision(const unsigned char *matched, size_t n, size_t truths);

#endif
