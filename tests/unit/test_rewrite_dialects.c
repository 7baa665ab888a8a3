/* Rewriting groups and what AlexeyAB's and hank-ai's Darknet add (docs/dialects.md): each stored value of the smaller network is the one its old
 * place says, the masked file silences readers and nobody else, and random masks of everything read back at the promised cost. */
#include "rewrite_rig.h"

static void flipped_groups_gather_the_inputs_that_each_of_them_keeps(void **state)
{
    (void)state;
    struct rig r;
    size_t places[64], n = 0;
    /* (3 inputs of a group, 6 filters): group 0 keeps inputs 0 and 2, group 1 keeps 4 and 5; filters 1 and 3 go */
    rig_open(&r, NET CONV(6) "[convolutional]\nfilters=6\nsize=1\nstride=1\npad=0\ngroups=2\nactivation=relu\nflipped=1\n\n" HEAD,
             (const int[]){ 0, 1, 0, 3, 1, 1, 1, 3, -1 }, 0);
    n += kernels(places + n, (const int[]){ 0 }, 1, (const int[]){ 0, 2 }, 2, 6, 1);
    n += kernels(places + n, (const int[]){ 1 }, 1, (const int[]){ 4, 5 }, 2, 6, 1);
    n += kernels(places + n, (const int[]){ 2 }, 1, (const int[]){ 0, 2, 4, 5 }, 4, 6, 1);
    expect_places(&r, 1, PRUNE_WEIGHTS, places, n);
    const float *masked = tensor(&r.masked, 1, PRUNE_WEIGHTS, NULL), *in = tensor(&r.in, 1, PRUNE_WEIGHTS, NULL);
    for (size_t i = 0; i < 18; i++) {
        bool silent = (i / 6 == 1 && i % 6 < 3) || (i / 6 == 0 && i % 6 >= 3);
        assert_true(masked[i] == (silent ? 0 : in[i]));
    }
    rig_close(&r);
}

static void whole_groups_of_a_convolution_may_go(void **state)
{
    (void)state;
    struct rig r;
    size_t places[256];
    /* group 1 of 3 goes with its inputs 2, 3 and its filters 3, 4, 5; of the others one filter each */
    rig_open(&r, NET CONV(6) GROUPED(9, 3) HEAD, (const int[]){ 0, 2, 0, 3, 1, 3, 1, 4, 1, 5, 1, 0, 1, 8, -1 }, 0);
    size_t n = kernels(places, (const int[]){ 1, 2, 6, 7 }, 4, (const int[]){ 0, 1 }, 2, 2, 9);
    expect_places(&r, 1, PRUNE_WEIGHTS, places, n);
    assert_int_equal(r.small.net.layers[1].groups, 2);
    assert_int_equal(r.small.net.layers[1].c, 4);
    assert_int_equal(r.small.net.layers[1].out_c, 4);
    struct prune_cost cost;
    prune_units_cost(&r.t.net, &r.t.units, r.removed, &cost);
    assert_int_equal(cost.parameters, r.small.net.parameters);
    assert_int_equal(cost.macs, r.small.net.macs);
    rig_close(&r);
    /* all groups but one: an ordinary convolution */
    rig_open(&r, NET CONV(4) GROUPED(4, 2) HEAD, (const int[]){ 0, 0, 0, 1, 1, 0, 1, 1, -1 }, 0);
    n = kernels(places, (const int[]){ 2, 3 }, 2, (const int[]){ 0, 1 }, 2, 2, 9);
    expect_places(&r, 1, PRUNE_WEIGHTS, places, n);
    assert_int_equal(r.small.net.layers[1].groups, 1);
    rig_close(&r);
    /* one input left in each group: reads back as a depthwise convolution of the same cost */
    rig_open(&r, NET CONV(4) GROUPED(4, 2) HEAD, (const int[]){ 0, 0, 0, 3, -1 }, 0);
    n = kernels(places, (const int[]){ 0, 1 }, 2, (const int[]){ 1 }, 1, 2, 9) ;
    n += kernels(places + n, (const int[]){ 2, 3 }, 2, (const int[]){ 0 }, 1, 2, 9);
    expect_places(&r, 1, PRUNE_WEIGHTS, places, n);
    assert_true(prune_is_depthwise(&r.small.net.layers[1]));
    prune_units_cost(&r.t.net, &r.t.units, r.removed, &cost);
    assert_int_equal(cost.parameters, r.small.net.parameters);
    assert_int_equal(cost.macs, r.small.net.macs);
    rig_close(&r);
}

