/* Milliseconds per image of inference with a Darknet cfg on random images: bench_infer net.cfg [batch] [passes] [-weights file] [-layers] [-plain] [-save file].
 * Prints the least and the median of `passes`, with -layers also the least of every layer. -save writes random weights that leave every layer's
 * output of the order of 1, for the other programs that are measured. -plain: passes as the host runs them, nothing folded, nothing kept. */
#include <darknet.h>

#include "../../darknet/kernels/inference.h"
#include "measure.h"

enum { MAX_PASSES = 1000, MAX_LAYERS = 1024 };

static double now(void) { return clock_now(CLOCK_MONOTONIC); }

/* What inference_forward does, with a clock around every layer. */
static void timed_layers(network *netp, double *least)
{
    network net = *netp;

    for (int i = 0; i < net.n; ++i) {
        layer l = net.layers[i];
        double t = now();
        net.index = i;
        l.forward(l, net);
        net.input = l.output;
        if (l.truth) net.truth = l.output;
        t = now() - t;
        if (least[i] == 0 || t < least[i]) least[i] = t;
    }
}

static void print_layers(const network *net, const double *least)
{
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        double flops = l.type == CONVOLUTIONAL ? 2. * l.batch * l.out_h * l.out_w * l.nweights : 0;
        printf("%4d type %2d %4dx%4dx%4d -> %4dx%4dx%4d size %d/%d groups %d: %8.3f ms %6.1f GFLOP/s\n", i, (int)l.type, l.w, l.h, l.c, l.out_w, l.out_h,
               l.out_c, l.size, l.stride, l.groups, least[i] * 1e3, flops / least[i] / 1e9);
    }
}

int main(int argc, char **argv)
{
    static double seconds[MAX_PASSES], least[MAX_LAYERS];
    int layers = find_arg(argc, argv, "-layers"), plain = find_arg(argc, argv, "-plain");
    char *weights = find_char_arg(argc, argv, "-weights", NULL), *save = find_char_arg(argc, argv, "-save", NULL);
    int batch = argc > 2 && argv[2] ? atoi(argv[2]) : 1, passes = argc > 3 && argv[3] ? atoi(argv[3]) : 20;

    if (argc < 2 || passes < 1 || passes > MAX_PASSES) {
        fprintf(stderr, "usage: bench_infer net.cfg [batch] [passes] [-weights file] [-layers] [-plain] [-save file]\n");
        return 2;
    }
    network *net = parse_network_cfg(argv[1]);
    if (weights) load_weights(net, weights);
    if (net->n > MAX_LAYERS) return 1;
    for (int i = 0; i < net->n && !weights; ++i) {
        layer l = net->layers[i];
        for (int c = 0; l.batch_normalize && c < l.out_c; ++c) {
            l.rolling_mean[c] = rand_uniform(-.1f, .1f);
            l.rolling_variance[c] = rand_uniform(.5f, 2);
        }
    }
    if (save) save_weights(net, save);
    set_batch_network(net, batch);
    net->train = 0;
    net->truth = NULL;
    net->delta = NULL;
    float *input = calloc((size_t)(net->inputs * batch), sizeof *input);
    for (int i = 0; i < net->inputs * batch; ++i) input[i] = rand_uniform(0, 1);
    net->input = input;
    struct inference inference = {0};
    if (!plain) inference_begin(&inference);
    for (int s = -2; s < passes; ++s) {
        double start = now();
        inference.running = layers;   /* what inference_forward would say */
        if (layers) timed_layers(net, least);
        else if (plain) forward_network(net);
        else inference_forward(net);
        if (s >= 0) seconds[s] = now() - start;
    }
    if (layers) print_layers(net, least);
    qsort(seconds, (size_t)passes, sizeof *seconds, by_value);
    printf("%s batch %d: least %.3f ms, median %.3f ms per image of %d passes; %.1f MB of weights kept\n", argv[1], batch, seconds[0] * 1e3 / batch,
           seconds[passes / 2] * 1e3 / batch, passes, (double)inference_bytes() / 1e6);
    if (!plain) inference_end(&inference);
    free(input);
    return 0;
}
