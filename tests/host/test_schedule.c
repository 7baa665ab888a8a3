/* The learning rate of every policy against the host's own function, which derives its iteration from `seen`. */
#include "training_fixture.h"

#include <math.h>

#include "../../darknet/train.h"

static network *with_policy(learning_rate_policy policy)
{
    static size_t seen;
    static int steps[] = {40, 60, 90};
    static float scales[] = {.1f, .5f, .2f};
    static network net;
    net = (network){.seen = &seen, .batch = 4, .subdivisions = 8, .policy = policy, .learning_rate = .013f, .power = 4, .gamma = .97f, .scale = .3f,
                    .step = 25, .steps = steps, .scales = scales, .num_steps = 3, .max_batches = 100, .burn_in = 10};
    return &net;
}

static void compare(learning_rate_policy policy, int burn_in, uint64_t first)
{
    network *net = with_policy(policy);
    net->burn_in = burn_in;
    for (uint64_t i = first; i < 100; i++) {
        *net->seen = (size_t)i * 32 + (size_t)i % 32;
        double host = (double)get_current_rate(net), ours = schedule_rate(net, i);
        assert_true(fabs(host - ours) <= 1e-5 * fabs(host) + 1e-20);
    }
}

static void every_policy_follows_the_host(void **state)
{
    (void)state;
    static const learning_rate_policy policies[] = {CONSTANT, STEP, EXP, POLY, STEPS};
    for (size_t p = 0; p < sizeof policies / sizeof *policies; p++) {
        compare(policies[p], 0, 0);
        compare(policies[p], 10, 0);
    }
}

static void sigmoid_follows_the_host_from_step_on_and_the_formula_below(void **state)
{
    (void)state;
    compare(SIG, 0, 25); /* below step= the host subtracts unsigned numbers and gets a rate of 0 */
    network *net = with_policy(SIG);
    net->burn_in = 0;
    assert_true(fabs(schedule_rate(net, 24) - .013 / (1 + exp(-.97))) < 1e-8);
    assert_true(fabs(schedule_rate(net, 0) - .013) < 1e-8);
}

static void known_points_of_steps_with_burn_in(void **state)
{
    (void)state;
    network *net = with_policy(STEPS);
    assert_true(fabs(schedule_rate(net, 0)) < 1e-12);
    assert_true(fabs(schedule_rate(net, 5) - .013 / 16) < 1e-8);
    assert_true(fabs(schedule_rate(net, 39) - .013) < 1e-8);
    assert_true(fabs(schedule_rate(net, 40) - .0013) < 1e-9);
    assert_true(fabs(schedule_rate(net, 60) - .00065) < 1e-9);
    assert_true(fabs(schedule_rate(net, 1000000) - .00013) < 1e-10);
}

static void poly_has_ended_at_max_batches(void **state)
{
    (void)state;
    network *net = with_policy(POLY);
    assert_true(schedule_rate(net, 99) > 0);
    assert_true(schedule_rate(net, 100) <= 0);
    assert_true(schedule_rate(net, 500) <= 0);
}

static void random_is_constant_so_that_a_run_repeats(void **state)
{
    (void)state;
    assert_true(fabs(schedule_rate(with_policy(RANDOM), 77) - .013) < 1e-8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_policy_follows_the_host), cmocka_unit_test(sigmoid_follows_the_host_from_step_on_and_the_formula_below),
        cmocka_unit_test(known_points_of_steps_with_burn_in),
        cmocka_unit_test(poly_has_ended_at_max_batches), cmocka_unit_test(random_is_constant_so_that_a_run_repeats)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
