/* The reference interpreter where no other program checks it: what only AlexeyAB's line knows must equal a network of plain layers (convolutions, routes,
 * shortcuts of one source: those are compared with the host and with OpenCV) whose weights say the same. Sizes are numbers worked out by hand;
 * rig.h compares every map with the program's reader as well. Single layers by formula: test_formulas.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "rig.h"

#define NET "[net]\nwidth=11\nheight=9\nchannels=4\n"
#define SQUARE "[net]\nwidth=6\nheight=6\nchannels=3\n"
#define CONV(n, rest) "[convolutional]\nfilters=" #n "\n" rest "\n"
#define FIRST CONV(6, "size=3\npad=1\nbatch_normalize=1\nactivation=leaky")
#define ROUTE(list) "[route]\nlayers=" list "\n"
#define SCALE(n) "[convolutional]\nfilters=" #n "\ngroups=" #n "\nactivation=linear\n"     /* one factor per channel */
static const double EXACT = 1e-14, FLOATS = 1e-6;       /* the same products in another order; factors rounded to float */

static void close_both(struct rig *a, struct rig *b)
{
    rig_close(a);
    rig_close(b);
}

/* ---- convolutions ---- */

/* Kernels of side k become kernels of side d (k - 1) + 1 with zeros between. */
static void spread(struct rig *to, struct rig *from, int layer, int kernels, int k, int d)
{
    int wide = d * (k - 1) + 1;
    const float *in = rig_values(from, layer, REF_WEIGHTS, (size_t)(kernels * k * k));
    float *out = rig_values(to, layer, REF_WEIGHTS, (size_t)(kernels * wide * wide));
    memset(out, 0, (size_t)(kernels * wide * wide) * sizeof *out);
    for (int m = 0; m < kernels; m++)
        for (int i = 0; i < k * k; i++) out[(m * wide + i / k * d) * wide + i % k * d] = in[m * k * k + i];
    for (int role = REF_BIASES; role < REF_WEIGHTS; role++) memcpy(rig_values(to, layer, role, 6), rig_values(from, layer, role, 6), 6 * sizeof(float));
}

static void a_dilated_kernel_is_a_larger_one_with_zeros(void **state)
{
    static const struct { int k, d, stride, w, h; } cases[] = {{3, 2, 1, 11, 9}, {3, 3, 2, 6, 5}, {5, 2, 1, 11, 9}, {3, 4, 3, 4, 3}, {1, 3, 2, 7, 6}};      /* 1x1 with padding 1: dilation is ignored */
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char a_text[512], b_text[512];
        int k = cases[i].k, wide = k > 1 ? cases[i].d * (k - 1) + 1 : 1;
        const char *form = NET "[convolutional]\nfilters=6\ngroups=2\nsize=%d\nstride=%d\npadding=%d\nbatch_normalize=1\nactivation=leaky\ndilation=%d\n";
        snprintf(a_text, sizeof a_text, form, k, cases[i].stride, k > 1 ? k / 2 : 1, cases[i].d);
        snprintf(b_text, sizeof b_text, form, wide, cases[i].stride, k > 1 ? wide / 2 : 1, 1);
        struct rig *a = rig_open(a_text), *b = rig_open(b_text);
        spread(b, a, 0, 6 * 2, k, k > 1 ? cases[i].d : 1);
        rig_run(a);
        rig_run(b);
        rig_expect_map(a, 0, cases[i].w, cases[i].h, 6);
        rig_expect_same(a, 0, b, 0, EXACT);
        close_both(a, b);
    }
}

static const double BLUR3[] = {.0625, .125, .0625, .125, .25, .125, .0625, .125, .0625}, BLUR2[] = {.25, .25, .25, .25};

