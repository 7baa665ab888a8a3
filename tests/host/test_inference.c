/* Inference: folded batch-norm and kept weights give the outputs of the plain pass, on every layer, with gates, at any number of threads. */
#include "small_net.h"

#include "../../darknet/kernels/inference.h"
#include "../../darknet/kernels/winograd.h"
#include "../../darknet/kernels/vector.h"

enum { BATCH = 3, LAYERS = 11 };

struct outputs { float *of[LAYERS]; size_t n[LAYERS]; };

static struct outputs copy_outputs(const network *net)
{
    struct outputs o;
    assert_int_equal(net->n, LAYERS);
    for (int i = 0; i < net->n; ++i) {
        o.n[i] = (size_t)net->layers[i].outputs * (size_t)net->layers[i].batch;
        o.of[i] = malloc(o.n[i] * sizeof(float));
        assert_non_null(o.of[i]);
        memcpy(o.of[i], net->layers[i].output, o.n[i] * sizeof(float));
    }
    return o;
}

static void free_outputs(struct outputs *o)
{
    for (int i = 0; i < LAYERS; ++i) free(o->of[i]);
}

/* tolerance of the largest value of each layer */
static void assert_outputs(const network *net, const struct outputs *wanted, double tolerance)
{
    for (int i = 0; i < LAYERS; ++i) {
        double largest = 0, worst = 0;
        for (size_t k = 0; k < wanted->n[i]; ++k) {
            largest = fmax(largest, fabs((double)wanted->of[i][k]));
            worst = fmax(worst, fabs((double)(wanted->of[i][k] - net->layers[i].output[k])));
        }
        if (!(worst <= tolerance * largest)) fail_msg("layer %d differs by %g of %g", i, worst, largest);
    }
}

static network *frozen_net(int batch, const char *activation, uint64_t seed)
{
    network *net = small_net(batch, activation, seed);
    small_calibrate(net);
    net->train = 0;
    net->delta = NULL;
    return net;
}

static void infer_twice(network *net)
{
    struct inference in;
    inference_begin(&in);
    inference_forward(net);
    for (int i = 0; i < net->n; ++i) memset(net->layers[i].output, 0x7f, (size_t)net->layers[i].outputs * (size_t)net->layers[i].batch * sizeof(float));
    inference_forward(net);
    inference_end(&in);
}

static void folded_equals_unfolded(network *net)
{
    forward_network(net);
    struct outputs plain = copy_outputs(net);
    infer_twice(net);
    assert_outputs(net, &plain, 1e-5);
    free_outputs(&plain);
}

static void folding_changes_no_output_of_any_layer(void **state)
{
    (void)state;
    static const char *const activations[] = {"leaky", "relu", "linear", "logistic"};
    for (int k = 0; vector_ops_at(k); ++k) {
        vector_ops_force(vector_ops_at(k));
        for (int a = 0; a < 4; ++a) {
            for (int batch = 1; batch <= BATCH; batch += 2) {
                network *net = frozen_net(batch, activations[a], 3);
                folded_equals_unfolded(net);
                free_network(net);
            }
        }
    }
    vector_ops_force(NULL);
}

static void channels_without_variance_fold_as_well(void **state)
{
    (void)state;
    network *net = frozen_net(BATCH, "leaky", 4);
    for (int c = 0; c < net->layers[1].out_c; c += 2) net->layers[1].rolling_variance[c] = 0;
    net->layers[3].rolling_variance[1] = 0;
    net->layers[3].scales[1] = 0;
    folded_equals_unfolded(net);
    float y = net->layers[3].output[64], b = net->layers[3].biases[1];   /* scale 0: the bias alone */
    assert_true(fabsf(y - (b > 0 ? b : .1f * b)) < 1e-6f);
    free_network(net);
}

static void gates_act_on_folded_layers(void **state)
{
    (void)state;
    for (int place = 0; place < 2; ++place) {
        enum prune_gate_place at = place ? PRUNE_GATE_AFTER_OUTPUT : PRUNE_GATE_BEFORE_ACTIVATION;
        network *net = frozen_net(BATCH, "leaky", 5);
        struct prune_gate_site sites[SMALL_UNITS];
        struct gate_table *gates;
        struct prune_status st = {0};
        if (gate_attach(&gates, net, sites, small_sites(net, sites, at), SMALL_UNITS, &st)) fail_msg("%s", st.message);
        folded_equals_unfolded(net);
        for (int u = 0; u < SMALL_UNITS; ++u) gate_values(gates)[u] = u % 3 == 0 ? 0 : u % 3 == 1 ? .5f : 1;
        folded_equals_unfolded(net);
        for (int i = 0; i < 64; ++i) assert_true(net->layers[0].output[i] == 0);   /* unit 0 is channel 0 */
        gate_detach(gates);
        free_network(net);
    }
}

