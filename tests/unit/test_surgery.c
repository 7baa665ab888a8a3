/* Surgery (score/surgery.h) against dense solves of the Kronecker system in double, on made-up factors: what it says is the minimum is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../plugin/score/surgery.h"

enum { MOST = 12, WEIGHTS = MOST * MOST };
static struct prune_status st;
static uint64_t seed;

/* Made-up numbers in (-1, 1), the same on every machine. */
static double draw(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(seed >> 11) / 0x1p52 - 1;
}

/* X X^T of n x rank plus damping: rank < n is what a short run leaves. */
static double *random_spd(size_t n, size_t rank, double damping)
{
    double *x = calloc(n * rank + 1, sizeof *x), *m = calloc(n * n, sizeof *m);
    for (size_t i = 0; i < n * rank; i++) x[i] = draw();
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            for (size_t k = 0; k < rank; k++) m[i * n + j] += x[i * rank + k] * x[j * rank + k];
            if (i == j) m[i * n + j] += damping;
        }
    free(x);
    return m;
}

static double *cholesky(const double *m, size_t n)
{
    double *l = calloc(n * n, sizeof *l);
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j <= i; j++) {
            double sum = m[i * n + j];
            for (size_t k = 0; k < j; k++) sum -= l[i * n + k] * l[j * n + k];
            l[i * n + j] = i == j ? sqrt(sum) : sum / l[j * n + j];
        }
    return l;
}

/* a x = b in place by elimination with pivoting; a (n, n) is spent. */
static void solve_dense(double *a, double *b, size_t n)
{
    for (size_t k = 0; k < n; k++) {
        size_t pivot = k;
        for (size_t i = k; i < n; i++)
            if (fabs(a[i * n + k]) > fabs(a[pivot * n + k])) pivot = i;
        for (size_t j = 0; j < n; j++) {
            double keep = a[k * n + j];
            a[k * n + j] = a[pivot * n + j];
            a[pivot * n + j] = keep;
        }
        double keep = b[k];
        b[k] = b[pivot];
        b[pivot] = keep;
        for (size_t i = k + 1; i < n; i++) {
            double factor = a[i * n + k] / a[k * n + k];
            for (size_t j = k; j < n; j++) a[i * n + j] -= factor * a[k * n + j];
            b[i] -= factor * b[k];
        }
    }
    for (size_t k = n; k-- > 0;) {
        for (size_t j = k + 1; j < n; j++) b[k] -= a[k * n + j] * b[j];
        b[k] /= a[k * n + k];
    }
}

static double *inverse_diagonal(const double *m, size_t n)
{
    double *d = calloc(n, sizeof *d), *a = calloc(n * n, sizeof *a), *b = calloc(n, sizeof *b);
    for (size_t i = 0; i < n; i++) {
        memcpy(a, m, n * n * sizeof *a);
        memset(b, 0, n * sizeof *b);
        b[i] = 1;
        solve_dense(a, b, n);
        d[i] = b[i];
    }
    free(a);
    free(b);
    return d;
}

struct rig { struct prune_kfac_damped f; float before[WEIGHTS], after[WEIGHTS]; };

static void rig_open(struct rig *r, size_t n, size_t d, size_t rank_s, size_t rank_a, double damping)
{
    seed = 1000 * n + d;
    r->f = (struct prune_kfac_damped){.n = n, .d = d, .s = random_spd(n, rank_s, damping), .a = random_spd(d, rank_a, damping)};
    r->f.s_chol = cholesky(r->f.s, n);
    r->f.a_chol = cholesky(r->f.a, d);
    r->f.s_inverse_diagonal = inverse_diagonal(r->f.s, n);
    r->f.a_inverse_diagonal = inverse_diagonal(r->f.a, d);
    for (size_t i = 0; i < n * d; i++) r->before[i] = r->after[i] = (float)draw();
}

static void rig_close(struct rig *r)
{
    double *const all[] = {r->f.s, r->f.a, r->f.s_chol, r->f.a_chol, r->f.s_inverse_diagonal, r->f.a_inverse_diagonal};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
}