/* `sharp`: the layer without strides; mode 1 or 2; the map behind the blur. */
static void check_antialiasing(const char *sharp, const char *strides, int mode, int w, int h)
{
    char a_text[1024], b_text[1024];
    snprintf(a_text, sizeof a_text, NET FIRST "%santialiasing=%d\n%s" CONV(5, "size=1\nactivation=leaky"), sharp, mode, strides);
    snprintf(b_text, sizeof b_text, NET FIRST "%sstride=1\n[convolutional]\nfilters=6\ngroups=6\nsize=%d\npadding=%d\nactivation=linear\n%s" CONV(5, "size=1\nactivation=leaky"),
             sharp, mode == 1 ? 3 : 2, mode == 1, strides);
    struct rig *a = rig_open(a_text), *b = rig_open(b_text);
    rig_copy(b, 0, a, 0);
    if (rig_layer(a, 1)->part_count) rig_copy(b, 1, a, 1);
    rig_set_filters(b, 2, mode == 1 ? BLUR3 : BLUR2, mode == 1 ? 9 : 4);
    rig_copy(b, 3, a, 2);
    rig_run(a);
    rig_run(b);
    rig_expect_map(a, 1, w, h, 6);
    rig_expect_same(a, 1, b, 2, EXACT);
    rig_expect_same(a, 2, b, 3, EXACT);
    close_both(a, b);
}

static void antialiasing_is_stride_one_and_a_blurring_convolution(void **state)
{
    static const char conv[] = "[convolutional]\nfilters=6\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n", pool2[] = "[maxpool]\nsize=2\n", pool3[] = "[maxpool]\nsize=3\npadding=0\n";
    (void)state;
    check_antialiasing(conv, "stride=2\n", 1, 6, 5);
    check_antialiasing(conv, "stride=2\n", 2, 5, 4);
    check_antialiasing(conv, "stride_x=3\nstride_y=2\n", 1, 4, 5);
    check_antialiasing(conv, "stride_y=3\n", 2, 10, 3);
    check_antialiasing(pool2, "stride=2\n", 1, 6, 5);
    check_antialiasing(pool2, "stride_x=1\nstride_y=3\n", 2, 10, 3);
    check_antialiasing(pool3, "stride=2\n", 1, 5, 4);
    check_antialiasing(pool3, "stride_x=2\n", 2, 4, 6);
}

/* Every stride_x-th column and stride_y-th row of what stride 1 gives. */
static void strides_of_their_own_pick_pixels(void **state)
{
    static const char *const layers[] = {"[convolutional]\nfilters=6\nsize=3\npad=1\ngroups=2\nbatch_normalize=1\nactivation=leaky\n",
                                         "[maxpool]\nsize=2\n", "[maxpool]\nsize=3\n", "[local_avgpool]\nsize=3\n", "[local_avgpool]\nsize=2\n"};
    static const struct { const char *keys; int x, y, w, h; } cases[] = {
        {"stride_x=2\nstride_y=3\n", 2, 3, 6, 3}, {"stride=2\nstride_x=3\n", 3, 2, 4, 5}, {"stride=3\nstride_y=1\n", 3, 1, 4, 9}, {"stride_y=4\n", 1, 4, 11, 3}, {"stride=2\n", 2, 2, 6, 5}};
    (void)state;
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
            char a_text[512], b_text[512];
            snprintf(a_text, sizeof a_text, NET FIRST "%s%s", layers[i], cases[k].keys);
            snprintf(b_text, sizeof b_text, NET FIRST "%sstride=1\n", layers[i]);
            struct rig *a = rig_open(a_text), *b = rig_open(b_text);
            rig_copy(b, 0, a, 0);
            if (rig_layer(a, 1)->part_count) rig_copy(b, 1, a, 1);
            rig_run(a);
            rig_run(b);
            rig_expect_map(a, 1, cases[k].w, cases[k].h, 6);
            rig_expect_map(b, 1, 11, 9, 6);
            for (int p = 0; p < 6 * cases[k].w * cases[k].h; p++) {
                int c = p / cases[k].w / cases[k].h, y = p / cases[k].w % cases[k].h, x = p % cases[k].w;
                rig_expect_value(rig_at(a, 1, c, y, x), rig_at(b, 1, c, y * cases[k].y, x * cases[k].x), EXACT, a_text, p);
            }
            close_both(a, b);
        }
}

