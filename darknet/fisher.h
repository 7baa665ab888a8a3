/* Targets drawn from a network's own predictive distribution: gradients g of the loss in the input of a head with E[g] = 0 and E[g g^T] = R, R being the
 * second derivative that curvature.h speaks of. One backward pass with g as cotangent gives what the Fisher matrix is the second moment of.
 * docs/fisher.md says which distribution each head's loss implies. Heads and their functions: head_kinds.c. */
#ifndef DARKNET_FISHER_H
#define DARKNET_FISHER_H

#include "curvature.h"

struct fisher_draw { uint64_t seed, first; };   /* first: ordinal of the batch's first image */

/* Writes all of layer l->delta (batch, outputs): what its backward pass hands on as -g, from (seed, image ordinal, layer, entry) and the outputs of the last
 * forward pass alone. index: the layer's; its input is the output of index - 1. */
typedef void fisher_head(const network *net, int index, const struct fisher_draw *d);
fisher_head fisher_softmax, fisher_logistic, fisher_cost, fisher_boxes /* yolo, region */;

/* The function of a layer, NULL for one that is no head with a loss. Networks that curvature_check refuses have none that is right. */
fisher_head *fisher_of(const layer *l);

#endif
