/* Which single weights of a network remain (docs/sparse.md): the masks of fine-grained pruning, their selection, and the table of what is left. Weights are those of convolutional
 * and connected layers; biases and batch-norm are never pruned and never counted. */
#ifndef PRUNE_RUN_SPARSE_H
#define PRUNE_RUN_SPARSE_H

#include <cjson/cJSON.h>

#include "../host.h"
#include "../model/weights_file.h"

/* first: of this layer's weights in `keep`. floor: as many stay whatever their scores; floor == count: the layer is protected. */
struct prune_sparse_layer { int layer; size_t first, count, kept, floor; };
struct prune_sparse {
    struct prune_sparse_layer *layers; size_t count;
    uint8_t *keep;                     /* [weights] 0: gone. Filter by filter, each in the order of the weights file, never transposed */
    size_t weights, kept;
};

/* Every weight kept, floors of 1. Layers that share, do not save or load their weights only in part are left out. */
enum prune_code prune_sparse_init(struct prune_sparse *s, const struct prune_net *net, const struct prune_weights_layout *layout, struct prune_status *st);
void prune_sparse_free(struct prune_sparse *s);    /* accepts a zeroed one */
/* Floors: min_keep weights of every layer; all of the layers of `protect` ("0,81-83", NULL: none). */
enum prune_code prune_sparse_floors(struct prune_sparse *s, const struct prune_net *net, size_t min_keep, const char *protect, struct prune_status *st);

/* Weights of one layer out of a file, in the order of `keep`. */
enum prune_code prune_sparse_values(const struct prune_sparse_layer *l, const struct prune_net *net, const struct prune_weights *w, float *out, struct prune_status *st);
/* keep := what is not 0 in the file. */
enum prune_code prune_sparse_from_zeros(struct prune_sparse *s, const struct prune_net *net, const struct prune_weights *w, struct prune_status *st);

/* How many weights a fraction of all is: the nearest number. */
size_t prune_sparse_target(const struct prune_sparse *s, double fraction);
/* Weights go, lowest score first (of equal ones the earlier), until exactly `remain` are left; per_layer: until each layer is left with the same fraction of its own, to the nearest
 * weight. What is gone stays gone. scores: as `keep`. On failure nothing changes. */
enum prune_code prune_sparse_select(struct prune_sparse *s, const float *scores, size_t remain, bool per_layer, struct prune_status *st);

/* From now on the host keeps at 0 what is gone. Layers that have lost nothing are not touched. */
enum prune_code prune_sparse_hold(const struct prune_sparse *s, const struct prune_host *host, struct prune_host_net *net, struct prune_status *st);

/* {"layers": [{"layer","kind","weights","remaining"}], "weights","remaining","other_parameters"}; NULL: out of memory. */
cJSON *prune_sparse_json(const struct prune_sparse *s, const struct prune_net *net);
/* Multiply-adds with weights that are not 0. */
double prune_sparse_macs(const struct prune_sparse *s, const struct prune_net *net);

#endif