static void shared_values_are_a_copy(void **state)
{
    static const char form[] = NET FIRST CONV(6, "size=3\npad=1\n%s\nactivation=relu") CONV(6, "size=3\npad=1\n%s\nactivation=leaky")
                               "[convolutional]\nfilters=6\nsize=3\npad=1\n%s\nstride=2\nactivation=swish\n%s[convolutional]\nfilters=6\nsize=3\npad=1\n%s\ndilation=2\nactivation=linear\n%s"
                               "[convolutional]\nfilters=6\nsize=3\npad=1\n%s\nactivation=mish\n%s";
    static const int owner[] = {0, 1, 2, 1, 2, 2};      /* of each layer's values; the last shares with a sharing one */
    (void)state;
    for (int norm = 0; norm < 2; norm++) {
        char a_text[1024], b_text[1024];
        const char *n = norm ? "batch_normalize=1" : "";
        snprintf(a_text, sizeof a_text, form, n, n, n, "share_index=1\n", n, "share_index=-2\n", n, "share_index=-1\n");
        snprintf(b_text, sizeof b_text, form, n, n, n, "", n, "", n, "");
        struct rig *a = rig_open(a_text), *b = rig_open(b_text);
        for (int i = 0; i <= 5; i++) rig_copy(b, i, a, owner[i]);
        rig_run(a);
        rig_run(b);
        rig_expect_map(a, 5, 6, 5, 6);
        for (int i = 1; i <= 5; i++) rig_expect_same(a, i, b, i, 0);
        assert_int_equal(rig_stored(a), 240 + 2 * (norm ? 348 : 330));
        assert_int_equal(rig_stored(b), 240 + 5 * (norm ? 348 : 330));
        close_both(a, b);
    }
}

static void other_words_for_batch_normalize(void **state)
{
    static const char *const keys[] = {"batch_normalize=2", "cbn=1"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        char text[512];
        snprintf(text, sizeof text, NET CONV(6, "size=3\npad=1\nstride=2\n%s\nactivation=mish"), keys[i]);
        struct rig *a = rig_open(text), *b = rig_open(NET CONV(6, "size=3\npad=1\nstride=2\nbatch_normalize=1\nactivation=mish"));
        rig_copy(b, 0, a, 0);
        rig_run(a);
        rig_run(b);
        rig_expect_map(a, 0, 6, 5, 6);
        rig_expect_same(a, 0, b, 0, 0);
        close_both(a, b);
    }
}

/* ---- shortcuts ---- */

/* Layers 0, 1, 3 and 5 with 6, 4, 8 and 6 channels. */
#define BRANCHES NET FIRST CONV(4, "size=1\nactivation=leaky") ROUTE("0") CONV(8, "size=1\nactivation=linear") ROUTE("0") CONV(6, "size=3\npad=1\nactivation=leaky")

static void copy_branches(struct rig *to, struct rig *from)
{
    static const int convolutions[] = {0, 1, 3, 5};
    for (int i = 0; i < 4; i++) rig_copy(to, convolutions[i], from, convolutions[i]);
}

enum norm { PLAIN, RELU, SOFTMAX };

/* What the addends of channel c are multiplied with, by docs/dialects.md; W: row per source, `row` numbers in each. */
static void factors(const float *W, int row, enum norm norm, int c, double out[4])
{
    double sum = .0001, top = -INFINITY, w[4];
    for (int k = 0; k < 4; k++) {
        w[k] = (double)W[k * row + (row > 1 ? c : 0)];
        if (w[k] > top) top = w[k];
    }
    for (int k = 0; k < 4; k++) sum += norm == SOFTMAX ? exp(w[k] - top) : w[k] > 0 ? w[k] : 0;
    for (int k = 0; k < 4; k++) out[k] = norm == PLAIN ? w[k] : norm == SOFTMAX ? exp(w[k] - top) / sum : (w[k] > 0 ? w[k] : 0) / sum;
}

