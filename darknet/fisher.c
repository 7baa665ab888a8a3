/* Targets from the model's own distribution; see fisher.h. A loss s NLL(a) has the second derivative s F, the gradient at a drawn target s (t - p) the second
 * moment s^2 F: so what is handed on is sqrt(s) (t - p). */
#include "fisher.h"

#include <math.h>

#include "kernels/head_boxes.h"
#include "kernels/head_common.h"
#include "kernels/pool.h"

static const uint64_t FISHER_STREAM = 0x66697368u;

static struct prune_random image_random(const struct fisher_draw *d, int layer, int image)
{
    return prune_random_make(d->seed, (FISHER_STREAM << 32) + (uint64_t)layer, d->first + (uint64_t)image);
}

/* The loss at a temperature T is T NLL(y / T): R is that of probabilities, over T. */
void fisher_softmax(const network *net, int index, const struct fisher_draw *d)
{
    const layer *l = &net->layers[index];
    const tree *t = l->softmax_tree;
    int groups = t ? t->groups : l->groups;
    const double scale = 1 / sqrt((double)l->temperature);
    for (int b = 0; b < l->batch; b++) {
        struct prune_random r = image_random(d, index, b);
        for (int g = 0, first = b * l->outputs, n; g < groups; g++, first += n) {
            n = t ? t->group_size[g] : l->outputs / groups;
            categorical_draw(l->output + first, l->delta + first, (size_t)n, 1, scale, prune_random_uniform(&r));
        }
    }
}

void fisher_logistic(const network *net, int index, const struct fisher_draw *d)
{
    const layer *l = &net->layers[index];
    for (int b = 0, at = 0; b < l->batch; b++) {
        struct prune_random r = image_random(d, index, b);
        for (int i = 0; i < l->outputs; i++, at++) l->delta[at] = bernoulli_draw(l->output[at], 1, prune_random_uniform(&r));
    }
}

/* The layer's backward pass multiplies by the scale, of which the draw needs the root. */
void fisher_cost(const network *net, int index, const struct fisher_draw *d)
{
    const layer *l = &net->layers[index];
    const float *x = net->layers[index - 1].output;
    const double root = l->scale > 0 ? 1 / sqrt((double)l->scale) : 0;
    for (int b = 0, at = 0; b < l->batch; b++) {
        struct prune_random r = image_random(d, index, b);
        for (int i = 0; i < l->inputs; i++, at++) {
            double normal = prune_random_normal(&r);
            l->delta[at] = curvature_cost_entry(l, net->truth[at], x[at]) ? (float)(root * normal) : 0;
        }
    }
}

struct boxes { struct box_head head; int index; const struct fisher_draw *d; };

static void one_image(void *arg, int image, int thread)
{
    const struct boxes *j = arg;
    const layer *l = j->head.l;
    struct prune_random r = image_random(j->d, j->index, image);
    box_head_draw(&j->head, image, thread, &r, l->delta + (size_t)image * (size_t)l->outputs);
}

void fisher_boxes(const network *net, int index, const struct fisher_draw *d)
{
    const layer *l = &net->layers[index];
    struct boxes j = {l->type == YOLO ? yolo_head(l, net) : region_head(l, net), index, d};
    pool_run(l->batch, one_image, &j);
}
