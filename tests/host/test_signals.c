/* Signals of scoring beyond the gates' sums: margins and probes of the curvature against differences and against each other, gradients of parameters
 * against differences of the loss and against what a training step does with them, layer outputs; none depends on how images are cut into passes. */
#include "host_fixture.h"

#include <math.h>

#include "../../darknet/curvature.h"
#include "../../darknet/host_net.h"
#include "../../plugin/model/weights_file.h"

enum { RIVALS = CLASSES - 1, MOST_PROBES = 2000, MOST_HEARD = 30, SITES = 8 + 8 + 8 + 6, HEAD = 7, LOGITS = 6 };

/* Smooth, with each kind of backward kernel: direct, Winograd, depthwise, 1x1, connected; with and without batch-norm. */
static const char SIGNAL_CFG[] =
    "[net]\nbatch=%d\nsubdivisions=%d\nwidth=12\nheight=12\nchannels=3\nlearning_rate=0.05\nmax_batches=1000\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=tanh\n"              /* 0 */
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=tanh\n"              /* 1 */
    "[convolutional]\nbatch_normalize=1\nfilters=8\ngroups=8\nsize=3\nstride=1\npad=1\nactivation=tanh\n"    /* 2 */
    "[shortcut]\nfrom=-3\nactivation=linear\n"                                                               /* 3 */
    "[convolutional]\nfilters=6\nsize=1\nstride=1\nactivation=tanh\n"                                        /* 4 */
    "[avgpool]\n"                                                                                            /* 5 */
    "[connected]\noutput=3\nactivation=linear\n"                                                             /* 6 */
    "[softmax]\n";                                                                                           /* 7 */
static const int GATED[] = {0, 1, 2, 4};

static struct pair make_pair(int batch, int subdivisions)
{
    return trained_classifier(write_text("signals.cfg", SIGNAL_CFG, batch, subdivisions));
}

static void attach(struct prune_host_net *net, enum prune_gate_place place)
{
    struct prune_gate_site sites[SITES];
    struct prune_status st = {0};
    int n = 0;
    for (int i = 0; i < 4; i++)
        for (int c = 0; c < net->open.net->layers[GATED[i]].out_c; c++, n++) sites[n] = (struct prune_gate_site){GATED[i], c, n, place};
    assert_int_equal(n, SITES);
    ok(host()->gates_attach(net, sites, SITES, SITES, &st), &st);
}

static struct prune_host_net *open_pair(const struct pair *p, int batch, int threads)
{
    const struct prune_open_options o = {.threads = threads, .seed = 3, .batch = batch, .quiet = true};
    struct prune_host_net *net = open_with(p->cfg, p->weights, &o);
    attach(net, PRUNE_GATE_BEFORE_ACTIVATION);
    return net;
}

/* What a pass told, images one after the other. */
struct heard {
    size_t images, calls, probes;
    double loss;
    float margins[MOST_HEARD][RIVALS], gate_margins[MOST_HEARD][RIVALS][SITES], gate_image[MOST_HEARD][SITES], *gate_probes;   /* (images, probes, SITES) */
};

static enum prune_code listen(void *user, const struct prune_signals *s, struct prune_status *st)
{
    struct heard *h = user;
    (void)st;
    h->loss += s->loss * (double)s->images;
    h->calls++;
    for (size_t b = 0; b < s->images; b++, h->images++) {
        if (s->margins.data) memcpy(h->margins[h->images], (float *)s->margins.data + b * RIVALS, sizeof h->margins[0]);
        if (s->gate_margins.data) memcpy(h->gate_margins[h->images], (float *)s->gate_margins.data + b * RIVALS * SITES, sizeof h->gate_margins[0]);
        if (s->gate_image.data) memcpy(h->gate_image[h->images], (float *)s->gate_image.data + b * SITES, sizeof h->gate_image[0]);
        if (!s->gate_probes.data) continue;
        assert_int_equal(s->gate_probes.shape[1], h->probes);
        memcpy(h->gate_probes + h->images * h->probes * SITES, (float *)s->gate_probes.data + b * h->probes * SITES, h->probes * SITES * sizeof(float));
    }
    return PRUNE_OK;
}

