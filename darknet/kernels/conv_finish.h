/* What happens to a run of rows of a convolution's output while it is still in the cache: bias and activation, frozen normalisation and activation,
 * or the batch statistics. */
#ifndef DARKNET_KERNELS_CONV_FINISH_H
#define DARKNET_KERNELS_CONV_FINISH_H

#include <darknet.h>

#include "batchnorm.h"
#include "vector.h"

enum conv_finish_kind { FINISH_ACTIVATE, FINISH_MOMENTS, FINISH_NORMALISE };

struct conv_finish {
    const layer *l;
    enum conv_finish_kind kind;
    enum vector_activation f;
    int units;
    struct moments *moments;   /* (units, filters) */
};

/* Before and after a forward pass cut into that many units: room for the statistics; their totals, taken in unit order. */
void conv_finish_begin(struct conv_finish *f, int units);
void conv_finish_end(const struct conv_finish *f);

/* Where the convolution's sums go: l.x when there is normalisation, l.output otherwise. */
static inline float *conv_finish_target(const struct conv_finish *f) { return f->kind == FINISH_ACTIVATE ? f->l->output : f->l->x; }
/* n values at `at` of the target, all of one filter, made by unit `unit`. */
void conv_finish_run(const struct conv_finish *f, int unit, int filter, size_t at, size_t n);

#endif
