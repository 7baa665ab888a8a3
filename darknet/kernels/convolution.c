/* Convolutional layers, forward: any size, stride, padding and groups, by direct sums over packed planes (conv_plan.h), with bias and
 * activation, or the batch statistics, taken while a tile is still in the cache. Replaces forward_convolutional_layer; binary and xnor
 * layers go to the host. The backward pass is in conv_back.c. */
#include "batchnorm.h"
#include "conv_plan.h"
#include "activation.h"
#include "inference.h"
#include "overrides.h"
#include "pool.h"
#include "stock.h"
#include "vector.h"
#include "winograd.h"

enum { TILE_FLOATS = 768 };


struct forward_job {
    struct conv_plan plan;
    const layer *l;
    const float *input, *weights;      /* weights packed */
    const int32_t *offsets;
    enum conv_finish_kind finish;
    enum vector_activation f;
    struct moments *moments;           /* (units, n) */
};

/* A run of rows of one image, written to row y of filter f; the values come from `tile` with row pitch `pitch`. */
static void finish_rows(const struct forward_job *j, int unit, int image, int f, int y, int rows, const float *tile)
{
    const struct conv_plan *p = &j->plan;
    const struct vector_ops *ops = vector_ops();
    size_t ow = (size_t)p->ow, n = (size_t)rows * ow;
    size_t at = ((size_t)image * (size_t)p->n + (size_t)f) * (size_t)p->oh * ow + (size_t)y * ow;
    float *out = (j->finish == FINISH_ACTIVATE ? j->l->output : j->l->x) + at, a = 1, b = 0;

    if (p->pitch == p->ow) {
        if (out != j->l->output + at) memcpy(out, tile, n * sizeof *out);
    } else {
        ops->copy_rows((size_t)rows, ow, tile, (size_t)p->pitch, out, ow, 0);
        tile = out;
    }
    if (j->finish == FINISH_MOMENTS) {
        float mean = ops->sum(n, out) / (float)n;
        moments_merge(&j->moments[unit * p->n + f], (double)n, (double)mean, (double)ops->squares(n, out, mean));
        return;
    }
    if (j->finish == FINISH_NORMALISE) batchnorm_coefficients(*j->l, true, f, &a, &b);
    else b = j->l->biases[f];
    ops->affine(n, tile, a, b, j->f, j->l->output + at);
}

/* Output rows first..last-1 of the unit's packed plane, which may belong to several images with gaps between them. */
static void finish_tile(const struct forward_job *j, int unit, struct conv_unit u, int f, int first, int last, const float *tile)
{
    const struct conv_plan *p = &j->plan;

    for (int r = first; r < last;) {
        int image = p->images > 1 ? r / p->image_rows : 0, y = p->images > 1 ? r % p->image_rows : r;
        int height = u.y1 - u.y0, rows = height - y < last - r ? height - y : last - r;
        if (rows > 0) finish_rows(j, unit, u.image + image, f, u.y0 + y, rows, tile + (r - first) * p->pitch);
        r = y < height ? r + rows : (image + 1) * p->image_rows;
    }
}

static void forward_block(const struct forward_job *j, int unit, struct conv_unit u, int f0, int rows, const float *w, const float *x, float *tile,
                          size_t stride)
{
    const struct conv_plan *p = &j->plan;
    int height = p->images > 1 ? (u.images - 1) * p->image_rows + p->oh : u.y1 - u.y0;
    int step = TILE_FLOATS / p->pitch > 1 ? TILE_FLOATS / p->pitch : 1;

    for (int r = 0; r < height; r += step) {
        int last = r + step < height ? r + step : height;
        vector_ops()->correlate(rows, (size_t)p->terms, w, j->offsets, x + r * p->pitch, tile, (ptrdiff_t)stride,
                                (size_t)((last - r - 1) * p->pitch + p->ow));
        for (int k = 0; k < rows; ++k) finish_tile(j, unit, u, f0 + k, r, last, tile + (size_t)k * stride);
    }
}

static void forward_unit(const struct forward_job *j, int unit, int first, int last, int thread)
{
    const struct conv_plan *p = &j->plan;
    struct conv_unit u = conv_plan_unit(p, unit);
    int block = vector_ops()->rows, per_group = (p->ng + block - 1) / block, packed = -1;
    size_t plane = (size_t)p->h * (size_t)p->w, stride = (size_t)(p->pitch > TILE_FLOATS ? p->pitch : TILE_FLOATS) + 32;
    float *tile = pool_scratch(thread, POOL_TILE, stride * (size_t)block);
    float *buffer = p->direct ? NULL : pool_scratch(thread, POOL_INPUT, conv_input_stride(p) * (size_t)p->cg);

    for (int b = first; b < last; ++b) {
        int g = b / per_group, f0 = b % per_group * block, rows = p->ng - f0 < block ? p->ng - f0 : block;
        const float *x = buffer;
        if (p->direct) {
            x = j->input + ((size_t)u.image * (size_t)p->c + (size_t)(g * p->cg)) * plane + (size_t)(u.y0 * p->w);
        } else if (g != packed) {
            conv_pack_input(p, u, g, j->input, buffer);
            packed = g;
        }
        forward_block(j, unit, u, g * p->ng + f0, rows, j->weights + (size_t)b * (size_t)(p->terms * block), x, tile, stride);
    }
}

