/* Gates: one scalar z per unit that multiplies channels, after batch-norm and before the activation (or on a layer's output). Implementation:
 * the layer's forward/backward pointers are wrapped, so saving, loading and resizing see an ordinary network; z = 1 is bit-identical to no gate.
 * Gate values live in this table, never in .weights. */
#ifndef DARKNET_GATE_LAYER_H
#define DARKNET_GATE_LAYER_H

#include <darknet.h>
#include "../plugin/host.h"

struct gate_table;   /* of one network */

/* Wraps the layers that carry a site. One table per network; one network with gates per process at a time is enough. */
enum prune_code gate_attach(struct gate_table **out, network *net, const struct prune_gate_site *sites, size_t n, size_t units, struct prune_status *st);
void gate_detach(struct gate_table *g);                   /* restores the pointers; accepts NULL */
float *gate_values(struct gate_table *g);                 /* units values, 1 at attach */
/* Collecting: which signals backward passes add up. Buffers are zeroed by gate_signals_reset. */
void gate_collect(struct gate_table *g, unsigned signals);
void gate_signals_reset(struct gate_table *g);
/* Sums over the minibatch since reset of dE_b/dz_u, TRUE sign (Darknet's delta is negative): (units) */
const double *gate_batch_sums(const struct gate_table *g);
/* (batch, units), NULL unless PRUNE_SIGNAL_GATE_IMAGE is collected */
const float *gate_image_sums(const struct gate_table *g);

#endif
