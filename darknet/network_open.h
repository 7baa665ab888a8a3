/* Opening a network safely: our own checks first (plugin/model), struct layout check, [gate] sections taken out, then the host's parser. */
#ifndef DARKNET_NETWORK_OPEN_H
#define DARKNET_NETWORK_OPEN_H

#include <darknet.h>
#include "../plugin/host.h"
#include "../plugin/model/net_shape.h"
#include "../plugin/units/units.h"
#include "gate_layer.h"

/* Opens the host's libraries and checks their layout, the first time; before any call of a host function and before any thread. */
enum prune_code host_library_open(struct prune_status *st);
/* Fails unless the library lays out `layer` and `network` as the header this was compiled with. */
enum prune_code host_layout_check(struct prune_status *st);

struct open_network {
    network *net;
    struct prune_cfg cfg; struct prune_net shape;   /* as the user's file has it, [gate] sections included */
    bool gated;                                      /* the cfg carries [gate] sections */
    size_t loaded_layers;                            /* of the weights file (prefix allowed) */
    struct gate_table *gates;                        /* of the [gate] sections; NULL without. May be replaced (gate_detach first) */
    float *workspace;                                /* net->workspace where we enlarged it: the host never frees one */
    struct prune_units units;                        /* numbering of the gates; filled only when gated */
};
/* weights NULL: fresh, from host_context()->seed. allow_prefix: accept darknet53.conv.74-like files. Batch (images per forward pass) as in the cfg
 * unless batch > 0. Layers that the file does not hold start fresh. A gated cfg gets its gates attached, with the values of <base>.gates beside the
 * weights where that file exists. The struct points into itself: never copy or move it. */
enum prune_code network_open(struct open_network *out, const char *cfg, const char *weights, bool allow_prefix, int batch, bool quiet, struct prune_status *st);
void network_close(struct open_network *n);          /* accepts a zeroed one */

/* Attaches gates to the layers with a [gate] section (all z = 1). */
enum prune_code network_gates_attach(struct open_network *n, struct prune_status *st);

/* The cfg as the host's parser may see it: no [gate] sections, LF, batch replaced when > 0. *bytes malloc'd. */
enum prune_code network_host_cfg(const struct open_network *n, int batch, char **bytes, size_t *size, struct prune_status *st);
/* The host's parser on a cfg in memory. NULL when memory for the file is refused. */
network *network_parse(const char *bytes, size_t size, bool quiet);

#endif
