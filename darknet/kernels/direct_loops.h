/* The sums of large convolutions (correlate_many of vector.h), included by vector_loops.h; the parameters are its.
 * Terms are cut into blocks and pixels into panels, so that a panel's inputs of one block stay in the first-level cache while the weights of
 * all rows pass by: for each block of terms, for each panel, for each ROWS rows, one register tile, added to y. */

enum { MANY_VECTORS = TILE / ROWS, MANY_TERMS = 256 * 3 * 8 / (MANY_VECTORS * LANES) < 256 ? 256 * 3 * 8 / (MANY_VECTORS * LANES) : 256 };

/* ROWS rows by V vectors of sums. Row r has weights w[r*wrow + t*wterm]; pixels of term t at x + offset[t], or x + t*V*LANES when offset is NULL. */
INLINE void many_tile(int V, size_t terms, const float *w, size_t wrow, size_t wterm, const int32_t *offset, const float *x, vf s[ROWS][MANY_VECTORS])
{
    const float *row[ROWS];

#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
        row[r] = w + (size_t)r * wrow;
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) s[r][v] = v_set(0);
    }
    for (size_t t = 0; t < terms; ++t) {
        const float *p = offset ? x + offset[t] : x + t * (size_t)(V * LANES);
        vf a[MANY_VECTORS];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) a[v] = v_load(p + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; ++r) {
            vf b = v_set(row[r][t * wterm]);
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) s[r][v] = v_fma(a[v], b, s[r][v]);
        }
    }
}

/* Writes or adds the first n pixels of the first `rows` rows of a tile. */
INLINE void many_store(int V, int rows, size_t n, vf s[ROWS][MANY_VECTORS], float *y, ptrdiff_t ystride, bool more)
{
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; ++r) {
        float *out = y + r * ystride;
        if (r >= rows) break;
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
            size_t at = (size_t)(v * LANES);
            if (at >= n) break;
            if (more) s[r][v] = s[r][v] + (n >= at + LANES ? v_load(out + at) : v_load_part(out + at, n - at));
            if (n >= at + LANES) v_store(out + at, s[r][v]);
            else v_store_part(out + at, s[r][v], n - at);
        }
    }
}

/* One panel of n <= V*LANES pixels, all rows, terms of one block. w: at the block's first term. */
INLINE void many_rows(int V, const struct correlation *c, size_t terms, const float *w, const float *tail, const int32_t *offset, const float *x,
                      float *y, size_t n, bool more)
{
    int r = 0;

    for (; r + ROWS <= c->rows; r += ROWS) {
        vf s[ROWS][MANY_VECTORS];
        if (c->packed) many_tile(V, terms, w + (size_t)r * c->terms, 1, ROWS, offset, x, s);
        else many_tile(V, terms, w + (size_t)r * c->terms, c->terms, 1, offset, x, s);
        many_store(V, ROWS, n, s, y + r * c->ystride, c->ystride, more);
    }
    if (r < c->rows) {
        vf s[ROWS][MANY_VECTORS];
        many_tile(V, terms, tail, 1, ROWS, offset, x, s);
        many_store(V, c->rows - r, n, s, y + r * c->ystride, c->ystride, more);
    }
}

/* The panel's inputs one term after the other, zeros behind pixel n. */
INLINE void many_gather(int V, size_t terms, const int32_t *offset, const float *x, size_t n, float *panel)
{
    if (n == (size_t)(V * LANES)) {
        for (size_t t = 0; t < terms; ++t, panel += V * LANES) {
#pragma GCC unroll 4
            for (int v = 0; v < V; ++v) v_store(panel + v * LANES, v_load(x + offset[t] + v * LANES));
        }
        return;
    }
    size_t whole = n / LANES * LANES;   /* V - 1 whole vectors */
    for (size_t t = 0; t < terms; ++t, panel += V * LANES) {
        for (size_t i = 0; i < whole; i += LANES) v_store(panel + i, v_load(x + offset[t] + i));
        v_store(panel + whole, v_load_part(x + offset[t] + whole, n - whole));
    }
}

INLINE void many_panel(int V, const struct correlation *c, size_t terms, const float *w, const float *tail, const int32_t *offset, const float *x,
                       float *y, size_t n, bool more, float *panel)
{
    if (c->gather || n < (size_t)(V * LANES)) {
        many_gather(V, terms, offset, x, n, panel);
        many_rows(V, c, terms, w, tail, NULL, panel, y, n, more);
    } else {
        many_rows(V, c, terms, w, tail, offset, x, y, n, more);
    }
}

static void many_panel_1(const struct correlation *c, size_t terms, const float *w, const float *tail, const int32_t *offset, const float *x, float *y,
                         size_t n, bool more, float *panel)
{
    many_panel(1, c, terms, w, tail, offset, x, y, n, more, panel);
}
static void many_panel_2(const struct correlation *c, size_t terms, const float *w, const float *tail, const int32_t *offset, const float *x, float *y,
                         size_t n, bool more, float *panel)
{
    many_panel(2, c, terms, w, tail, offset, x, y, n, more, panel);
}
#if TILE >= 3 * ROWS
static void many_panel_3(const struct correlation *c, size_t terms, const float *w, const float *tail, const int32_t *offset, const float *x, float *y,
                         size_t n, bool more, float *panel)
{
    many_panel(3, c, terms, w, tail, offset, x, y, n, more, panel);
}
#endif

