/* State files: every byte counts, states come back as they were, and what does not belong to the run at hand is refused by name. */
#include "criteria_rig.h"

#include "../../plugin/score/score_state.h"

enum { UNITS = 3 };
static struct prune_channel MEMBERS[] = {{0, 0}, {3, 0}, {0, 1}, {2, 7}};
static struct prune_unit ITEMS[] = {{.first_member = 0, .member_count = 2}, {.first_member = 2, .member_count = 1}, {.first_member = 3, .member_count = 1}};
static const struct prune_units NET = {.items = ITEMS, .count = UNITS, .members = MEMBERS, .member_count = 4};
static const struct prune_score_origin ORIGIN = {"a.cfg", "a.weights", "a.txt", "xxh64:1", "xxh64:2", "xxh64:3"};
static const struct prune_scoring SCORING = {.input = {.units = &NET, .seed = 18446744073709551615u, .norm = 1, .rivals = 3, .probes = 5, .step = 1.0 / 3},
                                             .set = {.data_path = "a.data", .first = 7, .drawn = true, .letterbox = 1}, .minibatch = 64, .gate = PRUNE_GATE_BEFORE_BN};
static const struct prune_scoring_facts FACTS = {.images = 192, .minibatches = 3, .passes = 5, .loss_sum = 1.0 / 7};

static size_t begin(struct prune_scored *items, const char *const *names)
{
    size_t n = 0;
    for (; names[n]; n++) {
        items[n] = (struct prune_scored){.criterion = prune_criterion_find(names[n])};
        assert_non_null(items[n].criterion);
    }
    assert_int_equal(prune_scored_init(items, n, &SCORING.input, &st), PRUNE_OK);
    return n;
}

static void every_criterion_comes_back_to_the_last_bit(void **state)
{
    (void)state;
    size_t count, size;
    const struct prune_criterion *all = prune_criteria(&count);
    struct prune_scored before[64], after[64];
    struct prune_scoring_facts facts = {0};
    struct prune_state_file f;
    char *bytes, *names;
    for (size_t i = 0; i < count; i++) before[i].criterion = after[i].criterion = &all[i];
    assert_int_equal(prune_scored_init(before, count, &SCORING.input, &st), PRUNE_OK);
    assert_int_equal(prune_scored_init(after, count, &SCORING.input, &st), PRUNE_OK);
    for (size_t i = 0; i < count; i++) {
        size_t length = all[i].state_size(&SCORING.input);
        if (length) ((unsigned char *)before[i].state)[length - 1] = (unsigned char)(i + 1);
    }
    assert_int_equal(prune_score_state_encode(&SCORING, &ORIGIN, before, count, &FACTS, &bytes, &size, &st), PRUNE_OK);
    if (prune_state_parse(&f, "s", bytes, size, &st)) fail_msg("%s", st.message);
    if (prune_score_state_load(&f, &ORIGIN, &SCORING.input, after, count, &facts, &st)) fail_msg("%s", st.message);
    for (size_t i = 0; i < count; i++)
        if (memcmp(before[i].state, after[i].state, all[i].state_size(&SCORING.input)) != 0) fail_msg("state of %s differs", all[i].name);
    assert_true(facts.images == 192 && facts.minibatches == 3 && facts.passes == 5 && facts.loss_sum == FACTS.loss_sum && facts.loss == FACTS.loss_sum / 192);
    assert_int_equal(prune_score_state_criteria(&f, &names, &st), PRUNE_OK);
    assert_true(strncmp(names, "taylor-fo,taylor-fg,", 20) == 0);
    free(names);
    prune_state_close(&f);
    free(bytes);
    prune_scored_free(before, count);
    prune_scored_free(after, count);
}

