#include "conv_finish.h"

#include <string.h>

#include "pool.h"

void conv_finish_begin(struct conv_finish *f, int units)
{
    size_t bytes = (size_t)(units * f->l->n) * sizeof *f->moments;

    f->units = units;
    if (f->kind == FINISH_MOMENTS) f->moments = memset(pool_buffer(POOL_SUMS, bytes), 0, bytes);
}

void conv_finish_end(const struct conv_finish *f)
{
    int n = f->l->n;

    if (f->kind != FINISH_MOMENTS) return;
    for (int i = n; i < f->units * n; ++i) moments_merge(&f->moments[i % n], f->moments[i].count, f->moments[i].mean, f->moments[i].squares);
    batchnorm_take_moments(*f->l, f->moments);
}

void conv_finish_run(const struct conv_finish *f, int unit, int filter, size_t at, size_t n)
{
    const struct vector_ops *ops = vector_ops();
    const float *sums = conv_finish_target(f) + at;
    float a = 1, b = 0;

    if (f->kind == FINISH_MOMENTS) {
        float mean = ops->sum(n, sums) / (float)n;
        moments_merge(&f->moments[unit * f->l->n + filter], (double)n, (double)mean, (double)ops->squares(n, sums, mean));
        return;
    }
    if (f->kind == FINISH_NORMALISE) batchnorm_coefficients(*f->l, true, filter, &a, &b);
    else b = f->l->biases[filter];
    ops->affine(n, sums, a, b, f->f, f->l->output + at);
}