/* Sources 5 (before), 1, 3, 0 against a depthwise 1x1 convolution of each and three plain shortcuts. */
static void check_weights(const char *type, bool per_channel, const char *word, enum norm norm)
{
    static const int widths[] = {6, 4, 8, 6}, layers[] = {6, 8, 10, 12};
    char text[1024];
    double all[4][8] = {{0}}, one[4];
    snprintf(text, sizeof text, BRANCHES "[shortcut]\nfrom=1,3,-6\nweights_type=%s\nweights_normalization=%s\nactivation=leaky\n", type, word);
    struct rig *a = rig_open(text), *b = rig_open(BRANCHES SCALE(6) ROUTE("1") SCALE(4) ROUTE("3") SCALE(8) ROUTE("0") SCALE(6) ROUTE("6")
                                                  "[shortcut]\nfrom=8\nactivation=linear\n[shortcut]\nfrom=10\nactivation=linear\n[shortcut]\nfrom=12\nactivation=leaky\n");
    copy_branches(b, a);
    const float *W = rig_values(a, 6, REF_WEIGHTS, per_channel ? 24 : 4);
    for (int c = 0; c < 8; c++) {
        factors(W, per_channel ? 6 : 1, norm, c < 6 ? c : 0, one);
        for (int k = 0; k < 4; k++) all[k][c] = one[k];
    }
    for (int k = 0; k < 4; k++) {
        assert_int_equal(rig_layer(b, layers[k])->out_c, widths[k]);
        rig_set_factors(b, layers[k], all[k]);
    }
    rig_run(a);
    rig_run(b);
    rig_expect_map(a, 6, 11, 9, 6);
    rig_expect_same(a, 6, b, 16, norm == PLAIN ? EXACT : FLOATS);
    close_both(a, b);
}

static void weights_of_a_shortcut_are_depthwise_convolutions(void **state)
{
    static const struct { const char *word; enum norm norm; } norms[] = {{"none", PLAIN}, {"relu", RELU}, {"avg_relu", RELU}, {"softmax", SOFTMAX}};
    (void)state;
    for (int i = 0; i < 4; i++) {
        check_weights("per_feature", false, norms[i].word, norms[i].norm);
        check_weights("per_layer", false, norms[i].word, norms[i].norm);
        check_weights("per_channel", true, norms[i].word, norms[i].norm);
    }
}

static void several_sources_are_a_chain(void **state)
{
    static const char *const words[] = {"from=1,3,0", "layers=-5,-3,-6", "from=1,3,0\nweights_type=none\nweights_normalization=softmax"};
    (void)state;
    for (int i = 0; i < 3; i++) {
        char text[1024];
        snprintf(text, sizeof text, BRANCHES "[shortcut]\n%s\nactivation=leaky\n", words[i]);
        struct rig *a = rig_open(text);
        struct rig *b = rig_open(BRANCHES "[shortcut]\nfrom=1\nactivation=linear\n[shortcut]\nfrom=3\nactivation=linear\n[shortcut]\nfrom=0\nactivation=leaky\n");
        copy_branches(b, a);
        rig_run(a);
        rig_run(b);
        rig_expect_map(a, 6, 11, 9, 6);
        rig_expect_same(a, 6, b, 8, 0);
        close_both(a, b);
    }
}

/* ---- routes, reorg3d ---- */

/* A convolution 1x1 without bias whose filter i is 1 at channel first + i. */
static void pick(struct rig *r, int layer, int first)
{
    size_t n = (size_t)rig_layer(r, layer)->out_c, c = (size_t)rig_layer(r, layer)->c;
    float *weights = rig_values(r, layer, REF_WEIGHTS, n * c);
    memset(weights, 0, n * c * sizeof *weights);
    memset(rig_values(r, layer, REF_BIASES, n), 0, n * sizeof(float));
    for (size_t i = 0; i < n; i++) weights[i * c + (size_t)first + i] = 1;
}

static void a_grouped_route_picks_a_slice_of_each_source(void **state)
{
    static const struct { int groups, id; } cases[] = {{2, 0}, {2, 1}, {3, 1}, {6, 5}, {1, 0}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int g = cases[i].groups, id = cases[i].id, few = 6 / g, many = 12 / g;
        char a_text[1024], b_text[1024];
        const char *form = NET FIRST CONV(12, "size=1\nactivation=leaky") "%s%s";
        char rest[512];
        snprintf(rest, sizeof rest, "[route]\nlayers=-1,0\ngroups=%d\ngroup_id=%d\n", g, id);
        snprintf(a_text, sizeof a_text, form, rest, "");
        snprintf(rest, sizeof rest, "[convolutional]\nfilters=%d\nactivation=linear\n[route]\nlayers=0\n[convolutional]\nfilters=%d\nactivation=linear\n", many, few);
        snprintf(b_text, sizeof b_text, form, rest, "[route]\nlayers=2,4\n");
        struct rig *a = rig_open(a_text), *b = rig_open(b_text);
        rig_copy(b, 0, a, 0);
        rig_copy(b, 1, a, 1);
        pick(b, 2, id * many);
        pick(b, 4, id * few);
        rig_run(a);
        rig_run(b);
        rig_expect_map(a, 2, 11, 9, 18 / g);
        rig_expect_same(a, 2, b, 5, 0);
        close_both(a, b);
    }
}

