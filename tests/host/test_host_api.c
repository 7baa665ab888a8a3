/* The pruning host behind plugin/host.h, on small networks and images the tests draw: scores against differences of the evaluated loss, minibatches
 * larger than a pass, momentum untouched, state saved in the middle, gated cfgs and their gate files, and every refusal. */
#include "host_fixture.h"

#include <math.h>

#include "../../darknet/gates_file.h"
#include "../../plugin/commands/verbs.h"

enum { MOST_MINIBATCHES = 16 };

struct heard { size_t minibatches, images[MOST_MINIBATCHES], units; double loss, batch[MOST_MINIBATCHES][MOST_UNITS], squares[MOST_UNITS]; };

static enum prune_code listen(void *user, const struct prune_signals *s, struct prune_status *st)
{
    struct heard *h = user;
    (void)st;
    assert_in_range(s->minibatch, 0, MOST_MINIBATCHES - 1);
    assert_int_equal(s->minibatch, h->minibatches);
    h->images[h->minibatches] = s->images;
    h->units = s->units;
    h->loss += s->loss * (double)s->images;
    const double *g = s->gate_batch.data;
    const float *each = s->gate_image.data;
    for (size_t u = 0; u < s->units; u++) {
        if (g) h->batch[h->minibatches][u] = g[u];
        for (size_t b = 0; each && b < s->images; b++) h->squares[u] += (double)each[b * s->units + u] * (double)each[b * s->units + u];
    }
    h->minibatches++;
    return PRUNE_OK;
}

static void score(struct prune_host_net *net, const char *data, size_t limit, size_t minibatch, unsigned signals, struct heard *h)
{
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN, .limit = limit};
    struct prune_status st = {0};
    memset(h, 0, sizeof *h);
    ok(host()->score(net, &set, &(struct prune_score_options){.minibatch = minibatch, .signals = signals}, listen, h, &st), &st);
}

static const unsigned BOTH = PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_GATE_IMAGE;

static void minibatches_may_be_larger_than_a_pass(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("net.cfg", 8, 1, .05, 1000), *weights = trained_pair(data, cfg);
    struct heard whole, pieces;
    struct prune_host_net *a = open_net(cfg, weights, 12), *b = open_net(cfg, weights, 5);
    attach_all(a, cfg);
    attach_all(b, cfg);
    score(a, data, 29, 12, BOTH, &whole);
    score(b, data, 29, 12, BOTH, &pieces);
    assert_int_equal(whole.minibatches, 3);
    assert_int_equal(pieces.minibatches, 3);
    assert_int_equal(whole.images[2], 5);
    assert_true(fabs(whole.loss - pieces.loss) <= 1e-6 * whole.loss);
    for (size_t u = 0; u < whole.units; u++) {
        for (int m = 0; m < 3; m++) assert_true(fabs(whole.batch[m][u] - pieces.batch[m][u]) <= 1e-6);
        assert_true(fabs(whole.squares[u] - pieces.squares[u]) <= 1e-4 * whole.squares[u] + 1e-9);
    }
    host()->close(a);
    host()->close(b);
}

/* dE/dz of score against the loss of evaluate, two functions that share no pass. Kinks: tolerance 5% of the gradient or 1% of the largest. */
static void scores_are_the_slope_of_the_evaluated_loss(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("net.cfg", 8, 1, .05, 1000), *weights = trained_pair(data, cfg);
    struct prune_host_net *net = open_net(cfg, weights, 10);
    struct prune_status st = {0};
    struct heard h;
    size_t units = attach_all(net, cfg);
    score(net, data, 0, IMAGES, PRUNE_SIGNAL_GATE_BATCH, &h);
    assert_true(fabs(h.loss / IMAGES - evaluated_loss(net, data)) <= 1e-5);
    double top = 0, slope[MOST_UNITS];
    float z[MOST_UNITS];
    for (size_t u = 0; u < units; u++) z[u] = 1;
    for (size_t u = 0; u < units; u++) {
        double loss[2];
        for (int side = 0; side < 2; side++) {
            z[u] = side ? 1.002f : .998f;
            ok(host()->gates_set(net, z, units, &st), &st);
            loss[side] = evaluated_loss(net, data);
        }
        z[u] = 1;
        slope[u] = (loss[1] - loss[0]) / ((double)1.002f - (double).998f);
        top = fmax(top, fabs(slope[u]));
    }
    assert_true(top > 1e-3);
    for (size_t u = 0; u < units; u++)
        if (fabs(h.batch[0][u] - slope[u]) > fmax(.05 * fabs(slope[u]), .01 * top))
            fail_msg("unit %zu: dE/dz %g, by differences of the evaluated loss %g (largest %g)", u, h.batch[0][u], slope[u], top);
    host()->close(net);
}

