/* HRank: maps whose rank is known, because they are sums of so many outer products, or diagonals. */
#include "criteria_rig.h"

#include <lapacke.h>

#include "../../plugin/base/random.h"
#include "../../plugin/score/matrix_rank.h"

#define NET(h, w) "[net]\nheight=" #h "\nwidth=" #w "\nchannels=1\n"
#define CONV "[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation="
static const char PLAIN[] = NET(4, 4) CONV "relu\n" CONV "relu\n" "[connected]\noutput=2\nactivation=relu\n[connected]\noutput=2\nactivation=linear\n[softmax]\n";
static const char RESIDUAL[] = NET(4, 4) CONV "relu\n" CONV "linear\n" "[shortcut]\nfrom=-2\nactivation=relu\n" CONV "linear\n" "[avgpool]\n[softmax]\n";
static const char LARGE[] = NET(37, 21) CONV "relu\n" CONV "linear\n" "[avgpool]\n[softmax]\n";

enum { MOST_LAYERS = 5 };
struct maps { float *values[MOST_LAYERS]; struct prune_map_signal items[MOST_LAYERS]; size_t count, images; };

/* Zeros for every layer with channels up to `layers`. */
static void maps_open(struct maps *m, const struct fixture *f, size_t layers, size_t images)
{
    *m = (struct maps){.count = layers, .images = images};
    for (size_t l = 0; l < layers; l++) {
        const struct prune_layer *layer = &f->net.layers[l];
        size_t h = (size_t)layer->out_h, w = (size_t)layer->out_w, c = (size_t)layer->out_c;
        m->values[l] = calloc(images * c * h * w, sizeof(float));
        assert_non_null(m->values[l]);
        m->items[l] = (struct prune_map_signal){(int)l, {.data = m->values[l], .type = PRUNE_F32, .rank = 4, .shape = {images, c, h, w},
                                                .strides = {(ptrdiff_t)(c * h * w), (ptrdiff_t)(h * w), (ptrdiff_t)w, 1}}};
    }
}

static void maps_close(struct maps *m)
{
    for (size_t l = 0; l < m->count; l++) free(m->values[l]);
}

static float *map(const struct maps *m, size_t layer, size_t image, size_t channel)
{
    const struct prune_tensor *t = &m->items[layer].map;
    return m->values[layer] + (image * t->shape[1] + channel) * t->shape[2] * t->shape[3];
}

static void score(const struct fixture *f, const struct maps *m, double *scores)
{
    const struct prune_criterion *c = prune_criterion_find("hrank");
    void *s = new_state(c, &f->in);
    struct prune_signals signals = {.images = m->images, .units = f->units.count, .maps = m->items, .map_count = m->count};
    c->accumulate(s, &f->in, &signals);
    if (c->finish(s, &f->in, scores, &st)) fail_msg("%s", st.message);
    free(s);
}

static void diagonal(float *x, float a, float b, float c, float d) { x[0] = a, x[5] = b, x[10] = c, x[15] = d; }

static void ranks_of_small_maps(void **state)
{
    (void)state;
    struct fixture f;
    struct maps m;
    double scores[8];
    fixture_open(&f, PLAIN, counting, 0);
    assert_int_equal(f.units.count, 8);
    maps_open(&m, &f, 4, 2);
    diagonal(map(&m, 0, 0, 0), 1, 2, 3, 4);                                     /* 4, and 0 in the second image */
    for (int i = 0; i < 16; i++) map(&m, 0, 0, 1)[i] = (float)(i / 4 + 1);       /* equal columns: 1 */
    for (int i = 0; i < 16; i++) map(&m, 0, 1, 1)[i] = (float)i;                 /* 4 y + x: 2 */
    diagonal(map(&m, 1, 0, 0), 1, 0, 0, 7);                                     /* 2 */
    map(&m, 1, 1, 0)[6] = 3;                                                    /* 1 */
    for (int i = 0; i < 4; i++) map(&m, 1, 0, 1)[4 + i] = 1;                     /* one row: 1 */
    for (int i = 0; i < 4; i++) map(&m, 1, 1, 1)[4 * i + 2] = 1;                 /* one column: 1 */
    map(&m, 2, 0, 0)[0] = 0.5f;                                                 /* 1 x 1 maps: 1, 0 */
    score(&f, &m, scores);
    static const double expected[] = {2, 1.5, 1.5, 1, 0.5, 0, 0, 0};
    for (size_t u = 0; u < 8; u++) assert_true(scores[u] == expected[u]);
    maps_close(&m);
    fixture_close(&f);
}

