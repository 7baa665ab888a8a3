/* Selection: targets, order, constraints, each on a network whose answer is known by hand. */
#include <math.h>

#include "../../plugin/select/select.h"
#include "net_text.h"

struct run {
    struct text_net t;
    double *scores;
    uint8_t *removed;
    struct prune_select_options o;
    struct prune_select_result r;
    struct prune_status st;
};

/* Scores: 100 * layer + channel, so that channel 0 of the first layer goes first. */
static void start(struct run *r, const char *text)
{
    memset(r, 0, sizeof *r);
    text_open(&r->t, text);
    r->scores = calloc(r->t.units.count + 1, sizeof *r->scores);
    r->removed = calloc(r->t.units.count + 1, 1);
    for (size_t u = 0; u < r->t.units.count; u++) {
        const struct prune_channel *m = &r->t.units.members[r->t.units.items[u].first_member];
        r->scores[u] = 100.0 * m->layer + m->channel;
    }
    r->o = (struct prune_select_options){ .target = PRUNE_TARGET_UNITS, .remain = 1, .min_keep = 1, .multiple = 1, .cost_power = 1 };
}

static void stop(struct run *r)
{
    free(r->scores);
    free(r->removed);
    text_close(&r->t);
}

static enum prune_code go(struct run *r)
{
    return prune_select(&r->t.net, &r->t.units, r->scores, &r->o, r->removed, &r->r, &r->st);
}

static void expect_ok(struct run *r)
{
    if (go(r)) fail_msg("%s", r->st.message);
}

static int kept(const struct run *r, int layer)
{
    int n = 0;
    for (int c = 0; c < r->t.net.layers[layer].out_c; c++) n += !r->removed[unit_of(&r->t, layer, c)];
    return n;
}

static void lowest_scores_go_first_until_the_target_is_met_and_no_further(void **state)
{
    (void)state;
    struct run r;
    start(&r, NET CONV(10) CONV(10) HEAD);       /* 25 units, 5 protected */
    r.scores[unit_of(&r.t, 1, 7)] = -1;
    r.o.remain = 0.8;
    expect_ok(&r);
    assert_true(r.r.target_met);
    assert_int_equal(r.r.newly_removed, 5);
    assert_int_equal(r.removed[unit_of(&r.t, 1, 7)], 1);
    for (int c = 0; c < 10; c++) assert_int_equal(r.removed[unit_of(&r.t, 0, c)], c < 4);
    assert_int_equal(r.r.before.units, 25);
    assert_int_equal(r.r.after.units, 20);
    stop(&r);
}

static void the_target_is_met_on_the_real_cost_by_the_smallest_step(void **state)
{
    (void)state;
    static const enum prune_target_kind KINDS[] = { PRUNE_TARGET_MACS, PRUNE_TARGET_PARAMS };
    for (size_t k = 0; k < 2; k++) {
        struct run r;
        start(&r, NET BN(16) CONV(16) SHORTCUT(-2) CONV(24) HEAD);
        for (size_t u = 0; u < r.t.units.count; u++) r.scores[u] = (double)(u * 7919 % 101);
        r.o.target = KINDS[k];
        r.o.remain = 0.5;
        expect_ok(&r);
        double before = k ? (double)r.r.before.parameters : (double)r.r.before.macs, after = k ? (double)r.r.after.parameters : (double)r.r.after.macs;
        assert_true(after <= 0.5 * before);
        /* putting the last one back misses the target */
        int last = -1;
        for (size_t u = 0; u < r.t.units.count; u++)
            if (r.removed[u] && (last < 0 || r.scores[u] > r.scores[last])) last = (int)u;
        struct prune_cost cost;
        r.removed[last] = 0;
        prune_units_cost(&r.t.net, &r.t.units, r.removed, &cost);
        assert_true((k ? (double)cost.parameters : (double)cost.macs) > 0.5 * before);
        stop(&r);
    }
}

