/* Reconstruction in the host, on networks with drawn weights: channels that others double are made up for exactly in every kind of layer, printed errors are
 * those of the outputs (of sums, and of a residual stream), the walk without room for checkpoints gives what the one with room gives, detectors, dead
 * filters, and every refusal. */
#include "host_fixture.h"

#include <math.h>

#include "../../plugin/rewrite/rewrite.h"
#include "../../plugin/run/reconstruct.h"
#include "../../plugin/run/reconstruct_walk.h"
#include "../../plugin/units/mask_file.h"

#define TOP "[net]\nbatch=7\nsubdivisions=1\nwidth=12\nheight=12\nchannels=3\nlearning_rate=0.01\nmax_batches=10\n"
#define CONVOLUTION(bn, n, size, more, act) "[convolutional]\nbatch_normalize=" #bn "\nfilters=" #n "\nsize=" #size "\nstride=1\npad=1\n" more "activation=" act "\n"
#define ADD(from, act) "[shortcut]\nfrom=" #from "\nactivation=" act "\n"
#define END "[avgpool]\n[connected]\noutput=10\nactivation=relu\n[connected]\noutput=3\nactivation=linear\n[softmax]\n"

/* 0, 1, 2, [shortcut] 3, depthwise 4, grouped 5, route 6, avgpool 7, connected 8 and 9, softmax 10 */
static const char ALL_KINDS[] = TOP CONVOLUTION(1, 6, 3, "", "leaky") CONVOLUTION(1, 8, 3, "", "relu") CONVOLUTION(1, 6, 3, "", "linear") ADD(-3, "leaky")
    CONVOLUTION(1, 6, 3, "groups=6\n", "relu") CONVOLUTION(0, 8, 3, "groups=2\n", "leaky") "[route]\nlayers=-1,-3\n" END;
/* two residual blocks: stream 0, 3, 6 */
static const char BLOCKS[] = TOP CONVOLUTION(1, 6, 3, "", "leaky") CONVOLUTION(1, 8, 3, "", "relu") CONVOLUTION(1, 6, 3, "", "linear") ADD(-3, "relu")
    CONVOLUTION(1, 8, 3, "", "relu") CONVOLUTION(1, 6, 3, "", "linear") ADD(-3, "linear") CONVOLUTION(0, 5, 1, "", "linear") END;

struct made {
    const char *cfg_path, *weights_path;
    struct prune_cfg cfg;
    struct prune_net net;
    struct prune_units units;
    struct prune_plan plan;
    struct prune_pair pair;
    uint8_t *removed;
    float *values; struct prune_weights_layout layout;
};

static float *values_of(struct made *m, int layer, enum prune_role role, size_t *count)
{
    const struct prune_weights_tensor *t = prune_layout_find(&m->layout, layer, role);
    *count = 0;
    if (!t) return NULL;
    *count = t->count;
    return m->values + t->offset;
}

static void make(struct made *m, const char *name, const char *text, uint64_t seed)
{
    struct prune_status st = {0};
    struct prune_random r = prune_random_make(seed, 1, 0);
    memset(m, 0, sizeof *m);
    m->cfg_path = write_text(name, "%s", text);
    ok(prune_net_read(&m->cfg, &m->net, m->cfg_path, &st), &st);
    ok(prune_units_build(&m->units, &m->net, &st), &st);
    ok(prune_layout_build(&m->layout, &m->net, &st), &st);
    m->removed = calloc(m->units.count + 1, 1);
    m->values = malloc(m->layout.floats * sizeof *m->values);
    for (size_t i = 0; i < m->layout.count; i++) {
        const struct prune_weights_tensor *t = &m->layout.tensors[i];
        double scale = t->role == PRUNE_WEIGHTS ? sqrt(3 * (double)t->shape[0] / (double)t->count) : .3, base = t->role == PRUNE_SCALES || t->role == PRUNE_VARIANCE ? 1 : 0;
        for (size_t k = 0; k < t->count; k++) m->values[t->offset + k] = (float)(base + scale * prune_random_range(&r, -1, 1));
    }
}

/* Filter `to` of a layer becomes filter `from`, and goes. */
static void twin(struct made *m, int layer, int from, int to)
{
    static const enum prune_role roles[] = {PRUNE_BIASES, PRUNE_SCALES, PRUNE_MEAN, PRUNE_VARIANCE, PRUNE_WEIGHTS};
    size_t n = (size_t)m->net.layers[layer].out_c, count;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        float *v = values_of(m, layer, roles[i], &count);
        if (v) memcpy(v + (size_t)to * (count / n), v + (size_t)from * (count / n), count / n * sizeof *v);
    }
    m->removed[m->units.of_channel[layer][to]] = 1;
}

