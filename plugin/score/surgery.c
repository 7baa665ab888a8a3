/* See surgery.h; the formulas are derived in docs/surgery.md. All arithmetic is in double; weights become float once, at the end.
 * The joint minimum for a set Q of single weights has two equal forms, and conjugate gradients solve the smaller one:
 *   (S^-1 (x) A^-1)_QQ x = w_Q,  D = -S^-1 X A^-1            one unknown per removed weight
 *   (S (x) A)_KK x = (S (x) A)_KQ w_Q,  D_K = x               one unknown per survivor
 * CBLAS and LAPACKE are linked like the host's libraries (matrix_rank.c). */
#include "surgery.h"

#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double TOLERANCE = 1e-9;    /* of the residual: the loss misses its minimum by the square */
enum { MOST_ITERATIONS = 2000 };

static enum prune_code matrix_make(double **out, size_t rows, size_t columns, struct prune_status *st)
{
    size_t n = rows * columns;
    if (rows > INT32_MAX || columns > INT32_MAX || (columns && n / columns != rows) || n > SIZE_MAX / sizeof **out)
        return prune_fail(st, "a matrix of %zu x %zu is too large", rows, columns);
    *out = calloc(n ? n : 1, sizeof **out);
    return *out ? PRUNE_OK : prune_fail_memory(st, n * sizeof **out, "surgery");
}

/* y = x b, x (rows, d); or with transposed: y = x^T b, x (d, rows). Row order throughout. */
static void multiply(bool transposed, const double *x, const double *b, double *y, size_t rows, size_t d, size_t columns)
{
    if (!rows || !d || !columns) return;
    cblas_dgemm(CblasRowMajor, transposed ? CblasTrans : CblasNoTrans, CblasNoTrans, (int)rows, (int)columns, (int)d, 1, x, (int)(transposed ? rows : d), b, (int)columns, 0, y,
                (int)columns);
}

/* 1/2 sum (S D)(D A): room for two matrices like D. */
static double half_trace(const struct prune_kfac_damped *f, const double *change, double *room)
{
    double *left = room, *right = room + f->n * f->d, sum = 0;
    multiply(false, f->s, change, left, f->n, f->n, f->d);
    multiply(false, change, f->a, right, f->n, f->d, f->d);
    for (size_t i = 0; i < f->n * f->d; i++) sum += left[i] * right[i];
    return sum / 2;
}

double prune_kfac_loss_change(const struct prune_kfac_damped *f, const float *before, const float *after)
{
    double *room = NULL, loss = NAN;
    struct prune_status ignored;
    if (matrix_make(&room, 3 * f->n, f->d, &ignored)) return loss;
    for (size_t i = 0; i < f->n * f->d; i++) room[i] = (double)after[i] - (double)before[i];
    loss = half_trace(f, room, room + f->n * f->d);
    free(room);
    return loss;
}

/* Which indices of an axis stay. */
struct split { size_t *kept, *lost, kept_count, lost_count; };

static enum prune_code split_make(struct split *s, const uint8_t *gone, size_t n, struct prune_status *st)
{
    *s = (struct split){.kept = malloc((n + 1) * sizeof *s->kept), .lost = malloc((n + 1) * sizeof *s->lost)};
    if (!s->kept || !s->lost) return prune_fail_memory(st, 2 * n * sizeof *s->kept, "surgery");
    for (size_t i = 0; i < n; i++)
        if (gone && gone[i]) s->lost[s->lost_count++] = i;
        else s->kept[s->kept_count++] = i;
    return PRUNE_OK;
}

static void split_free(struct split *s)
{
    free(s->kept);
    free(s->lost);
}

/* The lost ones as sums of the kept: *out (lost, kept) = M_LK M_KK^-1, of a symmetric M (n, n). */
static enum prune_code regress(const double *m, size_t n, const struct split *s, const char *what, double **out, struct prune_status *st)
{
    double *kept = NULL, *lost = NULL;
    size_t k = s->kept_count, l = s->lost_count;
    enum prune_code rc = matrix_make(&kept, k, k, st);
    if (!rc) rc = matrix_make(&lost, l, k, st);
    for (size_t i = 0; !rc && i < k; i++)
        for (size_t j = 0; j < k; j++) kept[i * k + j] = m[s->kept[i] * n + s->kept[j]];
    for (size_t i = 0; !rc && i < l; i++)
        for (size_t j = 0; j < k; j++) lost[i * k + j] = m[s->lost[i] * n + s->kept[j]];
    /* a row of `lost` is a column to LAPACK */
    lapack_int info = rc || !k || !l ? 0 : LAPACKE_dposv(LAPACK_COL_MAJOR, 'L', (lapack_int)k, (lapack_int)l, kept, (lapack_int)k, lost, (lapack_int)k);
    if (!rc && info) rc = prune_fail(st, "the factor of the %zu remaining %s is not positive definite; give more damping", k, what);
    free(kept);
    if (rc) free(lost);
    else *out = lost;
    return rc;
}

