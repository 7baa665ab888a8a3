/* Body of the inner loops, included once per instruction set after vf, LANES, ROWS, TILE, WIDEST and the v_ functions are defined. Not a header.
 * A correlate tile holds rows x vectors of sums in registers: R * V <= TILE. */

/* Sums of R rows by V vectors. part: only the first `part` lanes of the (single) vector exist; 0: all. */
INLINE void tile(int R, int V, size_t part, size_t terms, const float *w, const int32_t *offset, const float *x, float *y, ptrdiff_t ystride)
{
    vf s[ROWS][WIDEST], a[WIDEST];

#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) s[r][v] = v_set(0);
    }
    for (size_t t = 0; t < terms; ++t, w += ROWS) {
        const float *p = x + offset[t];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) a[v] = part ? v_load_part(p, part) : v_load(p + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            vf b = v_set(w[r]);
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) s[r][v] = v_fma(a[v], b, s[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) v_store(y + r * ystride + v * LANES, s[r][v]);
    }
}

#define WIDTH(R) (TILE / (R) < WIDEST ? TILE / (R) : WIDEST)
#define CORRELATE(R)                                                                                                                     \
    static void correlate_##R(size_t terms, const float *w, const int32_t *offset, const float *x, float *y, ptrdiff_t ystride, size_t n) \
    {                                                                                                                                    \
        size_t p = 0;                                                                                                                    \
        for (; p + WIDTH(R) * LANES <= n; p += WIDTH(R) * LANES) tile(R, WIDTH(R), 0, terms, w, offset, x + p, y + p, ystride);          \
        if (WIDTH(R) > 4 && p + 4 * LANES <= n) {                                                                                        \
            tile(R, WIDTH(R) > 4 ? 4 : 1, 0, terms, w, offset, x + p, y + p, ystride);                                                   \
            p += 4 * LANES;                                                                                                              \
        }                                                                                                                                \
        if (WIDTH(R) > 2 && p + 2 * LANES <= n) {                                                                                        \
            tile(R, WIDTH(R) > 2 ? 2 : 1, 0, terms, w, offset, x + p, y + p, ystride);                                                   \
            p += 2 * LANES;                                                                                                              \
        }                                                                                                                                \
        if (p + LANES <= n) {                                                                                                            \
            tile(R, 1, 0, terms, w, offset, x + p, y + p, ystride);                                                                      \
            p += LANES;                                                                                                                  \
        }                                                                                                                                \
        if (p < n) tile(R, 1, n - p, terms, w, offset, x + p, y + p, ystride);                                                           \
    }
CORRELATE(1)
CORRELATE(2)
CORRELATE(3)
CORRELATE(4)

#if ROWS == 8
CORRELATE(5)
CORRELATE(6)
CORRELATE(7)
CORRELATE(8)
#endif

static void correlate(int rows, size_t terms, const float *w, const int32_t *offset, const float *x, float *y, ptrdiff_t ystride, size_t n)
{
    switch (rows) {
    case 1: correlate_1(terms, w, offset, x, y, ystride, n); break;
    case 2: correlate_2(terms, w, offset, x, y, ystride, n); break;
    case 3: correlate_3(terms, w, offset, x, y, ystride, n); break;
    case 4: correlate_4(terms, w, offset, x, y, ystride, n); break;
#if ROWS == 8
    case 5: correlate_5(terms, w, offset, x, y, ystride, n); break;
    case 6: correlate_6(terms, w, offset, x, y, ystride, n); break;
    case 7: correlate_7(terms, w, offset, x, y, ystride, n); break;
    case 8: correlate_8(terms, w, offset, x, y, ystride, n); break;
#endif
    default: break;
    }
}

#include "direct_loops.h"

/* g[r][c] += sum of d[r] x[offset[c]] for R rows and C columns; the fewer of the two stay in registers.
 * wide: g's row has floats up to the next multiple of four columns (they get zeros added). */
