/* sosp-i against the same greedy choice made from the definition, every lambda(M) summed anew over all pairs of M; sosp-h by hand. Made-up probes and gradients. */
#include "criteria_rig.h"

#include "../../plugin/score/families.h"
#include "../../plugin/score/scoring.h"

enum { UNITS = 11, PROBES = 5, COUNT = 37 };

static struct prune_channel members[UNITS];
static struct prune_unit items[UNITS];
static float probes[COUNT][PROBES][UNITS];
static double gradient[COUNT][UNITS];

static double random_value(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (double)(*seed >> 8) / 0x1p23 - 1;
}

static struct prune_score_input setup(struct prune_units *units)
{
    uint32_t seed = 4242;
    for (int u = 0; u < UNITS; u++) {
        members[u] = (struct prune_channel){0, u};
        items[u] = (struct prune_unit){.first_member = (size_t)u, .member_count = 1, .site_count = 1};
    }
    for (int b = 0; b < COUNT; b++) {
        for (int u = 0; u < UNITS; u++) gradient[b][u] = random_value(&seed) * (u % 4 + 1);
        for (int k = 0; k < PROBES; k++) {
            double common = random_value(&seed);     /* so that units matter together */
            for (int u = 0; u < UNITS; u++) probes[b][k][u] = (float)((random_value(&seed) + (u % 3 - 1) * common) * (1 + u % 5));
        }
    }
    *units = (struct prune_units){.items = items, .count = UNITS, .members = members, .member_count = UNITS};
    return (struct prune_score_input){.units = units};
}

/* Images first ... first + images - 1 as a host hands them over: mean gradient, probes of each. */
static struct prune_signals part(double *mean, size_t first, size_t images)
{
    for (int u = 0; u < UNITS; u++) {
        mean[u] = 0;
        for (size_t b = first; b < first + images; b++) mean[u] += gradient[b][u] / (double)images;
    }
    return (struct prune_signals){.images = images, .units = UNITS,
                                  .gate_batch = {.data = mean, .type = PRUNE_F64, .rank = 1, .shape = {UNITS}, .strides = {1}},
                                  .gate_probes = {.data = probes[first], .type = PRUNE_F32, .rank = 3, .shape = {images, PROBES, UNITS},
                                                  .strides = {PROBES * UNITS, UNITS, 1}}};
}

static void feed(const struct prune_criterion *c, void *state, const struct prune_score_input *in, size_t first, size_t images)
{
    double mean[UNITS];
    struct prune_signals signals = part(mean, first, images);
    c->accumulate(state, in, &signals);
}

static double product(int s, int t)
{
    double sum = 0, slope = 0;
    for (int b = 0; b < COUNT; b++) {
        for (int k = 0; k < PROBES; k++) sum += (double)probes[b][k][s] * (double)probes[b][k][t];
        slope += gradient[b][s];
    }
    return fabs(sum / (COUNT * PROBES)) / 2 + (s == t ? fabs(slope / COUNT) : 0);   /* eq. 3 */
}

static double lambda(const uint8_t *gone)
{
    double sum = 0;
    for (int s = 0; s < UNITS; s++)
        for (int t = 0; t < UNITS; t++)
            if (gone[s] && gone[t]) sum += product(s, t);
    return sum;
}

/* The first unit of the least (lambda(M + s) - lambda(M)) / divisor[s], again and again. Returns how many have gone; at[i]: the sum of these quotients. */
static int by_hand(const uint8_t *stays, const double *divisor, int *order, double *at)
{
    uint8_t gone[UNITS] = {0};
    double sum = 0;
    for (int i = 0;; i++) {
        int best = -1;
        double least = 0, now = lambda(gone);
        for (int s = 0; s < UNITS; s++) {
            if (gone[s] || stays[s]) continue;
            gone[s] = 1;
            double grows = (lambda(gone) - now) / (divisor ? divisor[s] : 1);
            gone[s] = 0;
            if (best < 0 || grows < least * (1 - 1e-12)) best = s, least = grows;
        }
        if (best < 0) return i;
        gone[best] = 1;
        order[i] = best;
        at[i] = sum += least;
    }
}

static void close_enough(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-10 * fabs(expected))) fail_msg("%.17g, expected %.17g", value, expected);
}

/* That scores are by_hand's: returns the number in the order. */
static int follows(const double *scores, const uint8_t *stays, const double *divisor)
{
    double at[UNITS];
    int order[UNITS], n = by_hand(stays, divisor, order, at);
    for (int i = 0; i < n; i++) {
        close_enough(scores[order[i]], at[i]);
        if (i && !(scores[order[i]] > scores[order[i - 1]])) fail_msg("unit %d goes before %d", order[i], order[i - 1]);
    }
    return n;
}

