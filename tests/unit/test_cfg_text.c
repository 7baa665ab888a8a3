/* cfg text: every byte kept, lines and spans right, typed access strict, edits touch nothing else, time linear. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../../plugin/base/file_io.h"
#include "../../plugin/model/cfg_text.h"

static struct prune_cfg parse(const char *text)
{
    struct prune_cfg cfg;
    struct prune_status st = {0};
    if (prune_cfg_parse(&cfg, "t.cfg", text, strlen(text), &st)) fail_msg("%s", st.message);
    return cfg;
}

static void assert_refused(const char *text, size_t size, const char *message)
{
    struct prune_cfg cfg;
    struct prune_status st = {0};
    assert_int_equal(prune_cfg_parse(&cfg, "t.cfg", text, size, &st), PRUNE_FAILED);
    assert_string_equal(st.message, message);
}

static void assert_span(const struct prune_cfg *cfg, struct prune_span s, const char *want)
{
    assert_int_equal(s.end - s.begin, strlen(want));
    assert_memory_equal(cfg->bytes + s.begin, want, s.end - s.begin);
}

static void sections_and_options_carry_lines_and_spans(void **state)
{
    (void)state;
    struct prune_cfg cfg = parse("# top\n[net]\nbatch = 1 6\n\n ; note\n[conv]\n\tfilters=8 \nsize=3");
    assert_int_equal(cfg.section_count, 2);
    const struct prune_section *net = &cfg.sections[0], *conv = &cfg.sections[1];
    assert_string_equal(net->name, "net");
    assert_int_equal(net->line, 2);
    assert_span(&cfg, net->header_span, "[net]\n");
    assert_span(&cfg, net->span, "[net]\nbatch = 1 6\n\n ; note\n");
    assert_int_equal(net->option_count, 1);
    assert_string_equal(net->options[0].key, "batch");
    assert_string_equal(net->options[0].value, "16");
    assert_int_equal(net->options[0].line, 3);
    assert_span(&cfg, net->options[0].key_span, "batch");
    assert_span(&cfg, net->options[0].value_span, "1 6");
    assert_span(&cfg, net->options[0].line_span, "batch = 1 6\n");
    assert_int_equal(conv->option_count, 2);
    assert_span(&cfg, conv->options[0].value_span, "8");
    assert_span(&cfg, conv->options[0].line_span, "\tfilters=8 \n");
    assert_span(&cfg, conv->options[1].line_span, "size=3");
    assert_int_equal(conv->options[1].line, 8);
    assert_int_equal(conv->span.end, cfg.size);
    prune_cfg_free(&cfg);
}

static void white_space_inside_a_line_is_ignored(void **state)
{
    (void)state;
    struct prune_cfg cfg = parse(" [ ro ute ] \n lay ers = -1, 8\n a=b=c\n");
    assert_string_equal(cfg.sections[0].name, "route");
    assert_string_equal(prune_cfg_string(&cfg.sections[0], "layers", ""), "-1,8");
    assert_string_equal(prune_cfg_string(&cfg.sections[0], "a", ""), "b=c");
    prune_cfg_free(&cfg);
}

static void crlf_and_lf_give_the_same_options(void **state)
{
    (void)state;
    struct prune_cfg lf = parse("[net]\nbatch=1\nheight=2\n"), crlf = parse("[net]\r\nbatch=1\r\nheight=2\r\n");
    assert_false(lf.crlf);
    assert_true(crlf.crlf);
    for (size_t i = 0; i < 2; i++) {
        assert_string_equal(lf.sections[0].options[i].value, crlf.sections[0].options[i].value);
        assert_int_equal(lf.sections[0].options[i].line, crlf.sections[0].options[i].line);
    }
    assert_span(&crlf, crlf.sections[0].options[0].value_span, "1");
    prune_cfg_free(&lf);
    prune_cfg_free(&crlf);
}

static void of_two_equal_keys_the_first_wins(void **state)
{
    (void)state;
    struct prune_cfg cfg = parse("[net]\nbatch=1\nbatch=2\n");
    int batch = 0;
    assert_int_equal(prune_cfg_int(&cfg, &cfg.sections[0], "batch", 7, &batch, NULL), PRUNE_OK);
    assert_int_equal(batch, 1);
    prune_cfg_free(&cfg);
}

static void lines_that_are_nothing_are_refused_with_their_number(void **state)
{
    (void)state;
    assert_refused("a=1\n[net]\n", 10, "cannot read 't.cfg:1': an option stands before the first section; a cfg starts with [net]");
    assert_refused("[net]\n\nhello\n", 13, "cannot read 't.cfg:3': the line is neither section, option nor comment; write 'key=value', or '#' in front of a comment");
    assert_refused("[net\n", 5, "cannot read 't.cfg:1': '[' without ']'; close the section's name");
    assert_refused("[", 1, "cannot read 't.cfg:1': '[' without ']'; close the section's name");
    assert_refused("[net]\na=\n", 9, "cannot read 't.cfg:2': the option has no value; write 'key=value', or remove the line");
    assert_refused("[net]\n=\n", 8, "cannot read 't.cfg:2': the option has no key; write 'key=value'");
    assert_refused("[net]\na=1\0\n", 11, "cannot read 't.cfg': byte 9 is NUL, this is a binary file and no cfg; are the arguments in the order cfg, weights?");
    assert_refused("[net]\ra=1\r", 10, "cannot read 't.cfg:1': a carriage return inside a line; end lines with LF or CR LF");
    assert_refused("\xef\xbb\xbf[net]\n", 9, "cannot read 't.cfg:1': the file starts with a byte order mark; save it as plain text without one");
}

static void numbers_must_be_numbers_to_their_last_character(void **state)
{
    (void)state;
    struct prune_cfg cfg = parse("[net]\ngood=-12\njunk=12x\nbig=2147483648\nfraction=1.5\nnan=nan\nhuge=1e999\ninfinite=-inf\nexponent=1e-3\n");
    const struct prune_section *s = &cfg.sections[0];
    struct prune_status st = {0};
    int i = 99;
    double d = 99;
    assert_int_equal(prune_cfg_int(&cfg, s, "good", 0, &i, &st), PRUNE_OK);
    assert_int_equal(i, -12);
    assert_int_equal(prune_cfg_int(&cfg, s, "absent", 5, &i, &st), PRUNE_OK);
    assert_int_equal(i, 5);
    assert_int_equal(prune_cfg_int(&cfg, s, "junk", 0, &i, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "cannot read 't.cfg:3': junk is '12x', not an integer of 32 bits");
    assert_int_equal(prune_cfg_int(&cfg, s, "big", 0, &i, &st), PRUNE_FAILED);
    assert_int_equal(prune_cfg_int(&cfg, s, "fraction", 0, &i, &st), PRUNE_FAILED);
    assert_int_equal(i, 5);
    assert_int_equal(prune_cfg_float(&cfg, s, "exponent", 0, &d, &st), PRUNE_OK);
    assert_true(d == 1e-3);
    assert_int_equal(prune_cfg_float(&cfg, s, "nan", 0, &d, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "cannot read 't.cfg:6': nan is 'nan', not a finite number");
    assert_int_equal(prune_cfg_float(&cfg, s, "huge", 0, &d, &st), PRUNE_FAILED);
    assert_int_equal(prune_cfg_float(&cfg, s, "infinite", 0, &d, &st), PRUNE_FAILED);
    assert_true(d == 1e-3);
    prune_cfg_free(&cfg);
}

static void lists_are_wholly_integers(void **state)
{
    (void)state;
    struct prune_cfg cfg = parse("[route]\nlayers = -1, 8 ,12\nempty=1,,2\nend=1,\nword=a\none=3\n");
    const struct prune_section *s = &cfg.sections[0];
    int *items = NULL;
    size_t count = 9;
    assert_int_equal(prune_cfg_int_list(&cfg, s, "layers", &items, &count, NULL), PRUNE_OK);
    assert_int_equal(count, 3);
    assert_int_equal(items[0], -1);
    assert_int_equal(items[1], 8);
    assert_int_equal(items[2], 12);
    free(items);
    assert_int_equal(prune_cfg_int_list(&cfg, s, "one", &items, &count, NULL), PRUNE_OK);
    assert_int_equal(count, 1);
    free(items);
    assert_int_equal(prune_cfg_int_list(&cfg, s, "absent", &items, &count, NULL), PRUNE_OK);
    assert_int_equal(count, 0);
    assert_null(items);
    assert_int_equal(prune_cfg_int_list(&cfg, s, "empty", &items, &count, NULL), PRUNE_FAILED);
    assert_int_equal(prune_cfg_int_list(&cfg, s, "end", &items, &count, NULL), PRUNE_FAILED);
    assert_int_equal(prune_cfg_int_list(&cfg, s, "word", &items, &count, NULL), PRUNE_FAILED);
    prune_cfg_free(&cfg);
}

/* Applies sets of key=value to section 1 and compares. sets: {key, value, after} triples, NULL-terminated. */
static void assert_edited(const char *text, const char *const *sets, const char *want)
{
    struct prune_cfg cfg = parse(text);
    struct prune_edit_list list = {0};
    char *bytes = NULL;
    size_t size = 0;
    for (; *sets; sets += 3) assert_int_equal(prune_edit_set(&list, &cfg, 1, sets[0], sets[1], sets[2], NULL), PRUNE_OK);
    assert_int_equal(prune_edit_apply(&cfg, &list, &bytes, &size, NULL), PRUNE_OK);
    assert_string_equal(bytes, want);
    assert_int_equal(size, strlen(want));
    free(bytes);
    prune_edit_free(&list);
    prune_cfg_free(&cfg);
}

