/* THE registry of criteria. A criterion turns signals (or the weights alone) into one number per unit: the lower, the less the unit matters.
 * Smoothing between pruning iterations (S <- m S + (1-m) S_new) belongs to the run, not to a criterion. */
#ifndef PRUNE_SCORE_CRITERIA_H
#define PRUNE_SCORE_CRITERIA_H

#include <stdio.h>
#include "../model/weights_file.h"
#include "../units/units.h"

struct prune_background;               /* base/background.h */

/* K-FAC statistics (docs/kfac.md). Zeroed: the defaults. */
struct prune_kfac_options {
    double decay;                      /* of the exponential average over minibatches; 0 = 0.95 */
    double damping;                    /* lambda; 0 = 1e-3 */
    double samples;                    /* fraction of the locations of a map that are used; 0 = as many as the factors need */
    enum prune_fisher fisher;
    bool unnormalised;                 /* nap: weight scores are not divided by their layer's sum */
    size_t memory;                     /* bytes that factors may take; 0 = 2 GiB. More: a few layers per pass */
};

/* What a unit's score is divided by. DEFAULT: the criterion's own (nap: MACS, else NONE). */
enum prune_scale { PRUNE_SCALE_DEFAULT, PRUNE_SCALE_NONE, PRUNE_SCALE_KERNEL, PRUNE_SCALE_MACS };

struct prune_score_input {             /* all borrowed, outlive the state */
    const struct prune_net *net;
    const struct prune_units *units;
    const struct prune_weights *weights; /* NULL unless the criterion reads weights */
    uint64_t seed;
    int norm;                          /* magnitude: 1 or 2 */
    int rivals, probes;                /* of the signals MARGINS and CURVATURE (PRUNE_PROBES_EXACT: see host.h), and of Hutchinson's estimator; 0 = the
                                          criterion's default */
    enum prune_scale scale;
    struct prune_kfac_options kfac;
    struct prune_background *background; /* where statistics are added up while the host goes on; NULL: at once */
    double step;                       /* of differences of gate gradients; 0 = the criterion's own choice */
};

/* Where the gates of a pass sit. ANY: wherever the pass has them (-gate). PRODUCERS: in front of batch-norm of each of the unit's producers, so that z_u multiplies
 * all weights of the unit (theta_s of SOSP): derivatives in z are those in the weights along theta_s. For study alone, as BEFORE_BN: at 0 nothing is removed. */
enum prune_gate_choice { PRUNE_GATE_ANY, PRUNE_GATE_AFTER_BN, PRUNE_GATE_BEFORE_BN, PRUNE_GATE_AFTER_ACTIVATION, PRUNE_GATE_PRODUCERS };

struct prune_criterion {
    const char *name, *formula, *source;
    unsigned signals;                  /* PRUNE_SIGNAL_* it must be fed; 0 = needs no data and no host */
    bool needs_weights;
    const char *cost;                  /* in passes, for the user */
    enum prune_gate_choice gate;       /* the placement it is defined on */
    bool is_order;                     /* scores are an order of removal: those of different weights or images do not average */
    bool is_signed;                    /* an estimate of the loss change itself: select by the value, correlate its square */
    enum prune_code (*check)(const struct prune_score_input *in, struct prune_status *st);   /* optional: refuses a network its state has no room for */
    size_t (*state_size)(const struct prune_score_input *in);              /* flat state: saved, merged and loaded as bytes */
    void (*init)(void *state, const struct prune_score_input *in);
    void (*accumulate)(void *state, const struct prune_score_input *in, const struct prune_signals *signals);
    void (*merge)(void *state, const void *other, const struct prune_score_input *in);
    enum prune_code (*finish)(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st);
    /* Several passes over the images (NULL: one): how many. Pass 0, with the gates as they are, is shared with other criteria. Passes 2 k + 1 and 2 k + 2 are of
     * the product of the gates' Hessian with direction k, which either asks for: the first brings it (signals->gate_product) and the second falls out; or, where
     * the host has no products of the network or a step is given (-step), both bring gate gradients, gates a step along the direction and against it. signals->pass has the number.
     * Without `direction` every pass brings what pass 0 does, gates as they are (K-FAC: other layers). */
    size_t (*passes)(const struct prune_score_input *in);
    void (*direction)(const struct prune_score_input *in, size_t pass, float *v);
    /* Beside pass 0: two candidates per unit, z_u (1 - step) and z_u (1 + step), and their gate gradients (host.h, perturb); piece as the host gave it. */
    bool perturbs;
    void (*accumulate_perturbed)(void *state, const struct prune_score_input *in, const struct prune_perturbed *piece);
    int (*probes)(const struct prune_score_input *in);   /* of CURVATURE where the user does not say; NULL: PRUNE_DEFAULT_PROBES. Fed in a pass of its own */
    enum prune_scale scale;            /* what its scores are divided by where the user does not say; DEFAULT: nothing */
    bool scales;                       /* finish divides by itself (prune_scale_divisor): an order whose steps are divided */
    bool (*note)(const void *state, char *text, size_t room);  /* optional: what the user should know about finished scores; false: nothing */
    bool (*state_ok)(const void *state, const void *fresh);   /* optional: a state from a file has the inner layout of one just initialised */
};

const struct prune_criterion *prune_criterion_find(const char *name);   /* NULL: unknown */
const struct prune_criterion *prune_criteria(size_t *count);

/* Score file (JSON, version 1; docs/scores.md): criterion, hashes, images, per unit {unit, layer, channel, score}. Reading refuses another format or
 * version, a cfg with another hash, a unit table that is not this network's, and a score that is not a finite number. */
struct prune_score_file {
    const char *criterion;
    size_t images, minibatches;
    double loss;
    uint64_t seed;
    struct prune_momentum { double value; size_t iterations; } momentum;   /* S <- value S_old + (1 - value) S_new, scores of how many iterations; 0: not smoothed */
};
struct prune_mask_origin;
enum prune_code prune_scores_write(const char *path, const struct prune_units *units, const double *scores, const struct prune_score_file *about,
                                   const struct prune_mask_origin *origin, struct prune_status *st);
/* scores: units->count values, written only on success. */
enum prune_code prune_scores_read(const char *path, const struct prune_units *units, const struct prune_mask_origin *origin, double *scores, struct prune_status *st);
/* What else a score file says. criterion is malloc'd; momentum.iterations 0: not smoothed. */
enum prune_code prune_scores_about(const char *path, char **criterion, struct prune_momentum *momentum, struct prune_status *st);
/* The same from bytes in memory; path is for messages. */
enum prune_code prune_scores_parse(const char *path, const char *bytes, size_t size, const struct prune_units *units, const struct prune_mask_origin *origin,
                                   double *scores, struct prune_status *st);

#endif
