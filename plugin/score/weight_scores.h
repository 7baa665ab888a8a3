/* Importance of single weights (fine-grained pruning, docs/sparse.md): one number per weight of a layer, the lower, the less it matters. Biases and batch-norm have none. */
#ifndef PRUNE_SCORE_WEIGHT_SCORES_H
#define PRUNE_SCORE_WEIGHT_SCORES_H

#include "criteria.h"

/* Which number. The two of curvature read the Kronecker factors that the state of a channel criterion holds. */
enum prune_weight_form { PRUNE_WEIGHT_MAGNITUDE, PRUNE_WEIGHT_RANDOM, PRUNE_WEIGHT_OBS, PRUNE_WEIGHT_OBD };

struct prune_weight_criterion {
    const char *name, *formula, *source;
    enum prune_weight_form form;
    const char *gathers;               /* criterion of the registry whose state it reads; NULL: it needs no images */
    bool normalised;                   /* divided by the layer's sum unless the user says otherwise */
};
const struct prune_weight_criterion *prune_weight_criteria(size_t *count);
const struct prune_weight_criterion *prune_weight_criterion_find(const char *name);   /* NULL: unknown */

/* One layer: weights filter by filter, filter i its inputs in the order of the weights file (never transposed), and biases (NULL: none). keep: 0 = gone already. */
struct prune_weight_layer { int layer; const float *weights, *biases; const uint8_t *keep; size_t count; };
/* scores: layer->count values, written only on success; of what is gone 0. state: of c->gathers. normalise: each layer's sum becomes 1. */
enum prune_code prune_weight_scores(const struct prune_weight_criterion *c, const struct prune_score_input *in, const void *state, bool normalise,
                                    const struct prune_weight_layer *layer, float *scores, struct prune_status *st);

#endif
