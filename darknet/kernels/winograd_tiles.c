/* Tiles of Winograd convolutions (winograd_tiles.h). */
#include "winograd_tiles.h"
#include "whole_numbers.h"

#include <string.h>

enum { SIDE = WINOGRAD_SIDE };

size_t winograd_vectors(size_t tiles)
{
    size_t n = (size_t)vector_ops()->lanes;

    return (tiles + n - 1) / n * n;
}

size_t winograd_pitch(size_t n)
{
    enum { LINE = 16 };

    return ((n + LINE - 1) / LINE | 1) * LINE;
}

struct winograd_span winograd_unit(const struct winograd_plan *p, int unit)
{
    struct winograd_span s = {.rows = p->rows};

    if (p->bands > 1) {
        s.image = unit / p->bands;
        s.images = 1;
        s.row = unit % p->bands * p->band;
        s.rows = at_most(p->band, p->rows - s.row);
    } else {
        s.image = unit * p->images;
        s.images = at_most(p->images, p->batch - s.image);
    }
    return s;
}

size_t winograd_grid_space(const struct winograd_plan *p) { return (size_t)(p->images * p->band * 6 + p->w) + 2 * p->stride; }

/* Source rows of each tile row: `count` from `first` rows below its top. */
static struct winograd_grid grid_make(const struct winograd_plan *p, struct winograd_span s, struct winograd_source from, int first, int count, int32_t *space)
{
    struct winograd_grid g = {.tile_rows = (size_t)(s.images * s.rows), .columns = (size_t)p->columns, .width = (size_t)p->w};
    int32_t *left = space, *right = left + p->stride, *zeros = right + p->stride, *rows = zeros + p->w;

    g.stride = winograd_vectors(g.tile_rows * g.columns);
    g.left = (float *)left;
    g.right = (float *)right;
    g.zeros = memset(zeros, 0, g.width * sizeof *zeros);
    g.rows = rows;
    for (size_t t = 0; t < g.stride; ++t) {
        left[t] = t % g.columns ? -1 : 0;
        right[t] = (t + 1) % g.columns ? -1 : 0;
    }
    for (int i = 0; i < s.images; ++i) {
        for (int r = 0; r < s.rows; ++r) {
            for (int k = 0; k < count; ++k) {
                int y = (s.row + r) * SIDE + first + k;
                *rows++ = y < 0 || y >= p->h ? -1 : (i * from.channels * from.height + y - from.top) * p->w;
            }
        }
    }
    return g;
}

struct winograd_grid winograd_grid_input(const struct winograd_plan *p, struct winograd_span s, struct winograd_source from, int32_t *space)
{
    return grid_make(p, s, from, -1, 6, space);
}

struct winograd_grid winograd_grid_delta(const struct winograd_plan *p, struct winograd_span s, struct winograd_source from, int32_t *space)
{
    return grid_make(p, s, from, 0, SIDE, space);
}

/* Copies (adds) the rows of a unit's tiles to their plane; returns rows per image. */
int winograd_put_rows(const struct winograd_plan *p, struct winograd_span s, const struct winograd_grid *g, int image, const float *tile, float *plane, bool add)
{
    const struct vector_ops *ops = vector_ops();
    size_t pitch = (size_t)(SIDE * p->columns), w = (size_t)p->w;
    int height = at_most(s.rows * SIDE, p->h - s.row * SIDE);

    for (int k = 0; k < SIDE && k < height; ++k) {
        const float *from = tile + (size_t)k * 4 * g->stride + (size_t)(image * s.rows) * pitch;
        float *to = plane + (size_t)(s.row * SIDE + k) * w;
        if (add) ops->add_rows((size_t)ceiling(height - k, SIDE), w, from, pitch, to, SIDE * w);
        else ops->copy_rows((size_t)ceiling(height - k, SIDE), w, from, pitch, to, SIDE * w, 0);
    }
    return height;
}