static const struct prune_criterion *sosp_i(void) { return prune_criterion_find("sosp-i"); }

static void the_order_is_the_greedy_one_of_the_definition(void **state)
{
    (void)state;
    struct prune_units units;
    struct prune_score_input in = setup(&units);
    uint8_t stays[UNITS] = {[6] = 1}, all[UNITS];
    double scores[UNITS], most = 0;
    items[6].protected_because = "test";
    void *s = new_state(sosp_i(), &in);
    feed(sosp_i(), s, &in, 0, COUNT);
    assert_int_equal(sosp_i()->finish(s, &in, scores, &st), PRUNE_OK);
    assert_int_equal(follows(scores, stays, NULL), UNITS - 1);
    assert_true(scores[6] == 0);
    for (int u = 0; u < UNITS; u++) {
        all[u] = !stays[u];
        most = fmax(most, scores[u]);
    }
    close_enough(most, lambda(all));
    free(s);
}

/* The plain ranking by Q_ss is another one, else the test above shows nothing. */
static void what_units_share_changes_the_order(void **state)
{
    (void)state;
    struct prune_units units;
    struct prune_score_input in = setup(&units);
    uint8_t none[UNITS] = {0};
    double at[UNITS], last = 0;
    int order[UNITS], n = by_hand(none, NULL, order, at), falls = 0;
    (void)in;
    for (int i = 0; i < n; i++) {
        double alone = product(order[i], order[i]);
        falls += alone < last;
        last = alone;
    }
    assert_in_range(falls, 2, UNITS);
}

static void pieces_and_merged_halves_add_up(void **state)
{
    (void)state;
    struct prune_units units;
    struct prune_score_input in = setup(&units);
    uint8_t none[UNITS] = {0};
    double scores[UNITS];
    char note[64];
    void *left = new_state(sosp_i(), &in), *right = new_state(sosp_i(), &in);
    feed(sosp_i(), left, &in, 0, 5);
    feed(sosp_i(), left, &in, 5, 2);
    feed(sosp_i(), right, &in, 7, COUNT - 7);
    sosp_i()->merge(left, right, &in);
    assert_int_equal(sosp_i()->finish(left, &in, scores, &st), PRUNE_OK);
    assert_int_equal(follows(scores, none, NULL), UNITS);
    assert_true(sosp_i()->note(left, note, sizeof note));
    assert_string_equal(note, "5 probes of the curvature per image");
    assert_true(sosp_i()->state_ok(left, right));
    *(double *)left += 1;
    assert_false(sosp_i()->state_ok(left, right));
    free(left), free(right);
}

static void equal_units_go_in_the_order_of_their_numbers(void **state)
{
    (void)state;
    struct prune_units units;
    struct prune_score_input in = setup(&units);
    double scores[UNITS];
    for (int b = 0; b < COUNT; b++) {
        gradient[b][8] = gradient[b][3] = 0;
        gradient[b][2] = gradient[b][4] = 1e-3;
        for (int k = 0; k < PROBES; k++) probes[b][k][3] = probes[b][k][8] = probes[b][k][4] = probes[b][k][2] = 0;
    }
    void *s = new_state(sosp_i(), &in);
    feed(sosp_i(), s, &in, 0, COUNT);
    assert_int_equal(sosp_i()->finish(s, &in, scores, &st), PRUNE_OK);
    assert_true(scores[2] > 0 && scores[4] > scores[2]);
    close_enough(scores[2], 1e-3);
    close_enough(scores[4], 2e-3);
    assert_true(scores[3] == 0 && scores[8] == 0);       /* nothing arrives at their gates: gone, or dead */
    for (int u = 0; u < UNITS; u++) assert_true(scores[u] > scores[4] || u == 2 || u == 3 || u == 4 || u == 8);
    free(s);
}

static const char NET[] =
    "[net]\nheight=8\nwidth=8\nchannels=3\n"
    "[convolutional]\nbatch_normalize=1\nfilters=5\nsize=5\npad=1\nstride=1\nactivation=relu\n"
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\npad=1\nstride=1\nactivation=relu\n"
    "[avgpool]\n[connected]\noutput=%d\nactivation=linear\n[softmax]\n";

static void open_net(struct fixture *f, int classes)
{
    static char text[sizeof NET + 16];
    snprintf(text, sizeof text, NET, classes);
    fixture_open(f, text, counting, 0);
}

