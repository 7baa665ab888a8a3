/* Made-up LAYERS signals for tests of K-FAC: a network's layers, random inputs and gradients, and factors by plain loops. */
#ifndef TESTS_UNIT_KFAC_RIG_H
#define TESTS_UNIT_KFAC_RIG_H

#include "criteria_rig.h"

#include "../../plugin/base/background.h"
#include "../../plugin/base/random.h"
#include "../../plugin/score/kfac.h"
#include "../../plugin/score/scoring.h"

#define MIXED_NET \
    "[net]\nbatch=1\nsubdivisions=1\nwidth=7\nheight=6\nchannels=4\n\n" \
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=1\npad=1\nactivation=leaky\n\n" \
    "[convolutional]\nfilters=4\nsize=3\nstride=2\npad=1\ngroups=2\nactivation=leaky\n\n" \
    "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=1\npad=0\ngroups=4\nactivation=leaky\n\n" \
    "[connected]\noutput=5\nactivation=linear\n\n[softmax]\n"
enum { MIXED_LAYERS = 4 };

static inline float wave(size_t i) { return (float)sin(0.7 * (double)i + 0.3); }

/* The signals of one forward pass; gradients of every third image are small. */
struct layers { struct prune_layer_signal items[MIXED_LAYERS]; size_t count; };

static inline struct prune_tensor random_tensor(struct prune_random *r, size_t b, size_t c, size_t h, size_t w, bool channels_last)
{
    struct prune_tensor t = {.type = PRUNE_F32, .rank = 4, .shape = {b, c, h, w}};
    ptrdiff_t plain[4] = {(ptrdiff_t)(c * h * w), (ptrdiff_t)(h * w), (ptrdiff_t)w, 1}, last[4] = {(ptrdiff_t)(c * h * w), 1, (ptrdiff_t)(w * c), (ptrdiff_t)c};
    memcpy(t.strides, channels_last ? last : plain, sizeof plain);
    float *data = malloc(b * c * h * w * sizeof *data);
    assert_non_null(data);
    for (size_t i = 0; i < b * c * h * w; i++) data[i] = (float)(prune_random_normal(r) + 0.3);
    t.data = data;
    return t;
}

static inline struct layers layers_make(const struct prune_net *net, size_t images, uint64_t seed, bool channels_last)
{
    struct layers l = {.count = 0};
    struct prune_random r = prune_random_make(seed, 1, 0);
    for (size_t i = 0; i < net->layer_count && l.count < MIXED_LAYERS; i++) {
        const struct prune_layer *layer = &net->layers[i];
        bool flat = layer->kind == PRUNE_CONNECTED;
        if (!flat && layer->kind != PRUNE_CONVOLUTIONAL) continue;
        struct prune_layer_signal *s = &l.items[l.count++];
        s->layer = (int)i;
        s->negated = false;
        s->input = random_tensor(&r, images, flat ? (size_t)layer->inputs : (size_t)layer->c, flat ? 1 : (size_t)layer->h, flat ? 1 : (size_t)layer->w, channels_last);
        s->gradient = random_tensor(&r, images, flat ? (size_t)layer->outputs : (size_t)layer->out_c, flat ? 1 : (size_t)layer->out_h, flat ? 1 : (size_t)layer->out_w, channels_last);
    }
    return l;
}

static inline void layers_free(struct layers *l)
{
    for (size_t i = 0; i < l->count; i++) free(l->items[i].input.data), free(l->items[i].gradient.data);
}

/* ends: the pass ends its minibatch of `images`. */
static inline struct prune_signals signals_of(const struct layers *l, size_t images, bool ends)
{
    return (struct prune_signals){.images = ends ? images : 0, .layers = l->items, .layer_count = l->count, .layer_images = l->items[0].input.shape[0]};
}

static inline double value(const struct prune_tensor *t, size_t b, size_t c, ptrdiff_t y, ptrdiff_t x)
{
    if (y < 0 || x < 0 || y >= (ptrdiff_t)t->shape[2] || x >= (ptrdiff_t)t->shape[3]) return 0;
    return (double)((const float *)t->data)[(ptrdiff_t)b * t->strides[0] + (ptrdiff_t)c * t->strides[1] + y * t->strides[2] + x * t->strides[3]];
}

/* Element j of the patch of group g at (y, x) of the output. */
static inline double patch(const struct prune_layer *l, const struct prune_kfac_shape *shape, const struct prune_tensor *input, size_t b, size_t g, size_t y, size_t x, size_t j)
{
    if (shape->bias && j == shape->d - 1) return 1;
    if (l->kind == PRUNE_CONNECTED) return value(input, b, j, 0, 0);
    size_t k = (size_t)l->size, per_group = (size_t)l->c / shape->groups, c = g * per_group + j / (k * k), ky = j / k % k, kx = j % k;
    return value(input, b, c, (ptrdiff_t)(y * (size_t)l->stride + ky) - l->pad, (ptrdiff_t)(x * (size_t)l->stride + kx) - l->pad);
}

/* Adds weight x (sum over images and locations) to a (d, d) and the mean over locations to s (n, n) of one group. */
static inline void add_factors(const struct prune_net *net, const struct prune_kfac_shape *shape, const struct prune_layer_signal *s, size_t g, double weight, double *a, double *sm)
{
    const struct prune_layer *l = &net->layers[shape->layer];
    size_t h = s->gradient.shape[2], w = s->gradient.shape[3], n = shape->n, d = shape->d;
    double *p = malloc((d + n) * sizeof *p), *q = p + d;
    assert_non_null(p);
    for (size_t at = 0; at < s->input.shape[0] * h * w; at++) {
        size_t b = at / (h * w), y = at / w % h, x = at % w;
        for (size_t j = 0; j < d; j++) p[j] = patch(l, shape, &s->input, b, g, y, x, j);
        for (size_t i = 0; i < n; i++) q[i] = value(&s->gradient, b, g * n + i, (ptrdiff_t)y, (ptrdiff_t)x);
        for (size_t i = 0; i < d * d; i++) a[i] += weight * p[i / d] * p[i % d];
        for (size_t i = 0; i < n * n; i++) sm[i] += weight * q[i / n] * q[i % n] / (double)(h * w);
    }
    free(p);
}

static inline void matrix_near(const float *found, const double *expected, size_t n, double tolerance, const char *what)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) largest = fmax(largest, fabs(expected[i]));
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)found[i] - expected[i]) <= tolerance * largest)) fail_msg("%s[%zu] = %.9g, expected %.9g", what, i, (double)found[i], expected[i]);
}

#endif
