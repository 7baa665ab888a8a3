/* Spearman's rank correlation against values worked out by hand (and known from the literature). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdlib.h>

#include "../../plugin/score/statistics.h"

static void close_to(double value, double expected)
{
    if (!(fabs(value - expected) < 1e-14)) fail_msg("%.17g, expected %.17g", value, expected);
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
    free(a);
    free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_monotone_relation_gives_one_and_its_reverse_minus_one),
        cmocka_unit_test(distinct_values_give_the_textbook_result),
        cmocka_unit_test(ties_share_the_mean_of_their_ranks),
        cmocka_unit_test(the_order_of_the_pairs_does_not_matter),
        cmocka_unit_test(undefined_correlations_are_nan),
        cmocka_unit_test(a_hundred_thousand_values_are_ranked_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
