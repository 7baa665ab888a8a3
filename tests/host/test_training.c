/* Training steps: they learn, they repeat, they are the host's arithmetic, and they stop at a loss that is no number before it does harm. */
#include "session.h"

#include <math.h>

#include "../../darknet/layer_tensors.h"
#include "../../darknet/loader.h"

static struct prune_status st;

static double steps(struct session *s, int n, double rate)
{
    struct prune_step step = {0};
    double sum = 0;
    for (int i = 0; i < n; i++) {
        if (trainer_step(s->t, rate, .9, .0005, &step, &st)) fail_msg("%s", st.message);
        sum += step.loss;
    }
    return sum / n;
}
/* Largest |a - b| / max |a| over all tensors; 0 means bit-identical (checked). */
static double difference(const network *a, const network *b)
{
    struct layer_tensor *ta, *tb;
    size_t na, nb;
    double worst = 0;
    assert_int_equal(layer_tensors(a, true, &ta, &na, NULL), PRUNE_OK);
    assert_int_equal(layer_tensors(b, true, &tb, &nb, NULL), PRUNE_OK);
    assert_int_equal(na, nb);
    for (size_t i = 0; i < na; i++) {
        double most = 1e-12, gap = 0;
        for (size_t k = 0; k < ta[i].count; k++) {
            most = fmax(most, fabs((double)ta[i].data[k]));
            gap = fmax(gap, fabs((double)ta[i].data[k] - (double)tb[i].data[k]));
        }
        worst = fmax(worst, gap / most);
    }
    free(ta);
    free(tb);
    return worst;
}

static void a_classifier_learns(void **state)
{
    (void)state;
    struct session s;
    session_open(&s, make_classifier_cfg("net.cfg", 10, 1, .05, 100), make_classifier_data("flip=0\n"), 1, false); /* a mirror would turn left into right */
    double before = steps(&s, 1, .05);
    steps(&s, 40, .05);
    double after = steps(&s, 5, .05);
    assert_true(before > .7 && before < 3);
    assert_true(after < .3);
    assert_int_equal(trainer_iteration(s.t), 46);
    assert_int_equal(trainer_ordinal(s.t), 460);
    assert_int_equal(*s.open.net->seen, 460);
    session_close(&s);
}

static void a_detector_learns(void **state)
{
    (void)state;
    struct session s;
    session_open(&s, make_detector_cfg("det.cfg", .001, 1000, 0), make_detector_data(), 1, false);
    double before = steps(&s, 4, .002);
    steps(&s, 80, .002);
    double after = steps(&s, 8, .002);
    assert_true(after < before / 3);
    session_close(&s);
}

static void a_run_repeats_bit_for_bit_and_another_seed_does_not(void **state)
{
    (void)state;
    struct session a, b, c;
    const char *cfg = make_classifier_cfg("net.cfg", 6, 2, .05, 100), *data = make_classifier_data("");
    session_open(&a, cfg, data, 1, false);
    session_open(&b, cfg, data, 1, false);
    session_open(&c, cfg, data, 2, false);
    steps(&a, 12, -1);
    steps(&c, 12, -1);
    steps(&b, 12, -1);
    assert_true(difference(a.open.net, b.open.net) <= 0);
    assert_true(difference(a.open.net, c.open.net) > 1e-4);
    session_close(&a);
    session_close(&b);
    session_close(&c);
}

/* The same batches through forward_network, backward_network and the host's own update_network with its own rate from `seen`. */
static void a_step_is_the_hosts_arithmetic(void **state)
{
    (void)state;
    struct session ours, theirs;
    const char *cfg = make_classifier_cfg("net.cfg", 8, 2, .05, 20), *data = make_classifier_data("");
    session_open(&ours, cfg, data, 4, false);
    session_open(&theirs, cfg, data, 4, false);
    struct image_source source;
    struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
    assert_int_equal(image_source_open(&source, &set, theirs.open.net, &st), PRUNE_OK);
    struct loader_options o = image_source_options(&source, theirs.open.net, true, 0);
    struct loader *l;
    o.seed = 4;
    assert_int_equal(loader_open(&l, &o, &st), PRUNE_OK);
    network *net = theirs.open.net;
    for (uint64_t i = 0; i < 17; i++) {
        steps(&ours, 1, -1);
        for (uint64_t k = 0; k < 2; k++) {
            float *X, *y;
            assert_int_equal(loader_start(l, (i * 2 + k) * 4, 4, net->w, net->h, &st), PRUNE_OK);
            assert_int_equal(loader_wait(l, &X, &y, NULL, &st), PRUNE_OK);
            memcpy(net->input, X, 4 * (size_t)net->inputs * sizeof *X);
            memcpy(net->truth, y, 4 * (size_t)net->truths * sizeof *y);
            host_context()->seed = 4;
            host_context()->iteration = i * 2 + k;
            net->train = 1;
            *net->seen += 4;
            forward_network(net);
            backward_network(net);
        }
        /* the host's schedule would already stand at the next iteration */
        *net->seen -= 8;
        update_network(net);
        *net->seen += 8;
    }
    assert_true(difference(ours.open.net, net) < 1e-5); /* rates: double here, float there */
    loader_close(l);
    image_source_close(&source);
    session_close(&ours);
    session_close(&theirs);
}