/* Writes the pair and prunes it. */
static void finish(struct made *m)
{
    const int32_t header[5] = {0, 2, 0, 0, 0};
    char *bytes = malloc(sizeof header + m->layout.floats * sizeof *m->values), name[128];
    struct prune_status st = {0};
    struct prune_weights in;
    memcpy(bytes, header, sizeof header);
    memcpy(bytes + sizeof header, m->values, m->layout.floats * sizeof *m->values);
    snprintf(name, sizeof name, "%s", strrchr(m->cfg_path, '/') + 1);
    strcpy(strchr(name, '.'), ".weights");
    m->weights_path = at(name);
    ok(prune_write_file(m->weights_path, bytes, sizeof header + m->layout.floats * sizeof *m->values, &st), &st);
    free(bytes);
    ok(prune_weights_open(&in, m->weights_path, &m->net, &st), &st);
    const struct prune_mask_origin origin = {.cfg_path = m->cfg_path, .weights_path = m->weights_path};
    ok(prune_plan_build(&m->plan, &m->net, &m->units, m->removed, &st), &st);
    ok(prune_write_pair(&m->net, &m->units, m->removed, &in, &origin, at("out"), false, &m->pair, &st), &st);
    prune_weights_close(&in);
}

static void unmake(struct made *m)
{
    prune_pair_free(&m->pair);
    prune_plan_free(&m->plan);
    prune_layout_free(&m->layout);
    prune_units_free(&m->units);
    prune_net_free(&m->net);
    prune_cfg_free(&m->cfg);
    free(m->removed);
    free(m->values);
}

static enum prune_code run(const struct made *m, struct prune_reconstruct_options o, struct prune_reconstruct_result *r, struct prune_status *st)
{
    const struct prune_reconstruct_input in = {.cfg = m->cfg_path, .weights = m->weights_path, .whole = &m->net, .net = &m->net, .plan = &m->plan,
                                               .pruned_cfg = m->pair.cfg, .pruned_weights = m->pair.weights};
    o.threads = 2;
    o.seed = 3;
    return prune_reconstruct(host(), &in, &o, r, st);
}

static const struct prune_reconstruct_row *row_of(const struct prune_reconstruct_result *r, int layer)
{
    for (size_t i = 0; i < r->count; i++)
        if (r->rows[i].layer == layer) return &r->rows[i];
    fail_msg("no row of layer %d", layer);
    return NULL;
}

/* What a layer of a pair gives for the images that reconstruction saw: (n, outputs), malloc'd. */
static float *outputs(const char *cfg, const char *weights, const char *data, int layer, size_t n, size_t *each)
{
    struct prune_host_net *net = open_net(cfg, weights, (int)n);
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN, .limit = n, .drawn = true};
    struct prune_net_facts f;
    struct prune_tensor view;
    struct prune_status st = {0};
    size_t got;
    host()->facts(net, &f);
    float *images = malloc(n * (size_t)(f.w * f.h * f.c) * sizeof *images);
    ok(host()->load_images(net, &set, n, images, &got, &st), &st);
    assert_int_equal(got, n);
    ok(host()->forward(net, images, n, &st), &st);
    ok(host()->output(net, layer, &view, &st), &st);
    *each = view.shape[1];
    float *out = malloc(n * *each * sizeof *out);
    memcpy(out, view.data, n * *each * sizeof *out);
    host()->close(net);
    free(images);
    return out;
}

/* Root of sum |a - b|^2 / sum |a - mean a|^2, means per channel of `channels`. */
static double relative_error(const float *a, const float *b, size_t n, size_t channels, size_t area)
{
    double error = 0, whole = 0;
    for (size_t c = 0; c < channels; c++) {
        double sum = 0, squares = 0;
        for (size_t i = 0; i < n * area; i++) {
            size_t k = (i / area * channels + c) * area + i % area;
            double x = (double)a[k], e = x - (double)b[k];
            sum += x, squares += x * x, error += e * e;
        }
        whole += squares - sum * sum / (double)(n * area);
    }
    return sqrt(error / whole);
}

static double error_at(const struct made *m, const char *data, int layer, size_t n)
{
    size_t each;
    float *a = outputs(m->cfg_path, m->weights_path, data, layer, n, &each), *b = outputs(m->pair.cfg, m->pair.weights, data, layer, n, &each);
    size_t channels = (size_t)m->net.layers[layer].out_c;
    double e = relative_error(a, b, n, channels, each / channels);
    free(a);
    free(b);
    return e;
}

