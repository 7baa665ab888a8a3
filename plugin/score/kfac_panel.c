/* Panels: the patches and gradients of sampled locations, one row per location, and the rank-k updates they are for. Locations are drawn without replacement from
 * (seed, layer, ordinal of the image), the same for A and S. The updates are jobs that own their panel, so that a worker can do them while the host goes on; with
 * and without it they are the same, in the same order. */
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/background.h"
#include "../base/random.h"
#include "families.h"
#include "kfac_private.h"

enum { MOST_PANEL_BYTES = 16 << 20 };
static const double COLUMNS_PER_DIMENSION = 1, FEWEST_PER_DIMENSION = 0.5, SHARE_OF_STEP = 0.03;
static const uint64_t STREAM = 0x6b66616300000000u;   /* "kfac", the layer behind */

bool prune_kfac_signal_fits(const struct prune_net *net, const struct kfac_place *p, const struct prune_layer_signal *signal)
{
    const struct prune_layer *l = &net->layers[p->layer];
    const struct prune_tensor *x = &signal->input, *g = &signal->gradient;
    size_t inputs = l->kind == PRUNE_CONNECTED ? (size_t)l->inputs : (size_t)l->c;
    return prune_signal_readable(x, PRUNE_F32, 4) && prune_signal_readable(g, PRUNE_F32, 4) && x->shape[0] == g->shape[0] && x->shape[1] == inputs &&
           g->shape[1] == p->groups * p->n;
}

/* Left to us: a column per dimension and pass where that costs no more multiply-adds than 3% of the layer's own training step, else what 3% pay for, but never
 * fewer than half a column per dimension: averages are over 20 minibatches or so (docs/kfac.md: what the ranking loses). */
static double columns_wanted(const struct kfac_place *p, double all)
{
    double n = (double)p->n, d = (double)p->d, largest = fmax(n, d);
    double paid = SHARE_OF_STEP * 3 * n * d * all / ((n * n + d * d) / 2);
    return fmax(FEWEST_PER_DIMENSION * largest, fmin(COLUMNS_PER_DIMENSION * largest, paid));
}

size_t prune_kfac_samples(const struct prune_kfac_options *o, const struct kfac_place *p, size_t images, size_t locations)
{
    double all = (double)locations, wanted = o->samples > 0 ? o->samples * all : columns_wanted(p, all * (double)images) / (double)images;
    wanted = ceil(wanted - 1e-9);
    if (wanted >= all) return locations;
    return wanted > 1 ? (size_t)wanted : 1;
}

/* ---- one row ---- */

struct geometry { size_t channels, size, stride_x, stride_y, dilation; ptrdiff_t pad; };   /* channels: of one group */

static struct geometry geometry_of(const struct prune_net *net, const struct kfac_place *p)
{
    const struct prune_layer *l = &net->layers[p->layer];
    if (l->kind == PRUNE_CONNECTED) return (struct geometry){(size_t)l->inputs, 1, 1, 1, 1, 0};
    return (struct geometry){(size_t)l->c / p->groups, (size_t)l->size, (size_t)l->stride_x, (size_t)l->stride_y, l->dilation > 1 ? (size_t)l->dilation : 1, l->pad};
}

/* Windows that lie within the map, its columns next to each other. Inlined where size is a constant. */
static inline void copy_windows(const float *at, size_t channels, ptrdiff_t next, ptrdiff_t row, size_t size, float *out)
{
    for (size_t c = 0; c < channels; c++, at += next)
        for (size_t y = 0; y < size; y++)
            for (size_t x = 0; x < size; x++) *out++ = at[(ptrdiff_t)y * row + (ptrdiff_t)x];
}

static void copy_patch(const struct prune_tensor *x, const float *corner, const struct geometry *g, float *out)
{
    ptrdiff_t next = x->strides[1], row = x->strides[2];
    if (g->size == 1) copy_windows(corner, g->channels, next, row, 1, out);
    else if (g->size == 3) copy_windows(corner, g->channels, next, row, 3, out);
    else copy_windows(corner, g->channels, next, row, g->size, out);
}

/* Patch of a channel at (top, left), outside of the map 0. */
static void read_window(const struct prune_tensor *x, const float *channel, const struct geometry *g, ptrdiff_t top, ptrdiff_t left, float *out)
{
    ptrdiff_t h = (ptrdiff_t)x->shape[2], w = (ptrdiff_t)x->shape[3];
    for (size_t ky = 0; ky < g->size; ky++) {
        ptrdiff_t y = top + (ptrdiff_t)(ky * g->dilation);
        for (size_t kx = 0; kx < g->size; kx++) {
            ptrdiff_t column = left + (ptrdiff_t)(kx * g->dilation);
            bool inside = y >= 0 && y < h && column >= 0 && column < w;
            *out++ = inside ? channel[y * x->strides[2] + column * x->strides[3]] : 0;
        }
    }
}

