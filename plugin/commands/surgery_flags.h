/* The flags of surgery, for the verbs that do it: -surgery -surgery-part. */
#ifndef PRUNE_COMMANDS_SURGERY_FLAGS_H
#define PRUNE_COMMANDS_SURGERY_FLAGS_H

#include "../run/network_surgery.h"
#include "args.h"

#define PRUNE_SURGERY_FLAGS {"surgery", true}, {"surgery-part", true}
#define PRUNE_SURGERY_HELP(fallback) \
    "  -surgery S        let what stays make up for what goes, by Kronecker factors (docs/surgery.md):\n" \
    "                    joint: the minimum for all that goes together; paper: the sum of what each\n" \
    "                    weight alone would ask for (NAP, eq. 6); none (default: " fallback ")\n" \
    "  -surgery-part P   who makes up for it: inputs, the other inputs of the layers that read a removed\n" \
    "                    channel; filters, the other filters of its own layer; both (default: inputs)\n"
enum prune_code prune_args_surgery(const struct prune_args *a, enum prune_surgery fallback, struct prune_surgery_options *out, struct prune_status *st);

#endif
