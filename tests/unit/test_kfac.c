/* K-FAC factors from made-up signals: patches, averages, samples, shares of memory, the worker; and the exact Fisher matrix where factors must give it. */
#include "kfac_rig.h"

static const char *const ROWS[] = {"nap", "c-obd", "kron-obd", "c-obs", "kron-obs"};
enum { ROW_COUNT = sizeof ROWS / sizeof *ROWS };

static void open_mixed(struct fixture *f)
{
    fixture_open(f, MIXED_NET, wave, 0);
    f->in.kfac.samples = 1;
    f->in.seed = 5;
}

static const struct prune_criterion *row(void) { return prune_criterion_find("c-obs"); }

static void feed(struct fixture *f, void *state, const struct layers *l, size_t images, bool ends, size_t pass)
{
    struct prune_signals s = signals_of(l, images, ends);
    s.pass = pass;
    row()->accumulate(state, &f->in, &s);
}

static void shapes_follow_the_layer(void **state)
{
    (void)state;
    struct fixture f;
    struct prune_kfac_shape s;
    open_mixed(&f);
    static const struct { size_t groups, n, d; bool bias; } expected[] = {{1, 6, 36, false}, {2, 2, 28, true}, {4, 1, 9, false}, {1, 5, 9, true}};
    for (int i = 0; i < MIXED_LAYERS; i++) {
        assert_true(prune_kfac_shape(&f.net, i, &s));
        assert_true(s.layer == i && s.groups == expected[i].groups && s.n == expected[i].n && s.d == expected[i].d && s.bias == expected[i].bias);
    }
    assert_false(prune_kfac_shape(&f.net, 4, &s));
    fixture_close(&f);
}

/* Factors of all layers, whatever the order in memory and however a minibatch falls into passes. */
static void factors_are_those_of_plain_loops(void **state)
{
    (void)state;
    struct fixture f;
    open_mixed(&f);
    for (int order = 0; order < 2; order++) {
        struct layers first = layers_make(&f.net, 3, 1, order), second = layers_make(&f.net, 2, 2, order);
        void *k = new_state(row(), &f.in);
        feed(&f, k, &first, 0, false, 0);
        feed(&f, k, &second, 5, true, 0);
        for (int i = 0; i < MIXED_LAYERS; i++) {
            struct prune_kfac_factors found;
            assert_true(prune_kfac_factors(k, &f.in, i, &found));
            assert_true(found.images == 5);
            size_t n = found.shape.n, d = found.shape.d;
            for (size_t g = 0; g < found.shape.groups; g++) {
                double *a = calloc(d * d + n * n, sizeof *a);
                assert_non_null(a);
                add_factors(&f.net, &found.shape, &first.items[i], g, 1.0 / 5, a, a + d * d);
                add_factors(&f.net, &found.shape, &second.items[i], g, 1.0 / 5, a, a + d * d);
                matrix_near(found.a + g * d * d, a, d * d, 1e-6, "A");
                matrix_near(found.s + g * n * n, a + d * d, n * n, 1e-6, "S");
                free(a);
            }
        }
        free(k);
        layers_free(&first);
        layers_free(&second);
    }
    fixture_close(&f);
}

static void the_average_is_exponential_over_minibatches(void **state)
{
    (void)state;
    enum { MINIBATCHES = 4 };
    struct fixture f;
    open_mixed(&f);
    f.in.kfac.decay = 0.8;
    void *k = new_state(row(), &f.in);
    struct layers l[MINIBATCHES];
    for (uint64_t m = 0; m < MINIBATCHES; m++) {
        l[m] = layers_make(&f.net, 2, 10 + m, false);
        feed(&f, k, &l[m], 2, true, 0);
    }
    struct prune_kfac_factors found;
    assert_true(prune_kfac_factors(k, &f.in, 0, &found));
    size_t n = found.shape.n, d = found.shape.d;
    double *a = calloc(d * d + n * n, sizeof *a);
    assert_non_null(a);
    for (int m = 0; m < MINIBATCHES; m++)
        add_factors(&f.net, &found.shape, &l[m].items[0], 0, 0.2 * pow(0.8, MINIBATCHES - 1 - m) / (1 - pow(0.8, MINIBATCHES)) / 2, a, a + d * d);
    matrix_near(found.a, a, d * d, 1e-6, "A");
    matrix_near(found.s, a + d * d, n * n, 1e-6, "S");
    for (int m = 0; m < MINIBATCHES; m++) layers_free(&l[m]);
    free(a);
    free(k);
    fixture_close(&f);
}

