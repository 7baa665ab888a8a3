/* The before/after table of a run, from its report (see docs/scores.md for the fields). Shared by `run` and `report`. */
#ifndef PRUNE_COMMANDS_TABLE_H
#define PRUNE_COMMANDS_TABLE_H

#include <stdio.h>

struct cJSON;

/* Rows that the report does not have (null) are left out. Prints nothing else; never fails. */
void prune_table_print(FILE *out, const struct cJSON *report);
/* Which weights are not 0, layer by layer, from prune_sparse_json: `run` shows it below its table, `inspect -sparsity` of any file. */
void prune_table_sparsity(FILE *out, const struct cJSON *sparsity);

#endif
