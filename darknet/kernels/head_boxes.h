/* What the yolo and region heads share: predictors with anchors, n per cell of a grid, whose outputs are trained towards targets.
 * Input and output are (batch, n * (5 + classes), h, w): per anchor x, y, w, h, objectness, classes. x, y and objectness are logistic, w and h pass
 * through, classes are logistic or one softmax per group. An entry i that takes part in training has a scale s_i and a target t_i:
 *   delta_i = s_i (t_i - output_i)      loss: s_i KL(t_i, p_i) (logistic), s_i (t_i - a_i)^2 / 2 (w, h), s cross-entropy (softmax group)
 * with a the input; delta is minus the loss's gradient in a with scales and targets held constant. docs/detector-loss.md has the formulas. */
#ifndef DARKNET_KERNELS_HEAD_BOXES_H
#define DARKNET_KERNELS_HEAD_BOXES_H

#include <darknet.h>
#include <stdbool.h>

#include "../../plugin/base/random.h"

struct box_rules {
    float free_above;            /* a box that overlaps some truth by more is not pushed to "no object" */
    float truth_above;           /* and by more than this is trained towards that truth */
    double object, noobject, classes, box;   /* scales of the terms */
    double warm_up;              /* scale of boxes without a truth, trained towards their anchor; 0: they are not */
    bool rescore;                /* objectness of a trained box: towards its overlap with the truth, not 1 */
    bool softmax;                /* classes: one softmax per group, a group being all classes or one of the tree's */
    bool seen_shape;             /* a truth takes the anchor whose predicted shape, not whose own, fits best */
    const int *mask;             /* NULL, or the anchors (of `anchors` in all) that are this head's */
    int anchors;
    float unit_w, unit_h;        /* what the cfg's anchors are counted in, per image width and height */
    int max_truths;
};

/* Sums over predictors and truths, for the statistics line. */
struct box_totals { double iou, category, object, anywhere, squares; int over_half, over_three_quarters, count, categories; };

struct box_head { const layer *l; const network *net; struct box_rules rules; };

struct box_head yolo_head(const layer *l, const network *net);
struct box_head region_head(const layer *l, const network *net);

/* l->output from net->input; with net->train also l->delta, *l->cost (sum of delta^2, what the host prints) and, where
 * host_context()->image_loss is set, each image's loss. One thread per image. Without truths delta is 0. */
void box_head_forward(const struct box_head *h, struct box_totals *sums);

/* v (l->outputs) in: random numbers of unit variance, uncorrelated; out: R^(1/2) v with R = d2 loss / da2 of one image, scales and targets constant.
 * l->output must be that of a forward pass with these truths. thread: the pool's, inside a task, 0 outside. */
void box_head_probe(const struct box_head *h, int image, int thread, float *v);
/* The same for any v, out: R v. */
void box_head_product(const struct box_head *h, int image, int thread, float *v);
/* v := -d loss / da at targets drawn from what the outputs predict, as head_terms_draw has it; the rest as above. */
void box_head_draw(const struct box_head *h, int image, int thread, const struct prune_random *r, float *v);

#endif
