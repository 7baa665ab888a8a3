/* `darknet prune run`: the main job in one command; see plugin/run/run.h for what it does. */
#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../run/run.h"
#include "common.h"
#include "job_flags.h"
#include "run_weights.h"
#include "scoring_flags.h"
#include "surgery_flags.h"
#include "table.h"
#include "verbs.h"

static const char usage[] =
    "usage: darknet prune run <data> <cfg> <weights> (-macs R | -params R | -units R) [-flag value ...]\n"
    "       darknet prune run <data> <cfg> <weights> -granularity weight -weights R [-flag value ...]\n"
    "\n"
    "Prunes a trained network while it trains, rewrites it, proves the rewrite, repairs batch-norm\n"
    "statistics, fine-tunes, and prints the before/after table. Classifier or detector is read from the\n"
    "cfg. Writes into DIR:\n"
    "  <base>-pruned.cfg, <base>-pruned.weights   load wherever the original does\n"
    "  <base>-pruned.mask.json                    which channels of the original are gone\n"
    "  <base>-scores.json                         smoothed scores of the last iteration\n"
    "  report.json                                every number of the table and how it came about\n"
    "\n"
    "  -out DIR          folder for the files; made when missing (default: pruned)\n"
    PRUNE_SELECT_HELP
    "  -criterion C      what makes a unit important: 'darknet prune criteria' lists them; auto:\n"
    "                    taylor-logits-greedy for classifiers with a softmax, else taylor-fo (default:\n"
    "                    auto)\n"
    "  -score hook|pass  what feeds the criterion: training itself, or a pass over images between\n"
    "                    training steps (default: hook for the criteria that need nothing else)\n"
    "  -score-images N   images of such a pass, drawn as in training, other ones each time (default: as\n"
    "                    many as are trained on between removals)\n"
    PRUNE_SURGERY_HELP("none")
    "  -norm 1|2         magnitude: L1 or L2 norm of a filter (default: 2)\n"
    PRUNE_KFAC_HELP
    "  -batches-per-iteration N\n"
    "                    training steps between removals (default: 10)\n"
    "  -remove-per-iteration F\n"
    "                    fraction of the initial units that goes each time (default: 0.02)\n"
    "  -momentum-score M smoothing of scores between iterations (default: 0.9; 0 for\n"
    "                    taylor-logits-greedy, whose scores are an order)\n"
    "  -finetune N       training after the rewrite: epochs ('2', '0.5') or iterations ('300i')\n"
    "                    (default: 0)\n"
    "  -total N          training in all, pruning steps included; the rest is fine-tuning (wins over\n"
    "                    -finetune)\n"
    "  -lr X             learning rate: constant while pruning, then a half cosine to 0\n"
    "                    (default: the cfg's learning_rate, at most 0.01)\n"
    "  -finetune-lr X    where the half cosine starts, if not at -lr: repair bears a higher rate than\n"
    "                    pruning (default: -lr)\n"
    "  -momentum X       of SGD (default: the cfg's)\n"
    "  -decay X          of SGD (default: the cfg's)\n"
    "  -reconstruct N    after the rewrite, fit the filters that are left to the sums of the network as\n"
    "                    it was given, by least squares over N training images (default: 0: no)\n"
    "  -recalibrate N    training images, drawn as in training, that batch-norm statistics are averaged\n"
    "                    over (default: 2560; with -reconstruct 0; 0: no)\n"
    "  -max-loss X       stop removing and roll back when the mean training loss of an iteration\n"
    "                    exceeds X\n"
    "  -min-accuracy X   the same when top-1 (mAP@0.5 for detectors) falls below X, a fraction of 1\n"
    "  -images N         evaluate on the first N validation images (default: all)\n"
    "  -letterbox 0|1    evaluation of detectors: 1 keeps the aspect ratio (gray borders), 0 stretches\n"
    "                    (default: 1)\n"
    PRUNE_HOST_HELP
    "  -keep-work        keep DIR/work, the intermediate files\n"
    PRUNE_WEIGHTS_HELP
    "\n"
    "Ctrl-C stops after the present step, leaves a usable pair and says where.\n"
    "\n"
    "example:\n"
    "  darknet prune run cifar.data resnet20.cfg resnet20.weights -macs 0.5 -total 2 -out pruned\n"
    "  darknet prune run mnist.data lenet5.cfg lenet5.weights -granularity weight -weights 0.05 -total 4\n"
    "\n"
    "exit codes: 0 done, 1 failed or interrupted (the message says what is on disk), 2 wrong usage\n";

