/* Depthwise convolutions (depthwise.h). Letters: h, w input; oh, ow output; K taps. Tasks share channels; of each channel all images are convolved,
 * then normalised, and backward all sums are taken before the first image's gradient: a channel's planes pass through the cache once. */
#include "depthwise.h"

#include <string.h>

#include "../context.h"
#include "activation.h"
#include "batchnorm.h"
#include "overrides.h"
#include "plane_rows.h"
#include "pool.h"
#include "vector.h"

enum { MAX_TAPS = 25, FLUSH = 8192 };

struct job {
    layer l;
    const float *input;
    float *input_delta;               /* NULL: not wanted */
    bool weights_wanted, keep_deltas;
    bool frozen;
    enum vector_activation f;
    struct plane_rows rows, back;     /* of the input; of delta, for the input gradient */
    int32_t offsets[MAX_TAPS];
    struct batchnorm_back norm;       /* backward */
    int tasks;
};

bool depthwise_fits(const layer *l)
{
    return l->groups == l->c && l->n == l->c && (l->size == 3 || l->size == 5) && (l->stride == 1 || l->stride == 2) && l->out_h > 0 && l->out_w > 0;
}

static size_t in_plane(const struct job *j, int image, int c) { return ((size_t)image * (size_t)j->l.c + (size_t)c) * (size_t)(j->l.h * j->l.w); }
static size_t out_plane(const struct job *j, int image, int c) { return ((size_t)image * (size_t)j->l.c + (size_t)c) * (size_t)(j->l.out_h * j->l.out_w); }

/* The input gradient reads delta above and to the left of an output by up to `reach`, below and to the right by up to (pad + stride - 1) / stride. */
static int reach(const layer *l) { return (l->size - 1) / l->stride; }

static struct job job_make(layer l, network net)
{
    struct job j = {.l = l, .input = net.input, .input_delta = net.delta, .frozen = batchnorm_frozen(net)};
    int after = (l.pad + l.stride - 1) / l.stride;

    j.rows = plane_rows_make(l.h, l.w, l.out_h, l.out_w, l.size, l.stride, l.pad);
    j.back = plane_rows_make(l.out_h, l.out_w, (l.h + l.stride - 1) / l.stride, (l.w + l.stride - 1) / l.stride, reach(&l) + after + 1, 1, reach(&l));
    plane_rows_offsets(&j.rows, j.offsets);
    j.tasks = pool_split((size_t)l.c, (size_t)l.batch * (size_t)l.outputs);
    return j;
}

static float *cleared(int thread, enum pool_slot slot, size_t floats) { return memset(pool_scratch(thread, slot, floats), 0, floats * sizeof(float)); }

/* The sums of one image of a channel, to x; m: NULL, or gets the values' moments while a band is in the cache. */
static void forward_plane(const struct job *j, int image, int c, float *buffer, float *x, struct moments *m)
{
    const struct vector_ops *ops = vector_ops();
    const struct plane_rows *p = &j->rows;
    size_t ow = (size_t)p->out_w, taps = (size_t)(p->size * p->size);
    const float *plane = j->input + in_plane(j, image, c);

    for (int r = 0; r < p->out_h; r += p->band) {
        int last = r + p->band < p->out_h ? r + p->band : p->out_h;
        size_t rows = (size_t)(last - r), n = rows * ow;
        float *out = x + (size_t)r * ow;
        plane_rows_pack(p, r, last, plane, 0, buffer);
        ops->stencil(rows, ow, taps, j->l.weights + (size_t)c * taps, j->offsets, buffer, (size_t)(p->pitch * p->stride), out, ow, false);
        if (m) {
            float mean = ops->sum(n, out) / (float)n;
            moments_merge(m, (double)n, (double)mean, (double)ops->squares(n, out, mean));
        }
    }
}

