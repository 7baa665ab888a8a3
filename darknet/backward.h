/* Backward passes that serve gates alone: no gradients of weights, biases or scales, and no further down than the lowest gate. Convolutional, connected
 * and batchnorm layers obey host_context()->gates_only; other layers with weights (local, deconvolutional, recurrent) still add to their updates. */
#ifndef DARKNET_BACKWARD_H
#define DARKNET_BACKWARD_H

#include <darknet.h>
#include <stdbool.h>

/* From the deltas that the last forward pass left in the heads down to layer `lowest`. */
void backward_gates(network *net, int lowest);
/* The same, or with the gradients of weights too; visit (NULL: none) is called in front of each layer's backward pass, while its delta is whole and that
 * of the output. */
typedef void backward_visit(void *user, int layer);
void backward_walk(network *net, int lowest, bool gates_only, backward_visit *visit, void *user);
/* All deltas := 0: the state in which a head's delta can be filled for another backward pass. */
void backward_clear(network *net);
/* False: some layer would add to its updates all the same. */
bool backward_leaves_updates(const network *net);

#endif
