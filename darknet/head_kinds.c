/* The heads that can have a loss of their own, which host_context()->image_loss gets and whose gradient their deltas are; and the curvature of each. What
 * measures a loss or its curvature, or draws targets, refuses the others by name. */
#include "fisher.h"
#include "heads.h"

struct head { LAYER_TYPE type; const char *name, *without; curvature_head *probe; fisher_head *draw; };
/* without: why a head of the type has no loss; NULL: it has. */
static const struct head HEADS[] = {
    {SOFTMAX, "softmax", NULL, curvature_softmax, fisher_softmax},
    {LOGXENT, "logistic", NULL, curvature_logistic, fisher_logistic},
    {COST, "cost", NULL, curvature_cost, fisher_cost},
    {YOLO, "yolo", NULL, curvature_boxes, fisher_boxes},
    {REGION, "region", NULL, curvature_boxes, fisher_boxes},
    {DETECTION, "detection", "its deltas are the library's own", NULL, NULL},
    {ISEG, "iseg", "its deltas are the library's own", NULL, NULL},
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

curvature_head *curvature_of(const layer *l)
{
    return head_has_loss(l) ? head_of(l)->probe : NULL;
}

fisher_head *fisher_of(const layer *l)
{
    return head_has_loss(l) ? head_of(l)->draw : NULL;
}

enum prune_code curvature_exact_check(const network *net, int *probes, struct prune_status *st)
{
    const layer *softmax = NULL;
    enum prune_code rc = curvature_check(net, st);
    for (int i = 0; !rc && i < net->n; i++) {
        const layer *l = &net->layers[i];
        const struct head *h = head_of(l);
        if (!h) continue;
        if (softmax || l->type != SOFTMAX)
            rc = prune_fail(st, "exact probes of the curvature are those of a single [softmax], and the [%s] head (layer %d) is %s; give a number of random ones, for example "
                                "-probes 10", h->name, i, l->type == SOFTMAX ? "a second one" : "none");
        softmax = l;
    }
    if (!rc) *probes = softmax->outputs;
    return rc;
}

enum prune_code curvature_check(const network *net, struct prune_status *st)
{
    for (int i = 0; i + 1 < net->n; i++)
        if (net->layers[i].type == SOFTMAX && head_has_loss(&net->layers[i]))
            return prune_fail(st, "the curvature of a [softmax] that further layers read (layer %d) is not known; use a criterion of first derivatives", i);
    return network_loss_check(net, st);
}
