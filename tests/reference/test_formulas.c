/* Single layers of the reference interpreter against numbers worked out without it, for what neither the host nor OpenCV runs: activations at recorded
 * points (50 digits in decimal arithmetic, rounded to 12), small maps by hand, products by their formula. The gelu is that of AlexeyAB's line, 0.5 x (1 + tanh(0.797885 x +
 * 0.035677 x^3)), not the one with erf. Whole networks: test_equivalences.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "rig.h"

static const double EXACT = 1e-14, RECORDED = 1e-10;

/* ---- activations ---- */

enum { POINTS = 14 };
static const double points[POINTS] = {-30, -7, -3, -2, -1.5, -1, -.5, 0, .25, 1, 2.5, 6, 7, 30};
static const struct { const char *name; double values[POINTS]; } activations[] = {
    {"swish", {-2.80728689065e-12, -0.0063773583608, -0.142277619533, -0.238405844044, -0.27363828571, -0.26894142137, -0.188770334399, 0,
               0.140544125221, 0.73105857863, 2.31035454995, 5.98516426106, 6.99362264164, 30}},
    {"mish", {-2.80728689065e-12, -0.00638026340957, -0.145647461276, -0.252501482696, -0.298099742167, -0.303401461374, -0.220743774652, 0,
              0.169572409664, 0.865098388267, 2.47139230456, 5.99992663407, 6.99998837981, 30}},
    {"hard_mish", {0, 0, 0, 0, -0.375, -0.5, -0.375, 0, 0.25, 1, 2.5, 6, 7, 30}},
    {"relu6", {0, 0, 0, 0, 0, 0, 0, 0, 0.25, 1, 2.5, 6, 6, 6}},
    {"gelu", {0, -2.3160763928e-15, -0.00363746257748, -0.0454025177159, -0.100428557704, -0.158808001093, -0.154285954207, 0,
              0.149675363126, 0.841191998907, 2.48491557561, 5.99999999992, 7, 30}},
    {"revleaky", {-3, -0.7, -0.3, -0.2, -0.15, -0.1, -0.05, 0, 0.25, 1, 2.5, 6, 7, 30}},
    {"leaky", {-3, -0.7, -0.3, -0.2, -0.15, -0.1, -0.05, 0, 0.25, 1, 2.5, 6, 7, 30}},
    {"elu", {-1, -0.999088118034, -0.950212931632, -0.864664716763, -0.776869839852, -0.632120558829, -0.393469340287, 0, 0.25, 1, 2.5, 6, 7, 30}},
    {"logistic", {9.35762296884e-14, 0.000911051194401, 0.0474258731776, 0.119202922022, 0.182425523806, 0.26894142137, 0.377540668798, 0.5,
                  0.562176500886, 0.73105857863, 0.924141819979, 0.997527376843, 0.999088948806, 1}},
};

static void activations_have_the_recorded_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
        char text[256];
        snprintf(text, sizeof text, "[net]\nwidth=%d\nheight=1\nchannels=1\n[activation]\nactivation=%s\n", POINTS, activations[i].name);
        struct rig *r = rig_open(text);
        memcpy(r->image, points, sizeof points);
        rig_run(r);
        rig_expect_map(r, 0, POINTS, 1, 1);
        for (int p = 0; p < POINTS; p++) rig_expect_value(rig_at(r, 0, 0, 0, p), activations[i].values[p], RECORDED, activations[i].name, p);
        rig_close(r);
    }
}

