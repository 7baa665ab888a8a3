/* Least-squares reconstruction without a host: the solver (exact recovery, constant, ridge, groups, singular and constant inputs, numbers that are none)
 * against what algebra says, panels against one whole, places and patches, and samples against sums spelt out. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../plugin/base/random.h"
#include "../../plugin/run/reconstruct_samples.h"

enum { ROWS = 400, D = 5, N = 3 };

static void normal(float *v, size_t n, uint64_t seed)
{
    struct prune_random r = prune_random_make(seed, 1, 0);
    for (size_t i = 0; i < n; i++) v[i] = (float)prune_random_normal(&r);
}

static void near(double value, double expected, double tolerance)
{
    if (!(fabs(value - expected) <= tolerance)) fail_msg("%.9g, expected %.9g within %g", value, expected, tolerance);
}

/* Inputs of D channels where the last is 2 - x_0 + 3 x_1; targets of weights `truth` (N, D) over all of them. */
struct problem { float all[ROWS][D], left[ROWS][D - 1], y[ROWS][N], truth[N][D], w[N][D - 1]; double constant[N]; };

static void make_problem(struct problem *p)
{
    normal(&p->all[0][0], sizeof p->all / sizeof(float), 1);
    normal(&p->truth[0][0], sizeof p->truth / sizeof(float), 2);
    for (size_t r = 0; r < ROWS; r++) {
        p->all[r][D - 1] = 2 - p->all[r][0] + 3 * p->all[r][1];
        memcpy(p->left[r], p->all[r], sizeof p->left[r]);
        for (size_t o = 0; o < N; o++) {
            double sum = 0;
            for (size_t j = 0; j < D; j++) sum += (double)p->truth[o][j] * (double)p->all[r][j];
            p->y[r][o] = (float)sum;
        }
    }
    for (size_t o = 0; o < N; o++) memcpy(p->w[o], p->truth[o], sizeof p->w[o]);
}

static struct prune_solution solve(size_t groups, size_t n, size_t d, size_t rows, const float *x, const float *y, double ridge, float *w, double *constant)
{
    struct prune_moments m;
    struct prune_solution s = {0};
    struct prune_status st = {0};
    if (prune_moments_open(&m, groups, n, d, &st)) fail_msg("%s", st.message);
    prune_moments_add(&m, rows / 3, x, y);
    prune_moments_add(&m, rows - rows / 3, x + rows / 3 * groups * d, y + rows / 3 * groups * n);
    if (prune_moments_solve(&m, ridge, w, constant, &s, &st)) fail_msg("%s", st.message);
    prune_moments_close(&m);
    return s;
}

static void a_channel_that_others_combine_to_is_made_up_for_exactly(void **state)
{
    (void)state;
    static struct problem p;
    make_problem(&p);
    struct prune_solution s = solve(1, N, D - 1, ROWS, &p.left[0][0], &p.y[0][0], 0, &p.w[0][0], p.constant);
    assert_true(s.before > .5);
    assert_true(s.after < 1e-5);
    for (size_t o = 0; o < N; o++) {
        double gone = (double)p.truth[o][D - 1];
        near((double)p.w[o][0], (double)p.truth[o][0] - gone, 1e-5);
        near((double)p.w[o][1], (double)p.truth[o][1] + 3 * gone, 1e-5);
        near((double)p.w[o][2], (double)p.truth[o][2], 1e-5);
        near(p.constant[o], 2 * gone, 1e-5);
    }
}

static void a_large_ridge_keeps_the_old_filters_and_the_constant_takes_the_means(void **state)
{
    (void)state;
    static struct problem p;
    make_problem(&p);
    struct prune_solution s = solve(1, N, D - 1, ROWS, &p.left[0][0], &p.y[0][0], 1e9, &p.w[0][0], p.constant);
    for (size_t o = 0; o < N; o++) {
        double mean = 0;
        for (size_t j = 0; j < D - 1; j++) near((double)p.w[o][j], (double)p.truth[o][j], 1e-6);
        for (size_t r = 0; r < ROWS; r++) mean += (double)p.truth[o][D - 1] * (double)p.all[r][D - 1] / ROWS;
        near(p.constant[o], mean, 1e-5);
    }
    assert_true(s.after < s.before && s.after > .1);
}

/* One input, one filter: w = w0 + (r - g w0) / (g + count ridge m), all about the means but m. */
static void the_ridge_is_in_units_of_the_mean_square_of_the_inputs(void **state)
{
    (void)state;
    float x[ROWS], y[ROWS], w = 2, noise[ROWS];
    double constant, sx = 0, sy = 0, xx = 0, xy = 0;
    normal(x, ROWS, 3);
    normal(noise, ROWS, 4);
    for (size_t r = 0; r < ROWS; r++) {
        x[r] += 1.5f;
        y[r] = .5f * x[r] + noise[r];
        sx += (double)x[r], sy += (double)y[r], xx += (double)x[r] * (double)x[r], xy += (double)x[r] * (double)y[r];
    }
    double g = xx - sx * sx / ROWS, c = xy - sx * sy / ROWS, expected = 2 + (c - 2 * g) / (g + .3 * xx);
    struct prune_solution s = solve(1, 1, 1, ROWS, x, y, .3, &w, &constant);
    near((double)w, expected, 1e-5);
    near(constant, sy / ROWS - expected * sx / ROWS, 1e-5);
    assert_true(s.ridge == .3);
}