static void groups_that_go_in_part_are_refused(void **state)
{
    (void)state;
    struct text_net t;
    struct prune_plan plan;
    uint8_t removed[64] = { 0 };
    text_open(&t, NET CONV(6) GROUPED(9, 3) HEAD);
    removed[unit_of(&t, 0, 2)] = removed[unit_of(&t, 0, 3)] = 1;             /* the inputs of group 1, not its filters */
    assert_int_equal(prune_plan_build(&plan, &t.net, &t.units, removed, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "leaves 2 channels in group 0 and 0 in group 1 of layer 1"));
    assert_non_null(strstr(st.message, "all their inputs and filters"));
    removed[unit_of(&t, 0, 2)] = removed[unit_of(&t, 0, 3)] = 0;
    for (int c = 3; c < 6; c++) removed[unit_of(&t, 1, c)] = 1;              /* its filters, not its inputs */
    assert_int_equal(prune_plan_build(&plan, &t.net, &t.units, removed, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "leaves 3 channels in group 0 and 0 in group 1 of layer 1"));
    removed[unit_of(&t, 0, 2)] = removed[unit_of(&t, 0, 3)] = removed[unit_of(&t, 1, 8)] = 1;   /* whole, but groups 0 and 2 differ */
    assert_int_equal(prune_plan_build(&plan, &t.net, &t.units, removed, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "leaves 3 channels in group 0 and 2 in group 2 of layer 1"));
    text_close(&t);
}

/* The new cfg's line that starts with `key` in the section of a layer, or "". */
static const char *line_of(const struct rig *r, int layer, const char *key)
{
    return prune_cfg_string(&r->small.cfg.sections[r->small.net.layers[layer].section], key, "");
}

static void a_grouped_route_keeps_its_slice(void **state)
{
    (void)state;
    struct rig r;
    size_t places[512];
    /* one channel of every slice of both sources; the slice that is read: 4, 5 of layer 0 and 2 of layer 1 */
    rig_open(&r, NET CONV(8) CONV(8) SLICE("0,1", 4, 2) CONV(3) ROUTE("0,-1") HEAD,
             (const int[]){ 0, 0, 0, 3, 0, 4, 0, 7, 1, 1, 1, 2, 1, 5, 1, 6, -1 }, 0);
    assert_int_equal(r.plan.layers[2].groups, 4);
    assert_int_equal(r.plan.layers[2].group_id, 2);
    size_t n = kernels(places, (const int[]){ 0, 1, 2 }, 3, (const int[]){ 1, 2 }, 2, 4, 9);      /* reads 0:4 0:5 1:4 1:5, keeps 0:5 1:4 */
    expect_places(&r, 3, PRUNE_WEIGHTS, places, n);
    assert_string_equal(line_of(&r, 2, "groups"), "4");
    assert_string_equal(line_of(&r, 2, "group_id"), "2");
    rig_close(&r);
    /* slice 0 of both goes whole, and of slices 1 to 3 of layer 1 a channel each */
    rig_open(&r, NET CONV(8) CONV(8) SLICE("0,1", 4, 2) CONV(3) ROUTE("0,-1") HEAD, (const int[]){ 0, 0, 0, 1, 1, 0, 1, 1, 1, 2, 1, 4, 1, 7, -1 }, 0);
    n = kernels(places, (const int[]){ 0, 1, 2 }, 3, (const int[]){ 0, 1, 3 }, 3, 4, 9);
    expect_places(&r, 3, PRUNE_WEIGHTS, places, n);
    assert_string_equal(line_of(&r, 2, "groups"), "3");
    assert_string_equal(line_of(&r, 2, "group_id"), "1");
    assert_int_equal(r.small.net.layers[0].out_c, 6);
    assert_int_equal(r.small.net.layers[1].out_c, 3);
    assert_int_equal(r.small.net.layers[2].out_c, 3);
    rig_close(&r);
    /* only the slice that is read is left */
    rig_open(&r, NET CONV(4) SLICE("0", 2, 1) CONV(3) HEAD, (const int[]){ 0, 0, 0, 1, 0, 2, -1 }, 0);
    assert_string_equal(line_of(&r, 1, "groups"), "1");
    assert_string_equal(line_of(&r, 1, "group_id"), "0");
    n = kernels(places, (const int[]){ 0, 1, 2 }, 3, (const int[]){ 1 }, 1, 2, 9);
    expect_places(&r, 2, PRUNE_WEIGHTS, places, n);
    rig_close(&r);
}

