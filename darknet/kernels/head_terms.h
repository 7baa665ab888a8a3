/* The terms of a yolo or region head's loss, given scale and target of every entry: their sum, and square roots of their second derivatives. */
#ifndef DARKNET_KERNELS_HEAD_TERMS_H
#define DARKNET_KERNELS_HEAD_TERMS_H

#include <darknet.h>
#include <stdbool.h>

#include "../../plugin/base/random.h"

struct head_term { float scale, target; };   /* scale 0: the entry takes no part */

/* (n, 5 + classes, plane): see head_boxes.h. classes_tree: NULL, or its groups are the softmax's. */
struct head_shape { int n, classes; size_t plane; bool softmax; const tree *classes_tree; };

/* The loss of one image with input a; 0 for a perfect fit. NaN when an entry that takes part is. */
double head_terms_loss(const struct head_shape *s, const struct head_term *terms, const float *a);
/* v := R^(1/2) v, or R v (whole), R the Hessian of that loss in a, x the head's outputs: s p (1 - p) for logistic entries, s for w and h,
 * s (diag p - p p^T) for the classes of a softmax, 0 elsewhere. */
void head_terms_curve(const struct head_shape *s, const struct head_term *terms, const float *x, bool whole, float *v);
/* v := sqrt(s) (t - x) with targets t drawn from what x predicts (w and h: from a normal distribution of variance 1 / s), 0 for entries that take no part:
 * mean 0 and second moment R. Entry i uses numbers 2 i + 1 and 2 i + 2 of *r (a softmax group those of its first class), whatever takes part. */
void head_terms_draw(const struct head_shape *s, const struct head_term *terms, const float *x, const struct prune_random *r, float *v);
/* In place on the classes (classes, plane) of one anchor. */
void head_classes_softmax(const struct head_shape *s, float *x);

#endif
