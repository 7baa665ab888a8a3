/* Output shape, sources, parameters and MACs of one layer, one function per kind; see shape_builder.h.
 * Dimension letters: w, h, c = input map; n = filters or outputs; k = kernel side; s = stride; p = padding; g = groups.
 * Formulas are those of the host as its printed layer table shows them (tests/host/test_shapes_equal_host.c compares all). */
#include "shape_builder.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const char *kind_name(const struct prune_layer *l)
{
    return prune_kind_info(l->kind)->name;
}

static enum prune_code need_map(const struct shape_builder *b, const struct prune_layer *l)
{
    if (b->input_is_map) return PRUNE_OK;
    return shape_fail(b, NULL, "[%s] needs an image of width x height x channels, and what comes before is a flat vector of %d numbers; remove it or change the layer before", kind_name(l), l->inputs);
}

static enum prune_code same_shape(const struct shape_builder *b, struct prune_layer *l)
{
    return shape_output(b, l, l->w, l->h, l->c);
}

static enum prune_code flat_output(struct shape_builder *b, struct prune_layer *l, int64_t outputs, bool map)
{
    b->output_is_map = map;
    return shape_output(b, l, 1, 1, outputs);
}

static enum prune_code read_activation(const struct shape_builder *b, const char *fallback, struct prune_layer *l)
{
    const char *name = prune_cfg_string(b->section, "activation", fallback);
    if (prune_activation_by_name(name, &l->activation)) return PRUNE_OK;
    return shape_fail(b, "activation",
                      "unknown activation '%.40s'; the host knows logistic, relu, relie, linear, ramp, tanh, plse, leaky, elu, loggy, stair, hardtan, lhtan and selu", name);
}

static enum prune_code read_flag(const struct shape_builder *b, const char *key, bool *out)
{
    int value = 0;
    enum prune_code code = shape_int(b, key, 0, INT_MIN, INT_MAX, &value);
    *out = value != 0;
    return code;
}

/* Weights of a layer: a product the host keeps in an int. */
static enum prune_code count_weights(const struct shape_builder *b, int64_t a, int64_t c, int64_t kk, uint64_t *out)
{
    int64_t product;
    if (__builtin_mul_overflow(a, c, &product) || __builtin_mul_overflow(product, kk, &product) || product > INT_MAX)
        return shape_fail(b, NULL, "the layer has more than %d weights, beyond what Darknet can count; make it smaller", INT_MAX);
    *out = (uint64_t)product;
    return PRUNE_OK;
}

static void set_macs(struct shape_builder *b, struct prune_layer *l, uint64_t per_location, uint64_t locations)
{
    if (__builtin_mul_overflow(per_location, locations, &l->macs)) b->too_much_work = true;
}

/* size, stride and (convolutional, deconvolutional) pad or padding in pixels */
static enum prune_code read_window(const struct shape_builder *b, struct prune_layer *l)
{
    int pad = 0;
    enum prune_code code = shape_int(b, "size", 1, 1, 1 << 14, &l->size);
    if (!code) code = shape_int(b, "stride", 1, 1, INT_MAX, &l->stride);
    if (!code) code = shape_int(b, "pad", 0, INT_MIN, INT_MAX, &pad);
    if (!code) code = shape_int(b, "padding", 0, 0, 1 << 14, &l->pad);
    if (pad) l->pad = l->size / 2;
    return code;
}

static enum prune_code read_filters(const struct shape_builder *b, struct prune_layer *l, int *filters)
{
    enum prune_code code = need_map(b, l);
    if (!code) code = shape_int(b, "filters", 1, 1, INT_MAX, filters);
    if (!code) code = read_window(b, l);
    if (!code) code = read_activation(b, "logistic", l);
    if (!code) code = read_flag(b, "batch_normalize", &l->batch_normalize);
    if (!code && l->numload > *filters) code = shape_fail(b, "numload", "numload=%d is more than filters=%d; use at most that", l->numload, *filters);
    return code;
}

