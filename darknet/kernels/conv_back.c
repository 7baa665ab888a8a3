/* Convolutional layers, backward: weight gradient and input gradient on the packed planes of conv_plan.h. Replaces
 * backward_convolutional_layer, whose 1x1 case discards what other layers have already added to net.delta and ignores the stride.
 * Weight gradients of a thread are summed apart and added up in thread order, or, for layers with very many weights, threads share the filters. */
#include "../context.h"
#include "batchnorm.h"
#include "conv_plan.h"
#include "depthwise.h"
#include "overrides.h"
#include "pool.h"
#include "stock.h"
#include "vector.h"
#include "winograd.h"

struct backward_job {
    struct conv_plan plan;
    const layer *l;
    const float *input;
    float *input_delta;           /* NULL: not wanted */
    const float *weights;         /* packed for the input gradient */
    const int32_t *offsets;       /* of the input's terms */
    const int32_t *taps;          /* offsets of the delta's terms, phases one after the other, (ng, taps of the phase) */
    float *updates;               /* (tasks, nweights) partial sums, or the layer's own; NULL: not wanted */
    size_t nweights;
};

/* Filters f0..f1-1 of the group. */
static void weight_gradient(const struct backward_job *j, struct conv_unit u, int group, int f0, int f1, const float *x, const float *d, size_t dstride,
                            float *updates)
{
    const struct conv_plan *p = &j->plan;
    int height = p->images > 1 ? (u.images - 1) * p->image_rows + p->oh : u.y1 - u.y0;
    size_t n = (size_t)((height - 1) * p->pitch + p->ow);
    float *g = updates + (size_t)(group * p->ng + f0) * (size_t)p->terms;

    vector_ops()->products(f1 - f0, (size_t)p->terms, d + (size_t)f0 * dstride, (ptrdiff_t)dstride, j->offsets, x, g, p->terms, n);
}

/* Adds rows of phase px of one channel to the input gradient at its first row: column q holds input column q * stride + px - pad. */
static void add_rows(const struct conv_plan *p, int px, int rows, const float *tile, float *out)
{
    int first = px < p->pad ? (p->pad - px + p->stride - 1) / p->stride : 0, x0 = first * p->stride + px - p->pad;

    if (p->stride == 1) {
        if (x0 < p->w) vector_ops()->add_rows((size_t)rows, (size_t)(p->w - x0), tile + first, (size_t)p->pitch, out + x0, (size_t)p->w);
        return;
    }
    for (int r = 0; r < rows; ++r, tile += p->pitch, out += p->stride * p->w) {
        const float *t = tile + first;
        for (int x = x0; x < p->w; x += p->stride) out[x] += *t++;
    }
}

/* Rows of one channel that lie in one image: `row` of its packed plane and the next, up to `rows`; those outside the unit's input are dropped. */
static void add_image_rows(const struct backward_job *j, struct conv_rows in, int image, int c, int row, int rows, int py, int px, const float *tile)
{
    const struct conv_plan *p = &j->plan;
    int y = row * p->stride + py - p->pad;
    int skip = y < in.y0 ? (in.y0 - y + p->stride - 1) / p->stride : 0;

    y += skip * p->stride;
    int inside = y < in.y1 ? (in.y1 - 1 - y) / p->stride + 1 : 0;
    if (inside > rows - skip) inside = rows - skip;
    if (inside <= 0) return;
    float *out = j->input_delta + (((size_t)image * (size_t)p->c + (size_t)c) * (size_t)p->h + (size_t)y) * (size_t)p->w;
    add_rows(p, px, inside, tile + skip * p->pitch, out);
}

/* Rows r..end-1 of one channel's packed plane, which may belong to several images. */
static void add_tile(const struct backward_job *j, struct conv_unit u, int c, int phase, int r, int end, const float *tile)
{
    const struct conv_plan *p = &j->plan;
    struct conv_rows in = conv_unit_input(p, u);
    int py = phase / p->phases, px = phase % p->phases;

    for (int row = r, rows; row < end; row += rows) {
        int image = p->images > 1 ? row / p->image_rows : 0, base = image * p->image_rows;
        rows = p->images > 1 && base + p->image_rows < end ? base + p->image_rows - row : end - row;
        add_image_rows(j, in, u.image + image, c, row - base, rows, py, px, tile + (row - r) * p->pitch);
    }
}

/* Input gradient of channels c0..c1-1 of a group, one phase: rows first..last-1 of the phase's plane, d at row `first`;
 * sums: weights, terms and offsets of the phase. */
static void input_gradient_phase(const struct backward_job *j, struct conv_unit u, int group, int c0, int c1, int phase, int first, int last,
                                 struct correlation sums, const float *d, int thread)
{
    const struct conv_plan *p = &j->plan;
    struct conv_tile t = conv_tile_make(last - first, p->pitch, p->ng);
    float *tile = pool_scratch(thread, POOL_TILE, t.stride * (size_t)t.rows);

