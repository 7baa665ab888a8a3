/* Surgery of a network; see network_surgery.h. One group of one layer at a time: its factors are copied and damped, so memory is one layer's. */
#include "network_surgery.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../base/background.h"

static bool holds_factors(const struct prune_criterion *c) { return c->signals & PRUNE_SIGNAL_LAYERS; }

enum prune_code prune_surgery_check(const struct prune_criterion *c, const struct prune_surgery_options *o, struct prune_status *st)
{
    if (o->how == PRUNE_SURGERY_NONE || holds_factors(c)) return PRUNE_OK;
    char names[256] = "";
    size_t count, used = 0;
    const struct prune_criterion *all = prune_criteria(&count);
    for (size_t i = 0; i < count && used < sizeof names; i++)
        if (holds_factors(&all[i])) used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "", all[i].name);
    return prune_fail_usage(st, "flag '-surgery': criterion '%s' gathers no Kronecker factors; take one of %s", c->name, names);
}

/* A layer at hand. Flags per channel of the layer: 1 = gone. */
struct patient {
    const struct prune_layer *layer;
    const struct prune_kfac_factors *factors;
    const struct prune_weights *file;
    const struct prune_surgery_options *options;
    double damping;
    uint8_t *in_gone, *out_gone;
    size_t columns, area;                /* of a group's weights, biases left out; and of one channel's */
    struct prune_layer_surgery *out;
};

/* The stored matrix is (columns k k, n) where the flag says so; ours is (n, columns). Its own inverse with n and d changed. */
static void transpose(const float *from, size_t n, size_t d, float *to)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < d; j++) to[j * n + i] = from[i * d + j];
}

static bool is_transposed(const struct prune_layer *l, const struct prune_weights *file)
{
    return l->flipped || (l->kind == PRUNE_CONNECTED && file->header.transposed);
}

static enum prune_code tensor_of(const struct patient *p, enum prune_role role, size_t wanted, const struct prune_weights_tensor **out, struct prune_status *st)
{
    *out = prune_layout_find(&p->file->layout, p->layer->index, role);
    if (*out && (*out)->count == wanted) return PRUNE_OK;
    return prune_fail(st, "layer %d: '%s' stores %zu %s where %zu are needed for surgery", p->layer->index, p->file->path, *out ? (*out)->count : 0, prune_role_name(role), wanted);
}

/* Copies of what the file stores. */
static enum prune_code read_values(struct patient *p, struct prune_status *st)
{
    const struct prune_kfac_shape *s = &p->factors->shape;
    struct prune_layer_surgery *out = p->out;
    const struct prune_weights_tensor *t;
    size_t filters = s->groups * s->n;
    out->weight_count = filters * p->columns;
    out->bias_count = filters;
    enum prune_code rc = tensor_of(p, PRUNE_WEIGHTS, out->weight_count, &t, st);
    if (rc) return rc;
    out->weights = malloc(out->weight_count * sizeof *out->weights + 1);
    if (!out->weights) return prune_fail_memory(st, out->weight_count * sizeof *out->weights, "weights");
    if (is_transposed(p->layer, p->file)) transpose(prune_weights_data(p->file, t), p->columns, filters, out->weights);
    else memcpy(out->weights, prune_weights_data(p->file, t), out->weight_count * sizeof *out->weights);
    if (!s->bias) return PRUNE_OK;
    rc = tensor_of(p, PRUNE_BIASES, filters, &t, st);
    if (rc) return rc;
    out->biases = malloc(filters * sizeof *out->biases + 1);
    if (!out->biases) return prune_fail_memory(st, filters * sizeof *out->biases, "biases");
    memcpy(out->biases, prune_weights_data(p->file, t), filters * sizeof *out->biases);
    return PRUNE_OK;
}

/* One group: w (n, d) with its biases, what of it is gone, and whether that leaves work. */
struct group { size_t index; float *w; uint8_t *rows, *columns, *gone; bool loses, keeps; };