/* Sign of weights or inputs: there a removed channel is not the same as a channel of zeros. */
static enum prune_code refuse_binary(const struct shape_builder *b)
{
    static const char *const names[] = {"binary", "xnor"};
    for (int i = 0; i < 2; i++) {
        bool on = false;
        enum prune_code code = read_flag(b, names[i], &on);
        if (code) return code;
        if (on) return shape_fail(b, names[i], "%s=1 binarizes, so that zero inputs do not stay zero; this release does not prune such networks", names[i]);
    }
    return PRUNE_OK;
}

static enum prune_code shape_convolutional(struct shape_builder *b, struct prune_layer *l)
{
    int n = 0;
    enum prune_code code = read_filters(b, l, &n);
    if (!code) code = shape_int(b, "groups", 1, 1, INT_MAX, &l->groups);
    if (!code) code = read_flag(b, "flipped", &l->flipped);
    if (!code) code = refuse_binary(b);
    if (code) return code;
    if (l->c % l->groups) return shape_fail(b, "groups", "groups=%d does not divide the %d input channels; use a divisor of both", l->groups, l->c);
    if (n % l->groups) return shape_fail(b, "groups", "groups=%d does not divide filters=%d; use a divisor of both", l->groups, n);
    int64_t free_w = (int64_t)l->w + 2 * l->pad - l->size, free_h = (int64_t)l->h + 2 * l->pad - l->size;
    if (free_w < 0 || free_h < 0)
        return shape_fail(b, "size", "a window of %d does not fit the %d x %d input with padding %d; use a smaller size or more padding", l->size, l->w, l->h, l->pad);
    uint64_t weights = 0;
    code = shape_output(b, l, free_w / l->stride + 1, free_h / l->stride + 1, n);
    if (!code) code = count_weights(b, n, l->c / l->groups, (int64_t)l->size * l->size, &weights);
    if (code) return code;
    l->parameters = weights + (uint64_t)n * (l->batch_normalize ? 2 : 1);
    set_macs(b, l, weights, (uint64_t)l->out_w * (uint64_t)l->out_h);
    return PRUNE_OK;
}

static enum prune_code shape_deconvolutional(struct shape_builder *b, struct prune_layer *l)
{
    int n = 0;
    enum prune_code code = read_filters(b, l, &n);
    if (code) return code;
    int64_t out_w = ((int64_t)l->w - 1) * l->stride + l->size - 2 * l->pad, out_h = ((int64_t)l->h - 1) * l->stride + l->size - 2 * l->pad;
    if (out_w < 1 || out_h < 1) return shape_fail(b, "padding", "padding %d leaves nothing of the output; use less", l->pad);
    uint64_t weights = 0;
    code = shape_output(b, l, out_w, out_h, n);
    if (!code) code = count_weights(b, n, l->c, (int64_t)l->size * l->size, &weights);
    if (code) return code;
    l->parameters = weights + (uint64_t)n * (l->batch_normalize ? 2 : 1);
    set_macs(b, l, weights, (uint64_t)l->w * (uint64_t)l->h);
    return PRUNE_OK;
}

static enum prune_code shape_local(struct shape_builder *b, struct prune_layer *l)
{
    int n = 0;
    enum prune_code code = need_map(b, l);
    if (!code) code = shape_int(b, "filters", 1, 1, INT_MAX, &n);
    if (!code) code = shape_int(b, "size", 1, 1, 1 << 14, &l->size);
    if (!code) code = shape_int(b, "stride", 1, 1, INT_MAX, &l->stride);
    if (!code) code = shape_int(b, "pad", 0, 0, 1 << 14, &l->pad);
    if (!code) code = read_activation(b, "logistic", l);
    if (code) return code;
    int lost = l->pad ? 1 : l->size;
    if (l->w < lost || l->h < lost) return shape_fail(b, "size", "a window of %d does not fit the %d x %d input; use a smaller size", l->size, l->w, l->h);
    int out_w = (l->w - lost) / l->stride + 1, out_h = (l->h - lost) / l->stride + 1;
    /* the host sizes its output by the line above, but fills it by this one */
    if (((int64_t)l->w + 2 * l->pad - l->size) / l->stride + 1 != out_w || ((int64_t)l->h + 2 * l->pad - l->size) / l->stride + 1 != out_h)
        return shape_fail(b, "pad", "pad=%d with size=%d writes beyond the host's output; use pad=1 with size=3, or no pad", l->pad, l->size);
    uint64_t per_location = 0, weights = 0;
    code = shape_output(b, l, out_w, out_h, n);
    if (!code) code = count_weights(b, n, l->c, (int64_t)l->size * l->size, &per_location);
    if (!code) code = count_weights(b, (int64_t)per_location, out_w, out_h, &weights);
    if (code) return code;
    l->parameters = weights + (uint64_t)l->outputs;
    l->macs = weights;
    return PRUNE_OK;
}

