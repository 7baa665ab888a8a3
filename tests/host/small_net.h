/* What the tests of gates and hook share: small networks parsed from text, repeatable weights, images and truths, and their loss in double.
 * Dimension letters: B images per pass. */
#ifndef TESTS_HOST_SMALL_NET_H
#define TESTS_HOST_SMALL_NET_H

#include <darknet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../../darknet/context.h"
#include "../../darknet/gate_layer.h"
#include "../../darknet/network_open.h"
#include "../../plugin/base/random.h"

/* A residual network with a shortcut, a route, 1x1 convolutions, layers without batch-norm and connected layers; %s is the activation. */
static const char SMALL_CFG[] =
    "[net]\nbatch=%d\nsubdivisions=1\nwidth=8\nheight=8\nchannels=3\nlearning_rate=0.01\nmax_batches=10\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=%s\n"   /* 0 */
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=%s\n"   /* 1 */
    "[shortcut]\nfrom=-2\nactivation=linear\n"                                                  /* 2 */
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=1\nstride=1\npad=0\nactivation=%s\n"   /* 3 */
    "[route]\nlayers=-1,-2\n"                                                                   /* 4: adds to 2, which 3 reads too */
    "[convolutional]\nbatch_normalize=1\nfilters=7\nsize=1\nstride=1\npad=0\nactivation=%s\n"   /* 5 */
    "[convolutional]\nfilters=6\nsize=3\nstride=2\npad=1\nactivation=%s\n"                      /* 6 */
    "[avgpool]\n"                                                                               /* 7 */
    "[connected]\noutput=6\nactivation=%s\n"                                                    /* 8 */
    "[connected]\noutput=5\nactivation=linear\n"                                                /* 9 */
    "[softmax]\ngroups=1\n";                                                                    /* 10 */
static const int SMALL_GATED[] = {0, 1, 3, 5, 6, 8};
enum { SMALL_GATED_COUNT = 6, SMALL_CLASSES = 5, SMALL_UNITS = 8 + 8 + 6 + 7 + 6 + 6 };

static inline void fill_random(float *values, size_t n, struct prune_random *r, double lo, double hi)
{
    for (size_t i = 0; i < n; i++) values[i] = (float)prune_random_range(r, lo, hi);
}

static inline void small_weights(network *net, uint64_t seed)
{
    struct prune_random r = prune_random_make(seed, 1, 0);
    for (int i = 0; i < net->n; i++) {
        layer *l = &net->layers[i];
        if (l->type != CONVOLUTIONAL && l->type != CONNECTED) continue;
        size_t out = (size_t)(l->type == CONNECTED ? l->outputs : l->n), count = l->type == CONNECTED ? out * (size_t)l->inputs : (size_t)l->nweights;
        double scale = sqrt(6.0 / ((double)count / (double)out));
        fill_random(l->weights, count, &r, -scale, scale);
        fill_random(l->biases, out, &r, -.3, .3);
        if (l->batch_normalize) fill_random(l->scales, out, &r, .5, 1.5);
    }
}

static inline void small_data(network *net, uint64_t seed)
{
    struct prune_random r = prune_random_make(seed, 2, 0);
    fill_random(net->input, (size_t)net->inputs * (size_t)net->batch, &r, 0, 1);
    memset(net->truth, 0, (size_t)net->truths * (size_t)net->batch * sizeof *net->truth);
    for (int b = 0; b < net->batch; b++) net->truth[b * net->truths + (int)prune_random_below(&r, (uint64_t)net->truths)] = 1;
}

static inline network *small_net(int batch, const char *activation, uint64_t seed)
{
    char text[4096];
    int n = snprintf(text, sizeof text, SMALL_CFG, batch, activation, activation, activation, activation, activation, activation);
    network *net = network_parse(text, (size_t)n, true);
    assert_non_null(net);
    net->train = 1;
    small_weights(net, seed);
    small_data(net, seed);
    return net;
}

/* Batch-norm's rolling statistics := those of the present images. */
static inline void small_calibrate(network *net)
{
    forward_network(net);
    for (int i = 0; i < net->n; i++) {
        layer *l = &net->layers[i];
        if (!l->batch_normalize) continue;
        memcpy(l->rolling_mean, l->mean, (size_t)l->out_c * sizeof(float));
        memcpy(l->rolling_variance, l->variance, (size_t)l->out_c * sizeof(float));
    }
}

/* Cross-entropy of each image from the softmax output, in double; returns the sum. */
static inline double small_loss(network *net, double *per_image)
{
    double sum = 0;
    forward_network(net);
    const float *logits = net->layers[net->n - 2].output;
    for (int b = 0; b < net->batch; b++) {
        const float *x = logits + b * net->truths, *t = net->truth + b * net->truths;
        double total = 0, picked = 0;
        for (int k = 0; k < net->truths; k++) {
            total += exp((double)x[k]);
            if (t[k] > 0) picked = (double)x[k];
        }
        double loss = log(total) - picked;
        if (per_image) per_image[b] = loss;
        sum += loss;
    }
    return sum;
}

/* One gate per channel of the layers of SMALL_GATED, units in that order. */
static inline size_t small_sites(const network *net, struct prune_gate_site *sites, enum prune_gate_place place)
{
    size_t n = 0;
    for (int i = 0; i < SMALL_GATED_COUNT; i++)
        for (int c = 0; c < net->layers[SMALL_GATED[i]].out_c; c++, n++)
            sites[n] = (struct prune_gate_site){SMALL_GATED[i], c, (int)n, place};
    return n;
}

#endif
