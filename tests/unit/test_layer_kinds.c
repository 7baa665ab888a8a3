/* The table of layer kinds: complete, unambiguous, and as the host names things. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../../plugin/model/layer_kinds.h"

static void every_row_is_filled_and_in_its_place(void **state)
{
    (void)state;
    size_t count = 0;
    const struct prune_kind_info *table = prune_kind_table(&count);
    assert_int_equal(count, PRUNE_KIND_COUNT);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(table[i].kind, i);
        assert_non_null(table[i].name);
        assert_non_null(table[i].keys);
        assert_true((table[i].rule == PRUNE_CH_FIXED) == (table[i].protect_reason != NULL));
        assert_true(table[i].is_layer == (table[i].rule != PRUNE_CH_NONE));
    }
}

static void every_name_and_alias_finds_its_row_and_no_other(void **state)
{
    (void)state;
    size_t count = 0;
    const struct prune_kind_info *table = prune_kind_table(&count);
    for (size_t i = 1; i < count; i++) {
        assert_ptr_equal(prune_kind_by_name(table[i].name), &table[i]);
        for (size_t a = 0; a < 3 && table[i].aliases[a]; a++) assert_ptr_equal(prune_kind_by_name(table[i].aliases[a]), &table[i]);
    }
}

static void the_aliases_of_the_host_are_known(void **state)
{
    (void)state;
    const struct { const char *name; enum prune_kind kind; } rows[] = {
        {"conv", PRUNE_CONVOLUTIONAL}, {"deconv", PRUNE_DECONVOLUTIONAL}, {"conn", PRUNE_CONNECTED}, {"max", PRUNE_MAXPOOL}, {"avg", PRUNE_AVGPOOL},
        {"soft", PRUNE_SOFTMAX}, {"lrn", PRUNE_NORMALIZATION}, {"network", PRUNE_NET}, {"Conv", PRUNE_KIND_UNKNOWN}, {"", PRUNE_KIND_UNKNOWN},
        {"unknown", PRUNE_KIND_UNKNOWN}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) assert_int_equal(prune_kind_by_name(rows[i].name)->kind, rows[i].kind);
    assert_int_equal(prune_kind_info((enum prune_kind)999)->kind, PRUNE_KIND_UNKNOWN);
}

static void keys_are_classified(void **state)
{
    (void)state;
    /* first, middle and last of each sorted list: a list out of order would lose some */
    const char *const common[] = {"clip", "dontload", "dontloadscales", "dontsave", "learning_rate", "numload", "onlyforward", "smooth", "stopbackward", "truth"};
    const char *const numbers[] = {"B1", "absolute", "batch_normalize", "burn_in", "class_scale", "classfix", "dontload", "dot", "flip", "flipped", "hue", "jitter", "kappa",
                                   "max_crop", "min_ratio", "noadjust", "noloss", "noobj", "noobject_scale", "notruth", "object_scale", "objectness", "probability", "rescore",
                                   "scale", "shift", "shortcut", "smooth", "sqrt", "step", "stopbackward", "tanh", "thresh", "truth", "truth_thresh", "xnor"};
    for (size_t i = 0; i < sizeof common / sizeof *common; i++) assert_true(prune_key_is_common(common[i]));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) assert_true(prune_key_is_number(numbers[i]));
    assert_false(prune_key_is_common("filters"));
    assert_false(prune_key_is_number("anchors"));
    assert_true(prune_key_is_foreign("groups", "2"));
    assert_false(prune_key_is_foreign("groups", "1"));
    assert_true(prune_key_is_foreign("group_id", "0"));
    assert_true(prune_key_is_foreign("dilation", "2"));
    assert_false(prune_key_is_foreign("dilation", "1"));
    assert_false(prune_key_is_foreign("filters", "2"));
}

static void sections_of_other_dialects_are_told_from_typing_errors(void **state)
{
    (void)state;
    const char *const names[] = {"Gaussian_yolo", "channel_slice", "conv_lstm", "implicit", "local_avgpool", "reorg3d", "reorg_old", "representation", "sam", "scale_channels", "silence", "xnor"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) assert_true(prune_section_is_foreign(names[i]));
    assert_false(prune_section_is_foreign("convolutionale"));
    assert_false(prune_section_is_foreign("yolo"));
}

static double value_at_0(enum prune_activation a)
{
    switch (a) { /* the well-known definitions at x = 0 */
    case PRUNE_LOGISTIC_ACT: return 1 / (1 + exp(-0.0));
    case PRUNE_LOGGY: return 2 / (1 + exp(-0.0)) - 1;
    case PRUNE_PLSE: return .125 * 0 + .5;
    case PRUNE_TANH: return tanh(0);
    case PRUNE_ELU: case PRUNE_SELU: return exp(0) - 1;
    default: return 0;
    }
}

static void activations_that_keep_zero_are_those_with_f_of_0_equal_0(void **state)
{
    (void)state;
    for (int i = 0; i < PRUNE_ACTIVATION_COUNT; i++) {
        enum prune_activation a = PRUNE_ACTIVATION_COUNT;
        const struct prune_activation_info *info = prune_activation_info((enum prune_activation)i);
        assert_true(prune_activation_by_name(info->name, &a));
        assert_int_equal(a, i);
        assert_int_equal(info->keeps_zero, value_at_0(a) == 0);
    }
    enum prune_activation a = PRUNE_RELU;
    assert_false(prune_activation_by_name("mish", &a));
    assert_int_equal(a, PRUNE_RELU);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_filled_and_in_its_place),
        cmocka_unit_test(every_name_and_alias_finds_its_row_and_no_other),
        cmocka_unit_test(the_aliases_of_the_host_are_known),
        cmocka_unit_test(keys_are_classified),
        cmocka_unit_test(sections_of_other_dialects_are_told_from_typing_errors),
        cmocka_unit_test(activations_that_keep_zero_are_those_with_f_of_0_equal_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
