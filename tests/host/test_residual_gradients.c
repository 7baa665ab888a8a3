/* The host's residual-gradient bug, kept visible: gate gradients on a small residual network by the stock library's backward pass, by ours and by
 * central differences of the loss. A 1x1 convolution reads what a shortcut reads too: stock Darknet's backward pass of the convolution writes over
 * the gradient that the shortcut left there, ours adds to it. The program prints the table.
 *   stock: dE/dz = -(scale * what backward adds to scale_updates + bias * what it adds to bias_updates), from a second copy of the library
 *   ours: gate_batch_sums; differences: (E(z + h) - E(z - h)) / 2h on the STOCK library's own forward pass, in which z multiplies scale and bias
 * Asserted: ours equals the differences within 0.5% of the gradient or 0.05% of the largest one, for every gate; so does stock, within 3% or 0.3%
 * (its batch-norm gradient is off by a part in N), where nothing was written over; where it was, stock is off by more than
 * 8% on every gate, by more than half of the length of the six together, and at least one sign is wrong. */
#include "test_kernels.h"

#include "../../darknet/gate_layer.h"

enum { CHANNELS = 6, LAYERS = 3, UNITS = CHANNELS * LAYERS, BATCH = 4, CLASSES = 5 };
static const int GATED[LAYERS] = {0, 1, 2};
static const double NUDGE = 5e-3;

static const char residual[] =
    "[net]\nbatch=4\nsubdivisions=1\nwidth=9\nheight=8\nchannels=3\n"
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=1\npad=1\nactivation=elu\n"     /* 0: read by 1 and by 3 */
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=1\nstride=1\npad=0\nactivation=elu\n"     /* 1 */
    "[convolutional]\nbatch_normalize=1\nfilters=6\nsize=3\nstride=1\npad=1\nactivation=linear\n"  /* 2 */
    "[shortcut]\nfrom=-3\nactivation=linear\n"                                                     /* 3 */
    "[convolutional]\nfilters=7\nsize=3\nstride=2\npad=1\nactivation=elu\n"                        /* 4 */
    "[avgpool]\n"
    "[connected]\noutput=5\nactivation=linear\n"
    "[softmax]\n";

typedef void pass_function(network *net);

struct side { network *net; pass_function *forward, *backward; };

static void prepare(network *net)
{
    uint32_t state = 17;
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        int channels = l.type == CONNECTED ? l.outputs : l.type == CONVOLUTIONAL ? l.n : 0;
        for (int k = 0; l.weights && k < (l.type == CONNECTED ? l.inputs * l.outputs : l.nweights); ++k) l.weights[k] = .5f * noise(&state);
        for (int k = 0; k < channels; ++k) {
            l.biases[k] = .4f * noise(&state);
            if (l.scales) l.scales[k] = 1 + .4f * noise(&state);
        }
    }
    fill_noise(net->input, (size_t)(net->inputs * net->batch), 23);
    memset(net->truth, 0, (size_t)(net->truths * net->batch) * sizeof(float));
    for (int b = 0; b < net->batch; ++b) net->truth[b * net->truths + b % net->truths] = 1;
    net->train = 1;
}

/* Cross-entropy of the batch, from the logits in double. */
static double loss(const struct side *s)
{
    double sum = 0;
    s->forward(s->net);
    for (int b = 0; b < BATCH; ++b) {
        const float *x = s->net->layers[s->net->n - 2].output + b * CLASSES, *t = s->net->truth + b * CLASSES;
        double total = 0;
        for (int k = 0; k < CLASSES; ++k) total += exp((double)x[k]);
        for (int k = 0; k < CLASSES; ++k) if (t[k] > 0) sum += log(total) - (double)x[k];
    }
    return sum;
}

/* E with channel c of layer l multiplied by z between batch-norm and activation; *z becomes the factor that single precision left. */
static double loss_at(const struct side *s, const layer *l, int c, double z)
{
    float scale = l->scales[c], bias = l->biases[c];
    l->scales[c] = (float)(z * (double)scale);
    l->biases[c] = (float)(z * (double)bias);
    double e = loss(s);
    l->scales[c] = scale;
    l->biases[c] = bias;
    return e;
}

