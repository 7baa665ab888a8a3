/* Samples of a layer for least squares: input patches of the pruned network, and beside them the sums that the unpruned network's filters make of its own
 * input at the same places. A connected layer is a convolution of one place. A fraction of the places of a large map is enough: they are drawn per image and
 * layer, one from each of as many equal stretches of the map, from the seed alone. */
#ifndef PRUNE_RUN_RECONSTRUCT_SAMPLES_H
#define PRUNE_RUN_RECONSTRUCT_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reconstruct_solve.h"

struct prune_patches { size_t w, h, c, size, stride, pad, out_w, out_h; };   /* input map and window; patch: (c, size, size) */

/* A residual stream that the sums are added to: y_f += factor[f] (original's channel_original[f] - pruned's channel_pruned[f]). channels of -1: not added.
 * Maps are (channels, out_h, out_w) of the layer at hand. */
struct prune_stream_error { double *factor; int *channel[2]; };

struct prune_samples {
    uint64_t seed; int layer;
    size_t places;                       /* per image */
    size_t groups, n;                    /* of the pruned layer; n filters per group */
    struct prune_patches original, pruned;
    size_t original_d, pruned_d;         /* patch values of one group */
    const size_t *original_group;        /* (groups) which group of the original layer */
    const float *filters;                /* (groups * n, original_d) of the original, surviving ones */
    struct prune_stream_error stream;    /* factor NULL: none */
    float *original_rows, *pruned_rows, *sums;   /* private: a panel of `rows` samples */
    size_t images;                       /* of a panel */
};
/* Place j of `places` of an image: a number below out_w * out_h. */
size_t prune_sample_place(uint64_t seed, int layer, uint64_t image, size_t j, size_t places, size_t area);
/* How many places of a map of `area`: the fraction, but no less than 64 where there are as many. */
size_t prune_sample_places(size_t area, double fraction);
void prune_patch(const float *map, const struct prune_patches *p, size_t place, float *out);

enum prune_code prune_samples_open(struct prune_samples *s, struct prune_status *st);   /* the fields above private are filled */
void prune_samples_close(struct prune_samples *s);
/* A batch of images: maps [original, pruned] of the layer's input, and streams (either NULL: none), each (images, values). */
struct prune_sample_batch { size_t first, images; const float *input[2]; size_t values[2]; const float *stream[2]; size_t stream_values[2]; };
void prune_samples_add(struct prune_samples *s, const struct prune_sample_batch *b, struct prune_moments *m);

#endif
