/* Inner loops over the rows of one plane, included by vector_loops.h once per instruction set. Not a header. Depthwise convolutions and pooling run on
 * rows that are already padded, so no loop has edges; the last vector of a row overlaps the one before, which is why a block of several vectors
 * loads what it adds to before it stores. */

/* R rows by V vectors from column i; the last vector starts at i + tail. */
INLINE void stencil_tile(int R, int V, bool add, size_t tail, size_t terms, const float *w, const int32_t *offset, const float *x, size_t xpitch, float *y,
                         size_t ypitch)
{
    vf s[4][5];

#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 5
        for (int v = 0; v < V; ++v) s[r][v] = add ? v_load(y + (size_t)r * ypitch + (v < V - 1 ? (size_t)(v * LANES) : tail)) : v_set(0);
    }
    for (size_t t = 0; t < terms; ++t) {
        const float *p = x + offset[t];
        vf b = v_set(w[t]);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r, p += xpitch) {
#pragma GCC unroll 5
            for (int v = 0; v < V; ++v) s[r][v] = v_fma(v_load(p + (v < V - 1 ? (size_t)(v * LANES) : tail)), b, s[r][v]);
        }
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 5
        for (int v = 0; v < V; ++v) v_store(y + (size_t)r * ypitch + (v < V - 1 ? (size_t)(v * LANES) : tail), s[r][v]);
    }
}

#define STENCIL_ROWS(R, V)                                                                                                        \
    for (; r + (R) <= rows; r += (R)) {                                                                                           \
        if (add) stencil_tile(R, V, true, tail, terms, w, offset, x + r * xpitch + i, xpitch, y + r * ypitch + i, ypitch);                \
        else stencil_tile(R, V, false, tail, terms, w, offset, x + r * xpitch + i, xpitch, y + r * ypitch + i, ypitch);                   \
    }

/* Rows narrower than a vector. */
static void stencil_narrow(size_t rows, size_t n, size_t terms, const float *w, const int32_t *offset, const float *x, size_t xpitch, float *y,
                           size_t ypitch, bool add)
{
    for (size_t r = 0; r < rows; ++r, x += xpitch, y += ypitch) {
        vf s = add ? v_load_part(y, n) : v_set(0);
        for (size_t t = 0; t < terms; ++t) s = v_fma(v_load(x + offset[t]), v_set(w[t]), s);
        v_store_part(y, s, n);
    }
}

static void stencil(size_t rows, size_t n, size_t terms, const float *w, const int32_t *offset, const float *x, size_t xpitch, float *y, size_t ypitch,
                    bool add)
{
    if (n < LANES) {
        stencil_narrow(rows, n, terms, w, offset, x, xpitch, y, ypitch, add);
        return;
    }
    for (size_t i = 0, left = (n + LANES - 1) / LANES, v, r, tail; left; left -= v, i += v * LANES) {
        r = 0;
        v = left == 6 ? 4 : left < 5 ? left : 5;   /* never a single vector that overlaps an earlier block */
        tail = left == v ? n - LANES - i : (v - 1) * LANES;
        switch (v) {
        case 1: STENCIL_ROWS(4, 1) STENCIL_ROWS(1, 1) break;
        case 2: STENCIL_ROWS(4, 2) STENCIL_ROWS(1, 2) break;
        case 3: STENCIL_ROWS(2, 3) STENCIL_ROWS(1, 3) break;
        case 4: STENCIL_ROWS(2, 4) STENCIL_ROWS(1, 4) break;
        default: STENCIL_ROWS(2, 5) STENCIL_ROWS(1, 5) break;
        }
    }
}

