/* Bundles: the atomic steps of selection, in the order in which they would go. A bundle is one unit, or the units that balanced parts must
 * lose together (paired by rank), or as many of those as a channel multiple demands. Private to select/. */
#ifndef PRUNE_SELECT_BUNDLES_H
#define PRUNE_SELECT_BUNDLES_H

#include "select.h"

struct prune_bundle { size_t first, count; double key; };      /* units[first .. first + count) of prune_bundles */
struct prune_bundles { struct prune_bundle *items; size_t count; int *units; size_t unit_count; };

/* Bundles of the units that may still go (not protected, not removed), ascending by key; ties by unit number. */
enum prune_code prune_bundles_build(struct prune_bundles *b, const struct prune_net *net, const struct prune_units *units, const double *scores,
                                    const struct prune_select_options *o, const uint8_t *removed, struct prune_status *st);
void prune_bundles_free(struct prune_bundles *b);

#endif
