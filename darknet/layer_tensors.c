/* Tensors of a network in file order; see layer_tensors.h. Order within a layer: convolutional and deconvolutional biases, [scales, mean,
 * variance], weights; connected biases, weights, [scales, mean, variance]; batchnorm scales, mean, variance; local biases, weights;
 * recurrent layers: their sub-layers one after the other. */
#include "layer_tensors.h"

#include <stdlib.h>

#include "network_parameters.h"

enum { MOST_PER_PART = 5 };

struct tensor_list { struct layer_tensor *items; size_t count; };

static void add(struct tensor_list *list, int layer, enum prune_role role, float *data, float *updates, size_t count)
{
    list->items[list->count++] = (struct layer_tensor){layer, role, prune_role_name(role), data, updates, count};
}

static void add_statistics(struct tensor_list *list, int index, const layer *l, size_t n)
{
    add(list, index, PRUNE_SCALES, l->scales, l->scale_updates, n);
    add(list, index, PRUNE_MEAN, l->rolling_mean, NULL, n);
    add(list, index, PRUNE_VARIANCE, l->rolling_variance, NULL, n);
}

static void add_part(struct tensor_list *list, int index, const layer *l)
{
    size_t n = (size_t)l->n, outputs = (size_t)l->outputs;
    switch (l->type) {
    case CONVOLUTIONAL:
    case DECONVOLUTIONAL:
        add(list, index, PRUNE_BIASES, l->biases, l->bias_updates, n);
        if (l->batch_normalize) add_statistics(list, index, l, n);
        add(list, index, PRUNE_WEIGHTS, l->weights, l->weight_updates, (size_t)l->nweights);
        break;
    case CONNECTED:
        add(list, index, PRUNE_BIASES, l->biases, l->bias_updates, outputs);
        add(list, index, PRUNE_WEIGHTS, l->weights, l->weight_updates, outputs * (size_t)l->inputs);
        if (l->batch_normalize) add_statistics(list, index, l, outputs);
        break;
    case BATCHNORM:
        add_statistics(list, index, l, (size_t)l->c);
        break;
    case LOCAL:
        add(list, index, PRUNE_BIASES, l->biases, l->bias_updates, outputs);
        add(list, index, PRUNE_WEIGHTS, l->weights, l->weight_updates, (size_t)l->size * (size_t)l->size * (size_t)l->c * outputs);
        break;
    default:
        break;
    }
}

enum prune_code layer_tensors(const network *net, bool saved, struct layer_tensor **out, size_t *count, struct prune_status *st)
{
    size_t parts = 1;
    for (int i = 0; i < net->n; i++)
        for (int part = 0; parameters_part(&net->layers[i], part); part++) parts++;
    struct tensor_list list = {calloc(parts * MOST_PER_PART, sizeof *list.items), 0};
    if (!list.items) return prune_fail_memory(st, parts * MOST_PER_PART * sizeof *list.items, "a list of tensors");
    for (int i = 0; i < net->n; i++) {
        if (saved && net->layers[i].dontsave) continue;
        layer *l;
        for (int part = 0; (l = parameters_part(&net->layers[i], part)); part++) add_part(&list, i, l);
    }
    *out = list.items;
    *count = list.count;
    return PRUNE_OK;
}
