/* Opening a network safely: our own checks first (plugin/model), struct layout check, [gate] sections taken out, then the host's parser. */
#ifndef DARKNET_NETWORK_OPEN_H
#define DARKNET_NETWORK_OPEN_H

#include <darknet.h>
#include "../plugin/host.h"
#include "../plugin/model/net_shape.h"

/* Fails unless the installed library lays out `layer` and `network` as the header this was compiled with. Called by main once. */
enum prune_code host_layout_check(struct prune_status *st);

struct open_network {
    network *net;
    struct prune_cfg cfg; struct prune_net shape;   /* as the user's file has it, [gate] sections included */
    bool gated;                                      /* the cfg carries [gate] sections */
    size_t loaded_layers;                            /* of the weights file (prefix allowed) */
};
/* weights NULL: fresh. allow_prefix: accept darknet53.conv.74-like files. Batch as in the cfg unless batch > 0. */
enum prune_code network_open(struct open_network *out, const char *cfg, const char *weights, bool allow_prefix, int batch, bool quiet, struct prune_status *st);
void network_close(struct open_network *n);

#endif
