/* The tensors of a network in the order of a weights file, with the buffers of their momentum: what saving and restoring walk over. */
#ifndef DARKNET_LAYER_TENSORS_H
#define DARKNET_LAYER_TENSORS_H

#include <darknet.h>
#include <stdbool.h>
#include "../plugin/model/weights_file.h"

struct layer_tensor {
    int layer;
    enum prune_role role;
    const char *name;      /* of the role */
    float *data;
    float *updates;        /* momentum of the same shape; NULL for statistics */
    size_t count;
};
/* saved: layers with dontsave=1 are left out, as the host leaves them out of a weights file. *out malloc'd. */
enum prune_code layer_tensors(const network *net, bool saved, struct layer_tensor **out, size_t *count, struct prune_status *st);

#endif
