/* Signals of a minibatch beyond the gates' own sums; see extra_signals.h. Letters: B images of a minibatch, R rivals, P probes, U units. */
#include "extra_signals.h"

#include <string.h>

#include "backward.h"
#include "context.h"
#include "curvature.h"
#include "layer_signals.h"
#include "layer_tensors.h"
#include "margins.h"
#include "network_parameters.h"

struct extra_signals {
    network *net;
    struct gate_table *gates;
    struct extra_options o;
    size_t units;
    bool exact;                                    /* probes are the columns of R^(1/2), o.probes of them */
    int *chosen;                                   /* (batch, 1 + R) */
    float *margins, *gate_margins, *gate_probes;   /* (B, R), (B, R, U), (B, P, U) */
    struct layer_tensor *tensors;
    size_t tensor_count;
    struct prune_parameter_signal *parameters;
    size_t parameter_count;
    float *gradients;                              /* of all parameters */
    struct parameters_updates before;              /* between updates: at the beginning of the minibatch */
    struct prune_map_signal *maps;
    size_t map_count;
    struct layer_signals *layers;                  /* NULL: not asked for */
};

static bool wanted(const struct extra_signals *x, unsigned signal) { return x->o.score.signals & signal; }

static enum prune_code room(float **out, size_t a, size_t b, size_t c, const char *what, struct prune_status *st)
{
    size_t n = 0;
    if (__builtin_mul_overflow(a, b, &n) || __builtin_mul_overflow(n, c, &n) || n > SIZE_MAX / sizeof **out)
        return prune_fail(st, "%s of %zu images and %zu units do not fit into memory", what, a, c);
    *out = malloc((n ? n : 1) * sizeof **out);
    return *out ? PRUNE_OK : prune_fail_memory(st, n * sizeof **out, what);
}

static enum prune_code open_margins(struct extra_signals *x, struct prune_status *st)
{
    enum prune_code rc = margins_check(x->net, x->o.score.rivals, st);
    if (rc) return rc;
    size_t rivals = (size_t)x->o.score.rivals;
    x->chosen = calloc((size_t)x->net->batch * (1 + rivals), sizeof *x->chosen);
    if (!x->chosen) return prune_fail_memory(st, (size_t)x->net->batch * (1 + rivals) * sizeof(int), "rivals");
    rc = room(&x->margins, x->o.images, rivals, 1, "margins", st);
    return rc ? rc : room(&x->gate_margins, x->o.images, rivals, x->units, "gradients of margins", st);
}

static enum prune_code open_curvature(struct extra_signals *x, struct prune_status *st)
{
    x->exact = x->o.score.probes == PRUNE_PROBES_EXACT;
    enum prune_code rc = x->exact ? curvature_exact_check(x->net, &x->o.score.probes, st) : curvature_check(x->net, st);
    if (!rc && x->o.score.probes < 1) rc = prune_fail(st, "%d probes of the curvature per image: at least 1 is needed", x->o.score.probes);
    return rc ? rc : room(&x->gate_probes, x->o.images, (size_t)x->o.score.probes, x->units, "probes of the curvature", st);
}

/* Parts of recurrent layers have no number in a parameter signal: left out. */
static bool told(const struct extra_signals *x, const struct layer_tensor *t)
{
    layer *l = &x->net->layers[t->layer];
    return t->updates && parameters_part(l, 0) == l;
}

static enum prune_code open_parameters(struct extra_signals *x, struct prune_status *st)
{
    size_t floats = 0;
    enum prune_code rc = layer_tensors(x->net, false, &x->tensors, &x->tensor_count, st);
    if (rc) return rc;
    for (size_t i = 0; i < x->tensor_count; i++)
        if (told(x, &x->tensors[i])) floats += x->tensors[i].count;
    x->parameters = calloc(x->tensor_count ? x->tensor_count : 1, sizeof *x->parameters);
    if (!x->parameters) return prune_fail_memory(st, x->tensor_count * sizeof *x->parameters, "a list of parameters");
    rc = room(&x->gradients, floats, 1, 1, "gradients of parameters", st);
    if (!rc && x->o.between_updates) rc = parameters_updates_save(x->net, &x->before, st);
    return rc;
}

static enum prune_code open_maps(struct extra_signals *x, struct prune_status *st)
{
    x->maps = calloc((size_t)x->net->n, sizeof *x->maps);
    return x->maps ? PRUNE_OK : prune_fail_memory(st, (size_t)x->net->n * sizeof *x->maps, "a list of maps");
}

