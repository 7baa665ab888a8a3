/* Units: for every rule of the channel graph a small network whose classes, gates, reasons and costs are known by hand. */
#include "net_text.h"

static struct prune_status st;

static void every_filter_of_a_plain_chain_is_a_unit(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET BN(4) CONV(6) HEAD);
    assert_int_equal(t.units.count, 4 + 6 + 5);
    assert_string_equal(members(&t, unit_of(&t, 1, 3)), "1:3");
    assert_string_equal(gates(&t, unit_of(&t, 1, 3)), "b1:3");
    assert_string_equal(reason_of(&t, 0, 0), "");
    assert_string_equal(reason_of(&t, 2, 0), "read by a softmax (layer 4)");
    assert_int_equal(t.units.items[unit_of(&t, 2, 0)].site_count, 0);
    assert_int_equal(unit_of(&t, 3, 4), unit_of(&t, 2, 4));      /* average pooling passes channels on */
    assert_int_equal(unit_of(&t, 4, 0), -1);                     /* a head's outputs are no units */
    text_close(&t);
}

static void a_shortcut_unites_only_the_channels_it_adds(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET CONV(4) CONV(6) SHORTCUT(-2) CONV(3) SHORTCUT(-2) HEAD);
    assert_string_equal(members(&t, unit_of(&t, 0, 0)), "0:0 1:0 3:0");
    assert_string_equal(members(&t, unit_of(&t, 1, 3)), "0:3 1:3");      /* layer 3 has 3 channels only */
    assert_string_equal(members(&t, unit_of(&t, 1, 5)), "1:5");
    assert_int_equal(t.net.layers[4].out_c, 3);
    assert_int_equal(unit_of(&t, 4, 2), unit_of(&t, 0, 2));
    assert_string_equal(gates(&t, unit_of(&t, 0, 0)), "b0:0 b1:0 b3:0"); /* one on each addend */
    assert_int_equal(t.units.tie_count, 2);
    assert_int_equal(t.units.ties[0].layer_a, 1);
    assert_int_equal(t.units.ties[0].layer_b, 0);
    assert_int_equal(t.units.ties[0].channels, 4);
    assert_int_equal(t.units.ties[0].at_layer, 2);
    text_close(&t);
}

static void a_route_keeps_the_order_of_its_sources_and_may_repeat_them(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET CONV(2) CONV(3) ROUTE("-1,0,1") ROUTE("2,-1") HEAD);
    int *in;
    size_t count, area;
    assert_int_equal(prune_units_of_input(&t.units, &t.net, 4, &in, &count, &area, &st), PRUNE_OK);
    assert_int_equal(count, 16);
    assert_int_equal(area, 1);
    const int expected[8] = { unit_of(&t, 1, 0), unit_of(&t, 1, 1), unit_of(&t, 1, 2), unit_of(&t, 0, 0), unit_of(&t, 0, 1), unit_of(&t, 1, 0), unit_of(&t, 1, 1), unit_of(&t, 1, 2) };
    assert_memory_equal(in, expected, sizeof expected);
    assert_memory_equal(in + 8, expected, sizeof expected);
    free(in);
    text_close(&t);
}

static void a_depthwise_filter_belongs_to_its_input_and_carries_the_gate(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET CONV(4) GROUPED(8, 4) HEAD);
    assert_string_equal(members(&t, unit_of(&t, 0, 1)), "0:1 1:2 1:3");
    assert_string_equal(gates(&t, unit_of(&t, 0, 1)), "b1:2 b1:3");      /* on the last member only: first order is counted once */
    assert_int_equal(t.units.balance_count, 0);
    text_close(&t);
}

static void a_channel_read_directly_and_through_a_depthwise_is_gated_at_both_places(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET CONV(4) GROUPED(4, 4) ROUTE("0,1") HEAD);
    assert_string_equal(members(&t, unit_of(&t, 0, 2)), "0:2 1:2");
    assert_string_equal(gates(&t, unit_of(&t, 0, 2)), "b0:2 b1:2");
    text_close(&t);
}

