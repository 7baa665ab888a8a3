/* Gates: dE/dz against central differences of the loss the host descends, and z = 1 against no gate at all. Tolerance: 2% of the gradient or 0.1% of the
 * largest gradient of the network, whichever is larger (float forward passes). Step 0.01; relu and leaky have kinks, and a kink inside the step
 * is no error of the gradient: for them one of seven steps down to 0.00005, or of four to one side, must agree. At z = 0 every value sits on the kink, so shut
 * gates are compared for smooth activations only. */
#include "small_net.h"

enum { BATCH = 6 };
enum { STEPS_TRIED = 11 };
struct difference_step { double down, up; };
static const struct difference_step SMOOTH_STEPS[] = {{1e-2, 1e-2}};
static const struct difference_step KINKED_STEPS[STEPS_TRIED] = {{4e-3, 4e-3}, {2e-3, 2e-3}, {1e-3, 1e-3}, {5e-4, 5e-4}, {2.5e-4, 2.5e-4}, {1e-4, 1e-4}, {5e-5, 5e-5},
                                                                 {0, 1e-3}, {1e-3, 0}, {0, 2.5e-4}, {2.5e-4, 0}};

struct bench { network *net; struct gate_table *gates; size_t units; const struct difference_step *steps; int step_count; };

static void attach(struct bench *t, enum prune_gate_place place)
{
    struct prune_gate_site sites[SMALL_UNITS];
    struct prune_status st = {0};
    t->units = SMALL_UNITS;
    assert_int_equal(small_sites(t->net, sites, place), SMALL_UNITS);
    assert_int_equal(gate_attach(&t->gates, t->net, sites, SMALL_UNITS, SMALL_UNITS, &st), PRUNE_OK);
}

static void choose_steps(struct bench *t, const char *activation)
{
    bool smooth = !strcmp(activation, "linear") || !strcmp(activation, "logistic");
    t->steps = smooth ? SMOOTH_STEPS : KINKED_STEPS;
    t->step_count = smooth ? 1 : STEPS_TRIED;
}

static void open_bench(struct bench *t, const char *activation, enum prune_gate_place place)
{
    t->net = small_net(BATCH, activation, 5);
    small_calibrate(t->net);
    attach(t, place);
    choose_steps(t, activation);
}

static void close_bench(struct bench *t)
{
    gate_detach(t->gates);
    free_network(t->net);
}

static void collect(struct bench *t, unsigned signals)
{
    struct prune_status st = {0};
    assert_int_equal(gate_collect(t->gates, signals, BATCH, &st), PRUNE_OK);
}

/* Derivatives of the loss by z of unit u, for every step: of each image (B), and of their sum behind them. */
struct slopes { double at[STEPS_TRIED][BATCH + 1]; };

static void difference(struct bench *t, size_t u, struct slopes *out)
{
    float *z = gate_values(t->gates), keep = z[u];
    for (int s = 0; s < t->step_count; s++) {
        double up[BATCH], down[BATCH];
        z[u] = (float)((double)keep + t->steps[s].up);
        double step = (double)z[u];
        small_loss(t->net, up);
        z[u] = (float)((double)keep - t->steps[s].down);
        step -= (double)z[u];
        small_loss(t->net, down);
        out->at[s][BATCH] = 0;
        for (int b = 0; b < BATCH; b++) {
            out->at[s][b] = (up[b] - down[b]) / step;
            out->at[s][BATCH] += out->at[s][b];
        }
    }
    z[u] = keep;
}

/* The largest derivative of the network; b = BATCH: of the sums. */
static double largest(const struct slopes *slopes, size_t units, int first, int last)
{
    double top = 0;
    for (size_t u = 0; u < units; u++)
        for (int b = first; b <= last; b++) top = fmax(top, fabs(slopes[u].at[0][b]));
    return top;
}

