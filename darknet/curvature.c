/* Square roots of the curvature of heads; see curvature.h. Targets, and with them which entries take part, are held constant: docs/detector-loss.md. Each
 * function writes -R^(1/2) times random signs, that of softmax also times one unit vector after the other (exact). */
#include "curvature.h"

#include <math.h>

#include "kernels/head_boxes.h"
#include "kernels/head_common.h"
#include "kernels/pool.h"

static const uint64_t CURVATURE_STREAM = 0x63757276u;

struct prune_random curvature_random(const struct curvature_draw *d, int layer, int image)
{
    uint64_t stream = (CURVATURE_STREAM << 32) + ((uint64_t)layer << 20) + (uint64_t)d->probe;
    return prune_random_make(d->seed, stream, d->first + (uint64_t)image);
}

static void take_vector(const struct curvature_draw *d, int index, int image, float *delta, int n)
{
    struct prune_random r = curvature_random(d, index, image);
    const float *given = d->vector ? d->vector + (size_t)image * (size_t)n : NULL;
    for (int i = 0; i < n; i++) delta[i] = given ? -given[i] : -curvature_sign(&r);
}

/* The mean of v v^T over the probes of an image is then R itself. */
static void draw_column(int probe, float *delta, int n)
{
    for (int i = 0; i < n; i++) delta[i] = 0;
    delta[probe] = -sqrtf((float)n);
}

/* The loss at a temperature T is T log sum exp(y / T): R is divided by T. */
void curvature_softmax(const network *net, int index, const struct curvature_draw *d)
{
    const layer *l = &net->layers[index];
    const tree *t = l->softmax_tree;
    int groups = t ? t->groups : l->groups;
    double scale = 1 / (double)l->temperature;
    for (int b = 0; b < l->batch; b++) {
        if (d->exact) draw_column(d->probe, l->delta + b * l->outputs, l->outputs);
        else take_vector(d, index, b, l->delta + b * l->outputs, l->outputs);
        for (int g = 0, first = b * l->outputs, n; g < groups; g++, first += n) {
            n = t ? t->group_size[g] : l->outputs / groups;
            softmax_curve(l->output + first, l->delta + first, (size_t)n, 1, d->vector ? scale : sqrt(scale), d->vector);
        }
    }
}

struct boxes { struct box_head head; int index; const struct curvature_draw *d; };

static void one_image(void *arg, int image, int thread)
{
    const struct boxes *j = arg;
    const layer *l = j->head.l;
    float *v = l->delta + (size_t)image * (size_t)l->outputs;
    take_vector(j->d, j->index, image, v, l->outputs);
    (j->d->vector ? box_head_product : box_head_probe)(&j->head, image, thread, v);
}

void curvature_boxes(const network *net, int index, const struct curvature_draw *d)
{
    const layer *l = &net->layers[index];
    struct boxes j = {l->type == YOLO ? yolo_head(l, net) : region_head(l, net), index, d};
    pool_run(l->batch, one_image, &j);
}

void curvature_logistic(const network *net, int index, const struct curvature_draw *d)
{
    const layer *l = &net->layers[index];
    for (int b = 0; b < l->batch; b++) {
        float *v = l->delta + b * l->outputs;
        const float *p = l->output + b * l->outputs;
        take_vector(d, index, b, v, l->outputs);
        for (int i = 0; i < l->outputs; i++) v[i] *= d->vector ? p[i] * (1 - p[i]) : sqrtf(p[i] * (1 - p[i]));
    }
}

/* Second derivative of an entry's loss by the cost's type, without the scale. */
bool curvature_cost_entry(const layer *l, float truth, float x)
{
    switch (l->cost_type) {
    case L1: return false;
    case SMOOTH: return fabsf(truth - x) < 1;
    case MASKED: return truth != SECRET_NUM;
    default: return true;
    }
}

/* The layer's backward pass multiplies by the scale, of which the vector needs the root. */
void curvature_cost(const network *net, int index, const struct curvature_draw *d)
{
    const layer *l = &net->layers[index];
    const float *x = net->layers[index - 1].output, root = d->vector ? 1 : l->scale > 0 ? 1 / sqrtf(l->scale) : 0;
    for (int b = 0, at = 0; b < l->batch; b++) {
        take_vector(d, index, b, l->delta + at, l->inputs);
        for (int i = 0; i < l->inputs; i++, at++) l->delta[at] *= curvature_cost_entry(l, net->truth[at], x[at]) ? root : 0;
    }
}