static void settings_come_back(void **state)
{
    (void)state;
    struct prune_scored items[4];
    struct prune_scoring read = {.input = {.units = &NET}, .set.data_path = "a.data"};
    struct prune_state_file f;
    char *bytes;
    size_t size, count = begin(items, (const char *const[]){"taylor-fo", NULL});
    assert_int_equal(prune_score_state_encode(&SCORING, &ORIGIN, items, count, &FACTS, &bytes, &size, &st), PRUNE_OK);
    assert_int_equal(prune_state_parse(&f, "s", bytes, size, &st), PRUNE_OK);
    if (prune_score_state_settings(&f, &read, &st)) fail_msg("%s", st.message);
    assert_memory_equal(&read.input.seed, &SCORING.input.seed, sizeof read.input.seed);
    assert_true(read.input.step == SCORING.input.step && read.input.norm == 1 && read.input.rivals == 3 && read.input.probes == 5);
    assert_true(read.set.first == 7 && read.set.drawn && read.set.letterbox == 1 && read.minibatch == 64 && read.gate == PRUNE_GATE_BEFORE_BN);
    prune_state_close(&f);
    free(bytes);
    prune_scored_free(items, count);
}

static void every_changed_byte_and_every_cut_is_noticed(void **state)
{
    (void)state;
    struct prune_scored items[4];
    struct prune_state_file f;
    char *bytes;
    size_t size, count = begin(items, (const char *const[]){"taylor-fo", "taylor-so-row", "hrank", NULL});
    assert_int_equal(prune_score_state_encode(&SCORING, &ORIGIN, items, count, &FACTS, &bytes, &size, &st), PRUNE_OK);
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= 16;
        assert_int_equal(prune_state_parse(&f, "s", bytes, size, &st), PRUNE_FAILED);
        bytes[i] ^= 16;
        assert_int_equal(prune_state_parse(&f, "s", bytes, i, &st), PRUNE_FAILED);
        assert_non_null(strstr(st.message, i < 32 ? "'s' is not a state file of darknet prune" : "'s' is damaged or cut"));
    }
    assert_int_equal(prune_state_parse(&f, "s", bytes, size, &st), PRUNE_OK);
    prune_state_close(&f);
    free(bytes);
    prune_scored_free(items, count);
}

#define SETTINGS "seed 1\nminibatch 6\ngate after-bn\nnorm 2\nrivals 0\nprobes 0\nstep 0\nfirst 0\ndrawn 0\nletterbox 1\n"
#define ABOUT "kind score\ncfg xxh64:1\nweights xxh64:2\nlist xxh64:3\nunits 3\nimages 12\nminibatches 2\npasses 1\nloss 0x1p+3\n"

/* Loads a forged file (its hash is right) into taylor-fo, of which there is a state of `size` bytes under `name`. */
static enum prune_code load_forged(const char *facts, const char *name, size_t size, const struct prune_score_origin *origin)
{
    struct prune_scored items[2];
    struct prune_state_file f;
    struct prune_scoring_facts read = {0};
    struct prune_scoring settings = SCORING;
    char *bytes, zeros[64] = {0};
    const struct prune_state_part part = {name, zeros, size};
    size_t length, count = begin(items, (const char *const[]){"taylor-fo", NULL});
    assert_int_equal(prune_state_encode(facts, &part, 1, &bytes, &length, &st), PRUNE_OK);
    assert_int_equal(prune_state_parse(&f, "s", bytes, length, &st), PRUNE_OK);
    enum prune_code rc = prune_score_state_settings(&f, &settings, &st);
    if (!rc) rc = prune_score_state_load(&f, origin, &SCORING.input, items, count, &read, &st);
    prune_state_close(&f);
    free(bytes);
    prune_scored_free(items, count);
    return rc;
}

