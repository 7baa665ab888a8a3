/* Weights file: header and per-layer tensors as views of a mapped file; exact size demanded both ways.
 * What the host would load: a layer with dontload is not in the file, numload=N means N filters are, dontloadscales no scales and statistics.
 * Bytes: int32 major, minor, revision; seen: uint64 if major*10+minor >= 2 (and both < 1000), else int32; then float32
 * little-endian per layer in cfg order. convolutional: biases, [scales, mean, variance], weights (n, c/groups, k, k).
 * connected: biases, weights (outputs, inputs), [scales, mean, variance]. batchnorm: scales, mean, variance. local: biases, weights.
 * deconvolutional: as convolutional (weights (c, n, k, k)). Recurrent layers: their parts (shapes.h) one after the other. AlexeyAB's: see docs/dialects.md. */
#ifndef PRUNE_MODEL_WEIGHTS_FILE_H
#define PRUNE_MODEL_WEIGHTS_FILE_H

#include <stdint.h>
#include "../base/file_io.h"
#include "net_shape.h"

enum prune_role { PRUNE_BIASES, PRUNE_SCALES, PRUNE_MEAN, PRUNE_VARIANCE, PRUNE_WEIGHTS };

struct prune_weights_tensor {
    int layer;
    int part;                            /* 0; rnn/lstm/gru/crnn/conv_lstm: number of the sub-layer in file order */
    enum prune_role role;
    size_t shape[5]; int rank;           /* out axis first: conv {n, c/groups, k, k}, local {locations, n, c, k, k}, vectors {n},
                                            shortcut {sources} or {sources, c}, implicit {filters, atoms} */
    size_t count;                        /* product of shape */
    size_t offset;                       /* in floats, from the end of the header */
};

/* Layout: the tensors a net stores, in file order. Needs no file. `flipped`/transposed layouts keep {outputs, inputs}
 * with `transposed` said per file (header version above 1000). */
struct prune_weights_layout {
    struct prune_weights_tensor *tensors;
    size_t count;
    size_t floats;                       /* sum of counts */
    int dialect;                         /* PRUNE_PJREDDIE or PRUNE_ALEXEYAB, where they differ: [batchnorm], [rnn] hidden= (docs/dialects.md) */
};
/* The layout of pjreddie's Darknet where that can load the cfg, else AlexeyAB's. */
enum prune_code prune_layout_build(struct prune_weights_layout *layout, const struct prune_net *net, struct prune_status *st);
void prune_layout_free(struct prune_weights_layout *layout);
const char *prune_role_name(enum prune_role role);   /* "biases", ... */
/* NULL when the layer has no such tensor (part 0). */
const struct prune_weights_tensor *prune_layout_find(const struct prune_weights_layout *layout, int layer, enum prune_role role);

struct prune_weights_header { int32_t major, minor, revision; uint64_t seen; bool seen64, transposed; size_t size; /* bytes: 16 or 20 */ };

struct prune_weights {
    char *path;
    struct prune_map map;
    struct prune_weights_header header;
    struct prune_weights_layout layout;
};
/* Maps the file and checks its size against the net, in the layout of each Darknet that can load the cfg; the layout is that which fits. Failure says: bytes found, bytes needed, and the layer (and tensor)
 * where the file ends, or how many bytes are left over after the last layer, and what that usually means. */
enum prune_code prune_weights_open(struct prune_weights *w, const char *path, const struct prune_net *net, struct prune_status *st);
/* For training from a prefix such as darknet53.conv.74: accepts a file that ends exactly behind a layer;
 * *layers = first layer without its weights (layer_count: all there). The layout holds the tensors of the file alone. */
enum prune_code prune_weights_open_prefix(struct prune_weights *w, const char *path, const struct prune_net *net, size_t *layers, struct prune_status *st);
/* Refuses a layout that pjreddie's Darknet, the training host, does not read. */
enum prune_code prune_weights_check_host(const struct prune_weights *w, struct prune_status *st);
void prune_weights_close(struct prune_weights *w);
/* View of a tensor; 4-byte aligned is guaranteed by the format (header 16 or 20 bytes). */
const float *prune_weights_data(const struct prune_weights *w, const struct prune_weights_tensor *t);
/* Fails when a NaN, an infinity or a negative variance is stored; names layer, tensor, index. */
enum prune_code prune_weights_check_finite(const struct prune_weights *w, struct prune_status *st);
/* The same, and the file's hash (prune_hash_file; NULL: not wanted), in one reading. */
enum prune_code prune_weights_check(const struct prune_weights *w, char hash[32], struct prune_status *st);
/* The same in a thread, while others read. w stays open until the end, which waits for the result and frees; every begin that succeeded has its end. */
struct prune_weights_checking;
enum prune_code prune_weights_check_begin(struct prune_weights_checking **out, const struct prune_weights *w, struct prune_status *st);
enum prune_code prune_weights_check_end(struct prune_weights_checking *checking, char hash[32], struct prune_status *st);
/* Writes the header in the form it came in. */
enum prune_code prune_weights_put_header(struct prune_writer *out, const struct prune_weights_header *h, struct prune_status *st);

#endif
