/* Finite differences of the whole network's softmax loss with respect to every kind of parameter, against what backward adds to the updates:
 * below shortcuts and routes that 1x1 convolutions read as well, through strided 1x1, depthwise and grouped convolutions, standalone batch-norm,
 * activation, reorg, upsample and connected layers, with batch and with rolling statistics. Everything is smooth, so that differences converge
 * (relu, leaky and maxpool are compared with the stock library in test_kernels.c). [normalization] is left out: the host's own gradient of it is approximate. */
#include "test_kernels.h"

static const char *const residual =
    "[net]\nbatch=3\nsubdivisions=1\nwidth=9\nheight=8\nchannels=3\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=elu\n"
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=1\nstride=1\npad=1\nactivation=elu\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=linear\n"
    "[shortcut]\nfrom=-3\nactivation=elu\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=1\nstride=1\npad=1\nactivation=logistic\n"
    "[shortcut]\nfrom=-2\nactivation=linear\n"
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=1\nstride=2\npad=0\nactivation=elu\n"
    "[convolutional]\nbatch_normalize=1\nfilters=6\ngroups=6\nsize=3\nstride=1\npad=1\nactivation=elu\n"
    "[route]\nlayers=-1,-2\n"
    "[convolutional]\nfilters=6\ngroups=2\nsize=3\nstride=2\npad=1\nactivation=tanh\n"
    "[avgpool]\n[connected]\nbatch_normalize=1\noutput=7\nactivation=elu\n"
    "[connected]\noutput=5\nactivation=linear\n[softmax]\n";

static const char *const zoo =
    "[net]\nbatch=12\nsubdivisions=1\nwidth=8\nheight=8\nchannels=2\n"
    "[convolutional]\nfilters=4\nsize=3\nstride=1\npad=1\nactivation=linear\n"
    "[batchnorm]\n"
    "[activation]\nactivation=elu\n"
    "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=1\nstride=1\npad=1\nactivation=linear\n"
    "[shortcut]\nfrom=-3\nactivation=linear\n"
    "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=1\npad=1\nactivation=elu\n"
    "[shortcut]\nfrom=-3\nactivation=linear\n"
    "[reorg]\nstride=2\n"
    "[convolutional]\nbatch_normalize=1\nfilters=3\nsize=1\nstride=1\npad=0\nactivation=elu\n"
    "[upsample]\nstride=2\n"
    "[route]\nlayers=-1,-4\n"
    "[convolutional]\nbatch_normalize=1\nfilters=5\nsize=5\nstride=3\npad=0\nactivation=linear\n"
    "[batchnorm]\n"
    "[convolutional]\nfilters=5\nsize=1\nstride=1\npad=0\nactivation=linear\n"
    "[avgpool]\n[softmax]\n";

/* Weights of both signs, scales around 1, statistics that are not those of the data, images and one-hot truths. */
static void prepare(network *net)
{
    uint32_t state = 11;

    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        int channels = l.type == CONNECTED ? l.outputs : l.type == CONVOLUTIONAL ? l.n : l.type == BATCHNORM ? l.c : 0;
        for (int k = 0; l.weights && k < (l.type == CONNECTED ? l.inputs * l.outputs : l.nweights); ++k) l.weights[k] = .6f * noise(&state);
        for (int k = 0; k < channels; ++k) {
            if (l.type != BATCHNORM) l.biases[k] = .4f * noise(&state);
            if (l.scales) l.scales[k] = 1 + .5f * noise(&state);
            if (l.rolling_mean) l.rolling_mean[k] = .3f * noise(&state);
            if (l.rolling_variance) l.rolling_variance[k] = 1.2f + noise(&state);
        }
    }
    fill_noise(net->input, (size_t)(net->inputs * net->batch), 21);
    memset(net->truth, 0, (size_t)(net->truths * net->batch) * sizeof(float));
    for (int b = 0; b < net->batch; ++b) net->truth[b * net->truths + b * 2 % net->truths] = 1;
}

/* Sum over the batch of -log p(truth), whose negative gradient backward makes. */
static double loss(network *net)
{
    double sum = 0;
    forward_network(net);
    const float *p = net->layers[net->n - 1].output;
    for (int i = 0; i < net->batch * net->truths; ++i) if (net->truth[i] > 0) sum -= log((double)p[i]);
    return sum;
}

