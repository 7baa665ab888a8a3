/* PRODUCT, (H v)_u forward over reverse: against float64 (tests/golden/criteria/products.csv, scripts/reference_products.py), against differences of the gate
 * gradient at any gates on smooth networks of every layer that has tangents, symmetric and linear in v, the same however images are cut into passes and
 * whatever else the pass delivers; scoring leaves the network as it was; what has no tangents is refused by section and line. */
#include "host_fixture.h"

#include <math.h>

#include "../../darknet/gate_layer.h"
#include "../../darknet/host_net.h"
#include "../../darknet/loader.h"
#include "../../darknet/network_parameters.h"
#include "../../plugin/score/scoring.h"

enum { TILES = 30, COLUMNS = 6, MOST = 128, PLACES = 3 };
static const enum prune_gate_choice CHOICES[PLACES] = {PRUNE_GATE_AFTER_BN, PRUNE_GATE_BEFORE_BN, PRUNE_GATE_AFTER_ACTIVATION};

struct heard { size_t images; double product[MOST], gradient[MOST]; };
struct net { struct prune_host_net *host; size_t units; float z[MOST]; struct prune_image_set set; };

static enum prune_code hear(void *user, const struct prune_signals *s, struct prune_status *st)
{
    struct heard *h = user;
    (void)st;
    for (size_t u = 0; s->gate_product.data && u < s->units; u++) h->product[u] += ((const double *)s->gate_product.data)[u] * (double)s->images;
    for (size_t u = 0; s->gate_batch.data && u < s->units; u++) h->gradient[u] += ((const double *)s->gate_batch.data)[u] * (double)s->images;
    h->images += s->images;
    return PRUNE_OK;
}

/* Means over all images. */
static struct heard score(const struct net *n, unsigned signals, const float *v, size_t minibatch)
{
    const struct prune_score_options o = {.minibatch = minibatch, .signals = signals, .rivals = 1, .probes = 1, .direction = v};
    struct prune_status st = {0};
    struct heard h = {0};
    ok(host()->gates_set(n->host, n->z, n->units, &st), &st);
    ok(host()->score(n->host, &n->set, &o, hear, &h, &st), &st);
    for (size_t u = 0; u < n->units; u++) {
        h.product[u] /= (double)h.images;
        h.gradient[u] /= (double)h.images;
    }
    return h;
}

static struct heard product(const struct net *n, const float *v) { return score(n, PRUNE_SIGNAL_PRODUCT, v, 8); }

static void attach_at(struct net *n, const char *cfg_path, enum prune_gate_choice choice)
{
    struct prune_cfg cfg;
    struct prune_net shape;
    struct prune_units units;
    struct prune_gate_site *sites;
    size_t count;
    struct prune_status st = {0};
    ok(prune_net_read(&cfg, &shape, cfg_path, &st), &st);
    ok(prune_units_build(&units, &shape, &st), &st);
    ok(prune_gate_sites(&units, choice, &sites, &count, &st), &st);
    ok(host()->gates_attach(n->host, sites, count, units.count, &st), &st);
    n->units = units.count;
    assert_in_range(n->units, 2, MOST);
    for (size_t u = 0; u < n->units; u++) n->z[u] = 1;
    free(sites);
    prune_units_free(&units);
    prune_net_free(&shape);
    prune_cfg_free(&cfg);
}

static void expect_near(const double *got, const double *wanted, size_t n, double tolerance, const char *what)
{
    double largest = 0;
    for (size_t u = 0; u < n; u++) largest = fmax(largest, fabs(wanted[u]));
    assert_true(largest > 0);
    for (size_t u = 0; u < n; u++)
        if (!(fabs(got[u] - wanted[u]) <= tolerance * largest)) fail_msg("%s, unit %zu: %.9g, not %.9g (largest %.3g)", what, u, got[u], wanted[u], largest);
}

static void show_error(const char *what, const double *got, const double *wanted, size_t n)
{
    double error = 0, norm = 0;
    for (size_t u = 0; u < n; u++) {
        error += (got[u] - wanted[u]) * (got[u] - wanted[u]);
        norm += wanted[u] * wanted[u];
    }
    printf("%s: relative error %.1e\n", what, sqrt(error / norm));
}

