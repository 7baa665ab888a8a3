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
    assert_true(prune_key_is_common("train_only_bn") && prune_key_is_common("burnin_update") && prune_key_is_common("dont_update"));
    assert_true(prune_key_is_number("embedding_layer") && prune_key_is_number("wait_stream") && prune_key_is_number("assisted_excitation"));
}

static const struct prune_key *key_of(enum prune_kind kind, const char *name)
{
    for (const struct prune_key *k = prune_kind_info(kind)->keys; k->name; k++)
        if (!strcmp(k->name, name)) return k;
    fail_msg("no key %s", name);
    return NULL;
}

static void a_key_knows_its_darknets_and_the_value_that_changes_nothing(void **state)
{
    (void)state;
    const struct prune_key *groups = key_of(PRUNE_ROUTE, "groups"), *share = key_of(PRUNE_CONVOLUTIONAL, "share_index"), *type = key_of(PRUNE_SHORTCUT, "weights_type"),
                           *scale = key_of(PRUNE_YOLO, "scale_x_y");
    assert_int_equal(groups->dialects, PRUNE_ALEXEYAB);
    assert_false(prune_key_is_neutral(groups, "1"));         /* what a rewritten route says; the file stays its Darknet's */
    assert_true(prune_key_is_neutral(scale, "1") && prune_key_is_neutral(scale, "01") && prune_key_is_neutral(scale, "1.0"));
    assert_false(prune_key_is_neutral(scale, "2") || prune_key_is_neutral(scale, "1x") || prune_key_is_neutral(scale, ""));
    assert_int_equal(share->dialects, PRUNE_ALEXEYAB);
    assert_false(prune_key_is_neutral(share, "0"));
    assert_true(prune_key_is_neutral(type, "none"));
    assert_false(prune_key_is_neutral(type, "per_feature") || prune_key_is_neutral(type, "nan"));
    assert_int_equal(key_of(PRUNE_CONVOLUTIONAL, "groups")->dialects, PRUNE_EVERY_DARKNET);
    assert_int_equal(key_of(PRUNE_CRNN, "output_filters")->dialects, PRUNE_PJREDDIE);
    assert_int_equal(key_of(PRUNE_CRNN, "output")->dialects, PRUNE_ALEXEYAB);
}

static void names_that_no_reader_handles_are_told_from_typing_errors(void **state)
{
    (void)state;
    const char *const names[] = {"channel_slice", "reorg_old", "representation", "xnor"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_true(prune_section_is_unreadable(names[i]));
        assert_int_equal(prune_kind_by_name(names[i])->kind, PRUNE_KIND_UNKNOWN);
    }
    assert_false(prune_section_is_unreadable("convolutionale"));
    assert_false(prune_section_is_unreadable("sam"));
}

static double value_at_0(enum prune_activation a)
{
    switch (a) { /* the well-known definitions at x = 0 */
    case PRUNE_LOGISTIC_ACT: return 1 / (1 + exp(-0.0));
    case PRUNE_LOGGY: return 2 / (1 + exp(-0.0)) - 1;
    case PRUNE_PLSE: return .125 * 0 + .5;
    case PRUNE_TANH: return tanh(0);
    case PRUNE_ELU: case PRUNE_SELU: return exp(0) - 1;
    case PRUNE_NORM_CHAN_SOFTMAX: case PRUNE_NORM_CHAN_SOFTMAX_MAXVAL: return exp(0) / (0.0001 + exp(0)); /* of one channel */
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
    assert_false(prune_activation_by_name("misch", &a));
    assert_int_equal(a, PRUNE_RELU);
    assert_true(prune_activation_by_name("norm_chan", &a));
    assert_true(a == PRUNE_NORM_CHAN && prune_activation_info(a)->mixes_channels);
    assert_true(prune_activation_by_name("mish", &a));
    assert_int_equal(prune_activation_info(a)->dialects, PRUNE_ALEXEYAB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_filled_and_in_its_place),
        cmocka_unit_test(every_name_and_alias_finds_its_row_and_no_other),
        cmocka_unit_test(the_aliases_of_the_host_are_known),
        cmocka_unit_test(keys_are_classified),
        cmocka_unit_test(a_key_knows_its_darknets_and_the_value_that_changes_nothing),
        cmocka_unit_test(names_that_no_reader_handles_are_told_from_typing_errors),
        cmocka_unit_test(activations_that_keep_zero_are_those_with_f_of_0_equal_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
