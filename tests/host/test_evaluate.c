/* Evaluation: average precision by hand, suppression, decoding against the host's own decoders, and whole evaluations of two tiny networks whose
 * answers are known; with PRUNE_DATA also published networks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "../../darknet/context.h"
#include "../../darknet/detections.h"
#include "../../darknet/heads.h"
#include "../../plugin/base/file_io.h"
#include "../../plugin/base/random.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

layer make_yolo_layer(int batch, int w, int h, int n, int total, int *mask, int classes);
layer make_region_layer(int batch, int w, int h, int n, int classes, int coords);
layer make_detection_layer(int batch, int inputs, int n, int size, int classes, int coords, int rescore);

static void assert_near(double a, double b, double tolerance)
{
    if (!(fabs(a - b) <= tolerance)) fail_msg("%.9g is not %.9g", a, b);
}

/* Average precision */

static double area(const char *hits, size_t truths)
{
    unsigned char matched[16];
    size_t n = strlen(hits);
    for (size_t i = 0; i < n; ++i) matched[i] = hits[i] == '+';
    return average_precision(matched, n, truths);
}

static void average_precision_is_the_area_under_the_monotone_curve(void **state)
{
    (void)state;
    assert_near(area("+", 1), 1, 0);
    assert_near(area("-+", 1), .5, 1e-15);
    assert_near(area("+-+", 2), (1 + 2. / 3) / 2, 1e-15);
    assert_near(area("-++", 2), 2. / 3, 1e-15);   /* the dip before the second is filled from the right */
    assert_near(area("++--", 4), .5, 1e-15);
    assert_near(area("---", 4), 0, 0);
    assert_near(area("", 4), 0, 0);
    assert_true(isnan(area("--", 0)));
}

static void a_truth_is_found_once_and_only_in_its_own_image_and_class(void **state)
{
    (void)state;
    const box here = {.5f, .5f, .2f, .2f}, near = {.52f, .5f, .2f, .2f}, there = {.1f, .1f, .1f, .1f};
    struct found_box found[] = {
        {here, .7f, 0, 1},    /* the same truth again */
        {near, .9f, 0, 1},    /* best score takes it, with IoU 0.818 */
        {here, .8f, 0, 0},    /* image 0 has no such truth */
        {here, .6f, 1, 1},    /* another class, no truth at all */
        {there, .5f, 0, 0},   /* exact */
    };
    struct true_box truths[] = {{here, 0, 1}, {there, 0, 0}, {there, 2, 0}};
    const double overlaps[2] = {.5, .9};
    double ap[2 * 3];
    assert_int_equal(average_precisions(found, 5, truths, 3, 3, overlaps, 2, ap, NULL), PRUNE_OK);
    assert_near(ap[0], (1 + 2. / 4) / 2, 1e-12);        /* + - - + */
    assert_true(isnan(ap[1]));
    assert_near(ap[2], 0, 0);
    assert_near(ap[3], (2. / 4 + 2. / 4) / 2, 1e-12);   /* at 0.9: - - + + */
}

static void a_box_takes_the_free_truth_it_overlaps_most(void **state)
{
    (void)state;
    struct found_box found[] = {{{.50f, .5f, .2f, .2f}, .9f, 0, 0}, {{.51f, .5f, .2f, .2f}, .8f, 0, 0}};
    struct true_box truths[] = {{{.53f, .5f, .2f, .2f}, 0, 0}, {{.50f, .5f, .2f, .2f}, 0, 0}};
    const double overlap = .5;
    double ap;
    assert_int_equal(average_precisions(found, 2, truths, 2, 1, &overlap, 1, &ap, NULL), PRUNE_OK);
    assert_near(ap, 1, 0);
}

static void suppression_keeps_the_best_of_each_class_and_other_images(void **state)
{
    (void)state;
    const box a = {.5f, .5f, .2f, .2f}, b = {.53f, .5f, .2f, .2f}, far = {.9f, .5f, .1f, .2f};
    struct found_box items[] = {{a, .2f, 0, 0}, {a, .3f, 1, 1}, {b, .4f, 1, 1}, {b, .9f, 0, 1}, {far, .1f, 1, 1}, {a, .8f, 0, 1}};
    struct found_list list = {items, 6, 6};
    detections_suppress(&list, 1, .45f);
    assert_int_equal(list.count, 4);
    assert_near(items[0].score, .2f, 0);
    assert_near(items[1].score, .9f, 0);
    assert_near(items[2].score, .4f, 0);
    assert_near(items[3].score, .1f, 0);
    detections_suppress(&list, 4, .45f);   /* nothing to do */
    assert_int_equal(list.count, 4);
}