/* ---- recorded values ---- */

static const char *golden(const char *name, const char *end)
{
    static char paths[8][512];
    static int next;
    const char *root = getenv("PRUNE_ROOT") ? getenv("PRUNE_ROOT") : ".";
    char *p = paths[next++ % 8];
    snprintf(p, sizeof paths[0], "%s/tests/golden/criteria/%s%s", root, name, end);
    return p;
}

static void write_tile(const image *sheet, int size, int index, const char *path)
{
    unsigned char px[32 * 32 * 3];
    int x0 = index % COLUMNS * size, y0 = index / COLUMNS * size;
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++)
            for (int k = 0; k < 3; k++)
                px[(y * size + x) * 3 + k] = (unsigned char)lrintf(sheet->data[(k * sheet->h + y0 + y) * sheet->w + x0 + x] * 255);
    write_png(path, size, size, 3, px);
}

/* The images of a reference network: as lists of tiles with their truths in their names (classifiers) or beside them. */
static const char *golden_data(bool detector)
{
    static const char *const labels[] = {"kind_a", "kind_b", "kind_c", "kind_d"};
    const char *sheet_name = detector ? "scenes" : "shapes";
    int size = detector ? 32 : 16;
    char list[8192] = "", line[512], name[64];
    struct prune_status st = {0};
    image sheet;
    ok(image_read(golden(sheet_name, ".png"), 3, &sheet, &st), &st);
    FILE *truths = fopen(golden(sheet_name, ".txt"), "r");
    assert_non_null(truths);
    prune_make_dirs(at("tiles/images"), NULL);
    prune_make_dirs(at("tiles/labels"), NULL);
    for (int i = 0; i < TILES; i++) {
        assert_non_null(fgets(line, sizeof line, truths));
        snprintf(name, sizeof name, "tiles/images/%02d_%s.png", i, detector ? "scene" : labels[atoi(line)]);
        write_tile(&sheet, size, i, at(name));
        strcat(strcat(list, at(name)), "\n");
        for (char *c = line; *c; c++) *c = *c == ';' ? '\n' : *c == '-' ? ' ' : *c;
        snprintf(name, sizeof name, "tiles/labels/%02d_scene.txt", i);
        if (detector) write_text(name, "%s", line);
    }
    fclose(truths);
    free_image(sheet);
    const char *train = write_text("tiles.txt", "%s", list);
    const char *names = write_text("tiles.names", "%s", detector ? "one\ntwo\nthree\n" : "kind_a\nkind_b\nkind_c\nkind_d\n");
    return write_text("tiles.data", "classes=%d\ntrain=%s\nvalid=%s\nlabels=%s\nnames=%s\nbackup=%s\n", detector ? 3 : 4, train, train, names, names, at("backup"));
}

struct recorded { size_t units; float v[MOST]; double products[PLACES][MOST]; };

static struct recorded read_recorded(const char *network)
{
    struct recorded r = {0};
    char line[512], name[64];
    FILE *f = fopen(golden("products", ".csv"), "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        double v, p[PLACES];
        size_t unit;
        if (sscanf(line, "%63[^,],%zu,%lf,%lf,%lf,%lf", name, &unit, &v, &p[0], &p[1], &p[2]) != 6 || strcmp(name, network) != 0) continue;
        assert_int_equal(unit, r.units);
        assert_true(unit < MOST);
        r.v[unit] = (float)v;
        for (int k = 0; k < PLACES; k++) r.products[k][unit] = p[k];
        r.units++;
    }
    fclose(f);
    return r;
}

static void compare_recorded(const char *network, int batch, double tolerance)
{
    struct recorded r = read_recorded(network);
    const char *cfg = golden(network, ".cfg"), *data = golden_data(strcmp(network, "detector") == 0);
    for (int k = 0; k < PLACES; k++) {
        char what[64];
        struct net n = {.host = open_net(cfg, golden(network, ".weights"), batch), .set = {.data_path = data, .role = PRUNE_DATA_TRAIN}};
        attach_at(&n, cfg, CHOICES[k]);
        assert_int_equal(n.units, r.units);
        struct heard h = score(&n, PRUNE_SIGNAL_PRODUCT, r.v, 30);
        assert_int_equal(h.images, TILES);
        snprintf(what, sizeof what, "%s, %s", network, prune_gate_choice_name(CHOICES[k]));
        if (getenv("SHOW")) show_error(what, h.product, r.products[k], n.units);
        expect_near(h.product, r.products[k], n.units, tolerance, what);
        host()->close(n.host);
    }
}

