/* The region head: outputs, deltas and statistics line of the installed library's, and per-image losses whose negative gradient those deltas are. */
#include "head_fixture.h"

layer make_region_layer(int batch, int w, int h, int n, int classes, int coords);
void backward_region_layer(layer l, network net);

enum { W = 5, H = 4, ANCHORS = 3, CLASSES = 8, BATCH = 3, PER_IMAGE = W * H * ANCHORS * (5 + CLASSES), TRUTHS = 12, ROOM = 30 };

/* Three groups: 0..2 at the root, 3..4 below class 0, 5..7 below class 4. */
static tree hierarchy = {.n = CLASSES, .parent = (int[]){-1, -1, -1, 0, 0, 4, 4, 4}, .group = (int[]){0, 0, 0, 1, 1, 2, 2, 2}, .groups = 3,
                         .group_size = (int[]){3, 2, 3}, .group_offset = (int[]){0, 3, 5}};
static int renamed[CLASSES] = {3, 0, 7, 1, 6, 2, 5, 4};

struct variant { int softmax, rescore, bias_match; float thresh; size_t seen; bool with_tree, with_map; };
static const struct variant VARIANTS[] = {
    {1, 0, 1, .6f, 20000, false, false},
    {1, 1, 1, .3f, 20000, false, false},   /* yolov2 */
    {0, 0, 1, .2f, 20000, false, true},    /* logistic: two classes may share a predictor */
    {0, 1, 0, .4f, 20000, false, false},   /* anchors by predicted shape */
    {1, 1, 1, .6f, 12799, false, false},   /* warm-up */
    {1, 0, 0, .6f, 12800, false, true},
    {0, 0, 1, .6f, 20000, true, false},    /* yolo9000 */
    {1, 1, 1, .3f, 0, true, true},
};
enum { VARIANT_COUNT = sizeof VARIANTS / sizeof *VARIANTS };

struct region_case { layer l; network net; size_t seen; float input[BATCH * PER_IMAGE], truth[BATCH * ROOM * 5]; };

static struct region_case *make_case(const struct variant *k)
{
    static const float anchors[2 * ANCHORS] = {.6f, .7f, 1.9f, 1.3f, 3.4f, 2.9f};
    struct region_case *c = calloc(1, sizeof *c);
    assert_non_null(c);
    c->l = make_region_layer(BATCH, W, H, ANCHORS, CLASSES, 4);
    memcpy(c->l.biases, anchors, sizeof anchors);
    c->l.softmax = k->softmax;
    c->l.rescore = k->rescore;
    c->l.bias_match = k->bias_match;
    c->l.thresh = k->thresh;
    c->l.softmax_tree = k->with_tree ? &hierarchy : NULL;
    c->l.map = k->with_map ? renamed : NULL;
    c->l.object_scale = 5;
    c->l.noobject_scale = .5f;
    c->l.class_scale = 2;
    c->l.coord_scale = 3;
    c->seen = k->seen;
    fill_random(c->input, BATCH * PER_IMAGE, -2, 2, 1);
    struct prune_random r = prune_random_make(3, 2, 0);
    for (int b = 0; b < BATCH; ++b) random_truths(c->truth + 5 * ROOM * b, b == 2 ? 1 : TRUTHS, CLASSES, &r);
    c->net = (network){.w = 160, .h = 128, .train = 1, .index = 7, .batch = BATCH, .input = c->input, .truth = c->truth, .seen = &c->seen};
    return c;
}

static void free_case(struct region_case *c)
{
    c->l.softmax_tree = NULL;
    c->l.map = NULL;
    free_layer(c->l);
    free(c);
}

static void stock_region(layer l, network net)
{
    stock_layer_call("forward_region_layer", l, net);
}

