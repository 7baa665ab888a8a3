/* Units of what AlexeyAB's and hank-ai's Darknet add (docs/dialects.md): ties, balances, gates, reasons and costs known by hand. */
#include "net_text.h"

static struct prune_status st;

static void a_product_unites_its_factors_and_is_gated_on_the_map_alone(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET CONV(4) SQUEEZE(2, 4) SCALE(0) HEAD);
    assert_string_equal(members(&t, unit_of(&t, 0, 1)), "0:1 3:1");
    assert_int_equal(unit_of(&t, 4, 1), unit_of(&t, 0, 1));
    assert_string_equal(gates(&t, unit_of(&t, 0, 1)), "b0:1");           /* also silences what the average pooling hands to layer 2 */
    assert_int_equal(t.units.tie_count, 1);
    assert_int_equal(t.units.ties[0].layer_a, 3);
    assert_int_equal(t.units.ties[0].layer_b, 0);
    assert_string_equal(t.units.ties[0].reason, "scale_channels");
    text_close(&t);
    text_open(&t, NET CONV(4) SQUEEZE(2, 4) SCALE(0) CONV(3) ROUTE("3") CONV(2) "[softmax]\n");
    assert_string_equal(gates(&t, unit_of(&t, 0, 1)), "b0:1 o3:1");      /* layer 7 reads the factor itself */
    text_close(&t);
    text_open(&t, NET CONV(4) ACT(4, "logistic") "[sam]\nfrom=-2\nactivation=logistic\n\n" HEAD);
    assert_string_equal(members(&t, unit_of(&t, 0, 1)), "0:1 1:1");
    assert_string_equal(gates(&t, unit_of(&t, 0, 1)), "b0:1 o2:1");      /* layer 1 reads layer 0; logistic(0) = 1/2 behind the product */
    text_close(&t);
    text_open(&t, NET CONV(4) CONV(1) "[scale_channels]\nfrom=0\nscale_wh=1\n\n" HEAD);
    assert_string_equal(reason_of(&t, 1, 0), "the one map that the scale_channels at layer 2 applies to every channel");
    assert_int_equal(unit_of(&t, 2, 3), unit_of(&t, 0, 3));
    assert_string_equal(members(&t, unit_of(&t, 0, 3)), "0:3");
    assert_string_equal(gates(&t, unit_of(&t, 0, 3)), "b0:3");
    text_close(&t);
}

static void a_grouped_route_reads_one_slice_and_balances_all(void **state)
{
    (void)state;
    struct text_net t;
    int *in;
    size_t count, area;
    text_open(&t, NET CONV(8) CONV(4) SLICE("0,1", 4, 2) HEAD);
    assert_int_equal(t.net.layers[2].out_c, 3);
    assert_int_equal(unit_of(&t, 2, 0), unit_of(&t, 0, 4));
    assert_int_equal(unit_of(&t, 2, 1), unit_of(&t, 0, 5));
    assert_int_equal(unit_of(&t, 2, 2), unit_of(&t, 1, 2));
    assert_int_equal(prune_units_of_input(&t.units, &t.net, 2, &in, &count, &area, &st), PRUNE_OK);
    assert_int_equal(count, 3);
    assert_int_equal(in[2], unit_of(&t, 1, 2));
    free(in);
    assert_int_equal(t.units.balance_count, 2);
    for (size_t b = 0; b < 2; b++) {
        assert_int_equal(t.units.balances[b].layer, 2);
        assert_int_equal(t.units.balances[b].parts, 4);
        assert_int_equal(t.units.balances[b].part_size, b ? 1 : 2);
        for (int i = 0; i < (b ? 4 : 8); i++) assert_int_equal(t.units.balances[b].units[i], unit_of(&t, (int)b, i));
    }
    assert_string_equal(gates(&t, unit_of(&t, 0, 4)), "b0:4");           /* layer 1 and the slice */
    assert_string_equal(gates(&t, unit_of(&t, 1, 2)), "b1:2");
    assert_string_equal(gates(&t, unit_of(&t, 1, 3)), "");               /* nobody reads it */
    text_close(&t);
}