static void channels_that_others_double_are_made_up_for_exactly_in_every_kind_of_layer(void **state)
{
    (void)state;
    const char *data = make_classifier_data("");
    struct made m;
    struct prune_reconstruct_result r;
    struct prune_status st = {0};
    static const int twins[][3] = {{0, 0, 2}, {2, 0, 2}, {4, 0, 2}, {0, 3, 5}, {2, 3, 5}, {4, 3, 5}, {1, 2, 6}, {5, 1, 3}, {5, 5, 7}, {8, 3, 7}};
    make(&m, "all.cfg", ALL_KINDS, 14);
    for (size_t i = 0; i < sizeof twins / sizeof *twins; i++) twin(&m, twins[i][0], twins[i][1], twins[i][2]);
    finish(&m);
    assert_true(error_at(&m, data, 9, 20) > .1);
    ok(run(&m, (struct prune_reconstruct_options){.data = data, .images = 30, .ridge = 1e-8}, &r, &st), &st);
    assert_int_equal(r.count, 7);
    assert_int_equal(r.solved, 6);
    assert_int_equal(r.images, 30);
    assert_non_null(row_of(&r, 0)->left);
    for (size_t i = 0; i < r.count; i++)
        if (!r.rows[i].left && !(r.rows[i].after < 1e-3)) fail_msg("layer %d: %g", r.rows[i].layer, r.rows[i].after);
    assert_true(row_of(&r, 1)->before > .1 && row_of(&r, 5)->before > .1 && row_of(&r, 8)->before > .1);
    assert_int_equal(row_of(&r, 1)->inputs, 4);
    assert_int_equal(row_of(&r, 1)->inputs_before, 6);
    double after = error_at(&m, data, 9, 20);
    if (!(after < 2e-3)) fail_msg("the head's input is %g off", after);
    prune_reconstruct_free(&r);
    unmake(&m);
}

static void lose_channels(struct made *m)
{
    static const int gone[][2] = {{1, 0}, {1, 3}, {1, 5}, {4, 1}, {4, 2}, {4, 7}};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) m->removed[m->units.of_channel[gone[i][0]][gone[i][1]]] = 1;
}

static void fill(struct made *m, int layer, enum prune_role role, float value)
{
    size_t count;
    float *v = values_of(m, layer, role, &count);
    for (size_t i = 0; i < count; i++) v[i] = value;
}

static void printed_errors_are_those_of_the_outputs(void **state)
{
    (void)state;
    const char *data = make_classifier_data("");
    struct made m;
    struct prune_reconstruct_result r;
    struct prune_status st = {0};
    size_t each, n = 25;
    make(&m, "blocks.cfg", BLOCKS, 6);
    lose_channels(&m);
    fill(&m, 5, PRUNE_SCALES, -.5f);   /* one worth for all filters: the stream's error is the sums' times that */
    fill(&m, 5, PRUNE_VARIANCE, 1);
    finish(&m);
    double before = error_at(&m, data, 7, n);
    ok(run(&m, (struct prune_reconstruct_options){.data = data, .images = n, .samples = 1, .ridge = 1e-4}, &r, &st), &st);
    double after = error_at(&m, data, 7, n);
    assert_true(fabs(after - row_of(&r, 7)->after) < 1e-4 && after < before / 2 && after > .01);
    for (size_t i = 0; i < r.count; i++) assert_true(r.rows[i].left || r.rows[i].after < r.rows[i].before);
    assert_false(row_of(&r, 2)->stream);   /* layer 0 is exact: there is nothing to make up for */
    assert_true(row_of(&r, 5)->stream);
    /* what layer 5 was to give: the unpruned stream behind it less the pruned one before it */
    float *goal = outputs(m.cfg_path, m.weights_path, data, 6, n, &each), *got = outputs(m.pair.cfg, m.pair.weights, data, 6, n, &each);
    float *stream = outputs(m.pair.cfg, m.pair.weights, data, 3, n, &each);
    for (size_t i = 0; i < n * each; i++) goal[i] -= stream[i], got[i] -= stream[i];
    double error = relative_error(goal, got, n, 6, each / 6);
    if (!(fabs(error - row_of(&r, 5)->after) < 2e-3 * error)) fail_msg("%g, printed %g", error, row_of(&r, 5)->after);
    free(goal);
    free(got);
    free(stream);
    prune_reconstruct_free(&r);
    unmake(&m);
}

