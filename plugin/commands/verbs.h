/* The verbs of `darknet prune`, one file each (run.c, inspect.c, ...). commands.c puts them into the table, in this order. */
#ifndef PRUNE_COMMANDS_VERBS_H
#define PRUNE_COMMANDS_VERBS_H

#include "commands.h"

extern const struct prune_command prune_command_run;
extern const struct prune_command prune_command_inspect;
extern const struct prune_command prune_command_score;
extern const struct prune_command prune_command_select;
extern const struct prune_command prune_command_apply;
extern const struct prune_command prune_command_expand;
extern const struct prune_command prune_command_compose;
extern const struct prune_command prune_command_reconstruct;
extern const struct prune_command prune_command_verify;
extern const struct prune_command prune_command_finetune;
extern const struct prune_command prune_command_evaluate;
extern const struct prune_command prune_command_gate;
extern const struct prune_command prune_command_criteria;
extern const struct prune_command prune_command_curve;
extern const struct prune_command prune_command_report;
extern const struct prune_command prune_command_oracle;
extern const struct prune_command prune_command_correlate;
extern const struct prune_command prune_command_surgery;

#endif