static void a_shortcut_of_several_sources_unites_what_it_adds(void **state)
{
    (void)state;
    struct text_net t;
    static const char *const WEIGHTS[] = { "", "weights_type=per_channel\nweights_normalization=softmax\n", "weights_type=per_feature\nweights_normalization=relu\n" };
    for (size_t k = 0; k < 3; k++) {
        char text[1024];
        snprintf(text, sizeof text, NET CONV(6) CONV(3) CONV(4) "[shortcut]\nfrom=-2,-3\n%sactivation=linear\n\n" HEAD, WEIGHTS[k]);
        text_open(&t, text);
        assert_string_equal(members(&t, unit_of(&t, 3, 0)), "0:0 1:0 2:0");
        assert_string_equal(members(&t, unit_of(&t, 3, 3)), "0:3 2:3");
        assert_string_equal(members(&t, unit_of(&t, 0, 5)), "0:5");
        assert_string_equal(gates(&t, unit_of(&t, 3, 0)), "b0:0 b1:0 b2:0");
        assert_int_equal(t.units.tie_count, 2);
        assert_int_equal(t.units.ties[0].channels, 3);
        assert_int_equal(t.units.ties[1].channels, 4);
        text_close(&t);
    }
}

static void maps_of_different_size_are_added_by_channel_or_as_flat_vectors(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET CONV(4) POOL CONV(3) SHORTCUT(0) HEAD);
    assert_string_equal(members(&t, unit_of(&t, 0, 1)), "0:1 2:1");
    text_close(&t);
    text_open(&t, NET CONV(4) POOL CONV(3) SHORTCUT(0) ACT(4, "mish") HEAD);
    assert_string_equal(reason_of(&t, 0, 3), "read by the shortcut at layer 3, which adds maps of different size as flat vectors");
    assert_string_equal(reason_of(&t, 2, 0), reason_of(&t, 0, 3));
    assert_int_equal(unit_of(&t, 3, 0), -1);
    assert_string_equal(reason_of(&t, 4, 0), "");
    text_close(&t);
    text_open(&t, NET CONV(4) CONV(3) SHORTCUT(0) ACT(4, "mish") HEAD);      /* other channels alone are no matter */
    assert_string_equal(members(&t, unit_of(&t, 0, 1)), "0:1 1:1");
    text_close(&t);
}

static void space_to_depth_repeats_the_channels(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET CONV(3) "[reorg3d]\nstride=2\n\n" HEAD);
    assert_int_equal(t.net.layers[1].out_c, 12);
    for (int i = 0; i < 12; i++) assert_int_equal(unit_of(&t, 1, i), unit_of(&t, 0, i % 3));
    assert_string_equal(members(&t, unit_of(&t, 0, 1)), "0:1");
    assert_string_equal(gates(&t, unit_of(&t, 0, 1)), "b0:1");
    text_close(&t);
}

static void an_implicit_map_makes_channels_and_reads_none(void **state)
{
    (void)state;
    struct text_net t;
    struct prune_cost saving;
    text_open(&t, NET CONV(4) "[implicit]\nfilters=4\n\n" SCALE(0) HEAD);
    assert_string_equal(members(&t, unit_of(&t, 0, 2)), "0:2 1:2");
    assert_string_equal(gates(&t, unit_of(&t, 0, 2)), "b0:2");
    prune_units_saving(&t.net, &t.units, NULL, (size_t)unit_of(&t, 0, 2), &saving);
    assert_int_equal(saving.parameters, 27 + 1 + 1 + 5);
    text_close(&t);
    text_open(&t, NET CONV(4) "[implicit]\nfilters=6\natoms=3\n\n" CONV(2) "[avgpool]\n\n[softmax]\n");
    assert_string_equal(members(&t, unit_of(&t, 1, 5)), "1:5");
    assert_string_equal(gates(&t, unit_of(&t, 1, 5)), "o1:5");
    assert_string_equal(reason_of(&t, 0, 0), "output of the network");       /* nobody reads layer 0 */
    prune_units_saving(&t.net, &t.units, NULL, (size_t)unit_of(&t, 1, 5), &saving);
    assert_int_equal(saving.parameters, 3 + 9 * 2);
    text_close(&t);
}

