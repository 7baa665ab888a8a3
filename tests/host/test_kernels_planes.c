/* Kernels that work plane by plane against plain loops: depthwise convolutions with batch-norm and leaky, max pooling, upsampling, shortcuts, dropout.
 * Odd shapes, widths that are no multiple of a vector, one channel, paddings 0 to 3, batches 1 and 7, every instruction set, 1 to 3 threads. */
#include "test_kernels.h"

#include <float.h>

static void check_every_table(void (*check)(const void *), const void *arg)
{
    const struct vector_ops *ops;

    for (int k = 0; (ops = vector_ops_at(k)); ++k) {
        vector_ops_force(ops);
        for (int threads = 1; threads <= 3; ++threads) {
            host_context()->threads = threads;
            check(arg);
        }
    }
    vector_ops_force(NULL);
    host_context()->threads = 2;
}

/* ---- depthwise ---- */

struct depthwise { int batch, h, w, c, size, stride, pad, normalised; };

/* Input position that tap k of output o reads, or -1. */
static int tap(int o, int k, int stride, int pad, int n)
{
    int i = o * stride + k - pad;
    return i < 0 || i >= n ? -1 : i;
}

/* For every output of channel c, adds: forward x += w*in; backward (d not NULL) dw += d*in, dx += d*w. */
static void walk(const layer *l, int c, const float *in, const double *d, double *x, double *dw, double *dx)
{
    const float *w = l->weights + c * l->size * l->size;

    for (int b = 0; b < l->batch; ++b) for (int oy = 0; oy < l->out_h; ++oy) for (int ox = 0; ox < l->out_w; ++ox) {
        int o = ((b * l->c + c) * l->out_h + oy) * l->out_w + ox;
        for (int k = 0; k < l->size * l->size; ++k) {
            int iy = tap(oy, k / l->size, l->stride, l->pad, l->h), ix = tap(ox, k % l->size, l->stride, l->pad, l->w);
            if (iy < 0 || ix < 0) continue;
            int i = ((b * l->c + c) * l->h + iy) * l->w + ix;
            if (!d) {
                x[o] += (double)w[k] * (double)in[i];
                continue;
            }
            dw[c * l->size * l->size + k] += d[o] * (double)in[i];
            dx[i] += d[o] * (double)w[k];
        }
    }
}

/* Positions of channel c's outputs: image b, k-th. */
#define EACH(l, c, o)                                                                                                 \
    for (int b_ = 0; b_ < (l)->batch; ++b_)                                                                           \
        for (int o = (b_ * (l)->c + (c)) * (l)->out_h * (l)->out_w, end_ = o + (l)->out_h * (l)->out_w; o < end_; ++o)

/* y = leaky(a x + b) and its gradient, statistics over the batch with N - 1, all in double precision. */
struct channel_sums { double bias, scale, biases, scales; };   /* the updates; of absolute values */

static struct channel_sums reference_channel(const layer *l, int c, const float *in, const float *delta, int normalised, float *y, double *dw, double *dx)
{
    size_t outs = (size_t)(l->outputs * l->batch);
    double *x = calloc(outs, sizeof *x), *d = calloc(outs, sizeof *d), n = (double)(l->batch * l->out_h * l->out_w), mean = 0, squares = 0, sum = 0, product = 0;
    struct channel_sums sums = {0};