static void plain_networks_equal_float64(void **state) { (void)state; compare_recorded("plain", 30, 2e-5); }
static void residual_networks_equal_float64(void **state) { (void)state; compare_recorded("residual", 30, 2e-5); }
static void grouped_networks_equal_float64(void **state) { (void)state; compare_recorded("grouped", 7, 2e-5); }
static void kinked_networks_equal_float64(void **state) { (void)state; compare_recorded("kinked", 8, 2e-5); }
static void detectors_equal_float64(void **state) { (void)state; compare_recorded("detector", 30, 2e-5); }

/* ---- differences, at any gates ---- */

/* Every layer with tangents between smooth activations: joins of unequal shapes, reorg, upsample, dropout, standalone batch-norm and activation, depthwise
 * and grouped convolutions, connected with and without batch-norm, convolutions without batch-norm in front of dropout. */
static const char MIXED[] =
    "[net]\nbatch=8\nsubdivisions=1\nwidth=12\nheight=12\nchannels=3\nlearning_rate=.05\nmax_batches=1000\nmin_crop=12\nmax_crop=12\n\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=tanh\n\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\ngroups=8\nsize=3\nstride=1\npad=1\nactivation=logistic\n\n"
    "[convolutional]\nfilters=6\nsize=3\nstride=2\npad=1\nactivation=loggy\n\n[dropout]\nprobability=.5\n\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\ngroups=2\nsize=3\nstride=1\npad=1\nactivation=linear\n\n"
    "[shortcut]\nfrom=0\nactivation=tanh\n\n[upsample]\nstride=2\n\n[route]\nlayers=-1,1\n\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=1\nstride=1\npad=1\nactivation=tanh\n\n[reorg]\nstride=2\n\n"
    "[convolutional]\nfilters=7\nsize=3\nstride=1\npad=1\nactivation=linear\n\n[batchnorm]\n\n[activation]\nactivation=logistic\n\n"
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=5\nstride=1\npad=1\nactivation=loggy\n\n[avgpool]\n\n"
    "[connected]\noutput=7\nbatch_normalize=1\nactivation=tanh\n\n[dropout]\nprobability=.5\n\n[connected]\noutput=6\nactivation=logistic\n\n"
    "[connected]\noutput=3\nactivation=linear\n\n[softmax]\ntemperature=%s\n";

static void draw(float *values, size_t n, uint64_t seed, double lo, double hi)
{
    struct prune_random r = prune_random_make(seed, 3, 0);
    for (size_t u = 0; u < n; u++) values[u] = (float)prune_random_range(&r, lo, hi);
}

static struct net open_mixed(const char *cfg, const char *weights, enum prune_gate_choice choice)
{
    struct net n = {.host = open_net(cfg, weights, 8), .set = {.data_path = at("set.data"), .role = PRUNE_DATA_TRAIN, .limit = 20}};
    attach_at(&n, cfg, choice);
    return n;
}

/* wanted += share * central difference along v */
static void add_difference(struct net *n, const float *v, double step, double share, double *wanted)
{
    float z[MOST];
    memcpy(z, n->z, sizeof z);
    for (int side = -1; side <= 1; side += 2) {
        for (size_t u = 0; u < n->units; u++) n->z[u] = (float)((double)z[u] + side * step * (double)v[u]);
        struct heard moved = score(n, PRUNE_SIGNAL_GATE_BATCH, NULL, 8);
        for (size_t u = 0; u < n->units; u++) wanted[u] += share * side * moved.gradient[u] / (2 * step);
    }
    memcpy(n->z, z, sizeof z);
}

