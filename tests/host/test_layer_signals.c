/* The signal LAYERS: gradients at a layer's sums times the patches of its input are the gradient of its weights, for every way a convolution runs backward, in
 * scoring and in training; how images are cut into passes, other signals and gates change nothing; training does not notice. */
#include "host_fixture.h"

#include <math.h>

#include "../../darknet/host_net.h"
#include "../../darknet/kernels/vector.h"
#include "../../darknet/kernels/winograd.h"
#include "../../plugin/model/weights_file.h"

enum { MOST_LAYERS = 12, LAYER_COUNT = 11, TOLD = 9, MOST_WEIGHTS = 64 * 64 * 9, MOST_IMAGES = 64 };

/* %s: an activation that kernels fuse, or a smooth one. 1: Winograd, 7: Winograd by blocks (from 64 x 64 channels on). */
static const char LAYERS_CFG[] =
    "[net]\nbatch=%d\nsubdivisions=%d\nwidth=12\nheight=12\nchannels=3\nlearning_rate=0.05\nmax_batches=1000\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=%s\n"                /* 0 direct */
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=%s\n"                /* 1 Winograd */
    "[convolutional]\nbatch_normalize=1\nfilters=8\ngroups=8\nsize=3\nstride=1\npad=1\nactivation=%s\n"      /* 2 depthwise */
    "[shortcut]\nfrom=-3\nactivation=linear\n"                                                               /* 3 */
    "[convolutional]\nfilters=8\ngroups=2\nsize=3\nstride=1\npad=1\nactivation=%s\n"                         /* 4 groups, no batch-norm */
    "[convolutional]\nbatch_normalize=1\nfilters=64\nsize=3\nstride=2\npad=1\nactivation=%s\n"               /* 5 strided */
    "[convolutional]\nbatch_normalize=1\nfilters=64\nsize=1\nstride=1\nactivation=%s\n"                      /* 6 1x1 */
    "[convolutional]\nbatch_normalize=1\nfilters=64\nsize=3\nstride=1\npad=1\nactivation=%s\n"               /* 7 Winograd by blocks */
    "[connected]\nbatch_normalize=1\noutput=10\nactivation=%s\n"                                             /* 8 */
    "[connected]\noutput=3\nactivation=linear\n"                                                             /* 9 */
    "[softmax]\n";                                                                                           /* 10 */

static const char *layers_cfg(const char *name, int batch, int subdivisions, const char *f)
{
    return write_text(name, LAYERS_CFG, batch, subdivisions, f, f, f, f, f, f, f, f);
}

static struct pair make_pair(const char *activation)
{
    return trained_classifier(layers_cfg("layers.cfg", 12, 1, activation));
}

static struct prune_host_net *open_pair(const struct pair *p, int batch, int threads, bool gates)
{
    const struct prune_open_options o = {.threads = threads, .seed = 3, .batch = batch, .quiet = true};
    struct prune_host_net *net = open_with(p->cfg, p->weights, &o);
    if (gates) attach_any(net, p->cfg);
    return net;
}

/* What passes told of layers, by images in their order, and of everything else at the end of minibatches. */
struct layer_heard { int layer; size_t inputs, outputs; float *input, *gradient; };
struct heard {
    const network *net;
    size_t images, ends, minibatch_images, layers;
    double loss;
    struct layer_heard of[MOST_LAYERS];
    double product[MOST_LAYERS][MOST_WEIGHTS], parameters[MOST_LAYERS][MOST_WEIGHTS];   /* dE/dW: of the last minibatch, made of layers and as told */
    double pending[MOST_LAYERS][MOST_WEIGHTS];
    double gate_batch[512];
    size_t units;
};