static void no_layer_loses_more_than_its_cap(void **state)
{
    (void)state;
    static const struct { double cap; int kept; } CASES[] = { { 1, 1 }, { .95, 1 }, { .9, 1 }, { .89, 2 }, { .7, 3 }, { .05, 10 } };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct run r;
        start(&r, NET CONV(10) CONV(10) HEAD);
        r.o.max_removed = CASES[i].cap;
        r.o.open_ended = true;
        expect_ok(&r);
        assert_int_equal(kept(&r, 0), CASES[i].kept);
        assert_int_equal(kept(&r, 1), CASES[i].kept);
        if (i) {
            /* in steps the cap still counts from the whole layer */
            r.o.max_removed = 1;
            expect_ok(&r);
            assert_int_equal(kept(&r, 0), 1);
            r.o.max_removed = CASES[i].cap;
            expect_ok(&r);
            assert_int_equal(r.r.newly_removed, 0);
        }
        stop(&r);
    }
    struct run r;
    start(&r, NET CONV(10) CONV(10) HEAD);
    r.o.max_removed = .5;
    r.o.remain = .4;
    assert_int_equal(go(&r), PRUNE_FAILED);
    assert_non_null(strstr(r.st.message, "take a larger -max-removed, or let more remain"));
    stop(&r);
}

static void every_layer_keeps_min_keep_channels(void **state)
{
    (void)state;
    for (int keep = 1; keep < 4; keep += 2) {
        struct run r;
        start(&r, NET CONV(10) CONV(3) CONV(10) HEAD);
        r.o.min_keep = keep;
        r.o.remain = (5.0 + 2 * keep + (keep < 3 ? keep : 3)) / 28;
        expect_ok(&r);
        assert_int_equal(kept(&r, 0), keep);
        assert_int_equal(kept(&r, 1), keep);
        assert_int_equal(kept(&r, 2), keep);
        assert_int_equal(r.removed[unit_of(&r.t, 0, 9)], 0);     /* the most important one stays */
        stop(&r);
    }
}

static void a_target_out_of_reach_fails_and_names_the_smallest_reachable(void **state)
{
    (void)state;
    struct run r;
    start(&r, NET CONV(10) CONV(10) HEAD);
    r.o.remain = 0.1;
    assert_int_equal(go(&r), PRUNE_FAILED);
    assert_non_null(strstr(r.st.message, "-units 0.1 cannot be reached: the smallest reachable is 0.2800"));   /* 7 of 25 */
    for (size_t u = 0; u < r.t.units.count; u++) assert_int_equal(r.removed[u], 0);
    assert_int_equal(prune_units_protect(&r.t.units, &r.t.net, "0-2", &r.st), PRUNE_OK);
    assert_int_equal(go(&r), PRUNE_FAILED);
    assert_non_null(strstr(r.st.message, "every channel must stay (protected by the user (-protect))"));
    stop(&r);
}

static void protected_units_stay_whatever_their_score(void **state)
{
    (void)state;
    struct run r;
    start(&r, NET CONV(10) CONV(10) HEAD);
    assert_int_equal(prune_units_protect(&r.t.units, &r.t.net, "0", &r.st), PRUNE_OK);
    r.scores[unit_of(&r.t, 0, 0)] = NAN;         /* not ranked, so not refused */
    r.o.remain = 0.8;
    expect_ok(&r);
    assert_int_equal(kept(&r, 0), 10);
    assert_int_equal(kept(&r, 1), 5);
    r.scores[unit_of(&r.t, 1, 9)] = NAN;
    assert_int_equal(go(&r), PRUNE_FAILED);
    assert_non_null(strstr(r.st.message, "layer 1 channel 9"));
    stop(&r);
}

static void kept_counts_are_rounded_up_to_the_multiple_and_never_to_zero(void **state)
{
    (void)state;
    struct run r;
    start(&r, NET CONV(20) CONV(16) CONV(6) HEAD);
    r.o.multiple = 8;
    r.o.remain = (5.0 + 8 + 8 + 6) / 47;         /* 20 -> 16 -> 8, 16 -> 8; 6 has no multiple below it and stays */
    expect_ok(&r);
    assert_int_equal(kept(&r, 0), 8);
    assert_int_equal(kept(&r, 1), 8);
    assert_int_equal(kept(&r, 2), 6);
    r.o.remain = 26.0 / 47;
    memset(r.removed, 0, r.t.units.count);
    assert_int_equal(go(&r), PRUNE_FAILED);
    r.o.remain = 46.0 / 47;                      /* one unit would do; four go, to 16 */
    expect_ok(&r);
    assert_int_equal(kept(&r, 0), 16);
    assert_int_equal(kept(&r, 1), 16);
    stop(&r);
}

static void multiples_hold_in_every_layer_of_a_partial_tie(void **state)
{
    (void)state;
    struct run r;
    start(&r, NET CONV(16) CONV(32) SHORTCUT(-2) CONV(32) SHORTCUT(-2) HEAD);
    r.o.multiple = 8;
    r.o.remain = 0.6;
    expect_ok(&r);
    assert_true(r.r.newly_removed > 0);
    for (int l = 0; l < 4; l += l == 1 ? 2 : 1) assert_int_equal(kept(&r, l) % 8, 0);
    stop(&r);
}

