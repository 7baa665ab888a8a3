/* The pruning loop: train a few minibatches with gates and hook, score, mask the least important units, and so on until the target
 * (Taylor paper, section 3.1: iterate, 10 minibatches on CIFAR, about 2% of the initial units per iteration, training goes on meanwhile).
 * Criteria that training cannot feed get a scoring pass at the end of an iteration, with the gates in force, over images drawn as in training; each iteration
 * sees other ones. Rolling statistics are first averaged anew over the same images. Nothing else changes: what is trained does not depend on whether there
 * was a pass. */
#ifndef PRUNE_RUN_PRUNE_LOOP_H
#define PRUNE_RUN_PRUNE_LOOP_H

#include "../score/scoring.h"
#include "../select/select.h"
#include "feed.h"
#include "network_surgery.h"
#include "work.h"

struct prune_loop_options {
    const struct prune_criterion *criterion;
    enum prune_feed feed;
    size_t score_images;             /* of a scoring pass, drawn as in training; 0 = as many as the iteration trains on */
    struct prune_surgery_options surgery;  /* of what stays, at each removal; criteria that hold factors alone (prune_surgery_check) */
    int norm;                        /* magnitude: 1 or 2 */
    enum prune_scale scale;
    struct prune_kfac_options kfac;
    uint64_t seed;
    struct prune_select_options select;  /* .original filled by the caller: cost of the user's network */
    size_t batches_per_iteration;    /* training steps between removals, >= 1 */
    double remove_per_iteration;     /* fraction of the initial units, (0, 1] */
    double smoothing;                /* S <- smoothing S + (1 - smoothing) S_new */
    struct prune_step_options step;
    double max_loss;                 /* NAN = off: mean training loss of an iteration above this rolls back */
    double min_accuracy;             /* NAN = off: top-1 or mAP@0.5 on `valid` below this rolls back */
    struct prune_image_set valid;
};

struct prune_loop_result {
    size_t iterations, steps, images;
    size_t score_images, score_minibatches;   /* seen by scoring passes; 0: training fed the criterion, or nothing did */
    double score_seconds;            /* in them, and in turning what was seen into scores */
    double loss;                     /* mean training loss of the last iteration */
    bool target_met;                 /* false: a floor stopped the removal, or the user did */
    const char *stopped_by;          /* NULL, "-max-loss", "-min-accuracy" */
    double floor_value;              /* what was measured when it stopped */
    size_t noted; char note[256];    /* iterations whose scores came with a note; the last one */
    char differences[PRUNE_DIFFERENCES_ROOM];   /* of struct prune_scoring_facts */
};

/* Ends with the mask in w->removed (network masked, not yet rewritten) and momentum reset. PRUNE_INTERRUPTED: the user asked to stop; the
 * mask so far is valid. */
enum prune_code prune_loop(struct prune_work *w, const struct prune_loop_options *o, struct prune_loop_result *r, struct prune_status *st);
/* Are there rolling statistics, to be averaged anew before a pass that reads them? */
bool prune_has_statistics(const struct prune_net *net);

#endif
