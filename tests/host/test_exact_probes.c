/* Exact probes of the curvature: their mean v v^T over an image's probes is J^T R J itself, J by differences of the logits, R from their softmax. */
#include "host_fixture.h"

#include <math.h>

enum { SITES = 8 + 6 + 8, LOGITS = 5, N = 6 };

/* Smooth, with a shortcut and a layer without batch-norm. */
static const char CFG[] =
    "[net]\nbatch=8\nsubdivisions=1\nwidth=12\nheight=12\nchannels=3\nlearning_rate=0.05\nmax_batches=1000\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=tanh\n"              /* 0 */
    "[convolutional]\nfilters=6\nsize=1\nstride=1\nactivation=tanh\n"                                        /* 1 */
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=tanh\n"              /* 2 */
    "[activation]\nactivation=linear\n"                                                                      /* 3 */
    "[avgpool]\n"                                                                                            /* 4 */
    "[connected]\noutput=3\nactivation=linear\n"                                                             /* 5 */
    "[softmax]\n%s";                                                                                         /* 6 */
static const int GATED[] = {0, 1, 2};

struct heard { size_t images, probes; double loss; float probe[N][CLASSES][SITES]; };

static enum prune_code listen(void *user, const struct prune_signals *s, struct prune_status *st)
{
    struct heard *h = user;
    (void)st;
    h->probes = s->gate_probes.shape[1];
    assert_int_equal(h->probes, CLASSES);
    assert_int_equal(s->gate_probes.shape[2], SITES);
    for (size_t b = 0; b < s->images; b++, h->images++)
        memcpy(h->probe[h->images], (float *)s->gate_probes.data + b * CLASSES * SITES, sizeof h->probe[0]);
    return PRUNE_OK;
}

static struct prune_host_net *open_gated(const char *cfg, const char *weights, enum prune_gate_place place)
{
    struct prune_host_net *net = open_net(cfg, weights, N);
    struct prune_gate_site sites[SITES];
    struct prune_status st = {0};
    static const int filters[] = {8, 6, 8};
    int n = 0;
    for (int i = 0; i < 3; i++)
        for (int c = 0; c < filters[i]; c++, n++) sites[n] = (struct prune_gate_site){GATED[i], c, n, place};
    ok(host()->gates_attach(net, sites, SITES, SITES, &st), &st);
    return net;
}

static void logits_at(struct prune_host_net *net, const float *input, const float *z, double (*y)[CLASSES])
{
    struct prune_tensor view;
    struct prune_status st = {0};
    ok(host()->gates_set(net, z, SITES, &st), &st);
    ok(host()->forward(net, input, N, &st), &st);
    ok(host()->output(net, LOGITS, &view, &st), &st);
    for (int b = 0; b < N; b++)
        for (int k = 0; k < CLASSES; k++) y[b][k] = (double)((const float *)view.data)[b * CLASSES + k];
}

/* Central differences of three steps, extrapolated: the error is of sixth order, so steps may be wide and rounding small. */
static void slopes(struct prune_host_net *net, const float *input, const float *z, double (*J)[CLASSES][SITES])
{
    static const double steps[] = {.1875, .09375, .046875}, share[] = {1. / 45, -20. / 45, 64. / 45};
    double up[N][CLASSES], down[N][CLASSES];
    for (int u = 0; u < SITES; u++)
        for (int i = 0; i < 3; i++) {
            float moved[SITES];
            memcpy(moved, z, sizeof moved);
            moved[u] = z[u] + (float)steps[i];
            logits_at(net, input, moved, up);
            moved[u] = z[u] - (float)steps[i];
            logits_at(net, input, moved, down);
            for (int b = 0; b < N; b++)
                for (int k = 0; k < CLASSES; k++) J[b][k][u] += share[i] * (up[b][k] - down[b][k]) / (2 * steps[i]);
        }
}

/* R of one image: (diag(p) - p p^T) / T, p the softmax of y / T. */
static void curvature_of_softmax(const double *y, double T, double R[CLASSES][CLASSES])
{
    double p[CLASSES], sum = 0;
    for (int k = 0; k < CLASSES; k++) sum += p[k] = exp(y[k] / T);
    for (int k = 0; k < CLASSES; k++) p[k] /= sum;
    for (int k = 0; k < CLASSES; k++)
        for (int m = 0; m < CLASSES; m++) R[k][m] = ((k == m) * p[k] - p[k] * p[m]) / T;
}

