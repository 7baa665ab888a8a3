/* Blocks: which shortcuts close one and why others do not, the text that is left, the numbers that move, the stored values that stay. */
#include <math.h>
#include <unistd.h>

#include "../../plugin/rewrite/drop.h"
#include "net_text.h"

#define RELU_BN(n) "[convolutional]\nbatch_normalize=1\nfilters=" #n "\nsize=3\nstride=1\npad=1\nactivation=relu\n\n"
#define ADD(from, a) "[shortcut]\nfrom=" #from "\nactivation=" #a "\n\n"
#define YOLO "[convolutional]\nfilters=6\nsize=1\nstride=1\npad=0\nactivation=linear\n\n[yolo]\nmask=0\nanchors=1,1\nclasses=1\nnum=1\n\n"

static struct prune_status st;

static struct prune_blocks find(const struct text_net *t)
{
    struct prune_blocks b;
    if (prune_blocks_find(&b, &t->net, &st)) fail_msg("%s", st.message);
    return b;
}

static void blocks_have_a_shortcut_a_source_and_a_cost(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET RELU_BN(4) BN(5) ACT(4, "linear") ADD(0, relu) BN(4) ADD(-2, linear) BN(4) ADD(-2, leaky) HEAD);
    struct prune_blocks b = find(&t);
    static const struct prune_block EXPECTED[] = { { 3, 0, false, 64 * 200, 4 * 5 * 9 + 2 * 5 + 5 * 4 + 4 }, { 5, 3, false, 64 * 144, 152 }, { 7, 5, true, 64 * 144, 152 } };
    assert_int_equal(b.count, 3);
    assert_int_equal(b.other_count, 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(b.items[i].shortcut, EXPECTED[i].shortcut);
        assert_int_equal(b.items[i].from, EXPECTED[i].from);
        assert_int_equal(b.items[i].stays_activation, EXPECTED[i].stays_activation);
        assert_int_equal(b.items[i].macs, EXPECTED[i].macs);
        assert_int_equal(b.items[i].parameters, EXPECTED[i].parameters);
    }
    prune_blocks_free(&b);
    text_close(&t);
}

static void an_activation_stays_where_it_would_change_what_the_source_gives(void **state)
{
    (void)state;
    static const struct { const char *text; bool stays; } CASES[] = {
        { NET RELU_BN(4) BN(4) ADD(-2, relu) HEAD, false },
        { NET BN(4) BN(4) ADD(-2, relu) HEAD, true },
        { NET BN(4) BN(4) ADD(-2, leaky) HEAD, true },                                        /* leaky of leaky is another function */
        { NET ACT(4, "tanh") BN(4) ADD(-2, tanh) HEAD, true },
        { NET RELU_BN(4) "[maxpool]\nsize=2\nstride=2\n\n" BN(4) ADD(-2, relu) HEAD, false }, /* a maximum of relu's values is one of them */
        { NET RELU_BN(4) "[avgpool]\n\n" BN(4) ADD(-2, relu) HEAD, true },
        { NET ACT(4, "hardtan") BN(4) ADD(-2, hardtan) HEAD, false },
        { NET ACT(4, "logistic") BN(4) ADD(-2, logistic) HEAD, true },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct text_net t;
        text_open(&t, CASES[i].text);
        struct prune_blocks b = find(&t);
        if (b.count != 1 || b.items[0].stays_activation != CASES[i].stays) fail_msg("case %zu: %zu blocks", i, b.count);
        prune_blocks_free(&b);
        text_close(&t);
    }
}

