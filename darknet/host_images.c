/* The images of a set as the network of a pruning host wants them; see host_net.h. */
#include "host_net.h"

#include <string.h>

enum prune_code host_images_open(struct host_images *s, const struct prune_host_net *n, const struct prune_image_set *set, bool training, struct prune_status *st)
{
    memset(s, 0, sizeof *s);
    if (n->open.shape.task == PRUNE_TASK_OTHER)
        return prune_fail(st, "'%s' is neither a classifier nor a detector: it has no loss to feed images to", n->open.cfg.path);
    enum prune_code rc = image_source_open(&s->source, set, n->open.net, st);
    if (rc) return rc;
    struct loader_options o = image_source_options(&s->source, n->open.net, training || set->drawn, set->letterbox);
    o.images = &s->source.images;
    o.seed = n->seed;
    o.threads = n->threads;
    s->first = s->source.first;
    s->count = s->source.count;
    rc = loader_open(&s->loader, &o, st);
    if (rc) host_images_close(s);
    return rc;
}

void host_images_close(struct host_images *s)
{
    if (s->loader) loader_close(s->loader);
    image_source_close(&s->source);
    memset(s, 0, sizeof *s);
}

static size_t piece(const struct host_stream *s, size_t at)
{
    size_t in_minibatch = s->minibatch - at % s->minibatch, left = s->end - at;
    size_t n = in_minibatch < left ? in_minibatch : left;
    return n < s->room ? n : s->room;
}

enum prune_code host_stream_request(struct host_stream *s, const network *net, struct prune_status *st)
{
    s->pending = s->at < s->end ? piece(s, s->at) : 0;
    return s->pending ? loader_start(s->source.loader, s->source.first + s->at, s->pending, net->w, net->h, st) : PRUNE_OK;
}

enum prune_code host_stream_next(struct host_stream *s, network *net, size_t *got, struct prune_status *st)
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
    return host_stream_request(s, net, st);
}