static enum prune_code shape_connected(struct shape_builder *b, struct prune_layer *l)
{
    int n = 0;
    uint64_t weights = 0;
    enum prune_code code = shape_int(b, "output", 1, 1, INT_MAX, &n);
    if (!code) code = read_activation(b, "logistic", l);
    if (!code) code = read_flag(b, "batch_normalize", &l->batch_normalize);
    if (!code) code = flat_output(b, l, n, true);
    if (!code) code = count_weights(b, n, l->inputs, 1, &weights);
    if (code) return code;
    l->parameters = weights + (uint64_t)n * (l->batch_normalize ? 2 : 1);
    l->macs = weights;
    return PRUNE_OK;
}

static enum prune_code shape_maxpool(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = need_map(b, l);
    if (!code) code = shape_int(b, "stride", 1, 1, INT_MAX, &l->stride);
    if (!code) code = shape_int(b, "size", l->stride, 1, INT_MAX, &l->size);
    if (!code) code = shape_int(b, "padding", l->size - 1, 0, INT_MAX, &l->pad);
    if (code) return code;
    /* half the padding lies left and above: a window that lies in it entirely would yield -FLT_MAX and a wild index */
    if (l->pad - l->pad / 2 >= l->size && l->pad)
        return shape_fail(b, "padding", "padding=%d makes windows of size %d that hold no pixel; use at most size-1", l->pad, l->size);
    int64_t free_w = (int64_t)l->w + l->pad - l->size, free_h = (int64_t)l->h + l->pad - l->size;
    if (free_w < 0 || free_h < 0) return shape_fail(b, "size", "a window of %d does not fit the %d x %d input with padding %d; use a smaller size", l->size, l->w, l->h, l->pad);
    return shape_output(b, l, free_w / l->stride + 1, free_h / l->stride + 1, l->c);
}

static enum prune_code shape_avgpool(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = need_map(b, l);
    return code ? code : shape_output(b, l, 1, 1, l->c);
}

static enum prune_code shape_crop(struct shape_builder *b, struct prune_layer *l)
{
    int out_w = 0, out_h = 0;
    enum prune_code code = need_map(b, l);
    if (!code) code = shape_int(b, "crop_height", 1, 1, l->h, &out_h);
    if (!code) code = shape_int(b, "crop_width", 1, 1, l->w, &out_w);
    return code ? code : shape_output(b, l, out_w, out_h, l->c);
}

static enum prune_code shape_dropout(struct shape_builder *b, struct prune_layer *l)
{
    double p = 0.5;
    enum prune_code code = prune_cfg_float(b->cfg, b->section, "probability", 0.5, &p, b->st);
    if (code) return code;
    if (!l->index) return shape_fail(b, NULL, "[dropout] is the first layer, and the host lets it work on the output of the layer before; put a layer in front");
    if (p < 0 || p >= 1) return shape_fail(b, "probability", "probability=%g; use 0 or more and less than 1", p);
    b->output_is_map = b->input_is_map;
    return same_shape(b, l);
}

/* Darknet's layer numbers: absolute, or negative from the layer at hand. */
static enum prune_code resolve(const struct shape_builder *b, const struct prune_layer *l, const char *key, int number, int *out)
{
    int64_t at = number < 0 ? (int64_t)l->index + number : number;
    if (at >= 0 && at < l->index) {
        *out = (int)at;
        return PRUNE_OK;
    }
    if (!l->index) return shape_fail(b, key, "%s=%d, but no layer comes before this one; put a layer in front", key, number);
    return shape_fail(b, key, "%s=%d means layer %lld, and only layers 0 to %d come before this one; use one of them (or -1 to -%d)", key, number, (long long)at, l->index - 1, l->index);
}

