/* What the heads (softmax, logistic, cost, yolo) share: the pieces of their losses.
 * A head's loss here is the function of its PRE-ACTIVATIONS whose negative gradient its delta is, in double, per image; the cost that
 * Darknet prints is another number (docs/evaluation.md). */
#ifndef DARKNET_KERNELS_HEAD_COMMON_H
#define DARKNET_KERNELS_HEAD_COMMON_H

#include <math.h>

/* log(1 + exp(x)) without overflow; NaN stays NaN. */
static inline double softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
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