static void scales_of_zero_leave_numbers_and_an_empty_mask_every_value(void **state)
{
    (void)state;
    const char *data = make_classifier_data("");
    struct made m;
    struct prune_reconstruct_result r;
    struct prune_status st = {0};
    struct prune_weights w;
    make(&m, "dead.cfg", BLOCKS, 7);
    lose_channels(&m);
    size_t count;
    float *scales = values_of(&m, 5, PRUNE_SCALES, &count);
    scales[0] = 0, scales[1] = 1e-12f, scales[2] = -1e-4f;
    fill(&m, 1, PRUNE_SCALES, 0);      /* a whole layer of constants */
    finish(&m);
    ok(run(&m, (struct prune_reconstruct_options){.data = data, .images = 25, .ridge = 1e-3, .recalibrate = 14}, &r, &st), &st);
    size_t each;
    float *logits = outputs(m.pair.cfg, m.pair.weights, data, 10, 25, &each);
    for (size_t i = 0; i < 25 * each; i++) assert_true(fabs((double)logits[i]) < 1e3);
    free(logits);
    prune_reconstruct_free(&r);
    unmake(&m);
    make(&m, "kept.cfg", BLOCKS, 8);
    finish(&m);
    ok(run(&m, (struct prune_reconstruct_options){.data = data, .images = 25, .ridge = 1e-3}, &r, &st), &st);
    assert_int_equal(r.solved, 0);
    ok(prune_weights_open(&w, m.pair.weights, &m.net, &st), &st);
    assert_memory_equal(w.map.bytes + w.header.size, m.values, m.layout.floats * sizeof *m.values);
    prune_weights_close(&w);
    prune_reconstruct_free(&r);
    unmake(&m);
}

struct copy { const struct prune_walk *walk; int layer[PRUNE_SIDES]; float *out[PRUNE_SIDES]; size_t each[PRUNE_SIDES]; };

static enum prune_code copy_out(void *user, size_t first, size_t images, struct prune_status *st)
{
    struct copy *c = user;
    for (int side = 0; side < PRUNE_SIDES; side++) {
        const float *values;
        enum prune_code rc = prune_walk_output(c->walk, side, c->layer[side], first, &values, st);
        if (rc) return rc;
        memcpy(c->out[side] + first * c->each[side], values, images * c->each[side] * sizeof *values);
    }
    return PRUNE_OK;
}

/* Both sides' input of a layer for all images, with `memory` bytes; a filter of the pruned side changes on the way, as reconstruction does. */
static void walk_to(const struct made *m, const struct prune_net *small, const char *data, double memory, float *last[PRUNE_SIDES])
{
    const struct prune_walk_input in = {.cfg = {m->cfg_path, m->pair.cfg}, .weights = {m->weights_path, m->pair.weights}, .shape = {&m->net, small}, .memory = memory,
                                        .images = {.data_path = data, .role = PRUNE_DATA_TRAIN, .limit = 25, .drawn = true}, .open = {.threads = 2, .seed = 3, .quiet = true}};
    static const int stops[] = {1, 2, 4, 5, 7, 9};
    struct prune_walk w;
    struct prune_status st = {0};
    const float biases[5] = {1, 2, 3, 4, 5};
    ok(prune_walk_open(&w, host(), &in, &st), &st);
    assert_int_equal(w.count, 25);
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        struct copy c = {.walk = &w, .layer = {stops[i] - 1, stops[i] - 1}};
        for (int side = 0; side < PRUNE_SIDES; side++) {
            c.each[side] = (size_t)in.shape[side]->layers[stops[i] - 1].outputs;
            free(last[side]);
            last[side] = malloc(25 * c.each[side] * sizeof *last[side]);
            c.out[side] = last[side];
        }
        ok(prune_walk_sweep(&w, (int[]){stops[i], stops[i]}, copy_out, &c, &st), &st);
        if (stops[i] == 7) ok(host()->parameters_set(w.sides[PRUNE_PRUNED].net, 7, PRUNE_BIASES, biases, 5, &st), &st);
    }
    assert_int_equal(w.sides[PRUNE_PRUNED].from, memory > 0 ? 0 : 9);
    prune_walk_close(&w);
}

static void a_walk_without_room_for_checkpoints_gives_the_same(void **state)
{
    (void)state;
    const char *data = make_classifier_data("");
    struct made m;
    struct prune_cfg cfg;
    struct prune_net small;
    struct prune_status st = {0};
    float *with[PRUNE_SIDES] = {0}, *without[PRUNE_SIDES] = {0};
    make(&m, "walk.cfg", BLOCKS, 9);
    lose_channels(&m);
    finish(&m);
    ok(prune_net_read(&cfg, &small, m.pair.cfg, &st), &st);
    walk_to(&m, &small, data, 0, with);
    walk_to(&m, &small, data, 25 * 432 * 4, without);
    for (int side = 0; side < PRUNE_SIDES; side++) {
        assert_memory_equal(with[side], without[side], 25 * 5 * sizeof(float));
        free(with[side]);
        free(without[side]);
    }
    prune_net_free(&small);
    prune_cfg_free(&cfg);
    unmake(&m);
}

