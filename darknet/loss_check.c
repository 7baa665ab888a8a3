/* Which heads have a loss that host_context()->image_loss gets: one whose gradient their deltas are. What measures a loss refuses the others by name. */
#include "heads.h"

struct head { LAYER_TYPE type; const char *name, *without; };
/* without: why a head of the type has no loss; NULL: it has. */
static const struct head HEADS[] = {
    {SOFTMAX, "softmax", NULL}, {LOGXENT, "logistic", NULL}, {COST, "cost", NULL}, {YOLO, "yolo", NULL}, {REGION, "region", NULL},
    {DETECTION, "detection", "its deltas are the library's own"}, {ISEG, "iseg", "its deltas are the library's own"},
};

static const struct head *head_of(const layer *l)
{
    for (size_t i = 0; i < sizeof HEADS / sizeof *HEADS; i++)
        if (HEADS[i].type == l->type && !(l->type == SOFTMAX && l->noloss)) return &HEADS[i];
    return NULL;
}

static const char *without_loss(const struct head *h, const layer *l)
{
    if (l->type == REGION && l->background) return "with background=1 its deltas are the gradient of nothing";
    if (l->type == REGION && l->coords != 4) return "coords= other than 4 means masks, which labels do not have";
    return h->without;
}

bool head_has_loss(const layer *l)
{
    const struct head *h = head_of(l);
    return h && !without_loss(h, l);
}

enum prune_code network_loss_check(const network *net, struct prune_status *st)
{
    int heads = 0;
    for (int i = 0; i < net->n; i++) {
        const layer *l = &net->layers[i];
        const struct head *h = head_of(l);
        if (!h) continue;
        heads++;
        if (without_loss(h, l))
            return prune_fail(st, "the [%s] head (layer %d) has no loss to measure: %s; use a criterion that needs the weights alone", h->name, i, without_loss(h, l));
    }
    return heads ? PRUNE_OK : prune_fail(st, "the network has no head with a loss (softmax, logistic, cost, yolo, region): there is nothing to measure");
}