/* C terms at once; g holds a vector of sums per term. */
INLINE void stencil_sums(int C, size_t rows, size_t n, const float *d, size_t dpitch, const int32_t *offset, const float *x, size_t xpitch, float *g)
{
    vf s[9];
    const float *p[9];

#pragma GCC unroll 9
    for (int c = 0; c < C; ++c) {
        s[c] = v_load(g + c * LANES);
        p[c] = x + offset[c];
    }
    for (size_t r = 0; r < rows; ++r, d += dpitch) {
        size_t i = 0, row = r * xpitch;
        for (; i + LANES <= n; i += LANES) {
            vf a = v_load(d + i);
#pragma GCC unroll 9
            for (int c = 0; c < C; ++c) s[c] = v_fma(a, v_load(p[c] + row + i), s[c]);
        }
        if (i < n) {
            vf a = n < LANES ? v_load_part(d, n) : v_last(v_load(d + n - LANES), n - i);
            i = n < LANES ? 0 : n - LANES;
#pragma GCC unroll 9
            for (int c = 0; c < C; ++c) s[c] = v_fma(a, v_load(p[c] + row + i), s[c]);
        }
    }
#pragma GCC unroll 9
    for (int c = 0; c < C; ++c) v_store(g + c * LANES, s[c]);
}

static void stencil_products(size_t rows, size_t n, size_t terms, const float *d, size_t dpitch, const int32_t *offset, const float *x, size_t xpitch,
                             float *g)
{
    size_t t = 0;
    for (; t + 9 <= terms; t += 9) stencil_sums(9, rows, n, d, dpitch, offset + t, x, xpitch, g + t * LANES);
    for (; t + 8 <= terms; t += 8) stencil_sums(8, rows, n, d, dpitch, offset + t, x, xpitch, g + t * LANES);
    for (; t < terms; ++t) stencil_sums(1, rows, n, d, dpitch, offset + t, x, xpitch, g + t * LANES);
}

static void maximum_tail(size_t n, const float *best, const float *code, int base, int step, float *y, int32_t *where)
{
    for (size_t k = 0; k < n; ++k) {
        y[k] = best[k];
        where[k] = code[k] < 0 ? -1 : base + (int32_t)code[k] + (int32_t)k * step;
    }
}

static void stencil_maximum(size_t rows, size_t n, size_t terms, const float *code, const int32_t *offset, const float *x, size_t xpitch, float *y,
                            int32_t *where, int base, int row_step, int step)
{
    for (size_t r = 0; r < rows; ++r, x += xpitch, y += n, where += n, base += row_step) {
        size_t i = 0;
        float best[2 * LANES], codes[2 * LANES];
        for (; i < n; i += 2 * LANES) {
            size_t left = n - i < 2 * LANES ? n - i : 2 * LANES;
            vf b0 = v_set(-3.402823466e+38F), b1 = b0, c0 = v_set(-1), c1 = c0;
            for (size_t t = 0; t < terms; ++t) {
                const float *p = x + offset[t] + i;
                vf k = v_set(code[t]), a = v_load(p);
                c0 = v_greater(a, b0, k, c0);
                b0 = v_greater(a, b0, a, b0);
                if (left > LANES) {
                    a = v_load(p + LANES);
                    c1 = v_greater(a, b1, k, c1);
                    b1 = v_greater(a, b1, a, b1);
                }
            }
            v_store(best, b0);
            v_store(best + LANES, b1);
            v_store(codes, c0);
            v_store(codes + LANES, c1);
            if (left == 2 * LANES) maximum_tail(2 * LANES, best, codes, base + (int)i * step, step, y + i, where + i);
            else maximum_tail(left, best, codes, base + (int)i * step, step, y + i, where + i);
        }
    }
}

static void place_rows(size_t rows, size_t n, const float *x, size_t xpitch, float *y, size_t ypitch)
{
    for (size_t r = 0; r < rows; ++r, x += xpitch, y += ypitch) {
        size_t i = 0;
        for (; i + LANES <= n; i += LANES) v_store(y + i, v_load(x + i));
        if (i < n && n >= LANES) v_store(y + n - LANES, v_load(x + n - LANES));
        else for (; i < n; ++i) y[i] = x[i];
    }
}

static void split_rows(size_t rows, size_t n, const float *x, size_t xpitch, float *even, float *odd, size_t ypitch)
{
    for (size_t r = 0; r < rows; ++r, x += xpitch, even += ypitch, odd += ypitch) {
        size_t i = 0;
        for (; i + 2 * LANES <= n; i += 2 * LANES) {
            vf a = v_load(x + i), b = v_load(x + i + LANES);
            v_store(even + i / 2, v_even(a, b));
            v_store(odd + i / 2, v_odd(a, b));
        }
        for (; i < n; ++i) (i & 1 ? odd : even)[i / 2] = x[i];
    }
}

