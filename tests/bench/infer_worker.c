/* Inference as the product does it (plugin/host.h; packed weights are kept from pass to pass as in a walk over images), one pass per "step" (worker.h),
 * input copy included. Commands: "step" -> {"seconds"}, "output FILE" -> {"floats"}: what reached the heads, one after the other, raw floats;
 * "peak" -> {"megabytes"}.
 *   infer_worker cfg weights input threads */
#include <darknet.h>

#include "../../darknet/host_pjreddie.h"
#include "../../darknet/kernels/inference.h"
#include "worker.h"

static void fail(const struct prune_status *st)
{
    fprintf(stderr, "bench: %s\n", st->message);
    exit(1);
}

struct heads { int inputs[16], count; };

/* The layers in front of the heads. */
static struct heads find_heads(const char *cfg)
{
    struct heads h = {0};
    network *net = parse_network_cfg((char *)(uintptr_t)cfg);
    for (int i = 1; i < net->n && h.count < 16; ++i)
        if (net->layers[i].type == YOLO || net->layers[i].type == SOFTMAX) h.inputs[h.count++] = i - 1;
    free_network(net);
    return h;
}

static void write_heads(const struct prune_host *host, struct prune_host_net *net, const struct heads *h, const char *path, FILE *answers)
{
    size_t total = 0;
    FILE *f = fopen(path, "wb");
    for (int i = 0; f && i < h->count; ++i) {
        struct prune_tensor view;
        struct prune_status st;
        if (host->output(net, h->inputs[i], &view, &st)) fail(&st);
        total += fwrite(view.data, sizeof(float), view.shape[0] * view.shape[1], f);
    }
    if (f) fclose(f);
    fprintf(answers, "{\"floats\": %zu}\n", total);
}

int main(int argc, char **argv)
{
    char line[4096];
    FILE *answers = worker_answers();
    const struct prune_host *host = darknet_host();
    struct prune_host_net *net;
    struct prune_net_facts facts;
    struct prune_status st;
    struct inference walk;

    if (argc != 5 || !answers) {
        fprintf(stderr, "usage: infer_worker cfg weights input threads\n");
        return 2;
    }
    struct heads heads = find_heads(argv[1]);
    if (host->open(host->context, argv[1], argv[2], &(struct prune_open_options){.threads = atoi(argv[4]), .quiet = true}, &net, &st)) fail(&st);
    host->facts(net, &facts);
    size_t batch = (size_t)facts.batch, inputs = batch * (size_t)facts.c * (size_t)facts.h * (size_t)facts.w;
    float *input = malloc(inputs * sizeof *input);
    if (!input) return 1;
    worker_read(argv[3], input, inputs);
    inference_begin(&walk);
    fprintf(answers, "{\"ready\": true, \"batch\": %zu}\n", batch);
    fflush(answers);
    while (worker_command(line, sizeof line)) {
        if (strcmp(line, "step") == 0) {
            double start = worker_now();
            if (host->forward(net, input, batch, &st)) fail(&st);
            fprintf(answers, "{\"seconds\": %.9f}\n", worker_now() - start);
        } else if (strncmp(line, "output ", 7) == 0) {
            write_heads(host, net, &heads, line + 7, answers);
        } else {
            fprintf(answers, "{\"megabytes\": %.3f}\n", worker_peak_megabytes());
        }
        fflush(answers);
    }
    inference_end(&walk);
    host->close(net);
    free(input);
    return 0;
}