static void slices_that_no_longer_fit_are_refused(void **state)
{
    (void)state;
    static const struct { int gone[9]; const char *message; } CASES[] = {
        { { 0, 0, -1 }, "leaves 1 channels in group 0 and 2 in group 1 of layer 2; groups must lose equally many, or go whole with that slice of every source" },
        { { 0, 0, 0, 1, -1 }, "leaves 0 channels in group 0 and 2 in group 1 of layer 2" },                 /* of one source only */
        { { 0, 2, 0, 3, 1, 1, -1 }, "removes every channel of layer 2" },                                  /* the slice that is read */
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct text_net t;
        struct prune_plan plan;
        uint8_t removed[64] = { 0 };
        text_open(&t, NET CONV(4) CONV(2) SLICE("0,1", 2, 1) CONV(3) ROUTE("0,1,-1") HEAD);
        for (const int *g = CASES[i].gone; *g >= 0; g += 2) removed[unit_of(&t, g[0], g[1])] = 1;
        assert_int_equal(prune_plan_build(&plan, &t.net, &t.units, removed, &st), PRUNE_FAILED);
        if (!strstr(st.message, CASES[i].message)) fail_msg("case %zu: %s", i, st.message);
        text_close(&t);
    }
}

static void weights_of_a_shortcut_lose_columns_or_nothing(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, NET CONV(6) CONV(3) CONV(4) "[shortcut]\nfrom=-2,-3\nweights_type=per_channel\nactivation=linear\n\n" HEAD, (const int[]){ 3, 0, 3, 3, 0, 5, -1 }, 0);
    expect_places(&r, 3, PRUNE_WEIGHTS, (const size_t[]){ 1, 2, 5, 6, 9, 10 }, 6);           /* 3 rows of 4 */
    assert_int_equal(r.small.net.layers[0].out_c, 3);
    assert_int_equal(r.small.net.layers[1].out_c, 2);
    assert_int_equal(r.small.net.layers[2].out_c, 2);
    const float *a = tensor(&r.in, 3, PRUNE_WEIGHTS, NULL), *b = tensor(&r.masked, 3, PRUNE_WEIGHTS, NULL);
    for (size_t i = 0; i < 12; i++) assert_true(a[i] == b[i]);                                /* its readers are silenced, not its weights */
    a = tensor(&r.in, 4, PRUNE_WEIGHTS, NULL);
    b = tensor(&r.masked, 4, PRUNE_WEIGHTS, NULL);
    for (size_t i = 0; i < 20; i++) assert_true(b[i] == (i % 4 == 0 || i % 4 == 3 ? 0 : a[i]));
    rig_close(&r);
    rig_open(&r, NET CONV(2) CONV(2) "[shortcut]\nfrom=-2\nweights_type=per_feature\nactivation=linear\n\n" HEAD, (const int[]){ 0, 1, -1 }, 0);
    expect_places(&r, 2, PRUNE_WEIGHTS, (const size_t[]){ 0, 1 }, 2);                          /* two addends, as many as there were channels */
    struct prune_cost cost;
    prune_units_cost(&r.t.net, &r.t.units, r.removed, &cost);
    assert_int_equal(cost.parameters, (27 + 1) + (9 + 1) + 2 + 5 * 2);
    assert_int_equal(cost.parameters, r.small.net.parameters);
    rig_close(&r);
}

static void implicit_maps_lose_rows(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, NET CONV(4) "[implicit]\nfilters=4\n\n" SCALE(0) HEAD, (const int[]){ 0, 1, -1 }, 0);
    expect_places(&r, 1, PRUNE_WEIGHTS, (const size_t[]){ 0, 2, 3 }, 3);
    assert_string_equal(line_of(&r, 1, "filters"), "3");
    const float *a = tensor(&r.in, 1, PRUNE_WEIGHTS, NULL), *b = tensor(&r.masked, 1, PRUNE_WEIGHTS, NULL);
    for (size_t i = 0; i < 4; i++) assert_true(a[i] == b[i]);
    rig_close(&r);
    rig_open(&r, NET CONV(4) "[implicit]\natoms=3\n\n" CONV(2) "[avgpool]\n\n[softmax]\n", (const int[]){ 1, 1, 1, 127, -1 }, 0);
    assert_string_equal(line_of(&r, 1, "filters"), "126");                                    /* 128 where the cfg does not say */
    size_t count;
    b = tensor(&r.out, 1, PRUNE_WEIGHTS, &count);
    a = tensor(&r.in, 1, PRUNE_WEIGHTS, NULL);
    assert_int_equal(count, 126 * 3);
    assert_memory_equal(b, a, 3 * sizeof *a);
    assert_memory_equal(b + 3, a + 6, 125 * 3 * sizeof *a);
    rig_close(&r);
}