/* W_K += W_J A_JK A_KK^-1 */
static enum prune_code cut_columns(const struct prune_kfac_damped *f, double *w, const uint8_t *gone, struct prune_status *st)
{
    struct split s = {0};
    double *share = NULL, *lost = NULL, *change = NULL;
    enum prune_code rc = split_make(&s, gone, f->d, st);
    if (!rc) rc = regress(f->a, f->d, &s, "inputs", &share, st);
    if (!rc) rc = matrix_make(&lost, f->n, s.lost_count, st);
    if (!rc) rc = matrix_make(&change, f->n, s.kept_count, st);
    if (!rc) {
        for (size_t i = 0; i < f->n; i++)
            for (size_t j = 0; j < s.lost_count; j++) {
                lost[i * s.lost_count + j] = w[i * f->d + s.lost[j]];
                w[i * f->d + s.lost[j]] = 0;
            }
        multiply(false, lost, share, change, f->n, s.lost_count, s.kept_count);
        for (size_t i = 0; i < f->n; i++)
            for (size_t j = 0; j < s.kept_count; j++) w[i * f->d + s.kept[j]] += change[i * s.kept_count + j];
    }
    free(share);
    free(lost);
    free(change);
    split_free(&s);
    return rc;
}

/* W_K += S_KK^-1 S_KR W_R */
static enum prune_code cut_rows(const struct prune_kfac_damped *f, double *w, const uint8_t *gone, struct prune_status *st)
{
    struct split s = {0};
    double *share = NULL, *lost = NULL, *change = NULL;
    size_t row = f->d * sizeof *w;
    enum prune_code rc = split_make(&s, gone, f->n, st);
    if (!rc) rc = regress(f->s, f->n, &s, "filters", &share, st);
    if (!rc) rc = matrix_make(&lost, s.lost_count, f->d, st);
    if (!rc) rc = matrix_make(&change, s.kept_count, f->d, st);
    if (!rc) {
        for (size_t i = 0; i < s.lost_count; i++) {
            memcpy(lost + i * f->d, w + s.lost[i] * f->d, row);
            memset(w + s.lost[i] * f->d, 0, row);
        }
        multiply(true, share, lost, change, s.kept_count, s.lost_count, f->d);
        for (size_t i = 0; i < s.kept_count; i++)
            for (size_t j = 0; j < f->d; j++) w[s.kept[i] * f->d + j] += change[i * f->d + j];
    }
    free(share);
    free(lost);
    free(change);
    split_free(&s);
    return rc;
}

static double loss_between(const struct prune_kfac_damped *f, const float *before, const double *after, double *room)
{
    for (size_t i = 0; i < f->n * f->d; i++) room[i] = after[i] - (double)before[i];
    return half_trace(f, room, room + f->n * f->d);
}

enum prune_code prune_surgery_structured(const struct prune_kfac_damped *f, float *weights, const uint8_t *gone_rows, const uint8_t *gone_columns,
                                         struct prune_surgery_result *r, struct prune_status *st)
{
    size_t count = f->n * f->d;
    double *room = NULL;                 /* new weights, and three of the same size for losses */
    struct prune_surgery_result found = {0};
    enum prune_code rc = matrix_make(&room, 4 * f->n, f->d, st);
    if (rc) return rc;
    for (size_t i = 0; i < count; i++) room[i] = (gone_rows && gone_rows[i / f->d]) || (gone_columns && gone_columns[i % f->d]) ? 0 : (double)weights[i];
    found.before = loss_between(f, weights, room, room + count);
    for (size_t i = 0; i < count; i++) room[i] = (double)weights[i];
    if (gone_columns) rc = cut_columns(f, room, gone_columns, st);
    if (!rc && gone_rows) rc = cut_rows(f, room, gone_rows, st);
    if (!rc) {
        found.after = loss_between(f, weights, room, room + count);
        for (size_t i = 0; i < count; i++) weights[i] = (float)room[i];
        *r = found;
    }
    free(room);
    return rc;
}

/* x = S^-1 x A^-1, by the factors L of S = L L^T and of A. */
static void solve_both(const struct prune_kfac_damped *f, double *x)
{
    int n = (int)f->n, d = (int)f->d;
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, n, d, 1, f->s_chol, n, x, d);
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, n, d, 1, f->s_chol, n, x, d);
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, n, d, 1, f->a_chol, d, x, d);
    cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, n, d, 1, f->a_chol, d, x, d);
}

/* The two forms: unknowns are the weights with gone[i] == wanted; elsewhere every vector is 0. */
struct linear_system { const struct prune_kfac_damped *f; const uint8_t *gone; bool dual; double *room; };

static bool unknown(const struct linear_system *s, size_t i) { return (s->gone[i] != 0) == s->dual; }

static void apply(const struct linear_system *s, const double *x, double *y)
{
    const struct prune_kfac_damped *f = s->f;
    if (s->dual) {
        memcpy(y, x, f->n * f->d * sizeof *y);
        solve_both(f, y);
    } else {
        multiply(false, f->s, x, s->room, f->n, f->n, f->d);
        multiply(false, s->room, f->a, y, f->n, f->d, f->d);
    }
}