/* Adds minus the sum over locations of gradient x patch of one image. */
static void add_products(const layer *l, const float *x, const float *g, double *out)
{
    if (l->type == CONNECTED) {
        for (int n = 0; n < l->outputs; n++)
            for (int i = 0; i < l->inputs; i++) out[n * l->inputs + i] -= (double)g[n] * (double)x[i];
        return;
    }
    int cg = l->c / l->groups, ng = l->n / l->groups, k = l->size;
    for (int n = 0; n < l->n; n++)
        for (int c = 0; c < cg; c++)
            for (int ky = 0; ky < k; ky++)
                for (int kx = 0; kx < k; kx++) {
                    const float *plane = x + (n / ng * cg + c) * l->h * l->w, *d = g + n * l->out_h * l->out_w;
                    double sum = 0;
                    for (int y = 0; y < l->out_h; y++)
                        for (int u = 0; u < l->out_w; u++) {
                            int row = y * l->stride + ky - l->pad, column = u * l->stride + kx - l->pad;
                            if (row >= 0 && row < l->h && column >= 0 && column < l->w) sum += (double)d[y * l->out_w + u] * (double)plane[row * l->w + column];
                        }
                    out[((n * cg + c) * k + ky) * k + kx] -= sum;
                }
}

static void hear_layer(struct heard *h, size_t slot, const struct prune_layer_signal *s, size_t images)
{
    struct layer_heard *to = &h->of[slot];
    const layer *l = &h->net->layers[s->layer];
    bool map = l->type == CONVOLUTIONAL;
    assert_true(s->negated);
    assert_int_equal(s->input.shape[0], images);
    assert_int_equal(s->gradient.shape[0], images);
    assert_int_equal(s->input.shape[1], map ? l->c : l->inputs);
    assert_int_equal(s->gradient.shape[1], map ? l->n : l->outputs);
    assert_int_equal(s->input.shape[2] * s->input.shape[3], map ? l->h * l->w : 1);
    assert_int_equal(s->gradient.shape[2] * s->gradient.shape[3], map ? l->out_h * l->out_w : 1);
    to->layer = s->layer;
    to->inputs = (size_t)l->inputs;
    to->outputs = (size_t)l->outputs;
    if (!to->input) {
        to->input = malloc(MOST_IMAGES * to->inputs * sizeof(float));
        to->gradient = malloc(MOST_IMAGES * to->outputs * sizeof(float));
    }
    for (size_t b = 0; b < images; b++) {
        const float *x = (const float *)s->input.data + b * to->inputs, *g = (const float *)s->gradient.data + b * to->outputs;
        add_products(l, x, g, h->pending[slot]);
        memcpy(to->input + (h->images + b) * to->inputs, x, to->inputs * sizeof *x);
        memcpy(to->gradient + (h->images + b) * to->outputs, g, to->outputs * sizeof *g);
    }
}

static enum prune_code listen(void *user, const struct prune_signals *s, struct prune_status *st)
{
    struct heard *h = user;
    (void)st;
    h->layers = s->layer_count;
    assert_true(s->layer_count <= MOST_LAYERS);
    if (h->images + s->layer_images > MOST_IMAGES) h->images = 0;   /* training goes on and on */
    for (size_t i = 0; i < s->layer_count; i++) hear_layer(h, i, &s->layers[i], s->layer_images);
    h->images += s->layer_images;
    h->minibatch_images += s->layer_images;
    if (!s->images) return PRUNE_OK;
    if (s->layer_count) assert_int_equal(h->minibatch_images, s->images);
    h->ends++;
    h->loss += s->loss * (double)s->images;
    for (size_t i = 0; i < s->layer_count; i++) {
        for (size_t k = 0; k < MOST_WEIGHTS; k++) h->product[i][k] = h->pending[i][k] / (double)s->images;
        for (size_t p = 0; p < s->parameter_count; p++) {
            const struct prune_parameter_signal *g = &s->parameters[p];
            for (size_t k = 0; g->layer == s->layers[i].layer && g->role == PRUNE_WEIGHTS && k < g->gradients.shape[0]; k++)
                h->parameters[i][k] = (double)((const float *)g->gradients.data)[k];
        }
    }
    memset(h->pending, 0, sizeof h->pending);
    h->minibatch_images = 0;
    if (s->gate_batch.data) memcpy(h->gate_batch, s->gate_batch.data, s->units * sizeof(double));
    h->units = s->units;
    return PRUNE_OK;
}

static struct heard *heard_new(const struct prune_host_net *net)
{
    struct heard *h = calloc(1, sizeof *h);
    assert_non_null(h);
    h->net = net->open.net;
    return h;
}

