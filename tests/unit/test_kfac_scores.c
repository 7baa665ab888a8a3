/* K-FAC scores against a dense inverse of the damped S (x) A, and numbers that must stay numbers: rank-deficient factors, dead channels, one image, zeros. */
#include "kfac_rig.h"

/* Inverse of (n, n) by Gauss-Jordan with pivots; malloc'd. */
static double *inverse(const double *m, size_t n)
{
    double *a = malloc(2 * n * n * sizeof *a);
    assert_non_null(a);
    double *b = a + n * n;
    for (size_t i = 0; i < n * n; i++) a[i] = m[i], b[i] = i / n == i % n;
    for (size_t k = 0; k < n; k++) {
        size_t p = k;
        for (size_t i = k + 1; i < n; i++)
            if (fabs(a[i * n + k]) > fabs(a[p * n + k])) p = i;
        for (size_t j = 0; j < n; j++) {
            double x = a[k * n + j], y = b[k * n + j];
            a[k * n + j] = a[p * n + j], b[k * n + j] = b[p * n + j];
            a[p * n + j] = x, b[p * n + j] = y;
        }
        double pivot = a[k * n + k];
        assert_true(fabs(pivot) > 1e-300);
        for (size_t j = 0; j < n; j++) a[k * n + j] /= pivot, b[k * n + j] /= pivot;
        for (size_t i = 0; i < n; i++) {
            double x = a[i * n + k];
            for (size_t j = 0; i != k && j < n; j++) a[i * n + j] -= x * a[k * n + j], b[i * n + j] -= x * b[k * n + j];
        }
    }
    memcpy(a, b, n * n * sizeof *a);
    return a;
}

enum { N = 3, D = 5, Q = N * D };
static const struct prune_kfac_shape SHAPE = {.layer = 0, .groups = 1, .n = N, .d = D};

struct made { float a[D * D], s[N * N], w[Q]; struct prune_kfac_factors factors; };

/* Means of products of `rank` random vectors. */
static void make(struct made *m, size_t rank, uint64_t seed)
{
    struct prune_random r = prune_random_make(seed, 3, 0);
    memset(m, 0, sizeof *m);
    for (size_t k = 0; k < rank; k++) {
        double v[D];
        for (size_t i = 0; i < D; i++) v[i] = prune_random_normal(&r);
        for (size_t i = 0; i < D * D; i++) m->a[i] += (float)(v[i / D] * v[i % D] / (double)rank);
        for (size_t i = 0; i < N * N; i++) m->s[i] += (float)(0.01 * v[i / N] * v[(i % N + 1) % D] * (i / N == i % N ? 1 : 0) / (double)rank);
        for (size_t i = 0; i < N; i++) v[i] = prune_random_normal(&r);
        for (size_t i = 0; i < N * N; i++) m->s[i] = (float)((double)m->s[i] + 0.01 * v[i / N] * v[i % N] / (double)rank);
    }
    for (size_t i = 0; i < N; i++) m->s[i * N + i] = fabsf(m->s[i * N + i]) + 0.005f;
    for (size_t i = 0; i < Q; i++) m->w[i] = (float)prune_random_normal(&r);
    m->factors = (struct prune_kfac_factors){SHAPE, m->a, m->s, (double)rank};
}

static void close_enough(double found, double expected, double tolerance, const char *what, size_t i)
{
    if (!(fabs(found - expected) <= tolerance * fabs(expected) + 1e-15)) fail_msg("%s %zu: %.12g, expected %.12g", what, i, found, expected);
}

/* S (x) A, damped or not, element by element from the made factors. */
static double *kronecker(const struct made *m, double a_damping, double s_damping)
{
    double *f = malloc(Q * Q * sizeof *f);
    assert_non_null(f);
    for (size_t p = 0; p < Q; p++)
        for (size_t q = 0; q < Q; q++) {
            size_t i = p / D, j = p % D, k = q / D, l = q % D;
            f[p * Q + q] = ((double)m->s[i * N + k] + (i == k ? s_damping : 0)) * ((double)m->a[j * D + l] + (j == l ? a_damping : 0));
        }
    return f;
}

