/* Layers that work on each plane by itself, and those that only move or scale values; also the channel norms. See kinds.h. */
#include "kinds.h"

#include <math.h>
#include <string.h>

/* Each channel on its own: 3x3 (1 2 1; 2 4 2; 1 2 1) / 16 with padding 1, or 2x2 quarters. */
void ref_blur(const struct ref_layer *l, const double *in, double *out)
{
    static const double wide[9] = {1 / 16., 2 / 16., 1 / 16., 2 / 16., 4 / 16., 2 / 16., 1 / 16., 2 / 16., 1 / 16.}, narrow[4] = {.25, .25, .25, .25};
    int k = l->antialiasing == 1 ? 3 : 2, pad = k == 3;
    for (int c = 0; c < l->out_c; c++)
        for (int y = 0; y < l->out_h; y++)
            for (int x = 0; x < l->out_w; x++) {
                double sum = 0;
                for (int i = 0; i < k * k; i++) {
                    int in_y = y * l->stride_y + i / k - pad, in_x = x * l->stride_x + i % k - pad;
                    if (in_y >= 0 && in_y < l->sharp_h && in_x >= 0 && in_x < l->sharp_w)
                        sum += (k == 3 ? wide : narrow)[i] * in[((size_t)c * (size_t)l->sharp_h + (size_t)in_y) * (size_t)l->sharp_w + (size_t)in_x];
                }
                *out++ = sum;
            }
}

/* ---- maxpool and local_avgpool ---- */

static void shape_maxpool(struct ref_net *net, struct ref_layer *l)
{
    int stride = ref_int(net, l, "stride", 1);
    l->stride_x = ref_int(net, l, "stride_x", stride);
    l->stride_y = ref_int(net, l, "stride_y", stride);
    l->size = ref_int(net, l, "size", stride);
    l->pad = ref_int(net, l, "padding", l->size - 1);
    l->antialiasing = ref_int(net, l, "antialiasing", 0);
    l->flag = ref_int(net, l, "maxpool_depth", 0) != 0;
    l->mode = !strncmp(l->kind->name, "local", 5);
    if (l->stride_x < 1 || l->stride_y < 1 || l->size < 1) {
        ref_fail(net, l, "size %d, stride %d %d", l->size, l->stride_x, l->stride_y);
        return;
    }
    int n = l->flag ? ref_int(net, l, "out_channels", 1) : l->c, sx = l->antialiasing ? 1 : l->stride_x, sy = l->antialiasing ? 1 : l->stride_y;
    l->sharp_w = l->flag ? l->w : (l->w + l->pad - l->size) / sx + 1;
    l->sharp_h = l->flag ? l->h : (l->h + l->pad - l->size) / sy + 1;
    ref_set_output(l, l->sharp_w, l->sharp_h, n);
    if (l->antialiasing == 1) ref_set_output(l, (l->sharp_w - 1) / l->stride_x + 1, (l->sharp_h - 1) / l->stride_y + 1, n);
    if (l->antialiasing > 1) ref_set_output(l, (l->sharp_w - 2) / l->stride_x + 1, (l->sharp_h - 2) / l->stride_y + 1, n);
}

/* The largest of channels g, g + n, g + 2n, ... */
static void pool_depth(const struct ref_layer *l, const double *in, double *out)
{
    size_t area = (size_t)l->w * (size_t)l->h;
    for (size_t i = 0; i < area * (size_t)l->out_c; i++) {
        double top = -INFINITY;
        for (size_t k = i; k < area * (size_t)l->c; k += area * (size_t)l->out_c) top = fmax(top, in[k]);
        out[i] = top;
    }
}

/* Largest value, or mean (mode), of the pixels of each window that lie in the map; half of the padding, rounded down, is left and above. */
static void pool_window(const struct ref_layer *l, const double *in, double *out)
{
    int sx = l->antialiasing ? 1 : l->stride_x, sy = l->antialiasing ? 1 : l->stride_y;
    for (int c = 0; c < l->c; c++)
        for (int y = 0; y < l->sharp_h; y++)
            for (int x = 0; x < l->sharp_w; x++) {
                double top = -INFINITY, sum = 0;
                int seen = 0;
                for (int i = 0; i < l->size * l->size; i++) {
                    int in_y = y * sy + i / l->size - l->pad / 2, in_x = x * sx + i % l->size - l->pad / 2;
                    if (in_y < 0 || in_y >= l->h || in_x < 0 || in_x >= l->w) continue;
                    double v = in[((size_t)c * (size_t)l->h + (size_t)in_y) * (size_t)l->w + (size_t)in_x];
                    top = fmax(top, v);
                    sum += v;
                    seen++;
                }
                *out++ = l->mode ? sum / seen : top;
            }
}

