/* Command-line arguments: Darknet's manner, numbers checked wholly, every mistake named. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../../plugin/commands/common.h"
#include "../../plugin/score/criteria.h"

static const struct prune_flag FLAGS[] = {{"out", true}, {"json", false}, {"lr", true}, {"memory", true}, PRUNE_SELECT_FLAGS, PRUNE_IMAGE_FLAGS, PRUNE_HOST_FLAGS, {0}};

static struct prune_status st;
static struct prune_args args;

/* Words separated by single blanks; the first is the verb. */
static enum prune_code parse(const char *line, int least, int most)
{
    static char text[512];
    char *argv[32];
    int argc = 0;
    snprintf(text, sizeof text, "%s", line);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) argv[argc++] = word;
    st = (struct prune_status){0};
    return prune_args_parse(&args, argc, argv, FLAGS, least, most, &st);
}

static void flags_may_stand_anywhere_among_positionals(void **state)
{
    (void)state;
    assert_int_equal(parse("verb -out dir a.cfg -json b.weights -lr 0.1", 2, 2), PRUNE_OK);
    assert_int_equal(args.count, 2);
    assert_string_equal(args.positional[0], "a.cfg");
    assert_string_equal(args.positional[1], "b.weights");
    assert_string_equal(prune_args_string(&args, "out", "none"), "dir");
    assert_true(prune_args_has(&args, "json"));
    assert_false(prune_args_has(&args, "macs"));
    assert_string_equal(prune_args_string(&args, "macs", "none"), "none");
}

static void a_negative_number_is_a_value_and_a_word_with_a_dash_is_a_flag(void **state)
{
    (void)state;
    double x = 0;
    assert_int_equal(parse("verb -lr -0.5", 0, 0), PRUNE_OK);
    assert_int_equal(prune_args_double(&args, "lr", -1, 1, 0, &x, &st), PRUNE_OK);
    assert_true(x == -0.5);
    assert_int_equal(parse("verb -lr -json", 0, 0), PRUNE_USAGE);
    assert_string_equal(st.message, "flag '-lr' needs a value");
    assert_int_equal(parse("verb -out", 0, 0), PRUNE_USAGE);
    assert_string_equal(st.message, "flag '-out' needs a value");
}

static void unknown_and_repeated_flags_are_named(void **state)
{
    (void)state;
    assert_int_equal(parse("verb -outt dir", 0, 1), PRUNE_USAGE);
    assert_string_equal(st.message, "unknown flag '-outt'; did you mean '-out'?");
    assert_int_equal(parse("verb -out a -out b", 0, 0), PRUNE_USAGE);
    assert_string_equal(st.message, "flag '-out' is given twice");
}

static void too_few_and_too_many_positionals_are_refused(void **state)
{
    (void)state;
    assert_int_equal(parse("verb one", 2, 3), PRUNE_USAGE);
    assert_string_equal(st.message, "1 argument given, at least 2 needed");
    assert_int_equal(parse("verb one two", 1, 1), PRUNE_USAGE);
    assert_string_equal(st.message, "unexpected argument 'two'");
}

