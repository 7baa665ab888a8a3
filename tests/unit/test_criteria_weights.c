/* Criteria from the weights alone: norms per layer by hand, the geometric median against brute force in every layout a filter can have. */
#include "criteria_rig.h"

#include "../../plugin/base/random.h"

static const char PLAIN[] =
    "[net]\nheight=4\nwidth=4\nchannels=1\n"
    "[convolutional]\nfilters=3\nsize=1\nstride=1\nactivation=relu\n"                         /* biases 0..2, weights 4, -5, 6 -> floats 3..5 */
    "[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation=relu\n"                         /* biases 6, 7; weights 8..13: 9, -10, 11 | -12, 13, -14 */
    "[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation=linear\n[avgpool]\n[softmax]\n";

static void magnitude_l1_does_not_ask_for_a_norm(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, PLAIN, counting, 0);
    close_to(score_at(&f, "magnitude-l1", 2, 1, 0), 9 + 10 + 11);
    close_to(score_at(&f, "magnitude-l1", 1, 1, 1), 12 + 13 + 14);
    fixture_close(&f);
}

static void magnitude_layer_is_magnitude_over_its_root_mean_square(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, PLAIN, counting, 0);
    close_to(score_at(&f, "magnitude-layer", 2, 0, 1), 5 / sqrt((16 + 25 + 36) / 3.0));
    close_to(score_at(&f, "magnitude-layer", 2, 1, 0), sqrt(81 + 100 + 121) / sqrt((81 + 100 + 121 + 144 + 169 + 196) / 2.0));
    close_to(score_at(&f, "magnitude-layer", 1, 1, 1), 39 / sqrt((30.0 * 30 + 39 * 39) / 2));
    fixture_close(&f);
}

static float zero(size_t i) { return (void)i, 0.0f; }

static void a_layer_of_zeros_scores_zero(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, PLAIN, zero, 0);
    assert_true(score_at(&f, "magnitude-layer", 2, 0, 1) == 0);
    assert_true(score_at(&f, "fpgm", 2, 0, 1) == 0);
    fixture_close(&f);
}

static void fpgm_is_the_sum_of_distances(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, PLAIN, counting, 0);
    close_to(score_at(&f, "fpgm", 2, 0, 0), 9 + 2);           /* 4, -5, 6 */
    close_to(score_at(&f, "fpgm", 2, 0, 1), 9 + 11);
    close_to(score_at(&f, "fpgm", 2, 0, 2), 2 + 11);
    close_to(score_at(&f, "fpgm", 2, 1, 1), sqrt(21.0 * 21 + 23 * 23 + 25 * 25));
    fixture_close(&f);
}

static const char RESIDUAL[] =
    "[net]\nheight=4\nwidth=4\nchannels=1\n"
    "[convolutional]\nbatch_normalize=1\nfilters=2\nsize=1\nstride=1\nactivation=relu\n"      /* weights 9, -10 */
    "[convolutional]\nbatch_normalize=1\nfilters=2\nsize=1\nstride=1\nactivation=linear\n"    /* weights 19, -20 | 21, -22 */
    "[shortcut]\nfrom=-2\nactivation=relu\n"
    "[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation=linear\n"
    "[avgpool]\n[softmax]\n";

static void several_producers_are_the_root_of_the_sum_of_squares(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, RESIDUAL, counting, 0);
    close_to(score_at(&f, "fpgm", 2, 0, 1), sqrt(19.0 * 19 + 8));
    close_to(score_at(&f, "magnitude-l1", 2, 0, 1), 10 + 21 + 22);
    /* both units are layer 0's: their first producer stands there */
    double a = 9.0 * 9 + 19 * 19 + 20 * 20, b = 10.0 * 10 + 21 * 21 + 22 * 22;
    close_to(score_at(&f, "magnitude-layer", 2, 1, 1), sqrt(b) / sqrt((a + b) / 2));
    fixture_close(&f);
}

static float noise(size_t i)
{
    struct prune_random r = prune_random_make(3, 0, i);
    return (float)prune_random_normal(&r);
}

/* Brute force on value(filter, i) of a layer with n filters of d values. */
static double sum_of_distances(const float *w, size_t n, size_t d, size_t channel, size_t (*place)(size_t n, size_t d, size_t c, size_t i))
{
    double sum = 0;
    for (size_t c = 0; c < n; c++) {
        double square = 0;
        for (size_t i = 0; i < d; i++) {
            double difference = (double)w[place(n, d, channel, i)] - (double)w[place(n, d, c, i)];
            square += difference * difference;
        }
        sum += sqrt(square);
    }
    return sum;
}

