/* What struct prune_units keeps in `owned`, and the steps of its construction. Private to units/. */
#ifndef PRUNE_UNITS_UNITS_PRIVATE_H
#define PRUNE_UNITS_UNITS_PRIVATE_H

#include "channel_graph.h"

/* Cost as a function of the channels that are kept: pair * in * out + each * out. A grouped convolution has a row for each group, since
 * what a group keeps is its own affair; other layers have one. Costs whatever the channels are `rest` below. */
struct prune_cost_row {
    const int *in, *out;                     /* units (-1: stays) */
    size_t in_count, out_count;
    uint64_t macs_pair, macs_each, parameters_pair, parameters_each;
};
struct prune_touch { int row, in, out; };    /* removing the unit takes so many inputs and outputs of the row */

struct prune_units_private {
    char **texts; size_t text_count;
    int *input; size_t input_count;          /* all -1 */
    size_t *first_balance;                   /* [layer + 1]: the layer's balances */
    struct prune_cost_row *rows; size_t row_count;
    uint64_t macs_rest, parameters_rest;
    struct prune_touch *touches;
    size_t *first_touch;                     /* [unit + 1] */
};

enum prune_code prune_sites_build(struct prune_units *units, struct prune_graph *g, struct prune_status *st);
enum prune_code prune_costs_build(struct prune_units *units, const struct prune_net *net, struct prune_status *st);
/* Units of what a layer reads through its first source (none: count 0), and how many inputs each stands for; borrowed. */
const int *prune_units_read(const struct prune_units *units, const struct prune_net *net, int layer, size_t *count, size_t *area);

#endif
