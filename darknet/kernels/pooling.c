/* Max pooling, average pooling and upsampling, one task per range of planes. Replaces the host's functions of these names.
 * A maxpool window starts at -pad/2 and skips what lies outside; l.indexes keeps where each maximum was, counted in the whole input array. */
#include <float.h>
#include <stdbool.h>

#include "overrides.h"
#include "plane_rows.h"
#include "pool.h"
#include "vector.h"

enum { MAX_SIZE = 13 };

struct job {
    const layer *l;
    const float *input;
    float *delta;
    int tasks;
    size_t planes;
    bool packed;                      /* maxpool by stencils over packed rows; otherwise one number at a time */
    struct plane_rows rows;
    int32_t offsets[MAX_SIZE * MAX_SIZE];
    float codes[MAX_SIZE * MAX_SIZE]; /* how far the tap lies from the window's first number in the plane */
};

static struct job job_make(const layer *l, network net, size_t elements)
{
    struct job j = {.l = l, .input = net.input, .delta = net.delta, .planes = (size_t)l->batch * (size_t)l->c};

    j.tasks = pool_split(j.planes, elements);
    return j;
}

static void maxpool_plane(const layer *l, const float *input, size_t plane)
{
    size_t base = plane * (size_t)(l->h * l->w), out = plane * (size_t)(l->out_h * l->out_w);

    for (int oy = 0; oy < l->out_h; ++oy) {
        int y0 = oy * l->stride - l->pad / 2, y1 = y0 + l->size < l->h ? y0 + l->size : l->h;
        for (int ox = 0; ox < l->out_w; ++ox, ++out) {
            int x0 = ox * l->stride - l->pad / 2, x1 = x0 + l->size < l->w ? x0 + l->size : l->w;
            float best = -FLT_MAX;
            int where = -1;
            for (int y = y0 < 0 ? 0 : y0; y < y1; ++y) {
                for (int x = x0 < 0 ? 0 : x0; x < x1; ++x) {
                    int i = (int)base + y * l->w + x;
                    if (input[i] > best) {
                        best = input[i];
                        where = i;
                    }
                }
            }
            l->output[out] = best;
            l->indexes[out] = where;
        }
    }
}

static void maxpool_rows(const struct job *j, size_t plane, float *buffer)
{
    const struct plane_rows *p = &j->rows;
    size_t in = plane * (size_t)(p->h * p->w), out = plane * (size_t)(p->out_h * p->out_w), taps = (size_t)(p->size * p->size);

    for (int r = 0; r < p->out_h; r += p->band) {
        int last = r + p->band < p->out_h ? r + p->band : p->out_h, base = (int)in + (r * p->stride - p->before) * p->w - p->before;
        size_t at = out + (size_t)(r * p->out_w);
        plane_rows_pack(p, r, last, j->input + in, -FLT_MAX, buffer);
        vector_ops()->stencil_maximum((size_t)(last - r), (size_t)p->out_w, taps, j->codes, j->offsets, buffer, (size_t)(p->pitch * p->stride),
                                      j->l->output + at, j->l->indexes + at, base, p->stride * p->w, p->stride);
    }
}

static void maxpool_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    size_t last = pool_first(j->planes, task + 1, j->tasks);
    float *buffer = j->packed ? pool_scratch(thread, POOL_INPUT, j->rows.floats) : NULL;

    for (size_t i = 0; buffer && i < j->rows.floats; ++i) buffer[i] = -FLT_MAX;
    for (size_t i = pool_first(j->planes, task, j->tasks); i < last; ++i) {
        if (buffer) maxpool_rows(j, i, buffer);
        else maxpool_plane(j->l, j->input, i);
    }
}

static void maxpool_back_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    size_t n = (size_t)j->l->out_h * (size_t)j->l->out_w;
    size_t first = pool_first(j->planes, task, j->tasks) * n, last = pool_first(j->planes, task + 1, j->tasks) * n;

    (void)thread;
    for (size_t i = first; i < last; ++i) {
        if (j->l->indexes[i] >= 0) j->delta[j->l->indexes[i]] += j->l->delta[i];
    }
}