static void balanced_parts_lose_equally_many_paired_by_rank(void **state)
{
    (void)state;
    struct run r;
    start(&r, NET CONV(8) GROUPED(4, 2) HEAD);
    const double first[8] = { 3, 1, 7, 5, 40, 20, 30, 10 };      /* parts 0-3 and 4-7 */
    for (int c = 0; c < 8; c++) r.scores[unit_of(&r.t, 0, c)] = first[c];
    r.o.remain = 15.0 / 17;
    expect_ok(&r);
    assert_int_equal(r.r.newly_removed, 2);
    assert_int_equal(r.removed[unit_of(&r.t, 0, 1)], 1);         /* the least of each part */
    assert_int_equal(r.removed[unit_of(&r.t, 0, 7)], 1);
    r.o.remain = 13.0 / 17;                                      /* goes on from there: the second least of each */
    r.o.original = r.r.before;
    expect_ok(&r);
    assert_int_equal(r.removed[unit_of(&r.t, 0, 0)], 1);
    assert_int_equal(r.removed[unit_of(&r.t, 0, 5)], 1);
    assert_int_equal(kept(&r, 0), 4);
    stop(&r);
}

static void slices_of_a_route_lose_equally_many_in_every_source(void **state)
{
    (void)state;
    struct run r;
    start(&r, NET CONV(8) CONV(4) SLICE("0,1", 2, 1) CONV(3) ROUTE("0,1,-1") HEAD);
    const double first[8] = { 3, 1, 7, 5, 40, 20, 30, 10 };
    for (int c = 0; c < 8; c++) r.scores[unit_of(&r.t, 0, c)] = first[c];
    r.o.remain = 18.0 / 20;
    expect_ok(&r);
    assert_int_equal(r.r.newly_removed, 2);
    assert_int_equal(r.removed[unit_of(&r.t, 0, 1)], 1);         /* the least of each slice; the other source loses none */
    assert_int_equal(r.removed[unit_of(&r.t, 0, 7)], 1);
    assert_int_equal(kept(&r, 1), 4);
    stop(&r);
}

static void chained_constraints_are_kept_together(void **state)
{
    (void)state;
    struct run r;
    start(&r, NET CONV(12) GROUPED(12, 2) GROUPED(6, 3) HEAD);   /* filters of layer 1: 2 parts of 6 and 3 parts of 4 */
    for (size_t u = 0; u < r.t.units.count; u++) r.scores[u] = 1000 + (double)(u * 7919 % 101);
    for (int c = 0; c < 12; c++) r.scores[unit_of(&r.t, 1, c)] = c * 5 % 12;
    r.o.remain = 29.0 / 35;
    expect_ok(&r);
    assert_int_equal(kept(&r, 1), 6);            /* no smaller step than half keeps both */
    int half = 0, third[3] = { 0 };
    for (int c = 0; c < 12; c++) {
        int stays = !r.removed[unit_of(&r.t, 1, c)];
        half += c < 6 && stays;
        third[c / 4] += stays;
    }
    assert_int_equal(half, 3);
    assert_int_equal(third[0], 2);
    assert_int_equal(third[1], 2);
    assert_int_equal(third[2], 2);
    stop(&r);
}

static void per_layer_takes_the_same_fraction_of_each(void **state)
{
    (void)state;
    struct run r;
    start(&r, NET CONV(20) CONV(10) CONV(40) HEAD);
    r.o.per_layer = true;
    r.o.remain = (5 + 35.0) / 75;
    expect_ok(&r);
    assert_int_equal(kept(&r, 0), 10);
    assert_int_equal(kept(&r, 1), 5);
    assert_int_equal(kept(&r, 2), 20);
    assert_int_equal(r.removed[unit_of(&r.t, 2, 19)], 1);
    assert_int_equal(r.removed[unit_of(&r.t, 2, 20)], 0);
    stop(&r);
}

