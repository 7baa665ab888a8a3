/* How a convolution is cut into work, and the buffers it runs on.
 *
 * The image is copied into planes padded with zeros, so that for every tap (ky, kx) the inputs of ALL outputs lie at one constant offset:
 * out[f][p] = sum over (channel, tap) of w[f][channel, tap] * in[channel][p + offset(tap)], with p = row * pitch + column. Pixels that a row
 * needs beyond its right edge are the zeros that start the next row. With stride s the padded plane is split into s*s phases (every s-th row
 * and column), after which taps are constant offsets again. Small planes of several images are laid one after the other. A 1x1 convolution
 * with stride 1 and no padding needs no copy. The same picture serves the input gradient (w transposed, offsets negative, one phase at a time)
 * and the weight gradient (sums over p of delta[p] * in[p + offset]).
 *
 * Letters: h, w, c input; oh, ow, n output; K = size*size taps; a unit is several whole images or a band of rows of one image. */
#ifndef DARKNET_KERNELS_CONV_PLAN_H
#define DARKNET_KERNELS_CONV_PLAN_H

#include <darknet.h>
#include <stdbool.h>
#include <stdint.h>

struct conv_plan {
    int batch, c, h, w, n, oh, ow, size, stride, pad, groups;
    int cg, ng;              /* channels and filters of one group */
    int taps, terms;         /* size*size, cg*size*size */
    int reach;               /* (size - 1) / stride: output rows that read one input row, less one */
    int phases;              /* phases per axis that have taps: min(size, stride) */
    bool direct;             /* 1x1, stride 1, no padding: planes are used where they lie */
    bool narrow;             /* fewer filters in a group than vector_ops has rows: correlate, not correlate_many */
    bool narrow_back;        /* fewer channels, the same for the input gradient */
    bool flat;               /* packed planes have no gaps: lines (below) are pixels, otherwise rows */
    int pitch;               /* row pitch of packed planes */
    int images;              /* images of a unit (the last unit may hold fewer) */
    int image_rows;          /* packed rows per image, when a unit holds several */
    int bands, band;         /* bands per image, output rows of a band; bands == 1 when images > 1 */
    int units;
    bool by_channel;         /* threads share channels of every unit instead of units */
    int tasks;
};

struct conv_unit { int image, images, y0, y1; };   /* output rows y0..y1-1 of images image..image+images-1 */

struct conv_plan conv_plan_make(const layer *l, bool backward);
struct conv_unit conv_plan_unit(const struct conv_plan *p, int unit);
/* Lines of a unit's packed output: rows, or single pixels when planes have no gaps. */
int conv_unit_lines(const struct conv_plan *p, struct conv_unit u);
/* First output channel (filter) of a task when tasks share groups x per_group of them in whole blocks of vector_ops' rows. */
int conv_plan_share(const struct conv_plan *p, int groups, int per_group, int task);

/* A piece of work that stays in the second-level cache: lines of the packed plane, and output rows (filters, channels) made at a time. */
struct conv_tile { int lines, rows; size_t stride; };   /* stride: floats of a row of the tile */
struct conv_tile conv_tile_make(int lines, int pixels_per_line, int floats_per_pixel);

/* Input rows y0..y1-1 whose gradient a unit computes; the units of an image share its rows out. */
struct conv_rows { int y0, y1; };
struct conv_rows conv_unit_input(const struct conv_plan *p, struct conv_unit u);

/* Packed input of one group: floats per channel, and the offset of each term (cg * taps). */
size_t conv_input_stride(const struct conv_plan *p);
void conv_input_offsets(const struct conv_plan *p, int32_t *offsets);
void conv_pack_input(const struct conv_plan *p, struct conv_unit u, int group, const float *input, float *packed);

/* Packed delta of one group: rows `first`.. of the output, zeros outside. Offsets of the terms of phase (py, px) in the order filter, tap. */
struct conv_delta { int first, last; size_t origin; };   /* rows first..last-1; origin: position of row `first`, column 0 */
struct conv_delta conv_delta_layout(const struct conv_plan *p, struct conv_unit u);
size_t conv_delta_stride(const struct conv_plan *p);   /* floats per filter, the same for every unit */
void conv_pack_delta(const struct conv_plan *p, struct conv_unit u, struct conv_delta d, int group, const float *delta, float *packed);
int conv_phase_taps(const struct conv_plan *p, int py, int px, int *ky, int *kx);   /* returns how many; arrays of `taps` */

/* Weights as vector_ops.correlate wants them: per group and block of `rows` outputs, (terms, rows), short blocks filled with zeros. */
size_t conv_forward_weights_size(const struct conv_plan *p, int rows);
void conv_forward_weights(const struct conv_plan *p, int rows, const float *weights, float *packed);
/* For the input gradient: phases one after the other, per group and block of channels, (ng * taps of the phase, rows). */
size_t conv_backward_weights_size(const struct conv_plan *p, int rows);
void conv_backward_weights(const struct conv_plan *p, int rows, const float *weights, float *packed);

#endif
