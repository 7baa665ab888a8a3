/* Edits of a network's parameters from outside: values of one tensor, and zeros that training keeps; see host_net.h and plugin/host.h. */
#include "host_net.h"

#include <math.h>
#include <string.h>

#include "kernels/pool.h"
#include "layer_tensors.h"

static enum prune_code find_tensor(const struct prune_host_net *n, int index, enum prune_role role, size_t count, struct layer_tensor *out, struct prune_status *st)
{
    struct layer_tensor *tensors = NULL;
    size_t all = 0, found = 0;
    enum prune_code rc = layer_tensors(n->open.net, false, &tensors, &all, st);
    if (rc) return rc;
    for (size_t i = 0; i < all; i++)
        if (tensors[i].layer == index && tensors[i].role == role && !found++) *out = tensors[i];
    free(tensors);
    if (!found) return prune_fail(st, "layer %d of '%s' has no %s", index, n->open.cfg.path, prune_role_name(role));
    if (found > 1) return prune_fail(st, "layer %d of '%s' consists of several layers: their %s cannot be set", index, n->open.cfg.path, prune_role_name(role));
    if (out->count != count)
        return prune_fail(st, "%zu values given for the %s of layer %d of '%s', which has %zu", count, prune_role_name(role), index, n->open.cfg.path, out->count);
    return PRUNE_OK;
}

struct zeroing { const uint8_t *keep; float *arrays[4]; size_t n; int tasks; };

static void zero_task(void *arg, int task, int thread)
{
    const struct zeroing *j = arg;
    const size_t first = pool_first(j->n, task, j->tasks), last = pool_first(j->n, task + 1, j->tasks);
    (void)thread;
    for (int a = 0; a < 4; a++) {
        float *values = j->arrays[a];
        for (size_t i = first; values && i < last; i++) values[i] = j->keep[i] ? values[i] : 0;
    }
}

static void apply(const struct prune_host_net *n, int index)
{
    const layer *l = &n->open.net->layers[index];
    struct zeroing j = {.keep = n->held[index], .arrays = {l->weights, l->weight_updates, l->m, l->v}};   /* m, v: Adam's momentum */
    if (!j.keep) return;
    j.n = l->type == CONNECTED ? (size_t)l->inputs * (size_t)l->outputs : (size_t)l->nweights;
    j.tasks = pool_split(j.n, j.n);
    pool_run(j.tasks, zero_task, &j);
}

void host_zeros_apply(const struct prune_host_net *n)
{
    for (int i = 0; n->held && i < n->open.net->n; i++) apply(n, i);
}

void host_zeros_free(struct prune_host_net *n)
{
    for (int i = 0; n->held && i < n->open.net->n; i++) free(n->held[i]);
    free(n->held);
    n->held = NULL;
}

enum prune_code host_parameters_set(struct prune_host_net *n, int index, int role, const float *values, size_t count, struct prune_status *st)
{
    struct layer_tensor tensor;
    enum prune_code rc = find_tensor(n, index, (enum prune_role)role, count, &tensor, st);
    if (rc) return rc;
    for (size_t i = 0; i < count; i++)
        if (!isfinite(values[i])) return prune_fail(st, "value %zu for the %s of layer %d is not a finite number", i, tensor.name, index);
    memcpy(tensor.data, values, count * sizeof *values);
    if (n->held && role == PRUNE_WEIGHTS) apply(n, index);
    return PRUNE_OK;
}

enum prune_code host_zeros_hold(struct prune_host_net *n, int index, const uint8_t *keep, size_t count, struct prune_status *st)
{
    struct layer_tensor tensor;
    const size_t layers = (size_t)n->open.net->n;
    enum prune_code rc = keep ? find_tensor(n, index, PRUNE_WEIGHTS, count, &tensor, st) : PRUNE_OK;
    if (rc) return rc;
    if (index < 0 || (size_t)index >= layers) return prune_fail(st, "no layer %d in '%s': it has layers 0 to %zu", index, n->open.cfg.path, layers - 1);
    if (keep && n->open.net->layers[index].type != CONVOLUTIONAL && n->open.net->layers[index].type != CONNECTED)
        return prune_fail(st, "zeros of layer %d of '%s' cannot be held: only convolutional and connected layers can", index, n->open.cfg.path);
    uint8_t *copy = keep ? malloc(count ? count : 1) : NULL;
    if (!n->held) n->held = calloc(layers, sizeof *n->held);
    if (!n->held || (keep && !copy)) {
        free(copy);
        return prune_fail_memory(st, count + layers * sizeof *n->held, "held zeros");
    }
    if (keep) memcpy(copy, keep, count);
    free(n->held[index]);
    n->held[index] = copy;
    n->forward_images = 0;
    apply(n, index);
    return PRUNE_OK;
}