/* Tolerance: max(h, w) 2^-23 = 4.8e-7 of the largest singular value. A Gram matrix in float32 would lose both. */
static void what_is_below_the_tolerance_does_not_count(void **state)
{
    (void)state;
    struct fixture f;
    struct maps m;
    double scores[8];
    fixture_open(&f, PLAIN, counting, 0);
    maps_open(&m, &f, 4, 1);
    diagonal(map(&m, 0, 0, 0), 1000, 1000, 1, 4.9e-4f);
    diagonal(map(&m, 0, 0, 1), 1000, 1000, 1, 4.7e-4f);
    diagonal(map(&m, 1, 0, 0), 1e-30f, 1e-30f, 1e-30f, 1e-30f);
    diagonal(map(&m, 1, 0, 1), 1e30f, 1e30f, 1e30f, 1);
    score(&f, &m, scores);
    assert_true(scores[0] == 4 && scores[1] == 3 && scores[2] == 4 && scores[3] == 3);
    maps_close(&m);
    fixture_close(&f);
}

/* Whole numbers, so that the rank of a sum of k outer products is k without rounding. */
static void fill_rank(float *x, size_t h, size_t w, size_t rank, uint64_t seed, bool with_zeros)
{
    struct prune_random r = prune_random_make(seed, 0, 0);
    for (size_t k = 0; k < rank; k++) {
        int column[64], row[64];
        for (size_t y = 0; y < h; y++) column[y] = with_zeros && y % 4 == 1 ? 0 : (int)prune_random_below(&r, 19) - 9;
        for (size_t i = 0; i < w; i++) row[i] = with_zeros && i % 5 == 2 ? 0 : (int)prune_random_below(&r, 19) - 9;
        for (size_t y = 0; y < h; y++)
            for (size_t i = 0; i < w; i++) x[y * w + i] += (float)(column[y] * row[i]);
    }
}

static void sums_of_outer_products_have_their_rank(void **state)
{
    (void)state;
    struct fixture f;
    struct maps m;
    double scores[4];
    fixture_open(&f, LARGE, counting, 0);
    assert_int_equal(f.units.count, 4);
    for (size_t rank = 1; rank <= 25; rank++) {
        maps_open(&m, &f, 2, 3);
        for (size_t b = 0; b < 3; b++) {
            fill_rank(map(&m, 0, b, 0), 37, 21, rank, 10 * rank + b, false);
            fill_rank(map(&m, 0, b, 1), 37, 21, rank, 10 * rank + b, true);
        }
        score(&f, &m, scores);
        assert_true(scores[0] == (rank < 21 ? (double)rank : 21));
        assert_true(scores[1] == (rank < 17 ? (double)rank : 17));              /* 4 columns are zeros */
        assert_true(scores[2] == 0 && scores[3] == 0);
        maps_close(&m);
    }
    fixture_close(&f);
}

static size_t singular_values_above(const float *x, size_t h, size_t w)
{
    double a[64 * 64], s[64], work[4096];
    lapack_int whole[8 * 64];
    size_t rank = 0, n = h < w ? h : w;
    for (size_t i = 0; i < h * w; i++) a[i] = (double)x[i];
    assert_int_equal(LAPACKE_dgesdd_work(LAPACK_COL_MAJOR, 'N', (lapack_int)w, (lapack_int)h, a, (lapack_int)w, s, NULL, 1, NULL, 1, work, 4096, whole), 0);
    while (rank < n && s[rank] > s[0] * (double)(h > w ? h : w) * 0x1p-23) rank++;
    return rank;
}

/* What looks like a feature map: some patterns, noise from none to much (down to around the tolerance), and mostly cut off by relu. */
static void shortcuts_give_the_rank_of_the_singular_values(void **state)
{
    (void)state;
    struct prune_rank_room *room = prune_rank_room_make(64 * 64, 64);
    size_t full = 0, deficient = 0;
    assert_non_null(room);
    for (uint64_t trial = 0; trial < 3000; trial++) {
        struct prune_random r = prune_random_make(trial, 1, 0);
        size_t h = 2 + prune_random_below(&r, 40), w = 2 + prune_random_below(&r, 40), patterns = 1 + prune_random_below(&r, 12);
        double noise = prune_random_below(&r, 3) ? pow(10, -prune_random_range(&r, 0, 9)) : 0, cut = prune_random_below(&r, 2) ? prune_random_range(&r, -3, 3) : -INFINITY;
        float x[64 * 64];
        for (size_t i = 0; i < h * w; i++) {
            double value = noise * prune_random_normal(&r);
            for (size_t k = 0; k < patterns; k++) value += sin((double)(k * (i / w) + trial)) * cos((double)(k * (i % w)) + 0.3);
            x[i] = value > cut ? (float)value : 0;
        }
        size_t expected = singular_values_above(x, h, w);
        double found = prune_matrix_rank(x, h, w, (ptrdiff_t)w, 1, room);
        if (found != (double)expected) fail_msg("trial %d: %g, singular values say %zu", (int)trial, found, expected);
        if (expected == (h < w ? h : w)) full++;
        else deficient++;
    }
    assert_true(full > 500 && deficient > 500);
    prune_rank_room_free(room);
}