    for (int r = first; r < last; r += t.lines) {
        int end = r + t.lines < last ? r + t.lines : last;
        for (int c = c0; c < c1; c += t.rows) {
            struct correlation s = sums;
            s.rows = c1 - c < t.rows ? c1 - c : t.rows;
            s.w += (size_t)c * s.terms;
            s.x = d + (r - first) * p->pitch;
            s.y = tile;
            s.ystride = (ptrdiff_t)t.stride;
            s.n = (size_t)((end - r) * p->pitch);
            if (p->narrow_back) vector_ops()->correlate(s.rows, s.terms, s.w, s.offset, s.x, s.y, s.ystride, s.n);
            else vector_ops()->correlate_many(&s);
            for (int k = 0; k < s.rows; ++k) add_tile(j, u, group * p->cg + c + k, phase, r, end, tile + (size_t)k * t.stride);
        }
    }
}

/* The same for 1x1 on planes where they lie: added in place. */
static void input_gradient_direct(const struct backward_job *j, struct conv_unit u, int group, int c0, int c1, struct correlation s, const float *d)
{
    const struct conv_plan *p = &j->plan;
    size_t plane = (size_t)p->h * (size_t)p->w;
    int n = (u.y1 - u.y0) * p->w;
    struct conv_tile t = conv_tile_make(n, 1, p->ng);

    for (int r = 0; r < n; r += t.lines) {
        s.rows = c1 - c0;
        s.more = true;
        s.x = d + r;
        s.y = j->input_delta + ((size_t)u.image * (size_t)p->c + (size_t)(group * p->cg + c0)) * plane + (size_t)(u.y0 * p->w + r);
        s.ystride = (ptrdiff_t)plane;
        s.n = (size_t)(n - r < t.lines ? n - r : t.lines);
        vector_ops()->correlate_many(&s);
    }
}

/* Channels c0..c1-1 of one group, c0 a multiple of vector_ops' rows. */
static void input_gradient(const struct backward_job *j, struct conv_unit u, struct conv_delta layout, int group, int c0, int c1, const float *d, int thread)
{
    const struct conv_plan *p = &j->plan;
    int block = vector_ops()->rows, per_group = (p->cg + block - 1) / block;
    struct conv_rows in = conv_unit_input(p, u);
    int first = p->images > 1 ? 0 : (in.y0 + p->pad) / p->stride, last = p->images > 1 ? layout.last : (in.y1 - 1 + p->pad) / p->stride + 1;
    const float *w = j->weights;
    struct correlation s = {.packed = true, .gather = p->taps == 1, .offset = j->taps};
    int ky[p->taps], kx[p->taps];

    if (in.y1 <= in.y0) return;
    for (int phase = 0; phase < p->phases * p->phases; ++phase) {
        s.terms = (size_t)p->ng * (size_t)conv_phase_taps(p, phase / p->phases, phase % p->phases, ky, kx);
        s.w = w + (size_t)(group * per_group * block) * s.terms;
        if (p->direct && !p->narrow_back) {
            s.w += (size_t)c0 * s.terms;
            input_gradient_direct(j, u, group, c0, c1, s, d);
        } else {
            input_gradient_phase(j, u, group, c0, c1, phase, first, last, s, d + (first - layout.first) * p->pitch, thread);
        }
        w += (size_t)(p->groups * per_group * block) * s.terms;
        s.offset += s.terms;
    }
}

/* The part of a group's channels (filters) that task `task` of `tasks` does when all groups' are shared out. */
static void group_range(const struct conv_plan *p, int per_group, int group, int task, int tasks, int *first, int *last)
{
    int a = (tasks > 1 ? conv_plan_share(p, p->groups, per_group, task) : 0) - group * per_group;
    int b = (tasks > 1 ? conv_plan_share(p, p->groups, per_group, task + 1) : p->groups * per_group) - group * per_group;

    *first = a < 0 ? 0 : a > per_group ? per_group : a;
    *last = b < 0 ? 0 : b > per_group ? per_group : b;
}

static void backward_unit(const struct backward_job *j, int unit, int part, int parts, float *updates, int thread)
{
    const struct conv_plan *p = &j->plan;
    struct conv_unit u = conv_plan_unit(p, unit);
    struct conv_delta layout = conv_delta_layout(p, u);
    size_t plane = (size_t)p->h * (size_t)p->w, dstride = conv_delta_stride(p);
    float *xbuffer = p->direct ? NULL : pool_scratch(thread, POOL_INPUT, conv_input_stride(p) * (size_t)p->cg);
    float *dbuffer = p->direct ? NULL : pool_scratch(thread, POOL_DELTA, dstride * (size_t)p->ng);

    for (int g = 0; g < p->groups; ++g) {
        int f0, f1, c0, c1;
        group_range(p, p->ng, g, part, parts, &f0, &f1);
        if (!updates) f1 = f0;
        group_range(p, p->cg, g, part, parts, &c0, &c1);
        if (f0 >= f1 && c0 >= c1) continue;
        const float *x = xbuffer, *d = dbuffer;
        if (p->direct) {
            x = j->input + ((size_t)u.image * (size_t)p->c + (size_t)(g * p->cg)) * plane + (size_t)(u.y0 * p->w);
            d = j->l->delta + ((size_t)u.image * (size_t)p->n + (size_t)(g * p->ng)) * plane + (size_t)(u.y0 * p->w);
        } else {
            if (f0 < f1) conv_pack_input(p, u, g, j->input, xbuffer);
            conv_pack_delta(p, u, layout, g, j->l->delta, dbuffer);
            d += layout.origin;
        }
        int ahead = p->images > 1 || p->direct ? 0 : u.y0 - layout.first;
        if (f0 < f1) weight_gradient(j, u, g, f0, f1, x, d + ahead * p->pitch, dstride, updates);
        if (j->input_delta && c0 < c1) input_gradient(j, u, layout, g, c0, c1, d, thread);
    }
}

