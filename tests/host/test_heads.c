/* The heads: the same deltas, outputs and statistics line as the installed library's, and per-image losses whose negative gradient those deltas are. */
#include "head_fixture.h"

layer make_yolo_layer(int batch, int w, int h, int n, int total, int *mask, int classes);
layer make_softmax_layer(int batch, int inputs, int groups);
layer make_logistic_layer(int batch, int inputs);
layer make_cost_layer(int batch, int inputs, COST_TYPE cost_type, float scale);

enum { W = 5, H = 4, ANCHORS = 3, TOTAL = 6, CLASSES = 4, BATCH = 3, PER_IMAGE = W * H * ANCHORS * (5 + CLASSES), TRUTHS = 12 };

static void stock_yolo(layer l, network net)
{
    stock_layer_call("forward_yolo_layer", l, net);
}

/* Central differences of each image's loss in each of its pre-activations; returns how many were compared. */
static int compare_with_differences(layer l, network net, double step, double tolerance, double factor)
{
    int compared = 0;
    float *delta = malloc((size_t)(l.batch * l.outputs) * sizeof *delta);
    l.forward(l, net);
    memcpy(delta, l.delta, (size_t)(l.batch * l.outputs) * sizeof *delta);
    for (int i = 0; i < l.batch * l.outputs; ++i) {
        float *x = net.input + i, before = *x;
        volatile float above = before + (float)step, below = before - (float)step;
        *x = above;
        double up = loss_of_image(l, net, i / l.outputs);
        *x = below;
        double down = loss_of_image(l, net, i / l.outputs);
        *x = before;
        double slope = (up - down) / ((double)above - (double)below), wanted = -factor * (double)delta[i];
        if (fabs(slope - wanted) > tolerance) fail_msg("entry %d: slope %.9g, -delta %.9g", i, slope, wanted);
        ++compared;
    }
    free(delta);
    return compared;
}

/* A yolo layer of six anchors, three its own, with random input and truths: several truths per cell, two of one class, one on the far border. */
struct yolo_case { layer l; network net; float input[BATCH * PER_IMAGE]; float truth[BATCH * 450]; float cost; };

static struct yolo_case *make_case(int *mask, float ignore, float positive)
{
    static const float anchors[2 * TOTAL] = {10, 13, 16, 30, 33, 23, 30, 61, 62, 45, 59, 119};
    struct yolo_case *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->l = make_yolo_layer(BATCH, W, H, ANCHORS, TOTAL, mask, CLASSES);   /* keeps the pointer, free_layer leaves it alone */
    memcpy(c->l.biases, anchors, sizeof anchors);
    c->l.ignore_thresh = ignore;
    c->l.truth_thresh = positive;
    c->l.max_boxes = 90;
    fill_random(c->input, BATCH * PER_IMAGE, -2, 2, 1);
    struct prune_random r = prune_random_make(3, 2, 0);
    for (int b = 0; b < BATCH; ++b)
        for (int t = 0; t < (b == 2 ? 1 : TRUTHS); ++t) {
            float *row = c->truth + 450 * b + 5 * t;
            row[0] = (float)prune_random_range(&r, .02, .98);
            row[1] = (float)prune_random_range(&r, .02, .98);
            row[2] = (float)prune_random_range(&r, .05, .8);
            row[3] = (float)prune_random_range(&r, .05, .8);
            row[4] = (float)prune_random_below(&r, CLASSES);
        }
    memcpy(c->truth + 5, c->truth, 5 * sizeof(float));            /* the same box twice */
    memcpy(c->truth + 10, c->truth, 4 * sizeof(float));           /* and again with the next class */
    c->truth[14] = (float)(((int)c->truth[4] + 1) % CLASSES);
    c->net = (network){.w = 160, .h = 128, .train = 1, .index = 7, .batch = BATCH, .input = c->input, .truth = c->truth};
    return c;
}

static void free_case(struct yolo_case *c)
{
    free_layer(c->l);
    free(c);
}

