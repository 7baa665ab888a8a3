/* Expand-pruning: what changes width together, which of it is chosen, and the cfg that is written, each on a network whose answer is known by hand; then every cfg that the project has. */
#include <glob.h>
#include <math.h>

#include "../../plugin/rewrite/expand.h"
#include "net_text.h"

struct rig {
    struct text_net t;
    uint8_t *removed;
    struct prune_expand_options o;
    struct prune_expansion e;
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_status st;
};

static void start(struct rig *r, const char *text)
{
    memset(r, 0, sizeof *r);
    text_open(&r->t, text);
    r->removed = calloc(r->t.units.count + 1, 1);
    r->o = (struct prune_expand_options){ .factor = 2, .count = 1 };
}

static void gone(struct rig *r, int layer, int channels)
{
    for (int c = 0; c < channels; c++) r->removed[unit_of(&r->t, layer, c)] = 1;
}

/* Builds and writes; true when both worked. stop() or again() ends it. */
static bool go(struct rig *r)
{
    if (prune_expand_build(&r->e, &r->t.net, &r->t.units, r->removed, &r->o, &r->st)) return false;
    if (!prune_expand_cfg(&r->e, &r->t.net, "(wide)", &r->cfg, &r->net, &r->st)) return true;
    prune_expand_free(&r->e);
    return false;
}

static void again(struct rig *r)
{
    prune_net_free(&r->net);
    prune_cfg_free(&r->cfg);
    prune_expand_free(&r->e);
}

static void stop(struct rig *r)
{
    free(r->removed);
    text_close(&r->t);
}

static void expect(struct rig *r)
{
    if (!go(r)) fail_msg("%s", r->st.message);
}

/* Widths of the layers that make channels: "3 16 32". */
static const char *widths(const struct rig *r)
{
    static char text[512];
    *text = 0;
    for (size_t i = 0; i < r->net.layer_count; i++)
        if (prune_kind_info(r->net.layers[i].kind)->rule == PRUNE_CH_PRODUCE)
            snprintf(text + strlen(text), sizeof text - strlen(text), "%s%d", *text ? " " : "", r->net.layers[i].out_c);
    return text;
}

static void the_least_pruned_layers_of_a_plain_net_become_wider_and_nothing_else_changes(void **state)
{
    (void)state;
    struct rig r;
    start(&r, NET "# stem\n" CONV(4) "; body\n" CONV(8) HEAD);
    gone(&r, 0, 3);
    gone(&r, 1, 4);
    expect(&r);
    assert_string_equal(r.cfg.bytes, NET "# stem\n" CONV(4) "; body\n" CONV(16) HEAD);
    assert_int_equal(r.e.candidate_count, 2);
    assert_int_equal(r.e.candidates[0].layer, 1);
    assert_int_equal(r.e.candidates[0].removed, 4);
    assert_int_equal(r.e.candidates[0].channels, 8);
    assert_int_equal(r.net.macs, 64 * (27 * 4 + 36 * 16 + 16 * 5));
    assert_int_equal(r.net.parameters, 27 * 4 + 4 + 36 * 16 + 16 + 16 * 5 + 5);
    again(&r);
    r.o.count = 9;                               /* more than there are: all; the softmax keeps the classes */
    expect(&r);
    assert_string_equal(widths(&r), "8 16 5");
    again(&r);
    stop(&r);
}

static void equal_ratios_go_by_the_first_layer(void **state)
{
    (void)state;
    struct rig r;
    start(&r, NET CONV(4) CONV(8) CONV(4) HEAD);
    gone(&r, 0, 2);
    gone(&r, 1, 2);
    gone(&r, 2, 1);
    expect(&r);
    assert_string_equal(widths(&r), "4 16 4 5");
    again(&r);
    r.o.count = 2;
    expect(&r);
    assert_string_equal(widths(&r), "4 16 8 5");
    again(&r);
    stop(&r);
}

static void a_fractional_factor_rounds_up(void **state)
{
    (void)state;
    struct rig r;
    start(&r, NET CONV(7) CONV(16) HEAD);
    r.o.factor = 1.1;
    r.o.count = 2;
    expect(&r);
    assert_string_equal(widths(&r), "8 18 5");
    again(&r);
    r.o.factor = 1.5;                            /* whole results are not rounded */
    expect(&r);
    assert_string_equal(widths(&r), "11 24 5");
    again(&r);
    stop(&r);
}

