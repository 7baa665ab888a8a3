/* Gates: one scalar z per unit that multiplies channels, after batch-norm and before the activation (or on a layer's output). Implementation:
 * the layer's forward/backward pointers are wrapped, so saving, loading and resizing see an ordinary network; z = 1 is bit-identical to no gate.
 * Gate values live in this table, never in .weights. */
#ifndef DARKNET_GATE_LAYER_H
#define DARKNET_GATE_LAYER_H

#include <darknet.h>
#include <stdbool.h>
#include "../plugin/host.h"

struct gate_table;   /* of one network; several networks may have one */

/* Wraps the layers that carry a site; z = 1. Refuses sites on a layer without channels of its own (dropout), out of range, or given twice. */
enum prune_code gate_attach(struct gate_table **out, network *net, const struct prune_gate_site *sites, size_t n, size_t units, struct prune_status *st);
void gate_detach(struct gate_table *g);                   /* restores the pointers; accepts NULL; call it before free_network */
float *gate_values(struct gate_table *g);                 /* units values, 1 at attach; a new value acts in the next forward pass */
size_t gate_units(const struct gate_table *g);
/* Of each channel of a layer the unit whose gate of that place it carries, or -1; NULL: no gate of that place there. */
const int *gate_channels(const struct gate_table *g, int layer, enum prune_gate_place place, int *channels);

/* Collecting: which signals the backward passes of training-mode runs add up; 0 = none. Of MARGINS, CURVATURE and PRODUCT nothing is added up, but forward
 * passes keep what a later backward pass needs. images: how many one minibatch may have.
 * Buffers are zeroed by gate_signals_reset. */
enum prune_code gate_collect(struct gate_table *g, unsigned signals, size_t images, struct prune_status *st);
void gate_signals_reset(struct gate_table *g);
/* The next pass holds the images behind the `images` of the last one: a minibatch may be larger than a pass. */
void gate_signals_advance(struct gate_table *g, size_t images);
/* Sums over the minibatch since reset of dE_b/dz_u, TRUE sign (Darknet's delta is negative): (units) */
const double *gate_batch_sums(const struct gate_table *g);
/* (images, units), NULL unless PRUNE_SIGNAL_GATE_IMAGE is collected */
const float *gate_image_sums(const struct gate_table *g);
/* While rows is not NULL, backward passes add dE_b/dz_u to rows[b * stride + u] and to nothing else: for cotangents other than the loss's. */
void gate_redirect(struct gate_table *g, float *rows, size_t stride);
/* While muted, backward passes add dE/dz to nothing: for cotangents that gates are not asked about. */
void gate_mute(struct gate_table *g, bool muted);
/* A layer as a pass beside the network's own sees it (tangent.c): its own functions, and, behind a forward pass that was collecting, what its gates multiplied. */
struct gate_view {
    void (*forward)(layer, network), (*backward)(layer, network);
    int channels;
    const int *before, *after;   /* (channels) unit or -1; NULL: no gate in front of the activation (behind it) */
    bool inner;                  /* those of `before` are in front of batch-norm */
    const float *sums;           /* what those of `before` multiply, where the layer does not normalise */
    const float *output;         /* the output in front of the gates behind it */
};
struct gate_view gate_view(const struct gate_table *g, int layer);
/* The first layer with a gate; the number of layers when there is none. */
int gate_lowest(const struct gate_table *g);
/* True when memory ran out inside a pass, which cannot report it: the numbers of that pass are void. */
bool gate_failed(const struct gate_table *g);

/* f(z y) = z f(y) for z >= 0: what a gate did can be had from the output, and done there. */
bool gate_passes_factor(ACTIVATION f);

#endif
