/* A scoring pass between training steps leaves training as it was. Two runs of the pruning loop with the same scores, one of a criterion that is fed nothing, one
 * of a criterion that makes the host do all it can (margins, probes, maps, gradients of parameters, gates elsewhere, further passes, candidates) and throws it
 * away: every byte of the state that training has come to is the same, but for the rolling statistics, which a pass averages anew and training does not read. */
#include "host_fixture.h"

#include <math.h>

#include "../../plugin/run/prune_loop.h"

static struct prune_status st;

/* State: how much came in. */
static size_t count_size(const struct prune_score_input *in) { return (void)in, 2 * sizeof(double); }
static void count_init(void *s, const struct prune_score_input *in) { (void)in, ((double *)s)[0] = ((double *)s)[1] = 0; }
static void count_minibatch(void *s, const struct prune_score_input *in, const struct prune_signals *signals) { (void)in, ((double *)s)[0] += (double)signals->images; }
static void count_piece(void *s, const struct prune_score_input *in, const struct prune_perturbed *piece) { (void)in, ((double *)s)[1] += (double)piece->images; }
static size_t three(const struct prune_score_input *in) { return (void)in, (size_t)3; }
static void every_other(const struct prune_score_input *in, size_t pass, float *v)
{
    for (size_t u = 0; u < in->units->count; u++) v[u] = (float)((u + pass) % 2);
}

/* An order of the units that the images have no part in. */
static enum prune_code by_number(const void *s, const struct prune_score_input *in, double *scores, struct prune_status *status)
{
    (void)s, (void)status;
    for (size_t u = 0; u < in->units->count; u++) scores[u] = (double)((u * 7 + 3) % (in->units->count + 1));
    return PRUNE_OK;
}

static double fed_images, fed_pieces;

static enum prune_code by_number_and_told(const void *s, const struct prune_score_input *in, double *scores, struct prune_status *status)
{
    fed_images += ((const double *)s)[0];
    fed_pieces += ((const double *)s)[1];
    return by_number(s, in, scores, status);
}

static const struct prune_criterion QUIET = {.name = "quiet", .state_size = count_size, .init = count_init, .accumulate = count_minibatch, .finish = by_number};

static struct prune_criterion busy(unsigned signals, enum prune_gate_choice gate)
{
    return (struct prune_criterion){.name = "busy", .signals = signals, .gate = gate, .state_size = count_size, .init = count_init, .accumulate = count_minibatch,
                                    .finish = by_number_and_told, .passes = three, .direction = every_other, .perturbs = true, .accumulate_perturbed = count_piece};
}

/* The state with zeros for rolling statistics; returns their sum. */
static double forget_statistics(const struct prune_net *net, const char *state)
{
    double sum = 0;
    struct prune_weights w;
    char *path = prune_path_join(state, "state.weights");
    ok(prune_weights_open(&w, path, net, &st), &st);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    for (size_t i = 0; i < w.layout.count; i++) {
        const struct prune_weights_tensor *t = &w.layout.tensors[i];
        if (t->role != PRUNE_MEAN && t->role != PRUNE_VARIANCE) continue;
        const float none = 0;
        assert_int_equal(fseek(f, (long)(w.header.size + t->offset * sizeof none), SEEK_SET), 0);
        for (size_t k = 0; k < t->count; k++) sum += (double)prune_weights_data(&w, t)[k];
        for (size_t k = 0; k < t->count; k++) assert_int_equal(fwrite(&none, sizeof none, 1, f), 1);
    }
    assert_int_equal(fclose(f), 0);
    prune_weights_close(&w);
    free(path);
    return sum;
}