static void letterboxed_boxes_come_back_to_the_image(void **state)
{
    (void)state;
    const struct framing wide = {200, 100, 64, 64, 1}, tall = {50, 100, 64, 64, 1}, stretched = {200, 100, 64, 64, 0};
    box b = framing_to_image(&wide, (box){.5f, .375f, .25f, .25f});   /* the image covers the middle half */
    assert_near(b.x, .5, 1e-6);
    assert_near(b.y, .25, 1e-6);
    assert_near(b.w, .25, 1e-6);
    assert_near(b.h, .5, 1e-6);
    b = framing_to_image(&tall, (box){.375f, .5f, .25f, .25f});
    assert_near(b.x, .25, 1e-6);
    assert_near(b.w, .5, 1e-6);
    assert_near(b.h, .25, 1e-6);
    b = framing_to_image(&stretched, (box){.1f, .2f, .3f, .4f});
    assert_near(b.x + b.y + b.w + b.h, 1, 1e-6);
}

/* Decoding: image 1 of a batch of two against the host, which only reads the first image of a batch */

enum { IMAGE_W = 300, IMAGE_H = 170, NET_W = 160, NET_H = 128 };

static void fill_outputs(layer l)
{
    struct prune_random r = prune_random_make(5, 1, 0);
    for (int i = 0; i < l.batch * l.outputs; ++i) l.output[i] = (float)prune_random_range(&r, .02, .98);
}

static void compare_decoding(layer l, int letterbox)
{
    const float threshold = .3f;
    network net = {.n = 1, .w = NET_W, .h = NET_H, .batch = 2, .layers = &l};
    fill_outputs(l);
    struct found_list list = {0};
    const struct framing f = {IMAGE_W, IMAGE_H, NET_W, NET_H, letterbox};
    assert_int_equal(detections_decode(&net, 1, &f, 9, threshold, &list, NULL), PRUNE_OK);

    layer first = l;
    first.batch = 1;
    first.output = l.output + l.outputs;
    network one = {.n = 1, .w = NET_W, .h = NET_H, .batch = 1, .layers = &first};
    int count = 0;
    detection *dets = get_network_boxes(&one, letterbox ? IMAGE_W : NET_W, letterbox ? IMAGE_H : NET_H, threshold, .5f, NULL, 1, &count);
    size_t k = 0;
    for (int i = 0; i < count; ++i)
        for (int c = 0; c < l.classes; ++c) {
            if (!(dets[i].prob[c] > threshold)) continue;
            assert_true(k < list.count);
            bool same = false;   /* the two go through the predictors in another order */
            for (size_t at = 0; at < list.count && !same; ++at) {
                const struct found_box *b = &list.items[at];
                box d = dets[i].bbox;
                if (l.type == DETECTION) d = (box){d.x / NET_W, d.y / NET_H, d.w / NET_W, d.h / NET_H};
                same = b->class_id == c && b->image == 9 && fabsf(b->score - dets[i].prob[c]) < 1e-6f && fabsf(b->where.x - d.x) < 1e-5f
                    && fabsf(b->where.y - d.y) < 1e-5f && fabsf(b->where.w - d.w) < 1e-5f && fabsf(b->where.h - d.h) < 1e-5f;
            }
            assert_true(same);
            ++k;
        }
    assert_int_equal(k, list.count);
    assert_true(k > 10);
    free_detections(dets, count);
    found_list_free(&list);
}

static void yolo_boxes_equal_the_hosts_stretched_and_letterboxed(void **state)
{
    (void)state;
    static const float anchors[8] = {10, 13, 33, 23, 62, 45, 59, 119};
    for (int letterbox = 0; letterbox < 2; ++letterbox) {
        int mask[2] = {1, 3};   /* free_layer leaves it alone */
        layer l = make_yolo_layer(2, 5, 4, 2, 4, mask, 3);
        memcpy(l.biases, anchors, sizeof anchors);
        compare_decoding(l, letterbox);
        free_layer(l);
    }
}

static void region_boxes_of_any_image_equal_the_hosts(void **state)
{
    (void)state;
    for (int letterbox = 0; letterbox < 2; ++letterbox) {
        layer l = make_region_layer(2, 5, 4, 2, 3, 4);
        for (int i = 0; i < 4; ++i) l.biases[i] = .7f * (float)(i + 1);
        compare_decoding(l, letterbox);
        free_layer(l);
    }
}

