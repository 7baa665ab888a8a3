/* Criteria against numbers worked out by hand: sums over minibatches and images on made-up gradients, norms over made-up filters. */
#include "criteria_rig.h"

/* Two units of one channel each: enough for the sums. */
static struct prune_channel MEMBERS[] = {{0, 0}, {0, 1}};
static struct prune_unit UNITS[] = {{.first_member = 0, .member_count = 1}, {.first_member = 1, .member_count = 1}};
static struct prune_units two_units(void)
{
    return (struct prune_units){.items = UNITS, .count = 2, .members = MEMBERS, .member_count = 2};
}

static struct prune_signals batch_signal(double *g)
{
    return (struct prune_signals){.images = 4, .units = 2, .gate_batch = {.data = g, .type = PRUNE_F64, .rank = 1, .shape = {2}, .strides = {1}}};
}

static struct prune_signals image_signal(float *g, size_t images)
{
    return (struct prune_signals){.images = images, .units = 2,
                                  .gate_image = {.data = g, .type = PRUNE_F32, .rank = 2, .shape = {images, 2}, .strides = {2, 1}}};
}

/* Studies and docs name them in this order. */
static const char *const ORDER[] = {"taylor-fo", "taylor-fg", "taylor-weight", "taylor-weight-group", "bn-taylor", "taylor-output", "taylor-so", "taylor-so-hutchinson",
                                    "taylor-so-gn", "taylor-so-row", "obd", "obd-hutchinson", "obd-gn", "sosp-i", "sosp-h", "taylor-logits", "taylor-logits-greedy", "random", "magnitude", "magnitude-l1",
                                    "magnitude-layer", "grad-magnitude", "grad-magnitude-layer", "bn-scale", "fpgm", "hrank", "nap", "c-obd", "kron-obd", "c-obs", "kron-obs"};

static void the_registry_lists_what_each_criterion_needs(void **state)
{
    (void)state;
    size_t count;
    const struct prune_criterion *all = prune_criteria(&count);
    assert_int_equal(count, sizeof ORDER / sizeof *ORDER);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(all[i].name, ORDER[i]);
        assert_ptr_equal(prune_criterion_find(all[i].name), &all[i]);
        assert_true(all[i].formula && all[i].source && all[i].cost && all[i].state_size && all[i].init && all[i].merge && all[i].finish);
    }
    assert_int_equal(prune_criterion_find("taylor-fo")->signals, PRUNE_SIGNAL_GATE_BATCH);
    assert_int_equal(prune_criterion_find("taylor-fg")->signals, PRUNE_SIGNAL_GATE_IMAGE);
    assert_int_equal(prune_criterion_find("taylor-output")->gate, PRUNE_GATE_AFTER_ACTIVATION);
    assert_int_equal(prune_criterion_find("bn-taylor")->signals, PRUNE_SIGNAL_PARAMETERS);
    assert_int_equal(prune_criterion_find("hrank")->signals, PRUNE_SIGNAL_MAPS);
    static const char *const FROM_WEIGHTS[] = {"magnitude", "magnitude-l1", "magnitude-layer", "bn-scale", "fpgm"};
    for (size_t i = 0; i < sizeof FROM_WEIGHTS / sizeof *FROM_WEIGHTS; i++)
        assert_true(prune_criterion_find(FROM_WEIGHTS[i])->needs_weights && !prune_criterion_find(FROM_WEIGHTS[i])->signals);
    assert_true(!prune_criterion_find("random")->needs_weights && !prune_criterion_find("random")->signals);
    assert_null(prune_criterion_find("taylor"));
}

static void taylor_fo_is_the_mean_over_minibatches_of_the_squared_mean_gradient(void **state)
{
    (void)state;
    struct prune_units units = two_units();
    struct prune_score_input in = {.units = &units};
    const struct prune_criterion *c = prune_criterion_find("taylor-fo");
    void *s = new_state(c, &in);
    double first[] = {0.5, -2}, second[] = {-1.5, 0}, scores[2];
    struct prune_signals a = batch_signal(first), b = batch_signal(second);
    c->accumulate(s, &in, &a);
    c->accumulate(s, &in, &b);
    assert_int_equal(c->finish(s, &in, scores, &st), PRUNE_OK);
    close_to(scores[0], (0.25 + 2.25) / 2);
    close_to(scores[1], 4.0 / 2);
    free(s);
}

