/* Inference: forward passes after which nobody runs backward. Between begin and end, inside inference_forward with net.train == 0:
 * - frozen batch-norm is folded into the convolution: l.output = f(a * sum + b) while a tile is in the cache; l.x is not written;
 * - Winograd's transformed filters are kept from pass to pass, so nobody may change weights in between: evaluate.c and host_milliseconds hold one for a
 *   walk over images. Memory: 4 times the size of those layers' filters;
 * - inference_forward does not clear deltas. */
#ifndef DARKNET_KERNELS_INFERENCE_H
#define DARKNET_KERNELS_INFERENCE_H

#include <darknet.h>
#include <stdbool.h>

struct kept_weights;
struct inference { struct kept_weights *items; size_t count, capacity, next; bool running; };

/* One at a time in the process (host_context()->inference); begin inside another one's keeps that one, and its end leaves it. */
void inference_begin(struct inference *in);
void inference_end(struct inference *in);
/* Bytes kept now; 0 outside. */
size_t inference_bytes(void);

/* As the host's forward_network, which it calls when the network is in training mode. */
void inference_forward(network *net);
/* Layers first .. last alone, on what the layers before them hold; not in training mode. */
void inference_layers(const network *net, int first, int last);

/* True in a pass as above. */
bool inference_pass(network net);
/* Room for `floats` of a layer's transformed filters; *filled: they are there from an earlier pass with the same layout, a number of the caller's: the
 * plan, and with it the order of the filters, may change with the batch. NULL outside such a pass and when memory is
 * short: use a buffer of the pool. Outside tasks only. */
float *inference_weights(const layer *l, size_t floats, int layout, bool *filled);

#endif
