/* Streaming slices of a mapped weights file into a writer: the inner loop of a rewrite; which axes a tensor has is weights.c's business.
 * Every stored tensor is seen as [outer][a][mid][b][inner]; the axes a and b carry channels, inner is what one channel holds. A channel
 * that goes is dropped (rewrite) or, on the reading side, written as zeros (masked). Pages are given back behind the reading point. */
#ifndef PRUNE_REWRITE_SLICE_H
#define PRUNE_REWRITE_SLICE_H

#include "../model/weights_file.h"

struct prune_stream {
    const struct prune_weights *in;
    struct prune_writer *out;
    struct prune_status *st;
    float *buffer; size_t used, room;    /* room of the writer, in floats, and how many are filled */
    size_t released;                     /* bytes of the map given back so far */
};

struct prune_axes {
    size_t outer, a, mid, b, inner;
    const uint8_t *keep_a, *keep_b;      /* NULL: all stay */
    bool zero_a, zero_b;                 /* write zeros instead of dropping */
    size_t a_per_group;                  /* grouped convolution: keep_b moves on by b every so many of a; 0 = one group */
};

enum prune_code prune_stream_open(struct prune_stream *s, const struct prune_weights *in, const char *path, struct prune_status *st);
/* outer * a * mid * b * inner values from `data`, which lies in the map. */
enum prune_code prune_stream_slice(struct prune_stream *s, const float *data, const struct prune_axes *axes);
/* `count` values as they are. */
enum prune_code prune_stream_copy(struct prune_stream *s, const float *data, size_t count);
/* Commits the file, or on rc != PRUNE_OK drops it; returns the final code. */
enum prune_code prune_stream_close(struct prune_stream *s, enum prune_code rc);

#endif
