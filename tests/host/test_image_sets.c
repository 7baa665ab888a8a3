/* Image sets of the pruning host: `first` and `limit` cut any pass into pieces that give the same numbers; a drawn set holds the images of training,
 * each the same whatever the batch and wherever the set begins. */
#include "host_fixture.h"

#include <math.h>

#include "../../darknet/host_net.h"

enum { PIXELS = 3 * SIDE * SIDE, MOST_IMAGES = 64 };

static const struct prune_open_options BIG = {.threads = 2, .seed = 3, .batch = 12, .quiet = true}, SMALL = {.threads = 1, .seed = 3, .batch = 5, .quiet = true};

static struct pair make_pair(void)
{
    return trained_classifier(make_classifier_cfg("net.cfg", 8, 1, .05, 1000));
}

static struct prune_host_net *open_gated(const struct pair *p, const struct prune_open_options *o)
{
    struct prune_host_net *net = open_with(p->cfg, p->weights, o);
    attach_all(net, p->cfg);
    return net;
}

static struct prune_image_set set_of(const struct pair *p, size_t first, size_t limit, bool drawn)
{
    return (struct prune_image_set){.data_path = p->data, .role = PRUNE_DATA_TRAIN, .first = first, .limit = limit, .drawn = drawn};
}

/* Gate gradients of each image, (images, units), and losses of the minibatches, one image each. */
struct heard { size_t images; float gates[MOST_IMAGES][MOST_UNITS]; double loss[MOST_IMAGES]; };

static enum prune_code listen(void *user, const struct prune_signals *s, struct prune_status *st)
{
    struct heard *h = user;
    (void)st;
    assert_int_equal(s->images, 1);
    assert_in_range(h->images, 0, MOST_IMAGES - 1);
    memcpy(h->gates[h->images], s->gate_image.data, s->units * sizeof(float));
    h->loss[h->images++] = s->loss;
    return PRUNE_OK;
}

static void score(struct prune_host_net *net, struct prune_image_set set, struct heard *h)
{
    const struct prune_score_options o = {.minibatch = 1, .signals = PRUNE_SIGNAL_GATE_IMAGE};
    struct prune_status st = {0};
    ok(host()->score(net, &set, &o, listen, h, &st), &st);
}

static void assert_pieces_make_the_whole(const struct pair *p, bool drawn, size_t images)
{
    struct heard whole = {0}, pieces = {0};
    struct prune_host_net *a = open_gated(p, &BIG), *b = open_gated(p, &SMALL);
    score(a, set_of(p, 0, images, drawn), &whole);
    score(b, set_of(p, 0, 11, drawn), &pieces);
    score(b, set_of(p, 11, images - 11, drawn), &pieces);
    assert_int_equal(whole.images, images);
    assert_int_equal(pieces.images, images);
    double top = 0;
    for (size_t i = 0; i < images; i++)
        for (int u = 0; u < MOST_UNITS; u++) top = fmax(top, fabs((double)whole.gates[i][u]));
    for (size_t i = 0; i < images; i++) {
        assert_true(fabs(whole.loss[i] - pieces.loss[i]) <= 1e-5 * (1 + whole.loss[i]));
        for (int u = 0; u < MOST_UNITS; u++) assert_true(fabs((double)(whole.gates[i][u] - pieces.gates[i][u])) <= 1e-5 * top);
    }
    host()->close(a);
    host()->close(b);
}

static void pieces_of_a_list_make_the_whole(void **state)
{
    (void)state;
    struct pair p = make_pair();
    assert_pieces_make_the_whole(&p, false, IMAGES);
}

static void pieces_of_a_drawn_set_make_the_whole_and_go_round(void **state)
{
    (void)state;
    struct pair p = make_pair();
    assert_pieces_make_the_whole(&p, true, IMAGES + 10);
}

static void the_rest_of_a_list_is_what_first_leaves(void **state)
{
    (void)state;
    struct pair p = make_pair();
    struct prune_host_net *net = open_gated(&p, &SMALL);
    struct heard h = {0};
    score(net, set_of(&p, 26, 0, false), &h);
    assert_int_equal(h.images, IMAGES - 26);
    h.images = 0;
    score(net, set_of(&p, 26, 100, false), &h);
    assert_int_equal(h.images, IMAGES - 26);
    h.images = 0;
    score(net, set_of(&p, IMAGES + 26, 0, true), &h);
    assert_int_equal(h.images, IMAGES - 26);
    host()->close(net);
}

