/* Network shape: cfg text -> layers with sizes, sources, parameters and cost, as pjreddie Darknet builds them.
 * Every way a cfg can make the host crash or go silently wrong is refused here, with file:line, so the host never sees it.
 * Units: MACs = multiply-adds of one forward pass of one image; BFLOPs (Darknet's) = 2 MACs / 1e9. */
#ifndef PRUNE_MODEL_NET_SHAPE_H
#define PRUNE_MODEL_NET_SHAPE_H

#include <stdint.h>
#include "cfg_text.h"
#include "layer_kinds.h"

enum prune_task { PRUNE_TASK_OTHER, PRUNE_TASK_CLASSIFIER, PRUNE_TASK_DETECTOR };

struct prune_layer {
    int index;                           /* Darknet's layer number; [gate] sections have none */
    size_t section;                      /* in prune_cfg.sections */
    int line;
    enum prune_kind kind;
    int w, h, c;                         /* input map; (1, 1, inputs) after a flat layer */
    int out_w, out_h, out_c;
    int inputs, outputs;                 /* w*h*c, out_w*out_h*out_c */
    int size, stride, pad;               /* pad in pixels, as the host computes it; maxpool: its total padding */
    int groups;                          /* convolutional; 1 otherwise */
    bool batch_normalize;
    enum prune_activation activation;    /* PRUNE_LINEAR where the kind has none */
    int *sources;                        /* absolute layer indices: route (all), shortcut ({previous, from}); else {previous}; -1 = network input */
    size_t source_count;
    bool reverse, flatten;               /* reorg, route variants */
    int hidden;                          /* crnn: hidden_filters */
    int classes, coords, num, side;      /* heads; anchors in use of a yolo layer = num of its mask */
    int gate_section;                    /* section of the [gate] bound to this layer, or -1 */
    bool dontload, dontsave, dontloadscales, flipped; int numload;
    uint64_t parameters;                 /* trained values in the weights file, statistics not counted */
    uint64_t macs;
};

struct prune_net {
    const struct prune_cfg *cfg;         /* borrowed: outlives the net */
    int w, h, c, inputs;                 /* inputs = w*h*c unless the cfg says inputs= */
    int batch, subdivisions, time_steps; /* batch as in the cfg (before division by subdivisions) */
    bool adam;
    enum prune_task task;                /* yolo/region/detection: detector; softmax or cost of a vector at the end: classifier */
    int classes;                         /* of the head, 0 if none */
    struct prune_layer *layers;
    size_t layer_count;
    uint64_t parameters, macs;           /* sums */
};

enum prune_code prune_net_build(struct prune_net *net, const struct prune_cfg *cfg, struct prune_status *st);
void prune_net_free(struct prune_net *net);
/* Reads and checks in one go; on success *cfg and *net are both to be freed. */
enum prune_code prune_net_read(struct prune_cfg *cfg, struct prune_net *net, const char *path, struct prune_status *st);
double prune_bflops(uint64_t macs);

/* What a host needs besides the cfg, to be asked before it sees the file: the files that tree= and map= name can be read (the host would
 * exit), and its buffers for `batch` images per pass (0: the cfg's) fit this machine's memory and swap (it would crash). */
enum prune_code prune_net_check_host(const struct prune_net *net, int batch, struct prune_status *st);

#endif
