/* Rewriting: every stored value of the smaller network is the one its old place says, for each tensor layout; the masked file is the
 * original with zeros in the readers' columns; files are byte-identical when nothing goes; inputs are never overwritten. */
#include <sys/stat.h>

#include "rewrite_rig.h"

static void convolution_loses_rows_and_columns(void **state)
{
    (void)state;
    struct rig r;
    size_t places[512];
    rig_open(&r, NET BN(4) BN(5) HEAD, (const int[]){ 0, 1, 0, 3, 1, 0, -1 }, 0);
    expect_places(&r, 0, PRUNE_SCALES, (const size_t[]){ 0, 2 }, 2);
    expect_places(&r, 0, PRUNE_MEAN, (const size_t[]){ 0, 2 }, 2);
    expect_places(&r, 0, PRUNE_VARIANCE, (const size_t[]){ 0, 2 }, 2);
    expect_places(&r, 1, PRUNE_BIASES, (const size_t[]){ 1, 2, 3, 4 }, 4);
    size_t n = kernels(places, (const int[]){ 0, 2 }, 2, (const int[]){ 0, 1, 2 }, 3, 3, 9);
    expect_places(&r, 0, PRUNE_WEIGHTS, places, n);
    n = kernels(places, (const int[]){ 1, 2, 3, 4 }, 4, (const int[]){ 0, 2 }, 2, 4, 9);
    expect_places(&r, 1, PRUNE_WEIGHTS, places, n);
    assert_int_equal(r.small.net.layers[0].out_c, 2);
    assert_int_equal(r.small.net.layers[1].out_c, 4);
    rig_close(&r);
}

static void the_masked_file_differs_in_the_readers_columns_only(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, NET BN(4) BN(5) HEAD, (const int[]){ 0, 1, 1, 0, -1 }, 0);
    size_t zeros = 0;
    for (size_t i = 0; i < r.in.layout.count; i++) {
        const struct prune_weights_tensor *t = &r.in.layout.tensors[i];
        const float *a = prune_weights_data(&r.in, t), *b = prune_weights_data(&r.masked, t);
        for (size_t k = 0; k < t->count; k++) {
            bool column = t->role == PRUNE_WEIGHTS && ((t->layer == 1 && k / 9 % 4 == 1) || (t->layer == 2 && k % 5 == 0));
            assert_true(b[k] == (column ? 0 : a[k]));
            zeros += column;
        }
    }
    assert_int_equal(zeros, 5 * 9 + 5);
    rig_close(&r);
}

static void grouped_convolution_slices_within_its_groups(void **state)
{
    (void)state;
    struct rig r;
    size_t places[256], n;
    /* inputs 1 of part 0 and 6 of part 1 go; filters 2 and 3 go */
    rig_open(&r, NET CONV(8) GROUPED(6, 2) HEAD, (const int[]){ 0, 1, 0, 6, 1, 2, 1, 3, -1 }, 0);
    n = kernels(places, (const int[]){ 0, 1 }, 2, (const int[]){ 0, 2, 3 }, 3, 4, 9);
    n += kernels(places + n, (const int[]){ 4, 5 }, 2, (const int[]){ 0, 1, 3 }, 3, 4, 9);
    expect_places(&r, 1, PRUNE_WEIGHTS, places, n);
    assert_int_equal(r.small.net.layers[1].groups, 2);
    rig_close(&r);
}

static void depthwise_groups_follow_the_channels(void **state)
{
    (void)state;
    struct rig r;
    size_t places[256];
    rig_open(&r, NET CONV(4) GROUPED(8, 4) HEAD, (const int[]){ 0, 2, -1 }, 0);
    assert_int_equal(r.small.net.layers[1].groups, 3);
    size_t n = kernels(places, (const int[]){ 0, 1, 2, 3, 6, 7 }, 6, (const int[]){ 0 }, 1, 1, 9);
    expect_places(&r, 1, PRUNE_WEIGHTS, places, n);
    rig_close(&r);
}