static void taylor_fg_is_the_mean_over_images_whatever_the_minibatches(void **state)
{
    (void)state;
    struct prune_units units = two_units();
    struct prune_score_input in = {.units = &units};
    const struct prune_criterion *c = prune_criterion_find("taylor-fg");
    void *s = new_state(c, &in);
    float three[] = {1, -1, 2, 0.5f, -3, 0}, one[] = {0, 4};
    double scores[2];
    struct prune_signals a = image_signal(three, 3), b = image_signal(one, 1);
    c->accumulate(s, &in, &a);
    c->accumulate(s, &in, &b);
    assert_int_equal(c->finish(s, &in, scores, &st), PRUNE_OK);
    close_to(scores[0], (1 + 4 + 9 + 0) / 4.0);
    close_to(scores[1], (1 + 0.25 + 0 + 16) / 4.0);
    free(s);
}

static void strides_of_a_signal_are_followed(void **state)
{
    (void)state;
    struct prune_units units = two_units();
    struct prune_score_input in = {.units = &units};
    const struct prune_criterion *c = prune_criterion_find("taylor-fg");
    void *s = new_state(c, &in);
    float columns[] = {1, 2, 3, 9, 10, 20, 30, 9};   /* (units, images) with a pad: image b, unit u at u*4 + b */
    double scores[2];
    struct prune_signals a = image_signal(columns, 3);
    a.gate_image.strides[0] = 1;
    a.gate_image.strides[1] = 4;
    c->accumulate(s, &in, &a);
    assert_int_equal(c->finish(s, &in, scores, &st), PRUNE_OK);
    close_to(scores[0], 14.0 / 3);
    close_to(scores[1], 1400.0 / 3);
    free(s);
}

static void merged_halves_equal_the_whole_and_states_are_plain_bytes(void **state)
{
    (void)state;
    struct prune_units units = two_units();
    struct prune_score_input in = {.units = &units};
    const struct prune_criterion *c = prune_criterion_find("taylor-fo");
    void *whole = new_state(c, &in), *left = new_state(c, &in), *right = new_state(c, &in), *copy = malloc(c->state_size(&in));
    double g[4][2] = {{1, 2}, {3, -4}, {0.5, 0.25}, {-8, 1}}, a[2], b[2];
    for (int i = 0; i < 4; i++) {
        struct prune_signals s = batch_signal(g[i]);
        c->accumulate(whole, &in, &s);
        c->accumulate(i < 1 ? left : right, &in, &s);
    }
    memcpy(copy, left, c->state_size(&in));
    c->merge(copy, right, &in);
    assert_int_equal(c->finish(whole, &in, a, &st), PRUNE_OK);
    assert_int_equal(c->finish(copy, &in, b, &st), PRUNE_OK);
    assert_memory_equal(a, b, sizeof a);
    close_to(a[0], (1 + 9 + 0.25 + 64) / 4);
    free(whole), free(left), free(right), free(copy);
}