#define SETS(...) ((const char *const[]){__VA_ARGS__, NULL, NULL})

static void an_edit_changes_the_value_and_no_other_byte(void **state)
{
    (void)state;
    const char *text = "[net]\n# c\n\n[conv]\n  filters =  64  \n;x\nsize=3\n";
    assert_edited(text, SETS("filters", "8", NULL), "[net]\n# c\n\n[conv]\n  filters =  8  \n;x\nsize=3\n");
    assert_edited(text, SETS("filters", "64", NULL), text);
    assert_edited(text, SETS("size", "1", NULL, "filters", "128", NULL), "[net]\n# c\n\n[conv]\n  filters =  128  \n;x\nsize=1\n");
}

static void a_missing_key_is_inserted_with_the_files_line_ending(void **state)
{
    (void)state;
    assert_edited("[net]\n[conv]\nsize=3\n", SETS("groups", "2", NULL), "[net]\n[conv]\ngroups=2\nsize=3\n");
    assert_edited("[net]\n[conv]\nsize=3\npad=1\n", SETS("groups", "2", "size"), "[net]\n[conv]\nsize=3\ngroups=2\npad=1\n");
    assert_edited("[net]\r\n[conv]\r\nsize=3\r\n", SETS("groups", "2", NULL), "[net]\r\n[conv]\r\ngroups=2\r\nsize=3\r\n");
    assert_edited("[net]\n[conv]\nsize=3", SETS("groups", "2", "size"), "[net]\n[conv]\nsize=3\ngroups=2");
    assert_edited("[net]\n[conv]", SETS("a", "1", NULL, "b", "2", NULL), "[net]\n[conv]\na=1\nb=2");
}