static void other_shortcuts_say_why(void **state)
{
    (void)state;
    static const struct { const char *text, *why; } CASES[] = {
        { NET CONV(4) CONV(6) SHORTCUT(-2) HEAD, "it adds 8x8x4 of layer 0 to 8x8x6" },
        { NET CONV(4) SHORTCUT(-1) HEAD, "it adds the layer before it to itself" },
        { NET CONV(4) CONV(4) CONV(4) SHORTCUT(-3) ROUTE("-1, 1") HEAD, "layer 4 reads layer 1 of its branch" },
        { NET CONV(4) CONV(4) ROUTE("0, 1") CONV(4) SHORTCUT(-3) HEAD, "layer 2 of its branch reads layer 0" },
        { NET CONV(4) YOLO ROUTE("0") CONV(4) SHORTCUT(0) HEAD, "its branch holds the yolo of layer 2" },
        { NET CONV(4) CONV(4) ROUTE("0") CONV(4) SHORTCUT(0) HEAD, "layer 1 of its branch is an output of the network" },
        { NET CONV(4) CONV(4) "[shortcut]\nfrom=-2\nbeta=0.5\nactivation=linear\n\n" HEAD, "it multiplies what it adds (beta=0.5)" },
        { NET CONV(4) CONV(4) CONV(4) "[shortcut]\nfrom=-2,-3\nactivation=linear\n\n" HEAD, "it adds 2 layers" },
        { NET CONV(4) CONV(4) "[shortcut]\nfrom=-2\nweights_type=per_feature\nactivation=linear\n\n" HEAD, "it has weights of its own" },
        { NET CONV(4) CONV(4) "[shortcut]\nfrom=-2\nactivation=mish\n\n" HEAD, "no [activation] section can take over its activation mish" },
        { NET CONV(4) CONV(4) CONV(4) SHORTCUT(-3) "[convolutional]\nfilters=4\nsize=3\nstride=1\npad=1\nshare_index=1\nactivation=leaky\n\n" HEAD,
          "layer 4 uses the stored values of layer 1 of its branch" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct text_net t;
        text_open(&t, CASES[i].text);
        struct prune_blocks b = find(&t);
        if (b.count || b.other_count != 1 || strcmp(b.others[0].why, CASES[i].why)) fail_msg("case %zu: %zu blocks, %s", i, b.count, b.other_count ? b.others[0].why : "");
        const struct prune_block *found;
        assert_int_equal(prune_blocks_get(&b, &t.net, b.others[0].shortcut, &found, &st), PRUNE_FAILED);
        assert_non_null(strstr(st.message, CASES[i].why));
        assert_int_equal(prune_blocks_get(&b, &t.net, 0, &found, &st), PRUNE_FAILED);
        assert_non_null(strstr(st.message, "layer 0 of '(memory)' is a [convolutional], and a block is named by its [shortcut]"));
        assert_int_equal(prune_blocks_get(&b, &t.net, 99, &found, &st), PRUNE_FAILED);
        prune_blocks_free(&b);
        text_close(&t);
    }
}

/* The text without the blocks of those shortcuts (ends with -1). */
static void expect_text(const char *text, const int *shortcuts, const char *expected)
{
    struct text_net t;
    struct prune_drop d;
    size_t n = 0;
    while (shortcuts[n] >= 0) n++;
    text_open(&t, text);
    if (prune_drop_open(&d, &t.net, NULL, shortcuts, n, &st)) fail_msg("%s", st.message);
    assert_string_equal(d.cfg.bytes, expected);
    prune_drop_close(&d);
    text_close(&t);
}

static void the_text_is_what_a_careful_person_would_have_left(void **state)
{
    (void)state;
    static const char COMMENTED[] =
        "# a net\n[net]\nbatch=1\nwidth=8\nheight=8\nchannels=3\n\n# first\n[convolutional]\nfilters=4\nsize=1\nactivation=leaky\n#batch_normalize=1\n\n"
        "# Residual\n\n[convolutional]\nfilters=2\nsize=1\nactivation=leaky\n# inside\n\n[convolutional]\n  filters = 4\nsize=1\nactivation=leaky\n\n"
        "# add\n[shortcut]\nfrom=-3\nactivation=linear\n; of the shortcut\n\n######\n\n# head\n[convolutional]\nfilters=5\nsize=1\nactivation=linear\n\n[avgpool]\n\n[softmax]";
    static const char LEFT[] =
        "# a net\n[net]\nbatch=1\nwidth=8\nheight=8\nchannels=3\n\n# first\n[convolutional]\nfilters=4\nsize=1\nactivation=leaky\n#batch_normalize=1\n\n"
        "######\n\n# head\n[convolutional]\nfilters=5\nsize=1\nactivation=linear\n\n[avgpool]\n\n[softmax]";
    expect_text(COMMENTED, (const int[]){ 3, -1 }, LEFT);
    char crlf[2048], left[2048], *to = crlf;
    for (const char *c = COMMENTED; *c; *to++ = *c++)
        if (*c == '\n') *to++ = '\r';
    *to = 0;
    to = left;
    for (const char *c = LEFT; *c; *to++ = *c++)
        if (*c == '\n') *to++ = '\r';
    *to = 0;
    expect_text(crlf, (const int[]){ 3, -1 }, left);
    /* nothing stands between the sections */
    expect_text("[net]\nbatch=1\nwidth=8\nheight=8\nchannels=3\n[conv]\nfilters=4\nactivation=relu\n[conv]\nfilters=4\nactivation=linear\n[shortcut]\nfrom=-2\nactivation=relu\n# next\n[avg]\n",
                (const int[]){ 2, -1 }, "[net]\nbatch=1\nwidth=8\nheight=8\nchannels=3\n[conv]\nfilters=4\nactivation=relu\n# next\n[avg]\n");
    /* the block is the end of the file, which lacks its last newline */
    expect_text(NET CONV(4) CONV(4) "[shortcut]\nfrom=-2", (const int[]){ 2, -1 }, NET "[convolutional]\nfilters=4\nsize=3\nstride=1\npad=1\nactivation=leaky\n");
}

static void a_shortcut_whose_activation_stays_becomes_an_activation(void **state)
{
    (void)state;
    expect_text(NET CONV(4) CONV(4) "# sum\n [ shortcut ]\nfrom = -2\n# how\n activation = relu\nalpha=1\nstopbackward=1\n\n" HEAD, (const int[]){ 2, -1 },
                NET CONV(4) "# sum\n [activation]\n# how\n activation = relu\nstopbackward=1\n\n" HEAD);
}

static void gates_inside_go_and_the_one_before_stays(void **state)
{
    (void)state;
    expect_text(NET CONV(4) "[gate]\n\n" CONV(4) "# g\n[gate]\n\n" SHORTCUT(-2) HEAD, (const int[]){ 2, -1 }, NET CONV(4) "[gate]\n\n" HEAD);
}

static void numbers_that_cross_a_block_move_in_their_own_form(void **state)
{
    (void)state;
    /* 0 conv, 1-2 block, 3 conv, 4-5 block, then readers by number */
    static const char TEXT[] = NET CONV(4) CONV(4) SHORTCUT(-2) CONV(4) CONV(4) SHORTCUT(3) ROUTE("-1, 2 ,-4,0, - 3") CONV(4) "[shortcut]\nfrom=5\n\n" ROUTE("8,2") HEAD;
    expect_text(TEXT, (const int[]){ 2, -1 }, NET CONV(4) CONV(4) CONV(4) SHORTCUT(1) ROUTE("-1, 0 ,-4,0, - 3") CONV(4) "[shortcut]\nfrom=3\n\n" ROUTE("6,0") HEAD);
    expect_text(TEXT, (const int[]){ 5, -1 }, NET CONV(4) CONV(4) SHORTCUT(-2) CONV(4) ROUTE("-1, 2 ,-2,0, -1") CONV(4) "[shortcut]\nfrom=3\n\n" ROUTE("6,2") HEAD);
    expect_text(TEXT, (const int[]){ 5, 2, -1 }, NET CONV(4) CONV(4) ROUTE("-1, 0 ,-2,0, -1") CONV(4) "[shortcut]\nfrom=1\n\n" ROUTE("4,0") HEAD);
}

static void every_key_that_holds_a_layer_number_moves(void **state)
{
    (void)state;
    expect_text(NET CONV(4) CONV(4) SHORTCUT(-2) CONV(4) "[sam]\nfrom=2\n\n[avgpool]\n\n[scale_channels]\nfrom=-4\n\n"
                "[convolutional]\nfilters=4\nsize=3\nstride=1\npad=1\nshare_index=3\nactivation=leaky\n\n" HEAD, (const int[]){ 2, -1 },
                NET CONV(4) CONV(4) "[sam]\nfrom=0\n\n[avgpool]\n\n[scale_channels]\nfrom=-4\n\n[convolutional]\nfilters=4\nsize=3\nstride=1\npad=1\nshare_index=1\nactivation=leaky\n\n" HEAD);
    expect_text(NET CONV(4) CONV(4) SHORTCUT(-2) YOLO "[route]\nlayers=2\n\n[convolutional]\nfilters=6\nsize=1\nactivation=linear\n\n[yolo]\nmask=0\nanchors=1,1\nclasses=1\nnum=1\nembedding_layer=2\n\n",
                (const int[]){ 2, -1 }, NET CONV(4) YOLO "[route]\nlayers=0\n\n[convolutional]\nfilters=6\nsize=1\nactivation=linear\n\n[yolo]\nmask=0\nanchors=1,1\nclasses=1\nnum=1\nembedding_layer=0\n\n");
}

static void blocks_inside_blocks_go_with_them(void **state)
{
    (void)state;
    static const char TEXT[] = NET CONV(4) CONV(4) CONV(4) SHORTCUT(1) CONV(4) SHORTCUT(0) HEAD;
    expect_text(TEXT, (const int[]){ 3, -1 }, NET CONV(4) CONV(4) CONV(4) SHORTCUT(0) HEAD);
    expect_text(TEXT, (const int[]){ 5, -1 }, NET CONV(4) HEAD);
    expect_text(TEXT, (const int[]){ 3, 5, 3, -1 }, NET CONV(4) HEAD);
    /* an outer branch of which nothing is left but its source: x + x */
    expect_text(NET CONV(4) CONV(4) SHORTCUT(0) "[shortcut]\nfrom=-3\nactivation=linear\n\n" HEAD, (const int[]){ 2, -1 }, NET CONV(4) "[shortcut]\nfrom=-1\nactivation=linear\n\n" HEAD);
}

static void layers_are_numbered_back_to_the_whole_network(void **state)
{
    (void)state;
    struct text_net t;
    struct prune_drop d;
    text_open(&t, NET CONV(4) CONV(6) CONV(4) SHORTCUT(0) CONV(4) SHORTCUT(-2) HEAD);
    if (prune_drop_open(&d, &t.net, NULL, (const int[]){ 3 }, 1, &st)) fail_msg("%s", st.message);
    static const int OLD[] = { 0, 4, 5, 6, 7, 8 }, NEW[] = { 0, -1, -1, -1, 1, 2, 3, 4, 5 };
    assert_int_equal(d.dropped.layer_count, 6);
    assert_memory_equal(d.dropped.old_of, OLD, sizeof OLD);
    assert_memory_equal(d.dropped.new_of, NEW, sizeof NEW);
    assert_int_equal(d.net.macs + d.dropped.blocks[0].macs, t.net.macs);
    assert_int_equal(d.net.parameters + d.dropped.blocks[0].parameters, t.net.parameters);
    /* the unit {0, 2, 4} lost a member, those of layer 1 are gone */
    assert_int_equal(t.units.items[unit_of(&t, 0, 1)].member_count, 3);
    assert_int_equal(d.units.items[d.units.of_channel[0][1]].member_count, 2);
    double values[64], out[64];
    for (size_t u = 0; u < t.units.count; u++) values[u] = (double)u;
    prune_drop_values(&d, &t.units, values, out);
    assert_true(out[d.units.of_channel[1][3]] == unit_of(&t, 4, 3));
    assert_true(out[d.units.of_channel[3][2]] == unit_of(&t, 6, 2));
    prune_drop_close(&d);
    text_close(&t);
}

static void the_stored_values_of_the_rest_stay_where_they_lie(void **state)
{
    (void)state;
    struct text_net t;
    struct prune_drop d;
    struct prune_weights w;
    text_open(&t, NET BN(4) BN(6) CONV(4) SHORTCUT(0) CONV(5) HEAD);
    struct prune_weights_layout layout;
    assert_int_equal(prune_layout_build(&layout, &t.net, &st), PRUNE_OK);
    char path[] = "/tmp/prune-blocks-XXXXXX";
    FILE *f = fdopen(mkstemp(path), "wb");
    fwrite((const int32_t[]){ 0, 2, 0, 0, 0 }, 4, 5, f);
    for (size_t i = 0; i < layout.floats; i++) fwrite(&(const float){ (float)i }, 4, 1, f);
    fclose(f);
    if (prune_weights_open(&w, path, &t.net, &st) || prune_drop_open(&d, &t.net, &w, (const int[]){ 3 }, 1, &st)) fail_msg("%s", st.message);
    size_t first = 4 * 4 + 4 * 27, block = 6 * 4 + 6 * 36 + 4 + 4 * 54;
    size_t left = 0;
    for (size_t i = 0; i < d.weights.layout.count; i++) left += d.weights.layout.tensors[i].count;
    assert_int_equal(left, layout.floats - block);
    const struct prune_weights_tensor *biases = prune_layout_find(&d.weights.layout, 1, PRUNE_BIASES);
    assert_true(*prune_weights_data(&d.weights, biases) == (float)(first + block));
    assert_int_equal(biases->count, 5);
    prune_drop_close(&d);
    prune_weights_close(&w);
    unlink(path);
    prune_layout_free(&layout);
    text_close(&t);
}

static void a_network_keeps_a_layer_with_weights(void **state)
{
    (void)state;
    struct text_net t;
    struct prune_drop d;
    text_open(&t, NET "[maxpool]\nsize=2\nstride=2\n\n" BN(3) SHORTCUT(-2) "[softmax]\n");
    assert_int_equal(prune_drop_open(&d, &t.net, NULL, (const int[]){ 2 }, 1, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "no convolutional or connected layer left"));
    text_close(&t);
}

static void branches_are_silenced_where_weights_can(void **state)
{
    (void)state;
    static const struct { const char *text; int shortcut; const char *why; uint8_t silent[12]; } CASES[] = {
        { NET CONV(4) CONV(4) CONV(4) SHORTCUT(0) HEAD, 3, NULL, { 0, 0, 1 } },
        { NET CONV(4) ACT(4, "logistic") SHORTCUT(0) HEAD, 2, "layer 1 ([convolutional], activation logistic) does not keep a zero", { 0 } },
        { NET CONV(4) ACT(4, "logistic") "[batchnorm]\n\n" SHORTCUT(0) HEAD, 3, NULL, { 0, 0, 1 } },
        { NET CONV(4) CONV(2) CONV(2) ROUTE("-1,-2") SHORTCUT(0) HEAD, 4, NULL, { 0, 1, 1 } },
        { NET CONV(4) CONV(4) CONV(4) SHORTCUT(1) SHORTCUT(0) HEAD, 4, NULL, { 0, 1, 1 } },
        { NET CONV(4) CONV(4) SHORTCUT(0) "[maxpool]\nsize=1\nstride=1\n\n" SHORTCUT(0) HEAD, 4, "passes layer 0 on", { 0 } },
        { NET CONV(4) CONV(4) ACT(4, "logistic") "[sam]\nfrom=1\n\n" SHORTCUT(0) HEAD, 4, NULL, { 0, 1 } },
        { NET CONV(4) CONV(4) "[convolutional]\nfilters=4\nsize=3\npad=1\nshare_index=1\nactivation=leaky\n\n" SHORTCUT(0) HEAD, 3, "does not have all its values", { 0 } },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct text_net t;
        uint8_t silent[12] = { 0 };
        text_open(&t, CASES[i].text);
        struct prune_blocks b = find(&t);
        const struct prune_block *block;
        if (prune_blocks_get(&b, &t.net, CASES[i].shortcut, &block, &st)) fail_msg("case %zu: %s", i, st.message);
        enum prune_code rc = prune_block_silence(block, &t.net, silent, &st);
        if ((rc != PRUNE_OK) != (CASES[i].why != NULL) || (rc && !strstr(st.message, CASES[i].why))) fail_msg("case %zu: %s", i, rc ? st.message : "silenced");
        if (!rc) assert_memory_equal(silent, CASES[i].silent, sizeof silent);
        prune_blocks_free(&b);
        text_close(&t);
    }
}

static void a_block_scores_the_mean_of_its_removable_units(void **state)
{
    (void)state;
    struct text_net t;
    double scores[64] = { 0 }, score[2];
    text_open(&t, NET CONV(2) CONV(3) CONV(2) SHORTCUT(0) CONV(2) SHORTCUT(-2) HEAD);
    struct prune_blocks b = find(&t);
    for (int c = 0; c < 3; c++) scores[unit_of(&t, 1, c)] = c + 1;       /* 1, 2, 3 */
    for (int c = 0; c < 2; c++) scores[unit_of(&t, 0, c)] = 7;           /* with layers 2 and 4 */
    assert_int_equal(prune_blocks_score(&b, &t.net, &t.units, scores, score, &st), PRUNE_OK);
    assert_true(score[0] == (1 + 2 + 3 + 7 + 7) / 5.0);
    assert_true(score[1] == 7);
    assert_int_equal(prune_units_protect(&t.units, &t.net, "0", &st), PRUNE_OK);
    assert_int_equal(prune_blocks_score(&b, &t.net, &t.units, scores, score, &st), PRUNE_OK);
    assert_true(score[0] == 2);
    assert_true(isnan(score[1]));
    prune_blocks_free(&b);
    text_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_have_a_shortcut_a_source_and_a_cost),
        cmocka_unit_test(an_activation_stays_where_it_would_change_what_the_source_gives),
        cmocka_unit_test(other_shortcuts_say_why),
        cmocka_unit_test(the_text_is_what_a_careful_person_would_have_left),
        cmocka_unit_test(a_shortcut_whose_activation_stays_becomes_an_activation),
        cmocka_unit_test(gates_inside_go_and_the_one_before_stays),
        cmocka_unit_test(numbers_that_cross_a_block_move_in_their_own_form),
        cmocka_unit_test(every_key_that_holds_a_layer_number_moves),
        cmocka_unit_test(blocks_inside_blocks_go_with_them),
        cmocka_unit_test(layers_are_numbered_back_to_the_whole_network),
        cmocka_unit_test(the_stored_values_of_the_rest_stay_where_they_lie),
        cmocka_unit_test(a_network_keeps_a_layer_with_weights),
        cmocka_unit_test(branches_are_silenced_where_weights_can),
        cmocka_unit_test(a_block_scores_the_mean_of_its_removable_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