    walk(l, c, in, NULL, x, NULL, NULL);
    EACH(l, c, o) mean += x[o] / n;
    EACH(l, c, o) squares += (x[o] - mean) * (x[o] - mean);
    double s = normalised ? sqrt(n > 1 ? squares / (n - 1) : 0) : 1, k = normalised ? 1 / (s + 1e-6) : 1;
    double a = normalised ? (double)l->scales[c] * k : 1, bias = (double)l->biases[c] - (normalised ? mean * a : 0);
    EACH(l, c, o) {
        double v = a * x[o] + bias;
        y[o] = (float)(v > 0 ? v : .1 * v);
        d[o] = (double)delta[o] * (v > 0 ? 1 : .1);
        sum += d[o];
        product += d[o] * (x[o] - mean);
        sums.biases += fabs(d[o]);
        sums.scales += fabs(d[o] * (x[o] - mean) * k);
    }
    sums.bias = sum;
    sums.scale = product * k;
    EACH(l, c, o) {
        if (normalised) d[o] = a * (d[o] - sum / n) - (n > 1 && s > 0 ? (x[o] - mean) * a * k * product / (s * (n - 1)) : 0);
    }
    walk(l, c, in, d, NULL, dw, dx);
    free(x); free(d);
    return sums;
}

static layer depthwise_layer(const struct depthwise *s)
{
    layer l = make_convolutional_layer(s->batch, s->h, s->w, s->c, s->c, s->c, s->size, s->stride, s->pad, LEAKY, s->normalised, 0, 0, 0);

    fill_noise(l.weights, (size_t)l.nweights, 4);
    fill_noise(l.biases, (size_t)l.c, 3);
    for (int c = 0; s->normalised && c < l.c; ++c) l.scales[c] = .5f + .3f * (float)c;
    return l;
}

static float *rounded(const double *x, size_t n, const float *start)
{
    float *y = malloc((n ? n : 1) * sizeof *y);
    for (size_t i = 0; i < n; ++i) y[i] = (float)(x[i] + (start ? (double)start[i] : 0));
    return y;
}

static void check_depthwise(const void *arg)
{
    const struct depthwise *s = arg;
    layer l = depthwise_layer(s);
    size_t ins = (size_t)(l.batch * l.inputs), outs = (size_t)(l.batch * l.outputs), nw = (size_t)l.nweights, nc = (size_t)l.c;
    float *in = noise_array(ins, 1), *delta = noise_array(outs, 2), *din = noise_array(ins, 7), *start = copy_array(din, ins), *y = calloc(outs, sizeof *y);
    float *updates = noise_array(nw, 5);
    double *dw = calloc(nw, sizeof *dw), *dx = calloc(ins, sizeof *dx);
    struct channel_sums *sums = calloc(nc, sizeof *sums);
    network net = {.input = in, .delta = din, .train = 1};

    for (int c = 0; c < l.c; ++c) sums[c] = reference_channel(&l, c, in, delta, s->normalised, y, dw, dx);
    float *edx = rounded(dx, ins, start), *edw = rounded(dw, nw, updates);
    memcpy(l.weight_updates, updates, nw * sizeof *updates);
    memset(l.output, 0x7f, outs * sizeof(float));
    forward_convolutional_layer(l, net);
    assert_close(l.output, y, outs, 1e-5);
    memcpy(l.delta, delta, outs * sizeof *delta);
    backward_convolutional_layer(l, net);
    assert_close(din, edx, ins, 3e-5);
    assert_close(l.weight_updates, edw, nw, 3e-5);
    for (int c = 0; c < l.c; ++c) {   /* against what was summed: one channel's sum may cancel */
        assert_true(fabs((double)l.bias_updates[c] - sums[c].bias) <= 3e-6 * sums[c].biases);
        if (s->normalised) assert_true(fabs((double)l.scale_updates[c] - sums[c].scale) <= 1e-5 * sums[c].scales);
    }
    free(in); free(delta); free(din); free(start); free(y); free(updates); free(dw); free(dx); free(sums); free(edx); free(edw);
    free_layer(l);
}