static void hear(struct prune_host_net *net, const struct pair *p, size_t first, size_t limit, struct prune_score_options o, struct heard *h)
{
    const struct prune_image_set set = {.data_path = p->data, .role = PRUNE_DATA_TRAIN, .first = first, .limit = limit};
    struct prune_status st = {0};
    if (o.probes && !h->gate_probes) h->gate_probes = calloc((size_t)MOST_HEARD * (size_t)o.probes * SITES, sizeof(float));
    h->probes = (size_t)o.probes;
    ok(host()->score(net, &set, &o, listen, h, &st), &st);
}

static const struct prune_score_options MARGINS = {.minibatch = 7, .signals = PRUNE_SIGNAL_MARGINS, .rivals = RIVALS};

/* Margins of `images` images with the gates as they are, rival k being the class it is in h. */
static void margins_at(struct prune_host_net *net, const struct pair *p, size_t images, const int (*chosen)[CLASSES], double (*out)[RIVALS])
{
    static float input[MOST_HEARD * 3 * SIDE * SIDE];
    const struct prune_image_set set = {.data_path = p->data, .role = PRUNE_DATA_TRAIN};
    struct prune_status st = {0};
    struct prune_tensor view;
    size_t got = 0;
    ok(host()->load_images(net, &set, images, input, &got, &st), &st);
    ok(host()->forward(net, input, images, &st), &st);
    ok(host()->output(net, LOGITS, &view, &st), &st);
    const float *y = view.data;
    for (size_t b = 0; b < images; b++)
        for (int k = 0; k < RIVALS; k++) out[b][k] = (double)y[b * CLASSES + (size_t)chosen[b][k + 1]] - (double)y[b * CLASSES + (size_t)chosen[b][0]];
}

/* True class of image b: images go left, middle, right. Rivals by their logits. */
static void choose(struct prune_host_net *net, const struct pair *p, size_t images, int (*chosen)[CLASSES])
{
    double margins[MOST_HEARD][RIVALS];
    for (size_t b = 0; b < images; b++)
        for (int k = 0; k < CLASSES; k++) chosen[b][k] = ((int)b + k) % CLASSES;
    margins_at(net, p, images, (const int (*)[CLASSES])chosen, margins);
    for (size_t b = 0; b < images; b++) {
        if (margins[b][0] >= margins[b][1]) continue;
        int swap = chosen[b][1];
        chosen[b][1] = chosen[b][2];
        chosen[b][2] = swap;
    }
}

static void check_margins(enum prune_gate_place place, bool some_half)
{
    enum { N = 10 };
    struct pair p = make_pair(8, 1);
    struct prune_host_net *net = open_pair(&p, N, 2);
    struct prune_status st = {0};
    static struct heard h;
    float z[SITES];
    int chosen[N][CLASSES];
    double base[N][RIVALS], up[N][RIVALS], down[N][RIVALS], top = 0;
    memset(&h, 0, sizeof h);
    attach(net, place);
    for (int u = 0; u < SITES; u++) z[u] = some_half && u % 2 ? 0.6f : 1.0f;
    ok(host()->gates_set(net, z, SITES, &st), &st);
    hear(net, &p, 0, N, MARGINS, &h);
    assert_int_equal(h.images, N);
    assert_int_equal(h.calls, 2);
    choose(net, &p, N, chosen);
    margins_at(net, &p, N, (const int (*)[CLASSES])chosen, base);
    double loss = 0;
    for (int b = 0; b < N; b++) {
        double sum = 1;
        for (int k = 0; k < RIVALS; k++) {
            assert_true(fabs((double)h.margins[b][k] - base[b][k]) <= 1e-4 * (1 + fabs(base[b][k])));
            sum += exp((double)h.margins[b][k]);
            for (int u = 0; u < SITES; u++) top = fmax(top, fabs((double)h.gate_margins[b][k][u]));
        }
        loss += log(sum);
    }
    assert_true(fabs(loss - h.loss) <= 1e-5 * h.loss);
    assert_true(top > .1);
    for (int u = 0; u < SITES; u++) {
        float keep = z[u];
        z[u] = keep + 0.004f;
        ok(host()->gates_set(net, z, SITES, &st), &st);
        margins_at(net, &p, N, (const int (*)[CLASSES])chosen, up);
        z[u] = keep - 0.004f;
        ok(host()->gates_set(net, z, SITES, &st), &st);
        margins_at(net, &p, N, (const int (*)[CLASSES])chosen, down);
        z[u] = keep;
        for (int b = 0; b < N; b++)
            for (int k = 0; k < RIVALS; k++) {
                double want = (up[b][k] - down[b][k]) / 0.008, got = (double)h.gate_margins[b][k][u];
                if (fabs(got - want) > fmax(.01 * fabs(want), 2e-3 * top))
                    fail_msg("image %d, rival %d, unit %d: da/dz %.7g, by differences %.7g (largest %.2g)", b, k, u, got, want, top);
            }
    }
    host()->close(net);
}