static void a_squeeze_branch_and_its_product_follow(void **state)
{
    (void)state;
    struct rig r;
    size_t places[64];
    rig_open(&r, NET CONV(4) SQUEEZE(2, 4) SCALE(0) HEAD, (const int[]){ 0, 2, 2, 0, -1 }, 0);
    expect_places(&r, 0, PRUNE_BIASES, (const size_t[]){ 0, 1, 3 }, 3);
    size_t n = kernels(places, (const int[]){ 1 }, 1, (const int[]){ 0, 1, 3 }, 3, 4, 1);
    expect_places(&r, 2, PRUNE_WEIGHTS, places, n);
    n = kernels(places, (const int[]){ 0, 1, 3 }, 3, (const int[]){ 1 }, 1, 2, 1);
    expect_places(&r, 3, PRUNE_WEIGHTS, places, n);
    const float *a = tensor(&r.in, 5, PRUNE_WEIGHTS, NULL), *b = tensor(&r.masked, 5, PRUNE_WEIGHTS, NULL);
    for (size_t i = 0; i < 20; i++) assert_true(b[i] == (i % 4 == 2 ? 0 : a[i]));
    rig_close(&r);
}

static void shared_values_are_stored_once(void **state)
{
    (void)state;
    struct rig r;
    size_t places[512];
    rig_open(&r, NET CONV(4) CONV(5) ROUTE("0") CONV(4) SHARE(5, 1) ROUTE("1,4") HEAD, (const int[]){ 0, 1, 1, 4, -1 }, 0);
    size_t n = kernels(places, (const int[]){ 0, 1, 2, 3 }, 4, (const int[]){ 0, 2, 3 }, 3, 4, 9);
    expect_places(&r, 1, PRUNE_WEIGHTS, places, n);
    assert_null(prune_layout_find(&r.out.layout, 4, PRUNE_WEIGHTS));
    assert_string_equal(line_of(&r, 4, "filters"), "4");
    assert_string_equal(line_of(&r, 3, "filters"), "3");                                       /* input 1 of layer 4 is filter 1 of layer 3 */
    n = kernels(places, (const int[]){ 0, 1, 2, 3, 4 }, 5, (const int[]){ 0, 1, 2, 3, 5, 6, 7, 8 }, 8, 10, 1);
    expect_places(&r, 6, PRUNE_WEIGHTS, places, n);
    rig_close(&r);
}

static void space_to_depth_keeps_every_copy(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, NET CONV(3) "[reorg3d]\nstride=2\n\n" HEAD, (const int[]){ 0, 1, -1 }, 0);
    static const int KEPT[] = { 0, 2, 3, 5, 6, 8, 9, 11 };
    assert_int_equal(r.plan.layers[2].in_count, 8);
    assert_memory_equal(r.plan.layers[2].in_keep, KEPT, sizeof KEPT);
    rig_close(&r);
}

static void batchnorm_of_the_other_darknets_has_biases(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, NET ACT(4, "mish") "[batchnorm]\n\n" HEAD, (const int[]){ 0, 1, -1 }, 0);
    expect_places(&r, 1, PRUNE_BIASES, (const size_t[]){ 0, 2, 3 }, 3);
    expect_places(&r, 1, PRUNE_MEAN, (const size_t[]){ 0, 2, 3 }, 3);
    struct prune_cost cost;
    prune_units_cost(&r.t.net, &r.t.units, r.removed, &cost);
    assert_int_equal(cost.parameters, 3 * (3 + 1) + 3 * 2 + 5 * (3 + 1));
    rig_close(&r);
}

/* groups=1 alone would change nothing; it still says whose file this is, and so how much a [batchnorm] stores. */
static void a_route_left_with_one_slice_stays_a_route_of_its_darknet(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, NET CONV(4) "[batchnorm]\n\n" SLICE("1", 2, 1) CONV(3) HEAD, (const int[]){ 0, 0, 0, 1, -1 }, 0);
    assert_string_equal(line_of(&r, 2, "groups"), "1");
    assert_int_equal(r.small.net.dialects, PRUNE_ALEXEYAB);
    struct prune_cost cost;
    prune_units_cost(&r.t.net, &r.t.units, r.removed, &cost);
    assert_int_equal(cost.parameters, 2 * 28 + 2 * 2 + 3 * 19 + 5 * 4);
    assert_int_equal(cost.parameters, r.small.net.parameters);
    rig_close(&r);
}

