/* Feeding criteria: several criteria over the same images in as few passes as they allow. Criteria that look at the gates as they are share one pass
 * (a second one where one of them wants its gates elsewhere); those with passes or perturbations of their own follow. States only add up, so a later call
 * with further images continues the sums, and score files keep them (scores_file.h). */
#ifndef PRUNE_SCORE_SCORING_H
#define PRUNE_SCORE_SCORING_H

#include "criteria.h"

struct prune_scoring {
    const struct prune_host *host;
    struct prune_host_net *host_net;     /* opened by the caller; its gates are attached anew by each call and stay attached */
    struct prune_score_input input;
    struct prune_image_set set;
    size_t minibatch;                    /* 0 = the network's batch */
    enum prune_gate_choice gate;         /* for criteria that leave it open */
    const float *z;                      /* (units) gates in force; NULL: all 1 */
};
/* Criteria that gather the same (functions, signals, gates) have one state: it is written once. */
struct prune_scored { const struct prune_criterion *criterion; void *state; double *scores; /* (units) */ };
enum { PRUNE_DIFFERENCES_ROOM = 160 };
struct prune_scoring_facts {
    size_t images, minibatches, passes;
    double loss_sum, loss;               /* over images, of the first pass; mean */
    char differences[PRUNE_DIFFERENCES_ROOM];   /* "", or why second derivatives were taken by differences though nobody asked for these */
};

/* State and room for scores of each item, whose criterion is set; on failure nothing stays. */
enum prune_code prune_scored_init(struct prune_scored *items, size_t count, const struct prune_score_input *in, struct prune_status *st);
void prune_scored_free(struct prune_scored *items, size_t count);    /* accepts zeroed items */
/* Runs the passes. facts is added to (zero it first). Weights-only criteria cost nothing here. PRUNE_INTERRUPTED when the host was asked to stop. */
enum prune_code prune_scoring_feed(const struct prune_scoring *s, struct prune_scored *items, size_t count, struct prune_scoring_facts *facts, struct prune_status *st);
/* items[i].scores from their states. */
enum prune_code prune_scored_finish(struct prune_scored *items, size_t count, const struct prune_score_input *in, struct prune_status *st);

/* The sites of all units for a placement; *sites malloc'd. AFTER_BN (and ANY): units->sites. BEFORE_BN: sites in front of a layer's batch-norm where
 * it has one. AFTER_ACTIVATION: all sites on outputs. PRODUCERS needs the net as well: prune_gate_producers. */
enum prune_code prune_gate_sites(const struct prune_units *units, enum prune_gate_choice gate, struct prune_gate_site **sites, size_t *count, struct prune_status *st);
/* One site per producer of each unit that may be removed: on its sums; local, deconvolutional and implicit layers: on the output. *sites malloc'd. */
enum prune_code prune_gate_producers(const struct prune_units *units, const struct prune_net *net, struct prune_gate_site **sites, size_t *count, struct prune_status *st);
/* "after-bn", "before-bn", "after-activation", "producers"; false: unknown. */
bool prune_gate_choice_parse(const char *name, enum prune_gate_choice *out);
const char *prune_gate_choice_name(enum prune_gate_choice gate);      /* ANY: "after-bn" */

#endif
