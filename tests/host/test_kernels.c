/* Every replaced function except convolutions (test_kernels_conv.c) against the stock library where that is right, and against plain loops or its
 * specification where it is not. Arrays that a function adds to start with numbers in them. */
#include "test_kernels.h"

#include "../../darknet/kernels/stock.h"

typedef void gemm_function(int, int, int, int, int, float, float *, int, float *, int, float, float *, int);
typedef void columns_function(float *, int, int, int, int, int, int, float *);
typedef void activate_function(float *, const int, const ACTIVATION);
typedef void gradient_function(const float *, const int, const ACTIVATION, float *);
typedef void update_function(layer, update_args);
typedef void shortcut_function(int, int, int, int, float *, int, int, int, float, float, float *);
typedef void upsample_function(float *, int, int, int, int, int, int, float, float *);
typedef void channel_function(float *, float *, int, int, int);

static void matrix_products_equal_the_stock_ones(void **state)
{
    (void)state;
    SKIP_WITHOUT_STOCK();
    static const int sizes[][3] = {{1, 1, 1}, {5, 7, 3}, {64, 33, 50}, {300, 20, 64}, {20, 900, 100}};
    for (size_t s = 0; s < 5; ++s) {
        for (int t = 0; t < 4; ++t) {
            int m = sizes[s][0], n = sizes[s][1], k = sizes[s][2], ta = t & 1, tb = t >> 1, lda = (ta ? m : k) + 2, ldb = (tb ? k : n) + 1, ldc = n + 3;
            float *a = noise_array((size_t)(lda * (ta ? k : m)), 1), *b = noise_array((size_t)(ldb * (tb ? n : k)), 2);
            float *c = noise_array((size_t)(ldc * m), 3), *d = copy_array(c, (size_t)(ldc * m));
            gemm(ta, tb, m, n, k, .7f, a, lda, b, ldb, .3f, c, ldc);
            STOCK(gemm_function, gemm)(ta, tb, m, n, k, .7f, a, lda, b, ldb, .3f, d, ldc);
            assert_close(c, d, (size_t)(ldc * m), 2e-6);
            free(a); free(b); free(c); free(d);
        }
    }
}

static void columns_of_images_equal_the_stock_ones(void **state)
{
    (void)state;
    SKIP_WITHOUT_STOCK();
    for (int size = 1; size <= 5; ++size) for (int stride = 1; stride <= 3; ++stride) for (int pad = 0; pad <= 3; ++pad) {
        int c = 3, h = 9, w = 7, oh = (h + 2 * pad - size) / stride + 1, ow = (w + 2 * pad - size) / stride + 1;
        size_t ni = (size_t)(c * h * w), nc = (size_t)(c * size * size * oh * ow);
        float *im = noise_array(ni, 1), *im2 = copy_array(im, ni), *a = noise_array(nc, 2), *b = noise_array(nc, 3);
        im2col_cpu(im, c, h, w, size, stride, pad, a);
        STOCK(columns_function, im2col_cpu)(im, c, h, w, size, stride, pad, b);
        assert_memory_equal(a, b, nc * sizeof *a);
        col2im_cpu(a, c, h, w, size, stride, pad, im);
        STOCK(columns_function, col2im_cpu)(a, c, h, w, size, stride, pad, im2);
        assert_close(im, im2, ni, 2e-6);
        free(im); free(im2); free(a); free(b);
    }
}

static void check_activations(void)
{
    for (int a = LOGISTIC; a <= SELU; ++a) {
        for (int n = 1; n < 70; n += 17) {
            float x[70], y[70], d[70], e[70];
            fill_noise(x, 70, (uint32_t)a);
            for (int i = 0; i < n; ++i) x[i] = y[i] = 6 * x[i];
            activate_array(x, n, (ACTIVATION)a);
            STOCK(activate_function, activate_array)(y, n, (ACTIVATION)a);
            assert_close(x, y, (size_t)n, 1e-6);
            fill_noise(d, 70, 9);
            memcpy(e, d, sizeof d);
            gradient_array(y, n, (ACTIVATION)a, d);
            STOCK(gradient_function, gradient_array)(y, n, (ACTIVATION)a, e);
            assert_close(d, e, (size_t)n, 4e-6);   /* 1 - y*y cancels */
        }
    }
}

