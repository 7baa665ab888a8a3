/* Opening networks: the layout check, what the host's parser gets to see, fresh weights, and weights that arrive where the host would put them:
 * a file read by us and written by the host's own save_weights is the same file, for every kind of layer that stores weights. */
#include "training_fixture.h"

#include <math.h>

#include "../../darknet/network_open.h"
#include "../../darknet/network_parameters.h"

static void the_installed_library_fits(void **state)
{
    (void)state;
    struct prune_status st = {0};
    if (host_layout_check(&st)) fail_msg("%s", st.message);
}

static const char CONVS[] =
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=1\npad=1\ngroups=2\nactivation=relu\n"
    "[batchnorm]\n"
    "[local]\nfilters=2\nsize=3\nstride=2\npad=1\nactivation=leaky\n"
    "[connected]\nbatch_normalize=1\noutput=7\nactivation=leaky\n"
    "[connected]\noutput=3\nactivation=linear\n[softmax]\n";
/* Recurrent layers read vectors. */
static const char RECURRENT[] =
    "[rnn]\nhidden=4\noutput=6\nbatch_normalize=1\nactivation=leaky\n"
    "[gru]\noutput=5\nbatch_normalize=1\n"
    "[lstm]\noutput=4\nbatch_normalize=1\n"
    "[connected]\noutput=3\nactivation=linear\n[softmax]\n";

static void open_ok(struct open_network *n, const char *cfg, const char *weights, int batch)
{
    struct prune_status st = {0};
    if (network_open(n, cfg, weights, false, batch, true, &st)) fail_msg("%s", st.message);
}

/* Every stored value of the network different, so that none can land in the wrong place unseen. */
static void mark_parameters(network *net)
{
    float value = 0;
    for (int i = 0; i < net->n; i++) {
        layer *l;
        for (int part = 0; part < 8 && (l = parameters_part(&net->layers[i], part)); part++) {
            float *tensors[] = {l->biases, l->scales, l->rolling_mean, l->rolling_variance, l->weights};
            size_t vectors = (size_t)(l->type == CONNECTED || l->type == LOCAL ? l->outputs : l->type == BATCHNORM ? l->c : l->n);
            size_t weights = l->type == CONNECTED ? (size_t)(l->inputs * l->outputs)
                           : l->type == LOCAL ? (size_t)(l->c * l->n * l->size * l->size * l->out_w * l->out_h) : (size_t)l->nweights;
            for (int t = 0; t < 5; t++)
                for (size_t k = 0; tensors[t] && k < (t == 4 ? weights : vectors); k++) tensors[t][k] = value += 1;
        }
    }
    assert_true(value > 100);
}

static void check_round_trip(const char *cfg)
{
    struct open_network n;
    char first[256], second[256];
    snprintf(first, sizeof first, "%s", at("first.weights"));
    snprintf(second, sizeof second, "%s", at("second.weights"));
    open_ok(&n, cfg, NULL, 0);
    mark_parameters(n.net);
    *n.net->seen = 4321;
    save_weights(n.net, first);
    network_close(&n);
    open_ok(&n, cfg, first, 0);
    assert_int_equal(*n.net->seen, 4321);
    assert_int_equal(n.loaded_layers, n.shape.layer_count);
    save_weights(n.net, second);
    network_close(&n);
    assert_same_files(first, second);
}

static void weights_arrive_where_the_host_puts_them(void **state)
{
    (void)state;
    check_round_trip(write_text("convs.cfg", "%s%s", "[net]\nbatch=2\nwidth=12\nheight=12\nchannels=3\nlearning_rate=0.01\nmax_batches=10\n", CONVS));
}

static void weights_of_recurrent_layers_arrive_too(void **state)
{
    (void)state;
    check_round_trip(write_text("recurrent.cfg", "%s%s", "[net]\nbatch=2\ntime_steps=2\ninputs=5\nlearning_rate=0.01\nmax_batches=10\n", RECURRENT));
}

/* Header version above 1000: connected weights are stored (inputs, outputs). */
static void transposed_weights_are_turned(void **state)
{
    (void)state;
    const char *cfg = write_text("fc.cfg", "[net]\nbatch=1\nwidth=2\nheight=1\nchannels=1\nlearning_rate=0.01\nmax_batches=10\n[connected]\noutput=3\nactivation=linear\n[softmax]\n");
    static const int32_t header[] = {1001, 0, 0, 7};
    static const float values[] = {1, 2, 3, 11, 12, 13, 21, 22, 23};   /* biases; input 0 to outputs 0 1 2; input 1 */
    static const float wanted[] = {11, 21, 12, 22, 13, 23};
    char bytes[sizeof header + sizeof values];
    memcpy(bytes, header, sizeof header);
    memcpy(bytes + sizeof header, values, sizeof values);
    assert_int_equal(prune_write_file(at("fc.weights"), bytes, sizeof bytes, NULL), PRUNE_OK);
    struct open_network n;
    open_ok(&n, cfg, at("fc.weights"), 0);
    assert_memory_equal(n.net->layers[0].weights, wanted, sizeof wanted);
    network_close(&n);
}

