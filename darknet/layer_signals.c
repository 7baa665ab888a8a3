/* The signal LAYERS; see layer_signals.h. */
#include "layer_signals.h"

#include <string.h>

#include "backward.h"
#include "context.h"
#include "fisher.h"

struct layer_signals {
    network *net;
    struct gate_table *gates;
    struct layer_options o;
    uint8_t *told;                     /* (layers) */
    int lowest;
    float *heads;                      /* deltas of the heads with a loss, one after the other; NULL: not kept */
    struct prune_layer_signal *list;   /* (layers) */
};

static bool has_sums(const layer *l) { return l->type == CONVOLUTIONAL || l->type == CONNECTED; }

/* The first layer that backward passes reach. */
static int reached(const network *net)
{
    int i = net->n;
    while (i > 0 && !net->layers[i - 1].stopbackward) i--;
    return i;
}

static enum prune_code choose(struct layer_signals *x, struct prune_status *st)
{
    x->lowest = x->net->n;
    for (int i = x->net->n - 1; i >= reached(x->net); i--) {
        const layer *l = &x->net->layers[i];
        if (!has_sums(l) || (x->o.layers && !x->o.layers[i])) continue;
        if (l->binary || l->xnor) return prune_fail(st, "layer %d is a convolution with binary=1 or xnor=1: what its filters see cannot be told; leave it out", i);
        x->told[i] = 1;
        x->lowest = i;
    }
    return PRUNE_OK;
}

static size_t head_floats(const network *net)
{
    size_t n = 0;
    for (int i = 0; i < net->n; i++)
        if (fisher_of(&net->layers[i])) n += (size_t)net->layers[i].outputs * (size_t)net->batch;
    return n;
}

enum prune_code layers_open(struct layer_signals **out, network *net, struct gate_table *gates, const struct layer_options *o, struct prune_status *st)
{
    const size_t layers = (size_t)net->n;
    enum prune_code rc = o->fisher == PRUNE_FISHER_SAMPLED || o->after_others ? curvature_check(net, st) : PRUNE_OK;
    if (rc) return rc;
    struct layer_signals *x = calloc(1, sizeof *x);
    if (!x) return prune_fail_memory(st, sizeof *x, "signals of layers");
    *x = (struct layer_signals){.net = net, .gates = gates, .o = *o, .told = calloc(layers, sizeof *x->told), .list = calloc(layers, sizeof *x->list)};
    bool keep = o->fisher == PRUNE_FISHER_EMPIRICAL && o->after_others;
    if (keep) x->heads = malloc((head_floats(net) + 1) * sizeof *x->heads);
    if (!x->told || !x->list || (keep && !x->heads)) rc = prune_fail_memory(st, layers * sizeof *x->list + keep * head_floats(net) * sizeof(float), "signals of layers");
    if (!rc) rc = choose(x, st);
    x->o.layers = NULL;   /* the caller's */
    if (rc) layers_close(x);
    else *out = x;
    return rc;
}

void layers_close(struct layer_signals *x)
{
    if (!x) return;
    free(x->told);
    free(x->heads);
    free(x->list);
    free(x);
}

bool layers_from_labels(const struct layer_signals *x) { return x->o.fisher == PRUNE_FISHER_EMPIRICAL && !x->heads; }
int layers_lowest(const struct layer_signals *x) { return x->lowest; }

/* Between the heads' deltas and where they are kept. */
static void move_heads(struct layer_signals *x, bool back)
{
    float *at = x->heads;
    for (int i = 0; i < x->net->n; i++) {
        const layer *l = &x->net->layers[i];
        size_t n = (size_t)l->outputs * (size_t)l->batch;
        if (!fisher_of(l)) continue;
        memcpy(back ? l->delta : at, back ? at : l->delta, n * sizeof *at);
        at += n;
    }
}

void layers_remember(struct layer_signals *x)
{
    if (x->heads) move_heads(x, false);
}

static void draw_heads(struct layer_signals *x, uint64_t ordinal)
{
    const struct fisher_draw d = {x->o.seed, ordinal};
    for (int i = 0; i < x->net->n; i++) {
        fisher_head *draw = fisher_of(&x->net->layers[i]);
        if (draw) draw(x->net, i, &d);
    }
}

void layers_pass(struct layer_signals *x, uint64_t ordinal)
{
    struct host_context *context = host_context();
    const bool outer = context->keep_deltas;
    if (layers_from_labels(x)) return;
    backward_clear(x->net);
    if (x->heads) move_heads(x, true);
    else draw_heads(x, ordinal);
    if (x->gates) gate_mute(x->gates, true);
    context->keep_deltas = true;
    backward_gates(x->net, x->lowest);
    context->keep_deltas = outer;
    if (x->gates) gate_mute(x->gates, false);
}

static struct prune_tensor images_of(float *data, int images, int c, int h, int w)
{
    return (struct prune_tensor){.data = data, .type = PRUNE_F32, .rank = 4, .shape = {(size_t)images, (size_t)c, (size_t)h, (size_t)w},
                                 .strides = {(ptrdiff_t)c * h * w, (ptrdiff_t)h * w, w, 1}};
}

static struct prune_layer_signal view_of(const network *net, int i)
{
    const layer *l = &net->layers[i];
    float *input = i ? l[-1].output : net->input;
    bool maps = l->type == CONVOLUTIONAL;
    return (struct prune_layer_signal){.layer = i, .negated = true,
        .input = maps ? images_of(input, l->batch, l->c, l->h, l->w) : images_of(input, l->batch, l->inputs, 1, 1),
        .gradient = maps ? images_of(l->delta, l->batch, l->n, l->out_h, l->out_w) : images_of(l->delta, l->batch, l->outputs, 1, 1)};
}

void layers_fill(struct layer_signals *x, struct prune_signals *out)
{
    size_t count = 0;
    for (int i = 0; i < x->net->n; i++)
        if (x->told[i]) x->list[count++] = view_of(x->net, i);
    out->layers = x->list;
    out->layer_count = count;
    out->layer_images = (size_t)x->net->batch;
}
