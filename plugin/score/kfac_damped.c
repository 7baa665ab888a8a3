/* Damped factors, their Cholesky factors and what scores need of their inverses; see kfac.h. In LAPACK's column order the lower triangle of our rows is an upper one,
 * so nothing is transposed. No inverse is formed: [M^-1]_jj = |L^-1 e_j|^2, from solves with blocks of unit columns. */
#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kfac.h"

enum { SOLVED_AT_ONCE = 128, MOST_TRIES = 60 };

static double trace(const double *m, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += m[i * n + i];
    return sum;
}

static double *widened(const float *from, size_t n)
{
    double *to = malloc((n * n + 1) * sizeof *to);
    for (size_t i = 0; to && i < n * n; i++) to[i] = (double)from[i];
    return to;
}

static void add_diagonal(double *m, size_t n, double value)
{
    for (size_t i = 0; i < n; i++) m[i * n + i] += value;
}

enum prune_code prune_kfac_damp(struct prune_kfac_damped *out, const struct prune_kfac_factors *f, size_t group, double lambda, struct prune_status *st)
{
    size_t n = f->shape.n, d = f->shape.d;
    struct prune_kfac_damped r = {.n = n, .d = d, .pi = 1, .lambda = lambda, .a = widened(f->a + group * d * d, d), .s = widened(f->s + group * n * n, n)};
    if (!r.a || !r.s) {
        prune_kfac_damped_free(&r);
        return prune_fail_memory(st, (d * d + n * n) * sizeof(double), "damped factors");
    }
    double a = trace(r.a, d) / (double)d, s = trace(r.s, n) / (double)n;
    if (!isfinite(a) || !isfinite(s)) {
        prune_kfac_damped_free(&r);
        return prune_fail(st, "K-FAC factors of layer %d are not finite; check the weights and the images", f->shape.layer);
    }
    if (a > 0 && s > 0) r.pi = sqrt(a / s);
    r.a_damping = r.pi * sqrt(lambda);
    r.s_damping = sqrt(lambda) / r.pi;
    add_diagonal(r.a, d, r.a_damping);
    add_diagonal(r.s, n, r.s_damping);
    *out = r;
    return PRUNE_OK;
}

void prune_kfac_damped_free(struct prune_kfac_damped *f)
{
    double *owned[] = {f->a, f->s, f->a_chol, f->s_chol, f->a_inverse_diagonal, f->s_inverse_diagonal};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
    *f = (struct prune_kfac_damped){0};
}

/* ---- Cholesky ---- */

static bool cholesky(const double *m, size_t n, double *l)
{
    memcpy(l, m, n * n * sizeof *l);
    if (LAPACKE_dpotrf_work(LAPACK_COL_MAJOR, 'U', (lapack_int)n, l, (lapack_int)n) != 0) return false;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(l[i * n + i])) return false;
        memset(l + i * n + i + 1, 0, (n - i - 1) * sizeof *l);
    }
    return true;
}

/* L X = unit columns j0 ... : above row j0 they are 0 and stay so. */
static void inverse_diagonal(const double *l, size_t n, double *block, double *out)
{
    for (size_t j0 = 0; j0 < n; j0 += SOLVED_AT_ONCE) {
        size_t width = n - j0 < SOLVED_AT_ONCE ? n - j0 : SOLVED_AT_ONCE, rows = n - j0;
        memset(block, 0, rows * width * sizeof *block);
        for (size_t j = 0; j < width; j++) block[j * width + j] = 1, out[j0 + j] = 0;
        cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (int)rows, (int)width, 1, l + j0 * n + j0, (int)n, block, (int)width);
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < width; j++) out[j0 + j] += block[i * width + j] * block[i * width + j];
    }
}

/* *damping: what stands on the diagonal of m, ten times as much after each failure. */
static enum prune_code factorise(double *m, size_t n, double *damping, double *added, double **l, double **diagonal, struct prune_status *st)
{
    size_t width = n < SOLVED_AT_ONCE ? n : SOLVED_AT_ONCE;
    double *block = malloc((n * width + 1) * sizeof *block), least = trace(m, n) / (double)n * 1e-12;
    *l = malloc((n * n + 1) * sizeof **l);
    *diagonal = malloc((n + 1) * sizeof **diagonal);
    enum prune_code rc = block && *l && *diagonal ? PRUNE_OK : prune_fail_memory(st, (n * n + n * width) * sizeof(double), "Cholesky factors");
    for (int tries = 0; !rc && !cholesky(m, n, *l); tries++) {
        double more = fmax(9 * *damping, least);
        if (tries == MOST_TRIES || !(more > 0) || !isfinite(more)) rc = prune_fail(st, "a K-FAC factor is not positive definite whatever its damping; give a larger -damping");
        else {
            add_diagonal(m, n, more);
            *damping += more;
            *added += more;
        }
    }
    if (!rc) inverse_diagonal(*l, n, block, *diagonal);
    free(block);
    return rc;
}