/* Prunes to 60% of the units, then trains a little on; the state of that is in `state`, and the sum of its rolling statistics is returned. */
static double run(const char *cfg, const char *weights, const char *data, const struct prune_criterion *criterion, double loss_allowed, const char *work, const char *state)
{
    struct prune_work w;
    struct prune_loop_result r;
    struct prune_step step;
    assert_int_equal(prune_make_dirs(work, &st), PRUNE_OK);
    const struct prune_work_options wo = {.folder = work, .base = "net", .open = {.threads = 2, .seed = 5, .quiet = true}, .train = {.data_path = data, .role = PRUNE_DATA_TRAIN}};
    ok(prune_work_open(&w, host(), cfg, weights, &wo, &st), &st);
    struct prune_loop_options o = {.criterion = criterion, .batches_per_iteration = 2, .remove_per_iteration = 0.1, .score_images = 7, .seed = 5,
                                   .select = {.target = PRUNE_TARGET_UNITS, .remain = 0.6, .min_keep = 1, .multiple = 1}, .step = {.0005, .9, 5e-4}, .max_loss = loss_allowed,
                                   .min_accuracy = NAN};
    prune_units_cost(&w.net, &w.units, w.removed, &o.select.original);
    ok(prune_loop(&w, &o, &r, &st), &st);
    assert_true(r.iterations >= 4 && r.target_met);
    assert_int_equal(r.score_images, criterion->signals ? 7 * r.iterations : 0);
    assert_true(isnan(loss_allowed) ? w.shrinks > 0 : w.shrinks == 0);
    for (int i = 0; i < 2; i++) ok(host()->train_step(w.host_net, &o.step, &step, &st), &st);
    ok(host()->export_state(w.host_net, state, &st), &st);
    double statistics = forget_statistics(&w.net, state);
    prune_work_close(&w);
    return statistics;
}

static void same_state(const char *a, const char *b)
{
    static const char *const files[] = {"state.weights", "state.momentum", "state.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *text[2], *paths[2] = {prune_path_join(a, files[i]), prune_path_join(b, files[i])};
        size_t size[2];
        for (int k = 0; k < 2; k++) ok(prune_read_file(paths[k], &text[k], &size[k], &st), &st);
        assert_int_equal(size[0], size[1]);
        assert_memory_equal(text[0], text[1], size[0]);
        for (int k = 0; k < 2; k++) {
            free(text[k]);
            free(paths[k]);
        }
    }
}

/* Of random weights: the rate of trained_pair is too high for a detector. */
static const char *fresh_pair(const char *cfg)
{
    struct prune_host_net *net = open_net(cfg, NULL, 0);
    const char *weights = at("fresh.weights");
    ok(host()->save_weights(net, weights, &st), &st);
    host()->close(net);
    return weights;
}

static void the_same_with_and_without_passes(const char *cfg, const char *weights, const char *data, unsigned signals, enum prune_gate_choice gate, double loss_allowed)
{
    struct prune_criterion loud = busy(signals, gate);
    fed_images = fed_pieces = 0;
    double left = run(cfg, weights, data, &QUIET, loss_allowed, at("work-quiet"), at("quiet"));
    double averaged = run(cfg, weights, data, &loud, loss_allowed, at("work-loud"), at("loud"));
    assert_true(isfinite(left) && fabs(averaged - left) > 1e-3);
    assert_true(fed_images >= 2 * 7 * 4);   /* the shared pass and a product; images, iterations */
    assert_true(fed_pieces >= 7 * 4);
    same_state(at("quiet"), at("loud"));
}

static void a_classifier(const char *more_keys, unsigned signals, enum prune_gate_choice gate, double loss_allowed)
{
    const char *cfg = make_classifier_cfg("net.cfg", 6, 2, .02, 1000), *data = make_classifier_data(more_keys);
    the_same_with_and_without_passes(cfg, trained_pair(data, cfg), data, signals, gate, loss_allowed);
}

static void passes_leave_a_classifier_in_training_as_it_was(void **state)
{
    (void)state;
    a_classifier("pad_crop=1\n", PRUNE_SIGNALS & ~(unsigned)PRUNE_SIGNAL_MAPS & (unsigned)darknet_host()->capabilities, PRUNE_GATE_BEFORE_BN, NAN);
}

static void and_one_that_may_be_rolled_back(void **state)
{
    (void)state;
    a_classifier("", PRUNE_SIGNAL_GATE_IMAGE | PRUNE_SIGNAL_MARGINS, PRUNE_GATE_AFTER_ACTIVATION, 1e6);
}

static void and_a_detector_in_multi_scale_training(void **state)
{
    (void)state;
    const char *cfg = make_detector_cfg("box.cfg", .001, 1000, 1);
    the_same_with_and_without_passes(cfg, fresh_pair(cfg), make_detector_data(), PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_CURVATURE | PRUNE_SIGNAL_PARAMETERS, PRUNE_GATE_ANY, NAN);
}

static void and_maps(void **state)
{
    (void)state;
    a_classifier("", PRUNE_SIGNAL_MAPS, PRUNE_GATE_ANY, NAN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(passes_leave_a_classifier_in_training_as_it_was), TEST(and_one_that_may_be_rolled_back), TEST(and_a_detector_in_multi_scale_training), TEST(and_maps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
