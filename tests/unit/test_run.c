/* The pruning loop, shrinking and fine-tuning against a fake host: no framework, known importances.
 * The fake reads each channel's importance from the bias stored in the weights it was opened with, so the importance travels with the
 * channel through every shrink, and the units that must go are known in advance. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../plugin/base/file_io.h"
#include "../../plugin/run/finetune.h"
#include "../../plugin/run/prune_loop.h"

static const char CFG[] = "[net]\nbatch=4\nsubdivisions=1\nwidth=8\nheight=8\nchannels=3\n\n[convolutional]\nfilters=16\nsize=3\nstride=1\npad=1\nactivation=relu\n\n"
                          "[convolutional]\nfilters=16\nsize=3\nstride=1\npad=1\nactivation=relu\n\n[convolutional]\nfilters=10\nsize=1\nstride=1\npad=0\nactivation=linear\n\n"
                          "[avgpool]\n\n[softmax]\n";

struct prune_host_net {
    char *weights;
    double *importance;      /* [units] */
    float *z;
    size_t units;
    prune_sink sink;
    void *user;
    uint64_t step;
};

enum { MOST_PASSES = 64 };
struct fake {
    double loss_per_mask, base_loss;
    size_t opened, interrupt_after, steps;
    double nan_at;
    unsigned training_signals;
    const struct prune_work *work;               /* its mask must be in force in every training step; NULL: not looked at */
    size_t passes, interrupt_in_pass;
    struct prune_image_set sets[MOST_PASSES];    /* of the passes */
    size_t shut[MOST_PASSES];                    /* gates shut in them */
};

static struct fake fake_state;

static enum prune_code fake_open(void *context, const char *cfg, const char *weights, const struct prune_open_options *o, struct prune_host_net **out, struct prune_status *st)
{
    (void)context, (void)cfg, (void)o, (void)st;
    *out = calloc(1, sizeof **out);
    (*out)->weights = strdup(weights);
    fake_state.opened++;
    return PRUNE_OK;
}

static void fake_close(struct prune_host_net *net)
{
    if (!net) return;
    free(net->weights);
    free(net->importance);
    free(net->z);
    free(net);
}

/* Bias of (layer, channel): conv layers store biases first. */
static double bias_of(const char *path, int layer, int channel)
{
    char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(prune_read_file(path, &bytes, &size, NULL), PRUNE_OK);
    size_t floats = (size - 20) / 4;
    float *v = malloc(floats * 4);
    memcpy(v, bytes + 20, floats * 4);
    free(bytes);
    /* biases are the only values above 1000: the k-th run of such values is layer k */
    int run = -1;
    size_t i = 0;
    double found = NAN;
    while (i < floats && run < layer) {
        while (i < floats && v[i] < 1000) i++;
        run++;
        if (run == layer) found = (double)v[i + (size_t)channel] - 1000;
        while (i < floats && v[i] >= 1000) i++;
    }
    free(v);
    return found;
}

static enum prune_code fake_attach(struct prune_host_net *net, const struct prune_gate_site *sites, size_t n, size_t units, struct prune_status *st)
{
    (void)st;
    free(net->importance);
    free(net->z);
    net->importance = calloc(units, sizeof *net->importance);
    net->z = calloc(units, sizeof *net->z);
    net->units = units;
    for (size_t u = 0; u < units; u++) net->z[u] = 1;
    for (size_t i = 0; i < n; i++) net->importance[sites[i].unit] = bias_of(net->weights, sites[i].layer, sites[i].channel);
    return PRUNE_OK;
}

static enum prune_code fake_set(struct prune_host_net *net, const float *z, size_t units, struct prune_status *st)
{
    (void)st;
    assert_int_equal(units, net->units);
    memcpy(net->z, z, units * sizeof *z);
    return PRUNE_OK;
}

static enum prune_code fake_start(struct prune_host_net *net, const struct prune_image_set *set, const struct prune_score_options *o, prune_sink sink, void *user,
                                  struct prune_status *st)
{
    (void)set, (void)st;
    fake_state.training_signals = o ? o->signals : 0;
    net->sink = sink;
    net->user = user;
    return PRUNE_OK;
}

