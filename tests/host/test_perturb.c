/* perturb: every candidate's loss of every image, and its gate gradient, are those of a whole pass with these gates set (score, one image at a time), on
 * networks with shortcuts, routes, dropout, gates on outputs and heads in the middle, and on every cfg of cfg/styles that the host trains. The gates in
 * force, weights and momentum stay. */
#include "host_fixture.h"

#include <dirent.h>
#include <math.h>

#include "../../darknet/gate_layer.h"
#include "../../darknet/host_net.h"
#include "../../darknet/network_parameters.h"
#include "../../plugin/model/cfg_text.h"
#include "../../plugin/score/scoring.h"

enum { MOST = 24, SOME = 5 };   /* candidates, images of a set */

/* Units of the candidates, flat; `first` as in struct prune_candidates. */
struct chosen { int units[2 * MOST]; size_t first[MOST + 1]; float z[MOST]; size_t count; };
struct heard { size_t images, pieces; double base[SOME], loss[MOST][SOME], gradient[MOST]; };
struct alone { size_t images, unit; double loss[SOME], gradient; };

static void include(struct chosen *l, int a, int b, float z)
{
    size_t at = l->first[l->count];
    l->units[at++] = a;
    if (b >= 0) l->units[at++] = b;
    l->z[l->count++] = z;
    l->first[l->count] = at;
}

static enum prune_code hear(void *user, const struct prune_perturbed *p, struct prune_status *st)
{
    struct heard *h = user;
    (void)st;
    assert_int_equal(p->first_image, h->images);
    for (size_t b = 0; b < p->images; b++) {
        h->base[h->images + b] = p->base[b];
        for (size_t k = 0; k < MOST && p->loss; k++) h->loss[k][h->images + b] = (double)p->loss[k * p->images + b];
    }
    for (size_t k = 0; p->gradient && k < MOST; k++) h->gradient[k] += p->gradient[k];
    h->images += p->images;
    h->pieces++;
    return PRUNE_OK;
}

static enum prune_code hear_alone(void *user, const struct prune_signals *s, struct prune_status *st)
{
    struct alone *a = user;
    (void)st;
    a->loss[a->images++] = s->loss;
    a->gradient += (double)((const float *)s->gate_image.data)[a->unit];
    return PRUNE_OK;
}

/* What a whole pass says with the gates z. */
static void whole_pass(struct prune_host_net *net, const struct prune_image_set *set, const float *z, size_t units, size_t unit, struct alone *a)
{
    const struct prune_score_options o = {.minibatch = 1, .signals = PRUNE_SIGNAL_GATE_IMAGE};
    struct prune_status st = {0};
    *a = (struct alone){.unit = unit};
    ok(host()->gates_set(net, z, units, &st), &st);
    ok(host()->score(net, set, &o, hear_alone, a, &st), &st);
}

static void expect_losses(const double *got, const struct alone *wanted, size_t images, const char *what, size_t k)
{
    assert_int_equal(wanted->images, images);
    for (size_t b = 0; b < images; b++)
        if (!(fabs(got[b] - wanted->loss[b]) <= 3e-5 * (1 + fabs(wanted->loss[b])))) fail_msg("%s, candidate %zu, image %zu: loss %.9g, a whole pass gives %.9g", what, k, b, got[b], wanted->loss[b]);
}

static void expect_gradient(double got, const struct alone *wanted, double scale, const char *what, size_t k)
{
    if (!(fabs(got - wanted->gradient) <= 1e-4 * scale)) fail_msg("%s, candidate %zu: gradient %.9g, a whole pass gives %.9g", what, k, got, wanted->gradient);
}

static void *perturbed(struct prune_host_net *net, const struct prune_image_set *set, const struct chosen *l, bool gradients)
{
    const struct prune_candidates c = {l->units, l->first, l->z, l->count};
    struct prune_status st = {0};
    struct heard *h = calloc(1, sizeof *h);
    assert_non_null(h);
    assert_int_equal(l->count, MOST);   /* hear reads all of them */
    ok(host()->perturb(net, set, &c, gradients, hear, h, &st), &st);
    return h;
}

