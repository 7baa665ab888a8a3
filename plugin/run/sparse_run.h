/* Fine-grained pruning in one job (docs/sparse.md; NAP, section 3.2 and Algorithm 1): train, rank single weights, take the least important ones, repair the others by surgery, train on with the
 * zeros held, and so on; then fine-tune, still with the zeros held, evaluate and report. In: data file, cfg, weights. Out: <out>/<base>-sparse.weights, for the same cfg, and
 * report.json; inputs are never touched. */
#ifndef PRUNE_RUN_SPARSE_RUN_H
#define PRUNE_RUN_SPARSE_RUN_H

#include "../score/surgery.h"
#include "../score/weight_scores.h"
#include "run.h"
#include "sparse.h"

struct prune_sparse_options {
    struct prune_job_options job;            /* protect: layers that lose no weight */
    const struct prune_weight_criterion *criterion;
    enum prune_feed feed;                    /* of criteria that read images */
    size_t score_images;                     /* of a scoring pass; 0 = as many as an iteration trains on */
    bool normalise;                          /* scores of each layer sum to 1 */
    struct prune_kfac_options kfac;
    enum prune_surgery surgery;
    bool per_layer;
    size_t min_keep;                         /* weights that every layer keeps, >= 1 */
    double remain;                           /* fraction of the weights, (0, 1] */
    const double *stages; size_t stage_count;   /* falling fractions, the last is `remain`; NULL: remove_per_iteration of what is left goes each time */
    double remove_per_iteration;
    size_t batches_per_iteration;            /* training steps before each removal, >= 1 */
    bool anneal;                             /* the rate falls to 0 within each iteration, along a half cosine; else it is constant */
    struct prune_step_options step;          /* as in struct prune_loop_options */
};

/* *report: as of prune_run, with "granularity": "weight" and "sparsity" (prune_sparse_json). PRUNE_INTERRUPTED: the weights so far are on disk, and st says where. */
enum prune_code prune_sparse_run(const struct prune_host *host, const struct prune_sparse_options *o, cJSON **report, struct prune_status *st);

#endif