static void margins_and_their_gradients_equal_differences(void **state) { (void)state; check_margins(PRUNE_GATE_BEFORE_ACTIVATION, false); }
static void so_they_do_with_gates_half_shut(void **state) { (void)state; check_margins(PRUNE_GATE_BEFORE_ACTIVATION, true); }
static void so_they_do_with_gates_before_norm(void **state) { (void)state; check_margins(PRUNE_GATE_BEFORE_NORM, true); }
static void so_they_do_with_gates_on_outputs(void **state) { (void)state; check_margins(PRUNE_GATE_AFTER_OUTPUT, true); }

/* p[0] of the true class, p[1 + k] of rival k. */
static void probabilities(const float *margins, double *p)
{
    double sum = 1;
    for (int k = 0; k < RIVALS; k++) sum += p[1 + k] = exp((double)margins[k]);
    for (int k = 0; k < RIVALS; k++) p[1 + k] /= sum;
    p[0] = 1 / sum;
}

/* With every class a rival the gradient of the loss follows from the margins' gradients; and no signal disturbs another. */
static void the_loss_gradient_follows_from_all_margins(void **state)
{
    (void)state;
    enum { N = 20 };
    struct pair p = make_pair(8, 1);
    struct prune_host_net *net = open_pair(&p, 6, 2);
    static struct heard alone, all;
    struct prune_score_options o = MARGINS;
    memset(&alone, 0, sizeof alone);
    memset(&all, 0, sizeof all);
    hear(net, &p, 0, N, o, &alone);
    o.signals |= PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_GATE_IMAGE | PRUNE_SIGNAL_CURVATURE | PRUNE_SIGNAL_PARAMETERS;
    o.probes = 2;
    hear(net, &p, 0, N, o, &all);
    assert_memory_equal(alone.margins, all.margins, sizeof all.margins);
    assert_memory_equal(alone.gate_margins, all.gate_margins, sizeof all.gate_margins);
    double top = 0;
    for (int b = 0; b < N; b++)
        for (int u = 0; u < SITES; u++) top = fmax(top, fabs((double)all.gate_image[b][u]));
    assert_true(top > 1e-3);
    for (int b = 0; b < N; b++) {
        double prob[CLASSES];
        probabilities(all.margins[b], prob);
        for (int u = 0; u < SITES; u++) {
            double sum = 0;
            for (int k = 0; k < RIVALS; k++) sum += prob[1 + k] * (double)all.gate_margins[b][k][u];
            assert_true(fabs(sum - (double)all.gate_image[b][u]) <= 1e-4 * top);
        }
    }
    free(all.gate_probes);
    host()->close(net);
}

/* v of a probe, by class, from the definition: w = eps sqrt(p), v = w - p sum w. */
static void probe_vector(uint64_t ordinal, int probe, const double *p, double *v)
{
    const struct curvature_draw d = {.seed = 3, .first = ordinal, .probe = probe};
    struct prune_random r = curvature_random(&d, HEAD, 0);
    double sum = 0;
    for (int c = 0; c < CLASSES; c++) sum += v[c] = (double)curvature_sign(&r) * sqrt(p[c]);
    for (int c = 0; c < CLASSES; c++) v[c] -= p[c] * sum;
}