static void cost_aware_ranking_divides_by_what_goes_with_the_unit(void **state)
{
    (void)state;
    struct run r;
    start(&r, NET CONV(4) CONV(32) CONV(4) HEAD);
    for (size_t u = 0; u < r.t.units.count; u++) r.scores[u] = 1;
    r.scores[unit_of(&r.t, 2, 0)] = 0.95;        /* lower, but 293 multiply-adds a pixel go with it, and 315 with a channel of layer 0 */
    r.o.remain = 44.0 / 45;
    expect_ok(&r);
    assert_int_equal(r.removed[unit_of(&r.t, 2, 0)], 1);
    memset(r.removed, 0, r.t.units.count);
    r.o.cost = PRUNE_COST_MACS;
    expect_ok(&r);
    assert_int_equal(r.removed[unit_of(&r.t, 0, 0)], 1);
    memset(r.removed, 0, r.t.units.count);
    r.o.cost_power = 0;
    expect_ok(&r);
    assert_int_equal(r.removed[unit_of(&r.t, 2, 0)], 1);
    stop(&r);
}

static void steps_of_max_new_units_reach_the_same_end(void **state)
{
    (void)state;
    struct run r;
    start(&r, NET CONV(10) CONV(10) HEAD);
    r.o.remain = 0.6;                            /* 10 units go */
    r.o.max_new = 3;
    prune_units_cost(&r.t.net, &r.t.units, NULL, &r.o.original);
    const size_t expected[] = { 3, 3, 3, 1 };
    for (int i = 0; i < 4; i++) {
        expect_ok(&r);
        assert_int_equal(r.r.newly_removed, expected[i]);
        assert_int_equal(r.r.target_met, i == 3);
    }
    expect_ok(&r);
    assert_int_equal(r.r.newly_removed, 0);
    assert_true(r.r.target_met);
    stop(&r);
}

static void a_step_takes_one_bundle_even_when_it_is_larger_than_max_new(void **state)
{
    (void)state;
    struct run r;
    start(&r, NET CONV(8) GROUPED(8, 4) HEAD);
    r.o.remain = 0.7;
    r.o.max_new = 1;
    expect_ok(&r);
    assert_int_equal(r.r.newly_removed, 4);
    stop(&r);
}

static void the_target_is_a_fraction_of_the_original(void **state)
{
    (void)state;
    struct run r;
    start(&r, NET CONV(10) CONV(10) HEAD);
    r.o.original.units = 50;
    r.o.remain = 0.4;                            /* 20 of 50: five of the 25 that are there */
    expect_ok(&r);
    assert_int_equal(r.r.newly_removed, 5);
    stop(&r);
}

static void senseless_options_are_usage_errors(void **state)
{
    (void)state;
    struct run r;
    start(&r, NET CONV(10) HEAD);
    const double bad[] = { 0, -1, 1.01, NAN, INFINITY };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        r.o.remain = bad[i];
        assert_int_equal(go(&r), PRUNE_USAGE);
    }
    r.o.remain = 1;
    r.o.min_keep = 0;
    assert_int_equal(go(&r), PRUNE_USAGE);
    r.o.min_keep = 1;
    r.o.multiple = 0;
    assert_int_equal(go(&r), PRUNE_USAGE);
    r.o.multiple = 1;
    expect_ok(&r);
    assert_int_equal(r.r.newly_removed, 0);
    stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lowest_scores_go_first_until_the_target_is_met_and_no_further),
        cmocka_unit_test(the_target_is_met_on_the_real_cost_by_the_smallest_step),
        cmocka_unit_test(no_layer_loses_more_than_its_cap),
        cmocka_unit_test(every_layer_keeps_min_keep_channels),
        cmocka_unit_test(a_target_out_of_reach_fails_and_names_the_smallest_reachable),
        cmocka_unit_test(protected_units_stay_whatever_their_score),
        cmocka_unit_test(kept_counts_are_rounded_up_to_the_multiple_and_never_to_zero),
        cmocka_unit_test(multiples_hold_in_every_layer_of_a_partial_tie),
        cmocka_unit_test(balanced_parts_lose_equally_many_paired_by_rank),
        cmocka_unit_test(slices_of_a_route_lose_equally_many_in_every_source),
        cmocka_unit_test(chained_constraints_are_kept_together),
        cmocka_unit_test(per_layer_takes_the_same_fraction_of_each),
        cmocka_unit_test(cost_aware_ranking_divides_by_what_goes_with_the_unit),
        cmocka_unit_test(steps_of_max_new_units_reach_the_same_end),
        cmocka_unit_test(a_step_takes_one_bundle_even_when_it_is_larger_than_max_new),
        cmocka_unit_test(the_target_is_a_fraction_of_the_original),
        cmocka_unit_test(senseless_options_are_usage_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
