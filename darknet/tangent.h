/* Products of the Hessian in the gates with a direction v, forward over reverse (Pearlmutter's R-operator; docs/hessian-products.md): beside the network's
 * own forward pass goes one of tangents, d output / dz . v, and beside its backward pass one of tangents of the deltas, from which the tangents of the gate
 * gradients, (H v)_u, are summed up. Scoring mode alone: batch-norm with rolling statistics, dropout passes on. Weights are not touched. */
#ifndef DARKNET_TANGENT_H
#define DARKNET_TANGENT_H

#include "gate_layer.h"
#include "network_open.h"

/* Fails, naming section and line, when a layer or head has no tangent pass. */
enum prune_code tangent_check(const struct open_network *open, struct prune_status *st);

struct tangent;
/* direction: (gate_units) finite, copied. Room for passes of net->batch images at its present size. */
enum prune_code tangent_open(struct tangent **out, network *net, struct gate_table *gates, const float *direction, struct prune_status *st);
void tangent_close(struct tangent *t);      /* accepts NULL */
void tangent_reset(struct tangent *t);      /* a minibatch begins */
/* Behind the forward pass of some images. */
void tangent_forward(struct tangent *t);
/* A backward_visit, t as user: the walk must begin at the last layer and go down to gate_lowest at least. */
void tangent_backward(void *t, int layer);
/* (gate_units) sums of (H_b v)_u over the images since reset, H_b of each image's own loss; TRUE sign */
const double *tangent_sums(const struct tangent *t);

#endif
