/* Shapes of layers that store weights of their own and read the layer before: convolutional, deconvolutional, local, connected;
 * and implicit, which reads nothing. */
#include "shapes.h"

#include <limits.h>

static enum prune_code read_filters(struct shape_builder *b, struct prune_layer *l, int *filters)
{
    enum prune_code code = shape_need_map(b, l);
    if (!code) code = shape_int(b, "filters", 1, 1, INT_MAX, filters);
    if (!code) code = shape_window(b, l, 1);
    if (!code) code = shape_read_activation(b, "logistic", l);
    if (!code) code = shape_flag(b, "batch_normalize", &l->batch_normalize);
    if (!code && !l->batch_normalize) code = shape_flag(b, "cbn", &l->batch_normalize);
    if (!code && l->numload > *filters) code = shape_fail(b, "numload", "numload=%d is more than filters=%d; use at most that", l->numload, *filters);
    return code;
}

/* Sign of weights or inputs: a removed channel is not the same as a channel of zeros. Kernels turned, stretched or extended by
 * coordinates: what a channel is depends on its number. */
static enum prune_code refuse_unprunable(const struct shape_builder *b)
{
    static const struct { const char *key, *why; } rows[] = {
        {"binary", "binarizes, so that zero inputs do not stay zero"},
        {"xnor", "binarizes, so that zero inputs do not stay zero"},
        {"bin_output", "binarizes, so that zero inputs do not stay zero"},
        {"coordconv", "gives channels that hold coordinates"},
        {"deform", "treats channels by their position"},
        {"rotate", "treats channels by their position"},
        {"stretch", "treats channels by their position"},
        {"sway", "treats channels by their position"},
        {"stretch_sway", "treats channels by their position"},
        {"reverse", "reads its input backwards"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool on = false;
        enum prune_code code = shape_flag(b, rows[i].key, &on);
        if (code) return code;
        if (on) return shape_fail(b, rows[i].key, "%s=%s %s; this release does not prune such networks", rows[i].key, prune_cfg_find(b->section, rows[i].key)->value, rows[i].why);
    }
    return PRUNE_OK;
}

/* A layer that uses another's stored values has none of its own. */
static enum prune_code share_values(const struct shape_builder *b, struct prune_layer *l)
{
    const struct prune_option *o = prune_cfg_find(b->section, "share_index");
    int at = 0;
    if (!o) return PRUNE_OK;
    enum prune_code code = shape_int(b, "share_index", 0, INT_MIN, INT_MAX, &at);
    if (!code) code = shape_resolve(b, l, "share_index", at, &at);
    if (code) return code;
    const struct prune_layer *other = &b->net->layers[at];
    if (other->share >= 0) other = &b->net->layers[other->share];
    if (other->kind != PRUNE_CONVOLUTIONAL) return shape_fail(b, "share_index", "share_index=%s means layer %d, which is [%s]; name a convolutional layer", o->value, at, shape_kind_name(other));
    if (other->c != l->c || other->out_c != l->out_c || other->size != l->size || other->groups != l->groups)
        return shape_fail(b, "share_index", "this layer has %d filters of %d x %d for %d channels in %d groups, and layer %d, whose values it uses, has %d of %d x %d for %d in %d; give both the same shape",
                          l->out_c, l->size, l->size, l->c, l->groups, other->index, other->out_c, other->size, other->size, other->c, other->groups);
    if (other->batch_normalize != l->batch_normalize)
        return shape_fail(b, "share_index", "batch_normalize differs from that of layer %d, whose values this layer uses; give both the same", other->index);
    l->share = other->index;
    l->parameters = 0;
    return PRUNE_OK;
}

static enum prune_code divisible(const struct shape_builder *b, const struct prune_layer *l, int filters)
{
    if (l->c % l->groups) return shape_fail(b, "groups", "groups=%d does not divide the %d input channels; use a divisor of both", l->groups, l->c);
    if (filters % l->groups) return shape_fail(b, "groups", "groups=%d does not divide filters=%d; use a divisor of both", l->groups, filters);
    return PRUNE_OK;
}

enum prune_code shape_convolutional(struct shape_builder *b, struct prune_layer *l)
{
    int n = 0;
    uint64_t weights = 0;
    enum prune_code code = read_filters(b, l, &n);
    if (!code) code = shape_int(b, "groups", 1, 1, INT_MAX, &l->groups);
    if (!code) code = shape_int(b, "antialiasing", 0, 0, 2, &l->antialiasing);
    if (!code) code = shape_flag(b, "flipped", &l->flipped);
    if (!code) code = refuse_unprunable(b);
    if (!code) code = shape_strides(b, l);
    if (!code) code = shape_dilation(b, l);
    if (!code) code = divisible(b, l, n);
    if (!code) code = shape_windows(b, l, 2 * l->pad, n);
    if (!code) code = shape_count(b, n, l->c / l->groups, (int64_t)l->size * l->size, &weights);
    if (code) return code;
    l->parameters = weights + (uint64_t)n * (l->batch_normalize ? 2 : 1);
    shape_set_macs(b, l, weights, (uint64_t)l->out_w * (uint64_t)l->out_h);
    code = shape_blur(b, l);
    return code ? code : share_values(b, l);
}

enum prune_code shape_deconvolutional(struct shape_builder *b, struct prune_layer *l)
{
    int n = 0;
    enum prune_code code = read_filters(b, l, &n);
    if (code) return code;
    int64_t out_w = ((int64_t)l->w - 1) * l->stride + l->size - 2 * l->pad, out_h = ((int64_t)l->h - 1) * l->stride + l->size - 2 * l->pad;
    if (out_w < 1 || out_h < 1) return shape_fail(b, "padding", "padding %d leaves nothing of the output; use less", l->pad);
    uint64_t weights = 0;
    code = shape_output(b, l, out_w, out_h, n);
    if (!code) code = shape_count(b, n, l->c, (int64_t)l->size * l->size, &weights);
    if (code) return code;
    l->parameters = weights + (uint64_t)n * (l->batch_normalize ? 2 : 1);
    shape_set_macs(b, l, weights, (uint64_t)l->w * (uint64_t)l->h);
    return PRUNE_OK;
}

enum prune_code shape_local(struct shape_builder *b, struct prune_layer *l)
{
    int n = 0;
    enum prune_code code = shape_need_map(b, l);
    if (!code) code = shape_int(b, "filters", 1, 1, INT_MAX, &n);
    if (!code) code = shape_int(b, "size", 1, 1, 1 << 14, &l->size);
    if (!code) code = shape_int(b, "stride", 1, 1, INT_MAX, &l->stride);
    if (!code) code = shape_int(b, "pad", 0, 0, 1 << 14, &l->pad);
    if (!code) code = shape_read_activation(b, "logistic", l);
    if (code) return code;
    int lost = l->pad ? 1 : l->size;
    if (l->w < lost || l->h < lost) return shape_fail(b, "size", "a window of %d does not fit the %d x %d input; use a smaller size", l->size, l->w, l->h);
    int out_w = (l->w - lost) / l->stride + 1, out_h = (l->h - lost) / l->stride + 1;
    /* the host sizes its output by the line above, but fills it by this one */
    if (((int64_t)l->w + 2 * l->pad - l->size) / l->stride + 1 != out_w || ((int64_t)l->h + 2 * l->pad - l->size) / l->stride + 1 != out_h)
        return shape_fail(b, "pad", "pad=%d with size=%d writes beyond the host's output; use pad=1 with size=3, or no pad", l->pad, l->size);
    uint64_t per_location = 0, weights = 0;
    code = shape_output(b, l, out_w, out_h, n);
    if (!code) code = shape_count(b, n, l->c, (int64_t)l->size * l->size, &per_location);
    if (!code) code = shape_count(b, (int64_t)per_location, out_w, out_h, &weights);
    if (code) return code;
    l->parameters = weights + (uint64_t)l->outputs;
    l->macs = weights;
    return PRUNE_OK;
}

enum prune_code shape_connected(struct shape_builder *b, struct prune_layer *l)
{
    int n = 0;
    uint64_t weights = 0;
    enum prune_code code = shape_int(b, "output", 1, 1, INT_MAX, &n);
    if (!code) code = shape_read_activation(b, "logistic", l);
    if (!code) code = shape_flag(b, "batch_normalize", &l->batch_normalize);
    if (!code) code = shape_flat(b, l, n, true);
    if (!code) code = shape_count(b, n, l->inputs, 1, &weights);
    if (code) return code;
    l->parameters = weights + (uint64_t)n * (l->batch_normalize ? 2 : 1);
    l->macs = weights;
    return PRUNE_OK;
}

/* A constant map; what comes before is not read. */
enum prune_code shape_implicit(struct shape_builder *b, struct prune_layer *l)
{
    int n = 0;
    l->w = l->h = l->c = l->inputs = 1;
    l->source_count = 0;
    enum prune_code code = shape_int(b, "filters", 128, 1, INT_MAX, &n);
    if (!code) code = shape_int(b, "atoms", 1, 1, INT_MAX, &l->atoms);
    if (!code) code = shape_output(b, l, 1, l->atoms, n);
    if (!code) l->parameters = (uint64_t)l->outputs;
    return code;
}