static double curvature(const struct rig *r, size_t p, size_t q)
{
    return r->f.s[p / r->f.d * r->f.n + q / r->f.d] * r->f.a[p % r->f.d * r->f.d + q % r->f.d];
}

/* 1/2 D^T H D, entry by entry. */
static double loss_of(const struct rig *r, const float *after)
{
    double sum = 0;
    for (size_t p = 0; p < r->f.n * r->f.d; p++)
        for (size_t q = 0; q < r->f.n * r->f.d; q++)
            sum += ((double)after[p] - (double)r->before[p]) * curvature(r, p, q) * ((double)after[q] - (double)r->before[q]);
    return sum / 2;
}

/* The joint minimum by H_KK D_K = H_KQ w_Q, in `out`. */
static void minimum(const struct rig *r, const uint8_t *gone, double *out)
{
    size_t n = r->f.n * r->f.d, kept[WEIGHTS], k = 0;
    for (size_t i = 0; i < n; i++)
        if (!gone[i]) kept[k++] = i;
    double *a = calloc(k * k + 1, sizeof *a), *b = calloc(k + 1, sizeof *b);
    for (size_t i = 0; i < k; i++) {
        for (size_t j = 0; j < k; j++) a[i * k + j] = curvature(r, kept[i], kept[j]);
        for (size_t q = 0; q < n; q++)
            if (gone[q]) b[i] += curvature(r, kept[i], q) * (double)r->before[q];
    }
    solve_dense(a, b, k);
    memset(out, 0, n * sizeof *out);
    for (size_t i = 0; i < k; i++) out[kept[i]] = (double)r->before[kept[i]] + b[i];
    free(a);
    free(b);
}

static void near(double value, double expected, double scale)
{
    if (!(fabs(value - expected) <= 2e-6 * scale)) fail_msg("%.9g, expected %.9g", value, expected);
}

/* Everything that holds at the joint minimum: the dense solution, exact zeros, losses as told, no better neighbour. */
static void check_minimum(struct rig *r, const uint8_t *gone, const struct prune_surgery_result *result)
{
    size_t n = r->f.n * r->f.d;
    double expected[WEIGHTS], scale = 1;
    float plain[WEIGHTS], other[WEIGHTS];
    minimum(r, gone, expected);
    for (size_t i = 0; i < n; i++) scale = fmax(scale, fabs(expected[i]));
    for (size_t i = 0; i < n; i++) {
        near((double)r->after[i], expected[i], scale);
        if (gone[i]) assert_true(r->after[i] == 0 && !signbit(r->after[i]));
        plain[i] = gone[i] ? 0 : r->before[i];
    }
    double least = loss_of(r, r->after);
    assert_true(fabs(result->before - loss_of(r, plain)) <= 1e-9 * result->before);
    assert_true(fabs(result->after - least) <= 1e-5 * fmax(least, 1e-3 * result->before));
    assert_true(fabs(prune_kfac_loss_change(&r->f, r->before, r->after) - least) <= 1e-9 * fmax(least, 1e-6));
    assert_true(result->after <= result->before);
    for (int trial = 0; trial < 20; trial++) {
        for (size_t i = 0; i < n; i++) other[i] = gone[i] ? 0 : r->after[i] + 0.01f * (float)draw();
        assert_true(loss_of(r, other) > least);
    }
}

static void spread(uint8_t *gone, const uint8_t *rows, const uint8_t *columns, size_t n, size_t d)
{
    for (size_t i = 0; i < n * d; i++) gone[i] = (rows && rows[i / d]) || (columns && columns[i % d]);
}