static void scale_divides_every_step(void **state)
{
    (void)state;
    struct prune_units units;
    struct fixture f;
    uint8_t none[UNITS] = {0};
    double divisor[UNITS], scores[UNITS];
    setup(&units);
    open_net(&f, 2);
    f.units.count = UNITS;                               /* without the two of the head, which the net has last */
    f.in.scale = PRUNE_SCALE_MACS;
    for (int u = 0; u < UNITS; u++) divisor[u] = u < 5 ? 64 * (25 * 3 + 9 * 6) : 64 * 9 * 5 + 2;
    struct prune_scored item = {.criterion = sosp_i()};
    assert_int_equal(prune_scored_init(&item, 1, &f.in, &st), PRUNE_OK);
    feed(sosp_i(), item.state, &f.in, 0, COUNT);
    assert_int_equal(prune_scored_finish(&item, 1, &f.in, &st), PRUNE_OK);
    memcpy(scores, item.scores, sizeof scores);
    assert_int_equal(follows(scores, none, divisor), UNITS);
    prune_scored_free(&item, 1);
    fixture_close(&f);
}

static void few_classes_are_probed_exactly(void **state)
{
    (void)state;
    static const struct { int classes, probes; } CASES[] = {{2, PRUNE_PROBES_EXACT}, {32, PRUNE_PROBES_EXACT}, {33, 10}};
    for (int i = 0; i < 3; i++) {
        struct fixture f;
        open_net(&f, CASES[i].classes);
        assert_int_equal(sosp_i()->probes(&f.in), CASES[i].probes);
        fixture_close(&f);
    }
}

static void what_does_not_fit_is_refused_with_its_size(void **state)
{
    (void)state;
    struct prune_units units = {.count = 70000};
    struct prune_score_input in = {.units = &units};
    struct prune_scored item = {.criterion = sosp_i()};
    assert_int_equal(prune_scored_init(&item, 1, &in, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "criterion 'sosp-i' keeps a product of each two of 70000 units, 37384 MiB, and may take 2048 MiB; give it more with -memory, or take sosp-h");
    assert_null(item.state);
    units.count = 1000;
    in.kfac.memory = 7999999;
    assert_int_equal(prune_scored_init(&item, 1, &in, &st), PRUNE_FAILED);
    in.kfac.memory = 8000000;
    assert_int_equal(prune_scored_init(&item, 1, &in, &st), PRUNE_OK);
    prune_scored_free(&item, 1);
}

static void nothing_fed_and_broken_signals_are_errors(void **state)
{
    (void)state;
    struct prune_units units;
    struct prune_score_input in = setup(&units);
    double scores[UNITS], mean[UNITS];
    void *s = new_state(sosp_i(), &in);
    assert_int_equal(sosp_i()->finish(s, &in, scores, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "no gate gradients were delivered"));
    struct prune_signals signals = part(mean, 0, COUNT);
    signals.gate_probes.data = NULL;
    sosp_i()->accumulate(s, &in, &signals);
    assert_int_equal(sosp_i()->finish(s, &in, scores, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "no curvature was delivered"));
    probes[3][1][5] = NAN;
    feed(sosp_i(), s, &in, 0, COUNT);
    assert_int_equal(sosp_i()->finish(s, &in, scores, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "curvature of layer 0, channel 5 is not finite"));
    free(s);
}

/* Gradients of passes 0, 1, 2: as they are, along all gates, against. */
static void sosp_h_is_the_sum_of_both_terms(void **state)
{
    (void)state;
    struct prune_units units;
    struct prune_score_input in = setup(&units);
    const struct prune_criterion *c = prune_criterion_find("sosp-h");
    double g[3][UNITS], scores[UNITS], step = prune_gate_step(&in, PRUNE_STEP_ALL);
    uint32_t seed = 7;
    void *s = new_state(c, &in);
    assert_int_equal(c->passes(&in), 3);
    for (size_t p = 0; p < 3; p++) {
        for (int u = 0; u < UNITS; u++) g[p][u] = random_value(&seed);
        struct prune_signals signals = {.images = 8, .units = UNITS, .pass = p, .gate_batch = {.data = g[p], .type = PRUNE_F64, .rank = 1, .shape = {UNITS}, .strides = {1}}};
        c->accumulate(s, &in, &signals);
    }
    assert_int_equal(c->finish(s, &in, scores, &st), PRUNE_OK);
    for (int u = 0; u < UNITS; u++) close_enough(scores[u], fabs(g[0][u]) + fabs((g[1][u] - g[2][u]) / (2 * step)) / 2);
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_is_the_greedy_one_of_the_definition),
        cmocka_unit_test(what_units_share_changes_the_order),
        cmocka_unit_test(pieces_and_merged_halves_add_up),
        cmocka_unit_test(equal_units_go_in_the_order_of_their_numbers),
        cmocka_unit_test(scale_divides_every_step),
        cmocka_unit_test(few_classes_are_probed_exactly),
        cmocka_unit_test(what_does_not_fit_is_refused_with_its_size),
        cmocka_unit_test(nothing_fed_and_broken_signals_are_errors),
        cmocka_unit_test(sosp_h_is_the_sum_of_both_terms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
