/* The reference of the convolution trials: elements chosen by a fixed sequence, summed in double precision straight from the definition. */
#include <math.h>
#include <stdint.h>

#include "conv_trials.h"

enum { SAMPLES = 24, WEIGHT_SAMPLES = 8 };

struct sum { double value, absolute; };

static void add(struct sum *s, float a, float b)
{
    double v = (double)a * (double)b;
    s->value += v;
    s->absolute += fabs(v);
}

static size_t at(size_t n, const int *d, const int *i)
{
    size_t k = 0;
    for (size_t j = 0; j < n; ++j) k = k * (size_t)d[j] + (size_t)i[j];
    return k;
}

static size_t input_at(const struct trial_shape *s, int b, int c, int y, int x) { return at(4, (int[]){s->batch, s->c, s->h, s->w}, (int[]){b, c, y, x}); }
static size_t output_at(const struct trial_shape *s, int b, int f, int y, int x) { return at(4, (int[]){s->batch, s->n, s->oh, s->ow}, (int[]){b, f, y, x}); }
static size_t weight_at(const struct trial_shape *s, int f, int c, int ky, int kx)
{
    return at(4, (int[]){s->n, s->c / s->groups, s->size, s->size}, (int[]){f, c, ky, kx});
}

/* Tap (ky, kx) of output (y, x) reads input (*iy, *ix), unless it lies outside. */
static bool tap(const struct trial_shape *s, int y, int x, int ky, int kx, int *iy, int *ix)
{
    *iy = y * s->stride + ky - s->pad;
    *ix = x * s->stride + kx - s->pad;
    return *iy >= 0 && *iy < s->h && *ix >= 0 && *ix < s->w;
}

static float output_sum(const struct trial_shape *s, const struct trial_tensors *t, size_t element, struct sum *sum)
{
    int x = (int)(element % (size_t)s->ow), y = (int)(element / (size_t)s->ow % (size_t)s->oh);
    int f = (int)(element / (size_t)(s->ow * s->oh) % (size_t)s->n), b = (int)(element / (size_t)(s->ow * s->oh) / (size_t)s->n);
    int cg = s->c / s->groups, g = f / (s->n / s->groups), iy, ix;

    add(sum, t->biases[f], 1);
    for (int c = 0; c < cg; ++c) for (int ky = 0; ky < s->size; ++ky) for (int kx = 0; kx < s->size; ++kx) {
        if (tap(s, y, x, ky, kx, &iy, &ix)) add(sum, t->input[input_at(s, b, g * cg + c, iy, ix)], t->weights[weight_at(s, f, c, ky, kx)]);
    }
    return t->output[element];
}

static float weight_sum(const struct trial_shape *s, const struct trial_tensors *t, size_t element, struct sum *sum)
{
    int taps = s->size * s->size, cg = s->c / s->groups, iy, ix;
    int k = (int)(element % (size_t)taps), c = (int)(element / (size_t)taps % (size_t)cg), f = (int)(element / (size_t)taps / (size_t)cg);
    int g = f / (s->n / s->groups);

    for (int b = 0; b < s->batch; ++b) for (int y = 0; y < s->oh; ++y) for (int x = 0; x < s->ow; ++x) {
        if (tap(s, y, x, k / s->size, k % s->size, &iy, &ix)) add(sum, t->input[input_at(s, b, g * cg + c, iy, ix)], t->delta[output_at(s, b, f, y, x)]);
    }
    return t->weight_updates[element];
}

static float delta_sum(const struct trial_shape *s, const struct trial_tensors *t, size_t element, struct sum *sum)
{
    int x = (int)(element % (size_t)s->w), y = (int)(element / (size_t)s->w % (size_t)s->h);
    int c = (int)(element / (size_t)(s->w * s->h) % (size_t)s->c), b = (int)(element / (size_t)(s->w * s->h) / (size_t)s->c);
    int cg = s->c / s->groups, ng = s->n / s->groups, g = c / cg;

    for (int f = g * ng; f < (g + 1) * ng; ++f) for (int ky = 0; ky < s->size; ++ky) for (int kx = 0; kx < s->size; ++kx) {
        int oy = y + s->pad - ky, ox = x + s->pad - kx;
        if (oy < 0 || ox < 0 || oy % s->stride || ox % s->stride || oy / s->stride >= s->oh || ox / s->stride >= s->ow) continue;
        add(sum, t->delta[output_at(s, b, f, oy / s->stride, ox / s->stride)], t->weights[weight_at(s, f, c % cg, ky, kx)]);
    }
    return t->input_delta[element];
}

typedef float sum_function(const struct trial_shape *, const struct trial_tensors *, size_t, struct sum *);

static double worst(const struct trial_shape *s, const struct trial_tensors *t, sum_function *fn, size_t elements, int samples)
{
    uint64_t state = 88172645463325252u;
    double most = 0;

    for (int i = 0; i < samples; ++i) {
        struct sum sum = {0, 1e-30};
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t element = i == 0 ? 0 : i == 1 ? elements - 1 : (size_t)(state >> 16) % elements;
        double got = (double)fn(s, t, element, &sum), error = fabs(got - sum.value) / sum.absolute;
        if (!(error <= most)) most = isnan(error) ? INFINITY : error;
    }
    return most;
}

double trial_macs(const struct trial_shape *s)
{
    return (double)s->batch * s->n * s->oh * s->ow * (s->c / s->groups) * s->size * s->size;
}

double trial_error(const struct trial_shape *s, const struct trial_tensors *t, enum trial_pass pass)
{
    size_t b = (size_t)s->batch, ins = b * (size_t)(s->c * s->h * s->w), outs = b * (size_t)(s->n * s->oh * s->ow);
    size_t weights = (size_t)s->n * (size_t)(s->c / s->groups * s->size * s->size);

    if (pass == TRIAL_FORWARD) return worst(s, t, output_sum, outs, SAMPLES);
    double w = worst(s, t, weight_sum, weights, WEIGHT_SAMPLES), d = pass == TRIAL_BOTH ? worst(s, t, delta_sum, ins, SAMPLES) : 0;
    return w > d ? w : d;
}
