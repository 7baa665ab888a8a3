/* The signal LAYERS: inputs of convolutional and connected layers and the gradients at their sums, in front of batch-norm, as views of what a backward pass has
 * left behind. Used by extra_signals.c. The labels' own gradients are those of the pass that somebody runs anyway, unless other passes come in between. */
#ifndef DARKNET_LAYER_SIGNALS_H
#define DARKNET_LAYER_SIGNALS_H

#include "gate_layer.h"

struct layer_signals;
struct layer_options {
    const uint8_t *layers;    /* (layers of the net), copied; NULL: all */
    enum prune_fisher fisher;
    uint64_t seed;
    bool after_others;        /* further backward passes come between the labels' own and layers_pass */
};
/* gates may be NULL. Refuses heads without a distribution, and binary or xnor convolutions. Layers that backward passes do not reach (stopbackward) are
 * left out, wanted or not. */
enum prune_code layers_open(struct layer_signals **out, network *net, struct gate_table *gates, const struct layer_options *o, struct prune_status *st);
void layers_close(struct layer_signals *x);   /* accepts NULL */
/* The labels' backward pass is read as it is: it must reach layer layers_lowest, with host_context()->keep_deltas. */
bool layers_from_labels(const struct layer_signals *x);
int layers_lowest(const struct layer_signals *x);
/* Before other passes: keeps what the heads hand on. */
void layers_remember(struct layer_signals *x);
/* Last of all passes over net->batch images, the first of them of that ordinal. */
void layers_pass(struct layer_signals *x, uint64_t ordinal);
/* Valid until the next forward or backward pass. */
void layers_fill(struct layer_signals *x, struct prune_signals *out);

#endif