static void a_depthwise_of_the_network_input_is_protected(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET GROUPED(6, 3) HEAD);
    assert_string_equal(reason_of(&t, 0, 0), "network input");
    text_close(&t);
    text_open(&t, NET CONV(3) ROUTE("0") CONV(5) HEAD);
    assert_string_equal(reason_of(&t, 0, 0), "");
    text_close(&t);
}

static void gates_sit_where_zero_survives(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET ACT(4, "logistic") CONV(4) "[batchnorm]\n\n" CONV(4) "[activation]\nactivation=logistic\n\n" ROUTE("3,4") HEAD);
    assert_string_equal(gates(&t, unit_of(&t, 0, 0)), "o0:0");           /* logistic(0) = 1/2: behind the activation */
    assert_string_equal(gates(&t, unit_of(&t, 1, 0)), "o2:0");           /* behind the batch-norm, and only there */
    assert_string_equal(gates(&t, unit_of(&t, 3, 0)), "b3:0 o4:0");      /* read before and behind the logistic layer */
    text_close(&t);
    text_open(&t, NET CONV(4) CONV(4) "[shortcut]\nfrom=-2\nactivation=logistic\n\n" HEAD);
    assert_string_equal(gates(&t, unit_of(&t, 0, 0)), "b0:0 o2:0");      /* layer 1 also reads layer 0 */
    text_close(&t);
}

static void grouped_convolutions_demand_balance(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET CONV(8) GROUPED(6, 2) HEAD);
    assert_int_equal(t.units.balance_count, 2);
    assert_int_equal(t.units.balances[0].layer, 1);
    assert_int_equal(t.units.balances[0].parts, 2);
    assert_int_equal(t.units.balances[0].part_size, 4);
    assert_int_equal(t.units.balances[0].units[5], unit_of(&t, 0, 5));
    assert_int_equal(t.units.balances[1].part_size, 3);
    assert_int_equal(t.units.balances[1].units[3], unit_of(&t, 1, 3));
    assert_string_equal(reason_of(&t, 0, 0), "");
    text_close(&t);
}

static void parts_that_cannot_be_paired_are_protected_with_the_layers(void **state)
{
    (void)state;
    struct text_net t;
    /* layer 4 reads 3 channels that l2norm fixes in one part, 3 that could go in the other */
    text_open(&t, NET CONV(3) "[l2norm]\n\n" CONV(3) ROUTE("1,2") GROUPED(4, 2) HEAD);
    assert_string_equal(reason_of(&t, 2, 0), "balanced parts of layer 4 cannot be paired");
    assert_string_equal(reason_of(&t, 4, 0), "");            /* its filters are another matter */
    text_close(&t);
}

static void reorg_moves_whole_blocks(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET CONV(8) "[reorg]\nstride=2\n\n" HEAD);
    assert_string_equal(members(&t, unit_of(&t, 0, 5)), "0:4 0:5 0:6 0:7");
    for (int i = 0; i < 32; i++) assert_int_equal(unit_of(&t, 1, i), unit_of(&t, 0, i / 4 % 2 * 4));
    assert_string_equal(gates(&t, unit_of(&t, 0, 0)), "b0:0 b0:1 b0:2 b0:3");
    text_close(&t);
    text_open(&t, NET CONV(8) "[reorg]\nstride=2\nreverse=1\n\n" HEAD);
    assert_non_null(strstr(reason_of(&t, 0, 0), "reverse"));
    text_close(&t);
}

