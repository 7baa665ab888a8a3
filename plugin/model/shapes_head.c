/* Shapes of heads and losses: each checks that the layer before gives as many channels as its classes and anchors need. */
#include "shapes.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum prune_code shape_softmax(struct shape_builder *b, struct prune_layer *l)
{
    int groups = 1;
    enum prune_code code = shape_int(b, "groups", 1, 1, INT_MAX, &groups);
    if (code) return code;
    if (l->inputs % groups) return shape_fail(b, "groups", "groups=%d does not divide the %d inputs; use a divisor", groups, l->inputs);
    l->classes = l->inputs;
    return shape_flat(b, l, l->inputs, false);
}

enum prune_code shape_cost(struct shape_builder *b, struct prune_layer *l)
{
    static const char *const types[] = {"sse", "masked", "smooth", "L1", "seg", "wgan"};
    const char *type = prune_cfg_string(b->section, "type", "sse");
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(types[i], type)) return shape_flat(b, l, l->inputs, false);
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
    enum prune_code code = shape_need_map(b, l);
    if (code || l->c == needed) return code;
    return shape_fail(b, NULL, "[%s] reads %lld channels (%s), and the layer before gives %d; set its filters=%lld", shape_kind_name(l), (long long)needed, formula, l->c, (long long)needed);
}

/* The anchors a yolo layer uses: those of its mask, or all. */
static enum prune_code read_mask(const struct shape_builder *b, struct prune_layer *l, int total)
{
    int *mask = NULL;
    size_t count = 0;
    enum prune_code code = prune_cfg_int_list(b->cfg, b->section, "mask", &mask, &count, b->st);
    for (size_t i = 0; i < count && !code; i++)
        if (mask[i] < 0 || mask[i] >= total) code = shape_fail(b, "mask", "mask names anchor %d, and num=%d; use 0 to %d", mask[i], total, total - 1);
    free(mask);
    if (!code && count > (size_t)total) code = shape_fail(b, "mask", "mask names %zu anchors, and num=%d; use each once", count, total);
    l->num = count ? (int)count : total;
    return code;
}

/* per_anchor: numbers besides the classes */
static enum prune_code read_yolo(const struct shape_builder *b, struct prune_layer *l, int per_anchor, const char *formula)
{
    int total = 0, max = 0;
    enum prune_code code = shape_int(b, "classes", 20, 1, 1 << 24, &l->classes);
    if (!code) code = shape_int(b, "num", 1, 1, 1 << 14, &total);
    if (!code) code = shape_int(b, "max", 90, 1, INT_MAX, &max);
    if (!code) code = read_mask(b, l, total);
    if (code) return code;
    l->coords = 4;
    code = need_anchors(b, total);
    if (!code) code = need_filters(b, l, ((int64_t)l->classes + per_anchor) * l->num, formula);
    return code ? code : shape_keep(b, l);
}

enum prune_code shape_yolo(struct shape_builder *b, struct prune_layer *l)
{
    enum { NONE = 999999 };
    int at = NONE;
    enum prune_code code = read_yolo(b, l, 5, "(classes + 5) * anchors of its mask");
    if (!code) code = shape_int(b, "embedding_layer", NONE, INT_MIN, INT_MAX, &at);
    if (code || at == NONE) return code;
    code = shape_source(b, l, "embedding_layer", at, &at);
    if (code) return code;
    if (b->net->layers[at].out_c % l->num)
        return shape_fail(b, "embedding_layer", "the %d channels of layer %d do not divide among %d anchors; use a multiple", b->net->layers[at].out_c, at, l->num);
    int *sources = realloc(l->sources, 2 * sizeof *sources);
    if (!sources) return prune_fail_memory(b->st, 2 * sizeof *sources, "a head");
    sources[1] = at;
    l->sources = sources;
    l->source_count = 2;
    return PRUNE_OK;
}

enum prune_code shape_gaussian_yolo(struct shape_builder *b, struct prune_layer *l)
{
    return read_yolo(b, l, 9, "(classes + 9) * anchors of its mask");
}

enum prune_code shape_region(struct shape_builder *b, struct prune_layer *l)
{
    int max = 0;
    enum prune_code code = shape_int(b, "classes", 20, 1, 1 << 24, &l->classes);
    if (!code) code = shape_int(b, "coords", 4, 4, 1 << 14, &l->coords);
    if (!code) code = shape_int(b, "num", 1, 1, 1 << 14, &l->num);
    if (!code) code = shape_int(b, "max", 30, 1, INT_MAX, &max);
    if (!code) code = need_anchors(b, l->num);
    if (!code) code = need_filters(b, l, ((int64_t)l->classes + l->coords + 1) * l->num, "(classes + coords + 1) * num");
    return code ? code : shape_keep(b, l);
}

enum prune_code shape_iseg(struct shape_builder *b, struct prune_layer *l)
{
    int ids = 0, max = 0;
    enum prune_code code = shape_int(b, "classes", 20, 1, 1 << 24, &l->classes);
    if (!code) code = shape_int(b, "ids", 32, 1, 1 << 24, &ids);
    if (!code) code = shape_int(b, "max", 90, 1, 90, &max);
    if (!code) code = need_filters(b, l, (int64_t)l->classes + ids, "classes + ids");
    return code ? code : shape_keep(b, l);
}

enum prune_code shape_detection(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = shape_int(b, "classes", 1, 1, 1 << 24, &l->classes);
    if (!code) code = shape_int(b, "coords", 1, 1, 1 << 10, &l->coords);
    if (!code) code = shape_int(b, "num", 1, 1, 1 << 10, &l->num);
    if (!code) code = shape_int(b, "side", 7, 1, 1 << 10, &l->side);
    if (code) return code;
    int64_t needed = (int64_t)l->side * l->side * ((int64_t)(1 + l->coords) * l->num + l->classes);
    if (needed != l->inputs)
        return shape_fail(b, NULL, "[detection] reads %lld numbers (side^2 * ((1 + coords) * num + classes)), and the layer before gives %d; set its output=%lld", (long long)needed, l->inputs, (long long)needed);
    return shape_flat(b, l, l->inputs, false);
}

enum prune_code shape_contrastive(struct shape_builder *b, struct prune_layer *l)
{
    int at = 0;
    enum prune_code code = shape_int(b, "classes", 1000, 1, 1 << 24, &l->classes);
    if (!code) code = shape_int(b, "yolo_layer", 0, INT_MIN, INT_MAX, &at);
    if (!code && at) code = shape_resolve(b, l, "yolo_layer", at, &l->refers_to); /* 0: none */
    if (code) return code;
    if (l->refers_to >= 0 && b->net->layers[l->refers_to].kind != PRUNE_YOLO)
        return shape_fail(b, "yolo_layer", "yolo_layer=%d means layer %d, which is [%s]; name a yolo layer", at, l->refers_to, shape_kind_name(&b->net->layers[l->refers_to]));
    return shape_same(b, l);
}