static void assert_near(const struct bench *t, const char *what, size_t u, int b, double got, const struct slopes *want, double top)
{
    for (int s = 0; s < t->step_count; s++)
        if (fabs(got - want->at[s][b]) <= fmax(.02 * fabs(want->at[s][b]), 1e-3 * top)) return;
    fail_msg("%s: unit %zu, image %d: dE/dz %.7g, by differences %.7g (largest %.2g)", what, u, b, got, want->at[t->step_count == 1 ? 0 : 6][b], top);
}

/* Both ways to the batch gradient and the gradient of each image, at the present z. */
static void check_gradients(struct bench *t, const char *what)
{
    struct slopes slopes[SMALL_UNITS];
    for (size_t u = 0; u < t->units; u++) difference(t, u, &slopes[u]);
    double top = largest(slopes, t->units, BATCH, BATCH), top_image = largest(slopes, t->units, 0, BATCH - 1);
    assert_true(top > .01);
    static const unsigned kinds[] = {PRUNE_SIGNAL_GATE_BATCH, PRUNE_SIGNAL_GATE_BATCH | PRUNE_SIGNAL_GATE_IMAGE};
    for (int k = 0; k < 2; k++) {
        collect(t, kinds[k]);
        forward_network(t->net);
        backward_network(t->net);
        for (size_t u = 0; u < t->units; u++) assert_near(t, what, u, BATCH, gate_batch_sums(t->gates)[u], &slopes[u], top);
    }
    /* batch statistics tie the images together: only with rolling ones a gradient belongs to one image alone */
    for (int b = 0; host_context()->rolling_statistics && b < BATCH; b++)
        for (size_t u = 0; u < t->units; u++)
            assert_near(t, what, u, b, (double)gate_image_sums(t->gates)[(size_t)b * t->units + u], &slopes[u], top_image);
    collect(t, 0);
}

static void check_activation(const char *activation, enum prune_gate_place place)
{
    struct bench t;
    open_bench(&t, activation, place);
    for (int rolling = 0; rolling < 2; rolling++) {
        char what[96];
        float *z = gate_values(t.gates);
        host_context()->rolling_statistics = rolling != 0;
        snprintf(what, sizeof what, "%s, %s statistics, all open", activation, rolling ? "rolling" : "batch");
        for (size_t u = 0; u < t.units; u++) z[u] = 1;
        check_gradients(&t, what);
        snprintf(what, sizeof what, "%s, %s statistics, some shut, some half", activation, rolling ? "rolling" : "batch");
        for (size_t u = 0; u < t.units; u++) z[u] = u % 4 == 1 && t.step_count == 1 ? 0.0f : u % 2 ? 0.6f : 1.0f;
        check_gradients(&t, what);
    }
    host_context()->rolling_statistics = false;
    close_bench(&t);
}

static void gate_gradients_equal_differences_for_leaky(void **state) { (void)state; check_activation("leaky", PRUNE_GATE_BEFORE_ACTIVATION); }
static void gate_gradients_equal_differences_for_relu(void **state) { (void)state; check_activation("relu", PRUNE_GATE_BEFORE_ACTIVATION); }
static void gate_gradients_equal_differences_for_linear(void **state) { (void)state; check_activation("linear", PRUNE_GATE_BEFORE_ACTIVATION); }
static void gate_gradients_equal_differences_for_logistic(void **state) { (void)state; check_activation("logistic", PRUNE_GATE_BEFORE_ACTIVATION); }
static void gates_on_outputs_equal_differences_for_logistic(void **state) { (void)state; check_activation("logistic", PRUNE_GATE_AFTER_OUTPUT); }
static void gates_on_outputs_equal_differences_for_leaky(void **state) { (void)state; check_activation("leaky", PRUNE_GATE_AFTER_OUTPUT); }

/* In front of batch-norm: frozen, any value; with batch statistics a factor matters only where deviations are of the size of epsilon (shrunken weights),
 * and a shut gate has no derivative (the deviation is zero there). */