static void every_layer_activates_behind_its_sum(void **state)
{
    static const char *const forms[] = {
        "[convolutional]\nactivation=%s\n",
        "[convolutional]\nactivation=linear\n[activation]\nactivation=linear\n[convolutional]\nactivation=linear\n[shortcut]\nfrom=0,1\nactivation=%s\n",
        "[convolutional]\nactivation=linear\n[implicit]\nfilters=1\n[scale_channels]\nfrom=0\nactivation=%s\n",
        "[convolutional]\nactivation=linear\n[route]\nlayers=-1\n[convolutional]\nactivation=linear\n[sam]\nfrom=0\nactivation=%s\n"};
    (void)state;
    for (size_t f = 0; f < sizeof forms / sizeof *forms; f++)
        for (size_t i = 0; i < sizeof activations / sizeof *activations; i++) {
            char text[512];
            int n = snprintf(text, sizeof text, "[net]\nwidth=%d\nheight=1\nchannels=1\n", POINTS);
            snprintf(text + n, sizeof text - (size_t)n, forms[f], activations[i].name);
            struct rig *r = rig_open(text);
            int end = r->net.count - 1;
            rig_set_factors(r, 0, (const double[]){1});
            if (f == 1) rig_set_factors(r, 2, (const double[]){-1});       /* -x + x + x */
            if (f == 2) *rig_values(r, 1, REF_WEIGHTS, 1) = 1;
            if (f == 3) {
                rig_set_factors(r, 2, (const double[]){0});
                *rig_values(r, 2, REF_BIASES, 1) = 1;
            }
            memcpy(r->image, points, sizeof points);
            rig_run(r);
            for (int p = 0; p < POINTS; p++) rig_expect_value(rig_at(r, end, 0, 0, p), activations[i].values[p], RECORDED, forms[f], p);
            rig_close(r);
        }
}