static void numbers_are_checked_wholly_and_against_their_range(void **state)
{
    (void)state;
    static const struct { const char *line, *message; } bad[] = {
        {"v -lr 0.5x", "flag '-lr': '0.5x' is not a number"},
        {"v -lr nan", "flag '-lr': 'nan' is not a number"},
        {"v -lr inf", "flag '-lr': 'inf' is outside 0..1"},
        {"v -lr 1.5", "flag '-lr': '1.5' is outside 0..1"},
        {"v -lr 1e999", "flag '-lr': '1e999' is outside 0..1"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double x = 7;
        assert_int_equal(parse(bad[i].line, 0, 0), PRUNE_OK);
        assert_int_equal(prune_args_double(&args, "lr", 0, 1, 0.25, &x, &st), PRUNE_USAGE);
        assert_string_equal(st.message, bad[i].message);
        assert_true(x == 7);   /* written only on success */
    }
    static const struct { const char *line, *message; } bad_int[] = {
        {"v -threads 4.0", "flag '-threads': '4.0' is not a whole number"},
        {"v -threads 0x4", "flag '-threads': '0x4' is not a whole number"},
        {"v -threads 0", "flag '-threads': '0' is outside 1..1024"},
        {"v -threads 99999999999999999999", "flag '-threads': '99999999999999999999' is outside 1..1024"},
    };
    for (size_t i = 0; i < sizeof bad_int / sizeof *bad_int; i++) {
        struct prune_open_options open;
        assert_int_equal(parse(bad_int[i].line, 0, 0), PRUNE_OK);
        assert_int_equal(prune_args_host(&args, &open, &st), PRUNE_USAGE);
        assert_string_equal(st.message, bad_int[i].message);
    }
}

static void a_missing_flag_gives_the_fallback_even_outside_the_range(void **state)
{
    (void)state;
    double x;
    long n;
    assert_int_equal(parse("v", 0, 0), PRUNE_OK);
    assert_int_equal(prune_args_double(&args, "lr", 0, 1, NAN, &x, &st), PRUNE_OK);
    assert_true(isnan(x));
    assert_int_equal(prune_args_int(&args, "images", 1, 9, 0, &n, &st), PRUNE_OK);
    assert_int_equal(n, 0);
}

static enum prune_code select_from(const char *line, bool optional, struct prune_select_options *o)
{
    assert_int_equal(parse(line, 0, 0), PRUNE_OK);
    return prune_args_select(&args, optional, o, &st);
}

static void sizes_have_binary_units(void **state)
{
    (void)state;
    static const struct { const char *text; size_t bytes; } right[] = {{"65536", 65536}, {"16K", 16384}, {"800M", (size_t)800 << 20}, {"1.5g", (size_t)3 << 29}, {"2G", (size_t)2 << 30}};
    static const char *const wrong[] = {"0", "-1", "2T", "2GB", "G", "much", "nan", "1e30"};
    char line[64];
    size_t bytes;
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        snprintf(line, sizeof line, "verb -memory %s", right[i].text);
        assert_int_equal(parse(line, 0, 0), PRUNE_OK);
        assert_int_equal(prune_args_size(&args, "memory", 7, &bytes, &st), PRUNE_OK);
        assert_int_equal(bytes, right[i].bytes);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(line, sizeof line, "verb -memory %s", wrong[i]);
        assert_int_equal(parse(line, 0, 0), PRUNE_OK);
        assert_int_equal(prune_args_size(&args, "memory", 7, &bytes, &st), PRUNE_USAGE);
        assert_non_null(strstr(st.message, "no size such as 800M"));
    }
    assert_int_equal(parse("verb", 0, 0), PRUNE_OK);
    assert_int_equal(prune_args_size(&args, "memory", 7, &bytes, &st), PRUNE_OK);
    assert_int_equal(bytes, 7);
}

static void selection_flags_fill_the_options(void **state)
{
    (void)state;
    struct prune_select_options o;
    assert_int_equal(select_from("v -params 0.25 -per-layer -min-keep 2 -multiple 8 -cost macs -cost-power 0.5", false, &o), PRUNE_OK);
    assert_int_equal(o.target, PRUNE_TARGET_PARAMS);
    assert_true(o.remain == 0.25 && o.per_layer && o.cost_power == 0.5);
    assert_int_equal(o.min_keep, 2);
    assert_int_equal(o.multiple, 8);
    assert_int_equal(o.cost, PRUNE_COST_MACS);
    assert_int_equal(o.max_new, 0);
    assert_int_equal(select_from("v -units 1", false, &o), PRUNE_OK);
    assert_int_equal(o.target, PRUNE_TARGET_UNITS);
    assert_true(o.remain == 1 && !o.per_layer && o.min_keep == 1 && o.multiple == 1 && o.cost == PRUNE_COST_NONE);
    assert_int_equal(select_from("v", true, &o), PRUNE_OK);
    assert_true(o.remain == 1);
    assert_false(prune_args_has_target(&args));
}

