/* Shared by proof.c (the walk and the readers), proof_values.c (what channels are) and proof_weights.c (stored values). */
#ifndef PRUNE_REWRITE_PROOF_PRIVATE_H
#define PRUNE_REWRITE_PROOF_PRIVATE_H

#include "proof.h"

/* One of the two networks. Values of layer l (-1: the network's input): values[first[l + 1] .. first[l + 2]). */
struct proof_side {
    const struct prune_net *net;
    uint64_t *values;                    /* 0: a channel of zeros */
    size_t *first;
    bool *read;                          /* [layer]: some layer reads it */
};

struct proof_row { const uint64_t *v; size_t count, area; };   /* count channels of area numbers each */

enum prune_code proof_side_open(struct proof_side *s, const struct prune_net *net, struct prune_status *st);
void proof_side_free(struct proof_side *s);
struct proof_row proof_row_of(const struct proof_side *s, int layer);
struct proof_row proof_row_read(const struct proof_side *s, const struct prune_layer *l, size_t source);
uint64_t *proof_out(struct proof_side *s, const struct prune_layer *l, size_t *count);

/* The value of channel `channel` that layer `layer` of the original makes. Never 0. */
uint64_t proof_symbol(int layer, size_t channel);
/* "channel 3 of layer 7", or that the value is a mixture; text is returned. */
const char *proof_name(const struct proof_side *old, uint64_t value, char text[96]);

/* Is each output value of this layer known from its input values alone (pooling, routes, sums, products)? */
bool proof_follows(const struct proof_side *s, const struct prune_layer *l);
/* Fills the outputs of such a layer; `number`: what the layer is called in the original. */
void proof_follow(struct proof_side *s, const struct prune_layer *l, int number);

/* Channels of one layer that stay, old numbers; NULL: all. */
struct proof_cut { const int *out, *in; size_t area; };
struct proof_pair { const struct prune_layer *was, *is; struct proof_cut cut; };
/* A weights file read in pieces: values [begin, end) behind the header are in the buffer. */
struct proof_reader { const struct prune_weights *weights; int fd; float *buffer; size_t begin, end; };
enum prune_code proof_reader_open(struct proof_reader *r, const struct prune_weights *w, struct prune_status *st);
void proof_reader_close(struct proof_reader *r);     /* accepts a zeroed one */
/* Stored values of the layer in both files; *tensor: index of its first tensor in the new layout, moved behind its last. */
enum prune_code proof_weights(struct proof_reader *was, struct proof_reader *is, const struct proof_pair *pair, size_t *tensor, uint64_t *compared, struct prune_status *st);

/* Message with the frame that every failure of the proof has. */
enum prune_code proof_wrong(struct prune_status *st, const struct prune_layer *was, const struct prune_layer *is, const char *format, ...) PRUNE_PRINTF(4, 5);

#endif
