/* All arithmetic is in double and on the matrix itself: a Gram matrix would square the singular values, and what lies below 1e-8 of the largest would drown.
 * Three steps, each only where the one before leaves doubt, so that the answer is that of the singular values:
 *   1 rows and columns of zeros are left out, which changes no singular value; one row or column left: rank 1, none: 0;
 *   2 modified Gram-Schmidt with column pivoting, A P = Q R, stopped after k columns when what is left is rounding. With s_i the singular values:
 *     s_k >= 1 / |R_11^-1|_F, s_(k+1) <= |R_22|_F, and |A|_F / sqrt(n) <= s_1 <= |A|_F. If the first bound is above the tolerance and the second below
 *     it, the rank is k (with a margin of 2, far above the rounding of either);
 *   3 the singular values, by LAPACKE.
 * LAPACKE is linked like the host's libraries: whoever opens a host that delivers maps has opened it (darknet/host_library.c). */
#include "matrix_rank.h"

#include <lapacke.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CERTIFIED = 48 };            /* above, LAPACK's blocks are faster than plain loops */

struct prune_rank_room {
    double *matrix, *rest, *r, *singular, *work;     /* (area) three times, (side), (work_count) */
    lapack_int *whole, work_count;                   /* (8 side) */
    size_t *columns;                                 /* (side) */
};

struct prune_rank_room *prune_rank_room_make(size_t area, size_t side)
{
    size_t work = 16 * side + 2 * side * 64;         /* dgesdd: 3 n + max(m, 7 n) at least, (m + n) blocks to be quick */
    struct prune_rank_room *room = malloc(sizeof *room);
    double *all = malloc((3 * area + side + work) * sizeof *all + side * sizeof(size_t) + 8 * side * sizeof(lapack_int));
    if (!room || !all) {
        free(room);
        free(all);
        return NULL;
    }
    *room = (struct prune_rank_room){.matrix = all, .rest = all + area, .r = all + 2 * area, .singular = all + 3 * area, .work = all + 3 * area + side,
                                     .work_count = (lapack_int)work};
    room->columns = (size_t *)(room->work + work);
    room->whole = (lapack_int *)(room->columns + side);
    return room;
}

void prune_rank_room_free(struct prune_rank_room *room)
{
    if (room) free(room->matrix);
    free(room);
}

/* The matrix without its rows and columns of zeros, in room->matrix, row by row. false: a value is not finite. */
static bool compact(const float *values, size_t h, size_t w, ptrdiff_t step_y, ptrdiff_t step_x, struct prune_rank_room *room, size_t *rows, size_t *columns)
{
    size_t n = 0, m = 0;
    for (size_t x = 0; x < w; x++) {
        bool any = false;
        for (size_t y = 0; y < h; y++) {
            float value = values[(ptrdiff_t)y * step_y + (ptrdiff_t)x * step_x];
            if (!isfinite(value)) return false;
            any |= value != 0;
        }
        if (any) room->columns[n++] = x;
    }
    for (size_t y = 0; y < h; y++) {
        bool any = false;
        for (size_t i = 0; i < n; i++) {
            double value = (double)values[(ptrdiff_t)y * step_y + (ptrdiff_t)room->columns[i] * step_x];
            room->matrix[m * n + i] = value;
            any |= value != 0;
        }
        m += any;
    }
    *rows = m;
    *columns = n;
    return true;
}

static void swap_columns(double *a, size_t rows, size_t n, size_t i, size_t j)
{
    for (size_t y = 0; y < rows; y++) {
        double keep = a[y * n + i];
        a[y * n + i] = a[y * n + j];
        a[y * n + j] = keep;
    }
}

/* Column k becomes q, the columns behind it lose their part along q; r is row k of R. */
static void orthogonalize(double *a, size_t m, size_t n, size_t k, double norm, double *r)
{
    memset(r, 0, n * sizeof *r);
    r[k] = norm;
    for (size_t y = 0; y < m; y++) {
        double *row = a + y * n, q = row[k] /= norm;
        for (size_t x = k + 1; x < n; x++) r[x] += q * row[x];
    }
    for (size_t y = 0; y < m; y++) {
        double *row = a + y * n, q = row[k];
        for (size_t x = k + 1; x < n; x++) row[x] -= q * r[x];
    }
}

/* squares[x] = square of the norm of what is left of column x; their sum. */
static double left_over(const double *a, size_t m, size_t n, size_t k, double *squares, size_t *largest)
{
    double sum = 0;
    memset(squares, 0, n * sizeof *squares);
    for (size_t y = 0; y < m; y++)
        for (size_t x = k; x < n; x++) squares[x] += a[y * n + x] * a[y * n + x];
    *largest = k;
    for (size_t x = k; x < n; x++) {
        sum += squares[x];
        if (squares[x] > squares[*largest]) *largest = x;
    }
    return sum;
}

/* |R^-1|_F^2 of the upper triangle of the first k columns; out: room for k * k values. */
static double inverse_square(const double *r, size_t n, size_t k, double *out)
{
    double sum = 0;
    for (size_t i = k; i-- > 0;) {
        double *row = out + i * k;
        memset(row, 0, k * sizeof *row);
        row[i] = 1;
        for (size_t j = i + 1; j < k; j++)
            for (size_t x = j; x < k; x++) row[x] -= r[i * n + j] * out[j * k + x];
        for (size_t x = i; x < k; x++) {
            row[x] /= r[i * n + i];
            sum += row[x] * row[x];
        }
    }
    return sum;
}

/* true: *rank is certain. */
static bool certify(struct prune_rank_room *room, size_t m, size_t n, double tolerance, size_t *rank)
{
    double *a = room->rest, *r = room->r, *squares = room->singular, whole = 0, rest = 0;
    size_t k = 0, pivot, least = m < n ? m : n;
    memcpy(a, room->matrix, m * n * sizeof *a);
    for (; k < least; k++) {
        rest = left_over(a, m, n, k, squares, &pivot);
        if (k == 0) whole = rest;
        if (rest <= whole * 1e-26) break;            /* rounding of |A|_F */
        if (pivot != k) swap_columns(a, m, n, k, pivot), swap_columns(r, k, n, k, pivot);
        orthogonalize(a, m, n, k, sqrt(squares[pivot]), r + k * n);
        rest = 0;
    }
    if (!(rest * 4 * (double)n < tolerance * tolerance * whole)) return false;
    *rank = k;
    return inverse_square(r, n, k, a) * 4 * tolerance * tolerance * whole < 1;
}

double prune_matrix_rank(const float *values, size_t h, size_t w, ptrdiff_t step_y, ptrdiff_t step_x, struct prune_rank_room *room)
{
    size_t m, n, rank = 0;
    double tolerance = (double)(h > w ? h : w) * 0x1p-23;
    if (!compact(values, h, w, step_y, step_x, room, &m, &n)) return NAN;
    size_t least = m < n ? m : n;
    if (least <= 1) return (double)least;
    if (least <= MOST_CERTIFIED && certify(room, m, n, tolerance, &rank)) return (double)rank;
    lapack_int info = LAPACKE_dgesdd_work(LAPACK_COL_MAJOR, 'N', (lapack_int)n, (lapack_int)m, room->matrix, (lapack_int)n, room->singular, NULL, 1, NULL, 1,
                                          room->work, room->work_count, room->whole);
    if (info) return NAN;
    for (rank = 0; rank < least && room->singular[rank] > tolerance * room->singular[0];) rank++;
    return (double)rank;
}