static void connected_behind_a_map_loses_a_piece_per_channel_in_both_orders(void **state)
{
    (void)state;
    static const char TEXT[] = NET CONV(3) "[maxpool]\nsize=4\nstride=4\npadding=0\n\n[connected]\noutput=4\nactivation=relu\n\n[connected]\noutput=2\nactivation=linear\n\n[softmax]\n";
    struct rig r;
    size_t places[64], n;
    rig_open(&r, TEXT, (const int[]){ 0, 1, 2, 2, -1 }, 0);
    n = kernels(places, (const int[]){ 0, 1, 3 }, 3, (const int[]){ 0, 2 }, 2, 3, 4);        /* (4 outputs, 3 channels of 4 places) */
    expect_places(&r, 2, PRUNE_WEIGHTS, places, n);
    n = kernels(places, (const int[]){ 0, 1 }, 2, (const int[]){ 0, 1, 3 }, 3, 4, 1);
    expect_places(&r, 3, PRUNE_WEIGHTS, places, n);
    rig_close(&r);
    rig_open(&r, TEXT, (const int[]){ 0, 1, 2, 2, -1 }, 1001);
    static const int rows[] = { 0, 1, 2, 3, 8, 9, 10, 11 };                                  /* (3 channels of 4 places, 4 outputs) */
    n = kernels(places, rows, 8, (const int[]){ 0, 1, 3 }, 3, 4, 1);
    expect_places(&r, 2, PRUNE_WEIGHTS, places, n);
    const float *masked = tensor(&r.masked, 3, PRUNE_WEIGHTS, NULL), *in = tensor(&r.in, 3, PRUNE_WEIGHTS, NULL);
    for (size_t i = 0; i < 8; i++) assert_true(masked[i] == (i / 2 == 2 ? 0 : in[i]));       /* (4 inputs, 2 outputs): row 2 is silent */
    rig_close(&r);
}

static void deconvolution_stores_inputs_first(void **state)
{
    (void)state;
    struct rig r;
    size_t places[128];
    rig_open(&r, NET CONV(3) "[deconvolutional]\nfilters=4\nsize=2\nstride=2\nactivation=relu\n\n" HEAD, (const int[]){ 0, 0, 1, 3, -1 }, 0);
    size_t n = kernels(places, (const int[]){ 1, 2 }, 2, (const int[]){ 0, 1, 2 }, 3, 4, 4);
    expect_places(&r, 1, PRUNE_WEIGHTS, places, n);
    rig_close(&r);
}

static void local_slices_every_location(void **state)
{
    (void)state;
    struct rig r;
    size_t places[2048], n = 0;
    rig_open(&r, NET CONV(3) "[maxpool]\nsize=4\nstride=4\npadding=0\n\n[local]\nfilters=3\nsize=1\nstride=1\npad=0\nactivation=relu\n\n" HEAD, (const int[]){ 0, 0, 2, 1, -1 }, 0);
    for (int place = 0; place < 4; place++) {
        const int rows[] = { 3 * place, 3 * place + 2 };
        n += kernels(places + n, rows, 2, (const int[]){ 1, 2 }, 2, 3, 1);
    }
    expect_places(&r, 2, PRUNE_WEIGHTS, places, n);
    expect_places(&r, 2, PRUNE_BIASES, (const size_t[]){ 0, 1, 2, 3, 8, 9, 10, 11 }, 8);
    rig_close(&r);
}

static void flipped_weights_keep_their_order(void **state)
{
    (void)state;
    struct rig r;
    size_t places[64], n = 0;
    rig_open(&r, NET CONV(2) "[convolutional]\nfilters=3\nsize=1\nstride=1\npad=0\nactivation=relu\nflipped=1\n\n" HEAD, (const int[]){ 0, 0, 1, 1, -1 }, 0);
    n = kernels(places, (const int[]){ 1 }, 1, (const int[]){ 0, 2 }, 2, 3, 1);              /* (2 inputs, 3 filters) */
    expect_places(&r, 1, PRUNE_WEIGHTS, places, n);
    rig_close(&r);
}

