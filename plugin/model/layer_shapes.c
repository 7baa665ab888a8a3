/* What the shape functions share, and the table of them; see shapes.h. Kinds by meaning: shapes_conv.c (layers with weights),
 * shapes_map.c (one map in, one map out), shapes_join.c (several layers in), shapes_head.c (heads and losses), shapes_recurrent.c.
 * Dimension letters: w, h, c = input map; n = filters or outputs; k = kernel side; s = stride; p = padding; g = groups.
 * Formulas are those of the host as its printed layer table shows them (tests/host/test_shapes_equal_host.c compares all) and, for
 * what only AlexeyAB's and hank-ai's Darknet have, those of docs/dialects.md. */
#include "shapes.h"

#include <limits.h>
#include <string.h>

const char *shape_kind_name(const struct prune_layer *l)
{
    return prune_kind_info(l->kind)->name;
}

enum prune_code shape_need_map(const struct shape_builder *b, const struct prune_layer *l)
{
    if (b->input_is_map) return PRUNE_OK;
    return shape_fail(b, NULL, "[%s] needs an image of width x height x channels, and what comes before is a flat vector of %d numbers; remove it or change the layer before", shape_kind_name(l), l->inputs);
}

enum prune_code shape_keep(const struct shape_builder *b, struct prune_layer *l)
{
    return shape_output(b, l, l->w, l->h, l->c);
}

enum prune_code shape_flat(struct shape_builder *b, struct prune_layer *l, int64_t outputs, bool map)
{
    b->output_is_map = map;
    return shape_output(b, l, 1, 1, outputs);
}

enum prune_code shape_activation_named(struct shape_builder *b, const char *key, const char *fallback, enum prune_activation *out)
{
    const struct prune_option *o = prune_cfg_find(b->section, key);
    const char *name = o ? o->value : fallback;
    if (!prune_activation_by_name(name, out) && strpbrk(name, "#;"))
        return shape_fail(b, key, "activation '%.40s': Darknet takes a comment behind a name for a part of it; put the comment on a line of its own", name);
    if (!prune_activation_by_name(name, out))
        return shape_fail(b, key, "unknown activation '%.40s'; Darknets know linear, relu, leaky, logistic, swish, mish and those that docs/dialects.md lists", name);
    return o ? shape_dialect(b, o, prune_activation_info(*out)->dialects) : PRUNE_OK;
}

enum prune_code shape_read_activation(struct shape_builder *b, const char *fallback, struct prune_layer *l)
{
    return shape_activation_named(b, "activation", fallback, &l->activation);
}

enum prune_code shape_flag(const struct shape_builder *b, const char *key, bool *out)
{
    int value = 0;
    enum prune_code code = shape_int(b, key, 0, INT_MIN, INT_MAX, &value);
    *out = value != 0;
    return code;
}

enum prune_code shape_count(const struct shape_builder *b, int64_t a, int64_t c, int64_t kk, uint64_t *out)
{
    int64_t product;
    if (__builtin_mul_overflow(a, c, &product) || __builtin_mul_overflow(product, kk, &product) || product > INT_MAX)
        return shape_fail(b, NULL, "the layer has more than %d weights, beyond what Darknet can count; make it smaller", INT_MAX);
    *out = (uint64_t)product;
    return PRUNE_OK;
}

void shape_set_macs(struct shape_builder *b, struct prune_layer *l, uint64_t per_location, uint64_t locations)
{
    if (__builtin_mul_overflow(per_location, locations, &l->macs)) b->too_much_work = true;
}

enum prune_code shape_window(const struct shape_builder *b, struct prune_layer *l, int size)
{
    int pad = 0;
    enum prune_code code = shape_int(b, "size", size, 1, 1 << 14, &l->size);
    if (!code) code = shape_int(b, "stride", 1, 1, INT_MAX, &l->stride);
    if (!code) code = shape_int(b, "pad", 0, INT_MIN, INT_MAX, &pad);
    if (!code) code = shape_int(b, "padding", 0, 0, 1 << 14, &l->pad);
    if (pad) l->pad = l->size / 2;
    return code;
}

enum prune_code shape_strides(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = shape_int(b, "stride_x", l->stride, 1, INT_MAX, &l->stride_x);
    if (!code) code = shape_int(b, "stride_y", l->stride, 1, INT_MAX, &l->stride_y);
    if (!code && l->stride_x != l->stride) code = shape_dialect(b, prune_cfg_find(b->section, "stride_x"), PRUNE_ALEXEYAB);
    if (!code && l->stride_y != l->stride) code = shape_dialect(b, prune_cfg_find(b->section, "stride_y"), PRUNE_ALEXEYAB);
    return code;
}

