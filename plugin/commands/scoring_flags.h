/* What the verbs that score images share: a list of criteria ("a,b,c" or "all"), and the flags that say how they are fed. */
#ifndef PRUNE_COMMANDS_SCORING_FLAGS_H
#define PRUNE_COMMANDS_SCORING_FLAGS_H

#include "../score/scoring.h"
#include "common.h"

enum { PRUNE_MAX_CRITERIA = 64 };

struct prune_criteria_list {
    struct prune_scored items[PRUNE_MAX_CRITERIA];
    size_t count;
    bool all;                          /* "all": what turns out not to fit this network may be dropped */
    unsigned signals;                  /* of all of them: 0 = no images are needed */
    bool needs_weights;
};
/* From the value of a flag, whose name is for messages. Unknown names and repetitions are usage errors. */
enum prune_code prune_criteria_read(struct prune_criteria_list *l, const char *flag, const char *names, struct prune_status *st);
/* "all" loses what these inputs cannot feed, each with a line of why on stdout; of a list given by name the first such is a usage error.
 * task: of the network, PRUNE_TASK_OTHER where it is not known yet. */
enum prune_code prune_criteria_allowed(struct prune_criteria_list *l, const struct prune_host *host, bool data, bool weights, enum prune_task task, struct prune_status *st);
/* States of all; "all" loses those that have no room for this network, as above. */
enum prune_code prune_criteria_init(struct prune_criteria_list *l, const struct prune_score_input *in, struct prune_status *st);
/* Scores of all from their states; "all" loses those that fail here, as above. */
enum prune_code prune_criteria_finish(struct prune_criteria_list *l, const struct prune_score_input *in, struct prune_status *st);

/* A line on stderr for what the user should know about finished scores, once for criteria of one state. */
void prune_criteria_notes(const struct prune_scored *items, size_t count);
/* A line on stderr where differences stood in for products that this network does not allow; differences: of struct prune_scoring_facts. */
void prune_differences_note(const char *differences);

/* K-FAC and what scores are divided by; for `run` as well. */
#define PRUNE_KFAC_FLAGS {"kfac-samples", true}, {"kfac-decay", true}, {"damping", true}, {"fisher", true}, {"normalize", true}, {"memory", true}, {"scale", true}
#define PRUNE_KFAC_HELP \
    "  -kfac-samples F   nap, c-obd, kron-obd, c-obs, kron-obs: fraction of a map's locations that\n" \
    "                    statistics are made of (default: as many as they need; docs/kfac.md)\n" \
    "  -kfac-decay D     of the exponential average over minibatches; 1: plain mean (default: 0.95)\n" \
    "  -damping L        of the factors (default: 0.001)\n" \
    "  -fisher F         sampled: targets drawn from the network's own predictions; empirical: labels\n" \
    "                    (default: sampled)\n" \
    "  -normalize N      nap: layer divides by the sum over the layer, none does not (default: layer)\n" \
    "  -memory SIZE      of the factors, with K, M or G; what is beyond takes more passes (default: 2G)\n" \
    "  -scale S          scores are divided by: none, kernel (side), macs (default: the criterion's own)\n"
enum prune_code prune_args_kfac(const struct prune_args *a, struct prune_kfac_options *kfac, enum prune_scale *scale, struct prune_status *st);

/* -norm -minibatch -gate -rivals -probes -step -role -first -drawn, beside PRUNE_IMAGE_FLAGS and PRUNE_HOST_FLAGS. */
#define PRUNE_SCORING_FLAGS {"norm", true}, {"minibatch", true}, {"gate", true}, {"rivals", true}, {"probes", true}, {"step", true}, PRUNE_KFAC_FLAGS, PRUNE_SET_FLAGS
#define PRUNE_SCORING_HELP \
    "  -minibatch B      images per minibatch; taylor-fo averages gradients inside one\n" \
    "                    (default: the cfg's batch / subdivisions)\n" \
    "  -gate G           where gates sit: after-bn, before-bn or after-activation (default: after-bn;\n" \
    "                    criteria that are defined on one place keep theirs)\n" \
    "  -norm 1|2         magnitude: L1 or L2 norm of a filter (default: 2)\n" \
    "  -rivals K         taylor-logits: the K likeliest wrong classes of an image (default: 4)\n" \
    "  -probes K         random probes: Gauss-Newton per image (default: 4; sosp-i: exact up to 32\n" \
    "                    classes, else 10), Hutchinson in all (default: 8); exact: Gauss-Newton without\n" \
    "                    chance, a probe per class of a softmax\n" \
    "  -step H           second order by differences of gradients, gates moved by this (default:\n" \
    "                    exact products; the criterion's own)\n" \
    PRUNE_KFAC_HELP \
    "  -role R           train or valid: the list of the data file (default: train)\n" \
    "  -first N          skip N images of the list (default: 0)\n" \
    "  -drawn 0|1        1: images permuted and augmented as in training (default: 0)\n"
/* A number, PRUNE_PROBES_EXACT, or 0 where nothing is said. */
enum prune_code prune_args_probes(const struct prune_args *a, int *out, struct prune_status *st);
/* Fills minibatch, gate, set, and of input norm, rivals, probes, step, kfac, scale and seed; batch of *open. data: NULL without images. */
enum prune_code prune_args_scoring(const struct prune_args *a, const char *data, struct prune_scoring *s, struct prune_open_options *open, struct prune_status *st);

#endif
