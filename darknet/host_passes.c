/* Passes of the pruning host that neither train nor score: recalibration of batch-norm, plain inference; see host_net.h and plugin/host.h.
 * Each leaves weights, momentum, batch and image size as it found them (recalibration changes the statistics, nothing else). */
#include "host_net.h"

#include <math.h>
#include <string.h>

#include "../plugin/base/progress.h"
#include "../plugin/base/random.h"
#include "context.h"
#include "kernels/inference.h"
#include "network_parameters.h"

enum { TIMING_STREAM = 11, TIMED_RUNS = 15 };

static void enter(const struct prune_host_net *n)
{
    host_context()->threads = n->threads;
    host_context()->quiet = n->quiet;
}

void host_pause_begin(struct prune_host_net *n, struct host_pause *p)
{
    network *net = n->open.net;
    enter(n);
    *p = (struct host_pause){net->w, net->h, net->train};
    set_batch_network(net, n->batch);
    if (net->w != n->open.shape.w || net->h != n->open.shape.h) resize_network(net, n->open.shape.w, n->open.shape.h);
    n->forward_images = 0;
}

void host_pause_end(struct prune_host_net *n, const struct host_pause *p)
{
    network *net = n->open.net;
    set_batch_network(net, n->batch);
    if (net->w != p->w || net->h != p->h) resize_network(net, p->w, p->h);
    net->train = p->train;
}

static enum prune_code recalibrate_passes(struct prune_host_net *n, struct host_stream *s, struct prune_status *st)
{
    network *net = n->open.net;
    enum prune_code rc = host_stream_request(s, net, st);
    while (!rc) {
        size_t got = 0;
        rc = host_stream_next(s, net, &got, st);
        if (rc || !got) break;
        set_batch_network(net, (int)got);
        forward_network(net);
        host_context()->calibration_batches++;
    }
    return rc;
}

enum prune_code host_recalibrate(struct prune_host_net *n, const struct prune_image_set *set, size_t images, struct prune_status *st)
{
    struct host_pause pause;
    struct host_stream s = {.room = (size_t)n->batch, .minibatch = (size_t)n->batch};
    if (!images) return PRUNE_OK;
    enum prune_code rc = host_images_open(&s.source, n, set, true, st);
    if (rc) return rc;
    /* every batch weighs the same in the average: whole ones only, unless there is less than one */
    s.end = images <= s.room ? images : (images + s.room - 1) / s.room * s.room;
    host_pause_begin(n, &pause);
    n->open.net->train = 1;
    host_context()->calibrating = true;
    host_context()->calibration_batches = 0;
    rc = recalibrate_passes(n, &s, st);
    host_context()->calibrating = false;
    host_pause_end(n, &pause);
    host_images_close(&s.source);
    return rc;
}

/* Inference with what is in net->input: no truth, no gradient. */
static void infer_layers(network *net, int first, int last)
{
    network saved = *net;
    struct inference inference;
    net->train = 0;
    net->truth = NULL;
    net->delta = NULL;
    inference_begin(&inference);
    inference_layers(net, first, last);
    inference_end(&inference);
    *net = saved;
}

static void infer(network *net) { infer_layers(net, 0, net->n - 1); }

enum prune_code host_forward(struct prune_host_net *n, const float *input, size_t images, struct prune_status *st)
{
    return host_forward_layers(n, input, NULL, 0, images, 0, n->open.net->n - 1, st);
}

