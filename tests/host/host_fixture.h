/* What the tests of the pruning host share: the host, a small network opened with gates on all its units, and one that has learnt a little. */
#ifndef TESTS_HOST_FIXTURE_H
#define TESTS_HOST_FIXTURE_H

#include "training_fixture.h"

#include "../../darknet/host_pjreddie.h"
#include "../../plugin/model/net_shape.h"
#include "../../plugin/units/units.h"

enum { MOST_UNITS = 64 };

__attribute__((unused)) static const struct prune_host *host(void) { return darknet_host(); }

__attribute__((unused)) static void ok(enum prune_code rc, const struct prune_status *st)
{
    if (rc) fail_msg("%s", st->message);
}

__attribute__((unused)) static struct prune_host_net *open_with(const char *cfg, const char *weights, const struct prune_open_options *o)
{
    struct prune_host_net *net = NULL;
    struct prune_status st = {0};
    ok(host()->open(NULL, cfg, weights, o, &net, &st), &st);
    return net;
}

__attribute__((unused)) static struct prune_host_net *open_net(const char *cfg, const char *weights, int batch)
{
    return open_with(cfg, weights, &(struct prune_open_options){.threads = 2, .seed = 3, .batch = batch, .quiet = true});
}

__attribute__((unused)) static size_t weights_of(const layer *l) { return l->type == CONNECTED ? (size_t)l->inputs * (size_t)l->outputs : (size_t)l->nweights; }

__attribute__((unused)) static size_t attach_any(struct prune_host_net *net, const char *cfg_path)
{
    struct prune_cfg cfg;
    struct prune_net shape;
    struct prune_units units;
    struct prune_status st = {0};
    ok(prune_net_read(&cfg, &shape, cfg_path, &st), &st);
    ok(prune_units_build(&units, &shape, &st), &st);
    ok(host()->gates_attach(net, units.sites, units.site_count, units.count, &st), &st);
    size_t count = units.count;
    prune_units_free(&units);
    prune_net_free(&shape);
    prune_cfg_free(&cfg);
    return count;
}

/* The same for networks of few units, which arrays of MOST_UNITS hold. */
__attribute__((unused)) static size_t attach_all(struct prune_host_net *net, const char *cfg_path)
{
    size_t count = attach_any(net, cfg_path);
    assert_in_range(count, 4, MOST_UNITS);
    return count;
}

/* A network that has learnt a little: statistics and momentum are not those of a fresh one. */
__attribute__((unused)) static void train_some(struct prune_host_net *net, const char *data, int steps)
{
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
    const struct prune_step_options o = {.rate = .02, .momentum = .9, .decay = 5e-4};
    struct prune_status st = {0};
    struct prune_step step;
    ok(host()->train_start(net, &set, NULL, NULL, NULL, &st), &st);
    for (int i = 0; i < steps; i++) ok(host()->train_step(net, &o, &step, &st), &st);
}

/* The loss over a set, which holds so many images. */
__attribute__((unused)) static double evaluated_set(struct prune_host_net *net, struct prune_image_set set, size_t images)
{
    struct prune_evaluation e;
    struct prune_status st = {0};
    ok(host()->evaluate(net, &set, &e, &st), &st);
    assert_int_equal(e.images, images);
    prune_evaluation_release(&e);
    return e.loss;
}

/* Over the lists of make_classifier_data and make_detector_data. */
__attribute__((unused)) static double evaluated_loss(struct prune_host_net *net, const char *data)
{
    return evaluated_set(net, (struct prune_image_set){.data_path = data, .role = PRUNE_DATA_TRAIN}, IMAGES);
}

__attribute__((unused)) static double evaluated_boxes(struct prune_host_net *net, const char *data)
{
    return evaluated_set(net, (struct prune_image_set){.data_path = data, .role = PRUNE_DATA_TRAIN}, BOX_IMAGES);
}

__attribute__((unused)) static const char *trained_pair(const char *data, const char *cfg)
{
    struct prune_status st = {0};
    struct prune_host_net *net = open_net(cfg, NULL, 0);
    train_some(net, data, 12);
    host()->train_stop(net);
    const char *weights = at("trained.weights");
    ok(host()->save_weights(net, weights, &st), &st);
    host()->close(net);
    return weights;
}

struct pair { const char *data, *cfg, *weights; };

__attribute__((unused)) static struct pair trained_classifier(const char *cfg)
{
    const char *data = make_classifier_data("");
    return (struct pair){data, cfg, trained_pair(data, cfg)};
}

#endif
