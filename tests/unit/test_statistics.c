/* Correlations against values recorded from scipy (tests/golden/statistics.txt, made by scripts/reference_statistics.py), textbook results, and
 * a tau-b that looks at every pair; bootstrap intervals against resampling spelt out and against theory. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../plugin/base/random.h"
#include "../../plugin/score/statistics.h"

static void close_to(double value, double expected)
{
    if (!(fabs(value - expected) < 1e-14)) fail_msg("%.17g, expected %.17g", value, expected);
}

static bool agree(double value, double expected, double tolerance)
{
    return isnan(expected) ? isnan(value) : fabs(value - expected) < tolerance;
}

static double *read_numbers(FILE *f, size_t n)
{
    double *values = malloc(n * sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < n; i++) assert_int_equal(fscanf(f, "%lf", &values[i]), 1);
    return values;
}

static void every_recorded_case_of_scipy_is_met(void **state)
{
    (void)state;
    char name[128];
    size_t n, cases = 0, undefined = 0;
    FILE *f = fopen("tests/golden/statistics.txt", "r");
    if (!f) fail_msg("run this from the project's root: tests/golden/statistics.txt");
    while (fscanf(f, " %127[^\n] %zu", name, &n) == 2) {
        double *a = read_numbers(f, n), *b = read_numbers(f, n), *expected = read_numbers(f, 3);
        const double found[] = {prune_pearson(a, b, n), prune_spearman(a, b, n), prune_kendall(a, b, n)};
        for (int k = 0; k < 3; k++) {
            if (!agree(found[k], expected[k], 1e-12)) fail_msg("%s: statistic %d is %.17g, scipy has %.17g", name, k, found[k], expected[k]);
            undefined += isnan(expected[k]) != 0;
        }
        free(a), free(b), free(expected);
        cases++;
    }
    assert_true(feof(f));
    assert_int_equal(fclose(f), 0);
    assert_int_equal(cases, 123);
    assert_int_equal(undefined, 21);
}

/* Kendall 1945: (concordant - discordant) / sqrt((pairs not tied in a)(pairs not tied in b)) */
static double tau_of_all_pairs(const double *a, const double *b, size_t n)
{
    double sum = 0, free_a = 0, free_b = 0;
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < i; j++) {
            int x = (a[i] > a[j]) - (a[i] < a[j]), y = (b[i] > b[j]) - (b[i] < b[j]);
            sum += x * y;
            free_a += x * x;
            free_b += y * y;
        }
    }
    return free_a > 0 && free_b > 0 ? sum / sqrt(free_a * free_b) : (double)NAN;
}

static void tau_b_equals_the_count_over_all_pairs(void **state)
{
    (void)state;
    enum { MOST = 70 };
    double a[MOST], b[MOST];
    for (uint64_t trial = 0; trial < 2000; trial++) {
        struct prune_random r = prune_random_make(7, 1, trial);
        size_t n = 2 + prune_random_below(&r, MOST - 1), values = 1 + prune_random_below(&r, 2 * MOST);
        for (size_t i = 0; i < n; i++) {
            a[i] = (double)prune_random_below(&r, values);
            b[i] = prune_random_uniform(&r) < 0.5 ? a[i] : -(double)prune_random_below(&r, values);
        }
        double found = prune_kendall(a, b, n), expected = tau_of_all_pairs(a, b, n);
        if (!agree(found, expected, 1e-14)) fail_msg("trial %d, %zu values: %.17g, all pairs give %.17g", (int)trial, n, found, expected);
    }
}

static void pearson_is_the_textbook_result_and_keeps_to_its_bounds(void **state)
{
    (void)state;
    const double a[] = {1, 2, 3, 4, 5}, b[] = {2, 4, 6, 8, 10}, c[] = {1, 3, 2, 5, 4}, spread[] = {1e-300, 1e300, 0, 0, 0};
    close_to(prune_pearson(a, b, 5), 1);
    close_to(prune_pearson(a, c, 5), 0.8);
    assert_true(prune_pearson(a, b, 5) <= 1);
    close_to(prune_pearson(spread, spread, 5), 1);
}