/* Probes are v . dy/dz, and the mean of their squares tends to J^T R J, known from the margins because v sums to 0. */
static void probes_are_unbiased(void **state)
{
    (void)state;
    enum { N = 4, FIRST = 5 };
    struct pair p = make_pair(8, 1);
    struct prune_host_net *net = open_pair(&p, 3, 2);
    static struct heard h;
    int chosen[FIRST + N][CLASSES];
    memset(&h, 0, sizeof h);
    hear(net, &p, FIRST, N, (struct prune_score_options){.minibatch = 4, .signals = PRUNE_SIGNAL_MARGINS | PRUNE_SIGNAL_CURVATURE, .rivals = RIVALS, .probes = MOST_PROBES}, &h);
    host()->close(net);
    net = open_pair(&p, FIRST + N, 2);
    choose(net, &p, FIRST + N, chosen);
    host()->close(net);
    double top = 0, worst = 0;
    for (int b = 0; b < N; b++)
        for (int u = 0; u < SITES; u++) {
            const int *class = chosen[FIRST + b];
            double prob[CLASSES], by_class[CLASSES], v[CLASSES], mean = 0, first = 0, exact = 0;
            probabilities(h.margins[b], prob);
            for (int k = 0; k < CLASSES; k++) by_class[class[k]] = prob[k];
            for (int k = 0; k < RIVALS; k++) {
                double slope = (double)h.gate_margins[b][k][u];
                first += prob[1 + k] * slope;
                exact += prob[1 + k] * slope * slope;
            }
            exact -= first * first;
            top = fmax(top, exact);
            for (int probe = 0; probe < MOST_PROBES; probe++) {
                double got = (double)h.gate_probes[((size_t)b * MOST_PROBES + (size_t)probe) * SITES + (size_t)u], want = 0;
                mean += got * got / MOST_PROBES;
                if (probe >= 20) continue;
                probe_vector(FIRST + (uint64_t)b, probe, by_class, v);
                for (int k = 0; k < RIVALS; k++) want += v[class[1 + k]] * (double)h.gate_margins[b][k][u];
                assert_true(fabs(got - want) <= 1e-4 * (.1 + fabs(want)));
            }
            worst = fmax(worst, fabs(mean - exact) / (exact + 1e-9));
        }
    assert_true(top > 1e-4);
    if (worst > .25) fail_msg("the mean of %d probes is off by %.3g of the exact value", MOST_PROBES, worst);   /* deviation at most sqrt(2 / 2000) = 3% */
    free(h.gate_probes);
}

static void assert_close(const char *what, const float *a, const float *b, size_t n)
{
    float top = 0;
    for (size_t i = 0; i < n; i++) top = fmaxf(top, fabsf(a[i]));
    assert_true(top > 0);
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= 2e-5f * top)) fail_msg("%s %zu: %.9g and %.9g (largest %.2g)", what, i, (double)a[i], (double)b[i], (double)top);
}

static void signals_do_not_depend_on_how_images_are_cut(void **state)
{
    (void)state;
    enum { N = 23, P = 3 };
    struct pair p = make_pair(8, 1), q;
    struct prune_host_net *a = open_pair(&p, 12, 2);
    q = p;
    q.cfg = write_text("other.cfg", SIGNAL_CFG, 10, 2);
    struct prune_host_net *b = open_pair(&q, 0, 1);
    static struct heard x, y;
    const struct prune_score_options o = {.minibatch = 9, .signals = PRUNE_SIGNAL_MARGINS | PRUNE_SIGNAL_CURVATURE | PRUNE_SIGNAL_GATE_IMAGE, .rivals = RIVALS, .probes = P};
    struct prune_score_options other = o;
    other.minibatch = 4;
    memset(&x, 0, sizeof x);
    memset(&y, 0, sizeof y);
    hear(a, &p, 0, N, o, &x);
    hear(b, &p, 0, 10, other, &y);
    hear(b, &p, 10, N - 10, other, &y);
    assert_int_equal(x.images, N);
    assert_int_equal(y.images, N);
    assert_close("margin", x.margins[0], y.margins[0], N * RIVALS);
    assert_close("gradient of a margin", x.gate_margins[0][0], y.gate_margins[0][0], N * RIVALS * SITES);
    assert_close("gradient", x.gate_image[0], y.gate_image[0], N * SITES);
    assert_close("probe", x.gate_probes, y.gate_probes, (size_t)N * P * SITES);
    free(x.gate_probes);
    free(y.gate_probes);
    host()->close(a);
    host()->close(b);
}

/* Backward passes for gates alone: the same sums to the last bit as with gradients of weights beside them. */
struct sums { double gates[SITES]; size_t parameters; };