static size_t rows(size_t n, size_t d, size_t c, size_t i) { return (void)n, c * d + i; }
static size_t columns(size_t n, size_t d, size_t c, size_t i) { return (void)d, i * n + c; }
static size_t nines(size_t n, size_t d, size_t c, size_t i) { return (void)d, (i / 9 * n + c) * 9 + i % 9; }                /* (.., n, 3, 3) */
static size_t eighteens(size_t n, size_t d, size_t c, size_t i) { return (void)d, (i / 18 * n + c) * 18 + i % 18; }         /* (locations, n, 2, 3, 3) */

static void compare(const char *cfg, int major, int layer, size_t n, size_t d, size_t (*place)(size_t, size_t, size_t, size_t))
{
    struct fixture f;
    fixture_open(&f, cfg, noise, major);
    const struct prune_weights_tensor *t = prune_layout_find(&f.weights.layout, layer, PRUNE_WEIGHTS);
    assert_int_equal(t->count, n * d);
    const float *w = prune_weights_data(&f.weights, t);
    double *scores = calloc(f.units.count, sizeof *scores);
    assert_int_equal(prune_criterion_find("fpgm")->finish(NULL, &f.in, scores, &st), PRUNE_OK);
    for (size_t c = 0; c < n; c++) close_to(scores[f.units.of_channel[layer][c]], sum_of_distances(w, n, d, c, place));
    free(scores);
    fixture_close(&f);
}

#define NET(channels) "[net]\nheight=4\nwidth=4\nchannels=" #channels "\n"
#define HEAD "[connected]\noutput=2\nactivation=linear\n[softmax]\n"

static void fpgm_agrees_with_brute_force_in_every_layout(void **state)
{
    (void)state;
    compare(NET(16) "[convolutional]\nfilters=70\nsize=3\npad=1\nstride=1\nactivation=relu\n" HEAD, 0, 0, 70, 144, rows);
    compare(NET(9) "[convolutional]\nfilters=33\nsize=3\npad=1\nstride=1\nactivation=relu\nflipped=1\n" HEAD, 0, 0, 33, 81, columns);
    compare(NET(9) "[connected]\noutput=40\nactivation=relu\n" HEAD, 0, 0, 40, 144, rows);
    compare(NET(9) "[connected]\noutput=40\nactivation=relu\n" HEAD, 1001, 0, 40, 144, columns);
    compare(NET(15) "[deconvolutional]\nfilters=5\nsize=3\nstride=1\nactivation=relu\n" HEAD, 0, 0, 5, 135, nines);
    compare(NET(2) "[local]\nfilters=6\nsize=3\nstride=1\nactivation=relu\n" HEAD, 0, 0, 6, 72, eighteens);
    compare(NET(8) "[convolutional]\nfilters=8\nsize=3\npad=1\nstride=1\ngroups=4\nactivation=relu\n" HEAD, 0, 0, 8, 18, rows);
}

static float small_differences(size_t i) { return i < 5 ? 1000 : 1000 + (i == 5 ? 0x1p-13f : 0); }   /* weights of PLAIN's layer 0: 1000, 1000, 1000 + 2^-13 */

static void near_twins_do_not_cancel(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, PLAIN, small_differences, 0);
    close_to(score_at(&f, "fpgm", 2, 0, 0), 0x1p-13);
    close_to(score_at(&f, "fpgm", 2, 0, 2), 0x1p-12);
    fixture_close(&f);
}

static void criteria_that_need_weights_say_so(void **state)
{
    (void)state;
    struct fixture f;
    double scores[16];
    fixture_open(&f, PLAIN, counting, 0);
    f.in.weights = NULL;
    static const char *const NAMES[] = {"magnitude-l1", "magnitude-layer", "fpgm"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        char expected[128];
        snprintf(expected, sizeof expected, "criterion '%s' reads the weights, and none are given", NAMES[i]);
        assert_int_equal(prune_criterion_find(NAMES[i])->finish(NULL, &f.in, scores, &st), PRUNE_FAILED);
        assert_string_equal(st.message, expected);
    }
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(magnitude_l1_does_not_ask_for_a_norm),
        cmocka_unit_test(magnitude_layer_is_magnitude_over_its_root_mean_square),
        cmocka_unit_test(a_layer_of_zeros_scores_zero),
        cmocka_unit_test(fpgm_is_the_sum_of_distances),
        cmocka_unit_test(several_producers_are_the_root_of_the_sum_of_squares),
        cmocka_unit_test(fpgm_agrees_with_brute_force_in_every_layout),
        cmocka_unit_test(near_twins_do_not_cancel),
        cmocka_unit_test(criteria_that_need_weights_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
