/* Batch normalisation: forward pass, rolling statistics, calibration, the standalone layer; against the stock library where that is right. */
#include "test_kernels.h"

static layer normalised(int batch, int h, int w)
{
    layer l = make_convolutional_layer(batch, h, w, 3, 5, 1, 3, 1, 1, LEAKY, 1, 0, 0, 0);
    fill_noise(l.weights, (size_t)l.nweights, 1);
    fill_noise(l.biases, 5, 2);
    for (int i = 0; i < 5; ++i) {
        l.scales[i] = .5f + .3f * (float)i;
        l.rolling_mean[i] = .1f * (float)i;
        l.rolling_variance[i] = .4f + .2f * (float)i;
    }
    return l;
}

static void check_batchnorm_forward(void)
{
    for (int train = 0; train <= 1; ++train) {
        for (int batch = 1; batch <= 7; batch += 3) {
            layer l = normalised(batch, 9, 11);
            size_t outs = (size_t)(l.outputs * batch);
            float *in = noise_array((size_t)(l.inputs * batch), 5), *workspace = malloc(l.workspace_size), rolling[10], mean[5], variance[5];
            network net = {.train = train, .input = in, .workspace = workspace};
            memcpy(rolling, l.rolling_mean, sizeof rolling / 2);
            memcpy(rolling + 5, l.rolling_variance, sizeof rolling / 2);
            forward_convolutional_layer(l, net);
            float *out = copy_array(l.output, outs), *x = copy_array(l.x, outs), after[10];
            memcpy(after, l.rolling_mean, sizeof rolling / 2);
            memcpy(after + 5, l.rolling_variance, sizeof rolling / 2);
            memcpy(mean, l.mean, sizeof mean);
            memcpy(variance, l.variance, sizeof variance);
            memcpy(l.rolling_mean, rolling, sizeof rolling / 2);
            memcpy(l.rolling_variance, rolling + 5, sizeof rolling / 2);
            STOCK(layer_function, forward_convolutional_layer)(l, net);
            assert_close(out, l.output, outs, 2e-5);
            assert_close(x, l.x, outs, 2e-6);
            assert_close(after, l.rolling_mean, 5, 1e-5);
            assert_close(after + 5, l.rolling_variance, 5, 1e-5);
            if (train) {
                assert_close(mean, l.mean, 5, 1e-5);
                assert_close(variance, l.variance, 5, 1e-5);
            }
            free(in); free(workspace); free(out); free(x);
            free_layer(l);
        }
    }
}

static void batchnorm_forward_and_its_rolling_statistics_equal_the_stock_ones(void **state)
{
    (void)state;
    SKIP_WITHOUT_STOCK();
    for_every_table(check_batchnorm_forward);
}

static void rolling_statistics_on_demand_equal_inference(void **state)
{
    (void)state;
    layer l = normalised(3, 6, 6);
    float *in = noise_array((size_t)(l.inputs * 3), 5), *before = copy_array(l.rolling_mean, 5);
    network net = {.train = 0, .input = in};
    forward_convolutional_layer(l, net);
    float *out = copy_array(l.output, (size_t)(l.outputs * 3));
    net.train = 1;
    host_context()->rolling_statistics = true;
    forward_convolutional_layer(l, net);
    host_context()->rolling_statistics = false;
    assert_memory_equal(out, l.output, (size_t)(l.outputs * 3) * sizeof *out);
    assert_memory_equal(before, l.rolling_mean, 5 * sizeof *before);
    free(in); free(out); free(before);
    free_layer(l);
}

static void calibration_averages_batch_statistics_over_calls(void **state)
{
    (void)state;
    layer l = normalised(4, 6, 6);
    float *in = malloc((size_t)(l.inputs * 4) * sizeof *in);
    double mean[5] = {0}, variance[5] = {0};
    network net = {.train = 0, .input = in};
    host_context()->calibrating = true;
    for (int call = 0; call < 3; ++call) {
        host_context()->calibration_batches = (uint64_t)call;
        fill_noise(in, (size_t)(l.inputs * 4), 50 + (uint32_t)call);
        forward_convolutional_layer(l, net);
        for (int c = 0; c < 5; ++c) {
            mean[c] += (double)l.mean[c] / 3;
            variance[c] += (double)l.variance[c] / 3;
        }
    }
    host_context()->calibrating = false;
    host_context()->calibration_batches = 0;
    for (int c = 0; c < 5; ++c) {
        assert_true(fabs((double)l.rolling_mean[c] - mean[c]) < 1e-5);
        assert_true(fabs((double)l.rolling_variance[c] - variance[c]) < 1e-5 * variance[c]);
    }
    free(in);
    free_layer(l);
}

static void a_standalone_batchnorm_runs_resizes_updates_and_keeps_its_biases_zero(void **state)
{
    (void)state;
    layer l = make_batchnorm_layer(6, 5, 4, 3);
    resize_batchnorm_layer(&l, 7, 5);
    assert_int_equal(l.outputs, 7 * 5 * 3);
    size_t n = (size_t)(l.outputs * 6);
    float *in = noise_array(n, 1), *delta = calloc(n, sizeof *delta);
    network net = {.train = 1, .input = in, .delta = delta};
    l.scales[1] = 3;
    l.forward(l, net);
    double sum = 0, squares = 0;
    for (int b = 0; b < 6; ++b) for (int i = 0; i < 35; ++i) {
        double y = (double)l.output[(b * 3 + 1) * 35 + i];
        sum += y;
        squares += y * y;
    }
    assert_true(fabs(sum) < 1e-3);
    assert_true(fabs(squares / (6 * 35 - 1) - 9) < 1e-3);
    fill_noise(l.delta, n, 2);
    fill_noise(delta, n, 3);
    float *start = copy_array(delta, n);
    l.backward(l, net);
    for (size_t i = 0; i < n; ++i) start[i] += l.delta[i];
    assert_close(delta, start, n, 1e-6);
    float scale = l.scales[0], update = l.scale_updates[0];
    update_args a = {.batch = 2, .learning_rate = .1f, .momentum = .9f, .decay = .5f};
    assert_true(fabsf(update) > 0);
    l.update(l, a);
    assert_true(fabsf(l.scales[0] - (scale + .05f * update)) < 1e-6f && fabsf(l.scale_updates[0] - .9f * update) < 1e-5f);
    for (int c = 0; c < 3; ++c) assert_true(l.biases[c] == 0 && l.bias_updates[c] == 0);
    free(in); free(delta); free(start);
    free_layer(l);
}

static void one_value_per_channel_gives_finite_batch_statistics(void **state)
{
    (void)state;
    layer l = make_batchnorm_layer(1, 1, 1, 4);
    float in[4] = {1, 2, 3, 4}, delta[4] = {0};
    network net = {.train = 1, .input = in, .delta = delta};
    l.forward(l, net);
    fill_cpu(4, 1, l.delta, 1);
    l.backward(l, net);
    for (int i = 0; i < 4; ++i) assert_true(isfinite(l.output[i]) && l.output[i] == 0 && isfinite(delta[i]));
    free_layer(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batchnorm_forward_and_its_rolling_statistics_equal_the_stock_ones),
        cmocka_unit_test(rolling_statistics_on_demand_equal_inference),
        cmocka_unit_test(calibration_averages_batch_statistics_over_calls),
        cmocka_unit_test(a_standalone_batchnorm_runs_resizes_updates_and_keeps_its_biases_zero),
        cmocka_unit_test(one_value_per_channel_gives_finite_batch_statistics),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pool_stop();
    return failed;
}
