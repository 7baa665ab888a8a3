/* Copies of the rows of one plane with a border (plane_rows.h). */
#include "plane_rows.h"

#include "vector.h"
#include "whole_numbers.h"

struct plane_rows plane_rows_make(int h, int w, int out_h, int out_w, int size, int stride, int before)
{
    enum { FLOATS = 6144 };   /* with the outputs in the first-level cache */
    struct plane_rows p = {.h = h, .w = w, .out_h = out_h, .out_w = out_w, .size = size, .stride = stride, .before = before};
    int columns = at_least((w + before + stride - 1) / stride + 1, ((out_w + 2 * VECTOR_MAX_LANES - 1) & -2 * VECTOR_MAX_LANES) + (size - 1) / stride);

    columns = (columns + 7) & ~7;
    p.phase = stride == 2 ? columns : 0;
    p.pitch = columns * stride;
    p.band = at_least(1, (FLOATS / p.pitch - size) / stride + 1);
    if (p.band > out_h) p.band = out_h;
    p.floats = (size_t)((p.band - 1) * stride + size) * (size_t)p.pitch;
    return p;
}

void plane_rows_offsets(const struct plane_rows *p, int32_t *offsets)
{
    for (int ky = 0; ky < p->size; ++ky) {
        for (int kx = 0; kx < p->size; ++kx) *offsets++ = ky * p->pitch + (p->stride == 2 ? kx % 2 * p->phase + kx / 2 : kx);
    }
}

static void border_rows(const struct plane_rows *p, int rows, float border, float *buffer)
{
    for (int i = 0; i < rows * p->pitch; ++i) buffer[i] = border;
}

void plane_rows_pack(const struct plane_rows *p, int first, int last, const float *plane, float border, float *buffer)
{
    int y0 = first * p->stride - p->before, y1 = (last - 1) * p->stride - p->before + p->size;
    int above = y0 < 0 ? (y1 < 0 ? y1 - y0 : -y0) : 0, below = y1 > p->h ? (y0 > p->h ? y1 - y0 : y1 - p->h) : 0;
    int rows = y1 - y0 - above - below;
    const float *x = plane + (ptrdiff_t)(y0 + above) * p->w;

    border_rows(p, above, border, buffer);
    buffer += above * p->pitch;
    if (rows > 0 && p->stride == 1) {
        vector_ops()->place_rows((size_t)rows, (size_t)p->w, x, (size_t)p->w, buffer + p->before, (size_t)p->pitch);
    } else if (rows > 0) {
        float *even = buffer + p->before % 2 * p->phase + p->before / 2, *odd = buffer + (p->before + 1) % 2 * p->phase + (p->before + 1) / 2;
        vector_ops()->split_rows((size_t)rows, (size_t)p->w, x, (size_t)p->w, even, odd, (size_t)p->pitch);
    }
    border_rows(p, below, border, buffer + rows * p->pitch);
}
