/* Layers that read several others, and the heads, which are not run; see kinds.h. */
#include "kinds.h"

#include <math.h>
#include <string.h>

/* ---- route: slice group_id of `groups` of each source, one behind the other ---- */

static void shape_route(struct ref_net *net, struct ref_layer *l)
{
    ref_set_sources(net, l, "layers", false);
    l->groups = ref_int(net, l, "groups", 1);
    l->group_id = ref_int(net, l, "group_id", 0);
    if (net->code) return;
    const struct ref_layer *first = &net->layers[l->sources[0]];
    size_t outputs = 0;
    int channels = 0;
    bool map = true;
    for (int k = 0; k < l->source_count; k++) {
        const struct ref_layer *from = &net->layers[l->sources[k]];
        if (from->out_w != first->out_w || from->out_h != first->out_h) map = false;
        channels += from->out_c;
        outputs += from->outputs;
        if (l->groups < 1 || from->out_c % l->groups) ref_fail(net, l, "groups=%d of %d channels", l->groups, from->out_c);
    }
    if (net->code) return;
    if (map) ref_set_output(l, first->out_w, first->out_h, channels / l->groups);
    else ref_set_output(l, 1, 1, (int)outputs / l->groups);
}

static void run_route(const struct ref_net *net, struct ref_layer *l)
{
    double *out = l->output;
    for (int k = 0; k < l->source_count; k++) {
        size_t slice = ref_source_outputs(net, l->sources[k]) / (size_t)l->groups;
        memcpy(out, ref_input(net, l, k) + slice * (size_t)l->group_id, slice * sizeof *out);
        out += slice;
    }
}

/* ---- shortcut ---- */

enum { NOT_NORMALIZED, BY_RELU, BY_SOFTMAX };

static void shape_shortcut(struct ref_net *net, struct ref_layer *l)
{
    const char *type = prune_cfg_string(l->section, "weights_type", "none"), *norm = prune_cfg_string(l->section, "weights_normalization", "none");
    ref_set_sources(net, l, ref_has(l, "from") ? "from" : "layers", true);
    l->a = ref_number(net, l, "alpha", 1);
    l->b = ref_number(net, l, "beta", 1);
    l->activation = ref_activation_of(net, l, "activation", "linear");
    if (!strcmp(type, "per_feature") || !strcmp(type, "per_layer")) l->size = 1;
    else if (!strcmp(type, "per_channel")) l->size = l->c;
    else if (!strcmp(type, "none")) l->size = 0;
    else ref_fail(net, l, "weights_type=%s", type);
    l->mode = strstr(norm, "relu") ? BY_RELU : !strcmp(norm, "softmax") ? BY_SOFTMAX : NOT_NORMALIZED;
    if (l->size) ref_add_part(net, l, "w", l->c, 1, 1, 1, (size_t)l->size * (size_t)l->source_count);
}

/* Weight of source k for channel c, of W[source][channel] or W[source]. */
static double addend_weight(const struct ref_layer *l, int k, int c)
{
    if (!l->size) return 1;
    const float *row = l->parts[0].values[REF_WEIGHTS] + (l->size > 1 ? c : 0);
    double w = (double)row[(size_t)k * (size_t)l->size], sum = .0001, top = -INFINITY;
    for (int j = 0; j < l->source_count; j++) top = fmax(top, (double)row[(size_t)j * (size_t)l->size]);
    for (int j = 0; j < l->source_count; j++) {
        double v = (double)row[(size_t)j * (size_t)l->size];
        sum += l->mode == BY_SOFTMAX ? exp(v - top) : fmax(v, 0);
    }
    return l->mode == BY_SOFTMAX ? exp(w - top) / sum : l->mode == BY_RELU ? fmax(w, 0) / sum : w;
}

/* pjreddie's: maps of another size are walked with a stride, channel by channel; places that nothing is added to keep their value. */
static void add_strided(const struct ref_layer *l, const struct ref_layer *from, const double *in)
{
    int take = from->out_w > l->w ? from->out_w / l->w : 1, put = l->w > from->out_w ? l->w / from->out_w : 1;
    int w = l->w < from->out_w ? l->w : from->out_w, h = l->h < from->out_h ? l->h : from->out_h, c = l->c < from->out_c ? l->c : from->out_c;
    for (int k = 0; k < c; k++)
        for (int y = 0; y < h; y++)
            for (int x = 0; x < w; x++) {
                double *out = &l->output[(k * l->h + y * put) * l->w + x * put];
                *out = l->a * *out + l->b * in[(k * from->out_h + y * take) * from->out_w + x * take];
            }
}

