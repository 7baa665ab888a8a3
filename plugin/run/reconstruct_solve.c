/* See reconstruct_solve.h. Products are split into blocks of columns for the processors; the order of every sum is that of the samples. CBLAS and LAPACKE are
 * linked like the host's libraries (score/matrix_rank.c). Row order here is LAPACK's column order of the transpose: lower here is upper there. */
#include "reconstruct_solve.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../base/parallel.h"

enum { BLOCK = 96, WORKERS = 16 };       /* columns of a block; prune_parallel's most workers */

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

double prune_moments_bytes(size_t groups, size_t n, size_t d)
{
    double G = (double)groups, N = (double)n, D = (double)d;
    return 8 * (G * D * D + G * N * D + G * (D + 2 * N) + D * D + 2 * N * D) + 4.0 * WORKERS * BLOCK * (D + N);
}

enum prune_code prune_moments_open(struct prune_moments *m, size_t groups, size_t n, size_t d, struct prune_status *st)
{
    *m = (struct prune_moments){.groups = groups, .n = n, .d = d};
    double bytes = prune_moments_bytes(groups, n, d);
    if (!(bytes < (double)(SIZE_MAX / 4))) return prune_fail_memory(st, SIZE_MAX, "moments of a layer");
    size_t sums = groups * (d + 2 * n);
    m->pp = calloc(groups * d * d + 1, sizeof *m->pp);
    m->yp = calloc(groups * n * d + 1, sizeof *m->yp);
    m->p = calloc(sums + 1, sizeof *m->p);
    m->scratch = malloc((size_t)WORKERS * BLOCK * (larger(d, 1) + n) * sizeof *m->scratch);
    if (!m->pp || !m->yp || !m->p || !m->scratch) {
        prune_moments_close(m);
        return prune_fail_memory(st, (size_t)bytes, "moments of a layer");
    }
    m->y = m->p + groups * d;
    m->yy = m->y + groups * n;
    return PRUNE_OK;
}

void prune_moments_close(struct prune_moments *m)
{
    free(m->pp);
    free(m->yp);
    free(m->p);
    free(m->scratch);
    *m = (struct prune_moments){0};
}

/* One block of columns [at, at + width) of one group: its products with all columns up to its own end, with the targets, and its sums. */
struct adding { struct prune_moments *m; size_t rows, blocks; const float *p, *y; };

static void add_products(const struct adding *a, size_t group, size_t at, size_t width, float *scratch)
{
    struct prune_moments *m = a->m;
    size_t end = at + width, p_step = m->groups * m->d, y_step = m->groups * m->n;
    const float *p = a->p + group * m->d;
    float *targets = scratch + width * end;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)width, (int)end, (int)a->rows, 1, p + at, (int)p_step, p, (int)p_step, 0, scratch, (int)end);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)m->n, (int)width, (int)a->rows, 1, a->y + group * m->n, (int)y_step, p + at, (int)p_step, 0, targets, (int)width);
    for (size_t i = 0; i < width; i++) {
        double *to = m->pp + (group * m->d + at + i) * m->d;
        for (size_t j = 0; j <= at + i; j++) to[j] += (double)scratch[i * end + j];
    }
    for (size_t o = 0; o < m->n; o++) {
        double *to = m->yp + (group * m->n + o) * m->d + at;
        for (size_t i = 0; i < width; i++) to[i] += (double)targets[o * width + i];
    }
    for (size_t r = 0; r < a->rows; r++)
        for (size_t i = at; i < end; i++) m->p[group * m->d + i] += (double)p[r * p_step + i];
}

static void add_block(void *user, size_t item, size_t worker)
{
    const struct adding *a = user;
    size_t at = item % a->blocks * BLOCK, left = a->m->d - at;
    add_products(a, item / a->blocks, at, left < BLOCK ? left : BLOCK, a->m->scratch + worker * BLOCK * (a->m->d + a->m->n));
}

void prune_moments_add(struct prune_moments *m, size_t rows, const float *p, const float *y)
{
    struct adding a = {m, rows, (m->d + BLOCK - 1) / BLOCK, p, y};
    size_t filters = m->groups * m->n;
    if (!rows) return;
    prune_parallel(m->groups * a.blocks, add_block, &a);
    for (size_t r = 0; r < rows; r++) {
        for (size_t o = 0; o < filters; o++) {
            double v = (double)y[r * filters + o];
            m->y[o] += v;
            m->yy[o] += v * v;
        }
    }
    m->count += (double)rows;
}

/* yy - 2 w . yp + w^T pp w, summed over the group's filters: the squared distance of w p from the targets. room (n, d). */
static double squared_error(const double *pp, const double *yp, const double *yy, const double *w, size_t n, size_t d, double *room)
{
    double sum = 0;
    cblas_dsymm(CblasRowMajor, CblasRight, CblasLower, (int)n, (int)d, 1, pp, (int)d, w, (int)d, 0, room, (int)d);
    for (size_t o = 0; o < n; o++) {
        sum += yy[o];
        for (size_t j = 0; j < d; j++) sum += w[o * d + j] * (room[o * d + j] - 2 * yp[o * d + j]);
    }
    return sum > 0 ? sum : 0;
}