/* Weights of the rows left over when rows is no multiple of ROWS, (terms, ROWS), zeros for those that do not exist. */
INLINE void many_tail(const struct correlation *c, const float *w, size_t terms, float *tail)
{
    int whole = c->rows / ROWS * ROWS;

    w += (size_t)whole * c->terms;
    for (size_t t = 0; t < terms; ++t) {
        for (int r = 0; r < ROWS; ++r) tail[t * ROWS + (size_t)r] = r >= c->rows - whole ? 0 : c->packed ? w[t * ROWS + (size_t)r] : w[(size_t)r * c->terms + t];
    }
}

static void correlate_many(const struct correlation *c)
{
    enum { W = MANY_VECTORS * LANES };
    _Alignas(64) float panel[MANY_TERMS * W], tail[MANY_TERMS * ROWS];
    size_t blocks = (c->terms + MANY_TERMS - 1) / MANY_TERMS;

    for (size_t b = 0; b < blocks; ++b) {
        size_t first = c->terms * b / blocks, terms = c->terms * (b + 1) / blocks - first;
        const float *w = c->w + (c->packed ? first * ROWS : first);
        const int32_t *offset = c->offset + first;
        bool more = c->more || b > 0;
        if (c->rows % ROWS) many_tail(c, w, terms, tail);
        for (size_t p = 0, n; p < c->n; p += n) {
            size_t left = c->n - p;
            const float *x = c->x + p;
            float *y = c->y + p;
            if (left <= LANES) {
                many_panel_1(c, terms, w, tail, offset, x, y, n = left, more, panel);
#if TILE >= 3 * ROWS
            } else if (left > 2 * LANES && (left <= 3 * LANES || left > 4 * LANES)) {   /* 3 + 1 vectors take longer than 2 + 2 */
                many_panel_3(c, terms, w, tail, offset, x, y, n = left < W ? left : W, more, panel);
#endif
            } else {
                many_panel_2(c, terms, w, tail, offset, x, y, n = left < 2 * LANES ? left : 2 * LANES, more, panel);
            }
        }
    }
}

/* `terms` rows of pixels, x + offset[t], as `count` rows of V*LANES terms, zeros for terms that do not exist. */
INLINE void many_transpose(int V, size_t terms, const int32_t *offset, const float *x, size_t count, float *panel)
{
    size_t width = (size_t)(V * LANES), t = 0;

    for (; t + TRANSPOSED <= terms; t += TRANSPOSED) {
        const float *row[TRANSPOSED];
        size_t p = 0;
        for (size_t i = 0; i < TRANSPOSED; ++i) row[i] = x + offset[t + i];
        for (; p + 4 <= count; p += 4) v_transpose(row, p, panel + p * width + t, width);
        for (; p < count; ++p) {
            for (size_t i = 0; i < TRANSPOSED; ++i) panel[p * width + t + i] = row[i][p];
        }
    }
    for (; t < width; ++t) {
        const float *row = t < terms ? x + offset[t] : NULL;
        for (size_t p = 0; p < count; ++p) panel[p * width + t] = row ? row[p] : 0;
    }
}

/* The products of a panel of n <= V*LANES terms with all rows; tail: the last rows % ROWS rows of d, (count, ROWS). */
INLINE void products_panel(int V, int rows, size_t n, const float *d, ptrdiff_t dstride, const float *tail, const int32_t *offset, const float *x,
                           float *g, ptrdiff_t gstride, size_t count, float *panel)
{
    vf s[ROWS][MANY_VECTORS];
    int r = 0;

    many_transpose(V, n, offset, x, count, panel);
    for (; r + ROWS <= rows; r += ROWS) {
        many_tile(V, count, d + r * dstride, (size_t)dstride, 1, NULL, panel, s);
        many_store(V, ROWS, n, s, g + r * gstride, gstride, true);
    }
    if (r < rows) {
        many_tile(V, count, tail, 1, ROWS, NULL, panel, s);
        many_store(V, rows - r, n, s, g + r * gstride, gstride, true);
    }
}

/* products for many rows: the inputs are transposed panel by panel, so that sums run over pixels without adding up lanes. */
static void products_many(int rows, size_t terms, const float *d, ptrdiff_t dstride, const int32_t *offset, const float *x, float *g,
                          ptrdiff_t gstride, size_t n)
{
    enum { W = MANY_VECTORS * LANES };
    _Alignas(64) float panel[MANY_TERMS * W], tail[MANY_TERMS * ROWS];
    size_t blocks = (n + MANY_TERMS - 1) / MANY_TERMS;
    int whole = rows / ROWS * ROWS;

    for (size_t b = 0; b < blocks; ++b) {
        size_t first = n * b / blocks, count = n * (b + 1) / blocks - first;
        const float *db = d + first;
        for (size_t p = 0; p < count && whole < rows; ++p) {
            for (int r = 0; r < ROWS; ++r) tail[p * ROWS + (size_t)r] = whole + r < rows ? db[(whole + r) * dstride + (ptrdiff_t)p] : 0;
        }
        for (size_t t = 0; t < terms;) {
            size_t left = terms - t;
            const int32_t *o = offset + t;
            if (left <= LANES) {
                products_panel(1, rows, left, db, dstride, tail, o, x + first, g + t, gstride, count, panel);
                t += LANES;
#if TILE >= 3 * ROWS
            } else if (left > 2 * LANES && (left <= 3 * LANES || left > 4 * LANES)) {
                products_panel(3, rows, left < W ? left : W, db, dstride, tail, o, x + first, g + t, gstride, count, panel);
                t += W;
#endif
            } else {
                products_panel(2, rows, left < 2 * LANES ? left : 2 * LANES, db, dstride, tail, o, x + first, g + t, gstride, count, panel);
                t += 2 * LANES;
            }
        }
    }
}