static enum prune_code concatenate(struct shape_builder *b, struct prune_layer *l)
{
    const struct prune_layer *first = &b->net->layers[l->sources[0]];
    int64_t channels = 0, outputs = 0;
    bool map = b->is_map[l->sources[0]] != 0;
    for (size_t i = 0; i < l->source_count; i++) {
        const struct prune_layer *from = &b->net->layers[l->sources[i]];
        if (!b->is_map[l->sources[i]] || from->out_w != first->out_w || from->out_h != first->out_h) map = false;
        channels += from->out_c; /* an int list cannot be long enough to overflow 64 bits */
        outputs += from->outputs;
    }
    if (map) return shape_output(b, l, first->out_w, first->out_h, channels);
    return flat_output(b, l, outputs, false);
}

static enum prune_code shape_route(struct shape_builder *b, struct prune_layer *l)
{
    int *layers = NULL;
    size_t count = 0;
    if (!prune_cfg_find(b->section, "layers")) return shape_fail(b, NULL, "[route] has no layers=; name the layers to concatenate");
    enum prune_code code = prune_cfg_int_list(b->cfg, b->section, "layers", &layers, &count, b->st);
    if (code) return code;
    free(l->sources);
    l->sources = layers;
    l->source_count = count;
    for (size_t i = 0; i < count && !code; i++) code = resolve(b, l, "layers", layers[i], &layers[i]);
    if (!code) code = concatenate(b, l);
    if (code) return code;
    l->inputs = l->outputs; /* as the host: a route reads what it writes */
    l->w = l->out_w;
    l->h = l->out_h;
    l->c = l->out_c;
    return PRUNE_OK;
}

static enum prune_code shape_shortcut(struct shape_builder *b, struct prune_layer *l)
{
    int from = 0;
    const struct prune_option *o = prune_cfg_find(b->section, "from");
    if (!o) return shape_fail(b, NULL, "[shortcut] has no from=; name the layer to add");
    if (strchr(o->value, ',')) return shape_fail(b, "from", "from=%.40s names several layers, as another Darknet dialect allows; this release does not handle it", o->value);
    enum prune_code code = shape_int(b, "from", 0, INT_MIN, INT_MAX, &from);
    if (!code) code = resolve(b, l, "from", from, &from);
    if (!code) code = read_activation(b, "linear", l);
    if (code) return code;
    const struct prune_layer *other = &b->net->layers[from];
    if (!b->input_is_map || !b->is_map[from]) return shape_fail(b, NULL, "[shortcut] adds images, and layer %d is a flat vector; use another layer", b->input_is_map ? from : l->index - 1);
    /* the host walks both maps with one stride each way and demands it equal in both directions */
    if (other->out_w / l->w != other->out_h / l->h || l->w / other->out_w != l->h / other->out_h)
        return shape_fail(b, "from", "the %d x %d map of layer %d and the %d x %d map before the shortcut differ by other factors in width than in height; use a layer of the same shape",
                          other->out_w, other->out_h, from, l->w, l->h);
    int *sources = malloc(2 * sizeof *sources);
    if (!sources) return prune_fail_memory(b->st, 2 * sizeof *sources, "a shortcut");
    sources[0] = l->index - 1;
    sources[1] = from;
    free(l->sources);
    l->sources = sources;
    l->source_count = 2;
    return same_shape(b, l);
}

static enum prune_code shape_upsample(struct shape_builder *b, struct prune_layer *l)
{
    int stride = 0;
    enum prune_code code = need_map(b, l);
    if (!code) code = shape_int(b, "stride", 2, -INT_MAX, INT_MAX, &stride);
    if (code) return code;
    if (!stride) return shape_fail(b, "stride", "stride is 0; use 1 or more (or -2 and less to shrink)");
    l->reverse = stride < 0;
    l->stride = l->reverse ? -stride : stride;
    if (!l->reverse) return shape_output(b, l, (int64_t)l->w * stride, (int64_t)l->h * stride, l->c);
    if (l->w < l->stride || l->h < l->stride) return shape_fail(b, "stride", "stride=%d leaves nothing of the %d x %d input; use less", stride, l->w, l->h);
    return shape_output(b, l, l->w / l->stride, l->h / l->stride, l->c);
}

