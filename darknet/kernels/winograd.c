/* Winograd convolutions (winograd.h). Letters: V transformed input (36, c, tiles), U filters, M = U V or the transformed delta (36, n, tiles). */
#include "winograd_tiles.h"

#include <string.h>

#include "../context.h"
#include "inference.h"
#include "pool.h"
#include "whole_numbers.h"

enum { K = WINOGRAD_PRODUCTS, SIDE = WINOGRAD_SIDE };

/* Units of several small images, or bands of a large one, of about `tiles` tiles. */
static void plan_units(struct winograd_plan *p, int tiles, int shares)
{
    int image = p->columns * p->rows;

    p->images = p->bands = 1;
    p->band = p->rows;
    if (image < tiles) {
        int share = ceiling(p->batch, shares), parts = ceiling(share, at_least(1, tiles / image));
        p->images = ceiling(share, parts);
    } else {
        int rows = at_least(1, (tiles + p->columns / 2) / p->columns);
        if (p->batch < shares) rows = at_most(rows, ceiling(p->rows * p->batch, shares));
        p->bands = ceiling(p->rows, rows);
        p->band = ceiling(p->rows, p->bands);
        p->bands = ceiling(p->rows, p->band);
    }
    p->units = p->bands > 1 ? p->batch * p->bands : ceiling(p->batch, p->images);
    p->stride = winograd_vectors((size_t)(p->images * p->band * p->columns));
}

struct winograd_plan winograd_plan_make(const layer *l)
{
    enum { CACHE = 110 * 1024, FEWEST = 24, MOST = 192 };   /* floats of V and M that stay in the second-level cache; tiles of a unit */
    enum { WIDE = 64 * 64, WIDE_TILES = 512, BLOCK = 2048 * 1024 };   /* pairs of channels; tiles; floats of a block of filters */
    struct winograd_plan p = {.batch = l->batch, .c = l->c, .n = l->n, .h = l->h, .w = l->w, .columns = ceiling(l->w, SIDE), .rows = ceiling(l->h, SIDE)};

    plan_units(&p, at_most(MOST, at_least(FEWEST, CACHE / (K * (l->c + l->n)))), pool_threads());
    if (l->c * l->n >= WIDE || p.units < pool_threads()) {
        int most = at_least(l->c, l->n);
        plan_units(&p, WIDE_TILES, 1);
        p.block = at_most(most, at_least(32, BLOCK / (K * most)));
    }
    p.tasks = at_most(pool_threads(), p.units);
    return p;
}

bool winograd_suits(const layer *l)
{
    enum { FEWEST_TILES = 32 };
    if (l->size != 3 || l->stride != 1 || l->pad != 1 || l->groups != 1 || l->binary || l->xnor) return false;
    if (vector_ops()->lanes > 8) return false;   /* there direct sums run at three times the speed: not measured */
    int tiles = ceiling(l->h, SIDE) * ceiling(l->w, SIDE) * l->batch;
    return l->c >= 8 && l->n >= 8 && tiles >= FEWEST_TILES;   /* fewer do not pay for the transformed filters */
}

/* Buffers of a thread, cut from one block of scratch. */
struct buffers { float *v, *m, *scratch, *tile; int32_t *space; };

static struct buffers buffers_get(const struct winograd_plan *p, int thread)
{
    size_t v = K * winograd_pitch((size_t)p->c * p->stride), m = K * winograd_pitch((size_t)p->n * p->stride), scratch = WINOGRAD_SCRATCH * p->stride;
    size_t wide = v > m ? v : m;   /* the input gradient turns the two around */
    struct buffers b;

    b.v = pool_scratch(thread, POOL_INPUT, wide);
    b.m = pool_scratch(thread, POOL_DELTA, wide);
    b.scratch = pool_scratch(thread, POOL_TILE, scratch + 16 * p->stride + winograd_grid_space(p));
    b.tile = b.scratch + scratch;
    b.space = (int32_t *)(b.tile + 16 * p->stride);
    return b;
}

struct job {
    const struct winograd_plan *p;
    const layer *l;
    const struct conv_finish *finish;
    const float *input;
    float *input_delta;
    const struct batchnorm_rest *rest;
    const float *u, *turned;   /* packed filters, forward and for the input gradient */
    float *updates;            /* (tasks, 36, n, c); NULL: not wanted */
    bool in_place;             /* deltas are finished where they lie: units are whole images */
};