static void depthwise_convolutions_equal_plain_loops_with_and_without_batchnorm(void **state)
{
    static const int planes[][2] = {{5, 5}, {10, 10}, {9, 20}, {11, 33}, {7, 41}, {13, 49}, {90, 83}};

    (void)state;
    for (size_t k = 0; k < sizeof planes / sizeof *planes; ++k) for (int size = 3; size <= 5; size += 2) for (int stride = 1; stride <= 3; ++stride) {
        for (int pad = 0; pad <= 3; ++pad) {
            struct depthwise s = {(k + (size_t)pad) % 2 ? 7 : 1, planes[k][0], planes[k][1], (int)k % 3 + 1, size, stride, pad, stride < 3 ? (pad + size / 2) % 2 : 1};
            if (s.batch * ((s.h + 2 * pad - size) / stride + 1) * ((s.w + 2 * pad - size) / stride + 1) < 4) s.normalised = 0;   /* 1 / 1e-6 times rounding */
            if (k == 6 && (pad != 2 || stride == 3)) continue;   /* more than one band of rows */
            check_every_table(check_depthwise, &s);
        }
    }
}

static void narrow_planes_and_single_pixels_are_depthwise_too(void **state)
{
    static const struct depthwise shapes[] = {
        {7, 1, 1, 1, 3, 1, 1, 0}, {1, 1, 1, 5, 3, 2, 1, 0}, {2, 3, 2, 4, 3, 1, 1, 1}, {7, 2, 3, 1, 5, 2, 2, 1}, {1, 4, 7, 3, 5, 1, 3, 0}, {3, 1, 30, 2, 3, 2, 1, 1},
    };

    (void)state;
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; ++k) check_every_table(check_depthwise, &shapes[k]);
}

/* ---- pooling ---- */

struct pooling { int batch, h, w, c, size, stride, pad; };

static void check_maxpool(const void *arg)
{
    const struct pooling *s = arg;
    layer l = make_maxpool_layer(s->batch, s->h, s->w, s->c, s->size, s->stride, s->pad);
    size_t ins = (size_t)(l.inputs * l.batch), outs = (size_t)(l.outputs * l.batch);
    float *in = noise_array(ins, 1), *delta = noise_array(outs, 2), *din = noise_array(ins, 3), *expected = copy_array(din, ins);
    network net = {.input = in, .delta = din, .train = 1};

    for (size_t i = 0; i < ins; i += 3) in[i] = .25f;   /* ties: the first wins */
    if (ins > 20) in[5] = NAN, in[11] = -INFINITY, in[17] = INFINITY;
    forward_maxpool_layer(l, net);
    for (size_t o = 0; o < outs; ++o) {
        int ox = (int)o % l.out_w, oy = (int)o / l.out_w % l.out_h, plane = (int)o / l.out_w / l.out_h, where = -1;
        float best = -FLT_MAX;
        for (int k = 0; k < l.size * l.size; ++k) {
            int y = tap(oy, k / l.size, l.stride, l.pad / 2, l.h), x = tap(ox, k % l.size, l.stride, l.pad / 2, l.w), i = (plane * l.h + y) * l.w + x;
            if (y < 0 || x < 0 || !(in[i] > best)) continue;
            best = in[i];
            where = i;
        }
        assert_true(l.output[o] == best);
        assert_int_equal(l.indexes[o], where);
        if (where >= 0) expected[where] += delta[o];
    }
    memcpy(l.delta, delta, outs * sizeof *delta);
    backward_maxpool_layer(l, net);
    assert_close(din, expected, ins, 1e-6);
    free(in); free(delta); free(din); free(expected);
    free_layer(l);
}

static void max_pooling_equals_plain_loops_to_the_bit_ties_and_nan_included(void **state)
{
    static const struct pooling shapes[] = {
        {1, 8, 8, 1, 2, 2, 1}, {7, 13, 13, 3, 2, 1, 1}, {1, 9, 33, 2, 2, 2, 0}, {7, 10, 10, 2, 9, 1, 8}, {2, 10, 10, 3, 5, 1, 4}, {1, 11, 41, 1, 3, 2, 2},
        {1, 6, 7, 2, 3, 3, 1}, {2, 5, 5, 1, 1, 2, 0}, {1, 120, 67, 1, 2, 2, 1}, {1, 20, 20, 1, 15, 1, 14}, {3, 2, 2, 2, 2, 1, 1},
    };

    (void)state;
    for (size_t k = 0; k < sizeof shapes / sizeof *shapes; ++k) check_every_table(check_maxpool, &shapes[k]);
}

