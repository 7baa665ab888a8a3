/* Criteria from parameters and their gradients, from activations and their gradients, and from feature maps: made-up signals, numbers by hand. */
#include "criteria_rig.h"

#include "../../plugin/base/random.h"

enum { MOST = 16 };

/* What a host would deliver for a fixture: its weights, and gradients that are a function of the place in the file. */
struct delivery { struct prune_parameter_signal items[MOST]; size_t count; float *gradients; };

static struct prune_tensor flat(void *data, size_t n)
{
    return (struct prune_tensor){.data = data, .type = PRUNE_F32, .rank = 1, .shape = {n}, .strides = {1}};
}

static struct prune_signals deliver(struct delivery *d, const struct fixture *f, float (*gradient)(size_t))
{
    const struct prune_weights_layout *layout = &f->weights.layout;
    d->gradients = malloc(layout->floats * sizeof *d->gradients);
    assert_non_null(d->gradients);
    assert_true(layout->count <= MOST);
    for (size_t i = 0; i < layout->floats; i++) d->gradients[i] = gradient(i);
    d->count = layout->count;
    for (size_t i = 0; i < layout->count; i++) {
        const struct prune_weights_tensor *t = &layout->tensors[i];
        union { const float *from; void *to; } values = {prune_weights_data(&f->weights, t)};
        d->items[i] = (struct prune_parameter_signal){t->layer, (int)t->role, flat(values.to, t->count), flat(d->gradients + t->offset, t->count)};
    }
    return (struct prune_signals){.images = 4, .units = f->units.count, .parameters = d->items, .parameter_count = d->count};
}

/* Score after two minibatches of the unit that has this channel. */
static double score_of(struct fixture *f, const char *criterion, float (*first)(size_t), float (*second)(size_t), int layer, int channel)
{
    const struct prune_criterion *c = prune_criterion_find(criterion);
    double *scores = calloc(f->units.count, sizeof *scores), score;
    void *s = new_state(c, &f->in);
    float (*const gradients[])(size_t) = {first, second};
    for (int i = 0; i < 2; i++) {
        struct delivery d;
        struct prune_signals signals = deliver(&d, f, gradients[i]);
        c->accumulate(s, &f->in, &signals);
        free(d.gradients);
    }
    if (c->finish(s, &f->in, scores, &st)) fail_msg("%s", st.message);
    score = scores[f->units.of_channel[layer][channel]];
    free(s);
    free(scores);
    return score;
}

static const char PLAIN[] =
    "[net]\nheight=4\nwidth=4\nchannels=1\n"
    "[convolutional]\nbatch_normalize=1\nfilters=2\nsize=1\nstride=1\nactivation=relu\n"      /* gamma 3, -4; weights 9, -10 (floats 8, 9) */
    "[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation=relu\n"                         /* floats 12..15: 13, -14 | 15, -16 */
    "[connected]\noutput=2\nactivation=relu\n"                                               /* weights from float 18: 2 x 32 */
    "[connected]\noutput=2\nactivation=linear\n[softmax]\n";

static float one(size_t i) { return (void)i, 1.0f; }
static float thirds(size_t i) { return (float)(i % 3); }                    /* 12: 0, 13: 1, 14: 2, 15: 0 */
static float fifths(size_t i) { return (float)(i % 5) - 2; }                /* 12: 0, 13: 1, 14: 2, 15: -2 */

static void sums_of_weights_times_gradients(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, PLAIN, counting, 0);
    /* channel 1: w g = 30, 0 and then 30, 32 */
    close_to(score_of(&f, "taylor-weight", thirds, fifths, 1, 1), (900 + 900 + 1024) / 2.0);
    close_to(score_of(&f, "taylor-weight-group", thirds, fifths, 1, 1), (900 + 62 * 62) / 2.0);
    close_to(score_of(&f, "grad-magnitude", thirds, fifths, 1, 1), (30 + 62) / 2.0);
    /* channel 0: w g = 0, -14 both times */
    close_to(score_of(&f, "taylor-weight", thirds, fifths, 1, 0), 196);
    close_to(score_of(&f, "taylor-weight-group", thirds, fifths, 1, 0), 196);
    close_to(score_of(&f, "grad-magnitude", thirds, fifths, 1, 0), 14);
    close_to(score_of(&f, "grad-magnitude-layer", thirds, fifths, 1, 0), 14 / sqrt((14.0 * 14 + 46 * 46) / 2));
    fixture_close(&f);
}

static void opposite_terms_cancel_in_the_group_alone(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, PLAIN, counting, 0);
    /* connected, channel 1: floats 50..81, w = 51, -52, ..., g = 1 throughout the file: 16 pairs of -1 */
    double squares = 0, absolute = 0;
    for (int w = 51; w <= 82; w++) squares += (double)w * w, absolute += w;
    close_to(score_of(&f, "taylor-weight-group", one, one, 2, 1), 16 * 16);
    close_to(score_of(&f, "taylor-weight", one, one, 2, 1), squares);
    close_to(score_of(&f, "grad-magnitude", one, one, 2, 1), absolute);
    fixture_close(&f);
}