/* Two steps, so that what is left of the truncation is of fourth order: these networks bend. */
static void compare_differences(struct net *n, const float *v, double tolerance, const char *what)
{
    double wanted[MOST] = {0};
    struct heard h = product(n, v);
    add_difference(n, v, 2e-3, -1. / 3, wanted);
    add_difference(n, v, 1e-3, 4. / 3, wanted);
    if (getenv("SHOW")) show_error(what, h.product, wanted, n->units);
    expect_near(h.product, wanted, n->units, tolerance, what);
}

static void differences_of_the_gradient(const char *temperature, double tolerance)
{
    static const char *const what[PLACES] = {"after batch-norm", "before batch-norm", "after the activation"};
    float v[MOST];
    make_classifier_data("");
    const char *cfg = write_text("mixed.cfg", MIXED, temperature), *weights = trained_pair(at("set.data"), cfg);
    for (int k = 0; k < PLACES; k++) {
        struct net n = open_mixed(cfg, weights, CHOICES[k]);
        draw(v, n.units, 4, -1, 1);
        compare_differences(&n, v, tolerance, what[k]);
        draw(n.z, n.units, 5, -.5, 1.5);
        for (size_t u = 0; u < n.units; u += 5) n.z[u] = 0;
        compare_differences(&n, v, tolerance, what[k]);
        host()->close(n.host);
    }
}

static void differences_agree_at_any_gates(void **state) { (void)state; differences_of_the_gradient("1", 5e-4); }

static void differences_agree_at_a_temperature(void **state) { (void)state; differences_of_the_gradient("3", 5e-4); }

/* ---- algebra ---- */

static double dot(const float *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)a[i] * b[i];
    return sum;
}

static void symmetric_and_linear(void **state)
{
    float u[MOST], v[MOST], both[MOST];
    double sum[MOST];
    (void)state;
    const char *data = make_classifier_data(""), *cfg = write_text("mixed.cfg", MIXED, "1"), *weights = trained_pair(data, cfg);
    for (int k = 0; k < PLACES; k++) {
        struct net n = open_mixed(cfg, weights, CHOICES[k]);
        draw(u, n.units, 6, -1, 1);
        draw(v, n.units, 7, -1, 1);
        for (size_t i = 0; i < n.units; i++) both[i] = 2 * u[i] - 3 * v[i];
        struct heard hu = product(&n, u), hv = product(&n, v), h = product(&n, both);
        for (size_t i = 0; i < n.units; i++) sum[i] = 2 * hu.product[i] - 3 * hv.product[i];
        expect_near(h.product, sum, n.units, 2e-5, "2 u - 3 v");
        double one = dot(u, hv.product, n.units), other = dot(v, hu.product, n.units), size = 0;
        for (size_t i = 0; i < n.units; i++) size += fabs((double)u[i] * hv.product[i]);
        if (!(fabs(one - other) <= 1e-5 * size)) fail_msg("place %d: u H v = %.9g, v H u = %.9g", k, one, other);
        host()->close(n.host);
    }
}

/* ---- beside the rest ---- */

static void passes_and_other_signals_do_not_matter(void **state)
{
    float v[MOST];
    (void)state;
    const unsigned more = PRUNE_SIGNAL_PRODUCT | PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_GATE_IMAGE | PRUNE_SIGNAL_PARAMETERS | PRUNE_SIGNAL_MARGINS | PRUNE_SIGNAL_CURVATURE;
    const char *data = make_classifier_data(""), *cfg = write_text("mixed.cfg", MIXED, "1"), *weights = trained_pair(data, cfg);
    struct net n = open_mixed(cfg, weights, PRUNE_GATE_AFTER_BN);
    draw(v, n.units, 8, -1, 1);
    struct heard alone = product(&n, v), cut = score(&n, PRUNE_SIGNAL_PRODUCT, v, 20), beside = score(&n, more, v, 5);
    struct heard gradients = score(&n, PRUNE_SIGNAL_GATE_BATCH, NULL, 5), gates = score(&n, PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_PRODUCT, v, 5);
    expect_near(cut.product, alone.product, n.units, 1e-6, "one minibatch of 20");
    expect_near(beside.product, alone.product, n.units, 2e-6, "beside other signals");
    expect_near(beside.gradient, gradients.gradient, n.units, 2e-6, "gradients beside products and parameters");
    expect_near(gates.gradient, gradients.gradient, n.units, 1e-6, "gradients beside products");
    host()->close(n.host);
}