static void quantiles_lie_between_order_statistics(void **state)
{
    (void)state;
    double a[] = {4, 1, 3, 2}, one[] = {7};
    close_to(prune_quantile(a, 4, 0), 1);
    close_to(prune_quantile(a, 4, 1), 4);
    close_to(prune_quantile(a, 4, 0.5), 2.5);
    close_to(prune_quantile(a, 4, 0.25), 1.75);
    close_to(prune_quantile(one, 1, 0.9), 7);
    assert_true(isnan(prune_quantile(one, 0, 0.5)));
}

static void ranks_begin_at_one_and_ties_share_theirs(void **state)
{
    (void)state;
    const double values[] = {5, -1, 5, 0, 5, 7}, expected[] = {4, 1, 4, 2, 4, 6};
    double rank[6];
    assert_true(prune_ranks(values, 6, rank));
    for (int i = 0; i < 6; i++) close_to(rank[i], expected[i]);
    assert_true(prune_ranks(values, 0, rank));
}

enum { MANY = 400, ROUNDS = 1000 };

/* Two normal variables with correlation 0.6. */
static void draw_pair(double *a, double *b, uint64_t seed)
{
    struct prune_random r = prune_random_make(seed, 2, 0);
    for (size_t i = 0; i < MANY; i++) {
        a[i] = prune_random_normal(&r);
        b[i] = 0.6 * a[i] + 0.8 * prune_random_normal(&r);
    }
}

static void an_interval_has_the_width_of_theory_and_depends_on_the_seed_alone(void **state)
{
    (void)state;
    double a[MANY], b[MANY], low, high, again_low, again_high, other_low, other_high;
    draw_pair(a, b, 1);
    double r = prune_pearson(a, b, MANY);
    prune_bootstrap(prune_pearson, a, b, MANY, ROUNDS, 3, &low, &high);
    prune_bootstrap(prune_pearson, a, b, MANY, ROUNDS, 3, &again_low, &again_high);
    prune_bootstrap(prune_pearson, a, b, MANY, ROUNDS, 4, &other_low, &other_high);
    assert_true(low == again_low && high == again_high);
    assert_true(low != other_low && high != other_high);
    /* Fisher: atanh r has deviation 1/sqrt(n - 3) */
    double half = 1.96 / sqrt(MANY - 3), theory_low = tanh(atanh(r) - half), theory_high = tanh(atanh(r) + half);
    if (!(fabs(low - theory_low) < 0.02 && fabs(high - theory_high) < 0.02)) fail_msg("%g..%g, theory %g..%g", low, high, theory_low, theory_high);
}

static void intervals_cover_the_truth_about_as_often_as_they_say(void **state)
{
    (void)state;
    double a[MANY], b[MANY], low, high;
    int covered = 0;
    for (uint64_t trial = 0; trial < 100; trial++) {
        draw_pair(a, b, 100 + trial);
        prune_bootstrap(prune_pearson, a, b, MANY, 200, trial, &low, &high);
        covered += low < 0.6 && 0.6 < high;
    }
    assert_in_range(covered, 86, 99);
}

static double share_of_ones(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum > 0 ? sum / (double)n : (double)NAN;
}

static void rounds_without_a_result_are_left_out(void **state)
{
    (void)state;
    /* one 1 among three: a third of the rounds draw none; the shares that remain are 1/3, 2/3 and 1 */
    const double a[] = {1, 0, 0}, none[] = {0, 0, 0};
    double low, high;
    prune_bootstrap(share_of_ones, a, a, 3, ROUNDS, 1, &low, &high);
    close_to(low, 1.0 / 3);
    close_to(high, 1);
    prune_bootstrap(share_of_ones, none, none, 3, ROUNDS, 1, &low, &high);
    assert_true(isnan(low) && isnan(high));
    prune_bootstrap(prune_kendall, a, a, 1, ROUNDS, 1, &low, &high);
    assert_true(isnan(low) && isnan(high));
}

static void a_monotone_relation_gives_one_and_its_reverse_minus_one(void **state)
{
    (void)state;
    const double a[] = {1, 2, 3, 4, 100}, b[] = {-3, -2.5, 0, 1e-9, 1e30}, c[] = {5, 4, 3, 2, 1};
    close_to(prune_spearman(a, b, 5), 1);
    close_to(prune_spearman(a, c, 5), -1);
}

