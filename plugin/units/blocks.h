/* Residual blocks: branches that can be taken out whole. A block is an unweighted [shortcut] that adds one layer `from` to the layer before it, both of
 * one shape, whose branch (the layers between from and the shortcut) reads nothing outside but `from` and is read by nobody outside.
 * Multiplying the branch by zero leaves activation(from): the block without it is `from`, behind an [activation] where the shortcut's activation
 * would change it. In: a checked net. Out: every block, and why every other shortcut is none. */
#ifndef PRUNE_UNITS_BLOCKS_H
#define PRUNE_UNITS_BLOCKS_H

#include "../model/weights_file.h"
#include "units.h"

struct prune_block {
    int shortcut, from;                  /* the branch: layers from + 1 .. shortcut - 1; its gate: the output of layer shortcut - 1 */
    bool stays_activation;               /* the [shortcut] becomes an [activation] */
    uint64_t macs, parameters;           /* of the layers that go */
};
struct prune_no_block { int shortcut; char why[120]; };

struct prune_blocks {
    struct prune_block *items; size_t count;             /* ascending by shortcut */
    struct prune_no_block *others; size_t other_count;   /* the shortcuts that are no blocks */
};

enum prune_code prune_blocks_find(struct prune_blocks *blocks, const struct prune_net *net, struct prune_status *st);
void prune_blocks_free(struct prune_blocks *blocks);
/* The block of that shortcut; fails with the reason when the layer is no shortcut or no block. */
enum prune_code prune_blocks_get(const struct prune_blocks *blocks, const struct prune_net *net, int shortcut, const struct prune_block **out, struct prune_status *st);

/* Layers whose stored values, set to zero (statistics apart), silence the block's branch: silent[layer] = 1, the rest is left alone.
 * Fails where no weights silence the branch exactly, and says which layer is in the way. */
enum prune_code prune_block_silence(const struct prune_block *block, const struct prune_net *net, uint8_t *silent, struct prune_status *st);

/* score[b] of every block: the mean of scores[u] over the removable units with a producer inside the block; NaN where there is none. */
enum prune_code prune_blocks_score(const struct prune_blocks *blocks, const struct prune_net *net, const struct prune_units *units, const double *scores, double *score,
                                   struct prune_status *st);

/* What is left when some blocks are dropped, seen from the network they were dropped from (rewrite/drop.h makes it). */
struct prune_dropped {
    struct prune_block *blocks; size_t count;            /* ascending by shortcut; none lies inside another */
    const struct prune_net *whole;                       /* borrowed, as the weights */
    const struct prune_weights *whole_weights;           /* NULL: none */
    int *old_of; size_t layer_count;                     /* [layer of the smaller net] -> layer of the whole one */
    int *new_of;                                         /* [layer of the whole net] -> layer of the smaller one, -1: gone with its block */
};

#endif