static void detection_boxes_of_any_image_equal_the_hosts(void **state)
{
    (void)state;
    layer l = make_detection_layer(2, 4 * 4 * (3 + 2 * 5), 2, 4, 3, 4, 0);
    l.sqrt = 1;
    compare_decoding(l, 0);
    free_layer(l);
}

/* Whole evaluations */

static char *folder;

static char *in_folder(const char *name)
{
    char *path = prune_path_join(folder, name);
    assert_non_null(path);
    return path;
}

static void write_text(const char *name, const char *text)
{
    char *path = in_folder(name);
    struct prune_status st;
    assert_int_equal(prune_write_file(path, text, strlen(text), &st), PRUNE_OK);
    free(path);
}

/* A flat picture. */
static void write_picture(const char *name, int w, int h, float r, float g, float b)
{
    image im = make_image(w, h, 3);
    const float colour[3] = {r, g, b};
    for (int i = 0; i < 3 * w * h; ++i) im.data[i] = colour[i / (w * h)];
    char *path = in_folder(name);
    save_image_options(im, path, PNG, 0);
    free(path);
    free_image(im);
}

/* name=value lines whose values are paths in the folder get the folder in front. */
static char *write_data(const char *name, int classes, const char *list, const char *names)
{
    char *data = in_folder(name), *text = prune_format("classes=%d\nvalid=%s/%s\ntrain=%s/%s\nnames=%s/%s\n", classes, folder, list, folder, list, folder, names);
    struct prune_status st;
    assert_int_equal(prune_write_file(data, text, strlen(text), &st), PRUNE_OK);
    free(text);
    return data;
}

static void write_list(const char *name, const char *const *pictures, int n)
{
    char *text = prune_format("%s", "");
    for (int i = 0; i < n; ++i) {
        char *longer = prune_format("%s%s/%s.png\n", text, folder, pictures[i]);
        free(text);
        text = longer;
    }
    write_text(name, text);
    free(text);
}

static network *open_net(const char *cfg, int batch)
{
    write_text("net.cfg", cfg);
    char *path = in_folder("net.cfg");
    network *net = parse_network_cfg(path);
    free(path);
    assert_int_equal(net->batch, batch);
    return net;
}

/* Softmax over the mean red, green and blue of a picture. */
static network *colour_net(void)
{
    network *net = open_net("[net]\nbatch=3\nwidth=8\nheight=8\nchannels=3\n\n[convolutional]\nfilters=3\nsize=1\nstride=1\nactivation=linear\n\n"
                            "[avgpool]\n\n[softmax]\n", 3);
    layer *l = &net->layers[0];
    for (int i = 0; i < 9; ++i) l->weights[i] = i % 4 == 0;
    for (int i = 0; i < 3; ++i) l->biases[i] = 0;
    return net;
}

static const char *const colours[] = {"1_red", "2_green", "3_blue", "4_red", "5_green", "6_blue", "7_red"};

static struct prune_image_set colour_set(char **data)
{
    write_picture("1_red", 8, 8, 1, 0, 0);
    write_picture("2_green", 8, 8, 0, 1, 0);
    write_picture("3_blue", 8, 8, 0, 0, 1);
    write_picture("4_red", 8, 8, 0, 1, 0);     /* a green one that says red */
    write_picture("5_green", 8, 8, .2f, 1, .4f);
    write_picture("6_blue", 8, 8, 0, 0, 1);
    write_picture("7_red", 8, 8, 1, 1, 1);     /* a tie: the first class wins */
    write_list("colours.txt", colours, 7);
    write_text("colours.names", "red\ngreen\nblue\n");
    *data = write_data("colours.data", 3, "colours.txt", "colours.names");
    return (struct prune_image_set){.data_path = *data, .role = PRUNE_DATA_VALID};
}