static void a_shortcut_of_equal_widths_ties_and_one_of_unequal_widths_does_not(void **state)
{
    (void)state;
    struct rig r;
    start(&r, NET BN(4) BN(6) BN(4) SHORTCUT(-3) BN(8) SHORTCUT(-2) BN(8) SHORTCUT(-2) HEAD);   /* layers 0 1 2 | 4 | 6 */
    r.o.count = 1;
    gone(&r, 1, 2);
    gone(&r, 0, 1);                              /* one of the 4 channels of both streams */
    expect(&r);
    assert_int_equal(r.e.widths.group_of[2], 0);
    assert_int_equal(r.e.widths.group_of[6], 4);
    assert_string_equal(widths(&r), "4 6 4 16 16 5");   /* 2 of 16 against 2 of 8 and 2 of 6 */
    again(&r);
    r.o.count = 2;
    expect(&r);
    assert_string_equal(widths(&r), "8 6 8 16 16 5");
    again(&r);
    r.removed[unit_of(&r.t, 1, 0)] = r.removed[unit_of(&r.t, 1, 1)] = 0;
    r.o.count = 1;
    expect(&r);
    assert_string_equal(widths(&r), "4 12 4 8 8 5");
    again(&r);
    stop(&r);
}

static void all_sources_of_a_route_are_tied_to_what_is_added_to_it(void **state)
{
    (void)state;
    struct rig r;
    start(&r, NET CONV(4) CONV(6) ROUTE("-1,-2") CONV(10) SHORTCUT(-2) CONV(3) HEAD);
    gone(&r, 5, 1);
    expect(&r);
    assert_string_equal(widths(&r), "8 12 20 3 5");
    again(&r);
    stop(&r);
}

static void products_tie_and_the_squeeze_stays_alone(void **state)
{
    (void)state;
    struct rig r;
    start(&r, NET CONV(8) SQUEEZE(3, 8) SCALE(-4) HEAD);
    gone(&r, 2, 1);
    expect(&r);
    assert_string_equal(widths(&r), "16 3 16 5");
    again(&r);
    r.o.by = PRUNE_EXPAND_STAGES;                /* the factors of 1 x 1 belong to the map they scale */
    expect(&r);
    assert_int_equal(r.e.candidate_count, 2);
    assert_string_equal(widths(&r), "16 3 16 5");
    again(&r);
    stop(&r);
}

static void convolutions_that_share_values_are_tied_and_so_are_their_inputs(void **state)
{
    (void)state;
    struct rig r;
    start(&r, NET CONV(4) CONV(4) SHARE(4, -1) CONV(3) HEAD);    /* 2 has the values of 1, which reads 0 */
    gone(&r, 3, 1);
    expect(&r);
    assert_string_equal(widths(&r), "8 8 8 3 5");
    again(&r);
    stop(&r);
}

static void what_is_cut_into_slices_widens_as_one(void **state)
{
    (void)state;
    struct rig r;
    start(&r, NET CONV(4) CONV(6) ROUTE("-1,-2") SLICE("-1", 2, 1) CONV(5) SHORTCUT(-2) CONV(3) HEAD);
    gone(&r, 6, 1);
    expect(&r);
    assert_string_equal(widths(&r), "8 12 10 3 5");
    again(&r);
    stop(&r);
    start(&r, NET CONV(2) CONV(4) ROUTE("-1,-2") GROUPED(9, 3) CONV(3) HEAD);   /* groups cut what they read, too */
    gone(&r, 4, 1);
    expect(&r);
    assert_string_equal(widths(&r), "4 8 18 3 5");
    again(&r);
    stop(&r);
}

static void a_depthwise_convolution_and_its_groups_follow_the_input(void **state)
{
    (void)state;
    struct rig r;
    start(&r, NET CONV(8) GROUPED(16, 8) CONV(6) HEAD);
    gone(&r, 2, 1);
    expect(&r);
    assert_string_equal(r.cfg.bytes, NET CONV(16) GROUPED(32, 16) CONV(6) HEAD);
    again(&r);
    r.o.factor = 1.4;                            /* 11.2: 12 inputs, 2 filters each */
    expect(&r);
    assert_string_equal(r.cfg.bytes, NET CONV(12) GROUPED(24, 12) CONV(6) HEAD);
    again(&r);
    stop(&r);
}

