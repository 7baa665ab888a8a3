/* Convolution by im2col and OpenBLAS, one BLAS thread per thread of the pool: columns of one image, or of several side by side so that the matrices
 * of small maps get wide. 1x1 convolutions of single images read the image itself. */
#include <cblas.h>
#include <stdlib.h>
#include <string.h>

#include "conv_trials.h"
#include "../../darknet/kernels/overrides.h"
#include "../../darknet/kernels/pool.h"

enum { WIDE = 4096 };           /* columns that a batched product aims at */

struct columns {
    struct trial_shape s;
    struct trial_tensors t;
    int images, pixels, terms;  /* images per product, oh * ow, (c / groups) * size * size */
    bool direct;
    float *col[TRIAL_THREADS], *tall[TRIAL_THREADS], *updates[TRIAL_THREADS];   /* (terms, images * pixels), (n / groups, images * pixels), nweights */
    size_t nweights;
    enum trial_pass pass;
};

static void *need(size_t floats)
{
    void *p = aligned_alloc(64, (floats * sizeof(float) + 63) / 64 * 64);
    if (!p) abort();
    return p;
}

static void *open_columns(const struct trial_shape *s, const struct trial_tensors *t, int images)
{
    struct columns *m = calloc(1, sizeof *m);

    if (!m) abort();
    m->s = *s;
    m->t = *t;
    m->images = images;
    m->pixels = s->oh * s->ow;
    m->terms = s->c / s->groups * s->size * s->size;
    m->direct = images == 1 && s->size == 1 && s->stride == 1 && s->pad == 0;
    m->nweights = (size_t)s->n * (size_t)m->terms;
    for (int i = 0; i < TRIAL_THREADS; ++i) {
        m->col[i] = need((size_t)m->terms * (size_t)(images * m->pixels));
        m->tall[i] = need((size_t)(s->n / s->groups) * (size_t)(images * m->pixels));
        m->updates[i] = need(m->nweights);
    }
    return m;
}

static void *open_single(const struct trial_shape *s, const struct trial_tensors *t) { return open_columns(s, t, 1); }

static void *open_batched(const struct trial_shape *s, const struct trial_tensors *t)
{
    int images = WIDE / (s->oh * s->ow), most = s->batch / TRIAL_THREADS;

    if (images > most) images = most;
    return images < 2 ? NULL : open_columns(s, t, images);
}

static void close_columns(void *method)
{
    struct columns *m = method;

    for (int i = 0; i < TRIAL_THREADS; ++i) {
        free(m->col[i]);
        free(m->tall[i]);
        free(m->updates[i]);
    }
    free(m);
}

/* One row of columns and the image row it comes from: outputs first..last-1 have an input. */
static void row_range(const struct trial_shape *s, int kx, int *first, int *last)
{
    int offset = kx - s->pad;

    *first = offset < 0 ? (-offset + s->stride - 1) / s->stride : 0;
    *last = s->w - 1 - offset < 0 ? 0 : (s->w - 1 - offset) / s->stride + 1;
    if (*last > s->ow) *last = s->ow;
    if (*first > *last) *first = *last;
}

static void to_columns(const struct columns *m, const float *image, float *col, size_t pitch)
{
    const struct trial_shape *s = &m->s;

    for (int k = 0; k < m->terms; ++k) {
        int ky = k / s->size % s->size, kx = k % s->size, first, last;
        const float *plane = image + (size_t)(k / (s->size * s->size)) * (size_t)(s->h * s->w);
        row_range(s, kx, &first, &last);
        for (int oy = 0; oy < s->oh; ++oy) {
            float *out = col + (size_t)k * pitch + (size_t)(oy * s->ow);
            int y = oy * s->stride + ky - s->pad;
            const float *in = plane + y * s->w + kx - s->pad;
            if (y < 0 || y >= s->h) {
                memset(out, 0, (size_t)s->ow * sizeof *out);
                continue;
            }
            for (int x = 0; x < first; ++x) out[x] = 0;
            if (s->stride == 1) memcpy(out + first, in + first, (size_t)(last - first) * sizeof *out);
            else for (int x = first; x < last; ++x) out[x] = in[x * s->stride];
            for (int x = last; x < s->ow; ++x) out[x] = 0;
        }
    }
}

static void from_columns(const struct columns *m, const float *col, size_t pitch, float *image)
{
    const struct trial_shape *s = &m->s;

    for (int k = 0; k < m->terms; ++k) {
        int ky = k / s->size % s->size, kx = k % s->size, first, last;
        float *plane = image + (size_t)(k / (s->size * s->size)) * (size_t)(s->h * s->w);
        row_range(s, kx, &first, &last);
        for (int oy = 0; oy < s->oh; ++oy) {
            const float *in = col + (size_t)k * pitch + (size_t)(oy * s->ow);
            int y = oy * s->stride + ky - s->pad;
            float *out = plane + y * s->w + kx - s->pad;
            if (y < 0 || y >= s->h) continue;
            if (s->stride == 1) for (int x = first; x < last; ++x) out[x] += in[x];
            else for (int x = first; x < last; ++x) out[x * s->stride] += in[x];
        }
    }
}