static void errors_are_those_of_the_samples(void **state)
{
    (void)state;
    static struct problem p;
    make_problem(&p);
    double before = 0, after = 0, whole = 0, mean[N] = {0};
    struct prune_solution s = solve(1, N, D - 1, ROWS, &p.left[0][0], &p.y[0][0], .5, &p.w[0][0], p.constant);
    for (size_t r = 0; r < ROWS; r++)
        for (size_t o = 0; o < N; o++) mean[o] += (double)p.y[r][o] / ROWS;
    for (size_t r = 0; r < ROWS; r++) {
        for (size_t o = 0; o < N; o++) {
            double old = 0, new = p.constant[o], y = (double)p.y[r][o];
            for (size_t j = 0; j < D - 1; j++) old += (double)p.truth[o][j] * (double)p.left[r][j], new += (double)p.w[o][j] * (double)p.left[r][j];
            before += (y - old) * (y - old);
            after += (y - new) * (y - new);
            whole += (y - mean[o]) * (y - mean[o]);
        }
    }
    near(s.before, sqrt(before / whole), 1e-5);
    near(s.after, sqrt(after / whole), 1e-5);
}

/* More columns than a block, two groups whose solutions must not know each other. */
static void groups_are_solved_by_themselves(void **state)
{
    (void)state;
    enum { WIDE = 130, SAMPLES = 600 };
    static float x[SAMPLES][2 * WIDE], y[SAMPLES][2 * 2], both[4][WIDE], one[2][WIDE], xs[SAMPLES][WIDE], ys[SAMPLES][2];
    double c2[4], c1[2];
    normal(&x[0][0], sizeof x / sizeof(float), 5);
    normal(&y[0][0], sizeof y / sizeof(float), 6);
    solve(2, 2, WIDE, SAMPLES, &x[0][0], &y[0][0], 1e-3, &both[0][0], c2);
    for (size_t g = 0; g < 2; g++) {
        memset(one, 0, sizeof one);
        for (size_t r = 0; r < SAMPLES; r++) memcpy(xs[r], x[r] + g * WIDE, sizeof xs[r]), memcpy(ys[r], y[r] + 2 * g, sizeof ys[r]);
        solve(1, 2, WIDE, SAMPLES, &xs[0][0], &ys[0][0], 1e-3, &one[0][0], c1);
        for (size_t o = 0; o < 2; o++) {
            near(c2[2 * g + o], c1[o], 1e-6);
            for (size_t j = 0; j < WIDE; j++) near((double)both[2 * g + o][j], (double)one[o][j], 1e-5);
        }
    }
}

static void singular_moments_get_ridge_and_dead_inputs_leave_the_filters(void **state)
{
    (void)state;
    float x[ROWS][2], y[ROWS], w[2] = {1, 1}, zero[ROWS][2] = {{0}};
    double constant;
    normal(y, ROWS, 7);
    for (size_t r = 0; r < ROWS; r++) x[r][0] = x[r][1] = y[r];
    struct prune_solution s = solve(1, 1, 2, ROWS, &x[0][0], y, 0, w, &constant);
    assert_true(s.after < 1e-3);
    near((double)w[0] + (double)w[1], 1, 1e-3);
    near((double)w[0], (double)w[1], 1e-6);
    for (size_t r = 0; r < ROWS; r++) y[r] += 3;
    w[0] = 5, w[1] = -4;
    s = solve(1, 1, 2, ROWS, &zero[0][0], y, 1e-3, w, &constant);
    assert_true(w[0] == 5 && w[1] == -4);
    near(constant, 3, .2);
    near(s.after, 1, 1e-9);
}