static enum prune_code fake_step(struct prune_host_net *net, const struct prune_step_options *o, struct prune_step *out, struct prune_status *st)
{
    assert_true(o->rate >= 0);
    fake_state.steps++;
    if ((double)fake_state.steps == fake_state.nan_at) return prune_fail(st, "loss is nan at iteration %zu", fake_state.steps);
    double loss = fake_state.base_loss;
    double *g = calloc(net->units ? net->units : 1, sizeof *g);
    for (size_t u = 0; fake_state.work && u < net->units; u++) assert_true(net->z[u] == (fake_state.work->removed[u] ? 0.0f : 1.0f));
    for (size_t u = 0; u < net->units; u++) {
        g[u] = net->z[u] > 0 ? net->importance[u] : 0;
        if (net->z[u] == 0) loss += fake_state.loss_per_mask;
    }
    struct prune_signals s = {.minibatch = net->step++, .images = 4, .units = net->units, .loss = loss,
                              .gate_batch = {.data = g, .type = PRUNE_F64, .rank = 1, .shape = {net->units}, .strides = {1}}};
    enum prune_code rc = net->sink ? net->sink(net->user, &s, st) : PRUNE_OK;
    free(g);
    *out = (struct prune_step){.loss = loss, .images = 4, .iteration = net->step};
    return rc;
}

static void fake_facts(const struct prune_host_net *net, struct prune_net_facts *out)
{
    (void)net;
    *out = (struct prune_net_facts){.batch = 4, .subdivisions = 1, .classes = 10};
}

/* One minibatch, whatever the set: gradients of importance times gate, so that what moves with the gate is known as well. */
static enum prune_code fake_score(struct prune_host_net *net, const struct prune_image_set *set, const struct prune_score_options *o, prune_sink sink, void *user, struct prune_status *st)
{
    (void)o;
    assert_true(fake_state.passes < MOST_PASSES);
    size_t *shut = &fake_state.shut[fake_state.passes];
    double *g = calloc(net->units ? net->units : 1, sizeof *g);
    for (size_t u = 0; u < net->units; u++) {
        g[u] = net->importance[u] * (double)net->z[u] + 1;
        *shut += net->z[u] == 0;
    }
    fake_state.sets[fake_state.passes++] = *set;
    struct prune_signals s = {.images = set->limit, .units = net->units, .loss = 1, .gate_batch = {.data = g, .type = PRUNE_F64, .rank = 1, .shape = {net->units}, .strides = {1}}};
    enum prune_code rc = sink(user, &s, st);
    free(g);
    return rc;
}

static void fake_stop(struct prune_host_net *net) { net->sink = NULL; }
static void fake_reset(struct prune_host_net *net) { (void)net; }
static bool fake_interrupted(void *context)
{
    (void)context;
    if (fake_state.interrupt_in_pass && fake_state.passes >= fake_state.interrupt_in_pass) return true;
    return fake_state.interrupt_after && fake_state.steps >= fake_state.interrupt_after;
}

static enum prune_code copy_file(const char *from, const char *to, struct prune_status *st)
{
    char *bytes = NULL;
    size_t size = 0;
    enum prune_code rc = prune_read_file(from, &bytes, &size, st);
    if (!rc) rc = prune_write_file(to, bytes, size, st);
    free(bytes);
    return rc;
}

static enum prune_code fake_save(struct prune_host_net *net, const char *path, struct prune_status *st) { return copy_file(net->weights, path, st); }

static enum prune_code fake_export(struct prune_host_net *net, const char *dir, struct prune_status *st)
{
    char path[600];
    enum prune_code rc = prune_make_dirs(dir, st);
    snprintf(path, sizeof path, "%s/state.weights", dir);
    if (!rc) rc = copy_file(net->weights, path, st);
    snprintf(path, sizeof path, "%s/state.momentum", dir);
    if (!rc) rc = copy_file(net->weights, path, st);
    snprintf(path, sizeof path, "%s/state.json", dir);
    if (!rc) rc = prune_write_file(path, "{\"iteration\":3,\"gates\":[1]}", 27, st);
    return rc;
}

static enum prune_code fake_import(struct prune_host_net *net, const char *dir, struct prune_status *st)
{
    (void)net;
    char path[600], *text = NULL;
    size_t size = 0;
    snprintf(path, sizeof path, "%s/state.json", dir);
    enum prune_code rc = prune_read_file(path, &text, &size, st);
    free(text);
    return rc;
}