static enum prune_code open_layers(struct extra_signals *x, struct prune_status *st)
{
    const struct layer_options o = {.layers = x->o.score.layers, .fisher = x->o.score.fisher, .seed = x->o.seed,
                                    .after_others = wanted(x, PRUNE_SIGNAL_MARGINS | PRUNE_SIGNAL_CURVATURE)};
    return layers_open(&x->layers, x->net, x->gates, &o, st);
}

static enum prune_code open_all(struct extra_signals *x, struct prune_status *st)
{
    bool gated = wanted(x, PRUNE_SIGNAL_MARGINS | PRUNE_SIGNAL_CURVATURE);
    bool backward = gated || (wanted(x, PRUNE_SIGNAL_LAYERS) && x->o.score.fisher == PRUNE_FISHER_SAMPLED);
    if (gated && !x->gates) return prune_fail(st, "gate gradients wanted, but no gates are attached");
    if (backward && (x->o.between_updates || wanted(x, PRUNE_SIGNAL_PARAMETERS)) && !backward_leaves_updates(x->net))
        return prune_fail(st, "margins, curvature and sampled gradients of a network with local, deconvolutional or recurrent layers cannot be taken in training "
                              "or beside gradients of parameters; score it for them alone");
    enum prune_code rc = wanted(x, PRUNE_SIGNAL_MARGINS) ? open_margins(x, st) : PRUNE_OK;
    if (!rc && wanted(x, PRUNE_SIGNAL_CURVATURE)) rc = open_curvature(x, st);
    if (!rc && wanted(x, PRUNE_SIGNAL_PARAMETERS)) rc = open_parameters(x, st);
    if (!rc && wanted(x, PRUNE_SIGNAL_MAPS)) rc = open_maps(x, st);
    if (!rc && wanted(x, PRUNE_SIGNAL_LAYERS)) rc = open_layers(x, st);
    x->o.score.layers = NULL;   /* the caller's */
    return rc;
}

enum prune_code extra_open(struct extra_signals **out, network *net, struct gate_table *gates, const struct extra_options *o, struct prune_status *st)
{
    struct extra_signals *x = calloc(1, sizeof *x);
    if (!x) return prune_fail_memory(st, sizeof *x, "signals");
    *x = (struct extra_signals){.net = net, .gates = gates, .o = *o, .units = gates ? gate_units(gates) : 0};
    enum prune_code rc = open_all(x, st);
    if (rc) extra_close(x);
    else *out = x;
    return rc;
}

void extra_close(struct extra_signals *x)
{
    if (!x) return;
    free(x->chosen);
    free(x->margins);
    free(x->gate_margins);
    free(x->gate_probes);
    free(x->tensors);
    free(x->parameters);
    free(x->gradients);
    parameters_updates_free(&x->before);
    free(x->maps);
    if (x->layers) host_context()->keep_deltas = false;
    layers_close(x->layers);
    free(x);
}

void extra_begin(struct extra_signals *x)
{
    host_context()->keep_deltas = x->layers && layers_from_labels(x->layers);
    if (!wanted(x, PRUNE_SIGNAL_PARAMETERS)) return;
    if (x->o.between_updates) parameters_updates_copy(x->net, &x->before);
    else parameters_updates_zero(x->net);
}

int extra_lowest(const struct extra_signals *x)
{
    return x->layers && layers_from_labels(x->layers) ? layers_lowest(x->layers) : x->net->n;
}

/* One backward pass; what arrives at the gates goes to rows (batch, every `stride` floats). */
static void collect(struct extra_signals *x, float *rows, size_t stride)
{
    for (int b = 0; b < x->net->batch; b++) memset(rows + (size_t)b * stride, 0, x->units * sizeof *rows);
    gate_redirect(x->gates, rows, stride);
    backward_gates(x->net, gate_lowest(x->gates));
    gate_redirect(x->gates, NULL, 0);
}

static void pass_margins(struct extra_signals *x, size_t at)
{
    size_t rivals = (size_t)x->o.score.rivals;
    margins_choose(x->net, x->o.score.rivals, x->chosen, x->margins + at * rivals);
    bool untouched = !x->o.between_updates && !wanted(x, PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_GATE_IMAGE | PRUNE_SIGNAL_PARAMETERS |
                                                     PRUNE_SIGNAL_PRODUCT);   /* no backward pass yet */
    for (int k = 0; k < x->o.score.rivals; k++) {
        if (k || !untouched) backward_clear(x->net);
        margins_cotangent(x->net, x->o.score.rivals, k, x->chosen);
        collect(x, x->gate_margins + (at * rivals + (size_t)k) * x->units, rivals * x->units);
    }
}

