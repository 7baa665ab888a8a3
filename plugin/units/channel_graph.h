/* Channel graph: which producers stand behind every output channel of every layer (DESIGN, "The channel graph").
 * In: a checked net. Out: for each layer a vector of elements (one per output channel), a union-find over the elements that says which
 * live and die together, why a class is protected, the ties for the user, and the balance constraints of grouped convolutions and routes.
 * An element is (layer, channel) of whoever makes the channel; elements of the network input, of heads and of recurrent layers are fixed:
 * they belong to no unit. Private to units/. Time and memory are linear in channels. */
#ifndef PRUNE_UNITS_CHANNEL_GRAPH_H
#define PRUNE_UNITS_CHANNEL_GRAPH_H

#include "units.h"

struct prune_element { int layer, channel; bool fixed; };     /* layer -1: the network input */

struct prune_graph {
    const struct prune_net *net;
    struct prune_element *elements; size_t element_count, element_room;
    int *parent;                         /* union-find over elements */
    const char **reason;                 /* of a root: why its class is protected, or NULL; text owned by `texts` */
    int *input; size_t input_count;      /* elements of the network input */
    int **out; size_t *out_count;        /* [layer][out channel] -> element */
    bool *read;                          /* [layer]: some layer reads it */
    bool *depthwise;                     /* [layer]: convolution that maps channel i to filters i*m .. i*m+m-1 */
    bool *blocks;                        /* [layer]: reorg whose blocks of stride^2 channels move whole */
    struct prune_balance *balances; size_t balance_count;     /* .units holds elements here */
    struct prune_tie *ties; size_t tie_count;
    char **texts; size_t text_count;
};

enum prune_code prune_graph_build(struct prune_graph *g, const struct prune_net *net, struct prune_status *st);
void prune_graph_free(struct prune_graph *g);
/* Union-find: the root of an element; paths are halved on the way. */
int prune_union_root(int *parent, int element);

/* Elements a layer reads through source number k (borrowed), and how many inputs each stands for when the source is read flat. */
const int *prune_graph_source(const struct prune_graph *g, const struct prune_layer *l, size_t k, size_t *count, size_t *area);

/* Appends text (owned from now on, also on failure) to a list that owns its strings; NULL: out of memory, or text was NULL. */
const char *prune_keep_text(char ***texts, size_t *count, char *text);

/* The input channel behind output channel i of a pass layer: maps flatten channel by channel. */
size_t prune_pass_channel(size_t out_count, size_t in_count, size_t i);
/* The block of input channels (of stride^2) behind output channel i of a reorg layer with c input channels. */
size_t prune_reorg_block(const struct prune_layer *l, size_t i);
/* False when a zero at the input (of a product: at one factor) of a layer that makes no channels is no zero at its output. */
bool prune_keeps_zero(const struct prune_layer *l);

#endif