static enum prune_code group_make(struct group *g, const struct patient *p, size_t index, struct prune_status *st)
{
    const struct prune_kfac_shape *s = &p->factors->shape;
    size_t first_in = index * (p->columns / p->area);
    bool inputs = p->options->part & PRUNE_SURGERY_INPUTS, filters = p->options->part & PRUNE_SURGERY_FILTERS;
    *g = (struct group){.index = index, .w = malloc(s->n * s->d * sizeof *g->w + 1), .rows = calloc(s->n + 1, 1), .columns = calloc(s->d + 1, 1), .gone = calloc(s->n * s->d + 1, 1)};
    if (!g->w || !g->rows || !g->columns || !g->gone) return prune_fail_memory(st, s->n * s->d * sizeof *g->w, "surgery");
    prune_kfac_weights(s, index, p->out->weights, p->out->biases, g->w);
    for (size_t i = 0; i < s->n; i++) {
        g->rows[i] = p->out_gone[index * s->n + i];
        g->loses |= g->rows[i] && filters;
        g->keeps |= !g->rows[i];
    }
    for (size_t j = 0; j < p->columns; j++) {
        g->columns[j] = p->in_gone[first_in + j / p->area];
        g->loses |= g->columns[j] && inputs;
    }
    for (size_t i = 0; i < s->n * s->d; i++) {
        g->gone[i] = g->rows[i / s->d] || g->columns[i % s->d];
        if ((g->rows[i / s->d] && !filters) || (g->columns[i % s->d] && !inputs)) g->w[i] = 0;   /* nobody is to make up for it */
    }
    return PRUNE_OK;
}

static void group_free(struct group *g)
{
    free(g->w);
    free(g->rows);
    free(g->columns);
    free(g->gone);
}

/* Survivors come back; removed inputs are 0 in every filter, removed filters are otherwise left. */
static void put_back(const struct patient *p, const struct group *g)
{
    const struct prune_kfac_shape *s = &p->factors->shape;
    for (size_t i = 0; i < s->n; i++) {
        size_t filter = g->index * s->n + i;
        float *to = p->out->weights + filter * p->columns;
        const float *from = g->w + i * s->d;
        for (size_t j = 0; j < p->columns; j++) {
            if (g->columns[j]) to[j] = 0;
            else if (!g->rows[i]) to[j] = from[j];
        }
        if (s->bias && !g->rows[i]) p->out->biases[filter] = from[p->columns];
    }
}

static enum prune_code cut(const struct patient *p, struct group *g, struct prune_status *st)
{
    struct prune_kfac_damped f = {0};
    struct prune_surgery_result r = {0};
    bool joint = p->options->how == PRUNE_SURGERY_JOINT;
    enum prune_code rc = prune_kfac_damp(&f, p->factors, g->index, p->damping, st);
    if (rc) return rc;
    if (!joint) rc = prune_kfac_factorise(&f, st);
    if (!rc) rc = joint ? prune_surgery_structured(&f, g->w, g->rows, g->columns, &r, st) : prune_surgery_weights(&f, p->options->how, g->w, g->gone, &r, st);
    if (!rc) {
        p->out->result.before += r.before;
        p->out->result.after += r.after;
        p->out->result.iterations += r.iterations;
        p->out->added = fmax(p->out->added, f.added);
    }
    prune_kfac_damped_free(&f);
    return rc;
}

static enum prune_code operate(struct patient *p, struct prune_status *st)
{
    enum prune_code rc = read_values(p, st);
    for (size_t i = 0; !rc && i < p->factors->shape.groups; i++) {
        struct group g;
        rc = group_make(&g, p, i, st);
        if (!rc && g.loses && g.keeps) rc = cut(p, &g, st);
        if (!rc) put_back(p, &g);
        group_free(&g);
    }
    return rc;
}

static size_t mark_gone(uint8_t *gone, size_t n, const int *keep, size_t count)
{
    memset(gone, 1, n);
    for (size_t i = 0; i < count; i++) gone[keep[i]] = 0;
    return n - count;
}