static void compare_with_host(int number)
{
    struct region_case *c = make_case(&VARIANTS[number]);
    static float output[BATCH * PER_IMAGE], delta[BATCH * PER_IMAGE];
    char ours[512], theirs[512];
    run_captured(c->l.forward, c->l, c->net, ours, sizeof ours);
    memcpy(output, c->l.output, sizeof output);
    memcpy(delta, c->l.delta, sizeof delta);
    double cost = (double)*c->l.cost;
    run_captured(stock_region, c->l, c->net, theirs, sizeof theirs);
    int trained = 0;
    for (int i = 0; i < BATCH * PER_IMAGE; ++i) {
        double d = (double)delta[i];
        if (fabs((double)output[i] - (double)c->l.output[i]) > 1e-6) fail_msg("variant %d, output %d: %.9g, the host has %.9g", number, i, (double)output[i], (double)c->l.output[i]);
        if (fabs(d - (double)c->l.delta[i]) > 2e-6 * (1 + fabs(d))) fail_msg("variant %d, delta %d: %.9g, the host has %.9g", number, i, d, (double)c->l.delta[i]);
        trained += d > 0;
    }
    assert_true(trained >= 20);
    assert_near(cost / (double)*c->l.cost, 1, 1e-4);
    /* of two classes at one predictor the library counts but one, and divides by two */
    if (VARIANTS[number].softmax) assert_string_equal(ours, theirs);
    assert_int_equal(strncmp(ours, "Region Avg IOU: ", 16), 0);
    free_case(c);
}

static void deltas_cost_and_statistics_equal_the_hosts(void **state)
{
    (void)state;
    for (int k = 0; k < VARIANT_COUNT; ++k) if (!VARIANTS[k].with_tree) compare_with_host(k);
}

/* dE/dt dt/da of the rescored objectness of entry i's predictor, when a_i moves by step to both sides: the loss knows that the target, an overlap,
 * moves with the box; delta does not. up, down: objectness deltas at both ends. */
static double target_slope(const struct region_case *c, int objectness, float up, float down, double width)
{
    double scale = (double)c->l.object_scale, a = (double)c->input[objectness], p = 1 / (1 + exp(-a)), t = p + .5 * ((double)up + (double)down) / scale;
    if (up == down) return 0;
    return scale * (log(t / (1 - t)) - a) * ((double)up - (double)down) / scale / width;
}

static int objectness_of(int i)
{
    int plane = W * H, block = i / (plane * (5 + CLASSES));
    return block * plane * (5 + CLASSES) + 4 * plane + i % plane;
}

static void compare_with_differences(int number)
{
    struct region_case *c = make_case(&VARIANTS[number]);
    static float delta[BATCH * PER_IMAGE];
    c->l.forward(c->l, c->net);
    memcpy(delta, c->l.delta, sizeof delta);
    double moved = 0;
    for (int i = 0; i < BATCH * PER_IMAGE; ++i) {
        const float before = c->input[i], above = before + 1e-3f, below = before - 1e-3f;
        int objectness = objectness_of(i), which = i / (W * H) % (5 + CLASSES);
        double width = (double)above - (double)below;
        c->input[i] = above;
        double up = loss_of_image(c->l, c->net, i / PER_IMAGE);
        float delta_up = c->l.delta[objectness];
        c->input[i] = below;
        double down = loss_of_image(c->l, c->net, i / PER_IMAGE);
        float delta_down = c->l.delta[objectness];
        c->input[i] = before;
        double target = VARIANTS[number].rescore && which < 4 ? target_slope(c, objectness, delta_up, delta_down, width) : 0;
        double slope = (up - down) / width - target;
        if (fabs(slope + (double)delta[i]) > 5e-4) fail_msg("variant %d, entry %d: slope %.9g, delta %.9g", number, i, slope, (double)delta[i]);
        moved = fmax(moved, fabs(target));
    }
    if (VARIANTS[number].rescore) assert_true(moved > .01);
    free_case(c);
}

static void image_loss_falls_along_delta_with_targets_held(void **state)
{
    (void)state;
    host_context()->quiet = true;
    for (int k = 0; k < VARIANT_COUNT; ++k) compare_with_differences(k);
    host_context()->quiet = false;
}

/* The library's CPU version takes its softmaxes over a tree from the wrong places and divides by a temperature of 0; ours are those of each predictor's
 * groups, and its rule for deltas applied to them. */
