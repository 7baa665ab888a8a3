/* Convolutions against plain loops: odd shapes, strides, paddings, groups, every instruction set, several numbers of threads, small and large batches.
 * net.delta and the updates start with numbers in them: everything must be added. And against the stock library where that is right. */
#include "test_kernels.h"
#include "../../darknet/kernels/winograd.h"

struct shape { int batch, h, w, c, n, groups, size, stride, pad; };

static const struct shape shapes[] = {
    {1, 1, 1, 1, 1, 1, 1, 1, 0},      {7, 1, 1, 5, 3, 1, 1, 1, 0},     {2, 5, 3, 4, 9, 1, 1, 1, 0},     {3, 8, 8, 6, 16, 1, 1, 1, 0},
    {1, 40, 33, 3, 17, 1, 1, 1, 0},   {2, 7, 7, 5, 8, 1, 1, 2, 0},     {3, 9, 10, 4, 6, 1, 1, 3, 0},    {1, 8, 8, 3, 4, 1, 1, 1, 1},
    {1, 4, 4, 2, 3, 1, 2, 2, 0},      {1, 8, 8, 16, 16, 1, 3, 1, 1},   {7, 8, 8, 16, 16, 1, 3, 1, 1},   {7, 16, 16, 3, 11, 1, 3, 1, 1},
    {2, 32, 32, 16, 16, 1, 3, 1, 1},  {1, 50, 70, 3, 16, 1, 3, 1, 1},  {3, 13, 11, 7, 5, 1, 3, 2, 1},   {1, 31, 17, 3, 9, 1, 3, 2, 0},
    {5, 6, 6, 2, 3, 1, 3, 3, 0},      {2, 10, 10, 3, 4, 1, 3, 1, 3},   {1, 9, 9, 1, 1, 1, 5, 1, 2},     {2, 23, 21, 3, 7, 1, 5, 2, 3},
    {1, 30, 30, 3, 8, 1, 7, 2, 3},    {1, 27, 27, 2, 5, 1, 11, 4, 0},  {1, 12, 12, 4, 8, 2, 3, 1, 1},   {3, 9, 7, 6, 9, 3, 3, 2, 1},
    {2, 20, 20, 8, 8, 8, 3, 1, 1},    {7, 10, 10, 9, 9, 9, 3, 2, 1},   {1, 33, 29, 5, 5, 5, 5, 2, 2},   {2, 11, 11, 4, 12, 4, 3, 1, 1},
    {2, 40, 40, 24, 24, 24, 5, 1, 2}, {1, 6, 6, 40, 300, 1, 3, 1, 1},  {4, 3, 3, 20, 30, 1, 3, 1, 1},   {2, 2, 2, 8, 8, 1, 3, 1, 1},
    {6, 7, 7, 32, 64, 32, 3, 1, 1},   {1, 13, 13, 110, 530, 1, 3, 1, 1}, {1, 5, 9, 3, 2, 1, 4, 2, 1},   {3, 8, 8, 5, 7, 1, 2, 1, 0},
    /* Winograd: irregular widths, images that are no whole number of tiles, bands, many channels */
    {5, 17, 6, 12, 10, 1, 3, 1, 1},   {1, 61, 99, 8, 9, 1, 3, 1, 1},   {2, 9, 21, 70, 66, 1, 3, 1, 1},  {9, 4, 4, 64, 65, 1, 3, 1, 1},
    {3, 32, 32, 11, 23, 1, 3, 1, 1},  {2, 1, 1, 9, 8, 1, 3, 1, 1},     {7, 3, 5, 100, 120, 1, 3, 1, 1},
    /* many terms, filters that fill no block, pieces of planes, panels of every width */
    {1, 7, 9, 300, 45, 1, 1, 1, 0},   {5, 5, 5, 33, 70, 1, 1, 1, 0},   {2, 14, 14, 40, 37, 1, 3, 1, 1}, {1, 20, 20, 70, 66, 1, 3, 2, 1},
    {2, 24, 24, 600, 36, 1, 1, 1, 0}, {2, 13, 13, 36, 70, 2, 1, 1, 0}, {3, 15, 15, 34, 35, 1, 1, 2, 0}, {2, 13, 13, 3, 66, 1, 1, 1, 0},
    {1, 26, 26, 130, 3, 1, 3, 1, 1},  {4, 3, 5, 64, 130, 1, 1, 1, 0},  {1, 60, 60, 10, 9, 1, 1, 1, 0},
};

static void reference_forward(const layer *l, const float *in, float *out)
{
    int cg = l->c / l->groups, ng = l->n / l->groups;

    for (int b = 0; b < l->batch; ++b) for (int f = 0; f < l->n; ++f) for (int y = 0; y < l->out_h; ++y) for (int x = 0; x < l->out_w; ++x) {
        double s = (double)l->biases[f];
        for (int c = 0; c < cg; ++c) for (int ky = 0; ky < l->size; ++ky) for (int kx = 0; kx < l->size; ++kx) {
            int iy = y * l->stride + ky - l->pad, ix = x * l->stride + kx - l->pad;
            if (iy < 0 || ix < 0 || iy >= l->h || ix >= l->w) continue;
            s += (double)in[((b * l->c + f / ng * cg + c) * l->h + iy) * l->w + ix] * (double)l->weights[((f * cg + c) * l->size + ky) * l->size + kx];
        }
        out[((b * l->n + f) * l->out_h + y) * l->out_w + x] = (float)s;
    }
}