static void a_classifier_gets_loss_and_top_k_over_a_list_that_is_no_multiple_of_the_batch(void **state)
{
    (void)state;
    char *data;
    struct prune_image_set set = colour_set(&data);
    network *net = colour_net();
    net->train = 1;
    struct prune_evaluation e;
    struct prune_status st = {0};
    if (evaluate_network(net, &set, 2, &e, &st)) fail_msg("%s", st.message);
    assert_int_equal(e.images, 7);
    assert_near(e.top1, 6. / 7, 1e-12);
    assert_near(e.top5, 1, 0);
    double right = log(1 + 2 * exp(-1)), wrong = 1 + right, fifth = log(1 + exp(-.8) + exp(-.6)), tie = log(3);
    assert_near(e.loss, (4 * right + wrong + fifth + tie) / 7, 1e-6);
    assert_true(isnan(e.map50) && isnan(e.map) && !e.ap50 && !e.ap);
    assert_int_equal(e.classes, 3);
    assert_true(e.seconds > 0);
    assert_int_equal(net->batch, 3);
    assert_int_equal(net->layers[2].batch, 3);
    assert_int_equal(net->train, 1);
    assert_null(host_context()->image_loss);
    set.limit = 4;
    assert_int_equal(evaluate_network(net, &set, 1, &e, &st), PRUNE_OK);
    assert_int_equal(e.images, 4);
    assert_near(e.top1, 3. / 4, 1e-12);
    prune_evaluation_release(&e);
    free_network(net);
    free(data);
}

static void an_evaluation_after_the_weights_changed_is_that_of_a_new_network(void **state)
{
    (void)state;
    char *data;
    struct prune_image_set set = colour_set(&data);
    network *net = colour_net(), *fresh = colour_net();
    struct prune_evaluation before, after, wanted;
    struct prune_status st = {0};
    assert_int_equal(evaluate_network(net, &set, 1, &before, &st), PRUNE_OK);
    for (int i = 0; i < 9; ++i) net->layers[0].weights[i] = fresh->layers[0].weights[i] = .1f * (float)(i * i % 7);
    assert_int_equal(evaluate_network(net, &set, 1, &after, &st), PRUNE_OK);
    assert_int_equal(evaluate_network(fresh, &set, 1, &wanted, &st), PRUNE_OK);
    assert_true(fabs(after.loss - before.loss) > .01);
    assert_near(after.loss, wanted.loss, 0);
    free_network(net);
    free_network(fresh);
    free(data);
}

static void predictions_of_a_classifier_are_lines_of_four_columns(void **state)
{
    (void)state;
    char *data, *path = in_folder("predictions.tsv"), *bytes;
    struct prune_image_set set = colour_set(&data);
    network *net = colour_net();
    struct prune_status st = {0};
    if (evaluate_write_predictions(net, &set, 1, path, &st)) fail_msg("%s", st.message);
    size_t size;
    assert_int_equal(prune_read_file(path, &bytes, &size, &st), PRUNE_OK);
    int lines = 0, wrong = 0;
    for (char *line = strtok(bytes, "\n"); line; line = strtok(NULL, "\n"), ++lines) {
        char picture[512];
        int truth, predicted;
        double probability;
        if (!lines) {
            assert_string_equal(line, "image\tclass\tpredicted\tprobability");
            continue;
        }
        assert_int_equal(sscanf(line, "%511s\t%d\t%d\t%lf", picture, &truth, &predicted, &probability), 4);
        assert_non_null(strstr(picture, colours[lines - 1]));
        assert_int_equal(truth, (lines - 1) % 3);
        wrong += truth != predicted;
        assert_true(probability > .3 && probability < .6);
    }
    assert_int_equal(lines, 8);
    assert_int_equal(wrong, 1);
    free(bytes);
    free(path);
    free_network(net);
    free(data);
}

static void a_classifier_that_gives_nan_is_never_right(void **state)
{
    (void)state;
    char *data;
    struct prune_image_set set = colour_set(&data);
    network *net = colour_net();
    net->layers[0].biases[1] = NAN;
    struct prune_evaluation e;
    struct prune_status st = {0};
    assert_int_equal(evaluate_network(net, &set, 1, &e, &st), PRUNE_OK);
    assert_near(e.top1, 0, 0);
    assert_near(e.top5, 0, 0);
    assert_true(isnan(e.loss));
    free_network(net);
    free(data);
}

static void another_number_of_classes_than_the_networks_is_refused(void **state)
{
    (void)state;
    char *data;
    struct prune_image_set set = colour_set(&data);
    free(data);
    set.data_path = data = write_data("wrong.data", 2, "colours.txt", "colours.names");
    network *net = colour_net();
    struct prune_evaluation e = {.images = 123};
    struct prune_status st = {0};
    assert_int_equal(evaluate_network(net, &set, 1, &e, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "classes=2"));
    assert_int_equal(e.images, 123);
    free_network(net);
    free(data);
}