static void backward_task(void *arg, int task, int thread)
{
    const struct backward_job *j = arg;
    const struct conv_plan *p = &j->plan;

    if (p->by_channel) {
        for (int unit = 0; unit < p->units; ++unit) backward_unit(j, unit, task, p->tasks, j->updates, thread);
    } else {
        float *updates = j->updates ? j->updates + (size_t)task * j->nweights : NULL;
        int last = (int)pool_first((size_t)p->units, task + 1, p->tasks);
        if (updates) memset(updates, 0, j->nweights * sizeof *updates);
        for (int unit = (int)pool_first((size_t)p->units, task, p->tasks); unit < last; ++unit) backward_unit(j, unit, 0, 1, updates, thread);
    }
}

static void reduce_task(void *arg, int task, int thread)
{
    const struct backward_job *j = arg;
    int tasks = j->plan.tasks;
    size_t first = pool_first(j->nweights, task, tasks), n = pool_first(j->nweights, task + 1, tasks) - first;

    (void)thread;
    for (int t = 1; t < tasks; ++t) vector_ops()->add(n, 1, j->updates + (size_t)t * j->nweights + first, j->updates + first);
    vector_ops()->add(n, 1, j->updates + first, j->l->weight_updates + first);
}

/* Offsets of the delta's terms: phases one after the other, per phase (ng, taps). */
static void delta_offsets(const struct conv_plan *p, size_t stride, int32_t *offsets)
{
    int ky[p->taps], kx[p->taps];

    for (int phase = 0; phase < p->phases * p->phases; ++phase) {
        int taps = conv_phase_taps(p, phase / p->phases, phase % p->phases, ky, kx);
        for (int f = 0; f < p->ng; ++f) {
            for (int t = 0; t < taps; ++t) *offsets++ = (int32_t)((ptrdiff_t)((size_t)f * stride) - (ky[t] / p->stride * p->pitch + kx[t] / p->stride));
        }
    }
}

void backward_convolutional_layer(layer l, network net)
{
    struct backward_job j = {.plan = conv_plan_make(&l, true), .l = &l, .input = net.input, .input_delta = net.delta};
    struct conv_plan *p = &j.plan;
    int rows = vector_ops()->rows;

    if (l.binary || l.xnor) {
        stock_layer_call("backward_convolutional_layer", l, net);
        return;
    }
    if (depthwise_fits(&l)) {
        depthwise_backward(l, net);
        return;
    }
    struct batchnorm_rest rest = batchnorm_backward_sums(&l, net, l.activation, l.batch_normalize);
    bool weights_wanted = !host_context()->gates_only;
    if (!weights_wanted && !net.delta) {
        if (host_context()->keep_deltas) batchnorm_rest_all(&rest);
        return;
    }
    if (winograd_suits(&l)) {
        struct winograd_plan plan = winograd_plan_make(&l);
        winograd_backward(&l, &plan, &rest, net.input, net.delta);
        return;
    }
    batchnorm_rest_all(&rest);
    j.nweights = (size_t)p->n * (size_t)p->terms;
    int32_t *offsets = pool_buffer(POOL_OFFSETS, ((size_t)p->terms + (size_t)(p->ng * p->taps)) * sizeof *offsets);
    conv_input_offsets(p, offsets);
    delta_offsets(p, conv_delta_stride(p), offsets + p->terms);
    j.offsets = offsets;
    j.taps = offsets + p->terms;
    if (net.delta) {
        float *weights = pool_buffer(POOL_WEIGHTS_BACK, conv_backward_weights_size(p, rows) * sizeof *weights);
        conv_backward_weights(p, rows, l.weights, weights);
        j.weights = weights;
    }
    if (weights_wanted) j.updates = p->by_channel ? l.weight_updates : pool_buffer(POOL_COPY, (size_t)p->tasks * j.nweights * sizeof(float));
    pool_run(p->tasks, backward_task, &j);
    if (weights_wanted && !p->by_channel) pool_run(p->tasks, reduce_task, &j);
}