static void selection_mistakes_are_named(void **state)
{
    (void)state;
    static const struct { const char *line, *message; } bad[] = {
        {"v", "no target is given; add -macs R, -params R or -units R, for example -macs 0.5"},
        {"v -macs 0.5 -units 0.5", "both '-macs' and '-units' are given; a selection has one target"},
        {"v -macs 0", "flag '-macs': 0 would leave nothing; give the fraction that remains, for example 0.5"},
        {"v -macs 50", "flag '-macs': '50' is outside 0..1"},
        {"v -macs 0.5 -cost bytes", "flag '-cost': 'bytes' is not one of none, macs, params"},
        {"v -macs 0.5 -cost-power 2", "flag '-cost-power' has no meaning without '-cost macs' or '-cost params'"},
        {"v -macs 0.5 -min-keep 0", "flag '-min-keep': '0' is outside 1..2147483647"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct prune_select_options o;
        assert_int_equal(select_from(bad[i].line, false, &o), PRUNE_USAGE);
        assert_string_equal(st.message, bad[i].message);
    }
}

static void image_flags_fill_the_set(void **state)
{
    (void)state;
    struct prune_image_set set;
    assert_int_equal(parse("v -list l.txt -images 72 -letterbox 0", 0, 0), PRUNE_OK);
    assert_int_equal(prune_args_images(&args, "d.data", PRUNE_DATA_VALID, &set, &st), PRUNE_OK);
    assert_string_equal(set.data_path, "d.data");
    assert_string_equal(set.list, "l.txt");
    assert_int_equal(set.limit, 72);
    assert_int_equal(set.letterbox, 0);
    assert_int_equal(set.role, PRUNE_DATA_VALID);
    assert_int_equal(parse("v", 0, 0), PRUNE_OK);
    assert_int_equal(prune_args_images(&args, "d.data", PRUNE_DATA_TRAIN, &set, &st), PRUNE_OK);
    assert_null(set.list);
    assert_int_equal(set.limit, 0);
    assert_int_equal(set.letterbox, 1);
}

static void the_nearest_name_is_offered_only_when_it_is_near(void **state)
{
    (void)state;
    static const char *const names[] = {"run", "inspect", "score", "select", "evaluate"};
    assert_string_equal(prune_nearest("scroe", names, 5), "score");
    assert_string_equal(prune_nearest("inspekt", names, 5), "inspect");
    assert_null(prune_nearest("quantize", names, 5));
    assert_null(prune_nearest("", names, 5));
    const struct prune_criterion *c;
    assert_int_equal(prune_args_criterion("taylor-fo", &c, &st), PRUNE_OK);
    assert_string_equal(c->name, "taylor-fo");
    assert_int_equal(prune_args_criterion("taylorfo", &c, &st), PRUNE_USAGE);
    assert_string_equal(st.message, "unknown criterion 'taylorfo' (did you mean 'taylor-fo'?); see 'darknet prune criteria'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_may_stand_anywhere_among_positionals),
        cmocka_unit_test(a_negative_number_is_a_value_and_a_word_with_a_dash_is_a_flag),
        cmocka_unit_test(unknown_and_repeated_flags_are_named),
        cmocka_unit_test(too_few_and_too_many_positionals_are_refused),
        cmocka_unit_test(numbers_are_checked_wholly_and_against_their_range),
        cmocka_unit_test(a_missing_flag_gives_the_fallback_even_outside_the_range),
        cmocka_unit_test(sizes_have_binary_units),
        cmocka_unit_test(selection_flags_fill_the_options),
        cmocka_unit_test(selection_mistakes_are_named),
        cmocka_unit_test(image_flags_fill_the_set),
        cmocka_unit_test(the_nearest_name_is_offered_only_when_it_is_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