static void activations_and_their_gradients_equal_the_stock_ones(void **state)
{
    (void)state;
    SKIP_WITHOUT_STOCK();
    for_every_table(check_activations);
}

static void check_extremes(void)
{
    for (int a = LOGISTIC; a <= SELU; ++a) {
        float x[5] = {NAN, 1, NAN, 2, 3};
        if (a == PLSE || a == HARDTAN || a == LHTAN) continue;
        activate_array(x, 5, (ACTIVATION)a);
        assert_true(isnan(x[0]) && isnan(x[2]) && !isnan(x[4]));
    }
    float big[3] = {200, -200, 0}, limits[3] = {1, 0, .5f}, both[3] = {1, -1, 0};
    activate_array(big, 3, LOGISTIC);
    assert_close(big, limits, 3, 1e-6);
    big[0] = 200; big[1] = -200; big[2] = 0;
    activate_array(big, 3, TANH);
    assert_close(big, both, 3, 1e-6);
}

static void activations_let_nan_through_and_saturate(void **state)
{
    (void)state;
    for_every_table(check_extremes);
}

static void check_whole_arrays(void)
{
    for (int n = 1; n < 100000; n = n * 3 + 5) {
        float *x = noise_array((size_t)n, 1), *y = noise_array((size_t)n, 2), *z = copy_array(y, (size_t)n);
        for (int i = 0; i < n; ++i) z[i] += .3f * x[i];
        axpy_cpu(n, .3f, x, 1, y, 1);
        assert_close(y, z, (size_t)n, 1e-6);
        for (int i = 0; i < n; ++i) z[i] *= -2;
        scal_cpu(n, -2, y, 1);
        assert_close(y, z, (size_t)n, 1e-6);
        copy_cpu(n, y, 1, x, 1);
        assert_memory_equal(x, y, (size_t)n * sizeof *x);
        fill_cpu(n, 5, x, 1);
        for (int i = 0; i < n; ++i) assert_true(x[i] == 5);
        free(x); free(y); free(z);
    }
    float x[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, y[12] = {0};
    copy_cpu(4, x, 3, y, 2);
    assert_true(y[0] == 1 && y[2] == 4 && y[4] == 7 && y[6] == 10 && y[1] == 0 && y[8] == 0);
    axpy_cpu(3, 2, x, 1, y, 4);
    assert_true(y[0] == 3 && y[4] == 11 && y[8] == 6 && y[2] == 4);
    scal_cpu(2, 10, y, 8);
    assert_true(y[0] == 30 && y[8] == 60 && y[4] == 11);
    fill_cpu(2, -1, y, 6);
    assert_true(y[0] == -1 && y[6] == -1 && y[4] == 11);
    copy_cpu(8, x, 1, x + 4, 1);   /* overlapping */
    assert_true(x[4] == 1 && x[7] == 4 && x[8] == 5);
}

static void whole_array_operations_do_what_they_say(void **state)
{
    (void)state;
    for_every_table(check_whole_arrays);
}

static void per_channel_operations_equal_the_stock_ones(void **state)
{
    (void)state;
    SKIP_WITHOUT_STOCK();
    float *x = noise_array(3 * 5 * 77, 1), *y = copy_array(x, 3 * 5 * 77), v[5] = {1, -2, .5f, 3, 4}, sums[5] = {1, 2, 3, 4, 5}, stock_sums[5] = {1, 2, 3, 4, 5};
    add_bias(x, v, 3, 5, 77);
    STOCK(channel_function, add_bias)(y, v, 3, 5, 77);
    scale_bias(x, v, 3, 5, 77);
    STOCK(channel_function, scale_bias)(y, v, 3, 5, 77);
    assert_close(x, y, 3 * 5 * 77, 1e-6);
    backward_bias(sums, x, 3, 5, 77);
    STOCK(channel_function, backward_bias)(stock_sums, x, 3, 5, 77);
    assert_close(sums, stock_sums, 5, 1e-5);
    free(x); free(y);
}

/* Runs forward and backward of one layer with both libraries on the same numbers. overwrites: the stock backward writes over net.delta. */
static void compare_layer(layer l, size_t inputs, network net, const char *forward, const char *backward, bool overwrites)
{
    size_t ins = inputs * (size_t)l.batch, outs = (size_t)l.outputs * (size_t)l.batch;
    float *in = net.input ? net.input : noise_array(ins, 31), *mine = noise_array(ins, 32), *theirs = copy_array(mine, ins), *out = malloc(outs * sizeof *out);
    float *delta = noise_array(outs, 33);
    layer_function *f = (layer_function *)(uintptr_t)stock(forward), *b = (layer_function *)(uintptr_t)stock(backward);

    net.input = in;
    net.delta = mine;
    l.forward(l, net);
    memcpy(out, l.output, outs * sizeof *out);
    memcpy(l.delta, delta, outs * sizeof *delta);
    l.backward(l, net);
    net.delta = theirs;
    if (overwrites) memset(theirs, 0, ins * sizeof *theirs);
    f(l, net);
    assert_close(out, l.output, outs, 2e-6);
    memcpy(l.delta, delta, outs * sizeof *delta);
    b(l, net);
    if (overwrites) {
        float *start = noise_array(ins, 32);
        for (size_t i = 0; i < ins; ++i) theirs[i] += start[i];
        free(start);
    }
    assert_close(mine, theirs, ins, 3e-6);
    free(in); free(mine); free(theirs); free(out); free(delta);
}

static void pooling_layers_equal_the_stock_ones(void **state)
{
    (void)state;
    SKIP_WITHOUT_STOCK();
    static const int sizes[][5] = {{8, 8, 2, 2, 1}, {7, 9, 2, 2, 0}, {13, 13, 2, 1, 1}, {9, 9, 3, 2, 2}, {13, 13, 5, 1, 4}, {32, 32, 1, 2, 0}, {10, 6, 3, 3, 1}};
    for (size_t s = 0; s < 7; ++s) {
        const int *z = sizes[s];
        layer l = make_maxpool_layer(3, z[0], z[1], 5, z[2], z[3], z[4]);
        compare_layer(l, (size_t)l.inputs, (network){0}, "forward_maxpool_layer", "backward_maxpool_layer", false);
        free_layer(l);
    }
    layer l = make_avgpool_layer(3, 7, 9, 21);
    compare_layer(l, (size_t)l.inputs, (network){0}, "forward_avgpool_layer", "backward_avgpool_layer", false);
    free_layer(l);
    l = make_upsample_layer(2, 7, 5, 9, 2);
    compare_layer(l, (size_t)l.inputs, (network){0}, "forward_upsample_layer", "backward_upsample_layer", false);
    free_layer(l);
}

static void layers_that_the_host_lets_overwrite_add_to_the_input_gradient(void **state)
{
    (void)state;
    SKIP_WITHOUT_STOCK();
    layer l = make_activation_layer(3, 200, LEAKY);
    compare_layer(l, (size_t)l.inputs, (network){0}, "forward_activation_layer", "backward_activation_layer", true);
    free_layer(l);
    for (int reverse = 0; reverse <= 1; ++reverse) {
        l = make_reorg_layer(2, 6, 4, 8, 2, reverse, 0, 0);
        compare_layer(l, (size_t)l.inputs, (network){0}, "forward_reorg_layer", "backward_reorg_layer", true);
        free_layer(l);
    }
    l = make_reorg_layer(2, 6, 4, 8, 2, 0, 1, 0);
    compare_layer(l, (size_t)l.inputs, (network){0}, "forward_reorg_layer", "backward_reorg_layer", true);
    free_layer(l);
    l = make_normalization_layer(2, 6, 4, 8, 5, .0001f, .75f, 1);
    compare_layer(l, (size_t)l.inputs, (network){0}, "forward_normalization_layer", "backward_normalization_layer", true);
    free_layer(l);
}

/* Shortcuts and routes also add to the delta of other layers. */
static void check_shortcut(int w, int h, int c, int w2, int h2, int c2, float alpha, float beta, ACTIVATION a)
{
    layer source = {.w = w2, .h = h2, .c = c2}, l = make_shortcut_layer(2, 0, w, h, c, w2, h2, c2);
    size_t ns = (size_t)(2 * w2 * h2 * c2);
    float *sd = noise_array(ns, 41), *start = copy_array(sd, ns);

    source.output = noise_array(ns, 40);
    source.delta = sd;
    l.activation = a;
    l.alpha = alpha;
    l.beta = beta;
    float *mine = noise_array((size_t)(2 * w * h * c), 32), *theirs = copy_array(mine, (size_t)(2 * w * h * c)), *in = noise_array((size_t)(2 * w * h * c), 3);
    size_t outs = (size_t)(l.outputs * l.batch);
    float *delta = noise_array(outs, 5);
    network net = {.layers = &source, .input = in, .delta = mine};
    forward_shortcut_layer(l, net);
    float *out = copy_array(l.output, outs);
    memcpy(l.delta, delta, outs * sizeof *delta);
    backward_shortcut_layer(l, net);
    float *sd2 = copy_array(sd, ns);
    memcpy(sd, start, ns * sizeof *sd);
    net.delta = theirs;
    STOCK(layer_function, forward_shortcut_layer)(l, net);
    assert_close(out, l.output, outs, 2e-6);
    memcpy(l.delta, delta, outs * sizeof *delta);
    STOCK(layer_function, backward_shortcut_layer)(l, net);
    assert_close(mine, theirs, (size_t)(2 * w * h * c), 2e-6);
    assert_close(sd2, sd, ns, 2e-6);
    free(sd); free(start); free(source.output); free(mine); free(theirs); free(in); free(delta); free(out); free(sd2);
    free_layer(l);
}

static void shortcuts_equal_the_stock_ones_also_with_unequal_shapes(void **state)
{
    (void)state;
    SKIP_WITHOUT_STOCK();
    check_shortcut(8, 8, 5, 8, 8, 5, 1, 1, LEAKY);
    check_shortcut(8, 8, 5, 8, 8, 5, .5f, 2, RELU);
    check_shortcut(9, 7, 3, 9, 7, 3, 1, 1, LOGISTIC);
    check_shortcut(8, 8, 3, 8, 8, 6, 1, 1, LINEAR);
    check_shortcut(8, 8, 6, 8, 8, 3, 1, 1, LEAKY);
    check_shortcut(4, 4, 6, 8, 8, 3, 1, 1, LEAKY);
    check_shortcut(8, 8, 6, 4, 4, 9, 1, 1, LINEAR);
    check_shortcut(8, 8, 6, 4, 4, 9, 2, .5f, LOGISTIC);
}

static void routes_copy_forward_and_add_backward(void **state)
{
    (void)state;
    SKIP_WITHOUT_STOCK();
    layer from[2] = {{.outputs = 30}, {.outputs = 50}};
    int inputs[2] = {0, 1}, sizes[2] = {30, 50};
    for (int i = 0; i < 2; ++i) {
        from[i].output = noise_array(4 * 50, 1);
        from[i].delta = noise_array(4 * 50, 2);
    }
    layer l = {.batch = 4, .n = 2, .outputs = 80, .inputs = 80, .input_layers = inputs, .input_sizes = sizes, .output = noise_array(320, 3), .delta = noise_array(320, 4)};
    network net = {.layers = from};
    float *out = malloc(320 * sizeof *out), *d0 = copy_array(from[0].delta, 120), *d1 = copy_array(from[1].delta, 200);
    forward_route_layer(l, net);
    memcpy(out, l.output, 320 * sizeof *out);
    STOCK(layer_function, forward_route_layer)(l, net);
    assert_memory_equal(out, l.output, 320 * sizeof *out);
    backward_route_layer(l, net);
    float *e0 = copy_array(from[0].delta, 120), *e1 = copy_array(from[1].delta, 200);
    memcpy(from[0].delta, d0, 120 * sizeof *d0);
    memcpy(from[1].delta, d1, 200 * sizeof *d1);
    STOCK(layer_function, backward_route_layer)(l, net);
    assert_close(e0, from[0].delta, 120, 1e-6);
    assert_close(e1, from[1].delta, 200, 1e-6);
    free(out); free(d0); free(d1); free(e0); free(e1); free(l.output); free(l.delta);
    for (int i = 0; i < 2; ++i) {
        free(from[i].output);
        free(from[i].delta);
    }
}

static void connected_layers_equal_the_stock_ones(void **state)
{
    (void)state;
    SKIP_WITHOUT_STOCK();
    for (int batch = 1; batch <= 7; batch += 6) {
        layer l = make_connected_layer(batch, 37, 21, LEAKY, 0, 0);
        fill_noise(l.biases, 21, 2);
        fill_noise(l.weight_updates, 37 * 21, 3);
        float *start = copy_array(l.weight_updates, 37 * 21), *biases = copy_array(l.bias_updates, 21);
        compare_layer(l, 37, (network){.train = 1}, "forward_connected_layer", "backward_connected_layer", false);
        /* both sides have added the same to the updates: half of it is ours */
        float *in = noise_array((size_t)(37 * batch), 31), *delta = noise_array((size_t)(21 * batch), 33);
        memcpy(l.delta, delta, (size_t)(21 * batch) * sizeof *delta);
        for (int i = 0; i < 37 * 21; ++i) start[i] = start[i] + (l.weight_updates[i] - start[i]) / 2;
        for (int i = 0; i < 21; ++i) biases[i] = l.bias_updates[i] / 2;
        fill_noise(l.weight_updates, 37 * 21, 3);
        memset(l.bias_updates, 0, 21 * sizeof(float));
        network net = {.train = 1, .input = in};
        forward_connected_layer(l, net);
        backward_connected_layer(l, net);
        assert_close(l.weight_updates, start, 37 * 21, 3e-6);
        assert_close(l.bias_updates, biases, 21, 3e-6);
        free(start); free(biases); free(in); free(delta);
        free_layer(l);
    }
}

/* ---- updates, dropout ---- */

static void check_update(layer l, size_t nw, size_t nb, const char *name, update_function *mine, int adam)
{
    update_function *theirs = (update_function *)(uintptr_t)stock(name);
    update_args a = {.batch = 64, .learning_rate = .01f, .momentum = .9f, .decay = .0005f, .adam = adam, .B1 = .9f, .B2 = .999f, .eps = 1e-7f, .t = 3};
    float *arrays[6] = {l.weights, l.weight_updates, l.biases, l.bias_updates, l.scales, l.scale_updates}, *start[6], *result[6];
    size_t sizes[6] = {nw, nw, nb, nb, nb, nb};

    for (int i = 0; i < 6; ++i) {
        fill_noise(arrays[i], sizes[i], 60 + (uint32_t)i);
        start[i] = copy_array(arrays[i], sizes[i]);
    }
    mine(l, a);
    for (int i = 0; i < 6; ++i) {
        result[i] = copy_array(arrays[i], sizes[i]);
        memcpy(arrays[i], start[i], sizes[i] * sizeof(float));
    }
    if (adam) {
        memset(l.m, 0, nw * sizeof(float)); memset(l.v, 0, nw * sizeof(float));
        memset(l.bias_m, 0, nb * sizeof(float)); memset(l.bias_v, 0, nb * sizeof(float));
        memset(l.scale_m, 0, nb * sizeof(float)); memset(l.scale_v, 0, nb * sizeof(float));
    }
    theirs(l, a);
    for (int i = 0; i < 6; ++i) {
        assert_close(result[i], arrays[i], sizes[i], 1e-6);
        free(start[i]);
        free(result[i]);
    }
}

static void updates_equal_the_stock_ones_with_and_without_adam(void **state)
{
    (void)state;
    SKIP_WITHOUT_STOCK();
    for (int adam = 0; adam <= 1; ++adam) {
        layer l = make_convolutional_layer(1, 8, 8, 6, 10, 2, 3, 1, 1, LEAKY, 1, 0, 0, adam);
        l.learning_rate_scale = .7f;
        check_update(l, (size_t)l.nweights, 10, "update_convolutional_layer", update_convolutional_layer, adam);
        free_layer(l);
    }
    layer l = make_connected_layer(2, 30, 12, LEAKY, 1, 0);
    l.learning_rate_scale = 1;
    check_update(l, 360, 12, "update_connected_layer", update_connected_layer, 0);
    free_layer(l);
}

static void dropout_repeats_at_any_thread_count_and_is_the_identity_in_inference(void **state)
{
    (void)state;
    enum { N = 3000, B = 9 };
    layer l = make_dropout_layer(B, N, .4f);
    size_t seen = 640;
    float *first = NULL, *ones = malloc(B * N * sizeof *ones), *delta = malloc(B * N * sizeof *delta);
    network net = {.train = 1, .index = 4, .seen = &seen, .input = ones, .delta = delta};
    for (int threads = 1; threads <= 3; ++threads) {
        host_context()->threads = threads;
        for (int i = 0; i < B * N; ++i) ones[i] = delta[i] = 1;
        l.forward(l, net);
        l.backward(l, net);
        if (!first) first = copy_array(ones, B * N);
        assert_memory_equal(first, ones, B * N * sizeof *first);
        assert_memory_equal(first, delta, B * N * sizeof *first);
    }
    host_context()->threads = 2;
    double kept = 0;
    for (int i = 0; i < B * N; ++i) {
        assert_true(first[i] == 0 || fabsf(first[i] - 1 / .6f) < 1e-6f);
        kept += first[i] > 0;
    }
    assert_true(fabs(kept / (B * N) - .6) < .01);
    seen += B;   /* the next minibatch drops other numbers */
    for (int i = 0; i < B * N; ++i) ones[i] = 1;
    l.forward(l, net);
    assert_memory_not_equal(first, ones, B * N * sizeof *first);
    for (int pass = 0; pass < 2; ++pass) {
        net.train = pass;
        host_context()->rolling_statistics = pass == 1;
        for (int i = 0; i < B * N; ++i) ones[i] = delta[i] = 1;
        l.forward(l, net);
        l.backward(l, net);
        for (int i = 0; i < B * N; ++i) assert_true(ones[i] == 1 && delta[i] == 1);
    }
    host_context()->rolling_statistics = false;
    free(first); free(ones); free(delta);
    free_layer(l);
}

/* ---- pool ---- */

struct counted { int ran[1000]; int threads_seen; };

static void count(void *arg, int task, int thread)
{
    struct counted *c = arg;
    c->ran[task]++;
    assert_true(thread >= 0 && thread < host_context()->threads);
    if (pool_threads() != 1) c->ran[task] += 100;   /* inside a task there is one thread */
}

static void the_pool_runs_every_task_once_for_any_number_of_threads(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 9; threads += 4) {
        host_context()->threads = threads;
        for (int tasks = 0; tasks <= 1000; tasks = tasks * 3 + 1) {
            struct counted c = {{0}, 0};
            pool_run(tasks, count, &c);
            for (int i = 0; i < 1000; ++i) assert_int_equal(c.ran[i], i < tasks);
        }
        for (int tasks = 1; tasks < 20; ++tasks) {
            assert_int_equal(pool_first(7, 0, tasks), 0);
            assert_int_equal(pool_first(7, tasks, tasks), 7);
            for (int t = 0; t < tasks; ++t) assert_true(pool_first(7, t, tasks) <= pool_first(7, t + 1, tasks));
        }
    }
    host_context()->threads = 2;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrix_products_equal_the_stock_ones),
        cmocka_unit_test(columns_of_images_equal_the_stock_ones),
        cmocka_unit_test(activations_and_their_gradients_equal_the_stock_ones),
        cmocka_unit_test(activations_let_nan_through_and_saturate),
        cmocka_unit_test(whole_array_operations_do_what_they_say),
        cmocka_unit_test(per_channel_operations_equal_the_stock_ones),
        cmocka_unit_test(pooling_layers_equal_the_stock_ones),
        cmocka_unit_test(layers_that_the_host_lets_overwrite_add_to_the_input_gradient),
        cmocka_unit_test(shortcuts_equal_the_stock_ones_also_with_unequal_shapes),
        cmocka_unit_test(routes_copy_forward_and_add_backward),
        cmocka_unit_test(connected_layers_equal_the_stock_ones),
        cmocka_unit_test(updates_equal_the_stock_ones_with_and_without_adam),
        cmocka_unit_test(dropout_repeats_at_any_thread_count_and_is_the_identity_in_inference),
        cmocka_unit_test(the_pool_runs_every_task_once_for_any_number_of_threads),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pool_stop();
    return failed;
}
