/* Shapes of layers that read several layers: route (side by side), shortcut (sum), scale_channels and sam (product). */
#include "shapes.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

/* Each source gives slice group_id of groups equal slices of its channels. */
static enum prune_code concatenate(struct shape_builder *b, struct prune_layer *l)
{
    const struct prune_layer *first = &b->net->layers[l->sources[0]];
    int64_t channels = 0, outputs = 0;
    bool map = b->is_map[l->sources[0]] != 0;
    for (size_t i = 0; i < l->source_count; i++) {
        const struct prune_layer *from = &b->net->layers[l->sources[i]];
        if (!b->is_map[l->sources[i]] || from->out_w != first->out_w || from->out_h != first->out_h) map = false;
        if (from->out_c % l->groups)
            return shape_fail(b, "groups", "groups=%d does not divide the %d channels of layer %d; use a divisor", l->groups, from->out_c, l->sources[i]);
        channels += from->out_c / l->groups; /* an int list cannot be long enough to overflow 64 bits */
        outputs += from->outputs;
    }
    if (map) return shape_output(b, l, first->out_w, first->out_h, channels);
    if (l->groups > 1) return shape_fail(b, "groups", "groups=%d in a route that joins flat vectors or maps of different size; name layers of equal size", l->groups);
    return shape_flat(b, l, outputs, false);
}

enum prune_code shape_route(struct shape_builder *b, struct prune_layer *l)
{
    int *layers = NULL;
    size_t count = 0;
    if (!prune_cfg_find(b->section, "layers")) return shape_fail(b, NULL, "[route] has no layers=; name the layers to concatenate");
    enum prune_code code = prune_cfg_int_list(b->cfg, b->section, "layers", &layers, &count, b->st);
    if (code) return code;
    free(l->sources);
    l->sources = layers;
    l->source_count = count;
    for (size_t i = 0; i < count && !code; i++) code = shape_source(b, l, "layers", layers[i], &layers[i]);
    if (!code) code = shape_int(b, "groups", 1, 1, INT_MAX, &l->groups);
    if (!code) code = shape_int(b, "group_id", 0, 0, l->groups - 1, &l->group_id);
    if (!code) code = concatenate(b, l);
    if (code) return code;
    l->inputs = l->outputs; /* as the host: a route reads what it writes */
    l->w = l->out_w;
    l->h = l->out_h;
    l->c = l->out_c;
    return PRUNE_OK;
}

/* from= (or layers=): what is added to the layer before */
static enum prune_code read_addends(const struct shape_builder *b, struct prune_layer *l)
{
    const char *key = prune_cfg_find(b->section, "from") ? "from" : "layers";
    int *from = NULL, *sources = NULL;
    size_t count = 0;
    if (!prune_cfg_find(b->section, key)) return shape_fail(b, NULL, "[shortcut] has no from=; name the layer to add");
    if (*key == 'f' && prune_cfg_find(b->section, "layers")) return shape_fail(b, "layers", "[shortcut] has both from= and layers=; give one of them");
    enum prune_code code = prune_cfg_int_list(b->cfg, b->section, key, &from, &count, b->st);
    if (!code) sources = malloc((count + 1) * sizeof *sources);
    if (!code && !sources) code = prune_fail_memory(b->st, count * sizeof *sources, "a shortcut");
    if (sources) sources[0] = l->index - 1;
    for (size_t i = 0; i < count && !code; i++) code = shape_source(b, l, key, from[i], &sources[i + 1]);
    free(from);
    if (code) {
        free(sources);
        return code;
    }
    free(l->sources);
    l->sources = sources;
    l->source_count = count + 1;
    return PRUNE_OK;
}

static enum prune_code read_addend_weights(const struct shape_builder *b, struct prune_layer *l)
{
    static const struct { const char *name; enum prune_weights_type type; } types[] = {
        {"none", PRUNE_WEIGHTS_NONE}, {"per_feature", PRUNE_WEIGHTS_PER_FEATURE}, {"per_layer", PRUNE_WEIGHTS_PER_FEATURE}, {"per_channel", PRUNE_WEIGHTS_PER_CHANNEL}};
    static const char *const rules[] = {"none", "relu", "avg_relu", "softmax"};
    const char *type = prune_cfg_string(b->section, "weights_type", "none"), *rule = prune_cfg_string(b->section, "weights_normalization", "none");
    bool known = false;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i].name, type)) continue;
        l->weights_type = types[i].type;
        known = true;
    }
    if (!known) return shape_fail(b, "weights_type", "unknown weights_type '%.40s'; Darknet knows none, per_feature (per_layer) and per_channel", type);
    known = false;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) known |= !strcmp(rules[i], rule);
    if (!known) return shape_fail(b, "weights_normalization", "unknown weights_normalization '%.40s'; Darknet knows none, relu (avg_relu) and softmax", rule);
    return l->weights_type ? shape_count(b, (int64_t)l->source_count, l->weights_type == PRUNE_WEIGHTS_PER_CHANNEL ? l->c : 1, 1, &l->parameters) : PRUNE_OK;
}

