/* Winograd convolutions with many channels: the 36 matrix products of several images are large enough for OpenBLAS, which the threads share by product.
 * Filters are transformed block by block, so that a block stays in the last-level cache. V transformed input (36, c, tiles), U filters
 * (36, block, c), M = U V or the transformed delta (36, block, tiles). */
#include "winograd_tiles.h"

#include <cblas.h>
#include <string.h>

#include "../context.h"
#include "inference.h"
#include "pool.h"
#include "whole_numbers.h"

enum { K = WINOGRAD_PRODUCTS, SIDE = WINOGRAD_SIDE };

/* planes -> out (36, count, stride): count planes from `first` */
struct planes_job { const struct winograd_plan *p; const struct winograd_grid *g; bool delta; const float *planes; int count, tasks; float *out; };

static float *thread_scratch(const struct winograd_plan *p, int thread)
{
    return pool_scratch(thread, POOL_TILE, (WINOGRAD_SCRATCH + 16) * p->stride);
}

static void planes_task(void *arg, int task, int thread)
{
    const struct planes_job *j = arg;
    size_t plane = (size_t)j->p->h * (size_t)j->p->w, stride = j->g->stride, pitch = winograd_pitch((size_t)j->count * stride);
    float *scratch = thread_scratch(j->p, thread);
    size_t last = pool_first((size_t)j->count, task + 1, j->tasks);

    for (size_t c = pool_first((size_t)j->count, task, j->tasks); c < last; ++c) {
        (j->delta ? vector_ops()->winograd_delta : vector_ops()->winograd_input)(j->g, j->planes + c * plane, scratch, j->out + c * stride, pitch);
    }
}

static void transform_planes(const struct winograd_plan *p, const struct winograd_grid *g, bool delta, const float *planes, int count, float *out)
{
    struct planes_job j = {p, g, delta, planes, count, at_most(pool_threads(), count), out};

    pool_run(j.tasks, planes_task, &j);
}

/* u (36, outs, ins): filters of `outs` outputs from `first` */
struct filters_job { const layer *l; bool turned; int first, outs, ins, tasks; float *u; };

static void filters_task(void *arg, int task, int thread)
{
    const struct filters_job *j = arg;
    int last = (int)pool_first((size_t)j->outs, task + 1, j->tasks), step = j->l->c * 9;
    int32_t *at = (int32_t *)pool_scratch(thread, POOL_PARTIAL, (size_t)j->ins);

    for (int o = (int)pool_first((size_t)j->outs, task, j->tasks); o < last; ++o) {
        for (int i = 0; i < j->ins; ++i) at[i] = j->turned ? i * step + (j->first + o) * 9 : (j->first + o) * step + i * 9;
        vector_ops()->winograd_filters((size_t)j->ins, j->l->weights, at, j->turned, j->u + (size_t)o * (size_t)j->ins, winograd_pitch((size_t)(j->outs * j->ins)));
    }
}

static void transform_filters(const layer *l, bool turned, int first, int outs, int ins, float *u)
{
    struct filters_job j = {l, turned, first, outs, ins, at_most(pool_threads(), outs), u};

    pool_run(j.tasks, filters_task, &j);
}

/* For each product c (m, n) = a (m, k) b, b (k, n) or, if `along`, (n, k). */
struct products_job { bool along; int m, n, k, tasks; const float *a, *b; float *c; };

static void products_task(void *arg, int task, int thread)
{
    const struct products_job *j = arg;
    size_t m = (size_t)j->m, n = (size_t)j->n, k = (size_t)j->k, last = pool_first(K, task + 1, j->tasks);

    (void)thread;
    for (size_t i = pool_first(K, task, j->tasks); i < last; ++i) {
        cblas_sgemm(CblasRowMajor, CblasNoTrans, j->along ? CblasTrans : CblasNoTrans, j->m, j->n, j->k, 1, j->a + i * winograd_pitch(m * k), j->k, j->b + i * winograd_pitch(k * n),
                    j->along ? j->k : j->n, 0, j->c + i * winograd_pitch(m * n), j->n);
    }
}

static void multiply(bool along, int m, int n, size_t k, const float *a, const float *b, float *c)
{
    struct products_job j = {along, m, n, (int)k, at_most(pool_threads(), K), a, b, c};

    pool_run(j.tasks, products_task, &j);
}

/* Products of count planes back to pixels: rows of filters first.. of the output, or added to the input gradient. */
struct output_job {
    const struct winograd_plan *p;
    const struct winograd_grid *g;
    struct winograd_span span;
    const struct conv_finish *finish;   /* NULL: add to input_delta */
    float *input_delta;
    int group, first, count, tasks;
    const float *m;
};

static void output_task(void *arg, int task, int thread)
{
    const struct output_job *j = arg;
    const struct winograd_plan *p = j->p;
    size_t plane = (size_t)p->h * (size_t)p->w, stride = j->g->stride, pitch = winograd_pitch((size_t)j->count * stride);
    float *tile = thread_scratch(p, thread);
    int last = (int)pool_first((size_t)j->count, task + 1, j->tasks);

    for (int f = (int)pool_first((size_t)j->count, task, j->tasks); f < last; ++f) {
        vector_ops()->winograd_output(j->g, j->m + (size_t)f * stride, pitch, tile);
        for (int i = 0; i < j->span.images; ++i) {
            size_t at = (size_t)((j->span.image + i) * (j->finish ? p->n : p->c) + j->first + f) * plane;
            int height = winograd_put_rows(p, j->span, j->g, i, tile, (j->finish ? conv_finish_target(j->finish) : j->input_delta) + at, !j->finish);
            if (j->finish) conv_finish_run(j->finish, j->group, j->first + f, at + (size_t)(j->span.row * SIDE * p->w), (size_t)(height * p->w));
        }
    }
}