static void a_grouped_convolution_keeps_its_groups_and_widens_with_its_input(void **state)
{
    (void)state;
    struct rig r;
    start(&r, NET CONV(6) GROUPED(9, 3) CONV(4) HEAD);
    gone(&r, 2, 1);
    expect(&r);
    assert_string_equal(r.cfg.bytes, NET CONV(12) GROUPED(18, 3) CONV(4) HEAD);
    assert_int_equal(r.net.macs, 64 * (27 * 12 + 9 * 4 * 18 + 9 * 18 * 4 + 4 * 5));
    again(&r);
    r.o.factor = 1.3;                            /* 8 channels in 3 groups */
    assert_false(go(&r));
    assert_non_null(strstr(r.st.message, "groups"));
    stop(&r);
}

static void widths_that_come_apart_are_refused(void **state)
{
    (void)state;
    struct rig r;
    start(&r, NET CONV(3) CONV(3) ROUTE("-1,-2") CONV(6) SHORTCUT(-2) HEAD);
    r.o.factor = 1.1;                            /* 4 + 4 against 7 */
    assert_false(go(&r));
    assert_string_equal(r.st.message, "the shortcut at layer 4 would add 8 channels onto 7, where both were 6; use a whole factor");
    stop(&r);
}

static void what_the_user_protects_and_what_a_head_reads_stays(void **state)
{
    (void)state;
    struct rig r;
    start(&r, NET CONV(4) CONV(8) HEAD);
    prune_units_protect_layer(&r.t.units, &r.t.net, 0);
    r.o.count = 9;
    expect(&r);
    assert_string_equal(widths(&r), "4 16 5");
    assert_string_equal(r.e.widths.fixed[0], "protected by the user (-protect)");
    assert_string_equal(r.e.widths.fixed[2], "read by a softmax (layer 4)");
    again(&r);
    prune_units_protect_layer(&r.t.units, &r.t.net, 1);
    assert_false(go(&r));
    assert_string_equal(r.st.message, "no layer of '(memory)' can be widened: each has its width fixed; 'darknet prune inspect' says by what");
    stop(&r);
}

static void senseless_options_are_refused(void **state)
{
    (void)state;
    struct rig r;
    start(&r, NET CONV(4) HEAD);
    const double bad[] = { 0, 1, -2, 8.01, NAN, INFINITY };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        r.o.factor = bad[i];
        assert_false(go(&r));
    }
    r.o.factor = 8;
    r.o.count = 0;
    assert_false(go(&r));
    r.o.count = 1;
    expect(&r);
    assert_string_equal(widths(&r), "32 5");
    again(&r);
    stop(&r);
}

static char *read_text(const char *path)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    char *text = calloc(1, 1 << 20);
    assert_true(fread(text, 1, (1 << 20) - 1, f) > 0);
    fclose(f);
    return text;
}

/* ResNet-20: stages of 16, 32, 64 channels on maps of 32 x 32, 16 x 16, 8 x 8, joined by shortcuts of unequal width. */
static void a_stage_of_resnet_widens_alone(void **state)
{
    (void)state;
    static const struct { int layer; uint64_t w[3]; } CASES[] = { { 2, { 32, 32, 64 } }, { 13, { 16, 64, 64 } }, { 24, { 16, 32, 128 } } };
    char *text = read_text("cfg/resnet20-cifar.cfg");
    for (size_t k = 0; k < 3; k++) {
        struct rig r;
        start(&r, text);
        prune_units_protect_layer(&r.t.units, &r.t.net, 0);
        for (size_t other = 0; other < 3; other++)
            if (other != k) gone(&r, CASES[other].layer, 5);
        r.o.by = PRUNE_EXPAND_STAGES;
        expect(&r);
        const uint64_t *w = CASES[k].w, area[] = { 1024, 256, 64 };
        uint64_t macs = 9 * 1024 + 27 * w[0] * 1024 + 10 * w[2], parameters = 9 + 3 + 27 * w[0] + 2 * w[0] + 10 * w[2] + 10;
        for (size_t s = 0; s < 3; s++)
            for (int conv = 0; conv < 6; conv++) {
                uint64_t in = s && !conv ? w[s - 1] : w[s];
                macs += 9 * in * w[s] * area[s];
                parameters += 9 * in * w[s] + 2 * w[s];
            }
        assert_int_equal(r.e.candidate_count, 3);
        assert_int_equal(r.net.macs, macs);
        assert_int_equal(r.net.parameters, parameters);
        again(&r);
        stop(&r);
    }
    free(text);
}