INLINE void product_tile(int R, int C, const float *d, ptrdiff_t dstride, const int32_t *offset, const float *x, float *g, ptrdiff_t gstride, size_t n,
                         bool wide)
{
    vf s[ROWS][12], a[9], b[ROWS];
    const float *column[9];
    size_t p = 0;

#pragma GCC unroll 9
    for (int c = 0; c < C; ++c) column[c] = x + offset[c];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 12
        for (int c = 0; c < 12; ++c) s[r][c] = v_set(0);
    }
    for (; p + LANES <= n; p += LANES) {
        if (R <= C) {
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) b[r] = v_load(d + r * dstride + p);
#pragma GCC unroll 9
            for (int c = 0; c < C; ++c) {
                vf xc = v_keep(v_load(column[c] + p));
#pragma GCC unroll 8
                for (int r = 0; r < R; ++r) s[r][c] = v_fma(b[r], xc, s[r][c]);
            }
        } else {
#pragma GCC unroll 9
            for (int c = 0; c < C; ++c) a[c] = v_load(column[c] + p);
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) {
                vf dr = v_keep(v_load(d + r * dstride + p));
#pragma GCC unroll 9
                for (int c = 0; c < C; ++c) s[r][c] = v_fma(dr, a[c], s[r][c]);
            }
        }
    }
    if (p < n) {
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) b[r] = v_load_part(d + r * dstride + p, n - p);
#pragma GCC unroll 9
        for (int c = 0; c < C; ++c) {
            vf xc = v_keep(v_load_part(column[c] + p, n - p));
#pragma GCC unroll 8
            for (int r = 0; r < R; ++r) s[r][c] = v_fma(b[r], xc, s[r][c]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 9
        for (int c = 0; c < C; ++c) {
            float *out = g + r * gstride + c;
            if (!wide || C < 3) *out += v_sum(s[r][c]);
            else if (c % 4 == 0) v_add_sums(out, s[r][c], s[r][c + 1], s[r][c + 2], s[r][c + 3]);
        }
    }
}

#define COLUMNS(R) (TILE / (R) < 9 ? TILE / (R) : 9)
#define PRODUCTS(R)                                                                                                                       \
    static void products_##R(size_t terms, const float *d, ptrdiff_t dstride, const int32_t *offset, const float *x, float *g,            \
                             ptrdiff_t gstride, size_t n)                                                                                 \
    {                                                                                                                                     \
        enum { C = COLUMNS(R), WIDE = (C + 3) / 4 * 4 };                                                                                  \
        size_t t = 0;                                                                                                                     \
        for (; t + WIDE <= terms; t += C) product_tile(R, C, d, dstride, offset + t, x, g + t, gstride, n, true);                         \
        for (; t + C <= terms; t += C) product_tile(R, C, d, dstride, offset + t, x, g + t, gstride, n, false);                           \
        for (; C > 3 && t + 3 <= terms; t += 3) product_tile(R, C > 3 ? 3 : 1, d, dstride, offset + t, x, g + t, gstride, n, false);      \
        for (; t < terms; ++t) product_tile(R, 1, d, dstride, offset + t, x, g + t, gstride, n, false);                                   \
    }
PRODUCTS(1)
PRODUCTS(2)
PRODUCTS(3)
PRODUCTS(4)
#if ROWS == 8
PRODUCTS(5)
PRODUCTS(6)
PRODUCTS(7)
PRODUCTS(8)
#endif

static void products_rows(int rows, size_t terms, const float *d, ptrdiff_t dstride, const int32_t *offset, const float *x, float *g,
                          ptrdiff_t gstride, size_t n)
{
    switch (rows) {
    case 1: products_1(terms, d, dstride, offset, x, g, gstride, n); break;
    case 2: products_2(terms, d, dstride, offset, x, g, gstride, n); break;
    case 3: products_3(terms, d, dstride, offset, x, g, gstride, n); break;
    case 4: products_4(terms, d, dstride, offset, x, g, gstride, n); break;
#if ROWS == 8
    case 5: products_5(terms, d, dstride, offset, x, g, gstride, n); break;
    case 6: products_6(terms, d, dstride, offset, x, g, gstride, n); break;
    case 7: products_7(terms, d, dstride, offset, x, g, gstride, n); break;
    case 8: products_8(terms, d, dstride, offset, x, g, gstride, n); break;
#endif
    default: break;
    }
}