static size_t filters_size(int outs, int ins, int rows) { return K * winograd_pitch((size_t)(ceiling(outs, rows) * rows * ins)); }

struct filters_job { const layer *l; bool turned; int rows, outs, ins, tasks; float *u; };

/* u: (36, blocks of `rows` outputs, inputs, rows) */
static void filters_task(void *arg, int task, int thread)
{
    const struct filters_job *j = arg;
    int blocks = ceiling(j->outs, j->rows), last = (int)pool_first((size_t)blocks, task + 1, j->tasks), n = j->ins * j->rows, step = j->l->c * 9;
    int32_t *at = (int32_t *)pool_scratch(thread, POOL_PARTIAL, (size_t)n);

    for (int b = (int)pool_first((size_t)blocks, task, j->tasks); b < last; ++b) {
        for (int i = 0; i < n; ++i) {
            int in = i / j->rows, out = b * j->rows + i % j->rows;
            at[i] = out >= j->outs ? -1 : j->turned ? in * step + out * 9 : out * step + in * 9;
        }
        vector_ops()->winograd_filters((size_t)n, j->l->weights, at, j->turned, j->u + (size_t)b * (size_t)n, winograd_pitch((size_t)(blocks * n)));
    }
}

static float *filters_make(const layer *l, bool turned)
{
    struct filters_job j = {.l = l, .turned = turned, .rows = vector_ops()->rows, .outs = turned ? l->c : l->n, .ins = turned ? l->n : l->c};

    size_t size = filters_size(j.outs, j.ins, j.rows);
    bool filled = false;

    j.u = turned ? NULL : inference_weights(l, size, 0, &filled);
    if (!j.u) j.u = pool_buffer(turned ? POOL_WEIGHTS_BACK : POOL_WEIGHTS, size * sizeof *j.u);
    if (filled) return j.u;
    j.tasks = pool_split((size_t)ceiling(j.outs, j.rows), (size_t)j.outs * (size_t)j.ins * 4);
    pool_run(j.tasks, filters_task, &j);
    return j.u;
}

/* m = u v for each of the 36 products */
static void multiply(int outs, int ins, const float *u, const float *v, float *m, size_t stride, int32_t *offsets)
{
    const struct vector_ops *ops = vector_ops();

    for (int i = 0; i < ins; ++i) offsets[i] = (int32_t)((size_t)i * stride);
    for (int k = 0; k < K; ++k) {
        const float *block = u;
        for (int o = 0; o < outs; o += ops->rows, block += ins * ops->rows) {
            ops->correlate(at_most(ops->rows, outs - o), (size_t)ins, block, offsets, v, m + (size_t)o * stride, (ptrdiff_t)stride, stride);
        }
        u += winograd_pitch((size_t)(ceiling(outs, ops->rows) * ops->rows * ins));
        v += winograd_pitch((size_t)ins * stride);
        m += winograd_pitch((size_t)outs * stride);
    }
}

static void forward_unit(const struct job *j, int unit, int thread)
{
    const struct winograd_plan *p = j->p;
    const struct vector_ops *ops = vector_ops();
    struct buffers b = buffers_get(p, thread);
    struct winograd_span s = winograd_unit(p, unit);
    struct winograd_grid g = winograd_grid_input(p, s, (struct winograd_source){p->c, 0, p->h}, b.space);
    size_t plane = (size_t)p->h * (size_t)p->w, cs = winograd_pitch((size_t)p->c * g.stride), ns = winograd_pitch((size_t)p->n * g.stride);
    const float *in = j->input + (size_t)(s.image * p->c) * plane;
    int32_t *offsets = (int32_t *)pool_scratch(thread, POOL_TAIL, (size_t)at_least(p->c, p->n));

    for (int c = 0; c < p->c; ++c) ops->winograd_input(&g, in + (size_t)c * plane, b.scratch, b.v + (size_t)c * g.stride, cs);
    multiply(p->n, p->c, j->u, b.v, b.m, g.stride, offsets);
    for (int f = 0; f < p->n; ++f) {
        ops->winograd_output(&g, b.m + (size_t)f * g.stride, ns, b.tile);
        for (int i = 0; i < s.images; ++i) {
            size_t at = (size_t)((s.image + i) * p->n + f) * plane;
            int height = winograd_put_rows(p, s, &g, i, b.tile, conv_finish_target(j->finish) + at, false);
            conv_finish_run(j->finish, unit, f, at + (size_t)(s.row * SIDE * p->w), (size_t)(height * p->w));
        }
    }
}

