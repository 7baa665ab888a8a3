/* Our own image loader: what a classifier or detector training step or an evaluation reads, decoded, augmented and packed by worker threads.
 * Randomness comes from (seed, image ordinal) alone, so a run repeats at any thread count. Every bad input is an error that names file and line:
 * empty list, unreadable image, missing label file, class out of range, NaN, box outside 0..1. Nothing here starts a shell or exits. */
#ifndef DARKNET_LOADER_H
#define DARKNET_LOADER_H

#include <darknet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "../plugin/host.h"

/* A Darknet data file: key=value lines. Relative paths in it are relative to the working directory, as in Darknet. */
struct data_file {
    char *path;
    int classes, top;                 /* top default 1 (classifier), classes required */
    char *train, *valid, *names, *labels, *backup; /* names/labels: either serves (NULL when absent) */
    int pad; bool flip;               /* our own keys: pad_crop=N (classifier: pad N black pixels and crop, no rescaling), flip=0 (never mirror) */
};
enum prune_code data_file_read(struct data_file *d, const char *path, struct prune_status *st);
void data_file_free(struct data_file *d);

/* A list of strings, one per line (image list, labels, names); blanks lines dropped; empty list refused. */
struct string_list { char **items; size_t count; char *storage; };
enum prune_code string_list_read(struct string_list *l, const char *path, const char *what, struct prune_status *st);
void string_list_free(struct string_list *l);

/* Decoded image, planar (c, h, w) floats in 0..1. `channels` 1 or 3 (0 = as stored). */
enum prune_code image_read(const char *path, int channels, image *out, struct prune_status *st);

/* label path of an image: images -> labels, JPEGImages -> labels, raw -> labels, extension -> .txt (Darknet's rule). malloc'd. */
char *label_path(const char *image_path);
/* Reads "class x y w h" lines; checks class < classes and 0..1 values. *boxes malloc'd (may be NULL with *n 0). A missing file is an error. */
enum prune_code labels_read(const char *path, int classes, box_label **boxes, int *n, struct prune_status *st);
/* Class of an image: the label that is a substring of the path (several: the longest match; none: error naming both). */
enum prune_code class_of_path(const char *path, const struct string_list *labels, int *out, struct prune_status *st);

struct augmentation {                 /* from the network and its last layer (detector: jitter) */
    int w, h, c;
    int pad;                          /* > 0: pad and crop instead of min_crop..max_crop (data_file.pad) */
    int min_crop, max_crop; float angle, aspect, jitter, hue, saturation, exposure; bool flip, center;
};
struct augmentation augmentation_of(const network *net);

enum loader_mode { LOAD_CLASSIFIER_TRAIN, LOAD_DETECTOR_TRAIN, LOAD_CLASSIFIER_PLAIN, LOAD_DETECTOR_PLAIN /* letterbox or stretch, truths unscaled */ };
struct loader_options {
    enum loader_mode mode;
    const struct string_list *images, *labels; /* labels: class names (classifier) */
    struct augmentation augment;
    int classes, max_boxes;           /* detector: truths per image = max_boxes*5; PLAIN: 0 = labels are not read, more boxes than max_boxes fail */
    int side;                         /* detector: > 0 packs truths for a [detection] head: side*side cells of (1+classes+4) instead of a box list */
    int letterbox;
    bool net_truths;                  /* PLAIN detector: truths in coordinates of the network input (letterboxed), as a loss wants them */
    uint64_t seed; int threads;
};
struct loader;
enum prune_code loader_open(struct loader **out, const struct loader_options *o, struct prune_status *st);
/* Before a first step: every image readable as a file, every class and label file found and sound. Long lists are checked image by image as well. */
enum prune_code loader_check(const struct loader_options *o, struct prune_status *st);
void loader_reseed(struct loader *l, uint64_t seed);   /* nothing may be in flight */
size_t loader_truths(const struct loader_options *o);  /* floats of *y per image */
/* Starts reading images with ordinals [first, first + n) in the background: TRAIN modes permute per epoch (epoch = ordinal / count), PLAIN modes read in list order
 * (and go round when first + n passes the end).
 * One request may be in flight. w, h override the size (multi-scale). */
enum prune_code loader_start(struct loader *l, uint64_t first, size_t n, int w, int h, struct prune_status *st);
/* Waits for it. *X (n, c, h, w) and *y (n, truths) belong to the loader until the second next start (double-buffered). For PLAIN detector mode
 * *sizes holds (w, h) of each original image. First failure of any image is returned. */
enum prune_code loader_wait(struct loader *l, float **X, float **y, const int (**sizes)[2], struct prune_status *st);
/* Index in options.images of the image with that ordinal. */
size_t loader_item(const struct loader *l, uint64_t ordinal);
void loader_close(struct loader *l);

/* What a data file's role names, opened: the lists and the options of a loader over them for this network. A set in list order is a list cut to
 * [first, first + limit), read from ordinal 0; a drawn one keeps the whole list, because every epoch permutes it, and begins at ordinal `first`. */
struct image_source {
    struct data_file data;
    struct string_list images, labels;
    uint64_t first;                   /* ordinal of the set's first image */
    size_t count;                     /* images of the set; a drawn one may go round the list */
};
enum prune_code image_source_open(struct image_source *s, const struct prune_image_set *set, const network *net, struct prune_status *st);
void image_source_close(struct image_source *s);   /* accepts a zeroed source */
/* train false: PLAIN, with truths for the loss (net_truths); a drawn set wants train. Seed 1, one thread: set what you want. */
struct loader_options image_source_options(const struct image_source *s, const network *net, bool train, int letterbox);
/* The last [yolo], [region] or [detection] layer; NULL for a classifier. */
const layer *network_detector_head(const network *net);

#endif
