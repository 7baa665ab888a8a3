/* What several verbs share: opening cfg, weights and units in one call, the flags of selection, of image sets and of the
 * host, their help text, and scoring from the weights alone. Flag lists are macros so that a verb's list stays one table:
 *   static const struct prune_flag flags[] = {{"out", true}, PRUNE_SELECT_FLAGS, {0}}; */
#ifndef PRUNE_COMMANDS_COMMON_H
#define PRUNE_COMMANDS_COMMON_H

#include "../base/nearest.h"
#include "../model/weights_file.h"
#include "../select/select.h"
#include "../units/mask_file.h"
#include "args.h"

/* A user's network: cfg, shape, units, and the weights where there are any. Its parts point at each other: never copy or move one. */
struct prune_project {
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_units units;
    struct prune_weights weights;      /* mapped while has_weights */
    bool has_weights;
    struct prune_mask_origin origin;   /* paths borrowed from the caller; hashes filled ("" without weights) */
};
/* weights, protect: NULL = none. The weights are checked for size and for NaN and infinity. On failure nothing stays open. */
enum prune_code prune_project_open(struct prune_project *p, const char *cfg, const char *weights, const char *protect, struct prune_status *st);
/* The same, but the values of the weights are still to be checked, and their hash is to be made: origin.weights_hash is "". */
enum prune_code prune_project_open_unchecked(struct prune_project *p, const char *cfg, const char *weights, const char *protect, struct prune_status *st);
void prune_project_close(struct prune_project *p);   /* accepts a zeroed or closed project */

/* Selection: -macs -params -units -per-layer -protect -min-keep -multiple -cost -cost-power. */
#define PRUNE_SELECT_FLAGS {"macs", true}, {"params", true}, {"units", true}, {"per-layer", false}, {"protect", true}, \
    {"min-keep", true}, {"multiple", true}, {"cost", true}, {"cost-power", true}
#define PRUNE_SELECT_HELP \
    "  -macs R           target: the fraction of the original multiply-adds that remains, 0 < R <= 1\n" \
    "  -params R         the same of the parameters\n" \
    "  -units R          the same of the units\n" \
    "  -per-layer        the same fraction of every layer (default: one ranking over all of them)\n" \
    "  -protect L        layers whose units all stay: \"0\", \"0,81-83\" (default: none)\n" \
    "  -min-keep N       channels that every layer keeps at least (default: 1)\n" \
    "  -multiple N       kept counts are rounded up to a multiple of N, for example 8 (default: 1)\n" \
    "  -cost C           rank by score / cost: none, macs or params that go with the unit (default: none)\n" \
    "  -cost-power P     rank by score / cost^P, with -cost (default: 1)\n"
/* For verbs that work on the whole network at once: a later step of a run would count from a smaller one. */
#define PRUNE_CAP_FLAGS {"max-removed", true}
#define PRUNE_CAP_HELP \
    "  -max-removed F    the fraction of its channels that a layer loses at most (default: 1)\n"
#define PRUNE_SPANNING_HELP \
    "  -no-spanning 0|1  1: units with channels in several layers stay, too (default: 0)\n"
/* A target must be given unless target_optional; without one out->remain is 1 (nothing to remove). */
enum prune_code prune_args_select(const struct prune_args *a, bool target_optional, struct prune_select_options *out, struct prune_status *st);
bool prune_args_has_target(const struct prune_args *a);

/* Which images: -list -images -letterbox. */
#define PRUNE_IMAGE_FLAGS {"list", true}, {"images", true}, {"letterbox", true}
#define PRUNE_IMAGE_HELP(role) \
    "  -list FILE        image paths, one per line (default: the " role " list of the data file)\n" \
    "  -images N         the first N images only (default: all)\n" \
    "  -letterbox 0|1    detectors: 1 keeps the aspect ratio (gray borders), 0 stretches (default: 1)\n"
/* For the verbs that declare them, which of the list: -role -first -drawn. */
#define PRUNE_SET_FLAGS {"role", true}, {"first", true}, {"drawn", true}
#define PRUNE_SET_HELP \
    "  -role R           train or valid: the list of the data file that the images are of\n" \
    "  -first N          images of the list to skip (default: 0)\n" \
    "  -drawn 0|1        1: permuted and augmented as in training, from the seed (default: 0)\n"
enum prune_code prune_args_role(const struct prune_args *a, const char *flag, enum prune_data_role fallback, enum prune_data_role *out, struct prune_status *st);
enum prune_code prune_args_images(const struct prune_args *a, const char *data, enum prune_data_role role, struct prune_image_set *out, struct prune_status *st);

/* The host: -threads -seed. */
#define PRUNE_HOST_FLAGS {"threads", true}, {"seed", true}
#define PRUNE_HOST_HELP \
    "  -threads N        worker threads (default: all cores)\n" \
    "  -seed N           random numbers depend on this alone (default: 1)\n"
enum prune_code prune_args_host(const struct prune_args *a, struct prune_open_options *out, struct prune_status *st);

/* "-flag 0" or "-flag 1". */
enum prune_code prune_args_switch(const struct prune_args *a, const char *flag, bool fallback, bool *out, struct prune_status *st);

/* Refuses an output that is one of the inputs (count of them, NULL: none), under whatever name. */
enum prune_code prune_check_output(const char *out, const char *const *inputs, size_t count, struct prune_status *st);

/* A criterion by its name; unknown: a usage error with the nearest name. */
struct prune_criterion;
enum prune_code prune_args_criterion(const char *name, const struct prune_criterion **out, struct prune_status *st);
/* Scores of a criterion that needs no data ("magnitude", "bn-scale", "random"); one that does is refused with the way to go (score, then -scores).
 * scores: p->units.count values. norm: 1 or 2 (magnitude). */
enum prune_code prune_project_score(const struct prune_project *p, const struct prune_criterion *criterion, int norm, uint64_t seed, double *scores, struct prune_status *st);

#endif