enum prune_code host_forward_layers(struct prune_host_net *n, const float *input, const struct prune_given_output *given, size_t given_count, size_t images, int first,
                                    int last, struct prune_status *st)
{
    network *net = n->open.net;
    struct host_pause pause;
    if (!images || images > (size_t)n->batch)
        return prune_fail(st, "%zu images cannot go through '%s' at once: it was opened for 1 to %d", images, n->open.cfg.path, n->batch);
    if (net->w != n->open.shape.w || net->h != n->open.shape.h)
        return prune_fail(st, "'%s' is in multi-scale training at %dx%d; stop training first", n->open.cfg.path, net->w, net->h);
    if (first < 0 || last >= net->n) return prune_fail(st, "no layers %d to %d in '%s': it has layers 0 to %d", first, last, n->open.cfg.path, net->n - 1);
    for (size_t i = 0; i < given_count; i++)
        if (given[i].layer < 0 || given[i].layer >= net->n)
            return prune_fail(st, "no layer %d in '%s': it has layers 0 to %d", given[i].layer, n->open.cfg.path, net->n - 1);
    host_pause_begin(n, &pause);
    set_batch_network(net, (int)images);
    memcpy(net->input, input, images * (size_t)net->inputs * sizeof *input);
    for (size_t i = 0; i < given_count; i++) {
        const layer *l = &net->layers[given[i].layer];
        memcpy(l->output, given[i].values, images * (size_t)l->outputs * sizeof *l->output);
    }
    infer_layers(net, first, last);
    host_pause_end(n, &pause);
    n->forward_images = (int)images;
    return PRUNE_OK;
}

enum prune_code host_output(struct prune_host_net *n, int index, struct prune_tensor *view, struct prune_status *st)
{
    const network *net = n->open.net;
    if (!n->forward_images) return prune_fail(st, "no outputs of '%s' yet: forward comes first", n->open.cfg.path);
    if (index < 0 || index >= net->n) return prune_fail(st, "no layer %d in '%s': it has layers 0 to %d", index, n->open.cfg.path, net->n - 1);
    const layer *l = &net->layers[index];
    *view = (struct prune_tensor){.data = l->output, .device = PRUNE_DEVICE_CPU, .type = PRUNE_F32, .rank = 2,
                                  .shape = {(size_t)n->forward_images, (size_t)l->outputs}, .strides = {l->outputs, 1}};
    return PRUNE_OK;
}

enum prune_code host_load_images(struct prune_host_net *n, const struct prune_image_set *set, size_t wanted, float *input, size_t *got, struct prune_status *st)
{
    struct host_images source;
    float *X = NULL, *y = NULL;
    const int (*sizes)[2] = NULL;
    enum prune_code rc = host_images_open(&source, n, set, false, st);
    if (rc) return rc;
    size_t count = wanted < source.count ? wanted : source.count;
    for (size_t at = 0; !rc && at < count; at++) {
        rc = loader_start(source.loader, source.first + at, 1, n->open.shape.w, n->open.shape.h, st);
        if (!rc) rc = loader_wait(source.loader, &X, &y, &sizes, st);
        if (!rc) memcpy(input + at * (size_t)n->open.shape.inputs, X, (size_t)n->open.shape.inputs * sizeof *X);
    }
    host_images_close(&source);
    if (!rc) *got = count;
    return rc;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

enum prune_code host_milliseconds(struct prune_host_net *n, double *per_image, struct prune_status *st)
{
    network *net = n->open.net;
    struct host_pause pause;
    double seconds[TIMED_RUNS], total = 0;
    int runs = 0;
    if (!net->inputs) return prune_fail(st, "'%s' reads nothing: there is no time to measure", n->open.cfg.path);
    host_pause_begin(n, &pause);
    set_batch_network(net, 1);
    struct prune_random random = prune_random_make(n->seed, TIMING_STREAM, 0);
    for (int i = 0; i < net->inputs; i++) net->input[i] = (float)prune_random_uniform(&random);
    struct inference inference;
    inference_begin(&inference);
    infer(net);   /* warms caches and threads up */
    while (runs < TIMED_RUNS && (runs < 3 || total < 2)) {
        double start = prune_now();
        infer(net);
        seconds[runs] = prune_now() - start;
        total += seconds[runs++];
    }
    inference_end(&inference);
    host_pause_end(n, &pause);
    qsort(seconds, (size_t)runs, sizeof *seconds, by_value);
    *per_image = 1000 * seconds[runs / 2];
    return PRUNE_OK;
}