static void forward_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    int last = (int)pool_first((size_t)j->p->units, task + 1, j->p->tasks);

    for (int unit = (int)pool_first((size_t)j->p->units, task, j->p->tasks); unit < last; ++unit) forward_unit(j, unit, thread);
}

void winograd_forward(const layer *l, const struct winograd_plan *p, const float *input, const struct conv_finish *finish)
{
    if (p->block) {
        winograd_wide_forward(l, p, input, finish);
        return;
    }
    struct job j = {.p = p, .l = l, .finish = finish, .input = input, .u = filters_make(l, false)};

    pool_run(p->tasks, forward_task, &j);
}

/* updates (36, n, c) += transformed delta times transformed input, along the tiles */
static void weight_gradient(const struct job *j, const float *m, const float *v, size_t stride, float *updates, const int32_t *offsets)
{
    const struct winograd_plan *p = j->p;
    size_t cs = winograd_pitch((size_t)p->c * stride), ns = winograd_pitch((size_t)p->n * stride);

    for (int k = 0; k < K; ++k, m += ns, v += cs, updates += winograd_pitch((size_t)(p->n * p->c))) {
        vector_ops()->products(p->n, (size_t)p->c, m, (ptrdiff_t)stride, offsets, v, updates, p->c, stride);
    }
}

/* The span's delta at the convolution's output, with the rows above and below that its tiles read: as it lies, or finished into a buffer. */
static const float *take_delta(const struct job *j, struct winograd_span s, struct winograd_source *from, int thread)
{
    const struct winograd_plan *p = j->p;
    size_t plane = (size_t)p->h * (size_t)p->w;
    int bottom = at_most(p->h, (s.row + s.rows) * SIDE + 1);

    *from = (struct winograd_source){p->n, 0, p->h};
    if (!j->rest->normals) return j->l->delta + (size_t)(s.image * p->n) * plane;
    from->top = at_least(0, s.row * SIDE - 1);
    from->height = bottom - from->top;
    size_t n = (size_t)(from->height * p->w);
    float *delta = j->in_place ? j->l->delta + (size_t)(s.image * p->n) * plane
                               : pool_scratch(thread, POOL_PARTIAL, (size_t)(p->images * p->n) * (size_t)at_most(p->h, p->band * SIDE + 2) * (size_t)p->w);
    for (int i = 0; i < s.images; ++i) {
        for (int f = 0; f < p->n; ++f) {
            size_t at = (size_t)((s.image + i) * p->n + f) * plane + (size_t)(from->top * p->w);
            batchnorm_rest_run(j->rest, f, at, n, delta + (size_t)(i * p->n + f) * n);
        }
    }
    return delta;
}

/* Of one unit: V and the transformed delta, multiplied along the tiles. */
static void add_weight_gradient(const struct job *j, struct winograd_span s, struct winograd_source from, const float *delta, const struct buffers *b,
                                float *updates, int thread)
{
    const struct winograd_plan *p = j->p;
    const struct vector_ops *ops = vector_ops();
    struct winograd_grid g = winograd_grid_input(p, s, (struct winograd_source){p->c, 0, p->h}, b->space);
    size_t plane = (size_t)p->h * (size_t)p->w, cs = winograd_pitch((size_t)p->c * g.stride), ns = winograd_pitch((size_t)p->n * g.stride);
    const float *in = j->input + (size_t)(s.image * p->c) * plane;
    int32_t *offsets = (int32_t *)pool_scratch(thread, POOL_TAIL, (size_t)at_least(p->c, p->n));

    for (int c = 0; c < p->c; ++c) {
        ops->winograd_input(&g, in + (size_t)c * plane, b->scratch, b->v + (size_t)c * g.stride, cs);
        offsets[c] = (int32_t)((size_t)c * g.stride);
    }
    g = winograd_grid_delta(p, s, from, b->space);
    for (int f = 0; f < p->n; ++f) ops->winograd_delta(&g, delta + (size_t)f * (size_t)(from.height * p->w), b->scratch, b->m + (size_t)f * g.stride, ns);
    weight_gradient(j, b->m, b->v, g.stride, updates, offsets);
}

