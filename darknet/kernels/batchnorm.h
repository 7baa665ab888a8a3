/* Batch normalisation, the parts that convolution.c and connected.c share.
 *
 * y = scale * (x - mean) / (sqrt(variance) + 1e-6) + bias per channel, over N = batch * spatial values.
 * Batch statistics (training): variance = sum (x - mean)^2 / (N - 1), as the host has it; rolling = .99 rolling + .01 batch, or while
 * host_context()->calibrating the running average over calls. Frozen statistics (net.train 0 or host_context()->rolling_statistics): the rolling
 * ones. The backward pass is the gradient of exactly the forward that ran. l.x holds x; l.x_norm is not used. */
#ifndef DARKNET_KERNELS_BATCHNORM_H
#define DARKNET_KERNELS_BATCHNORM_H

#include <darknet.h>
#include <stdbool.h>
#include "vector.h"

/* Mean and sum of squared deviations of `count` values; merged without cancellation (Chan, Golub, LeVeque 1979). */
struct moments { double count, mean, squares; };
void moments_merge(struct moments *into, double count, double mean, double squares);

/* A factor per channel between the normalisation and the activation, y = z * (a x + b), and what the backward pass sums up anyway: of d, the gradient
 * with respect to y, sum d and sum d (x - mean) over a channel. Set in host_context()->gate for one layer's pass; z = 1 changes no bit.
 * `inner`: the factor sits in front of the normalisation. Frozen, y = a z x + b. With batch statistics, those of z x: its mean z m and deviation |z| s make
 * y = scale z (x - m) / (|z| s + 1e-6) + bias: any z > 0 does next to nothing. l.x, l.mean, l.variance and the rolling statistics stay those of x.
 * batchnorm_apply and batchnorm_backward_delta honour it; a forward pass with frozen statistics may not go through batchnorm_apply. */
struct plane_sums { double delta, product; };
struct batchnorm_gate {
    const float *z;                       /* (out_c) */
    bool inner;
    struct plane_sums *images, *total;    /* NULL or filled by the backward pass: (batch, out_c), (out_c) */
};

bool batchnorm_frozen(network net);
/* m: (out_c). Sets l.mean and l.variance and moves the rolling statistics. */
void batchnorm_take_moments(layer l, const struct moments *m);
void batchnorm_take_channel(const layer *l, int channel, const struct moments *m);
/* dE/dz of one channel of a layer with an inner gate of value z, from sums over the channel. */
double batchnorm_inner_slope(const layer *l, bool frozen, int channel, float z, const struct plane_sums *sums);
/* y = a*x + b of one channel */
void batchnorm_coefficients(layer l, bool frozen, int channel, float *a, float *b);
/* l.output = f(normalised l.x), f fused where it can be */
void batchnorm_apply(layer l, bool frozen, ACTIVATION f);
/* one channel of all images */
void batchnorm_apply_channel(const layer *l, bool frozen, int channel, enum vector_activation f);

/* The backward pass from l.delta at the layer's output to l.delta at the convolution's: f', then normalisation (when l.batch_normalize or a [batchnorm]
 * layer), or the bias alone. Adds to bias_updates and scale_updates once per channel. */
void batchnorm_backward_delta(layer l, network net, ACTIVATION f, bool normalised);

/* The same in two steps, for kernels that take the second one plane by plane while it is in the cache: after the sums, l.delta is still the one at the
 * output if rest.normals is not NULL. Valid until the next call into batchnorm.c. */
struct batchnorm_rest {
    const layer *l;
    const struct vector_normal *normals;   /* (out_c), or NULL: l.delta is final */
    const float *z;                        /* the gate, or NULL */
};
struct batchnorm_rest batchnorm_backward_sums(const layer *l, network net, ACTIVATION f, bool normalised);
/* n values from `at` of l.delta, all of one channel; out may be where they are. */
void batchnorm_rest_run(const struct batchnorm_rest *r, int channel, size_t at, size_t n, float *out);
void batchnorm_rest_all(const struct batchnorm_rest *r);   /* in place */

/* batchnorm_backward_sums channel by channel, for kernels that finish a channel while it is in the cache: begin outside tasks, then every channel once,
 * from any thread; rest_run of a channel follows its back_channel. */
struct batchnorm_back { struct batchnorm_rest rest; struct plane_sums *sums; bool frozen, normalised; ACTIVATION f; };
struct batchnorm_back batchnorm_back_begin(const layer *l, network net, ACTIVATION f, bool normalised);
void batchnorm_back_channel(const struct batchnorm_back *b, int channel);

#endif
