/* Expand-pruning (SOSP, section 3.4): where a selection removed least, the network is too narrow; the cfg with these layers widened is to be trained
 * anew. In: a net, its units, a mask. Out: the candidates (what can be widened alone) with their ratios, those that are chosen, and the new cfg.
 * A candidate is a group of layers that change width together (units/widths.h), or all such groups whose maps have one size, a stage.
 * Refuses factors outside (1, 8], nets with nothing to widen, and a result that would not load or would come apart (see prune_expand_cfg). */
#ifndef PRUNE_REWRITE_EXPAND_H
#define PRUNE_REWRITE_EXPAND_H

#include "../units/widths.h"
#include "rewrite.h"

enum prune_expand_by { PRUNE_EXPAND_LAYERS, PRUNE_EXPAND_STAGES };
enum { PRUNE_EXPAND_MOST = 8 };          /* the largest factor */

struct prune_expand_options {
    enum prune_expand_by by;
    double factor;                       /* new width = width * factor, rounded up; a depthwise convolution follows its input */
    size_t count;                        /* candidates to widen, the least pruned first */
};

/* Channels of the candidate's layers, and how many of them the mask removes; the ratio is removed / channels. */
struct prune_expand_candidate { int layer, w, h; size_t channels, removed; bool chosen; };   /* layer: its first; w, h: map of its largest layer */

struct prune_expansion {
    struct prune_widths widths;
    struct prune_expand_candidate *candidates; size_t candidate_count;   /* least pruned first; equals by their first layer */
    int *candidate_of;                   /* [layer]: -1: makes no channels, or its width is fixed */
    size_t *removed;                     /* [layer]: channels that the mask removes */
    struct prune_plan plan;              /* counts and groups alone, no lists */
};

enum prune_code prune_expand_build(struct prune_expansion *e, const struct prune_net *net, const struct prune_units *units, const uint8_t *removed,
                                   const struct prune_expand_options *o, struct prune_status *st);
/* The new text (malloc'd) and the net it is read back as: cfg and new_net are to be freed; path is theirs, for messages. Refused: a text our reader refuses (groups
 * that do not divide), a layer that has not the planned width, a shortcut of equal widths whose widths are no longer equal. */
enum prune_code prune_expand_cfg(const struct prune_expansion *e, const struct prune_net *net, const char *path, struct prune_cfg *cfg, struct prune_net *new_net, struct prune_status *st);
void prune_expand_free(struct prune_expansion *e);

#endif
