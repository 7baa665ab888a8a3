/* Parts of the loader: decoded pixels, augmentation of one image, packing of one image's truths. Private to loader.c and its parts. */
#ifndef DARKNET_LOADER_PARTS_H
#define DARKNET_LOADER_PARTS_H

#include "loader.h"
#include "../plugin/base/random.h"

struct pixels { unsigned char *bytes; int w, h, c; };   /* (h, w, c), 8 bits */
enum prune_code pixels_read(const char *path, int channels, struct pixels *out, struct prune_status *st);
void pixels_free(struct pixels *p);
enum prune_code pixels_to_image(const struct pixels *p, image *out, struct prune_status *st);

/* Where the original image went: relative x becomes x * scale_x + shift_x, then 1 - x when flipped; y alike without flip. */
struct placement { double scale_x, shift_x, scale_y, shift_y; bool flip; };

/* Each writes (c, h, w) floats to out; r is advanced. */
enum prune_code augment_classifier(const struct pixels *p, const struct augmentation *a, int w, int h, struct prune_random *r, float *out, struct prune_status *st);
enum prune_code augment_detector(const struct pixels *p, const struct augmentation *a, int w, int h, struct prune_random *r, float *out, struct placement *where, struct prune_status *st);
enum prune_code plain_classifier(const struct pixels *p, int w, int h, float *out, struct prune_status *st);
enum prune_code plain_detector(const struct pixels *p, int w, int h, bool letterbox, float *out, struct placement *where, struct prune_status *st);

/* Shuffles with r, moves, clips, drops what is left smaller than a thousandth, and packs: (max_boxes, 5) of x y w h class, zeros behind the last.
 * Boxes beyond max_boxes are left out. */
void truths_pack_list(box_label *boxes, int n, const struct placement *where, struct prune_random *r, int max_boxes, float *y);
/* (side*side, 1 + classes + 4): object, one-hot class, x y inside the cell, w h of the image. One box per cell: the first. */
void truths_pack_grid(box_label *boxes, int n, const struct placement *where, struct prune_random *r, int side, int classes, float *y);

#endif
