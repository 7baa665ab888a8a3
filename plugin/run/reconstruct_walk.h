/* Two networks walked side by side over N images, layer by layer: the original, and the pruned one whose weights change on the way. What a layer needs of the
 * layers before it is computed in a sweep over the images, in batches, from the last checkpoint on: the outputs, of all images, that layers from there on
 * read. With room for checkpoints every layer is run once; without, a sweep starts further back, at worst at the images. */
#ifndef PRUNE_RUN_RECONSTRUCT_WALK_H
#define PRUNE_RUN_RECONSTRUCT_WALK_H

#include "../host.h"
#include "../model/net_shape.h"

enum { PRUNE_ORIGINAL, PRUNE_PRUNED, PRUNE_SIDES };

struct prune_walk_side {
    struct prune_host_net *net;
    const struct prune_net *shape;
    size_t batch;                        /* images the host takes at once */
    int from;                            /* checkpoint: layers from here on have what they need in `kept` */
    float **kept;                        /* [layer] (N, outputs), or NULL */
    uint8_t *wanted;                     /* [layer] private: kept after the sweep at hand */
    struct prune_given_output *given;    /* [layer] private */
};

struct prune_walk {
    const struct prune_host *host;
    struct prune_walk_side sides[PRUNE_SIDES];
    float *images; size_t count, inputs; /* (N, inputs) */
    size_t batch;                        /* of a sweep: the smaller of both */
    double memory;                       /* bytes that images and checkpoints may take */
};

/* Opens both pairs in the host and loads the images. shapes: of the same cfgs; borrowed. memory 0: 2 GiB. */
struct prune_walk_input {
    const char *cfg[PRUNE_SIDES], *weights[PRUNE_SIDES];
    const struct prune_net *shape[PRUNE_SIDES];
    struct prune_image_set images;       /* .limit of them */
    struct prune_open_options open;
    double memory;
};
enum prune_code prune_walk_open(struct prune_walk *w, const struct prune_host *host, const struct prune_walk_input *in, struct prune_status *st);
void prune_walk_close(struct prune_walk *w);   /* accepts a zeroed one */

/* One batch of the images, with every layer before `at` run; valid during the callback. */
typedef enum prune_code (*prune_walk_sink)(void *user, size_t first_image, size_t images, struct prune_status *st);
/* at[side]: the layer whose input is wanted; never smaller than in the sweep before. Layers at and after it are yet to be run: their weights may change. */
enum prune_code prune_walk_sweep(struct prune_walk *w, const int at[PRUNE_SIDES], prune_walk_sink sink, void *user, struct prune_status *st);
/* In the callback: what `layer` gave for the batch (first_image: its first), (images, outputs); layer -1: the images themselves. */
enum prune_code prune_walk_output(const struct prune_walk *w, int side, int layer, size_t first_image, const float **values, struct prune_status *st);

#endif