static void a_pass_without_readable_signals_is_an_error(void **state)
{
    (void)state;
    struct prune_units units = two_units();
    struct prune_score_input in = {.units = &units};
    const struct prune_criterion *c = prune_criterion_find("taylor-fo");
    void *s = new_state(c, &in);
    double g[] = {1, 2}, scores[2];
    struct prune_signals elsewhere = batch_signal(g), other_size = batch_signal(g), none = {.images = 4};
    elsewhere.gate_batch.device = PRUNE_DEVICE_CUDA;
    other_size.gate_batch.shape[0] = 3;
    c->accumulate(s, &in, &elsewhere);
    c->accumulate(s, &in, &other_size);
    c->accumulate(s, &in, &none);
    assert_int_equal(c->finish(s, &in, scores, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "no gate gradients were delivered: no image was scored, or the host lacks this signal");
    free(s);
}

static void a_gradient_that_is_not_finite_is_named(void **state)
{
    (void)state;
    struct prune_units units = two_units();
    struct prune_score_input in = {.units = &units};
    const struct prune_criterion *c = prune_criterion_find("taylor-fo");
    void *s = new_state(c, &in);
    double g[] = {1, NAN}, scores[2] = {7, 7};
    struct prune_signals a = batch_signal(g);
    c->accumulate(s, &in, &a);
    assert_int_equal(c->finish(s, &in, scores, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "gate gradient of layer 0, channel 1 is not finite; check the weights with 'darknet prune evaluate'");
    assert_true(scores[0] == 7);
    free(s);
}

static const char PLAIN[] =
    "[net]\nheight=4\nwidth=4\nchannels=1\n"
    "[convolutional]\nbatch_normalize=1\nfilters=2\nsize=1\nstride=1\nactivation=relu\n"      /* floats 0..9: 2 biases, 6 batch-norm, 2 weights */
    "[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation=relu\n"                         /* floats 10..15: 2 biases, 4 weights */
    "[connected]\noutput=2\nactivation=linear\n"                                             /* biases 16..17, weights 2x32 from 18 */
    "[softmax]\n";

static void magnitude_is_the_norm_of_the_filter(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, PLAIN, counting, 0);
    close_to(score_at(&f, "magnitude", 2, 0, 0), 9);
    close_to(score_at(&f, "magnitude", 2, 0, 1), 10);
    close_to(score_at(&f, "magnitude", 2, 1, 0), sqrt(13.0 * 13 + 14 * 14));
    close_to(score_at(&f, "magnitude", 1, 1, 1), 15 + 16);
    close_to(score_at(&f, "magnitude", 1, 2, 1), (51 + 82) / 2.0 * 32);   /* 51 + 52 + ... + 82 */
    fixture_close(&f);
}

static void a_transposed_file_is_read_along_its_own_axis(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, PLAIN, counting, 1001);
    assert_true(f.weights.header.transposed);
    double sum = 0;
    for (int i = 0; i < 32; i++) sum += 19 + 2 * i + 1;   /* output 1: every second value */
    close_to(score_at(&f, "magnitude", 1, 2, 1), sum);
    fixture_close(&f);
}

static void bn_scale_is_gamma_and_one_without_batch_norm(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, PLAIN, counting, 0);
    close_to(score_at(&f, "bn-scale", 2, 0, 0), 3);
    close_to(score_at(&f, "bn-scale", 2, 0, 1), 4);
    close_to(score_at(&f, "bn-scale", 2, 1, 0), 1);
    fixture_close(&f);
}

static const char RESIDUAL[] =
    "[net]\nheight=4\nwidth=4\nchannels=1\n"
    "[convolutional]\nbatch_normalize=1\nfilters=2\nsize=1\nstride=1\nactivation=relu\n"      /* weights 8, 9; gamma 2, 3 */
    "[convolutional]\nbatch_normalize=1\nfilters=2\nsize=1\nstride=1\nactivation=linear\n"    /* weights 18..21; gamma 12, 13 */
    "[shortcut]\nfrom=-2\nactivation=relu\n"
    "[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation=linear\n"
    "[avgpool]\n[softmax]\n";

static void a_unit_of_several_producers_adds_them_up(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, RESIDUAL, counting, 0);
    assert_int_equal(f.units.of_channel[0][1], f.units.of_channel[1][1]);
    close_to(score_at(&f, "magnitude", 2, 0, 1), sqrt(10.0 * 10 + 21 * 21 + 22 * 22));
    close_to(score_at(&f, "magnitude", 1, 1, 1), 10 + 21 + 22);
    close_to(score_at(&f, "bn-scale", 2, 0, 0), sqrt(3.0 * 3 + 13 * 13));
    fixture_close(&f);
}