static void heard_free(struct heard *h)
{
    for (int i = 0; i < MOST_LAYERS; i++) {
        free(h->of[i].input);
        free(h->of[i].gradient);
    }
    free(h);
}

static struct heard *hear(struct prune_host_net *net, const struct pair *p, size_t first, size_t limit, struct prune_score_options o)
{
    const struct prune_image_set set = {.data_path = p->data, .role = PRUNE_DATA_TRAIN, .first = first, .limit = limit};
    struct prune_status st = {0};
    struct heard *h = heard_new(net);
    ok(host()->score(net, &set, &o, listen, h, &st), &st);
    if (o.signals & PRUNE_SIGNAL_LAYERS) assert_int_equal(h->images, limit);
    return h;
}

static void assert_products_are_gradients(const struct heard *h, const char *what)
{
    for (size_t i = 0; i < h->layers; i++) {
        size_t n = weights_of(&h->net->layers[h->of[i].layer]);
        double top = 0, worst = 0;
        for (size_t k = 0; k < n; k++) {
            top = fmax(top, fabs(h->parameters[i][k]));
            worst = fmax(worst, fabs(h->parameters[i][k] - h->product[i][k]));
        }
        assert_true(top > 1e-5);
        if (worst > 3e-5 * top) fail_msg("%s: layer %d: gradients of weights differ by %.3g of %.3g", what, h->of[i].layer, worst, top);
    }
}

static const struct prune_score_options OWN = {.minibatch = 12, .signals = PRUNE_SIGNAL_LAYERS, .fisher = PRUNE_FISHER_EMPIRICAL};
static const struct prune_score_options DRAWN = {.minibatch = 12, .signals = PRUNE_SIGNAL_LAYERS, .fisher = PRUNE_FISHER_SAMPLED};

static struct prune_score_options with(struct prune_score_options o, unsigned signals)
{
    o.signals |= signals;
    o.rivals = o.signals & PRUNE_SIGNAL_MARGINS ? 2 : 0;
    o.probes = o.signals & PRUNE_SIGNAL_CURVATURE ? 2 : 0;
    return o;
}

static const char *const ACTIVATIONS[] = {"tanh", "leaky", "relu"};

static void gradients_times_patches_are_gradients_of_weights(void **state)
{
    (void)state;
    for (int f = 0; f < 3; f++) {
        struct pair p = make_pair(ACTIVATIONS[f]);
        const struct vector_ops *ops;
        for (int k = 0; (ops = vector_ops_at(k)); k++) {
            vector_ops_force(ops);
            for (int gates = 0; gates < 2; gates++) {
                struct prune_host_net *net = open_pair(&p, 12, 1 + k % 2, gates);
                struct heard *h = hear(net, &p, 0, 12, with(OWN, PRUNE_SIGNAL_PARAMETERS));
                assert_int_equal(h->layers, TOLD);
                assert_products_are_gradients(h, ACTIVATIONS[f]);
                heard_free(h);
                host()->close(net);
            }
        }
        vector_ops_force(NULL);
    }
}

/* Winograd in bands of rows, whose neighbours read each other's deltas; and as the lowest layer that is wanted, whose own input gradient nobody needs. */
static void large_maps_are_told_band_by_band(void **state)
{
    (void)state;
    struct pair p = {make_classifier_data(""), write_text("bands.cfg", "[net]\nbatch=4\nsubdivisions=1\nwidth=48\nheight=48\nchannels=3\nlearning_rate=0.05\nmax_batches=1000\n"
        "[convolutional]\nbatch_normalize=1\nfilters=40\nsize=3\nstride=1\npad=1\nactivation=leaky\n[convolutional]\nbatch_normalize=1\nfilters=40\nsize=3\nstride=1\npad=1\n"
        "activation=leaky\n[avgpool]\n[connected]\noutput=3\nactivation=linear\n[softmax]\n"), NULL};
    struct prune_host_net *net = open_pair(&p, 4, 2, false);
    const layer *l = &net->open.net->layers[1];
    const uint8_t wanted[] = {0, 1, 0, 0, 0};
    struct prune_score_options o = OWN;
    if (winograd_suits(l)) assert_true(winograd_plan_make(l).bands > 1);
    struct heard *h = hear(net, &p, 0, 4, with(OWN, PRUNE_SIGNAL_PARAMETERS));
    assert_int_equal(h->layers, 3);
    assert_products_are_gradients(h, "bands");
    o.layers = wanted;
    struct heard *alone = hear(net, &p, 0, 4, o);
    assert_int_equal(alone->layers, 1);
    assert_memory_equal(alone->of[0].gradient, h->of[1].gradient, 4 * h->of[1].outputs * sizeof(float));
    heard_free(h);
    heard_free(alone);
    host()->close(net);
}