static void convolutions_that_share_values_share_their_channels(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET CONV(4) CONV(5) ROUTE("0") CONV(4) SHARE(5, 1) ROUTE("1,4") HEAD);
    assert_string_equal(members(&t, unit_of(&t, 1, 3)), "1:3 4:3");
    assert_string_equal(members(&t, unit_of(&t, 0, 2)), "0:2 3:2");          /* what both read */
    assert_string_equal(gates(&t, unit_of(&t, 0, 2)), "b0:2 b3:2");
    assert_string_equal(gates(&t, unit_of(&t, 1, 3)), "b1:3 b4:3");
    text_close(&t);
    text_open(&t, NET CONV(4) CONV(4) SHARE(4, -1) HEAD);                    /* a serial chain: input 1 = filter 1 of layer 0, 1 and 2 */
    assert_string_equal(members(&t, unit_of(&t, 0, 1)), "0:1 1:1 2:1");
    assert_string_equal(gates(&t, unit_of(&t, 0, 1)), "b0:1 b1:1 b2:1");
    text_close(&t);
    text_open(&t, NET CONV(4) GROUPED(6, 2) ROUTE("0") "[convolutional]\nfilters=6\nsize=3\nstride=1\npad=1\ngroups=2\nshare_index=1\nactivation=leaky\n\n" ROUTE("1,3") HEAD);
    assert_int_equal(t.units.balance_count, 4);
    assert_string_equal(members(&t, unit_of(&t, 1, 0)), "1:0 3:0");
    text_close(&t);
}

static void whatever_sees_all_channels_at_once_protects_them(void **state)
{
    (void)state;
    static const struct { const char *text; int layer; const char *reason; } CASES[] = {
        { NET CONV(4) "[maxpool]\nmaxpool_depth=1\nout_channels=2\nsize=1\nstride=1\n\n" HEAD, 0, "read across channels by the maxpool at layer 1 (maxpool_depth)" },
        { NET CONV(4) MIX("batch_normalize=1\n", "norm_chan") HEAD, 1, "mixed across channels by activation=normalize_channels (layer 1)" },
        { NET CONV(4) MIX("batch_normalize=1\n", "normalize_channels_softmax") HEAD, 0, "" },
        { NET CONV(6) CONV(4) "[shortcut]\nfrom=0\nactivation=norm_chan_softmax\n\n" HEAD, 0, "mixed across channels by activation=normalize_channels_softmax (layer 2)" },
        { NET CONV(4) "[batchnorm]\n\n[activation]\nactivation=norm_chan_softmax_maxval\n\n" HEAD, 0, "mixed across channels by activation=normalize_channels_softmax_maxval (layer 2)" },
        { NET CONV(4) "[history]\nhistory_size=2\n\n" HEAD, 0, "kept over time by a history layer (layer 1)" },
        { NET CONV(4) "[conv_lstm]\noutput=4\nsize=3\npad=1\n\n" HEAD, 0, "read by a recurrent layer (layer 1)" },
        { NET CONV(4) "[crnn]\noutput=4\nhidden=2\nsize=3\npad=1\nstride=1\nactivation=leaky\n\n" HEAD, 0, "read by a recurrent layer (layer 1)" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct text_net t;
        text_open(&t, CASES[i].text);
        for (int c = 0; c < 4; c++)
            if (strcmp(reason_of(&t, CASES[i].layer, c), CASES[i].reason)) fail_msg("case %zu: %s", i, reason_of(&t, CASES[i].layer, c));
        text_close(&t);
    }
    struct text_net t;
    text_open(&t, CASES[3].text);
    assert_string_equal(reason_of(&t, 0, 5), "");            /* beyond the sum */
    text_close(&t);
}

static void heads_of_the_other_darknets_protect_what_they_read(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET CONV(4) ACT(10, "linear") "[Gaussian_yolo]\nclasses=1\nnum=1\nmask=0\nanchors=1,1\n\n");
    assert_string_equal(reason_of(&t, 1, 0), "read by a Gaussian_yolo head (layer 2)");
    assert_string_equal(reason_of(&t, 0, 0), "");
    text_close(&t);
    text_open(&t, NET CONV(4) ACT(8, "linear") ROUTE("0") ACT(6, "linear") "[yolo]\nclasses=1\nnum=1\nmask=0\nanchors=1,1\nembedding_layer=1\n\n");
    assert_string_equal(reason_of(&t, 3, 0), "read by a yolo head (layer 4)");
    assert_string_equal(reason_of(&t, 1, 0), "read by a yolo head (layer 4)");
    text_close(&t);
}