static void signals_are_not_transposed_whatever_the_file(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, PLAIN, counting, 1001);
    assert_true(f.weights.header.transposed);
    double absolute = 0;
    for (int w = 51; w <= 82; w++) absolute += w;
    close_to(score_of(&f, "grad-magnitude", one, one, 2, 1), absolute);
    fixture_close(&f);
}

static const char RESIDUAL[] =
    "[net]\nheight=4\nwidth=4\nchannels=1\n"
    "[convolutional]\nbatch_normalize=1\nfilters=2\nsize=1\nstride=1\nactivation=relu\n"      /* gamma 3, -4 (2, 3); weights 9, -10 (8, 9) */
    "[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation=linear\n"                       /* weights 13, -14 | 15, -16 (12..15) */
    "[shortcut]\nfrom=-2\nactivation=relu\n"
    "[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation=linear\n"
    "[avgpool]\n[softmax]\n";

static void producers_add_up_before_the_square(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, RESIDUAL, counting, 0);
    assert_int_equal(f.units.of_channel[0][1], f.units.of_channel[1][1]);
    /* thirds: layer 0, channel 1: g = 0; layer 1: 15 * 2 - 16 * 0. fifths: -10 * 2; 15 * 2 + 16 * 2 */
    close_to(score_of(&f, "taylor-weight", thirds, fifths, 0, 1), (900 + 400 + 900 + 1024) / 2.0);
    close_to(score_of(&f, "taylor-weight-group", thirds, fifths, 0, 1), (900 + 42 * 42) / 2.0);
    close_to(score_of(&f, "grad-magnitude", thirds, fifths, 0, 1), (30 + 82) / 2.0);
    /* gamma -4 at float 3: g = 0 and 1; without batch-norm gamma is 1, and its gradient the sum of w g */
    close_to(score_of(&f, "bn-taylor", thirds, fifths, 0, 1), (900 + (62.0 - 4) * (62 - 4)) / 2);
    fixture_close(&f);
}

static void weights_that_are_not_delivered_are_missed(void **state)
{
    (void)state;
    struct fixture f;
    struct delivery d;
    double scores[8];
    fixture_open(&f, RESIDUAL, counting, 0);
    const struct prune_criterion *c = prune_criterion_find("taylor-weight");
    void *s = new_state(c, &f.in);
    struct prune_signals signals = deliver(&d, &f, one);
    signals.parameter_count = 5;                     /* without the weights of layer 1 */
    c->accumulate(s, &f.in, &signals);
    assert_int_equal(c->finish(s, &f.in, scores, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "no weight gradients were delivered: no image was scored, or the host lacks this signal");
    free(d.gradients);
    free(s);
    fixture_close(&f);
}

static void taylor_output_is_the_mean_of_absolute_values_over_the_norm_of_the_layer(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f, PLAIN, counting, 0);
    const struct prune_criterion *c = prune_criterion_find("taylor-output");
    size_t n = f.units.count;
    assert_int_equal(n, 8);
    float g[3][8] = {{1, -2, 3, 0, 5, 0, 0, 0}, {-3, 0, 1, 0, 5, 0, 0, 0}, {2, 4, -2, 0, 5, 0, 0, 0}};
    double scores[8];
    void *s = new_state(c, &f.in);
    for (size_t b = 0; b < 3; b += 2) {              /* two images, then one */
        struct prune_signals signals = {.images = b ? 1 : 2, .units = n, .gate_image = {.data = g[b], .type = PRUNE_F32, .rank = 2, .shape = {b ? 1 : 2, 8}, .strides = {8, 1}}};
        c->accumulate(s, &f.in, &signals);
    }
    assert_int_equal(c->finish(s, &f.in, scores, &st), PRUNE_OK);
    close_to(scores[0], 2 / sqrt(8));                /* means 2 and 2 in layer 0, 2 and 0 in layer 1, 5 and 0 in layer 2 */
    close_to(scores[1], 2 / sqrt(8));
    close_to(scores[2], 1);
    close_to(scores[4], 1);
    assert_true(scores[3] == 0 && scores[5] == 0 && scores[6] == 0 && scores[7] == 0);
    free(s);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_of_weights_times_gradients),
        cmocka_unit_test(opposite_terms_cancel_in_the_group_alone),
        cmocka_unit_test(signals_are_not_transposed_whatever_the_file),
        cmocka_unit_test(producers_add_up_before_the_square),
        cmocka_unit_test(weights_that_are_not_delivered_are_missed),
        cmocka_unit_test(taylor_output_is_the_mean_of_absolute_values_over_the_norm_of_the_layer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