static void check_before_norm(const char *activation, bool rolling, float shrink)
{
    struct bench t;
    char what[96];
    open_bench(&t, activation, PRUNE_GATE_BEFORE_NORM);
    for (int i = 0; i < t.net->n; i++)
        for (int k = 0; t.net->layers[i].batch_normalize && k < t.net->layers[i].nweights; k++) t.net->layers[i].weights[k] *= shrink;
    if (shrink < 1) small_calibrate(t.net);
    host_context()->rolling_statistics = rolling;
    for (int mixed = 0; mixed < 2; mixed++) {
        float *z = gate_values(t.gates);
        snprintf(what, sizeof what, "%s, in front of batch-norm, %s", activation, mixed ? "mixed" : "open");
        for (size_t u = 0; u < t.units; u++) z[u] = !mixed ? 1.0f : u % 4 == 1 && rolling && t.step_count == 1 ? 0.0f : u % 2 ? 0.6f : 1.0f;
        check_gradients(&t, what);
    }
    host_context()->rolling_statistics = false;
    close_bench(&t);
}

static void gates_before_norm_equal_differences_with_frozen_statistics(void **state)
{
    (void)state;
    check_before_norm("logistic", true, 1);
    check_before_norm("linear", true, 1);
    check_before_norm("leaky", true, 1);
}

static void gates_before_norm_equal_differences_with_batch_statistics(void **state)
{
    (void)state;
    check_before_norm("logistic", false, 1);
    check_before_norm("logistic", false, 1e-6f);
    check_before_norm("linear", false, 1e-6f);
}

/* z = 0 in front of frozen batch-norm leaves beta - gamma mean / sigma. */
static void a_gate_shut_before_norm_leaves_the_shift(void **state)
{
    (void)state;
    struct bench t;
    open_bench(&t, "linear", PRUNE_GATE_BEFORE_NORM);
    const layer *l = &t.net->layers[0];
    float want = l->biases[3] - l->scales[3] * l->rolling_mean[3] / (sqrtf(l->rolling_variance[3]) + 1e-6f);
    gate_values(t.gates)[3] = 0;
    t.net->train = 0;
    forward_network(t.net);
    assert_true(fabsf(want) > 1e-3f);
    for (int b = 0; b < BATCH; b++)
        for (int i = 0; i < 64; i++) assert_true(fabsf(l->output[(b * 8 + 3) * 64 + i] - want) <= 1e-5f);
    close_bench(&t);
}

/* A layer that is nothing but batch-norm. */
static void a_standalone_batch_norm_carries_gates_on_both_sides(void **state)
{
    (void)state;
    static const char text[] =
        "[net]\nbatch=6\nwidth=8\nheight=8\nchannels=3\nlearning_rate=0.01\nmax_batches=10\n"
        "[convolutional]\nfilters=4\nsize=3\nstride=1\npad=1\nactivation=logistic\n[batchnorm]\n"
        "[convolutional]\nfilters=4\nsize=3\nstride=2\npad=1\nactivation=logistic\n[avgpool]\n[connected]\noutput=5\nactivation=linear\n[softmax]\n";
    for (int inner = 0; inner < 2; inner++) {
        struct bench t = {.net = network_parse(text, sizeof text - 1, true), .units = 4};
        struct prune_gate_site sites[4];
        struct prune_status st = {0};
        struct prune_random r = prune_random_make(6, 6, 6);
        t.net->train = 1;
        small_weights(t.net, 4);
        small_data(t.net, 4);
        fill_random(t.net->layers[1].scales, 4, &r, .5, 1.5);
        forward_network(t.net);
        memcpy(t.net->layers[1].rolling_mean, t.net->layers[1].mean, 4 * sizeof(float));
        memcpy(t.net->layers[1].rolling_variance, t.net->layers[1].variance, 4 * sizeof(float));
        choose_steps(&t, "logistic");
        for (int c = 0; c < 4; c++) sites[c] = (struct prune_gate_site){1, c, c, inner ? PRUNE_GATE_BEFORE_NORM : PRUNE_GATE_BEFORE_ACTIVATION};
        assert_int_equal(gate_attach(&t.gates, t.net, sites, 4, 4, &st), PRUNE_OK);
        host_context()->rolling_statistics = true;
        for (int u = 0; u < 4; u++) gate_values(t.gates)[u] = (float)u / 3;
        check_gradients(&t, inner ? "in front of a [batchnorm]" : "behind a [batchnorm]");
        host_context()->rolling_statistics = false;
        close_bench(&t);
    }
}