enum prune_code prune_kfac_factorise(struct prune_kfac_damped *f, struct prune_status *st)
{
    double more_a = 0, more_s = 0;
    if (f->a_chol) return PRUNE_OK;
    enum prune_code rc = factorise(f->a, f->d, &f->a_damping, &more_a, &f->a_chol, &f->a_inverse_diagonal, st);
    if (!rc) rc = factorise(f->s, f->n, &f->s_damping, &more_s, &f->s_chol, &f->s_inverse_diagonal, st);
    f->added = fmax(more_a, more_s);
    return rc;
}

/* ---- scores ---- */

/* A diagonal of the undamped factor: what damping has left of it. */
static double undamped(const double *m, size_t n, size_t i, double damping) { return fmax(0, m[i * n + i] - damping); }

void prune_kfac_weight_scores(const struct prune_kfac_damped *f, enum prune_kfac_form form, const float *weights, double *out)
{
    for (size_t i = 0; i < f->n; i++) {
        for (size_t j = 0; j < f->d; j++) {
            double w = (double)weights[i * f->d + j];
            double curvature = form == PRUNE_KFAC_OBS ? 1 / (f->a_inverse_diagonal[j] * f->s_inverse_diagonal[i])
                                                      : undamped(f->a, f->d, j, f->a_damping) * undamped(f->s, f->n, i, f->s_damping);
            out[i * f->d + j] = w * w * curvature / 2;
        }
    }
}

/* Sums over the filter of w_j^2 times column weights. */
static void separable_scores(const struct prune_kfac_damped *f, enum prune_kfac_form form, const float *weights, double *out)
{
    for (size_t i = 0; i < f->n; i++) {
        double sum = 0;
        for (size_t j = 0; j < f->d; j++) {
            double w = (double)weights[i * f->d + j];
            sum += w * w * (form == PRUNE_KFAC_OBS ? 1 / f->a_inverse_diagonal[j] : undamped(f->a, f->d, j, f->a_damping));
        }
        out[i] = sum / 2 * (form == PRUNE_KFAC_OBS ? 1 / f->s_inverse_diagonal[i] : undamped(f->s, f->n, i, f->s_damping));
    }
}

/* w^T A w of `rows` rows, w and product: room for rows * d values each. */
static void quadratic(const struct prune_kfac_damped *f, const float *weights, size_t rows, double removed_damping, double *w, double *product, double *out)
{
    size_t d = f->d;
    for (size_t i = 0; i < rows * d; i++) w[i] = (double)weights[i];
    cblas_dsymm(CblasRowMajor, CblasRight, CblasLower, (int)rows, (int)d, 1, f->a, (int)d, w, (int)d, 0, product, (int)d);
    for (size_t i = 0; i < rows; i++) {
        double sum = 0, norm = 0;
        for (size_t j = 0; j < d; j++) sum += w[i * d + j] * product[i * d + j], norm += w[i * d + j] * w[i * d + j];
        out[i] = fmax(0, sum - removed_damping * norm);
    }
}

static bool kronecker_scores(const struct prune_kfac_damped *f, enum prune_kfac_form form, const float *weights, double *out)
{
    enum { ROWS = 64 };
    size_t most = f->n < ROWS ? f->n : ROWS;
    double *room = malloc((2 * most * f->d + 1) * sizeof *room);
    if (!room) return false;
    for (size_t i = 0; i < f->n; i += most) {
        size_t rows = f->n - i < most ? f->n - i : most;
        quadratic(f, weights + i * f->d, rows, form == PRUNE_KFAC_KRON_OBD ? f->a_damping : 0, room, room + most * f->d, out + i);
    }
    for (size_t i = 0; i < f->n; i++) out[i] *= (form == PRUNE_KFAC_KRON_OBD ? undamped(f->s, f->n, i, f->s_damping) : 1 / f->s_inverse_diagonal[i]) / 2;
    free(room);
    return true;
}

void prune_kfac_filter_scores(const struct prune_kfac_damped *f, enum prune_kfac_form form, const float *weights, double *out)
{
    bool whole = form == PRUNE_KFAC_KRON_OBD || form == PRUNE_KFAC_KRON_OBS;
    if (!whole) separable_scores(f, form, weights, out);
    else if (!kronecker_scores(f, form, weights, out))
        for (size_t i = 0; i < f->n; i++) out[i] = NAN;   /* no memory: callers refuse what is not a number */
}

void prune_kfac_weights(const struct prune_kfac_shape *shape, size_t group, const float *weights, const float *biases, float *out)
{
    size_t stored = shape->d - shape->bias;
    for (size_t i = 0; i < shape->n; i++) {
        size_t filter = group * shape->n + i;
        memcpy(out + i * shape->d, weights + filter * stored, stored * sizeof *out);
        if (shape->bias) out[i * shape->d + stored] = biases ? biases[filter] : 0;
    }
}