static void read_patch(const struct kfac_addition *add, const struct geometry *g, size_t image, size_t location, float *out)
{
    const struct prune_tensor *x = &add->signal->input;
    size_t width = add->signal->gradient.shape[3];
    ptrdiff_t top = (ptrdiff_t)(location / width * g->stride_y) - g->pad, left = (ptrdiff_t)(location % width * g->stride_x) - g->pad;
    ptrdiff_t bottom = top + (ptrdiff_t)g->size, right = left + (ptrdiff_t)g->size;
    bool inside = top >= 0 && left >= 0 && bottom <= (ptrdiff_t)x->shape[2] && right <= (ptrdiff_t)x->shape[3] && g->dilation == 1 && (x->strides[3] == 1 || g->size == 1);
    const float *at = (const float *)x->data + (ptrdiff_t)image * x->strides[0];
    size_t window = g->size * g->size;
    for (size_t group = 0; group < add->place->groups; group++, at += (ptrdiff_t)g->channels * x->strides[1]) {
        if (inside) copy_patch(x, at + top * x->strides[2] + left * x->strides[3], g, out);
        else
            for (size_t c = 0; c < g->channels; c++) read_window(x, at + (ptrdiff_t)c * x->strides[1], g, top, left, out + c * window);
        out += g->channels * window;
        if (add->place->bias) *out++ = 1;
    }
}

static void read_gradient(const struct kfac_addition *add, size_t image, size_t location, float *out)
{
    const struct prune_tensor *t = &add->signal->gradient;
    size_t width = t->shape[3], filters = t->shape[1];
    const float *at = (const float *)t->data + (ptrdiff_t)image * t->strides[0] + (ptrdiff_t)(location / width) * t->strides[2] + (ptrdiff_t)(location % width) * t->strides[3];
    for (size_t f = 0; f < filters; f++, at += t->strides[1]) out[f] = *at;
}

/* ---- jobs ---- */

struct job {
    float *a, *s;
    size_t groups, n, d, rows;
    float keep, take_a, take_s;
    bool last;
    float panel[];                       /* (rows, groups * d), (rows, groups * n) */
};

static void mirror(float *m, size_t n)
{
    enum { TILE = 32 };
    for (size_t i0 = 0; i0 < n; i0 += TILE)
        for (size_t j0 = 0; j0 <= i0; j0 += TILE)
            for (size_t i = i0; i < n && i < i0 + TILE; i++)
                for (size_t j = j0; j < i && j < j0 + TILE; j++) m[j * n + i] = m[i * n + j];
}

static void add_products(float *sums, size_t groups, size_t n, const float *panel, size_t rows, float keep, float take, bool last)
{
    for (size_t g = 0; g < groups; g++, sums += n * n) {
        cblas_ssyrk(CblasRowMajor, CblasLower, CblasTrans, (int)n, (int)rows, take, panel + g * n, (int)(groups * n), keep, sums, (int)n);
        if (last) mirror(sums, n);
    }
}

static void run_job(void *argument)
{
    const struct job *j = argument;
    add_products(j->a, j->groups, j->d, j->panel, j->rows, j->keep, j->take_a, j->last);
    add_products(j->s, j->groups, j->n, j->panel + j->rows * j->groups * j->d, j->rows, j->keep, j->take_s, j->last);
}

static void fill(const struct kfac_addition *add, struct job *job, size_t first)
{
    const struct geometry g = geometry_of(add->in->net, add->place);
    size_t locations = add->signal->gradient.shape[2] * add->signal->gradient.shape[3], wide_a = job->groups * job->d, wide_s = job->groups * job->n;
    float *a = job->panel, *s = job->panel + job->rows * wide_a;
    for (size_t row = first; row < first + job->rows; row++, a += wide_a, s += wide_s) {
        size_t image = row / add->samples, location = row % add->samples;
        struct prune_random r = prune_random_make(add->in->seed, STREAM + (uint64_t)add->place->layer, add->ordinal + image);
        if (add->samples < locations) location = (size_t)prune_random_permute(prune_random_u64(&r), 0, location, locations);
        read_patch(add, &g, image, location, a);
        read_gradient(add, image, location, s);
    }
}

static struct job *job_of(const struct kfac_addition *add, size_t first, size_t rows, size_t all, size_t *bytes)
{
    const struct kfac_place *p = add->place;
    size_t locations = add->signal->gradient.shape[2] * add->signal->gradient.shape[3];
    *bytes = sizeof(struct job) + rows * p->groups * (p->d + p->n) * sizeof(float);
    struct job *j = malloc(*bytes);
    if (!j) return NULL;
    *j = (struct job){.a = add->a, .s = add->s, .groups = p->groups, .n = p->n, .d = p->d, .rows = rows, .keep = first ? 1 : add->keep, .last = first + rows == all};
    j->take_a = (float)((double)add->take * (double)locations / (double)add->samples);
    j->take_s = (float)((double)add->take / (double)add->samples);
    fill(add, j, first);
    return j;
}

bool prune_kfac_add(const struct kfac_addition *add)
{
    const struct kfac_place *p = add->place;
    size_t all = add->signal->input.shape[0] * add->samples, fits = MOST_PANEL_BYTES / (p->groups * (p->d + p->n) * sizeof(float)), bytes;
    if (!fits) fits = 1;
    for (size_t first = 0; first < all; first += fits) {
        struct job *j = job_of(add, first, all - first < fits ? all - first : fits, all, &bytes);
        if (!j) return false;
        if (add->in->background) {
            prune_background_put(add->in->background, run_job, j, bytes);
            continue;
        }
        run_job(j);
        free(j);
    }
    return true;
}
