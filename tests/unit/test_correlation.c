/* Correlations over sets of units, samples of units, and the tables that carry them. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../plugin/base/file_io.h"
#include "../../plugin/score/correlation_report.h"
#include "temp_folder.h"

static struct prune_status st;

static void close_to(double value, double expected)
{
    if (!(fabs(value - expected) < 1e-14)) fail_msg("%.17g, expected %.17g", value, expected);
}

/* Layer 4: rising; layer 1: falling, in the other order; layer 7 spans, rising, far above; layer 9: two units. */
static const double SCORE[] = {1, 2, 3, 4, 30, 20, 10, 100, 300, 200, 7, 8}, ORACLE[] = {1, 2, 3, 4, 1, 2, 3, 500, 700, 600, 0, 1};
static const int LAYER[] = {4, 4, 4, 4, 1, 1, 1, 7, 7, 7, 9, 9}, SPAN[] = {1, 1, 1, 1, 1, 1, 1, 2, 2, 3, 1, 1};
enum { UNITS = 12 };
static const struct prune_pairs PAIRS = {SCORE, ORACLE, LAYER, SPAN, UNITS};

static void sets_take_the_units_they_name(void **state)
{
    (void)state;
    struct prune_correlations c[PRUNE_UNIT_SETS];
    for (int set = 0; set < PRUNE_UNIT_SETS; set++) assert_int_equal(prune_correlate(&PAIRS, (enum prune_unit_set)set, 0, 1, &c[set], &st), PRUNE_OK);
    assert_int_equal(c[PRUNE_UNITS_ALL].units, 12);
    assert_int_equal(c[PRUNE_UNITS_ALL].layers, 4);
    assert_int_equal(c[PRUNE_UNITS_ALL].layers_used, 3);
    assert_int_equal(c[PRUNE_UNITS_ONE_LAYER].units, 9);
    assert_int_equal(c[PRUNE_UNITS_ONE_LAYER].layers, 3);
    assert_int_equal(c[PRUNE_UNITS_ONE_LAYER].layers_used, 2);
    assert_int_equal(c[PRUNE_UNITS_SPANNING].units, 3);
    assert_int_equal(c[PRUNE_UNITS_SPANNING].layers_used, 1);
    close_to(c[PRUNE_UNITS_SPANNING].all[PRUNE_KENDALL].value, 1);
    assert_true(isnan(c[PRUNE_UNITS_ALL].all[PRUNE_PEARSON].low) && isnan(c[PRUNE_UNITS_ALL].per_layer[PRUNE_PEARSON].high));
    for (int k = 0; k < PRUNE_COEFFICIENTS; k++) {
        close_to(c[PRUNE_UNITS_ALL].per_layer[k].value, 1.0 / 3);     /* +1, -1, +1; the layer of two says nothing */
        close_to(c[PRUNE_UNITS_ONE_LAYER].per_layer[k].value, 0);
    }
    close_to(c[PRUNE_UNITS_ALL].all[PRUNE_SPEARMAN].value, prune_spearman(SCORE, ORACLE, UNITS));
    close_to(c[PRUNE_UNITS_ALL].all[PRUNE_PEARSON].value, prune_pearson(SCORE, ORACLE, UNITS));
    const double one_score[] = {1, 2, 3, 4, 30, 20, 10, 7, 8}, one_oracle[] = {1, 2, 3, 4, 1, 2, 3, 0, 1};
    close_to(c[PRUNE_UNITS_ONE_LAYER].all[PRUNE_KENDALL].value, prune_kendall(one_score, one_oracle, 9));
}

static void constant_layers_are_in_no_average(void **state)
{
    (void)state;
    const double score[] = {5, 5, 5, 1, 2, 3}, oracle[] = {1, 2, 3, 1, 3, 2};
    const int layer[] = {0, 0, 0, 1, 1, 1}, span[] = {1, 1, 1, 1, 1, 1};
    const struct prune_pairs pairs = {score, oracle, layer, span, 6}, flat = {score, oracle, layer, span, 3}, none = {NULL, NULL, NULL, NULL, 0};
    struct prune_correlations c;
    assert_int_equal(prune_correlate(&pairs, PRUNE_UNITS_ALL, 50, 1, &c, &st), PRUNE_OK);
    assert_int_equal(c.layers_used, 1);
    close_to(c.per_layer[PRUNE_SPEARMAN].value, 0.5);
    assert_int_equal(prune_correlate(&flat, PRUNE_UNITS_ALL, 50, 1, &c, &st), PRUNE_OK);
    assert_int_equal(c.layers_used, 0);
    assert_true(isnan(c.all[PRUNE_SPEARMAN].value) && isnan(c.per_layer[PRUNE_KENDALL].value) && isnan(c.all[PRUNE_KENDALL].low));
    assert_int_equal(prune_correlate(&none, PRUNE_UNITS_ALL, 50, 1, &c, &st), PRUNE_OK);
    assert_int_equal(c.units, 0);
}