/* One unit with a gate on both addends of a shortcut (layers 0 and 1): the gradients add up. */
static void a_unit_over_two_layers_adds_their_gradients(void **state)
{
    (void)state;
    struct bench t = {.units = 8};
    struct prune_gate_site sites[16];
    struct prune_status st = {0};
    struct slopes slopes[8];
    t.net = small_net(BATCH, "relu", 9);
    small_calibrate(t.net);
    choose_steps(&t, "relu");
    for (int i = 0; i < 16; i++) sites[i] = (struct prune_gate_site){i / 8, i % 8, i % 8, PRUNE_GATE_BEFORE_ACTIVATION};
    assert_int_equal(gate_attach(&t.gates, t.net, sites, 16, 8, &st), PRUNE_OK);
    for (size_t u = 0; u < 8; u++) difference(&t, u, &slopes[u]);
    collect(&t, PRUNE_SIGNAL_GATE_BATCH);
    forward_network(t.net);
    backward_network(t.net);
    for (size_t u = 0; u < 8; u++) assert_near(&t, "tied", u, BATCH, gate_batch_sums(t.gates)[u], &slopes[u], largest(slopes, 8, BATCH, BATCH));
    close_bench(&t);
}

/* Two passes without reset, momentum in the updates: the sums are those of both passes. */
static void gradients_add_up_over_subdivisions_beside_momentum(void **state)
{
    (void)state;
    struct bench t;
    struct slopes total[SMALL_UNITS] = {0}, one;
    open_bench(&t, "logistic", PRUNE_GATE_BEFORE_ACTIVATION);
    for (uint64_t pass = 0; pass < 2; pass++) {
        small_data(t.net, 100 + pass);
        for (size_t u = 0; u < t.units; u++) {
            difference(&t, u, &one);
            total[u].at[0][BATCH] += one.at[0][BATCH];
        }
    }
    struct prune_random r = prune_random_make(3, 3, 3);
    for (int i = 0; i < t.net->n; i++) {
        layer *l = &t.net->layers[i];
        if (l->scale_updates) fill_random(l->scale_updates, (size_t)l->out_c, &r, -100, 100);
        if (l->bias_updates) fill_random(l->bias_updates, (size_t)l->out_c, &r, -100, 100);
    }
    collect(&t, PRUNE_SIGNAL_GATE_BATCH);
    for (uint64_t pass = 0; pass < 2; pass++) {
        small_data(t.net, 100 + pass);
        forward_network(t.net);
        backward_network(t.net);
    }
    for (size_t u = 0; u < t.units; u++)
        assert_near(&t, "two passes", u, BATCH, gate_batch_sums(t.gates)[u], &total[u], largest(total, t.units, BATCH, BATCH));
    close_bench(&t);
}

/* Gradients (B + 1, units) of each image and, behind them, of the batch, taken with gates at `place`. */
static void take_gradients(enum prune_gate_place place, bool rolling, double *out)
{
    struct bench t;
    open_bench(&t, "linear", place);
    host_context()->rolling_statistics = rolling;
    for (size_t u = 0; u < t.units; u++) gate_values(t.gates)[u] = u % 4 == 1 ? 0.0f : u % 2 ? 0.6f : 1.0f;
    collect(&t, PRUNE_SIGNAL_GATE_IMAGE);
    forward_network(t.net);
    backward_network(t.net);
    for (size_t i = 0; i < BATCH * t.units; i++) out[i] = (double)gate_image_sums(t.gates)[i];
    collect(&t, PRUNE_SIGNAL_GATE_BATCH);
    forward_network(t.net);
    backward_network(t.net);
    memcpy(out + BATCH * t.units, gate_batch_sums(t.gates), t.units * sizeof *out);
    host_context()->rolling_statistics = false;
    close_bench(&t);
}