static void merged_states_are_one_of_both(void **state)
{
    (void)state;
    struct fixture f;
    open_mixed(&f);
    f.in.kfac.decay = 1;
    struct layers l[3];
    void *whole = new_state(row(), &f.in), *left = new_state(row(), &f.in), *right = new_state(row(), &f.in);
    for (uint64_t m = 0; m < 3; m++) {
        l[m] = layers_make(&f.net, 2 + m, m, false);
        feed(&f, whole, &l[m], 2 + m, true, 0);
        feed(&f, m < 1 ? left : right, &l[m], 2 + m, true, 0);
    }
    row()->merge(left, right, &f.in);
    for (int i = 0; i < MIXED_LAYERS; i++) {
        struct prune_kfac_factors a, b;
        assert_true(prune_kfac_factors(whole, &f.in, i, &a) && prune_kfac_factors(left, &f.in, i, &b));
        assert_true(a.images == 9 && b.images == 9);
        for (size_t j = 0; j < a.shape.groups * a.shape.d * a.shape.d; j++) assert_true(fabs((double)(a.a[j] - b.a[j])) <= 2e-6 * fabs((double)a.a[0]) + 1e-6);
        for (size_t j = 0; j < a.shape.groups * a.shape.n * a.shape.n; j++) assert_true(fabs((double)(a.s[j] - b.s[j])) <= 2e-6);
    }
    for (int m = 0; m < 3; m++) layers_free(&l[m]);
    free(whole);
    free(left);
    free(right);
    fixture_close(&f);
}

/* Mean over seeds of an estimate from 3 of 42 locations, against the full factors, in standard errors. */
static void samples_are_unbiased(void **state)
{
    (void)state;
    enum { SEEDS = 2000 };
    struct fixture f;
    open_mixed(&f);
    struct layers l = layers_make(&f.net, 2, 3, false);
    void *full = new_state(row(), &f.in);
    struct prune_kfac_factors all, some;
    feed(&f, full, &l, 2, true, 0);
    assert_true(prune_kfac_factors(full, &f.in, 0, &all));
    size_t d2 = all.shape.d * all.shape.d, n2 = all.shape.n * all.shape.n;
    double *sum = calloc(2 * (d2 + n2), sizeof *sum), *square = sum + d2 + n2;
    assert_non_null(sum);
    f.in.kfac.samples = 3.0 / 42;
    struct layers first = l;
    first.count = 1;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        f.in.seed = seed;
        void *k = new_state(row(), &f.in);
        feed(&f, k, &first, 2, true, 0);
        assert_true(prune_kfac_factors(k, &f.in, 0, &some));
        for (size_t i = 0; i < d2 + n2; i++) {
            double x = (double)(i < d2 ? some.a[i] : some.s[i - d2]);
            sum[i] += x, square[i] += x * x;
        }
        free(k);
    }
    size_t moved = 0;
    for (size_t i = 0; i < d2 + n2; i++) {
        double mean = sum[i] / SEEDS, error = sqrt((square[i] / SEEDS - mean * mean) / SEEDS), expected = (double)(i < d2 ? all.a[i] : all.s[i - d2]);
        moved += error > 1e-3 * fabs(expected);
        if (!(fabs(mean - expected) <= 5 * error + 1e-9)) fail_msg("element %zu: mean %g, expected %g, standard error %g", i, mean, expected, error);
    }
    assert_true(moved > (d2 + n2) / 2);    /* it was an estimate */
    free(sum);
    free(full);
    layers_free(&l);
    fixture_close(&f);
}

/* ---- the exact Fisher matrix ---- */