static void forward_task(void *arg, int task, int thread)
{
    const struct forward_job *j = arg;
    const struct conv_plan *p = &j->plan;
    int block = vector_ops()->rows, blocks = p->groups * ((p->ng + block - 1) / block);

    if (p->by_channel) {
        int first = (int)pool_first((size_t)blocks, task, p->tasks), last = (int)pool_first((size_t)blocks, task + 1, p->tasks);
        for (int unit = 0; unit < p->units; ++unit) forward_unit(j, unit, first, last, thread);
    } else {
        int last = (int)pool_first((size_t)p->units, task + 1, p->tasks);
        for (int unit = (int)pool_first((size_t)p->units, task, p->tasks); unit < last; ++unit) forward_unit(j, unit, 0, blocks, thread);
    }
}

static void take_moments(const struct forward_job *j)
{
    const struct conv_plan *p = &j->plan;

    for (int i = p->n; i < p->units * p->n; ++i) {
        moments_merge(&j->moments[i % p->n], j->moments[i].count, j->moments[i].mean, j->moments[i].squares);
    }
    batchnorm_take_moments(*j->l, j->moments);
}

static void forward_winograd(layer l, network net)
{
    struct winograd_plan p = winograd_plan_make(&l);
    struct conv_finish finish = {.l = &l};
    bool fused = activation_fuses(l.activation, &finish.f);

    finish.kind = !l.batch_normalize ? FINISH_ACTIVATE : batchnorm_frozen(net) ? FINISH_NORMALISE : FINISH_MOMENTS;
    if (finish.kind == FINISH_MOMENTS) {
        size_t bytes = (size_t)(p.units * p.n) * sizeof *finish.moments;
        finish.moments = memset(pool_buffer(POOL_SUMS, bytes), 0, bytes);
    }
    winograd_forward(&l, &p, net.input, &finish);
    if (finish.kind == FINISH_MOMENTS) {
        for (int i = p.n; i < p.units * p.n; ++i) {
            moments_merge(&finish.moments[i % p.n], finish.moments[i].count, finish.moments[i].mean, finish.moments[i].squares);
        }
        batchnorm_take_moments(l, finish.moments);
        batchnorm_apply(l, false, l.activation);
    } else if (!fused) {
        activate_array(l.output, l.outputs * l.batch, l.activation);
    }
}

void forward_convolutional_layer(layer l, network net)
{
    struct forward_job j = {.plan = conv_plan_make(&l, false), .l = &l, .input = net.input};
    const struct conv_plan *p = &j.plan;
    int rows = vector_ops()->rows;
    bool frozen = batchnorm_frozen(net), fused = activation_fuses(l.activation, &j.f);

    if (l.binary || l.xnor) {
        stock_layer_call("forward_convolutional_layer", l, net);
        return;
    }
    if (inference_pass(net)) l.x = l.output;
    if (winograd_suits(&l, false)) {
        forward_winograd(l, net);
        return;
    }
    bool filled;
    float *weights = inference_weights(&l, WEIGHTS_DIRECT, conv_forward_weights_size(p, rows), &filled);
    if (!weights) weights = pool_buffer(POOL_WEIGHTS, conv_forward_weights_size(p, rows) * sizeof *weights);
    if (!filled) conv_forward_weights(p, rows, l.weights, weights);
    int32_t *offsets = pool_buffer(POOL_OFFSETS, (size_t)p->terms * sizeof *offsets);
    conv_input_offsets(p, offsets);
    j.weights = weights;
    j.offsets = offsets;
    j.finish = !l.batch_normalize ? FINISH_ACTIVATE : frozen ? FINISH_NORMALISE : FINISH_MOMENTS;
    if (j.finish == FINISH_MOMENTS) {
        size_t bytes = (size_t)p->units * (size_t)p->n * sizeof *j.moments;
        j.moments = memset(pool_buffer(POOL_SUMS, bytes), 0, bytes);
    }
    pool_run(p->tasks, forward_task, &j);
    if (j.finish == FINISH_MOMENTS) {
        take_moments(&j);
        batchnorm_apply(l, false, l.activation);
    } else if (!fused) {
        activate_array(l.output, l.outputs * l.batch, l.activation);
    }
}
