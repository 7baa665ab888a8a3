/* Rewriter: a mask becomes one plan (kept index lists per layer), and the plan slices cfg text, weights, momentum and gates alike.
 * Readers see exactly what they would see with the removed channels at 0. Kept channels keep their order. A plan that removes nothing
 * writes byte-identical files. Weights are mapped and streamed: peak memory is one tensor. */
#ifndef PRUNE_REWRITE_REWRITE_H
#define PRUNE_REWRITE_REWRITE_H

#include "../model/weights_file.h"
#include "../units/units.h"

struct prune_layer_plan {
    int *out_keep; size_t out_count;   /* kept output channels of the layer, ascending, old numbers */
    int *in_keep; size_t in_count;     /* kept input channels (connected after a map: channels, each `in_area` inputs) */
    size_t in_area;
    int groups, group_id;              /* new groups= of a convolution or route, group_id= of a route */
    bool silent;                       /* masked weights: what the layer stores, statistics apart, becomes 0 (rewrite/drop.h) */
};
struct prune_plan { struct prune_layer_plan *layers; size_t layer_count; };

enum prune_code prune_plan_build(struct prune_plan *plan, const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, struct prune_status *st);
void prune_plan_free(struct prune_plan *plan);

/* New cfg text (malloc'd). Only filters=, output=, groups=, group_id= of changed layers change. Reads counts and groups of the plan, not its
 * lists, so that it can also make layers wider (rewrite/expand.h). */
enum prune_code prune_rewrite_cfg(const struct prune_plan *plan, const struct prune_net *net, char **bytes, size_t *size, struct prune_status *st);
/* The same, into a file. */
enum prune_code prune_rewrite_cfg_file(const struct prune_plan *plan, const struct prune_net *net, const char *path, struct prune_status *st);
/* New weights file; header and seen kept. The layout of `in` may be a view that leaves tensors of the file out. Also slices any file of the same layout (momentum). */
enum prune_code prune_rewrite_weights(const struct prune_plan *plan, const struct prune_net *net, const struct prune_weights *in, const char *path, struct prune_status *st);
/* Original shape, every reader's input column of a removed channel set to 0: always exact, since whoever reads a removable channel in the end
 * has such columns (docs/units.md). */
enum prune_code prune_rewrite_masked(const struct prune_plan *plan, const struct prune_net *net, const struct prune_weights *in, const char *path, struct prune_status *st);

/* What the proof of a rewrite covered (proof.h). */
struct prune_proof {
    size_t layers;                       /* of the new network, all proved */
    size_t readers;                      /* layers (and outputs of the network) whose inputs were compared */
    uint64_t channels;                   /* input channels compared, summed over readers */
    uint64_t values;                     /* stored values compared */
};

/* The pair on disk: DIR/<base>-pruned.cfg, .weights, .mask.json, and with `masked` DIR/<base>-masked.weights. Reads the written pair back through
 * our own readers and proves it (proof.h) before it returns. Refuses when an output would overwrite an input. Paths are malloc'd (caller frees). */
struct prune_pair { char *cfg, *weights, *mask, *masked; struct prune_proof proof; };
struct prune_mask_origin;   /* units/mask_file.h: paths and hashes of net and in, which go into the mask file; with origin->dropped, net, units and
                               in are those without the dropped blocks, and the masked weights are of the whole network */
enum prune_code prune_write_pair(const struct prune_net *net, const struct prune_units *units, const uint8_t *removed, const struct prune_weights *in,
                                 const struct prune_mask_origin *origin, const char *dir, bool masked, struct prune_pair *pair, struct prune_status *st);
void prune_pair_free(struct prune_pair *pair);

#endif
