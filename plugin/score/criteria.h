/* THE registry of criteria. A criterion turns signals (or the weights alone) into one number per unit: the lower, the less the unit matters.
 * Smoothing between pruning iterations (S <- m S + (1-m) S_new) belongs to the run, not to a criterion. */
#ifndef PRUNE_SCORE_CRITERIA_H
#define PRUNE_SCORE_CRITERIA_H

#include <stdio.h>
#include "../model/weights_file.h"
#include "../units/units.h"

struct prune_score_input {             /* all borrowed, outlive the state */
    const struct prune_net *net;
    const struct prune_units *units;
    const struct prune_weights *weights; /* NULL unless the criterion reads weights */
    uint64_t seed;
    int norm;                          /* magnitude: 1 or 2 */
};

struct prune_criterion {
    const char *name, *formula, *source;
    unsigned signals;                  /* PRUNE_SIGNAL_* it must be fed; 0 = needs no data and no host */
    bool needs_weights;
    const char *cost;                  /* in passes, for the user */
    size_t (*state_size)(const struct prune_score_input *in);              /* flat state: saved, merged and loaded as bytes */
    void (*init)(void *state, const struct prune_score_input *in);
    void (*accumulate)(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
    void (*merge)(void *state, const void *other, const struct prune_score_input *in);
    enum prune_code (*finish)(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
    double (*marginal)(const void *state, size_t unit, const uint8_t *removed);   /* optional (SOSP-I) */
};

const struct prune_criterion *prune_criterion_find(const char *name);   /* NULL: unknown */
const struct prune_criterion *prune_criteria(size_t *count);

/* Score file (JSON, version 1; docs/scores.md): criterion, hashes, images, per unit {unit, layer, channel, score}. Reading refuses another format or
 * version, a cfg with another hash, a unit table that is not this network's, and a score that is not a finite number. */
struct prune_score_file { const char *criterion; size_t images, minibatches; double loss; uint64_t seed; };
struct prune_mask_origin;
enum prune_code prune_scores_write(const char *path, const struct prune_units *units, const double *scores, const struct prune_score_file *about,
                                   const struct prune_mask_origin *origin, struct prune_status *st);
/* scores: units->count values, written only on success. */
enum prune_code prune_scores_read(const char *path, const struct prune_units *units, const struct prune_mask_origin *origin, double *scores, struct prune_status *st);
/* The same from bytes in memory; path is for messages. */
enum prune_code prune_scores_parse(const char *path, const char *bytes, size_t size, const struct prune_units *units, const struct prune_mask_origin *origin,
                                   double *scores, struct prune_status *st);

/* Spearman's rank correlation with average ranks for ties, in O(n log n). NaN when a side is constant or holds a NaN, when n < 2, and when out of memory. */
double prune_spearman(const double *a, const double *b, size_t n);

#endif
