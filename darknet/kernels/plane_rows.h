/* Rows of one plane copied between zeros (or any other border), as the stencil loops of vector.h want them: with stride 2 even and odd padded
 * columns lie apart, so that every tap is a constant offset. Used by depthwise.c and pooling.c. */
#ifndef DARKNET_KERNELS_PLANE_ROWS_H
#define DARKNET_KERNELS_PLANE_ROWS_H

#include <stddef.h>
#include <stdint.h>

/* A window of size x size over a (h, w) plane, `before` rows and columns of border above and to the left; out_h, out_w outputs. */
struct plane_rows {
    int h, w, out_h, out_w, size, stride, before;
    int phase;           /* floats from even to odd columns; 0 for stride 1 */
    int pitch;           /* floats per packed row */
    int band;            /* output rows packed at a time */
    size_t floats;       /* of the buffer */
};

/* stride 1 or 2 */
struct plane_rows plane_rows_make(int h, int w, int out_h, int out_w, int size, int stride, int before);
/* (size*size) offsets of the taps in the order row, column. */
void plane_rows_offsets(const struct plane_rows *p, int32_t *offsets);
/* The rows that outputs first..last-1 read (last - first <= band). Columns of border are not written: fill the buffer with it once. */
void plane_rows_pack(const struct plane_rows *p, int first, int last, const float *plane, float border, float *buffer);

#endif