static void a_blurred_convolution_costs_what_it_computes_before_the_blur(void **state)
{
    (void)state;
    struct rig r;
    rig_open(&r, NET CONV(4) "[convolutional]\nfilters=6\nsize=3\nstride=2\npad=1\nantialiasing=1\nactivation=relu6\n\n" HEAD, (const int[]){ 0, 1, 1, 5, -1 }, 0);
    assert_int_equal(r.small.net.layers[1].out_w, 4);
    struct prune_cost cost;
    prune_units_cost(&r.t.net, &r.t.units, r.removed, &cost);
    assert_int_equal(cost.macs, r.small.net.macs);
    assert_int_equal(cost.macs, 64 * 27 * 3 + 64 * 9 * 3 * 5 + 16 * 5 * 5);
    assert_int_equal(cost.parameters, r.small.net.parameters);
    rig_close(&r);
}

static void recurrent_layers_are_carried_along(void **state)
{
    (void)state;
    static const char *const KINDS[] = { "[conv_lstm]\noutput=4\nsize=3\npad=1\npeephole=1\nbatch_normalize=1\n\n",
                                         "[crnn]\noutput=4\nhidden=2\nsize=3\npad=1\nstride=1\nbatch_normalize=1\nactivation=leaky\n\n" };
    for (size_t k = 0; k < 2; k++) {
        struct rig r;
        char text[1024];
        snprintf(text, sizeof text, NET CONV(5) CONV(3) "%s" CONV(6) HEAD, KINDS[k]);
        rig_open(&r, text, (const int[]){ 0, 1, 3, 2, -1 }, 0);
        size_t tensors = 0;
        for (size_t i = 0; i < r.in.layout.count; i++) {
            const struct prune_weights_tensor *a = &r.in.layout.tensors[i], *b = &r.out.layout.tensors[i];
            if (a->layer != 2) continue;
            assert_int_equal(a->count, b->count);
            assert_memory_equal(prune_weights_data(&r.in, a), prune_weights_data(&r.out, b), a->count * sizeof(float));
            tensors++;
        }
        assert_in_range(tensors, 15, 55);
        rig_close(&r);
    }
}

/* A cfg of everything: random masks read back at the promised cost, whatever the balance asks for. */
static void random_masks_read_back_at_the_promised_cost(void **state)
{
    (void)state;
    struct text_net t, small;
    text_open(&t, EVERYTHING);
    uint8_t *removed = calloc(t.units.count, 1);
    int written = 0;
    for (uint32_t seed = 1; seed <= 3000; seed++) {
        struct prune_plan plan;
        struct prune_cost cost;
        char *bytes;
        size_t size;
        uint32_t x = seed;
        for (size_t u = 0; u < t.units.count; u++) {
            x = x * 1664525u + 1013904223u;
            removed[u] = !t.units.items[u].protected_because && (x >> 16) % 16 < 1 + seed % 3;
        }
        if (prune_plan_build(&plan, &t.net, &t.units, removed, &st)) continue;
        assert_int_equal(prune_rewrite_cfg(&plan, &t.net, &bytes, &size, &st), PRUNE_OK);
        text_open(&small, bytes);
        prune_units_cost(&t.net, &t.units, removed, &cost);
        assert_int_equal(cost.macs, small.net.macs);
        assert_int_equal(cost.parameters, small.net.parameters);
        written++;
        text_close(&small);
        free(bytes);
        prune_plan_free(&plan);
    }
    assert_true(written > 20);
    free(removed);
    text_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(flipped_groups_gather_the_inputs_that_each_of_them_keeps),
        TEST(whole_groups_of_a_convolution_may_go),
        TEST(groups_that_go_in_part_are_refused),
        TEST(a_grouped_route_keeps_its_slice),
        TEST(slices_that_no_longer_fit_are_refused),
        TEST(weights_of_a_shortcut_lose_columns_or_nothing),
        TEST(implicit_maps_lose_rows),
        TEST(a_squeeze_branch_and_its_product_follow),
        TEST(shared_values_are_stored_once),
        TEST(space_to_depth_keeps_every_copy),
        TEST(batchnorm_of_the_other_darknets_has_biases),
        TEST(a_route_left_with_one_slice_stays_a_route_of_its_darknet),
        TEST(a_blurred_convolution_costs_what_it_computes_before_the_blur),
        TEST(recurrent_layers_are_carried_along),
        TEST(random_masks_read_back_at_the_promised_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
