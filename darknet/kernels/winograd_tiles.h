/* What the two ways to run Winograd convolutions share: the tiles of a unit, and the rows of images they come from and go to. */
#ifndef DARKNET_KERNELS_WINOGRAD_TILES_H
#define DARKNET_KERNELS_WINOGRAD_TILES_H

#include "vector.h"
#include "winograd.h"

enum { WINOGRAD_SIDE = 4 };

size_t winograd_vectors(size_t tiles);   /* rounded up to whole vectors */

/* Distance of the 36 products of n floats each: a whole, odd number of cache lines, so that the same place in all 36 never falls into one cache set. */
size_t winograd_pitch(size_t n);

/* Images of a unit and its tile rows in each of them. */
struct winograd_span { int image, images, row, rows; };
struct winograd_span winograd_unit(const struct winograd_plan *p, int unit);

/* Where a span's pixels lie: arrays of `channels` planes per image, of `height` rows of which the first is row `top` of the image. */
struct winograd_source { int channels, top, height; };

/* The tiles of a span with 6 source rows around each tile row, or (delta) its 4 rows. space: winograd_grid_space() words, in use as long as the grid. */
size_t winograd_grid_space(const struct winograd_plan *p);
struct winograd_grid winograd_grid_input(const struct winograd_plan *p, struct winograd_span s, struct winograd_source from, int32_t *space);
struct winograd_grid winograd_grid_delta(const struct winograd_plan *p, struct winograd_span s, struct winograd_source from, int32_t *space);

/* Copies (adds) the rows of one image of the span from tiles as winograd_output leaves them to its plane; returns how many rows. */
int winograd_put_rows(const struct winograd_plan *p, struct winograd_span s, const struct winograd_grid *g, int image, const float *tile, float *plane,
                      bool add);

#endif