static enum prune_code fake_recalibrate(struct prune_host_net *net, const struct prune_image_set *set, size_t images, struct prune_status *st)
{
    (void)net, (void)set, (void)images;
    return prune_fail(st, "this network has no batch-norm");
}

static const struct prune_host HOST = {
    .version = PRUNE_HOST_VERSION, .size = sizeof HOST, .capabilities = PRUNE_SIGNAL_GATE_BATCH | PRUNE_CAN_TRAIN | PRUNE_CAN_STATE, .name = "fake",
    .open = fake_open, .close = fake_close, .facts = fake_facts, .recalibrate = fake_recalibrate, .score = fake_score, .gates_attach = fake_attach, .gates_set = fake_set, .train_start = fake_start, .train_step = fake_step,
    .train_stop = fake_stop, .reset_momentum = fake_reset, .save_weights = fake_save, .export_state = fake_export, .import_state = fake_import,
    .interrupted = fake_interrupted,
};

/* Importance of channel c of layer l: a fixed shuffle, all different. */
static double importance(int layer, int channel) { return 1 + ((channel * 7 + 3) % 16) + 0.4 * layer; }

struct fixture { char dir[64], cfg[128], weights[128], work[128]; };

static void put_layer(FILE *f, int layer, int filters, int inputs)
{
    for (int i = 0; i < filters; i++) {
        float b = (float)(1000 + importance(layer, i));
        fwrite(&b, 4, 1, f);
    }
    for (int i = 0; i < inputs; i++) {
        float w = 0.01f * (float)(i % 50);
        fwrite(&w, 4, 1, f);
    }
}

static int set_up(void **state)
{
    struct fixture *x = calloc(1, sizeof *x);
    strcpy(x->dir, "/tmp/prune-test-run-XXXXXX");
    assert_non_null(mkdtemp(x->dir));
    snprintf(x->cfg, sizeof x->cfg, "%s/net.cfg", x->dir);
    snprintf(x->weights, sizeof x->weights, "%s/net.weights", x->dir);
    snprintf(x->work, sizeof x->work, "%s/work", x->dir);
    assert_int_equal(prune_make_dirs(x->work, NULL), PRUNE_OK);
    assert_int_equal(prune_write_file(x->cfg, CFG, sizeof CFG - 1, NULL), PRUNE_OK);
    FILE *f = fopen(x->weights, "wb");
    int32_t version[3] = {0, 2, 0};
    uint64_t seen = 77;
    fwrite(version, 4, 3, f);
    fwrite(&seen, 8, 1, f);
    put_layer(f, 0, 16, 16 * 3 * 9);
    put_layer(f, 1, 16, 16 * 16 * 9);
    put_layer(f, 2, 10, 10 * 16);
    fclose(f);
    fake_state = (struct fake){.base_loss = 0.5, .nan_at = -1};
    *state = x;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *x = *state;
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", x->dir);
    int rc = system(command);
    free(x);
    return rc;
}

static enum prune_code open_work(const struct fixture *x, struct prune_work *w, struct prune_status *st)
{
    struct prune_work_options o = {.folder = x->work, .base = "net"};
    return prune_work_open(w, &HOST, x->cfg, x->weights, &o, st);
}

static struct prune_loop_options loop_options(struct prune_work *w, double remain)
{
    struct prune_loop_options o = {.criterion = prune_criterion_find("taylor-fo"), .batches_per_iteration = 3, .remove_per_iteration = 0.05, .smoothing = 0.9,
                                   .select = {.target = PRUNE_TARGET_UNITS, .remain = remain, .min_keep = 1, .multiple = 1}, .max_loss = NAN, .min_accuracy = NAN};
    prune_units_cost(&w->net, &w->units, w->removed, &o.select.original);
    return o;
}