static enum prune_code one_layer(struct prune_layer_surgery *out, const struct prune_kfac_factors *f, const struct prune_score_input *in, const struct prune_plan *plan,
                                 const struct prune_surgery_options *o, struct prune_status *st)
{
    const struct prune_kfac_shape *s = &f->shape;
    const struct prune_layer_plan *kept = &plan->layers[s->layer];
    const struct prune_layer *l = &in->net->layers[s->layer];
    struct patient p = {.layer = l, .factors = f, .file = in->weights, .options = o, .damping = prune_kfac_lambda(in), .out = out, .columns = s->d - s->bias};
    p.area = l->kind == PRUNE_CONNECTED ? kept->in_area : (size_t)l->size * (size_t)l->size;
    size_t ins = s->groups * p.columns / p.area, outs = s->groups * s->n;
    p.in_gone = malloc(ins + outs + 1);
    if (!p.in_gone) return prune_fail_memory(st, ins + outs, "surgery");
    p.out_gone = p.in_gone + ins;
    out->layer = s->layer;
    out->inputs = mark_gone(p.in_gone, ins, kept->in_keep, kept->in_count);
    out->filters = mark_gone(p.out_gone, outs, kept->out_keep, kept->out_count);
    bool loses = out->inputs || (out->filters && (o->part & PRUNE_SURGERY_FILTERS));
    enum prune_code rc = loses && !(f->images > 0) ? prune_fail(st, "no image has come by, so there are no factors") : PRUNE_OK;
    if (!rc && loses) rc = operate(&p, st);
    if (rc) prune_explain(st, "layer %d: ", s->layer);
    free(p.in_gone);
    return rc;
}

enum prune_code prune_network_surgery(struct prune_network_surgery *s, const void *state, const struct prune_score_input *in, const struct prune_plan *plan,
                                      const struct prune_surgery_options *o, struct prune_status *st)
{
    enum prune_code rc = PRUNE_OK;
    if (!s->layers) s->layers = calloc(in->net->layer_count + 1, sizeof *s->layers);   /* a layer comes once */
    if (!s->layers) return prune_fail_memory(st, in->net->layer_count * sizeof *s->layers, "surgery");
    prune_background_drain(in->background);
    for (size_t i = 0; !rc && i < in->net->layer_count; i++) {
        struct prune_kfac_factors f;
        if (!prune_kfac_factors(state, in, (int)i, &f)) continue;
        struct prune_layer_surgery *layer = &s->layers[s->count++];
        rc = one_layer(layer, &f, in, plan, o, st);
        if (!rc && !layer->weights) s->count--;
    }
    return rc;
}

void prune_network_surgery_free(struct prune_network_surgery *s)
{
    for (size_t i = 0; i < s->count; i++) {
        free(s->layers[i].weights);
        free(s->layers[i].biases);
    }
    free(s->layers);
    memset(s, 0, sizeof *s);
}

static const struct prune_layer_surgery *find(const struct prune_network_surgery *s, int layer)
{
    for (size_t i = 0; i < s->count; i++)
        if (s->layers[i].layer == layer) return &s->layers[i];
    return NULL;
}

static enum prune_code put_tensor(struct prune_writer *w, const struct prune_network_surgery *s, const struct prune_net *net, const struct prune_weights *masked,
                                  const struct prune_weights_tensor *t, struct prune_status *st)
{
    const struct prune_layer_surgery *cut = t->part ? NULL : find(s, t->layer);
    const struct prune_layer *l = &net->layers[t->layer];
    const float *values = prune_weights_data(masked, t);
    if (cut && t->role == PRUNE_BIASES && cut->biases) values = cut->biases;
    if (!cut || t->role != PRUNE_WEIGHTS) return prune_writer_put(w, values, t->count * sizeof *values, st);
    if (!is_transposed(l, masked)) return prune_writer_put(w, cut->weights, t->count * sizeof *values, st);
    float *turned = malloc(t->count * sizeof *turned + 1);
    if (!turned) return prune_fail_memory(st, t->count * sizeof *turned, "weights");
    transpose(cut->weights, cut->bias_count, cut->weight_count / cut->bias_count, turned);
    enum prune_code rc = prune_writer_put(w, turned, t->count * sizeof *turned, st);
    free(turned);
    return rc;
}

enum prune_code prune_network_surgery_write(const struct prune_network_surgery *s, const struct prune_net *net, const struct prune_weights *masked, const char *path,
                                            struct prune_status *st)
{
    struct prune_writer *w = NULL;
    enum prune_code rc = prune_writer_open(&w, path, st);
    if (rc) return rc;
    rc = prune_weights_put_header(w, &masked->header, st);
    for (size_t i = 0; !rc && i < masked->layout.count; i++) rc = put_tensor(w, s, net, masked, &masked->layout.tensors[i], st);
    if (!rc) return prune_writer_commit(w, st);
    prune_writer_abort(w);
    return rc;
}
