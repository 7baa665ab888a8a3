/* Inference: forward passes after which nobody runs backward. Between begin and end, inside inference_forward with net.train == 0:
 * - frozen batch-norm is folded into the convolution: l.output = f(a * sum + b) while a tile is in the cache; l.x is not written;
 * - packed weights are kept from pass to pass, so nobody may change weights in between: evaluate.c and host_milliseconds hold one for a walk over images.
 *   Memory: what the packed weights of all convolutions need, their size in the file (4 times that of the layers that run as Winograd);
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

/* True in a pass as above. */
bool inference_pass(network net);
/* Room for `floats` of a layer's weights in the form `kind` (any number that tells forms of one layer apart); *filled: they are there from an earlier
 * pass. NULL outside such a pass and when memory is short: use a buffer of the pool. Outside tasks only. */
enum weights_kind { WEIGHTS_DIRECT, WEIGHTS_WINOGRAD, WEIGHTS_DEPTHWISE, WEIGHTS_GEMM };
float *inference_weights(const layer *l, enum weights_kind kind, size_t floats, bool *filled);

#endif