static void two_minibatches_without_batch_norm_equal_one_of_twice_the_size(void **state)
{
    (void)state;
    static const char layers[] = "[convolutional]\nfilters=5\nsize=3\nstride=1\npad=1\nactivation=leaky\n\n[connected]\noutput=3\nactivation=linear\n\n[softmax]\n";
    char top[2][1024];
    struct session s[2];
    double loss[2];
    const char *data = make_classifier_data("");
    for (int i = 0; i < 2; i++) {
        snprintf(top[i], sizeof top[i], classifier_net, 8, i + 1, .05, 100);
        session_open(&s[i], write_text(i ? "two.cfg" : "one.cfg", "%s%s", top[i], layers), data, 1, false);
        loss[i] = steps(&s[i], 6, .02);
    }
    assert_int_equal(s[0].open.net->batch, 8);
    assert_int_equal(s[1].open.net->batch, 4);
    assert_true(fabs(loss[0] - loss[1]) < 1e-5);
    assert_true(difference(s[0].open.net, s[1].open.net) < 1e-5);
    session_close(&s[0]);
    session_close(&s[1]);
}

static void the_loss_is_the_mean_cross_entropy_of_the_images(void **state)
{
    (void)state;
    struct session s;
    struct prune_step step;
    session_open(&s, make_classifier_cfg("net.cfg", 6, 1, .05, 100), make_classifier_data(""), 1, false);
    assert_int_equal(trainer_step(s.t, 0, .9, 0, &step, &st), PRUNE_OK);
    const layer *softmax = &s.open.net->layers[s.open.net->n - 1];
    double want = 0;
    for (int i = 0; i < 6 * CLASSES; i++)
        if (s.open.net->truth[i] > .5f) want -= log((double)softmax->output[i]) / 6;
    assert_true(fabs(step.loss - want) < 1e-5);
    assert_int_equal(step.images, 6);
    assert_int_equal(step.iteration, 1);
    session_close(&s);
}

static void a_nan_loss_stops_before_the_update(void **state)
{
    (void)state;
    struct session s;
    struct prune_step step;
    session_open(&s, make_classifier_cfg("net.cfg", 6, 1, .05, 100), make_classifier_data(""), 1, false);
    steps(&s, 2, .01);
    layer *last = &s.open.net->layers[5];
    float kept = last->weights[1], first = s.open.net->layers[0].weights[0];
    last->weights[0] = NAN;
    assert_int_equal(trainer_step(s.t, .01, .9, 0, &step, &st), PRUNE_FAILED);
    assert_says(&st, "loss is nan at iteration 3");
    assert_memory_equal(&kept, &last->weights[1], sizeof kept);
    assert_memory_equal(&first, &s.open.net->layers[0].weights[0], sizeof first);
    assert_int_equal(trainer_iteration(s.t), 2);
    session_close(&s);
}

struct counts { int before, after; size_t images; double loss; };
static void count_before(void *user) { ((struct counts *)user)->before++; }
static enum prune_code count_after(void *user, size_t images, double loss, struct prune_status *status)
{
    struct counts *c = user;
    c->after++;
    c->images += images;
    c->loss += loss;
    return c->after == 5 ? prune_fail(status, "enough") : PRUNE_OK;
}