static void structured_is_the_joint_minimum(void **state)
{
    (void)state;
    static const struct { size_t n, d, rank_s, rank_a; double damping; } CASES[] = {
        {6, 9, 6, 9, 0.01}, {8, 5, 8, 5, 0.01}, {6, 9, 2, 3, 0.05}, {1, 7, 1, 7, 0.01}, {7, 1, 7, 1, 0.01}, {5, 6, 0, 0, 0.1}};
    static const uint8_t ROWS[MOST] = {0, 1, 0, 0, 1, 1}, COLUMNS[MOST] = {0, 0, 1, 1, 0, 1, 0, 0, 1};
    for (size_t c = 0; c < sizeof CASES / sizeof *CASES; c++)
        for (int which = 1; which < 4; which++) {
            struct rig r;
            struct prune_surgery_result result;
            uint8_t gone[WEIGHTS];
            const uint8_t *rows = which & 1 ? ROWS : NULL, *columns = which & 2 ? COLUMNS : NULL;
            rig_open(&r, CASES[c].n, CASES[c].d, CASES[c].rank_s, CASES[c].rank_a, CASES[c].damping);
            spread(gone, rows, columns, r.f.n, r.f.d);
            if (prune_surgery_structured(&r.f, r.after, rows, columns, &result, &st)) fail_msg("%s", st.message);
            check_minimum(&r, gone, &result);
            rig_close(&r);
        }
}

/* Two inputs that are always equal: the one that stays takes over the other's weight, and nothing is lost. */
static void a_copy_takes_over(void **state)
{
    (void)state;
    struct rig r;
    struct prune_surgery_result result;
    static const uint8_t COLUMNS[4] = {0, 1, 0, 0};
    rig_open(&r, 3, 4, 3, 4, 0.1);
    for (size_t i = 0; i < 4; i++) r.f.a[1 * 4 + i] = r.f.a[0 * 4 + i];
    for (size_t i = 0; i < 4; i++) r.f.a[i * 4 + 1] = r.f.a[i * 4 + 0];
    assert_int_equal(prune_surgery_structured(&r.f, r.after, NULL, COLUMNS, &result, &st), PRUNE_OK);
    for (size_t i = 0; i < 3; i++) {
        near((double)r.after[i * 4], (double)r.before[i * 4] + (double)r.before[i * 4 + 1], 1);
        near((double)r.after[i * 4 + 2], (double)r.before[i * 4 + 2], 1);
        near((double)r.after[i * 4 + 3], (double)r.before[i * 4 + 3], 1);
    }
    assert_true(result.before > 0.01 && fabs(result.after) < 1e-12);
    rig_close(&r);
}

static void nothing_removed_changes_nothing(void **state)
{
    (void)state;
    static const uint8_t NONE[WEIGHTS];
    struct rig r;
    struct prune_surgery_result result;
    rig_open(&r, 5, 6, 5, 6, 0.01);
    assert_int_equal(prune_surgery_structured(&r.f, r.after, NULL, NULL, &result, &st), PRUNE_OK);
    assert_memory_equal(r.after, r.before, 30 * sizeof(float));
    assert_int_equal(prune_surgery_structured(&r.f, r.after, NONE, NONE, &result, &st), PRUNE_OK);
    assert_memory_equal(r.after, r.before, 30 * sizeof(float));
    for (int how = PRUNE_SURGERY_NONE; how <= PRUNE_SURGERY_PAPER; how++) {
        assert_int_equal(prune_surgery_weights(&r.f, (enum prune_surgery)how, r.after, NONE, &result, &st), PRUNE_OK);
        assert_memory_equal(r.after, r.before, 30 * sizeof(float));
        assert_true(result.before == 0 && result.after == 0);
    }
    rig_close(&r);
}

static void everything_removed_is_zero(void **state)
{
    (void)state;
    uint8_t all[WEIGHTS];
    struct rig r;
    struct prune_surgery_result result;
    memset(all, 1, sizeof all);
    rig_open(&r, 5, 6, 5, 6, 0.01);
    assert_int_equal(prune_surgery_structured(&r.f, r.after, NULL, all, &result, &st), PRUNE_OK);
    for (size_t i = 0; i < 30; i++) assert_true(r.after[i] == 0);
    assert_true(result.after == result.before && result.before > 0);
    memcpy(r.after, r.before, sizeof r.after);
    assert_int_equal(prune_surgery_structured(&r.f, r.after, all, NULL, &result, &st), PRUNE_OK);
    for (size_t i = 0; i < 30; i++) assert_true(r.after[i] == 0);
    for (int how = PRUNE_SURGERY_NONE; how <= PRUNE_SURGERY_PAPER; how++) {
        memcpy(r.after, r.before, sizeof r.after);
        assert_int_equal(prune_surgery_weights(&r.f, (enum prune_surgery)how, r.after, all, &result, &st), PRUNE_OK);
        for (size_t i = 0; i < 30; i++) assert_true(r.after[i] == 0);
        assert_true(fabs(result.after - result.before) <= 1e-12 * result.before);
    }
    rig_close(&r);
}

