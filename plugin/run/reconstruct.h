/* Least-squares reconstruction: what the surviving filters become so that the pruned network's sums (weight x input, before batch-norm) come nearest to
 * those of the unpruned network; docs/reconstruct.md. Layers in forward order: the input of each is that of the pruned network with all layers before it
 * reconstructed. Where a [shortcut] right behind adds the sums to a stream, they also make up for the stream's error so far.
 * In: both pairs, and the plan that led from one to the other. Out: new filters, constants (into batch-norm means, or biases) in the pruned weights. */
#ifndef PRUNE_RUN_RECONSTRUCT_H
#define PRUNE_RUN_RECONSTRUCT_H

#include "../host.h"
#include "../rewrite/rewrite.h"

struct prune_reconstruct_options {
    const char *data;                    /* Darknet data file; images of its train list, drawn as in training */
    size_t images;                       /* 0: 2000 */
    double samples;                      /* fraction of the places of large maps; 0: 0.25 */
    double ridge;                        /* NAN: 1e-3. Of the mean square of a layer's inputs */
    size_t recalibrate;                  /* images that batch-norm statistics are averaged over afterwards; 0: no */
    double memory;                       /* bytes for images, kept outputs and moments; 0: 2 GiB */
    int threads; uint64_t seed; int letterbox;
    const char *save;                    /* where the weights go; NULL: in place of the pruned weights */
};

struct prune_reconstruct_input {
    const char *cfg, *weights;           /* the unpruned pair */
    const struct prune_net *whole;       /* its shape */
    const int *old_of;                   /* [layer of net] -> layer of whole; NULL: the same */
    const struct prune_net *net;         /* what the plan slices: whole, or whole without blocks */
    const struct prune_plan *plan;
    const char *pruned_cfg, *pruned_weights;
    bool trained;                        /* the pruned weights are more than a slice of the unpruned ones: no layer is exact */
};

/* One convolutional or connected layer, by its number in the pruned network. */
struct prune_reconstruct_row {
    int layer;
    size_t inputs, inputs_before, filters, filters_before;   /* channels */
    bool stream;                         /* makes up for a stream's error */
    const char *left;                    /* why it was left as it is; NULL: reconstructed */
    double before, after;                /* relative errors of its sums (reconstruct_solve.h) */
    double ridge;                        /* used */
};
struct prune_reconstruct_result { struct prune_reconstruct_row *rows; size_t count, images, solved; double seconds; };

enum prune_code prune_reconstruct(const struct prune_host *host, const struct prune_reconstruct_input *in, const struct prune_reconstruct_options *o,
                                  struct prune_reconstruct_result *result, struct prune_status *st);
void prune_reconstruct_free(struct prune_reconstruct_result *r);

#endif
