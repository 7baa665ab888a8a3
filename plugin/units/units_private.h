/* What struct prune_units keeps in `owned`, and the steps of its construction. Private to units/. */
#ifndef PRUNE_UNITS_UNITS_PRIVATE_H
#define PRUNE_UNITS_UNITS_PRIVATE_H

#include "channel_graph.h"

/* A layer's cost as a function of the input and output channels it keeps:
 * cost = pair * in * out / groups + each * out (+ rest, whatever the channels). */
struct prune_layer_cost {
    const int *in_units; size_t in_count;    /* input channels that count, as units (-1: stays); none for depthwise and batchnorm */
    uint64_t macs_pair, macs_each, macs_rest, parameters_pair, parameters_each, parameters_rest;
    uint64_t groups;
};
struct prune_touch { int layer, in, out; };  /* removing the unit takes so many inputs and outputs of the layer */

struct prune_units_private {
    char **texts; size_t text_count;
    int *input; size_t input_count;          /* all -1 */
    struct prune_layer_cost *costs;          /* [layer] */
    struct prune_touch *touches;
    size_t *first_touch;                     /* [unit + 1] */
};

enum prune_code prune_sites_build(struct prune_units *units, struct prune_graph *g, struct prune_status *st);
enum prune_code prune_costs_build(struct prune_units *units, const struct prune_net *net, struct prune_status *st);
/* Units of what a layer with one source reads, and how many inputs each stands for; borrowed. */
const int *prune_units_read(const struct prune_units *units, const struct prune_net *net, int layer, size_t *count, size_t *area);

#endif
