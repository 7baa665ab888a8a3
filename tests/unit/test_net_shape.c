/* Network shape: sizes, sources, parameters and MACs against numbers worked out by hand, and the whole table of bad inputs.
 * Agreement with the host on every cfg of its package is tests/host/test_shapes_equal_host.c. */
#include "loaded.h"

static void a_small_classifier_has_the_sizes_of_paper_and_pencil(void **state)
{
    (void)state;
    struct loaded l;
    load(&l, "tests/golden/good/tiny.cfg");
    assert_int_equal(l.net.layer_count, 4);
    const struct prune_layer *conv = &l.net.layers[0], *fc = &l.net.layers[2];
    assert_int_equal(conv->pad, 1);
    assert_int_equal(conv->out_w, 8);
    assert_int_equal(conv->outputs, 8 * 8 * 4);
    assert_int_equal(conv->parameters, 4 * 27 + 4 + 4);
    assert_int_equal(conv->macs, 64 * 4 * 27);
    assert_int_equal(conv->activation, PRUNE_LEAKY);
    assert_int_equal(conv->sources[0], -1);
    assert_int_equal(fc->inputs, 4);
    assert_int_equal(fc->parameters, 10);
    assert_int_equal(fc->sources[0], 1);
    assert_int_equal(l.net.parameters, 126);
    assert_int_equal(l.net.macs, 64 * 4 * 27 + 8);
    assert_int_equal(l.net.task, PRUNE_TASK_CLASSIFIER);
    assert_int_equal(l.net.classes, 2);
    assert_true(prune_bflops(500000000) == 1.0);
    unload(&l);
}

static void every_kind_of_layer_has_its_shape(void **state)
{
    (void)state;
    static const struct { enum prune_kind kind; int w, h, c; uint64_t parameters, macs; } want[] = {
        {PRUNE_CROP, 16, 16, 8, 0, 0},
        {PRUNE_CONVOLUTIONAL, 16, 16, 8, 8 * 4 * 9 + 16, 8 * 4 * 9 * 256},
        {PRUNE_CONVOLUTIONAL, 16, 16, 8, 8 * 9 + 8, 8 * 9 * 256},
        {PRUNE_SHORTCUT, 16, 16, 8, 0, 0},
        {PRUNE_MAXPOOL, 8, 8, 8, 0, 0},
        {PRUNE_DECONVOLUTIONAL, 16, 16, 4, 8 * 4 * 16 + 4, 8 * 4 * 16 * 64},
        {PRUNE_UPSAMPLE, 8, 8, 4, 0, 0},
        {PRUNE_ROUTE, 8, 8, 12, 0, 0},
        {PRUNE_REORG, 4, 4, 48, 0, 0},
        {PRUNE_REORG, 8, 8, 12, 0, 0},
        {PRUNE_BATCHNORM, 8, 8, 12, 12, 0},
        {PRUNE_ACTIVATION, 8, 8, 12, 0, 0},
        {PRUNE_NORMALIZATION, 8, 8, 12, 0, 0},
        {PRUNE_DROPOUT, 8, 8, 12, 0, 0},
        {PRUNE_LOCAL, 8, 8, 6, 64 * 6 * 12 * 9 + 384, 64 * 6 * 12 * 9},
        {PRUNE_L2NORM, 8, 8, 6, 0, 0},
        {PRUNE_CRNN, 8, 8, 5, (4 * 6 + 4 * 4 + 5 * 4) * 9 + 13, (4 * 6 + 4 * 4 + 5 * 4) * 9 * 64},
        {PRUNE_CONNECTED, 1, 1, 12, 12 * 320 + 24, 12 * 320},
        {PRUNE_RNN, 1, 1, 5, 60 + 25 + 25 + 15, 110},
        {PRUNE_LSTM, 1, 1, 6, 4 * 30 + 4 * 36 + 8 * 12, 4 * 30 + 4 * 36},
        {PRUNE_GRU, 1, 1, 7, 3 * 42 + 3 * 49 + 42, 3 * 42 + 3 * 49},
        {PRUNE_ROUTE, 1, 1, 12, 0, 0},
        {PRUNE_LOGISTIC, 1, 1, 12, 0, 0},
        {PRUNE_SOFTMAX, 1, 1, 12, 0, 0},
        {PRUNE_COST, 1, 1, 12, 0, 0}};
    struct loaded l;
    load(&l, "tests/golden/good/zoo.cfg");
    assert_int_equal(l.net.layer_count, sizeof want / sizeof *want);
    for (size_t i = 0; i < l.net.layer_count; i++) {
        const struct prune_layer *x = &l.net.layers[i];
        if (x->kind != want[i].kind || x->out_w != want[i].w || x->out_h != want[i].h || x->out_c != want[i].c || x->parameters != want[i].parameters || x->macs != want[i].macs)
            fail_msg("layer %zu: %d x %d x %d, %llu parameters, %llu MACs", i, x->out_w, x->out_h, x->out_c, (unsigned long long)x->parameters, (unsigned long long)x->macs);
        assert_int_equal(x->outputs, x->out_w * x->out_h * x->out_c);
        assert_int_equal(x->index, i);
    }
    assert_int_equal(l.net.task, PRUNE_TASK_OTHER); /* recurrent */
    unload(&l);
}

