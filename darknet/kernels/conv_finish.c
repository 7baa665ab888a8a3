#include "conv_finish.h"

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