static enum prune_code shape_reorg(struct shape_builder *b, struct prune_layer *l)
{
    int extra = 0;
    enum prune_code code = need_map(b, l);
    if (!code) code = shape_int(b, "stride", 1, 1, 1 << 14, &l->stride);
    if (!code) code = read_flag(b, "reverse", &l->reverse);
    if (!code) code = read_flag(b, "flatten", &l->flatten);
    if (!code) code = shape_int(b, "extra", 0, 0, INT_MAX, &extra);
    if (code) return code;
    if (extra) return flat_output(b, l, (int64_t)l->inputs + extra, false);
    int s = l->stride;
    if (l->c % (s * s)) return shape_fail(b, "stride", "[reorg] with stride=%d moves blocks of %d channels, and the input has %d; use a multiple", s, s * s, l->c);
    if (l->reverse) return shape_output(b, l, (int64_t)l->w * s, (int64_t)l->h * s, l->c / (s * s));
    if (l->w % s || l->h % s) return shape_fail(b, "stride", "stride=%d does not divide the %d x %d input; the host would write beyond its output", s, l->w, l->h);
    return shape_output(b, l, l->w / s, l->h / s, (int64_t)l->c * s * s);
}

static enum prune_code shape_batchnorm(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = need_map(b, l);
    if (code) return code;
    l->batch_normalize = true;
    l->parameters = (uint64_t)l->c; /* scales; the host does not store its biases */
    return same_shape(b, l);
}

static enum prune_code shape_activation(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = read_activation(b, "linear", l);
    b->output_is_map = b->input_is_map;
    return code ? code : same_shape(b, l);
}

static enum prune_code shape_same(struct shape_builder *b, struct prune_layer *l)
{
    b->output_is_map = b->input_is_map;
    return same_shape(b, l);
}

static enum prune_code shape_normalization(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = need_map(b, l);
    if (!code) code = shape_int(b, "size", 5, 1, INT_MAX, &l->size);
    return code ? code : same_shape(b, l);
}

static enum prune_code shape_softmax(struct shape_builder *b, struct prune_layer *l)
{
    int groups = 1;
    enum prune_code code = shape_int(b, "groups", 1, 1, INT_MAX, &groups);
    if (code) return code;
    if (l->inputs % groups) return shape_fail(b, "groups", "groups=%d does not divide the %d inputs; use a divisor", groups, l->inputs);
    l->classes = l->inputs;
    return flat_output(b, l, l->inputs, false);
}

static enum prune_code shape_cost(struct shape_builder *b, struct prune_layer *l)
{
    static const char *const types[] = {"sse", "masked", "smooth", "L1", "seg", "wgan"};
    const char *type = prune_cfg_string(b->section, "type", "sse");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i], type)) return flat_output(b, l, l->inputs, false);
    return shape_fail(b, "type", "unknown cost type '%.40s'; the host knows sse, masked, smooth, L1, seg and wgan", type);
}

static enum prune_code need_anchors(const struct shape_builder *b, int total)
{
    size_t count = 0;
    enum prune_code code = shape_float_list(b, "anchors", &count);
    if (code || count == 2 * (size_t)total) return code;
    if (!count) return shape_fail(b, NULL, "the head has no anchors=, and the host would go on with 0.5 for each; give %d numbers", 2 * total);
    return shape_fail(b, "anchors", "%zu anchors for num=%d; give %d numbers", count, total, 2 * total);
}

static enum prune_code need_filters(const struct shape_builder *b, const struct prune_layer *l, int64_t needed, const char *formula)
{
    enum prune_code code = need_map(b, l);
    if (code || l->c == needed) return code;
    return shape_fail(b, NULL, "[%s] reads %lld channels (%s), and the layer before gives %d; set its filters=%lld", kind_name(l), (long long)needed, formula, l->c, (long long)needed);
}