static void restrict_to(const struct linear_system *s, double *y)
{
    for (size_t i = 0; i < s->f->n * s->f->d; i++)
        if (!unknown(s, i)) y[i] = 0;
}

/* z = r / diagonal of the system; returns r . z */
static double precondition(const struct linear_system *s, const double *r, double *z)
{
    const struct prune_kfac_damped *f = s->f;
    double sum = 0;
    for (size_t i = 0; i < f->n; i++) {
        double row = s->dual ? f->s_inverse_diagonal[i] : f->s[i * f->n + i];
        for (size_t j = 0; j < f->d; j++) {
            size_t at = i * f->d + j;
            z[at] = r[at] / (row * (s->dual ? f->a_inverse_diagonal[j] : f->a[j * f->d + j]));
            sum += r[at] * z[at];
        }
    }
    return sum;
}

/* Conjugate gradients: r comes as the right side, x as 0. room: three vectors. */
static size_t solve(const struct linear_system *s, double *r, double *x, double *room)
{
    size_t n = s->f->n * s->f->d, iteration = 0;
    double *p = room, *q = room + n, *z = room + 2 * n, now = precondition(s, r, p), first = now;
    while (now > TOLERANCE * TOLERANCE * first && iteration < MOST_ITERATIONS) {
        apply(s, p, q);
        restrict_to(s, q);
        double curvature = cblas_ddot((int)n, p, 1, q, 1);
        if (!(curvature > 0)) break;
        cblas_daxpy((int)n, now / curvature, p, 1, x, 1);
        cblas_daxpy((int)n, -now / curvature, q, 1, r, 1);
        double next = precondition(s, r, z);
        for (size_t i = 0; i < n; i++) p[i] = z[i] + next / now * p[i];
        now = next;
        iteration++;
    }
    return iteration;
}

/* What becomes of the survivors, in x; what goes is left to the caller. right, room: one vector and four. */
static size_t joint(const struct prune_kfac_damped *f, const float *w, const uint8_t *gone, double *x, double *right, double *room)
{
    size_t n = f->n * f->d, lost = 0;
    for (size_t i = 0; i < n; i++) {
        room[i] = gone[i] ? (double)w[i] : 0;
        lost += gone[i] != 0;
    }
    struct linear_system s = {f, gone, lost <= n - lost, room + 3 * n};
    if (s.dual) memcpy(right, room, n * sizeof *right);
    else {
        apply(&s, room, right);
        restrict_to(&s, right);
    }
    size_t iterations = solve(&s, right, x, room);
    if (!s.dual) return iterations;
    solve_both(f, x);
    cblas_dscal((int)n, -1, x, 1);
    return iterations;
}

/* NAP eq. 6 for each q, summed. */
static void single_updates(const struct prune_kfac_damped *f, const float *w, const uint8_t *gone, double *x)
{
    for (size_t i = 0; i < f->n; i++)
        for (size_t j = 0; j < f->d; j++) {
            size_t at = i * f->d + j;
            x[at] = gone[at] ? -(double)w[at] / (f->s_inverse_diagonal[i] * f->a_inverse_diagonal[j]) : 0;
        }
    solve_both(f, x);
}

/* The new weights: gone ones exactly 0, survivors moved by x. */
static void settle(size_t n, const float *w, const uint8_t *gone, double *x)
{
    for (size_t i = 0; i < n; i++) x[i] = gone[i] ? 0 : (double)w[i] + x[i];
}

enum prune_code prune_surgery_weights(const struct prune_kfac_damped *f, enum prune_surgery how, float *weights, const uint8_t *gone,
                                      struct prune_surgery_result *r, struct prune_status *st)
{
    size_t n = f->n * f->d;
    double *x = NULL;
    struct prune_surgery_result found = {0};
    if (n > INT32_MAX) return prune_fail(st, "a layer of %zu weights is too large", n);
    enum prune_code rc = matrix_make(&x, 6 * f->n, f->d, st);
    if (rc) return rc;
    double *rest = x + n;
    settle(n, weights, gone, x);         /* x = 0: plain removal */
    found.before = loss_between(f, weights, x, rest);
    memset(x, 0, n * sizeof *x);
    if (how == PRUNE_SURGERY_JOINT) found.iterations = joint(f, weights, gone, x, rest, rest + n);
    if (how == PRUNE_SURGERY_PAPER) single_updates(f, weights, gone, x);
    settle(n, weights, gone, x);
    found.after = loss_between(f, weights, x, rest);
    if (how == PRUNE_SURGERY_JOINT && !(found.after <= found.before)) {   /* no minimum was found in time: plain removal is a solution, too */
        memset(x, 0, n * sizeof *x);
        settle(n, weights, gone, x);
        found.after = found.before;
    }
    for (size_t i = 0; i < n; i++) weights[i] = (float)x[i];
    *r = found;
    free(x);
    return PRUNE_OK;
}
