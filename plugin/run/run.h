/* The main job: evaluate, prune while training, rewrite, verify, reconstruct, recalibrate, fine-tune, evaluate, report.
 * In: data file, cfg, weights. Out: <out>/<base>-pruned.cfg, .weights, .mask.json and report.json; inputs are never touched. */
#ifndef PRUNE_RUN_RUN_H
#define PRUNE_RUN_RUN_H

#include <cjson/cJSON.h>

#include "finetune.h"
#include "prune_loop.h"
#include "verify.h"

/* What every such job is told, whatever it prunes. */
struct prune_job_options {
    const char *data, *cfg, *weights, *out;
    const char *protect;                 /* layer ranges or NULL */
    const char *finetune;                /* "2" epochs or "300i"; NULL: none */
    double finetune_rate;                /* where fine-tuning starts; 0 = the rate of pruning */
    const char *total;                   /* length of training in all, pruning included; wins over finetune; NULL: not given */
    size_t recalibrate_images;           /* 0 = none */
    size_t evaluate_images;              /* 0 = the whole valid list */
    int letterbox;
    uint64_t seed;
    int threads;
};

struct prune_run_options {
    struct prune_job_options job;
    struct prune_loop_options loop;      /* criterion, selection, rates; .select.original and .valid are filled by the run;
                                            .criterion NULL = prune_default_criterion, .smoothing NAN = prune_default_smoothing,
                                            .step as prune_step_of reads it */
    size_t reconstruct_images;           /* reconstruct.h, with its defaults, against the user's own weights; 0 = no */
    bool keep_work;                      /* keep <out>/work */
};

/* *report is a cJSON object (caller deletes), also written to <out>/report.json. PRUNE_INTERRUPTED: stopped by the user, the pair on disk is
 * usable and st says where; *report may be NULL then. */
enum prune_code prune_run(const struct prune_host *host, const struct prune_run_options *o, cJSON **report, struct prune_status *st);

#endif
