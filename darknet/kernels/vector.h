/* The inner loops, once per instruction set (AVX-512, AVX2 with FMA, and plain 4-lane vectors for every other machine), chosen at run time.
 * All arrays are contiguous floats unless a stride is given; no alignment is needed and nothing outside the stated ranges is read. */
#ifndef DARKNET_KERNELS_VECTOR_H
#define DARKNET_KERNELS_VECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { VECTOR_MAX_LANES = 16, VECTOR_MAX_ROWS = 8 };

/* Activations that fuse with other passes. */
enum vector_activation { VECTOR_LINEAR, VECTOR_RELU, VECTOR_LEAKY };

/* y[r*ystride + p] = (more: +=) sum over t < terms of weight(r, t) * x[offset[t] + p], 0 <= r < rows (any number), 0 <= p < n; writes nothing else.
 * weight(r, t): w[r*terms + t], or, packed, blocks of rows_of_table rows one after the other, each (terms, rows_of_table).
 * gather: the pixels are copied together first, which pays when terms lie far apart and rows are many. */
struct correlation {
    int rows;
    size_t terms;
    const float *w;
    bool packed, gather, more;
    const int32_t *offset;
    const float *x;
    float *y;
    ptrdiff_t ystride;
    size_t n;
};

struct vector_ops {
    const char *name;
    int lanes;   /* floats per vector */
    int rows;    /* output rows one correlate call makes at most, and the row stride of its packed weights */

    /* y[r*ystride + p] = sum over t < terms of w[t*rows_of_table + r] * x[offset[t] + p], 0 <= r < rows, 0 <= p < n.
     * Writes y up to n rounded up to a whole vector. */
    void (*correlate)(int rows, size_t terms, const float *w, const int32_t *offset, const float *x, float *y, ptrdiff_t ystride, size_t n);
    void (*correlate_many)(const struct correlation *c);
    /* g[r*gstride + t] += sum over p < n of d[r*dstride + p] * x[offset[t] + p], 0 <= r < rows (any number), 0 <= t < terms */
    void (*products)(int rows, size_t terms, const float *d, ptrdiff_t dstride, const int32_t *offset, const float *x, float *g,
                     ptrdiff_t gstride, size_t n);

    /* y = f(a*x + b); y may be x */
    void (*affine)(size_t n, const float *x, float a, float b, enum vector_activation f, float *y);
    /* d = a*d + b*x + c */
    void (*affine_pair)(size_t n, float *d, float a, const float *x, float b, float c);
    /* *sum = sum x */
    float (*sum)(size_t n, const float *x);
    /* sum of (x - mean)^2 */
    float (*squares)(size_t n, const float *x, float mean);
    /* d *= f'(y) with y the output of f; returns sum d, *product = sum d * (x - mean) unless x is NULL */
    float (*gradient)(size_t n, float *d, const float *y, enum vector_activation f, const float *x, float mean, float *product);
    /* Rows of n floats, xpitch and ypitch apart: y = x and `gap` zeros after each row; y += x. */
    void (*copy_rows)(size_t rows, size_t n, const float *x, size_t xpitch, float *y, size_t ypitch, size_t gap);
    void (*add_rows)(size_t rows, size_t n, const float *x, size_t xpitch, float *y, size_t ypitch);
    /* y += a*x; x *= a */
    void (*add)(size_t n, float a, const float *x, float *y);
    void (*scale)(size_t n, float a, float *x);
    /* x += rate*u; u = momentum*(u - decay*x_old), in Darknet's order: u -= decay*x, x += rate*u, u *= momentum */
    void (*descend)(size_t n, float *x, float *u, float rate, float momentum, float decay);
    /* x = 1/(1 + exp(-x)) and (exp(2x) - 1)/(exp(2x) + 1) */
    void (*logistic)(size_t n, float *x);
    void (*tanh)(size_t n, float *x);
};

const struct vector_ops *vector_ops(void);          /* the best this machine runs */
/* The k-th table this machine runs, best first; NULL past the last. For tests. */
const struct vector_ops *vector_ops_at(int k);
/* Makes vector_ops() return that table from now on (tests); NULL: the best again. */
void vector_ops_force(const struct vector_ops *ops);

#if defined(__x86_64__)
extern const struct vector_ops vector_avx512, vector_avx2;
#endif
extern const struct vector_ops vector_base;

#endif