/* Group g of `count` images from `image`, all at once: a product's operands. */
struct part { int image, count, g, thread; size_t wide; const float *col; };

static void forward_part(const struct columns *m, struct part p)
{
    int ng = m->s.n / m->s.groups, pixels = m->pixels, wide = (int)p.wide;
    const float *weights = m->t.weights + (size_t)(p.g * ng) * (size_t)m->terms, *biases = m->t.biases + p.g * ng;
    float *out = m->t.output + ((size_t)p.image * (size_t)m->s.n + (size_t)(p.g * ng)) * (size_t)pixels, *tall = m->images == 1 ? out : m->tall[p.thread];

    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, ng, wide, m->terms, 1, weights, m->terms, p.col, wide, 0, tall, wide);
    for (int i = 0; i < p.count; ++i, out += (size_t)m->s.n * (size_t)pixels) {
        for (int f = 0; f < ng; ++f) {
            const float *from = tall + (size_t)f * p.wide + (size_t)(i * pixels);
            float *to = out + (size_t)f * (size_t)pixels, bias = biases[f];
            for (int x = 0; x < pixels; ++x) to[x] = from[x] + bias;
        }
    }
}

static void backward_part(const struct columns *m, struct part p, float *col)
{
    int ng = m->s.n / m->s.groups, cg = m->s.c / m->s.groups, pixels = m->pixels, wide = (int)p.wide;
    const float *weights = m->t.weights + (size_t)(p.g * ng) * (size_t)m->terms;
    const float *delta = m->t.delta + ((size_t)p.image * (size_t)m->s.n + (size_t)(p.g * ng)) * (size_t)pixels, *tall = delta;
    float *updates = m->updates[p.thread] + (size_t)(p.g * ng) * (size_t)m->terms;
    size_t plane = (size_t)m->s.h * (size_t)m->s.w;
    float *image = m->t.input_delta + ((size_t)p.image * (size_t)m->s.c + (size_t)(p.g * cg)) * plane;

    if (m->images > 1) {
        for (int i = 0; i < p.count; ++i) {
            for (int f = 0; f < ng; ++f) {
                memcpy(m->tall[p.thread] + (size_t)f * p.wide + (size_t)(i * pixels), delta + ((size_t)i * (size_t)m->s.n + (size_t)f) * (size_t)pixels,
                       (size_t)pixels * sizeof *delta);
            }
        }
        tall = m->tall[p.thread];
    }
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, ng, m->terms, wide, 1, tall, wide, p.col, wide, 1, updates, m->terms);
    if (m->pass != TRIAL_BOTH) return;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, m->terms, wide, ng, 1, weights, m->terms, tall, wide, m->direct ? 1 : 0,
                m->direct ? image : col, wide);
    for (int i = 0; i < p.count && !m->direct; ++i) from_columns(m, col + i * pixels, p.wide, image + (size_t)i * (size_t)m->s.c * plane);
}

static void columns_task(void *arg, int task, int thread)
{
    struct columns *m = arg;
    int cg = m->s.c / m->s.groups;
    size_t plane = (size_t)m->s.h * (size_t)m->s.w, products = (size_t)((m->s.batch + m->images - 1) / m->images);

    memset(m->updates[task], 0, m->nweights * sizeof(float));
    (void)thread;
    for (size_t i = pool_first(products, task, TRIAL_THREADS); i < pool_first(products, task + 1, TRIAL_THREADS); ++i) {
        struct part p = {.image = (int)i * m->images, .thread = task};
        p.count = m->s.batch - p.image < m->images ? m->s.batch - p.image : m->images;
        p.wide = (size_t)(p.count * m->pixels);
        for (p.g = 0; p.g < m->s.groups; ++p.g) {
            const float *x = m->t.input + ((size_t)p.image * (size_t)m->s.c + (size_t)(p.g * cg)) * plane;
            p.col = m->direct ? x : m->col[task];
            for (int k = 0; k < p.count && !m->direct; ++k) {
                to_columns(m, x + (size_t)k * (size_t)m->s.c * plane, m->col[task] + k * m->pixels, p.wide);
            }
            if (m->pass == TRIAL_FORWARD) forward_part(m, p);
            else backward_part(m, p, m->col[task]);
        }
    }
}

static void run_columns(void *method, enum trial_pass pass)
{
    struct columns *m = method;

    m->pass = pass;
    pool_run(TRIAL_THREADS, columns_task, m);
    if (pass == TRIAL_FORWARD) return;
    for (int i = 0; i < TRIAL_THREADS; ++i) cblas_saxpy((int)m->nweights, 1, m->updates[i], 1, m->t.weight_updates, 1);
    backward_bias(m->t.bias_updates, m->t.delta, m->s.batch, m->s.n, m->pixels);
}

const struct trial_method trial_im2col = {"im2col", open_single, run_columns, NULL, NULL, close_columns};
const struct trial_method trial_batched = {"batched", open_batched, run_columns, NULL, NULL, close_columns};
