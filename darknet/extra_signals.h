/* Signals of a minibatch beyond the gates' own sums: margins and curvature by further backward passes, parameters with their gradients, layer outputs, inputs of layers with
 * the gradients at their sums.
 * Used by scoring (host_score.c) and by the training hook (train_hook.c) alike. */
#ifndef DARKNET_EXTRA_SIGNALS_H
#define DARKNET_EXTRA_SIGNALS_H

#include "gate_layer.h"

enum { EXTRA_SIGNALS = PRUNE_SIGNAL_PARAMETERS | PRUNE_SIGNAL_MAPS | PRUNE_SIGNAL_MARGINS | PRUNE_SIGNAL_CURVATURE |
                     PRUNE_SIGNAL_LAYERS };

struct extra_options {
    struct prune_score_options score;   /* its minibatch is not read */
    size_t images;          /* of the largest minibatch */
    uint64_t seed;
    bool between_updates;   /* training: update buffers hold momentum and must keep it; else they are cleared by begin */
};

struct extra_signals;
/* Refuses heads without margins or curvature, counts that do not fit, and layers whose further backward passes would add to updates that matter. */
enum prune_code extra_open(struct extra_signals **out, network *net, struct gate_table *gates, const struct extra_options *o, struct prune_status *st);
void extra_close(struct extra_signals *x);   /* accepts NULL */
void extra_begin(struct extra_signals *x);   /* a minibatch begins */
/* How far down the labels' backward pass must go for these signals; the number of layers: they need none. */
int extra_lowest(const struct extra_signals *x);
/* After forward and, if anything asked for it, backward of net->batch images, the first of them image `at` of the minibatch and of that ordinal. */
void extra_pass(struct extra_signals *x, size_t at, uint64_t ordinal);
/* Adds what has been asked for to the signals of a minibatch of out->images; valid until the next begin, maps and layers until the next pass. */
void extra_fill(struct extra_signals *x, struct prune_signals *out);
/* What the last pass has left, maps and layers, alone. */
void extra_fill_views(struct extra_signals *x, struct prune_signals *out);

#endif