/* Twice as wide wherever that is possible: reads back, what is fixed is fixed for the same reason, the rest is exactly twice as wide, and the same layers change together. */
static void check_doubled(struct rig *r)
{
    struct prune_units units;
    struct prune_widths now;
    if (prune_units_build(&units, &r->net, &r->st) || prune_widths_build(&now, &r->net, &units, &r->st)) fail_msg("%s", r->st.message);
    for (size_t i = 0; i < r->net.layer_count; i++) {
        const struct prune_layer *was = &r->t.net.layers[i], *is = &r->net.layers[i];
        int group = r->e.widths.group_of[i];
        if (prune_kind_info(was->kind)->rule != PRUNE_CH_PRODUCE) continue;
        const char *fixed = r->e.widths.fixed[group];
        assert_int_equal(is->out_c, fixed ? was->out_c : 2 * was->out_c);
        assert_int_equal(prune_is_depthwise(is), prune_is_depthwise(was));
        if (!prune_is_depthwise(was)) assert_int_equal(is->groups, was->groups);
        assert_int_equal(now.group_of[i], now.group_of[group]);
        if (fixed) assert_string_equal(now.fixed[now.group_of[i]], fixed);
        else assert_null(now.fixed[now.group_of[i]]);
    }
    prune_widths_free(&now);
    prune_units_free(&units);
}

static void every_cfg_of_the_project_widens(void **state)
{
    (void)state;
    glob_t files = { 0 };
    assert_int_equal(glob("cfg/*.cfg", 0, NULL, &files), 0);
    assert_int_equal(glob("cfg/styles/*.cfg", GLOB_APPEND, NULL, &files), 0);
    size_t widened = 0;
    for (size_t i = 0; i < files.gl_pathc; i++) {
        struct rig r;
        char *text = read_text(files.gl_pathv[i]);
        start(&r, text);
        r.o.count = 1000;
        r.o.by = i % 2 ? PRUNE_EXPAND_STAGES : PRUNE_EXPAND_LAYERS;
        if (go(&r)) {
            check_doubled(&r);
            again(&r);
            widened++;
        } else {
            print_message("%s: %s\n", files.gl_pathv[i], r.st.message);
        }
        stop(&r);
        free(text);
    }
    assert_int_equal(widened, files.gl_pathc);
    assert_in_range(widened, 45, 1000);
    globfree(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_pruned_layers_of_a_plain_net_become_wider_and_nothing_else_changes),
        cmocka_unit_test(equal_ratios_go_by_the_first_layer),
        cmocka_unit_test(a_fractional_factor_rounds_up),
        cmocka_unit_test(a_shortcut_of_equal_widths_ties_and_one_of_unequal_widths_does_not),
        cmocka_unit_test(all_sources_of_a_route_are_tied_to_what_is_added_to_it),
        cmocka_unit_test(products_tie_and_the_squeeze_stays_alone),
        cmocka_unit_test(convolutions_that_share_values_are_tied_and_so_are_their_inputs),
        cmocka_unit_test(what_is_cut_into_slices_widens_as_one),
        cmocka_unit_test(a_depthwise_convolution_and_its_groups_follow_the_input),
        cmocka_unit_test(a_grouped_convolution_keeps_its_groups_and_widens_with_its_input),
        cmocka_unit_test(widths_that_come_apart_are_refused),
        cmocka_unit_test(what_the_user_protects_and_what_a_head_reads_stays),
        cmocka_unit_test(senseless_options_are_refused),
        cmocka_unit_test(a_stage_of_resnet_widens_alone),
        cmocka_unit_test(every_cfg_of_the_project_widens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