static void compare_yolo(int *mask, float ignore, float positive, int *map)
{
    struct yolo_case *c = make_case(mask, ignore, positive);
    char ours[512], theirs[512];
    c->l.map = map;
    run_captured(c->l.forward, c->l, c->net, ours, sizeof ours);
    size_t bytes = sizeof(float) * BATCH * PER_IMAGE;
    float *output = malloc(bytes), *delta = malloc(bytes), cost = *c->l.cost;
    memcpy(output, c->l.output, bytes);
    memcpy(delta, c->l.delta, bytes);
    run_captured(stock_yolo, c->l, c->net, theirs, sizeof theirs);
    int trained = 0;
    for (int i = 0; i < BATCH * PER_IMAGE; ++i) {
        assert_near(output[i], c->l.output[i], 1e-6);
        if (fabsf(delta[i] - c->l.delta[i]) > 2e-6f * (1 + fabsf(delta[i]))) fail_msg("delta %d: %.9g, the host has %.9g", i, delta[i], c->l.delta[i]);
        trained += delta[i] > 0;
    }
    assert_true(trained >= 6);
    assert_near(cost / *c->l.cost, 1, 1e-4);
    assert_string_equal(ours, theirs);
    assert_int_equal(strncmp(ours, "Region 7 Avg IOU: ", 18), 0);
    free(output);
    free(delta);
    c->l.map = NULL;
    free_case(c);
}

static void yolo_deltas_cost_and_statistics_equal_the_hosts(void **state)
{
    (void)state;
    compare_yolo((int[]){0, 1, 2}, .5f, 1, NULL);
    compare_yolo((int[]){3, 4, 5}, .3f, 1, NULL);
}

static void yolo_trains_good_boxes_towards_their_truth_above_truth_thresh(void **state)
{
    (void)state;
    compare_yolo((int[]){3, 4, 5}, .2f, .35f, NULL);
}

static void yolo_renames_classes_through_a_map(void **state)
{
    (void)state;
    compare_yolo((int[]){3, 4, 5}, .5f, 1, (int[]){2, 0, 3, 1});
}

static void yolo_image_loss_falls_along_delta(void **state)
{
    (void)state;
    struct yolo_case *c = make_case((int[]){3, 4, 5}, .4f, 1);
    host_context()->quiet = true;
    assert_int_equal(compare_with_differences(c->l, c->net, 1e-3, 2e-4, 1), BATCH * PER_IMAGE);
    free_case(c);
    c = make_case((int[]){3, 4, 5}, .2f, .35f);
    assert_int_equal(compare_with_differences(c->l, c->net, 1e-3, 2e-4, 1), BATCH * PER_IMAGE);
    free_case(c);
    host_context()->quiet = false;
}

static void yolo_probes_are_square_roots_of_the_curvature_with_targets_held(void **state)
{
    (void)state;
    host_context()->quiet = true;
    for (int k = 0; k < 2; ++k) {
        struct yolo_case *c = make_case((int[]){3, 4, 5}, k ? .2f : .4f, k ? .35f : 1);
        const struct box_head head = yolo_head(&c->l, &c->net);
        for (int b = 0; b < BATCH; ++b) assert_curvature(&head, b, (uint64_t)(20 + k));
        free_case(c);
    }
    host_context()->quiet = false;
}

static void yolo_losses_do_not_depend_on_threads(void **state)
{
    (void)state;
    struct yolo_case *c = make_case((int[]){3, 4, 5}, .4f, 1);
    int threads = host_context()->threads;
    double loss[2][BATCH];
    host_context()->quiet = true;
    for (int run = 0; run < 2; ++run) {
        host_context()->threads = run ? 3 : 1;
        for (int b = 0; b < BATCH; ++b) loss[run][b] = loss_of_image(c->l, c->net, b);
    }
    host_context()->threads = threads;
    host_context()->quiet = false;
    for (int b = 0; b < BATCH; ++b) {
        assert_true(loss[0][b] > 1);
        assert_true(loss[0][b] == loss[1][b]);
    }
    free_case(c);
}

static void yolo_in_inference_gives_the_hosts_outputs_and_prints_nothing(void **state)
{
    (void)state;
    struct yolo_case *c = make_case((int[]){3, 4, 5}, .5f, 1);
    char text[512];
    float output[BATCH * PER_IMAGE];
    c->net.train = 0;
    run_captured(c->l.forward, c->l, c->net, text, sizeof text);
    assert_string_equal(text, "");
    memcpy(output, c->l.output, sizeof output);
    for (int i = 0; i < BATCH * PER_IMAGE; ++i) assert_true(c->l.delta[i] == 0);
    stock_layer_call("forward_yolo_layer", c->l, c->net);
    for (int i = 0; i < BATCH * PER_IMAGE; ++i) assert_near(output[i], c->l.output[i], 1e-6);
    free_case(c);
}