static void filters_stored_once_count_once_and_implicit_maps_count(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, "[net]\nheight=4\nwidth=4\nchannels=1\n"
                     "[convolutional]\nbatch_normalize=1\nfilters=1\nsize=1\nstride=1\nactivation=relu\n"                    /* bias 1, gamma 2, weight 5 */
                     "[convolutional]\nbatch_normalize=1\nfilters=1\nsize=1\nstride=1\nactivation=relu\nshare_index=0\n"
                     "[implicit]\nfilters=1\n"                                                                                  /* 6 */
                     "[scale_channels]\nfrom=0\n"
                     "[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation=linear\n[softmax]\n", counting, 0);
    assert_int_equal(f.units.of_channel[0][0], f.units.of_channel[1][0]);
    assert_int_equal(f.units.of_channel[0][0], f.units.of_channel[2][0]);
    close_to(score_at(&f, "magnitude", 1, 0, 0), 5 + 6);
    close_to(score_at(&f, "bn-scale", 2, 0, 0), sqrt(2.0 * 2 + 1));
    fixture_close(&f);
}

static void bn_scale_without_any_batch_norm_is_refused(void **state)
{
    (void)state;
    static const char cfg[] = "[net]\nheight=4\nwidth=4\nchannels=1\n[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation=relu\n"
                              "[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation=linear\n[avgpool]\n[softmax]\n";
    struct fixture f;
    double scores[8];
    fixture_open(&f, cfg, counting, 0);
    assert_int_equal(prune_criterion_find("bn-scale")->finish(NULL, &f.in, scores, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "no layer of 'test.cfg' has batch-norm, so 'bn-scale' has nothing to rank; use -criterion magnitude");
    f.in.weights = NULL;
    assert_int_equal(prune_criterion_find("magnitude")->finish(NULL, &f.in, scores, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "criterion 'magnitude' reads the weights, and none are given");
    fixture_close(&f);
}

static void random_depends_on_the_seed_alone(void **state)
{
    (void)state;
    struct prune_units units = two_units();
    struct prune_score_input in = {.units = &units, .seed = 5};
    const struct prune_criterion *c = prune_criterion_find("random");
    double a[2], b[2], other[2];
    assert_int_equal(c->state_size(&in), 0);
    assert_int_equal(c->finish(NULL, &in, a, &st), PRUNE_OK);
    assert_int_equal(c->finish(NULL, &in, b, &st), PRUNE_OK);
    in.seed = 6;
    assert_int_equal(c->finish(NULL, &in, other, &st), PRUNE_OK);
    assert_memory_equal(a, b, sizeof a);
    assert_true(a[0] != a[1] && a[0] != other[0]);
    for (int i = 0; i < 2; i++) assert_true(a[i] >= 0 && a[i] < 1 && other[i] >= 0 && other[i] < 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_registry_lists_what_each_criterion_needs),
        cmocka_unit_test(taylor_fo_is_the_mean_over_minibatches_of_the_squared_mean_gradient),
        cmocka_unit_test(taylor_fg_is_the_mean_over_images_whatever_the_minibatches),
        cmocka_unit_test(strides_of_a_signal_are_followed),
        cmocka_unit_test(merged_halves_equal_the_whole_and_states_are_plain_bytes),
        cmocka_unit_test(a_pass_without_readable_signals_is_an_error),
        cmocka_unit_test(a_gradient_that_is_not_finite_is_named),
        cmocka_unit_test(magnitude_is_the_norm_of_the_filter),
        cmocka_unit_test(a_transposed_file_is_read_along_its_own_axis),
        cmocka_unit_test(bn_scale_is_gamma_and_one_without_batch_norm),
        cmocka_unit_test(a_unit_of_several_producers_adds_them_up),
        cmocka_unit_test(filters_stored_once_count_once_and_implicit_maps_count),
        cmocka_unit_test(bn_scale_without_any_batch_norm_is_refused),
        cmocka_unit_test(random_depends_on_the_seed_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
