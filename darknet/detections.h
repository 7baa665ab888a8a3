/* Boxes a detector found and how well they fit the truths. Coordinates are centre x, y and size w, h as fractions of the ORIGINAL image.
 * Dimension letters: B images of a batch, C classes, T thresholds. */
#ifndef DARKNET_DETECTIONS_H
#define DARKNET_DETECTIONS_H

#include <darknet.h>
#include <stdbool.h>
#include <stddef.h>
#include "../plugin/base/status.h"

/* One box of one class; a predictor that is sure of two classes gives two. image: ordinal within the set. */
struct found_box { box where; float score; int class_id; size_t image; };
struct found_list { struct found_box *items; size_t count, capacity; };   /* zero-initialised is empty */
void found_list_free(struct found_list *l);

/* True for yolo, region and detection layers. */
bool is_detection_head(const layer *l);

/* How images became network input: stretched (letterbox 0) or scaled to fit with borders. */
struct framing { int image_w, image_h, net_w, net_h, letterbox; };
/* From fractions of the network input to fractions of the image. Identity when stretched. */
box framing_to_image(const struct framing *f, box b);

/* Appends the boxes with a score above threshold of all heads for image b of the batch that net has just run forward. Not suppressed.
 * Fails only for lack of memory. */
enum prune_code detections_decode(const network *net, int b, const struct framing *f, size_t image, float threshold, struct found_list *out,
                                  struct prune_status *st);
/* Per class, from the best score down, drops every box that overlaps a kept one of its class by more than max_iou; works on
 * items [first, count), which belong to one image, and leaves them sorted by class, then falling score. */
void detections_suppress(struct found_list *l, size_t first, float max_iou);

struct true_box { box where; int class_id; size_t image; };

/* Average precision per class at each of T overlaps: ap is (T, classes), NaN for a class without truths. From the best score down each box takes the
 * free truth of its class and image that it overlaps most, if by at least the threshold. Both arrays are re-ordered. */
enum prune_code average_precisions(struct found_box *found, size_t found_count, struct true_box *truths, size_t truth_count, int classes,
                                   const double *overlaps, size_t T, double *ap, struct prune_status *st);

#endif