static enum prune_code shape_yolo(struct shape_builder *b, struct prune_layer *l)
{
    int total = 0, max = 0, *mask = NULL;
    size_t count = 0;
    enum prune_code code = shape_int(b, "classes", 20, 1, 1 << 24, &l->classes);
    if (!code) code = shape_int(b, "num", 1, 1, 1 << 14, &total);
    if (!code) code = shape_int(b, "max", 90, 1, 90, &max); /* the host keeps 90 * 5 numbers of truth */
    if (!code) code = prune_cfg_int_list(b->cfg, b->section, "mask", &mask, &count, b->st);
    for (size_t i = 0; i < count && !code; i++)
        if (mask[i] < 0 || mask[i] >= total) code = shape_fail(b, "mask", "mask names anchor %d, and num=%d; use 0 to %d", mask[i], total, total - 1);
    free(mask);
    if (!code && count > (size_t)total) code = shape_fail(b, "mask", "mask names %zu anchors, and num=%d; use each once", count, total);
    if (code) return code;
    l->num = count ? (int)count : total;
    l->coords = 4;
    code = need_anchors(b, total);
    if (!code) code = need_filters(b, l, ((int64_t)l->classes + 5) * l->num, "(classes + 5) * anchors of its mask");
    return code ? code : same_shape(b, l);
}

static enum prune_code shape_region(struct shape_builder *b, struct prune_layer *l)
{
    int max = 0;
    enum prune_code code = shape_int(b, "classes", 20, 1, 1 << 24, &l->classes);
    if (!code) code = shape_int(b, "coords", 4, 4, 1 << 14, &l->coords);
    if (!code) code = shape_int(b, "num", 1, 1, 1 << 14, &l->num);
    if (!code) code = shape_int(b, "max", 30, 1, 30, &max); /* the host keeps 30 truths */
    if (!code) code = need_anchors(b, l->num);
    if (!code) code = need_filters(b, l, ((int64_t)l->classes + l->coords + 1) * l->num, "(classes + coords + 1) * num");
    return code ? code : same_shape(b, l);
}

static enum prune_code shape_iseg(struct shape_builder *b, struct prune_layer *l)
{
    int ids = 0, max = 0;
    enum prune_code code = shape_int(b, "classes", 20, 1, 1 << 24, &l->classes);
    if (!code) code = shape_int(b, "ids", 32, 1, 1 << 24, &ids);
    if (!code) code = shape_int(b, "max", 90, 1, 90, &max);
    if (!code) code = need_filters(b, l, (int64_t)l->classes + ids, "classes + ids");
    return code ? code : same_shape(b, l);
}

static enum prune_code shape_detection(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = shape_int(b, "classes", 1, 1, 1 << 24, &l->classes);
    if (!code) code = shape_int(b, "coords", 1, 1, 1 << 10, &l->coords);
    if (!code) code = shape_int(b, "num", 1, 1, 1 << 10, &l->num);
    if (!code) code = shape_int(b, "side", 7, 1, 1 << 10, &l->side);
    if (code) return code;
    int64_t needed = (int64_t)l->side * l->side * ((int64_t)(1 + l->coords) * l->num + l->classes);
    if (needed != l->inputs)
        return shape_fail(b, NULL, "[detection] reads %lld numbers (side^2 * ((1 + coords) * num + classes)), and the layer before gives %d; set its output=%lld", (long long)needed, l->inputs, (long long)needed);
    return flat_output(b, l, l->inputs, false);
}

/* inputs -> outputs and outputs -> outputs, each a connected layer: parameters and MACs of `into` of the first and `own` of the second */
static enum prune_code shape_recurrent(struct shape_builder *b, struct prune_layer *l, uint64_t into, uint64_t own)
{
    int n = 0;
    uint64_t first = 0, second = 0;
    enum prune_code code = shape_int(b, "output", 1, 1, INT_MAX, &n);
    if (!code) code = read_flag(b, "batch_normalize", &l->batch_normalize);
    if (!code) code = flat_output(b, l, n, false);
    if (!code) code = count_weights(b, n, l->inputs, 1, &first);
    if (!code) code = count_weights(b, n, n, 1, &second);
    if (code) return code;
    l->macs = into * first + own * second;
    l->parameters = l->macs + (into + own) * (uint64_t)n * (l->batch_normalize ? 2 : 1);
    return PRUNE_OK;
}

