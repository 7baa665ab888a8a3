/* Flags of training, for `finetune` and for `run` of either granularity: rates, what feeds a criterion, and the job around the pruning. */
#ifndef PRUNE_COMMANDS_JOB_FLAGS_H
#define PRUNE_COMMANDS_JOB_FLAGS_H

#include "../run/run.h"
#include "args.h"

/* -lr -momentum -decay. */
enum prune_code prune_args_step(const struct prune_args *a, struct prune_step_options *step, struct prune_status *st);
/* -score hook|pass, -score-images (0: not given). */
enum prune_code prune_args_feed(const struct prune_args *a, enum prune_feed *feed, size_t *images, struct prune_status *st);
/* The three positionals, -out -protect -finetune -finetune-lr -total -recalibrate, and the flags of images and of the host. recalibrate: images where nothing is said. */
enum prune_code prune_args_job(const struct prune_args *a, long recalibrate, struct prune_job_options *o, struct prune_status *st);

#endif