struct group { double *pp, *yp, *p, *y, *yy; };

static struct group group_of(const struct prune_moments *m, size_t g)
{
    return (struct group){m->pp + g * m->d * m->d, m->yp + g * m->n * m->d, m->p + g * m->d, m->y + g * m->n, m->yy + g * m->n};
}

/* Moments about the means; sums become means. */
static void center(const struct group *x, size_t n, size_t d, double count)
{
    for (size_t j = 0; j < d; j++) x->p[j] /= count;
    for (size_t o = 0; o < n; o++) x->y[o] /= count;
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j <= i; j++) x->pp[i * d + j] -= count * x->p[i] * x->p[j];
    for (size_t o = 0; o < n; o++) {
        for (size_t j = 0; j < d; j++) x->yp[o * d + j] -= count * x->y[o] * x->p[j];
        x->yy[o] = fmax(0, x->yy[o] - count * x->y[o] * x->y[o]);
    }
}

static double mean_diagonal(const double *pp, size_t d)
{
    double sum = 0;
    for (size_t j = 0; j < d; j++) sum += pp[j * d + j];
    return d ? sum / (double)d : 0;
}

/* rhs (n, d) := rhs (pp + added I)^-1. False: not positive definite. */
static bool solve_ridge(const double *pp, size_t n, size_t d, double added, double *matrix, double *rhs)
{
    memcpy(matrix, pp, d * d * sizeof *matrix);
    for (size_t j = 0; j < d; j++) matrix[j * d + j] += added;
    if (LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', (lapack_int)d, matrix, (lapack_int)d) != 0) return false;
    return LAPACKE_dpotrs_work(LAPACK_COL_MAJOR, 'U', (lapack_int)d, (lapack_int)n, matrix, (lapack_int)d, rhs, (lapack_int)d) == 0;
}

/* w += (yp - w pp) (pp + added I)^-1, pp and yp centered. A singular matrix gets more and more ridge; where nothing varies nothing moves. */
static void improve(const struct group *x, size_t n, size_t d, double scale, double *ridge, double *w, double *matrix, double *rhs)
{
    if (!(mean_diagonal(x->pp, d) > 0)) return;
    for (;; *ridge = fmax(10 * *ridge, 1e-10)) {
        memcpy(rhs, x->yp, n * d * sizeof *rhs);
        cblas_dsymm(CblasRowMajor, CblasRight, CblasLower, (int)n, (int)d, -1, x->pp, (int)d, w, (int)d, 1, rhs, (int)d);
        if (solve_ridge(x->pp, n, d, *ridge * scale, matrix, rhs)) break;
        if (*ridge > 1e6) return;
    }
    for (size_t i = 0; i < n * d; i++) w[i] += rhs[i];
}

static bool all_finite(const double *v, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(v[i])) return false;
    return true;
}

static bool finite_moments(const struct prune_moments *m)
{
    return all_finite(m->pp, m->groups * m->d * m->d) && all_finite(m->yp, m->groups * m->n * m->d) && all_finite(m->p, m->groups * (m->d + 2 * m->n));
}

struct sums { double before, after, whole; };

static void solve_group(struct prune_moments *m, size_t g, double *ridge, float *w, double *constant, double *room, struct sums *sums)
{
    size_t n = m->n, d = m->d;
    struct group x = group_of(m, g);
    double *W = room, *rhs = W + n * d, *matrix = rhs + n * d, scale = mean_diagonal(x.pp, d);
    for (size_t i = 0; i < n * d; i++) W[i] = (double)w[i];
    sums->before += squared_error(x.pp, x.yp, x.yy, W, n, d, rhs);
    center(&x, n, d, m->count);
    improve(&x, n, d, scale, ridge, W, matrix, rhs);
    for (size_t i = 0; i < n * d; i++) w[i] = (float)W[i];
    sums->after += squared_error(x.pp, x.yp, x.yy, W, n, d, rhs);
    for (size_t o = 0; o < n; o++) {
        constant[o] = x.y[o];
        for (size_t j = 0; j < d; j++) constant[o] -= W[o * d + j] * x.p[j];
        sums->whole += x.yy[o];
    }
}

enum prune_code prune_moments_solve(struct prune_moments *m, double ridge, float *w, double *constant, struct prune_solution *out, struct prune_status *st)
{
    size_t bytes = (2 * m->n * m->d + m->d * m->d + 1) * sizeof(double);
    if (!(m->count > 0)) return prune_fail(st, "no samples to reconstruct from");
    if (!finite_moments(m)) return prune_fail(st, "inputs or sums that are no numbers, or above 1e38");
    double *room = malloc(bytes);
    if (!room) return prune_fail_memory(st, bytes, "least squares");
    struct sums sums = {0};
    out->ridge = ridge;
    for (size_t g = 0; g < m->groups; g++) {
        double used = ridge;
        solve_group(m, g, &used, w + g * m->n * m->d, constant + g * m->n, room, &sums);
        out->ridge = fmax(out->ridge, used);
    }
    free(room);
    out->before = sums.whole > 0 ? sqrt(sums.before / sums.whole) : 0;
    out->after = sums.whole > 0 ? sqrt(sums.after / sums.whole) : 0;
    return PRUNE_OK;
}