static void strides_are_followed_and_minibatches_add_up(void **state)
{
    (void)state;
    struct fixture f;
    struct maps m;
    double scores[4];
    fixture_open(&f, LARGE, counting, 0);
    maps_open(&m, &f, 2, 1);
    const struct prune_criterion *c = prune_criterion_find("hrank");
    void *s = new_state(c, &f.in);
    /* channels last: value (y, x) of channel k at (y 21 + x) 2 + k */
    float plane[2][37 * 21] = {{0}};
    fill_rank(plane[0], 37, 21, 5, 1, false);
    fill_rank(plane[1], 37, 21, 9, 2, false);
    for (size_t i = 0; i < 37 * 21; i++)
        for (size_t k = 0; k < 2; k++) m.values[0][2 * i + k] = plane[k][i];
    m.items[0].map.strides[1] = 1;
    m.items[0].map.strides[2] = 42;
    m.items[0].map.strides[3] = 2;
    struct prune_signals signals = {.images = 1, .units = 4, .maps = m.items, .map_count = 2};
    c->accumulate(s, &f.in, &signals);
    memset(m.values[0], 0, sizeof plane);
    c->accumulate(s, &f.in, &signals);
    assert_int_equal(c->finish(s, &f.in, scores, &st), PRUNE_OK);
    assert_true(scores[0] == 2.5 && scores[1] == 4.5);
    free(s);
    maps_close(&m);
    fixture_close(&f);
}

static void producers_are_averaged(void **state)
{
    (void)state;
    struct fixture f;
    struct maps m;
    double scores[4];
    fixture_open(&f, RESIDUAL, counting, 0);
    assert_int_equal(f.units.count, 4);
    maps_open(&m, &f, 4, 1);
    diagonal(map(&m, 0, 0, 0), 1, 1, 1, 1);
    diagonal(map(&m, 1, 0, 0), 0, 0, 5, 0);
    score(&f, &m, scores);
    assert_true(scores[0] == 2.5 && scores[1] == 0);
    maps_close(&m);
    fixture_close(&f);
}

static void missing_maps_and_values_that_are_not_finite_are_errors(void **state)
{
    (void)state;
    struct fixture f;
    struct maps m;
    double scores[8];
    fixture_open(&f, PLAIN, counting, 0);
    maps_open(&m, &f, 4, 1);
    const struct prune_criterion *c = prune_criterion_find("hrank");
    void *s = new_state(c, &f.in);
    struct prune_signals signals = {.images = 1, .units = 8, .maps = m.items + 1, .map_count = 3};
    c->accumulate(s, &f.in, &signals);
    assert_int_equal(c->finish(s, &f.in, scores, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "no feature-map ranks were delivered: no image was scored, or the host lacks this signal");
    signals = (struct prune_signals){.images = 1, .units = 8, .maps = m.items, .map_count = 4};
    map(&m, 1, 0, 1)[3] = INFINITY;
    c->accumulate(s, &f.in, &signals);
    assert_int_equal(c->finish(s, &f.in, scores, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "feature-map rank of layer 1, channel 1 is not finite; check the weights with 'darknet prune evaluate'");
    free(s);
    maps_close(&m);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_of_small_maps),
        cmocka_unit_test(what_is_below_the_tolerance_does_not_count),
        cmocka_unit_test(sums_of_outer_products_have_their_rank),
        cmocka_unit_test(shortcuts_give_the_rank_of_the_singular_values),
        cmocka_unit_test(strides_are_followed_and_minibatches_add_up),
        cmocka_unit_test(producers_are_averaged),
        cmocka_unit_test(missing_maps_and_values_that_are_not_finite_are_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
