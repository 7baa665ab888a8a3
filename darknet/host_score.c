/* Scoring: a pass over images that hands signals to a sink and leaves weights, momentum and statistics as it found them; see host_net.h and plugin/host.h.
 * Batch-norm uses rolling statistics, so images do not see each other and a minibatch may take several passes through the network. Backward passes
 * go no further than gates need, unless gradients of parameters are wanted. */
#include "host_net.h"

#include <limits.h>
#include <math.h>
#include <string.h>

#include "../plugin/base/progress.h"
#include "backward.h"
#include "context.h"
#include "heads.h"
#include "network_parameters.h"

static const unsigned GATE_SIGNALS = PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_GATE_IMAGE;

enum prune_code host_signals_check(const struct prune_host_net *n, unsigned signals, struct prune_status *st)
{
    if (signals & (GATE_SIGNALS | PRUNE_SIGNAL_MARGINS | PRUNE_SIGNAL_CURVATURE | PRUNE_SIGNAL_PRODUCT) && !host_gates(n))
        return prune_fail(st, "gate gradients wanted, but no gates are attached to '%s'", n->open.cfg.path);
    return PRUNE_OK;
}

static enum prune_code check_product(const struct prune_host_net *n, const struct prune_score_options *o, struct prune_status *st)
{
    if (!o->direction) return prune_fail(st, "a product with the Hessian wanted, but no direction given");
    return n->products.code ? prune_fail(st, "%s", n->products.message) : PRUNE_OK;
}

struct score_pass { struct prune_host_net *n; struct host_stream stream; struct train_hook hook; double *image_loss; uint64_t first; };

/* How far down the labels' backward pass must go; beyond all layers: nobody wants it. */
static int labels_lowest(const struct train_hook *h)
{
    int gate = h->signals & (GATE_SIGNALS | PRUNE_SIGNAL_PRODUCT) ? gate_lowest(h->gates) : INT_MAX, extra = h->extra ? extra_lowest(h->extra) : INT_MAX;
    return gate < extra ? gate : extra;
}

/* Images [at, at + got) of the set are in the network's input; the first of them is image `inside` of its minibatch. */
static void run_pass(struct score_pass *p, size_t got, size_t inside, double *loss)
{
    network *net = p->n->open.net;
    const unsigned signals = p->hook.signals;
    backward_visit *visit = p->hook.tangent ? tangent_backward : NULL;
    set_batch_network(net, (int)got);
    memset(p->image_loss, 0, got * sizeof *p->image_loss);
    forward_network(net);
    for (size_t i = 0; i < got; i++) *loss += p->image_loss[i];
    if (p->hook.tangent) tangent_forward(p->hook.tangent);
    if (signals & PRUNE_SIGNAL_PARAMETERS) backward_walk(net, 0, false, visit, p->hook.tangent);
    else backward_walk(net, labels_lowest(&p->hook), true, visit, p->hook.tangent);
    if (p->hook.gates) gate_signals_advance(p->hook.gates, got);
    if (p->hook.extra) extra_pass(p->hook.extra, inside, p->first + p->stream.at - got);
}

/* A pass that does not end its minibatch: the sink sees its maps and layers and nothing else, images 0. */
static enum prune_code tell_views(struct score_pass *p, struct prune_status *st)
{
    struct prune_signals signals = {.minibatch = p->hook.minibatch, .units = p->hook.gates ? gate_units(p->hook.gates) : 0};
    if (!p->hook.sink || !(p->hook.signals & (PRUNE_SIGNAL_MAPS | PRUNE_SIGNAL_LAYERS))) return PRUNE_OK;
    extra_fill_views(p->hook.extra, &signals);
    return p->hook.sink(p->hook.user, &signals, st);
}

/* One minibatch, in as many passes as the network's batch demands. */
static enum prune_code score_minibatch(struct score_pass *p, size_t *images, struct prune_status *st)
{
    struct host_stream *s = &p->stream;
    double loss = 0;
    *images = 0;
    train_hook_before(&p->hook);
    for (bool more = true; more;) {
        size_t got = 0;
        enum prune_code rc = host_stream_next(s, p->n->open.net, &got, st);
        if (rc || !got) return rc;
        run_pass(p, got, *images, &loss);
        *images += got;
        more = s->at < s->end && s->at % s->minibatch;
        if (more) rc = tell_views(p, st);
        if (rc) return rc;
    }
    if (!isfinite(loss))
        return prune_fail(st, "loss is not finite on images %zu to %zu of the set (weights or batch-norm statistics are broken)", s->at - *images + 1, s->at);
    return train_hook_after(&p->hook, *images, loss / (double)*images, st);
}