static void forward_channel(const struct job *j, int c, float *buffer)
{
    const layer *l = &j->l;
    size_t n = (size_t)(l->out_h * l->out_w);
    bool normalised = l->batch_normalize, statistics = normalised && !j->frozen;
    struct moments m = {0};
    float a = 1, b = l->biases[c];

    if (normalised && j->frozen) batchnorm_coefficients(*l, true, c, &a, &b);
    for (int i = 0; i < l->batch; ++i) {
        float *out = l->output + out_plane(j, i, c), *x = normalised ? l->x + out_plane(j, i, c) : out;
        forward_plane(j, i, c, buffer, x, statistics ? &m : NULL);
        if (!statistics) vector_ops()->affine(n, x, a, b, j->f, out);
    }
    if (!statistics) return;
    batchnorm_take_channel(l, c, &m);
    batchnorm_apply_channel(l, false, c, j->f);
}

static void forward_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    size_t last = pool_first((size_t)j->l.c, task + 1, j->tasks);
    float *buffer = cleared(thread, POOL_INPUT, j->rows.floats);

    for (size_t c = pool_first((size_t)j->l.c, task, j->tasks); c < last; ++c) forward_channel(j, (int)c, buffer);
}

void depthwise_forward(layer l, network net)
{
    struct job j = job_make(l, net);
    bool fused = activation_fuses(l.activation, &j.f);

    pool_run(j.tasks, forward_task, &j);
    if (!fused) activate_array(l.output, l.outputs * l.batch, l.activation);
}

struct back_buffers { float *input, *delta, *even, *odd, *sums, *plane; };

/* Adds the lanes of every term's sum to the channel's weight updates and clears them. */
static void flush_sums(const struct job *j, int c, float *sums)
{
    size_t taps = (size_t)(j->l.size * j->l.size), lanes = (size_t)vector_ops()->lanes;
    float *updates = j->l.weight_updates + (size_t)c * taps;

    for (size_t t = 0; t < taps; ++t) {
        double s = 0;
        for (size_t k = 0; k < lanes; ++k) s += (double)sums[t * lanes + k];
        updates[t] += (float)s;
    }
    memset(sums, 0, taps * lanes * sizeof *sums);
}

static void weight_gradient(const struct job *j, int image, int c, const float *delta, const struct back_buffers *b)
{
    const struct plane_rows *p = &j->rows;
    const float *plane = j->input + in_plane(j, image, c);
    size_t ow = (size_t)p->out_w;

    for (int r = 0; r < p->out_h; r += p->band) {
        int last = r + p->band < p->out_h ? r + p->band : p->out_h;
        plane_rows_pack(p, r, last, plane, 0, b->input);
        vector_ops()->stencil_products((size_t)(last - r), ow, (size_t)(p->size * p->size), delta + (size_t)r * ow, ow, j->offsets, b->input,
                                       (size_t)(p->pitch * p->stride), b->sums);
    }
}

/* The taps that reach input rows (columns) stride*r + row: their weights, and where in packed delta they read. */
static size_t phase_taps(const struct job *j, int c, int row, int column, float *w, int32_t *offset)
{
    const layer *l = &j->l;
    const float *weights = l->weights + (size_t)c * (size_t)(l->size * l->size);
    int lead = reach(l);
    size_t taps = 0;

    for (int ky = 0; ky < l->size; ++ky) {
        for (int kx = 0; kx < l->size; ++kx) {
            int dy = row + l->pad - ky, dx = column + l->pad - kx;
            if (dy % l->stride || dx % l->stride) continue;
            w[taps] = weights[ky * l->size + kx];
            offset[taps++] = (dy / l->stride + lead) * j->back.pitch + dx / l->stride + lead;
        }
    }
    return taps;
}