static void the_network_stays_as_it_was(void **state)
{
    float v[MOST];
    struct parameters_updates momentum = {0};
    struct prune_status st = {0};
    (void)state;
    const char *data = make_classifier_data(""), *cfg = write_text("mixed.cfg", MIXED, "1"), *weights = trained_pair(data, cfg);
    struct net n = open_mixed(cfg, weights, PRUNE_GATE_AFTER_BN);
    train_some(n.host, data, 2);
    draw(v, n.units, 8, -1, 1);
    ok(parameters_updates_save(n.host->open.net, &momentum, &st), &st);
    ok(host()->save_weights(n.host, at("before.weights"), &st), &st);
    product(&n, v);
    ok(host()->save_weights(n.host, at("after.weights"), &st), &st);
    assert_same_files(at("before.weights"), at("after.weights"));
    for (int i = 0; i < n.host->open.net->n; i++) {
        const layer *l = &n.host->open.net->layers[i];
        if (l->type == CONVOLUTIONAL) assert_memory_equal(l->weight_updates, parameters_updates_find(n.host->open.net, &momentum, l->weight_updates), (size_t)l->nweights * sizeof(float));
    }
    parameters_updates_free(&momentum);
    host()->close(n.host);
}

/* ---- refusals ---- */

static void expect_refused(const struct net *n, const float *v, const char *part)
{
    const struct prune_score_options o = {.minibatch = 8, .signals = PRUNE_SIGNAL_PRODUCT, .direction = v};
    struct prune_status st = {0};
    struct heard h = {0};
    assert_int_equal(host()->score(n->host, &n->set, &o, hear, &h, &st), PRUNE_FAILED);
    assert_int_equal(h.images, 0);
    if (!strstr(st.message, part)) fail_msg("'%s' does not say '%s'", st.message, part);
}

static void what_has_no_tangents_is_refused(void **state)
{
    float v[MOST] = {0};
    (void)state;
    const char *data = make_classifier_data("");
    const char *cfg = write_text("norm.cfg", "[net]\nbatch=4\nsubdivisions=1\nwidth=12\nheight=12\nchannels=3\nlearning_rate=.01\nmax_batches=9\n\n"
        "[convolutional]\nfilters=6\nsize=3\nstride=1\npad=1\nactivation=relu\n\n[normalization]\nalpha=.1\nbeta=.5\nsize=3\nkappa=1\n\n"
        "[convolutional]\nfilters=6\nsize=3\nstride=1\npad=1\nactivation=relu\n\n[avgpool]\n\n[connected]\noutput=3\nactivation=linear\n\n[softmax]\n");
    struct net n = {.host = open_net(cfg, NULL, 4), .set = {.data_path = data, .role = PRUNE_DATA_TRAIN, .limit = 8}};
    attach_at(&n, cfg, PRUNE_GATE_AFTER_BN);
    expect_refused(&n, v, "[normalization] (");
    expect_refused(&n, v, "norm.cfg:17, layer 1) has no tangent pass");
    expect_refused(&n, NULL, "no direction given");
    host()->close(n.host);

    cfg = write_text("mixed.cfg", MIXED, "1");
    n = open_mixed(cfg, NULL, PRUNE_GATE_AFTER_BN);
    v[3] = NAN;
    expect_refused(&n, v, "unit 3 is not a finite number");
    host()->close(n.host);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_networks_equal_float64), cmocka_unit_test(residual_networks_equal_float64), cmocka_unit_test(grouped_networks_equal_float64),
        cmocka_unit_test(kinked_networks_equal_float64), cmocka_unit_test(detectors_equal_float64), cmocka_unit_test(differences_agree_at_any_gates),
        cmocka_unit_test(differences_agree_at_a_temperature), cmocka_unit_test(symmetric_and_linear), cmocka_unit_test(passes_and_other_signals_do_not_matter),
        cmocka_unit_test(the_network_stays_as_it_was), cmocka_unit_test(what_has_no_tangents_is_refused),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