/* Without PARAMETERS, in passes that do not fit the minibatch: a few weights of each layer, by central differences of the loss. */
static void and_equal_differences_of_the_loss(void **state)
{
    (void)state;
    enum { EACH = 6 };
    const float STEP = 1.0f / 512;
    struct pair p = make_pair("tanh");
    struct prune_host_net *net = open_pair(&p, 12, 2, false);
    struct prune_score_options o = OWN;
    double top = 0;
    o.minibatch = IMAGES;
    struct heard *h = hear(net, &p, 0, IMAGES, o);
    assert_int_equal(h->ends, 1);
    for (size_t i = 0; i < h->layers; i++)
        for (size_t k = 0; k < MOST_WEIGHTS; k++) top = fmax(top, fabs(h->product[i][k]));
    for (size_t i = 0; i < h->layers; i++) {
        layer *l = &net->open.net->layers[h->of[i].layer];
        size_t n = weights_of(l), best = 0;
        for (size_t k = 0; k < n; k++) if (fabs(h->product[i][k]) > fabs(h->product[i][best])) best = k;
        for (size_t k = 0; k < EACH; k++) {
            size_t at = k ? k * n / EACH : best;
            const float keep = l->weights[at];
            l->weights[at] = keep + STEP;
            double up = evaluated_loss(net, p.data);
            l->weights[at] = keep - STEP;
            double want = (up - evaluated_loss(net, p.data)) / (2 * (double)STEP);
            l->weights[at] = keep;
            if (fabs(h->product[i][at] - want) > fmax(.03 * fabs(want), 2e-3 * top))
                fail_msg("layer %d, weight %zu: %.7g, by differences %.7g", h->of[i].layer, at, h->product[i][at], want);
        }
    }
    heard_free(h);
    host()->close(net);
}

/* Bits of inputs and gradients, layer by layer of `b`, which may have been told of fewer. */
static void assert_same_layers(const struct heard *a, const struct heard *b, const char *what)
{
    assert_int_equal(a->images, b->images);
    assert_true(b->layers > 0);
    for (size_t i = 0, k = 0; i < b->layers; i++, k++) {
        while (k < a->layers && a->of[k].layer != b->of[i].layer) k++;
        assert_true(k < a->layers);
        if (memcmp(a->of[k].gradient, b->of[i].gradient, a->images * a->of[k].outputs * sizeof(float))) fail_msg("%s: gradients of layer %d", what, b->of[i].layer);
        if (memcmp(a->of[k].input, b->of[i].input, a->images * a->of[k].inputs * sizeof(float))) fail_msg("%s: inputs of layer %d", what, b->of[i].layer);
    }
}