/* base: gates in force, (units). Returns how many candidates changed some loss. */
static size_t compare(struct prune_host_net *net, const struct prune_image_set *set, const struct chosen *l, float *base, size_t units, const char *what)
{
    struct prune_status st = {0};
    struct alone whole;
    size_t changed = 0;
    double scale = 1e-6, gradients[MOST];
    float *z = malloc(units * sizeof *z);
    assert_non_null(z);
    ok(host()->gates_set(net, base, units, &st), &st);
    struct heard *plain = perturbed(net, set, l, false), *with = perturbed(net, set, l, true);
    assert_memory_equal(gate_values(host_gates(net)), base, units * sizeof *base);
    whole_pass(net, set, base, units, 0, &whole);
    expect_losses(plain->base, &whole, plain->images, what, MOST);
    expect_losses(with->base, &whole, with->images, what, MOST);
    struct alone *of = calloc(MOST, sizeof *of);
    assert_non_null(of);
    for (size_t k = 0; k < l->count; k++) {
        memcpy(z, base, units * sizeof *z);
        for (size_t i = l->first[k]; i < l->first[k + 1]; i++) z[l->units[i]] = l->z[k];
        whole_pass(net, set, z, units, (size_t)l->units[l->first[k]], &of[k]);
        scale = fmax(scale, fabs(gradients[k] = of[k].gradient));
    }
    for (size_t k = 0; k < l->count; k++) {
        bool differs = false;
        for (size_t b = 0; b < plain->images; b++) differs |= fabs(plain->base[b] - plain->loss[k][b]) > 1e-3;
        changed += differs;
        expect_losses(plain->loss[k], &of[k], plain->images, what, k);
        expect_losses(with->loss[k], &of[k], plain->images, what, k);
        expect_gradient(with->gradient[k], &of[k], scale, what, k);
    }
    free(of);
    free(plain);
    free(with);
    free(z);
    return changed;
}

/* Gates in force of all kinds, and candidates that shut, scale, turn round and open; some of two units. */
static void draw(struct chosen *l, float *base, size_t units, uint64_t seed)
{
    static const float values[] = {0, 0, .7f, 1.3f, -.5f, 1, 0, .999f};
    struct prune_random r = prune_random_make(seed, 1, 2);
    memset(l, 0, sizeof *l);
    for (size_t u = 0; u < units; u++) base[u] = prune_random_uniform(&r) < .8 ? 1 : prune_random_uniform(&r) < .5 ? 0 : .9f;
    while (l->count < MOST) {
        int a = (int)prune_random_below(&r, units), b = (int)prune_random_below(&r, units);
        include(l, a, l->count % 3 == 0 && b != a ? b : -1, values[l->count % 8]);
    }
}

static size_t compare_gates(const char *data, const char *cfg_path, const char *weights, int batch, size_t images, enum prune_gate_choice gate, const char *what)
{
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN, .limit = images};
    struct prune_cfg cfg;
    struct prune_net shape;
    struct prune_units units;
    struct prune_status st = {0};
    struct chosen l;
    struct prune_host_net *net = open_net(cfg_path, weights, batch);
    ok(prune_net_read(&cfg, &shape, cfg_path, &st), &st);
    ok(prune_units_build(&units, &shape, &st), &st);
    size_t count = units.count;
    struct prune_gate_site *sites;
    size_t site_count;
    ok(prune_gate_sites(&units, gate, &sites, &site_count, &st), &st);
    ok(host()->gates_attach(net, sites, site_count, count, &st), &st);
    free(sites);
    if (!weights) ok(host()->recalibrate(net, &set, 8, &st), &st);
    float *base = malloc(count * sizeof *base);
    assert_non_null(base);
    draw(&l, base, count, 5);
    size_t changed = compare(net, &set, &l, base, count, what);
    free(base);
    host()->close(net);
    prune_units_free(&units);
    prune_net_free(&shape);
    prune_cfg_free(&cfg);
    return changed;
}

static size_t compare_net(const char *data, const char *cfg, const char *weights, int batch, size_t images, const char *what)
{
    return compare_gates(data, cfg, weights, batch, images, PRUNE_GATE_AFTER_BN, what);
}

static void a_residual_classifier_with_dropout(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("net.cfg", 8, 1, .05, 1000), *weights = trained_pair(data, cfg);
    assert_in_range(compare_net(data, cfg, weights, 2, SOME, "pieces of 2"), 10, MOST);
    assert_in_range(compare_net(data, cfg, weights, 8, SOME, "one piece"), 10, MOST);
}

/* In front of batch-norm a gate's value is nothing that the output tells; on outputs it always is. */
static void gates_of_every_placement(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("net.cfg", 8, 1, .05, 1000), *weights = trained_pair(data, cfg);
    assert_in_range(compare_gates(data, cfg, weights, 4, SOME, PRUNE_GATE_BEFORE_BN, "before batch-norm"), 10, MOST);
    assert_in_range(compare_gates(data, cfg, weights, 4, SOME, PRUNE_GATE_AFTER_ACTIVATION, "after the activation"), 10, MOST);
}