static void what_does_not_belong_here_is_refused_by_name(void **state)
{
    (void)state;
    static const struct { const char *facts, *name; size_t size; const char *message; } bad[] = {
        {"kind oracle\n" SETTINGS, "taylor-fo", 32, "'s' is no state of scores: it has no valid \"kind\"; score anew without it"},
        {ABOUT "seed -1\n", "taylor-fo", 32, "'s' is no state of scores: it has no valid \"seed\"; score anew without it"},
        {ABOUT "seed 1\nminibatch 0x6\n", "taylor-fo", 32, "'s' is no state of scores: it has no valid \"minibatch\"; score anew without it"},
        {ABOUT "seed 1\nminibatch 6\ngate here\n", "taylor-fo", 32, "'s' is no state of scores: it has no valid \"gate\"; score anew without it"},
        {ABOUT "seed 1\nminibatch 6\ngate after-bn\nnorm 4294967296\n", "taylor-fo", 32, "'s' is no state of scores: it has no valid \"norm\"; score anew without it"},
        {ABOUT SETTINGS, "taylor-fg", 32, "'s' also holds criterion 'taylor-fg', which would be lost; leave -criterion away"},
        {ABOUT SETTINGS, "taylor-fo", 24, "'s' holds a state of criterion 'taylor-fo' of another shape; score anew without it"},
        {"kind score\ncfg xxh64:1\nweights xxh64:2\nlist xxh64:3\nunits 4\n" SETTINGS, "taylor-fo", 32, "'s' has states of 4 units, this network has 3; score anew without it"},
        {"kind score\ncfg xxh64:1\nweights xxh64:2\nlist xxh64:3\nunits 3\nimages x\n" SETTINGS, "taylor-fo", 32,
         "'s' is no state of scores: it has no valid \"images\"; score anew without it"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(load_forged(bad[i].facts, bad[i].name, bad[i].size, &ORIGIN), PRUNE_FAILED);
        assert_string_equal(st.message, bad[i].message);
    }
    assert_int_equal(load_forged(ABOUT SETTINGS, "taylor-fo", 32, &ORIGIN), PRUNE_OK);
}

static void another_file_is_named(void **state)
{
    (void)state;
    static const char *const names[] = {"cfg", "weights", "list"};
    for (size_t i = 0; i < 3; i++) {
        struct prune_score_origin other = ORIGIN;
        char *hashes[] = {other.cfg, other.weights, other.list}, expected[64];
        strcpy(hashes[i], "xxh64:9");
        snprintf(expected, sizeof expected, "'s' is the state of another %s (hash 'xxh64:%zu', 'a.", names[i], i + 1);
        assert_int_equal(load_forged(ABOUT SETTINGS, "taylor-fo", 32, &other), PRUNE_FAILED);
        assert_non_null(strstr(st.message, expected));
        assert_non_null(strstr(st.message, "has 'xxh64:9'); give the file it was made with, or score anew without -resume"));
    }
}

/* taylor-logits-greedy counts its images inside its state: numbers that would lead out of it are refused. */
static void layouts_inside_a_state_are_checked(void **state)
{
    (void)state;
    static const char *const names[] = {"taylor-logits-greedy", "taylor-so-row", "obd-hutchinson", "taylor-so", NULL};
    struct prune_scored fresh[4], forged[4];
    size_t count = begin(fresh, names);
    begin(forged, names);
    for (size_t i = 0; i < count; i++) {
        const struct prune_criterion *c = fresh[i].criterion;
        assert_non_null(c->state_ok);
        assert_true(c->state_ok(forged[i].state, fresh[i].state));
        memset(forged[i].state, 0x41, 40);
        assert_false(c->state_ok(forged[i].state, fresh[i].state));
    }
    prune_scored_free(fresh, count);
    prune_scored_free(forged, count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_criterion_comes_back_to_the_last_bit),
        cmocka_unit_test(settings_come_back),
        cmocka_unit_test(every_changed_byte_and_every_cut_is_noticed),
        cmocka_unit_test(what_does_not_belong_here_is_refused_by_name),
        cmocka_unit_test(another_file_is_named),
        cmocka_unit_test(layouts_inside_a_state_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