static void transform_output(struct output_job j)
{
    j.tasks = at_most(pool_threads(), j.count);
    pool_run(j.tasks, output_task, &j);
}

/* Weight gradients of a block of filters. */
struct gradient_job { int c, count, tasks; const float *u; float *w; };

static void gradient_task(void *arg, int task, int thread)
{
    const struct gradient_job *j = arg;
    size_t c = (size_t)j->c, first = pool_first((size_t)j->count, task, j->tasks), n = pool_first((size_t)j->count, task + 1, j->tasks) - first;

    (void)thread;
    vector_ops()->winograd_gradient(n * c, j->u + first * c, winograd_pitch((size_t)j->count * c), j->w + 9 * first * c);
}

/* Shared memory of a convolution: v (36, most(c, n), stride), m (36, block, stride), u (36, block, most). */
struct memory { float *v, *m, *u; int32_t *space; };

static struct memory memory_get(const struct winograd_plan *p)
{
    size_t most = (size_t)(p->c > p->n ? p->c : p->n), block = (size_t)p->block;
    struct memory a;

    a.v = pool_buffer(POOL_COPY, K * winograd_pitch(most * p->stride) * sizeof(float));
    a.m = pool_buffer(POOL_WEIGHTS_BACK, K * winograd_pitch(block * p->stride) * sizeof(float));
    a.u = pool_buffer(POOL_WEIGHTS, K * winograd_pitch(block * most) * sizeof(float));
    a.space = pool_buffer(POOL_OFFSETS, winograd_grid_space(p) * sizeof *a.space);
    return a;
}

void winograd_wide_forward(const layer *l, const struct winograd_plan *p, const float *input, const struct conv_finish *finish)
{
    struct memory a = memory_get(p);
    size_t plane = (size_t)p->h * (size_t)p->w, whole = K * winograd_pitch((size_t)(p->block * p->c));
    bool filled = false;
    float *kept = inference_weights(l, whole * (size_t)((p->n + p->block - 1) / p->block), p->block, &filled);

    for (int unit = 0; unit < p->units; ++unit) {
        struct winograd_span s = winograd_unit(p, unit);
        struct winograd_grid g = winograd_grid_input(p, s, (struct winograd_source){p->c, 0, p->h}, a.space);
        transform_planes(p, &g, false, input + (size_t)(s.image * p->c) * plane, p->c, a.v);
        for (int first = 0, count; first < p->n; first += count) {
            count = at_most(p->block, p->n - first);
            float *u = kept ? kept + (size_t)(first / p->block) * whole : a.u;
            if (!filled) transform_filters(l, false, first, count, p->c, u);
            multiply(false, count, (int)g.stride, (size_t)p->c, u, a.v, a.m);
            transform_output((struct output_job){.p = p, .g = &g, .span = s, .finish = finish, .group = unit, .first = first, .count = count, .m = a.m});
        }
        filled = kept != NULL;
    }
}

static void weight_gradient(const layer *l, const struct winograd_plan *p, struct winograd_span s, const float *input, const struct memory *a)
{
    size_t plane = (size_t)p->h * (size_t)p->w;
    struct winograd_grid g = winograd_grid_input(p, s, (struct winograd_source){p->c, 0, p->h}, a->space);

    transform_planes(p, &g, false, input + (size_t)(s.image * p->c) * plane, p->c, a->v);
    g = winograd_grid_delta(p, s, (struct winograd_source){p->n, 0, p->h}, a->space);
    for (int first = 0, count; first < p->n; first += count) {
        count = at_most(p->block, p->n - first);
        transform_planes(p, &g, true, l->delta + (size_t)(s.image * p->n + first) * plane, count, a->m);
        multiply(true, count, p->c, g.stride, a->m, a->v, a->u);
        struct gradient_job j = {p->c, count, at_most(pool_threads(), count), a->u, l->weight_updates + (size_t)(first * p->c * 9)};
        pool_run(j.tasks, gradient_task, &j);
    }
}

void winograd_wide_backward(const layer *l, const struct winograd_plan *p, const float *input, float *input_delta)
{
    struct memory a = memory_get(p);
    size_t plane = (size_t)p->h * (size_t)p->w;

    for (int unit = 0; unit < p->units; ++unit) {
        struct winograd_span s = winograd_unit(p, unit);
        if (!host_context()->gates_only) weight_gradient(l, p, s, input, &a);
        if (!input_delta) continue;
        struct winograd_grid g = winograd_grid_input(p, s, (struct winograd_source){p->n, 0, p->h}, a.space);
        transform_planes(p, &g, false, l->delta + (size_t)(s.image * p->n) * plane, p->n, a.v);
        for (int first = 0, count; first < p->c; first += count) {
            count = at_most(p->block, p->c - first);
            transform_filters(l, true, first, count, p->n, a.u);
            multiply(false, count, (int)g.stride, (size_t)p->n, a.u, a.v, a.m);
            transform_output((struct output_job){.p = p, .g = &g, .span = s, .input_delta = input_delta, .first = first, .count = count, .m = a.m});
        }
    }
}
