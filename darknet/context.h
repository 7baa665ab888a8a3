/* The one process context of the host side. Overridden Darknet functions carry no argument of ours, so what they must know lives here; everything else
 * takes parameters. Set by host_pjreddie.c, train_*.c and tests; read by kernels/, gate_layer.c and train_hook.c. */
#ifndef DARKNET_CONTEXT_H
#define DARKNET_CONTEXT_H

#include <darknet.h>
#include <stdbool.h>
#include <stdint.h>

struct batchnorm_gate;
struct inference;

struct host_context {
    int threads;            /* worker threads of kernels/pool (>= 1) */
    bool rolling_statistics;/* batch-norm uses rolling statistics although net.train is 1, forward and backward; dropout is the identity */
    bool gates_only;        /* backward passes leave weights, biases and scales alone: they serve gates (backward.h) */
    bool keep_deltas;       /* backward passes leave dE/ds, s the sums in front of batch-norm, in l.delta of convolutional and connected layers, times -1 */
    bool quiet;             /* heads print no statistics */
    uint64_t seed;          /* dropout and initialisation */
    uint64_t iteration;     /* of training; key of dropout's random numbers */
    bool calibrating;       /* batch-norm replaces rolling statistics by the running average over calls: see batchnorm.c */
    uint64_t calibration_batches;  /* done so far */
    const struct batchnorm_gate *gate; /* NULL, or the gate of the layer whose forward or backward pass is called: kernels/batchnorm.h */
    double *image_loss;     /* NULL or batch doubles: heads ADD each image's loss (the one whose gradient they descend) */
    struct inference *inference; /* NULL, or passes with net.train == 0 need nothing but outputs: kernels/inference.h */
};

struct host_context *host_context(void);

#endif