static void gates_sit_before_activations_that_keep_zero_and_behind_the_others(void **state)
{
    (void)state;
    for (int a = 0; a < PRUNE_ACTIVATION_COUNT; a++) {
        const struct prune_activation_info *info = prune_activation_info((enum prune_activation)a);
        struct text_net t;
        char text[1024];
        if (info->mixes_channels) continue;
        snprintf(text, sizeof text, NET "[convolutional]\nfilters=4\nsize=1\nstride=1\npad=0\nactivation=%s\n\n" CONV(4) "[shortcut]\nfrom=0\nactivation=%s\n\n" HEAD, info->name, info->name);
        text_open(&t, text);
        bool keeps = strcmp(info->name, "logistic") && strcmp(info->name, "plse");
        assert_string_equal(gates(&t, unit_of(&t, 0, 0)), keeps ? "b0:0 b1:0" : "o0:0 o2:0");
        text_close(&t);
    }
}

/* Numbers from a seed; good enough for masks. */
static unsigned draw(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 16;
}

static void savings_are_differences_of_costs_for_every_mask(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, EVERYTHING);
    uint8_t *removed = calloc(t.units.count, 1);
    struct prune_cost cost;
    prune_units_cost(&t.net, &t.units, removed, &cost);
    assert_int_equal(cost.macs, t.net.macs);
    assert_int_equal(cost.parameters, t.net.parameters);
    for (uint32_t seed = 1; seed <= 40; seed++) {
        uint32_t state_of = seed;
        for (size_t u = 0; u < t.units.count; u++) removed[u] = draw(&state_of) % 40 < seed;     /* nothing balanced, layers emptied: costs are defined */
        check_savings(&t, removed);
    }
    free(removed);
    text_close(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_product_unites_its_factors_and_is_gated_on_the_map_alone),
        cmocka_unit_test(a_grouped_route_reads_one_slice_and_balances_all),
        cmocka_unit_test(a_shortcut_of_several_sources_unites_what_it_adds),
        cmocka_unit_test(maps_of_different_size_are_added_by_channel_or_as_flat_vectors),
        cmocka_unit_test(space_to_depth_repeats_the_channels),
        cmocka_unit_test(an_implicit_map_makes_channels_and_reads_none),
        cmocka_unit_test(convolutions_that_share_values_share_their_channels),
        cmocka_unit_test(whatever_sees_all_channels_at_once_protects_them),
        cmocka_unit_test(heads_of_the_other_darknets_protect_what_they_read),
        cmocka_unit_test(gates_sit_before_activations_that_keep_zero_and_behind_the_others),
        cmocka_unit_test(savings_are_differences_of_costs_for_every_mask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
