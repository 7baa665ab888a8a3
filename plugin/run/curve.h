/* Pruning curves: units leave one by one (or a few at a time) in the order of a criterion, nothing is trained, and after each step the network is measured
 * (Molchanov et al. 2019, Figures 3 and 4). A curve is one criterion with one seed, its scores made anew after every step or kept from the start.
 * Units are silenced by their gates: the network that is measured is the one `evaluate -mask` sees, and computes what the rewritten network computes. */
#ifndef PRUNE_RUN_CURVE_H
#define PRUNE_RUN_CURVE_H

#include "../host.h"
#include "../score/scoring.h"
#include "../select/select.h"

/* What is measured; NaN: not in this row. */
enum prune_curve_value {
    PRUNE_CURVE_LOSS,                /* on the scored images */
    PRUNE_CURVE_EVAL_LOSS,           /* on the evaluation images */
    PRUNE_CURVE_ACCURACY,            /* there: top-1, of a detector mAP@0.5 */
    PRUNE_CURVE_RECAL_LOSS,          /* the same three with the batch-norm statistics of the network as it is now */
    PRUNE_CURVE_RECAL_EVAL_LOSS,
    PRUNE_CURVE_RECAL_ACCURACY,
    PRUNE_CURVE_VALUES
};
const char *prune_curve_value_name(enum prune_curve_value v);      /* "loss", "eval_loss", ... */

struct prune_curve_row { size_t step, removed; struct prune_cost cost; double values[PRUNE_CURVE_VALUES]; };
struct prune_curve {
    const char *criterion;           /* static: as prune_curve_ranking knows it */
    bool recomputed;
    uint64_t seed;
    bool done;
    struct prune_curve_row *rows; size_t count;
    int *order; size_t removed;      /* units in the order in which they went: the first rows[k].removed of them at row k */
};
void prune_curve_free(struct prune_curve *c);

/* Who ranks the units: a criterion of the registry, or an oracle (criterion NULL): what removing each unit alone does to the loss on the scored images,
 * recomputed after each step the greedy oracle. */
struct prune_curve_ranking { const char *name; const struct prune_criterion *criterion; bool is_signed; };
bool prune_curve_ranking(const char *name, struct prune_curve_ranking *out);
bool prune_curve_needs_images(const struct prune_curve_ranking *r);          /* false: its scores do not change while units go */
unsigned prune_curve_capabilities(const struct prune_curve_ranking *r);      /* PRUNE_SIGNAL_*, PRUNE_CAN_* of the host */

struct prune_curve_setup {           /* borrowed; outlives the lab */
    const struct prune_host *host;
    const char *cfg, *weights_path;
    struct prune_score_input input;  /* .seed is the curve's */
    struct prune_open_options open;  /* .seed is the curve's */
    struct prune_image_set scored, eval, recalibration;
    size_t minibatch;                /* 0 = the network's batch */
    bool evaluates;
    size_t eval_every;               /* rows between evaluations, >= 1; the first and the last row of a curve are always evaluated */
    size_t recalibrate;              /* images drawn as in training; 0 = off. Whenever evaluation is due */
    struct prune_select_options select;   /* .max_new: units per step; .open_ended: until nothing may go */
    double until_loss;               /* NaN = off: the row whose loss on the scored images is this or more is the last */
};

/* One network, opened when needed: for the first curve, for another seed, and after a recalibration, which changes the statistics of the one at hand. */
struct prune_curve_lab { const struct prune_curve_setup *setup; struct prune_host_net *net; uint64_t seed; bool detector; char differences[PRUNE_DIFFERENCES_ROOM]; /* of struct prune_scoring_facts */ };
void prune_curve_lab_close(struct prune_curve_lab *lab);

/* Called after every row; what it returns ends the curve, which can be extended later. */
typedef enum prune_code (*prune_curve_step)(void *user, const struct prune_curve *c, struct prune_status *st);
/* Goes on where the curve stands (empty: from the whole network) to its end: same rows, however often it was stopped in between. */
enum prune_code prune_curve_extend(struct prune_curve_lab *lab, struct prune_curve *c, prune_curve_step step, void *user, struct prune_status *st);

/* Units gone in the first row whose value v is x or more; NaN: never. */
double prune_curve_reaches(const struct prune_curve *c, enum prune_curve_value v, double x);

#endif