static void fresh_weights_repeat_with_the_seed(void **state)
{
    (void)state;
    const char *cfg = write_text("fresh.cfg", "%s%s", "[net]\nbatch=2\nwidth=12\nheight=12\nchannels=3\nlearning_rate=0.01\nmax_batches=10\n", CONVS);
    struct open_network a, b, c;
    host_context()->seed = 1;
    open_ok(&a, cfg, NULL, 0);
    (void)rand_normal();          /* the host's generator keeps a spare: ours must not care */
    open_ok(&b, cfg, NULL, 0);
    host_context()->seed = 2;
    open_ok(&c, cfg, NULL, 0);
    const layer *l = &a.net->layers[1];
    assert_memory_equal(l->weights, b.net->layers[1].weights, (size_t)l->nweights * sizeof(float));
    assert_memory_not_equal(l->weights, c.net->layers[1].weights, (size_t)l->nweights * sizeof(float));
    /* 4 filters of 3 channels (2 groups of 6 inputs), 3x3: deviation sqrt(2 / 27) */
    double squares = 0;
    for (int i = 0; i < l->nweights; i++) squares += (double)l->weights[i] * (double)l->weights[i];
    assert_int_equal(l->nweights, 108);
    assert_true(fabs(sqrt(squares / 108) - sqrt(2. / 27)) < .06);
    network_close(&a);
    network_close(&b);
    network_close(&c);
}

static void the_host_sees_no_gates_no_cr_and_the_wanted_batch(void **state)
{
    (void)state;
    const char *cfg = write_text("gated.cfg", "[net]\r\nbatch=8\r\nsubdivisions=4\r\nwidth=8\r\nheight=8\r\nchannels=3\r\nlearning_rate=0.01\r\nmax_batches=10\r\n\r\n"
                                              "[convolutional]\r\nbatch_normalize=1\r\nfilters=4\r\nsize=3\r\nstride=1\r\npad=1\r\nactivation=leaky\r\n\r\n[gate]\r\n\r\n"
                                              "# head\r\n[connected]\r\noutput=3\r\nactivation=linear\r\n[softmax]\r\n");
    struct open_network n;
    char *bytes = NULL;
    size_t size = 0;
    open_ok(&n, cfg, NULL, 5);
    assert_true(n.gated);
    assert_non_null(n.gates);
    assert_int_equal(n.net->n, 3);
    assert_int_equal(n.net->batch, 5);
    assert_int_equal(n.net->subdivisions, 4);
    assert_int_equal(network_host_cfg(&n, 5, &bytes, &size, NULL), PRUNE_OK);
    assert_int_equal(strlen(bytes), size);
    assert_null(strstr(bytes, "[gate]"));
    assert_null(strchr(bytes, '\r'));
    assert_non_null(strstr(bytes, "batch=20\n"));
    assert_non_null(strstr(bytes, "filters=4\n"));
    free(bytes);
    network_close(&n);
}

static void a_bad_pair_never_reaches_the_host(void **state)
{
    (void)state;
    struct open_network n;
    struct prune_status st = {0};
    const char *cfg = write_text("bad.cfg", "[net]\nbatch=1\nwidth=8\nheight=8\nchannels=0\n[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation=linear\n");
    assert_int_equal(network_open(&n, cfg, NULL, false, 0, true, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "bad.cfg"));
    cfg = write_text("good.cfg", "[net]\nbatch=1\nwidth=8\nheight=8\nchannels=3\nlearning_rate=0.01\nmax_batches=10\n[convolutional]\nfilters=2\nsize=1\nstride=1\nactivation=linear\n");
    const char *weights = write_text("short.weights", "too short");
    assert_int_equal(network_open(&n, cfg, weights, false, 0, true, &st), PRUNE_FAILED);
    assert_non_null(strstr(st.message, "short.weights"));
    assert_null(n.net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_installed_library_fits),
        TEST(weights_arrive_where_the_host_puts_them),
        TEST(weights_of_recurrent_layers_arrive_too),
        TEST(transposed_weights_are_turned),
        TEST(fresh_weights_repeat_with_the_seed),
        TEST(the_host_sees_no_gates_no_cr_and_the_wanted_batch),
        TEST(a_bad_pair_never_reaches_the_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
