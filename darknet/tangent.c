/* The tangent passes; see tangent.h. The network has a twin: the same layers without bias, normalisation and activation, whose outputs and deltas are the
 * tangents'. So the linear maps are computed by the kernels that the layers use themselves; what follows them is in tangent_planes.c; of heads the second
 * derivative is known (curvature.c). The twin is made anew for each pass, for batch and buffers of the network may change.
 * In front of the lowest gate all tangents are 0 and stay so. */
#include "tangent.h"

#include <math.h>
#include <string.h>

#include "backward.h"
#include "context.h"
#include "curvature.h"
#include "kernels/overrides.h"
#include "tangent_planes.h"

struct buffers { float *sums, *inner, *output, *delta; };   /* sums, inner: NULL unless the layer's gates need them (tangent_planes.h) */

struct tangent {
    network *net;
    struct gate_table *gates;
    int lowest;
    float *direction;          /* (units) */
    float *zeros;              /* biases of the twin */
    layer *twin;               /* (layers) */
    struct buffers *buffers;   /* (layers) */
    double *rows;              /* (batch, channels, 2) of the layer with the most */
    double *products;          /* (units) */
};

/* ---- layers that have tangents ---- */

/* The tangent of a maximum is that of the value that won. */
static void forward_selected(layer l, network net)
{
    for (size_t i = 0; i < (size_t)l.batch * (size_t)l.outputs; i++) l.output[i] = l.indexes[i] < 0 ? 0 : net.input[l.indexes[i]];
}

/* Linear but for what tangent_planes.c does. NULL: the layer's own functions. */
struct kind { LAYER_TYPE type; bool activates; void (*forward)(layer, network), (*backward)(layer, network); };
static const struct kind KINDS[] = {
    {CONVOLUTIONAL, true, NULL, NULL}, {CONNECTED, true, NULL, NULL}, {SHORTCUT, true, NULL, NULL}, {ACTIVE, true, NULL, NULL},
    {BATCHNORM, false, forward_activation_layer, backward_activation_layer}, {MAXPOOL, false, forward_selected, NULL}, {AVGPOOL, false, NULL, NULL},
    {UPSAMPLE, false, NULL, NULL}, {REORG, false, NULL, NULL}, {ROUTE, false, NULL, NULL}, {DROPOUT, false, NULL, NULL},
};

static const struct kind *kind_of(const layer *l)
{
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++)
        if (KINDS[i].type == l->type && !l->binary && !l->xnor) return &KINDS[i];
    return NULL;
}

static enum prune_code refuse(const struct open_network *open, int index, const char *why, struct prune_status *st)
{
    const struct prune_layer *l = &open->shape.layers[index];
    return prune_fail(st, "[%s] (%s:%d, layer %d) %s: products with the Hessian are not exact there; use differences (-step) or a criterion of first derivatives",
                      open->cfg.sections[l->section].name, open->cfg.path, l->line, index, why);
}

static bool reads_head(const network *net, int index)
{
    const layer *l = &net->layers[index];
    bool found = l->type != ROUTE && index > 0 && curvature_of(&net->layers[index - 1]);
    if (l->type == SHORTCUT) found |= curvature_of(&net->layers[l->index]) != NULL;
    for (int i = 0; l->type == ROUTE && i < l->n; i++) found |= curvature_of(&net->layers[l->input_layers[i]]) != NULL;
    return found;
}

enum prune_code tangent_check(const struct open_network *open, struct prune_status *st)
{
    const network *net = open->net;
    for (int i = 0; i < net->n; i++) {
        const layer *l = &net->layers[i];
        if (!kind_of(l) && !curvature_of(l)) return refuse(open, i, "has no tangent pass", st);
        if (reads_head(net, i)) return refuse(open, i, "reads the output of a head", st);
    }
    return curvature_check(net, st);
}

/* ---- memory ---- */

static bool room(float **out, const layer *l)
{
    size_t n = (size_t)l->outputs * (size_t)l->batch;   /* the layer itself has that much */
    *out = calloc(n ? n : 1, sizeof **out);
    return *out != NULL;
}

static bool layer_room(struct tangent *t, int i)
{
    const layer *l = &t->net->layers[i];
    struct gate_view gate = gate_view(t->gates, i);
    struct buffers *b = &t->buffers[i];
    if (i > 0 && l->output && l->output == l[-1].output) {   /* works in place (dropout) */
        *b = (struct buffers){.output = b[-1].output, .delta = b[-1].delta};
        return true;
    }
    return room(&b->output, l) && room(&b->delta, l) && (!gate.before || room(&b->sums, l)) && (!gate.after || room(&b->inner, l));
}

static enum prune_code make_room(struct tangent *t, struct prune_status *st)
{
    size_t widest = 1, layers = (size_t)t->net->n, units = gate_units(t->gates), batch = (size_t)t->net->batch;
    for (int i = 0; i < t->net->n; i++) {
        size_t channels = (size_t)gate_view(t->gates, i).channels;
        if (channels > widest) widest = channels;
    }
    t->direction = calloc(units + 1, sizeof *t->direction);
    t->products = calloc(units + 1, sizeof *t->products);
    t->zeros = calloc(widest, sizeof *t->zeros);
    t->rows = calloc(2 * widest * batch, sizeof *t->rows);
    t->twin = calloc(layers, sizeof *t->twin);
    t->buffers = calloc(layers, sizeof *t->buffers);
    bool done = t->direction && t->products && t->zeros && t->rows && t->twin && t->buffers;
    for (int i = 0; done && i < t->net->n; i++) done = layer_room(t, i);
    return done ? PRUNE_OK : prune_fail(st, "out of memory for the tangents of %zu images; use a smaller batch", batch);
}