static void over_a_tree_each_group_of_a_predictor_is_a_softmax_and_the_path_to_the_class_is_trained(void **state)
{
    (void)state;
    struct region_case *c = make_case(&VARIANTS[7]);
    const int plane = W * H, first = PER_IMAGE / ANCHORS + 1 * W + 2;   /* anchor 1, cell (2, 1) of image 0 */
    host_context()->quiet = true;
    memset(c->truth, 0, sizeof c->truth);
    memcpy(c->truth, (float[]){.5f, .375f, 1.9f / W, 1.3f / H, 0}, 5 * sizeof(float));
    c->l.map[0] = 6;   /* 6 below 4 below 0 */
    c->l.forward(c->l, c->net);
    c->l.map[0] = 3;
    for (int g = 0; g < hierarchy.groups; ++g) {
        double sum = 0;
        int from = hierarchy.group_offset[g], to = from + hierarchy.group_size[g];
        for (int k = from; k < to; ++k) sum += exp((double)c->input[first + (5 + k) * plane]);
        for (int k = from; k < to; ++k) {
            int at = first + (5 + k) * plane;
            double p = exp((double)c->input[at]) / sum, t = k == 0 || k == 4 || k == 6;
            assert_near((double)c->l.output[at], p, 1e-6);
            assert_near((double)c->l.delta[at], 2 * (t - p), 1e-5);
        }
    }
    host_context()->quiet = false;
    free_case(c);
}

static void probes_are_square_roots_of_the_curvature_with_targets_held(void **state)
{
    (void)state;
    host_context()->quiet = true;
    for (int k = 0; k < VARIANT_COUNT; ++k) {
        if (VARIANTS[k].rescore) continue;   /* there delta's own differences see the target move */
        struct region_case *c = make_case(&VARIANTS[k]);
        const struct box_head head = region_head(&c->l, &c->net);
        for (int b = 0; b < BATCH; ++b) assert_curvature(&head, b, (uint64_t)(10 + k));
        free_case(c);
    }
    host_context()->quiet = false;
}

static void a_perfect_fit_costs_nothing_but_its_classes(void **state)
{
    (void)state;
    struct region_case *c = make_case(&(struct variant){.softmax = 1, .rescore = 1, .bias_match = 1, .thresh = .6f, .seen = 20000});
    host_context()->quiet = true;
    memset(c->truth, 0, sizeof c->truth);
    memcpy(c->truth, (float[]){.5f, .375f, 1.9f / W, 1.3f / H, 2}, 5 * sizeof(float));   /* anchor 1, in the middle of cell (2, 1) */
    for (int i = 0; i < BATCH * PER_IMAGE; ++i) {
        int which = i / (W * H) % (5 + CLASSES);
        c->input[i] = which < 4 ? 0 : which == 4 ? -60 : which == 5 + 2 ? 60 : 0;
    }
    int at = PER_IMAGE / ANCHORS + 1 * W + 2;
    c->input[at + 4 * W * H] = 60;
    assert_near(loss_of_image(c->l, c->net, 0), 0, 1e-5);
    c->input[at + 7 * W * H] = 0;   /* all classes alike: class_scale log 8 more */
    assert_near(loss_of_image(c->l, c->net, 0), 2 * log(CLASSES), 1e-5);
    host_context()->quiet = false;
    free_case(c);
}

static void the_losses_of_warm_up_add_to_the_others(void **state)
{
    (void)state;
    struct region_case *c = make_case(&VARIANTS[0]);
    host_context()->quiet = true;
    memset(c->truth, 0, sizeof c->truth);
    double late = loss_of_image(c->l, c->net, 1), wanted = 0;
    c->seen = 0;
    for (int i = 0; i < PER_IMAGE; ++i) {
        int which = i / (W * H) % (5 + CLASSES);
        double a = (double)c->input[PER_IMAGE + i];
        if (which < 2) wanted += .01 * (log(1 + exp(a)) - .5 * a - log(2));
        else if (which < 4) wanted += .01 * .5 * a * a;
    }
    assert_true(wanted > .1);
    assert_near(loss_of_image(c->l, c->net, 1) - late, wanted, 1e-6);
    host_context()->quiet = false;
    free_case(c);
}

static void losses_do_not_depend_on_threads(void **state)
{
    (void)state;
    int threads = host_context()->threads;
    host_context()->quiet = true;
    for (int k = 0; k < VARIANT_COUNT; ++k) {
        struct region_case *c = make_case(&VARIANTS[k]);
        for (int b = 0; b < BATCH; ++b) {
            host_context()->threads = 1;
            double one = loss_of_image(c->l, c->net, b);
            host_context()->threads = 3;
            assert_true(one > 1);
            assert_true(loss_of_image(c->l, c->net, b) == one);
        }
        free_case(c);
    }
    host_context()->threads = threads;
    host_context()->quiet = false;
}