static void scoring_leaves_weights_and_momentum_alone(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("net.cfg", 8, 2, .05, 1000);
    struct prune_host_net *net = open_net(cfg, NULL, 0);
    struct prune_status st = {0};
    struct heard h;
    attach_all(net, cfg);
    train_some(net, data, 3);
    ok(host()->export_state(net, at("before"), &st), &st);
    score(net, data, 0, 7, BOTH, &h);
    assert_int_equal(h.minibatches, 5);
    (void)evaluated_loss(net, data);
    double ms = 0;
    ok(host()->milliseconds(net, &ms, &st), &st);
    assert_true(ms > 0);
    ok(host()->export_state(net, at("after"), &st), &st);
    assert_same_files(at("before/state.weights"), at("after/state.weights"));
    assert_same_files(at("before/state.momentum"), at("after/state.momentum"));
    assert_same_files(at("before/state.json"), at("after/state.json"));
    host()->close(net);
}

static void training_goes_on_from_a_saved_state(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("net.cfg", 8, 2, .05, 1000);
    const struct prune_step_options o = {.rate = .02, .momentum = .9, .decay = 5e-4};
    struct prune_status st = {0};
    struct prune_step step;
    struct prune_host_net *a = open_net(cfg, NULL, 0), *b = open_net(cfg, NULL, 0);
    size_t units = attach_all(a, cfg);
    float z[MOST_UNITS];
    attach_all(b, cfg);
    for (size_t u = 0; u < units; u++) z[u] = u % 5 ? 1 : 0;
    ok(host()->gates_set(a, z, units, &st), &st);
    train_some(a, data, 3);
    ok(host()->export_state(a, at("middle"), &st), &st);
    train_some(b, data, 1);
    ok(host()->import_state(b, at("middle"), &st), &st);
    for (int i = 0; i < 4; i++) {
        double loss;
        ok(host()->train_step(a, &o, &step, &st), &st);
        loss = step.loss;
        ok(host()->train_step(b, &o, &step, &st), &st);
        assert_true(loss == step.loss);
    }
    ok(host()->save_weights(a, at("a.weights"), &st), &st);
    ok(host()->save_weights(b, at("b.weights"), &st), &st);
    assert_same_files(at("a.weights"), at("b.weights"));
    struct prune_net_facts facts;
    host()->facts(a, &facts);
    assert_int_equal(facts.seen, 7 * 8);
    assert_int_equal(facts.train_images, IMAGES);
    assert_int_equal(facts.batch * facts.subdivisions, 8);
    assert_false(facts.detector);
    host()->reset_momentum(a);
    ok(host()->export_state(a, at("still"), &st), &st);
    char *bytes = NULL;
    size_t size = 0;
    ok(prune_read_file(at("still/state.momentum"), &bytes, &size, &st), &st);
    for (size_t i = 20; i < size; i++) assert_int_equal(bytes[i] & 0x7f, 0);   /* +-0 */
    free(bytes);
    host()->close(a);
    host()->close(b);
}