static void averages_have_intervals_from_resampled_layers(void **state)
{
    (void)state;
    enum { N = 120 };
    double score[N], oracle[N];
    int layer[N], span[N];
    struct prune_random r = prune_random_make(3, 3, 3);
    for (int i = 0; i < N; i++) {
        layer[i] = i / 30;
        span[i] = 1;
        score[i] = prune_random_normal(&r);
        oracle[i] = score[i] + prune_random_normal(&r) + 100 * layer[i];
    }
    const struct prune_pairs pairs = {score, oracle, layer, span, N};
    struct prune_correlations c, again;
    assert_int_equal(prune_correlate(&pairs, PRUNE_UNITS_ALL, 400, 9, &c, &st), PRUNE_OK);
    assert_int_equal(prune_correlate(&pairs, PRUNE_UNITS_ALL, 400, 9, &again, &st), PRUNE_OK);
    assert_memory_equal(&c, &again, sizeof c);
    for (int k = 0; k < PRUNE_COEFFICIENTS; k++) {
        assert_true(c.per_layer[k].low < c.per_layer[k].value && c.per_layer[k].value < c.per_layer[k].high);
        /* four layers of 30 at a correlation of .7: the deviation of their mean is some .05 */
        assert_true(c.per_layer[k].high - c.per_layer[k].low > 0.08 && c.per_layer[k].high - c.per_layer[k].low < 0.4);
    }
    assert_true(c.per_layer[PRUNE_PEARSON].value > 0.5 && c.all[PRUNE_PEARSON].value < 0.4);   /* layers of other levels hide what each shows */
}

static size_t picked_of(const unsigned char *picked, const int *layer, size_t n, int which)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) count += picked[i] && layer[i] == which;
    return count;
}

static void samples_follow_the_sizes_of_layers(void **state)
{
    (void)state;
    enum { N = 130 };
    int layer[N];
    unsigned char picked[N], again[N], other[N];
    for (int i = 0; i < N; i++) layer[i] = i < 2 ? 8 : i < 12 ? 5 : i < 50 ? 9 : 1;    /* 2, 10, 38, 80 */
    assert_int_equal(prune_sample_units(layer, N, 65, 4, picked, &st), PRUNE_OK);
    assert_int_equal(prune_sample_units(layer, N, 65, 4, again, &st), PRUNE_OK);
    assert_int_equal(prune_sample_units(layer, N, 65, 5, other, &st), PRUNE_OK);
    assert_memory_equal(picked, again, N);
    assert_memory_not_equal(picked, other, N);
    assert_int_equal(picked_of(picked, layer, N, 8), 2);      /* what there is: fewer than 3 */
    assert_int_equal(picked_of(picked, layer, N, 5), 5);
    assert_int_equal(picked_of(picked, layer, N, 9) + picked_of(picked, layer, N, 1), 58);
    assert_in_range(picked_of(picked, layer, N, 9), 18, 19);
    assert_int_equal(prune_sample_units(layer, N, 12, 4, picked, &st), PRUNE_OK);
    assert_int_equal(picked_of(picked, layer, N, 5), 3);
    assert_int_equal(picked_of(picked, layer, N, 8), 2);
    assert_int_equal(picked_of(picked, layer, N, 9) + picked_of(picked, layer, N, 1), 7);
    assert_int_equal(prune_sample_units(layer, N, 4, 4, picked, &st), PRUNE_OK);      /* too few for three of each: by size alone */
    assert_in_range(picked_of(picked, layer, N, 1), 2, 3);
    assert_int_equal(prune_sample_units(layer, N, 1000, 4, picked, &st), PRUNE_OK);
    for (int i = 0; i < N; i++) assert_int_equal(picked[i], 1);
}

static void make_table(struct prune_correlation_table *t)
{
    assert_int_equal(prune_correlation_table_init(t, UNITS, 2, &st), PRUNE_OK);
    for (int i = 0; i < UNITS; i++) {
        t->rows[i] = (struct prune_correlation_unit){i + 3, LAYER[i], i, SPAN[i]};
        t->oracle[i] = ORACLE[i] / 3;
        t->without[i] = i ? ORACLE[i] / 7 : (double)NAN;
        t->columns[0].values[i] = SCORE[i] / 3;
        t->columns[1].values[i] = i % 2 ? SCORE[i] : -SCORE[i];
    }
    t->columns[0].name = strdup("taylor-fo@before-bn");
    t->columns[1].name = strdup("obd");
    t->columns[1].is_signed = true;
}

