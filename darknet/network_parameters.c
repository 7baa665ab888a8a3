/* Parameters of a network of the host; see network_parameters.h. Shapes as in plugin/model/weights_file.h. */
#include "network_parameters.h"

#include <math.h>
#include <stdbool.h>

#include "../plugin/base/random.h"

enum { INITIALISATION_STREAM = 3, PARTS = 8 };

layer *parameters_part(layer *l, int part)
{
    struct layer *parts[PARTS] = {l};
    switch (l->type) {
    case RNN:
    case CRNN:
        parts[0] = l->input_layer, parts[1] = l->self_layer, parts[2] = l->output_layer;
        break;
    case LSTM:
        parts[0] = l->wi, parts[1] = l->wf, parts[2] = l->wo, parts[3] = l->wg;
        parts[4] = l->ui, parts[5] = l->uf, parts[6] = l->uo, parts[7] = l->ug;
        break;
    case GRU:
        parts[0] = l->wz, parts[1] = l->wr, parts[2] = l->wh, parts[3] = l->uz, parts[4] = l->ur, parts[5] = l->uh;
        break;
    default:
        break;
    }
    return part >= 0 && part < PARTS ? parts[part] : NULL;
}

static float *tensor_of(layer *l, enum prune_role role)
{
    switch (role) {
    case PRUNE_BIASES: return l->biases;
    case PRUNE_SCALES: return l->scales;
    case PRUNE_MEAN: return l->rolling_mean;
    case PRUNE_VARIANCE: return l->rolling_variance;
    case PRUNE_WEIGHTS: return l->weights;
    }
    return NULL;
}

/* Room of the host's tensor, in floats. */
static size_t room_of(const layer *l, enum prune_role role)
{
    if (role == PRUNE_WEIGHTS) {
        if (l->type == CONNECTED) return (size_t)l->inputs * (size_t)l->outputs;
        if (l->type == LOCAL) return (size_t)l->c * (size_t)l->n * (size_t)l->size * (size_t)l->size * (size_t)l->out_w * (size_t)l->out_h;
        return (size_t)l->nweights;
    }
    if (l->type == CONNECTED || l->type == LOCAL) return (size_t)l->outputs;
    return (size_t)(l->type == BATCHNORM ? l->c : l->n);
}

static void copy_turned(float *to, const float *from, size_t rows, size_t columns)
{
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < columns; c++) to[r * columns + c] = from[c * rows + r];
}

enum prune_code parameters_copy_in(network *net, const struct prune_net *shape, const struct prune_weights *w, size_t layers, struct prune_status *st)
{
    for (size_t i = 0; i < w->layout.count; i++) {
        const struct prune_weights_tensor *t = &w->layout.tensors[i];
        if ((size_t)t->layer >= layers) break;
        layer *l = parameters_part(&net->layers[t->layer], t->part);
        float *to = l ? tensor_of(l, t->role) : NULL;
        const float *from = prune_weights_data(w, t);
        if (!to || t->count > room_of(l, t->role))
            return prune_fail(st, "the host has no room for %zu values of layer %d part %d role %d: its build differs from what '%s' needs", t->count, t->layer,
                              t->part, (int)t->role, w->path);
        bool turned = t->role == PRUNE_WEIGHTS && ((l->type == CONNECTED && w->header.transposed) ||
                                                   (l->type == CONVOLUTIONAL && shape->layers[t->layer].flipped));
        if (turned) copy_turned(to, from, t->shape[0], t->count / t->shape[0]);
        else memcpy(to, from, t->count * sizeof *to);
    }
    *net->seen = (size_t)w->header.seen;
    return PRUNE_OK;
}

enum prune_code parameters_set(network *net, int layer, int role, const float *values, size_t n, struct prune_status *st)
{
    struct layer *l = layer >= 0 && layer < net->n ? &net->layers[layer] : NULL;
    float *to = l ? tensor_of(l, (enum prune_role)role) : NULL;
    if (!to || n != room_of(l, (enum prune_role)role)) return prune_fail(st, "layer %d has no tensor %d of %zu values", layer, role, n);
    memcpy(to, values, n * sizeof *to);
    return PRUNE_OK;
}