/* With a linear activation both places mean the same; one takes batch-norm's sums, the other a pass over the maps. */
static void sums_of_batch_norm_equal_a_pass_over_the_maps(void **state)
{
    (void)state;
    for (int rolling = 0; rolling < 2; rolling++) {
        double sums[(BATCH + 1) * SMALL_UNITS], pass[(BATCH + 1) * SMALL_UNITS], top = 0;
        take_gradients(PRUNE_GATE_BEFORE_ACTIVATION, rolling != 0, sums);
        take_gradients(PRUNE_GATE_AFTER_OUTPUT, rolling != 0, pass);
        for (size_t i = 0; i < (BATCH + 1) * SMALL_UNITS; i++) top = fmax(top, fabs(pass[i]));
        for (size_t i = 0; i < (BATCH + 1) * SMALL_UNITS; i++)
            if (fabs(sums[i] - pass[i]) > 3e-6 * top) fail_msg("gradient %zu, rolling %d: %.9g and %.9g (largest %.3g)", i, rolling, sums[i], pass[i], top);
    }
}

static void assert_same(const char *what, int layer, const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (memcmp(&a[i], &b[i], sizeof *a)) fail_msg("%s of layer %d differ at %zu: %.9g and %.9g", what, layer, i, (double)a[i], (double)b[i]);
}

static void assert_same_networks(const network *a, const network *b)
{
    for (int i = 0; i < a->n; i++) {
        const layer *x = &a->layers[i], *y = &b->layers[i];
        size_t out = (size_t)x->outputs * (size_t)x->batch;
        assert_same("outputs", i, x->output, y->output, out);
        if (x->weight_updates) assert_same("weight updates", i, x->weight_updates, y->weight_updates, (size_t)(x->type == CONNECTED ? x->inputs * x->outputs : x->nweights));
        if (x->bias_updates) assert_same("bias updates", i, x->bias_updates, y->bias_updates, (size_t)x->out_c);
        if (x->scale_updates) assert_same("scale updates", i, x->scale_updates, y->scale_updates, (size_t)x->out_c);
        if (x->rolling_mean) assert_same("rolling means", i, x->rolling_mean, y->rolling_mean, (size_t)x->out_c);
    }
}

static void run_both(network *plain, network *gated, int passes)
{
    for (int pass = 0; pass < passes; pass++) {
        small_data(plain, (uint64_t)pass);
        small_data(gated, (uint64_t)pass);
        forward_network(plain);
        backward_network(plain);
        forward_network(gated);
        backward_network(gated);
    }
}

static void check_identity(unsigned signals, enum prune_gate_place place, bool rolling)
{
    static const char *const activations[] = {"leaky", "relu", "linear", "logistic"};
    for (int a = 0; a < 4; a++) {
        struct bench t;
        network *plain = small_net(BATCH, activations[a], 5);
        small_calibrate(plain);
        open_bench(&t, activations[a], place);
        collect(&t, signals);
        host_context()->rolling_statistics = rolling;
        run_both(plain, t.net, 2);
        host_context()->rolling_statistics = false;
        assert_same_networks(plain, t.net);
        close_bench(&t);
        free_network(plain);
    }
}

static void open_gates_change_no_bit(void **state)
{
    (void)state;
    check_identity(0, PRUNE_GATE_BEFORE_ACTIVATION, false);
    check_identity(0, PRUNE_GATE_AFTER_OUTPUT, false);
    check_identity(0, PRUNE_GATE_BEFORE_NORM, false);
}