/* One predictor, the same box whatever the image: centre, 2 x 2 pixels of 8, objectness 3, classes 2 and -2 before the logistic. */
static network *box_net(void)
{
    network *net = open_net("[net]\nbatch=2\nwidth=8\nheight=8\nchannels=3\n\n[convolutional]\nfilters=7\nsize=8\nstride=8\nactivation=linear\n\n"
                            "[yolo]\nmask=0\nanchors=2,2\nclasses=2\nnum=1\nignore_thresh=.5\ntruth_thresh=1\n", 2);
    layer *l = &net->layers[0];
    for (int i = 0; i < l->nweights; ++i) l->weights[i] = 0;
    memcpy(l->biases, (float[]){0, 0, 0, 0, 3, 2, -2}, 7 * sizeof(float));
    return net;
}

static double softplus_of(double x)
{
    return log1p(exp(x));
}

static void a_detector_gets_average_precision_per_class_and_its_loss(void **state)
{
    (void)state;
    static const char *const pictures[] = {"a", "b", "c"};
    for (int i = 0; i < 3; ++i) write_picture(pictures[i], 8, 8, .5f, .5f, .5f);
    write_list("boxes.txt", pictures, 3);
    write_text("boxes.names", "one\ntwo\n");
    write_text("a.txt", "0 0.5 0.5 0.25 0.25\n");
    write_text("b.txt", "0 0.1 0.1 0.1 0.1\n1 0.5 0.5 0.25 0.155\n");   /* overlap 0.62 */
    write_text("c.txt", "");
    char *data = write_data("boxes.data", 2, "boxes.txt", "boxes.names");
    struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_VALID};
    network *net = box_net();
    struct prune_evaluation e;
    struct prune_status st = {0};
    if (evaluate_network(net, &set, 2, &e, &st)) fail_msg("%s", st.message);
    assert_int_equal(e.images, 3);
    assert_int_equal(e.classes, 2);
    assert_near(e.ap50[0], .5, 1e-12);        /* + - - of two truths: recall ends at a half */
    assert_near(e.ap[0], .5, 1e-12);
    assert_near(e.ap50[1], .5, 1e-12);        /* - + - of one */
    assert_near(e.ap[1], .15, 1e-12);         /* at .5, .55 and .6 */
    assert_near(e.map50, .5, 1e-12);
    assert_near(e.map, .325, 1e-12);
    assert_true(isnan(e.top1) && isnan(e.top5));
    prune_evaluation_release(&e);
    set.limit = 1;                            /* the box fits exactly: objectness and classes are all that costs */
    assert_int_equal(evaluate_network(net, &set, 1, &e, &st), PRUNE_OK);
    assert_near(e.loss, softplus_of(-3) + softplus_of(-2) + softplus_of(-2), 1e-6);
    prune_evaluation_release(&e);
    set.limit = 0;

    char *labels = in_folder("b.txt");
    unlink(labels);
    assert_int_equal(evaluate_network(net, &set, 1, &e, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, labels));
    assert_int_equal(net->batch, 2);
    assert_null(host_context()->image_loss);
    free(labels);
    free_network(net);
    free(data);
}

static void letterboxed_evaluation_judges_boxes_in_the_image(void **state)
{
    (void)state;
    static const char *const pictures[] = {"wide"};
    write_picture("wide", 32, 8, .5f, .5f, .5f);
    write_list("wide.txt.list", pictures, 1);
    write_text("boxes.names", "one\ntwo\n");
    write_text("wide.txt", "0 0.5 0.5 0.25 1\n");   /* 8 x 8 pixels of 32 x 8: a square of the letterboxed input */
    char *data = write_data("wide.data", 2, "wide.txt.list", "boxes.names");
    struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_VALID, .letterbox = 1};
    network *net = box_net();
    struct prune_evaluation e;
    struct prune_status st = {0};
    if (evaluate_network(net, &set, 1, &e, &st)) fail_msg("%s", st.message);
    assert_near(e.map, 1, 1e-12);
    prune_evaluation_release(&e);
    set.letterbox = 0;
    assert_int_equal(evaluate_network(net, &set, 1, &e, &st), PRUNE_OK);
    assert_near(e.map50, 0, 0);
    prune_evaluation_release(&e);

    char *path = in_folder("boxes.tsv"), *bytes;
    size_t size;
    set.letterbox = 1;
    assert_int_equal(evaluate_write_predictions(net, &set, 1, path, &st), PRUNE_OK);
    assert_int_equal(prune_read_file(path, &bytes, &size, &st), PRUNE_OK);
    assert_int_equal(strncmp(bytes, "image\tclass\tscore\tx\ty\tw\th\n", 26), 0);
    char picture[512];
    int id;
    double score, x, y, w, h;
    assert_int_equal(sscanf(strchr(bytes, '\n') + 1, "%511s\t%d\t%lf\t%lf\t%lf\t%lf\t%lf", picture, &id, &score, &x, &y, &w, &h), 7);
    assert_int_equal(id, 0);
    assert_near(score, 1 / (1 + exp(-3)) / (1 + exp(-2)), 1e-6);
    assert_near(x, .5, 1e-6);
    assert_near(y, .5, 1e-6);
    assert_near(w, .25, 1e-6);
    assert_near(h, 1, 1e-6);
    free(bytes);
    free(path);
    free_network(net);
    free(data);
}

