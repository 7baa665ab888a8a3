/* 3x3 convolutions with stride 1 and padding 1 by Winograd's minimal filtering F(4x4, 3x3): 36 products per tile of 16 outputs and pair of channels
 * instead of 144 (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016). For each of the 36 products a unit (several images, or
 * a band of tile rows of one) is one matrix product: (filters x channels) by (channels x tiles). The input gradient is the same with turned
 * filters; the weight gradient multiplies the transformed delta and input along the tiles.
 * Rounding: about 3 times that of direct sums (2e-6 of the largest value with 64 channels). */
#ifndef DARKNET_KERNELS_WINOGRAD_H
#define DARKNET_KERNELS_WINOGRAD_H

#include <darknet.h>
#include <stdbool.h>

#include "conv_finish.h"

struct winograd_plan {
    int batch, c, n, h, w;
    int columns, rows;       /* tiles across and down an image */
    int images;              /* of a unit; 1 when bands > 1 */
    int bands, band;         /* per image; tile rows of one */
    int units, tasks;
    int block;               /* > 0: wide, filters of a block */
    size_t stride;           /* tiles of a unit at most, rounded up to whole vectors */
};

/* Whether this layer runs faster so on this machine, forward or backward. */
bool winograd_suits(const layer *l);
struct winograd_plan winograd_plan_make(const layer *l);

/* finish: what to do with each channel's rows of a unit (conv_finish.h) */
void winograd_forward(const layer *l, const struct winograd_plan *p, const float *input, const struct conv_finish *finish);
/* l->delta: what batchnorm_backward_sums left (afterwards it may be either). Adds to l->weight_updates and, unless NULL, input_delta. */
void winograd_backward(const layer *l, const struct winograd_plan *p, const struct batchnorm_rest *rest, const float *input, float *input_delta);

/* The same for many channels (p->block > 0): winograd_wide.c. */
void winograd_wide_forward(const layer *l, const struct winograd_plan *p, const float *input, const struct conv_finish *finish);
void winograd_wide_backward(const layer *l, const struct winograd_plan *p, const float *input, float *input_delta);

#endif
