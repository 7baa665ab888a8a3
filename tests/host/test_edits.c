/* Edits from outside: values of tensors act in the next pass and are what is saved; held zeros stay zeros through training, states and further edits, with their
 * momentum, and nothing else changes for them. */
#include "host_fixture.h"

#include <math.h>

#include "../../darknet/host_net.h"
#include "../../plugin/model/weights_file.h"

enum { CONV = 1, FULL = 5 };   /* layers of the fixture's classifier: 0, 1 convolutions, 2 shortcut, 3 maxpool, 4 dropout, 5 connected, 6 softmax */

static const struct prune_step_options MOVE = {.rate = .05, .momentum = .9, .decay = 5e-4};

static struct prune_host_net *open_fresh(const char *cfg) { return open_net(cfg, NULL, 0); }

static void start(struct prune_host_net *net, const char *data)
{
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
    struct prune_status st = {0};
    ok(host()->train_start(net, &set, NULL, NULL, NULL, &st), &st);
}

static void step(struct prune_host_net *net, int steps)
{
    struct prune_status st = {0};
    struct prune_step out;
    for (int i = 0; i < steps; i++) ok(host()->train_step(net, &MOVE, &out, &st), &st);
}

static uint8_t *every_third(const layer *l)
{
    uint8_t *keep = malloc(weights_of(l));
    assert_non_null(keep);
    for (size_t i = 0; i < weights_of(l); i++) keep[i] = i % 3 != 0;
    return keep;
}

static void hold(struct prune_host_net *net, int index)
{
    struct prune_status st = {0};
    const layer *l = &net->open.net->layers[index];
    uint8_t *keep = every_third(l);
    ok(host()->zeros_hold(net, index, keep, weights_of(l), &st), &st);
    free(keep);
}

/* How many of the held weights, or their momentum, are not zero; *live: how many of the others are. */
static size_t broken(const struct prune_host_net *net, int index, size_t *live)
{
    const layer *l = &net->open.net->layers[index];
    size_t n = 0;
    *live = 0;
    for (size_t i = 0; i < weights_of(l); i++) {
        if (i % 3 == 0) n += l->weights[i] != 0 || l->weight_updates[i] != 0;
        else *live += l->weights[i] != 0 && l->weight_updates[i] != 0;
    }
    return n;
}

static void assert_held(const struct prune_host_net *net, const char *when)
{
    static const int layers[] = {CONV, FULL};
    for (int k = 0; k < 2; k++) {
        size_t live, n = weights_of(&net->open.net->layers[layers[k]]);
        if (broken(net, layers[k], &live)) fail_msg("%s: zeros of layer %d are gone", when, layers[k]);
        assert_true(live > n / 2);
    }
}

static void held_zeros_stay_through_training_and_states(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("edit.cfg", 16, 2, .05, 1000);
    struct prune_host_net *net = open_fresh(cfg);
    struct prune_status st = {0};
    size_t live;
    start(net, data);
    step(net, 2);
    ok(host()->export_state(net, at("before"), &st), &st);
    assert_true(broken(net, CONV, &live) > 100);
    hold(net, CONV);
    hold(net, FULL);
    assert_held(net, "at once");
    for (int i = 0; i < 4; i++) {
        step(net, 1);
        assert_held(net, "after a step");
    }
    ok(host()->import_state(net, at("before"), &st), &st);
    assert_held(net, "after import");
    step(net, 1);
    assert_held(net, "after import and a step");
    host()->train_stop(net);
    start(net, data);
    step(net, 1);
    assert_held(net, "in another training");
    /* no more: what was held moves again */
    ok(host()->zeros_hold(net, CONV, NULL, 0, &st), &st);
    step(net, 1);
    assert_true(broken(net, CONV, &live) > 100);
    assert_int_equal(broken(net, FULL, &live), 0);
    host()->close(net);
}