static void distinct_values_give_the_textbook_result(void **state)
{
    (void)state;
    /* IQ and hours of television: sum d^2 = 194, 1 - 6*194/(10*99) = -29/165 */
    const double iq[] = {106, 100, 86, 101, 99, 103, 97, 113, 112, 110}, tv[] = {7, 27, 2, 50, 28, 29, 20, 12, 6, 17};
    close_to(prune_spearman(iq, tv, 10), -29.0 / 165);
}

static void ties_share_the_mean_of_their_ranks(void **state)
{
    (void)state;
    /* ranks 1 2 3 4 5 and 1 2 3.5 5 3.5: 8 / sqrt(10 * 9.5) */
    const double a[] = {1, 2, 3, 4, 5}, b[] = {5, 6, 7, 8, 7};
    close_to(prune_spearman(a, b, 5), 0.82078268166812329);
    /* ranks 1 2.5 2.5 4 and 1.5 1.5 3 4: 3.75 / 4.5 */
    const double c[] = {1, 2, 2, 3}, d[] = {1, 1, 2, 3};
    close_to(prune_spearman(c, d, 4), 3.75 / 4.5);
}

static void the_order_of_the_pairs_does_not_matter(void **state)
{
    (void)state;
    const double a[] = {3, 1, 5, 2, 4}, b[] = {7, 5, 7, 6, 8};
    close_to(prune_spearman(a, b, 5), 0.82078268166812329);
}

static void undefined_correlations_are_nan(void **state)
{
    (void)state;
    const double flat[] = {2, 2, 2}, a[] = {1, 2, 3}, holed[] = {1, NAN, 3};
    assert_true(isnan(prune_spearman(flat, a, 3)));
    assert_true(isnan(prune_spearman(a, flat, 3)));
    assert_true(isnan(prune_spearman(a, holed, 3)));
    assert_true(isnan(prune_spearman(a, a, 1)));
    assert_true(isnan(prune_spearman(NULL, NULL, 0)));
    const prune_statistic all[] = {prune_pearson, prune_spearman, prune_kendall};
    const double endless[] = {1, INFINITY, 3};
    for (int i = 0; i < 3; i++) {
        assert_true(isnan(all[i](flat, a, 3)) && isnan(all[i](a, flat, 3)) && isnan(all[i](a, holed, 3)) && isnan(all[i](holed, a, 3)));
        assert_true(isnan(all[i](a, a, 1)) && isnan(all[i](NULL, NULL, 0)));
    }
    assert_true(isnan(prune_pearson(a, endless, 3)));
    close_to(prune_spearman(a, endless, 3), 0.5);
    close_to(prune_kendall(a, endless, 3), 1.0 / 3);
}

static void a_hundred_thousand_values_are_ranked_exactly(void **state)
{
    (void)state;
    enum { N = 100000 };
    double *a = malloc(N * sizeof *a), *b = malloc(N * sizeof *b);
    assert_true(a && b);
    for (size_t i = 0; i < N; i++) {
        a[i] = (double)(i * 7919 % N);   /* a permutation: 7919 is prime to N */
        b[i] = -a[i] * a[i];
    }
    close_to(prune_spearman(a, b, N), -1);
    close_to(prune_kendall(a, b, N), -1);   /* 5 * 10^9 discordant pairs: more than 32 bits hold */
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recorded_case_of_scipy_is_met),
        cmocka_unit_test(tau_b_equals_the_count_over_all_pairs),
        cmocka_unit_test(pearson_is_the_textbook_result_and_keeps_to_its_bounds),
        cmocka_unit_test(quantiles_lie_between_order_statistics),
        cmocka_unit_test(ranks_begin_at_one_and_ties_share_theirs),
        cmocka_unit_test(an_interval_has_the_width_of_theory_and_depends_on_the_seed_alone),
        cmocka_unit_test(intervals_cover_the_truth_about_as_often_as_they_say),
        cmocka_unit_test(rounds_without_a_result_are_left_out),
        cmocka_unit_test(a_monotone_relation_gives_one_and_its_reverse_minus_one),
        cmocka_unit_test(distinct_values_give_the_textbook_result),
        cmocka_unit_test(ties_share_the_mean_of_their_ranks),
        cmocka_unit_test(the_order_of_the_pairs_does_not_matter),
        cmocka_unit_test(undefined_correlations_are_nan),
        cmocka_unit_test(a_hundred_thousand_values_are_ranked_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