static void load(struct prune_host_net *net, struct prune_image_set set, size_t n, float *input)
{
    struct prune_status st = {0};
    size_t got = 0;
    ok(host()->load_images(net, &set, n, input, &got, &st), &st);
    assert_int_equal(got, n);
}

static void drawn_images_are_those_of_training(void **state)
{
    (void)state;
    static float drawn[16 * PIXELS], later[8 * PIXELS], plain[8 * PIXELS];
    struct pair p = make_pair();
    struct prune_host_net *net = open_net(p.cfg, p.weights, 0);
    load(net, set_of(&p, 0, 0, true), 16, drawn);
    load(net, set_of(&p, 8, 0, true), 8, later);
    load(net, set_of(&p, 0, 0, false), 8, plain);
    assert_memory_equal(drawn + 8 * PIXELS, later, sizeof later);
    assert_memory_not_equal(drawn, plain, sizeof plain);
    for (int step = 1; step <= 2; step++) {
        host()->train_stop(net);
        train_some(net, p.data, step);
        assert_memory_equal(net->open.net->input, drawn + (step - 1) * 8 * PIXELS, 8 * PIXELS * sizeof(float));
    }
    host()->close(net);
}

static void evaluation_and_scoring_see_the_same_images(void **state)
{
    (void)state;
    struct pair p = make_pair();
    struct prune_host_net *net = open_gated(&p, &BIG);
    double losses[2];
    for (int drawn = 0; drawn < 2; drawn++) {
        struct heard h = {0};
        double sum = 0;
        score(net, set_of(&p, 4, 14, drawn), &h);
        for (int i = 0; i < 14; i++) sum += h.loss[i];
        losses[drawn] = evaluated_set(net, set_of(&p, 4, 14, drawn), 14);
        assert_true(fabs(losses[drawn] - sum / 14) <= 1e-5 * losses[drawn]);
    }
    assert_true(fabs(losses[0] - losses[1]) > 1e-3 * losses[0]);
    host()->close(net);
}

static void recalibrated(const struct pair *p, struct prune_image_set set, float *mean)
{
    struct prune_status st = {0};
    struct prune_host_net *net = open_net(p->cfg, p->weights, 0);
    ok(host()->recalibrate(net, &set, 16, &st), &st);
    memcpy(mean, net->open.net->layers[0].rolling_mean, 6 * sizeof *mean);
    host()->close(net);
}

static void recalibration_begins_at_the_first_drawn_image(void **state)
{
    (void)state;
    struct pair p = make_pair();
    float undrawn[6], drawn[6], later[6];
    recalibrated(&p, set_of(&p, 0, 0, false), undrawn);
    recalibrated(&p, set_of(&p, 0, 0, true), drawn);
    recalibrated(&p, set_of(&p, 16, 0, true), later);
    assert_memory_equal(undrawn, drawn, sizeof drawn);
    assert_memory_not_equal(drawn, later, sizeof later);
}

static void sets_that_hold_nothing_are_refused(void **state)
{
    (void)state;
    struct pair p = make_pair();
    struct prune_host_net *net = open_net(p.cfg, p.weights, 0);
    struct prune_image_set set = set_of(&p, IMAGES, 0, false);
    struct prune_evaluation e;
    struct prune_status st = {0};
    assert_int_equal(host()->evaluate(net, &set, &e, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "images from 31 on are asked for"));
    assert_non_null(strstr(st.message, "holds 30"));
    host()->close(net);
    net = open_net(make_detector_cfg("det.cfg", .01, 100, 0), NULL, 0);
    set = (struct prune_image_set){.data_path = make_detector_data(), .role = PRUNE_DATA_TRAIN, .drawn = true};
    assert_int_equal(host()->evaluate(net, &set, &e, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "evaluate a detector on images as they are"));
    host()->close(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_of_a_list_make_the_whole),
        cmocka_unit_test(pieces_of_a_drawn_set_make_the_whole_and_go_round),
        cmocka_unit_test(the_rest_of_a_list_is_what_first_leaves),
        cmocka_unit_test(drawn_images_are_those_of_training),
        cmocka_unit_test(evaluation_and_scoring_see_the_same_images),
        cmocka_unit_test(recalibration_begins_at_the_first_drawn_image),
        cmocka_unit_test(sets_that_hold_nothing_are_refused),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
