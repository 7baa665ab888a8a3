/* The loop of fine-grained pruning: from a network ready to train to one whose zeros are held at the target. */
#ifndef PRUNE_RUN_SPARSE_LOOP_H
#define PRUNE_RUN_SPARSE_LOOP_H

#include "sparse_run.h"

struct prune_sparse_loop {
    const struct prune_host *host;           /* borrowed, as all before `result` */
    struct prune_host_net *host_net;
    const struct prune_sparse_options *o;
    const struct prune_net *net;
    const struct prune_units *units;         /* the criteria's state is made for them */
    struct prune_sparse *sparse;
    struct prune_image_set train;
    struct prune_step_options step;          /* rate, momentum, decay as they are used */
    const char *present;                     /* file for the weights as training has left them */
    struct { size_t iterations, steps, images, score_images; double score_seconds, loss, surgery_before, surgery_after; } result;
};

/* Weights that are left after iteration i (from 0), `kept` being left now. */
size_t prune_sparse_next(const struct prune_sparse *s, const struct prune_sparse_options *o, size_t i);
/* Starts training and stops it; leaves momentum reset and the zeros held. PRUNE_INTERRUPTED: the zeros so far are held. */
enum prune_code prune_sparse_loop(struct prune_sparse_loop *l, struct prune_status *st);

#endif