/* Input rows stride*r + row for r = first..last-1 of one image of the channel. */
static void input_rows(const struct job *j, int c, int row, int first, int last, const struct back_buffers *b, float *plane)
{
    const struct vector_ops *ops = vector_ops();
    const layer *l = &j->l;
    size_t w = (size_t)l->w, pitch = (size_t)j->back.pitch, rows;
    int32_t offset[MAX_TAPS];
    float weights[MAX_TAPS], *out = plane + (size_t)(first * l->stride + row) * w;

    if (last * l->stride + row - l->stride >= l->h) --last;   /* no such row in an odd plane */
    if (last <= first) return;
    rows = (size_t)(last - first);
    for (int column = 0; column < l->stride && column < l->w; ++column) {
        size_t taps = phase_taps(j, c, row, column, weights, offset), n = (w - (size_t)column + (size_t)l->stride - 1) / (size_t)l->stride;
        if (l->stride == 1) ops->stencil(rows, n, taps, weights, offset, b->delta, pitch, out, w, true);
        else ops->stencil(rows, n, taps, weights, offset, b->delta, pitch, column ? b->odd : b->even, pitch, false);
    }
    if (l->stride == 2) ops->join_rows(rows, w, b->even, b->odd, pitch, out, 2 * w);
}

static void input_gradient(const struct job *j, int image, int c, const float *delta, const struct back_buffers *b)
{
    const struct plane_rows *p = &j->back;
    float *plane = j->input_delta + in_plane(j, image, c);

    for (int r = 0; r < p->out_h; r += p->band) {
        int last = r + p->band < p->out_h ? r + p->band : p->out_h;
        plane_rows_pack(p, r, last, delta, 0, b->delta);
        for (int row = 0; row < j->l.stride; ++row) input_rows(j, c, row, r, last, b, plane);
    }
}

static void backward_channel(const struct job *j, int c, const struct back_buffers *b)
{
    const layer *l = &j->l;
    size_t n = (size_t)(l->out_h * l->out_w), pending = 0;

    batchnorm_back_channel(&j->norm, c);
    for (int i = l->batch - 1; i >= 0; --i) {   /* the last image first: it is still in the cache */
        const float *delta = l->delta + out_plane(j, i, c);
        if (j->norm.rest.normals) {
            float *finished = j->keep_deltas ? l->delta + out_plane(j, i, c) : b->plane;
            batchnorm_rest_run(&j->norm.rest, c, out_plane(j, i, c), n, finished);
            delta = finished;
        }
        if (j->weights_wanted) weight_gradient(j, i, c, delta, b);
        if (j->input_delta) input_gradient(j, i, c, delta, b);
        pending += n;
        if (pending < FLUSH && i) continue;
        flush_sums(j, c, b->sums);
        pending = 0;
    }
}

static void backward_task(void *arg, int task, int thread)
{
    const struct job *j = arg;
    size_t last = pool_first((size_t)j->l.c, task + 1, j->tasks), joined = (size_t)j->back.band * (size_t)j->back.pitch;
    float *tile = cleared(thread, POOL_TILE, MAX_TAPS * VECTOR_MAX_LANES + 2 * joined), *even = tile + MAX_TAPS * VECTOR_MAX_LANES;
    struct back_buffers b = {.input = cleared(thread, POOL_INPUT, j->rows.floats), .delta = cleared(thread, POOL_DELTA, j->back.floats),
                             .even = even, .odd = even + joined, .sums = tile,
                             .plane = pool_scratch(thread, POOL_PARTIAL, (size_t)(j->l.out_h * j->l.out_w))};

    for (size_t c = pool_first((size_t)j->l.c, task, j->tasks); c < last; ++c) backward_channel(j, (int)c, &b);
}

void depthwise_backward(layer l, network net)
{
    struct job j = job_make(l, net);

    j.weights_wanted = !host_context()->gates_only;
    j.keep_deltas = host_context()->keep_deltas;
    j.norm = batchnorm_back_begin(&j.l, net, l.activation, l.batch_normalize);
    pool_run(j.tasks, backward_task, &j);
}