enum prune_code shape_dilation(struct shape_builder *b, struct prune_layer *l)
{
    enum prune_code code = shape_int(b, "dilation", 1, 1, 1 << 14, &l->dilation);
    if (code || l->dilation == 1) return code;
    if (l->size == 1) {
        l->dilation = 1; /* as Darknet, which ignores it there */
        return PRUNE_OK;
    }
    if (2 * l->pad != l->size - 1)
        return shape_fail(b, "dilation", "dilation=%d with size=%d and padding %d: Darknet sizes the output as without dilation, which holds only for an odd size and padding (size-1)/2; use pad=1 with an odd size",
                          l->dilation, l->size, l->pad);
    return shape_dialect(b, prune_cfg_find(b->section, "dilation"), PRUNE_ALEXEYAB);
}

enum prune_code shape_windows(const struct shape_builder *b, struct prune_layer *l, int padding, int channels)
{
    int64_t free_w = (int64_t)l->w + padding - l->size, free_h = (int64_t)l->h + padding - l->size;
    if (free_w < 0 || free_h < 0)
        return shape_fail(b, "size", "a window of %d does not fit the %d x %d input with padding %d; use a smaller size or more padding", l->size, l->w, l->h, l->pad);
    int step_x = l->antialiasing ? 1 : l->stride_x, step_y = l->antialiasing ? 1 : l->stride_y;
    return shape_output(b, l, free_w / step_x + 1, free_h / step_y + 1, channels);
}

enum prune_code shape_blur(const struct shape_builder *b, struct prune_layer *l)
{
    l->sharp_w = l->out_w;
    l->sharp_h = l->out_h;
    if (!l->antialiasing) return PRUNE_OK;
    int lost = l->antialiasing == 1 ? 1 : 2; /* 3x3 with padding 1, 2x2 without */
    if (l->out_w < lost || l->out_h < lost)
        return shape_fail(b, "antialiasing", "the 2x2 blur of antialiasing=2 does not fit the %d x %d map; use antialiasing=1", l->out_w, l->out_h);
    return shape_output(b, l, (l->out_w - lost) / l->stride_x + 1, (l->out_h - lost) / l->stride_y + 1, l->out_c);
}

enum prune_code shape_resolve(const struct shape_builder *b, const struct prune_layer *l, const char *key, int number, int *out)
{
    int64_t at = number < 0 ? (int64_t)l->index + number : number;
    if (at >= 0 && at < l->index) {
        *out = (int)at;
        return PRUNE_OK;
    }
    if (!l->index) return shape_fail(b, key, "%s=%d, but no layer comes before this one; put a layer in front", key, number);
    return shape_fail(b, key, "%s=%d means layer %lld, and only layers 0 to %d come before this one; use one of them (or -1 to -%d)", key, number, (long long)at, l->index - 1, l->index);
}

enum prune_code shape_source(const struct shape_builder *b, const struct prune_layer *l, const char *key, int number, int *out)
{
    enum prune_code code = shape_resolve(b, l, key, number, out);
    if (code) return code;
    const struct prune_layer *from = &b->net->layers[*out];
    if (from->sharp_w == from->out_w && from->sharp_h == from->out_h) return PRUNE_OK;
    return shape_fail(b, key, "%s=%d reads layer %d by its number, where Darknet keeps the %d x %d map before the blur of antialiasing=%d and not the %d x %d map behind it; put another layer in between",
                      key, number, *out, from->sharp_w, from->sharp_h, from->antialiasing, from->out_w, from->out_h);
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
        [PRUNE_SCALE_CHANNELS] = shape_scale_channels,
        [PRUNE_SAM] = shape_sam,
        [PRUNE_LOCAL_AVGPOOL] = shape_local_avgpool,
        [PRUNE_REORG3D] = shape_reorg3d,
        [PRUNE_EMPTY] = shape_empty,
        [PRUNE_IMPLICIT] = shape_implicit,
        [PRUNE_GAUSSIAN_YOLO] = shape_gaussian_yolo,
        [PRUNE_CONTRASTIVE] = shape_contrastive,
        [PRUNE_CONV_LSTM] = shape_conv_lstm,
        [PRUNE_HISTORY] = shape_history,
    };
    b->output_is_map = true;
    return shapes[l->kind](b, l);
}