static void products(int rows, size_t terms, const float *d, ptrdiff_t dstride, const int32_t *offset, const float *x, float *g,
                     ptrdiff_t gstride, size_t n)
{
    enum { PIXELS = 2048, SHORT = 128 };   /* rows of that many pixels stay in the first-level cache */

    if (rows >= 4 * LANES || (rows >= 2 * LANES && n <= SHORT)) {
        products_many(rows, terms, d, dstride, offset, x, g, gstride, n);
        return;
    }
    for (size_t p = 0; p < n; p += PIXELS) {
        const float *dr = d + p;
        float *gr = g;
        size_t count = n - p < PIXELS ? n - p : PIXELS;
        for (int left = rows; left > 0; left -= ROWS, dr += ROWS * dstride, gr += ROWS * gstride) {
            products_rows(left < ROWS ? left : ROWS, terms, dr, dstride, offset, x + p, gr, gstride, count);
        }
    }
}

/* v_max and v_min return their second operand when one is NaN: NaN goes through everywhere. */
INLINE vf activated(vf a, enum vector_activation f)
{
    if (f == VECTOR_RELU) return v_max(v_set(0), a);
    if (f == VECTOR_LEAKY) return v_positive(a, a, a * v_set(.1f));
    return a;
}

/* A whole vector at i, or the last n - i < LANES floats; each loop below runs its body for i = 0, LANES, ... */
#define LOAD(p, i, n) ((n) - (i) >= LANES ? v_load((p) + (i)) : v_load_part((p) + (i), (n) - (i)))
INLINE void store(float *p, size_t i, size_t n, vf a)
{
    if (n - i >= LANES) v_store(p + i, a);
    else v_store_part(p + i, a, n - i);
}

INLINE void affine_as(size_t n, const float *x, float a, float b, enum vector_activation f, float *y)
{
    vf va = v_set(a), vb = v_set(b);
    for (size_t i = 0; i < n; i += LANES) store(y, i, n, activated(v_fma(LOAD(x, i, n), va, vb), f));
}

static void affine(size_t n, const float *x, float a, float b, enum vector_activation f, float *y)
{
    switch (f) {
    case VECTOR_RELU: affine_as(n, x, a, b, VECTOR_RELU, y); break;
    case VECTOR_LEAKY: affine_as(n, x, a, b, VECTOR_LEAKY, y); break;
    default: affine_as(n, x, a, b, VECTOR_LINEAR, y); break;
    }
}

static float sum(size_t n, const float *x)
{
    vf s = v_set(0), s2 = v_set(0);
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        s = s + v_load(x + i);
        s2 = s2 + v_load(x + i + LANES);
    }
    for (; i < n; i += LANES) s = s + LOAD(x, i, n);
    return v_sum(s + s2);
}

static float squares(size_t n, const float *x, float mean)
{
    vf s = v_set(0), s2 = v_set(0), m = v_set(mean);
    size_t i = 0;
    float rest = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        vf a = v_load(x + i) - m, b = v_load(x + i + LANES) - m;
        s = v_fma(a, a, s);
        s2 = v_fma(b, b, s2);
    }
    for (; i + LANES <= n; i += LANES) {
        vf a = v_load(x + i) - m;
        s = v_fma(a, a, s);
    }
    for (; i < n; ++i) rest += (x[i] - mean) * (x[i] - mean);
    return v_sum(s + s2) + rest;
}

