/* Convolutional layers, forward: any size, stride, padding and groups, by direct sums over packed planes (conv_plan.h), with bias and
 * activation, or the batch statistics, taken while a tile is still in the cache. Replaces forward_convolutional_layer; binary and xnor
 * layers go to the host. The backward pass is in conv_back.c. */
#include "activation.h"
#include "conv_finish.h"
#include "conv_plan.h"
#include "depthwise.h"
#include "inference.h"
#include "overrides.h"
#include "pool.h"
#include "stock.h"
#include "vector.h"
#include "winograd.h"

struct forward_job {
    struct conv_plan plan;
    const layer *l;
    const float *input, *weights;      /* the layer's, or, for narrow groups, packed */
    const int32_t *offsets;
    const struct conv_finish *finish;
};

/* A run of n pixels of filter f of one image from pixel `first` on; the values come from `tile` in rows `pitch` apart, or lie in place already. */
static void finish_run(const struct forward_job *j, int unit, int image, int f, int first, size_t n, const float *tile)
{
    const struct conv_plan *p = &j->plan;
    size_t ow = (size_t)p->ow, at = ((size_t)image * (size_t)p->n + (size_t)f) * (size_t)p->oh * ow + (size_t)first;
    float *out = conv_finish_target(j->finish) + at;

    if (!p->flat) vector_ops()->copy_rows(n / ow, ow, tile, (size_t)p->pitch, out, ow, 0);
    else if (tile != out) memcpy(out, tile, n * sizeof *out);
    conv_finish_run(j->finish, unit, f, at, n);
}

/* Lines first..last-1 (conv_plan.h) of the unit's packed plane, which may belong to several images with gaps between them. */
static void finish_tile(const struct forward_job *j, int unit, struct conv_unit u, int f, int first, int last, const float *tile)
{
    const struct conv_plan *p = &j->plan;
    int pixels = p->flat ? 1 : p->ow, pitch = p->flat ? 1 : p->pitch, height = (u.y1 - u.y0) * (p->flat ? p->ow : 1);
    int per_image = p->flat ? p->oh * p->ow : p->image_rows;

    for (int r = first; r < last;) {
        int image = p->images > 1 ? r / per_image : 0, y = p->images > 1 ? r % per_image : r;
        int lines = height - y < last - r ? height - y : last - r;
        if (lines > 0) finish_run(j, unit, u.image + image, f, u.y0 * p->ow + y * pixels, (size_t)(lines * pixels), tile + (r - first) * pitch);
        r = y < height ? r + lines : (image + 1) * per_image;
    }
}

/* Filters f0..f1-1 of a group: a few lines at a time, whose inputs stay in the second-level cache, for all filters. */
static void forward_filters(const struct forward_job *j, int unit, struct conv_unit u, int group, int f0, int f1, const float *x, int thread)
{
    const struct conv_plan *p = &j->plan;
    int height = conv_unit_lines(p, u), pitch = p->flat ? 1 : p->pitch;
    struct conv_tile t = conv_tile_make(height, pitch, p->cg * p->phases * p->phases);
    bool in_place = p->direct && !p->narrow;
    float *tile = in_place ? NULL : pool_scratch(thread, POOL_TILE, t.stride * (size_t)t.rows);
    size_t plane = (size_t)p->oh * (size_t)p->ow;

    for (int r = 0; r < height; r += t.lines) {
        int last = r + t.lines < height ? r + t.lines : height;
        size_t n = (size_t)(p->flat ? last - r : (last - r - 1) * p->pitch + p->ow);
        for (int f = f0; f < f1; f += t.rows) {
            int rows = f1 - f < t.rows ? f1 - f : t.rows, filter = group * p->ng + f;
            float *start = conv_finish_target(j->finish) + ((size_t)u.image * (size_t)p->n + (size_t)filter) * plane;
            struct correlation c = {.rows = rows, .terms = (size_t)p->terms, .w = j->weights + (size_t)filter * (size_t)p->terms, .gather = p->taps == 1,
                                    .offset = j->offsets, .x = x + r * pitch, .n = n,
                                    .y = in_place ? start + u.y0 * p->ow + r : tile, .ystride = (ptrdiff_t)(in_place ? plane : t.stride)};
            if (p->narrow) {
                const float *w = j->weights + (size_t)(group * p->terms) * (size_t)vector_ops()->rows;
                vector_ops()->correlate(rows, c.terms, w, c.offset, c.x, tile, (ptrdiff_t)t.stride, n);
            } else {
                vector_ops()->correlate_many(&c);
            }
            for (int k = 0; k < rows; ++k) finish_tile(j, unit, u, filter + k, r, last, c.y + k * c.ystride);
        }
    }
}