static void collecting_batch_gradients_changes_no_bit(void **state)
{
    (void)state;
    check_identity(PRUNE_SIGNAL_GATE_BATCH, PRUNE_GATE_BEFORE_ACTIVATION, false);
    check_identity(PRUNE_SIGNAL_GATE_BATCH, PRUNE_GATE_AFTER_OUTPUT, true);
    check_identity(PRUNE_SIGNAL_GATE_BATCH, PRUNE_GATE_BEFORE_NORM, false);
    check_identity(PRUNE_SIGNAL_GATE_BATCH, PRUNE_GATE_BEFORE_NORM, true);
}

static void collecting_image_gradients_changes_no_bit(void **state)
{
    (void)state;
    check_identity(PRUNE_SIGNAL_GATE_IMAGE, PRUNE_GATE_BEFORE_ACTIVATION, false);
    check_identity(PRUNE_SIGNAL_GATE_IMAGE, PRUNE_GATE_BEFORE_ACTIVATION, true);
}

static void a_shut_gate_puts_out_exact_zero(void **state)
{
    (void)state;
    struct bench t;
    open_bench(&t, "relu", PRUNE_GATE_BEFORE_ACTIVATION);
    gate_values(t.gates)[3] = 0;              /* layer 0, channel 3 */
    gate_values(t.gates)[8 + 8 + 2] = 0;      /* layer 3, channel 2 */
    for (int train = 0; train < 2; train++) {
        t.net->train = train;
        forward_network(t.net);
        for (int b = 0; b < BATCH; b++)
            for (int i = 0; i < 64; i++) {
                assert_true(t.net->layers[0].output[(b * 8 + 3) * 64 + i] == 0.0f);
                assert_true(t.net->layers[3].output[(b * 6 + 2) * 64 + i] == 0.0f);
            }
    }
    close_bench(&t);
}

static void detaching_restores_the_network(void **state)
{
    (void)state;
    struct bench t;
    network *plain = small_net(BATCH, "leaky", 5);
    small_calibrate(plain);
    open_bench(&t, "leaky", PRUNE_GATE_BEFORE_ACTIVATION);
    for (size_t u = 0; u < t.units; u++) gate_values(t.gates)[u] = 0.5f;
    gate_detach(t.gates);
    t.gates = NULL;
    run_both(plain, t.net, 1);
    assert_same_networks(plain, t.net);
    for (int i = 0; i < t.net->n; i++) assert_null(t.net->layers[i].wg);
    free_network(plain);
    close_bench(&t);
}

/* Multi-scale training: convolutions only, the map grows and shrinks. */
static network *scalable_net(void)
{
    static const char text[] =
        "[net]\nbatch=2\nwidth=8\nheight=8\nchannels=3\nlearning_rate=0.01\nmax_batches=10\n"
        "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
        "[convolutional]\nfilters=5\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
        "[convolutional]\nfilters=5\nsize=1\nstride=1\nactivation=logistic\n";
    network *net = network_parse(text, sizeof text - 1, true);
    assert_non_null(net);
    net->train = 1;
    small_weights(net, 4);
    return net;
}

/* dE/dz for E = sum of w * output, whose delta is -w: exact up to rounding, no differences needed. */
static void gates_follow_a_resized_network(void **state)
{
    (void)state;
    struct gate_table *gates = NULL;
    struct prune_status st = {0};
    network *net = scalable_net();
    const struct prune_gate_site sites[] = {{0, 1, 0, PRUNE_GATE_BEFORE_ACTIVATION}, {1, 2, 1, PRUNE_GATE_BEFORE_ACTIVATION}, {2, 3, 2, PRUNE_GATE_AFTER_OUTPUT}};
    static const int sizes[] = {8, 16, 6};
    assert_int_equal(gate_attach(&gates, net, sites, 3, 3, &st), PRUNE_OK);
    for (int s = 0; s < 3; s++) {
        resize_network(net, sizes[s], sizes[s]);
        struct prune_random r = prune_random_make(8, 8, (uint64_t)s);
        fill_random(net->input, (size_t)net->inputs * 2, &r, 0, 1);
        layer *head = &net->layers[2];
        gate_values(gates)[2] = 0.5f;
        assert_int_equal(gate_collect(gates, PRUNE_SIGNAL_GATE_BATCH, 2, &st), PRUNE_OK);
        forward_network(net);
        size_t n = (size_t)head->outputs * 2, area = (size_t)(head->out_w * head->out_h);
        double wanted = 0;
        for (size_t i = 0; i < n; i++) {
            head->delta[i] = -1;
            if (i / area % 5 == 3) wanted += (double)head->output[i] / 0.5;
        }
        backward_network(net);
        assert_true(fabs(gate_batch_sums(gates)[2] - wanted) <= 1e-5 * fabs(wanted));
        assert_true(isfinite(gate_batch_sums(gates)[0]) && gate_batch_sums(gates)[0] != 0);
        assert_false(gate_failed(gates));
    }
    gate_detach(gates);
    free_network(net);
}

