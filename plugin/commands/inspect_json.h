/* `inspect -json`: everything another program needs to make a mask; docs/inspect.md describes every field. Written to stdout as it goes. */
#ifndef PRUNE_COMMANDS_INSPECT_JSON_H
#define PRUNE_COMMANDS_INSPECT_JSON_H

#include "common.h"

/* What a layer's own channels amount to. */
struct prune_layer_units { size_t units, removable; const char *why; };

enum prune_code prune_inspect_json(const struct prune_project *p, const struct prune_blocks *blocks, struct prune_status *st);

/* For both forms of inspect. */
struct prune_layer_units prune_inspect_count(const struct prune_project *p, const struct prune_layer *l);
size_t prune_inspect_removable(const struct prune_units *units);
const char *prune_inspect_balance(const struct prune_project *p, size_t balance);   /* "inputs", "filters", "route slices" */
double prune_inspect_megabytes(const struct prune_project *p);                      /* of the weights */

#endif