enum prune_code tangent_open(struct tangent **out, network *net, struct gate_table *gates, const float *direction, struct prune_status *st)
{
    size_t units = gate_units(gates);
    for (size_t u = 0; u < units; u++)
        if (!isfinite(direction[u])) return prune_fail(st, "direction of a product: that of unit %zu is not a finite number", u);
    struct tangent *t = calloc(1, sizeof *t);
    if (!t) return prune_fail_memory(st, sizeof *t, "tangents");
    t->net = net;
    t->gates = gates;
    t->lowest = gate_lowest(gates);
    enum prune_code rc = make_room(t, st);
    if (rc) {
        tangent_close(t);
        return rc;
    }
    memcpy(t->direction, direction, units * sizeof *direction);
    *out = t;
    return PRUNE_OK;
}

void tangent_close(struct tangent *t)
{
    if (!t) return;
    for (int i = 0; t->buffers && i < t->net->n; i++) {
        struct buffers *b = &t->buffers[i];
        free(b->sums);
        free(b->inner);
        if (i > 0 && b->output == b[-1].output) continue;
        free(b->output);
        free(b->delta);
    }
    free(t->direction);
    free(t->products);
    free(t->zeros);
    free(t->rows);
    free(t->twin);
    free(t->buffers);
    free(t);
}

void tangent_reset(struct tangent *t) { memset(t->products, 0, gate_units(t->gates) * sizeof *t->products); }
const double *tangent_sums(const struct tangent *t) { return t->products; }

/* ---- passes ---- */

static void make_twin(struct tangent *t)
{
    for (int i = 0; i < t->net->n; i++) {
        layer *l = &t->twin[i];
        *l = t->net->layers[i];
        const struct kind *kind = kind_of(l);
        struct gate_view gate = gate_view(t->gates, i);
        l->forward = kind && kind->forward ? kind->forward : gate.forward;
        l->backward = kind && kind->backward ? kind->backward : gate.backward;
        l->output = t->buffers[i].output;
        l->delta = t->buffers[i].delta;
        l->activation = LINEAR;
        l->batch_normalize = 0;
        if (l->type == CONVOLUTIONAL || l->type == CONNECTED) l->biases = t->zeros;
    }
}

static struct tangent_planes planes_of(const struct tangent *t, int i)
{
    const struct buffers *b = &t->buffers[i];
    struct tangent_planes p = {.l = &t->net->layers[i], .activation = LINEAR, .gate = gate_view(t->gates, i), .z = gate_values(t->gates), .v = t->direction, .output = b->output,
                               .delta = b->delta, .rows = t->rows};
    if (kind_of(p.l) && kind_of(p.l)->activates) p.activation = p.l->activation;
    p.inner = b->inner ? b->inner : b->output;
    p.sums = b->sums ? b->sums : p.inner;
    return p;
}

/* The twin as layer i sees it. */
static network twin_at(const struct tangent *t, int i)
{
    network net = *t->net;
    net.layers = t->twin;
    net.index = i;
    net.input = i ? t->twin[i - 1].output : NULL;
    net.delta = i ? t->twin[i - 1].delta : NULL;
    return net;
}

void tangent_forward(struct tangent *t)
{
    make_twin(t);
    for (int i = t->lowest; i < t->net->n; i++) {
        layer l = t->twin[i];
        struct tangent_planes p = planes_of(t, i);
        if (curvature_of(&t->net->layers[i])) continue;
        l.output = p.sums;
        if (i == t->lowest) memset(l.output, 0, (size_t)l.outputs * (size_t)l.batch * sizeof *l.output);
        else l.forward(l, twin_at(t, i));
        if (!tangent_planes_idle(&p)) tangent_planes_forward(&p);
    }
    for (int i = 0; i < t->net->n; i++)
        memset(t->twin[i].delta, 0, (size_t)t->twin[i].outputs * (size_t)t->twin[i].batch * sizeof(float));
}

/* Tangent of what a head hands on: its delta is a function of its input alone, whose derivative is minus the loss's second. */
static void head_delta(struct tangent *t, int i)
{
    layer *l = &t->net->layers[i];
    const struct curvature_draw along = {.vector = t->twin[i - 1].output};
    float *own = l->delta;
    l->delta = t->twin[i].delta;
    curvature_of(l)(t->net, i, &along);
    l->delta = own;
}

void tangent_backward(void *user, int i)
{
    struct tangent *t = user;
    struct host_context *context = host_context();
    struct tangent_planes p = planes_of(t, i);
    bool gates_only = context->gates_only, head = curvature_of(&t->net->layers[i]) != NULL;
    if (i < t->lowest) return;
    if (head) head_delta(t, i);
    else if (!tangent_planes_idle(&p)) tangent_planes_backward(&p, t->products);
    if (i == t->lowest) return;
    context->gates_only = true;
    t->twin[i].backward(t->twin[i], twin_at(t, i));
    context->gates_only = gates_only;
}
