/* Detectors behind plugin/host.h: a region network learns, is scored on the loss that evaluate reports, and a head without a loss is refused by name. */
#include "host_fixture.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const char BODY[] =
    "[net]\nbatch=4\nsubdivisions=1\nwidth=64\nheight=64\nchannels=3\nmomentum=0.9\ndecay=0.0005\nlearning_rate=.001\npolicy=constant\nmax_batches=1000\n\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=leaky\n\n"
    "[convolutional]\nbatch_normalize=1\nfilters=16\nsize=3\nstride=2\npad=1\nactivation=leaky\n\n"
    "%s";
/* 2 anchors of 5 + 2 numbers, in cells of 8 pixels */
static const char REGION_HEAD[] = "[convolutional]\nfilters=14\nsize=1\nstride=1\npad=1\nactivation=linear\n\n"
                                  "[region]\nanchors=2.5,1.5, 1.5,2.5\nclasses=2\ncoords=4\nnum=2\nbias_match=1\nsoftmax=1\nrescore=1\njitter=.1\nthresh=.6\n"
                                  "object_scale=5\nnoobject_scale=1\nclass_scale=1\ncoord_scale=1\nbackground=%d\n";
static const char DETECTION_HEAD[] = "[connected]\noutput=12\nactivation=linear\n\n[detection]\nclasses=2\ncoords=4\nnum=2\nside=1\nsqrt=1\njitter=.1\n"
                                     "object_scale=1\nnoobject_scale=.5\nclass_scale=1\ncoord_scale=5\n";
static const char TWO_BOXES[] = "[yolo]\nmask=0,1\nanchors=20,12, 12,20\nclasses=2\nnum=2\njitter=.2\nignore_thresh=.5\ntruth_thresh=1\nrandom=0\n";

static const char *cfg_with(const char *name, const char *head)
{
    return write_text(name, BODY, head);
}

static const char *region_cfg(int background)
{
    char head[1024];
    snprintf(head, sizeof head, REGION_HEAD, background);
    return cfg_with(background ? "background.cfg" : "region.cfg", head);
}

struct heard { double loss, top; size_t images; };

static enum prune_code listen(void *user, const struct prune_signals *s, struct prune_status *st)
{
    struct heard *h = user;
    const double *g = s->gate_batch.data;
    (void)st;
    h->loss += s->loss * (double)s->images;
    h->images += s->images;
    for (size_t u = 0; u < s->units; u++) h->top = fmax(h->top, fabs(g[u]));
    return PRUNE_OK;
}

static enum prune_code score(struct prune_host_net *net, const char *data, struct heard *h, struct prune_status *st)
{
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
    *h = (struct heard){0};
    return host()->score(net, &set, &(struct prune_score_options){.minibatch = 5, .signals = PRUNE_SIGNAL_GATE_BATCH}, listen, h, st);
}

struct shut { double base, loss; };

static enum prune_code add_base(void *user, const struct prune_perturbed *piece, struct prune_status *st)
{
    struct shut *s = user;
    (void)st;
    for (size_t b = 0; b < piece->images; b++) {
        s->base += piece->base[b] / BOX_IMAGES;
        s->loss += (double)piece->loss[b] / BOX_IMAGES;
    }
    return PRUNE_OK;
}

/* The loss without a unit, by perturb and by evaluate with its gate shut. */
static void perturbed_as_evaluated(struct prune_host_net *net, const char *data, size_t units, double base)
{
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
    struct prune_status st = {0};
    struct shut s = {0};
    float z[MOST_UNITS];
    int unit = (int)units / 2;
    const struct prune_candidates one = {.units = &unit, .first = (size_t[]){0, 1}, .z = (float[]){0}, .count = 1};
    ok(host()->perturb(net, &set, &one, false, add_base, &s, &st), &st);
    for (size_t u = 0; u < units; u++) z[u] = (int)u != unit;
    ok(host()->gates_set(net, z, units, &st), &st);
    double shut = evaluated_boxes(net, data);
    assert_true(fabs(s.base - base) <= 1e-5 * base);
    assert_true(fabs(shut - base) > 1e-4 * base);
    if (fabs(shut - s.loss) > 1e-5 * shut) fail_msg("perturb %.9g, evaluate with the gate shut %.9g", s.loss, shut);
}

static void score_and_evaluate_report_the_same_loss_of_a_detector(void **state)
{
    (void)state;
    char yolo[512] = "[convolutional]\nfilters=14\nsize=1\nstride=1\npad=1\nactivation=linear\n\n";
    strcat(yolo, TWO_BOXES);
    const char *const cfgs[] = {region_cfg(0), cfg_with("yolo.cfg", yolo)}, *data = make_detector_data();
    for (int k = 0; k < 2; k++) {
        struct prune_status st = {0};
        struct prune_host_net *net = open_net(cfgs[k], NULL, 0);
        struct heard h;
        train_some(net, data, 10);
        host()->train_stop(net);
        size_t units = attach_all(net, cfgs[k]);
        ok(score(net, data, &h, &st), &st);
        assert_int_equal(h.images, BOX_IMAGES);
        assert_true(h.top > 1e-3);
        double loss = h.loss / BOX_IMAGES;
        assert_true(loss > .1);
        if (fabs(evaluated_boxes(net, data) - loss) > 1e-5 * loss) fail_msg("%s: evaluate %.9g, score %.9g", cfgs[k], evaluated_boxes(net, data), loss);
        perturbed_as_evaluated(net, data, units, loss);
        host()->close(net);
    }
}

