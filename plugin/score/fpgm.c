/* Geometric median (He, Liu, Wang, Hu, Yang: Filter pruning via geometric median, CVPR 2019): the filter nearest to the geometric median of its layer can
 * best be replaced by the others, so the score of a filter is the sum of its distances (L2) to all filters of its layer. A unit of several producers: root of
 * the sum of squares over producers. Filters stored once (share_index) count once; grouped filters are compared as they are stored.
 * Work: n^2 d / 2 for n filters of d weights. Differences are taken one by one in double (a Gram matrix would cancel between near twins), between tiles of
 * filters; each tile of rows adds to sums of its own, which are added up in order, so the numbers do not depend on threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../base/parallel.h"
#include "families.h"
#include "weights_view.h"

enum { TILE = 32, CHUNK = 128, LANES = 8 };

struct layer_filters {
    const struct prune_score_input *in;
    int layer;
    const float *weights;
    size_t n, tiles;
    double *sums;                        /* (tiles, n): what the rows of each tile found */
};

/* Values at .. at + count - 1 of the filters of a tile; filters that are not there are 0. */
static void read_tile(const struct layer_filters *f, size_t tile, size_t at, size_t count, double rows[TILE][CHUNK])
{
    for (size_t i = 0; i < TILE; i++) {
        const struct prune_weights_tensor *t;
        struct prune_filter_view view;
        size_t c = tile * TILE + i;
        if (c < f->n && prune_filter_of(f->in, (struct prune_channel){f->layer, (int)c}, &t, &view)) prune_filter_read(f->weights, &view, at, count, rows[i]);
        else memset(rows[i], 0, count * sizeof **rows);
    }
}

/* The same numbers with wider vectors, where the processor has them. */
#if defined(__x86_64__) && defined(__gnu_linux__)
#define WITH_WIDE_VECTORS __attribute__((target_clones("avx2", "default")))
#else
#define WITH_WIDE_VECTORS
#endif

/* squares[i][j] += |a_i - b_j|^2 over so many values; b is (value, filter), so that lanes are filters. */
WITH_WIDE_VECTORS static void add_squares(double rows[TILE][CHUNK], double columns[CHUNK][TILE], size_t count, double squares[TILE][TILE])
{
    for (size_t i = 0; i < TILE; i++)
        for (size_t j = 0; j < TILE; j += LANES) {
            double sum[LANES];
            memcpy(sum, &squares[i][j], sizeof sum);
            for (size_t k = 0; k < count; k++) {
                double a = rows[i][k];
                const double *b = &columns[k][j];
                for (size_t lane = 0; lane < LANES; lane++) sum[lane] += (a - b[lane]) * (a - b[lane]);
            }
            memcpy(&squares[i][j], sum, sizeof sum);
        }
}

static void tile_squares(const struct layer_filters *f, size_t a, size_t b, size_t size, double squares[TILE][TILE])
{
    double rows[TILE][CHUNK], other[TILE][CHUNK], columns[CHUNK][TILE];
    memset(squares, 0, TILE * sizeof *squares);
    for (size_t at = 0; at < size; at += CHUNK) {
        size_t count = size - at < CHUNK ? size - at : CHUNK;
        read_tile(f, a, at, count, rows);
        read_tile(f, b, at, count, other);
        for (size_t i = 0; i < TILE; i++)
            for (size_t k = 0; k < count; k++) columns[k][i] = other[i][k];
        add_squares(rows, columns, count, squares);
    }
}

/* Distances between the filters of one tile and of those from it on; each pair counts for both. */
static void tile_row(void *user, size_t a, size_t worker)
{
    (void)worker;
    const struct layer_filters *f = user;
    const struct prune_weights_tensor *t;
    struct prune_filter_view view;
    double squares[TILE][TILE], *sums = f->sums + a * f->n;
    if (!prune_filter_of(f->in, (struct prune_channel){f->layer, 0}, &t, &view)) return;
    for (size_t b = a; b < f->tiles; b++) {
        tile_squares(f, a, b, prune_filter_size(&view), squares);
        for (size_t i = a * TILE; i < f->n && i < (a + 1) * TILE; i++)
            for (size_t j = b > a ? b * TILE : i + 1; j < f->n && j < (b + 1) * TILE; j++) {
                double distance = sqrt(squares[i - a * TILE][j - b * TILE]);
                sums[i] += distance;
                sums[j] += distance;
            }
    }
}

/* Adds the squared sums of one layer to its units. */
static enum prune_code add_layer(const struct prune_score_input *in, int layer, double *scores, struct prune_status *st)
{
    const struct prune_weights_tensor *t;
    struct prune_filter_view view;
    struct layer_filters f = {.in = in, .layer = layer};
    while (f.n < (size_t)in->net->layers[layer].out_c && prune_filter_of(in, (struct prune_channel){layer, (int)f.n}, &t, &view)) f.n++;
    if (!f.n) return PRUNE_OK;
    f.weights = prune_weights_data(in->weights, t);
    f.tiles = (f.n + TILE - 1) / TILE;
    f.sums = calloc(f.tiles * f.n, sizeof *f.sums);
    if (!f.sums) return prune_fail_memory(st, f.tiles * f.n * sizeof *f.sums, "distances of filters");
    prune_parallel(f.tiles, tile_row, &f);
    for (size_t c = 0; c < f.n; c++) {
        double sum = 0;
        int unit = in->units->of_channel[layer][c];
        for (size_t a = 0; a < f.tiles; a++) sum += f.sums[a * f.n + c];
        if (unit >= 0) scores[unit] += sum * sum;
    }
    free(f.sums);
    return PRUNE_OK;
}

enum prune_code prune_fpgm_finish(const void *state, const struct prune_score_input *in, double *scores, struct prune_status *st)
{
    (void)state;
    enum prune_code rc = prune_check_filters(in, "fpgm", st);
    if (rc) return rc;
    for (size_t u = 0; u < in->units->count; u++) scores[u] = 0;
    for (size_t l = 0; !rc && l < in->net->layer_count; l++)
        if (in->net->layers[l].share < 0) rc = add_layer(in, (int)l, scores, st);
    for (size_t u = 0; u < in->units->count; u++) scores[u] = sqrt(scores[u]);
    return rc;
}