static void heads_tell_a_detector_and_its_classes(void **state)
{
    (void)state;
    struct loaded l;
    load(&l, "tests/golden/good/yolo.cfg");
    assert_int_equal(l.net.task, PRUNE_TASK_DETECTOR);
    assert_int_equal(l.net.classes, 2);
    assert_int_equal(l.net.layers[2].num, 2);     /* of its mask, not of num= */
    assert_int_equal(l.net.layers[3].sources[0], 0);
    assert_int_equal(l.net.layers[5].coords, 4);
    unload(&l);
}

static void gates_bind_to_the_section_before_and_have_no_number(void **state)
{
    (void)state;
    struct loaded l;
    load(&l, "tests/golden/good/gated.cfg");
    const enum prune_kind kinds[] = {PRUNE_CONVOLUTIONAL, PRUNE_MAXPOOL, PRUNE_CONVOLUTIONAL, PRUNE_SHORTCUT, PRUNE_BATCHNORM, PRUNE_AVGPOOL, PRUNE_CONNECTED, PRUNE_SOFTMAX};
    const int gates[] = {2, -1, 5, -1, 8, -1, 11, -1};
    assert_int_equal(l.net.layer_count, 8);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(l.net.layers[i].kind, kinds[i]);
        assert_int_equal(l.net.layers[i].gate_section, gates[i]);
    }
    assert_int_equal(l.net.layers[3].source_count, 2);
    assert_int_equal(l.net.layers[3].sources[0], 2);
    assert_int_equal(l.net.layers[3].sources[1], 1); /* from=-2, the gate not counted */
    unload(&l);
}

static void aliases_comments_and_blanks_change_nothing(void **state)
{
    (void)state;
    struct loaded l;
    load(&l, "tests/golden/good/comments.cfg");
    assert_int_equal(l.net.layer_count, 4);
    assert_int_equal(l.net.layers[0].out_c, 10);
    assert_int_equal(l.net.layers[0].stride, 1);
    unload(&l);
}

static void a_route_of_unequal_maps_is_a_flat_vector(void **state)
{
    (void)state;
    struct loaded l;
    load_text(&l, "[net]\nheight=8\nwidth=8\nchannels=3\n[conv]\nfilters=4\n[max]\nsize=2\nstride=2\n[route]\nlayers=0,1\n[conn]\noutput=5\n");
    assert_int_equal(l.net.layers[2].out_w, 1);
    assert_int_equal(l.net.layers[2].out_c, 4 * 64 + 4 * 16);
    assert_int_equal(l.net.layers[3].parameters, 5 * 320 + 5);
    unload(&l);
}

static void maxpool_pads_by_size_minus_1_in_all(void **state)
{
    (void)state;
    struct loaded l;
    load_text(&l, "[net]\nheight=31\nwidth=30\nchannels=1\n[max]\nsize=2\nstride=2\n[max]\nsize=3\nstride=2\n[max]\nsize=2\nstride=1\n[max]\nstride=2\npadding=0\n");
    const int w[] = {15, 8, 8, 4}, h[] = {16, 8, 8, 4};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(l.net.layers[i].out_w, w[i]);
        assert_int_equal(l.net.layers[i].out_h, h[i]);
    }
    assert_int_equal(l.net.layers[1].pad, 2);
    assert_int_equal(l.net.layers[3].size, 2); /* default: the stride */
    unload(&l);
}

static void keys_of_loading_are_recorded(void **state)
{
    (void)state;
    struct loaded l;
    load_text(&l, "[net]\nheight=8\nwidth=8\nchannels=3\nadam=1\nbatch=64\nsubdivisions=8\n[conv]\nfilters=4\nnumload=2\nflipped=1\n[conv]\ndontload=1\ndontsave=1\n[conv]\nbatch_normalize=1\ndontloadscales=1\n");
    assert_true(l.net.adam);
    assert_int_equal(l.net.batch, 64);
    assert_int_equal(l.net.subdivisions, 8);
    assert_int_equal(l.net.layers[0].numload, 2);
    assert_true(l.net.layers[0].flipped);
    assert_true(l.net.layers[1].dontload && l.net.layers[1].dontsave);
    assert_true(l.net.layers[2].dontloadscales);
    unload(&l);
}