static void join_rows(size_t rows, size_t n, const float *even, const float *odd, size_t xpitch, float *y, size_t ypitch)
{
    for (size_t r = 0; r < rows; ++r, y += ypitch, even += xpitch, odd += xpitch) {
        size_t i = 0;
        for (; i + 2 * LANES <= n; i += 2 * LANES) {
            vf a = v_load(even + i / 2), b = v_load(odd + i / 2);
            v_store(y + i, v_load(y + i) + v_zip_low(a, b));
            v_store(y + i + LANES, v_load(y + i + LANES) + v_zip_high(a, b));
        }
        for (; i < n; ++i) y[i] += (i & 1 ? odd : even)[i / 2];
    }
}

/* Uniform numbers of 24 bits from (key, position): two rounds of a 32-bit mixer, whose low bias is measured by its author (C. Wellons, 2018). */
INLINE uint32_t mixed(uint32_t x)
{
    x ^= x >> 16;
    x *= 0x7feb352du;
    x ^= x >> 15;
    x *= 0x846ca68bu;
    return x ^ x >> 16;
}

static void drop_again(size_t n, const float *numbers, float probability, float scale, float *x)
{
    vf p = v_set(probability), a = v_set(scale), zero = v_set(0);
    for (size_t i = 0; i < n; i += LANES) store(x, i, n, v_greater(p, LOAD(numbers, i, n), zero, LOAD(x, i, n) * a));
}

static void drop(size_t n, uint64_t key, uint32_t first, float probability, float scale, float *x, float *numbers)
{
    uint32_t low = (uint32_t)key + first, high = (uint32_t)(key >> 32);
    for (size_t i = 0; i < n; ++i) numbers[i] = (float)(int32_t)(mixed(mixed((uint32_t)i + low) ^ high) >> 8) * (1 / 16777216.f);
    drop_again(n, numbers, probability, scale, x);
}

/* One pass: y = f(a*x + b*z); and d *= f'(y), then x += a*d (unless NULL), z += b*d. */
INLINE void blend_as(size_t n, const float *x, float a, const float *z, float b, enum vector_activation f, float *y)
{
    vf va = v_set(a), vb = v_set(b);
    for (size_t i = 0; i < n; i += LANES) store(y, i, n, activated(v_fma(LOAD(z, i, n), vb, LOAD(x, i, n) * va), f));
}

static void blend(size_t n, const float *x, float a, const float *z, float b, enum vector_activation f, float *y)
{
    switch (f) {
    case VECTOR_RELU: blend_as(n, x, a, z, b, VECTOR_RELU, y); break;
    case VECTOR_LEAKY: blend_as(n, x, a, z, b, VECTOR_LEAKY, y); break;
    default: blend_as(n, x, a, z, b, VECTOR_LINEAR, y); break;
    }
}

INLINE void unblend_as(size_t n, float *d, const float *y, enum vector_activation f, float a, float *x, float b, float *z)
{
    vf va = v_set(a), vb = v_set(b);
    for (size_t i = 0; i < n; i += LANES) {
        vf v = LOAD(d, i, n);
        if (f != VECTOR_LINEAR) {
            vf low = v_set(0);
            if (f == VECTOR_LEAKY) low = v * v_set(.1f);
            v = v_positive(LOAD(y, i, n), v, low);
            store(d, i, n, v);
        }
        if (x) store(x, i, n, v_fma(v, va, LOAD(x, i, n)));
        store(z, i, n, v_fma(v, vb, LOAD(z, i, n)));
    }
}

static void unblend(size_t n, float *d, const float *y, enum vector_activation f, float a, float *x, float b, float *z)
{
    switch (f) {
    case VECTOR_RELU: unblend_as(n, d, y, VECTOR_RELU, a, x, b, z); break;
    case VECTOR_LEAKY: unblend_as(n, d, y, VECTOR_LEAKY, a, x, b, z); break;
    default: unblend_as(n, d, y, VECTOR_LINEAR, a, x, b, z); break;
    }
}