static void pass_curvature(struct extra_signals *x, size_t at, uint64_t ordinal)
{
    size_t probes = (size_t)x->o.score.probes;
    struct curvature_draw d = {.seed = x->o.seed, .first = ordinal, .exact = x->exact};
    for (d.probe = 0; d.probe < x->o.score.probes; d.probe++) {
        backward_clear(x->net);
        for (int i = 0; i < x->net->n; i++) {
            curvature_head *probe = curvature_of(&x->net->layers[i]);
            if (probe) probe(x->net, i, &d);
        }
        collect(x, x->gate_probes + (at * probes + (size_t)d.probe) * x->units, probes * x->units);
    }
}

void extra_pass(struct extra_signals *x, size_t at, uint64_t ordinal)
{
    if (x->layers) layers_remember(x->layers);
    if (wanted(x, PRUNE_SIGNAL_MARGINS)) pass_margins(x, at);
    if (wanted(x, PRUNE_SIGNAL_CURVATURE)) pass_curvature(x, at, ordinal);
    if (x->layers) layers_pass(x->layers, ordinal);   /* last: what it leaves in the network is what is told */
}

/* Darknet's updates grow by the negative gradient, summed over images. */
static void take_parameters(struct extra_signals *x, size_t images)
{
    const float *before = x->before.values;
    float *gradient = x->gradients, share = -1 / (float)images;
    x->parameter_count = 0;
    for (size_t i = 0; i < x->tensor_count; i++) {
        const struct layer_tensor *t = &x->tensors[i];
        if (!told(x, t)) continue;
        const float *old = before ? parameters_updates_find(x->net, &x->before, t->updates) : NULL;
        for (size_t k = 0; k < t->count; k++) gradient[k] = (old ? t->updates[k] - old[k] : t->updates[k]) * share;
        struct prune_tensor view = {.data = t->data, .type = PRUNE_F32, .rank = 1, .shape = {t->count}, .strides = {1}};
        struct prune_parameter_signal *p = &x->parameters[x->parameter_count++];
        *p = (struct prune_parameter_signal){.layer = t->layer, .role = (int)t->role, .values = view, .gradients = view};
        p->gradients.data = gradient;
        gradient += t->count;
    }
}

void extra_fill_views(struct extra_signals *x, struct prune_signals *out)
{
    if (x->layers) layers_fill(x->layers, out);
    x->map_count = 0;
    for (int i = 0; wanted(x, PRUNE_SIGNAL_MAPS) && i < x->net->n; i++) {
        const layer *l = &x->net->layers[i];
        if (l->out_c < 1 || l->out_c * l->out_h * l->out_w != l->outputs || !l->output) continue;
        x->maps[x->map_count++] = (struct prune_map_signal){i, {.data = l->output, .type = PRUNE_F32, .rank = 4,
            .shape = {(size_t)l->batch, (size_t)l->out_c, (size_t)l->out_h, (size_t)l->out_w},
            .strides = {l->outputs, (ptrdiff_t)l->out_h * l->out_w, l->out_w, 1}}};
    }
    out->maps = x->maps;
    out->map_count = x->map_count;
}

static struct prune_tensor per_image(float *data, size_t images, int each, size_t units)
{
    size_t n = (size_t)each;
    if (!data) return (struct prune_tensor){0};
    return (struct prune_tensor){.data = data, .type = PRUNE_F32, .rank = units ? 3 : 2, .shape = {images, n, units},
                                 .strides = {(ptrdiff_t)(n * (units ? units : 1)), (ptrdiff_t)(units ? units : 1), units ? 1 : 0}};
}

void extra_fill(struct extra_signals *x, struct prune_signals *out)
{
    out->margins = per_image(x->margins, out->images, x->o.score.rivals, 0);
    out->gate_margins = per_image(x->gate_margins, out->images, x->o.score.rivals, x->units);
    out->gate_probes = per_image(x->gate_probes, out->images, x->o.score.probes, x->units);
    if (wanted(x, PRUNE_SIGNAL_PARAMETERS)) {
        take_parameters(x, out->images);
        out->parameters = x->parameters;
        out->parameter_count = x->parameter_count;
    }
    extra_fill_views(x, out);
}