static void yolo_prints_nothing_when_quiet(void **state)
{
    (void)state;
    struct yolo_case *c = make_case((int[]){3, 4, 5}, .5f, 1);
    assert_quiet(c->l, c->net);
    free_case(c);
}

static void a_nan_reaches_the_yolo_loss_and_cost(void **state)
{
    (void)state;
    struct yolo_case *c = make_case((int[]){3, 4, 5}, .5f, 1);
    host_context()->quiet = true;
    c->input[W * H * 4 + 3] = NAN;   /* an objectness of image 0 */
    assert_nan_of_first_image(c->l, c->net);
    host_context()->quiet = false;
    free_case(c);
}

static void a_box_centred_on_the_far_border_trains_the_last_cell(void **state)
{
    (void)state;
    struct yolo_case *c = make_case((int[]){3, 4, 5}, .5f, 1);
    host_context()->quiet = true;
    float border[5] = {1, 1, .38f, .9f, 2};   /* best shape: anchor 5, the last */
    memset(c->truth, 0, sizeof c->truth);
    memcpy(c->truth, border, sizeof border);
    c->l.forward(c->l, c->net);
    size_t objectness = (size_t)(2 * W * H * (5 + CLASSES) + 4 * W * H + W * H - 1);
    assert_near(c->l.delta[objectness], 1 - c->l.output[objectness], 1e-6);
    host_context()->quiet = false;
    free_case(c);
}

enum { SOFT = 12 };

static void compare_softmax(int groups, float temperature, tree *hierarchy)
{
    layer l = make_softmax_layer(BATCH, SOFT, groups);
    float input[BATCH * SOFT], truth[BATCH * SOFT] = {0}, output[BATCH * SOFT], delta[BATCH * SOFT];
    l.temperature = temperature;
    l.softmax_tree = hierarchy;
    fill_random(input, BATCH * SOFT, -3, 3, 5);
    int parts = hierarchy ? hierarchy->groups : groups;
    for (int b = 0; b < BATCH; ++b)
        for (int g = 0; g < parts; ++g) truth[b * SOFT + g * (SOFT / parts) + (b + g) % (SOFT / parts)] = 1;
    network net = {.batch = BATCH, .input = input, .truth = truth};
    l.forward(l, net);
    memcpy(output, l.output, sizeof output);
    memcpy(delta, l.delta, sizeof delta);
    double loss = 0, cost = *l.cost;
    for (int b = 0; b < BATCH; ++b) loss += loss_of_image(l, net, b);
    stock_layer_call("forward_softmax_layer", l, net);
    assert_memory_equal(output, l.output, sizeof output);
    assert_memory_equal(delta, l.delta, sizeof delta);
    assert_near(loss / (double)temperature, cost, 1e-4);   /* one-hot: the descended loss is T times what Darknet prints */
    assert_int_equal(compare_with_differences(l, net, 1e-3, 1e-5, 1), BATCH * SOFT);
    net.train = 0;
    l.softmax_tree = NULL;
    free_layer(l);
}

static void softmax_is_the_hosts_and_its_loss_falls_along_delta(void **state)
{
    (void)state;
    compare_softmax(1, 1, NULL);
    compare_softmax(3, 1, NULL);
    compare_softmax(1, 2.5f, NULL);
}

static void softmax_over_a_tree_of_classes_sums_the_losses_of_its_groups(void **state)
{
    (void)state;
    int sizes[3] = {4, 4, 4}, offsets[3] = {0, 4, 8};
    tree hierarchy = {.n = SOFT, .groups = 3, .group_size = sizes, .group_offset = offsets};
    compare_softmax(1, 1, &hierarchy);
}

