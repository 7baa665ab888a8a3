/* Score file: what is written is read back to the last bit, and everything that is not this network's score file is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../plugin/score/criteria.h"
#include "../../plugin/units/mask_file.h"

static struct prune_channel MEMBERS[] = {{0, 0}, {3, 0}, {0, 1}, {2, 7}};
static struct prune_unit UNITS[] = {{.first_member = 0, .member_count = 2}, {.first_member = 2, .member_count = 1}, {.first_member = 3, .member_count = 1}};
static const struct prune_units NET = {.items = UNITS, .count = 3, .members = MEMBERS, .member_count = 4};
static const struct prune_mask_origin ORIGIN = {.cfg_path = "a \"b\".cfg", .cfg_hash = "xxh64:0123456789abcdef", .weights_path = "w", .weights_hash = "xxh64:1"};
static struct prune_status st;

static void scores_survive_the_file_to_the_last_bit(void **state)
{
    (void)state;
    char path[] = "/tmp/prune-scores-XXXXXX";
    close(mkstemp(path));
    const double scores[] = {1.0 / 3, 5e-324, -1.7976931348623157e308};
    const struct prune_score_file about = {"taylor-fo", 1000, 8, 0.008283, 18446744073709551615u, {0.9, 3}};
    double read[3] = {0};
    assert_int_equal(prune_scores_write(path, &NET, scores, &about, &ORIGIN, &st), PRUNE_OK);
    if (prune_scores_read(path, &NET, &ORIGIN, read, &st)) fail_msg("%s", st.message);
    assert_memory_equal(read, scores, sizeof scores);
    unlink(path);
}

static void scores_that_are_not_finite_are_not_written(void **state)
{
    (void)state;
    char path[] = "/tmp/prune-scores-XXXXXX";
    close(mkstemp(path));
    unlink(path);
    const double scores[] = {1, NAN, 2};
    const struct prune_score_file about = {"random", 0, 0, NAN, 1, {0, 0}};
    assert_int_equal(prune_scores_write(path, &NET, scores, &about, &ORIGIN, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "score of unit 1 is not finite"));
    assert_int_not_equal(access(path, F_OK), 0);
}

#define HEAD "{\"format\": \"darknet-prune-scores\", \"version\": 1, \"cfg\": {\"file\": \"x\", \"hash\": \"xxh64:0123456789abcdef\"}, \"units\": "
#define U0 "{\"unit\": 0, \"layer\": 0, \"channel\": 0, \"score\": 1}"
#define U1 "{\"unit\": 1, \"layer\": 0, \"channel\": 1, \"score\": 2}"
#define U2 "{\"unit\": 2, \"layer\": 2, \"channel\": 7, \"score\": 3}"

static void units_may_come_in_any_order(void **state)
{
    (void)state;
    static const char text[] = HEAD "[" U2 "," U0 "," U1 "]}\r\n";
    double scores[3] = {0};
    if (prune_scores_parse("s.json", text, sizeof text - 1, &NET, &ORIGIN, scores, &st)) fail_msg("%s", st.message);
    assert_true(scores[0] == 1 && scores[1] == 2 && scores[2] == 3);
}

static void every_other_file_is_refused_by_name(void **state)
{
    (void)state;
    static const struct { const char *text, *message; } bad[] = {
        {"", "cannot read 's.json': it is not JSON (empty file)"},
        {"layer,channel,score\n", "cannot read 's.json': it is not JSON"},
        {HEAD "[" U0 "," U1 "," U2, "cannot read 's.json': it is not JSON"},
        {HEAD "[" U0 "," U1 "," U2 "]} x", "cannot read 's.json': text after the end of the JSON object"},
        {"[]", "'s.json' is not a score file: its format is '', expected 'darknet-prune-scores'"},
        {"{\"format\": \"darknet-prune-mask\", \"version\": 1}", "'s.json' is not a score file: its format is 'darknet-prune-mask', expected 'darknet-prune-scores'"},
        {"{\"format\": \"darknet-prune-scores\"}", "'s.json' has no version number, expected 1"},
        {"{\"format\": \"darknet-prune-scores\", \"version\": 2}", "'s.json' has version 2, this program reads 1"},
        {"{\"format\": \"darknet-prune-scores\", \"version\": 1, \"cfg\": {\"hash\": \"xxh64:f\"}}",
         "scores in 's.json' belong to another cfg (hash 'xxh64:f', 'a \"b\".cfg' has 'xxh64:0123456789abcdef'); score again"},
        {HEAD "{}}", "'s.json' has no list \"units\""},
        {HEAD "[" U0 "," U1 "]}", "'s.json' scores 2 units, this network has 3; score again"},
        {HEAD "[" U0 "," U1 "," U1 "]}", "'s.json': unit 1 is listed twice"},
        {HEAD "[" U0 "," U1 ",7]}", "'s.json': an entry of \"units\" has no unit number in 0..2"},
        {HEAD "[" U0 "," U1 ",{\"unit\": 3}]}", "'s.json': an entry of \"units\" has no unit number in 0..2"},
        {HEAD "[" U0 "," U1 ",{\"unit\": 1.5}]}", "'s.json': an entry of \"units\" has no unit number in 0..2"},
        {HEAD "[" U0 "," U1 ",{\"unit\": 2, \"layer\": 2, \"channel\": 8, \"score\": 3}]}", "'s.json': unit 2 is not layer 2, channel 7 as in this network; score again"},
        {HEAD "[" U0 "," U1 ",{\"unit\": 2, \"layer\": 2, \"channel\": 7, \"score\": null}]}", "'s.json': score of unit 2 is not a finite number"},
        {HEAD "[" U0 "," U1 ",{\"unit\": 2, \"layer\": 2, \"channel\": 7, \"score\": 1e999}]}", "'s.json': score of unit 2 is not a finite number"},
        {HEAD "[" U0 "," U1 ",{\"unit\": 2, \"layer\": 2, \"channel\": 7, \"score\": \"3\"}]}", "'s.json': score of unit 2 is not a finite number"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        double scores[3] = {-1, -1, -1};
        assert_int_equal(prune_scores_parse("s.json", bad[i].text, strlen(bad[i].text), &NET, &ORIGIN, scores, &st), PRUNE_FAILED);
        assert_string_equal(st.message, bad[i].message);
        assert_true(scores[0] == -1 && scores[1] == -1 && scores[2] == -1);
    }
    double scores[3];
    assert_int_equal(prune_scores_read("/nonexistent/s.json", &NET, &ORIGIN, scores, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "'/nonexistent/s.json'"));
}

static void deep_nesting_and_zero_bytes_do_no_harm(void **state)
{
    (void)state;
    char deep[5000];
    double scores[3];
    memset(deep, '[', sizeof deep);
    assert_int_equal(prune_scores_parse("s.json", deep, sizeof deep, &NET, &ORIGIN, scores, &st), PRUNE_FAILED);
    static const char zero[] = HEAD "[" U0 "\0," U1 "," U2 "]}";
    assert_int_equal(prune_scores_parse("s.json", zero, sizeof zero - 1, &NET, &ORIGIN, scores, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "cannot read 's.json': it is not JSON");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_survive_the_file_to_the_last_bit),
        cmocka_unit_test(scores_that_are_not_finite_are_not_written),
        cmocka_unit_test(units_may_come_in_any_order),
        cmocka_unit_test(every_other_file_is_refused_by_name),
        cmocka_unit_test(deep_nesting_and_zero_bytes_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