/* ---- whole vectors of numbers ---- */

static void check_blend(const void *arg)
{
    (void)arg;
    for (size_t n = 1; n < 70; n += 11) for (int f = VECTOR_LINEAR; f <= VECTOR_LEAKY; ++f) for (int apart = 0; apart < 2; ++apart) {
        float *x = noise_array(n, 1), *z = noise_array(n, 2), *y = noise_array(n, 3), *d = noise_array(n, 4), *ex = copy_array(x, n), *ez = copy_array(z, n);
        float low = f == VECTOR_LINEAR ? 1 : f == VECTOR_RELU ? 0 : .1f, *ed = copy_array(d, n), *ey = copy_array(y, n);
        for (size_t i = 0; i < n; ++i) {
            float v = .5f * x[i] - 2 * z[i];
            ey[i] = v > 0 ? v : v * low;
            ed[i] = ey[i] > 0 ? d[i] : d[i] * low;
            if (apart) ex[i] += .5f * ed[i];
            ez[i] -= 2 * ed[i];
        }
        vector_ops()->blend(n, x, .5f, z, -2, (enum vector_activation)f, y);
        assert_close(y, ey, n, 1e-6);
        vector_ops()->unblend(n, d, y, (enum vector_activation)f, .5f, apart ? x : NULL, -2, z);
        assert_close(d, ed, n, 1e-6);
        assert_close(x, ex, n, 1e-6);
        assert_close(z, ez, n, 1e-6);
        free(x); free(z); free(y); free(d); free(ex); free(ez); free(ed); free(ey);
    }
}

static void shortcuts_in_one_pass_equal_plain_loops(void **state)
{
    (void)state;
    check_every_table(check_blend, NULL);
}

static void dropout_numbers_are_the_same_on_every_instruction_set_and_in_any_pieces(void **state)
{
    enum { N = 5000 };
    static float first[N], numbers[N], x[N];
    const struct vector_ops *ops;
    double mean = 0;

    (void)state;
    for (int k = 0; (ops = vector_ops_at(k)); ++k) {
        for (int i = 0; i < N; ++i) x[i] = 1;
        ops->drop(1234, 0x123456789abcdef0u, 0, .4f, 2, x, numbers);
        ops->drop(N - 1234, 0x123456789abcdef0u, 1234, .4f, 2, x + 1234, numbers + 1234);
        if (k == 0) memcpy(first, numbers, sizeof first);
        assert_memory_equal(first, numbers, sizeof first);
        for (int i = 0; i < N; ++i) assert_true(numbers[i] >= 0 && numbers[i] < 1 && x[i] == (numbers[i] < .4f ? 0 : 2));
    }
    for (int i = 0; i < N; ++i) mean += (double)first[i] / N;
    assert_true(fabs(mean - .5) < .02);
    for (int lag = 1; lag <= 2048; lag *= 2) {   /* neighbours and chunks know nothing of each other: 4 standard deviations */
        double together = 0;
        for (int i = 0; i + lag < N; ++i) together += ((double)first[i] - .5) * ((double)first[i + lag] - .5);
        assert_true(fabs(together * 12 / sqrt((double)(N - lag))) < 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(depthwise_convolutions_equal_plain_loops_with_and_without_batchnorm),
        cmocka_unit_test(narrow_planes_and_single_pixels_are_depthwise_too),
        cmocka_unit_test(max_pooling_equals_plain_loops_to_the_bit_ties_and_nan_included),
        cmocka_unit_test(shortcuts_in_one_pass_equal_plain_loops),
        cmocka_unit_test(dropout_numbers_are_the_same_on_every_instruction_set_and_in_any_pieces),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pool_stop();
    return failed;
}
