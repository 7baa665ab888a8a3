/* Random numbers: values depend on (seed, stream, ordinal, counter) only, are spread evenly, and permutations are bijections.
 * Every expectation is a number; seeds are fixed, so nothing here can fail by chance. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "../../plugin/base/random.h"

static void the_same_counter_gives_the_same_value(void **state)
{
    (void)state;
    struct prune_random a = prune_random_make(1, 2, 3), b = prune_random_make(1, 2, 3);
    for (int i = 0; i < 100; i++) prune_random_u64(&a);
    b.counter = 100; /* no need to have drawn the values before */
    assert_true(prune_random_u64(&a) == prune_random_u64(&b));
}

static void seed_stream_and_ordinal_each_change_the_values(void **state)
{
    (void)state;
    struct prune_random r[] = {prune_random_make(0, 0, 0), prune_random_make(1, 0, 0), prune_random_make(0, 1, 0), prune_random_make(0, 0, 1)};
    uint64_t x[4];
    for (int i = 0; i < 4; i++) x[i] = prune_random_u64(&r[i]);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < i; j++) assert_true(x[i] != x[j]);
}

static void recorded_values_stay_what_they_are(void **state)
{
    (void)state;
    struct prune_random r = prune_random_make(42, 7, 1000);
    const uint64_t want[] = {0x617cea13a00e1307u, 0x6179e537006a8f33u, 0xe037264ee94ba75eu};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) assert_true(prune_random_u64(&r) == want[i]);
}

static void uniform_values_fill_the_unit_interval_evenly(void **state)
{
    (void)state;
    enum { N = 100000, BINS = 20 };
    int counts[BINS] = {0};
    double sum = 0;
    struct prune_random r = prune_random_make(1, 1, 1);
    for (int i = 0; i < N; i++) {
        double u = prune_random_uniform(&r);
        assert_true(u >= 0 && u < 1);
        counts[(int)(u * BINS)]++;
        sum += u;
    }
    assert_true(fabs(sum / N - 0.5) < 0.004);
    for (int i = 0; i < BINS; i++) assert_in_range(counts[i], N / BINS - 350, N / BINS + 350);
}

static void neighbouring_ordinals_are_uncorrelated(void **state)
{
    (void)state;
    enum { N = 20000 };
    double product = 0;
    for (uint64_t i = 0; i < N; i++) {
        struct prune_random a = prune_random_make(5, 0, i), b = prune_random_make(5, 0, i + 1);
        product += (prune_random_uniform(&a) - 0.5) * (prune_random_uniform(&b) - 0.5);
    }
    assert_true(fabs(product / N * 12) < 0.03); /* correlation */
}

static void below_is_unbiased_and_within_bounds(void **state)
{
    (void)state;
    int counts[7] = {0};
    struct prune_random r = prune_random_make(3, 0, 0);
    for (int i = 0; i < 70000; i++) {
        uint64_t x = prune_random_below(&r, 7);
        assert_true(x < 7);
        counts[x]++;
    }
    for (int i = 0; i < 7; i++) assert_in_range(counts[i], 9600, 10400);
    assert_true(prune_random_below(&r, 1) == 0);
    assert_true(prune_random_below(&r, UINT64_MAX) < UINT64_MAX);
}

static void normal_values_have_mean_0_and_deviation_1(void **state)
{
    (void)state;
    enum { N = 100000 };
    double sum = 0, squares = 0, fourth = 0;
    struct prune_random r = prune_random_make(9, 0, 0);
    for (int i = 0; i < N; i++) {
        double x = prune_random_normal(&r);
        assert_true(isfinite(x));
        sum += x;
        squares += x * x;
        fourth += x * x * x * x;
    }
    assert_true(fabs(sum / N) < 0.01);
    assert_true(fabs(squares / N - 1) < 0.02);
    assert_true(fabs(fourth / N - 3) < 0.1);
}

static void range_stays_between_its_ends(void **state)
{
    (void)state;
    struct prune_random r = prune_random_make(2, 0, 0);
    for (int i = 0; i < 1000; i++) {
        double x = prune_random_range(&r, -2, 5);
        assert_true(x >= -2 && x < 5);
    }
}

static void a_permutation_hits_every_position_once(void **state)
{
    (void)state;
    const uint64_t sizes[] = {1, 2, 3, 4, 5, 16, 17, 1000, 4096, 50000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        unsigned char *seen = calloc(sizes[s], 1);
        assert_non_null(seen);
        for (uint64_t i = 0; i < sizes[s]; i++) {
            uint64_t at = prune_random_permute(11, 4, i, sizes[s]);
            assert_true(at < sizes[s]);
            assert_int_equal(seen[at]++, 0);
        }
        free(seen);
    }
}

static void permutations_of_two_epochs_differ_and_mix(void **state)
{
    (void)state;
    enum { N = 10000 };
    int same = 0, ascending = 0;
    for (uint64_t i = 0; i + 1 < N; i++) {
        same += prune_random_permute(1, 0, i, N) == prune_random_permute(1, 1, i, N);
        ascending += prune_random_permute(1, 0, i, N) < prune_random_permute(1, 0, i + 1, N);
    }
    assert_in_range(same, 0, 8);
    assert_in_range(ascending, 4800, 5200);
}

static void all_permutations_of_three_occur(void **state)
{
    (void)state;
    int counts[27] = {0};
    for (uint64_t epoch = 0; epoch < 6000; epoch++) {
        uint64_t at = 0;
        for (uint64_t i = 0; i < 3; i++) at = at * 3 + prune_random_permute(8, epoch, i, 3);
        counts[at]++;
    }
    int kinds = 0;
    for (int i = 0; i < 27; i++) {
        if (!counts[i]) continue;
        kinds++;
        assert_in_range(counts[i], 800, 1200);
    }
    assert_int_equal(kinds, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_counter_gives_the_same_value),
        cmocka_unit_test(seed_stream_and_ordinal_each_change_the_values),
        cmocka_unit_test(recorded_values_stay_what_they_are),
        cmocka_unit_test(uniform_values_fill_the_unit_interval_evenly),
        cmocka_unit_test(neighbouring_ordinals_are_uncorrelated),
        cmocka_unit_test(below_is_unbiased_and_within_bounds),
        cmocka_unit_test(normal_values_have_mean_0_and_deviation_1),
        cmocka_unit_test(range_stays_between_its_ends),
        cmocka_unit_test(a_permutation_hits_every_position_once),
        cmocka_unit_test(permutations_of_two_epochs_differ_and_mix),
        cmocka_unit_test(all_permutations_of_three_occur),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