static void whatever_fixes_channels_protects_them_with_its_name(void **state)
{
    (void)state;
    static const struct { const char *text, *reason; } CASES[] = {
        { NET CONV(4) "[normalization]\nsize=3\n\n" HEAD, "layer 1" },
        { NET CONV(4) "[l2norm]\n\n" HEAD, "layer 1" },
        { NET CONV(4) "[rnn]\noutput=4\nhidden=4\n\n[connected]\noutput=2\nactivation=linear\n\n[softmax]\n", "recurrent" },
        { NET CONV(4) "[cost]\ntype=sse\n", "layer 1" },
        { NET CONV(4) "[maxpool]\nsize=2\nstride=2\n", "output of the network" },
        { NET CONV(4) CONV(4) ROUTE("0") HEAD, "" },
        { NET "[convolutional]\nfilters=4\nsize=1\nstride=1\npad=0\nactivation=linear\ndontload=1\n\n" HEAD, "dontload" },
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct text_net t;
        text_open(&t, CASES[i].text);
        if (!strstr(reason_of(&t, 0, 0), CASES[i].reason) || (!*CASES[i].reason && *reason_of(&t, 0, 0))) fail_msg("case %zu: %s", i, reason_of(&t, 0, 0));
        text_close(&t);
    }
    struct text_net t;
    text_open(&t, NET CONV(4) CONV(4) ROUTE("0") HEAD);      /* layer 1 is read by nobody */
    assert_string_equal(reason_of(&t, 1, 0), "output of the network");
    text_close(&t);
}

static void connected_behind_a_map_reads_a_channel_at_every_place(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET CONV(4) "[maxpool]\nsize=2\nstride=2\n\n[connected]\noutput=6\nactivation=relu\n\n[dropout]\n\n[connected]\noutput=3\nactivation=linear\n\n[softmax]\n");
    int *in;
    size_t count, area;
    assert_int_equal(prune_units_of_input(&t.units, &t.net, 2, &in, &count, &area, &st), PRUNE_OK);
    assert_int_equal(count, 4);
    assert_int_equal(area, 16);
    assert_int_equal(in[3], unit_of(&t, 0, 3));
    free(in);
    assert_string_equal(members(&t, unit_of(&t, 2, 5)), "2:5");
    assert_string_equal(gates(&t, unit_of(&t, 2, 5)), "b2:5");
    assert_string_equal(reason_of(&t, 2, 5), "");
    struct prune_cost saving;
    prune_units_saving(&t.net, &t.units, NULL, (size_t)unit_of(&t, 0, 0), &saving);
    assert_int_equal(saving.parameters, 27 + 1 + 16 * 6);
    assert_int_equal(saving.macs, 27 * 64 + 16 * 6);
    text_close(&t);
}

static void cost_is_that_of_the_smaller_network(void **state)
{
    (void)state;
    struct text_net t, small;
    text_open(&t, NET BN(4) CONV(4) SHORTCUT(-2) GROUPED(8, 4) GROUPED(6, 2) "[batchnorm]\n\n" HEAD);
    text_open(&small, NET BN(2) CONV(2) SHORTCUT(-2) GROUPED(4, 2) GROUPED(4, 2) "[batchnorm]\n\n" HEAD);
    uint8_t *removed = calloc(t.units.count, 1);
    struct prune_cost cost;
    prune_units_cost(&t.net, &t.units, removed, &cost);
    assert_int_equal(cost.macs, t.net.macs);
    assert_int_equal(cost.parameters, t.net.parameters);
    assert_int_equal(cost.units, t.units.count);
    removed[unit_of(&t, 0, 0)] = removed[unit_of(&t, 0, 3)] = 1;     /* with their depthwise filters 0, 1, 6, 7: one input pair of each half */
    removed[unit_of(&t, 4, 1)] = removed[unit_of(&t, 4, 5)] = 1;
    prune_units_cost(&t.net, &t.units, removed, &cost);
    assert_int_equal(cost.macs, small.net.macs);
    assert_int_equal(cost.parameters, small.net.parameters);
    assert_int_equal(cost.units, t.units.count - 4);
    assert_int_equal(cost.channels, t.units.member_count - 2 * 4 - 2);
    free(removed);
    text_close(&t);
    text_close(&small);
}

static void the_saving_of_a_unit_is_the_difference_of_costs(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET BN(6) CONV(6) SHORTCUT(-2) ROUTE("-1,0") CONV(5) HEAD);
    uint8_t *removed = calloc(t.units.count, 1);
    removed[unit_of(&t, 0, 5)] = removed[unit_of(&t, 4, 0)] = 1;
    check_savings(&t, removed);
    free(removed);
    text_close(&t);
}

