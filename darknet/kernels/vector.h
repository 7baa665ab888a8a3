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

/* One channel of a batch normalisation and the activation behind it. */
struct vector_normal { float a, b, mean, da, db, dc; enum vector_activation f; };

/* Tiles of 4x4 pixels of one channel of several images: `columns` tiles a row, tile_rows rows of tiles, one after the other; a tile's number is
 * row * columns + column. stride: the number of tiles rounded up to whole vectors. */
struct winograd_grid {
    size_t tile_rows, columns, stride, width;
    const int32_t *rows;    /* offsets of the source rows in the channel's plane, 6 (winograd_input) or 4 (winograd_delta) per tile row; -1: zeros */
    const float *zeros;     /* (width) */
    const float *left, *right;   /* (stride): all bits set where the tile before (after) is a neighbour in the same row, none set at the row's ends */
};
enum { WINOGRAD_PRODUCTS = 36, WINOGRAD_SCRATCH = 24 };   /* scratch floats: WINOGRAD_SCRATCH * stride */

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
    /* Backward of y = f(a*x + b), d the gradient with respect to y and e = f'(a*x + b) * d: returns sum e, *product = sum e*(x - mean); and
     * out = da*e + db*x + dc; out may be d */
    float (*normal_sums)(size_t n, const float *d, const float *x, struct vector_normal k, float *product);
    void (*normal_delta)(size_t n, const float *d, const float *x, struct vector_normal k, float *out);
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

    /* Winograd F(4x4, 3x3), product k of tile t at v[k * vstride + t], t < stride, zeros past the last tile.
     * input: B^T d B of the 6x6 pixels around each tile; delta: A e A^T of its 4x4; output: y[row * 4 * stride + 4 * tile + column] = A^T m A */
    void (*winograd_input)(const struct winograd_grid *g, const float *plane, float *scratch, float *v, size_t vstride);
    void (*winograd_delta)(const struct winograd_grid *g, const float *plane, float *scratch, float *v, size_t vstride);
    void (*winograd_output)(const struct winograd_grid *g, const float *m, size_t mstride, float *y);
    /* u[k * ustride + i] = G w G^T of filter i < n, whose 3x3 taps start at w + at[i] (at[i] < 0: zeros), turned by 180 degrees if `turned`;
     * and its transpose: w[9 * i + tap] += G^T u G */
    void (*winograd_filters)(size_t n, const float *w, const int32_t *at, int turned, float *u, size_t ustride);
    void (*winograd_gradient)(size_t n, const float *u, size_t ustride, float *w);
    /* Rows of planes (depthwise_loops.h); x may be read up to n rounded up to a whole vector, at most VECTOR_MAX_LANES, past each offset.
     * y[r*ypitch + i] = (add: += ) sum over t < terms of w[t] * x[r*xpitch + offset[t] + i], 0 <= r < rows, 0 <= i < n */
    void (*stencil)(size_t rows, size_t n, size_t terms, const float *w, const int32_t *offset, const float *x, size_t xpitch, float *y, size_t ypitch,
                    bool add);
    /* The sum of the `lanes` floats from g[t*lanes] grows by the sum over r, i of d[r*dpitch + i] * x[r*xpitch + offset[t] + i]. */
    void (*stencil_products)(size_t rows, size_t n, size_t terms, const float *d, size_t dpitch, const int32_t *offset, const float *x, size_t xpitch,
                             float *g);
    /* y[r*n + i] = the first greatest of x[r*xpitch + offset[t] + i], where = base + r*row_step + i*step + code[t] of that t, or -FLT_MAX and -1
     * when none exceeds that; code[t] >= 0. */
    void (*stencil_maximum)(size_t rows, size_t n, size_t terms, const float *code, const int32_t *offset, const float *x, size_t xpitch, float *y,
                            int32_t *where, int base, int row_step, int step);
    /* Rows of n floats: copied; split into columns 0, 2, ... and 1, 3, ...; those joined again and added to y. */
    void (*place_rows)(size_t rows, size_t n, const float *x, size_t xpitch, float *y, size_t ypitch);
    void (*split_rows)(size_t rows, size_t n, const float *x, size_t xpitch, float *even, float *odd, size_t ypitch);
    void (*join_rows)(size_t rows, size_t n, const float *even, const float *odd, size_t xpitch, float *y, size_t ypitch);
    /* numbers[i] = uniform in [0, 1) of (key, first + i), the same on every table; x = 0 where that is below probability, else x*scale. And x alone again. */
    void (*drop)(size_t n, uint64_t key, uint32_t first, float probability, float scale, float *x, float *numbers);
    void (*drop_again)(size_t n, const float *numbers, float probability, float scale, float *x);
    /* y = f(a*x + b*z) */
    void (*blend)(size_t n, const float *x, float a, const float *z, float b, enum vector_activation f, float *y);
    /* d *= f'(y) with y the output of f; x += a*d unless NULL; z += b*d */
    void (*unblend)(size_t n, float *d, const float *y, enum vector_activation f, float a, float *x, float b, float *z);
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