/* w_i^T A w_i of filter i, A with damping on its diagonal. */
static double form_of(const struct made *m, size_t i, double damping)
{
    double sum = 0;
    for (size_t j = 0; j < D * D; j++)
        sum += (double)m->w[i * D + j / D] * (double)m->w[i * D + j % D] * ((double)m->a[j] + (j / D == j % D ? damping : 0));
    return sum;
}

static void scores_are_those_of_the_dense_matrix(void **state)
{
    (void)state;
    struct made m;
    struct prune_kfac_damped f;
    const double lambda = 0.01;
    make(&m, 9, 1);
    assert_int_equal(prune_kfac_damp(&f, &m.factors, 0, lambda, &st), PRUNE_OK);
    assert_int_equal(prune_kfac_factorise(&f, &st), PRUNE_OK);
    double trace_a = 0, trace_s = 0;
    for (size_t i = 0; i < D; i++) trace_a += (double)m.a[i * D + i];
    for (size_t i = 0; i < N; i++) trace_s += (double)m.s[i * N + i];
    close_enough(f.pi, sqrt(trace_a / D / (trace_s / N)), 1e-12, "pi", 0);
    assert_true(f.added <= 0);
    double a_damping = f.pi * sqrt(lambda), s_damping = sqrt(lambda) / f.pi, *plain = kronecker(&m, 0, 0), *damped = kronecker(&m, a_damping, s_damping), *back = inverse(damped, Q);
    double obd[Q], obs[Q], filters[4][N];
    prune_kfac_weight_scores(&f, PRUNE_KFAC_OBD, m.w, obd);
    prune_kfac_weight_scores(&f, PRUNE_KFAC_OBS, m.w, obs);
    for (int form = 0; form < 4; form++) prune_kfac_filter_scores(&f, (enum prune_kfac_form)form, m.w, filters[form]);
    for (size_t i = 0; i < N; i++) {
        double c_obd = 0, c_obs = 0, s_inverse = back[(i * D) * Q + i * D];
        for (size_t q = i * D; q < (i + 1) * D; q++) {
            double w = (double)m.w[q];
            close_enough(obd[q], w * w * plain[q * Q + q] / 2, 1e-10, "obd", q);
            close_enough(obs[q], w * w / back[q * Q + q] / 2, 1e-10, "obs", q);
            c_obd += w * w * plain[q * Q + q] / 2, c_obs += w * w / back[q * Q + q] / 2;
        }
        close_enough(filters[PRUNE_KFAC_OBD][i], c_obd, 1e-10, "c-obd", i);
        close_enough(filters[PRUNE_KFAC_OBS][i], c_obs, 1e-10, "c-obs", i);
        close_enough(filters[PRUNE_KFAC_KRON_OBD][i], (double)m.s[i * N + i] * form_of(&m, i, 0) / 2, 1e-10, "kron-obd", i);
        /* [S^-1]_ii from the dense inverse, divided by [A^-1]_00 from the factor's own */
        close_enough(filters[PRUNE_KFAC_KRON_OBS][i], form_of(&m, i, a_damping) / (s_inverse / f.a_inverse_diagonal[0]) / 2, 1e-10, "kron-obs", i);
    }
    free(plain);
    free(damped);
    free(back);
    prune_kfac_damped_free(&f);
    assert_null(f.a);
}