/* NAP eq. 6: one weight costs 1/2 w^2 / [H^-1]_qq, and both forms of surgery agree on it. */
static void a_single_weight_costs_what_eq_6_says(void **state)
{
    (void)state;
    for (size_t q = 0; q < 30; q += 7)
        for (int how = PRUNE_SURGERY_JOINT; how <= PRUNE_SURGERY_PAPER; how++) {
            struct rig r;
            struct prune_surgery_result result;
            uint8_t gone[WEIGHTS] = {0};
            rig_open(&r, 5, 6, 5, 6, 0.01);
            gone[q] = 1;
            if (prune_surgery_weights(&r.f, (enum prune_surgery)how, r.after, gone, &result, &st)) fail_msg("%s", st.message);
            double w = (double)r.before[q], expected = w * w / (r.f.s_inverse_diagonal[q / 6] * r.f.a_inverse_diagonal[q % 6]) / 2;
            assert_true(fabs(result.after - expected) <= 1e-9 * expected);
            assert_true(fabs(loss_of(&r, r.after) - expected) <= 1e-5 * expected);
            assert_true(result.before > expected);
            check_minimum(&r, gone, &result);
            if (how == PRUNE_SURGERY_JOINT) assert_int_equal(result.iterations, 1);
            rig_close(&r);
        }
}

/* Few gone (one unknown per removed weight), many gone (one per survivor), whole filters, poor factors. */
static void sets_of_weights_reach_the_joint_minimum(void **state)
{
    (void)state;
    static const struct { size_t rank_s, rank_a; double damping; int percent; } CASES[] = {
        {7, 10, 0.01, 10}, {7, 10, 0.01, 50}, {7, 10, 0.01, 90}, {2, 3, 0.02, 10}, {2, 3, 0.02, 60}, {2, 3, 0.02, 95}};
    for (size_t c = 0; c < sizeof CASES / sizeof *CASES; c++) {
        struct rig r;
        struct prune_surgery_result result;
        uint8_t gone[WEIGHTS];
        rig_open(&r, 7, 10, CASES[c].rank_s, CASES[c].rank_a, CASES[c].damping);
        for (size_t i = 0; i < 70; i++) gone[i] = 50 * (draw() + 1) < CASES[c].percent || i / 10 == 3;
        if (prune_surgery_weights(&r.f, PRUNE_SURGERY_JOINT, r.after, gone, &result, &st)) fail_msg("%s", st.message);
        assert_true(result.iterations > 0);
        check_minimum(&r, gone, &result);
        rig_close(&r);
    }
}

/* A set that is a row and a column is the structured case. */
static void weights_and_structured_agree(void **state)
{
    (void)state;
    static const uint8_t ROWS[5] = {0, 0, 1, 0, 1}, COLUMNS[6] = {1, 0, 0, 0, 1, 0};
    struct rig a, b;
    struct prune_surgery_result ra, rb;
    uint8_t gone[WEIGHTS];
    rig_open(&a, 5, 6, 5, 6, 0.05);
    rig_open(&b, 5, 6, 5, 6, 0.05);
    spread(gone, ROWS, COLUMNS, 5, 6);
    assert_int_equal(prune_surgery_structured(&a.f, a.after, ROWS, COLUMNS, &ra, &st), PRUNE_OK);
    assert_int_equal(prune_surgery_weights(&b.f, PRUNE_SURGERY_JOINT, b.after, gone, &rb, &st), PRUNE_OK);
    for (size_t i = 0; i < 30; i++) near((double)a.after[i], (double)b.after[i], 1);
    assert_true(fabs(ra.after - rb.after) <= 1e-8 * ra.after && fabs(ra.before - rb.before) <= 1e-12 * ra.before);
    rig_close(&a);
    rig_close(&b);
}