static void numbers_that_are_none_are_refused(void **state)
{
    (void)state;
    struct prune_moments m;
    struct prune_solution s;
    struct prune_status st = {0};
    float x[2] = {1, NAN}, y[2] = {1, 2}, w = 1;
    double constant;
    assert_int_equal(prune_moments_open(&m, 1, 1, 1, &st), PRUNE_OK);
    assert_int_equal(prune_moments_solve(&m, 0, &w, &constant, &s, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "no samples to reconstruct from");
    prune_moments_add(&m, 2, x, y);
    assert_int_equal(prune_moments_solve(&m, 0, &w, &constant, &s, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "no numbers"));
    assert_true(w == 1);
    prune_moments_close(&m);
}

static void places_are_one_of_each_stretch_and_all_of_a_small_map(void **state)
{
    (void)state;
    size_t different = 0;
    assert_int_equal(prune_sample_places(1024, .25), 256);
    assert_int_equal(prune_sample_places(1024, .001), 64);
    assert_int_equal(prune_sample_places(49, .25), 49);
    assert_int_equal(prune_sample_places(1024, 1), 1024);
    for (size_t j = 0; j < 49; j++) assert_int_equal(prune_sample_place(1, 3, 0, j, 49, 49), j);
    for (size_t j = 0; j < 100; j++) {
        size_t place = prune_sample_place(1, 3, 7, j, 100, 1024);
        assert_in_range(place, 1024 * j / 100, 1024 * (j + 1) / 100 - 1);
        different += place != prune_sample_place(1, 3, 8, j, 100, 1024);
    }
    assert_true(different > 50);
}

static void patches_are_windows_with_zeros_outside(void **state)
{
    (void)state;
    float map[2 * 3 * 4], out[2 * 9];
    const struct prune_patches p = {.w = 4, .h = 3, .c = 2, .size = 3, .stride = 2, .pad = 1, .out_w = 2, .out_h = 2};
    for (size_t i = 0; i < 24; i++) map[i] = (float)(i + 1);
    prune_patch(map, &p, 0, out);
    const float corner[9] = {0, 0, 0, 0, 1, 2, 0, 5, 6};
    for (size_t i = 0; i < 9; i++) assert_true(out[i] == corner[i] && out[9 + i] == (corner[i] > 0 ? corner[i] + 12 : 0));
    prune_patch(map, &p, 3, out);
    const float end[9] = {6, 7, 8, 10, 11, 12, 0, 0, 0};
    for (size_t i = 0; i < 9; i++) assert_true(out[i] == end[i]);
}

/* 1x1 filters on maps of 2 x 2; two groups of which the pruned layer has the second alone; the stream's error counts where both have the channel. */
static void samples_are_the_unpruned_sums_with_the_streams_error(void **state)
{
    (void)state;
    float original[2][4][4], pruned[2][2][4], old_stream[2][2][4], new_stream[2][1][4], filters[2][2] = {{1, 2}, {3, 4}};
    size_t group = 1;
    double factor[2] = {10, 99}, y = 0, yp = 0;
    int from[2] = {1, -1}, to[2] = {0, -1};
    struct prune_moments m;
    struct prune_status st = {0};
    normal(&original[0][0][0], 32, 8);
    normal(&pruned[0][0][0], 16, 9);
    normal(&old_stream[0][0][0], 16, 10);
    normal(&new_stream[0][0][0], 8, 11);
    const struct prune_patches whole = {2, 2, 4, 1, 1, 0, 2, 2}, small = {2, 2, 2, 1, 1, 0, 2, 2};
    struct prune_samples s = {.seed = 1, .layer = 0, .places = 4, .groups = 1, .n = 2, .original = whole, .pruned = small, .original_d = 2, .pruned_d = 2,
                              .original_group = &group, .filters = &filters[0][0], .stream = {factor, {from, to}}};
    assert_int_equal(prune_samples_open(&s, &st), PRUNE_OK);
    assert_int_equal(prune_moments_open(&m, 1, 2, 2, &st), PRUNE_OK);
    const struct prune_sample_batch b = {.first = 0, .images = 2, .input = {&original[0][0][0], &pruned[0][0][0]}, .values = {16, 8},
                                         .stream = {&old_stream[0][0][0], &new_stream[0][0][0]}, .stream_values = {8, 4}};
    prune_samples_add(&s, &b, &m);
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < 4; k++) {
            double sum = 1 * (double)original[i][2][k] + 2 * (double)original[i][3][k] + 10 * ((double)old_stream[i][1][k] - (double)new_stream[i][0][k]);
            y += sum;
            yp += sum * (double)pruned[i][1][k];
        }
    }
    near(m.count, 8, 0);
    near(m.y[0], y, 1e-4);
    near(m.yp[1], yp, 1e-4);
    double second = 0;
    for (size_t i = 0; i < 2; i++)
        for (size_t k = 0; k < 4; k++) second += 3 * (double)original[i][2][k] + 4 * (double)original[i][3][k];
    near(m.y[1], second, 1e-4);
    prune_samples_close(&s);
    prune_moments_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_channel_that_others_combine_to_is_made_up_for_exactly),
        cmocka_unit_test(a_large_ridge_keeps_the_old_filters_and_the_constant_takes_the_means),
        cmocka_unit_test(the_ridge_is_in_units_of_the_mean_square_of_the_inputs),
        cmocka_unit_test(errors_are_those_of_the_samples),
        cmocka_unit_test(groups_are_solved_by_themselves),
        cmocka_unit_test(singular_moments_get_ridge_and_dead_inputs_leave_the_filters),
        cmocka_unit_test(numbers_that_are_none_are_refused),
        cmocka_unit_test(places_are_one_of_each_stretch_and_all_of_a_small_map),
        cmocka_unit_test(patches_are_windows_with_zeros_outside),
        cmocka_unit_test(samples_are_the_unpruned_sums_with_the_streams_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
