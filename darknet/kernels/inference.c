/* The state of inference (inference.h) and the walk over the layers. */
#include "inference.h"

#include <stdlib.h>
#include <string.h>

#include "../context.h"
#include "vector.h"

/* In the order in which the layers ask, so that the next one asked for is nearly always the next one in the list. */
struct kept_weights {
    const float *weights;
    const struct vector_ops *ops;
    size_t floats;
    int layout;
    float *data;
};

void inference_begin(struct inference *in)
{
    *in = (struct inference){0};
    if (!host_context()->inference) host_context()->inference = in;
}

void inference_end(struct inference *in)
{
    if (host_context()->inference == in) host_context()->inference = NULL;
    for (size_t i = 0; i < in->count; ++i) free(in->items[i].data);
    free(in->items);
    *in = (struct inference){0};
}

size_t inference_bytes(void)
{
    const struct inference *in = host_context()->inference;
    size_t bytes = 0;

    for (size_t i = 0; in && i < in->count; ++i) bytes += in->items[i].floats * sizeof(float);
    return bytes;
}

bool inference_pass(network net)
{
    const struct host_context *context = host_context();

    return context->inference && context->inference->running && !net.train && !context->calibrating;
}

static struct kept_weights *find(struct inference *in, const struct kept_weights *wanted)
{
    for (size_t i = 0; i < in->count; ++i) {
        struct kept_weights *k = &in->items[(in->next + i) % in->count];
        if (k->weights == wanted->weights && k->ops == wanted->ops && k->floats == wanted->floats && k->layout == wanted->layout) return k;
    }
    return NULL;
}

static struct kept_weights *append(struct inference *in, const struct kept_weights *wanted)
{
    if (in->count == in->capacity) {
        size_t capacity = in->capacity ? 2 * in->capacity : 64;
        struct kept_weights *items = realloc(in->items, capacity * sizeof *items);
        if (!items) return NULL;
        in->items = items;
        in->capacity = capacity;
    }
    struct kept_weights *k = &in->items[in->count];
    *k = *wanted;
    k->data = aligned_alloc(64, (wanted->floats * sizeof(float) + 63) / 64 * 64);
    if (!k->data) return NULL;
    in->count++;
    return k;
}

float *inference_weights(const layer *l, size_t floats, int layout, bool *filled)
{
    struct inference *in = host_context()->inference;
    struct kept_weights wanted = {.weights = l->weights, .ops = vector_ops(), .floats = floats, .layout = layout};

    *filled = false;
    if (!in || !in->running || !floats) return NULL;
    struct kept_weights *k = find(in, &wanted);
    *filled = k != NULL;
    if (!k) k = append(in, &wanted);
    if (!k) return NULL;
    in->next = (size_t)(k - in->items) + 1;
    return k->data;
}

/* The host's; darknet.h does not declare them. */
void calc_network_cost(network *net);
void activate_array(float *x, const int n, const ACTIVATION a);

/* What the host's iseg layer gives; its own function reads the truth even where there is none, and crashes. */
static void forward_iseg_without_truth(layer l, network net)
{
    memcpy(l.output, net.input, (size_t)l.batch * (size_t)l.outputs * sizeof *l.output);
    for (int b = 0; b < l.batch; b++) activate_array(l.output + b * l.outputs, l.classes * l.w * l.h, LOGISTIC);
}

void inference_layers(const network *netp, int first, int last)
{
    struct inference *in = host_context()->inference;
    network net = *netp;

    if (in) in->running = true;
    for (int i = 0; i < first; ++i)
        if (net.layers[i].truth) net.truth = net.layers[i].output;
    if (first > 0) net.input = net.layers[first - 1].output;
    for (int i = first; i <= last; ++i) {
        layer l = net.layers[i];
        net.index = i;
        if (l.type == ISEG && !net.truth) forward_iseg_without_truth(l, net);
        else l.forward(l, net);
        net.input = l.output;
        if (l.truth) net.truth = l.output;
    }
    if (in) in->running = false;
}

void inference_forward(network *netp)
{
    if (netp->train) {
        forward_network(netp);
        return;
    }
    inference_layers(netp, 0, netp->n - 1);
    calc_network_cost(netp);
}