static void recalibration_replaces_the_statistics_alone(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("net.cfg", 6, 1, .05, 1000);
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
    struct prune_status st = {0};
    struct prune_host_net *a = open_net(cfg, NULL, 0), *b = open_net(cfg, NULL, 0);
    double before = evaluated_loss(a, data);
    for (int i = 0; i < 2; i++) {
        struct prune_host_net *net = i ? b : a;
        ok(host()->recalibrate(net, &set, 60, &st), &st);
        ok(host()->save_weights(net, at(i ? "b.weights" : "a.weights"), &st), &st);
    }
    assert_same_files(at("a.weights"), at("b.weights"));
    double after = evaluated_loss(a, data);
    assert_true(isfinite(after) && after < 3);            /* a fresh net with statistics of its own: about log(3) */
    assert_true(!(before < after));                        /* with variance 0 it explodes */
    ok(host()->recalibrate(a, &set, 0, &st), &st);
    host()->close(a);
    host()->close(b);
}

static void forward_gives_every_layers_output(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("net.cfg", 8, 1, .05, 1000), *weights = trained_pair(data, cfg);
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_VALID};
    struct prune_host_net *net = open_net(cfg, weights, 4);
    struct prune_status st = {0};
    static float input[5 * 3 * SIDE * SIDE];
    struct prune_tensor view;
    size_t got = 0;
    assert_int_equal(host()->output(net, 0, &view, &st), PRUNE_FAILED);
    ok(host()->load_images(net, &set, 5, input, &got, &st), &st);
    assert_int_equal(got, 5);
    assert_int_equal(host()->forward(net, input, 5, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "opened for 1 to 4"));
    float first[3];
    ok(host()->forward(net, input, 1, &st), &st);
    ok(host()->output(net, 5, &view, &st), &st);
    assert_int_equal(view.shape[0], 1);
    assert_int_equal(view.shape[1], 3);
    memcpy(first, view.data, sizeof first);
    ok(host()->forward(net, input, 4, &st), &st);
    ok(host()->output(net, 5, &view, &st), &st);
    assert_int_equal(view.shape[0], 4);
    for (int i = 0; i < 3; i++) assert_true(fabsf(((float *)view.data)[i] - first[i]) <= 1e-5f * (1 + fabsf(first[i])));
    assert_int_equal(host()->output(net, 7, &view, &st), PRUNE_FAILED);
    host()->close(net);
}

static void a_detector_is_scored_on_the_loss_it_descends(void **state)
{
    (void)state;
    const char *data = make_detector_data(), *cfg = make_detector_cfg("det.cfg", .001, 1000, 0);
    struct prune_status st = {0};
    struct prune_host_net *net = open_net(cfg, NULL, 0);
    train_some(net, data, 30);
    host()->train_stop(net);
    size_t units = attach_all(net, cfg);
    struct heard at_one, moved;
    score(net, data, 0, 4, BOTH, &at_one);
    assert_int_equal(at_one.minibatches, 3);
    double mean[MOST_UNITS] = {0}, top = 0;
    int agree = 0, tried = 0;
    for (size_t u = 0; u < units; u++) {
        for (int m = 0; m < 3; m++) mean[u] += at_one.batch[m][u] / 3;
        top = fmax(top, fabs(mean[u]));
    }
    float z[MOST_UNITS];
    for (size_t u = 0; u < units; u++) z[u] = 1;
    for (size_t u = 0; u < units; u += 3, tried++) {
        double loss[2];
        for (int side = 0; side < 2; side++) {
            z[u] = side ? 1.001f : .999f;
            ok(host()->gates_set(net, z, units, &st), &st);
            score(net, data, 0, 4, PRUNE_SIGNAL_GATE_BATCH, &moved);
            loss[side] = moved.loss / BOX_IMAGES;
        }
        z[u] = 1;
        double slope = (loss[1] - loss[0]) / ((double)1.001f - (double).999f);
        if (fabs(slope - mean[u]) <= fmax(.05 * fabs(slope), .01 * top)) agree++;
    }
    /* kinks of leaky, and cells that cross ignore_thresh inside the step, spoil single differences */
    if (agree * 10 < tried * 9) fail_msg("%d of %d units agree with differences of the loss", agree, tried);
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_VALID};
    struct prune_evaluation e;
    ok(host()->evaluate(net, &set, &e, &st), &st);
    assert_true(isnan(e.top1) && e.map50 >= 0 && e.map50 <= 1);
    assert_int_equal(e.classes, 2);
    prune_evaluation_release(&e);
    assert_null(e.ap50);
    host()->close(net);
}

