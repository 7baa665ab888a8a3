/* `darknet prune run -granularity weight`: the fine-grained half of the verb run (docs/sparse.md). */
#ifndef PRUNE_COMMANDS_RUN_WEIGHTS_H
#define PRUNE_COMMANDS_RUN_WEIGHTS_H

#include "../host.h"
#include "args.h"

#define PRUNE_WEIGHTS_FLAGS {"granularity", true}, {"weights", true}, {"stages", true}, {"anneal", true}
#define PRUNE_WEIGHTS_HELP \
    "\n" \
    "Single weights instead of channels (docs/sparse.md):\n" \
    "  -granularity G    unit or weight (default: unit). weight: single weights of convolutional and\n" \
    "                    connected layers become 0 and stay 0; biases and batch-norm are never pruned.\n" \
    "                    The shape stays; DIR gets <base>-sparse.weights, for the same cfg, and\n" \
    "                    report.json. Of the flags above it takes -out -per-layer -protect -min-keep\n" \
    "                    (weights of a layer) -criterion -score -score-images -surgery\n" \
    "                    -kfac-samples -kfac-decay -damping -fisher -batches-per-iteration -finetune\n" \
    "                    -total -lr -finetune-lr -momentum -decay -recalibrate -images -letterbox\n" \
    "                    -threads -seed\n" \
    "  -weights R        target: the fraction of these weights that remains, for example 0.013\n" \
    "  -criterion C      nap, obd, magnitude or random (default: nap)\n" \
    "  -remove-per-iteration F\n" \
    "                    fraction of the weights left that goes each time (default: 0.2)\n" \
    "  -stages A,B,...   the fractions that remain after each removal instead, falling, R last\n" \
    "  -anneal 0|1       1: the rate falls to 0 between removals, along a half cosine (default: 1 with\n" \
    "                    -stages, else 0)\n" \
    "  -normalize N      layer: scores of each layer sum to 1; none (default: layer for nap, else none)\n"

/* Is it what the arguments of `run` ask for? Refuses another granularity, and flags of the one with the other. */
enum prune_code prune_run_weights_asked(const struct prune_args *a, bool *asked, struct prune_status *st);
enum prune_code prune_run_weights(const struct prune_args *a, const struct prune_host *host, struct prune_status *st);

#endif