static enum prune_code check_addend(const struct shape_builder *b, const struct prune_layer *l, int from, bool plain)
{
    const struct prune_layer *other = &b->net->layers[from];
    if (!b->input_is_map || !b->is_map[from])
        return shape_fail(b, NULL, "[shortcut] adds images, and layer %d is a flat vector; use another layer", b->input_is_map ? from : l->index - 1);
    /* the host walks both maps with one stride each way and demands it equal in both directions */
    if (plain && (other->out_w / l->w != other->out_h / l->h || l->w / other->out_w != l->h / other->out_h))
        return shape_fail(b, "from", "the %d x %d map of layer %d and the %d x %d map before the shortcut differ by other factors in width than in height; use a layer of the same shape",
                          other->out_w, other->out_h, from, l->w, l->h);
    if (!plain && (other->out_w != l->w || other->out_h != l->h))
        return shape_fail(b, "from", "a shortcut with several sources or weights adds maps of one width and height, and layer %d gives %d x %d where the layer before gives %d x %d; use layers of the same size",
                          from, other->out_w, other->out_h, l->w, l->h);
    return PRUNE_OK;
}

enum prune_code shape_shortcut(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = read_addends(b, l);
    if (!code) code = read_addend_weights(b, l);
    if (!code) code = shape_read_activation(b, "linear", l);
    bool plain = l->source_count == 2 && !l->weights_type;
    if (!code && l->source_count > 2 && prune_cfg_find(b->section, "from")) code = shape_dialect(b, prune_cfg_find(b->section, "from"), PRUNE_ALEXEYAB);
    for (size_t i = 1; i < l->source_count && !code; i++) code = check_addend(b, l, l->sources[i], plain);
    return code ? code : shape_keep(b, l);
}

/* from= of a multiplication; sources become {previous, from} */
static enum prune_code read_factors(struct shape_builder *b, struct prune_layer *l, int *from)
{
    const char *name = shape_kind_name(l);
    if (!prune_cfg_find(b->section, "from")) return shape_fail(b, NULL, "[%s] has no from=; name the layer to multiply with", name);
    enum prune_code code = shape_int(b, "from", 0, INT_MIN, INT_MAX, from);
    if (!code) code = shape_source(b, l, "from", *from, from);
    if (!code) code = shape_read_activation(b, "linear", l);
    if (code) return code;
    if (!b->input_is_map || !b->is_map[*from])
        return shape_fail(b, NULL, "[%s] multiplies images, and layer %d is a flat vector; use another layer", name, b->input_is_map ? *from : l->index - 1);
    int *sources = malloc(2 * sizeof *sources);
    if (!sources) return prune_fail_memory(b->st, 2 * sizeof *sources, "a multiplication");
    sources[0] = l->index - 1;
    sources[1] = *from;
    free(l->sources);
    l->sources = sources;
    l->source_count = 2;
    return PRUNE_OK;
}

enum prune_code shape_scale_channels(struct shape_builder *b, struct prune_layer *l)
{
    int at = 0;
    enum prune_code code = shape_flag(b, "scale_wh", &l->scale_wh);
    if (!code) code = read_factors(b, l, &at);
    if (code) return code;
    const struct prune_layer *from = &b->net->layers[at];
    if (!l->scale_wh && (l->w != 1 || l->h != 1 || l->c != from->out_c))
        return shape_fail(b, "from", "[scale_channels] multiplies the %d channels of layer %d by a map of 1 x 1 x %d, and the layer before gives %d x %d x %d; put [avgpool] and a convolution of %d filters in front, or say scale_wh=1",
                          from->out_c, at, from->out_c, l->w, l->h, l->c, from->out_c);
    if (l->scale_wh && (l->w != from->out_w || l->h != from->out_h || l->c != 1))
        return shape_fail(b, "from", "[scale_channels] with scale_wh=1 multiplies the %d x %d map of layer %d by a map of that size with one channel, and the layer before gives %d x %d x %d; use filters=1 there",
                          from->out_w, from->out_h, at, l->w, l->h, l->c);
    return shape_output(b, l, from->out_w, from->out_h, from->out_c);
}

enum prune_code shape_sam(struct shape_builder *b, struct prune_layer *l)
{
    int at = 0;
    enum prune_code code = read_factors(b, l, &at);
    if (code) return code;
    const struct prune_layer *from = &b->net->layers[at];
    if (from->out_w != l->w || from->out_h != l->h || from->out_c != l->c)
        return shape_fail(b, "from", "[sam] multiplies maps of one shape, and layer %d gives %d x %d x %d where the layer before gives %d x %d x %d; use a layer of the same shape",
                          at, from->out_w, from->out_h, from->out_c, l->w, l->h, l->c);
    return shape_keep(b, l);
}