/* Slice o of the output: a depthwise convolution of side s at stride s that is 1 at place o of its window. */
static void reorg3d_is_a_route_of_picked_pixels(void **state)
{
    (void)state;
    for (int s = 2; s <= 3; s++) {
        char text[4096], list[128] = "", a_text[256];
        int n = snprintf(text, sizeof text, SQUARE CONV(5, "size=3\npad=1\nactivation=leaky"));
        for (int o = 0; o < s * s; o++) {
            n += snprintf(text + n, sizeof text - (size_t)n, "[route]\nlayers=0\n[convolutional]\nfilters=5\ngroups=5\nsize=%d\nstride=%d\nactivation=linear\n", s, s);
            snprintf(list + strlen(list), sizeof list - strlen(list), "%s%d", o ? "," : "", 2 + 2 * o);
        }
        snprintf(text + n, sizeof text - (size_t)n, "[route]\nlayers=%s\n", list);
        snprintf(a_text, sizeof a_text, SQUARE CONV(5, "size=3\npad=1\nactivation=leaky") "[reorg3d]\nstride=%d\n", s);
        struct rig *a = rig_open(a_text), *b = rig_open(text);
        rig_copy(b, 0, a, 0);
        for (int o = 0; o < s * s; o++) {
            double kernel[9] = {0};
            kernel[o] = 1;
            rig_set_filters(b, 2 + 2 * o, kernel, (size_t)(s * s));
        }
        rig_run(a);
        rig_run(b);
        rig_expect_map(a, 1, s == 2 ? 3 : 2, s == 2 ? 3 : 2, s == 2 ? 20 : 45);
        rig_expect_same(a, 1, b, 1 + 2 * s * s, 0);
        close_both(a, b);
    }
}

/* ---- products, constants, norms, scales ---- */

static void a_constant_times_channels_is_a_depthwise_convolution(void **state)
{
    (void)state;
    struct rig *a = rig_open(NET FIRST "[implicit]\nfilters=6\n[scale_channels]\nfrom=0\nactivation=leaky\n");
    struct rig *b = rig_open(NET FIRST "[convolutional]\nfilters=6\ngroups=6\nactivation=leaky\n");
    double factor[6];
    for (int c = 0; c < 6; c++) factor[c] = (double)rig_values(a, 1, REF_WEIGHTS, 6)[c];
    rig_copy(b, 0, a, 0);
    rig_set_factors(b, 1, factor);
    rig_run(a);
    rig_run(b);
    rig_expect_map(a, 1, 1, 1, 6);
    rig_expect_map(a, 2, 11, 9, 6);
    rig_expect_same(a, 2, b, 1, EXACT);
    close_both(a, b);
}

static void a_constant_added_to_channels_is_a_bias(void **state)
{
    static const double ones[] = {1, 1, 1, 1, 1, 1};
    (void)state;
    struct rig *a = rig_open(NET FIRST "[avgpool]\n[implicit]\nfilters=6\n[shortcut]\nfrom=1\nactivation=leaky\n");
    struct rig *b = rig_open(NET FIRST "[avgpool]\n[convolutional]\nfilters=6\ngroups=6\nactivation=leaky\n");
    rig_copy(b, 0, a, 0);
    rig_set_factors(b, 2, ones);
    memcpy(rig_values(b, 2, REF_BIASES, 6), rig_values(a, 2, REF_WEIGHTS, 6), 6 * sizeof(float));
    rig_run(a);
    rig_run(b);
    rig_expect_map(a, 3, 1, 1, 6);
    rig_expect_same(a, 3, b, 2, EXACT);
    close_both(a, b);
}

