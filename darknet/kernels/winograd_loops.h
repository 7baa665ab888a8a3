/* Tile transforms of Winograd's F(4x4, 3x3) (Lavin and Gray 2016), included once per instruction set from vector_loops.h. Not a header.
 * Interpolation points 0, 1, -1, 1/2, -2, infinity, whose rounding errors are a third of those of 0, +-1, +-2 (Barabasz and others 2020).
 * A vector runs over tiles: the four columns of a tile are taken apart (and put together) with shuffles. */

typedef int32_t vbits __attribute__((vector_size(4 * LANES)));

/* Shuffles of two vectors. BEHIND: the last float of the first, then the second but its last; AHEAD: the first but its first, then the first of the second. */
#if LANES == 4
#define BEHIND 3, 4, 5, 6
#define AHEAD 1, 2, 3, 4
#define EVEN 0, 2, 4, 6
#define ODD 1, 3, 5, 7
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#elif LANES == 8
#define BEHIND 7, 8, 9, 10, 11, 12, 13, 14
#define AHEAD 1, 2, 3, 4, 5, 6, 7, 8
#else
#define BEHIND 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
#define AHEAD 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16
#define EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#endif

/* B^T: 6 inputs to 6 products */
INLINE void winograd_b(const vf d[6], vf v[6])
{
    vf a = d[4] - d[2], b = d[3] - d[1], half = v_set(.5f), two = v_set(2), wide = v_set(1.5f), more = v_set(2.5f);

    v[0] = v_fma(wide, b, d[0] + d[4]) - two * d[2];
    v[1] = v_fma(more, d[3], v_fma(half, d[2], d[4] - d[1]));
    v[2] = v_fma(half, d[3], d[4] + d[1]) - more * d[2];
    v[3] = v_fma(two, b, a);
    v[4] = a - half * b;
    v[5] = v_fma(wide, a, d[1] + d[5]) - two * d[3];
}

/* A^T: 6 products to 4 outputs */
INLINE void winograd_at(const vf m[6], vf y[4])
{
    vf s = m[1] + m[2], d = m[1] - m[2];

    y[0] = (m[0] + s) + (m[3] + m[4]);
    y[1] = v_fma(v_set(.5f), m[3], d) - v_set(2) * m[4];
    y[2] = v_fma(v_set(4), m[4], v_fma(v_set(.25f), m[3], s));
    y[3] = v_fma(v_set(.125f), m[3], d + m[5]) - v_set(8) * m[4];
}

/* A: 4 output gradients to 6 products */
INLINE void winograd_a(const vf e[4], vf f[6])
{
    vf even = e[0] + e[2], odd = e[1] + e[3];

    f[0] = e[0];
    f[1] = even + odd;
    f[2] = even - odd;
    f[3] = v_fma(v_set(.125f), e[3], v_fma(v_set(.25f), e[2], v_fma(v_set(.5f), e[1], e[0])));
    f[4] = v_fma(v_set(4), e[2], e[0]) - v_fma(v_set(8), e[3], v_set(2) * e[1]);
    f[5] = e[3];
}

/* G: 3 weights to 6 products */
INLINE void winograd_g(const vf w[3], vf u[6])
{
    vf third = v_set(1 / 3.f), part = v_set(1 / 15.f), s = (w[0] + w[2]) * third, m = w[1] * third;

    u[0] = w[0];
    u[1] = s + m;
    u[2] = m - s;
    u[3] = v_set(-4 / 15.f) * v_fma(v_set(4), w[0], v_fma(v_set(2), w[1], w[2]));
    u[4] = part * (v_fma(v_set(4), w[2], w[0]) - v_set(2) * w[1]);
    u[5] = w[2];
}

/* G^T: 6 products to 3 weight gradients */
INLINE void winograd_gt(const vf u[6], vf w[3])
{
    vf third = v_set(1 / 3.f), part = v_set(1 / 15.f), s = (u[1] - u[2]) * third, p = (u[1] + u[2]) * third;
    vf a = u[3] * part, b = u[4] * part;

    w[0] = (u[0] + s) + (b - v_set(16) * a);
    w[1] = p - v_fma(v_set(8), a, v_set(2) * b);
    w[2] = (u[5] + s) + v_set(4) * (b - a);
}

/* The columns of LANES tiles, 4 each, from contiguous floats, and back. */
#if LANES == 8
/* Halves of four tiles each, turned within the halves: cheaper here than shuffles across a vector. */
typedef float vhalf __attribute__((vector_size(16)));

INLINE void turn(const vf r[4], vf d[4])
{
    vf a = __builtin_shufflevector(r[0], r[1], 0, 8, 1, 9, 4, 12, 5, 13), b = __builtin_shufflevector(r[0], r[1], 2, 10, 3, 11, 6, 14, 7, 15);
    vf c = __builtin_shufflevector(r[2], r[3], 0, 8, 1, 9, 4, 12, 5, 13), e = __builtin_shufflevector(r[2], r[3], 2, 10, 3, 11, 6, 14, 7, 15);

    d[0] = __builtin_shufflevector(a, c, 0, 1, 8, 9, 4, 5, 12, 13);
    d[1] = __builtin_shufflevector(a, c, 2, 3, 10, 11, 6, 7, 14, 15);
    d[2] = __builtin_shufflevector(b, e, 0, 1, 8, 9, 4, 5, 12, 13);
    d[3] = __builtin_shufflevector(b, e, 2, 3, 10, 11, 6, 7, 14, 15);
}