static void softmax_loss_of_a_hopeless_image_is_finite_and_exact(void **state)
{
    (void)state;
    layer l = make_softmax_layer(1, 3, 1);
    l.temperature = 1;
    float input[3] = {500, 0, -500}, truth[3] = {0, 0, 1};
    network net = {.batch = 1, .input = input, .truth = truth};
    assert_near(loss_of_image(l, net, 0), 1000, 1e-9);
    input[1] = NAN;
    assert_true(isnan(loss_of_image(l, net, 0)));
    free_layer(l);
}

static void softmax_without_truths_adds_no_loss(void **state)
{
    (void)state;
    layer l = make_softmax_layer(1, 3, 1);
    l.temperature = 1;
    float input[3] = {1, 2, 3};
    network net = {.batch = 1, .input = input};
    assert_true(loss_of_image(l, net, 0) == 0);
    assert_near(l.output[2], .66524096, 1e-6);
    free_layer(l);
}

static void logistic_head_is_the_hosts_and_its_loss_falls_along_delta(void **state)
{
    (void)state;
    layer l = make_logistic_layer(BATCH, SOFT);
    float input[BATCH * SOFT], truth[BATCH * SOFT];
    fill_random(input, BATCH * SOFT, -3, 3, 6);
    for (int i = 0; i < BATCH * SOFT; ++i) truth[i] = i % 3 == 0;
    network net = {.batch = BATCH, .input = input, .truth = truth};
    double loss = 0;
    for (int b = 0; b < BATCH; ++b) loss += loss_of_image(l, net, b);
    assert_near(loss, *l.cost, 1e-4);
    assert_int_equal(compare_with_differences(l, net, 1e-3, 1e-5, 1), BATCH * SOFT);
    free_layer(l);
}

static void cost_layer_losses_fall_along_delta_times_scale(void **state)
{
    (void)state;
    static const struct { COST_TYPE type; float scale; } cases[] = {{SSE, 1}, {SSE, .25f}, {MASKED, 1}, {L1, 2}, {SMOOTH, 1}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; ++k) {
        layer l = make_cost_layer(BATCH, SOFT, cases[k].type, cases[k].scale);
        float input[BATCH * SOFT], truth[BATCH * SOFT];
        fill_random(input, BATCH * SOFT, -2, 2, 8);
        fill_random(truth, BATCH * SOFT, -2, 2, 9);
        if (cases[k].type == MASKED) truth[5] = SECRET_NUM;
        network net = {.batch = BATCH, .input = input, .truth = truth};
        if (cases[k].type == MASKED) l.forward(l, net);   /* the host writes the mask into the input */
        double loss = 0;
        for (int b = 0; b < BATCH; ++b) loss += loss_of_image(l, net, b);
        if (cases[k].type == SSE) assert_near(2 * loss / (double)cases[k].scale, *l.cost, 1e-4);
        if (cases[k].type != MASKED) assert_int_equal(compare_with_differences(l, net, 1e-3, 2e-3, (double)cases[k].scale), BATCH * SOFT);
        free_layer(l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(yolo_deltas_cost_and_statistics_equal_the_hosts),
        cmocka_unit_test(yolo_trains_good_boxes_towards_their_truth_above_truth_thresh),
        cmocka_unit_test(yolo_renames_classes_through_a_map),
        cmocka_unit_test(yolo_image_loss_falls_along_delta),
        cmocka_unit_test(yolo_probes_are_square_roots_of_the_curvature_with_targets_held),
        cmocka_unit_test(yolo_losses_do_not_depend_on_threads),
        cmocka_unit_test(yolo_in_inference_gives_the_hosts_outputs_and_prints_nothing),
        cmocka_unit_test(yolo_prints_nothing_when_quiet),
        cmocka_unit_test(a_nan_reaches_the_yolo_loss_and_cost),
        cmocka_unit_test(a_box_centred_on_the_far_border_trains_the_last_cell),
        cmocka_unit_test(softmax_is_the_hosts_and_its_loss_falls_along_delta),
        cmocka_unit_test(softmax_over_a_tree_of_classes_sums_the_losses_of_its_groups),
        cmocka_unit_test(softmax_loss_of_a_hopeless_image_is_finite_and_exact),
        cmocka_unit_test(softmax_without_truths_adds_no_loss),
        cmocka_unit_test(logistic_head_is_the_hosts_and_its_loss_falls_along_delta),
        cmocka_unit_test(cost_layer_losses_fall_along_delta_times_scale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