static void a_host_is_not_started_without_its_files_or_memory(void **state)
{
    (void)state;
    struct prune_status st = {0};
    struct loaded l;
    load_text(&l, "[net]\nheight=8\nwidth=8\nchannels=3\n[conv]\n[softmax]\ntree=no/such.tree\n");
    assert_int_equal(prune_net_check_host(&l.net, 1, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "cannot use 't.cfg:7': tree= needs a file: cannot read 'no/such.tree': No such file or directory");
    unload(&l);
    load(&l, "tests/golden/good/tiny.cfg");
    assert_int_equal(prune_net_check_host(&l.net, 0, &st), PRUNE_OK);
    assert_int_equal(prune_net_check_host(&l.net, 2000000000, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "cannot run 'tests/golden/good/tiny.cfg': it needs 8320.0 GB"));
    unload(&l);
}

/* The message of the first failure over cfg and weights; empty when both are fine. */
static void judge(const char *cfg_path, const char *weights_path, struct prune_status *st)
{
    struct loaded l;
    struct prune_weights w;
    *st = (struct prune_status){0};
    if (prune_net_read(&l.cfg, &l.net, cfg_path, st)) return;
    if (*weights_path && !prune_weights_open(&w, weights_path, &l.net, st)) {
        prune_weights_check_finite(&w, st);
        prune_weights_close(&w);
    }
    unload(&l);
}

static void every_row_of_the_table_of_bad_inputs_gives_its_message(void **state)
{
    (void)state;
    FILE *table = fopen("tests/golden/bad/expected.tsv", "r");
    assert_non_null(table);
    char line[1024], cfg[256], message[512];
    int rows = 0, wrong = 0;
    while (fgets(line, sizeof line, table)) {
        char files[2][128] = {"", ""}, paths[2][512] = {"", ""};
        struct prune_status st;
        if (line[0] == '#' || sscanf(line, "%255[^\t]\t%511[^\t]", cfg, message) != 2) continue;
        int n = sscanf(cfg, "%127s %127s", files[0], files[1]);
        for (int i = 0; i < n; i++) snprintf(paths[i], sizeof paths[i], "tests/golden/bad/%s", files[i]);
        judge(paths[0], paths[1], &st);
        rows++;
        if (st.code == PRUNE_FAILED && strstr(st.message, message)) continue;
        wrong++;
        print_error("%s\n  wanted: %s\n  got:    %s\n", cfg, message, st.message);
    }
    fclose(table);
    assert_int_equal(wrong, 0);
    assert_true(rows >= 120);
}

/* Quadratic work would show as minutes. */
static void a_hundred_thousand_layers_are_built(void **state)
{
    (void)state;
    enum { N = 100000 };
    static const char head[] = "[net]\nheight=8\nwidth=8\nchannels=3\n[conv]\n", one[] = "[shortcut]\nfrom=-1\n";
    char *text = malloc(sizeof head + N * sizeof one);
    size_t size = sizeof head - 1;
    memcpy(text, head, size);
    for (int i = 0; i < N; i++, size += sizeof one - 1) memcpy(text + size, one, sizeof one - 1);
    struct loaded l;
    struct prune_weights_layout layout;
    assert_int_equal(prune_cfg_parse(&l.cfg, "t.cfg", text, size, NULL), PRUNE_OK);
    assert_int_equal(prune_net_build(&l.net, &l.cfg, NULL), PRUNE_OK);
    assert_int_equal(l.net.layer_count, N + 1);
    assert_int_equal(prune_layout_build(&layout, &l.net, NULL), PRUNE_OK);
    assert_int_equal(layout.floats, 4);
    prune_layout_free(&layout);
    unload(&l);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_small_classifier_has_the_sizes_of_paper_and_pencil),
        cmocka_unit_test(every_kind_of_layer_has_its_shape),
        cmocka_unit_test(heads_tell_a_detector_and_its_classes),
        cmocka_unit_test(gates_bind_to_the_section_before_and_have_no_number),
        cmocka_unit_test(aliases_comments_and_blanks_change_nothing),
        cmocka_unit_test(a_route_of_unequal_maps_is_a_flat_vector),
        cmocka_unit_test(maxpool_pads_by_size_minus_1_in_all),
        cmocka_unit_test(keys_of_loading_are_recorded),
        cmocka_unit_test(a_host_is_not_started_without_its_files_or_memory),
        cmocka_unit_test(every_row_of_the_table_of_bad_inputs_gives_its_message),
        cmocka_unit_test(a_hundred_thousand_layers_are_built),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
