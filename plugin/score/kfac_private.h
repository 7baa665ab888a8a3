/* What the files of kfac*.c share: the flat state, and the panels its sums are made of. State: struct kfac_state, its entries, scores (forms, filters) in double,
 * then the factors of the present share of the layers in float32. */
#ifndef PRUNE_SCORE_KFAC_PRIVATE_H
#define PRUNE_SCORE_KFAC_PRIVATE_H

#include "kfac.h"

enum { KFAC_FORMS = PRUNE_KFAC_KRON_OBS + 1 };

/* Where a layer lies in the state: fixed by the network and the memory allowed. a, s: first of its floats; filter: first of its filters in a row of scores. */
struct kfac_place { int64_t layer; uint64_t groups, n, d, bias, share, a, s, filter; };
/* images: seen in all; weight: of the average, in images; lost: no memory for what came; added: damping beyond lambda, over the groups the largest. */
struct kfac_entry { struct kfac_place place; uint64_t images, lost; double weight, added; };

struct kfac_state {
    uint64_t count, shares, floats, filters;       /* the plan */
    uint64_t share;                                /* of the layers, whose factors are here */
    uint64_t settled, within;                      /* scores are those of the factors; a minibatch is under way */
    char trouble[256];                             /* what went wrong where nothing could be said, "" */
};

struct kfac_entry *prune_kfac_entries(const struct kfac_state *k);
double *prune_kfac_scores(const struct kfac_state *k);            /* (forms, filters) */
float *prune_kfac_floats(const struct kfac_state *k);
struct prune_kfac_shape prune_kfac_entry_shape(const struct kfac_place *p);
void prune_kfac_trouble(struct kfac_state *k, const char *message);   /* the first one stays */

/* Scores of the filters of the present share from its factors; drained before. */
enum prune_code prune_kfac_settle(struct kfac_state *k, const struct prune_score_input *in, struct prune_status *st);

/* kfac_panel.c: the images of one pass added to a layer's factors: F <- keep F + take sum. False: no memory, nothing is added. */
struct kfac_addition {
    const struct prune_score_input *in;
    const struct prune_layer_signal *signal;
    const struct kfac_place *place;
    float *a, *s;
    uint64_t ordinal;                              /* of the first image among those the layer has seen */
    size_t samples;                                /* locations of each image */
    float keep, take;
};
bool prune_kfac_add(const struct kfac_addition *add);
/* The signal is one of this layer. */
bool prune_kfac_signal_fits(const struct prune_net *net, const struct kfac_place *p, const struct prune_layer_signal *signal);
/* Locations of each image that are used. */
size_t prune_kfac_samples(const struct prune_kfac_options *o, const struct kfac_place *p, size_t images, size_t locations);

#endif