/* The removed channels of the user's cfg must be the least important ones of the 32 prunable. */
static void assert_least_important(const struct fixture *x, struct prune_work *w, size_t expected)
{
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_units units;
    assert_int_equal(prune_net_read(&cfg, &net, x->cfg, NULL), PRUNE_OK);
    assert_int_equal(prune_units_build(&units, &net, NULL), PRUNE_OK);
    uint8_t *removed = calloc(units.count, 1);
    prune_work_original_mask(w, &units, removed);
    double highest_gone = 0, lowest_kept = 1e9;
    size_t gone = 0;
    for (size_t u = 0; u < units.count; u++) {
        struct prune_channel m = units.members[units.items[u].first_member];
        if (m.layer == 2) {
            assert_false(removed[u]);
            continue;
        }
        double v = importance(m.layer, m.channel);
        if (removed[u] && v > highest_gone) highest_gone = v;
        if (!removed[u] && v < lowest_kept) lowest_kept = v;
        gone += removed[u];
    }
    assert_int_equal(gone, expected);
    assert_true(highest_gone < lowest_kept);
    free(removed);
    prune_units_free(&units);
    prune_net_free(&net);
    prune_cfg_free(&cfg);
}

static void the_loop_removes_exactly_the_least_important_units_through_shrinks(void **state)
{
    struct fixture *x = *state;
    struct prune_work w;
    struct prune_status st = {0};
    assert_int_equal(open_work(x, &w, &st), PRUNE_OK);
    struct prune_loop_options o = loop_options(&w, 0.5);
    size_t all = o.select.original.units;
    struct prune_loop_result r;
    enum prune_code rc = prune_loop(&w, &o, &r, &st);
    if (rc) print_message("%s\n", st.message);
    assert_int_equal(rc, PRUNE_OK);
    assert_true(r.target_met);
    assert_true(w.shrinks >= 1);
    assert_int_equal(r.steps, r.iterations * 3);
    assert_least_important(x, &w, (all + 1) / 2);
    prune_work_close(&w);
}

static void the_pair_written_after_shrinks_is_the_user_net_cut_once(void **state)
{
    struct fixture *x = *state;
    struct prune_work w;
    struct prune_status st = {0};
    assert_int_equal(open_work(x, &w, &st), PRUNE_OK);
    struct prune_loop_options o = loop_options(&w, 0.5);
    struct prune_loop_result r;
    assert_int_equal(prune_loop(&w, &o, &r, &st), PRUNE_OK);
    char cfg[200], weights[200];
    snprintf(cfg, sizeof cfg, "%s/out.cfg", x->dir);
    snprintf(weights, sizeof weights, "%s/out.weights", x->dir);
    assert_int_equal(prune_work_write(&w, cfg, weights, NULL, &st), PRUNE_OK);
    struct prune_cfg written;
    struct prune_net net;
    assert_int_equal(prune_net_read(&written, &net, cfg, &st), PRUNE_OK);
    struct prune_weights pair;
    assert_int_equal(prune_weights_open(&pair, weights, &net, &st), PRUNE_OK);
    assert_int_equal(pair.header.seen, 77);
    for (int layer = 0; layer < 2; layer++) {
        const float *b = prune_weights_data(&pair, prune_layout_find(&pair.layout, layer, PRUNE_BIASES));
        int k = 0;
        for (int c = 0; c < net.layers[layer].out_c; c++, k++) {
            while (k < 16 && fabs((double)b[c] - 1000 - importance(layer, k)) > 1e-3) k++;
            assert_true(k < 16); /* kept channels keep their order */
        }
    }
    prune_weights_close(&pair);
    prune_net_free(&net);
    prune_cfg_free(&written);
    prune_work_close(&w);
}

/* A pass at the end of each iteration, over other images each time, with the mask in force; training runs with the mask and hands nothing over. */
static void scoring_passes_find_the_same_units_and_leave_the_gates_to_training(void **state)
{
    struct fixture *x = *state;
    struct prune_work w;
    struct prune_status st = {0};
    assert_int_equal(open_work(x, &w, &st), PRUNE_OK);
    struct prune_loop_options o = loop_options(&w, 0.5);
    size_t all = o.select.original.units;
    struct prune_loop_result r;
    o.feed = PRUNE_FEED_PASS;
    fake_state.work = &w;
    assert_int_equal(prune_loop(&w, &o, &r, &st), PRUNE_OK);
    assert_true(w.shrinks >= 1);
    assert_least_important(x, &w, (all + 1) / 2);
    assert_int_equal(fake_state.training_signals, 0);
    assert_int_equal(fake_state.passes, r.iterations);
    assert_int_equal(r.score_images, 12 * r.iterations);
    for (size_t i = 0; i < fake_state.passes; i++) {
        assert_true(fake_state.sets[i].drawn && fake_state.sets[i].role == PRUNE_DATA_TRAIN);
        assert_int_equal(fake_state.sets[i].first, 12 * i);   /* 3 steps of 4 images are an iteration */
        assert_int_equal(fake_state.sets[i].limit, 12);
    }
    assert_int_equal(fake_state.shut[0], 0);
    assert_int_equal(fake_state.shut[1], 3);
    prune_work_close(&w);
}