/* What an inference pass must not spend time on, and a plain one must do. */
static void inference_writes_outputs_only(void **state)
{
    (void)state;
    network *net = frozen_net(BATCH, "leaky", 6);
    layer *l = &net->layers[1];
    size_t n = (size_t)l->outputs * BATCH;
    for (size_t i = 0; i < n; ++i) l->x[i] = l->delta[i] = 7;
    infer_twice(net);
    for (size_t i = 0; i < n; ++i) assert_true(l->x[i] == 7 && l->delta[i] == 7);
    forward_network(net);
    size_t kept = 0;
    for (size_t i = 0; i < n; ++i) {
        kept += l->x[i] == 7;
        assert_true(l->delta[i] == 0);
    }
    assert_true(kept < n / 100);
    net->train = 1;   /* also inside: a training pass is a training pass */
    struct inference in;
    for (size_t i = 0; i < n; ++i) l->x[i] = 7;
    inference_begin(&in);
    inference_forward(net);
    assert_int_equal(inference_bytes(), 0);
    inference_end(&in);
    kept = 0;
    for (size_t i = 0; i < n; ++i) kept += l->x[i] == 7;
    assert_true(kept < n / 100);
    free_network(net);
}

static void weights_are_kept_between_passes_and_dropped_at_the_end(void **state)
{
    enum { MANY = 32 };   /* enough tiles for Winograd */
    (void)state;
    network *net = frozen_net(MANY, "relu", 7), *fresh = frozen_net(MANY, "relu", 8);
    struct inference in, inner;
    assert_int_equal(inference_bytes(), 0);
    inference_begin(&in);
    inference_forward(net);
    size_t once = inference_bytes();
    inference_forward(net);
    assert_int_equal(inference_bytes(), once);
    inference_begin(&inner);
    inference_forward(net);
    inference_end(&inner);
    assert_int_equal(inference_bytes(), once);
    inference_end(&in);
    assert_int_equal(inference_bytes(), 0);
    size_t weights = 0;
    for (int i = 0; i < net->n; ++i) {
        if (net->layers[i].type == CONVOLUTIONAL && winograd_suits(&net->layers[i])) weights += (size_t)net->layers[i].nweights * 4 * sizeof(float);
    }
    assert_true(once >= weights);
    assert_true(weights > 0 || vector_ops()->lanes > 8);
    /* trained on in between: as a network that always had these weights */
    small_weights(net, 8);
    memcpy(net->input, fresh->input, (size_t)net->inputs * MANY * sizeof(float));
    for (int i = 0; i < net->n; ++i) {
        if (!net->layers[i].batch_normalize) continue;
        memcpy(net->layers[i].rolling_mean, fresh->layers[i].rolling_mean, (size_t)net->layers[i].out_c * sizeof(float));
        memcpy(net->layers[i].rolling_variance, fresh->layers[i].rolling_variance, (size_t)net->layers[i].out_c * sizeof(float));
    }
    infer_twice(net);
    infer_twice(fresh);
    struct outputs wanted = copy_outputs(fresh);
    assert_outputs(net, &wanted, 0);
    free_outputs(&wanted);
    free_network(net);
    free_network(fresh);
}

static void outputs_are_equal_at_any_number_of_threads(void **state)
{
    (void)state;
    int threads = host_context()->threads;
    for (int batch = 1; batch <= BATCH; batch += 2) {
        network *net = frozen_net(batch, "leaky", 9);
        host_context()->threads = 1;
        infer_twice(net);
        struct outputs one = copy_outputs(net);
        for (int t = 2; t <= 3; ++t) {
            host_context()->threads = t;
            infer_twice(net);
            assert_outputs(net, &one, 0);
        }
        free_outputs(&one);
        free_network(net);
    }
    host_context()->threads = threads;
}

/* The plan of a layer may change with the batch, and with it the order of the filters that are kept. */
static void kept_weights_serve_batches_of_every_size(void **state)
{
    (void)state;
    static const char cfg[] = "[net]\nbatch=4\nsubdivisions=1\nwidth=24\nheight=24\nchannels=3\nlearning_rate=.01\nmax_batches=1\n"
                              "[convolutional]\nfilters=16\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
                              "[convolutional]\nfilters=16\nsize=3\nstride=1\npad=1\nactivation=leaky\n[softmax]\n";
    int threads = host_context()->threads;
    size_t outputs = (size_t)16 * 24 * 24;
    struct inference in;
    host_context()->threads = 2;
    network *net = network_parse(cfg, strlen(cfg), true);
    assert_non_null(net);
    small_weights(net, 4);
    net->train = 0;
    struct prune_random r = prune_random_make(4, 5, 6);
    fill_random(net->input, (size_t)net->inputs * 4, &r, 0, 1);
    inference_begin(&in);
    inference_forward(net);
    float *last = malloc(outputs * sizeof *last);
    assert_non_null(last);
    memcpy(last, net->layers[1].output + 3 * outputs, outputs * sizeof *last);
    memcpy(net->input, net->input + 3 * net->inputs, (size_t)net->inputs * sizeof(float));
    set_batch_network(net, 1);
    inference_forward(net);
    inference_end(&in);
    for (size_t i = 0; i < outputs; ++i) assert_float_equal(net->layers[1].output[i], last[i], 1e-4);
    free(last);
    free_network(net);
    host_context()->threads = threads;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folding_changes_no_output_of_any_layer),
        cmocka_unit_test(channels_without_variance_fold_as_well),
        cmocka_unit_test(gates_act_on_folded_layers),
        cmocka_unit_test(inference_writes_outputs_only),
        cmocka_unit_test(weights_are_kept_between_passes_and_dropped_at_the_end),
        cmocka_unit_test(kept_weights_serve_batches_of_every_size),
        cmocka_unit_test(outputs_are_equal_at_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