/* Adds the gradients that belong to delta; any of the three may be NULL. */
static void reference_backward(const layer *l, const float *in, const float *delta, float *weights, float *biases, float *in_delta)
{
    int cg = l->c / l->groups, ng = l->n / l->groups;

    for (int b = 0; b < l->batch; ++b) for (int f = 0; f < l->n; ++f) for (int y = 0; y < l->out_h; ++y) for (int x = 0; x < l->out_w; ++x) {
        float d = delta[((b * l->n + f) * l->out_h + y) * l->out_w + x];
        biases[f] += d;
        for (int c = 0; c < cg; ++c) for (int ky = 0; ky < l->size; ++ky) for (int kx = 0; kx < l->size; ++kx) {
            int iy = y * l->stride + ky - l->pad, ix = x * l->stride + kx - l->pad, w = ((f * cg + c) * l->size + ky) * l->size + kx;
            if (iy < 0 || ix < 0 || iy >= l->h || ix >= l->w) continue;
            int i = ((b * l->c + f / ng * cg + c) * l->h + iy) * l->w + ix;
            weights[w] += d * in[i];
            in_delta[i] += d * l->weights[w];
        }
    }
}

static layer make(const struct shape *s, int bn)
{
    layer l = make_convolutional_layer(s->batch, s->h, s->w, s->c, s->n, s->groups, s->size, s->stride, s->pad, LINEAR, bn, 0, 0, 0);
    fill_noise(l.biases, (size_t)l.n, 3);
    fill_noise(l.weights, (size_t)l.nweights, 4);
    fill_noise(l.weight_updates, (size_t)l.nweights, 5);
    fill_noise(l.bias_updates, (size_t)l.n, 6);
    return l;
}

struct expected { float *in, *delta, *in_delta, *out, *weights, *biases; size_t ins, outs, nw; };

/* Winograd's transforms round more: 36 sums of up to 10 numbers in front of each product. */
static double tolerance(const layer *l) { return winograd_suits(l) ? 1e-5 : 2e-6; }

static void check_kernels(layer l, const struct expected *e)
{
    float *got = noise_array(e->ins, 7);
    network net = {.input = e->in, .train = 1};

    fill_noise(l.weight_updates, e->nw, 5);
    fill_noise(l.bias_updates, (size_t)l.n, 6);
    memset(l.output, 0x7f, e->outs * sizeof(float));
    forward_convolutional_layer(l, net);
    assert_close(l.output, e->out, e->outs, tolerance(&l));
    memcpy(l.delta, e->delta, e->outs * sizeof(float));
    net.delta = got;
    backward_convolutional_layer(l, net);
    assert_close(got, e->in_delta, e->ins, 1.5 * tolerance(&l));
    assert_close(l.weight_updates, e->weights, e->nw, 1e-5);
    assert_close(l.bias_updates, e->biases, (size_t)l.n, 1e-5);
    /* for gates alone: the same input gradient to the last bit, and updates that stay */
    float *sums = noise_array(e->ins, 7), *updates = copy_array(l.weight_updates, e->nw), *biases = copy_array(l.bias_updates, (size_t)l.n);
    host_context()->gates_only = true;
    net.delta = sums;
    memcpy(l.delta, e->delta, e->outs * sizeof(float));
    backward_convolutional_layer(l, net);
    host_context()->gates_only = false;
    assert_memory_equal(sums, got, e->ins * sizeof *sums);
    assert_memory_equal(updates, l.weight_updates, e->nw * sizeof *updates);
    assert_memory_equal(biases, l.bias_updates, (size_t)l.n * sizeof *biases);
    free(sums);
    free(updates);
    free(biases);
    /* without an input gradient the updates still move */
    float *once = copy_array(l.weight_updates, e->nw);
    net.delta = NULL;
    memcpy(l.delta, e->delta, e->outs * sizeof(float));
    backward_convolutional_layer(l, net);
    assert_memory_not_equal(once, l.weight_updates, e->nw * sizeof *once);
    free(once);
    free(got);
}

/* Winograd itself, also where the convolution would choose direct sums (few channels, another instruction set). */
static void check_winograd(layer l, const struct expected *e)
{
    if (l.size != 3 || l.stride != 1 || l.pad != 1 || l.groups != 1) return;
    struct winograd_plan p = winograd_plan_make(&l);
    struct conv_finish finish = {.l = &l, .kind = FINISH_ACTIVATE, .f = VECTOR_LINEAR};
    struct batchnorm_rest rest = {.l = &l};
    float *got = noise_array(e->ins, 7);

    fill_noise(l.weight_updates, e->nw, 5);
    memset(l.output, 0x7f, e->outs * sizeof(float));
    winograd_forward(&l, &p, e->in, &finish);
    assert_close(l.output, e->out, e->outs, 1e-5);
    memcpy(l.delta, e->delta, e->outs * sizeof(float));
    winograd_backward(&l, &p, &rest, e->in, got);
    assert_close(got, e->in_delta, e->ins, 1.5e-5);
    assert_close(l.weight_updates, e->weights, e->nw, 1e-5);
    free(got);
}