/* Published networks */

static char *real(const char *name)
{
    const char *root = getenv("PRUNE_DATA");
    if (!root) {
        print_message("skip: PRUNE_DATA is unset, no published network is evaluated\n");
        skip();
    }
    char *path = prune_path_join(root, name);
    assert_non_null(path);
    return path;
}

static struct prune_evaluation evaluate_published(const char *data, const char *cfg, const char *weights, int batch, size_t limit)
{
    char *d = real(data), *c = real(cfg), *w = real(weights);
    network *net = parse_network_cfg(c);
    load_weights(net, w);
    set_batch_network(net, batch);
    struct prune_image_set set = {.data_path = d, .role = PRUNE_DATA_VALID, .limit = limit};
    struct prune_evaluation e;
    struct prune_status st = {0};
    if (evaluate_network(net, &set, host_context()->threads, &e, &st)) fail_msg("%s", st.message);
    free_network(net);
    free(d);
    free(c);
    free(w);
    return e;
}

static void resnet20_has_its_published_accuracy(void **state)
{
    (void)state;
    struct prune_evaluation e = evaluate_published("cifar10/cifar10.data", "weights/resnet-cifar10/resnet20.cfg", "weights/resnet-cifar10/resnet20.weights", 128, 0);
    assert_int_equal(e.images, 10000);
    assert_near(e.top1, .9173, .00021);
    assert_near(e.top5, .9966, .00051);
    assert_near(e.loss, .372674, 1e-4);
}

static void yolo_fastest_has_its_recorded_mean_average_precision(void **state)
{
    (void)state;
    struct prune_evaluation e = evaluate_published("coco416/coco416.data", "weights/yolo-fastest/yolo-fastest-1.1.cfg", "weights/yolo-fastest/yolo-fastest-1.1.weights", 8, 0);
    assert_int_equal(e.images, 287);
    assert_near(e.map50, .302, .01);
    assert_near(e.map50, .30434, .002);
    assert_near(e.map, .12752, .002);
    assert_true(e.loss > 1 && e.loss < 1000);
    prune_evaluation_release(&e);
}

static int make_folder(void **state)
{
    (void)state;
    static char name[] = "/tmp/prune-evaluate-XXXXXX";
    folder = mkdtemp(name);
    return folder ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char *command = prune_format("rm -r '%s'", folder);
    int status = system(command);
    free(command);
    return status;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(average_precision_is_the_area_under_the_monotone_curve),
        cmocka_unit_test(a_truth_is_found_once_and_only_in_its_own_image_and_class),
        cmocka_unit_test(a_box_takes_the_free_truth_it_overlaps_most),
        cmocka_unit_test(suppression_keeps_the_best_of_each_class_and_other_images),
        cmocka_unit_test(letterboxed_boxes_come_back_to_the_image),
        cmocka_unit_test(yolo_boxes_equal_the_hosts_stretched_and_letterboxed),
        cmocka_unit_test(region_boxes_of_any_image_equal_the_hosts),
        cmocka_unit_test(detection_boxes_of_any_image_equal_the_hosts),
        cmocka_unit_test(a_classifier_gets_loss_and_top_k_over_a_list_that_is_no_multiple_of_the_batch),
        cmocka_unit_test(an_evaluation_after_the_weights_changed_is_that_of_a_new_network),
        cmocka_unit_test(predictions_of_a_classifier_are_lines_of_four_columns),
        cmocka_unit_test(a_classifier_that_gives_nan_is_never_right),
        cmocka_unit_test(another_number_of_classes_than_the_networks_is_refused),
        cmocka_unit_test(a_detector_gets_average_precision_per_class_and_its_loss),
        cmocka_unit_test(letterboxed_evaluation_judges_boxes_in_the_image),
        cmocka_unit_test(resnet20_has_its_published_accuracy),
        cmocka_unit_test(yolo_fastest_has_its_recorded_mean_average_precision),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
