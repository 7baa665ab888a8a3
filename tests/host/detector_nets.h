/* Small detectors for the tests of gate gradients and curvature: two yolo heads below a route, or a region head; repeatable weights, images, truths; a gate on
 * every batch-normalised channel. */
#ifndef TESTS_HOST_DETECTOR_NETS_H
#define TESTS_HOST_DETECTOR_NETS_H

#include "small_net.h"

static const char BODY[] =
    "[net]\nbatch=%d\nsubdivisions=1\nwidth=32\nheight=32\nchannels=3\nlearning_rate=0.01\nmax_batches=10\n"
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=2\npad=1\nactivation=logistic\n"   /* 0 */
    "[convolutional]\nbatch_normalize=1\nfilters=7\nsize=3\nstride=2\npad=1\nactivation=linear\n";    /* 1: 8x8 */
/* Two heads of one list of anchors, the second below a route; truth_thresh low enough to train good boxes. */
static const char TWO_YOLOS[] =
    "[convolutional]\nfilters=24\nsize=1\nstride=1\npad=0\nactivation=linear\n"                        /* 2 */
    "[yolo]\nmask=0,1,2\nanchors=4,5, 8,6, 7,12, 14,10, 13,20, 26,24\nclasses=3\nnum=6\nignore_thresh=.3\ntruth_thresh=%s\n"   /* 3 */
    "[route]\nlayers=1\n"                                                                              /* 4 */
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=logistic\n"   /* 5: 4x4 */
    "[convolutional]\nfilters=24\nsize=1\nstride=1\npad=0\nactivation=linear\n"                        /* 6 */
    "[yolo]\nmask=3,4,5\nanchors=4,5, 8,6, 7,12, 14,10, 13,20, 26,24\nclasses=3\nnum=6\nignore_thresh=.4\ntruth_thresh=1\n";   /* 7 */
static const char ONE_REGION[] =
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=logistic\n"   /* 2: 4x4 */
    "[convolutional]\nfilters=24\nsize=1\nstride=1\npad=0\nactivation=linear\n"                        /* 3 */
    "[region]\nanchors=.6,.7, 1.3,1.9, 2.4,2.1\nclasses=3\ncoords=4\nnum=3\nbias_match=%d\nsoftmax=%d\nrescore=%d\nthresh=.2\n"
    "object_scale=5\nnoobject_scale=1\nclass_scale=1\ncoord_scale=1\n";                                /* 4 */

enum { BATCH = 4, MOST_UNITS = 32, TRUTHS = 5, HEADS = 2 };

struct bench { network *net; struct gate_table *gates; size_t units; int heads[HEADS], head_count; };

static inline void draw_truths(network *net, int classes)
{
    struct prune_random r = prune_random_make(21, 4, 0);
    memset(net->truth, 0, (size_t)(net->truths * net->batch) * sizeof *net->truth);
    for (int b = 0; b < net->batch; b++)
        for (int t = 0; t < TRUTHS; t++) {
            float *row = net->truth + b * net->truths + 5 * t;
            for (int k = 0; k < 4; k++) row[k] = (float)prune_random_range(&r, k < 2 ? .05 : .1, k < 2 ? .95 : .6);
            row[4] = (float)prune_random_below(&r, (uint64_t)classes);
        }
}

static inline void attach(struct bench *t)
{
    struct prune_gate_site sites[MOST_UNITS];
    struct prune_status st = {0};
    for (int i = 0; i < t->net->n; i++) {
        const layer *l = &t->net->layers[i];
        for (int c = 0; l->batch_normalize && c < l->out_c; c++, t->units++) sites[t->units] = (struct prune_gate_site){i, c, (int)t->units, PRUNE_GATE_BEFORE_ACTIVATION};
        if (l->type == YOLO || l->type == REGION) t->heads[t->head_count++] = i;
    }
    assert_int_equal(gate_attach(&t->gates, t->net, sites, t->units, t->units, &st), PRUNE_OK);
    for (size_t u = 0; u < t->units; u++) gate_values(t->gates)[u] = u % 3 ? 1 : .7f;
}

static inline void open_bench(struct bench *t, const char *text)
{
    struct prune_random r = prune_random_make(8, 2, 0);
    *t = (struct bench){.net = network_parse(text, strlen(text), true)};
    assert_non_null(t->net);
    t->net->train = 1;
    *t->net->seen = 20000;
    small_weights(t->net, 5);
    fill_random(t->net->input, (size_t)(t->net->inputs * BATCH), &r, 0, 1);
    if (t->net->truths >= 5 * TRUTHS) draw_truths(t->net, 3);   /* a detector's room for boxes */
    host_context()->quiet = true;
    small_calibrate(t->net);
    host_context()->rolling_statistics = true;
    attach(t);
}

static inline void close_bench(struct bench *t)
{
    host_context()->rolling_statistics = host_context()->quiet = false;
    gate_detach(t->gates);
    free_network(t->net);
}

static inline const layer *head(const struct bench *t, int k)
{
    return &t->net->layers[t->heads[k]];
}

static inline size_t entries(const struct bench *t)
{
    size_t n = 0;
    for (int k = 0; k < t->head_count; k++) n += (size_t)head(t, k)->outputs * BATCH;
    return n;
}

static inline void open_yolo(struct bench *t, const char *truth_thresh)
{
    char text[4096];
    int n = snprintf(text, sizeof text, BODY, BATCH);
    snprintf(text + n, sizeof text - (size_t)n, TWO_YOLOS, truth_thresh);
    open_bench(t, text);
    assert_int_equal(t->head_count, 2);
}

static inline void open_region(struct bench *t, int bias_match, int softmax, int rescore)
{
    char text[4096];
    int n = snprintf(text, sizeof text, BODY, BATCH);
    snprintf(text + n, sizeof text - (size_t)n, ONE_REGION, bias_match, softmax, rescore);
    open_bench(t, text);
}

#endif