static double quadratic(double J[CLASSES][SITES], double R[CLASSES][CLASSES], int u, int v)
{
    double sum = 0;
    for (int k = 0; k < CLASSES; k++)
        for (int m = 0; m < CLASSES; m++) sum += J[k][u] * R[k][m] * J[m][v];
    return sum;
}

static void check(const char *softmax, double temperature, enum prune_gate_place place)
{
    const char *data = make_classifier_data(""), *cfg = write_text("probes.cfg", CFG, softmax);
    struct prune_host_net *net = open_gated(cfg, trained_pair(data, cfg), place);
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
    struct prune_status st = {0};
    static struct heard h;
    static float input[N * 3 * SIDE * SIDE];
    static double J[N][CLASSES][SITES], y[N][CLASSES];
    float z[SITES];
    double top = 0, worst = 0;
    size_t got;
    memset(&h, 0, sizeof h);
    memset(J, 0, sizeof J);
    for (int u = 0; u < SITES; u++) z[u] = u % 3 ? 1.0f : 0.75f;
    ok(host()->gates_set(net, z, SITES, &st), &st);
    const struct prune_score_options o = {.minibatch = 4, .signals = PRUNE_SIGNAL_CURVATURE, .probes = PRUNE_PROBES_EXACT};
    ok(host()->score(net, &(struct prune_image_set){.data_path = data, .role = PRUNE_DATA_TRAIN, .limit = N}, &o, listen, &h, &st), &st);
    assert_int_equal(h.images, N);
    ok(host()->load_images(net, &set, N, input, &got, &st), &st);
    logits_at(net, input, z, y);
    slopes(net, input, z, J);
    for (int b = 0; b < N; b++) {
        double R[CLASSES][CLASSES];
        curvature_of_softmax(y[b], temperature, R);
        for (int u = 0; u < SITES; u++)
            for (int v = 0; v < SITES; v++) {
                double want = quadratic(J[b], R, u, v), mean = 0;
                for (int k = 0; k < CLASSES; k++) mean += (double)h.probe[b][k][u] * (double)h.probe[b][k][v] / CLASSES;
                top = fmax(top, fabs(want));
                worst = fmax(worst, fabs(mean - want));
            }
    }
    assert_true(top > 1e-3);   /* differences of float32 logits: 1.6e-5 is what rounding leaves */
    if (!(worst <= 3e-5 * top)) fail_msg("%s: off by %.3g of the largest", softmax, worst / top);
    host()->close(net);
}

static void their_mean_is_the_gauss_newton_matrix(void **state) { (void)state; check("", 1, PRUNE_GATE_BEFORE_ACTIVATION); }
static void so_it_is_in_front_of_batch_norm(void **state) { (void)state; check("", 1, PRUNE_GATE_BEFORE_NORM); }
static void so_it_is_at_a_temperature(void **state) { (void)state; check("temperature=2\n", 2, PRUNE_GATE_BEFORE_ACTIVATION); }

static void other_heads_are_refused_by_name(void **state)
{
    (void)state;
    struct prune_host_net *net = open_net(make_detector_cfg("det.cfg", .01, 100, 0), NULL, 0);
    const struct prune_image_set set = {.data_path = make_detector_data(), .role = PRUNE_DATA_TRAIN};
    const struct prune_score_options o = {.minibatch = 4, .signals = PRUNE_SIGNAL_CURVATURE, .probes = PRUNE_PROBES_EXACT};
    struct prune_status st = {0};
    attach_all(net, at("det.cfg"));
    assert_int_equal(host()->score(net, &set, &o, listen, NULL, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "exact probes of the curvature are those of a single [softmax], and the [yolo] head (layer "));
    host()->close(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(their_mean_is_the_gauss_newton_matrix),
        cmocka_unit_test(so_it_is_in_front_of_batch_norm),
        cmocka_unit_test(so_it_is_at_a_temperature),
        cmocka_unit_test(other_heads_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