#define SOFTMAX_NET "[net]\nbatch=1\nsubdivisions=1\nheight=1\nwidth=1\nchannels=3\n\n[connected]\noutput=4\nactivation=linear\n\n[softmax]\n"

/* Linear and softmax, inputs that all have the predictive distribution (4, 2, 1, 1) / 8, one image per input and target as often as it is drawn. dE/ds = p - one-hot. */
static struct layers all_targets(const double (*inputs)[3], size_t count)
{
    static const double p[4] = {0.5, 0.25, 0.125, 0.125};
    static const int target[8] = {0, 0, 0, 0, 1, 1, 2, 3};
    struct prune_random r = prune_random_make(0, 0, 0);
    struct layers l = {.count = 1};
    l.items[0] = (struct prune_layer_signal){0, false, random_tensor(&r, 8 * count, 3, 1, 1, false), random_tensor(&r, 8 * count, 4, 1, 1, false)};
    float *x = l.items[0].input.data, *g = l.items[0].gradient.data;
    for (size_t i = 0; i < 8 * count; i++) {
        for (size_t j = 0; j < 3; j++) x[3 * i + j] = (float)inputs[i / 8][j];
        for (int j = 0; j < 4; j++) g[4 * i + (size_t)j] = (float)(p[j] - (j == target[i % 8]));
    }
    return l;
}

/* F = mean over inputs of (diag p - p p^T) (x) a a^T, entry by entry. One input, or several whose predictions are alike: A and S are independent. */
static void the_exact_fisher_matrix(void **state)
{
    (void)state;
    static const double inputs[2][3] = {{1.5, -0.5, 2}, {-0.25, 1, 0.75}}, p[4] = {0.5, 0.25, 0.125, 0.125};
    for (size_t count = 1; count <= 2; count++) {
        struct fixture f;
        fixture_open(&f, SOFTMAX_NET, wave, 0);
        struct layers l = all_targets(inputs, count);
        void *k = new_state(row(), &f.in);
        struct prune_kfac_factors found;
        feed(&f, k, &l, 8 * count, true, 0);
        assert_true(prune_kfac_factors(k, &f.in, 0, &found));
        assert_true(found.shape.d == 4 && found.shape.n == 4);
        for (size_t i = 0; i < 4 * 4 * 4 * 4; i++) {
            size_t r = i / 64, c = i / 16 % 4, j = i / 4 % 4, m = i % 4;
            double inner = 0;
            for (size_t b = 0; b < count; b++) inner += (j < 3 ? inputs[b][j] : 1) * (m < 3 ? inputs[b][m] : 1) / (double)count;
            double fisher = ((r == c ? p[r] : 0) - p[r] * p[c]) * inner, kron = (double)found.s[r * 4 + c] * (double)found.a[j * 4 + m];
            if (!(fabs(kron - fisher) <= 1e-6)) fail_msg("(%zu %zu) (%zu %zu): %g, expected %g", r, j, c, m, kron, fisher);
        }
        free(k);
        layers_free(&l);
        fixture_close(&f);
    }
}

/* ---- the driver's ways ---- */

static void scores_of(struct fixture *f, void *k, double *scores)
{
    for (size_t r = 0; r < ROW_COUNT; r++)
        if (prune_criterion_find(ROWS[r])->finish(k, &f->in, scores + r * f->units.count, &st)) fail_msg("%s: %s", ROWS[r], st.message);
}

