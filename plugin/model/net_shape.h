/* Network shape: cfg text -> layers with sizes, sources, parameters and cost, as the Darknets build them (docs/dialects.md).
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
    int stride_x, stride_y;              /* convolutional, maxpool, local_avgpool; both = stride otherwise */
    int dilation;                        /* 1 otherwise */
    int groups;                          /* convolutional, conv_lstm, crnn, route (slices per source); 1 otherwise */
    int group_id;                        /* route: the slice that is read, 0 .. groups-1 */
    int antialiasing;                    /* 0; 1: 3x3 blur, 2: 2x2 blur behind the layer, at stride_x, stride_y; the layer itself runs at stride 1 */
    int sharp_w, sharp_h;                /* size before the blur; out_w, out_h without one */
    int share;                           /* convolution whose stored values this one uses (never a sharing one itself), or -1 */
    bool batch_normalize;
    enum prune_activation activation;    /* PRUNE_LINEAR where the kind has none */
    int *sources;                        /* absolute layer indices: route (all), shortcut ({previous, from...}), scale_channels and sam ({previous, from}),
                                            yolo with an embedding layer ({previous, embedding}), implicit (none); else {previous}; -1 = network input */
    size_t source_count;
    bool reverse, flatten;               /* reorg, route variants */
    int hidden;                          /* crnn: hidden filters; rnn of AlexeyAB's: hidden units (0: no such key) */
    enum prune_weights_type { PRUNE_WEIGHTS_NONE, PRUNE_WEIGHTS_PER_FEATURE, PRUNE_WEIGHTS_PER_CHANNEL } weights_type;     /* shortcut */
    bool scale_wh;                       /* scale_channels: one map for all channels */
    bool maxpool_depth;                  /* maxpool over channels: mixes them */
    int atoms;                           /* implicit: rows of its map */
    bool peephole, bottleneck;           /* conv_lstm */
    int refers_to;                       /* contrastive: its yolo layer, a number to keep right; -1 otherwise */
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
    int dialects;                        /* bits of prune_dialect: the Darknets that can load the cfg; never 0 */
    int foreign_line; char foreign[64];  /* first thing pjreddie's Darknet, the training host, does not know: line and text ("[sam]", "activation=mish"); line 0: none */
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

/* What a host needs besides a cfg that is right, to be asked before it sees the file: pjreddie's Darknet knows all of it and its buffers of truths
 * are large enough for max=; the files that tree= and map= name can be read (the host would exit), and its buffers for `batch` images per pass (0: the cfg's) fit this machine's memory and swap (it would crash). */
enum prune_code prune_net_check_host(const struct prune_net *net, int batch, struct prune_status *st);

#endif
