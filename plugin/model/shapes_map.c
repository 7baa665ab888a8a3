/* Shapes of layers that turn one map into another without weights of their own, or with one number per channel. */
#include "shapes.h"

#include <limits.h>

/* size, stride and the padding in all of a pooling */
static enum prune_code read_pool(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = shape_need_map(b, l);
    if (!code) code = shape_int(b, "stride", 1, 1, INT_MAX, &l->stride);
    if (!code) code = shape_strides(b, l);
    if (!code) code = shape_int(b, "size", l->stride, 1, INT_MAX, &l->size);
    if (!code) code = shape_int(b, "padding", l->size - 1, 0, INT_MAX, &l->pad);
    if (code) return code;
    /* half the padding lies left and above: a window that lies in it entirely would yield -FLT_MAX and a wild index */
    if (l->pad - l->pad / 2 >= l->size && l->pad)
        return shape_fail(b, "padding", "padding=%d makes windows of size %d that hold no pixel; use at most size-1", l->pad, l->size);
    return PRUNE_OK;
}

/* output channel i: the largest of channels i, i + n, i + 2n, ... */
static enum prune_code shape_depth_pool(const struct shape_builder *b, struct prune_layer *l)
{
    int n = 0;
    if (l->antialiasing) return shape_fail(b, "antialiasing", "antialiasing and maxpool_depth exclude each other, Darknet would blur what it did not write; remove one");
    enum prune_code code = shape_int(b, "out_channels", 1, 1, l->c, &n);
    return code ? code : shape_output(b, l, l->w, l->h, n);
}

enum prune_code shape_maxpool(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = shape_need_map(b, l);
    if (!code) code = shape_flag(b, "maxpool_depth", &l->maxpool_depth);
    if (!code) code = shape_int(b, "antialiasing", 0, 0, 2, &l->antialiasing);
    if (!code) code = read_pool(b, l);
    if (code) return code;
    if (l->maxpool_depth) return shape_depth_pool(b, l);
    code = shape_windows(b, l, l->pad, l->c);
    return code ? code : shape_blur(b, l);
}

enum prune_code shape_local_avgpool(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = read_pool(b, l);
    return code ? code : shape_windows(b, l, l->pad, l->c);
}

enum prune_code shape_avgpool(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = shape_need_map(b, l);
    return code ? code : shape_output(b, l, 1, 1, l->c);
}

enum prune_code shape_crop(struct shape_builder *b, struct prune_layer *l)
{
    int out_w = 0, out_h = 0;
    enum prune_code code = shape_need_map(b, l);
    if (!code) code = shape_int(b, "crop_height", 1, 1, l->h, &out_h);
    if (!code) code = shape_int(b, "crop_width", 1, 1, l->w, &out_w);
    return code ? code : shape_output(b, l, out_w, out_h, l->c);
}

enum prune_code shape_dropout(struct shape_builder *b, struct prune_layer *l)
{
    double p = 0.5;
    enum prune_code code = prune_cfg_float(b->cfg, b->section, "probability", 0.5, &p, b->st);
    if (code) return code;
    if (!l->index) return shape_fail(b, NULL, "[dropout] is the first layer, and the host lets it work on the output of the layer before; put a layer in front");
    if (p < 0 || p >= 1) return shape_fail(b, "probability", "probability=%g; use 0 or more and less than 1", p);
    b->output_is_map = b->input_is_map;
    return shape_keep(b, l);
}

enum prune_code shape_upsample(struct shape_builder *b, struct prune_layer *l)
{
    int stride = 0;
    enum prune_code code = shape_need_map(b, l);
    if (!code) code = shape_int(b, "stride", 2, -INT_MAX, INT_MAX, &stride);
    if (code) return code;
    if (!stride) return shape_fail(b, "stride", "stride is 0; use 1 or more (or -2 and less to shrink)");
    l->reverse = stride < 0;
    l->stride = l->reverse ? -stride : stride;
    if (!l->reverse) return shape_output(b, l, (int64_t)l->w * stride, (int64_t)l->h * stride, l->c);
    if (l->w < l->stride || l->h < l->stride) return shape_fail(b, "stride", "stride=%d leaves nothing of the %d x %d input; use less", stride, l->w, l->h);
    return shape_output(b, l, l->w / l->stride, l->h / l->stride, l->c);
}