static void the_hook_sees_every_minibatch_and_may_stop_the_step(void **state)
{
    (void)state;
    struct session s;
    struct counts c = {0};
    struct trainer_hook hook = {&c, count_before, count_after};
    struct prune_step step;
    session_open(&s, make_classifier_cfg("net.cfg", 6, 2, .05, 100), make_classifier_data(""), 1, false);
    trainer_set_hook(s.t, &hook);
    double loss = steps(&s, 2, .01);
    assert_int_equal(c.before, 4);
    assert_int_equal(c.images, 12);
    assert_true(fabs(c.loss / 4 - loss) < 1e-9);
    assert_int_equal(trainer_step(s.t, .01, .9, 0, &step, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "enough");
    session_close(&s);
}

static void data_that_does_not_fit_the_network_is_refused(void **state)
{
    (void)state;
    struct open_network open;
    struct trainer *t;
    struct trainer_options o = {.set = {.data_path = make_classifier_data(""), .role = PRUNE_DATA_TRAIN}, .seed = 1};
    assert_int_equal(network_open(&open, make_detector_cfg("det.cfg", .001, 10, 0), NULL, false, 0, true, &st), PRUNE_OK);
    assert_int_equal(trainer_open(&t, open.net, &o, &st), PRUNE_FAILED);
    assert_says(&st, "classes=3 in");
    network_close(&open);
    assert_int_equal(network_open(&open, make_classifier_cfg("net.cfg", 4, 1, .01, 10), NULL, false, 0, true, &st), PRUNE_OK);
    o.set.data_path = write_text("notrain.data", "classes=3\nlabels=%s\n", at("labels.txt"));
    assert_int_equal(trainer_open(&t, open.net, &o, &st), PRUNE_FAILED);
    assert_says(&st, "has no train= line");
    o.set.data_path = write_text("nolabels.data", "classes=3\ntrain=%s\n", at("train.txt"));
    assert_int_equal(trainer_open(&t, open.net, &o, &st), PRUNE_FAILED);
    assert_says(&st, "has no labels= line");
    network_close(&open);
}

static void multi_scale_follows_seed_and_iteration_alone(void **state)
{
    (void)state;
    struct session s;
    int w, h, count[20] = {0};
    session_open(&s, make_detector_cfg("det.cfg", .001, 100000, 1), make_detector_data(), 1, true);
    for (uint64_t i = 0; i < 5000; i += 10) {
        int w2, h2;
        assert_true(trainer_size(s.t, i, &w, &h));
        assert_true(trainer_size(s.t, i + 9, &w2, &h2));
        assert_int_equal(w, w2);
        assert_int_equal(w, h);
        assert_int_equal(w % 32, 0);
        assert_in_range(w, 320, 608);
        count[w / 32]++;
    }
    for (int k = 10; k < 20; k++) assert_in_range(count[k], 25, 80); /* 50 expected */
    trainer_size(s.t, 99801, &w, &h);
    assert_int_equal(w, 64); /* the last 200 at the cfg's size */
    steps(&s, 1, .0001);
    trainer_size(s.t, 0, &w, &h);
    assert_int_equal(s.open.net->w, w);
    trainer_close(s.t);
    assert_int_equal(s.open.net->w, 64);
    network_close(&s.open);
}

static void a_network_that_cannot_be_resized_keeps_its_size(void **state)
{
    (void)state;
    struct session s;
    char text[2048];
    int w, h;
    snprintf(text, sizeof text, classifier_net, 4, 1, .01, 100);
    session_open(&s, write_text("random.cfg", "%.*s\nrandom=1\n\n%s", (int)strlen(text) - 1, text, classifier_layers), make_classifier_data(""), 1, true);
    assert_int_equal(s.open.net->random, 1);
    assert_false(trainer_size(s.t, 0, &w, &h));
    assert_int_equal(w, 12);
    session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SESSION_TEST(a_classifier_learns), SESSION_TEST(a_detector_learns), SESSION_TEST(a_run_repeats_bit_for_bit_and_another_seed_does_not), SESSION_TEST(a_step_is_the_hosts_arithmetic),
        SESSION_TEST(two_minibatches_without_batch_norm_equal_one_of_twice_the_size), SESSION_TEST(the_loss_is_the_mean_cross_entropy_of_the_images),
        SESSION_TEST(a_nan_loss_stops_before_the_update), SESSION_TEST(the_hook_sees_every_minibatch_and_may_stop_the_step),
        SESSION_TEST(data_that_does_not_fit_the_network_is_refused), SESSION_TEST(multi_scale_follows_seed_and_iteration_alone),
        SESSION_TEST(a_network_that_cannot_be_resized_keeps_its_size)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