static void detectors_are_reconstructed_too(void **state)
{
    (void)state;
    static const char text[] = "[net]\nbatch=4\nsubdivisions=1\nwidth=64\nheight=64\nchannels=3\nlearning_rate=0.01\nmax_batches=10\n"
        "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n\n"
        "[convolutional]\nbatch_normalize=1\nfilters=10\nsize=3\nstride=2\npad=1\nactivation=leaky\n\n"
        "[convolutional]\nfilters=14\nsize=1\nstride=1\npad=0\nactivation=linear\n\n[yolo]\nmask=0,1\nanchors=20,12, 12,20\nclasses=2\nnum=2\n\n"
        "[route]\nlayers=-3\n\n[upsample]\nstride=2\n\n[route]\nlayers=-1,0\n\n[convolutional]\nfilters=14\nsize=1\nstride=1\npad=0\nactivation=linear\n\n"
        "[yolo]\nmask=0,1\nanchors=20,12, 12,20\nclasses=2\nnum=2\n";
    const char *data = make_detector_data();
    struct made m;
    struct prune_reconstruct_result r;
    struct prune_status st = {0};
    make(&m, "eyes.cfg", text, 10);
    for (int c = 0; c < 3; c++) m.removed[m.units.of_channel[0][c]] = m.removed[m.units.of_channel[1][2 * c]] = 1;
    finish(&m);
    double before[2] = {error_at(&m, data, 2, 12), error_at(&m, data, 7, 12)};
    ok(run(&m, (struct prune_reconstruct_options){.data = data, .images = 12, .samples = 1, .ridge = 1e-3, .letterbox = 0}, &r, &st), &st);
    double after[2] = {error_at(&m, data, 2, 12), error_at(&m, data, 7, 12)};
    assert_int_equal(r.solved, 3);
    assert_true(after[0] < before[0] / 2 && after[1] < before[1] / 2);
    assert_true(fabs(after[0] - row_of(&r, 2)->after) < 1e-4 && fabs(after[1] - row_of(&r, 7)->after) < 1e-4);
    prune_reconstruct_free(&r);
    unmake(&m);
}

static void what_cannot_be_done_is_said(void **state)
{
    (void)state;
    const char *data = make_classifier_data("");
    struct made m;
    struct prune_reconstruct_result r;
    struct prune_status st = {0};
    struct prune_host blind = *host();
    make(&m, "no.cfg", BLOCKS, 11);
    lose_channels(&m);
    finish(&m);
    assert_int_equal(run(&m, (struct prune_reconstruct_options){.data = data, .images = 25, .memory = 1000}, &r, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "25 images of 432 values take 0 MB, and 0 MB are allowed; use fewer images or more memory");
    blind.capabilities &= ~(unsigned)PRUNE_CAN_EDIT;
    const struct prune_reconstruct_input in = {.cfg = m.cfg_path, .weights = m.weights_path, .whole = &m.net, .net = &m.net, .plan = &m.plan, .pruned_cfg = m.pair.cfg,
                                               .pruned_weights = m.pair.weights};
    const struct prune_reconstruct_options o = {.data = data, .images = 25};
    assert_int_equal(prune_reconstruct(&blind, &in, &o, &r, &st), PRUNE_FAILED);
    struct prune_host_net *net = open_net(m.cfg_path, m.weights_path, 2);
    float image[432] = {0};
    assert_int_equal(host()->forward_layers(net, image, NULL, 0, 1, 0, 99, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "no layers 0 to 99"));
    const struct prune_given_output given = {50, image};
    assert_int_equal(host()->forward_layers(net, image, &given, 1, 1, 0, 1, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "no layer 50"));
    host()->close(net);
    unmake(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(channels_that_others_double_are_made_up_for_exactly_in_every_kind_of_layer),
        TEST(printed_errors_are_those_of_the_outputs),
        TEST(scales_of_zero_leave_numbers_and_an_empty_mask_every_value),
        TEST(a_walk_without_room_for_checkpoints_gives_the_same),
        TEST(detectors_are_reconstructed_too),
        TEST(what_cannot_be_done_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
