/* Curvature of heads: random vectors v with E[v v^T] = R, the second derivative of an image's loss in its head's input. One backward pass with v as
 * cotangent gives v . dy/dz of every gate, whose mean square is the Gauss-Newton diagonal. Heads and their functions: head_kinds.c. */
#ifndef DARKNET_CURVATURE_H
#define DARKNET_CURVATURE_H

#include <darknet.h>
#include <stdbool.h>
#include "../plugin/base/random.h"
#include "../plugin/base/status.h"

struct curvature_draw {
    uint64_t seed, first;     /* first: ordinal of the batch's first image */
    int probe;
    bool exact;               /* probe k is sqrt(outputs) times column k of R^(1/2), for k below the head's outputs */
    const float *vector;      /* NULL: signs at random, and R^(1/2) of them. Else (batch, inputs of the head), and R times it (tangent.c) */
};

/* Signs for one image of one head, from (seed, image ordinal, probe, layer) alone. */
struct prune_random curvature_random(const struct curvature_draw *d, int layer, int image);
static inline float curvature_sign(struct prune_random *r) { return prune_random_u64(r) >> 63 ? 1.0f : -1.0f; }

/* Writes all of layer l->delta (batch, outputs): what its backward pass hands on as -v. index: the layer's; its input is the output of index - 1. Outputs
 * and truths are those of the last forward pass, deltas need not be. */
typedef void curvature_head(const network *net, int index, const struct curvature_draw *d);
curvature_head curvature_softmax, curvature_logistic, curvature_cost, curvature_boxes /* yolo, region */;

/* Whether an entry of a [cost] head has a second derivative (1, without the layer's scale; else 0). */
bool curvature_cost_entry(const layer *l, float truth, float x);

/* Every head of the network has a known curvature, and there is one. */
enum prune_code curvature_check(const network *net, struct prune_status *st);
/* The same, and the head can be probed exactly: one [softmax] and no other head. *probes = its outputs. */
enum prune_code curvature_exact_check(const network *net, int *probes, struct prune_status *st);
/* The function of a layer, NULL for one that is no head with a loss. */
curvature_head *curvature_of(const layer *l);

#endif