static void run_maxpool(const struct ref_net *net, struct ref_layer *l)
{
    double *sharp = l->antialiasing ? ref_alloc((size_t)l->sharp_w * (size_t)l->sharp_h * (size_t)l->out_c, sizeof *sharp) : l->output;
    (l->flag ? pool_depth : pool_window)(l, ref_input(net, l, 0), sharp);
    if (!l->antialiasing) return;
    ref_blur(l, sharp, l->output);
    free(sharp);
}

/* ---- the rest ---- */

static void shape_avgpool(struct ref_net *net, struct ref_layer *l)
{
    (void)net;
    ref_set_output(l, 1, 1, l->c);
}

static void run_avgpool(const struct ref_net *net, struct ref_layer *l)
{
    const double *in = ref_input(net, l, 0);
    size_t area = (size_t)l->w * (size_t)l->h;
    for (int c = 0; c < l->c; c++) {
        l->output[c] = 0;
        for (size_t i = 0; i < area; i++) l->output[c] += in[(size_t)c * area + i] / (double)area;
    }
}

static void shape_crop(struct ref_net *net, struct ref_layer *l)
{
    l->flag = ref_int(net, l, "noadjust", 0) != 0;
    ref_set_output(l, ref_int(net, l, "crop_width", 1), ref_int(net, l, "crop_height", 1), l->c);
}

/* The middle; 2x - 1 unless noadjust. */
static void run_crop(const struct ref_net *net, struct ref_layer *l)
{
    const double *in = ref_input(net, l, 0);
    double *out = l->output;
    for (int c = 0; c < l->c; c++)
        for (int y = 0; y < l->out_h; y++)
            for (int x = 0; x < l->out_w; x++) {
                double v = in[(c * l->h + y + (l->h - l->out_h) / 2) * l->w + x + (l->w - l->out_w) / 2];
                *out++ = l->flag ? v : 2 * v - 1;
            }
}

static void shape_upsample(struct ref_net *net, struct ref_layer *l)
{
    int s = ref_int(net, l, "stride", 2);
    l->a = ref_number(net, l, "scale", 1);
    l->flag = s < 0;
    l->stride_x = abs(s);
    if (!s) ref_fail(net, l, "stride 0");
    else if (l->flag) ref_set_output(l, l->w / l->stride_x, l->h / l->stride_x, l->c);
    else ref_set_output(l, l->w * s, l->h * s, l->c);
}

/* Repeats every value; with a negative stride sums up the values of each square. */
static void run_upsample(const struct ref_net *net, struct ref_layer *l)
{
    const double *in = ref_input(net, l, 0);
    int s = l->stride_x, wide = l->flag ? l->out_w * s : l->out_w, high = l->flag ? l->out_h * s : l->out_h;
    memset(l->output, 0, l->outputs * sizeof *l->output);
    for (int c = 0; c < l->c; c++)
        for (int y = 0; y < high; y++)
            for (int x = 0; x < wide; x++) {
                int large = (c * high + y) * wide + x, small = (c * (high / s) + y / s) * (wide / s) + x / s;
                if (l->flag) l->output[small] += l->a * in[large];
                else l->output[large] = l->a * in[small];
            }
}

static void shape_reorg(struct ref_net *net, struct ref_layer *l)
{
    int s = l->stride_x = ref_int(net, l, "stride", 1), extra = ref_int(net, l, "extra", 0);
    l->flag = ref_int(net, l, "reverse", 0) != 0;
    l->mode = extra ? 2 : ref_int(net, l, "flatten", 0) ? 1 : 0;
    if (s < 1) ref_fail(net, l, "stride %d", s);
    else if (extra) ref_set_output(l, 1, 1, (int)l->inputs + extra);
    else if (l->flag) ref_set_output(l, l->w * s, l->h * s, l->c / (s * s));
    else ref_set_output(l, l->w / s, l->h / s, l->c * s * s);
}

/* The input's memory is seen as c/s^2 channels of (w s) x (h s), of which each output channel takes one sub-grid; reverse is the inverse map.
 * flatten transposes between channels and places; extra adds zeros behind. */
static void run_reorg(const struct ref_net *net, struct ref_layer *l)
{
    const double *in = ref_input(net, l, 0);
    int s = l->stride_x, area = l->w * l->h, few = l->c / (s * s);
    memset(l->output, 0, l->outputs * sizeof *l->output);
    for (int k = 0; k < l->c; k++)
        for (int p = 0; p < area; p++) {
            int here = k * area + p;
            if (l->mode == 2) l->output[here] = in[here];
            else if (l->mode == 1 && l->flag) l->output[here] = in[p * l->c + k];
            else if (l->mode == 1) l->output[p * l->c + k] = in[here];
            else {
                int x = p % l->w * s + k / few % s, y = p / l->w * s + k / few / s, there = x + l->w * s * (y + l->h * s * (k % few));
                if (l->flag) l->output[there] = in[here];
                else l->output[here] = in[there];
            }
        }
}