static void the_user_protects_layers_by_ranges(void **state)
{
    (void)state;
    struct text_net t;
    text_open(&t, NET CONV(4) CONV(4) CONV(4) CONV(4) HEAD);
    assert_int_equal(prune_units_protect(&t.units, &t.net, "0,2-3", &st), PRUNE_OK);
    assert_string_equal(reason_of(&t, 0, 0), "protected by the user (-protect)");
    assert_string_equal(reason_of(&t, 1, 0), "");
    assert_string_equal(reason_of(&t, 3, 3), "protected by the user (-protect)");
    static const char *const BAD[] = { "", "a", "1,", "-1", "2-1", "1 2", "1-", "9", "0-7", "1,99999999999999999999" };
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        assert_int_equal(prune_units_protect(&t.units, &t.net, BAD[i], &st), PRUNE_USAGE);
        assert_non_null(strstr(st.message, "-protect"));
    }
    assert_string_equal(reason_of(&t, 1, 0), "");            /* a bad list protects nothing */
    text_close(&t);
}

static void resnet20_has_336_block_units_and_64_stream_units(void **state)
{
    (void)state;
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_units units;
    static const int BLOCKS[] = { 2, 5, 8, 13, 16, 19, 24, 27, 30 }, STREAM[] = { 1, 3, 6, 9, 14, 17, 20, 25, 28, 31 };
    if (prune_net_read(&cfg, &net, "cfg/resnet20-cifar.cfg", &st) || prune_units_build(&units, &net, &st)) fail_msg("%s", st.message);
    assert_int_equal(prune_units_protect(&units, &net, "0", &st), PRUNE_OK);
    size_t block = 0, stream = 0, by_size[11] = { 0 };
    for (size_t u = 0; u < units.count; u++) {
        const struct prune_unit *unit = &units.items[u];
        const struct prune_channel *m = &units.members[unit->first_member];
        if (unit->protected_because) continue;
        if (unit->member_count == 1) {
            bool known = false;
            for (size_t i = 0; i < 9; i++) known |= m->layer == BLOCKS[i];
            assert_true(known);
            block++;
            continue;
        }
        stream++;
        assert_in_range(unit->member_count, 3, 10);
        by_size[unit->member_count]++;
        for (size_t i = 0; i < unit->member_count; i++) {    /* the last 3, 6 or 10 layers of the stream, the same channel in each */
            assert_int_equal(m[i].layer, STREAM[10 - unit->member_count + i]);
            assert_int_equal(m[i].channel, m[0].channel);
        }
        assert_int_equal(unit->site_count, unit->member_count);
    }
    assert_int_equal(block, 336);
    assert_int_equal(stream, 64);
    assert_int_equal(by_size[10], 16);
    assert_int_equal(by_size[6], 16);
    assert_int_equal(by_size[3], 32);
    prune_units_free(&units);
    prune_net_free(&net);
    prune_cfg_free(&cfg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_filter_of_a_plain_chain_is_a_unit),
        cmocka_unit_test(a_shortcut_unites_only_the_channels_it_adds),
        cmocka_unit_test(a_route_keeps_the_order_of_its_sources_and_may_repeat_them),
        cmocka_unit_test(a_depthwise_filter_belongs_to_its_input_and_carries_the_gate),
        cmocka_unit_test(a_channel_read_directly_and_through_a_depthwise_is_gated_at_both_places),
        cmocka_unit_test(a_depthwise_of_the_network_input_is_protected),
        cmocka_unit_test(gates_sit_where_zero_survives),
        cmocka_unit_test(grouped_convolutions_demand_balance),
        cmocka_unit_test(parts_that_cannot_be_paired_are_protected_with_the_layers),
        cmocka_unit_test(reorg_moves_whole_blocks),
        cmocka_unit_test(whatever_fixes_channels_protects_them_with_its_name),
        cmocka_unit_test(connected_behind_a_map_reads_a_channel_at_every_place),
        cmocka_unit_test(cost_is_that_of_the_smaller_network),
        cmocka_unit_test(the_saving_of_a_unit_is_the_difference_of_costs),
        cmocka_unit_test(the_user_protects_layers_by_ranges),
        cmocka_unit_test(resnet20_has_336_block_units_and_64_stream_units),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
