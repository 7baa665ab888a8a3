/* Widths: which layers' channel counts can only change together. In: a checked net and its units. Out: for every layer that makes channels the
 * group it belongs to, and for every group why its width is fixed, if it is.
 * Tied are: the sources of a shortcut of equal width (a shortcut of unequal ones adds what there is, and stays valid), both factors of a product,
 * what a depthwise or grouped convolution reads with what it makes, convolutions that share values, what a route of slices reads. Through a route all its sources are tied.
 * Fixed is a group with a channel that may not be removed either: read by a head or a loss, an output, mixed across channels, protected by the user. */
#ifndef PRUNE_UNITS_WIDTHS_H
#define PRUNE_UNITS_WIDTHS_H

#include "units.h"

struct prune_widths {
    int *group_of;                       /* [layer]: the first layer of its group; -1: the layer makes no channels */
    const char **fixed;                  /* [first layer of a group]: NULL = may be widened; else text that lives as long as the units */
    size_t layer_count;
};

enum prune_code prune_widths_build(struct prune_widths *w, const struct prune_net *net, const struct prune_units *units, struct prune_status *st);
void prune_widths_free(struct prune_widths *w);

#endif