/* The numbers repeated over the map, multiplied place by place. */
static void scale_channels_is_sam_of_repeated_numbers(void **state)
{
    (void)state;
    struct rig *a = rig_open(SQUARE FIRST "[avgpool]\n" CONV(6, "activation=logistic") "[scale_channels]\nfrom=0\nactivation=leaky\n");
    struct rig *b = rig_open(SQUARE FIRST "[avgpool]\n" CONV(6, "activation=logistic") "[upsample]\nstride=6\n[sam]\nfrom=0\nactivation=leaky\n");
    rig_copy(b, 0, a, 0);
    rig_copy(b, 2, a, 2);
    rig_run(a);
    rig_run(b);
    rig_expect_map(a, 3, 6, 6, 6);
    rig_expect_same(a, 3, b, 4, 0);
    close_both(a, b);
}

static void scale_wh_is_sam_of_a_repeated_map(void **state)
{
    (void)state;
    struct rig *a = rig_open(NET FIRST CONV(1, "size=3\npad=1\nactivation=logistic") "[scale_channels]\nfrom=0\nscale_wh=1\nactivation=leaky\n");
    struct rig *b = rig_open(NET FIRST CONV(1, "size=3\npad=1\nactivation=logistic") ROUTE("1,1,1,1,1,1") "[sam]\nfrom=0\nactivation=leaky\n");
    rig_copy(b, 0, a, 0);
    rig_copy(b, 1, a, 1);
    rig_run(a);
    rig_run(b);
    rig_expect_map(a, 2, 11, 9, 6);
    rig_expect_same(a, 2, b, 3, 0);
    close_both(a, b);
}

static void batchnorm_is_a_depthwise_convolution_with_batch_norm(void **state)
{
    static const struct { const char *first; bool biases; } cases[] = {{"leaky", false}, {"mish", true}};      /* mish: AlexeyAB's, who stores biases */
    (void)state;
    for (int i = 0; i < 2; i++) {
        char a_text[512], b_text[512];
        const char *form = NET "[convolutional]\nfilters=6\nsize=3\npad=1\nactivation=%s\n%s";
        snprintf(a_text, sizeof a_text, form, cases[i].first, "[batchnorm]\n");
        snprintf(b_text, sizeof b_text, form, cases[i].first, "[convolutional]\nfilters=6\ngroups=6\nbatch_normalize=1\nactivation=linear\n");
        struct rig *a = rig_open(a_text), *b = rig_open(b_text);
        rig_copy(b, 0, a, 0);
        rig_set_factors(b, 1, (const double[]){1, 1, 1, 1, 1, 1});
        for (int role = cases[i].biases ? REF_BIASES : REF_SCALES; role < REF_WEIGHTS; role++)
            memcpy(rig_values(b, 1, role, 6), rig_values(a, 1, role, 6), 6 * sizeof(float));
        rig_run(a);
        rig_run(b);
        rig_expect_same(a, 1, b, 1, EXACT);
        assert_int_equal(rig_stored(a), 6 + 6 * 4 * 9 + (cases[i].biases ? 24 : 18));
        close_both(a, b);
    }
}

static void upsample_scales_by_a_factor(void **state)
{
    static const double minus[] = {-.75, -.75, -.75, -.75, -.75, -.75};
    (void)state;
    struct rig *a = rig_open(NET FIRST "[upsample]\nstride=3\nscale=-.75\n"), *b = rig_open(NET FIRST SCALE(6) "[upsample]\nstride=3\n");
    rig_copy(b, 0, a, 0);
    rig_set_factors(b, 1, minus);
    rig_run(a);
    rig_run(b);
    rig_expect_map(a, 1, 33, 27, 6);
    rig_expect_same(a, 1, b, 2, EXACT);
    close_both(a, b);
}

static void what_only_trains_changes_nothing(void **state)
{
    static const char *const layers[] = {"[dropout]\nprobability=.4\n", "[dropout]\ndropblock=1\ndropblock_size_abs=3\nprobability=.4\n", "[empty]\n", "[silence]\n",
                                         "[local_avgpool]\nsize=1\n", "[reorg3d]\nstride=1\n", "[upsample]\nstride=1\nscale=1\n"};
    (void)state;
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        char text[512];
        snprintf(text, sizeof text, NET FIRST "%s" CONV(5, "activation=swish"), layers[i]);
        struct rig *a = rig_open(text), *b = rig_open(NET FIRST CONV(5, "activation=swish"));
        rig_copy(b, 0, a, 0);
        rig_copy(b, 1, a, 2);
        rig_run(a);
        rig_run(b);
        rig_expect_same(a, 2, b, 1, 0);
        close_both(a, b);
    }
}