static void a_table_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct prune_correlation_table t, back;
    char *path = prune_path_join(folder, "table.csv");
    make_table(&t);
    assert_int_equal(prune_correlation_table_write(&t, path, &st), PRUNE_OK);
    if (prune_correlation_table_read(&back, path, &st)) fail_msg("%s", st.message);
    assert_int_equal(back.row_count, UNITS);
    assert_int_equal(back.column_count, 2);
    assert_string_equal(back.columns[0].name, "taylor-fo@before-bn");
    assert_false(back.columns[0].is_signed);
    assert_true(back.columns[1].is_signed);       /* the registry knows */
    assert_memory_equal(back.rows, t.rows, sizeof *t.rows * UNITS);
    assert_memory_equal(back.oracle, t.oracle, sizeof *t.oracle * UNITS);
    assert_true(isnan(back.without[0]) && back.without[5] == t.without[5]);
    for (int k = 0; k < 2; k++) assert_memory_equal(back.columns[k].values, t.columns[k].values, sizeof(double) * UNITS);
    prune_correlation_table_free(&t);
    prune_correlation_table_free(&back);
    free(path);
}

static void signed_columns_are_correlated_as_squares(void **state)
{
    (void)state;
    struct prune_correlation_table t;
    struct prune_correlation_results r;
    double squares[UNITS], oracle[UNITS];
    size_t order[2];
    make_table(&t);
    for (int i = 0; i < UNITS; i++) squares[i] = SCORE[i] * SCORE[i], oracle[i] = ORACLE[i] / 3;
    assert_int_equal(prune_correlation_results_make(&r, &t, 0, 1, &st), PRUNE_OK);
    assert_true(r.has_spanning);
    close_to(r.of[1][PRUNE_UNITS_ALL].all[PRUNE_PEARSON].value, prune_pearson(squares, oracle, UNITS));
    close_to(r.of[0][PRUNE_UNITS_ALL].all[PRUNE_SPEARMAN].value, r.of[1][PRUNE_UNITS_ALL].all[PRUNE_SPEARMAN].value);
    for (int i = 0; i < UNITS; i++) t.columns[0].values[i] = -t.columns[0].values[i];
    prune_correlation_results_free(&r);
    assert_int_equal(prune_correlation_results_make(&r, &t, 0, 1, &st), PRUNE_OK);
    prune_correlation_order(&r, order);
    assert_int_equal(order[0], 1);
    assert_int_equal(order[1], 0);
    prune_correlation_results_free(&r);
    prune_correlation_table_free(&t);
}

/* message: a format with the path */
static void refused(const char *text, const char *message)
{
    struct prune_correlation_table t;
    char *path = prune_path_join(folder, "bad.csv"), expected[512];
    assert_int_equal(prune_write_file(path, text, strlen(text), &st), PRUNE_OK);
    assert_int_equal(prune_correlation_table_read(&t, path, &st), PRUNE_FAILED);
    snprintf(expected, sizeof expected, message, path);
    assert_string_equal(st.message, expected);
    free(path);
}

static void tables_that_cannot_be_read_are_named_with_their_place(void **state)
{
    (void)state;
    refused("layer,channel,oracle,a\n", "'%s' has no rows");
    refused("layer,channel,a\n0,0,1\n", "'%s' has no column 'oracle'");
    refused("layer,channel,oracle\n0,0,1\n", "'%s' has no column of scores");
    refused("layer,channel,oracle,a\n0,0,1,2\n\n0,1,1\n", "'%s', line 4 has 3 fields, the first line has 4");
    refused("layer,channel,oracle,a\r\n0,0,1,x\r\n", "'%s', row 1: 'x' in column 'a' is not a finite number");
    refused("layer,channel,oracle,a\n0,0,1,2\n0,1,nan,2\n", "'%s', row 2: 'nan' in column 'oracle' is not a finite number");
    refused("layer,channel,oracle,a\n0.5,0,1,2\n", "'%s', row 1: '0.5' in column 'layer' is not a whole number");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_take_the_units_they_name),
        cmocka_unit_test(constant_layers_are_in_no_average),
        cmocka_unit_test(averages_have_intervals_from_resampled_layers),
        cmocka_unit_test(samples_follow_the_sizes_of_layers),
        cmocka_unit_test(a_table_is_read_as_it_was_written),
        cmocka_unit_test(signed_columns_are_correlated_as_squares),
        cmocka_unit_test(tables_that_cannot_be_read_are_named_with_their_place),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