/* Dropout changes a gated layer's output in place; gates in front of logistic units, behind them, before and after shortcuts of unequal widths. */
static void dropout_logistic_units_and_routes(void **state)
{
    (void)state;
    const char *data = make_classifier_data("");
    const char *cfg = write_text("odd.cfg", "[net]\nbatch=4\nsubdivisions=1\nwidth=12\nheight=12\nchannels=3\nlearning_rate=.01\nmax_batches=9\nmin_crop=12\nmax_crop=12\n\n"
        "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=1\npad=1\nactivation=relu\n\n[dropout]\nprobability=.5\n\n"
        "[convolutional]\nfilters=9\nsize=3\nstride=1\npad=1\nactivation=logistic\n\n[shortcut]\nfrom=0\nactivation=leaky\n\n[batchnorm]\n\n"
        "[convolutional]\nfilters=5\nsize=3\nstride=2\npad=1\nactivation=elu\n\n[dropout]\nprobability=.5\n\n[route]\nlayers=-1,-2\n\n"
        "[connected]\noutput=7\nactivation=leaky\nbatch_normalize=1\n\n[dropout]\nprobability=.5\n\n[connected]\noutput=6\nactivation=logistic\n\n"
        "[connected]\noutput=3\nactivation=linear\n\n[softmax]\n\n[cost]\n");
    assert_in_range(compare_net(data, cfg, NULL, 4, SOME, "odd"), 6, MOST);
}

/* Heads in front of a candidate's first gate keep their share of the loss. */
static void a_detector_with_two_heads(void **state)
{
    (void)state;
    const char *data = make_detector_data();
    const char *head = "[yolo]\nmask=0,1\nanchors=20,12, 12,20\nclasses=2\nnum=2\njitter=.2\nignore_thresh=.7\ntruth_thresh=1\nrandom=0\n\n";
    const char *cfg = write_text("two.cfg", "[net]\nbatch=4\nsubdivisions=1\nwidth=64\nheight=64\nchannels=3\nlearning_rate=.001\nmax_batches=9\n\n"
        "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n\n"
        "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=leaky\n\n[maxpool]\nsize=2\nstride=2\n\n"
        "[convolutional]\nfilters=14\nsize=1\nstride=1\npad=1\nactivation=linear\n\n%s"
        "[route]\nlayers=-3\n\n[convolutional]\nbatch_normalize=1\nfilters=8\nsize=1\nstride=1\npad=1\nactivation=leaky\n\n[upsample]\nstride=2\n\n[route]\nlayers=-1,1\n\n"
        "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=leaky\n\n"
        "[convolutional]\nfilters=14\nsize=1\nstride=1\npad=1\nactivation=linear\n\n%s", head, head);
    assert_in_range(compare_net(data, cfg, NULL, 4, SOME, "two heads"), 6, MOST);
}

/* A cfg with another input size and a crop that fits. */
static const char *write_small(const char *from, const char *name, int size)
{
    struct prune_cfg cfg;
    struct prune_edit_list edits = {0};
    struct prune_status st = {0};
    char side[16], *bytes = NULL;
    size_t count = 0;
    snprintf(side, sizeof side, "%d", size);
    ok(prune_cfg_read(&cfg, from, &st), &st);
    static const char *const keys[] = {"width", "height"};
    for (int k = 0; k < 2; k++) ok(prune_edit_set(&edits, &cfg, 0, keys[k], side, NULL, &st), &st);
    ok(prune_edit_apply(&cfg, &edits, &bytes, &count, &st), &st);
    const char *path = at(name);
    ok(prune_write_file(path, bytes, count, &st), &st);
    free(bytes);
    prune_edit_free(&edits);
    prune_cfg_free(&cfg);
    return path;
}

