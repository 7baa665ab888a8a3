/* Curvature of heads; see curvature.h. A head that reads a layer sees y; R is the second derivative of the loss of docs/evaluation.md. */
#include "curvature.h"

#include <math.h>
#include <stdbool.h>

static const uint64_t CURVATURE_STREAM = 0x63757276u;

struct prune_random curvature_random(const struct curvature_draw *d, int layer, int image)
{
    uint64_t stream = (CURVATURE_STREAM << 32) + ((uint64_t)layer << 20) + (uint64_t)d->probe;
    return prune_random_make(d->seed, stream, d->first + (uint64_t)image);
}

/* Of one group: w = eps sqrt(p), v = w - p sum w; E[v v^T] = diag p - p p^T. The loss at a temperature T is T log sum exp(y / T): R is divided by T. */
static void softmax_group(const float *p, int n, double scale, struct prune_random *r, float *delta)
{
    double sum = 0;
    for (int k = 0; k < n; k++) {
        delta[k] = curvature_sign(r) * sqrtf(p[k]);
        sum += (double)delta[k];
    }
    for (int k = 0; k < n; k++) delta[k] = (float)(-scale * ((double)delta[k] - (double)p[k] * sum));
}

static void softmax_head(const network *net, int index, const struct curvature_draw *d)
{
    const layer *l = &net->layers[index];
    const tree *t = l->softmax_tree;
    int groups = t ? t->groups : l->groups;
    for (int b = 0; b < l->batch; b++) {
        struct prune_random r = curvature_random(d, index, b);
        for (int g = 0, first = b * l->outputs, n; g < groups; g++, first += n) {
            n = t ? t->group_size[g] : l->outputs / groups;
            softmax_group(l->output + first, n, 1 / sqrt((double)l->temperature), &r, l->delta + first);
        }
    }
}

struct head { LAYER_TYPE type; const char *name; curvature_head *probe; };
static const struct head HEADS[] = {
    {SOFTMAX, "softmax", softmax_head}, {LOGXENT, "logistic", NULL}, {COST, "cost", NULL}, {YOLO, "yolo", NULL}, {REGION, "region", NULL},
    {DETECTION, "detection", NULL}, {ISEG, "iseg", NULL},
};

static const struct head *head_of(const layer *l)
{
    if (l->type == SOFTMAX && l->noloss) return NULL;
    for (size_t i = 0; i < sizeof HEADS / sizeof *HEADS; i++)
        if (HEADS[i].type == l->type) return &HEADS[i];
    return NULL;
}

curvature_head *curvature_of(const layer *l)
{
    const struct head *h = head_of(l);
    return h ? h->probe : NULL;
}

enum prune_code curvature_check(const network *net, struct prune_status *st)
{
    int heads = 0;
    for (int i = 0; i < net->n; i++) {
        const struct head *h = head_of(&net->layers[i]);
        if (!h) continue;
        heads++;
        if (!h->probe) return prune_fail(st, "the curvature of a [%s] head (layer %d) is not known; use a criterion of first derivatives", h->name, i);
        if (h->type == SOFTMAX && i + 1 < net->n)
            return prune_fail(st, "the curvature of a [softmax] that further layers read (layer %d) is not known; use a criterion of first derivatives", i);
    }
    return heads ? PRUNE_OK : prune_fail(st, "the network has no head with a loss: there is no curvature");
}
