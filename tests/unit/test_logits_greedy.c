/* taylor-logits-greedy against the same greedy choice made by hand from the formula: made-up margins and slopes. */
#include "criteria_rig.h"

enum { UNITS = 9, RIVALS = 2, COUNT = 37 };

static struct prune_channel members[UNITS];
static struct prune_unit items[UNITS];
static float margins[COUNT][RIVALS], slopes[COUNT][RIVALS][UNITS];

static struct prune_score_input setup(struct prune_units *units)
{
    uint32_t seed = 12345;
    for (int u = 0; u < UNITS; u++) {
        members[u] = (struct prune_channel){0, u};
        items[u] = (struct prune_unit){.first_member = (size_t)u, .member_count = 1};
    }
    for (int b = 0; b < COUNT; b++)
        for (int k = 0; k < RIVALS; k++) {
            seed = seed * 1664525u + 1013904223u;
            margins[b][k] = (float)(seed >> 8) / 4e6f - 4;
            for (int u = 0; u < UNITS; u++) {
                seed = seed * 1664525u + 1013904223u;
                slopes[b][k][u] = ((float)(seed >> 8) / 8e6f - 1) * (float)(u + 1) / 4;
            }
        }
    *units = (struct prune_units){.items = items, .count = UNITS, .members = members, .member_count = UNITS};
    return (struct prune_score_input){.units = units};
}

static struct prune_signals part(size_t first, size_t images)
{
    return (struct prune_signals){.images = images, .units = UNITS,
                                  .margins = {.data = margins[first], .type = PRUNE_F32, .rank = 2, .shape = {images, RIVALS}, .strides = {RIVALS, 1}},
                                  .gate_margins = {.data = slopes[first], .type = PRUNE_F32, .rank = 3, .shape = {images, RIVALS, UNITS},
                                                   .strides = {RIVALS * UNITS, UNITS, 1}}};
}

static double loss_without(const uint8_t *gone)
{
    double loss = 0;
    for (int b = 0; b < COUNT; b++) {
        double sum = 1;
        for (int k = 0; k < RIVALS; k++) {
            double a = (double)margins[b][k];
            for (int u = 0; u < UNITS; u++) a -= gone[u] ? (double)slopes[b][k][u] : 0;
            sum += exp(a);
        }
        loss += log(sum) / COUNT;
    }
    return loss;
}

/* Fills order[] with units and at[] with |loss - loss of the whole| when they go. */
static void by_hand(const uint8_t *stays, int *order, double *at)
{
    uint8_t gone[UNITS] = {0};
    double whole = loss_without(gone);
    for (int i = 0; i < UNITS; i++) {
        int best = -1;
        double least = 0;
        for (int u = 0; u < UNITS; u++) {
            if (gone[u] || stays[u]) continue;
            gone[u] = 1;
            double change = fabs(loss_without(gone) - whole);
            gone[u] = 0;
            if (best < 0 || change < least) best = u, least = change;
        }
        if (best < 0) return;
        gone[best] = 1;
        order[i] = best;
        at[i] = least;
    }
}

static void *fed(const struct prune_criterion *c, const struct prune_score_input *in, size_t pieces)
{
    void *s = calloc(1, c->state_size(in));
    assert_non_null(s);
    c->init(s, in);
    for (size_t p = 0; p < pieces; p++) {
        size_t first = COUNT * p / pieces, end = COUNT * (p + 1) / pieces;
        struct prune_signals signals = part(first, end - first);
        c->accumulate(s, in, &signals);
    }
    return s;
}

static void the_order_is_the_greedy_one(void **state)
{
    (void)state;
    struct prune_units units;
    struct prune_score_input in = setup(&units);
    const struct prune_criterion *c = prune_criterion_find("taylor-logits-greedy");
    uint8_t stays[UNITS] = {0};
    int order[UNITS];
    double at[UNITS], scores[UNITS], risen = 0;
    items[4].protected_because = "test";
    stays[4] = 1;
    by_hand(stays, order, at);
    void *s = fed(c, &in, 1);
    assert_int_equal(c->finish(s, &in, scores, &st), PRUNE_OK);
    for (int i = 0; i < UNITS - 1; i++) {
        risen = fmax(risen, at[i]);
        if (!(fabs(scores[order[i]] - risen) <= 1e-6 * risen)) fail_msg("unit %d: %.9g, by hand %.9g", order[i], scores[order[i]], risen);
        if (i) assert_true(scores[order[i]] > scores[order[i - 1]]);
    }
    assert_true(scores[4] == 0);
    free(s);
    items[4].protected_because = NULL;
}

static void pieces_and_merged_halves_give_the_same(void **state)
{
    (void)state;
    struct prune_units units;
    struct prune_score_input in = setup(&units);
    const struct prune_criterion *c = prune_criterion_find("taylor-logits-greedy");
    double whole[UNITS], pieces[UNITS], merged[UNITS];
    void *a = fed(c, &in, 1), *b = fed(c, &in, 5), *left = calloc(1, c->state_size(&in)), *right = calloc(1, c->state_size(&in));
    struct prune_signals first = part(0, 20), second = part(20, COUNT - 20);
    c->init(left, &in);
    c->init(right, &in);
    c->accumulate(left, &in, &first);
    c->accumulate(right, &in, &second);
    c->merge(left, right, &in);
    assert_int_equal(c->finish(a, &in, whole, &st), PRUNE_OK);
    assert_int_equal(c->finish(b, &in, pieces, &st), PRUNE_OK);
    assert_int_equal(c->finish(left, &in, merged, &st), PRUNE_OK);
    assert_memory_equal(whole, pieces, sizeof whole);
    assert_memory_equal(whole, merged, sizeof whole);
    free(a), free(b), free(left), free(right);
}

static void units_without_slopes_score_zero_and_nothing_fed_is_an_error(void **state)
{
    (void)state;
    struct prune_units units;
    struct prune_score_input in = setup(&units);
    const struct prune_criterion *c = prune_criterion_find("taylor-logits-greedy");
    double scores[UNITS];
    for (int b = 0; b < COUNT; b++) slopes[b][0][2] = slopes[b][1][2] = 0;
    void *s = fed(c, &in, 1), *empty = fed(c, &in, 0);
    assert_int_equal(c->finish(s, &in, scores, &st), PRUNE_OK);
    for (int u = 0; u < UNITS; u++) assert_int_equal(scores[u] == 0, u == 2);
    assert_int_equal(c->finish(empty, &in, scores, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "no margins were delivered"));
    slopes[3][1][5] = NAN;
    struct prune_signals broken = part(0, COUNT);
    c->accumulate(empty, &in, &broken);
    assert_int_equal(c->finish(empty, &in, scores, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "not finite"));
    free(s), free(empty);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_is_the_greedy_one),
        cmocka_unit_test(pieces_and_merged_halves_give_the_same),
        cmocka_unit_test(units_without_slopes_score_zero_and_nothing_fed_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