INLINE float gradient_as(size_t n, float *d, const float *y, enum vector_activation f, const float *x, float mean, float *product)
{
    vf s = v_set(0), q = v_set(0), m = v_set(mean), zero = v_set(0);
    for (size_t i = 0; i < n; i += LANES) {
        vf a = LOAD(d, i, n);
        if (f != VECTOR_LINEAR) {
            vf out = LOAD(y, i, n);
            a = f == VECTOR_RELU ? v_positive(out, a, zero) : v_positive(out, a, v_fma(a, v_set(.1f), zero));
            store(d, i, n, a);
        }
        s = s + a;
        if (x) q = v_fma(a, LOAD(x, i, n) - m, q);
    }
    if (x) *product = v_sum(q);
    return v_sum(s);
}

static float gradient(size_t n, float *d, const float *y, enum vector_activation f, const float *x, float mean, float *product)
{
    switch (f) {
    case VECTOR_RELU: return gradient_as(n, d, y, VECTOR_RELU, x, mean, product);
    case VECTOR_LEAKY: return gradient_as(n, d, y, VECTOR_LEAKY, x, mean, product);
    default: return gradient_as(n, d, y, VECTOR_LINEAR, x, mean, product);
    }
}

/* d behind the activation whose input is v */
INLINE vf passed(vf d, vf v, enum vector_activation f)
{
    if (f == VECTOR_RELU) return v_positive(v, d, v_set(0));
    if (f == VECTOR_LEAKY) return v_positive(v, d, d * v_set(.1f));
    return d;
}

INLINE float normal_sums_as(size_t n, const float *d, const float *x, struct vector_normal k, enum vector_activation f, float *product)
{
    vf s = v_set(0), q = s, s2 = s, q2 = s, m = v_set(k.mean), va = v_set(k.a), vb = v_set(k.b);
    size_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        vf x1 = v_load(x + i), x2 = v_load(x + i + LANES);
        vf d1 = passed(v_load(d + i), v_fma(x1, va, vb), f), d2 = passed(v_load(d + i + LANES), v_fma(x2, va, vb), f);
        s = s + d1;
        s2 = s2 + d2;
        q = v_fma(d1, x1 - m, q);
        q2 = v_fma(d2, x2 - m, q2);
    }
    for (; i < n; i += LANES) {
        vf in = LOAD(x, i, n), out = passed(LOAD(d, i, n), v_fma(in, va, vb), f);
        s = s + out;
        q = v_fma(out, in - m, q);
    }
    *product = v_sum(q + q2);
    return v_sum(s + s2);
}

static float normal_sums(size_t n, const float *d, const float *x, struct vector_normal k, float *product)
{
    switch (k.f) {
    case VECTOR_RELU: return normal_sums_as(n, d, x, k, VECTOR_RELU, product);
    case VECTOR_LEAKY: return normal_sums_as(n, d, x, k, VECTOR_LEAKY, product);
    default: return normal_sums_as(n, d, x, k, VECTOR_LINEAR, product);
    }
}

INLINE void normal_delta_as(size_t n, const float *d, const float *x, struct vector_normal k, enum vector_activation f, float *out)
{
    vf va = v_set(k.a), vb = v_set(k.b), da = v_set(k.da), db = v_set(k.db), dc = v_set(k.dc);
    for (size_t i = 0; i < n; i += LANES) {
        vf in = LOAD(x, i, n);
        store(out, i, n, v_fma(passed(LOAD(d, i, n), v_fma(in, va, vb), f), da, v_fma(in, db, dc)));
    }
}

static void normal_delta(size_t n, const float *d, const float *x, struct vector_normal k, float *out)
{
    switch (k.f) {
    case VECTOR_RELU: normal_delta_as(n, d, x, k, VECTOR_RELU, out); break;
    case VECTOR_LEAKY: normal_delta_as(n, d, x, k, VECTOR_LEAKY, out); break;
    default: normal_delta_as(n, d, x, k, VECTOR_LINEAR, out); break;
    }
}

static void add(size_t n, float a, const float *x, float *y)
{
    vf va = v_set(a);
    for (size_t i = 0; i < n; i += LANES) store(y, i, n, v_fma(LOAD(x, i, n), va, LOAD(y, i, n)));
}