enum prune_code shape_reorg(struct shape_builder *b, struct prune_layer *l)
{
    int extra = 0;
    enum prune_code code = shape_need_map(b, l);
    if (!code) code = shape_int(b, "stride", 1, 1, 1 << 14, &l->stride);
    if (!code) code = shape_flag(b, "reverse", &l->reverse);
    if (!code) code = shape_flag(b, "flatten", &l->flatten);
    if (!code) code = shape_int(b, "extra", 0, 0, INT_MAX, &extra);
    if (code) return code;
    if (extra) return shape_flat(b, l, (int64_t)l->inputs + extra, false);
    int s = l->stride;
    if (l->c % (s * s)) return shape_fail(b, "stride", "[reorg] with stride=%d moves blocks of %d channels, and the input has %d; use a multiple", s, s * s, l->c);
    if (l->reverse) return shape_output(b, l, (int64_t)l->w * s, (int64_t)l->h * s, l->c / (s * s));
    if (l->w % s || l->h % s) return shape_fail(b, "stride", "stride=%d does not divide the %d x %d input; the host would write beyond its output", s, l->w, l->h);
    return shape_output(b, l, l->w / s, l->h / s, (int64_t)l->c * s * s);
}

enum prune_code shape_reorg3d(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = shape_need_map(b, l);
    if (!code) code = shape_int(b, "stride", 1, 1, 1 << 14, &l->stride);
    if (!code) code = shape_flag(b, "reverse", &l->reverse);
    if (code) return code;
    int s = l->stride;
    if (l->reverse) return shape_fail(b, "reverse", "[reorg3d] with reverse=1 writes beyond its output in Darknet; use [upsample], or remove the key");
    if (l->w % s || l->h % s) return shape_fail(b, "stride", "stride=%d does not divide the %d x %d input; use a divisor of both", s, l->w, l->h);
    return shape_output(b, l, l->w / s, l->h / s, (int64_t)l->c * s * s);
}

enum prune_code shape_batchnorm(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = shape_need_map(b, l);
    if (code) return code;
    l->batch_normalize = true;
    l->parameters = (uint64_t)l->c; /* scales; AlexeyAB's Darknet stores its biases too: net_shape.c adds them */
    return shape_keep(b, l);
}

enum prune_code shape_activation(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = shape_read_activation(b, "linear", l);
    b->output_is_map = b->input_is_map;
    return code ? code : shape_keep(b, l);
}

enum prune_code shape_same(struct shape_builder *b, struct prune_layer *l)
{
    b->output_is_map = b->input_is_map;
    return shape_keep(b, l);
}

/* Darknet takes the buffer of the layer before, whatever it is. */
enum prune_code shape_empty(struct shape_builder *b, struct prune_layer *l)
{
    if (!l->index) return shape_fail(b, NULL, "[%s] is the first layer, and Darknet lets it take the output of the layer before; put a layer in front", b->section->name);
    return shape_same(b, l);
}

enum prune_code shape_normalization(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = shape_need_map(b, l);
    if (!code) code = shape_int(b, "size", 5, 1, INT_MAX, &l->size);
    return code ? code : shape_keep(b, l);
}

enum prune_code shape_history(struct shape_builder *b, struct prune_layer *l)
{
    int size = 0;
    enum prune_code code = shape_need_map(b, l);
    if (!code) code = shape_int(b, "history_size", 4, 1, INT_MAX, &size);
    return code ? code : shape_output(b, l, l->w, l->h, (int64_t)l->c * size);
}
