/* What the heads (softmax, logistic, cost, yolo, region) share: the pieces of their losses.
 * A head's loss here is the function of its PRE-ACTIVATIONS whose negative gradient its delta is, in double, per image; the cost that
 * Darknet prints is another number (docs/evaluation.md). */
#ifndef DARKNET_KERNELS_HEAD_COMMON_H
#define DARKNET_KERNELS_HEAD_COMMON_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>

/* log(1 + exp(x)) without overflow; NaN stays NaN. */
static inline double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

/* T log(sum_i exp(a_i / T)) over n values `stride` apart. */
static inline double log_sum_exp(const float *a, size_t n, size_t stride, double temperature)
{
    double largest = (double)a[0], sum = 0;
    for (size_t i = 1; i < n; ++i) if ((double)a[i * stride] > largest) largest = (double)a[i * stride];
    for (size_t i = 0; i < n; ++i) sum += exp(((double)a[i * stride] - largest) / temperature);
    return largest + temperature * log(sum);
}

/* v := scale R^(1/2) v with R = diag(p) - p p^T, for n probabilities and random numbers `stride` apart: sqrt(p) v - p sum(sqrt(p) v).
 * whole: scale R v = p v - p sum(p v). */
static inline void softmax_curve(const float *p, float *v, size_t n, size_t stride, double scale, bool whole)
{
    double sum = 0;
    for (size_t i = 0; i < n * stride; i += stride) sum += (whole ? (double)p[i] : sqrt((double)p[i])) * (double)v[i];
    for (size_t i = 0; i < n * stride; i += stride) v[i] = (float)(scale * ((whole ? (double)p[i] : sqrt((double)p[i])) * (double)v[i] - (double)p[i] * sum));
}

/* v := scale (t - p), t one-hot at a place drawn with probabilities p by u, uniform in [0, 1): mean 0, second moment scale^2 (diag(p) - p p^T). */
static inline void categorical_draw(const float *p, float *v, size_t n, size_t stride, double scale, double u)
{
    double left = 0;
    size_t drawn = 0;
    for (size_t i = 0; i < n * stride; i += stride) left += (double)p[i];
    left *= u;   /* the probabilities are rounded: they sum up to about 1 */
    for (size_t i = 0; i < n * stride && left >= 0; i += stride) {
        if (p[i] > 0) drawn = i;
        left -= (double)p[i];
    }
    for (size_t i = 0; i < n * stride; i += stride) v[i] = (float)(scale * ((i == drawn) - (double)p[i]));
}

/* The same of one entry that is 1 with probability p, else 0. */
static inline float bernoulli_draw(float p, double scale, double u)
{
    return (float)(scale * ((u < (double)p) - (double)p));
}

/* Cross-entropy of a logistic unit with pre-activation a against target t in 0..1; its derivative is sigmoid(a) - t. */
static inline double logistic_loss(double a, double t)
{
    return softplus(a) - t * a;
}

/* t log t + (1-t) log(1-t): minus the least value logistic_loss can take, so that a perfect fit of a soft target costs nothing. */
static inline double negative_entropy(double t)
{
    double u = 1 - t;
    return (t > 0 ? t * log(t) : 0) + (u > 0 ? u * log(u) : 0);
}

#endif