static void check_shape(const struct shape *s)
{
    layer l = make(s, 0);
    struct expected e = {.ins = (size_t)l.batch * (size_t)l.inputs, .outs = (size_t)l.batch * (size_t)l.outputs, .nw = (size_t)l.nweights};
    const struct vector_ops *ops;

    e.in = noise_array(e.ins, 1);
    e.delta = noise_array(e.outs, 2);
    e.in_delta = noise_array(e.ins, 7);
    e.out = malloc(e.outs * sizeof *e.out);
    e.weights = copy_array(l.weight_updates, e.nw);
    e.biases = copy_array(l.bias_updates, (size_t)l.n);
    reference_forward(&l, e.in, e.out);
    reference_backward(&l, e.in, e.delta, e.weights, e.biases, e.in_delta);
    for (int k = 0; (ops = vector_ops_at(k)); ++k) {
        vector_ops_force(ops);
        for (int threads = 1; threads <= 3; ++threads) {
            host_context()->threads = threads;
            check_kernels(l, &e);
            check_winograd(l, &e);
        }
    }
    free(e.in); free(e.delta); free(e.in_delta); free(e.out); free(e.weights); free(e.biases);
    free_layer(l);
    vector_ops_force(NULL);
    host_context()->threads = 2;
}

static void convolutions_equal_plain_loops_on_every_instruction_set_and_thread_count(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) check_shape(&shapes[i]);
}

static void convolutions_equal_the_stock_library_where_it_is_right(void **state)
{
    (void)state;
    SKIP_WITHOUT_STOCK();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; ++i) {
        const struct shape *s = &shapes[i];
        if (s->size == 1 && (s->stride > 1 || s->pad)) continue;   /* the host ignores the stride of 1x1 convolutions */
        layer l = make(s, 0);
        size_t ins = (size_t)l.batch * (size_t)l.inputs, outs = (size_t)l.batch * (size_t)l.outputs, nw = (size_t)l.nweights;
        float *in = noise_array(ins, 1), *delta = noise_array(outs, 2), *start = copy_array(l.weight_updates, nw);
        float *workspace = malloc(l.workspace_size ? l.workspace_size : 4), *ours = calloc(ins, sizeof *ours), *theirs = calloc(ins, sizeof *theirs);
        network net = {.input = in, .train = 1, .workspace = workspace, .delta = ours};
        l.activation = LEAKY;
        forward_convolutional_layer(l, net);
        memcpy(l.delta, delta, outs * sizeof *delta);
        backward_convolutional_layer(l, net);
        float *out = copy_array(l.output, outs), *weights = copy_array(l.weight_updates, nw);
        memcpy(l.weight_updates, start, nw * sizeof *start);
        net.delta = theirs;
        STOCK(layer_function, forward_convolutional_layer)(l, net);
        memcpy(l.delta, delta, outs * sizeof *delta);
        STOCK(layer_function, backward_convolutional_layer)(l, net);
        assert_close(out, l.output, outs, 1e-5);
        assert_close(ours, theirs, ins, 1e-5);
        assert_close(weights, l.weight_updates, nw, 1e-5);
        free(in); free(delta); free(start); free(workspace); free(ours); free(theirs); free(out); free(weights);
        free_layer(l);
    }
}

static void two_runs_at_the_same_threads_give_the_same_bits(void **state)
{
    (void)state;
    static const struct shape s = {13, 16, 16, 8, 20, 1, 3, 1, 1};
    for (int threads = 1; threads <= 3; ++threads) {
        float *first = NULL, *updates = NULL;
        host_context()->threads = threads;
        for (int run = 0; run < 3; ++run) {
            layer l = make(&s, 1);
            size_t outs = (size_t)l.batch * (size_t)l.outputs, ins = (size_t)l.batch * (size_t)l.inputs;
            float *in = noise_array(ins, 1), *din = calloc(ins, sizeof *din);
            network net = {.input = in, .train = 1, .delta = din};
            forward_convolutional_layer(l, net);
            fill_noise(l.delta, outs, 2);
            backward_convolutional_layer(l, net);
            if (run == 0) {
                first = copy_array(l.output, outs);
                updates = copy_array(l.weight_updates, (size_t)l.nweights);
            }
            assert_memory_equal(first, l.output, outs * sizeof *first);
            assert_memory_equal(updates, l.weight_updates, (size_t)l.nweights * sizeof *updates);
            free(in); free(din);
            free_layer(l);
        }
        free(first); free(updates);
    }
    host_context()->threads = 2;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(convolutions_equal_plain_loops_on_every_instruction_set_and_thread_count),
        cmocka_unit_test(convolutions_equal_the_stock_library_where_it_is_right),
        cmocka_unit_test(two_runs_at_the_same_threads_give_the_same_bits),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pool_stop();
    return failed;
}
