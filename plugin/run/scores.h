/* The smoothed scores of a run's last iteration, as a score file of the user's cfg. */
#ifndef PRUNE_RUN_SCORES_H
#define PRUNE_RUN_SCORES_H

#include "../units/mask_file.h"
#include "prune_loop.h"

/* Units that are gone score 0, or what the lowest of those that stay scores, if that is less. Nothing is written before the first removal. */
enum prune_code prune_run_scores_write(const char *path, const struct prune_work *w, const struct prune_units *original, const struct prune_loop_options *o,
                                       const struct prune_loop_result *r, const struct prune_mask_origin *origin, struct prune_status *st);

#endif