void forward_maxpool_layer(layer l, network net)
{
    struct job j = job_make(&l, net, (size_t)l.outputs * (size_t)l.batch * (size_t)(l.size * l.size));

    j.packed = l.size <= MAX_SIZE && (l.stride == 1 || l.stride == 2) && (long)l.size * l.w < 1L << 24 && l.out_h > 0 && l.out_w > 0;
    if (j.packed) {
        j.rows = plane_rows_make(l.h, l.w, l.out_h, l.out_w, l.size, l.stride, l.pad / 2);
        plane_rows_offsets(&j.rows, j.offsets);
        for (int t = 0; t < l.size * l.size; ++t) j.codes[t] = (float)(t / l.size * l.w + t % l.size);
    }
    pool_run(j.tasks, maxpool_task, &j);
}

void backward_maxpool_layer(layer l, network net)
{
    struct job j = job_make(&l, net, (size_t)l.outputs * (size_t)l.batch);

    if (net.delta) pool_run(j.tasks, maxpool_back_task, &j);
}

static void avgpool_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    size_t n = (size_t)j->l->h * (size_t)j->l->w, last = pool_first(j->planes, task + 1, j->tasks);

    (void)thread;
    for (size_t i = pool_first(j->planes, task, j->tasks); i < last; ++i) j->l->output[i] = vector_ops()->sum(n, j->input + i * n) / (float)n;
}

static void avgpool_back_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    size_t n = (size_t)j->l->h * (size_t)j->l->w, last = pool_first(j->planes, task + 1, j->tasks);

    (void)thread;
    for (size_t i = pool_first(j->planes, task, j->tasks); i < last; ++i) {
        float *d = j->delta + i * n;
        vector_ops()->affine(n, d, 1, j->l->delta[i] / (float)n, VECTOR_LINEAR, d);
    }
}

void forward_avgpool_layer(layer l, network net)
{
    struct job j = job_make(&l, net, (size_t)l.inputs * (size_t)l.batch);

    pool_run(j.tasks, avgpool_task, &j);
}

void backward_avgpool_layer(layer l, network net)
{
    struct job j = job_make(&l, net, (size_t)l.inputs * (size_t)l.batch);

    if (net.delta) pool_run(j.tasks, avgpool_back_task, &j);
}

struct upsample_job { float *in, *out; size_t w, h, stride, planes; int forward; float scale; int tasks; };

static void upsample_task(void *arg, int task, int thread)
{
    const struct upsample_job *j = arg;
    size_t last = pool_first(j->planes, task + 1, j->tasks), wide = j->w * j->stride;

    (void)thread;
    for (size_t plane = pool_first(j->planes, task, j->tasks); plane < last; ++plane) {
        for (size_t y = 0; y < j->h * j->stride; ++y) {
            float *in = j->in + (plane * j->h + y / j->stride) * j->w, *out = j->out + (plane * j->h * j->stride + y) * wide;
            for (size_t x = 0; x < j->w; ++x) {
                for (size_t k = 0; k < j->stride; ++k) {
                    if (j->forward) out[x * j->stride + k] = j->scale * in[x];
                    else in[x] += j->scale * out[x * j->stride + k];
                }
            }
        }
    }
}

/* forward: out = scale * repeated in; otherwise in += scale * sum of out over each block. */
void upsample_cpu(float *in, int w, int h, int c, int batch, int stride, int forward, float scale, float *out)
{
    struct upsample_job j = {.in = in, .out = out, .w = (size_t)w, .h = (size_t)h, .stride = (size_t)stride, .planes = (size_t)batch * (size_t)c,
                             .forward = forward, .scale = scale};

    j.tasks = pool_split(j.planes, j.planes * j.w * j.h * j.stride * j.stride);
    pool_run(j.tasks, upsample_task, &j);
}