static enum prune_code shape_rnn(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = read_activation(b, "logistic", l);
    return code ? code : shape_recurrent(b, l, 1, 2);
}

static enum prune_code shape_lstm(struct shape_builder *b, struct prune_layer *l)
{
    return shape_recurrent(b, l, 4, 4);
}

static enum prune_code shape_gru(struct shape_builder *b, struct prune_layer *l)
{
    return shape_recurrent(b, l, 3, 3);
}

/* three 3x3 convolutions with stride 1: input -> hidden, hidden -> hidden, hidden -> output */
static enum prune_code shape_crnn(struct shape_builder *b, struct prune_layer *l)
{
    int n = 0;
    uint64_t input = 0, self = 0, output = 0;
    enum prune_code code = need_map(b, l);
    if (!code) code = shape_int(b, "output_filters", 1, 1, INT_MAX, &n);
    if (!code) code = shape_int(b, "hidden_filters", 1, 1, INT_MAX, &l->hidden);
    if (!code) code = read_activation(b, "logistic", l);
    if (!code) code = read_flag(b, "batch_normalize", &l->batch_normalize);
    if (!code) code = shape_output(b, l, l->w, l->h, n);
    if (!code) code = count_weights(b, l->hidden, l->c, 9, &input);
    if (!code) code = count_weights(b, l->hidden, l->hidden, 9, &self);
    if (!code) code = count_weights(b, n, l->hidden, 9, &output);
    if (code) return code;
    l->size = 3;
    l->pad = 1;
    uint64_t biases = 2 * (uint64_t)l->hidden + (uint64_t)n;
    l->parameters = input + self + output + biases * (l->batch_normalize ? 2 : 1);
    set_macs(b, l, input + self + output, (uint64_t)l->w * (uint64_t)l->h);
    return PRUNE_OK;
}

enum prune_code shape_layer(struct shape_builder *b, struct prune_layer *l)
{
    static enum prune_code (*const shapes[PRUNE_KIND_COUNT])(struct shape_builder *, struct prune_layer *) = {
        [PRUNE_CONVOLUTIONAL] = shape_convolutional,
        [PRUNE_DECONVOLUTIONAL] = shape_deconvolutional,
        [PRUNE_LOCAL] = shape_local,
        [PRUNE_CONNECTED] = shape_connected,
        [PRUNE_MAXPOOL] = shape_maxpool,
        [PRUNE_AVGPOOL] = shape_avgpool,
        [PRUNE_CROP] = shape_crop,
        [PRUNE_DROPOUT] = shape_dropout,
        [PRUNE_ROUTE] = shape_route,
        [PRUNE_SHORTCUT] = shape_shortcut,
        [PRUNE_UPSAMPLE] = shape_upsample,
        [PRUNE_REORG] = shape_reorg,
        [PRUNE_BATCHNORM] = shape_batchnorm,
        [PRUNE_ACTIVATION] = shape_activation,
        [PRUNE_LOGISTIC] = shape_same,
        [PRUNE_L2NORM] = shape_same,
        [PRUNE_NORMALIZATION] = shape_normalization,
        [PRUNE_SOFTMAX] = shape_softmax,
        [PRUNE_COST] = shape_cost,
        [PRUNE_REGION] = shape_region,
        [PRUNE_YOLO] = shape_yolo,
        [PRUNE_ISEG] = shape_iseg,
        [PRUNE_DETECTION] = shape_detection,
        [PRUNE_RNN] = shape_rnn,
        [PRUNE_LSTM] = shape_lstm,
        [PRUNE_GRU] = shape_gru,
        [PRUNE_CRNN] = shape_crnn,
    };
    b->output_is_map = true;
    if (!shapes[l->kind]) return shape_fail(b, NULL, "[%s] belongs to another Darknet dialect; this release does not handle it", kind_name(l));
    return shapes[l->kind](b, l);
}