/* More dimensions than are solved at once: diagonals of the inverse against solves by the dense inverse. */
static void inverse_diagonals_of_larger_factors(void **state)
{
    (void)state;
    enum { SIDE = 150 };
    float *m = calloc(2 * SIDE * SIDE, sizeof *m);
    assert_non_null(m);
    struct prune_random r = prune_random_make(4, 4, 4);
    for (size_t i = 0; i < SIDE; i++) {
        for (size_t j = 0; j < i; j++) m[i * SIDE + j] = m[j * SIDE + i] = (float)(0.05 * prune_random_normal(&r));
        m[i * SIDE + i] = 2 + (float)i / SIDE;
        m[SIDE * SIDE + i * SIDE + i] = 1;
    }
    const struct prune_kfac_factors factors = {{.groups = 1, .n = SIDE, .d = SIDE}, m, m + SIDE * SIDE, 1};
    struct prune_kfac_damped f;
    assert_int_equal(prune_kfac_damp(&f, &factors, 0, 1e-4, &st), PRUNE_OK);
    assert_int_equal(prune_kfac_factorise(&f, &st), PRUNE_OK);
    double *back = inverse(f.a, SIDE);
    for (size_t i = 0; i < SIDE; i++) {
        close_enough(f.a_inverse_diagonal[i], back[i * SIDE + i], 1e-10, "[A^-1]", i);
        close_enough(f.s_inverse_diagonal[i], 1 / (1 + f.s_damping), 1e-12, "[S^-1]", i);
        for (size_t j = i + 1; j < SIDE; j++) assert_true(!(fabs(f.a_chol[i * SIDE + j]) > 0));
    }
    for (size_t i = 0; i < SIDE * SIDE; i++) {
        double sum = 0;
        for (size_t k = 0; k < SIDE; k++) sum += f.a_chol[i / SIDE * SIDE + k] * f.a_chol[i % SIDE * SIDE + k];
        assert_true(fabs(sum - f.a[i]) < 1e-12);
    }
    free(back);
    free(m);
    prune_kfac_damped_free(&f);
}

/* Not positive definite with its damping: ten times as much, again and again; what was added is said. */
static void an_indefinite_factor_gets_more_damping(void **state)
{
    (void)state;
    struct made m;
    struct prune_kfac_damped f;
    make(&m, 9, 2);
    m.a[0] = -1;                                  /* as rounding would do, but plainer */
    assert_int_equal(prune_kfac_damp(&f, &m.factors, 0, 1e-6, &st), PRUNE_OK);
    double first = f.a_damping;
    assert_int_equal(prune_kfac_factorise(&f, &st), PRUNE_OK);
    double times = log10(f.a_damping / first);
    assert_true(f.added > 0 && f.a_damping > 1 && fabs(times - round(times)) < 1e-9);
    close_enough(f.added, f.a_damping - first, 1e-12, "added", 0);
    prune_kfac_damped_free(&f);
    m.a[0] = NAN;
    assert_int_equal(prune_kfac_damp(&f, &m.factors, 0, 1e-3, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "not finite"));
}

static void zeros_have_lambda_alone(void **state)
{
    (void)state;
    struct made m;
    struct prune_kfac_damped f;
    double scores[Q];
    make(&m, 1, 3);
    memset(m.a, 0, sizeof m.a);
    memset(m.s, 0, sizeof m.s);
    assert_int_equal(prune_kfac_damp(&f, &m.factors, 0, 0.04, &st), PRUNE_OK);
    assert_int_equal(prune_kfac_factorise(&f, &st), PRUNE_OK);
    prune_kfac_weight_scores(&f, PRUNE_KFAC_OBS, m.w, scores);
    for (size_t i = 0; i < Q; i++) close_enough(scores[i], (double)m.w[i] * (double)m.w[i] * 0.04 / 2, 1e-12, "obs", i);
    prune_kfac_weight_scores(&f, PRUNE_KFAC_OBD, m.w, scores);
    for (size_t i = 0; i < Q; i++) assert_true(scores[i] <= 0);
    prune_kfac_damped_free(&f);
}

/* ---- whole criteria ---- */

static const char *const ROWS[] = {"nap", "c-obd", "kron-obd", "c-obs", "kron-obs"};
enum { ROW_COUNT = sizeof ROWS / sizeof *ROWS };

static void feed(struct fixture *f, void *state, struct layers *l, size_t images)
{
    struct prune_signals s = signals_of(l, images, true);
    prune_criterion_find("nap")->accumulate(state, &f->in, &s);
}

