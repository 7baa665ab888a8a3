/* Training steps of a Darknet cfg, one per "step" (worker.h): forward, backward, update on the same images. Linked with our kernels, and as
 * step_worker_stock without them. Commands: "step" -> {"seconds", "loss"}, "peak" -> {"megabytes"}.
 *   step_worker cfg weights input truth threads    input (batch, c, h, w) and truth (batch, truths): raw floats
 *   step_worker -prepare cfg weights input truth   writes such files: weights of a fixed seed whose batch-norm statistics are those of the
 *                                                  input, uniform pixels, one class per image or four boxes */
#include <darknet.h>
#include <math.h>

#include "../../darknet/context.h"
#include "worker.h"

/* The stock build has no context. */
#pragma weak host_context

static void fill_truth(const network *net)
{
    layer last = net->layers[net->n - 1];

    memset(net->truth, 0, (size_t)net->truths * (size_t)net->batch * sizeof *net->truth);
    for (int b = 0; b < net->batch; ++b) {
        float *t = net->truth + b * net->truths;
        if (last.type != YOLO && last.type != REGION) {
            t[b % net->truths] = 1;
            continue;
        }
        for (int i = 0; i < 4; ++i) {
            float box[5] = {.2f + .15f * (float)i, .3f + .1f * (float)i, .2f, .1f + .1f * (float)i, (float)(i % last.classes)};
            memcpy(t + 5 * i, box, sizeof box);
        }
    }
}

/* In the same order on every machine; rand() belongs to the host. */
static void fill_input(float *x, size_t n)
{
    unsigned state = 1;
    for (size_t i = 0; i < n; ++i) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(state >> 8) / 16777216.f;
    }
}

static int prepare(char *cfg, char *weights, const char *input, const char *truth)
{
    srand(1);
    network *net = parse_network_cfg(cfg);
    size_t inputs = (size_t)net->inputs * (size_t)net->batch;
    fill_input(net->input, inputs);
    fill_truth(net);
    worker_write(input, net->input, inputs);
    worker_write(truth, net->truth, (size_t)net->truths * (size_t)net->batch);
    net->train = 1;
    forward_network(net);
    for (int i = 0; i < net->n; ++i) {
        layer l = net->layers[i];
        if (!l.batch_normalize || !l.rolling_mean) continue;
        memcpy(l.rolling_mean, l.mean, (size_t)l.out_c * sizeof *l.mean);
        memcpy(l.rolling_variance, l.variance, (size_t)l.out_c * sizeof *l.mean);
    }
    save_weights(net, weights);
    return 0;
}

static void step(network *net, const float *input, const float *truth, FILE *answers)
{
    memcpy(net->input, input, (size_t)net->inputs * (size_t)net->batch * sizeof *input);
    memcpy(net->truth, truth, (size_t)net->truths * (size_t)net->batch * sizeof *truth);
    double start = worker_now();
    *net->seen += (size_t)net->batch;
    net->train = 1;
    forward_network(net);
    backward_network(net);
    update_network(net);
    double seconds = worker_now() - start;
    double loss = (double)*net->cost / net->batch;
    if (isfinite(loss)) fprintf(answers, "{\"seconds\": %.9f, \"loss\": %.9g}\n", seconds, loss);
    else fprintf(answers, "{\"seconds\": %.9f, \"loss\": NaN}\n", seconds);
}

int main(int argc, char **argv)
{
    char line[64];
    FILE *answers = worker_answers();

    if (argc == 6 && strcmp(argv[1], "-prepare") == 0) return prepare(argv[2], argv[3], argv[4], argv[5]);
    if (argc != 6 || !answers) {
        fprintf(stderr, "usage: step_worker cfg weights input truth threads\n       step_worker -prepare cfg weights input truth\n");
        return 2;
    }
    if (host_context) {
        host_context()->threads = atoi(argv[5]);
        host_context()->quiet = true;
    }
    network *net = load_network(argv[1], argv[2], 1);
    size_t inputs = (size_t)net->inputs * (size_t)net->batch, truths = (size_t)net->truths * (size_t)net->batch;
    float *input = malloc(inputs * sizeof *input), *truth = malloc(truths * sizeof *truth);
    if (!input || !truth) return 1;
    worker_read(argv[3], input, inputs);
    worker_read(argv[4], truth, truths);
    fprintf(answers, "{\"ready\": true, \"batch\": %d}\n", net->batch);
    fflush(answers);
    while (worker_command(line, sizeof line)) {
        if (strcmp(line, "step") == 0) step(net, input, truth, answers);
        else fprintf(answers, "{\"megabytes\": %.3f}\n", worker_peak_megabytes());
        fflush(answers);
    }
    return 0;
}
