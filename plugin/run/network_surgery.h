/* Surgery of a network: the layers that lose inputs or filters to a mask get survivors that make up for it, by the Kronecker factors of a K-FAC criterion's state
 * (score/surgery.h; docs/surgery.md). What goes is as in masked weights (rewrite/): input columns of removed channels are 0, removed filters stay as they are. */
#ifndef PRUNE_RUN_NETWORK_SURGERY_H
#define PRUNE_RUN_NETWORK_SURGERY_H

#include "../rewrite/rewrite.h"
#include "../score/surgery.h"

/* Which survivors move: those that read what is gone, those beside it in its own layer, or both. */
enum prune_surgery_part { PRUNE_SURGERY_INPUTS = 1, PRUNE_SURGERY_FILTERS = 2, PRUNE_SURGERY_BOTH = 3 };
struct prune_surgery_options { enum prune_surgery how; enum prune_surgery_part part; };   /* damping: kfac.damping of prune_score_input */

/* What one layer becomes. weights and biases are in the order of the weights file, never transposed. */
struct prune_layer_surgery {
    int layer;
    size_t inputs, filters;              /* channels that are gone */
    struct prune_surgery_result result;  /* sums over the layer's groups */
    double added;                        /* the largest damping beyond lambda */
    float *weights, *biases;             /* malloc'd; biases NULL: as before */
    size_t weight_count, bias_count;
};
struct prune_network_surgery { struct prune_layer_surgery *layers; size_t count; };

/* Refuses surgery with a criterion that holds no factors. */
enum prune_code prune_surgery_check(const struct prune_criterion *c, const struct prune_surgery_options *o, struct prune_status *st);

/* Adds the layers whose factors `state` holds and that lose something to *s (zeroed at first; to be freed in any case). in->weights: those they have now. */
enum prune_code prune_network_surgery(struct prune_network_surgery *s, const void *state, const struct prune_score_input *in, const struct prune_plan *plan,
                                      const struct prune_surgery_options *o, struct prune_status *st);
void prune_network_surgery_free(struct prune_network_surgery *s);    /* accepts a zeroed one */

/* A weights file like `masked` (of in->net) with the surgery's values in place of its own. */
enum prune_code prune_network_surgery_write(const struct prune_network_surgery *s, const struct prune_net *net, const struct prune_weights *masked, const char *path,
                                            struct prune_status *st);

#endif