/* The paper's sum of single updates: D = - sum w_q / [H^-1]_qq H^-1[:, q], from the whole inverse; no better than the joint minimum. */
static void paper_is_the_sum_of_single_updates(void **state)
{
    (void)state;
    enum { N = 4, D = 5, ALL = N * D };
    struct rig r;
    struct prune_surgery_result paper, best;
    uint8_t gone[WEIGHTS] = {0};
    double change[ALL] = {0}, h[ALL * ALL], column[ALL];
    gone[3] = gone[4] = gone[11] = gone[17] = 1;
    rig_open(&r, N, D, N, D, 0.02);
    for (size_t q = 0; q < ALL; q++) {
        if (!gone[q]) continue;
        for (size_t i = 0; i < ALL * ALL; i++) h[i] = curvature(&r, i / ALL, i % ALL);
        memset(column, 0, sizeof column);
        column[q] = 1;
        solve_dense(h, column, ALL);
        for (size_t i = 0; i < ALL; i++) change[i] -= (double)r.before[q] / column[q] * column[i];
    }
    assert_int_equal(prune_surgery_weights(&r.f, PRUNE_SURGERY_PAPER, r.after, gone, &paper, &st), PRUNE_OK);
    for (size_t i = 0; i < ALL; i++) near((double)r.after[i], gone[i] ? 0 : (double)r.before[i] + change[i], 10);
    assert_true(fabs(paper.after - loss_of(&r, r.after)) <= 1e-5 * paper.after);
    memcpy(r.after, r.before, sizeof r.after);
    assert_int_equal(prune_surgery_weights(&r.f, PRUNE_SURGERY_JOINT, r.after, gone, &best, &st), PRUNE_OK);
    assert_true(best.after < paper.after);
    rig_close(&r);
}

/* Weights that went in an earlier round are 0, count for nothing, and stay. */
static void zeros_stay(void **state)
{
    (void)state;
    struct rig r;
    struct prune_surgery_result first, again;
    uint8_t gone[WEIGHTS] = {0};
    rig_open(&r, 5, 6, 5, 6, 0.01);
    for (size_t i = 0; i < 30; i += 3) gone[i] = 1;
    assert_int_equal(prune_surgery_weights(&r.f, PRUNE_SURGERY_JOINT, r.after, gone, &first, &st), PRUNE_OK);
    memcpy(r.before, r.after, sizeof r.before);
    gone[1] = gone[8] = 1;
    assert_int_equal(prune_surgery_weights(&r.f, PRUNE_SURGERY_JOINT, r.after, gone, &again, &st), PRUNE_OK);
    for (size_t i = 0; i < 30; i++) assert_true(gone[i] ? r.after[i] == 0 : r.after[i] != r.before[i]);
    check_minimum(&r, gone, &again);
    rig_close(&r);
}

/* An undamped factor of too low a rank is refused, and the weights stay as they were. */
static void a_singular_factor_is_refused(void **state)
{
    (void)state;
    static const uint8_t COLUMNS[6] = {0, 1, 0, 0, 0, 0};
    struct rig r;
    struct prune_surgery_result result = {.before = -1};
    rig_open(&r, 5, 6, 5, 6, 0.01);
    for (size_t i = 0; i < 6; i++) r.f.a[3 * 6 + i] = r.f.a[i * 6 + 3] = 0;
    assert_int_equal(prune_surgery_structured(&r.f, r.after, NULL, COLUMNS, &result, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "the factor of the 5 remaining inputs is not positive definite"));
    assert_memory_equal(r.after, r.before, 30 * sizeof(float));
    assert_true(result.before == -1);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(structured_is_the_joint_minimum), cmocka_unit_test(a_copy_takes_over), cmocka_unit_test(nothing_removed_changes_nothing),
        cmocka_unit_test(everything_removed_is_zero), cmocka_unit_test(a_single_weight_costs_what_eq_6_says), cmocka_unit_test(sets_of_weights_reach_the_joint_minimum),
        cmocka_unit_test(weights_and_structured_agree), cmocka_unit_test(paper_is_the_sum_of_single_updates), cmocka_unit_test(zeros_stay),
        cmocka_unit_test(a_singular_factor_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