static void inference_gives_the_hosts_outputs_and_prints_nothing(void **state)
{
    (void)state;
    for (int k = 0; k < VARIANT_COUNT; ++k) {
        if (VARIANTS[k].with_tree) continue;
        struct region_case *c = make_case(&VARIANTS[k]);
        char text[64];
        static float output[BATCH * PER_IMAGE];
        c->net.train = 0;
        run_captured(c->l.forward, c->l, c->net, text, sizeof text);
        assert_string_equal(text, "");
        memcpy(output, c->l.output, sizeof output);
        stock_region(c->l, c->net);
        for (int i = 0; i < BATCH * PER_IMAGE; ++i)
            if (!(fabs((double)output[i] - (double)c->l.output[i]) <= 1e-6)) fail_msg("variant %d, output %d: %.9g, the host has %.9g", k, i, (double)output[i], (double)c->l.output[i]);
        free_case(c);
    }
}

static void quiet_heads_print_nothing(void **state)
{
    (void)state;
    struct region_case *c = make_case(&VARIANTS[1]);
    assert_quiet(c->l, c->net);
    free_case(c);
}

static void a_nan_reaches_the_loss_of_its_image_alone(void **state)
{
    (void)state;
    for (int softmax = 0; softmax < 2; ++softmax) {
        struct region_case *c = make_case(&VARIANTS[softmax ? 0 : 2]);
        host_context()->quiet = true;
        memset(c->truth + 5 * ROOM, 0, 5 * ROOM * sizeof(float));
        c->input[W * H * 4 + 3] = NAN;
        assert_nan_of_first_image(c->l, c->net);
        host_context()->quiet = false;
        free_case(c);
    }
}

static void a_box_centred_on_the_far_border_trains_the_last_cell(void **state)
{
    (void)state;
    struct region_case *c = make_case(&VARIANTS[0]);
    host_context()->quiet = true;
    memset(c->truth, 0, sizeof c->truth);
    memcpy(c->truth, (float[]){1, 1, 3.4f / W, 2.9f / H, 2}, 5 * sizeof(float));   /* the last anchor */
    c->l.forward(c->l, c->net);
    int objectness = 2 * W * H * (5 + CLASSES) + 4 * W * H + W * H - 1;
    assert_near((double)c->l.delta[objectness], 5 * (1 - (double)c->l.output[objectness]), 1e-5);
    host_context()->quiet = false;
    free_case(c);
}

/* The library's own hands nothing on: its region networks learn nothing on the CPU. */
static void backward_adds_delta_to_the_layer_below(void **state)
{
    (void)state;
    struct region_case *c = make_case(&VARIANTS[1]);
    static float below[BATCH * PER_IMAGE];
    host_context()->quiet = true;
    c->l.forward(c->l, c->net);
    host_context()->quiet = false;
    c->net.delta = below;
    stock_layer_call("backward_region_layer", c->l, c->net);
    for (int i = 0; i < BATCH * PER_IMAGE; ++i) assert_true(below[i] == 0);
    for (int i = 0; i < BATCH * PER_IMAGE; ++i) below[i] = 1;
    c->l.backward(c->l, c->net);
    for (int i = 0; i < BATCH * PER_IMAGE; ++i) assert_true(below[i] == 1 + c->l.delta[i]);
    free_case(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deltas_cost_and_statistics_equal_the_hosts),
        cmocka_unit_test(image_loss_falls_along_delta_with_targets_held),
        cmocka_unit_test(over_a_tree_each_group_of_a_predictor_is_a_softmax_and_the_path_to_the_class_is_trained),
        cmocka_unit_test(probes_are_square_roots_of_the_curvature_with_targets_held),
        cmocka_unit_test(a_perfect_fit_costs_nothing_but_its_classes),
        cmocka_unit_test(the_losses_of_warm_up_add_to_the_others),
        cmocka_unit_test(losses_do_not_depend_on_threads),
        cmocka_unit_test(inference_gives_the_hosts_outputs_and_prints_nothing),
        cmocka_unit_test(quiet_heads_print_nothing),
        cmocka_unit_test(a_nan_reaches_the_loss_of_its_image_alone),
        cmocka_unit_test(a_box_centred_on_the_far_border_trains_the_last_cell),
        cmocka_unit_test(backward_adds_delta_to_the_layer_below),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