/* Inside the map the mean over a window is a depthwise convolution with 1/k^2. */
static void local_avgpool_is_a_convolution_inside(void **state)
{
    double ninth[9];
    (void)state;
    for (int i = 0; i < 9; i++) ninth[i] = 1 / 9.;
    struct rig *a = rig_open(NET FIRST "[local_avgpool]\nsize=3\nstride=1\n"), *b = rig_open(NET FIRST "[convolutional]\nfilters=6\ngroups=6\nsize=3\npad=1\nactivation=linear\n");
    rig_copy(b, 0, a, 0);
    rig_set_filters(b, 1, ninth, 9);
    rig_run(a);
    rig_run(b);
    rig_expect_map(a, 1, 11, 9, 6);
    for (int p = 0; p < 6 * 9 * 7; p++) {
        int c = p / 63, y = p / 9 % 7 + 1, x = p % 9 + 1;
        rig_expect_value(rig_at(a, 1, c, y, x), rig_at(b, 1, c, y, x), FLOATS, "local_avgpool", p);
    }
    rig_expect_value(rig_at(a, 1, 2, 0, 0), rig_at(b, 1, 2, 0, 0) * 9 / 4, FLOATS, "local_avgpool, corner", 0);       /* four pixels inside */
    rig_expect_value(rig_at(a, 1, 2, 8, 5), rig_at(b, 1, 2, 8, 5) * 9 / 6, FLOATS, "local_avgpool, edge", 0);
    close_both(a, b);
}

/* max(a, b) = b + relu(a - b) */
static void maxpool_depth_is_a_relu_of_a_difference(void **state)
{
    (void)state;
    struct rig *a = rig_open(NET CONV(6, "size=3\npad=1\nactivation=linear") "[maxpool]\nmaxpool_depth=1\nout_channels=3\n");
    struct rig *b = rig_open(NET CONV(6, "size=3\npad=1\nactivation=linear") CONV(3, "activation=linear") ROUTE("0") CONV(3, "activation=relu") "[shortcut]\nfrom=1\nactivation=linear\n");
    rig_copy(b, 0, a, 0);
    pick(b, 1, 3);
    pick(b, 3, 0);
    for (int c = 0; c < 3; c++) rig_values(b, 3, REF_WEIGHTS, 18)[c * 6 + c + 3] = -1;
    rig_run(a);
    rig_run(b);
    rig_expect_map(a, 1, 11, 9, 3);
    rig_expect_same(a, 1, b, 4, EXACT);
    close_both(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dilated_kernel_is_a_larger_one_with_zeros),
        cmocka_unit_test(antialiasing_is_stride_one_and_a_blurring_convolution),
        cmocka_unit_test(strides_of_their_own_pick_pixels),
        cmocka_unit_test(shared_values_are_a_copy),
        cmocka_unit_test(other_words_for_batch_normalize),
        cmocka_unit_test(weights_of_a_shortcut_are_depthwise_convolutions),
        cmocka_unit_test(several_sources_are_a_chain),
        cmocka_unit_test(a_grouped_route_picks_a_slice_of_each_source),
        cmocka_unit_test(reorg3d_is_a_route_of_picked_pixels),
        cmocka_unit_test(a_constant_times_channels_is_a_depthwise_convolution),
        cmocka_unit_test(a_constant_added_to_channels_is_a_bias),
        cmocka_unit_test(scale_channels_is_sam_of_repeated_numbers),
        cmocka_unit_test(scale_wh_is_sam_of_a_repeated_map),
        cmocka_unit_test(batchnorm_is_a_depthwise_convolution_with_batch_norm),
        cmocka_unit_test(upsample_scales_by_a_factor),
        cmocka_unit_test(what_only_trains_changes_nothing),
        cmocka_unit_test(local_avgpool_is_a_convolution_inside),
        cmocka_unit_test(maxpool_depth_is_a_relu_of_a_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