static enum prune_code score_all(struct score_pass *p, struct prune_status *st)
{
    struct prune_progress progress;
    enum prune_code rc = host_stream_request(&p->stream, p->n->open.net, st);
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
static enum prune_code score_prepared(struct score_pass *p, const float *direction, struct prune_status *st)
{
    struct host_pause pause;
    struct host_context *context = host_context();
    host_pause_begin(p->n, &pause);
    p->n->open.net->train = 1;
    context->rolling_statistics = true;
    context->image_loss = p->image_loss;
    enum prune_code rc = p->hook.signals & PRUNE_SIGNAL_PRODUCT ? tangent_open(&p->hook.tangent, p->n->open.net, p->hook.gates, direction, st) : PRUNE_OK;
    if (!rc) rc = score_all(p, st);
    tangent_close(p->hook.tangent);
    context->image_loss = NULL;
    context->rolling_statistics = false;
    host_pause_end(p->n, &pause);
    return rc;
}

/* What a pass needs beside the images: room for losses, gate sums and extra signals, and a copy of the momentum, for some backward passes add to it. */
static enum prune_code score_open(struct score_pass *p, const struct prune_score_options *o, struct parameters_updates *updates, struct prune_status *st)
{
    struct prune_host_net *n = p->n;
    size_t largest = p->stream.minibatch < p->stream.end ? p->stream.minibatch : p->stream.end;
    const struct extra_options extra = {.score = *o, .images = largest, .seed = n->seed};
    enum prune_code rc = p->hook.gates ? gate_collect(p->hook.gates, o->signals, largest, st) : PRUNE_OK;
    p->image_loss = calloc((size_t)n->batch, sizeof *p->image_loss);
    if (!rc && !p->image_loss) rc = prune_fail_memory(st, (size_t)n->batch * sizeof *p->image_loss, "losses");
    if (!rc && o->signals & EXTRA_SIGNALS) rc = extra_open(&p->hook.extra, n->open.net, p->hook.gates, &extra, st);
    return rc ? rc : parameters_updates_save(n->open.net, updates, st);
}

enum prune_code host_score(struct prune_host_net *n, const struct prune_image_set *set, const struct prune_score_options *o, prune_sink sink, void *user, struct prune_status *st)
{
    struct gate_table *gates = host_gates(n);
    struct parameters_updates updates = {0};
    struct score_pass p = {.n = n, .hook = {.gates = gates, .signals = o->signals, .sink = sink, .user = user}, .first = set->first};
    if (!o->minibatch) return prune_fail(st, "a minibatch of 0 images cannot be scored");
    enum prune_code rc = host_signals_check(n, o->signals, st);
    if (!rc && o->signals != PRUNE_SIGNAL_MAPS) rc = network_loss_check(n->open.net, st);
    if (!rc && o->signals & PRUNE_SIGNAL_PRODUCT) rc = check_product(n, o, st);
    if (!rc) rc = host_images_open(&p.stream.source, n, set, false, st);
    if (rc) return rc;
    p.stream.end = p.stream.source.count;
    p.stream.room = (size_t)n->batch;
    p.stream.minibatch = o->signals == PRUNE_SIGNAL_MAPS && o->minibatch > p.stream.room ? p.stream.room : o->minibatch;
    rc = score_open(&p, o, &updates, st);
    if (!rc) rc = score_prepared(&p, o->direction, st);
    if (updates.values) parameters_updates_restore(n->open.net, &updates);
    parameters_updates_free(&updates);
    enum prune_code off = gates ? gate_collect(gates, n->trainer ? n->hook.signals : 0, (size_t)n->batch, rc ? NULL : st) : PRUNE_OK;
    extra_close(p.hook.extra);
    host_images_close(&p.stream.source);
    free(p.image_loss);
    return rc ? rc : off;
}
