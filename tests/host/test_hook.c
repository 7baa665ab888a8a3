/* The training hook: what it delivers, and that training does not notice it: weights after 20 steps with the hook and without are the same bytes. */
#include "host_fixture.h"

#include <math.h>

enum { BATCH = 4, SUBDIVISIONS = 2, STEPS_RUN = 20, MINIBATCHES = STEPS_RUN * SUBDIVISIONS };

struct heard {
    size_t minibatches, units;
    double losses[MINIBATCHES], worst;   /* |mean of the image gradients - batch gradient| against the largest */
    bool both, fail;
};

static enum prune_code listen(void *user, const struct prune_signals *s, struct prune_status *st)
{
    struct heard *h = user;
    if (h->fail) return prune_fail(st, "the sink refuses");
    assert_int_equal(s->minibatch, h->minibatches);
    assert_int_equal(s->images, BATCH);
    assert_int_equal(s->gate_batch.shape[0], s->units);
    assert_int_equal(s->gate_batch.type, PRUNE_F64);
    h->units = s->units;
    h->losses[h->minibatches++] = s->loss;
    const double *mean = s->gate_batch.data;
    const float *images = s->gate_image.data;
    assert_int_equal(images != NULL, h->both);
    if (!images) return PRUNE_OK;
    assert_int_equal(s->gate_image.shape[0], BATCH);
    assert_int_equal(s->gate_image.shape[1], s->units);
    assert_int_equal(s->gate_image.strides[0], s->units);
    double top = 0, off = 0;
    for (size_t u = 0; u < s->units; u++) {
        double sum = 0;
        for (size_t b = 0; b < BATCH; b++) sum += (double)images[b * s->units + u];
        top = fmax(top, fabs(mean[u]));
        off = fmax(off, fabs(sum / BATCH - mean[u]));
    }
    assert_true(top > 0);
    h->worst = fmax(h->worst, off / top);
    return PRUNE_OK;
}

/* Trains from scratch and saves; signals 0: no gates, no hook. */
static void train(const char *cfg, const char *data, unsigned signals, struct heard *h, const char *weights)
{
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
    const struct prune_step_options o = {.rate = .05, .momentum = .9, .decay = 5e-4};
    struct prune_status st = {0};
    struct prune_host_net *net = open_net(cfg, NULL, 0);
    size_t units = signals ? attach_all(net, cfg) : 0;
    if (host()->train_start(net, &set, &(struct prune_score_options){.signals = signals}, signals ? listen : NULL, h, &st)) fail_msg("%s", st.message);
    for (int i = 0; i < STEPS_RUN; i++) {
        struct prune_step step;
        if (host()->train_step(net, &o, &step, &st)) fail_msg("%s", st.message);
        assert_int_equal(step.images, BATCH * SUBDIVISIONS);
        if (!signals) continue;
        /* the loss of a step is the mean of what its minibatches told */
        assert_true(fabs(step.loss - (h->losses[2 * i] + h->losses[2 * i + 1]) / 2) <= 1e-12 * fabs(step.loss));
    }
    if (signals) assert_int_equal(h->units, units);
    assert_int_equal(host()->save_weights(net, weights, &st), PRUNE_OK);
    host()->close(net);
}

static void the_hook_does_not_change_a_bit_of_training(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("hook.cfg", BATCH * SUBDIVISIONS, SUBDIVISIONS, .05, 1000);
    char plain[256];
    snprintf(plain, sizeof plain, "%s", at("plain.weights"));
    train(cfg, data, 0, NULL, plain);
    static const unsigned kinds[] = {PRUNE_SIGNAL_GATE_BATCH, PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_GATE_IMAGE};
    for (int k = 0; k < 2; k++) {
        struct heard h = {.both = k == 1};
        char hooked[256];
        snprintf(hooked, sizeof hooked, "%s", at("hooked.weights"));
        train(cfg, data, kinds[k], &h, hooked);
        assert_int_equal(h.minibatches, MINIBATCHES);
        assert_true(h.worst <= 1e-6);
        assert_true(assert_same_files(plain, hooked) > 1000);
    }
}

static void a_sink_that_fails_stops_the_step(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("hook.cfg", BATCH * SUBDIVISIONS, SUBDIVISIONS, .05, 1000);
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
    const struct prune_step_options o = {.rate = .05, .momentum = .9, .decay = 5e-4};
    struct prune_status st = {0};
    struct prune_step step;
    struct heard h = {.fail = true};
    const struct prune_score_options told = {.signals = PRUNE_SIGNAL_GATE_BATCH};
    struct prune_host_net *net = open_net(cfg, NULL, 0);
    assert_int_equal(host()->train_start(net, &set, &told, listen, &h, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "no gates are attached"));
    attach_all(net, cfg);
    assert_int_equal(host()->train_start(net, &set, &told, listen, &h, &st), PRUNE_OK);
    assert_int_equal(host()->train_step(net, &o, &step, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "the sink refuses");
    host()->close(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_hook_does_not_change_a_bit_of_training),
        TEST(a_sink_that_fails_stops_the_step),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