/* AlexeyAB's: flat vectors, each source as far as it reaches. */
static void add_flat(const struct ref_net *net, struct ref_layer *l)
{
    size_t area = (size_t)l->w * (size_t)l->h;
    for (int c = 0; c < l->c; c++) {
        double own = addend_weight(l, 0, c);
        for (size_t i = 0; i < area; i++) l->output[(size_t)c * area + i] *= own;
        for (int k = 1; k < l->source_count; k++) {
            const double *in = ref_input(net, l, k);
            size_t reach = ref_source_outputs(net, l->sources[k]);
            double weight = addend_weight(l, k, c);
            for (size_t i = (size_t)c * area; i < (size_t)(c + 1) * area && i < reach; i++) l->output[i] += weight * in[i];
        }
    }
}

static void run_shortcut(const struct ref_net *net, struct ref_layer *l)
{
    size_t area = (size_t)l->w * (size_t)l->h;
    memcpy(l->output, ref_input(net, l, 0), l->outputs * sizeof *l->output);
    if (net->alexeyab) add_flat(net, l);
    else add_strided(l, &net->layers[l->sources[1]], ref_input(net, l, 1));
    ref_gate(l->output, ref_gate_before(net, l), l->out_c, area);
    ref_activate(l->activation, l->output, l->out_c, area);
}

/* ---- scale_channels, sam ---- */

static void shape_multiply(struct ref_net *net, struct ref_layer *l)
{
    ref_set_sources(net, l, "from", true);
    l->flag = ref_int(net, l, "scale_wh", 0) != 0;
    l->activation = ref_activation_of(net, l, "activation", "linear");
    if (net->code) return;
    const struct ref_layer *from = &net->layers[l->sources[1]];
    ref_set_output(l, from->out_w, from->out_h, from->out_c);
    bool sam = !strcmp(l->kind->name, "sam"), same_area = l->w == from->out_w && l->h == from->out_h;
    bool fits = sam ? same_area && l->c == from->out_c : l->flag ? same_area && l->c == 1 : l->w == 1 && l->h == 1 && l->c == from->out_c;
    if (!fits) ref_fail(net, l, "%d x %d x %d times %d x %d x %d", l->w, l->h, l->c, from->out_w, from->out_h, from->out_c);
}

/* The layer before is a map of the same size (sam), one number per channel, or one map for all channels. */
static void run_multiply(const struct ref_net *net, struct ref_layer *l)
{
    const double *factor = ref_input(net, l, 0), *in = ref_input(net, l, 1);
    size_t area = (size_t)l->out_w * (size_t)l->out_h;
    bool sam = l->inputs == l->outputs;
    for (size_t i = 0; i < l->outputs; i++) l->output[i] = in[i] * factor[sam ? i : l->flag ? i % area : i / area];
    ref_gate(l->output, ref_gate_before(net, l), l->out_c, area);
    ref_activate(l->activation, l->output, l->out_c, area);
}

/* ---- heads and losses ---- */

static void shape_head(struct ref_net *net, struct ref_layer *l)
{
    if (ref_has(l, "embedding_layer") && ref_int(net, l, "embedding_layer", 999999) != 999999) ref_set_sources(net, l, "embedding_layer", true);
}

const struct ref_kind ref_joins[] = {
    {"route", NULL, shape_route, run_route, false},
    {"shortcut", NULL, shape_shortcut, run_shortcut, false},
    {"scale_channels", NULL, shape_multiply, run_multiply, true},
    {"sam", NULL, shape_multiply, run_multiply, true},
    {"softmax", "soft", shape_head, NULL, false},
    {"cost", NULL, shape_head, NULL, false},
    {"region", NULL, shape_head, NULL, false},
    {"yolo", NULL, shape_head, NULL, false},
    {"iseg", NULL, shape_head, NULL, false},
    {"detection", NULL, shape_head, NULL, false},
    {"Gaussian_yolo", NULL, shape_head, NULL, true},
    {"contrastive", NULL, shape_head, NULL, true},
    {NULL, NULL, NULL, NULL, false},
};