/* Scores of units are sums over producers; nap divides each layer's by its sum. */
static void units_add_up_their_filters(void **state)
{
    (void)state;
    static const char cfg[] = "[net]\nbatch=1\nsubdivisions=1\nwidth=4\nheight=4\nchannels=3\n\n"
                              "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=1\npad=1\nactivation=leaky\n\n"
                              "[convolutional]\nfilters=4\nsize=1\nstride=1\npad=0\nactivation=leaky\n\n"
                              "[shortcut]\nfrom=-2\nactivation=linear\n\n[convolutional]\nfilters=3\nsize=1\nstride=1\npad=0\nactivation=linear\n\n[avgpool]\n\n[softmax]\n";
    struct fixture f;
    fixture_open(&f, cfg, wave, 0);
    f.in.kfac.damping = 0.02;
    struct layers l = layers_make(&f.net, 5, 7, false);
    const struct prune_criterion *nap = prune_criterion_find("nap"), *obs = prune_criterion_find("c-obs");
    void *k = new_state(nap, &f.in);
    feed(&f, k, &l, 5);
    double found[2][16], filters[2][4], sums[2] = {0, 0};
    assert_true(f.units.count <= 16);
    assert_int_equal(nap->finish(k, &f.in, found[0], &st), PRUNE_OK);
    assert_int_equal(obs->finish(k, &f.in, found[1], &st), PRUNE_OK);
    for (int layer = 0; layer < 2; layer++) {
        struct prune_kfac_factors factors;
        struct prune_kfac_damped damped;
        float w[4 * 27];
        const struct prune_weights_layout *layout = &f.weights.layout;
        assert_true(prune_kfac_factors(k, &f.in, layer, &factors) && factors.shape.n * factors.shape.d <= sizeof w / sizeof *w);
        prune_kfac_weights(&factors.shape, 0, prune_weights_data(&f.weights, prune_layout_find(layout, layer, PRUNE_WEIGHTS)),
                           prune_weights_data(&f.weights, prune_layout_find(layout, layer, PRUNE_BIASES)), w);
        assert_int_equal(prune_kfac_damp(&damped, &factors, 0, 0.02, &st), PRUNE_OK);
        assert_int_equal(prune_kfac_factorise(&damped, &st), PRUNE_OK);
        prune_kfac_filter_scores(&damped, PRUNE_KFAC_OBS, w, filters[layer]);
        for (int i = 0; i < 4; i++) sums[layer] += filters[layer][i];
        prune_kfac_damped_free(&damped);
    }
    for (int i = 0; i < 4; i++) {
        size_t u = (size_t)f.units.of_channel[0][i];
        assert_int_equal(f.units.of_channel[1][i], u);
        close_enough(found[1][u], filters[0][i] + filters[1][i], 1e-12, "c-obs", u);
        close_enough(found[0][u], filters[0][i] / sums[0] + filters[1][i] / sums[1], 1e-12, "nap", u);
    }
    f.in.kfac.unnormalised = true;
    assert_int_equal(nap->finish(k, &f.in, found[0], &st), PRUNE_OK);
    for (size_t u = 0; u < f.units.count; u++) close_enough(found[0][u], found[1][u], 1e-15, "nap, not normalised", u);
    assert_int_equal(nap->scale, PRUNE_SCALE_MACS);
    free(k);
    layers_free(&l);
    fixture_close(&f);
}

static void numbers_stay_numbers(void **state)
{
    (void)state;
    for (int kind = 0; kind < 4; kind++) {          /* one image; one location of it; dead filters; nothing but zeros */
        struct fixture f;
        fixture_open(&f, MIXED_NET, wave, 0);
        f.in.kfac.samples = kind == 1 ? 1e-9 : 1;
        struct layers l = layers_make(&f.net, 1, 1, false);
        for (size_t i = 0; i < l.count; i++) {
            const struct prune_tensor *g = &l.items[i].gradient;
            size_t map = g->shape[2] * g->shape[3];
            if (kind == 2) memset(g->data, 0, map * sizeof(float));
            if (kind == 3) memset(g->data, 0, map * g->shape[1] * sizeof(float)), memset(l.items[i].input.data, 0, l.items[i].input.shape[1] * sizeof(float));
        }
        void *k = new_state(prune_criterion_find("nap"), &f.in);
        feed(&f, k, &l, 1);
        double *scores = calloc(f.units.count, sizeof *scores);
        assert_non_null(scores);
        for (size_t r = 0; r < ROW_COUNT; r++) {
            if (prune_criterion_find(ROWS[r])->finish(k, &f.in, scores, &st)) fail_msg("%s: %s", ROWS[r], st.message);
            size_t above = 0;
            for (size_t u = 0; u < f.units.count; u++) {
                assert_true(isfinite(scores[u]) && scores[u] >= 0);
                above += scores[u] > 0;
            }
            int dead = f.units.of_channel[0][0];
            if (kind == 2) assert_true(scores[dead] <= 0);   /* never got a gradient */
            if (kind == 3) assert_int_equal(above, 0);
            else assert_true(above > f.units.count / 2);
        }
        free(scores);
        free(k);
        layers_free(&l);
        fixture_close(&f);
    }
}