static void edits_that_overlap_are_refused(void **state)
{
    (void)state;
    struct prune_cfg cfg = parse("[net]\nbatch=1\n");
    struct prune_edit_list list = {0};
    struct prune_status st = {0};
    char *bytes = NULL;
    size_t size = 0;
    prune_edit_add(&list, (struct prune_span){2, 6}, "x", NULL);
    prune_edit_add(&list, (struct prune_span){4, 5}, "y", NULL);
    assert_int_equal(prune_edit_apply(&cfg, &list, &bytes, &size, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "cannot edit 't.cfg': two changes of bytes 4 to 5");
    prune_edit_free(&list);
    prune_edit_add(&list, (struct prune_span){0, 15}, "", NULL);
    assert_int_equal(prune_edit_apply(&cfg, &list, &bytes, &size, &st), PRUNE_FAILED);
    assert_null(bytes);
    prune_edit_free(&list);
    prune_cfg_free(&cfg);
}

static void no_edit_gives_back_the_bytes_of_every_good_cfg(void **state)
{
    (void)state;
    const char *const names[] = {"tiny", "crlf", "comments", "gated", "no-last-newline", "yolo", "zoo"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct prune_cfg cfg;
        struct prune_edit_list list = {0};
        char path[128], *bytes = NULL;
        size_t size = 0;
        snprintf(path, sizeof path, "tests/golden/good/%s.cfg", names[i]);
        assert_int_equal(prune_cfg_read(&cfg, path, NULL), PRUNE_OK);
        assert_int_equal(prune_edit_apply(&cfg, &list, &bytes, &size, NULL), PRUNE_OK);
        assert_int_equal(size, cfg.size);
        assert_memory_equal(bytes, cfg.bytes, size);
        free(bytes);
        prune_cfg_free(&cfg);
    }
}

/* Would take minutes if anything were quadratic. */
static void a_line_of_100_megabytes_and_a_million_sections_are_read(void **state)
{
    (void)state;
    struct prune_cfg cfg;
    size_t size = (size_t)100 << 20;
    char *text = malloc(size + 1);
    assert_non_null(text);
    memcpy(text, "[net]\nkey=", 10);
    memset(text + 10, 'v', size - 10);
    assert_int_equal(prune_cfg_parse(&cfg, "t.cfg", text, size, NULL), PRUNE_OK);
    assert_int_equal(strlen(cfg.sections[0].options[0].value), size - 10);
    prune_cfg_free(&cfg);
    for (size_t i = 0; i < 1000000; i++) memcpy(text + 4 * i, "[a]\n", 4);
    assert_int_equal(prune_cfg_parse(&cfg, "t.cfg", text, 4000000, NULL), PRUNE_OK);
    assert_int_equal(cfg.section_count, 1000000);
    assert_int_equal(cfg.sections[999999].line, 1000000);
    prune_cfg_free(&cfg);
    free(text);
}

static void a_comment_may_follow_a_number(void **state)
{
    (void)state;
    static const char text[] = "[net]\nbatch = 64 # of 8\n[conv]\r\nfilters=32;wide, = deep\r\nlayers = -1, 8  # both\nanchors=1.5,2e1;x\nactivation=leaky # no\nname=#7\nsteps=1,2 # 3,4\n";
    struct prune_cfg cfg;
    struct prune_status st = {0};
    int value = 0, *list = NULL;
    size_t count = 0;
    assert_int_equal(prune_cfg_parse(&cfg, "t.cfg", text, sizeof text - 1, &st), PRUNE_OK);
    const struct prune_section *net = &cfg.sections[0], *conv = &cfg.sections[1];
    assert_int_equal(prune_cfg_int(&cfg, net, "batch", 0, &value, &st), PRUNE_OK);
    assert_int_equal(value, 64);
    assert_span(&cfg, net->options[0].value_span, "64");
    assert_int_equal(prune_cfg_int(&cfg, conv, "filters", 0, &value, &st), PRUNE_OK);
    assert_int_equal(value, 32);
    assert_span(&cfg, conv->options[0].value_span, "32");
    assert_int_equal(prune_cfg_int_list(&cfg, conv, "layers", &list, &count, &st), PRUNE_OK);
    assert_int_equal(count, 2);
    assert_int_equal(list[1], 8);
    assert_span(&cfg, conv->options[1].value_span, "-1, 8");
    free(list);
    assert_string_equal(prune_cfg_string(conv, "anchors", ""), "1.5,2e1");
    assert_string_equal(prune_cfg_string(conv, "activation", ""), "leaky#no"); /* as Darknet compares it */
    assert_string_equal(prune_cfg_string(conv, "name", ""), "#7");
    assert_int_equal(prune_cfg_int_list(&cfg, conv, "steps", &list, &count, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "cannot use 't.cfg:9': the comment behind steps holds a comma, and Darknet counts it as one of the list; put the comment on a line of its own");
    prune_cfg_free(&cfg);
}

static void an_edit_keeps_the_comment_behind_a_number(void **state)
{
    (void)state;
    static const char text[] = "[conv]\r\nfilters =  32 ; wide, deep\r\nlayers=-1, 8#both\n";
    struct prune_cfg cfg;
    struct prune_edit_list edits = {0};
    char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(prune_cfg_parse(&cfg, "t.cfg", text, sizeof text - 1, NULL), PRUNE_OK);
    assert_int_equal(prune_edit_set(&edits, &cfg, 0, "filters", "32", NULL, NULL), PRUNE_OK);
    assert_int_equal(edits.count, 0); /* the value it has */
    assert_int_equal(prune_edit_set(&edits, &cfg, 0, "filters", "7", NULL, NULL), PRUNE_OK);
    assert_int_equal(prune_edit_set(&edits, &cfg, 0, "layers", "-1", NULL, NULL), PRUNE_OK);
    assert_int_equal(prune_edit_apply(&cfg, &edits, &bytes, &size, NULL), PRUNE_OK);
    assert_string_equal(bytes, "[conv]\r\nfilters =  7 ; wide, deep\r\nlayers=-1#both\n");
    free(bytes);
    prune_edit_free(&edits);
    prune_cfg_free(&cfg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sections_and_options_carry_lines_and_spans),
        cmocka_unit_test(white_space_inside_a_line_is_ignored),
        cmocka_unit_test(crlf_and_lf_give_the_same_options),
        cmocka_unit_test(of_two_equal_keys_the_first_wins),
        cmocka_unit_test(lines_that_are_nothing_are_refused_with_their_number),
        cmocka_unit_test(numbers_must_be_numbers_to_their_last_character),
        cmocka_unit_test(lists_are_wholly_integers),
        cmocka_unit_test(an_edit_changes_the_value_and_no_other_byte),
        cmocka_unit_test(a_missing_key_is_inserted_with_the_files_line_ending),
        cmocka_unit_test(edits_that_overlap_are_refused),
        cmocka_unit_test(no_edit_gives_back_the_bytes_of_every_good_cfg),
        cmocka_unit_test(a_line_of_100_megabytes_and_a_million_sections_are_read),
        cmocka_unit_test(a_comment_may_follow_a_number),
        cmocka_unit_test(an_edit_keeps_the_comment_behind_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