static void other_signals_gates_and_choices_change_no_bit(void **state)
{
    (void)state;
    static const unsigned beside[] = {PRUNE_SIGNAL_GATE_BATCH, PRUNE_SIGNAL_GATE_IMAGE | PRUNE_SIGNAL_PARAMETERS, PRUNE_SIGNAL_MARGINS, PRUNE_SIGNAL_MAPS,
                                      PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_PARAMETERS | PRUNE_SIGNAL_MARGINS | PRUNE_SIGNAL_CURVATURE | PRUNE_SIGNAL_MAPS};
    struct pair p = make_pair("leaky");
    struct prune_host_net *plain = open_pair(&p, 12, 2, false), *gated = open_pair(&p, 12, 2, true);
    for (int k = 0; k < 2; k++) {
        const struct prune_score_options base = k ? DRAWN : OWN;
        struct heard *alone = hear(plain, &p, 0, 12, base), *gates = hear(gated, &p, 0, 12, with(base, PRUNE_SIGNAL_GATE_BATCH));
        assert_same_layers(alone, gates, "gates");
        for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
            struct heard *h = hear(gated, &p, 0, 12, with(base, beside[i]));
            assert_same_layers(alone, h, "another signal");
            if (beside[i] & PRUNE_SIGNAL_GATE_BATCH) assert_memory_equal(h->gate_batch, gates->gate_batch, h->units * sizeof(double));
            heard_free(h);
        }
        for (int lowest = 0; lowest < LAYER_COUNT; lowest++) {
            uint8_t wanted[LAYER_COUNT] = {0};
            struct prune_score_options o = base;
            wanted[lowest] = wanted[9] = 1;
            o.layers = wanted;
            struct heard *h = hear(plain, &p, 0, 12, o);
            assert_int_equal(h->layers, lowest == 3 || lowest > 8 ? 1 : 2);
            assert_same_layers(alone, h, "a choice");
            heard_free(h);
        }
        heard_free(alone);
        heard_free(gates);
    }
    /* gate gradients are those of the labels, with and without layers beside them */
    struct heard *h = hear(gated, &p, 0, 12, (struct prune_score_options){.minibatch = 12, .signals = PRUNE_SIGNAL_GATE_BATCH});
    struct heard *d = hear(gated, &p, 0, 12, with(DRAWN, PRUNE_SIGNAL_GATE_BATCH));
    assert_memory_equal(h->gate_batch, d->gate_batch, d->units * sizeof(double));
    heard_free(h);
    heard_free(d);
    host()->close(plain);
    host()->close(gated);
}

static void draws_depend_on_seed_and_image_alone(void **state)
{
    (void)state;
    struct pair p = make_pair("tanh");
    struct prune_host_net *net = open_pair(&p, 12, 2, false);
    struct prune_score_options o = DRAWN;
    struct heard *whole = hear(net, &p, 0, 24, o), *labels = hear(net, &p, 0, 24, OWN);
    static const struct { int batch, threads; size_t minibatch, first; } ways[] = {{5, 1, 24, 0}, {12, 1, 7, 0}, {3, 2, 4, 6}};
    for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
        struct prune_host_net *other = open_pair(&p, ways[w].batch, ways[w].threads, w == 1);
        o.minibatch = ways[w].minibatch;
        struct heard *h = hear(other, &p, ways[w].first, 24 - ways[w].first, o);
        for (size_t i = 0; i < h->layers; i++) {
            size_t n = h->of[i].outputs, skip = ways[w].first * n;
            double top = 0, worst = 0;
            for (size_t k = 0; k < h->images * n; k++) {
                top = fmax(top, fabs((double)h->of[i].gradient[k]));
                worst = fmax(worst, fabs((double)h->of[i].gradient[k] - (double)whole->of[i].gradient[skip + k]));
            }
            assert_true(top > 1e-6);
            if (worst > 1e-4 * top) fail_msg("layer %d, way %zu: off by %.3g of %.3g", h->of[i].layer, w, worst, top);
        }
        heard_free(h);
        host()->close(other);
    }
    /* drawn, not the labels': somewhere another class came out than the true one */
    assert_true(memcmp(whole->of[8].gradient, labels->of[8].gradient, 24 * 3 * sizeof(float)));
    heard_free(whole);
    heard_free(labels);
    host()->close(net);
}

/* Trains six steps from scratch and saves the state; NULL: no hook. */
static void train(const char *cfg, const char *data, const struct prune_score_options *o, bool gates, bool check, const char *dir)
{
    const struct prune_image_set set = {.data_path = data, .role = PRUNE_DATA_TRAIN};
    const struct prune_step_options step = {.rate = .05, .momentum = .9, .decay = 5e-4};
    struct prune_status st = {0};
    struct prune_step out;
    struct prune_host_net *net = open_net(cfg, NULL, 0);
    struct heard *h = heard_new(net);
    if (gates) attach_any(net, cfg);
    ok(host()->train_start(net, &set, o, o ? listen : NULL, h, &st), &st);
    for (int i = 0; i < 6; i++) {
        ok(host()->train_step(net, &step, &out, &st), &st);
        if (check) assert_products_are_gradients(h, "training");
    }
    if (o) assert_int_equal(h->ends, 12);
    ok(host()->export_state(net, dir, &st), &st);
    heard_free(h);
    host()->close(net);
}