/* Noise in `classes` classes; of detectors with one box each. */
static const char *noise_data(int classes, int size, int channels)
{
    char list[1024] = "", names[8192] = "";
    prune_make_dirs(at("noise"), NULL);
    unsigned char *px = malloc((size_t)(size * size * channels));
    assert_non_null(px);
    for (int i = 0; i < classes; i++) sprintf(names + strlen(names), "kind%03d\n", i);
    for (int i = 0; i < 8; i++) {
        struct prune_random r = prune_random_make(3, 4, (uint64_t)i);
        char name[64];
        for (int k = 0; k < size * size * channels; k++) px[k] = (unsigned char)prune_random_below(&r, 256);
        snprintf(name, sizeof name, "noise/%d_kind%03d.png", i, i % classes);
        write_png(at(name), size, size, channels, px);
        strcat(strcat(list, at(name)), "\n");
        snprintf(name, sizeof name, "noise/%d_kind%03d.txt", i, i % classes);
        write_text(name, "%d .%d5 .45 .3 .4\n", i % classes, i % 5 + 2);
    }
    free(px);
    const char *train = write_text("noise.txt", "%s", list), *labels = write_text("noise.names", "%s", names);
    return write_text("noise.data", "classes=%d\ntrain=%s\nvalid=%s\nnames=%s\nlabels=%s\nbackup=%s\n", classes, train, train, labels, labels, at("backup"));
}

/* True when the host runs the cfg as a classifier or detector with a loss that is known. */
static bool trained_here(const char *path, struct prune_host_net **net)
{
    const struct prune_open_options o = {.threads = 2, .seed = 3, .batch = 2, .quiet = true};
    struct prune_status st = {0};
    *net = NULL;
    if (host()->open(NULL, path, NULL, &o, net, &st)) return false;
    return (*net)->open.shape.task != PRUNE_TASK_OTHER;
}

static int compare_style(const char *name)
{
    static const int sizes[] = {64, 96, 128};
    char path[512];
    const char *root = getenv("PRUNE_ROOT") ? getenv("PRUNE_ROOT") : ".";
    struct prune_host_net *net = NULL;
    struct prune_net_facts facts = {0};
    const char *cfg = NULL;
    bool runs = false;
    snprintf(path, sizeof path, "%s/cfg/styles/%s", root, name);
    for (size_t i = 0; !runs && i < sizeof sizes / sizeof *sizes; i++) {
        cfg = write_small(path, "style.cfg", sizes[i]);
        runs = trained_here(cfg, &net);
        if (runs) host()->facts(net, &facts);
        host()->close(net);
    }
    if (!runs) return 0;
    size_t changed = compare_net(noise_data(facts.classes, facts.w, facts.c), cfg, NULL, 2, 3, name);
    if (!changed) fail_msg("%s: no candidate changes a loss", name);
    return 1;
}

static int is_cfg(const struct dirent *e) { return strstr(e->d_name, ".cfg") != NULL; }

static void every_style_that_the_host_trains(void **state)
{
    (void)state;
    char folder[512];
    struct dirent **names;
    const char *root = getenv("PRUNE_ROOT") ? getenv("PRUNE_ROOT") : ".";
    int compared = 0;
    snprintf(folder, sizeof folder, "%s/cfg/styles", root);
    int n = scandir(folder, &names, is_cfg, alphasort);
    if (n < 0) fail_msg("no '%s': run from the source folder or set PRUNE_ROOT", folder);
    for (int i = 0; i < n; i++) {
        compared += compare_style(names[i]->d_name);
        free(names[i]);
    }
    free(names);
    printf("%d of %d cfgs compared\n", compared, n);
    assert_in_range(compared, 8, n);
}

static void what_is_wrong_is_refused(void **state)
{
    (void)state;
    const char *data = make_classifier_data(""), *cfg = make_classifier_cfg("net.cfg", 8, 1, .05, 1000);
    struct prune_host_net *net = open_net(cfg, trained_pair(data, cfg), 4);
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN, .limit = 2};
    size_t units = attach_all(net, cfg), first[] = {0, 1};
    int unit = (int)units;
    float z = 0;
    struct heard *h = calloc(1, sizeof *h);
    struct prune_status st = {0};
    struct prune_candidates c = {&unit, first, &z, 1};
    assert_int_equal(host()->perturb(net, &set, &c, false, hear, h, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "no unit"));
    unit = 0;
    z = NAN;
    assert_int_equal(host()->perturb(net, &set, &c, false, hear, h, &st), PRUNE_FAILED);
    z = 0;
    c.first = (size_t[]){0, 0};
    assert_int_equal(host()->perturb(net, &set, &c, true, hear, h, &st), PRUNE_FAILED);
    assert_int_equal(h->images, 0);
    free(h);
    host()->close(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_residual_classifier_with_dropout), cmocka_unit_test(dropout_logistic_units_and_routes), cmocka_unit_test(a_detector_with_two_heads), cmocka_unit_test(gates_of_every_placement),
        cmocka_unit_test(every_style_that_the_host_trains), cmocka_unit_test(what_is_wrong_is_refused),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