INLINE void columns_apart(const float *x, vf d[4])
{
    vf r[4];

#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        vhalf low, high;
        memcpy(&low, x + 4 * i, sizeof low);
        memcpy(&high, x + 16 + 4 * i, sizeof high);
        r[i] = __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7);
    }
    turn(r, d);
}

INLINE void columns_together(const vf d[4], float *x)
{
    vf r[4];

    turn(d, r);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        vhalf low = __builtin_shufflevector(r[i], r[i], 0, 1, 2, 3), high = __builtin_shufflevector(r[i], r[i], 4, 5, 6, 7);
        memcpy(x + 4 * i, &low, sizeof low);
        memcpy(x + 16 + 4 * i, &high, sizeof high);
    }
}
#else
INLINE void columns_apart(const float *x, vf d[4])
{
    vf a = v_load(x), b = v_load(x + LANES), c = v_load(x + 2 * LANES), e = v_load(x + 3 * LANES);
    vf even = __builtin_shufflevector(a, b, EVEN), odd = __builtin_shufflevector(a, b, ODD);
    vf even2 = __builtin_shufflevector(c, e, EVEN), odd2 = __builtin_shufflevector(c, e, ODD);

    d[0] = __builtin_shufflevector(even, even2, EVEN);
    d[1] = __builtin_shufflevector(odd, odd2, EVEN);
    d[2] = __builtin_shufflevector(even, even2, ODD);
    d[3] = __builtin_shufflevector(odd, odd2, ODD);
}

INLINE void columns_together(const vf d[4], float *x)
{
    vf low = __builtin_shufflevector(d[0], d[2], LOW), low2 = __builtin_shufflevector(d[1], d[3], LOW);
    vf high = __builtin_shufflevector(d[0], d[2], HIGH), high2 = __builtin_shufflevector(d[1], d[3], HIGH);

    v_store(x, __builtin_shufflevector(low, low2, LOW));
    v_store(x + LANES, __builtin_shufflevector(low, low2, HIGH));
    v_store(x + 2 * LANES, __builtin_shufflevector(high, high2, LOW));
    v_store(x + 3 * LANES, __builtin_shufflevector(high, high2, HIGH));
}
#endif

/* Vertical transform of all tile rows: N source rows each to six scratch rows, s[k * 4 * stride + row * pitch + x], zeros from x = width and after
 * the last row. */
#define VERTICAL(NAME, N, TRANSFORM)                                                                                                    \
    static void NAME(const struct winograd_grid *g, const float *plane, float *s)                                                       \
    {                                                                                                                                   \
        size_t pitch = 4 * g->columns, stride = 4 * g->stride, w = g->width;                                                            \
        const int32_t *row = g->rows;                                                                                                   \
        for (size_t r = 0; r < g->tile_rows; ++r, row += N) {                                                                           \
            float *out = s + r * pitch;                                                                                                 \
            const float *source[N];                                                                                                     \
            for (int k = 0; k < N; ++k) source[k] = row[k] < 0 ? g->zeros : plane + row[k];                                             \
            for (size_t x = 0; x < w; x += LANES) {                                                                                     \
                vf d[N], v[6];                                                                                                          \
                _Pragma("GCC unroll 6") for (int k = 0; k < N; ++k) d[k] = LOAD(source[k], x, w);                                       \
                TRANSFORM(d, v);                                                                                                        \
                _Pragma("GCC unroll 6") for (int k = 0; k < 6; ++k) store(out + (size_t)k * stride, x, w, v[k]);                        \
            }                                                                                                                           \
            for (size_t x = w; x < pitch; ++x) {                                                                                        \
                for (size_t k = 0; k < 6; ++k) out[k * stride + x] = 0;                                                                 \
            }                                                                                                                           \
        }                                                                                                                               \
        for (size_t k = 0; k < 6; ++k) {                                                                                                \
            for (size_t i = g->tile_rows * pitch; i < stride; ++i) s[k * stride + i] = 0;                                               \
        }                                                                                                                               \
    }
VERTICAL(vertical_input, 6, winograd_b)
VERTICAL(vertical_delta, 4, winograd_a)

INLINE vf v_and(vf a, const float *mask)
{
    vf m = v_load(mask);
    return (vf)((vbits)a & (vbits)m);
}