static void little_memory_means_more_passes_and_the_same_scores(void **state)
{
    (void)state;
    struct fixture f;
    open_mixed(&f);
    f.in.kfac.samples = 0.4;
    struct layers l[3];
    for (uint64_t m = 0; m < 3; m++) l[m] = layers_make(&f.net, 4, 20 + m, false);
    double *whole = calloc(2 * ROW_COUNT * f.units.count, sizeof *whole), *parts = whole + ROW_COUNT * f.units.count;
    assert_non_null(whole);
    void *k = new_state(row(), &f.in);
    size_t bytes = row()->state_size(&f.in);
    for (int m = 0; m < 3; m++) feed(&f, k, &l[m], 4, true, 0);
    scores_of(&f, k, whole);
    free(k);
    f.in.kfac.memory = 4 * (36 * 36 + 6 * 6);    /* as much as the first layer */
    size_t passes = row()->passes(&f.in);
    assert_int_equal(passes, 3);                 /* layers 0; 1; 2 and 3 */
    assert_true(row()->state_size(&f.in) < bytes);
    k = new_state(row(), &f.in);
    for (size_t pass = 0; pass < passes; pass++) {
        uint8_t wanted[8];
        prune_kfac_wanted(&f.in, pass, wanted);
        for (int i = 0; i < MIXED_LAYERS; i++) assert_int_equal(wanted[i], pass == (size_t)(i < 2 ? i : 2));
        assert_int_equal(row()->finish(k, &f.in, parts, &st), PRUNE_FAILED);
        for (int m = 0; m < 3; m++) feed(&f, k, &l[m], 4, true, pass);
    }
    scores_of(&f, k, parts);
    assert_memory_equal(whole, parts, ROW_COUNT * f.units.count * sizeof *whole);
    feed(&f, k, &l[0], 4, true, 0);              /* what is gone cannot go on */
    assert_int_equal(row()->finish(k, &f.in, parts, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "passes"));
    for (int m = 0; m < 3; m++) layers_free(&l[m]);
    free(k);
    free(whole);
    fixture_close(&f);
}

static void the_worker_changes_nothing(void **state)
{
    (void)state;
    struct fixture f;
    open_mixed(&f);
    f.in.kfac.samples = 0;
    size_t bytes = row()->state_size(&f.in);
    void *plain = new_state(row(), &f.in), *worked = new_state(row(), &f.in);
    struct prune_background *b;
    assert_int_equal(prune_background_start(&b, 4096, &st), PRUNE_OK);
    for (uint64_t m = 0; m < 6; m++) {
        struct layers l = layers_make(&f.net, 5, m, false);
        f.in.background = NULL;
        feed(&f, plain, &l, 5, m % 2, 0);
        f.in.background = b;
        feed(&f, worked, &l, 5, m % 2, 0);
        layers_free(&l);                         /* the worker has its own copy */
    }
    prune_background_drain(b);
    assert_memory_equal(plain, worked, bytes);
    prune_background_stop(b);
    free(plain);
    free(worked);
    fixture_close(&f);
}

static void all_rows_have_one_state(void **state)
{
    (void)state;
    struct fixture f;
    open_mixed(&f);
    static const char *const names[] = {"taylor-fo", "nap", "c-obd", "obd-gn", "kron-obd", "c-obs", "taylor-so-gn", "kron-obs", "taylor-so", "obd"};
    enum { COUNT = sizeof names / sizeof *names };
    struct prune_scored items[COUNT] = {{0}};
    for (size_t i = 0; i < COUNT; i++) items[i].criterion = prune_criterion_find(names[i]);
    assert_int_equal(prune_scored_init(items, COUNT, &f.in, &st), PRUNE_OK);
    assert_true(items[1].state == items[2].state && items[2].state == items[4].state && items[4].state == items[5].state && items[5].state == items[7].state);
    assert_true(items[0].state != items[1].state && items[3].state != items[6].state && items[8].state == items[9].state && items[8].state != items[3].state);
    prune_scored_free(&items[1], 1);             /* in any order: the state is the others' still */
    struct layers l = layers_make(&f.net, 4, 1, false);
    feed(&f, items[2].state, &l, 4, true, 0);
    assert_int_equal(prune_scored_finish(&items[4], 2, &f.in, &st), PRUNE_OK);
    prune_scored_free(items, COUNT);
    layers_free(&l);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_follow_the_layer),
        cmocka_unit_test(factors_are_those_of_plain_loops),
        cmocka_unit_test(the_average_is_exponential_over_minibatches),
        cmocka_unit_test(merged_states_are_one_of_both),
        cmocka_unit_test(samples_are_unbiased),
        cmocka_unit_test(the_exact_fisher_matrix),
        cmocka_unit_test(little_memory_means_more_passes_and_the_same_scores),
        cmocka_unit_test(the_worker_changes_nothing),
        cmocka_unit_test(all_rows_have_one_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
