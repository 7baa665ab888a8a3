/* Dropping whole blocks (units/blocks.h): the cfg text without their sections, and everything behind it seen from there. The smaller network is
 * a network like any other: its own cfg, shape and units, and a view of the old weights file that leaves the gone layers out; whatever works on a
 * network (costs, criteria, selection, plan, rewrite) works on it. Layer and channel numbers go back to the whole network through `dropped`.
 * Refuses shortcuts that close no block, and drops that leave no layer with weights. */
#ifndef PRUNE_REWRITE_DROP_H
#define PRUNE_REWRITE_DROP_H

#include "../units/blocks.h"
#include "rewrite.h"

/* Its parts point at each other and at the whole network: never copy or move one. */
struct prune_drop {
    struct prune_dropped dropped;
    struct prune_cfg cfg;                /* path of the whole cfg, for messages and names */
    struct prune_net net;
    struct prune_units units;
    struct prune_weights weights;        /* view into the whole file while dropped.whole_weights */
};

/* shortcuts: layer numbers in any order; blocks inside others may be named too. weights NULL: none. net and weights outlive the drop. */
enum prune_code prune_drop_open(struct prune_drop *d, const struct prune_net *net, const struct prune_weights *weights, const int *shortcuts, size_t count, struct prune_status *st);
void prune_drop_close(struct prune_drop *d);  /* accepts a zeroed or closed one */

/* Values per unit of the whole network become values per unit of the smaller one. */
void prune_drop_values(const struct prune_drop *d, const struct prune_units *whole, const double *values, double *out);

/* Weights of the whole network's shape that equal the smaller network rewritten by `plan`: readers silenced as in prune_rewrite_masked, and each block by
 * zeroes in the producers that end its branch. Fails where no weights do that (prune_block_silence says why). */
enum prune_code prune_drop_masked(const struct prune_plan *plan, const struct prune_dropped *dropped, const char *path, struct prune_status *st);
/* Fails as prune_drop_masked would, writing nothing. silent: NULL, or one flag per layer of the whole network. */
enum prune_code prune_drop_silence(const struct prune_dropped *dropped, uint8_t *silent, struct prune_status *st);

/* The text alone (drop_text.c). dropped: blocks, whole, old_of, new_of are filled. */
enum prune_code prune_drop_text(const struct prune_dropped *dropped, char **bytes, size_t *size, struct prune_status *st);

#endif