/* One scratch row of tiles to the six products of its tiles. A tile reads one column of each neighbour in its row. */
static void horizontal_input(const struct winograd_grid *g, const float *s, float *v, size_t vstride)
{
    size_t stride = g->stride;
    vf before = v_set(0), d[4], next[4] = {before, before, before, before};

    columns_apart(s, d);
    for (size_t t = 0; t < stride; t += LANES) {
        vf out[6];
        if (t + LANES < stride) columns_apart(s + 4 * (t + LANES), next);
        vf left = v_and(__builtin_shufflevector(before, d[3], BEHIND), g->left + t), right = v_and(__builtin_shufflevector(d[0], next[0], AHEAD), g->right + t);
        vf in[6] = {left, d[0], d[1], d[2], d[3], right};
        winograd_b(in, out);
#pragma GCC unroll 6
        for (size_t k = 0; k < 6; ++k) v_store(v + k * vstride + t, out[k]);
        before = d[3];
#pragma GCC unroll 4
        for (int k = 0; k < 4; ++k) d[k] = next[k];
    }
}

static void winograd_input(const struct winograd_grid *g, const float *plane, float *scratch, float *v, size_t vstride)
{
    vertical_input(g, plane, scratch);
    for (size_t k = 0; k < 6; ++k) horizontal_input(g, scratch + k * 4 * g->stride, v + 6 * k * vstride, vstride);
}

static void winograd_delta(const struct winograd_grid *g, const float *plane, float *scratch, float *v, size_t vstride)
{
    vertical_delta(g, plane, scratch);
    for (size_t k = 0; k < 6; ++k, v += 6 * vstride) {
        for (size_t t = 0; t < g->stride; t += LANES) {
            vf in[4], out[6];
            columns_apart(scratch + 4 * (k * g->stride + t), in);
            winograd_a(in, out);
#pragma GCC unroll 6
            for (size_t q = 0; q < 6; ++q) v_store(v + q * vstride + t, out[q]);
        }
    }
}

static void winograd_output(const struct winograd_grid *g, const float *m, size_t mstride, float *y)
{
    for (size_t t = 0; t < g->stride; t += LANES) {
        vf half[6][4], out[4][4];
#pragma GCC unroll 6
        for (size_t k = 0; k < 6; ++k) {
            vf in[6];
#pragma GCC unroll 6
            for (size_t q = 0; q < 6; ++q) in[q] = v_load(m + (6 * k + q) * mstride + t);
            winograd_at(in, half[k]);
        }
#pragma GCC unroll 4
        for (int q = 0; q < 4; ++q) {
            vf in[6] = {half[0][q], half[1][q], half[2][q], half[3][q], half[4][q], half[5][q]}, rows[4];
            winograd_at(in, rows);
#pragma GCC unroll 4
            for (int k = 0; k < 4; ++k) out[k][q] = rows[k];
        }
#pragma GCC unroll 4
        for (size_t k = 0; k < 4; ++k) columns_together(out[k], y + 4 * (k * g->stride + t));
    }
}

/* u[k * ustride + i] of n filters, i < n; taps of filter i at w + at[i], tap k at index (turned ? 8 - k : k). */
static void winograd_filters(size_t n, const float *w, const int32_t *at, int turned, float *u, size_t ustride)
{
    for (size_t i = 0; i < n; i += LANES) {
        size_t part = n - i < LANES ? n - i : LANES;
        float taps[9][LANES] = {{0}};
        vf half[3][6];
        for (size_t j = 0; j < part; ++j) {
            for (int k = 0; k < 9; ++k) taps[k][j] = at[i + j] < 0 ? 0 : w[at[i + j] + (turned ? 8 - k : k)];
        }
        for (int x = 0; x < 3; ++x) {   /* down each column of taps */
            vf in[3] = {v_load(taps[x]), v_load(taps[3 + x]), v_load(taps[6 + x])};
            winograd_g(in, half[x]);
        }
        for (int y = 0; y < 6; ++y) {
            vf in[3] = {half[0][y], half[1][y], half[2][y]}, out[6];
            winograd_g(in, out);
            for (int x = 0; x < 6; ++x) store(u + (size_t)(6 * y + x) * ustride, i, n, out[x]);
        }
    }
}

static void winograd_gradient(size_t n, const float *u, size_t ustride, float *w)
{
    for (size_t i = 0; i < n; i += LANES) {
        size_t part = n - i < LANES ? n - i : LANES;
        float taps[9][LANES];
        vf half[6][3];
        for (int y = 0; y < 6; ++y) {
            vf in[6];
            for (int x = 0; x < 6; ++x) in[x] = LOAD(u + (size_t)(6 * y + x) * ustride, i, n);
            winograd_gt(in, half[y]);
        }
        for (int x = 0; x < 3; ++x) {
            vf in[6] = {half[0][x], half[1][x], half[2][x], half[3][x], half[4][x], half[5][x]}, out[3];
            winograd_gt(in, out);
            for (int y = 0; y < 3; ++y) v_store(taps[3 * y + x], out[y]);
        }
        for (size_t j = 0; j < part; ++j) {
            for (int k = 0; k < 9; ++k) w[9 * (i + j) + (size_t)k] += taps[k][j];
        }
    }
}