static void the_hook_is_asked_where_it_can_and_no_pass_is_made(void **state)
{
    struct fixture *x = *state;
    struct prune_work w;
    struct prune_status st = {0};
    assert_int_equal(open_work(x, &w, &st), PRUNE_OK);
    struct prune_loop_options o = loop_options(&w, 0.8);
    struct prune_loop_result r;
    assert_int_equal(prune_loop(&w, &o, &r, &st), PRUNE_OK);
    assert_int_equal(fake_state.training_signals, PRUNE_SIGNAL_GATE_BATCH);
    assert_int_equal(fake_state.passes, 0);
    assert_int_equal(r.score_images, 0);
    prune_work_close(&w);
}

/* Two passes beside the first one, their gates beside the open ones; a number of images of the user's. */
static void a_criterion_of_several_passes_scores_in_a_run(void **state)
{
    struct fixture *x = *state;
    struct prune_work w;
    struct prune_status st = {0};
    assert_int_equal(open_work(x, &w, &st), PRUNE_OK);
    struct prune_loop_options o = loop_options(&w, 0.8);
    struct prune_loop_result r;
    o.criterion = prune_criterion_find("taylor-so-row");
    o.score_images = 7;
    fake_state.work = &w;
    assert_int_equal(prune_loop(&w, &o, &r, &st), PRUNE_OK);
    assert_int_equal(fake_state.passes, 3 * r.iterations);
    assert_int_equal(r.score_images, 7 * r.iterations);
    for (size_t i = 0; i < fake_state.passes; i++) {
        assert_int_equal(fake_state.sets[i].limit, 7);
        assert_int_equal(fake_state.sets[i].first, 7 * (i / 3));
    }
    assert_least_important(x, &w, (size_t)ceil(0.2 * (double)o.select.original.units));
    prune_work_close(&w);
}

static void an_interruption_in_a_pass_leaves_a_valid_mask_in_force(void **state)
{
    struct fixture *x = *state;
    struct prune_work w;
    struct prune_status st = {0};
    assert_int_equal(open_work(x, &w, &st), PRUNE_OK);
    struct prune_loop_options o = loop_options(&w, 0.5);
    struct prune_loop_result r;
    o.feed = PRUNE_FEED_PASS;
    fake_state.interrupt_in_pass = 2;
    assert_int_equal(prune_loop(&w, &o, &r, &st), PRUNE_INTERRUPTED);
    assert_int_equal(r.iterations, 1);
    size_t gone = 0;
    for (size_t u = 0; u < w.units.count; u++) {
        gone += w.removed[u];
        assert_true(w.host_net->z[u] == (w.removed[u] ? 0.0f : 1.0f));
    }
    assert_int_equal(gone, 3);
    prune_work_close(&w);
}

static void a_loss_ceiling_rolls_back_to_the_last_mask_that_held(void **state)
{
    struct fixture *x = *state;
    struct prune_work w;
    struct prune_status st = {0};
    assert_int_equal(open_work(x, &w, &st), PRUNE_OK);
    struct prune_loop_options o = loop_options(&w, 0.3);
    fake_state.loss_per_mask = 0.1;
    o.max_loss = 1.25; /* 7 units are bearable, the eighth is not; 3 units go per step, so 6 stay removed */
    struct prune_loop_result r;
    assert_int_equal(prune_loop(&w, &o, &r, &st), PRUNE_OK);
    assert_false(r.target_met);
    assert_string_equal(r.stopped_by, "-max-loss");
    size_t gone = 0, per_step = (size_t)ceil(0.05 * (double)w.units.count);
    for (size_t u = 0; u < w.units.count; u++) gone += w.removed[u];
    assert_int_equal(gone, 7 / per_step * per_step);
    assert_int_equal(w.shrinks, 0);
    for (size_t u = 0; u < w.units.count; u++) assert_true(w.host_net->z[u] == (w.removed[u] ? 0.0f : 1.0f));
    prune_work_close(&w);
}