static const struct prune_flag flags[] = {
    {"out", true}, PRUNE_SELECT_FLAGS, {"criterion", true}, {"norm", true}, {"batches-per-iteration", true}, {"remove-per-iteration", true},
    {"momentum-score", true}, PRUNE_KFAC_FLAGS, {"score", true}, {"score-images", true}, PRUNE_SURGERY_FLAGS, {"reconstruct", true}, {"finetune", true}, {"total", true}, {"lr", true}, {"finetune-lr", true}, {"momentum", true}, {"decay", true}, {"recalibrate", true},
    {"max-loss", true}, {"min-accuracy", true}, {"images", true}, {"letterbox", true}, PRUNE_HOST_FLAGS, {"keep-work", false}, PRUNE_WEIGHTS_FLAGS, {0}};

/* Criterion and what feeds it; "auto" leaves the criterion to the run, which knows the network. */
static enum prune_code read_criterion(const struct prune_args *a, struct prune_loop_options *loop, struct prune_status *st)
{
    const char *name = prune_args_string(a, "criterion", "auto");
    enum prune_code rc = strcmp(name, "auto") ? prune_args_criterion(name, &loop->criterion, st) : PRUNE_OK;
    if (!rc) rc = prune_args_feed(a, &loop->feed, &loop->score_images, st);
    if (!rc) rc = prune_args_double(a, "momentum-score", 0, 0.9999, NAN, &loop->smoothing, st);
    return rc ? rc : prune_args_surgery(a, PRUNE_SURGERY_NONE, &loop->surgery, st);
}

static enum prune_code read_loop(const struct prune_args *a, struct prune_loop_options *loop, struct prune_status *st)
{
    long norm = 2, batches = 10;
    enum prune_code rc = prune_args_select(a, false, &loop->select, st);
    if (!rc) rc = read_criterion(a, loop, st);
    if (!rc) rc = prune_args_int(a, "norm", 1, 2, 2, &norm, st);
    if (!rc) rc = prune_args_kfac(a, &loop->kfac, &loop->scale, st);
    if (!rc) rc = prune_args_int(a, "batches-per-iteration", 1, 1000000, 10, &batches, st);
    if (!rc) rc = prune_args_double(a, "remove-per-iteration", 1e-6, 1, 0.02, &loop->remove_per_iteration, st);
    if (!rc) rc = prune_args_step(a, &loop->step, st);
    if (!rc) rc = prune_args_double(a, "max-loss", 0, 1e9, NAN, &loop->max_loss, st);
    if (!rc) rc = prune_args_double(a, "min-accuracy", 0, 1, NAN, &loop->min_accuracy, st);
    loop->norm = (int)norm;
    loop->batches_per_iteration = (size_t)batches;
    return rc;
}

static enum prune_code read_options(const struct prune_args *a, struct prune_run_options *o, struct prune_status *st)
{
    long reconstruct = 0;
    *o = (struct prune_run_options){.keep_work = prune_args_has(a, "keep-work")};
    enum prune_code rc = read_loop(a, &o->loop, st);
    if (!rc) rc = prune_args_int(a, "reconstruct", 0, 1000000000, 0, &reconstruct, st);
    if (!rc) rc = prune_args_job(a, reconstruct ? 0 : 2560, &o->job, st);
    o->reconstruct_images = (size_t)reconstruct;
    return rc;
}

static enum prune_code run(int argc, char **argv, const struct prune_host *host, struct prune_status *st)
{
    struct prune_args args;
    struct prune_run_options options;
    enum prune_code rc = prune_args_parse(&args, argc, argv, flags, 3, 3, st);
    bool weights = false;
    if (!rc) rc = prune_run_weights_asked(&args, &weights, st);
    if (!rc && weights) return prune_run_weights(&args, host, st);
    if (!rc) rc = read_options(&args, &options, st);
    if (rc) return rc;
    cJSON *report = NULL;
    rc = prune_run(host, &options, &report, st);
    if (rc) return rc;
    prune_table_print(stdout, report);
    printf("wrote %s\n      %s\n      %s\n      %s/report.json\n", cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(report, "pruned_cfg")),
           cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(report, "pruned_weights")),
           cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(report, "mask")), options.job.out);
    cJSON_Delete(report);
    return PRUNE_OK;
}

const struct prune_command prune_command_run = {"run", "prune a trained network to a target, fine-tune it, show the table", usage, run};