static enum prune_code listen_sums(void *user, const struct prune_signals *s, struct prune_status *st)
{
    struct sums *x = user;
    (void)st;
    memcpy(x->gates, s->gate_batch.data, sizeof x->gates);
    x->parameters = s->parameter_count;
    return PRUNE_OK;
}

static void leaving_weights_out_changes_no_gate_gradient(void **state)
{
    (void)state;
    struct pair p = make_pair(8, 1);
    const struct prune_image_set set = {.data_path = p.data, .role = PRUNE_DATA_TRAIN};
    for (int threads = 1; threads <= 2; threads++) {
        struct prune_host_net *net = open_pair(&p, 12, threads);
        struct prune_status st = {0};
        struct sums a, b;
        struct prune_score_options o = {.minibatch = 30, .signals = PRUNE_SIGNAL_GATE_BATCH};
        ok(host()->score(net, &set, &o, listen_sums, &a, &st), &st);
        o.signals |= PRUNE_SIGNAL_PARAMETERS;
        ok(host()->score(net, &set, &o, listen_sums, &b, &st), &st);
        assert_memory_equal(a.gates, b.gates, sizeof a.gates);
        assert_int_equal(a.parameters, 0);
        assert_int_equal(b.parameters, 3 + 3 + 3 + 2 + 2);
        host()->close(net);
    }
}

/* Parameters */

enum { MOST_PARAMETERS = 16, MOST_VALUES = 1024 };
struct gradients { size_t calls, count; int layer[MOST_PARAMETERS], role[MOST_PARAMETERS]; size_t n[MOST_PARAMETERS]; const float *values[MOST_PARAMETERS];
                   double sum[MOST_PARAMETERS][MOST_VALUES]; };   /* of the minibatches' gradients */

static enum prune_code listen_gradients(void *user, const struct prune_signals *s, struct prune_status *st)
{
    struct gradients *g = user;
    (void)st;
    g->calls++;
    g->count = s->parameter_count;
    assert_in_range(g->count, 1, MOST_PARAMETERS);
    for (size_t i = 0; i < g->count; i++) {
        const struct prune_parameter_signal *p = &s->parameters[i];
        g->layer[i] = p->layer;
        g->role[i] = p->role;
        g->n[i] = p->values.shape[0];
        g->values[i] = p->values.data;
        assert_int_equal(p->gradients.shape[0], g->n[i]);
        assert_in_range(g->n[i], 1, MOST_VALUES);
        for (size_t k = 0; k < g->n[i]; k++) g->sum[i][k] += (double)((const float *)p->gradients.data)[k];
    }
    return PRUNE_OK;
}

static void check_parameters(enum prune_gate_place place)
{
    struct pair p = make_pair(8, 1);
    struct prune_host_net *net = open_pair(&p, 12, 2);
    const struct prune_image_set set = {.data_path = p.data, .role = PRUNE_DATA_TRAIN};
    struct prune_status st = {0};
    static struct gradients g;
    double top = 0;
    float z[SITES];
    memset(&g, 0, sizeof g);
    attach(net, place);
    for (int u = 0; u < SITES; u++) z[u] = u % 3 ? 1.0f : 0.7f;
    ok(host()->gates_set(net, z, SITES, &st), &st);
    ok(host()->score(net, &set, &(struct prune_score_options){.minibatch = IMAGES, .signals = PRUNE_SIGNAL_PARAMETERS}, listen_gradients, &g, &st), &st);
    assert_int_equal(g.calls, 1);
    assert_int_equal(g.count, 13);
    static const int layers[] = {0, 0, 0, 1, 1, 1, 2, 2, 2, 4, 4, 6, 6};
    static const int roles[] = {PRUNE_BIASES, PRUNE_SCALES, PRUNE_WEIGHTS, PRUNE_BIASES, PRUNE_SCALES, PRUNE_WEIGHTS, PRUNE_BIASES, PRUNE_SCALES, PRUNE_WEIGHTS,
                                PRUNE_BIASES, PRUNE_WEIGHTS, PRUNE_BIASES, PRUNE_WEIGHTS};
    for (size_t i = 0; i < g.count; i++) {
        assert_int_equal(g.layer[i], layers[i]);
        assert_int_equal(g.role[i], roles[i]);
        for (size_t k = 0; k < g.n[i]; k++) top = fmax(top, fabs(g.sum[i][k]));
    }
    assert_true(top > 1e-3);
    for (size_t i = 0; i < g.count; i++)
        for (size_t k = 0; k < g.n[i]; k += 1 + g.n[i] / 7) {
            float *w = (float *)(uintptr_t)&g.values[i][k], keep = *w;
            *w = keep + 0.01f;
            double up = evaluated_loss(net, p.data);
            *w = keep - 0.01f;
            double down = evaluated_loss(net, p.data), want = (up - down) / 0.02;
            *w = keep;
            if (fabs(g.sum[i][k] - want) > fmax(.02 * fabs(want), 2e-3 * top))
                fail_msg("layer %d, role %d, value %zu: %.7g, by differences %.7g", g.layer[i], g.role[i], k, g.sum[i][k], want);
        }
    host()->close(net);
}

