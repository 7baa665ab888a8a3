/* Passes of the pruning host that do not train: gradients for scoring, recalibration of batch-norm, plain inference; see host_net.h and plugin/host.h.
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

/* Images [first, first + count) of a source in pieces that fit the network and do not cross a minibatch; the next piece is read meanwhile. */
struct stream { struct host_images source; size_t at, end, minibatch, room, pending; };

static size_t piece(const struct stream *s, size_t at)
{
    size_t in_minibatch = s->minibatch - at % s->minibatch, left = s->end - at;
    size_t n = in_minibatch < left ? in_minibatch : left;
    return n < s->room ? n : s->room;
}

static enum prune_code stream_request(struct stream *s, const network *net, struct prune_status *st)
{
    s->pending = s->at < s->end ? piece(s, s->at) : 0;
    return s->pending ? loader_start(s->source.loader, s->source.first + s->at, s->pending, net->w, net->h, st) : PRUNE_OK;
}

/* Puts the next piece into the network's input and truth; *got = 0 at the end. */
static enum prune_code stream_next(struct stream *s, network *net, size_t *got, struct prune_status *st)
{
    float *X = NULL, *y = NULL;
    const int (*sizes)[2] = NULL;
    *got = s->pending;
    if (!s->pending) return PRUNE_OK;
    enum prune_code rc = loader_wait(s->source.loader, &X, &y, &sizes, st);
    if (rc) return rc;
    memcpy(net->input, X, s->pending * (size_t)net->inputs * sizeof *X);
    if (y && net->truth) memcpy(net->truth, y, s->pending * (size_t)net->truths * sizeof *y);
    s->at += s->pending;
    return stream_request(s, net, st);
}

struct score_pass { struct prune_host_net *n; struct stream stream; struct train_hook hook; double *image_loss; };

/* One minibatch, in as many passes as the network's batch demands: with rolling statistics images do not see each other. */
static enum prune_code score_minibatch(struct score_pass *p, size_t *images, struct prune_status *st)
{
    network *net = p->n->open.net;
    double loss = 0;
    *images = 0;
    train_hook_before(&p->hook);
    do {
        size_t got = 0;
        enum prune_code rc = stream_next(&p->stream, net, &got, st);
        if (rc || !got) return rc;
        set_batch_network(net, (int)got);
        memset(p->image_loss, 0, got * sizeof *p->image_loss);
        forward_network(net);
        backward_network(net);
        for (size_t i = 0; i < got; i++) loss += p->image_loss[i];
        if (p->hook.gates) gate_signals_advance(p->hook.gates, got);
        *images += got;
    } while (p->stream.at < p->stream.end && p->stream.at % p->stream.minibatch);
    if (!isfinite(loss))
        return prune_fail(st, "loss is not finite on images %zu to %zu of the list (weights or batch-norm statistics are broken)", p->stream.at - *images + 1, p->stream.at);
    return train_hook_after(&p->hook, *images, loss / (double)*images, st);
}

static enum prune_code score_all(struct score_pass *p, struct prune_status *st)
{
    struct prune_progress progress;
    enum prune_code rc = stream_request(&p->stream, p->n->open.net, st);
    prune_progress_start(&progress, stderr, "score", p->stream.end);
    while (!rc && p->stream.at < p->stream.end) {
        size_t images = 0;
        rc = score_minibatch(p, &images, st);
        prune_progress_update(&progress, p->stream.at, "%zu units", p->hook.gates ? gate_units(p->hook.gates) : 0);
    }
    prune_progress_end(&progress);
    return rc;
}

/* The network as a scoring pass wants it: heads compute their gradient (train), batch-norm keeps its statistics, dropout passes on. */
static enum prune_code score_prepared(struct score_pass *p, struct prune_status *st)
{
    struct host_pause pause;
    struct host_context *context = host_context();
    host_pause_begin(p->n, &pause);
    p->n->open.net->train = 1;
    context->rolling_statistics = true;
    context->image_loss = p->image_loss;
    enum prune_code rc = score_all(p, st);
    context->image_loss = NULL;
    context->rolling_statistics = false;
    host_pause_end(p->n, &pause);
    return rc;
}

enum prune_code host_score(struct prune_host_net *n, const struct prune_image_set *set, const struct prune_score_options *o, prune_sink sink, void *user, struct prune_status *st)
{
    struct gate_table *gates = host_gates(n);
    const size_t minibatch = o->minibatch;
    const unsigned signals = o->signals;
    if (!minibatch) return prune_fail(st, "a minibatch of 0 images cannot be scored");
    if (signals && !gates) return prune_fail(st, "gate gradients wanted, but no gates are attached");
    struct score_pass p = {.n = n, .hook = {.gates = gates, .signals = signals, .sink = sink, .user = user}};
    struct parameters_updates updates = {0};
    p.image_loss = calloc((size_t)n->batch, sizeof *p.image_loss);
    if (!p.image_loss) return prune_fail_memory(st, (size_t)n->batch * sizeof *p.image_loss, "losses");
    enum prune_code rc = host_images_open(&p.stream.source, n, set, false, st);
    p.stream.end = p.stream.source.count;
    p.stream.minibatch = minibatch;
    p.stream.room = (size_t)n->batch;
    size_t largest = minibatch < p.stream.end ? minibatch : p.stream.end;
    if (!rc && gates) rc = gate_collect(gates, signals, largest, st);
    /* the backward passes add to the buffers that hold the momentum */
    if (!rc) rc = parameters_updates_save(n->open.net, &updates, st);
    if (!rc) rc = score_prepared(&p, st);
    if (updates.values) parameters_updates_restore(n->open.net, &updates);
    parameters_updates_free(&updates);
    enum prune_code off = gates ? gate_collect(gates, n->trainer ? n->hook.signals : 0, (size_t)n->batch, rc ? NULL : st) : PRUNE_OK;
    host_images_close(&p.stream.source);
    free(p.image_loss);
    return rc ? rc : off;
}

static enum prune_code recalibrate_passes(struct prune_host_net *n, struct stream *s, struct prune_status *st)
{
    network *net = n->open.net;
    enum prune_code rc = stream_request(s, net, st);
    while (!rc) {
        size_t got = 0;
        rc = stream_next(s, net, &got, st);
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
    struct stream s = {.room = (size_t)n->batch, .minibatch = (size_t)n->batch};
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
static void infer(network *net)
{
    network saved = *net;
    struct inference inference;
    net->train = 0;
    net->truth = NULL;
    net->delta = NULL;
    inference_begin(&inference);
    inference_forward(net);
    inference_end(&inference);
    *net = saved;
}

enum prune_code host_forward(struct prune_host_net *n, const float *input, size_t images, struct prune_status *st)
{
    network *net = n->open.net;
    struct host_pause pause;
    if (!images || images > (size_t)n->batch)
        return prune_fail(st, "%zu images cannot go through '%s' at once: it was opened for 1 to %d", images, n->open.cfg.path, n->batch);
    if (net->w != n->open.shape.w || net->h != n->open.shape.h)
        return prune_fail(st, "'%s' is in multi-scale training at %dx%d; stop training first", n->open.cfg.path, net->w, net->h);
    host_pause_begin(n, &pause);
    set_batch_network(net, (int)images);
    memcpy(net->input, input, images * (size_t)net->inputs * sizeof *input);
    infer(net);
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
