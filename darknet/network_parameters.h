/* Parameters of a network of the host: where each tensor of the weights layout lives, copying them in from a file, fresh values, and snapshots of
 * the update buffers (momentum). Recurrent layers consist of sub-layers, numbered in file order. */
#ifndef DARKNET_NETWORK_PARAMETERS_H
#define DARKNET_NETWORK_PARAMETERS_H

#include <darknet.h>
#include "../plugin/model/weights_file.h"

/* Sub-layer `part` of a layer; the layer itself when it has none and part is 0; NULL behind the last. */
layer *parameters_part(layer *l, int part);

/* Copies every tensor of the file into the network; seen too. Tensors that the file lacks are left alone. */
enum prune_code parameters_copy_in(network *net, const struct prune_net *shape, const struct prune_weights *w, size_t layers, struct prune_status *st);
/* One tensor (plugin/host.h, parameters_set). */
enum prune_code parameters_set(network *net, int layer, int role, const float *values, size_t n, struct prune_status *st);
/* Fresh weights for layers [first, n) and for layers the file never holds (dontload, numload): values depend on (seed, layer, part) alone. Scale as in
 * Darknet: convolution normal * sqrt(2 / (k k c / groups)), connected uniform(-1, 1) * sqrt(2 / inputs). */
void parameters_fresh(network *net, const struct prune_net *shape, size_t first, uint64_t seed);

/* Momentum of all layers: a gradient pass that must not disturb training saves it before and restores it after. */
struct parameters_updates { float *values; size_t count; };
enum prune_code parameters_updates_save(const network *net, struct parameters_updates *out, struct prune_status *st);
void parameters_updates_copy(const network *net, struct parameters_updates *saved);   /* a later state into a saved one */
/* Where a saved state holds what the network has at `updates`, the beginning of one of its buffers. */
const float *parameters_updates_find(const network *net, const struct parameters_updates *saved, const float *updates);
void parameters_updates_restore(network *net, const struct parameters_updates *saved);
void parameters_updates_free(struct parameters_updates *u);
void parameters_updates_zero(network *net);

#endif
