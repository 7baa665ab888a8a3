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