static void standalone_batchnorm_and_reorg_follow(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, NET CONV(8) "[batchnorm]\n\n[reorg]\nstride=2\n\n" HEAD, (const int[]){ 0, 0, -1 }, 0);
    expect_places(&r, 1, PRUNE_VARIANCE, (const size_t[]){ 4, 5, 6, 7 }, 4);
    assert_int_equal(r.plan.layers[3].in_count, 16);
    for (int i = 0; i < 16; i++) assert_int_equal(r.plan.layers[3].in_keep[i], i / 4 * 8 + 4 + i % 4);
    rig_close(&r);
}

static void only_the_counts_in_the_cfg_change(void **state)
{
    (void)state;
    static const char TEXT[] = "# mine\r\n[net]\r\nwidth = 8\r\nheight=8\r\nchannels=3\r\nbatch=1\r\nsubdivisions=1\r\n\r\n[convolutional]\r\n; note\r\nfilters  =  1 0\r\nsize=3\r\npad=1\r\nstride=1\r\n"
                               "activation=relu\r\n[convolutional]\r\nactivation=relu\r\nfilters=10\r\ngroups = 10\r\nsize=1\r\nstride=1\r\n[connected]\r\nactivation=linear\r\noutput=2\r\n[softmax]";
    static const char EXPECTED[] = "# mine\r\n[net]\r\nwidth = 8\r\nheight=8\r\nchannels=3\r\nbatch=1\r\nsubdivisions=1\r\n\r\n[convolutional]\r\n; note\r\nfilters  =  9\r\nsize=3\r\npad=1\r\nstride=1\r\n"
                                   "activation=relu\r\n[convolutional]\r\nactivation=relu\r\nfilters=9\r\ngroups = 9\r\nsize=1\r\nstride=1\r\n[connected]\r\nactivation=linear\r\noutput=2\r\n[softmax]";
    struct text_net t;
    struct prune_plan plan;
    text_open(&t, TEXT);
    uint8_t removed[64] = { 0 };
    char *bytes;
    size_t size;
    for (int step = 0; step < 2; step++) {
        removed[unit_of(&t, 0, 4)] = (uint8_t)step;
        assert_int_equal(prune_plan_build(&plan, &t.net, &t.units, removed, &st), PRUNE_OK);
        assert_int_equal(prune_rewrite_cfg(&plan, &t.net, &bytes, &size, &st), PRUNE_OK);
        assert_int_equal(size, strlen(step ? EXPECTED : TEXT));
        assert_memory_equal(bytes, step ? EXPECTED : TEXT, size);
        free(bytes);
        prune_plan_free(&plan);
    }
    text_close(&t);
}

static void masks_that_break_the_network_are_refused(void **state)
{
    (void)state;
    struct text_net t;
    struct prune_plan plan;
    uint8_t removed[64] = { 0 };
    text_open(&t, NET CONV(4) GROUPED(6, 2) HEAD);
    removed[unit_of(&t, 0, 1)] = 1;
    assert_int_equal(prune_plan_build(&plan, &t.net, &t.units, removed, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "leaves 1 channels in group 0 and 2 in group 1 of layer 1"));
    removed[unit_of(&t, 0, 1)] = 0;
    removed[unit_of(&t, 2, 1)] = 1;
    assert_int_equal(prune_plan_build(&plan, &t.net, &t.units, removed, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "layer 2 channel 1, which must stay: read by a softmax"));
    removed[unit_of(&t, 2, 1)] = 0;
    for (int c = 0; c < 4; c++) removed[unit_of(&t, 0, c)] = 1;
    assert_int_equal(prune_plan_build(&plan, &t.net, &t.units, removed, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "every channel of layer 0"));
    text_close(&t);
}

static long file_size(const char *path)
{
    struct stat s;
    return stat(path, &s) ? -1 : (long)s.st_size;
}