static void a_ceiling_that_is_broken_from_the_start_is_an_error(void **state)
{
    struct fixture *x = *state;
    struct prune_work w;
    struct prune_status st = {0};
    assert_int_equal(open_work(x, &w, &st), PRUNE_OK);
    struct prune_loop_options o = loop_options(&w, 0.5);
    o.max_loss = 0.1;
    struct prune_loop_result r;
    assert_int_equal(prune_loop(&w, &o, &r, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "-max-loss"));
    prune_work_close(&w);
}

static void an_interruption_leaves_a_valid_mask(void **state)
{
    struct fixture *x = *state;
    struct prune_work w;
    struct prune_status st = {0};
    assert_int_equal(open_work(x, &w, &st), PRUNE_OK);
    struct prune_loop_options o = loop_options(&w, 0.5);
    fake_state.interrupt_after = 10;
    struct prune_loop_result r;
    assert_int_equal(prune_loop(&w, &o, &r, &st), PRUNE_INTERRUPTED);
    assert_int_equal(r.steps, 10);
    assert_int_equal(r.iterations, 3);
    prune_work_close(&w);
}

static void fine_tuning_that_meets_nan_says_the_step_and_where_good_weights_are(void **state)
{
    struct fixture *x = *state;
    struct prune_status st = {0};
    struct prune_host_net *net = NULL;
    struct prune_open_options open = {0};
    assert_int_equal(HOST.open(NULL, x->cfg, x->weights, &open, &net, &st), PRUNE_OK);
    char path[200];
    snprintf(path, sizeof path, "%s/tuned.weights", x->dir);
    struct prune_finetune_options o = {.steps = 20, .step = {.rate = 0.1}, .weights_path = path, .save_every = 5};
    struct prune_finetune_result r;
    fake_state.nan_at = 13;
    assert_int_equal(prune_finetune(&HOST, net, &o, &r, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "step 13 of 20"));
    assert_non_null(strstr(st.message, path));
    assert_non_null(strstr(st.message, "nan"));
    assert_true(prune_path_exists(path));
    HOST.close(net);
}

static void lengths_are_epochs_or_iterations(void **state)
{
    (void)state;
    size_t steps = 0;
    struct prune_status st = {0};
    assert_int_equal(prune_parse_length("finetune", "2", 50000, 128, &steps, &st), PRUNE_OK);
    assert_int_equal(steps, 782);
    assert_int_equal(prune_parse_length("finetune", "0.5e", 1000, 100, &steps, &st), PRUNE_OK);
    assert_int_equal(steps, 5);
    assert_int_equal(prune_parse_length("finetune", "300i", 50000, 128, &steps, &st), PRUNE_OK);
    assert_int_equal(steps, 300);
    assert_int_equal(prune_parse_length("finetune", "two", 50000, 128, &steps, &st), PRUNE_USAGE);
    assert_int_equal(prune_parse_length("finetune", "-1", 50000, 128, &steps, &st), PRUNE_USAGE);
    assert_int_equal(prune_parse_length("finetune", "nan", 50000, 128, &steps, &st), PRUNE_USAGE);
    assert_non_null(strstr(st.message, "-finetune"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_loop_removes_exactly_the_least_important_units_through_shrinks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_pair_written_after_shrinks_is_the_user_net_cut_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(scoring_passes_find_the_same_units_and_leave_the_gates_to_training, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_hook_is_asked_where_it_can_and_no_pass_is_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_criterion_of_several_passes_scores_in_a_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_interruption_in_a_pass_leaves_a_valid_mask_in_force, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_loss_ceiling_rolls_back_to_the_last_mask_that_held, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_ceiling_that_is_broken_from_the_start_is_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_interruption_leaves_a_valid_mask, set_up, tear_down),
        cmocka_unit_test_setup_teardown(fine_tuning_that_meets_nan_says_the_step_and_where_good_weights_are, set_up, tear_down),
        cmocka_unit_test(lengths_are_epochs_or_iterations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