static void fresh_part(layer *l, struct prune_random r)
{
    if (!l->weights) return;
    size_t n = room_of(l, PRUNE_WEIGHTS);
    bool uniform = l->type == CONNECTED || l->type == LOCAL;
    double fan_in = l->type == CONNECTED ? l->inputs : (double)l->size * l->size * l->c / (l->groups > 0 ? l->groups : 1);
    double scale = l->type == DECONVOLUTIONAL ? .02 : sqrt(2 / fan_in);
    for (size_t i = 0; i < n; i++) l->weights[i] = (float)(scale * (uniform ? prune_random_range(&r, -1, 1) : prune_random_normal(&r)));
}

void parameters_fresh(network *net, const struct prune_net *shape, size_t first, uint64_t seed)
{
    for (int i = 0; i < net->n; i++) {
        const struct prune_layer *s = &shape->layers[i];
        if ((size_t)i < first && !s->dontload && !s->numload) continue;
        layer *whole = &net->layers[i], *l;
        for (int part = 0; part < PARTS && (l = parameters_part(whole, part)); part++)
            fresh_part(l, prune_random_make(seed, INITIALISATION_STREAM, (uint64_t)i * PARTS + (uint64_t)part));
    }
}

typedef void updates_visitor(void *arg, float *updates, size_t count);

static void visit_updates(const network *net, updates_visitor *visit, void *arg)
{
    for (int i = 0; i < net->n; i++) {
        layer *l;
        for (int part = 0; part < PARTS && (l = parameters_part(&net->layers[i], part)); part++) {
            if (l->weight_updates) visit(arg, l->weight_updates, room_of(l, PRUNE_WEIGHTS));
            if (l->bias_updates) visit(arg, l->bias_updates, room_of(l, PRUNE_BIASES));
            if (l->scale_updates) visit(arg, l->scale_updates, room_of(l, PRUNE_SCALES));
        }
    }
}

static void count_updates(void *arg, float *updates, size_t count)
{
    (void)updates;
    *(size_t *)arg += count;
}

static void copy_out(void *arg, float *updates, size_t count)
{
    float **to = arg;
    memcpy(*to, updates, count * sizeof **to);
    *to += count;
}

static void copy_back(void *arg, float *updates, size_t count)
{
    const float **from = arg;
    memcpy(updates, *from, count * sizeof **from);
    *from += count;
}

static void zero(void *arg, float *updates, size_t count)
{
    (void)arg;
    memset(updates, 0, count * sizeof *updates);
}

enum prune_code parameters_updates_save(const network *net, struct parameters_updates *out, struct prune_status *st)
{
    size_t count = 0;
    visit_updates(net, count_updates, &count);
    float *values = malloc((count ? count : 1) * sizeof *values), *at = values;
    if (!values) return prune_fail_memory(st, count * sizeof *values, "copy of the momentum");
    visit_updates(net, copy_out, &at);
    *out = (struct parameters_updates){values, count};
    return PRUNE_OK;
}

void parameters_updates_copy(const network *net, struct parameters_updates *saved)
{
    float *at = saved->values;
    visit_updates(net, copy_out, &at);
}

struct search { const float *wanted, *at, *found; };

static void look(void *arg, float *updates, size_t count)
{
    struct search *s = arg;
    if (updates == s->wanted) s->found = s->at;
    s->at += count;
}

const float *parameters_updates_find(const network *net, const struct parameters_updates *saved, const float *updates)
{
    struct search s = {updates, saved->values, NULL};
    visit_updates(net, look, &s);
    return s.found;
}

void parameters_updates_restore(network *net, const struct parameters_updates *saved)
{
    const float *at = saved->values;
    visit_updates(net, copy_back, &at);
}

void parameters_updates_free(struct parameters_updates *u)
{
    free(u->values);
    *u = (struct parameters_updates){0};
}

void parameters_updates_zero(network *net) { visit_updates(net, zero, NULL); }