static void a_pair_is_written_whole_or_not_at_all(void **state)
{
    (void)state;
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_units units;
    struct prune_weights in;
    struct prune_pair pair;
    static const char TEXT[] = NET CONV(4) CONV(6) HEAD;
    uint8_t removed[64] = { 0 };
    assert_int_equal(prune_write_file(at("my.net.cfg"), TEXT, sizeof TEXT - 1, &st), PRUNE_OK);
    if (prune_net_read(&cfg, &net, at("my.net.cfg"), &st) || prune_units_build(&units, &net, &st)) fail_msg("%s", st.message);
    write_counting(&net, at("my.weights"), 0);
    assert_int_equal(prune_weights_open(&in, at("my.weights"), &net, &st), PRUNE_OK);
    const struct prune_mask_origin origin = { .cfg_path = cfg.path, .cfg_hash = "xxh64:1", .weights_path = in.path, .weights_hash = "xxh64:2" };

    removed[units.of_channel[1][2]] = 1;
    if (prune_write_pair(&net, &units, removed, &in, &origin, at("new/deep"), true, &pair, &st)) fail_msg("%s", st.message);
    assert_string_equal(strrchr(pair.cfg, '/'), "/my_net-pruned.cfg");
    assert_int_equal(file_size(pair.weights), 20 + 4 * (4 * 28 + 5 * 37 + 5 * 6));
    assert_int_equal(file_size(pair.masked), (long)in.map.size);
    assert_true(file_size(pair.mask) > 0);
    prune_pair_free(&pair);

    memset(removed, 0, sizeof removed);                      /* nothing goes: the same bytes */
    if (prune_write_pair(&net, &units, removed, &in, &origin, at("same"), false, &pair, &st)) fail_msg("%s", st.message);
    assert_null(pair.masked);
    char *bytes;
    size_t size;
    assert_int_equal(prune_read_file(pair.cfg, &bytes, &size, &st), PRUNE_OK);
    assert_int_equal(size, sizeof TEXT - 1);
    assert_memory_equal(bytes, TEXT, size);
    free(bytes);
    assert_int_equal(prune_read_file(pair.weights, &bytes, &size, &st), PRUNE_OK);
    assert_int_equal(size, in.map.size);
    assert_memory_equal(bytes, in.map.bytes, size);
    free(bytes);
    prune_pair_free(&pair);

    mkdir(at("held"), 0777);                                 /* the cfg cannot be written: a folder has its name; the weights go again */
    mkdir(at("held/my_net-pruned.cfg"), 0777);
    mkdir(at("held/my_net-pruned.cfg/x"), 0777);
    assert_int_equal(prune_write_pair(&net, &units, removed, &in, &origin, at("held"), true, &pair, &st), PRUNE_FAILED);
    assert_int_equal(file_size(at("held/my_net-pruned.weights")), -1);
    assert_int_equal(file_size(at("held/my_net-masked.weights")), -1);
    assert_int_equal(file_size(at("held/my_net-pruned.mask.json")), -1);

    assert_int_equal(symlink(in.path, at("my_net-pruned.weights")), 0);
    assert_int_equal(prune_write_pair(&net, &units, removed, &in, &origin, folder, false, &pair, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "is an input and would be overwritten"));
    assert_int_equal(file_size(in.path), (long)in.map.size);
    prune_weights_close(&in);
    prune_units_free(&units);
    prune_net_free(&net);
    prune_cfg_free(&cfg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(convolution_loses_rows_and_columns),
        TEST(the_masked_file_differs_in_the_readers_columns_only),
        TEST(grouped_convolution_slices_within_its_groups),
        TEST(depthwise_groups_follow_the_channels),
        TEST(connected_behind_a_map_loses_a_piece_per_channel_in_both_orders),
        TEST(deconvolution_stores_inputs_first),
        TEST(local_slices_every_location),
        TEST(flipped_weights_keep_their_order),
        TEST(standalone_batchnorm_and_reorg_follow),
        TEST(only_the_counts_in_the_cfg_change),
        TEST(masks_that_break_the_network_are_refused),
        TEST(a_pair_is_written_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