static void backward_unit(const struct job *j, int unit, float *updates, int thread)
{
    const struct winograd_plan *p = j->p;
    const struct vector_ops *ops = vector_ops();
    struct buffers b = buffers_get(p, thread);
    struct winograd_span s = winograd_unit(p, unit);
    struct winograd_source from;
    const float *delta = take_delta(j, s, &from, thread);
    size_t plane = (size_t)p->h * (size_t)p->w, rows = (size_t)(from.height * p->w);

    if (updates) add_weight_gradient(j, s, from, delta, &b, updates, thread);
    if (!j->input_delta) return;
    struct winograd_grid g = winograd_grid_input(p, s, from, b.space);
    size_t cs = winograd_pitch((size_t)p->c * g.stride), ns = winograd_pitch((size_t)p->n * g.stride);
    int32_t *offsets = (int32_t *)pool_scratch(thread, POOL_TAIL, (size_t)at_least(p->c, p->n));
    for (int f = 0; f < p->n; ++f) ops->winograd_input(&g, delta + (size_t)f * rows, b.scratch, b.m + (size_t)f * g.stride, ns);
    multiply(p->c, p->n, j->turned, b.m, b.v, g.stride, offsets);
    for (int c = 0; c < p->c; ++c) {
        ops->winograd_output(&g, b.v + (size_t)c * g.stride, cs, b.tile);
        for (int i = 0; i < s.images; ++i) winograd_put_rows(p, s, &g, i, b.tile, j->input_delta + (size_t)((s.image + i) * p->c + c) * plane, true);
    }
}

static void backward_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    size_t size = K * winograd_pitch((size_t)(j->p->n * j->p->c));
    float *updates = j->updates ? j->updates + (size_t)task * size : NULL;
    int last = (int)pool_first((size_t)j->p->units, task + 1, j->p->tasks);

    if (updates) memset(updates, 0, size * sizeof *updates);
    for (int unit = (int)pool_first((size_t)j->p->units, task, j->p->tasks); unit < last; ++unit) backward_unit(j, unit, updates, thread);
}

/* Adds up the tasks' sums of a range of filters, in task order, and takes them back to 3x3 taps. */
static void reduce_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    size_t c = (size_t)j->p->c, product = winograd_pitch((size_t)j->p->n * c), size = K * product;
    size_t first = pool_first((size_t)j->p->n, task, j->p->tasks), count = pool_first((size_t)j->p->n, task + 1, j->p->tasks) - first;

    (void)thread;
    for (int t = 1; t < j->p->tasks; ++t) {
        for (size_t k = 0; k < K; ++k) {
            vector_ops()->add(count * c, 1, j->updates + (size_t)t * size + k * product + first * c, j->updates + k * product + first * c);
        }
    }
    vector_ops()->winograd_gradient(count * c, j->updates + first * c, product, j->l->weight_updates + 9 * first * c);
}

void winograd_backward(const layer *l, const struct winograd_plan *p, const struct batchnorm_rest *rest, const float *input, float *input_delta)
{
    if (p->block) {
        batchnorm_rest_all(rest);
        winograd_wide_backward(l, p, input, input_delta);
        return;
    }
    const struct batchnorm_rest finished = {.l = l};
    struct job j = {.p = p, .l = l, .rest = rest, .input = input, .input_delta = input_delta, .in_place = host_context()->keep_deltas && p->bands == 1};

    if (host_context()->keep_deltas && !j.in_place) {
        batchnorm_rest_all(rest);
        j.rest = &finished;
    }
    if (input_delta) j.turned = filters_make(l, true);
    if (!host_context()->gates_only) j.updates = pool_buffer(POOL_COPY, (size_t)p->tasks * K * winograd_pitch((size_t)(p->n * p->c)) * sizeof(float));
    pool_run(p->tasks, backward_task, &j);
    if (j.updates) pool_run(p->tasks, reduce_task, &j);
}