static void gradients_of_parameters_equal_differences(void **state)
{
    (void)state;
    check_parameters(PRUNE_GATE_BEFORE_ACTIVATION);
    check_parameters(PRUNE_GATE_BEFORE_NORM);
}

/* Beside momentum and over subdivisions: the step w += rate / N (u - N gradient - decay N w [weights]) gives the gradients back; and nothing is disturbed. */
static void training_tells_the_gradients_it_descends(void **state)
{
    (void)state;
    enum { N = 12 };
    const double rate = .05, decay = 5e-4;
    struct pair p = make_pair(N, 2);
    struct prune_host_net *net = open_pair(&p, 0, 2), *plain = open_pair(&p, 0, 2);
    const struct prune_image_set set = {.data_path = p.data, .role = PRUNE_DATA_TRAIN};
    const struct prune_step_options o = {.rate = rate, .momentum = .9, .decay = decay};
    struct prune_status st = {0};
    struct prune_step step;
    static struct gradients g;
    memset(&g, 0, sizeof g);
    const struct prune_score_options told = {.signals = PRUNE_SIGNAL_PARAMETERS | PRUNE_SIGNAL_MARGINS | PRUNE_SIGNAL_CURVATURE | PRUNE_SIGNAL_MAPS};
    ok(host()->train_start(net, &set, &told, listen_gradients, &g, &st), &st);
    ok(host()->train_start(plain, &set, NULL, NULL, NULL, &st), &st);
    for (int i = 0; i < 3; i++) {
        ok(host()->train_step(net, &o, &step, &st), &st);
        ok(host()->train_step(plain, &o, &step, &st), &st);
    }
    const layer *l = &net->open.net->layers[1];
    enum { WEIGHTS = 8 * 8 * 9 };
    float w[WEIGHTS], u[WEIGHTS];
    assert_int_equal(l->nweights, WEIGHTS);
    memcpy(w, l->weights, sizeof w);
    memcpy(u, l->weight_updates, sizeof u);
    memset(&g, 0, sizeof g);
    ok(host()->train_step(net, &o, &step, &st), &st);
    ok(host()->train_step(plain, &o, &step, &st), &st);
    assert_int_equal(g.calls, 2);
    assert_int_equal(g.layer[5], 1);
    assert_int_equal(g.role[5], PRUNE_WEIGHTS);
    double top = 0;
    for (int k = 0; k < WEIGHTS; k++) top = fmax(top, fabs(g.sum[5][k]));
    assert_true(top > 1e-4);
    for (int k = 0; k < WEIGHTS; k++) {
        double grown = ((double)l->weights[k] - (double)w[k]) * N / rate, gradient = ((double)u[k] - grown - decay * N * (double)w[k]) / N;
        if (fabs(gradient - g.sum[5][k] / 2) > 1e-2 * top) fail_msg("weight %d: %.7g told, %.7g descended", k, g.sum[5][k] / 2, gradient);
    }
    for (int i = 0; i < 3; i++) assert_memory_equal(net->open.net->layers[i].weights, plain->open.net->layers[i].weights, (size_t)plain->open.net->layers[i].nweights * sizeof(float));
    host()->close(net);
    host()->close(plain);
}

/* Maps */

struct mapped { struct prune_host_net *net; const struct pair *pair; size_t calls, images, whole, at[8]; bool gates; };

