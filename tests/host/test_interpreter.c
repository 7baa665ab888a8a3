/* The reference interpreter (tests/reference) against the host library: every layer's output on one random image with random weights, for
 * cfgs of the darknet package at small input sizes, the networks of tests/golden/good, and one with every activation. The weights file is the interpreter's
 * too, so that the order of stored values is compared with the host's reader as well. PRUNE_DARKNET_CFG: another folder of cfgs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../darknet/network_open.h"
#include "../../plugin/base/file_io.h"
#include "../reference/kinds.h"

static const double TOLERANCE = 1e-4;
static char folder[64];

static void must(enum prune_code code, const struct prune_status *st)
{
    if (code) fail_msg("%s", st->message);
}

static const char *at(char *path, const char *name)
{
    snprintf(path, 128, "%s/%s", folder, name);
    return path;
}

/* Writes the cfg with another input size, one time step and a crop that fits; size 0 leaves it as it is. */
static void write_small(const char *from, const char *to, int size)
{
    struct prune_cfg cfg;
    struct prune_edit_list edits = {0};
    struct prune_status st = {0};
    char side[16], inner[16], *bytes = NULL;
    size_t count = 0;
    snprintf(side, sizeof side, "%d", size);
    snprintf(inner, sizeof inner, "%d", size - 8);
    must(prune_cfg_read(&cfg, from, &st), &st);
    const char *const keys[] = {"width", "height", "crop_width", "crop_height", "time_steps"}, *const values[] = {side, side, inner, inner, "1"};
    for (size_t s = 0; s < cfg.section_count; s++)
        for (int k = 0; k < 5; k++)
            if (prune_cfg_find(&cfg.sections[s], keys[k]) && (size || k == 4)) must(prune_edit_set(&edits, &cfg, s, keys[k], values[k], NULL, &st), &st);
    must(prune_edit_apply(&cfg, &edits, &bytes, &count, &st), &st);
    must(prune_write_file(to, bytes, count, &st), &st);
    free(bytes);
    prune_edit_free(&edits);
    prune_cfg_free(&cfg);
}

/* Largest difference of a layer over the largest value; softmax and losses have no output in the interpreter. */
static double compare_layer(const struct ref_layer *a, const layer *b)
{
    double top = 1e-12, gap = 0;
    assert_int_equal(a->outputs, b->outputs);
    for (size_t i = 0; i < a->outputs; i++) {
        double host = (double)b->output[i];
        if (!isfinite(host) || !isfinite(a->output[i])) return INFINITY;
        top = fmax(top, fabs(host));
        gap = fmax(gap, fabs(a->output[i] - host));
    }
    return gap / top;
}

/* Returns how many layers were compared. */
static int compare(const char *cfg, int weights_version, const char *name)
{
    struct ref_net net;
    struct open_network host;
    struct prune_status st = {0};
    char weights[128];
    size_t size = 0;
    int compared = 0;
    must(ref_load_files(&net, cfg, NULL, &st), &st);
    double *image = ref_random_image(&net, 5, 0), *other = ref_random_image(&net, 5, 1);
    ref_randomize(&net, 9, other);
    void *bytes = ref_weights_bytes(&net, weights_version, &size);
    must(prune_write_file(at(weights, "net.weights"), bytes, size, &st), &st);
    ref_free(&net);
    must(ref_load_files(&net, cfg, weights, &st), &st);
    ref_run(&net, image, NULL);
    must(network_open(&host, cfg, weights, false, 1, true, &st), &st);
    host.net->train = 0;
    for (size_t i = 0; i < net.inputs; i++) host.net->input[i] = (float)image[i];
    forward_network(host.net);
    for (int i = 0; i < net.count; i++) {
        if (!net.layers[i].output) continue;
        double gap = compare_layer(&net.layers[i], &host.net->layers[i]);
        if (!(gap <= TOLERANCE)) fail_msg("%s: layer %d [%s]: %.1e", name, i, net.layers[i].kind->name, gap);
        compared++;
    }
    network_close(&host);
    free(bytes);
    free(image);
    free(other);
    ref_free(&net);
    return compared;
}

static void cfgs_of_the_darknet_package(void **state)
{
    static const struct { const char *name; int size; } cfgs[] = {
        {"cifar", 28}, {"darknet19", 64}, {"gru", 0}, {"resnet18", 64}, {"resnext50", 64},
        {"rnn", 0}, {"strided", 72}, {"tiny", 64}, {"writing", 64}, {"yolov1-tiny", 64}, {"yolov2-tiny", 64}, {"yolov3-tiny", 64}};
    const char *from = getenv("PRUNE_DARKNET_CFG") ? getenv("PRUNE_DARKNET_CFG") : "/usr/share/darknet/cfg";
    int layers = 0;
    (void)state;
    if (access(from, R_OK)) {
        print_message("skip: no cfgs in %s\n", from);
        skip();
    }
    for (size_t i = 0; i < sizeof cfgs / sizeof *cfgs; i++) {
        char path[256], small[128];
        snprintf(path, sizeof path, "%s/%s.cfg", from, cfgs[i].name);
        write_small(path, at(small, "net.cfg"), cfgs[i].size);
        layers += compare(small, i % 2 ? 2 : 0, cfgs[i].name);
    }
    print_message("%d layers of %zu cfgs equal the host's\n", layers, sizeof cfgs / sizeof *cfgs);
}

static void every_kind_of_layer(void **state)
{
    static const char *const cfgs[] = {"zoo", "yolo", "tiny", "comments", "crlf"};
    (void)state;
    for (size_t i = 0; i < sizeof cfgs / sizeof *cfgs; i++)
        for (int version = 0; version < 4; version++) {
            char path[128], small[128];
            snprintf(path, sizeof path, "tests/golden/good/%s.cfg", cfgs[i]);
            write_small(path, at(small, "net.cfg"), 0);
            assert_in_range(compare(small, version, cfgs[i]), 2, 100);
        }
}

static void every_activation(void **state)
{
    static const char *const names[] = {"logistic", "relu", "relie", "linear", "ramp", "tanh", "plse", "leaky", "elu", "loggy", "stair", "hardtan", "lhtan", "selu"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char text[1024], path[128];
        struct prune_status st = {0};
        int n = snprintf(text, sizeof text,
                         "[net]\nwidth=9\nheight=7\nchannels=4\n[convolutional]\nfilters=6\nsize=3\nstride=2\npadding=2\nactivation=%s\n"
                         "[convolutional]\nfilters=6\nsize=1\nactivation=linear\n[shortcut]\nfrom=-2\nactivation=%s\n[activation]\nactivation=%s\n"
                         "[convolutional]\nfilters=8\ngroups=2\nbatch_normalize=1\nactivation=%s\n[upsample]\nstride=2\nscale=1.5\n[shortcut]\nfrom=0\n"
                         "[maxpool]\nsize=3\nstride=2\npadding=1\n[connected]\noutput=5\nactivation=%s\n", names[i], names[i], names[i], names[i], names[i]);
        must(prune_write_file(at(path, "net.cfg"), text, (size_t)n, &st), &st);
        assert_int_equal(compare(path, 2, names[i]), 9);
    }
}

static int open_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s/interpreter-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    return mkdtemp(folder) ? 0 : -1;
}

static int close_folder(void **state)
{
    char path[128];
    (void)state;
    remove(at(path, "net.cfg"));
    remove(at(path, "net.weights"));
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_layer),
        cmocka_unit_test(every_activation),
        cmocka_unit_test(cfgs_of_the_darknet_package),
    };
    return cmocka_run_group_tests(tests, open_folder, close_folder);
}