/* Three channels at three places; the numbers add up to a little less than 1 at each. */
static void channel_norms_have_the_recorded_values(void **state)
{
    static const double in[9] = {1, -1, 6, -2, -3, 4, .5, -.25, 0};
    static const struct { const char *name; double values[9]; } norms[] = {
        {"normalize_channels", {0.666622225185, 0, 0.59999400006, 0, 0, 0.39999600004, 0.333311112592, 0, 0}},
        {"norm_chan", {0.666622225185, 0, 0.59999400006, 0, 0, 0.39999600004, 0.333311112592, 0, 0}},
        {"normalize_channels_softmax", {0.603735486773, 0.307445676848, 0.878878051267, 0.030058219956, 0.0416082477562, 0.118943209999, 0.366184083084, 0.650862502996, 0.0021785208826}},
        {"norm_chan_softmax", {0.603735486773, 0.307445676848, 0.878878051267, 0.030058219956, 0.0416082477562, 0.118943209999, 0.366184083084, 0.650862502996, 0.0021785208826}},
        {"normalize_channels_softmax_maxval", {0.603712447076, 0.30745136044, 0.878801006824, 0.0300570728771, 0.0416090169467, 0.118932783167, 0.366170108802, 0.65087453516, 0.00217832990852}},
        {"norm_chan_softmax_maxval", {0.603712447076, 0.30745136044, 0.878801006824, 0.0300570728771, 0.0416090169467, 0.118932783167, 0.366170108802, 0.65087453516, 0.00217832990852}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
        char text[256];
        snprintf(text, sizeof text, "[net]\nwidth=3\nheight=1\nchannels=3\n[convolutional]\nfilters=3\ngroups=3\nactivation=%s\n", norms[i].name);
        struct rig *r = rig_open(text);
        rig_set_factors(r, 0, (const double[]){1, 1, 1});
        memcpy(r->image, in, sizeof in);
        rig_run(r);
        for (int p = 0; p < 9; p++) rig_expect_value(rig_layer(r, 0)->output[p], norms[i].values[p], RECORDED, norms[i].name, p);
        rig_close(r);
    }
}

/* ---- small maps by hand: the image is 1, 2, 3, ... ---- */

static void maps_worked_out_by_hand(void **state)
{
    static const struct { const char *text; int w, h, c; double values[16]; } maps[] = {
        {"width=4\nheight=2\nchannels=2\n[reorg3d]\nstride=2\n", 2, 1, 8, {1, 3, 9, 11, 2, 4, 10, 12, 5, 7, 13, 15, 6, 8, 14, 16}},
        {"width=4\nheight=2\nchannels=1\n[reorg3d]\nstride=2\n", 2, 1, 4, {1, 3, 2, 4, 5, 7, 6, 8}},
        {"width=3\nheight=3\nchannels=1\n[local_avgpool]\nsize=2\nstride=1\n", 3, 3, 1, {3, 4, 4.5, 6, 7, 7.5, 7.5, 8.5, 9}},
        {"width=3\nheight=3\nchannels=1\n[local_avgpool]\nsize=3\nstride=2\n", 2, 2, 1, {3, 4, 6, 7}},
        {"width=3\nheight=3\nchannels=1\n[local_avgpool]\nsize=2\nstride=1\npadding=0\n", 2, 2, 1, {3, 4, 6, 7}},
        {"width=4\nheight=2\nchannels=1\n[local_avgpool]\nstride_x=2\nstride_y=1\nsize=2\n", 2, 2, 1, {3.5, 5.5, 5.5, 7.5}},
        {"width=2\nheight=1\nchannels=6\n[maxpool]\nmaxpool_depth=1\nout_channels=2\n", 2, 1, 2, {9, 10, 11, 12}},
        {"width=2\nheight=1\nchannels=5\n[maxpool]\nmaxpool_depth=1\nout_channels=2\n", 2, 1, 2, {9, 10, 7, 8}},
        {"width=2\nheight=1\nchannels=3\n[maxpool]\nmaxpool_depth=1\n", 2, 1, 1, {5, 6}},
        {"width=3\nheight=2\nchannels=1\n[maxpool]\nsize=2\nstride_x=1\nstride_y=2\n", 3, 1, 1, {5, 6, 6}},
        {"width=3\nheight=3\nchannels=1\n[maxpool]\nsize=1\nstride=1\nantialiasing=2\n", 2, 2, 1, {3, 4, 6, 7}},
        {"width=3\nheight=3\nchannels=1\n[maxpool]\nsize=1\nstride=2\nantialiasing=1\n", 2, 2, 1, {1.3125, 2.0625, 3.5625, 4.3125}},
        {"width=2\nheight=1\nchannels=4\n[maxpool]\nsize=1\n[route]\nlayers=-1\ngroups=2\ngroup_id=1\n", 2, 1, 2, {5, 6, 7, 8}},
        {"width=2\nheight=1\nchannels=2\n[upsample]\nstride=2\nscale=.5\n", 4, 2, 2, {.5, .5, 1, 1, .5, .5, 1, 1, 1.5, 1.5, 2, 2, 1.5, 1.5, 2, 2}},
        {"width=4\nheight=2\nchannels=1\n[upsample]\nstride=-2\nscale=.5\n", 2, 1, 1, {7, 11}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++) {
        char text[256];
        snprintf(text, sizeof text, "[net]\n%s", maps[i].text);
        struct rig *r = rig_open(text);
        int end = r->net.count - 1;
        for (size_t p = 0; p < r->net.inputs; p++) r->image[p] = (double)p + 1;
        rig_run(r);
        rig_expect_map(r, end, maps[i].w, maps[i].h, maps[i].c);
        for (int p = 0; p < maps[i].w * maps[i].h * maps[i].c; p++) rig_expect_value(rig_layer(r, end)->output[p], maps[i].values[p], EXACT, maps[i].text, p);
        rig_close(r);
    }
}

static void the_mean_of_equal_pixels_is_the_pixel(void **state)
{
    (void)state;
    for (int size = 1; size <= 4; size++) {
        char text[128];
        snprintf(text, sizeof text, "[net]\nwidth=7\nheight=5\nchannels=3\n[local_avgpool]\nsize=%d\nstride=1\n", size);
        struct rig *r = rig_open(text);
        for (size_t p = 0; p < r->net.inputs; p++) r->image[p] = 2.5;
        rig_run(r);
        rig_expect_map(r, 0, 7, 5, 3);
        for (int p = 0; p < 105; p++) rig_expect_value(rig_layer(r, 0)->output[p], 2.5, EXACT, text, p);
        rig_close(r);
    }
}

/* ---- products, constants, flat sums ---- */

#define FIRST "[net]\nwidth=5\nheight=4\nchannels=3\n[convolutional]\nfilters=6\nsize=3\npad=1\nactivation=linear\n"

static void products_follow_their_formula(void **state)
{
    static const struct { const char *text; int by; } products[] = {
        {FIRST "[avgpool]\n[convolutional]\nfilters=6\nactivation=linear\n[scale_channels]\nfrom=0\nactivation=relu\n", 0},
        {FIRST "[convolutional]\nfilters=1\nactivation=linear\n[scale_channels]\nfrom=0\nscale_wh=1\nactivation=relu\n", 1},
        {FIRST "[convolutional]\nfilters=6\nactivation=linear\n[sam]\nfrom=-2\nactivation=relu\n", 2}};
    (void)state;
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
        struct rig *r = rig_open(products[i].text);
        int end = r->net.count - 1, positive = 0;
        rig_run(r);
        rig_expect_map(r, end, 5, 4, 6);
        for (int p = 0; p < 120; p++) {
            int c = p / 20, y = p / 5 % 4, x = p % 5, by = products[i].by;
            double v = rig_at(r, 0, c, y, x) * rig_at(r, end - 1, by == 1 ? 0 : c, by ? y : 0, by ? x : 0);
            positive += v > 0;
            rig_expect_value(rig_at(r, end, c, y, x), v > 0 ? v : 0, EXACT, products[i].text, p);
        }
        assert_in_range(positive, 10, 110);
        rig_close(r);
    }
}

static void a_constant_does_not_read_the_image(void **state)
{
    (void)state;
    struct rig *r = rig_open(FIRST "[implicit]\nfilters=3\natoms=4\n[convolutional]\nfilters=2\nactivation=linear\n");
    float *weights = rig_values(r, 1, REF_WEIGHTS, 12);
    for (int i = 0; i < 12; i++) weights[i] = (float)(i - 5);
    for (int turn = 0; turn < 2; turn++) {
        rig_run(r);
        rig_expect_map(r, 1, 1, 4, 3);
        for (int i = 0; i < 12; i++) rig_expect_value(rig_at(r, 1, i / 4, i % 4, 0), i - 5, 0, "implicit", i);
        for (size_t i = 0; i < r->net.inputs; i++) r->image[i] += 1;
    }
    assert_int_equal(rig_stored(r), 6 + 6 * 3 * 9 + 12 + 2 + 2 * 3);
    rig_close(r);
}

/* AlexeyAB's shortcut between maps of other sizes: flat vectors, as far as the source reaches. */
static void a_shortcut_between_other_sizes_adds_flat_vectors(void **state)
{
    static const struct { const char *text; int reach; } cases[] = {
        {"[net]\nwidth=6\nheight=4\nchannels=3\n[convolutional]\nfilters=4\nstride=2\nactivation=mish\n[route]\nlayers=0\n[upsample]\nstride=2\n[shortcut]\nfrom=0\nactivation=linear\n", 24},
        {"[net]\nwidth=6\nheight=4\nchannels=3\n[convolutional]\nfilters=4\nactivation=mish\n[route]\nlayers=0\n[maxpool]\nsize=2\nstride=2\n[shortcut]\nfrom=0\nactivation=linear\n", 24}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig *r = rig_open(cases[i].text);
        rig_run(r);
        int outputs = (int)rig_layer(r, 3)->outputs;
        assert_int_equal(outputs, i ? 24 : 96);
        for (int p = 0; p < outputs; p++)
            rig_expect_value(rig_layer(r, 3)->output[p], rig_layer(r, 2)->output[p] + (p < cases[i].reach ? rig_layer(r, 0)->output[p] : 0), EXACT, cases[i].text, p);
        rig_close(r);
    }
}

/* Biases first in AlexeyAB's files, none in pjreddie's; (x - m) / (sqrt(v) + 1e-6) * s + b. */
static void batchnorm_follows_its_formula_and_file(void **state)
{
    (void)state;
    for (int theirs = 0; theirs < 2; theirs++) {
        static const float values[4] = {10, 3, 2, 16};         /* b s m v */
        char text[256];
        size_t size = 0;
        snprintf(text, sizeof text, "[net]\nwidth=2\nheight=1\nchannels=1\n[batchnorm]\n[activation]\nactivation=%s\n", theirs ? "hard_mish" : "linear");
        struct rig *r = rig_open(text);
        for (int role = theirs ? REF_BIASES : REF_SCALES; role <= REF_VARIANCES; role++) *rig_values(r, 0, role, 1) = values[role];
        r->image[0] = 6;
        r->image[1] = 10;
        rig_run(r);
        for (int p = 0; p < 2; p++) rig_expect_value(rig_at(r, 1, 0, 0, p), 12. * (1 + p) / 4.000001 + (theirs ? 10 : 0), EXACT * 100, text, p);
        char *bytes = ref_weights_bytes(&r->net, 2, &size);
        assert_int_equal(size, 20 + 4 * (theirs ? 4 : 3));
        assert_memory_equal(bytes + 20, values + (theirs ? 0 : 1), size - 20);
        free(bytes);
        rig_close(r);
    }
}

/* A cfg is AlexeyAB's where a key of theirs means something, and where [route] has one at all. What follows: flat sums, biases of [batchnorm]. */
static void keys_that_say_whose_cfg_it_is(void **state)
{
    static const struct { const char *text; bool theirs; } cases[] = {
        {"[convolutional]\nstride=2\nstride_x=2\n", false}, {"[convolutional]\nstride_y=2\n", true}, {"[maxpool]\nstride=2\nstride_x=1\n", true},
        {"[convolutional]\nsize=1\ndilation=2\n", false}, {"[convolutional]\nsize=3\npad=1\ndilation=2\n", true},
        {"[convolutional]\nantialiasing=0\n", false}, {"[convolutional]\nantialiasing=1\n", true}, {"[maxpool]\nantialiasing=2\nsize=2\n", true},
        {"[maxpool]\nmaxpool_depth=0\nout_channels=2\n", false}, {"[maxpool]\nmaxpool_depth=1\n", true},
        {"[convolutional]\ncbn=0\n", false}, {"[convolutional]\ncbn=1\n", true}, {"[convolutional]\nbatch_normalize=2\n", false},
        {"[convolutional]\n[convolutional]\nshare_index=-1\n", true}, {"[upsample]\nscale=2\n", false},
        {"[route]\nlayers=0\n", false}, {"[route]\nlayers=0\ngroups=1\n", true}, {"[route]\nlayers=0\ngroup_id=0\n", true},
        {"[shortcut]\nfrom=0\n", false}, {"[shortcut]\nlayers=0\n", true}, {"[shortcut]\nfrom=0,0\n", true},
        {"[shortcut]\nfrom=0\nweights_type=none\nweights_normalization=softmax\n", false}, {"[shortcut]\nfrom=0\nweights_type=per_feature\n", true},
        {"[convolutional]\nactivation=selu\n", false}, {"[convolutional]\nactivation=relu6\n", true}, {"[empty]\n", true},
        {"[crnn]\noutput=2\nhidden=2\npad=1\n", true}, {"[crnn]\noutput_filters=2\nhidden_filters=2\n", false}, {"[crnn]\n", false}, {"[sam]\nfrom=0\n", true}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        snprintf(text, sizeof text, "[net]\nwidth=4\nheight=4\nchannels=1\n[convolutional]\n%s", cases[i].text);
        struct rig *r = rig_open(text);
        if (r->net.alexeyab != cases[i].theirs) fail_msg("%s is %sAlexeyAB's", cases[i].text, cases[i].theirs ? "" : "not ");
        rig_close(r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_have_the_recorded_values),
        cmocka_unit_test(every_layer_activates_behind_its_sum),
        cmocka_unit_test(channel_norms_have_the_recorded_values),
        cmocka_unit_test(maps_worked_out_by_hand),
        cmocka_unit_test(the_mean_of_equal_pixels_is_the_pixel),
        cmocka_unit_test(products_follow_their_formula),
        cmocka_unit_test(a_constant_does_not_read_the_image),
        cmocka_unit_test(a_shortcut_between_other_sizes_adds_flat_vectors),
        cmocka_unit_test(batchnorm_follows_its_formula_and_file),
        cmocka_unit_test(keys_that_say_whose_cfg_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