static enum prune_code listen_maps(void *user, const struct prune_signals *s, struct prune_status *st)
{
    struct mapped *m = user;
    (void)st;
    assert_int_equal(s->map_count, 7);
    const struct prune_tensor *t = &s->maps[3].map;
    assert_int_equal(s->maps[3].layer, 3);
    assert_int_equal(t->shape[1], 8);
    assert_int_equal(t->shape[2], SIDE);
    assert_int_equal(t->shape[3], SIDE);
    assert_ptr_equal(t->data, m->net->open.net->layers[3].output);
    m->at[m->calls++] = t->shape[0];
    m->images += t->shape[0];
    m->whole += s->images;
    if (m->gates) assert_true((s->images == 0) == (s->gate_batch.data == NULL));
    return PRUNE_OK;
}

static void maps_are_told_pass_by_pass(void **state)
{
    (void)state;
    struct pair p = make_pair(8, 1);
    struct prune_host_net *net = open_pair(&p, 5, 2);
    const struct prune_image_set set = {.data_path = p.data, .role = PRUNE_DATA_TRAIN, .limit = 17};
    struct prune_status st = {0};
    struct mapped m = {.net = net, .pair = &p};
    ok(host()->score(net, &set, &(struct prune_score_options){.minibatch = 12, .signals = PRUNE_SIGNAL_MAPS}, listen_maps, &m, &st), &st);
    assert_int_equal(m.calls, 4);
    assert_int_equal(m.images, 17);
    assert_int_equal(m.whole, 17);
    assert_int_equal(m.at[3], 2);
    m = (struct mapped){.net = net, .pair = &p, .gates = true};
    ok(host()->score(net, &set, &(struct prune_score_options){.minibatch = 12, .signals = PRUNE_SIGNAL_MAPS | PRUNE_SIGNAL_GATE_BATCH}, listen_maps, &m, &st), &st);
    assert_int_equal(m.calls, 4);   /* 5, 5, 2 | 5 */
    assert_int_equal(m.at[2], 2);
    assert_int_equal(m.images, 17);
    assert_int_equal(m.whole, 17);
    host()->close(net);
}

static void what_cannot_be_told_is_refused(void **state)
{
    (void)state;
    struct pair p = make_pair(8, 1);
    struct prune_host_net *net = open_pair(&p, 5, 2);
    struct prune_image_set set = {.data_path = p.data, .role = PRUNE_DATA_TRAIN};
    struct prune_status st = {0};
    static struct heard h;
    assert_int_equal(host()->score(net, &set, &(struct prune_score_options){.minibatch = 4, .signals = PRUNE_SIGNAL_MARGINS, .rivals = 3}, listen, &h, &st), PRUNE_FAILED);
    assert_string_equal(st.message, "3 rivals of the true class cannot be taken among 3 classes: 1 to 2 can");
    assert_int_equal(host()->score(net, &set, &(struct prune_score_options){.minibatch = 4, .signals = PRUNE_SIGNAL_CURVATURE}, listen, &h, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "0 probes"));
    host()->close(net);
    net = open_net(make_detector_cfg("det.cfg", .01, 100, 0), NULL, 0);
    set.data_path = make_detector_data();
    assert_int_equal(host()->score(net, &set, &(struct prune_score_options){.minibatch = 4, .signals = PRUNE_SIGNAL_MARGINS, .rivals = 1}, listen, &h, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "no gates are attached"));
    attach_all(net, at("det.cfg"));
    assert_int_equal(host()->score(net, &set, &(struct prune_score_options){.minibatch = 4, .signals = PRUNE_SIGNAL_MARGINS, .rivals = 1}, listen, &h, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "margins between classes need a [softmax] as last layer"));
    host()->close(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(margins_and_their_gradients_equal_differences),
        cmocka_unit_test(so_they_do_with_gates_half_shut),
        cmocka_unit_test(so_they_do_with_gates_on_outputs),
        cmocka_unit_test(so_they_do_with_gates_before_norm),
        cmocka_unit_test(the_loss_gradient_follows_from_all_margins),
        cmocka_unit_test(probes_are_unbiased),
        cmocka_unit_test(signals_do_not_depend_on_how_images_are_cut),
        cmocka_unit_test(leaving_weights_out_changes_no_gate_gradient),
        cmocka_unit_test(gradients_of_parameters_equal_differences),
        cmocka_unit_test(training_tells_the_gradients_it_descends),
        cmocka_unit_test(maps_are_told_pass_by_pass),
        cmocka_unit_test(what_cannot_be_told_is_refused),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