static void shape_reorg3d(struct ref_net *net, struct ref_layer *l)
{
    int s = l->stride_x = ref_int(net, l, "stride", 1);
    if (s < 1 || ref_int(net, l, "reverse", 0)) ref_fail(net, l, "stride %d or reverse", s);
    else ref_set_output(l, l->w / s, l->h / s, l->c * s * s);
}

/* Output channel i takes every s-th pixel of input channel i mod c, from the place i / c of the square. */
static void run_reorg3d(const struct ref_net *net, struct ref_layer *l)
{
    const double *in = ref_input(net, l, 0);
    double *out = l->output;
    int s = l->stride_x;
    for (int i = 0; i < l->out_c; i++)
        for (int y = 0; y < l->out_h; y++)
            for (int x = 0; x < l->out_w; x++) *out++ = in[(i % l->c * l->h + y * s + i / l->c / s) * l->w + x * s + i / l->c % s];
}

static void shape_activation(struct ref_net *net, struct ref_layer *l)
{
    l->activation = ref_activation_of(net, l, "activation", strcmp(l->kind->name, "logistic") ? "linear" : "logistic");
}

static void run_activation(const struct ref_net *net, struct ref_layer *l)
{
    memcpy(l->output, ref_input(net, l, 0), l->outputs * sizeof *l->output);
    ref_activate(l->activation, l->output, l->out_c, (size_t)l->out_w * (size_t)l->out_h);
}

static void shape_same(struct ref_net *net, struct ref_layer *l)
{
    (void)net;
    (void)l;
}

static void run_same(const struct ref_net *net, struct ref_layer *l)
{
    memcpy(l->output, ref_input(net, l, 0), l->outputs * sizeof *l->output);
}

static void run_l2norm(const struct ref_net *net, struct ref_layer *l)
{
    const double *in = ref_input(net, l, 0);
    size_t area = (size_t)l->w * (size_t)l->h;
    for (size_t i = 0; i < area; i++) {
        double sum = 0;
        for (size_t k = i; k < l->inputs; k += area) sum += in[k] * in[k];
        for (size_t k = i; k < l->inputs; k += area) l->output[k] = sum > 0 ? in[k] / sqrt(sum) : 0;
    }
}

static void shape_normalization(struct ref_net *net, struct ref_layer *l)
{
    l->size = ref_int(net, l, "size", 5);
    l->a = ref_number(net, l, "alpha", .0001);
    l->b = ref_number(net, l, "beta", .75);
    l->kappa = ref_number(net, l, "kappa", 1);
}

/* x (kappa + alpha * sum of squares of neighbours)^-beta, with the running sum of the host: it starts with channels below size/2. */
static void run_normalization(const struct ref_net *net, struct ref_layer *l)
{
    const double *in = ref_input(net, l, 0);
    size_t area = (size_t)l->w * (size_t)l->h;
    for (size_t i = 0; i < area; i++) {
        double norm = l->kappa;
        for (int k = 0; k < l->size / 2 && k < l->c; k++) norm += l->a * pow(in[(size_t)k * area + i], 2);
        for (int k = 0; k < l->c; k++) {
            int gone = k - (l->size - 1) / 2 - 1, next = k + l->size / 2;
            if (k && gone >= 0) norm -= l->a * pow(in[(size_t)gone * area + i], 2);
            if (k && next < l->c) norm += l->a * pow(in[(size_t)next * area + i], 2);
            l->output[(size_t)k * area + i] = in[(size_t)k * area + i] * pow(norm, -l->b);
        }
    }
}

const struct ref_kind ref_planes[] = {
    {"maxpool", "max", shape_maxpool, run_maxpool, false},
    {"local_avgpool", "local_avg", shape_maxpool, run_maxpool, true},
    {"avgpool", "avg", shape_avgpool, run_avgpool, false},
    {"crop", NULL, shape_crop, run_crop, false},
    {"upsample", NULL, shape_upsample, run_upsample, false},
    {"reorg", NULL, shape_reorg, run_reorg, false},
    {"reorg3d", NULL, shape_reorg3d, run_reorg3d, true},
    {"activation", NULL, shape_activation, run_activation, false},
    {"logistic", NULL, shape_activation, run_activation, false},
    {"dropout", NULL, shape_same, run_same, false},
    {"empty", "silence", shape_same, run_same, true},
    {"l2norm", NULL, shape_same, run_l2norm, false},
    {"normalization", "lrn", shape_normalization, run_normalization, false},
    {NULL, NULL, NULL, NULL, false},
};
