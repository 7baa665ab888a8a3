/* Where the weights of one output channel (its filter) lie in a flat tensor: of a weights file, whose matrices may be stored transposed, or of the host
 * (PRUNE_SIGNAL_PARAMETERS), whose are not. */
#ifndef PRUNE_SCORE_WEIGHTS_VIEW_H
#define PRUNE_SCORE_WEIGHTS_VIEW_H

#include "criteria.h"

/* `blocks` runs of `run` values, one run every `block_step`, its values `step` apart. */
struct prune_filter_view { size_t first, blocks, block_step, run, step; };

/* In a tensor of `count` values with `filters` filters. false: the layer has no such filter (recurrent, or its weights are not there). */
bool prune_filter_view(const struct prune_layer *layer, size_t filters, size_t count, bool transposed, int channel, struct prune_filter_view *view);
/* In the weights file. */
bool prune_filter_of(const struct prune_score_input *in, struct prune_channel m, const struct prune_weights_tensor **tensor, struct prune_filter_view *view);
size_t prune_filter_size(const struct prune_filter_view *view);
/* Values from .. from + count - 1 of the filter. */
void prune_filter_read(const float *tensor, const struct prune_filter_view *view, size_t from, size_t count, double *out);

/* Weights are given, and every unit that may be removed has filters in them; else an error that names the criterion. */
enum prune_code prune_check_filters(const struct prune_score_input *in, const char *criterion, struct prune_status *st);

#endif