static void a_region_network_learns(void **state)
{
    (void)state;
    const char *data = make_detector_data(), *cfg = region_cfg(0);
    struct prune_host_net *net = open_net(cfg, NULL, 0);
    train_some(net, data, 5);
    host()->train_stop(net);
    double early = evaluated_boxes(net, data);
    train_some(net, data, 150);
    host()->train_stop(net);
    double late = evaluated_boxes(net, data);
    if (!(late < .5 * early)) fail_msg("loss %.5g after 5 steps, %.5g after 155", early, late);
    host()->close(net);
}

static void a_head_without_a_loss_is_refused_by_name(void **state)
{
    (void)state;
    const char *const cfgs[] = {region_cfg(1), cfg_with("detection.cfg", DETECTION_HEAD)}, *data = make_detector_data();
    static const char *const wanted[] = {"the [region] head (layer 4) has no loss to measure: with background=1", "the [detection] head (layer 4) has no loss to measure"};
    for (int k = 0; k < 2; k++) {
        struct prune_status st = {0};
        struct heard h;
        struct prune_host_net *net = open_net(cfgs[k], NULL, 0);
        attach_all(net, cfgs[k]);
        assert_int_equal(score(net, data, &h, &st), PRUNE_FAILED);
        if (!strstr(st.message, wanted[k])) fail_msg("'%s' does not hold '%s'", st.message, wanted[k]);
        int unit = 0;
        const struct prune_candidates one = {.units = &unit, .first = (size_t[]){0, 1}, .z = (float[]){0}, .count = 1};
        const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
        assert_int_equal(host()->perturb(net, &set, &one, false, add_base, NULL, &st), PRUNE_FAILED);
        if (!strstr(st.message, wanted[k])) fail_msg("'%s' does not hold '%s'", st.message, wanted[k]);
        assert_true(isnan(evaluated_boxes(net, data)));
        host()->close(net);
    }
}

enum { CHOSEN = 24, SIZES = 3 };
struct slopes { double loss[CHOSEN * SIZES * 2], gradient[CHOSEN * SIZES * 2]; size_t count; };

static enum prune_code add_slopes(void *user, const struct prune_perturbed *piece, struct prune_status *st)
{
    struct slopes *s = user;
    (void)st;
    for (size_t k = 0; k < s->count; k++) {
        s->gradient[k] += piece->gradient[k];
        for (size_t b = 0; b < piece->images; b++) s->loss[k] += (double)piece->loss[k * piece->images + b];
    }
    return PRUNE_OK;
}

/* A published detector on two photographs. Kinks of relu and jumps of the loss spoil single differences: one of three steps must agree with the mean of the
 * gradients at its ends to 5%, for 22 of 24 units. */
static void gradients_of_a_published_detector_equal_differences(void **state)
{
    (void)state;
    static const float steps[SIZES] = {3e-2f, 1e-2f, 3e-3f};
    const char *root = getenv("PRUNE_DATA");
    if (!root) skip();
    char cfg[512], weights[512], data[512];
    snprintf(cfg, sizeof cfg, "%s/weights/yolo-fastest/yolo-fastest-1.1.cfg", root);
    snprintf(weights, sizeof weights, "%s/weights/yolo-fastest/yolo-fastest-1.1.weights", root);
    snprintf(data, sizeof data, "%s/coco416/coco416.data", root);
    if (access(cfg, R_OK) || access(data, R_OK)) skip();
    struct prune_status st = {0};
    struct prune_host_net *net = open_net(cfg, weights, 2);
    const int units = (int)attach_any(net, cfg);
    int chosen[CHOSEN * SIZES * 2], agree = 0;
    float z[CHOSEN * SIZES * 2];
    size_t first[CHOSEN * SIZES * 2 + 1] = {0};
    struct slopes s = {.count = CHOSEN * SIZES * 2};
    for (size_t k = 0; k < s.count; k++) {
        chosen[k] = (int)(k / (SIZES * 2)) * units / CHOSEN;
        z[k] = 1 + (k % 2 ? -1 : 1) * steps[k / 2 % SIZES];
        first[k + 1] = k + 1;
    }
    const struct prune_candidates all = {.units = chosen, .first = first, .z = z, .count = s.count};
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_VALID, .limit = 2};
    ok(host()->perturb(net, &set, &all, true, add_slopes, &s, &st), &st);
    for (int i = 0; i < CHOSEN; i++) {
        bool close = false;
        for (size_t k = (size_t)i * SIZES * 2; k < (size_t)(i + 1) * SIZES * 2; k += 2) {
            double slope = (s.loss[k] - s.loss[k + 1]) / ((double)z[k] - (double)z[k + 1]), mean = .5 * (s.gradient[k] + s.gradient[k + 1]);
            close = close || fabs(slope - mean) <= fmax(.05 * fabs(mean), .02);
        }
        agree += close;
    }
    host()->close(net);
    if (agree < 22) fail_msg("%d of %d units agree with differences of the loss", agree, CHOSEN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(score_and_evaluate_report_the_same_loss_of_a_detector),
        TEST(a_region_network_learns),
        TEST(gradients_of_a_published_detector_equal_differences),
        TEST(a_head_without_a_loss_is_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
