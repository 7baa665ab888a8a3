/* -scale: what the scores of every criterion are divided by. */
#include "criteria_rig.h"

#include "../../plugin/score/families.h"
#include "../../plugin/score/scoring.h"

static const char NET[] =
    "[net]\nheight=8\nwidth=8\nchannels=3\n"
    "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=1\nstride=1\nactivation=relu\n"            /* 0: tied to 2 */
    "[convolutional]\nbatch_normalize=1\nfilters=5\nsize=5\npad=1\nstride=1\nactivation=relu\n"     /* 1 */
    "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nstride=1\nactivation=linear\n"   /* 2 */
    "[shortcut]\nfrom=-3\nactivation=relu\n"
    "[connected]\noutput=6\nactivation=relu\n"                                                      /* 4 */
    "[connected]\noutput=2\nactivation=linear\n[softmax]\n";

static size_t unit_of(const struct fixture *f, int layer) { return (size_t)f->units.of_channel[layer][0]; }

static void the_kernel_is_the_largest_of_the_units_producers(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NET, counting, 0);
    f.in.scale = PRUNE_SCALE_KERNEL;
    assert_int_equal(unit_of(&f, 0), unit_of(&f, 2));
    close_to(prune_scale_divisor(&f.in, PRUNE_SCALE_NONE, unit_of(&f, 0)), 3);
    close_to(prune_scale_divisor(&f.in, PRUNE_SCALE_NONE, unit_of(&f, 1)), 5);
    close_to(prune_scale_divisor(&f.in, PRUNE_SCALE_NONE, unit_of(&f, 4)), 1);
    fixture_close(&f);
}

static void multiply_adds_are_those_that_go_with_the_unit(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NET, counting, 0);
    f.in.scale = PRUNE_SCALE_MACS;
    /* places x kernel x channels on the other side, of all layers that lose a channel */
    close_to(prune_scale_divisor(&f.in, PRUNE_SCALE_NONE, unit_of(&f, 1)), 64 * (25 * 4 + 9 * 4));
    close_to(prune_scale_divisor(&f.in, PRUNE_SCALE_NONE, unit_of(&f, 0)), 64 * (3 + 25 * 5 + 9 * 5) + 64 * 6);
    close_to(prune_scale_divisor(&f.in, PRUNE_SCALE_NONE, unit_of(&f, 4)), 4 * 64 + 2);
    fixture_close(&f);
}

static void what_the_user_does_not_say_is_the_criterions_own(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, NET, counting, 0);
    size_t u = unit_of(&f, 1);
    close_to(prune_scale_divisor(&f.in, PRUNE_SCALE_DEFAULT, u), 1);
    close_to(prune_scale_divisor(&f.in, PRUNE_SCALE_KERNEL, u), 5);
    f.in.scale = PRUNE_SCALE_NONE;
    close_to(prune_scale_divisor(&f.in, PRUNE_SCALE_KERNEL, u), 1);
    fixture_close(&f);
}

static void scores_of_every_criterion_are_divided_once(void **state)
{
    (void)state;
    struct fixture f;
    struct prune_scored item = {.criterion = prune_criterion_find("magnitude-l1")};
    double plain[32];
    fixture_open(&f, NET, counting, 0);
    assert_in_range(f.units.count, 1, 32);
    assert_int_equal(prune_scored_init(&item, 1, &f.in, &st), PRUNE_OK);
    assert_int_equal(prune_scored_finish(&item, 1, &f.in, &st), PRUNE_OK);
    memcpy(plain, item.scores, f.units.count * sizeof *plain);
    f.in.scale = PRUNE_SCALE_MACS;
    assert_int_equal(prune_scored_finish(&item, 1, &f.in, &st), PRUNE_OK);
    for (size_t u = 0; u < f.units.count; u++) {
        double divisor = prune_scale_divisor(&f.in, PRUNE_SCALE_NONE, u);
        assert_true(divisor > 1 && plain[u] > 0);
        close_to(item.scores[u] * divisor, plain[u]);
    }
    prune_scored_free(&item, 1);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_kernel_is_the_largest_of_the_units_producers),
        cmocka_unit_test(multiply_adds_are_those_that_go_with_the_unit),
        cmocka_unit_test(what_the_user_does_not_say_is_the_criterions_own),
        cmocka_unit_test(scores_of_every_criterion_are_divided_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
