/* Seconds of one training step (forward, backward, update) of a Darknet cfg on random images: bench_step net.cfg [batch] [steps] [-layers].
 * Prints the least and the median of `steps` steps and the least CPU time of all threads (a busy machine inflates the former), with -layers also milliseconds per layer (forward, backward; least of the steps).
 * Runs on our kernels when linked with them (make bench does), on the stock library otherwise. */
#include <darknet.h>

#include "measure.h"

enum { MAX_STEPS = 1000, MAX_LAYERS = 1024 };

static double now(void) { return clock_now(CLOCK_MONOTONIC); }

/* One label per image for a classifier, four boxes for a detector. */
static void fill_truth(network *net)
{
    layer last = net->layers[net->n - 1];

    for (int b = 0; b < net->batch; ++b) {
        float *t = net->truth + b * net->truths;
        memset(t, 0, (size_t)net->truths * sizeof *t);
        if (last.type == YOLO || last.type == REGION) {
            for (int i = 0; i < 4; ++i) {
                float box[5] = {.2f + .15f * (float)i, .3f + .1f * (float)i, .2f, .1f + .1f * (float)i, (float)(i % last.classes)};
                memcpy(t + 5 * i, box, sizeof box);
            }
        } else {
            t[b % net->truths] = 1;
        }
    }
}

static void keep_least(double *least, double t)
{
    if (*least == 0 || t < *least) *least = t;
}

/* What forward_network and backward_network do, with a clock around every layer. */
static void timed_passes(network *netp, double *forward, double *backward)
{
    network net = *netp;

    for (int i = 0; i < net.n; ++i) {
        layer l = net.layers[i];
        double t = now();
        net.index = i;
        if (l.delta) fill_cpu(l.outputs * l.batch, 0, l.delta, 1);
        l.forward(l, net);
        net.input = l.output;
        if (l.truth) net.truth = l.output;
        keep_least(&forward[i], now() - t);
    }
    for (int i = net.n - 1; i >= 0; --i) {
        layer l = net.layers[i];
        double t = now();
        if (l.stopbackward) break;
        net.index = i;
        net.input = i ? net.layers[i - 1].output : netp->input;
        net.delta = i ? net.layers[i - 1].delta : netp->delta;
        l.backward(l, net);
        keep_least(&backward[i], now() - t);
    }
}

int main(int argc, char **argv)
{
    static double forward[MAX_LAYERS], backward[MAX_LAYERS], seconds[MAX_STEPS], cpu = 0;
    int layers = find_arg(argc, argv, "-layers");
    int batch = argc > 2 && argv[2] ? atoi(argv[2]) : 0, steps = argc > 3 && argv[3] ? atoi(argv[3]) : 5;

    if (argc < 2 || steps < 1 || steps > MAX_STEPS) {
        fprintf(stderr, "usage: bench_step net.cfg [batch] [steps] [-layers]\n");
        return 2;
    }
    network *net = parse_network_cfg(argv[1]);
    if (batch > 0 && batch <= net->batch) set_batch_network(net, batch);
    net->train = 1;
    for (int i = 0; i < net->inputs * net->batch; ++i) net->input[i] = rand_uniform(0, 1);
    for (int s = 0; s < steps; ++s) {
        fill_truth(net);
        double start = now(), used = clock_now(CLOCK_PROCESS_CPUTIME_ID);
        *net->seen += (size_t)net->batch;
        if (layers && net->n <= MAX_LAYERS) {
            timed_passes(net, forward, backward);
        } else {
            forward_network(net);
            backward_network(net);
        }
        double t = now();
        update_network(net);
        if (layers && s == 0) fprintf(stderr, "update %.2f ms\n", (now() - t) * 1e3);
        seconds[s] = now() - start;
        keep_least(&cpu, clock_now(CLOCK_PROCESS_CPUTIME_ID) - used);
    }
    for (int i = 0; layers && i < net->n && i < MAX_LAYERS; ++i) {
        layer l = net->layers[i];
        printf("%4d type %2d %4dx%4dx%4d -> %4dx%4dx%4d size %d/%d: forward %8.3f backward %8.3f ms\n", i, (int)l.type, l.w, l.h, l.c, l.out_w, l.out_h,
               l.out_c, l.size, l.stride, forward[i] * 1e3, backward[i] * 1e3);
    }
    qsort(seconds, (size_t)steps, sizeof *seconds, by_value);
    printf("%s batch %d: least %.4f s, median %.4f s of %d steps; least CPU time %.4f s\n", argv[1], net->batch, seconds[0],
           seconds[steps / 2], steps, cpu);
    return 0;
}