static void sites_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct gate_table *gates = NULL;
    struct prune_status st = {0};
    network *net = scalable_net();
    static const struct prune_gate_site bad[][2] = {
        {{3, 0, 0, PRUNE_GATE_BEFORE_ACTIVATION}}, {{-1, 0, 0, PRUNE_GATE_BEFORE_ACTIVATION}}, {{0, 4, 0, PRUNE_GATE_BEFORE_ACTIVATION}},
        {{0, 0, 5, PRUNE_GATE_BEFORE_ACTIVATION}}, {{0, 0, 0, PRUNE_GATE_BEFORE_ACTIVATION}, {0, 0, 0, PRUNE_GATE_BEFORE_ACTIVATION}}};
    static const size_t counts[] = {1, 1, 1, 1, 2};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(gate_attach(&gates, net, bad[i], counts[i], 1, &st), PRUNE_FAILED);
        assert_null(gates);
        assert_null(net->layers[0].wg);
    }
    assert_string_equal(st.message, "two gates on layer 0, channel 0");
    free_network(net);
}

static int reset_context(void **state)
{
    (void)state;
    host_context()->rolling_statistics = false;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(gate_gradients_equal_differences_for_leaky, reset_context),
        cmocka_unit_test_setup(gate_gradients_equal_differences_for_relu, reset_context),
        cmocka_unit_test_setup(gate_gradients_equal_differences_for_linear, reset_context),
        cmocka_unit_test_setup(gate_gradients_equal_differences_for_logistic, reset_context),
        cmocka_unit_test_setup(gates_on_outputs_equal_differences_for_logistic, reset_context),
        cmocka_unit_test_setup(gates_on_outputs_equal_differences_for_leaky, reset_context),
        cmocka_unit_test_setup(gates_before_norm_equal_differences_with_frozen_statistics, reset_context),
        cmocka_unit_test_setup(gates_before_norm_equal_differences_with_batch_statistics, reset_context),
        cmocka_unit_test_setup(a_gate_shut_before_norm_leaves_the_shift, reset_context),
        cmocka_unit_test_setup(a_standalone_batch_norm_carries_gates_on_both_sides, reset_context),
        cmocka_unit_test_setup(a_unit_over_two_layers_adds_their_gradients, reset_context),
        cmocka_unit_test_setup(gradients_add_up_over_subdivisions_beside_momentum, reset_context),
        cmocka_unit_test_setup(sums_of_batch_norm_equal_a_pass_over_the_maps, reset_context),
        cmocka_unit_test_setup(open_gates_change_no_bit, reset_context),
        cmocka_unit_test_setup(collecting_batch_gradients_changes_no_bit, reset_context),
        cmocka_unit_test_setup(collecting_image_gradients_changes_no_bit, reset_context),
        cmocka_unit_test_setup(a_shut_gate_puts_out_exact_zero, reset_context),
        cmocka_unit_test_setup(detaching_restores_the_network, reset_context),
        cmocka_unit_test_setup(gates_follow_a_resized_network, reset_context),
        cmocka_unit_test_setup(sites_that_do_not_fit_are_refused, reset_context),
    };
    host_context()->threads = 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