static void by_differences(const struct side *s, double out[UNITS])
{
    for (int u = 0; u < UNITS; ++u) {
        const layer *l = &s->net->layers[GATED[u / CHANNELS]];
        out[u] = (loss_at(s, l, u % CHANNELS, 1 + NUDGE) - loss_at(s, l, u % CHANNELS, 1 - NUDGE)) / (2 * NUDGE);
    }
}

static void by_updates(const struct side *s, double out[UNITS])
{
    s->forward(s->net);
    s->backward(s->net);
    for (int u = 0; u < UNITS; ++u) {
        const layer *l = &s->net->layers[GATED[u / CHANNELS]];
        int c = u % CHANNELS;
        out[u] = -((double)l->scales[c] * (double)l->scale_updates[c] + (double)l->biases[c] * (double)l->bias_updates[c]);
    }
}

static void by_gates(const struct side *s, double out[UNITS])
{
    struct prune_gate_site sites[UNITS];
    struct gate_table *gates = NULL;
    struct prune_status st = {0};
    for (int u = 0; u < UNITS; ++u) sites[u] = (struct prune_gate_site){GATED[u / CHANNELS], u % CHANNELS, u, PRUNE_GATE_BEFORE_ACTIVATION};
    assert_int_equal(gate_attach(&gates, s->net, sites, UNITS, UNITS, &st), PRUNE_OK);
    assert_int_equal(gate_collect(gates, PRUNE_SIGNAL_GATE_BATCH, BATCH, &st), PRUNE_OK);
    s->forward(s->net);
    s->backward(s->net);
    memcpy(out, gate_batch_sums(gates), UNITS * sizeof *out);
    gate_detach(gates);
}

static void print_table(const double stock_[UNITS], const double ours[UNITS], const double wanted[UNITS])
{
    printf("| gate (layer, channel) | stock | ours | finite differences |\n|---|---|---|---|\n");
    for (int u = 0; u < UNITS; ++u)
        printf("| %d, %d%s | %.4f | %.4f | %.4f |\n", GATED[u / CHANNELS], u % CHANNELS, GATED[u / CHANNELS] ? "" : " (below the shortcut)", stock_[u],
               ours[u], wanted[u]);
}

static bool near(double got, double wanted, double share, double floor) { return fabs(got - wanted) <= fmax(share * fabs(wanted), floor); }

static void ours_equals_differences_where_stock_loses_the_shortcuts_share(void **state)
{
    (void)state;
    SKIP_WITHOUT_STOCK();
    struct side mine = {parse_text(parse_network_cfg, residual), forward_network, backward_network};
    struct side theirs = {parse_text(STOCK(parse_function, parse_network_cfg), residual), STOCK(pass_function, forward_network),
                          STOCK(pass_function, backward_network)};
    double by_stock[UNITS], by_ours[UNITS], wanted[UNITS], top = 0, length = 0, off = 0;
    int signs = 0;
    prepare(mine.net);
    prepare(theirs.net);
    by_differences(&theirs, wanted);
    by_updates(&theirs, by_stock);
    by_gates(&mine, by_ours);
    print_table(by_stock, by_ours, wanted);
    for (int u = 0; u < UNITS; ++u) top = fmax(top, fabs(wanted[u]));
    for (int u = 0; u < UNITS; ++u) {
        bool below = GATED[u / CHANNELS] == 0;
        if (!near(by_ours[u], wanted[u], .005, 5e-4 * top)) fail_msg("gate %d: ours %g, differences %g", u, by_ours[u], wanted[u]);
        if (below == near(by_stock[u], wanted[u], below ? .08 : .03, below ? 0 : 3e-3 * top))
            fail_msg("gate %d: stock %g, differences %g", u, by_stock[u], wanted[u]);
        if (!below) continue;
        length += wanted[u] * wanted[u];
        off += (by_stock[u] - wanted[u]) * (by_stock[u] - wanted[u]);
        signs += by_stock[u] * wanted[u] < 0;
    }
    assert_true(sqrt(off) > .5 * sqrt(length));
    assert_true(signs > 0);
    free_network(mine.net);
    STOCK(pass_function, free_network)(theirs.net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ours_equals_differences_where_stock_loses_the_shortcuts_share)};
    host_context()->threads = 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