/* A network whose held weights are zero computes what it computes without them: the first update of the others is the same. */
static void nothing_else_changes(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("edit.cfg", 16, 2, .05, 1000);
    struct prune_host_net *held = open_fresh(cfg), *zeroed = open_fresh(cfg), *open = open_fresh(cfg);
    struct prune_status st = {0};
    layer *l = &zeroed->open.net->layers[CONV];
    const layer *h = &held->open.net->layers[CONV];
    const size_t count = weights_of(l);
    uint8_t *all = malloc(count);
    hold(held, CONV);
    for (size_t i = 0; i < weights_of(l); i += 3) l->weights[i] = 0;
    memset(all, 1, count);
    start(held, data);
    start(zeroed, data);
    step(held, 1);
    step(zeroed, 1);
    size_t moved = 0;
    for (size_t i = 0; i < weights_of(l); i++) {
        if (i % 3 == 0) moved += l->weights[i] != 0;
        else assert_true(h->weights[i] == l->weights[i] && h->weight_updates[i] == l->weight_updates[i]);
    }
    assert_true(moved > 100);
    for (int i = 0; i < FULL; i += 5) assert_memory_equal(held->open.net->layers[i].weights, zeroed->open.net->layers[i].weights, weights_of(&held->open.net->layers[i]) * sizeof(float));
    /* flags that keep everything change no bit of training */
    host()->close(zeroed);
    zeroed = open_fresh(cfg);
    ok(host()->zeros_hold(zeroed, CONV, all, count, &st), &st);
    start(zeroed, data);
    start(open, data);
    step(zeroed, 3);
    step(open, 3);
    for (int i = 0; i < 2; i++) assert_memory_equal(zeroed->open.net->layers[i].weights, open->open.net->layers[i].weights, weights_of(&open->open.net->layers[i]) * sizeof(float));
    free(all);
    host()->close(held);
    host()->close(zeroed);
    host()->close(open);
}

static void copy(struct prune_host_net *to, int index, int role, const float *values, size_t n)
{
    struct prune_status st = {0};
    ok(host()->parameters_set(to, index, role, values, n, &st), &st);
}

/* Another network's tensors, all of them: its loss, its outputs to the bit, its file. Between two evaluations and in the middle of training. */
static void values_act_at_once_and_are_saved(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("edit.cfg", 16, 2, .05, 1000), *weights = trained_pair(data, cfg);
    struct prune_host_net *trained = open_net(cfg, weights, 0), *net = open_fresh(cfg);
    struct prune_status st = {0};
    double before = evaluated_loss(net, data), want = evaluated_loss(trained, data);
    start(net, data);
    step(net, 1);
    for (int i = 0; i < FULL + 1; i++) {
        const layer *l = &trained->open.net->layers[i];
        size_t n = (size_t)(l->type == CONNECTED ? l->outputs : l->n);
        if (l->type != CONVOLUTIONAL && l->type != CONNECTED) continue;
        copy(net, i, PRUNE_WEIGHTS, l->weights, weights_of(l));
        copy(net, i, PRUNE_BIASES, l->biases, n);
        if (!l->batch_normalize) continue;
        copy(net, i, PRUNE_SCALES, l->scales, n);
        copy(net, i, PRUNE_MEAN, l->rolling_mean, n);
        copy(net, i, PRUNE_VARIANCE, l->rolling_variance, n);
    }
    double after = evaluated_loss(net, data);
    assert_true(before - want > .01);
    assert_true(after - want <= 0 && after - want >= 0);
    *net->open.net->seen = *trained->open.net->seen;
    ok(host()->save_weights(net, at("copied.weights"), &st), &st);
    assert_same_files(weights, at("copied.weights"));
    /* a held zero is not set */
    hold(net, CONV);
    const layer *l = &trained->open.net->layers[CONV];
    copy(net, CONV, PRUNE_WEIGHTS, l->weights, weights_of(l));
    for (size_t i = 0; i < weights_of(l); i++) assert_true(net->open.net->layers[CONV].weights[i] == (i % 3 ? l->weights[i] : 0));
    host()->close(net);
    host()->close(trained);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    const char *cfg = make_classifier_cfg("edit.cfg", 16, 2, .05, 1000);
    struct prune_host_net *net = open_fresh(cfg);
    const layer *l = &net->open.net->layers[CONV];
    struct prune_status st = {0};
    uint8_t *keep = every_third(l);
    float values[6] = {1, 2, 3, NAN, 5, 6};
    const float first = l->biases[0];
    assert_int_equal(host()->parameters_set(net, CONV, PRUNE_BIASES, values, 5, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "5 values given for the biases of layer 1"));
    assert_int_equal(host()->parameters_set(net, CONV, PRUNE_BIASES, values, 6, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "value 3 for the biases of layer 1 is not a finite number"));
    assert_true(l->biases[0] == first);
    assert_int_equal(host()->parameters_set(net, 2, PRUNE_WEIGHTS, values, 6, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "layer 2 of"));
    assert_int_equal(host()->parameters_set(net, 70, PRUNE_WEIGHTS, values, 6, &st), PRUNE_FAILED);
    assert_int_equal(host()->zeros_hold(net, CONV, keep, weights_of(l) - 1, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "values given for the weights of layer 1"));
    assert_int_equal(host()->zeros_hold(net, -1, NULL, 0, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "no layer -1"));
    free(keep);
    host()->close(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(held_zeros_stay_through_training_and_states), TEST(nothing_else_changes), TEST(values_act_at_once_and_are_saved), TEST(what_does_not_fit_is_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