static void training_tells_layers_and_does_not_notice(void **state)
{
    (void)state;
    const char *data = make_classifier_data("");
    const char *cfgs[] = {layers_cfg("train.cfg", 16, 2, "leaky"), make_classifier_cfg("dropout.cfg", 16, 2, .05, 1000)};
    static const struct { unsigned beside; enum prune_fisher fisher; bool gates; } cases[] = {
        {0, PRUNE_FISHER_EMPIRICAL, false}, {PRUNE_SIGNAL_PARAMETERS, PRUNE_FISHER_EMPIRICAL, false}, {0, PRUNE_FISHER_SAMPLED, false},
        {PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_PARAMETERS, PRUNE_FISHER_SAMPLED, true},
        {PRUNE_SIGNAL_GATE_IMAGE | PRUNE_SIGNAL_PARAMETERS | PRUNE_SIGNAL_MARGINS | PRUNE_SIGNAL_CURVATURE | PRUNE_SIGNAL_MAPS, PRUNE_FISHER_EMPIRICAL, true}};
    char plain[256], hooked[256], a[300], b[300];
    for (int n = 0; n < 2; n++) {
        snprintf(plain, sizeof plain, "%s", at(n ? "plain1" : "plain0"));
        snprintf(hooked, sizeof hooked, "%s", at(n ? "hooked1" : "hooked0"));
        train(cfgs[n], data, NULL, false, false, plain);
        for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
            const struct prune_score_options o = {.signals = PRUNE_SIGNAL_LAYERS | cases[k].beside, .fisher = cases[k].fisher};
            bool check = cases[k].beside & PRUNE_SIGNAL_PARAMETERS && cases[k].fisher == PRUNE_FISHER_EMPIRICAL;
            train(cfgs[n], data, &o, cases[k].gates, check, hooked);
            static const char *const files[] = {"state.weights", "state.momentum"};
            for (int f = 0; f < 2; f++) {
                snprintf(a, sizeof a, "%s/%s", plain, files[f]);
                snprintf(b, sizeof b, "%s/%s", hooked, files[f]);
                assert_true(assert_same_files(a, b) > 1000);
            }
        }
    }
}

static void what_backward_passes_do_not_reach_is_left_out(void **state)
{
    (void)state;
    struct pair p = make_pair("leaky");
    struct prune_host_net *net = open_pair(&p, 12, 2, false);
    struct prune_status st = {0};
    net->open.net->layers[4].stopbackward = 1;
    for (int k = 0; k < 2; k++) {
        struct heard *h = hear(net, &p, 0, 12, with(k ? DRAWN : OWN, k ? 0 : PRUNE_SIGNAL_PARAMETERS));
        assert_int_equal(h->layers, 5);
        assert_int_equal(h->of[0].layer, 5);
        if (!k) assert_products_are_gradients(h, "stopbackward");
        heard_free(h);
    }
    net->open.net->layers[4].stopbackward = 0;
    net->open.net->layers[6].xnor = 1;
    const struct prune_image_set set = {.data_path = p.data, .role = PRUNE_DATA_TRAIN};
    struct heard *h = heard_new(net);
    assert_int_equal(host()->score(net, &set, &OWN, listen, h, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "layer 6 is a convolution with binary=1 or xnor=1"));
    net->open.net->layers[6].xnor = 0;
    heard_free(h);
    host()->close(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gradients_times_patches_are_gradients_of_weights), TEST(large_maps_are_told_band_by_band), TEST(and_equal_differences_of_the_loss), TEST(other_signals_gates_and_choices_change_no_bit),
        TEST(draws_depend_on_seed_and_image_alone), TEST(training_tells_layers_and_does_not_notice), TEST(what_backward_passes_do_not_reach_is_left_out)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