/* Directional derivatives along random directions of one parameter array. */
static void check_array(network *net, int index, const char *what, float *x, const float *updates, size_t n, double *worst)
{
    float *start = copy_array(x, n), *direction = malloc(n * sizeof *direction);

    for (uint32_t trial = 0; trial < 4; ++trial) {
        double expected = 0, eps = 4e-3, length = 0;
        fill_noise(direction, n, 100 + trial);
        for (size_t i = 0; i < n; ++i) length += (double)(direction[i] * direction[i]);
        eps /= sqrt(length);
        for (size_t i = 0; i < n; ++i) expected -= (double)direction[i] * (double)updates[i];
        for (size_t i = 0; i < n; ++i) x[i] = start[i] + (float)eps * direction[i];
        double up = loss(net);
        for (size_t i = 0; i < n; ++i) x[i] = start[i] - (float)eps * direction[i];
        double slope = (up - loss(net)) / (2 * eps);
        memcpy(x, start, n * sizeof *x);
        double scale = sqrt(length) * .02 + fabs(expected), error = fabs(slope - expected) / scale;
        if (error > *worst) *worst = error;
        if (!(error < .01)) fail_msg("layer %d %s: backward says %g, differences say %g", index, what, expected, slope);
    }
    free(start); free(direction);
}

static void check_network(const char *text, int train, bool rolling)
{
    network *net = parse_text(parse_network_cfg, text);
    double worst = 0;

    prepare(net);
    net->train = train;
    host_context()->rolling_statistics = rolling;
    loss(net);
    backward_network(net);
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (l.type != CONVOLUTIONAL && l.type != CONNECTED && l.type != BATCHNORM) continue;
        size_t channels = (size_t)(l.type == CONNECTED ? l.outputs : l.out_c);
        size_t weights = l.type == CONNECTED ? (size_t)l.inputs * channels : (size_t)l.nweights;
        if (l.weights) check_array(net, i, "weights", l.weights, l.weight_updates, weights, &worst);
        check_array(net, i, "biases", l.biases, l.bias_updates, channels, &worst);
        if (l.scales) check_array(net, i, "scales", l.scales, l.scale_updates, channels, &worst);
    }
    print_message("train %d, rolling %d: worst relative error %.2g\n", train, rolling, worst);
    host_context()->rolling_statistics = false;
    free_network(net);
}

static void gradients_below_shortcuts_equal_finite_differences_with_batch_statistics(void **state) { (void)state; check_network(residual, 1, false); }
static void gradients_below_shortcuts_equal_finite_differences_with_rolling_statistics(void **state)
{
    (void)state;
    check_network(residual, 1, true);
    check_network(residual, 0, false);
}
static void gradients_through_every_replaced_layer_equal_finite_differences(void **state)
{
    (void)state;
    check_network(zoo, 1, false);
    check_network(zoo, 1, true);
}

/* Bug of the host: its batch-norm backward uses sqrt(v + 1e-5) where its forward used sqrt(v) + 1e-6. */
static void batchnorm_gradients_hold_at_tiny_variances(void **state)
{
    (void)state;
    network *net = parse_text(parse_network_cfg,
        "[net]\nbatch=6\nsubdivisions=1\nwidth=5\nheight=5\nchannels=2\n"
        "[convolutional]\nbatch_normalize=1\nfilters=3\nsize=3\nstride=1\npad=1\nactivation=linear\n"
        "[convolutional]\nfilters=4\nsize=3\nstride=1\npad=0\nactivation=linear\n[avgpool]\n[softmax]\n");
    double worst = 0;
    prepare(net);
    net->train = 1;
    layer l = net->layers[0];
    for (int i = 0; i < l.nweights; ++i) l.weights[i] *= 2e-4f;   /* variance about 1e-8 */
    loss(net);
    assert_true(l.variance[0] < 1e-6f);
    backward_network(net);
    float *weights = copy_array(l.weights, (size_t)l.nweights), *direction = noise_array((size_t)l.nweights, 5);
    double expected = 0, up, down, eps = 2e-7;
    for (int i = 0; i < l.nweights; ++i) expected -= (double)l.weight_updates[i] * (double)direction[i];
    for (int i = 0; i < l.nweights; ++i) l.weights[i] = weights[i] + (float)eps * direction[i];
    up = loss(net);
    for (int i = 0; i < l.nweights; ++i) l.weights[i] = weights[i] - (float)eps * direction[i];
    down = loss(net);
    worst = fabs((up - down) / (2 * eps) - expected) / fabs(expected);
    print_message("variance %.2g: relative error %.2g\n", (double)l.variance[0], worst);
    assert_true(worst < .02);
    free(weights); free(direction);
    free_network(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_below_shortcuts_equal_finite_differences_with_batch_statistics),
        cmocka_unit_test(gradients_below_shortcuts_equal_finite_differences_with_rolling_statistics),
        cmocka_unit_test(gradients_through_every_replaced_layer_equal_finite_differences),
        cmocka_unit_test(batchnorm_gradients_hold_at_tiny_variances),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pool_stop();
    return failed;
}