static void copy_rows(size_t rows, size_t n, const float *x, size_t xpitch, float *y, size_t ypitch, size_t gap)
{
    for (size_t r = 0; r < rows; ++r, x += xpitch, y += ypitch) {
        for (size_t i = 0; i < n; i += LANES) store(y, i, n, LOAD(x, i, n));
        for (size_t i = n; i < n + gap; i += LANES) store(y, i, n + gap, v_set(0));
    }
}

static void add_rows(size_t rows, size_t n, const float *x, size_t xpitch, float *y, size_t ypitch)
{
    for (size_t r = 0; r < rows; ++r, x += xpitch, y += ypitch) {
        for (size_t i = 0; i < n; i += LANES) store(y, i, n, LOAD(y, i, n) + LOAD(x, i, n));
    }
}

static void scale(size_t n, float a, float *x)
{
    vf va = v_set(a);
    for (size_t i = 0; i < n; i += LANES) store(x, i, n, LOAD(x, i, n) * va);
}

static void descend(size_t n, float *x, float *u, float rate, float momentum, float decay)
{
    vf vr = v_set(rate), vm = v_set(momentum), vd = v_set(-decay);
    for (size_t i = 0; i < n; i += LANES) {
        vf a = LOAD(x, i, n), b = v_fma(a, vd, LOAD(u, i, n));
        store(x, i, n, v_fma(b, vr, a));
        store(u, i, n, b * vm);
    }
}

/* e^x: x = k ln 2 + r, |r| <= ln 2 / 2, Taylor polynomial of e^r (relative error below 2e-7), scaled by 2^k. */
INLINE vf v_exp(vf x)
{
    x = v_min(v_set(88.f), v_max(v_set(-87.f), x));
    vf k = v_round(x * v_set(1.44269504f));
    vf r = v_fma(k, v_set(-.693359375f), x);
    r = v_fma(k, v_set(2.12194440e-4f), r);
    vf p = v_fma(r, v_set(1.f / 5040), v_set(1.f / 720));
    p = v_fma(p, r, v_set(1.f / 120));
    p = v_fma(p, r, v_set(1.f / 24));
    p = v_fma(p, r, v_set(1.f / 6));
    p = v_fma(p, r, v_set(.5f));
    p = v_fma(p, r, v_set(1));
    p = v_fma(p, r, v_set(1));
    return p * v_power2(k);
}

static void logistic(size_t n, float *x)
{
    vf one = v_set(1), zero = v_set(0);
    for (size_t i = 0; i < n; i += LANES) {
        vf a = LOAD(x, i, n);
        store(x, i, n, one / (one + v_exp(zero - a)));
    }
}

static void hyperbolic(size_t n, float *x)
{
    vf one = v_set(1), two = v_set(2);
    for (size_t i = 0; i < n; i += LANES) {
        vf a = LOAD(x, i, n), e = v_exp(v_min(v_set(60), v_max(v_set(-60), a * two)));
        store(x, i, n, (e - one) / (e + one));
    }
}

#include "winograd_loops.h"
#include "depthwise_loops.h"

const struct vector_ops TABLE = {
    .name = TABLE_NAME, .lanes = LANES, .rows = ROWS, .correlate = correlate, .correlate_many = correlate_many, .products = products, .affine = affine,
    .normal_sums = normal_sums, .normal_delta = normal_delta, .sum = sum, .squares = squares, .gradient = gradient, .copy_rows = copy_rows, .add_rows = add_rows, .add = add, .scale = scale, .descend = descend,
    .logistic = logistic, .tanh = hyperbolic,
    .winograd_input = winograd_input, .winograd_delta = winograd_delta, .winograd_output = winograd_output, .winograd_filters = winograd_filters,
    .winograd_gradient = winograd_gradient,
    .stencil = stencil, .stencil_products = stencil_products, .stencil_maximum = stencil_maximum, .place_rows = place_rows, .split_rows = split_rows,
    .join_rows = join_rows, .blend = blend, .drop = drop, .drop_again = drop_again, .unblend = unblend,
};