static enum prune_code gate_verb(const char *in, const char *out, struct prune_status *st)
{
    char *argv[] = {(char *)(uintptr_t)"gate", (char *)(uintptr_t)in, (char *)(uintptr_t)"-out", (char *)(uintptr_t)out, NULL};
    return prune_command_gate.run(4, argv, NULL, st);
}

static void the_gate_verb_adds_sections_and_nothing_else(void **state)
{
    (void)state;
    struct prune_status st = {0};
    const char *in = write_text("crlf.cfg", "[net]\r\nbatch=1\r\nwidth=8\r\nheight=8\r\nchannels=3\r\nlearning_rate=.1\r\nmax_batches=9\r\n\r\n"
                                            "[conv]\r\nbatch_normalize=1\r\nfilters=2\r\nactivation=relu\r\n\r\n# the head\r\n[conv]\r\nfilters=2\r\nactivation=linear\r\n[softmax]");
    const char *wanted = "[net]\r\nbatch=1\r\nwidth=8\r\nheight=8\r\nchannels=3\r\nlearning_rate=.1\r\nmax_batches=9\r\n\r\n"
                         "[conv]\r\nbatch_normalize=1\r\nfilters=2\r\nactivation=relu\r\n\r\n[gate]\r\n\r\n# the head\r\n[conv]\r\nfilters=2\r\nactivation=linear\r\n[softmax]";
    char *bytes = NULL;
    size_t size = 0;
    ok(gate_verb(in, at("gated.cfg"), &st), &st);
    ok(prune_read_file(at("gated.cfg"), &bytes, &size, &st), &st);
    assert_string_equal(bytes, wanted);
    free(bytes);
    assert_int_equal(gate_verb(in, in, &st), PRUNE_USAGE);
    assert_int_equal(gate_verb(at("gated.cfg"), at("twice.cfg"), &st), PRUNE_FAILED);   /* every place is taken */
    assert_false(prune_path_exists(at("twice.cfg")));
}

static void a_gated_cfg_runs_with_the_values_beside_its_weights(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("net.cfg", 8, 1, .05, 1000), *weights = trained_pair(data, cfg);
    struct prune_status st = {0};
    ok(gate_verb(cfg, at("gated.cfg"), &st), &st);
    struct prune_host_net *plain = open_net(cfg, weights, 0), *gated = open_net(at("gated.cfg"), weights, 0);
    size_t units = attach_all(plain, cfg);
    double open_loss = evaluated_loss(plain, data);
    assert_true(evaluated_loss(gated, data) == open_loss);
    ok(host()->save_weights(gated, at("own.weights"), &st), &st);
    assert_true(prune_path_exists(at("own.gates")));
    assert_same_files(weights, at("own.weights"));
    host()->close(gated);
    float z[MOST_UNITS];
    for (size_t u = 0; u < units; u++) z[u] = u == 2 ? 0 : 1;
    ok(host()->gates_set(plain, z, units, &st), &st);
    double shut_loss = evaluated_loss(plain, data);
    assert_true(shut_loss != open_loss);
    write_text("own.gates", "# darknet-prune-gates 1\r\n0 2 0\r\n");
    gated = open_net(at("gated.cfg"), at("own.weights"), 0);
    assert_true(evaluated_loss(gated, data) == shut_loss);
    host()->close(gated);
    host()->close(plain);
}