/* Filters first..last-1 of all groups' filters. */
static void forward_unit(const struct forward_job *j, int unit, int first, int last, int thread)
{
    const struct conv_plan *p = &j->plan;
    struct conv_unit u = conv_plan_unit(p, unit);
    size_t plane = (size_t)p->h * (size_t)p->w;
    float *buffer = p->direct ? NULL : pool_scratch(thread, POOL_INPUT, conv_input_stride(p) * (size_t)p->cg);

    for (int f = first, end; f < last; f = end) {
        int g = f / p->ng;
        const float *x = buffer;
        end = (g + 1) * p->ng < last ? (g + 1) * p->ng : last;
        if (p->direct) x = j->input + ((size_t)u.image * (size_t)p->c + (size_t)(g * p->cg)) * plane + (size_t)(u.y0 * p->w);
        else conv_pack_input(p, u, g, j->input, buffer);
        forward_filters(j, unit, u, g, f - g * p->ng, end - g * p->ng, x, thread);
    }
}

static void forward_task(void *arg, int task, int thread)
{
    const struct forward_job *j = arg;
    const struct conv_plan *p = &j->plan;

    if (p->by_channel) {
        int first = conv_plan_share(p, p->groups, p->ng, task), last = conv_plan_share(p, p->groups, p->ng, task + 1);
        for (int unit = 0; unit < p->units; ++unit) forward_unit(j, unit, first, last, thread);
    } else {
        int last = (int)pool_first((size_t)p->units, task + 1, p->tasks);
        for (int unit = (int)pool_first((size_t)p->units, task, p->tasks); unit < last; ++unit) forward_unit(j, unit, 0, p->n, thread);
    }
}

static void forward_direct(const layer *l, const struct conv_plan *p, const float *input, const struct conv_finish *finish)
{
    struct forward_job j = {.plan = *p, .l = l, .input = input, .weights = l->weights, .finish = finish};
    int rows = vector_ops()->rows;

    if (p->narrow) {
        float *weights = pool_buffer(POOL_WEIGHTS, conv_forward_weights_size(p, rows) * sizeof *weights);
        conv_forward_weights(p, rows, l->weights, weights);
        j.weights = weights;
    }
    int32_t *offsets = pool_buffer(POOL_OFFSETS, (size_t)p->terms * sizeof *offsets);
    conv_input_offsets(p, offsets);
    j.offsets = offsets;
    pool_run(p->tasks, forward_task, &j);
}

void forward_convolutional_layer(layer l, network net)
{
    struct conv_finish finish = {.l = &l};
    bool fused = activation_fuses(l.activation, &finish.f), winograd = winograd_suits(&l);

    if (l.binary || l.xnor) {
        stock_layer_call("forward_convolutional_layer", l, net);
        return;
    }
    if (inference_pass(net)) l.x = l.output;
    if (depthwise_fits(&l)) {
        depthwise_forward(l, net);
        return;
    }
    finish.kind = !l.batch_normalize ? FINISH_ACTIVATE : batchnorm_frozen(net) ? FINISH_NORMALISE : FINISH_MOMENTS;
    if (winograd) {
        struct winograd_plan p = winograd_plan_make(&l);
        conv_finish_begin(&finish, p.units);
        winograd_forward(&l, &p, net.input, &finish);
    } else {
        struct conv_plan p = conv_plan_make(&l, false);
        conv_finish_begin(&finish, p.units);
        forward_direct(&l, &p, net.input, &finish);
    }
    conv_finish_end(&finish);
    if (finish.kind == FINISH_MOMENTS) batchnorm_apply(l, false, l.activation);
    else if (!fused) activate_array(l.output, l.outputs * l.batch, l.activation);
}