static void what_cannot_be_scored_is_said(void **state)
{
    (void)state;
    struct fixture f;
    double scores[64];
    char note[256];
    fixture_open(&f, MIXED_NET, wave, 0);
    const struct prune_criterion *nap = prune_criterion_find("nap");
    struct layers l = layers_make(&f.net, 2, 1, false);
    void *k = new_state(nap, &f.in);
    assert_true(f.units.count <= 64);
    assert_int_equal(nap->finish(k, &f.in, scores, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "no statistics of layer 0"));
    feed(&f, k, &l, 2);
    const struct prune_weights *weights = f.in.weights;
    f.in.weights = NULL;
    assert_int_equal(nap->finish(k, &f.in, scores, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "need the weights"));
    f.in.weights = weights;
    assert_int_equal(nap->finish(k, &f.in, scores, &st), PRUNE_OK);
    assert_false(nap->note(k, note, sizeof note));
    ((float *)l.items[1].gradient.data)[0] = NAN;
    feed(&f, k, &l, 2);
    assert_int_equal(nap->finish(k, &f.in, scores, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "layer 1 are not finite"));
    free(k);
    layers_free(&l);
    fixture_close(&f);
}

/* A connected matrix lies transposed in files of older versions: the same weights, the same scores. */
static float transposed_wave(size_t i)
{
    enum { OUTPUTS = 4, INPUTS = 3 };
    return i < OUTPUTS ? wave(i) : wave(OUTPUTS + (i - OUTPUTS) % OUTPUTS * INPUTS + (i - OUTPUTS) / OUTPUTS);
}

static void a_transposed_file_gives_the_same_scores(void **state)
{
    (void)state;
    double scores[2][4];
    for (int transposed = 0; transposed < 2; transposed++) {
        struct fixture f;
        fixture_open(&f, "[net]\nbatch=1\nsubdivisions=1\nheight=1\nwidth=1\nchannels=3\n\n[connected]\noutput=4\nactivation=linear\n\n[connected]\noutput=2\nactivation=linear\n\n[softmax]\n",
                     transposed ? transposed_wave : wave, transposed ? 1001 : 0);
        struct layers l = layers_make(&f.net, 6, 1, false);
        void *k = new_state(prune_criterion_find("kron-obs"), &f.in);
        double all[8];
        feed(&f, k, &l, 6);
        assert_int_equal(prune_criterion_find("kron-obs")->finish(k, &f.in, all, &st), PRUNE_OK);
        for (int i = 0; i < 4; i++) scores[transposed][i] = all[f.units.of_channel[0][i]];
        free(k);
        layers_free(&l);
        fixture_close(&f);
    }
    for (size_t i = 0; i < 4; i++) close_enough(scores[1][i], scores[0][i], 1e-12, "kron-obs", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_are_those_of_the_dense_matrix),
        cmocka_unit_test(inverse_diagonals_of_larger_factors),
        cmocka_unit_test(an_indefinite_factor_gets_more_damping),
        cmocka_unit_test(zeros_have_lambda_alone),
        cmocka_unit_test(units_add_up_their_filters),
        cmocka_unit_test(numbers_stay_numbers),
        cmocka_unit_test(what_cannot_be_scored_is_said),
        cmocka_unit_test(a_transposed_file_gives_the_same_scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