static void gate_files_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    static const struct { const char *text, *message; } bad[] = {
        {"0 0 1\n", "the first line is not '# darknet-prune-gates 1'"},
        {"# darknet-prune-gates 1\n99 0 1\n", ":2: layer 99 has no prunable channel 0"},
        {"# darknet-prune-gates 1\n0 6 1\n", ":2: layer 0 has no prunable channel 6"},
        {"# darknet-prune-gates 1\n\n0 0 nan\n", ":3: gate value '0 0 nan' is not a finite number"},
        {"# darknet-prune-gates 1\n0 0 1 2\n", ":2: '0 0 1 2' is not 'layer channel value'"},
    };
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("net.cfg", 8, 1, .05, 1000), *weights = trained_pair(data, cfg);
    const struct prune_open_options o = {.threads = 1, .quiet = true};
    struct prune_status st = {0};
    ok(gate_verb(cfg, at("gated.cfg"), &st), &st);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct prune_host_net *net = NULL;
        write_text("trained.gates", "%s", bad[i].text);
        assert_int_equal(host()->open(NULL, at("gated.cfg"), weights, &o, &net, &st), PRUNE_FAILED);
        assert_null(net);
        if (!strstr(st.message, bad[i].message)) fail_msg("'%s' does not say '%s'", st.message, bad[i].message);
    }
}

static void misuse_is_an_error_not_a_crash(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("net.cfg", 8, 1, .05, 1000);
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
    const struct prune_step_options o = {.rate = .02};
    struct prune_status st = {0};
    struct prune_step step;
    struct heard h = {0};
    struct prune_host_net *net = open_net(cfg, NULL, 0);
    float z[2] = {1, NAN};
    assert_int_equal(host()->train_step(net, &o, &step, &st), PRUNE_FAILED);
    assert_int_equal(host()->gates_set(net, z, 2, &st), PRUNE_FAILED);
    assert_int_equal(host()->score(net, &set, &(struct prune_score_options){.minibatch = 4, .signals = PRUNE_SIGNAL_GATE_BATCH}, listen, &h, &st), PRUNE_FAILED);
    const struct prune_gate_site site = {0, 0, 0, PRUNE_GATE_BEFORE_ACTIVATION};
    ok(host()->gates_attach(net, &site, 1, 2, &st), &st);
    assert_int_equal(host()->gates_set(net, z, 1, &st), PRUNE_FAILED);
    assert_int_equal(host()->gates_set(net, z, 2, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "gate value of unit 1 is not a finite number");
    assert_int_equal(host()->score(net, &set, &(struct prune_score_options){.minibatch = 0, .signals = PRUNE_SIGNAL_GATE_BATCH}, listen, &h, &st), PRUNE_FAILED);
    host()->train_stop(net);
    host()->close(net);
    host()->close(NULL);
    struct prune_host other = *host();
    assert_int_equal(prune_host_check(&other, PRUNE_CAN_TRAIN, &st), PRUNE_OK);
    other.capabilities = PRUNE_CAN_TRAIN;
    assert_int_equal(prune_host_check(&other, PRUNE_CAN_TRAIN | PRUNE_SIGNAL_GATE_IMAGE, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "host 'darknet (CPU)' cannot do this: it lacks gate gradients per image");
    other.size--;
    assert_int_equal(prune_host_check(&other, 0, &st), PRUNE_FAILED);
    assert_int_equal(prune_host_check(NULL, 0, &st), PRUNE_FAILED);
    assert_false(host()->interrupted(NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(minibatches_may_be_larger_than_a_pass),
        TEST(scores_are_the_slope_of_the_evaluated_loss),
        TEST(scoring_leaves_weights_and_momentum_alone),
        TEST(training_goes_on_from_a_saved_state),
        TEST(recalibration_replaces_the_statistics_alone),
        TEST(forward_gives_every_layers_output),
        TEST(a_detector_is_scored_on_the_loss_it_descends),
        TEST(the_gate_verb_adds_sections_and_nothing_else),
        TEST(a_gated_cfg_runs_with_the_values_beside_its_weights),
        TEST(gate_files_that_do_not_fit_are_refused),
        TEST(misuse_is_an_error_not_a_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
