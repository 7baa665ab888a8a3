/* The parts of the verb `correlate`: correlate.c measures, correlate_print.c shows, correlate_ranks.c draws ranks per layer. */
#ifndef PRUNE_COMMANDS_CORRELATE_H
#define PRUNE_COMMANDS_CORRELATE_H

#include "../score/correlation_report.h"
#include "common.h"

/* The layout of the paper's Table 2: a row per criterion, coefficients averaged over layers and over all layers, intervals below. */
void prune_correlate_print(const struct prune_correlation_table *t, const struct prune_correlation_results *r);
/* -ranks: BASE.csv and BASE.svg from one or two pairs of cfg and score file among the arguments. */
enum prune_code prune_correlate_ranks(const struct prune_args *a, const char *base, struct prune_status *st);
/* BASE + ending, malloc'd; refuses a path that is one of the inputs. */
enum prune_code prune_correlate_path(const char *base, const char *ending, const char *const *inputs, size_t count, char **out, struct prune_status *st);

#endif
